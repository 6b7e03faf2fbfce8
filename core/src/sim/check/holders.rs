//! One holder (I2): no unit of a resource is in two offers, in an offer and a task, or in two tasks
//! at a time.
//!
//! Whoever holds a unit believes that it is his alone: two tasks on one port fail, and two on one
//! core are slow for no reason that anybody can see. Looked at whenever the master gives something,
//! by the books of [`super::ledger`]: it must be among what is free then.

use alloc::format;
use core::fmt::Display;

use super::Broken;
use crate::ids::AgentId;
use crate::resources::NotContained;
use crate::sim::property::Property;

/// Whether something was free that is given.
pub(super) type Given = Result<(), NotContained>;

/// Says who was given what somebody else has.
pub(super) fn check(who: &impl Display, agent: &AgentId, given: Given) -> Result<(), Broken> {
    given.map_err(|error| {
        let problem = format!("{who} is given what of {agent} is not free: {error}");
        (Property::Holders, problem)
    })
}

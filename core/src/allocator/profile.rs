//! What an allocator is told about agents and frameworks beside their resources.
//!
//! Plain data, filled in by whoever embeds an allocator. Deliberately not here: the protocol's own
//! descriptions, which hold more.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::attributes::Attributes;
use crate::constraints::Constraints;
use crate::resources::Quantities;
use crate::roles::Role;

/// What an agent is like.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentTraits {
    /// Its name in the network: whitelists and constraints go by it.
    pub hostname: String,
    /// What its operator says about it.
    pub attributes: Attributes,
    /// In which region it stands, if it says so.
    pub region: Option<String>,
    /// In which zone of the region.
    pub zone: Option<String>,
    /// What it can do.
    pub capabilities: AgentCapabilities,
}

/// What an agent can do (AL-32). All of it, unless told otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentCapabilities {
    /// It can serve a framework of several roles.
    pub multi_role: bool,
    /// It understands roles below roles.
    pub hierarchical_role: bool,
}

impl Default for AgentCapabilities {
    fn default() -> Self {
        Self {
            multi_role: true,
            hierarchical_role: true,
        }
    }
}

/// What a framework is like.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrameworkProfile {
    /// Breaks ties between equal shares (AL-16).
    pub name: String,
    /// In whose name it takes resources, each role once.
    pub roles: Vec<Subscription>,
    /// What it can cope with.
    pub capabilities: FrameworkCapabilities,
}

impl FrameworkProfile {
    /// Describes a framework that takes whatever comes in these roles.
    pub fn new(name: impl Into<String>, roles: impl IntoIterator<Item = Role>) -> Self {
        Self {
            name: name.into(),
            roles: roles.into_iter().map(Subscription::new).collect(),
            capabilities: FrameworkCapabilities::default(),
        }
    }
}

/// What a framework wants in one of its roles.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscription {
    /// Which role.
    pub role: Role,
    /// Whether it wants offers now.
    pub state: SubscriptionState,
    /// Which agents it wants; `None` is any (OF-41).
    pub constraints: Option<Constraints>,
    /// What is worth an offer to it: at least one of these, ranges and sets by how many, or
    /// anything if the list is empty. `None` is as the allocator's options say (OF-40).
    pub min_allocatable: Option<Vec<Quantities>>,
}

impl Subscription {
    /// Describes the wish for any offer.
    pub const fn new(role: Role) -> Self {
        Self {
            role,
            state: SubscriptionState::Wanted,
            constraints: None,
            min_allocatable: None,
        }
    }
}

/// Whether a framework wants offers in a role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum SubscriptionState {
    /// It does.
    Wanted,
    /// Not until it revives the role (OF-37).
    Suppressed,
}

/// What a framework can cope with; what it cannot is not offered to it (AL-32, AL-11, AL-12).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrameworkCapabilities {
    /// It may have several roles.
    pub multi_role: bool,
    /// It takes resources that can be taken from it.
    pub revocable: bool,
    /// It takes resources that others hold as well.
    pub shared: bool,
    /// It takes reservations within reservations.
    pub reservation_refinement: bool,
    /// It uses graphics processors, so it may have agents with some.
    pub gpus: bool,
    /// It can cope with agents in other regions than the master's.
    pub region_aware: bool,
}

impl FrameworkCapabilities {
    /// A framework that can cope with everything.
    pub const ALL: Self = Self {
        multi_role: true,
        revocable: true,
        shared: true,
        reservation_refinement: true,
        gpus: true,
        region_aware: true,
    };
}

impl Default for FrameworkCapabilities {
    /// All but those that scarce or unsafe things are kept for: `revocable`, `gpus` and
    /// `region_aware`.
    fn default() -> Self {
        Self {
            revocable: false,
            gpus: false,
            region_aware: false,
            ..Self::ALL
        }
    }
}

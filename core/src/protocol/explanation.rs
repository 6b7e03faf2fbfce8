//! What operators are told when they ask why a framework is not being offered an agent.
//!
//! Deliberately not here: finding it out, which is the allocator's.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::ids::{AgentId, FrameworkId};
use crate::roles::Role;
use crate::time::Time;

/// Why an agent is not being offered to a framework in a role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// Which agent.
    pub agent: AgentId,
    /// Its name in the network.
    pub hostname: String,
    /// Why.
    pub obstacle: Obstacle,
}

/// What stands between an agent and an offer of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Obstacle {
    /// The framework refused what is there, until then.
    Refused(Time),
    /// The framework wants no offers in the role.
    Suppressed,
    /// The framework is away.
    FrameworkInactive,
    /// The agent is away, or operators give it no tasks.
    AgentInactive,
    /// Operators have left the agent out.
    NotWhitelisted,
    /// Nothing is offered before the agents are back.
    Recovering,
    /// The framework's own constraint, in words.
    Constraint(String),
    /// One cannot cope with the other, in words.
    Incapable(String),
    /// The framework has all that it said it wants, or none of it fits.
    NoDemand,
    /// The framework holds as much in offers as it may.
    HoldsEnough,
    /// This role has all that it may have.
    QuotaLimit(Role),
    /// What is free is kept for guarantees of other roles.
    Headroom,
    /// These hold so much that the rest is not worth an offer; the first few of them.
    HeldBy(Vec<FrameworkId>),
    /// There is less than is worth an offer.
    TooSmall,
    /// Nothing: it is offered when its turn comes.
    Nothing,
}

impl Obstacle {
    /// Returns the stable name, in lower case with dashes.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Refused(_) => "refused",
            Self::Suppressed => "suppressed",
            Self::FrameworkInactive => "framework-inactive",
            Self::AgentInactive => "agent-inactive",
            Self::NotWhitelisted => "not-whitelisted",
            Self::Recovering => "recovering",
            Self::Constraint(_) => "constraint",
            Self::Incapable(_) => "incapable",
            Self::NoDemand => "no-demand",
            Self::HoldsEnough => "holds-enough",
            Self::QuotaLimit(_) => "quota-limit",
            Self::Headroom => "headroom",
            Self::HeldBy(_) => "held",
            Self::TooSmall => "too-small",
            Self::Nothing => "nothing",
        }
    }
}

//! What an agent says about its machine, and what operators say about the agent.

use alloc::string::String;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::attributes::Attributes;
use crate::resources::Resources;

/// A machine that runs tasks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentInfo {
    /// Its name in the network, for people and placement.
    pub hostname: String,
    /// Where its own QUIC endpoint listens, as `host:port`.
    pub address: String,
    /// All that it has to offer.
    pub resources: Resources,
    /// Free-form hints, passed on in every offer (RM-58).
    pub attributes: Attributes,
    /// Where it stands, if it says so.
    pub domain: Option<Domain>,
}

/// Where a machine stands, for frameworks that care which machines fail together, or are far from
/// each other (TK-115).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Domain {
    /// In which region: far from others.
    pub region: String,
    /// In which zone of the region: close to others, and apart from their failures.
    pub zone: String,
}

/// Whether an agent is given tasks, as operators have said. That outlasts its absence, and changes
/// of masters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Standing {
    /// It is offered.
    #[default]
    Active,
    /// It is offered to nobody. What runs goes on.
    Deactivated,
    /// It is offered to nobody, and what runs is ended (SM-41).
    Draining(DrainConfig),
    /// It was drained: nothing runs, and it is offered to nobody (SM-42).
    Drained,
}

/// How an agent is drained (TK-124).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainConfig {
    /// The longest that tasks have between SIGTERM and SIGKILL; `None` leaves each its own (TK-84).
    pub max_grace: Option<Duration>,
    /// Whether the agent is gone for good once it is drained (TK-125).
    pub mark_gone: bool,
}

impl Standing {
    /// Returns the stable name, in lower case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Deactivated => "deactivated",
            Self::Draining(_) => "draining",
            Self::Drained => "drained",
        }
    }
}

impl AgentInfo {
    /// Describes a machine without attributes.
    pub fn new(
        hostname: impl Into<String>,
        address: impl Into<String>,
        resources: Resources,
    ) -> Self {
        Self {
            hostname: hostname.into(),
            address: address.into(),
            resources,
            attributes: Attributes::new(),
            domain: None,
        }
    }
}

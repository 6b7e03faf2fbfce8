//! What an agent says about its machine, what operators say about the agent, and whether it is
//! there.

use alloc::string::String;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::attributes::Attributes;
use crate::resources::Resources;
use crate::time::Time;

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

/// Whether an agent is there, as its master knows. One that is gone for good is no agent any more
/// (SM-17, SM-18).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Presence {
    /// It speaks with the master.
    Connected {
        /// Since it was admitted, or came back.
        since: Time,
    },
    /// Its connection is lost; its tasks are believed to run (SM-12).
    Disconnected {
        /// Since when.
        since: Time,
        /// When it is given up if it does not come back; `None` if that is due, and waits for its
        /// turn (RG-21).
        until: Option<Time>,
    },
    /// An earlier leadership has admitted it, and this one has not heard of it (SM-10).
    Recovered {
        /// Since this leadership began.
        since: Time,
        /// As of `Disconnected`.
        until: Option<Time>,
    },
    /// It was given up, and so are its tasks until it comes back (SM-14).
    Unreachable {
        /// Since when.
        since: Time,
    },
}

impl Presence {
    /// Returns whether it speaks with the master.
    pub const fn is_connected(self) -> bool {
        match self {
            Self::Connected { .. } => true,
            Self::Disconnected { .. } | Self::Recovered { .. } | Self::Unreachable { .. } => false,
        }
    }

    /// Returns since when that is so.
    pub const fn since(self) -> Time {
        match self {
            Self::Connected { since }
            | Self::Disconnected { since, .. }
            | Self::Recovered { since, .. }
            | Self::Unreachable { since } => since,
        }
    }

    /// Returns when it is given up if it does not come back, if that moment is to come.
    pub const fn until(self) -> Option<Time> {
        match self {
            Self::Disconnected { until, .. } | Self::Recovered { until, .. } => until,
            Self::Connected { .. } | Self::Unreachable { .. } => None,
        }
    }

    /// Returns the stable name, in lower case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connected { .. } => "connected",
            Self::Disconnected { .. } => "disconnected",
            Self::Recovered { .. } => "recovered",
            Self::Unreachable { .. } => "unreachable",
        }
    }
}

/// Why an agent is lost to those who hold something on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum AgentLoss {
    /// It was not heard of for too long. It may come back, and what runs on it too (SM-14).
    Unreachable,
    /// An operator says that it is gone for good (SM-17).
    Gone,
    /// It has left, or joined under another id, or stayed away until it was given up for good
    /// (SM-18).
    Removed,
}

impl AgentLoss {
    /// Returns the stable name, in lower case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Gone => "gone",
            Self::Removed => "removed",
        }
    }
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
    /// Returns whether it is being drained, or was and has not been reactivated.
    pub const fn is_drain(self) -> bool {
        match self {
            Self::Draining(_) | Self::Drained => true,
            Self::Active | Self::Deactivated => false,
        }
    }

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

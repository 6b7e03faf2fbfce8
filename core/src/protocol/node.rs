//! What an agent says about its machine.

use alloc::string::String;

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
        }
    }
}

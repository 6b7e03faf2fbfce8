//! What a framework says about itself.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ids::FrameworkId;
use crate::limits;
use crate::roles::Role;

/// An independent scheduler that shares the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrameworkInfo {
    /// Its id; `None` to be given a new one (FW-03).
    pub id: Option<FrameworkId>,
    /// A name for people.
    pub name: String,
    /// In whose name it takes resources, each once (FW-06, RQ-02). Without any it is offered
    /// nothing.
    pub roles: Vec<Role>,
    /// The name in its certificate. The master writes it, whatever the framework says: agents go by
    /// it when somebody asks for a task's output.
    pub principal: Option<String>,
    /// How long its tasks go on while it is away (FW-04). Zero ends them with it.
    pub failover_timeout: Duration,
}

impl FrameworkInfo {
    /// Describes a new framework in the role `*` that may be away for as long as is usual
    /// ([`limits::FAILOVER_TIMEOUT`]).
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            id: None,
            name: name.into(),
            roles: Vec::from([Role::any()]),
            principal: None,
            failover_timeout: limits::FAILOVER_TIMEOUT,
        }
    }
}

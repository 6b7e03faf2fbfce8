//! What a task or an executor says about itself for others to find it by (TK-01, TK-03, TK-04).
//!
//! The cluster keeps it and publishes it, in what operators read. Nothing follows from it: no port
//! is opened, no name is resolved, and what is visible where is for those to obey who read it.
//! Deliberately not here: checks (`validate_discovery`).

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::resources::Labels;

/// Who is to find a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Visibility {
    /// Tasks of the same framework.
    Framework,
    /// All that runs in the cluster.
    Cluster,
    /// Anybody.
    External,
}

impl Visibility {
    /// Returns the stable name, in lower case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Framework => "framework",
            Self::Cluster => "cluster",
            Self::External => "external",
        }
    }
}

/// The service that a task or an executor offers (TK-04). No text in it is empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiscoveryInfo {
    /// Who is to find it.
    pub visibility: Visibility,
    /// Under which name, if another one than the task's or the executor's.
    pub name: Option<String>,
    /// Of which environment it is, such as a stage.
    pub environment: Option<String>,
    /// Where it is, such as a site.
    pub location: Option<String>,
    /// Which version it is.
    pub version: Option<String>,
    /// Where it listens; at most [`limits::DISCOVERY_PORTS`](crate::limits::DISCOVERY_PORTS).
    pub ports: Vec<DiscoveryPort>,
    /// Whatever else it wants to say.
    pub labels: Labels,
}

/// A port on which a service listens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiscoveryPort {
    /// Its number; not zero.
    pub number: u16,
    /// Its name, such as `metrics`.
    pub name: Option<String>,
    /// What is spoken there, such as `tcp` or `grpc`.
    pub protocol: Option<String>,
    /// Who is to find it; `None` is as of the service.
    pub visibility: Option<Visibility>,
    /// Whatever else is to be said of it.
    pub labels: Labels,
}

impl DiscoveryInfo {
    /// Describes a service of which nothing else is said.
    pub const fn new(visibility: Visibility) -> Self {
        Self {
            visibility,
            name: None,
            environment: None,
            location: None,
            version: None,
            ports: Vec::new(),
            labels: Labels::new(),
        }
    }
}

impl DiscoveryPort {
    /// Describes a port of which nothing else is said.
    pub const fn new(number: u16) -> Self {
        Self {
            number,
            name: None,
            protocol: None,
            visibility: None,
            labels: Labels::new(),
        }
    }
}

/// All that a task or an executor publishes. Most publish nothing, so wherever there are many of
/// them this is an `Option<Arc<_>>`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// Whatever it wants to say to those who read labels.
    pub labels: Labels,
    /// The service that it offers.
    pub discovery: Option<Box<DiscoveryInfo>>,
}

impl Published {
    /// Puts together what is published; `None` if that is nothing.
    pub(super) fn of(labels: &Labels, discovery: Option<&DiscoveryInfo>) -> Option<Arc<Self>> {
        if labels.is_empty() && discovery.is_none() {
            return None;
        }
        Some(Arc::new(Self {
            labels: labels.clone(),
            discovery: discovery.cloned().map(Box::new),
        }))
    }
}

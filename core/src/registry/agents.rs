//! Agents as they were admitted, and the names that are bound to them.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ids::AgentId;
use crate::protocol::node::AgentInfo;
use crate::protocol::operation::Converted;
use crate::resources::Resources;

/// An agent as it was admitted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Admission {
    /// The name in its certificate: nobody else may use its id.
    pub name: String,
    /// What it last said about itself.
    pub info: Arc<AgentInfo>,
    /// What operations have made of what it has.
    pub converted: Converted,
}

impl Admission {
    /// Returns what the agent has: what it says, and what operations have made of that.
    pub fn total(&self) -> Resources {
        let described = &self.info.resources;
        let total = self.converted.total(described);
        // The master takes no description in that has less than what operations rest on.
        total.unwrap_or_else(|_| described.clone())
    }
}

/// All admitted agents. One name, one agent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Agents {
    admitted: BTreeMap<AgentId, Admission>,
    names: BTreeMap<String, AgentId>,
}

impl Agents {
    pub(super) fn len(&self) -> usize {
        self.admitted.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.admitted.is_empty()
    }

    pub(super) fn get(&self, id: &AgentId) -> Option<&Admission> {
        self.admitted.get(id)
    }

    pub(super) fn bound_to(&self, name: &str) -> Option<&AgentId> {
        self.names.get(name)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&AgentId, &Admission)> + '_ {
        self.admitted.iter()
    }

    /// Binds a name to an id. Whoever had the name before is gone.
    pub(super) fn admit(&mut self, id: &AgentId, name: &str, info: &Arc<AgentInfo>) {
        self.remove(id);
        if let Some(before) = self.names.insert(name.into(), id.clone()) {
            self.admitted.remove(&before);
        }
        let admission = Admission {
            name: name.into(),
            info: Arc::clone(info),
            converted: Converted::default(),
        };
        self.admitted.insert(id.clone(), admission);
    }

    pub(super) fn update(&mut self, id: &AgentId, info: &Arc<AgentInfo>) {
        if let Some(admission) = self.admitted.get_mut(id) {
            admission.info = Arc::clone(info);
        }
    }

    pub(super) fn remove(&mut self, id: &AgentId) {
        if let Some(gone) = self.admitted.remove(id) {
            self.names.remove(&gone.name);
        }
    }

    /// Returns whether every agent has its name, and every name its agent.
    pub(super) fn is_sound(&self) -> bool {
        self.admitted.len() == self.names.len()
    }
}

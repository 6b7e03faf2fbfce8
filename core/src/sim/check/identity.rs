//! Ids are given once (I16): no agent and no framework has the id of another, and an agent that was
//! removed never serves again under the id that it had.
//!
//! Told from what clients hear and masters say, over all masters: each of them might have forgotten
//! what the one before gave away. Who was removed is read from what is durable when a master
//! begins, and remembered here even if a registry forgets it.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;

use super::Broken;
use crate::ids::{AgentId, FrameworkId};
use crate::master::Effect;
use crate::protocol::agent::ToAgent;
use crate::protocol::scheduler::Event;
use crate::registry::{Registry, RegistryOp};
use crate::sim::property::Property;

/// Who has which id.
#[derive(Debug, Default)]
pub(in crate::sim) struct Identities {
    agents: BTreeMap<AgentId, u32>,
    frameworks: BTreeMap<FrameworkId, u32>,
}

impl Identities {
    /// Returns which agent has heard that this is its id.
    pub(in crate::sim) fn agent(&self, id: &AgentId) -> Option<u32> {
        self.agents.get(id).copied()
    }

    /// An agent hears a master.
    pub(in crate::sim) fn agent_hears(&mut self, n: u32, message: &ToAgent) -> Result<(), Broken> {
        let Some(id) = registered(message) else {
            return Ok(());
        };
        let owner = *self.agents.entry(id.clone()).or_insert(n);
        let problem = format!("agent-{n} is told that it is {id}, which agent-{owner} is");
        expect(owner == n, problem)
    }

    /// A framework hears a master.
    pub(in crate::sim) fn framework_hears(&mut self, n: u32, event: &Event) -> Result<(), Broken> {
        let Event::Subscribed { framework: id, .. } = event else {
            return Ok(());
        };
        let owner = *self.frameworks.entry(id.clone()).or_insert(n);
        let problem = format!("framework-{n} is told that it is {id}, which framework-{owner} is");
        expect(owner == n, problem)
    }
}

/// Which ids of agents are never used again.
#[derive(Debug, Default)]
pub(in crate::sim) struct Removed {
    /// For masters before this one.
    before: BTreeSet<AgentId>,
    /// For this one. It may be lost with it.
    now: BTreeSet<AgentId>,
    violation: Option<Broken>,
}

impl Removed {
    /// Another master begins, with what is durable.
    #[must_use]
    pub(in crate::sim) fn next(mut self, registry: &Registry) -> Self {
        self.before.extend(registry.gone().keys().cloned());
        self.now.clone_from(&self.before);
        self
    }

    /// The master writes something down.
    pub(in crate::sim) fn wrote(&mut self, op: &RegistryOp) {
        if let RegistryOp::Remove { id, .. } = op {
            self.now.insert(id.clone());
        }
        if let RegistryOp::TakeDown { agents, .. } = op {
            self.now.extend(agents.iter().cloned());
        }
    }

    /// The master wants something.
    pub(in crate::sim) fn saw(&mut self, effect: &Effect) {
        let Effect::Agent { message, .. } = effect else {
            return;
        };
        if let Some(id) = registered(message).filter(|id| self.now.contains(*id)) {
            let problem = format!("{id} was removed, and serves again");
            self.violation.get_or_insert((Property::Identity, problem));
        }
    }

    pub(in crate::sim) fn check(&mut self) -> Result<(), Broken> {
        self.violation.take().map_or(Ok(()), Err)
    }
}

/// Returns the id that a message gives to an agent, or lets it keep.
fn registered(message: &ToAgent) -> Option<&AgentId> {
    match message {
        ToAgent::Registered { id, .. } | ToAgent::Reregistered { id, .. } => Some(id),
        ToAgent::Refused(_)
        | ToAgent::Ping
        | ToAgent::RunTask { .. }
        | ToAgent::RunGroup(_)
        | ToAgent::KillTask { .. }
        | ToAgent::ShutdownFramework(_)
        | ToAgent::Acknowledge { .. }
        | ToAgent::Missing(_)
        | ToAgent::Convert(_)
        | ToAgent::BeginDisk(_)
        | ToAgent::EndDisk(_)
        | ToAgent::AcknowledgeOperation { .. }
        | ToAgent::Shutdown(_)
        | ToAgent::Drain { .. }
        | ToAgent::Undrain
        | ToAgent::UpdateFramework(_)
        | ToAgent::Message { .. }
        | ToAgent::ShutdownExecutor { .. } => None,
    }
}

fn expect(is_so: bool, problem: String) -> Result<(), Broken> {
    if is_so {
        return Ok(());
    }
    Err((Property::Identity, problem))
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;
    use crate::ids::{MasterId, PeerId};
    use crate::machine::Durable;
    use crate::time::Time;

    fn id(n: u32) -> AgentId {
        AgentId::new(&format!("m-S{n}")).unwrap()
    }

    fn again(n: u32) -> ToAgent {
        ToAgent::Reregistered {
            id: id(n),
            master: MasterId::of("m", 1).unwrap(),
            epoch: 1,
            ping_timeout: Duration::from_secs(75),
        }
    }

    // I16
    #[test]
    fn an_id_of_somebody_else_is_found() {
        let mut ids = Identities::default();
        assert_eq!(ids.agent_hears(1, &again(1)), Ok(()));
        assert_eq!(ids.agent_hears(1, &again(1)), Ok(()));
        assert_eq!(ids.agent_hears(1, &again(2)), Ok(()), "it lost its disk");
        assert!(ids.agent_hears(2, &again(2)).is_err());
    }

    // PR-12, SM-18
    #[test]
    fn who_was_removed_and_serves_again_is_found() {
        let serves = |removed: &mut Removed| {
            let (peer, message) = (PeerId(1), again(1));
            removed.saw(&Effect::Agent { peer, message });
            removed.check().is_ok()
        };
        let remove = RegistryOp::Remove {
            id: id(1),
            at: Time::ZERO,
            by_operator: false,
        };
        let none = Registry::default();
        let mut removed = Removed::default();
        assert!(serves(&mut removed));
        removed.wrote(&remove);
        assert!(!serves(&mut removed));
        let mut lost = removed.next(&none);
        assert!(serves(&mut lost), "the removal was not durable");

        let mut registry = Registry::default();
        registry.apply(&remove);
        let forgotten = lost.next(&registry).next(&none);
        assert!(!serves(&mut { forgotten }));
    }
}

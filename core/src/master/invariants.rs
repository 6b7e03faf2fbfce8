//! What must hold between two inputs, recomputed from scratch.
//!
//! Run after every input by tests, the simulator and fuzzing. Never in the hot loop.

use alloc::collections::BTreeMap;

use super::Master;
use super::agents::Presence;
use super::peers::Part;
use crate::ids::AgentId;
use crate::keys::AgentKey;
use crate::protocol::status::TaskState;
use crate::resources::{Resource, Resources};

impl Master {
    /// Checks everything that must hold between two inputs.
    ///
    /// # Panics
    ///
    /// If something does not hold. Then we are wrong, not a peer.
    pub fn check(&self) {
        self.agents.check();
        self.frameworks.check(|key| self.lingers(key));
        self.tasks.check();
        self.check_asks();
        let is_live = |key| {
            let row = self.frameworks.get(key);
            row.is_some_and(|row| !row.is_completed())
        };
        self.kills.check(is_live);
        self.verdicts.check(is_live);
        self.offers.check();
        self.check_timers();
        self.check_line();
        self.check_throttle();
        self.check_registry();
        self.check_offers_stand();
        self.check_tasks_stand();
        self.check_kills_wait();
        self.check_conservation();
        self.check_operations();
        self.feed.check();
        self.waiting.check(|peer| self.peers.get(peer).is_some());
        assert!(
            self.feed.is_on() || self.waiting.is_empty(),
            "nobody will answer"
        );
        self.check_inverse_offers();
    }

    /// Who waits to be given up is silent, and in the line once.
    fn check_line(&self) {
        let mut line = 0;
        for (ticket, key) in self.losses.waiting() {
            assert_eq!(self.agents[key].waits, Some(ticket), "a place in the line");
            assert_ne!(self.agents[key].presence(), Presence::Unreachable);
            line += 1;
        }
        let waiting = self.agents.iter().filter(|(_, row)| row.waits.is_some());
        assert_eq!(waiting.count(), line, "agents that wait to be given up");
    }

    /// Everyone admitted or enrolled has a row, and nobody else; everyone connected is known by his
    /// peer.
    fn check_registry(&self) {
        assert_eq!(self.agents.len(), self.registry.len(), "agents admitted");
        for (key, row) in self.agents.iter() {
            let admission = self.registry.agent(&row.id);
            let admission = admission.expect("agents in the table are admitted");
            assert_eq!(admission.info, row.info, "info of agent {}", row.id);
            assert_eq!(admission.total(), row.total, "total of agent {}", row.id);
            let is_away = row.presence() == Presence::Unreachable;
            assert_eq!(
                admission.unreachable.is_some(),
                is_away,
                "reach of {}",
                row.id
            );
            assert_eq!(admission.standing, row.standing, "standing of {}", row.id);
            let maintenance = self.registry.maintenance();
            let unavailability = maintenance.unavailability(&row.info);
            assert_eq!(unavailability, row.unavailability, "machine of {}", row.id);
            assert!(!maintenance.is_down(&row.info), "machine of {}", row.id);
            assert!(!self.registry.gone().contains_key(&row.id), "{}", row.id);
            let bound: Option<&AgentId> = self.registry.bound_to(&admission.name);
            assert_eq!(bound, Some(&row.id), "who is bound to {}", admission.name);
            if let Some(peer) = row.peer() {
                let peer = self.peers.get(peer).expect("a connected agent has a peer");
                assert_eq!(peer.part, Some(Part::Agent(key)));
                assert_eq!(peer.principal.name, admission.name);
            }
        }
        let enrolled = self.registry.frameworks().count();
        assert_eq!(self.frameworks.live(), enrolled, "frameworks enrolled");
        for (key, row) in self.frameworks.iter() {
            match self.registry.framework(&row.id) {
                Some(known) => {
                    assert!(!row.is_completed(), "framework {} is over", row.id);
                    assert_eq!(known.info, row.info, "info of framework {}", row.id);
                    assert_eq!(known.vouched, row.vouched, "whose {} is", row.id);
                    assert_eq!(known.away.is_none(), row.peer().is_some(), "{}", row.id);
                }
                None => {
                    // What lingers may do so for longer than its end is remembered.
                    let end = self.registry.end_of(&row.id);
                    assert!(end.is_none_or(|end| row.end() == Some(end)), "{}", row.id);
                    assert!(row.is_completed(), "framework {} is enrolled", row.id);
                }
            }
            if let Some(peer) = row.peer() {
                let peer = self.peers.get(peer).expect("a subscription has a peer");
                assert_eq!(peer.part, Some(Part::Framework(key)));
            }
        }
    }

    /// Offers are of connected agents and for subscribed frameworks.
    fn check_offers_stand(&self) {
        for (_, row) in self.offers.iter() {
            let agent = self.agents.get(row.agent).expect("an offer has an agent");
            assert!(agent.is_offered(), "{} is offered", agent.id);
            assert_eq!(agent.id, row.offer.agent);
            assert_eq!(agent.info.attributes, row.offer.attributes);
            assert_eq!(agent.unavailability, row.offer.unavailability);
            let framework = self.frameworks.get(row.framework);
            let framework = framework.expect("an offer has a framework");
            assert!(framework.peer().is_some(), "{} is offered to", framework.id);
            assert_eq!(framework.id, row.offer.framework);
            assert!(!row.offer.resources.is_empty(), "an offer has something");
        }
    }

    /// Tasks use resources exactly while they may run where we can see it.
    fn check_tasks_stand(&self) {
        for (_, task) in self.tasks.iter() {
            let framework = self.frameworks.get(task.framework);
            let framework = framework.expect("a task has a framework");
            assert_eq!(framework.id, task.owner);
            if task.is_remembered() {
                assert!(task.state.is_terminal(), "{} is over", task.id);
                continue;
            }
            let is_left = framework.is_completed();
            assert!(!is_left || task.is_booked(), "{} lives on", task.id);
            let Some(agent) = self.agents.get(task.agent) else {
                // Gone for good: its tasks wait for the confirmation of their end.
                assert!(task.is_ended_by_master(), "{} has an agent", task.id);
                continue;
            };
            assert_eq!(task.status.agent.as_ref(), Some(&agent.id));
            let runs = !task.state.is_terminal() && task.state != TaskState::Unreachable;
            assert_eq!(task.is_booked(), runs, "{} is {}", task.id, task.state);
            let visible = agent.is_allocatable();
            let away = agent.presence() == Presence::Unreachable;
            assert!(visible || (away && !runs), "{} of {}", task.id, agent.id);
        }
    }

    /// Kills wait only for agents that have not come back, or to be told to who is away.
    fn check_kills_wait(&self) {
        for key in self.kills.unanswered() {
            let framework = &self.frameworks[key];
            let is_told = framework.peer().is_some() && !self.agents.are_awaited();
            assert!(!is_told, "{} is told of its kills", framework.id);
        }
    }

    /// Named operations are those of frameworks that live, on agents that are there.
    fn check_operations(&self) {
        self.operations.check();
        for operation in self.operations.iter() {
            let id = &operation.status.id;
            let framework = &self.frameworks[operation.framework];
            assert!(!framework.is_completed(), "operation {id}");
            assert_eq!(framework.id, operation.owner, "operation {id}");
            match operation.place {
                Some((agent, _)) => {
                    let agent = &self.agents[agent];
                    assert_eq!(operation.status.agent.as_ref(), Some(&agent.id));
                }
                None => assert!(operation.status.state.is_terminal(), "operation {id}"),
            }
            let is_over = operation.status.state.is_terminal();
            assert_eq!(is_over, operation.status.update.is_some(), "operation {id}");
        }
        for (id, admission) in self.registry.agents() {
            let numbers = admission.open.keys().copied();
            let last = admission.converted.last;
            let first = (last + 1).saturating_sub(admission.open.len() as u64);
            assert!(
                numbers.eq(first..=last),
                "the log of agent {id} has no gaps"
            );
            let row = self.agents.find(id).map(|key| &self.agents[key]);
            let known = row.map(|row| row.operations);
            assert_eq!(known, Some(admission.under_way()), "operations of {id}");
        }
    }

    /// Per agent: what is offered and what is used are disjoint parts of its total.
    ///
    /// What an agent reports to run is a fact, even beyond its total. Then nothing may be offered
    /// of that.
    fn check_conservation(&self) {
        let mut free: BTreeMap<AgentKey, Resources> = BTreeMap::new();
        for (_, row) in self.offers.iter() {
            let total = &self.agents[row.agent].total;
            free.entry(row.agent).or_insert_with(|| total.clone());
        }
        let tasks = self.tasks.iter().filter(|(_, task)| task.is_booked());
        let tasks = tasks.map(|(_, task)| (task.agent, &task.resources));
        let executors = self.tasks.executors();
        let executors = executors.map(|(_, agent, resources)| (agent, resources));
        for (agent, used) in tasks.chain(executors) {
            if let Some(free) = free.get_mut(&agent) {
                // More may be used than there is.
                *free = free.less(used);
            }
        }
        for (_, row) in self.offers.iter() {
            let agent = &self.agents[row.agent];
            let free = free.get_mut(&row.agent).expect("it was put in above");
            // Of what is shared anybody may have a copy, as long as it is there (RM-48).
            let (shared, own) = split(&row.offer.resources);
            assert!(agent.total.contains(&shared), "{} has {shared}", agent.id);
            // Taken away and not added up: a port that is there twice would not be seen.
            if let Err(error) = free.subtract(&own) {
                let total = &agent.total;
                panic!("{} has {total}; of what is offered {error}", agent.id);
            }
        }
    }
}

/// Tells one copy of each shared volume from what only one may hold.
fn split(resources: &Resources) -> (Resources, Resources) {
    let one = |volume: &Resource| volume.clone().with_copies(1).ok();
    let shared = resources.iter().filter(|it| it.is_shared());
    let shared = Resources::of(shared.filter_map(one));
    let own = resources.filter(|it| !it.is_shared());
    (shared.expect("one of each fits"), own)
}

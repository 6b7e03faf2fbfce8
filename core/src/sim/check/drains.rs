//! A drain that is ordered goes on to its end (TK-124, TK-125, SM-42): an agent that is there is
//! told of it over each of its connections, and once nothing of its tasks, executors and operations
//! is left it is drained, or gone.
//!
//! That tasks end in the time that a drain gives is looked at where they run ([`super::waits`]).
//! An end that its framework has not confirmed may hold a drain up, and so may a framework that is
//! away: then nothing is held against the master. Time counts while the master has its turns, as in
//! [`super::promises`].

use alloc::collections::BTreeMap;
use alloc::format;
use core::time::Duration;

use super::Broken;
use super::ledger::Ledger;
use crate::agent::Agent;
use crate::ids::{AgentId, PeerId};
use crate::master::Effect;
use crate::protocol::agent::ToAgent;
use crate::protocol::node::Standing;
use crate::registry::RegistryOp;
use crate::sim::property::Property;
use crate::sim::world::World;
use crate::time::Time;

/// What a turn counts at most.
const TURN: Duration = Duration::from_secs(1);
/// How long the last words of an agent may be on their way.
const BOUND: Duration = Duration::from_secs(20);

/// The drains that one leadership knows of.
#[derive(Debug, Default)]
pub(super) struct Drains {
    /// Over which connection each agent was told of the newest.
    told: BTreeMap<AgentId, PeerId>,
    /// How long the master has had turns.
    turns: Duration,
    last: Time,
    /// Since when nothing is left to be waited for.
    over: BTreeMap<AgentId, Duration>,
}

impl Drains {
    /// The master writes something down.
    pub(super) fn wrote(&mut self, op: &RegistryOp) {
        if let RegistryOp::SetStanding { id, .. } = op {
            self.told.remove(id);
        }
    }

    /// The master says something; the books have it already.
    pub(super) fn saw(&mut self, effect: &Effect, ledger: &Ledger) {
        if let Effect::Agent { peer, message } = effect
            && matches!(message, ToAgent::Drain { .. })
            && let Some(agent) = ledger.peers.get(peer)
        {
            self.told.insert(agent.clone(), *peer);
        }
    }

    /// Ends a turn; says which drain does not go on. `is_empty` says of which agent nothing is
    /// left.
    pub(super) fn check(
        &mut self,
        now: Time,
        ledger: &Ledger,
        is_empty: impl Fn(&AgentId) -> bool,
    ) -> Result<(), Broken> {
        self.turns += now.since(self.last).min(TURN);
        self.last = now;
        let before = core::mem::take(&mut self.over);
        for (id, row) in ledger.registry().agents() {
            let Standing::Draining(_) = row.standing else {
                continue;
            };
            let mut peers = ledger.peers.iter().rev();
            let Some((peer, _)) = peers.find(|(_, agent)| *agent == id) else {
                continue;
            };
            if self.told.get(id) != Some(peer) {
                let problem = format!("{id} is to be drained, and is not told");
                return Err((Property::Drains, problem));
            }
            if row.under_way() > 0 || ledger.is_in_use(id) || !is_empty(id) {
                continue;
            }
            let since = before.get(id).copied().unwrap_or(self.turns);
            let late = self.turns - since;
            if late > BOUND {
                let problem =
                    format!("nothing is left on {id} for {late:?}, and its drain goes on");
                return Err((Property::Drains, problem));
            }
            self.over.insert(id.clone(), since);
        }
        Ok(())
    }
}

impl World {
    /// Checks that drains go on.
    pub(super) fn check_drains(&mut self) -> Result<(), Broken> {
        let all_there = self.watch.all_subscribed() && self.watch.unconfirmed(|_| true).is_none();
        let agents = &self.agents;
        let is_empty = |id: &AgentId| {
            let machine = |agent: &&Agent| agent.view().id() == Some(id);
            let mut seats = agents.iter();
            let seat = seats.find(|seat| seat.node.machine().as_ref().is_some_and(machine));
            seat.is_some_and(|seat| {
                let agent = seat.node.machine();
                let mut tasks = agent.into_iter().flat_map(|agent| agent.view().tasks());
                tasks.next().is_none() && seat.containers.alive().next().is_none()
            })
        };
        let now = self.shared.now;
        self.watch.check_drains(now, |id| all_there && is_empty(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::node::DrainConfig;
    use crate::protocol::status::TaskState;
    use crate::sim::check::scene::{
        AGENT, OTHER, OWNER, accept, agent, book, event, offer, offers, registered, run,
        subscribed, task, update,
    };

    struct Scene {
        ledger: Ledger,
        drains: Drains,
        now: Time,
    }

    impl Scene {
        /// An agent that is to be drained.
        fn new() -> Self {
            let mut scene = Self {
                ledger: book(),
                drains: Drains::default(),
                now: Time::ZERO,
            };
            let config = DrainConfig {
                max_grace: None,
                mark_gone: false,
            };
            scene.stands(Standing::Draining(config));
            scene
        }

        fn stands(&mut self, standing: Standing) {
            let (id, at) = (agent(), self.now);
            let op = RegistryOp::SetStanding { id, standing, at };
            self.ledger.wrote(&op);
            self.drains.wrote(&op);
        }

        fn saw(&mut self, effect: &Effect) {
            self.ledger.saw(effect);
            self.drains.saw(effect, &self.ledger);
        }

        fn tell(&mut self, peer: PeerId) {
            let (max_grace, since) = (None, Time::ZERO);
            let message = ToAgent::Drain { max_grace, since };
            self.saw(&Effect::Agent { peer, message });
        }

        fn check(&mut self, is_empty: bool) -> Result<(), Property> {
            let checked = self.drains.check(self.now, &self.ledger, |_| is_empty);
            checked.map_err(|(property, _)| property)
        }

        /// Lets so many seconds go by.
        fn pass(&mut self, seconds: u32, is_empty: bool) -> Result<(), Property> {
            (0..seconds).try_for_each(|_| {
                self.now = self.now + TURN;
                self.check(is_empty)
            })
        }
    }

    const BROKEN: Result<(), Property> = Err(Property::Drains);

    // TK-124
    #[test]
    fn an_agent_that_is_not_told_is_found() {
        let mut scene = Scene::new();
        assert_eq!(scene.check(false), BROKEN);
        scene.tell(OTHER);
        assert_eq!(scene.check(false), BROKEN, "that is nobody");
        scene.tell(AGENT);
        assert_eq!(scene.check(false), Ok(()));
        scene
            .ledger
            .hears(&crate::master::Input::Disconnected { peer: AGENT });
        assert_eq!(scene.check(false), Ok(()), "it cannot be");
        scene.saw(&registered(OTHER));
        assert_eq!(scene.check(false), BROKEN, "it is back");
        scene.tell(OTHER);
        assert_eq!(scene.check(false), Ok(()));
        scene.stands(Standing::Drained);
        assert_eq!(scene.check(false), Ok(()));
    }

    // TK-125, SM-42
    #[test]
    fn a_drain_that_does_not_end_is_found() {
        let mut scene = Scene::new();
        scene.tell(AGENT);
        assert_eq!(scene.pass(60, false), Ok(()));
        assert_eq!(scene.pass(20, true), Ok(()));
        assert_eq!(scene.pass(1, false), Ok(()), "there is something");
        assert_eq!(scene.pass(21, true), Ok(()));
        assert_eq!(scene.pass(1, true), BROKEN);

        // What is booked is in use.
        let mut scene = Scene::new();
        let offer = offer(1, "cpus:1");
        scene.tell(AGENT);
        scene.saw(&subscribed(OWNER));
        scene.saw(&offers(&[&offer]));
        assert_eq!(scene.pass(60, true), BROKEN, "an offer is not in the way");
        scene.ledger.hears(&accept(OWNER, &offer));
        let task = task(&offer);
        scene.saw(&run(&task));
        assert_eq!(scene.pass(60, true), Ok(()));
        scene.saw(&event(OWNER, crate::protocol::scheduler::Event::Heartbeat));
        scene.ledger.hears(&update(&task, TaskState::Finished));
        assert_eq!(scene.pass(60, true), BROKEN);
    }
}

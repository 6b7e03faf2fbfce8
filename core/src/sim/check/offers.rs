//! What becomes of offers, by what the master says and hears: an accept that names an offer which
//! is no longer good launches nothing (OF-11, OF-12), and no unit of a resource is in two offers at
//! a time (I2).
//!
//! Cheap, so that it is looked at after each step: the ledger never looks at the master's books.
//! That these add up, with what tasks use, [`super::conservation`] recomputes.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::Broken;
use crate::ids::{AgentId, OfferId, PeerId, TaskId};
use crate::machine::Durable;
use crate::master::{Effect, Input};
use crate::protocol::agent::ToAgent;
use crate::protocol::offer::Offer;
use crate::protocol::scheduler::{Call, Event};
use crate::protocol::task::TaskInfo;
use crate::registry::{Registry, RegistryOp};
use crate::sim::property::Property;
use crate::sim::world::Totals;

/// The offers that stand, and to whom they were made.
#[derive(Debug)]
pub(super) struct Ledger {
    /// What each agent has, as long as no operation has made something else of it.
    totals: Arc<Totals>,
    /// By the master's own records: what operations have made.
    registry: Registry,
    good: BTreeMap<OfferId, (PeerId, Offer)>,
    by_agent: BTreeMap<AgentId, BTreeSet<OfferId>>,
    /// The tasks of an accept that must launch nothing.
    doomed: Vec<TaskId>,
    violation: Option<Broken>,
}

impl Ledger {
    pub(super) fn new(totals: Arc<Totals>, registry: Registry) -> Self {
        Self {
            totals,
            registry,
            good: BTreeMap::new(),
            by_agent: BTreeMap::new(),
            doomed: Vec::new(),
            violation: None,
        }
    }

    /// Sees what the master is about to hear.
    pub(super) fn hears(&mut self, input: &Input) {
        self.doomed.clear();
        if let Input::Disconnected { peer } = input {
            self.forget_all(*peer);
        }
        let Input::Scheduler { peer, call } = input else {
            return;
        };
        match call {
            Call::Accept {
                offers, operations, ..
            } => {
                if !offers.iter().all(|offer| self.is_good(*peer, offer)) {
                    for operation in operations {
                        let tasks = operation.tasks().iter();
                        self.doomed.extend(tasks.map(|task| task.id.clone()));
                    }
                }
                self.answered(*peer, offers);
            }
            Call::Decline { offers, .. } => self.answered(*peer, offers),
            Call::Teardown => self.forget_all(*peer),
            Call::Subscribe { .. }
            | Call::Suppress { .. }
            | Call::Revive { .. }
            | Call::Update { .. }
            | Call::Reconcile { .. }
            | Call::Kill { .. }
            | Call::Acknowledge { .. }
            | Call::AcknowledgeOperation { .. }
            | Call::ReconcileOperations { .. }
            | Call::Message { .. }
            | Call::ShutdownExecutor { .. }
            | Call::Demand { .. } => {}
        }
    }

    /// Sees what the master writes down.
    pub(super) fn wrote(&mut self, op: &RegistryOp) {
        self.registry.apply(op);
    }

    /// Sees what the master wants.
    pub(super) fn saw(&mut self, effect: &Effect) {
        match effect {
            Effect::Scheduler {
                peer,
                event: Event::Offers(offers),
            } => {
                for offer in offers {
                    self.add(*peer, offer);
                }
            }
            Effect::Scheduler {
                event: Event::Rescind(offer),
                ..
            } => self.forget(offer),
            Effect::Scheduler {
                peer,
                event: Event::Error { .. },
            }
            | Effect::Disconnect { peer, .. } => self.forget_all(*peer),
            Effect::Agent {
                message: ToAgent::RunTask { task, .. },
                ..
            } => self.launched(task),
            Effect::Agent {
                message: ToAgent::RunGroup(order),
                ..
            } => order.tasks.iter().for_each(|task| self.launched(task)),
            Effect::Scheduler { .. }
            | Effect::Agent { .. }
            | Effect::Respond { .. }
            | Effect::Resign { .. } => {}
        }
    }

    fn launched(&mut self, task: &TaskInfo) {
        if self.doomed.contains(&task.id) {
            let problem = format!("{} was launched on a dead offer", task.id);
            self.violation.get_or_insert((Property::Offers, problem));
        }
    }

    /// Says what was launched or offered that should not have been.
    pub(super) fn check(&mut self) -> Result<(), Broken> {
        self.doomed.clear();
        self.violation.take().map_or(Ok(()), Err)
    }

    fn is_good(&self, peer: PeerId, offer: &OfferId) -> bool {
        self.good.get(offer).is_some_and(|(to, _)| *to == peer)
    }

    /// Ends offers that were answered by those whom they were made to: no offer ends by being named
    /// by somebody else.
    fn answered(&mut self, peer: PeerId, offers: &[OfferId]) {
        for offer in offers {
            if self.is_good(peer, offer) {
                self.forget(offer);
            }
        }
    }

    fn add(&mut self, peer: PeerId, offer: &Offer) {
        let of_agent = self.by_agent.entry(offer.agent.clone()).or_default();
        of_agent.insert(offer.id.clone());
        self.good.insert(offer.id.clone(), (peer, offer.clone()));
        // One after the other: added up, a port that is offered twice would be there once.
        let Some(described) = self.totals.get(&offer.hostname) else {
            let problem = format!("{} is of nobody: {:?}", offer.id, offer.hostname);
            self.violation.get_or_insert((Property::Holders, problem));
            return;
        };
        let admission = self.registry.agent(&offer.agent);
        let converted = admission.filter(|admission| admission.converted.last > 0);
        let mut free = converted.map_or_else(|| described.clone(), |admission| admission.total());
        if free.total() != described.total() {
            let problem = format!("{} had {described}, and has {free}", offer.agent);
            self.violation.get_or_insert((Property::Holders, problem));
            return;
        }
        for id in of_agent.iter() {
            let (_, standing) = &self.good[id];
            if let Err(error) = free.subtract(&standing.resources) {
                let problem = format!("{} offers too much of {}: {error}", offer.id, offer.agent);
                self.violation.get_or_insert((Property::Holders, problem));
                return;
            }
        }
    }

    fn forget(&mut self, id: &OfferId) {
        let Some((_, offer)) = self.good.remove(id) else {
            return;
        };
        if let Some(of_agent) = self.by_agent.get_mut(&offer.agent) {
            of_agent.remove(id);
            if of_agent.is_empty() {
                self.by_agent.remove(&offer.agent);
            }
        }
    }

    /// Ends the offers of who is not there any more.
    fn forget_all(&mut self, peer: PeerId) {
        let of_peer = self.good.iter().filter(|(_, (to, _))| *to == peer);
        let of_peer: Vec<OfferId> = of_peer.map(|(id, _)| id.clone()).collect();
        for id in &of_peer {
            self.forget(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::String;
    use alloc::vec;

    use super::*;
    use crate::attributes::Attributes;
    use crate::ids::FrameworkId;
    use crate::protocol::framework::FrameworkInfo;
    use crate::protocol::offer::Operation;
    use crate::resources::Resources;
    use crate::roles::Role;

    const OWNER: PeerId = PeerId(1);
    const OTHER: PeerId = PeerId(3);

    fn bag(text: &str) -> Resources {
        Resources::parse(text).unwrap()
    }

    fn ledger() -> Ledger {
        let totals = [(String::new(), bag("cpus:4;ports:[1-4]"))].into();
        Ledger::new(Arc::new(totals), Registry::default())
    }

    fn offer(n: u32, resources: &str) -> Offer {
        Offer {
            id: OfferId::new(&format!("m-O{n}")).unwrap(),
            framework: FrameworkId::new("m-0000").unwrap(),
            role: Role::new("*").unwrap(),
            agent: AgentId::new("m-S1").unwrap(),
            hostname: String::new(),
            address: String::new(),
            attributes: Attributes::default(),
            domain: None,
            resources: bag(resources),
        }
    }

    fn offers(offers: &[&Offer]) -> Effect {
        Effect::Scheduler {
            peer: OWNER,
            event: Event::Offers(offers.iter().copied().cloned().collect()),
        }
    }

    fn call(peer: PeerId, call: Call) -> Input {
        Input::Scheduler { peer, call }
    }

    fn accept(peer: PeerId, offer: &Offer, task: &TaskInfo) -> Input {
        let offers = vec![offer.id.clone()];
        let operations = vec![Operation::Launch(vec![task.clone()])];
        let refuse = None;
        call(
            peer,
            Call::Accept {
                offers,
                operations,
                refuse,
            },
        )
    }

    #[test]
    fn a_launch_on_a_dead_offer_is_found() {
        let good = offer(1, "cpus:1");
        let command = crate::protocol::task::CommandInfo::shell("true");
        let task = good.task(TaskId::new("t").unwrap(), bag("cpus:1"), command);
        let run = Effect::Agent {
            peer: PeerId(2),
            message: ToAgent::RunTask {
                framework: FrameworkInfo::new("f"),
                role: Role::any(),
                task: task.clone(),
                starts_executor: false,
            },
        };
        let launches = |ledger: &mut Ledger, peer| {
            ledger.hears(&accept(peer, &good, &task));
            ledger.saw(&run);
            ledger.check()
        };
        let mut ledger = ledger();
        ledger.saw(&offers(&[&good]));
        let dead = launches(&mut ledger, OTHER).unwrap_err();
        assert_eq!(dead.0, Property::Offers);
        assert_eq!(launches(&mut ledger, OWNER), Ok(()));
        assert!(launches(&mut ledger, OWNER).is_err(), "it was used up");
        ledger.saw(&offers(&[&good]));
        ledger.hears(&Input::Disconnected { peer: OWNER });
        assert!(launches(&mut ledger, OWNER).is_err(), "nobody was there");
    }

    #[test]
    fn what_is_offered_twice_is_found() {
        let (first, second) = (
            offer(1, "cpus:3;ports:[1-2]"),
            offer(2, "cpus:1;ports:[2-3]"),
        );
        let mut twice = ledger();
        twice.saw(&offers(&[&first, &second]));
        assert_eq!(twice.check().unwrap_err().0, Property::Holders);
        let mut too_much = ledger();
        too_much.saw(&offers(&[&offer(1, "cpus:3"), &offer(2, "cpus:2")]));
        assert_eq!(too_much.check().unwrap_err().0, Property::Holders);

        let decline = |peer| {
            let (offers, refuse) = (vec![first.id.clone()], None);
            call(peer, Call::Decline { offers, refuse })
        };
        let rescind = Effect::Scheduler {
            peer: OWNER,
            event: Event::Rescind(first.id.clone()),
        };
        let again = |ends: &dyn Fn(&mut Ledger)| {
            let mut ledger = ledger();
            ledger.saw(&offers(&[&first]));
            ends(&mut ledger);
            ledger.saw(&offers(&[&second]));
            ledger.check().is_ok()
        };
        assert!(again(&|ledger| ledger.hears(&decline(OWNER))));
        assert!(again(&|ledger| ledger.saw(&rescind)));
        assert!(again(&|ledger| ledger.hears(&call(OWNER, Call::Teardown))));
        assert!(again(
            &|ledger| ledger.hears(&Input::Disconnected { peer: OWNER })
        ));
        assert!(!again(&|ledger| ledger.hears(&decline(OTHER))));
        assert!(!again(
            &|ledger| ledger.hears(&Input::Disconnected { peer: OTHER })
        ));
    }
}

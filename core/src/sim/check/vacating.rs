//! Who is to leave an agent is asked, once (OF-48, OF-50): whoever holds something of an agent
//! whose machine is in the schedule has one question open or has answered it; and a question ends
//! by an answer, by word that it is void, or with its connection. So nobody is asked any more to
//! leave what stays.
//!
//! A framework that leaves a machine for nothing has ended tasks for nothing; one that is not asked
//! loses them without a word. Told from what the leading master hears and says.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;

use super::Broken;
use super::ledger::Ledger;
use super::maintenance::unavailability;
use crate::ids::{AgentId, FrameworkId, OfferId, PeerId};
use crate::limits;
use crate::master::{Effect, Input, Master};
use crate::protocol::maintenance::Unavailability;
use crate::protocol::node::Standing;
use crate::protocol::offer::InverseOffer;
use crate::protocol::scheduler::{Call, Event};
use crate::registry::Registry;
use crate::sim::property::Property;

/// A question that has neither an answer nor an end.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Open {
    agent: AgentId,
    unavailability: Unavailability,
}

/// All questions to those who are subscribed.
#[derive(Debug, Default)]
pub(super) struct Questions {
    subscribed: BTreeMap<PeerId, FrameworkId>,
    open: BTreeMap<(PeerId, OfferId), Open>,
    /// Who has answered.
    answered: BTreeSet<(PeerId, AgentId)>,
    violation: Option<String>,
}

impl Questions {
    pub(super) fn hears(&mut self, input: &Input) {
        match input {
            Input::Disconnected { peer } => self.leave(*peer),
            Input::Scheduler {
                peer,
                call: Call::AcceptInverse { offers, .. } | Call::DeclineInverse { offers, .. },
            } => {
                let named: BTreeSet<&OfferId> = offers.iter().collect();
                // Else the call is turned down.
                if named.len() == offers.len() && offers.len() <= limits::OFFERS_PER_CALL {
                    let keys = offers.iter().map(|offer| (*peer, offer.clone()));
                    let open = keys.filter_map(|key| self.open.remove(&key));
                    self.answered.extend(open.map(|open| (*peer, open.agent)));
                }
            }
            Input::Scheduler { .. }
            | Input::Connected { .. }
            | Input::Agent { .. }
            | Input::Operator { .. } => {}
        }
    }

    /// The master says something, with this registry.
    pub(super) fn saw(&mut self, effect: &Effect, registry: &Registry) {
        match effect {
            Effect::Scheduler { peer, event } => self.told(*peer, event, registry),
            Effect::Disconnect { peer, .. } => self.leave(*peer),
            Effect::Agent { .. } | Effect::Respond { .. } | Effect::Resign { .. } => {}
        }
    }

    fn told(&mut self, peer: PeerId, event: &Event, registry: &Registry) {
        match event {
            Event::Subscribed { framework, .. } => {
                self.leave(peer);
                self.subscribed.insert(peer, framework.clone());
            }
            Event::Error { .. } => self.leave(peer),
            Event::InverseOffers(offers) => {
                for offer in offers {
                    if let Err(problem) = self.asked(peer, offer, registry) {
                        self.violation.get_or_insert(problem);
                    }
                }
            }
            Event::RescindInverse(offer) => {
                self.open.remove(&(peer, offer.clone()));
            }
            Event::Heartbeat
            | Event::Offers(_)
            | Event::Rescind(_)
            | Event::Update(_)
            | Event::Rejected { .. }
            | Event::Unheard { .. }
            | Event::OperationUpdate(_)
            | Event::Updated
            | Event::Reconciled(_)
            | Event::Message { .. }
            | Event::ExecutorEnded { .. }
            | Event::AgentLost { .. } => {}
        }
    }

    fn asked(
        &mut self,
        peer: PeerId,
        offer: &InverseOffer,
        registry: &Registry,
    ) -> Result<(), String> {
        let (id, agent) = (&offer.id, &offer.agent);
        if self.subscribed.get(&peer) != Some(&offer.framework) {
            return Err(format!(
                "{id} is for {}, and {peer:?} is not",
                offer.framework
            ));
        }
        let twice = self.open.iter();
        let mut twice = twice.filter(|((to, _), open)| *to == peer && open.agent == *agent);
        if let Some(((_, first), _)) = twice.next() {
            return Err(format!("{id} asks to leave {agent}, and so does {first}"));
        }
        let open = Open {
            agent: agent.clone(),
            unavailability: offer.unavailability,
        };
        stands(&open, registry).map_err(|why| format!("{id} asks to leave {agent}: {why}"))?;
        self.answered.remove(&(peer, agent.clone()));
        self.open.insert((peer, id.clone()), open);
        Ok(())
    }

    fn leave(&mut self, peer: PeerId) {
        self.subscribed.remove(&peer);
        self.open.retain(|(to, _), _| *to != peer);
        self.answered.retain(|(to, _)| *to != peer);
    }

    /// Ends a turn; says what should not have been.
    pub(super) fn check(&mut self, registry: &Registry) -> Result<(), Broken> {
        for ((_, id), open) in &self.open {
            if let Err(why) = stands(open, registry) {
                let agent = &open.agent;
                let problem = format!("{id} still asks to leave {agent}: {why}");
                self.violation.get_or_insert(problem);
            }
        }
        let problem = self.violation.take();
        problem.map_or(Ok(()), |problem| Err((Property::Vacating, problem)))
    }

    /// Checks that everybody is asked who holds something of an agent that is to be left.
    pub(super) fn check_asked(&self, ledger: &Ledger, master: &Master) -> Result<(), Broken> {
        let registry = ledger.registry();
        if registry.maintenance().windows().is_empty() {
            return Ok(());
        }
        let agents = master.view().agents();
        let used = agents
            .iter()
            .filter(|row| row.presence.is_connected() && row.standing == Standing::Active);
        for row in used.filter(|row| unavailability(&row.info, registry).is_some()) {
            let holds = |peer: &PeerId, framework: &FrameworkId| {
                let mut offers = ledger.offers.values();
                let is_offered = offers.any(|(to, offer)| to == peer && offer.agent == row.id);
                let account = ledger.accounts.get(&row.id);
                let mut tasks = account.into_iter().flat_map(|account| account.tasks());
                is_offered || tasks.any(|(of, _)| of == framework)
            };
            for (peer, framework) in &self.subscribed {
                let key = (*peer, row.id.clone());
                let mut open = self.open.iter();
                let is_asked = open.any(|((to, _), open)| to == peer && open.agent == row.id);
                if holds(peer, framework) && !is_asked && !self.answered.contains(&key) {
                    let problem = format!("{framework} is not asked to leave {}", row.id);
                    return Err((Property::Vacating, problem));
                }
            }
        }
        Ok(())
    }
}

/// Says why a question should not be open.
fn stands(open: &Open, registry: &Registry) -> Result<(), String> {
    let Some(row) = registry.agent(&open.agent) else {
        return Err("it is not admitted".into());
    };
    if row.standing != Standing::Active {
        return Err(format!("it is {}", row.standing.as_str()));
    }
    let is = unavailability(&row.info, registry);
    if is == Some(open.unavailability) {
        return Ok(());
    }
    Err(format!("it is away {is:?}, not {:?}", open.unavailability))
}

#[cfg(test)]
mod tests {
    use alloc::sync::Arc;
    use alloc::vec;

    use super::*;
    use crate::machine::Durable;
    use crate::protocol::maintenance::{MachineId, Window};
    use crate::protocol::node::AgentInfo;
    use crate::registry::RegistryOp;
    use crate::sim::check::scene::{OTHER, OWNER, agent, event, framework, subscribed};
    use crate::time::Time;

    const WHEN: Unavailability = Unavailability {
        start: Time::ZERO,
        duration: None,
    };

    struct Scene {
        questions: Questions,
        registry: Registry,
    }

    impl Scene {
        /// A framework, and an agent that is to be left.
        fn new() -> Self {
            let info = AgentInfo::new("host", "host:5051", Default::default());
            let mut scene = Self {
                questions: Questions::default(),
                registry: Registry::default(),
            };
            scene.registry.apply(&RegistryOp::Admit {
                id: agent(),
                name: "host".into(),
                info: Arc::new(info),
            });
            scene.schedule(&["host"]);
            scene.saw(subscribed(OWNER));
            scene
        }

        fn schedule(&mut self, machines: &[&str]) {
            let machines = machines.iter().map(|it| MachineId::of_hostname(*it));
            let windows = vec![Window {
                machines: machines.collect(),
                unavailability: WHEN,
            }];
            self.registry.apply(&RegistryOp::SetSchedule { windows });
        }

        fn saw(&mut self, effect: Effect) {
            self.questions.saw(&effect, &self.registry);
        }

        fn ask(&mut self, peer: PeerId, n: u64) {
            self.saw(event(peer, Event::InverseOffers(vec![inverse(n)])));
        }

        fn answer(&mut self, peer: PeerId, offers: &[u64]) {
            let offers = offers.iter().map(|n| inverse(*n).id).collect();
            let refuse = None;
            let call = Call::DeclineInverse { offers, refuse };
            self.questions.hears(&Input::Scheduler { peer, call });
        }

        fn check(&mut self) -> Result<(), Property> {
            let checked = self.questions.check(&self.registry);
            checked.map_err(|(property, _)| property)
        }
    }

    fn inverse(n: u64) -> InverseOffer {
        InverseOffer {
            id: OfferId::new(&format!("m-O{n}")).unwrap(),
            framework: framework(),
            agent: agent(),
            hostname: "host".into(),
            resources: Default::default(),
            unavailability: WHEN,
        }
    }

    const BROKEN: Result<(), Property> = Err(Property::Vacating);

    // OF-50
    #[test]
    fn a_second_question_is_found_unless_the_first_has_ended() {
        let rescind = |n| event(OWNER, Event::RescindInverse(inverse(n).id));
        type End = fn(&mut Scene, Effect);
        let ends: [(End, bool); 6] = [
            (|_, _| {}, false),
            (|scene, _| scene.answer(OWNER, &[1]), true),
            (|scene, _| scene.answer(OTHER, &[1]), false),
            (|scene, _| scene.answer(OWNER, &[1, 1]), false),
            (|scene, rescind| scene.saw(rescind), true),
            (|scene, _| scene.saw(subscribed(OWNER)), true),
        ];
        for (place, (end, is_fine)) in ends.into_iter().enumerate() {
            let mut scene = Scene::new();
            scene.ask(OWNER, 1);
            assert_eq!(scene.check(), Ok(()));
            end(&mut scene, rescind(1));
            scene.ask(OWNER, 2);
            assert_eq!(scene.check().is_ok(), is_fine, "{place}");
        }
    }

    // OF-48, OF-50
    #[test]
    fn who_is_asked_to_leave_what_stays_is_found() {
        let mut scene = Scene::new();
        scene.ask(OTHER, 1);
        assert_eq!(scene.check(), BROKEN, "it is nobody");
        scene.ask(OWNER, 1);
        assert_eq!(scene.check(), Ok(()));
        scene.schedule(&["other"]);
        assert_eq!(scene.check(), BROKEN, "it was not taken back");
        scene.saw(event(OWNER, Event::RescindInverse(inverse(1).id)));
        assert_eq!(scene.check(), Ok(()));
        scene.ask(OWNER, 2);
        assert_eq!(scene.check(), BROKEN, "it stays");
        let mut scene = Scene::new();
        scene.ask(OWNER, 1);
        let (id, standing, at) = (agent(), Standing::Deactivated, Time::ZERO);
        scene
            .registry
            .apply(&RegistryOp::SetStanding { id, standing, at });
        assert_eq!(scene.check(), BROKEN);
        let mut scene = Scene::new();
        scene.ask(OWNER, 1);
        let (id, at) = (agent(), Time::ZERO);
        scene.registry.apply(&RegistryOp::Remove {
            id,
            at,
            by_operator: false,
        });
        assert_eq!(scene.check(), BROKEN);
    }
}

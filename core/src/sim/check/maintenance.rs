//! What operators take out of service is not used: nobody is offered an agent whose machine is down
//! or that is being drained, none of these is given a task, and no agent serves on a machine that
//! is down (TK-119, TK-120, TK-124, AG-05). Offers say when the machine is to be out of service.
//!
//! Somebody may have opened the machine already: what is started there is lost, and what is offered
//! there is offered in vain. Told from what the master writes down and then says; whether an agent
//! is on a machine is worked out here once more. What ran there and was not told as ended is found
//! by [`super::convergence`], what is not freed by [`super::conservation`].

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;

use super::Broken;
use crate::ids::{AgentId, PeerId};
use crate::master::{Effect, Input};
use crate::protocol::agent::ToAgent;
use crate::protocol::maintenance::{MachineId, Unavailability};
use crate::protocol::node::{AgentInfo, Standing};
use crate::protocol::offer::Offer;
use crate::protocol::scheduler::Event;
use crate::registry::Registry;
use crate::sim::property::Property;

/// Who serves over which connection, and what was wrong in this turn.
#[derive(Debug, Default)]
pub(super) struct Service {
    peers: BTreeMap<PeerId, AgentId>,
    /// Whether something was written down that is not looked at yet.
    has_changed: bool,
    violation: Option<String>,
}

impl Service {
    pub(super) fn hears(&mut self, input: &Input) {
        if let Input::Disconnected { peer } = input {
            self.peers.remove(peer);
        }
    }

    /// The master writes something down.
    pub(super) fn wrote(&mut self) {
        self.has_changed = true;
    }

    /// The master says something, with this registry.
    pub(super) fn saw(&mut self, effect: &Effect, registry: &Registry) {
        match effect {
            Effect::Scheduler {
                event: Event::Offers(offers),
                ..
            } => {
                for offer in offers {
                    self.expect(offered(offer, registry));
                }
            }
            Effect::Agent { peer, message } => {
                let used = self.told(*peer, message, registry);
                self.expect(used);
            }
            Effect::Scheduler { .. }
            | Effect::Respond { .. }
            | Effect::Disconnect { .. }
            | Effect::Resign { .. } => {}
        }
    }

    fn told(&mut self, peer: PeerId, message: &ToAgent, registry: &Registry) -> Result<(), String> {
        match message {
            ToAgent::Registered { id, .. } | ToAgent::Reregistered { id, .. } => {
                self.peers.insert(peer, id.clone());
                Ok(())
            }
            ToAgent::RunTask { .. } | ToAgent::RunGroup(_) => {
                let agent = self.peers.get(&peer);
                let agent = agent.ok_or_else(|| format!("{peer:?} is no agent, and runs tasks"))?;
                in_service(agent, registry).map_err(|why| format!("{why}, and is given tasks"))?;
                Ok(())
            }
            ToAgent::Refused(_)
            | ToAgent::Ping
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
            | ToAgent::ShutdownExecutor { .. } => Ok(()),
        }
    }

    fn expect(&mut self, result: Result<(), String>) {
        if let Err(problem) = result {
            self.violation.get_or_insert(problem);
        }
    }

    /// Ends a turn; says what should not have been.
    pub(super) fn check(&mut self, registry: &Registry) -> Result<(), Broken> {
        if core::mem::take(&mut self.has_changed) && registry.maintenance().down().next().is_some()
        {
            let mut agents = registry.agents();
            let serves = agents.find(|(_, row)| is_down(&row.info, registry));
            let serves = serves.map(|(id, _)| format!("{id} serves on a machine that is down"));
            self.expect(serves.map_or(Ok(()), Err));
        }
        let problem = self.violation.take();
        problem.map_or(Ok(()), |problem| Err((Property::Maintenance, problem)))
    }
}

fn offered(offer: &Offer, registry: &Registry) -> Result<(), String> {
    let info = in_service(&offer.agent, registry).map_err(|why| format!("{why}, and offered"))?;
    let (is, said) = (unavailability(info, registry), offer.unavailability);
    if is == said {
        return Ok(());
    }
    let (id, agent) = (&offer.id, &offer.agent);
    Err(format!(
        "{id} says that {agent} is away {said:?}, and it is {is:?}"
    ))
}

/// Returns what is known of an agent, if it is in service; or says why it is not.
fn in_service<'a>(agent: &AgentId, registry: &'a Registry) -> Result<&'a AgentInfo, String> {
    let Some(row) = registry.agent(agent) else {
        return Err(format!("{agent} is not admitted"));
    };
    if is_down(&row.info, registry) {
        return Err(format!("{agent} is on a machine that is down"));
    }
    if row.standing != Standing::Active {
        return Err(format!("{agent} is {}", row.standing.as_str()));
    }
    Ok(&row.info)
}

fn is_down(info: &AgentInfo, registry: &Registry) -> bool {
    let mut down = registry.maintenance().down();
    down.any(|machine| is_on(info, machine))
}

/// Returns when the machine of an agent is to be out of service: the first time, if there are
/// several.
pub(super) fn unavailability(info: &AgentInfo, registry: &Registry) -> Option<Unavailability> {
    let machines = registry.maintenance().machines();
    let own = machines.filter(|(machine, ..)| is_on(info, machine));
    own.map(|(_, _, when)| when).min()
}

/// Returns whether all that is stated of a machine is so of the agent's (TK-117).
fn is_on(info: &AgentInfo, machine: &MachineId) -> bool {
    let named = &machine.hostname;
    let fits = |ip| info.address.rsplit_once(':').map(|it| it.0) == Some(format!("{ip}").as_str());
    let has_name = named.is_empty() || named.eq_ignore_ascii_case(&info.hostname);
    has_name && machine.ip.is_none_or(fits)
}

#[cfg(test)]
mod tests {
    use alloc::sync::Arc;
    use alloc::vec;
    use core::time::Duration;

    use super::*;
    use crate::ids::MasterId;
    use crate::machine::Durable;
    use crate::protocol::maintenance::Window;
    use crate::registry::RegistryOp;
    use crate::sim::check::scene::{AGENT, OWNER, agent, event, offer, run, task};
    use crate::time::Time;

    const WHEN: Unavailability = Unavailability {
        start: Time::ZERO,
        duration: None,
    };

    struct Scene {
        service: Service,
        registry: Registry,
    }

    impl Scene {
        /// One agent, which serves.
        fn new() -> Self {
            let info = AgentInfo::new("Host", "10.0.0.1:5051", Default::default());
            let mut scene = Self {
                service: Service::default(),
                registry: Registry::default(),
            };
            scene.wrote(RegistryOp::Admit {
                id: agent(),
                name: "host".into(),
                info: Arc::new(info),
            });
            scene.saw(Effect::Agent {
                peer: AGENT,
                message: ToAgent::Registered {
                    id: agent(),
                    master: MasterId::of("m", 1).unwrap(),
                    epoch: 1,
                    ping_timeout: Duration::from_secs(75),
                },
            });
            scene
        }

        fn wrote(&mut self, op: RegistryOp) {
            self.registry.apply(&op);
            self.service.wrote();
        }

        fn schedule(&mut self, machine: MachineId) {
            let (machines, unavailability) = (vec![machine], WHEN);
            let window = Window {
                machines,
                unavailability,
            };
            let windows = vec![window];
            self.wrote(RegistryOp::SetSchedule { windows });
        }

        fn saw(&mut self, effect: Effect) {
            self.service.saw(&effect, &self.registry);
        }

        fn check(&mut self) -> Result<(), Property> {
            let checked = self.service.check(&self.registry);
            checked.map_err(|(property, _)| property)
        }
    }

    fn offered(unavailability: Option<Unavailability>) -> Effect {
        let offer = offer(1, "cpus:1");
        let offer = Offer {
            unavailability,
            ..offer
        };
        event(OWNER, Event::Offers(vec![offer]))
    }

    /// What a machine can be called.
    fn names() -> [MachineId; 3] {
        let ip = "10.0.0.1".parse().ok();
        let by_name = MachineId::of_hostname("host");
        let both = MachineId {
            ip,
            ..by_name.clone()
        };
        let by_ip = MachineId {
            ip,
            ..Default::default()
        };
        [by_name, both, by_ip]
    }

    const BROKEN: Result<(), Property> = Err(Property::Maintenance);

    // TK-119
    #[test]
    fn an_offer_that_does_not_say_when_its_machine_is_away_is_found() {
        for machine in names() {
            let mut scene = Scene::new();
            scene.saw(offered(None));
            assert_eq!(scene.check(), Ok(()));
            scene.saw(offered(Some(WHEN)));
            assert_eq!(scene.check(), BROKEN);
            scene.schedule(machine);
            scene.saw(offered(Some(WHEN)));
            assert_eq!(scene.check(), Ok(()));
            scene.saw(offered(None));
            assert_eq!(scene.check(), BROKEN);
        }
        let mut scene = Scene::new();
        scene.schedule(MachineId::of_hostname("other"));
        scene.saw(offered(None));
        assert_eq!(scene.check(), Ok(()));
    }

    // TK-120, AG-05
    #[test]
    fn whoever_serves_on_a_machine_that_is_down_is_found() {
        for machine in names() {
            let mut scene = Scene::new();
            scene.schedule(machine.clone());
            assert_eq!(scene.check(), Ok(()));
            let machines = vec![machine];
            scene.wrote(RegistryOp::MachinesDown { machines });
            assert_eq!(scene.check(), BROKEN, "it is still admitted");
            scene.saw(offered(Some(WHEN)));
            assert_eq!(scene.check(), BROKEN);
            scene.saw(run(&task(&offer(1, "cpus:1"))));
            assert_eq!(scene.check(), BROKEN);
            let (id, at) = (agent(), Time::ZERO);
            scene.wrote(RegistryOp::Remove {
                id,
                at,
                by_operator: false,
            });
            assert_eq!(scene.check(), Ok(()));
            scene.saw(offered(None));
            assert_eq!(scene.check(), BROKEN, "it is nobody");
        }
    }

    // TK-124, TK-127
    #[test]
    fn a_task_for_an_agent_out_of_service_is_found() {
        let mut scene = Scene::new();
        let launch = run(&task(&offer(1, "cpus:1")));
        scene.saw(launch.clone());
        assert_eq!(scene.check(), Ok(()));
        let (id, standing, at) = (agent(), Standing::Deactivated, Time::ZERO);
        scene.wrote(RegistryOp::SetStanding { id, standing, at });
        scene.saw(launch.clone());
        assert_eq!(scene.check(), BROKEN);
        scene.saw(offered(None));
        assert_eq!(scene.check(), BROKEN);
        scene.service.hears(&Input::Disconnected { peer: AGENT });
        scene.saw(launch);
        assert_eq!(scene.check(), BROKEN, "nobody is there");
    }
}

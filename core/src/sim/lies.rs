//! Peers that lie: well-formed messages that nobody should send, from agents, executors, frameworks
//! and operators, with certificates of their own or over connections that are theirs.
//!
//! Part of the world. Each lie is about others, or about what cannot be: nothing may follow from it
//! ([`super::check::refusals`]), and all else must hold for everybody, the liar's own tasks
//! included. What an agent says of its own tasks has to be believed, so of these no liar speaks,
//! but to repeat what was said before of some that are over. Of schedulers there is one that lies
//! for its living ([`Nonsense`](super::workload::Nonsense)).

use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use super::executors::Talker;
use super::fault::{Fault, Kind};
use super::queue::Name;
use super::world::{AgentSeat, Link, World, at};
use crate::agent;
use crate::auth::{PeerRole, Principal};
use crate::ids::{
    AgentId, ContainerId, ExecutorId, FrameworkId, OperationId, PeerId, RequestId, TaskId, UpdateId,
};
use crate::master::Input;
use crate::protocol::agent::ToMaster;
use crate::protocol::executor;
use crate::protocol::framework::{FrameworkInfo, Wishes};
use crate::protocol::maintenance::{MachineId, Unavailability, Window};
use crate::protocol::node::{AgentInfo, DrainConfig};
use crate::protocol::operation::{Conversion, OperationState, OperationStatus};
use crate::protocol::operator::{Call as Order, Request};
use crate::protocol::scheduler::Call;
use crate::protocol::status::{Source, TaskState, TaskStatus};
use crate::quota::Quota;
use crate::resources::{Milli, Resources};
use crate::rng::Rng;
use crate::roles::Role;
use crate::time::Time;

/// How many lies are told in a row.
const LIES: u64 = 4;
/// How much is kept of what an agent has said.
const SAID: usize = 24;
/// The name of who does not belong.
const LIAR: &str = "liar";

/// A task that is known to somebody, and not over.
pub(super) type Live = (FrameworkId, TaskId, AgentId);

fn no_framework() -> FrameworkId {
    FrameworkId::new("liar-0000").expect("a short name")
}

fn no_agent() -> AgentId {
    AgentId::new("liar-S0").expect("a short name")
}

fn no_task() -> TaskId {
    TaskId::new("liar-task").expect("a short name")
}

fn no_machine() -> MachineId {
    MachineId::of_hostname("liar")
}

fn pick<T: Clone>(all: &[T], rng: &mut Rng) -> Option<T> {
    let n = rng.below(all.len().max(1) as u64) as usize;
    all.get(n).cloned()
}

/// Says that a task is in some state, under a name that nobody has given.
fn word(task: TaskId, state: TaskState, rng: &mut Rng) -> TaskStatus {
    TaskStatus {
        update: Some(UpdateId(u128::from(rng.next_u64()))),
        ..TaskStatus::new(task, state, Source::Executor, Time::ZERO)
    }
}

impl AgentSeat {
    /// Keeps what the agent says of a task, to be said again by who lies.
    pub(super) fn keep_said(&mut self, message: &ToMaster) {
        if matches!(message, ToMaster::Update { .. }) {
            self.said.truncate(SAID - 1);
            self.said.push_front(message.clone());
        }
    }
}

impl World {
    /// Lets somebody tell some lies.
    pub(super) fn lie(&mut self, fault: Fault, rng: &mut Rng) {
        for _ in 0..=rng.below(LIES) {
            if self.violation.is_some() {
                return;
            }
            let is_told = match (fault.kind, fault.node) {
                (Kind::FalseOperator, _) => self.operator_lies(rng),
                (Kind::FalseFramework, _) => self.framework_lies(rng),
                (Kind::FalseAgent, Name::Agent(n)) => {
                    if rng.chance(1, 2) {
                        self.stranger_claims(n, rng)
                    } else {
                        self.agent_lies(n, rng)
                    }
                }
                (Kind::FalseExecutor, Name::Agent(n)) => self.executor_lies(n, rng),
                (..) => false,
            };
            if is_told {
                self.shared.hit(fault.node, fault.kind);
            }
        }
    }

    /// Lets somebody with a certificate of his own say something to the master that must change
    /// nothing. Returns whether there is one.
    fn stranger_says(&mut self, role: PeerRole, say: impl FnOnce(PeerId) -> Input) -> bool {
        if self.master.machine().is_none() {
            return false;
        }
        let peer = self.net.outside();
        let name = String::from(LIAR);
        let principal = Principal { role, name };
        self.master_hears(Input::Connected { peer, principal });
        self.master_hears_lie(peer, say(peer));
        self.master_hears(Input::Disconnected { peer });
        self.flush_master();
        true
    }

    /// Lets an operator order what cannot be.
    fn operator_lies(&mut self, rng: &mut Rng) -> bool {
        let agents = self.watch.agents();
        let agent = pick(&agents, rng).unwrap_or_else(no_agent);
        let Some(call) = order(agent, rng) else {
            return false;
        };
        self.stranger_says(PeerRole::Operator, |peer| asks(peer, call))
    }

    /// Lets somebody speak for a framework that is not his, or none at all.
    fn framework_lies(&mut self, rng: &mut Rng) -> bool {
        let tasks = self.watch.live();
        let task = pick(&tasks, rng);
        let (framework, task, agent) =
            task.unwrap_or_else(|| (no_framework(), no_task(), no_agent()));
        let role = match rng.below(8) {
            0 | 1 => PeerRole::Agent,
            2 => PeerRole::Operator,
            _ => PeerRole::Framework,
        };
        let call = match rng.below(7) {
            0 => Call::Kill { task, grace: None },
            1 => Call::Acknowledge {
                agent,
                task,
                update: UpdateId(u128::from(rng.next_u64())),
            },
            2 => Call::Teardown,
            3 => subscribe(FrameworkInfo {
                id: Some(no_framework()),
                ..FrameworkInfo::new(LIAR)
            }),
            4 => subscribe(FrameworkInfo {
                roles: vec![Role::any(), Role::any()],
                ..FrameworkInfo::new(LIAR)
            }),
            // Whose it is nobody has vouched for, it is anybody's who knows its id.
            _ if !self.watch.is_vouched_for(&framework) => return false,
            _ => subscribe(FrameworkInfo {
                id: Some(framework.clone()),
                ..FrameworkInfo::new(LIAR)
            }),
        };
        if role == PeerRole::Framework && rng.chance(1, 4) {
            let order = Order::Teardown { framework };
            return self.stranger_says(role, |peer| asks(peer, order));
        }
        self.stranger_says(role, |peer| Input::Scheduler { peer, call })
    }

    /// Lets somebody with a certificate of an agent claim to be another, or speak without being
    /// one.
    fn stranger_claims(&mut self, n: u32, rng: &mut Rng) -> bool {
        let info = self.agents[at(n)].info.clone();
        let tasks = self.watch.live();
        let task = pick(&tasks, rng);
        let (framework, task, _) = task.unwrap_or_else(|| (no_framework(), no_task(), no_agent()));
        let message = match rng.below(5) {
            0 => ToMaster::Register {
                agent: AgentInfo::new(LIAR, "no-port", info.resources),
            },
            1 => ToMaster::Unregister,
            2 => {
                let status = word(task, TaskState::Finished, rng);
                let latest = TaskState::Finished;
                ToMaster::Update {
                    framework,
                    status,
                    latest,
                }
            }
            _ => {
                let Some(id) = self.watch.bound_to(&info.hostname) else {
                    return false;
                };
                ToMaster::Reregister {
                    id,
                    agent: info,
                    frameworks: Vec::new(),
                    tasks: Vec::new(),
                }
            }
        };
        self.stranger_says(PeerRole::Agent, |peer| Input::Agent { peer, message })
    }

    /// Lets a registered agent speak of what is not its own, or of what was long ago.
    fn agent_lies(&mut self, n: u32, rng: &mut Rng) -> bool {
        let Link::Up(peer) = self.agents[at(n)].link else {
            return false;
        };
        let Some(own) = self.watch.agent_of(peer) else {
            return false;
        };
        let mut tasks = self.watch.live();
        if rng.below(4) == 0 {
            return self.agent_repeats(n, peer, &tasks, rng);
        }
        let what = rng.below(6);
        tasks.retain(|(_, _, agent)| (*agent == own) == (what == 0));
        let Some((framework, task, _)) = pick(&tasks, rng) else {
            return false;
        };
        let finished = TaskState::Finished;
        let (framework, status, latest) = match what {
            // It is nobody's to say of a task that it runs itself.
            0 => {
                let never = [TaskState::GoneByOperator, TaskState::Unreachable];
                let never = never[rng.below(2) as usize];
                (framework, word(task, never, rng), never)
            }
            1 => (framework, word(no_task(), finished, rng), finished),
            2 => (no_framework(), word(task, finished, rng), finished),
            3 => {
                let id = OperationId::new(LIAR).expect("a short name");
                let status = OperationStatus {
                    update: Some(UpdateId(u128::from(rng.next_u64()))),
                    ..OperationStatus::new(id, OperationState::Finished, Time::ZERO)
                };
                let message = ToMaster::OperationUpdate {
                    number: u64::MAX,
                    framework,
                    status,
                };
                self.agent_says(peer, message);
                return true;
            }
            _ => {
                let states = [finished, TaskState::Failed, TaskState::Running];
                let state = states[rng.below(3) as usize];
                (framework, word(task, state, rng), state)
            }
        };
        let message = ToMaster::Update {
            framework,
            status,
            latest,
        };
        self.agent_says(peer, message);
        true
    }

    fn agent_says(&mut self, peer: PeerId, message: ToMaster) {
        self.master_hears_lie(peer, Input::Agent { peer, message });
        self.flush_master();
    }

    /// Lets an agent say again what it said before of a task that is over.
    fn agent_repeats(&mut self, n: u32, peer: PeerId, live: &[Live], rng: &mut Rng) -> bool {
        let said = &self.agents[at(n)].said;
        let of_live = |framework: &FrameworkId, task: &TaskId| {
            live.iter().any(|it| (&it.0, &it.1) == (framework, task))
        };
        let over = said.iter().filter(|it| {
            let ToMaster::Update {
                framework, status, ..
            } = it
            else {
                return false;
            };
            !of_live(framework, &status.task)
        });
        let over: Vec<ToMaster> = over.cloned().collect();
        let Some(message) = pick(&over, rng) else {
            return false;
        };
        self.master_hears(Input::Agent { peer, message });
        self.flush_master();
        true
    }

    /// Lets a process in a container claim to be another's executor, or speak of what is not its
    /// own.
    fn executor_lies(&mut self, n: u32, rng: &mut Rng) -> bool {
        let seat = &mut self.agents[at(n)];
        let talkers = seat.containers.executors().talkers();
        let Some(agent) = seat.node.machine() else {
            return false;
        };
        let Some(talker) = pick(&talkers, rng) else {
            return false;
        };
        let tasks = agent.view().tasks();
        let live = tasks.filter(|it| !it.state.is_terminal() && *it.framework == talker.framework);
        let live: Vec<(TaskId, bool)> = live
            .map(|it| {
                let is_own = it.container.as_ref() == Some(&talker.container);
                (it.task.id.clone(), is_own)
            })
            .collect();
        let peer = seat.containers.executors().net().outside();
        let call = match rng.below(6) {
            0 => {
                let nobody = ContainerId::new("liar").expect("a short name");
                return self.stranger_dials(n, peer, nobody, None);
            }
            1 => executor::Call::Subscribe {
                framework: talker.framework.clone(),
                executor: ExecutorId::new(LIAR).expect("a short name"),
                tasks: Vec::new(),
                updates: Vec::new(),
            },
            2 => {
                let others = talkers.iter().filter(|it| it.framework != talker.framework);
                let Some(other) = pick(&others.collect::<Vec<_>>(), rng) else {
                    return false;
                };
                executor::Call::Subscribe {
                    framework: other.framework.clone(),
                    executor: ExecutorId::new(LIAR).expect("a short name"),
                    tasks: live.iter().map(|(task, _)| task.clone()).collect(),
                    updates: Vec::new(),
                }
            }
            3 => {
                let own: Vec<_> = live.into_iter().filter(|(_, is_own)| *is_own).collect();
                let Some((task, _)) = pick(&own, rng) else {
                    return false;
                };
                executor::Call::Update(word(task, TaskState::Finished, rng))
            }
            _ => return self.executor_says(n, &talker, &live, rng),
        };
        self.stranger_dials(n, peer, talker.container, Some(call))
    }

    /// Lets somebody in a container make a connection of his own to the agent.
    fn stranger_dials(
        &mut self,
        n: u32,
        peer: PeerId,
        container: ContainerId,
        call: Option<executor::Call>,
    ) -> bool {
        let connected = agent::Input::ExecutorConnected { peer, container };
        self.agent_hears_lie(n, peer, connected);
        if let Some(call) = call {
            self.agent_hears_lie(n, peer, agent::Input::Executor { peer, call });
        }
        self.agent_hears_lie(n, peer, agent::Input::ExecutorDisconnected { peer });
        self.flush_agent(n);
        true
    }

    /// Lets an executor speak over its connection of tasks that are not its own, or say of its own
    /// what it may not.
    fn executor_says(
        &mut self,
        n: u32,
        talker: &Talker,
        live: &[(TaskId, bool)],
        rng: &mut Rng,
    ) -> bool {
        let Some(peer) = talker.peer else {
            return false;
        };
        let Some((task, is_own)) = pick(live, rng) else {
            return false;
        };
        let status = match (is_own, rng.below(2)) {
            (true, 0) => word(task, TaskState::Gone, rng),
            (true, _) => TaskStatus {
                update: None,
                ..word(task, TaskState::Finished, rng)
            },
            (false, _) => word(task, TaskState::Failed, rng),
        };
        let call = executor::Call::Update(status);
        // Nothing at all is to follow: the connection is not the liar's alone.
        let nobody = PeerId(u64::MAX);
        self.agent_hears_lie(n, nobody, agent::Input::Executor { peer, call });
        self.flush_agent(n);
        true
    }
}

fn subscribe(framework: FrameworkInfo) -> Call {
    Call::Subscribe {
        framework,
        wishes: Wishes::default(),
    }
}

fn asks(peer: PeerId, call: Order) -> Input {
    let request = Request {
        id: RequestId(1),
        call,
        after: None,
    };
    Input::Operator { peer, request }
}

/// Describes a window in which a machine is named twice.
fn twice() -> Window {
    Window {
        machines: vec![no_machine(), no_machine()],
        unavailability: Unavailability {
            start: Time::ZERO,
            duration: None,
        },
    }
}

/// Draws an order that cannot be carried out.
fn order(agent: AgentId, rng: &mut Rng) -> Option<Order> {
    let role = |name: &str| Role::new(name).expect("a short name");
    Some(match rng.below(13) {
        0 => Order::Kill {
            framework: None,
            task: String::new(),
            grace: None,
        },
        1 => Order::Kill {
            framework: Some(no_framework()),
            task: LIAR.to_string(),
            grace: None,
        },
        2 => {
            let good = Quota {
                limits: "cpus:3".parse().ok()?,
                ..Quota::default()
            };
            let bad = Quota {
                guarantees: "cpus:2".parse().ok()?,
                limits: "cpus:1".parse().ok()?,
            };
            let quotas = vec![(role("liar"), good), (role("liars"), bad)];
            let force = true;
            Order::UpdateQuota { quotas, force }
        }
        3 => {
            let good = Milli::from_units(3);
            let weights = vec![(role("liar"), good), (role("liars"), Milli::ZERO)];
            Order::UpdateWeights { weights }
        }
        4 => Order::MarkGone { agent: no_agent() },
        5 => Order::Deactivate { agent: no_agent() },
        6 => Order::Drain {
            agent: no_agent(),
            config: DrainConfig {
                max_grace: None,
                mark_gone: true,
            },
        },
        7 => Order::Reactivate { agent: no_agent() },
        8 => {
            let windows = vec![twice()];
            Order::SetSchedule { windows }
        }
        9 => {
            let machines = vec![no_machine()];
            Order::MachinesUp { machines }
        }
        10 => {
            let machines = vec![no_machine()];
            Order::MachinesDown { machines }
        }
        11 => Order::Teardown {
            framework: no_framework(),
        },
        _ => {
            let much = Resources::parse("cpus(liar):100000").ok()?;
            let change = Conversion::Unreserve(much);
            Order::Convert { agent, change }
        }
    })
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;
    use crate::sim::{Checking, Options, SharedExecutor, Sim};

    // I21
    #[test]
    fn liars_are_heard_and_nothing_follows() {
        let machine = Resources::parse("cpus:4;mem:1024").unwrap();
        let mut options = Options::new(5, 2, 3, machine);
        options.checking = Checking::USUAL;
        options.demand.executor = Some(SharedExecutor {
            resources: "mem:16".parse().unwrap(),
            tasks: 2.try_into().unwrap(),
        });
        let mut sim = Sim::new(options);
        sim.run_for(Duration::from_secs(20));
        let kinds = [
            (Kind::FalseAgent, Name::Agent(1)),
            (Kind::FalseAgent, Name::Agent(2)),
            (Kind::FalseExecutor, Name::Agent(1)),
            (Kind::FalseFramework, Name::Master),
            (Kind::FalseOperator, Name::Master),
        ];
        for _ in 0..30 {
            for (kind, node) in kinds {
                assert!(sim.inject(kind, node, Duration::ZERO));
                sim.run_for(Duration::from_millis(300));
            }
        }
        let told = sim.report().faults;
        for (kind, _) in kinds {
            let count = told.get(&kind).copied().unwrap_or(0);
            assert!(count > 30, "{kind}: {count}");
        }
        assert!(sim.master().unwrap().strays() > 10, "some were of others");
        sim.heal();
        sim.expect_converged();
    }
}

//! Whatever comes in, in whatever order: no panic, no broken invariant, no state that a replay
//! would not give. [`Node`] checks the latter two after every step.

use proptest::prelude::*;

use super::resizing::resizing;
use super::*;
use crate::protocol::agent::GroupOrder;
use crate::protocol::check::ProbeOutcome;
use crate::protocol::executor::Call;
use crate::protocol::status::Source;

#[derive(Clone, Debug)]
enum Step {
    Input(Input),
    /// Acknowledges the n-th last update that was sent.
    Acknowledge(usize),
    Pass(u64),
    /// The agent falls and comes back from its journal.
    Restart,
}

fn peer() -> impl Strategy<Value = PeerId> {
    (1u64..4).prop_map(PeerId)
}

fn container() -> impl Strategy<Value = ContainerId> {
    (0u64..8).prop_map(ContainerId::numbered)
}

fn framework_id() -> impl Strategy<Value = FrameworkId> {
    prop::sample::select(vec!["f", "g"]).prop_map(fw)
}

fn task_id() -> impl Strategy<Value = TaskId> {
    prop::sample::select(vec!["a", "b", "c"]).prop_map(tid)
}

fn task_info() -> impl Strategy<Value = TaskInfo> {
    (task_id(), 0u8..6).prop_map(|(id, kind)| match kind {
        0 => task(id.as_str()),
        1 => checks::both(id.as_str()),
        2 | 3 => task_of("e", id.as_str()),
        4 => task_of("d", id.as_str()),
        _ => TaskInfo {
            command: None,
            ..task(id.as_str())
        },
    })
}

fn grace() -> impl Strategy<Value = Option<Duration>> {
    prop::option::of(prop::sample::select(vec![
        Duration::ZERO,
        secs(5),
        Duration::MAX,
    ]))
}

fn status() -> impl Strategy<Value = TaskStatus> {
    let states = vec![
        TaskState::Staging,
        TaskState::Running,
        TaskState::Killing,
        TaskState::Finished,
        TaskState::Gone,
    ];
    let update = prop::option::weighted(0.9, (0u128..20).prop_map(UpdateId));
    (task_id(), prop::sample::select(states), update).prop_map(|(task, state, update)| TaskStatus {
        task,
        state,
        source: Source::Executor,
        reason: None,
        message: "é".repeat(3_000),
        agent: None,
        at: Time::ZERO,
        update,
        exit: None,
        breach: None,
        observed: None,
    })
}

fn run_task() -> impl Strategy<Value = ToAgent> {
    let starts = prop::bool::weighted(0.8);
    let parts = (framework_id(), task_info(), starts);
    parts.prop_map(|(id, task, starts_executor)| ToAgent::RunTask {
        framework: id,
        role: Role::any(),
        task,
        starts_executor,
    })
}

/// Tasks of one executor, or of the agent's own, or of none in common.
fn run_group() -> impl Strategy<Value = ToAgent> {
    let tasks = prop::collection::vec(task_info(), 1..4);
    let parts = (framework_id(), tasks, 0..3, prop::bool::weighted(0.8));
    parts.prop_map(|(id, mut tasks, kind, starts_executor)| {
        for task in &mut tasks {
            let executor = task_of("e", "t").executor.unwrap();
            let built_in = ExecutorInfo::built_in(executor.id.clone(), Resources::new());
            match kind {
                0 => (task.executor, task.command) = (Some(executor), None),
                1 => {
                    task.executor = Some(built_in);
                    task.command = Some(CommandInfo::shell("sleep 100"));
                }
                _ => {}
            }
        }
        ToAgent::RunGroup(GroupOrder {
            framework: id,
            role: Role::any(),
            tasks,
            starts_executor,
        })
    })
}

fn from_master() -> impl Strategy<Value = ToAgent> {
    let ids = || prop::sample::select(vec!["rio-1-S0", "rio-1-S0", "rio-1-S0", "rio-1-S1"]);
    let id = move || ids().prop_map(|id| AgentId::new(id).unwrap());
    let leader = || MasterId::of("rio", 1).unwrap();
    prop_oneof![
        3 => (id(), 0u64..3).prop_map(move |(id, epoch)| ToAgent::Registered {
            id, master: leader(), epoch, ping_timeout: PING,
        }),
        3 => (id(), 0u64..3).prop_map(move |(id, epoch)| ToAgent::Reregistered {
            id, master: leader(), epoch, ping_timeout: secs(epoch * 40),
        }),
        2 => prop::collection::vec((framework_id(), task_id()), 0..3).prop_map(ToAgent::Missing),
        1 => Just(ToAgent::Ping),
        12 => run_task(),
        4 => run_group(),
        4 => (framework_id(), task_id(), grace()).prop_map(|(framework, task, grace)| {
            ToAgent::KillTask { framework, task, grace }
        }),
        1 => framework_id().prop_map(ToAgent::ShutdownFramework),
        1 => grace().prop_map(|max_grace| ToAgent::Drain { max_grace, since: Time::ZERO }),
        1 => Just(ToAgent::Undrain),
        1 => prop::option::weighted(0.2, Just(())).prop_map(|ends| match ends {
            Some(()) => ToAgent::Shutdown("gone".into()),
            None => ToAgent::Ping,
        }),
        1 => framework_id().prop_map(|id| {
            let renamed = FrameworkInfo::new("renamed");
            ToAgent::UpdateFramework(FrameworkInfo { id: Some(id), ..renamed })
        }),
        1 => framework_id().prop_map(|framework| ToAgent::ShutdownExecutor {
            framework, executor: ExecutorId::new("e").unwrap(),
        }),
        1 => framework_id().prop_map(|framework| ToAgent::Message {
            framework, executor: ExecutorId::new("e").unwrap(), data: vec![1],
        }),
        1 => (framework_id(), task_id(), 0u128..20).prop_map(|(framework, task, update)| {
            ToAgent::Acknowledge { framework, task, update: UpdateId(update) }
        }),
        4 => (0u64..5, framework_id(), 0usize..4).prop_map(|(number, id, which)| {
            ToAgent::Convert(operations::order(number, id.as_str(), which))
        }),
        1 => (0u64..5, 0u128..20).prop_map(|(number, update)| {
            ToAgent::AcknowledgeOperation { number, update: UpdateId(update) }
        }),
    ]
}

fn from_container() -> impl Strategy<Value = ContainerEvent> {
    let exit = prop::sample::select(vec![Exit::Code(0), Exit::Code(1), Exit::Signal(9)]);
    let broken = prop::option::of(Just(breach(Limited::Memory, 64, 64)));
    prop_oneof![
        6 => container().prop_map(|id| ContainerEvent::started(id, 1)),
        1 => container().prop_map(|id| ContainerEvent::LaunchFailed { id, message: "no".into() }),
        3 => (container(), exit, broken).prop_map(|(id, exit, breach)| {
            ContainerEvent::Exited { id, exit, breach }
        }),
        1 => container().prop_map(|id| ContainerEvent::Lost { id }),
        1 => container().prop_map(|id| ContainerEvent::ResizeFailed { id, message: "no".into() }),
        3 => (container(), 0u64..20, any::<bool>()).prop_map(|(id, number, is_good)| {
            let outcome = ProbeOutcome::Accepted(is_good);
            ContainerEvent::Probed { id, number, outcome }
        }),
        3 => Just(ContainerEvent::Recovered),
    ]
}

fn from_executor() -> impl Strategy<Value = Call> {
    let name = prop::sample::select(vec!["e", "e", "d"]);
    let tasks = prop::collection::vec(task_id(), 0..3);
    let updates = prop::collection::vec(status(), 0..3);
    prop_oneof![
        (framework_id(), name, tasks, updates).prop_map(|(framework, name, tasks, updates)| {
            Call::Subscribe {
                framework,
                executor: ExecutorId::new(name).unwrap(),
                tasks,
                updates,
            }
        }),
        status().prop_map(Call::Update),
        Just(Call::Message(vec![2])),
    ]
}

fn departure() -> impl Strategy<Value = Departure> {
    let number = (0u64..8).prop_map(Number);
    let graces = vec![Duration::ZERO, secs(5), Duration::MAX];
    (number, prop::sample::select(graces), 0..7).prop_map(|(number, grace, kind)| match kind {
        0 => Departure::Launch(number),
        1 => Departure::HandOver(number),
        3 => Departure::Drain {
            since: Time::ZERO,
            most: grace,
        },
        4 => Departure::Recovery,
        5 => Departure::Destroy(number),
        2 => Departure::End {
            container: number,
            grace,
        },
        _ => Departure::Kill {
            task: number,
            grace,
        },
    })
}

fn step() -> impl Strategy<Value = Step> {
    let of_master = (1u64..3).prop_map(PeerId);
    let input = prop_oneof![
        2 => of_master.clone().prop_map(|peer| Input::MasterFound { peer }),
        1 => of_master.clone().prop_map(|peer| Input::MasterLost { peer }),
        14 => (of_master, from_master()).prop_map(|(peer, message)| {
            Input::Master { peer, message }
        }),
        3 => (peer(), container()).prop_map(|(peer, container)| {
            Input::ExecutorConnected { peer, container }
        }),
        1 => peer().prop_map(|peer| Input::ExecutorDisconnected { peer }),
        8 => (peer(), from_executor()).prop_map(|(peer, call)| Input::Executor { peer, call }),
        10 => from_container().prop_map(Input::Container),
        1 => (0u16..1_200).prop_map(|permille| Input::DiskUsed { permille }),
        1 => (container(), any::<bool>()).prop_map(|(container, is_gone)| {
            Input::SandboxDeleted { container, is_gone }
        }),
        1 => (1u64..9, any::<bool>()).prop_map(|(order, is_gone)| {
            Input::VolumesDeleted { order, is_gone }
        }),
        2 => departure().prop_map(Input::Departed),
    ];
    prop_oneof![
        20 => input.prop_map(Step::Input),
        4 => (0usize..3).prop_map(Step::Acknowledge),
        3 => prop::sample::select(vec![1, 4, 61]).prop_map(Step::Pass),
        1 => Just(Step::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn anything_may_come_in(steps in prop::collection::vec(step(), 0..120)) {
        let mut node = Node::joined_as(resizing());
        for step in steps {
            match step {
                Step::Input(input) => { node.feed(input); }
                Step::Acknowledge(back) => {
                    let sent = sent_updates(&node.log);
                    let Some((framework, status)) = sent.iter().rev().nth(back) else { continue };
                    let Some(update) = status.update else { continue };
                    let peer = node.agent.link.peer().unwrap_or(MASTER);
                    let (framework, task) = (framework.clone(), status.task.clone());
                    let message = ToAgent::Acknowledge { framework, task, update };
                    node.feed(Input::Master { peer, message });
                }
                Step::Pass(seconds) => { node.pass(secs(seconds)); }
                Step::Restart => {
                    let (journal, now) = (node.journal, node.now);
                    node = Node::restart_as(resizing(), journal, now).0;
                }
            }
        }
    }

    /// C7: the same inputs give the same outputs.
    #[test]
    fn an_agent_is_deterministic(steps in prop::collection::vec(step(), 0..60)) {
        let mut nodes = [Node::joined(), Node::joined()];
        for step in steps {
            let Step::Input(input) = step else { continue };
            let [one, other] = &mut nodes;
            prop_assert_eq!(one.feed(input.clone()), other.feed(input));
            prop_assert_eq!(one.pass(secs(1)), other.pass(secs(1)));
        }
    }
}

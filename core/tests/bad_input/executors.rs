//! What executors may not say to their agent (VA-12, FW-61): an executor speaks for itself, of its
//! own tasks, and says what an executor can know.

use tepui_core::agent::{Agent, AgentRecord, AgentState, Config, Effect, Input};
use tepui_core::ids::{ContainerId, ExecutorId, FrameworkId, PeerId, UpdateId};
use tepui_core::limits;
use tepui_core::machine::{Machine, Outbox, Output};
use tepui_core::protocol::agent::ToAgent;
use tepui_core::protocol::container::{ContainerCommand, ContainerEvent};
use tepui_core::protocol::executor::{Call, Event};
use tepui_core::protocol::hello::CloseReason;
use tepui_core::protocol::status::{Source, TaskState, TaskStatus};
use tepui_core::protocol::task::{CommandInfo, ExecutorInfo, TaskInfo};
use tepui_core::roles::Role;
use tepui_core::time::Time;

use super::Catalogue;
use super::stage::{
    agent_id, agent_info, framework_id, framework_info, master_id, resources, task, task_id,
};

type Outputs = Vec<Output<AgentRecord, Effect>>;

const MASTER: PeerId = PeerId(1);
/// In the container of executor `e`, which has the task `runs`.
const INSIDE: PeerId = PeerId(2);
/// In the container of executor `other`, which has the task `far`, and not a word so far.
const SILENT: PeerId = PeerId(3);

/// An agent with two executors, of which one has subscribed.
struct Stage {
    agent: Agent,
    now: Time,
}

impl Stage {
    fn new() -> Self {
        let mut out = Outbox::new();
        let now = Time::from_micros(1_000_000);
        let config = Config::new(agent_info(), "a", 7);
        let agent = Agent::recover(config, AgentState::default(), now, &mut out);
        let mut stage = Self { agent, now };
        stage.input(Input::Container(ContainerEvent::Recovered));
        stage.input(Input::MasterFound { peer: MASTER });
        stage.now = stage.now + std::time::Duration::from_secs(1);
        stage.agent.tick(stage.now, &mut out);
        stage.hears(ToAgent::Registered {
            id: agent_id(0),
            master: master_id(),
            epoch: 1,
            ping_timeout: std::time::Duration::from_secs(75),
        });
        stage.hears(ToAgent::UpdateFramework(
            tepui_core::protocol::framework::FrameworkInfo {
                id: Some(framework_id(0)),
                ..framework_info("f")
            },
        ));
        for (peer, name, of_it) in [(INSIDE, "e", "runs"), (SILENT, "other", "far")] {
            let outputs = stage.hears(ToAgent::RunTask {
                framework: framework_id(0),
                role: Role::any(),
                task: task_of(name, of_it),
                starts_executor: true,
            });
            let id = launched(&outputs);
            let pid = 100;
            let started = ContainerEvent::started(id.clone(), pid);
            stage.input(Input::Container(started));
            let container = id;
            stage.input(Input::ExecutorConnected { peer, container });
        }
        let subscribe = subscribe(framework_id(0), "e", vec![]);
        let outputs = stage.says(INSIDE, subscribe);
        assert!(format!("{outputs:?}").contains("Launch"), "{outputs:?}");
        let running = Call::Update(status("runs", TaskState::Running, 1));
        let outputs = stage.says(INSIDE, running);
        assert!(outputs.iter().any(is_record), "{outputs:?}");
        stage
    }

    fn input(&mut self, input: Input) -> Outputs {
        let mut out = Outbox::new();
        self.agent.handle(self.now, input, &mut out);
        out.drain().collect()
    }

    fn hears(&mut self, message: ToAgent) -> Outputs {
        let peer = MASTER;
        self.input(Input::Master { peer, message })
    }

    fn says(&mut self, peer: PeerId, call: Call) -> Outputs {
        self.input(Input::Executor { peer, call })
    }

    /// Returns what is durable of the agent, what it runs, and when it looks again.
    fn state(&self) -> String {
        let (state, view) = (self.agent.state(), self.agent.view());
        let tasks: Vec<_> = view.tasks().collect();
        let (total, deadline) = (view.total(), self.agent.deadline());
        format!("{state:?}\n{tasks:?}\n{total}\n{deadline:?}")
    }
}

fn task_of(executor: &str, id: &str) -> TaskInfo {
    let id_of_it = ExecutorId::new(executor).unwrap();
    let command = CommandInfo::shell("serve");
    TaskInfo {
        command: None,
        executor: Some(ExecutorInfo::new(
            id_of_it,
            resources("cpus:1;mem:32"),
            command,
        )),
        ..task(id)
    }
}

fn launched(outputs: &Outputs) -> ContainerId {
    let id = outputs.iter().find_map(|output| {
        let Output::Effect(Effect::Container(ContainerCommand::Launch { id, .. })) = output else {
            return None;
        };
        Some(id.clone())
    });
    id.unwrap_or_else(|| panic!("nothing is launched: {outputs:?}"))
}

fn is_record(output: &Output<AgentRecord, Effect>) -> bool {
    matches!(output, Output::Persist(_))
}

fn status(task: &str, state: TaskState, update: u128) -> TaskStatus {
    TaskStatus {
        update: Some(UpdateId(update)),
        ..TaskStatus::new(task_id(task), state, Source::Executor, Time::ZERO)
    }
}

fn subscribe(framework: FrameworkId, executor: &str, updates: Vec<TaskStatus>) -> Call {
    Call::Subscribe {
        framework,
        executor: ExecutorId::new(executor).unwrap(),
        tasks: vec![],
        updates,
    }
}

pub(crate) fn check(catalogue: &mut Catalogue) {
    identities(catalogue);
    updates(catalogue);
    messages(catalogue);
}

/// Whom an executor may say that it is.
fn identities(catalogue: &mut Catalogue) {
    for (rule, framework, name) in [
        ("an executor is its framework's", framework_id(7), "other"),
        ("an executor has its own name", framework_id(0), "e"),
        ("an executor has a name that there is", framework_id(0), "x"),
    ] {
        let mut stage = Stage::new();
        let mut lost = Stage::new();
        lost.input(Input::ExecutorDisconnected { peer: SILENT });
        let outputs = stage.says(SILENT, subscribe(framework, name, vec![]));
        let [
            Output::Effect(Effect::Executor {
                peer: SILENT,
                event: Event::Error(why),
            }),
            Output::Effect(Effect::Disconnect {
                peer: SILENT,
                close: CloseReason::Denied,
                ..
            }),
        ] = outputs.as_slice()
        else {
            panic!("{rule}: {outputs:?}");
        };
        assert!(why.contains("is not in this container"), "{rule}: {why}");
        assert_eq!(stage.state(), lost.state(), "{rule}");
        catalogue.note(rule, "executor that subscribes");
    }
    // A container that there is not, and one that is not an executor's.
    for (rule, n) in [
        ("a connection is out of a container that there is", 77),
        ("a connection is out of an executor's container", 1),
    ] {
        let mut stage = Stage::new();
        let before = stage.state();
        let container = ContainerId::numbered(n);
        let peer = PeerId(9);
        let outputs = stage.input(Input::ExecutorConnected { peer, container });
        let [
            Output::Effect(Effect::Disconnect {
                peer: PeerId(9),
                close: CloseReason::Denied,
                reason,
            }),
        ] = outputs.as_slice()
        else {
            panic!("{rule}: {outputs:?}");
        };
        assert!(reason.contains("is not an executor's"), "{rule}: {reason}");
        assert_eq!(stage.state(), before, "{rule}");
        catalogue.note(rule, "connection of an executor");
    }
}

/// What comes of something that an executor says in vain.
enum Answer {
    /// Nobody is told.
    Nothing,
    /// The executor need not say it again.
    Acknowledged,
}

/// Checks that a call of the executor that has subscribed changes nothing.
#[track_caller]
fn in_vain(peer: PeerId, call: Call, answer: &Answer, rule: &str) {
    let mut stage = Stage::new();
    let before = stage.state();
    let mut outputs = stage.says(peer, call.clone());
    outputs.retain(|output| {
        !matches!(
            output,
            Output::Effect(Effect::Executor {
                event: Event::Subscribed { .. },
                ..
            })
        )
    });
    match answer {
        Answer::Nothing => assert!(outputs.is_empty(), "{rule}: {outputs:?}"),
        Answer::Acknowledged => assert!(
            matches!(
                outputs.as_slice(),
                [Output::Effect(Effect::Executor {
                    event: Event::Acknowledged { .. },
                    ..
                })]
            ),
            "{rule}: {outputs:?}"
        ),
    }
    assert_eq!(stage.state(), before, "{rule}");
    // What it may say is heard after it.
    let finished = Call::Update(status("runs", TaskState::Finished, 99));
    let outputs = stage.says(INSIDE, finished);
    assert!(outputs.iter().any(is_record), "{rule}: {outputs:?}");
}

fn updates(catalogue: &mut Catalogue) {
    let unnamed = TaskStatus {
        update: None,
        ..status("runs", TaskState::Killing, 5)
    };
    let mut rules = vec![
        ("an update has an id", unnamed, Answer::Nothing),
        (
            "an update is of one's own task",
            status("far", TaskState::Running, 5),
            Answer::Nothing,
        ),
        (
            "an update is of a task that there is",
            status("none", TaskState::Running, 5),
            Answer::Acknowledged,
        ),
        (
            "a task takes no step back",
            status("runs", TaskState::Starting, 5),
            Answer::Acknowledged,
        ),
        (
            "an update is said once",
            status("runs", TaskState::Finished, 1),
            Answer::Acknowledged,
        ),
    ];
    for (rule, state) in [
        ("an executor does not say Staging", TaskState::Staging),
        (
            "an executor does not say Unreachable",
            TaskState::Unreachable,
        ),
        ("an executor does not say Gone", TaskState::Gone),
        (
            "an executor does not say GoneByOperator",
            TaskState::GoneByOperator,
        ),
        ("an executor does not say Unknown", TaskState::Unknown),
    ] {
        rules.push((rule, status("runs", state, 5), Answer::Nothing));
    }
    for (rule, status, answer) in rules {
        in_vain(INSIDE, Call::Update(status.clone()), &answer, rule);
        catalogue.note(rule, "update of an executor");
        let again = subscribe(framework_id(0), "e", vec![status]);
        in_vain(INSIDE, again, &answer, rule);
        catalogue.note(rule, "update of an executor that comes back");
    }
    let far = Call::Update(status("far", TaskState::Running, 5));
    in_vain(SILENT, far, &Answer::Nothing, "one joins first");
    catalogue.note("one joins first", "update of an executor");
    let stranger = PeerId(9);
    let runs = Call::Update(status("runs", TaskState::Failed, 5));
    let rule = "who speaks is connected";
    in_vain(stranger, runs, &Answer::Nothing, rule);
    catalogue.note(rule, "update of an executor");
}

fn messages(catalogue: &mut Catalogue) {
    let long = vec![0; limits::MESSAGE_BYTES + 1];
    let rule = "a message is not too long";
    in_vain(INSIDE, Call::Message(long), &Answer::Nothing, rule);
    catalogue.note(rule, "message of an executor");
    for (rule, peer) in [
        ("one joins first", SILENT),
        ("who speaks is connected", PeerId(9)),
    ] {
        in_vain(peer, Call::Message(vec![1]), &Answer::Nothing, rule);
        catalogue.note(rule, "message of an executor");
    }
}

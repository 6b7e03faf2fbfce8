//! Restarts, at every record.

use super::executors::{INSIDE, connected, says, status, subscribe};
use super::groups::{command, group};
use super::*;
use crate::protocol::executor::Call;

/// What the containerizer says of a container after a restart.
#[derive(Clone, Copy, Debug)]
enum Says {
    Runs,
    Ended,
    Lost,
    NeverStarted,
    Nothing,
}

const ALL: [Says; 5] = [
    Says::Runs,
    Says::Ended,
    Says::Lost,
    Says::NeverStarted,
    Says::Nothing,
];

fn report(node: &mut Node, container: &ContainerId, says: Says) {
    let id = container.clone();
    let event = match says {
        Says::Runs => ContainerEvent::started(id, 7),
        Says::Ended => ContainerEvent::Exited {
            id,
            exit: Exit::Code(0),
            breach: None,
        },
        Says::Lost => ContainerEvent::Lost { id },
        Says::NeverStarted => ContainerEvent::LaunchFailed {
            id,
            message: "never started".into(),
        },
        Says::Nothing => return,
    };
    node.feed(Input::Container(event));
}

fn known(outputs: &Outputs) -> Vec<ContainerId> {
    match outputs.first() {
        Some(Output::Effect(Effect::Container(ContainerCommand::Recover { known }))) => {
            known.clone()
        }
        other => panic!("{other:?}"),
    }
}

/// Restarts from `journal`; each container says `says`.
fn restarted(journal: &[AgentRecord], says: Says) -> Node {
    let (mut node, outputs) = Node::restart(journal.to_vec(), Time::from_micros(900_000_000));
    for container in known(&outputs) {
        report(&mut node, &container, says);
    }
    node.feed(Input::Container(ContainerEvent::Recovered));
    node
}

fn one_task(steps: &[Input]) -> Vec<AgentRecord> {
    let mut node = Node::joined();
    node.feed(run("f", task("t")));
    for step in steps {
        node.feed(step.clone());
    }
    node.journal
}

#[test]
fn what_a_restart_makes_of_a_task() {
    let accepted = one_task(&[]);
    let running = one_task(&[started(0)]);
    let killed = one_task(&[started(0), kill("f", "t", Some(secs(9_999)))]);
    let killed_early = one_task(&[kill("f", "t", None)]);
    let restart = Some(Reason::AgentRestarted);
    let terminated = Some(Reason::ExecutorTerminated);
    let early = Some(Reason::TaskKilledDuringLaunch);
    let table = [
        (&accepted, Says::NeverStarted, TaskState::Dropped, restart), // TK-61, TK-28
        (&accepted, Says::Runs, TaskState::Running, None),
        (&accepted, Says::Ended, TaskState::Finished, None),
        (&accepted, Says::Lost, TaskState::Failed, restart),
        (&accepted, Says::Nothing, TaskState::Failed, restart),
        (&running, Says::Runs, TaskState::Running, None), // AG-15
        (&running, Says::Ended, TaskState::Finished, None),
        (&running, Says::Lost, TaskState::Gone, terminated), // TK-30
        (&running, Says::NeverStarted, TaskState::Gone, terminated),
        (&killed, Says::Ended, TaskState::Killed, None),
        (&killed, Says::Lost, TaskState::Killed, None),
        (&killed_early, Says::NeverStarted, TaskState::Killed, early),
        (&killed_early, Says::Ended, TaskState::Killed, early),
    ];
    for (journal, says, state, reason) in table {
        let node = restarted(journal, says);
        let row = node.agent.state().task(Number(0)).unwrap();
        let newest = row.unacknowledged().back().unwrap();
        assert_eq!((newest.state, newest.reason), (state, reason), "{says:?}");
    }
}

#[test]
fn no_master_is_joined_before_the_containers_are_known() {
    let journal = one_task(&[started(0)]);
    let (mut node, outputs) = Node::restart(journal, Time::from_micros(900_000_000));
    assert_eq!(lines(&outputs), ["recover [c000000]", "disks 0"]);
    // AG-16
    assert_eq!(
        lines(&node.feed(Input::MasterFound { peer: MASTER })),
        NOTHING
    );
    assert_eq!(lines(&node.pass(secs(599))), NOTHING);
    node.feed(exited(0, Exit::Code(0)));
    node.feed(Input::Container(ContainerEvent::Recovered));
    assert_eq!(lines(&node.pass(secs(1)))[0], "reregister t:finished");
}

#[test]
fn a_container_that_hangs_while_it_starts_holds_up_no_restarted_agent() {
    // AG-34, AG-16: the containerizer answers when all containers have started or ended.
    let began = Time::from_micros(900_000_000);
    let hangs = |steps: &[Input]| {
        let (mut node, _) = Node::restart(one_task(steps), began);
        node.feed(Input::MasterFound { peer: MASTER });
        let almost = Duration::from_millis(599_999);
        assert_eq!(lines(&node.pass(almost)), NOTHING);
        let outputs = node.pass(Duration::from_millis(1));
        assert_eq!(lines(&outputs), ["destroy c000000"]);
        node
    };
    let news = |node: &Node| {
        let number = node.agent.state().find_task(&fw("f"), &tid("t")).unwrap();
        let row = node.agent.state().task(number).unwrap();
        row.unacknowledged().back().unwrap().clone()
    };
    // It is ended, and says so; then all is told.
    let mut node = hangs(&[]);
    node.feed(exited(0, Exit::Signal(9)));
    node.feed(Input::Container(ContainerEvent::Recovered));
    assert_eq!(lines(&node.pass(secs(1)))[0], "reregister t:failed");
    assert_eq!(news(&node).reason, Some(Reason::ContainerLaunchFailed));
    // Nothing is ever heard of it: the agent goes on all the same, and at once.
    let mut node = hangs(&[]);
    let outputs = lines(&node.pass(secs(601)));
    let told = outputs.iter().find(|line| line.starts_with("reregister"));
    assert_eq!(told, Some(&"reregister t:failed".into()), "{outputs:?}");
    assert_eq!(
        lines(&node.feed(Input::Container(ContainerEvent::Recovered))),
        NOTHING
    );
    // One that ran before is gone (TK-30), and one that was to end is killed.
    let mut node = hangs(&[started(0)]);
    node.pass(secs(601));
    assert_eq!(news(&node).state, TaskState::Gone);
    let mut node = hangs(&[started(0), kill("f", "t", None)]);
    node.pass(secs(601));
    assert_eq!(news(&node).state, TaskState::Killed);
}

/// A life with everything in it.
fn eventful() -> Node {
    let inside = PeerId(50);
    let status = |task: &str, state, id| {
        let mut status = TaskStatus {
            task: tid(task),
            state,
            source: crate::protocol::status::Source::Executor,
            reason: None,
            message: String::new(),
            agent: None,
            at: Time::ZERO,
            update: Some(UpdateId(id)),
            exit: None,
            breach: None,
            observed: None,
        };
        status.message = "news".into();
        Input::Executor {
            peer: inside,
            call: Call::Update(status),
        }
    };
    let mut node = Node::joined();
    node.feed(run("f", task("a"))); // 0
    node.feed(run("f", task_of("e", "b"))); // executor 1, task 2
    let mut invalid = task("c");
    invalid.command = None;
    node.feed(run("f", invalid)); // 3
    node.feed(run("g", task("d"))); // 4
    let running = sent_update(&node.feed(started(0)));
    node.feed(started(1));
    node.feed(Input::ExecutorConnected {
        peer: inside,
        container: ContainerId::numbered(1),
    });
    node.feed(Input::Executor {
        peer: inside,
        call: Call::Subscribe {
            framework: fw("f"),
            executor: ExecutorId::new("e").unwrap(),
            tasks: vec![],
            updates: vec![],
        },
    });
    node.feed(status("b", TaskState::Starting, 1));
    node.feed(run("f", task_of("e", "x"))); // 5
    node.feed(status("b", TaskState::Running, 2));
    node.feed(kill("f", "a", None));
    node.feed(acknowledge("f", "a", running));
    node.feed(started(4));
    node.feed(exited(0, Exit::Signal(15)));
    node.feed(acknowledge("f", "b", UpdateId(1)));
    node.feed(status("b", TaskState::Finished, 3));
    node.feed(acknowledge("f", "b", UpdateId(2)));
    node.feed(master(ToAgent::ShutdownFramework(fw("g"))));
    node.feed(acknowledge("f", "b", UpdateId(3)));
    node.feed(exited(4, Exit::Signal(15)));
    node.feed(kill("f", "x", None));
    node.feed(exited(1, Exit::Code(0)));
    node
}

/// What had left the agent when `records` records were durable, and the next was not.
fn left_by(log: &Outputs, records: usize) -> Vec<&Effect> {
    let mut durable = 0;
    let mut left = Vec::new();
    for output in log {
        match output {
            Output::Persist(_) if durable == records => break,
            Output::Persist(_) => durable += 1,
            Output::Effect(effect) | Output::Free(effect) => left.push(effect),
        }
    }
    left
}

fn assert_nothing_promised_is_lost(left: &[&Effect], state: &AgentState, known: &[ContainerId]) {
    for effect in left {
        match effect {
            Effect::Executor {
                event: executor::Event::Acknowledged { task, update },
                ..
            } => {
                // TK-68: the executor may forget what it was told is here
                let number = state.find_task(&fw("f"), task);
                let row = number.and_then(|number| state.task(number));
                assert!(
                    row.is_none_or(|row| row.has_received(*update)),
                    "{task} {update:?}"
                );
            }
            Effect::Container(ContainerCommand::Launch { id, .. }) => {
                let number = Number::of_container(id).unwrap();
                assert!(number < state.next(), "{id} could be given out again");
                let task = state.task(number).is_some_and(|t| !t.state().is_terminal());
                let live = task || state.executor(number).is_some();
                assert_eq!(live, known.contains(id), "{id} is forgotten");
            }
            Effect::Master {
                message: ToMaster::Update { status, .. },
                ..
            } => {
                // Nothing is said that is not remembered: it is here, or was acknowledged.
                let number = state.find_task(&fw("f"), &status.task);
                let row = number.and_then(|number| state.task(number));
                let state_of = row.map(|row| row.state());
                assert_ne!(state_of, Some(TaskState::Staging), "{}", status.task);
            }
            Effect::Master { .. }
            | Effect::Executor { .. }
            | Effect::Container(_)
            | Effect::DeleteSandbox { .. }
            | Effect::DeleteVolumes { .. }
            | Effect::Disconnect { .. }
            | Effect::Stop { .. }
            | Effect::Left
            | Effect::Disk(_)
            | Effect::Echo(_) => {}
        }
    }
}

/// Acknowledges whatever is sent until nothing is; ends what still runs.
fn drain(node: &mut Node) -> Vec<(TaskId, TaskState)> {
    let mut told = Vec::new();
    let mut news = sent_updates(&node.join(reregistered(1)));
    let containers: Vec<u64> = node.agent.containers.iter().map(|(n, _)| n.0).collect();
    for container in containers {
        news.extend(sent_updates(&node.feed(exited(container, Exit::Code(0)))));
    }
    while let Some((framework, status)) = news.pop() {
        // Of what is left of a framework that is over nobody confirms anything.
        let Some(update) = status.update else {
            continue;
        };
        told.push((status.task.clone(), status.state));
        let input = acknowledge(framework.as_str(), status.task.as_str(), update);
        news.extend(sent_updates(&node.feed(input)));
    }
    told
}

/// Has an agent fall after each record of a life, and say and end all the same when it is back.
fn comes_back_wherever_it_falls(life: &Node) {
    let joined = Node::joined().journal;
    for records in joined.len()..=life.journal.len() {
        let journal = &life.journal[..records];
        let left = left_by(&life.log, records - joined.len());
        let before = replay(journal);
        for says in ALL {
            let (mut node, outputs) = Node::restart(journal.to_vec(), life.now);
            let known = known(&outputs);
            assert_nothing_promised_is_lost(&left, &before, &known);
            for container in &known {
                report(&mut node, container, says);
            }
            node.feed(Input::Container(ContainerEvent::Recovered));
            let told = drain(&mut node);
            // Every task that was taken on, and not ended with its framework, is told of to its
            // end, and nothing stays behind.
            for task in before.tasks().values() {
                let (id, ended) = (task.info().id.clone(), before.is_ended(task.framework()));
                let end = told
                    .iter()
                    .any(|(of, state)| *of == id && state.is_terminal());
                assert_eq!(end, !ended, "{id} after {records} records, {says:?}");
            }
            assert_eq!(
                node.agent.state().tasks().len(),
                0,
                "after {records} records, {says:?}"
            );
            assert_eq!(node.agent.state().frameworks().len(), 0);
        }
    }
}

#[test]
fn nothing_is_lost_wherever_the_agent_falls() {
    // FW-05, AG-23: of all frameworks, as if all asked for checkpoints
    let life = eventful();
    // Every kind of record is written in that life.
    let kinds = [
        "admitted",
        "epoch",
        "executor 1",
        "subscribed",
        "executor ended",
        "task",
    ];
    let more = [
        "kill",
        "updated",
        "acknowledged",
        "framework ended",
        "forgotten",
    ];
    let written: Vec<String> = life.journal.iter().map(record_line).collect();
    for kind in kinds.iter().chain(&more) {
        assert!(
            written.iter().any(|line| line.starts_with(kind)),
            "no {kind}"
        );
    }
    comes_back_wherever_it_falls(&life);
}

#[test]
fn mesos_6270_and_6302_groups_are_taken_up_again_wherever_the_agent_falls() {
    // I17, TK-91; MESOS-8416, MESOS-9909: whatever its framework asks for, and some end afterwards
    let mut node = Node::joined();
    node.feed(group(vec![command("a"), command("b")])); // 1 and 2
    node.feed(group(vec![task_of("e", "c"), task_of("e", "d")])); // executor 3
    node.feed(started(1));
    let update = sent_update(&node.feed(started(2)));
    node.feed(acknowledge("f", "b", update));
    node.feed(started(3));
    node.feed(connected(INSIDE, 3));
    node.feed(says(INSIDE, subscribe(&[], vec![])));
    let running = status("c", TaskState::Running, 1);
    node.feed(says(INSIDE, Call::Update(running)));
    node.feed(kill("f", "a", None));
    node.feed(exited(1, Exit::Signal(15)));
    node.feed(exited(2, Exit::Signal(15)));
    let failed = status("c", TaskState::Failed, 2);
    node.feed(says(INSIDE, Call::Update(failed)));
    let written: Vec<String> = node.journal.iter().map(record_line).collect();
    for kind in ["group 1 a+b", "group 4 c+d", "kill 1", "kill 2", "kill 5"] {
        assert!(written.iter().any(|line| line == kind), "{written:?}");
    }
    comes_back_wherever_it_falls(&node);
}

fn boot(id: u128) -> Config {
    Config {
        boot: Some(BootId(id)),
        ..config()
    }
}

#[test]
fn a_restart_of_the_machine_ends_what_ran() {
    // AG-20; MESOS-844
    let now = Time::from_micros(1_000_000);
    let (mut node, _) = Node::restart_as(boot(1), Vec::new(), now);
    let outputs = node.feed(Input::Container(ContainerEvent::Recovered));
    assert_eq!(lines(&outputs), ["* booted 1"]);
    node.join(registered(1));
    for (name, number) in [("ran", 0), ("over", 1), ("silent", 2)] {
        node.feed(run("f", task(name)));
        if name != "silent" {
            let update = sent_update(&node.feed(started(number)));
            node.feed(acknowledge("f", name, update));
        }
    }
    // The same run of the machine: what runs goes on.
    let (mut node, _) = Node::restart_as(boot(1), node.journal, node.now);
    assert_eq!(lines(&node.feed(started(0))), NOTHING);
    // Another one, twice: the agent falls before it has told all.
    for _ in 0..2 {
        let journal = node.journal.clone();
        let (fallen, outputs) = Node::restart_as(boot(2), journal, node.now);
        assert_eq!(
            lines(&outputs),
            ["recover [c000000, c000001, c000002]", "disks 0"],
            "it may know how they ended"
        );
        node = fallen;
    }
    assert_eq!(
        lines(&node.feed(started(0))), // a process of the same number
        ["destroy c000000", "* updated 0 gone"]
    );
    assert_eq!(
        lines(&node.feed(exited(1, Exit::Code(0)))),
        ["* updated 1 finished"]
    );
    let outputs = node.feed(Input::Container(ContainerEvent::Recovered));
    assert_eq!(lines(&outputs), ["* updated 2 failed", "* booted 2"]);
    let outputs = node.join(reregistered(2));
    let told: Vec<_> = sent_updates(&outputs)
        .into_iter()
        .map(|(_, status)| (status.state, status.reason, status.message))
        .collect();
    let why = "its machine was restarted";
    let (gone, failed) = (Reason::ExecutorTerminated, Reason::AgentRestarted);
    assert_eq!(
        told,
        [
            (TaskState::Gone, Some(gone), why.into()),
            (TaskState::Finished, None, "".into()),
            (TaskState::Failed, Some(failed), why.into())
        ]
    );
    assert_eq!(
        node.agent.state().agent(),
        Some(&agent_id()),
        "it is the same agent"
    );
    // It is told once.
    let (mut node, _) = Node::restart_as(boot(2), node.journal, node.now);
    let outputs = node.feed(Input::Container(ContainerEvent::Recovered));
    assert_eq!(lines(&outputs), NOTHING);
}

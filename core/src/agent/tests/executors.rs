//! Custom executors.

use alloc::boxed::Box;
use alloc::string::ToString;

use super::*;
use crate::limits;
use crate::protocol::executor::Call;
use crate::protocol::framework::Capabilities;
use crate::protocol::status::{Observed, Source};
use crate::protocol::wire::size;

pub(super) const INSIDE: PeerId = PeerId(50);

pub(super) fn connected(peer: PeerId, n: u64) -> Input {
    Input::ExecutorConnected {
        peer,
        container: ContainerId::numbered(n),
    }
}

pub(super) fn says(peer: PeerId, call: Call) -> Input {
    Input::Executor { peer, call }
}

pub(super) fn subscribe(tasks: &[&str], updates: Vec<TaskStatus>) -> Call {
    Call::Subscribe {
        framework: fw("f"),
        executor: ExecutorId::new("e").unwrap(),
        tasks: tasks.iter().map(|name| tid(name)).collect(),
        updates,
    }
}

pub(super) fn status(task: &str, state: TaskState, id: u128) -> TaskStatus {
    TaskStatus {
        update: Some(UpdateId(id)),
        ..TaskStatus::new(tid(task), state, Source::Executor, Time::ZERO)
    }
}

/// Container 0 runs executor `e`, which has task `t`, number 1.
pub(super) fn working() -> Node {
    let mut node = Node::joined();
    node.feed(run("f", task_of("e", "t")));
    node.feed(started(0));
    node.feed(connected(INSIDE, 0));
    node.feed(says(INSIDE, subscribe(&[], vec![])));
    node
}

/// The framework wants to hear that its tasks are being ended.
pub(super) fn hears_of_killing() -> Input {
    let capabilities = Capabilities::default() | Capabilities::TASK_KILLING;
    master(ToAgent::UpdateFramework(FrameworkInfo {
        capabilities,
        ..framework("f")
    }))
}

#[test]
fn tasks_wait_for_their_executor() {
    let mut node = Node::joined();
    let outputs = node.feed(run("f", task_of("e", "t")));
    assert_eq!(
        lines(&outputs),
        ["* executor 0 e", "* task 1 t by 0", "launch c000000"]
    ); // SM-23
    assert_eq!(
        lines(&node.feed(run("f", task_of("e", "u")))),
        ["* task 2 u by 0"]
    ); // AG-32
    assert_eq!(lines(&node.feed(started(0))), NOTHING);
    assert_eq!(lines(&node.feed(connected(INSIDE, 0))), NOTHING);
    let outputs = node.feed(says(INSIDE, subscribe(&[], vec![])));
    assert_eq!(
        lines(&outputs), // SM-24, AG-31
        [
            "* subscribed 0",
            "executor: subscribed",
            "executor: launch t",
            "executor: launch u"
        ]
    );
    let outputs = node.feed(run("f", task_of("e", "v")));
    assert_eq!(lines(&outputs), ["* task 3 v by 0", "executor: launch v"]);
}

#[test]
fn an_executor_runs_many_tasks_each_to_its_own_end() {
    // TK-93, TK-73
    let mut node = working();
    for name in ["u", "v"] {
        node.feed(run("f", task_of("e", name)));
    }
    let ends = [
        ("u", TaskState::Finished),
        ("t", TaskState::Failed),
        ("v", TaskState::Killed),
    ];
    for (id, (name, end)) in (1..).zip(ends) {
        if end == TaskState::Killed {
            let outputs = node.feed(kill("f", name, None));
            assert_eq!(lines(&outputs), ["* kill 3", "executor: kill v 3s"]);
        }
        let outputs = node.feed(says(INSIDE, Call::Update(status(name, end, id))));
        let told = sent_updates(&outputs).remove(0).1;
        assert_eq!((told.task, told.state), (tid(name), end));
        // It is there as long as one of them is, or is not known to have ended.
        assert!(!lines(&outputs).contains(&"executor: shutdown".into()));
        let outputs = node.feed(acknowledge("f", name, UpdateId(id)));
        let ends = lines(&outputs).contains(&"executor: shutdown".into());
        assert_eq!(ends, end == TaskState::Killed, "{name}");
    }
}

#[test]
fn an_update_is_durable_before_the_executor_may_forget_it() {
    let mut node = working();
    let running = says(INSIDE, Call::Update(status("t", TaskState::Running, 1)));
    let outputs = node.feed(running.clone());
    assert_eq!(
        lines(&outputs), // TK-68, TK-70
        [
            "* updated 1 running",
            "update t running - latest running",
            "executor: has t"
        ]
    );
    assert_eq!(sent_updates(&outputs)[0].1.agent, Some(agent_id()));
    assert_eq!(sent_updates(&outputs)[0].1.at, Time::ZERO);
    // TK-69: again acknowledged, not again told
    assert_eq!(lines(&node.feed(running)), ["executor: has t"]);
    // Only what an executor may say, of its own tasks, with an id. FW-61
    for wrong in [
        status("t", TaskState::Staging, 2),
        status("t", TaskState::Gone, 3),
        TaskStatus {
            update: None,
            ..status("t", TaskState::Killing, 4)
        },
    ] {
        assert_eq!(
            lines(&node.feed(says(INSIDE, Call::Update(wrong)))),
            NOTHING
        );
    }
    node.feed(run("f", task("own")));
    let foreign = Call::Update(status("own", TaskState::Finished, 5));
    assert_eq!(lines(&node.feed(says(INSIDE, foreign))), NOTHING);
    // TK-34; and a clock that runs ahead does not take ours with it.
    let ahead = TaskStatus {
        at: Time::MAX,
        ..status("t", TaskState::Finished, 6)
    };
    node.feed(says(INSIDE, Call::Update(ahead)));
    assert_eq!(node.agent.state().last_time(), node.now);
    let late = Call::Update(status("t", TaskState::Running, 7));
    assert_eq!(lines(&node.feed(says(INSIDE, late))), ["executor: has t"]);
    assert_eq!(
        node.agent.view().task(&fw("f"), &tid("t")).unwrap().state,
        TaskState::Finished
    );
}

#[test]
fn what_an_executor_says_at_length_is_cut_before_it_is_kept() {
    // I22: else its news would not fit the frame to the master, and hold up all that follows.
    let mut node = working();
    let address = "10.0.0.1".to_string();
    let running = TaskStatus {
        message: "x".repeat(limits::FRAME_BYTES / 2),
        observed: Some(Box::new(Observed {
            addresses: vec![address.clone(); limits::FRAME_BYTES / 16],
            ..Observed::default()
        })),
        ..status("t", TaskState::Running, 1)
    };
    let outputs = node.feed(says(INSIDE, Call::Update(running)));
    for output in &outputs {
        let bytes = match output {
            Output::Persist(record) => size(record),
            Output::Effect(effect) | Output::Free(effect) => size(effect),
        };
        assert!(bytes <= 2 * limits::STATUS_BYTES, "{bytes} bytes");
    }
    let (_, told) = sent_updates(&outputs).remove(0);
    assert_eq!(told.message.len(), limits::TEXT_BYTES);
    let observed = told.observed.unwrap();
    assert_eq!(observed.addresses, vec![address; limits::ADDRESSES]);
}

#[test]
fn an_executor_says_that_it_prepares_a_task() {
    // TK-20
    let mut node = working();
    let starting = Call::Update(status("t", TaskState::Starting, 1));
    let outputs = node.feed(says(INSIDE, starting));
    assert_eq!(
        lines(&outputs),
        [
            "* updated 1 starting",
            "update t starting - latest starting",
            "executor: has t"
        ]
    );
}

#[test]
fn a_step_back_is_acknowledged_and_not_taken_in() {
    // TK-33; I11
    let mut node = working();
    node.feed(hears_of_killing());
    let mut says = |state, id| {
        let outputs = node.feed(says(INSIDE, Call::Update(status("t", state, id))));
        lines(&outputs)
    };
    let taken = says(TaskState::Running, 1).len();
    assert!(taken > 1);
    assert_eq!(says(TaskState::Starting, 2).len(), 1, "acknowledged only");
    assert!(
        says(TaskState::Running, 3).len() > 1,
        "the same, with more to it"
    );
    assert!(says(TaskState::Killing, 4).len() > 1);
    assert_eq!(says(TaskState::Running, 5).len(), 1, "acknowledged only");
    assert!(says(TaskState::Killed, 6).len() > 1);
    let number = Number::of_container(&ContainerId::numbered(1)).unwrap();
    let task = node.agent.state().task(number).unwrap();
    let told: Vec<TaskState> = task.unacknowledged().iter().map(|it| it.state).collect();
    let steps = [
        TaskState::Running,
        TaskState::Running,
        TaskState::Killing,
        TaskState::Killed,
    ];
    assert_eq!(told, steps);
}

#[test]
fn that_a_task_is_being_ended_is_told_only_to_who_wants_to_hear_it() {
    // FW-14, TK-22
    let mut node = working();
    let killing = |id| says(INSIDE, Call::Update(status("t", TaskState::Killing, id)));
    assert_eq!(lines(&node.feed(killing(1))), ["executor: has t"]);
    // It was a word all the same: the task is not handed over again.
    let minute = secs(60);
    assert_eq!(lines(&node.pass(minute)), NOTHING);
    node.feed(hears_of_killing());
    assert_eq!(
        lines(&node.feed(killing(2))),
        [
            "* updated 1 killing",
            "update t killing - latest killing",
            "executor: has t"
        ]
    );
}

#[test]
fn an_idle_executor_is_ended() {
    let mut node = working();
    let over = says(INSIDE, Call::Update(status("t", TaskState::Finished, 1)));
    node.feed(over.clone());
    // TK-73, SM-28
    let outputs = node.feed(acknowledge("f", "t", UpdateId(1)));
    assert_eq!(lines(&outputs), ["* acknowledged 1", "executor: shutdown"]);
    // It had not heard that its update arrived.
    assert_eq!(lines(&node.feed(over)), ["executor: has t"]);
    // TK-47: too late for another task
    let outputs = node.feed(run("f", task_of("e", "u")));
    assert_eq!(
        lines(&outputs),
        [
            "* task 2 u nowhere",
            "* updated 2 dropped",
            "update u dropped executor-terminated latest dropped"
        ]
    );
    assert_eq!(lines(&node.pass(Duration::from_millis(4_999))), NOTHING);
    let outputs = node.pass(Duration::from_millis(1));
    assert_eq!(lines(&outputs), ["destroy c000000"]); // TK-88, TL-17
    let outputs = node.feed(exited(0, Exit::Signal(9)));
    assert_eq!(
        lines(&outputs),
        [
            "disconnect 50 the executor's container has ended",
            "e has ended: signal 9",
            "* executor ended 0",
            "forget c000000"
        ]
    );
}

#[test]
fn the_end_of_an_executor_is_the_end_of_its_tasks() {
    let mut node = working();
    node.feed(run("f", task_of("e", "u")));
    node.feed(kill("f", "u", None));
    let outputs = node.feed(exited(0, Exit::Code(2)));
    assert_eq!(
        lines(&outputs), // AG-36, TK-47, SM-27
        [
            "disconnect 50 the executor's container has ended",
            "* updated 1 failed",
            "update t failed executor-terminated latest failed",
            "* updated 2 killed",
            "update u killed task-killed-during-launch latest killed",
            "e has ended: exit code 2",
            "* executor ended 0",
            "forget c000000"
        ]
    );
    // The name is free again.
    let outputs = node.feed(run("f", task_of("e", "v")));
    assert_eq!(
        lines(&outputs),
        ["* executor 3 e", "* task 4 v by 3", "launch c000003"]
    );
}

#[test]
fn an_executor_that_does_not_start_fails_its_tasks() {
    let mut node = Node::joined();
    node.feed(run("f", task_of("e", "t")));
    let outputs = node.feed(launch_failed(0)); // AG-34
    assert_eq!(
        lines(&outputs),
        [
            "* updated 1 failed",
            "update t failed container-launch-failed latest failed",
            "e has ended: somehow",
            "* executor ended 0",
            "forget c000000"
        ]
    );
}

#[test]
fn an_executor_has_its_time_to_subscribe() {
    let mut node = Node::joined();
    node.feed(run("f", task_of("e", "t")));
    // AG-33: from when its container runs
    assert_eq!(lines(&node.pass(secs(60))), NOTHING);
    node.feed(started(0));
    node.feed(master(ToAgent::Ping));
    assert_eq!(lines(&node.pass(secs(59))), NOTHING);
    assert_eq!(lines(&node.pass(secs(1))), ["destroy c000000"]); // SM-25
    let outputs = node.feed(exited(0, Exit::Signal(9)));
    let status = &sent_updates(&outputs)[0].1;
    assert_eq!(status.state, TaskState::Failed); // TK-45
    assert_eq!(status.reason, Some(Reason::ExecutorRegistrationTimeout));
    assert_eq!(
        status.message,
        "the executor was ended: not subscribed within 60s"
    );
}

#[test]
fn a_lost_executor_connection_may_come_back() {
    let mut node = working();
    node.feed(says(
        INSIDE,
        Call::Update(status("t", TaskState::Running, 1)),
    ));
    node.feed(Input::ExecutorDisconnected { peer: INSIDE });
    // Sent while it is away; kept until it is back.
    assert_eq!(
        lines(&node.feed(kill("f", "t", Some(secs(30))))),
        ["* kill 1"]
    );
    node.feed(acknowledge("f", "t", UpdateId(1)));
    node.feed(run("f", task_of("e", "u")));
    node.pass(secs(10));
    let back = PeerId(51);
    node.feed(connected(back, 0));
    node.feed(hears_of_killing());
    let missed = status("t", TaskState::Killing, 2);
    let outputs = node.feed(says(back, subscribe(&[], vec![missed])));
    assert_eq!(
        lines(&outputs), // FW-60
        [
            "executor: subscribed",
            "* updated 1 killing",
            "update t killing - latest killing",
            "executor: has t",
            "executor: kill t 30s",
            "executor: launch u"
        ]
    );
    node.feed(master(ToAgent::Ping));
    assert_eq!(lines(&node.pass(secs(9))), NOTHING);
}

#[test]
fn a_kill_before_the_handover_is_done_by_the_agent() {
    // AG-28
    let mut node = Node::joined();
    node.feed(run("f", task_of("e", "t")));
    node.feed(run("f", task_of("e", "u")));
    let outputs = node.feed(kill("f", "t", None)); // TK-83
    assert_eq!(
        lines(&outputs),
        [
            "* updated 1 killed",
            "update t killed task-killed-during-launch latest killed"
        ]
    );
    node.feed(acknowledge("f", "t", sent_update(&outputs)));
    node.feed(started(0));
    node.feed(connected(INSIDE, 0));
    let outputs = node.feed(says(INSIDE, subscribe(&[], vec![])));
    assert_eq!(
        lines(&outputs),
        [
            "* subscribed 0",
            "executor: subscribed",
            "executor: launch u"
        ]
    );
    let outputs = node.feed(kill("f", "u", None));
    assert_eq!(lines(&outputs), ["* kill 2", "executor: kill u 3s"]);
}

#[test]
fn mesos_5380_the_executor_of_a_task_that_was_killed_early_ends() {
    // I14
    let mut node = Node::joined();
    node.feed(run("f", task_of("e", "t")));
    let update = sent_update(&node.feed(kill("f", "t", None)));
    node.feed(acknowledge("f", "t", update));
    assert_eq!(lines(&node.feed(started(0))), ["destroy c000000"]); // TK-89, SM-26
}

#[test]
fn strangers_are_turned_away() {
    let mut node = working();
    node.feed(run("f", task("own"))); // container 2
    let stranger = PeerId(60);
    for container in [2, 9] {
        let outputs = node.feed(connected(stranger, container));
        let expected = format!("disconnect 60 c00000{container} is not an executor's container");
        assert_eq!(lines(&outputs), [expected]);
    }
    assert_eq!(
        lines(&node.feed(says(stranger, subscribe(&[], vec![])))),
        NOTHING
    );
    // From the right container under a wrong name.
    node.feed(connected(stranger, 0));
    let early = Call::Update(status("t", TaskState::Running, 1));
    assert_eq!(lines(&node.feed(says(stranger, early))), NOTHING);
    let wrong = Call::Subscribe {
        framework: fw("g"),
        executor: ExecutorId::new("e").unwrap(),
        tasks: vec![],
        updates: vec![],
    };
    let outputs = node.feed(says(stranger, wrong));
    let reason = "executor e of framework g is not in this container";
    assert_eq!(
        lines(&outputs),
        [
            format!("executor: error {reason}"),
            format!("disconnect 60 {reason}")
        ]
    );
}

#[test]
fn another_description_of_a_running_executor_is_invalid() {
    let mut node = working();
    let mut info = task_of("e", "u");
    info.executor.as_mut().unwrap().command = CommandInfo::shell("other");
    let outputs = node.feed(run("f", info));
    assert_eq!(
        sent_updates(&outputs)[0].1.reason,
        Some(Reason::TaskInvalid)
    );
}

#[test]
fn an_executor_stays_in_its_role() {
    // RQ-06
    let mut node = working();
    let eng = Role::new("eng").unwrap();
    let outputs = node.feed(run_in(eng, "f", task_of("e", "u")));
    let status = &sent_updates(&outputs)[0].1;
    assert_eq!(status.reason, Some(Reason::TaskInvalid));
    assert_eq!(status.message, "executor e runs in role *");
}

/// Has the framework confirm the oldest update of `t`, whose ids count from zero.
fn confirm(node: &mut Node, id: u128) {
    let outputs = node.feed(acknowledge("f", "t", UpdateId(id)));
    assert!(lines(&outputs).contains(&"* acknowledged 1".into()));
}

#[test]
fn too_many_updates_wait_their_turn_with_their_executor() {
    // TK-66, TK-68, TK-70
    let mut node = working();
    let say = |node: &mut Node, state, id: u128| {
        let lines = lines(&node.feed(says(INSIDE, Call::Update(status("t", state, id)))));
        let confirms = lines.contains(&"executor: has t".into());
        assert_eq!(confirms, !lines.is_empty(), "{lines:?}");
        confirms
    };
    let most = super::super::tasks::UPDATES_PER_TASK as u128;
    for id in 0..most {
        assert!(say(&mut node, TaskState::Running, id));
    }
    // Neither what is too much nor what comes behind it, the end included.
    assert!(!say(&mut node, TaskState::Running, most));
    assert!(!say(&mut node, TaskState::Finished, most + 2));
    confirm(&mut node, 0);
    confirm(&mut node, 1);
    // There is room, but one before it is missing.
    assert!(!say(&mut node, TaskState::Running, most + 1));
    // The executor says all again, in order: there is room for two, and for the end.
    assert!(say(&mut node, TaskState::Running, most));
    assert!(say(&mut node, TaskState::Running, most + 1));
    assert!(say(&mut node, TaskState::Finished, most + 2));
    let row = node.agent.state().task(Number(1)).unwrap();
    let kept = row.unacknowledged().iter().map(|status| status.update);
    let expected = (2..=most + 2).map(|id| Some(UpdateId(id)));
    assert_eq!(kept.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
}

#[test]
fn an_executor_that_comes_back_says_all_updates_again() {
    // TK-66
    let mut node = working();
    let most = super::super::tasks::UPDATES_PER_TASK as u128;
    for id in 0..=most {
        let running = status("t", TaskState::Running, id);
        node.feed(says(INSIDE, Call::Update(running)));
    }
    node.feed(Input::ExecutorDisconnected { peer: INSIDE });
    confirm(&mut node, 0);
    let back = PeerId(51);
    node.feed(connected(back, 0));
    // The one that did not fit is not among them: a later one says more, and nothing is in its way.
    let end = status("t", TaskState::Finished, most + 1);
    let outputs = node.feed(says(back, subscribe(&[], vec![end])));
    assert!(lines(&outputs).contains(&"* updated 1 finished".into()));
}

#[test]
fn a_shut_down_framework_ends_its_executors() {
    let mut node = working();
    let outputs = node.feed(master(ToAgent::ShutdownFramework(fw("f"))));
    assert_eq!(
        lines(&outputs),
        ["* framework ended f", "executor: shutdown"]
    );
    let end = Call::Update(status("t", TaskState::Killed, 1));
    let outputs = node.feed(says(INSIDE, end));
    assert_eq!(
        lines(&outputs),
        [
            "* forgotten 1",
            "update t killed - latest killed",
            "executor: has t"
        ]
    );
    let outputs = node.feed(exited(0, Exit::Code(0)));
    assert_eq!(
        lines(&outputs),
        [
            "disconnect 50 the executor's container has ended",
            "e has ended: exit code 0",
            "* executor ended 0",
            "forget c000000"
        ]
    );
}

#[test]
fn an_executor_outlives_its_agent() {
    let mut node = working();
    node.feed(says(
        INSIDE,
        Call::Update(status("t", TaskState::Running, 1)),
    ));
    node.feed(run("f", task_of("e", "u"))); // handed over, not reported
    node.feed(run("f", task_of("e", "v"))); // the hand-over did not leave the agent
    let (mut node, outputs) = Node::restart(node.journal, node.now);
    assert_eq!(lines(&outputs), ["recover [c000000]", "disks 0"]);
    assert_eq!(lines(&node.feed(started(0))), NOTHING); // SM-29
    node.feed(Input::Container(ContainerEvent::Recovered));
    let back = PeerId(51);
    node.feed(connected(back, 0));
    let outputs = node.feed(says(back, subscribe(&["u"], vec![])));
    assert_eq!(
        lines(&outputs),
        ["executor: subscribed", "executor: launch v"]
    );
}

#[test]
fn a_task_that_was_lost_with_the_connection_is_handed_over_at_once() {
    // I15
    let mut node = working();
    node.feed(run("f", task_of("e", "u")));
    node.feed(run("f", task_of("e", "v")));
    node.feed(kill("f", "v", None));
    node.feed(Input::ExecutorDisconnected { peer: INSIDE });
    let back = PeerId(51);
    node.feed(connected(back, 0));
    // It has `t`, and never heard of `u` and `v`.
    let outputs = node.feed(says(back, subscribe(&["t"], vec![])));
    assert_eq!(
        lines(&outputs),
        [
            "executor: subscribed",
            "executor: launch u",
            "* updated 3 killed",
            "update v killed task-killed-during-launch latest killed"
        ]
    );
}

#[test]
fn a_repeated_kill_is_said_again_and_written_down_if_it_shortens() {
    // TK-82, TK-85
    let mut node = working();
    let first = node.feed(kill("f", "t", Some(secs(30))));
    assert_eq!(lines(&first), ["* kill 1", "executor: kill t 30s"]);
    node.feed(master(ToAgent::Ping));
    node.pass(secs(10));
    let again = node.feed(kill("f", "t", Some(secs(30))));
    assert_eq!(lines(&again), ["executor: kill t 20s"]);
    let sooner = node.feed(kill("f", "t", Some(secs(5))));
    assert_eq!(lines(&sooner), ["* kill 1", "executor: kill t 5s"]);
}

#[test]
fn an_executor_that_the_master_did_not_book_is_not_started() {
    // AG-29: the last one has just ended, and the master does not know it yet.
    let mut node = Node::joined();
    let late = |name: &str| {
        master(ToAgent::RunTask {
            framework: fw("f"),
            role: Role::any(),
            task: task_of("e", name),
            starts_executor: false,
        })
    };
    let outputs = node.feed(late("t"));
    assert_eq!(
        lines(&outputs), // TK-47
        [
            "* task 0 t nowhere",
            "* updated 0 dropped",
            "update t dropped executor-terminated latest dropped"
        ]
    );
    // One that is there takes it, booked with this task or before.
    node.feed(run("f", task_of("e", "u")));
    assert_eq!(lines(&node.feed(late("v"))), ["* task 3 v by 1"]);
    assert_eq!(
        lines(&node.feed(run("f", task_of("e", "w")))),
        ["* task 4 w by 1"]
    );
}

#[test]
fn an_executor_says_how_long_it_takes_to_end() {
    // TK-88
    let mut node = Node::joined();
    let mut info = task_of("e", "t");
    info.executor.as_mut().unwrap().shutdown_grace = Some(secs(20));
    node.feed(run("f", info));
    node.feed(started(0));
    node.feed(connected(INSIDE, 0));
    node.feed(says(INSIDE, subscribe(&[], vec![])));
    let outputs = node.feed(master(ToAgent::ShutdownFramework(fw("f"))));
    assert!(lines(&outputs).contains(&"executor: shutdown".into()));
    assert_eq!(lines(&node.pass(secs(19))), NOTHING);
    assert_eq!(lines(&node.pass(secs(1))), ["destroy c000000"]);
}

#[test]
fn an_executor_comes_back_soon_after_its_agent_or_not_at_all() {
    // AG-16, TL-17
    let mut node = working();
    node.feed(says(
        INSIDE,
        Call::Update(status("t", TaskState::Running, 1)),
    ));
    let (mut node, _) = Node::restart(node.journal, node.now);
    node.feed(started(0));
    node.feed(Input::Container(ContainerEvent::Recovered));
    assert_eq!(lines(&node.pass(Duration::from_millis(1_999))), NOTHING);
    let outputs = node.pass(Duration::from_millis(1));
    assert_eq!(lines(&outputs), ["destroy c000000"]);
    node.feed(exited(0, Exit::Signal(9)));
    let outputs = node.join(reregistered(2));
    let told = sent_updates(&outputs);
    assert_eq!(told[0].1.state, TaskState::Running);
    let outputs = node.feed(acknowledge("f", "t", told[0].1.update.unwrap()));
    let end = &sent_updates(&outputs)[0].1;
    assert_eq!(end.state, TaskState::Gone); // TK-46
    assert_eq!(end.reason, Some(Reason::ExecutorReregistrationTimeout));
    // One that nobody had heard of yet has its time to start.
    let mut node = Node::joined();
    node.feed(run("f", task_of("e", "t")));
    let (mut node, _) = Node::restart(node.journal, node.now);
    node.feed(started(0));
    node.feed(Input::Container(ContainerEvent::Recovered));
    assert_eq!(lines(&node.pass(secs(59))), NOTHING);
    assert_eq!(lines(&node.pass(secs(1))), ["destroy c000000"]);
}

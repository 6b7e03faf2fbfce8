//! Executors that do not do what they were asked. Named after what happened to Mesos.

use super::executors::{INSIDE, connected, says, status, subscribe, working};
use super::*;
use crate::protocol::executor::Call;

/// Has executor `e` say that a task runs, and the framework hear it.
fn runs(node: &mut Node, name: &str, id: u128) {
    let running = status(name, TaskState::Running, id);
    node.feed(says(INSIDE, Call::Update(running)));
    node.feed(acknowledge("f", name, UpdateId(id)));
}

/// Lets time pass with a master that lives.
fn pass(node: &mut Node, seconds: u64) -> Outputs {
    let mut outputs = Vec::new();
    for _ in 0..seconds {
        outputs.extend(node.pass(secs(1)));
        node.feed(master(ToAgent::Ping));
    }
    outputs
}

#[test]
fn a_kill_that_an_executor_ignores_ends_it() {
    // I14
    let mut node = working();
    runs(&mut node, "t", 1);
    node.feed(kill("f", "t", Some(secs(10))));
    assert_eq!(lines(&pass(&mut node, 14)), NOTHING);
    assert_eq!(lines(&pass(&mut node, 1)), ["destroy c000000"]);
    let outputs = node.feed(exited(0, Exit::Signal(9)));
    let end = &sent_updates(&outputs)[0].1;
    assert_eq!(end.state, TaskState::Killed); // AG-36
}

#[test]
fn a_kill_that_is_carried_out_ends_no_executor() {
    let mut node = working();
    node.feed(run("f", task_of("e", "u")));
    runs(&mut node, "t", 1);
    runs(&mut node, "u", 2);
    node.feed(kill("f", "t", None));
    node.feed(says(
        INSIDE,
        Call::Update(status("t", TaskState::Killed, 3)),
    ));
    node.feed(acknowledge("f", "t", UpdateId(3)));
    assert_eq!(lines(&pass(&mut node, 600)), NOTHING);
}

#[test]
fn mesos_8679_a_stuck_kill_holds_up_no_other() {
    // RG-15, I14
    let mut node = working();
    for (name, id) in [("u", 2), ("v", 3)] {
        node.feed(run("f", task_of("e", name)));
        runs(&mut node, name, id);
    }
    runs(&mut node, "t", 1);
    node.feed(kill("f", "t", Some(secs(3_600))));
    let outputs = node.feed(kill("f", "u", Some(secs(5))));
    assert_eq!(lines(&outputs), ["* kill 2", "executor: kill u 5s"]);
    // It runs others: it is warned first.
    assert_eq!(lines(&pass(&mut node, 10)), ["executor: shutdown"]);
    assert_eq!(lines(&pass(&mut node, 5)), ["destroy c000000"]);
    let outputs = node.feed(exited(0, Exit::Signal(9)));
    let ends: Vec<(TaskId, TaskState, Option<Reason>)> = sent_updates(&outputs)
        .into_iter()
        .map(|(_, end)| (end.task, end.state, end.reason))
        .collect();
    let bystander = Some(Reason::ExecutorTerminated);
    assert_eq!(
        ends,
        [
            (tid("t"), TaskState::Killed, None),
            (tid("u"), TaskState::Killed, None),
            (tid("v"), TaskState::Failed, bystander)
        ]
    );
    let message = &sent_updates(&outputs)[2].1.message;
    assert_eq!(message, "the executor was ended: it did not end task u");
}

#[test]
fn mesos_2583_a_task_that_was_lost_on_the_way_is_handed_over_again() {
    // I15
    let mut node = working();
    assert_eq!(lines(&pass(&mut node, 60)), ["executor: launch t"]);
    // It has it after all.
    node.feed(says(
        INSIDE,
        Call::Update(status("t", TaskState::Starting, 1)),
    ));
    node.feed(acknowledge("f", "t", UpdateId(1)));
    assert_eq!(lines(&pass(&mut node, 600)), NOTHING);
}

#[test]
fn mesos_4878_no_task_stays_in_staging() {
    // I15
    let mut node = working();
    node.feed(run("f", task_of("e", "u")));
    runs(&mut node, "u", 2);
    assert_eq!(lines(&pass(&mut node, 119)), ["executor: launch t"]);
    assert_eq!(lines(&pass(&mut node, 1)), ["executor: shutdown"]);
    assert_eq!(lines(&pass(&mut node, 5)), ["destroy c000000"]);
    let outputs = node.feed(exited(0, Exit::Signal(9)));
    let end = &sent_updates(&outputs)[0].1;
    assert_eq!(end.state, TaskState::Failed);
    let why = "the executor was ended: it said nothing of task t twice 60s";
    assert_eq!(end.message, why);
}

#[test]
fn an_executor_that_comes_and_goes_is_watched_all_the_same() {
    // I15
    let mut node = working();
    for _ in 0..11 {
        pass(&mut node, 10);
        node.feed(Input::ExecutorDisconnected { peer: INSIDE });
        node.feed(connected(INSIDE, 0));
        node.feed(says(INSIDE, subscribe(&["t"], vec![])));
    }
    assert_eq!(lines(&pass(&mut node, 10)), ["destroy c000000"]);
}

#[test]
fn patience_begins_when_the_executor_can_have_heard() {
    let mut node = working();
    runs(&mut node, "t", 1);
    node.feed(Input::ExecutorDisconnected { peer: INSIDE });
    pass(&mut node, 10);
    node.feed(kill("f", "t", None));
    assert_eq!(lines(&pass(&mut node, 49)), NOTHING);
    node.feed(connected(INSIDE, 0));
    let outputs = node.feed(says(INSIDE, subscribe(&[], vec![])));
    assert_eq!(
        lines(&outputs),
        ["executor: subscribed", "executor: kill t 3s"]
    );
    assert_eq!(lines(&pass(&mut node, 7)), NOTHING);
    assert_eq!(lines(&pass(&mut node, 1)), ["destroy c000000"]);
}

#[test]
fn a_restarted_agent_goes_on_insisting() {
    // I14
    let mut node = working();
    runs(&mut node, "t", 1);
    node.feed(kill("f", "t", None));
    let later = node.now + secs(600);
    let (mut node, _) = Node::restart(node.journal, later);
    node.feed(started(0));
    node.feed(Input::Container(ContainerEvent::Recovered));
    node.feed(connected(INSIDE, 0));
    let outputs = node.feed(says(INSIDE, subscribe(&[], vec![])));
    assert_eq!(
        lines(&outputs),
        ["executor: subscribed", "executor: kill t 3s"]
    );
    assert_eq!(lines(&node.pass(secs(7))), NOTHING);
    assert_eq!(lines(&node.pass(secs(1))), ["destroy c000000"]);
}

#[test]
fn an_executors_task_runs_for_as_long_as_it_may() {
    // TK-07, TK-44
    let ran_out = |obeys: bool| {
        let mut node = Node::joined();
        let info = TaskInfo {
            max_completion: Some(secs(60)),
            ..task_of("e", "t")
        };
        node.feed(run("f", info));
        node.feed(started(0));
        node.feed(connected(INSIDE, 0));
        node.feed(says(INSIDE, subscribe(&[], vec![])));
        let at = node.now;
        let running = TaskStatus {
            at,
            ..status("t", TaskState::Running, 1)
        };
        node.feed(says(INSIDE, Call::Update(running)));
        node.feed(acknowledge("f", "t", UpdateId(1)));
        let outputs = pass(&mut node, 60);
        assert_eq!(lines(&outputs), ["* ran out 1", "executor: kill t 0ns"]);
        let outputs = if obeys {
            node.feed(says(
                INSIDE,
                Call::Update(status("t", TaskState::Killed, 2)),
            ))
        } else {
            assert_eq!(lines(&pass(&mut node, 5)), ["destroy c000000"]);
            node.feed(exited(0, Exit::Signal(9)))
        };
        let end = sent_updates(&outputs).remove(0).1;
        assert_eq!(end.state, TaskState::Failed);
        assert_eq!(end.reason, Some(Reason::MaxCompletionTimeReached));
    };
    ran_out(true);
    ran_out(false);
}

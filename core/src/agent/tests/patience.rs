//! Times that others are given: neither a disk that stalls nor a pause takes anything from them.

use super::executors::{INSIDE, connected, says, status, subscribe, working};
use super::*;
use crate::limits;
use crate::protocol::executor::Call;

fn running() -> Node {
    let mut node = Node::joined();
    node.feed(run("f", task("t")));
    let update = sent_update(&node.feed(started(0)));
    node.feed(acknowledge("f", "t", update));
    node
}

/// Executor `e` runs `t` and `u`, and the framework knows.
fn busy() -> Node {
    let mut node = working();
    node.feed(run("f", task_of("e", "u")));
    for (name, id) in [("t", 1), ("u", 2)] {
        let running = status(name, TaskState::Running, id);
        node.feed(says(INSIDE, Call::Update(running)));
        node.feed(acknowledge("f", name, UpdateId(id)));
    }
    node
}

fn minute() -> Duration {
    limits::JOURNAL_STALL - secs(1)
}

/// Lets time pass with a master that lives.
fn pass(node: &mut Node, time: Duration) -> Vec<String> {
    let (mut left, mut outputs) = (time, Vec::new());
    while !left.is_zero() {
        node.feed(master(ToAgent::Ping));
        let step = left.min(secs(60));
        outputs.extend(node.pass(step));
        left -= step;
    }
    lines(&outputs)
}

#[test]
fn a_program_has_its_time_from_when_it_is_asked() {
    // TK-84, I14
    let mut node = running();
    node.disk_stalls();
    let outputs = node.feed(kill("f", "t", None));
    assert_eq!(lines(&outputs), ["* kill 0", "terminate c000000"]);
    assert_eq!(pass(&mut node, minute()), NOTHING, "it has not heard");
    node.disk_goes_on();
    assert_eq!(pass(&mut node, Duration::from_millis(2_999)), NOTHING);
    let outputs = pass(&mut node, Duration::from_millis(1));
    assert_eq!(outputs, ["destroy c000000"]);
}

#[test]
fn an_executor_has_its_time_from_when_it_is_asked() {
    // TK-88
    let mut node = busy();
    node.disk_stalls();
    let outputs = node.feed(master(ToAgent::ShutdownFramework(fw("f"))));
    let said = ["* framework ended f", "executor: shutdown"];
    assert_eq!(lines(&outputs), said);
    assert_eq!(pass(&mut node, minute()), NOTHING);
    node.disk_goes_on();
    assert_eq!(pass(&mut node, Duration::from_millis(4_999)), NOTHING);
    let outputs = pass(&mut node, Duration::from_millis(1));
    assert_eq!(outputs, ["destroy c000000"]);
}

#[test]
fn a_kill_that_waits_for_the_disk_ends_nobody_else() {
    // TK-83, I14
    let mut node = busy();
    node.disk_stalls();
    let outputs = node.feed(kill("f", "t", Some(secs(2))));
    assert_eq!(lines(&outputs), ["* kill 1", "executor: kill t 2s"]);
    assert_eq!(pass(&mut node, minute()), NOTHING);
    // Said again, with all of its time.
    let outputs = node.feed(kill("f", "t", Some(secs(9))));
    assert_eq!(lines(&outputs), ["executor: kill t 2s"]);
    node.disk_goes_on();
    assert_eq!(pass(&mut node, Duration::from_millis(6_999)), NOTHING);
    let outputs = pass(&mut node, Duration::from_millis(1));
    assert_eq!(outputs, ["executor: shutdown"]);
}

#[test]
fn a_task_that_waits_for_the_disk_need_not_be_spoken_of() {
    // I15
    let mut node = working();
    node.feed(says(
        INSIDE,
        Call::Update(status("t", TaskState::Running, 1)),
    ));
    node.feed(acknowledge("f", "t", UpdateId(1)));
    node.disk_stalls();
    let outputs = node.feed(run("f", task_of("e", "u")));
    assert_eq!(lines(&outputs), ["* task 2 u by 0", "executor: launch u"]);
    assert_eq!(pass(&mut node, minute()), NOTHING);
    node.disk_goes_on();
    let outputs = pass(&mut node, Duration::from_millis(59_999));
    assert_eq!(outputs, NOTHING);
    node.disk_stalls();
    let outputs = pass(&mut node, Duration::from_millis(1));
    assert_eq!(outputs, ["executor: launch u"]);
    assert_eq!(pass(&mut node, minute()), NOTHING);
    node.disk_goes_on();
    let outputs = pass(&mut node, Duration::from_millis(59_999));
    assert_eq!(outputs, NOTHING);
    let outputs = pass(&mut node, Duration::from_millis(1));
    assert_eq!(outputs, ["executor: shutdown"]);
}

#[test]
fn what_was_said_during_a_pause_is_heard_before_anybody_is_judged() {
    // I14: the kill was carried out while the agent stood still.
    let mut node = busy();
    node.feed(kill("f", "t", None));
    node.now = node.now + secs(30);
    assert_eq!(lines(&node.feed(master(ToAgent::Ping))), ["~ pong"]);
    let killed = status("t", TaskState::Killed, 3);
    let outputs = node.feed(says(INSIDE, Call::Update(killed)));
    assert!(lines(&outputs).contains(&"* updated 1 killed".into()));
    node.feed(acknowledge("f", "t", UpdateId(3)));
    assert_eq!(pass(&mut node, secs(60)), NOTHING);
}

#[test]
fn an_executor_that_subscribed_during_a_pause_is_heard() {
    // AG-16
    let (mut node, _) = Node::restart(busy().journal, Time::from_micros(900_000_000));
    node.feed(started(0));
    node.feed(Input::Container(ContainerEvent::Recovered));
    node.now = node.now + secs(30);
    let back = PeerId(51);
    assert_eq!(lines(&node.feed(connected(back, 0))), NOTHING);
    let outputs = node.feed(says(back, subscribe(&["t", "u"], vec![])));
    assert_eq!(lines(&outputs), ["executor: subscribed"]);
    assert_eq!(pass(&mut node, secs(60)), NOTHING);
}

#[test]
fn a_pause_is_no_excuse_for_ever() {
    // I14
    let mut node = busy();
    node.feed(kill("f", "t", None));
    node.now = node.now + secs(30);
    assert_eq!(lines(&node.feed(master(ToAgent::Ping))), ["~ pong"]);
    let outputs = pass(&mut node, limits::LISTENING);
    assert_eq!(outputs, ["executor: shutdown"]);
}

#[test]
fn who_is_always_late_judges_all_the_same() {
    // I14: each turn takes longer than it listens.
    let mut node = busy();
    node.feed(kill("f", "t", None));
    for _ in 0..limits::LISTENED {
        node.now = node.now + secs(20);
        assert_eq!(lines(&node.feed(master(ToAgent::Ping))), ["~ pong"]);
    }
    node.now = node.now + secs(20);
    let outputs = lines(&node.feed(master(ToAgent::Ping)));
    assert_eq!(outputs, ["executor: shutdown", "~ pong"]);
    // The next pause is another one.
    node.now = node.now + secs(20);
    assert_eq!(lines(&node.feed(master(ToAgent::Ping))), ["~ pong"]);
}

/// Restarts an agent whose container 0 runs, and says what it does about it, and how long until it
/// is destroyed.
fn patience_after_restart(node: Node, back: &[Input]) -> (Node, Vec<String>, Duration) {
    let later = node.now + secs(3_600);
    let (mut node, outputs) = Node::restart(node.journal, later);
    let mut said = lines(&outputs);
    said.extend(lines(&node.feed_all(back)));
    let began = node.now;
    while !lines(&node.log).contains(&"destroy c000000".into()) {
        node.pass(Duration::from_millis(125));
    }
    let patience = node.now.since(began);
    (node, said, patience)
}

#[test]
fn no_number_of_restarts_gives_a_program_much_more_time() {
    // TK-84, I14
    let mut node = running();
    node.feed(kill("f", "t", Some(secs(8))));
    let back = [started(0), Input::Container(ContainerEvent::Recovered)];
    for half_seconds in [16, 8, 4, 2] {
        let (next, said, patience) = patience_after_restart(node, &back);
        assert_eq!(said[2..], ["* resumed", "terminate c000000"]);
        assert_eq!(patience, Duration::from_millis(500) * half_seconds);
        node = next;
    }
    // A new word about it still only makes it less.
    let (mut node, _) = Node::restart(node.journal, node.now);
    node.feed_all(&back);
    node.join(reregistered(1));
    assert_eq!(lines(&node.feed(kill("f", "t", Some(secs(8))))), NOTHING);
}

#[test]
fn no_number_of_restarts_gives_an_executor_much_more_time() {
    // TK-88
    let mut node = Node::joined();
    let mut info = task_of("e", "t");
    info.executor.as_mut().unwrap().shutdown_grace = Some(secs(8));
    node.feed(run("f", info));
    let back = [
        started(0),
        Input::Container(ContainerEvent::Recovered),
        connected(INSIDE, 0),
        says(INSIDE, subscribe(&["t"], vec![])),
    ];
    node.feed_all(&back);
    // Restarts while nothing is to end take nothing.
    for _ in 0..3 {
        (node, _) = Node::restart(node.journal, node.now);
        node.feed_all(&back);
    }
    node.join(reregistered(1));
    node.feed(master(ToAgent::ShutdownFramework(fw("f"))));
    for half_seconds in [16, 8, 4] {
        let (next, said, patience) = patience_after_restart(node, &back);
        assert!(said.contains(&"executor: shutdown".into()), "{said:?}");
        assert_eq!(patience, Duration::from_millis(500) * half_seconds);
        node = next;
    }
}

#[test]
fn a_container_that_does_not_start_is_given_up() {
    // AG-34, TK-39
    let mut node = Node::joined();
    node.disk_stalls();
    node.feed(run("f", task("t")));
    assert_eq!(pass(&mut node, minute()), NOTHING);
    node.disk_goes_on();
    let almost = Duration::from_millis(599_999);
    assert_eq!(pass(&mut node, almost), NOTHING);
    let outputs = pass(&mut node, Duration::from_millis(1));
    assert_eq!(outputs, ["destroy c000000"]);
    let outputs = node.feed(exited(0, Exit::Signal(9)));
    let end = &sent_updates(&outputs)[0].1;
    assert_eq!(end.state, TaskState::Failed);
    assert_eq!(end.reason, Some(Reason::ContainerLaunchFailed));
    assert_eq!(end.message, "it did not start within 600s");
}

#[test]
fn a_containerizer_that_says_nothing_at_all_holds_up_no_task() {
    // I15, AG-34
    let mut config = config();
    config.launch_timeout = secs(30);
    let now = Time::from_micros(1_000_000);
    let (mut node, _) = Node::restart_as(config, Vec::new(), now);
    node.feed(Input::Container(ContainerEvent::Recovered));
    node.join(registered(1));
    node.feed(run("f", task_of("e", "t")));
    assert_eq!(pass(&mut node, secs(30)), ["destroy c000000"]);
    // Too late: it is ended already.
    assert_eq!(lines(&node.feed(started(0))), NOTHING);
    let outputs = pass(&mut node, secs(30));
    assert_eq!(
        outputs,
        [
            "* updated 1 failed",
            "update t failed container-launch-failed latest failed",
            "e has ended: somehow",
            "* executor ended 0",
            "forget c000000"
        ]
    );
    // What nobody waits for any more does not run on.
    assert_eq!(lines(&node.feed(started(0))), ["destroy c000000"]);
}

#[test]
fn a_containerizer_has_its_time_to_destroy_from_when_it_was_told() {
    // I15, AG-34: given up earlier, what it still runs would be unknown to all
    let mut config = config();
    config.launch_timeout = secs(30);
    let now = Time::from_micros(1_000_000);
    let (mut node, _) = Node::restart_as(config, Vec::new(), now);
    node.feed(Input::Container(ContainerEvent::Recovered));
    node.join(registered(1));
    node.feed(run("f", task("t")));
    node.disk_stalls();
    assert_eq!(pass(&mut node, secs(30)), ["destroy c000000"]);
    assert_eq!(pass(&mut node, minute()), NOTHING);
    node.disk_goes_on();
    assert_eq!(pass(&mut node, Duration::from_millis(29_999)), NOTHING);
    let outputs = pass(&mut node, Duration::from_millis(1));
    assert_eq!(outputs[0], "* updated 0 failed");
}

#[test]
fn what_ended_while_its_agent_was_away_did_not_run_too_long() {
    // TK-07, TK-44
    let mut node = Node::joined();
    let info = TaskInfo {
        max_completion: Some(secs(60)),
        ..task("t")
    };
    node.feed(run("f", info));
    let update = sent_update(&node.feed(started(0)));
    node.feed(acknowledge("f", "t", update));
    let later = node.now + secs(600);
    let (mut ended, _) = Node::restart(node.journal.clone(), later);
    assert_eq!(lines(&ended.pass(secs(1))), NOTHING);
    let outputs = ended.feed(exited(0, Exit::Code(0)));
    assert_eq!(lines(&outputs), ["* updated 0 finished"]);
    // One that still runs has had its time, which does not grow if the clock was set back.
    let (mut runs, _) = Node::restart(node.journal.clone(), later);
    assert_eq!(lines(&runs.feed(started(0))), NOTHING);
    let outputs = runs.pass(Duration::ZERO);
    assert_eq!(lines(&outputs), ["* ran out 0", "destroy c000000"]);
    let set_back = replay(&node.journal).last_time();
    let (mut runs, _) = Node::restart(node.journal, set_back);
    runs.feed(started(0));
    assert_eq!(lines(&runs.pass(secs(59))), NOTHING);
    let outputs = runs.pass(secs(1));
    assert_eq!(lines(&outputs), ["* ran out 0", "destroy c000000"]);
}

#[test]
fn what_an_executor_ended_while_its_agent_was_away_did_not_run_too_long() {
    // TK-07, TK-44
    let mut node = Node::joined();
    for name in ["t", "u"] {
        let info = TaskInfo {
            max_completion: Some(secs(60)),
            ..task_of("e", name)
        };
        node.feed(run("f", info));
    }
    node.feed(started(0));
    node.feed(connected(INSIDE, 0));
    node.feed(says(INSIDE, subscribe(&[], vec![])));
    for (name, id) in [("t", 1), ("u", 2)] {
        let at = node.now;
        let running = status(name, TaskState::Running, id);
        let running = TaskStatus { at, ..running };
        node.feed(says(INSIDE, Call::Update(running)));
    }
    let later = node.now + secs(600);
    let (mut node, _) = Node::restart(node.journal, later);
    node.feed(started(0));
    node.feed(Input::Container(ContainerEvent::Recovered));
    assert_eq!(pass(&mut node, secs(1)), NOTHING);
    let back = PeerId(51);
    node.feed(connected(back, 0));
    let end = status("t", TaskState::Finished, 3);
    let outputs = node.feed(says(back, subscribe(&[], vec![end])));
    assert_eq!(
        lines(&outputs),
        [
            "executor: subscribed",
            "* updated 1 finished",
            "executor: has t"
        ]
    );
    let outputs = node.pass(Duration::ZERO);
    assert_eq!(lines(&outputs), ["* ran out 2", "executor: kill u 0ns"]);
}

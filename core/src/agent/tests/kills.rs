//! Kills: signals, patience, and kills that come too early or too late.

use super::executors::hears_of_killing;
use super::*;

fn running() -> Node {
    let mut node = Node::joined();
    node.feed(run("f", task("t")));
    let update = sent_update(&node.feed(started(0)));
    node.feed(acknowledge("f", "t", update));
    node
}

#[test]
fn a_kill_terminates_and_then_destroys() {
    let mut node = running();
    let outputs = node.feed(kill("f", "t", None));
    assert_eq!(lines(&outputs), ["* kill 0", "terminate c000000"]); // TK-85
    assert_eq!(lines(&node.pass(Duration::from_millis(2_999))), NOTHING);
    assert_eq!(
        lines(&node.pass(Duration::from_millis(1))),
        ["destroy c000000"]
    ); // TK-84: 3 s
    let outputs = node.feed(exited(0, Exit::Signal(9)));
    assert_eq!(
        lines(&outputs),
        ["* updated 0 killed", "update t killed - latest killed"]
    );
    assert_eq!(sent_updates(&outputs)[0].1.exit, Some(Exit::Signal(9)));
    // Too late.
    assert_eq!(lines(&node.feed(kill("f", "t", None))), NOTHING);
}

#[test]
fn who_wants_to_hear_it_is_told_that_a_program_is_being_ended() {
    // FW-14, TK-22: once, and not of one that does not run yet
    let mut node = running();
    node.feed(hears_of_killing());
    let outputs = node.feed(kill("f", "t", None));
    assert_eq!(
        lines(&outputs),
        [
            "* kill 0",
            "terminate c000000",
            "* updated 0 killing",
            "update t killing - latest killing"
        ]
    );
    let sooner = Some(secs(1));
    assert_eq!(lines(&node.feed(kill("f", "t", sooner))), ["* kill 0"]);
    let (mut node, _) = Node::restart(node.journal, node.now);
    assert_eq!(lines(&node.feed(started(0))), ["terminate c000000"]);
    let over = ["* updated 0 killed"];
    assert_eq!(lines(&node.feed(exited(0, Exit::Code(0)))), over);

    let mut node = Node::joined();
    node.feed(run("f", task("t")));
    node.feed(hears_of_killing());
    assert_eq!(lines(&node.feed(kill("f", "t", None))), ["* kill 0"]);
    assert_eq!(lines(&node.feed(started(0))), ["destroy c000000"]);
}

#[test]
fn a_program_that_obeys_is_killed_too_and_not_destroyed() {
    let mut node = running();
    node.feed(kill("f", "t", None));
    let outputs = node.feed(exited(0, Exit::Code(0)));
    assert_eq!(sent_updates(&outputs)[0].1.state, TaskState::Killed); // TK-25
    assert_eq!(sent_updates(&outputs)[0].1.reason, None);
    node.feed(acknowledge("f", "t", sent_update(&outputs)));
    assert_eq!(lines(&node.pass(secs(60))), NOTHING);
}

#[test]
fn whose_patience_counts() {
    // TK-84, TL-27: the kill's, then the task's, then the agent's
    for (of_kill, of_task, expected) in [(Some(7), Some(5), 7), (None, Some(5), 5), (None, None, 3)]
    {
        let mut node = Node::joined();
        let mut info = task("t");
        info.kill_grace = of_task.map(secs);
        node.feed(run("f", info));
        let update = sent_update(&node.feed(started(0)));
        node.feed(acknowledge("f", "t", update));
        node.feed(kill("f", "t", of_kill.map(secs)));
        assert_eq!(
            lines(&node.pass(secs(expected) - Duration::from_micros(1))),
            NOTHING
        );
        assert_eq!(
            lines(&node.pass(Duration::from_micros(1))),
            ["destroy c000000"]
        );
    }
}

#[test]
fn another_kill_only_shortens() {
    let mut node = running();
    node.feed(kill("f", "t", Some(secs(30))));
    // TK-85
    assert_eq!(lines(&node.feed(kill("f", "t", Some(secs(60))))), NOTHING);
    assert_eq!(
        lines(&node.feed(kill("f", "t", Some(secs(5))))),
        ["* kill 0"]
    );
    assert_eq!(lines(&node.pass(secs(4))), NOTHING);
    let now = node.feed(kill("f", "t", Some(Duration::ZERO)));
    assert_eq!(lines(&now), ["* kill 0", "destroy c000000"]);
    assert_eq!(lines(&node.pass(secs(60))), NOTHING);
}

#[test]
fn no_patience_is_no_signal_but_the_last() {
    let mut node = running();
    let outputs = node.feed(kill("f", "t", Some(Duration::ZERO)));
    assert_eq!(lines(&outputs), ["* kill 0", "destroy c000000"]);
}

#[test]
fn a_kill_before_the_start_is_carried_out_at_it() {
    // AG-28
    let mut node = Node::joined();
    node.feed(run("f", task("t")));
    assert_eq!(lines(&node.feed(kill("f", "t", None))), ["* kill 0"]);
    assert_eq!(lines(&node.feed(started(0))), ["destroy c000000"]);
    let outputs = node.feed(exited(0, Exit::Signal(9)));
    assert_eq!(
        lines(&outputs), // TK-83, TK-62
        [
            "* updated 0 killed",
            "update t killed task-killed-during-launch latest killed"
        ]
    );
}

#[test]
fn a_kill_of_what_never_starts_is_a_kill() {
    let mut node = Node::joined();
    node.feed(run("f", task("t")));
    node.feed(kill("f", "t", None));
    let outputs = node.feed(launch_failed(0));
    let status = &sent_updates(&outputs)[0].1;
    assert_eq!(status.state, TaskState::Killed);
    assert_eq!(status.reason, Some(Reason::TaskKilledDuringLaunch));
}

#[test]
fn a_kill_of_an_unknown_task_is_nothing() {
    let mut node = Node::joined();
    assert_eq!(lines(&node.feed(kill("f", "t", None))), NOTHING);
}

#[test]
fn a_kill_goes_on_after_a_restart_whatever_the_clock_says() {
    // TK-84: a clock that was set back, one that was not, and one that was set forwards.
    let mut node = running();
    node.pass(secs(3_600));
    node.join(reregistered(1));
    node.feed(kill("f", "t", Some(secs(10))));
    let set_back = replay(&node.journal).last_time();
    assert!(set_back <= node.now);
    for later in [set_back, node.now + secs(4), node.now + secs(7_200)] {
        let (mut node, outputs) = Node::restart(node.journal.clone(), later);
        assert_eq!(
            lines(&outputs),
            ["recover [c000000]", "disks 0", "* resumed"]
        );
        // The signal may not have left before the agent fell: its time begins anew.
        assert_eq!(lines(&node.feed(started(0))), ["terminate c000000"]);
        assert_eq!(lines(&node.pass(Duration::from_millis(9_999))), NOTHING);
        assert_eq!(
            lines(&node.pass(Duration::from_millis(1))),
            ["destroy c000000"]
        );
        assert_eq!(
            lines(&node.feed(exited(0, Exit::Signal(9)))),
            ["* updated 0 killed"]
        );
    }
}

#[test]
fn a_framework_that_ends_gives_its_tasks_their_time_after_a_restart() {
    // TK-84
    let mut node = running();
    node.pass(secs(60));
    node.join(reregistered(1));
    node.feed(master(ToAgent::ShutdownFramework(fw("f"))));
    let set_back = replay(&node.journal).last_time();
    for later in [set_back, node.now + secs(7_200)] {
        let (mut node, _) = Node::restart(node.journal.clone(), later);
        assert_eq!(lines(&node.feed(started(0))), ["terminate c000000"]);
        assert_eq!(lines(&node.pass(Duration::from_millis(2_999))), NOTHING);
        assert_eq!(
            lines(&node.pass(Duration::from_millis(1))),
            ["destroy c000000"]
        );
    }
}

#[test]
fn after_a_restart_a_kill_can_be_hurried_still() {
    // TK-85
    let mut node = running();
    node.feed(kill("f", "t", Some(secs(600))));
    let later = node.now + secs(3_600);
    let (mut node, _) = Node::restart(node.journal, later);
    node.feed(started(0));
    node.feed(Input::Container(ContainerEvent::Recovered));
    node.join(reregistered(1));
    let outputs = node.feed(kill("f", "t", Some(secs(5))));
    assert_eq!(lines(&outputs), ["* kill 0"]);
    assert_eq!(lines(&node.pass(secs(4))), NOTHING);
    assert_eq!(lines(&node.pass(secs(1))), ["destroy c000000"]);
}

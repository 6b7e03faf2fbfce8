//! Checks of tasks that the agent itself runs.

use alloc::boxed::Box;
use alloc::string::String;

use super::groups::{command, group};
use super::*;
use crate::protocol::check::{
    CheckInfo, CheckStatus, Family, HealthCheck, Probe, ProbeOutcome, Rhythm,
};
use crate::protocol::framework::Capabilities;
use crate::protocol::status::{Observed, Source};

const GOOD: ProbeOutcome = ProbeOutcome::Accepted(true);
const BAD: ProbeOutcome = ProbeOutcome::Accepted(false);

fn tcp(port: u16) -> Probe {
    let family = Family::V4;
    Probe::Tcp { port, family }
}

/// A task that is tried as is usual: after 15 s, 10 s after each try, for 20 s; unhealthy after 3
/// failures, of which none counts in the first 10 s.
fn healthy(name: &str) -> TaskInfo {
    TaskInfo {
        health_check: Some(Box::new(HealthCheck::new(tcp(80)))),
        ..task(name)
    }
}

/// A task with a health check that is otherwise.
fn with_health(change: impl FnOnce(&mut HealthCheck)) -> TaskInfo {
    let mut task = healthy("t");
    change(task.health_check.as_mut().unwrap());
    task
}

fn checked(name: &str) -> TaskInfo {
    let probe = Probe::Command(Box::new(CommandInfo::shell("ready")));
    let rhythm = Rhythm::default();
    TaskInfo {
        check: Some(Box::new(CheckInfo { probe, rhythm })),
        ..task(name)
    }
}

/// A task of which nothing is left out, and soon enough.
pub(super) fn both(name: &str) -> TaskInfo {
    let rhythm = Rhythm {
        delay: secs(1),
        interval: secs(1),
        timeout: secs(2),
    };
    let mut health = HealthCheck::new(tcp(80));
    let probe = tcp(81);
    health.rhythm = rhythm;
    health.consecutive_failures = 2;
    health.grace = secs(2);
    TaskInfo {
        check: Some(Box::new(CheckInfo { probe, rhythm })),
        health_check: Some(Box::new(health)),
        ..task(name)
    }
}

/// Container 0 runs a task, and its framework knows that it runs.
fn running(task: TaskInfo) -> Node {
    let mut node = Node::joined();
    let name = task.id.clone();
    node.feed(run("f", task));
    let update = sent_update(&node.feed(started(0)));
    node.feed(acknowledge("f", name.as_str(), update));
    node
}

fn probed(number: u64, outcome: ProbeOutcome) -> Input {
    probed_in(0, number, outcome)
}

fn probed_in(n: u64, number: u64, outcome: ProbeOutcome) -> Input {
    Input::Container(ContainerEvent::Probed {
        id: ContainerId::numbered(n),
        number,
        outcome,
    })
}

/// Lets time pass in which the master is heard of.
fn pass(node: &mut Node, time: Duration) -> Outputs {
    let end = node.now + time;
    let mut outputs = Vec::new();
    while node.now < end {
        outputs.extend(node.pass(secs(10).min(end.since(node.now))));
        node.feed(master(ToAgent::Ping));
    }
    outputs
}

/// Waits for the next try, which begins after so long, and says what comes of it. What is sent is
/// acknowledged.
fn try_after(node: &mut Node, wait: u64, number: u64, outcome: ProbeOutcome) -> Vec<TaskStatus> {
    let before = pass(node, secs(wait) - Duration::from_millis(1));
    assert_eq!(lines(&before), NOTHING, "try {number} comes later");
    let begun = lines(&node.pass(Duration::from_millis(1)));
    assert_eq!(begun, [format!("~ probe c000000 {number}")]);
    let outputs = node.feed(probed(number, outcome));
    let sent = sent_updates(&outputs);
    let sent: Vec<TaskStatus> = sent.into_iter().map(|(_, status)| status).collect();
    for status in &sent {
        node.feed(acknowledge("f", "t", status.update.unwrap()));
    }
    sent
}

/// Says what of an update is of interest here.
fn short(status: &TaskStatus) -> (TaskState, Option<Reason>, Option<bool>) {
    let observed = status.observed.as_ref();
    let healthy = observed.and_then(|it| it.healthy);
    (status.state, status.reason, healthy)
}

fn found(healthy: bool) -> (TaskState, Option<Reason>, Option<bool>) {
    let reason = Reason::TaskHealthCheckStatusUpdated;
    (TaskState::Running, Some(reason), Some(healthy))
}

fn health(sent: &[TaskStatus]) -> Vec<(TaskState, Option<Reason>, Option<bool>)> {
    sent.iter().map(short).collect()
}

#[test]
fn health_is_news_the_first_time_and_when_it_changes() {
    // TK-95, TK-97, TK-63
    let mut node = running(healthy("t"));
    let sent = try_after(&mut node, 15, 1, GOOD);
    assert_eq!(health(&sent), [found(true)]);
    assert_eq!(sent[0].source, Source::Executor);
    assert_eq!(try_after(&mut node, 10, 2, GOOD), []);
    let sent = try_after(&mut node, 10, 3, BAD);
    assert_eq!(health(&sent), [found(false)]);
    let text = "its health check failed, 1 of 3 in a row: the connection was not accepted";
    assert_eq!(sent[0].message, text);
    // Each failure is.
    assert_eq!(health(&try_after(&mut node, 10, 4, BAD)), [found(false)]);
    assert_eq!(health(&try_after(&mut node, 10, 5, GOOD)), [found(true)]);
    // It begins to count anew.
    assert_eq!(health(&try_after(&mut node, 10, 6, BAD)), [found(false)]);
    assert_eq!(health(&try_after(&mut node, 10, 7, BAD)), [found(false)]);
    assert_eq!(health(&try_after(&mut node, 10, 8, GOOD)), [found(true)]);
}

#[test]
fn failures_do_not_count_at_first() {
    // TK-95: for 10 s, here for 40 s
    let slow = || with_health(|check| check.grace = secs(40));
    let mut node = running(slow());
    assert_eq!(try_after(&mut node, 15, 1, BAD), []);
    assert_eq!(try_after(&mut node, 10, 2, BAD), []);
    assert_eq!(try_after(&mut node, 10, 3, BAD), []);
    // Those before were none.
    assert_eq!(health(&try_after(&mut node, 10, 4, BAD)), [found(false)]);
    assert_eq!(health(&try_after(&mut node, 10, 5, BAD)), [found(false)]);
    // Once it was healthy, they do.
    let mut node = running(slow());
    assert_eq!(health(&try_after(&mut node, 15, 1, GOOD)), [found(true)]);
    assert_eq!(health(&try_after(&mut node, 10, 2, BAD)), [found(false)]);
}

#[test]
fn a_try_that_takes_too_long_has_failed() {
    // TK-95, TK-99: whatever the containerizer does
    let mut node = running(healthy("t"));
    assert_eq!(lines(&pass(&mut node, secs(15))), ["~ probe c000000 1"]);
    assert_eq!(lines(&pass(&mut node, secs(19))), NOTHING);
    let outputs = pass(&mut node, secs(1));
    let given_up = [
        "~ unprobe c000000 1",
        "* updated 0 running",
        "update t running task-health-check-status-updated latest running",
    ];
    assert_eq!(lines(&outputs), given_up);
    assert_eq!(short(&sent_updates(&outputs)[0].1), found(false));
    // What comes of it then comes too late, and the pause begins with the end.
    assert_eq!(lines(&node.feed(probed(1, GOOD))), NOTHING);
    assert_eq!(lines(&node.pass(secs(9))), NOTHING);
    assert!(lines(&node.pass(secs(1))).contains(&"~ probe c000000 2".into()));
    // Zero is for ever.
    let mut node = running(with_health(|check| check.rhythm.timeout = Duration::ZERO));
    let outputs = pass(&mut node, secs(15));
    assert_eq!(lines(&outputs), ["~ probe c000000 1"]);
    assert!(matches!(
        &outputs[0],
        Output::Free(Effect::Container(ContainerCommand::Probe {
            timeout: None,
            ..
        }))
    ));
    assert_eq!(lines(&pass(&mut node, secs(10_000))), NOTHING);
    assert_eq!(sent_updates(&node.feed(probed(1, GOOD))).len(), 1);
}

#[test]
fn too_many_failures_in_a_row_end_a_task() {
    // TK-97
    let mut node = running(TaskInfo {
        kill_grace: Some(secs(7)),
        ..healthy("t")
    });
    try_after(&mut node, 15, 1, BAD);
    try_after(&mut node, 10, 2, BAD);
    node.pass(secs(10));
    let outputs = node.feed(probed(3, ProbeOutcome::Failed("no route".into())));
    let ended = [
        "* updated 0 running",
        "update t running task-health-check-status-updated latest running",
        "* unhealthy 0",
        "terminate c000000",
    ];
    assert_eq!(lines(&outputs), ended);
    let last = sent_update(&outputs);
    // It has its own time, and is looked at no more.
    assert_eq!(lines(&node.pass(Duration::from_millis(6_999))), NOTHING);
    let outputs = node.pass(Duration::from_millis(1));
    assert_eq!(lines(&outputs), ["destroy c000000"]);
    node.feed(acknowledge("f", "t", last));
    let (_, end) = sent_updates(&node.feed(exited(0, Exit::Signal(9)))).remove(0);
    let reason = Some(Reason::TaskHealthCheckStatusUpdated);
    assert_eq!(short(&end), (TaskState::Failed, reason, Some(false)));
    let text = "its health check failed, 3 of 3 in a row: no route";
    assert_eq!(
        (end.message.as_str(), end.exit),
        (text, Some(Exit::Signal(9)))
    );
}

/// Container 0 is to end, for it is unhealthy. All that was said before is acknowledged.
fn ailing() -> Node {
    let mut node = running(with_health(|check| check.consecutive_failures = 1));
    let sent = try_after(&mut node, 15, 1, BAD);
    assert_eq!(health(&sent), [found(false)]);
    node
}

#[test]
fn who_is_unhealthy_stays_so_whatever_comes_next() {
    // TK-97
    let failed = |outputs: &Outputs| {
        let ends = sent_updates(outputs);
        let ends: Vec<_> = ends.iter().map(|(_, status)| short(status)).collect();
        let reason = Some(Reason::TaskHealthCheckStatusUpdated);
        assert_eq!(ends, [(TaskState::Failed, reason, Some(false))]);
    };
    // It ends well after all.
    failed(&ailing().feed(exited(0, Exit::Code(0))));
    failed(&ailing().feed(lost(0)));
    // Somebody kills it, too.
    let mut node = ailing();
    let outputs = node.feed(kill("f", "t", Some(Duration::ZERO)));
    assert_eq!(lines(&outputs), ["* kill 0", "destroy c000000"]);
    failed(&node.feed(exited(0, Exit::Signal(9))));
    // The agent restarts.
    let (mut node, _) = Node::restart(ailing().journal, ailing().now);
    assert_eq!(lines(&node.feed(started(0))), ["terminate c000000"]);
    node.feed(Input::Container(ContainerEvent::Recovered));
    node.join(reregistered(1));
    failed(&node.feed(exited(0, Exit::Signal(15))));
}

#[test]
fn a_framework_that_wants_to_hears_that_it_is_being_ended() {
    // TK-22, TK-97: and nothing of its health after that
    let mut node = Node::joined();
    let mut info = framework("f");
    info.capabilities = Capabilities::TASK_KILLING;
    node.feed(master(ToAgent::UpdateFramework(info)));
    node.feed(run(
        "f",
        with_health(|check| check.consecutive_failures = 1),
    ));
    let update = sent_update(&node.feed(started(0)));
    node.feed(acknowledge("f", "t", update));
    node.pass(secs(15));
    let update = sent_update(&node.feed(probed(1, BAD)));
    let outputs = node.feed(acknowledge("f", "t", update));
    let (_, killing) = sent_updates(&outputs).remove(0);
    assert_eq!(short(&killing), (TaskState::Killing, None, Some(false)));
    let outputs = lines(&node.pass(secs(60)));
    assert!(!outputs.iter().any(|line| line.contains("probe")));
}

#[test]
fn who_is_unhealthy_takes_its_group_along() {
    // TK-91, TK-97
    let mut node = Node::joined();
    let mut ill = healthy("a");
    ill.health_check.as_mut().unwrap().consecutive_failures = 1;
    ill.executor = command("a").executor;
    node.feed(group(vec![ill, command("b")]));
    node.feed(started(1));
    node.feed(started(2));
    assert_eq!(lines(&node.pass(secs(15)))[2..], ["~ probe c000001 1"]);
    let outputs = lines(&node.feed(probed_in(1, 1, BAD)));
    assert_eq!(outputs[1..], ["* unhealthy 1", "terminate c000001"]);
    let outputs = lines(&node.feed(exited(1, Exit::Signal(15))));
    assert_eq!(outputs[..2], ["* kill 2", "terminate c000002"]);
}

#[test]
fn who_is_to_end_is_looked_at_no_more() {
    // TK-97
    let both = || TaskInfo {
        check: checked("t").check,
        max_completion: Some(secs(16)),
        ..healthy("t")
    };
    let given_up = ["~ unprobe c000000 1", "~ unprobe c000000 2"];
    let gone = master(ToAgent::ShutdownFramework(fw("f")));
    for (end, last) in [
        (kill("f", "t", None), "terminate c000000"),
        (gone, "terminate c000000"),
        (exited(0, Exit::Code(0)), "* updated 0 finished"),
    ] {
        let mut node = running(both());
        let begun = lines(&node.pass(secs(15)));
        assert_eq!(begun, ["~ probe c000000 1", "~ probe c000000 2"]);
        let outputs = lines(&node.feed(end));
        let at = outputs.iter().position(|line| *line == given_up[0]);
        assert_eq!(outputs[at.unwrap()..][..2], given_up, "{outputs:?}");
        assert!(outputs.contains(&last.into()), "{outputs:?}");
        assert_eq!(lines(&node.feed(probed(1, BAD))), NOTHING);
    }
    // It has run for as long as it may.
    let mut node = running(both());
    node.pass(secs(15));
    let outputs = node.pass(secs(1));
    let expected = ["* ran out 0", given_up[0], given_up[1], "destroy c000000"];
    assert_eq!(lines(&outputs), expected);
}

#[test]
fn a_check_tells_what_it_finds_out_and_nothing_follows() {
    // TK-98, TK-63
    let mut node = Node::joined();
    node.feed(run("f", checked("t")));
    let (_, first) = sent_updates(&node.feed(started(0))).remove(0);
    let is = |status: &TaskStatus, reason, exit_code| {
        assert_eq!((status.state, status.reason), (TaskState::Running, reason));
        let check = Some(CheckStatus::Command { exit_code });
        let expected = Observed {
            check,
            ..Observed::default()
        };
        assert_eq!(status.observed.as_deref(), Some(&expected));
    };
    is(&first, None, None);
    node.feed(acknowledge("f", "t", first.update.unwrap()));
    let ended = |code| ProbeOutcome::Exited(Exit::Code(code));
    let reason = Some(Reason::TaskCheckStatusUpdated);
    let sent = try_after(&mut node, 15, 1, ended(1));
    is(&sent[0], reason, Some(1));
    let mut number = 2;
    for _ in 0..20 {
        assert_eq!(try_after(&mut node, 10, number, ended(1)), []);
        number += 1;
    }
    let sent = try_after(&mut node, 10, number, ended(0));
    is(&sent[0], reason, Some(0));
    // Of one that cannot be made nothing is known.
    let sent = try_after(&mut node, 10, number + 1, ProbeOutcome::TimedOut);
    is(&sent[0], reason, None);
    let sent = try_after(&mut node, 10, number + 2, ProbeOutcome::Failed("x".into()));
    assert_eq!(sent, []);
}

#[test]
fn every_update_says_the_addresses_of_its_container() {
    // CT-84, TK-65
    let mut node = Node::joined();
    node.feed(run("f", healthy("t")));
    let observed = |node: &mut Node, input: Input| {
        let (_, status) = sent_updates(&node.feed(input)).remove(0);
        node.feed(acknowledge("f", "t", status.update.unwrap()));
        let observed = status.observed.unwrap();
        (observed.healthy, observed.addresses)
    };
    let addresses = ["10.1.0.2", "fd00::2"];
    let own = addresses.map(String::from).to_vec();
    let first = observed(&mut node, started_at(0, &addresses));
    assert_eq!(first, (None, own.clone()));
    node.pass(secs(15));
    assert_eq!(observed(&mut node, probed(1, GOOD)), (Some(true), own));
}

#[test]
fn both_go_on_side_by_side_and_each_update_says_all_that_is_known() {
    // TK-65, TK-97, TK-98
    let mut node = running(TaskInfo {
        check: checked("t").check,
        ..healthy("t")
    });
    node.pass(secs(15));
    let check = |exit_code| Some(CheckStatus::Command { exit_code });
    let said = |node: &mut Node, input: Input| {
        let (_, status) = sent_updates(&node.feed(input)).remove(0);
        node.feed(acknowledge("f", "t", status.update.unwrap()));
        let observed = status.observed.unwrap();
        (observed.healthy, observed.check)
    };
    let outputs = said(&mut node, probed(2, GOOD));
    assert_eq!(outputs, (Some(true), check(None)));
    node.pass(secs(5));
    let ready = ProbeOutcome::Exited(Exit::Code(0));
    let outputs = said(&mut node, probed(1, ready));
    assert_eq!(outputs, (Some(true), check(Some(0))));
    // Each has its own pause.
    assert_eq!(lines(&node.pass(secs(5))), ["~ probe c000000 3"]);
    assert_eq!(lines(&node.pass(secs(5))), ["~ probe c000000 4"]);
    let outputs = said(&mut node, probed(3, BAD));
    assert_eq!(outputs, (Some(false), check(Some(0))));
    // With its end as well.
    let outputs = said(&mut node, exited(0, Exit::Code(0)));
    assert_eq!(outputs, (Some(false), check(Some(0))));
}

#[test]
fn an_agent_that_returns_goes_on_from_what_it_has_said() {
    // TK-100
    let mut node = running(healthy("t"));
    try_after(&mut node, 15, 1, GOOD);
    node.pass(secs(10));
    let later = node.now + secs(60);
    let (mut node, outputs) = Node::restart(node.journal, later);
    assert!(!lines(&outputs).iter().any(|line| line.contains("probe")));
    assert_eq!(
        lines(&node.pass(secs(60))),
        NOTHING,
        "not before it is heard of"
    );
    node.feed(started(0));
    node.feed(Input::Container(ContainerEvent::Recovered));
    node.join(reregistered(1));
    assert_eq!(node.agent.view().tasks().count(), 1);
    // TK-74: the master is told with it what was said last.
    let reported = node.log.iter().find_map(|output| match output {
        Output::Effect(Effect::Master {
            message: ToMaster::Reregister { tasks, .. },
            ..
        }) => tasks.first().map(|report| report.healthy),
        Output::Effect(_) | Output::Persist(_) | Output::Free(_) => None,
    });
    assert_eq!(reported, Some(Some(true)));
    // It is tried at once; nothing is new.
    let tried = |node: &Node| {
        let log = lines(&node.log);
        log.iter().filter(|line| line.contains(" probe ")).count()
    };
    assert_eq!(tried(&node), 1);
    assert_eq!(lines(&node.feed(probed(1, GOOD))), NOTHING);
    // A failure counts, for it was healthy, and the count begins anew.
    let sent = try_after(&mut node, 10, 2, BAD);
    assert_eq!(health(&sent), [found(false)]);
    assert!(sent[0].message.contains("1 of 3"), "{}", sent[0].message);
}

#[test]
fn the_grace_goes_on_while_the_agent_is_away() {
    // TK-95, TK-100
    let slow = with_health(|check| check.grace = secs(100));
    let mut node = running(slow);
    assert_eq!(try_after(&mut node, 15, 1, BAD), []);
    let back = |after: u64| {
        let (mut node, _) = Node::restart(node.journal.clone(), node.now + secs(after));
        node.feed(started(0));
        node.feed(Input::Container(ContainerEvent::Recovered));
        node.join(reregistered(1));
        sent_updates(&node.feed(probed(1, BAD))).len()
    };
    assert_eq!(back(70), 0);
    assert_eq!(back(90), 1);
}

#[test]
fn what_is_found_out_again_and_again_takes_no_room() {
    // I22, TK-66: while nobody acknowledges
    let mut node = running(healthy("t"));
    node.pass(secs(15));
    let first = sent_update(&node.feed(probed(1, GOOD)));
    let waiting = |node: &Node| node.agent.view().tasks().next().unwrap().unacknowledged;
    let flip = |node: &mut Node, number: u64| {
        pass(node, secs(10));
        let outcome = if number.is_multiple_of(2) { BAD } else { GOOD };
        let outputs = node.feed(probed(number, outcome));
        assert_eq!(lines(&outputs), ["* updated 0 running"]);
        assert_eq!(waiting(node), 2, "the one in flight stays");
    };
    for number in 2..100 {
        flip(&mut node, number);
    }
    flip(&mut node, 100);
    // The newest comes next, and not before it is the oldest that is remembered: should the agent
    // fall, another may take its place.
    let outputs = node.feed(acknowledge("f", "t", first));
    let in_order = [
        "* acknowledged 0",
        "update t running task-health-check-status-updated latest running",
    ];
    assert_eq!(lines(&outputs), in_order);
    assert_eq!(short(&sent_updates(&outputs)[0].1), found(false));
    // A state is never left out.
    flip(&mut node, 101);
    node.feed(exited(0, Exit::Code(0)));
    assert_eq!(waiting(&node), 3);
}

#[test]
fn what_was_not_found_out_stays_in_its_place() {
    // TK-66: with the word that it runs still on its way
    let mut node = Node::joined();
    node.feed(run("f", healthy("t")));
    let runs = sent_update(&node.feed(started(0)));
    pass(&mut node, secs(15));
    node.feed(probed(1, GOOD));
    pass(&mut node, secs(10));
    node.feed(probed(2, BAD));
    let outputs = node.feed(acknowledge("f", "t", runs));
    assert_eq!(short(&sent_updates(&outputs)[0].1), found(false));
    let view = node.agent.view();
    assert_eq!(view.tasks().next().unwrap().unacknowledged, 1);
}

#[test]
fn a_disk_that_stalls_makes_nobody_unhealthy() {
    // TK-95
    let mut node = running(healthy("t"));
    node.disk_stalls();
    assert_eq!(lines(&pass(&mut node, secs(15))), ["~ probe c000000 1"]);
    assert_eq!(sent_updates(&node.feed(probed(1, GOOD))).len(), 1);
    node.disk_goes_on();
}

#[test]
fn a_framework_s_executor_makes_its_checks_itself() {
    // What no agent does is not left out silently.
    let mut node = Node::joined();
    let task = TaskInfo {
        check: checked("t").check,
        ..task_of("e", "t")
    };
    let (_, status) = sent_updates(&node.feed(run("f", task))).remove(0);
    assert_eq!(status.state, TaskState::Error);
    assert_eq!(
        status.message,
        "it has a check, which its executor makes itself"
    );
}

#[test]
fn nothing_else_gives_its_place_to_what_is_found_out() {
    // TK-66
    let mut node = Node::joined();
    node.feed(run("f", healthy("t")));
    node.feed(started(0));
    let mut state = replay(&node.journal);
    let found = Some(Reason::TaskHealthCheckStatusUpdated);
    for (n, reason, waiting) in [(7, None, 2), (8, found, 3), (9, found, 3), (10, None, 4)] {
        let status = TaskStatus {
            reason,
            update: Some(UpdateId(n)),
            ..TaskStatus::new(tid("t"), TaskState::Running, Source::Executor, node.now)
        };
        let task = Number(0);
        state.apply(&AgentRecord::Updated { task, status });
        let kept = state.task(task).unwrap().unacknowledged();
        assert_eq!(kept.len(), waiting);
        assert_eq!(kept.back().unwrap().update, Some(UpdateId(n)));
    }
}

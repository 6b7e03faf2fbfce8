//! Mistakes that were once made in Mesos' agents and executors, each with the test that fails if
//! they are made here: by the number of the issue there. Those that were left open have a file of
//! their own, `criticals`.
//!
//! | issue | what went wrong | test |
//! |---|---|---|
//! | 482 | what waits behind an end is thrown away when that is confirmed too early | `mesos_482_a_confirmation_out_of_turn_ends_no_stream` |
//! | 502 | the same end twice ends the agent | `mesos_502_and_640_what_is_said_twice_is_taken_in_once` |
//! | 640 | the same news twice ends the agent | `mesos_502_and_640_what_is_said_twice_is_taken_in_once` |
//! | 646 | what waited for its executor is lost over a restart | `mesos_646_what_waited_for_its_executor_is_handed_over_or_told` |
//! | 844 | a machine restarts, and its agent does not | `a_restart_of_the_machine_ends_what_ran` |
//! | 2583 | a task that was lost on its way stays in staging | `mesos_2583_a_task_that_was_lost_on_the_way_is_handed_over_again` |
//! | 4671 | later news overtakes earlier | `mesos_4671_news_is_told_in_the_order_of_the_executor` |
//! | 4878 | a task whose executor does not speak of it stays in staging | `mesos_4878_no_task_stays_in_staging` |
//! | 5380 | the executor of a task that was killed early never ends | `mesos_5380_the_executor_of_a_task_that_was_killed_early_ends` |
//! | 6270 | groups cannot be taken up again | `mesos_6270_and_6302_groups_are_taken_up_again_wherever_the_agent_falls` |
//! | 6285 | what is over costs as much to take up as what runs | `mesos_6285_what_is_over_costs_a_returning_agent_next_to_nothing` |
//! | 6302 | groups cannot be taken up again | `mesos_6270_and_6302_groups_are_taken_up_again_wherever_the_agent_falls` |
//! | 7863 | that a task was killed early is forgotten with its framework | `mesos_7863_that_a_task_was_killed_early_is_told_until_it_is_confirmed` |
//! | 8416 | groups of who asked for no checkpoints end the agent | `mesos_6270_and_6302_groups_are_taken_up_again_wherever_the_agent_falls` |
//! | 8537 | an executor ends before its last news has arrived | `a_shutdown_waits_for_tasks_and_their_updates` |
//! | 8679 | a kill that is stuck holds up all others | `mesos_8679_a_stuck_kill_holds_up_no_other` |
//! | 9847 | an executor ends before its last news has arrived | `a_shutdown_waits_for_tasks_and_their_updates` |
//! | 9909 | what ends of a group after a restart ends the agent | `mesos_6270_and_6302_groups_are_taken_up_again_wherever_the_agent_falls` |
//! | 10066 | executors end with their agent, which does not come back | `mesos_10066_an_agent_comes_back_whether_its_executor_lives_or_not` |
//!
//! Deliberately not here: files that a crash left empty or cut short (8871, 9507), which the
//! journal's own tests have.

use super::executors::{INSIDE, connected, says, status, subscribe, working};
use super::*;
use crate::protocol::executor::Call;

#[test]
fn every_issue_has_its_test() {
    let tests = [
        include_str!("criticals.rs"),
        include_str!("executors.rs"),
        include_str!("issues.rs"),
        include_str!("overdue.rs"),
        include_str!("recovery.rs"),
        include_str!("../../executor/tests.rs"),
    ];
    let rows = include_str!("issues.rs").lines();
    let rows = rows.filter(|line| line.starts_with("//! | ") && line.contains('`'));
    let mut named = 0;
    for row in rows {
        let name = row.split('`').nth(1).unwrap();
        let written = format!("#[test]\nfn {name}()");
        let is_written = tests.iter().any(|source| source.contains(&written));
        assert!(is_written, "{row}");
        named += 1;
    }
    assert_eq!(named, 19);
}

/// The one update among these, and its name.
fn newest(outputs: &Outputs) -> (TaskState, UpdateId) {
    let state = sent_updates(outputs).first().map(|(_, it)| it.state);
    (state.unwrap(), sent_update(outputs))
}

#[test]
fn mesos_482_a_confirmation_out_of_turn_ends_no_stream() {
    // TK-66, TK-69, I12
    let mut node = Node::joined();
    node.feed(run("f", task("t")));
    let first = sent_update(&node.feed(started(0)));
    node.feed(exited(0, Exit::Code(0)));
    let row = node.agent.state().task(Number(0)).unwrap();
    let last = row.unacknowledged().back().unwrap().update.unwrap();
    assert_eq!(lines(&node.feed(acknowledge("f", "t", last))), NOTHING);
    assert_eq!(
        lines(&node.pass(secs(10))),
        ["update t running - latest finished"]
    );
    let outputs = node.feed(acknowledge("f", "t", first));
    assert_eq!(newest(&outputs), (TaskState::Finished, last));
    node.feed(acknowledge("f", "t", last));
    assert_eq!(node.agent.state().tasks().len(), 0);
}

#[test]
fn mesos_502_and_640_what_is_said_twice_is_taken_in_once() {
    // TK-69, I11
    let mut node = working();
    let news = [
        status("t", TaskState::Running, 1),
        status("t", TaskState::Finished, 2),
    ];
    for status in &news {
        let says = says(INSIDE, Call::Update(status.clone()));
        assert_eq!(lines(&node.feed(says.clone())).len(), 3 - sent(status));
        assert_eq!(lines(&node.feed(says)), ["executor: has t"]);
    }
    // All of it once more, to the agent of a next life.
    let (mut node, _) = Node::restart(node.journal, node.now);
    let back = PeerId(51);
    node.feed(started(0));
    node.feed(Input::Container(ContainerEvent::Recovered));
    node.feed(connected(back, 0));
    let outputs = node.feed(says(back, subscribe(&[], news.to_vec())));
    assert_eq!(
        lines(&outputs),
        ["executor: subscribed", "executor: has t", "executor: has t"]
    );
    // And when nobody waits for it any more.
    node.join(reregistered(1));
    for update in [1, 2] {
        node.feed(acknowledge("f", "t", UpdateId(update)));
    }
    for status in news {
        let outputs = node.feed(says(back, Call::Update(status)));
        assert_eq!(lines(&outputs), ["executor: has t"]);
    }
}

/// How many words fewer there are of an update: only the oldest is under way.
fn sent(status: &TaskStatus) -> usize {
    usize::from(status.state.is_terminal())
}

#[test]
fn mesos_646_what_waited_for_its_executor_is_handed_over_or_told() {
    // AG-15, TK-61, I15, I17
    let mut node = Node::joined();
    node.feed(run("f", task_of("e", "t")));
    node.feed(run("f", task_of("e", "u")));
    let (journal, now) = (node.journal, node.now);
    // Its container runs: it gets both.
    let (mut node, _) = Node::restart(journal.clone(), now);
    node.feed(started(0));
    node.feed(Input::Container(ContainerEvent::Recovered));
    node.feed(connected(INSIDE, 0));
    assert_eq!(
        lines(&node.feed(says(INSIDE, subscribe(&[], vec![])))),
        [
            "* subscribed 0",
            "executor: subscribed",
            "executor: launch t",
            "executor: launch u"
        ]
    );
    // It does not: nothing is started a second time, and both are told of.
    for end in [launch_failed(0), lost(0), exited(0, Exit::Code(1))] {
        let (mut node, mut outputs) = Node::restart(journal.clone(), now);
        outputs.extend(node.feed(end));
        outputs.extend(node.feed(Input::Container(ContainerEvent::Recovered)));
        outputs.extend(node.join(reregistered(1)));
        let told = sent_updates(&outputs);
        let ends: Vec<&str> = told.iter().map(|(_, it)| it.task.as_str()).collect();
        assert_eq!(ends, ["t", "u"]);
        assert!(told.iter().all(|(_, it)| it.state.is_terminal()));
        let said = lines(&outputs);
        assert!(
            !said.iter().any(|line| line.starts_with("launch")),
            "{said:?}"
        );
    }
}

#[test]
fn mesos_4671_news_is_told_in_the_order_of_the_executor() {
    // TK-66, I11: over another master and another life of the agent, too
    let mut node = working();
    let steps = [TaskState::Starting, TaskState::Running, TaskState::Finished];
    let mut outputs = Vec::new();
    for (id, state) in (1..).zip(steps) {
        outputs.extend(node.feed(says(INSIDE, Call::Update(status("t", state, id)))));
    }
    assert_eq!(newest(&outputs), (steps[0], UpdateId(1)));
    node.feed(Input::MasterLost { peer: MASTER });
    let outputs = node.join(reregistered(2));
    assert_eq!(newest(&outputs), (steps[0], UpdateId(1)));
    let outputs = node.feed(acknowledge("f", "t", UpdateId(1)));
    assert_eq!(newest(&outputs), (steps[1], UpdateId(2)));
    let (mut node, _) = Node::restart(node.journal, node.now);
    node.feed(lost(0));
    node.feed(Input::Container(ContainerEvent::Recovered));
    let outputs = node.join(reregistered(2));
    assert_eq!(newest(&outputs), (steps[1], UpdateId(2)));
    let outputs = node.feed(acknowledge("f", "t", UpdateId(2)));
    assert_eq!(newest(&outputs), (steps[2], UpdateId(3)));
}

#[test]
fn mesos_7863_that_a_task_was_killed_early_is_told_until_it_is_confirmed() {
    // AG-28, TK-66: nothing else is left of its framework
    let mut node = Node::joined();
    node.feed(run("f", task_of("e", "t")));
    let update = sent_update(&node.feed(kill("f", "t", None)));
    node.feed(launch_failed(0));
    let killed = (TaskState::Killed, update);
    assert_eq!(newest(&node.pass(secs(10))), killed);
    let (mut node, _) = Node::restart(node.journal, node.now);
    node.feed(Input::Container(ContainerEvent::Recovered));
    assert_eq!(newest(&node.join(reregistered(1))), killed);
    node.feed(acknowledge("f", "t", update));
    assert_eq!(node.agent.state().frameworks().len(), 0);
}

//! Sandboxes of what has ended.

use alloc::collections::VecDeque;

use super::executors::{INSIDE, says, status, working};
use super::groups::{command, group};
use super::*;
use crate::limits;
use crate::protocol::executor::Call;

fn disk(permille: u16) -> Input {
    Input::DiskUsed { permille }
}

fn deleted(n: u64, is_gone: bool) -> Input {
    let container = ContainerId::numbered(n);
    Input::SandboxDeleted { container, is_gone }
}

/// Runs a task to its end, which its framework confirms.
pub(super) fn finished(node: &mut Node, name: &str, number: u64) {
    node.feed(run("f", task(name)));
    let update = sent_update(&node.feed(started(number)));
    node.feed(acknowledge("f", name, update));
    let update = sent_update(&node.feed(exited(number, Exit::Code(0))));
    node.feed(acknowledge("f", name, update));
}

fn days(days: u64) -> Duration {
    secs(days * 24 * 3_600)
}

#[test]
fn a_sandbox_is_kept_for_some_days() {
    // AG-38, AG-55
    let mut node = Node::joined();
    finished(&mut node, "t", 0);
    node.feed(run("f", task("lives")));
    node.feed(Input::MasterLost { peer: MASTER });
    node.pass(days(6));
    assert_eq!(lines(&node.feed(disk(0))), NOTHING);
    node.pass(days(1));
    assert_eq!(
        lines(&node.feed(disk(0))),
        ["delete tasks/f/t/c000000"],
        "and not that of what lives"
    );
    assert_eq!(lines(&node.feed(disk(1_000))), NOTHING, "under way");
    assert_eq!(lines(&node.feed(deleted(0, true))), ["* collected 0"]);
    assert_eq!(lines(&node.feed(deleted(0, true))), NOTHING);
    assert_eq!(lines(&node.feed(disk(1_000))), NOTHING);
}

#[test]
fn a_full_disk_shortens_it() {
    // AG-55: the oldest first
    let mut node = Node::joined();
    finished(&mut node, "a", 0);
    node.feed(Input::MasterLost { peer: MASTER });
    node.pass(days(1));
    node.join(reregistered(1));
    finished(&mut node, "b", 1);
    assert_eq!(lines(&node.feed(disk(700))), NOTHING);
    let outputs = node.feed(disk(800));
    assert_eq!(lines(&outputs), ["delete tasks/f/a/c000000"]);
    let outputs = node.feed(disk(900));
    assert_eq!(lines(&outputs), ["delete tasks/f/b/c000001"]);
}

#[test]
fn what_an_earlier_agent_has_left_is_deleted_in_its_time() {
    // AG-24: that it has left, and joined anew under another id, changes nothing of it
    let mut node = Node::joined();
    finished(&mut node, "t", 0);
    assert_eq!(lines(&node.feed(Input::Leave)).last().unwrap(), "left");
    let (mut node, _) = Node::restart(node.journal, node.now);
    node.feed(Input::Container(ContainerEvent::Recovered));
    node.pass(days(6));
    assert_eq!(lines(&node.feed(disk(0))), NOTHING);
    node.pass(days(1));
    assert_eq!(lines(&node.feed(disk(0))), ["delete tasks/f/t/c000000"]);
}

#[test]
fn what_is_not_confirmed_stays() {
    let mut node = Node::joined();
    node.feed(run("f", task("t")));
    node.feed(started(0));
    node.feed(exited(0, Exit::Code(0)));
    assert_eq!(lines(&node.feed(disk(1_000))), NOTHING);
}

#[test]
fn an_executor_has_one_sandbox_for_all_its_tasks() {
    // AG-38
    let mut node = working();
    node.feed(says(
        INSIDE,
        Call::Update(status("t", TaskState::Finished, 1)),
    ));
    node.feed(acknowledge("f", "t", UpdateId(1)));
    assert_eq!(lines(&node.feed(disk(1_000))), NOTHING);
    node.feed(exited(0, Exit::Code(0)));
    let outputs = node.feed(disk(1_000));
    assert_eq!(lines(&outputs), ["delete executors/f/e/c000000"]);
}

#[test]
fn a_group_of_the_agent_s_own_has_one_that_goes_after_the_last_of_its_tasks() {
    // AG-38, TK-91
    let mut node = Node::joined();
    node.feed(group(vec![command("a"), command("b")]));
    let end = |node: &mut Node, name: &str, n| {
        let update = sent_update(&node.feed(started(n)));
        node.feed(acknowledge("f", name, update));
        let update = sent_update(&node.feed(exited(n, Exit::Code(0))));
        node.feed(acknowledge("f", name, update));
    };
    end(&mut node, "a", 1);
    let outputs = node.feed(disk(1_000));
    assert_eq!(lines(&outputs), ["delete tasks/f/a/c000001"]);
    end(&mut node, "b", 2);
    let (mut node, _) = Node::restart(node.journal, node.now);
    let outputs = node.feed(disk(1_000));
    let both = [
        "delete executors/f/e/c000000",
        "delete tasks/f/a/c000001",
        "delete tasks/f/b/c000002",
    ];
    assert_eq!(lines(&outputs), both);
}

#[test]
fn what_cannot_be_deleted_is_tried_again_in_another_life() {
    // AG-57
    let mut node = Node::joined();
    finished(&mut node, "t", 0);
    node.feed(disk(1_000));
    assert_eq!(lines(&node.feed(deleted(0, false))), NOTHING);
    assert_eq!(node.agent.view().retired_sandboxes(), (1, 1));
    assert_eq!(lines(&node.feed(disk(1_000))), NOTHING);
    let (mut node, _) = Node::restart(node.journal, node.now);
    let outputs = node.feed(disk(1_000));
    assert_eq!(lines(&outputs), ["delete tasks/f/t/c000000"]);
    assert_eq!(lines(&node.feed(deleted(0, true))), ["* collected 0"]);
}

#[test]
fn what_cannot_be_deleted_is_given_up_where_there_is_too_much_of_it() {
    // I22: the oldest of it, and no more than what is too much
    let mut out = Outbox::new();
    let mut state = AgentState::default();
    state.retire_some(limits::RETIRED_SANDBOXES + 2);
    let now = Time::from_micros(1_000_000);
    let mut agent = Agent::recover(config(), state, now, &mut out);
    agent.handle(now, Input::Container(ContainerEvent::Recovered), &mut out);
    agent.handle(now, disk(0), &mut out);
    let ordered = |out: &mut Outbox<AgentRecord, Effect>| -> Vec<ContainerId> {
        let orders = out.drain().filter_map(|output| match output {
            Output::Effect(Effect::DeleteSandbox { container, .. }) => Some(container),
            Output::Effect(_) | Output::Persist(_) | Output::Free(_) => None,
        });
        orders.collect()
    };
    for container in ordered(&mut out) {
        let is_gone = false;
        agent.handle(now, Input::SandboxDeleted { container, is_gone }, &mut out);
    }
    assert_eq!(ordered(&mut out), []);
    assert_eq!(
        agent.view().retired_sandboxes(),
        (limits::RETIRED_SANDBOXES, 0)
    );
    // There is room: the next one is kept, and tried again in another life.
    agent.handle(now, disk(1_000), &mut out);
    let next = ordered(&mut out).remove(0);
    let refused = Input::SandboxDeleted {
        container: next,
        is_gone: false,
    };
    agent.handle(now, refused, &mut out);
    assert_eq!(
        agent.view().retired_sandboxes(),
        (limits::RETIRED_SANDBOXES, 1)
    );
}

#[test]
fn a_bounded_number_is_kept_and_deleted_at_a_time() {
    // I22
    let mut out = Outbox::new();
    let mut state = AgentState::default();
    let surplus = 3 * limits::DELETIONS + 1;
    let all = limits::RETIRED_SANDBOXES + surplus;
    state.retire_some(all);
    let now = Time::from_micros(1_000_000);
    let mut agent = Agent::recover(config(), state, now, &mut out);
    agent.handle(now, Input::Container(ContainerEvent::Recovered), &mut out);
    out.drain().for_each(drop);
    // The disk is looked at once, and what is deleted makes room for the next.
    agent.handle(now, disk(0), &mut out);
    let (mut under_way, mut most, mut done) = (VecDeque::new(), 0, 0);
    loop {
        for output in out.drain() {
            match output {
                Output::Effect(Effect::DeleteSandbox { container, .. }) => {
                    under_way.push_back(container);
                }
                Output::Persist(AgentRecord::Collected { .. }) => done += 1,
                other @ (Output::Effect(_) | Output::Persist(_) | Output::Free(_)) => {
                    panic!("{other:?}")
                }
            }
        }
        most = most.max(under_way.len());
        let Some(container) = under_way.pop_front() else {
            break;
        };
        let is_gone = true;
        let gone = Input::SandboxDeleted { container, is_gone };
        agent.handle(now, gone, &mut out);
    }
    assert_eq!((done, most), (surplus, limits::DELETIONS));
}

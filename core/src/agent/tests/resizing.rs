//! What the containers of executors may use.

use super::executors::{INSIDE, connected, says, status, subscribe};
use super::*;
use crate::protocol::container::ContainerLimits;
use crate::protocol::executor::Call;
use crate::protocol::task::{Limit, Limits};
use crate::resources::Ranges;

/// An agent whose containerizer can change what containers may use.
pub(super) fn resizing() -> Config {
    Config {
        resizes: true,
        ..config()
    }
}

fn limits(cpus: f64, share: Option<f64>, mem: Option<i64>, kept: Option<i64>) -> ContainerLimits {
    let cores = |cores: f64| Milli::from_thousandths((cores * 1_000.0) as i64);
    ContainerLimits {
        cpus: Some(cores(cpus)),
        share: share.map(cores),
        mem: mem.map(Milli::from_units),
        kept: kept.map(Milli::from_units),
        ports: Some(Ranges::new()),
        ..ContainerLimits::default()
    }
}

/// Says what containers may use from now on.
fn told(outputs: &Outputs) -> Vec<ContainerLimits> {
    let told = outputs.iter().filter_map(|output| match output {
        Output::Effect(Effect::Container(ContainerCommand::Launch { spec, .. })) => {
            Some(spec.limits.clone())
        }
        Output::Effect(Effect::Container(ContainerCommand::Resize { limits, .. })) => {
            Some(limits.clone())
        }
        Output::Effect(_) | Output::Persist(_) | Output::Free(_) => None,
    });
    told.collect()
}

/// Task `u` of executor `e`, which may use up to three cores, and any memory.
fn greedy() -> TaskInfo {
    let limits = Limits {
        cpus: Some(Limit::Amount(Milli::from_units(3))),
        mem: Some(Limit::Unlimited),
    };
    TaskInfo {
        limits,
        ..task_of("e", "u")
    }
}

/// Executor `e` with `cpus:0.1` runs task `t` with `cpus:1;mem:64`.
fn working(config: Config) -> (Node, Outputs) {
    let mut node = Node::joined_as(config);
    let outputs = node.feed(run("f", task_of("e", "t")));
    node.feed(started(0));
    node.feed(connected(INSIDE, 0));
    node.feed(says(INSIDE, subscribe(&[], vec![])));
    (node, outputs)
}

fn ends(node: &mut Node, name: &str, id: u128) -> Outputs {
    let end = status(name, TaskState::Finished, id);
    node.feed(says(INSIDE, Call::Update(end)))
}

#[test]
fn an_executor_may_use_what_it_needs_and_what_its_tasks_may() {
    // TK-94, AG-37, TK-06
    let (mut node, outputs) = working(resizing());
    let alone = limits(1.1, None, Some(64), None);
    assert_eq!(told(&outputs), std::slice::from_ref(&alone));
    // Before the task can begin, and once.
    let outputs = node.feed(run("f", greedy()));
    let said = ["* task 2 u by 0", "resize c000000", "executor: launch u"];
    assert_eq!(lines(&outputs), said);
    let both = limits(4.1, Some(2.1), None, Some(128));
    assert_eq!(told(&outputs), [both]);
    let running = status("u", TaskState::Running, 1);
    let outputs = node.feed(says(INSIDE, Call::Update(running)));
    assert_eq!(told(&outputs), []);
    // What is over uses nothing, whether its framework has heard of that or not.
    assert_eq!(told(&ends(&mut node, "u", 2)), std::slice::from_ref(&alone));
    node.feed(acknowledge("f", "u", UpdateId(1)));
    let outputs = node.feed(acknowledge("f", "u", UpdateId(2)));
    assert_eq!(told(&outputs), []);
    // Whether the last word had left is not known after a restart.
    let (mut node, _) = Node::restart_as(resizing(), node.journal, node.now);
    assert_eq!(told(&node.feed(started(0))), [alone]);
}

#[test]
fn without_a_word_for_it_executors_have_no_limits() {
    // AG-37: they would have to grow with their tasks.
    let (mut node, outputs) = working(config());
    assert_eq!(told(&outputs), [ContainerLimits::default()]);
    assert_eq!(told(&node.feed(run("f", greedy()))), []);
    assert_eq!(told(&ends(&mut node, "u", 1)), []);
}

#[test]
fn an_executor_whose_limits_cannot_be_changed_ends() {
    // AG-35, TK-43
    let failed = || {
        Input::Container(ContainerEvent::ResizeFailed {
            id: ContainerId::numbered(0),
            message: "no such group".into(),
        })
    };
    let (mut node, _) = working(resizing());
    node.feed(run("f", greedy()));
    assert_eq!(lines(&node.feed(failed())), ["destroy c000000"]);
    assert_eq!(lines(&node.feed(failed())), NOTHING);
    let outputs = node.feed(exited(0, Exit::Signal(9)));
    for (_, end) in sent_updates(&outputs) {
        assert_eq!(end.state, TaskState::Gone, "{}", end.task);
        assert_eq!(end.reason, Some(Reason::ContainerUpdateFailed));
        assert!(end.message.ends_with("no such group"), "{}", end.message);
    }
    // One that was asked to end has its time all the same.
    let (mut node, _) = working(resizing());
    node.feed(master(ToAgent::ShutdownFramework(fw("f"))));
    assert_eq!(lines(&node.feed(failed())), NOTHING);
    assert_eq!(lines(&node.pass(secs(5))), ["destroy c000000"]);
}

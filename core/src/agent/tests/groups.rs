//! Tasks that are started together, and end together.

use alloc::boxed::Box;

use super::executors::{INSIDE, connected, says, status, subscribe};
use super::*;
use crate::protocol::agent::GroupOrder;
use crate::protocol::container::{ContainerCommand, ContainerSpec, GroupSpec};
use crate::protocol::container_info::ContainerInfo;
use crate::protocol::executor::Call;
use crate::protocol::task::ExecutorKind;

pub(super) fn group(tasks: Vec<TaskInfo>) -> Input {
    master(ToAgent::RunGroup(GroupOrder {
        framework: fw("f"),
        role: Role::any(),
        tasks,
        starts_executor: true,
    }))
}

fn of_executor() -> Input {
    group(vec![task_of("e", "a"), task_of("e", "b")])
}

pub(super) fn command(name: &str) -> TaskInfo {
    let executor = task_of("e", name).executor.unwrap();
    TaskInfo {
        executor: Some(ExecutorInfo::built_in(executor.id, executor.resources)),
        ..task(name)
    }
}

fn of_commands() -> Input {
    group(vec![command("a"), command("b"), command("c")])
}

/// Container 0 runs executor `e`, which has the group of `a` and `b`, numbers 1 and 2.
fn working() -> Node {
    let mut node = Node::joined();
    node.feed(of_executor());
    node.feed(started(0));
    node.feed(connected(INSIDE, 0));
    let outputs = node.feed(says(INSIDE, subscribe(&[], vec![])));
    let last = lines(&outputs).pop();
    assert_eq!(last.as_deref(), Some("executor: launch a+b"), "together");
    node
}

fn state(node: &Node, name: &str) -> TaskState {
    node.agent.view().task(&fw("f"), &tid(name)).unwrap().state
}

#[test]
fn a_group_is_taken_on_in_one_record_and_handed_over_in_one_word() {
    // OF-23, AG-31
    let mut node = Node::joined();
    let outputs = node.feed(of_executor());
    let taken = ["* executor 0 e", "* group 1 a+b", "launch c000000"];
    assert_eq!(lines(&outputs), taken);
    let mut node = working();
    let more = group(vec![task_of("e", "c"), task_of("e", "d")]);
    let outputs = node.feed(more);
    assert_eq!(lines(&outputs), ["* group 3 c+d", "executor: launch c+d"]);
}

#[test]
fn who_kills_one_kills_all() {
    // TK-83, TK-91
    let mut node = working();
    let other = run("f", task_of("e", "alone"));
    node.feed(other);
    let outputs = node.feed(kill("f", "b", Some(secs(7))));
    let kills = [
        "* kill 1",
        "executor: kill a",
        "* kill 2",
        "executor: kill b",
    ];
    let said = lines(&outputs);
    for expected in kills {
        assert!(
            said.iter().any(|line| line.starts_with(expected)),
            "{said:?}"
        );
    }
    assert!(!said.iter().any(|line| line.contains("alone")), "{said:?}");
}

#[test]
fn a_group_that_its_executor_never_had_is_killed_as_a_whole() {
    // TK-62, TK-83
    let mut node = Node::joined();
    node.feed(of_executor());
    let outputs = node.feed(kill("f", "a", None));
    let killed: Vec<_> = sent_updates(&outputs);
    let states: Vec<_> = killed
        .iter()
        .map(|(_, it)| (it.task.as_str(), it.state))
        .collect();
    assert_eq!(states, [("a", TaskState::Killed), ("b", TaskState::Killed)]);
    let during = Some(Reason::TaskKilledDuringLaunch);
    assert!(killed.iter().all(|(_, it)| it.reason == during));
}

#[test]
fn who_ends_badly_takes_the_others_along_and_who_ends_well_does_not() {
    // TK-91
    let mut node = working();
    let update = |name: &str, state, id| says(INSIDE, Call::Update(status(name, state, id)));
    node.feed(update("a", TaskState::Running, 1));
    node.feed(update("b", TaskState::Running, 2));
    let outputs = lines(&node.feed(update("a", TaskState::Finished, 3)));
    assert!(
        !outputs.iter().any(|line| line.contains("kill")),
        "{outputs:?}"
    );
    for end in [TaskState::Failed, TaskState::Killed, TaskState::Error] {
        let mut node = working();
        node.feed(update("a", TaskState::Running, 1));
        node.feed(update("b", TaskState::Running, 2));
        let outputs = lines(&node.feed(update("a", end, 3)));
        // First the one, then the other: what falls in between is told again.
        assert_eq!(outputs[0], "* kill 2", "{outputs:?}");
        assert!(outputs[1].starts_with("executor: kill b"), "{outputs:?}");
        let last = outputs.last().map(String::as_str);
        assert_eq!(last, Some("executor: has a"));
        node.feed(update("b", TaskState::Killed, 4));
        assert_eq!(state(&node, "b"), TaskState::Killed);
    }
}

#[test]
fn the_agent_itself_runs_a_group_of_commands() {
    // TK-91
    let mut node = Node::joined();
    let outputs = node.feed(of_commands());
    let launched = [
        "* group 1 a+b+c",
        "launch c000001",
        "launch c000002",
        "launch c000003",
    ];
    assert_eq!(lines(&outputs), launched);
    for n in 1..4 {
        node.feed(started(n));
    }
    let outputs = node.feed(exited(1, Exit::Code(0)));
    assert!(!lines(&outputs).iter().any(|line| line.contains("kill")));
    let outputs = lines(&node.feed(exited(2, Exit::Code(3))));
    assert_eq!(outputs[..2], ["* kill 3", "terminate c000003"]);
    assert_eq!(state(&node, "b"), TaskState::Failed);
    node.feed(exited(3, Exit::Signal(15)));
    assert_eq!(state(&node, "c"), TaskState::Killed);
}

#[test]
fn an_agent_that_falls_remembers_who_belongs_together() {
    let mut node = Node::joined();
    node.feed(of_commands());
    for n in 1..4 {
        node.feed(started(n));
    }
    let (mut node, _) = Node::restart(node.journal, node.now);
    let outputs = lines(&node.feed(exited(1, Exit::Signal(9))));
    assert_eq!(outputs[..2], ["* kill 2", "* kill 3"], "{outputs:?}");
    // What was to end is ended once it is heard of.
    assert_eq!(lines(&node.feed(started(2))), ["terminate c000002"]);
}

/// What containers are launched with.
fn launched(outputs: &Outputs) -> Vec<ContainerSpec> {
    let launched = outputs.iter().filter_map(|output| match output {
        Output::Effect(Effect::Container(ContainerCommand::Launch { spec, .. })) => {
            Some(spec.clone())
        }
        Output::Effect(_) | Output::Persist(_) | Output::Free(_) => None,
    });
    launched.collect()
}

#[test]
fn containers_of_a_group_are_told_what_they_have_in_common() {
    // CT-15, TK-91
    let tasks = ["a", "b"].map(|name| {
        let mut task = command(name);
        let executor = task.executor.as_mut().unwrap();
        executor.resources = operations::res("cpus:0.1;mem:32;disk:7");
        executor.container = Some(Box::new(ContainerInfo {
            shm_size: Some(3),
            ..ContainerInfo::default()
        }));
        task
    });
    let mut node = Node::joined();
    node.feed(run("f", task("before")));
    let outputs = node.feed(group(tasks.to_vec()));
    let specs = launched(&outputs);
    let expected = GroupSpec {
        id: ContainerId::numbered(1),
        sandbox: ["executors", "f", "e", "c000001"].map(Into::into).to_vec(),
        disk: Some(Milli::from_units(7)),
        container: tasks[0].executor.as_ref().unwrap().container.clone(),
    };
    let told: Vec<_> = specs.iter().map(|spec| spec.group.as_deref()).collect();
    assert_eq!(told, [Some(&expected), Some(&expected)]);
    assert_eq!(specs[0].sandbox.last().map(String::as_str), Some("c000002"));
    // Another group has nothing in common with it, nor has a task by itself.
    let outputs = node.feed(group(vec![command("c"), command("d")]));
    let other = launched(&outputs).pop().and_then(|spec| spec.group);
    assert_eq!(other.unwrap().id, ContainerId::numbered(4));
    let outputs = node.feed(run("f", task("alone")));
    assert_eq!(launched(&outputs)[0].group, None);
}

#[test]
fn what_is_wrong_with_one_is_wrong_with_all() {
    // OF-23, TK-64, SM-34
    let elsewhere = TaskInfo {
        agent: AgentId::new("other").unwrap(),
        ..command("b")
    };
    let unheard = TaskInfo {
        resources: operations::res(r#"cpus(*)<dynamic="eng">:1"#),
        ..command("b")
    };
    let alone = TaskInfo {
        executor: None,
        ..command("b")
    };
    let mut by_itself = task_of("e", "b");
    by_itself.executor.as_mut().unwrap().kind = ExecutorKind::BuiltIn;
    for (wrong, state, reason) in [
        (elsewhere, TaskState::Error, Reason::TaskGroupInvalid),
        (alone, TaskState::Error, Reason::TaskGroupInvalid),
        (by_itself, TaskState::Error, Reason::TaskGroupInvalid),
        (unheard, TaskState::Dropped, Reason::ResourcesUnknown),
    ] {
        let mut node = Node::joined();
        let outputs = node.feed(group(vec![command("a"), wrong]));
        let told = sent_updates(&outputs);
        let told: Vec<_> = told.iter().map(|(_, it)| (it.state, it.reason)).collect();
        assert_eq!(told, [(state, Some(reason)); 2]);
    }
    // An id that is used, also by another of the group.
    let mut node = Node::joined();
    node.feed(run("f", task("b")));
    for tasks in [
        vec![command("a"), command("b")],
        vec![command("c"), command("c")],
    ] {
        let outputs = node.feed(group(tasks));
        let told = sent_updates(&outputs);
        assert!(told.iter().all(|(_, it)| it.state == TaskState::Dropped));
        assert_eq!(told.len(), 2);
    }
    assert_eq!(lines(&node.feed(group(vec![]))), NOTHING);
}

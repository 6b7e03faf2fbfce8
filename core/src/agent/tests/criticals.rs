//! Critical issues that Mesos 1.11 left open, as far as they concern agents: what each describes
//! cannot happen here. Named after them; the other half is the master's.
//!
//! Where another crate is to be asked:
//!
//! - RG-06 (9967), the registry's credentials: `isolation/tests/images/pulls.rs`.
//! - RG-10 (9393), names in archives: `isolation/tests/fetcher.rs`.
//! - RG-11 (9355, 9352, 8830), deletion across mounts: `removal` of the binary.
//! - RG-12 (9053), as far as ports go: `isolation/tests/devices.rs`. What is here goes for every
//!   limit.
//! - RG-16 (8257), links out of a file system of a container's own: `isolation/tests/launch.rs`;
//!   what sandboxes are read through: `sandboxes` of the binary.
//! - RG-23 (7386), a logger beside a container: there is none. Output goes through the launcher,
//!   without which no container is left (`isolation/tests/privileged.rs`).

use super::executors::{INSIDE, connected, says, status, subscribe, working};
use super::gc::finished;
use super::*;
use crate::protocol::agent::GroupOrder;
use crate::protocol::executor::Call;

fn running(node: &mut Node, name: &str, number: u64) {
    node.feed(run("f", task(name)));
    let update = sent_update(&node.feed(started(number)));
    node.feed(acknowledge("f", name, update));
}

/// Container 0 runs executor `e`, and that task `t`, number 1, of which all has been heard.
fn serving() -> Node {
    let mut node = working();
    let running = status("t", TaskState::Running, 1);
    node.feed(says(INSIDE, Call::Update(running)));
    node.feed(acknowledge("f", "t", UpdateId(1)));
    node
}

fn over_limit(n: u64) -> Input {
    Input::Container(ContainerEvent::Exited {
        id: ContainerId::numbered(n),
        exit: Exit::Signal(9),
        breach: Some(breach(Limited::Memory, 64, 65)),
    })
}

/// The orders to the containerizer among these.
fn orders(outputs: &Outputs) -> Vec<String> {
    let orders = outputs.iter().filter_map(|output| match output {
        Output::Effect(effect @ Effect::Container(_)) => Some(effect_line(effect)),
        Output::Effect(_) | Output::Persist(_) | Output::Free(_) => None,
    });
    orders.collect()
}

#[test]
fn mesos_10066_an_agent_comes_back_whether_its_executor_lives_or_not() {
    // RG-04
    let before = serving();
    for lives in [true, false] {
        let (mut node, mut outputs) = Node::restart(before.journal.clone(), before.now);
        let back = PeerId(51);
        let was = if lives { started(0) } else { lost(0) };
        outputs.extend(node.feed(was));
        outputs.extend(node.feed(Input::Container(ContainerEvent::Recovered)));
        if lives {
            outputs.extend(node.feed(connected(back, 0)));
            outputs.extend(node.feed(says(back, subscribe(&[], vec![]))));
        }
        let told = node.join(reregistered(1));
        assert!(node.agent.view().is_registered());
        if lives {
            assert_eq!(orders(&outputs), ["recover [c000000]"]);
            let kill = node.feed(kill("f", "t", None));
            assert_eq!(lines(&kill), ["* kill 1", "executor: kill t 3s"]);
            continue;
        }
        let end = &sent_updates(&told)[0].1;
        assert!(end.state.is_terminal(), "{end:?}");
        let update = end.update.unwrap();
        node.feed(acknowledge("f", "t", update));
        let next = node.feed(run("f", task_of("e", "u")));
        assert_eq!(orders(&next), ["launch c000002"], "it takes tasks again");
    }
}

#[test]
fn mesos_9536_each_task_of_a_group_is_its_users_in_a_sandbox_of_its_own() {
    // RG-08; that the sandbox belongs to that user is shown where containers are started
    let mut node = Node::joined();
    let member = |name: &str| {
        let executor = task_of("e", name).executor.unwrap();
        TaskInfo {
            executor: Some(ExecutorInfo::built_in(executor.id, executor.resources)),
            ..task(name)
        }
    };
    node.feed(master(ToAgent::UpdateFramework(FrameworkInfo {
        user: Some("web".into()),
        ..framework("f")
    })));
    let order = GroupOrder {
        framework: fw("f"),
        role: Role::any(),
        tasks: vec![member("a"), member("b")],
        starts_executor: true,
    };
    let outputs = node.feed(master(ToAgent::RunGroup(order)));
    let launched: Vec<(Option<&str>, String)> = outputs
        .iter()
        .filter_map(|output| match output {
            Output::Effect(Effect::Container(ContainerCommand::Launch { spec, .. })) => {
                Some((spec.command.user.as_deref(), spec.sandbox.join("/")))
            }
            Output::Effect(_) | Output::Persist(_) | Output::Free(_) => None,
        })
        .collect();
    assert_eq!(
        launched,
        [
            (Some("web"), "tasks/f/a/c000001".into()),
            (Some("web"), "tasks/f/b/c000002".into())
        ]
    );
}

#[test]
fn mesos_9426_a_master_that_does_not_answer_is_left() {
    // RG-09
    let (mut node, _) = Node::restart(Vec::new(), Time::from_micros(1_000_000));
    node.feed(Input::Container(ContainerEvent::Recovered));
    node.feed(Input::MasterFound { peer: MASTER });
    let outputs = lines(&node.pass(secs(600)));
    let (last, asked) = outputs.split_last().unwrap();
    assert_eq!(last, "disconnect 1 the master has not answered 10 times");
    assert_eq!(asked, ["register"; 10]);
    // The next one is asked from the beginning.
    node.feed(Input::MasterFound { peer: PeerId(2) });
    assert_eq!(lines(&node.pass(secs(1)))[0], "register");
}

#[test]
fn mesos_9053_what_is_seen_while_a_container_is_ended_is_no_breach() {
    // RG-12
    let mut node = Node::joined();
    running(&mut node, "t", 0);
    node.feed(kill("f", "t", Some(Duration::ZERO)));
    let end = sent_updates(&node.feed(over_limit(0))).remove(0).1;
    assert_eq!((end.state, end.reason), (TaskState::Killed, None));
    // An executor that the agent ends for another reason.
    let mut node = Node::joined();
    node.feed(run("f", task_of("e", "t")));
    node.feed(started(0));
    assert_eq!(lines(&node.pass(secs(60))), ["destroy c000000"]);
    let end = sent_updates(&node.feed(over_limit(0))).remove(0).1;
    let why = Some(Reason::ExecutorRegistrationTimeout);
    assert_eq!((end.state, end.reason), (TaskState::Failed, why));
    // One that nobody ends has broken it.
    let mut node = working();
    let end = sent_updates(&node.feed(over_limit(0))).remove(0).1;
    assert_eq!(end.reason, Some(Reason::ContainerLimitationMemory));
}

#[test]
fn mesos_8840_and_8877_a_restart_leaves_what_runs_as_it_is() {
    // RG-14: the containerizer is asked, and told to change nothing
    let mut node = serving();
    running(&mut node, "u", 2);
    for life in 0..3 {
        let (fresh, mut outputs) = Node::restart(node.journal, node.now);
        node = fresh;
        let back = PeerId(60 + life);
        for input in [
            started(0),
            started(2),
            Input::Container(ContainerEvent::Recovered),
            connected(back, 0),
            says(back, subscribe(&[], vec![])),
        ] {
            outputs.extend(node.feed(input));
        }
        outputs.extend(node.join(reregistered(1)));
        outputs.extend(node.pass(secs(60)));
        assert_eq!(orders(&outputs), ["recover [c000002, c000000]"]);
    }
}

#[test]
fn mesos_8038_a_task_is_over_when_its_container_is() {
    // RG-18: what it had is given to another as soon as its end is told
    let mut node = Node::joined();
    let info = TaskInfo {
        resources: Resources::parse("cpus:1;mem:64;gpus:1").unwrap(),
        ..task("t")
    };
    node.feed(run("f", info));
    let update = sent_update(&node.feed(started(0)));
    node.feed(acknowledge("f", "t", update));
    let mut outputs = node.feed(kill("f", "t", Some(secs(1))));
    outputs.extend(node.pass(secs(60)));
    assert_eq!(orders(&outputs), ["terminate c000000", "destroy c000000"]);
    let told = sent_updates(&outputs);
    assert!(told.iter().all(|(_, it)| !it.state.is_terminal()));
    let end = sent_updates(&node.feed(exited(0, Exit::Signal(9))))
        .remove(0)
        .1;
    assert_eq!(end.state, TaskState::Killed);
}

#[test]
fn mesos_6285_what_is_over_costs_a_returning_agent_next_to_nothing() {
    // RG-24
    let mut node = Node::joined();
    for n in 0..30 {
        finished(&mut node, &format!("{n}-{}", "x".repeat(200)), n);
    }
    let bytes = postcard::to_allocvec(node.agent.state()).unwrap().len();
    assert!(bytes < 30 * 300, "{bytes} bytes of nothing but sandboxes");
    // What is not over is asked about in one word, as disks are, and told one piece of news each.
    for n in 30..40 {
        node.feed(run("f", task(&format!("{n}"))));
        node.feed(started(n));
        node.feed(exited(n, Exit::Code(0)));
    }
    for n in 40..50 {
        node.feed(run("f", task(&format!("{n}"))));
    }
    let (mut node, outputs) = Node::restart(node.journal, node.now);
    let live: Vec<String> = (40..50).map(|n| format!("c0000{n}")).collect();
    let recover = format!("recover [{}]", live.join(", "));
    assert_eq!(lines(&outputs), [recover.as_str(), "disks 0"]);
    for n in 40..50 {
        node.feed(started(n));
    }
    node.feed(Input::Container(ContainerEvent::Recovered));
    let told = sent_updates(&node.join(reregistered(1)));
    assert_eq!(told.len(), 20, "one of each that is not over");
}

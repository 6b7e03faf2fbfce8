//! Tasks with a command: launch, end, and what is refused.

use super::*;
use crate::protocol::container::ContainerLimits;
use crate::protocol::task::{Limit, Limits};

#[test]
fn a_task_runs_to_its_end() {
    let mut node = Node::joined();
    // Taken on before it is started: the order is held until the record is durable (C4).
    let outputs = node.feed(run("f", task("t")));
    assert_eq!(lines(&outputs), ["* task 0 t", "launch c000000"]);
    // TK-33; no `Starting` for commands
    let outputs = node.feed(started(0));
    assert_eq!(
        lines(&outputs),
        ["* updated 0 running", "update t running - latest running"]
    );
    let running = sent_update(&outputs);
    // TK-23, TK-66: waits its turn
    let outputs = node.feed(exited(0, Exit::Code(0)));
    assert_eq!(lines(&outputs), ["* updated 0 finished"]);
    let outputs = node.feed(acknowledge("f", "t", running));
    assert_eq!(
        lines(&outputs),
        ["update t finished - latest finished", "* acknowledged 0"]
    );
    let status = &sent_updates(&outputs)[0].1;
    assert_eq!(status.exit, Some(Exit::Code(0)));
    assert_eq!(status.agent, Some(agent_id()));
    let finished = status.update.unwrap();
    // TK-73: acknowledged to the end, it is forgotten
    let outputs = node.feed(acknowledge("f", "t", finished));
    assert_eq!(lines(&outputs), ["* acknowledged 0", "forget c000000"]);
    assert_eq!(node.agent.view().tasks().count(), 0);
    assert_eq!(node.agent.view().sandbox(&fw("f"), &tid("t")), None);
    // Its id may be used again, and has a sandbox of its own then.
    let outputs = node.feed(run("f", task("t")));
    let Some(Output::Effect(Effect::Container(ContainerCommand::Launch { spec, .. }))) =
        outputs.last()
    else {
        panic!("{outputs:?}");
    };
    assert_eq!(spec.sandbox, ["tasks", "f", "t", "c000001"]);
}

#[test]
fn a_container_gets_the_limits_and_the_environment_of_its_task() {
    // TK-90, TL-34: a command costs what it asks for, and no executor beside it
    let mut node = Node::joined();
    let mut info = task("t");
    info.pids = Some(32);
    let outputs = node.feed(run("f", info));
    let Some(Output::Effect(Effect::Container(ContainerCommand::Launch { id, spec }))) =
        outputs.last()
    else {
        panic!("{outputs:?}");
    };
    assert_eq!(id.as_str(), "c000000");
    assert_eq!(spec.command, CommandInfo::shell("sleep 100"));
    assert_eq!(spec.limits.cpus, Some(Milli::from_units(1)));
    assert_eq!(spec.limits.mem, Some(Milli::from_units(64)));
    assert_eq!(spec.limits.pids, Some(32));
    assert_eq!(spec.sandbox, ["tasks", "f", "t", "c000000"]);
    assert_eq!(task_sandboxes(&fw("f"), &tid("t")), spec.sandbox[..3]);
    let value = |name: &str| {
        let found = spec.environment.iter().find(|(n, _)| n == name);
        found.map(|(_, value)| value.as_str())
    };
    assert_eq!(value("TEPUI_TASK_ID"), Some("t")); // AG-48
    assert_eq!(value("TEPUI_FRAMEWORK_ID"), Some("f"));
    assert_eq!(value("TEPUI_AGENT_ID"), Some("rio-1-S0"));
    assert_eq!(value("TEPUI_CONTAINER_ID"), Some("c000000"));
    assert_eq!(value("MESOS_SLAVE_ID"), Some("rio-1-S0"));
    assert_eq!(value("MESOS_TASK_ID"), Some("t"));
    let sandbox = node.agent.view().sandbox(&fw("f"), &tid("t"));
    let sandbox = sandbox.expect("the task runs");
    assert_eq!(
        (sandbox.components, sandbox.is_over),
        (spec.sandbox.clone(), false)
    );
}

#[test]
fn what_is_not_limited_has_no_limit() {
    let mut node = Node::joined();
    let mut info = task("t");
    info.resources = Resources::parse("disk:5").unwrap();
    let outputs = node.feed(run("f", info));
    let Some(Output::Effect(Effect::Container(ContainerCommand::Launch { spec, .. }))) =
        outputs.last()
    else {
        panic!("{outputs:?}");
    };
    // What it takes no disk and no ports of is not left to it without a limit.
    let expected = ContainerLimits {
        disk: Some(Milli::from_units(5)),
        ports: Some(crate::resources::Ranges::default()),
        ..ContainerLimits::default()
    };
    assert_eq!(spec.limits, expected);
}

/// Runs one task to the end that `end` gives it; returns its last status.
fn ends(end: Input) -> TaskStatus {
    let mut node = Node::joined();
    node.feed(run("f", task("t")));
    let running = sent_update(&node.feed(started(0)));
    node.feed(acknowledge("f", "t", running));
    sent_updates(&node.feed(end)).remove(0).1
}

#[test]
fn how_a_program_ended_is_told() {
    // TK-90
    let end = ends(exited(0, Exit::Code(3)));
    assert_eq!(end.state, TaskState::Failed); // TK-24
    assert_eq!(end.reason, Some(Reason::CommandFailed));
    assert_eq!(end.exit, Some(Exit::Code(3)));
    assert_eq!(end.message, "the command ended with exit code 3");

    let end = ends(exited(0, Exit::Signal(11)));
    assert_eq!(
        (end.state, end.exit),
        (TaskState::Failed, Some(Exit::Signal(11)))
    );
    assert_eq!(end.message, "the command ended with signal 11");

    let over = breach(Limited::Memory, 64, 65);
    let end = ends(Input::Container(ContainerEvent::Exited {
        id: ContainerId::numbered(0),
        exit: Exit::Signal(9),
        breach: Some(over),
    }));
    assert_eq!(end.reason, Some(Reason::ContainerLimitationMemory)); // TK-41
    assert_eq!((end.exit, end.breach), (Some(Exit::Signal(9)), Some(over)));
    assert_eq!(
        end.message,
        "the memory limit was exceeded: used 65 MiB of 64 MiB"
    );

    let end = ends(Input::Container(ContainerEvent::Exited {
        id: ContainerId::numbered(0),
        exit: Exit::Code(1),
        breach: Some(breach(Limited::Pids, 8, 8)),
    }));
    assert_eq!(end.reason, Some(Reason::ContainerLimitationPids));

    let end = ends(lost(0)); // TK-30, TK-47
    assert_eq!(
        (end.state, end.reason),
        (TaskState::Gone, Some(Reason::ExecutorTerminated))
    );
    assert_eq!(end.exit, None);
}

#[test]
fn a_container_that_does_not_start_fails_its_task() {
    let mut node = Node::joined();
    node.feed(run("f", task("t")));
    let outputs = node.feed(launch_failed(0)); // AG-34, TK-39
    assert_eq!(
        lines(&outputs),
        [
            "* updated 0 failed",
            "update t failed container-launch-failed latest failed"
        ]
    );
    assert_eq!(sent_updates(&outputs)[0].1.message, "no such file");
    // Late news of a container that is over are nothing, but that it does not run on.
    assert_eq!(lines(&node.feed(started(0))), ["destroy c000000"]);
    assert_eq!(lines(&node.feed(exited(0, Exit::Code(0)))), NOTHING);
}

#[test]
fn an_invalid_task_is_reported_and_not_started() {
    let mut node = Node::joined();
    let mut neither = task("t");
    neither.command = None;
    let mut both = task_of("e", "u");
    both.command = task("u").command;
    let mut elsewhere = task("v");
    elsewhere.agent = AgentId::new("rio-1-S9").unwrap();
    for (info, number) in [(neither, 0), (both, 1), (elsewhere, 2)] {
        let (name, executor) = (info.id.clone(), info.executor.clone());
        let outputs = node.feed(run("f", info)); // TK-26, TK-64
        let mut expected = vec![
            format!("* task {number} {name} nowhere"),
            format!("* updated {number} error"),
            format!("update {name} error task-invalid latest error"),
        ];
        // AG-29
        expected.extend(executor.map(|it| format!("{} has ended: somehow", it.id)));
        assert_eq!(lines(&outputs), expected);
        let update = sent_update(&outputs);
        // Nothing was started, so nothing is to be forgotten.
        let outputs = node.feed(acknowledge("f", name.as_str(), update));
        assert_eq!(lines(&outputs), [format!("* acknowledged {number}")]);
    }
}

#[test]
fn orders_that_make_no_sense_are_ignored() {
    let mut node = Node::joined();
    node.feed(run("f", task("t")));
    let nameless = master(ToAgent::UpdateFramework(FrameworkInfo::new("f")));
    assert_eq!(lines(&node.feed(nameless)), NOTHING);
    let nothing = master(ToAgent::RunGroup(GroupOrder {
        framework: fw("f"),
        role: Role::any(),
        tasks: Vec::new(),
        starts_executor: true,
    }));
    assert_eq!(lines(&node.feed(nothing)), NOTHING);
    // The same name of another framework is another task.
    assert_eq!(
        lines(&node.feed(run("g", task("t")))),
        ["* task 1 t", "launch c000001"]
    );
    // AG-07: only the leading master gives orders
    let stranger = Input::Master {
        peer: PeerId(9),
        message: ToAgent::RunTask {
            framework: fw("f"),
            role: Role::any(),
            task: task("x"),
            starts_executor: false,
        },
    };
    assert_eq!(lines(&node.feed(stranger)), NOTHING);
    // AG-01: and only once it has taken the agent in
    node.feed(Input::MasterLost { peer: MASTER });
    assert_eq!(lines(&node.feed(run("f", task("y")))), NOTHING);
}

#[test]
fn tasks_of_a_framework_that_the_agent_was_not_told_of_are_dropped() {
    // PR-06
    let mut node = Node::joined();
    let outputs = node.feed_alone(run("f", task("t")));
    let dropped = "update t dropped framework-unknown latest dropped";
    assert_eq!(lines(&outputs), [dropped]);
    // AG-29: the master has booked its executor.
    let outputs = node.feed_alone(run("f", task_of("e", "u")));
    let dropped = "update u dropped framework-unknown latest dropped";
    assert_eq!(lines(&outputs), [dropped, "e has ended: somehow"]);
    // Told of once, and then named: also what has changed since is remembered with its tasks.
    let told = |name: &str| {
        let framework = FrameworkInfo {
            name: name.into(),
            ..framework("f")
        };
        master(ToAgent::UpdateFramework(framework))
    };
    node.feed_alone(told("old"));
    assert_eq!(lines(&node.feed_alone(told("new"))), NOTHING);
    let outputs = node.feed_alone(run("f", task("v")));
    assert_eq!(lines(&outputs), ["* task 0 v", "launch c000000"]);
    let frameworks = replay(&node.journal).frameworks().clone();
    assert_eq!(frameworks[&fw("f")].info.name, "new");
    // It goes with the connection, though tasks do not.
    node.feed(Input::MasterLost { peer: MASTER });
    node.join(reregistered(1));
    let outputs = node.feed_alone(run("f", task("w")));
    let dropped = "update w dropped framework-unknown latest dropped";
    assert_eq!(lines(&outputs), [dropped]);
}

#[test]
fn programs_run_as_the_user_of_their_framework() {
    // FW-01: unless their command names another
    let mut node = Node::joined();
    let of_user = |name: &str, user: Option<&str>| {
        let mut task = task(name);
        let command = task.command.as_mut().unwrap();
        command.user = user.map(Into::into);
        run("f", task)
    };
    node.feed(master(ToAgent::UpdateFramework(FrameworkInfo {
        user: Some("web".into()),
        ..framework("f")
    })));
    for (user, runs_as) in [(None, "web"), (Some("other"), "other")] {
        let outputs = node.feed(of_user(runs_as, user));
        let launched = outputs.iter().find_map(|output| match output {
            Output::Effect(Effect::Container(ContainerCommand::Launch { spec, .. })) => {
                spec.command.user.as_deref()
            }
            Output::Effect(_) | Output::Persist(_) | Output::Free(_) => None,
        });
        assert_eq!(launched, Some(runs_as));
    }
}

#[test]
fn what_a_framework_says_about_itself_is_kept_for_the_next_master() {
    // FW-53, PR-07
    let mut node = Node::joined();
    node.feed(run("f", task("t")));
    let renamed = |id: &str| FrameworkInfo {
        id: Some(fw(id)),
        ..FrameworkInfo::new("renamed")
    };
    let update = |id| master(ToAgent::UpdateFramework(renamed(id)));
    assert_eq!(lines(&node.feed(update("f"))), ["* framework renamed"]);
    assert_eq!(lines(&node.feed(update("f"))), NOTHING);
    assert_eq!(lines(&node.feed(update("stranger"))), NOTHING);
    let (mut node, _) = Node::restart(node.journal, node.now);
    node.feed(Input::Container(ContainerEvent::Recovered));
    node.feed(Input::MasterFound { peer: MASTER });
    let outputs = node.pass(secs(1));
    let known = outputs.iter().find_map(|output| match output {
        Output::Effect(Effect::Master {
            message: ToMaster::Reregister { frameworks, .. },
            ..
        }) => Some(frameworks.clone()),
        Output::Effect(_) | Output::Persist(_) | Output::Free(_) => None,
    });
    assert_eq!(known, Some(vec![renamed("f")]));
}

#[test]
fn a_framework_is_shut_down() {
    let mut node = Node::joined();
    node.feed(run("f", task("running")));
    node.feed(run("f", task("over")));
    node.feed(run("f", task("starting")));
    node.feed(run("g", task("other")));
    node.feed(started(0));
    node.feed(started(1));
    node.feed(exited(1, Exit::Code(0)));
    let shutdown = master(ToAgent::ShutdownFramework(fw("f")));
    let outputs = node.feed(shutdown.clone());
    assert_eq!(
        lines(&outputs),
        [
            "* framework ended f",
            "update over finished - latest finished",
            "forget c000001",
            "terminate c000000"
        ]
    );
    assert_eq!(lines(&node.feed(shutdown)), NOTHING);
    // AG-27: it is not started, and the master hears so
    let outputs = node.feed(run("f", task("late")));
    assert_eq!(lines(&outputs), ["update late dropped - latest dropped"]);
    assert_eq!(sent_updates(&outputs)[0].1.update, None);
    // What was being started is not let run.
    assert_eq!(lines(&node.feed(started(2))), ["destroy c000002"]);
    assert_eq!(lines(&node.pass(secs(3))), ["destroy c000000"]);
    // The master is told once that it is over.
    let outputs = node.feed(exited(0, Exit::Signal(9)));
    let over = "update running killed - latest killed";
    assert_eq!(lines(&outputs), ["* forgotten 0", over, "forget c000000"]);
    let outputs = node.feed(exited(2, Exit::Signal(9)));
    let over = "update starting killed task-killed-during-launch latest killed";
    assert_eq!(lines(&outputs), ["* forgotten 2", over, "forget c000002"]);
    assert_eq!(node.agent.view().tasks().count(), 1);
}

#[test]
fn a_task_whose_id_is_taken_is_answered() {
    // TK-08, TK-53: the master would wait for ever
    let mut node = Node::joined();
    node.feed(run("f", task("t")));
    let outputs = node.feed(run("f", task("t")));
    assert_eq!(lines(&outputs), ["update t dropped - latest dropped"]);
    let (framework, status) = sent_updates(&outputs).remove(0);
    assert_eq!(framework, fw("f"));
    assert_eq!(status.update, None);
    assert!(status.message.contains("of this id"), "{}", status.message);
    // The one that was there goes on.
    assert_eq!(
        lines(&node.feed(started(0))),
        ["* updated 0 running", "update t running - latest running"]
    );
}

fn limited(limits: Limits) -> ContainerLimits {
    let mut node = Node::joined();
    let info = TaskInfo {
        limits,
        ..task("t")
    };
    let outputs = node.feed(run("f", info));
    let limits = outputs.into_iter().find_map(|output| match output {
        Output::Effect(Effect::Container(ContainerCommand::Launch { spec, .. })) => {
            Some(spec.limits)
        }
        Output::Effect(_) | Output::Persist(_) | Output::Free(_) => None,
    });
    limits.unwrap()
}

#[test]
fn a_container_has_the_disk_the_processors_and_the_ports_of_its_task() {
    // CT-38, CT-54, CT-62
    let text = "disk:100;gpus:2;ports:[3-5];ports(eng):[7-7]";
    let mut node = Node::joined();
    let info = TaskInfo {
        resources: Resources::parse(text).unwrap(),
        ..task("t")
    };
    let launched = node
        .feed(run("f", info))
        .into_iter()
        .find_map(|output| match output {
            Output::Effect(Effect::Container(ContainerCommand::Launch { spec, .. })) => {
                Some(spec.limits)
            }
            Output::Effect(_) | Output::Persist(_) | Output::Free(_) => None,
        });
    let limits = launched.unwrap();
    assert_eq!(limits.disk, Some(Milli::from_units(100)));
    assert_eq!(limits.gpus, Milli::from_units(2));
    assert_eq!(limits.ports, Some([3..=5, 7..=7].into_iter().collect()));
    let none = limited(Limits::default());
    assert_eq!((none.disk, none.gpus), (None, Milli::ZERO));
    assert!(none.ports.unwrap().is_empty());
}

#[test]
fn a_task_may_use_more_than_it_takes() {
    // TK-06
    let units = |units| Some(Milli::from_units(units));
    let plain = limited(Limits::default());
    let cpus = |limits: &ContainerLimits| (limits.cpus, limits.share);
    let mem = |limits: &ContainerLimits| (limits.mem, limits.kept);
    assert_eq!(cpus(&plain), (units(1), None));
    assert_eq!(mem(&plain), (units(64), None));
    let more = limited(Limits {
        cpus: Some(Limit::Amount(Milli::from_units(2))),
        mem: Some(Limit::Amount(Milli::from_units(128))),
    });
    assert_eq!(cpus(&more), (units(2), units(1)));
    assert_eq!(mem(&more), (units(128), units(64)));
    let all = limited(Limits {
        cpus: Some(Limit::Unlimited),
        mem: Some(Limit::Unlimited),
    });
    assert_eq!(cpus(&all), (None, units(1)));
    assert_eq!(mem(&all), (None, units(64)));
}

/// A task that may run for a minute, and says that it runs.
fn short_lived() -> Node {
    let mut node = Node::joined();
    let info = TaskInfo {
        max_completion: Some(secs(60)),
        ..task("t")
    };
    node.feed(run("f", info));
    node.pass(secs(30));
    let update = sent_update(&node.feed(started(0)));
    node.feed(acknowledge("f", "t", update));
    node
}

#[test]
fn a_task_runs_for_as_long_as_it_may() {
    // TK-07
    let mut node = short_lived();
    node.feed(master(ToAgent::Ping));
    assert_eq!(lines(&node.pass(secs(59))), NOTHING);
    assert_eq!(
        lines(&node.pass(secs(1))),
        ["* ran out 0", "destroy c000000"],
        "with no grace"
    );
    let outputs = node.feed(exited(0, Exit::Signal(9)));
    let end = &sent_updates(&outputs)[0].1;
    assert_eq!(end.state, TaskState::Failed); // TK-44
    assert_eq!(end.reason, Some(Reason::MaxCompletionTimeReached));
    assert_eq!(end.exit, Some(Exit::Signal(9)));
    node.feed(acknowledge("f", "t", end.update.unwrap()));
    node.feed(master(ToAgent::Ping));
    assert_eq!(lines(&node.pass(secs(60))), NOTHING);
}

#[test]
fn time_goes_on_while_the_agent_is_down() {
    // TK-07
    let node = short_lived();
    let (mut node, _) = Node::restart(node.journal, node.now + secs(59));
    node.feed(started(0));
    assert_eq!(
        lines(&node.pass(secs(1))),
        ["* ran out 0", "destroy c000000"]
    );
    // It falls again, and does not take the end for another.
    let (mut node, _) = Node::restart(node.journal, node.now);
    let outputs = node.feed(exited(0, Exit::Signal(9)));
    assert_eq!(lines(&outputs), ["* updated 0 failed"]);
    let outputs = node.feed(Input::Container(ContainerEvent::Recovered));
    assert_eq!(lines(&outputs), NOTHING);
    let outputs = node.join(reregistered(2));
    let reason = sent_updates(&outputs)[0].1.reason;
    assert_eq!(reason, Some(Reason::MaxCompletionTimeReached));
}

#[test]
fn a_task_that_is_being_killed_is_killed_even_if_its_time_is_over() {
    let mut node = short_lived();
    node.feed(kill("f", "t", Some(secs(600))));
    node.pass(secs(30));
    node.feed(master(ToAgent::Ping));
    let outputs = node.pass(secs(30));
    assert_eq!(lines(&outputs), ["* ran out 0", "destroy c000000"]);
    let outputs = node.feed(exited(0, Exit::Signal(9)));
    assert_eq!(sent_updates(&outputs)[0].1.state, TaskState::Killed);
}

#[test]
fn what_has_ended_can_be_looked_at() {
    // TK-104; told or not, and of whichever framework
    let mut node = Node::joined();
    node.feed(run("f", task("t")));
    let update = sent_update(&node.feed(started(0)));
    node.feed(acknowledge("f", "t", update));
    let update = sent_update(&node.feed(exited(0, Exit::Code(0))));
    node.feed(run("g", task("u")));
    node.feed(started(1));
    node.feed(master(ToAgent::ShutdownFramework(fw("g"))));
    node.feed(exited(1, Exit::Signal(15)));
    node.feed(run("f", task("lives")));
    let view = node.agent.view();
    let ended: Vec<_> = view
        .ended()
        .map(|(framework, task)| (framework.as_str(), task.task.as_str(), task.state))
        .collect();
    assert_eq!(
        ended,
        [
            ("f", "t", TaskState::Finished),
            ("g", "u", TaskState::Killed)
        ]
    );
    node.feed(acknowledge("f", "t", update));
    assert_eq!(node.agent.view().ended().count(), 2);
}

// I13
#[test]
fn what_looks_different_has_another_version() {
    let mut node = Node::joined();
    let look = |node: &Node| {
        let view = node.agent.view();
        let tasks: Vec<_> = view.tasks().map(|task| format!("{task:?}")).collect();
        (view.version(), tasks)
    };
    let mut seen = vec![look(&node)];
    assert_eq!(look(&node), seen[0], "looking changes nothing");
    for input in [
        run("f", task("t")),
        started(0),
        kill("f", "t", Some(secs(5))),
    ] {
        node.feed(input);
        seen.push(look(&node));
    }
    // The rest comes with time: what does not end is ended.
    node.pass(secs(60));
    seen.push(look(&node));
    for pair in seen.windows(2) {
        assert!(pair[0].0 < pair[1].0, "{pair:?}");
    }
    assert_ne!(seen[0].1, seen[1].1);
    assert_ne!(seen[1].1, seen[2].1);
}

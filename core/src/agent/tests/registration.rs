//! Joining a master: attempts, epochs, silence, refusals.

use alloc::boxed::Box;

use super::executors::working;
use super::*;
use crate::limits;
use crate::protocol::discovery::{DiscoveryInfo, Visibility};
use crate::protocol::wire::size;
use crate::resources::{Label, Labels};

fn fresh() -> Node {
    let (mut node, outputs) = Node::restart(Vec::new(), Time::from_micros(1_000_000));
    assert_eq!(
        lines(&outputs),
        ["recover []", "* described cpus:4;mem:1024"]
    );
    node.feed(Input::Container(ContainerEvent::Recovered));
    node
}

#[test]
fn the_first_registration_is_durable_before_anything_rests_on_it() {
    let mut node = fresh();
    assert_eq!(
        lines(&node.feed(Input::MasterFound { peer: MASTER })),
        NOTHING
    );
    let attempt = node.agent.deadline().unwrap();
    assert!(attempt <= node.now + secs(1), "{attempt}"); // AG-04
    node.now = attempt;
    let outputs = node.feed(master(ToAgent::Ping));
    assert_eq!(lines(&outputs), ["register", "~ pong"]); // AG-03
    let outputs = node.feed(registered(3));
    assert_eq!(lines(&outputs), ["* epoch 3", "* admitted rio-1-S0"]);
    assert!(node.agent.view().is_registered());
    // A second attempt crossed the first answer: nothing new.
    assert_eq!(lines(&node.feed(registered(3))), NOTHING);
}

#[test]
fn tv_36_attempts_come_ever_less_often() {
    let mut most = 0;
    for seed in 0..200 {
        let mut out = Outbox::new();
        let config = Config { seed, ..config() };
        let now = Time::ZERO;
        let mut agent = Agent::recover(config, AgentState::default(), now, &mut out);
        agent.handle(now, Input::Container(ContainerEvent::Recovered), &mut out);
        agent.handle(now, Input::MasterFound { peer: MASTER }, &mut out);
        let mut last = now;
        // AG-04, TV-36, TL-15: [0, 1], [0, 2], [0, 4], .. [0, 60]
        for bound in [1, 2, 4, 8, 16, 32, 60, 60] {
            let at = agent.deadline().unwrap();
            assert!(
                at.since(last) <= secs(bound),
                "{} > {bound}",
                at.since(last).as_secs()
            );
            most = most.max(at.since(last).as_secs());
            agent.tick(at, &mut out);
            last = at;
        }
    }
    assert!(most > 55, "the bound is never used: {most}");
}

#[test]
fn a_returning_agent_says_what_it_has() {
    let mut node = Node::joined();
    node.feed(run("f", task("a")));
    node.feed(run("g", task("b")));
    node.feed(started(0));
    node.feed(Input::MasterLost { peer: MASTER });
    node.feed(master(ToAgent::ShutdownFramework(fw("g")))); // lost with the connection
    let again = PeerId(2);
    node.feed(Input::MasterFound { peer: again });
    let outputs = node.pass(secs(1));
    assert_eq!(lines(&outputs)[0], "reregister a:running b:staging"); // AG-03
    let Output::Effect(Effect::Master {
        message: ToMaster::Reregister { id, frameworks, .. },
        ..
    }) = &outputs[0]
    else {
        panic!("{outputs:?}");
    };
    assert_eq!(*id, agent_id());
    assert_eq!(frameworks, &[framework("f"), framework("g")]);
}

#[test]
fn a_returning_agent_says_in_which_roles_its_tasks_run() {
    // RQ-03, PR-02; over its own restart too, for nobody else knows once its framework has left one
    let mut node = Node::joined();
    let eng = Role::new("eng").unwrap();
    node.feed(run_in(eng.clone(), "f", task("a")));
    node.feed(run("f", task("b")));
    let (mut node, _) = Node::restart(node.journal, node.now);
    node.feed(Input::Container(ContainerEvent::Recovered));
    node.feed(Input::MasterFound { peer: MASTER });
    let outputs = node.pass(secs(1));
    let reported = outputs.iter().find_map(|output| match output {
        Output::Effect(Effect::Master {
            message: ToMaster::Reregister { tasks, .. },
            ..
        }) => Some(tasks),
        Output::Effect(_) | Output::Persist(_) | Output::Free(_) => None,
    });
    let roles: Vec<&Role> = reported
        .unwrap()
        .iter()
        .map(|report| &report.role)
        .collect();
    assert_eq!(roles, [&eng, &Role::any()]);
}

#[test]
fn what_tasks_and_executors_publish_outlasts_a_restart() {
    // TK-01, TK-03, TK-04, PR-02
    let labels = Labels::try_from(Vec::from([Label::new("tier", "gold")])).unwrap();
    let service = |name: &str| {
        let mut service = DiscoveryInfo::new(Visibility::Cluster);
        service.name = Some(name.into());
        Some(Box::new(service))
    };
    let mut loud = task_of("e", "loud");
    (loud.labels, loud.discovery) = (labels.clone(), service("web"));
    let executor = loud.executor.as_mut().unwrap();
    (executor.labels, executor.discovery) = (labels, service("serves"));
    let mut node = Node::joined();
    node.feed(run("f", loud.clone()));
    node.feed(run("f", task("quiet")));
    let (mut node, _) = Node::restart(node.journal, node.now);
    node.feed(Input::Container(ContainerEvent::Recovered));
    // What ran is over: it is told until somebody has confirmed that.
    node.feed(Input::MasterFound { peer: MASTER });
    let outputs = node.pass(secs(1));
    let said = outputs.iter().filter_map(to_master).next_back();
    let Some(ToMaster::Reregister { tasks, .. }) = said else {
        panic!("{outputs:?}");
    };
    let published: Vec<_> = tasks.iter().map(|it| it.published.clone()).collect();
    assert_eq!(published, [loud.published(), None]);
}

#[test]
fn an_executor_that_still_runs_is_reported_with_what_it_publishes() {
    // TK-03, TK-04, PR-02
    let mut loud = task_of("e", "t");
    let executor = loud.executor.as_mut().unwrap();
    executor.discovery = Some(Box::new(DiscoveryInfo::new(Visibility::External)));
    let described = executor.clone();
    let mut node = Node::joined();
    node.feed(run("f", loud));
    node.feed(Input::MasterLost { peer: MASTER });
    node.feed(Input::MasterFound { peer: MASTER });
    let outputs = node.pass(secs(1));
    let Some(ToMaster::Executors(reported)) = outputs.iter().find_map(to_master) else {
        panic!("{outputs:?}");
    };
    assert_eq!(reported[0].executor, described);
}

fn to_master(output: &Output<AgentRecord, Effect>) -> Option<&ToMaster> {
    match output {
        Output::Effect(Effect::Master { message, .. }) => Some(message),
        Output::Effect(_) | Output::Persist(_) | Output::Free(_) => None,
    }
}

#[test]
fn a_long_account_takes_several_frames() {
    // PR-02: and says of each executor once what it is, apart from its tasks
    let mut node = Node::joined();
    let names = ["a", "b", "c", "d", "e", "f"];
    for name in names {
        let mut task = task_of(name, name);
        let executor = task.executor.as_mut().unwrap();
        executor.command.value = "x".repeat(1_000_000);
        task.data = vec![0; 1_000_000];
        node.feed(run("f", task));
    }
    node.feed(Input::MasterLost { peer: MASTER });
    node.feed(Input::MasterFound { peer: MASTER });
    let (mut told, mut ends, mut executors) = (Vec::new(), Vec::new(), Vec::new());
    for output in node.pass(secs(1)) {
        let Output::Effect(Effect::Master { message, .. }) = output else {
            panic!("{output:?}");
        };
        assert!(size(&message) <= limits::FRAME_BYTES);
        let (tasks, is_last) = match message {
            ToMaster::Report { tasks, .. } => (tasks, false),
            ToMaster::Reregister { tasks, .. } => (tasks, true),
            ToMaster::Executors(all) => {
                let ids = all.iter().map(|report| report.executor.id.as_str());
                executors.extend(ids.map(String::from));
                ends.push(false);
                continue;
            }
            other @ (ToMaster::Register { .. }
            | ToMaster::Pong
            | ToMaster::Update { .. }
            | ToMaster::Converted(_)
            | ToMaster::CarriedOut { .. }
            | ToMaster::OperationUpdate { .. }
            | ToMaster::Message { .. }
            | ToMaster::ExecutorEnded { .. }
            | ToMaster::Unregister
            | ToMaster::DiskEnded { .. }
            | ToMaster::DiskJobs(_)) => panic!("{other:?}"),
        };
        told.extend(tasks.into_iter().map(|report| report.task));
        ends.push(is_last);
    }
    assert_eq!(told, names.map(tid));
    assert_eq!(executors, names);
    assert_eq!(ends, [false, false, false, false, false, false, true]);
}

#[test]
fn an_agent_that_cannot_be_described_stops() {
    let mut config = config();
    config.info.resources = Resources::parse("cpus:1;ports:[0-65536]").unwrap();
    let mut out = Outbox::new();
    let mut agent = Agent::recover(config, AgentState::default(), Time::ZERO, &mut out);
    agent.handle(
        Time::ZERO,
        Input::Container(ContainerEvent::Recovered),
        &mut out,
    );
    agent.handle(Time::ZERO, Input::MasterFound { peer: MASTER }, &mut out);
    out.drain().for_each(drop);
    let at = agent.deadline().unwrap();
    agent.tick(at, &mut out);
    assert_eq!(
        out.drain().collect::<Vec<_>>(),
        [Output::Effect(Effect::Stop {
            reason: "agent one cannot be described to a master: the agent's set of numbers has \
                     65537 entries, more than the limit of 65536"
                .into()
        })]
    );
    assert_eq!(agent.deadline(), None);
}

#[test]
fn of_ended_frameworks_what_still_runs_is_reported() {
    // PR-02, SM-08
    let mut node = Node::joined();
    node.feed(run("f", task("a")));
    node.feed(master(ToAgent::ShutdownFramework(fw("f"))));
    node.feed(Input::MasterLost { peer: MASTER });
    node.feed(Input::MasterFound { peer: MASTER });
    assert_eq!(lines(&node.pass(secs(1)))[0], "reregister a:staging");
    node.feed(reregistered(1));
    node.feed(exited(0, Exit::Code(0)));
    node.feed(Input::MasterLost { peer: MASTER });
    node.feed(Input::MasterFound { peer: MASTER });
    assert_eq!(lines(&node.pass(secs(1)))[0], "reregister");
}

#[test]
fn missing_tasks_are_answered() {
    let mut node = Node::joined();
    node.feed(run("f", task("here")));
    node.feed(Input::MasterLost { peer: MASTER });
    let missing = vec![(fw("f"), tid("here")), (fw("f"), tid("never"))];
    // Asked too early, by somebody who has not read its report.
    assert_eq!(node.feed(master(ToAgent::Missing(missing.clone()))), []);
    assert_eq!(lines(&node.join(reregistered(1))), [""; 0]);
    let outputs = node.feed(master(ToAgent::Missing(missing)));
    assert_eq!(
        lines(&outputs),
        ["update never dropped reconciliation latest dropped"] // PR-03
    );
    assert_eq!(sent_updates(&outputs)[0].1.update, None);
}

#[test]
fn a_deposed_master_is_refused() {
    let mut node = Node::joined();
    node.feed(Input::MasterLost { peer: MASTER });
    assert_eq!(lines(&node.join(reregistered(5))), ["* epoch 5"]);
    node.feed(Input::MasterLost { peer: MASTER });
    let outputs = node.join(reregistered(4));
    assert_eq!(
        lines(&outputs),
        ["disconnect 1 the master leads epoch 4, but 5 was seen"]
    );
    // Also after a restart.
    let (mut node, _) = Node::restart(node.journal, node.now);
    node.feed(Input::Container(ContainerEvent::Recovered));
    let outputs = node.join(reregistered(4));
    assert_eq!(
        lines(&outputs),
        ["disconnect 1 the master leads epoch 4, but 5 was seen"]
    );
    assert!(!node.agent.view().is_registered());
}

#[test]
fn nothing_is_obeyed_before_the_epoch_is_known() {
    // AG-01, AG-07, I12
    let mut node = Node::joined();
    node.feed(run("f", task("t")));
    let update = sent_update(&node.feed(started(0)));
    node.feed(Input::MasterLost { peer: MASTER });
    node.feed(Input::MasterFound { peer: MASTER });
    node.pass(secs(1)); // it has asked, and who answers may be of an old leadership
    let executor = ExecutorId::new("e").unwrap();
    let before = node.agent.state().clone();
    for order in [
        run("f", task("u")),
        kill("f", "t", None),
        acknowledge("f", "t", update),
        master(ToAgent::ShutdownFramework(fw("f"))),
        master(ToAgent::ShutdownExecutor {
            framework: fw("f"),
            executor,
        }),
        master(ToAgent::UpdateFramework(FrameworkInfo {
            principal: Some("p".into()),
            ..framework("f")
        })),
        master(ToAgent::Drain {
            max_grace: None,
            since: Time::ZERO,
        }),
        master(ToAgent::Undrain),
        master(ToAgent::Missing(vec![(fw("f"), tid("x"))])),
    ] {
        assert_eq!(lines(&node.feed(order)), NOTHING);
        assert_eq!(*node.agent.state(), before);
    }
    node.feed(reregistered(1));
    assert_eq!(lines(&node.feed(acknowledge("f", "t", update))).len(), 1);
}

#[test]
fn a_refusal_that_was_not_asked_for_is_none() {
    // AG-07
    let (mut node, _) = Node::restart(Vec::new(), Time::from_micros(1_000_000));
    node.feed(Input::MasterFound { peer: MASTER });
    let refused = || master(ToAgent::Refused("no".into()));
    let gone = || master(ToAgent::Shutdown("gone".into()));
    assert_eq!(lines(&node.feed(refused())), NOTHING);
    assert_eq!(lines(&node.feed(gone())), NOTHING);
    node.feed(Input::Container(ContainerEvent::Recovered));
    node.pass(secs(1));
    assert_eq!(lines(&node.feed(refused())).len(), 1);
}

#[test]
fn a_master_that_calls_the_agent_otherwise_is_refused() {
    let mut node = Node::joined();
    node.feed(Input::MasterLost { peer: MASTER });
    let outputs = node.join(master(ToAgent::Registered {
        id: AgentId::new("rio-1-S7").unwrap(),
        master: MasterId::of("rio", 1).unwrap(),
        epoch: 1,
        ping_timeout: PING,
    }));
    assert_eq!(
        lines(&outputs),
        ["disconnect 1 the master calls this agent rio-1-S7, but it is rio-1-S0"]
    );
}

#[test]
fn a_silent_master_is_left() {
    // PR-05
    let mut node = Node::joined();
    node.pass(secs(70));
    assert_eq!(lines(&node.feed(master(ToAgent::Ping))), ["~ pong"]);
    assert_eq!(lines(&node.pass(secs(74))), NOTHING);
    let outputs = node.pass(secs(1)); // AG-06
    assert_eq!(
        lines(&outputs),
        ["disconnect 1 the master was silent for 75s"]
    );
    assert!(!node.agent.view().is_registered());
    assert_eq!(lines(&node.feed(master(ToAgent::Ping))), NOTHING);
}

#[test]
fn a_new_master_takes_the_place_of_the_old() {
    let mut node = Node::joined();
    let outputs = node.feed(Input::MasterFound { peer: PeerId(2) });
    assert_eq!(
        lines(&outputs),
        ["disconnect 1 another connection to the master took its place"]
    );
    // The end of the old connection changes nothing.
    assert_eq!(
        lines(&node.feed(Input::MasterLost { peer: MASTER })),
        NOTHING
    );
    assert_eq!(lines(&node.pass(secs(1)))[0], "reregister");
}

#[test]
fn a_refused_agent_stops() {
    let mut node = fresh();
    let outputs = node.join(master(ToAgent::Refused(
        "its certificate is bound to S9".into(),
    )));
    assert_eq!(
        lines(&outputs), // AG-09
        ["stop the master refused agent one: its certificate is bound to S9"]
    );
    assert_eq!(
        lines(&node.feed(Input::MasterFound { peer: PeerId(2) })),
        NOTHING
    );
    assert_eq!(lines(&node.pass(secs(600))), NOTHING);
}

fn with(resources: &str, reconfiguration: Policy) -> Config {
    let resources = Resources::parse(resources).unwrap();
    Config {
        info: AgentInfo::new("one", "127.0.0.1:5051", resources),
        reconfiguration,
        ..config()
    }
}

#[test]
fn an_agent_that_changed_stays_the_same_agent() {
    // AG-21, AG-22: in place, also below what runs
    let mut node = Node::joined();
    node.feed(run("f", task("t")));
    node.feed(started(0));
    for resources in ["cpus:8;mem:1024", "cpus:0.5;mem:1024"] {
        let changed = with(resources, Policy::Any);
        let (new, outputs) = Node::restart_as(changed, node.journal, node.now);
        node = new;
        let described = format!("* described {resources}");
        assert_eq!(
            lines(&outputs),
            ["recover [c000000]", "disks 0", described.as_str()]
        );
        assert_eq!(lines(&node.feed(started(0))), NOTHING, "it goes on");
        node.feed(Input::Container(ContainerEvent::Recovered));
        node.feed(Input::MasterFound { peer: MASTER });
        let outputs = node.pass(secs(1));
        let said = outputs.iter().find_map(|output| match output {
            Output::Effect(Effect::Master {
                message: ToMaster::Reregister { id, agent, .. },
                ..
            }) => Some((id.clone(), agent.resources.clone())),
            Output::Effect(_) | Output::Persist(_) | Output::Free(_) => None,
        });
        let expected = (agent_id(), Resources::parse(resources).unwrap());
        assert_eq!(said, Some(expected));
    }
}

#[test]
fn an_agent_that_may_not_change_says_what_did() {
    // AG-10, AG-21
    let node = Node::joined();
    let less = with("cpus:3;mem:1024", Policy::Additive);
    let (mut fallen, outputs) = Node::restart_as(less, node.journal, node.now);
    let why = "stop agent one cannot come up: its resources were cpus:4;mem:1024 and are \
               cpus:3;mem:1024; start it as it was, with another policy, or anew on an empty \
               directory";
    assert_eq!(lines(&outputs), ["recover []", "disks 0", why]);
    assert_eq!(
        lines(&fallen.feed(Input::MasterFound { peer: MASTER })),
        NOTHING
    );
    // Nothing has changed by that.
    let (mut node, outputs) = Node::restart(fallen.journal, fallen.now);
    assert_eq!(lines(&outputs), ["recover []", "disks 0"]);
    node.feed(Input::Container(ContainerEvent::Recovered));
    let outputs = node.join(reregistered(1));
    assert!(node.agent.view().is_registered(), "{outputs:?}");
}

#[test]
fn executors_are_reported_until_they_have_ended() {
    // PR-02
    let mut node = working();
    node.feed(master(ToAgent::ShutdownFramework(fw("f"))));
    node.feed(Input::MasterLost { peer: MASTER });
    node.feed(Input::MasterFound { peer: MASTER });
    assert_eq!(
        lines(&node.pass(secs(1))),
        ["has executors: e", "reregister t:staging"]
    );
    node.feed(reregistered(1));
    node.feed(exited(0, Exit::Code(0)));
    node.feed(Input::MasterLost { peer: MASTER });
    node.feed(Input::MasterFound { peer: MASTER });
    assert_eq!(lines(&node.pass(secs(1))), ["reregister"]);
}

#[test]
fn what_ends_while_the_agent_asks_is_said_once_it_is_in() {
    // PR-02, PR-08: the master may have been told that it is there
    let mut node = working();
    node.feed(master(ToAgent::ShutdownFramework(fw("f"))));
    node.feed(Input::MasterLost { peer: MASTER });
    node.feed(Input::MasterFound { peer: MASTER });
    assert_eq!(
        lines(&node.pass(secs(1))),
        ["has executors: e", "reregister t:staging"]
    );
    let outputs = node.feed(exited(0, Exit::Code(0)));
    let is_said = |outputs: &Outputs| {
        lines(outputs)
            .iter()
            .any(|line| line.starts_with("e has ended"))
    };
    assert!(!is_said(&outputs), "nobody would take it in: {outputs:?}");
    let outputs = node.feed(reregistered(1));
    assert!(is_said(&outputs), "{outputs:?}");
    // Who begins to ask anew does not name it.
    node.feed(Input::MasterLost { peer: MASTER });
    node.feed(Input::MasterFound { peer: MASTER });
    assert_eq!(lines(&node.pass(secs(1))), ["reregister"]);
    assert!(!is_said(&node.feed(reregistered(1))));
}

#[test]
fn a_task_of_an_ended_framework_that_ends_while_the_agent_asks_is_over_for_the_master() {
    // SM-07: its account says that it runs, and what it uses would never be free
    let mut node = Node::joined();
    node.feed(run("f", task("t")));
    node.feed(started(0));
    node.feed(master(ToAgent::ShutdownFramework(fw("f"))));
    let over = |outputs: &Outputs| {
        let said = sent_updates(outputs).into_iter();
        let said = said.map(|(_, status)| (status.task, status.state));
        said.collect::<Vec<_>>()
    };
    let ask = |node: &mut Node, account: &str| {
        node.feed(Input::MasterLost { peer: MASTER });
        node.feed(Input::MasterFound { peer: MASTER });
        let mut said = lines(&node.pass(secs(1)));
        said.dedup();
        assert_eq!(said, [account]);
    };
    ask(&mut node, "reregister t:running");
    assert_eq!(over(&node.feed(exited(0, Exit::Signal(15)))), []);
    let outputs = node.feed(reregistered(1));
    assert_eq!(
        over(&outputs),
        [(TaskId::new("t").unwrap(), TaskState::Killed)]
    );
    // An account without it says so itself.
    ask(&mut node, "reregister");
    assert_eq!(over(&node.feed(reregistered(1))), []);
}

#[test]
fn what_ends_before_an_account_is_not_said_behind_it() {
    // PR-02, PR-08: another executor may have been started under its id by then
    for asks_first in [false, true] {
        let mut node = working();
        node.feed(master(ToAgent::ShutdownFramework(fw("f"))));
        node.feed(Input::MasterLost { peer: MASTER });
        node.feed(Input::MasterFound { peer: MASTER });
        if asks_first {
            let said = node.pass(secs(1));
            assert_eq!(lines(&said), ["has executors: e", "reregister t:staging"]);
        }
        node.feed(exited(0, Exit::Code(0)));
        let mut said = lines(&node.pass(secs(60)));
        said.dedup();
        assert_eq!(said, ["reregister"]);
        let said = lines(&node.feed(reregistered(1)));
        assert!(!said.iter().any(|line| line.contains("ended")), "{said:?}");
    }
}

#[test]
fn of_tasks_of_a_framework_that_is_over_it_is_said_that_they_are() {
    // SM-07, PR-03
    let mut node = Node::joined();
    node.feed(run("f", task("t")));
    node.feed(started(0));
    node.feed(run("f", task("u")));
    node.feed(started(1));
    node.feed(exited(1, Exit::Code(0)));
    let outputs = node.feed(master(ToAgent::ShutdownFramework(fw("f"))));
    let over = "update u finished - latest finished";
    assert!(
        lines(&outputs).iter().any(|line| line == over),
        "{outputs:?}"
    );
    // One that still runs is no answer.
    let missing = ToAgent::Missing(vec![(fw("f"), tid("t"))]);
    assert_eq!(lines(&node.feed(master(missing))), NOTHING);
    let outputs = node.feed(exited(0, Exit::Code(0)));
    let updates = sent_updates(&outputs);
    assert_eq!(updates[0].1.state, TaskState::Killed);
    assert_eq!(updates[0].1.update, None);
}

//! Agents: joining, pings, going away, coming back.

use alloc::sync::Arc;

use super::*;
use crate::master::offers::Outstanding;
use crate::protocol::agent::ExecutorReport;
use crate::protocol::task::ExecutorInfo;

const AWAY: Duration = Duration::from_secs(600);

fn registered(peer: PeerId, id: AgentId) -> Out {
    let message = ToAgent::Registered {
        id,
        master: master_id(1),
        epoch: 1,
        ping_timeout: Duration::from_secs(75),
    };
    to_agent(peer, message)
}

fn reregistered(peer: PeerId, id: AgentId) -> Out {
    let message = ToAgent::Reregistered {
        id,
        master: master_id(1),
        epoch: 1,
        ping_timeout: Duration::from_secs(75),
    };
    to_agent(peer, message)
}

fn back(id: &AgentId, total: &str, tasks: Vec<TaskReport>) -> ToMaster {
    reregister(id.clone(), total, vec![], tasks)
}

#[test]
fn registration_is_durable_before_it_is_told() {
    // SM-09, PR-01, PR-03
    let mut world = World::new();
    let peer = world.connect(PeerRole::Agent, "one");
    let agent = agent_info("cpus:4");
    let admit = RegistryOp::Admit {
        id: agent_id(0),
        name: "one".into(),
        info: Arc::new(agent.clone()),
    };
    let outs = world.agent_says(
        peer,
        ToMaster::Register {
            agent: agent.clone(),
        },
    );
    assert_eq!(
        outs,
        [Output::Persist(admit), registered(peer, agent_id(0))]
    );
    // Asked again, it hears the same, and nothing is written.
    let outs = world.agent_says(peer, ToMaster::Register { agent });
    assert_eq!(outs, [registered(peer, agent_id(0))]);
}

#[test]
fn an_agent_without_resources_is_refused() {
    // VA-30
    let mut world = World::new();
    let peer = world.connect(PeerRole::Agent, "one");
    let agent = AgentInfo {
        resources: Resources::new(),
        ..agent_info("cpus:1")
    };
    let outs = world.agent_says(peer, ToMaster::Register { agent });
    let why = ToAgent::Refused("agent has no resources".into());
    assert_eq!(outs, [to_agent(peer, why)]);
}

#[test]
fn nobody_speaks_in_another_role() {
    let mut world = World::new();
    let agent = world.connect(PeerRole::Agent, "one");
    let framework = framework_info();
    assert_eq!(
        world.call(agent, subscribe(framework)),
        [disconnect(
            agent,
            CloseReason::WrongRole,
            "agent/one may not speak as framework"
        )]
    );
    // The connection is forgotten.
    assert_eq!(world.agent_says(agent, ToMaster::Pong), []);
    assert_eq!(world.lose(agent), []);
}

#[test]
fn an_agent_that_lost_its_state_is_a_new_one() {
    // TK-113, SM-18
    let mut world = World::new();
    let (old, id) = world.agent("one", "cpus:4");
    let (framework, _) = world.framework("web");
    world.now = world.now + Duration::from_micros(1);
    world.launch(framework, vec![task("t", &id, "cpus:1")]);
    let peer = world.connect(PeerRole::Agent, "one");
    let agent = agent_info("cpus:4");
    let outs = world.agent_says(
        peer,
        ToMaster::Register {
            agent: agent.clone(),
        },
    );
    let why = "the agent joined anew: its earlier state is lost";
    let (state, reason) = (TaskState::Gone, Reason::AgentRemoved);
    let mut gone = word("t", state, reason, why, Some(&id), world.now);
    gone.update = named(&outs);
    assert!(gone.update.is_some(), "it is to be confirmed");
    let at = world.now;
    let admit = RegistryOp::Admit {
        id: agent_id(1),
        name: "one".into(),
        info: Arc::new(agent),
    };
    assert_eq!(
        outs,
        [
            Output::Persist(RegistryOp::Remove {
                id: id.clone(),
                at,
                by_operator: false
            }),
            to_framework(framework, Event::Update(gone)),
            agent_lost(framework, &id, AgentLoss::Removed),
            disconnect(old, CloseReason::Replaced, why),
            Output::Persist(admit),
            registered(peer, agent_id(1)),
        ]
    );
    assert_eq!(world.lose(old), []);
    assert_eq!(world.free(), resources("cpus:4"));
}

#[test]
fn an_id_belongs_to_one_certificate() {
    let mut world = World::new();
    let (_, id) = world.agent("one", "cpus:4");
    let thief = world.connect(PeerRole::Agent, "two");
    let text = "agent id rio-1-S0 is bound to the name \"one\", not \"two\"";
    assert_eq!(
        world.agent_says(thief, back(&id, "cpus:4", vec![])),
        [to_agent(thief, ToAgent::Refused(text.into()))]
    );
}

#[test]
fn an_agent_that_comes_back_unchanged_writes_nothing() {
    // TK-110, SM-13, OF-07: offers end with the connection
    let mut world = World::new();
    let (old, id) = world.agent("one", "cpus:4");
    let (framework, _) = world.framework("web");
    world.now = world.now + Duration::from_micros(1);
    let offers = world.offered(framework);
    let rescind = Event::Rescind(offers[0].id.clone());
    assert_eq!(world.lose(old), [to_framework(framework, rescind)]);
    assert_eq!(world.pass(Duration::from_micros(1)), []);
    let peer = world.connect(PeerRole::Agent, "one");
    assert_eq!(
        world.agent_says(peer, back(&id, "cpus:4", vec![])),
        [reregistered(peer, id)]
    );
    world.now = world.now + Duration::from_micros(1);
    assert_eq!(world.offered(framework)[0].id, offer_id(1));
}

#[test]
fn a_second_connection_replaces_the_first() {
    let mut world = World::new();
    let (old, id) = world.agent("one", "cpus:4");
    let peer = world.connect(PeerRole::Agent, "one");
    let why = "agent rio-1-S0 came back over another connection";
    assert_eq!(
        world.agent_says(peer, back(&id, "cpus:4", vec![])),
        [
            disconnect(old, CloseReason::Replaced, why),
            reregistered(peer, id)
        ]
    );
}

#[test]
fn an_agent_that_changed_is_written_down_and_offered_anew() {
    // SM-10, OF-07
    let mut world = World::new();
    let (peer, id) = world.agent("one", "cpus:4");
    let (framework, _) = world.framework("web");
    world.now = world.now + Duration::from_micros(1);
    assert_eq!(world.offered(framework)[0].resources, resources("cpus:4"));
    let update = RegistryOp::Update {
        id: id.clone(),
        info: Arc::new(agent_info("cpus:2")),
    };
    assert_eq!(
        world.agent_says(peer, back(&id, "cpus:2", vec![])),
        [
            to_framework(framework, Event::Rescind(offer_id(0))),
            Output::Persist(update),
            reregistered(peer, id),
        ]
    );
    world.now = world.now + Duration::from_micros(1);
    assert_eq!(world.offered(framework)[0].resources, resources("cpus:2"));
}

#[test]
fn an_agent_that_leaves_pings_unanswered_is_out_of_reach() {
    // PR-05, TK-107, TL-01, SM-15: 75 seconds after the first of them, without another ten minutes
    let mut world = World::new();
    let (peer, id) = world.agent("one", "cpus:4");
    let ping = || {
        let message = ToAgent::Ping;
        Output::Free(Effect::Agent { peer, message })
    };
    // A pong in between: the count starts anew.
    assert_eq!(world.pass(Duration::from_secs(15)), [ping()]);
    assert_eq!(world.agent_says(peer, ToMaster::Pong), []);
    let outs = world.pass(Duration::from_secs(75));
    assert_eq!(outs, [ping(), ping(), ping(), ping(), ping()]);
    let why = "agent rio-1-S0 left 5 pings unanswered";
    let outs = world.pass(Duration::from_secs(15));
    // Its pings began at some moment.
    let Some(Output::Persist(RegistryOp::Unreachable { at, .. })) = outs.last() else {
        panic!("{outs:?}");
    };
    let at = *at;
    assert_eq!(
        outs,
        [
            disconnect(peer, CloseReason::IdleTimeout, why),
            out_of_reach(&id, at),
        ]
    );
    // It may come back.
    let peer = world.connect(PeerRole::Agent, "one");
    let outs = world.agent_says(peer, back(&id, "cpus:4", vec![]));
    let reachable = Output::Persist(RegistryOp::Reachable { id: id.clone() });
    assert_eq!(outs, [reachable, reregistered(peer, id)]);
}

#[test]
fn an_agent_that_stays_away_is_unreachable_until_it_returns() {
    // FW-17, SM-14, SM-16, TK-58, TK-60, TK-36: all frameworks are like that here
    let mut world = World::new();
    let (peer, id) = world.agent("one", "cpus:4");
    let info = FrameworkInfo {
        failover_timeout: Duration::from_secs(3_600),
        ..framework_info()
    };
    let framework = world.connect(PeerRole::Framework, "web");
    let owner = world.subscribe(framework, info);
    world.now = world.now + Duration::from_micros(1);
    world.launch(framework, vec![task("t", &id, "cpus:1")]);
    world.lose(peer);
    assert_eq!(world.lose(framework), []);
    // The framework is away as well; it hears of this when it is back, and nothing is booked.
    let outs = world.pass(AWAY);
    let at = world.now;
    assert_eq!(outs, [out_of_reach(&id, at)]);
    let state = world.master.view().all_tasks()[0].status.state;
    assert_eq!(state, TaskState::Unreachable);
    let framework = world.connect(PeerRole::Framework, "web");
    let info = framework_info_of(owner.clone());
    let outs = world.call(framework, subscribe(info));
    assert_eq!(outs.len(), 2, "{outs:?}");
    let peer = world.connect(PeerRole::Agent, "one");
    let running = report(&owner, task("t", &id, "cpus:1"), TaskState::Running);
    let outs = world.agent_says(peer, back(&id, "cpus:4", vec![running]));
    let again = word(
        "t",
        TaskState::Running,
        Reason::AgentReregistered,
        "the agent came back",
        Some(&id),
        world.now,
    );
    assert_eq!(
        unnamed(outs),
        [
            Output::Persist(RegistryOp::Reachable { id: id.clone() }),
            reregistered(peer, id),
            to_framework(framework, Event::Update(again)),
        ]
    );
    assert_eq!(world.free(), resources("cpus:3"));
}

#[test]
fn frameworks_hear_of_unreachable_tasks() {
    // SM-14, TK-29
    let mut world = World::new();
    let (peer, id) = world.agent("one", "cpus:4");
    let (framework, _) = world.framework("web");
    world.now = world.now + Duration::from_micros(1);
    world.launch(framework, vec![task("t", &id, "cpus:1")]);
    world.lose(peer);
    let (state, reason) = (TaskState::Unreachable, Reason::AgentRemoved);
    let why = "the agent has not come back in time";
    let mut outs = world.pass(AWAY);
    outs.retain(|out| matches!(out, Output::Effect(_)));
    let lost = word("t", state, reason, why, Some(&id), world.now);
    assert_eq!(
        unnamed(outs),
        [
            to_framework(framework, Event::Update(lost.clone())),
            agent_lost(framework, &id, AgentLoss::Unreachable),
        ]
    );
    // TK-08: its id stays taken. I11: that is no news of it.
    let (_, other) = world.agent("two", "cpus:4");
    world.now = world.now + Duration::from_micros(1);
    let offers = world.offered(framework);
    let again = vec![task("t", &other, "cpus:1")];
    let outs = world.call(framework, launch(&[offers[0].id.clone()], again));
    let refused = TaskStatus {
        reason: Some(Reason::TaskInvalid),
        message: "task id t is used already".into(),
        ..lost
    };
    assert_eq!(outs, [to_framework(framework, Event::Update(refused))]);
}

#[test]
fn tasks_that_the_agent_does_not_report_are_missing() {
    // PR-03
    let mut world = World::new();
    let (old, id) = world.agent("one", "cpus:4");
    let (framework, owner) = world.framework("web");
    world.now = world.now + Duration::from_micros(1);
    world.launch(
        framework,
        vec![task("a", &id, "cpus:1"), task("b", &id, "cpus:1")],
    );
    // Over the same connection the tasks may have crossed the report: nothing is missing.
    let outs = world.agent_says(old, back(&id, "cpus:4", vec![]));
    assert_eq!(outs, [reregistered(old, id.clone())]);
    world.lose(old);
    let peer = world.connect(PeerRole::Agent, "one");
    let a = report(&owner, task("a", &id, "cpus:1"), TaskState::Running);
    let outs = world.agent_says(peer, back(&id, "cpus:4", vec![a]));
    let missing = vec![(owner.clone(), task_id("b"))];
    let missing = to_agent(peer, ToAgent::Missing(missing));
    assert_eq!(outs, [reregistered(peer, id.clone()), missing]);
    assert_eq!(world.free(), resources("cpus:2"));
    let dropped = news("b", TaskState::Dropped, &id, 1);
    world.update(peer, &owner, dropped, TaskState::Dropped);
    assert_eq!(world.free(), resources("cpus:3"));
}

#[test]
fn a_kill_waits_for_the_agent() {
    // TK-82
    let mut world = World::new();
    let (old, id) = world.agent("one", "cpus:4");
    let (framework, owner) = world.framework("web");
    world.now = world.now + Duration::from_micros(1);
    world.launch(framework, vec![task("t", &id, "cpus:1")]);
    world.lose(old);
    let grace = Some(Duration::from_secs(1));
    let kill = Call::Kill {
        task: task_id("t"),
        grace,
    };
    assert_eq!(world.call(framework, kill), []);
    let peer = world.connect(PeerRole::Agent, "one");
    let t = report(&owner, task("t", &id, "cpus:1"), TaskState::Running);
    let kill = ToAgent::KillTask {
        framework: owner,
        task: task_id("t"),
        grace,
    };
    assert_eq!(
        world.agent_says(peer, back(&id, "cpus:4", vec![t])),
        [reregistered(peer, id), to_agent(peer, kill)]
    );
}

#[test]
fn tasks_of_a_framework_that_ended_meanwhile_are_shut_down() {
    // FW-40, TK-109, SM-07
    let mut world = World::new();
    let (old, id) = world.agent("one", "cpus:4");
    let (framework, owner) = world.framework("web");
    world.now = world.now + Duration::from_micros(1);
    world.launch(framework, vec![task("t", &id, "cpus:1")]);
    world.lose(old);
    let why = "the framework has ended, as it asked";
    assert_eq!(
        world.call(framework, Call::Teardown),
        [
            ended(framework, EndReason::TornDown, why),
            disconnect(framework, CloseReason::ShuttingDown, why)
        ]
    );
    let peer = world.connect(PeerRole::Agent, "one");
    let t = report(&owner, task("t", &id, "cpus:1"), TaskState::Running);
    assert_eq!(
        world.agent_says(peer, back(&id, "cpus:4", vec![t])),
        [
            reregistered(peer, id),
            to_agent(peer, ToAgent::ShutdownFramework(owner.clone())),
        ]
    );
    assert_eq!(world.free(), resources("cpus:3"));
    world.is_over(peer, &owner, "t");
    assert_eq!(world.free(), resources("cpus:4"));
}

#[test]
fn a_task_that_runs_elsewhere_is_killed_where_it_is_not_known() {
    // TK-08: one task of an id
    let mut world = World::new();
    let (right, id) = world.agent("one", "cpus:4");
    let (framework, owner) = world.framework("web");
    world.now = world.now + Duration::from_micros(1);
    world.launch(framework, vec![task("t", &id, "cpus:1")]);
    let peer = world.connect(PeerRole::Agent, "two");
    let stranger = AgentId::new("elsewhere-S9").unwrap();
    let t = report(&owner, task("t", &stranger, "cpus:1"), TaskState::Running);
    let outs = world.agent_says(peer, back(&stranger, "cpus:1", vec![t]));
    let admit = RegistryOp::Admit {
        id: stranger.clone(),
        name: "two".into(),
        info: Arc::new(agent_info("cpus:1")),
    };
    let kill = ToAgent::KillTask {
        framework: owner.clone(),
        task: task_id("t"),
        grace: None,
    };
    assert_eq!(
        outs,
        [
            Output::Persist(admit),
            reregistered(peer, stranger.clone()),
            to_agent(peer, kill),
        ]
    );
    // Its end is confirmed and not told, before and after that of the right one.
    let confirmed = |n: u128| {
        let message = ToAgent::Acknowledge {
            framework: owner.clone(),
            task: task_id("t"),
            update: UpdateId(n),
        };
        to_agent(peer, message)
    };
    let killed = |n: u128| news("t", TaskState::Killed, &stranger, n);
    // I1: until then nobody is offered what it uses.
    let is_offered = |world: &mut World| {
        world.offers_within(Duration::from_secs(5));
        let offers = world.master.view().offers();
        offers.iter().any(|offer| offer.agent == stranger)
    };
    assert!(!is_offered(&mut world));
    let outs = world.update(peer, &owner, killed(1), TaskState::Killed);
    assert_eq!(outs, [confirmed(1)]);
    assert!(is_offered(&mut world));
    let end = news("t", TaskState::Finished, &id, 2);
    let outs = world.update(right, &owner, end.clone(), TaskState::Finished);
    assert_eq!(outs, [to_framework(framework, Event::Update(end))]);
    let confirm = Call::Acknowledge {
        agent: id,
        task: task_id("t"),
        update: UpdateId(2),
    };
    assert_eq!(world.call(framework, confirm).len(), 1);
    let outs = world.update(peer, &owner, killed(3), TaskState::Killed);
    assert_eq!(outs, [confirmed(3)]);
}

#[test]
fn a_port_that_two_reported_tasks_use_is_free_when_both_have_ended() {
    // TK-36: what an agent says that it runs is a fact, even if it cannot be
    let mut world = World::new();
    let (_, web) = world.framework("web");
    let (batch, other) = world.framework("batch");
    let peer = world.connect(PeerRole::Agent, "one");
    let id = agent_id(0);
    let total = "cpus:4;ports:[1-9]";
    let mut reports = vec![
        report(
            &web,
            task("a", &id, "cpus:1;ports:[1-3]"),
            TaskState::Running,
        ),
        report(
            &other,
            task("b", &id, "cpus:1;ports:[2-5]"),
            TaskState::Running,
        ),
        report(
            &web,
            task("c", &id, "cpus:1;ports:[3-3]"),
            TaskState::Running,
        ),
    ];
    // Its executor claims what its task has.
    let executor = ExecutorId::new("e").unwrap();
    reports[2].executor = Some(executor.clone());
    let serve = CommandInfo::shell("serve");
    let described = ExecutorReport {
        framework: web.clone(),
        role: Role::any(),
        executor: ExecutorInfo::new(executor, resources("ports:[3-4]"), serve),
    };
    world.agent_says(peer, ToMaster::Executors(vec![described]));
    world.agent_says(peer, back(&id, total, reports));
    assert_eq!(world.free(), resources("cpus:1;ports:[6-9]"));
    let end = |world: &mut World, owner: &FrameworkId, name: &str| {
        let status = news(name, TaskState::Finished, &id, 1);
        world.update(peer, owner, status, TaskState::Finished);
    };
    // The books of the test allocator fail if anything is returned that is not held.
    end(&mut world, &web, "a");
    assert_eq!(world.free(), resources("cpus:2;ports:[1-1,6-9]"));
    assert_eq!(world.call(batch, Call::Teardown).len(), 3);
    assert_eq!(world.free(), resources("cpus:2;ports:[1-1,6-9]"));
    world.is_over(peer, &other, "b");
    assert_eq!(world.free(), resources("cpus:3;ports:[1-2,5-9]"));
    end(&mut world, &web, "c");
    assert_eq!(world.free(), resources("cpus:4;ports:[1-2,5-9]"));
    world.executor_ended(peer, &web);
    assert_eq!(world.free(), resources(total));
}

#[test]
#[should_panic(expected = "of what is offered cpus:1 is not contained")]
fn an_offer_of_what_more_than_all_is_used_of_is_found() {
    let mut world = World::new();
    let (old, agent) = world.agent("one", "cpus:4;mem:10");
    let (_, owner) = world.framework("web");
    world.now = world.now + Duration::from_micros(1);
    world.tick();
    let mut wrong = world.master.view().offers().remove(0);
    world.lose(old);
    let peer = world.connect(PeerRole::Agent, "one");
    let runs = task("t", &agent, "cpus:5");
    let runs = report(&owner, runs, TaskState::Running);
    world.agent_says(peer, back(&agent, "cpus:4;mem:10", vec![runs]));
    // What an allocator gone wrong would do.
    wrong.id = offer_id(77);
    wrong.resources = resources("cpus:1");
    let (framework, agent) = (
        world.master.frameworks.find(&owner).unwrap(),
        world.master.agents.find(&agent).unwrap(),
    );
    world.master.offers.insert(Outstanding {
        offer: Arc::new(wrong),
        grant: crate::allocator::GrantId(u64::MAX),
        framework,
        agent,
    });
    world.master.check();
}

#[test]
fn tasks_keep_what_their_agent_has_no_more_and_nobody_is_offered_it() {
    // AG-21, AG-22
    let mut world = World::drf(1, Registry::default());
    world.drain();
    let (peer, id) = world.agent("one", "cpus:4;mem:100");
    let (framework, owner) = world.framework("web");
    world.now = world.now + Duration::from_micros(1);
    let running = task("t", &id, "cpus:3;mem:10");
    world.launch(framework, vec![running.clone()]);
    let offered = |outs: Vec<Out>| -> Vec<Resources> {
        let offers = outs.into_iter().filter_map(|out| match out {
            Output::Effect(Effect::Scheduler {
                event: Event::Offers(offers),
                ..
            }) => Some(offers),
            Output::Effect(_) | Output::Persist(_) | Output::Free(_) => None,
        });
        offers.flatten().map(|offer| offer.resources).collect()
    };
    let report = report(&owner, running, TaskState::Running);
    world.agent_says(peer, back(&id, "cpus:2;mem:100", vec![report]));
    let outs = world.pass(Duration::from_secs(10));
    assert_eq!(offered(outs).last(), Some(&resources("mem:90")));
    let shortage = |world: &World| world.master.view().agents()[0].shortage.clone();
    assert_eq!(shortage(&world), resources("cpus:1"));
    let done = news("t", TaskState::Finished, &id, 1);
    world.update(peer, &owner, done, TaskState::Finished);
    let outs = world.pass(Duration::from_secs(10));
    assert_eq!(offered(outs).last(), Some(&resources("cpus:2;mem:10")));
    assert_eq!(shortage(&world), Resources::new());
}

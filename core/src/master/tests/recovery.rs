//! A new leadership, with the registry of the old one.

use super::*;
use crate::protocol::agent::ExecutorReport;
use crate::protocol::task::ExecutorInfo;

/// Agent `rio-1-S0`, named `one`, admitted by epoch 1.
pub(super) fn registry() -> Registry {
    let mut world = World::new();
    world.agent("one", "cpus:4");
    world.master.registry().clone()
}

fn back(owner: &FrameworkId, agent: &AgentId) -> ToMaster {
    let running = report(owner, task("t", agent, "cpus:1"), TaskState::Running);
    reregister(
        agent.clone(),
        "cpus:4",
        vec![FrameworkInfo {
            failover_timeout: Duration::ZERO,
            ..framework_info_of(owner.clone())
        }],
        vec![running],
    )
}

#[test]
fn the_registry_is_what_its_records_say() {
    let mut world = World::new();
    let peer = world.connect(PeerRole::Agent, "one");
    let agent = agent_info("cpus:4");
    let outs = world.agent_says(peer, ToMaster::Register { agent });
    let mut replayed = Registry::default();
    let at = world.now;
    replayed.apply(&RegistryOp::Lead { epoch: 1, at });
    for out in outs {
        if let Output::Persist(op) = out {
            replayed.apply(&op);
        }
    }
    assert_eq!(&replayed, world.master.registry());
    let bytes = postcard::to_allocvec(&replayed).unwrap();
    assert_eq!(postcard::from_bytes::<Registry>(&bytes).unwrap(), replayed);
}

#[test]
fn no_leadership_begins_before_anything_that_is_recorded() {
    // Or what timed out would begin to be waited for once more.
    let mut world = World::new();
    let (peer, _) = world.framework("web");
    let (agent, _) = world.agent("one", "cpus:4");
    world.now = world.now + Duration::from_secs(86_400);
    let away = world.now;
    world.lose(peer);
    assert_eq!(world.master.registry().last_time(), away);
    world.lose(agent);
    world.pass(Duration::from_secs(3_600));
    assert!(world.master.registry().unreachable() > 0);
    assert!(world.master.registry().last_time() > away);
}

#[test]
#[should_panic(expected = "epoch 1 does not rise above 1")]
fn an_epoch_is_used_once() {
    World::recovered(1, registry());
}

#[test]
fn agents_and_frameworks_come_back_by_themselves() {
    // SM-02, SM-10, SM-03, FW-29, TK-109
    let mut world = World::recovered(2, registry());
    let at = world.now;
    let lead = RegistryOp::Lead { epoch: 2, at };
    assert_eq!(world.drain(), [Output::Persist(lead)]);
    let (agent, owner) = (agent_id(0), framework_id(0));
    let peer = world.connect(PeerRole::Agent, "one");
    let outs = world.agent_says(peer, back(&owner, &agent));
    let message = ToAgent::Reregistered {
        id: agent.clone(),
        master: master_id(2),
        epoch: 2,
        ping_timeout: Duration::from_secs(75),
    };
    assert_eq!(outs, [to_agent(peer, message)]);
    assert_eq!(world.free(), resources("cpus:3"));
    let framework = world.connect(PeerRole::Framework, "web");
    assert_eq!(
        world.subscribe(framework, framework_info_of(owner.clone())),
        owner
    );
    world.now = world.now + Duration::from_micros(1);
    let offers = world.offered(framework);
    assert_eq!(offers[0].id.as_str(), "rio-2-O0");
    assert_eq!(offers[0].resources, resources("cpus:3"));
    // What it does with its task goes on.
    let done = news("t", TaskState::Finished, &agent, 1);
    let outs = world.update(peer, &owner, done.clone(), TaskState::Finished);
    assert_eq!(outs, [to_framework(framework, Event::Update(done))]);
    // New ids are of this epoch.
    let (_, id) = world.agent("two", "cpus:1");
    assert_eq!(id.as_str(), "rio-2-S0");
}

#[test]
fn a_recovered_framework_is_still_its_owners() {
    // VA-29: a change of master is no opportunity for thieves
    let mut world = World::recovered(2, registry());
    world.drain();
    let (agent, owner) = (agent_id(0), framework_id(0));
    let peer = world.connect(PeerRole::Agent, "one");
    let running = report(&owner, task("t", &agent, "cpus:1"), TaskState::Running);
    let account = reregister(
        agent,
        "cpus:4",
        vec![known_as(owner.clone(), "web")],
        vec![running],
    );
    world.agent_says(peer, account);
    let thief = world.connect(PeerRole::Framework, "batch");
    let framework = framework_info_of(owner.clone());
    let why = "framework rio-1-0000 is somebody else's";
    assert_eq!(
        world.call(thief, subscribe(framework)),
        refusal(thief, EndReason::SomebodyElses, why)
    );
    let peer = world.connect(PeerRole::Framework, "web");
    world.subscribe(peer, framework_info_of(owner));
}

#[test]
fn a_framework_that_subscribes_before_its_agents_return_keeps_its_id() {
    // FW-29
    let mut world = World::recovered(2, registry());
    world.drain();
    let (agent, owner) = (agent_id(0), framework_id(0));
    let framework = world.connect(PeerRole::Framework, "web");
    world.subscribe(framework, framework_info_of(owner.clone()));
    let peer = world.connect(PeerRole::Agent, "one");
    world.agent_says(peer, back(&owner, &agent));
    let tasks = world.master.view().live_tasks();
    assert_eq!(tasks[0].framework, owner);
}

#[test]
fn a_framework_that_never_returns_does_not_stay() {
    // FW-29: fixed here, it would stay for ever
    let mut world = World::recovered(2, registry());
    world.drain();
    let (agent, owner) = (agent_id(0), framework_id(0));
    let peer = world.connect(PeerRole::Agent, "one");
    world.agent_says(peer, back(&owner, &agent));
    for _ in 0..59 {
        world.pass(Duration::from_secs(10));
        world.agent_says(peer, ToMaster::Pong);
    }
    assert_eq!(world.free(), resources("cpus:3"));
    let outs = world.pass(Duration::from_secs(10));
    let shutdown = to_agent(peer, ToAgent::ShutdownFramework(owner.clone()));
    assert!(outs.contains(&shutdown), "{outs:?}");
    world.is_over(peer, &owner, "t");
    assert_eq!(world.free(), resources("cpus:4"));
}

#[test]
fn an_agent_that_the_registry_does_not_know_keeps_its_id() {
    // A registry can be lost; what runs must not be.
    let mut world = World::recovered(2, Registry::default());
    world.drain();
    let peer = world.connect(PeerRole::Agent, "one");
    let outs = world.agent_says(peer, back(&framework_id(0), &agent_id(0)));
    let admitted = matches!(
        &outs[0],
        Output::Persist(RegistryOp::Admit { id, .. }) if *id == agent_id(0)
    );
    assert!(admitted, "{outs:?}");
    assert_eq!(outs.len(), 2);
    assert_eq!(world.free(), resources("cpus:3"));
}

#[test]
fn what_runs_outlives_a_registry_that_is_lost_with_its_epoch() {
    // SM-02, FW-29: epochs are counted in it, so that ids of the first are given once more
    for agent_first in [true, false] {
        let mut world = World::new();
        let (agent, owner) = (agent_id(0), framework_id(0));
        let come_back = |world: &mut World| {
            let peer = world.connect(PeerRole::Agent, "one");
            let outs = world.agent_says(peer, account(&owner, "web"));
            let ends = ToAgent::ShutdownFramework(owner.clone());
            assert!(!outs.contains(&to_agent(peer, ends)), "{outs:?}");
            peer
        };
        let before = agent_first.then(|| come_back(&mut world));
        let web = world.connect(PeerRole::Framework, "web");
        let framework = framework_info_of(owner.clone());
        assert_eq!(world.subscribe(web, framework), owner);
        let peer = before.unwrap_or_else(|| come_back(&mut world));
        assert_eq!(world.free(), resources("cpus:3"));
        let done = news("t", TaskState::Finished, &agent, 1);
        let outs = world.update(peer, &owner, done.clone(), done.state);
        assert_eq!(outs, [to_framework(web, Event::Update(done))]);
        // Nobody is given its id.
        let (_, other) = world.framework("other");
        assert_ne!(other, owner);
    }
}

#[test]
fn what_a_thief_runs_is_nobody_elses_over_connections() {
    // VA-29, I1: until it is over, tasks and executors
    let mut world = World::recovered(2, registry());
    world.drain();
    let owner = framework_id(0);
    let thief = world.connect(PeerRole::Framework, "batch");
    world.subscribe(thief, framework_info_of(owner.clone()));
    let (other, other_id) = world.agent("two", "cpus:2");
    world.now = world.now + Duration::from_micros(1);
    let executor = ExecutorInfo::new(
        ExecutorId::new("e").unwrap(),
        resources("cpus:0.5"),
        CommandInfo::shell("serve"),
    );
    let mine = TaskInfo {
        command: None,
        executor: Some(executor.clone()),
        ..task("mine", &other_id, "cpus:1")
    };
    world.launch(thief, vec![mine.clone()]);
    let one = world.connect(PeerRole::Agent, "one");
    world.agent_says(one, account(&owner, "web"));
    world.framework("third");
    assert!(!world.is_offered_soon(&other_id));
    // The agent comes back, and still has both.
    world.lose(other);
    let other = world.connect(PeerRole::Agent, "two");
    let executors = vec![ExecutorReport {
        framework: owner.clone(),
        role: Role::any(),
        executor,
    }];
    world.agent_says(other, ToMaster::Executors(executors));
    let running = report(&owner, mine, TaskState::Running);
    let frameworks = vec![known_as(owner.clone(), "batch")];
    let account = reregister(other_id.clone(), "cpus:2", frameworks, vec![running]);
    let outs = world.agent_says(other, account);
    let ends = ToAgent::ShutdownFramework(owner.clone());
    assert!(outs.contains(&to_agent(other, ends)), "{outs:?}");
    assert!(!world.is_offered_soon(&other_id));
    world.is_over(other, &owner, "mine");
    assert!(!world.is_offered_soon(&other_id), "its executor is there");
    world.executor_ended(other, &owner);
    assert!(world.is_offered_soon(&other_id));
}

fn kill(task: &str) -> Call {
    Call::Kill {
        task: task_id(task),
        grace: Some(Duration::from_secs(7)),
    }
}

fn unknown(world: &World, peer: PeerId, task: &str) -> Out {
    let (state, reason) = (TaskState::Unknown, Reason::Reconciliation);
    let status = word(task, state, reason, "no such task", None, world.now);
    to_framework(peer, Event::Update(status))
}

#[test]
fn a_kill_waits_for_agents_that_have_not_come_back() {
    // TK-75, TK-82: the task may be theirs
    let mut world = World::recovered(2, registry());
    world.drain();
    let (agent, owner) = (agent_id(0), framework_id(0));
    let web = world.connect(PeerRole::Framework, "web");
    world.subscribe(web, framework_info_of(owner.clone()));
    assert_eq!(world.call(web, kill("t")), []);
    assert_eq!(world.call(web, kill("x")), []);
    let peer = world.connect(PeerRole::Agent, "one");
    let outs = world.agent_says(peer, back(&owner, &agent));
    let message = ToAgent::KillTask {
        framework: owner,
        task: task_id("t"),
        grace: Some(Duration::from_secs(7)),
    };
    assert_eq!(
        outs[1..],
        [to_agent(peer, message), unknown(&world, web, "x")]
    );
    // Everybody is back: now it is known at once.
    let outs = world.call(web, kill("y"));
    assert_eq!(outs, [unknown(&world, web, "y")]);
}

#[test]
fn a_kill_is_answered_when_the_last_agent_is_given_up() {
    // TK-75, TK-78
    let mut world = World::recovered(2, registry());
    world.drain();
    let (web, owner) = world.framework("web");
    assert_eq!(world.call(web, kill("t")), []);
    world.lose(web);
    let web = world.connect(PeerRole::Framework, "web");
    let framework = FrameworkInfo {
        failover_timeout: Duration::from_secs(3_600),
        ..framework_info_of(owner.clone())
    };
    world.subscribe(web, framework);
    world.lose(web);
    // Its agent is given up while the framework is away; it hears of it when it is back.
    let outs = world.pass(Duration::from_secs(600));
    assert_eq!(outs, [out_of_reach(&agent_id(0), world.now)]);
    let web = world.connect(PeerRole::Framework, "web");
    let framework = framework_info_of(owner.clone());
    let outs = world.call(web, subscribe(framework));
    assert_eq!(outs[1..], [unknown(&world, web, "t")]);
    // It may come back with the task all the same, however late. Until then all is known at once.
    let outs = world.call(web, kill("x"));
    assert_eq!(outs, [unknown(&world, web, "x")]);
    let peer = world.connect(PeerRole::Agent, "one");
    let outs = world.agent_says(peer, back(&owner, &agent_id(0)));
    let message = ToAgent::KillTask {
        framework: owner,
        task: task_id("t"),
        grace: Some(Duration::from_secs(7)),
    };
    assert_eq!(outs[2], to_agent(peer, message));
}

#[test]
fn a_kill_does_not_wait_for_a_task_that_was_launched_after_it() {
    let mut world = World::recovered(2, registry());
    world.drain();
    let (web, _) = world.framework("web");
    assert_eq!(world.call(web, kill("t")), []);
    let (_, other) = world.agent("two", "cpus:1");
    world.now = world.now + Duration::from_micros(1);
    world.launch(web, vec![task("t", &other, "cpus:1")]);
    // All agents are back: nobody is told that there is no such task, for there is one.
    let peer = world.connect(PeerRole::Agent, "one");
    let outs = world.agent_says(peer, reregister(agent_id(0), "cpus:4", vec![], vec![]));
    assert!(matches!(
        outs.as_slice(),
        [Output::Effect(Effect::Agent { .. })]
    ));
}

/// Agent `one` comes back with a task of a framework that it knows as that of `principal`.
fn account(owner: &FrameworkId, principal: &str) -> ToMaster {
    let agent = agent_id(0);
    ToMaster::Reregister {
        tasks: vec![report(
            owner,
            task("t", &agent, "cpus:1"),
            TaskState::Running,
        )],
        id: agent,
        agent: agent_info("cpus:4"),
        frameworks: vec![known_as(owner.clone(), principal)],
    }
}

#[test]
fn a_framework_id_of_nobody_here_is_not_let_in() {
    // FW-27, VA-29: only one whose registry is lost can have given it
    for id in ["rio-2-0000", "rome-1-0000", "executors"] {
        let mut world = World::recovered(2, registry());
        world.drain();
        // One was given, and is not known any more.
        world.master.next_framework = 1;
        let peer = world.connect(PeerRole::Framework, "web");
        let framework = framework_info_of(FrameworkId::new(id).unwrap());
        let (reason, why) = match id {
            "rio-2-0000" => (EndReason::Removed, "has ended long ago"),
            _ => (EndReason::OtherCluster, "is not of this cluster"),
        };
        let why = alloc::format!("framework {id} {why}");
        assert_eq!(
            world.call(peer, subscribe(framework)),
            refusal(peer, reason, &why)
        );
    }
}

#[test]
fn an_id_that_came_before_its_turn_is_not_given_again() {
    // FW-03: not even after so many ends that this one is not remembered
    let mut world = World::recovered(2, Registry::default());
    world.drain();
    let last = limits::ENDED_PER_PRINCIPAL as u64 + 100;
    let early = FrameworkId::numbered(&world.master.config.id, last);
    let mut run = |framework: FrameworkInfo| {
        let peer = world.connect(PeerRole::Framework, "web");
        let id = world.subscribe(peer, framework);
        world.call(peer, Call::Teardown);
        id
    };
    assert_eq!(run(framework_info_of(early.clone())), early);
    for _ in 0..=last {
        assert_ne!(run(framework_info()), early);
    }
    assert!(world.master.registry.end_of(&early).is_none(), "forgotten");
    assert!(world.master.next_framework > last);
}

#[test]
fn who_has_ended_under_an_id_that_came_early_does_not_come_back() {
    // FW-27, SM-08: nor before its turn
    let mut world = World::recovered(2, Registry::default());
    world.drain();
    let last = 2 * limits::ENDED_PER_PRINCIPAL as u64;
    let early = FrameworkId::numbered(&world.master.config.id, last);
    let mut run = |framework: FrameworkInfo| {
        let peer = world.connect(PeerRole::Framework, "web");
        world.subscribe(peer, framework);
        world.call(peer, Call::Teardown);
    };
    run(framework_info_of(early.clone()));
    for _ in 0..limits::ENDED_PER_PRINCIPAL {
        run(framework_info());
    }
    assert!(world.master.registry.end_of(&early).is_none(), "forgotten");
    let peer = world.connect(PeerRole::Framework, "web");
    let why = alloc::format!("framework {early} has ended long ago");
    assert_eq!(
        world.call(peer, subscribe(framework_info_of(early))),
        refusal(peer, EndReason::Removed, &why)
    );
}

#[test]
fn what_the_name_in_a_certificate_has_no_room_beside_is_not_taken_in() {
    // VA-29: agents say it again, and are believed only what may be
    let mut world = World::new();
    let mut info = framework_info();
    let room = |info: &FrameworkInfo| limits::FRAMEWORK_BYTES - size(info);
    while room(&info) > limits::TEXT_BYTES {
        let name = alloc::format!("{}{}", "r".repeat(200), info.roles.len());
        info.roles.push(Role::new(&name).unwrap());
    }
    info.hostname = "x".repeat(1_000);
    let named = FrameworkInfo {
        principal: Some("web".to_string()),
        ..info.clone()
    };
    info.hostname.push_str(&"x".repeat(room(&named)));
    let peer = world.connect(PeerRole::Framework, "web");
    world.subscribe(peer, info.clone());
    info.hostname.push_str("xx");
    let peer = world.connect(PeerRole::Framework, "web");
    let outs = world.call(peer, subscribe(info));
    let is_refused = |out: &Out| {
        let Output::Effect(Effect::Scheduler { event, .. }) = out else {
            return false;
        };
        let invalid = EndReason::Invalid(RejectKind::TooLarge);
        matches!(event, Event::Error { reason, .. } if *reason == invalid)
    };
    assert!(outs.iter().any(is_refused), "{outs:?}");
}

#[test]
fn a_framework_of_a_later_leadership_is_sent_away_and_not_ended() {
    // I18: what a master without the lead says must end nobody for good
    let mut world = World::recovered(2, registry());
    world.drain();
    let peer = world.connect(PeerRole::Framework, "web");
    let framework = framework_info_of(FrameworkId::new("rio-3-0000").unwrap());
    let why = "framework rio-3-0000 was let in under a later leadership than this one";
    assert_eq!(
        world.call(peer, subscribe(framework)),
        [disconnect(peer, CloseReason::StaleEpoch, why)]
    );
}

#[test]
fn whoever_comes_first_under_an_id_does_not_get_what_is_not_his() {
    // VA-29, FW-29: a thief subscribes before the owner and before the agents are back
    let mut world = World::recovered(2, registry());
    world.drain();
    let owner = framework_id(0);
    let (thief, web) = (
        world.connect(PeerRole::Framework, "batch"),
        world.connect(PeerRole::Framework, "web"),
    );
    world.subscribe(thief, framework_info_of(owner.clone()));
    // It is not clear yet who is right: the owner is not turned away for good.
    let framework = framework_info_of(owner.clone());
    let call = subscribe(framework);
    let why = "framework rio-1-0000 is somebody else's";
    assert_eq!(
        world.call(web, call.clone()),
        [disconnect(web, CloseReason::Overloaded, why)]
    );
    // The thief has a task on an agent that knows nothing.
    let (other, other_id) = world.agent("two", "cpus:2");
    world.now = world.now + Duration::from_micros(1);
    world.launch(thief, vec![task("mine", &other_id, "cpus:2")]);
    let peer = world.connect(PeerRole::Agent, "one");
    let outs = world.agent_says(peer, account(&owner, "web"));
    assert_eq!(
        outs[1..],
        [
            ended(thief, EndReason::SomebodyElses, why),
            disconnect(thief, CloseReason::Denied, why),
            to_agent(other, ToAgent::ShutdownFramework(owner.clone())),
        ]
    );
    // One record: half of what two say would leave the id to nobody.
    let forgets = RegistryOp::ForgetFramework { id: owner.clone() };
    let ends = world.records.iter();
    let ends = ends.filter(|op| matches!(op, RegistryOp::EndFramework { .. }) || **op == forgets);
    assert!(ends.eq([&forgets]), "{:?}", world.records);
    let tasks = world.master.view().all_tasks();
    assert_eq!(tasks.len(), 1);
    assert_eq!(tasks[0].status.task, task_id("t"));
    // What the thief runs still is nobody else's until it is over (I1).
    world.framework("third");
    assert!(!world.is_offered_soon(&other_id));
    world.is_over(other, &owner, "mine");
    assert!(world.is_offered_soon(&other_id));
    // The owner gets its own, the thief is turned away for good.
    let web = world.connect(PeerRole::Framework, "web");
    assert_eq!(world.call(web, call.clone()).len(), 1);
    let thief = world.connect(PeerRole::Framework, "batch");
    assert_eq!(
        world.call(thief, call),
        refusal(thief, EndReason::SomebodyElses, why)
    );
    // An agent that knows it otherwise does not change that any more.
    world.lose(peer);
    let peer = world.connect(PeerRole::Agent, "one");
    let outs = world.agent_says(peer, account(&owner, "batch"));
    assert!(outs.contains(&to_agent(peer, ToAgent::ShutdownFramework(owner))));
    assert!(world.master.view().frameworks()[0].connected);
}

#[test]
fn an_id_that_this_leadership_gave_is_taken_on_no_agents_word() {
    // VA-29
    let mut world = World::recovered(2, registry());
    world.drain();
    let (_, owner) = world.framework("web");
    let peer = world.connect(PeerRole::Agent, "one");
    let outs = world.agent_says(peer, account(&owner, "batch"));
    assert_eq!(
        outs[1..],
        [to_agent(peer, ToAgent::ShutdownFramework(owner))]
    );
    assert_eq!(world.master.view().all_tasks(), []);
    assert_eq!(world.master.view().frameworks().len(), 1);
}

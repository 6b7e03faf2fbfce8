//! Agents out of reach, removed and forgotten: durable, bounded, and never back from the dead.

use alloc::sync::Arc;

use super::*;
use crate::machine::Durable;
use crate::master::Rate;
use crate::protocol::node::Standing;

const WEEKS: Duration = limits::AGENT_ABSENCE;

fn back(id: &AgentId, frameworks: Vec<FrameworkInfo>, tasks: Vec<TaskReport>) -> ToMaster {
    reregister(id.clone(), "cpus:4", frameworks, tasks)
}

/// What comes of it, pings and heartbeats left out.
fn said(mut outs: Vec<Out>) -> Vec<Out> {
    outs.retain(|out| !matches!(out, Output::Free(_)));
    outs
}

fn records(outs: &[Out]) -> Vec<RegistryOp> {
    let records = outs.iter().filter_map(|out| match out {
        Output::Persist(op) => Some(op.clone()),
        Output::Effect(_) | Output::Free(_) => None,
    });
    records.collect()
}

/// The next leadership, which knows what the last one wrote down.
fn next(epoch: u64, world: &World) -> World {
    let bytes = postcard::to_allocvec(world.master.registry()).unwrap();
    let mut next = World::recovered(epoch, postcard::from_bytes(&bytes).unwrap());
    next.drain();
    next
}

/// A registry with as many agents that were admitted, and then something else.
fn many(count: usize, then: impl Fn(AgentId, Time) -> RegistryOp) -> Registry {
    let mut registry = Registry::default();
    let info = Arc::new(agent_info("cpus:1"));
    for n in 0..count {
        let id = agent_id(n as u64);
        registry.apply(&RegistryOp::Admit {
            id: id.clone(),
            name: id.to_string(),
            info: Arc::clone(&info),
        });
        // The lower the number, the longer ago.
        registry.apply(&then(id, Time::from_micros(n as u64)));
    }
    registry
}

fn shutdown(peer: PeerId, id: &AgentId) -> Out {
    let why =
        alloc::format!("{id} was removed; it joins anew under another id when it is started again");
    to_agent(peer, ToAgent::Shutdown(why))
}

#[test]
fn that_an_agent_is_out_of_reach_is_durable_before_it_is_told() {
    // TK-110, TK-108, SM-14
    let mut world = World::new();
    let (peer, id) = world.agent("one", "cpus:4");
    let (framework, _) = world.framework("web");
    world.now = world.now + Duration::from_micros(1);
    world.launch(framework, vec![task("t", &id, "cpus:1")]);
    world.lose(peer);
    let outs = said(world.pass(Duration::from_secs(600)));
    let at = world.now;
    assert_eq!(outs[0], out_of_reach(&id, at));
    let told = matches!(
        &outs[1],
        Output::Effect(Effect::Scheduler { event: Event::Update(status), .. })
            if status.state == TaskState::Unreachable
    );
    assert!(told, "{outs:?}");
    let lost = agent_lost(framework, &id, AgentLoss::Unreachable);
    assert_eq!(outs[2..], [lost]);
    // SM-16: so is its return.
    let peer = world.connect(PeerRole::Agent, "one");
    let outs = world.agent_says(peer, back(&id, vec![], vec![]));
    assert_eq!(records(&outs), [RegistryOp::Reachable { id: id.clone() }]);
    let known = world.master.registry().agent(&id).unwrap();
    assert_eq!(known.unreachable, None);
}

#[test]
fn the_next_leadership_knows_who_is_out_of_reach() {
    // TK-108, SM-11, HA-14
    let mut world = World::new();
    let (peer, id) = world.agent("one", "cpus:4");
    world.lose(peer);
    world.pass(Duration::from_secs(600));
    let mut world = next(2, &world);
    let owner = framework_id(0);
    let web = world.connect(PeerRole::Framework, "web");
    world.subscribe(web, framework_info_of(owner.clone()));
    // TK-75: nobody waits for it.
    let call = Call::Kill {
        task: task_id("x"),
        grace: None,
    };
    assert_eq!(world.call(web, call).len(), 1);
    let outs = said(world.pass(Duration::from_secs(700)));
    assert_eq!(outs, [], "it is out of reach already");
    // SM-16, TK-60: this leadership hears of the task for the first time, the framework does not.
    let peer = world.connect(PeerRole::Agent, "one");
    let tasks = vec![
        report(&owner, task("t", &id, "cpus:1"), TaskState::Running),
        report(&owner, task("u", &id, "cpus:1"), TaskState::Finished),
    ];
    let outs = world.agent_says(peer, back(&id, vec![], tasks));
    let (state, reason) = (TaskState::Running, Reason::AgentReregistered);
    let why = "the agent came back";
    let again = word("t", state, reason, why, Some(&id), world.now);
    assert_eq!(records(&outs), [RegistryOp::Reachable { id }]);
    // How the other one ended the agent says itself.
    assert_eq!(
        unnamed(outs[2..].to_vec()),
        [to_framework(web, Event::Update(again))]
    );
}

#[test]
fn an_id_that_was_removed_never_serves_again() {
    // TK-114, SM-18, SM-21: its tasks were said to be gone, and the old disk has them still
    let mut world = World::new();
    let (_, old) = world.agent("one", "cpus:4");
    let (_, new) = world.agent_anew("one");
    for epoch in 2..5 {
        let peer = world.connect(PeerRole::Agent, "one");
        let outs = world.agent_says(peer, back(&old, vec![], vec![]));
        assert_eq!(outs, [shutdown(peer, &old)]);
        // Whoever took its place is not disturbed by that.
        let bound = world.master.registry().bound_to("one");
        assert_eq!(bound, Some(&new));
        world = next(epoch, &world);
    }
}

#[test]
fn an_agent_that_is_away_for_weeks_is_given_up() {
    // HA-20, TL-08
    let mut world = World::new();
    let (peer, id) = world.agent("one", "cpus:4");
    let (framework, _) = world.framework("web");
    world.now = world.now + Duration::from_micros(1);
    world.launch(framework, vec![task("t", &id, "cpus:1")]);
    world.lose(peer);
    world.pass(Duration::from_secs(600));
    // For as long it may come back.
    world.now = world.now + WEEKS;
    assert_eq!(records(&world.tick()), []);
    world.now = world.now + limits::COLLECTION;
    let outs = world.tick();
    let at = world.now;
    let gone = RegistryOp::Remove {
        id: id.clone(),
        at,
        by_operator: false,
    };
    assert_eq!(records(&outs), [gone]);
    let told = outs.iter().any(|out| {
        matches!(
            out,
            Output::Effect(Effect::Scheduler { event: Event::Update(status), .. })
                if status.state == TaskState::Gone
        )
    });
    assert!(told, "{outs:?}");
    assert!(world.master.view().agents().is_empty());
    // Once more as long, and nobody remembers it.
    world.now = world.now + WEEKS;
    assert_eq!(records(&world.tick()), []);
    world.now = world.now + limits::COLLECTION;
    let before = Time::from_micros(world.now.as_micros() - WEEKS.as_micros() as u64);
    let keep = limits::GONE_AGENTS;
    let prune = RegistryOp::Prune { before, keep };
    assert_eq!(records(&world.tick()), [prune]);
    assert!(world.master.registry().gone().is_empty());
}

#[test]
fn no_more_agents_are_out_of_reach_than_are_remembered() {
    // TK-106, HA-20
    let count = limits::UNREACHABLE_AGENTS + 1;
    let registry = many(count, |id, at| RegistryOp::Unreachable { id, at });
    let mut world = World::recovered(2, registry);
    world.drain();
    world.now = world.now + limits::COLLECTION;
    let (id, at) = (agent_id(0), world.now);
    assert_eq!(
        records(&world.tick()),
        [RegistryOp::Remove {
            id,
            at,
            by_operator: false
        }]
    );
    // They take no places of those that are here.
    world.agent("one", "cpus:1");
}

#[test]
fn no_more_agents_are_gone_than_are_remembered() {
    // TK-106, HA-20
    let count = limits::GONE_AGENTS + 1;
    let registry = many(count, |id, at| RegistryOp::Remove {
        id,
        at,
        by_operator: false,
    });
    let mut world = World::recovered(2, registry);
    world.drain();
    world.now = world.now + limits::COLLECTION;
    assert_eq!(records(&world.tick()).len(), 1);
    let gone = world.master.registry().gone();
    assert_eq!(gone.len(), limits::GONE_AGENTS);
    assert!(!gone.contains_key(&agent_id(0)), "the oldest goes");
}

#[test]
fn who_is_out_of_reach_takes_no_place_and_gets_one_only_if_it_is_free() {
    // TK-106
    let away = agent_id(limits::AGENTS as u64);
    let registry = many(limits::AGENTS + 1, |id, at| match id == away {
        true => RegistryOp::Unreachable { id, at },
        false => RegistryOp::Reachable { id },
    });
    let mut world = World::recovered(2, registry);
    world.drain();
    let peer = world.connect(PeerRole::Agent, away.as_str());
    let why = "no room for agent rio-1-S100000 to come back";
    let outs = world.agent_says(peer, back(&away, vec![], vec![]));
    assert_eq!(outs, [disconnect(peer, CloseReason::Overloaded, why)]);
}

#[test]
fn who_finds_no_room_is_not_refused_for_good() {
    // I22: an agent that is refused ends; one that is sent away comes again.
    let registry = many(limits::AGENTS, |id, _| RegistryOp::Reachable { id });
    let mut world = World::recovered(2, registry);
    world.drain();
    let why = "the limit of 100000 agents is reached";
    let agent = agent_info("cpus:1");
    let stranger = agent_id(limits::AGENTS as u64);
    for message in [
        ToMaster::Register {
            agent: agent.clone(),
        },
        back(&stranger, vec![], vec![]),
    ] {
        let peer = world.connect(PeerRole::Agent, "new");
        let outs = world.agent_says(peer, message);
        assert_eq!(outs, [disconnect(peer, CloseReason::Overloaded, why)]);
    }
    // Once one of the others has gone for good there is room.
    let name = agent_id(0);
    let peer = world.connect(PeerRole::Agent, name.as_str());
    world.agent_says(peer, back(&name, vec![], vec![]));
    world.agent_says(peer, ToMaster::Unregister);
    let peer = world.connect(PeerRole::Agent, "new");
    let outs = world.agent_says(peer, ToMaster::Register { agent });
    let is_in = outs.iter().any(|out| {
        matches!(
            out,
            Output::Effect(Effect::Agent {
                message: ToAgent::Registered { .. },
                ..
            })
        )
    });
    assert!(is_in, "{outs:?}");
}

/// A master that is set up otherwise.
fn configured(registry: Registry, change: impl FnOnce(&mut Config)) -> World {
    let epoch = registry.epoch() + 1;
    let mut config = Config::new(master_id(epoch), epoch, 7);
    change(&mut config);
    let mut world = World::configured(config, registry, Box::new(Greedy::default()));
    world.drain();
    world
}

fn given_up(outs: &[Out]) -> Vec<AgentId> {
    let mut ids = Vec::new();
    for op in records(outs) {
        if let RegistryOp::Unreachable { id, .. } = op {
            ids.push(id);
        }
    }
    ids
}

#[test]
fn agents_become_unreachable_one_after_the_other() {
    // TK-107: a pong before its turn, and nothing has happened
    let per = Duration::from_secs(600);
    let mut world = configured(Registry::default(), |config| {
        config.unreachable_rate = Some(Rate { agents: 1, per });
    });
    let peers = ["one", "two", "three"].map(|name| world.agent(name, "cpus:1"));
    let outs = world.pass(Duration::from_secs(100));
    let first = given_up(&outs);
    assert_eq!(first.len(), 1, "all are silent, one is given up");
    let left: Vec<_> = peers.iter().filter(|(_, id)| *id != first[0]).collect();
    // Those that wait are pinged all the same, and one of them answers.
    let (waits, answers) = (left[0], left[1]);
    let ping = Output::Free(Effect::Agent {
        peer: answers.0,
        message: ToAgent::Ping,
    });
    let mut outs = Vec::new();
    for _ in 0..60 {
        outs.extend(world.pass(Duration::from_secs(10)));
        world.agent_says(answers.0, ToMaster::Pong);
    }
    assert!(outs.contains(&ping));
    assert_eq!(given_up(&outs), core::slice::from_ref(&waits.1));
    // Silent again, it is the next in the line, and does not have to wait any longer.
    let outs = world.pass(Duration::from_secs(600));
    assert_eq!(given_up(&outs), core::slice::from_ref(&answers.1));
}

#[test]
fn a_lost_connection_leaves_the_line() {
    // SM-12: it has its ten minutes, and after them its turn
    let mut world = configured(Registry::default(), |config| {
        let per = Duration::from_secs(1_000);
        config.unreachable_rate = Some(Rate { agents: 1, per });
    });
    let peers = ["one", "two"].map(|name| world.agent(name, "cpus:1"));
    let first = given_up(&world.pass(Duration::from_secs(100)));
    let left = peers.iter().find(|(_, id)| *id != first[0]).unwrap();
    world.lose(left.0);
    let known = world.master.registry().agent(&left.1);
    let name = known.unwrap().name.clone();
    let peer = world.connect(PeerRole::Agent, &name);
    world.agent_says(peer, back(&left.1, vec![], vec![]));
    for _ in 0..120 {
        let outs = world.pass(Duration::from_secs(10));
        assert_eq!(given_up(&outs), []);
        world.agent_says(peer, ToMaster::Pong);
    }
}

#[test]
fn a_master_that_misses_too_many_agents_resigns() {
    // TK-111, HA-19
    let registry = || many(4, |id, _| RegistryOp::Reachable { id });
    let come_back = |world: &mut World, count: u64| {
        for id in (0..count).map(agent_id) {
            let peer = world.connect(PeerRole::Agent, id.as_str());
            world.agent_says(peer, back(&id, vec![], vec![]));
        }
    };
    let half = |config: &mut Config| config.recovery_removal_percent = 50;
    let patient = |config: &mut Config| {
        half(config);
        config.max_missed_pings = u32::MAX;
    };
    let mut world = configured(registry(), patient);
    come_back(&mut world, 1);
    let outs = said(world.pass(Duration::from_secs(600)));
    let reason = "3 of 4 agents have not come back, and no more than 50 % may be given up";
    let reason = reason.to_string();
    assert_eq!(outs, [Output::Effect(Effect::Resign { reason })]);
    // Nobody hears anything of it any more.
    assert_eq!(world.master.deadline(), None);
    let peer = PeerId(1);
    assert_eq!(world.lose(peer), []);
    world.now = world.now + WEEKS;
    assert_eq!(world.tick(), []);
    // Half of them it believes.
    let mut world = configured(registry(), patient);
    come_back(&mut world, 2);
    let outs = world.pass(Duration::from_secs(600));
    assert_eq!(given_up(&outs).len(), 2);
}

#[test]
fn removals_have_a_rate_of_their_own() {
    // RG-21
    let registry = many(3, |id, at| RegistryOp::Unreachable { id, at });
    let mut world = configured(registry, |config| {
        let per = Duration::from_secs(60);
        config.removal_rate = Some(Rate { agents: 1, per });
    });
    world.now = world.now + WEEKS + limits::COLLECTION;
    for n in 0..3 {
        let (id, at) = (agent_id(n), world.now);
        assert_eq!(
            records(&world.tick()),
            [RegistryOp::Remove {
                id,
                at,
                by_operator: false
            }]
        );
        assert_eq!(records(&world.pass(Duration::from_secs(59))), []);
        world.now = world.now + Duration::from_secs(1);
    }
    assert_eq!(records(&world.tick()), []);
    // What falls silent meanwhile does not wait for that.
    let (_, one) = world.agent("one", "cpus:1");
    let (_, two) = world.agent("two", "cpus:1");
    let mut both = given_up(&world.pass(Duration::from_secs(100)));
    both.sort();
    assert_eq!(both, [one, two]);
}

fn mark_gone(agent: &AgentId) -> operator::Call {
    let agent = agent.clone();
    operator::Call::MarkGone { agent }
}

fn deactivate(agent: &AgentId) -> operator::Call {
    let agent = agent.clone();
    operator::Call::Deactivate { agent }
}

fn reactivate(agent: &AgentId) -> operator::Call {
    let agent = agent.clone();
    operator::Call::Reactivate { agent }
}

/// What follows from an operator's order, without the answer that it was carried out.
fn ordered(world: &mut World, peer: PeerId, call: operator::Call) -> Vec<Out> {
    let request = operator::Request {
        id: RequestId(1),
        call,
        after: None,
    };
    let mut outs = world.input(Input::Operator { peer, request });
    let done = operator::Response {
        id: RequestId(1),
        answer: Answer::Updated,
        next: None,
    };
    let response = Output::Effect(Effect::Respond {
        peer,
        response: done,
    });
    let at = outs.iter().position(|out| *out == response);
    outs.remove(at.expect("it is carried out"));
    outs
}

#[test]
fn an_agent_that_an_operator_gives_up_is_gone() {
    // FW-85, SM-17, TK-31, TK-59, PR-12
    let mut world = World::new();
    let ann = world.connect(PeerRole::Operator, "ann");
    let (peer, id) = world.agent("one", "cpus:4");
    let web = world.connect(PeerRole::Framework, "web");
    let patient = FrameworkInfo {
        failover_timeout: WEEKS,
        ..framework_info()
    };
    let owner = world.subscribe(web, patient.clone());
    world.now = world.now + Duration::from_micros(1);
    world.launch(web, vec![task("t", &id, "cpus:1")]);
    // The framework is away: it hears of the end when it is back, until it confirms.
    world.lose(web);
    let outs = ordered(&mut world, ann, mark_gone(&id));
    let at = world.now;
    let gone = Output::Persist(RegistryOp::Remove {
        id: id.clone(),
        at,
        by_operator: true,
    });
    assert_eq!(outs, [gone, shutdown(peer, &id)]);
    let web = world.connect(PeerRole::Framework, "web");
    let framework = FrameworkInfo {
        id: Some(owner),
        ..patient
    };
    let outs = world.call(web, subscribe(framework));
    let (state, reason) = (TaskState::GoneByOperator, Reason::AgentRemovedByOperator);
    let why = "an operator says that the agent is gone";
    let mut told = word("t", state, reason, why, Some(&id), at);
    told.update = named(&outs);
    let update = told.update.unwrap();
    assert_eq!(outs[1..], [to_framework(web, Event::Update(told))]);
    let call = Call::Acknowledge {
        agent: id.clone(),
        task: task_id("t"),
        update,
    };
    assert_eq!(world.call(web, call), []);
    // What it still says is nobody's news, and it does not come back.
    let late = news("t", TaskState::Killed, &id, 1);
    assert_eq!(
        world.update(peer, &framework_id(0), late, TaskState::Killed),
        []
    );
    let peer = world.connect(PeerRole::Agent, "one");
    let outs = world.agent_says(peer, back(&id, vec![], vec![]));
    assert_eq!(outs, [shutdown(peer, &id)]);
    // Said twice, it is the same; its name is free for a new one.
    assert_eq!(ordered(&mut world, ann, mark_gone(&id)), []);
    world.agent("one", "cpus:4");
}

#[test]
fn an_agent_is_given_up_wherever_it_is() {
    // SM-17: out of reach, and not come back after a change of masters
    let mut world = World::new();
    let (peer, away) = world.agent("one", "cpus:4");
    world.lose(peer);
    world.pass(Duration::from_secs(600));
    let (_, other) = world.agent("two", "cpus:4");
    let mut world = next(2, &world);
    let ann = world.connect(PeerRole::Operator, "ann");
    for id in [away, other] {
        let at = world.now;
        let outs = ordered(&mut world, ann, mark_gone(&id));
        let by_operator = true;
        assert_eq!(
            outs,
            [Output::Persist(RegistryOp::Remove {
                id,
                at,
                by_operator
            })]
        );
    }
    // TK-75: nobody is awaited any more.
    let (web, _) = world.framework("web");
    let call = Call::Kill {
        task: task_id("x"),
        grace: None,
    };
    assert_eq!(world.call(web, call).len(), 1);
    let nobody = AgentId::new("nobody").unwrap();
    let none = Answer::NotFound("no agent nobody".into());
    for call in [mark_gone, deactivate, reactivate] {
        assert_eq!(world.ask(ann, call(&nobody)), none);
    }
}

#[test]
fn what_is_asked_twice_is_done_once() {
    // SM-22: whether or not its first record is on disk
    let mut world = World::new();
    let ann = world.connect(PeerRole::Operator, "ann");
    let peer = world.connect(PeerRole::Agent, "one");
    let agent = || agent_info("cpus:4");
    let first = world.agent_says(peer, ToMaster::Register { agent: agent() });
    let again = world.agent_says(peer, ToMaster::Register { agent: agent() });
    assert_eq!((records(&first).len(), records(&again)), (1, vec![]));
    assert_eq!(first[1..], again, "it is called the same");
    let id = agent_id(0);
    world.lose(peer);
    world.pass(Duration::from_secs(600));
    let peer = world.connect(PeerRole::Agent, "one");
    let first = world.agent_says(peer, back(&id, vec![], vec![]));
    let again = world.agent_says(peer, back(&id, vec![], vec![]));
    let reachable = RegistryOp::Reachable { id: id.clone() };
    assert_eq!(
        (records(&first), records(&again)),
        (vec![reachable], vec![])
    );
    let gone = RegistryOp::Remove {
        id: id.clone(),
        at: world.now,
        by_operator: true,
    };
    let first = ordered(&mut world, ann, mark_gone(&id));
    assert_eq!(records(&first), [gone]);
    assert_eq!(ordered(&mut world, ann, mark_gone(&id)), []);
}

#[test]
fn a_deactivated_agent_is_offered_to_nobody_until_it_is_reactivated() {
    // FW-84, SM-19, TK-127, TK-128
    let mut world = World::new();
    let ann = world.connect(PeerRole::Operator, "ann");
    let (peer, id) = world.agent("one", "cpus:4");
    let (web, owner) = world.framework("web");
    world.now = world.now + Duration::from_micros(1);
    let offers = world.offered(web);
    let call = Call::Accept {
        offers: vec![offers[0].id.clone()],
        operations: vec![Operation::Launch(vec![task("t", &id, "cpus:1")])],
        refuse: Some(Duration::ZERO),
    };
    world.call(web, call);
    world.now = world.now + Duration::from_micros(1);
    let offers = world.offered(web);
    let set = |standing, at| {
        let id = id.clone();
        Output::Persist(RegistryOp::SetStanding { id, standing, at })
    };
    // What runs goes on.
    let at = world.now;
    assert_eq!(
        ordered(&mut world, ann, deactivate(&id)),
        [
            set(Standing::Deactivated, at),
            to_framework(web, Event::Rescind(offers[0].id.clone())),
        ]
    );
    assert_eq!(ordered(&mut world, ann, deactivate(&id)), []);
    let view = &world.master.view().agents()[0];
    assert_eq!((view.standing, view.tasks), (Standing::Deactivated, 1));
    assert_eq!(said(world.pass(Duration::from_secs(1))), []);
    // It outlasts a lost connection, and a change of masters.
    world.lose(peer);
    let running = report(&owner, task("t", &id, "cpus:1"), TaskState::Running);
    let peer = world.connect(PeerRole::Agent, "one");
    world.agent_says(peer, back(&id, vec![], vec![running.clone()]));
    assert_eq!(said(world.pass(Duration::from_secs(1))), []);
    let mut world = next(2, &world);
    let web = world.connect(PeerRole::Framework, "web");
    world.subscribe(web, framework_info_of(owner));
    let peer = world.connect(PeerRole::Agent, "one");
    world.agent_says(peer, back(&id, vec![], vec![running]));
    assert_eq!(said(world.pass(Duration::from_secs(1))), []);
    let ann = world.connect(PeerRole::Operator, "ann");
    let at = world.now;
    assert_eq!(
        ordered(&mut world, ann, reactivate(&id)),
        [set(Standing::Active, at)]
    );
    world.now = world.now + Duration::from_micros(1);
    assert_eq!(world.offered(web)[0].resources, resources("cpus:3"));
}

#[test]
fn an_agent_that_leaves_is_removed_with_its_tasks() {
    // SM-18, TK-112, PR-13
    let mut world = World::new();
    let (peer, id) = world.agent("one", "cpus:4");
    let (web, _) = world.framework("web");
    world.now = world.now + Duration::from_micros(1);
    world.launch(web, vec![task("t", &id, "cpus:1")]);
    let outs = world.agent_says(peer, ToMaster::Unregister);
    let at = world.now;
    assert_eq!(
        records(&outs),
        [RegistryOp::Remove {
            id: id.clone(),
            at,
            by_operator: false
        }]
    );
    let (state, reason) = (TaskState::Gone, Reason::AgentRemoved);
    let why = "the agent has left the cluster";
    let mut gone = word("t", state, reason, why, Some(&id), at);
    gone.update = named(&outs);
    let gone = to_framework(web, Event::Update(gone));
    assert_eq!(outs[1..], [gone, agent_lost(web, &id, AgentLoss::Removed)]);
    // Said twice, or by a stranger, it is nothing.
    assert_eq!(world.agent_says(peer, ToMaster::Unregister), []);
    // The same machine joins anew, over the same connection if need be.
    let agent = agent_info("cpus:4");
    let outs = world.agent_says(peer, ToMaster::Register { agent });
    let is_new =
        matches!(&outs[0], Output::Persist(RegistryOp::Admit { id: new, .. }) if *new != id);
    assert!(is_new, "{outs:?}");
}

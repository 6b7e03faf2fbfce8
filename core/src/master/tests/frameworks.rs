//! Frameworks: subscribing, heartbeats, failing over, ending.

use super::*;

fn subscribed(peer: PeerId, framework: FrameworkId) -> Out {
    let event = Event::Subscribed {
        framework,
        master: master_id(1),
        epoch: 1,
        heartbeat: Duration::from_secs(15),
        domain: None,
    };
    to_framework(peer, event)
}

#[test]
fn a_new_framework_gets_an_id() {
    // SM-01, FW-03
    let mut world = World::new();
    let peer = world.connect(PeerRole::Framework, "web");
    let call = subscribe(framework_info());
    let outs = world.call(peer, call.clone());
    assert_eq!(outs, [subscribed(peer, framework_id(0))]);
    // Asked again over the same connection, it is the same.
    assert_eq!(world.call(peer, call), [subscribed(peer, framework_id(0))]);
    let other = subscribe(framework_info_of(framework_id(9)));
    assert_eq!(
        world.call(peer, other),
        refusal(
            peer,
            EndReason::AlreadySubscribed,
            "already subscribed as rio-1-0000"
        )
    );
}

#[test]
fn one_must_subscribe_first() {
    let mut world = World::new();
    let peer = world.connect(PeerRole::Framework, "web");
    let outs = world.call(peer, Call::Revive { roles: Vec::new() });
    assert_eq!(
        outs,
        refusal(peer, EndReason::NotSubscribed, "not subscribed")
    );
}

#[test]
fn a_framework_is_refused_if_its_name_is_too_long() {
    // FW-27, VA-29
    let mut world = World::new();
    let peer = world.connect(PeerRole::Framework, "web");
    let framework = FrameworkInfo::new("x".repeat(4_097));
    assert_eq!(
        world.call(peer, subscribe(framework)),
        refusal(
            peer,
            EndReason::Invalid(RejectKind::TooLong),
            "framework name has 4097 bytes, more than the limit of 4096"
        )
    );
}

#[test]
fn heartbeats_come_at_their_interval() {
    // FW-33, TL-06
    let mut world = World::new();
    let (peer, _) = world.framework("web");
    let beat = || {
        let event = Event::Heartbeat;
        Output::Free(Effect::Scheduler { peer, event })
    };
    assert_eq!(world.pass(Duration::from_secs(15)), [beat()]);
    assert_eq!(world.pass(Duration::from_secs(30)), [beat(), beat()]);
}

#[test]
fn the_second_scheduler_takes_over() {
    // FW-28, SM-03
    let mut world = World::new();
    let (_, agent) = world.agent("one", "cpus:4");
    let (old, id) = world.framework("web");
    world.now = world.now + Duration::from_micros(1);
    let offer = world.offered(old).remove(0);
    let peer = world.connect(PeerRole::Framework, "web");
    let outs = world.call(peer, subscribe(framework_info_of(id.clone())));
    let why = "framework failed over";
    let told = ended(old, EndReason::FailedOver, why);
    let closed = disconnect(old, CloseReason::Replaced, why);
    assert_eq!(outs, [told, closed, subscribed(peer, id)]);
    assert_eq!(world.lose(old), []);
    // OF-07: the old offer is dead, its resources are offered to the new one.
    world.now = world.now + Duration::from_micros(1);
    assert_eq!(world.offered(peer)[0].resources, offer.resources);
    let call = launch(&[offer.id], vec![task("t", &agent, "cpus:1")]);
    let outs = world.call(peer, call);
    let (state, reason) = (TaskState::Dropped, Reason::InvalidOffers);
    let why = "offer rio-1-O0 is not, or no longer, valid";
    let status = word("t", state, reason, why, Some(&agent), world.now);
    assert_eq!(unnamed(outs), [to_framework(peer, Event::Update(status))]);
}

#[test]
fn a_framework_is_not_taken_over_by_others() {
    // VA-29
    let mut world = World::new();
    let (_, id) = world.framework("web");
    let thief = world.connect(PeerRole::Framework, "batch");
    let framework = framework_info_of(id.clone());
    assert_eq!(
        world.call(thief, subscribe(framework)),
        refusal(
            thief,
            EndReason::SomebodyElses,
            "framework rio-1-0000 is somebody else's"
        )
    );
}

#[test]
fn a_lost_framework_has_its_time_to_come_back() {
    // SM-04, SM-06, FW-30, FW-31
    let mut world = World::new();
    let (agent_peer, agent) = world.agent("one", "cpus:4");
    let (peer, id) = world.framework("web");
    world.now = world.now + Duration::from_micros(1);
    world.launch(peer, vec![task("t", &agent, "cpus:1")]);
    assert_eq!(world.lose(peer), []);
    let almost = Duration::from_secs(10) - Duration::from_micros(1);
    let quiet = |outs: Vec<Out>| {
        let held = outs.into_iter();
        held.filter(|out| !matches!(out, Output::Free(_)))
            .collect::<Vec<_>>()
    };
    let outs = world.pass(almost);
    assert_eq!(quiet(outs), []);
    assert_eq!(world.free(), resources("cpus:3"));
    let outs = world.pass(Duration::from_micros(1));
    let shutdown = ToAgent::ShutdownFramework(id.clone());
    assert_eq!(quiet(outs), [to_agent(agent_peer, shutdown)]);
    world.is_over(agent_peer, &id, "t");
    assert_eq!(world.free(), resources("cpus:4"));
    // SM-08
    let peer = world.connect(PeerRole::Framework, "web");
    let framework = framework_info_of(id.clone());
    let outs = world.call(peer, subscribe(framework));
    let why = "framework rio-1-0000 has been removed: timed-out";
    assert_eq!(outs, refusal(peer, EndReason::TimedOut, why));
    // Nobody else will confirm the end of its tasks.
    let killed = news("t", TaskState::Killed, &agent, 1);
    let outs = world.update(agent_peer, &id, killed, TaskState::Killed);
    let ack = ToAgent::Acknowledge {
        framework: id,
        task: task_id("t"),
        update: UpdateId(1),
    };
    assert_eq!(outs, [to_agent(agent_peer, ack)]);
}

#[test]
fn a_framework_that_came_back_in_time_stays() {
    // SM-03: its timer is cancelled
    let mut world = World::new();
    let (peer, id) = world.framework("web");
    world.lose(peer);
    world.pass(Duration::from_secs(9));
    let peer = world.connect(PeerRole::Framework, "web");
    world.subscribe(peer, framework_info_of(id.clone()));
    world.pass(Duration::from_secs(60));
    assert_eq!(world.master.view().frameworks()[0].info.id, Some(id));
}

#[test]
fn without_a_failover_timeout_a_framework_ends_with_its_connection() {
    // FW-30, FW-32
    let mut world = World::new();
    let (agent_peer, agent) = world.agent("one", "cpus:4");
    let peer = world.connect(PeerRole::Framework, "run");
    let framework = FrameworkInfo {
        failover_timeout: Duration::ZERO,
        ..FrameworkInfo::new("run")
    };
    let id = world.subscribe(peer, framework);
    world.now = world.now + Duration::from_micros(1);
    world.launch(peer, vec![task("t", &agent, "cpus:1")]);
    let shutdown = ToAgent::ShutdownFramework(id.clone());
    assert_eq!(world.lose(peer), [to_agent(agent_peer, shutdown)]);
    world.is_over(agent_peer, &id, "t");
    // FW-31: it is still seen what became of its task.
    let task = world.master.view().all_tasks().remove(0);
    assert_eq!(task.status.state, TaskState::Killed);
    assert_eq!(task.status.reason, Some(Reason::FrameworkRemoved));
}

#[test]
fn a_new_framework_takes_the_place_of_one_that_left_nothing_running() {
    let mut world = World::new();
    world.master.config.max_frameworks = 2;
    let patient = FrameworkInfo {
        failover_timeout: Duration::from_secs(86_400),
        ..FrameworkInfo::new("detached")
    };
    let (_, agent) = world.agent("one", "cpus:4");
    let mut gone = Vec::new();
    for runs in [true, false] {
        let peer = world.connect(PeerRole::Framework, "cli");
        let id = world.subscribe(peer, patient.clone());
        world.now = world.now + Duration::from_micros(1);
        if runs {
            world.launch(peer, vec![task("t", &agent, "cpus:1")]);
        }
        world.lose(peer);
        gone.push(id);
    }
    let full = "the limit of 2 frameworks is reached";
    let try_one = |world: &mut World| {
        let peer = world.connect(PeerRole::Framework, "cli");
        let framework = patient.clone();
        let outs = world.call(peer, subscribe(framework));
        (
            outs == refusal(peer, EndReason::TooManyFrameworks, full),
            peer,
        )
    };
    assert!(try_one(&mut world).0, "both may come back soon");
    world.pass(limits::FRAMEWORK_ABSENCE);
    assert!(
        !try_one(&mut world).0,
        "the second has left nothing running"
    );
    assert!(
        try_one(&mut world).0,
        "the first has, however long it stays away"
    );

    let peer = world.connect(PeerRole::Framework, "cli");
    let framework = framework_info_of(gone.remove(1));
    let outs = world.call(peer, subscribe(framework));
    let why = "framework rio-1-0001 has been removed: replaced";
    assert_eq!(outs, refusal(peer, EndReason::Replaced, why));
}

#[test]
fn the_ring_of_ended_frameworks_is_bounded() {
    // TK-101
    let mut world = World::new();
    let (peer, agent) = world.agent("one", "cpus:4");
    for n in 0..51 {
        let (framework, id) = world.framework("web");
        world.now = world.now + Duration::from_micros(1);
        world.tick();
        let offer = offer_id(n);
        world.call(
            framework,
            launch(&[offer], vec![task("t", &agent, "cpus:1")]),
        );
        let done = news("t", TaskState::Finished, &agent, 1);
        world.update(peer, &id, done, TaskState::Finished);
        world.call(framework, Call::Teardown);
    }
    assert_eq!(world.master.view().all_tasks().len(), 50);
    // The tasks of the first are forgotten; that it has ended is not.
    for n in [0, 1] {
        let peer = world.connect(PeerRole::Framework, "web");
        let framework = framework_info_of(framework_id(n));
        let outs = world.call(peer, subscribe(framework));
        let why = alloc::format!("framework rio-1-000{n} has been removed: torn-down");
        assert_eq!(outs, refusal(peer, EndReason::TornDown, &why));
    }
}

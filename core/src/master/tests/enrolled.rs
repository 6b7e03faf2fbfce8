//! What the registry remembers of frameworks, and what the next leadership makes of it.

use super::*;

/// A leadership that begins at this moment with what another has left.
fn next(before: &World, epoch: u64, now: Time) -> World {
    let registry = before.master.registry().clone();
    let config = Config::new(master_id(epoch), epoch, 7);
    let mut world = World::beginning(config, registry, Box::new(Greedy::default()), now);
    let lead = Output::Persist(RegistryOp::Lead { epoch, at: now });
    assert_eq!(world.drain(), [lead]);
    world
}

fn patient(timeout: u64) -> FrameworkInfo {
    FrameworkInfo {
        failover_timeout: Duration::from_secs(timeout),
        ..FrameworkInfo::new("web")
    }
}

fn known(world: &World) -> Vec<FrameworkId> {
    let frameworks = world.master.view().frameworks();
    frameworks
        .into_iter()
        .map(|it| it.info.id.unwrap())
        .collect()
}

/// Subscribes under an id that must be turned away.
fn turned_away(world: &mut World, id: &FrameworkId, reason: EndReason) {
    let peer = world.connect(PeerRole::Framework, "web");
    let framework = framework_info_of(id.clone());
    let why = alloc::format!("framework {id} has been removed: {reason}");
    assert_eq!(
        world.call(peer, subscribe(framework)),
        refusal(peer, reason, &why)
    );
}

#[test]
fn a_week_is_what_a_framework_has_that_says_nothing() {
    // FW-04: the default does not kill
    let info = FrameworkInfo::new("web");
    assert_eq!(info.failover_timeout, Duration::from_secs(7 * 86_400));
}

#[test]
fn a_subscription_is_written_down_before_it_is_told() {
    // FW-29, I19
    let mut world = World::new();
    let peer = world.connect(PeerRole::Framework, "web");
    let framework = framework_info();
    let call = subscribe(framework);
    let input = Input::Scheduler { peer, call };
    world.master.handle(world.now, input, &mut world.out);
    let outs: Vec<Out> = world.out.drain().collect();
    assert!(
        matches!(
            outs.as_slice(),
            [
                Output::Persist(RegistryOp::EnrolFramework { vouched: true, .. }),
                Output::Effect(Effect::Scheduler {
                    event: Event::Subscribed { .. },
                    ..
                }),
            ]
        ),
        "{outs:?}"
    );
}

#[test]
fn a_framework_without_tasks_outlives_a_master() {
    // FW-29, SM-02, VA-29, I19
    let mut first = World::new();
    let (_, id) = first.framework("web");
    let mut world = next(&first, 2, first.now);
    assert_eq!(known(&world), core::slice::from_ref(&id));
    // Whose it is was written down too, before any agent could say so.
    let thief = world.connect(PeerRole::Framework, "batch");
    let framework = framework_info_of(id.clone());
    let why = "framework rio-1-0000 is somebody else's";
    assert_eq!(
        world.call(thief, subscribe(framework)),
        refusal(thief, EndReason::SomebodyElses, why)
    );
    let peer = world.connect(PeerRole::Framework, "web");
    assert_eq!(world.subscribe(peer, framework_info_of(id.clone())), id);
    assert_eq!(world.records, [RegistryOp::FrameworkBack { id }]);
}

#[test]
fn patience_goes_on_where_the_last_leadership_has_left_it() {
    // FW-29, FW-30, SM-06
    let mut first = World::new();
    let peer = first.connect(PeerRole::Framework, "web");
    let id = first.subscribe(peer, patient(7_200));
    first.lose(peer);
    let at = first.now;
    let away = RegistryOp::FrameworkAway { id: id.clone(), at };
    assert_eq!(first.records.last(), Some(&away));

    let end = first.now + Duration::from_secs(7_200);
    let mut world = next(&first, 2, first.now + Duration::from_secs(3_600));
    world.pass(Duration::from_micros(
        end.since(world.now).as_micros() as u64 - 1,
    ));
    assert_eq!(known(&world), core::slice::from_ref(&id));
    world.pass(Duration::from_micros(1));
    assert_eq!(known(&world), []);
    let reason = EndReason::TimedOut;
    let over = RegistryOp::EndFramework {
        id,
        reason,
        at: end,
    };
    assert_eq!(world.records, [over]);
}

#[test]
fn masters_that_come_and_go_do_not_keep_a_framework_that_stays_away() {
    // FW-29: each leadership begins with all away, and the first to do so counts
    let mut first = World::new();
    let peer = first.connect(PeerRole::Framework, "web");
    first.subscribe(peer, patient(7_200));
    let second = next(&first, 2, first.now + Duration::from_secs(60));
    let mut third = next(&second, 3, second.now + Duration::from_secs(6_000));
    third.pass(Duration::from_secs(1_199));
    assert_eq!(known(&third).len(), 1);
    third.pass(Duration::from_secs(1));
    assert_eq!(known(&third).len(), 0);
}

#[test]
fn after_a_change_of_masters_there_is_time_to_come_back_at_least() {
    // FW-29: it was the master that left
    let mut first = World::new();
    let peer = first.connect(PeerRole::Framework, "web");
    first.subscribe(peer, patient(0));
    let mut world = next(&first, 2, first.now);
    world.pass(Duration::from_secs(599));
    assert_eq!(known(&world).len(), 1);
    world.pass(Duration::from_secs(1));
    assert_eq!(known(&world).len(), 0);
}

#[test]
fn what_has_ended_stays_ended_over_leaderships() {
    // SM-08, FW-27, FW-31, I16
    let mut first = World::new();
    let (agent_peer, agent) = first.agent("one", "cpus:4");
    let (peer, torn_down) = first.framework("web");
    first.now = first.now + Duration::from_micros(1);
    first.launch(peer, vec![task("t", &agent, "cpus:1")]);
    first.lose(agent_peer);
    first.call(peer, Call::Teardown);
    let peer = first.connect(PeerRole::Framework, "web");
    let timed_out = first.subscribe(peer, patient(0));
    first.lose(peer);

    let mut second = next(&first, 2, first.now);
    turned_away(&mut second, &torn_down, EndReason::TornDown);
    turned_away(&mut second, &timed_out, EndReason::TimedOut);
    let mut third = next(&second, 3, second.now);
    turned_away(&mut third, &torn_down, EndReason::TornDown);
    // An agent that was away when it ended learns of it from whoever leads by then.
    let peer = third.connect(PeerRole::Agent, "one");
    let running = report(&torn_down, task("t", &agent, "cpus:1"), TaskState::Running);
    let outs = third.agent_says(
        peer,
        reregister(
            agent,
            "cpus:4",
            vec![known_as(torn_down.clone(), "web")],
            vec![running],
        ),
    );
    let shutdown = ToAgent::ShutdownFramework(torn_down);
    assert_eq!(outs[1..], [to_agent(peer, shutdown)]);
    // Until it says that it is over, it is nobody else's.
    assert_eq!(third.free(), resources("cpus:3"));
    let left = third.master.view().all_tasks();
    assert_eq!(left[0].status.state, TaskState::Killing);
}

#[test]
fn a_framework_says_what_changed_and_no_more() {
    let mut world = World::new();
    let (peer, id) = world.framework("web");
    world.lose(peer);
    world.records.clear();
    let peer = world.connect(PeerRole::Framework, "web");
    world.subscribe(peer, framework_info_of(id.clone()));
    let back = RegistryOp::FrameworkBack { id: id.clone() };
    assert_eq!(core::mem::take(&mut world.records), [back]);
    // A second instance with another name.
    let peer = world.connect(PeerRole::Framework, "web");
    let renamed = FrameworkInfo {
        name: "web2".to_string(),
        ..framework_info_of(id)
    };
    world.subscribe_again(peer, renamed);
    assert!(
        matches!(
            world.records.as_slice(),
            [RegistryOp::EnrolFramework { info, .. }] if info.name == "web2"
        ),
        "{:?}",
        world.records
    );
}

#[test]
fn an_id_that_nobody_vouches_for_is_not_vouched_for_by_the_registry() {
    // VA-29: the registry was lost, a thief comes before the owner's agents, and the master changes
    let mut first = World::recovered(2, Registry::default());
    first.drain();
    let owner = framework_id(0);
    let thief = first.connect(PeerRole::Framework, "batch");
    first.subscribe(thief, framework_info_of(owner.clone()));
    let mut world = next(&first, 3, first.now);
    let peer = world.connect(PeerRole::Agent, "one");
    let agent = agent_id(0);
    let running = report(&owner, task("t", &agent, "cpus:1"), TaskState::Running);
    world.agent_says(
        peer,
        reregister(
            agent,
            "cpus:4",
            vec![known_as(owner.clone(), "web")],
            vec![running],
        ),
    );
    let web = world.connect(PeerRole::Framework, "web");
    assert_eq!(
        world.subscribe(web, framework_info_of(owner.clone())),
        owner
    );
}

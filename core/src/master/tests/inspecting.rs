//! What operators see of frameworks that are over, why one is not offered an agent, and teardowns.

use super::*;
use crate::protocol::operator::{EndedFramework, Explanation, Obstacle};

#[test]
fn an_operator_ends_a_framework() {
    // FW-87, FW-32, SM-07
    let mut world = World::new();
    let ann = world.connect(PeerRole::Operator, "ann");
    let (one, agent) = world.agent("one", "cpus:4");
    let (web, owner) = world.framework("web");
    world.now = world.now + Duration::from_micros(1);
    world.launch(web, vec![task("t", &agent, "cpus:1")]);
    let teardown = |framework: &FrameworkId| operator::Call::Teardown {
        framework: framework.clone(),
    };
    let outs = world.order(ann, teardown(&owner));
    let why = "an operator has ended the framework";
    let mut expected = vec![to_agent(one, ToAgent::ShutdownFramework(owner.clone()))];
    expected.extend(refusal(web, EndReason::TornDown, why));
    assert_eq!(outs, expected);
    assert_eq!(world.master.view().frameworks(), []);
    // One that is away as well, and none twice.
    let (batch, other) = world.framework("batch");
    world.lose(batch);
    assert_eq!(world.order(ann, teardown(&other)), []);
    let over = Answer::NotFound("framework rio-1-0001 is over: torn-down".into());
    assert_eq!(world.ask(ann, teardown(&other)), over);
    let none = Answer::NotFound("no framework rio-1-0009".into());
    assert_eq!(world.ask(ann, teardown(&framework_id(9))), none);
}

#[test]
fn who_ends_a_framework_hears_so_once_it_is_recorded() {
    // FW-32, I19: it will not ask again
    let mut world = World::new();
    let (peer, _) = world.framework("web");
    let mut out = Outbox::new();
    let call = Call::Teardown;
    let input = Input::Scheduler { peer, call };
    world.master.handle(world.now, input, &mut out);
    let outs: Vec<Out> = out.drain().collect();
    let place = |is_it: fn(&Out) -> bool| outs.iter().position(is_it).expect("it is there");
    let is_end = |out: &Out| matches!(out, Output::Persist(RegistryOp::EndFramework { .. }));
    let is_word = |out: &Out| {
        let Output::Effect(Effect::Scheduler { event, .. }) = out else {
            return false;
        };
        matches!(event, Event::Error { .. })
    };
    assert!(place(is_end) < place(is_word));
}

#[test]
fn operators_see_why_frameworks_are_over() {
    // FW-74, SM-08: under later leaderships too, without the names
    let mut world = World::new();
    let ann = world.connect(PeerRole::Operator, "ann");
    let (web, first) = world.framework("web");
    let (batch, second) = world.framework("batch");
    let torn_down = world.now;
    world.call(batch, Call::Teardown);
    world.lose(web);
    world.pass(Duration::from_secs(10));
    let ended = |id: &FrameworkId, name: Option<&str>, reason, at| EndedFramework {
        id: id.clone(),
        name: name.map(String::from),
        reason,
        at,
    };
    let (down, timed_out) = (EndReason::TornDown, EndReason::TimedOut);
    let at = world.now;
    let all = |name| {
        Answer::EndedFrameworks(vec![
            ended(&second, name, down, torn_down),
            ended(&first, name, timed_out, at),
        ])
    };
    let answer = world.ask(ann, operator::Call::EndedFrameworks);
    assert_eq!(answer, all(Some("web")));
    let mut world = World::recovered(2, world.master.registry().clone());
    world.drain();
    let ann = world.connect(PeerRole::Operator, "ann");
    let answer = world.ask(ann, operator::Call::EndedFrameworks);
    assert_eq!(answer, all(None));
}

#[test]
fn operators_see_why_an_agent_is_not_offered() {
    // AL-30, AL-33
    let mut world = World::drf(1, Registry::default());
    world.drain();
    let ann = world.connect(PeerRole::Operator, "ann");
    let (_, one) = world.agent("one", "cpus:4");
    let (web, first) = world.framework("web");
    world.now = world.now + Duration::from_micros(1);
    let offer = world.offered(web).remove(0);
    let (_, second) = world.framework("batch");
    let explain = |framework: &FrameworkId, role: Role| operator::Call::Explain {
        framework: framework.clone(),
        role,
    };
    let obstacle = |world: &mut World, framework: &FrameworkId| {
        let answer = world.ask(ann, explain(framework, Role::any()));
        let Answer::Explained(rows) = answer else {
            panic!("{answer:?}");
        };
        let [row] = <[Explanation; 1]>::try_from(rows).unwrap();
        assert_eq!((&row.agent, row.hostname.as_str()), (&one, "host"));
        row.obstacle
    };
    let held = Obstacle::HeldBy(vec![first.clone()]);
    assert_eq!(obstacle(&mut world, &second), held);
    let call = Call::Decline {
        offers: vec![offer.id],
        refuse: Some(Duration::from_secs(60)),
    };
    world.call(web, call);
    let refused = obstacle(&mut world, &first);
    assert!(matches!(refused, Obstacle::Refused(_)), "{refused:?}");
    world.call(web, Call::Suppress { roles: vec![] });
    assert_eq!(obstacle(&mut world, &first), Obstacle::Suppressed);
    world.lose(web);
    assert_eq!(obstacle(&mut world, &first), Obstacle::FrameworkInactive);

    let eng = Role::new("eng").unwrap();
    let none = Answer::NotFound("framework rio-1-0000 is not in role eng".into());
    assert_eq!(world.ask(ann, explain(&first, eng)), none);
    let none = Answer::NotFound("no framework rio-1-0009".into());
    let nobody = framework_id(9);
    assert_eq!(world.ask(ann, explain(&nobody, Role::any())), none);
}

#[test]
fn explanations_of_many_agents_come_in_pages() {
    // I22: each fits a frame, as `ask` checks
    let mut world = World::drf(1, Registry::default());
    world.drain();
    let ann = world.connect(PeerRole::Operator, "ann");
    let (_, owner) = world.framework("web");
    let most = 3 * limits::SLICE_BYTES / (limits::TEXT_BYTES - 100);
    for n in 0..most {
        let peer = world.connect(PeerRole::Agent, &n.to_string());
        let agent = AgentInfo {
            hostname: "h".repeat(limits::TEXT_BYTES - 100),
            ..agent_info("cpus:4")
        };
        // Only the master is looked at, for this is long.
        let message = ToMaster::Register { agent };
        let input = Input::Agent { peer, message };
        world.master.handle(world.now, input, &mut world.out);
        world.drain();
    }
    let call = operator::Call::Explain {
        framework: owner,
        role: Role::any(),
    };
    let first = world.ask_page(ann, call.clone(), None);
    assert!(first.next.is_some());
    let Answer::Explained(all) = world.ask(ann, call) else {
        panic!("explanations are expected");
    };
    let ids: alloc::collections::BTreeSet<_> = all.iter().map(|it| &it.agent).collect();
    assert_eq!((all.len(), ids.len()), (most, most));
}

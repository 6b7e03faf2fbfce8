//! Offers: made, accepted, declined, rescinded.

use super::*;
use crate::protocol::task::ExecutorInfo;

fn invalid(world: &World, peer: PeerId, task: &str, agent: &AgentId, why: &str) -> Out {
    let (state, reason) = (TaskState::Error, Reason::TaskInvalid);
    let status = word(task, state, reason, why, Some(agent), world.now);
    to_framework(peer, Event::Update(status))
}

fn dropped(world: &World, peer: PeerId, task: &str, agent: &AgentId, why: &str) -> Out {
    let (state, reason) = (TaskState::Dropped, Reason::InvalidOffers);
    let status = word(task, state, reason, why, Some(agent), world.now);
    to_framework(peer, Event::Update(status))
}

fn run(peer: PeerId, owner: &FrameworkId, task: TaskInfo) -> Out {
    run_with(peer, owner, task, false)
}

fn run_with(peer: PeerId, owner: &FrameworkId, task: TaskInfo, starts_executor: bool) -> Out {
    let framework = owner.clone();
    let role = Role::any();
    to_agent(
        peer,
        ToAgent::RunTask {
            framework,
            role,
            task,
            starts_executor,
        },
    )
}

/// One agent, one framework, and the first offer.
struct Offered {
    world: World,
    agent_peer: PeerId,
    agent: AgentId,
    peer: PeerId,
    owner: FrameworkId,
    offer: Offer,
}

fn offered(total: &str) -> Offered {
    let mut world = World::new();
    let (agent_peer, agent) = world.agent("one", total);
    let (peer, owner) = world.framework("web");
    world.now = world.now + Duration::from_micros(1);
    let offer = world.offered(peer).remove(0);
    Offered {
        world,
        agent_peer,
        agent,
        peer,
        owner,
        offer,
    }
}

#[test]
fn an_offer_says_whose_it_is_and_what_is_in_it() {
    // OF-01, OF-05
    let o = offered("cpus:4;mem:1024");
    let all = resources("cpus:4;mem:1024");
    let expected = Offer {
        hostname: "host".into(),
        address: "host:5051".into(),
        ..Offer::new(offer_id(0), o.owner, o.agent, all)
    };
    assert_eq!(o.offer, expected);
}

#[test]
fn attributes_travel_with_every_offer_and_mean_nothing() {
    // RM-58: whatever is said of an agent, it is offered like one of which nothing is said.
    let said = ["", "rack:r1;zone:[1-3];speed:2.5;rack:r2", "private:x"];
    let mut world = World::drf(1, Registry::default());
    world.drain();
    for (n, attributes) in said.into_iter().enumerate() {
        let peer = world.connect(PeerRole::Agent, &n.to_string());
        let agent = AgentInfo {
            attributes: Attributes::parse(attributes).unwrap(),
            ..agent_info("cpus:4")
        };
        world.agent_says(peer, ToMaster::Register { agent });
    }
    let (peer, _) = world.framework("web");
    world.now = world.now + Duration::from_micros(1);
    let mut offers = world.offered(peer);
    offers.sort_by(|a, b| a.agent.cmp(&b.agent));
    let offered: Vec<_> = offers.iter().map(|it| it.attributes.to_string()).collect();
    assert_eq!(offered, said);
    assert!(offers.iter().all(|it| it.resources == resources("cpus:4")));
}

#[test]
fn what_is_offered_is_offered_to_nobody_else() {
    // OF-02: until it is accepted, declined or taken back
    type End = fn(&mut World, PeerId, &Offer);
    let ends: [(End, &str); 3] = [
        (
            |world, peer, offer| {
                let call = Call::Decline {
                    offers: vec![offer.id.clone()],
                    refuse: None,
                };
                assert_eq!(world.call(peer, call), []);
            },
            "cpus:4",
        ),
        (
            |world, peer, offer| {
                let tasks = vec![task("t", &offer.agent, "cpus:1")];
                let outs = world.call(peer, launch(core::slice::from_ref(&offer.id), tasks));
                assert_eq!(outs.len(), 1, "{outs:?}");
            },
            "cpus:3",
        ),
        (
            |world, peer, _| {
                world.lose(peer);
            },
            "cpus:4",
        ),
    ];
    let moment = Duration::from_micros(1);
    for (end, left) in ends {
        let allocator = Box::new(Drf::new(drf::Options::default()));
        let mut world = World::with(1, Registry::default(), allocator);
        world.drain();
        world.agent("one", "cpus:4");
        let (first, _) = world.framework("web");
        let [(_, offer)] = <[_; 1]>::try_from(world.offers_within(moment)).unwrap();
        assert_eq!(offer.resources, resources("cpus:4"));
        let (second, _) = world.framework("batch");
        assert_eq!(world.offers_within(Duration::from_secs(60)), []);
        end(&mut world, first, &offer);
        let [(to, next)] = <[_; 1]>::try_from(world.offers_within(Duration::from_secs(2))).unwrap();
        assert_eq!((to, next.resources), (second, resources(left)));
    }
}

#[test]
fn all_offers_of_a_pass_come_in_one_event() {
    // OF-04
    let mut world = World::new();
    world.agent("one", "cpus:4");
    world.agent("two", "cpus:2");
    let (peer, _) = world.framework("web");
    world.now = world.now + Duration::from_micros(1);
    assert_eq!(world.offered(peer).len(), 2);
}

/// What is said of a task whose id is used again: its own state.
fn used_already(peer: PeerId, id: &str, state: TaskState, agent: &AgentId, at: Time) -> Out {
    let why = alloc::format!("task id {id} is used already");
    let status = word(id, state, Reason::TaskInvalid, &why, Some(agent), at);
    to_framework(peer, Event::Update(status))
}

#[test]
fn a_refusal_is_no_end_of_a_task_of_the_same_id() {
    // TK-08, OF-08, OF-11, I11; MESOS-2864: who goes by states must not think it over
    let mut o = offered("cpus:4");
    let again = || task("t", &AgentId::new("rio-1-S0").unwrap(), "cpus:1");
    let accept = launch(&[offer_id(0)], vec![again()]);
    let outs = o.world.call(o.peer, accept.clone());
    assert_eq!(outs, [run(o.agent_peer, &o.owner, again())]);
    let running = news("t", TaskState::Running, &o.agent, 1);
    o.world
        .update(o.agent_peer, &o.owner, running, TaskState::Running);
    // The accept is sent twice.
    let why = "offer rio-1-O0 is not, or no longer, valid";
    let said = |state, reason, why: &str| TaskStatus {
        source: Source::Master,
        reason: Some(reason),
        message: why.into(),
        agent: Some(o.agent.clone()),
        update: None,
        ..TaskStatus::new(task_id("t"), state, Source::Master, Time::ZERO)
    };
    let outs = o.world.call(o.peer, accept);
    let status = said(TaskState::Running, Reason::InvalidOffers, why);
    assert_eq!(outs, [to_framework(o.peer, Event::Update(status))]);
    // Its id is used again, while it runs and when it is over.
    let why = "task id t is used already";
    for (offer, state) in (1..).zip([TaskState::Running, TaskState::Finished]) {
        if state.is_terminal() {
            let done = news("t", state, &o.agent, 2);
            o.world.update(o.agent_peer, &o.owner, done, state);
        }
        o.world.now = o.world.now + Duration::from_secs(10);
        o.world.tick();
        let outs = o
            .world
            .call(o.peer, launch(&[offer_id(offer)], vec![again()]));
        let status = said(state, Reason::TaskInvalid, why);
        assert_eq!(outs, [to_framework(o.peer, Event::Update(status))]);
    }
}

#[test]
fn tasks_are_taken_in_turn_and_each_on_its_own() {
    // OF-13, OF-18, OF-22, TK-08, TK-16, VA-13
    let mut o = offered("cpus:4;mem:1024");
    let elsewhere = AgentId::new("elsewhere").unwrap();
    let nothing = TaskInfo {
        command: None,
        ..task("nothing", &o.agent, "cpus:1")
    };
    let empty = TaskInfo {
        resources: Resources::new(),
        ..task("empty", &o.agent, "cpus:1")
    };
    let a = task("a", &o.agent, "cpus:2");
    let b = task("b", &o.agent, "cpus:2;mem:24");
    let tasks = vec![
        a.clone(),
        task("big", &o.agent, "cpus:4"),
        task("a", &o.agent, "cpus:1"),
        task("gpu", &o.agent, "gpus:1"),
        task("far", &elsewhere, "cpus:1"),
        nothing,
        empty,
        b.clone(),
    ];
    let (world, peer, agent) = (&mut o.world, o.peer, &o.agent);
    let outs = world.call(peer, launch(&[offer_id(0)], tasks));
    let expected = [
        run(o.agent_peer, &o.owner, a),
        invalid(
            world,
            peer,
            "big",
            agent,
            "task needs cpus:4 but the offer has cpus:2 left",
        ),
        used_already(o.peer, "a", TaskState::Staging, agent, world.now),
        invalid(
            world,
            peer,
            "gpu",
            agent,
            "task needs gpus:1 but the offer has no gpus left",
        ),
        invalid(
            world,
            peer,
            "far",
            agent,
            "task is for agent elsewhere, but the offer is of agent rio-1-S0",
        ),
        invalid(
            world,
            peer,
            "nothing",
            agent,
            "task has neither a command nor an executor, exactly one is expected",
        ),
        invalid(world, peer, "empty", agent, "task has no resources"),
        run(o.agent_peer, &o.owner, b),
    ];
    assert_eq!(unnamed(outs), expected);
    // OF-17: the rest is declined.
    assert_eq!(o.world.free(), resources("mem:1000"));
}

#[test]
fn several_offers_of_one_agent_make_one_pool() {
    // FW-41, OF-10: the second offer holds what came free after the first
    let mut o = offered("cpus:4");
    let half = vec![task("a", &o.agent, "cpus:3")];
    let no_refusal = Call::Accept {
        offers: vec![offer_id(0)],
        operations: vec![Operation::Launch(half)],
        refuse: Some(Duration::ZERO),
    };
    o.world.call(o.peer, no_refusal);
    o.world.now = o.world.now + Duration::from_micros(1);
    assert_eq!(o.world.offered(o.peer)[0].resources, resources("cpus:1"));
    let done = news("a", TaskState::Finished, &o.agent, 1);
    o.world
        .update(o.agent_peer, &o.owner, done, TaskState::Finished);
    o.world.now = o.world.now + Duration::from_micros(1);
    assert_eq!(o.world.offered(o.peer)[0].resources, resources("cpus:3"));
    let whole = task("b", &o.agent, "cpus:4");
    let call = launch(&[offer_id(1), offer_id(2)], vec![whole.clone()]);
    let outs = o.world.call(o.peer, call);
    assert_eq!(outs, [run(o.agent_peer, &o.owner, whole)]);
}

#[test]
fn tv_26_an_invalid_set_drops_the_tasks_and_frees_what_it_names() {
    // TV-26, OF-09, OF-11, OF-08, TK-28
    type Case = (&'static [u64], &'static str, usize);
    let cases: [Case; 5] = [
        (&[], "no offer is named", 2),
        (&[0, 0], "an offer is named twice", 1),
        (&[0, 7], "offer rio-1-O7 is not, or no longer, valid", 1),
        (
            &[0, 1],
            "offer rio-1-O1 is of another agent than those before",
            0,
        ),
        (&[7], "offer rio-1-O7 is not, or no longer, valid", 2),
    ];
    for (ids, why, left) in cases {
        let mut world = World::new();
        let (_, agent) = world.agent("one", "cpus:4");
        world.agent("two", "cpus:4");
        let (peer, _) = world.framework("web");
        world.now = world.now + Duration::from_micros(1);
        assert_eq!(world.offered(peer).len(), 2);
        let ids: Vec<OfferId> = ids.iter().map(|n| offer_id(*n)).collect();
        let outs = world.call(peer, launch(&ids, vec![task("t", &agent, "cpus:1")]));
        let status = dropped(&world, peer, "t", &agent, why);
        assert_eq!(unnamed(outs), [status], "{ids:?}");
        assert_eq!(world.master.view().offers().len(), left, "{ids:?}");
    }
}

#[test]
fn an_accept_without_tasks_is_turned_down_by_a_word_of_its_own() {
    // OF-09, OF-11: there is no task whose state could tell
    let cases: [(&[u64], RejectKind, &str); 4] = [
        (&[], RejectKind::Empty, "no offer is named"),
        (&[0, 0], RejectKind::Doubled, "an offer is named twice"),
        (
            &[7],
            RejectKind::NotOffered,
            "offer rio-1-O7 is not, or no longer, valid",
        ),
        (
            &[0, 1],
            RejectKind::OtherAgent,
            "offer rio-1-O1 is of another agent than those before",
        ),
    ];
    for (ids, reason, message) in cases {
        let mut world = World::new();
        world.agent("one", "cpus:4");
        world.agent("two", "cpus:4");
        let (peer, _) = world.framework("web");
        world.now = world.now + Duration::from_micros(1);
        assert_eq!(world.offered(peer).len(), 2);
        let ids: Vec<OfferId> = ids.iter().map(|n| offer_id(*n)).collect();
        let rejected = Event::Rejected {
            call: CallKind::Accept,
            reason,
            message: message.into(),
        };
        let outs = world.call(peer, launch(&ids, vec![]));
        assert_eq!(outs, [to_framework(peer, rejected)]);
    }
}

#[test]
fn nobody_can_use_or_end_the_offers_of_others() {
    // OF-11
    let mut o = offered("cpus:4");
    let (thief, _) = o.world.framework("batch");
    let call = launch(&[offer_id(0)], vec![task("t", &o.agent, "cpus:1")]);
    let outs = o.world.call(thief, call);
    let why = "offer rio-1-O0 is not, or no longer, valid";
    assert_eq!(
        unnamed(outs),
        [dropped(&o.world, thief, "t", &o.agent, why)]
    );
    let call = Call::Decline {
        offers: vec![offer_id(0)],
        refuse: None,
    };
    assert_eq!(o.world.call(thief, call), []);
    assert_eq!(o.world.master.view().offers(), [o.offer]);
}

#[test]
fn an_accept_for_an_agent_that_is_away_says_so() {
    // OF-12, TK-56
    let mut o = offered("cpus:4");
    let rescind = Event::Rescind(offer_id(0));
    assert_eq!(o.world.lose(o.agent_peer), [to_framework(o.peer, rescind)]);
    let call = launch(&[offer_id(0)], vec![task("t", &o.agent, "cpus:1")]);
    let outs = o.world.call(o.peer, call);
    let (state, reason) = (TaskState::Dropped, Reason::AgentDisconnected);
    let why = "offer rio-1-O0 is not, or no longer, valid";
    let status = word("t", state, reason, why, Some(&o.agent), o.world.now);
    assert_eq!(unnamed(outs), [to_framework(o.peer, Event::Update(status))]);
}

#[test]
fn an_accept_for_an_agent_that_is_given_up_or_gone_says_so() {
    // OF-12, TK-58
    let mut o = offered("cpus:4");
    o.world.lose(o.agent_peer);
    o.world.pass(Duration::from_secs(601));
    let why = "offer rio-1-O0 is not, or no longer, valid";
    for is_gone in [false, true] {
        if is_gone {
            // Its machine has lost its state, and joins as another agent.
            let peer = o.world.connect(PeerRole::Agent, "one");
            let agent = agent_info("cpus:4");
            o.world.agent_says(peer, ToMaster::Register { agent });
        }
        let call = launch(&[offer_id(0)], vec![task("t", &o.agent, "cpus:1")]);
        let outs = o.world.call(o.peer, call);
        let (state, reason) = (TaskState::Dropped, Reason::AgentRemoved);
        let status = word("t", state, reason, why, Some(&o.agent), o.world.now);
        assert_eq!(unnamed(outs), [to_framework(o.peer, Event::Update(status))]);
    }
}

#[test]
fn a_declined_offer_comes_again_after_its_refusal() {
    // FW-42, OF-31, OF-32, TL-04
    let mut o = offered("cpus:4");
    let call = Call::Decline {
        offers: vec![offer_id(0), offer_id(9)],
        refuse: None,
    };
    assert_eq!(o.world.call(o.peer, call), []);
    let quiet = Duration::from_millis(4_999);
    let before = o.world.pass(quiet);
    assert!(before.iter().all(|out| matches!(out, Output::Free(_))));
    let after = o.world.pass(Duration::from_millis(1));
    let again = Offer {
        id: offer_id(1),
        ..o.offer
    };
    assert_eq!(after, [to_framework(o.peer, Event::Offers(vec![again]))]);
}

#[test]
fn who_suppresses_hears_nothing_until_he_revives() {
    // OF-36, OF-37
    let mut o = offered("cpus:4");
    assert_eq!(
        o.world.call(o.peer, Call::Suppress { roles: Vec::new() }),
        []
    );
    // What is offered stays good.
    assert_eq!(o.world.master.view().offers().len(), 1);
    assert_eq!(
        o.world.master.view().frameworks()[0].suppressed,
        [Role::any()]
    );
    let call = Call::Decline {
        offers: vec![offer_id(0)],
        refuse: Some(Duration::from_secs(3_600)),
    };
    assert_eq!(o.world.call(o.peer, call), []);
    o.world.now = o.world.now + Duration::from_micros(1);
    assert_eq!(o.world.tick(), []);
    assert_eq!(o.world.call(o.peer, Call::Revive { roles: Vec::new() }), []);
    o.world.now = o.world.now + Duration::from_micros(1);
    assert_eq!(o.world.offered(o.peer)[0].id, offer_id(1));
}

fn with_executor(id: &str, agent: &AgentId, needs: &str) -> TaskInfo {
    let executor = ExecutorInfo::new(
        ExecutorId::new("e").unwrap(),
        resources(needs),
        CommandInfo::shell("serve"),
    );
    TaskInfo {
        command: None,
        executor: Some(executor),
        ..task(id, agent, "cpus:1")
    }
}

#[test]
fn an_executor_costs_once_while_it_is_there() {
    // OF-18, TK-13
    let mut o = offered("cpus:4");
    let (world, peer, agent) = (&mut o.world, o.peer, &o.agent);
    let a = with_executor("a", agent, "cpus:1");
    let b = with_executor("b", agent, "cpus:1");
    let other = with_executor("c", agent, "cpus:0.5");
    let tasks = vec![a.clone(), b.clone(), other];
    let outs = world.call(peer, launch(&[offer_id(0)], tasks));
    let why = "executor e is there already, with another description";
    let expected = [
        run_with(o.agent_peer, &o.owner, a, true), // AG-29
        run(o.agent_peer, &o.owner, b),
        invalid(world, peer, "c", agent, why),
    ];
    assert_eq!(unnamed(outs), expected);
    assert_eq!(world.free(), resources("cpus:1"));
    let done = news("a", TaskState::Finished, agent, 1);
    world.update(o.agent_peer, &o.owner, done, TaskState::Finished);
    assert_eq!(world.free(), resources("cpus:2"));
    let done = news("b", TaskState::Finished, agent, 2);
    world.update(o.agent_peer, &o.owner, done, TaskState::Finished);
    assert_eq!(world.free(), resources("cpus:3"));
    world.executor_ended(o.agent_peer, &o.owner);
    assert_eq!(world.free(), resources("cpus:4"));
}

#[test]
fn a_task_and_its_executor_do_not_share_a_port() {
    // RM-18, OF-13, OF-18: added up they would need the port once, and return it twice
    let mut o = offered("cpus:4;ports:[1-5]");
    let mut both = task("both", &o.agent, "cpus:1;ports:[1-2]");
    both.command = None;
    both.executor = Some(ExecutorInfo::new(
        ExecutorId::new("e").unwrap(),
        resources("cpus:1;ports:[2-3]"),
        CommandInfo::shell("serve"),
    ));
    let mut apart = both.clone();
    apart.id = task_id("apart");
    apart.resources = resources("cpus:1;ports:[4-5]");
    let outs = o
        .world
        .call(o.peer, launch(&[offer_id(0)], vec![both, apart.clone()]));
    let why = "executor needs ports:[2-3] but the offer has ports:[3-5] left";
    assert_eq!(
        unnamed(outs),
        [
            invalid(&o.world, o.peer, "both", &o.agent, why),
            run_with(o.agent_peer, &o.owner, apart, true),
        ]
    );
    assert_eq!(o.world.free(), resources("cpus:2;ports:[1-1]"));
    let done = news("apart", TaskState::Finished, &o.agent, 1);
    o.world
        .update(o.agent_peer, &o.owner, done, TaskState::Finished);
    assert_eq!(o.world.free(), resources("cpus:3;ports:[1-1,4-5]"));
    o.world.executor_ended(o.agent_peer, &o.owner);
    assert_eq!(o.world.free(), resources("cpus:4;ports:[1-5]"));
}

#[test]
fn an_offer_that_nobody_answers_is_taken_back_and_comes_again_unrefused() {
    // OF-06, OF-39
    let mut world = World::drf(1, Registry::default());
    world.drain();
    world.agent("one", "cpus:4");
    let (peer, _) = world.framework("web");
    let outs = world.pass(Duration::from_secs(5));
    let told = outs.into_iter().filter_map(|out| match out {
        Output::Effect(Effect::Scheduler { peer: to, event }) if to == peer => Some(event),
        Output::Effect(_) | Output::Persist(_) | Output::Free(_) => None,
    });
    let told: Vec<Event> = told.take(3).collect();
    let [
        Event::Offers(first),
        Event::Rescind(id),
        Event::Offers(second),
    ] = told.as_slice()
    else {
        panic!("{told:?}");
    };
    assert_eq!((&first[0].id, id), (&offer_id(0), &offer_id(0)));
    assert_eq!(second[0].id, offer_id(1));
    assert_eq!(second[0].resources, resources("cpus:4"));
}

#[test]
fn what_is_accepted_together_says_nothing_of_the_other_offers_of_an_agent() {
    // OF-10, OF-39: the oldest is not named, and would have been enough
    let mut world = World::drf(1, Registry::default());
    world.drain();
    let (agent_peer, agent) = world.agent("one", "cpus:8");
    let (peer, owner) = world.framework("web");
    let sizes = [("a", "cpus:4"), ("b", "cpus:2"), ("c", "cpus:2")];
    let tasks = sizes.map(|(id, needs)| task(id, &agent, needs));
    world.launch(peer, tasks.into());
    for (n, (id, needs)) in (1..).zip(sizes) {
        world.now = world.now + Duration::from_millis(500);
        let done = news(id, TaskState::Finished, &agent, n.into());
        world.update(agent_peer, &owner, done, TaskState::Finished);
        let offers = world.offered(peer);
        assert_eq!(offers.len(), 1);
        assert_eq!(
            (&offers[0].id, &offers[0].resources),
            (&offer_id(n), &resources(needs))
        );
    }
    let both = Call::Accept {
        offers: vec![offer_id(2), offer_id(3)],
        operations: vec![Operation::Launch(vec![task("d", &agent, "cpus:3")])],
        refuse: Some(Duration::from_secs(3_600)),
    };
    world.call(peer, both);
    // Two seconds after it was made: a second before the others would have ended.
    let mut ended_within = |time| -> Vec<OfferId> {
        let told = world.pass(time).into_iter();
        told.filter_map(|out| match out {
            Output::Effect(Effect::Scheduler {
                event: Event::Rescind(id),
                ..
            }) => Some(id),
            Output::Effect(_) | Output::Persist(_) | Output::Free(_) => None,
        })
        .collect()
    };
    assert_eq!(ended_within(Duration::from_millis(990)), []);
    assert_eq!(ended_within(Duration::from_millis(20)), [offer_id(1)]);
}

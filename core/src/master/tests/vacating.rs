//! Inverse offers: who is asked, what is answered, and when it is asked again.

use super::maintenance::{SOON, machine, schedule};
use super::*;
use crate::protocol::maintenance::{InverseOfferView, Leaving};
use crate::protocol::offer::InverseOffer;

/// One agent whose machine is in the schedule, with a task of one framework; another framework has
/// nothing. All of the agent is in use.
struct Asked {
    world: World,
    ann: PeerId,
    one: PeerId,
    agent: AgentId,
    web: PeerId,
    owner: FrameworkId,
    offer: InverseOffer,
}

fn asked() -> Asked {
    let mut world = World::new();
    let ann = world.connect(PeerRole::Operator, "ann");
    let (one, agent) = world.agent_on("one", 1);
    let (web, owner) = world.framework("web");
    world.framework("batch");
    world.now = world.now + Duration::from_micros(1);
    world.launch(web, vec![task("t", &agent, "cpus:4")]);
    let outs = world.order(ann, schedule(&["one"]));
    let offer = inverse(&outs, web).remove(0);
    assert_eq!(outs.len(), 2, "{outs:?}");
    Asked {
        world,
        ann,
        one,
        agent,
        web,
        owner,
        offer,
    }
}

/// The inverse offers among these, all for one framework.
fn inverse(outs: &[Out], to: PeerId) -> Vec<InverseOffer> {
    let mut all = Vec::new();
    for out in outs {
        if let Output::Effect(Effect::Scheduler {
            peer,
            event: Event::InverseOffers(offers),
        }) = out
        {
            assert_eq!(*peer, to);
            all.extend(offers.clone());
        }
    }
    all
}

fn rescind(peer: PeerId, offer: &InverseOffer) -> Out {
    to_framework(peer, Event::RescindInverse(offer.id.clone()))
}

impl Asked {
    fn accept(&mut self, refuse: Option<Duration>) -> Vec<Out> {
        let offers = vec![self.offer.id.clone()];
        self.world
            .call(self.web, Call::AcceptInverse { offers, refuse })
    }

    fn decline(&mut self, refuse: Option<Duration>) -> Vec<Out> {
        let offers = vec![self.offer.id.clone()];
        self.world
            .call(self.web, Call::DeclineInverse { offers, refuse })
    }

    /// Lets time pass, and returns how much of it before the framework is asked again.
    fn asked_again_within(&mut self, time: Duration) -> Option<Duration> {
        let begin = self.world.now;
        let until = begin + time;
        while let Some(at) = self.world.master.deadline().filter(|at| *at <= until) {
            self.world.now = self.world.now.max(at);
            let outs = self.world.tick();
            if let Some(offer) = inverse(&outs, self.web).pop() {
                self.offer = offer;
                return Some(self.world.now.since(begin));
            }
        }
        self.world.now = until;
        None
    }

    fn view(&mut self) -> Vec<InverseOfferView> {
        let answer = self.world.ask(self.ann, operator::Call::InverseOffers);
        let Answer::InverseOffers(rows) = answer else {
            panic!("{answer:?}");
        };
        rows
    }

    fn finish(&mut self) {
        let done = news("t", TaskState::Finished, &self.agent, 1);
        self.world
            .update(self.one, &self.owner, done, TaskState::Finished);
    }
}

#[test]
fn those_who_use_an_agent_are_asked_to_leave_it() {
    // OF-48, AL-34: and nobody else
    let mut it = asked();
    let expected = InverseOffer {
        id: it.offer.id.clone(),
        framework: it.owner.clone(),
        agent: it.agent.clone(),
        hostname: "one".into(),
        resources: resources("cpus:4"),
        unavailability: SOON,
    };
    assert_eq!(it.offer, expected);
    // At most one is open, whatever time passes, and nothing is ended.
    let minute = Duration::from_secs(60);
    assert_eq!(it.asked_again_within(minute), None);
    assert_eq!(it.world.master.view().live_tasks().len(), 1);
    // It is the id of no offer (OF-11).
    let tasks = vec![task("u", &it.agent, "cpus:1")];
    let outs = it.world.call(it.web, launch(&[it.offer.id.clone()], tasks));
    let text = alloc::format!("{outs:?}");
    assert!(text.contains("is not, or no longer, valid"), "{text}");
}

#[test]
fn those_who_are_offered_an_agent_are_asked_to_leave_it() {
    // OF-48: after the offer itself
    let mut world = World::new();
    let ann = world.connect(PeerRole::Operator, "ann");
    world.agent_on("one", 1);
    world.order(ann, schedule(&["one"]));
    let (web, _) = world.framework("web");
    world.now = world.now + Duration::from_micros(1);
    let outs = world.tick();
    let [
        Output::Effect(Effect::Scheduler {
            event: Event::Offers(_),
            ..
        }),
        Output::Effect(Effect::Scheduler {
            event: Event::InverseOffers(_),
            ..
        }),
    ] = outs.as_slice()
    else {
        panic!("{outs:?}");
    };
    let offers = inverse(&outs, web);
    assert_eq!((offers.len(), &offers[0].resources), (1, &resources("")));
}

#[test]
fn an_answer_is_kept_and_asked_for_again_in_time() {
    // OF-49, OF-50, AL-34
    let mut it = asked();
    let minute = Duration::from_secs(60);
    let row = |it: &Asked, open, leaving| InverseOfferView {
        framework: it.owner.clone(),
        agent: it.agent.clone(),
        machines: vec![machine("one")],
        open,
        leaving,
    };
    let open = Some(it.offer.id.clone());
    assert_eq!(it.view(), [row(&it, open, Leaving::Unknown)]);
    assert_eq!(it.accept(None), []);
    let accepted = Leaving::Accepted(it.world.now);
    assert_eq!(it.view(), [row(&it, None, accepted)]);
    let again = it.asked_again_within(minute);
    assert_eq!(again, Some(Duration::from_secs(5)));
    let open = Some(it.offer.id.clone());
    assert_eq!(it.view(), [row(&it, open, accepted)]);
    assert_eq!(it.decline(Some(Duration::from_secs(20))), []);
    let declined = Leaving::Declined(it.world.now);
    assert_eq!(it.view(), [row(&it, None, declined)]);
    let again = it.asked_again_within(minute);
    assert_eq!(again, Some(Duration::from_secs(20)));
    // Not at once, whatever it says.
    it.decline(Some(Duration::ZERO));
    let again = it.asked_again_within(minute);
    assert_eq!(again, Some(limits::INVERSE_PAUSE));
    // Nothing follows by itself, and who has left is not asked again.
    assert_eq!(it.world.master.view().live_tasks().len(), 1);
    it.accept(None);
    it.finish();
    it.world.call(it.web, Call::Suppress { roles: vec![] });
    let taken: Vec<_> = it.world.master.view().offers();
    for offer in taken {
        let (offers, refuse) = (vec![offer.id], None);
        it.world.call(it.web, Call::Decline { offers, refuse });
    }
    let outs = it.world.pass(minute);
    let asked = outs.iter().filter(|out| {
        let Output::Effect(Effect::Scheduler { peer, event }) = out else {
            return false;
        };
        *peer == it.web && matches!(event, Event::InverseOffers(_))
    });
    assert_eq!(asked.count(), 0);
    assert!(matches!(it.view()[0].leaving, Leaving::Accepted(_)));
}

#[test]
fn who_revives_is_asked_again() {
    // OF-36
    let mut it = asked();
    let hour = Some(Duration::from_secs(3_600));
    // What is open stays open.
    let revive = || Call::Revive { roles: vec![] };
    assert_eq!(it.world.call(it.web, revive()), []);
    it.decline(hour);
    let outs = it.world.call(it.web, revive());
    assert_eq!(inverse(&outs, it.web).len(), 1);
    assert_eq!(outs.len(), 1);
}

#[test]
fn bad_answers_are_turned_down() {
    // OF-49, I21
    let mut it = asked();
    let own = it.offer.id.clone();
    let void = offer_id(999);
    let (batch, _) = it.world.framework("other");
    let many = (0..=limits::OFFERS_PER_CALL as u64).map(offer_id).collect();
    let before = it.view();
    for (peer, offers, reason, text) in [
        (
            it.web,
            vec![],
            RejectKind::Empty,
            "no inverse offer is named",
        ),
        (
            it.web,
            many,
            RejectKind::TooMany,
            "more than 10000 inverse offers",
        ),
        (
            it.web,
            vec![own.clone(), own.clone()],
            RejectKind::Doubled,
            "is named twice",
        ),
        (
            it.web,
            vec![void.clone()],
            RejectKind::NotOffered,
            "rio-1-O999 is not",
        ),
        // Somebody else's.
        (
            batch,
            vec![own.clone()],
            RejectKind::NotOffered,
            "is not, or no longer",
        ),
    ] {
        let refuse = None;
        let accept = Call::AcceptInverse {
            offers: offers.clone(),
            refuse,
        };
        let decline = Call::DeclineInverse { offers, refuse };
        for call in [accept, decline] {
            let kind = call.kind();
            let outs = it.world.call(peer, call);
            let [Output::Effect(Effect::Scheduler { peer: to, event })] = outs.as_slice() else {
                panic!("{text}: {outs:?}");
            };
            let Event::Rejected {
                call,
                reason: why,
                message,
            } = event
            else {
                panic!("{text}: {event:?}");
            };
            assert_eq!((*to, *call, *why), (peer, kind, reason));
            assert!(message.contains(text), "{text}: {message}");
            assert_eq!(it.view(), before, "{text}");
        }
    }
    // What is void beside what is good is ignored.
    let (offers, refuse) = (vec![void, own], None);
    let outs = it
        .world
        .call(it.web, Call::AcceptInverse { offers, refuse });
    assert_eq!(outs, []);
    assert!(matches!(it.view()[0].leaving, Leaving::Accepted(_)));
}

#[test]
fn inverse_offers_end_with_the_schedule_the_agent_and_the_framework() {
    // OF-50, FW-28, OF-07
    let mut it = asked();
    // Another time: asked anew, and what was answered does not count.
    it.accept(None);
    let call = schedule(&["one"]);
    let operator::Call::SetSchedule { mut windows } = call else {
        unreachable!();
    };
    windows[0].unavailability.duration = None;
    let outs = it
        .world
        .order(it.ann, operator::Call::SetSchedule { windows });
    let [again] = <[_; 1]>::try_from(inverse(&outs, it.web)).unwrap();
    assert_eq!(again.unavailability.duration, None);
    assert_eq!(it.view()[0].leaving, Leaving::Unknown);
    let outs = it.world.order(it.ann, schedule(&[]));
    assert_eq!(outs[1..], [rescind(it.web, &again)]);
    assert_eq!(it.view(), []);

    // The agent: lost, and back.
    let mut it = asked();
    let outs = it.world.lose(it.one);
    assert_eq!(outs, [rescind(it.web, &it.offer)]);
    it.one = it.world.connect(PeerRole::Agent, "one");
    let running = report(
        &it.owner,
        task("t", &it.agent, "cpus:4"),
        TaskState::Running,
    );
    let message = ToMaster::Reregister {
        id: it.agent.clone(),
        agent: AgentInfo::new("one", "10.0.0.1:5051", resources("cpus:4")),
        frameworks: vec![],
        tasks: vec![running],
    };
    let outs = it.world.agent_says(it.one, message);
    let [again] = <[_; 1]>::try_from(inverse(&outs, it.web)).unwrap();
    assert_ne!(again.id, it.offer.id);
    // Operators take it out of use in another way, and back.
    let agent = it.agent.clone();
    let outs = it.world.order(it.ann, operator::Call::Deactivate { agent });
    assert_eq!(outs[1..], [rescind(it.web, &again)]);
    let agent = it.agent.clone();
    let outs = it.world.order(it.ann, operator::Call::Reactivate { agent });
    let [again] = <[_; 1]>::try_from(inverse(&outs, it.web)).unwrap();
    let agent = it.agent.clone();
    let outs = it.world.order(it.ann, operator::Call::MarkGone { agent });
    assert!(outs.contains(&rescind(it.web, &again)), "{outs:?}");
    assert_eq!(it.view(), []);

    // The framework: another instance of it is asked, what it has answered stays.
    let mut it = asked();
    it.accept(Some(Duration::from_secs(3_600)));
    it.world.lose(it.web);
    assert!(matches!(it.view()[0].leaving, Leaving::Accepted(_)));
    it.web = it.world.connect(PeerRole::Framework, "web");
    let outs = it
        .world
        .subscribe_again(it.web, framework_info_of(it.owner.clone()));
    assert_eq!(inverse(&outs, it.web).len(), 1);
    let newer = it.world.connect(PeerRole::Framework, "web");
    let outs = it
        .world
        .subscribe_again(newer, framework_info_of(it.owner.clone()));
    assert_eq!(inverse(&outs, newer).len(), 1);
    it.world.call(newer, Call::Teardown);
    assert_eq!(it.view(), []);
}

#[test]
fn who_holds_nothing_of_an_agent_any_more_is_not_asked_to_leave_it() {
    // OF-48, OF-50
    let mut it = asked();
    let done = news("t", TaskState::Finished, &it.agent, 1);
    let outs = it
        .world
        .update(it.one, &it.owner, done, TaskState::Finished);
    assert!(outs.contains(&rescind(it.web, &it.offer)), "{outs:?}");
    assert_eq!(it.view()[0].open, None);
    // What is void cannot be answered.
    let outs = it.accept(None);
    let text = alloc::format!("{outs:?}");
    assert!(text.contains("is not, or no longer, valid"), "{text}");
    // The same with what is only offered.
    it.world.now = it.world.now + Duration::from_secs(6);
    let outs = it.world.tick();
    let offers = it.world.master.view().offers();
    let to = offers[0].framework.clone();
    let peer = if to == it.owner {
        it.web
    } else {
        PeerId(it.web.0 + 1)
    };
    let asked = inverse(&outs, peer);
    assert_eq!(asked.len(), 1, "{outs:?}");
    let offers = offers.iter().map(|offer| offer.id.clone()).collect();
    let refuse = Some(Duration::from_secs(600));
    let outs = it.world.call(peer, Call::Decline { offers, refuse });
    assert!(outs.contains(&rescind(peer, &asked[0])), "{outs:?}");
}

#[test]
fn an_inverse_offer_that_is_not_answered_is_made_again() {
    // OF-06, OF-50
    let minute = Duration::from_secs(60);
    let mut config = Config::new(master_id(1), 1, 7);
    config.inverse_offer_timeout = Some(minute);
    let greedy = Box::new(Greedy::default());
    let mut world = World::configured(config, Registry::default(), greedy);
    world.drain();
    let ann = world.connect(PeerRole::Operator, "ann");
    let (_, agent) = world.agent_on("one", 1);
    let (web, _) = world.framework("web");
    world.now = world.now + Duration::from_micros(1);
    world.launch(web, vec![task("t", &agent, "cpus:4")]);
    let outs = world.order(ann, schedule(&["one"]));
    let first = inverse(&outs, web).remove(0);
    let of_inverse = |outs: Vec<Out>| -> Vec<Out> {
        let is = |out: &Out| {
            let Output::Effect(Effect::Scheduler { event, .. }) = out else {
                return false;
            };
            matches!(event, Event::InverseOffers(_) | Event::RescindInverse(_))
        };
        outs.into_iter().filter(is).collect()
    };
    let almost = minute - Duration::from_micros(1);
    assert_eq!(of_inverse(world.pass(almost)), []);
    let outs = of_inverse(world.pass(Duration::from_micros(1)));
    assert_eq!(outs[0], rescind(web, &first));
    let again = inverse(&outs, web).remove(0);
    assert_eq!((outs.len(), again.resources), (2, first.resources));
}

#[test]
fn operators_see_how_many_leave() {
    // TK-122
    let mut it = asked();
    let counts = |it: &mut Asked| {
        let answer = it.world.ask(it.ann, operator::Call::Machines);
        let Answer::Machines(machines) = answer else {
            panic!("{answer:?}");
        };
        let machine = &machines[0];
        (
            machine.agents,
            machine.unknown,
            machine.accepted,
            machine.declined,
        )
    };
    assert_eq!(counts(&mut it), (1, 1, 0, 0));
    it.accept(None);
    assert_eq!(counts(&mut it), (1, 0, 1, 0));
    it.asked_again_within(Duration::from_secs(60));
    it.decline(None);
    assert_eq!(counts(&mut it), (1, 0, 0, 1));
}

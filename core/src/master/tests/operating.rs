//! Operators reserve and make volumes.

use super::operations::{one, orders, reserved};
use super::roles::subscribed;
use super::*;
use crate::protocol::operation::Conversion;
use crate::resources::Milli;

/// Something that operator `ann` has reserved to a role.
fn by_ann(role: &str, what: &str) -> Resources {
    let (name, amount) = what.split_once(':').unwrap();
    resources(&alloc::format!(
        r#"{name}(*)<dynamic="{role}",principal="ann">:{amount}"#
    ))
}

fn convert(agent: &AgentId, change: Conversion) -> operator::Call {
    let agent = agent.clone();
    operator::Call::Convert { agent, change }
}

struct Cluster {
    world: World,
    agent_peer: PeerId,
    agent: AgentId,
    ann: PeerId,
}

fn cluster(total: &str) -> Cluster {
    let mut world = World::new();
    let (agent_peer, agent) = world.agent("one", total);
    let ann = world.connect(PeerRole::Operator, "ann");
    Cluster {
        world,
        agent_peer,
        agent,
        ann,
    }
}

impl Cluster {
    fn total(&self) -> Resources {
        self.world.master.view().agents()[0].total.clone()
    }

    /// What follows from a call, and the answer to it.
    fn ask(&mut self, call: operator::Call) -> (Vec<Out>, Answer) {
        let (id, after) = (RequestId(1), None);
        let request = operator::Request { id, call, after };
        let peer = self.ann;
        let mut outs = self.world.input(Input::Operator { peer, request });
        let answer = outs.iter().find_map(|out| match out {
            Output::Effect(Effect::Respond { response, .. }) => Some(response.answer.clone()),
            Output::Effect(_) | Output::Persist(_) | Output::Free(_) => None,
        });
        outs.retain(|out| !matches!(out, Output::Effect(Effect::Respond { .. })));
        (outs, answer.unwrap())
    }
}

#[test]
fn an_operator_reserves_what_is_free_and_takes_back_just_enough() {
    // FW-79, OF-07, AL-40, I19
    let mut c = cluster("cpus:4;mem:64");
    let (eng, _) = subscribed(&mut c.world, &["eng"]);
    let offer = c.world.offered(eng).remove(0);
    let tasks = vec![task("t", &c.agent, "cpus:1")];
    c.world.call(eng, launch(&[offer.id], tasks));
    // Nothing is offered: nothing has to be taken back.
    let reserve = |n: u32| Conversion::Reserve(by_ann("ops", &alloc::format!("cpus:{n}")));
    let (outs, answer) = c.ask(convert(&c.agent.clone(), reserve(1)));
    assert_eq!((orders(&outs), answer), (vec![1], Answer::Updated));
    let mut total = resources("cpus:3;mem:64");
    total.add(&by_ann("ops", "cpus:1")).unwrap();
    assert_eq!(c.total(), total);
    // One core is in use; what is offered is in the way.
    c.world.pass(Duration::from_secs(6));
    assert_eq!(c.world.master.view().offers().len(), 1);
    let (outs, answer) = c.ask(convert(&c.agent.clone(), reserve(2)));
    assert_eq!((orders(&outs), answer), (vec![2], Answer::Updated));
    let rescinded = outs.iter().filter(|out| {
        matches!(
            out,
            Output::Effect(Effect::Scheduler {
                event: Event::Rescind(_),
                ..
            })
        )
    });
    assert_eq!(rescinded.count(), 1);
    let (outs, answer) = c.ask(convert(&c.agent.clone(), reserve(1)));
    assert!(matches!(answer, Answer::Conflict(_)), "{answer:?}");
    assert_eq!(outs, [], "what is in use is nobody's to reserve");
    // What was reserved is the role's.
    c.world.pass(Duration::from_millis(1));
    let offers = c.world.master.view().offers();
    let offered = offers.iter().map(|offer| offer.resources.to_string());
    assert_eq!(offered.collect::<Vec<_>>(), ["mem:64"]);
}

#[test]
fn other_offers_stay() {
    // AL-40: greedily, until there is enough
    let mut c = cluster("cpus:4;mem:64");
    let (_, _) = subscribed(&mut c.world, &["eng"]);
    c.world.tick();
    assert_eq!(c.world.master.view().offers().len(), 1);
    let other = c.world.agent("two", "cpus:1").1;
    c.world.pass(Duration::from_millis(1));
    assert_eq!(c.world.master.view().offers().len(), 2);
    let reserve = Conversion::Reserve(by_ann("ops", "cpus:1"));
    c.ask(convert(&other, reserve));
    let offers = c.world.master.view().offers();
    assert!(offers.iter().any(|offer| offer.agent == c.agent));
}

#[test]
fn what_an_operator_may_not_say() {
    // RM-36, VA-16, VA-18, FW-79, FW-80
    let mut c = cluster("cpus:4;disk:9");
    let agent = c.agent.clone();
    let gone = agent_id(9);
    for (agent, change, expected) in [
        (&agent, Conversion::Reserve(reserved("cpus", 1)), "invalid"),
        (&agent, Conversion::Reserve(Resources::new()), "invalid"),
        (
            &agent,
            Conversion::Reserve(by_ann("ops", "cpus:5")),
            "conflict",
        ),
        (
            &agent,
            Conversion::Unreserve(resources("cpus:1")),
            "invalid",
        ),
        (&agent, Conversion::Destroy(resources("disk:1")), "invalid"),
        (
            &gone,
            Conversion::Reserve(by_ann("ops", "cpus:1")),
            "not found",
        ),
    ] {
        let before = c.world.master.registry().clone();
        let name = alloc::format!("{change:?}");
        let (outs, answer) = c.ask(convert(agent, change));
        let kinds = [
            ("invalid", matches!(answer, Answer::Invalid(_))),
            ("conflict", matches!(answer, Answer::Conflict(_))),
            ("not found", matches!(answer, Answer::NotFound(_))),
        ];
        let kind = kinds.iter().find(|kind| kind.1).map(|kind| kind.0);
        assert_eq!(kind, Some(expected), "{name}: {answer:?}");
        assert_eq!(outs, [], "{name}");
        assert_eq!(c.world.master.registry(), &before, "{name}");
    }
    c.world.lose(c.agent_peer);
    // Its resources are not there to be had, but what is asked is written down and told later.
    let reserve = Conversion::Reserve(by_ann("ops", "cpus:1"));
    let (outs, answer) = c.ask(convert(&agent, reserve));
    assert_eq!((orders(&outs), answer), (vec![], Answer::Updated));
    let peer = c.world.connect(PeerRole::Agent, "one");
    let outs = c
        .world
        .agent_says(peer, reregister(agent, "cpus:4;disk:9", vec![], vec![]));
    assert_eq!(orders(&outs), [1]);
}

#[test]
fn an_operator_grows_and_shrinks_a_volume() {
    // FW-80, FW-81
    let volume = |amount: u32| {
        let who = r#"principal="ann""#;
        let text =
            alloc::format!(r#"disk(*)<dynamic="ops",{who},volume="v",{who},rw="d">:{amount}"#);
        resources(&text)
    };
    let grow = |from, by: &str| Conversion::Grow {
        volume: one(&volume(from)),
        addition: one(&by_ann("ops", by)),
    };
    let shrink = |from, by| Conversion::Shrink {
        volume: one(&volume(from)),
        amount: Milli::from_units(by),
    };
    let mut c = cluster("cpus:4;disk:9");
    let agent = c.agent.clone();
    for (number, change, left) in [
        (1, Conversion::Reserve(by_ann("ops", "disk:5")), 0),
        (2, Conversion::Create(volume(2)), 2),
        (3, grow(2, "disk:2"), 4),
        (4, shrink(4, 1), 3),
    ] {
        let (outs, answer) = c.ask(convert(&agent, change));
        assert_eq!((orders(&outs), answer), (vec![number], Answer::Updated));
        let mut total = resources("cpus:4;disk:4");
        let rest = by_ann("ops", &alloc::format!("disk:{}", 5 - left));
        total.add(&rest).unwrap();
        if left > 0 {
            total.add(&volume(left)).unwrap();
        }
        assert_eq!(c.total(), total);
    }
    // What is not there is a conflict, what makes no sense is invalid; nothing has changed.
    let before = c.total();
    let mut refused = |agent: &AgentId, change| {
        let (outs, answer) = c.ask(convert(agent, change));
        assert_eq!(outs, []);
        assert_eq!(c.total(), before);
        answer
    };
    for (change, is_conflict) in [
        (grow(3, "disk:9"), true),
        (shrink(7, 1), true),
        (shrink(3, 3), false),
        (shrink(3, 0), false),
    ] {
        let name = alloc::format!("{change:?}");
        let answer = refused(&agent, change);
        let expected = if is_conflict {
            matches!(answer, Answer::Conflict(_))
        } else {
            matches!(answer, Answer::Invalid(_))
        };
        assert!(expected, "{name}: {answer:?}");
    }
    let nobody = refused(&agent_id(9), grow(3, "disk:1"));
    assert!(matches!(nobody, Answer::NotFound(_)), "{nobody:?}");
}

#[test]
fn a_reservation_is_changed_into_another_at_once() {
    // RM-34, VA-17
    let mut c = cluster("cpus:4");
    let agent = c.agent.clone();
    c.ask(convert(
        &agent,
        Conversion::Reserve(by_ann("ops", "cpus:2")),
    ));
    let update = |from: Resources, to: Resources| operator::Call::UpdateReservation {
        agent: c.agent.clone(),
        from,
        to,
    };
    let good = update(by_ann("ops", "cpus:2"), by_ann("eng", "cpus:2"));
    let more = update(by_ann("ops", "cpus:2"), by_ann("eng", "cpus:3"));
    let (outs, answer) = c.ask(more);
    assert!(matches!(answer, Answer::Invalid(_)), "{answer:?}");
    assert_eq!(outs, []);
    let (outs, answer) = c.ask(good.clone());
    assert_eq!((orders(&outs), answer), (vec![2, 3], Answer::Updated));
    let mut total = resources("cpus:2");
    total.add(&by_ann("eng", "cpus:2")).unwrap();
    assert_eq!(c.total(), total);
    let (outs, answer) = c.ask(good);
    assert!(
        matches!(answer, Answer::Conflict(_)),
        "it is not there: {answer:?}"
    );
    assert_eq!(outs, []);
}

//! Frameworks are heard at their rates.

use super::*;
use crate::master::{CallRate, CallRates};

const SECOND: Duration = Duration::from_secs(1);

/// One call a second, and so many may wait.
fn slow(waiting: usize) -> Option<CallRate> {
    Some(CallRate {
        calls: 2,
        per: 2 * SECOND,
        waiting,
    })
}

fn world(named: &[(&str, Option<CallRate>)], others: Option<CallRate>) -> World {
    let named = named.iter().map(|(name, rate)| ((*name).into(), *rate));
    let rates = CallRates {
        named: named.collect(),
        others,
    };
    let config = Config {
        call_rates: rates,
        ..Config::new(master_id(1), 1, 7)
    };
    let mut world = World::configured(config, Registry::default(), Box::new(Greedy::default()));
    world.drain();
    world
}

/// A call that is answered at once.
fn ask(world: &mut World, peer: PeerId, task: &str) -> Vec<Out> {
    let tasks = vec![(task_id(task), None)];
    world.call(peer, Call::Reconcile { tasks })
}

/// Which tasks were answered, to whom.
fn answered(outs: &[Out]) -> Vec<(PeerId, String)> {
    let mut told = Vec::new();
    for out in outs {
        if let Output::Effect(Effect::Scheduler {
            peer,
            event: Event::Reconciled(answers),
        }) = out
        {
            told.extend(answers.iter().map(|a| (*peer, a.task.to_string())));
        }
    }
    told
}

fn rejected(peer: PeerId, call: CallKind) -> Out {
    let message = alloc::format!("{call}: more calls wait than may for this principal");
    let reason = RejectKind::TooMany;
    let event = Event::Rejected {
        call,
        reason,
        message,
    };
    to_framework(peer, event)
}

#[test]
fn calls_wait_for_their_turn_in_order_and_beyond_a_bound_are_turned_down() {
    // SE-33
    let mut world = world(&[("web", slow(2))], None);
    let (web, _) = world.framework("web");
    let (other, _) = world.framework("other");
    // Its subscription was a call as well.
    assert_eq!(ask(&mut world, web, "a"), []);
    assert_eq!(ask(&mut world, web, "b"), []);
    let outs = ask(&mut world, web, "c");
    assert_eq!(outs, [rejected(web, CallKind::Reconcile)]);
    // Nobody else is held up.
    let outs = ask(&mut world, other, "x");
    assert_eq!(answered(&outs), [(other, "x".into())]);
    let outs = world.pass(SECOND - Duration::from_micros(1));
    assert_eq!(answered(&outs), []);
    let outs = world.pass(Duration::from_micros(1));
    assert_eq!(answered(&outs), [(web, "a".into())]);
    // Who waits was there first.
    assert_eq!(ask(&mut world, web, "d"), []);
    let outs = world.pass(2 * SECOND);
    assert_eq!(answered(&outs), [(web, "b".into()), (web, "d".into())]);
    // A pause is no credit.
    world.pass(9 * SECOND);
    let outs = ask(&mut world, web, "e");
    assert_eq!(answered(&outs), [(web, "e".into())]);
    assert_eq!(ask(&mut world, web, "f"), []);
}

#[test]
fn who_has_no_rate_of_its_own_shares_one_with_all_such() {
    // SE-33: and a principal that is named without a rate is not bounded
    let mut world = world(&[("free", None)], slow(9));
    let (one, _) = world.framework("one");
    world.pass(SECOND);
    let (two, _) = world.framework("two");
    let (free, _) = world.framework("free");
    assert_eq!(ask(&mut world, one, "a"), []);
    assert_eq!(ask(&mut world, two, "b"), []);
    for task in ["x", "y"] {
        let outs = ask(&mut world, free, task);
        assert_eq!(answered(&outs), [(free, task.into())]);
    }
    let outs = world.pass(SECOND);
    assert_eq!(answered(&outs), [(one, "a".into())]);
    let outs = world.pass(SECOND);
    assert_eq!(answered(&outs), [(two, "b".into())]);
}

#[test]
fn an_accept_that_is_turned_down_gives_its_offers_back() {
    // SE-33, OF-08: and its tasks hear that they were never started
    let mut world = world(&[("web", slow(0))], None);
    let (_, agent) = world.agent("one", "cpus:4");
    let (web, _) = world.framework("web");
    world.now = world.now + Duration::from_micros(1);
    let offers = world.offered(web);
    let tasks = vec![task("t", &agent, "cpus:1")];
    let outs = world.call(web, launch(&[offers[0].id.clone()], tasks));
    let why = "accept: more calls wait than may for this principal";
    let (state, reason) = (TaskState::Dropped, Reason::InvalidOffers);
    let dropped = word("t", state, reason, why, Some(&agent), world.now);
    let outs = unnamed(outs);
    assert_eq!(outs, [to_framework(web, Event::Update(dropped))]);
    assert_eq!(world.free(), resources("cpus:4"));
    let outs = world.call(web, Call::Reconcile { tasks: vec![] });
    assert_eq!(outs, [rejected(web, CallKind::Reconcile)]);
}

#[test]
fn what_confirms_something_is_heard_where_there_is_no_room() {
    // SE-33, TK-66: a master says its own news once in each subscription
    let mut world = world(&[("web", slow(0))], None);
    let (_, agent) = world.agent("one", "cpus:4");
    let (web, _) = world.framework("web");
    world.now = world.now + Duration::from_micros(1);
    let offers = world.offered(web);
    let tasks = vec![task("t", &agent, "cpus:1")];
    let outs = world.call(web, launch(&[offers[0].id.clone()], tasks));
    let update = named(&outs);
    assert!(update.is_some(), "{outs:?}");
    let framework = world.master.frameworks.find(&framework_id(0)).unwrap();
    assert_eq!(world.master.verdicts.of(framework).count(), 1);
    let confirm = Call::Acknowledge {
        agent,
        task: task_id("t"),
        update: update.unwrap(),
    };
    assert_eq!(world.call(web, confirm), []);
    assert_eq!(world.master.verdicts.of(framework).count(), 0);
}

#[test]
fn a_decline_that_is_turned_down_gives_its_offers_back() {
    // SE-33, OF-02: its scheduler knows of them no more, and nobody else would have them
    let mut world = world(&[("web", slow(0))], None);
    world.agent("one", "cpus:4");
    let (web, _) = world.framework("web");
    world.now = world.now + Duration::from_micros(1);
    let offers = world.offered(web);
    let offers = vec![offers[0].id.clone()];
    let refuse = None;
    let outs = world.call(web, Call::Decline { offers, refuse });
    assert_eq!(outs, [rejected(web, CallKind::Decline)]);
    assert_eq!(world.free(), resources("cpus:4"));
    assert_eq!(world.master.turned_down(), 1);
}

#[test]
fn a_wish_that_is_turned_down_names_the_roles_in_which_it_was_not_heard() {
    // SE-33, OF-37: only there it has to be said again
    let mut world = world(&[("web", slow(0))], None);
    let web = world.connect(PeerRole::Framework, "web");
    let role = |name: &str| Role::new(name).unwrap();
    let own = ["a", "b", "c"].map(role);
    let framework = FrameworkInfo {
        roles: own.to_vec(),
        ..framework_info()
    };
    world.subscribe(web, framework);
    world.now = world.now + Duration::from_micros(1);
    let suppress = |roles: &[Role]| Call::Suppress {
        roles: roles.to_vec(),
    };
    let revive = |roles: &[Role]| Call::Revive {
        roles: roles.to_vec(),
    };
    let demand = Call::Demand {
        role: role("b"),
        demand: None,
    };
    for (call, roles) in [
        (suppress(&[]), &[][..]),
        (suppress(&own[..2]), &own[..2]),
        (revive(&own[2..]), &own[2..]),
        (demand, &own[1..2]),
    ] {
        let (kind, roles) = (call.kind(), roles.to_vec());
        let unheard = Event::Unheard { call: kind, roles };
        let outs = world.call(web, call);
        assert_eq!(outs, [to_framework(web, unheard), rejected(web, kind)]);
    }
    // A list that is too long would be turned down in any case.
    let outs = world.call(
        web,
        suppress(&vec![role("a"); limits::ROLES_PER_FRAMEWORK + 1]),
    );
    assert_eq!(outs, [rejected(web, CallKind::Suppress)]);
}

#[test]
fn who_ends_his_framework_is_heard() {
    // SE-33, FW-32: nobody would ask again once its scheduler is gone
    let mut world = world(&[("web", slow(0))], None);
    let (web, _) = world.framework("web");
    world.now = world.now + Duration::from_micros(1);
    world.call(web, Call::Teardown);
    assert_eq!(world.master.view().frameworks(), []);
}

#[test]
fn the_end_of_a_connection_waits_behind_what_was_said_over_it() {
    // SE-33: and takes no place
    let mut world = world(&[("web", slow(1))], None);
    let (web, id) = world.framework("web");
    assert_eq!(world.call(web, Call::Teardown), []);
    assert_eq!(world.lose(web), []);
    world.pass(SECOND);
    let ended = RegistryOp::EndFramework {
        id,
        reason: EndReason::TornDown,
        at: world.now,
    };
    assert_eq!(world.records.last(), Some(&ended));
    // Without a word before it, it does not wait.
    world.pass(SECOND);
    let (web, id) = world.framework("web");
    world.lose(web);
    let at = world.now;
    let away = RegistryOp::FrameworkAway { id, at };
    assert_eq!(world.records.last(), Some(&away));
}

#[test]
fn what_waits_of_a_connection_that_was_closed_takes_nobodys_turn() {
    // SE-33, FW-28
    let mut world = world(&[("web", slow(9))], None);
    let (old, id) = world.framework("web");
    assert_eq!(ask(&mut world, old, "a"), []);
    let new = world.connect(PeerRole::Framework, "web");
    let again = subscribe(framework_info_of(id));
    assert_eq!(world.call(new, again), []);
    assert_eq!(ask(&mut world, old, "b"), []);
    assert_eq!(ask(&mut world, new, "c"), []);
    let outs = world.pass(SECOND);
    assert_eq!(answered(&outs), [(old, "a".into())]);
    world.pass(SECOND);
    let outs = world.pass(SECOND);
    assert_eq!(answered(&outs), [(new, "c".into())]);
}

#[test]
fn who_cannot_even_subscribe_is_disconnected() {
    // SE-33
    let mut world = world(&[("web", slow(0))], None);
    world.framework("web");
    let peer = world.connect(PeerRole::Framework, "web");
    let outs = world.call(peer, subscribe(framework_info()));
    let why = "subscribe: more calls wait than may for this principal";
    assert_eq!(outs, [disconnect(peer, CloseReason::Overloaded, why)]);
}

//! Quotas and weights: what operators may say, that it holds, and that it is not forgotten.

use super::roles::{in_roles, role, subscribed};
use super::*;
use crate::protocol::operator::RoleView;
use crate::quota::Quota;
use crate::resources::{Ceilings, Milli};
use crate::roles::Role;

fn fresh() -> World {
    let mut world = World::drf(1, Registry::default());
    world.drain();
    world
}

fn quota(of: &str, guarantees: &str, limits: &str) -> (Role, Quota) {
    let quota = Quota {
        guarantees: Quantities::parse(guarantees).unwrap(),
        limits: Ceilings::parse(limits).unwrap(),
    };
    (role(of), quota)
}

/// An operator's word, and what came of it beside the answer.
fn say(world: &mut World, call: operator::Call) -> (Answer, Vec<Out>) {
    let peer = world.connect(PeerRole::Operator, "ann");
    let (id, after) = (RequestId(1), None);
    let request = operator::Request { id, call, after };
    let mut outs = world.input(Input::Operator { peer, request });
    let is_answer = |out: &Out| matches!(out, Output::Effect(Effect::Respond { .. }));
    let at = outs.iter().position(is_answer).expect("an answer");
    let Output::Effect(Effect::Respond { response, .. }) = outs.remove(at) else {
        unreachable!("it was found as one");
    };
    (response.answer, outs)
}

fn set(world: &mut World, quotas: &[(Role, Quota)], force: bool) -> (Answer, Vec<Out>) {
    let quotas = quotas.to_vec();
    say(world, operator::Call::UpdateQuota { quotas, force })
}

fn weigh(world: &mut World, weights: &[(&str, i64)]) -> (Answer, Vec<Out>) {
    let weight = |(of, thousandths): &(&str, i64)| {
        let weight = Milli::from_thousandths(*thousandths);
        (role(of), weight)
    };
    let weights = weights.iter().map(weight).collect();
    say(world, operator::Call::UpdateWeights { weights })
}

fn roles(world: &mut World) -> Vec<RoleView> {
    let operator = world.connect(PeerRole::Operator, "ann");
    let Answer::Roles(mut roles) = world.ask(operator, operator::Call::Roles) else {
        panic!("roles are expected");
    };
    roles.sort_by(|a, b| a.role.cmp(&b.role));
    roles
}

fn refusal(answer: Answer) -> (&'static str, String) {
    if let Answer::Conflict(why) = answer {
        return ("conflict", why);
    }
    let Answer::Invalid(why) = answer else {
        panic!("{answer:?}");
    };
    ("invalid", why)
}

#[test]
fn a_quota_is_written_down_before_it_is_answered_and_takes_back_what_is_in_its_way() {
    // FW-86, RQ-16, RQ-17, OF-07, I19
    let mut world = fresh();
    world.agent("one", "cpus:4;mem:400");
    let (peer, _) = subscribed(&mut world, &["eng"]);
    assert_eq!(world.offered(peer).len(), 1);
    let quotas = [quota("eng", "", "cpus:2")];
    let (answer, outs) = set(&mut world, &quotas, false);
    assert_eq!(answer, Answer::Updated);
    let quotas = quotas.to_vec();
    assert_eq!(
        outs,
        [
            Output::Persist(RegistryOp::SetQuotas { quotas }),
            to_framework(peer, Event::Rescind(offer_id(0))),
        ]
    );
    let again = world.pass(Duration::from_secs(2));
    let is_cut = |out: &Out| {
        let cut = resources("cpus:2;mem:400");
        matches!(
            out,
            Output::Effect(Effect::Scheduler { event: Event::Offers(offers), .. })
                if offers[0].resources == cut
        )
    };
    assert!(again.iter().any(is_cut), "{again:?}");
    // Nothing said twice: an empty quota takes it away.
    let (answer, _) = set(&mut world, &[quota("eng", "", "")], false);
    assert_eq!(answer, Answer::Updated);
    assert!(world.master.registry().quotas().is_empty());
}

#[test]
fn quotas_that_make_no_sense_change_nothing() {
    // VA-27, RQ-13: all or nothing, and each names what is wrong.
    let mut world = fresh();
    world.agent("one", "cpus:4;mem:400;cpus(*)<revocable>:9");
    let before = world.master.registry().clone();
    let good = quota("good", "cpus:1", "");
    let names: Vec<String> = (0..13).map(|n| alloc::format!("x{n}:1")).collect();
    for (quotas, kind, why) in [
        (
            vec![good.clone(), quota("good", "", "cpus:1")],
            "invalid",
            "good is named twice",
        ),
        (
            vec![good.clone(), quota("eng", "cpus:3", "cpus:2")],
            "invalid",
            "eng: 3 of \"cpus\" is guaranteed, and 2 is the limit",
        ),
        (
            vec![good.clone(), quota("eng", "", "mem:1099511627777")],
            "invalid",
            "1099511627777 of \"mem\" for eng: expected 1099511627776 at most",
        ),
        (
            vec![good.clone(), quota("eng", "cpus:1000000000001", "")],
            "invalid",
            "1000000000001 of \"cpus\" for eng: expected 1000000000000 at most",
        ),
        (
            vec![quota("eng", "", "cpus:1"), quota("eng/web", "cpus:2", "")],
            "invalid",
            "2 of \"cpus\" is promised in and below eng, whose limit is 1",
        ),
        (
            vec![quota("eng", "", &names.join(";"))],
            "invalid",
            "quotas have 13 names beside cpus, mem, disk and gpus, and 12 are counted",
        ),
        (
            vec![quota("eng", "cpus:4.5", "")],
            "conflict",
            "4.5 of \"cpus\" would be guaranteed, and all agents have 4",
        ),
    ] {
        let (answer, outs) = set(&mut world, &quotas, false);
        assert_eq!(refusal(answer), (kind, why.to_string()));
        assert_eq!(outs, []);
        assert_eq!(world.master.registry(), &before);
    }
    // What does not fit may be forced, what makes no sense may not.
    let (answer, _) = set(&mut world, &[quota("eng", "cpus:4.5", "")], true);
    assert_eq!(answer, Answer::Updated);
    let (answer, _) = set(&mut world, &[quota("eng", "cpus:3", "cpus:2")], true);
    assert_eq!(refusal(answer).0, "invalid");
    // Less of what does not fit is no new promise.
    let (answer, _) = set(&mut world, &[quota("eng", "cpus:4.2", "")], false);
    assert_eq!(answer, Answer::Updated);
}

#[test]
fn a_limit_below_what_is_used_has_to_be_forced_and_ends_no_task() {
    // RQ-13, RQ-17: what is merely offered is not used.
    let mut world = fresh();
    let (_, agent) = world.agent("one", "cpus:4;mem:400");
    let (peer, _) = subscribed(&mut world, &["eng"]);
    world.launch(peer, vec![task("t", &agent, "cpus:2;mem:100")]);
    world.pass(Duration::from_secs(2));
    let (answer, _) = set(&mut world, &[quota("eng", "", "cpus:1.5")], false);
    let why = "eng uses 2 of \"cpus\", and 1.5 would be its limit";
    assert_eq!(refusal(answer), ("conflict", why.to_string()));
    let (answer, _) = set(&mut world, &[quota("eng", "", "cpus:2")], false);
    assert_eq!(answer, Answer::Updated);
    let (answer, outs) = set(&mut world, &[quota("eng", "", "cpus:1")], true);
    assert_eq!(answer, Answer::Updated);
    let ends = |out: &Out| matches!(out, Output::Effect(Effect::Agent { .. }));
    assert!(!outs.iter().any(ends), "{outs:?}");
    // It was above its limit before, and still is: no conflict that is new.
    let (answer, _) = set(&mut world, &[quota("eng", "", "cpus:1;mem:300")], false);
    assert_eq!(answer, Answer::Updated);
}

#[test]
fn weights_are_above_zero_and_bounded() {
    // VA-28, RQ-08, RQ-11
    let mut world = fresh();
    for thousandths in [0, -1, 1_000_000_000_001] {
        let (answer, outs) = weigh(&mut world, &[("a", 2_000), ("b", thousandths)]);
        let (kind, why) = refusal(answer);
        assert_eq!(kind, "invalid");
        assert!(why.ends_with("for b: expected a weight above 0, and of 1000000000 at most"));
        assert_eq!(outs, []);
        assert!(world.master.registry().weights().is_empty());
    }
    let (answer, outs) = weigh(&mut world, &[("a", 2_000), ("b", 500)]);
    assert_eq!(answer, Answer::Updated);
    assert!(matches!(
        outs[..],
        [Output::Persist(RegistryOp::SetWeights { .. })]
    ));
    let (answer, _) = weigh(&mut world, &[("a", 1_000)]);
    assert_eq!(answer, Answer::Updated);
    let left: Vec<_> = world.master.registry().weights().keys().collect();
    assert_eq!(left, [&role("b")], "1 is what all weigh");
}

#[test]
fn a_new_leadership_knows_quotas_and_waits_for_agents() {
    // FW-76, FW-86, RQ-16, AL-07, RQ-14, I19
    let mut world = fresh();
    let names = ["one", "two", "three"];
    let agents = names.map(|name| world.agent(name, "cpus:4;mem:400").1);
    let (answer, _) = set(&mut world, &[quota("eng", "cpus:3", "cpus:3")], false);
    assert_eq!(answer, Answer::Updated);
    let (answer, _) = weigh(&mut world, &[("ops", 3_000)]);
    assert_eq!(answer, Answer::Updated);
    let registry = world.master.registry().clone();
    let mut world = World::drf(2, registry);
    world.drain();
    let seen: Vec<_> = roles(&mut world)
        .into_iter()
        .map(|it| (it.role.to_string(), it.weight, it.quota.limits.to_string()))
        .collect();
    let (one, three) = (Milli::from_units(1), Milli::from_units(3));
    assert_eq!(
        seen,
        [
            ("eng".to_string(), one, "cpus:3".to_string()),
            ("ops".to_string(), three, String::new()),
        ]
    );
    // Before agents are back nothing is known to be there; and yet what fits fits.
    let (answer, _) = set(&mut world, &[quota("eng", "cpus:12", "")], false);
    assert_eq!(answer, Answer::Updated);
    // Two of three are most of them.
    for (name, id) in names.into_iter().zip(agents).take(2) {
        assert!(world.master.allocator().stats().recovering);
        let peer = world.connect(PeerRole::Agent, name);
        let back = reregister(id, "cpus:4;mem:400", vec![], vec![]);
        world.agent_says(peer, back);
    }
    assert!(!world.master.allocator().stats().recovering);
}

#[test]
fn roles_are_listed_with_all_that_is_below_them() {
    // FW-76, RQ-21
    let mut world = fresh();
    let (_, agent) = world.agent("one", "cpus:4;mem:400;cpus(ops):1");
    let peer = world.connect(PeerRole::Framework, "web");
    world.subscribe(peer, in_roles(&["eng/web"]));
    world.launch(peer, vec![task("t", &agent, "cpus:2;mem:100")]);
    let seen = roles(&mut world);
    let names: Vec<_> = seen.iter().map(|it| it.role.as_str()).collect();
    assert_eq!(names, ["eng", "eng/web", "ops"]);
    let eng = &seen[0];
    assert_eq!((eng.frameworks, seen[1].frameworks), (0, 1));
    assert_eq!(eng.allocated.to_string(), "cpus:2;mem:100");
    assert_eq!(eng.dominant_share, 400_000);
    assert_eq!(seen[2].reserved.to_string(), "cpus:1");
    assert_eq!(seen[2].consumed.to_string(), "cpus:1");
}

//! New weights: which are taken, and what is asked back because of them.

use super::quota::{many, quota};
use super::*;
use crate::allocator::Grant;
use crate::allocator::drf::SorterKind;
use crate::resources::Milli;

/// Has a framework refuse for a day all that it is offered, until it is offered nothing.
fn refuse_all(rig: &mut Rig, framework: FrameworkKey, in_role: &str) {
    loop {
        rig.drf.tick(rig.now, &mut rig.out);
        let grants: Vec<_> = rig
            .out
            .drain()
            .filter_map(|it| grant_to(it, framework))
            .collect();
        if grants.is_empty() {
            return;
        }
        for grant in grants {
            rig.tell(Change::Returned {
                framework,
                role: role(in_role),
                agent: grant.agent,
                resources: grant.resources,
                grants: whichever(),
                refuse: Some(Duration::from_secs(86_400)),
            });
        }
    }
}

fn grant_to(output: Output<Never, Decision>, framework: FrameworkKey) -> Option<Grant> {
    match output {
        Output::Effect(Decision::Grant(grant)) => Some(grant),
        Output::Effect(Decision::Rescind { .. }) | Output::Persist(_) | Output::Free(_) => None,
    }
    .filter(|grant| grant.framework == framework)
}

fn weight(in_role: &str, thousandths: i64) -> Change {
    Change::WeightSet {
        role: role(in_role),
        weight: Milli::from_thousandths(thousandths),
    }
}

#[test]
fn a_weight_that_is_not_above_zero_is_ignored() {
    // AL-17, RQ-08: whoever draws lots would divide by nothing.
    let mut rig = Rig::with(Options {
        role_sorter: SorterKind::Random,
        ..Options::default()
    });
    rig.tell(weight("a", 2_500)).framework(A, &["a"]);
    for none in [0, -5, i64::MIN] {
        rig.tell(weight("a", none)).tell(weight("idle", none));
        let roles = rig.drf.roles();
        let [only] = &roles[..] else {
            panic!("a weight that was ignored keeps no role: {roles:?}");
        };
        assert_eq!(only.weight, Milli::from_thousandths(2_500));
    }
    rig.agent(A0, "cpus:1");
    assert_eq!(rig.says(), ["1: A/a on 0: cpus:1"]);
}

#[test]
fn a_slice_of_no_agents_is_one_of_one() {
    // Refusals lapse as passes go: a deadline in the past that nothing moves would spin forever.
    let mut rig = Rig::with(Options {
        agents_per_slice: 0,
        ..Options::default()
    });
    rig.framework(A, &["*"]).agent(A0, "cpus:2");
    assert_eq!(rig.says(), ["1: A on 0: cpus:2"]);
    rig.returns(A, A0, "cpus:2", 1);
    assert_eq!(rig.until(10_000), ["2000 ms: 2: A on 0: cpus:2"]);
}

#[test]
fn a_weight_takes_nothing_back_for_those_who_refuse_it() {
    // RQ-08, MESOS-4967: what comes back would go to whoever had it.
    let mut rig = Rig::new();
    rig.framework(B, &["b"]);
    many(&mut rig, 8, "cpus:1");
    refuse_all(&mut rig, B, "b");
    assert_eq!(rig.framework(A, &["a"]).says().len(), 8);
    rig.tell(weight("b", 3_000));
    assert_eq!(rig.says(), [""; 0]);
    // Another one in the branch would take it, or one in a branch with more than that.
    rig.framework(C, &["b/c"]).tell(weight("b", 3_500));
    let said = rig.says();
    assert_eq!(said.len(), 6, "{said:?}");
    assert!(said.iter().all(|it| it.ends_with(": Weight")), "{said:?}");
}

#[test]
fn a_weight_takes_back_for_the_next_who_would_take_it() {
    // RQ-08: B has the least and refuses, so what A has too much is for C.
    let mut rig = Rig::new();
    rig.framework(B, &["b"]);
    rig.agent(A1, "cpus:1").used_in(C, "c", A1, "cpus:1");
    many(&mut rig, 8, "cpus:1");
    refuse_all(&mut rig, B, "b");
    rig.framework(A, &["a"]).framework(C, &["c"]);
    assert_eq!(rig.says().len(), 8);
    let roles = rig.drf.roles();
    let held: Vec<_> = roles.iter().map(|it| it.booked.amount("cpus")).collect();
    assert!(held[0] >= Milli::from_units(4), "{held:?}");
    assert_eq!(held[1], Milli::ZERO);
    rig.tell(weight("a", 500));
    // Half the weight is due half as much: three and six of nine.
    let said = rig.says();
    let excess = held[0].saturating_sub(Milli::from_units(3));
    assert_eq!(Milli::from_units(said.len() as i64), excess, "{said:?}");
}

#[test]
fn what_would_be_kept_free_is_not_taken_back_for_a_weight() {
    // RQ-08, AL-24: what A gives up above the guarantee of Q goes to B, beside what is kept free.
    let mut rig = Rig::new();
    rig.tell(quota("q", "cpus:2", ""));
    rig.framework(A, &["a"]).framework(B, &["b"]);
    many(&mut rig, 10, "cpus:1");
    assert_eq!(rig.says().len(), 8);
    rig.tell(weight("b", 3_000));
    assert_eq!(rig.says().len(), 2);
    let mut rig = Rig::new();
    rig.framework(A, &["a"]).framework(B, &["b"]);
    many(&mut rig, 8, "cpus:1");
    assert_eq!(rig.says().len(), 8);
    rig.tell(quota("b", "", "cpus:4")).tell(weight("b", 3_000));
    assert_eq!(rig.says(), [""; 0], "its limit forbids B to have more");
}

#[test]
fn a_weight_shifts_grants_below_a_limit_that_is_used_up() {
    // RQ-08: what goes from one to the other counts once against the limit above both.
    for limits in ["", "cpus:8"] {
        let mut rig = Rig::new();
        rig.tell(quota("eng", "", limits));
        rig.framework(A, &["eng/a"]).framework(B, &["eng/b"]);
        for n in 0..8 {
            rig.agent(AgentKey::from_raw(n, 0), "cpus:1");
        }
        assert_eq!(rig.says().len(), 8);
        rig.tell(Change::WeightSet {
            role: role("eng/b"),
            weight: Milli::from_units(3),
        });
        assert_eq!(rig.says().len(), 2, "with the limits {limits:?}");
    }
}

#[test]
fn a_weight_takes_nothing_back_that_nobody_may_have() {
    let mut rig = Rig::new();
    rig.framework(A, &["a"]).framework(B, &["b"]);
    for n in 0..8 {
        rig.agent(AgentKey::from_raw(n, 0), "cpus:1");
    }
    assert_eq!(rig.says().len(), 8);
    rig.tell(Change::Whitelisted {
        hostnames: Some([String::from("none")].into()),
    });
    rig.tell(Change::WeightSet {
        role: role("b"),
        weight: Milli::from_units(3),
    });
    assert_eq!(rig.says(), [""; 0]);
}

//! What bounds hold back is looked at again when they moved, and not whenever anything happens.

use super::quota::quota;
use super::*;
use crate::allocator::drf::DemandRule;
use crate::allocator::slice::LOOK_WORK;
use crate::constraints::{Comparison, Constraint, Constraints, Predicate, Selector};
use crate::demand::{Demand, Shape};
use crate::resources::{Milli, Quantities};

const DAY: u64 = 86_400_000;

/// A role with quota, its guarantees and its limits.
type Quotas<'a> = (&'a str, &'a str, &'a str);

/// Agents of which `eng` can have a part at most, and everybody there refused what he could have.
fn refused(frameworks: u32, agents: u32, (of, guarantees, limits): Quotas<'_>) -> Rig {
    let mut rig = Rig::new();
    rig.tell(quota(of, guarantees, limits));
    for n in 0..frameworks {
        rig.framework(FrameworkKey::from_raw(n, 0), &["eng"]);
    }
    for n in 0..agents {
        rig.agent(AgentKey::from_raw(n, 0), "cpus:8;mem:100");
    }
    let end = Time::from_micros(4_000_000_000);
    while let Some(due) = rig.drf.deadline().filter(|due| *due < end) {
        rig.now = rig.now.max(due);
        rig.drf.tick(rig.now, &mut rig.out);
        let grants: Vec<_> = rig.out.drain().collect();
        for grant in grants {
            let Output::Effect(Decision::Grant(grant)) = grant else {
                panic!("{grant:?}");
            };
            let returned = Change::Returned {
                framework: grant.framework,
                role: grant.role,
                agent: grant.agent,
                resources: grant.resources,
                grants: whichever(),
                refuse: Some(Duration::from_millis(DAY)),
            };
            rig.tell(returned);
        }
    }
    rig.now = end;
    rig
}

/// How many looks a minute takes in which something of no consequence happens each second.
fn looks_in_a_minute(rig: &mut Rig) -> usize {
    let before = rig.drf.scratch.work();
    for _ in 0..60 {
        rig.tell(Change::WeightSet {
            role: role("idle"),
            weight: Milli::from_units(1),
        });
        let said = rig.until(rig.now.as_micros() / 1_000 + 1_000);
        assert_eq!(said, [""; 0]);
    }
    rig.drf.scratch.work() - before
}

#[test]
fn what_bounds_hold_back_costs_nothing_while_they_stay() {
    for quotas in [
        ("eng", "", "cpus:4"),
        ("eng", "", "cpus:0;mem:0"),
        ("ops", "cpus:316", ""),
        ("ops", "cpus:100000", ""),
    ] {
        let mut rig = refused(10, 40, quotas);
        assert!(
            !rig.drf.held_back.is_empty(),
            "{quotas:?} hold something back"
        );
        let _first = looks_in_a_minute(&mut rig);
        assert_eq!(looks_in_a_minute(&mut rig), 0, "{quotas:?}");
    }
}

#[test]
fn what_bounds_hold_back_is_offered_once_they_move() {
    let mut rig = refused(3, 4, ("eng", "", "cpus:4"));
    let _settled = looks_in_a_minute(&mut rig);
    rig.framework(FrameworkKey::from_raw(9, 0), &["eng"]);
    assert_eq!(rig.says().len(), 4, "who is new refused nothing");
    rig.tell(quota("eng", "", "cpus:6"));
    let said = rig.until(rig.now.as_micros() / 1_000 + 3_000);
    assert!(!said.is_empty(), "more may be had than was refused");
}

#[test]
fn what_is_used_may_leave_what_somebody_wants() {
    // By constraints on what is offered, and by shapes: less can be what more was not.
    let most = Constraint {
        selector: Selector::Offered("cpus".into()),
        predicate: Predicate::Number(Comparison::AtMost, Milli::from_units(1)),
    };
    let mut profile = FrameworkProfile::new("A", roles(&["*"]));
    profile.roles[0].constraints = Some(Constraints::new([[most].to_vec()].to_vec()).unwrap());
    let mut rig = Rig::new();
    rig.tell(Change::FrameworkAdded {
        framework: A,
        profile,
    });
    rig.agent(A0, "cpus:2");
    assert_eq!(rig.says(), [""; 0]);
    rig.used(B, A0, "cpus:1");
    assert_eq!(rig.says().len(), 1);

    let mut rig = Rig::with(Options {
        demands: DemandRule::Honoured,
        ..Options::default()
    });
    rig.framework(A, &["*"]);
    let shape = |each: &str| Shape::new(Quantities::parse(each).unwrap(), 1).unwrap();
    let shapes = [shape("cpus:2;mem:64"), shape("mem:100")].to_vec();
    rig.tell(Change::Demanded {
        framework: A,
        role: role("*"),
        demand: Some(Demand::new(shapes).unwrap()),
    });
    rig.agent(A0, "cpus:2;mem:120");
    assert_eq!(rig.says().len(), 1);
    rig.returns(A, A0, "cpus:2;mem:64", DAY);
    assert_eq!(rig.says(), [""; 0]);
    rig.used(B, A0, "cpus:1");
    assert_eq!(rig.says().len(), 1, "the other shape still fits");
}

#[test]
fn each_shape_of_a_demand_counts_as_work() {
    // A slice is bounded by what is done in it, so long demands make more of them.
    let slices = |shapes: usize| {
        let mut rig = Rig::with(Options {
            demands: DemandRule::Honoured,
            ..Options::default()
        });
        let shape = Shape::new(Quantities::parse("cpus:9;mem:1").unwrap(), 1).unwrap();
        for n in 0..20 {
            let framework = FrameworkKey::from_raw(n, 0);
            rig.framework(framework, &["*"]);
            let demand = Some(Demand::new(alloc::vec![shape.clone(); shapes]).unwrap());
            let role = role("*");
            rig.tell(Change::Demanded {
                framework,
                role,
                demand,
            });
        }
        for n in 0..300 {
            rig.agent(AgentKey::from_raw(n, 0), "cpus:8;mem:100");
        }
        let mut slices = 0;
        while rig.drf.deadline().is_some_and(|due| due <= rig.now) {
            rig.drf.tick(rig.now, &mut rig.out);
            slices += 1;
        }
        slices
    };
    let (few, many) = (slices(1), slices(200));
    assert!(many >= 20 * few, "{few} slices and then {many}");
}

#[test]
fn a_weight_asks_a_bounded_number() {
    let mut rig = Rig::new();
    rig.framework(A, &["a"]);
    for n in 0..400 {
        rig.agent(AgentKey::from_raw(n, 0), "cpus:8");
    }
    while rig.drf.deadline().is_some_and(|due| due <= rig.now) {
        rig.drf.tick(rig.now, &mut rig.out);
    }
    for n in 0..400 {
        let mut profile = FrameworkProfile::new(format!("{n}"), roles(&["b"]));
        let least = Quantities::parse("cpus:9").unwrap();
        profile.roles[0].min_allocatable = Some([least].to_vec());
        let framework = FrameworkKey::from_raw(10 + n, 0);
        let added = Change::FrameworkAdded { framework, profile };
        rig.drf.handle(rig.now, added, &mut rig.out);
    }
    let set = Change::WeightSet {
        role: role("b"),
        weight: Milli::from_units(3),
    };
    let before = rig.drf.scratch.work();
    rig.drf.handle(rig.now, set, &mut rig.out);
    let asked = (rig.drf.scratch.work() - before) / LOOK_WORK;
    assert_eq!(asked, 1 << 16, "of all 160,000 pairs");
}

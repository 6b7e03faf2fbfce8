//! Who is looked at again, though there was nothing for him before.

use alloc::vec;

use super::*;
use crate::allocator::drf::{DemandRule, Packing};
use crate::allocator::{FrameworkCapabilities, Subscription};
use crate::constraints::{Comparison, Constraint, Constraints, Predicate, Selector};
use crate::demand::{Demand, Shape};
use crate::quota::Quota;
use crate::resources::{Ceilings, Milli, Quantities};

const SHARED: &str = r#"disk(eng)<volume="v",rw="data",shared>:10"#;

fn limit(in_role: &str, limits: &str) -> Change {
    Change::QuotaSet {
        role: role(in_role),
        quota: Quota {
            limits: Ceilings::parse(limits).unwrap(),
            ..Quota::default()
        },
    }
}

fn joins(framework: FrameworkKey, in_role: &str, of: Selector, predicate: Predicate) -> Change {
    let constraint = Constraint {
        selector: of,
        predicate,
    };
    Change::FrameworkAdded {
        framework,
        profile: FrameworkProfile {
            name: letter(framework),
            roles: vec![Subscription {
                constraints: Some(Constraints::new(vec![vec![constraint]]).unwrap()),
                ..Subscription::new(role(in_role))
            }],
            capabilities: FrameworkCapabilities::default(),
        },
    }
}

fn joins_for_offers(framework: FrameworkKey, in_role: &str, cpus: i64) -> Change {
    let most = Predicate::Number(Comparison::AtMost, Milli::from_units(cpus));
    joins(framework, in_role, Selector::Offered("cpus".into()), most)
}

// OF-41, OF-47
#[test]
fn what_was_too_much_is_offered_once_others_had_a_part() {
    let mut rig = Rig::new();
    rig.tell(limit("b", "cpus:4"));
    rig.tell(joins_for_offers(A, "a", 4)).framework(B, &["b"]);
    rig.agent(A0, "cpus:8");
    assert_eq!(rig.says(), ["1: B/b on 0: cpus:4", "2: A/a on 0: cpus:4"]);
    // What is too much stays so, as long as nobody takes anything.
    rig.agent(A1, "cpus:9");
    assert_eq!(rig.until(5_000), [""; 0]);
}

// OF-41, OF-47
#[test]
fn what_others_left_of_a_packed_agent_is_offered_though_it_had_its_turn() {
    // Whichever agent comes first, B is sent to the fuller one, which A has passed by or not.
    for seed in 0..16 {
        let mut rig = Rig::with(Options {
            seed,
            packing: [(role("b"), Packing::Spread)].into(),
            ..Options::default()
        });
        rig.tell(limit("b", "cpus:4"));
        rig.tell(joins_for_offers(A, "a", 4)).framework(B, &["b"]);
        rig.agent(A0, "cpus:8").agent(A1, "cpus:7");
        let expected = ["1: B/b on 0: cpus:4", "2: A/a on 0: cpus:4"];
        assert_eq!(rig.says(), expected, "seed {seed}");
    }
}

// OF-41, AL-31
#[test]
fn what_was_too_much_of_a_demand_is_offered_when_less_is_demanded() {
    let mut rig = Rig::with(Options {
        demands: DemandRule::Honoured,
        ..Options::default()
    });
    rig.tell(joins_for_offers(A, "a", 2));
    let shape = Shape::new(Quantities::parse("cpus:1").unwrap(), 4).unwrap();
    rig.tell(Change::Demanded {
        framework: A,
        role: role("a"),
        demand: Some(Demand::new(vec![shape]).unwrap()),
    });
    rig.agent(A0, "cpus:4");
    assert_eq!(rig.says(), [""; 0]);
    rig.agent(A1, "cpus:2");
    assert_eq!(rig.says(), ["1: A/a on 1: cpus:2"]);
    // Four were too much, and two more are not. That is seen at the next interval.
    assert_eq!(rig.until(5_000), ["1000 ms: 2: A/a on 0: cpus:2"]);
}

// AL-12, AL-40
#[test]
fn an_agent_without_its_graphics_processor_is_for_everybody() {
    let mut rig = Rig::new();
    rig.framework(A, &["*"]).agent(A0, "cpus:8;gpus:1");
    assert_eq!(rig.says(), [""; 0]);
    rig.tell(Change::FreeConverted {
        agent: A0,
        before: res("gpus:1"),
        after: Resources::new(),
    });
    assert_eq!(rig.says(), ["1: A on 0: cpus:8"]);
}

// OF-42, AL-40
#[test]
fn constraints_on_the_total_are_asked_again_when_an_operator_converts() {
    let mut rig = Rig::new();
    let least = Predicate::Number(Comparison::AtLeast, Milli::from_units(40));
    rig.tell(joins(A, "a", Selector::Total("disk".into()), least));
    rig.agent(A0, "cpus:8;disk:30");
    assert_eq!(rig.says(), [""; 0]);
    rig.tell(Change::FreeConverted {
        agent: A0,
        before: res("disk:30"),
        after: res("disk:50"),
    });
    assert_eq!(rig.says(), ["1: A/a on 0: cpus:8;disk:50"]);
}

// OF-42, AL-39
#[test]
fn constraints_on_the_total_are_asked_again_when_a_framework_converts() {
    let mut rig = Rig::new();
    let least = Predicate::Number(Comparison::AtLeast, Milli::from_units(40));
    rig.tell(joins(A, "a", Selector::Total("disk".into()), least));
    rig.tell(limit("b", "cpus:4")).framework(B, &["b"]);
    rig.agent(A0, "cpus:8;disk:30");
    assert_eq!(rig.says(), ["1: B/b on 0: cpus:4;disk:30"]);
    rig.tell(Change::Converted {
        framework: B,
        role: role("b"),
        agent: A0,
        grants: whichever(),
        before: res("disk:30"),
        after: res("disk:50"),
    });
    assert_eq!(rig.says(), ["2: A/a on 0: cpus:4"]);
}

// AL-15, AL-39, RM-48
#[test]
fn a_copy_of_a_shared_volume_that_is_converted_counts_no_less_for_those_in_use() {
    let mut rig = Rig::new();
    rig.framework(A, &["eng"])
        .agent(A0, &format!("cpus:4;{SHARED}"));
    let booked = |rig: &Rig| rig.drf.stats().booked.to_string();
    assert_eq!(rig.says().len(), 1);
    rig.tell(Change::Accepted {
        framework: A,
        role: role("eng"),
        agent: A0,
        grants: whichever(),
        resources: res(&format!("cpus:1;{SHARED}")),
    });
    assert_eq!(booked(&rig), "cpus:4;disk:10");
    // A copy is free again, and granted to the same: that adds nothing.
    rig.tell(Change::Returned {
        framework: A,
        role: role("eng"),
        agent: A0,
        resources: res("cpus:3"),
        grants: whichever(),
        refuse: None,
    });
    assert_eq!(rig.until(1_000).len(), 1);
    assert_eq!(booked(&rig), "cpus:4;disk:10");
    let converted = |before: &str, after: &str| Change::Converted {
        framework: A,
        role: role("eng"),
        agent: A0,
        grants: whichever(),
        before: res(before),
        after: res(after),
    };
    // What it uses counts on, beside what the other copy has become.
    rig.tell(converted(SHARED, "disk(eng):10"));
    assert_eq!(booked(&rig), "cpus:4;disk:20");
    rig.tell(converted("disk(eng):10", SHARED));
    assert_eq!(booked(&rig), "cpus:4;disk:10");
}

// OF-41, RQ-12
#[test]
fn what_was_too_much_is_offered_once_quota_keeps_some_of_it_from_everybody() {
    let mut rig = Rig::new();
    let none = Predicate::NotExists;
    rig.tell(joins(A, "a", Selector::Offered("disk".into()), none));
    rig.agent(A0, "cpus:2;disk:8");
    assert_eq!(rig.says(), [""; 0]);
    rig.tell(limit("a", "disk:0"));
    assert_eq!(rig.says(), ["1: A/a on 0: cpus:2"]);
}

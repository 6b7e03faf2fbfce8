//! Roles: what is theirs and not a framework's, and what holds for those below them.

use alloc::vec;

use super::*;
use crate::allocator::{Obstacle, Subscription};
use crate::attributes::Attributes;
use crate::constraints::{Constraint, Constraints, Predicate, Selector};
use crate::quota::Quota;
use crate::resources::{Ceilings, Milli};

fn booked_in(rig: &Rig, of: &str) -> String {
    let mut all = rig.drf.roles().into_iter();
    let figures = all.find(|it| it.role == role(of)).expect("it is known");
    figures.booked.to_string()
}

#[test]
fn a_role_below_another_is_a_part_of_it() {
    // RQ-04: together the two below `eng` have as much as `ops`, though it is one against two.
    let mut rig = Rig::new();
    rig.framework(A, &["eng/a"])
        .framework(B, &["eng/b"])
        .framework(C, &["ops"]);
    for n in 0..8 {
        rig.agent(AgentKey::from_raw(n, 0), "cpus:1");
    }
    assert_eq!(rig.says().len(), 8);
    let shares = ["eng", "ops", "eng/a", "eng/b"].map(|of| booked_in(&rig, of));
    assert_eq!(shares, ["cpus:4", "cpus:4", "cpus:2", "cpus:2"]);

    // A weight counts among the children of one role, and the role as a whole has no more by it.
    let mut rig = Rig::new();
    rig.tell(Change::WeightSet {
        role: role("eng/a"),
        weight: Milli::from_units(3),
    });
    rig.framework(A, &["eng/a"])
        .framework(B, &["eng/b"])
        .framework(C, &["ops"]);
    for n in 0..8 {
        rig.agent(AgentKey::from_raw(n, 0), "cpus:1");
    }
    assert_eq!(rig.says().len(), 8);
    let shares = ["eng", "ops", "eng/a", "eng/b"].map(|of| booked_in(&rig, of));
    assert_eq!(shares, ["cpus:4", "cpus:4", "cpus:3", "cpus:1"]);
}

#[test]
fn a_role_has_what_is_reserved_above_it_and_the_limit_above_it() {
    // RQ-04: the reservation of the parent is of use to the child, not the other way round; and
    // the quota of the parent is that of all below it together.
    let mut rig = Rig::new();
    rig.framework(B, &["eng"]).agent(A0, "cpus(eng/a):1");
    assert_eq!(rig.says(), [""; 0]);
    rig.framework(A, &["eng/a"]);
    assert_eq!(rig.says(), ["1: A/eng/a on 0: cpus(eng/a):1"]);
    rig.tell(Change::FrameworkRemoved { framework: B });
    assert_eq!(
        rig.agent(A1, "cpus(eng):1").says(),
        ["2: A/eng/a on 1: cpus(eng):1"]
    );

    let mut rig = Rig::new();
    let limits = Ceilings::parse("cpus:3").unwrap();
    rig.tell(Change::QuotaSet {
        role: role("eng"),
        quota: Quota {
            limits,
            ..Quota::default()
        },
    });
    rig.agent(A0, "cpus:2").agent(A1, "cpus:4");
    rig.used_in(A, "eng/a", A0, "cpus:2");
    rig.framework(B, &["eng/b/c"]);
    assert_eq!(rig.says(), ["1: B/eng/b/c on 1: cpus:1"]);
}

#[test]
fn what_is_granted_in_a_role_is_held_in_that_role_only() {
    // RQ-06
    let mut rig = Rig::new();
    rig.framework(A, &["x", "y"]).agent(A0, "cpus:4");
    assert_eq!(rig.says(), ["1: A/x on 0: cpus:4"]);
    let accepted = |of: &str, resources: &str| Change::Accepted {
        framework: A,
        role: role(of),
        agent: A0,
        grants: whichever(),
        resources: res(resources),
    };
    let returned =
        |of: &str, resources: &str, from| again_free(from, (A, role(of), A0), res(resources), None);
    // In the other role nothing of it can be given back or changed.
    rig.tell(returned("y", "cpus:1", Booking::Offered))
        .tell(Change::Converted {
            framework: A,
            role: role("y"),
            agent: A0,
            grants: whichever(),
            before: res("cpus:1"),
            after: res("cpus(y):1"),
        });
    assert_eq!(rig.says(), [""; 0]);
    let booked = |rig: &Rig| ["x", "y"].map(|of| booked_in(rig, of));
    assert_eq!(booked(&rig), ["cpus:4", ""]);
    assert_eq!(rig.drf.stats().total.to_string(), "cpus:4");
    // What the task of one role used is not free by word of the other.
    rig.tell(accepted("x", "cpus:4"))
        .tell(returned("y", "cpus:4", Booking::Allocated));
    assert_eq!(rig.says(), [""; 0]);
    assert_eq!(booked(&rig), ["cpus:4", ""]);
    rig.tell(returned("x", "cpus:4", Booking::Allocated));
    // Equal shares; `x` had a grant already.
    assert_eq!(rig.says(), ["2: A/y on 0: cpus:4"]);
    assert_eq!(booked(&rig), ["", "cpus:4"]);
}

#[test]
fn what_a_framework_reserved_stays_with_its_role() {
    // RM-38, RM-32: the framework goes, and with it its tasks; the reservation does not, and it is
    // for any framework of the role and for nobody else.
    let reserved = r#"cpus(*)<dynamic="x",principal="a">:3"#;
    let mut rig = Rig::new();
    rig.framework(A, &["x"]).agent(A0, "cpus:4").says();
    rig.tell(Change::Converted {
        framework: A,
        role: role("x"),
        agent: A0,
        grants: whichever(),
        before: res("cpus:3"),
        after: res(reserved),
    });
    rig.tell(Change::Accepted {
        framework: A,
        role: role("x"),
        agent: A0,
        grants: whichever(),
        resources: res(reserved),
    });
    rig.tell(Change::FrameworkRemoved { framework: A });
    rig.framework(C, &["y"]);
    assert_eq!(rig.says(), ["2: C/y on 0: cpus:1"]);
    let mut all = rig.drf.roles().into_iter();
    let x = all.find(|it| it.role == role("x")).expect("it is reserved");
    assert_eq!(x.reserved.to_string(), "cpus:3");
    rig.framework(B, &["x"]);
    assert_eq!(rig.says(), [format!("3: B/x on 0: {reserved}")]);
}

#[test]
fn who_is_kept_out_by_constraints_is_told_by_role() {
    // OF-46: of two roles of a framework one has a constraint, and it excludes one of two agents.
    let rack = |text: &str| AgentTraits {
        attributes: Attributes::parse(text).unwrap(),
        ..AgentTraits::default()
    };
    let only = Constraint {
        selector: Selector::Attribute("rack".into()),
        predicate: Predicate::TextEquals("r1".into()),
    };
    let picky = Subscription {
        constraints: Some(Constraints::new(vec![vec![only]]).unwrap()),
        ..Subscription::new(role("x"))
    };
    let mut rig = Rig::new();
    rig.tell(Change::FrameworkAdded {
        framework: A,
        profile: FrameworkProfile {
            name: letter(A),
            roles: vec![picky, Subscription::new(role("y"))],
            ..FrameworkProfile::default()
        },
    });
    for (agent, attributes) in [(A0, "rack:r1"), (A1, "rack:r2")] {
        rig.tell(Change::AgentAdded {
            agent,
            total: res("cpus:1"),
            traits: rack(attributes),
        });
    }
    rig.says();
    let excluded = |of: &str| {
        let all = rig.drf.explain(A, &role(of)).into_iter();
        let excluded = all.filter(|(_, why)| matches!(why, Obstacle::Constraint(_)));
        excluded.map(|(agent, _)| agent).collect::<Vec<_>>()
    };
    assert_eq!(excluded("x"), [A1]);
    assert_eq!(excluded("y"), []);
}

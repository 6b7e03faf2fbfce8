//! Several unanswered grants of one agent, by themselves and answered together; changes that change
//! less, or more, than they say.

use alloc::vec;

use super::struck::{demanded, idle, ticks};
use super::*;
use crate::constraints::{Comparison, Constraint, Constraints, Predicate, Selector};
use crate::resources::Milli;

/// A, in the role `eng`, wants agents with no more of a disk in all.
fn joins_for_small_disks(rig: &mut Rig, units: i64) {
    let most = Constraint {
        selector: Selector::Total("disk".into()),
        predicate: Predicate::Number(Comparison::AtMost, Milli::from_units(units)),
    };
    let mut profile = FrameworkProfile::new("A", roles(&["eng"]));
    profile.roles[0].constraints = Some(Constraints::new(vec![vec![most]]).unwrap());
    rig.tell(Change::FrameworkAdded {
        framework: A,
        profile,
    });
}

#[test]
fn who_is_barred_by_a_total_hears_of_a_conversion_into_one_more_copy_of_a_volume() {
    let mut rig = Rig::new();
    joins_for_small_disks(&mut rig, 6);
    rig.agent(
        A0,
        r#"cpus:1;disk(eng):6;disk(eng)<volume="s",rw="d",shared>:6"#,
    );
    assert_eq!(idle(&mut rig, 2), [""; 0], "there are twelve");
    // A copy adds nothing, so six are left.
    rig.drf.handle(
        rig.now,
        Change::FreeConverted {
            agent: A0,
            before: res("disk(eng):6"),
            after: res(r#"disk(eng)<volume="s",rw="d",shared>:6"#),
        },
        &mut rig.out,
    );
    let said = idle(&mut rig, 10);
    assert!(said.iter().any(|it| it.contains("A/eng on 0")), "{said:?}");
}

#[test]
fn who_declines_a_grant_together_with_a_used_one_waits_as_well() {
    let mut rig = Rig::new();
    grants(&mut rig, &[4, 4]);
    // It uses a part of one, and declines the rest with another that it did not touch.
    rig.accepts_of(&[1], A, A0, "cpus:1");
    rig.returns_of(&[1, 2], A, A0, "cpus:7");
    assert_eq!(rig.says(), [""; 0], "or it would be offered it for ever");
    assert_eq!(rig.until(3_000), ["3000 ms: 3: A on 0: cpus:7"]);
    // Who used a part of both keeps its place.
    rig.accepts_of(&[3], A, A0, "cpus:1");
    rig.returns_of(&[3], A, A0, "cpus:6");
    assert_eq!(rig.says(), ["4: A on 0: cpus:6"]);
}

#[test]
fn what_expired_and_was_used_together_with_another_grant_is_a_leftover() {
    let mut rig = expiring();
    grants(&mut rig, &[4, 4]);
    assert_eq!(rig.until(11_500), ["11000 ms: rescind 1: Expired"]);
    rig.accepts_of(&[1, 2], A, A0, "cpus:1");
    rig.returns_of(&[1, 2], A, A0, "cpus:7");
    assert_eq!(rig.says(), ["3: A on 0: cpus:7"], "it waits for nothing");
}

#[test]
fn numbers_that_would_be_there_twice_keep_grants_apart() {
    // OF-10
    let mut rig = Rig::with(Options {
        most_offered: Some(crate::resources::Quantities::parse("ports:6").unwrap()),
        ..Options::default()
    });
    rig.agent(A0, "cpus:4;ports:[1-5]").used(B, A0, "cpus:2");
    rig.framework(A, &["*"]);
    assert_eq!(rig.says(), ["1: A on 0: cpus:2;ports:[1-5]"]);
    rig.ends(B, A0, "cpus:2");
    assert_eq!(rig.says(), ["2: A on 0: cpus:2"]);
    rig.tell(Change::Converted {
        framework: A,
        role: Role::any(),
        agent: A0,
        grants: ids(&[2]),
        before: res("cpus:1"),
        after: res("ports:[1-3]"),
    });
    // Each is returned by itself: it is about the first that is enough.
    rig.returns_of(&[1, 2], A, A0, "cpus:2;ports:[1-5]");
    rig.returns_of(&[1, 2], A, A0, "cpus:1;ports:[1-3]");
    assert_eq!(rig.drf.stats().booked.to_string(), "");
}

#[test]
fn a_conversion_that_is_refused_joins_nothing() {
    let mut rig = expiring();
    grants(&mut rig, &[4, 4]);
    rig.tell(Change::Converted {
        framework: A,
        role: Role::any(),
        agent: A0,
        grants: ids(&[1, 2]),
        before: res("cpus:5"),
        after: res("cpus:9223372036854775"),
    });
    assert_eq!(
        rig.until(60_000),
        [
            "11000 ms: rescind 1: Expired",
            "12000 ms: rescind 2: Expired"
        ]
    );
}

#[test]
fn a_demand_that_counts_for_nothing_has_nobody_looked_at() {
    // Demands are ignored by default, and a framework may state them as often as it likes.
    let mut rig = Rig::new();
    rig.framework(A, &["*"]);
    for n in 0..100 {
        rig.agent(AgentKey::from_raw(n, 0), "cpus:8");
    }
    assert_eq!(rig.says().len(), 100);
    for n in 0..100 {
        rig.returns(A, AgentKey::from_raw(n, 0), "cpus:8", 86_400_000);
    }
    assert_eq!(idle(&mut rig, 5), [""; 0]);
    let before = rig.drf.scratch.work();
    rig.tell(demanded(A, "*", &[("cpus:1", 1)]));
    ticks(&mut rig);
    let work = rig.drf.scratch.work() - before;
    assert!(work < 100, "{work} for a change that changes nothing");
}

#[test]
fn a_grant_expires_though_others_beside_it_are_declined() {
    let mut rig = Rig::with(Options {
        lease: Some(Duration::from_secs(10)),
        ..Options::default()
    });
    rig.agent(A0, "cpus:8").used(B, A0, "cpus:4");
    rig.framework(A, &["*"]);
    assert_eq!(rig.says(), ["1: A on 0: cpus:4"]);
    let mut said = Vec::new();
    // It never answers that, and declines at once what comes back every five seconds.
    for n in 1..=20 {
        said.extend(rig.until(n * 5_000));
        rig.ends(B, A0, "cpus:2");
        said.extend(rig.says());
        rig.returns(A, A0, "cpus:2", 0).used(B, A0, "cpus:2");
    }
    assert!(
        said.iter().any(|it| it.contains("rescind 1: Expired")),
        "it is held for 100 s: {said:?}"
    );
}

/// Grants expire after ten seconds.
fn expiring() -> Rig {
    Rig::with(Options {
        lease: Some(Duration::from_secs(10)),
        ..Options::default()
    })
}

/// A is granted `amounts` of one agent, one second after the other.
fn grants(rig: &mut Rig, amounts: &[u64]) {
    let all: u64 = amounts.iter().sum();
    rig.agent(A0, &format!("cpus:{all}"));
    rig.used(B, A0, &format!("cpus:{all}"));
    rig.framework(A, &["*"]);
    for (id, amount) in (1..).zip(amounts) {
        assert_eq!(rig.until(id * 1_000), [""; 0]);
        rig.ends(B, A0, &format!("cpus:{amount}"));
        assert_eq!(rig.says(), [format!("{id}: A on 0: cpus:{amount}")]);
    }
}

#[test]
fn what_is_answered_of_one_grant_leaves_those_alike_as_they_are() {
    for (answered, left) in [(1, 2), (2, 1)] {
        let mut rig = expiring();
        grants(&mut rig, &[4, 4]);
        rig.accepts_of(&[answered], A, A0, "cpus:1");
        rig.tell(Change::Returned {
            framework: A,
            role: Role::any(),
            agent: A0,
            grants: ids(&[answered]),
            resources: res("cpus:3"),
            refuse: Some(Duration::from_secs(3_600)),
        });
        let due = 10_000 + left * 1_000;
        let expired = format!("{due} ms: rescind {left}: Expired");
        assert_eq!(rig.until(60_000), [expired]);
    }
}

#[test]
fn a_joint_accept_is_about_the_grants_that_it_names() {
    // The first grant alone would be enough, and so would the first two.
    let mut rig = expiring();
    grants(&mut rig, &[4, 2, 2]);
    rig.accepts_of(&[2, 3], A, A0, "cpus:3");
    assert_eq!(
        rig.until(60_000),
        [
            "11000 ms: rescind 1: Expired",
            // What is left of the other two ends with the younger.
            "13000 ms: rescind 2: Expired",
            "13000 ms: rescind 3: Expired"
        ]
    );
    rig.returns_of(&[2, 3], A, A0, "cpus:1");
    rig.returns_of(&[1], A, A0, "cpus:4");
    assert_eq!(rig.drf.stats().booked.to_string(), "cpus:3");
}

#[test]
fn of_grants_that_were_joined_each_is_asked_back_once() {
    let mut rig = expiring();
    grants(&mut rig, &[4, 4]);
    assert_eq!(rig.until(11_500), ["11000 ms: rescind 1: Expired"]);
    // The accept was on its way by then.
    rig.accepts_of(&[1, 2], A, A0, "cpus:1");
    assert_eq!(rig.until(60_000), ["12000 ms: rescind 2: Expired"]);
    rig.returns_of(&[1, 2], A, A0, "cpus:7");
    assert_eq!(rig.drf.stats().booked.to_string(), "cpus:1");
}

#[test]
fn of_two_alike_the_other_still_expires_when_one_that_was_asked_back_comes_back() {
    let mut rig = expiring();
    grants(&mut rig, &[4, 4]);
    assert_eq!(rig.until(11_500), ["11000 ms: rescind 1: Expired"]);
    rig.tell(Change::Returned {
        framework: A,
        role: Role::any(),
        agent: A0,
        grants: ids(&[1]),
        resources: res("cpus:4"),
        refuse: Some(Duration::from_secs(3_600)),
    });
    assert_eq!(rig.until(60_000), ["12000 ms: rescind 2: Expired"]);
}

#[test]
fn what_is_said_of_grants_that_were_not_made_is_late_news() {
    let mut rig = expiring();
    grants(&mut rig, &[4]);
    for wrong in [&[2][..], &[2, 3]] {
        rig.returns_of(wrong, A, A0, "cpus:4");
    }
    rig.returns_of(&[1], B, A0, "cpus:4");
    rig.returns_of(&[1], A, A1, "cpus:4");
    rig.returns_of(&[1, 2], A, A0, "cpus:5");
    assert_eq!(rig.drf.stats().booked.to_string(), "cpus:4");
    // What is in use is in use all the same, and then there is too little for the offer.
    rig.accepts_of(&[2], A, A0, "cpus:1");
    assert_eq!(rig.says(), ["rescind 1: Agent"]);
    // A name that is over counts for nothing beside one that is not.
    rig.returns_of(&[1, 2], A, A0, "cpus:4");
    assert_eq!(rig.drf.stats().booked.to_string(), "cpus:1");
}

//! Several unanswered grants of one agent, and what cannot be told of them; changes that change
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
fn who_declines_beside_a_grant_that_was_joined_with_a_used_one_waits_as_well() {
    let mut rig = Rig::new();
    rig.agent(A0, "cpus:8").agent(A1, "cpus:8");
    rig.used(B, A0, "cpus:4").used(C, A1, "cpus:8");
    rig.framework(A, &["*"]);
    assert_eq!(rig.says(), ["1: A on 0: cpus:4"]);
    rig.ends(B, A0, "cpus:4");
    assert_eq!(rig.says(), ["2: A on 0: cpus:4"]);
    // It uses a part of one, and does not answer the other.
    rig.accepts(A, A0, "cpus:1").returns(A, A0, "cpus:3", 0);
    assert_eq!(rig.says(), ["3: A on 0: cpus:3"], "it keeps its place");
    // C has more already, so it comes after A; but A wants nothing of this one.
    rig.framework(C, &["*"]);
    let mut turns = 0;
    loop {
        rig.returns(A, A0, "cpus:3", 0);
        let said = rig.says();
        if said.iter().any(|it| it.contains("C on 0: cpus:3")) {
            break;
        }
        turns += 1;
        assert!(
            turns < 20,
            "at one moment A is offered it again and again: {said:?}"
        );
    }
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

#[test]
fn what_may_be_one_of_two_grants_is_asked_back_by_both_numbers() {
    let mut rig = Rig::with(Options {
        lease: Some(Duration::from_secs(10)),
        ..Options::default()
    });
    rig.agent(A0, "cpus:8").used(B, A0, "cpus:4");
    rig.framework(A, &["*"]);
    assert_eq!(rig.says(), ["1: A on 0: cpus:4"]);
    rig.ends(B, A0, "cpus:2");
    assert_eq!(rig.says(), ["2: A on 0: cpus:2"]);
    // All of the second, or a part of the first: four are left, of one of them or of both.
    rig.returns(A, A0, "cpus:2", 60_000);
    assert_eq!(
        rig.until(11_000),
        [
            "10000 ms: rescind 1: Expired",
            "10000 ms: rescind 2: Expired"
        ]
    );
}

#[test]
fn of_two_alike_it_is_the_one_that_was_asked_back_that_comes_back() {
    let mut rig = Rig::with(Options {
        lease: Some(Duration::from_secs(10)),
        ..Options::default()
    });
    rig.agent(A0, "cpus:8").used(B, A0, "cpus:8");
    rig.framework(A, &["*"]);
    rig.ends(B, A0, "cpus:4");
    assert_eq!(rig.says(), ["1: A on 0: cpus:4"]);
    assert_eq!(rig.until(5_000), [""; 0]);
    rig.ends(B, A0, "cpus:4");
    assert_eq!(rig.says(), ["2: A on 0: cpus:4"]);
    assert_eq!(rig.until(10_000), ["10000 ms: rescind 1: Expired"]);
    rig.returns(A, A0, "cpus:4", 60_000);
    let said = rig.until(16_000);
    assert!(said.iter().any(|it| it.contains("rescind 2")), "{said:?}");
}

//! Scenarios of Mesos' own tests that no other test here is, by their numbers.
//!
//! The others stand with what they are about, as functions named `tv_` and `as_` and the number:
//! `grep -rn "fn tv_\|fn as_" core/src isolation/src` lists them all, those of the protocol, of
//! agents and of containers too. Deliberately not here, as there is nothing yet that they would be
//! true of: the third number of TV-29 (containers on revocable cores), TV-33 (who is killed first
//! when memory runs out), TV-37 (a password's exchange), TV-40 (health checks) and TV-42 (lists of
//! who may do what).

use alloc::collections::BTreeMap;
use alloc::vec;

use super::*;
use crate::allocator::RoleFigures;
use crate::allocator::drf::SorterKind;
use crate::quota::Quota;
use crate::resources::{Milli, Quantities};

fn guarantee(to: &str, guarantees: &str) -> Change {
    Change::QuotaSet {
        role: role(to),
        quota: Quota {
            guarantees: Quantities::parse(guarantees).unwrap(),
            ..Quota::default()
        },
    }
}

fn figures(rig: &Rig, of: &str) -> RoleFigures {
    let mut all = rig.drf.roles().into_iter();
    all.find(|it| it.role == role(of)).expect("it is known")
}

#[test]
fn as_01_shares_count_at_each_level_for_itself() {
    // AS-01, AL-15, AL-16: first `b` has less than `a`, and then more; below `a` it is `y` that has
    // less, though `x` would be before it by name.
    let mut rig = Rig::new();
    rig.framework(A, &["a/x"])
        .framework(B, &["a/y"])
        .framework(C, &["b"]);
    rig.agent(A0, "cpus:10").used_in(A, "a/x", A0, "cpus:6");
    rig.used_in(C, "b", A0, "cpus:4");
    assert_eq!(rig.agent(A1, "cpus:2").says(), ["1: C/b on 1: cpus:2"]);
    let third = AgentKey::from_raw(2, 0);
    rig.agent(third, "cpus:4").used_in(C, "b", third, "cpus:3");
    assert_eq!(rig.says(), ["2: B/a/y on 2: cpus:1"]);
}

#[test]
fn as_05_what_is_returned_is_offered_again() {
    // AS-05, AL-38: all of it, with what the agent had left; to whoever is next.
    let mut rig = Rig::new();
    rig.framework(A, &["*"]).agent(A0, "cpus:4;mem:64");
    assert_eq!(rig.says(), ["1: A on 0: cpus:4;mem:64"]);
    rig.accepts(A, A0, "cpus:3");
    rig.returns(A, A0, "cpus:1;mem:64", 3_600_000);
    assert_eq!(rig.says(), [""; 0]);
    let expected = ["2: A on 0: cpus:4;mem:64"];
    assert_eq!(rig.ends(A, A0, "cpus:3").says(), expected);
}

#[test]
fn as_10_a_role_without_frameworks_holds_back_what_it_is_promised() {
    // AS-10, AL-24: nobody is there to take it, and still it is kept free.
    let mut rig = Rig::new();
    rig.tell(guarantee("q", "cpus:3"));
    rig.framework(A, &["o"]).agent(A0, "cpus:4");
    assert_eq!(rig.says(), ["1: A/o on 0: cpus:1"]);
    rig.tell(guarantee("q", ""));
    assert_eq!(rig.until(2_000).len(), 1, "until it is taken away");
}

#[test]
fn as_12_a_guarantee_is_missed_by_each_name_for_itself() {
    // AS-12, AL-24, RQ-21: it has twice the memory that it was promised and a quarter of the cores.
    // What it has too much of one does not make up for another, and is not owed to anybody.
    let mut rig = Rig::new();
    rig.tell(guarantee("q", "cpus:4;mem:512"));
    rig.framework(A, &["q"]).framework(B, &["o"]);
    rig.agent(A0, "cpus:1;mem:1024")
        .used_in(A, "q", A0, "cpus:1;mem:1024");
    let of_role = figures(&rig, "q");
    assert_eq!(of_role.consumed.to_string(), "cpus:1;mem:1024");
    assert_eq!(of_role.quota.guarantees.to_string(), "cpus:4;mem:512");
    assert_eq!(rig.drf.stats().required_headroom.to_string(), "cpus:3");
    rig.tell(Change::Suppressed {
        framework: A,
        roles: Vec::new(),
    });
    let said = rig.agent(A1, "cpus:5;mem:1024").says();
    assert_eq!(said, ["1: B/o on 1: cpus:2;mem:1024"]);
}

#[test]
fn as_12_figures_of_nothing_are_zero() {
    // AS-12: before there is an agent or a framework, and of a role that only a quota names. RQ-14:
    // which is not measured by what agents have.
    let mut rig = Rig::new();
    assert_eq!(rig.drf.stats(), crate::allocator::Stats::default());
    assert!(rig.drf.roles().is_empty());
    assert_eq!(rig.drf.dominant_share(A, &Role::any()), None);
    rig.tell(guarantee("q", "cpus:4"));
    let of_role = figures(&rig, "q");
    assert_eq!((of_role.dominant_share, of_role.filters), (0, 0));
    assert!(of_role.consumed.is_empty() && of_role.booked.is_empty());
    assert_eq!(rig.drf.stats().required_headroom.to_string(), "cpus:4");
    // Nor is a part of nothing reckoned.
    rig.framework(A, &["q"]);
    assert_eq!(rig.drf.dominant_share(A, &role("q")), Some(0));
}

#[test]
fn as_14_lots_of_frameworks_are_even_within_a_role_and_weighted_between_roles() {
    // AS-14, AL-19: A and B share the third of `a`, C has the two thirds of `b`.
    let mut firsts: BTreeMap<String, u32> = BTreeMap::new();
    for seed in 0..1_200 {
        let mut rig = Rig::with(Options {
            seed,
            role_sorter: SorterKind::Random,
            framework_sorter: SorterKind::Random,
            ..Options::default()
        });
        rig.tell(Change::WeightSet {
            role: role("b"),
            weight: Milli::from_units(2),
        });
        rig.framework(A, &["a"])
            .framework(B, &["a"])
            .framework(C, &["b"]);
        let said = rig.agent(A0, "cpus:1").says().remove(0);
        let who: String = said.chars().skip(3).take(1).collect();
        *firsts.entry(who).or_default() += 1;
    }
    assert!((140..=260).contains(&firsts["A"]), "{firsts:?}");
    assert!((140..=260).contains(&firsts["B"]), "{firsts:?}");
    assert!((730..=870).contains(&firsts["C"]), "{firsts:?}");
}

#[test]
fn a_role_is_known_as_soon_as_it_is_used() {
    // RQ-01: nobody has to announce it.
    let mut rig = Rig::new();
    rig.agent(A0, "cpus:2").framework(A, &["a/new/one"]);
    assert_eq!(rig.says(), ["1: A/a/new/one on 0: cpus:2"]);
    assert_eq!(figures(&rig, "a/new/one").booked.to_string(), "cpus:2");
    assert_eq!(figures(&rig, "a").booked.to_string(), "cpus:2");
}

#[test]
fn ports_are_picked_by_those_who_are_offered_them() {
    // RM-54: all are offered, any may be taken, and the others are offered again.
    let mut rig = Rig::new();
    rig.framework(A, &["*"]).agent(A0, "cpus:2;ports:[1-9]");
    assert_eq!(rig.says(), ["1: A on 0: cpus:2;ports:[1-9]"]);
    rig.accepts(A, A0, "cpus:1;ports:[4-4,7-8]");
    rig.returns(A, A0, "cpus:1;ports:[1-3,5-6,9-9]", 0);
    let said = rig.says();
    assert_eq!(said, ["2: A on 0: cpus:1;ports:[1-3,5-6,9-9]"]);
}

/// A framework that refused something in a role for a minute.
fn refusing(in_roles: &[&str]) -> Rig {
    let mut rig = Rig::new();
    rig.framework(A, in_roles).agent(A0, "cpus:2");
    assert_eq!(rig.says().len(), 1);
    rig.tell(Change::Returned {
        framework: A,
        role: role(in_roles[0]),
        agent: A0,
        resources: res("cpus:2"),
        grants: whichever(),
        refuse: Some(Duration::from_secs(60)),
    });
    assert_eq!(rig.drf.stats().filters, 1);
    rig
}

#[test]
fn refusals_end_with_their_framework() {
    // OF-35: whoever has its place next did not refuse anything.
    let mut rig = refusing(&["eng"]);
    rig.tell(Change::FrameworkRemoved { framework: A });
    assert_eq!(rig.drf.stats().filters, 0);
    let next = FrameworkKey::from_raw(0, 1);
    assert_eq!(
        rig.framework(next, &["eng"]).says(),
        ["2: A/eng on 0: cpus:2"]
    );
    assert_eq!(rig.until(100_000), [""; 0], "nothing lapses later");
}

#[test]
fn refusals_end_with_the_role_they_are_of() {
    // OF-35, RQ-02, RQ-03: it left the role, its only one, and came back.
    let mut rig = refusing(&["eng"]);
    let subscribed = |in_roles: &[&str]| Change::FrameworkChanged {
        framework: A,
        profile: FrameworkProfile::new("A", roles(in_roles)),
    };
    rig.tell(subscribed(&[]));
    assert_eq!(rig.drf.stats().filters, 0);
    assert_eq!(rig.says(), [""; 0]);
    let said = rig.tell(subscribed(&["eng"])).says();
    assert_eq!(said, vec!["2: A/eng on 0: cpus:2"]);
}

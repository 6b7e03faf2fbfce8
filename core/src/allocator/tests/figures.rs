//! What the allocator says of itself, and by which total shares are reckoned.

use alloc::vec;

use super::*;
use crate::allocator::{FrameworkCapabilities, Obstacle, RoleFigures};
use crate::quota::Quota;
use crate::resources::{Ceilings, Milli, Quantities};

fn figures(rig: &Rig, of: &str) -> RoleFigures {
    let mut all = rig.drf.roles().into_iter();
    all.find(|it| it.role == role(of)).expect("it is known")
}

fn quantities(text: &str) -> Quantities {
    Quantities::parse(text).unwrap()
}

fn limit(to: &str, limits: &str) -> Change {
    Change::QuotaSet {
        role: role(to),
        quota: Quota {
            limits: Ceilings::parse(limits).unwrap(),
            ..Quota::default()
        },
    }
}

fn takes_revocable() -> Change {
    Change::FrameworkAdded {
        framework: A,
        profile: FrameworkProfile {
            capabilities: FrameworkCapabilities::ALL,
            ..FrameworkProfile::new("A", [Role::any()])
        },
    }
}

fn total(agent: AgentKey, text: &str) -> Change {
    Change::AgentChanged {
        agent,
        total: res(text),
        traits: AgentTraits::default(),
    }
}

#[test]
fn triggers_of_one_moment_make_one_pass() {
    // AL-05, AL-47
    let mut rig = Rig::new();
    rig.framework(A, &["*"]).framework(B, &["*"]);
    for n in 0..6 {
        rig.agent(AgentKey::from_raw(n, 0), "cpus:1");
    }
    assert_eq!(rig.drf.stats().passes, 0);
    assert_eq!(rig.says().len(), 6);
    assert_eq!(rig.drf.stats().passes, 1);
}

#[test]
fn shares_are_of_all_that_the_agents_have() {
    // AL-20: the agent that may not be offered counts, and so does what can be taken away.
    let mut rig = Rig::new();
    rig.framework(A, &["*"]).agent(A0, "cpus:4");
    rig.used(A, A0, "cpus:4");
    assert_eq!(rig.drf.dominant_share(A, &Role::any()), Some(1_000_000));
    rig.agent(A1, "cpus:4").tell(Change::AgentActive {
        agent: A1,
        active: false,
    });
    assert_eq!(rig.drf.dominant_share(A, &Role::any()), Some(500_000));
    rig.tell(total(A1, "cpus:4;cpus(*)<revocable>:8"));
    assert_eq!(rig.drf.dominant_share(A, &Role::any()), Some(250_000));
    assert_eq!(rig.drf.stats().total, quantities("cpus:16"));
}

#[test]
fn what_is_offered_counts_like_what_is_used_and_is_told_apart() {
    // AL-35, AL-38, AL-51
    let mut rig = Rig::new();
    rig.framework(A, &["a"]).framework(B, &["b"]);
    rig.agent(A0, "cpus:4;mem:100");
    assert_eq!(rig.says(), ["1: A/a on 0: cpus:4;mem:100"]);
    let held_by_a = |how| [(A0, Obstacle::HeldBy(vec![(A, how)]))];
    let all = quantities("cpus:4;mem:100");
    let check = |rig: &Rig, how| {
        assert_eq!(rig.drf.explain(B, &role("b")), held_by_a(how));
        let a = figures(rig, "a");
        assert_eq!((&a.booked, &a.consumed), (&all, &all));
        assert_eq!(a.dominant_share, 1_000_000);
        assert_eq!(rig.drf.stats().booked, all);
    };
    check(&rig, Booking::Offered);
    rig.tell(Change::Accepted {
        framework: A,
        role: role("a"),
        agent: A0,
        grants: whichever(),
        resources: res("cpus:4;mem:100"),
    });
    check(&rig, Booking::Allocated);
    rig.tell(Change::Freed {
        framework: A,
        role: role("a"),
        agent: A0,
        resources: res("cpus:4;mem:100"),
    });
    assert_eq!(figures(&rig, "a").booked, Quantities::new());
    assert_eq!(rig.drf.stats().booked, Quantities::new());
}

#[test]
fn roles_are_known_by_whatever_names_them() {
    // RQ-05, AL-52, AL-53, AL-54
    let mut rig = Rig::new();
    rig.agent(A0, "cpus(eng/web):2;cpus:2");
    rig.tell(limit("ops", "cpus:1")).tell(Change::WeightSet {
        role: role("lab"),
        weight: Milli::from_units(2),
    });
    rig.framework(A, &["art/x"]).framework(B, &["eng/web"]);
    let known: Vec<_> = rig.drf.roles().into_iter().map(|it| it.role).collect();
    assert_eq!(
        known,
        roles(&["art", "art/x", "eng", "eng/web", "lab", "ops"])
    );
    let eng = figures(&rig, "eng");
    assert_eq!(eng.reserved, quantities("cpus:2"));
    assert_eq!(eng.consumed, quantities("cpus:2"));
    assert_eq!(eng.booked, Quantities::new());
    assert_eq!(figures(&rig, "lab").weight, Milli::from_units(2));
    let limits = figures(&rig, "ops").quota.limits;
    assert_eq!(limits, Ceilings::parse("cpus:1").unwrap());
    assert_eq!(figures(&rig, "art/x").filters, 0);

    let said = rig.says();
    assert!(said[0].starts_with("1: A/art/x on 0: cpus:2"), "{said:?}");
    rig.tell(Change::Returned {
        framework: A,
        role: role("art/x"),
        agent: A0,
        resources: res("cpus:2"),
        grants: whichever(),
        refuse: Some(Duration::from_secs(60)),
    });
    assert_eq!(figures(&rig, "art/x").filters, 1);
    assert_eq!(figures(&rig, "art").filters, 0);
    assert_eq!(rig.drf.stats().filters, 1);
}

#[test]
fn figures_of_quota_are_what_was_set_and_all_that_is_held() {
    // AL-52, RQ-05, RQ-12: reserved or not, offered or in use.
    let mut rig = Rig::new();
    let quota = Quota {
        guarantees: quantities("cpus:2;mem:64"),
        limits: Ceilings::parse("cpus:6").unwrap(),
    };
    rig.tell(Change::QuotaSet {
        role: role("ops"),
        quota: quota.clone(),
    });
    rig.agent(A0, "cpus(ops):2;cpus:1;mem:64")
        .agent(A1, "cpus(ops):1");
    rig.used_in(C, "ops", A0, "cpus(ops):0.5");
    rig.tell(Change::AgentActive {
        agent: A1,
        active: false,
    });
    rig.framework(A, &["ops"]);
    assert_eq!(rig.says(), ["1: A/ops on 0: cpus:1;cpus(ops):1.5;mem:64"]);
    let ops = figures(&rig, "ops");
    assert_eq!(ops.quota, quota);
    assert_eq!(ops.booked, quantities("cpus:3;mem:64"));
    assert_eq!(ops.reserved, quantities("cpus:3"));
    assert_eq!(ops.consumed, quantities("cpus:4;mem:64"));
}

#[test]
fn a_weight_of_one_is_none() {
    // RQ-11
    let mut rig = Rig::new();
    for (weight, known) in [(3, 1), (1, 0)] {
        rig.tell(Change::WeightSet {
            role: role("lab"),
            weight: Milli::from_units(weight),
        });
        assert_eq!(rig.drf.roles().len(), known);
    }
}

#[test]
fn a_limit_below_what_is_in_use_ends_nothing() {
    // RQ-17
    let mut rig = Rig::new();
    rig.framework(A, &["a"]).agent(A0, "cpus:4");
    rig.used_in(A, "a", A0, "cpus:3");
    assert_eq!(rig.tell(limit("a", "cpus:1")).says(), [""; 0]);
    let a = figures(&rig, "a");
    assert_eq!(a.booked, quantities("cpus:3"));
    let full = Obstacle::QuotaLimit(role("a"));
    assert_eq!(rig.drf.explain(A, &role("a")), [(A0, full)]);
}

#[test]
fn a_new_estimate_takes_back_offers_of_what_can_be_taken_back() {
    // AL-44, RQ-24; the offer without any of it stays.
    let mut rig = Rig::new();
    rig.tell(takes_revocable());
    rig.agent(A0, "cpus:2;cpus(*)<revocable>:4")
        .agent(A1, "cpus:2");
    assert_eq!(rig.says().len(), 2);
    let said = rig.tell(total(A0, "cpus:2;cpus(*)<revocable>:1")).says();
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].ends_with(": Agent"), "{said:?}");
    assert_eq!(
        rig.tell(total(A1, "cpus:2;cpus(*)<revocable>:1"))
            .says()
            .len(),
        1
    );
}

#[test]
fn what_a_guarantee_does_not_name_is_not_kept_free() {
    // RQ-19: ports and sets are, where a guarantee names them.
    let mut rig = Rig::new();
    rig.tell(Change::QuotaSet {
        role: role("q"),
        quota: Quota {
            guarantees: quantities("cpus:3"),
            ..Quota::default()
        },
    });
    rig.framework(B, &["o"]);
    rig.agent(A0, "cpus:4;mem:64;ports:[1-9];labels:{a}");
    let expected = ["1: B/o on 0: cpus:1;labels:{a};mem:64;ports:[1-9]"];
    assert_eq!(rig.says(), expected);
}

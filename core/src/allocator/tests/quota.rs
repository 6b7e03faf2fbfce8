//! Guarantees, limits, headroom, and what is taken back when they change.

use alloc::vec;

use super::*;
use crate::allocator::{Obstacle, RescindReason};
use crate::quota::Quota;
use crate::resources::{Ceilings, Milli, Quantities};

pub(super) fn quota(in_role: &str, guarantees: &str, limits: &str) -> Change {
    Change::QuotaSet {
        role: role(in_role),
        quota: Quota {
            guarantees: Quantities::parse(guarantees).unwrap(),
            limits: Ceilings::parse(limits).unwrap(),
        },
    }
}

pub(super) fn suppress(framework: FrameworkKey) -> Change {
    Change::Suppressed {
        framework,
        roles: Vec::new(),
    }
}

pub(super) fn many(rig: &mut Rig, agents: u32, total: &str) {
    for n in 0..agents {
        rig.agent(AgentKey::from_raw(100 + n, 0), total);
    }
}

/// Who was granted something, in order.
pub(super) fn takers(said: &[String]) -> String {
    let grants = said.iter().filter(|it| !it.starts_with("rescind"));
    grants
        .map(|it| it.split([' ', '/']).nth(1).unwrap())
        .collect()
}

#[test]
fn tv_18_what_is_guaranteed_is_kept_free() {
    // TV-18, AL-24, AL-25, AL-27
    let mut rig = Rig::new();
    rig.tell(quota("q", "cpus:4", ""));
    rig.framework(A, &["q"]).tell(suppress(A));
    rig.framework(B, &["o"]).agent(A0, "cpus:10");
    rig.used_in(A, "q", A0, "cpus:1")
        .used_in(C, "p", A0, "cpus:1");
    assert_eq!(rig.drf.stats().required_headroom.to_string(), "cpus:3");
    assert_eq!(rig.drf.stats().available_headroom.to_string(), "cpus:8");
    assert_eq!(rig.says(), ["1: B/o on 0: cpus:5"]);
    let explained = rig.drf.explain(B, &role("o"));
    assert_eq!(explained, [(A0, Obstacle::Headroom)]);
}

#[test]
fn what_is_free_where_nothing_may_be_offered_keeps_no_guarantee() {
    // AL-25
    let mut rig = Rig::new();
    rig.tell(quota("q", "cpus:4", ""));
    rig.framework(A, &["q"]).tell(suppress(A));
    rig.framework(B, &["o"])
        .agent(A0, "cpus:6")
        .agent(A1, "cpus:4");
    let (agent, active) = (A1, false);
    rig.tell(Change::AgentActive { agent, active });
    assert_eq!(rig.drf.stats().available_headroom.to_string(), "cpus:6");
    assert_eq!(rig.says(), ["1: B/o on 0: cpus:2"]);
    let active = true;
    rig.tell(Change::AgentActive { agent, active });
    assert_eq!(rig.drf.stats().available_headroom.to_string(), "cpus:8");
    assert_eq!(rig.says(), ["2: B/o on 1: cpus:4"]);
    rig.tell(Change::AgentRemoved { agent });
    assert_eq!(rig.drf.stats().available_headroom.to_string(), "cpus:4");
}

#[test]
fn tv_19_a_limit_cuts_an_offer() {
    // TV-19, AL-30
    let mut rig = Rig::new();
    rig.tell(quota("l", "", "cpus:3"));
    rig.framework(A, &["l"])
        .agent(A0, "cpus:2")
        .agent(A1, "cpus:10;mem:1000");
    rig.used_in(A, "l", A0, "cpus:2");
    assert_eq!(rig.says(), ["1: A/l on 1: cpus:1;mem:1000"]);
    let explained = rig.drf.explain(A, &role("l"));
    assert_eq!(explained[1], (A1, Obstacle::QuotaLimit(role("l"))));
    let l = rig
        .drf
        .roles()
        .into_iter()
        .find(|it| it.role == role("l"))
        .unwrap();
    assert_eq!(l.consumed.to_string(), "cpus:3;mem:1000");
}

#[test]
fn tv_20_what_is_reserved_counts_as_consumed() {
    // TV-20, AL-23, AL-25, RQ-21
    let mut rig = Rig::new();
    rig.tell(quota("q", "cpus:4", ""));
    rig.framework(A, &["q"])
        .tell(suppress(A))
        .framework(B, &["o"]);
    rig.agent(A0, "cpus(q):3");
    many(&mut rig, 6, "cpus:1");
    assert_eq!(rig.drf.stats().required_headroom.to_string(), "cpus:1");
    assert_eq!(takers(&rig.says()), "BBBBB");
}

#[test]
fn guarantees_come_before_shares() {
    // AL-26, I7: Q has more than the other already, and is next as long as it lacks something.
    let mut rig = Rig::new();
    rig.tell(quota("q", "cpus:3", ""));
    rig.framework(A, &["q"]).framework(B, &["o"]);
    rig.agent(A0, "cpus:1").used_in(A, "q", A0, "cpus:1");
    many(&mut rig, 4, "cpus:1");
    assert_eq!(takers(&rig.says()), "AABB");
}

#[test]
fn a_framework_without_anything_to_serve_its_guarantee_waits_for_its_share() {
    // AL-26: memory does not serve a guarantee of cpus.
    let mut rig = Rig::new();
    rig.tell(quota("q", "cpus:3", ""));
    rig.framework(A, &["q"]).framework(B, &["o"]);
    rig.agent(A0, "mem:100").used_in(A, "q", A0, "mem:50");
    assert_eq!(rig.says(), ["1: B/o on 0: mem:50"]);
}

#[test]
fn a_limit_holds_for_what_serves_a_guarantee() {
    // AL-26, AL-30: two are promised, more is free for it, and three are the most.
    let mut rig = Rig::new();
    rig.tell(quota("q", "cpus:2", "cpus:3"));
    rig.framework(A, &["q"]).agent(A0, "cpus:10;mem:100");
    assert_eq!(rig.says(), ["1: A/q on 0: cpus:3;mem:100"]);
    rig.framework(B, &["o"]);
    assert_eq!(rig.says(), ["2: B/o on 0: cpus:7"]);
}

#[test]
fn what_is_reserved_counts_towards_a_limit() {
    // AL-30, AL-23: with two of three reserved, one is left, whether the two are in use or not.
    for used in ["cpus:0", "cpus(l):1"] {
        let mut rig = Rig::new();
        rig.tell(quota("l", "", "cpus:3"));
        rig.agent(A0, "cpus(l):2").used_in(A, "l", A0, used);
        rig.agent(A1, "cpus:5").tell(Change::AgentActive {
            agent: A0,
            active: false,
        });
        rig.framework(A, &["l"]);
        assert_eq!(rig.says(), ["1: A/l on 1: cpus:1"], "{used}");
    }
}

#[test]
fn limits_hold_for_everything_below() {
    // AL-30 at every level; MESOS-7402.
    let mut rig = Rig::new();
    rig.tell(quota("eng", "", "cpus:3"))
        .tell(quota("eng/a", "", "cpus:1"));
    rig.framework(A, &["eng/a"])
        .framework(B, &["eng/b/c"])
        .framework(C, &["eng"]);
    many(&mut rig, 6, "cpus:1");
    let said = rig.says();
    assert_eq!(said.len(), 3, "{said:?}");
    assert_eq!(takers(&said).matches('A').count(), 1, "{said:?}");
    let explained = rig.drf.explain(B, &role("eng/b/c"));
    let full = (Obstacle::QuotaLimit(role("eng")), 3);
    assert!(
        crate::allocator::sum_up(&explained).contains(&full),
        "{explained:?}"
    );
}

#[test]
fn what_serves_a_child_serves_its_parent() {
    // AL-24 at every level: four are kept free, not seven.
    let mut rig = Rig::new();
    rig.tell(quota("p", "cpus:4", ""))
        .tell(quota("p/c", "cpus:3", ""));
    rig.framework(A, &["p/c"])
        .tell(suppress(A))
        .framework(B, &["o"]);
    rig.agent(A0, "cpus:10");
    assert_eq!(rig.says(), ["1: B/o on 0: cpus:6"]);
    // One of the parent's four may go to another child, the other three may not.
    rig.framework(C, &["p/d"]);
    assert_eq!(rig.says(), ["2: C/p/d on 0: cpus:1"]);
    assert_eq!(rig.until(5_000), [""; 0]);
    rig.tell(Change::Revived {
        framework: A,
        roles: Vec::new(),
    });
    assert_eq!(rig.says(), ["3: A/p/c on 0: cpus:3"]);
}

#[test]
fn what_was_held_back_is_looked_at_again() {
    // AL-04: A's limit, reached elsewhere, keeps it from A1; B does not want that.
    let mut rig = Rig::new();
    rig.tell(quota("l", "", "cpus:2"));
    rig.framework(A, &["l"])
        .agent(A0, "cpus:2")
        .used_in(A, "l", A0, "cpus:2");
    rig.agent(A1, "cpus:2");
    assert_eq!(rig.says(), [""; 0]);
    rig.until(300);
    rig.tell(Change::AgentActive {
        agent: A0,
        active: false,
    });
    rig.tell(Change::Freed {
        framework: A,
        role: role("l"),
        agent: A0,
        resources: res("cpus:1"),
    });
    assert_eq!(rig.until(3_000), ["1000 ms: 1: A/l on 1: cpus:1"]);
}

#[test]
fn a_lower_limit_takes_back_what_is_above_it() {
    // RQ-16 (1)
    let mut rig = Rig::new();
    rig.framework(A, &["l"]).framework(B, &["o"]);
    many(&mut rig, 8, "cpus:1");
    assert_eq!(rig.says().len(), 8);
    let said = rig.tell(quota("l", "", "cpus:1")).says();
    assert_eq!(said.len(), 3, "{said:?}");
    assert!(said.iter().all(|it| it.ends_with(": Quota")), "{said:?}");
    // Asked once for each.
    assert_eq!(rig.tell(quota("l", "", "cpus:1")).says(), [""; 0]);
}

#[test]
fn a_guarantee_takes_back_what_others_hold_and_no_more() {
    // RQ-16 (2)
    let mut rig = Rig::new();
    rig.framework(B, &["o"]);
    many(&mut rig, 5, "cpus:1");
    assert_eq!(takers(&rig.says()), "BBBBB");
    rig.framework(A, &["q"]);
    let said = rig.tell(quota("q", "cpus:2", "")).says();
    assert_eq!(said.len(), 2, "{said:?}");
    for n in [100, 101] {
        rig.tell(Change::Returned {
            framework: B,
            role: role("o"),
            agent: AgentKey::from_raw(n, 0),
            resources: res("cpus:1"),
            grants: whichever(),
            refuse: None,
        });
    }
    assert_eq!(takers(&rig.says()), "AA");
}

#[test]
fn a_weight_takes_back_what_others_are_due() {
    // RQ-08: two of eight change hands, and the other six offers stay.
    let mut rig = Rig::new();
    rig.framework(A, &["a"]).framework(B, &["b"]);
    many(&mut rig, 8, "cpus:1");
    let said = rig.says();
    assert_eq!(takers(&said).matches('A').count(), 4);
    rig.tell(Change::WeightSet {
        role: role("b"),
        weight: Milli::from_units(3),
    });
    let said = rig.says();
    assert_eq!(said.len(), 2, "{said:?}");
    let reason = alloc::format!("{:?}", RescindReason::Weight);
    assert!(said.iter().all(|it| it.ends_with(&reason)), "{said:?}");
}

#[test]
fn nothing_is_granted_before_most_agents_are_back() {
    // AL-07
    let mut rig = Rig::new();
    rig.tell(Change::Recovering { agents: 10 });
    rig.framework(A, &["*"]).agent(A0, "cpus:1");
    assert_eq!(rig.says().len(), 1, "without quota nobody waits");

    for end in ["agents", "timeout", "word"] {
        let mut rig = Rig::new();
        rig.tell(quota("q", "cpus:1", ""));
        rig.tell(Change::Recovering { agents: 10 });
        rig.framework(A, &["*"]);
        many(&mut rig, 7, "cpus:1");
        assert_eq!(rig.says(), [""; 0]);
        assert!(rig.drf.stats().recovering);
        assert_eq!(rig.drf.explain(A, &Role::any())[0].1, Obstacle::Recovering);
        let granted = match end {
            "agents" => rig.agent(A0, "cpus:1").says().len(),
            "word" => rig.tell(Change::Resumed).says().len(),
            _ => rig.until(600_000).len(),
        };
        assert_eq!(granted, if end == "agents" { 7 } else { 6 }, "{end}");
    }
}

#[test]
fn a_default_quota_is_none() {
    // RQ-12
    let mut rig = Rig::new();
    rig.tell(quota("q", "cpus:4", "cpus:4"))
        .tell(quota("q", "", ""));
    assert_eq!(rig.drf.roles(), vec![]);
    rig.framework(B, &["o"]).agent(A0, "cpus:4");
    assert_eq!(rig.says(), ["1: B/o on 0: cpus:4"]);
}

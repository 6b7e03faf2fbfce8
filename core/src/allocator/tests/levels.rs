//! Guarantees that limits cannot serve: what nobody may have is kept free for nobody.

use super::quota::{many, quota, suppress, takers};
use super::*;

/// Quotas by role, guarantee and limit, with frameworks A, B and so on in roles, and agents of one
/// cpu each. Returns how many each framework was granted.
fn granted(quotas: &[(&str, &str, &str)], in_roles: &[&str], agents: u32) -> Vec<usize> {
    let mut rig = Rig::new();
    for (in_role, guarantee, limit) in quotas {
        rig.tell(quota(in_role, guarantee, limit));
    }
    for (at, in_role) in (0..).zip(in_roles) {
        rig.framework(FrameworkKey::from_raw(at, 0), &[*in_role]);
    }
    many(&mut rig, agents, "cpus:1");
    let mut said = rig.says();
    said.extend(rig.until(5_000).iter().map(|it| {
        let (_, said) = it.split_once(": ").unwrap();
        String::from(said)
    }));
    let takers = takers(&said);
    let of = |at: u8| takers.matches(char::from(b'A' + at)).count();
    (0..).map(of).take(in_roles.len()).collect()
}

#[test]
fn what_a_limit_forbids_is_kept_free_for_nobody() {
    // I8, AL-24, RQ-13: the limit of a role above, of one above two, and of the role itself.
    let above = [("eng", "", "cpus:2"), ("eng/web", "cpus:6", "")];
    assert_eq!(granted(&above, &["eng/web", "ops"], 8), [2, 6]);
    let two = [
        ("eng", "", "cpus:4"),
        ("eng/a", "cpus:4", ""),
        ("eng/b", "cpus:4", ""),
    ];
    assert_eq!(granted(&two, &["eng/a", "eng/b", "ops"], 10), [2, 2, 6]);
    let own = [("eng", "cpus:6", "cpus:2")];
    assert_eq!(granted(&own, &["eng", "ops"], 8), [2, 6]);
    // What one role must leave idle another may be promised.
    let passed_on = [("eng", "cpus:6", "cpus:2"), ("ops", "cpus:5", "")];
    assert_eq!(granted(&passed_on, &["eng", "ops", "web"], 8), [2, 5, 1]);
}

#[test]
fn what_a_limit_leaves_is_still_kept_free() {
    // AL-24, AL-25, I7: two of the six that are promised are allowed, and nobody else has them.
    let mut rig = Rig::new();
    rig.tell(quota("eng", "", "cpus:2"))
        .tell(quota("eng/web", "cpus:6", ""));
    rig.framework(A, &["eng/web"])
        .tell(suppress(A))
        .framework(B, &["ops"])
        .agent(A0, "cpus:8");
    assert_eq!(rig.drf.stats().required_headroom.to_string(), "cpus:2");
    assert_eq!(rig.says(), ["1: B/ops on 0: cpus:6"]);
    assert_eq!(rig.until(5_000), [""; 0]);
    rig.tell(Change::Revived {
        framework: A,
        roles: Vec::new(),
    });
    assert_eq!(rig.says(), ["2: A/eng/web on 0: cpus:2"]);
    assert_eq!(rig.drf.stats().required_headroom.to_string(), "");
    // Where the limit grows, so does what is kept free.
    rig.tell(quota("eng", "", "cpus:3")).agent(A1, "cpus:9");
    assert_eq!(rig.drf.stats().required_headroom.to_string(), "cpus:1");
}

#[test]
fn a_limit_counts_what_is_reserved_before_a_guarantee() {
    // AL-23, AL-24: of a limit of four three are reserved, so one is kept free of three.
    let mut rig = Rig::new();
    rig.agent(A0, "cpus(eng/a):3;cpus:5")
        .tell(quota("eng", "", "cpus:4"))
        .tell(quota("eng/b", "cpus:3", ""));
    assert_eq!(rig.drf.stats().required_headroom.to_string(), "cpus:1");
    rig.framework(B, &["ops"]);
    assert_eq!(rig.says(), ["1: B/ops on 0: cpus:4"]);
}

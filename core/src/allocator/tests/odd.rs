//! What is told in an odd order, twice, or of nothing.

use proptest::prelude::*;

use super::*;
use crate::allocator::{FrameworkCapabilities, Grant};
use crate::attributes::Attributes;
use crate::quota::Quota;
use crate::resources::{Ceilings, Milli, Quantities};

fn changed(rig: &mut Rig, total: &str, traits: AgentTraits) {
    rig.tell(Change::AgentChanged {
        agent: A0,
        total: res(total),
        traits,
    });
}

#[test]
fn a_change_of_nothing_clears_no_refusals() {
    // AL-43
    let mut rig = Rig::new();
    rig.framework(A, &["*"]).agent(A0, "cpus:2");
    assert_eq!(rig.says(), ["1: A on 0: cpus:2"]);
    rig.returns(A, A0, "cpus:2", 60_000);
    changed(&mut rig, "cpus:2", AgentTraits::default());
    assert_eq!(rig.says(), [""; 0]);
    // Of what it is like, or of what it has, is something.
    let other = AgentTraits {
        attributes: Attributes::parse("rack:a").unwrap(),
        ..AgentTraits::default()
    };
    changed(&mut rig, "cpus:2", other.clone());
    assert_eq!(rig.says(), ["2: A on 0: cpus:2"]);
    rig.returns(A, A0, "cpus:2", 60_000);
    changed(&mut rig, "cpus:1", other);
    assert_eq!(rig.says(), ["3: A on 0: cpus:1"]);
}

#[test]
fn grants_that_became_one_end_with_the_younger() {
    let mut rig = Rig::with(Options {
        lease: Some(Duration::from_secs(300)),
        ..Options::default()
    });
    rig.framework(A, &["*"]).agent(A0, "cpus:2");
    rig.used(B, A0, "cpus:1");
    assert_eq!(rig.says(), ["1: A on 0: cpus:1"]);
    assert_eq!(rig.until(299_000), [""; 0]);
    rig.ends(B, A0, "cpus:1");
    assert_eq!(rig.says(), ["2: A on 0: cpus:1"]);
    rig.accepts_of(&[1, 2], A, A0, "cpus:0.5");
    assert_eq!(rig.until(598_999), [""; 0]);
    assert_eq!(
        rig.until(700_000),
        [
            "599000 ms: rescind 1: Expired",
            "599000 ms: rescind 2: Expired"
        ]
    );
}

#[test]
fn turning_something_back_and_forth_is_no_use_of_it() {
    // AL-39: who reserves a little, unreserves it and returns all has to wait like who accepted
    // nothing, or others would never have a turn.
    let mut rig = Rig::new();
    rig.framework(A, &["a"]).framework(B, &["b"]);
    rig.agent(A1, "cpus:1").used_in(B, "b", A1, "cpus:1");
    rig.agent(A0, "cpus:4");
    assert_eq!(rig.says(), ["1: A/a on 0: cpus:4"]);
    for (before, after) in [("cpus:1", "cpus(a):1"), ("cpus(a):1", "cpus:1")] {
        rig.tell(Change::Converted {
            framework: A,
            role: role("a"),
            agent: A0,
            grants: whichever(),
            before: res(before),
            after: res(after),
        });
    }
    rig.tell(Change::Returned {
        framework: A,
        role: role("a"),
        agent: A0,
        resources: res("cpus:4"),
        grants: whichever(),
        refuse: None,
    });
    assert_eq!(rig.says(), ["2: B/b on 0: cpus:4"]);
}

#[test]
fn what_was_asked_back_before_it_expired_did_not_expire() {
    // Whoever is to return something anyway does not have to wait for it as if nobody wanted it.
    let mut rig = Rig::with(Options {
        lease: Some(Duration::from_secs(2)),
        ..Options::default()
    });
    rig.framework(A, &["*"]).agent(A0, "cpus:4");
    assert_eq!(rig.says(), ["1: A on 0: cpus:4"]);
    let active = |active| Change::AgentActive { agent: A0, active };
    assert_eq!(rig.tell(active(false)).says(), ["rescind 1: Agent"]);
    assert_eq!(rig.until(3_000), [""; 0]);
    rig.tell(active(true)).returns(A, A0, "cpus:4", 0);
    assert_eq!(rig.says(), ["2: A on 0: cpus:4"]);
}

#[test]
fn an_agent_that_comes_and_goes_counts_once() {
    // AL-07
    let mut rig = Rig::new();
    rig.tell(Change::QuotaSet {
        role: role("eng"),
        quota: Quota {
            guarantees: Quantities::parse("cpus:1").unwrap(),
            ..Quota::default()
        },
    });
    rig.tell(Change::Recovering { agents: 3 });
    for _ in 0..5 {
        rig.agent(A0, "cpus:1");
        rig.tell(Change::AgentRemoved { agent: A0 });
    }
    // Another one in its place does not either.
    rig.agent(A0, "cpus:1");
    rig.agent(AgentKey::from_raw(0, 1), "cpus:1");
    assert!(rig.drf.stats().recovering);
    rig.agent(A1, "cpus:1");
    assert!(!rig.drf.stats().recovering, "two of three are most");
}

#[test]
fn what_agents_claim_is_in_use_even_if_it_cannot_be_counted_together() {
    let most = "cpus:9000000000000000";
    let mut rig = Rig::new();
    rig.framework(A, &["*"]).agent(A0, most);
    rig.used(B, A0, most)
        .used(B, A0, most)
        .used(B, A0, "cpus:1");
    rig.ends(B, A0, most);
    assert_eq!(rig.says(), [""; 0], "the other one goes on");
    rig.ends(B, A0, most);
    assert_eq!(rig.says(), ["1: A on 0: cpus:8999999999999999"]);
    rig.ends(B, A0, "cpus:1").ends(B, A0, "cpus:1");
    assert_eq!(rig.says(), ["2: A on 0: cpus:1"]);
}

#[test]
fn grants_that_cannot_be_counted_together_stay_apart() {
    let most = "9000000000000000";
    let mut rig = Rig::new();
    rig.framework(A, &["a"])
        .agent(A0, &format!("cpus(a):{most}"));
    assert_eq!(rig.says().len(), 1);
    changed(&mut rig, &format!("cpus:{most}"), AgentTraits::default());
    assert_eq!(
        rig.says(),
        [
            "rescind 1: Agent".to_string(),
            format!("2: A/a on 0: cpus:{most}")
        ]
    );
    rig.tell(Change::Converted {
        framework: A,
        role: role("a"),
        agent: A0,
        grants: ids(&[2]),
        before: res(&format!("cpus:{most}")),
        after: res(&format!("cpus(a):{most}")),
    });
    // Together they are too much: then it is about the first that is enough.
    for _ in 0..2 {
        rig.tell(Change::Returned {
            framework: A,
            role: role("a"),
            agent: A0,
            resources: res(&format!("cpus(a):{most}")),
            grants: ids(&[1, 2]),
            refuse: None,
        });
    }
    assert_eq!(rig.drf.stats().booked, Quantities::new());
}

#[test]
fn who_converted_all_into_nothing_holds_nothing() {
    // AL-41
    let mut rig = Rig::new();
    rig.framework(A, &["a"]).agent(A0, "cpus:1;mem:64");
    assert_eq!(rig.says().len(), 1);
    rig.tell(Change::Converted {
        framework: A,
        role: role("a"),
        agent: A0,
        grants: whichever(),
        before: res("cpus:1;mem:64"),
        after: Resources::new(),
    });
    rig.tell(Change::FrameworkChanged {
        framework: A,
        profile: FrameworkProfile::new("A", []),
    });
    assert_eq!(rig.drf.dominant_share(A, &role("a")), None);
}

#[test]
fn of_a_shared_volume_an_agent_has_one_copy() {
    // AL-31, RM-48
    let volume = |copies| format!(r#"disk(eng)<volume="v",rw="data",shared{copies}>:10"#);
    let mut rig = Rig::new();
    rig.framework(A, &["eng"]);
    rig.agent(A0, &format!("cpus:4;{}", volume("=3")));
    assert_eq!(
        rig.says(),
        [format!("1: A/eng on 0: cpus:4;{}", volume(""))]
    );
    rig.tell(Change::Accepted {
        framework: A,
        role: role("eng"),
        agent: A0,
        grants: whichever(),
        resources: res(&format!("cpus:4;{}", volume("=3"))),
    });
    rig.tell(Change::AgentActive {
        agent: A0,
        active: false,
    });
    assert_eq!(rig.says(), [""; 0], "nothing of the offer is left");
}

const TOTALS: [&str; 8] = [
    "cpus:4;mem:64;ports:[1-9]",
    "cpus:2;cpus(a):2;mem:100;ports(a):[1-5];ports(b):[3-9]",
    "cpus:9000000000000000;mem:9000000000000000",
    "",
    r#"cpus:2;mem:64;disk(*)<mount="/m">:50;disk(*)<mount="/m">:50;disk:10"#,
    r#"cpus:4;disk(a)<volume="v",rw="d",shared=2>:6;tags:{x,y}"#,
    "cpus:1;cpus(*)<revocable>:2;gpus:1;mem(a):40",
    r#"cpus:1;mem:64;disk(a)<volume="w",rw="d">:6;tags(a):{x};tags(b):{x}"#,
];
const BAGS: [&str; 12] = [
    "",
    "cpus:1",
    "cpus:1;mem:10",
    "cpus(a):1",
    "ports:[3-4]",
    "ports(a):[3-5]",
    "cpus:9000000000000000",
    "cpus:4;mem:64;ports:[1-9]",
    r#"disk(*)<mount="/m">:50"#,
    r#"disk(a)<volume="v",rw="d",shared>:6"#,
    r#"cpus:1;disk(a)<volume="v",rw="d",shared=2>:6"#,
    "tags(a):{x};tags:{x}",
];
const IN_ROLES: [&str; 4] = ["*", "a", "a/x", "b"];

/// A change of any kind, of those who are there and those who are not.
fn any_change(seed: [u8; 8]) -> Change {
    let [kind, who, at, first, second, bit, wait, of] = seed;
    let agent = AgentKey::from_raw(u32::from(at % 2), u32::from(at >> 1) % 2);
    let framework = FrameworkKey::from_raw(u32::from(who % 3), u32::from(who >> 2) % 2);
    let one = |from: &[&str], at: u8| from[usize::from(at) % from.len()].to_string();
    let in_role = role(&one(&IN_ROLES, of));
    let (before, after) = (res(&one(&BAGS, first)), res(&one(&BAGS, second)));
    let total = res(&one(&TOTALS, first));
    let active = bit % 2 == 0;
    // Some that are there, some that are over and some that never were.
    let numbers = [wait % 32, at % 8, of % 16].map(|id| GrantId(id.into()));
    let some = GrantIds::collect(numbers.into_iter().take(1 + usize::from(who % 3)));
    let some = some.expect("there is one at least");
    let traits = AgentTraits {
        hostname: one(&["x", "y"], bit),
        ..AgentTraits::default()
    };
    let mine: Vec<Role> = IN_ROLES
        .iter()
        .enumerate()
        .filter(|it| second >> it.0 & 1 == 1)
        .map(|it| role(it.1))
        .collect();
    let mut profile = FrameworkProfile::new(one(&["n", "m"], bit), mine.clone());
    if of > 99 {
        profile.capabilities = FrameworkCapabilities::ALL;
    }
    match kind % 24 {
        0..=2 => Change::AgentAdded {
            agent,
            total,
            traits,
        },
        3 => Change::AgentChanged {
            agent,
            total,
            traits,
        },
        4 => Change::AgentRemoved { agent },
        5 => Change::AgentActive { agent, active },
        6 | 7 => Change::FrameworkAdded { framework, profile },
        8 => Change::FrameworkChanged { framework, profile },
        9 => Change::FrameworkRemoved { framework },
        10 => Change::FrameworkActive { framework, active },
        11 => Change::Suppressed {
            framework,
            roles: mine,
        },
        12 => Change::Revived {
            framework,
            roles: mine,
        },
        13 => Change::Used {
            framework,
            role: in_role,
            agent,
            resources: before,
        },
        14 | 15 => Change::Accepted {
            framework,
            role: in_role,
            agent,
            grants: some.clone(),
            resources: before,
        },
        16 | 17 => again_free(
            if active {
                Booking::Offered
            } else {
                Booking::Allocated
            },
            (framework, in_role, agent),
            before,
            (bit > 99).then(|| Duration::from_secs(u64::from(wait))),
        ),
        18 => Change::Converted {
            framework,
            role: in_role,
            agent,
            grants: some.clone(),
            before: before.filter(|entry| !entry.is_shared()),
            after: after.filter(|entry| !entry.is_shared()),
        },
        19 => Change::FreeConverted {
            agent,
            before,
            after,
        },
        20 => Change::WeightSet {
            role: in_role,
            weight: Milli::from_units(i64::from(wait) + 1),
        },
        21 => Change::QuotaSet {
            role: in_role,
            quota: Quota {
                guarantees: Quantities::parse(&one(&["", "cpus:2", "mem:50"], first)).unwrap(),
                limits: Ceilings::parse(&one(&["", "cpus:3", "cpus:2;mem:60"], second)).unwrap(),
            },
        },
        22 => Change::Demanded {
            framework,
            role: in_role,
            demand: None,
        },
        _ => Change::Whitelisted {
            hostnames: active.then(|| ["x".to_string()].into()),
        },
    }
}

/// Answers the oldest grant that was not: takes all of it, gives it back, or some of both.
fn answer(
    drf: &mut Drf,
    now: Time,
    open: &mut Vec<Grant>,
    how: u8,
    out: &mut Outbox<Never, Decision>,
) {
    if open.is_empty() {
        return;
    }
    let grant = open.remove(usize::from(how / 4) % open.len());
    let grants = GrantIds::from(grant.id);
    let half = grant
        .resources
        .filter(|entry| entry.name().len() % 2 == usize::from(how & 1));
    let rest = grant.resources.checked_sub(&half).unwrap();
    let used = Change::Accepted {
        framework: grant.framework,
        role: grant.role.clone(),
        agent: grant.agent,
        grants: grants.clone(),
        resources: half,
    };
    let returned = Change::Returned {
        framework: grant.framework,
        role: grant.role,
        agent: grant.agent,
        grants,
        resources: if how & 2 == 0 { rest } else { grant.resources },
        refuse: None,
    };
    if how & 2 == 0 {
        drf.handle(now, used, out);
    }
    drf.handle(now, returned, out);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    // I1, I2
    #[test]
    fn nothing_that_is_told_breaks_the_books(
        steps in prop::collection::vec(any::<[u8; 8]>(), 1..60),
        bits in any::<u8>(),
    ) {
        let mut drf = Drf::new(Options {
            agents_per_slice: if bits & 1 == 0 { 1 } else { 100 },
            min_allocatable: match bits & 2 {
                0 => Vec::new(),
                _ => Options::default().min_allocatable,
            },
            lease: (bits & 4 == 0).then(|| Duration::from_secs(2)),
            ..Options::default()
        });
        let (mut out, mut open, mut now) = (Outbox::new(), Vec::new(), Time::ZERO);
        for seed in steps {
            now = now + Duration::from_millis(u64::from(seed[6] % 4) * 300);
            if seed[0] > 200 {
                answer(&mut drf, now, &mut open, seed[1], &mut out);
            } else {
                // Of what is said of grants, as much is true as not.
                let change = any_change(seed);
                let is_named = seed[5] & 2 == 0;
                let change = if is_named { named(&drf, change) } else { change };
                drf.handle(now, change, &mut out);
            }
            drf.check_invariants();
            if seed[7] & 1 == 0 {
                drf.tick(now, &mut out);
                drf.check_invariants();
            }
            open.extend(out.drain().filter_map(|it| match it {
                Output::Effect(Decision::Grant(grant)) => Some(grant),
                Output::Effect(Decision::Rescind { .. })
                | Output::Persist(_)
                | Output::Free(_) => None,
            }));
        }
        // All leave, and nothing is left of them.
        for (index, generation) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            let agent = AgentKey::from_raw(index, generation);
            drf.handle(now, Change::AgentRemoved { agent }, &mut out);
        }
        drf.check_invariants();
        prop_assert_eq!(drf.stats().booked, Quantities::new());
        prop_assert_eq!(drf.stats().total, Quantities::new());
    }
}

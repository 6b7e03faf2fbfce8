//! Who may not be offered what: whitelist, capabilities, regions, constraints, thresholds, changes
//! of a framework.

use alloc::collections::BTreeSet;
use alloc::vec;

use super::*;
use crate::allocator::drf::GpuRule;
use crate::allocator::{AgentCapabilities, Capability, FrameworkCapabilities, Obstacle, sum_up};
use crate::attributes::Attributes;
use crate::constraints::{Comparison, Constraint, Constraints, Predicate, Selector};
use crate::resources::{Milli, Quantities};

fn agent(n: u32, total: &str, traits: AgentTraits) -> Change {
    Change::AgentAdded {
        agent: AgentKey::from_raw(n, 0),
        total: res(total),
        traits,
    }
}

fn named(hostname: &str) -> AgentTraits {
    AgentTraits {
        hostname: hostname.into(),
        ..AgentTraits::default()
    }
}

fn joins(profile: FrameworkProfile) -> Change {
    Change::FrameworkAdded {
        framework: A,
        profile,
    }
}

fn able(capabilities: FrameworkCapabilities) -> FrameworkProfile {
    FrameworkProfile {
        capabilities,
        ..FrameworkProfile::new("A", roles(&["*"]))
    }
}

#[test]
fn as_09_only_what_is_on_the_whitelist_is_offered() {
    // AL-08, AL-09, AS-09
    let mut rig = Rig::new();
    let list = |names: &[&str]| Change::Whitelisted {
        hostnames: Some(
            names
                .iter()
                .map(|it| it.to_string())
                .collect::<BTreeSet<_>>(),
        ),
    };
    rig.tell(list(&["one"])).framework(A, &["*"]);
    rig.tell(agent(0, "cpus:1", named("one")))
        .tell(agent(1, "cpus:1", named("two")));
    assert_eq!(rig.says(), ["1: A on 0: cpus:1"]);
    assert_eq!(
        rig.drf.explain(A, &Role::any())[1],
        (A1, Obstacle::NotWhitelisted)
    );
    // What is offered stays.
    assert_eq!(rig.tell(list(&[])).says(), [""; 0]);
    rig.tell(Change::Whitelisted { hostnames: None });
    assert_eq!(rig.says(), ["2: A on 1: cpus:1"]);
}

#[test]
fn as_09_agents_with_gpus_are_for_those_who_use_them() {
    // AL-12, AS-09
    let offered = |rule, gpus| {
        let mut rig = Rig::with(Options {
            gpus: rule,
            ..Options::default()
        });
        let capabilities = FrameworkCapabilities {
            gpus,
            ..FrameworkCapabilities::default()
        };
        rig.tell(joins(able(capabilities)));
        let said = rig.agent(A0, "cpus:4;gpus:1").says().len();
        if said == 0 {
            let obstacle = Obstacle::Incapable(Capability::Gpus);
            assert_eq!(rig.drf.explain(A, &Role::any()), [(A0, obstacle)]);
        }
        said
    };
    assert_eq!(offered(GpuRule::Capable, false), 0);
    assert_eq!(offered(GpuRule::Capable, true), 1);
    assert_eq!(offered(GpuRule::Everyone, false), 1);
}

#[test]
fn other_regions_are_for_those_who_can_cope() {
    // AL-11, RM-59
    let offered = |ours: Option<&str>, theirs: Option<&str>, region_aware| {
        let mut rig = Rig::with(Options {
            region: ours.map(Into::into),
            ..Options::default()
        });
        rig.tell(joins(able(FrameworkCapabilities {
            region_aware,
            ..FrameworkCapabilities::default()
        })));
        let traits = AgentTraits {
            region: theirs.map(Into::into),
            ..AgentTraits::default()
        };
        rig.tell(agent(0, "cpus:1", traits)).says().len()
    };
    assert_eq!(offered(Some("here"), Some("there"), false), 0);
    assert_eq!(offered(Some("here"), Some("there"), true), 1);
    assert_eq!(offered(Some("here"), Some("here"), false), 1);
    assert_eq!(offered(Some("here"), None, false), 1);
    assert_eq!(offered(None, Some("there"), false), 1);
}

#[test]
fn old_agents_are_kept_from_what_they_do_not_understand() {
    // AL-32
    let old = |multi_role, hierarchical_role| AgentTraits {
        capabilities: AgentCapabilities {
            multi_role,
            hierarchical_role,
        },
        ..AgentTraits::default()
    };
    let mut rig = Rig::new();
    rig.framework(A, &["a/b"]);
    rig.tell(agent(0, "cpus:1", old(false, true)))
        .tell(agent(1, "cpus:1", old(true, false)));
    assert_eq!(rig.says(), [""; 0]);
    let expected = [
        (A0, Obstacle::Incapable(Capability::MultiRole)),
        (A1, Obstacle::Incapable(Capability::HierarchicalRole)),
    ];
    assert_eq!(rig.drf.explain(A, &role("a/b")), expected);
    // It learns.
    rig.tell(Change::AgentChanged {
        agent: A1,
        total: res("cpus:1"),
        traits: old(true, true),
    });
    assert_eq!(rig.says(), ["1: A/a/b on 1: cpus:1"]);
}

fn wants(selector: Selector, predicate: Predicate) -> FrameworkProfile {
    let constraint = Constraint {
        selector,
        predicate,
    };
    let mut profile = FrameworkProfile::new("A", roles(&["*"]));
    profile.roles[0].constraints = Some(Constraints::new(vec![vec![constraint]]).unwrap());
    profile
}

#[test]
fn constraints_choose_agents_and_can_change() {
    // OF-41, OF-45, AL-26
    let rack = |text: &str| AgentTraits {
        attributes: Attributes::parse(text).unwrap(),
        ..AgentTraits::default()
    };
    let is = |text: &str| {
        let selector = Selector::Attribute("rack".into());
        wants(selector, Predicate::TextEquals(text.into()))
    };
    let mut rig = Rig::new();
    rig.tell(joins(is("r1")));
    rig.tell(agent(0, "cpus:1", rack("rack:r1")))
        .tell(agent(1, "cpus:1", rack("rack:r2")));
    assert_eq!(rig.says(), ["1: A on 0: cpus:1"]);
    let explained = rig.drf.explain(A, &Role::any());
    let in_words = r#"attribute "rack" is "r1""#;
    assert_eq!(explained[1], (A1, Obstacle::Constraint(in_words.into())));
    assert_eq!(sum_up(&explained).len(), 2);
    rig.tell(Change::FrameworkChanged {
        framework: A,
        profile: is("r2"),
    });
    assert_eq!(rig.says(), ["2: A on 1: cpus:1"]);
}

#[test]
fn whom_constraints_bar_is_known_of_agents_alike_until_either_changes() {
    // OF-41, OF-45, AL-43
    let rack = |text: &str| AgentTraits {
        attributes: Attributes::parse(text).unwrap(),
        ..AgentTraits::default()
    };
    let r1 = Predicate::TextEquals("r1".into());
    let mut rig = Rig::new();
    rig.tell(joins(wants(Selector::Attribute("rack".into()), r1)));
    rig.tell(agent(0, "cpus:1", rack("rack:r2"))).says();
    rig.tell(agent(1, "cpus:1", rack("rack:r2")));
    assert_eq!(rig.says(), [""; 0]);
    let explained = rig.drf.explain(A, &Role::any());
    assert_eq!(explained[1].0, A1);
    assert!(matches!(explained[1].1, Obstacle::Constraint(_)));
    // One of them moves.
    rig.tell(Change::AgentChanged {
        agent: A1,
        total: res("cpus:1"),
        traits: rack("rack:r1"),
    });
    assert_eq!(rig.says(), ["1: A on 1: cpus:1"]);
    // Whoever comes in its place is not barred as it was.
    rig.tell(Change::FrameworkRemoved { framework: A });
    rig.framework(B, &["*"]);
    let mut said = rig.says();
    said.sort_unstable_by_key(|it| it.split(" on ").last().map(String::from));
    let offered: Vec<_> = said.iter().map(|it| &it[2..]).collect();
    assert_eq!(offered, [" B on 0: cpus:1", " B on 1: cpus:1"]);
}

#[test]
fn constraints_on_what_is_offered_are_asked_again_when_it_grows() {
    // OF-47
    let at_least = Predicate::Number(Comparison::AtLeast, Milli::from_units(4));
    let mut rig = Rig::new();
    rig.tell(joins(wants(Selector::Offered("cpus".into()), at_least)));
    rig.agent(A0, "cpus:4").used(B, A0, "cpus:1");
    assert_eq!(rig.says(), [""; 0]);
    let obstacle = Obstacle::Constraint(r#"offered of "cpus" >= 4"#.into());
    assert_eq!(rig.drf.explain(A, &Role::any()), [(A0, obstacle)]);
    assert_eq!(rig.ends(B, A0, "cpus:1").says(), ["1: A on 0: cpus:4"]);
}

#[test]
fn as_06_a_framework_says_what_is_worth_an_offer_to_it() {
    // OF-40, AL-33, AS-06
    let offered = |sets: &[&str], free: &str| {
        let sets = sets.iter().map(|it| Quantities::parse(it).unwrap());
        let mut profile = FrameworkProfile::new("A", roles(&["*"]));
        profile.roles[0].min_allocatable = Some(sets.collect());
        let mut rig = Rig::new();
        rig.tell(joins(profile));
        rig.agent(A0, free).says().len()
    };
    assert_eq!(offered(&["disk:1000"], "disk:1000"), 1);
    assert_eq!(offered(&["disk:1000"], "cpus:4;mem:1000"), 0);
    assert_eq!(offered(&[], "ports:[1-2]"), 1);
    assert_eq!(offered(&["cpus:4", "mem:10"], "mem:10"), 1);
}

#[test]
fn a_framework_that_leaves_a_role_keeps_what_it_uses_there() {
    // RQ-03
    let mut rig = Rig::new();
    rig.framework(A, &["x"]).agent(A0, "cpus:4").says();
    rig.tell(Change::Accepted {
        framework: A,
        role: role("x"),
        agent: A0,
        grants: whichever(),
        resources: res("cpus:1"),
    });
    rig.tell(Change::FrameworkChanged {
        framework: A,
        profile: FrameworkProfile::new("A", roles(&["y"])),
    });
    assert_eq!(rig.says(), ["rescind 1: Role"]);
    let back = |resources: &str, from| {
        again_free(
            from,
            (A, role("x"), A0),
            res(resources),
            Some(Duration::from_secs(60)),
        )
    };
    rig.tell(back("cpus:3", Booking::Offered));
    assert_eq!(rig.says(), ["2: A/y on 0: cpus:3"]);
    assert_eq!(rig.drf.dominant_share(A, &role("x")), Some(250_000));
    assert_eq!(rig.drf.explain(A, &role("x")), vec![]);
    // With its last task there the leaf is gone (AL-41).
    rig.tell(back("cpus:1", Booking::Allocated));
    assert_eq!(rig.drf.dominant_share(A, &role("x")), None);
}

#[test]
fn as_07_what_is_converted_stays_granted() {
    // AL-39, AS-07
    let mut rig = Rig::new();
    rig.framework(A, &["x"])
        .framework(B, &["y"])
        .agent(A0, "cpus:4")
        .says();
    rig.tell(Change::Converted {
        framework: A,
        role: role("x"),
        agent: A0,
        grants: whichever(),
        before: res("cpus:2"),
        after: res("cpus(x):2"),
    });
    let x = rig
        .drf
        .roles()
        .into_iter()
        .find(|it| it.role == role("x"))
        .unwrap();
    assert_eq!(x.reserved.to_string(), "cpus:2");
    assert_eq!(x.consumed.to_string(), "cpus:4");
    rig.tell(Change::Returned {
        framework: A,
        role: role("x"),
        agent: A0,
        resources: res("cpus(x):2;cpus:2"),
        grants: whichever(),
        refuse: None,
    });
    // The reserved half is no use to B. A has used nothing, and waits like all who do not.
    assert_eq!(rig.says(), ["2: B/y on 0: cpus:2"]);
    assert_eq!(rig.until(1_000), ["1000 ms: 3: A/x on 0: cpus(x):2"]);
}

#[test]
fn a_conversion_takes_of_what_is_free_only_numbers_that_it_makes_twice() {
    // AL-39, RM-20
    let convert = |before: &str, after: &str| Change::Converted {
        framework: A,
        role: role("x"),
        agent: A0,
        grants: whichever(),
        before: res(before),
        after: res(after),
    };
    for (before, after, free) in [
        ("cpus:4", "cpus(x):4", "cpus(y):1; ports(y):[5-9]"),
        ("ports:[1-1]", "ports(y):[5-5]", "cpus(y):1; ports(y):[6-9]"),
        ("ports:[8-8]", "ports(y):[5-5]", "cpus(y):1; ports(y):[5-9]"),
    ] {
        let mut rig = Rig::new();
        rig.framework(A, &["x"])
            .agent(A0, "cpus:4;ports:[1-4];cpus(y):1;ports(y):[5-9]");
        assert_eq!(rig.says().len(), 1);
        rig.tell(convert(before, after));
        assert!(rig.says().is_empty());
        rig.framework(B, &["y"]);
        let free = res(free).to_string();
        assert_eq!(rig.says(), [format!("2: B/y on 0: {free}")], "{before}");
    }
}

#[test]
fn as_07_an_operator_converts_what_is_free() {
    // AL-40, AS-07
    let mut rig = Rig::new();
    rig.framework(B, &["y"])
        .agent(A0, "cpus:4")
        .used_in(B, "y", A0, "cpus:1");
    rig.tell(Change::FreeConverted {
        agent: A0,
        before: res("cpus:2"),
        after: res("cpus(x):2"),
    });
    assert_eq!(rig.says(), ["1: B/y on 0: cpus:1"]);
    // What was granted meanwhile is asked back.
    rig.tell(Change::FreeConverted {
        agent: A0,
        before: res("cpus:1"),
        after: res("cpus(x):1"),
    });
    assert_eq!(rig.says(), ["rescind 1: Agent"]);
    // What is not there cannot have been converted.
    rig.tell(Change::FreeConverted {
        agent: A0,
        before: res("cpus:9"),
        after: res("cpus(x):9"),
    });
    assert_eq!(rig.drf.stats().total.to_string(), "cpus:4");
}

//! Who holds what: what is worth an offer, what is asked back, and what is late news.

use alloc::vec;

use super::*;
use crate::allocator::Obstacle;
use crate::resources::Quantities;

#[test]
fn tv_23_only_what_is_worth_it_is_offered() {
    // TV-23, AL-33, RM-56, AS-06
    let cases = [
        ("cpus:0.005;mem:64", true),
        ("cpus:0.02", true),
        ("cpus:0.005;mem:16", false),
        ("disk:1000", false),
        ("mem:31.999", false),
        ("cpus:0.01", true),
        ("mem:32", true),
    ];
    for (free, offered) in cases {
        let mut rig = Rig::new();
        rig.framework(A, &["*"]).agent(A0, free);
        assert_eq!(rig.says().len(), usize::from(offered), "{free}");
        if !offered {
            let explained = rig.drf.explain(A, &Role::any());
            assert_eq!(explained, [(A0, Obstacle::TooSmall)]);
        }
    }
    let with = |sets: &[&str], free: &str| {
        let mut rig = Rig::with(Options {
            min_allocatable: sets
                .iter()
                .map(|it| Quantities::parse(it).unwrap())
                .collect(),
            ..Options::default()
        });
        rig.framework(A, &["*"]).agent(A0, free).says().len()
    };
    assert_eq!(with(&["cpus:1;mem:100"], "cpus:1;mem:99"), 0);
    assert_eq!(with(&["cpus:1;mem:100"], "cpus:1;mem:100"), 1);
    assert_eq!(with(&[], "ports:[1-1]"), 1);
    assert_eq!(with(&[], ""), 0);
}

#[test]
fn changes_of_one_moment_are_seen_together() {
    let mut rig = Rig::new();
    rig.framework(A, &["*"]);
    rig.agent(A0, "cpus:4").used(A, A0, "cpus:3");
    assert_eq!(rig.drf.deadline(), Some(Time::ZERO));
    assert_eq!(rig.says(), ["1: A on 0: cpus:1"]);
    // What is due is done before a change of a later moment.
    rig.agent(A1, "cpus:2");
    rig.now = Time::from_micros(1);
    rig.used(B, A1, "cpus:2");
    let expected = ["2: A on 1: cpus:2", "rescind 2: Agent"];
    assert_eq!(rig.says(), expected);
}

#[test]
fn an_idle_allocator_has_no_work() {
    // AL-04
    let mut rig = Rig::new();
    assert_eq!(rig.drf.deadline(), None);
    rig.agent(A0, "cpus:4");
    assert_eq!(rig.drf.deadline(), None, "nobody is there to offer to");
    rig.framework(A, &["*"]);
    assert_eq!(rig.says(), ["1: A on 0: cpus:4"]);
    let passes = rig.drf.stats().passes;
    assert_eq!(rig.drf.deadline(), None, "all is offered");
    rig.accepts(A, A0, "cpus:4");
    rig.now = Time::from_micros(60_000_000);
    assert_eq!(rig.says(), [""; 0]);
    assert_eq!(rig.drf.stats().passes, passes);
}

#[test]
fn an_inactive_agent_is_not_offered_and_its_grants_are_asked_back() {
    // AL-08
    let mut rig = Rig::new();
    rig.framework(A, &["*"]).agent(A0, "cpus:4").says();
    rig.accepts(A, A0, "cpus:1");
    let active = |active| Change::AgentActive { agent: A0, active };
    assert_eq!(rig.tell(active(false)).says(), ["rescind 1: Agent"]);
    assert_eq!(rig.tell(active(false)).says(), [""; 0], "it was asked for");
    rig.returns(A, A0, "cpus:3", 0);
    assert_eq!(rig.says(), [""; 0]);
    let explained = rig.drf.explain(A, &Role::any());
    assert_eq!(explained, [(A0, Obstacle::AgentInactive)]);
    // It gave back what it was asked for, which is no sign that it does not want it.
    assert_eq!(rig.tell(active(true)).says(), ["2: A on 0: cpus:3"]);
}

#[test]
fn as_11_an_inactive_framework_gets_nothing_and_keeps_what_it_uses() {
    // AL-21, AL-42, AS-11
    let mut rig = Rig::new();
    rig.framework(A, &["*"])
        .agent(A0, "cpus:4")
        .agent(A1, "cpus:4")
        .says();
    rig.accepts(A, A0, "cpus:4");
    let active = |active| Change::FrameworkActive {
        framework: A,
        active,
    };
    let said = rig.tell(active(false)).says();
    assert_eq!(said.len(), 1);
    assert!(said[0].ends_with(": Framework"), "{said:?}");
    assert_eq!(rig.returns(A, A1, "cpus:4", 5_000).says(), [""; 0]);
    assert_eq!(rig.drf.dominant_share(A, &Role::any()), Some(500_000));
    let explained = rig.drf.explain(A, &Role::any());
    assert_eq!(explained[1], (A1, Obstacle::FrameworkInactive));
    assert_eq!(rig.tell(active(true)).says(), ["3: A on 1: cpus:4"]);
}

#[test]
fn as_08_an_agent_that_shrinks_below_what_is_booked_recovers() {
    // AS-08
    let mut rig = Rig::new();
    rig.framework(A, &["*"]).agent(A0, "cpus:4;mem:64").says();
    rig.accepts(A, A0, "cpus:2");
    let total = |text: &str| Change::AgentChanged {
        agent: A0,
        total: res(text),
        traits: AgentTraits::default(),
    };
    assert_eq!(
        rig.tell(total("cpus:3;mem:64")).says(),
        ["rescind 1: Agent"]
    );
    rig.returns(A, A0, "cpus:1", 0);
    assert_eq!(
        rig.says(),
        [""; 0],
        "two in use and one offered are all three"
    );
    rig.returns(A, A0, "cpus:1;mem:64", 0);
    assert_eq!(rig.says(), ["2: A on 0: cpus:1;mem:64"]);
    assert_eq!(
        rig.tell(total("cpus:8;mem:64")).says(),
        ["3: A on 0: cpus:5"]
    );
}

#[test]
fn use_that_collides_with_a_grant_asks_the_grant_back() {
    let mut rig = Rig::new();
    rig.framework(A, &["*"])
        .agent(A0, "cpus:2;ports:[1-9]")
        .says();
    // By somebody who is not there, but in use is in use.
    rig.used(B, A0, "ports:[3-4]");
    assert_eq!(rig.says(), ["rescind 1: Agent"]);
    rig.returns(A, A0, "cpus:2;ports:[1-9]", 0);
    assert_eq!(rig.says(), ["2: A on 0: cpus:2;ports:[1-2,5-9]"]);
    rig.ends(B, A0, "ports:[3-4]");
    assert_eq!(
        rig.says(),
        [""; 0],
        "two ports alone are not worth an offer"
    );
    assert_eq!(rig.drf.stats().booked, Quantities::parse("cpus:2").unwrap());
}

#[test]
fn of_grants_alike_those_that_are_left_are_asked_back() {
    let mut rig = Rig::new();
    rig.framework(A, &["*"])
        .agent(A0, "cpus:2")
        .used(B, A0, "cpus:1");
    assert_eq!(rig.says(), ["1: A on 0: cpus:1"]);
    assert_eq!(rig.ends(B, A0, "cpus:1").says(), ["2: A on 0: cpus:1"]);
    rig.returns_of(&[2], A, A0, "cpus:1");
    let active = Change::AgentActive {
        agent: A0,
        active: false,
    };
    assert_eq!(rig.tell(active).says(), ["rescind 1: Agent"]);
}

#[test]
fn grants_that_are_accepted_together_are_used_up_together() {
    // OF-10: one task of two cores from two offers of one.
    let mut rig = Rig::new();
    rig.framework(A, &["*"])
        .agent(A0, "cpus:2;mem:64")
        .used(B, A0, "cpus:1;mem:64");
    rig.says();
    assert_eq!(
        rig.ends(B, A0, "cpus:1;mem:64").says(),
        ["2: A on 0: cpus:1;mem:64"]
    );
    rig.accepts(A, A0, "cpus:2;mem:32")
        .returns(A, A0, "mem:32", 0);
    assert_eq!(rig.says(), ["3: A on 0: mem:32"]);
    let active = Change::FrameworkActive {
        framework: A,
        active: false,
    };
    assert_eq!(rig.tell(active).says(), ["rescind 3: Framework"]);
}

#[test]
fn late_news_changes_nothing() {
    // AL-36
    let mut rig = Rig::new();
    rig.framework(A, &["*"]).agent(A0, "cpus:4").says();
    let gone = AgentKey::from_raw(0, 1);
    rig.returns(A, gone, "cpus:4", 0)
        .returns(B, A0, "cpus:4", 0);
    rig.returns(A, A0, "cpus:5", 0).ends(A, A0, "cpus:1");
    rig.accepts(A, gone, "cpus:1").used(A, gone, "cpus:1");
    rig.tell(Change::AgentRemoved { agent: gone });
    rig.tell(Change::FrameworkRemoved { framework: B });
    rig.tell(Change::FrameworkActive {
        framework: B,
        active: true,
    });
    assert_eq!(rig.says(), [""; 0]);
    let held = Quantities::parse("cpus:4").unwrap();
    assert_eq!(rig.drf.stats().booked, held);
    rig.tell(Change::AgentRemoved { agent: A0 });
    rig.returns(A, A0, "cpus:4", 0);
    assert_eq!(rig.says(), [""; 0]);
    assert_eq!(rig.drf.stats().total, Quantities::new());
    assert_eq!(rig.drf.stats().booked, Quantities::new());
    assert_eq!(rig.drf.explain(B, &Role::any()), vec![]);
    assert_eq!(rig.drf.dominant_share(B, &Role::any()), None);
}

#[test]
fn what_a_removed_framework_held_goes_to_the_others_at_once() {
    let mut rig = Rig::new();
    rig.framework(A, &["*"])
        .agent(A0, "cpus:4")
        .agent(A1, "cpus:4")
        .says();
    rig.accepts(A, A0, "cpus:4");
    assert_eq!(rig.framework(B, &["*"]).says(), [""; 0]);
    rig.tell(Change::FrameworkRemoved { framework: A });
    assert_eq!(rig.says().len(), 2);
    assert_eq!(rig.drf.dominant_share(B, &Role::any()), Some(1_000_000));
    assert_eq!(rig.drf.dominant_share(A, &Role::any()), None);
}

#[test]
fn amounts_that_do_not_fit_are_no_panic() {
    let most = "cpus:9000000000000000";
    let mut rig = Rig::new();
    rig.framework(A, &["*"])
        .agent(A0, most)
        .agent(A1, "cpus:1")
        .says();
    rig.used(A, A0, most)
        .used(A, A0, most)
        .accepts(A, A0, "cpus:1");
    rig.ends(A, A0, most).returns(A, A0, most, 0);
    // The agents came in some order, so the grant of the first one has either number.
    let said = rig.says();
    assert!(said[0].starts_with("rescind "), "{said:?}");
    assert!(said[0].ends_with(": Agent"), "{said:?}");
}

#[test]
fn a_pass_over_many_agents_is_made_in_slices() {
    let mut rig = Rig::with(Options {
        agents_per_slice: 2,
        ..Options::default()
    });
    for n in 0..5 {
        rig.agent(AgentKey::from_raw(n, 0), "cpus:1");
    }
    rig.framework(A, &["*"]);
    let mut slices = Vec::new();
    while rig.drf.deadline().is_some_and(|due| due <= rig.now) {
        rig.drf.tick(rig.now, &mut rig.out);
        rig.drf.check_invariants();
        slices.push(rig.out.drain().count());
    }
    assert_eq!(slices, [2, 2, 1]);
    assert_eq!(rig.drf.stats().passes, 1);
    // What happens between two slices counts for the next one.
    for n in 5..10 {
        rig.agent(AgentKey::from_raw(n, 0), "cpus:1");
    }
    rig.drf.tick(rig.now, &mut rig.out);
    assert_eq!(rig.out.drain().count(), 2);
    rig.tell(Change::Suppressed {
        framework: A,
        roles: Vec::new(),
    });
    for _ in 0..3 {
        rig.drf.tick(rig.now, &mut rig.out);
        rig.drf.check_invariants();
    }
    assert!(rig.out.is_empty(), "it wants no more");
    assert_eq!(rig.drf.deadline(), None);
}

#[test]
fn a_slice_ends_early_if_many_are_looked_at_for_each_agent() {
    let slices = |frameworks: u32| {
        let mut rig = Rig::with(Options {
            agents_per_slice: 32,
            ..Options::default()
        });
        for n in 0..64 {
            rig.agent(AgentKey::from_raw(n, 0), "cpus:1");
        }
        for n in 0..frameworks {
            // Each for a reason of its own finds too little, and has a choice: it is looked at.
            let least = [format!("cpus:{}", 2 + n), format!("mem:{}", 1 + n)];
            let least = least.map(|set| Quantities::parse(&set).unwrap()).to_vec();
            let mut profile = FrameworkProfile::new(format!("{n}"), roles(&["*"]));
            profile.roles[0].min_allocatable = Some(least);
            let framework = FrameworkKey::from_raw(n, 0);
            rig.drf.handle(
                rig.now,
                Change::FrameworkAdded { framework, profile },
                &mut rig.out,
            );
        }
        let mut slices = 0;
        while rig.drf.deadline().is_some_and(|due| due <= rig.now) {
            rig.drf.tick(rig.now, &mut rig.out);
            slices += 1;
        }
        rig.drf.check_invariants();
        assert!(rig.out.is_empty());
        slices
    };
    assert_eq!(slices(200), 22, "the work of 32 agents is three of them");
    assert!(slices(2) < 4);
}

//! What is not wanted, and who waits for what.

use alloc::vec;

use super::*;
use crate::allocator::Obstacle;

#[test]
fn tv_21_a_refusal_hides_what_is_contained_in_it() {
    // TV-21, OF-33
    let again = |now_free: &str| {
        let mut rig = Rig::new();
        rig.framework(A, &["*"]).agent(A0, "cpus:2");
        assert_eq!(rig.says(), ["1: A on 0: cpus:2"]);
        // B takes what makes the difference before the refusal, and gives it back after.
        rig.returns(A, A0, "cpus:2", 60_000).says();
        let obstacle = Obstacle::Filtered(Time::from_micros(61_000_000));
        assert_eq!(rig.drf.explain(A, &Role::any()), [(A0, obstacle)]);
        rig.used(B, A0, "cpus:2");
        rig.ends(B, A0, now_free);
        rig.says().len()
    };
    assert_eq!(again("cpus:1"), 0);
    assert_eq!(again("cpus:2"), 0);

    for (more, offered) in [("cpus:1", "cpus:3"), ("mem:64", "cpus:2;mem:64")] {
        let mut rig = Rig::new();
        rig.framework(A, &["*"])
            .agent(A0, &format!("cpus:2;{more}"));
        rig.used(B, A0, more);
        assert_eq!(rig.says(), ["1: A on 0: cpus:2"]);
        assert_eq!(rig.returns(A, A0, "cpus:2", 60_000).says(), [""; 0]);
        let expected = format!("2: A on 0: {offered}");
        assert_eq!(rig.ends(B, A0, more).says(), [expected]);
    }
}

#[test]
fn tv_22_a_short_refusal_covers_a_cycle() {
    // TV-22, OF-34, AL-37, AS-02
    for (refuse, again) in [(0, 1_000), (500, 2_000), (1_000, 2_000), (5_000, 6_000)] {
        let mut rig = Rig::new();
        rig.framework(A, &["*"]).agent(A0, "cpus:2").says();
        rig.returns(A, A0, "cpus:2", refuse);
        let expected = format!("{again} ms: 2: A on 0: cpus:2");
        assert_eq!(rig.until(20_000), [expected], "refused for {refuse} ms");
    }
}

#[test]
fn a_refusal_that_lapses_leaves_a_later_one_of_the_same() {
    // AL-37: of two grants of one core each, the second is refused for longer.
    let mut rig = Rig::new();
    rig.framework(A, &["*"])
        .agent(A0, "cpus:2")
        .used(B, A0, "cpus:1");
    assert_eq!(rig.says(), ["1: A on 0: cpus:1"]);
    assert_eq!(rig.ends(B, A0, "cpus:1").says(), ["2: A on 0: cpus:1"]);
    rig.returns(A, A0, "cpus:1", 2_000)
        .returns(A, A0, "cpus:1", 10_000)
        .used(B, A0, "cpus:1");
    assert_eq!(rig.until(20_000), ["11000 ms: 3: A on 0: cpus:1"]);
}

#[test]
fn as_02_refusals_are_forgotten_with_their_cause() {
    // OF-35, AL-42, AL-43, AS-02
    let active = |active| Change::FrameworkActive {
        framework: A,
        active,
    };
    let cases = [
        vec![Change::Revived {
            framework: A,
            roles: Vec::new(),
        }],
        vec![Change::Revived {
            framework: A,
            roles: roles(&["*"]),
        }],
        vec![active(false), active(true)],
        vec![Change::AgentChanged {
            agent: A0,
            total: res("cpus:1"),
            traits: AgentTraits::default(),
        }],
        vec![
            Change::AgentRemoved { agent: A0 },
            Change::AgentAdded {
                agent: A0,
                total: res("cpus:1"),
                traits: AgentTraits::default(),
            },
        ],
    ];
    for changes in cases {
        let mut rig = Rig::new();
        rig.framework(A, &["*"]).agent(A0, "cpus:2").says();
        assert_eq!(rig.returns(A, A0, "cpus:2", 60_000).says(), [""; 0]);
        assert_eq!(rig.drf.stats().filters, 1);
        for change in changes.clone() {
            rig.tell(change);
        }
        assert_eq!(rig.says().len(), 1, "after {changes:?}");
        assert_eq!(rig.drf.stats().filters, 0);
        assert_eq!(rig.until(100_000), [""; 0]);
    }
}

#[test]
fn reviving_one_role_leaves_the_refusals_of_the_others() {
    // OF-35, OF-36, AS-11
    let mut rig = Rig::new();
    rig.framework(A, &["x", "y"]).agent(A0, "cpus:2");
    let back = |in_role: &str| Change::Returned {
        framework: A,
        role: role(in_role),
        agent: A0,
        resources: res("cpus:2"),
        grants: whichever(),
        refuse: Some(Duration::from_secs(60)),
    };
    assert_eq!(rig.says(), ["1: A/x on 0: cpus:2"]);
    assert_eq!(rig.tell(back("x")).says(), ["2: A/y on 0: cpus:2"]);
    assert_eq!(rig.tell(back("y")).says(), [""; 0]);
    rig.tell(Change::Revived {
        framework: A,
        roles: roles(&["y", "foreign"]),
    });
    assert_eq!(rig.says(), ["3: A/y on 0: cpus:2"]);
    assert_eq!(rig.tell(back("y")).says(), [""; 0]);
}

#[test]
fn what_comes_back_goes_to_the_next_at_once_and_to_the_same_after_an_interval() {
    let mut rig = Rig::new();
    rig.framework(A, &["*"])
        .framework(B, &["*"])
        .agent(A0, "cpus:2");
    assert_eq!(rig.says(), ["1: A on 0: cpus:2"]);
    rig.until(300);
    assert_eq!(
        rig.returns(A, A0, "cpus:2", 0).says(),
        ["2: B on 0: cpus:2"]
    );
    rig.until(400);
    assert_eq!(rig.returns(B, A0, "cpus:2", 0).says(), [""; 0]);
    // No ping-pong: nothing is said until A has waited.
    assert_eq!(rig.until(1_350), ["1300 ms: 3: A on 0: cpus:2"]);
    rig.returns(A, A0, "cpus:2", 0);
    assert_eq!(rig.until(1_450), ["1400 ms: 4: B on 0: cpus:2"]);
}

#[test]
fn two_that_want_nothing_do_not_play_ping_pong() {
    let mut rig = Rig::new();
    rig.framework(A, &["*"])
        .framework(B, &["*"])
        .agent(A0, "cpus:2")
        .agent(A1, "cpus:2");
    let mut last: Vec<(FrameworkKey, AgentKey, Time)> = Vec::new();
    let mut offers = 0;
    while rig.now < Time::from_micros(10_000_000) {
        rig.drf.tick(rig.now, &mut rig.out);
        while let Some(Output::Effect(Decision::Grant(grant))) = rig.out.pop() {
            offers += 1;
            let (who, agent) = (grant.framework, grant.agent);
            let before = last.iter().rposition(|it| (it.0, it.1) == (who, agent));
            if let Some(before) = before {
                assert!(rig.now.since(last[before].2) >= Duration::from_secs(1));
            }
            last.push((who, agent, rig.now));
            rig.returns(who, agent, "cpus:2", 0);
        }
        rig.now = rig.drf.deadline().unwrap();
    }
    assert_eq!(offers, 40, "each is asked once a second about each agent");
}

#[test]
fn whoever_used_a_part_keeps_its_place_for_the_rest() {
    let mut rig = Rig::new();
    rig.framework(A, &["*"])
        .framework(B, &["*"])
        .agent(A0, "cpus:10");
    rig.used(B, A0, "cpus:5");
    assert_eq!(rig.says(), ["1: A on 0: cpus:5"]);
    rig.accepts(A, A0, "cpus:1").returns(A, A0, "cpus:4", 0);
    assert_eq!(rig.says(), ["2: A on 0: cpus:4"]);
    // Nothing of the second one: it does not want the rest.
    assert_eq!(
        rig.returns(A, A0, "cpus:4", 0).says(),
        ["3: B on 0: cpus:4"]
    );
}

#[test]
fn a_refusal_of_the_rest_counts_though_a_part_was_used() {
    // OF-17
    let mut rig = Rig::new();
    rig.framework(A, &["*"]).agent(A0, "cpus:5").says();
    rig.accepts(A, A0, "cpus:1").returns(A, A0, "cpus:4", 5_000);
    assert_eq!(rig.until(10_000), ["6000 ms: 2: A on 0: cpus:4"]);
}

#[test]
fn a_task_that_ends_is_offered_to_its_framework_at_once() {
    let mut rig = Rig::new();
    rig.framework(A, &["*"]).agent(A0, "cpus:2").says();
    rig.accepts(A, A0, "cpus:2");
    assert_eq!(rig.ends(A, A0, "cpus:2").says(), ["2: A on 0: cpus:2"]);
}

#[test]
fn as_11_suppressed_roles_get_nothing_until_they_are_revived() {
    // AS-11, OF-37, AL-21
    let mut rig = Rig::new();
    rig.framework(A, &["x", "y"]).framework(B, &["x"]);
    let suppress = |texts: &[&str]| Change::Suppressed {
        framework: A,
        roles: roles(texts),
    };
    rig.tell(suppress(&["x"]))
        .agent(A0, "cpus:2")
        .agent(A1, "cpus:2");
    let mut said = rig.says();
    said.sort_by_key(|it| it.split_once(": ").unwrap().1[..3].to_string());
    assert!(
        said[0].contains(": A/y") && said[1].contains(": B/x"),
        "{said:?}"
    );
    rig.tell(suppress(&[]));
    let explained = rig.drf.explain(A, &role("y"));
    assert_eq!(explained[0], (A0, Obstacle::Suppressed));
    // Its offers stay, and its share is remembered.
    assert_eq!(rig.says(), [""; 0]);
    assert_eq!(rig.drf.dominant_share(A, &role("y")), Some(500_000));
    let a2 = AgentKey::from_raw(2, 0);
    assert_eq!(rig.agent(a2, "cpus:2").says(), ["3: B/x on 2: cpus:2"]);
    let a3 = AgentKey::from_raw(3, 0);
    rig.tell(Change::FrameworkActive {
        framework: B,
        active: false,
    });
    assert_eq!(rig.says().len(), 2, "B's grants are asked back");
    assert_eq!(rig.agent(a3, "cpus:2").says(), [""; 0]);
    assert_eq!(rig.drf.deadline(), None);
    rig.tell(Change::Revived {
        framework: A,
        roles: roles(&["x"]),
    });
    assert_eq!(rig.says(), ["4: A/x on 3: cpus:2"]);
}

#[test]
fn a_refusal_that_there_is_no_room_for_ends_and_is_not_lost() {
    // AL-37: of three refusals two are kept, and the agent of the third is offered again soon.
    let mut rig = Rig::new();
    rig.drf.filters = crate::filters::Filters::bounded(2);
    rig.framework(A, &["*"])
        .agent(A0, "cpus:1")
        .agent(A1, "cpus:1");
    let a2 = AgentKey::from_raw(2, 0);
    assert_eq!(rig.agent(a2, "cpus:1").says().len(), 3);
    rig.returns(A, A0, "cpus:1", 1_000_000)
        .returns(A, A1, "cpus:1", 2_000_000)
        .returns(A, a2, "cpus:1", 3_000_000);
    assert_eq!(rig.until(900_000), ["1000 ms: 4: A on 0: cpus:1"]);
}

#[test]
fn refusals_that_were_forgotten_keep_nobody_waiting() {
    // Many that lapse together, of one who left: it takes many slices until they are gone.
    let slices = |forgotten: u32| {
        let mut rig = Rig::with(Options {
            agents_per_slice: 16,
            ..Options::default()
        });
        rig.now = Time::from_micros(5_000_000);
        let left = rig.drf.filters.admit(0);
        for agent in 1..=forgotten {
            let bag = res("cpus:1");
            rig.drf.filters.refuse(agent, left, &bag, rig.now);
        }
        rig.drf.filters.forget(left);
        rig.framework(B, &["*"]).agent(A0, "cpus:1");
        for slices in 1_u32.. {
            rig.drf.tick(rig.now, &mut rig.out);
            if rig.out.drain().count() > 0 {
                return slices;
            }
        }
        0
    };
    assert_eq!((slices(0), slices(4_000)), (1, 1));
}

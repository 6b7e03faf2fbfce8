//! When the bounds of those are compared who were set aside: what it costs, and that they keep
//! their turn in whatever pass is open.

use alloc::vec;

use super::quota::quota;
use super::struck::{demanded, idle, kept_apart, ticks, wants};
use super::*;
use crate::allocator::Obstacle;
use crate::allocator::drf::{DemandRule, Packing};
use crate::allocator::slice::{AGENT_WORK, LOOK_WORK};
use crate::constraints::{Comparison, Constraint, Constraints, Predicate, Selector};
use crate::resources::{Milli, Quantities};

/// Something of no consequence.
fn nothing() -> Change {
    Change::WeightSet {
        role: role("idle"),
        weight: Milli::from_units(1),
    }
}

/// A part of what a framework has in use comes back, too little to let it have more.
fn a_bit_ends(framework: FrameworkKey, in_role: &str, agent: AgentKey) -> Change {
    Change::Freed {
        framework,
        role: role(in_role),
        agent,
        resources: res("cpus:0.1"),
    }
}

#[test]
fn who_comes_back_within_each_pass_keeps_nobody_from_being_set_aside() {
    // Slices of one agent, 60 ms apart, so that a pass over all takes longer than what is between
    // two revivals: each pass ends with another one over all to come.
    let work = |is_revived: bool| {
        let mut rig = kept_apart(Options {
            agents_per_slice: 1,
            ..Options::default()
        });
        let other = FrameworkKey::from_raw(100, 0);
        wants(&mut rig, other, "z", "disk:1");
        let _settled = idle(&mut rig, 60);
        rig.tell(a_bit_ends(A, "eng", A0));
        let mut live = |seconds: usize| {
            for _ in 0..seconds / 2 {
                let change = if is_revived {
                    Change::Revived {
                        framework: other,
                        roles: Vec::new(),
                    }
                } else {
                    nothing()
                };
                rig.drf.handle(rig.now, change, &mut rig.out);
                let end = rig.now + Duration::from_secs(2);
                while rig.now < end {
                    if rig.drf.deadline().is_some_and(|due| due <= rig.now) {
                        rig.drf.tick(rig.now, &mut rig.out);
                    }
                    rig.now = rig.now + Duration::from_millis(60);
                }
            }
            rig.drf.scratch.work()
        };
        let settled = live(60);
        live(60) - settled
    };
    let (without, with) = (work(false), work(true));
    // Each revival looks at each agent for who came back, if for anybody.
    assert!(
        with <= without + 30 * 100 * LOOK_WORK,
        "{with}, or {without} without"
    );
}

#[test]
fn who_comes_back_when_an_open_pass_is_through_with_an_agent_is_not_set_aside_there() {
    // A refused what its limit leaves of the only agent with so many cores, and comes back after
    // any number of slices of a pass over all.
    for slices in 0..30 {
        let mut rig = Rig::with(Options {
            agents_per_slice: 1,
            demands: DemandRule::Honoured,
            ..Options::default()
        });
        rig.tell(quota("eng", "", "cpus:4"));
        wants(&mut rig, A, "eng", "cpus:4");
        rig.agent(A0, "cpus:8");
        for n in 1..20 {
            rig.agent(AgentKey::from_raw(n, 0), "cpus:1");
        }
        assert_eq!(idle(&mut rig, 1), ["1: A/eng on 0: cpus:4"]);
        rig.tell(Change::Returned {
            framework: A,
            role: role("eng"),
            agent: A0,
            resources: res("cpus:4"),
            grants: whichever(),
            refuse: Some(Duration::from_secs(86_400)),
        });
        assert_eq!(idle(&mut rig, 5), [""; 0]);
        // Others have all agents looked at who want what nobody has, or what the limit keeps.
        wants(&mut rig, C, "eng", "cpus:6");
        let demand = demanded(B, "ops", &[("cpus:500", 1)]);
        rig.framework(B, &["ops"]).tell(demand);
        for _ in 0..slices {
            rig.drf.tick(rig.now, &mut rig.out);
        }
        rig.tell(Change::Revived {
            framework: A,
            roles: Vec::new(),
        });
        assert_eq!(
            idle(&mut rig, 5),
            ["2: A/eng on 0: cpus:4"],
            "after {slices} slices"
        );
    }
}

#[test]
fn who_was_struck_keeps_its_turn_in_the_rest_of_a_pass_over_what_is_held_back() {
    let mut rig = Rig::with(Options {
        agents_per_slice: 1,
        ..Options::default()
    });
    rig.tell(quota("eng", "", "cpus:4"))
        .tell(quota("ops", "", "cpus:1000"));
    rig.framework(A, &["eng"]).agent(A0, "cpus:4");
    for n in 1..20 {
        rig.agent(AgentKey::from_raw(n, 0), "cpus:8");
    }
    rig.used_in(A, "eng", A0, "cpus:4");
    // B is at its limit, with all of it in use on two other agents.
    let (x, y) = (AgentKey::from_raw(30, 0), AgentKey::from_raw(31, 0));
    rig.agent(x, "cpus:600").used_in(B, "ops", x, "cpus:600");
    rig.agent(y, "cpus:400").used_in(B, "ops", y, "cpus:400");
    rig.framework(B, &["ops"]);
    assert_eq!(idle(&mut rig, 5), [""; 0]);
    // The limit of B leaves something again, and is compared when the interval ends.
    rig.tell(Change::AgentRemoved { agent: y });
    rig.now = rig.now + Duration::from_secs(1);
    for _ in 0..3 {
        rig.drf.tick(rig.now, &mut rig.out);
    }
    let first: Vec<_> = rig.out.drain().map(text).collect();
    assert!(first.iter().all(|it| it.contains("B/ops on")), "{first:?}");
    assert!(rig.drf.pass.is_some(), "the pass goes on");
    rig.tell(Change::AgentRemoved { agent: A0 });
    ticks(&mut rig);
    rig.drf.check_invariants();
    // Of the rest, A has what its own limit leaves by now.
    let said: Vec<_> = rig.out.drain().map(text).collect();
    assert!(said.iter().any(|it| it.contains("A/eng")), "{said:?}");
}

#[test]
fn a_change_just_before_a_comparison_has_only_those_look_again_whose_bounds_moved() {
    let work = |is_compared_first: bool| {
        let mut rig = kept_apart(Options::default());
        let other = FrameworkKey::from_raw(60, 0);
        rig.tell(quota("ops", "", "cpus:4"));
        wants(&mut rig, other, "ops", "cpus:4");
        rig.used_in(other, "ops", A1, "cpus:3");
        let _settled = idle(&mut rig, 10);
        let before = rig.drf.scratch.work();
        for _ in 0..20 {
            if is_compared_first {
                ticks(&mut rig);
            }
            let ends = a_bit_ends(other, "ops", A1);
            rig.drf.handle(rig.now, ends, &mut rig.out);
            ticks(&mut rig);
            rig.now = rig.now + Duration::from_secs(1);
        }
        rig.drf.scratch.work() - before
    };
    let (first, last) = (work(true), work(false));
    assert!(last < 2 * first, "{last}, or {first}");
}

/// What a pass over all cost that looks at many who are set aside, in the greatest of its slices
/// and in all, and how many slices it took.
struct Cost {
    most: usize,
    all: usize,
    slices: usize,
}

/// Has a pass over 200 agents made, with 500 who are set aside on each of them.
fn pass_over_all(in_slice: usize, between: impl Fn() -> Option<Change>) -> Cost {
    let mut rig = Rig::with(Options {
        agents_per_slice: in_slice,
        ..Options::default()
    });
    rig.tell(quota("eng", "", "cpus:4"));
    for n in 0..500 {
        wants(&mut rig, FrameworkKey::from_raw(n, 0), "eng", "cpus:200");
    }
    for n in 0..200 {
        let added = Change::AgentAdded {
            agent: AgentKey::from_raw(n, 0),
            total: res("cpus:208"),
            traits: AgentTraits::default(),
        };
        rig.drf.handle(rig.now, added, &mut rig.out);
    }
    assert_eq!(idle(&mut rig, 5), [""; 0]);
    wants(&mut rig, FrameworkKey::from_raw(1_000, 0), "dev", "cpus:1");
    let begun = rig.drf.scratch.spent();
    let (mut most, mut slices, mut granted) = (0, 0, 0);
    while rig.drf.deadline().is_some_and(|due| due <= rig.now) {
        let before = rig.drf.scratch.spent();
        rig.drf.tick(rig.now, &mut rig.out);
        most = most.max(rig.drf.scratch.spent() - before);
        granted += rig.out.drain().count();
        if let Some(change) = between() {
            rig.drf.handle(rig.now, change, &mut rig.out);
        }
        slices += 1;
        assert!(slices < 1_000, "each slice gets on");
    }
    assert_eq!(granted, 200, "all are offered to who wants no more");
    let all = rig.drf.scratch.spent() - begun;
    Cost { most, all, slices }
}

#[test]
fn comparisons_in_an_open_pass_count_in_its_slices() {
    // Bounds of 500 are compared, and of all agents it is found out whether somebody wants them.
    let compared = 501 + 500 * LOOK_WORK;
    let prepared = compared + 2 * 200;
    // It costs more than a slice of one agent may: then looks may cost as much.
    let busy = pass_over_all(1, || Some(nothing()));
    assert!(busy.most <= 2 * prepared + 2 * AGENT_WORK, "{}", busy.most);
    assert!(busy.slices > 2, "{}", busy.slices);
    // Of a slice of a hundred it leaves room for fewer agents.
    let (still, busy) = (
        pass_over_all(100, || None),
        pass_over_all(100, || Some(nothing())),
    );
    assert!(
        busy.slices > still.slices,
        "{} of {}",
        busy.slices,
        still.slices
    );
}

#[test]
fn comparing_in_each_slice_costs_no_more_than_looking() {
    let still = pass_over_all(1, || None);
    let busy = pass_over_all(1, || Some(nothing()));
    assert!(busy.all <= 6 * still.all, "{}, or {}", busy.all, still.all);
    // Where nothing happens bounds are compared once, when the pass begins.
    let compared = 501 + 500 * LOOK_WORK;
    assert!(
        still.all < 2 * compared + 400 + 200 * 4 * LOOK_WORK,
        "{}",
        still.all
    );
}

#[test]
fn what_comes_back_is_offered_without_comparing() {
    let mut rig = kept_apart(Options::default());
    let other = FrameworkKey::from_raw(60, 0);
    wants(&mut rig, other, "ops", "cpus:1");
    assert_eq!(idle(&mut rig, 1).len(), 100, "all to who is not limited");
    assert_eq!(idle(&mut rig, 5), [""; 0]);
    let key = AgentKey::from_raw(7, 0);
    let returned = Change::Returned {
        framework: other,
        role: role("ops"),
        agent: key,
        resources: res("cpus:8;mem:100"),
        grants: whichever(),
        refuse: None,
    };
    let returned = named(&rig.drf, returned);
    rig.drf.handle(rig.now, returned, &mut rig.out);
    let before = rig.drf.scratch.prepared;
    rig.drf.tick(rig.now, &mut rig.out);
    // One agent was due, and whoever was set aside there is interested since it came back.
    assert_eq!(rig.drf.scratch.prepared - before, 1);
}

/// A, in the role `eng`, takes nothing of which there is more.
fn joins_for_at_most(amounts: &[(&str, i64)]) -> Change {
    let most = |(name, units): &(&str, i64)| Constraint {
        selector: Selector::Offered((*name).into()),
        predicate: Predicate::Number(Comparison::AtMost, Milli::from_units(*units)),
    };
    let mut profile = FrameworkProfile::new("A", roles(&["eng"]));
    let all = vec![amounts.iter().map(most).collect()];
    profile.roles[0].constraints = Some(Constraints::new(all).unwrap());
    Change::FrameworkAdded {
        framework: A,
        profile,
    }
}

#[test]
fn what_a_search_leaves_of_an_agent_is_looked_at_by_those_whom_bounds_kept_from_it() {
    // Of the first agent, A wants no more than ten of memory, and of cores its limit allows no more
    // than four. B comes after any number of slices, finds something elsewhere, and has it of the
    // first one, as there is the least left there.
    for slices in 0..24 {
        let mut rig = Rig::with(Options {
            agents_per_slice: 1,
            packing: [(role("dev"), Packing::BestFit)].into(),
            ..Options::default()
        });
        rig.tell(quota("eng", "", "cpus:4"))
            .tell(quota("dev", "", "cpus:4;mem:10"))
            .tell(joins_for_at_most(&[("mem", 10)]));
        rig.agent(A0, "cpus:8;mem:20");
        for n in 1..20 {
            rig.agent(AgentKey::from_raw(n, 0), "cpus:100;mem:100");
        }
        for _ in 0..slices {
            rig.drf.tick(rig.now, &mut rig.out);
        }
        assert_eq!(rig.out.drain().count(), 0, "it is all too much");
        rig.framework(B, &["dev"]);
        ticks(&mut rig);
        rig.drf.check_invariants();
        let mut said: Vec<_> = rig.out.drain().map(text).collect();
        assert_eq!(said[0], "1: B/dev on 0: cpus:4;mem:10");
        said.extend(idle(&mut rig, 60));
        assert!(
            said.iter()
                .any(|it| it.contains("A/eng on 0: cpus:4;mem:10")),
            "after {slices} slices: {said:?}"
        );
    }
}

#[test]
fn an_agent_that_many_searches_take_from_gets_one_more_turn() {
    // There is least left of the first agent, where limits keep A from all of it. Five others come,
    // and whichever agent has its turn, they have theirs of the first one.
    let small: Vec<_> = (0..5).map(|n| format!("dev{n}")).collect();
    let mut rig = Rig::with(Options {
        agents_per_slice: 1,
        packing: small
            .iter()
            .map(|it| (role(it), Packing::BestFit))
            .collect(),
        ..Options::default()
    });
    rig.tell(quota("eng", "", "cpus:4"))
        .tell(joins_for_at_most(&[("mem", 2)]));
    for name in &small {
        rig.tell(quota(name, "", "cpus:1;mem:2"));
    }
    rig.agent(A0, "cpus:8;mem:20");
    for n in 1..20 {
        rig.agent(AgentKey::from_raw(n, 0), "cpus:100;mem:100");
    }
    ticks(&mut rig);
    assert_eq!(rig.out.drain().count(), 0, "it is all too much");
    for (n, name) in small.iter().enumerate() {
        rig.framework(FrameworkKey::from_raw(10 + n as u32, 0), &[name]);
    }
    let (mut taken, mut most) = (0, 0);
    while rig.drf.deadline().is_some_and(|at| at <= rig.now) {
        rig.drf.tick(rig.now, &mut rig.out);
        rig.drf.check_invariants();
        taken += rig
            .out
            .drain()
            .map(text)
            .filter(|it| it.contains(" on 0: "))
            .count();
        let ahead = rig.drf.pass.as_ref().map_or(0, |pass| pass.ahead().len());
        most = most.max(ahead);
    }
    assert_eq!((taken, most), (5, 1));
}

#[test]
fn who_goes_by_amounts_hears_of_the_first_quota_while_a_pass_is_open() {
    // A wants no more than four cores, and the quota that comes leaves it four of an agent that the
    // pass may be through with; and somebody else's search may look at that agent again.
    for slices in 0..24 {
        let mut rig = Rig::with(Options {
            agents_per_slice: 1,
            packing: [(role("eng"), Packing::Spread)].into(),
            ..Options::default()
        });
        rig.tell(joins_for_at_most(&[("cpus", 4), ("mem", 10)]));
        rig.agent(A0, "cpus:8;mem:5");
        for n in 1..20 {
            rig.agent(AgentKey::from_raw(n, 0), "mem:100");
        }
        for _ in 0..slices {
            rig.drf.tick(rig.now, &mut rig.out);
        }
        assert_eq!(rig.out.drain().count(), 0, "it is all too much");
        let mut profile = FrameworkProfile::new("B", roles(&["eng"]));
        let either = ["cpus:6", "mem:50"].map(|it| Quantities::parse(it).unwrap());
        profile.roles[0].min_allocatable = Some(either.to_vec());
        rig.tell(Change::FrameworkAdded {
            framework: B,
            profile,
        });
        rig.tell(quota("eng", "", "cpus:4"));
        ticks(&mut rig);
        let mut said: Vec<_> = rig.out.drain().map(text).collect();
        said.extend(idle(&mut rig, 60));
        assert!(
            said.iter()
                .any(|it| it.contains("A/eng on 0: cpus:4;mem:5")),
            "after {slices} slices: {said:?}"
        );
    }
}

#[test]
fn a_name_that_leaves_the_shared_column_is_free_of_its_neighbours_limit() {
    let mut rig = Rig::new();
    let others = (1..=12).filter(|n| *n != 5);
    let others: Vec<_> = others.map(|n| format!("q{n:02}:1000")).collect();
    rig.tell(quota("all", "", &others.join(";")))
        .tell(quota("five", "", "q05:1000"))
        .tell(quota("eng", "", "q13:6"));
    wants(&mut rig, A, "eng", "q12:10");
    rig.agent(A0, "q12:10;zzz:1");
    assert_eq!(idle(&mut rig, 5), [""; 0], "they are limited together");
    // One name less has quota: each of the two has a column of its own.
    rig.tell(quota("five", "", ""));
    let said = idle(&mut rig, 120);
    assert!(
        said.iter().any(|it| it.contains("on 0: q12:10")),
        "{said:?}"
    );
}

#[test]
fn a_limit_is_named_where_a_bound_on_offers_leaves_nothing_as_well() {
    // Half a device in offers is none; but were it not for that, the limit would be in the way.
    let mut rig = Rig::with(Options {
        most_offered: Some(Quantities::parse("gpus:0.5").unwrap()),
        ..Options::default()
    });
    rig.tell(quota("eng", "", "gpus:4"));
    let mut profile = FrameworkProfile::new("A", roles(&["eng"]));
    profile.capabilities.gpus = true;
    profile.roles[0].min_allocatable = Some(vec![Quantities::parse("gpus:6").unwrap()]);
    rig.tell(Change::FrameworkAdded {
        framework: A,
        profile,
    });
    rig.agent(A0, "gpus:8");
    assert_eq!(rig.says(), [""; 0]);
    let explained = rig.drf.explain(A, &role("eng"));
    assert_eq!(
        explained,
        [(A0, Obstacle::QuotaLimit(role("eng")))],
        "not headroom"
    );
}

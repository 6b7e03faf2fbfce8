//! What bounds hold back while others have their part, come, go and refuse; and demands that are
//! stated again.

use alloc::vec;

use super::quota::quota;
use super::*;
use crate::allocator::drf::{DemandRule, Packing};
use crate::allocator::slice::LOOK_WORK;
use crate::demand::{Demand, Shape};
use crate::resources::{Milli, Quantities};

const DAY: u64 = 86_400_000;

pub(super) fn demanded(framework: FrameworkKey, in_role: &str, shapes: &[(&str, u32)]) -> Change {
    let shape =
        |(each, count): &(&str, u32)| Shape::new(Quantities::parse(each).unwrap(), *count).unwrap();
    Change::Demanded {
        framework,
        role: role(in_role),
        demand: Some(Demand::new(shapes.iter().map(shape).collect()).unwrap()),
    }
}

fn returned_in(rig: &mut Rig, framework: FrameworkKey, in_role: &str, agent: AgentKey, what: &str) {
    rig.tell(Change::Returned {
        framework,
        role: role(in_role),
        agent,
        resources: res(what),
        grants: whichever(),
        refuse: Some(Duration::from_millis(DAY)),
    });
}

/// Seconds in which something of no consequence happens. Does not check invariants.
pub(super) fn idle(rig: &mut Rig, seconds: u64) -> Vec<String> {
    let mut said = Vec::new();
    for _ in 0..seconds {
        let change = Change::WeightSet {
            role: role("idle"),
            weight: Milli::from_units(1),
        };
        rig.drf.handle(rig.now, change, &mut rig.out);
        let end = rig.now + Duration::from_secs(1);
        while let Some(due) = rig.drf.deadline().filter(|due| *due <= end) {
            rig.now = rig.now.max(due);
            rig.drf.tick(rig.now, &mut rig.out);
        }
        rig.now = end;
        said.extend(rig.out.drain().map(text));
    }
    said
}

/// Lives on while whatever is offered is refused: for a second by the frameworks from the hundredth
/// on, and by the others for a day. Does not check invariants.
fn live_refusing(rig: &mut Rig, seconds: u64) {
    let end = rig.now + Duration::from_secs(seconds);
    while let Some(due) = rig.drf.deadline().filter(|due| *due < end) {
        rig.now = rig.now.max(due);
        rig.drf.tick(rig.now, &mut rig.out);
        let grants: Vec<_> = rig.out.drain().collect();
        for grant in grants {
            let Output::Effect(Decision::Grant(grant)) = grant else {
                panic!("{grant:?}");
            };
            let is_other = grant.framework.index() >= 100;
            let millis = if is_other { 1_000 } else { DAY };
            let returned = Change::Returned {
                framework: grant.framework,
                role: grant.role,
                agent: grant.agent,
                grants: grant.id.into(),
                resources: grant.resources,
                refuse: Some(Duration::from_millis(millis)),
            };
            rig.drf.handle(rig.now, returned, &mut rig.out);
        }
    }
    rig.now = end;
}

/// Adds a framework that goes by how much it is offered at least.
pub(super) fn wants(rig: &mut Rig, framework: FrameworkKey, in_role: &str, least: &str) {
    let mut profile = FrameworkProfile::new("f", roles(&[in_role]));
    profile.roles[0].min_allocatable = Some(vec![Quantities::parse(least).unwrap()]);
    let added = Change::FrameworkAdded { framework, profile };
    rig.drf.handle(rig.now, added, &mut rig.out);
}

/// A limited role of 40 frameworks that want four cores each, on 100 agents, with three of its four
/// cores in use: a limit keeps all of these pairs apart.
pub(super) fn kept_apart(options: Options) -> Rig {
    let mut rig = Rig::with(options);
    rig.tell(quota("eng", "", "cpus:4"));
    for n in 0..40 {
        wants(&mut rig, FrameworkKey::from_raw(n, 0), "eng", "cpus:4");
    }
    rig.agent(A0, "cpus:8;mem:100")
        .used_in(A, "eng", A0, "cpus:3");
    for n in 1..100 {
        let added = Change::AgentAdded {
            agent: AgentKey::from_raw(n, 0),
            total: res("cpus:8;mem:100"),
            traits: AgentTraits::default(),
        };
        rig.drf.handle(rig.now, added, &mut rig.out);
    }
    rig
}

/// Makes all passes that are due at this moment.
pub(super) fn ticks(rig: &mut Rig) {
    while rig.drf.deadline().is_some_and(|due| due <= rig.now) {
        rig.drf.tick(rig.now, &mut rig.out);
    }
}

/// Checks that something is offered at once or within some minutes.
#[track_caller]
fn is_offered_some_time(rig: &mut Rig, what: &str) {
    rig.drf.tick(rig.now, &mut rig.out);
    let mut said: Vec<_> = rig.out.drain().map(text).collect();
    said.extend(idle(rig, 600));
    assert!(said.iter().any(|it| it.contains(what)), "{said:?}");
}

#[test]
fn what_a_grant_leaves_suits_another_shape_of_one_who_was_struck() {
    let mut rig = Rig::with(Options {
        demands: DemandRule::Honoured,
        ..Options::default()
    });
    rig.framework(A, &["*"]);
    rig.tell(demanded(A, "*", &[("cpus:2;mem:64", 1), ("mem:100", 1)]));
    rig.agent(A0, "cpus:2;mem:120");
    assert_eq!(rig.says(), ["1: A on 0: cpus:2;mem:64"]);
    rig.returns(A, A0, "cpus:2;mem:64", DAY);
    assert_eq!(idle(&mut rig, 5), [""; 0]);
    rig.framework(B, &["*"])
        .tell(demanded(B, "*", &[("cpus:1", 1)]));
    // B has a core, and of what is left A can have its other shape.
    is_offered_some_time(&mut rig, "A on 0: mem:100");
}

#[test]
fn ports_behind_a_limit_are_offered_once_others_had_the_first() {
    let mut rig = Rig::new();
    rig.tell(quota("eng", "", "ports:3"))
        .tell(quota("ops", "", "ports:3;cpus:4;mem:0"));
    rig.framework(A, &["eng"])
        .agent(A0, "cpus:8;mem:100;ports:[1-10]");
    assert_eq!(rig.says(), ["1: A/eng on 0: cpus:8;mem:100;ports:[1-3]"]);
    returned_in(&mut rig, A, "eng", A0, "cpus:8;mem:100;ports:[1-3]");
    assert_eq!(idle(&mut rig, 5), [""; 0]);
    rig.framework(B, &["ops"]);
    is_offered_some_time(&mut rig, "A/eng on 0");
}

#[test]
fn another_disk_behind_a_limit_is_offered_once_others_had_the_first() {
    // Whole, or such as could be divided: what is left is not what was refused.
    for kind in ["mount", "path"] {
        let mut rig = Rig::new();
        rig.tell(quota("eng", "", "disk:50;cpus:1;mem:0"))
            .tell(quota("ops", "", "disk:50;cpus:1;mem:0"));
        let disk = |at: &str| alloc::format!(r#"disk(*)<{kind}="{at}">:50"#);
        let all = alloc::format!("cpus:8;{};{}", disk("/a"), disk("/b"));
        rig.framework(A, &["eng"]).agent(A0, &all);
        let first = alloc::format!("cpus:1;{}", disk("/a"));
        assert_eq!(rig.says(), [alloc::format!("1: A/eng on 0: {first}")]);
        returned_in(&mut rig, A, "eng", A0, &first);
        assert_eq!(idle(&mut rig, 5), [""; 0]);
        rig.framework(B, &["ops"]);
        is_offered_some_time(&mut rig, "A/eng on 0");
    }
}

#[test]
fn one_of_the_names_that_count_together_is_offered_once_another_had_the_other() {
    // More names have quota than are counted one by one: of two, only their sum is known.
    let mut rig = Rig::new();
    let all: Vec<_> = (1..=13).map(|n| alloc::format!("q{n:02}:1000")).collect();
    rig.tell(quota("all", "", &all.join(";")))
        .tell(quota("eng", "", "q12:6"))
        .tell(quota("ops", "", "q12:4"));
    for (framework, of, least) in [(A, "eng", "q13:4"), (B, "ops", "q12:1")] {
        let mut profile = FrameworkProfile::new(letter(framework), roles(&[of]));
        profile.roles[0].min_allocatable = Some(vec![Quantities::parse(least).unwrap()]);
        rig.tell(Change::FrameworkAdded { framework, profile });
    }
    rig.tell(Change::Suppressed {
        framework: B,
        roles: Vec::new(),
    });
    rig.agent(A0, "q12:4;q13:4");
    assert_eq!(idle(&mut rig, 5), [""; 0]);
    rig.tell(Change::Revived {
        framework: B,
        roles: Vec::new(),
    });
    is_offered_some_time(&mut rig, "A/eng on 0");
}

#[test]
fn a_disk_that_fits_a_limit_is_offered_once_another_had_the_one_before_it() {
    // Not after a refusal, and without any policy.
    let mut rig = Rig::new();
    rig.tell(quota("eng", "", "disk:50;mem:0;cpus:0"))
        .tell(quota("ops", "", "disk:40;mem:0;cpus:0"));
    for (framework, of, least) in [(A, "eng", "disk:45"), (B, "ops", "disk:1")] {
        let mut profile = FrameworkProfile::new(letter(framework), roles(&[of]));
        profile.roles[0].min_allocatable = Some(vec![Quantities::parse(least).unwrap()]);
        rig.tell(Change::FrameworkAdded { framework, profile });
    }
    rig.tell(Change::Suppressed {
        framework: B,
        roles: Vec::new(),
    });
    rig.agent(A0, r#"disk(*)<mount="/a">:40;disk(*)<mount="/b">:50"#);
    assert_eq!(
        idle(&mut rig, 5),
        [""; 0],
        "of the first disk nothing is left for the second"
    );
    rig.tell(Change::Revived {
        framework: B,
        roles: Vec::new(),
    });
    is_offered_some_time(&mut rig, "A/eng on 0");
}

#[test]
fn refusals_that_lapse_leave_alone_what_is_held_back_elsewhere() {
    // As `what_bounds_hold_back_costs_nothing_while_they_stay`, with two more frameworks that have
    // agents to themselves and refuse them for a second again and again, one in even seconds and
    // one in odd ones: so at each moment at which bounds are compared something has just lapsed.
    let work = |is_limited: bool| {
        let mut rig = Rig::new();
        if is_limited {
            rig.tell(quota("eng", "", "cpus:4"));
        }
        for n in 0..40 {
            rig.framework(FrameworkKey::from_raw(n, 0), &["eng"]);
        }
        for n in 0..100 {
            rig.agent(AgentKey::from_raw(n, 0), "cpus:8;mem:100");
        }
        live_refusing(&mut rig, 4_000);
        for (n, name) in [(100, "x"), (101, "y")] {
            let framework = FrameworkKey::from_raw(n, 0);
            wants(&mut rig, framework, name, "disk:1");
            let disk = alloc::format!("disk({name}):5");
            rig.agent(AgentKey::from_raw(100 + n, 0), &disk);
            live_refusing(&mut rig, 1);
        }
        live_refusing(&mut rig, 60);
        let before = rig.drf.scratch.work();
        live_refusing(&mut rig, 60);
        rig.drf.scratch.work() - before
    };
    let (without, with) = (work(false), work(true));
    assert!(with <= 4 * without, "{without} without, {with} with");
}

#[test]
fn an_older_grant_that_comes_back_makes_no_room_in_a_newer_demand() {
    let mut rig = Rig::with(Options {
        demands: DemandRule::Honoured,
        ..Options::default()
    });
    rig.framework(A, &["*"])
        .tell(demanded(A, "*", &[("cpus:3", 1)]));
    rig.agent(A0, "cpus:8").agent(A1, "cpus:2");
    assert_eq!(rig.says(), ["1: A on 0: cpus:3"]);
    // It wants something else now, and not what it has there.
    rig.tell(demanded(A, "*", &[("cpus:4", 1)]));
    assert_eq!(rig.says(), ["2: A on 0: cpus:4"]);
    rig.returns(A, A0, "cpus:3", 0);
    let said = rig.until(60_000);
    assert_eq!(said, [""; 0], "one is demanded, and one is held");
}

#[test]
fn who_was_struck_keeps_its_turn_once_its_bounds_moved() {
    let mut rig = Rig::new();
    rig.tell(quota("eng", "", "cpus:4"));
    rig.framework(A, &["eng"])
        .agent(A0, "cpus:4")
        .agent(A1, "cpus:8");
    // All that it may have is in use.
    rig.used_in(A, "eng", A0, "cpus:4");
    assert_eq!(idle(&mut rig, 5), [""; 0]);
    // A task of it ends on an agent that goes away, and at the same moment somebody joins who
    // has much more already.
    rig.agent(AgentKey::from_raw(2, 0), "cpus:40");
    rig.used_in(B, "ops", AgentKey::from_raw(2, 0), "cpus:40");
    assert_eq!(idle(&mut rig, 5), [""; 0]);
    rig.tell(Change::AgentRemoved { agent: A0 });
    rig.framework(B, &["ops"]);
    let said = rig.says();
    assert!(said[0].contains("A/eng on 1: cpus:4"), "{said:?}");
}

#[test]
fn a_search_sees_whom_bounds_let_have_more_since_it_began() {
    // A is struck where the least is left of all that would suit it. While a pass is open its
    // bounds move, and the interval ends anywhere in its search for the agent with the least left.
    let (core, x) = (AgentKey::from_raw(0, 0), AgentKey::from_raw(1, 0));
    let mut within = 0;
    for slices in 0..100 {
        let mut rig = Rig::with(Options {
            agents_per_slice: 1,
            demands: DemandRule::Honoured,
            packing: [(role("eng"), Packing::BestFit)].into(),
            ..Options::default()
        });
        let mut profile = FrameworkProfile::new("A", roles(&["eng"]));
        profile.roles[0].min_allocatable = Some(vec![Quantities::parse("cpus:4").unwrap()]);
        let framework = A;
        rig.tell(quota("eng", "", "cpus:4"));
        rig.tell(Change::FrameworkAdded { framework, profile });
        rig.agent(core, "cpus:4").agent(x, "cpus:4");
        rig.used_in(A, "eng", core, "cpus:4");
        for n in 2..62 {
            rig.agent(AgentKey::from_raw(n, 0), "cpus:1;disk:10");
        }
        let last = AgentKey::from_raw(62, 0);
        let active = |active| Change::AgentActive {
            agent: last,
            active,
        };
        rig.agent(last, "cpus:400").tell(active(false));
        assert_eq!(idle(&mut rig, 5), [""; 0]);
        let leaf = rig.drf.leaf(A, &role("eng")).unwrap();
        assert!(rig.drf.waits_for_bounds(1, leaf), "it is struck");
        // Somebody has all agents looked at who wants what nobody has.
        rig.framework(B, &["ops"])
            .tell(demanded(B, "ops", &[("cpus:500", 1)]));
        for _ in 0..6 {
            rig.drf.tick(rig.now, &mut rig.out);
        }
        rig.tell(Change::AgentRemoved { agent: core })
            .tell(active(true));
        for _ in 0..slices {
            rig.drf.tick(rig.now, &mut rig.out);
        }
        let before = rig.out.drain().count();
        rig.now = rig.now + Duration::from_secs(1);
        while rig.drf.deadline().is_some_and(|due| due <= rig.now) {
            rig.drf.tick(rig.now, &mut rig.out);
        }
        let said: Vec<_> = rig.out.drain().map(text).collect();
        if before == 0 {
            within += 1;
            assert_eq!(said, ["1: A/eng on 1: cpus:4"], "after {slices} slices");
        }
    }
    assert!(within > 10, "in the pass as well: {within}");
}

#[test]
fn passes_that_are_open_when_bounds_are_compared_come_to_an_end() {
    // Changes of no consequence, and slices of one agent that are far apart: a pass over all takes
    // several intervals, so that it is open whenever bounds would be compared.
    let work = |apart: u64| {
        let mut rig = kept_apart(Options {
            agents_per_slice: 1,
            ..Options::default()
        });
        let mut live = |from: u64, to: u64| {
            for half in from..to {
                let change = Change::WeightSet {
                    role: role("idle"),
                    weight: Milli::from_units(1),
                };
                rig.drf.handle(rig.now, change, &mut rig.out);
                while rig.now < Time::from_micros(half * 500_000) {
                    if rig.drf.deadline().is_some_and(|due| due <= rig.now) {
                        rig.drf.tick(rig.now, &mut rig.out);
                    }
                    rig.now = rig.now + Duration::from_millis(apart);
                }
            }
            rig.drf.scratch.work()
        };
        let before = live(1, 40);
        live(40, 160) - before
    };
    assert_eq!((work(1), work(60)), (0, 0), "bounds stay as they are");
}

#[test]
fn a_revival_that_waits_when_bounds_are_compared_gives_up_nothing() {
    let mut rig = kept_apart(Options::default());
    let z = FrameworkKey::from_raw(100, 0);
    wants(&mut rig, z, "z", "disk:1");
    assert_eq!(idle(&mut rig, 10), [""; 0]);
    let before = rig.drf.scratch.work();
    for _ in 0..10 {
        // It is looked at no earlier than bounds are compared.
        rig.now = rig.now + Duration::from_millis(500);
        let roles = Vec::new();
        rig.tell(Change::Revived {
            framework: z,
            roles,
        });
        rig.now = rig.now + Duration::from_millis(500);
        ticks(&mut rig);
    }
    let work = rig.drf.scratch.work() - before;
    assert!(work < 4_000, "{work} for 4,000 pairs whose bounds stay");
}

#[test]
fn revivals_after_bounds_moved_once_look_at_what_they_hold_back_once() {
    let mut rig = kept_apart(Options::default());
    let z = FrameworkKey::from_raw(100, 0);
    wants(&mut rig, z, "z", "disk:1");
    assert_eq!(idle(&mut rig, 10), [""; 0]);
    // By what leaves nobody four cores.
    rig.tell(Change::Freed {
        framework: A,
        role: role("eng"),
        agent: A0,
        resources: res("cpus:0.1"),
    });
    let before = rig.drf.scratch.work();
    for _ in 0..8 {
        rig.tell(Change::Revived {
            framework: z,
            roles: Vec::new(),
        });
        ticks(&mut rig);
        rig.now = rig.now + Duration::from_millis(100);
    }
    let work = (rig.drf.scratch.work() - before) / LOOK_WORK;
    assert!(
        (4_000..5_000).contains(&work),
        "{work} looks at 4,000 pairs"
    );
}

#[test]
fn a_move_of_one_limit_looks_at_none_that_is_behind_another() {
    let mut rig = kept_apart(Options::default());
    rig.tell(quota("ops", "", "cpus:4"));
    wants(&mut rig, FrameworkKey::from_raw(60, 0), "ops", "cpus:4");
    rig.used_in(FrameworkKey::from_raw(60, 0), "ops", A1, "cpus:3");
    assert_eq!(idle(&mut rig, 10), [""; 0]);
    let before = rig.drf.scratch.work();
    rig.tell(Change::Freed {
        framework: FrameworkKey::from_raw(60, 0),
        role: role("ops"),
        agent: A1,
        resources: res("cpus:0.1"),
    });
    assert_eq!(idle(&mut rig, 10), [""; 0]);
    let work = (rig.drf.scratch.work() - before) / LOOK_WORK;
    assert!(
        work < 500,
        "{work} looks for 100 pairs of the one that moved"
    );
}

#[test]
fn grants_have_only_those_look_again_for_whom_less_may_be_more() {
    let work = |is_limited: bool| {
        let mut rig = Rig::with(Options {
            demands: DemandRule::Honoured,
            ..Options::default()
        });
        if is_limited {
            rig.tell(quota("eng", "", "cpus:4"));
        }
        for n in 0..40 {
            wants(&mut rig, FrameworkKey::from_raw(n, 0), "eng", "cpus:200");
        }
        rig.agent(A0, "cpus:300;ports:[1-1000]");
        live_refusing(&mut rig, 1_000);
        assert_eq!(idle(&mut rig, 5), [""; 0]);
        for n in 100..180 {
            let framework = FrameworkKey::from_raw(n, 0);
            wants(&mut rig, framework, "ops", "cpus:1");
            let demand = demanded(framework, "ops", &[("cpus:1", 1)]);
            rig.drf.handle(rig.now, demand, &mut rig.out);
        }
        let before = rig.drf.scratch.work();
        ticks(&mut rig);
        assert_eq!(rig.out.drain().count(), 80);
        rig.drf.scratch.work() - before
    };
    let (without, with) = (work(false), work(true));
    assert!(with < 2 * without, "{without} without, {with} with");
}

#[test]
fn who_was_struck_keeps_its_turn_in_the_rest_of_an_open_pass() {
    let mut rig = Rig::with(Options {
        agents_per_slice: 1,
        ..Options::default()
    });
    rig.tell(quota("eng", "", "cpus:4"));
    rig.framework(A, &["eng"]).agent(A0, "cpus:4");
    for n in 1..20 {
        rig.agent(AgentKey::from_raw(n, 0), "cpus:8");
    }
    rig.used_in(A, "eng", A0, "cpus:4");
    let _settled = idle(&mut rig, 5);
    let last = AgentKey::from_raw(30, 0);
    rig.agent(last, "cpus:40")
        .used_in(B, "ops", last, "cpus:40");
    let _settled = idle(&mut rig, 5);
    rig.framework(B, &["ops"]);
    rig.drf.tick(rig.now, &mut rig.out);
    rig.drf.tick(rig.now, &mut rig.out);
    let first: Vec<_> = rig.out.drain().map(text).collect();
    assert!(!first.iter().any(|it| it.contains("A/eng")), "{first:?}");
    rig.tell(Change::AgentRemoved { agent: A0 });
    ticks(&mut rig);
    rig.drf.check_invariants();
    let said: Vec<_> = rig.out.drain().map(text).collect();
    assert!(said[0].contains("A/eng on"), "{first:?}, then {said:?}");
}

#[test]
fn who_was_struck_keeps_its_turn_on_an_agent_that_comes_back() {
    let mut rig = Rig::new();
    rig.tell(quota("eng", "", "cpus:4"));
    rig.framework(A, &["eng"])
        .agent(A0, "cpus:4")
        .agent(A1, "cpus:8");
    rig.used_in(A, "eng", A0, "cpus:4");
    let last = AgentKey::from_raw(2, 0);
    rig.agent(last, "cpus:40")
        .used_in(B, "ops", last, "cpus:40");
    assert_eq!(idle(&mut rig, 5), [""; 0]);
    let active = |active| Change::AgentActive { agent: A1, active };
    rig.tell(active(false)).framework(B, &["ops"]);
    assert_eq!(idle(&mut rig, 5), [""; 0]);
    // What A may have and where it may have it: both at one moment.
    rig.tell(Change::AgentRemoved { agent: A0 })
        .tell(active(true));
    let said = rig.says();
    assert!(said[0].contains("A/eng on 1: cpus:4"), "{said:?}");
}

#[test]
fn what_waits_for_a_look_is_kept_from_nobody() {
    let mut rig = Rig::new();
    let mut profile = FrameworkProfile::new("A", roles(&["eng"]));
    let least = ["cpus:6", "mem:100"].map(|it| Quantities::parse(it).unwrap());
    profile.roles[0].min_allocatable = Some(least.to_vec());
    let framework = A;
    rig.tell(quota("eng", "", "cpus:4"))
        .tell(Change::FrameworkAdded { framework, profile });
    assert_eq!(rig.says(), [""; 0]);
    rig.agent(A0, "cpus:8;mem:100")
        .used_in(B, "ops", A0, "mem:50");
    assert_eq!(rig.says(), [""; 0], "the limit keeps it from six cores");
    // As long as agents have to come, nothing is granted; and meanwhile more is free.
    rig.now = rig.now + Duration::from_millis(500);
    rig.tell(Change::Recovering { agents: 10 });
    rig.tell(Change::Freed {
        framework: B,
        role: role("ops"),
        agent: A0,
        resources: res("mem:50"),
    });
    rig.now = rig.now + Duration::from_millis(1_500);
    rig.drf.tick(rig.now, &mut rig.out);
    rig.drf.check_invariants();
    assert_eq!(rig.out.drain().count(), 0);
    rig.tell(Change::Resumed);
    assert_eq!(rig.says(), ["1: A/eng on 0: cpus:4;mem:100"]);
}

#[test]
fn nothing_is_held_back_of_what_is_taken() {
    let mut rig = Rig::new();
    rig.tell(quota("eng", "", "cpus:4"));
    rig.framework(A, &["eng"]).agent(A0, "cpus:8");
    rig.used_in(B, "eng", A0, "cpus:4");
    assert_eq!(idle(&mut rig, 5), [""; 0]);
    assert!(!rig.drf.held_back.is_empty(), "the limit is used up");
    rig.used_in(C, "ops", A0, "cpus:4");
    let _settled = idle(&mut rig, 5);
    rig.tell(Change::WeightSet {
        role: role("idle"),
        weight: Milli::from_units(1),
    });
    assert_eq!(rig.drf.deadline(), None, "there is nothing to look at");
}

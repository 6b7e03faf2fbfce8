//! What packing, bounds on offers and draws cost as agents, roles and frameworks become more.

use alloc::vec;

use super::*;
use crate::allocator::drf::{DemandRule, Packing, SorterKind};
use crate::allocator::tally::ASKED;
use crate::allocator::{Grant, Subscription};
use crate::demand::{Demand, Shape};
use crate::resources::{Milli, Quantities};

const HOUR: Duration = Duration::from_secs(3_600);

fn quantities(text: &str) -> Quantities {
    Quantities::parse(text).unwrap()
}

/// Tells of a change without the checks of all that was told before.
fn tell(rig: &mut Rig, change: Change) {
    let change = named(&rig.drf, change);
    rig.drf.handle(rig.now, change, &mut rig.out);
}

fn add(rig: &mut Rig, n: u32, total: &str) {
    let added = Change::AgentAdded {
        agent: AgentKey::from_raw(n, 0),
        total: res(total),
        traits: AgentTraits::default(),
    };
    tell(rig, added);
}

fn grants(rig: &mut Rig) -> Vec<Grant> {
    let grant = |output| match output {
        Output::Effect(Decision::Grant(grant)) => grant,
        other @ (Output::Effect(Decision::Rescind { .. })
        | Output::Persist(_)
        | Output::Free(_)) => panic!("{other:?} is not a grant"),
    };
    rig.out.drain().map(grant).collect()
}

fn is_due(rig: &Rig) -> bool {
    rig.drf.deadline().is_some_and(|due| due <= rig.now)
}

fn all_grants(rig: &mut Rig) -> Vec<Grant> {
    while is_due(rig) {
        rig.drf.tick(rig.now, &mut rig.out);
    }
    grants(rig)
}

fn refuse(rig: &mut Rig, grant: Grant) {
    let returned = Change::Returned {
        framework: grant.framework,
        role: grant.role,
        agent: grant.agent,
        resources: grant.resources,
        grants: whichever(),
        refuse: Some(HOUR),
    };
    tell(rig, returned);
}

/// Cores on some agents and memory on others, for one who wants both, and memory only in parts that
/// are not worth an offer by themselves.
fn two_kinds(each: u32, agents_per_slice: usize) -> Rig {
    let mut rig = Rig::with(Options {
        demands: DemandRule::Honoured,
        packing: [(Role::any(), Packing::BestFit)].into(),
        agents_per_slice,
        ..Options::default()
    });
    rig.framework(A, &["*"]);
    for n in 0..each {
        add(&mut rig, n, "mem:64");
        add(&mut rig, each + n, "cpus:4");
    }
    let shape = |text: &str, count| Shape::new(quantities(text), count).unwrap();
    let shapes = vec![shape("mem:1", 30), shape("cpus:4", each)];
    let demanded = Change::Demanded {
        framework: A,
        role: Role::any(),
        demand: Some(Demand::new(shapes).unwrap()),
    };
    tell(&mut rig, demanded);
    rig
}

/// Returns the work of a pass over such agents, and that of its longest slice.
fn work_of_two_kinds(each: u32) -> (usize, usize) {
    let mut rig = two_kinds(each, 1);
    let (begun, mut longest) = (rig.drf.scratch.work(), 0);
    while is_due(&rig) {
        let before = rig.drf.scratch.work();
        rig.drf.tick(rig.now, &mut rig.out);
        longest = longest.max(rig.drf.scratch.work() - before);
    }
    assert_eq!(grants(&mut rig).len(), each as usize);
    rig.drf.check_invariants();
    (rig.drf.scratch.work() - begun, longest)
}

#[test]
fn packing_costs_no_more_than_agents() {
    let (few, many) = (work_of_two_kinds(100).0, work_of_two_kinds(400).0);
    assert!(many < 6 * few, "four times the agents: {few} and {many}");
}

#[test]
fn packing_ends_its_slice() {
    let (_, longest) = work_of_two_kinds(1_000);
    // A slice of one agent is 128; the rest is that of the last look.
    assert!(longest < 256, "{longest} in a slice of 128");
}

#[test]
fn slices_do_not_change_where_a_search_ends() {
    let granted = |agents_per_slice| all_grants(&mut two_kinds(60, agents_per_slice));
    assert_eq!(granted(1), granted(100_000));
}

#[test]
fn a_search_that_changes_end_ends_with_a_grant() {
    // Whatever happens between any two slices, the agents of memory are never all looked at.
    let mut rig = two_kinds(1_000, 1);
    let mut slices = 0;
    while is_due(&rig) {
        rig.drf.tick(rig.now, &mut rig.out);
        let set = Change::WeightSet {
            role: role("idle"),
            weight: Milli::from_units(1),
        };
        tell(&mut rig, set);
        slices += 1;
        assert!(slices < 10_000, "there is no end to it");
    }
    assert_eq!(grants(&mut rig).len(), 1_000);
    rig.drf.check_invariants();
}

/// How often a pass asks what is offered, if one framework has so many roles, may be offered no
/// more than a bound in all, and may have nothing in any.
fn asked_for(roles: u32) -> usize {
    let mut rig = Rig::with(Options {
        most_offered: Some(quantities("cpus:1000000")),
        ..Options::default()
    });
    let mut profile = FrameworkProfile::new("A", []);
    for n in 0..roles {
        let mut own = Subscription::new(role(&format!("r{n}")));
        own.min_allocatable = Some(vec![quantities("cpus:1"), quantities("disk:999")]);
        profile.roles.push(own);
    }
    let framework = A;
    tell(&mut rig, Change::FrameworkAdded { framework, profile });
    for n in 0..4 {
        add(&mut rig, n, "mem:64;cpus(q):1");
    }
    let before = ASKED.get();
    assert!(all_grants(&mut rig).is_empty());
    ASKED.get() - before
}

#[test]
fn a_bound_on_offers_does_not_ask_all_roles_for_each() {
    let (few, many) = (asked_for(50), asked_for(200));
    assert!(few > 0, "it is counted");
    assert!(many <= 5 * few, "four times the roles: {few} and {many}");
}

#[test]
fn a_bound_on_offers_goes_by_what_is_offered_now_in_all_roles() {
    let mut rig = Rig::with(Options {
        most_offered: Some(quantities("cpus:4")),
        ..Options::default()
    });
    rig.framework(A, &["x", "y"]).framework(B, &["x"]);
    for n in 0..4 {
        rig.agent(AgentKey::from_raw(n, 0), "cpus:3");
    }
    let said = rig.until(10_000);
    assert_eq!(said.len(), 4, "three and one for each: {said:?}");
    // What a role that is left had does not count any more.
    rig.tell(Change::FrameworkChanged {
        framework: A,
        profile: FrameworkProfile::new("A", roles(&["y"])),
    });
    rig.tell(Change::FrameworkRemoved { framework: B });
    rig.until(20_000);
    let held = |drf: &Drf| {
        drf.seats
            .framework(A)
            .in_offers
            .as_ref()
            .unwrap()
            .at("cpus")
    };
    assert_eq!(held(&rig.drf), 4_000);
}

/// So many frameworks of one role, of which each refused three agents; then these are revived.
fn revived(options: Options, frameworks: u32, revived: &[u32]) -> Rig {
    let mut rig = Rig::with(options);
    for n in 0..frameworks {
        let profile = FrameworkProfile::new(format!("{n}"), roles(&["*"]));
        let framework = FrameworkKey::from_raw(n, 0);
        tell(&mut rig, Change::FrameworkAdded { framework, profile });
    }
    for n in 0..3 {
        add(&mut rig, n, "cpus:4;mem:64");
    }
    loop {
        let grants = all_grants(&mut rig);
        if grants.is_empty() {
            break;
        }
        for grant in grants {
            refuse(&mut rig, grant);
        }
    }
    for n in revived {
        let (framework, roles) = (FrameworkKey::from_raw(*n, 0), Vec::new());
        tell(&mut rig, Change::Revived { framework, roles });
    }
    rig
}

fn sorted_by(role_sorter: SorterKind, framework_sorter: SorterKind) -> Options {
    Options {
        role_sorter,
        framework_sorter,
        ..Options::default()
    }
}

#[test]
fn a_draw_is_among_those_alone_that_are_interested() {
    // AL-18, AL-19
    let (by_lot, by_share) = (SorterKind::Random, SorterKind::Drf);
    for (roles, within) in [(by_lot, by_lot), (by_lot, by_share), (by_share, by_lot)] {
        let work = |frameworks| {
            let mut rig = revived(sorted_by(roles, within), frameworks, &[0]);
            let before = rig.drf.scratch.work();
            assert_eq!(all_grants(&mut rig).len(), 3);
            rig.drf.scratch.work() - before
        };
        let (few, many) = (work(20), work(160));
        assert!(many <= few + 3, "{roles:?}, {within:?}: {few} and {many}");
    }
}

#[test]
fn whoever_is_few_comes_in_the_order_of_all() {
    // AL-16: of even shares the first is the one of least name.
    let options = sorted_by(SorterKind::Random, SorterKind::Drf);
    let mut rig = revived(options, 40, &[5, 20, 30]);
    let grants = all_grants(&mut rig);
    let names: Vec<u32> = grants.iter().map(|it| it.framework.index()).collect();
    assert_eq!(names, [20, 30, 5]);
}

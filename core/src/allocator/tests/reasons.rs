//! Why something is not offered: that the reason which is named is the one, and what becomes of
//! reasons that are over.

use alloc::vec;

use super::quota::quota;
use super::*;
use crate::allocator::drf::DemandRule;
use crate::allocator::{Grant, Obstacle};
use crate::constraints::{Comparison, Constraint, Constraints, Predicate, Selector};
use crate::demand::{Demand, Shape};
use crate::filters::Filters;
use crate::resources::{Milli, Quantities};

const HOUR: u64 = 3_600_000;

fn q(text: &str) -> Quantities {
    Quantities::parse(text).unwrap()
}

const fn seconds(n: u64) -> Time {
    Time::from_micros(n * 1_000_000)
}

fn honouring() -> Rig {
    Rig::with(Options {
        demands: DemandRule::Honoured,
        ..Options::default()
    })
}

fn wants(each: &str, count: u32) -> Change {
    let shape = Shape::new(q(each), count).unwrap();
    Change::Demanded {
        framework: A,
        role: Role::any(),
        demand: Some(Demand::new(vec![shape]).unwrap()),
    }
}

/// Says which framework changed its mind about all its roles.
fn revived(framework: FrameworkKey) -> Change {
    let roles = Vec::new();
    Change::Revived { framework, roles }
}

fn suppressed(framework: FrameworkKey) -> Change {
    let roles = Vec::new();
    Change::Suppressed { framework, roles }
}

fn refused(grant: Grant) -> Change {
    Change::Returned {
        framework: grant.framework,
        role: grant.role,
        agent: grant.agent,
        resources: grant.resources,
        grants: grant.id.into(),
        refuse: Some(Duration::from_millis(HOUR)),
    }
}

/// Has everybody refuse everything for an hour, in slices of one agent. Returns how many refusals
/// there are.
fn refuse_all(rig: &mut Rig) -> u32 {
    let mut count = 0;
    while rig.drf.deadline().is_some_and(|due| due <= rig.now) {
        rig.drf.tick(rig.now, &mut rig.out);
        let said: Vec<_> = rig.out.drain().collect();
        for output in said {
            let Output::Effect(Decision::Grant(grant)) = output else {
                panic!("{output:?}");
            };
            rig.drf.handle(rig.now, refused(grant), &mut rig.out);
            count += 1;
        }
    }
    count
}

/// How many slices of one agent it takes until ten refusals of each of some agents are over.
fn slices_until_over(agents: u32, are_forgotten: bool) -> usize {
    let mut rig = Rig::with(Options {
        agents_per_slice: 1,
        ..Options::default()
    });
    let frameworks = (0..10).map(|n| FrameworkKey::from_raw(n, 0));
    for framework in frameworks.clone() {
        rig.framework(framework, &["*"]);
    }
    for n in 0..agents {
        rig.agent(AgentKey::from_raw(n, 0), "cpus:4;mem:64");
    }
    assert_eq!(refuse_all(&mut rig), 10 * agents);
    for framework in frameworks {
        if are_forgotten {
            rig.tell(revived(framework));
        }
        rig.tell(suppressed(framework));
    }
    assert_eq!(rig.drf.filters.is_empty(), are_forgotten);
    rig.now = seconds(HOUR / 1_000 + 10);
    let mut slices = 0;
    while rig.drf.filters.next_lapse().is_some() {
        rig.drf.tick(rig.now, &mut rig.out);
        slices += 1;
    }
    rig.drf.check_invariants();
    slices
}

#[test]
fn refusals_that_were_forgotten_lapse_in_slices_as_well() {
    // OF-35: forgetting costs nothing, and what it leaves must not be paid for all at once.
    for are_forgotten in [false, true] {
        let slices = slices_until_over(50, are_forgotten);
        assert!(slices >= 50, "{slices} for 500, forgotten: {are_forgotten}");
    }
}

#[test]
fn room_is_made_by_what_still_counts() {
    // AL-37
    let mut filters = Filters::bounded(3);
    let (one, other) = (filters.admit(0), filters.admit(1));
    for agent in 0..3 {
        filters.refuse(agent, one, &res("cpus:1"), seconds(100));
    }
    filters.forget(one);
    assert!(filters.is_empty());
    for agent in 0..6 {
        filters.refuse(100 + agent, other, &res("cpus:1"), seconds(3_600));
        if filters.is_crowded() {
            filters.make_room(seconds(1));
            filters.check_invariants();
        }
    }
    assert_eq!(filters.next_lapse(), Some(seconds(1)));
    while filters.pop_lapsed(seconds(1)).is_some() {}
    filters.check_invariants();
    assert_eq!(filters.len(), 3);
    // Nothing is left of those that were forgotten.
    assert_eq!(filters.next_lapse(), Some(seconds(3_600)));
}

#[test]
fn room_among_many_that_were_forgotten_is_made_in_parts() {
    let mut filters = Filters::bounded(1);
    let (one, other) = (filters.admit(0), filters.admit(1));
    for agent in 0..10_000 {
        filters.refuse(agent, one, &res("cpus:1"), seconds(100));
    }
    filters.forget(one);
    for agent in 0..3 {
        filters.refuse(20_000 + agent, other, &res("cpus:1"), seconds(3_600));
    }
    let mut parts = 0;
    loop {
        filters.make_room(seconds(1));
        parts += 1;
        if filters.next_lapse() != Some(Time::ZERO) {
            break;
        }
        assert!(parts < 100, "there is no end to it");
    }
    filters.check_invariants();
    assert!(parts > 2, "{parts} for 10,000");
    while filters.pop_lapsed(seconds(1)).is_some() {}
    assert_eq!(filters.len(), 1);
}

#[test]
fn room_is_made_again_if_those_that_were_to_make_it_were_forgotten() {
    // AL-37: what C refused for a second seems to make room when B refuses, and does not.
    let mut rig = Rig::new();
    rig.drf.filters = Filters::bounded(2);
    rig.framework(C, &["*"]);
    let agents = [0, 1, 2].map(|n| AgentKey::from_raw(n, 0));
    for agent in agents {
        rig.agent(agent, "cpus:1");
    }
    assert_eq!(rig.says().len(), 3);
    for agent in &agents[..2] {
        rig.returns(C, *agent, "cpus:1", 1_000);
    }
    assert_eq!(rig.until(1_200), [""; 0]);
    rig.returns(C, agents[2], "cpus:1", 0);
    rig.tell(Change::FrameworkRemoved { framework: C });
    assert!(rig.drf.filters.is_empty());
    rig.framework(B, &["*"]);
    assert_eq!(rig.says().len(), 3);
    for agent in agents {
        rig.returns(B, agent, "cpus:1", HOUR);
    }
    let said = rig.until(60_000);
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].starts_with("3000 ms: "), "{said:?}");
    assert_eq!(rig.drf.filters.len(), 2);
}

/// A framework in a role that wants this to be so of what it is offered.
fn constrained(name: &str, comparison: Comparison, than: i64) -> Change {
    let only = Constraint {
        selector: Selector::Offered(name.into()),
        predicate: Predicate::Number(comparison, Milli::from_units(than)),
    };
    let mut profile = FrameworkProfile::new("A", roles(&["*"]));
    profile.roles[0].constraints = Some(Constraints::new(vec![vec![only]]).unwrap());
    Change::FrameworkAdded {
        framework: A,
        profile,
    }
}

#[test]
fn explain_names_a_constraint_that_what_is_demanded_does_not_meet() {
    // OF-47, with and without a limit that cuts what is free before that.
    for limit in ["", "cpus:6"] {
        let mut rig = honouring();
        rig.tell(quota("*", "", limit))
            .tell(constrained("cpus", Comparison::AtLeast, 4))
            .tell(wants("cpus:1", 1))
            .agent(A0, "cpus:8");
        assert_eq!(rig.until(60_000), [""; 0]);
        let explained = rig.drf.explain(A, &Role::any());
        let expected = Obstacle::Constraint(r#"offered of "cpus" >= 4"#.into());
        assert_eq!(explained, [(A0, expected)], "limit {limit:?}");
        // Whoever wants as much as it asks for is offered that.
        rig.tell(wants("cpus:1", 5));
        assert_eq!(rig.says(), ["1: A on 0: cpus:5"]);
    }
}

#[test]
fn explain_names_a_constraint_that_what_a_limit_leaves_does_not_meet() {
    let mut rig = Rig::new();
    rig.tell(quota("*", "", "cpus:6"))
        .tell(constrained("mem", Comparison::AtMost, 10))
        .agent(A0, "cpus:8;mem:64");
    assert_eq!(rig.until(60_000), [""; 0]);
    let explained = rig.drf.explain(A, &Role::any());
    let expected = Obstacle::Constraint(r#"offered of "mem" <= 10"#.into());
    assert_eq!(explained, [(A0, expected)]);
}

/// What somebody in a role to whom cores are worth an offer is told under such quotas.
fn bound_by(in_role: &str, quotas: &[(&str, &str, &str)]) -> Vec<(AgentKey, Obstacle)> {
    let mut rig = Rig::new();
    for (to, guarantee, limit) in quotas {
        rig.tell(quota(to, guarantee, limit));
    }
    let mut profile = FrameworkProfile::new("A", roles(&[in_role]));
    profile.roles[0].min_allocatable = Some(vec![q("cpus:1")]);
    rig.tell(Change::FrameworkAdded {
        framework: A,
        profile,
    });
    rig.agent(A0, "cpus:4;mem:200");
    if !rig.until(5_000).is_empty() {
        return Vec::new();
    }
    rig.drf.explain(A, &role(in_role))
}

#[test]
fn explain_names_headroom_where_a_limit_of_something_else_is_not_why() {
    let promised = ("g", "cpus:100", "");
    // Without the limit nothing is offered either; without the guarantee it is.
    let headroom = [(A0, Obstacle::Headroom)];
    assert_eq!(bound_by("l", &[promised]), headroom);
    assert_eq!(bound_by("l", &[("l", "", "mem:100")]), []);
    assert_eq!(bound_by("l", &[promised, ("l", "", "mem:100")]), headroom);
    // With neither alone it is.
    let limit = [(A0, Obstacle::QuotaLimit(role("l")))];
    assert_eq!(bound_by("l", &[promised, ("l", "", "cpus:0.5")]), limit);
}

#[test]
fn explain_names_the_lowest_role_whose_limit_is_why() {
    let is_why = |of: &str| [(A0, Obstacle::QuotaLimit(role(of)))];
    let below = ("a/b", "", "mem:100");
    assert_eq!(
        bound_by("a/b", &[below, ("a", "", "cpus:0.5")]),
        is_why("a")
    );
    let below = ("a/b", "", "cpus:0.5");
    assert_eq!(
        bound_by("a/b", &[below, ("a", "", "cpus:0.5")]),
        is_why("a/b")
    );
}

#[test]
fn explain_names_each_holder_once() {
    let mut rig = Rig::new();
    rig.agent(A0, "cpus:4;mem:64");
    for in_role in ["r", "s"] {
        rig.used_in(B, in_role, A0, "cpus:1;mem:16");
        rig.used_in(C, in_role, A0, "cpus:1;mem:16");
    }
    rig.framework(A, &["*"]);
    let held = vec![(B, Booking::Allocated), (C, Booking::Allocated)];
    let explained = rig.drf.explain(A, &Role::any());
    assert_eq!(explained, [(A0, Obstacle::HeldBy(held))]);
}

#[test]
fn what_became_nothing_is_not_asked_for_with_what_comes_later() {
    let mut rig = Rig::with(Options {
        demands: DemandRule::Honoured,
        min_allocatable: vec![],
        ..Options::default()
    });
    let mut profile = FrameworkProfile::new("A", roles(&["*"]));
    profile.capabilities.gpus = true;
    rig.tell(Change::FrameworkAdded {
        framework: A,
        profile,
    });
    rig.tell(wants("gpus:1", 2)).agent(A0, "gpus:1");
    assert_eq!(rig.says(), ["1: A on 0: gpus:1"]);
    rig.tell(Change::Converted {
        framework: A,
        role: Role::any(),
        agent: A0,
        grants: whichever(),
        before: res("gpus:1"),
        after: res(""),
    });
    // One of the two is done with: what comes back from the same agent later is the other.
    rig.tell(Change::AgentChanged {
        agent: A0,
        total: res("gpus:1"),
        traits: AgentTraits::default(),
    });
    assert_eq!(rig.says(), ["2: A on 0: gpus:1"]);
    rig.returns(A, A0, "gpus:1", HOUR).agent(A1, "gpus:2");
    assert_eq!(rig.says(), ["3: A on 1: gpus:1"]);
}

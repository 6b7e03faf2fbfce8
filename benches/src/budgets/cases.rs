//! What is counted: each case makes its cluster, and then does its part so many rounds.
//!
//! Called in a run that is counted. Zero rounds are the cluster alone. Deliberately not here:
//! budgets.

use std::fmt::Write as _;
use std::hint::black_box;

use tepui_core::allocator::{Change, FrameworkProfile};
use tepui_core::constraints::{Constraint, Constraints, Predicate, Selector};
use tepui_core::quota::Quota;
use tepui_core::resources::{Ceilings, Quantities, Resources};
use tepui_core::roles::Role;

use crate::algebra::{ports, spaced};
use crate::master::{Cluster, launches, single_launches};
use crate::rig::{
    Rig, YEAR, agent, agent_added, bag, framework, framework_added, returned, role, traits,
};

const TOTAL: &str = "cpus:24;mem:4096;disk:4096;ports:[31000-32000]";

pub(super) struct Case {
    pub(super) name: &'static str,
    /// Does it so many times, but for the preparation.
    pub(super) run: fn(rounds: usize),
}

pub(super) const CASES: [Case; 18] = [
    case("cold-pass", cold_pass),
    case("decline-round", decline_round),
    case("idle-pass", idle_pass),
    case("large-launches-many", large_launches_many),
    case("large-launches-one", large_launches_one),
    case("large-return", large_return),
    case("large-single", large_single),
    case("large-views", large_views),
    case("master-launches", master_launches),
    case("master-return", master_return),
    case("master-views", master_views),
    case("one-return", one_return),
    case("parse", parse),
    case("quota-pass", quota_pass),
    case("resources-ranges", resources_ranges),
    case("resources-reserved", resources_reserved),
    case("resources-scalars", resources_scalars),
    case("revive", revive),
];

const fn case(name: &'static str, run: fn(usize)) -> Case {
    Case { name, run }
}

/// Whole agents to everybody, with quota on some roles and constraints on some frameworks.
fn cold_pass(rounds: usize) {
    let mut rig = Rig::default();
    for n in 0..4 {
        rig.tell(quota_set(named(n), "cpus:480;mem:81920", "cpus:48000"));
    }
    for n in 0..100 {
        rig.tell(with_constraints(n));
    }
    for n in 0..1_000 {
        let mut traits = traits(n);
        let rack = format!("rack:r{}", n % 10);
        traits.attributes = rack.parse().expect("attributes are well-formed");
        rig.tell(Change::AgentAdded {
            agent: agent(n),
            total: bag(TOTAL),
            traits,
        });
    }
    for _ in 0..rounds {
        rig.passes();
        assert_eq!(rig.grants.len(), 1_000);
    }
}

fn named(n: usize) -> Role {
    role(&format!("role-{:02}", n % 20))
}

fn with_constraints(n: usize) -> Change {
    let mut profile = FrameworkProfile::new(format!("framework-{n:03}"), [named(n)]);
    if n % 10 == 3 {
        let constraint = Constraint {
            selector: Selector::Attribute("rack".into()),
            predicate: Predicate::TextEquals(format!("r{}", n / 10)),
        };
        let constraints = Constraints::new(vec![vec![constraint]]);
        profile.roles[0].constraints = Some(constraints.expect("one constraint is not too many"));
    }
    let framework = framework(n);
    Change::FrameworkAdded { framework, profile }
}

fn quota_set(role: Role, guarantees: &str, limits: &str) -> Change {
    let quota = Quota {
        guarantees: Quantities::parse(guarantees).expect("quantities are well-formed"),
        limits: Ceilings::parse(limits).expect("quantities are well-formed"),
    };
    Change::QuotaSet { role, quota }
}

/// 250 agents, of which everything is offered to somebody.
fn offered() -> Rig {
    let mut rig = Rig::default();
    rig.add_frameworks(40, named);
    rig.add_agents(250, &bag(TOTAL));
    rig.passes();
    assert_eq!(rig.grants.len(), 250);
    rig
}

/// The same, after everybody declined so many of them.
fn declined(times: usize) -> Rig {
    let mut rig = offered();
    for _ in 0..times {
        let _took = rig.decline(Some(YEAR));
        rig.passes();
    }
    rig
}

/// Everybody declines what was offered last, and the next ones get it.
fn decline_round(rounds: usize) {
    let mut rig = declined(10);
    for _ in 0..rounds {
        let _took = rig.decline(Some(YEAR));
        rig.passes();
        assert_eq!(rig.grants.len(), 250);
    }
}

/// Everything was declined by everybody.
fn all_declined() -> Rig {
    let rig = declined(40);
    assert!(rig.grants.is_empty());
    assert_eq!(rig.filters(), 250 * 40);
    rig
}

/// Everything is looked at that anybody may want, a hundred times, and nothing found.
fn idle_pass(rounds: usize) {
    let mut rig = all_declined();
    for _ in 0..100 * rounds {
        let _took = rig.forced_cycle();
        assert!(rig.grants.is_empty());
    }
}

/// Somebody wants everything again after all, and gets it.
fn revive(rounds: usize) {
    let mut rig = all_declined();
    for _ in 0..rounds {
        rig.tell(Change::Revived {
            framework: framework(7),
            roles: Vec::new(),
        });
        rig.passes();
        assert_eq!(rig.grants.len(), 250);
    }
}

/// A hundred times the grant of one agent comes back and goes to the next.
fn one_return(rounds: usize) {
    let mut rig = offered();
    for n in 0..100 * rounds {
        let grant = rig.grants.swap_remove(n * 101 % 250);
        rig.tell(returned(grant, None));
        rig.passes();
        assert_eq!(rig.grants.len(), 250);
    }
}

/// Small and large roles get exactly their quota, of agents that are cut for it.
fn quota_pass(rounds: usize) {
    let mut rig = Rig::default();
    let small = |n: usize| n < 100;
    for n in 0..60 {
        rig.tell(agent_added(n, bag("cpus:2;mem:2048;disk:2048")));
    }
    for n in 0..110 {
        let role = role(&format!("role-{n:03}"));
        rig.tell(framework_added(n, role.clone()));
        let quota = if small(n) {
            "cpus:0.5;mem:512;disk:512"
        } else {
            "cpus:4;mem:4096;disk:4096"
        };
        rig.tell(quota_set(role, quota, quota));
    }
    for _ in 0..rounds {
        rig.passes();
        assert!(rig.grants.len() >= 110);
    }
}

/// Adds, looks and takes away.
fn turn(total: &Resources, part: &Resources, times: usize) {
    let mut bag = total.clone();
    for _ in 0..times {
        bag.add(black_box(part)).expect("it fits");
        assert!(bag.contains(black_box(part)));
        bag.subtract(black_box(part)).expect("it was just added");
    }
    assert_eq!(bag, *total);
}

fn resources_scalars(rounds: usize) {
    let total = bag("cpus:24;disk:4096;gpus:4;mem:4096");
    let part = bag("cpus:1;disk:128;gpus:1;mem:512");
    turn(&total, &part, 5_000 * rounds);
}

fn resources_ranges(rounds: usize) {
    let total = ports(spaced(100, 31_000, 10, 4));
    let part = ports(spaced(50, 31_005, 20, 2));
    turn(&total, &part, 500 * rounds);
}

fn resources_reserved(rounds: usize) {
    let reserved = |amount: usize| {
        let mut text = String::new();
        for n in 0..100 {
            write!(
                text,
                "cpus(*)<dynamic=\"role\",label=\"key\"=\"{n:03}\">:{amount};"
            )
            .expect("a string takes everything");
        }
        bag(&text)
    };
    turn(&reserved(4), &reserved(1), 200 * rounds);
}

fn parse(rounds: usize) {
    let mut text = String::from(r#"ports:[1-10,20-30,40-50];mem(a):7;cpus(*)<revocable>:7;"#);
    for n in 0..100 {
        write!(text, "name{n}:{n}.5;").expect("a string takes everything");
    }
    for _ in 0..50 * rounds {
        let bag = Resources::parse(black_box(&text)).expect("it is well-formed");
        assert!(bag.len() > 100);
    }
}

/// Tasks from their offers to the acknowledgement of their ends.
fn master_launches(rounds: usize) {
    black_box(launches(50, 10, 500 * rounds, 2));
}

/// All agents come back to another master, then all frameworks.
fn master_return(rounds: usize) {
    let cluster = Cluster::new(200, 10, 5);
    for _ in 0..rounds {
        black_box(cluster.measure_return().expect("everybody comes back"));
    }
}

/// Views, and the news that come just after them.
fn master_views(rounds: usize) {
    let cluster = Cluster::new(200, 10, 5);
    let measured = cluster.measure_views(5 * rounds);
    black_box(measured.expect("everybody comes back"));
}

/// For the rows of 50,000 agents and 100 frameworks: a twentieth of the agents, for callgrind takes
/// fifty times as long. What grows with their number shows here as well.
const MANY: u64 = 2_500;
const EVERYBODY: u64 = 100;

/// Sixteen tasks in each accept.
fn large_launches_many(rounds: usize) {
    black_box(launches(MANY, EVERYBODY, 5_000 * rounds, 16));
}

/// One task in each accept.
fn large_launches_one(rounds: usize) {
    black_box(launches(MANY, EVERYBODY, 2_500 * rounds, 1));
}

/// All agents come back to another master, then all frameworks.
fn large_return(rounds: usize) {
    let cluster = Cluster::new(MANY, EVERYBODY, 5);
    for _ in 0..rounds {
        black_box(cluster.measure_return().expect("everybody comes back"));
    }
}

/// One task at a time among 5,000 agents, all of whose resources are offered: the master's part of
/// what a launch takes (P17).
fn large_single(rounds: usize) {
    black_box(single_launches(5_000, EVERYBODY, 250 * rounds));
}

/// Views, and the news that come just after them.
fn large_views(rounds: usize) {
    let cluster = Cluster::new(MANY, EVERYBODY, 5);
    let measured = cluster.measure_views(3 * rounds);
    black_box(measured.expect("everybody comes back"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_does_what_it_says() {
        for case in CASES {
            (case.run)(0);
            (case.run)(1);
        }
    }

    #[test]
    fn names_are_single_words_and_there_once() {
        assert!(CASES.is_sorted_by(|a, b| a.name < b.name));
        assert!(CASES.iter().all(|case| !case.name.contains(' ')));
    }
}

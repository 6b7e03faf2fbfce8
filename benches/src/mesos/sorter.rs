//! What Mesos' sorter does, as near as our interface comes.
//!
//! Mesos: the sorter alone is told of an allocation on every agent, and then that it is over. Our
//! order is a part of the engine. So the engine is told that the client whose turn it is uses
//! something on an agent, and that it is free again: this keeps the order, and beside it the books
//! of agents, roles and quota and the interest of everybody. Nothing is granted meanwhile.
//!
//! Deliberately not here: passes.

use anyhow::ensure;
use tepui_core::allocator::{Allocator, Change};
use tepui_core::resources::Quantities;
use tepui_core::roles::Role;

use super::shapes::{AGENT, used};
use super::{Line, Size, Workload, workload};
use crate::rig::{Rig, agent, bag, framework, role, timed};

const AGENTS: usize = 10_000;

pub(super) fn workloads() -> Vec<Workload> {
    vec![
        workload("sorter, flat 10000/1000", Size::Usual, || {
            let roles = vec![Role::any(); 1_000];
            sorted("1000 flat clients", &roles, [14.0, 498.0])
        }),
        workload("sorter, tree 10000/1022", Size::Usual, || {
            sorted("1022 clients in a tree", &tree(9), [101.0, 2_440.0])
        }),
    ]
}

/// All nodes below the root of a binary tree; with the root it is one higher.
fn tree(height: usize) -> Vec<Role> {
    let mut roles = Vec::new();
    let mut level = vec![String::new()];
    for _ in 0..height {
        let children = level.iter().flat_map(|path| {
            let slash = if path.is_empty() { "" } else { "/" };
            ["a", "b"].map(|name| format!("{path}{slash}{name}"))
        });
        level = children.collect();
        roles.extend(level.iter().map(|path| role(path)));
    }
    roles
}

fn sorted(name: &str, roles: &[Role], mesos: [f64; 2]) -> anyhow::Result<Vec<Line>> {
    let mut rig = Rig::default();
    rig.add_frameworks(roles.len(), |n| roles[n].clone());
    rig.add_agents(AGENTS, &bag(AGENT));
    let in_use = used(2_014);
    let turn = |n: usize| n % roles.len();
    let allocate: Vec<Change> = (0..AGENTS)
        .map(|n| Change::Used {
            framework: framework(turn(n)),
            role: roles[turn(n)].clone(),
            agent: agent(n),
            resources: in_use.clone(),
        })
        .collect();
    let free: Vec<Change> = (0..AGENTS)
        .map(|n| Change::Freed {
            framework: framework(turn(n)),
            role: roles[turn(n)].clone(),
            agent: agent(n),
            resources: in_use.clone(),
        })
        .collect();
    let allocated = timed(|| rig.tell_all(allocate)).1;
    let cpus = rig.drf.stats().booked.amount("cpus");
    ensure!(cpus.thousandths() == 160_000_000, "{cpus} cores are in use");
    let freed = timed(|| rig.tell_all(free)).1;
    ensure!(rig.drf.stats().booked == Quantities::new(), "all came back");
    Ok(vec![
        Line::new(
            format!("sorter, {name}: book on every agent"),
            mesos[0],
            allocated,
        ),
        Line::new(
            format!("sorter, {name}: return on every agent"),
            mesos[1],
            freed,
        ),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_is_as_large_as_that_of_mesos() {
        let roles = tree(9);
        assert_eq!(roles.len(), 1_022);
        assert!(roles[1_021].components().count() == 9);
    }
}

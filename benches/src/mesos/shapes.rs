//! What agents and uses look like in Mesos' benchmarks.
//!
//! Called by the workloads. Deliberately not here: how many there are.

use std::fmt::Write as _;
use std::ops::RangeInclusive;

use tepui_core::allocator::Change;
use tepui_core::resources::Resources;
use tepui_core::roles::Role;

use crate::rig::{agent, agent_added, bag, framework};

/// An agent, unless a workload says otherwise.
pub(super) const AGENT: &str = "cpus:24;mem:4096;disk:4096;ports:[31000-32000]";
const PORTS: RangeInclusive<u32> = 31_000..=32_000;

/// Writes ports in so many ranges: every second port, and the last range takes what is left.
pub(super) fn fragments(count: u32) -> String {
    let mut text = String::from("[");
    for n in 0..count - 1 {
        let port = PORTS.start() + 2 * n;
        write!(text, "{port}-{port},").expect("a string takes everything");
    }
    let rest = PORTS.start() + 2 * (count - 1);
    write!(text, "{rest}-{}]", PORTS.end()).expect("a string takes everything");
    text
}

/// What is in use on each agent: so much memory, and a share of everything else.
pub(super) fn used(mem: u32) -> Resources {
    let ports = fragments(16);
    bag(&format!("cpus:16;mem:{mem};disk:1024;ports:{ports}"))
}

/// Says that agents joined, on each of which the framework whose turn it is uses something.
pub(super) fn used_agents(
    agents: usize,
    frameworks: usize,
    role: &Role,
    of: impl Fn(usize) -> (Resources, Resources),
) -> Vec<Change> {
    let mut changes = Vec::with_capacity(2 * agents);
    for n in 0..agents {
        let (total, resources) = of(n);
        changes.push(agent_added(n, total));
        changes.push(Change::Used {
            framework: framework(n % frameworks),
            role: role.clone(),
            agent: agent(n),
            resources,
        });
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fragments_do_not_touch() {
        assert_eq!(fragments(1), "[31000-32000]");
        assert_eq!(fragments(3), "[31000-31000,31002-31002,31004-32000]");
    }
}

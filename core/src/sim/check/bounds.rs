//! Every queue and every table stays within its bound (I22).
//!
//! What grows without one fills the memory of a node some day, when there is trouble already. The
//! bounds are those of `limits`; machines say how full they are, and gates and connections belong
//! to whoever drives them.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::Broken;
use crate::limits::{self, Filled};
use crate::sim::property::Property;
use crate::sim::queue::Name;
use crate::sim::world::{World, at};

/// Looks how full a node is: at what is full, and at the first that is more.
pub(super) fn look(world: &World, name: Name) -> (Vec<&'static str>, Result<(), Broken>) {
    let bounded = |what, has, most| Filled { what, has, most };
    let held = |held| bounded("effects that wait", held, limits::HELD_EFFECTS);
    let all: Vec<Filled> = match name {
        Name::Master => {
            let tables = world.master.machine().map(|master| master.filled());
            let unread = world.net.most_unread();
            let waiting = [
                held(world.master.held()),
                bounded("frames that wait", unread, limits::QUEUED_FRAMES_PER_PEER),
            ];
            tables.into_iter().flatten().chain(waiting).collect()
        }
        Name::Agent(n) => {
            let node = &world.agents[at(n)].node;
            let tables = node.machine().map(|agent| agent.view().filled());
            let executors = world.agents[at(n)].containers.filled_executors();
            let tables = tables.into_iter().flatten().chain(executors);
            tables.chain([held(node.held())]).collect()
        }
        Name::Framework(n) => {
            let machines = world.frameworks[at(n)].machines();
            machines.flat_map(|one| one.scheduler().filled()).collect()
        }
        // These are looked at with their agent.
        Name::Executor { .. } => Vec::new(),
    };
    let full = all.iter().filter(|filled| filled.has == filled.most);
    let full = full.map(|filled| filled.what).collect();
    let overfull = first(all.into_iter());
    let result = overfull.map_or(Ok(()), |problem| Err((Property::Bounds, problem)));
    (full, result)
}

fn first(mut all: impl Iterator<Item = Filled>) -> Option<String> {
    let Filled { what, has, most } = all.find(|filled| filled.has > filled.most)?;
    Some(format!("{has} {what}, and there may be {most}"))
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;
    use crate::sim::{Checking, Options, Sim};

    // I22
    #[test]
    fn tables_are_full_in_a_cluster_where_they_are_small() {
        let machine = "cpus:4;mem:1024".parse().unwrap();
        let mut options = Options::new(3, 2, 1, machine);
        options.checking = Checking::Always;
        options.dials.completed_tasks = 2;
        options.dials.completed_executors = 1;
        let mut sim = Sim::new(options);
        sim.run_for(Duration::from_secs(120));
        let full = sim.report().full;
        for table in ["tasks that are over", "executors of the past"] {
            assert!(full.contains(table), "{full:?}");
        }
        assert_eq!(sim.violation(), None);
    }

    // I22
    #[test]
    fn one_too_many_is_found() {
        let filled = |has| Filled {
            what: "kills",
            has,
            most: 3,
        };
        assert_eq!(first([filled(3), filled(0)].into_iter()), None);
        let found = first([filled(1), filled(4)].into_iter());
        assert_eq!(found.as_deref(), Some("4 kills, and there may be 3"));
    }
}

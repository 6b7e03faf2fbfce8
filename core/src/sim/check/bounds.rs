//! Every queue and every table stays within its bound (I22).
//!
//! What grows without one fills the memory of a node some day, when there is trouble already. The
//! bounds are those of `limits`; machines say how full they are, and gates and connections belong
//! to whoever drives them.

use alloc::format;
use alloc::string::String;

use super::Broken;
use crate::limits::{self, Filled};
use crate::sim::property::Property;
use crate::sim::queue::Name;
use crate::sim::world::{World, at};

/// Checks how full a node is.
pub(super) fn check(world: &World, name: Name) -> Result<(), Broken> {
    let bounded = |what, has, most| Filled { what, has, most };
    let held = |held| bounded("effects that wait", held, limits::HELD_EFFECTS);
    let overfull = match name {
        Name::Master => {
            let tables = world.master.machine().map(|master| master.filled());
            let unread = world.net.most_unread();
            let waiting = [
                held(world.master.held()),
                bounded("frames that wait", unread, limits::QUEUED_FRAMES_PER_PEER),
            ];
            first(tables.into_iter().flatten().chain(waiting))
        }
        Name::Agent(n) => {
            let node = &world.agents[at(n)].node;
            let tables = node.machine().map(|agent| agent.view().filled());
            first(tables.into_iter().flatten().chain([held(node.held())]))
        }
        Name::Framework(n) => {
            let machines = world.frameworks[at(n)].machines();
            first(machines.flat_map(|one| one.scheduler().filled()))
        }
        Name::Executor { .. } => None,
    };
    overfull.map_or(Ok(()), |problem| Err((Property::Bounds, problem)))
}

fn first(mut all: impl Iterator<Item = Filled>) -> Option<String> {
    let Filled { what, has, most } = all.find(|filled| filled.has > filled.most)?;
    Some(format!("{has} {what}, and there may be {most}"))
}

#[cfg(test)]
mod tests {
    use super::*;

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

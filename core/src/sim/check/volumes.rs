//! What was on a destroyed volume is nobody's: no container has a volume that is deleted, and none
//! is given the place of one that was, though volumes are made anew under former ids (RM-45).
//!
//! Looked at when an agent's orders leave it. Places are remembered over all lives of the agent,
//! and of those that come after it on its machine.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;

use crate::ids::ContainerId;
use crate::protocol::container::{ContainerCommand, ContainerSpec, VolumePlace};
use crate::sim::property::Property;
use crate::sim::world::{World, at};

/// The places of volumes on one machine.
#[derive(Debug, Default)]
pub(in crate::sim) struct Places {
    destroyed: BTreeSet<VolumePlace>,
    given: BTreeMap<VolumePlace, BTreeSet<ContainerId>>,
}

impl World {
    /// Notes what an agent starts.
    pub(in crate::sim) fn check_given(&mut self, agent: u32, command: &ContainerCommand) {
        let ContainerCommand::Launch { id, spec } = command else {
            return;
        };
        let ContainerSpec { volumes, .. } = spec;
        for place in volumes.iter().map(|volume| &volume.place) {
            let places = &mut self.agents[at(agent)].volumes;
            let given = places.given.entry(place.clone()).or_default();
            given.insert(id.clone());
            if places.destroyed.contains(place) {
                let problem = format!("agent-{agent} gives {id} what was destroyed: {place:?}");
                self.broken(Property::Reserved, problem);
            }
        }
    }

    /// Notes what an agent has deleted.
    pub(in crate::sim) fn check_destroyed(&mut self, agent: u32, volumes: &[VolumePlace]) {
        for place in volumes {
            let seat = &mut self.agents[at(agent)];
            let mut given = seat.volumes.given.remove(place).into_iter().flatten();
            let user = given.find(|id| seat.containers.is_alive(id));
            seat.volumes.destroyed.insert(place.clone());
            if let Some(user) = user {
                let problem = format!("agent-{agent} deletes what {user} has: {place:?}");
                self.broken(Property::Reserved, problem);
            }
        }
    }
}

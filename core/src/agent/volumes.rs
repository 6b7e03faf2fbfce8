//! Persistent volumes on the machine: where each is, and what was on those that are destroyed.
//!
//! A volume is a directory that goes by its role, its id, and the number of the operation that made
//! it, which is never another's. So one that is made anew under a former id is empty whatever is
//! left of that, and to delete a destroyed one twice does no harm: deleting is durable from the
//! operation on until it is done, and is begun again in each life. Only then the framework hears
//! that the operation is finished (RM-45).
//!
//! An agent that leaves for good lets go of its volumes, and what is on them stays for whoever
//! looks after the machine: the agent that comes after it has another id, by which they go too.
//!
//! Deliberately not here: deleting, which the driver does, and mounting, which the containerizer
//! does.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::operations::Said;
use super::{Agent, AgentRecord, Cx, Effect};
use crate::ids::AgentId;
use crate::limits;
use crate::protocol::container::{VolumeDisk, VolumePlace, VolumeSpec};
use crate::protocol::operation::Order;
use crate::protocol::wire::size;
use crate::resources::{DiskKind, Resource, Resources, VolumeId};
use crate::roles::Role;

/// What a volume is called on an agent (RM-42).
type Name = (Role, VolumeId);

/// What an agent remembers of its volumes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Volumes {
    /// Which there are, with the numbers of the operations that made them.
    made: BTreeMap<Name, u64>,
    /// Which are to be deleted, by the numbers of the operations that destroyed them.
    gone: BTreeMap<u64, Gone>,
    /// How long these are on the wire.
    bytes: usize,
}

/// Volumes that an operation has destroyed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Gone {
    places: Vec<VolumePlace>,
    /// What is told of the operation once they are deleted.
    said: Option<Said>,
}

impl Volumes {
    /// Notes what an operation has made and destroyed. Returns what is to be told of it at once.
    pub(super) fn note(
        &mut self,
        agent: &AgentId,
        order: &Order,
        said: Option<Said>,
    ) -> Option<Said> {
        let (before, after) = (named(&order.before), named(&order.after));
        let mut places = Vec::new();
        for (name, volume) in &before {
            if !after.contains_key(name) {
                // One that is on no directory was never anywhere.
                places.extend(self.place(agent, volume).ok());
                self.made.remove(name);
            }
        }
        for name in after.into_keys().filter(|name| !before.contains_key(name)) {
            self.made.insert(name, order.number);
        }
        if places.is_empty() {
            return said;
        }
        let gone = Gone { places, said };
        self.bytes += size(&gone);
        self.gone.insert(order.number, gone);
        while self.gone.len() > limits::DESTROYED_VOLUMES
            || self.bytes > limits::DESTROYED_VOLUMES_BYTES
        {
            // What is not deleted in this life stays on the disk, and nobody hears of it.
            let Some((_, oldest)) = self.gone.pop_first() else {
                break;
            };
            self.bytes -= size(&oldest);
        }
        None
    }

    /// What an operation has destroyed is deleted. Returns what is to be told of it.
    pub(super) fn deleted(&mut self, order: u64) -> Option<Said> {
        let gone = self.gone.remove(&order)?;
        self.bytes -= size(&gone);
        gone.said
    }

    /// Nobody is to hear of an operation any more.
    pub(super) fn say_nothing(&mut self, order: u64) {
        if let Some(gone) = self.gone.get_mut(&order) {
            self.bytes -= size(gone);
            gone.said = None;
            self.bytes += size(gone);
        }
    }

    /// Returns how many operations have destroyed what is not deleted yet.
    pub(super) fn destroyed(&self) -> usize {
        self.gone.len()
    }

    /// Returns how long all that is on the wire.
    pub(super) fn destroyed_bytes(&self) -> usize {
        self.bytes
    }

    /// Returns whether the bytes are those of what there is.
    pub(super) fn adds_up(&self) -> bool {
        self.gone.values().map(size).sum::<usize>() == self.bytes
    }

    /// Lists what is told of operations once what they have destroyed is deleted.
    pub(super) fn to_be_said(&self) -> impl Iterator<Item = (u64, &Said)> + '_ {
        let gone = self.gone.iter();
        gone.filter_map(|(order, gone)| Some((*order, gone.said.as_ref()?)))
    }

    /// Describes the volumes among resources, for a container that is to see them; or says which
    /// one cannot be seen.
    pub(super) fn shown<'a>(
        &self,
        agent: &AgentId,
        resources: impl IntoIterator<Item = &'a Resources>,
    ) -> Result<Vec<VolumeSpec>, String> {
        let all = resources.into_iter().flatten();
        let volumes = all.filter_map(|entry| Some((entry, entry.metadata().volume.as_ref()?)));
        let specs = volumes.map(|(entry, volume)| {
            let place = self.place(agent, entry);
            let place = place.map_err(|why| format!("volume {}: {why}", volume.id))?;
            Ok(VolumeSpec {
                place,
                path: volume.container_path.to_string(),
                access: volume.access,
                size: entry.value().quantity(),
            })
        });
        specs.collect()
    }

    /// Says where a volume is (RM-40, RM-43).
    fn place(&self, agent: &AgentId, volume: &Resource) -> Result<VolumePlace, &'static str> {
        let disk = match volume.disk_kind() {
            None => None,
            Some(DiskKind::Path { root: Some(root) }) => Some((root, false)),
            Some(DiskKind::Mount { root: Some(root) }) => Some((root, true)),
            Some(DiskKind::Path { root: None } | DiskKind::Mount { root: None }) => {
                return Err("nobody has said where its disk is");
            }
            Some(DiskKind::Block | DiskKind::Raw) => return Err("its disk has no directories"),
        };
        let (role, id) = name(volume).ok_or("it is no volume")?;
        let made = self.made.get(&(role.clone(), id.clone()));
        let made = made.copied().unwrap_or_default();
        // No role has a blank, so none is taken for another, and none is below another's.
        let directory = Vec::from([
            role.as_str().replace('/', " "),
            id.as_str().into(),
            format!("{agent}-V{made}"),
        ]);
        if directory.iter().any(|name| name.len() > limits::ID_BYTES) {
            return Err("its role or the agent's id is too long for a directory");
        }
        let disk = disk.map(|(root, is_mount)| VolumeDisk {
            root: root.to_string(),
            is_mount,
        });
        Ok(VolumePlace { disk, directory })
    }
}

fn name(volume: &Resource) -> Option<Name> {
    let id = volume.metadata().volume.as_ref()?.id.clone();
    Some((volume.reservation_role()?.clone(), id))
}

/// Lists the volumes among resources.
fn named(resources: &Resources) -> BTreeMap<Name, &Resource> {
    let volumes = resources.iter();
    let named = volumes.filter_map(|volume| Some((name(volume)?, volume)));
    named.collect()
}

impl Agent {
    /// Has deleted what is on destroyed volumes, unless that is under way.
    pub(super) fn delete_volumes(&mut self, cx: &mut Cx<'_>) {
        for (order, gone) in &self.state.volumes().gone {
            if self.emptied.insert(*order) {
                let (order, volumes) = (*order, gone.places.clone());
                cx.out.emit(Effect::DeleteVolumes { order, volumes });
            }
        }
    }

    /// What is on destroyed volumes is deleted; or that is tried again when the disk is measured,
    /// or when more is destroyed.
    pub(super) fn on_volumes_deleted(&mut self, cx: &mut Cx<'_>, order: u64, is_gone: bool) {
        let is_known = self.state.volumes().gone.contains_key(&order);
        if !self.emptied.remove(&order) || !is_known {
            tracing::debug!(order, "deleted, but nobody waits for it: ignored");
            return;
        }
        if is_gone {
            self.persist(cx, AgentRecord::VolumesDeleted { order });
            self.begin_to_say(cx, order);
        }
    }
}

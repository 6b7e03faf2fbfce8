//! Gives graphics processors to containers: whole ones, each to one container at a time (CT-62).
//!
//! A container is given the nodes of its own; the guard over devices keeps it from all others.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tepui_core::ids::ContainerId;
use tepui_core::protocol::container::ContainerLimits;
use tepui_core::resources::Milli;

use super::nodes::give;
use crate::error::Result;
use crate::graphics::Graphics;
use crate::isolator::{Isolator, Outcome, Recovered, Subject, Survivors};
use crate::launch::{Device, DeviceKind, Launch};
use crate::records::Records;

/// By which NVIDIA's runtime, and programs, know which ones are theirs.
const VISIBLE: &str = "NVIDIA_VISIBLE_DEVICES";

/// Gives graphics processors to containers.
#[derive(Debug)]
pub struct Processors {
    graphics: Graphics,
    records: Records<BTreeSet<u32>>,
    held: Mutex<BTreeMap<ContainerId, BTreeSet<u32>>>,
}

impl Processors {
    /// Gives these away, and remembers in `directory` who has which.
    ///
    /// # Errors
    /// If what is remembered cannot be read.
    pub fn new(graphics: Graphics, directory: PathBuf) -> Result<Self> {
        let records = Records::open(directory)?;
        Ok(Self {
            held: Mutex::new(records.all()?),
            graphics,
            records,
        })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ContainerId, BTreeSet<u32>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes so many for a container.
    fn take(&self, id: &ContainerId, count: usize) -> Outcome<BTreeSet<u32>> {
        let mut held = self.lock();
        let taken: BTreeSet<u32> = held.values().flatten().copied().collect();
        let free: Vec<u32> = self
            .graphics
            .processors()
            .difference(&taken)
            .copied()
            .collect();
        let Some(chosen) = free.get(..count) else {
            return Err(format!(
                "it takes {count} graphics processors, and {} of {} are free",
                free.len(),
                self.graphics.processors().len()
            )
            .into());
        };
        let chosen: BTreeSet<u32> = chosen.iter().copied().collect();
        self.records.write(id, &chosen)?;
        held.insert(id.clone(), chosen.clone());
        Ok(chosen)
    }

    fn release(&self, id: &ContainerId) -> Outcome<()> {
        let mut held = self.lock();
        if held.contains_key(id) {
            self.records.remove(id)?;
            held.remove(id);
        }
        Ok(())
    }
}

/// Returns how many are taken; parts of one cannot be.
fn whole(gpus: Milli) -> Outcome<usize> {
    let thousandths = gpus.thousandths();
    let count = usize::try_from(thousandths / 1000);
    match count {
        Ok(count) if thousandths % 1000 == 0 => Ok(count),
        Ok(_) | Err(_) => Err(format!(
            "it takes {gpus} graphics processors, of which there are whole ones only"
        )
        .into()),
    }
}

impl Isolator for Processors {
    fn name(&self) -> &str {
        "graphics processors"
    }

    fn recover(&self, live: &Survivors) -> Outcome<Recovered> {
        let mut recovered = Recovered::default();
        let known: Vec<ContainerId> = self.lock().keys().cloned().collect();
        for id in known.iter().filter(|id| !live.contains_key(id)) {
            recovered.note(id.as_str(), self.release(id));
        }
        Ok(recovered)
    }

    fn prepare(&self, subject: &Subject<'_>, launch: &mut Launch) -> Outcome<()> {
        let count = whole(subject.spec.limits.gpus)?;
        if count == 0 {
            return Ok(());
        }
        let chosen = self.take(subject.id, count)?;
        let own = chosen.iter().map(|number| self.graphics.node(*number));
        for host in own.chain(self.graphics.controls()) {
            let path = Path::new("/dev").join(host.file_name().unwrap_or_default());
            let device = Device {
                path,
                kind: DeviceKind::Host(host.clone()),
                ..Device::host(host)
            };
            give(launch, device)?;
        }
        let numbers: Vec<String> = chosen.iter().map(u32::to_string).collect();
        launch
            .environment
            .push((VISIBLE.to_owned(), numbers.join(",")));
        Ok(())
    }

    fn update(&self, id: &ContainerId, limits: &ContainerLimits) -> Outcome<()> {
        let (wanted, held) = (whole(limits.gpus)?, self.lock());
        let has = held.get(id).map_or(0, BTreeSet::len);
        // What it does not need any more stays its own until its end.
        match wanted <= has {
            true => Ok(()),
            false => Err(format!(
                "it is to have {wanted} graphics processors and began with {has}: that stays"
            )
            .into()),
        }
    }

    fn cleanup(&self, id: &ContainerId) -> Outcome<()> {
        self.release(id)
    }
}

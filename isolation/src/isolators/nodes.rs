//! Gives containers devices of the machine that its operator names (CT-33, CT-61).
//!
//! Deliberately not here: which devices every container may use, and whole graphics processors
//! (`graphics`).

use std::path::PathBuf;

use crate::cgroup::DeviceRule;
use crate::isolator::{Isolator, Outcome, Subject};
use crate::launch::{Device, DeviceGuard, Launch};
use crate::launcher::guard;

/// Gives all containers these devices.
#[derive(Debug, Default)]
pub struct Nodes(Vec<PathBuf>);

impl Nodes {
    /// Gives the devices of these nodes of the machine, all below `/dev`.
    pub fn new(paths: Vec<PathBuf>) -> Self {
        Self(paths)
    }
}

impl Isolator for Nodes {
    fn name(&self) -> &str {
        "devices"
    }

    fn prepare(&self, _subject: &Subject<'_>, launch: &mut Launch) -> Outcome<()> {
        self.0
            .iter()
            .try_for_each(|path| give(launch, Device::host(path)))
    }
}

/// Gives a device: a node in a root of its own, and else only the right to use that of the machine.
pub(super) fn give(launch: &mut Launch, device: Device) -> Outcome<()> {
    let rule: DeviceRule = guard::rule(&device)?;
    match (&launch.root, &mut launch.device_guard) {
        (Some(_), _) => launch.devices.push(device),
        (None, DeviceGuard::Guarded { beside }) => beside.push(rule),
        (None, DeviceGuard::Off) => {}
    }
    Ok(())
}

//! What containers may use while they run.
//!
//! Deliberately not here: what they begin with (`start`).

use std::time::{Duration, Instant};

use nix::sys::epoll::{EpollEvent, EpollFlags};
use tepui_core::protocol::container::ContainerLimits;

use super::{KINDS, Launcher, MEMORY, log};
use crate::cgroup;
use crate::error::{Error, Result};

/// How long after it could not be had memory is asked back again.
const SHRINK_PAUSE: Duration = Duration::from_secs(2);

impl Launcher {
    /// Changes what a container may use; of processes it may have as many as before. Plain
    /// processes have no limits, as at their start.
    pub(super) fn resize(&mut self, key: u64, limits: ContainerLimits) -> Result<()> {
        let container = self.containers.get_mut(&key);
        let Some(contained) = container.and_then(|container| container.contained.as_mut()) else {
            return Ok(());
        };
        let limits = ContainerLimits {
            pids: contained.limits.pids,
            ..limits
        };
        let Some(group) = &contained.group else {
            return Ok(());
        };
        let changed = group.update(&limits, &contained.settings)?;
        contained.limits = limits;
        if !changed.is_complete {
            let name = group.name();
            log(&format!("{name} uses more memory than it is to have"));
            self.shrinking.insert(key, Instant::now() + SHRINK_PAUSE);
        }
        if contained.limits.mem.is_some() && contained.memory.is_none() {
            contained.memory = group.watch_memory()?;
            if let Some(memory) = &contained.memory {
                let event = EpollEvent::new(EpollFlags::EPOLLIN, key * KINDS + MEMORY);
                let added = self.epoll.add(memory, event);
                added.map_err(|errno| Error::system("epoll_ctl", errno))?;
            }
        }
        self.kept = None;
        Ok(())
    }

    /// Sees to it that the group above all containers keeps as much memory as they do (CT-23).
    pub(super) fn keep_memory(&mut self) {
        let mode = self.contained.as_ref();
        let hierarchies = mode.and_then(|mode| mode.hierarchies.as_ref());
        let (Some(hierarchies), None) = (hierarchies, self.kept) else {
            return;
        };
        let contained = self.containers.values();
        let contained = contained.filter_map(|container| container.contained.as_ref());
        let kept = contained.map(|contained| cgroup::kept_bytes(&contained.limits));
        let kept = kept.fold(0, u64::saturating_add);
        if let Err(error) = hierarchies.keep(&self.settings.cgroup_root, kept) {
            log(&error.to_string());
        }
        self.kept = Some(kept);
    }

    /// Tries again to take memory from those that used more than they are to have.
    pub(super) fn shrink_some(&mut self, now: Instant) {
        let containers = &self.containers;
        self.shrinking.retain(|key, due| {
            let contained = containers.get(key).and_then(|one| one.contained.as_ref());
            let Some(contained) = contained.filter(|_| *due <= now) else {
                return contained.is_some();
            };
            *due = now + SHRINK_PAUSE;
            let Some(group) = &contained.group else {
                return false;
            };
            let (limits, settings) = (&contained.limits, &contained.settings);
            match group.update(limits, settings) {
                Ok(changed) => !changed.is_complete,
                Err(error) => {
                    log(&format!("memory is not asked for again: {error}"));
                    false
                }
            }
        });
    }
}

//! What is done for one container: each of these has the container for itself.

use std::path::PathBuf;
use std::sync::{PoisonError, RwLockReadGuard};

use tepui_core::ids::ContainerId;
use tepui_core::protocol::container::{
    ContainerCommand, ContainerEvent, ContainerLimits, ContainerSpec as Spec,
};
use tepui_core::protocol::container_info::VolumeSource;
use tracing::{debug, warn};

use super::table::{GIVEN_UP, Stage, given_up};
use super::{Shared, Slot};
use crate::error::Result;
use crate::isolator::{Cancel, Init, Isolator, Outcome, Subject, Usage, asked};
use crate::kill_point;
use crate::launch::Launch;

impl Slot {
    /// Waits until its isolator does not recover.
    fn turn(&self) -> RwLockReadGuard<'_, ()> {
        self.turn.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn concerns(&self, spec: &Spec) -> bool {
        asked(|| Ok(self.isolator.concerns(spec))).unwrap_or(true)
    }

    fn attaches(&self, spec: &Spec) -> bool {
        self.concerns(spec) && asked(|| Ok(self.isolator.attaches(spec))).unwrap_or(true)
    }
}

impl Shared {
    /// Prepares a container and hands it on, or says why not. Returns whether it is over.
    pub(super) fn prepare(&self, id: &ContainerId, mut spec: Spec, cancel: &Cancel) -> bool {
        if let Some(limits) = self.resized(id) {
            change(&mut spec, limits);
        }
        let mut launch = Launch::default();
        let prepared = self.prepare_all(id, &spec, cancel, &mut launch);
        let is_over = match prepared {
            Ok(()) => self.hand_on(id, spec, cancel, launch),
            // However it shows with the isolator that noticed.
            Err(_) if cancel.is_cancelled() => Some(given_up(id)),
            Err(message) => Some(ContainerEvent::LaunchFailed {
                id: id.clone(),
                message,
            }),
        };
        if let Some(event) = is_over {
            self.clean_up(id);
            self.ends.tell(event);
            return true;
        }
        false
    }

    /// Takes what a container may use from now on, if that was said meanwhile.
    fn resized(&self, id: &ContainerId) -> Option<ContainerLimits> {
        let mut table = self.lock();
        table.containers.get_mut(id)?.resized.take()
    }

    /// Gives a prepared container to the launcher. Returns why that does not start it, if so.
    fn hand_on(
        &self,
        id: &ContainerId,
        mut spec: Spec,
        cancel: &Cancel,
        mut launch: Launch,
    ) -> Option<ContainerEvent> {
        kill_point::reached("launch.decided");
        let hold = self.isolators.iter().any(|slot| slot.attaches(&spec));
        let asked_for = hold.then(|| Box::new(spec.clone()));
        if let Some(command) = launch.command.take() {
            spec.command = command;
        }
        loop {
            // What was said while isolators prepared it, they have to hear of.
            if let Some(limits) = self.resized(id) {
                change(&mut spec, limits);
                if let Err(message) = self.update_all(id, &spec.limits) {
                    let id = id.clone();
                    return Some(ContainerEvent::LaunchFailed { id, message });
                }
            }
            let mut table = self.lock();
            let entry = table.containers.get_mut(id);
            let entry = entry.expect("what is being prepared stays in the table");
            if cancel.is_cancelled() {
                return Some(given_up(id));
            }
            if entry.resized.is_some() {
                continue;
            }
            entry.stage = match hold {
                true => Stage::Holding,
                false => Stage::Launched,
            };
            entry.spec = asked_for;
            // With the table: an order to end it comes after this.
            let is_taken = self.ends.launch(id.clone(), spec, launch, hold);
            return (!is_taken).then(|| given_up(id));
        }
    }

    /// Returns where the sandbox of a container's group is, if it is to see some of that.
    fn group_sandbox<'a>(&self, spec: &'a Spec) -> Result<Option<(PathBuf, &'a [String])>> {
        let Some(group) = spec.group.as_ref().filter(|_| sees_group(spec)) else {
            return Ok(None);
        };
        let path = self.sandboxes.path_of(&group.sandbox)?;
        Ok(Some((path, &group.sandbox)))
    }

    fn prepare_all(
        &self,
        id: &ContainerId,
        spec: &Spec,
        cancel: &Cancel,
        launch: &mut Launch,
    ) -> std::result::Result<(), String> {
        let said = |error: crate::error::Error| error.to_string();
        let sandbox = self.sandboxes.path_of(&spec.sandbox).map_err(said)?;
        let names = self.isolators.iter().map(|slot| slot.name().to_owned());
        self.journal
            .write(id, names.collect(), spec)
            .map_err(said)?;
        kill_point::reached("journal.written");
        self.sandboxes.create(&spec.sandbox, None).map_err(said)?;
        let group = self.group_sandbox(spec).map_err(said)?;
        if let Some((_, components)) = &group {
            self.sandboxes.make(components).map_err(said)?;
        }
        let subject = Subject {
            id,
            spec,
            sandbox: &sandbox,
            group: group.as_ref().map(|(path, _)| path.as_path()),
            cancel,
        };
        for (index, slot) in self.isolators.iter().enumerate() {
            if cancel.is_cancelled() {
                return Err(GIVEN_UP.to_owned());
            }
            if !slot.concerns(spec) {
                continue;
            }
            let _turn = slot.turn();
            if let Some(why) = self.lock().unready.get(&index) {
                let name = slot.name();
                return Err(format!("{name}: what was there before is not known: {why}"));
            }
            kill_point::reached_by("prepare.begun:", slot.name());
            let prepared = asked(|| slot.isolator.prepare(&subject, launch));
            prepared.map_err(|error| format!("{}: {error}", slot.name()))?;
            kill_point::reached_by("prepare.done:", slot.name());
        }
        launch.put_volumes_in_order();
        Ok(())
    }

    /// Has isolators attach to a container whose init waits, and lets it begin or ends it.
    pub(super) fn attach(&self, id: &ContainerId, pid: u32, began: u64, cancel: &Cancel) {
        let mut table = self.lock();
        let entry = table.containers.get_mut(id);
        let spec = entry.and_then(|entry| {
            entry.pid = Some(pid);
            entry.spec.take()
        });
        drop(table);
        let attached = match spec {
            Some(spec) => self.attach_all(id, &spec, (pid, began), cancel),
            None => Err("nobody knows what was asked for".to_owned()),
        };
        let mut table = self.lock();
        let Some(entry) = table.containers.get_mut(id) else {
            return;
        };
        let attached = attached.and_then(|()| match cancel.is_cancelled() {
            true => Err(GIVEN_UP.to_owned()),
            false => Ok(()),
        });
        match attached {
            Ok(()) if entry.stage == Stage::Holding => {
                entry.stage = Stage::Launched;
                kill_point::reached("release.decided");
                self.ends.release(id.clone());
            }
            Ok(()) => {}
            Err(message) => {
                entry.refused.get_or_insert(message);
                let id = id.clone();
                self.ends.forward(ContainerCommand::Destroy { id });
            }
        }
    }

    fn attach_all(
        &self,
        id: &ContainerId,
        spec: &Spec,
        (pid, began): (u32, u64),
        cancel: &Cancel,
    ) -> std::result::Result<(), String> {
        let sandbox = self.sandboxes.path_of(&spec.sandbox);
        let sandbox = sandbox.map_err(|error| error.to_string())?;
        let group = self.group_sandbox(spec);
        let group = group.map_err(|error| error.to_string())?;
        let init = Init::find(pid, began).map_err(|error| format!("find its init: {error}"))?;
        let init = init.ok_or("its init has ended")?;
        let subject = Subject {
            id,
            spec,
            sandbox: &sandbox,
            group: group.as_ref().map(|(path, _)| path.as_path()),
            cancel,
        };
        for slot in &self.isolators {
            if cancel.is_cancelled() {
                return Err(GIVEN_UP.to_owned());
            }
            if !slot.attaches(spec) {
                continue;
            }
            let _turn = slot.turn();
            kill_point::reached_by("attach.begun:", slot.name());
            let attached = asked(|| slot.isolator.attach(&subject, &init));
            attached.map_err(|error| format!("{}: {error}", slot.name()))?;
            kill_point::reached_by("attach.done:", slot.name());
        }
        Ok(())
    }

    /// Tells all isolators what a container may use.
    fn update_all(
        &self,
        id: &ContainerId,
        limits: &ContainerLimits,
    ) -> std::result::Result<(), String> {
        for slot in &self.isolators {
            let updated = asked(|| slot.isolator.update(id, limits));
            updated.map_err(|error| format!("{}: {error}", slot.name()))?;
            kill_point::reached_by("update.done:", slot.name());
        }
        Ok(())
    }

    pub(super) fn update(&self, id: &ContainerId, limits: &ContainerLimits) {
        if let Err(message) = self.update_all(id, limits) {
            let id = id.clone();
            self.ends.tell(ContainerEvent::ResizeFailed { id, message });
        }
    }

    /// Asks all isolators; what one does not know is left out.
    pub(super) fn usage_of(&self, id: &ContainerId) -> Usage {
        let mut all = Usage::new();
        for slot in &self.isolators {
            let name = slot.name();
            match asked(|| slot.isolator.usage(id)) {
                Ok(usage) => {
                    let usage = usage.into_iter();
                    all.extend(usage.map(|(key, value)| (format!("{name}.{key}"), value)));
                }
                Err(error) => debug!(%id, isolator = name, %error, "not known what it uses"),
            }
        }
        all
    }

    /// Cleans up after a container that is over, and tells it.
    pub(super) fn conclude(&self, id: &ContainerId, mut event: ContainerEvent) {
        self.clean_up(id);
        let mut table = self.lock();
        let entry = table.containers.get_mut(id);
        let (found, refused) =
            entry.map_or((None, None), |entry| (entry.breach, entry.refused.take()));
        drop(table);
        if let ContainerEvent::Exited { breach, .. } = &mut event {
            *breach = breach.or(found);
        }
        if let ContainerEvent::LaunchFailed { message, .. } = &mut event
            && let Some(refused) = refused
        {
            *message = refused;
        }
        self.ends.tell(event);
        kill_point::reached("end.told");
    }

    /// Has the isolators clean up, the last one first. What fails is tried again.
    pub(super) fn clean_up(&self, id: &ContainerId) {
        let names = ["cleanup.begun:", "cleanup.done:"];
        let mut is_clean = self.undo(id, names, |isolator| isolator.cleanup(id));
        let noted = self.journal.group_of(id);
        let group = self.lock().leave_group(id, noted);
        is_clean &= group.is_none_or(|group| self.disband(&group));
        if is_clean && let Err(error) = self.journal.remove(id) {
            warn!(%id, %error, "not cleaned up; tried again");
            is_clean = false;
        }
        kill_point::reached("journal.removed");
        let mut table = self.lock();
        match is_clean {
            true => drop(table.left.remove(id)),
            false => drop(table.left.insert(id.clone())),
        }
    }
}

impl Shared {
    /// Has the isolators undo what a group has; returns whether all have.
    fn disband(&self, group: &ContainerId) -> bool {
        let names = ["disband.begun:", "disband.done:"];
        self.undo(group, names, |isolator| isolator.disband(group))
    }

    /// Has each isolator undo something, the last one first; returns whether all have.
    fn undo(
        &self,
        id: &ContainerId,
        [begun, done]: [&'static str; 2],
        with: impl Fn(&dyn Isolator) -> Outcome<()>,
    ) -> bool {
        let mut is_clean = true;
        for slot in self.isolators.iter().rev() {
            let _turn = slot.turn();
            kill_point::reached_by(begun, slot.name());
            if let Err(error) = asked(|| with(&*slot.isolator)) {
                warn!(%id, isolator = slot.name(), %error, "not cleaned up; tried again");
                is_clean = false;
            }
            kill_point::reached_by(done, slot.name());
        }
        is_clean
    }
}

/// Returns whether a container sees directories of its group.
fn sees_group(spec: &Spec) -> bool {
    let asked = spec.container.iter();
    let mut volumes = asked.flat_map(|asked| &asked.volumes);
    volumes.any(|volume| matches!(volume.source, VolumeSource::Parent { .. }))
}

/// Of processes it may have as many as before.
pub(super) fn change(spec: &mut Spec, limits: ContainerLimits) {
    let pids = spec.limits.pids;
    spec.limits = ContainerLimits { pids, ..limits };
}

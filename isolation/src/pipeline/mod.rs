//! What happens to a container before the launcher has it, and after: its isolators prepare it,
//! watch it, and clean up after it.
//!
//! Stands between the agent's orders and the launcher. What isolators do may take long, so it is
//! done on threads of their own: in order for one container, at the same time for several. An end
//! is told when everything is undone, so that what a task had is free when its agent says so.
//! Deliberately not here: what each isolator does; the launcher.

mod ends;
mod table;
mod watch;

use std::collections::BTreeSet;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tepui_core::ids::ContainerId;
use tepui_core::protocol::container::{
    ContainerCommand, ContainerEvent, ContainerLimits, ContainerSpec as Spec,
};
use tracing::{debug, warn};

pub(crate) use self::ends::Ends;
use self::table::{Entry, GIVEN_UP, Job, Recovery, Stage, Table, given_up};
use crate::isolator::{Cancel, Isolator, Subject, asked};
use crate::launch::Launch;
use crate::sandbox::Sandboxes;

/// The most containers that are prepared or cleaned up at the same time.
const WORKERS: usize = 64;
/// How long a worker without work stays.
const IDLE: Duration = Duration::from_secs(10);

/// Prepares, watches, and cleans up.
pub(crate) struct Pipeline {
    shared: Arc<Shared>,
    watcher: Option<thread::JoinHandle<()>>,
}

struct Shared {
    isolators: Vec<Box<dyn Isolator>>,
    sandboxes: Sandboxes,
    ends: Box<dyn Ends>,
    table: Mutex<Table>,
    /// There is work, or everything is over.
    work: Condvar,
    /// A container is over, or everything is.
    changed: Condvar,
}

impl Pipeline {
    /// Begins with nothing in it.
    pub(crate) fn start(
        isolators: Vec<Box<dyn Isolator>>,
        sandboxes: Sandboxes,
        ends: Box<dyn Ends>,
    ) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            isolators,
            sandboxes,
            ends,
            table: Mutex::default(),
            work: Condvar::new(),
            changed: Condvar::new(),
        });
        let watching = Arc::clone(&shared);
        let thread = thread::Builder::new().name("tepui-isolation".to_owned());
        let watcher = thread.spawn(move || watching.watch())?;
        Ok(Self {
            shared,
            watcher: Some(watcher),
        })
    }

    /// Takes an order. Never blocks.
    pub(crate) fn order(&self, command: ContainerCommand) {
        self.shared.order(command);
    }

    /// Takes news of the launcher. Never blocks for long.
    pub(crate) fn hear(&self, event: ContainerEvent) {
        self.shared.hear(event);
    }

    /// Gives up what is not launched yet.
    pub(crate) fn give_up(&self) {
        let mut table = self.shared.lock();
        let held = std::mem::take(&mut table.held);
        for entry in table.containers.values() {
            entry.cancel.cancel();
        }
        drop(table);
        held.iter()
            .for_each(|(id, _)| self.shared.ends.tell(given_up(id)));
    }

    /// The launcher is gone for good, and what it has is over but for what is `left`. Waits until
    /// everything is cleaned up, but not longer than `patience`. Returns what is not.
    pub(crate) fn drain(&self, left: &[String], patience: Duration) -> Vec<String> {
        let mut table = self.shared.lock();
        let is_over = |(id, entry): &(&ContainerId, &Entry)| {
            matches!(entry.stage, Stage::Launched | Stage::Running)
                && !left.iter().any(|name| name == id.as_str())
        };
        let over = table.containers.iter().filter(is_over);
        let over: Vec<ContainerId> = over.map(|(id, _)| id.clone()).collect();
        for id in over {
            let event = ContainerEvent::Lost { id: id.clone() };
            self.shared.end(&mut table, id, event);
        }
        table
            .containers
            .retain(|_, entry| entry.stage != Stage::Running && entry.stage != Stage::Launched);
        let is_busy = |table: &mut Table| !table.containers.is_empty();
        let waited = self
            .shared
            .changed
            .wait_timeout_while(table, patience, is_busy);
        let (table, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let names = table.containers.keys().chain(&table.left);
        names.map(|id| id.as_str().to_owned()).collect()
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        let mut table = self.shared.lock();
        table.is_closed = true;
        for entry in table.containers.values() {
            entry.cancel.cancel();
        }
        // Who is in the middle of something long ends by himself after it.
        let is_busy = |entry: &Entry| entry.is_busy;
        let stays = table.recovery == Recovery::Removing || table.containers.values().any(is_busy);
        let workers = std::mem::take(&mut table.threads);
        drop(table);
        self.shared.work.notify_all();
        self.shared.changed.notify_all();
        let watcher = self.watcher.take().into_iter();
        for thread in watcher.chain(workers.into_iter().filter(|_| !stays)) {
            // One that drops what tells of the last container is such a worker itself.
            let is_this = thread.thread().id() == thread::current().id();
            if !is_this
                && let Err(panic) = thread.join()
                && !thread::panicking()
            {
                std::panic::resume_unwind(panic);
            }
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn order(self: &Arc<Self>, command: ContainerCommand) {
        let mut table = self.lock();
        match command {
            ContainerCommand::Launch { id, spec } if table.recovery != Recovery::Done => {
                table.held.push((id, Box::new(spec)));
            }
            ContainerCommand::Launch { id, spec } => {
                self.push(&mut table, id, Job::Prepare(Box::new(spec)));
            }
            ContainerCommand::Recover { known } => {
                table.recovery = Recovery::Asked;
                for id in &known {
                    let entry = table.containers.entry(id.clone());
                    entry.or_insert_with(|| Entry {
                        stage: Stage::Launched,
                        ..Entry::default()
                    });
                }
                drop(table);
                self.ends.forward(ContainerCommand::Recover { known });
            }
            ContainerCommand::Resize { id, limits } => match table.containers.get_mut(&id) {
                Some(entry) if entry.stage == Stage::Preparing => entry.resized = Some(limits),
                Some(_) => {
                    self.push(&mut table, id.clone(), Job::Update(limits.clone()));
                    drop(table);
                    let command = ContainerCommand::Resize { id, limits };
                    self.ends.forward(command);
                }
                None => debug!(%id, "a container that is not there has no limits"),
            },
            ContainerCommand::Terminate { id } => {
                if !self.give_up(table, &id) {
                    self.ends.forward(ContainerCommand::Terminate { id });
                }
            }
            ContainerCommand::Destroy { id } => {
                if !self.give_up(table, &id) {
                    self.ends.forward(ContainerCommand::Destroy { id });
                }
            }
            ContainerCommand::Forget { .. } => {
                drop(table);
                self.ends.forward(command);
            }
        }
    }

    /// Ends a container that the launcher does not have yet. Returns whether there is one.
    fn give_up(&self, mut table: MutexGuard<'_, Table>, id: &ContainerId) -> bool {
        if let Some(at) = table.held.iter().position(|(held, _)| held == id) {
            table.held.remove(at);
            drop(table);
            self.ends.tell(given_up(id));
            return true;
        }
        let entry = table.containers.get(id);
        let entry = entry.filter(|entry| entry.stage == Stage::Preparing);
        if let Some(entry) = entry {
            entry.cancel.cancel();
        }
        entry.is_some()
    }

    fn hear(self: &Arc<Self>, event: ContainerEvent) {
        let mut table = self.lock();
        let (ContainerEvent::Started { id, .. }
        | ContainerEvent::LaunchFailed { id, .. }
        | ContainerEvent::Exited { id, .. }
        | ContainerEvent::Lost { id }
        | ContainerEvent::ResizeFailed { id, .. }) = &event
        else {
            table.recovery = Recovery::Told;
            self.look_for_recovery(&mut table);
            return;
        };
        match event {
            ContainerEvent::Started { .. } => {
                let entry = table.containers.entry(id.clone()).or_default();
                entry.stage = Stage::Running;
            }
            ContainerEvent::ResizeFailed { .. } => {}
            ContainerEvent::LaunchFailed { .. }
            | ContainerEvent::Exited { .. }
            | ContainerEvent::Lost { .. }
            | ContainerEvent::Recovered => {
                let id = id.clone();
                self.end(&mut table, id, event);
                return;
            }
        }
        drop(table);
        self.ends.tell(event);
    }

    /// Has a container cleaned up that is over.
    fn end(self: &Arc<Self>, table: &mut Table, id: ContainerId, event: ContainerEvent) {
        table.containers.entry(id.clone()).or_default().stage = Stage::Ended;
        self.push(table, id, Job::Conclude(event));
    }

    /// Has something done for a container, after what is to be done for it already.
    fn push(self: &Arc<Self>, table: &mut Table, id: ContainerId, job: Job) {
        let entry = table.containers.entry(id.clone()).or_default();
        let is_first = entry.jobs.is_empty() && !entry.is_busy;
        entry.jobs.push_back(job);
        if is_first {
            table.ready.push_back(id);
            self.call_worker(table);
        }
    }

    /// Sees to it that somebody does the work that there is.
    fn call_worker(self: &Arc<Self>, table: &mut Table) {
        // Who was woken and has not taken anything yet counts as idle still.
        let waiting = table.ready.len() + usize::from(table.recovery == Recovery::Due);
        if table.idle >= waiting || table.workers == WORKERS {
            self.work.notify_one();
            return;
        }
        let working = Arc::clone(self);
        let thread = thread::Builder::new().name("tepui-isolate".to_owned());
        match thread.spawn(move || working.work()) {
            Ok(thread) => {
                table.workers += 1;
                table.threads.retain(|thread| !thread.is_finished());
                table.threads.push(thread);
            }
            // Those that are there do it, if there are any; else it is tried again with the next.
            Err(error) => warn!(%error, "a thread for isolators cannot be started"),
        }
    }

    /// Does what there is to do, until there is nothing for a while.
    fn work(self: Arc<Self>) {
        let mut table = self.lock();
        loop {
            if table.recovery == Recovery::Due {
                table = self.remove_others(table);
            } else if let Some(id) = table.ready.pop_front() {
                table = self.work_for(table, &id);
            } else if table.is_closed {
                break;
            } else {
                table.idle += 1;
                let waited = self.work.wait_timeout(table, IDLE);
                let (woken, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
                table = woken;
                table.idle -= 1;
                let has_work = !table.ready.is_empty() || table.recovery == Recovery::Due;
                if timeout.timed_out() && !has_work {
                    break;
                }
            }
        }
        table.workers -= 1;
    }

    /// Does the next thing for a container.
    fn work_for<'a>(
        self: &'a Arc<Self>,
        mut table: MutexGuard<'a, Table>,
        id: &ContainerId,
    ) -> MutexGuard<'a, Table> {
        let Some(entry) = table.containers.get_mut(id) else {
            return table;
        };
        let Some(job) = entry.jobs.pop_front() else {
            return table;
        };
        entry.is_busy = true;
        let cancel = Arc::clone(&entry.cancel);
        drop(table);
        let is_over = match job {
            Job::Prepare(spec) => self.prepare(id, *spec, &cancel),
            Job::Update(limits) => {
                self.update(id, &limits);
                false
            }
            Job::Conclude(event) => {
                self.conclude(id, event);
                true
            }
        };
        let mut table = self.lock();
        let Some(entry) = table.containers.get_mut(id) else {
            return table;
        };
        entry.is_busy = false;
        if is_over {
            table.containers.remove(id);
            self.changed.notify_all();
            self.look_for_recovery(&mut table);
        } else if !entry.jobs.is_empty() {
            table.ready.push_back(id.clone());
        }
        table
    }

    /// Prepares a container and hands it on, or says why not. Returns whether it is over.
    fn prepare(&self, id: &ContainerId, mut spec: Spec, cancel: &Cancel) -> bool {
        let mut launch = Launch::default();
        if let Err(message) = self.prepare_all(id, &spec, cancel, &mut launch) {
            let id = id.clone();
            self.ends.tell(ContainerEvent::LaunchFailed { id, message });
            return true;
        }
        let mut table = self.lock();
        let entry = table.containers.get_mut(id);
        let entry = entry.expect("what is being prepared stays in the table");
        if cancel.is_cancelled() {
            drop(table);
            self.clean_up(id, self.isolators.len());
            self.ends.tell(given_up(id));
            return true;
        }
        entry.stage = Stage::Launched;
        if let Some(limits) = entry.resized.take() {
            let pids = spec.limits.pids;
            spec.limits = ContainerLimits { pids, ..limits };
        }
        if let Some(command) = launch.command.take() {
            spec.command = command;
        }
        // With the table: an order to end it comes after this.
        if self.ends.launch(id.clone(), spec, launch) {
            return false;
        }
        drop(table);
        self.clean_up(id, self.isolators.len());
        self.ends.tell(given_up(id));
        true
    }

    fn prepare_all(
        &self,
        id: &ContainerId,
        spec: &Spec,
        cancel: &Cancel,
        launch: &mut Launch,
    ) -> Result<(), String> {
        let sandbox = self.sandboxes.path_of(&spec.sandbox);
        let sandbox = sandbox.map_err(|error| error.to_string())?;
        self.sandboxes
            .create(&spec.sandbox, None)
            .map_err(|error| error.to_string())?;
        for (done, isolator) in self.isolators.iter().enumerate() {
            let subject = Subject {
                id,
                spec,
                sandbox: &sandbox,
                cancel,
            };
            let prepared = match cancel.is_cancelled() {
                true => Err(GIVEN_UP.to_owned()),
                false => asked(|| isolator.prepare(&subject, launch))
                    .map_err(|error| format!("{}: {error}", isolator.name())),
            };
            if let Err(message) = prepared {
                self.clean_up(id, done + 1);
                return Err(message);
            }
        }
        Ok(())
    }

    fn update(&self, id: &ContainerId, limits: &ContainerLimits) {
        for isolator in &self.isolators {
            if let Err(error) = asked(|| isolator.update(id, limits)) {
                let id = id.clone();
                let message = format!("{}: {error}", isolator.name());
                self.ends.tell(ContainerEvent::ResizeFailed { id, message });
            }
        }
    }

    /// Cleans up after a container that is over, and tells it.
    fn conclude(&self, id: &ContainerId, mut event: ContainerEvent) {
        self.clean_up(id, self.isolators.len());
        let found = self
            .lock()
            .containers
            .get(id)
            .and_then(|entry| entry.breach);
        if let ContainerEvent::Exited { breach, .. } = &mut event {
            *breach = breach.or(found);
        }
        self.ends.tell(event);
    }

    /// Has the first of the isolators clean up, the last one first. What fails is tried again.
    fn clean_up(&self, id: &ContainerId, first: usize) {
        let mut is_clean = true;
        for isolator in self.isolators[..first].iter().rev() {
            if let Err(error) = asked(|| isolator.cleanup(id)) {
                warn!(%id, isolator = isolator.name(), %error, "not cleaned up; tried again");
                is_clean = false;
            }
        }
        let mut table = self.lock();
        match is_clean {
            true => drop(table.left.remove(id)),
            false => drop(table.left.insert(id.clone())),
        }
    }

    /// Goes on with a recovery when nothing is being cleaned up any more that had ended.
    fn look_for_recovery(self: &Arc<Self>, table: &mut Table) {
        let ending = |entry: &Entry| entry.stage == Stage::Ended;
        if table.recovery == Recovery::Told && !table.containers.values().any(ending) {
            table.recovery = Recovery::Due;
            self.call_worker(table);
        }
    }

    /// Removes what belongs to no container that is there, and goes on with what was held up.
    fn remove_others<'a>(
        self: &'a Arc<Self>,
        mut table: MutexGuard<'a, Table>,
    ) -> MutexGuard<'a, Table> {
        table.recovery = Recovery::Removing;
        let live: BTreeSet<ContainerId> = table.containers.keys().cloned().collect();
        drop(table);
        for isolator in &self.isolators {
            if let Err(error) = asked(|| isolator.recover(&live)) {
                warn!(isolator = isolator.name(), %error, "not all of before is removed");
            }
        }
        self.ends.tell(ContainerEvent::Recovered);
        let mut table = self.lock();
        table.recovery = Recovery::Done;
        for (id, spec) in std::mem::take(&mut table.held) {
            self.push(&mut table, id, Job::Prepare(spec));
        }
        table
    }
}

#[cfg(test)]
mod tests;

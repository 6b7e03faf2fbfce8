//! What happens to a container before the launcher has it, and after: its isolators prepare it,
//! watch it, and clean up after it.
//!
//! Stands between the agent's orders and the launcher. What isolators do may take long, so it is
//! done on threads of their own: in order for one container, at the same time for several. An end
//! is told when everything is undone, so that what a task had is free when its agent says so.
//! Deliberately not here: what each isolator does; the launcher.

mod ends;
mod jobs;
mod journal;
mod recovery;
mod table;
mod watch;
mod work;

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread;
use std::time::Duration;

use tepui_core::ids::ContainerId;
use tepui_core::protocol::container::{
    ContainerCommand, ContainerEvent, ContainerLimits, ContainerSpec,
};
use tracing::debug;

pub(crate) use self::ends::Ends;
pub(crate) use self::journal::Journal;
pub(crate) use self::table::Answer;
use self::table::{Entry, GIVEN_UP, Job, Recovery, Stage, Table, given_up, group_of};
use crate::isolator::Isolator;
use crate::kill_point;
use crate::sandbox::Sandboxes;

/// Prepares, watches, and cleans up.
pub(crate) struct Pipeline {
    shared: Arc<Shared>,
    watcher: Option<thread::JoinHandle<()>>,
}

struct Shared {
    isolators: Vec<Slot>,
    sandboxes: Sandboxes,
    journal: Journal,
    ends: Box<dyn Ends>,
    table: Mutex<Table>,
    /// There is something to begin, or everything is over.
    begins: Condvar,
    /// There is other work, or everything is over.
    work: Condvar,
    /// A container is over, or everything is.
    changed: Condvar,
}

/// An isolator.
struct Slot {
    isolator: Box<dyn Isolator>,
    /// Held for writing while it recovers.
    turn: RwLock<()>,
}

impl Slot {
    fn name(&self) -> &str {
        self.isolator.name()
    }
}

impl Pipeline {
    /// Begins with nothing in it.
    pub(crate) fn start(
        isolators: Vec<Box<dyn Isolator>>,
        sandboxes: Sandboxes,
        journal: Journal,
        ends: Box<dyn Ends>,
    ) -> std::io::Result<Self> {
        let isolators = isolators.into_iter().map(|isolator| Slot {
            isolator,
            turn: RwLock::default(),
        });
        let shared = Arc::new(Shared {
            isolators: isolators.collect(),
            sandboxes,
            journal,
            ends,
            table: Mutex::default(),
            begins: Condvar::new(),
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

    /// Takes an order. Never blocks, but for a look at notes of what is to be recovered.
    pub(crate) fn order(&self, command: ContainerCommand) {
        self.shared.order(command);
    }

    /// Takes news of the launcher. Never blocks for long.
    pub(crate) fn hear(&self, event: ContainerEvent) {
        self.shared.hear(event);
    }

    /// The launcher holds a container. Never blocks.
    pub(crate) fn held(&self, id: ContainerId, pid: u32, began: u64) {
        kill_point::reached("held.heard");
        let mut table = self.shared.lock();
        let entry = table.containers.get(&id);
        if entry.is_some_and(|entry| entry.stage == Stage::Holding) {
            self.shared.push(&mut table, id, Job::Attach(pid, began));
        } else {
            drop(table);
            let ends = &self.shared.ends;
            ends.forward(ContainerCommand::Destroy { id });
        }
    }

    /// Asks isolators what a container has used; answered on another thread. Never blocks.
    pub(crate) fn usage(&self, id: &ContainerId, answer: Answer) {
        let mut table = self.shared.lock();
        if table.containers.contains_key(id) {
            let job = Job::Usage(answer);
            return self.shared.push(&mut table, id.clone(), job);
        }
        drop(table);
        answer(None);
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
            has_launcher(entry.stage) && !left.iter().any(|name| name == id.as_str())
        };
        let over = table.containers.iter().filter(is_over);
        let over: Vec<ContainerId> = over.map(|(id, _)| id.clone()).collect();
        for id in over {
            let event = ContainerEvent::Lost { id: id.clone() };
            self.shared.end(&mut table, id, event);
        }
        table
            .containers
            .retain(|_, entry| !has_launcher(entry.stage));
        let is_busy = |table: &mut Table| !table.containers.is_empty();
        let changed = &self.shared.changed;
        let waited = changed.wait_timeout_while(table, patience, is_busy);
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
        self.shared.begins.notify_all();
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
        kill_point::reached(place_of(&command));
        // Read from files, and so not while others wait for the table.
        let mut groups: BTreeMap<ContainerId, ContainerId> = BTreeMap::new();
        if let ContainerCommand::Recover { known } = &command {
            let known = known.iter();
            groups.extend(known.filter_map(|id| Some((id.clone(), self.journal.group_of(id)?))));
        }
        let mut table = self.lock();
        match command {
            ContainerCommand::Launch { id, spec } if table.recovery != Recovery::Done => {
                table.held.push((id, Box::new(spec)));
            }
            ContainerCommand::Launch { id, spec } => self.begin(&mut table, id, Box::new(spec)),
            ContainerCommand::Recover { known } => {
                table.recovery = Recovery::Asked;
                for id in &known {
                    let entry = table.containers.entry(id.clone());
                    entry.or_insert_with(|| Entry {
                        stage: Stage::Launched,
                        group: groups.remove(id),
                        ..Entry::default()
                    });
                }
                drop(table);
                self.ends.forward(ContainerCommand::Recover { known });
            }
            ContainerCommand::Resize { id, limits } => self.resize(table, id, limits),
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
            ContainerCommand::Forget { .. }
            | ContainerCommand::Probe { .. }
            | ContainerCommand::Unprobe { .. } => {
                drop(table);
                self.ends.forward(command);
            }
        }
    }

    /// Has a container prepared. From now on it is one of its group.
    fn begin(self: &Arc<Self>, table: &mut Table, id: ContainerId, spec: Box<ContainerSpec>) {
        let entry = table.containers.entry(id.clone()).or_default();
        entry.group = group_of(&spec).cloned();
        self.push(table, id, Job::Prepare(spec));
    }

    fn resize(
        self: &Arc<Self>,
        mut table: MutexGuard<'_, Table>,
        id: ContainerId,
        limits: ContainerLimits,
    ) {
        if let Some((_, spec)) = table.held.iter_mut().find(|(held, _)| *held == id) {
            return jobs::change(spec, limits);
        }
        match table.containers.get_mut(&id) {
            Some(entry) if entry.stage == Stage::Preparing => entry.resized = Some(limits),
            Some(_) => {
                self.push(&mut table, id.clone(), Job::Update(limits.clone()));
                drop(table);
                self.ends.forward(ContainerCommand::Resize { id, limits });
            }
            None => debug!(%id, "a container that is not there has no limits"),
        }
    }

    /// Ends a container whose program is not started yet. Returns whether that is all.
    fn give_up(&self, mut table: MutexGuard<'_, Table>, id: &ContainerId) -> bool {
        if let Some(at) = table.held.iter().position(|(held, _)| held == id) {
            table.held.remove(at);
            drop(table);
            self.ends.tell(given_up(id));
            return true;
        }
        let Some(entry) = table.containers.get_mut(id) else {
            return false;
        };
        match entry.stage {
            Stage::Preparing => {
                entry.cancel.cancel();
                true
            }
            Stage::Holding => {
                entry.cancel.cancel();
                entry.refused.get_or_insert_with(|| GIVEN_UP.to_owned());
                // The launcher ends it.
                false
            }
            Stage::Launched | Stage::Running | Stage::Ended => false,
        }
    }

    fn hear(self: &Arc<Self>, event: ContainerEvent) {
        let mut table = self.lock();
        let (ContainerEvent::Started { id, .. }
        | ContainerEvent::LaunchFailed { id, .. }
        | ContainerEvent::Exited { id, .. }
        | ContainerEvent::Lost { id }
        | ContainerEvent::ResizeFailed { id, .. }
        | ContainerEvent::Probed { id, .. }) = &event
        else {
            kill_point::reached("recover.heard");
            table.recovery = Recovery::Told;
            self.look_for_recovery(&mut table);
            return;
        };
        match event {
            ContainerEvent::Started { pid, .. } => {
                kill_point::reached("started.heard");
                let entry = table.containers.entry(id.clone()).or_default();
                entry.stage = Stage::Running;
                entry.pid = Some(pid);
            }
            ContainerEvent::ResizeFailed { .. } | ContainerEvent::Probed { .. } => {}
            ContainerEvent::LaunchFailed { .. }
            | ContainerEvent::Exited { .. }
            | ContainerEvent::Lost { .. }
            | ContainerEvent::Recovered => {
                kill_point::reached("end.heard");
                let id = id.clone();
                self.end(&mut table, id, event);
                return;
            }
        }
        drop(table);
        let has_started = matches!(event, ContainerEvent::Started { .. });
        self.ends.tell(event);
        if has_started {
            kill_point::reached("started.told");
        }
    }

    /// Has a container cleaned up that is over.
    fn end(self: &Arc<Self>, table: &mut Table, id: ContainerId, event: ContainerEvent) {
        table.containers.entry(id.clone()).or_default().stage = Stage::Ended;
        self.push(table, id, Job::Conclude(event));
    }
}

/// Returns whether the launcher has a container, and it has not ended.
fn has_launcher(stage: Stage) -> bool {
    match stage {
        Stage::Holding | Stage::Launched | Stage::Running => true,
        Stage::Preparing | Stage::Ended => false,
    }
}

/// Names where an order is taken.
fn place_of(command: &ContainerCommand) -> &'static str {
    match command {
        ContainerCommand::Launch { .. } => "launch.ordered",
        ContainerCommand::Terminate { .. } => "terminate.ordered",
        ContainerCommand::Destroy { .. } => "destroy.ordered",
        ContainerCommand::Forget { .. } => "forget.ordered",
        ContainerCommand::Recover { .. } => "recover.ordered",
        ContainerCommand::Resize { .. } => "resize.ordered",
        // Not for a pipeline.
        ContainerCommand::Probe { .. } | ContainerCommand::Unprobe { .. } => "probe.ordered",
    }
}

#[cfg(test)]
mod tests;

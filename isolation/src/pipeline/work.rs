//! Who does what there is to do: threads that come when there is work and go when there is none.
//!
//! What is done for one container is done one after the other. What begins containers has threads
//! of its own, for it may wait for other machines: an end never waits behind it.

use std::sync::{Arc, Condvar, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tepui_core::ids::ContainerId;
use tracing::warn;

use super::Shared;
use super::table::{Job, Kind, Recovery, Table};

/// The most containers that are begun, and the most that are seen to otherwise, at the same time.
const WORKERS: usize = 64;
/// How long a worker without work stays.
const IDLE: Duration = Duration::from_secs(10);

impl Shared {
    /// Has something done for a container, after what is to be done for it already.
    pub(super) fn push(self: &Arc<Self>, table: &mut Table, id: ContainerId, job: Job) {
        let entry = table.containers.entry(id.clone()).or_default();
        let is_first = entry.jobs.is_empty() && !entry.is_busy;
        let kind = job.kind();
        entry.jobs.push_back(job);
        if is_first {
            table.lane(kind).ready.push_back(id);
            self.call_worker(table, kind);
        }
    }

    fn bell(&self, kind: Kind) -> &Condvar {
        match kind {
            Kind::Begin => &self.begins,
            Kind::Rest => &self.work,
        }
    }

    /// Sees to it that somebody does the work that there is.
    pub(super) fn call_worker(self: &Arc<Self>, table: &mut Table, kind: Kind) {
        // Who was woken and has not taken anything yet counts as idle still.
        let waiting = table.waiting(kind);
        let lane = table.lane(kind);
        if lane.idle >= waiting || lane.workers == WORKERS {
            self.bell(kind).notify_one();
            return;
        }
        let working = Arc::clone(self);
        let thread = thread::Builder::new().name("tepui-isolate".to_owned());
        match thread.spawn(move || working.work(kind)) {
            Ok(thread) => {
                lane.workers += 1;
                table.threads.retain(|thread| !thread.is_finished());
                table.threads.push(thread);
            }
            // Those that are there do it, if there are any; else it is tried again with the next.
            Err(error) => warn!(%error, "a thread for isolators cannot be started"),
        }
    }

    /// Does what there is to do, until there is nothing for a while.
    fn work(self: Arc<Self>, kind: Kind) {
        let mut table = self.lock();
        loop {
            if kind == Kind::Rest && table.recovery == Recovery::Due {
                table = self.remove_others(table);
            } else if let Some(id) = table.lane(kind).ready.pop_front() {
                table = self.work_for(table, &id);
            } else if table.is_closed {
                break;
            } else {
                table.lane(kind).idle += 1;
                let waited = self.bell(kind).wait_timeout(table, IDLE);
                let (woken, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
                table = woken;
                table.lane(kind).idle -= 1;
                if timeout.timed_out() && table.waiting(kind) == 0 {
                    break;
                }
            }
        }
        table.lane(kind).workers -= 1;
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
            Job::Attach(pid, began) => {
                self.attach(id, pid, began, &cancel);
                false
            }
            Job::Update(limits) => {
                self.update(id, &limits);
                false
            }
            Job::Usage(answer) => {
                answer(Some(self.usage_of(id)));
                false
            }
            Job::Conclude(event) => {
                self.conclude(id, event);
                true
            }
        };
        self.release_turn(id, is_over)
    }

    /// Lets the next thing be done for a container, or forgets it.
    pub(super) fn release_turn(
        self: &Arc<Self>,
        id: &ContainerId,
        is_over: bool,
    ) -> MutexGuard<'_, Table> {
        let mut table = self.lock();
        let Some(entry) = table.containers.get_mut(id) else {
            return table;
        };
        entry.is_busy = false;
        if is_over {
            let jobs = std::mem::take(&mut entry.jobs);
            table.containers.remove(id);
            self.changed.notify_all();
            self.look_for_recovery(&mut table);
            drop(table);
            for job in jobs {
                if let Job::Usage(answer) = job {
                    answer(None);
                }
            }
            return self.lock();
        }
        if let Some(kind) = entry.jobs.front().map(Job::kind) {
            table.lane(kind).ready.push_back(id.clone());
            self.call_worker(&mut table, kind);
        }
        table
    }
}

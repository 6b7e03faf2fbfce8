//! Looks now and then: whether a container has broken a limit that an isolator watches, and whether
//! what could not be cleaned up or recovered can be by now. One thread for all.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use tepui_core::ids::ContainerId;
use tepui_core::protocol::container::ContainerCommand;
use tracing::debug;

use super::Shared;
use super::table::{Entry, Stage};
use crate::isolator::{Isolator, asked};

/// How long it takes until what could not be cleaned up is tried again.
const RETRY: Duration = Duration::from_secs(10);

impl Shared {
    /// Asks isolators for broken limits, and tries again what has failed.
    pub(super) fn watch(self: &Arc<Self>) {
        let now = Instant::now();
        let watched = self.isolators.iter().filter_map(|slot| {
            let pause = asked(|| Ok(slot.isolator.watches()));
            let pause = pause.unwrap_or_default()?;
            Some((&slot.isolator, pause, now + pause))
        });
        let mut watched: Vec<_> = watched.collect();
        let mut again = now + RETRY;
        while !self.wait_until(
            watched
                .iter()
                .map(|(_, _, due)| *due)
                .fold(again, Instant::min),
        ) {
            let now = Instant::now();
            for (isolator, pause, due) in &mut watched {
                if *due <= now {
                    self.look_with(isolator.as_ref());
                    *due = Instant::now() + *pause;
                }
            }
            self.recover_again(now);
            if again <= now {
                let left: Vec<ContainerId> = self.lock().left.iter().cloned().collect();
                left.iter().for_each(|id| self.clean_up(id));
                again = Instant::now() + RETRY;
            }
        }
    }

    /// Waits until then, or until a recovery is due; returns whether everything is over.
    fn wait_until(&self, due: Instant) -> bool {
        let mut table = self.lock();
        loop {
            let first = table.again.iter().map(|again| again.due);
            let left = first.fold(due, Instant::min);
            let left = left.saturating_duration_since(Instant::now());
            if table.is_closed || left.is_zero() {
                return table.is_closed;
            }
            let waited = self.changed.wait_timeout(table, left);
            (table, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Ends the containers that have broken a limit. One for which something else is being done is
    /// looked at the next time.
    fn look_with(self: &Arc<Self>, isolator: &dyn Isolator) {
        let is_free = |entry: &Entry| {
            let runs = entry.stage == Stage::Running && entry.breach.is_none();
            runs && !entry.is_busy && entry.jobs.is_empty()
        };
        let table = self.lock();
        let running = table.containers.iter().filter(|(_, entry)| is_free(entry));
        let running: Vec<ContainerId> = running.map(|(id, _)| id.clone()).collect();
        drop(table);
        for id in running {
            let mut table = self.lock();
            let entry = table.containers.get_mut(&id);
            let Some(entry) = entry.filter(|entry| is_free(entry)) else {
                continue;
            };
            entry.is_busy = true;
            drop(table);
            let found = asked(|| isolator.breach(&id)).unwrap_or_else(|error| {
                debug!(%id, isolator = isolator.name(), %error, "limits not looked at");
                None
            });
            let mut table = self.lock();
            let entry = table.containers.get_mut(&id);
            // It may have ended meanwhile, and waits to be cleaned up.
            let runs = entry.filter(|entry| entry.stage == Stage::Running);
            if let (Some(entry), Some(found)) = (runs, found) {
                entry.breach = Some(found);
                let id = id.clone();
                self.ends.forward(ContainerCommand::Destroy { id });
            }
            drop(table);
            drop(self.release_turn(&id, false));
        }
    }
}

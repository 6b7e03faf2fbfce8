//! Looks now and then: whether a container has broken a limit that an isolator watches, and whether
//! what could not be cleaned up can be by now. One thread for all.

use std::sync::PoisonError;
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
    /// Asks isolators for broken limits, and tries again what could not be cleaned up.
    pub(super) fn watch(&self) {
        let now = Instant::now();
        let watched = self.isolators.iter().filter_map(|isolator| {
            let pause = isolator.watches()?;
            Some((isolator, pause, now + pause))
        });
        let mut watched: Vec<_> = watched.collect();
        let mut again = now + RETRY;
        loop {
            let due = watched
                .iter()
                .map(|(_, _, due)| *due)
                .fold(again, Instant::min);
            if self.wait_until(due) {
                return;
            }
            let now = Instant::now();
            for (isolator, pause, due) in &mut watched {
                if *due <= now {
                    self.look_with(isolator.as_ref());
                    *due = Instant::now() + *pause;
                }
            }
            if again <= now {
                let left: Vec<ContainerId> = self.lock().left.iter().cloned().collect();
                left.iter()
                    .for_each(|id| self.clean_up(id, self.isolators.len()));
                again = Instant::now() + RETRY;
            }
        }
    }

    /// Waits; returns whether everything is over.
    fn wait_until(&self, due: Instant) -> bool {
        let mut table = self.lock();
        loop {
            let left = due.saturating_duration_since(Instant::now());
            if table.is_closed || left.is_zero() {
                return table.is_closed;
            }
            let waited = self.changed.wait_timeout(table, left);
            (table, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Ends the containers that have broken a limit.
    fn look_with(&self, isolator: &dyn Isolator) {
        let table = self.lock();
        let runs = |entry: &Entry| entry.stage == Stage::Running && entry.breach.is_none();
        let running = table.containers.iter().filter(|(_, entry)| runs(entry));
        let running: Vec<ContainerId> = running.map(|(id, _)| id.clone()).collect();
        drop(table);
        for id in running {
            let found = match asked(|| isolator.breach(&id)) {
                Ok(found) => found,
                Err(error) => {
                    debug!(%id, isolator = isolator.name(), %error, "limits not looked at");
                    None
                }
            };
            let Some(found) = found else { continue };
            let mut table = self.lock();
            let Some(entry) = table.containers.get_mut(&id) else {
                continue;
            };
            if entry.stage == Stage::Running {
                entry.breach = Some(found);
                drop(table);
                self.ends.forward(ContainerCommand::Destroy { id });
            }
        }
    }
}

//! What isolators had before the agent was started: kept for containers that are there still,
//! removed for all others. What fails is tried again, ever more rarely.

use std::sync::{Arc, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use tepui_core::ids::ContainerId;
use tepui_core::protocol::container::ContainerEvent;
use tracing::{info, warn};

use super::Shared;
use super::table::{Again, Entry, Kind, Recovery, Stage, Table};
use crate::isolator::{Recovered, Survivor, Survivors, asked};
use crate::kill_point;

/// The pause before a recovery that failed is tried again, at first; it doubles each time.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
/// The pause that does not grow any more.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

impl Shared {
    /// Goes on with a recovery when nothing is being cleaned up any more that had ended.
    pub(super) fn look_for_recovery(self: &Arc<Self>, table: &mut Table) {
        let ending = |entry: &Entry| entry.stage == Stage::Ended;
        if table.recovery == Recovery::Told && !table.containers.values().any(ending) {
            table.recovery = Recovery::Due;
            self.call_worker(table, Kind::Rest);
        }
    }

    /// Removes what belongs to no container that is there, and goes on with what was held up.
    pub(super) fn remove_others<'a>(
        self: &'a Arc<Self>,
        mut table: MutexGuard<'a, Table>,
    ) -> MutexGuard<'a, Table> {
        table.recovery = Recovery::Removing;
        drop(table);
        self.clean_up_the_forgotten();
        for index in 0..self.isolators.len() {
            let slot = &self.isolators[index];
            let turn = slot.turn.write().unwrap_or_else(PoisonError::into_inner);
            self.recover_with(index, None);
            drop(turn);
        }
        self.ends.tell(ContainerEvent::Recovered);
        kill_point::reached("recover.told");
        let mut table = self.lock();
        table.recovery = Recovery::Done;
        for (id, spec) in std::mem::take(&mut table.held) {
            self.begin(&mut table, id, spec);
        }
        // The watcher sees when what has failed is due.
        self.changed.notify_all();
        table
    }

    /// Cleans up after containers that an agent before this one has begun and nobody knows.
    fn clean_up_the_forgotten(&self) {
        let records = match self.journal.read() {
            Ok(records) => records,
            Err(error) => return warn!(%error, "not all that was prepared is known"),
        };
        for (id, record) in records {
            if self.lock().containers.contains_key(&id) {
                continue;
            }
            let isolators = record.map(|record| record.isolators).unwrap_or_default();
            let gone = |name: &&String| !self.isolators.iter().any(|slot| slot.name() == *name);
            let gone: Vec<&String> = isolators.iter().filter(gone).collect();
            if !gone.is_empty() {
                warn!(%id, isolators = ?gone, "prepared by isolators that are not there any more");
            }
            self.clean_up(&id);
        }
    }

    /// Tries again what is due. Who prepares something just now is asked a little later.
    pub(super) fn recover_again(&self, now: Instant) {
        let mut table = self.lock();
        let (due, later) = table.again.drain(..).partition(|again| again.due <= now);
        table.again = later;
        drop(table);
        let due: Vec<Again> = due;
        for again in due {
            let slot = &self.isolators[again.index];
            let turn = match slot.turn.try_write() {
                Ok(turn) => turn,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => {
                    let due = now + SHORTEST_PAUSE;
                    self.lock().again.push(Again { due, ..again });
                    continue;
                }
            };
            self.recover_with(again.index, Some(again.pause));
            drop(turn);
        }
    }

    /// Has an isolator recover, while nobody else asks it for anything; notes what came of it.
    /// `pause` is how long was waited for this.
    fn recover_with(&self, index: usize, pause: Option<Duration>) {
        let live = self.survivors();
        let isolator = &self.isolators[index].isolator;
        let name = isolator.name();
        kill_point::reached_by("recover.begun:", name);
        let result = asked(|| isolator.recover(&live));
        kill_point::reached_by("recover.done:", name);
        let mut table = self.lock();
        let failed = match result {
            Ok(Recovered { failed }) => {
                table.unready.remove(&index);
                failed
            }
            Err(error) => {
                let text = error.to_string();
                warn!(
                    isolator = name,
                    error = text,
                    "not recovered: it starts nothing"
                );
                table.unready.insert(index, text);
                let pause = longer(pause);
                table.again.push(again(index, pause));
                return;
            }
        };
        for (of, error) in &failed {
            warn!(isolator = name, of, %error, "not recovered; tried again");
        }
        if !failed.is_empty() {
            table.again.push(again(index, longer(pause)));
        } else if pause.is_some() {
            info!(isolator = name, "all of before is recovered");
        }
    }

    /// Lists the containers that are there, with what is known of them.
    fn survivors(&self) -> Survivors {
        let mut records = self.journal.read().unwrap_or_else(|error| {
            warn!(%error, "it is not known what was asked for");
            Default::default()
        });
        let table = self.lock();
        let survivors = table.containers.iter().map(|(id, entry)| {
            let record = records.remove(id).flatten();
            let survivor = Survivor {
                spec: record.map(|record| record.spec),
                pid: entry.pid,
            };
            (ContainerId::clone(id), survivor)
        });
        survivors.collect()
    }
}

fn longer(pause: Option<Duration>) -> Duration {
    pause.map_or(SHORTEST_PAUSE, |pause| (pause * 2).min(LONGEST_PAUSE))
}

fn again(index: usize, pause: Duration) -> Again {
    let due = Instant::now() + pause;
    Again { index, pause, due }
}

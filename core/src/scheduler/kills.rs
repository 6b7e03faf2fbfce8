//! The table of kills of tasks whose end was not heard of. They are said again in each
//! subscription, for one may be lost with its connection, and where the master had no room for
//! some.
//!
//! Many are said in parts, one with each heartbeat, so that nothing on their way has to hold all of
//! them at once. Written by `reconciling` and `updates`, said by `subscription`.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::ops::Bound;
use core::time::Duration;

use crate::ids::TaskId;
use crate::limits;

/// All such kills.
#[derive(Debug, Default)]
pub(super) struct Kills {
    /// At most [`limits::WAITING_KILLS`].
    rows: BTreeMap<TaskId, Option<Duration>>,
    /// Whether a part is to be said with the next heartbeat.
    is_due: bool,
    /// Behind which it begins.
    said: Option<TaskId>,
    /// Whether the master has refused some since the first part: then all are said once more.
    is_refused: bool,
}

impl Kills {
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn contains(&self, task: &TaskId) -> bool {
        self.rows.contains_key(task)
    }

    /// Keeps a kill, if there is room; the newest of a task counts.
    pub(super) fn insert(&mut self, task: &TaskId, grace: Option<Duration>) {
        if self.len() < limits::WAITING_KILLS || self.contains(task) {
            self.rows.insert(task.clone(), grace);
        }
    }

    pub(super) fn remove(&mut self, task: &TaskId) {
        self.rows.remove(task);
    }

    /// Has all said from the beginning.
    pub(super) fn begin(&mut self) {
        self.stop();
        self.is_due = true;
    }

    /// Has none said any more: there is nobody to hear them.
    pub(super) fn stop(&mut self) {
        self.is_due = false;
        self.said = None;
        self.is_refused = false;
    }

    /// Has all said again, for the master had no room for some. Returns whether all are kept.
    pub(super) fn refuse(&mut self) -> bool {
        self.is_refused |= self.is_due;
        self.is_due = true;
        self.len() < limits::WAITING_KILLS
    }

    /// Returns those that are to be said now.
    pub(super) fn part(&mut self) -> Vec<(TaskId, Option<Duration>)> {
        if !self.is_due {
            return Vec::new();
        }
        let behind = self.said.take().map_or(Bound::Unbounded, Bound::Excluded);
        let rows = self.rows.range((behind, Bound::Unbounded));
        let part = rows.take(limits::KILLS_SAID);
        let part: Vec<_> = part.map(|(task, grace)| (task.clone(), *grace)).collect();
        if part.len() < limits::KILLS_SAID {
            self.is_due = core::mem::take(&mut self.is_refused);
        } else {
            self.said = part.last().map(|(task, _)| task.clone());
        }
        part
    }
}

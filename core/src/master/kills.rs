//! The table of kills that wait for an agent of an earlier leadership: nobody has told this one of
//! their tasks yet (TK-75, TK-82).
//!
//! Written by `on_scheduler`; carried out by `reregister`, or given up when all agents are back.
//! Deliberately not here: kills of known tasks, which their rows remember.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::tasks::Kill;
use crate::ids::TaskId;
use crate::keys::FrameworkKey;
use crate::limits;

/// All such kills.
#[derive(Clone, Debug, Default)]
pub(super) struct Kills {
    frameworks: BTreeMap<FrameworkKey, BTreeMap<TaskId, Kill>>,
    len: usize,
}

impl Kills {
    /// Remembers a kill; the newest of a task counts. `false` if there is no room.
    #[must_use]
    pub(super) fn insert(&mut self, framework: FrameworkKey, task: TaskId, kill: Kill) -> bool {
        let of = self.frameworks.get(&framework);
        let is_new = !of.is_some_and(|of| of.contains_key(&task));
        if is_new && self.len >= limits::WAITING_KILLS {
            return false;
        }
        self.len += usize::from(is_new);
        let of = self.frameworks.entry(framework).or_default();
        of.insert(task, kill);
        true
    }

    /// Takes out the kill of a task.
    pub(super) fn take(&mut self, framework: FrameworkKey, task: &TaskId) -> Option<Kill> {
        let of = self.frameworks.get_mut(&framework)?;
        let kill = of.remove(task)?;
        self.len -= 1;
        if of.is_empty() {
            self.frameworks.remove(&framework);
        }
        Some(kill)
    }

    /// Takes out all kills of a framework.
    pub(super) fn take_all(&mut self, framework: FrameworkKey) -> Vec<TaskId> {
        let of = self.frameworks.remove(&framework).unwrap_or_default();
        self.len -= of.len();
        of.into_keys().collect()
    }

    /// Lists the frameworks that have kills here.
    pub(super) fn frameworks(&self) -> Vec<FrameworkKey> {
        self.frameworks.keys().copied().collect()
    }

    pub(super) fn check(&self) {
        let counted: usize = self.frameworks.values().map(BTreeMap::len).sum();
        assert_eq!(self.len, counted, "kills that wait");
        assert!(self.frameworks.values().all(|of| !of.is_empty()));
        assert!(self.len <= limits::WAITING_KILLS);
    }
}

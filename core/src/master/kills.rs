//! The table of kills that wait for agents of an earlier leadership: nobody has told this one of
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

/// One such kill.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    kill: Kill,
    /// Whether it was said that nobody knows the task. An agent that stayed away for too long may
    /// still come back with it.
    answered: bool,
}

/// All such kills.
#[derive(Clone, Debug, Default)]
pub(super) struct Kills {
    frameworks: BTreeMap<FrameworkKey, BTreeMap<TaskId, Waiting>>,
    len: usize,
}

impl Kills {
    /// Returns how many wait, of all frameworks.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Remembers a kill, not answered yet; the newest of a task counts. `false` if there is no
    /// room.
    #[must_use]
    pub(super) fn insert(&mut self, framework: FrameworkKey, task: TaskId, kill: Kill) -> bool {
        let of = self.frameworks.get(&framework);
        let is_new = !of.is_some_and(|of| of.contains_key(&task));
        if is_new && self.len >= limits::WAITING_KILLS {
            return false;
        }
        self.len += usize::from(is_new);
        let of = self.frameworks.entry(framework).or_default();
        let answered = false;
        of.insert(task, Waiting { kill, answered });
        true
    }

    /// Takes out the kill of a task.
    pub(super) fn take(&mut self, framework: FrameworkKey, task: &TaskId) -> Option<Kill> {
        let of = self.frameworks.get_mut(&framework)?;
        let waiting = of.remove(task)?;
        self.len -= 1;
        if of.is_empty() {
            self.frameworks.remove(&framework);
        }
        Some(waiting.kill)
    }

    /// Notes that the kills of a framework are answered. Returns those that were not.
    pub(super) fn answer(&mut self, framework: FrameworkKey) -> Vec<TaskId> {
        let of = self.frameworks.get_mut(&framework).into_iter().flatten();
        let unanswered = of.filter(|(_, waiting)| !waiting.answered);
        unanswered
            .map(|(task, waiting)| {
                waiting.answered = true;
                task.clone()
            })
            .collect()
    }

    /// Forgets all kills of a framework.
    pub(super) fn forget(&mut self, framework: FrameworkKey) {
        let of = self.frameworks.remove(&framework).unwrap_or_default();
        self.len -= of.len();
    }

    /// Forgets what is answered.
    pub(super) fn forget_answered(&mut self) {
        for of in self.frameworks.values_mut() {
            let before = of.len();
            of.retain(|_, waiting| !waiting.answered);
            self.len -= before - of.len();
        }
        self.frameworks.retain(|_, of| !of.is_empty());
    }

    /// Lists the frameworks that have kills here.
    pub(super) fn frameworks(&self) -> Vec<FrameworkKey> {
        self.frameworks.keys().copied().collect()
    }

    /// Returns whether all kills of a framework are answered.
    pub(super) fn are_answered(&self, framework: FrameworkKey) -> bool {
        let mut of = self.frameworks.get(&framework).into_iter().flatten();
        of.all(|(_, waiting)| waiting.answered)
    }

    pub(super) fn check(&self) {
        let counted: usize = self.frameworks.values().map(BTreeMap::len).sum();
        assert_eq!(self.len, counted, "kills that wait");
        assert!(self.frameworks.values().all(|of| !of.is_empty()));
        assert!(self.len <= limits::WAITING_KILLS);
    }
}

//! The table of kills that wait for agents of an earlier leadership: nobody has told this one of
//! their tasks yet (TK-75, TK-82).
//!
//! Bounded for each framework, so that one alone takes nobody's room, and over all. Written by
//! `on_scheduler`; carried out by `reregister`, or given up when all agents are back. Deliberately
//! not here: kills of known tasks, which their rows remember.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use super::tasks::Kill;
use crate::ids::TaskId;
use crate::keys::FrameworkKey;
use crate::limits::{self, Bounds};

/// The kills of one framework.
#[derive(Clone, Debug, Default)]
struct OfFramework {
    kills: BTreeMap<TaskId, Kill>,
    /// Those of which it was not said yet that nobody knows the task. An agent that stayed away for
    /// too long may come back with it even after that.
    unanswered: BTreeSet<TaskId>,
}

/// All such kills.
#[derive(Clone, Debug, Default)]
pub(super) struct Kills {
    frameworks: BTreeMap<FrameworkKey, OfFramework>,
    /// The frameworks that have some that are not answered.
    unanswered: BTreeSet<FrameworkKey>,
    /// How many there are.
    count: usize,
    bounds: Bounds,
}

impl Kills {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            ..Self::default()
        }
    }

    /// Returns how many wait of a framework.
    pub(super) fn count(&self, framework: FrameworkKey) -> usize {
        let of = self.frameworks.get(&framework);
        of.map_or(0, |of| of.kills.len())
    }

    /// Remembers a kill, not answered yet; the newest of a task counts. `false` if there is no
    /// room.
    #[must_use]
    pub(super) fn insert(&mut self, framework: FrameworkKey, task: TaskId, kill: Kill) -> bool {
        let known = self.frameworks.get(&framework);
        let is_new = known.is_none_or(|of| !of.kills.contains_key(&task));
        let is_full = self.count(framework) >= self.bounds.kills || self.count >= limits::KILLS;
        if is_new && is_full {
            return false;
        }
        self.count += usize::from(is_new);
        let of = self.frameworks.entry(framework).or_default();
        of.unanswered.insert(task.clone());
        of.kills.insert(task, kill);
        self.unanswered.insert(framework);
        true
    }

    /// Takes out the kill of a task.
    pub(super) fn take(&mut self, framework: FrameworkKey, task: &TaskId) -> Option<Kill> {
        let of = self.frameworks.get_mut(&framework)?;
        let kill = of.kills.remove(task)?;
        self.count -= 1;
        of.unanswered.remove(task);
        if of.unanswered.is_empty() {
            self.unanswered.remove(&framework);
        }
        if of.kills.is_empty() {
            self.frameworks.remove(&framework);
        }
        Some(kill)
    }

    /// Notes that the kills of a framework are answered. Returns those that were not.
    pub(super) fn answer(&mut self, framework: FrameworkKey) -> BTreeSet<TaskId> {
        self.unanswered.remove(&framework);
        let of = self.frameworks.get_mut(&framework);
        of.map(|of| core::mem::take(&mut of.unanswered))
            .unwrap_or_default()
    }

    /// Forgets all kills of a framework.
    pub(super) fn forget(&mut self, framework: FrameworkKey) {
        let of = self.frameworks.remove(&framework).unwrap_or_default();
        self.count -= of.kills.len();
        self.unanswered.remove(&framework);
    }

    /// Forgets what is answered.
    pub(super) fn forget_answered(&mut self) {
        self.count = 0;
        self.frameworks.retain(|_, of| {
            let unanswered = &of.unanswered;
            of.kills.retain(|task, _| unanswered.contains(task));
            self.count += of.kills.len();
            !of.kills.is_empty()
        });
    }

    /// Lists the frameworks that have kills here which are not answered.
    pub(super) fn unanswered(&self) -> Vec<FrameworkKey> {
        self.unanswered.iter().copied().collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.frameworks.is_empty()
    }

    /// Returns how many wait of all frameworks.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Checks the indexes, and that nothing is kept for others than these.
    pub(super) fn check(&self, is_live: impl Fn(FrameworkKey) -> bool) {
        let count: usize = self.frameworks.values().map(|of| of.kills.len()).sum();
        assert_eq!(self.count, count, "kills");
        assert!(count <= limits::KILLS, "kills of all");
        for (framework, of) in &self.frameworks {
            assert!(is_live(*framework), "kills of nobody");
            assert!(!of.kills.is_empty() && of.kills.len() <= self.bounds.kills);
            let mut unanswered = of.unanswered.iter();
            assert!(unanswered.all(|task| of.kills.contains_key(task)));
            let is_open = self.unanswered.contains(framework);
            assert_eq!(is_open, !of.unanswered.is_empty(), "kills to be answered");
        }
        let mut open = self.unanswered.iter();
        assert!(open.all(|framework| self.frameworks.contains_key(framework)));
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use super::*;

    // TK-82, I22
    #[test]
    fn kills_are_bounded_over_all_frameworks() {
        let mut kills = Kills::default();
        let task = |n: usize| TaskId::new(&format!("{n}")).unwrap();
        let kill = Kill { grace: None };
        let full = limits::KILLS / limits::KILLS_PER_FRAMEWORK;
        let all: Vec<FrameworkKey> = (0..=full as u32)
            .map(|n| FrameworkKey::from_raw(n, 1))
            .collect();
        for key in &all[..full] {
            for n in 0..limits::KILLS_PER_FRAMEWORK {
                assert!(kills.insert(*key, task(n), kill));
            }
        }
        assert!(!kills.insert(all[full], task(0), kill), "no room");
        assert!(kills.insert(all[0], task(0), kill), "said again");
        kills.check(|_| true);
        assert_eq!(kills.answer(all[0]).len(), limits::KILLS_PER_FRAMEWORK);
        kills.forget_answered();
        assert_eq!(kills.count(all[0]), 0);
        assert!(kills.insert(all[full], task(0), kill));
        kills.forget(all[1]);
        assert!(kills.take(all[2], &task(0)).is_some());
        kills.check(|_| true);
    }
}

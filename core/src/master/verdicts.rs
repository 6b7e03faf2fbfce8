//! The table of refused tasks whose frameworks have not confirmed that they know (TK-72).
//!
//! There never was such a task, so no agent and no row speaks of it: without this a framework that
//! is lost at that moment would wait for it. Deliberately not here: when it is said (`updates`).

use alloc::collections::{BTreeMap, BTreeSet};

use crate::ids::{TaskId, UpdateId};
use crate::keys::FrameworkKey;
use crate::limits::{self, Bounds};
use crate::mutant::{Mutant, planted};
use crate::protocol::status::TaskStatus;
use crate::protocol::wire::size;

/// All refusals.
#[derive(Clone, Debug, Default)]
pub(super) struct Verdicts {
    frameworks: BTreeMap<FrameworkKey, OfFramework>,
    bounds: Bounds,
}

#[derive(Clone, Debug, Default)]
struct OfFramework {
    /// In the order in which they were said.
    said: BTreeMap<u64, TaskStatus>,
    numbers: BTreeMap<UpdateId, u64>,
    tasks: BTreeMap<TaskId, BTreeSet<u64>>,
    last: u64,
    /// On the wire, of all that was said.
    bytes: usize,
}

impl OfFramework {
    fn remove(&mut self, number: u64) {
        let Some(said) = self.said.remove(&number) else {
            return;
        };
        self.bytes -= size(&said);
        if let Some(update) = said.update {
            self.numbers.remove(&update);
        }
        if let Some(numbers) = self.tasks.get_mut(&said.task) {
            numbers.remove(&number);
            if numbers.is_empty() {
                self.tasks.remove(&said.task);
            }
        }
    }
}

impl Verdicts {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            ..Self::default()
        }
    }

    /// Remembers a refusal under a name, and returns it as it is to be said. Without room it has
    /// no name, and is said once.
    pub(super) fn insert(
        &mut self,
        framework: FrameworkKey,
        mut status: TaskStatus,
        update: UpdateId,
    ) -> TaskStatus {
        let of = self.frameworks.entry(framework).or_default();
        status.update = Some(update);
        let bytes = of.bytes + size(&status);
        let is_bounded = !planted(Mutant::VerdictsUnbounded);
        let has_room = of.said.len() < self.bounds.verdicts && bytes <= limits::VERDICT_BYTES;
        if has_room || !is_bounded {
            of.last += 1;
            of.bytes = bytes;
            of.numbers.insert(update, of.last);
            let numbers = of.tasks.entry(status.task.clone()).or_default();
            numbers.insert(of.last);
            of.said.insert(of.last, status.clone());
        } else {
            status.update = None;
            if of.said.is_empty() {
                self.frameworks.remove(&framework);
            }
        }
        status
    }

    /// Forgets what a framework confirms. Returns whether it is here.
    pub(super) fn confirm(&mut self, framework: FrameworkKey, update: UpdateId) -> bool {
        let Some(of) = self.frameworks.get_mut(&framework) else {
            return false;
        };
        let Some(number) = of.numbers.get(&update).copied() else {
            return false;
        };
        of.remove(number);
        if of.said.is_empty() {
            self.frameworks.remove(&framework);
        }
        true
    }

    /// Forgets what was refused under a task's id, which is another task's from now on: who heard
    /// it again would take it for the end of that one.
    pub(super) fn withdraw(&mut self, framework: FrameworkKey, task: &TaskId) {
        let Some(of) = self.frameworks.get_mut(&framework) else {
            return;
        };
        let numbers = of.tasks.get(task).cloned().unwrap_or_default();
        numbers.into_iter().for_each(|number| of.remove(number));
        if of.said.is_empty() {
            self.frameworks.remove(&framework);
        }
    }

    /// Returns the last refusal of a task that its framework has not confirmed.
    pub(super) fn about(&self, framework: FrameworkKey, task: &TaskId) -> Option<&TaskStatus> {
        let of = self.frameworks.get(&framework)?;
        of.said.get(of.tasks.get(task)?.last()?)
    }

    /// Returns how many bytes those of a framework are on the wire.
    pub(super) fn bytes(&self, framework: FrameworkKey) -> usize {
        self.frameworks.get(&framework).map_or(0, |of| of.bytes)
    }

    /// Visits what a framework has not confirmed, in the order in which it was said.
    pub(super) fn of(&self, framework: FrameworkKey) -> impl Iterator<Item = &TaskStatus> + '_ {
        let of = self.frameworks.get(&framework);
        of.into_iter().flat_map(|of| of.said.values())
    }

    /// Forgets all that is for a framework.
    pub(super) fn forget(&mut self, framework: FrameworkKey) {
        self.frameworks.remove(&framework);
    }

    /// Checks that nothing is kept for others than these.
    pub(super) fn check(&self, is_live: impl Fn(FrameworkKey) -> bool) {
        for (framework, of) in &self.frameworks {
            assert!(is_live(*framework), "refusals for nobody");
            assert!(!of.said.is_empty() && of.said.len() <= self.bounds.verdicts);
            let names = of
                .numbers
                .iter()
                .map(|(name, number)| (*number, Some(*name)));
            let names: BTreeMap<_, _> = names.collect();
            let said = of.said.iter();
            let said: BTreeMap<_, _> = said.map(|(n, status)| (*n, status.update)).collect();
            assert_eq!(names, said, "refusals by name");
            let mut tasks: BTreeMap<TaskId, BTreeSet<u64>> = BTreeMap::new();
            for (number, status) in &of.said {
                tasks
                    .entry(status.task.clone())
                    .or_default()
                    .insert(*number);
            }
            assert_eq!(tasks, of.tasks, "refusals by task");
            let bytes: usize = of.said.values().map(size).sum();
            assert_eq!(bytes, of.bytes, "the size of refusals");
            assert!(bytes <= limits::VERDICT_BYTES);
        }
    }
}

//! The table of refused tasks whose frameworks have not confirmed that they know (TK-72).
//!
//! There never was such a task, so no agent and no row speaks of it: without this a framework that
//! is lost at that moment would wait for it. Deliberately not here: when it is said (`updates`).

use alloc::collections::BTreeMap;

use crate::ids::UpdateId;
use crate::keys::FrameworkKey;
use crate::limits;
use crate::protocol::status::TaskStatus;

/// All refusals.
#[derive(Clone, Debug, Default)]
pub(super) struct Verdicts {
    frameworks: BTreeMap<FrameworkKey, OfFramework>,
}

#[derive(Clone, Debug, Default)]
struct OfFramework {
    /// In the order in which they were said.
    said: BTreeMap<u64, TaskStatus>,
    numbers: BTreeMap<UpdateId, u64>,
    last: u64,
}

impl Verdicts {
    /// Remembers a refusal under a name, and returns it as it is to be said. Without room it has
    /// no name, and is said once.
    pub(super) fn insert(
        &mut self,
        framework: FrameworkKey,
        mut status: TaskStatus,
        update: UpdateId,
    ) -> TaskStatus {
        let of = self.frameworks.entry(framework).or_default();
        if of.said.len() < limits::VERDICTS_PER_FRAMEWORK {
            status.update = Some(update);
            of.last += 1;
            of.said.insert(of.last, status.clone());
            of.numbers.insert(update, of.last);
        }
        status
    }

    /// Forgets what a framework confirms. Returns whether it is here.
    pub(super) fn confirm(&mut self, framework: FrameworkKey, update: UpdateId) -> bool {
        let Some(of) = self.frameworks.get_mut(&framework) else {
            return false;
        };
        let Some(number) = of.numbers.remove(&update) else {
            return false;
        };
        of.said.remove(&number);
        if of.said.is_empty() {
            self.frameworks.remove(&framework);
        }
        true
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
            assert!(!of.said.is_empty() && of.said.len() <= limits::VERDICTS_PER_FRAMEWORK);
            let names = of
                .numbers
                .iter()
                .map(|(name, number)| (*number, Some(*name)));
            let names: BTreeMap<_, _> = names.collect();
            let said = of.said.iter();
            let said: BTreeMap<_, _> = said.map(|(n, status)| (*n, status.update)).collect();
            assert_eq!(names, said, "refusals by name");
        }
    }
}

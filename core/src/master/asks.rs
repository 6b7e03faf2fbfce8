//! The table of tasks that were asked for and of which nobody can say anything yet: agents of an
//! earlier leadership may still report them (TK-75).
//!
//! Bounded for each framework, so that one alone takes nobody's room, and over all. Written and
//! answered by `reconcile`. A framework that leaves takes its questions along: it asks again when
//! it is back.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use tracing::debug;

use crate::ids::{AgentId, TaskId};
use crate::keys::FrameworkKey;
use crate::limits::{self, Bounds};

/// All questions.
#[derive(Clone, Debug, Default)]
pub(super) struct Asks {
    /// On which agent each task is, if the framework knows.
    frameworks: BTreeMap<FrameworkKey, BTreeMap<TaskId, Option<AgentId>>>,
    /// The same by the agent that they name; `None` are those that name none.
    agents: BTreeMap<Option<AgentId>, BTreeSet<(FrameworkKey, TaskId)>>,
    /// How many there are.
    count: usize,
    bounds: Bounds,
}

impl Asks {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            ..Self::default()
        }
    }

    /// Returns how many wait of a framework.
    pub(super) fn count(&self, framework: FrameworkKey) -> usize {
        self.frameworks.get(&framework).map_or(0, BTreeMap::len)
    }

    /// Remembers a question that was answered, should there be more to say once its agent returns.
    /// Without room it is forgotten: others have no answer yet.
    pub(super) fn insert_answered(
        &mut self,
        framework: FrameworkKey,
        task: TaskId,
        agent: Option<AgentId>,
    ) {
        let most = self.bounds.asks.saturating_sub(limits::QUESTIONS_ASKED);
        let has_room = self.count(framework) < most
            && self.count < limits::ASKS / 2
            && self.insert(framework, task, agent);
        if !has_room {
            debug!("no room to remember a question that was answered");
        }
    }

    /// Remembers a question; the newest of a task counts. `false` if there is no room.
    #[must_use]
    pub(super) fn insert(
        &mut self,
        framework: FrameworkKey,
        task: TaskId,
        agent: Option<AgentId>,
    ) -> bool {
        self.take(framework, &task);
        if self.count(framework) >= self.bounds.asks || self.count >= limits::ASKS {
            return false;
        }
        let of = self.agents.entry(agent.clone()).or_default();
        of.insert((framework, task.clone()));
        let of = self.frameworks.entry(framework).or_default();
        of.insert(task, agent);
        self.count += 1;
        true
    }

    /// Takes out the question for a task. Returns whether there was one.
    pub(super) fn take(&mut self, framework: FrameworkKey, task: &TaskId) -> bool {
        let Some(of) = self.frameworks.get_mut(&framework) else {
            return false;
        };
        let Some(agent) = of.remove(task) else {
            return false;
        };
        if of.is_empty() {
            self.frameworks.remove(&framework);
        }
        self.unlink(&agent, framework, task);
        true
    }

    fn unlink(&mut self, agent: &Option<AgentId>, framework: FrameworkKey, task: &TaskId) {
        self.count -= 1;
        if let Some(of) = self.agents.get_mut(agent) {
            of.remove(&(framework, task.clone()));
            if of.is_empty() {
                self.agents.remove(agent);
            }
        }
    }

    /// Takes out the questions for tasks of an agent, or those that name none.
    pub(super) fn take_of(&mut self, agent: &Option<AgentId>) -> Vec<(FrameworkKey, TaskId)> {
        let of = self.agents.get(agent).cloned().unwrap_or_default();
        for (framework, task) in &of {
            self.take(*framework, task);
        }
        of.into_iter().collect()
    }

    /// Forgets all questions of a framework.
    pub(super) fn forget(&mut self, framework: FrameworkKey) {
        let of = self.frameworks.remove(&framework).unwrap_or_default();
        for (task, agent) in of {
            self.unlink(&agent, framework, &task);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.frameworks.is_empty()
    }

    /// Returns how many wait of all frameworks.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Visits the questions, and on which agent each task should be.
    pub(super) fn iter(
        &self,
    ) -> impl Iterator<Item = (FrameworkKey, &TaskId, Option<&AgentId>)> + '_ {
        let all = self.frameworks.iter();
        all.flat_map(|(key, of)| of.iter().map(|(task, on)| (*key, task, on.as_ref())))
    }

    pub(super) fn check(&self) {
        let linked: usize = self.agents.values().map(BTreeSet::len).sum();
        assert!(self.count <= limits::ASKS, "questions of all");
        assert_eq!(self.count, linked, "questions by agent");
        assert_eq!(self.count, self.iter().count(), "questions");
        let sizes = self.frameworks.values().map(BTreeMap::len);
        let mut sizes = sizes.map(|count| (1..=self.bounds.asks).contains(&count));
        assert!(sizes.all(|is_bounded| is_bounded), "questions");
        assert!(self.agents.values().all(|of| !of.is_empty()));
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use super::*;

    // TK-75, I22
    #[test]
    fn questions_are_bounded_over_all_frameworks() {
        let mut asks = Asks::default();
        let task = |n: usize| TaskId::new(&format!("{n}")).unwrap();
        let full = limits::ASKS / limits::ASKS_PER_FRAMEWORK;
        let all: Vec<FrameworkKey> = (0..=full as u32)
            .map(|n| FrameworkKey::from_raw(n, 1))
            .collect();
        for key in &all[..full] {
            for n in 0..limits::ASKS_PER_FRAMEWORK {
                assert!(asks.insert(*key, task(n), None));
            }
        }
        assert!(!asks.insert(all[full], task(0), None), "no room");
        assert!(asks.insert(all[0], task(0), None), "asked anew");
        asks.check();
        assert!(asks.take(all[0], &task(0)));
        asks.insert_answered(all[full], task(0), None);
        assert_eq!(
            asks.count(all[full]),
            0,
            "half is for those without an answer"
        );
        assert!(asks.insert(all[full], task(0), None));
        asks.forget(all[1]);
        assert_eq!(asks.len(), limits::ASKS - limits::ASKS_PER_FRAMEWORK);
        asks.check();
    }
}

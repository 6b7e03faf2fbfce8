//! The table of tasks that were asked for and of which there is more to say: agents of an earlier
//! leadership may still report them (TK-75), or come back that are out of reach (TK-77).
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
use crate::time::Time;

/// What was asked about a task.
#[derive(Clone, Debug)]
struct Ask {
    /// On which agent it is, if the framework knows.
    agent: Option<AgentId>,
    /// Whether the framework knows nothing of it yet.
    is_open: bool,
}

/// What one framework has asked for.
#[derive(Clone, Debug, Default)]
struct OfFramework {
    tasks: BTreeMap<TaskId, Ask>,
    /// How many of them have no answer.
    open: usize,
}

/// When a framework was answered that asked for all its tasks.
#[derive(Clone, Copy, Debug)]
struct OfAll {
    answered: Time,
    /// Whether it has asked once more since then.
    is_open: bool,
}

/// All questions.
#[derive(Clone, Debug, Default)]
pub(super) struct Asks {
    frameworks: BTreeMap<FrameworkKey, OfFramework>,
    /// The same by the agent that they name; `None` are those that name none.
    agents: BTreeMap<Option<AgentId>, BTreeSet<(FrameworkKey, TaskId)>>,
    /// How many there are.
    count: usize,
    /// Who has asked for all its tasks.
    all: BTreeMap<FrameworkKey, OfAll>,
    bounds: Bounds,
}

impl Asks {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            ..Self::default()
        }
    }

    /// Returns how many of a framework have no answer.
    pub(super) fn open(&self, framework: FrameworkKey) -> usize {
        self.frameworks.get(&framework).map_or(0, |of| of.open)
    }

    /// Remembers a question that was answered, should there be more to say once its agent returns.
    /// There is room for all tasks that a framework may have. Beyond it, or where all frameworks
    /// together fill half of the table, it is forgotten: others have no answer yet.
    pub(super) fn insert_answered(
        &mut self,
        framework: FrameworkKey,
        task: TaskId,
        agent: Option<AgentId>,
    ) {
        self.take(framework, &task);
        let of = self.frameworks.get(&framework);
        let has = of.map_or(0, |of| of.tasks.len());
        if has >= limits::TASKS_PER_FRAMEWORK || self.count >= limits::ASKS / 2 {
            debug!("no room to remember a question that was answered");
            return;
        }
        let is_open = false;
        self.put(framework, task, Ask { agent, is_open });
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
        if self.open(framework) >= self.bounds.asks || self.count >= limits::ASKS {
            return false;
        }
        let is_open = true;
        self.put(framework, task, Ask { agent, is_open });
        true
    }

    fn put(&mut self, framework: FrameworkKey, task: TaskId, ask: Ask) {
        let of = self.agents.entry(ask.agent.clone()).or_default();
        of.insert((framework, task.clone()));
        let of = self.frameworks.entry(framework).or_default();
        of.open += usize::from(ask.is_open);
        of.tasks.insert(task, ask);
        self.count += 1;
    }

    /// Takes out the question for a task. Returns whether there was one.
    pub(super) fn take(&mut self, framework: FrameworkKey, task: &TaskId) -> bool {
        let Some(of) = self.frameworks.get_mut(&framework) else {
            return false;
        };
        let Some(ask) = of.tasks.remove(task) else {
            return false;
        };
        of.open -= usize::from(ask.is_open);
        if of.tasks.is_empty() {
            self.frameworks.remove(&framework);
        }
        self.unlink(&ask.agent, framework, task);
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

    /// A framework asks for all its tasks. Returns whether it is answered at once: else it was not
    /// long ago, and is answered later.
    pub(super) fn ask_all(&mut self, framework: FrameworkKey, now: Time) -> bool {
        if let Some(of) = self.all.get_mut(&framework)
            && now < of.answered + limits::RECONCILED_WHOLE
        {
            of.is_open = true;
            return false;
        }
        self.answered_all(framework, now);
        true
    }

    pub(super) fn answered_all(&mut self, framework: FrameworkKey, now: Time) {
        let (answered, is_open) = (now, false);
        self.all.insert(framework, OfAll { answered, is_open });
    }

    /// Returns when a framework is to be answered that has asked for all its tasks once more.
    pub(super) fn all_due(&self, framework: FrameworkKey) -> Option<Time> {
        let of = self.all.get(&framework).filter(|of| of.is_open)?;
        Some(of.answered + limits::RECONCILED_WHOLE)
    }

    /// Forgets all questions of a framework.
    pub(super) fn forget(&mut self, framework: FrameworkKey) {
        self.all.remove(&framework);
        let of = self.frameworks.remove(&framework).unwrap_or_default();
        for (task, ask) in of.tasks {
            self.unlink(&ask.agent, framework, &task);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.frameworks.is_empty()
    }

    /// Returns how many there are of all frameworks.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Visits the questions, and on which agent each task should be.
    pub(super) fn iter(
        &self,
    ) -> impl Iterator<Item = (FrameworkKey, &TaskId, Option<&AgentId>)> + '_ {
        let all = self.frameworks.iter();
        all.flat_map(|(key, of)| {
            let tasks = of.tasks.iter();
            tasks.map(|(task, ask)| (*key, task, ask.agent.as_ref()))
        })
    }

    pub(super) fn check(&self) {
        let linked: usize = self.agents.values().map(BTreeSet::len).sum();
        assert!(self.count <= limits::ASKS, "questions of all");
        assert_eq!(self.count, linked, "questions by agent");
        assert_eq!(self.count, self.iter().count(), "questions");
        for of in self.frameworks.values() {
            let open = of.tasks.values().filter(|ask| ask.is_open).count();
            assert_eq!(of.open, open, "questions without an answer");
            assert!(open <= self.bounds.asks, "questions");
            assert!(!of.tasks.is_empty(), "who has asked");
        }
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
        assert_eq!(asks.len(), limits::ASKS - 1, "half is for the others");
        assert!(asks.insert(all[full], task(0), None));
        asks.forget(all[1]);
        assert_eq!(asks.len(), limits::ASKS - limits::ASKS_PER_FRAMEWORK);
        asks.check();
    }
    // TK-77, L3: as many answers are given once more as a framework may have tasks
    #[test]
    fn what_was_answered_takes_no_room_of_what_was_not() {
        let mut asks = Asks::default();
        let task = |n: usize| TaskId::new(&format!("{n}")).unwrap();
        let agent = AgentId::new("m-1-S0").unwrap();
        let key = FrameworkKey::from_raw(0, 1);
        let most = limits::TASKS_PER_FRAMEWORK;
        for n in 0..=most {
            asks.insert_answered(key, task(n), Some(agent.clone()));
        }
        assert_eq!((asks.open(key), asks.len()), (0, most));
        for n in 0..limits::ASKS_PER_FRAMEWORK {
            assert!(asks.insert(key, task(n), Some(agent.clone())));
        }
        assert_eq!(asks.open(key), limits::ASKS_PER_FRAMEWORK);
        assert!(!asks.insert(key, task(most), None), "no room");
        asks.insert_answered(key, task(0), Some(agent.clone()));
        assert_eq!(asks.open(key), limits::ASKS_PER_FRAMEWORK - 1);
        asks.check();
        assert_eq!(asks.take_of(&Some(agent)).len(), most);
        asks.check();
    }
}

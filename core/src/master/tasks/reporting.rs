//! How much agents have to report of their tasks when they come back, and that it is no more than
//! they may (PR-02).
//!
//! Deliberately not here: what they report (`merging`).

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use smallvec::SmallVec;

use super::{Task, TaskKey, Tasks};
use crate::keys::{AgentKey, FrameworkKey};
use crate::limits;
use crate::protocol::agent::{ExecutorReport, TaskReport};
use crate::protocol::task::{ExecutorInfo, TaskInfo};
use crate::roles::Role;

/// How many tasks stand in a list: among more, to move them costs more than a set.
const FEW: usize = 64;

/// Tasks in the order of their keys.
#[derive(Clone, Debug)]
pub(super) enum Keys {
    /// As agents mostly have.
    Few(SmallVec<[TaskKey; 2]>),
    Many(BTreeSet<TaskKey>),
}

impl Default for Keys {
    fn default() -> Self {
        Self::Few(SmallVec::new())
    }
}

impl Keys {
    fn insert(&mut self, key: TaskKey) {
        match self {
            Self::Few(keys) if keys.len() < FEW => {
                if let Err(place) = keys.binary_search(&key) {
                    keys.insert(place, key);
                }
            }
            Self::Few(keys) => {
                let mut all: BTreeSet<TaskKey> = keys.drain(..).collect();
                all.insert(key);
                *self = Self::Many(all);
            }
            Self::Many(keys) => {
                keys.insert(key);
            }
        }
    }

    fn remove(&mut self, key: TaskKey) {
        match self {
            Self::Few(keys) => {
                if let Ok(place) = keys.binary_search(&key) {
                    keys.remove(place);
                }
            }
            Self::Many(keys) => {
                keys.remove(&key);
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Few(keys) => keys.len(),
            Self::Many(keys) => keys.len(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn to_vec(&self) -> Vec<TaskKey> {
        match self {
            Self::Few(keys) => keys.to_vec(),
            Self::Many(keys) => keys.iter().copied().collect(),
        }
    }
}

/// The live tasks of one agent.
#[derive(Clone, Debug, Default)]
pub(super) struct OnAgent {
    pub(super) keys: Keys,
    /// How many of them each framework has, in the order of these.
    pub(super) frameworks: SmallVec<[(FrameworkKey, u32); 1]>,
    /// How much the agent has to report of them, on the wire.
    pub(super) bytes: usize,
}

impl OnAgent {
    pub(super) fn insert(&mut self, key: TaskKey, task: &Task) {
        self.keys.insert(key);
        match self.place_of(task.framework) {
            Ok(place) => self.frameworks[place].1 += 1,
            Err(place) => self.frameworks.insert(place, (task.framework, 1)),
        }
        self.bytes += task.report_bytes();
    }

    /// Takes a task out that is there.
    pub(super) fn remove(&mut self, key: TaskKey, task: &Task) {
        self.keys.remove(key);
        self.bytes -= task.report_bytes();
        if let Ok(place) = self.place_of(task.framework) {
            self.frameworks[place].1 -= 1;
            if self.frameworks[place].1 == 0 {
                self.frameworks.remove(place);
            }
        }
    }

    /// Returns where a framework is, or where it would be.
    fn place_of(&self, framework: FrameworkKey) -> Result<usize, usize> {
        let frameworks = &self.frameworks;
        frameworks.binary_search_by_key(&framework, |(it, _)| *it)
    }
}

impl Task {
    /// Returns how much its agent has to report of it, on the wire. That never changes while it
    /// lives.
    pub(super) fn report_bytes(&self) -> usize {
        let executor = self.executor.as_ref().map(|info| &info.id);
        let named = (&self.id, &*self.name, executor);
        let published = self.published.as_deref();
        TaskReport::most_bytes(named, &self.role, &self.resources, published)
    }
}

impl Tasks {
    /// Returns how much an agent has to report of live tasks and of executors, on the wire.
    pub(in crate::master) fn reported_bytes(&self, agent: AgentKey) -> usize {
        let of_tasks = self.agents.get(&agent).map_or(0, |there| there.bytes);
        of_tasks + self.executors.reported_bytes(agent)
    }

    /// Returns whether an agent has as many frameworks with live tasks or executors as may be, and
    /// this is another one.
    fn has_too_many_frameworks(&self, agent: AgentKey, framework: FrameworkKey) -> bool {
        let there = self.agents.get(&agent);
        let is_known = there.is_some_and(|there| there.place_of(framework).is_ok())
            || self.executors.on(framework, agent).next().is_some();
        let count = there.map_or(0, |there| there.frameworks.len());
        !is_known && count + self.executors.frameworks_on(agent) >= limits::FRAMEWORKS_PER_AGENT
    }

    /// Returns how much of `left` an agent may still have to report beside a new task, and its
    /// executor if that is new. What it could not report would keep it from ever coming back.
    pub(in crate::master) fn left_beside(
        &self,
        (framework, agent): (FrameworkKey, AgentKey),
        role: &Role,
        task: &TaskInfo,
        executor: Option<&ExecutorInfo>,
        left: usize,
    ) -> Result<usize, String> {
        if self.has_too_many_frameworks(agent, framework) {
            let limit = limits::FRAMEWORKS_PER_AGENT;
            return Err(format!(
                "the agent has tasks of {limit} frameworks, the most allowed"
            ));
        }
        let named = task.executor.as_ref().map(|executor| &executor.id);
        let of_task = (&task.id, &*task.name, named);
        let published = task.published();
        let of_task = TaskReport::most_bytes(of_task, role, &task.resources, published.as_deref());
        let of_executor = executor.map_or(0, |info| ExecutorReport::most_bytes(role, info));
        let left = left.checked_sub(of_task + of_executor);
        left.ok_or_else(|| {
            let limit = limits::REPORTED_BYTES;
            format!("the agent would have more than {limit} bytes to report of its tasks")
        })
    }
}

//! What is free of one agent, and who has the rest. Part of [`super::ledger`].
//!
//! Taken away and added one by one: added up, a port that is given twice would be there once.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use super::holders::Given;
use crate::ids::{ExecutorId, FrameworkId, OfferId, PeerId, TaskId};
use crate::protocol::task::{ExecutorInfo, ExecutorKind};
use crate::resources::Resources;
use crate::roles::Role;

/// What comes of something that is returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Returns {
    /// It is free.
    Free,
    /// More was given than there is: what is free has to be counted anew.
    Unclear,
}

impl Returns {
    pub(super) fn and(self, other: Self) -> Self {
        if self == Self::Free { other } else { self }
    }
}

/// An executor.
#[derive(Debug)]
struct Running {
    /// Of its first task.
    role: Role,
    resources: Resources,
    kind: ExecutorKind,
    /// The tasks of one that is the agent's own. Others end when their agent says so.
    tasks: usize,
    /// The connection over which it was ordered.
    over: Option<PeerId>,
}

/// The account of one agent.
#[derive(Debug)]
pub(super) struct Account {
    free: Resources,
    /// More is given than there is: what an agent reports is so.
    is_short: bool,
    offers: BTreeSet<OfferId>,
    tasks: BTreeSet<(FrameworkId, TaskId)>,
    executors: BTreeMap<ExecutorName, Running>,
}

/// An executor of an agent by the ids of its framework and itself.
pub(super) type ExecutorName = (FrameworkId, ExecutorId);

impl Account {
    pub(super) fn new(total: Resources) -> Self {
        Self {
            free: own(total),
            is_short: false,
            offers: BTreeSet::new(),
            tasks: BTreeSet::new(),
            executors: BTreeMap::new(),
        }
    }

    pub(super) fn free(&self) -> &Resources {
        &self.free
    }

    /// Visits the tasks that use something.
    pub(super) fn tasks(&self) -> impl Iterator<Item = &(FrameworkId, TaskId)> + '_ {
        self.tasks.iter()
    }

    /// Visits what executors use, beside their tasks.
    pub(super) fn executors(&self) -> impl Iterator<Item = &Resources> + '_ {
        self.executors.values().map(|running| &running.resources)
    }

    pub(super) fn offer(&mut self, id: OfferId, resources: &Resources) -> Given {
        self.offers.insert(id);
        self.give(resources)
    }

    pub(super) fn end_offer(&mut self, id: &OfferId, resources: &Resources) -> Returns {
        self.offers.remove(id);
        self.put_back(resources)
    }

    pub(super) fn begin(&mut self, task: (FrameworkId, TaskId), resources: &Resources) -> Given {
        self.tasks.insert(task);
        self.give(resources)
    }

    pub(super) fn end(&mut self, task: &(FrameworkId, TaskId), resources: &Resources) -> Returns {
        self.tasks.remove(task);
        self.put_back(resources)
    }

    /// Counts one more task of an executor. Returns whether there was room, if it is the first.
    pub(super) fn join(
        &mut self,
        framework: &FrameworkId,
        role: &Role,
        executor: &ExecutorInfo,
        over: Option<PeerId>,
    ) -> Option<Given> {
        let key = (framework.clone(), executor.id.clone());
        if let Some(running) = self.executors.get_mut(&key) {
            running.tasks += 1;
            return None;
        }
        let running = Running {
            role: role.clone(),
            resources: executor.resources.clone(),
            kind: executor.kind,
            tasks: 1,
            over,
        };
        self.executors.insert(key, running);
        Some(self.give(&executor.resources))
    }

    /// Counts one task of an executor less. Returns what it used, in which role, and what comes of
    /// that, if it is the agent's own and that was its last.
    pub(super) fn part(&mut self, executor: &ExecutorName) -> Option<(Role, Resources, Returns)> {
        let running = self.executors.get_mut(executor)?;
        running.tasks = running.tasks.saturating_sub(1);
        if running.tasks > 0 || running.kind == ExecutorKind::Custom {
            return None;
        }
        self.end_executor(executor)
    }

    /// Ends an executor. Returns what it used, in which role, and what comes of that.
    pub(super) fn end_executor(
        &mut self,
        executor: &ExecutorName,
    ) -> Option<(Role, Resources, Returns)> {
        let ended = self.executors.remove(executor)?;
        let returns = self.put_back(&ended.resources);
        Some((ended.role, ended.resources, returns))
    }

    /// Lists the executors that are frameworks' own and were not ordered over this connection.
    pub(super) fn custom_executors(&self, but_over: Option<PeerId>) -> Vec<ExecutorName> {
        let rows = self.executors.iter();
        let custom = rows.filter(|(_, running)| running.kind == ExecutorKind::Custom);
        let old = custom.filter(|(_, running)| but_over.is_none() || running.over != but_over);
        old.map(|(name, _)| name.clone()).collect()
    }

    /// Returns whether an executor uses something.
    pub(super) fn has_executor(&self, executor: &ExecutorName) -> bool {
        self.executors.contains_key(executor)
    }

    /// Counts anew what is free, of this total, beside all that is given.
    pub(super) fn recount(&mut self, total: Resources, given: &[Resources]) {
        self.free = own(total);
        self.is_short = false;
        for resources in given {
            if self.give(resources).is_err() {
                self.is_short = true;
                self.free = self.free.less(resources);
            }
        }
    }

    fn give(&mut self, resources: &Resources) -> Given {
        // Of what is shared anybody may have a copy (RM-48).
        if resources.iter().any(|entry| entry.is_shared()) {
            return self.free.subtract(&own(resources.clone()));
        }
        self.free.subtract(resources)
    }

    fn put_back(&mut self, resources: &Resources) -> Returns {
        let is_shared = resources.iter().any(|entry| entry.is_shared());
        let added = if is_shared {
            self.free.add(&own(resources.clone()))
        } else {
            self.free.add(resources)
        };
        if self.is_short || added.is_err() {
            Returns::Unclear
        } else {
            Returns::Free
        }
    }
}

/// Leaves out what several may hold.
fn own(resources: Resources) -> Resources {
    if resources.iter().any(|entry| entry.is_shared()) {
        return resources.filter(|entry| !entry.is_shared());
    }
    resources
}

//! What is free of one agent, and who has the rest. Part of [`super::ledger`].
//!
//! Taken away and added one by one: added up, a port that is given twice would be there once.

use alloc::collections::{BTreeMap, BTreeSet};

use super::holders::Given;
use crate::ids::{ExecutorId, FrameworkId, OfferId, TaskId};
use crate::protocol::operation::less;
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

/// An executor that tasks use.
#[derive(Debug)]
struct Running {
    /// Of its first task.
    role: Role,
    resources: Resources,
    tasks: usize,
}

/// The account of one agent.
#[derive(Debug)]
pub(super) struct Account {
    free: Resources,
    /// More is given than there is: what an agent reports is so.
    is_short: bool,
    offers: BTreeSet<OfferId>,
    tasks: BTreeSet<(FrameworkId, TaskId)>,
    executors: BTreeMap<(FrameworkId, ExecutorId), Running>,
}

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
        executor: (FrameworkId, ExecutorId),
        role: &Role,
        resources: &Resources,
    ) -> Option<Given> {
        if let Some(running) = self.executors.get_mut(&executor) {
            running.tasks += 1;
            return None;
        }
        let running = Running {
            role: role.clone(),
            resources: resources.clone(),
            tasks: 1,
        };
        self.executors.insert(executor, running);
        Some(self.give(resources))
    }

    /// Counts one task of an executor less. Returns its role, and what comes of what it used, if
    /// that was the last.
    pub(super) fn part(
        &mut self,
        executor: &(FrameworkId, ExecutorId),
        resources: &Resources,
    ) -> Option<(Role, Returns)> {
        let running = self.executors.get_mut(executor)?;
        running.tasks -= 1;
        if running.tasks > 0 {
            return None;
        }
        let role = running.role.clone();
        self.executors.remove(executor);
        Some((role, self.put_back(resources)))
    }

    /// Counts anew what is free, of this total, beside all that is given.
    pub(super) fn recount(&mut self, total: Resources, given: &[Resources]) {
        self.free = own(total);
        self.is_short = false;
        for resources in given {
            if self.give(resources).is_err() {
                self.is_short = true;
                self.free = less(&self.free, resources);
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

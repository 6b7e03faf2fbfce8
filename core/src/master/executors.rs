//! The table of custom executors: those that a booked task uses.
//!
//! Part of `tasks`, which says when one starts and ends. Deliberately not here: what is free with
//! its end (`holdings`), and executors as their agents know them.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;

use crate::ids::{AgentId, ExecutorId, FrameworkId};
use crate::keys::{AgentKey, FrameworkKey};
use crate::protocol::task::ExecutorInfo;
use crate::roles::Role;
use crate::table::{Key, Table};

/// What names an executor here: ids are of their own for each framework and agent.
pub(super) type Place = (FrameworkKey, AgentKey, ExecutorId);

/// One executor. All but the number of its tasks never changes.
#[derive(Clone, Debug)]
pub(super) struct Executor {
    pub(super) framework: FrameworkKey,
    pub(super) agent: AgentKey,
    pub(super) owner: FrameworkId,
    pub(super) host: AgentId,
    pub(super) info: Arc<ExecutorInfo>,
    /// In which role it is charged: that of its first task, and by the plan of all of them (RQ-06).
    pub(super) role: Role,
    /// Booked tasks that use it; never zero.
    pub(super) tasks: usize,
}

/// All executors.
#[derive(Clone, Debug, Default)]
pub(super) struct Executors {
    rows: Table<Executor>,
    by_place: BTreeMap<Place, Key<Executor>>,
}

impl Executors {
    /// Notes one more task that uses an executor. If it is the first, `start` makes the row.
    pub(super) fn enter(&mut self, place: Place, start: impl FnOnce() -> Executor) {
        let rows = &mut self.rows;
        let key = self.by_place.entry(place);
        let key = *key.or_insert_with(|| rows.insert(start()));
        rows[key].tasks += 1;
    }

    /// Notes one task fewer. Returns the executor if that was the last, and so its own end.
    pub(super) fn leave(&mut self, place: &Place) -> Option<Executor> {
        let key = self.by_place.get(place);
        let key = *key.expect("a booked task's executor is known");
        self.rows[key].tasks -= 1;
        if self.rows[key].tasks > 0 {
            return None;
        }
        self.by_place.remove(place);
        self.rows.remove(key)
    }

    pub(super) fn get(&self, place: &Place) -> Option<&Executor> {
        self.rows.get(*self.by_place.get(place)?)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Executor> + '_ {
        self.rows.iter().map(|(_, row)| row)
    }

    /// The rows as such, for those who watch them.
    pub(super) fn rows_mut(&mut self) -> &mut Table<Executor> {
        &mut self.rows
    }

    /// Shares the rows, for a view.
    pub(super) fn snapshot(&self) -> Table<Executor> {
        self.rows.clone()
    }

    /// Checks the index, and that each is used by as many tasks as are given.
    pub(super) fn check(&self, users: &BTreeMap<Place, usize>) {
        assert_eq!(self.rows.len(), self.by_place.len(), "executors by place");
        let mut noted = BTreeMap::new();
        for (place, key) in &self.by_place {
            let row = &self.rows[*key];
            let own = (row.framework, row.agent, row.info.id.clone());
            assert_eq!(own, *place, "an executor by its place");
            noted.insert(own, row.tasks);
        }
        assert_eq!(noted, *users, "tasks of executors");
    }
}

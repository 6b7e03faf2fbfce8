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
    by_place: BTreeMap<(FrameworkKey, AgentKey), BTreeMap<ExecutorId, Key<Executor>>>,
}

impl Executors {
    /// Notes one more task that uses an executor. If it is the first, `start` makes the row.
    pub(super) fn enter(&mut self, place: Place, start: impl FnOnce() -> Executor) {
        let rows = &mut self.rows;
        let (framework, agent, id) = place;
        let there = self.by_place.entry((framework, agent)).or_default();
        let key = there.entry(id);
        let key = *key.or_insert_with(|| rows.insert(start()));
        rows[key].tasks += 1;
    }

    /// Notes one task fewer. Returns the executor if that was the last, and so its own end.
    pub(super) fn leave(&mut self, place: &Place) -> Option<Executor> {
        let key = self.find(place);
        let key = key.expect("a booked task's executor is known");
        self.rows[key].tasks -= 1;
        if self.rows[key].tasks > 0 {
            return None;
        }
        let (framework, agent, id) = place;
        if let Some(there) = self.by_place.get_mut(&(*framework, *agent)) {
            there.remove(id);
            if there.is_empty() {
                self.by_place.remove(&(*framework, *agent));
            }
        }
        self.rows.remove(key)
    }

    pub(super) fn get(&self, place: &Place) -> Option<&Executor> {
        self.rows.get(self.find(place)?)
    }

    fn find(&self, place: &Place) -> Option<Key<Executor>> {
        let (framework, agent, id) = place;
        self.by_place.get(&(*framework, *agent))?.get(id).copied()
    }

    /// Visits those of a framework on an agent.
    pub(super) fn on(
        &self,
        framework: FrameworkKey,
        agent: AgentKey,
    ) -> impl Iterator<Item = &Executor> + '_ {
        let there = self.by_place.get(&(framework, agent)).into_iter();
        there.flat_map(|it| it.values().map(|key| &self.rows[*key]))
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
        let mut noted = BTreeMap::new();
        for ((framework, agent), there) in &self.by_place {
            assert!(!there.is_empty(), "a place with executors has one");
            for (id, key) in there {
                let row = &self.rows[*key];
                let own = (row.framework, row.agent, row.info.id.clone());
                assert_eq!(
                    own,
                    (*framework, *agent, id.clone()),
                    "an executor by its place"
                );
                noted.insert(own, row.tasks);
            }
        }
        assert_eq!(self.rows.len(), noted.len(), "executors by place");
        assert_eq!(noted, *users, "tasks of executors");
    }
}

//! The table of operations that frameworks have named, until they have confirmed their end.
//!
//! Deliberately not here: operations without a name, of which nobody wants to hear, and the log of
//! an agent, which the registry has.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use crate::ids::{FrameworkId, OperationId};
use crate::keys::{AgentKey, FrameworkKey};
use crate::limits::Bounds;
use crate::protocol::operation::{OperationKind, OperationStatus};
use crate::table::{Key, Table};

/// One operation.
#[derive(Clone, Debug)]
pub(super) struct Operation {
    pub(super) framework: FrameworkKey,
    pub(super) owner: FrameworkId,
    /// Which operation it is; `None` if an earlier leadership has ordered it, and this one knows
    /// only what its agent says became of it.
    pub(super) kind: Option<OperationKind>,
    /// On which agent, and its number there; `None` if what is said of it is the master's own word.
    pub(super) place: Option<(AgentKey, u64)>,
    /// The newest news.
    pub(super) status: OperationStatus,
}

/// All named operations.
#[derive(Clone, Debug, Default)]
pub(super) struct Operations {
    rows: Table<Operation>,
    by_framework: BTreeMap<FrameworkKey, BTreeMap<OperationId, Key<Operation>>>,
    by_agent: BTreeMap<AgentKey, BTreeSet<Key<Operation>>>,
    bounds: Bounds,
}

impl Operations {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            ..Self::default()
        }
    }

    /// Returns how many a framework may have.
    pub(super) const fn most(&self) -> usize {
        self.bounds.operations
    }

    /// Adds one, or new news about one.
    pub(super) fn insert(&mut self, operation: Operation) {
        let (framework, place) = (operation.framework, operation.place);
        let key = match self.key(framework, &operation.status.id) {
            Some(key) => {
                let before = core::mem::replace(&mut self.rows[key], operation);
                self.leave(key, before.place);
                key
            }
            None => {
                let id = operation.status.id.clone();
                let key = self.rows.insert(operation);
                let of = self.by_framework.entry(framework).or_default();
                of.insert(id, key);
                key
            }
        };
        if let Some((agent, _)) = place {
            self.by_agent.entry(agent).or_default().insert(key);
        }
    }

    fn leave(&mut self, key: Key<Operation>, place: Option<(AgentKey, u64)>) {
        if let Some((agent, _)) = place
            && let Some(keys) = self.by_agent.get_mut(&agent)
        {
            keys.remove(&key);
            if keys.is_empty() {
                self.by_agent.remove(&agent);
            }
        }
    }

    fn key(&self, framework: FrameworkKey, id: &OperationId) -> Option<Key<Operation>> {
        self.by_framework.get(&framework)?.get(id).copied()
    }

    pub(super) fn find(&self, framework: FrameworkKey, id: &OperationId) -> Option<&Operation> {
        self.rows.get(self.key(framework, id)?)
    }

    /// Something that one was said to be is another thing on the same agent from now on: the
    /// operation with this number.
    pub(super) fn follow(
        &mut self,
        framework: FrameworkKey,
        id: &OperationId,
        from: (AgentKey, u64),
        number: u64,
    ) {
        let key = self.key(framework, id);
        let known = key.and_then(|key| self.rows.get_mut(key));
        if let Some(known) = known.filter(|known| known.place == Some(from)) {
            known.place = Some((from.0, number));
        }
    }

    pub(super) fn remove(
        &mut self,
        framework: FrameworkKey,
        id: &OperationId,
    ) -> Option<Operation> {
        let of = self.by_framework.get_mut(&framework)?;
        let key = of.remove(id)?;
        if of.is_empty() {
            self.by_framework.remove(&framework);
        }
        self.remove_row(key)
    }

    fn remove_row(&mut self, key: Key<Operation>) -> Option<Operation> {
        let gone = self.rows.remove(key)?;
        self.leave(key, gone.place);
        Some(gone)
    }

    /// Forgets those of a framework, and returns them.
    pub(super) fn take(&mut self, framework: FrameworkKey) -> Vec<Operation> {
        let of = self.by_framework.remove(&framework).unwrap_or_default();
        let gone = of.into_values().map(|key| self.remove_row(key));
        gone.flatten().collect()
    }

    pub(super) fn of_framework(
        &self,
        framework: FrameworkKey,
    ) -> impl Iterator<Item = &Operation> + '_ {
        let of = self.by_framework.get(&framework);
        let keys = of.into_iter().flat_map(BTreeMap::values);
        keys.map(|key| &self.rows[*key])
    }

    /// Lists those on an agent.
    pub(super) fn on_agent(&self, agent: AgentKey) -> Vec<Operation> {
        let keys = self.by_agent.get(&agent);
        let rows = keys.into_iter().flatten().map(|key| &self.rows[*key]);
        rows.cloned().collect()
    }

    /// Returns how many a framework has named.
    pub(super) fn count(&self, framework: FrameworkKey) -> usize {
        self.by_framework.get(&framework).map_or(0, BTreeMap::len)
    }

    /// Visits all, those of one framework together.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Operation> + '_ {
        let keys = self.by_framework.values().flat_map(BTreeMap::values);
        keys.map(|key| &self.rows[*key])
    }

    /// The rows as such, for those who watch them.
    pub(super) fn rows_mut(&mut self) -> &mut Table<Operation> {
        &mut self.rows
    }

    /// Shares the rows, for a view.
    pub(super) fn snapshot(&self) -> Table<Operation> {
        self.rows.clone()
    }

    pub(super) fn check(&self) {
        let indexed: usize = self.by_framework.values().map(BTreeMap::len).sum();
        assert_eq!(self.rows.len(), indexed, "operations by framework");
        let placed = self.rows.iter().filter(|(_, row)| row.place.is_some());
        let indexed: usize = self.by_agent.values().map(BTreeSet::len).sum();
        assert_eq!(placed.count(), indexed, "operations by agent");
        for (key, row) in self.rows.iter() {
            let id = &row.status.id;
            assert_eq!(self.key(row.framework, id), Some(key), "operation {id}");
            if let Some((agent, _)) = row.place {
                assert!(self.by_agent[&agent].contains(&key), "operation {id}");
            }
        }
    }
}

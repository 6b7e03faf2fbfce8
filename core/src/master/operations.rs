//! The table of operations that frameworks have named, until they have confirmed their end.
//!
//! Deliberately not here: operations without a name, of which nobody wants to hear, and the log of
//! an agent, which the registry has.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use crate::ids::{AgentId, FrameworkId, OperationId};
use crate::keys::{AgentKey, FrameworkKey};
use crate::limits::{self, Bounds};
use crate::protocol::operation::{OperationKind, OperationStatus};
use crate::protocol::wire::size;
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
    /// How long its news are at most until it is over, on the wire.
    pub(super) bytes: usize,
}

/// Returns how long news about an operation are at most, on the wire, that makes so much: nobody
/// hears of one without a name.
pub(super) fn news_bytes(id: Option<&OperationId>, agent: &AgentId, makes: usize) -> usize {
    let own = limits::OPERATION_NEWS_BYTES + agent.as_str().len() + makes;
    id.map_or(0, |id| id.as_str().len() + own)
}

#[derive(Clone, Debug, Default)]
struct OfFramework {
    ids: BTreeMap<OperationId, Key<Operation>>,
    /// The sum over its rows.
    bytes: usize,
}

/// All named operations.
#[derive(Clone, Debug, Default)]
pub(super) struct Operations {
    rows: Table<Operation>,
    by_framework: BTreeMap<FrameworkKey, OfFramework>,
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
        let of = self.by_framework.entry(framework).or_default();
        of.bytes += operation.bytes;
        let key = match of.ids.get(&operation.status.id).copied() {
            Some(key) => {
                let before = core::mem::replace(&mut self.rows[key], operation);
                of.bytes -= before.bytes;
                self.leave(key, before.place);
                key
            }
            None => {
                let id = operation.status.id.clone();
                let key = self.rows.insert(operation);
                of.ids.insert(id, key);
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
        self.by_framework.get(&framework)?.ids.get(id).copied()
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
        let key = of.ids.remove(id)?;
        of.bytes -= self.rows[key].bytes;
        if of.ids.is_empty() {
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
        let gone = of.ids.into_values().map(|key| self.remove_row(key));
        gone.flatten().collect()
    }

    pub(super) fn of_framework(
        &self,
        framework: FrameworkKey,
    ) -> impl Iterator<Item = &Operation> + '_ {
        let of = self.by_framework.get(&framework);
        let keys = of.into_iter().flat_map(|of| of.ids.values());
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
        let of = self.by_framework.get(&framework);
        of.map_or(0, |of| of.ids.len())
    }

    /// Returns how long news about those of a framework may become, on the wire.
    pub(super) fn bytes(&self, framework: FrameworkKey) -> usize {
        self.by_framework.get(&framework).map_or(0, |of| of.bytes)
    }

    /// Returns how much longer news about those of a framework may become, on the wire.
    pub(super) fn room(&self, framework: FrameworkKey) -> usize {
        limits::OPERATION_BYTES.saturating_sub(self.bytes(framework))
    }

    /// Returns whether there is room for one of a framework, or for more about it.
    pub(super) fn has_room(&self, framework: FrameworkKey, id: &OperationId, bytes: usize) -> bool {
        let known = self.find(framework, id);
        let others = self.bytes(framework) - known.map_or(0, |known| known.bytes);
        let is_numbered = known.is_some() || self.count(framework) < self.most();
        is_numbered && others + bytes <= limits::OPERATION_BYTES
    }

    /// Visits all, those of one framework together.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Operation> + '_ {
        let keys = self.by_framework.values().flat_map(|of| of.ids.values());
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
        let indexed: usize = self.by_framework.values().map(|of| of.ids.len()).sum();
        assert_eq!(self.rows.len(), indexed, "operations by framework");
        let placed = self.rows.iter().filter(|(_, row)| row.place.is_some());
        let indexed: usize = self.by_agent.values().map(BTreeSet::len).sum();
        assert_eq!(placed.count(), indexed, "operations by agent");
        for (key, row) in self.rows.iter() {
            let id = &row.status.id;
            assert_eq!(self.key(row.framework, id), Some(key), "operation {id}");
            assert!(size(&row.status) <= row.bytes, "the size of operation {id}");
            if let Some((agent, _)) = row.place {
                assert!(self.by_agent[&agent].contains(&key), "operation {id}");
            }
        }
        for of in self.by_framework.values() {
            let bytes: usize = of.ids.values().map(|key| self.rows[*key].bytes).sum();
            assert_eq!(bytes, of.bytes, "the size of operations");
            assert!(bytes <= limits::OPERATION_BYTES);
        }
    }
}

//! The table of operations that frameworks have named, until they have confirmed their end.
//!
//! Deliberately not here: operations without a name, of which nobody wants to hear, and the log of
//! an agent, which the registry has.

use alloc::collections::BTreeMap;

use crate::ids::OperationId;
use crate::keys::{AgentKey, FrameworkKey};
use crate::protocol::operation::OperationStatus;

/// One operation.
#[derive(Clone, Debug)]
pub(super) struct Operation {
    /// On which agent, and its number there; `None` if what is said of it is the master's own word.
    pub(super) place: Option<(AgentKey, u64)>,
    /// The newest news.
    pub(super) status: OperationStatus,
}

/// All named operations.
#[derive(Clone, Debug, Default)]
pub(super) struct Operations {
    frameworks: BTreeMap<FrameworkKey, BTreeMap<OperationId, Operation>>,
}

impl Operations {
    /// Adds one, or new news about one.
    pub(super) fn insert(&mut self, framework: FrameworkKey, operation: Operation) {
        let id = operation.status.id.clone();
        let of = self.frameworks.entry(framework).or_default();
        of.insert(id, operation);
    }

    pub(super) fn find(&self, framework: FrameworkKey, id: &OperationId) -> Option<&Operation> {
        self.frameworks.get(&framework)?.get(id)
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
        let of = self.frameworks.get_mut(&framework);
        let known = of.and_then(|of| of.get_mut(id));
        if let Some(known) = known.filter(|known| known.place == Some(from)) {
            known.place = Some((from.0, number));
        }
    }

    pub(super) fn remove(
        &mut self,
        framework: FrameworkKey,
        id: &OperationId,
    ) -> Option<Operation> {
        let of = self.frameworks.get_mut(&framework)?;
        let gone = of.remove(id);
        if of.is_empty() {
            self.frameworks.remove(&framework);
        }
        gone
    }

    /// Forgets those of a framework, and returns them.
    pub(super) fn take(
        &mut self,
        framework: FrameworkKey,
    ) -> impl Iterator<Item = Operation> + use<> {
        let of = self.frameworks.remove(&framework);
        of.into_iter().flat_map(BTreeMap::into_values)
    }

    pub(super) fn of_framework(
        &self,
        framework: FrameworkKey,
    ) -> impl Iterator<Item = &Operation> + '_ {
        let of = self.frameworks.get(&framework);
        of.into_iter().flat_map(BTreeMap::values)
    }

    /// Visits those on an agent, and whose they are.
    pub(super) fn on_agent(
        &mut self,
        agent: AgentKey,
    ) -> impl Iterator<Item = (FrameworkKey, &mut Operation)> + '_ {
        let all = self.frameworks.iter_mut();
        let all = all.flat_map(|(key, of)| of.values_mut().map(|row| (*key, row)));
        all.filter(move |(_, row)| row.place.is_some_and(|(at, _)| at == agent))
    }

    /// Returns how many a framework has named.
    pub(super) fn count(&self, framework: FrameworkKey) -> usize {
        self.frameworks.get(&framework).map_or(0, BTreeMap::len)
    }

    /// Visits all, and whose they are.
    pub(super) fn iter(&self) -> impl Iterator<Item = (FrameworkKey, &Operation)> + '_ {
        let all = self.frameworks.iter();
        all.flat_map(|(key, of)| of.values().map(|row| (*key, row)))
    }
}

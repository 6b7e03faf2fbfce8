//! The tasks of one framework by their ids, in the order of these.
//!
//! Ids stand elsewhere in memory, each by itself, and a look at one costs more than all else that a
//! search does. So their first bytes stand in the map, and mostly suffice. Frameworks choose ids:
//! those that all begin alike are found as well, only not as soon.

use alloc::collections::BTreeMap;
use core::cmp::Ordering;

use super::TaskKey;
use crate::ids::TaskId;

/// An id, and its first bytes, in the order of the id.
#[derive(Clone, Debug)]
struct Begun {
    /// Zero where the id is over, which has no zero itself.
    first: [u64; 2],
    id: TaskId,
}

impl Begun {
    fn new(id: &TaskId) -> Self {
        let mut bytes = [0; 16];
        let text = id.as_str().as_bytes();
        let count = text.len().min(bytes.len());
        bytes[..count].copy_from_slice(&text[..count]);
        let both = u128::from_be_bytes(bytes);
        Self {
            first: [(both >> 64) as u64, both as u64],
            id: id.clone(),
        }
    }

    /// Returns whether the id is no longer than what is known of it here.
    const fn is_whole(&self) -> bool {
        self.first[1] & 0xFF == 0
    }
}

impl PartialEq for Begun {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for Begun {}
impl PartialOrd for Begun {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Begun {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_first = self.first.cmp(&other.first);
        if by_first != Ordering::Equal || self.is_whole() {
            return by_first;
        }
        self.id.cmp(&other.id)
    }
}

/// Tasks by their ids.
#[derive(Clone, Debug, Default)]
pub(super) struct Ids(BTreeMap<Begun, TaskKey>);

impl Ids {
    /// Adds a task. Returns the one that had the id, if there was one.
    pub(super) fn insert(&mut self, id: &TaskId, key: TaskKey) -> Option<TaskKey> {
        self.0.insert(Begun::new(id), key)
    }

    pub(super) fn remove(&mut self, id: &TaskId) {
        self.0.remove(&Begun::new(id));
    }

    pub(super) fn get(&self, id: &TaskId) -> Option<TaskKey> {
        self.0.get(&Begun::new(id)).copied()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Visits all tasks, in the order of their ids.
    pub(super) fn keys(&self) -> impl Iterator<Item = TaskKey> + '_ {
        self.0.values().copied()
    }

    /// Visits the tasks whose ids begin with `prefix`, in the order of these.
    pub(super) fn beginning_with(&self, prefix: &str) -> impl Iterator<Item = TaskKey> {
        // A prefix that is no id itself (such as a lone dot) can still begin one: then look at all.
        let all = match TaskId::new(prefix) {
            Ok(first) => self.0.range(Begun::new(&first)..),
            Err(_) => self.0.range::<Begun, _>(..),
        };
        all.skip_while(move |(it, _)| !it.id.as_str().starts_with(prefix))
            .take_while(move |(it, _)| it.id.as_str().starts_with(prefix))
            .map(|(_, key)| *key)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_order_is_that_of_the_ids(
            one in "[a-c]{0,2}(0123456789abc)?[a-cé]{1,6}",
            other in "[a-c]{0,2}(0123456789abc)?[a-cé]{1,6}",
        ) {
            let [one, other] = [one, other].map(|text| TaskId::new(&text).unwrap());
            let order = Begun::new(&one).cmp(&Begun::new(&other));
            prop_assert_eq!(order, one.cmp(&other));
        }
    }
}

//! Dense rows with typed keys, in copy-on-write pages.
//!
//! A [`Key`] is an index and a generation, so the key of a removed row never reaches the row that
//! took its place. Pages are shared between a table and its clones until one of them writes:
//! cloning a table is a cheap snapshot. A table that is watched notes which rows are written to,
//! and what they were before: nobody who writes can forget to say so.
//!
//! Deliberately not here: secondary indexes. Each table of a machine keeps its own.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cmp::Ordering;
use core::fmt;
use core::hash::{Hash, Hasher};
use core::marker::PhantomData;

use serde::{Deserialize, Serialize};

/// Small enough that the first write to a page that somebody else sees costs little, large enough
/// that a snapshot does.
const PAGE_ROWS: usize = 16;

/// Names one row of a [`Table`] for as long as that row lives.
///
/// Keys are written down in logs only; peers name rows by ids.
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Key<T> {
    index: u32,
    generation: u32,
    #[serde(skip)]
    row: PhantomData<fn() -> T>,
}

impl<T> Key<T> {
    const fn new(index: u32, generation: u32) -> Self {
        Self {
            index,
            generation,
            row: PhantomData,
        }
    }

    /// Makes a key from numbers of the caller's own, for those who keep their rows elsewhere, such
    /// as an embedder of the allocator. Two live rows must not share an index.
    pub const fn from_raw(index: u32, generation: u32) -> Self {
        Self::new(index, generation)
    }

    /// Returns the row's index: dense, and reused after the row is gone.
    pub const fn index(self) -> u32 {
        self.index
    }

    /// Names the same row for a table of other rows that runs in step with this one.
    pub const fn cast<U>(self) -> Key<U> {
        Key::new(self.index, self.generation)
    }

    /// Returns how often the index had been reused when this key was made.
    pub const fn generation(self) -> u32 {
        self.generation
    }
}

impl<T> Clone for Key<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Key<T> {}
impl<T> PartialEq for Key<T> {
    fn eq(&self, other: &Self) -> bool {
        (self.index, self.generation) == (other.index, other.generation)
    }
}
impl<T> Eq for Key<T> {}
impl<T> PartialOrd for Key<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl<T> Ord for Key<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.index, self.generation).cmp(&(other.index, other.generation))
    }
}
impl<T> Hash for Key<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(u64::from(self.generation) << 32 | u64::from(self.index));
    }
}
impl<T> fmt::Debug for Key<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}.{}", self.index, self.generation)
    }
}

#[derive(Clone, Debug)]
struct Slot<T> {
    generation: u32,
    row: Option<T>,
}

impl<T> Slot<T> {
    const VACANT: Self = Self {
        generation: 0,
        row: None,
    };
}

/// Rows by [`Key`], iterated in the order of their indexes.
#[derive(Debug)]
pub struct Table<T> {
    pages: Vec<Arc<[Slot<T>]>>,
    /// The first index that no row ever had; the last page is vacant from there.
    fresh: u32,
    free: Vec<u32>,
    len: usize,
    /// What was written to since somebody asked, as it was before; `None` unless it is watched.
    written: Option<Written<T>>,
}

/// Rows that were written to, each as it was before: `None` if it was not there. Their order is
/// that of the keys.
pub type Written<T> = BTreeMap<Key<T>, Option<T>>;

/// What notes on demand which of its rows are written to.
pub trait Noted {
    /// Notes it from now on.
    fn watch(&mut self);

    /// Notes it no more.
    fn unwatch(&mut self);
}

impl<T> Noted for Table<T> {
    fn watch(&mut self) {
        Self::watch(self);
    }

    fn unwatch(&mut self) {
        Self::unwatch(self);
    }
}

impl<T> Clone for Table<T> {
    /// Shares all pages; costs two words for 16 rows. Nobody watches the clone.
    fn clone(&self) -> Self {
        Self {
            pages: self.pages.clone(),
            fresh: self.fresh,
            free: self.free.clone(),
            len: self.len,
            written: None,
        }
    }
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self {
            pages: Vec::new(),
            fresh: 0,
            free: Vec::new(),
            len: 0,
            written: None,
        }
    }
}

impl<T> Table<T> {
    /// Makes an empty table.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns how many rows there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns a row, unless it is gone.
    pub fn get(&self, key: Key<T>) -> Option<&T> {
        let (page, slot) = split(key.index);
        let slot = self.pages.get(page)?.get(slot)?;
        if slot.generation != key.generation {
            return None;
        }
        slot.row.as_ref()
    }

    /// Returns whether the row is there.
    pub fn contains(&self, key: Key<T>) -> bool {
        self.get(key).is_some()
    }

    /// Visits all rows in the order of their indexes.
    pub fn iter(&self) -> impl Iterator<Item = (Key<T>, &T)> + '_ {
        self.iter_from(0)
    }

    /// Visits the rows whose index is at least `first`, in the order of their indexes.
    pub fn iter_from(&self, first: u32) -> impl Iterator<Item = (Key<T>, &T)> + '_ {
        let (first_page, first_slot) = split(first);
        let pages = self.pages.iter().enumerate().skip(first_page);
        pages.flat_map(move |(page, slots)| {
            let skipped = if page == first_page { first_slot } else { 0 };
            let slots = slots.iter().enumerate().skip(skipped);
            slots.filter_map(move |(slot, s)| {
                let index = (page * PAGE_ROWS + slot) as u32;
                s.row
                    .as_ref()
                    .map(|row| (Key::new(index, s.generation), row))
            })
        })
    }

    /// Visits the rows behind an index, or all of them, in the order of their indexes.
    pub fn iter_after(&self, index: Option<u32>) -> impl Iterator<Item = (Key<T>, &T)> + '_ {
        let first = index.map_or(Some(0), |last| last.checked_add(1));
        let rows = first.map(|first| self.iter_from(first));
        rows.into_iter().flatten()
    }

    /// Visits the keys of all rows.
    pub fn keys(&self) -> impl Iterator<Item = Key<T>> + '_ {
        self.iter().map(|(key, _)| key)
    }

    /// Returns whether a snapshot shows the same rows. Costs a comparison of pages that were
    /// written to since it was taken.
    #[cfg(feature = "sim")]
    pub(crate) fn shows(&self, other: &Self, is_same: impl Fn(&T, &T) -> bool) -> bool {
        let is_same = |(a, b): (&Slot<T>, &Slot<T>)| match (&a.row, &b.row) {
            (Some(one), Some(other)) => a.generation == b.generation && is_same(one, other),
            (one, other) => one.is_none() && other.is_none(),
        };
        let mut pages = self.pages.iter().zip(&other.pages);
        self.len == other.len
            && pages.all(|(a, b)| Arc::ptr_eq(a, b) || a.iter().zip(b.iter()).all(&is_same))
    }

    /// Notes from now on which rows are written to. Costs a copy of each, the first time that it is
    /// written to after [`Table::take_written`].
    pub fn watch(&mut self) {
        self.written.get_or_insert_default();
    }

    /// Notes it no more.
    pub fn unwatch(&mut self) {
        self.written = None;
    }

    /// Takes what was written to since the last time, if the table is watched.
    pub fn take_written(&mut self) -> Written<T> {
        self.written
            .as_mut()
            .map(core::mem::take)
            .unwrap_or_default()
    }
}

impl<T: Clone> Table<T> {
    /// Adds a row.
    ///
    /// # Panics
    ///
    /// After 2^32 rows at once, which no limit of the system allows.
    pub fn insert(&mut self, row: T) -> Key<T> {
        self.len += 1;
        if let Some(index) = self.free.pop() {
            let (page, slot) = split(index);
            let slot = &mut Arc::make_mut(&mut self.pages[page])[slot];
            assert!(slot.row.is_none(), "a free index holds a row");
            slot.row = Some(row);
            let key = Key::new(index, slot.generation);
            self.note_new(key);
            return key;
        }
        let key = Key::new(self.fresh, 0);
        self.fresh = self.fresh.checked_add(1).expect("below 2^32 rows");
        let (page, slot) = split(key.index);
        if page == self.pages.len() {
            self.pages
                .push((0..PAGE_ROWS).map(|_| Slot::VACANT).collect());
        }
        Arc::make_mut(&mut self.pages[page])[slot].row = Some(row);
        self.note_new(key);
        key
    }

    fn note_new(&mut self, key: Key<T>) {
        if let Some(written) = &mut self.written {
            written.insert(key, None);
        }
    }

    /// Notes what a row is before it is written to.
    fn note(&mut self, key: Key<T>) {
        if let Some(written) = &mut self.written
            && !written.contains_key(&key)
        {
            let (page, slot) = split(key.index);
            written.insert(key, self.pages[page][slot].row.clone());
        }
    }

    /// Returns a row for writing, unless it is gone. Copies its page if a snapshot shares it.
    pub fn get_mut(&mut self, key: Key<T>) -> Option<&mut T> {
        if !self.contains(key) {
            return None;
        }
        self.note(key);
        let (page, slot) = split(key.index);
        Arc::make_mut(&mut self.pages[page])[slot].row.as_mut()
    }

    /// Takes a row out. Its key is dead from then on.
    pub fn remove(&mut self, key: Key<T>) -> Option<T> {
        if !self.contains(key) {
            return None;
        }
        self.note(key);
        let (page, slot) = split(key.index);
        let slot = &mut Arc::make_mut(&mut self.pages[page])[slot];
        slot.generation = slot.generation.wrapping_add(1);
        self.len -= 1;
        self.free.push(key.index);
        slot.row.take()
    }
}

impl<T> core::ops::Index<Key<T>> for Table<T> {
    type Output = T;

    fn index(&self, key: Key<T>) -> &T {
        self.get(key).expect("a key that is kept names a live row")
    }
}

impl<T: Clone> core::ops::IndexMut<Key<T>> for Table<T> {
    fn index_mut(&mut self, key: Key<T>) -> &mut T {
        self.get_mut(key)
            .expect("a key that is kept names a live row")
    }
}

const fn split(index: u32) -> (usize, usize) {
    (index as usize / PAGE_ROWS, index as usize % PAGE_ROWS)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_stale_key_does_not_reach_the_new_owner() {
        let mut table = Table::new();
        let old = table.insert("old");
        assert_eq!(table.remove(old), Some("old"));
        let new = table.insert("new");
        assert_eq!(old.index(), new.index());
        assert_eq!(table.get(old), None);
        assert_eq!(table.remove(old), None);
        assert_eq!(table[new], "new");
    }

    #[test]
    fn a_snapshot_does_not_change() {
        let mut table = Table::new();
        let keys: Vec<_> = (0..1_000).map(|n| table.insert(n)).collect();
        let snapshot = table.clone();
        table[keys[3]] = -1;
        table.remove(keys[999]);
        assert_eq!(snapshot[keys[3]], 3);
        assert_eq!(snapshot.len(), 1_000);
        assert_eq!(snapshot.iter().count(), 1_000);
        assert_eq!(table.iter().count(), 999);
        let shared = table.pages.iter().zip(&snapshot.pages);
        let shared = shared.filter(|(a, b)| Arc::ptr_eq(a, b));
        assert_eq!(shared.count(), table.pages.len() - 2);
    }

    #[test]
    fn a_visit_can_begin_anywhere() {
        let mut table = Table::new();
        let keys: Vec<_> = (0..50).map(|n| table.insert(n)).collect();
        table.remove(keys[17]);
        for first in 0..60 {
            let rows = table.iter_from(first).map(|(_, row)| *row);
            let expected = (first..50).filter(|n| *n != 17);
            assert!(rows.eq(expected), "from {first}");
        }
    }

    proptest! {
        // I13
        #[test]
        fn what_was_written_to_is_known_with_what_it_was(
            script in prop::collection::vec((0u8..8, 0usize..64), 0..300)
        ) {
            let mut table = Table::new();
            let mut keys: Vec<Key<usize>> = (0..20).map(|n| table.insert(n)).collect();
            table.watch();
            let mut before: BTreeMap<_, _> = table.iter().map(|(key, row)| (key, *row)).collect();
            for (n, (step, pick)) in script.into_iter().enumerate() {
                let key = keys[pick % keys.len()];
                match step {
                    0 | 1 => keys.push(table.insert(n)),
                    2 => {
                        table.remove(key);
                    }
                    3 => {
                        // Back from what was written to what it is now.
                        let written = table.take_written();
                        let mut now: BTreeMap<_, _> =
                            table.iter().map(|(key, row)| (key, *row)).collect();
                        for (key, was) in written {
                            match was {
                                Some(row) => now.insert(key, row),
                                None => now.remove(&key),
                            };
                        }
                        prop_assert_eq!(&now, &before);
                        before = table.iter().map(|(key, row)| (key, *row)).collect();
                        prop_assert!(table.take_written().is_empty());
                    }
                    _ => {
                        if let Some(row) = table.get_mut(key) {
                            *row = n;
                        }
                    }
                }
            }
            table.unwatch();
            table.insert(0);
            prop_assert!(table.take_written().is_empty(), "nobody watches any more");
        }

        #[test]
        fn agrees_with_a_map(script in prop::collection::vec((0u8..3, 0usize..64), 0..300)) {
            let mut table = Table::new();
            let mut model = BTreeMap::new();
            let mut keys = Vec::new();
            for (n, (step, pick)) in script.into_iter().enumerate() {
                match step {
                    0 => {
                        let key = table.insert(n);
                        prop_assert!(model.insert(key, n).is_none());
                        keys.push(key);
                    }
                    1 if !keys.is_empty() => {
                        let key = keys[pick % keys.len()];
                        prop_assert_eq!(table.remove(key), model.remove(&key));
                    }
                    _ if !keys.is_empty() => {
                        let key = keys[pick % keys.len()];
                        prop_assert_eq!(table.get(key), model.get(&key));
                        if let (Some(row), Some(same)) = (table.get_mut(key), model.get_mut(&key)) {
                            *row += 1;
                            *same += 1;
                        }
                    }
                    _ => {}
                }
                prop_assert_eq!(table.len(), model.len());
            }
            let rows: Vec<_> = table.iter().map(|(k, v)| (k, *v)).collect();
            let expected: Vec<_> = model.into_iter().collect();
            prop_assert_eq!(rows, expected);
        }
    }
}

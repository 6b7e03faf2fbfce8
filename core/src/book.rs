//! Rows by name, in copy-on-write pages.
//!
//! A map for what a machine shows: like a [`Table`] it has cheap snapshots, and notes what is
//! written to while somebody watches; like an ordered map it is asked by names. Deliberately not
//! here: rows that are named by keys, which are a `Table` alone.

use alloc::collections::{BTreeMap, btree_map};
use alloc::vec::Vec;
use core::fmt;
use core::ops::RangeBounds;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::table::{Key, Noted, Table};

/// Rows by name, in the order of their names.
#[derive(Clone)]
pub struct Book<K, V> {
    places: BTreeMap<K, Key<(K, V)>>,
    rows: Table<(K, V)>,
}

impl<K, V> Default for Book<K, V> {
    fn default() -> Self {
        Self {
            places: BTreeMap::new(),
            rows: Table::new(),
        }
    }
}

impl<K: Ord, V> Book<K, V> {
    /// Makes an empty book.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns how many rows there are.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Returns whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Returns whether there is a row of this name.
    pub fn contains_key(&self, name: &K) -> bool {
        self.places.contains_key(name)
    }

    /// Returns the row of this name.
    pub fn get(&self, name: &K) -> Option<&V> {
        let key = self.places.get(name)?;
        Some(&self.rows[*key].1)
    }

    /// Visits all rows.
    pub fn iter(&self) -> Iter<'_, K, V> {
        Iter {
            places: self.places.iter(),
            rows: &self.rows,
        }
    }

    /// Visits the rows whose names are within bounds.
    pub fn range(
        &self,
        bounds: impl RangeBounds<K>,
    ) -> impl DoubleEndedIterator<Item = (&K, &V)> + '_ {
        let places = self.places.range(bounds);
        places.map(|(name, key)| (name, &self.rows[*key].1))
    }

    /// Visits all names.
    pub fn keys(&self) -> btree_map::Keys<'_, K, Key<(K, V)>> {
        self.places.keys()
    }

    /// Visits all rows without their names.
    pub fn values(&self) -> impl DoubleEndedIterator<Item = &V> + Clone + '_ {
        self.iter().map(|(_, row)| row)
    }

    /// Finds the name of the first row of a kind.
    pub fn find(&self, wanted: impl Fn(&V) -> bool) -> Option<K>
    where
        K: Clone,
    {
        let found = self.iter().find(|(_, row)| wanted(row));
        found.map(|(name, _)| name.clone())
    }

    /// Returns the pages, which the book shares with all their clones until it is written to.
    pub fn pages(&self) -> &Table<(K, V)> {
        &self.rows
    }

    /// Returns the pages for whoever watches them; rows are written to by name.
    pub fn watched(&mut self) -> &mut Table<(K, V)> {
        &mut self.rows
    }
}

impl<K: Ord + Clone, V: Clone> Book<K, V> {
    /// Returns a row for writing.
    pub fn get_mut(&mut self, name: &K) -> Option<&mut V> {
        let key = self.places.get(name)?;
        self.rows.get_mut(*key).map(|(_, row)| row)
    }

    /// Puts a row in the place of the one of its name, and returns that.
    pub fn insert(&mut self, name: K, row: V) -> Option<V> {
        if let Some(known) = self.get_mut(&name) {
            return Some(core::mem::replace(known, row));
        }
        let key = self.rows.insert((name.clone(), row));
        self.places.insert(name, key);
        None
    }

    /// Takes a row out.
    pub fn remove(&mut self, name: &K) -> Option<V> {
        let key = self.places.remove(name)?;
        self.rows.remove(key).map(|(_, row)| row)
    }

    /// Takes the first row out.
    pub fn pop_first(&mut self) -> Option<(K, V)> {
        let (_, key) = self.places.pop_first()?;
        self.rows.remove(key)
    }

    /// Takes all rows out.
    pub fn clear(&mut self) {
        while self.pop_first().is_some() {}
    }

    /// Takes out the rows that are not wanted.
    pub fn retain(&mut self, wanted: impl Fn(&K, &V) -> bool) {
        let rows = self.iter().filter(|(name, row)| !wanted(name, row));
        let unwanted: Vec<K> = rows.map(|(name, _)| name.clone()).collect();
        for name in unwanted {
            self.remove(&name);
        }
    }
}

/// All rows of a book.
#[derive(Debug)]
pub struct Iter<'a, K, V> {
    places: btree_map::Iter<'a, K, Key<(K, V)>>,
    rows: &'a Table<(K, V)>,
}

impl<K, V> Clone for Iter<'_, K, V> {
    fn clone(&self) -> Self {
        let (places, rows) = (self.places.clone(), self.rows);
        Self { places, rows }
    }
}

impl<'a, K, V> Iterator for Iter<'a, K, V> {
    type Item = (&'a K, &'a V);

    fn next(&mut self) -> Option<Self::Item> {
        let (name, key) = self.places.next()?;
        Some((name, &self.rows[*key].1))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.places.size_hint()
    }
}

impl<K, V> DoubleEndedIterator for Iter<'_, K, V> {
    fn next_back(&mut self) -> Option<Self::Item> {
        let (name, key) = self.places.next_back()?;
        Some((name, &self.rows[*key].1))
    }
}

impl<'a, K: Ord, V> IntoIterator for &'a Book<K, V> {
    type Item = (&'a K, &'a V);
    type IntoIter = Iter<'a, K, V>;

    fn into_iter(self) -> Iter<'a, K, V> {
        self.iter()
    }
}

impl<K: Ord, V> Noted for Book<K, V> {
    fn watch(&mut self) {
        self.rows.watch();
    }

    fn unwatch(&mut self) {
        self.rows.unwatch();
    }
}

impl<K: Ord + Clone, V: Clone> FromIterator<(K, V)> for Book<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(rows: I) -> Self {
        let mut book = Self::default();
        for (name, row) in rows {
            book.insert(name, row);
        }
        book
    }
}

impl<K: Ord + fmt::Debug, V: fmt::Debug> fmt::Debug for Book<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<K: Ord, V: PartialEq> PartialEq for Book<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl<K: Ord, V: Eq> Eq for Book<K, V> {}

/// As a map: where its rows lie is nobody's business.
impl<K: Ord + Serialize, V: Serialize> Serialize for Book<K, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        let mut map = serializer.serialize_map(Some(self.len()))?;
        for (name, row) in self.iter() {
            map.serialize_entry(name, row)?;
        }
        map.end()
    }
}

impl<'de, K, V> Deserialize<'de> for Book<K, V>
where
    K: Ord + Clone + Deserialize<'de>,
    V: Clone + Deserialize<'de>,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let map = BTreeMap::<K, V>::deserialize(deserializer)?;
        Ok(map.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a book was, and what it should have been.
    type Before = (Table<(u8, usize)>, BTreeMap<u8, usize>);

    proptest! {
        // I13
        #[test]
        fn agrees_with_a_map_and_its_snapshot_stays(
            script in prop::collection::vec((0u8..6, 0u8..24), 0..200)
        ) {
            let mut book = Book::new();
            let mut model = BTreeMap::new();
            let mut before: Option<Before> = None;
            for (n, (step, name)) in script.into_iter().enumerate() {
                match step {
                    0 | 1 => prop_assert_eq!(book.insert(name, n), model.insert(name, n)),
                    2 => prop_assert_eq!(book.remove(&name), model.remove(&name)),
                    3 => {
                        prop_assert_eq!(book.get_mut(&name), model.get_mut(&name));
                        let both = (book.get_mut(&name), model.get_mut(&name));
                        if let (Some(row), Some(same)) = both {
                            *row += 1;
                            *same += 1;
                        }
                    }
                    4 => {
                        book.retain(|key, _| *key != name);
                        model.retain(|key, _| *key != name);
                    }
                    _ => before = Some((book.pages().clone(), model.clone())),
                }
                prop_assert_eq!(book.get(&name), model.get(&name));
                prop_assert_eq!(book.len(), model.len());
                prop_assert!(book.iter().eq(model.iter()));
                prop_assert!(book.range(name..).eq(model.range(name..)));
            }
            if let Some((pages, then)) = before {
                let rows: BTreeMap<u8, usize> = pages.iter().map(|(_, row)| *row).collect();
                prop_assert_eq!(rows, then);
            }
            let bytes = postcard::to_allocvec(&book).unwrap();
            prop_assert_eq!(&bytes, &postcard::to_allocvec(&model).unwrap());
            prop_assert_eq!(postcard::from_bytes::<Book<u8, usize>>(&bytes).unwrap(), book.clone());
            book.clear();
            prop_assert!(book.is_empty() && book.pages().is_empty());
        }
    }
}

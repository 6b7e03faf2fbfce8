//! Which rows of a table belong to whom: for each owner a chain through the indexes of its rows.
//!
//! A row comes and goes in a few writes, without memory of its own. Used by tables whose rows come
//! and go all the time. Deliberately not here: the rows; and generations, neither of rows nor of
//! owners. Who reads a chain looks whether a row is its owner's.

use alloc::vec::Vec;
use core::iter::successors;

/// Where a chain ends.
const END: u32 = u32::MAX;

/// The neighbours of a row in its chain.
#[derive(Clone, Copy, Debug)]
struct Link {
    before: u32,
    after: u32,
}

/// Chains by the indexes of owners, of the indexes of rows.
#[derive(Clone, Debug, Default)]
pub(super) struct Chains {
    firsts: Vec<u32>,
    links: Vec<Link>,
}

impl Chains {
    /// Adds a row that is in no chain.
    pub(super) fn insert(&mut self, owner: u32, row: u32) {
        let (owner, at) = (owner as usize, row as usize);
        if self.firsts.len() <= owner {
            self.firsts.resize(owner + 1, END);
        }
        if self.links.len() <= at {
            let none = Link {
                before: END,
                after: END,
            };
            self.links.resize(at + 1, none);
        }
        let after = core::mem::replace(&mut self.firsts[owner], row);
        if after != END {
            self.links[after as usize].before = row;
        }
        let before = END;
        self.links[at] = Link { before, after };
    }

    /// Takes a row out of the chain that it is in.
    pub(super) fn remove(&mut self, owner: u32, row: u32) {
        let Link { before, after } = self.links[row as usize];
        if before == END {
            self.firsts[owner as usize] = after;
        } else {
            self.links[before as usize].after = after;
        }
        if after != END {
            self.links[after as usize].before = before;
        }
    }

    /// Checks that all links agree; returns how many rows are in chains.
    pub(super) fn check(&self) -> usize {
        let mut count = 0;
        for first in &self.firsts {
            let (mut before, mut row) = (END, *first);
            while row != END {
                let link = self.links[row as usize];
                assert_eq!(link.before, before, "who comes before row {row}");
                (before, row) = (row, link.after);
                count += 1;
            }
        }
        count
    }

    /// Returns the rows of an owner, in the order of their indexes.
    pub(super) fn of(&self, owner: u32) -> Vec<u32> {
        let there = |row: u32| (row != END).then_some(row);
        let first = self.firsts.get(owner as usize).copied().and_then(there);
        let mut rows: Vec<u32> =
            successors(first, |row| there(self.links[*row as usize].after)).collect();
        rows.sort_unstable();
        rows
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn chains_are_sets(steps in proptest::collection::vec((0..4_u32, 0..12_u32), 0..80)) {
            let mut chains = Chains::default();
            let mut model: Vec<BTreeSet<u32>> = alloc::vec![BTreeSet::new(); 4];
            for (owner, row) in steps {
                if let Some(before) = model.iter().position(|rows| rows.contains(&row)) {
                    chains.remove(before as u32, row);
                    model[before].remove(&row);
                } else {
                    chains.insert(owner, row);
                    model[owner as usize].insert(row);
                }
                prop_assert_eq!(chains.check(), model.iter().map(BTreeSet::len).sum::<usize>());
                for (owner, rows) in (0..).zip(&model) {
                    let rows: Vec<u32> = rows.iter().copied().collect();
                    prop_assert_eq!(chains.of(owner), rows);
                }
            }
            prop_assert_eq!(chains.of(9), Vec::<u32>::new());
        }
    }
}

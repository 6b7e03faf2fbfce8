//! What is worth an offer (AL-33), kept once for all leaves that say the same.
//!
//! Frameworks are many, and what is worth an offer to them is mostly the same. So a pass that finds
//! too little on an agent for one leaf passes by all others that want as much, in one go.
//!
//! Deliberately not here: what a framework would be offered.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::columns::{Columns, Row};
use super::interest::{has_bit, set_bit, unset_bit};
use super::kinds::amount_of;
use super::ladders::Ladders;
use super::seats::LeafId;
use crate::resources::{Milli, Quantities, Resources};

/// What is worth an offer: one of some sets.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Least {
    sets: Vec<Vec<Threshold>>,
}

/// So much of a name; of ranges and sets it is how many.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Threshold {
    name: Arc<str>,
    least: Milli,
    /// Its column, if it has one for itself.
    column: Option<usize>,
    /// Whether ranges and sets of the name have to be counted beside the column.
    is_odd: bool,
}

impl Threshold {
    fn new(name: &str, least: Milli, columns: &Columns) -> Self {
        let column = columns.find_alone(name);
        Self {
            name: Arc::from(name),
            least,
            column,
            is_odd: column.is_some_and(|column| columns.leaves_out_values(column)),
        }
    }

    fn is_met(&self, candidate: &Resources, row: &Row) -> bool {
        let least = i128::from(self.least.thousandths());
        match self.column {
            Some(column) if row.at(column) >= least => true,
            Some(_) if !self.is_odd => false,
            Some(_) | None => amount_of(candidate, &self.name) >= least,
        }
    }
}

impl Least {
    pub(super) fn new(sets: &[Quantities], columns: &Columns) -> Self {
        let set = |set: &Quantities| {
            let each = set.iter();
            each.map(|(name, least)| Threshold::new(name, least, columns))
                .collect()
        };
        Self {
            sets: sets.iter().map(set).collect(),
        }
    }

    /// Returns whether something is worth an offer; `row` counts it. What is not is not
    /// in any part either.
    pub(super) fn is_met(&self, candidate: &Resources, row: &Row) -> bool {
        let has = |least: &Threshold| least.is_met(candidate, row);
        let mut sets = self.sets.iter();
        !candidate.is_empty() && (self.sets.is_empty() || sets.any(|set| set.iter().all(has)))
    }
}

/// Names a sort of [`Least`] for as long as a leaf goes by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LeastId(usize);

/// All sorts, and who goes by which. The first is that of the options, and always there.
#[derive(Debug)]
pub(super) struct Leasts {
    sorts: Vec<Sort>,
    by: BTreeMap<Least, LeastId>,
    vacant: Vec<LeastId>,
    /// Of those that are one set; `None` until it is asked for.
    ladders: Option<(Ladders, Odd)>,
}

/// Columns that do not count ranges and sets, of names that may be such.
type Odd = Vec<(usize, Arc<str>)>;

#[derive(Debug, Default)]
struct Sort {
    least: Least,
    /// A bit for each leaf.
    leaves: Vec<u64>,
    count: usize,
}

impl Sort {
    /// Returns what each of its leaves wants, unless there is a choice.
    fn only(&self) -> &[Threshold] {
        match &self.least.sets[..] {
            [only] if self.count > 0 => &only[..],
            [] | [_] | [_, _, ..] => &[],
        }
    }

    /// Visits what each of its leaves wants of what is counted, unless there is a choice.
    fn thresholds(&self) -> impl Iterator<Item = (usize, i128, &[u64])> {
        self.only().iter().filter_map(|it| {
            let least = i128::from(it.least.thousandths());
            Some((it.column?, least, &self.leaves[..]))
        })
    }

    fn odd(&self) -> impl Iterator<Item = (usize, Arc<str>)> {
        let odd = self.only().iter().filter(|it| it.is_odd);
        odd.filter_map(|it| Some((it.column?, Arc::clone(&it.name))))
    }
}

impl Leasts {
    /// Makes the sort that leaves go by which say nothing.
    pub(super) fn new(usual: Least) -> Self {
        let mut all = Self {
            sorts: Vec::new(),
            by: BTreeMap::new(),
            vacant: Vec::new(),
            ladders: None,
        };
        let _first = all.intern(usual);
        all
    }

    fn intern(&mut self, least: Least) -> LeastId {
        if let Some(known) = self.by.get(&least) {
            return *known;
        }
        let id = self.vacant.pop().unwrap_or_else(|| {
            self.sorts.push(Sort::default());
            LeastId(self.sorts.len() - 1)
        });
        self.by.insert(least.clone(), id);
        self.sorts[id.0].least = least;
        id
    }

    /// Has a leaf go by what it says; `None` is as the options say.
    pub(super) fn join(&mut self, leaf: LeafId, least: Option<Least>) -> LeastId {
        let id = least.map_or(LeastId(0), |least| self.intern(least));
        self.ladders = None;
        let sort = &mut self.sorts[id.0];
        set_bit(&mut sort.leaves, leaf);
        sort.count += 1;
        id
    }

    /// Has a leaf no longer go by what it went by.
    pub(super) fn part(&mut self, leaf: LeafId, id: LeastId) {
        self.ladders = None;
        let sort = &mut self.sorts[id.0];
        unset_bit(&mut sort.leaves, leaf);
        sort.count -= 1;
        if sort.count == 0 && id != LeastId(0) {
            let gone = core::mem::take(sort);
            // Two sorts may have become one when columns were given to other names.
            if self.by.get(&gone.least) == Some(&id) {
                self.by.remove(&gone.least);
            }
            self.vacant.push(id);
        }
    }

    pub(super) fn at(&self, id: LeastId) -> &Least {
        &self.sorts[id.0].least
    }

    /// Finds the columns anew after they were given to other names.
    pub(super) fn find_columns(&mut self, columns: &Columns) {
        self.by.clear();
        self.ladders = None;
        for (at, sort) in self.sorts.iter_mut().enumerate() {
            for it in sort.least.sets.iter_mut().flatten() {
                *it = Threshold::new(&it.name, it.least, columns);
            }
            if sort.count > 0 || at == 0 {
                self.by.entry(sort.least.clone()).or_insert(LeastId(at));
            }
        }
    }

    /// Returns whether something is worth an offer to anybody.
    pub(super) fn is_worth_any(&self, free: &Resources, row: &Row) -> bool {
        let mut sorts = self.sorts.iter().filter(|it| it.count > 0);
        sorts.any(|it| it.least.is_met(free, row))
    }

    /// Returns the bits of all leaves that go by the same.
    pub(super) fn leaves(&self, id: LeastId) -> &[u64] {
        &self.sorts[id.0].leaves
    }

    /// Visits the bits of leaves for which something is not worth an offer: of all that go by one
    /// set, or near enough, and of those that say nothing.
    pub(super) fn unmet<'a>(
        &'a mut self,
        free: &'a Resources,
        row: &'a Row,
    ) -> impl Iterator<Item = &'a [u64]> {
        let sorts = &self.sorts;
        let (ladders, odd) = self.ladders.get_or_insert_with(|| {
            let thresholds = sorts.iter().flat_map(Sort::thresholds);
            let mut odd: Odd = sorts.iter().flat_map(Sort::odd).collect();
            odd.sort();
            odd.dedup();
            (Ladders::new(thresholds), odd)
        });
        let amount = |column| match odd.iter().find(|it| it.0 == column) {
            Some((_, name)) => amount_of(free, name),
            None => row.at(column),
        };
        let usual = &sorts[0];
        let is_unmet = usual.count > 0 && !usual.least.is_met(free, row);
        let usual = is_unmet.then_some(&usual.leaves[..]);
        ladders.above(amount).chain(usual)
    }

    /// Checks that a leaf stands with a sort, and with no other.
    pub(super) fn check(&self, leaf: LeafId, id: Option<LeastId>) {
        for (at, sort) in self.sorts.iter().enumerate() {
            let stands = has_bit(&sort.leaves, leaf);
            assert_eq!(stands, id == Some(LeastId(at)), "what is worth {leaf:?}");
        }
    }
}

//! Dense rows of scalars, one column for each name that is counted.
//!
//! Shares, quota and headroom are counted in [`Row`]s, exactly, whatever agents claim to have.
//! `cpus`, `mem`, `disk`, `gpus` and the names that options count always have a column; of all
//! others the first to be seen do, be it in quota or on agents. A name beyond the last column rides
//! along whole, as ranges and sets do: it is offered, but not split, and counts neither for
//! fairness nor for quota.
//!
//! Deliberately not here: identity, which is the ledger's.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::resources::{Milli, Quantities, Resource, Resources, Value};

/// How many names are counted at most.
pub(super) const COLUMNS: usize = 16;
const ALWAYS: [&str; 4] = ["cpus", "mem", "disk", "gpus"];

/// Which column a name has.
#[derive(Clone, Debug)]
pub(super) struct Columns {
    names: Vec<Arc<str>>,
}

/// Thousandths by column.
///
/// Fewer than 2^64 amounts below 2^63 fit, so that nothing is lost and no sum overflows.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct Row {
    /// How many columns may be other than zero; those beyond mean nothing. It stands beside the
    /// first columns, which are all that is touched as a rule.
    len: usize,
    amounts: [i128; COLUMNS],
}

impl Columns {
    /// Makes columns for the names that always have one.
    pub(super) fn new(counted: &[String]) -> Self {
        let mut columns = Self {
            names: ALWAYS.into_iter().map(Arc::from).collect(),
        };
        for name in counted {
            let _full = columns.intern(name);
        }
        columns
    }

    /// Returns the column of a name, new or old; `None` if none is left.
    pub(super) fn intern(&mut self, name: &str) -> Option<usize> {
        if let Some(known) = self.find(name) {
            return Some(known);
        }
        if self.names.len() == COLUMNS {
            return None;
        }
        self.names.push(Arc::from(name));
        Some(self.names.len() - 1)
    }

    /// Gives columns to all scalars of a bag, as long as there are some.
    pub(super) fn intern_all(&mut self, resources: &Resources) {
        for entry in resources {
            if matches!(entry.value(), Value::Scalar(_)) {
                let _full = self.intern(entry.name());
            }
        }
    }

    /// Returns the column of a name.
    pub(super) fn find(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|known| **known == *name)
    }

    /// Returns the column and the thousandths of a scalar that is counted.
    pub(super) fn place(&self, entry: &Resource) -> Option<(usize, i128)> {
        match entry.value() {
            Value::Scalar(amount) => {
                let column = self.find(entry.name())?;
                Some((column, i128::from(amount.thousandths())))
            }
            Value::Ranges(_) | Value::Items(_) => None,
        }
    }

    /// Counts the scalars of a bag.
    pub(super) fn row(&self, resources: &Resources) -> Row {
        self.row_of(resources.iter())
    }

    /// Counts the scalars among entries.
    pub(super) fn row_of<'a>(&self, entries: impl Iterator<Item = &'a Resource>) -> Row {
        let mut row = Row::ZERO;
        for (column, amount) in entries.filter_map(|entry| self.place(entry)) {
            row.add_at(column, amount);
        }
        row
    }

    /// Returns the amounts of a row by name; what does not fit becomes [`Milli::MAX`], and what is
    /// below zero is nothing.
    pub(super) fn quantities(&self, row: &Row) -> Quantities {
        let mut entries: Vec<_> = (self.names.iter().zip(row.iter()))
            .filter(|(_, (_, amount))| *amount > 0)
            .map(|(name, (_, amount))| {
                let fits = i64::try_from(amount).map_or(Milli::MAX, Milli::from_thousandths);
                (name.clone(), fits)
            })
            .collect();
        entries.sort();
        Quantities::try_from(entries).expect("names of resources, in order, once each")
    }
}

impl Row {
    /// Nothing.
    pub(super) const ZERO: Self = Self {
        len: 0,
        amounts: [0; COLUMNS],
    };

    /// Visits the columns that may be other than zero.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, i128)> + '_ {
        self.amounts[..self.len].iter().copied().enumerate()
    }

    /// Returns one amount.
    pub(super) const fn at(&self, column: usize) -> i128 {
        if column < self.len {
            self.amounts[column]
        } else {
            0
        }
    }

    /// Replaces one amount.
    pub(super) const fn set(&mut self, column: usize, amount: i128) {
        self.reach(column + 1);
        self.amounts[column] = amount;
    }

    /// Adds to one amount.
    pub(super) const fn add_at(&mut self, column: usize, amount: i128) {
        self.set(column, self.at(column) + amount);
    }

    /// Makes room for so many columns.
    const fn reach(&mut self, len: usize) {
        while self.len < len {
            self.amounts[self.len] = 0;
            self.len += 1;
        }
    }

    /// Adds column by column.
    pub(super) fn add(&mut self, other: &Self) {
        self.reach(other.len);
        for column in 0..other.len {
            self.amounts[column] += other.amounts[column];
        }
    }

    /// Subtracts column by column.
    pub(super) fn subtract(&mut self, other: &Self) {
        self.reach(other.len);
        for column in 0..other.len {
            self.amounts[column] -= other.amounts[column];
        }
    }

    /// Returns the greater of two amounts, column by column.
    pub(super) fn max(&self, other: &Self) -> Self {
        let mut most = Self::ZERO;
        for column in 0..self.len.max(other.len) {
            most.set(column, self.at(column).max(other.at(column)));
        }
        most
    }

    /// Returns the smaller of two amounts, column by column.
    pub(super) fn min(&self, other: &Self) -> Self {
        let mut least = Self::ZERO;
        for column in 0..self.len.max(other.len) {
            least.set(column, self.at(column).min(other.at(column)));
        }
        least
    }

    /// Returns how much is missing to `wanted`, column by column.
    pub(super) fn missing_to(&self, wanted: &Self) -> Self {
        let mut missing = Self::ZERO;
        for (column, amount) in wanted.iter() {
            missing.set(column, (amount - self.at(column)).max(0));
        }
        missing
    }

    /// Returns whether nothing is above zero.
    pub(super) fn is_empty(&self) -> bool {
        self.iter().all(|(_, amount)| amount <= 0)
    }

    /// Returns whether all are zero.
    pub(super) fn is_zero(&self) -> bool {
        self.iter().all(|(_, amount)| amount == 0)
    }
}

impl PartialEq for Row {
    fn eq(&self, other: &Self) -> bool {
        (0..self.len.max(other.len)).all(|column| self.at(column) == other.at(column))
    }
}

impl Eq for Row {}

impl Default for Row {
    fn default() -> Self {
        Self::ZERO
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use super::*;

    #[test]
    fn the_seventeenth_name_has_no_column() {
        let mut columns = Columns::new(&[String::from("tape")]);
        assert_eq!(columns.find("tape"), Some(4));
        let text: Vec<_> = (0..20).map(|n| format!("x{n:02}:1")).collect();
        let bag = Resources::parse(&text.join(";")).unwrap();
        columns.intern_all(&bag);
        assert_eq!(columns.find("x10"), Some(15));
        assert_eq!(columns.find("x11"), None);
        let counted = columns.quantities(&columns.row(&bag));
        assert_eq!(counted.iter().count(), 11);
        // What has a column keeps it.
        columns.intern_all(&Resources::parse("y:1;cpus:2").unwrap());
        assert_eq!((columns.find("y"), columns.find("cpus")), (None, Some(0)));
    }

    #[test]
    fn rows_are_exact() {
        let columns = Columns::new(&[]);
        let most = columns.row(&Resources::parse("cpus:9000000000000000").unwrap());
        let mut sum = Row::ZERO;
        for _ in 0..1_000 {
            sum.add(&most);
        }
        for _ in 0..999 {
            sum.subtract(&most);
        }
        assert_eq!(sum, most);
        let half = columns.row(&Resources::parse("cpus:1;mem:2").unwrap());
        let more = columns.row(&Resources::parse("cpus:3;disk:1").unwrap());
        let expected = columns.row(&Resources::parse("cpus:2;disk:1").unwrap());
        assert_eq!(half.missing_to(&more), expected);
        assert_eq!(more.max(&half).at(1), 2_000);
    }
}

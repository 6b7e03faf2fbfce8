//! Dense rows of scalars, one column for each name that is counted.
//!
//! Shares, quota and headroom are counted in [`Row`]s, exactly, whatever agents claim to have.
//! `cpus`, `mem`, `disk`, `gpus` and the names that options count always have a column. So have the
//! names in quotas, of which ranges and sets count as well, by the number of their values; where
//! these are too many, the last of them share a column. What is left goes to the first scalars to
//! be seen on agents. Everything else rides along whole: it is offered, but not split, and counts
//! neither for fairness nor for quota.
//!
//! Deliberately not here: identity, which is the ledger's; when columns change hands, which is in
//! `names.rs`.

use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::quota::MOST_NAMES;
use crate::resources::{Milli, Quantities, Resource, Resources, Value};

/// How many names are counted at most.
pub(super) const COLUMNS: usize = 16;
const ALWAYS: [&str; 4] = ["cpus", "mem", "disk", "gpus"];
const _: () = assert!(
    COLUMNS == ALWAYS.len() + MOST_NAMES,
    "quota says how many names it counts"
);

/// How many bytes a key has: one for the length of a name, and the others for how it begins.
const KEY: usize = 8;

/// Returns a key that a name shorter than it has for itself alone.
#[inline]
fn key(name: &str) -> u64 {
    let name = name.as_bytes();
    let mut key = [0; KEY];
    key[KEY - 1] = name.len().min(0xff) as u8;
    // Copies of a known length, of which all common names are, take no call.
    match name {
        [a, b, c] => key[..3].copy_from_slice(&[*a, *b, *c]),
        [a, b, c, d] => key[..4].copy_from_slice(&[*a, *b, *c, *d]),
        [a, b, c, d, e] => key[..5].copy_from_slice(&[*a, *b, *c, *d, *e]),
        _ => {
            let begin = name.len().min(KEY - 1);
            key[..begin].copy_from_slice(&name[..begin]);
        }
    }
    u64::from_le_bytes(key)
}

/// Which column a name has.
#[derive(Clone, Debug)]
pub(super) struct Columns {
    names: Vec<Arc<str>>,
    /// What short names are found by.
    keys: [u64; COLUMNS],
    /// How many of them never change.
    fixed: usize,
    /// Names that share the last column with the one that has it.
    crowd: Vec<Arc<str>>,
    /// A bit for each column that counts ranges and sets as well.
    valued: u32,
}

/// Thousandths by column.
///
/// Fewer than 2^52 amounts below 2^75 fit, so that nothing is lost and no sum overflows.
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
            names: Vec::with_capacity(COLUMNS),
            keys: [0; COLUMNS],
            fixed: 0,
            crowd: Vec::new(),
            valued: 0,
        };
        for name in ALWAYS.into_iter().chain(counted.iter().map(|name| &**name)) {
            let _full = columns.fix(name);
        }
        columns
    }

    /// Returns the column of a name, which keeps it from now on; `None` if none is left.
    pub(super) fn fix(&mut self, name: &str) -> Option<usize> {
        let column = self.intern(name);
        self.fixed = self.names.len();
        column
    }

    /// Gives the columns to other names: after those that keep theirs, to names in quotas, and then
    /// to others as long as there are some. Whatever was counted is to be counted anew.
    pub(super) fn assign<'a>(
        &mut self,
        of_quota: &BTreeSet<&str>,
        others: impl Iterator<Item = &'a str>,
    ) {
        self.names.truncate(self.fixed);
        self.crowd.clear();
        self.valued = 0;
        for name in of_quota {
            let column = self.intern(name).unwrap_or_else(|| {
                self.crowd.push(Arc::from(*name));
                COLUMNS - 1
            });
            self.valued |= 1 << column;
        }
        for name in others {
            let _full = self.intern(name);
        }
    }

    /// Returns the column of a name, new or old; `None` if none is left.
    pub(super) fn intern(&mut self, name: &str) -> Option<usize> {
        if let Some(known) = self.find(name) {
            return Some(known);
        }
        if self.names.len() == COLUMNS {
            return None;
        }
        let column = self.names.len();
        self.keys[column] = key(name);
        self.names.push(Arc::from(name));
        Some(column)
    }

    /// Gives columns to all scalars of a bag, as long as there are some. Returns whether all have
    /// one now.
    pub(super) fn intern_all(&mut self, resources: &Resources) -> bool {
        let mut all = true;
        for entry in resources {
            if matches!(entry.value(), Value::Scalar(_)) {
                all &= self.intern(entry.name()).is_some();
            }
        }
        all
    }

    /// Returns the column of a name.
    pub(super) fn find(&self, name: &str) -> Option<usize> {
        let own = if name.len() < KEY {
            let key = key(name);
            let mut keys = self.keys[..self.names.len()].iter();
            keys.position(|known| *known == key)
        } else {
            self.names.iter().position(|known| **known == *name)
        };
        let shared = || self.crowd.iter().any(|it| **it == *name);
        own.or_else(|| shared().then_some(COLUMNS - 1))
    }

    /// Returns the column of a name in which no other name is counted.
    pub(super) fn find_alone(&self, name: &str) -> Option<usize> {
        let is_shared = |column: usize| self.shared() == Some(column);
        self.find(name).filter(|column| !is_shared(*column))
    }

    /// Returns whether a column leaves out ranges and sets, and its name may be such: those that
    /// always have one are amounts.
    pub(super) const fn leaves_out_values(&self, column: usize) -> bool {
        column >= ALWAYS.len() && self.valued & (1 << column) == 0
    }

    /// Returns whether all of a name is counted, whatever it is.
    pub(super) fn counts_all(&self, name: &str) -> bool {
        let column = self.find(name);
        column.is_some_and(|column| self.valued & (1 << column) != 0)
    }

    /// Returns whether a column is there whatever agents have, quotas name and options count.
    pub(super) const fn is_always(column: usize) -> bool {
        column < ALWAYS.len()
    }

    /// Visits the columns that were given to names, and can be given to others.
    pub(super) fn given(&self) -> impl Iterator<Item = (usize, &str)> + '_ {
        let names = self.names.iter().map(|name| &**name);
        names.enumerate().skip(self.fixed)
    }

    /// Returns the column that several names share, if there is one.
    pub(super) fn shared(&self) -> Option<usize> {
        (!self.crowd.is_empty()).then_some(COLUMNS - 1)
    }

    /// Returns the column and the thousandths of what is counted.
    #[inline]
    pub(super) fn place(&self, entry: &Resource) -> Option<(usize, i128)> {
        let count = match entry.value() {
            Value::Scalar(amount) => {
                let column = self.find(entry.name())?;
                return Some((column, i128::from(amount.thousandths())));
            }
            Value::Ranges(_) | Value::Items(_) if self.valued == 0 => return None,
            Value::Ranges(ranges) => ranges.count() as i128,
            Value::Items(items) => items.len() as i128,
        };
        let column = self.find(entry.name())?;
        (self.valued & (1 << column) != 0).then_some((column, count * 1_000))
    }

    /// Counts the scalars of a bag.
    pub(super) fn row(&self, resources: &Resources) -> Row {
        self.row_of(resources.iter())
    }

    /// Counts the scalars among entries.
    pub(super) fn row_of<'a>(&self, entries: impl Iterator<Item = &'a Resource>) -> Row {
        let mut row = Row::ZERO;
        for entry in entries {
            if let Some((column, amount)) = self.place(entry) {
                row.add_at(column, amount);
            }
        }
        row
    }

    /// Returns the amounts of a row by name; what does not fit becomes [`Milli::MAX`], what is
    /// below zero is nothing, and names that share a column are left out.
    pub(super) fn quantities(&self, row: &Row) -> Quantities {
        let mut entries: Vec<_> = (self.names.iter().zip(row.iter()))
            .filter(|(_, (column, amount))| *amount > 0 && self.shared() != Some(*column))
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
        assert!(!columns.intern_all(&bag));
        assert_eq!(columns.find("x10"), Some(15));
        assert_eq!(columns.find("x11"), None);
        let counted = columns.quantities(&columns.row(&bag));
        assert_eq!(counted.iter().count(), 11);
        // What has a column keeps it.
        assert!(!columns.intern_all(&Resources::parse("y:1;cpus:2").unwrap()));
        assert_eq!((columns.find("y"), columns.find("cpus")), (None, Some(0)));
    }

    #[test]
    fn long_names_that_begin_alike_are_told_apart() {
        let mut columns = Columns::new(&[]);
        let names = [
            "seven77",
            "eight888",
            "eight889",
            "eight88",
            "eight8888",
            "eight",
        ];
        for (at, name) in names.into_iter().enumerate() {
            assert_eq!(columns.find(name), None, "{name}");
            assert_eq!(columns.intern(name), Some(ALWAYS.len() + at), "{name}");
        }
        for (at, name) in ALWAYS.into_iter().chain(names).enumerate() {
            assert_eq!(columns.find(name), Some(at), "{name}");
        }
        assert_eq!(columns.find("seven78"), None);
        assert_eq!(columns.find("eight880"), None);
        assert_eq!(columns.find(""), None);
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
        assert_eq!(more.max(&half).at(columns.find("mem").unwrap()), 2_000);
    }
}

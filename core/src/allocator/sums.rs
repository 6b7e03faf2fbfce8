//! Sums of scalars over many agents, exact whatever agents claim to have.
//!
//! The sorter counts in them. [`Quantities`] saturate, and what was added beyond their bound could
//! not be taken away again.
//!
//! Deliberately not here: identity, which is the ledger's, and anything but scalars (AL-15).

use alloc::sync::Arc;
use alloc::vec::Vec;

use smallvec::SmallVec;

use crate::resources::{Milli, Quantities, Resources, Value};

/// Thousandths by name; ordered, none of them zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sums(SmallVec<[(Arc<str>, u128); 4]>);

impl Sums {
    /// Visits the names in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, u128)> + '_ {
        self.0.iter().map(|(name, sum)| (&**name, *sum))
    }

    /// Returns the thousandths of a name.
    pub(super) fn amount(&self, name: &str) -> u128 {
        self.seek(name).map_or(0, |at| self.0[at].1)
    }

    /// Adds name by name.
    pub(super) fn add(&mut self, other: &Self) {
        for (name, amount) in &other.0 {
            self.enter(name, *amount);
        }
    }

    /// Adds the scalars of a bag.
    pub(super) fn add_scalars(&mut self, resources: &Resources) {
        for entry in resources {
            match entry.value() {
                Value::Scalar(amount) => {
                    let amount = amount.thousandths().max(0).unsigned_abs();
                    self.enter(&entry.shared_name(), u128::from(amount));
                }
                Value::Ranges(_) | Value::Items(_) => {}
            }
        }
    }

    /// Subtracts name by name.
    ///
    /// # Panics
    ///
    /// If more is taken than was added: then the books are wrong.
    pub(super) fn subtract(&mut self, other: &Self) {
        for (name, amount) in &other.0 {
            let at = self.seek(name).expect("what is taken was added");
            let rest = self.0[at].1.checked_sub(*amount);
            self.0[at].1 = rest.expect("no more is taken than was added");
        }
        self.0.retain(|(_, sum)| *sum != 0);
    }

    /// Returns the same as plain quantities; what does not fit becomes [`Milli::MAX`].
    pub(super) fn to_quantities(&self) -> Quantities {
        let fits = |sum: u128| i64::try_from(sum).map_or(Milli::MAX, Milli::from_thousandths);
        let entries: Vec<_> = self
            .0
            .iter()
            .map(|(name, sum)| (name.clone(), fits(*sum)))
            .collect();
        Quantities::try_from(entries).expect("names of resources, in order, once each")
    }

    fn enter(&mut self, name: &Arc<str>, amount: u128) {
        match self.seek(name) {
            // Fewer than 2^64 amounts below 2^63 fit.
            Ok(at) => self.0[at].1 += amount,
            Err(at) => self.0.insert(at, (name.clone(), amount)),
        }
    }

    fn seek(&self, name: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|(known, _)| (**known).cmp(name))
    }
}

impl From<&Resources> for Sums {
    fn from(resources: &Resources) -> Self {
        let mut sums = Self::default();
        sums.add_scalars(resources);
        sums
    }
}

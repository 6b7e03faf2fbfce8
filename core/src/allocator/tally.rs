//! What a leaf has in grants, by name, and bounds on that.
//!
//! Rows count scalars with a column; a bound on offers holds for whatever it names: reserved or
//! not, revocable or not, numbers, ranges and sets. So this counts all of it, exactly, and is kept
//! only if some policy bounds it. Deliberately not here: who has which bound.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;

use smallvec::SmallVec;

use super::kinds::{amount, at_most};
use crate::resources::Resources;

#[cfg(test)]
std::thread_local! {
    /// How often it was asked, on this thread, how much there is of a name.
    pub(super) static ASKED: core::cell::Cell<usize> = const { core::cell::Cell::new(0) };
}

/// Thousandths by name, none of them zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally(BTreeMap<Arc<str>, i128>);

impl Tally {
    /// Returns how much there is of a name.
    pub(super) fn at(&self, name: &str) -> i128 {
        #[cfg(test)]
        ASKED.set(ASKED.get() + 1);
        self.0.get(name).copied().unwrap_or(0)
    }

    pub(super) fn add(&mut self, bag: &Resources) {
        for entry in bag {
            self.change(&entry.shared_name(), amount(entry));
        }
    }

    pub(super) fn subtract(&mut self, bag: &Resources) {
        for entry in bag {
            self.change(&entry.shared_name(), -amount(entry));
        }
    }

    /// Takes off all that another one counts.
    pub(super) fn subtract_all(&mut self, other: &Self) {
        for (name, amount) in &other.0 {
            self.change(name, -amount);
        }
    }

    /// Takes something off a name of which there is as much.
    pub(super) fn spend(&mut self, name: &str, by: i128) {
        if let Some(amount) = self.0.get_mut(name) {
            *amount -= by;
            if *amount == 0 {
                self.0.remove(name);
            }
        }
    }

    /// Leaves no more of any name than there is of it in another.
    pub(super) fn keep_at_most(&mut self, most: &Self) {
        for (name, amount) in &mut self.0 {
            *amount = most.at(name).min(*amount);
        }
        self.0.retain(|_, amount| *amount != 0);
    }

    /// Adds to one name.
    pub(super) fn change(&mut self, name: &Arc<str>, by: i128) {
        let sum = self.at(name) + by;
        if sum == 0 {
            self.0.remove(name);
        } else {
            self.0.insert(Arc::clone(name), sum);
        }
    }
}

/// The most of some names; all others are unbounded.
#[derive(Clone, Debug, Default)]
pub(super) struct Caps<'a>(SmallVec<[(&'a str, i128); 4]>);

impl<'a> Caps<'a> {
    /// Bounds a name, or bounds it more.
    pub(super) fn lower(&mut self, name: &'a str, to: i128) {
        match self.at(name) {
            Some(bound) => *bound = to.min(*bound),
            None => self.0.push((name, to)),
        }
    }

    fn at(&mut self, name: &str) -> Option<&mut i128> {
        let mut bounds = self.0.iter_mut();
        bounds
            .find(|(known, _)| *known == name)
            .map(|(_, bound)| bound)
    }

    /// Visits the bounds, in the order in which the names were bounded first.
    pub(super) fn bounds(&self) -> impl Iterator<Item = i128> + '_ {
        self.0.iter().map(|it| it.1)
    }

    /// Returns whether nothing may be granted any more of one of the names.
    pub(super) fn is_used_up(&self) -> bool {
        self.0.iter().any(|(_, bound)| *bound <= 0)
    }

    /// Returns whether something may be granted as it is.
    pub(super) fn admit(&self, bag: &Resources) -> bool {
        self.0.iter().all(|(name, bound)| {
            let named = bag.iter().filter(|entry| entry.name() == *name);
            named.map(amount).sum::<i128>() <= *bound
        })
    }

    /// Returns what of a bag may be granted: of each name the reserved first, which others can use
    /// less. What cannot be divided and does not fit is left out.
    pub(super) fn cut(mut self, bag: &Resources) -> Resources {
        let mut part = Resources::new();
        for entry in bag.iter().rev() {
            let taken = match self.at(entry.name()) {
                None => Some(entry.clone()),
                Some(bound) => at_most(entry, *bound).inspect(|taken| *bound -= amount(taken)),
            };
            if let Some(taken) = taken {
                part.insert(taken).expect("a part of a bag fits");
            }
        }
        part
    }
}

//! What was granted for a demand and has not come back, by what shapes may take of it.
//!
//! Kept for each agent by `want.rs`. Deliberately not here: the shapes.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::kinds::{amount, is_undividable, one_copy};
use super::tally::Tally;
use crate::resources::{Resource, Resources};

/// Something that was granted, as far as it serves shapes.
#[derive(Clone, Debug, Default)]
pub(super) struct Kept {
    /// What stays, and can be divided.
    lasting: Tally,
    /// What can be taken back, and divided.
    revocable: Tally,
    /// The size of each entry that cannot be divided, the least first.
    undivided: Vec<(Arc<str>, i128)>,
}

impl Kept {
    /// Leaves no more of anything than there is of it in another.
    pub(super) fn keep_at_most(&mut self, mut most: Self) {
        self.lasting.keep_at_most(&most.lasting);
        self.revocable.keep_at_most(&most.revocable);
        self.undivided.retain(|kept| {
            let same = most.undivided.iter().position(|it| it == kept);
            same.map(|at| most.undivided.remove(at)).is_some()
        });
    }

    fn divided(&mut self, entry: &Resource) -> &mut Tally {
        if entry.is_revocable() {
            &mut self.revocable
        } else {
            &mut self.lasting
        }
    }

    pub(super) fn add(&mut self, bag: &Resources) {
        for entry in bag {
            if is_undividable(entry) {
                let whole = (entry.shared_name(), one_copy(entry));
                let at = self.undivided.partition_point(|it| it.1 < whole.1);
                self.undivided.insert(at, whole);
            } else {
                let name = entry.shared_name();
                self.divided(entry).change(&name, amount(entry));
            }
        }
    }

    pub(super) fn subtract(&mut self, bag: &Resources) {
        for entry in bag {
            if is_undividable(entry) {
                let size = one_copy(entry);
                let mut undivided = self.undivided.iter();
                let at = undivided.position(|it| *it.0 == *entry.name() && it.1 == size);
                let _known = at.map(|at| self.undivided.remove(at));
            } else {
                let name = entry.shared_name();
                self.divided(entry).change(&name, -amount(entry));
            }
        }
    }

    /// Returns the places of what cannot be divided and is enough.
    fn enough<'a>(&'a self, name: &'a str, each: i128) -> impl Iterator<Item = usize> + 'a {
        let all = self.undivided.iter().enumerate();
        all.filter(move |(_, it)| *it.0 == *name && it.1 >= each)
            .map(|(at, _)| at)
    }

    /// Returns how many shapes there is enough for, of which each takes so much of a name.
    pub(super) fn times(&self, name: &str, each: i128) -> i128 {
        let divided = [&self.lasting, &self.revocable];
        let divided = divided.map(|it| it.at(name).max(0) / each);
        divided[0] + divided[1] + self.enough(name, each).count() as i128
    }

    /// Takes out what so many shapes take, as an offer does.
    pub(super) fn take(&mut self, name: &str, each: i128, times: i128) {
        let mut left = times;
        for tally in [&mut self.lasting, &mut self.revocable] {
            let times = (tally.at(name).max(0) / each).min(left);
            left -= times;
            tally.spend(name, times * each);
        }
        for _ in 0..left {
            let at = self.enough(name, each).next();
            self.undivided
                .remove(at.expect("as many were counted, or more"));
        }
    }
}

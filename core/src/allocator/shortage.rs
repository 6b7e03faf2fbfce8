//! What is free of an agent that does not add up: more of it is booked than there is, or it has the
//! same port for two.
//!
//! Asked by the ledger as long as that is so. An entry of which too much is booked takes itself out
//! of what is free and nothing else (AL-10): a licence that vanishes under a task says nothing of
//! the cores beside it. Amounts are told apart by identity. A port is one port, for whomever it is
//! reserved, and so is whatever else has a number or a name: it is free once, and only as long as
//! nobody holds it under any identity.
//!
//! Deliberately not here: bookings that fit, which are one subtraction of the ledger's.

use alloc::vec::Vec;

use super::kinds::with_value;
use crate::resources::{Resource, Resources};

/// What is left of a total, and what is lacking.
#[derive(Debug)]
pub(super) struct Shortage {
    pub(super) free: Resources,
    /// Amounts of which more is booked than there is, whole; numbers and names that are booked and
    /// not there, or booked twice, without their identity.
    missing: Vec<Resource>,
    /// Numbers and names that are booked, without their identity.
    booked: Resources,
}

impl Shortage {
    /// Counts nothing that is booked of a total.
    pub(super) fn of(total: &Resources) -> Self {
        Self {
            free: total.clone(),
            missing: Vec::new(),
            booked: Resources::new(),
        }
    }

    /// Counts one more bag that is booked, of the same total.
    pub(super) fn book(&mut self, total: &Resources, bag: &Resources) {
        for entry in bag {
            let one = only(entry);
            if entry.is_scalar() {
                if self.free.subtract(&one).is_err() {
                    self.free = self.free.filter(|other| !is_same_amount(other, entry));
                    self.missing.push(entry.clone());
                }
                continue;
            }
            let bare = bare(entry);
            let absent = one.without_shared(total);
            self.missing.extend(absent.iter().filter_map(unidentified));
            let once = bare.without_shared(&self.booked);
            self.missing
                .extend(bare.without_shared(&once).iter().cloned());
            put(&mut self.booked, &bare);
        }
    }

    /// Takes out of what is free whatever has a number or a name that is booked, or that an earlier
    /// entry has as well.
    pub(super) fn settle(mut self) -> Self {
        let mut seen = self.booked.clone();
        let mut free = Resources::new();
        for entry in &self.free {
            let rest = if entry.is_scalar() {
                Some(entry.clone())
            } else {
                let bare = bare(entry);
                let fresh = bare.without_shared(&seen);
                put(&mut seen, &bare);
                let fresh = fresh.iter().next();
                fresh.and_then(|fresh| with_value(entry, fresh.value().clone()))
            };
            if let Some(rest) = rest {
                free.insert(rest).expect("a part of a bag fits");
            }
        }
        self.free = free;
        self
    }

    /// Returns whether more is booked than there is.
    pub(super) const fn is_any(&self) -> bool {
        !self.missing.is_empty()
    }

    /// Returns whether something of a bag is lacking.
    pub(super) fn concerns(&self, bag: &Resources) -> bool {
        let lacks = |entry: &Resource| {
            let mut named = self
                .missing
                .iter()
                .filter(|it| it.name() == entry.name() && it.is_scalar() == entry.is_scalar());
            if entry.is_scalar() {
                return named.any(|it| is_same_amount(it, entry));
            }
            let bare = bare(entry);
            named.any(|it| bare.overlap(&only(it)).is_some())
        };
        bag.iter().any(lacks)
    }
}

/// Returns whether a total has the same number or name under two identities.
pub(super) fn has_twice(total: &Resources) -> bool {
    let named = || total.iter().filter(|entry| !entry.is_scalar());
    // Usually there is one entry of each name, and then there is nothing to be compared.
    let mut next = named().skip(1);
    if !named().any(|entry| next.next().is_some_and(|it| it.name() == entry.name())) {
        return false;
    }
    let mut seen = Resources::new();
    named().any(|entry| {
        let bare = bare(entry);
        let is_known = seen.overlap(&bare).is_some();
        put(&mut seen, &bare);
        is_known
    })
}

/// Whether two amounts are of the same thing. A disk that is taken as a whole is the same one if
/// its size has changed.
fn is_same_amount(a: &Resource, b: &Resource) -> bool {
    a.is_scalar() && b.is_scalar() && a.name() == b.name() && a.metadata() == b.metadata()
}

fn only(entry: &Resource) -> Resources {
    let mut bag = Resources::new();
    bag.insert(entry.clone()).expect("one entry fits");
    bag
}

/// Returns the numbers or names of an entry, for whomever they are.
fn bare(entry: &Resource) -> Resources {
    unidentified(entry).map_or_else(Resources::new, |bare| only(&bare))
}

fn unidentified(entry: &Resource) -> Option<Resource> {
    Resource::new(entry.name(), entry.value().clone()).ok()
}

fn put(sum: &mut Resources, more: &Resources) {
    sum.add(more).expect("only amounts can overflow");
}

//! Refusals: what a framework does not want to be offered again for a while.
//!
//! The allocator asks for every framework, role and agent whether a refusal blocks what it would
//! offer (OF-33). Deliberately not here: timers and passes. A refusal covers at least one pass
//! (OF-34) if the allocator makes it last at least an interval and calls [`Filters::expire`] after
//! a pass, not before.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::time::Duration;

use crate::limits;
use crate::resources::Resources;
use crate::time::Time;

/// Turns the wish of a framework into how long its refusal lasts (OF-32); `None` is not at all.
///
/// Without a wish it is the default, and a year is the most. A wish that is no duration, negative
/// or NaN, counts as none; that is for whoever reads floats.
pub fn effective_refusal(requested: Option<Duration>) -> Option<Duration> {
    let lasts = requested.unwrap_or(limits::DEFAULT_REFUSE);
    (!lasts.is_zero()).then(|| lasts.min(limits::REFUSE))
}

/// Counts refusals as they come; a smaller one is older.
type Serial = u64;

#[derive(Clone, Debug)]
struct Refusal {
    serial: Serial,
    until: Time,
    refused: Resources,
}

/// All refusals, by a small key: framework, role and agent.
#[derive(Clone, Debug)]
pub struct Filters<K> {
    by_key: BTreeMap<K, Vec<Refusal>>,
    by_age: BTreeMap<Serial, K>,
    by_expiry: BTreeSet<(Time, Serial)>,
    next_serial: Serial,
    most: usize,
}

impl<K: Ord + Copy> Filters<K> {
    /// Makes no filters.
    pub const fn new() -> Self {
        Self::bounded(limits::FILTERS)
    }

    const fn bounded(most: usize) -> Self {
        Self {
            by_key: BTreeMap::new(),
            by_age: BTreeMap::new(),
            by_expiry: BTreeSet::new(),
            next_serial: 0,
            most,
        }
    }

    /// Returns how many refusals are remembered.
    pub fn len(&self) -> usize {
        self.by_age.len()
    }

    /// Returns whether no refusal is remembered.
    pub fn is_empty(&self) -> bool {
        self.by_age.is_empty()
    }

    /// Remembers that `resources` are refused until a moment.
    ///
    /// What another refusal of the key covers in extent and time is not kept beside it. Beyond the
    /// limits, of one key and of all, the oldest is forgotten, which only offers earlier.
    pub fn refuse(&mut self, key: K, resources: Resources, until: Time) {
        let known = self.by_key.entry(key).or_default();
        if known
            .iter()
            .any(|old| old.until >= until && old.refused.contains(&resources))
        {
            return;
        }
        let covered = |old: &Refusal| old.until <= until && resources.contains(&old.refused);
        let mut gone: Vec<_> = known.extract_if(.., |old| covered(old)).collect();
        if known.len() >= limits::FILTERS_PER_KEY {
            gone.push(known.remove(0));
        }
        let serial = self.next_serial;
        self.next_serial += 1;
        known.push(Refusal {
            serial,
            until,
            refused: resources,
        });
        self.by_age.insert(serial, key);
        self.by_expiry.insert((until, serial));
        self.forget(&gone);
        if self.len() > self.most {
            let (_, key) = self
                .by_age
                .first_key_value()
                .expect("there are more than none");
            self.remove_oldest(*key);
        }
    }

    /// Returns whether a refusal blocks an offer of `candidate`: one that lasts and whose bag
    /// contains it (OF-33). A refusal lasts up to and including its last moment.
    pub fn refuses(&self, key: K, candidate: &Resources, now: Time) -> bool {
        let Some(known) = self.by_key.get(&key) else {
            return false;
        };
        known
            .iter()
            .any(|old| now <= old.until && old.refused.contains(candidate))
    }

    /// Forgets what has lasted until `now` or less.
    pub fn expire(&mut self, now: Time) {
        while let Some((until, serial)) = self.by_expiry.first().copied() {
            if until > now {
                return;
            }
            let key = self.by_age[&serial];
            self.remove(key, serial);
        }
    }

    /// Returns when [`Filters::expire`] next has work.
    pub fn next_expiry(&self) -> Option<Time> {
        self.by_expiry.first().map(|(until, _)| *until)
    }

    /// Forgets the refusals of all keys that `matches` accepts (OF-35).
    pub fn clear(&mut self, matches: impl Fn(&K) -> bool) {
        let gone: Vec<Refusal> = self
            .by_key
            .extract_if(.., |key, _| matches(key))
            .flat_map(|(_, known)| known)
            .collect();
        self.forget(&gone);
    }

    fn remove_oldest(&mut self, key: K) {
        let serial = self.by_key[&key][0].serial;
        self.remove(key, serial);
    }

    fn remove(&mut self, key: K, serial: Serial) {
        let known = self
            .by_key
            .get_mut(&key)
            .expect("an index names a refusal that is there");
        let gone: Vec<_> = known.extract_if(.., |old| old.serial == serial).collect();
        assert_eq!(gone.len(), 1, "an index names a refusal that is there");
        if known.is_empty() {
            self.by_key.remove(&key);
        }
        self.forget(&gone);
    }

    /// Takes refusals out of the indexes by age and expiry.
    fn forget(&mut self, gone: &[Refusal]) {
        for old in gone {
            assert!(self.by_age.remove(&old.serial).is_some(), "indexed by age");
            assert!(
                self.by_expiry.remove(&(old.until, old.serial)),
                "indexed by expiry"
            );
        }
    }
}

impl<K: Ord + Copy> Default for Filters<K> {
    fn default() -> Self {
        Self::new()
    }
}

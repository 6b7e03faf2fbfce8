//! Refusals: what a framework does not want to be offered again for a while.
//!
//! The allocator asks for every framework, role and agent whether a refusal blocks what it would
//! offer (OF-33). Deliberately not here: timers and passes. A refusal covers at least one pass
//! (OF-34) if the allocator makes it last at least an interval and calls [`Filters::expire`] after
//! a pass, not before.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::ops::RangeBounds;
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
    /// limits, of one key and of all, the oldest is forgotten, which only offers earlier. Refusing
    /// nothing changes nothing.
    pub fn refuse(&mut self, key: K, resources: Resources, until: Time) {
        if resources.is_empty() {
            return;
        }
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
            let (serial, key) = self.by_age.first_key_value().expect("there are some");
            self.remove(*key, *serial);
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

    /// Returns until when a refusal blocks an offer of `candidate`, of those not yet forgotten.
    pub fn refused_until(&self, key: K, candidate: &Resources) -> Option<Time> {
        let known = self.by_key.get(&key)?.iter();
        let blocks = known.filter(|old| old.refused.contains(candidate));
        blocks.map(|old| old.until).max()
    }

    /// Forgets what has lasted until `now` or less.
    pub fn expire(&mut self, now: Time) {
        while self.pop_expired(now).is_some() {}
    }

    /// Forgets the refusal that expired first, if one has by `now`. Returns when, and whose it was.
    pub fn pop_expired(&mut self, now: Time) -> Option<(Time, K)> {
        let (until, serial) = self.by_expiry.first().copied()?;
        if until > now {
            return None;
        }
        let key = self.by_age[&serial];
        self.remove(key, serial);
        Some((until, key))
    }

    /// Visits the keys that have a refusal, in order.
    pub fn keys(&self) -> impl Iterator<Item = &K> + '_ {
        self.by_key.keys()
    }

    /// Returns when [`Filters::expire`] next has work.
    pub fn next_expiry(&self) -> Option<Time> {
        self.by_expiry.first().map(|(until, _)| *until)
    }

    /// Forgets the refusals of all keys that `matches` accepts (OF-35).
    pub fn clear(&mut self, matches: impl Fn(&K) -> bool) {
        self.clear_within(.., matches);
    }

    /// Forgets the refusals of all keys in a range, at the cost of those alone.
    pub fn clear_range(&mut self, range: impl RangeBounds<K>) {
        self.clear_within(range, |_| true);
    }

    fn clear_within(&mut self, range: impl RangeBounds<K>, matches: impl Fn(&K) -> bool) {
        let gone: Vec<Refusal> = self
            .by_key
            .extract_if(range, |key, _| matches(key))
            .flat_map(|(_, known)| known)
            .collect();
        self.forget(&gone);
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const INTERVAL: Duration = Duration::from_secs(1);

    fn bag(text: &str) -> Resources {
        Resources::parse(text).unwrap()
    }

    const fn seconds(n: u64) -> Time {
        Time::from_micros(n * 1_000_000)
    }

    #[test]
    fn how_long_a_refusal_lasts() {
        // OF-32
        assert_eq!(effective_refusal(None), Some(Duration::from_secs(5)));
        assert_eq!(effective_refusal(Some(Duration::ZERO)), None);
        let half = Duration::from_millis(500);
        assert_eq!(effective_refusal(Some(half)), Some(half));
        let year = Duration::from_secs(365 * 24 * 3600);
        assert_eq!(effective_refusal(Some(year + half)), Some(year));
        assert_eq!(effective_refusal(Some(Duration::MAX)), Some(year));
    }

    #[test]
    fn tv_21_a_filter_blocks_what_it_contains() {
        // TV-21, OF-33
        let mut filters = Filters::new();
        filters.refuse('k', bag("cpus:2"), seconds(9));
        for (candidate, blocked) in [
            ("cpus:1", true),
            ("cpus:2", true),
            ("cpus:3", false),
            ("cpus:1;mem:64", false),
            ("cpus(eng):1", false),
        ] {
            assert_eq!(
                filters.refuses('k', &bag(candidate), seconds(0)),
                blocked,
                "{candidate}"
            );
        }
        assert!(!filters.refuses('l', &bag("cpus:1"), seconds(0)));
    }

    #[test]
    fn tv_22_a_filter_covers_one_pass() {
        // TV-22, OF-34: half a second of refusal, declined at 0, passes each second.
        let mut filters = Filters::new();
        let lasts = effective_refusal(Some(INTERVAL / 2)).unwrap().max(INTERVAL);
        filters.refuse('k', bag("cpus:1"), seconds(0) + lasts);
        let mut blocked = Vec::new();
        for now in 1..=2 {
            blocked.push(filters.refuses('k', &bag("cpus:1"), seconds(now)));
            filters.expire(seconds(now));
        }
        assert_eq!(blocked, [true, false]);
        assert!(filters.is_empty());
    }

    #[test]
    fn expiry_is_announced_and_makes_progress() {
        let mut filters = Filters::new();
        filters.refuse('a', bag("cpus:1"), seconds(2));
        filters.refuse('b', bag("cpus:1"), seconds(1));
        assert_eq!(filters.next_expiry(), Some(seconds(1)));
        filters.expire(seconds(1));
        assert_eq!(filters.next_expiry(), Some(seconds(2)));
        assert!(filters.refuses('a', &bag("cpus:1"), seconds(2)));
        assert!(!filters.refuses('a', &bag("cpus:1"), Time::from_micros(2_000_001)));
        filters.expire(seconds(2));
        assert_eq!(filters.next_expiry(), None);
    }

    #[test]
    fn clearing_is_by_key() {
        // OF-35
        let mut filters = Filters::new();
        for key in [(1, 'a'), (1, 'b'), (2, 'a')] {
            filters.refuse(key, bag("cpus:1"), seconds(5));
        }
        filters.clear(|(framework, _)| *framework == 1);
        assert!(!filters.refuses((1, 'a'), &bag("cpus:1"), seconds(0)));
        assert!(filters.refuses((2, 'a'), &bag("cpus:1"), seconds(0)));
        assert_eq!(filters.len(), 1);
    }

    #[test]
    fn the_oldest_goes_beyond_the_bounds() {
        let mut filters = Filters::bounded(2);
        for key in ['a', 'b', 'c'] {
            filters.refuse(key, bag("cpus:1"), seconds(5));
        }
        let blocked =
            |filters: &Filters<char>, key| filters.refuses(key, &bag("cpus:1"), seconds(0));
        assert_eq!(
            ['a', 'b', 'c'].map(|key| blocked(&filters, key)),
            [false, true, true]
        );

        let mut filters = Filters::new();
        let port = |n: usize| bag(&alloc::format!("ports:[{n}-{n}]"));
        for n in 0..=limits::FILTERS_PER_KEY {
            filters.refuse('k', port(n), seconds(5));
        }
        assert_eq!(filters.len(), limits::FILTERS_PER_KEY);
        assert!(!filters.refuses('k', &port(0), seconds(0)));
        assert!(filters.refuses('k', &port(1), seconds(0)));
        assert!(filters.refuses('k', &port(limits::FILTERS_PER_KEY), seconds(0)));
    }

    #[test]
    fn what_is_covered_is_kept_once() {
        let mut filters = Filters::new();
        for _ in 0..10 {
            filters.refuse('k', bag("cpus:1"), seconds(5));
        }
        filters.refuse('k', bag("cpus:2"), seconds(5));
        filters.refuse('k', Resources::new(), seconds(9));
        assert_eq!(filters.len(), 1);
        filters.refuse('k', bag("cpus:1"), seconds(6));
        assert_eq!(filters.len(), 2);
    }

    proptest! {
        #[test]
        fn agrees_with_a_list(
            script in prop::collection::vec((0u8..8, 0u8..3, 0i64..4, 0i64..4, 0u64..6), 0..60),
        ) {
            let mut filters = Filters::new();
            let mut model: Vec<(u8, i64, i64, Time)> = Vec::new();
            let mut now = 0;
            for (step, key, cpus, mem, after) in script {
                let thousandths = crate::resources::Milli::from_thousandths;
                let bag = Resources::cpus_mem(thousandths(cpus), thousandths(mem));
                match step {
                    0..=3 => {
                        filters.refuse(key, bag, seconds(now + after));
                        if cpus + mem > 0 {
                            model.push((key, cpus, mem, seconds(now + after)));
                        }
                    }
                    4 => {
                        filters.clear(|k| *k == key);
                        model.retain(|m| m.0 != key);
                    }
                    5 => {
                        now += after;
                        filters.expire(seconds(now));
                        model.retain(|m| m.3 > seconds(now));
                        prop_assert!(filters.next_expiry().is_none_or(|at| at > seconds(now)));
                    }
                    _ => {
                        let ask = seconds(now + after);
                        let expected = model.iter().any(|m| {
                            m.0 == key && m.1 >= cpus && m.2 >= mem && ask <= m.3
                        });
                        prop_assert_eq!(filters.refuses(key, &bag, ask), expected);
                    }
                }
                prop_assert!(filters.len() <= model.len());
                prop_assert_eq!(filters.is_empty(), model.is_empty());
                // What is covered ends no later, so the last moment is never lost.
                let last = filters.by_expiry.last().map(|(until, _)| *until);
                prop_assert_eq!(last, model.iter().map(|m| m.3).max());
            }
        }
    }
}

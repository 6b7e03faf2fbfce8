//! The timers of one machine: an ordered set of (moment, what).
//!
//! The entity that waits stores its own deadline, so cancelling needs no handle: give the pair
//! back. Keys that carry a generation make a timer of a dead entity harmless.

use alloc::collections::BTreeSet;

use crate::time::Time;

/// What is due when. Ties fire in the order of `K`.
#[derive(Clone, Debug)]
pub struct Timers<K> {
    due: BTreeSet<(Time, K)>,
}

impl<K: Ord + Copy> Default for Timers<K> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Ord + Copy> Timers<K> {
    /// Makes an empty set.
    pub const fn new() -> Self {
        Self {
            due: BTreeSet::new(),
        }
    }

    /// Arms `key` for `at`. The same key may be armed for several moments.
    pub fn arm(&mut self, at: Time, key: K) {
        self.due.insert((at, key));
    }

    /// Disarms `key` at `at`; returns whether it was armed.
    pub fn disarm(&mut self, at: Time, key: K) -> bool {
        self.due.remove(&(at, key))
    }

    /// Takes the earliest timer that is due by `now`.
    pub fn pop_due(&mut self, now: Time) -> Option<(Time, K)> {
        let (at, _) = self.due.first()?;
        if *at > now {
            return None;
        }
        self.due.pop_first()
    }

    /// Returns when the earliest timer is due.
    pub fn next(&self) -> Option<Time> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Returns how many timers are armed.
    pub fn len(&self) -> usize {
        self.due.len()
    }

    /// Returns whether no timer is armed.
    pub fn is_empty(&self) -> bool {
        self.due.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn agrees_with_a_sorted_list(
            script in prop::collection::vec((0u8..3, 0u64..20, 0u8..4), 0..100),
        ) {
            let mut timers = Timers::new();
            let mut model: Vec<(u64, u8)> = Vec::new();
            for (step, at, key) in script {
                match step {
                    0 => {
                        timers.arm(Time::from_micros(at), key);
                        if !model.contains(&(at, key)) { model.push((at, key)); }
                    }
                    1 => {
                        let had = model.iter().position(|m| *m == (at, key));
                        if let Some(i) = had { model.remove(i); }
                        prop_assert_eq!(timers.disarm(Time::from_micros(at), key), had.is_some());
                    }
                    _ => {
                        model.sort_unstable();
                        let due = model.first().copied().filter(|(t, _)| *t <= at);
                        if due.is_some() { model.remove(0); }
                        let expected = due.map(|(t, k)| (Time::from_micros(t), k));
                        prop_assert_eq!(timers.pop_due(Time::from_micros(at)), expected);
                    }
                }
                prop_assert_eq!(timers.len(), model.len());
                prop_assert_eq!(timers.is_empty(), model.is_empty());
                let earliest = model.iter().map(|m| m.0).min();
                prop_assert_eq!(timers.next().map(Time::as_micros), earliest);
            }
        }
    }
}

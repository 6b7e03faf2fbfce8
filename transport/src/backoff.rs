//! Waiting before something is tried again: longer each time, up to a bound, and jittered, so that
//! thousands do not come back in step.
//!
//! Used by those who dial and those who read. Deliberately not here: when to give up.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use tepui_core::rng::Rng;

/// The waits between attempts.
#[derive(Debug)]
pub(crate) struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
    rng: Rng,
}

impl Backoff {
    pub(crate) fn new(first: Duration, longest: Duration) -> Self {
        Self {
            first,
            longest,
            next: first,
            rng: Rng::new(RandomState::new().hash_one(0)),
        }
    }

    /// Begins anew after success.
    pub(crate) fn reset(&mut self) {
        self.next = self.first;
    }

    /// Returns whether nothing was waited for since the beginning.
    pub(crate) fn is_fresh(&self) -> bool {
        self.next == self.first
    }

    /// Returns how long to wait this time: half of it is left to chance.
    pub(crate) fn next(&mut self) -> Duration {
        let half = self.next / 2;
        self.next = (self.next * 2).min(self.longest);
        half + self.rng.jitter(half)
    }

    /// Waits.
    pub(crate) async fn wait(&mut self) {
        tokio::time::sleep(self.next()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_a_bound_and_begin_anew() {
        let (first, longest) = (Duration::from_millis(50), Duration::from_secs(5));
        let mut backoff = Backoff::new(first, longest);
        assert!(backoff.is_fresh());
        let mut most = first;
        for _ in 0..20 {
            let wait = backoff.next();
            assert!(most / 2 <= wait && wait <= most, "{wait:?} of {most:?}");
            most = (most * 2).min(longest);
        }
        assert!(!backoff.is_fresh());
        backoff.reset();
        assert!(backoff.is_fresh() && backoff.next() <= first);
    }
}

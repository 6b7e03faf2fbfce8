//! The pace of a transfer.

use std::time::{Duration, Instant};

/// Whether at least one byte a second comes, over stretches of the stall's length (AG-53).
#[derive(Debug)]
pub(crate) struct Pace {
    stall: Duration,
    since: Instant,
    bytes: u64,
}

impl Pace {
    pub(crate) fn new(stall: Duration) -> Self {
        let since = Instant::now();
        Self {
            stall,
            since,
            bytes: 0,
        }
    }

    pub(crate) fn is_stalled(&mut self, now: Instant, bytes: u64) -> bool {
        self.bytes += bytes;
        let elapsed = now.saturating_duration_since(self.since);
        if elapsed < self.stall {
            return false;
        }
        let is_stalled = u128::from(self.bytes) * 1_000 < elapsed.as_millis();
        (self.since, self.bytes) = (now, 0);
        is_stalled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_every_two_seconds_is_a_stall_and_one_a_second_is_none() {
        // AG-53
        let mut pace = Pace::new(Duration::from_secs(60));
        let start = pace.since;
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut slow = (1..=30).map(|i| pace.is_stalled(at(2 * i), 1));
        assert_eq!(slow.position(|stalled| stalled), Some(29));
        let mut pace = Pace::new(Duration::from_secs(60));
        let start = pace.since;
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(!(1..=600).any(|i| pace.is_stalled(at(i), 1)));
    }
}

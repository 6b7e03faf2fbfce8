//! The clock of a driver: the wall clock once, monotonic time from then on.
//!
//! Deliberately not here: following the wall clock. When it is set while a node runs, the node
//! learns of it at its next start.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tepui_core::time::Time;

/// Tells a time that never decreases, not even over restarts.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    anchor: Time,
    started: Instant,
}

impl Clock {
    /// Starts at the wall clock's time, or at `last` if that is later: what was recorded before a
    /// restart stays in the past though the wall clock was set back meanwhile.
    pub fn start_after(last: Time) -> Self {
        Self::anchored(SystemTime::now(), last)
    }

    fn anchored(wall: SystemTime, last: Time) -> Self {
        // A wall clock before 1970 tells nothing; zero is then as good.
        let since_epoch = wall.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Self {
            anchor: (Time::ZERO + since_epoch).max(last),
            started: Instant::now(),
        }
    }

    /// Returns the time.
    pub fn now(&self) -> Time {
        self.anchor + self.started.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_starts_at_the_later_of_wall_clock_and_record() {
        let wall = UNIX_EPOCH + Duration::from_secs(100);
        let recorded = Time::from_micros(200_000_000);
        assert!(Clock::anchored(wall, recorded).now() >= recorded);
        let fresh = Clock::anchored(wall, Time::ZERO).now();
        assert!(fresh >= Time::from_micros(100_000_000) && fresh < recorded);
        let before_1970 = UNIX_EPOCH - Duration::from_secs(1);
        assert!(Clock::anchored(before_1970, Time::ZERO).now() < Time::from_micros(60_000_000));
    }

    #[test]
    fn it_never_decreases() {
        let clock = Clock::start_after(Time::ZERO);
        let mut last = Time::ZERO;
        for _ in 0..10_000 {
            let now = clock.now();
            assert!(now >= last);
            last = now;
        }
    }
}

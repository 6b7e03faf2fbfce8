//! What time a node believes it is.
//!
//! As with the driver's clock: the wall clock once, when a life begins, or the last recorded moment
//! if that is later; from then on time goes by, at a rate of its own. So a wall clock that was set
//! shows with the next life: forwards at once, backwards as a time that begins where it had been.
//! Deliberately not here: the simulator's own time, which nobody can set.

use core::time::Duration;

use super::chance::{Purpose, stream};
use super::options::Options;
use super::queue::Name;
use crate::time::Time;

const MILLION: u128 = 1_000_000;
/// A clock that is slower by much more hardly goes at all.
const MOST_DRIFT: u32 = 500_000;

/// The clock of one life.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    begun: Time,
    shown: Time,
    /// How many microseconds it shows in a second.
    rate: u128,
}

/// How a wall clock differs from the simulator's time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Skew {
    pub(super) ahead: Duration,
    pub(super) behind: Duration,
    /// By how many microseconds in a second it is too fast, or too slow if negative.
    pub(super) drift: i32,
}

impl Skew {
    /// Draws how fast the clock of a node is.
    pub(super) fn drawn(options: &Options, name: Name) -> Self {
        let most = options.drift.min(MOST_DRIFT);
        let mut rng = stream(options.seed, Purpose::Clock, name);
        let drawn = rng.below(u64::from(most) * 2 + 1);
        let signed = |amount| i32::try_from(amount).expect("the most drift is far below");
        Self {
            drift: signed(drawn) - signed(u64::from(most)),
            ..Self::default()
        }
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::start(Time::ZERO, Skew::default(), Time::ZERO)
    }
}

impl Clock {
    /// Begins at `now`, and not before `last`.
    pub(super) fn start(now: Time, skew: Skew, last: Time) -> Self {
        let behind = u64::try_from(skew.behind.as_micros()).unwrap_or(u64::MAX);
        let wall = (now + skew.ahead).as_micros().saturating_sub(behind);
        let rate = MILLION.saturating_add_signed(skew.drift.into());
        Self {
            begun: now,
            shown: Time::from_micros(wall).max(last),
            rate: rate.max(1),
        }
    }

    /// Returns what it shows.
    pub(super) fn show(self, now: Time) -> Time {
        let passed = now.since(self.begun).as_micros() * self.rate / MILLION;
        self.shown + Duration::from_micros(u64::try_from(passed).unwrap_or(u64::MAX))
    }

    /// Returns when it shows this, or later.
    pub(super) fn when(self, shown: Time) -> Time {
        if shown == Time::MAX {
            return shown;
        }
        let left = (shown.since(self.shown).as_micros() * MILLION).div_ceil(self.rate);
        self.begun + Duration::from_micros(u64::try_from(left).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn at(seconds: u64) -> Time {
        Time::ZERO + Duration::from_secs(seconds)
    }

    // C1, HA-20
    #[test]
    fn a_life_never_begins_before_the_last_and_deadlines_are_met() {
        let ahead = Skew {
            ahead: HOUR,
            ..Skew::default()
        };
        let behind = Skew {
            behind: HOUR,
            ..Skew::default()
        };
        let fast = Clock::start(at(100), ahead, at(90));
        assert_eq!(fast.show(at(100)), at(3_700));
        let slow = Clock::start(at(200), behind, at(3_750));
        assert_eq!(slow.show(at(200)), at(3_750));
        assert_eq!(Clock::start(at(10), behind, at(0)).show(at(11)), at(1));
        for drift in [-50_000, 0, 50_000, 1] {
            let skew = Skew {
                drift,
                ..Skew::default()
            };
            let clock = Clock::start(at(7), skew, at(9));
            for micros in [1, 999, 1_000_001, 77_777_777] {
                let deadline = at(9) + Duration::from_micros(micros);
                let when = clock.when(deadline);
                assert!(clock.show(when) >= deadline, "{drift} {micros}");
                let before = Time::from_micros(when.as_micros() - 2);
                assert!(clock.show(before) < deadline, "{drift} {micros}");
            }
            assert_eq!(clock.when(Time::MAX), Time::MAX);
        }
    }
}

//! The one notion of time: microseconds since the Unix epoch, as told by the driver.
//!
//! A driver anchors the wall clock once and adds monotonic time, so this never goes back. Clocks
//! are deliberately not here: a machine cannot ask what time it is.

use core::fmt;
use core::ops::Add;
use core::time::Duration;

use serde::{Deserialize, Serialize};

/// A moment, in microseconds since the Unix epoch.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Time(u64);

impl Time {
    /// The Unix epoch; also where virtual time starts.
    pub const ZERO: Self = Self(0);
    /// The last moment that can be expressed.
    pub const MAX: Self = Self(u64::MAX);

    /// Makes a moment from microseconds since the Unix epoch.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Returns the microseconds since the Unix epoch.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Returns how long after `earlier` this is, or zero if it is not after it.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Time {
    type Output = Self;

    /// Saturates at [`Time::MAX`]: a deadline beyond it never comes.
    fn add(self, later: Duration) -> Self {
        let micros = u64::try_from(later.as_micros()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(micros))
    }
}

impl fmt::Display for Time {
    /// Seconds with six decimals.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn arithmetic_saturates() {
        let t = Time::from_micros(1_500_000);
        assert_eq!(t + Duration::from_millis(1), Time::from_micros(1_501_000));
        assert_eq!(t + Duration::MAX, Time::MAX);
        assert_eq!(t.since(Time::ZERO), Duration::from_micros(1_500_000));
        assert_eq!(Time::ZERO.since(t), Duration::ZERO);
        assert_eq!(t.to_string(), "1.500000");
    }
}

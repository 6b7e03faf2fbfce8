//! Moments and durations as they are listed.
//!
//! Deliberately not here: durations that are read from flags (see `values`).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tepui_core::time::Time;

/// Beyond the year 9999 there is no RFC 3339, but a peer's clock can say anything.
const LAST_SECOND: u64 = 253_402_300_799;

/// Returns a moment as RFC 3339 in UTC.
pub(super) fn rfc3339(time: Time) -> String {
    let micros = time.as_micros().min(LAST_SECOND * 1_000_000);
    let moment = UNIX_EPOCH + Duration::from_micros(micros);
    humantime::format_rfc3339_micros(moment).to_string()
}

/// Returns a moment of the system's clock as RFC 3339 in UTC, to the second.
pub(super) fn rfc3339_of(moment: SystemTime) -> String {
    let since = moment.duration_since(UNIX_EPOCH).unwrap_or_default();
    let moment = UNIX_EPOCH + Duration::from_secs(since.as_secs().min(LAST_SECOND));
    humantime::format_rfc3339_seconds(moment).to_string()
}

pub(super) fn age(since: Time, now: SystemTime) -> String {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    short(now.saturating_sub(Duration::from_micros(since.as_micros())))
}

/// Returns a duration with its largest unit only.
pub(super) fn short(duration: Duration) -> String {
    match duration.as_secs() {
        seconds @ 0..120 => format!("{seconds}s"),
        seconds @ 120..7200 => format!("{}m", seconds / 60),
        seconds @ 7200..172_800 => format!("{}h", seconds / 3600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_that_are_far_off_do_no_harm() {
        assert_eq!(rfc3339(Time::MAX), "9999-12-31T23:59:59.000000Z");
        assert_eq!(age(Time::MAX, UNIX_EPOCH), "0s");
    }
}

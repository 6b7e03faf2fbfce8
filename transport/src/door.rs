//! Who stands at a node's door: how many handshakes one address may have under way, and how often
//! the log says that somebody was refused.
//!
//! Used by the QUIC endpoint. Deliberately not here: why anybody is refused.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// How many handshakes one address may have under way. Many agents may share one behind a NAT.
const HANDSHAKES_PER_ADDRESS: usize = 1_024;
/// How often a refusal is told of to people; the others are for those who debug.
const BETWEEN_WARNINGS: Duration = Duration::from_secs(1);

/// The handshakes under way, by where they come from.
#[derive(Debug, Default)]
pub(crate) struct Origins {
    now: Mutex<HashMap<IpAddr, usize>>,
}

/// One handshake's place among those of its address, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    origins: Arc<Origins>,
    from: IpAddr,
}

impl Origins {
    /// Takes a place, if the address has one left.
    pub(crate) fn enter(self: &Arc<Self>, from: IpAddr) -> Option<Place> {
        let mut now = self.now.lock();
        let taken = now.entry(from).or_default();
        if *taken >= HANDSHAKES_PER_ADDRESS {
            return None;
        }
        *taken += 1;
        Some(Place {
            origins: Arc::clone(self),
            from,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut now = self.origins.now.lock();
        match now.get_mut(&self.from) {
            Some(taken) if *taken > 1 => *taken -= 1,
            Some(_) | None => drop(now.remove(&self.from)),
        }
    }
}

/// The refusals that the log tells of.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    told: Mutex<Told>,
}

#[derive(Debug, Default)]
struct Told {
    last: Option<Instant>,
    unsaid: u64,
}

impl Refusals {
    /// Counts a refusal; says whether to warn of it, and how many were passed over before.
    pub(crate) fn say_so(&self, now: Instant) -> Option<u64> {
        let mut told = self.told.lock();
        let recently = |last| now.saturating_duration_since(last) < BETWEEN_WARNINGS;
        if told.last.is_some_and(recently) {
            told.unsaid += 1;
            return None;
        }
        told.last = Some(now);
        Some(std::mem::take(&mut told.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_does_not_take_all_places() {
        let origins = Arc::new(Origins::default());
        let (here, there) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2]));
        let mut places = Vec::new();
        while let Some(place) = origins.enter(here) {
            places.push(place);
        }
        assert_eq!(places.len(), HANDSHAKES_PER_ADDRESS);
        assert!(origins.enter(there).is_some());
        places.pop();
        places.extend(origins.enter(here));
        assert_eq!(places.len(), HANDSHAKES_PER_ADDRESS);
        drop(places);
        assert!(origins.now.lock().is_empty());
    }

    #[test]
    fn a_crowd_of_refusals_is_one_warning_a_second() {
        let refusals = Refusals::default();
        let begun = Instant::now();
        assert_eq!(refusals.say_so(begun), Some(0));
        for _ in 0..1_000 {
            assert_eq!(refusals.say_so(begun + BETWEEN_WARNINGS / 2), None);
        }
        assert_eq!(refusals.say_so(begun + BETWEEN_WARNINGS), Some(1_000));
        assert_eq!(refusals.say_so(begun + 3 * BETWEEN_WARNINGS), Some(0));
    }
}

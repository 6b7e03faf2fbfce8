//! What of a cluster stands at an end of what it can be: dials, and what else is drawn.
//!
//! So that a swarm can say which extremes it has met. Deliberately not here: what is drawn
//! ([`super::options`], [`super::dials`]).

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::num::NonZero;
use core::time::Duration;

use super::dials::Dials;
use super::options::Options;

const fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Something else of a cluster that can be extreme.
type Point = (&'static str, fn(&Options) -> bool);

/// What is drawn with a cluster, and stands at an end of what is drawn. These are the ends: a
/// change of `Options::drawn` that takes one away is found by the test below.
const POINTS: &[Point] = &[
    ("agents=1", |o| o.agents == 1),
    ("agents=5", |o| o.agents == 5),
    ("sync=512", |o| o.sync.ends().1 == millis(512)),
    ("delay=0", |o| o.delay.ends().1 == millis(1)),
    ("delay=256", |o| o.delay.ends().1 == millis(256)),
    ("start=4096", |o| o.start.ends().1 == millis(4_096)),
    ("run=1", |o| o.run.ends().1 == millis(1_000)),
    ("run=128", |o| o.run.ends().1 == millis(128_000)),
    ("redial=6400", |o| o.redial.ends().1 == millis(6_400)),
    ("think=32000", |o| o.think.ends().1 == millis(32_000)),
    ("ping=500", |o| o.ping_interval == millis(500)),
    ("missed_pings=2", |o| o.max_missed_pings == 2),
    ("reregister=1", |o| {
        o.agent_reregister_timeout == millis(1_000)
    }),
    ("failover=0", |o| o.failover_timeout.is_zero()),
    ("registration=2", |o| {
        o.executor_registration_timeout == millis(2_000)
    }),
    ("lease=5", |o| o.allocator.lease() == Some(millis(5_000))),
    ("inverse=1", |o| {
        o.inverse_offer_timeout == Some(millis(1_000))
    }),
    ("patience=10", |o| o.demand.patience == millis(10_000)),
    ("executor=1", |o| {
        let executor = o.demand.executor.as_ref();
        executor.is_some_and(|it| it.tasks == NonZero::<u64>::MIN)
    }),
    ("events=1", |o| o.events_kept == 1),
    ("lasting=128", |o| {
        o.faults.lasting.ends().1 == millis(128_000)
    }),
    ("faults=1", |o| {
        let every = o.faults.every;
        every.is_some_and(|every| every.ends().0 == millis(1_000))
    }),
];

impl Options {
    /// Lists what stands at an end of what it can be, by name and value.
    pub fn extremes(&self) -> Vec<String> {
        let dials = self.dials.at_ends().map(named);
        let points = POINTS.iter().filter(|(_, is_at)| is_at(self));
        dials
            .chain(points.map(|(name, _)| name.to_string()))
            .collect()
    }

    /// Lists all that [`Self::extremes`] can name.
    pub fn all_extremes() -> Vec<String> {
        let dials = Dials::all_ends().map(named);
        let points = POINTS.iter().map(|(name, _)| name.to_string());
        dials.chain(points).collect()
    }
}

fn named((name, value): (&str, u64)) -> String {
    format!("{name}={value}")
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;

    use super::*;

    /// How many seeds a swarm has.
    const SEEDS: u64 = 2_000;

    // The faults of `reliability.md`: forty points, each hit.
    #[test]
    fn each_extreme_is_drawn_within_a_swarm() {
        let all: BTreeSet<String> = Options::all_extremes().into_iter().collect();
        assert!(all.len() >= 40, "{} points", all.len());
        let drawn = (1..=SEEDS).flat_map(|seed| Options::drawn(seed).extremes());
        let hit: BTreeSet<String> = drawn.collect();
        let missed: Vec<&String> = all.difference(&hit).collect();
        assert!(missed.is_empty(), "never drawn: {missed:?}");
        assert!(hit.is_subset(&all));
        // The others are there too, so that not every cluster is an odd one.
        let plain = (1..=SEEDS).filter(|seed| Dials::drawn(*seed, false) == Dials::default());
        assert!(plain.count() as u64 > SEEDS / 3);
    }
}

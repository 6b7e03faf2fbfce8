//! How the machines of a cluster are set up where that is left at the usual elsewhere: one number
//! each, which chance may put at an end of what it can be.
//!
//! A dial at its end is where bugs are that nobody meets with usual numbers: a rate of one, a table
//! with a single place, a time of nothing (FoundationDB calls it buggify). In about half of all
//! clusters some dials are turned, each by itself, most of them to an end.
//!
//! Deliberately not here: what is drawn beside them ([`super::options`]), what goes wrong, and what
//! else can be extreme ([`super::extremes`]).

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use super::chance::{Purpose, stream};
use super::queue::Name;
use crate::allocator::Allocator;
use crate::allocator::drf::{self, Packing, SorterKind};
use crate::limits::Bounds;
use crate::master::{CallRate, CallRates, Config, Rate};
use crate::protocol::node::Domain;
use crate::resources::{Milli, Quantities};
use crate::rng::Rng;
use crate::roles::Role;
use crate::{agent, executor, scheduler};

/// One cluster in so many has its dials turned.
const TURNED_ONE_IN: u64 = 2;
/// One dial in so many of these is.
const DIAL_ONE_IN: u64 = 5;
/// Up to so many frameworks are heard at a rate of their own.
const PRINCIPALS: u32 = 64;

/// One number that can be turned.
struct Dial {
    name: &'static str,
    usual: u64,
    least: u64,
    most: u64,
    get: fn(&Dials) -> u64,
    set: fn(&mut Dials) -> &mut u64,
}

/// Declares the dials: what each is, what is usual, and its ends.
macro_rules! dials {
    ($($(#[doc = $text:literal])+ $name:ident: $usual:expr, $least:literal..=$most:literal;)+) => {
        /// Settings of the machines; times are in milliseconds.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct Dials {
            $($(#[doc = $text])+ pub $name: u64,)+
        }

        impl Default for Dials {
            /// All as is usual.
            fn default() -> Self {
                Self { $($name: $usual,)+ }
            }
        }

        const ALL: &[Dial] = &[$(Dial {
            name: stringify!($name),
            usual: $usual,
            least: $least,
            most: $most,
            get: |dials| dials.$name,
            set: |dials| &mut dials.$name,
        },)+];
    };
}

dials! {
    /// How often frameworks hear a heartbeat.
    heartbeat: 15_000, 2_000..=30_000;
    /// The time between two agents that become unreachable; zero is none.
    unreachable_every: 0, 0..=20_000;
    /// The time between two agents that are removed; zero is none.
    removal_every: 0, 0..=20_000;
    /// How many agents may fail to come back to a new master, in percent. Somebody sees to it that
    /// those that are left are enough when nothing goes wrong any more.
    recovery_removal_percent: 100, 1..=100;
    /// How many frameworks there may be; somebody makes room when nothing goes wrong any more.
    max_frameworks: 10_000, 1..=10_000;
    /// The time between two calls of a framework; zero is none.
    call_every: 0, 0..=50;
    /// How many of its calls may wait.
    calls_waiting: 1_000, 10..=1_000;
    /// Where machines stand: 0 is not said, 1 is in zones of one region, 2 is in two regions, of
    /// which the built-in frameworks can cope with both.
    regions: 0, 0..=2;
    /// Whether agents must say where they stand, where anybody says it.
    requires_domain: 0, 0..=1;

    /// How often it is looked who may have what is free.
    allocation_interval: 1_000, 20..=5_000;
    /// How many agents are looked at before others have their turn.
    agents_per_slice: 1_024, 1..=1_024;
    /// Which part of the agents is waited for where there is quota, in thousandths.
    recovery_part: 800, 0..=1_000;
    /// And for how long.
    recovery_patience: 600_000, 1..=600_000;
    /// Whether roles come by lot.
    roles_by_lot: 0, 0..=1;
    /// Which agents are offered first: 0 is any, 1 the one with most left, 2 that with least.
    packing: 0, 0..=2;
    /// How many cores one framework may be offered at a time; zero is any number.
    most_offered: 0, 0..=4;

    /// How long an agent waits before it registers.
    registration_backoff: 1_000, 0..=10_000;
    /// How long an agent waits before it says an update again.
    update_retry: 10_000, 100..=60_000;
    /// The most that it waits.
    update_retry_max: 600_000, 1_000..=600_000;
    /// How long a program has that is to end.
    kill_grace: 3_000, 0..=20_000;
    /// How long an executor may take to come back to an agent that does.
    executor_reregistration: 2_000, 50..=20_000;
    /// How long an executor has that is to end.
    executor_shutdown_grace: 5_000, 100..=20_000;
    /// Whether limits of executors grow with their tasks.
    resizes: 1, 0..=1;
    /// How long sandboxes are kept.
    gc_delay: 604_800_000, 0..=604_800_000;
    /// How much of the disk is to stay free, in thousandths.
    gc_headroom: 100, 0..=1_000;

    /// How long a scheduler waits before it subscribes again.
    subscribe_backoff: 500, 0..=10_000;
    /// How many heartbeats it may miss.
    missed_heartbeats: 5, 3..=10;

    /// How long an executor goes on without its agent.
    executor_recovery: 900_000, 1_000..=900_000;
    /// How long it waits before it says an update again.
    executor_update_retry: 10_000, 100..=60_000;
    /// The most that it waits.
    executor_update_retry_max: 600_000, 1_000..=600_000;
    /// How long its tasks have when it is to end.
    executor_own_grace: 2_000, 0..=2_000;

    /// How many tasks a framework may have.
    tasks_per_framework: 200_000, 3..=200_000;
    /// How many ended tasks of one a master remembers, if nobody uses their ids again.
    completed_tasks: 1_000, 1..=1_000;
    /// How many ended frameworks are remembered.
    completed_frameworks: 50, 1..=50;
    /// Of how many executors of a framework an agent remembers ended tasks.
    completed_executors: 150, 1..=150;
    /// How many ended tasks of an executor.
    completed_of_executor: 200, 1..=200;
    /// How many refusals are said until they are confirmed.
    verdicts: 10_000, 0..=10_000;
    /// How many kills of a framework wait for agents.
    kills: 4_000, 1..=4_000;
    /// How many of its questions.
    asks: 4_000, 1..=4_000;
    /// How many operations it may have named.
    operations: 10_000, 1..=10_000;
    /// How many pairs of a framework and an agent in maintenance a master remembers.
    inverse_offers: 1_000_000, 0..=1_000_000;
    /// How many sandboxes are deleted at a time.
    deletions: 1_024, 1..=1_024;
    /// How many updates a scheduler remembers to have told.
    unconfirmed_updates: 100_000, 0..=100_000;
}

/// Makes an allocator from a seed and what is turned.
pub(super) type MakeAllocator = dyn Fn(u64, &Dials) -> Box<dyn Allocator> + Send + Sync;

const fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn every(n: u64) -> Option<Rate> {
    (n > 0).then(|| Rate {
        agents: 1,
        per: millis(n),
    })
}

impl Dials {
    /// Draws which are turned, and how far, from a stream of their own. Who uses ids of tasks again
    /// would find out which are forgotten.
    pub(super) fn drawn(seed: u64, ids_come_again: bool) -> Self {
        let mut rng = stream(seed, Purpose::Dials, Name::Master);
        let mut dials = Self::default();
        let is_turned = rng.chance(1, TURNED_ONE_IN);
        for dial in ALL {
            // Each draws as often whatever comes of it, so that one more moves no other.
            let mut rng = rng.fork();
            if is_turned && rng.chance(1, DIAL_ONE_IN) {
                *(dial.set)(&mut dials) = dial.turn(&mut rng);
            }
        }
        if ids_come_again {
            dials.put_back("completed_tasks");
        }
        dials
    }

    /// Visits those that are not as is usual.
    pub(super) fn turned(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let turned = ALL.iter().map(|dial| (dial, (dial.get)(self)));
        let turned = turned.filter(|(dial, value)| *value != dial.usual);
        turned.map(|(dial, value)| (dial.name, value))
    }

    /// Returns whether there is one of that name.
    pub(super) fn has(name: &str) -> bool {
        ALL.iter().any(|dial| dial.name == name)
    }

    /// Turns one, if there is one of that name.
    pub(super) fn turn(&mut self, name: &str, value: u64) -> Result<(), String> {
        let dial = ALL.iter().find(|dial| dial.name == name);
        let dial = dial.ok_or("expected a known key")?;
        if !(dial.least..=dial.most).contains(&value) {
            return Err(format!("expected {} to {}", dial.least, dial.most));
        }
        *(dial.set)(self) = value;
        Ok(())
    }

    /// Puts one back to what is usual.
    pub(super) fn put_back(&mut self, name: &str) {
        if let Some(dial) = ALL.iter().find(|dial| dial.name == name) {
            *(dial.set)(self) = dial.usual;
        }
    }

    /// Puts those back that nobody can wait for when nothing goes wrong any more. Returns whether
    /// there are such.
    pub(super) fn relax(&mut self) -> bool {
        let usual = Self::default();
        let relaxed = Self {
            recovery_removal_percent: usual.recovery_removal_percent,
            max_frameworks: usual.max_frameworks,
            ..self.clone()
        };
        let is_turned = relaxed != *self;
        *self = relaxed;
        is_turned
    }

    fn bounds(&self) -> Bounds {
        Bounds {
            tasks: count(self.tasks_per_framework),
            completed_tasks: count(self.completed_tasks),
            completed_frameworks: count(self.completed_frameworks),
            completed_executors: count(self.completed_executors),
            completed_of_executor: count(self.completed_of_executor),
            verdicts: count(self.verdicts),
            kills: count(self.kills),
            asks: count(self.asks),
            operations: count(self.operations),
            inverse_offers: count(self.inverse_offers),
            deletions: count(self.deletions),
            unconfirmed_updates: count(self.unconfirmed_updates),
        }
    }

    /// Sets a master up.
    pub(super) fn master(&self, config: Config) -> Config {
        Config {
            heartbeat_interval: millis(self.heartbeat),
            unreachable_rate: every(self.unreachable_every),
            removal_rate: every(self.removal_every),
            recovery_removal_percent: u8::try_from(self.recovery_removal_percent).unwrap_or(100),
            max_frameworks: count(self.max_frameworks),
            call_rates: self.call_rates(),
            domain: self.domain(0),
            requires_domain: self.requires_domain > 0 && self.regions > 0,
            bounds: self.bounds(),
            ..config
        }
    }

    /// Returns whether calls of frameworks have to wait.
    pub(super) const fn holds_calls_up(&self) -> bool {
        self.call_every > 0
    }

    fn call_rates(&self) -> CallRates {
        let rate = CallRate {
            calls: 1,
            per: millis(self.call_every),
            waiting: count(self.calls_waiting),
        };
        let names = (1..=PRINCIPALS).map(|n| format!("{}", Name::Framework(n)));
        let named: BTreeMap<String, Option<CallRate>> = if self.holds_calls_up() {
            names.map(|name| (name, Some(rate))).collect()
        } else {
            BTreeMap::new()
        };
        CallRates {
            named,
            others: None,
        }
    }

    /// Says where the agent with this number stands, and the master, which has none.
    pub(super) fn domain(&self, n: u32) -> Option<Domain> {
        let region = if self.is_far(n) { "far" } else { "home" };
        (self.regions > 0).then(|| Domain {
            region: region.to_string(),
            zone: format!("{region}-{}", n % 3),
        })
    }

    /// Returns whether an agent is not in the master's region.
    const fn is_far(&self, n: u32) -> bool {
        self.regions > 1 && n > 0 && n.is_multiple_of(2)
    }

    /// Returns whether there are agents that not everybody can cope with.
    pub(super) const fn has_regions(&self) -> bool {
        self.regions > 1
    }

    /// Sets the library's allocator up, as far as something is turned.
    pub(super) fn allocator(&self, options: &mut drf::Options) {
        let usual = Self::default();
        if self.allocation_interval != usual.allocation_interval {
            options.interval = millis(self.allocation_interval);
        }
        if self.agents_per_slice != usual.agents_per_slice {
            options.agents_per_slice = count(self.agents_per_slice);
        }
        if self.recovery_part != usual.recovery_part {
            options.recovery_part = milli(self.recovery_part);
        }
        if self.recovery_patience != usual.recovery_patience {
            options.recovery_timeout = millis(self.recovery_patience);
        }
        if self.roles_by_lot > 0 {
            options.role_sorter = SorterKind::Random;
        }
        let packing = match self.packing {
            0 => None,
            1 => Some(Packing::Spread),
            _ => Some(Packing::BestFit),
        };
        options
            .packing
            .extend(packing.map(|packing| (Role::any(), packing)));
        if self.most_offered > 0 {
            let most = Quantities::parse(&format!("cpus:{}", self.most_offered));
            options.most_offered = Some(most.expect("a number in its place parses"));
        }
        if self.regions > 0 {
            options.region = self.domain(0).map(|domain| domain.region);
        }
    }

    /// Sets an agent up.
    pub(super) fn agent(&self, config: agent::Config) -> agent::Config {
        agent::Config {
            registration_backoff: millis(self.registration_backoff),
            update_retry: millis(self.update_retry),
            update_retry_max: millis(self.update_retry_max.max(self.update_retry)),
            kill_grace: millis(self.kill_grace),
            executor_reregistration_timeout: millis(self.executor_reregistration),
            executor_shutdown_grace: millis(self.executor_shutdown_grace),
            resizes: self.resizes > 0,
            gc_delay: millis(self.gc_delay),
            gc_headroom: u16::try_from(self.gc_headroom).unwrap_or(1_000),
            bounds: self.bounds(),
            ..config
        }
    }

    /// Sets a scheduler up.
    pub(super) fn scheduler(&self, config: scheduler::Config) -> scheduler::Config {
        scheduler::Config {
            subscribe_backoff: millis(self.subscribe_backoff),
            max_missed_heartbeats: u32::try_from(self.missed_heartbeats).unwrap_or(u32::MAX),
            bounds: self.bounds(),
            ..config
        }
    }

    /// Sets an executor up.
    pub(super) fn executor(&self, config: executor::Config) -> executor::Config {
        executor::Config {
            recovery_timeout: millis(self.executor_recovery),
            update_retry: millis(self.executor_update_retry),
            update_retry_max: millis(
                self.executor_update_retry_max
                    .max(self.executor_update_retry),
            ),
            shutdown_grace: millis(
                self.executor_own_grace
                    .min(self.executor_shutdown_grace / 2),
            ),
            ..config
        }
    }

    /// Returns for how long a scheduler hears nothing of a master that is gone.
    pub(super) const fn silence(&self) -> Duration {
        millis(self.heartbeat * self.missed_heartbeats)
    }

    /// Returns how often it is looked who may have what is free.
    pub(super) const fn cycle(&self) -> Duration {
        millis(self.allocation_interval)
    }

    /// Returns whether one framework may hold few offers only.
    pub(super) const fn bounds_offers(&self) -> bool {
        self.most_offered > 0
    }

    /// Returns how much longer than usual it takes until it is looked who may have what is free.
    pub(super) fn slower_passes(&self) -> Duration {
        let usual = Self::default().allocation_interval;
        millis(self.allocation_interval.saturating_sub(usual))
    }

    /// Returns whether all who are to leave an agent can be asked.
    pub(super) fn asks_all(&self) -> bool {
        self.inverse_offers == Self::default().inverse_offers
    }

    /// Returns how long a program has that is to end, and its executor after it.
    pub(super) const fn graces(&self) -> Duration {
        millis(self.kill_grace + self.executor_shutdown_grace)
    }

    /// Returns how much longer than usual somebody takes who waits before he comes back, once.
    pub(super) const fn backoff(&self) -> Duration {
        let (agents, frameworks) = (self.registration_backoff, self.subscribe_backoff);
        millis(if agents > frameworks {
            agents
        } else {
            frameworks
        })
    }
}

impl Dial {
    /// Draws a value that is not the usual one: mostly an end, else anything between.
    fn turn(&self, rng: &mut Rng) -> u64 {
        let ends = [self.least, self.most];
        let ends = ends.into_iter().filter(|end| *end != self.usual);
        let ends: Vec<u64> = ends.collect();
        let between = self.least + rng.below(self.most - self.least + 1);
        let end = rng.below(ends.len() as u64 + 1);
        let end = usize::try_from(end).ok().and_then(|n| ends.get(n));
        end.copied().unwrap_or(between)
    }
}

fn count(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

fn milli(n: u64) -> Milli {
    Milli::from_thousandths(i64::try_from(n).unwrap_or(1_000))
}

impl Dials {
    /// Visits all ends, by name and value.
    pub(super) fn all_ends() -> impl Iterator<Item = (&'static str, u64)> {
        let ends = |dial: &'static Dial| dial.ends().map(|end| (dial.name, end));
        ALL.iter().flat_map(ends)
    }

    /// Visits those that stand at an end, which is not what is usual.
    pub(super) fn at_ends(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let dials = ALL.iter().map(|dial| (dial, (dial.get)(self)));
        let ends = dials.filter(|(dial, value)| dial.ends().any(|end| end == *value));
        ends.map(|(dial, value)| (dial.name, value))
    }
}

impl Dial {
    /// Visits the ends that are not what is usual anyway.
    fn ends(&self) -> impl Iterator<Item = u64> {
        let usual = self.usual;
        let ends = [self.least, self.most].into_iter();
        ends.filter(move |end| *end != usual)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dial_is_turned_by_its_name_and_within_its_ends() {
        let mut dials = Dials::default();
        assert_eq!(dials.turned().count(), 0);
        assert_eq!(dials.turn("heartbeat", 2_000), Ok(()));
        assert_eq!(dials.turned().collect::<Vec<_>>(), [("heartbeat", 2_000)]);
        assert!(dials.turn("heartbeat", 1).is_err());
        assert!(dials.turn("nonsense", 1).is_err());
        assert!(!dials.relax());
        assert_eq!(dials.turn("max_frameworks", 1), Ok(()));
        assert!(dials.relax());
        assert_eq!(dials.turned().collect::<Vec<_>>(), [("heartbeat", 2_000)]);
    }
}

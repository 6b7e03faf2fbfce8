//! What came of a simulation, in figures.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use super::fault::Kind;
use super::known::Tally;
use super::world::World;
use crate::protocol::operator::FrameworkView;
use crate::resources::{Milli, Quantities, Resources};
use crate::time::Time;

/// Figures of a simulation up to now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// How much virtual time went by.
    pub duration: Duration,
    /// Inputs, records and effects of all nodes: the lines of the event log.
    pub events: u64,
    /// What went wrong, and how often; a kind that never happened is missing.
    pub faults: BTreeMap<Kind, u64>,
    /// Which tables and queues were seen full that have a bound (I22).
    pub full: BTreeSet<&'static str>,
    /// What all frameworks were told of their tasks.
    pub tasks: Tally,
    /// The cores that programs used, in thousandths of what agents had, over all the time.
    pub utilisation_permille: u64,
    /// Each framework.
    pub frameworks: Vec<FrameworkReport>,
}

/// Figures of one framework.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameworkReport {
    /// Its name.
    pub name: String,
    /// What it was told of its tasks.
    pub tasks: Tally,
    /// Its dominant share at the moment, in thousandths: the greatest of its shares of the
    /// cluster's cores and memory (AL-14).
    pub dominant_share_permille: u64,
}

/// The time-weighted use of cores.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Usage {
    pub(super) since: Time,
    /// Thousandths of cores in use since then.
    pub(super) cpus: i64,
    /// Thousandths of cores times microseconds.
    pub(super) sum: u128,
}

impl Usage {
    /// Closes the account up to now.
    pub(super) fn settle(&mut self, now: Time) {
        let micros = now.since(self.since).as_micros();
        self.sum += micros * u128::from(self.cpus.unsigned_abs());
        self.since = now;
    }
}

/// How often each kind of fault happened.
#[derive(Clone, Debug, Default)]
pub(super) struct Hits(BTreeMap<Kind, u64>);

impl Hits {
    pub(super) fn count(&mut self, kind: Kind) {
        *self.0.entry(kind).or_default() += 1;
    }
}

pub(super) fn report(world: &World) -> Report {
    let mut usage = world.usage;
    usage.settle(world.shared.now);
    let duration = world.shared.now.since(Time::ZERO);
    let all = |amount: fn(&Resources) -> Milli| {
        let each = world.totals.values();
        let each = each.map(|has| u128::from(amount(has).thousandths().unsigned_abs()));
        each.sum::<u128>()
    };
    let (cpus, mem) = (all(Resources::cpus), all(Resources::mem));
    let views = world
        .master
        .machine()
        .map(|master| master.view().frameworks());
    let views = views.unwrap_or_default();
    let mut tasks = Tally::default();
    let frameworks = world.frameworks.iter().map(|seat| {
        let tally = seat.known.tally();
        tasks.add(tally);
        let id = seat.id();
        let view = views
            .iter()
            .find(|view| id.is_some() && view.info.id.as_ref() == id);
        let share = |amount: fn(&FrameworkView) -> Milli, all: u128| {
            let used = view
                .map_or(Milli::ZERO, amount)
                .thousandths()
                .unsigned_abs();
            permille(u128::from(used), all)
        };
        let cpus = share(|view| view.allocated.cpus(), cpus);
        let mem = share(|view| view.allocated.mem(), mem);
        FrameworkReport {
            name: seat.title().into(),
            tasks: tally,
            dominant_share_permille: cpus.max(mem),
        }
    });
    let frameworks = frameworks.collect();
    Report {
        duration,
        events: world.shared.recorder.entries(),
        faults: world.shared.hits.0.clone(),
        full: world.full.clone(),
        tasks,
        utilisation_permille: permille(usage.sum, cpus * duration.as_micros()),
        frameworks,
    }
}

/// Returns a dominant share (AL-14) in millionths: in a large cluster a task has little of all.
pub(super) fn dominant_share(held: &Quantities, total: &Quantities) -> u64 {
    let each = total.iter();
    let parts = each.map(|(name, whole)| millionths(plain(held.amount(name)), plain(whole)));
    parts.max().unwrap_or(0)
}

pub(super) fn plain(amount: Milli) -> u128 {
    u128::from(amount.thousandths().unsigned_abs())
}

pub(super) fn permille(part: u128, whole: u128) -> u64 {
    scaled(part, whole, 1_000)
}

pub(super) fn millionths(part: u128, whole: u128) -> u64 {
    scaled(part, whole, 1_000_000)
}

fn scaled(part: u128, whole: u128, scale: u128) -> u64 {
    u64::try_from((part * scale).checked_div(whole).unwrap_or(0)).unwrap_or(u64::MAX)
}

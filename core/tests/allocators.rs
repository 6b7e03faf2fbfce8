//! The same clusters in trouble with each allocator of the library, and with the one that its docs
//! show: the trait is all that a master needs to know of it.

#![allow(clippy::unwrap_used, reason = "a test panics")]

use std::collections::BTreeSet;
use std::time::Duration;

use tepui_core::allocator::Allocator;
use tepui_core::allocator::drf::{Drf, Options as DrfOptions, SorterKind};
use tepui_core::allocator::random::Random;
use tepui_core::resources::Resources;
use tepui_core::sim::{Checking, Faults, Log, Options, Policy, Report, Sim};

#[path = "allocators/in_turn.rs"]
mod in_turn;

use in_turn::InTurn;

const SEEDS: u64 = 4;

/// Runs one cluster through its faults, heals it, and waits for agreement. After each event it is
/// checked that nothing is given twice, and that the allocator's books are the master's.
fn run(seed: u64, allocator: fn(u64) -> Box<dyn Allocator>) -> (u128, Report) {
    let machine = Resources::parse("cpus:4;mem:1024;ports:[31000-31009]").unwrap();
    let mut options = Options::new(seed, 3, 2, machine);
    options.checking = Checking::Always;
    options.faults = Faults::drawn(seed);
    options.allocator = Policy::new(allocator);
    let mut sim = Sim::with_log(options, Log::digest());
    sim.run_for(Duration::from_secs(300));
    sim.heal();
    sim.expect_converged();
    sim.run_for(Duration::from_secs(60));
    (sim.digest().unwrap(), sim.report())
}

fn lots(seed: u64) -> Box<dyn Allocator> {
    let options = DrfOptions {
        seed,
        role_sorter: SorterKind::Random,
        framework_sorter: SorterKind::Random,
        ..DrfOptions::default()
    };
    Box::new(Drf::new(options))
}

fn shares(seed: u64) -> Box<dyn Allocator> {
    let options = DrfOptions {
        seed,
        ..DrfOptions::default()
    };
    Box::new(Drf::new(options))
}

fn random(seed: u64) -> Box<dyn Allocator> {
    Box::new(Random::new(seed))
}

fn in_turn(_seed: u64) -> Box<dyn Allocator> {
    Box::new(InTurn::default())
}

// AL-01, AL-13, I1 to I4, I23
#[test]
fn a_cluster_keeps_its_promises_with_any_allocator() {
    let mut all = BTreeSet::new();
    for allocator in [shares, lots, random, in_turn] {
        let (mut tasks, mut digests) = (0, Vec::new());
        for seed in 0..SEEDS {
            let first = run(seed, allocator);
            if seed == 0 {
                assert_eq!(first, run(seed, allocator), "not the same twice");
            }
            let (digest, report) = first;
            tasks += report.tasks.finished;
            digests.push(digest);
        }
        // In much trouble a cluster may never have more than one to choose.
        assert!(
            all.insert(digests),
            "the choice of an allocator did not matter"
        );
        assert!(tasks > 30 * SEEDS, "only {tasks} tasks ended");
    }
}

//! Many small clusters in which chance decides what goes wrong; some twice, and each healed.
//!
//! A failure names its seed. What must hold is in the simulator's `check` folder; here is only the
//! drawing of clusters.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::wildcard_enum_match_arm,
    reason = "a test panics, and says why it skips"
)]

use std::collections::BTreeSet;
use std::time::Duration;

use tepui_core::protocol::framework::FrameworkInfo;
use tepui_core::resources::Resources;
use tepui_core::sim::workload::{Greedy, Silent};
use tepui_core::sim::{Checking, Faults, Log, Options, Report, Sim, Span};

const SEEDS: u64 = 20;
/// One cluster in so many runs twice.
const TWICE: u64 = 4;

/// A number below `bound`, from a seed and what it is for.
fn draw(seed: u64, what: u64, bound: u64) -> u64 {
    let mixed = (seed + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ what.wrapping_mul(0xD1B5_4A32);
    (mixed ^ (mixed >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9) % bound
}

fn options(seed: u64) -> Options {
    let cpus = 1 + draw(seed, 1, 8);
    let mem = cpus * 256;
    let machine = format!("cpus:{cpus};mem:{mem};ports:[31000-31009,32000-32003]");
    let machine = Resources::parse(&machine).unwrap();
    let agents = 1 + draw(seed, 2, 5) as u32;
    let frameworks = 1 + draw(seed, 3, 3) as u32;
    let mut options = Options::new(seed, agents, frameworks, machine);
    options.checking = Checking::Always;
    options.faults = Faults::drawn(seed);
    options.sync = Span::millis(1, 1 << draw(seed, 4, 10));
    options.delay = Span::millis(0, 1 << draw(seed, 5, 9));
    options.start = Span::millis(1, 1 << draw(seed, 6, 13));
    options.run = Span::secs(0, 1 << draw(seed, 7, 8));
    options.demand.tasks = 1 + draw(seed, 8, 8) as usize;
    options.demand.ports = draw(seed, 11, 4);
    options.demand.kill_one_in = draw(seed, 12, 3) * 5;
    // Some are so impatient that the faults outlast them.
    if draw(seed, 13, 2) == 0 {
        options.agent_reregister_timeout = Duration::from_secs(1 + draw(seed, 14, 30));
    }
    if draw(seed, 15, 3) == 0 {
        options.failover_timeout = Duration::from_secs(draw(seed, 16, 60));
    }
    options
}

/// Runs one cluster through its faults, heals it, and waits for agreement.
fn run(seed: u64, log: Log) -> (u64, Report) {
    let mut sim = Sim::with_log(options(seed), log);
    let lasting = |name: &str| {
        let mut info = FrameworkInfo::new(name);
        info.failover_timeout = Duration::from_secs(24 * 3600);
        info
    };
    if draw(seed, 9, 4) == 0 {
        sim.framework(lasting("greedy"), Box::new(Greedy::new("greedy")));
    }
    if draw(seed, 10, 4) == 0 {
        sim.framework(lasting("silent"), Box::new(Silent));
    }
    sim.run_for(Duration::from_secs(300));
    sim.heal();
    sim.expect_converged();
    sim.run_for(Duration::from_secs(60));
    (sim.digest().unwrap_or(0), sim.report())
}

#[test]
fn clusters_in_trouble_keep_their_promises_and_recover() {
    let (mut tasks, mut lost, mut killed, mut events) = (0, 0, 0, 0);
    let mut digests = BTreeSet::new();
    for seed in 0..SEEDS {
        eprintln!("seed {seed}: {:?}", options(seed));
        let first = run(seed, Log::digest());
        if seed % TWICE == 0 {
            let second = run(seed, Log::digest());
            assert_eq!(first, second, "seed {seed} is not the same twice");
        }
        let (digest, report) = first;
        digests.insert(digest);
        tasks += report.tasks.finished + report.tasks.failed;
        lost += report.tasks.lost;
        killed += report.tasks.killed;
        events += report.events;
    }
    assert_eq!(digests.len() as u64, SEEDS, "seeds do not differ");
    // Trouble that lets nothing happen would prove nothing.
    assert!(tasks > 30 * SEEDS, "only {tasks} tasks ended");
    assert!(lost > 5 * SEEDS, "only {lost} tasks were lost");
    assert!(killed > 5 * SEEDS, "only {killed} tasks were killed");
    assert!(events > 2_000 * SEEDS, "only {events} events");
}

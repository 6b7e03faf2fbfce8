//! How fast the simulator is.
//!
//! Called by the rows. Deliberately not here: what it finds; its tests look at that.

use std::time::{Duration, Instant};

use tepui_core::resources::Resources;
use tepui_core::sim::{Options, Report, Sim};

/// How many agents are simulated.
pub const AGENTS: u32 = 1_000;
/// How many frameworks are simulated.
pub const FRAMEWORKS: u32 = 100;

const SEED: u64 = 7;
/// Virtual time between two looks at the clock.
const STEP: Duration = Duration::from_secs(1);

/// Simulates for at least `wall`; returns the figures, and how long it really took.
pub fn run(wall: Duration) -> anyhow::Result<(Report, Duration)> {
    let resources = Resources::parse("cpus:4;mem:8192")?;
    let begun = Instant::now();
    let mut sim = Sim::new(Options::new(SEED, AGENTS, FRAMEWORKS, resources));
    while begun.elapsed() < wall {
        sim.run_for(STEP);
    }
    let took = begun.elapsed();
    Ok((sim.report(), took))
}

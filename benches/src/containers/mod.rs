//! What isolation costs: launches beside other runtimes, and many containers at a time.
//!
//! Used by `benches/containers.rs`. Deliberately not here: what agents and masters add.

mod idle;
mod rig;
mod runtimes;

use std::time::{Duration, Instant};

use tepui::isolation::Mode;

use self::rig::Rig;
use self::runtimes::Runtime;
use crate::plan::Plan;
use crate::table::{Table, Unit, median, millis, quantile, rate};

/// How long nothing happens before each launch: as between two tasks of an ordinary agent.
const PAUSE: Duration = Duration::from_millis(50);
/// How many containers start at a time where rates are measured.
const IN_FLIGHT: usize = 8;
/// What the agent of the row `memory` has resident.
const FAT: usize = 1 << 30;

/// Measures what is wanted.
pub fn run(plan: &Plan) -> anyhow::Result<()> {
    let mut table = Table::begin()?;
    let detected = Mode::detect();
    if detected.mode != Mode::Container || !detected.unenforced.is_empty() {
        return Ok(table.skipped("all", &format!("no containers: {}", detected.reason))?);
    }
    let mut rig = Rig::new()?;
    if plan.wants("p8") {
        latency(plan, &mut rig, &mut table)?;
    }
    if plan.wants("p9") {
        rates(plan, &mut rig, &mut table)?;
    }
    if plan.wants("memory") {
        memory(plan, &mut rig, &mut table)?;
    }
    rig.shutdown()?;
    if plan.wants("idle") {
        idle::measure(plan, &mut table)?;
    }
    Ok(())
}

/// P8: one launch after a pause, each runtime in turn.
fn latency(plan: &Plan, rig: &mut Rig, table: &mut Table) -> anyhow::Result<()> {
    let count = plan.counts.containers;
    let mut others = Vec::new();
    for name in ["runc", "crun"] {
        match Runtime::new(name, rig.root()) {
            Ok(runtime) => others.push((runtime, Vec::new())),
            Err(error) => table.skipped("P8", &format!("{name}: {error:#}"))?,
        }
    }
    let (mut started, mut ended, mut bare) = (Vec::new(), Vec::new(), Vec::new());
    for turn in 0..count + 3 {
        std::thread::sleep(PAUSE);
        let launch = rig.launch()?;
        std::thread::sleep(PAUSE);
        let spawn = rig.spawn()?;
        for (runtime, times) in &mut others {
            std::thread::sleep(PAUSE);
            let took = runtime.run()?;
            if turn >= 3 {
                times.push(took);
            }
        }
        // The first ones find nothing cached.
        if turn >= 3 {
            started.push(launch.started);
            ended.push(launch.ended);
            bare.push(spawn);
        }
    }
    for (name, permille) in [("median", 500), ("p95", 950)] {
        let bare = quantile(&mut bare, permille);
        for (until, times) in [("start", &mut started), ("end", &mut ended)] {
            let what = format!("command to {until}, {name} of {count}; beside a bare spawn");
            let ours = quantile(times, permille);
            table.beside("P8", &what, Unit::Millis, millis(ours), millis(bare))?;
        }
        let ours = quantile(&mut ended, permille);
        for (runtime, times) in &mut others {
            let what = format!("command to end, {name}; beside {} run", runtime.name());
            let theirs = quantile(times, permille);
            table.beside("P8", &what, Unit::Millis, millis(ours), millis(theirs))?;
        }
    }
    Ok(())
}

/// P9: as many launches as there can be, some at a time.
fn rates(plan: &Plan, rig: &mut Rig, table: &mut Table) -> anyhow::Result<()> {
    let count = 10 * plan.counts.containers;
    for in_flight in [1, IN_FLIGHT] {
        let begun = Instant::now();
        rig.flood(count, in_flight)?;
        let ours = rate(count, begun.elapsed());
        let begun = Instant::now();
        for _ in 0..count {
            rig.spawn()?;
        }
        let floor = rate(count, begun.elapsed());
        let what = format!("{count} containers, {in_flight} at a time; beside bare spawns");
        table.beside("P9", &what, Unit::PerSecond, ours, floor)?;
    }
    Ok(())
}

/// The time to start from an agent that is small, and from one that is large, in turns.
fn memory(plan: &Plan, rig: &mut Rig, table: &mut Table) -> anyhow::Result<()> {
    let count = plan.counts.containers;
    let (mut small, mut large) = (Vec::new(), Vec::new());
    for _ in 0..4 {
        for (times, bytes) in [(&mut small, 0), (&mut large, FAT)] {
            let ballast = vec![1_u8; bytes];
            for _ in 0..count / 4 {
                std::thread::sleep(PAUSE);
                times.push(rig.launch()?.started);
            }
            std::hint::black_box(&ballast);
        }
    }
    let (large, small) = (millis(median(&mut large)), millis(median(&mut small)));
    let what = "command to start, agent of 1 GiB beside a small one";
    Ok(table.beside("memory", what, Unit::Millis, large, small)?)
}

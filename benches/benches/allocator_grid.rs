//! How the offer engine grows with agents and frameworks: `cargo bench --bench allocator_grid
//! [-- --quick | PAIRS | AGENTSxFRAMEWORKS]`.
//!
//! In each cell of the grid (AL-56) everybody is offered every agent once and declines it for ever.
//! Printed are the seconds that this took on the processor, passes and declines together; refusals
//! in force at the end; the memory of the engine; and the exponent of growth against the cell with
//! fewer frameworks and the one with fewer agents: 1 is linear in that number, and what is above
//! 1.1 is marked. Each decline and each offer is work, so linear is the best there is. It fails if
//! not every pair was offered exactly once.
//!
//! Cells of up to 500,000 pairs are measured three times, for the median; the others once.
//!
//! Cells of more than 50 million pairs are left out, or of more than it says; with `--quick` those
//! of more than 2 million. With numbers such as `100x4000` it is that cell alone, once: to profile,
//! or to count instructions, which grow by work and not by what the caches hold.

#![allow(clippy::print_stdout, reason = "the table is what this is for")]

use std::collections::BTreeMap;

use anyhow::{Context, ensure};
use tepui_benches::memory;
use tepui_benches::rig::{Rig, Took, YEAR, bag, role, timed};

#[global_allocator]
static COUNTING: memory::Counting = memory::Counting;

const AGENTS: [usize; 4] = [1_000, 5_000, 10_000, 50_000];
const FRAMEWORKS: [usize; 5] = [1, 50, 200, 1_000, 6_000];
const ROLES: usize = 100;
const MOST_PAIRS: usize = 50_000_000;
const QUICK_PAIRS: usize = 2_000_000;
const SHORT_PAIRS: usize = 500_000;
/// Growth above it is marked.
const STEEP: f64 = 1.1;
/// What takes less says nothing about growth, in seconds.
const LEAST: f64 = 0.002;

fn main() -> anyhow::Result<()> {
    let words: Vec<_> = std::env::args().skip(1).collect();
    if let Some((agents, frameworks)) = words.iter().find_map(|word| one_cell(word)) {
        let cell = cell(agents, frameworks)?;
        println!(
            "{agents} agents, {frameworks} frameworks: {:.3} s on CPU",
            cell.took.cpu.as_secs_f64()
        );
        return Ok(());
    }
    let most = most_pairs(words.into_iter())?;
    println!(
        "{:>7} {:>10} {:>10} {:>10} {:>10} {:>9} {:>9}   exponent by frameworks, by agents",
        "agents", "frameworks", "s on CPU", "s", "filters", "MB", "us a pair"
    );
    let mut seconds = BTreeMap::new();
    for (row, &agents) in AGENTS.iter().enumerate() {
        for (column, &frameworks) in FRAMEWORKS.iter().enumerate() {
            let pairs = agents * frameworks;
            if pairs > most {
                println!("{agents:>7} {frameworks:>10}  left out: {pairs} pairs");
                continue;
            }
            let cell = median_cell(agents, frameworks)?;
            let took = cell.took.cpu.as_secs_f64();
            seconds.insert((row, column), took);
            let before = |cell: Option<(usize, usize)>| seconds.get(&cell?).copied();
            let fewer = before(column.checked_sub(1).map(|it| (row, it)));
            let by_frameworks = fewer.map(|it| (it, ratio(&FRAMEWORKS, column)));
            let fewer = before(row.checked_sub(1).map(|it| (it, column)));
            let by_agents = fewer.map(|it| (it, ratio(&AGENTS, row)));
            let line = format!(
                "{agents:>7} {frameworks:>10} {took:>10.3} {:>10.3} {:>10} {:>9.1} {:>9.3}   {} {}",
                cell.took.wall.as_secs_f64(),
                cell.filters,
                cell.bytes as f64 / 1e6,
                took * 1e6 / pairs as f64,
                exponent(took, by_frameworks),
                exponent(took, by_agents),
            );
            println!("{}", line.trim_end());
        }
    }
    Ok(())
}

/// Reads the numbers of agents and frameworks.
fn one_cell(word: &str) -> Option<(usize, usize)> {
    let (agents, frameworks) = word.split_once('x')?;
    Some((agents.parse().ok()?, frameworks.parse().ok()?))
}

/// Reads how many pairs a cell may have.
fn most_pairs(arguments: impl Iterator<Item = String>) -> anyhow::Result<usize> {
    let mut most = MOST_PAIRS;
    for argument in arguments {
        most = match argument.as_str() {
            // Cargo adds it.
            "--bench" => most,
            "--quick" => QUICK_PAIRS,
            pairs => pairs.parse().with_context(|| {
                format!("{pairs}: expected --quick, how many pairs, or a cell such as 100x4000")
            })?,
        };
    }
    Ok(most)
}

fn ratio(sizes: &[usize], at: usize) -> f64 {
    sizes[at] as f64 / sizes[at - 1] as f64
}

/// Shows how `took` grew, compared with what a smaller cell took and how much smaller that is.
fn exponent(took: f64, smaller: Option<(f64, f64)>) -> String {
    match smaller {
        Some((before, ratio)) if before >= LEAST => {
            let exponent = (took / before).ln() / ratio.ln();
            let mark = if exponent > STEEP { "STEEP" } else { "" };
            format!("{exponent:>6.2} {mark:<5}")
        }
        Some(_) | None => format!("{:>6} {:<5}", "-", ""),
    }
}

/// Measures a cell, several times if that is quick.
fn median_cell(agents: usize, frameworks: usize) -> anyhow::Result<Cell> {
    let first = cell(agents, frameworks)?;
    let mut took = vec![first.took];
    while agents * frameworks <= SHORT_PAIRS && took.len() < 3 {
        took.push(cell(agents, frameworks)?.took);
    }
    Ok(Cell {
        took: Took::median(&took),
        ..first
    })
}

struct Cell {
    took: Took,
    filters: usize,
    bytes: usize,
}

/// Has everybody decline everything once.
fn cell(agents: usize, frameworks: usize) -> anyhow::Result<Cell> {
    let before = memory::live();
    let mut rig = Rig::default();
    rig.add_frameworks(frameworks, |n| role(&format!("role-{:02}", n % ROLES)));
    rig.add_agents(
        agents,
        &bag("cpus:24;mem:4096;disk:4096;ports:[31000-32000]"),
    );
    let mut offers = 0;
    let ((), mut took) = timed(|| rig.passes());
    while !rig.grants.is_empty() {
        offers += rig.grants.len();
        took = took.and(rig.decline(Some(YEAR)));
        took = took.and(timed(|| rig.passes()).1);
    }
    let (pairs, filters) = (agents * frameworks, rig.filters());
    ensure!(
        offers == pairs && filters == pairs,
        "{agents} agents, {frameworks} frameworks: {offers} offers, {filters} filters"
    );
    rig.grants = Vec::new();
    let bytes = memory::live().saturating_sub(before);
    Ok(Cell {
        took,
        filters,
        bytes,
    })
}

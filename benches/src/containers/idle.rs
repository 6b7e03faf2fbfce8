//! Many containers that do nothing: how fast they start, what they take, and what it costs to look
//! at all of them.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use tepui::isolation::Sampler;
use tepui_core::ids::ContainerId;
use tepui_core::protocol::container::ContainerEvent;

use super::rig::Rig;
use crate::plan::Plan;
use crate::processes;
use crate::table::{Table, Unit, median, millis};

/// How often all are sampled.
const SAMPLES: usize = 10;

/// Measures all of it.
pub(super) fn measure(plan: &Plan, table: &mut Table) -> anyhow::Result<()> {
    let count = 10 * plan.counts.containers;
    let mut rig = Rig::new()?;
    let agent = std::process::id();
    let begun = Instant::now();
    let ids: Vec<ContainerId> = (0..count).map(|_| rig.order("/idle")).collect();
    let mut programs = Vec::new();
    while programs.len() < count {
        if let ContainerEvent::Started { pid, .. } = rig.event()? {
            programs.push(pid);
        }
    }
    let took = begun.elapsed();
    let what = format!("{count} idle containers, from the first command to the last start");
    table.alone("idle", &what, Unit::Millis, millis(took))?;

    let ours = ours(agent, &programs)?;
    let share = |kib: u64| kib as f64 / 1024.0 / count as f64;
    let (resident, proportional) = sum(&ours)?;
    let what = format!("resident, {} of our processes, per container", ours.len());
    table.alone("idle", &what, Unit::MiB, share(resident))?;
    let what = "the same, pages that are shared counted once";
    table.alone("idle", what, Unit::MiB, share(proportional))?;

    let used = || -> anyhow::Result<Duration> {
        let all = ours.iter().chain([&agent]);
        all.map(|&pid| processes::exact_cpu(pid)).sum()
    };
    let (begun, before) = (Instant::now(), used()?);
    std::thread::sleep(plan.counts.idle);
    let spent = (used()? - before).as_secs_f64() / begun.elapsed().as_secs_f64();
    let what = "CPU of agent, launcher and inits, of one core";
    table.alone("idle", what, Unit::Percent, spent * 100.0)?;

    let sampler = Sampler::new(rig.cgroup_root())?;
    let mut times = Vec::new();
    for _ in 0..SAMPLES {
        let begun = Instant::now();
        let samples = sampler.sample(&ids);
        times.push(begun.elapsed());
        for sample in samples {
            sample?;
        }
    }
    let what = format!("one sample of all {count}, median of {SAMPLES}");
    table.alone("idle", &what, Unit::Millis, millis(median(&mut times)))?;

    let begun = Instant::now();
    for id in ids {
        rig.destroy(id);
    }
    let mut ended = 0;
    while ended < count {
        ended += usize::from(matches!(rig.event()?, ContainerEvent::Exited { .. }));
    }
    let what = format!("{count} containers destroyed");
    table.alone("idle", &what, Unit::Millis, millis(begun.elapsed()))?;
    rig.shutdown()
}

/// Lists our own processes: the launcher, its nursery, the inits; not what tasks run.
fn ours(agent: u32, programs: &[u32]) -> anyhow::Result<Vec<u32>> {
    let mut all = Vec::new();
    let mut parents = vec![agent];
    while let Some(parent) = parents.pop() {
        let text = fs::read_dir(format!("/proc/{parent}/task"))
            .with_context(|| format!("process {parent} is gone"))?;
        for thread in text {
            let children = thread?.path().join("children");
            let children = fs::read_to_string(children).unwrap_or_default();
            let children = children.split_whitespace().map(str::parse);
            for child in children.collect::<Result<Vec<u32>, _>>()? {
                parents.push(child);
                let name = fs::read_to_string(format!("/proc/{child}/cmdline"));
                let is_program = name.is_ok_and(|name| name.starts_with("/idle"));
                if !is_program {
                    all.push(child);
                }
            }
        }
    }
    ensure!(
        !all.is_empty(),
        "no launcher for {} containers",
        programs.len()
    );
    Ok(all)
}

/// Adds up resident and proportional memory, in KiB.
fn sum(pids: &[u32]) -> anyhow::Result<(u64, u64)> {
    let mut sums = (0, 0);
    for pid in pids {
        let path = format!("/proc/{pid}/smaps_rollup");
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        let field = |name: &str| -> anyhow::Result<u64> {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|line| line.trim().strip_suffix("kB"));
            Ok(number
                .with_context(|| format!("{path} has no {name}"))?
                .trim()
                .parse()?)
        };
        sums.0 += field("Rss:")?;
        sums.1 += field("Pss:")?;
    }
    Ok(sums)
}

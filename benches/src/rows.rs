//! The rows, in the order in which they are printed.
//!
//! Called by `main`. Deliberately not here: how anything is measured.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use tepui::isolation::Mode;
use tokio::runtime::Runtime;

use crate::cluster::{self, Cluster, SLOTS};
use crate::plan::Plan;
use crate::table::{Table, Unit, median, micros_each, millis, quantile, rate};
use crate::{flood, floor, latency, processes, simulator};

/// Tasks that a cluster runs before it is measured.
const WARM_UP: usize = 100;

/// Measures what is wanted.
pub fn run(plan: &Plan) -> anyhow::Result<()> {
    let runtime = Runtime::new()?;
    let mut table = Table::begin()?;
    if plan.wants_any(&["p1", "p2", "p3", "p4", "p5", "p6", "p7"]) {
        let cluster = warm_cluster(&runtime, "--process")?;
        // Idle first: the floods leave their traces in memory.
        idle(plan, &cluster, &mut table)?;
        command(plan, &cluster, &mut table)?;
        single(plan, &runtime, &cluster, "process", &mut table)?;
        floods(plan, &runtime, &cluster, "process", &mut table)?;
        memory(plan, &cluster, "after all of the above", &mut table)?;
    }
    if plan.wants_any(&["p1", "p2", "p3", "p5"]) {
        let detected = Mode::detect();
        if detected.mode == Mode::Container {
            let cluster = warm_cluster(&runtime, "--container")?;
            single(plan, &runtime, &cluster, "container", &mut table)?;
            floods(plan, &runtime, &cluster, "container", &mut table)?;
        } else {
            table.skipped("p1-3, p5", &format!("no containers: {}", detected.reason))?;
        }
    }
    if plan.wants("embedded") {
        embedded(plan, &mut table)?;
    }
    if plan.wants("sim") {
        simulation(plan, &mut table)?;
    }
    Ok(())
}

fn warm_cluster(runtime: &Runtime, isolation: &str) -> anyhow::Result<Cluster> {
    runtime.block_on(async {
        let cluster = Cluster::start(isolation).await?;
        flood::run(cluster.target(), WARM_UP).await?;
        Ok(cluster)
    })
}

/// P6 and P7: what it costs to be there.
fn idle(plan: &Plan, cluster: &Cluster, table: &mut Table) -> anyhow::Result<()> {
    memory(plan, cluster, "after 100 tasks", table)?;
    if plan.wants("p7") {
        let daemons = [cluster.master(), cluster.agent(), cluster.launcher()];
        let used = || -> anyhow::Result<Duration> {
            daemons.iter().map(|&pid| processes::exact_cpu(pid)).sum()
        };
        let (begun, before) = (Instant::now(), used()?);
        std::thread::sleep(plan.counts.idle);
        let share = (used()? - before).as_secs_f64() / begun.elapsed().as_secs_f64();
        let what = "CPU of idle master + agent + launcher, of one core";
        table.alone("P7", what, Unit::Percent, share * 100.0)?;
    }
    Ok(())
}

fn memory(plan: &Plan, cluster: &Cluster, when: &str, table: &mut Table) -> anyhow::Result<()> {
    let daemons = [
        ("master", cluster.master()),
        ("agent", cluster.agent()),
        ("launcher", cluster.launcher()),
    ];
    for (name, pid) in daemons.into_iter().filter(|_| plan.wants("p6")) {
        let what = format!("resident memory of the {name}, {when}");
        table.alone("P6", &what, Unit::MiB, processes::resident_mib(pid)?)?;
    }
    Ok(())
}

/// P4: the whole command line, against a cluster that runs.
fn command(plan: &Plan, cluster: &Cluster, table: &mut Table) -> anyhow::Result<()> {
    if !plan.wants("p4") {
        return Ok(());
    }
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..plan.counts.commands {
        let mut command = cluster::tepui()?;
        let target = cluster.target();
        command.args(["run", "--master", &target.master, "--tls-dir"]);
        command.arg(&target.tls_dir);
        ours.push(timed(command.args(["--", floor::TRUE]))?);
        bare.push(floor::spawn_once()?);
    }
    let count = plan.counts.commands;
    for (name, permille) in [("median", 500), ("p99", 990)] {
        let (ours, bare) = (quantile(&mut ours, permille), quantile(&mut bare, permille));
        let what = format!("tepui run --master ... -- true, {name} of {count}");
        table.beside("P4", &what, Unit::Millis, millis(ours), millis(bare))?;
    }
    Ok(())
}

fn timed(command: &mut Command) -> anyhow::Result<Duration> {
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    let begun = Instant::now();
    let output = command.output().context("cannot start tepui")?;
    let took = begun.elapsed();
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "tepui run: {}\n{said}",
        output.status
    );
    Ok(took)
}

/// P5: a task through a framework that holds an offer.
fn single(
    plan: &Plan,
    runtime: &Runtime,
    cluster: &Cluster,
    mode: &str,
    table: &mut Table,
) -> anyhow::Result<()> {
    if !plan.wants("p5") {
        return Ok(());
    }
    let count = plan.counts.single;
    let mut times = runtime.block_on(latency::run(cluster.target(), count))?;
    let bare = millis(median(&mut times.floor));
    for (state, times) in [
        ("running", &mut times.running),
        ("finished", &mut times.finished),
    ] {
        let what = format!("launch to {state}, {mode}, median of {count}");
        table.beside("P5", &what, Unit::Millis, millis(median(times)), bare)?;
    }
    Ok(())
}

/// P1 to P3: many tasks, in turns with the bare loop.
fn floods(
    plan: &Plan,
    runtime: &Runtime,
    cluster: &Cluster,
    mode: &str,
    table: &mut Table,
) -> anyhow::Result<()> {
    let (few, many) = (plan.counts.few, plan.counts.many);
    if plan.wants("p1") {
        let (mut ours, mut bare) = (Vec::new(), Vec::new());
        for _ in 0..plan.counts.rounds {
            bare.push(floor::spawn_loop(few)?.wall);
            ours.push(runtime.block_on(flood::run(cluster.target(), few))?);
        }
        let what = format!("{few} x true, {mode}, {SLOTS} at a time");
        let (ours, bare) = (rate(few, median(&mut ours)), rate(few, median(&mut bare)));
        table.beside("P1", &what, Unit::PerSecond, ours, bare)?;
    }
    if plan.wants_any(&["p2", "p3"]) {
        let bare = floor::spawn_loop(many)?;
        let before = Cpu::now(cluster)?;
        let alone = processes::exact_cpu(cluster.launcher())?;
        let wall = runtime.block_on(flood::run(cluster.target(), many))?;
        let cpu = before.until(&Cpu::now(cluster)?);
        let alone = processes::exact_cpu(cluster.launcher())? - alone;
        let what = format!("{many} x true, {mode}, {SLOTS} at a time");
        let (fast, bare_fast) = (rate(many, wall), rate(many, bare.wall));
        table.beside("P2", &what, Unit::PerSecond, fast, bare_fast)?;
        let what = format!("CPU a task, {mode}, everything");
        let bare = micros_each(many, bare.cpu);
        let each = |time| micros_each(many, time);
        table.beside("P3", &what, Unit::Micros, each(cpu.total()), bare)?;
        for (who, [user, system]) in cpu.parts() {
            let (user, system) = (each(user), each(system));
            let what = format!("  {who}: {user:.0} user + {system:.0} system");
            table.alone("P3", &what, Unit::Micros, user + system)?;
        }
        let what = "  the launcher without the tasks";
        table.alone("P3", what, Unit::Micros, each(alone))?;
    }
    Ok(())
}

/// CPU time in user space and in the kernel, of all who take part.
struct Cpu([[Duration; 2]; 4]);

impl Cpu {
    fn now(cluster: &Cluster) -> anyhow::Result<Self> {
        Ok(Self([
            processes::cpu(cluster.master())?,
            processes::cpu(cluster.agent())?,
            processes::cpu(cluster.launcher())?,
            processes::own_cpu(),
        ]))
    }

    fn until(&self, later: &Self) -> Self {
        let both = |at: usize| std::array::from_fn(|kind| later.0[at][kind] - self.0[at][kind]);
        Self(std::array::from_fn(both))
    }

    fn total(&self) -> Duration {
        self.0.iter().flatten().sum()
    }

    fn parts(&self) -> impl Iterator<Item = (&'static str, [Duration; 2])> {
        let names = ["master", "agent", "launcher and tasks", "framework"];
        names.into_iter().zip(self.0)
    }
}

/// The first command of a new user: a cluster of its own for one task.
fn embedded(plan: &Plan, table: &mut Table) -> anyhow::Result<()> {
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..plan.counts.embedded {
        ours.push(timed(cluster::tepui()?.args(["run", "--", floor::TRUE]))?);
        bare.push(floor::spawn_once()?);
    }
    let what = format!("tepui run -- true, median of {}", plan.counts.embedded);
    let (ours, bare) = (millis(median(&mut ours)), millis(median(&mut bare)));
    table.beside("embedded", &what, Unit::Millis, ours, bare)?;
    Ok(())
}

fn simulation(plan: &Plan, table: &mut Table) -> anyhow::Result<()> {
    let (report, took) = simulator::run(plan.counts.simulate)?;
    let events = usize::try_from(report.events).context("too many events")?;
    let (agents, frameworks) = (simulator::AGENTS, simulator::FRAMEWORKS);
    let time = report.duration.as_secs();
    let what = format!("events, {agents} agents, {frameworks} frameworks, {time} s");
    table.alone("sim", &what, Unit::PerSecond, rate(events, took))?;
    Ok(())
}

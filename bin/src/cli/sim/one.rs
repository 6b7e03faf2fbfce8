//! One cluster as its flags describe it, and its figures.
//!
//! Called by `sim`. The same flags give the same event log, byte for byte.

use std::io;
use std::time::{Duration, Instant};

use serde::Serialize;
use tepui_core::sim::{Faults, Log, Options, Report, Sim};

use super::log_file::LogFile;
use super::{Form, SimArgs};
use crate::cli::Io;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;

/// How long a cluster runs, if that was not said.
const TIME: Duration = Duration::from_secs(600);

/// Simulates a cluster and prints what came of it.
pub(super) fn one(args: &SimArgs, io: &mut Io<'_>) -> Result<Exit, Failure> {
    let mut options = Options::new(
        args.seed,
        args.agents,
        args.frameworks,
        args.resources.clone(),
    );
    if args.faults {
        options.faults = Faults::drawn(args.seed);
    }
    let file = args.log.as_deref().map(LogFile::create).transpose()?;
    let log = file.as_ref().map_or(Log::Off, LogFile::log);
    let begun = Instant::now();
    let mut sim = Sim::with_log(options, log);
    sim.run_for(args.time.unwrap_or(TIME));
    let took = begun.elapsed();
    if let Some(file) = file {
        file.finish()?;
    }
    print(args, &sim.report(), took, io)?;
    Ok(Exit::Success)
}

/// The figures as JSON; a contract like that of the lists.
#[derive(Serialize)]
struct FiguresJson<'a> {
    seed: u64,
    agents: u32,
    virtual_seconds: f64,
    wall_seconds: f64,
    events: u64,
    events_per_second: f64,
    /// Of the agents' cores, over all the time; 1 is all of them.
    utilisation: f64,
    tasks_launched: u64,
    tasks_finished: u64,
    frameworks: Vec<FrameworkJson<'a>>,
}

#[derive(Serialize)]
struct FrameworkJson<'a> {
    name: &'a str,
    tasks_launched: u64,
    tasks_finished: u64,
    /// At the end; 1 is the whole cluster.
    dominant_share: f64,
}

fn print(args: &SimArgs, report: &Report, took: Duration, io: &mut Io<'_>) -> io::Result<()> {
    let frameworks = report.frameworks.iter().map(|framework| FrameworkJson {
        name: &framework.name,
        tasks_launched: framework.tasks.launched,
        tasks_finished: framework.tasks.finished,
        dominant_share: framework.dominant_share_permille as f64 / 1000.0,
    });
    let figures = FiguresJson {
        seed: args.seed,
        agents: args.agents,
        virtual_seconds: report.duration.as_secs_f64(),
        wall_seconds: took.as_secs_f64(),
        events: report.events,
        events_per_second: report.events as f64 / took.as_secs_f64().max(1e-9),
        utilisation: report.utilisation_permille as f64 / 1000.0,
        tasks_launched: report.tasks.launched,
        tasks_finished: report.tasks.finished,
        frameworks: frameworks.collect(),
    };
    if args.form() == Form::Json {
        let line = serde_json::to_string(&figures).expect("figures are finite");
        return writeln!(io.out, "{line}");
    }
    let out = &mut *io.out;
    writeln!(out, "seed              {}", figures.seed)?;
    writeln!(
        out,
        "virtual time      {}",
        humantime::format_duration(report.duration)
    )?;
    writeln!(out, "tasks launched    {}", figures.tasks_launched)?;
    writeln!(out, "tasks finished    {}", figures.tasks_finished)?;
    writeln!(
        out,
        "utilisation       {:.1} % of cores",
        figures.utilisation * 100.0
    )?;
    writeln!(out, "events            {}", figures.events)?;
    writeln!(out, "events/second     {:.0}", figures.events_per_second)?;
    writeln!(out, "dominant shares at the end:")?;
    for framework in &figures.frameworks {
        let share = framework.dominant_share * 100.0;
        let launched = framework.tasks_launched;
        writeln!(
            out,
            "  {:<16}{share:>5.1} %  {launched} tasks launched",
            framework.name
        )?;
    }
    Ok(())
}

//! `tepui sim`: a whole cluster in virtual time, in one thread.
//!
//! Called by `cli`. The same flags give the same event log, byte for byte. Deliberately not here:
//! the simulator, which is `tepui_core::sim`.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;
use tepui_core::resources::Resources;
use tepui_core::sim::{Faults, Log, Options, Report, Sim};

use super::exit::Exit;
use super::failure::Failure;
use super::node::refused;
use super::text::Text;
use super::{Io, values};

/// Flags of `tepui sim`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tepui sim
  tepui sim --agents 100 --frameworks 10 --seed 7 --for 1h
  tepui sim --seed 7 --for 10m --faults --log events.log --json")]
pub(super) struct SimArgs {
    /// How many agents there are
    #[arg(long, value_name = "COUNT", default_value = "10", value_parser = Text(values::count))]
    agents: u32,
    /// How many frameworks there are
    #[arg(long, value_name = "COUNT", default_value = "3", value_parser = Text(values::count))]
    frameworks: u32,
    /// What each agent has to offer
    #[arg(long, value_name = "RESOURCES", default_value = "cpus:4;mem:8192",
          value_parser = Text(values::resources))]
    resources: Resources,
    /// Decides everything that is left to chance
    #[arg(long, value_name = "NUMBER", default_value = "1", value_parser = Text(values::seed))]
    seed: u64,
    /// How much virtual time goes by
    #[arg(long = "for", value_name = "TIME", default_value = "10m",
          value_parser = Text(values::positive_duration))]
    time: Duration,
    /// Let nodes crash, connections break and disks stall, as the seed decides
    #[arg(long)]
    faults: bool,
    /// Write every input, record and effect of every node to a file
    #[arg(long, value_name = "FILE", value_parser = values::path())]
    log: Option<PathBuf>,
    /// Print the figures as one JSON object
    #[arg(long)]
    json: bool,
}

/// Simulates a cluster and prints what came of it.
pub(super) fn sim(args: &SimArgs, io: &mut Io<'_>) -> Result<Exit, Failure> {
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
    sim.run_for(args.time);
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
    if args.json {
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

/// A file for the event log. What goes wrong with it is told at the end: the simulator itself
/// knows no such thing as a full disk.
struct LogFile {
    path: PathBuf,
    state: Arc<Mutex<LogState>>,
}

struct LogState {
    file: BufWriter<File>,
    failed: Option<io::Error>,
}

impl LogFile {
    fn create(path: &Path) -> Result<Self, Failure> {
        let file = File::create(path).map_err(|error| {
            let problem = format_args!("{error}; expected a file that can be written to");
            refused("--log", path, &error, &problem)
        })?;
        let state = LogState {
            file: BufWriter::new(file),
            failed: None,
        };
        Ok(Self {
            path: path.into(),
            state: Arc::new(Mutex::new(state)),
        })
    }

    fn log(&self) -> Log {
        let state = Arc::clone(&self.state);
        Log::Lines(Box::new(move |line| {
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            if state.failed.is_none()
                && let Err(error) = state.file.write_all(line.as_bytes())
            {
                state.failed = Some(error);
            }
        }))
    }

    fn finish(self) -> Result<(), Failure> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let result = state.failed.take().map_or_else(|| state.file.flush(), Err);
        result.map_err(|error| {
            let path = self.path.display();
            Failure::failed(format_args!("cannot write {path}: {error}"))
        })
    }
}

//! `tepui sim --replay FILE`: what was recorded of one seed, once more or made smaller.

use std::fs;
use std::path::{Path, PathBuf};

use tepui_core::sim::{Log, Plan, Property, shrink};

use super::log_file::LogFile;
use super::swarm::recorded;
use super::trial::Trial;
use super::{Form, SimArgs};
use crate::cli::Io;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::node::refused;

/// How many smaller plans are tried.
const ATTEMPTS: u32 = 500;

/// Runs what a file describes; reports like a swarm of one.
pub(super) fn replay(args: &SimArgs, file: &Path, io: &mut Io<'_>) -> Result<Exit, Failure> {
    let plan = read(file)?;
    let log_file = args.log.as_deref().map(LogFile::create).transpose()?;
    let log = log_file.as_ref().map_or(Log::Off, LogFile::log);
    let trial = Trial::of(&plan, log);
    if let Some(log_file) = log_file {
        log_file.finish()?;
    }
    let small = match &trial.violation {
        Some(violation) if args.shrink => Some(smaller(&plan, violation.property, file, io)?),
        Some(_) | None => None,
    };
    let faults: u64 = trial.faults.values().sum();
    let violations = usize::from(trial.violation.is_some());
    match args.form() {
        Form::Text => {
            if let Some(small) = &small {
                writeln!(io.out, "{}", small.display())?;
            }
            let events = trial.events;
            writeln!(
                io.out,
                "seeds: 1, events: {events}, faults: {faults}, violations: {violations}"
            )?;
        }
        Form::Json => {
            let figures = serde_json::json!({
                "seeds": 1,
                "events": trial.events,
                "faults": faults,
                "violations": violations,
                "property": trial.violation.as_ref().map(|v| v.property.as_str()),
                "shrunk": small.as_ref().map(|path| path.display().to_string()),
            });
            writeln!(io.out, "{figures}")?;
        }
    }
    match trial.violation {
        Some(violation) => Err(Failure::failed(violation)),
        None => Ok(Exit::Success),
    }
}

fn read(file: &Path) -> Result<Plan, Failure> {
    let text = fs::read_to_string(file).map_err(|error| {
        let problem = format_args!("{error}; expected a file that `tepui sim --seeds` recorded");
        refused("--replay", file, &error, &problem)
    })?;
    text.parse().map_err(|error| {
        let file = file.display().to_string();
        Failure::usage("--replay", &file, format_args!("{error}"))
    })
}

/// Looks for a smaller plan that breaks the same property, and writes it beside the other.
fn smaller(
    plan: &Plan,
    property: Property,
    file: &Path,
    io: &mut Io<'_>,
) -> Result<PathBuf, Failure> {
    let mut newest = None;
    let small = shrink(plan, ATTEMPTS, &mut |plan| {
        let violation = Trial::of(plan, Log::Off).violation;
        let same = violation.filter(|violation| violation.property == property);
        let is_same = same.is_some();
        newest = same.or_else(|| newest.take());
        is_same
    });
    let (before, after) = (plan.listed().len(), small.listed().len());
    writeln!(io.err, "tepui: {after} of {before} faults are needed")?;
    let text = match &newest {
        Some(violation) => recorded(&small, violation),
        None => small.to_string(),
    };
    let path = file.with_extension("small.plan");
    fs::write(&path, text).map_err(|error| {
        let path = path.display();
        Failure::failed(format_args!("cannot write {path}: {error}"))
    })?;
    Ok(path)
}

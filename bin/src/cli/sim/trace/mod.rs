//! `tepui sim --trace FILE`: what a real cluster was asked, asked of ours, once with each policy.
//!
//! Called by `sim`. Deliberately not here: the formats of traces (`openb`, `fb`), and how figures
//! are shown (`table`, `json`, `plot`).

mod fb;
mod json;
mod openb;
mod plot;
mod policy;
mod rows;
mod table;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use tepui_core::attributes::Attributes;
use tepui_core::resources::Resources;
use tepui_core::rng::Rng;
use tepui_core::roles::Role;
use tepui_core::sim::{Figures, Machine, Options, Replaying, Trace};

pub(super) use self::policy::Policy;
use self::rows::{Rows, Wrong};
use super::{Form, SimArgs};
use crate::cli::Io;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::node::refused;

/// How often a cluster is looked at, if its trace is short: so many times at least.
const SAMPLES: u32 = 100;
/// How long what came last may wait.
const AFTER: Duration = Duration::from_secs(3_600);
/// The same, where nothing ever ends: what does not fit by then never will.
const AFTER_INFLATION: Duration = Duration::from_secs(60);
/// The time between two tasks where all come as fast as they can.
const INFLATION: Duration = Duration::from_millis(10);
/// How long tasks run there: longer than any run.
const FOR_EVER: Duration = Duration::from_secs(10 * 365 * 24 * 3_600);

/// What came of one policy.
struct Run {
    policy: Policy,
    figures: Figures,
    took: Duration,
}

/// Runs a trace with each policy, and compares them.
pub(super) fn trace(args: &SimArgs, file: &Path, io: &mut Io<'_>) -> Result<Exit, Failure> {
    let trace = read(args, file)?;
    let last = trace
        .jobs
        .iter()
        .map(|job| job.at)
        .max()
        .unwrap_or_default();
    let after = if args.inflate { AFTER_INFLATION } else { AFTER };
    let until = args.time.unwrap_or(last + after);
    let users: BTreeSet<&Role> = trace.jobs.iter().map(|job| &job.user).collect();
    let mut runs = Vec::new();
    for policy in policies(args) {
        let mut options = Options::new(args.seed, 0, 0, Resources::new());
        options.allocator = policy.allocator(&users);
        let how = Replaying {
            options,
            asking: policy.asking(),
            every: (last / SAMPLES).max(Duration::from_secs(1)),
            until,
        };
        let begun = Instant::now();
        let figures = trace.replay(&how).map_err(Failure::failed)?;
        let took = begun.elapsed();
        runs.push(Run {
            policy,
            figures,
            took,
        });
    }
    match args.form() {
        Form::Text => table::print(&trace, &runs, io)?,
        Form::Json => json::print(args, &trace, &runs, io)?,
    }
    if let Some(path) = &args.plot {
        plot::write(path, &runs)?;
    }
    Ok(Exit::Success)
}

/// Lists the policies to compare, each once.
fn policies(args: &SimArgs) -> Vec<Policy> {
    let mut policies = Vec::new();
    for policy in &args.policy {
        if !policies.contains(policy) {
            policies.push(*policy);
        }
    }
    policies
}

/// Reads a trace, and makes of it what the flags say.
fn read(args: &SimArgs, file: &Path) -> Result<Trace, Failure> {
    let is_openb = head(file)?.starts_with(openb::TASKS);
    let machines = match &args.nodes {
        Some(nodes) => with_rows("--nodes", nodes, openb::machines)?,
        None => vec![Machine {
            count: args.agents,
            resources: args.resources.clone(),
            attributes: Attributes::new(),
        }],
    };
    let tasks = if is_openb { openb::jobs } else { fb::jobs };
    let mut trace = Trace {
        machines,
        jobs: with_rows("--trace", file, tasks)?,
    };
    if args.inflate {
        let mut rng = Rng::new(args.seed);
        rng.shuffle(&mut trace.jobs);
        for (at, job) in (0..).zip(&mut trace.jobs) {
            job.at = INFLATION * at;
            job.lasts = FOR_EVER;
        }
    } else {
        for job in &mut trace.jobs {
            job.at /= args.compress;
        }
    }
    Ok(trace)
}

/// Reads the beginning of a file, by which its format is known.
fn head(file: &Path) -> Result<String, Failure> {
    let rows = open("--trace", file)?;
    rows.head().map_err(|error| {
        let problem = format_args!("{error}; expected a trace");
        refused("--trace", file, &error, &problem)
    })
}

fn open(flag: &str, file: &Path) -> Result<Rows<fs::File>, Failure> {
    let opened = fs::File::open(file).map_err(|error| {
        let problem = format_args!("{error}; expected a file that can be read");
        refused(flag, file, &error, &problem)
    })?;
    Ok(Rows::new(opened))
}

/// Reads a whole file in its format. What is wrong is said with its place.
fn with_rows<T>(
    flag: &str,
    file: &Path,
    parse: fn(&mut Rows<fs::File>) -> Result<T, Wrong>,
) -> Result<T, Failure> {
    parse(&mut open(flag, file)?).map_err(|wrong| {
        let file = file.display().to_string();
        Failure::usage(flag, &file, wrong)
    })
}

//! `tepui sim --seeds A..B`: many small clusters in trouble, on several threads.
//!
//! The figures and what is recorded do not depend on the number of threads. Deliberately not here:
//! what is run of a seed (see `trial`), and what must hold (see the simulator).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;
use tepui_core::sim::{Kind, Log, Options, Plan, Violation};

use super::trial::Trial;
use super::{Form, SimArgs};
use crate::cli::Io;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::node::refused;
use crate::cli::values::Seeds;

/// One seed in so many runs twice.
const TWICE: u64 = 100;
/// How many failing seeds are recorded; more teach nothing that these do not.
const RECORDS: usize = 20;
/// How long a run is silent, and how often it says then how far it is.
const PROGRESS: Duration = Duration::from_secs(10);
/// How many extremes that stood nowhere are named in a text; in JSON they always are.
const MISSED_IN_TEXT: usize = 20;

/// Runs all seeds, and reports what they came to.
pub(super) fn swarm(args: &SimArgs, seeds: Seeds, io: &mut Io<'_>) -> Result<Exit, Failure> {
    usable(&args.records)?;
    if let (1, Some(seed)) = (seeds.count(), seeds.nth(0)) {
        // All that is drawn from it, before anything happens.
        write!(io.err, "{}", Plan::drawn(seed))?;
    }
    let cores = || thread::available_parallelism().map_or(1, NonZero::get);
    let jobs = args.jobs.map_or_else(cores, |jobs| jobs as usize);
    let begun = Instant::now();
    let next = AtomicU64::new(0);
    let (sender, receiver) = mpsc::channel();
    let sums = thread::scope(|scope| {
        for _ in 0..jobs {
            let (sender, next) = (sender.clone(), &next);
            scope.spawn(move || {
                while let Some(seed) = seeds.nth(next.fetch_add(1, Ordering::Relaxed)) {
                    let said = sender.send((seed, None));
                    // Nobody listens any more: the output cannot be written.
                    if said.is_err() || sender.send((seed, Some(trial(seed)))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        Sums::collect(&receiver, seeds, begun, io)
    })?;
    sums.report(args, begun.elapsed(), io)
}

/// Says early that failures cannot be recorded, and not when there is one.
fn usable(records: &Path) -> Result<(), Failure> {
    let expected = "expected a directory to record failing seeds in";
    match fs::metadata(records) {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(_) => {
            let path = records.display().to_string();
            let problem = format_args!("it is none; {expected}");
            Err(Failure::usage("--records", &path, problem))
        }
        Err(error) => {
            let problem = format_args!("{error}; {expected}");
            Err(refused("--records", records, &error, &problem))
        }
    }
}

fn trial(seed: u64) -> Trial {
    let plan = Plan::drawn(seed);
    match seed.checked_rem(TWICE) {
        Some(0) => Trial::twice(&plan),
        Some(_) | None => Trial::of(&plan, Log::Off),
    }
}

/// What all seeds so far came to.
#[derive(Debug, Default)]
struct Sums {
    seeds: u64,
    events: u64,
    faults: BTreeMap<Kind, u64>,
    /// What stood at an end of what it can be, in some cluster.
    extremes: BTreeSet<String>,
    /// Which tables and queues were seen full in one.
    full: BTreeSet<&'static str>,
    time: Duration,
    /// In order of their seeds.
    violations: BTreeMap<u64, Violation>,
}

impl Sums {
    fn collect(
        trials: &Receiver<(u64, Option<Trial>)>,
        seeds: Seeds,
        begun: Instant,
        io: &mut Io<'_>,
    ) -> io::Result<Self> {
        let mut sums = Self::default();
        let (mut told, mut running) = (begun, BTreeSet::new());
        loop {
            match trials.recv_timeout(PROGRESS) {
                Ok((seed, None)) => {
                    running.insert(seed);
                }
                Ok((seed, Some(trial))) => {
                    running.remove(&seed);
                    // In a long run nobody should have to wait for the end of it.
                    if let Some(violation) = &trial.violation {
                        writeln!(io.err, "tepui: {violation}")?;
                    }
                    sums.add(seed, trial);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(sums),
            }
            if told.elapsed() >= PROGRESS {
                told = Instant::now();
                let (done, events, failed) = (sums.seeds, sums.events, sums.violations.len());
                let rate = done as f64 / begun.elapsed().as_secs_f64();
                let all = seeds.count();
                write!(io.err, "tepui: {done} of {all} seeds, {events} events, ")?;
                let running: Vec<String> = running.iter().map(u64::to_string).collect();
                let running = running.join(", ");
                writeln!(
                    io.err,
                    "{failed} failed; {rate:.1} seeds a second; at {running}"
                )?;
            }
        }
    }

    fn add(&mut self, seed: u64, trial: Trial) {
        self.seeds += 1;
        self.events += trial.events;
        self.time += trial.time;
        self.extremes.extend(Options::drawn(seed).extremes());
        self.full.extend(trial.full);
        for (kind, count) in trial.faults {
            *self.faults.entry(kind).or_default() += count;
        }
        if let Some(violation) = trial.violation {
            self.violations.insert(seed, violation);
        }
    }

    fn report(&self, args: &SimArgs, took: Duration, io: &mut Io<'_>) -> Result<Exit, Failure> {
        let mut records = BTreeMap::new();
        for (seed, violation) in self.violations.iter().take(RECORDS) {
            let path = args.records.join(format!("tepui-sim-{seed}.plan"));
            record(&path, violation)?;
            records.insert(*seed, path);
        }
        match args.form() {
            Form::Text => self.print(&records, io)?,
            Form::Json => self.print_json(&records, took, io)?,
        }
        let Some((seed, violation)) = self.violations.first_key_value() else {
            return Ok(Exit::Success);
        };
        let path = records.get(seed).map(|path| path.display().to_string());
        let path = path.unwrap_or_default();
        Err(Failure::failed(format_args!(
            "{violation}; recorded in {path}"
        )))
    }

    fn print(&self, records: &BTreeMap<u64, PathBuf>, io: &mut Io<'_>) -> io::Result<()> {
        for (seed, violation) in &self.violations {
            match records.get(seed) {
                Some(path) => writeln!(io.out, "{violation}; recorded in {}", path.display())?,
                None => writeln!(io.out, "{violation}")?,
            }
        }
        let kinds = self.faults.iter();
        let kinds: Vec<String> = kinds.map(|(kind, n)| format!("{kind} {n}")).collect();
        if !kinds.is_empty() {
            writeln!(io.out, "{}", kinds.join(", "))?;
        }
        let (hit, all) = (self.extremes.len(), Options::all_extremes().len());
        write!(io.out, "extremes: {hit} of {all}")?;
        let missed = self.missed();
        // After a few seeds that would be nearly all of them.
        if !missed.is_empty() && missed.len() <= MISSED_IN_TEXT {
            write!(io.out, "; not met: {}", missed.join(", "))?;
        }
        writeln!(io.out)?;
        let full: Vec<&str> = self.full.iter().copied().collect();
        writeln!(io.out, "full: {}", full.join(", "))?;
        let (seeds, events, violations) = (self.seeds, self.events, self.violations.len());
        let faults: u64 = self.faults.values().sum();
        writeln!(
            io.out,
            "seeds: {seeds}, events: {events}, faults: {faults}, violations: {violations}"
        )
    }

    /// Lists what stood at no end in any cluster.
    fn missed(&self) -> Vec<String> {
        let all = Options::all_extremes().into_iter();
        all.filter(|name| !self.extremes.contains(name)).collect()
    }

    fn print_json(
        &self,
        records: &BTreeMap<u64, PathBuf>,
        took: Duration,
        io: &mut Io<'_>,
    ) -> io::Result<()> {
        let violations = self.violations.iter().map(|(seed, v)| ViolationJson {
            seed: *seed,
            property: v.property.as_str(),
            at_seconds: v.at.as_micros() as f64 / 1e6,
            text: &v.text,
            record: records.get(seed).map(|path| path.display().to_string()),
        });
        let figures = SwarmJson {
            seeds: self.seeds,
            events: self.events,
            faults: self.faults.values().sum(),
            faults_by_kind: self.faults.iter().map(|(k, n)| (k.as_str(), *n)).collect(),
            extremes: &self.extremes,
            extremes_not_met: self.missed(),
            full: &self.full,
            virtual_seconds: self.time.as_secs_f64(),
            wall_seconds: took.as_secs_f64(),
            violations: violations.collect(),
        };
        let line = serde_json::to_string(&figures).expect("figures are finite");
        writeln!(io.out, "{line}")
    }
}

/// Writes down what a failing seed did, to be run again.
fn record(path: &Path, violation: &Violation) -> Result<(), Failure> {
    let plan = Plan::drawn(violation.seed);
    let text = recorded(&plan, violation);
    fs::write(path, text).map_err(|error| {
        let path = path.display();
        Failure::failed(format_args!("{violation}; cannot write {path}: {error}"))
    })
}

/// A plan as text, below what it breaks.
pub(super) fn recorded(plan: &Plan, violation: &Violation) -> String {
    let lines = violation.to_string();
    let lines = lines.lines().map(|line| format!("# {line}\n"));
    format!("{}{plan}", lines.collect::<String>())
}

/// The figures as JSON; a contract like that of the lists.
#[derive(Serialize)]
struct SwarmJson<'a> {
    seeds: u64,
    events: u64,
    faults: u64,
    faults_by_kind: BTreeMap<&'a str, u64>,
    /// What stood at an end of what it can be, in some cluster, and what in none.
    extremes: &'a BTreeSet<String>,
    extremes_not_met: Vec<String>,
    /// Tables and queues that were seen full.
    full: &'a BTreeSet<&'static str>,
    virtual_seconds: f64,
    wall_seconds: f64,
    violations: Vec<ViolationJson<'a>>,
}

#[derive(Serialize)]
struct ViolationJson<'a> {
    seed: u64,
    property: &'a str,
    at_seconds: f64,
    text: &'a str,
    /// Where it can be run again from; of the first ones only.
    record: Option<String>,
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use tepui_core::sim::Property;
    use tepui_core::time::Time;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: SimArgs,
    }

    #[test]
    fn failing_seeds_are_recorded_and_the_lowest_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let records = dir.path().to_str().unwrap();
        let line = ["sim", "--seeds", "1..9", "--records", records];
        let args = Line::parse_from(line).args;
        let mut sums = Sums::default();
        for seed in [9, 4] {
            sums.add(
                seed,
                Trial {
                    events: 10,
                    faults: [(Kind::Cut, 2)].into(),
                    full: ["events"].into(),
                    violation: Some(Violation {
                        seed,
                        at: Time::from_micros(1_500_000),
                        property: Property::Updates,
                        text: "planted\nin two lines".into(),
                    }),
                    ..Trial::default()
                },
            );
        }
        sums.add(5, Trial::default());
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut io = Io {
            out: &mut out,
            err: &mut err,
        };
        let failure = sums.report(&args, Duration::ZERO, &mut io).unwrap_err();
        let file = dir.path().join("tepui-sim-4.plan");
        let expected = format!(
            "seed 4 at 1.500000: updates: planted; in two lines; recorded in {}",
            file.display()
        );
        assert_eq!((failure.exit, failure.message), (Exit::Failed, expected));
        let out = String::from_utf8(out).unwrap();
        let last = out.lines().last();
        let expected = "seeds: 3, events: 20, faults: 4, violations: 2";
        assert_eq!(last, Some(expected), "{out}");
        assert!(out.contains("cut 4\n"), "{out}");
        assert!(out.contains("full: events\n"), "{out}");
        assert!(out.contains("extremes: "), "{out}");
        for seed in [4, 9] {
            let file = dir.path().join(format!("tepui-sim-{seed}.plan"));
            let text = fs::read_to_string(file).unwrap();
            assert!(text.starts_with(&format!("# seed {seed} at ")), "{text}");
            let plan: Plan = text.parse().unwrap();
            assert_eq!(plan.to_string(), Plan::drawn(seed).to_string());
        }
    }
}

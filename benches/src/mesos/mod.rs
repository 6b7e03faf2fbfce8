//! The workloads of Mesos' own benchmarks of its allocator, sorter and resources, on our engine.
//!
//! `benches/mesos_workloads.rs` runs them. Each workload makes the cluster that Mesos' benchmark of
//! that name makes, and does what that does; how many offers were made and how many refusals are in
//! force must be the same, or the run fails. Times of Mesos were taken on a machine like those that
//! we test on, with one core.
//!
//! What is timed is what Mesos times: usually one *cycle*, from the moment an interval is over
//! until nothing is due, with the grants taken over. What happens before (declines, say) is shown
//! beside it, for work could hide there. The ratio is that of the time on the processor, since the
//! machine may be busy with something else. A cycle in which nothing is due costs us nothing, and
//! would make no honest line; so everything that anybody may want is looked at again, by force.
//!
//! Deliberately not here: other sizes, which `benches/allocator_grid.rs` has.

mod algebra;
mod bags;
mod declines;
mod mix;
mod quotas;
mod shapes;
mod sorter;
mod suppressed;

use std::io::{self, Write};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::rig::Took;
use crate::table::millis;

/// One thing that was timed.
#[derive(Clone, Debug)]
pub struct Line {
    name: String,
    /// What Mesos takes, in milliseconds, if it has such a line.
    mesos: Option<f64>,
    took: Took,
    /// What was told before, and is not a part of it.
    before: Duration,
    offers: usize,
    filters: usize,
    /// Offers and refusals as they must be.
    expected: Option<(usize, usize)>,
    /// What there is to say beside it.
    note: String,
}

impl Line {
    fn new(name: impl Into<String>, mesos_ms: f64, took: Took) -> Self {
        Self {
            name: name.into(),
            mesos: Some(mesos_ms),
            took,
            before: Duration::ZERO,
            offers: 0,
            filters: 0,
            expected: None,
            note: String::new(),
        }
    }

    /// Makes a line that Mesos has no time for.
    fn ours(name: impl Into<String>, took: Took) -> Self {
        Self {
            mesos: None,
            ..Self::new(name, 0.0, took)
        }
    }

    fn found(mut self, offers: usize, filters: usize) -> Self {
        (self.offers, self.filters) = (offers, filters);
        self
    }

    fn expecting(mut self, offers: usize, filters: usize) -> Self {
        self.expected = Some((offers, filters));
        self
    }

    fn noting(mut self, note: String) -> Self {
        self.note = note;
        self
    }

    fn after(mut self, told: Took) -> Self {
        self.before = told.wall;
        self
    }

    /// Joins what was timed several times, an odd number, and found alike.
    ///
    /// # Errors
    ///
    /// If it was not as in Mesos even once.
    fn median(samples: Vec<Self>) -> anyhow::Result<Self> {
        samples.iter().try_for_each(Self::check)?;
        let times: Vec<Took> = samples.iter().map(|line| line.took).collect();
        let mut before: Vec<Duration> = samples.iter().map(|line| line.before).collect();
        before.sort_unstable();
        let first = samples.into_iter().next();
        Ok(Self {
            took: Took::median(&times),
            before: before[before.len() / 2],
            ..first.context("there are samples")?
        })
    }

    fn check(&self) -> anyhow::Result<()> {
        let (name, found) = (&self.name, (self.offers, self.filters));
        ensure!(
            self.expected.is_none_or(|expected| expected == found),
            "{name}: {found:?} offers and filters, but {:?} in Mesos",
            self.expected
        );
        Ok(())
    }
}

/// How large a workload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Size {
    Usual,
    /// Left out of a quick look.
    Large,
}

type Run = Box<dyn Fn() -> anyhow::Result<Vec<Line>>>;

struct Workload {
    name: &'static str,
    size: Size,
    run: Run,
}

fn workload(
    name: &'static str,
    size: Size,
    run: impl Fn() -> anyhow::Result<Vec<Line>> + 'static,
) -> Workload {
    Workload {
        name,
        size,
        run: Box::new(run),
    }
}

/// What was asked for.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    only: Vec<String>,
    quick: bool,
}

impl Plan {
    /// Reads `[--quick] [ROW]...`; a row is a part of a workload's name.
    pub fn parse(arguments: impl Iterator<Item = String>) -> anyhow::Result<Self> {
        let mut plan = Self::default();
        for argument in arguments {
            match argument.as_str() {
                "--quick" => plan.quick = true,
                // Cargo adds it.
                "--bench" => {}
                flag if flag.starts_with('-') => {
                    anyhow::bail!("{flag}: expected --quick or parts of names, say decline")
                }
                row => plan.only.push(row.to_lowercase()),
            }
        }
        Ok(plan)
    }

    fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| name.contains(only.as_str()))
    }

    /// How often something is measured whose first run took so long: an odd number.
    const fn runs(&self, first: Duration) -> usize {
        if self.quick || first.as_secs() >= 8 {
            1
        } else if first.as_secs() >= 2 {
            3
        } else {
            7
        }
    }
}

/// Runs what is wanted and prints a line for everything timed.
///
/// # Errors
///
/// If offers or refusals are others than Mesos makes, or something was asked for that is not there.
pub fn run(plan: &Plan) -> anyhow::Result<()> {
    let mut out = io::stdout();
    let workloads = [
        declines::workloads(),
        suppressed::workloads(),
        quotas::workloads(),
        bags::workloads(),
        mix::workloads(),
        sorter::workloads(),
    ];
    let wanted = |it: &Workload| plan.wants(it.name) && (it.size == Size::Usual || !plan.quick);
    let wanted: Vec<_> = workloads.into_iter().flatten().filter(wanted).collect();
    ensure!(
        !wanted.is_empty() || plan.wants("algebra"),
        "nothing is called {:?}",
        plan.only
    );
    if !wanted.is_empty() {
        heading(&mut out)?;
    }
    let mut wrong = Vec::new();
    for workload in wanted {
        match median_lines(plan, &workload) {
            Ok(lines) => {
                for (line, runs) in &lines {
                    print(&mut out, line, *runs)?;
                }
            }
            // The others are of use all the same.
            Err(error) => {
                writeln!(out, "{:<56} WRONG: {error:#}", workload.name)?;
                wrong.push(error.to_string());
            }
        }
    }
    if plan.wants("algebra") {
        algebra::run(&mut out)?;
    }
    ensure!(wrong.is_empty(), "not as in Mesos:\n{}", wrong.join("\n"));
    Ok(())
}

/// Runs a workload several times. Returns each of its lines with the median, and how often.
fn median_lines(plan: &Plan, workload: &Workload) -> anyhow::Result<Vec<(Line, usize)>> {
    let begun = Instant::now();
    let mut samples = vec![(workload.run)()?];
    let runs = plan.runs(begun.elapsed());
    while samples.len() < runs {
        samples.push((workload.run)()?);
    }
    let line = |at| {
        let samples = samples.iter().map(|lines| Line::clone(&lines[at]));
        Ok((Line::median(samples.collect())?, runs))
    };
    (0..samples[0].len()).map(line).collect()
}

fn heading(out: &mut io::Stdout) -> io::Result<()> {
    writeln!(
        out,
        "{:<56} {:>11} {:>11} {:>9} {:>8}      {:>7} {:>8} {:>11} {:>4}",
        "workload",
        "ours, ms",
        "on CPU, ms",
        "Mesos, ms",
        "ratio",
        "offers",
        "filters",
        "before, ms",
        "runs"
    )
}

fn print(out: &mut io::Stdout, line: &Line, runs: usize) -> io::Result<()> {
    let ours = millis(line.took.wall);
    let (mesos, ratio, mark) = match line.mesos {
        None => ("-".to_owned(), "-".to_owned(), ""),
        Some(mesos) => {
            let ratio = mesos / millis(line.took.cpu);
            (mesos.to_string(), format!("{ratio:.1}"), mark(ratio))
        }
    };
    let times = format!(
        "{:<56} {ours:>11.4} {:>11.4} {mesos:>9} {ratio:>8} {mark:<4}",
        line.name,
        millis(line.took.cpu),
    );
    let counts = format!(
        "{:>7} {:>8} {:>11.3} {runs:>4}  {}",
        line.offers,
        line.filters,
        millis(line.before),
        line.note,
    );
    writeln!(out, "{times} {}", counts.trim_end())
}

/// Points to what is slower than it ought to be.
fn mark(ratio: f64) -> &'static str {
    if ratio < 10.0 {
        "<10"
    } else if ratio < 100.0 {
        "<100"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_counts_than_those_of_mesos_are_found() {
        let line = Line::new("a", 1.0, Took::default()).expecting(3, 4);
        assert!(line.clone().found(3, 4).check().is_ok());
        assert!(line.clone().found(3, 5).check().is_err());
        assert!(line.found(2, 4).check().is_err());
    }

    #[test]
    fn plans_are_read() {
        let parse = |text: &str| Plan::parse(text.split(' ').map(str::to_owned));
        let plan = parse("--bench --quick Decline").unwrap();
        assert!(plan.wants("decline 1000/50") && !plan.wants("labels"));
        assert_eq!(plan.runs(Duration::ZERO), 1);
        assert_eq!(Plan::default().runs(Duration::ZERO) % 2, 1);
        assert!(parse("--fast").is_err());
    }

    /// The smallest workloads, to see that they are as in Mesos.
    #[test]
    fn workloads_make_the_offers_that_mesos_makes() {
        for workload in [declines::workloads(), quotas::workloads(), mix::workloads()]
            .into_iter()
            .flatten()
            .filter(|it| ["quota, chopping 30", "mix"].contains(&it.name))
        {
            let lines = (workload.run)().unwrap();
            lines.iter().try_for_each(Line::check).unwrap();
        }
    }
}

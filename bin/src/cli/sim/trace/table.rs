//! The figures of a trace for people: one table of policies, one of users, one of the time.

use std::io;
use std::time::Duration;

use comfy_table::{Table, presets};
use tepui_core::sim::{Figures, Sample, Trace};

use super::Run;
use crate::cli::Io;

/// Into how many parts of equal length the time of a run is cut.
const PARTS: usize = 10;

/// Prints what came of each policy.
pub(super) fn print(trace: &Trace, runs: &[Run], io: &mut Io<'_>) -> io::Result<()> {
    let machines: u64 = trace.machines.iter().map(|one| u64::from(one.count)).sum();
    let tasks: u64 = trace.jobs.iter().map(|job| u64::from(job.tasks)).sum();
    let jobs = trace.jobs.len();
    writeln!(io.out, "machines {machines}, jobs {jobs}, tasks {tasks}")?;
    writeln!(io.out, "\n{}", of_policies(runs))?;
    writeln!(io.out, "\n{}", of_users(runs))?;
    writeln!(io.out, "\n{}", over_time(runs))
}

fn blank(titles: &[String]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.add_row(titles);
    table
}

fn of_policies(runs: &[Run]) -> Table {
    let names = runs.first().map(|run| run.figures.resources.as_slice());
    let mut titles: Vec<String> = ["POLICY", "STARTED", "LEFT", "WAIT MEAN", "P50", "P99"]
        .map(String::from)
        .into();
    for name in names.unwrap_or_default() {
        let name = name.to_uppercase();
        titles.push(format!("{name} USED"));
        titles.push(format!("{name} LOST"));
    }
    titles.extend(["GAP", "UNFAIR", "LARGEST", "APART", "SPEED"].map(String::from));
    let mut table = blank(&titles);
    for Run {
        policy,
        figures,
        took,
    } in runs
    {
        let waiting = figures.waiting;
        let mut cells = vec![
            policy.name().to_owned(),
            waiting.tasks.to_string(),
            figures.left.to_string(),
            seconds(waiting.mean),
            seconds(waiting.p50),
            seconds(waiting.p99),
        ];
        let used = figures.mean_used_permille.iter();
        for (used, lost) in used.zip(&figures.mean_lost_permille) {
            cells.push(percent(*used));
            cells.push(percent(*lost));
        }
        cells.push(small_percent(figures.most_gap_millionths));
        cells.push(format!("{} of {}", figures.unfair, figures.starts));
        cells.push(small_percent(figures.largest_task_millionths));
        cells.push(small_percent(figures.most_apart_millionths));
        cells.push(format!("{:.0}x", speed(figures, *took)));
        table.add_row(cells);
    }
    table
}

fn of_users(runs: &[Run]) -> Table {
    let titles = [
        "POLICY",
        "USER",
        "STARTED",
        "LEFT",
        "WAIT MEAN",
        "P99",
        "SHARE",
    ];
    let mut table = blank(&titles.map(String::from));
    for run in runs {
        for user in &run.figures.users {
            table.add_row([
                run.policy.name().to_owned(),
                user.name.clone(),
                user.waiting.tasks.to_string(),
                user.left.to_string(),
                seconds(user.waiting.mean),
                seconds(user.waiting.p99),
                percent(user.mean_share_permille),
            ]);
        }
    }
    table
}

/// What was used, lost and waited for, on average over each part of the time.
fn over_time(runs: &[Run]) -> Table {
    let names = runs.first().map(|run| run.figures.resources.as_slice());
    let mut titles = vec!["POLICY".to_owned(), "UNTIL".to_owned()];
    for name in names.unwrap_or_default() {
        let name = name.to_uppercase();
        titles.push(format!("{name} USED"));
        titles.push(format!("{name} LOST"));
    }
    titles.push("WAITING".to_owned());
    let mut table = blank(&titles);
    for run in runs {
        let all = run.figures.samples.as_slice();
        for part in all.chunks(all.len().div_ceil(PARTS).max(1)) {
            let last = part.last().expect("a part has a sample");
            let mut cells = vec![run.policy.name().to_owned(), seconds(last.at)];
            for i in 0..run.figures.resources.len() {
                cells.push(percent(mean(part, |sample| sample.used_permille[i])));
                cells.push(percent(mean(part, |sample| sample.lost_permille[i])));
            }
            cells.push(mean(part, |sample| sample.waiting).to_string());
            table.add_row(cells);
        }
    }
    table
}

fn mean(samples: &[Sample], value: impl Fn(&Sample) -> u64) -> u64 {
    let sum: u64 = samples.iter().map(value).sum();
    sum / (samples.len() as u64).max(1)
}

/// Returns how many times faster than life a run was.
pub(super) fn speed(figures: &Figures, took: Duration) -> f64 {
    figures.duration.as_secs_f64() / took.as_secs_f64().max(1e-9)
}

fn seconds(time: Duration) -> String {
    format!("{:.2}s", time.as_secs_f64())
}

fn percent(permille: u64) -> String {
    format!("{}.{}%", permille / 10, permille % 10)
}

fn small_percent(millionths: u64) -> String {
    let hundredths = millionths / 100;
    format!("{}.{:02}%", hundredths / 100, hundredths % 100)
}

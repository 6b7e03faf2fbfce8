//! The figures of a trace for programs; a contract like that of the lists.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use serde::Serialize;
use tepui_core::sim::{Figures, Sample, Trace, Waiting};

use super::Run;
use super::table::speed;
use crate::cli::Io;
use crate::cli::sim::SimArgs;

#[derive(Serialize)]
struct TraceJson<'a> {
    seed: u64,
    machines: u64,
    jobs: usize,
    tasks: u64,
    policies: Vec<PolicyJson<'a>>,
}

#[derive(Serialize)]
struct PolicyJson<'a> {
    policy: &'a str,
    virtual_seconds: f64,
    wall_seconds: f64,
    /// How many times faster than life.
    speed: f64,
    events: u64,
    tasks_left: u64,
    tasks_started_again: u64,
    waiting: WaitingJson,
    /// Parts of the whole cluster; 1 is all of it.
    utilisation: BTreeMap<&'a str, UsedJson>,
    packing_loss: BTreeMap<&'a str, f64>,
    /// Between one whose task was started and one who waited for the same.
    dominant_share_gap: UsedJson,
    /// Starts at which that was more than the largest task, as a part of all.
    unfair_starts: f64,
    /// Between users for whom something waits, whether or not it would fit anywhere.
    dominant_shares_apart: f64,
    /// The dominant share of the largest task: so much of a gap is due.
    largest_task_share: f64,
    users: Vec<UserJson<'a>>,
    samples: Vec<SampleJson<'a>>,
}

#[derive(Serialize)]
struct WaitingJson {
    tasks: u64,
    mean_seconds: f64,
    p50_seconds: f64,
    p99_seconds: f64,
}

#[derive(Serialize)]
struct UsedJson {
    mean: f64,
    most: f64,
}

#[derive(Serialize)]
struct UserJson<'a> {
    user: &'a str,
    waiting: WaitingJson,
    tasks_left: u64,
    mean_dominant_share: f64,
}

#[derive(Serialize)]
struct SampleJson<'a> {
    seconds: f64,
    waiting: u64,
    used: BTreeMap<&'a str, f64>,
    lost: BTreeMap<&'a str, f64>,
    dominant_shares: BTreeMap<&'a str, f64>,
}

/// Prints what came of each policy as one object.
pub(super) fn print(
    args: &SimArgs,
    trace: &Trace,
    runs: &[Run],
    io: &mut Io<'_>,
) -> io::Result<()> {
    let figures = TraceJson {
        seed: args.seed,
        machines: trace.machines.iter().map(|one| u64::from(one.count)).sum(),
        jobs: trace.jobs.len(),
        tasks: trace.jobs.iter().map(|job| u64::from(job.tasks)).sum(),
        policies: runs.iter().map(policy).collect(),
    };
    let line = serde_json::to_string(&figures).expect("figures are finite");
    writeln!(io.out, "{line}")
}

fn policy(run: &Run) -> PolicyJson<'_> {
    let figures = &run.figures;
    let used = figures.mean_used_permille.iter();
    let used = used
        .zip(&figures.most_used_permille)
        .map(|(mean, most)| UsedJson {
            mean: part(*mean),
            most: part(*most),
        });
    let users = figures.users.iter().map(|user| UserJson {
        user: &user.name,
        waiting: waiting(user.waiting),
        tasks_left: user.left,
        mean_dominant_share: part(user.mean_share_permille),
    });
    PolicyJson {
        policy: run.policy.name(),
        virtual_seconds: figures.duration.as_secs_f64(),
        wall_seconds: run.took.as_secs_f64(),
        speed: speed(figures, run.took),
        events: figures.events,
        tasks_left: figures.left,
        tasks_started_again: figures.again,
        waiting: waiting(figures.waiting),
        utilisation: figures
            .resources
            .iter()
            .map(String::as_str)
            .zip(used)
            .collect(),
        packing_loss: by_name(&figures.resources, &figures.mean_lost_permille),
        dominant_share_gap: UsedJson {
            mean: small_part(figures.mean_gap_millionths),
            most: small_part(figures.most_gap_millionths),
        },
        unfair_starts: figures.unfair as f64 / figures.starts.max(1) as f64,
        dominant_shares_apart: small_part(figures.most_apart_millionths),
        largest_task_share: small_part(figures.largest_task_millionths),
        users: users.collect(),
        samples: figures.samples.iter().map(|s| sample(figures, s)).collect(),
    }
}

fn sample<'a>(figures: &'a Figures, sample: &Sample) -> SampleJson<'a> {
    let users = figures.users.iter().map(|user| user.name.as_str());
    let shares = sample.shares_permille.iter().map(|share| part(*share));
    SampleJson {
        seconds: sample.at.as_secs_f64(),
        waiting: sample.waiting,
        used: by_name(&figures.resources, &sample.used_permille),
        lost: by_name(&figures.resources, &sample.lost_permille),
        dominant_shares: users.zip(shares).collect(),
    }
}

fn by_name<'a>(names: &'a [String], permille: &[u64]) -> BTreeMap<&'a str, f64> {
    let parts = permille.iter().map(|permille| part(*permille));
    names.iter().map(String::as_str).zip(parts).collect()
}

fn waiting(waiting: Waiting) -> WaitingJson {
    let seconds = |time: Duration| time.as_secs_f64();
    WaitingJson {
        tasks: waiting.tasks,
        mean_seconds: seconds(waiting.mean),
        p50_seconds: seconds(waiting.p50),
        p99_seconds: seconds(waiting.p99),
    }
}

fn part(permille: u64) -> f64 {
    permille as f64 / 1_000.0
}

fn small_part(millionths: u64) -> f64 {
    millionths as f64 / 1_000_000.0
}

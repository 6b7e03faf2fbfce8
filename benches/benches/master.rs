//! What one master does on one core.
//!
//! Called as `cargo bench -p tepui-benches --bench master [-- [--quick] [ROW]...]`.
//!
//! The master is in this process with its allocator, and only they are counted, on the processor;
//! agents and frameworks around it say what they must. Rows: `launches`, `watched`, `return`,
//! `views`, `accept`; `--quick` measures little, to show that it all works. What is wanted stands
//! beside.

#![allow(clippy::print_stdout, reason = "the table is what this is for")]

use std::process::ExitCode;
use std::time::Duration;

use tepui_benches::master::{Cluster, launches, measure_accepts, watched_launches};
use tepui_benches::memory;
use tepui_benches::plan::Plan;
use tepui_benches::table::{median, millis, quantile};

const ROUNDS: usize = 7;

#[global_allocator]
static COUNTING: memory::Counting = memory::Counting;

fn main() -> anyhow::Result<ExitCode> {
    let plan = Plan::parse(std::env::args().skip(1))?;
    let quick = plan.is_quick();
    println!("{:<70} {:>14} {:>14}", "what", "measured", "wanted");
    if plan.wants("launches") {
        run_launches(quick);
    }
    if plan.wants("watched") {
        run_watched(quick);
    }
    if plan.wants("return") {
        run_return(quick)?;
    }
    if plan.wants("views") {
        run_views(quick)?;
    }
    if plan.wants("accept") {
        run_accepts(quick);
    }
    Ok(ExitCode::SUCCESS)
}

fn line(what: &str, measured: &str, wanted: &str) {
    println!("{what:<70} {measured:>14} {wanted:>14}");
}

fn run_launches(quick: bool) {
    let shrink = if quick { 50 } else { 1 };
    let rounds = if quick { 1 } else { 3 };
    for (agents, tasks, per_offer, wanted) in [
        (1_000, 100_000, 16, "40000/s"),
        (1_000, 100_000, 1, "40000/s"),
        (50_000, 200_000, 16, "25000/s"),
        (50_000, 200_000, 1, "25000/s"),
    ] {
        let (agents, tasks) = (agents / shrink, tasks / shrink as usize);
        let mut took: Vec<Duration> = (0..rounds)
            .map(|_| launches(agents, 100, tasks, per_offer))
            .collect();
        let rate = tasks as f64 / median(&mut took).as_secs_f64();
        let what = format!("launches: {agents} agents, 100 frameworks, {per_offer} an accept");
        line(&what, &format!("{rate:.0}/s"), wanted);
    }
}

fn run_watched(quick: bool) {
    let (agents, tasks) = if quick { (20, 2_000) } else { (1_000, 100_000) };
    let rounds = if quick { 1 } else { 3 };
    let mut told = 0;
    let mut took: Vec<Duration> = (0..rounds)
        .map(|_| {
            let (took, events) = watched_launches(agents, 100, tasks, 16);
            told = events;
            took
        })
        .collect();
    let took = median(&mut took);
    let rate = tasks as f64 / took.as_secs_f64();
    let what = format!("watched: {agents} agents, 100 frameworks, 16 an accept, {told} events");
    line(&what, &format!("{rate:.0}/s"), "-");
    let mut alone: Vec<Duration> = (0..rounds)
        .map(|_| launches(agents, 100, tasks, 16))
        .collect();
    let more = took.saturating_sub(median(&mut alone));
    let each = more.as_secs_f64() * 1e6 / told as f64;
    line(
        "watched: more for each event than without",
        &format!("{each:.2} us"),
        "-",
    );
}

fn run_return(quick: bool) -> anyhow::Result<()> {
    let shrink = if quick { 100 } else { 1 };
    for (agents, each, ended, wanted) in [
        (20_000, 10, 0, "1 s, 600 MiB"),
        (50_000, 5, 0, "5 s"),
        (40_000, 10, 0, "2 s"),
        (40_000, 10, 100, "8 s"),
    ] {
        let agents = agents / shrink;
        let cluster = Cluster::with_history(agents, 100, each, ended);
        let back = cluster.measure_return()?;
        let all = back.decoding + back.master;
        let what = match ended {
            0 => format!("{agents} agents of {each} tasks"),
            _ => format!("{agents} agents of {each} tasks, {ended} more over"),
        };
        let what = format!(
            "return: {what} ({:.2} s of it decoding, {:.0} MiB)",
            back.decoding.as_secs_f64(),
            back.grown
        );
        line(&what, &format!("{:.2} s", all.as_secs_f64()), wanted);
    }
    Ok(())
}

fn run_views(quick: bool) -> anyhow::Result<()> {
    let agents = if quick { 500 } else { 50_000 };
    let views = Cluster::new(agents, 100, 5).measure_views(ROUNDS)?;
    let ms = |took| format!("{:.3} ms", millis(took));
    let what = format!("views: {agents} agents of 5 tasks, one view");
    line(&what, &ms(views.taken), "5 ms");
    line("views: 1000 news, no view", &ms(views.alone), "-");
    line("views: 1000 news just after a view", &ms(views.beside), "-");
    Ok(())
}

fn run_accepts(quick: bool) {
    let agents = if quick { 100 } else { 5_000 };
    let mut took = measure_accepts(agents, 100, 10_000);
    for (name, permille) in [("median", 500), ("p99", 990)] {
        let took = quantile(&mut took, permille);
        let what = format!("accept: {agents} agents, one task, {name}");
        line(&what, &format!("{:.3} ms", millis(took)), "50 ms");
    }
}

//! An agent that is killed at random moments with fifty live tasks: none is lost, run twice,
//! killed, or told to have ended otherwise than it has.
//!
//! The containers alone are killed at random moments, and at named places, by `tepui-isolation`;
//! here it is the daemon, with its journal, its updates, and a master.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::wildcard_enum_match_arm,
    reason = "a test panics, and says why it skips"
)]

mod common;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use common::{Cluster, DEADLINE, is_root_or_skip, wait_for};
use tepui::client::{Event, Events, Handle, Offer, Update};
use tepui::core::protocol::offer::Operation;
use tepui::core::protocol::status::Exit;
use tepui::prelude::*;

/// How many times the agent is killed; `TEPUI_TEST_KILLS` says another number.
const KILLS: usize = 10;
/// How many tasks are live all the time.
const LIVE: usize = 50;
const NEEDS: &str = "cpus:0.02;mem:32";
const RESOURCES: &str = "cpus:4;mem:4096";

/// What is known of the tasks: which there are, and what each was told to have come to.
#[derive(Default)]
struct Book {
    ordered: usize,
    ended: BTreeMap<usize, Vec<(TaskState, Option<Exit>)>>,
}

impl Book {
    fn live(&self) -> usize {
        self.ordered - self.ended.len()
    }
}

/// A framework that keeps so many tasks live.
struct Keeper<'a> {
    _handle: Handle,
    events: Events,
    book: Book,
    goes_on: &'a AtomicBool,
    live: &'a AtomicUsize,
}

fn code_of(n: usize) -> i32 {
    i32::try_from(n % 200).unwrap()
}

/// Each writes down that it ran, where all that run in the same place write it.
fn task(offer: &Offer, n: usize) -> TaskInfo {
    let millis = n * 37 % 6_000;
    let (seconds, rest) = (millis / 1_000, millis % 1_000);
    let code = code_of(n);
    let script = format!("echo {n} >> ran; sleep {seconds}.{rest:03}; exit {code}");
    let needs = Resources::parse(NEEDS).unwrap();
    let id = TaskId::new(&format!("t{n}")).unwrap();
    offer.task(id, needs, CommandInfo::shell(&script))
}

impl Keeper<'_> {
    /// Goes on until it is told not to, and all tasks have ended.
    async fn run(mut self) -> Book {
        while self.goes_on.load(Ordering::Relaxed) || self.book.live() > 0 {
            let next = tokio::time::timeout(DEADLINE, self.events.next()).await;
            match next.expect("news in time").expect("it has not ended") {
                Event::Offers(offers) => offers.into_iter().for_each(|offer| self.launch(offer)),
                Event::Update(update) => self.note(&update),
                _ => {}
            }
            self.live.store(self.book.live(), Ordering::Relaxed);
        }
        self.book
    }

    fn launch(&mut self, offer: Offer) {
        let goes_on = self.goes_on.load(Ordering::Relaxed);
        let missing = if goes_on { LIVE - self.book.live() } else { 0 };
        let mut left = offer.resources.clone();
        let needs = Resources::parse(NEEDS).unwrap();
        let fits = |_: &usize| left.contains(&needs) && left.subtract(&needs).is_ok();
        let first = self.book.ordered;
        let count = (0..missing).take_while(fits).count();
        if count == 0 {
            return offer.decline(Some(Duration::ZERO));
        }
        let tasks = (first..first + count).map(|n| task(&offer, n)).collect();
        // What was offered before the agent was killed is void.
        if offer
            .accept(vec![Operation::Launch(tasks)], Some(Duration::ZERO))
            .is_ok()
        {
            self.book.ordered += count;
        }
    }

    fn note(&mut self, update: &Update) {
        if !update.state.is_terminal() {
            return;
        }
        let n: usize = update.task.as_str()[1..].parse().unwrap();
        let ends = self.book.ended.entry(n).or_default();
        let end = (update.state, update.exit);
        // The same may be told again.
        if !ends.contains(&end) {
            ends.push(end);
        }
    }
}

/// Adds up how often each task has written that it ran.
fn runs_below(dir: &Path, runs: &mut BTreeMap<usize, usize>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            runs_below(&entry.path(), runs);
        } else if entry.file_name() == "ran" {
            let text = std::fs::read_to_string(entry.path()).unwrap();
            for line in text.lines() {
                *runs.entry(line.parse().unwrap()).or_default() += 1;
            }
        }
    }
}

// R11, AG-15, AG-57
#[test]
fn an_agent_that_is_killed_at_random_moments_loses_no_task_and_no_update() {
    if !is_root_or_skip("tasks in containers") {
        return;
    }
    let kills = std::env::var("TEPUI_TEST_KILLS").ok();
    let kills = kills.map_or(KILLS, |text| text.parse().unwrap());
    let flags = ["--resources", RESOURCES, "--container"];
    let mut cluster = Cluster::start(&flags);
    let (goes_on, live) = (AtomicBool::new(true), AtomicUsize::new(0));
    let target = Target {
        master: cluster.address.clone(),
        tls_dir: cluster.tls.clone(),
    };
    let book = std::thread::scope(|scope| {
        let keeping = scope.spawn(|| {
            let runtime = tokio::runtime::Runtime::new().expect("threads");
            runtime.block_on(async {
                let connecting = Framework::builder("keeper").connect(&target);
                let (handle, events) = connecting.await.expect("the master lets it in");
                let keeper = Keeper {
                    _handle: handle,
                    events,
                    book: Book::default(),
                    goes_on: &goes_on,
                    live: &live,
                };
                keeper.run().await
            })
        });
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..kills {
            wait_for("tasks to be live", || {
                (live.load(Ordering::Relaxed) >= LIVE * 4 / 5).then_some(())
            });
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            // Anywhere in what it does meanwhile.
            std::thread::sleep(Duration::from_micros(random % 1_000_000));
            cluster.kill_agent();
            cluster.start_agent(&flags);
        }
        goes_on.store(false, Ordering::Relaxed);
        keeping.join().expect("the framework has gone on")
    });
    let mut runs = BTreeMap::new();
    runs_below(&cluster.dir.join("agent/sandboxes"), &mut runs);
    for n in 0..book.ordered {
        let ends = &book.ended[&n];
        assert_eq!(ends.len(), 1, "task {n} ended as {ends:?}");
        let (state, exit) = ends.first().unwrap();
        let real = match code_of(n) {
            0 => TaskState::Finished,
            _ => TaskState::Failed,
        };
        match runs.get(&n) {
            Some(1) => {
                let told = (*state, *exit);
                assert_eq!(told, (real, Some(Exit::Code(code_of(n)))), "task {n}");
            }
            Some(count) => panic!("task {n} ran {count} times"),
            // It never came to the agent, or was not started before that died.
            None => assert!(exit.is_none(), "task {n} has not run: {state} {exit:?}"),
        }
    }
    let ran = runs.len();
    assert!(ran >= book.ordered / 2, "{ran} of {} ran", book.ordered);
    let all = book.ordered;
    let text = format!("agent killed {kills} times: {all} tasks, {ran} ran, 0 lost, 0 doubled");
    writeln!(std::io::stderr(), "{text}").expect("standard error is open");
}

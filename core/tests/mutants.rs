//! Plants one bug after the other in the machines, and lets clusters in trouble find it.
//!
//! A check that cannot fail proves nothing. So each bug of [`Mutant`] must break a property, or an
//! assertion of a machine, with one of the first 2,000 seeds of the swarm that `tepui sim --seeds`
//! runs. `cargo test --release -p tepui-core --test mutants` prints with which; it takes a minute,
//! or some where all seeds are tried. Without optimisation only bugs are planted that a few seeds
//! find, of as many properties as there are, so that all tests together stay quick.
//! `TEPUI_MUTANTS=RetryRenamed,GateOffByOne` plants these alone, `TEPUI_SEEDS` says how many seeds
//! there are, and `TEPUI_SOUND` how many must hold without any.
//!
//! The bugs were written without knowing the checks. Deliberately not here: what the bugs are
//! (`core/src/mutant.rs`), and what finds them (the simulator's `check` folder).

#![allow(
    clippy::unwrap_used,
    reason = "a test panics where something does not fit"
)]

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fmt;
use std::io::Write;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Mutex;
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use tepui_core::mutant::{Mutant, plant};
use tepui_core::sim::{Log, Plan, Property, Violation};
use tepui_core::time::Time;

/// Within how many seeds a bug must be found.
const SEEDS: u64 = 2_000;
/// How many seeds must hold with the switch there and no bug planted.
const SOUND: u64 = if cfg!(debug_assertions) { 4 } else { 100 };
/// One seed in so many runs twice, as in the swarm.
const TWICE: u64 = 100;
const THREADS: usize = 2;
/// What is tried without optimisation.
const QUICK: [Mutant; 14] = [
    Mutant::RescissionUntold,
    Mutant::OverdraftAllowed,
    Mutant::EndFreesTwice,
    Mutant::TaskIdTwice,
    Mutant::GreatestShareFirst,
    Mutant::ReservationsIgnored,
    Mutant::KillBeforeStartLost,
    Mutant::ExecutorsOrphaned,
    Mutant::KeptKillsDropped,
    Mutant::RefusedTwice,
    Mutant::RefusedFirstOnly,
    Mutant::WatcherMissed,
    Mutant::QuestionTakenForAll,
    Mutant::HistoryUnbounded,
];
/// How many bugs must need a fault to show.
const FAULTS: usize = 7;

/// Which seed has found each bug. It is tried first, so that the test takes seconds as long as the
/// clusters of the swarm are drawn as they were; where it finds nothing any more, all are tried.
/// What is printed then belongs here.
const FOUND: [(Mutant, u64); 52] = [
    (Mutant::UpdateRevives, 7),
    (Mutant::LeftRoleOffered, 12),
    (Mutant::MessageTwice, 7),
    (Mutant::MessageToOther, 7),
    (Mutant::UpdateForgotten, 7),
    (Mutant::RescissionOvertakes, 411),
    (Mutant::ExpiryIgnored, 13),
    (Mutant::MasterNewsOnce, 98),
    (Mutant::EndOverwritten, 42),
    (Mutant::FrameworkEndUntold, 5),
    (Mutant::FrameworkEndForgotten, 32),
    (Mutant::AnswerTooEarly, 5),
    (Mutant::AwayCalledGone, 48),
    (Mutant::OwnerUnchecked, 18),
    (Mutant::AgentIdReused, 12),
    (Mutant::RemovalForgotten, 39),
    (Mutant::MissedPingsKept, 18),
    (Mutant::ReturnNotBooked, 11),
    (Mutant::KillNotRepeated, 25),
    (Mutant::MissingNotAsked, 12),
    (Mutant::StrayBelieved, 11),
    (Mutant::IdUnbound, 17),
    (Mutant::HiddenEntropy, 100),
    (Mutant::ScheduleUnnoticed, 5),
    (Mutant::DownJoined, 24),
    (Mutant::QuestionKept, 5),
    (Mutant::DrainUntold, 9),
    (Mutant::DrainUnfinished, 22),
    (Mutant::OrderAnsweredEarly, 10),
    (Mutant::PromiseKeptFromAll, 19),
    (Mutant::GateOffByOne, 9),
    (Mutant::OldEpochObeyed, 163),
    (Mutant::LaunchBeforeRecord, 42),
    (Mutant::AnyAckTaken, 13),
    (Mutant::AckBeforeRecord, 250),
    (Mutant::KillUnwatched, 86),
    (Mutant::DrainEndsNothing, 576),
    (Mutant::ExecutorUnchecked, 108),
    (Mutant::OthersTaskBelieved, 628),
    (Mutant::DiskMadeUnheard, 5),
    (Mutant::OldMasterBelieved, 179),
    (Mutant::NewsLostWhileAway, 147),
    (Mutant::TaskStartedAgain, 11),
    (Mutant::AckTakesOldest, 9),
    (Mutant::ContainersUntold, 5),
    (Mutant::LostOffersUntold, 10),
    (Mutant::NextEventSkipped, 5),
    (Mutant::RefusedFirstOnly, 8),
    (Mutant::WatcherMissed, 7),
    (Mutant::HistoryUnbounded, 5),
    (Mutant::VerdictsUnbounded, 35),
    (Mutant::KillAgainAtOnce, 133),
];

/// How a bug was found.
#[derive(Clone, Debug)]
struct Found {
    violation: Violation,
    /// How much happened up to then.
    events: u64,
    /// Whether this seed finds nothing if no fault happens; programs still have their vices.
    needs_fault: bool,
}

thread_local! {
    /// What panicked on this thread, while somebody catches it.
    static CAUGHT: Cell<Option<String>> = const { Cell::new(None) };
}

/// Has panics that are caught here print nothing.
fn catch_quietly() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if CAUGHT.take().is_some() {
                CAUGHT.set(Some(info.to_string()));
            } else {
                usual(info);
            }
        }));
    });
}

/// Runs a plan; returns how much happened, and what was broken.
fn run(plan: &Plan, log: Log) -> (u64, Option<u128>, Option<Violation>) {
    let mut sim = plan.start(log);
    CAUGHT.set(Some(String::new()));
    let finished = panic::catch_unwind(AssertUnwindSafe(|| plan.finish(&mut sim)));
    let text = CAUGHT.take().unwrap_or_default();
    match finished {
        Ok(result) => (sim.report().events, sim.digest(), result.err()),
        // What is left of the cluster can be asked for its time only.
        Err(_) => {
            let violation = Violation {
                seed: plan.options.seed,
                at: sim.now(),
                property: Property::Machines,
                text,
            };
            (0, None, Some(violation))
        }
    }
}

/// Runs one cluster of the swarm.
fn trial(seed: u64) -> (u64, Option<Violation>) {
    let plan = Plan::drawn(seed);
    if !seed.is_multiple_of(TWICE) {
        let (events, _, violation) = run(&plan, Log::Off);
        return (events, violation);
    }
    let (events, digest, violation) = run(&plan, Log::digest());
    let (_, again, _) = run(&plan, Log::digest());
    let differs = violation.is_none() && digest != again;
    let differs = differs.then(|| Violation {
        seed,
        at: Time::ZERO + plan.trouble + plan.calm,
        property: Property::Determinism,
        text: "another run has another event log".into(),
    });
    (events, violation.or(differs))
}

/// Returns what the first of these seeds finds that finds anything, whatever threads do.
fn search(seeds: u64) -> Option<(u64, Violation)> {
    let next = AtomicU64::new(1);
    let last = AtomicU64::new(seeds);
    let first: Mutex<Option<(u64, Violation)>> = Mutex::new(None);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed > last.load(Ordering::Relaxed) {
                        return;
                    }
                    if let (events, Some(violation)) = trial(seed) {
                        // Those before it are looked at already, or by now.
                        last.fetch_min(seed, Ordering::Relaxed);
                        let mut first = first.lock().unwrap();
                        if first.as_ref().is_none_or(|(_, it)| seed < it.seed) {
                            *first = Some((events, violation));
                        }
                    }
                }
            });
        }
    });
    first.into_inner().unwrap()
}

/// Returns whether this seed finds nothing if no fault happens.
fn needs_fault(seed: u64) -> bool {
    let mut healthy = Plan::drawn(seed);
    healthy.faults = Some(Vec::new());
    let (_, _, anyway) = run(&healthy, Log::Off);
    anyway.is_none()
}

/// Looks for a bug, first with the seed that has found it before.
fn hunt(mutant: Mutant, seeds: u64) -> Option<Found> {
    plant(Some(mutant));
    let known = FOUND.iter().find(|(it, _)| *it == mutant);
    let again = known.and_then(|(_, seed)| {
        thread::scope(|scope| {
            let healthy = scope.spawn(|| needs_fault(*seed));
            let (events, violation) = trial(*seed);
            let needs_fault = healthy.join().unwrap();
            violation.map(|violation| (events, violation, needs_fault))
        })
    });
    let found = again.or_else(|| {
        let (events, violation) = search(seeds)?;
        let needs_fault = needs_fault(violation.seed);
        Some((events, violation, needs_fault))
    });
    plant(None);
    let (events, violation, needs_fault) = found?;
    Some(Found {
        violation,
        events,
        needs_fault,
    })
}

/// Prints even if the test passes: the table is what it is for.
fn print(line: fmt::Arguments<'_>) {
    let mut err = std::io::stderr().lock();
    writeln!(err, "{line}").unwrap();
}

/// Reads a number that was asked for.
fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().expect("a number of seeds"))
}

fn chosen() -> Vec<Mutant> {
    let Ok(names) = std::env::var("TEPUI_MUTANTS") else {
        let all = Mutant::ALL.iter().copied();
        return all
            .filter(|it| !cfg!(debug_assertions) || QUICK.contains(it))
            .collect();
    };
    let find = |name: &str| {
        let mut all = Mutant::ALL.iter();
        let found = all.find(|it| format!("{it:?}") == name);
        *found.unwrap_or_else(|| panic!("no mutant {name}"))
    };
    names.split(',').map(find).collect()
}

/// Tries one bug, and prints a row of the table. Returns how it was found, or that it was not.
fn tell(mutant: Mutant, seeds: u64) -> Result<Found, String> {
    let begun = Instant::now();
    let found = hunt(mutant, seeds);
    let (name, took) = (format!("{mutant:?}"), begun.elapsed().as_secs_f64());
    let Some(found) = found else {
        let missed = format!("{name} is not found within {seeds} seeds");
        print(format_args!("{missed}"));
        return Err(missed);
    };
    let Violation {
        seed,
        property,
        text,
        ..
    } = &found.violation;
    let needed = if found.needs_fault { "by a fault" } else { "" };
    let (events, text) = (found.events, text.lines().next().unwrap_or_default());
    print(format_args!(
        "{name:<22} {seed:>5} {events:>7} {took:>6.1}  {property:<13} {needed:<10}  {text}"
    ));
    Ok(found)
}

// I1 to I23, L1 to L4 as far as `sim/check` has them: each can fail.
#[test]
fn the_swarm_finds_every_bug_that_is_planted() {
    catch_quietly();
    let sound = number("TEPUI_SOUND").unwrap_or(SOUND);
    assert_eq!(search(sound), None, "without any bug");
    let seeds = number("TEPUI_SEEDS").unwrap_or(SEEDS);
    let (mut wrong, mut faults, mut broken) = (Vec::new(), 0, BTreeSet::new());
    let chosen = chosen();
    print(format_args!(
        "{:<22} {:>5} {:>7} {:>6}  {:<13} {:<10}  what",
        "mutant", "seed", "events", "s", "property", "shown"
    ));
    for mutant in &chosen {
        match tell(*mutant, seeds) {
            Ok(found) => {
                faults += usize::from(found.needs_fault);
                broken.insert(found.violation.property);
            }
            Err(text) => wrong.push(text),
        }
    }
    if chosen.len() == Mutant::ALL.len() {
        if faults < FAULTS {
            wrong.push(format!("only {faults} bugs need a fault to show"));
        }
        let silent = Property::ALL.iter().filter(|it| !broken.contains(*it));
        let silent: Vec<&Property> = silent.collect();
        if !silent.is_empty() {
            wrong.push(format!("no bug breaks {silent:?} first"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

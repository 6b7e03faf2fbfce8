//! `tepui sim` in fresh processes: the same seed gives the same event log, byte for byte; swarms
//! say what they came to; and what was recorded can be run again.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tepui::core::sim::{Log, Plan};

/// The least that a log must hold for the comparison to mean something.
const ENTRIES: usize = 10_000;

/// Runs a simulation in a process of its own; returns its log.
fn log_of(seed: u64, file: &Path) -> Vec<u8> {
    let output = Command::new(env!("CARGO_BIN_EXE_tepui"))
        .args(["sim", "--agents", "10", "--frameworks", "3", "--for", "1h"])
        .args(["--faults", "--seed", &seed.to_string(), "--log"])
        .arg(file)
        .output()
        .unwrap();
    assert!(output.status.success(), "seed {seed}: {output:?}");
    let log = std::fs::read(file).unwrap();
    std::fs::remove_file(file).unwrap();
    log
}

#[test]
fn twenty_seeds_each_twice_in_fresh_processes() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("events.log");
    let mut before = Vec::new();
    for seed in 1..=20 {
        let first = log_of(seed, &file);
        let again = log_of(seed, &file);
        assert!(first == again, "seed {seed} gave two different logs");
        let entries = first.split(|byte| *byte == b'\n').count() - 1;
        assert!(
            entries >= ENTRIES,
            "seed {seed} gave only {entries} entries"
        );
        assert!(first != before, "seeds {} and {seed} are alike", seed - 1);
        before = first;
    }
}

/// Runs a short simulation and returns what it prints.
fn figures(more: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_tepui"))
        .args(["sim", "--agents", "6", "--frameworks", "3", "--for", "20m"])
        .args(["--seed", "7"])
        .args(more)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(output.stderr, b"");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_figures_as_json() {
    let line = figures(&["--json"]);
    assert_eq!(line.lines().count(), 1, "{line}");
    let figures: Value = serde_json::from_str(&line).unwrap();
    let number = |name: &str| {
        figures[name]
            .as_f64()
            .unwrap_or_else(|| panic!("{name}: {line}"))
    };
    assert_eq!((number("seed"), number("agents")), (7.0, 6.0));
    assert_eq!(number("virtual_seconds"), 1200.0);
    let utilisation = number("utilisation");
    assert!(utilisation > 0.0 && utilisation <= 1.0, "{line}");
    let rate = number("events") / number("wall_seconds");
    let told = number("events_per_second");
    assert!((rate / told - 1.0).abs() < 0.01 && told > 0.0, "{line}");

    let frameworks = figures["frameworks"].as_array().unwrap();
    let names: Vec<&str> = frameworks
        .iter()
        .filter_map(|f| f["name"].as_str())
        .collect();
    assert_eq!(names, ["framework-1", "framework-2", "framework-3"]);
    for count in ["tasks_launched", "tasks_finished"] {
        let sum: f64 = frameworks.iter().filter_map(|f| f[count].as_f64()).sum();
        assert_eq!(sum, number(count), "{line}");
        assert!(sum > 0.0, "{line}");
    }
    assert!(
        number("tasks_launched") >= number("tasks_finished"),
        "{line}"
    );
    let shares = frameworks
        .iter()
        .filter_map(|f| f["dominant_share"].as_f64());
    let shares: Vec<f64> = shares.collect();
    assert_eq!(shares.len(), 3, "{line}");
    assert!(
        shares.iter().all(|share| (0.0..=1.0).contains(share)),
        "{line}"
    );
    assert!(shares.iter().any(|share| *share > 0.0), "{line}");
}

#[test]
fn the_figures_for_people_are_the_same() {
    let json: Value = serde_json::from_str(&figures(&["--json"])).unwrap();
    let text = figures(&[]);
    let mut lines = text.lines();
    let mut after = |title: &str| {
        let line = lines.next().unwrap_or_else(|| panic!("{title}: {text}"));
        let rest = line
            .strip_prefix(title)
            .unwrap_or_else(|| panic!("{title}: {text}"));
        rest.trim().to_owned()
    };
    assert_eq!(after("seed"), "7");
    assert_eq!(after("virtual time"), "20m");
    assert_eq!(after("tasks launched"), json["tasks_launched"].to_string());
    assert_eq!(after("tasks finished"), json["tasks_finished"].to_string());
    let utilisation = json["utilisation"].as_f64().unwrap() * 100.0;
    assert_eq!(after("utilisation"), format!("{utilisation:.1} % of cores"));
    assert_eq!(after("events "), json["events"].to_string());
    let rate: f64 = after("events/second").parse().unwrap();
    assert!(rate > 0.0, "{text}");
    assert_eq!(after("dominant shares at the end:"), "");
    for framework in json["frameworks"].as_array().unwrap() {
        let row = after(&format!("  {}", framework["name"].as_str().unwrap()));
        let share = framework["dominant_share"].as_f64().unwrap() * 100.0;
        let launched = &framework["tasks_launched"];
        assert_eq!(row, format!("{share:.1} %  {launched} tasks launched"));
    }
    assert_eq!(lines.next(), None, "{text}");
}

#[test]
fn the_log_has_all_that_every_node_takes_in_records_and_does() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("events.log");
    figures(&["--log", file.to_str().unwrap()]);
    let log = std::fs::read_to_string(file).unwrap();
    let mut kinds: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut before = 0.0;
    for line in log.lines() {
        let mut words = line.split(' ');
        let mut word = || words.next().unwrap_or_else(|| panic!("{line}"));
        let at: f64 = word().parse().unwrap_or_else(|_| panic!("{line}"));
        assert!(at >= before && at <= 1200.0, "time goes back: {line}");
        before = at;
        kinds.entry(word()).or_default().insert(word());
    }
    let agents = (1..=6).map(|n| format!("agent-{n}"));
    let frameworks = (1..=3).map(|n| format!("framework-{n}"));
    // Frameworks write nothing down: what they need after a crash the master tells them.
    for node in agents.chain(["master".into()]) {
        let has = &kinds[node.as_str()];
        assert!(
            has.is_superset(&["input", "record", "effect"].into()),
            "{node}: {has:?}"
        );
    }
    for node in frameworks {
        let has = &kinds[node.as_str()];
        assert!(
            has.is_superset(&["input", "effect"].into()),
            "{node}: {has:?}"
        );
    }
    assert_eq!(kinds.len(), 10, "{:?}", kinds.keys());
}

/// How a run of `tepui sim` ended.
struct Ended {
    code: Option<i32>,
    out: String,
    err: String,
}

fn sim(args: &[&str]) -> Ended {
    let output = Command::new(env!("CARGO_BIN_EXE_tepui"))
        .arg("sim")
        .args(args)
        .output()
        .unwrap();
    Ended {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

#[test]
fn a_swarm_comes_to_the_same_on_any_number_of_threads() {
    let one = sim(&["--seeds", "1..6", "--jobs", "1"]);
    let three = sim(&["--seeds", "1..6", "--jobs", "3"]);
    assert_eq!(one.code, Some(0), "{}", one.err);
    // How far it is, where that takes long.
    let is_progress = |line: &str| line.starts_with("tepui: ") && line.contains(" of 6 seeds");
    assert!(one.err.lines().all(is_progress), "{}", one.err);
    assert_eq!(one.out, three.out);
    let last = one.out.lines().last().unwrap();
    let words: Vec<&str> = last.split([' ', ',']).filter(|w| !w.is_empty()).collect();
    let [
        "seeds:",
        "6",
        "events:",
        events,
        "faults:",
        faults,
        "violations:",
        "0",
    ] = words[..]
    else {
        panic!("{last}");
    };
    let reports = (1..=6).map(|seed| Plan::drawn(seed).run(Log::Off).report);
    let (mut expected, mut hits) = (0, 0);
    for report in reports {
        expected += report.events;
        hits += report.faults.values().sum::<u64>();
    }
    assert_eq!(
        (events, faults),
        (&*expected.to_string(), &*hits.to_string())
    );

    let json = sim(&["--seeds", "1..6", "-o", "json"]);
    let json: Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(json["seeds"], 6);
    assert_eq!(json["events"], expected);
    assert_eq!(json["faults"], hits);
    assert_eq!(json["violations"], serde_json::json!([]));
    let kinds = json["faults_by_kind"].as_object().unwrap();
    let sum: u64 = kinds.values().filter_map(Value::as_u64).sum();
    assert_eq!(sum, hits);
}

#[test]
fn what_is_drawn_from_a_seed_is_said_first() {
    let plan = Plan::drawn(5);
    let ended = sim(&["--seeds", "5"]);
    assert!(ended.err.starts_with(&plan.to_string()), "{}", ended.err);
}

#[test]
fn what_was_recorded_runs_again_and_becomes_small() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("failed.plan");
    let path = file.to_str().unwrap();
    let plan = Plan::drawn(5);
    std::fs::write(&file, plan.to_string()).unwrap();
    let report = plan.run(Log::Off).report;
    let log = dir.path().join("events.log");
    let ended = sim(&["--replay", path, "--log", log.to_str().unwrap()]);
    let (events, faults) = (report.events, report.faults.values().sum::<u64>());
    let line = format!("seeds: 1, events: {events}, faults: {faults}, violations: 0\n");
    assert_eq!((ended.code, ended.out), (Some(0), line));
    let log = std::fs::read_to_string(log).unwrap();
    assert_eq!(log.lines().count() as u64, events);

    // Whoever loses a connection stays away for longer than all others wait.
    let impatient: Vec<String> = plan
        .to_string()
        .lines()
        .map(|line| match line.split_once('=') {
            Some(("redial", _)) => "redial=100000..100000".into(),
            _ => line.into(),
        })
        .collect();
    std::fs::write(&file, impatient.join("\n")).unwrap();
    let ended = sim(&["--replay", path]);
    assert_eq!(ended.code, Some(1), "{}", ended.out);
    assert!(ended.out.ends_with(", violations: 1\n"), "{}", ended.out);
    assert!(ended.err.starts_with("error: seed 5 at "), "{}", ended.err);
    assert!(ended.err.contains(": convergence: "), "{}", ended.err);
    assert_eq!(ended.err.lines().count(), 1);

    let ended = sim(&["--replay", path, "--shrink"]);
    assert_eq!(ended.code, Some(1), "{}", ended.err);
    let small = dir.path().join("failed.small.plan");
    let first = ended.out.lines().next().unwrap();
    assert_eq!(first, small.to_str().unwrap());
    let text = std::fs::read_to_string(small).unwrap();
    assert!(text.starts_with("# seed 5 at "), "{text}");
    let small: Plan = text.parse().unwrap();
    assert_eq!(small.listed().len(), 1, "{text}");
    assert!(small.run(Log::Off).violation.is_some());
}

#[test]
fn flags_that_make_no_sense_together_are_refused() {
    for (args, part) in [
        (&["--seeds", "5..1"][..], "1..200"),
        (&["--seeds", "x"], "1..200"),
        (&["--seeds", "1..2", "--seed", "3"], "--seed"),
        (&["--seeds", "1..2", "--log", "x"], "--log"),
        (&["--seeds", "1..2", "--jobs", "0"], "from 1 to 1024"),
        (&["--seeds", "1..2", "--records", "/nowhere"], "a directory"),
        (&["--jobs", "2"], "--seeds"),
        (&["--shrink"], "--replay"),
        (&["--replay", "/nowhere"], "recorded"),
        (&["--replay", "/dev/null"], "line 1: expected format=1"),
        (&["--replay", "x", "--seeds", "1"], "--seeds"),
        (&["--json", "-o", "json"], "--json"),
    ] {
        let ended = sim(args);
        assert_eq!(ended.code, Some(2), "{args:?}: {}", ended.err);
        assert_eq!(ended.err.lines().count(), 1, "{args:?}: {}", ended.err);
        assert!(ended.err.contains(part), "{args:?}: {}", ended.err);
    }
}

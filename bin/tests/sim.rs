//! `tepui sim` in fresh processes: the same seed gives the same event log, byte for byte.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

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

//! `tepui sim` in fresh processes: the same seed gives the same event log, byte for byte.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::path::Path;
use std::process::Command;

/// The least that a log must hold for the comparison to mean something.
const ENTRIES: usize = 10_000;

/// Runs a simulation in a process of its own; returns its log.
fn log_of(seed: u64, file: &Path) -> Vec<u8> {
    let output = Command::new(env!("CARGO_BIN_EXE_tepui"))
        .args(["sim", "--agents", "10", "--frameworks", "3", "--for", "30m"])
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

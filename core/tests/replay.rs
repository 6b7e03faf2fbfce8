//! Runs once more, shrunk, what has broken a property of simulated clusters.
//!
//! Each file of `regressions` says above its plan what it was. How they are found and made small is
//! in CONTRIBUTING.

#![allow(clippy::unwrap_used, reason = "a test panics")]

use std::fs;
use std::path::{Path, PathBuf};

use tepui_core::sim::{Checking, Log, Plan, Property};

/// What still breaks, and what. When a bug is fixed its line goes.
const OPEN: [(&str, Property); 0] = [];

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/regressions");
    let entries = fs::read_dir(folder).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn what_was_broken_once_holds() {
    let files = files();
    for (name, _) in OPEN {
        let is_there = files.iter().any(|file| file.ends_with(name));
        assert!(is_there, "{name} is open, and missing");
    }
    for file in files {
        let shown = file.display();
        let text = fs::read_to_string(&file).unwrap();
        let plan: Plan = text.parse().unwrap_or_else(|e| panic!("{shown}: {e}"));
        assert_ne!(plan.options.checking, Checking::Off, "{shown}");
        let outcome = plan.run(Log::Off);
        let broken = outcome.violation.as_ref().map(|v| v.property);
        let open = OPEN.iter().find(|(name, _)| file.ends_with(name));
        let expected = open.map(|(_, property)| *property);
        assert_eq!(broken, expected, "{shown}: {:?}", outcome.violation);
    }
}

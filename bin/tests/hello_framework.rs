//! The examples that show how a scheduler is written: short, and they do what they say.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test panics"
)]

mod common;

use std::collections::BTreeSet;
use std::path::Path;

use common::{Dir, NO_PROCESS, command, processes_about, run};

#[test]
fn a_scheduler_is_at_most_sixty_lines() {
    let source = include_str!("../examples/hello_framework.rs");
    assert!(source.lines().count() <= 60, "{}", source.lines().count());
}

#[test]
fn ten_tasks_run_and_finish() {
    // Cargo builds examples with the tests, beside the binaries.
    let built = Path::new(common::TEPUI).with_file_name("examples");
    let dir = Dir::new();
    let mut example = command(built.join("hello_framework"));
    example.env("TMPDIR", dir.path());
    let ended = run(example).with(0);

    for state in ["running", "finished"] {
        let lines = ended.out.lines();
        let tasks: Vec<&str> = lines
            .filter_map(|line| line.split_once(&format!(" is {state}")))
            .map(|(task, _)| task)
            .collect();
        assert_eq!(tasks.len(), 10, "{}", ended.out);
        let wanted: BTreeSet<String> = (0..10).map(|n| format!("hello-{n}")).collect();
        let told: BTreeSet<String> = tasks.into_iter().map(Into::into).collect();
        assert_eq!(told, wanted, "{}", ended.out);
    }
    assert_eq!(ended.out.lines().count(), 20, "{}", ended.out);
    assert_eq!(processes_about(dir.text()), NO_PROCESS);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn the_readme_shows_a_scheduler_that_works() {
    let (readme, source) = (
        include_str!("../../README.md"),
        include_str!("../examples/one_task.rs"),
    );
    let shown = readme.split("```rust\n").nth(1).unwrap();
    let shown = shown.split("```").next().unwrap();
    assert!(!shown.is_empty() && source.contains(shown), "{shown}");
    let built = Path::new(common::TEPUI).with_file_name("examples");
    let dir = Dir::new();
    let mut example = command(built.join("one_task"));
    example.env("TMPDIR", dir.path());
    assert_eq!(run(example).with(0).out, "");
    assert_eq!(processes_about(dir.text()), NO_PROCESS);
}

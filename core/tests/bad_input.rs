//! A catalogue of invalid messages and values: each breaks one rule in one place, is answered with
//! the typed error that belongs to it, and changes nothing (R6, I21).
//!
//! A case is a distinct pair of rule and place. What is wrong in its form never gets as far as a
//! machine: such bytes do not decode (`bytes`). What is wrong in its meaning is refused by the
//! master, whose whole state is compared before and after (`agents`, `calls`, `frameworks`,
//! `operations`, `operators`, `tasks`, `wishes`), or by an agent (`executors`).
//!
//! Without cases are three rules of the specification, for there is nothing to be wrong: a secret
//! is its value and nothing else, containers are named by their agent, and levels of logs are set
//! by those who start a daemon.

#![allow(clippy::unwrap_used, reason = "a test panics")]

#[path = "bad_input/agents.rs"]
mod agents;
#[path = "bad_input/bytes.rs"]
mod bytes;
#[path = "bad_input/calls.rs"]
mod calls;
#[path = "bad_input/containers.rs"]
mod containers;
#[path = "bad_input/discovery.rs"]
mod discovery;
#[path = "bad_input/executors.rs"]
mod executors;
#[path = "bad_input/frameworks.rs"]
mod frameworks;
#[path = "bad_input/operations.rs"]
mod operations;
#[path = "bad_input/operators.rs"]
mod operators;
#[path = "bad_input/stage.rs"]
mod stage;
#[path = "bad_input/tasks.rs"]
mod tasks;
#[path = "bad_input/wishes.rs"]
mod wishes;

use std::collections::BTreeSet;

/// As many as Mesos has places in its validation that return an error.
const AT_LEAST: usize = 462;

/// Which rule was broken in which place.
#[derive(Default)]
struct Catalogue(BTreeSet<(String, String)>);

impl Catalogue {
    /// Notes a case that was refused as it must be.
    #[track_caller]
    fn note(&mut self, rule: &str, place: &str) {
        let is_new = self.0.insert((rule.into(), place.into()));
        assert!(is_new, "{rule} in {place} is there twice");
    }
}

#[test]
fn what_is_invalid_is_refused_by_its_rule_and_changes_nothing() {
    // VA-02 to VA-07, VA-09, VA-10, VA-12 to VA-15, VA-27 to VA-30, TK-04
    let mut catalogue = Catalogue::default();
    bytes::check(&mut catalogue);
    frameworks::check(&mut catalogue);
    calls::check(&mut catalogue);
    wishes::check(&mut catalogue);
    tasks::check(&mut catalogue);
    tasks::check_groups(&mut catalogue);
    tasks::check_published(&mut catalogue);
    tasks::check_containers(&mut catalogue);
    agents::check(&mut catalogue);
    executors::check(&mut catalogue);
    operations::check(&mut catalogue);
    operators::check(&mut catalogue);
    let count = catalogue.0.len();
    assert!(count >= AT_LEAST, "{count} cases, and {AT_LEAST} are due");
}

//! The allocation example of the DRF paper, as the example program plays it with real processes.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test panics"
)]

mod common;

use std::path::Path;

use common::{Dir, NO_PROCESS, command, run};

/// What the paper's framework wants for a task, of 9 CPUs and 18 GB.
struct Demand {
    name: &'static str,
    cpus: u32,
    gb: u32,
    launched: u32,
}

impl Demand {
    /// The dominant share, in eighteenths.
    fn share(&self) -> u32 {
        (self.launched * self.cpus * 2).max(self.launched * self.gb)
    }
}

const CPUS: u32 = 9;
const GB: u32 = 18;

/// Plays the launches by progressive filling; fails at the first that it does not allow.
fn fill(launches: &[&str]) -> [u32; 2] {
    let demand = |name, cpus, gb| Demand {
        name,
        cpus,
        gb,
        launched: 0,
    };
    let mut both = [demand("A", 1, 4), demand("B", 3, 1)];
    let (mut cpus, mut gb) = (CPUS, GB);
    for (n, name) in launches.iter().enumerate() {
        let fits = |demand: &Demand| demand.cpus <= cpus && demand.gb <= gb;
        let lowest = both.iter().filter(|demand| fits(demand)).map(Demand::share);
        let lowest = lowest
            .min()
            .unwrap_or_else(|| panic!("launch {n}: nothing fits"));
        let one = both.iter_mut().find(|demand| demand.name == *name);
        let one = one.unwrap_or_else(|| panic!("launch {n} is of {name:?}"));
        assert!(
            fits(one),
            "launch {n} of {name} does not fit in {launches:?}"
        );
        assert_eq!(
            one.share(),
            lowest,
            "launch {n} of {name} was not its turn in {launches:?}"
        );
        one.launched += 1;
        (cpus, gb) = (cpus - one.cpus, gb - one.gb);
    }
    assert!(
        both.iter().all(|one| one.cpus > cpus || one.gb > gb),
        "more fits after {launches:?}"
    );
    both.map(|demand| demand.launched)
}

#[test]
#[should_panic(expected = "was not its turn")]
fn the_check_knows_a_wrong_order() {
    fill(&["A", "B", "B", "A", "A"]);
}

#[test]
fn the_example_of_the_paper() {
    // Cargo builds examples with the tests, beside the binaries.
    let built = Path::new(common::TEPUI).with_file_name("examples");
    let dir = Dir::new();
    let mut example = command(built.join("drf_paper"));
    example.env("TMPDIR", dir.path());
    let ended = run(example).with(0);

    let lines: Vec<&str> = ended.out.lines().collect();
    assert_eq!(
        lines.last_chunk(),
        Some(&["A: 3 tasks", "B: 2 tasks"]),
        "{lines:?}"
    );
    assert!(
        lines.contains(&"A: dominant share 0.667 (mem)"),
        "{lines:?}"
    );
    assert!(
        lines.contains(&"B: dominant share 0.667 (cpus)"),
        "{lines:?}"
    );

    let launches: Vec<&str> = lines
        .iter()
        .filter_map(|line| Some(line.strip_prefix("launch ")?.split_once(": ")?.1))
        .collect();
    assert_eq!(fill(&launches), [3, 2]);
    // Each was a real process, and has ended with the cluster.
    assert_eq!(common::processes_about(dir.text()), NO_PROCESS);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

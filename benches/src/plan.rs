//! How much is measured, from the command line of the benchmark.
//!
//! Called by `main`. Deliberately not here: what each row is.

use std::time::Duration;

/// How often and how long things are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Tasks of the small flood.
    pub few: usize,
    /// Tasks of the large flood.
    pub many: usize,
    /// How often the small flood is repeated.
    pub rounds: usize,
    /// Tasks launched one by one through a framework.
    pub single: usize,
    /// Runs of the command line against a cluster.
    pub commands: usize,
    /// Runs of the command line with a cluster of its own.
    pub embedded: usize,
    /// How long daemons are watched doing nothing.
    pub idle: Duration,
    /// How long the simulator runs.
    pub simulate: Duration,
    /// Containers launched one by one.
    pub containers: usize,
}

const FULL: Counts = Counts {
    few: 1_000,
    many: 10_000,
    rounds: 3,
    single: 200,
    commands: 50,
    embedded: 10,
    idle: Duration::from_secs(10),
    simulate: Duration::from_secs(5),
    containers: 100,
};

const QUICK: Counts = Counts {
    few: 100,
    many: 200,
    rounds: 1,
    single: 20,
    commands: 5,
    embedded: 2,
    idle: Duration::from_secs(2),
    simulate: Duration::from_secs(1),
    containers: 8,
};

/// What was asked for.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How often.
    pub counts: Counts,
    only: Vec<String>,
}

impl Plan {
    /// Reads `[--quick] [ROW]...`; without rows, all are wanted.
    pub fn parse(arguments: impl Iterator<Item = String>) -> anyhow::Result<Self> {
        let mut plan = Self {
            counts: FULL,
            only: Vec::new(),
        };
        for argument in arguments {
            match argument.as_str() {
                "--quick" => plan.counts = QUICK,
                // Cargo adds it.
                "--bench" => {}
                flag if flag.starts_with('-') => {
                    anyhow::bail!("{flag}: expected --quick or names of rows, say p1")
                }
                row => plan.only.push(row.to_lowercase()),
            }
        }
        Ok(plan)
    }

    /// Returns whether little is to be measured.
    pub fn is_quick(&self) -> bool {
        self.counts == QUICK
    }

    /// Returns whether a row was asked for.
    pub fn wants(&self, row: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == row)
    }

    /// Returns whether one of these rows was asked for.
    pub fn wants_any(&self, rows: &[&str]) -> bool {
        rows.iter().any(|row| self.wants(row))
    }
}

//! One run of a swarm: a cluster that is in trouble for a while, is healed, and must agree then.
//!
//! Used by tests, by the command line, and by whoever wants his own scheduler in many clusters.
//! Deliberately not here: which seeds are run, and on how many threads.

use alloc::vec::Vec;
use core::time::Duration;

use super::fault::{Fault, Source};
use super::log::Log;
use super::options::Options;
use super::property::Violation;
use super::report::Report;
use super::{CONVERGENCE, Sim};
use crate::time::Time;

/// How long faults happen.
const TROUBLE: Duration = Duration::from_secs(300);
/// How long a cluster goes on that was healed.
const CALM: Duration = Duration::from_secs(60);

/// What happens to one cluster.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The cluster.
    pub options: Options,
    /// How long faults happen.
    pub trouble: Duration,
    /// How long it goes on after its views have agreed.
    pub calm: Duration,
    /// What goes wrong, in order of time; `None` leaves it to the options.
    pub faults: Option<Vec<Fault>>,
}

/// What came of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Figures up to the end.
    pub report: Report,
    /// The digest of the event log, if that was asked for.
    pub digest: Option<u128>,
    /// The first property that did not hold, with which the run ended.
    pub violation: Option<Violation>,
}

impl Plan {
    /// Draws a small cluster and its trouble from a seed.
    pub fn drawn(seed: u64) -> Self {
        Self {
            options: Options::drawn(seed),
            trouble: TROUBLE,
            calm: CALM,
            faults: None,
        }
    }

    /// Lists what goes wrong. It follows from seed and options, whatever the nodes do.
    pub fn listed(&self) -> Vec<Fault> {
        if let Some(faults) = &self.faults {
            return faults.clone();
        }
        let mut listed = Vec::new();
        let mut source = Source::drawn(self.options.seed, self.options.faults.clone());
        let end = Time::ZERO + self.trouble;
        while source.due().is_some_and(|at| at <= end) {
            listed.extend(source.take(self.options.agents, self.frameworks()));
        }
        listed
    }

    /// Returns how many frameworks there are, of all kinds.
    pub(super) fn frameworks(&self) -> u32 {
        let options = &self.options;
        let misfits = options.greedy.saturating_add(options.silent);
        let misfits = misfits.saturating_add(options.nonsense);
        let misfits = misfits.saturating_add(options.leaving);
        let misfits = misfits.saturating_add(options.keepers);
        let misfits = misfits.saturating_add(options.formatters);
        let misfits = misfits.saturating_add(options.shifters);
        options.frameworks.saturating_add(misfits)
    }

    /// Makes the cluster and lets all of it happen.
    ///
    /// # Panics
    ///
    /// If an assertion of a machine does not hold.
    pub fn run(&self, log: Log) -> Outcome {
        let mut sim = self.start(log);
        let violation = self.finish(&mut sim).err();
        Outcome {
            report: sim.report(),
            digest: sim.digest(),
            violation,
        }
    }

    /// Makes the cluster, to which nothing has happened yet.
    pub fn start(&self, log: Log) -> Sim {
        let mut sim = Sim::with_log(self.options.clone(), log);
        if let Some(faults) = &self.faults {
            sim.world.trouble = Source::Listed(faults.iter().copied().collect());
        }
        sim
    }

    /// Lets it happen to a cluster that was just made: trouble, healing, agreement, a while of
    /// work, some work that has an end, and some that has none.
    ///
    /// # Panics
    ///
    /// If an assertion of a machine does not hold. The cluster can then be asked for its time only.
    pub fn finish(&self, sim: &mut Sim) -> Result<(), Violation> {
        sim.advance(self.trouble)?;
        sim.heal();
        sim.converge(CONVERGENCE)?;
        sim.advance(self.calm)?;
        sim.complete()?;
        sim.compete()
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn a_plan_that_was_written_down_gives_the_same_run() {
        let mut faults = 0;
        for seed in 0..8 {
            let plan = Plan::drawn(seed);
            let again: Plan = plan.to_string().parse().unwrap();
            assert!(again.options.faults.every.is_none());
            let first = plan.run(Log::digest());
            assert_eq!(first.violation, None);
            faults += first.report.faults.len();
            assert_eq!(first, again.run(Log::digest()), "seed {seed}");
        }
        assert!(faults > 20, "{faults} kinds of faults in all");
    }
}

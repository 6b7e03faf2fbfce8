//! One run of a swarm: a cluster that is in trouble for a while, is healed, and must agree then.
//!
//! Used by tests, by the command line, and by whoever wants his own scheduler in many clusters.
//! Deliberately not here: which seeds are run, and on how many threads.

use core::time::Duration;

use super::log::Log;
use super::options::Options;
use super::property::Violation;
use super::report::Report;
use super::{CONVERGENCE, Sim};

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
        }
    }

    /// Makes the cluster and lets it run: trouble, healing, agreement, and a while of work.
    ///
    /// # Panics
    ///
    /// If an assertion of a machine does not hold.
    pub fn run(&self, log: Log) -> Outcome {
        let mut sim = Sim::with_log(self.options.clone(), log);
        let violation = self.go(&mut sim).err();
        Outcome {
            report: sim.report(),
            digest: sim.digest(),
            violation,
        }
    }

    fn go(&self, sim: &mut Sim) -> Result<(), Violation> {
        sim.advance(self.trouble)?;
        sim.heal();
        sim.converge(CONVERGENCE)?;
        sim.advance(self.calm)
    }
}

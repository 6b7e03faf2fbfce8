//! Every finite workload completes (L4): when nothing goes wrong any more and others want nothing
//! new, a framework that wants some tasks to end well has them within a bound.
//!
//! The bound is what those may take that run already, with time to start and to be told; what does
//! not start is launched again. Not looked at where somebody keeps what he gets for ever; who never
//! answers keeps nothing where offers are good for a while only.

use core::time::Duration;

use crate::sim::options::{Demand, Options};

/// How many tasks it wants.
const TASKS: u64 = 6;
/// For all but the tasks themselves: executors that never speak are given up after a minute, and
/// an update that was lost is told again after minutes.
const SLACK: Duration = Duration::from_secs(1_800);

/// Returns what a finite framework wants, and within what time it has it; `None` where somebody
/// else may have all there is for ever.
pub(in crate::sim) fn workload(options: &Options) -> Option<(Demand, Duration)> {
    let is_held = options.silent > 0 && options.allocator.lease().is_none();
    if options.greedy > 0 || is_held || options.agents == 0 {
        return None;
    }
    let demand = Demand {
        task: options.demand.task.clone(),
        tasks: 2,
        total: Some(TASKS),
        ..Demand::default()
    };
    Some((demand, options.run.ends().1 * 4 + SLACK))
}

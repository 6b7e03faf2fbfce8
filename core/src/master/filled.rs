//! How full the master's tables are that have a bound (I22).
//!
//! For whoever looks on; the bounds themselves are kept where something is added. Of tables with a
//! row for each framework or agent the fullest counts.

use alloc::vec::Vec;

use super::Master;
use crate::limits::{self, Filled};

impl Master {
    /// Lists what is bounded, how much there is of it, and how much there may be.
    pub fn filled(&self) -> Vec<Filled> {
        let frameworks = || self.frameworks.iter();
        let fullest = |count: &dyn Fn(crate::keys::FrameworkKey) -> usize| {
            frameworks().map(|(key, _)| count(key)).max().unwrap_or(0)
        };
        let open = self.registry.agents().map(|(_, row)| row.open.len());
        let away = self.registry.unreachable();
        let in_use = self.frameworks.in_use();
        let over = frameworks().count() - in_use;
        let ended = self.registry.ended_frameworks();
        let (live_tasks, verdicts) = (
            fullest(&|key| self.tasks.live(key)),
            fullest(&|key| self.verdicts.of(key).count()),
        );
        Vec::from([
            Filled::new("agents", self.registry.len() - away, limits::AGENTS),
            Filled::new("frameworks", in_use, limits::FRAMEWORKS),
            Filled::new(
                "frameworks that are over",
                over,
                limits::COMPLETED_FRAMEWORKS,
            ),
            Filled::new("ends of frameworks", ended, limits::ENDED_FRAMEWORKS),
            Filled::new("live tasks", live_tasks, limits::TASKS_PER_FRAMEWORK),
            Filled::new(
                "tasks that are over",
                fullest(&|key| self.tasks.remembered(key)),
                limits::COMPLETED_TASKS_PER_FRAMEWORK,
            ),
            Filled::new("refused tasks", verdicts, limits::VERDICTS_PER_FRAMEWORK),
            Filled::new(
                "named operations",
                fullest(&|key| self.operations.count(key)),
                limits::OPERATIONS_PER_FRAMEWORK,
            ),
            Filled::new(
                "operations under way",
                open.max().unwrap_or(0),
                limits::OPERATIONS_PER_AGENT,
            ),
            Filled::new("kills of all", self.kills.len(), limits::KILLS),
            Filled::new("questions of all", self.asks.len(), limits::ASKS),
            Filled::new(
                "kills that wait",
                fullest(&|key| self.kills.count(key)),
                limits::KILLS_PER_FRAMEWORK,
            ),
            Filled::new(
                "questions that wait",
                fullest(&|key| self.asks.count(key)),
                limits::ASKS_PER_FRAMEWORK,
            ),
            Filled::new(
                "calls that wait",
                self.throttle.len(),
                limits::THROTTLED_CALLS,
            ),
        ])
    }
}

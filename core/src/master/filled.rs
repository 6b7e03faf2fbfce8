//! How full the master's tables and queues are that have a bound (I22).
//!
//! For whoever looks on; the bounds themselves are kept where something is added. Of tables with a
//! row for each framework or agent the fullest counts.

use alloc::vec::Vec;

use super::Master;
use crate::keys::FrameworkKey;
use crate::limits::{self, Filled};

impl Master {
    /// Lists what is bounded, how much there is of it, and how much there may be. Who is out of
    /// reach or gone for too long is looked for now and then, and not listed.
    pub fn filled(&self) -> Vec<Filled> {
        let mut all = Vec::from(self.filled_by_agents());
        all.extend(self.filled_by_frameworks());
        all.extend(self.filled_by_tasks());
        all.extend(self.filled_by_operators());
        all.extend(self.feed.filled());
        all.push(self.waiting.filled());
        all.extend(self.throttle.filled());
        all
    }

    fn filled_by_agents(&self) -> [Filled; 6] {
        let rows = || self.registry.agents().map(|(_, row)| row);
        let there = self.registry.len() - self.registry.unreachable();
        let tasks = self.agents.iter();
        let tasks = tasks.map(|(key, _)| self.tasks.of_agent(key).len());
        let open = most(rows().map(|row| row.open.len()));
        let jobs = most(rows().map(|row| row.jobs.len()));
        let told = self.peers.unfinished();
        let pairs = self.inverse_offers.len();
        let bounds = &self.config.bounds;
        [
            Filled::new("agents", there, limits::AGENTS),
            Filled::new("tasks of an agent", most(tasks), limits::TASKS_PER_AGENT),
            Filled::new("operations under way", open, limits::OPERATIONS_PER_AGENT),
            Filled::new("disks under way", jobs, limits::DISK_JOBS_PER_AGENT),
            Filled::new("bytes of who returns", told, limits::ACCOUNTS_BYTES),
            Filled::new("inverse offers", pairs, bounds.inverse_offers),
        ]
    }

    fn filled_by_frameworks(&self) -> [Filled; 4] {
        let in_use = self.frameworks.in_use();
        let over = self.frameworks.iter().count() - in_use;
        let ended = self.registry.ended_frameworks();
        let early = self.used_frameworks.len();
        let remembered = self.config.bounds.completed_frameworks;
        [
            Filled::new("frameworks", in_use, limits::FRAMEWORKS),
            Filled::new("frameworks that are over", over, remembered),
            Filled::new("ends of frameworks", ended, limits::ENDED_FRAMEWORKS),
            Filled::new("ids that came early", early, limits::ENDED_FRAMEWORKS),
        ]
    }

    fn filled_by_tasks(&self) -> [Filled; 11] {
        let frameworks = || self.frameworks.iter().map(|(key, _)| key);
        let fullest = |count: &dyn Fn(FrameworkKey) -> usize| most(frameworks().map(count));
        let bytes = fullest(&|key| self.tasks.remembered_bytes(key));
        let over = fullest(&|key| self.tasks.remembered(key));
        let refused = fullest(&|key| self.verdicts.of(key).count());
        let refused_bytes = fullest(&|key| self.verdicts.bytes(key));
        let named = fullest(&|key| self.operations.count(key));
        let named_bytes = fullest(&|key| self.operations.bytes(key));
        let kills = fullest(&|key| self.kills.count(key));
        let asks = fullest(&|key| self.asks.open(key));
        let bounds = &self.config.bounds;
        let live = fullest(&|key| self.tasks.live(key));
        [
            // Tasks that agents bring back are taken in, whoever is over the bound then.
            Filled::new("live tasks", live, limits::TASKS_PER_FRAMEWORK),
            Filled::new("tasks that are over", over, bounds.completed_tasks),
            Filled::new(
                "bytes of what is over",
                bytes,
                limits::COMPLETED_BYTES_PER_FRAMEWORK,
            ),
            Filled::new("refused tasks", refused, bounds.verdicts),
            Filled::new("bytes of refusals", refused_bytes, limits::VERDICT_BYTES),
            Filled::new("named operations", named, bounds.operations),
            Filled::new("bytes of operations", named_bytes, limits::OPERATION_BYTES),
            Filled::new("kills of all", self.kills.len(), limits::KILLS),
            Filled::new("questions of all", self.asks.len(), limits::ASKS),
            Filled::new("kills that wait", kills, bounds.kills),
            Filled::new("questions that wait", asks, bounds.asks),
        ]
    }

    fn filled_by_operators(&self) -> [Filled; 3] {
        let registry = &self.registry;
        let machines = registry.maintenance().machines().count();
        let (quotas, weights) = (registry.quotas().len(), registry.weights().len());
        [
            Filled::new("machines in maintenance", machines, limits::MACHINES),
            Filled::new("roles with quota", quotas, limits::ROLES),
            Filled::new("roles with a weight", weights, limits::ROLES),
        ]
    }
}

fn most(counts: impl Iterator<Item = usize>) -> usize {
    counts.max().unwrap_or(0)
}

//! What the agent remembers of ends that were asked for: of tasks, executors and frameworks.
//!
//! Deliberately not here: what has ended ([`super`]).

use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::time::Duration;

use super::AgentState;
use crate::agent::executors::Executor;
use crate::agent::records::Number;
use crate::agent::tasks::Task;
use crate::ids::FrameworkId;
use crate::limits;
use crate::time::Time;

impl AgentState {
    pub(super) fn apply_unwanted(&mut self, executor: Number) {
        let row = self.executors.get_mut(&executor);
        let row = row.expect("a record speaks of an executor that is kept");
        row.mark_unwanted();
    }

    /// Returns how long patience lasts that ends then, from the moment that was noted before.
    pub(super) fn grace(&self, destroy_at: Time) -> Duration {
        destroy_at.since(self.last_time).min(limits::GRACE)
    }

    /// Says which executors are to end, or have a task that is.
    fn ending(&self) -> impl Iterator<Item = Number> + '_ {
        let is_ending = |row: &Executor| {
            let mut tasks = row.tasks().iter().filter_map(|number| self.task(*number));
            let has_none = row.tasks().is_empty();
            has_none || row.is_unwanted() || tasks.any(Task::is_ending)
        };
        let executors = self.executors.iter();
        let ending =
            executors.filter(move |(_, row)| self.is_ended(row.framework()) || is_ending(row));
        ending.map(|(number, _)| *number)
    }

    /// Returns whether something is to end, or was when the agent came up last.
    pub(in crate::agent) fn is_ending_any(&self) -> bool {
        self.tasks.values().any(Task::is_ending)
            || self.executors.values().any(|row| row.resumed() > 0)
            || self.ending().next().is_some()
    }

    pub(super) fn apply_resumed(&mut self) {
        let ending: BTreeSet<Number> = self.ending().collect();
        let executors: Vec<Number> = self.executors.keys().copied().collect();
        for number in executors {
            if let Some(row) = self.executors.get_mut(&number) {
                row.resume(ending.contains(&number));
            }
        }
        let tasks = self.tasks.iter().filter(|(_, task)| task.is_ending());
        let tasks: Vec<Number> = tasks.map(|(number, _)| *number).collect();
        for number in tasks {
            self.task_mut(number).resume();
        }
    }

    pub(super) fn apply_ran_out(&mut self, task: Number, at: Time) {
        self.last_time = self.last_time.max(at);
        self.task_mut(task).run_out();
    }

    pub(super) fn apply_kill(&mut self, task: Number, destroy_at: Time) {
        let grace = self.grace(destroy_at);
        self.task_mut(task).request_kill(grace);
    }

    pub(super) fn apply_unhealthy(&mut self, task: Number, why: &str, destroy_at: Time) {
        let grace = self.grace(destroy_at);
        self.task_mut(task).end_unhealthy(why, grace);
    }

    pub(super) fn apply_framework_ended(&mut self, framework: &FrameworkId, destroy_at: Time) {
        let grace = self.grace(destroy_at);
        let Some(entry) = self.frameworks.get_mut(framework) else {
            return;
        };
        entry.ended = true;
        let tasks: Vec<Number> = entry.tasks.values().copied().collect();
        for number in tasks {
            let task = self.task_mut(number);
            if task.state().is_terminal() {
                self.remove_task(number);
            } else {
                task.end_with_framework(grace);
            }
        }
        self.remove_if_unused(framework);
    }
}

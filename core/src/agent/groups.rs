//! Tasks that were started together: they end together as well (TK-83, TK-91).
//!
//! Called by whoever ends a task or hears that one has ended. Deliberately not here: starting them
//! (`on_master`, `on_executor`).

use alloc::vec::Vec;
use core::time::Duration;

use super::records::Number;
use super::tasks::{Placement, Task};
use super::{Agent, Cx};
use crate::ids::{FrameworkId, TaskId};
use crate::protocol::status::TaskState;

/// Returns the number of the first task of a group whose own is `group`: what its containers have
/// in common goes by that.
pub(super) fn first_of(group: Number) -> Number {
    Number(group.0 + 1)
}

/// Returns the number of a group of the agent's own executor by that of its first task.
pub(super) fn number_of(first: Number) -> Number {
    Number(first.0.saturating_sub(1))
}

impl Agent {
    /// Ends a task, and with it all that were started together with it.
    pub(super) fn on_kill_task(
        &mut self,
        cx: &mut Cx<'_>,
        framework: &FrameworkId,
        task: &TaskId,
        requested: Option<Duration>,
    ) {
        let Some(number) = self.state.find_task(framework, task) else {
            // The master asks about it when the agent next returns (PR-03).
            tracing::debug!(%framework, %task, "a kill of an unknown task: ignored");
            return;
        };
        let row = self.state.task(number).expect("a found task is kept");
        if row.state().is_terminal() {
            return;
        }
        for member in self.members(number) {
            self.kill(cx, member, requested);
        }
    }

    /// Ends the others of a group before it is recorded that one of them has ended: what falls
    /// between the two is told again.
    pub(super) fn end_with(&mut self, cx: &mut Cx<'_>, number: Number, state: TaskState) {
        if !state.is_terminal() || state == TaskState::Finished {
            return;
        }
        for member in self.members(number) {
            let is_asked = self
                .state
                .task(member)
                .is_none_or(|row| row.grace().is_some());
            if member != number && !is_asked && self.is_kept_up(member) {
                self.kill(cx, member, None);
            }
        }
    }

    /// Returns whether a task would go on: that of an executor which is ended does not.
    fn is_kept_up(&self, number: Number) -> bool {
        match self.state.task(number).map(Task::placement) {
            Some(Placement::Executor(executor)) => {
                let session = self.sessions.get(executor);
                session.is_some_and(|session| session.ending().is_none())
            }
            Some(Placement::Own) => true,
            Some(Placement::Nowhere) | None => false,
        }
    }

    /// Lists the tasks of a task's group that are not over; without a group it is alone.
    pub(super) fn members(&self, number: Number) -> Vec<Number> {
        let Some(first) = self.state.task(number).and_then(Task::group) else {
            return Vec::from([number]);
        };
        let group = self.state.group(first);
        let live = group.filter(|(_, task)| !task.state().is_terminal());
        live.map(|(number, _)| number).collect()
    }
}

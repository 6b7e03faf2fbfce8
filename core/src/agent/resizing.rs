//! What the containers of executors may use: it follows from their tasks (TK-94).
//!
//! Called whenever a task begins or ends. Deliberately not here: how much that is (`launch`).

use alloc::format;

use super::containers::Phase;
use super::launch::executor_limits;
use super::records::Number;
use super::{Agent, Cx};
use crate::ids::ContainerId;
use crate::protocol::container::{ContainerCommand, ContainerLimits};
use crate::protocol::status::Reason;

impl Agent {
    /// Says what an executor's container may use, for its tasks that are not over.
    pub(super) fn executor_limits(&self, executor: Number) -> Option<ContainerLimits> {
        let row = self.state.executor(executor)?;
        let numbers = row.tasks().iter();
        let rows = numbers.filter_map(|number| self.state.task(*number));
        let live = rows.filter(|task| !task.state().is_terminal());
        Some(executor_limits(row.info(), live.map(|task| task.info())))
    }

    /// Returns whether an executor's container is to be resized as its tasks come and go: one that
    /// is ended is left as it is.
    pub(super) fn is_resized(&self, executor: Number) -> bool {
        let session = self.sessions.get(executor);
        let is_kept = session.is_some_and(|session| session.ending().is_none());
        let is_there = match self.containers.phase(executor) {
            // After a restart it is not known whether it is still there.
            Some(Phase::Launching(_)) => self.recovery.is_over(),
            Some(Phase::Running) => true,
            Some(Phase::Ending(_) | Phase::Stuck(_) | Phase::Destroyed) | None => false,
        };
        self.config.resizes && is_kept && is_there
    }

    /// Tells the containerizer what an executor's container may use, if that has changed.
    pub(super) fn resize(&mut self, cx: &mut Cx<'_>, executor: Number) {
        if !self.is_resized(executor) {
            return;
        }
        let Some(limits) = self.executor_limits(executor) else {
            return;
        };
        if let Some(session) = self.sessions.get_mut(executor)
            && session.limits() != Some(&limits)
        {
            session.set_limits(limits.clone());
            let id = executor.container();
            cx.container(ContainerCommand::Resize { id, limits });
        }
    }

    /// An executor may not use what its tasks may: it cannot go on (AG-35).
    pub(super) fn on_resize_failed(&mut self, cx: &mut Cx<'_>, id: &ContainerId, message: &str) {
        let number = Number::of_container(id).filter(|number| self.is_resized(*number));
        let Some(executor) = number else {
            tracing::debug!(%id, message, "not resized, and ends anyway: ignored");
            return;
        };
        let why = format!("what its container may use could not be changed: {message}");
        self.destroy_executor(cx, executor, Reason::ContainerUpdateFailed, &why);
    }
}

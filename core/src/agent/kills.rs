//! How tasks are ended, and containers with them: asked first, destroyed when their time is over.
//!
//! Called by `on_master`, and by whoever has a container to end. Deliberately not here: ending
//! executors with all that they run (`on_executor`), and those that do not obey (`overdue`).

use core::time::Duration;

use super::containers::Phase;
use super::records::Number;
use super::tasks::Placement;
use super::{Agent, AgentRecord, Cx, Effect, Timer};
use crate::protocol::container::ContainerCommand;
use crate::protocol::executor::Event;
use crate::time::Time;

impl Agent {
    /// Ends a task that is not over.
    pub(super) fn kill(&mut self, cx: &mut Cx<'_>, number: Number, requested: Option<Duration>) {
        let row = self
            .state
            .task(number)
            .expect("a task that is not over is kept");
        let own = row.info().kill_grace;
        let patience = requested.or(own).unwrap_or(self.config.kill_grace); // TK-84
        let destroy_at = cx.now + patience;
        match row.placement() {
            Placement::Own => {
                if row.destroy_at().is_none_or(|at| destroy_at < at) {
                    let task = number;
                    self.persist(cx, AgentRecord::KillRequested { task, destroy_at });
                    self.end_container(cx, number, destroy_at);
                }
            }
            Placement::Executor(executor) => {
                self.kill_by_executor(cx, executor, number, patience);
            }
            Placement::Nowhere => {}
        }
    }

    fn kill_by_executor(
        &mut self,
        cx: &mut Cx<'_>,
        executor: Number,
        number: Number,
        patience: Duration,
    ) {
        if !self.may_have(executor, number) {
            self.report_killed_during_launch(cx, number); // TK-83
            return;
        }
        let destroy_at = cx.now + patience;
        let row = self.state.task(number);
        let before = row.and_then(|row| row.destroy_at());
        if before.is_none_or(|at| destroy_at < at) {
            let task = number;
            self.persist(cx, AgentRecord::KillRequested { task, destroy_at });
            self.await_task_end(cx, executor, number);
        }
        // Said again each time, with what is left: only that can have been lost.
        let patience = before.map_or(patience, |at| patience.min(at.since(cx.now)));
        self.tell_kill(cx, executor, number, patience);
    }

    /// Waits for the end of what a task may run, after a change of it.
    pub(super) fn watch_time(&mut self, task: Number, before: Option<Time>) {
        let after = self.state.task(task).and_then(|row| row.completes_by());
        if before == after {
            return;
        }
        if let Some(at) = before {
            self.timers.disarm(at, Timer::RunOut(task));
        }
        if let Some(at) = after {
            self.timers.arm(at, Timer::RunOut(task));
        }
    }

    /// A task ran for as long as it may: it gets no more (TK-07).
    pub(super) fn on_run_out(&mut self, cx: &mut Cx<'_>, task: Number) {
        if self.state.task(task).is_none() {
            return;
        }
        let at = cx.now;
        self.persist(cx, AgentRecord::RanOut { task, at });
        let row = self.state.task(task).expect("a task that runs is kept");
        match row.placement() {
            Placement::Own => self.end_container(cx, task, at),
            Placement::Executor(executor) => {
                self.tell_kill(cx, executor, task, Duration::ZERO);
                self.await_task_end(cx, executor, task);
            }
            Placement::Nowhere => {}
        }
    }

    fn tell_kill(&self, cx: &mut Cx<'_>, executor: Number, task: Number, grace: Duration) {
        let peer = self.sessions.get(executor).and_then(|s| s.peer());
        if let (Some(peer), Some(row)) = (peer, self.state.task(task)) {
            let task = row.info().id.clone();
            let event = Event::Kill { task, grace };
            cx.out.emit(Effect::Executor { peer, event });
        }
    }

    /// Asks the program of a container to end, and destroys it when its time is over. Asked again,
    /// the time only gets shorter (TK-85). One that is not heard of yet ends once it is.
    pub(super) fn end_container(&mut self, cx: &mut Cx<'_>, number: Number, destroy_at: Time) {
        match self.containers.phase(number) {
            None | Some(Phase::Launching | Phase::Destroyed) => {}
            Some(Phase::Running) => {
                if destroy_at <= cx.now {
                    self.destroy(cx, number);
                    return;
                }
                let id = number.container();
                cx.container(ContainerCommand::Terminate { id });
                self.await_end(number, destroy_at);
            }
            Some(Phase::Ending(at)) if destroy_at < at => {
                self.timers.disarm(at, Timer::Destroy(number));
                if destroy_at <= cx.now {
                    self.destroy(cx, number);
                } else {
                    self.await_end(number, destroy_at);
                }
            }
            Some(Phase::Ending(_)) => {}
        }
    }

    pub(super) fn await_end(&mut self, number: Number, destroy_at: Time) {
        self.containers.set(number, Phase::Ending(destroy_at));
        self.timers.arm(destroy_at, Timer::Destroy(number));
    }

    pub(super) fn destroy(&mut self, cx: &mut Cx<'_>, number: Number) {
        self.containers.set(number, Phase::Destroyed);
        let id = number.container();
        cx.container(ContainerCommand::Destroy { id });
    }

    pub(super) fn on_destroy_due(&mut self, cx: &mut Cx<'_>, number: Number) {
        if let Some(Phase::Ending(_)) = self.containers.phase(number) {
            self.destroy(cx, number);
        }
    }
}

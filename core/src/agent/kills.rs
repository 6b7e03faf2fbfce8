//! How tasks are ended, and containers with them: asked first, destroyed when their time is over.
//!
//! Called by `on_master`, and by whoever has a container to end. Deliberately not here: since when
//! a time is counted (`patience`), ending executors with all that they run (`on_executor`), and
//! those that do not obey (`overdue`).

use alloc::string::String;
use core::time::Duration;

use super::containers::Phase;
use super::patience::Departure;
use super::records::Number;
use super::tasks::{Placement, Task};
use super::updates::News;
use super::{Agent, AgentRecord, Cx, Effect, Timer};
use crate::mutant::{Mutant, planted};
use crate::protocol::container::ContainerCommand;
use crate::protocol::executor::Event;
use crate::protocol::status::{Source, TaskState};

impl Agent {
    /// Ends a task that is not over.
    pub(super) fn kill(&mut self, cx: &mut Cx<'_>, number: Number, requested: Option<Duration>) {
        let row = self
            .state
            .task(number)
            .expect("a task that is not over is kept");
        let own = row.info().kill_grace;
        let patience = requested.or(own).unwrap_or(self.config.kill_grace); // TK-84
        let left = self.time_left(cx, number);
        let shortens = left.is_none_or(|left| patience < left);
        match row.placement() {
            Placement::Own if shortens => {
                self.request_kill(cx, number, patience);
                self.end_container(cx, number, patience);
                self.report_killing(cx, number);
            }
            Placement::Executor(executor) if !self.may_have(executor, number) => {
                self.report_killed_during_launch(cx, number); // TK-83
            }
            Placement::Executor(executor) => {
                if shortens {
                    self.request_kill(cx, number, patience);
                }
                // Said again each time, with what is left: only that can have been lost.
                let patience = left.map_or(patience, |left| patience.min(left));
                self.tell_kill(cx, executor, number, patience);
            }
            Placement::Own | Placement::Nowhere => {}
        }
    }

    /// Tells a framework that wants to hear it that its program is being ended (TK-22).
    fn report_killing(&mut self, cx: &mut Cx<'_>, number: Number) {
        let row = self.state.task(number);
        let runs = row.filter(|row| row.state() == TaskState::Running);
        if runs.is_some_and(|row| self.state.hears_of_killing(row.framework())) {
            self.report(cx, number, News::new(TaskState::Killing, Source::Executor));
        }
    }

    /// Remembers that a task is to end. The moment goes before: no clock may go behind it, and it
    /// says how long the task has.
    fn request_kill(&mut self, cx: &mut Cx<'_>, task: Number, patience: Duration) {
        self.note_moment(cx);
        let destroy_at = cx.now + patience;
        self.persist(cx, AgentRecord::KillRequested { task, destroy_at });
    }

    /// Writes down what time it is, unless something else has.
    pub(super) fn note_moment(&mut self, cx: &mut Cx<'_>) {
        if self.state.last_time() < cx.now {
            let at = cx.now;
            self.persist(cx, AgentRecord::Moment { at });
        }
    }

    /// Returns how much time a task has yet that is to end: all of it until it can have heard.
    pub(super) fn time_left(&self, cx: &Cx<'_>, number: Number) -> Option<Duration> {
        let row = self.state.task(number)?;
        let grace = row.grace()?;
        let end = match row.placement() {
            Placement::Own => match self.containers.phase(number) {
                Some(Phase::Ending(at)) => at,
                Some(Phase::Launching(_) | Phase::Stuck(_) | Phase::Running) => None,
                Some(Phase::Destroyed) | None => Some(cx.now),
            },
            Placement::Executor(executor) => {
                // It ends its executor a while after it was to be over.
                let over = cx.now + self.shutdown_grace(executor);
                let watch = self.watches.get(&number);
                let end = watch.and_then(|watch| watch.end);
                return Some(end.map_or(grace, |end| end.since(over)));
            }
            Placement::Nowhere => None,
        };
        Some(end.map_or(grace, |end| end.since(cx.now)))
    }

    /// Waits for the end of what a task may run, from when it is known that it runs. One that ended
    /// while the agent was away is not ended for it ran too long (TK-07).
    pub(super) fn watch_time(&mut self, cx: &Cx<'_>, task: Number) {
        let row = self.state.task(task);
        let at = row.and_then(Task::completes_by);
        match (self.run_outs.get(&task).copied(), at) {
            (Some(before), None) => {
                self.run_outs.remove(&task);
                self.timers.disarm(before, Timer::RunOut(task));
            }
            (None, Some(at)) if self.is_heard_of(task) => {
                let at = at.max(cx.now);
                self.run_outs.insert(task, at);
                self.timers.arm(at, Timer::RunOut(task));
            }
            (Some(_), Some(_)) | (None, Some(_) | None) => {}
        }
    }

    /// Returns whether in this life somebody has said what has become of a task.
    pub(super) fn is_heard_of(&self, number: Number) -> bool {
        match self.state.task(number).map(Task::placement) {
            Some(Placement::Own) => {
                let phase = self.containers.phase(number);
                phase.is_some_and(|phase| !phase.is_unheard())
            }
            Some(Placement::Executor(executor)) => {
                let session = self.sessions.get(executor);
                session.is_some_and(|session| session.is_heard())
            }
            Some(Placement::Nowhere) | None => false,
        }
    }

    /// A task ran for as long as it may: it gets no more (TK-07).
    pub(super) fn on_run_out(&mut self, cx: &mut Cx<'_>, task: Number) {
        self.run_outs.remove(&task);
        if self.state.task(task).is_none() {
            return;
        }
        let at = cx.now;
        self.persist(cx, AgentRecord::RanOut { task, at });
        let row = self.state.task(task).expect("a task that runs is kept");
        match row.placement() {
            Placement::Own => self.end_container(cx, task, Duration::ZERO),
            Placement::Executor(executor) => self.tell_kill(cx, executor, task, Duration::ZERO),
            Placement::Nowhere => {}
        }
    }

    /// A task is unhealthy for too long: it is ended like one that is killed (TK-97).
    pub(super) fn on_unhealthy(&mut self, cx: &mut Cx<'_>, task: Number, why: String) {
        let Some(row) = self.state.task(task) else {
            return;
        };
        let patience = row.info().kill_grace.unwrap_or(self.config.kill_grace);
        self.note_moment(cx);
        let destroy_at = cx.now + patience;
        let record = AgentRecord::Unhealthy {
            task,
            why,
            destroy_at,
        };
        self.persist(cx, record);
        self.end_container(cx, task, patience);
        self.report_killing(cx, task);
    }

    /// Tells an executor to end a task, if it listens; else once it does ([`Self::catch_up`]).
    pub(super) fn tell_kill(
        &self,
        cx: &mut Cx<'_>,
        executor: Number,
        number: Number,
        grace: Duration,
    ) {
        let peer = self.sessions.get(executor).and_then(|s| s.peer());
        if let (Some(peer), Some(row)) = (peer, self.state.task(number)) {
            let task = row.info().id.clone();
            let event = Event::Kill { task, grace };
            cx.out.emit(Effect::Executor { peer, event });
            let task = number;
            cx.echo(Departure::Kill { task, grace });
        }
    }

    /// Asks the program of a container to end, and destroys it when its time is over. Asked again,
    /// the time only gets shorter (TK-85). One that is not heard of yet ends once it is.
    pub(super) fn end_container(&mut self, cx: &mut Cx<'_>, number: Number, grace: Duration) {
        self.end_checks(cx, number);
        match self.containers.phase(number) {
            None | Some(Phase::Launching(_) | Phase::Stuck(_) | Phase::Destroyed) => {}
            Some(Phase::Running | Phase::Ending(_)) if grace.is_zero() => self.destroy(cx, number),
            Some(Phase::Running) => {
                let id = number.container();
                cx.container(ContainerCommand::Terminate { id });
                self.await_end(cx, number, grace);
            }
            Some(Phase::Ending(_)) if planted(Mutant::KillAgainAtOnce) => {
                self.destroy(cx, number);
            }
            Some(Phase::Ending(_)) => self.await_end(cx, number, grace),
        }
    }

    pub(super) fn destroy(&mut self, cx: &mut Cx<'_>, number: Number) {
        self.end_checks(cx, number);
        self.set_phase(number, Phase::Destroyed);
        let id = number.container();
        cx.container(ContainerCommand::Destroy { id });
    }
}

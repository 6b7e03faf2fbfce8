//! What custom executors do and say (AG-32, AG-33, SM-23 to SM-29).
//!
//! Deliberately not here: the end of an executor's container ([`super::on_container`]).

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::vec::Vec;
use core::time::Duration;

use super::containers::Phase;
use super::on_container::killed_during_launch;
use super::patience::Departure;
use super::records::Number;
use super::tasks::{Placement, UPDATES_PER_TASK};
use super::updates::News;
use super::{Agent, AgentRecord, Cx, Effect, Timer};
use crate::ids::{ContainerId, ExecutorId, FrameworkId, PeerId, TaskId, UpdateId};
use crate::mutant::{Mutant, planted};
use crate::protocol::executor::{Call, Event, may_report};
use crate::protocol::hello::CloseReason;
use crate::protocol::status::{Reason, Source, TaskState, TaskStatus};
use crate::protocol::task::TaskInfo;

impl Agent {
    pub(super) fn on_executor_connected(
        &mut self,
        cx: &mut Cx<'_>,
        peer: PeerId,
        container: &ContainerId,
    ) {
        self.on_executor_disconnected(cx, peer); // if the driver breaks C6
        let number = Number::of_container(container);
        match number.filter(|number| self.sessions.get(*number).is_some()) {
            Some(number) => self.sessions.connect(peer, number),
            None => {
                let reason = format!("{container} is not an executor's container");
                cx.disconnect(peer, CloseReason::Denied, reason);
            }
        }
    }

    pub(super) fn on_executor_disconnected(&mut self, cx: &mut Cx<'_>, peer: PeerId) {
        if let Some(executor) = self.sessions.disconnect(peer) {
            self.await_subscription(cx, executor);
        }
    }

    /// Gives an executor that is not subscribed its time to do so.
    fn await_subscription(&mut self, cx: &mut Cx<'_>, executor: Number) {
        let runs = self.containers.phase(executor) == Some(Phase::Running);
        let Some(session) = self.sessions.get_mut(executor).filter(|_| runs) else {
            return;
        };
        if session.peer().is_none() && session.subscribe_by().is_none() {
            let had_tasks = self.state.executor(executor);
            let had_tasks = had_tasks.is_some_and(|row| row.has_subscribed());
            session.set_returning(had_tasks && !self.recovery.is_over());
            let patience = if session.is_returning() {
                self.config.executor_reregistration_timeout
            } else {
                self.config.executor_registration_timeout
            };
            let at = cx.now + patience;
            session.set_subscribe_by(Some(at));
            self.timers.arm(at, Timer::Subscribe(executor));
        }
    }

    pub(super) fn stop_awaiting_subscription(&mut self, executor: Number) {
        if let Some(session) = self.sessions.get_mut(executor)
            && let Some(at) = session.subscribe_by()
        {
            session.set_subscribe_by(None);
            self.timers.disarm(at, Timer::Subscribe(executor));
        }
    }

    pub(super) fn on_subscribe_overdue(&mut self, cx: &mut Cx<'_>, executor: Number) {
        if let Some(session) = self.sessions.get_mut(executor) {
            session.set_subscribe_by(None);
            if session.ending().is_some() {
                // It was to be asked to end, as soon as it could be.
                self.destroy(cx, executor);
                return;
            }
            let (reason, patience) = if session.is_returning() {
                let patience = self.config.executor_reregistration_timeout;
                (Reason::ExecutorReregistrationTimeout, patience)
            } else {
                let patience = self.config.executor_registration_timeout;
                (Reason::ExecutorRegistrationTimeout, patience)
            };
            let why = format!("not subscribed within {patience:?}");
            self.end_executor_for(cx, executor, reason, &why);
        }
    }

    /// Its container runs, for the first time or still, after the agent restarted.
    pub(super) fn on_executor_started(&mut self, cx: &mut Cx<'_>, executor: Number) {
        let row = self.state.executor(executor);
        let ended = row.is_none_or(|row| self.state.is_ended(row.framework()));
        let came_ever = row.is_some_and(|row| row.has_subscribed());
        let is_idle = self.state.tasks_of(executor).next().is_none();
        let Some(session) = self.sessions.get_mut(executor) else {
            return;
        };
        if ended {
            session.end(Reason::ExecutorTerminated, "its framework is gone");
        } else if is_idle {
            session.end(Reason::ExecutorTerminated, "it has no tasks");
        }
        match (session.ending().is_some(), session.peer()) {
            (true, Some(peer)) => self.tell_shutdown(cx, peer, executor),
            // Nothing reached it.
            (true, None) if !came_ever => self.destroy(cx, executor),
            // One that is to end is asked to once it is back.
            (true, None) | (false, _) => self.await_subscription(cx, executor),
        }
        // After a restart: whether the last order had left is not known.
        self.resize(cx, executor);
    }

    /// Ends an executor whose tasks are all over and acknowledged (TK-73).
    pub(super) fn end_executor_if_idle(&mut self, cx: &mut Cx<'_>, executor: Number) {
        if self.state.tasks_of(executor).next().is_none() {
            self.end_executor(cx, executor, "all its tasks are over");
        }
    }

    pub(super) fn end_executor(&mut self, cx: &mut Cx<'_>, executor: Number, why: &str) {
        self.end_executor_for(cx, executor, Reason::ExecutorTerminated, why);
    }

    /// Returns how long an executor may take to end (TK-88).
    pub(super) fn shutdown_grace(&self, executor: Number) -> Duration {
        let usual = self.config.executor_shutdown_grace;
        let row = self.state.executor(executor);
        row.map_or(usual, |row| row.shutdown_grace(usual))
    }

    /// Asks an executor to end, and destroys it when its time is over (TK-88). One that nobody can
    /// ask is destroyed at once.
    fn end_executor_for(&mut self, cx: &mut Cx<'_>, executor: Number, reason: Reason, why: &str) {
        let Some(session) = self.sessions.get_mut(executor) else {
            return;
        };
        if session.ending().is_some() {
            return;
        }
        session.end(reason, why);
        let peer = session.peer();
        self.stop_awaiting_subscription(executor);
        if self.containers.phase(executor) != Some(Phase::Running) && peer.is_none() {
            return;
        }
        let Some(peer) = peer else {
            self.destroy(cx, executor);
            return;
        };
        self.tell_shutdown(cx, peer, executor);
    }

    /// Ends an executor that gets no more time. One that is not heard of yet ends once it is.
    pub(super) fn destroy_executor(
        &mut self,
        cx: &mut Cx<'_>,
        executor: Number,
        reason: Reason,
        why: &str,
    ) {
        let Some(session) = self.sessions.get_mut(executor) else {
            return;
        };
        session.end(reason, why);
        self.stop_awaiting_subscription(executor);
        match self.containers.phase(executor) {
            Some(Phase::Running | Phase::Ending(_)) => self.destroy(cx, executor),
            Some(Phase::Launching(_) | Phase::Stuck(_) | Phase::Destroyed) | None => {}
        }
    }

    fn tell_shutdown(&mut self, cx: &mut Cx<'_>, peer: PeerId, executor: Number) {
        let event = Event::Shutdown;
        cx.out.emit(Effect::Executor { peer, event });
        self.await_end(cx, executor, self.shutdown_grace(executor));
        if planted(Mutant::ShutdownAtOnce) && self.state.tasks_of(executor).next().is_none() {
            self.destroy(cx, executor);
        }
    }

    /// Returns whether a task may have reached its executor.
    pub(super) fn may_have(&self, executor: Number, task: Number) -> bool {
        let Some(session) = self.sessions.get(executor) else {
            return false;
        };
        let subscribed = self
            .state
            .executor(executor)
            .is_some_and(|e| e.has_subscribed());
        session.is_delivered(task) || (subscribed && session.peer().is_none())
    }

    /// Hands a task over, if its executor is subscribed.
    pub(super) fn deliver(&mut self, cx: &mut Cx<'_>, executor: Number, task: Number) {
        let Some(session) = self.sessions.get(executor) else {
            return;
        };
        let Some(peer) = session.peer() else {
            return;
        };
        // Of a group all are handed over together, with the first of them.
        let mut new = self.members(task);
        new.retain(|member| {
            let row = self.state.task(*member);
            let lives = row.is_some_and(|row| row.grace().is_none());
            lives && !session.is_delivered(*member)
        });
        if let Some(event) = self.hand_over(&new) {
            cx.out.emit(Effect::Executor { peer, event });
        }
        for task in new {
            if let Some(session) = self.sessions.get_mut(executor) {
                session.deliver(task);
            }
            cx.echo(Departure::HandOver(task));
        }
    }

    /// Says what hands tasks of one group, or one task, over to their executor.
    pub(super) fn hand_over(&self, tasks: &[Number]) -> Option<Event> {
        let rows = tasks.iter().filter_map(|number| self.state.task(*number));
        let is_group = rows.clone().any(|row| row.group().is_some());
        let mut infos: Vec<TaskInfo> = rows.map(|row| row.info().clone()).collect();
        if is_group {
            return Some(Event::LaunchGroup(infos));
        }
        infos.pop().map(Event::Launch)
    }

    pub(super) fn report_killed_during_launch(&mut self, cx: &mut Cx<'_>, task: Number) {
        let news = killed_during_launch(News::new(TaskState::Killed, Source::Agent));
        self.report(cx, task, news);
    }

    pub(super) fn on_executor(&mut self, cx: &mut Cx<'_>, peer: PeerId, call: Call) {
        let Some(executor) = self.sessions.of_peer(peer) else {
            tracing::debug!(?peer, "not the connection of an executor: ignored");
            return;
        };
        match call {
            Call::Subscribe {
                framework,
                executor: name,
                tasks,
                updates,
            } => {
                if self.is_identity(executor, &framework, &name) {
                    self.on_subscribe(cx, peer, executor, &tasks, updates);
                } else {
                    self.turn_executor_away(cx, peer, &framework, &name);
                }
            }
            Call::Update(_) | Call::Message(_) if !self.is_subscribed(executor, peer) => {
                tracing::debug!(?peer, "said before the subscription: ignored");
            }
            Call::Update(status) => self.on_executor_update(cx, peer, executor, status),
            Call::Message(data) => self.on_executor_message(cx, executor, data),
        }
    }

    fn is_subscribed(&self, executor: Number, peer: PeerId) -> bool {
        let session = self.sessions.get(executor);
        session.and_then(|session| session.peer()) == Some(peer)
    }

    fn is_identity(&self, number: Number, framework: &FrameworkId, name: &ExecutorId) -> bool {
        let row = self.state.executor(number);
        let is_any = planted(Mutant::ExecutorUnchecked);
        row.is_some_and(|row| is_any || (row.framework() == framework && row.info().id == *name))
    }

    fn turn_executor_away(
        &mut self,
        cx: &mut Cx<'_>,
        peer: PeerId,
        framework: &FrameworkId,
        name: &ExecutorId,
    ) {
        let reason = format!("executor {name} of framework {framework} is not in this container");
        let event = Event::Error(reason.clone());
        cx.out.emit(Effect::Executor { peer, event });
        cx.disconnect(peer, CloseReason::Denied, reason);
        self.on_executor_disconnected(cx, peer);
    }

    fn on_subscribe(
        &mut self,
        cx: &mut Cx<'_>,
        peer: PeerId,
        executor: Number,
        tasks: &[TaskId],
        updates: Vec<TaskStatus>,
    ) {
        let Some(agent) = self.state.agent().cloned() else {
            return;
        };
        if let Some(old) = self.sessions.subscribe(peer, executor) {
            let reason = "another connection of the executor took its place";
            cx.disconnect(old, CloseReason::Replaced, reason);
        }
        self.stop_awaiting_subscription(executor);
        if self
            .state
            .executor(executor)
            .is_some_and(|e| !e.has_subscribed())
        {
            self.persist(cx, AgentRecord::ExecutorSubscribed { executor });
        }
        let event = Event::Subscribed { agent };
        cx.out.emit(Effect::Executor { peer, event });
        let ending = self
            .sessions
            .get(executor)
            .is_some_and(|s| s.ending().is_some());
        // Both lists are as long as a container likes.
        let told = updates.iter().map(|status| &status.task);
        let named: BTreeSet<&TaskId> = tasks.iter().chain(told).collect();
        let rows: Vec<(Number, bool)> = self
            .state
            .tasks_of(executor)
            .map(|(number, task)| {
                let is_named = named.contains(&task.info().id);
                (number, is_named || !task.is_silent())
            })
            .collect();
        if let Some(session) = self.sessions.get_mut(executor) {
            session.begin();
            for (number, _) in rows.iter().filter(|(_, has_it)| *has_it) {
                session.deliver(*number);
            }
        }
        for status in updates {
            self.on_executor_update(cx, peer, executor, status);
        }
        if let Some(session) = self.sessions.get_mut(executor) {
            session.set_heard();
        }
        for (number, _) in &rows {
            self.watch_time(cx, *number);
        }
        if ending {
            self.tell_shutdown(cx, peer, executor);
            return;
        }
        for (number, has_it) in rows {
            self.catch_up(cx, executor, number, has_it);
        }
    }

    /// Brings a subscribed executor up to date on one task.
    fn catch_up(&mut self, cx: &mut Cx<'_>, executor: Number, number: Number, has_it: bool) {
        let Some(task) = self.state.task(number) else {
            return;
        };
        if task.state().is_terminal() {
            return;
        }
        match (has_it, self.time_left(cx, number)) {
            (true, None) => self.await_word(cx, number),
            (true, Some(left)) => self.tell_kill(cx, executor, number, left),
            (false, None) => self.deliver(cx, executor, number),
            (false, Some(_)) => self.report_killed_during_launch(cx, number),
        }
    }

    fn on_executor_update(
        &mut self,
        cx: &mut Cx<'_>,
        peer: PeerId,
        executor: Number,
        mut status: TaskStatus,
    ) {
        let Some(update) = status.update.filter(|_| may_report(status.state)) else {
            tracing::debug!(task = %status.task, "not an update of an executor: ignored");
            return;
        };
        let Some(row) = self.state.executor(executor) else {
            return;
        };
        let id = status.task.clone();
        let Some(number) = self.state.find_task(row.framework(), &id) else {
            // All was said and acknowledged; the executor did not hear that it was (TK-69).
            acknowledge(cx, peer, id, update);
            return;
        };
        let task = self.state.task(number).expect("a found task is kept");
        let is_own = task.placement() == Placement::Executor(executor);
        if !is_own && !planted(Mutant::OthersTaskBelieved) {
            tracing::debug!(task = %id, "an update of another's task: ignored");
            return;
        }
        if task.state().is_terminal() || task.has_received(update) {
            acknowledge(cx, peer, id, update); // TK-34, TK-69
            return;
        }
        let is_over = status.state.is_terminal();
        let has_room = is_over || task.unacknowledged().len() < UPDATES_PER_TASK;
        let session = self.sessions.get_mut(executor);
        if !session.is_some_and(|it| it.takes_in(number, update, has_room)) {
            tracing::debug!(task = %id, "too many updates wait: not taken in");
            return;
        }
        if !task.state().may_become(status.state) {
            // TK-33: said once, and not again; the executor need not keep it.
            let (before, after) = (task.state(), status.state);
            tracing::debug!(task = %id, %before, %after, "a step back: not taken in");
            acknowledge(cx, peer, id, update);
            return;
        }
        let is_unheard = !self.state.hears_of_killing(task.framework());
        if status.state == TaskState::Killing && is_unheard {
            // TK-22: no news for its framework, but a word from the executor all the same.
            self.heed(number, false);
            acknowledge(cx, peer, id, update);
            return;
        }
        // Its clock must not carry ours, which goes on from the latest moment recorded.
        status.at = status.at.min(cx.now);
        status.source = Source::Executor;
        if task.is_overtime() && status.state == TaskState::Killed {
            // TK-44: it obeyed, but nobody had asked for a kill.
            status.state = TaskState::Failed;
            status.reason = Some(Reason::MaxCompletionTimeReached);
        }
        status.agent = self.state.agent().cloned();
        self.end_with(cx, number, status.state);
        self.record_update(cx, number, status);
        acknowledge(cx, peer, id, update); // TK-70
    }
}

fn acknowledge(cx: &mut Cx<'_>, peer: PeerId, task: TaskId, update: UpdateId) {
    let event = Event::Acknowledged { task, update };
    if planted(Mutant::AckBeforeRecord) {
        return cx.out.emit_free(Effect::Executor { peer, event });
    }
    cx.out.emit(Effect::Executor { peer, event });
}

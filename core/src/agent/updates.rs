//! Status updates of tasks, delivered in order and at least once (TK-66 to TK-73).
//!
//! One stream a task: every update is durable before it is sent, only the oldest is in flight, and
//! it is sent again, ever less often, until the framework acknowledges it. Each goes with the
//! task's newest state, so that the master frees resources without waiting.
//!
//! Deliberately not here: what happened to the task. Handlers say that with [`News`].

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use core::time::Duration;

use super::records::Number;
use super::tasks::Placement;
use super::{Agent, AgentRecord, Cx, Effect, EndedTask, Timer};
use crate::ids::{FrameworkId, PeerId, TaskId, UpdateId};
use crate::mutant::{Mutant, planted};
use crate::protocol::agent::ToMaster;
use crate::protocol::container::ContainerCommand;
use crate::protocol::status::{Breach, Exit, Observed, Reason, Source, TaskState, TaskStatus};
use crate::time::Time;

/// An update that was sent, and is not acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flight {
    pub(super) resend_at: Time,
    pub(super) wait: Duration,
}

/// What news are about: each has news of its own order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stream {
    Task(Number),
    Operation(u64),
    /// What came of a disk, by the number of its job.
    Disk(u64),
}

/// The news in flight.
pub(super) type Flights = BTreeMap<Stream, Flight>;

/// What there is to say about a task.
#[derive(Clone, Debug)]
pub(super) struct News {
    pub(super) state: TaskState,
    pub(super) source: Source,
    pub(super) reason: Option<Reason>,
    pub(super) message: String,
    pub(super) exit: Option<Exit>,
    pub(super) breach: Option<Breach>,
    /// What is said beside the state; `None` is what was said last.
    pub(super) observed: Option<Observed>,
}

impl News {
    pub(super) fn new(state: TaskState, source: Source) -> Self {
        Self {
            state,
            source,
            reason: None,
            message: String::new(),
            exit: None,
            breach: None,
            observed: None,
        }
    }

    pub(super) fn because(mut self, reason: Reason, message: impl Into<String>) -> Self {
        self.reason = Some(reason);
        self.message = message.into();
        self
    }
}

impl Agent {
    /// Takes in news of a task that is not over.
    pub(super) fn report(&mut self, cx: &mut Cx<'_>, number: Number, news: News) {
        let news = self.with_drain(news);
        let task = self.state.task(number).expect("news are of a kept task");
        let id = task.info().id.clone();
        let observed = news.observed.or_else(|| task.observed().cloned());
        let status = TaskStatus {
            reason: news.reason,
            message: news.message,
            agent: self.state.agent().cloned(),
            update: Some(self.new_update_id()),
            exit: news.exit,
            breach: news.breach,
            observed: observed.map(Box::new), // TK-65
            ..TaskStatus::new(id, news.state, news.source, cx.now)
        };
        self.record_update(cx, number, status);
    }

    pub(super) fn new_update_id(&mut self) -> UpdateId {
        let high = u128::from(self.rng.next_u64());
        UpdateId(high << 64 | u128::from(self.rng.next_u64()))
    }

    /// Makes an update durable, and sends it if it is the oldest. Of an ended framework nobody
    /// wants to hear: its task is forgotten when it is over.
    pub(super) fn record_update(
        &mut self,
        cx: &mut Cx<'_>,
        number: Number,
        mut status: TaskStatus,
    ) {
        // Executors and containerizers may have said it.
        status.shorten();
        let task = self.state.task(number).expect("news are of a kept task");
        let is_over = status.state.is_terminal();
        let placement = task.placement();
        if is_over {
            let container = match placement {
                Placement::Executor(executor) => executor,
                Placement::Own | Placement::Nowhere => number,
            };
            let ended = EndedTask {
                task: task.info().id.clone(),
                name: task.info().name.clone(),
                executor: task.info().executor.as_ref().map(|it| it.id.clone()),
                state: status.state,
                at: status.at,
            };
            self.history.note(task.framework(), container, ended);
        }
        if self.state.is_ended(task.framework()) {
            if is_over {
                let framework = task.framework().clone();
                self.persist(cx, AgentRecord::TaskForgotten { task: number });
                self.tell_over(cx, framework, status);
                self.watch_time(cx, number);
                self.on_task_removed(cx, number, placement);
            }
            return;
        }
        let task = number;
        self.persist(cx, AgentRecord::Updated { task, status });
        self.watch_time(cx, task);
        self.heed(task, is_over);
        if let (Placement::Executor(executor), true) = (placement, is_over) {
            self.resize(cx, executor);
        }
        let waits = |agent: &Self| agent.state.task(number).map(|t| t.unacknowledged().len());
        if waits(self) == Some(1) && self.link.joined().is_some() {
            let wait = self.config.update_retry;
            self.send(cx, number, 0, wait);
        }
    }

    /// Says that a task of an ended framework is over: what the task used is free (SM-07).
    pub(super) fn tell_over(
        &mut self,
        cx: &mut Cx<'_>,
        framework: FrameworkId,
        status: TaskStatus,
    ) {
        self.tell_end(cx, unnamed(framework, status));
    }

    /// Tells news that nobody is to confirm.
    pub(super) fn tell_unnamed(
        &self,
        cx: &mut Cx<'_>,
        peer: PeerId,
        framework: FrameworkId,
        status: TaskStatus,
    ) {
        let message = unnamed(framework, status);
        cx.out.emit(Effect::Master { peer, message });
    }

    /// Sends one of the unacknowledged updates of a task, and again if nothing comes back.
    fn send(&mut self, cx: &mut Cx<'_>, number: Number, which: usize, wait: Duration) {
        let (Some(peer), Some(task)) = (self.link.joined(), self.state.task(number)) else {
            return;
        };
        let waiting = task.unacknowledged();
        let newest = planted(Mutant::NewestSentFirst).then(|| waiting.len().wrapping_sub(1));
        let Some(mut status) = waiting.get(newest.unwrap_or(which)).cloned() else {
            return;
        };
        if planted(Mutant::RetryRenamed) {
            status.update = Some(UpdateId(cx.now.as_micros().into()));
        }
        let message = ToMaster::Update {
            framework: task.framework().clone(),
            status,
            latest: task.state(),
        };
        cx.out.emit(Effect::Master { peer, message });
        self.take_off(cx.now, Stream::Task(number), wait);
    }

    /// Notes that news was sent, and is sent again after a wait.
    pub(super) fn take_off(&mut self, now: Time, stream: Stream, wait: Duration) {
        let resend_at = now + wait;
        let before = self.flights.insert(stream, Flight { resend_at, wait });
        if let Some(before) = before {
            self.timers.disarm(before.resend_at, Timer::Resend(stream));
        }
        self.timers.arm(resend_at, Timer::Resend(stream));
    }

    pub(super) fn on_resend_due(&mut self, cx: &mut Cx<'_>, stream: Stream) {
        if let Some(flight) = self.flights.get(&stream) {
            let most = self.config.update_retry_max;
            let wait = flight.wait.saturating_mul(2).min(most);
            match stream {
                Stream::Task(number) => self.send(cx, number, 0, wait),
                Stream::Operation(number) => self.send_operation(cx, number, wait),
                Stream::Disk(number) => self.send_disk(cx, number, wait),
            }
        }
    }

    /// Sends the oldest update of every task, and all news of operations, at once: the agent is
    /// registered (TK-67).
    pub(super) fn resume_updates(&mut self, cx: &mut Cx<'_>) {
        if planted(Mutant::UpdatesNotResumed) {
            return;
        }
        let wait = self.config.update_retry;
        let waiting: alloc::vec::Vec<Number> = self
            .state
            .tasks()
            .iter()
            .filter(|(_, task)| task.oldest().is_some())
            .map(|(number, _)| *number)
            .collect();
        for number in waiting {
            self.send(cx, number, 0, wait);
        }
        self.resume_operations(cx);
        self.resume_disks(cx);
    }

    /// Stops sending: there is nobody to send to (AG-08).
    pub(super) fn pause_updates(&mut self) {
        for (stream, flight) in core::mem::take(&mut self.flights) {
            self.timers.disarm(flight.resend_at, Timer::Resend(stream));
        }
    }

    pub(super) fn land(&mut self, stream: Stream) {
        if let Some(flight) = self.flights.remove(&stream) {
            self.timers.disarm(flight.resend_at, Timer::Resend(stream));
        }
    }

    pub(super) fn on_acknowledged(
        &mut self,
        cx: &mut Cx<'_>,
        framework: &FrameworkId,
        task: &TaskId,
        update: UpdateId,
    ) {
        let Some(number) = self.state.find_task(framework, task) else {
            tracing::debug!(%framework, %task, "acknowledged for an unknown task: ignored");
            return;
        };
        let row = self.state.task(number).expect("a found task is kept");
        let oldest = row.oldest().and_then(|status| status.update);
        let update = oldest
            .filter(|_| planted(Mutant::AnyAckTaken))
            .unwrap_or(update);
        if oldest != Some(update) {
            tracing::debug!(%task, ?update, "acknowledged out of turn: ignored");
            return;
        }
        let placement = row.placement();
        let task = number;
        let goes_ahead = row.may_go_ahead();
        self.land(Stream::Task(number));
        // The next one need not wait until the acknowledgement is durable: if that is lost, this
        // one is sent again, and the framework, which knows it, acknowledges it again.
        let wait = self.config.update_retry;
        if goes_ahead {
            self.send(cx, number, 1, wait);
        }
        self.persist(cx, AgentRecord::Acknowledged { task, update });
        if !goes_ahead {
            self.send(cx, number, 0, wait);
        }
        if self.state.task(number).is_none() {
            self.on_task_removed(cx, number, placement);
        }
    }

    /// Cleans up after a task that is over and needs no more telling.
    pub(super) fn on_task_removed(
        &mut self,
        cx: &mut Cx<'_>,
        number: Number,
        placement: Placement,
    ) {
        self.land(Stream::Task(number));
        self.heed(number, true);
        match placement {
            Placement::Own => cx.container(ContainerCommand::Forget {
                id: number.container(),
            }),
            Placement::Executor(executor) => {
                if let Some(session) = self.sessions.get_mut(executor) {
                    session.withdraw(number);
                }
                self.end_executor_if_idle(cx, executor);
            }
            Placement::Nowhere => {}
        }
    }
}

/// Makes news that nobody is to confirm.
fn unnamed(framework: FrameworkId, status: TaskStatus) -> ToMaster {
    ToMaster::Update {
        framework,
        latest: status.state,
        status: TaskStatus {
            update: None,
            ..status
        },
    }
}

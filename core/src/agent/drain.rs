//! Draining: the agent ends its tasks and takes no others, until it is told otherwise.
//!
//! Called by `on_master`. The master knows who is drained, and says so again whenever the agent
//! joins: nothing is remembered of it here but the kills. The longest that a task may take is the
//! longest that the drain may take: then executors are destroyed that still run, whatever time they
//! have by themselves.
//!
//! Deliberately not here: how tasks end (`kills`), and executors once they have none.

use alloc::vec::Vec;
use core::time::Duration;

use super::patience::Departure;
use super::records::Number;
use super::updates::News;
use super::{Agent, Cx, Timer};
use crate::mutant::{Mutant, planted};
use crate::protocol::status::{Reason, TaskState};
use crate::time::Time;

/// What an agent knows of a drain of itself.
#[derive(Debug, Default)]
pub(super) struct Drain {
    /// Whether it takes no tasks, as the master has said since the agent last joined.
    pub(super) goes_on: bool,
    /// Which drain it has heard of last: since when.
    since: Option<Time>,
    /// When the drain has had its time, of those with a bound. Not forgotten with the master, who
    /// says it anew.
    pub(super) due: Option<Time>,
    /// Whether the drain has had its time before the master has said that it goes on.
    is_late: bool,
}

impl Agent {
    pub(super) fn on_drain(&mut self, cx: &mut Cx<'_>, max_grace: Option<Duration>, since: Time) {
        self.drain.goes_on = true;
        if self.drain.since.replace(since) != Some(since) {
            // The one before was called off while the agent was away.
            self.stop_awaiting_drain();
            self.drain.is_late = false;
        }
        let live = self.state.tasks().iter();
        let live = live.filter(|(_, task)| !task.state().is_terminal());
        let live: Vec<(Number, Option<Duration>)> = live
            .map(|(number, task)| (*number, grace(max_grace, task.info().kill_grace)))
            .collect();
        for (task, grace) in live {
            if planted(Mutant::DrainEndsNothing) {
                continue;
            }
            self.kill(cx, task, grace);
        }
        if let Some(most) = max_grace {
            cx.echo(Departure::Drain { since, most });
        }
        if core::mem::take(&mut self.drain.is_late) {
            self.destroy_executors(cx);
        }
    }

    pub(super) fn on_undrain(&mut self) {
        self.drain.goes_on = false;
        self.drain.is_late = false;
        self.stop_awaiting_drain();
    }

    /// All that a drain has asked for has left. Said again, by this master or the next, its time
    /// only gets shorter.
    pub(super) fn await_drain(&mut self, cx: &Cx<'_>, since: Time, most: Duration) {
        let at = cx.now + most;
        let goes_on = self.drain.goes_on && self.drain.since == Some(since);
        if goes_on && self.drain.due.is_none_or(|before| at < before) {
            self.stop_awaiting_drain();
            self.drain.due = Some(at);
            self.timers.arm(at, Timer::Drain);
        }
    }

    fn stop_awaiting_drain(&mut self) {
        if let Some(at) = self.drain.due.take() {
            self.timers.disarm(at, Timer::Drain);
        }
    }

    /// A drain has had its time (TK-124). Tasks with containers of their own have no more than
    /// that.
    pub(super) fn on_drain_due(&mut self, cx: &mut Cx<'_>) {
        self.drain.due = None;
        if self.drain.goes_on {
            self.destroy_executors(cx);
        } else {
            // The agent has just joined, and the master has yet to say whether this goes on.
            self.drain.is_late = true;
        }
    }

    fn destroy_executors(&mut self, cx: &mut Cx<'_>) {
        let executors: Vec<Number> = self.state.executors().keys().copied().collect();
        for executor in executors {
            self.destroy_executor(cx, executor, Reason::AgentDraining, DRAINED);
        }
    }

    /// Says of what was killed that it was for the drain (TK-57).
    pub(super) fn with_drain(&self, news: News) -> News {
        if self.drain.goes_on && news.state == TaskState::Killed && news.reason.is_none() {
            return news.because(Reason::AgentDraining, DRAINED);
        }
        news
    }
}

/// Why something ended with a drain, or did not begin.
pub(super) const DRAINED: &str = "the agent is being drained";

/// Returns how long a task has that is killed by a drain: what the drain says only makes it less
/// (TK-84).
fn grace(max: Option<Duration>, own: Option<Duration>) -> Option<Duration> {
    match (max, own) {
        (Some(max), Some(own)) => Some(max.min(own)),
        (max, own) => max.or(own),
    }
}

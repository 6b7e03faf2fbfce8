//! News about tasks: kept until the agent has them, and said again until then.

use core::time::Duration;

use super::{Effect, Executor, Link, Out, Report};
use crate::ids::{TaskId, UpdateId};
use crate::mutant::{Mutant, planted};
use crate::protocol::executor::{Call, may_report};
use crate::protocol::status::{Source, TaskStatus};
use crate::protocol::wire::cut_text;
use crate::time::Time;

/// How many updates wait for the agent at most. One more that does not end its task is left out:
/// a later one says more.
const WAITING_UPDATES: usize = 10_000;

impl Executor {
    pub(super) fn on_acknowledged(&mut self, id: &TaskId, update: UpdateId, out: &mut Out) {
        let waits = |s: &TaskStatus| s.update == Some(update) && s.task == *id;
        let mut known = self.unacknowledged.find(waits);
        if planted(Mutant::AckTakesOldest) {
            known = self.unacknowledged.keys().next().copied();
        }
        let Some(number) = known else {
            tracing::debug!(task = %id, ?update, "acknowledged before: ignored");
            return;
        };
        self.unacknowledged.remove(&number);
        if self.unacknowledged.is_empty() {
            self.resend = None;
        }
        let more = self
            .unacknowledged
            .values()
            .any(|status| status.task == *id);
        if let Some(task) = self.tasks.get_mut(id) {
            task.is_known = true;
            let is_done = task.is_over && !more;
            if is_done {
                self.tasks.remove(id);
            }
        }
        self.exit_if_done(out);
    }

    pub(super) fn on_report(&mut self, now: Time, report: Report, out: &mut Out) {
        let live = self
            .tasks
            .get_mut(&report.task)
            .filter(|task| !task.is_over);
        let Some(task) = live.filter(|_| may_report(report.state)) else {
            tracing::warn!(task = %report.task, state = %report.state, "cannot be reported");
            return;
        };
        let is_over = report.state.is_terminal();
        if !is_over && self.unacknowledged.len() >= WAITING_UPDATES {
            tracing::warn!(task = %report.task, "too many updates wait: one is left out");
            return;
        }
        task.is_over = is_over;
        let high = u128::from(self.rng.next_u64());
        let status = TaskStatus {
            reason: report.reason,
            message: cut_text(report.message),
            agent: self.agent.clone(),
            update: Some(UpdateId(high << 64 | u128::from(self.rng.next_u64()))),
            exit: report.exit,
            ..TaskStatus::new(report.task, report.state, Source::Executor, now)
        };
        if planted(Mutant::NewsLostWhileAway) && !self.is_subscribed() {
            return;
        }
        self.unacknowledged.insert(self.next, status.clone());
        self.next += 1;
        if let Link::Subscribed(peer) = self.link {
            let call = Call::Update(status);
            out.emit(Effect::Agent { peer, call });
            if self.resend.is_none() {
                self.await_acknowledgements(now, self.config.update_retry);
            }
        }
    }

    pub(super) fn await_acknowledgements(&mut self, now: Time, wait: Duration) {
        let waiting = !self.unacknowledged.is_empty();
        self.resend = waiting.then_some((now + wait, wait));
    }

    pub(super) fn resend_all(&mut self, now: Time, wait: Duration, out: &mut Out) {
        let Link::Subscribed(peer) = self.link else {
            return;
        };
        for status in self.unacknowledged.values() {
            let call = Call::Update(status.clone());
            out.emit(Effect::Agent { peer, call });
        }
        let wait = wait.saturating_mul(2).min(self.config.update_retry_max);
        self.await_acknowledgements(now, wait);
    }
}

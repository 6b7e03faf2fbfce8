//! What executors are asked and do not do: tasks of which they never speak (I15), and kills that
//! they do not carry out (I14).
//!
//! Each task is watched by itself, so that one that is stuck delays no other (RG-15). An executor
//! that is too late is ended, for nothing less ends what it may still run: at once if it has no
//! other task, and otherwise with a word of warning and its time.
//!
//! Deliberately not here: executors that do not subscribe (`on_executor`).

use alloc::collections::BTreeMap;
use alloc::format;

use super::containers::Phase;
use super::records::Number;
use super::tasks::Placement;
use super::{Agent, Cx, Effect, Timer};
use crate::mutant::{Mutant, planted};
use crate::protocol::status::Reason;
use crate::time::Time;

/// When the first word about a task is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FirstWord {
    pub(super) at: Time,
    /// Whether the executor was handed the task a second time.
    asked_again: bool,
}

/// What an executor owes of one task that it was handed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Watch {
    pub(super) word: Option<FirstWord>,
    /// When a task that is to end must have.
    pub(super) end: Option<Time>,
}

/// The tasks that are watched. One that is over is not.
pub(super) type Watches = BTreeMap<Number, Watch>;

impl Agent {
    /// Expects a first word about a task that was handed over.
    pub(super) fn await_word(&mut self, cx: &Cx<'_>, task: Number) {
        let is_silent = self.state.task(task).is_some_and(|row| row.is_silent());
        if !is_silent || planted(Mutant::SilenceUnwatched) {
            return;
        }
        let watch = self.watches.entry(task).or_default();
        if watch.word.is_none() {
            let at = cx.now + self.config.executor_registration_timeout;
            let asked_again = false;
            watch.word = Some(FirstWord { at, asked_again });
            self.timers.arm(at, Timer::Word(task));
        }
    }

    /// Expects the end of a task that its executor was told to end, or will be once it is back.
    pub(super) fn await_task_end(&mut self, cx: &Cx<'_>, executor: Number, task: Number) {
        let Some(destroy_at) = self.state.task(task).and_then(|row| row.destroy_at()) else {
            return;
        };
        if planted(Mutant::KillUnwatched) {
            return;
        }
        let session = self.sessions.get(executor);
        let told_at = session.and_then(|s| s.subscribe_by()).unwrap_or(cx.now);
        let at = destroy_at.max(told_at) + self.shutdown_grace(executor);
        let watch = self.watches.entry(task).or_default();
        if watch.end.is_some_and(|before| before <= at) {
            return;
        }
        if let Some(before) = watch.end.replace(at) {
            self.timers.disarm(before, Timer::Overdue(task));
        }
        self.timers.arm(at, Timer::Overdue(task));
    }

    /// Expects the ends of all tasks of an executor that were to end before the agent restarted.
    pub(super) fn await_task_ends(&mut self, cx: &Cx<'_>, executor: Number) {
        let live = self.state.tasks_of(executor);
        let ending: alloc::vec::Vec<Number> = live
            .filter(|(_, task)| task.destroy_at().is_some() && !task.state().is_terminal())
            .map(|(number, _)| number)
            .collect();
        for task in ending {
            self.await_task_end(cx, executor, task);
        }
    }

    /// Takes note that there was news about a task.
    pub(super) fn heed(&mut self, task: Number, is_over: bool) {
        let Some(watch) = self.watches.get_mut(&task) else {
            return;
        };
        if let Some(word) = watch.word.take() {
            self.timers.disarm(word.at, Timer::Word(task));
        }
        if is_over && let Some(at) = watch.end.take() {
            self.timers.disarm(at, Timer::Overdue(task));
        }
        if watch.end.is_none() {
            self.watches.remove(&task);
        }
    }

    /// Nothing was heard of a task: it is handed over again, in case it was lost. Who has it need
    /// only say so. The second time the executor is given up.
    pub(super) fn on_word_due(&mut self, cx: &mut Cx<'_>, task: Number) {
        let patience = self.config.executor_registration_timeout;
        let Some(row) = self.state.task(task) else {
            return;
        };
        let (Placement::Executor(executor), Some(watch)) =
            (row.placement(), self.watches.get_mut(&task))
        else {
            return;
        };
        let Some(word) = watch.word.take() else {
            return;
        };
        if word.asked_again {
            let why = format!(
                "it said nothing of task {} twice {patience:?}",
                row.info().id
            );
            self.settle(task);
            self.give_up_executor(cx, executor, task, &why);
            return;
        }
        let at = cx.now + patience;
        let asked_again = true;
        watch.word = Some(FirstWord { at, asked_again });
        self.timers.arm(at, Timer::Word(task));
        let session = self.sessions.get(executor);
        let listens = session.filter(|s| s.ending().is_none() && row.destroy_at().is_none());
        if let Some(peer) = listens.and_then(|session| session.peer()) {
            let again = self.hand_over(&[task]);
            if let Some(event) = again {
                cx.out.emit(Effect::Executor { peer, event });
            }
        }
    }

    /// A task was to end, and has not.
    pub(super) fn on_task_overdue(&mut self, cx: &mut Cx<'_>, task: Number) {
        if let Some(watch) = self.watches.get_mut(&task) {
            watch.end = None;
            self.settle(task);
        }
        let Some(row) = self.state.task(task) else {
            return;
        };
        if let Placement::Executor(executor) = row.placement() {
            let why = format!("it did not end task {}", row.info().id);
            self.give_up_executor(cx, executor, task, &why);
        }
    }

    /// Forgets a watch that waits for nothing more.
    fn settle(&mut self, task: Number) {
        if self.watches.get(&task) == Some(&Watch::default()) {
            self.watches.remove(&task);
        }
    }

    /// Ends an executor that did not do what it was asked about a task. Without other tasks it has
    /// nothing to put in order, and its time was that task's.
    fn give_up_executor(&mut self, cx: &mut Cx<'_>, executor: Number, task: Number, why: &str) {
        let mut others = self.state.tasks_of(executor);
        let has_others = others.any(|(number, row)| number != task && !row.state().is_terminal());
        drop(others);
        if has_others || self.containers.phase(executor) != Some(Phase::Running) {
            self.end_executor(cx, executor, why);
        } else if let Some(session) = self.sessions.get_mut(executor) {
            session.end(Reason::ExecutorTerminated, why);
            self.stop_awaiting_subscription(executor);
            self.destroy(cx, executor);
        }
    }
}

//! What executors are asked and do not do: tasks of which they never speak (I15), and kills that
//! they do not carry out (I14).
//!
//! Each task is watched by itself, so that one that is stuck delays no other (RG-15). An executor
//! that is too late is ended, for nothing less ends what it may still run: at once if it has no
//! other task, and otherwise with a word of warning and its time.
//!
//! Deliberately not here: executors that do not subscribe (`on_executor`), and since when a time is
//! counted (`patience`).

use alloc::collections::BTreeMap;
use alloc::format;
use core::time::Duration;

use super::containers::Phase;
use super::patience::Departure;
use super::records::Number;
use super::tasks::{Placement, Task};
use super::{Agent, Cx, Effect, Timer};
use crate::mutant::{Mutant, planted};
use crate::protocol::status::Reason;
use crate::time::Time;

/// When the first word about a task is due.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct FirstWord {
    /// Known once the task has left.
    pub(super) at: Option<Time>,
    /// Whether the executor was handed the task a second time.
    asked_again: bool,
}

/// What an executor owes of one task that it was handed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Watch {
    pub(super) word: Option<FirstWord>,
    /// When a task that was told to end must have.
    pub(super) end: Option<Time>,
}

/// The tasks that are watched. One that is over is not.
pub(super) type Watches = BTreeMap<Number, Watch>;

impl Agent {
    /// Expects a first word about a task that its executor has.
    pub(super) fn await_word(&mut self, cx: &Cx<'_>, task: Number) {
        let row = self.state.task(task);
        let waits = row.is_some_and(|row| row.is_silent() && row.executor().is_some());
        if !waits || planted(Mutant::SilenceUnwatched) {
            return;
        }
        let watch = self.watches.entry(task).or_default();
        let word = watch.word.get_or_insert_default();
        if word.at.is_none() {
            let at = cx.now + self.config.executor_registration_timeout;
            word.at = Some(at);
            self.timers.arm(at, Timer::Word(task));
        }
    }

    /// Expects the end of a task that its executor was told to end, and that takes so long at most.
    pub(super) fn await_task_end(&mut self, cx: &Cx<'_>, task: Number, grace: Duration) {
        let row = self.state.task(task);
        let live = row.filter(|row| row.grace().is_some() && !row.state().is_terminal());
        let Some(executor) = live.and_then(Task::executor) else {
            return;
        };
        if planted(Mutant::KillUnwatched) {
            return;
        }
        let at = cx.now + grace + self.shutdown_grace(executor);
        let watch = self.watches.entry(task).or_default();
        if watch.end.is_some_and(|before| before <= at) {
            return;
        }
        if let Some(before) = watch.end.replace(at) {
            self.timers.disarm(before, Timer::Overdue(task));
        }
        self.timers.arm(at, Timer::Overdue(task));
    }

    /// Takes note that there was news about a task.
    pub(super) fn heed(&mut self, task: Number, is_over: bool) {
        let Some(watch) = self.watches.get_mut(&task) else {
            return;
        };
        if let Some(at) = watch.word.take().and_then(|word| word.at) {
            self.timers.disarm(at, Timer::Word(task));
        }
        if is_over && let Some(at) = watch.end.take() {
            self.timers.disarm(at, Timer::Overdue(task));
        }
        self.settle(task);
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
        let (at, asked_again) = (None, true);
        watch.word = Some(FirstWord { at, asked_again });
        let session = self.sessions.get(executor);
        let listens = session.filter(|s| s.ending().is_none() && row.grace().is_none());
        if let Some(peer) = listens.and_then(|session| session.peer())
            && let Some(event) = self.hand_over(&[task])
        {
            cx.out.emit(Effect::Executor { peer, event });
        }
        cx.echo(Departure::HandOver(task));
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
        } else {
            self.destroy_executor(cx, executor, Reason::ExecutorTerminated, why);
        }
    }
}

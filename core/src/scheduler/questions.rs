//! The table of tasks that are asked for in one subscription: which wait for their turn, and which
//! the master was asked for and has not answered.
//!
//! A master that awaits agents remembers a bounded number of questions of a framework and refuses
//! the rest, so no more than that are with it at a time. Written and answered by `reconciling`.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::ids::{AgentId, TaskId};
use crate::limits;

/// A task, and on which agent it is if that is known.
pub(super) type Question = (TaskId, Option<AgentId>);

/// All questions of a subscription.
#[derive(Debug, Default)]
pub(super) struct Questions {
    /// Not asked yet; at most [`limits::TASKS_PER_FRAMEWORK`].
    waiting: BTreeMap<TaskId, Option<AgentId>>,
    /// Asked and not answered; at most [`limits::QUESTIONS_ASKED`].
    asked: BTreeMap<TaskId, Option<AgentId>>,
    /// Whether the master has refused some of those that were asked.
    is_refused: bool,
}

impl Questions {
    /// Begins with questions for these tasks.
    pub(super) fn of(tasks: BTreeMap<TaskId, Option<AgentId>>) -> Self {
        Self {
            waiting: tasks,
            ..Self::default()
        }
    }

    /// Returns how many wait for their turn.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Returns how many are with the master.
    pub(super) fn asked(&self) -> usize {
        self.asked.len()
    }

    /// Adds questions; one that is with the master is answered once. Without room for all of them
    /// `false`, and none is added.
    #[must_use]
    pub(super) fn add(&mut self, tasks: Vec<Question>) -> bool {
        if self.waiting.len() + tasks.len() > limits::TASKS_PER_FRAMEWORK {
            return false;
        }
        let asked = &self.asked;
        let new = tasks.into_iter();
        self.waiting
            .extend(new.filter(|(task, _)| !asked.contains_key(task)));
        true
    }

    /// Takes those that are to be asked in the next call, if any: they are with the master now.
    pub(super) fn next(&mut self) -> Vec<Question> {
        let room = limits::QUESTIONS_ASKED.saturating_sub(self.asked.len());
        let first = core::iter::from_fn(|| self.waiting.pop_first());
        let part: Vec<Question> = first.take(room.min(limits::RECONCILED_PER_CALL)).collect();
        self.asked.extend(part.iter().cloned());
        part
    }

    /// Forgets a question that is answered.
    pub(super) fn answered(&mut self, task: &TaskId) {
        self.asked.remove(task);
    }

    /// Forgets the question for a task that has ended, for its end is the answer.
    pub(super) fn ended(&mut self, task: &TaskId) {
        self.asked.remove(task);
        self.waiting.remove(task);
    }

    /// Notes that the master has refused some, though not which ones. Returns whether any can be
    /// meant.
    pub(super) fn refuse(&mut self) -> bool {
        self.is_refused |= !self.asked.is_empty();
        self.is_refused
    }

    /// Has all asked once more that are not answered, if the master has refused some.
    pub(super) fn ask_again(&mut self) {
        if core::mem::take(&mut self.is_refused) {
            self.waiting.append(&mut self.asked);
        }
    }
}

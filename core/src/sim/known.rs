//! What a framework was told of its tasks, over all its schedulers: what it would have written
//! down.
//!
//! Deliberately not here: what each of them is told ([`super::tap`]).

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use super::tap::Tap;
use crate::ids::{AgentId, TaskId, UpdateId};
use crate::protocol::status::{TaskState, TaskStatus};

/// How tasks of a framework ended, as it was told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Tasks that it asked to launch.
    pub launched: u64,
    /// Ended with exit code 0.
    pub finished: u64,
    /// Ended otherwise by themselves.
    pub failed: u64,
    /// Ended by request.
    pub killed: u64,
    /// Never started, or lost with their agent.
    pub lost: u64,
}

impl Tally {
    pub(super) fn add(&mut self, other: Self) {
        self.launched += other.launched;
        self.finished += other.finished;
        self.failed += other.failed;
        self.killed += other.killed;
        self.lost += other.lost;
    }
}

/// What a framework was told of a task, by whichever of its schedulers.
#[derive(Clone, Debug)]
struct Told {
    state: TaskState,
    /// What was answered since, to a question.
    answer: Option<TaskState>,
    agent: Option<AgentId>,
    updates: Vec<UpdateId>,
}

impl Told {
    /// Returns the newest that is known.
    fn newest(&self) -> TaskState {
        self.answer.unwrap_or(self.state)
    }
}

/// What one scheduler was told, or did, that its framework would write down.
#[derive(Clone, Debug)]
pub(super) enum Note {
    /// An update came, for the first time or again.
    Heard(TaskId, UpdateId),
    /// News of a task.
    Told(TaskStatus),
    /// An answer about a task.
    Answer(TaskStatus),
    /// It asked to launch so many tasks.
    Launched(u64),
}

/// What a framework was told, over all its schedulers: what it would have written down.
#[derive(Debug, Default)]
pub(super) struct Known {
    tasks: BTreeMap<TaskId, Told>,
    /// The updates that were told since somebody asked.
    news: Vec<(TaskId, UpdateId)>,
    tally: Tally,
    violation: Option<String>,
}

impl Known {
    /// Takes over what a scheduler has noted.
    pub(super) fn note(&mut self, tap: &mut Tap) {
        for note in tap.take_notes() {
            match note {
                Note::Heard(task, update) => self.news.push((task, update)),
                Note::Told(status) => self.hear(&status),
                Note::Answer(status) => self.learn(&status),
                Note::Launched(tasks) => self.tally.launched += tasks,
            }
        }
        if self.violation.is_none() {
            self.violation = tap.take_violation();
        }
    }

    pub(super) fn tally(&self) -> Tally {
        self.tally
    }

    /// Returns the first thing that it should not have been told.
    pub(super) fn violation(&self) -> Option<&str> {
        self.violation.as_deref()
    }

    /// Lists the tasks that it heard of, with the newest state.
    pub(super) fn tasks(&self) -> impl Iterator<Item = (&TaskId, TaskState)> + '_ {
        self.tasks.iter().map(|(id, told)| (id, told.newest()))
    }

    /// Lists the tasks that are not over as far as it heard, and where. A task that a master did
    /// not know is not over: the next one may.
    pub(super) fn open(&self) -> Vec<(TaskId, Option<AgentId>)> {
        let open = self.tasks.iter();
        let open = open.filter(|(_, told)| !told.newest().is_terminal());
        open.map(|(id, told)| (id.clone(), told.agent.clone()))
            .collect()
    }

    /// Returns the newest state of a task, if it was heard of.
    pub(super) fn state(&self, task: &TaskId) -> Option<TaskState> {
        self.tasks.get(task).map(Told::newest)
    }

    /// Returns the agent that a task was last heard of from.
    pub(super) fn agent(&self, task: &TaskId) -> Option<&AgentId> {
        self.tasks.get(task)?.agent.as_ref()
    }

    /// Takes the updates that were told since this was asked before, each as often as it was told.
    pub(super) fn take_news(&mut self) -> Vec<(TaskId, UpdateId)> {
        core::mem::take(&mut self.news)
    }

    /// A scheduler was answered a question about a task. That may be ahead of the news, so it says
    /// nothing of what may still be heard; but it is all that is heard of what was lost.
    fn learn(&mut self, status: &TaskStatus) {
        let answer = status.state;
        let told = self
            .tasks
            .entry(status.task.clone())
            .or_insert_with(|| Told {
                state: TaskState::Staging,
                answer: None,
                agent: status.agent.clone(),
                updates: Vec::new(),
            });
        if !told.newest().is_terminal() {
            told.answer = Some(answer);
            self.tally.lost += u64::from(answer.is_terminal());
        }
    }

    /// Takes in what one scheduler was told in its order. What was said to another before, or is
    /// overtaken by that, is no news.
    fn hear(&mut self, status: &TaskStatus) {
        let state = status.state;
        let agent = status.agent.clone();
        match self.tasks.get_mut(&status.task) {
            Some(told) => {
                let update = status.update;
                let is_known = update.is_some_and(|update| told.updates.contains(&update));
                if is_known || !told.state.may_become(state) {
                    return;
                }
                (told.state, told.agent) = (state, agent);
                told.updates.extend(update);
                if told.answer.is_some_and(TaskState::is_terminal) {
                    return;
                }
                told.answer = None;
            }
            None => {
                let updates = status.update.into_iter().collect();
                let told = Told {
                    state,
                    answer: None,
                    agent,
                    updates,
                };
                self.tasks.insert(status.task.clone(), told);
            }
        }
        let tally = &mut self.tally;
        match state {
            TaskState::Finished => tally.finished += 1,
            TaskState::Failed => tally.failed += 1,
            TaskState::Killed => tally.killed += 1,
            TaskState::Error | TaskState::Dropped | TaskState::Gone | TaskState::GoneByOperator => {
                tally.lost += 1
            }
            TaskState::Staging
            | TaskState::Starting
            | TaskState::Running
            | TaskState::Killing
            | TaskState::Unreachable
            | TaskState::Unknown => {}
        }
    }
}

//! Which tasks are not over, as far as was heard, and asking how they are (TK-81).
//!
//! So a user hears of every task that he launched, even if the launch was lost on its way.

use alloc::format;
use alloc::vec::Vec;

use super::questions::{Question, Questions};
use super::{Effect, Known, Out, Scheduler, UserEvent};
use crate::ids::{AgentId, PeerId, TaskId};
use crate::limits;
use crate::protocol::refusal::{CallKind, RejectKind};
use crate::protocol::scheduler::Call;
use crate::protocol::status::{TaskState, TaskStatus};

impl Scheduler {
    /// Notes the tasks of an accept.
    pub(super) fn note_accepted(&mut self, call: &Call) {
        let Call::Accept { operations, .. } = call else {
            return;
        };
        for operation in operations {
            for task in operation.tasks() {
                if !self.tasks.contains_key(&task.id) {
                    // Whatever was to end under this id, it was not this.
                    self.kills.remove(&task.id);
                }
                self.note_task(&task.id, Some(&task.agent), None);
            }
        }
    }

    /// Notes what was heard of a task. One that no master knows has not ended (TK-32): where it was
    /// heard of before, it is asked for and ended in the next subscription, too.
    pub(super) fn note_status(&mut self, status: &TaskStatus) {
        let task = &status.task;
        let is_unknown = status.state == TaskState::Unknown;
        let known = self.tasks.get(task).filter(|_| is_unknown);
        if status.state.is_terminal() || is_unknown && known.is_none() {
            self.forget_task(task);
            return;
        }
        let was_on = known.and_then(|known| known.agent.clone());
        let agent = status.agent.clone().or(was_on);
        self.note_task(task, agent.as_ref(), Some(status.state));
    }

    fn forget_task(&mut self, task: &TaskId) {
        self.tasks.remove(task);
        self.kills.remove(task);
        self.unknown.remove(task);
    }

    /// Where there is no room, those go first that no master knows.
    fn note_task(&mut self, task: &TaskId, agent: Option<&AgentId>, state: Option<TaskState>) {
        let is_full = self.tasks.len() >= limits::TASKS_PER_FRAMEWORK;
        if is_full && !self.tasks.contains_key(task) {
            let Some(unknown) = self.unknown.first().cloned() else {
                tracing::debug!(%task, "no room to remember a task");
                return;
            };
            self.forget_task(&unknown);
        }
        if state == Some(TaskState::Unknown) {
            self.unknown.insert(task.clone());
        } else {
            self.unknown.remove(task);
        }
        let agent = agent.cloned();
        self.tasks.insert(task.clone(), Known { agent, state });
    }

    /// Asks how the tasks are that are not over as far as was heard; `is_heir` asks for all, for it
    /// has heard of none.
    pub(super) fn reconcile(&mut self, peer: PeerId, is_heir: bool, out: &mut Out) {
        if is_heir {
            ask_for_all(peer, out);
        } else {
            let tasks = self.tasks.iter();
            let tasks = tasks.map(|(id, known)| (id.clone(), known.agent.clone()));
            self.questions = Questions::of(tasks.collect());
            self.ask(peer, out);
        }
    }

    /// Takes in that the user asks for some tasks, or for all by naming none.
    pub(super) fn on_question(&mut self, peer: PeerId, tasks: Vec<Question>, out: &mut Out) {
        if tasks.is_empty() {
            ask_for_all(peer, out);
        } else if self.questions.add(tasks) {
            self.ask(peer, out);
        } else {
            let limit = limits::TASKS_PER_FRAMEWORK;
            out.emit(Effect::User(UserEvent::Rejected {
                call: CallKind::Reconcile,
                reason: RejectKind::TooMany,
                message: format!("more than {limit} questions would wait for their turn"),
            }));
        }
    }

    /// Something of a task was confirmed. If that was its end, no question was answered before
    /// (TK-74), and none will be.
    pub(super) fn free_question(&mut self, task: &TaskId) {
        if !self.tasks.contains_key(task) {
            self.questions.answered(task);
        }
    }

    /// Asks for as many tasks as the master has room for.
    pub(super) fn ask(&mut self, peer: PeerId, out: &mut Out) {
        loop {
            let tasks = self.questions.next();
            if tasks.is_empty() {
                return;
            }
            let call = Call::Reconcile { tasks };
            out.emit(Effect::Master { peer, call });
        }
    }

    /// Passes answers on, one by one, and asks for those whose turn it is now.
    pub(super) fn on_reconciled(&mut self, peer: PeerId, answers: Vec<TaskStatus>, out: &mut Out) {
        for status in answers {
            self.questions.answered(&status.task);
            self.note_status(&status);
            out.emit(Effect::User(UserEvent::Update(status)));
        }
        self.ask(peer, out);
    }
}

fn ask_for_all(peer: PeerId, out: &mut Out) {
    let call = Call::Reconcile { tasks: Vec::new() };
    out.emit(Effect::Master { peer, call });
}

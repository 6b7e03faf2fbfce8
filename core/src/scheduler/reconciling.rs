//! Which tasks are not over, as far as was heard, and asking how they are (TK-81).
//!
//! So a user hears of every task that he launched, even if the launch was lost on its way.

use alloc::vec::Vec;

use super::{Effect, Out, Scheduler, UserEvent};
use crate::ids::{AgentId, PeerId, TaskId};
use crate::limits;
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
                self.note_task(&task.id, Some(&task.agent));
            }
        }
    }

    /// Notes what was heard of a task.
    pub(super) fn note_status(&mut self, status: &TaskStatus) {
        if status.state.is_terminal() || status.state == TaskState::Unknown {
            self.tasks.remove(&status.task);
            self.kills.remove(&status.task);
        } else {
            self.note_task(&status.task, status.agent.as_ref());
        }
    }

    fn note_task(&mut self, task: &TaskId, agent: Option<&AgentId>) {
        let is_full = self.tasks.len() >= limits::TASKS_PER_FRAMEWORK;
        match self.tasks.get_mut(task) {
            Some(known) if known.as_ref() == agent => {}
            Some(known) => *known = agent.cloned(),
            None if is_full => tracing::debug!(%task, "no room to remember a task"),
            None => {
                self.tasks.insert(task.clone(), agent.cloned());
            }
        }
    }

    /// Asks how the tasks are that are not over as far as was heard; `is_heir` asks for all, for it
    /// has heard of none.
    pub(super) fn reconcile(&self, peer: PeerId, is_heir: bool, out: &mut Out) {
        if is_heir {
            ask_for(peer, Vec::new(), out);
        } else if !self.tasks.is_empty() {
            let tasks = self.tasks.iter().map(|(id, on)| (id.clone(), on.clone()));
            ask_for(peer, tasks.collect(), out);
        }
    }

    /// Passes answers on, one by one.
    pub(super) fn on_reconciled(&mut self, answers: Vec<TaskStatus>, out: &mut Out) {
        for status in answers {
            self.note_status(&status);
            out.emit(Effect::User(UserEvent::Update(status)));
        }
    }
}

/// Asks for tasks, in as many calls as it takes; for all by naming none.
pub(super) fn ask_for(peer: PeerId, tasks: Vec<(TaskId, Option<AgentId>)>, out: &mut Out) {
    let mut tasks = tasks.into_iter();
    loop {
        let part = tasks.by_ref().take(limits::RECONCILED_PER_CALL).collect();
        let call = Call::Reconcile { tasks: part };
        out.emit(Effect::Master { peer, call });
        if tasks.len() == 0 {
            return;
        }
    }
}

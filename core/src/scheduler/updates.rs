//! News of tasks and operations: told once a subscription, and by the scheduler itself where no
//! master can be asked.

use alloc::format;
use alloc::vec;
use core::time::Duration;

use super::{Effect, News, Out, Scheduler, UserEvent};
use crate::ids::{PeerId, TaskId, UpdateId};
use crate::limits;
use crate::mutant::{Mutant, planted};
use crate::protocol::operation::OperationStatus;
use crate::protocol::scheduler::Call;
use crate::protocol::status::{Reason, Source, TaskState, TaskStatus};
use crate::time::Time;

impl Scheduler {
    pub(super) fn on_update(&mut self, peer: PeerId, status: TaskStatus, out: &mut Out) {
        if status.state.is_terminal() {
            self.questions.ended(&status.task);
        }
        self.take_update(peer, status, out);
        self.ask(peer, out);
    }

    fn take_update(&mut self, peer: PeerId, status: TaskStatus, out: &mut Out) {
        if let (Some(update), Some(agent)) = (status.update, &status.agent) {
            if self.acknowledged.contains(update) {
                if planted(Mutant::RepeatUnanswered) {
                    return;
                }
                // The acknowledgement was lost on its way: the update came again.
                let call = Call::Acknowledge {
                    agent: agent.clone(),
                    task: status.task.clone(),
                    update,
                };
                out.emit(Effect::Master { peer, call });
                self.ask_after_end(&status);
                return;
            }
            let (id, state) = (status.task.clone(), status.state);
            if !self.is_new(update, News::Task { id, state }) {
                return;
            }
        }
        self.note_status(&status);
        out.emit(Effect::User(UserEvent::Update(status)));
    }

    pub(super) fn on_operation_update(
        &mut self,
        peer: PeerId,
        status: OperationStatus,
        out: &mut Out,
    ) {
        if let Some(update) = status.update {
            if self.acknowledged.contains(update) {
                let id = status.id;
                let call = Call::AcknowledgeOperation { id, update };
                out.emit(Effect::Master { peer, call });
                return;
            }
            let (id, state) = (status.id.clone(), status.state);
            if !self.is_new(update, News::Operation { id, state }) {
                return;
            }
        }
        out.emit(Effect::User(UserEvent::Operation(status)));
    }

    /// Returns whether the user has not been told this news in this subscription, and notes that
    /// he is.
    fn is_new(&mut self, update: UpdateId, news: News) -> bool {
        if self.pending.contains_key(&update) {
            return false;
        }
        if self.pending.len() < self.config.bounds.unconfirmed_updates {
            self.pending.insert(update, news);
        }
        true
    }

    /// An end that was heard and confirmed comes again, and the user has launched a task under this
    /// id since. While the end was not confirmed, no question about that could be answered
    /// (TK-74): now it can.
    fn ask_after_end(&mut self, status: &TaskStatus) {
        let launched_on = self.tasks.get(&status.task);
        if let Some(known) = launched_on.filter(|_| status.state.is_terminal())
            && self.config.reconciles
        {
            let question = (status.task.clone(), known.agent.clone());
            if !self.questions.add(vec![question]) {
                tracing::debug!(task = %status.task, "no room to ask for a task");
            }
        }
    }

    /// Keeps a kill, if there is room: what the master is told of it now may be lost on its way.
    pub(super) fn note_kill(&mut self, task: &TaskId, grace: Option<Duration>) {
        self.kills.insert(task, grace);
    }

    /// Says that a kill which no master can be told of now was not kept either.
    pub(super) fn check_kept(&self, now: Time, task: TaskId, out: &mut Out) {
        if self.kills.contains(&task) {
            return;
        }
        let limit = limits::WAITING_KILLS;
        out.emit(Effect::User(UserEvent::Update(TaskStatus {
            reason: Some(Reason::Reconciliation),
            message: format!("not killed: {limit} kills wait for a master already"),
            ..TaskStatus::new(task, TaskState::Unknown, Source::Master, now)
        })));
    }
}

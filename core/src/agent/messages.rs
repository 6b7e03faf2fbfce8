//! What frameworks and their executors have to say to each other, passed on once if at all, and
//! executors that their framework wants no more.
//!
//! Called by `on_master` and `on_executor`. Deliberately not here: how an executor is ended.

use alloc::vec::Vec;

use super::records::Number;
use super::{Agent, AgentRecord, Cx, Effect};
use crate::ids::{ExecutorId, FrameworkId, PeerId};
use crate::limits;
use crate::mutant::{Mutant, planted};
use crate::protocol::agent::ToMaster;
use crate::protocol::executor::Event;
use crate::protocol::status::Exit;

/// Why an executor ends that its framework has ended.
pub(super) const UNWANTED: &str = "its framework wants it no more";

impl Agent {
    /// Passes a framework's word on to its executor, if it listens (PR-09, FW-63).
    pub(super) fn on_message(
        &mut self,
        cx: &mut Cx<'_>,
        framework: &FrameworkId,
        executor: &ExecutorId,
        data: Vec<u8>,
    ) {
        let mut number = self.state.find_executor(framework, executor);
        if planted(Mutant::MessageToOther) && number.is_some() {
            let mut all = self.state.executors().iter();
            let first = all.find(|(_, row)| row.framework() == framework);
            number = first.map(|(number, _)| *number);
        }
        let session = number.and_then(|number| self.sessions.get(number));
        match session.and_then(|session| session.peer()) {
            Some(peer) => {
                let event = Event::Message(data);
                cx.out.emit(Effect::Executor { peer, event });
            }
            None => tracing::debug!(%executor, "does not listen: not told"),
        }
    }

    /// Passes an executor's word on to its framework, if there is a master to (PR-08, FW-63).
    pub(super) fn on_executor_message(&mut self, cx: &mut Cx<'_>, executor: Number, data: Vec<u8>) {
        let (Some(peer), Some(row)) = (self.link.joined(), self.state.executor(executor)) else {
            tracing::debug!(?executor, "no master: its message is not passed on");
            return;
        };
        let bytes = data.len();
        let session = self.sessions.get_mut(executor);
        let fits = session.is_some_and(|session| session.may_say(cx.now, bytes));
        if bytes > limits::MESSAGE_BYTES || !fits {
            tracing::debug!(?executor, bytes, "too long, or too many: not passed on");
            return;
        }
        let message = ToMaster::Message {
            framework: row.framework().clone(),
            executor: row.info().id.clone(),
            data,
        };
        cx.out.emit(Effect::Master { peer, message });
    }

    /// Ends an executor with all its tasks (PR-07). That is remembered: nobody says it again.
    pub(super) fn on_shutdown_executor(
        &mut self,
        cx: &mut Cx<'_>,
        framework: &FrameworkId,
        executor: &ExecutorId,
    ) {
        match self.state.find_executor(framework, executor) {
            Some(number) => {
                let session = self.sessions.get(number);
                if session.is_some_and(|session| session.ending().is_none()) {
                    let executor = number;
                    self.persist(cx, AgentRecord::ExecutorUnwanted { executor });
                }
                self.end_executor(cx, number, UNWANTED);
            }
            None => tracing::debug!(%executor, "not here: not ended"),
        }
    }

    /// Says that an executor has ended (PR-08).
    pub(super) fn tell_executor_ended(
        &mut self,
        cx: &mut Cx<'_>,
        (framework, executor): (FrameworkId, ExecutorId),
        exit: Option<Exit>,
    ) {
        let message = ToMaster::ExecutorEnded {
            framework,
            executor,
            exit,
        };
        self.tell_end(cx, message);
    }

    /// Says that something has ended, if the master is there. If it was told of it and has not
    /// answered, this is said once it has. Otherwise it finds it missing when the agent next
    /// returns.
    pub(super) fn tell_end(&mut self, cx: &mut Cx<'_>, message: ToMaster) {
        if let Some(peer) = self.link.joined() {
            cx.out.emit(Effect::Master { peer, message });
        } else if self.link.has_asked() {
            self.late_ends.push(message);
        }
    }

    /// Says what has ended since the master was told of it.
    pub(super) fn tell_late_ends(&mut self, cx: &mut Cx<'_>, peer: PeerId) {
        for message in core::mem::take(&mut self.late_ends) {
            cx.out.emit(Effect::Master { peer, message });
        }
    }
}

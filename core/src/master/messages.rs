//! What frameworks and their executors have to say to each other, and the ends of executors.
//!
//! All of it is passed on once, if whom it is for is there, and kept for nobody: what must not be
//! lost travels as updates of tasks. Called by `on_scheduler` and `on_agent`.
//!
//! Deliberately not here: the tasks of executors.

use alloc::format;
use alloc::vec::Vec;

use tracing::debug;

use super::agents::Uncounted;
use super::{Cx, Master};
use crate::ids::{AgentId, ExecutorId, FrameworkId};
use crate::keys::{AgentKey, FrameworkKey};
use crate::limits;
use crate::mutant::{Mutant, planted};
use crate::protocol::agent::ToAgent;
use crate::protocol::refusal::{CallKind, RejectKind};
use crate::protocol::scheduler::{Event, ExecutorEnd, ExecutorMessage};
use crate::protocol::status::Exit;

impl Master {
    /// Passes a framework's word on to its executor (FW-51, PR-09).
    pub(super) fn on_message(
        &mut self,
        cx: &mut Cx<'_>,
        framework: FrameworkKey,
        (agent, executor): (&AgentId, ExecutorId),
        data: Vec<u8>,
    ) {
        if data.len() > limits::MESSAGE_BYTES {
            let (bytes, limit) = (data.len(), limits::MESSAGE_BYTES);
            let text = format!("message has {bytes} bytes, more than the limit of {limit}");
            self.reject(cx, framework, CallKind::Message, RejectKind::TooLong, text);
            return;
        }
        let framework = self.frameworks[framework].id.clone();
        let message = ToAgent::Message {
            framework,
            executor,
            data,
        };
        if planted(Mutant::MessageTwice) {
            self.pass_on(cx, agent, message.clone());
        }
        self.pass_on(cx, agent, message);
    }

    /// Has an executor ended that its framework wants no more (FW-46, PR-07).
    pub(super) fn on_shutdown_executor(
        &mut self,
        cx: &mut Cx<'_>,
        framework: FrameworkKey,
        agent: &AgentId,
        executor: ExecutorId,
    ) {
        let framework = self.frameworks[framework].id.clone();
        let message = ToAgent::ShutdownExecutor {
            framework,
            executor,
        };
        self.pass_on(cx, agent, message);
    }

    fn pass_on(&self, cx: &mut Cx<'_>, agent: &AgentId, message: ToAgent) {
        let key = self.agents.find(agent);
        match key.and_then(|key| self.agents[key].peer()) {
            Some(peer) => cx.tell_agent(peer, message),
            None => debug!(%agent, "not here: its executor is not told"),
        }
    }

    /// Passes an executor's word on to its framework (FW-51, PR-08).
    pub(super) fn on_executor_message(
        &mut self,
        cx: &mut Cx<'_>,
        agent: AgentKey,
        (framework, executor): (&FrameworkId, ExecutorId),
        data: Vec<u8>,
    ) {
        if data.len() > limits::MESSAGE_BYTES {
            debug!(%executor, bytes = data.len(), "too long a message: not passed on");
            return;
        }
        if !self.runs_executor(agent, framework, &executor) {
            return self.note_stray(agent, framework, &executor);
        }
        let agent = self.agents[agent].id.clone();
        let event = Event::Message(ExecutorMessage {
            agent,
            executor,
            data,
        });
        self.tell_owner(cx, framework, event);
    }

    /// Takes in that an executor has ended, and tells its framework (FW-36, PR-08).
    pub(super) fn on_executor_ended(
        &mut self,
        cx: &mut Cx<'_>,
        agent: AgentKey,
        framework: &FrameworkId,
        executor: ExecutorId,
        exit: Option<Exit>,
    ) {
        let name = Uncounted::Executor(executor.clone());
        if self.end_uncounted(cx, agent, framework, name) {
            return;
        }
        if !self.runs_executor(agent, framework, &executor) {
            return self.note_stray(agent, framework, &executor);
        }
        if let Some(owner) = self.frameworks.find(framework) {
            self.end_executor(&(owner, agent, executor.clone()));
        }
        let agent = self.agents[agent].id.clone();
        let event = Event::ExecutorEnded(ExecutorEnd {
            agent,
            executor,
            exit,
        });
        self.tell_owner(cx, framework, event);
    }

    /// Returns whether an agent has such an executor, as far as is known. Agents speak to the
    /// frameworks of which they run something, and to nobody else.
    fn runs_executor(&self, agent: AgentKey, owner: &FrameworkId, executor: &ExecutorId) -> bool {
        let owner = self.frameworks.find(owner);
        owner.is_some_and(|owner| self.tasks.executor(owner, agent, executor).is_some())
    }

    fn note_stray(&mut self, agent: AgentKey, framework: &FrameworkId, executor: &ExecutorId) {
        let agent = &self.agents[agent].id;
        debug!(%agent, %framework, %executor, "of an executor that the agent does not run");
        self.strays += 1;
    }

    fn tell_owner(&self, cx: &mut Cx<'_>, framework: &FrameworkId, event: Event) {
        let key = self.frameworks.find(framework);
        match key.and_then(|key| self.frameworks[key].peer()) {
            Some(peer) => cx.tell_framework(peer, event),
            None => debug!(%framework, "not here: it is not told of its executor"),
        }
    }
}

//! What frameworks are told of the operations that they have named, and what they confirm.
//!
//! The agent says how an operation ended until that is confirmed, and so does the master of what it
//! has turned down itself, or knows to be lost with its agent (OF-55, OF-59). Deliberately not
//! here: what operations do (`converting`).

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use tracing::debug;

use super::agents::Presence;
use super::operations::{Operation, news_bytes};
use super::{Cx, Master};
use crate::ids::{AgentId, FrameworkId, OperationId, UpdateId};
use crate::keys::{AgentKey, FrameworkKey};
use crate::limits;
use crate::protocol::agent::ToAgent;
use crate::protocol::operation::{OperationKind, OperationState, OperationStatus, Owner};
use crate::protocol::refusal::{CallKind, RejectKind};
use crate::protocol::scheduler::Event;
use crate::protocol::wire::{cut_text, size};

impl Master {
    fn tell_operation(&self, cx: &mut Cx<'_>, framework: FrameworkKey, status: OperationStatus) {
        if let Some(peer) = self.frameworks.get(framework).and_then(|row| row.peer()) {
            cx.tell_framework(peer, Event::OperationUpdate(status));
        }
    }

    /// Remembers a named operation, or news about it.
    pub(super) fn note_operation(
        &mut self,
        framework: FrameworkKey,
        kind: Option<OperationKind>,
        place: Option<(AgentKey, u64)>,
        (status, bytes): (OperationStatus, usize),
    ) {
        self.operations.insert(Operation {
            framework,
            owner: self.frameworks[framework].id.clone(),
            kind,
            place,
            status,
            bytes,
        });
    }

    /// Turns an operation down, and says so until it is confirmed (SM-33, OF-11). Without a name,
    /// or under one that is another's, it can only be said once.
    pub(super) fn refuse_operation(
        &mut self,
        cx: &mut Cx<'_>,
        framework: FrameworkKey,
        (kind, id): (OperationKind, Option<OperationId>),
        reason: RejectKind,
        message: String,
    ) {
        let Some(id) = id else {
            self.reject(cx, framework, CallKind::Accept, reason, message);
            return;
        };
        if self.operations.find(framework, &id).is_some() {
            // Who goes by states must not take it for the end of the other (I11).
            let text = format!("operation {id} is there already; {message}");
            self.reject(cx, framework, CallKind::Accept, RejectKind::Doubled, text);
            return;
        }
        let mut status = OperationStatus {
            reason: Some(reason),
            message,
            update: Some(self.new_update_id()),
            ..OperationStatus::new(id, OperationState::Error, cx.now)
        };
        let bytes = size(&status);
        if self.operations.has_room(framework, &status.id, bytes) {
            let news = (status.clone(), bytes);
            self.note_operation(framework, Some(kind), None, news);
        } else {
            status.update = None;
        }
        self.tell_operation(cx, framework, status);
    }

    /// Knows of an operation again that an earlier leadership has accepted. If its framework has
    /// named too many others since, it is known once the agent says how it ended. `makes` is how
    /// many bytes what it makes takes on the wire.
    pub(super) fn know_again(
        &mut self,
        cx: &Cx<'_>,
        owner: &Owner,
        kind: OperationKind,
        place: (AgentKey, u64),
        makes: usize,
    ) {
        let framework = self.frameworks.find(&owner.framework);
        let framework = framework.filter(|key| !self.frameworks[*key].is_completed());
        let (Some(framework), Some(id)) = (framework, &owner.id) else {
            return;
        };
        let agent = self.agents[place.0].id.clone();
        let bytes = news_bytes(Some(id), &agent, makes);
        let is_new = self.operations.find(framework, id).is_none();
        if is_new && self.operations.has_room(framework, id, bytes) {
            let status = OperationStatus {
                agent: Some(agent),
                ..OperationStatus::new(id.clone(), OperationState::Pending, cx.now)
            };
            self.note_operation(framework, Some(kind), Some(place), (status, bytes));
        }
    }

    /// Takes in what an agent says of an operation (PR-11).
    ///
    /// The master confirms it itself if nobody else will: if the framework is over, under whichever
    /// leadership it ended, if nothing was ever ordered of the agent under this number, or if the
    /// name is that of another operation by now. A framework that a leadership knew whose registry
    /// is lost may come back, and has [`limits::ORPHANS_KEPT`] for it (OF-58, TL-09).
    pub(super) fn on_operation_update(
        &mut self,
        cx: &mut Cx<'_>,
        agent: AgentKey,
        number: u64,
        owner: FrameworkId,
        mut status: OperationStatus,
    ) {
        // In pieces something may be longer than it was, and not twice as long.
        let is_fit = size(&status.converted) <= 2 * limits::AGENT_BYTES;
        let is_news = is_fit && may_report(status.state);
        let Some(update) = status.update.filter(|_| is_news) else {
            debug!(operation = %status.id, state = %status.state, "not an agent's to say");
            return;
        };
        let known = self.frameworks.find(&owner);
        let live = known.filter(|key| !self.frameworks[*key].is_completed());
        let Some(framework) = live else {
            let has_ended = known.is_some() || self.registry.end_of(&owner).is_some();
            let since = self.agents[agent].registered_at;
            let is_orphan = cx.now.since(since) >= limits::ORPHANS_KEPT;
            if has_ended || is_orphan || !self.issuer().has_forgotten(&owner) {
                self.confirm_operation(cx, agent, number, update);
            }
            return;
        };
        let admission = self.registry.agent(&self.agents[agent].id);
        let last = admission.map_or(0, |admission| admission.converted.last);
        let place = Some((agent, number));
        let known = self.operations.find(framework, &status.id);
        if number > last || known.is_some_and(|known| known.place != place) {
            debug!(operation = %status.id, number, "not an operation of this agent");
            self.strays += 1;
            self.confirm_operation(cx, agent, number, update);
            return;
        }
        let kind = known.and_then(|known| known.kind);
        status.agent = Some(self.agents[agent].id.clone());
        status.message = cut_text(status.message);
        let bytes = size(&status);
        if !self.operations.has_room(framework, &status.id, bytes) {
            debug!(operation = %status.id, "no room to know of it; the agent says it again");
            return;
        }
        self.note_operation(framework, kind, place, (status.clone(), bytes));
        self.tell_operation(cx, framework, status);
    }

    fn confirm_operation(&self, cx: &mut Cx<'_>, agent: AgentKey, number: u64, update: UpdateId) {
        if let Some(peer) = self.agents.get(agent).and_then(|row| row.peer()) {
            cx.tell_agent(peer, ToAgent::AcknowledgeOperation { number, update });
        }
    }

    /// Takes in a framework's confirmation: the operation is over (SM-36).
    pub(super) fn on_acknowledge_operation(
        &mut self,
        cx: &mut Cx<'_>,
        framework: FrameworkKey,
        id: &OperationId,
        update: UpdateId,
    ) {
        let known = self.operations.find(framework, id);
        if known.and_then(|known| known.status.update) != Some(update) {
            // RG-05
            debug!(operation = %id, ?update, "nothing to be confirmed");
            return;
        }
        let over = self.operations.remove(framework, id);
        if let Some((agent, number)) = over.and_then(|over| over.place) {
            self.confirm_operation(cx, agent, number, update);
        }
    }

    /// Says how far operations are (OF-56, OF-57). These are answers, and need no confirmation.
    pub(super) fn on_reconcile_operations(
        &mut self,
        cx: &mut Cx<'_>,
        framework: FrameworkKey,
        asked: Vec<(OperationId, Option<AgentId>)>,
    ) {
        let limit = limits::OPERATIONS_PER_FRAMEWORK;
        if asked.len() > limit {
            let call = CallKind::ReconcileOperations;
            let text = format!("more than {limit} operations in one call");
            self.reject(cx, framework, call, RejectKind::TooMany, text);
            return;
        }
        let answers: Vec<OperationStatus> = if asked.is_empty() {
            let known = self.operations.of_framework(framework);
            known.map(answer).collect()
        } else {
            let answers =
                asked
                    .into_iter()
                    .map(|(id, agent)| match self.operations.find(framework, &id) {
                        Some(known) => answer(known),
                        None => self.unknown(cx, id, agent),
                    });
            answers.collect()
        };
        for answer in answers {
            self.tell_operation(cx, framework, answer);
        }
    }

    fn unknown(&self, cx: &Cx<'_>, id: OperationId, agent: Option<AgentId>) -> OperationStatus {
        let row = agent.as_ref().and_then(|agent| self.agents.find(agent));
        let is_gone = |id| self.registry.gone().contains_key(id);
        let state = match row.map(|key| self.agents[key].presence()) {
            None if agent.as_ref().is_some_and(is_gone) => OperationState::GoneByOperator,
            Some(Presence::Recovered) => OperationState::Recovering,
            Some(Presence::Unreachable) => OperationState::Unreachable,
            Some(Presence::Connected(_) | Presence::Disconnected) | None => OperationState::Unknown,
        };
        OperationStatus {
            agent,
            ..OperationStatus::new(id, state, cx.now)
        }
    }

    /// Says again what nobody else would say, for a framework that was away.
    pub(super) fn tell_operations_again(&self, cx: &mut Cx<'_>, framework: FrameworkKey) {
        for operation in self.operations.of_framework(framework) {
            if operation.place.is_none() {
                self.tell_operation(cx, framework, operation.status.clone());
            }
        }
    }

    /// An agent is out of reach, and nobody knows how far it is with what was ordered of it (OF-59,
    /// SM-35). That is no end, and needs no confirmation.
    pub(super) fn lose_operations_of_agent(&mut self, cx: &mut Cx<'_>, agent: AgentKey) {
        for mut operation in self.operations.on_agent(agent) {
            if operation.status.state == OperationState::Pending {
                operation.status.state = OperationState::Unreachable;
                operation.status.at = cx.now;
                let (framework, status) = (operation.framework, operation.status.clone());
                self.operations.insert(operation);
                self.tell_operation(cx, framework, status);
            }
        }
    }

    /// An agent is back: what it has not told of is under way again, and frameworks hear so.
    pub(super) fn regain_operations_of_agent(&mut self, cx: &mut Cx<'_>, agent: AgentKey) {
        for mut operation in self.operations.on_agent(agent) {
            if operation.status.state == OperationState::Unreachable {
                operation.status.state = OperationState::Pending;
                operation.status.at = cx.now;
                let (framework, status) = (operation.framework, operation.status.clone());
                self.operations.insert(operation);
                self.tell_operation(cx, framework, status);
            }
        }
    }

    /// An agent is gone, and with it whatever was made of its resources (OF-59).
    pub(super) fn end_operations_of_agent(&mut self, cx: &mut Cx<'_>, agent: AgentKey, why: &str) {
        for mut operation in self.operations.on_agent(agent) {
            let (framework, status) = (operation.framework, &mut operation.status);
            if !status.state.is_terminal() {
                status.state = OperationState::GoneByOperator;
                status.message = why.to_string();
                status.at = cx.now;
                status.update = Some(self.new_update_id());
            }
            operation.place = None;
            let status = status.clone();
            self.operations.insert(operation);
            self.tell_operation(cx, framework, status);
        }
    }

    /// A framework is over: nobody wants to hear of its operations.
    pub(super) fn end_operations_of_framework(&mut self, cx: &mut Cx<'_>, key: FrameworkKey) {
        for operation in self.operations.take(key) {
            if let (Some((agent, number)), Some(update)) =
                (operation.place, operation.status.update)
            {
                self.confirm_operation(cx, agent, number, update);
            }
        }
    }
}

/// Says what is known of an operation (OF-56).
fn answer(known: &Operation) -> OperationStatus {
    OperationStatus {
        update: None,
        ..known.status.clone()
    }
}

/// Whether an agent may say this of an operation; the others are the master's to say.
const fn may_report(state: OperationState) -> bool {
    match state {
        OperationState::Finished | OperationState::Failed | OperationState::Dropped => true,
        OperationState::Pending
        | OperationState::Error
        | OperationState::Unreachable
        | OperationState::GoneByOperator
        | OperationState::Recovering
        | OperationState::Unknown => false,
    }
}

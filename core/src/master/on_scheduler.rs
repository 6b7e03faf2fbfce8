//! Reactions to frameworks: ending, declining, wanting, killing.
//!
//! Deliberately not here: letting in (`subscribing`), accepting (`accept`), confirmations
//! (`updates`), and losing frameworks (`reachability`).

use alloc::format;
use alloc::string::String;
use core::time::Duration;

use tracing::debug;

use super::tasks::{Kill, TaskKey};
use super::vacating::Answered;
use super::{Cx, Master};
use crate::filters::effective_refusal;
use crate::ids::{OfferId, PeerId, TaskId};
use crate::keys::FrameworkKey;
use crate::limits;
use crate::mutant::{Mutant, planted};
use crate::protocol::agent::ToAgent;
use crate::protocol::hello::CloseReason;
use crate::protocol::refusal::{CallKind, EndReason, RejectKind};
use crate::protocol::scheduler::{Call, Event};
use crate::protocol::wire::cut_text;

impl Master {
    pub(super) fn on_scheduler(&mut self, cx: &mut Cx<'_>, peer: PeerId, call: Call) {
        if let Call::Subscribe { framework, wishes } = call {
            self.on_subscribe(cx, peer, framework, wishes);
            return;
        }
        let Some(key) = self.peers.framework(peer) else {
            self.refuse(cx, peer, EndReason::NotSubscribed, "not subscribed".into());
            return;
        };
        match call {
            Call::Subscribe { .. } => {}
            Call::Teardown => {
                let message = "the framework has ended, as it asked";
                self.tear_down(cx, key, CloseReason::ShuttingDown, message);
            }
            Call::Accept {
                offers,
                operations,
                refuse,
            } => {
                let refuse = effective_refusal(refuse);
                self.on_accept(cx, key, &offers, operations, refuse);
            }
            Call::Decline { offers, refuse } => self.on_decline(cx, key, &offers, refuse),
            Call::Suppress { roles } => self.on_suppress(cx, key, roles),
            Call::Revive { roles } => self.on_revive(cx, key, roles),
            Call::Kill { task, grace } => self.on_kill(cx, key, task, grace),
            Call::Acknowledge {
                agent,
                task,
                update,
            } => self.on_acknowledge(cx, key, &agent, task, update),
            Call::AcknowledgeOperation { id, update } => {
                self.on_acknowledge_operation(cx, key, &id, update);
            }
            Call::ReconcileOperations { operations } => {
                self.on_reconcile_operations(cx, key, operations);
            }
            Call::Update { framework, wishes } => {
                self.on_update_framework(cx, key, framework, wishes);
            }
            Call::Reconcile { tasks } => self.on_reconcile(cx, key, tasks),
            Call::Message {
                agent,
                executor,
                data,
            } => self.on_message(cx, key, (&agent, executor), data),
            Call::ShutdownExecutor { agent, executor } => {
                self.on_shutdown_executor(cx, key, &agent, executor);
            }
            Call::Demand { role, demand } => self.on_demand(cx, key, role, demand),
            Call::AcceptInverse { offers, refuse } => {
                self.on_leaving(cx, key, &offers, Answered::Accepted, refuse);
            }
            Call::DeclineInverse { offers, refuse } => {
                self.on_leaving(cx, key, &offers, Answered::Declined, refuse);
            }
        }
    }

    /// Turns a call down, and lets the subscription stand.
    pub(super) fn reject(
        &self,
        cx: &mut Cx<'_>,
        framework: FrameworkKey,
        call: CallKind,
        reason: RejectKind,
        message: String,
    ) {
        if let Some(peer) = self.frameworks[framework].peer() {
            let event = Event::Rejected {
                call,
                reason,
                message: cut_text(message),
            };
            cx.tell_framework(peer, event);
        }
    }

    /// Takes offers back that a framework does not want (OF-31). Unknown ones are ignored (OF-09).
    fn on_decline(
        &mut self,
        cx: &mut Cx<'_>,
        key: FrameworkKey,
        offers: &[OfferId],
        refuse: Option<Duration>,
    ) {
        if offers.len() > limits::OFFERS_PER_CALL {
            let limit = limits::OFFERS_PER_CALL;
            let text = format!("more than {limit} offers in one decline");
            return self.reject(cx, key, CallKind::Decline, RejectKind::TooMany, text);
        }
        let refuse = effective_refusal(refuse);
        for id in offers {
            match self.own_offer(key, id) {
                Some(offer) => {
                    let row = self.return_offer(offer, refuse);
                    if let Some(row) = row.filter(|_| planted(Mutant::DeclinedStaysGood)) {
                        self.offers.insert(row);
                    }
                }
                None => debug!(offer = %id, "an unknown offer is declined"),
            }
        }
    }

    /// Ends a task, or says what became of it (TK-82). As long as agents of an earlier leadership
    /// may still report it, nothing is said of a task that is not known (TK-75), and a kill of one
    /// for which there is no room is refused: the framework asks again. Once none is awaited it is
    /// answered, though there be no room to remember it for agents that come back late.
    fn on_kill(
        &mut self,
        cx: &mut Cx<'_>,
        framework: FrameworkKey,
        id: TaskId,
        grace: Option<Duration>,
    ) {
        let known = self.tasks.find(framework, &id);
        match known {
            Some(key) if self.tasks[key].is_active() => {
                self.kill(cx, key, grace);
                return;
            }
            None if self.agents.are_missing() => {
                if self.kills.insert(framework, id.clone(), Kill { grace }) {
                    return self.answer_kills(cx);
                }
                if !self.agents.are_awaited() {
                    let status = self.no_such_task(cx, id);
                    return self.tell(cx, framework, status);
                }
                let text =
                    format!("as many kills as may wait for agents to return: {id} is not killed");
                return self.reject(cx, framework, CallKind::Kill, RejectKind::TooMany, text);
            }
            None if planted(Mutant::UnknownKillSilent) => return,
            Some(_) | None => {}
        }
        let status = match known {
            Some(key) => self.status_of(key),
            None => self.no_such_task(cx, id),
        };
        self.tell(cx, framework, status);
    }

    /// Answers what was asked, and says of which tasks that were to end nobody knows, once no agent
    /// is awaited. A framework that is away hears it when it returns. The kills are remembered for
    /// agents that may come back late.
    pub(super) fn answer_kills(&mut self, cx: &mut Cx<'_>) {
        self.answer_asks(cx);
        if self.kills.is_empty() || self.agents.are_awaited() {
            return;
        }
        for framework in self.kills.unanswered() {
            if self.frameworks[framework].peer().is_none() {
                continue;
            }
            for id in self.kills.answer(framework) {
                let status = self.no_such_task(cx, id);
                self.tell(cx, framework, status);
            }
        }
        if !self.agents.are_missing() {
            self.kills.forget_answered();
        }
    }

    /// Ends an active task: at once if its agent is there, else as soon as it comes back.
    pub(super) fn kill(&mut self, cx: &mut Cx<'_>, key: TaskKey, grace: Option<Duration>) {
        let task = &mut self.tasks[key];
        task.kill = Some(Kill { grace });
        if let Some(peer) = self.agents[task.agent].peer() {
            let message = ToAgent::KillTask {
                framework: task.owner.clone(),
                task: task.id.clone(),
                grace,
            };
            cx.tell_agent(peer, message);
        }
    }
}

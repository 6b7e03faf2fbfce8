//! How a scheduler subscribes, takes a subscription in, and gives a connection up.
//!
//! Deliberately not here: which connection counts (`mod`).

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use super::questions::Questions;
use super::{Effect, Out, Phase, Scheduler, UserEvent};
use crate::ids::{FrameworkId, PeerId};
use crate::mutant::{Mutant, planted};
use crate::protocol::hello::CloseReason;
use crate::protocol::node::Domain;
use crate::protocol::refusal::CallKind;
use crate::protocol::scheduler::Call;
use crate::roles::Role;
use crate::time::Time;

/// How long a master may take to answer: longer than its journal may stall, and than a call waits
/// for its turn with all but the slowest rates.
const ANSWER: Duration = Duration::from_secs(300);

/// What a master says when it lets a framework in.
pub(super) struct Subscribed {
    pub(super) framework: FrameworkId,
    pub(super) epoch: u64,
    pub(super) heartbeat: Duration,
    pub(super) domain: Option<Domain>,
}

impl Scheduler {
    pub(super) fn on_connected(&mut self, now: Time, peer: PeerId, out: &mut Out) {
        if self.phase == Phase::Stopped {
            return;
        }
        self.leave(out);
        let first = self.connections == 0;
        self.connections = self.connections.saturating_add(1);
        if first {
            self.subscribe(now, peer, out);
        } else {
            let wait = self.rng.jitter(self.config.subscribe_backoff);
            self.phase = Phase::Waiting(peer, now + wait);
        }
    }

    pub(super) fn subscribe(&mut self, now: Time, peer: PeerId, out: &mut Out) {
        let mut framework = self.config.framework.clone();
        framework.id = self.framework.clone();
        let wishes = self.config.wishes.clone();
        self.phase = Phase::Asking(peer, now + ANSWER);
        self.asked.clone_from(&wishes);
        out.emit(Effect::Master {
            peer,
            call: Call::Subscribe { framework, wishes },
        });
    }

    /// Says which roles were suppressed or revived, and what is wanted in which, since it has asked
    /// to be subscribed.
    fn catch_up(&mut self, peer: PeerId, out: &mut Out) {
        let before = core::mem::take(&mut self.asked);
        let now = &self.config.wishes;
        for role in &self.config.framework.roles {
            let demand = now.demands.get(role);
            if demand != before.demands.get(role) {
                let (role, demand) = (role.clone(), demand.cloned());
                let call = Call::Demand { role, demand };
                out.emit(Effect::Master { peer, call });
            }
        }
        let (before, now) = (before.suppressed, &now.suppressed);
        let suppressed: Vec<Role> = now.difference(&before).cloned().collect();
        let revived: Vec<Role> = before.difference(now).cloned().collect();
        if !suppressed.is_empty() {
            let call = Call::Suppress { roles: suppressed };
            out.emit(Effect::Master { peer, call });
        }
        if !revived.is_empty() {
            let call = Call::Revive { roles: revived };
            out.emit(Effect::Master { peer, call });
        }
    }

    /// Forgets the connection, and every offer with it. What is not confirmed is told again in the
    /// next subscription: the user may have lost it.
    pub(super) fn leave(&mut self, out: &mut Out) {
        let was = core::mem::replace(&mut self.phase, Phase::Away);
        self.offers.clear();
        if planted(Mutant::LostOffersUntold) {
            self.offers.watched().take_written();
        }
        self.inverse.clear();
        self.pending.clear();
        self.leave_wishes(out);
        self.kills.stop();
        self.questions = Questions::default();
        if matches!(was, Phase::Subscribed(..)) && self.stopping.is_none() {
            out.emit(Effect::User(UserEvent::Disconnected));
        }
    }

    fn say_kills(&mut self, peer: PeerId, out: &mut Out) {
        for (task, grace) in self.kills.part() {
            let call = Call::Kill { task, grace };
            out.emit(Effect::Master { peer, call });
        }
    }

    /// Returns whether a call that a master has no room for is said again without the user. Kills
    /// are, as long as all are kept; questions, but for the one for all tasks; and wishes, but for
    /// those about roles of others.
    pub(super) fn is_said_again(&mut self, call: CallKind) -> bool {
        match call {
            CallKind::Kill => self.kills.refuse(),
            CallKind::Reconcile => self.questions.refuse(),
            CallKind::Suppress | CallKind::Revive | CallKind::Demand => {
                let own = &self.config.framework.roles;
                self.wishing.unheard.refuse(call, own)
            }
            CallKind::Subscribe
            | CallKind::Teardown
            | CallKind::Accept
            | CallKind::Decline
            | CallKind::Acknowledge
            | CallKind::AcknowledgeOperation
            | CallKind::ReconcileOperations
            | CallKind::Update
            | CallKind::Message
            | CallKind::ShutdownExecutor
            | CallKind::AcceptInverse
            | CallKind::DeclineInverse => false,
        }
    }

    /// Says again what the master had no room for.
    pub(super) fn say_again(&mut self, peer: PeerId, out: &mut Out) {
        self.say_wishes_again(peer, out);
        self.say_kills(peer, out);
        self.questions.ask_again();
        self.ask(peer, out);
    }

    pub(super) fn give_up(
        &mut self,
        peer: PeerId,
        close: CloseReason,
        reason: String,
        out: &mut Out,
    ) {
        self.leave(out);
        out.emit(Effect::Reconnect {
            peer,
            close,
            reason,
        });
    }

    pub(super) fn on_subscribed(
        &mut self,
        now: Time,
        peer: PeerId,
        word: Subscribed,
        out: &mut Out,
    ) {
        let Subscribed {
            framework,
            epoch,
            heartbeat,
            domain,
        } = word;
        if epoch < self.epoch && !planted(Mutant::OldMasterBelieved) {
            let reason = alloc::format!(
                "the master leads epoch {epoch}, but epoch {} was seen",
                self.epoch
            );
            self.give_up(peer, CloseReason::StaleEpoch, reason, out);
            return;
        }
        // Whoever comes with an id has left tasks, or another has.
        let is_heir = self.epoch == 0 && self.framework.is_some();
        self.epoch = epoch;
        self.patience = heartbeat.saturating_mul(self.config.max_missed_heartbeats.max(1));
        self.phase = Phase::Subscribed(peer, now + self.patience);
        self.framework = Some(framework.clone());
        self.catch_up(peer, out);
        out.emit(Effect::User(UserEvent::Subscribed { framework, domain }));
        if !planted(Mutant::KeptKillsDropped) {
            self.kills.begin();
            self.say_kills(peer, out);
        }
        if self.config.reconciles && !planted(Mutant::NeverReconciles) {
            self.reconcile(peer, is_heir, out);
        }
    }
}

//! The scheduler machine: the client side of a framework.
//!
//! It subscribes, keeps count of which offers are still good, acknowledges updates, weeds out
//! repeated ones, and notices a dead or deposed master. What to run where is the user's:
//! [`Logic`]. [`Hosted`] is both in one machine.
//!
//! Deliberately not here: finding the master, and waiting between connection attempts. The driver
//! connects and says so.

mod hosted;
mod interface;
mod kills;
mod offers;
mod questions;
pub(crate) mod recent;
mod reconciling;
mod rows;
mod stopping;
mod subscription;
#[cfg(test)]
mod tests;
mod unheard;
mod updates;
mod user;
mod wishes;

use alloc::collections::BTreeSet;
use alloc::string::String;
use core::time::Duration;

pub use self::hosted::{Acknowledging, Hosted, Logic};
pub use self::interface::{Config, Effect, Input};
use self::kills::Kills;
use self::offers::{accept, drop_tasks};
use self::questions::Questions;
use self::recent::Recent;
pub use self::rows::{
    Connection, Held, Known, News, OfferRow, Picture, Row, RowId, SchedulerRow, TaskRow, UpdateRow,
};
use self::stopping::Stopping;
use self::subscription::Subscribed;
use self::unheard::Unheard;
pub use self::user::{UserCall, UserEvent};
use self::wishes::{Wishing, Word};
use crate::book::Book;
use crate::feed::{Feed, Tells};
use crate::ids::{FrameworkId, OfferId, PeerId, TaskId, UpdateId};
use crate::limits::{self, Filled};
use crate::machine::{Machine, Never, Outbox};
use crate::protocol::framework::Wishes;
use crate::protocol::hello::CloseReason;
use crate::protocol::refusal::{CallKind, RejectKind};
use crate::protocol::scheduler::{Call, Event};
use crate::protocol::status::Reason;
use crate::rng::Rng;
use crate::time::Time;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// No connection.
    Away,
    /// Connected; subscribes at that moment.
    Waiting(PeerId, Time),
    /// Has asked to be subscribed; the connection is no good if nothing is answered until then.
    Asking(PeerId, Time),
    /// Subscribed; the connection is dead if nothing is heard until then.
    Subscribed(PeerId, Time),
    /// At its end.
    Stopped,
}

/// The client side of one framework.
#[derive(Debug)]
pub struct Scheduler {
    config: Config,
    rng: Rng,
    phase: Phase,
    framework: Option<FrameworkId>,
    epoch: u64,
    /// Silence for longer than this means a dead connection.
    patience: Duration,
    connections: u32,
    offers: Book<OfferId, Held>,
    /// Inverse offers that are good and were not answered.
    inverse: Book<OfferId, Held>,
    /// Updates that the user was told in this subscription and has not confirmed; at most
    /// [`limits::UNCONFIRMED_UPDATES`].
    pending: Book<UpdateId, News>,
    acknowledged: Recent,
    kills: Kills,
    questions: Questions,
    /// The tasks that are not over as far as was heard, and where they are; at most
    /// [`limits::TASKS_PER_FRAMEWORK`].
    tasks: Book<TaskId, Known>,
    /// Those of them that no master knows any more.
    unknown: BTreeSet<TaskId>,
    /// What was wanted when it last asked to be subscribed.
    asked: Wishes,
    /// What was said of the framework and does not hold yet.
    wishing: Wishing,
    stopping: Option<Stopping>,
    /// What is told of it as it happens.
    feed: Feed<Row>,
    /// What was told last of the scheduler itself, while somebody reads.
    told: Option<Row>,
}

type Out = Outbox<Never, Effect>;

impl Scheduler {
    /// Makes a scheduler without a connection.
    pub fn new(config: Config) -> Self {
        let feed = Feed::of_life(config.seed);
        Self {
            rng: Rng::new(config.seed),
            phase: Phase::Away,
            framework: config.framework.id.clone(),
            config,
            epoch: 0,
            patience: Duration::from_secs(75),
            connections: 0,
            offers: Book::new(),
            inverse: Book::new(),
            pending: Book::new(),
            acknowledged: Recent::default(),
            kills: Kills::default(),
            questions: Questions::default(),
            tasks: Book::new(),
            unknown: BTreeSet::new(),
            asked: Wishes::default(),
            wishing: Wishing::default(),
            stopping: None,
            feed,
            told: None,
        }
    }

    /// Lists what is bounded, how much there is of it, and how much there may be (I22).
    pub fn filled(&self) -> [Filled; 8] {
        let (told, tasks) = (self.pending.len(), self.tasks.len());
        let (wishes, questions) = (self.wishing.len(), self.questions.waiting());
        [
            Filled::new("updates", told, self.config.bounds.unconfirmed_updates),
            Filled::new("kills", self.kills.len(), limits::WAITING_KILLS),
            Filled::new("tasks", tasks, limits::TASKS_PER_FRAMEWORK),
            Filled::new("wishes that wait", wishes, limits::UNANSWERED_UPDATES),
            Filled::new(
                "wishes said again",
                self.wishing.unheard.len(),
                Unheard::MOST,
            ),
            Filled::new("questions", questions, limits::TASKS_PER_FRAMEWORK),
            Filled::new(
                "questions asked",
                self.questions.asked(),
                limits::QUESTIONS_ASKED,
            ),
            Filled::new("updates confirmed", self.acknowledged.len(), recent::KEPT),
        ]
    }

    /// Returns the framework's id, once it has one.
    pub fn framework(&self) -> Option<&FrameworkId> {
        self.framework.as_ref()
    }

    /// Returns whether a master knows the framework on a live connection.
    pub fn is_subscribed(&self) -> bool {
        matches!(self.phase, Phase::Subscribed(..))
    }

    /// Visits the offers that are good as far as it knows, and were not answered.
    pub fn offers(&self) -> impl Iterator<Item = &OfferId> + '_ {
        self.offers.keys()
    }

    /// Visits the inverse offers that are good as far as it knows, and were not answered.
    pub fn inverse_offers(&self) -> impl Iterator<Item = &OfferId> + '_ {
        self.inverse.keys()
    }

    fn peer(&self) -> Option<PeerId> {
        match self.phase {
            Phase::Waiting(peer, _) | Phase::Asking(peer, _) | Phase::Subscribed(peer, _) => {
                Some(peer)
            }
            Phase::Away | Phase::Stopped => None,
        }
    }

    fn on_event(&mut self, now: Time, peer: PeerId, event: Event, out: &mut Out) {
        if let Phase::Subscribed(_, dead_at) = &mut self.phase {
            *dead_at = now + self.patience;
        } else if !matches!(event, Event::Subscribed { .. } | Event::Error { .. }) {
            tracing::debug!(?event, "heard before the subscription stands: ignored");
            return;
        }
        if self.stopping.is_some() {
            self.on_event_while_stopping(peer, &event, out);
            return;
        }
        match event {
            Event::Subscribed {
                framework,
                master: _,
                epoch,
                heartbeat,
                domain,
            } => {
                let word = Subscribed {
                    framework,
                    epoch,
                    heartbeat,
                    domain,
                };
                self.on_subscribed(now, peer, word, out);
            }
            Event::Heartbeat => self.say_again(peer, out),
            Event::Offers(offers) => self.on_offers(offers, out),
            Event::Rescind(offer) => self.on_rescinded(offer, out),
            Event::InverseOffers(offers) => self.on_inverse_offers(offers, out),
            Event::RescindInverse(offer) => self.on_inverse_rescinded(offer, out),
            Event::Update(status) => self.on_update(peer, status, out),
            Event::OperationUpdate(status) => self.on_operation_update(peer, status, out),
            Event::Message(message) => out.emit(Effect::User(UserEvent::Message(message))),
            Event::ExecutorEnded(end) => out.emit(Effect::User(UserEvent::ExecutorEnded(end))),
            Event::AgentLost { agent, why } => {
                out.emit(Effect::User(UserEvent::AgentLost { agent, why }));
            }
            Event::Error { reason, message } => {
                self.leave(out);
                self.phase = Phase::Stopped;
                out.emit(Effect::User(UserEvent::Error { reason, message }));
                out.emit(Effect::Stop);
            }
            Event::Rejected {
                call,
                reason,
                message,
            } => self.on_rejected(peer, (call, reason), message, out),
            Event::Unheard { call, roles } => self.on_unheard(call, &roles),
            Event::Updated => {
                out.emit(Effect::User(UserEvent::Updated));
                self.on_update_answered(peer, true, out);
            }
            Event::Reconciled(answers) => self.on_reconciled(peer, answers, out),
        }
    }

    fn on_rejected(
        &mut self,
        peer: PeerId,
        (call, reason): (CallKind, RejectKind),
        message: String,
        out: &mut Out,
    ) {
        if reason == RejectKind::TooMany && self.is_said_again(call) {
            tracing::debug!(%call, message, "refused, and said again with the next heartbeat");
            return;
        }
        out.emit(Effect::User(UserEvent::Rejected {
            call,
            reason,
            message,
        }));
        if call == CallKind::Update {
            self.on_update_answered(peer, false, out);
        }
    }

    fn on_call(&mut self, now: Time, call: UserCall, out: &mut Out) {
        if self.phase == Phase::Stopped {
            return;
        }
        if call == UserCall::Leave {
            self.stop(out);
        } else if self.stopping.is_some() {
            tracing::debug!(?call, "the framework is being ended: ignored");
        } else if call == UserCall::Stop {
            self.begin_to_stop(now, out);
        } else {
            if let UserCall::Kill { task, grace } = &call {
                self.note_kill(task, *grace);
            }
            let subscribed = match self.phase {
                Phase::Subscribed(peer, _) => Some(peer),
                Phase::Away | Phase::Waiting(..) | Phase::Asking(..) | Phase::Stopped => None,
            };
            match (Word::from(call), subscribed) {
                (Word::Wish(wish), Some(peer)) => self.wish(peer, wish, out),
                (Word::Wish(wish), None) => self.wish_while_away(&wish, out),
                (Word::Call(call), Some(peer)) => self.pass_on(now, peer, call, out),
                (Word::Call(call), None) => self.keep(now, call, out),
            }
        }
    }

    /// Tells the master what the user wants.
    fn pass_on(&mut self, now: Time, peer: PeerId, call: UserCall, out: &mut Out) {
        let call = match call {
            // These are said elsewhere.
            UserCall::Stop
            | UserCall::Leave
            | UserCall::Suppress { .. }
            | UserCall::Revive { .. }
            | UserCall::Demand { .. }
            | UserCall::Update { .. } => return,
            UserCall::Accept {
                offers,
                operations,
                refuse,
            } => {
                self.forget(&offers);
                let call = accept(now, offers, operations, refuse, out);
                self.note_accepted(&call);
                call
            }
            UserCall::Decline { offers, refuse } => {
                self.forget(&offers);
                Call::Decline { offers, refuse }
            }
            UserCall::Kill { task, grace } => Call::Kill { task, grace },
            UserCall::AcknowledgeOperation { id, update } => {
                self.confirm(update);
                Call::AcknowledgeOperation { id, update }
            }
            UserCall::ReconcileOperations { operations } => {
                Call::ReconcileOperations { operations }
            }
            UserCall::Reconcile { tasks } => return self.on_question(peer, tasks, out),
            UserCall::Message {
                agent,
                executor,
                data,
            } => Call::Message {
                agent,
                executor,
                data,
            },
            UserCall::ShutdownExecutor { agent, executor } => {
                Call::ShutdownExecutor { agent, executor }
            }
            UserCall::AcceptInverse { offers, refuse } => {
                self.forget_inverse(&offers);
                Call::AcceptInverse { offers, refuse }
            }
            UserCall::DeclineInverse { offers, refuse } => {
                self.forget_inverse(&offers);
                Call::DeclineInverse { offers, refuse }
            }
            UserCall::Acknowledge {
                agent,
                task,
                update,
            } => {
                self.confirm(update);
                self.free_question(&task);
                Call::Acknowledge {
                    agent,
                    task,
                    update,
                }
            }
        };
        out.emit(Effect::Master { peer, call });
    }

    /// Keeps what the user wants and no master can be told: kills, and where he wants offers.
    /// Offers are void, an update comes again, and he hears of the next subscription.
    fn keep(&mut self, now: Time, call: UserCall, out: &mut Out) {
        match call {
            UserCall::Accept { operations, .. } => {
                let void = "not connected to a master: the offers are void";
                drop_tasks(now, operations, Reason::InvalidOffers, void, out);
            }
            UserCall::Kill { task, .. } => self.check_kept(now, task, out),
            UserCall::Acknowledge { update, .. }
            | UserCall::AcknowledgeOperation { update, .. } => self.confirm(update),
            UserCall::Decline { .. }
            | UserCall::Suppress { .. }
            | UserCall::Revive { .. }
            | UserCall::Demand { .. }
            | UserCall::AcceptInverse { .. }
            | UserCall::DeclineInverse { .. }
            | UserCall::ReconcileOperations { .. }
            | UserCall::Update { .. }
            | UserCall::Reconcile { .. }
            | UserCall::Message { .. }
            | UserCall::ShutdownExecutor { .. }
            | UserCall::Stop
            | UserCall::Leave => {}
        }
    }

    fn fire_due(&mut self, now: Time, out: &mut Out) {
        self.stop_if_due(now, out);
        match self.phase {
            Phase::Waiting(peer, at) if at <= now => self.subscribe(now, peer, out),
            Phase::Asking(peer, dead_at) if dead_at <= now => {
                let reason = "the master does not answer".into();
                self.give_up(peer, CloseReason::IdleTimeout, reason, out);
            }
            Phase::Subscribed(peer, dead_at) if dead_at <= now => {
                let reason = "no heartbeat from the master".into();
                self.give_up(peer, CloseReason::IdleTimeout, reason, out);
            }
            Phase::Waiting(..)
            | Phase::Subscribed(..)
            | Phase::Away
            | Phase::Asking(..)
            | Phase::Stopped => {}
        }
    }

    fn confirm(&mut self, update: UpdateId) {
        self.pending.remove(&update);
        self.acknowledged.insert(update);
    }
}

impl Machine for Scheduler {
    type Input = Input;
    type Record = Never;
    type Effect = Effect;

    fn handle(&mut self, now: Time, input: Input, out: &mut Out) {
        self.fire_due(now, out);
        match input {
            Input::Connected { peer } => self.on_connected(now, peer, out),
            Input::Disconnected { peer } if self.peer() == Some(peer) => self.leave(out),
            Input::Master { peer, event } if self.peer() == Some(peer) => {
                self.on_event(now, peer, event, out);
            }
            Input::Disconnected { peer } | Input::Master { peer, .. } => {
                tracing::debug!(?peer, "not the current connection: ignored");
            }
            Input::User(call) => self.on_call(now, call, out),
            Input::Follow => self.follow(now),
        }
        self.publish(now);
    }

    fn tick(&mut self, now: Time, out: &mut Out) {
        self.fire_due(now, out);
        self.publish(now);
    }

    fn deadline(&self) -> Option<Time> {
        let of_phase = match self.phase {
            Phase::Waiting(_, at) | Phase::Asking(_, at) | Phase::Subscribed(_, at) => Some(at),
            Phase::Away | Phase::Stopped => None,
        };
        let stops = self.stopping.as_ref().map(Stopping::deadline);
        of_phase.into_iter().chain(stops).min()
    }
}

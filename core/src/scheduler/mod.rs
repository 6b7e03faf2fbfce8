//! The scheduler machine: the client side of a framework.
//!
//! It subscribes, keeps count of which offers are still good, acknowledges updates, weeds out
//! repeated ones, and notices a dead or deposed master. What to run where is the user's:
//! [`Logic`]. [`Hosted`] is both in one machine.
//!
//! Deliberately not here: finding the master, and waiting between connection attempts. The driver
//! connects and says so.

mod hosted;
mod recent;
#[cfg(test)]
mod tests;
mod user;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::hosted::{Acknowledging, Hosted, Logic};
use self::recent::Recent;
pub use self::user::{UserCall, UserEvent};
use crate::ids::{FrameworkId, OfferId, PeerId, TaskId, UpdateId};
use crate::limits;
use crate::machine::{Machine, Never, Outbox};
use crate::protocol::framework::FrameworkInfo;
use crate::protocol::hello::CloseReason;
use crate::protocol::offer::Operation;
use crate::protocol::scheduler::{Call, Event};
use crate::protocol::status::{Reason, Source, TaskState, TaskStatus};
use crate::protocol::wire::size;
use crate::rng::Rng;
use crate::time::Time;

/// How a scheduler behaves.
#[derive(Clone, Debug)]
pub struct Config {
    /// Who it is. With an id it comes back as that framework.
    pub framework: FrameworkInfo,
    /// Seeds all chance.
    pub seed: u64,
    /// The most that it waits before it subscribes on a later connection than its first, so that
    /// not everybody comes back at once after a failover (FW-38).
    pub subscribe_backoff: Duration,
    /// How many heartbeats may be missed before the connection is given up (FW-33).
    pub max_missed_heartbeats: u32,
}

impl Config {
    /// Describes a scheduler with the usual timing.
    pub fn new(framework: FrameworkInfo, seed: u64) -> Self {
        Self {
            framework,
            seed,
            subscribe_backoff: Duration::from_millis(500),
            max_missed_heartbeats: 5,
        }
    }
}

/// What can happen to a scheduler.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Input {
    /// A connection to a master stands.
    Connected {
        /// The connection.
        peer: PeerId,
    },
    /// A connection is gone.
    Disconnected {
        /// The connection.
        peer: PeerId,
    },
    /// The master spoke.
    Master {
        /// On which connection.
        peer: PeerId,
        /// What it said.
        event: Event,
    },
    /// The user wants something.
    User(UserCall),
}

/// What a scheduler wants done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Effect {
    /// Tell the master.
    Master {
        /// On which connection.
        peer: PeerId,
        /// What to say.
        call: Call,
    },
    /// Tell the user. [`Hosted`] keeps these to itself.
    User(UserEvent),
    /// Give this connection up and make another.
    Reconnect {
        /// The connection to close.
        peer: PeerId,
        /// Why, for the master.
        close: CloseReason,
        /// Why, for logs.
        reason: String,
    },
    /// All is said: deliver what was sent, then end.
    Stop,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// No connection.
    Away,
    /// Connected; subscribes at that moment.
    Waiting(PeerId, Time),
    /// Has asked to be subscribed.
    Asking(PeerId),
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
    offers: BTreeSet<OfferId>,
    /// Updates that the user was told in this subscription and has not confirmed; at most
    /// [`limits::UNCONFIRMED_UPDATES`].
    pending: BTreeSet<UpdateId>,
    acknowledged: Recent,
    /// Kills that wait for a subscription; at most [`limits::WAITING_KILLS`].
    kills: BTreeMap<TaskId, Option<Duration>>,
}

type Out = Outbox<Never, Effect>;

impl Scheduler {
    /// Makes a scheduler without a connection.
    pub fn new(config: Config) -> Self {
        Self {
            rng: Rng::new(config.seed),
            phase: Phase::Away,
            framework: config.framework.id.clone(),
            config,
            epoch: 0,
            patience: Duration::from_secs(75),
            connections: 0,
            offers: BTreeSet::new(),
            pending: BTreeSet::new(),
            acknowledged: Recent::default(),
            kills: BTreeMap::new(),
        }
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
        self.offers.iter()
    }

    fn peer(&self) -> Option<PeerId> {
        match self.phase {
            Phase::Waiting(peer, _) | Phase::Asking(peer) | Phase::Subscribed(peer, _) => {
                Some(peer)
            }
            Phase::Away | Phase::Stopped => None,
        }
    }

    fn on_connected(&mut self, now: Time, peer: PeerId, out: &mut Out) {
        if self.phase == Phase::Stopped {
            return;
        }
        self.leave(out);
        let first = self.connections == 0;
        self.connections = self.connections.saturating_add(1);
        if first {
            self.subscribe(peer, out);
        } else {
            let wait = self.rng.jitter(self.config.subscribe_backoff);
            self.phase = Phase::Waiting(peer, now + wait);
        }
    }

    fn subscribe(&mut self, peer: PeerId, out: &mut Out) {
        let mut framework = self.config.framework.clone();
        framework.id = self.framework.clone();
        self.phase = Phase::Asking(peer);
        out.emit(Effect::Master {
            peer,
            call: Call::Subscribe { framework },
        });
    }

    /// Forgets the connection, and every offer with it. What is not confirmed is told again in the
    /// next subscription: the user may have lost it.
    fn leave(&mut self, out: &mut Out) {
        let was = core::mem::replace(&mut self.phase, Phase::Away);
        self.offers.clear();
        self.pending.clear();
        if matches!(was, Phase::Subscribed(..)) {
            out.emit(Effect::User(UserEvent::Disconnected));
        }
    }

    fn give_up(&mut self, peer: PeerId, close: CloseReason, reason: String, out: &mut Out) {
        self.leave(out);
        out.emit(Effect::Reconnect {
            peer,
            close,
            reason,
        });
    }

    fn on_event(&mut self, now: Time, peer: PeerId, event: Event, out: &mut Out) {
        if let Phase::Subscribed(_, dead_at) = &mut self.phase {
            *dead_at = now + self.patience;
        } else if !matches!(event, Event::Subscribed { .. } | Event::Error(_)) {
            tracing::debug!(?event, "heard before the subscription stands: ignored");
            return;
        }
        match event {
            Event::Subscribed {
                framework,
                master: _,
                epoch,
                heartbeat,
            } => self.on_subscribed(now, peer, framework, epoch, heartbeat, out),
            Event::Heartbeat => {}
            Event::Offers(offers) => {
                self.offers.extend(offers.iter().map(|o| o.id.clone()));
                out.emit(Effect::User(UserEvent::Offers(offers)));
            }
            Event::Rescind(offer) => {
                if self.offers.remove(&offer) {
                    out.emit(Effect::User(UserEvent::Rescinded(offer)));
                }
            }
            Event::Update(status) => self.on_update(peer, status, out),
            Event::Error(message) => {
                self.leave(out);
                self.phase = Phase::Stopped;
                out.emit(Effect::User(UserEvent::Error(message)));
                out.emit(Effect::Stop);
            }
        }
    }

    fn on_subscribed(
        &mut self,
        now: Time,
        peer: PeerId,
        framework: FrameworkId,
        epoch: u64,
        heartbeat: Duration,
        out: &mut Out,
    ) {
        if epoch < self.epoch {
            let reason = alloc::format!(
                "the master leads epoch {epoch}, but epoch {} was seen",
                self.epoch
            );
            self.give_up(peer, CloseReason::StaleEpoch, reason, out);
            return;
        }
        self.epoch = epoch;
        self.patience = heartbeat.saturating_mul(self.config.max_missed_heartbeats.max(1));
        self.phase = Phase::Subscribed(peer, now + self.patience);
        self.framework = Some(framework.clone());
        out.emit(Effect::User(UserEvent::Subscribed { framework }));
        for (task, grace) in core::mem::take(&mut self.kills) {
            let call = Call::Kill { task, grace };
            out.emit(Effect::Master { peer, call });
        }
    }

    fn on_update(&mut self, peer: PeerId, status: TaskStatus, out: &mut Out) {
        if let (Some(update), Some(agent)) = (status.update, &status.agent) {
            if self.acknowledged.contains(update) {
                // The acknowledgement was lost on its way: the update came again.
                let call = Call::Acknowledge {
                    agent: agent.clone(),
                    task: status.task,
                    update,
                };
                out.emit(Effect::Master { peer, call });
                return;
            }
            if self.pending.contains(&update) {
                return;
            }
            if self.pending.len() < limits::UNCONFIRMED_UPDATES {
                self.pending.insert(update);
            }
        }
        out.emit(Effect::User(UserEvent::Update(status)));
    }

    fn on_call(&mut self, now: Time, call: UserCall, out: &mut Out) {
        let subscribed = match self.phase {
            Phase::Subscribed(peer, _) => Some(peer),
            Phase::Away | Phase::Waiting(..) | Phase::Asking(_) => None,
            Phase::Stopped => return,
        };
        let call = match call {
            UserCall::Stop => {
                // Who has asked will be subscribed by the time that it is read.
                if let Phase::Subscribed(peer, _) | Phase::Asking(peer) = self.phase {
                    let call = Call::Teardown;
                    out.emit(Effect::Master { peer, call });
                }
                return self.stop(out);
            }
            UserCall::Leave => return self.stop(out),
            UserCall::Accept {
                offers,
                operations,
                refuse,
            } => {
                if subscribed.is_none() {
                    let void = "not connected to a master: the offers are void";
                    drop_tasks(now, operations, Reason::InvalidOffers, void, out);
                    return;
                }
                self.forget(&offers);
                accept(now, offers, operations, refuse, out)
            }
            UserCall::Decline { offers, refuse } => {
                self.forget(&offers);
                Call::Decline { offers, refuse }
            }
            UserCall::Kill { task, grace } => {
                if subscribed.is_none() {
                    self.keep_kill(now, task, grace, out);
                    return;
                }
                Call::Kill { task, grace }
            }
            UserCall::Suppress => Call::Suppress,
            UserCall::Revive => Call::Revive,
            UserCall::Acknowledge {
                agent,
                task,
                update,
            } => {
                self.pending.remove(&update);
                self.acknowledged.insert(update);
                Call::Acknowledge {
                    agent,
                    task,
                    update,
                }
            }
        };
        // Without a connection nothing but kills is kept: offers are void, an update comes again,
        // and the user hears of the next subscription.
        if let Some(peer) = subscribed {
            out.emit(Effect::Master { peer, call });
        }
    }

    /// Keeps a kill for the next subscription, or says that it cannot.
    fn keep_kill(&mut self, now: Time, task: TaskId, grace: Option<Duration>, out: &mut Out) {
        if self.kills.len() < limits::WAITING_KILLS || self.kills.contains_key(&task) {
            self.kills.insert(task, grace);
            return;
        }
        let limit = limits::WAITING_KILLS;
        out.emit(Effect::User(UserEvent::Update(TaskStatus {
            reason: Some(Reason::Reconciliation),
            message: alloc::format!("not killed: {limit} kills wait for a master already"),
            ..TaskStatus::new(task, TaskState::Unknown, Source::Master, now)
        })));
    }

    fn stop(&mut self, out: &mut Out) {
        self.phase = Phase::Stopped;
        self.offers.clear();
        out.emit(Effect::Stop);
    }

    fn forget(&mut self, offers: &[OfferId]) {
        for offer in offers {
            self.offers.remove(offer);
        }
    }
}

/// Makes an accept, or a decline if it is too long for the wire; then its tasks are dropped.
fn accept(
    now: Time,
    offers: Vec<OfferId>,
    operations: Vec<Operation>,
    refuse: Option<Duration>,
    out: &mut Out,
) -> Call {
    // One byte says that it is an accept.
    let bytes = 1 + size(&(&offers, &operations, refuse));
    let limit = limits::FRAME_BYTES;
    if bytes <= limit {
        return Call::Accept {
            offers,
            operations,
            refuse,
        };
    }
    let long = alloc::format!(
        "the accept takes {bytes} bytes on the wire, more than the limit of {limit}"
    );
    drop_tasks(now, operations, Reason::TaskInvalid, &long, out);
    Call::Decline { offers, refuse }
}

/// Answers an accept that cannot be delivered: its tasks were never started (TK-53).
fn drop_tasks(now: Time, operations: Vec<Operation>, reason: Reason, message: &str, out: &mut Out) {
    for operation in operations {
        let Operation::Launch(tasks) = operation;
        for task in tasks {
            let status = TaskStatus {
                reason: Some(reason),
                message: message.into(),
                agent: Some(task.agent),
                ..TaskStatus::new(task.id, TaskState::Dropped, Source::Master, now)
            };
            out.emit(Effect::User(UserEvent::Update(status)));
        }
    }
}

impl Machine for Scheduler {
    type Input = Input;
    type Record = Never;
    type Effect = Effect;

    fn handle(&mut self, now: Time, input: Input, out: &mut Out) {
        self.tick(now, out);
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
        }
    }

    fn tick(&mut self, now: Time, out: &mut Out) {
        match self.phase {
            Phase::Waiting(peer, at) if at <= now => self.subscribe(peer, out),
            Phase::Subscribed(peer, dead_at) if dead_at <= now => {
                let reason = "no heartbeat from the master".into();
                self.give_up(peer, CloseReason::IdleTimeout, reason, out);
            }
            Phase::Waiting(..)
            | Phase::Subscribed(..)
            | Phase::Away
            | Phase::Asking(_)
            | Phase::Stopped => {}
        }
    }

    fn deadline(&self) -> Option<Time> {
        match self.phase {
            Phase::Waiting(_, at) | Phase::Subscribed(_, at) => Some(at),
            Phase::Away | Phase::Asking(_) | Phase::Stopped => None,
        }
    }
}

//! Custom executors: what the agent remembers of one, and its connection in this life.
//!
//! Used by the handlers. Deliberately not here: the queue of tasks that were not handed over yet,
//! which is read off the tasks themselves ([`Session::delivered`]), so that it cannot disagree.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::records::Number;
use crate::book::Book;
use crate::ids::{FrameworkId, PeerId, UpdateId};
use crate::limits;
use crate::protocol::container::ContainerLimits;
use crate::protocol::status::Reason;
use crate::protocol::task::ExecutorInfo;
use crate::roles::Role;
use crate::time::Time;

/// An executor that has a container, as it must be remembered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Executor {
    framework: FrameworkId,
    role: Role,
    info: ExecutorInfo,
    /// Whether it ever subscribed, so that tasks may have reached it.
    subscribed: bool,
    /// Its tasks that are not over and acknowledged.
    tasks: BTreeSet<Number>,
    /// Whether its framework has said that it is to end.
    unwanted: bool,
    /// How often in a row the agent has come up while it, or a task of it, was to end.
    resumed: u32,
}

impl Executor {
    pub(super) fn new(framework: FrameworkId, role: Role, info: ExecutorInfo) -> Self {
        Self {
            framework,
            role,
            info,
            subscribed: false,
            tasks: BTreeSet::new(),
            unwanted: false,
            resumed: 0,
        }
    }

    pub(super) fn framework(&self) -> &FrameworkId {
        &self.framework
    }

    pub(super) fn info(&self) -> &ExecutorInfo {
        &self.info
    }

    /// Returns the role in which it and all its tasks were launched (RQ-06).
    pub(super) fn role(&self) -> &Role {
        &self.role
    }

    pub(super) fn has_subscribed(&self) -> bool {
        self.subscribed
    }

    pub(super) fn tasks(&self) -> &BTreeSet<Number> {
        &self.tasks
    }

    pub(super) fn add_task(&mut self, task: Number) {
        self.tasks.insert(task);
    }

    pub(super) fn remove_task(&mut self, task: Number) {
        self.tasks.remove(&task);
    }

    pub(super) fn mark_subscribed(&mut self) {
        self.subscribed = true;
    }

    pub(super) fn is_unwanted(&self) -> bool {
        self.unwanted
    }

    pub(super) fn mark_unwanted(&mut self) {
        self.unwanted = true;
    }

    /// The agent has come up again; says whether the executor was to end by then.
    pub(super) fn resume(&mut self, is_ending: bool) {
        self.resumed = if is_ending { self.resumed + 1 } else { 0 };
    }

    /// Returns how often in a row the agent has come up while this was to end.
    pub(super) fn resumed(&self) -> u32 {
        self.resumed
    }

    /// Returns how long it may take to end: the first time that it is asked, and that it is asked
    /// again after a restart, all of its time, and then half of the last each.
    pub(super) fn shutdown_grace(&self, usual: Duration) -> Duration {
        let whole = self.info.shutdown_grace.unwrap_or(usual);
        whole / (1 << self.resumed.saturating_sub(1).min(31))
    }
}

/// What an executor has said to its framework within a second.
#[derive(Clone, Copy, Debug, Default)]
struct Said {
    since: Time,
    messages: usize,
    bytes: usize,
}

/// An executor in this life of the agent (AG-32).
#[derive(Clone, Debug, Default)]
pub(super) struct Session {
    /// Its connection, once it is subscribed on it.
    peer: Option<PeerId>,
    /// Tasks that it was handed, or said to have.
    delivered: BTreeSet<Number>,
    /// When it is destroyed unless it subscribes (AG-33).
    subscribe_by: Option<Time>,
    /// Whether it is to come back to an agent that restarted (AG-16).
    is_returning: bool,
    /// Whether it has told this agent all that it had to say.
    is_heard: bool,
    /// Of tasks of which too many updates wait: the first that was not taken in. Those behind it
    /// are not either, until it comes again.
    refused: BTreeMap<Number, UpdateId>,
    said: Said,
    /// Why it is being ended, if it is.
    ending: Option<Ending>,
    /// What its container may use, as the containerizer was told last.
    limits: Option<ContainerLimits>,
}

/// Why an executor is ended, for the tasks that end with it.
#[derive(Clone, Debug)]
pub(super) struct Ending {
    pub(super) reason: Reason,
    pub(super) why: String,
}

impl Session {
    pub(super) fn peer(&self) -> Option<PeerId> {
        self.peer
    }

    pub(super) fn subscribe_by(&self) -> Option<Time> {
        self.subscribe_by
    }

    pub(super) fn set_subscribe_by(&mut self, at: Option<Time>) {
        self.subscribe_by = at;
    }

    pub(super) fn is_returning(&self) -> bool {
        self.is_returning
    }

    pub(super) fn set_returning(&mut self, is_returning: bool) {
        self.is_returning = is_returning;
    }

    pub(super) fn limits(&self) -> Option<&ContainerLimits> {
        self.limits.as_ref()
    }

    pub(super) fn set_limits(&mut self, limits: ContainerLimits) {
        self.limits = Some(limits);
    }

    pub(super) fn ending(&self) -> Option<&Ending> {
        self.ending.as_ref()
    }

    /// Marks it as being ended; the first reason stays.
    pub(super) fn end(&mut self, reason: Reason, why: &str) {
        let why = why.into();
        self.ending.get_or_insert(Ending { reason, why });
    }

    pub(super) fn is_delivered(&self, task: Number) -> bool {
        self.delivered.contains(&task)
    }

    pub(super) fn deliver(&mut self, task: Number) {
        self.delivered.insert(task);
    }

    pub(super) fn delivered(&self) -> &BTreeSet<Number> {
        &self.delivered
    }

    /// Forgets a task that is over.
    pub(super) fn withdraw(&mut self, task: Number) {
        self.delivered.remove(&task);
        self.refused.remove(&task);
    }

    /// Returns whether it has told this agent all that it had to say, so that of its tasks nothing
    /// older is to come than what is known.
    pub(super) fn is_heard(&self) -> bool {
        self.is_heard
    }

    pub(super) fn set_heard(&mut self) {
        self.is_heard = true;
    }

    /// Returns whether an update is taken in now. Without room it is not, and neither is what
    /// comes behind it: nothing of that is confirmed, so that all of it comes again, in order.
    pub(super) fn takes_in(&mut self, task: Number, update: UpdateId, has_room: bool) -> bool {
        let first = *self.refused.entry(task).or_insert(update);
        let is_in = has_room && first == update;
        if is_in {
            self.refused.remove(&task);
        }
        is_in
    }

    /// It has subscribed, and begins anew with the oldest update that is not confirmed. What it
    /// was handed before and does not name was lost with its connection.
    pub(super) fn begin(&mut self) {
        self.refused.clear();
        self.delivered.clear();
    }

    /// Returns whether it may say so much more within this second, and counts it.
    pub(super) fn may_say(&mut self, now: Time, bytes: usize) -> bool {
        if now.since(self.said.since) >= Duration::from_secs(1) {
            self.said = Said {
                since: now,
                ..Said::default()
            };
        }
        let Said {
            messages,
            bytes: sum,
            ..
        } = &mut self.said;
        let fits =
            *messages < limits::EXECUTOR_MESSAGES && *sum + bytes <= limits::EXECUTOR_MESSAGE_BYTES;
        if fits {
            *messages += 1;
            *sum += bytes;
        }
        fits
    }
}

/// The executors of this life, and their connections.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    rows: Book<Number, Session>,
    /// Every connection from inside a container, subscribed or not.
    peers: BTreeMap<PeerId, Number>,
}

impl Sessions {
    pub(super) fn add(&mut self, executor: Number) {
        self.rows.insert(executor, Session::default());
    }

    pub(super) fn get(&self, executor: Number) -> Option<&Session> {
        self.rows.get(&executor)
    }

    pub(super) fn get_mut(&mut self, executor: Number) -> Option<&mut Session> {
        self.rows.get_mut(&executor)
    }

    pub(super) fn rows(&self) -> &Book<Number, Session> {
        &self.rows
    }

    pub(super) fn rows_mut(&mut self) -> &mut Book<Number, Session> {
        &mut self.rows
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Number, &Session)> + '_ {
        self.rows.iter().map(|(number, row)| (*number, row))
    }

    /// Notes a connection from the container of an executor.
    pub(super) fn connect(&mut self, peer: PeerId, executor: Number) {
        self.peers.insert(peer, executor);
    }

    /// Returns whose container a connection comes from.
    pub(super) fn of_peer(&self, peer: PeerId) -> Option<Number> {
        self.peers.get(&peer).copied()
    }

    /// Takes a connection as the one that the executor listens on; returns the one before.
    pub(super) fn subscribe(&mut self, peer: PeerId, executor: Number) -> Option<PeerId> {
        let row = self.rows.get_mut(&executor)?;
        let before = row.peer.replace(peer).filter(|old| *old != peer);
        if let Some(old) = before {
            self.peers.remove(&old);
        }
        before
    }

    /// Forgets a connection. Returns the executor that now listens on none, if so.
    pub(super) fn disconnect(&mut self, peer: PeerId) -> Option<Number> {
        let number = self.peers.remove(&peer)?;
        let row = self.rows.get_mut(&number)?;
        if row.peer != Some(peer) {
            return None;
        }
        row.peer = None;
        Some(number)
    }

    /// Forgets an executor; returns it and its connections.
    pub(super) fn remove(&mut self, executor: Number) -> Option<(Session, BTreeSet<PeerId>)> {
        let row = self.rows.remove(&executor)?;
        let peers: BTreeSet<PeerId> = self
            .peers
            .iter()
            .filter(|(_, number)| **number == executor)
            .map(|(peer, _)| *peer)
            .collect();
        for peer in &peers {
            self.peers.remove(peer);
        }
        Some((row, peers))
    }
}

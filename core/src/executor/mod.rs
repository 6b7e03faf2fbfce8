//! The executor machine: the side of an executor that talks to its agent.
//!
//! It subscribes, keeps every update until the agent has it, and outlives an agent that restarts.
//! What a task is, is the user's: [`Logic`]. [`Hosted`] is both in one machine.
//!
//! Deliberately not here: finding the agent's socket, and waiting between connection attempts. The
//! driver connects and says so.

mod hosted;
mod interface;
mod rows;
#[cfg(test)]
mod tests;
mod updates;
mod user;

use alloc::vec::Vec;
use core::time::Duration;

pub use self::hosted::{Hosted, Logic};
pub use self::interface::{Config, Effect, Input};
pub use self::rows::{Connection, ExecutorRow, Picture, Row, RowId, Stands, TaskRow, UpdateRow};
pub use self::user::{Report, UserCall, UserEvent};
use crate::book::Book;
use crate::feed::{Feed, Tells};
use crate::ids::{AgentId, PeerId, TaskId, UpdateId};
use crate::limits::{self, Filled};
use crate::machine::{Machine, Never, Outbox};
use crate::mutant::{Mutant, planted};
use crate::protocol::executor::{Call, Event};
use crate::protocol::status::{TaskState, TaskStatus};
use crate::protocol::task::TaskInfo;
use crate::protocol::wire::size;
use crate::rng::Rng;
use crate::time::Time;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    /// No connection.
    Away,
    /// Has asked to be subscribed, and told so many of the waiting updates.
    Asking(PeerId, usize),
    /// Subscribed.
    Subscribed(PeerId),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Runs tasks.
    Working,
    /// Was asked to end; ends at that moment at the latest.
    ShuttingDown(Time),
    /// At its end.
    Exited,
}

/// A task that is not over, or whose end the agent does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Task {
    is_over: bool,
    /// Whether the agent has an update of it, so that it knows that the task arrived.
    is_known: bool,
}

/// The side of one executor that talks to its agent.
#[derive(Debug)]
pub struct Executor {
    config: Config,
    rng: Rng,
    link: Link,
    stage: Stage,
    agent: Option<AgentId>,
    tasks: Book<TaskId, Task>,
    /// Updates that the agent does not have, oldest first.
    unacknowledged: Book<u64, TaskStatus>,
    /// The number of the next update.
    next: u64,
    /// When they are sent again, and how long that wait was.
    resend: Option<(Time, Duration)>,
    /// When it gives up waiting for its agent.
    alone_until: Option<Time>,
    /// What is told of it as it happens.
    feed: Feed<Row>,
    /// What was told last of the executor itself, while somebody reads.
    told: Option<Row>,
}

type Out = Outbox<Never, Effect>;

impl Executor {
    /// Makes an executor without a connection.
    pub fn new(config: Config) -> Self {
        Self {
            rng: Rng::new(config.seed),
            feed: Feed::of_life(config.seed),
            told: None,
            config,
            link: Link::Away,
            stage: Stage::Working,
            agent: None,
            tasks: Book::new(),
            unacknowledged: Book::new(),
            next: 0,
            resend: None,
            alone_until: None,
        }
    }

    /// Returns whether the agent knows the executor on a live connection.
    pub fn is_subscribed(&self) -> bool {
        matches!(self.link, Link::Subscribed(_))
    }

    /// Visits the updates that the agent has not confirmed, oldest first.
    pub fn unacknowledged(&self) -> impl Iterator<Item = UpdateId> + '_ {
        let updates = self.unacknowledged.values();
        updates.filter_map(|status| status.update)
    }

    /// Lists the tasks that are not over, or whose end the agent does not know.
    pub fn tasks(&self) -> impl Iterator<Item = &TaskId> + '_ {
        self.tasks.keys()
    }

    /// Lists what is bounded, how much there is of it, and how much there may be (I22): an agent
    /// hands no more tasks over than it may have, and each has a few updates.
    pub fn filled(&self) -> [Filled; 1] {
        let tasks = self.tasks.len();
        [Filled::new(
            "tasks of an executor",
            tasks,
            limits::TASKS_PER_AGENT,
        )]
    }

    fn peer(&self) -> Option<PeerId> {
        match self.link {
            Link::Asking(peer, _) | Link::Subscribed(peer) => Some(peer),
            Link::Away => None,
        }
    }

    fn on_connected(&mut self, now: Time, peer: PeerId, out: &mut Out) {
        self.leave(now, out);
        // As many as fit the frame, beside the ids of tasks; the others follow.
        let mut room = limits::SLICE_BYTES;
        let fits = |status: &&TaskStatus| {
            let left = room.checked_sub(size(*status));
            room = left.unwrap_or(0);
            left.is_some()
        };
        let updates = self.unacknowledged.values().take_while(fits);
        let updates: Vec<TaskStatus> = updates.cloned().collect();
        self.link = Link::Asking(peer, updates.len());
        let call = Call::Subscribe {
            framework: self.config.framework.clone(),
            executor: self.config.executor.clone(),
            tasks: self
                .tasks
                .iter()
                .filter(|(_, task)| !task.is_known)
                .map(|(id, _)| id.clone())
                .collect(),
            updates,
        };
        out.emit(Effect::Agent { peer, call });
    }

    /// Forgets the connection, and starts to wait for another.
    fn leave(&mut self, now: Time, out: &mut Out) {
        let was = core::mem::replace(&mut self.link, Link::Away);
        self.resend = None;
        if was == Link::Away {
            return;
        }
        let until = now + self.config.recovery_timeout;
        self.alone_until.get_or_insert(until);
        if matches!(was, Link::Subscribed(_)) {
            out.emit(Effect::User(UserEvent::Disconnected));
        }
    }

    fn on_event(&mut self, now: Time, event: Event, out: &mut Out) {
        match event {
            Event::Subscribed { agent } => self.on_subscribed(now, agent, out),
            Event::Launch(task) => {
                if let Some(task) = self.take_on(now, task, out) {
                    out.emit(Effect::User(UserEvent::Launch(task)));
                }
            }
            Event::LaunchGroup(tasks) => {
                let tasks = tasks.into_iter();
                let new = tasks.filter_map(|task| self.take_on(now, task, out));
                let new: Vec<TaskInfo> = new.collect();
                if !new.is_empty() {
                    out.emit(Effect::User(UserEvent::LaunchGroup(new)));
                }
            }
            Event::Kill { task, grace } => {
                if self.tasks.get(&task).is_some_and(|task| !task.is_over) {
                    out.emit(Effect::User(UserEvent::Kill { task, grace }));
                } else {
                    tracing::debug!(%task, "a kill of a task that does not run: ignored");
                }
            }
            Event::Acknowledged { task, update } => self.on_acknowledged(&task, update, out),
            Event::Shutdown => self.shut_down(now, out),
            Event::Message(data) => out.emit(Effect::User(UserEvent::Message(data))),
            Event::Error(message) => {
                out.emit(Effect::User(UserEvent::Error(message)));
                self.exit(out);
            }
        }
    }

    fn on_subscribed(&mut self, now: Time, agent: AgentId, out: &mut Out) {
        let Link::Asking(peer, told) = self.link else {
            tracing::debug!("subscribed twice: ignored");
            return;
        };
        self.link = Link::Subscribed(peer);
        for status in self.unacknowledged.values().skip(told) {
            let call = Call::Update(status.clone());
            out.emit(Effect::Agent { peer, call });
        }
        self.alone_until = None;
        self.agent = Some(agent.clone());
        self.await_acknowledgements(now, self.config.update_retry);
        out.emit(Effect::User(UserEvent::Subscribed { agent }));
    }

    /// Takes a task, or says that it has it: the agent hands over again what it never heard of, and
    /// ends an executor that stays silent.
    fn take_on(&mut self, now: Time, info: TaskInfo, out: &mut Out) -> Option<TaskInfo> {
        if self.stage != Stage::Working {
            tracing::debug!(task = %info.id, "ending: not launched");
            return None;
        }
        let known = self.tasks.get(&info.id);
        if let Some(task) = known.filter(|_| !planted(Mutant::TaskStartedAgain)) {
            let is_of_it = |status: &TaskStatus| status.task == info.id;
            if !task.is_known && self.unacknowledged.find(is_of_it).is_none() {
                self.on_report(now, Report::new(info.id, TaskState::Starting), out);
            }
            return None;
        }
        let task = Task {
            is_over: false,
            is_known: false,
        };
        self.tasks.insert(info.id.clone(), task);
        Some(info)
    }

    fn on_call(&mut self, now: Time, call: UserCall, out: &mut Out) {
        match call {
            UserCall::Update(report) => self.on_report(now, report, out),
            UserCall::Stop => self.exit(out),
            UserCall::Message(data) => match self.link {
                Link::Subscribed(peer) if data.len() <= limits::MESSAGE_BYTES => {
                    let call = Call::Message(data);
                    out.emit(Effect::Agent { peer, call });
                }
                Link::Subscribed(_) | Link::Asking(..) | Link::Away => {
                    tracing::warn!(bytes = data.len(), "no agent, or too long: not said");
                }
            },
        }
    }

    fn shut_down(&mut self, now: Time, out: &mut Out) {
        if self.stage != Stage::Working {
            return;
        }
        self.alone_until = None;
        self.stage = Stage::ShuttingDown(now + self.config.shutdown_grace);
        out.emit(Effect::User(UserEvent::Shutdown));
        self.exit_if_done(out);
    }

    /// Ends if it was asked to and has nothing left to run or to say.
    fn exit_if_done(&mut self, out: &mut Out) {
        if matches!(self.stage, Stage::ShuttingDown(_)) && self.tasks.is_empty() {
            self.exit(out);
        }
    }

    fn exit(&mut self, out: &mut Out) {
        self.stage = Stage::Exited;
        self.link = Link::Away;
        self.resend = None;
        self.alone_until = None;
        out.emit(Effect::Exit);
    }
}

impl Executor {
    fn take_in(&mut self, now: Time, input: Input, out: &mut Out) {
        match input {
            Input::Connected { peer } => self.on_connected(now, peer, out),
            Input::Disconnected { peer } if self.peer() == Some(peer) => self.leave(now, out),
            Input::Agent { peer, event } if self.peer() == Some(peer) => {
                self.on_event(now, event, out);
            }
            Input::Disconnected { peer } | Input::Agent { peer, .. } => {
                tracing::debug!(?peer, "an old connection: ignored");
            }
            Input::User(call) => self.on_call(now, call, out),
            Input::Follow => self.follow(now),
        }
    }

    fn fire_due(&mut self, now: Time, out: &mut Out) {
        if self.link == Link::Away && self.stage == Stage::Working {
            // Its agent may have died before it ever answered (AG-19).
            let until = now + self.config.recovery_timeout;
            self.alone_until.get_or_insert(until);
        }
        if let Some((_, wait)) = self.resend.filter(|(at, _)| *at <= now) {
            self.resend_all(now, wait, out);
        }
        if self.alone_until.is_some_and(|at| at <= now) {
            self.shut_down(now, out);
        }
        if let Stage::ShuttingDown(at) = self.stage
            && at <= now
        {
            self.exit(out);
        }
    }
}

impl Machine for Executor {
    type Input = Input;
    type Record = Never;
    type Effect = Effect;

    fn handle(&mut self, now: Time, input: Input, out: &mut Out) {
        self.fire_due(now, out);
        if self.stage != Stage::Exited || input == Input::Follow {
            self.take_in(now, input, out);
        }
        self.publish(now);
    }

    fn tick(&mut self, now: Time, out: &mut Out) {
        self.fire_due(now, out);
        self.publish(now);
    }

    fn deadline(&self) -> Option<Time> {
        let exit_at = match self.stage {
            Stage::ShuttingDown(at) => Some(at),
            // It begins to wait for its agent.
            Stage::Working if self.link == Link::Away => {
                Some(self.alone_until.unwrap_or(Time::ZERO))
            }
            Stage::Working | Stage::Exited => None,
        };
        let resend_at = self.resend.map(|(at, _)| at);
        [resend_at, self.alone_until, exit_at]
            .into_iter()
            .flatten()
            .min()
    }
}

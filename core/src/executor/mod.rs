//! The executor machine: the side of an executor that talks to its agent.
//!
//! It subscribes, keeps every update until the agent has it, and outlives an agent that restarts.
//! What a task is, is the user's: [`Logic`]. [`Hosted`] is both in one machine.
//!
//! Deliberately not here: finding the agent's socket, and waiting between connection attempts. The
//! driver connects and says so.

mod hosted;
#[cfg(test)]
mod tests;

use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::hosted::{Hosted, Logic};
use crate::ids::{AgentId, ExecutorId, FrameworkId, PeerId, TaskId, UpdateId};
use crate::limits;
use crate::machine::{Machine, Never, Outbox};
use crate::protocol::executor::{Call, Event, may_report};
use crate::protocol::status::{Exit, Reason, Source, TaskState, TaskStatus};
use crate::protocol::task::TaskInfo;
use crate::protocol::wire::size;
use crate::rng::Rng;
use crate::time::Time;

/// How many updates wait for the agent at most. One more that does not end its task is left out:
/// a later one says more.
const WAITING_UPDATES: usize = 10_000;

/// How an executor behaves.
#[derive(Clone, Debug)]
pub struct Config {
    /// Whose executor.
    pub framework: FrameworkId,
    /// Which one.
    pub executor: ExecutorId,
    /// Seeds all chance. Two lives with the same container must not share it.
    pub seed: u64,
    /// How long it goes on without its agent (FW-64).
    pub recovery_timeout: Duration,
    /// How long updates wait for the agent before they are sent again; doubles each time.
    pub update_retry: Duration,
    /// The most that updates wait.
    pub update_retry_max: Duration,
    /// How long tasks may take to end at a shutdown; shorter than what the agent grants.
    pub shutdown_grace: Duration,
}

impl Config {
    /// Describes an executor with the usual timing.
    pub fn new(framework: FrameworkId, executor: ExecutorId, seed: u64) -> Self {
        Self {
            framework,
            executor,
            seed,
            recovery_timeout: Duration::from_secs(15 * 60),
            update_retry: Duration::from_secs(10),
            update_retry_max: Duration::from_secs(600),
            shutdown_grace: Duration::from_secs(2),
        }
    }
}

/// What can happen to an executor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Input {
    /// A connection to the agent stands.
    Connected {
        /// The connection.
        peer: PeerId,
    },
    /// A connection is gone.
    Disconnected {
        /// The connection.
        peer: PeerId,
    },
    /// The agent spoke.
    Agent {
        /// On which connection.
        peer: PeerId,
        /// What it said.
        event: Event,
    },
    /// The user wants something.
    User(UserCall),
}

/// What an executor wants done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Effect {
    /// Tell the agent.
    Agent {
        /// On which connection.
        peer: PeerId,
        /// What to say.
        call: Call,
    },
    /// Tell the user. [`Hosted`] keeps these to itself.
    User(UserEvent),
    /// All is said: deliver what was sent, then end the process.
    Exit,
}

/// What a user's executor is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum UserEvent {
    /// The agent knows the executor, for the first time or again.
    Subscribed {
        /// Where it runs.
        agent: AgentId,
    },
    /// The agent is out of reach. Tasks go on.
    Disconnected,
    /// A task to start. Comes once a task.
    Launch(TaskInfo),
    /// A task to end.
    Kill {
        /// Which one.
        task: TaskId,
        /// The time to end by itself.
        grace: Duration,
    },
    /// All tasks are to end now; the process follows.
    Shutdown,
    /// The agent turned the executor away, and why.
    Error(String),
}

/// What a user's executor has to say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum UserCall {
    /// There is news about a task. One that is over has no more.
    Update(Report),
    /// The executor is at its end.
    Stop,
}

/// News about a task, in the words of a user's executor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Which task.
    pub task: TaskId,
    /// Its state; only some can be reported ([`may_report`]).
    pub state: TaskState,
    /// Why.
    pub reason: Option<Reason>,
    /// Details for people; cut to [`limits::TEXT_BYTES`].
    pub message: String,
    /// How its program ended.
    pub exit: Option<Exit>,
}

impl Report {
    /// Says that a task is in a state.
    pub fn new(task: TaskId, state: TaskState) -> Self {
        Self {
            task,
            state,
            reason: None,
            message: String::new(),
            exit: None,
        }
    }
}

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
    tasks: BTreeMap<TaskId, Task>,
    /// Updates that the agent does not have, oldest first.
    unacknowledged: VecDeque<TaskStatus>,
    /// When they are sent again, and how long that wait was.
    resend: Option<(Time, Duration)>,
    /// When it gives up waiting for its agent.
    alone_until: Option<Time>,
}

type Out = Outbox<Never, Effect>;

impl Executor {
    /// Makes an executor without a connection.
    pub fn new(config: Config) -> Self {
        Self {
            rng: Rng::new(config.seed),
            config,
            link: Link::Away,
            stage: Stage::Working,
            agent: None,
            tasks: BTreeMap::new(),
            unacknowledged: VecDeque::new(),
            resend: None,
            alone_until: None,
        }
    }

    /// Returns whether the agent knows the executor on a live connection.
    pub fn is_subscribed(&self) -> bool {
        matches!(self.link, Link::Subscribed(_))
    }

    /// Lists the tasks that are not over, or whose end the agent does not know.
    pub fn tasks(&self) -> impl Iterator<Item = &TaskId> + '_ {
        self.tasks.keys()
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
        let updates = self.unacknowledged.iter().take_while(fits);
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
            Event::Launch(task) => self.on_launch(task, out),
            Event::Kill { task, grace } => {
                if self.tasks.get(&task).is_some_and(|task| !task.is_over) {
                    out.emit(Effect::User(UserEvent::Kill { task, grace }));
                } else {
                    tracing::debug!(%task, "a kill of a task that does not run: ignored");
                }
            }
            Event::Acknowledged { task, update } => self.on_acknowledged(&task, update, out),
            Event::Shutdown => self.shut_down(now, out),
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
        for status in self.unacknowledged.iter().skip(told) {
            let call = Call::Update(status.clone());
            out.emit(Effect::Agent { peer, call });
        }
        self.alone_until = None;
        self.agent = Some(agent.clone());
        self.await_acknowledgements(now, self.config.update_retry);
        out.emit(Effect::User(UserEvent::Subscribed { agent }));
    }

    fn on_launch(&mut self, info: TaskInfo, out: &mut Out) {
        if self.stage != Stage::Working || self.tasks.contains_key(&info.id) {
            tracing::debug!(task = %info.id, "ending, or here already: not launched");
            return;
        }
        let task = Task {
            is_over: false,
            is_known: false,
        };
        self.tasks.insert(info.id.clone(), task);
        out.emit(Effect::User(UserEvent::Launch(info)));
    }

    fn on_acknowledged(&mut self, id: &TaskId, update: UpdateId, out: &mut Out) {
        let waits = |s: &TaskStatus| s.update == Some(update) && s.task == *id;
        let Some(index) = self.unacknowledged.iter().position(waits) else {
            tracing::debug!(task = %id, ?update, "acknowledged before: ignored");
            return;
        };
        self.unacknowledged.remove(index);
        if self.unacknowledged.is_empty() {
            self.resend = None;
        }
        let more = self.unacknowledged.iter().any(|status| status.task == *id);
        if let Some(task) = self.tasks.get_mut(id) {
            task.is_known = true;
            if task.is_over && !more {
                self.tasks.remove(id);
            }
        }
        self.exit_if_done(out);
    }

    fn on_call(&mut self, now: Time, call: UserCall, out: &mut Out) {
        match call {
            UserCall::Update(report) => self.on_report(now, report, out),
            UserCall::Stop => self.exit(out),
        }
    }

    fn on_report(&mut self, now: Time, report: Report, out: &mut Out) {
        let live = self
            .tasks
            .get_mut(&report.task)
            .filter(|task| !task.is_over);
        let Some(task) = live.filter(|_| may_report(report.state)) else {
            tracing::warn!(task = %report.task, state = %report.state, "cannot be reported");
            return;
        };
        let is_over = report.state.is_terminal();
        if !is_over && self.unacknowledged.len() >= WAITING_UPDATES {
            tracing::warn!(task = %report.task, "too many updates wait: one is left out");
            return;
        }
        task.is_over = is_over;
        let mut message = report.message;
        message.truncate(message.floor_char_boundary(limits::TEXT_BYTES));
        let high = u128::from(self.rng.next_u64());
        let status = TaskStatus {
            reason: report.reason,
            message,
            agent: self.agent.clone(),
            update: Some(UpdateId(high << 64 | u128::from(self.rng.next_u64()))),
            exit: report.exit,
            ..TaskStatus::new(report.task, report.state, Source::Executor, now)
        };
        self.unacknowledged.push_back(status.clone());
        if let Link::Subscribed(peer) = self.link {
            let call = Call::Update(status);
            out.emit(Effect::Agent { peer, call });
            if self.resend.is_none() {
                self.await_acknowledgements(now, self.config.update_retry);
            }
        }
    }

    fn await_acknowledgements(&mut self, now: Time, wait: Duration) {
        let waiting = !self.unacknowledged.is_empty();
        self.resend = waiting.then_some((now + wait, wait));
    }

    fn resend_all(&mut self, now: Time, wait: Duration, out: &mut Out) {
        let Link::Subscribed(peer) = self.link else {
            return;
        };
        for status in &self.unacknowledged {
            let call = Call::Update(status.clone());
            out.emit(Effect::Agent { peer, call });
        }
        let wait = wait.saturating_mul(2).min(self.config.update_retry_max);
        self.await_acknowledgements(now, wait);
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

impl Machine for Executor {
    type Input = Input;
    type Record = Never;
    type Effect = Effect;

    fn handle(&mut self, now: Time, input: Input, out: &mut Out) {
        self.tick(now, out);
        if self.stage == Stage::Exited {
            return;
        }
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
        }
    }

    fn tick(&mut self, now: Time, out: &mut Out) {
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

    fn deadline(&self) -> Option<Time> {
        let exit_at = match self.stage {
            Stage::ShuttingDown(at) => Some(at),
            Stage::Working | Stage::Exited => None,
        };
        let resend_at = self.resend.map(|(at, _)| at);
        [resend_at, self.alone_until, exit_at]
            .into_iter()
            .flatten()
            .min()
    }
}

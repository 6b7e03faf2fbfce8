//! The agent: offers one machine, runs tasks on it in containers, and tells what becomes of them.
//!
//! Driven by a driver or the simulator, which turn its effects into frames and orders to a
//! containerizer. Programs are run by the command executor, which is this machine itself: a task
//! with a command is a container and nothing else. No `Starting` is reported for it, which saves a
//! round trip for news that says nothing.
//!
//! Reading order: `journal` (what it remembers), `on_master`, `on_container`, `updates`,
//! `recovery`.
//!
//! Deliberately not here: how containers work, where sandboxes are, finding the master, draining,
//! and the comparison of a changed configuration with the one registered (AG-21).

mod containers;
mod executors;
mod invariants;
mod journal;
mod launch;
mod on_container;
mod on_executor;
mod on_master;
mod recovery;
mod registration;
mod tasks;
mod updates;
mod view;

#[cfg(test)]
mod tests;

use alloc::string::String;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use self::containers::Containers;
use self::executors::Sessions;
pub use self::invariants::Violation;
pub use self::journal::{AgentRecord, AgentState, Number};
pub use self::launch::task_sandboxes;
use self::recovery::Recovery;
use self::registration::Link;
pub use self::tasks::Placement;
use self::updates::Flights;
pub use self::view::{Sandbox, TaskSummary, View};
use crate::ids::{ContainerId, PeerId};
use crate::machine::{Durable, Machine, Outbox};
use crate::protocol::agent::{ToAgent, ToMaster};
use crate::protocol::container::{ContainerCommand, ContainerEvent};
use crate::protocol::executor;
use crate::protocol::hello::CloseReason;
use crate::protocol::node::AgentInfo;
use crate::rng::Rng;
use crate::time::Time;
use crate::timers::Timers;

/// How an agent behaves.
#[derive(Clone, Debug)]
pub struct Config {
    /// The machine.
    pub info: AgentInfo,
    /// The name in its certificate, for messages.
    pub name: String,
    /// Seeds all chance.
    pub seed: u64,
    /// The most that it waits before its first attempt to register; doubles with each (AG-04).
    pub registration_backoff: Duration,
    /// How long an update waits for its acknowledgement before it is sent again; doubles each time
    /// (TK-67).
    pub update_retry: Duration,
    /// The most that an update waits.
    pub update_retry_max: Duration,
    /// The time between SIGTERM and SIGKILL where neither kill nor task says (TK-84).
    pub kill_grace: Duration,
    /// How long an executor may take to subscribe (AG-33).
    pub executor_registration_timeout: Duration,
}

impl Config {
    /// Describes an agent with the usual timing.
    pub fn new(info: AgentInfo, name: impl Into<String>, seed: u64) -> Self {
        Self {
            info,
            name: name.into(),
            seed,
            registration_backoff: Duration::from_secs(1),
            update_retry: Duration::from_secs(10),
            update_retry_max: Duration::from_secs(600),
            kill_grace: Duration::from_secs(3),
            executor_registration_timeout: Duration::from_secs(60),
        }
    }
}

/// What can happen to an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Input {
    /// A connection to the leading master stands.
    MasterFound {
        /// The connection.
        peer: PeerId,
    },
    /// The connection to a master is gone.
    MasterLost {
        /// The connection.
        peer: PeerId,
    },
    /// A master spoke.
    Master {
        /// On which connection.
        peer: PeerId,
        /// What it said.
        message: ToAgent,
    },
    /// Somebody connected from inside a container, and proved which.
    ExecutorConnected {
        /// The connection.
        peer: PeerId,
        /// The container.
        container: ContainerId,
    },
    /// A connection from inside a container is gone.
    ExecutorDisconnected {
        /// The connection.
        peer: PeerId,
    },
    /// An executor spoke.
    Executor {
        /// On which connection.
        peer: PeerId,
        /// What it said.
        call: executor::Call,
    },
    /// Something happened to a container.
    Container(ContainerEvent),
}

/// What an agent wants done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Effect {
    /// Tell the master.
    Master {
        /// On which connection.
        peer: PeerId,
        /// What to say.
        message: ToMaster,
    },
    /// Tell an executor.
    Executor {
        /// On which connection.
        peer: PeerId,
        /// What to say.
        event: executor::Event,
    },
    /// Order something of the containerizer.
    Container(ContainerCommand),
    /// Close a connection.
    Disconnect {
        /// Which one.
        peer: PeerId,
        /// Why, for the peer.
        close: CloseReason,
        /// Why, for logs.
        reason: String,
    },
    /// End the agent's process. What runs goes on.
    Stop {
        /// Why, for people.
        reason: String,
    },
}

/// What is waited for. The entity keeps the moment, so that a stale timer is known as such.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// The next attempt to register.
    Register,
    /// The master was silent for too long.
    Silence,
    /// The oldest update of a task is sent again.
    Resend(Number),
    /// A container was given its time.
    Destroy(Number),
    /// An executor had its time to subscribe.
    Subscribe(Number),
}

type Out = Outbox<AgentRecord, Effect>;

/// What a handler writes to, and when it is.
struct Cx<'a> {
    now: Time,
    out: &'a mut Out,
}

impl Cx<'_> {
    fn container(&mut self, command: ContainerCommand) {
        self.out.emit(Effect::Container(command));
    }

    fn disconnect(&mut self, peer: PeerId, close: CloseReason, reason: impl Into<String>) {
        let reason = reason.into();
        self.out.emit(Effect::Disconnect {
            peer,
            close,
            reason,
        });
    }
}

/// One agent.
#[derive(Debug)]
pub struct Agent {
    config: Config,
    state: AgentState,
    rng: Rng,
    timers: Timers<Timer>,
    link: Link,
    recovery: Recovery,
    containers: Containers,
    sessions: Sessions,
    flights: Flights,
}

impl Agent {
    /// Returns what it remembers, as of the last input.
    pub fn state(&self) -> &AgentState {
        &self.state
    }

    /// Opens it for looking.
    pub fn view(&self) -> View<'_> {
        View::new(self)
    }

    /// Applies a record, and has it written before anything that follows.
    fn persist(&mut self, cx: &mut Cx<'_>, record: AgentRecord) {
        self.state.apply(&record);
        cx.out.persist(record);
    }

    fn fire_due(&mut self, cx: &mut Cx<'_>) {
        while let Some((_, timer)) = self.timers.pop_due(cx.now) {
            match timer {
                Timer::Register => self.on_register_due(cx),
                Timer::Silence => self.on_silence(cx),
                Timer::Resend(task) => self.on_resend_due(cx, task),
                Timer::Destroy(number) => self.on_destroy_due(cx, number),
                Timer::Subscribe(executor) => self.on_subscribe_overdue(cx, executor),
            }
        }
    }

    fn take_in(&mut self, cx: &mut Cx<'_>, input: Input) {
        match input {
            Input::MasterFound { peer } => self.on_master_found(cx, peer),
            Input::MasterLost { peer } => self.on_master_lost(peer),
            Input::Master { peer, message } => self.on_master(cx, peer, message),
            Input::ExecutorConnected { peer, container } => {
                self.on_executor_connected(cx, peer, &container);
            }
            Input::ExecutorDisconnected { peer } => self.on_executor_disconnected(cx, peer),
            Input::Executor { peer, call } => self.on_executor(cx, peer, call),
            Input::Container(event) => self.on_container(cx, event),
        }
    }
}

impl Machine for Agent {
    type Input = Input;
    type Record = AgentRecord;
    type Effect = Effect;

    fn handle(&mut self, now: Time, input: Input, out: &mut Out) {
        let mut cx = Cx { now, out };
        self.fire_due(&mut cx);
        if self.link == Link::Stopped {
            tracing::debug!(?input, "the agent has stopped: ignored");
            return;
        }
        self.take_in(&mut cx, input);
    }

    fn tick(&mut self, now: Time, out: &mut Out) {
        self.fire_due(&mut Cx { now, out });
    }

    fn deadline(&self) -> Option<Time> {
        self.timers.next()
    }
}

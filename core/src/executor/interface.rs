//! What an executor is told, what it wants done, and how it can be set up.
//!
//! Deliberately not here: what follows from what (`mod`), and what a user says and hears (`user`).

use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::{UserCall, UserEvent};
use crate::ids::{ExecutorId, FrameworkId, PeerId};
use crate::protocol::executor::{Call, Event};

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
    /// Somebody reads what the executor tells ([`Followed`](crate::feed::Followed)): events are
    /// made for a while from now on. Who goes on reading says so again.
    Follow,
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
    /// Tell the user. [`Hosted`](super::Hosted) keeps these to itself.
    User(UserEvent),
    /// All is said: deliver what was sent, then end the process.
    Exit,
}

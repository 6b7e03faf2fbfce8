//! What a scheduler is told, what it wants done, and how it can be set up.
//!
//! Deliberately not here: what follows from what (`mod`), and what a user says and hears (`user`).

use alloc::string::String;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::{UserCall, UserEvent};
use crate::ids::PeerId;
use crate::limits::Bounds;
use crate::protocol::framework::{FrameworkInfo, Wishes};
use crate::protocol::hello::CloseReason;
use crate::protocol::scheduler::{Call, Event};

/// How a scheduler behaves.
#[derive(Clone, Debug)]
pub struct Config {
    /// Who it is. With an id it comes back as that framework.
    pub framework: FrameworkInfo,
    /// What it wants to begin with.
    pub wishes: Wishes,
    /// Seeds all chance.
    pub seed: u64,
    /// The most that it waits before it subscribes on a later connection than its first, so that
    /// not everybody comes back at once after a failover (FW-38).
    pub subscribe_backoff: Duration,
    /// How many heartbeats may be missed before the connection is given up (FW-33).
    pub max_missed_heartbeats: u32,
    /// Whether it asks, whenever it has subscribed again, how the tasks are that it last heard of
    /// as not over (TK-81); as a framework that another has left, how all are.
    pub reconciles: bool,
    /// How much its tables hold.
    pub bounds: Bounds,
}

impl Config {
    /// Describes a scheduler with the usual timing.
    pub fn new(framework: FrameworkInfo, seed: u64) -> Self {
        Self {
            framework,
            wishes: Wishes::default(),
            seed,
            subscribe_backoff: Duration::from_millis(500),
            max_missed_heartbeats: 5,
            reconciles: true,
            bounds: Bounds::USUAL,
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
    /// Somebody reads what the scheduler tells ([`Followed`](crate::feed::Followed)): events are
    /// made for a while from now on. Who goes on reading says so again.
    Follow,
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
    /// Tell the user. [`Hosted`](super::Hosted) keeps these to itself.
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

//! The master: shares agents between frameworks.

use alloc::boxed::Box;
use alloc::string::String;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::allocator::Allocator;
use crate::auth::Principal;
use crate::ids::{MasterId, PeerId};
use crate::protocol::agent::{ToAgent, ToMaster};
use crate::protocol::operator::{Request, Response};
use crate::protocol::scheduler::{Call, Event};

/// How a master behaves.
#[derive(Clone, Debug)]
pub struct Config {
    /// The leadership: fresh for each epoch.
    pub id: MasterId,
    /// The epoch of this leadership, durable before it begins.
    pub epoch: u64,
    /// Seeds all chance.
    pub seed: u64,
    /// How often agents are pinged (TL-01).
    pub ping_interval: Duration,
    /// How many pings may go unanswered (TL-01).
    pub max_missed_pings: u32,
    /// How long a disconnected agent may stay away (TL-02).
    pub agent_reregister_timeout: Duration,
    /// How often subscribed frameworks hear a heartbeat (TL-06).
    pub heartbeat_interval: Duration,
}

/// What can happen to a master.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Input {
    /// A peer connected, with its proved identity.
    Connected { peer: PeerId, principal: Principal },
    /// A peer is gone.
    Disconnected { peer: PeerId },
    /// An agent spoke.
    Agent { peer: PeerId, message: ToMaster },
    /// A framework spoke.
    Scheduler { peer: PeerId, call: Call },
    /// An operator spoke.
    Operator { peer: PeerId, request: Request },
}

/// What a master wants done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Effect {
    /// Tell an agent.
    Agent { peer: PeerId, message: ToAgent },
    /// Tell a framework.
    Scheduler { peer: PeerId, event: Event },
    /// Answer an operator.
    Respond { peer: PeerId, response: Response },
    /// Close a connection.
    Disconnect { peer: PeerId, reason: String },
}

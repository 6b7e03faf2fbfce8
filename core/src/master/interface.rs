//! What a master is told, what it wants done, and how it can be set up.
//!
//! Deliberately not here: what follows from what (`mod`).

use alloc::collections::BTreeMap;
use alloc::string::String;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::auth::Principal;
use crate::ids::{MasterId, PeerId};
use crate::limits::{self, Bounds};
use crate::protocol::agent::{ToAgent, ToMaster};
use crate::protocol::hello::CloseReason;
use crate::protocol::node::Domain;
use crate::protocol::operator::{Request, Response};
use crate::protocol::scheduler::{Call, Event};
use crate::time::Time;

/// At most so many agents in so much time, one after the other at even distances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many agents.
    pub agents: u32,
    /// In how much time.
    pub per: Duration,
}

/// At most so many calls of frameworks in so much time, one after the other at even distances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallRate {
    /// How many calls.
    pub calls: u32,
    /// In how much time.
    pub per: Duration,
    /// How many more may wait for their turn; what comes beyond that is turned down.
    pub waiting: usize,
}

/// How fast frameworks are heard (SE-33).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallRates {
    /// By the names of principals, all connections of one together; `None` is not bounded.
    pub named: BTreeMap<String, Option<CallRate>>,
    /// All other principals together; `None` is not bounded.
    pub others: Option<CallRate>,
}

/// How a master behaves.
#[derive(Clone, Debug)]
pub struct Config {
    /// The leadership: fresh for each epoch.
    pub id: MasterId,
    /// The epoch of this leadership, higher than that of any before.
    pub epoch: u64,
    /// Seeds all chance.
    pub seed: u64,
    /// Where it listens for others, as `host:port`, if that is known. For operators (FW-77).
    pub address: Option<String>,
    /// Since when the process runs, by the driver's clock; `None` is since it leads (FW-77).
    pub started_at: Option<Time>,
    /// How often agents are pinged (TL-01).
    pub ping_interval: Duration,
    /// How many pings may go unanswered (TL-01).
    pub max_missed_pings: u32,
    /// How long a disconnected agent may stay away (TL-02).
    pub agent_reregister_timeout: Duration,
    /// How fast silent agents become unreachable; `None` is as fast as they fall silent (TK-107).
    pub unreachable_rate: Option<Rate>,
    /// How fast agents are removed that were unreachable for too long; `None` is at once. A rate of
    /// its own, for such an agent runs nothing any more that is missed (RG-21).
    pub removal_rate: Option<Rate>,
    /// How many of the agents that an earlier leadership admitted may fail to come back in time, in
    /// percent. If more do, it is probably this master that is cut off: it resigns instead of
    /// giving them up (TK-111).
    pub recovery_removal_percent: u8,
    /// How often subscribed frameworks hear a heartbeat (TL-06).
    pub heartbeat_interval: Duration,
    /// How many frameworks there may be at a time; at most [`limits::FRAMEWORKS`].
    pub max_frameworks: usize,
    /// How fast frameworks are heard; as fast as they call unless it is set.
    pub call_rates: CallRates,
    /// Where the master stands; without it no agent may say where it stands (TK-116). The allocator
    /// has to be told the region as well.
    pub domain: Option<Domain>,
    /// Whether agents must say where they stand.
    pub requires_domain: bool,
    /// How many events are kept for operators who read them late; at most [`limits::EVENTS`].
    pub events_kept: usize,
    /// For how long an inverse offer may go unanswered; then it is taken back, and another one made
    /// (OF-06). `None` is for ever: it holds nothing.
    pub inverse_offer_timeout: Option<Duration>,
    /// How much its tables hold.
    pub bounds: Bounds,
}

impl Config {
    /// Makes a configuration with the usual times.
    pub const fn new(id: MasterId, epoch: u64, seed: u64) -> Self {
        Self {
            id,
            epoch,
            seed,
            address: None,
            started_at: None,
            ping_interval: Duration::from_secs(15),
            max_missed_pings: 5,
            agent_reregister_timeout: Duration::from_secs(600),
            unreachable_rate: None,
            removal_rate: None,
            recovery_removal_percent: 100,
            heartbeat_interval: Duration::from_secs(15),
            max_frameworks: limits::FRAMEWORKS,
            call_rates: CallRates {
                named: BTreeMap::new(),
                others: None,
            },
            domain: None,
            requires_domain: false,
            events_kept: limits::EVENTS,
            inverse_offer_timeout: None,
            bounds: Bounds::USUAL,
        }
    }

    /// Returns after how long a silence an agent gives its connection up (AG-06).
    pub fn ping_timeout(&self) -> Duration {
        self.ping_interval.saturating_mul(self.max_missed_pings)
    }
}

/// What can happen to a master.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Input {
    /// A peer connected, with its proved identity.
    Connected {
        /// The connection, new.
        peer: PeerId,
        /// Who is there.
        principal: Principal,
    },
    /// A peer is gone.
    Disconnected {
        /// The connection, which never comes back.
        peer: PeerId,
    },
    /// An agent spoke.
    Agent {
        /// Over which connection.
        peer: PeerId,
        /// What it said.
        message: ToMaster,
    },
    /// A framework spoke.
    Scheduler {
        /// Over which connection.
        peer: PeerId,
        /// What it asked.
        call: Call,
    },
    /// An operator spoke.
    Operator {
        /// Over which connection.
        peer: PeerId,
        /// What he asked.
        request: Request,
    },
}

/// What a master wants done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Effect {
    /// Tell an agent.
    Agent {
        /// Over which connection.
        peer: PeerId,
        /// What.
        message: ToAgent,
    },
    /// Tell a framework.
    Scheduler {
        /// Over which connection.
        peer: PeerId,
        /// What.
        event: Event,
    },
    /// Answer an operator.
    Respond {
        /// Over which connection.
        peer: PeerId,
        /// What.
        response: Response,
    },
    /// Close a connection. No `Disconnected` needs to follow.
    Disconnect {
        /// Which one.
        peer: PeerId,
        /// Why, for the peer.
        close: CloseReason,
        /// Why, for the log.
        reason: String,
    },
    /// End this leadership: another one, or this one anew, will know better. The machine does
    /// nothing any more.
    Resign {
        /// Why, for people.
        reason: String,
    },
}

//! What an agent is told, what it wants done, and how it can be set up.
//!
//! Deliberately not here: what follows from what (`mod`).

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Departure, Policy};
use crate::ids::{BootId, ContainerId, PeerId};
use crate::limits::Bounds;
use crate::protocol::agent::{ToAgent, ToMaster};
use crate::protocol::container::{ContainerCommand, ContainerEvent, VolumePlace};
use crate::protocol::disk::{DiskCommand, DiskEvent};
use crate::protocol::executor;
use crate::protocol::hello::CloseReason;
use crate::protocol::node::AgentInfo;

/// What an agent makes of what it was running when it last ended (AG-17).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Recover {
    /// It goes on, and the agent looks after it again.
    #[default]
    Reconnect,
    /// It is ended, and the agent leaves the cluster.
    Cleanup,
}

/// How an agent behaves.
#[derive(Clone, Debug)]
pub struct Config {
    /// The machine.
    pub info: AgentInfo,
    /// The name in its certificate, for messages.
    pub name: String,
    /// How much of `info` may be other than it was before (AG-21).
    pub reconfiguration: Policy,
    /// Which run of the machine this is; `None` if nobody knows. Another than before means that no
    /// container is left (AG-20).
    pub boot: Option<BootId>,
    /// What becomes of what runs already.
    pub recover: Recover,
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
    /// How long a container may take to start. What is not started by then is destroyed, and its
    /// tasks have failed (AG-34).
    pub launch_timeout: Duration,
    /// How long an executor may take to subscribe (AG-33).
    pub executor_registration_timeout: Duration,
    /// How long an executor may take to come back when the agent does (AG-16).
    pub executor_reregistration_timeout: Duration,
    /// How long an executor may take to end that does not say itself (TK-88).
    pub executor_shutdown_grace: Duration,
    /// Whether the containerizer carries [`ContainerCommand::Resize`] out. If not, containers of
    /// executors have no limits, for these would have to grow with their tasks (TK-94, AG-37).
    pub resizes: bool,
    /// How long the sandbox of what has ended is kept on an empty disk (AG-55).
    pub gc_delay: Duration,
    /// How much of the disk is to stay free, in thousandths.
    pub gc_headroom: u16,
    /// How much its tables hold.
    pub bounds: Bounds,
}

impl Config {
    /// Describes an agent with the usual timing.
    pub fn new(info: AgentInfo, name: impl Into<String>, seed: u64) -> Self {
        Self {
            info,
            name: name.into(),
            reconfiguration: Policy::default(),
            boot: None,
            recover: Recover::Reconnect,
            seed,
            registration_backoff: Duration::from_secs(1),
            update_retry: Duration::from_secs(10),
            update_retry_max: Duration::from_secs(600),
            kill_grace: Duration::from_secs(3),
            launch_timeout: Duration::from_secs(10 * 60),
            executor_registration_timeout: Duration::from_secs(60),
            executor_reregistration_timeout: Duration::from_secs(2),
            executor_shutdown_grace: Duration::from_secs(5),
            resizes: false,
            gc_delay: Duration::from_secs(7 * 24 * 3_600),
            gc_headroom: 100,
            bounds: Bounds::USUAL,
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
    /// The disk of the sandboxes was measured, as it is once a minute (TL-20).
    DiskUsed {
        /// How full it is, in thousandths.
        permille: u16,
    },
    /// A sandbox was deleted, or could not be.
    SandboxDeleted {
        /// Whose it was.
        container: ContainerId,
        /// Whether nothing of it is left.
        is_gone: bool,
    },
    /// What was on volumes was deleted, or could not be.
    VolumesDeleted {
        /// The number of the operation that destroyed them.
        order: u64,
        /// Whether nothing of it is left.
        is_gone: bool,
    },
    /// Whoever runs the machine takes it out of the cluster: the agent ends what it runs, and
    /// itself (AG-09).
    Leave,
    /// The provider of the machine's disks has done something, or could not.
    Disk(DiskEvent),
    /// An echo came back: what was ordered before it has left.
    Departed(Departure),
    /// Somebody reads what the agent tells ([`Followed`](crate::feed::Followed)): events are made
    /// for a while from now on. Who goes on reading says so again.
    Follow,
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
    /// Delete a sandbox that nothing writes to. Answered by `SandboxDeleted`; one that is not there
    /// is deleted.
    DeleteSandbox {
        /// The container that it was of.
        container: ContainerId,
        /// Where it is: path components below the agent's sandbox directory.
        sandbox: Vec<String>,
    },
    /// Delete persistent volumes with what is on them; no container has them, and none ever gets
    /// them. Answered by `VolumesDeleted`; one that is not there is deleted.
    DeleteVolumes {
        /// The number of the operation that destroyed them.
        order: u64,
        /// Which ones.
        volumes: Vec<VolumePlace>,
    },
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
    /// End the agent's process: it has left, as it was told to, and nothing runs.
    Left,
    /// Order something of the provider of the machine's disks. One that there is goes by the ids of
    /// jobs, so that nothing is done twice; where there is none, [`DiskCommand::Do`] and
    /// [`DiskCommand::Undo`] are answered with
    /// [`DiskOutcome::Failed`](crate::protocol::disk::DiskOutcome::Failed).
    Disk(DiskCommand),
    /// Answered by `Departed` as soon as it leaves, as all effects do in their turn. Whoever
    /// carries effects out does no more than that.
    Echo(Departure),
}

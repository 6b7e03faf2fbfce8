//! What an agent tells its containerizer, and what it hears back.
//!
//! The agent machine knows containers only through these two enums; any runtime that speaks them
//! can stand behind it.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::check::{Probe, ProbeOutcome};
use super::container_info::ContainerInfo;
use super::status::{Breach, Exit};
use super::task::CommandInfo;
use crate::ids::ContainerId;
use crate::resources::{Access, Milli, Ranges};

/// What a container is allowed to use. `None` is no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerLimits {
    /// The most CPU cores.
    pub cpus: Option<Milli>,
    /// CPU cores when others want them too; `None` is as many as `cpus`.
    pub share: Option<Milli>,
    /// The most memory, in MiB.
    pub mem: Option<Milli>,
    /// Memory that it keeps when others want it too, in MiB; `None` is as much as `mem`.
    pub kept: Option<Milli>,
    /// The number of processes and threads.
    pub pids: Option<u32>,
    /// What its files may take in its sandbox and its root, in MiB. Volumes that persist are apart.
    pub disk: Option<Milli>,
    /// Graphics processors that it has for itself, in whole ones; no others, so nothing is none.
    pub gpus: Milli,
    /// The ports of the machine that it may listen on, where that is watched.
    pub ports: Option<Ranges>,
}

/// Everything needed to start a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerSpec {
    /// The program.
    pub command: CommandInfo,
    /// Variables given by the agent; those of the command win over them (AG-48).
    pub environment: Vec<(String, String)>,
    /// Resource limits.
    pub limits: ContainerLimits,
    /// The sandbox, as path components below the agent's sandbox directory.
    pub sandbox: Vec<String>,
    /// What else is asked for; what cannot be done is refused.
    pub container: Option<Box<ContainerInfo>>,
    /// What it has in common with others, if its task was started together with theirs.
    pub group: Option<Box<GroupSpec>>,
    /// The persistent volumes that it sees; whoever cannot show them refuses it.
    pub volumes: Vec<VolumeSpec>,
}

/// A persistent volume that a container sees (RM-41).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeSpec {
    /// Where it is.
    pub place: VolumePlace,
    /// Where the container sees it; a relative path begins at its sandbox.
    pub path: String,
    /// What the container may do with it.
    pub access: Access,
    /// What its files may take, in MiB (CT-38).
    pub size: Milli,
}

/// Where a persistent volume is on its machine. Nothing else is ever there: a volume that is made
/// anew under the id of one that was destroyed has another place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct VolumePlace {
    /// On which disk; `None` is that of the agent's work directory.
    pub disk: Option<VolumeDisk>,
    /// The directory, as path components below that of all volumes of the disk (RM-43).
    pub directory: Vec<String>,
}

/// A disk of a machine that has directories.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct VolumeDisk {
    /// Where it is; a relative path begins at the agent's work directory.
    pub root: String,
    /// Whether something has to be mounted just there (RM-40).
    pub is_mount: bool,
}

/// What the containers of a group of tasks have in common (CT-15, TK-91).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupSpec {
    /// Names the group; no container has this id.
    pub id: ContainerId,
    /// The sandbox of the group, as path components below the agent's sandbox directory.
    pub sandbox: Vec<String>,
    /// What may be in that sandbox, in MiB, beside what each of them may have.
    pub disk: Option<Milli>,
    /// What is asked for all of them together.
    pub container: Option<Box<ContainerInfo>>,
}

impl ContainerSpec {
    /// Describes a container without limits and with the command's variables only.
    pub fn new(command: CommandInfo, sandbox: Vec<String>) -> Self {
        Self {
            command,
            environment: Vec::new(),
            limits: ContainerLimits::default(),
            sandbox,
            container: None,
            group: None,
            volumes: Vec::new(),
        }
    }
}

/// An order to the containerizer. Each is answered by events; none is answered synchronously.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ContainerCommand {
    /// Starts a container. Answered by `Started` or `LaunchFailed`.
    Launch {
        /// The new container; never used before on this agent.
        id: ContainerId,
        /// What to run.
        spec: ContainerSpec,
    },
    /// Sends SIGTERM to the container's processes. Unknown ids are ignored.
    Terminate {
        /// Which one.
        id: ContainerId,
    },
    /// Kills every process of the container with SIGKILL. `Exited` follows if it was running.
    Destroy {
        /// Which one.
        id: ContainerId,
    },
    /// Forgets a container that has exited, and what was recorded of it.
    Forget {
        /// Which one.
        id: ContainerId,
    },
    /// After a restart of the agent: reports on each known container (`Started` if it runs,
    /// `Exited` if it ended meanwhile, `LaunchFailed` if it never started), destroys all others,
    /// and then answers `Recovered`. What was tried before is given up, and not answered any more.
    Recover {
        /// The containers that the agent remembers.
        known: Vec<ContainerId>,
    },
    /// Changes what a container may use (TK-94); of processes it may have as many as before.
    /// Unknown ids are ignored. Answered by `ResizeFailed` if it cannot be done, and else not.
    Resize {
        /// Which one.
        id: ContainerId,
        /// From now on.
        limits: ContainerLimits,
    },
    /// Tries something of a container that runs, once. Answered by `Probed`, unless the container
    /// ends or the try is given up before; whoever asks waits no longer than the timeout.
    Probe {
        /// Which one.
        id: ContainerId,
        /// Names the try; never used before in this life of the agent.
        number: u64,
        /// What is tried.
        probe: Probe,
        /// How long it may take; `None` is for ever.
        timeout: Option<Duration>,
    },
    /// Gives a try up, and ends what it has started. Unknown numbers are ignored.
    Unprobe {
        /// Of which container.
        id: ContainerId,
        /// Which try.
        number: u64,
    },
}

/// Something that happened to a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ContainerEvent {
    /// The program runs.
    Started {
        /// Which one.
        id: ContainerId,
        /// The process id of its init (or of the program, in plain-process mode) on the host.
        pid: u32,
        /// Its addresses, if it has networks of its own (CT-84).
        addresses: Vec<IpAddr>,
    },
    /// It could not be started; nothing of it is left.
    LaunchFailed {
        /// Which one.
        id: ContainerId,
        /// Why, for people.
        message: String,
    },
    /// The program has ended and no process of it is left.
    Exited {
        /// Which one.
        id: ContainerId,
        /// How the program ended.
        exit: Exit,
        /// The limit that was broken, if that is why.
        breach: Option<Breach>,
    },
    /// The exit was not recorded: the launcher died, or the machine restarted.
    Lost {
        /// Which one.
        id: ContainerId,
    },
    /// Everything known has been reported.
    Recovered,
    /// What it may use could not be changed, and is what it was.
    ResizeFailed {
        /// Which one.
        id: ContainerId,
        /// Why, for people.
        message: String,
    },
    /// What was tried of it is over.
    Probed {
        /// Which one.
        id: ContainerId,
        /// Which try.
        number: u64,
        /// What came of it.
        outcome: ProbeOutcome,
    },
}

impl ContainerEvent {
    /// Says that one runs that has the addresses of its machine.
    pub const fn started(id: ContainerId, pid: u32) -> Self {
        Self::Started {
            id,
            pid,
            addresses: Vec::new(),
        }
    }
}

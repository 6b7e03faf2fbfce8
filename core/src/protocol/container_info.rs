//! What a task or an executor asks of its container: a root of its own, volumes, networks, rights.
//!
//! The cluster passes it on; the agent's containerizer does it, or refuses the launch by name of
//! what it cannot do: nothing that is asked for is left out silently. Deliberately not here: limits
//! on resources, which follow from what the task takes; checks (`validate_container`).

use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::resources::Labels;

/// The container of a task or of an executor (TK-17). The default asks for nothing: it sees the
/// root of the machine, and has the rights that the agent gives to all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerInfo {
    /// Its root; `None` is that of the machine.
    pub image: Option<Image>,
    /// Whether it can change its root. Volumes and the sandbox are not meant.
    pub read_only_root: bool,
    /// What else it sees, in this order; at most [`limits::VOLUMES`](crate::limits::VOLUMES).
    pub volumes: Vec<Volume>,
    /// The networks that it joins; none is the machine's own. At most
    /// [`limits::NETWORKS`](crate::limits::NETWORKS), each once.
    pub networks: Vec<NetworkInfo>,
    /// What it takes for its host name; it must join a network for that.
    pub hostname: Option<String>,
    /// How it looks names up; `None` is as the networks and the agent have it.
    pub dns: Option<Dns>,
    /// Its rights.
    pub security: Security,
    /// Limits of its processes (CT-57), each kind once.
    pub rlimits: Vec<Rlimit>,
    /// With whom it shares shared memory and the like (CT-56).
    pub ipc: IpcMode,
    /// The size of its own `/dev/shm` in MiB; `None` is as the agent has it. With
    /// [`IpcMode::Private`] only.
    pub shm_size: Option<u64>,
    /// Whether it sees the processes of whom it is in, or of the machine (CT-55).
    pub share_pid_namespace: bool,
    /// The terminal of its program, if it has one: that is what it reads and writes, and its errors
    /// come as output (CT-10).
    pub terminal: Option<Terminal>,
    /// Whether it reads what those say who attach to it, and waits for them. One with a terminal
    /// does anyhow; for others there is nothing to be read (FW-91).
    pub interactive: bool,
    /// How much is kept of what it writes; `None` is as the agent has it (CT-11).
    pub logs: Option<LogBounds>,
}

/// A root file system (CT-66).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// In a registry, `[HOST[:PORT]/]NAME[:TAG][@DIGEST]`; or in files of the agent's machine,
    /// where its operator has them, `file:///PATH[#NAME]`.
    pub reference: String,
    /// Whether one that is there already will do; otherwise the registry is asked whether the tag
    /// has moved.
    pub cached: bool,
}

/// Whether what is there can be changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Access {
    /// Read only.
    #[default]
    Read,
    /// Read and write.
    Write,
}

/// Something that a container sees at a path of its own (CT-44 to CT-47).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// Where: absolute, or relative to the sandbox. No part of it is `..`.
    pub path: String,
    /// Whether it can be changed.
    pub access: Access,
    /// What it is.
    pub source: VolumeSource,
}

/// What a volume is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum VolumeSource {
    /// A file or directory of the machine (CT-44).
    Host {
        /// Where it is; absolute.
        path: String,
        /// Whether mounts made there later are seen.
        propagation: Propagation,
    },
    /// A directory of the task's sandbox (CT-45).
    Sandbox {
        /// Relative to the sandbox.
        path: String,
    },
    /// A directory of the sandbox of the task's group, for all its tasks: made if it is missing, as
    /// everybody's (CT-45).
    Parent {
        /// Relative to that sandbox.
        path: String,
    },
    /// A file system in an image (CT-46). What is changed in it is the container's own, counts
    /// towards its disk, and goes with it.
    Image(Image),
    /// A file that is in memory only (CT-47).
    Secret(Secret),
    /// Memory, seen as a directory.
    Tmpfs {
        /// The most that it holds, in MiB.
        size: u64,
    },
}

/// Whether mounts that are made on one side of a volume are seen on the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Propagation {
    /// They are not.
    #[default]
    Private,
    /// Those of the machine are seen in the container.
    HostToContainer,
    /// Both are seen.
    Bidirectional,
}

/// What is not for everybody. It is not shown to operators.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret(pub Vec<u8>);

impl core::fmt::Debug for Secret {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Secret({} bytes)", self.0.len())
    }
}

/// A network that a container joins (CT-52).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkInfo {
    /// Its name, as the agent's configuration has it.
    pub name: String,
    /// Addresses that are asked for; none is any.
    pub addresses: Vec<String>,
    /// Ports of the machine that lead to ports of the container. Those of the machine are among
    /// what the task takes.
    pub ports: Vec<PortMapping>,
    /// What is passed on to the network's plugins.
    pub labels: Labels,
}

/// A port of the machine that leads to one of the container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PortMapping {
    /// On the machine; not zero.
    pub host: u16,
    /// In the container; not zero.
    pub container: u16,
    /// Of which kind both are.
    pub protocol: Transport,
}

/// What stands on top of IP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Transport {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
}

/// How a container looks names up: what stands in its `resolv.conf`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dns {
    /// Whom it asks.
    pub nameservers: Vec<String>,
    /// Where names stand that are not complete.
    pub search: Vec<String>,
    /// Options of the resolver.
    pub options: Vec<String>,
}

/// The rights of a container's processes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Security {
    /// Capabilities that the program has; `None` is as the agent has it. A part of `bounding` if
    /// both are there (CT-58).
    pub effective: Option<BTreeSet<Capability>>,
    /// Those that it can have at most; `None` is as the agent has it, or as many as `effective`.
    pub bounding: Option<BTreeSet<Capability>>,
    /// Whether programs that would have more rights than who starts them have none (CT-60).
    pub no_new_privileges: bool,
    /// Which system calls it may use (CT-59).
    pub seccomp: Seccomp,
}

/// Which system calls a container may use (CT-59).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Seccomp {
    /// What the agent allows to all.
    #[default]
    Default,
    /// All that do not undo its limits.
    Unconfined,
    /// What a profile of this name in the agent's configuration says.
    Profile(String),
}

/// With whom a container shares shared memory, semaphores and queues (CT-56).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum IpcMode {
    /// With nobody.
    #[default]
    Private,
    /// With whom it is in: the other tasks of its group, or the machine.
    ShareParent,
}

/// How much is kept of what is written to standard output, and of what is to standard error: files
/// that take turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogBounds {
    /// The largest file, in MiB; not zero.
    pub size: u32,
    /// How many files; from one to [`limits::LOG_FILES`](crate::limits::LOG_FILES).
    pub files: u32,
}

/// A terminal, by its size in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terminal {
    /// How many lines.
    pub rows: u16,
    /// How wide each is.
    pub columns: u16,
}

/// A limit of each process of a container (CT-57). Both bounds or none: none is infinite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rlimit {
    /// Of what.
    pub kind: RlimitKind,
    /// The bound that holds, and up to where the process itself may raise it.
    pub bounds: Option<(u64, u64)>,
}

/// Defines an enum of names and how they are written.
macro_rules! names {
    ($(#[$doc:meta])* $name:ident { $($(#[$entry_doc:meta])* $entry:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        pub enum $name {
            $($(#[$entry_doc])* $entry,)*
        }

        impl $name {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$entry,)*];

            /// Returns the name as the kernel's manual pages have it, without what is the same in
            /// all.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$entry => $text,)*
                }
            }
        }
    };
}

names! {
    /// A right that root has and others do not, `capabilities(7)`. The order is the kernel's: its
    /// number is the place in [`Capability::ALL`].
    Capability {
        /// Change owners of files.
        Chown = "CHOWN",
        /// Ignore permissions of files.
        DacOverride = "DAC_OVERRIDE",
        /// Ignore permissions to read.
        DacReadSearch = "DAC_READ_SEARCH",
        /// Do what is for owners of files.
        Fowner = "FOWNER",
        /// Keep the bits of user and group when a file changes.
        Fsetid = "FSETID",
        /// Send signals to anybody.
        Kill = "KILL",
        /// Change the group.
        Setgid = "SETGID",
        /// Change the user.
        Setuid = "SETUID",
        /// Change the capabilities themselves.
        Setpcap = "SETPCAP",
        /// Mark files as never to be changed.
        LinuxImmutable = "LINUX_IMMUTABLE",
        /// Listen on ports below 1024.
        NetBindService = "NET_BIND_SERVICE",
        /// Send to all.
        NetBroadcast = "NET_BROADCAST",
        /// Configure networks.
        NetAdmin = "NET_ADMIN",
        /// Use raw sockets.
        NetRaw = "NET_RAW",
        /// Lock memory.
        IpcLock = "IPC_LOCK",
        /// Ignore permissions of shared memory and the like.
        IpcOwner = "IPC_OWNER",
        /// Load modules.
        SysModule = "SYS_MODULE",
        /// Use ports of the machine's devices.
        SysRawio = "SYS_RAWIO",
        /// Change the root.
        SysChroot = "SYS_CHROOT",
        /// Trace anybody.
        SysPtrace = "SYS_PTRACE",
        /// Account for processes.
        SysPacct = "SYS_PACCT",
        /// Administer the machine.
        SysAdmin = "SYS_ADMIN",
        /// Restart the machine.
        SysBoot = "SYS_BOOT",
        /// Come before others.
        SysNice = "SYS_NICE",
        /// Raise limits.
        SysResource = "SYS_RESOURCE",
        /// Set the clock.
        SysTime = "SYS_TIME",
        /// Configure terminals.
        SysTtyConfig = "SYS_TTY_CONFIG",
        /// Make device nodes.
        Mknod = "MKNOD",
        /// Take leases on files.
        Lease = "LEASE",
        /// Write to the audit log.
        AuditWrite = "AUDIT_WRITE",
        /// Configure the audit.
        AuditControl = "AUDIT_CONTROL",
        /// Give capabilities to files.
        Setfcap = "SETFCAP",
        /// Override what modules forbid.
        MacOverride = "MAC_OVERRIDE",
        /// Configure what modules forbid.
        MacAdmin = "MAC_ADMIN",
        /// Read and clear the kernel's log.
        Syslog = "SYSLOG",
        /// Wake the machine up.
        WakeAlarm = "WAKE_ALARM",
        /// Keep the machine awake.
        BlockSuspend = "BLOCK_SUSPEND",
        /// Read the audit log.
        AuditRead = "AUDIT_READ",
        /// Watch what others do.
        Perfmon = "PERFMON",
        /// Load programs into the kernel.
        Bpf = "BPF",
        /// Save and restore processes.
        CheckpointRestore = "CHECKPOINT_RESTORE",
    }
}

names! {
    /// What a process has limits of, `getrlimit(2)`.
    RlimitKind {
        /// Memory that is mapped, in bytes.
        As = "AS",
        /// A file that is written when it crashes, in bytes.
        Core = "CORE",
        /// CPU time, in seconds.
        Cpu = "CPU",
        /// Data, in bytes.
        Data = "DATA",
        /// A file, in bytes.
        Fsize = "FSIZE",
        /// Locks of files.
        Locks = "LOCKS",
        /// Memory that is locked, in bytes.
        Memlock = "MEMLOCK",
        /// Messages that wait in queues, in bytes.
        Msgqueue = "MSGQUEUE",
        /// How far up its niceness may go: 20 less this.
        Nice = "NICE",
        /// Open files, by the highest number and one.
        Nofile = "NOFILE",
        /// Processes and threads of its user.
        Nproc = "NPROC",
        /// Memory in use, in bytes.
        Rss = "RSS",
        /// Its priority among real-time processes.
        Rtprio = "RTPRIO",
        /// CPU time without a pause in real time, in microseconds.
        Rttime = "RTTIME",
        /// Signals that wait.
        Sigpending = "SIGPENDING",
        /// The stack, in bytes.
        Stack = "STACK",
    }
}

/// Something that is brought into the sandbox before the program starts (AG-49, AG-50).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uri {
    /// Where it is: `http`, `https`, `file`, or a path of the machine.
    pub value: String,
    /// Whether it is a program. It is not taken apart then.
    pub executable: bool,
    /// Whether archives are taken apart.
    pub extract: bool,
    /// Whether it is kept for others of the same content.
    pub cache: bool,
    /// Its name in the sandbox, if it is to have another one.
    pub output_file: Option<String>,
    /// What its content is to be: `ALGORITHM:HEX`. Else the launch fails.
    pub checksum: Option<String>,
}

impl Uri {
    /// Brings something as it is usual: archives are taken apart, and nothing is kept.
    pub fn new(value: impl Into<String>) -> Self {
        Self {
            value: value.into(),
            executable: false,
            extract: true,
            cache: false,
            output_file: None,
            checksum: None,
        }
    }
}

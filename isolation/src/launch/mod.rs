//! What a container gets beside its command, limits and sandbox: plain data that isolators add to
//! a launch, and that the container's init carries out.
//!
//! The default is a container on the host's root filesystem (see [the crate](crate)). Nothing here
//! is done; the launcher checks it ([`Launch::check`]) and passes it on.

mod capability;
mod mounts;
mod rlimit;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};
use tepui_core::ids::ContainerId;
use tepui_core::protocol::container_info::{ContainerInfo, Terminal};
use tepui_core::protocol::task::CommandInfo;

pub use self::capability::{Capabilities, CapabilitySet};
pub use self::mounts::{Bind, Device, DeviceKind, Mount, Propagation, Secret, Source, Tmpfs};
pub use self::rlimit::{Rlimit, RlimitKind, RlimitValues};
use crate::cgroup::{DeviceRule, Settings as GroupSettings};
use crate::error::{Error, Result};
use crate::logs::Logs;

/// Where a sandbox appears in a root of its own, unless the launch says otherwise (AG-40).
pub const SANDBOX: &str = "/mnt/tepui/sandbox";
/// The most mounts, devices or groups of a launch.
const MAX_ENTRIES: usize = 1024;
/// The most layers of an overlay: a page of the kernel's holds so many of the short names that
/// the init gives to them.
const MAX_LAYERS: usize = 200;
/// The longest host name that the kernel takes.
pub(crate) const HOST_NAME_BYTES: usize = 64;

/// What isolators add to the start of a container. `Default` is the host's root filesystem and
/// network, with process, mount, IPC and host name namespaces of its own.
///
/// Only container mode can carry it out: in process mode a launch that is not the default is
/// refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Launch {
    /// What is run in the place of what the container was asked for: an image decides that too.
    pub command: Option<CommandInfo>,
    /// Variables; a later one wins over an earlier one, the agent's and the command's over all
    /// (AG-48).
    pub environment: Vec<(String, String)>,
    /// The root filesystem; `None` is the host's (CT-41).
    pub root: Option<Root>,
    /// Where the sandbox is, in a root of its own; [`SANDBOX`] unless it is said.
    pub sandbox: Option<PathBuf>,
    /// What is mounted, in this order (CT-44, CT-45, CT-47).
    pub mounts: Vec<Mount>,
    /// What the task itself lists as its volumes, by their place in that list: mounted after all
    /// else, in the order of the list, whichever isolators gave them.
    #[serde(skip)]
    pub volumes: BTreeMap<usize, Mount>,
    /// Directories with an `upper` and a `work` for what it changes in volumes that are images, so
    /// that it counts as what it changes in its root.
    #[serde(skip)]
    pub changes: Vec<PathBuf>,
    /// Whether `/tmp` is a filesystem of its own, in memory.
    pub private_tmp: bool,
    /// Directories and files of the machine that it does not see on the machine's root: there is
    /// nothing in them but its own sandbox. In a root of its own it sees none of the machine's.
    pub hidden: Vec<PathBuf>,
    /// The size of a private `/dev/shm` in bytes (CT-56). `None` is the host's `/dev/shm` on the
    /// host's root, and half of the memory in a root of its own.
    pub shm_size: Option<u64>,
    /// Where the program starts, as it sees it; `None` is its sandbox. Made if it is missing in a
    /// root of its own.
    pub working_directory: Option<PathBuf>,
    /// The host name; `None` is the container's id, cut to what may be one.
    pub hostname: Option<String>,
    /// Whose network it uses.
    pub network: Network,
    /// Which addresses it has there, if they are its own: frameworks are told (CT-84).
    pub addresses: Vec<IpAddr>,
    /// The container whose processes it sees and is seen by; `None` is nobody's (CT-15, CT-55). It
    /// ends with that one at the latest. The kernel does not end its processes with its first one:
    /// its init does, or, if its program killed that, the launcher, through its control group.
    pub share_pid: Option<ContainerId>,
    /// Whose IPC objects and `/dev/shm` it uses (CT-15, CT-56).
    pub ipc: Ipc,
    /// Which users of the host its users are; `None` is the same ones. With a mapping its root is
    /// nobody on the host. Its root filesystem shows its files as owned by the users inside.
    pub user_namespace: Option<UserNamespace>,
    /// What its programs may do (CT-58).
    pub capabilities: Capabilities,
    /// Whether no program can gain privileges by being executed (CT-60): `sudo` and its kind do
    /// not work then.
    pub no_new_privileges: bool,
    /// Which system calls its programs may make (CT-59).
    pub seccomp: Seccomp,
    /// Limits for each of its processes (CT-57); the last of a kind counts.
    pub rlimits: Vec<Rlimit>,
    /// Whether the machine's parts of `/proc` and `/sys` are protected.
    pub system_paths: SystemPaths,
    /// Device nodes in its `/dev`, beside those that every root of its own has (CT-61). It may use
    /// them. They need a root of its own.
    pub devices: Vec<Device>,
    /// Which of the machine's devices can be used, whatever nodes there are (CT-33).
    pub device_guard: DeviceGuard,
    /// What its control group is given beside its limits. Its devices are those of the guard.
    pub group: GroupSettings,
    /// The user: `NAME`, `UID`, `NAME:GROUP` or `UID:GID`. The command's wins. Names are those of
    /// the container's `/etc/passwd` and `/etc/group` if it has a root of its own.
    pub user: Option<String>,
    /// How much is kept of what it writes; `None` is as its agent has it (CT-11).
    pub logs: Option<Logs>,
    /// The terminal of its program, by its size: from the `/dev` that it sees (CT-10).
    pub terminal: Option<Terminal>,
    /// Whether its program reads what is said to it ([`crate::Enterer::input`]) and not nothing; on
    /// a terminal it does anyhow.
    pub interactive: bool,
    /// Whether its files stay in the project that they are made in, by which they are limited
    /// (CT-39): nobody inside can change the attributes of files, as `chattr` does.
    pub keeps_project: bool,
    /// Groups that its user belongs to besides.
    pub groups: Vec<u32>,
    /// Whether its programs may make user namespaces. In one of their own they have all
    /// capabilities, which reach far enough to undo the limits of a container of root; so they are
    /// refused unless this says otherwise.
    pub allow_user_namespaces: bool,
}

/// Which devices can be opened, by whichever node (CT-33).
///
/// It is kept by a control group, so it holds root too. An agent without privileges has none: the
/// kernel lets its containers make no node, and open those that the agent's user may.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeviceGuard {
    /// [The usual ones](crate::cgroup::Devices::usual), those of [`Launch::devices`], and what
    /// these rules name.
    Guarded {
        /// What is allowed besides.
        beside: Vec<DeviceRule>,
    },
    /// All that its user may: the machine's disks too, if that is root.
    Off,
}

impl Default for DeviceGuard {
    fn default() -> Self {
        Self::Guarded { beside: Vec::new() }
    }
}

/// A root filesystem of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Root {
    /// A directory of the host, without what is mounted below it. Mount points that it lacks are
    /// made in it.
    Directory {
        /// Which one.
        path: PathBuf,
        /// Whether nothing in it can be changed from inside.
        read_only: bool,
    },
    /// Directories over each other.
    Overlay {
        /// The layers, topmost first; they are not changed.
        lower: Vec<PathBuf>,
        /// A directory that holds what is written, in `upper`, and the kernel's `work`. Both are
        /// made if they are missing. `None`: writes go to memory and end with the container.
        upper_and_work: Option<PathBuf>,
        /// Whether nothing in it can be changed from inside.
        read_only: bool,
    },
}

/// Whose network a container uses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Network {
    /// The host's.
    #[default]
    Host,
    /// One of its own, with nothing but loopback, which is up.
    Isolated,
    /// The namespace that is kept at this path of the host.
    Namespace(PathBuf),
    /// That of another container, which must run (CT-15).
    Of(ContainerId),
}

/// Whose IPC objects and `/dev/shm` a container uses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ipc {
    /// Its own; see [`Launch::shm_size`].
    #[default]
    Own,
    /// Those of another container, which must run.
    Of(ContainerId),
    /// Those that are kept on the host for several.
    Kept {
        /// Where the namespace is bound.
        namespace: PathBuf,
        /// Where what they see as `/dev/shm` is mounted.
        memory: PathBuf,
    },
}

/// Which system calls are allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Seccomp {
    /// All.
    #[default]
    Unconfined,
    /// What our own profile allows: everything that ordinary programs need.
    Default,
    /// What this profile allows, in Docker's or OCI's JSON.
    Profile(String),
}

/// Whether the machine's parts of `/proc` and `/sys` are protected (CT-41).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SystemPaths {
    /// Settings are read-only and, in a root of its own, what tells about the machine is hidden.
    #[default]
    Protected,
    /// Nothing is: for containers that administer the machine.
    Unconfined,
}

/// Which users and groups of the host those of a container are. The rest do not exist inside.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct UserNamespace {
    /// The users.
    pub uids: Vec<IdRange>,
    /// The groups.
    pub gids: Vec<IdRange>,
}

/// A range of ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct IdRange {
    /// The first one inside.
    pub inside: u32,
    /// The first one on the host.
    pub outside: u32,
    /// How many there are.
    pub count: u32,
}

impl UserNamespace {
    /// Returns which user and group of the host the root inside is.
    pub(crate) fn root(&self) -> Option<(u32, u32)> {
        let outside = |ranges: &[IdRange]| {
            let first = ranges.iter().find(|range| range.inside == 0)?;
            Some(first.outside)
        };
        Some((outside(&self.uids)?, outside(&self.gids)?))
    }

    fn check(&self) -> Result<()> {
        let is_bad = |range: &IdRange| {
            let end = |first: u32| first.checked_add(range.count).is_none();
            range.count == 0 || end(range.inside) || end(range.outside)
        };
        let bad = self
            .uids
            .iter()
            .chain(&self.gids)
            .find(|&range| is_bad(range));
        if let Some(range) = bad {
            return Err(Error::Invalid(format!(
                "{range:?} is no range of users: 1 to {} of them",
                u32::MAX
            )));
        }
        match self.root() {
            Some(_) => Ok(()),
            None => Err(Error::Invalid("its user namespace has no root".to_owned())),
        }
    }
}

impl Root {
    /// Returns whether nothing in it can be changed from inside.
    pub fn is_read_only(&self) -> bool {
        match self {
            Self::Directory { read_only, .. } | Self::Overlay { read_only, .. } => *read_only,
        }
    }

    fn check(&self) -> Result<()> {
        match self {
            Self::Directory { path, .. } => absolute("its root", path),
            Self::Overlay {
                lower,
                upper_and_work,
                ..
            } => {
                if lower.is_empty() || lower.len() > MAX_LAYERS {
                    return Err(Error::Invalid(format!(
                        "its root has {} layers, not 1 to {MAX_LAYERS}",
                        lower.len()
                    )));
                }
                let paths = lower.iter().chain(upper_and_work);
                paths
                    .into_iter()
                    .try_for_each(|path| absolute("a layer", path))
            }
        }
    }
}

impl Launch {
    /// Takes over what is asked for about what its program reads and writes.
    pub(crate) fn take_streams(&mut self, asked: &ContainerInfo) {
        self.terminal = asked.terminal;
        self.interactive = asked.interactive;
        self.logs = asked.logs.map(|bounds| Logs {
            file_bytes: u64::from(bounds.size) * 1024 * 1024,
            files: bounds.files,
        });
    }

    /// Returns where the program finds its sandbox, which is `host` on the host.
    pub fn sandbox_inside<'a>(&'a self, host: &'a Path) -> &'a Path {
        match (&self.root, &self.sandbox) {
            (None, _) => host,
            (Some(_), Some(inside)) => inside,
            (Some(_), None) => Path::new(SANDBOX),
        }
    }

    /// Puts the task's volumes after all other mounts, in the task's order.
    pub(crate) fn put_volumes_in_order(&mut self) {
        let volumes = std::mem::take(&mut self.volumes);
        self.mounts.extend(volumes.into_values());
    }

    /// Checks everything that can be checked without looking at the machine; says what is wrong.
    pub fn check(&self) -> Result<()> {
        for (what, count) in [
            ("mounts", self.mounts.len()),
            ("devices", self.devices.len()),
            ("groups", self.groups.len()),
            ("limits", self.rlimits.len()),
        ] {
            if count > MAX_ENTRIES {
                return Err(Error::Invalid(format!(
                    "it has {count} {what}, more than {MAX_ENTRIES}"
                )));
            }
        }
        self.root.iter().try_for_each(Root::check)?;
        let paths = self.sandbox.iter().chain(&self.working_directory);
        paths
            .into_iter()
            .try_for_each(|path| absolute("a path", path))?;
        self.mounts.iter().try_for_each(Mount::check)?;
        self.devices.iter().try_for_each(Device::check)?;
        self.rlimits.iter().try_for_each(Rlimit::check)?;
        self.user_namespace
            .iter()
            .try_for_each(UserNamespace::check)?;
        self.capabilities.check()?;
        if let Network::Namespace(path) = &self.network {
            absolute("its network", path)?;
        }
        self.group.check()?;
        if self.group.devices.is_some() {
            let message = "devices for its group, which its guard decides on";
            return Err(Error::Invalid(message.to_owned()));
        }
        if self.shm_size == Some(0) {
            return Err(Error::Invalid("its /dev/shm has no room".to_owned()));
        }
        if let Ipc::Kept { namespace, memory } = &self.ipc {
            absolute("its IPC namespace", namespace)?;
            absolute("its /dev/shm", memory)?;
        }
        if self.shm_size.is_some() && self.ipc != Ipc::Own {
            let message = "a size of /dev/shm, which it shares with others";
            return Err(Error::Invalid(message.to_owned()));
        }
        if self.root.is_none() && !self.devices.is_empty() {
            let message = "devices, and no root of its own: it sees all of the host's";
            return Err(Error::Invalid(message.to_owned()));
        }
        match &self.hostname {
            Some(name)
                if name.is_empty() || name.len() > HOST_NAME_BYTES || name.contains('\0') =>
            {
                Err(Error::Invalid(format!(
                    "a host name of {} bytes, not 1 to {HOST_NAME_BYTES}",
                    name.len()
                )))
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// Checks a path that is read from some root: it is absolute and goes nowhere up.
fn absolute(what: &str, path: &Path) -> Result<()> {
    use std::os::unix::ffi::OsStrExt;
    let goes_up = path.components().any(|part| part == Component::ParentDir);
    let bytes = path.as_os_str().as_bytes();
    if path.is_absolute() && !goes_up && !bytes.contains(&0) && bytes.len() < 4096 {
        return Ok(());
    }
    Err(Error::Invalid(format!(
        "{what} is {path:?}, not an absolute path without `..`"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        let refusal = |change: fn(&mut Launch)| {
            let mut launch = Launch::default();
            change(&mut launch);
            launch.check().unwrap_err().to_string()
        };
        let texts = [
            refusal(|l| l.root = Some(directory("relative"))),
            refusal(|l| l.root = Some(directory("/a/../b"))),
            refusal(|l| {
                l.root = Some(Root::Overlay {
                    lower: Vec::new(),
                    upper_and_work: None,
                    read_only: false,
                });
            }),
            refusal(|l| l.hostname = Some("x".repeat(65))),
            refusal(|l| l.working_directory = Some("here".into())),
            refusal(|l| l.user_namespace = Some(mapping(1, 5))),
            refusal(|l| l.user_namespace = Some(mapping(0, 0))),
            refusal(|l| l.devices = vec![Device::host("/dev/null")]),
            refusal(|l| l.shm_size = Some(0)),
        ];
        assert_eq!(
            texts.map(|text| text.trim_start_matches("invalid container: ").to_owned()),
            [
                "its root is \"relative\", not an absolute path without `..`",
                "its root is \"/a/../b\", not an absolute path without `..`",
                "its root has 0 layers, not 1 to 200",
                "a host name of 65 bytes, not 1 to 64",
                "a path is \"here\", not an absolute path without `..`",
                "its user namespace has no root",
                "IdRange { inside: 0, outside: 100000, count: 0 } is no range of users: 1 to \
                 4294967295 of them",
                "devices, and no root of its own: it sees all of the host's",
                "its /dev/shm has no room",
            ]
        );
        Launch::default().check().unwrap();
    }

    fn directory(path: &str) -> Root {
        Root::Directory {
            path: path.into(),
            read_only: false,
        }
    }

    fn mapping(inside: u32, count: u32) -> UserNamespace {
        let range = IdRange {
            inside,
            outside: 100_000,
            count,
        };
        UserNamespace {
            uids: vec![range],
            gids: vec![range],
        }
    }

    #[test]
    fn secrets_do_not_come_out_of_a_log() {
        // CT-47
        let launch = Launch {
            mounts: vec![Mount::Secret(Secret {
                target: "/run/key".into(),
                bytes: b"hunter2".to_vec(),
                mode: 0o400,
                owner: (0, 0),
            })],
            ..Launch::default()
        };
        let text = format!("{launch:?}");
        assert!(
            !text.contains("104, 117") && !text.contains("hunter"),
            "{text}"
        );
        assert!(text.contains("/run/key"), "{text}");
    }
}

//! What is mounted in a container, and which devices it has.

use std::fmt;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::absolute;
use crate::error::{Error, Result};

/// Something mounted. Every target is a path as the container sees it; symbolic links in it, the
/// image's or another container's, are followed inside the container's root and never lead out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mount {
    /// A file or directory that exists elsewhere (CT-44, CT-45).
    Bind(Bind),
    /// A filesystem in memory.
    Tmpfs(Tmpfs),
    /// A file in memory that holds a secret (CT-47).
    Secret(Secret),
}

/// A file or directory of the host that appears in a container too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bind {
    /// What appears.
    pub source: Source,
    /// Where; made if it is missing in a root of its own.
    pub target: PathBuf,
    /// Whether it cannot be changed from inside.
    pub read_only: bool,
    /// Whether what is mounted below the source appears too.
    pub recursive: bool,
    /// Whether later mounts appear on the other side.
    pub propagation: Propagation,
    /// Whether set-user-id bits in it have no effect.
    pub no_suid: bool,
    /// Whether device nodes in it cannot be opened.
    pub no_devices: bool,
    /// Whether nothing in it can be executed.
    pub no_exec: bool,
    /// Whether its directory becomes the program's user's, as long as it is the agent's.
    pub is_given: bool,
}

impl Bind {
    /// Makes a writable, recursive bind whose devices and set-user-id bits have no effect.
    pub fn new(source: impl Into<PathBuf>, target: impl Into<PathBuf>) -> Self {
        Self {
            source: Source::Host(source.into()),
            target: target.into(),
            read_only: false,
            recursive: true,
            propagation: Propagation::Private,
            no_suid: true,
            no_devices: true,
            no_exec: false,
            is_given: false,
        }
    }
}

/// What a bind shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Source {
    /// A path of the host that only the host's owners can change: links in it are followed.
    Host(PathBuf),
    /// A path below a directory whose content is a task's, as a sandbox: no link in it leads out
    /// of that directory (CT-45).
    Below {
        /// The directory; links in its own path are followed.
        directory: PathBuf,
        /// Relative to it, without `..`.
        path: PathBuf,
        /// Whether a directory is made if there is nothing.
        create: bool,
    },
}

/// Whether mounts made later below a bind appear on the other side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Propagation {
    /// No.
    #[default]
    Private,
    /// The host's appear in the container.
    HostToContainer,
    /// And the container's on the host. The source must be on a shared mount.
    Bidirectional,
}

/// A filesystem in memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tmpfs {
    /// Where; made if it is missing in a root of its own.
    pub target: PathBuf,
    /// How many bytes it holds at the most; `None` is half of the machine's memory.
    pub size: Option<u64>,
    /// How many files and directories it holds at the most; `None` is what the kernel takes.
    pub inodes: Option<u64>,
    /// The mode of its top directory.
    pub mode: u32,
}

/// A secret as a file.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret {
    /// Where; made if it is missing in a root of its own.
    pub target: PathBuf,
    /// The secret.
    pub bytes: Vec<u8>,
    /// Its mode.
    pub mode: u32,
    /// Its user and group, as seen inside.
    pub owner: (u32, u32),
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret")
            .field("target", &self.target)
            .field("length", &self.bytes.len())
            .finish_non_exhaustive()
    }
}

/// A device node in a container's `/dev`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Where, below `/dev`.
    pub path: PathBuf,
    /// Which device.
    pub kind: DeviceKind,
    /// The mode of the node.
    pub mode: u32,
    /// Its user and group, as seen inside.
    pub owner: (u32, u32),
}

/// Which device a node is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeviceKind {
    /// That of a node of the host.
    Host(PathBuf),
    /// A character device of these numbers.
    Character(u32, u32),
    /// A block device of these numbers.
    Block(u32, u32),
}

impl Device {
    /// The same node as on the host, for everybody inside.
    pub fn host(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        Self {
            kind: DeviceKind::Host(path.clone()),
            path,
            mode: 0o666,
            owner: (0, 0),
        }
    }

    pub(super) fn check(&self) -> Result<()> {
        absolute("a device", &self.path)?;
        let below = self
            .path
            .strip_prefix("/dev")
            .unwrap_or_else(|_| Path::new(""));
        if below.as_os_str().is_empty() {
            return Err(Error::Invalid(format!(
                "a device at {:?}, not below /dev",
                self.path
            )));
        }
        match &self.kind {
            DeviceKind::Host(path) => absolute("a device", path),
            DeviceKind::Character(..) | DeviceKind::Block(..) => Ok(()),
        }
    }
}

impl Mount {
    /// Returns whether it is a directory that is made for the container.
    pub(crate) fn is_made_for_it(&self) -> bool {
        match self {
            Self::Bind(bind) => match bind.source {
                Source::Below { create, .. } => create || bind.is_given,
                Source::Host(_) => bind.is_given,
            },
            Self::Tmpfs(_) | Self::Secret(_) => false,
        }
    }

    /// Returns where it is.
    pub fn target(&self) -> &Path {
        match self {
            Self::Bind(bind) => &bind.target,
            Self::Tmpfs(tmpfs) => &tmpfs.target,
            Self::Secret(secret) => &secret.target,
        }
    }

    pub(super) fn check(&self) -> Result<()> {
        let target = self.target();
        absolute("a mount", target)?;
        if target.components().all(|part| part == Component::RootDir) {
            return Err(Error::Invalid("a mount on the root itself".to_owned()));
        }
        match self {
            Self::Bind(bind) => bind.source.check(),
            Self::Tmpfs(
                Tmpfs { size: Some(0), .. }
                | Tmpfs {
                    inodes: Some(0), ..
                },
            ) => Err(Error::Invalid(format!(
                "the filesystem in memory at {target:?} has no room"
            ))),
            Self::Tmpfs(_) | Self::Secret(_) => Ok(()),
        }
    }
}

impl Source {
    fn check(&self) -> Result<()> {
        match self {
            Self::Host(path) => absolute("the source of a mount", path),
            Self::Below {
                directory, path, ..
            } => {
                absolute("the directory of a source", directory)?;
                let is_plain = |part| matches!(part, Component::Normal(_));
                if path.components().all(is_plain) && path.components().next().is_some() {
                    return Ok(());
                }
                Err(Error::Invalid(format!(
                    "the source of a mount is {path:?} below {directory:?}, not a relative path \
                     without `..`"
                )))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_and_targets_are_checked() {
        // CT-44, CT-45
        let below = |path: &str| {
            let mut bind = Bind::new("/x", "/y");
            bind.source = Source::Below {
                directory: "/box".into(),
                path: path.into(),
                create: true,
            };
            Mount::Bind(bind)
        };
        for good in [Mount::Bind(Bind::new("/a", "/b")), below("a/b")] {
            good.check().unwrap();
        }
        let tmpfs = |target: &str, size, inodes| {
            let target = target.into();
            let mode = 0o755;
            Mount::Tmpfs(Tmpfs {
                target,
                size,
                inodes,
                mode,
            })
        };
        let bad = [
            Mount::Bind(Bind::new("a", "/b")),
            Mount::Bind(Bind::new("/a", "b")),
            Mount::Bind(Bind::new("/a", "/b/../../c")),
            Mount::Bind(Bind::new("/a", "/")),
            below(""),
            below("/etc"),
            below("../other"),
            tmpfs("/t", Some(0), None),
            tmpfs("/t", None, Some(0)),
            tmpfs("/t\0", None, None),
        ];
        for bad in bad {
            assert!(bad.check().is_err(), "{bad:?}");
        }
        for path in ["/dev", "/etc/x", "/dev/../etc/x", "null"] {
            assert!(Device::host(path).check().is_err(), "{path}");
        }
        Device::host("/dev/net/tun").check().unwrap();
    }
}

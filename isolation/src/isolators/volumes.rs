//! What containers see beside their root and their sandbox (CT-44, CT-45, CT-47).
//!
//! Deliberately not here: volumes that are images (`images`), where persistent volumes are
//! (`persistent`), and how anything is mounted.

use std::fs::{self, Permissions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use tepui_core::protocol::container_info::{Access, Propagation as Asked, Volume, VolumeSource};

use super::persistent::{self, Persistent};
use crate::isolator::{Isolator, Outcome, Subject};
use crate::launch::{Bind, Launch, Mount, Propagation, Secret, Source, Tmpfs};
use crate::place::{Inside, Kind};
use crate::users;

/// MiB in bytes.
const MIB: u64 = 1024 * 1024;
/// The mode of a directory in memory: everybody's, as that of `/tmp`.
const SHARED: u32 = 0o1777;
/// The mode of a directory of a group: without the bit by which nobody writes to others' files.
const COMMON_DIRECTORY: u32 = 0o777;
/// The mode of a secret that its user alone reads, and of one that all of a container read.
const PRIVATE: u32 = 0o400;
const COMMON: u32 = 0o444;

/// Mounts volumes.
#[derive(Debug, Default)]
pub struct Volumes {
    host: Vec<PathBuf>,
    persistent: Option<Persistent>,
}

impl Volumes {
    /// Mounts paths of the machine only if they are one of these or below it.
    pub fn new(host: Vec<PathBuf>) -> Self {
        let persistent = None;
        Self { host, persistent }
    }

    /// Mounts persistent volumes too; without it containers with such are refused.
    pub fn keeping(self, persistent: Persistent) -> Self {
        let persistent = Some(persistent);
        Self { persistent, ..self }
    }

    fn mount(
        &self,
        subject: &Subject<'_>,
        launch: &Launch,
        volume: &Volume,
    ) -> Outcome<Option<Mount>> {
        let target = target(subject, launch, &volume.path)?;
        check_access(volume)?;
        let bind = |source, propagation| {
            Mount::Bind(Bind {
                source,
                read_only: volume.access == Access::Read,
                propagation,
                ..Bind::new("/", target.clone())
            })
        };
        Ok(Some(match &volume.source {
            VolumeSource::Host { path, propagation } => {
                let source = self.allowed(Path::new(path))?;
                bind(source, self::propagation(*propagation))
            }
            VolumeSource::Sandbox { path } => {
                let source = Source::Below {
                    directory: subject.sandbox.to_owned(),
                    path: path.into(),
                    create: true,
                };
                bind(source, Propagation::Private)
            }
            VolumeSource::Parent { path } => {
                let group = subject.group;
                let group = group.ok_or("it asks for a directory of its group, and is in none")?;
                make_for_all(group, Path::new(path))?;
                let source = Source::Below {
                    directory: group.to_owned(),
                    path: path.into(),
                    create: false,
                };
                bind(source, Propagation::Private)
            }
            VolumeSource::Secret(secret) => {
                let (mode, owner) = reader(subject, launch)?;
                let bytes = secret.0.clone();
                Mount::Secret(Secret {
                    target,
                    bytes,
                    mode,
                    owner,
                })
            }
            VolumeSource::Tmpfs { size } => Mount::Tmpfs(Tmpfs {
                target,
                size: Some(size.saturating_mul(MIB)),
                inodes: None,
                mode: SHARED,
            }),
            VolumeSource::Image(_) => return Ok(None),
        }))
    }

    /// Finds a path of the machine, if it may be seen. Below what may be, no link leads out: others
    /// may write there.
    fn allowed(&self, path: &Path) -> Outcome<Source> {
        let mut found = self.host.iter().filter_map(|allowed| {
            let rest = path.strip_prefix(allowed).ok()?;
            Some((allowed.clone(), rest.to_owned()))
        });
        match found.next() {
            Some((allowed, rest)) if rest.as_os_str().is_empty() => Ok(Source::Host(allowed)),
            Some((directory, path)) => Ok(Source::Below {
                directory,
                path,
                create: false,
            }),
            None => Err(format!(
                "it asks for {} of the machine, which this agent does not give to containers",
                path.display()
            )
            .into()),
        }
    }
}

impl Isolator for Volumes {
    fn name(&self) -> &str {
        "volumes"
    }

    fn prepare(&self, subject: &Subject<'_>, launch: &mut Launch) -> Outcome<()> {
        match &self.persistent {
            Some(persistent) => persistent.mount(subject, launch)?,
            None => persistent::refuse(subject)?,
        }
        let Some(asked) = &subject.spec.container else {
            return Ok(());
        };
        for (n, volume) in asked.volumes.iter().enumerate() {
            if let Some(mount) = self.mount(subject, launch, volume)? {
                launch.volumes.insert(n, mount);
            }
        }
        Ok(())
    }
}

/// Sees to it that a group has a directory, which is everybody's: its tasks may run as different
/// users. No link that one of them has made leads out.
fn make_for_all(group: &Path, path: &Path) -> Outcome<()> {
    let inside = Inside::open(group, true)?;
    if inside.find(path)?.is_none() {
        let made = inside.target(path, Kind::Directory)?;
        let itself = format!("/proc/self/fd/{}", made.as_raw_fd());
        let everybodys = fs::set_permissions(itself, Permissions::from_mode(COMMON_DIRECTORY));
        everybodys.map_err(|error| format!("{}: {error}", group.join(path).display()))?;
    }
    Ok(())
}

/// Says who reads a secret: the task's user, or everybody in the container if that is looked up in
/// its own root.
fn reader(subject: &Subject<'_>, launch: &Launch) -> Outcome<(u32, (u32, u32))> {
    let root = (0, 0);
    Ok(match (&subject.spec.command.user, &launch.root) {
        (None, None) => (PRIVATE, root),
        (Some(user), None) => {
            let user = users::on_host(user)?;
            (PRIVATE, (user.uid, user.gid))
        }
        (_, Some(_)) => (COMMON, root),
    })
}

/// Says where a volume is, as its container sees it: a relative path begins at the sandbox. On the
/// machine's root there are volumes in the sandbox only: over the machine's own files they would
/// be what its programs trust.
pub(super) fn target(subject: &Subject<'_>, launch: &Launch, path: &str) -> Outcome<PathBuf> {
    let sandbox = launch.sandbox_inside(subject.sandbox);
    // Written in many ways, it is one path.
    let inside = sandbox.join(path);
    let inside: PathBuf = inside
        .components()
        .filter(|part| *part != Component::CurDir)
        .collect();
    let is_below = inside.starts_with(sandbox) && inside != sandbox;
    match launch.root.is_some() || is_below {
        true => Ok(inside),
        false => Err(format!(
            "it asks for a volume at {path}; without an image volumes are in the sandbox"
        )
        .into()),
    }
}

/// Refuses what is asked for and cannot be so.
fn check_access(volume: &Volume) -> Outcome<()> {
    let (is_fixed, what) = match &volume.source {
        VolumeSource::Tmpfs { .. } => (volume.access == Access::Read, "memory that is read only"),
        VolumeSource::Secret(_) => (volume.access == Access::Write, "a secret to write"),
        VolumeSource::Host { .. }
        | VolumeSource::Sandbox { .. }
        | VolumeSource::Parent { .. }
        | VolumeSource::Image(_) => (false, ""),
    };
    match is_fixed {
        true => Err(format!("it asks for {what}, which this agent does not give").into()),
        false => Ok(()),
    }
}

fn propagation(asked: Asked) -> Propagation {
    match asked {
        Asked::Private => Propagation::Private,
        Asked::HostToContainer => Propagation::HostToContainer,
        Asked::Bidirectional => Propagation::Bidirectional,
    }
}

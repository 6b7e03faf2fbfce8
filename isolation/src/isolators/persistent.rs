//! Where persistent volumes are on the machine, for those that show them to containers and those
//! that delete them (RM-40, RM-43).
//!
//! Each disk has a directory with all its volumes, to which only the agent writes; a task writes
//! below the directory of its own volume, and on the way to that there is nothing of a task's.
//! Every step is taken relative to a directory that is held and follows no link, but for the way to
//! the disk, which is its operator's.
//!
//! Deliberately not here: which volumes there are (the agent's machine), and deleting.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, openat};
use nix::sys::stat::{Mode, fchmod, fstat, mkdirat};
use nix::unistd::{Gid, Uid, fchownat, geteuid};
use tepui_core::protocol::container::{VolumePlace, VolumeSpec};
use tepui_core::resources::Access;

use super::volumes::target;
use crate::error::{Error, Result};
use crate::fetch::{Owner, Sandbox};
use crate::isolator::{Outcome, Subject};
use crate::launch::{Bind, Launch, Mount, Source};
use crate::process::{NAME_BYTES, shown};
use crate::users;

/// The directory of all volumes, below the root of a disk.
const VOLUMES: [&str; 2] = ["volumes", "roles"];
/// The most directories below it.
const MAX_DEPTH: usize = 8;
/// Who passes does not see what is beside his way.
const PASSABLE: u32 = 0o711;
/// A volume is its user's, as a sandbox is.
const PRIVATE: u32 = 0o750;
/// How often a directory is made again that was removed meanwhile, since it was empty.
const TRIES: usize = 64;

/// The persistent volumes of an agent.
#[derive(Clone, Debug)]
pub struct Persistent {
    work_dir: PathBuf,
}

impl Persistent {
    /// Those of the agent with this directory, which roots of disks may be relative to.
    pub fn new(work_dir: &Path) -> Self {
        let work_dir = work_dir.to_owned();
        Self { work_dir }
    }

    /// Opens the directory of all volumes of the disk that a volume is on; `None` if it has none.
    pub fn open(&self, place: &VolumePlace) -> Result<Option<OwnedFd>> {
        check(place)?;
        let (mut directory, mut path) = self.root(place)?;
        for name in VOLUMES {
            path.push(name);
            directory = match openat(&directory, name, FLAGS, Mode::empty()) {
                Ok(found) => found,
                Err(Errno::ENOENT) => return Ok(None),
                Err(errno) => return Err(Error::file("open", &path, errno)),
            };
        }
        Ok(Some(directory))
    }

    /// Opens the root of the disk that a volume is on.
    fn root(&self, place: &VolumePlace) -> Result<(OwnedFd, PathBuf)> {
        let path = match &place.disk {
            None => self.work_dir.clone(),
            Some(disk) => self.work_dir.join(&disk.root),
        };
        let flags = FLAGS.difference(OFlag::O_NOFOLLOW);
        let root = open(&path, flags, Mode::empty());
        let root = root.map_err(|errno| Error::file("open", &path, errno))?;
        let has_to_be_mounted = place.disk.as_ref().is_some_and(|disk| disk.is_mount);
        if has_to_be_mounted && !is_mount(&root, &path)? {
            let path = path.display();
            return Err(Error::Invalid(format!("{path}: no disk is mounted there")));
        }
        Ok((root, path))
    }

    /// Opens the directory of a volume, and makes it if it is not there.
    fn make(&self, place: &VolumePlace) -> Result<Made> {
        check(place)?;
        let (root, path) = self.root(place)?;
        let mut tries = 1;
        loop {
            let made = make_below(&root, &path, place);
            // It was removed meanwhile, for another volume that was the last one in it.
            let is_missed = made.as_ref().is_err_and(is_not_found);
            if !is_missed || tries == TRIES {
                return made;
            }
            tries += 1;
        }
    }

    /// Has a container see its volumes where it asks for them, as mounts of its own.
    pub(super) fn mount(&self, subject: &Subject<'_>, launch: &mut Launch) -> Outcome<()> {
        let mut targets = BTreeSet::new();
        for volume in &subject.spec.volumes {
            let target = target(subject, launch, &volume.path)?;
            if !targets.insert(target.clone()) {
                let path = &volume.path;
                return Err(format!("it asks for two volumes at {path}, and would see one").into());
            }
            let Made { top, below, .. } = self.make(&volume.place)?;
            let read_only = volume.access == Access::ReadOnly;
            launch.mounts.push(Mount::Bind(Bind {
                source: Source::Below {
                    directory: top,
                    path: below,
                    create: false,
                },
                read_only,
                recursive: false,
                is_given: !read_only,
                ..Bind::new("/", target)
            }));
        }
        Ok(())
    }

    /// Has a plain process find its volumes in its sandbox, by links (CT-40).
    pub(super) fn link(&self, subject: &Subject<'_>) -> Outcome<()> {
        let user = subject.spec.command.user.as_deref();
        let user = user.map(users::on_host).transpose()?;
        let owner = user.map(|user| Owner {
            uid: user.uid,
            gid: user.gid,
        });
        for volume in &subject.spec.volumes {
            let parts = inside_sandbox(volume)?;
            let made = self.make(&volume.place)?;
            if let Some(Owner { uid, gid }) = owner {
                give(&made.directory, Uid::from_raw(uid), Gid::from_raw(gid))?;
            }
            let sandbox = Sandbox::open(subject.sandbox, owner)?;
            let linked = sandbox.link_anew(&parts, made.top.join(made.below).as_os_str());
            linked.map_err(|error| format!("its volume at {}: {error}", volume.path))?;
        }
        Ok(())
    }
}

/// Returns where a volume is, for those that only look at it.
pub(super) fn path(work_dir: &Path, place: &VolumePlace) -> Result<PathBuf> {
    check(place)?;
    let root = place.disk.as_ref().map_or("", |disk| &disk.root);
    let names = place.directory.iter().map(String::as_str);
    let below: PathBuf = VOLUMES.into_iter().chain(names).collect();
    Ok(work_dir.join(root).join(below))
}

/// Refuses containers with persistent volumes, where nobody shows these.
pub(super) fn refuse(subject: &Subject<'_>) -> Outcome<()> {
    match subject.spec.volumes.first() {
        Some(volume) => {
            let path = &volume.path;
            Err(format!("it has a volume at {path}, and this agent keeps no volumes").into())
        }
        None => Ok(()),
    }
}

const FLAGS: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC);

/// The directory of a volume.
struct Made {
    /// That of all volumes of its disk.
    top: PathBuf,
    /// Where it is below that.
    below: PathBuf,
    directory: OwnedFd,
}

fn is_not_found(error: &Error) -> bool {
    if let Error::File { source, .. } = error {
        return source.kind() == io::ErrorKind::NotFound;
    }
    false
}

fn make_below(root: &OwnedFd, path: &Path, place: &VolumePlace) -> Result<Made> {
    let (mut path, mut directory) = (path.to_owned(), None);
    let names = VOLUMES.into_iter();
    let names = names.chain(place.directory.iter().map(String::as_str));
    let last = VOLUMES.len() + place.directory.len();
    for (depth, name) in (1..).zip(names) {
        path.push(name);
        let above = directory.as_ref().unwrap_or(root);
        let mode = if depth == last { PRIVATE } else { PASSABLE };
        let mode = Mode::from_bits_truncate(mode);
        let is_new = match mkdirat(above, name, mode) {
            Ok(()) => true,
            Err(Errno::EEXIST) => false,
            Err(errno) => return Err(Error::file("create", &path, errno)),
        };
        let opened = openat(above, name, FLAGS, Mode::empty());
        let opened = opened.map_err(|errno| Error::file("open", &path, errno))?;
        if is_new {
            // Whatever the agent keeps from others elsewhere.
            fchmod(&opened, mode)
                .map_err(|errno| Error::file("change the mode of", &path, errno))?;
        }
        directory = Some(opened);
    }
    let below: PathBuf = place.directory.iter().collect();
    let top = path.ancestors().nth(place.directory.len());
    let top = top.unwrap_or(&path).to_owned();
    let directory = directory.expect("every volume has a directory");
    Ok(Made {
        top,
        below,
        directory,
    })
}

/// Makes a directory a user's, as long as it is nobody's but the agent's (RM-49): who comes after
/// him with another user finds it as he left it.
pub(crate) fn give(directory: impl AsFd, uid: Uid, gid: Gid) -> Result<()> {
    let failed = |errno| Error::system("change the owner of a volume", errno);
    let stat = fstat(&directory).map_err(failed)?;
    if Uid::from_raw(stat.st_uid) != geteuid() || uid == geteuid() {
        return Ok(());
    }
    let flags = AtFlags::AT_EMPTY_PATH;
    fchownat(&directory, "", Some(uid), Some(gid), flags).map_err(failed)
}

/// Refuses what is no place of a volume: nothing that others chose leads out of the directory of
/// all volumes, or to that itself.
fn check(place: &VolumePlace) -> Result<()> {
    let depth = place.directory.len();
    if depth == 0 || depth > MAX_DEPTH {
        return Err(Error::Invalid(format!(
            "its volume is {depth} directories deep, not 1 to {MAX_DEPTH}"
        )));
    }
    for name in &place.directory {
        let is_name = !matches!(name.as_str(), "" | "." | "..") && !name.contains(['/', '\0']);
        if !is_name || name.len() > NAME_BYTES {
            let name = shown(name);
            return Err(Error::Invalid(format!(
                "{name:?} cannot be the directory of a volume"
            )));
        }
    }
    Ok(())
}

/// Returns where in its sandbox a plain process finds a volume.
fn inside_sandbox(volume: &VolumeSpec) -> Outcome<Vec<OsString>> {
    let path = &volume.path;
    if volume.access == Access::ReadOnly {
        return Err(format!(
            "its volume at {path} is for reading, and nothing keeps plain processes from writing"
        )
        .into());
    }
    let parts = Path::new(path).components();
    let parts = parts.filter(|part| *part != Component::CurDir);
    let parts: Option<Vec<OsString>> = parts
        .map(|part| match part {
            Component::Normal(name) => Some(name.to_owned()),
            Component::Prefix(_)
            | Component::RootDir
            | Component::CurDir
            | Component::ParentDir => None,
        })
        .collect();
    match parts {
        Some(parts) if !parts.is_empty() => Ok(parts),
        Some(_) | None => Err(format!(
            "it asks for a volume at {path}; plain processes have volumes in the sandbox"
        )
        .into()),
    }
}

/// Returns whether something is mounted just here.
fn is_mount(directory: &OwnedFd, path: &Path) -> Result<bool> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let above = openat(directory, "..", flags, Mode::empty());
    let above = above.map_err(|errno| Error::file("open what is above", path, errno))?;
    Ok(mount_of(directory, path)? != mount_of(&above, path)?)
}

/// Returns the kernel's number of the mount that a file is on.
fn mount_of(file: &OwnedFd, path: &Path) -> Result<String> {
    let info = format!("/proc/self/fdinfo/{}", file.as_raw_fd());
    let info = fs::read_to_string(&info);
    let info = info.map_err(|error| Error::file("look for the mount of", path, error))?;
    let number = info.lines().find_map(|line| line.strip_prefix("mnt_id:"));
    match number {
        Some(number) => Ok(number.trim().to_owned()),
        None => Err(Error::file("look for the mount of", path, Errno::ENODATA)),
    }
}

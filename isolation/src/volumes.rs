//! Puts what a launch mounts where the container sees it.
//!
//! Sources are opened first, on the host's mounts as they are shared with it; targets are looked
//! up inside the container's root. Used by a container's init.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::mount::{MntFlags, MsFlags, umount2};
use nix::sys::stat::{Mode, SFlag, fchmod, fstat};
use nix::unistd::{Gid, Uid, fchown};

use crate::error::{Error, Result};
use crate::launch::{Bind, Launch, Mount, Propagation, Secret, Source, Tmpfs, UserNamespace};
use crate::mountapi::{self, Filesystem, NO_DEVICES, NO_EXEC, NO_SUID, READ_ONLY, Reach};
use crate::place::{Inside, Kind, kind_of};

/// Returns which user and group of the host those inside are.
pub(crate) fn outside(
    namespace: Option<&UserNamespace>,
    (uid, gid): (u32, u32),
) -> Result<(Uid, Gid)> {
    let Some(namespace) = namespace else {
        return Ok((Uid::from_raw(uid), Gid::from_raw(gid)));
    };
    let of = |ranges: &[crate::launch::IdRange], id: u32| {
        let mut found = ranges.iter().filter_map(|range| {
            let offset = id
                .checked_sub(range.inside)
                .filter(|&at| at < range.count)?;
            Some(range.outside + offset)
        });
        found.next()
    };
    match (of(&namespace.uids, uid), of(&namespace.gids, gid)) {
        (Some(uid), Some(gid)) => Ok((Uid::from_raw(uid), Gid::from_raw(gid))),
        (None, _) | (_, None) => Err(Error::Invalid(format!(
            "user {uid} of group {gid} does not exist in its user namespace"
        ))),
    }
}

/// The mounts of a launch with their sources open.
pub(crate) struct Volumes<'a> {
    launch: &'a Launch,
    /// A tree for each bind, in order.
    trees: Vec<OwnedFd>,
    /// One for each secret, in order, once they are made.
    secrets: Option<Vec<OwnedFd>>,
    /// An empty directory of the host, on which mounts may stand for a moment.
    shelf: &'a Path,
}

impl<'a> Volumes<'a> {
    /// Opens all sources. Called before the mounts of the process are cut off from the host's.
    pub(crate) fn open(launch: &'a Launch, shelf: &'a Path) -> Result<Self> {
        let binds = launch.mounts.iter().filter_map(|mount| match mount {
            Mount::Bind(bind) => Some(bind),
            Mount::Tmpfs(_) | Mount::Secret(_) => None,
        });
        let trees = binds.map(open_source).collect::<Result<_>>()?;
        Ok(Self {
            launch,
            trees,
            secrets: None,
            shelf,
        })
    }

    /// Returns the directories that are the user's from now on.
    pub(crate) fn given(&self) -> Result<Vec<OwnedFd>> {
        let binds = self.launch.mounts.iter().filter_map(|mount| match mount {
            Mount::Bind(bind) => Some(bind),
            Mount::Tmpfs(_) | Mount::Secret(_) => None,
        });
        let given = binds.zip(&self.trees).filter(|(bind, _)| bind.is_given);
        let given = given.map(|(bind, tree)| {
            let copied = tree.try_clone();
            copied.map_err(|error| Error::file("hold", &bind.target, error))
        });
        given.collect()
    }

    /// Makes all secrets: before anything can cover the shelf.
    pub(crate) fn make_secrets(&mut self) -> Result<()> {
        let secrets = self.launch.mounts.iter().filter_map(|mount| match mount {
            Mount::Secret(secret) => Some(self.secret(secret)),
            Mount::Bind(_) | Mount::Tmpfs(_) => None,
        });
        self.secrets = Some(secrets.collect::<Result<_>>()?);
        Ok(())
    }

    /// Mounts everything, in the order of the launch.
    pub(crate) fn mount(mut self, inside: &Inside) -> Result<()> {
        if self.secrets.is_none() {
            self.make_secrets()?;
        }
        let mut secrets = self.secrets.iter().flatten();
        // On the host's root it is there already.
        if self.launch.private_tmp && self.launch.root.is_some() {
            let tmp = Tmpfs {
                target: "/tmp".into(),
                size: None,
                inodes: None,
                mode: 0o1777,
            };
            self.mount_tmpfs(inside, &tmp)?;
        }
        let mut trees = self.trees.iter();
        for mount in &self.launch.mounts {
            match mount {
                Mount::Bind(bind) => {
                    let tree = trees.next().expect("there is one for each bind");
                    mount_bind(inside, bind, tree)?;
                }
                Mount::Tmpfs(tmpfs) => self.mount_tmpfs(inside, tmpfs)?,
                Mount::Secret(secret) => {
                    let tree = secrets.next().expect("there is one for each secret");
                    let target = inside.target(&secret.target, Kind::File)?;
                    mountapi::attach(tree, target)
                        .map_err(|errno| Error::file("mount on", &secret.target, errno))?;
                }
            }
        }
        Ok(())
    }

    fn mount_tmpfs(&self, inside: &Inside, tmpfs: &Tmpfs) -> Result<()> {
        let failed = |errno| Error::file("mount a tmpfs on", &tmpfs.target, errno);
        let target = inside.target(&tmpfs.target, Kind::Directory)?;
        let filesystem = memory(self.launch.user_namespace.as_ref(), tmpfs).map_err(failed)?;
        let mount = filesystem.mount(NO_SUID | NO_DEVICES).map_err(failed)?;
        mountapi::attach(mount, target).map_err(failed)
    }

    /// Makes a file in memory with a secret.
    fn secret(&self, secret: &Secret) -> Result<OwnedFd> {
        let failed = |errno| Error::file("make a secret for", &secret.target, errno);
        // A page for the file's own, and one for the directory.
        let size = u64::try_from(secret.bytes.len()).unwrap_or(u64::MAX);
        let tmpfs = Tmpfs {
            target: secret.target.clone(),
            size: Some(size.saturating_add(2 * 4096)),
            inodes: Some(4),
            mode: 0o700,
        };
        let mount = memory(None, &tmpfs)
            .and_then(|filesystem| filesystem.mount(NO_SUID | NO_DEVICES | NO_EXEC))
            .map_err(failed)?;
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
        let file = openat(&mount, "secret", flags, Mode::empty()).map_err(failed)?;
        let mut file = File::from(file);
        let written = file.write_all(&secret.bytes);
        written.map_err(|error| Error::file("write a secret for", &secret.target, error))?;
        let (uid, gid) = outside(self.launch.user_namespace.as_ref(), secret.owner)?;
        fchown(&file, Some(uid), Some(gid)).map_err(failed)?;
        fchmod(&file, Mode::from_bits_truncate(secret.mode & 0o777)).map_err(failed)?;
        self.shelved(&mount, |shelved| {
            let tree = mountapi::copy_tree(shelved, c"secret", Reach::One).map_err(failed)?;
            mountapi::restrict(&tree, Reach::One, READ_ONLY).map_err(failed)?;
            Ok(tree)
        })
    }

    /// Attaches a mount to the shelf while `work` is done: only what is in the tree of mounts can
    /// be copied in parts.
    fn shelved<T>(&self, mount: &OwnedFd, work: impl FnOnce(&OwnedFd) -> Result<T>) -> Result<T> {
        let failed = |errno| Error::file("mount on", self.shelf, errno);
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let shelf = open(self.shelf, flags, Mode::empty()).map_err(failed)?;
        mountapi::attach(mount, shelf).map_err(failed)?;
        let done = work(mount);
        umount2(self.shelf, MntFlags::MNT_DETACH)
            .map_err(|errno| Error::file("unmount", self.shelf, errno))?;
        done
    }
}

/// Describes a filesystem in memory whose top belongs to the root inside.
pub(crate) fn memory(
    namespace: Option<&UserNamespace>,
    tmpfs: &Tmpfs,
) -> std::result::Result<Filesystem, Errno> {
    let mode = format!("{:o}", tmpfs.mode & 0o7777);
    let mut filesystem = Filesystem::new(c"tmpfs")?.with(c"mode", &mode)?;
    if let Some(size) = tmpfs.size {
        filesystem = filesystem.with(c"size", &size.to_string())?;
    }
    if let Some(inodes) = tmpfs.inodes {
        filesystem = filesystem.with(c"nr_inodes", &inodes.to_string())?;
    }
    if let Some((uid, gid)) = namespace.and_then(UserNamespace::root) {
        filesystem = filesystem.with(c"uid", &uid.to_string())?;
        filesystem = filesystem.with(c"gid", &gid.to_string())?;
    }
    Ok(filesystem)
}

fn open_source(bind: &Bind) -> Result<OwnedFd> {
    let reach = match bind.recursive {
        true => Reach::All,
        false => Reach::One,
    };
    let (name, tree) = match &bind.source {
        Source::Host(path) => {
            let text = c_string(path)?;
            let tree = mountapi::copy_tree(mountapi::here(), &text, reach);
            (path.clone(), tree)
        }
        Source::Below {
            directory,
            path,
            create,
        } => {
            let name = directory.join(path);
            let inside = Inside::open(directory, *create)?;
            let found = match inside.find(path)? {
                Some(found) => found,
                None if *create => inside.target(path, Kind::Directory)?,
                None => return Err(Error::file("find", &name, Errno::ENOENT)),
            };
            (name, mountapi::copy_tree(found, c"", reach))
        }
    };
    let tree = tree.map_err(|errno| Error::file("bind", &name, errno))?;
    if bind.propagation == Propagation::Bidirectional && !is_shared(&name)? {
        return Err(Error::Invalid(format!(
            "{}: mounts cannot propagate to the host, because it is not on a shared mount",
            name.display()
        )));
    }
    Ok(tree)
}

/// Returns whether the mount that a path is on shares its mounts with others.
fn is_shared(path: &Path) -> Result<bool> {
    let failed = |errno| Error::file("open", path, errno);
    let file = open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).map_err(failed)?;
    let read = |path: String| {
        fs::read_to_string(&path).map_err(|error| Error::file("read", path.as_ref(), error))
    };
    let of_file = read(format!("/proc/self/fdinfo/{}", file.as_raw_fd()))?;
    let mut lines = of_file.lines();
    let number = lines.find_map(|line| line.strip_prefix("mnt_id:"));
    let number = number.unwrap_or_default().trim();
    let mounts = read("/proc/self/mountinfo".to_owned())?;
    let mut lines = mounts.lines();
    let line = lines.find(|line| line.split(' ').next() == Some(number));
    let fields = line.unwrap_or_default().split(' ').skip(6);
    let mut optional = fields.take_while(|&field| field != "-");
    Ok(optional.any(|field| field.starts_with("shared:")))
}

fn mount_bind(inside: &Inside, bind: &Bind, tree: &OwnedFd) -> Result<()> {
    let failed = |errno| Error::file("bind on", &bind.target, errno);
    let reach = match bind.recursive {
        true => Reach::All,
        false => Reach::One,
    };
    let attributes = [
        (bind.read_only, READ_ONLY),
        (bind.no_suid, NO_SUID),
        (bind.no_devices, NO_DEVICES),
        (bind.no_exec, NO_EXEC),
    ];
    let attributes = attributes.iter().filter(|(wanted, _)| *wanted);
    let attributes = attributes.fold(0, |all, (_, attribute)| all | attribute);
    mountapi::restrict(tree, reach, attributes).map_err(failed)?;
    let propagation = match bind.propagation {
        Propagation::Private => Some(MsFlags::MS_PRIVATE),
        Propagation::HostToContainer => Some(MsFlags::MS_SLAVE),
        Propagation::Bidirectional => None,
    };
    if let Some(propagation) = propagation {
        mountapi::propagate(tree, reach, propagation.bits()).map_err(failed)?;
    }
    let stat = fstat(tree.as_fd()).map_err(failed)?;
    let kind = match kind_of(&stat) == SFlag::S_IFDIR {
        true => Kind::Directory,
        false => Kind::File,
    };
    let target = inside.target(&bind.target, kind)?;
    mountapi::attach(tree, target).map_err(failed)
}

/// Turns a path into what the kernel takes.
pub(crate) fn c_string(path: &Path) -> Result<CString> {
    let text = CString::new(path.as_os_str().as_bytes());
    text.map_err(|_| Error::Invalid(format!("{path:?} contains a NUL")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::launch::IdRange;

    #[test]
    fn users_inside_are_found_outside_or_refused() {
        let range = |inside, outside, count| IdRange {
            inside,
            outside,
            count,
        };
        let namespace = UserNamespace {
            uids: vec![range(0, 100_000, 10), range(1000, 7, 1)],
            gids: vec![range(0, 200_000, 2000)],
        };
        let of = |ids| outside(Some(&namespace), ids).map(|(u, g)| (u.as_raw(), g.as_raw()));
        assert_eq!(of((9, 9)).unwrap(), (100_009, 200_009));
        assert_eq!(of((1000, 0)).unwrap(), (7, 200_000));
        assert!(of((10, 0)).is_err());
        assert!(of((0, 2000)).is_err());
        let (uid, _) = outside(None, (5, 6)).unwrap();
        assert_eq!(uid.as_raw(), 5);
    }
}

//! The private `/dev` of a container with a root of its own (CT-41, CT-61).
//!
//! Its nodes are made in a filesystem in memory, which is quicker than binding those of the host;
//! an agent without privileges must bind them.

use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, SFlag, fstatat, makedev, mkdirat, mknodat, stat, umask};
use nix::unistd::{Gid, Uid, fchownat, symlinkat};

use crate::error::{Error, Result};
use crate::launch::{Device, DeviceKind, Launch, Tmpfs};
use crate::mountapi::{self, Filesystem, NO_DEVICES, NO_EXEC, NO_SUID, Reach};
use crate::place::{Inside, Kind, kind_of};
use crate::volumes::{memory, outside};

/// What every container has: name, major and minor number.
const NODES: [(&str, u64, u64); 6] = [
    ("full", 1, 7),
    ("null", 1, 3),
    ("random", 1, 8),
    ("tty", 5, 0),
    ("urandom", 1, 9),
    ("zero", 1, 5),
];
const LINKS: [(&str, &str); 5] = [
    ("ptmx", "pts/ptmx"),
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
];
/// How much `/dev` itself holds, in bytes.
const DEV_BYTES: u64 = 64 * 1024;
/// The group of terminals, by custom.
const TTY_GROUP: u32 = 5;

/// What `/dev` is made of.
pub(crate) struct Dev<'a> {
    pub(crate) launch: &'a Launch,
    /// `/dev/shm` of another container, if it is shared.
    pub(crate) shm: Option<OwnedFd>,
    /// Whether we may make nodes.
    pub(crate) privileged: bool,
}

impl Dev<'_> {
    /// Mounts `/dev` and what belongs below it.
    pub(crate) fn mount(&self, inside: &Inside) -> Result<()> {
        let failed = |errno| Error::file("mount", Path::new("/dev"), errno);
        let namespace = self.launch.user_namespace.as_ref();
        let tmpfs = Tmpfs {
            target: "/dev".into(),
            size: Some(DEV_BYTES),
            inodes: None,
            mode: 0o755,
        };
        let target = inside.target(Path::new("/dev"), Kind::Directory)?;
        let dev = memory(namespace, &tmpfs)
            .and_then(|filesystem| filesystem.mount(NO_SUID | NO_EXEC))
            .map_err(failed)?;
        // Attached first: what is bound below it must find it in the tree.
        mountapi::attach(&dev, target).map_err(failed)?;
        let before = umask(Mode::empty());
        let made = self.fill(inside, &dev);
        umask(before);
        made
    }

    fn fill(&self, inside: &Inside, dev: &OwnedFd) -> Result<()> {
        for (name, major, minor) in NODES {
            if self.privileged {
                let mode = Mode::from_bits_truncate(0o666);
                let made = mknodat(dev, name, SFlag::S_IFCHR, mode, makedev(major, minor));
                made.map_err(|errno| Error::file("make", &Path::new("/dev").join(name), errno))?;
            } else {
                let path = Path::new("/dev").join(name);
                bind(inside, &path, &path)?;
            }
        }
        for (name, to) in LINKS {
            let made = symlinkat(to, dev, name);
            made.map_err(|errno| Error::file("link", &Path::new("/dev").join(name), errno))?;
        }
        let directory = Mode::from_bits_truncate(0o755);
        for name in ["pts", "shm"] {
            let made = mkdirat(dev, name, directory);
            made.map_err(|errno| Error::file("create", &Path::new("/dev").join(name), errno))?;
        }
        self.terminals(dev)?;
        self.shared_memory(dev)?;
        self.launch
            .devices
            .iter()
            .try_for_each(|device| self.device(inside, dev, device))
    }

    fn terminals(&self, dev: &OwnedFd) -> Result<()> {
        let failed = |errno| Error::file("mount", Path::new("/dev/pts"), errno);
        let mut pts = Filesystem::new(c"devpts")
            .and_then(|pts| pts.with(c"ptmxmode", "0666"))
            .and_then(|pts| pts.with(c"mode", "0620"))
            .map_err(failed)?;
        let namespace = self.launch.user_namespace.as_ref();
        // An agent without privileges has no such group, and not every mapping does.
        if let Ok((_, group)) = outside(namespace, (0, TTY_GROUP))
            && self.privileged
        {
            pts = pts.with(c"gid", &group.to_string()).map_err(failed)?;
        }
        let mount = pts.mount(NO_SUID | NO_EXEC).map_err(failed)?;
        let target = open(dev, "pts")?;
        mountapi::attach(mount, target).map_err(failed)
    }

    fn shared_memory(&self, dev: &OwnedFd) -> Result<()> {
        let failed = |errno| Error::file("mount", Path::new("/dev/shm"), errno);
        let target = open(dev, "shm")?;
        if let Some(shared) = &self.shm {
            return mountapi::attach(shared, target).map_err(failed);
        }
        let mount = private_memory(self.launch).map_err(failed)?;
        mountapi::attach(mount, target).map_err(failed)
    }

    fn device(&self, inside: &Inside, dev: &OwnedFd, device: &Device) -> Result<()> {
        let failed = |errno| Error::file("make", &device.path, errno);
        let name = device.path.strip_prefix("/dev").unwrap_or(&device.path);
        if let Some(parent) = name.parent()
            && !parent.as_os_str().is_empty()
        {
            inside.target(&Path::new("/dev").join(parent), Kind::Directory)?;
        }
        if !self.privileged {
            let DeviceKind::Host(host) = &device.kind else {
                return Err(failed(Errno::EPERM));
            };
            return bind(inside, host, &device.path);
        }
        let (kind, number) = match &device.kind {
            DeviceKind::Host(path) => {
                let failed = |errno| Error::file("look at", path, errno);
                let stat = stat(path).map_err(failed)?;
                let kind = kind_of(&stat);
                if kind != SFlag::S_IFCHR && kind != SFlag::S_IFBLK {
                    return Err(failed(Errno::ENODEV));
                }
                (kind, stat.st_rdev)
            }
            DeviceKind::Character(major, minor) => {
                (SFlag::S_IFCHR, makedev((*major).into(), (*minor).into()))
            }
            DeviceKind::Block(major, minor) => {
                (SFlag::S_IFBLK, makedev((*major).into(), (*minor).into()))
            }
        };
        let mode = Mode::from_bits_truncate(device.mode & 0o777);
        mknodat(dev, name, kind, mode, number).map_err(failed)?;
        let owner = outside(self.launch.user_namespace.as_ref(), device.owner)?;
        let (uid, gid): (Uid, Gid) = owner;
        let flags = AtFlags::AT_SYMLINK_NOFOLLOW;
        fchownat(dev, name, Some(uid), Some(gid), flags).map_err(failed)
    }
}

/// Makes the memory behind a private `/dev/shm` (CT-56).
pub(crate) fn private_memory(launch: &Launch) -> std::result::Result<OwnedFd, Errno> {
    let tmpfs = Tmpfs {
        target: "/dev/shm".into(),
        size: launch.shm_size,
        inodes: None,
        mode: 0o1777,
    };
    let filesystem = memory(launch.user_namespace.as_ref(), &tmpfs)?;
    filesystem.mount(NO_SUID | NO_DEVICES | NO_EXEC)
}

fn open(dev: &OwnedFd, name: &str) -> Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let opened = openat(dev, name, flags, Mode::empty());
    opened.map_err(|errno| Error::file("open", &Path::new("/dev").join(name), errno))
}

/// Shows a node of the host.
fn bind(inside: &Inside, host: &Path, path: &Path) -> Result<()> {
    let failed = |errno| Error::file("bind", path, errno);
    let is_device = fstatat(mountapi::here(), host, AtFlags::empty())
        .map(|stat| [SFlag::S_IFCHR, SFlag::S_IFBLK].contains(&kind_of(&stat)));
    if !is_device.map_err(|errno| Error::file("look at", host, errno))? {
        return Err(Error::file("look at", host, Errno::ENODEV));
    }
    let text: CString = crate::volumes::c_string(host)?;
    let tree = mountapi::copy_tree(mountapi::here(), &text, Reach::One).map_err(failed)?;
    let target = inside.target(path, Kind::File)?;
    mountapi::attach(tree, target).map_err(failed)
}

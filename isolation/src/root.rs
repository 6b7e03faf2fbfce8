//! A root filesystem of a container's own: put together beside the host's, filled with what
//! programs expect of a system (CT-41), and then entered, after which the host's is gone.
//!
//! Used by a container's init. What is mounted for a task is in [`crate::volumes`], `/dev` in
//! [`crate::devices`].

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::{Mode, SFlag, fstat, mkdirat};
use nix::unistd::{Gid, Uid, chdir, fchdir, pivot_root};

use crate::devices::Dev;
use crate::error::{Error, Result};
use crate::launch::{Launch, Root, SystemPaths, Tmpfs};
use crate::mountapi::{self, Filesystem, NO_DEVICES, NO_EXEC, NO_SUID, READ_ONLY, Reach};
use crate::place::{Acting, Inside, Kind, kind_of};
use crate::volumes::{Volumes, c_string, memory, outside};

/// What of `/proc` is the machine's and not the container's, as far as root can write to it: a
/// `core_pattern` would be run outside of all limits (CT-41).
pub(crate) const OF_THE_MACHINE: [&str; 5] = [
    "/proc/sys",
    "/proc/sysrq-trigger",
    "/proc/irq",
    "/proc/bus",
    "/proc/fs",
];
/// What tells about the machine and is nobody's business inside (CT-41); many kernels lack some.
const MASKED: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/key-users",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
const PLAIN: u64 = NO_SUID | NO_DEVICES | NO_EXEC;
/// How much may be written to an overlay without a directory for it, in bytes. It is the
/// container's memory, so its limit counts too.
const SCRATCH_BYTES: u64 = 1 << 30;

/// What a root is put together from.
pub(crate) struct Assembly<'a> {
    pub(crate) launch: &'a Launch,
    pub(crate) root: &'a Root,
    /// An empty directory of the host, which is mounted on meanwhile.
    pub(crate) shelf: &'a Path,
    /// A directory of the host with what is mounted on in every root.
    pub(crate) frame: &'a Path,
    /// The sandbox, as it is open.
    pub(crate) sandbox: BorrowedFd<'a>,
    /// Where the sandbox is inside.
    pub(crate) sandbox_inside: &'a Path,
    /// The container's groups, by controller; one without a name is of version 2.
    pub(crate) groups: &'a [(String, PathBuf)],
    /// The namespace of its users.
    pub(crate) user_namespace: Option<BorrowedFd<'a>>,
    /// `/dev/shm` of another container, if it is shared.
    pub(crate) shm: Option<OwnedFd>,
    /// Whether we are the machine's root.
    pub(crate) privileged: bool,
}

impl Assembly<'_> {
    /// Puts it together; nothing of it is entered yet.
    pub(crate) fn build(self, volumes: Volumes<'_>) -> Result<Inside> {
        let shelf = directory(self.shelf)?;
        // Taken before the shelf is mounted on.
        let root = match self.root {
            Root::Directory { path, .. } => self.plain(path, &shelf)?,
            Root::Overlay {
                lower,
                upper_and_work,
                ..
            } => self.overlay(lower, upper_and_work.as_deref(), &shelf)?,
        };
        let users = self.launch.user_namespace.as_ref();
        let owner = users
            .map(|users| outside(Some(users), (0, 0)))
            .transpose()?;
        let inside = Inside::new(root, "/", true).owned_by(owner);
        self.proc(&inside)?;
        self.sys(&inside)?;
        let tree = mountapi::copy_tree(self.sandbox, c"", Reach::One);
        let failed = |errno| Error::file("bind the sandbox on", self.sandbox_inside, errno);
        let tree = tree.map_err(failed)?;
        mountapi::restrict(&tree, Reach::One, NO_SUID | NO_DEVICES).map_err(failed)?;
        let target = inside.target(self.sandbox_inside, Kind::Directory)?;
        mountapi::attach(tree, target).map_err(failed)?;
        if let Some(path) = &self.launch.working_directory {
            inside.target(path, Kind::Directory)?;
        }
        let (launch, root, privileged) = (self.launch, self.root, self.privileged);
        let shm = self.shm;
        Dev {
            launch,
            shm,
            privileged,
        }
        .mount(&inside)?;
        volumes.mount(&inside)?;
        if launch.system_paths == SystemPaths::Protected {
            protect(&inside, &shelf)?;
        }
        if root.is_read_only() {
            mountapi::restrict(inside.root(), Reach::One, READ_ONLY)
                .map_err(|errno| Error::system("make the root read-only", errno))?;
        }
        Ok(inside)
    }

    /// Returns whom on the host the root inside is, if it is another one.
    fn owner(&self) -> Result<Option<(Uid, Gid)>> {
        let users = self.launch.user_namespace.as_ref();
        users.map(|users| outside(Some(users), (0, 0))).transpose()
    }

    /// Mounts a directory as the root.
    fn plain(&self, path: &Path, shelf: &OwnedFd) -> Result<OwnedFd> {
        let failed = |errno| Error::file("mount the root", path, errno);
        // What is mounted below it is not part of it.
        let tree = mountapi::copy_tree(mountapi::here(), &c_string(path)?, Reach::One);
        let tree = tree.map_err(failed)?;
        self.map(&tree).map_err(failed)?;
        // A device node in it must not open the machine's device.
        mountapi::restrict(&tree, Reach::One, NO_DEVICES).map_err(failed)?;
        let private = MsFlags::MS_PRIVATE.bits();
        mountapi::propagate(&tree, Reach::One, private).map_err(failed)?;
        mountapi::attach(&tree, shelf).map_err(failed)?;
        Ok(tree)
    }

    /// Mounts layers as the root. The kernel gets them as our open files: their paths may be long
    /// and contain what separates layers.
    fn overlay(&self, lower: &[PathBuf], upper: Option<&Path>, shelf: &OwnedFd) -> Result<OwnedFd> {
        let mut layers = Vec::new();
        for path in lower {
            layers.push(self.layer(path, shelf)?);
        }
        // Below all others: what they lack need not be made in the layer of each container, which
        // costs a launch a good part of its time on a disk.
        if self.user_namespace.is_none() {
            layers.push(directory(self.frame)?);
        }
        let scratch = match upper {
            Some(path) => {
                make_parts(&directory(path)?)?;
                self.layer(path, shelf)?
            }
            None => self.memory_layer(shelf)?,
        };
        let open = |file: &OwnedFd| format!("/proc/self/fd/{}", file.as_raw_fd());
        let lower: Vec<String> = layers.iter().map(open).collect();
        let mut options = format!(
            "lowerdir={0},upperdir={1}/upper,workdir={1}/work",
            lower.join(":"),
            open(&scratch)
        );
        if !self.privileged {
            options.push_str(",userxattr");
        }
        let kind = Some("overlay");
        // The kernel writes to the upper layer as who mounts it.
        let _acting = Acting::as_user(self.owner()?)?;
        // A device node in a layer must not open the machine's device.
        mount(
            kind,
            self.shelf,
            kind,
            MsFlags::MS_NODEV,
            Some(options.as_str()),
        )
        .map_err(|errno| Error::file("mount an overlay of", self.shelf, errno))?;
        directory(self.shelf)
    }

    /// Opens a layer; with users of its own through a mount that shows their files as theirs.
    fn layer(&self, path: &Path, shelf: &OwnedFd) -> Result<OwnedFd> {
        if self.user_namespace.is_none() {
            return directory(path);
        }
        let failed = |errno| Error::file("mount the layer", path, errno);
        let tree = mountapi::copy_tree(mountapi::here(), &c_string(path)?, Reach::One);
        let tree = tree.map_err(failed)?;
        self.map(&tree).map_err(failed)?;
        mountapi::attach(&tree, shelf).map_err(failed)?;
        Ok(tree)
    }

    /// Makes a layer in memory.
    fn memory_layer(&self, shelf: &OwnedFd) -> Result<OwnedFd> {
        let failed = |errno| Error::system("make a layer in memory", errno);
        let tmpfs = Tmpfs {
            target: "/".into(),
            size: Some(SCRATCH_BYTES),
            inodes: None,
            mode: 0o755,
        };
        let layer = memory(None, &tmpfs)
            .and_then(|filesystem| filesystem.mount(0))
            .map_err(failed)?;
        make_parts(&layer)?;
        self.map(&layer).map_err(failed)?;
        mountapi::attach(&layer, shelf).map_err(failed)?;
        Ok(layer)
    }

    fn map(&self, tree: &OwnedFd) -> std::result::Result<(), Errno> {
        match self.user_namespace {
            Some(namespace) => mountapi::map_ids(tree, namespace),
            None => Ok(()),
        }
    }

    fn proc(&self, inside: &Inside) -> Result<()> {
        let failed = |errno| Error::file("mount", Path::new("/proc"), errno);
        let target = inside.target(Path::new("/proc"), Kind::Directory)?;
        let mount = Filesystem::new(c"proc").and_then(|proc| proc.mount(PLAIN));
        mountapi::attach(mount.map_err(failed)?, target).map_err(failed)
    }

    /// Mounts `/sys` read-only, and in it the container's own groups.
    fn sys(&self, inside: &Inside) -> Result<()> {
        let failed = |errno| Error::file("mount", Path::new("/sys"), errno);
        let attributes = match self.launch.system_paths {
            SystemPaths::Protected => PLAIN | READ_ONLY,
            SystemPaths::Unconfined => PLAIN,
        };
        let target = inside.target(Path::new("/sys"), Kind::Directory)?;
        let fresh = Filesystem::new(c"sysfs").and_then(|sys| sys.mount(attributes));
        let mount = match fresh {
            Ok(mount) => mount,
            // It is that of a network; who has none of its own may only show the host's.
            Err(Errno::EPERM) => {
                let tree = mountapi::copy_tree(mountapi::here(), c"/sys", Reach::All);
                let tree = tree.map_err(failed)?;
                mountapi::restrict(&tree, Reach::All, attributes).map_err(failed)?;
                return mountapi::attach(tree, target).map_err(failed);
            }
            Err(errno) => return Err(failed(errno)),
        };
        mountapi::attach(mount, target).map_err(failed)?;
        self.groups(inside, attributes)
    }

    fn groups(&self, inside: &Inside, attributes: u64) -> Result<()> {
        let path = Path::new("/sys/fs/cgroup");
        let failed = |errno| Error::file("mount", path, errno);
        let Some(target) = inside.find(path)? else {
            return Ok(());
        };
        let view = |directory: &Path, target: OwnedFd| {
            let tree = mountapi::copy_tree(mountapi::here(), &c_string(directory)?, Reach::One);
            let tree = tree.map_err(failed)?;
            mountapi::restrict(&tree, Reach::One, attributes).map_err(failed)?;
            mountapi::attach(tree, target).map_err(failed)
        };
        match self.groups {
            [] => Ok(()),
            [(name, directory)] if name.is_empty() => view(directory, target),
            by_controller => {
                let tmpfs = Tmpfs {
                    target: path.to_owned(),
                    size: Some(64 * 1024),
                    inodes: None,
                    mode: 0o755,
                };
                let top = memory(None, &tmpfs).and_then(|top| top.mount(PLAIN));
                let top = top.map_err(failed)?;
                mountapi::attach(&top, target).map_err(failed)?;
                for (name, directory) in by_controller {
                    let mode = Mode::from_bits_truncate(0o755);
                    mkdirat(&top, name.as_str(), mode).map_err(failed)?;
                    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
                    let below = openat(&top, name.as_str(), flags, Mode::empty());
                    view(directory, below.map_err(failed)?)?;
                }
                mountapi::restrict(&top, Reach::One, attributes).map_err(failed)
            }
        }
    }
}

/// Makes what the kernel wants in a layer that is written to. Before its users are mapped: we are
/// none of them.
fn make_parts(layer: &OwnedFd) -> Result<()> {
    for name in ["upper", "work"] {
        match mkdirat(layer, name, Mode::from_bits_truncate(0o755)) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(errno) => return Err(Error::file("create", Path::new(name), errno)),
        }
    }
    Ok(())
}

/// Makes the machine's settings read-only and hides what tells about it.
fn protect(inside: &Inside, empty: &OwnedFd) -> Result<()> {
    for path in OF_THE_MACHINE.map(Path::new) {
        if let Some(found) = inside.find(path)? {
            let failed = |errno| Error::file("make read-only", path, errno);
            let tree = mountapi::copy_tree(&found, c"", Reach::One).map_err(failed)?;
            mountapi::restrict(&tree, Reach::One, PLAIN | READ_ONLY).map_err(failed)?;
            mountapi::attach(tree, found).map_err(failed)?;
        }
    }
    let mut null = None;
    for path in MASKED.map(Path::new) {
        let Some(found) = inside.find(path)? else {
            continue;
        };
        let failed = |errno| Error::file("hide", path, errno);
        let is_directory = kind_of(&fstat(&found).map_err(failed)?) == SFlag::S_IFDIR;
        let tree = if is_directory {
            mountapi::copy_tree(empty, c"", Reach::One).map_err(failed)?
        } else {
            if null.is_none() {
                null = Some(inside.target(Path::new("/dev/null"), Kind::File)?);
            }
            mountapi::copy_tree(null.as_ref().unwrap_or(empty), c"", Reach::One).map_err(failed)?
        };
        let attributes = match is_directory {
            true => PLAIN | READ_ONLY,
            false => NO_SUID | NO_EXEC | READ_ONLY,
        };
        mountapi::restrict(&tree, Reach::One, attributes).map_err(failed)?;
        mountapi::attach(tree, found).map_err(failed)?;
    }
    Ok(())
}

/// Makes a root that was put together the one of this process, and lets go of the host's.
pub(crate) fn enter(inside: &Inside) -> Result<()> {
    let failed = |errno| Error::system("enter the root", errno);
    fchdir(inside.root().as_fd()).map_err(failed)?;
    // The old root comes to lie on the new one, which `.` then uncovers.
    pivot_root(".", ".").map_err(failed)?;
    umount2(".", MntFlags::MNT_DETACH).map_err(failed)?;
    chdir("/").map_err(failed)
}

fn directory(path: &Path) -> Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let opened = open(path, flags, Mode::empty());
    opened.map_err(|errno| Error::file("open", path, errno))
}

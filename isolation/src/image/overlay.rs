//! An image's layers as one root filesystem (CT-68).
//!
//! [`Rootfs`] says what an overlay mount needs; the mount itself is made where the container is,
//! by [`mount_overlay`]. Deliberately not here: what else is mounted in a container, and when it
//! goes.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, open};
use nix::mount::{MsFlags, mount};
use nix::sys::stat::Mode;
use serde::{Deserialize, Serialize};

use super::sys::{self, Filesystem};
use super::{Image, ImageError};

/// The kernel takes values of options up to this, with the zero byte.
const VALUE_BYTES: usize = 256;
/// And all options of a mount that is made at once in one page.
const PAGE_BYTES: usize = 4_096;

/// What an overlay mount is made of. The image must be held as long as it is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rootfs {
    /// The layers, the uppermost first.
    pub lower: Vec<PathBuf>,
    /// Where changes go; `None` for a root filesystem that cannot be changed.
    pub changes: Option<Changes>,
    /// Whether overlayfs keeps its attributes where any user may set them, as without privileges.
    pub is_unprivileged: bool,
}

/// Where changes go: two directories of one filesystem.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changes {
    /// What was changed.
    pub upper: PathBuf,
    /// The kernel's own.
    pub work: PathBuf,
}

/// What is held back on a mount.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Nothing can be changed.
    pub read_only: bool,
    /// No program runs as another user because of its file.
    pub no_suid: bool,
    /// No device can be opened.
    pub no_dev: bool,
}

impl Attributes {
    /// For `fsmount` and for `mount`.
    fn bits(self) -> (u64, MsFlags) {
        let all = [
            (self.read_only, 1, MsFlags::MS_RDONLY),
            (self.no_suid, 2, MsFlags::MS_NOSUID),
            (self.no_dev, 4, MsFlags::MS_NODEV),
        ];
        let set = all.into_iter().filter(|(is_set, ..)| *is_set);
        set.fold((0, MsFlags::empty()), |(new, old), (_, bit, flag)| {
            (new | bit, old | flag)
        })
    }
}

impl Image {
    /// A root filesystem whose changes go below a directory, which is made if need be and must be
    /// on a filesystem that can be an overlay's upper one.
    pub fn rootfs(&self, directory: &Path) -> Result<Rootfs, ImageError> {
        let failed = |path: &Path| ImageError::own("make", path);
        let (upper, work) = (directory.join("upper"), directory.join("work"));
        fs::create_dir_all(directory).map_err(failed(directory))?;
        make(&work, 0o700).map_err(failed(&work))?;
        if make(&upper, 0o755).map_err(failed(&upper))? {
            self.dress(&upper).map_err(failed(&upper))?;
        }
        let mut rootfs = self.fixed(directory)?;
        rootfs.changes = Some(Changes { upper, work });
        Ok(rootfs)
    }

    /// A root filesystem that cannot be changed. Of the directory it needs an empty place only.
    pub fn fixed_rootfs(&self, directory: &Path) -> Result<Rootfs, ImageError> {
        let failed = ImageError::own("make", directory);
        fs::create_dir_all(directory).map_err(failed)?;
        let mut rootfs = self.fixed(directory)?;
        while rootfs.lower.len() < 2 {
            let empty = directory.join(format!("empty{}", rootfs.lower.len()));
            make(&empty, 0o755).map_err(ImageError::own("make", &empty))?;
            rootfs.lower.push(empty);
        }
        Ok(rootfs)
    }

    fn fixed(&self, directory: &Path) -> Result<Rootfs, ImageError> {
        let mut lower: Vec<_> = self.layers.iter().rev().cloned().collect();
        if lower.is_empty() {
            let empty = directory.join("empty0");
            make(&empty, 0o755).map_err(ImageError::own("make", &empty))?;
            lower.push(empty);
        }
        Ok(Rootfs {
            lower,
            changes: None,
            is_unprivileged: self.is_unprivileged,
        })
    }

    /// The root of a mount is that of its upper directory, so that must be as the image's.
    fn dress(&self, upper: &Path) -> io::Result<()> {
        let Some(top) = self.layers.last() else {
            return Ok(());
        };
        let metadata = fs::metadata(top)?;
        if nix::unistd::geteuid().is_root() {
            chown(upper, Some(metadata.uid()), Some(metadata.gid()))?;
        }
        let mode = metadata.mode() & 0o7777;
        fs::set_permissions(upper, fs::Permissions::from_mode(mode))
    }
}

/// Makes a directory; `false` if it is there.
fn make(path: &Path, mode: u32) -> io::Result<bool> {
    match fs::DirBuilder::new().mode(mode).create(path) {
        Ok(()) => {
            fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
            Ok(true)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let is_directory = fs::symlink_metadata(path)?.is_dir();
            if is_directory { Ok(false) } else { Err(error) }
        }
        Err(error) => Err(error),
    }
}

/// Mounts a root filesystem in the mount namespace of whoever calls, which must be one that may.
///
/// Any number of layers that the kernel stacks (500) fits where it takes them one by one, from
/// Linux 6.8 on; before, about 200 do, and `/proc` must be mounted.
pub fn mount_overlay(rootfs: &Rootfs, target: &Path, attributes: Attributes) -> io::Result<()> {
    match detached_overlay(rootfs, attributes) {
        Err(error) if is_old(&error) => mount_overlay_at_once(rootfs, target, attributes),
        mounted => {
            let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
            let place = open(target, flags, Mode::empty())?;
            sys::place(&mounted?, &place)
        }
    }
}

/// Makes a mount of a root filesystem that is nowhere yet; it goes when it is closed.
pub fn detached_overlay(rootfs: &Rootfs, attributes: Attributes) -> io::Result<OwnedFd> {
    let filesystem = Filesystem::open(c"overlay")?;
    filesystem.set(c"source", c"overlay")?;
    let mut held = Vec::new();
    for lower in &rootfs.lower {
        let value = sys::text(named(lower, &mut held)?.as_os_str().as_bytes())?;
        filesystem.set(c"lowerdir+", &value)?;
    }
    if let Some(Changes { upper, work }) = &rootfs.changes {
        for (name, path) in [(c"upperdir", upper), (c"workdir", work)] {
            let value = sys::text(named(path, &mut held)?.as_os_str().as_bytes())?;
            filesystem.set(name, &value)?;
        }
    }
    if rootfs.is_unprivileged {
        filesystem.flag(c"userxattr")?;
    }
    filesystem.mount(attributes.bits().0)
}

/// Mounts a root filesystem in one call, as all kernels can: [`mount_overlay`] does so where it
/// must. Fails if the options do not fit in a page.
pub fn mount_overlay_at_once(
    rootfs: &Rootfs,
    target: &Path,
    attributes: Attributes,
) -> io::Result<()> {
    let mut held = Vec::new();
    let mut options = String::from("lowerdir=");
    for (index, lower) in rootfs.lower.iter().enumerate() {
        let colon = if index > 0 { ":" } else { "" };
        let path = through(lower, &mut held)?;
        options.push_str(&format!("{colon}{}", path.display()));
    }
    if let Some(Changes { upper, work }) = &rootfs.changes {
        let upper = through(upper, &mut held)?;
        let work = through(work, &mut held)?;
        let (upper, work) = (upper.display(), work.display());
        options.push_str(&format!(",upperdir={upper},workdir={work}"));
    }
    if rootfs.is_unprivileged {
        options.push_str(",userxattr");
    }
    if options.len() >= PAGE_BYTES {
        let count = rootfs.lower.len();
        let reason = format!("{count} layers do not fit in a page of options");
        return Err(io::Error::new(io::ErrorKind::ArgumentListTooLong, reason));
    }
    let flags = attributes.bits().1;
    Ok(mount(
        Some("overlay"),
        target,
        Some("overlay"),
        flags,
        Some(options.as_str()),
    )?)
}

/// Whether the kernel is older than what was asked of it.
fn is_old(error: &io::Error) -> bool {
    let text = error.to_string();
    error.raw_os_error() == Some(libc::ENOSYS) || text.contains("lowerdir+")
}

/// A path for an option: itself, unless it is too long or has what an option may not have.
fn named(path: &Path, held: &mut Vec<OwnedFd>) -> io::Result<PathBuf> {
    let bytes = path.as_os_str().as_bytes();
    let is_plain = |b: &u8| b.is_ascii_alphanumeric() || b"/._-+@".contains(b);
    if bytes.len() < VALUE_BYTES && bytes.iter().all(is_plain) {
        return Ok(path.to_owned());
    }
    through(path, held)
}

/// A short path, which is right as long as what is held is open.
fn through(path: &Path, held: &mut Vec<OwnedFd>) -> io::Result<PathBuf> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let opened = open(path, flags, Mode::empty())?;
    let short = PathBuf::from(format!("/proc/self/fd/{}", opened.as_raw_fd()));
    held.push(opened);
    Ok(short)
}

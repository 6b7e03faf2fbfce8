//! The kernel's interface for mounts by file descriptors, which nix lacks.
//!
//! A mount is made or copied first, gets its attributes, and only then appears in the tree; so
//! nothing is visible for a moment that should not be. Used by a container's init alone. Nothing
//! here decides what is mounted where.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;

/// Attributes of mounts.
pub(crate) const READ_ONLY: u64 = 0x1;
pub(crate) const NO_SUID: u64 = 0x2;
pub(crate) const NO_DEVICES: u64 = 0x4;
pub(crate) const NO_EXEC: u64 = 0x8;
const ID_MAPPED: u64 = 0x0010_0000;

const OPEN_TREE_CLONE: u32 = 1;
const MOVE_FROM_EMPTY: u32 = 0x4;
const MOVE_TO_EMPTY: u32 = 0x40;
const CLOEXEC: u32 = 1;
const SET_STRING: u32 = 1;
const CREATE: u32 = 6;

type Result<T> = std::result::Result<T, Errno>;

/// The kernel's `struct mount_attr`.
#[repr(C)]
#[derive(Default)]
struct Attributes {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

/// Whether what is mounted below is meant too.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// This mount only.
    One,
    /// And all below it.
    All,
}

/// Copies what is at `path`, from `directory` on, into a tree of mounts of its own; an empty path
/// is `directory` itself. It goes with its file, unless it is attached.
pub(crate) fn copy_tree(directory: impl AsFd, path: &CStr, reach: Reach) -> Result<OwnedFd> {
    let mut flags = OPEN_TREE_CLONE | libc::O_CLOEXEC.cast_unsigned();
    flags |= libc::AT_EMPTY_PATH.cast_unsigned() | libc::AT_NO_AUTOMOUNT.cast_unsigned();
    if reach == Reach::All {
        flags |= libc::AT_RECURSIVE.cast_unsigned();
    }
    let directory = directory.as_fd().as_raw_fd();
    // SAFETY: a valid string; the result is a new file or an error.
    let fd = unsafe { libc::syscall(libc::SYS_open_tree, directory, path.as_ptr(), flags) };
    owned(fd)
}

/// Puts a mount that is in no tree on what `target` is.
pub(crate) fn attach(mount: impl AsFd, target: impl AsFd) -> Result<()> {
    let (from, to) = (mount.as_fd().as_raw_fd(), target.as_fd().as_raw_fd());
    let empty = c"".as_ptr();
    let flags = MOVE_FROM_EMPTY | MOVE_TO_EMPTY;
    // SAFETY: valid strings and open files.
    let moved = unsafe { libc::syscall(libc::SYS_move_mount, from, empty, to, empty, flags) };
    Errno::result(moved).map(drop)
}

/// Adds attributes to a mount.
pub(crate) fn restrict(mount: impl AsFd, reach: Reach, attributes: u64) -> Result<()> {
    let attributes = Attributes {
        set: attributes,
        ..Attributes::default()
    };
    set(mount.as_fd().as_raw_fd(), c"", reach, &attributes)
}

/// Makes what is mounted at `path` read-only, with all below it.
pub(crate) fn restrict_path(path: &CStr, attributes: u64) -> Result<()> {
    let attributes = Attributes {
        set: attributes,
        ..Attributes::default()
    };
    set(libc::AT_FDCWD, path, Reach::All, &attributes)
}

/// Changes with whom a mount shares later mounts; `propagation` is one of the kernel's `MS_`.
pub(crate) fn propagate(mount: impl AsFd, reach: Reach, propagation: u64) -> Result<()> {
    let attributes = Attributes {
        propagation,
        ..Attributes::default()
    };
    set(mount.as_fd().as_raw_fd(), c"", reach, &attributes)
}

/// Shows the files of a mount as owned by the users of a namespace. It must not be attached yet.
pub(crate) fn map_ids(mount: impl AsFd, namespace: impl AsFd) -> Result<()> {
    let attributes = Attributes {
        set: ID_MAPPED,
        user_namespace: u64::from(namespace.as_fd().as_raw_fd().cast_unsigned()),
        ..Attributes::default()
    };
    set(mount.as_fd().as_raw_fd(), c"", Reach::All, &attributes)
}

fn set(directory: i32, path: &CStr, reach: Reach, attributes: &Attributes) -> Result<()> {
    let mut flags = 0;
    if path.is_empty() {
        flags |= libc::AT_EMPTY_PATH;
    }
    if reach == Reach::All {
        flags |= libc::AT_RECURSIVE;
    }
    // SAFETY: a valid string and a structure of the told size, which the kernel only reads.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            directory,
            path.as_ptr(),
            flags,
            std::ptr::from_ref(attributes),
            size_of::<Attributes>(),
        )
    };
    Errno::result(done).map(drop)
}

/// Returns whether this kernel has all that is done here; it says so without doing anything.
pub(crate) fn is_possible() -> bool {
    // The newest of the calls. With a path, so that nothing but the missing file is wrong.
    set(-1, c"x", Reach::One, &Attributes::default()) != Err(Errno::ENOSYS)
}

/// A filesystem that is being set up.
pub(crate) struct Filesystem {
    context: OwnedFd,
}

impl Filesystem {
    /// Begins one of this type.
    pub(crate) fn new(kind: &CStr) -> Result<Self> {
        // SAFETY: a valid string; the result is a new file or an error.
        let fd = unsafe { libc::syscall(libc::SYS_fsopen, kind.as_ptr(), CLOEXEC) };
        let context = owned(fd)?;
        Ok(Self { context })
    }

    /// Sets an option.
    pub(crate) fn with(self, key: &CStr, value: &str) -> Result<Self> {
        let value = CString::new(value).map_err(|_| Errno::EINVAL)?;
        self.configure(SET_STRING, key.as_ptr(), value.as_ptr())?;
        Ok(self)
    }

    /// Makes it; what is returned is in no tree yet.
    pub(crate) fn mount(self, attributes: u64) -> Result<OwnedFd> {
        self.configure(CREATE, std::ptr::null(), std::ptr::null())?;
        let context = self.context.as_raw_fd();
        // SAFETY: an open file and numbers; the result is a new file or an error.
        let fd = unsafe { libc::syscall(libc::SYS_fsmount, context, CLOEXEC, attributes) };
        owned(fd)
    }

    fn configure(
        &self,
        command: u32,
        key: *const libc::c_char,
        value: *const libc::c_char,
    ) -> Result<()> {
        let context = self.context.as_raw_fd();
        // SAFETY: strings are valid or absent, as the command demands.
        let done = unsafe { libc::syscall(libc::SYS_fsconfig, context, command, key, value, 0) };
        Errno::result(done).map(drop)
    }
}

/// Returns what a relative path without a directory is relative to.
pub(crate) fn here() -> BorrowedFd<'static> {
    nix::fcntl::AT_FDCWD
}

fn owned(fd: libc::c_long) -> Result<OwnedFd> {
    let fd = Errno::result(fd)?;
    let fd = i32::try_from(fd).map_err(|_| Errno::EBADF)?;
    // SAFETY: the kernel has just made it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_with_containers_has_it() {
        assert!(is_possible());
    }
}

//! Names below a directory that is held: resolved by the kernel, and through no symbolic link.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::{Mode, SFlag, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};

/// Whether an error says that the way leads through a link or a file.
pub(crate) fn is_no_way(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(errno, Some(Errno::ELOOP | Errno::ENOTDIR | Errno::EXDEV))
}

pub(crate) fn beneath(flags: OFlag) -> OpenHow {
    let resolve = ResolveFlag::RESOLVE_BENEATH
        | ResolveFlag::RESOLVE_NO_SYMLINKS
        | ResolveFlag::RESOLVE_NO_MAGICLINKS;
    let flags = flags | OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
    OpenHow::new().flags(flags).resolve(resolve)
}

/// Makes a file that nobody else can open.
pub(crate) fn create(directory: &OwnedFd, name: &OsStr) -> io::Result<File> {
    let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
    let how = beneath(flags).mode(Mode::S_IRUSR | Mode::S_IWUSR);
    Ok(File::from(openat2(directory, name, how)?))
}

/// Removes a name, unless it is a directory's.
pub(crate) fn clear(directory: &OwnedFd, name: &OsStr) -> io::Result<()> {
    match unlinkat(directory, name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

pub(crate) fn kind_of(directory: &OwnedFd, name: &OsStr) -> io::Result<Option<SFlag>> {
    match fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(
            SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT,
        )),
        Err(Errno::ENOENT) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

//! Covers what of the machine a container on its root is not to see: what belongs to its agent, to
//! other containers, and, if it is to have a `/tmp` of its own, what all others have there. Its own
//! sandbox is where it was.
//!
//! Nobody inside can undo it without `CAP_SYS_ADMIN`, which no agent gives unless it is told to.
//! Deliberately not here: what limits are set through ([`crate::confine`]), and roots of
//! containers' own, in which none of it ever is ([`crate::root`]).

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, SFlag, fstat};

use crate::error::{Error, Result};
use crate::launch::{Launch, Tmpfs};
use crate::mountapi::{self, NO_DEVICES, NO_EXEC, NO_SUID, READ_ONLY, Reach};
use crate::place::{Inside, Kind, kind_of};
use crate::volumes::memory;

/// What is seen instead of a file.
const NOTHING: &std::ffi::CStr = c"/dev/null";
const TMP: &str = "/tmp";

/// Covers, for the calling process, whose mounts must be its own, what a launch hides. `sandbox` is
/// what is at `directory` on the host; returns whether that had to be put there again, as who is in
/// it by its old name is where others' are too.
pub(crate) fn apply(launch: &Launch, sandbox: BorrowedFd<'_>, directory: &Path) -> Result<bool> {
    if launch.hidden.is_empty() && !launch.private_tmp {
        return Ok(false);
    }
    let failed = |errno| Error::file("bind", directory, errno);
    let own = mountapi::copy_tree(sandbox, c"", Reach::One).map_err(failed)?;
    let mut covers = Vec::new();
    let mut is_covered = false;
    if launch.private_tmp {
        // It is the container's, to write to.
        drop(cover(launch, Path::new(TMP), 0o1777, NO_SUID | NO_DEVICES)?);
        is_covered = directory.starts_with(TMP);
    }
    for path in &launch.hidden {
        // Something that was covered before may hide it already.
        if let Some(mount) = hide(launch, path)? {
            is_covered |= directory.starts_with(path);
            covers.push((path, mount));
        }
    }
    if is_covered {
        let inside = Inside::open(Path::new("/"), true)?;
        let target = inside.target(directory, Kind::Directory)?;
        mountapi::attach(own, target).map_err(failed)?;
    }
    for (path, mount) in covers {
        let fixed = mountapi::restrict(&mount, Reach::One, READ_ONLY);
        fixed.map_err(|errno| Error::file("make read-only", path, errno))?;
    }
    Ok(is_covered)
}

/// Covers a directory with an empty one, and a file with nothing; `None` if it is not there.
fn hide(launch: &Launch, path: &Path) -> Result<Option<OwnedFd>> {
    let failed = |errno| Error::file("hide", path, errno);
    let found = match open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()) {
        Ok(found) => found,
        // The last: who has no privileges, nor has the program, does not come there.
        Err(Errno::ENOENT | Errno::ENOTDIR | Errno::EACCES) => return Ok(None),
        Err(errno) => return Err(failed(errno)),
    };
    let stat = fstat(&found).map_err(failed)?;
    if kind_of(&stat) == SFlag::S_IFDIR {
        return cover(launch, path, 0o755, NO_SUID | NO_DEVICES | NO_EXEC).map(Some);
    }
    let nothing = mountapi::copy_tree(mountapi::here(), NOTHING, Reach::One).map_err(failed)?;
    mountapi::attach(&nothing, found).map_err(failed)?;
    Ok(Some(nothing))
}

/// Mounts an empty directory in memory.
fn cover(launch: &Launch, path: &Path, mode: u32, attributes: u64) -> Result<OwnedFd> {
    let failed = |errno| Error::file("mount a tmpfs on", path, errno);
    let tmpfs = Tmpfs {
        target: path.to_owned(),
        size: None,
        inodes: None,
        mode,
    };
    let filesystem = memory(launch.user_namespace.as_ref(), &tmpfs).map_err(failed)?;
    let mount = filesystem.mount(attributes).map_err(failed)?;
    let target = Inside::open(Path::new("/"), false)?.target(path, Kind::Directory)?;
    mountapi::attach(&mount, target).map_err(failed)?;
    Ok(mount)
}

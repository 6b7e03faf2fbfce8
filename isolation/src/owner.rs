//! Gives what is in a sandbox to the user whose it is: what was fetched for a task, and directories
//! that were made for it, before it was known who it runs as.
//!
//! No symbolic link is followed and no mount is entered: nothing but the sandbox's own changes.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::{SFlag, fstatat};
use nix::unistd::{Gid, Uid, fchownat};

/// How deep directories are: below it is nobody's, for who made that was a task.
const MAX_DEPTH: usize = 256;

/// Gives all that is below a directory to a user.
pub(crate) fn give_all_below(directory: BorrowedFd<'_>, uid: Uid, gid: Gid) -> nix::Result<()> {
    // Opened again, for what comes may have been opened as a path only.
    give_below(opened(directory, c".")?, (uid, gid), 0)
}

fn give_below(directory: OwnedFd, owner: (Uid, Gid), depth: usize) -> nix::Result<()> {
    let mut directory = Dir::from_fd(directory)?;
    let names = directory
        .iter()
        .map(|entry| Ok(entry?.file_name().to_owned()));
    let names: Vec<CString> = names.collect::<nix::Result<_>>()?;
    for name in names {
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        match give(directory.as_fd(), &name, owner) {
            Ok(Some(below)) if depth < MAX_DEPTH => give_below(below, owner, depth + 1)?,
            // It went meanwhile, or is a mount.
            Ok(_) | Err(Errno::ENOENT | Errno::EXDEV) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Gives one entry away; returns it if it is a directory.
fn give(
    directory: BorrowedFd<'_>,
    name: &CStr,
    (uid, gid): (Uid, Gid),
) -> nix::Result<Option<OwnedFd>> {
    let stat = fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
    let is_directory = SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFDIR;
    if is_directory {
        let below = opened(directory, name)?;
        fchownat(&below, "", Some(uid), Some(gid), AtFlags::AT_EMPTY_PATH)?;
        return Ok(Some(below));
    }
    if stat.st_uid != uid.as_raw() || stat.st_gid != gid.as_raw() {
        let flags = AtFlags::AT_SYMLINK_NOFOLLOW;
        fchownat(directory, name, Some(uid), Some(gid), flags)?;
    }
    Ok(None)
}

fn opened(directory: BorrowedFd<'_>, name: &CStr) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let resolve = ResolveFlag::RESOLVE_BENEATH
        | ResolveFlag::RESOLVE_NO_SYMLINKS
        | ResolveFlag::RESOLVE_NO_XDEV;
    openat2(
        directory,
        name,
        OpenHow::new().flags(flags).resolve(resolve),
    )
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;

    // AG-53, AG-54: whatever is in a sandbox is its user's, and nothing else is
    #[test]
    fn all_below_changes_hands_and_no_link_is_followed() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir_all(dir.path().join("a/b")).unwrap();
        fs::write(dir.path().join("a/b/file"), "").unwrap();
        fs::write(other.path().join("kept"), "").unwrap();
        symlink(other.path(), dir.path().join("out")).unwrap();
        symlink(other.path().join("kept"), dir.path().join("a/out")).unwrap();
        let top = fs::File::open(dir.path()).unwrap();
        give_all_below(top.as_fd(), Uid::from_raw(1000), Gid::from_raw(1001)).unwrap();
        let owner = |path: &std::path::Path| {
            let of = fs::symlink_metadata(path).unwrap();
            (of.uid(), of.gid())
        };
        for name in ["a", "a/b", "a/b/file", "out", "a/out"] {
            assert_eq!(owner(&dir.path().join(name)), (1000, 1001), "{name}");
        }
        assert_eq!(owner(other.path()), (0, 0));
        assert_eq!(owner(&other.path().join("kept")), (0, 0));
    }
}

//! Opens local files, as the user for whom they are fetched.
//!
//! The agent may be root, and whoever gives it a path need not be. So the kernel decides with the
//! owner's user and group, on a thread that has no others and ends with it.

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::thread;

use nix::unistd::{Gid, Uid, setfsgid, setfsuid};

use super::sandbox::Owner;

/// Opens a file to read it; anything else than a file is refused, and not waited for.
pub(super) fn open(path: &Path, owner: Option<Owner>) -> io::Result<File> {
    let file = match owner {
        None => opened(path)?,
        Some(owner) => {
            let work = || open_as(path, owner);
            let spawned = thread::scope(|scope| {
                let thread = thread::Builder::new().spawn_scoped(scope, work)?;
                Ok::<_, io::Error>(thread.join())
            });
            spawned?.map_err(|_| io::Error::other("the thread that opens it has panicked"))??
        }
    };
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("not a file"));
    }
    Ok(file)
}

/// Changes who this thread is for good.
fn open_as(path: &Path, owner: Owner) -> io::Result<File> {
    // SAFETY: no pointer is read for an empty list. A raw call, because libc's changes the groups
    // of all threads; without the privilege for it they stay, but then nobody else is meant.
    let dropped = unsafe { libc::syscall(libc::SYS_setgroups, 0, std::ptr::null::<u32>()) };
    let denied = io::Error::last_os_error();
    let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
    setfsgid(gid);
    setfsuid(uid);
    // A call with what cannot be tells what is.
    let is_owner =
        setfsgid(Gid::from_raw(u32::MAX)) == gid && setfsuid(Uid::from_raw(u32::MAX)) == uid;
    let is_ourselves = nix::unistd::geteuid() == uid;
    if !is_owner || (dropped != 0 && !is_ourselves) {
        return Err(denied);
    }
    opened(path)
}

fn opened(path: &Path) -> io::Result<File> {
    // Without O_NONBLOCK a pipe would be waited for.
    std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)
}

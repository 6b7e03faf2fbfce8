//! User namespaces: one with a mapping, which a container's program enters, and the one in which
//! an agent without privileges runs everything.

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getegid, geteuid};

use crate::error::{Error, Result};
use crate::launch::{IdRange, UserNamespace};
use crate::spawn;

/// What an agent without privileges cannot hold, for people.
pub(crate) const UNENFORCED: [&str; 4] = [
    "limits on CPU, memory and processes",
    "users other than its own",
    "private networks beyond loopback",
    "devices of others than the host shows",
];

/// Makes a namespace with a mapping and returns it; it lives as long as its file.
pub(crate) fn mapped(mapping: &UserNamespace) -> Result<OwnedFd> {
    let held = spawn::hold(CloneFlags::CLONE_NEWUSER)
        .map_err(|error| Error::system("make a user namespace", error))?;
    let process = format!("/proc/{}", held.pid());
    let process = Path::new(&process);
    write(&process.join("uid_map"), &lines(&mapping.uids))?;
    write(&process.join("gid_map"), &lines(&mapping.gids))?;
    let path = process.join("ns/user");
    let file = File::open(&path).map_err(|error| Error::file("open", &path, error))?;
    Ok(file.into())
}

/// Puts the calling process, which must have one thread, into a namespace in which it is root and
/// there is nobody else: all that a user without privileges can have.
pub(crate) fn enter_alone() -> Result<()> {
    let (uid, gid) = (geteuid(), getegid());
    unshare(CloneFlags::CLONE_NEWUSER)
        .map_err(|errno| Error::system("make a user namespace", errno))?;
    let process = Path::new("/proc/self");
    // Groups cannot be given up any more, or what they are forbidden could be had.
    write(&process.join("setgroups"), "deny")?;
    write(&process.join("uid_map"), &format!("0 {uid} 1\n"))?;
    write(&process.join("gid_map"), &format!("0 {gid} 1\n"))
}

/// Finds out whether [`enter_alone`] and all that follows would do, by doing it in a process that
/// ends at once; says why not.
pub(crate) fn is_possible() -> std::result::Result<(), String> {
    let namespaces = CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID;
    let maps = [
        (c"/proc/self/setgroups", "deny".to_owned()),
        (c"/proc/self/uid_map", format!("0 {} 1\n", geteuid())),
        (c"/proc/self/gid_map", format!("0 {} 1\n", getegid())),
    ];
    let work = || {
        for (path, text) in &maps {
            // SAFETY: valid strings; the file is closed with the process.
            let written = unsafe {
                let file = libc::open(path.as_ptr(), libc::O_WRONLY);
                libc::write(file, text.as_ptr().cast(), text.len())
            };
            if usize::try_from(written) != Ok(text.len()) {
                return last_errno();
            }
        }
        let (kind, flags) = (
            c"proc".as_ptr(),
            libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC,
        );
        // SAFETY: valid strings; the mount is in a namespace that ends with the process.
        let done = unsafe { libc::mount(kind, c"/proc".as_ptr(), kind, flags, std::ptr::null()) };
        if done == 0 { 0 } else { last_errno() }
    };
    match spawn::visit(namespaces, work) {
        Ok(0) => Ok(()),
        Ok(errno) => Err(Errno::from_raw(errno.into()).to_string()),
        Err(error) => Err(error.to_string()),
    }
}

fn last_errno() -> u8 {
    u8::try_from(Errno::last_raw()).unwrap_or(u8::MAX)
}

fn lines(ranges: &[IdRange]) -> String {
    let line = |range: &IdRange| format!("{} {} {}\n", range.inside, range.outside, range.count);
    ranges.iter().map(line).collect()
}

/// Writes it at once, as the kernel demands of these files.
fn write(path: &Path, text: &str) -> Result<()> {
    let file = fs::OpenOptions::new().write(true).open(path);
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| Error::file("write", path, error))
}

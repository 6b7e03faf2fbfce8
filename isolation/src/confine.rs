//! Takes from a container on the host's root what would undo its limits, and from every init what
//! it does not need any more.
//!
//! Each container's init does it: it looks for what is to be sealed among its own mounts, for the
//! host's may have changed since the launcher was started. It gives up its own capabilities when
//! the program runs, so that it is no way around.
//! Deliberately not here: what a program has ([`crate::child`]), and roots of containers' own
//! ([`crate::root`]).

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::launch::{CapabilitySet, SystemPaths};
use crate::mountapi::{self, READ_ONLY};
use crate::root::OF_THE_MACHINE;
use crate::seccomp;
use crate::volumes::c_string;

/// Filesystems through which limits are set.
const CONTROL: [&str; 3] = ["sysfs", "cgroup", "cgroup2"];
/// One above the last that any kernel has.
pub(crate) const LAST_CAPABILITY: u32 = 64;
/// The version of the capability structures: two words of 32 capabilities.
const CAPABILITY_VERSION: u32 = 0x2008_0522;

/// What is sealed in a container's mounts, beside what limits are set through.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seals {
    /// The launcher's directory, and an empty one that is put in its place.
    hidden: PathBuf,
    empty: PathBuf,
    /// A directory with nothing but what is mounted on in every root.
    frame: PathBuf,
}

impl Seals {
    /// Describes what to seal: `hidden` is to be replaced by `empty`.
    pub(crate) const fn new(hidden: PathBuf, empty: PathBuf, frame: PathBuf) -> Self {
        Self {
            hidden,
            empty,
            frame,
        }
    }

    /// Returns a directory of the host's with the directories that are mounted on in every root.
    pub(crate) fn frame(&self) -> &Path {
        &self.frame
    }

    /// Returns an empty directory of the host's.
    pub(crate) fn empty(&self) -> &Path {
        &self.empty
    }

    /// Seals the mounts of the calling process. They must be its own, with a `/proc` of its own.
    pub(crate) fn apply(&self, paths: SystemPaths) -> Result<()> {
        let path = Path::new("/proc/self/mountinfo");
        let mounts = fs::read(path).map_err(|error| Error::file("read", path, error))?;
        if paths == SystemPaths::Protected {
            protect(&mounts)?;
        }
        self.let_go(&mounts)?;
        match bind(&self.empty, &self.hidden) {
            // Something that the launch mounts hides it already.
            Err(Errno::ENOENT) => return Ok(()),
            hidden => hidden.map_err(|errno| Error::file("hide", &self.hidden, errno))?,
        }
        set_read_only(&self.hidden)
    }

    /// Unmounts what is mounted in the hidden directory, the last one first: what others have there
    /// is not to stay because we have a copy of it.
    fn let_go(&self, mounts: &[u8]) -> Result<()> {
        let points = mount_points(mounts, |_| true);
        let below = points.filter(|point| point.starts_with(&self.hidden) && *point != self.hidden);
        let below: Vec<PathBuf> = below.collect();
        for point in below.iter().rev() {
            match umount2(point, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
                // It went with the host's, or is none that we may undo.
                Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
                Err(errno) => return Err(Error::file("unmount", point, errno)),
            }
        }
        Ok(())
    }
}

fn protect(mounts: &[u8]) -> Result<()> {
    for path in OF_THE_MACHINE.map(Path::new) {
        match bind(path, path) {
            Err(Errno::ENOENT) => {}
            Err(errno) => return Err(Error::file("bind", path, errno)),
            Ok(()) => set_read_only(path)?,
        }
    }
    control_mounts(mounts)
        .iter()
        .try_for_each(|path| set_read_only(path))
}

/// Lists the mount points of filesystems through which limits are set, without those that are
/// below another.
fn control_mounts(mountinfo: &[u8]) -> Vec<PathBuf> {
    let is_control = |kind: &[u8]| CONTROL.iter().any(|control| control.as_bytes() == kind);
    let points = mount_points(mountinfo, is_control);
    let mut points: Vec<PathBuf> = points.collect();
    points.sort_unstable();
    points.dedup_by(|later, earlier| later.starts_with(earlier));
    points
}

/// Lists where filesystems of some kinds are mounted, in the order in which they were.
fn mount_points(
    mountinfo: &[u8],
    is_wanted: impl Fn(&[u8]) -> bool,
) -> impl Iterator<Item = PathBuf> {
    let lines = mountinfo.split(|&byte| byte == b'\n');
    lines.filter_map(move |line| {
        let mut fields = line.split(|&byte| byte == b' ');
        let point = fields.nth(4)?;
        fields.find(|field| *field == b"-")?;
        let kind = fields.next()?;
        is_wanted(kind).then(|| unescaped(point))
    })
}

/// Reads a path of `mountinfo`, where a space is `\040`.
fn unescaped(text: &[u8]) -> PathBuf {
    let mut path = Vec::new();
    let mut rest = text;
    while let Some((&first, after)) = rest.split_first() {
        let octal = after.get(..3).filter(|_| first == b'\\');
        let octal = octal.and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                path.push(byte);
                rest = &after[3..];
            }
            None => {
                path.push(first);
                rest = after;
            }
        }
    }
    OsString::from_vec(path).into()
}

fn bind(from: &Path, to: &Path) -> std::result::Result<(), Errno> {
    let none: Option<&str> = None;
    mount(Some(from), to, none, MsFlags::MS_BIND, none)
}

/// Makes a mount read-only with all that is mounted below it. It may have gone since it was found.
fn set_read_only(path: &Path) -> Result<()> {
    match mountapi::restrict_path(&c_string(path)?, READ_ONLY) {
        // The second: there is a directory and nothing mounted on it.
        Ok(()) | Err(Errno::ENOENT | Errno::EINVAL) => Ok(()),
        Err(errno) => Err(Error::file("make read-only", path, errno)),
    }
}

/// Makes the calling process one that no other can trace or look into, unless it may trace all:
/// a program of the same user with the same capabilities could otherwise use an init's.
pub(crate) fn shut_off() -> Result<()> {
    prctl(libc::PR_SET_DUMPABLE, 0).map_err(|errno| Error::system("become undumpable", errno))
}

/// Gives up, for the calling process and all that it starts, what would undo a container's limits.
/// For an init that has started its program; the program has given up what it was told to.
pub(crate) fn restrict() -> Result<()> {
    seccomp::forbid_user_namespaces()?;
    for capability in (0..LAST_CAPABILITY).filter(|&n| !CapabilitySet::DEFAULT.contains(n)) {
        match prctl(libc::PR_CAPBSET_DROP, capability) {
            Ok(()) => {}
            // The kernel has no more.
            Err(Errno::EINVAL) => break,
            Err(errno) => return Err(Error::system("drop a capability", errno)),
        }
    }
    reduce_capabilities().map_err(|error| Error::system("reduce capabilities", error))
}

/// Leaves the calling process, and all that it starts, without the session's keys that it has from
/// the host: it gets a keyring of its own.
pub(crate) fn leave_keyring() -> Result<()> {
    let none: *const libc::c_char = std::ptr::null();
    // SAFETY: no name is given; the kernel makes a keyring without one.
    let joined =
        unsafe { libc::syscall(libc::SYS_keyctl, libc::KEYCTL_JOIN_SESSION_KEYRING, none) };
    match Errno::result(joined) {
        // The second: a kernel without keys.
        Ok(_) | Err(Errno::ENOSYS) => Ok(()),
        Err(errno) => Err(Error::system("make a keyring", errno)),
    }
}

fn prctl(option: libc::c_int, argument: u32) -> std::result::Result<(), Errno> {
    let argument = libc::c_ulong::from(argument);
    // SAFETY: all options take one number; the unused arguments are zero as they demand.
    Errno::result(unsafe { libc::prctl(option, argument, 0, 0, 0) }).map(drop)
}

/// The kernel's `struct __user_cap_header_struct`.
#[repr(C)]
pub(crate) struct CapabilityHeader {
    version: u32,
    pid: libc::c_int,
}

impl CapabilityHeader {
    /// Asks for the calling thread.
    pub(crate) fn own() -> Self {
        Self {
            version: CAPABILITY_VERSION,
            pid: 0,
        }
    }
}

/// The kernel's `struct __user_cap_data_struct`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(crate) struct CapabilityWord {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

impl CapabilityWord {
    /// Has these in every way.
    pub(crate) fn all(set: u32) -> Self {
        Self {
            effective: set,
            permitted: set,
            inheritable: set,
        }
    }

    /// Keeps of what it has only these, and lets none be inherited.
    pub(crate) fn keep(&mut self, set: u32) {
        self.permitted &= set;
        self.effective &= set;
        self.inheritable = 0;
    }
}

/// Keeps of what the calling thread has what may be kept, and lets nothing be inherited besides.
pub(crate) fn reduce_capabilities() -> io::Result<()> {
    let mut header = CapabilityHeader::own();
    let mut words = [CapabilityWord::default(); 2];
    // SAFETY: both structures are those of the told version and live through the call.
    let done = unsafe { libc::syscall(libc::SYS_capget, &raw mut header, words.as_mut_ptr()) };
    Errno::result(done)?;
    for (word, kept) in words.iter_mut().zip(CapabilitySet::DEFAULT.words()) {
        word.keep(kept);
    }
    // SAFETY: as above; the kernel only reads the words.
    let done = unsafe { libc::syscall(libc::SYS_capset, &raw mut header, words.as_ptr()) };
    Ok(Errno::result(done).map(drop)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_sets_limits_is_found_once_wherever_it_is_mounted() {
        let mounts = b"\
            22 1 0:1 / /proc rw - proc proc rw\n\
            23 1 0:2 / /sys rw shared:7 - sysfs sysfs rw\n\
            31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
            32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
            33 1 0:30 / /my\\040groups rw - cgroup2 cgroup2 rw\n\
            34 1 0:31 / /system rw - cgroup cgroup rw\n\
            garbled\n";
        let found = control_mounts(mounts);
        assert_eq!(found, ["/my groups", "/sys", "/system"].map(PathBuf::from));
    }
}

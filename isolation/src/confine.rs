//! Takes from a container what would undo its limits, in its mounts and in its capabilities.
//!
//! Each container's init does it, before it starts the program: it looks for what is to be sealed
//! among its own mounts, for the host's may have changed since the launcher was started. It gives
//! up the same itself, so that it is no way around.
//! Deliberately not here: a complete confinement. The root filesystem, the devices and the network
//! are the host's.

use std::ffi::{CString, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::seccomp;

/// Filesystems through which limits are set.
const CONTROL: [&str; 3] = ["sysfs", "cgroup", "cgroup2"];
/// What of `/proc` is the machine's and not the container's, as far as root can write to it: a
/// `core_pattern` would be run outside of all limits (CT-41).
const OF_THE_MACHINE: [&str; 5] = [
    "/proc/sys",
    "/proc/sysrq-trigger",
    "/proc/irq",
    "/proc/bus",
    "/proc/fs",
];

/// The capabilities that are left: what other container runtimes leave, except `CAP_MKNOD`, which
/// is harmless only where control groups guard the devices.
const KEPT: [u32; 13] = [
    0,  // CAP_CHOWN
    1,  // CAP_DAC_OVERRIDE
    3,  // CAP_FOWNER
    4,  // CAP_FSETID
    5,  // CAP_KILL
    6,  // CAP_SETGID
    7,  // CAP_SETUID
    8,  // CAP_SETPCAP
    10, // CAP_NET_BIND_SERVICE
    13, // CAP_NET_RAW
    18, // CAP_SYS_CHROOT
    29, // CAP_AUDIT_WRITE
    31, // CAP_SETFCAP
];
/// More than any kernel has.
const CAPABILITIES: u32 = 64;
/// The version of the capability structures: two words of 32 capabilities.
const CAPABILITY_VERSION: u32 = 0x2008_0522;

const MOUNT_ATTR_RDONLY: u64 = 1;

/// What is sealed in a container's mounts, beside what limits are set through.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seals {
    /// The launcher's directory, and an empty one that is put in its place.
    hidden: PathBuf,
    empty: PathBuf,
}

impl Seals {
    /// Describes what to seal: `hidden` is to be replaced by `empty`.
    pub(crate) fn new(hidden: PathBuf, empty: PathBuf) -> Self {
        Self { hidden, empty }
    }

    /// Seals the mounts of the calling process. They must be its own, with a `/proc` of its own.
    pub(crate) fn apply(&self) -> Result<()> {
        for path in OF_THE_MACHINE.map(Path::new) {
            match bind(path, path) {
                Err(Errno::ENOENT) => {}
                Err(errno) => return Err(Error::file("bind", path, errno)),
                Ok(()) => set_read_only(path)?,
            }
        }
        let path = Path::new("/proc/self/mountinfo");
        let mounts = fs::read(path).map_err(|error| Error::file("read", path, error))?;
        control_mounts(&mounts)
            .iter()
            .try_for_each(|path| set_read_only(path))?;
        bind(&self.empty, &self.hidden)
            .map_err(|errno| Error::file("hide", &self.hidden, errno))?;
        set_read_only(&self.hidden)
    }
}

/// Lists the mount points of filesystems through which limits are set, without those that are
/// below another.
fn control_mounts(mountinfo: &[u8]) -> Vec<PathBuf> {
    let lines = mountinfo.split(|&byte| byte == b'\n');
    let points = lines.filter_map(|line| {
        let mut fields = line.split(|&byte| byte == b' ');
        let point = fields.nth(4)?;
        fields.find(|field| *field == b"-")?;
        let kind = fields.next()?;
        let is_control = CONTROL.iter().any(|control| control.as_bytes() == kind);
        is_control.then(|| unescaped(point))
    });
    let mut points: Vec<PathBuf> = points.collect();
    points.sort_unstable();
    points.dedup_by(|later, earlier| later.starts_with(earlier));
    points
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

/// The kernel's `struct mount_attr`.
#[repr(C)]
#[derive(Default)]
struct MountAttributes {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

/// Makes a mount read-only with all that is mounted below it. It may have gone since it was found.
fn set_read_only(path: &Path) -> Result<()> {
    let target = CString::new(path.as_os_str().as_bytes()).expect("the kernel's paths have no NUL");
    let attributes = MountAttributes {
        set: MOUNT_ATTR_RDONLY,
        ..MountAttributes::default()
    };
    match mount_setattr(libc::AT_FDCWD, &target, libc::AT_RECURSIVE, &attributes) {
        // The second: there is a directory and nothing mounted on it.
        Ok(()) | Err(Errno::ENOENT | Errno::EINVAL) => Ok(()),
        Err(errno) => Err(Error::file("make read-only", path, errno)),
    }
}

fn mount_setattr(
    directory: libc::c_int,
    path: &CString,
    flags: libc::c_int,
    attributes: &MountAttributes,
) -> std::result::Result<(), Errno> {
    // SAFETY: a valid string and a structure of the told size, which the kernel only reads.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            directory,
            path.as_ptr(),
            flags,
            std::ptr::from_ref(attributes),
            size_of::<MountAttributes>(),
        )
    };
    Errno::result(done).map(drop)
}

/// Returns whether this kernel can do what is done here; it says so without doing anything.
pub(crate) fn is_possible() -> bool {
    let attributes = MountAttributes::default();
    mount_setattr(-1, &CString::default(), 0, &attributes) != Err(Errno::ENOSYS)
}

/// Gives up, for the calling process and all that it starts, what would undo its limits.
///
/// It can still start programs of other users, and those that become root by themselves: with
/// these bounds they are as harmless as root here is. So `no_new_privs`, which would break `sudo`
/// and its kind, is not set.
pub(crate) fn restrict() -> Result<()> {
    seccomp::forbid_user_namespaces()?;
    for capability in (0..CAPABILITIES).filter(|number| !KEPT.contains(number)) {
        match prctl(libc::PR_CAPBSET_DROP, capability) {
            Ok(()) => {}
            // The kernel has no more.
            Err(Errno::EINVAL) => break,
            Err(errno) => return Err(Error::system("drop a capability", errno)),
        }
    }
    reduce_capabilities().map_err(|error| Error::system("reduce capabilities", error))?;
    // The program is of our user and has our capabilities: this is what keeps it from tracing us.
    prctl(libc::PR_SET_DUMPABLE, 0).map_err(|errno| Error::system("become undumpable", errno))
}

fn prctl(option: libc::c_int, argument: u32) -> std::result::Result<(), Errno> {
    let argument = libc::c_ulong::from(argument);
    // SAFETY: both options take one number; the unused arguments are zero as they demand.
    Errno::result(unsafe { libc::prctl(option, argument, 0, 0, 0) }).map(drop)
}

/// The kernel's `struct __user_cap_header_struct`.
#[repr(C)]
struct CapabilityHeader {
    version: u32,
    pid: libc::c_int,
}

/// The kernel's `struct __user_cap_data_struct`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct CapabilityWord {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Keeps of what we have what may be kept, and lets nothing be inherited besides.
fn reduce_capabilities() -> io::Result<()> {
    let mut header = CapabilityHeader {
        version: CAPABILITY_VERSION,
        pid: 0,
    };
    let mut words = [CapabilityWord::default(); 2];
    // SAFETY: both structures are those of the told version and live through the call.
    let done = unsafe { libc::syscall(libc::SYS_capget, &raw mut header, words.as_mut_ptr()) };
    Errno::result(done)?;
    let kept = KEPT
        .iter()
        .fold(0, |kept, capability| kept | 1 << capability);
    for (word, kept) in words.iter_mut().zip([kept, 0]) {
        word.permitted &= kept;
        word.effective &= kept;
        word.inheritable = 0;
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

    #[test]
    fn a_kernel_with_containers_can_seal_them() {
        assert!(is_possible());
    }
}

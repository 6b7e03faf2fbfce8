//! Calls of the kernel that have no safe form in the libraries: extended attributes of open files,
//! and mounts that are made piece by piece.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use libc::{c_char, c_int, c_long, c_uint, c_void};

const FSOPEN_CLOEXEC: c_uint = 1;
const FSCONFIG_SET_FLAG: c_uint = 0;
const FSCONFIG_SET_STRING: c_uint = 1;
const FSCONFIG_CMD_CREATE: c_uint = 6;
const FSMOUNT_CLOEXEC: c_uint = 1;
const MOVE_MOUNT_F_EMPTY_PATH: c_uint = 4;
const MOVE_MOUNT_T_EMPTY_PATH: c_uint = 0x40;
/// What the kernel said about a mount, in one message.
const MESSAGE_BYTES: usize = 512;

/// Sets an extended attribute of an open file or directory.
pub(super) fn set_attribute(file: impl AsFd, name: &CStr, value: &[u8]) -> io::Result<()> {
    let file = file.as_fd().as_raw_fd();
    // SAFETY: the name ends with a zero byte, and the value is as long as is said.
    let code = unsafe {
        let value_at = value.as_ptr().cast::<c_void>();
        libc::fsetxattr(file, name.as_ptr(), value_at, value.len(), 0)
    };
    done(c_long::from(code)).map(drop)
}

/// Whether an open directory has an extended attribute that is the byte `y`.
pub(super) fn has_yes(file: impl AsFd, name: &CStr) -> io::Result<bool> {
    let file = file.as_fd().as_raw_fd();
    let mut value = [0u8; 8];
    // SAFETY: the name ends with a zero byte, and the buffer is as long as is said.
    let code = unsafe {
        let value_at = value.as_mut_ptr().cast::<c_void>();
        libc::fgetxattr(file, name.as_ptr(), value_at, value.len())
    };
    match done(code as c_long) {
        Ok(count) => Ok(count == 1 && value[0] == b'y'),
        Err(error) => match error.raw_os_error() {
            Some(libc::ENODATA | libc::ENOTSUP | libc::ERANGE) => Ok(false),
            _ => Err(error),
        },
    }
}

/// A filesystem that is being configured.
#[derive(Debug)]
pub(super) struct Filesystem {
    context: OwnedFd,
}

impl Filesystem {
    /// Begins one of a type.
    pub(super) fn open(kind: &CStr) -> io::Result<Self> {
        // SAFETY: the type ends with a zero byte.
        let code = unsafe { libc::syscall(libc::SYS_fsopen, kind.as_ptr(), FSOPEN_CLOEXEC) };
        let context = owned(code)?;
        Ok(Self { context })
    }

    /// Sets an option that has a value.
    pub(super) fn set(&self, name: &CStr, value: &CStr) -> io::Result<()> {
        self.configure(FSCONFIG_SET_STRING, Some(name), Some(value))
    }

    /// Sets an option that has none.
    pub(super) fn flag(&self, name: &CStr) -> io::Result<()> {
        self.configure(FSCONFIG_SET_FLAG, Some(name), None)
    }

    /// Makes the filesystem, and a mount of it that is nowhere yet.
    pub(super) fn mount(self, attributes: u64) -> io::Result<OwnedFd> {
        self.configure(FSCONFIG_CMD_CREATE, None, None)?;
        let context = self.context.as_raw_fd();
        let attributes = c_uint::try_from(attributes).map_err(io::Error::other)?;
        // SAFETY: no pointers.
        let code =
            unsafe { libc::syscall(libc::SYS_fsmount, context, FSMOUNT_CLOEXEC, attributes) };
        owned(code)
    }

    fn configure(
        &self,
        command: c_uint,
        name: Option<&CStr>,
        value: Option<&CStr>,
    ) -> io::Result<()> {
        let context = self.context.as_raw_fd();
        let at = |text: Option<&CStr>| text.map_or(std::ptr::null::<c_char>(), CStr::as_ptr);
        let aux: c_int = 0;
        // SAFETY: name and value end with a zero byte where they are given, and the commands that
        // are used do not look at them otherwise.
        let code = unsafe {
            let number = libc::SYS_fsconfig;
            libc::syscall(number, context, command, at(name), at(value), aux)
        };
        done(code).map(drop).map_err(|error| self.explained(error))
    }

    /// Adds what the kernel said about it.
    fn explained(&self, error: io::Error) -> io::Error {
        let mut said = [0u8; MESSAGE_BYTES];
        // Messages are read from the context, one at a time; none is no error.
        let Ok(count) = nix::unistd::read(&self.context, &mut said) else {
            return error;
        };
        let said = String::from_utf8_lossy(&said[..count]);
        io::Error::new(error.kind(), format!("{error}: {}", said.trim()))
    }
}

/// Puts a mount that is nowhere yet onto what is open.
pub(super) fn place(mount: &OwnedFd, target: &OwnedFd) -> io::Result<()> {
    let (mount, target) = (mount.as_raw_fd(), target.as_raw_fd());
    let flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH;
    // SAFETY: both paths are empty and end with a zero byte.
    let code = unsafe {
        let (from, to) = (c"".as_ptr(), c"".as_ptr());
        libc::syscall(libc::SYS_move_mount, mount, from, target, to, flags)
    };
    done(code).map(drop)
}

/// A text for the kernel.
pub(super) fn text(bytes: &[u8]) -> io::Result<CString> {
    CString::new(bytes).map_err(io::Error::other)
}

fn done(code: c_long) -> io::Result<c_long> {
    if code < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(code)
}

fn owned(code: c_long) -> io::Result<OwnedFd> {
    let file = c_int::try_from(done(code)?).map_err(io::Error::other)?;
    // SAFETY: the kernel has just opened it for us, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(file) })
}

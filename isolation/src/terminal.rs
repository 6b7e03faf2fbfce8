//! Terminals of containers: made where the program is, from its own `/dev`, and held by others.
//!
//! Used by what stands beside a further process, by inits, and by the launcher for plain processes.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::sys::stat::{SFlag, major, minor};
use nix::unistd::fchown;
use tepui_core::protocol::container_info::Terminal as Size;

use crate::enter::Terminal;
use crate::error::{Error, Result};
use crate::launch::UserNamespace;
use crate::place::{Inside, kind_of};
use crate::spawn::Credentials;
use crate::volumes::outside;

/// The number of `/dev/ptmx`.
const MULTIPLEXER: (u64, u64) = (5, 2);

nix::ioctl_write_ptr_bad!(unlock, libc::TIOCSPTLCK, libc::c_int);

/// Opens a terminal of the container's own; returns the far side and the near one.
pub(crate) fn open(root: &Inside, size: Size) -> Result<(OwnedFd, OwnedFd)> {
    let path = Path::new("/dev/ptmx");
    let failed = |errno| Error::file("open a terminal by", path, errno);
    let far = root.device(path, |stat| {
        let number = (major(stat.st_rdev), minor(stat.st_rdev));
        kind_of(stat) == SFlag::S_IFCHR && number == MULTIPLEXER
    })?;
    // SAFETY: an open file and a number that lives through the call.
    unsafe { unlock(far.as_raw_fd(), &0) }.map_err(failed)?;
    let near = near(&far).map_err(failed)?;
    let terminal = Terminal::new(far);
    let resized = terminal.resize(size);
    resized.map_err(|error| Error::system("set the size of a terminal", error))?;
    Ok((terminal.into(), near))
}

/// Opens the near side of a terminal. It is had from the far one and not by a name, which the
/// container could have given to something else.
pub(crate) fn near(far: &OwnedFd) -> nix::Result<OwnedFd> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: an open file and a number.
    let near = unsafe { libc::ioctl(far.as_raw_fd(), libc::TIOCGPTPEER, flags) };
    let near = Errno::result(near)?;
    // SAFETY: the kernel has just made it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(near) })
}

/// Gives the near side of a terminal to a program's user. In a root of its own its group stays that
/// of terminals, if the container has that.
pub(crate) fn give(
    near: &OwnedFd,
    user: &Credentials,
    mapping: Option<&UserNamespace>,
    has_own_root: bool,
) -> Result<()> {
    let (uid, gid) = outside(mapping, (user.uid, user.gid))?;
    let gid = (!has_own_root).then_some(gid);
    fchown(near, Some(uid), gid)
        .map_err(|errno| Error::system("change the owner of the terminal", errno))
}

//! Makes sockets inside the networks of containers.
//!
//! A socket belongs to the network in which it was made, also when it is used elsewhere. So a
//! thread enters a container's network for as long as it takes to make one, and ends: none of ours
//! is ever left in another's network.

use std::io;
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use nix::sys::stat::{Mode, fstat, stat};
use nix::unistd::Pid;

use crate::network::on_a_thread;

/// Makes a socket that does not block, in the network of a process; `None` is our own.
///
/// `NotFound` is that the process has ended.
pub(super) fn socket_of(process: Option<Pid>, family: AddressFamily) -> io::Result<OwnedFd> {
    let network = process.map(other_network).transpose()?.flatten();
    let Some(network) = network else {
        return Ok(tcp(family)?);
    };
    let entered = || {
        setns(&network, CloneFlags::CLONE_NEWNET)?;
        tcp(family)
    };
    let made = on_a_thread(entered).map_err(io::Error::other)?;
    Ok(made?)
}

/// Opens the network of a process, if it is another than ours. It is not kept: that would keep the
/// network when its container has ended.
fn other_network(process: Pid) -> io::Result<Option<OwnedFd>> {
    let gone = |errno| {
        if matches!(errno, Errno::ENOENT | Errno::ESRCH) {
            return io::Error::from(io::ErrorKind::NotFound);
        }
        io::Error::from(errno)
    };
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let path = format!("/proc/{process}");
    let process = open(path.as_str(), flags, Mode::empty()).map_err(gone)?;
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    let network = openat(&process, "ns/net", flags, Mode::empty()).map_err(gone)?;
    let (its, ours) = (fstat(&network)?, stat("/proc/thread-self/ns/net")?);
    let is_other = (its.st_dev, its.st_ino) != (ours.st_dev, ours.st_ino);
    Ok(is_other.then_some(network))
}

fn tcp(family: AddressFamily) -> nix::Result<OwnedFd> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    socket(family, SockType::Stream, flags, None)
}

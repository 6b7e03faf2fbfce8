//! Waits for children. The only file that decodes how a process ended.
//!
//! The kernel's answer is decoded here and not by nix, which knows no real-time signals and makes
//! an error of a child that died of one.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::unistd::Pid;
use tepui_core::protocol::status::Exit;

/// Which children are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whom {
    /// Any.
    Anyone,
    /// This one.
    Only(Pid),
}

/// Opens a file that stands for a process.
pub(crate) fn pidfd(pid: u32) -> io::Result<OwnedFd> {
    // SAFETY: the call takes two numbers and touches no memory of ours.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let fd = i32::try_from(Errno::result(fd)?).map_err(io::Error::other)?;
    // SAFETY: the kernel has just opened it for us, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Finds a child that is dead and leaves it where it is: its number stays taken.
pub(crate) fn look(whom: Whom) -> io::Result<Option<Pid>> {
    let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    Ok(wait(whom, flags)?.map(|(pid, _)| pid))
}

/// Reaps a child that is dead.
pub(crate) fn reap(whom: Whom) -> io::Result<Option<(Pid, Exit)>> {
    wait(whom, libc::WEXITED | libc::WNOHANG)
}

/// Waits until a child is dead, and reaps it; `None` if there is no such child.
pub(crate) fn reap_at_last(pid: Pid) -> io::Result<Option<(Pid, Exit)>> {
    wait(Whom::Only(pid), libc::WEXITED)
}

/// Returns whether the calling thread has children, dead or alive.
pub(crate) fn has_children() -> io::Result<bool> {
    let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT | libc::__WNOTHREAD;
    match ask(Whom::Anyone, flags) {
        Ok(_) => Ok(true),
        Err(Errno::ECHILD) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// Like [`ask`]; who has no children has none that is dead.
fn wait(whom: Whom, flags: i32) -> io::Result<Option<(Pid, Exit)>> {
    match ask(whom, flags) {
        Ok(dead) => Ok(dead),
        Err(Errno::ECHILD) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

fn ask(whom: Whom, flags: i32) -> Result<Option<(Pid, Exit)>, Errno> {
    let (kind, id) = match whom {
        Whom::Anyone => (libc::P_ALL, 0),
        Whom::Only(pid) => (libc::P_PID, pid.as_raw().unsigned_abs()),
    };
    // SAFETY: plain numbers and padding, for which zero is a value; a process of number zero is
    // how the kernel says "nobody".
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    loop {
        // SAFETY: the structure lives through the call.
        if unsafe { libc::waitid(kind, id, &raw mut info, flags) } == 0 {
            break;
        }
        let errno = Errno::last();
        if errno != Errno::EINTR {
            return Err(errno);
        }
    }
    // SAFETY: waitid has filled in what belongs to the end of a child, or nothing.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    if pid == 0 {
        return Ok(None);
    }
    let exit = if info.si_code == libc::CLD_EXITED {
        Exit::Code(status)
    } else {
        Exit::Signal(status)
    };
    Ok(Some((Pid::from_raw(pid), exit)))
}

#[cfg(test)]
#[allow(clippy::zombie_processes, reason = "reaping them is what is tested")]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn codes_and_all_signals_come_out_as_they_are() {
        let ended = |script: &str| {
            let child = Command::new("sh").args(["-c", script]).spawn().unwrap();
            let pid = Pid::from_raw(child.id().try_into().unwrap());
            let (dead, exit) = reap_at_last(pid).unwrap().unwrap();
            assert_eq!(dead, pid);
            assert_eq!(reap(Whom::Only(pid)).unwrap(), None, "it is reaped");
            exit
        };
        assert_eq!(ended("exit 255"), Exit::Code(255));
        for signal in [9, 15, 34, 35, 64] {
            let exit = ended(&format!("kill -{signal} $$"));
            assert_eq!(exit, Exit::Signal(signal));
        }
    }

    #[test]
    fn who_lives_is_neither_found_nor_reaped() {
        let mut command = Command::new("cat");
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        let pid = Pid::from_raw(child.id().try_into().unwrap());
        assert_eq!(look(Whom::Only(pid)).unwrap(), None);
        assert_eq!(reap(Whom::Only(pid)).unwrap(), None);
        drop(child.stdin.take());
        let exit = reap_at_last(pid).unwrap();
        assert_eq!(exit, Some((pid, Exit::Code(0))));
    }
}

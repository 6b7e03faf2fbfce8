//! All that descends from a program, whatever process groups and sessions it is in, asked to end
//! (TK-85): each process once.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use crate::procfs::{self, Process};
use crate::wait;

/// Asks a program, which is a child of ours that is not reaped, and all below it to end; and so for
/// `orphans`, which descended from it and are children of ours now.
///
/// Who has just ended cannot be asked. Those that are started meanwhile are not found, unless they
/// are of the program's process group.
pub(crate) fn terminate(program: Pid, orphans: impl IntoIterator<Item = Pid>) {
    // Found before the first is asked: they are children of who may end at once.
    let below = descendants(orphans.into_iter().chain([program]));
    let _ = killpg(program, Signal::SIGTERM).or_else(|_| kill(program, Signal::SIGTERM));
    for (process, handle) in below {
        if process.group != program {
            ask_to_end(&handle);
        }
    }
}

/// Opens all that descends from `roots`, and the roots themselves.
fn descendants(roots: impl IntoIterator<Item = Pid>) -> Vec<(Process, OwnedFd)> {
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    let mut everybody = None;
    let mut next: Vec<(Pid, Option<Pid>)> = roots.into_iter().map(|pid| (pid, None)).collect();
    while let Some((pid, parent)) = next.pop() {
        if !seen.insert(pid) {
            continue;
        }
        let Some(opened) = open(pid, parent) else {
            continue;
        };
        found.push(opened);
        let children = procfs::children(pid).unwrap_or_else(|| {
            let by_parent = everybody.get_or_insert_with(by_parent);
            by_parent.get(&pid).cloned().unwrap_or_default()
        });
        next.extend(children.into_iter().map(|child| (child, Some(pid))));
    }
    found
}

/// Opens a process, if it is a child of `parent` still: its number may be another's by now.
fn open(pid: Pid, parent: Option<Pid>) -> Option<(Process, OwnedFd)> {
    let handle = wait::pidfd(pid.as_raw().unsigned_abs()).ok()?;
    let process = procfs::read(pid)?;
    let is_it = parent.is_none_or(|parent| parent == process.parent);
    is_it.then_some((process, handle))
}

fn by_parent() -> BTreeMap<Pid, Vec<Pid>> {
    let mut children: BTreeMap<Pid, Vec<Pid>> = BTreeMap::new();
    for process in procfs::everybody() {
        children
            .entry(process.parent)
            .or_default()
            .push(process.pid);
    }
    children
}

fn ask_to_end(handle: &OwnedFd) {
    let none: *const libc::siginfo_t = std::ptr::null();
    // SAFETY: the descriptor is open, and without information the kernel makes it itself. Who has
    // just ended cannot be asked.
    unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            handle.as_raw_fd(),
            libc::SIGTERM,
            none,
            0,
        )
    };
}

//! How a new process comes into its groups.
//!
//! Used by the launcher and the nursery. Deliberately not here: the groups ([`super::Group`]).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use nix::unistd::Pid;

use super::files;
use super::hierarchies::Version;
use crate::error::Result;

/// How a new process comes into its groups.
pub(crate) enum Enter<'a> {
    /// Version 1: the open `tasks` files. A process with one thread that writes `0` there enters
    /// without the global lock that `cgroup.procs` takes (milliseconds when idle).
    Tasks(&'a [OwnedFd]),
    /// Version 2: the open directory; the kernel makes the process inside.
    Group(BorrowedFd<'a>),
}

/// The open files through which a child enters a group.
#[derive(Debug)]
pub(crate) struct Entrance {
    pub(super) version: Version,
    pub(super) files: Vec<OwnedFd>,
    /// What the child cannot be given, and is brought into from outside, at the price of the lock.
    pub(super) rest: Vec<PathBuf>,
}

impl Entrance {
    /// Returns what the child does.
    pub(crate) fn enter(&self) -> Enter<'_> {
        match self.version {
            Version::One => Enter::Tasks(&self.files),
            Version::Two => Enter::Group(self.files[0].as_fd()),
        }
    }

    /// Brings a child into what it could not enter by itself. It must not have a child yet.
    pub(crate) fn attach(&self, pid: Pid) -> Result<()> {
        let mut rest = self.rest.iter();
        rest.try_for_each(|group| files::write(group, "cgroup.procs", &pid.to_string()))
    }
}

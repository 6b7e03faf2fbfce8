//! Stops all processes of a group at once, or kills them so that none gets away.

use std::collections::BTreeSet;
use std::path::Path;

use cgroups_rs::freezer::{FreezerController, FreezerState};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::files::{failed, read, write};
use super::hierarchies::Version;
use crate::error::{Error, Result};

/// How often we look for processes that were made while others were killed.
const LOOKS: usize = 1000;

/// Stops or resumes all processes; the kernel does so in its own time.
pub(super) fn set_frozen(group: &Path, version: Version, frozen: bool) -> Result<()> {
    let controller = FreezerController::new(group.to_owned(), version == Version::Two);
    let (done, data) = match frozen {
        true => (controller.freeze(), "frozen"),
        false => (controller.thaw(), "thawed"),
    };
    let file = match version {
        Version::One => "freezer.state",
        Version::Two => "cgroup.freeze",
    };
    done.map_err(|error| failed(group, file, data.to_owned(), &error))
}

/// Returns whether all processes have stopped.
pub(super) fn is_frozen(group: &Path, version: Version) -> Result<bool> {
    match version {
        Version::One => {
            let controller = FreezerController::new(group.to_owned(), false);
            let state = controller.state();
            let state = state.map_err(|e| failed(group, "freezer.state", String::new(), &e))?;
            Ok(matches!(state, FreezerState::Frozen))
        }
        // Its own file says what was asked for.
        Version::Two => Ok(read(group, "cgroup.events")?.contains("frozen 1")),
    }
}

/// Kills all processes of a group of version 2 and of those within it, at once.
pub(super) fn kill_unified(group: &Path) -> Result<()> {
    write(group, "cgroup.kill", "1")
}

/// Kills all processes of a group of version 1. If it can be frozen, none gets away by having
/// children faster than they are killed; they die when it is thawed.
pub(super) fn kill_frozen(group: &Path) -> Result<()> {
    set_frozen(group, Version::One, true)?;
    let mut result = Ok(());
    for _ in 0..LOOKS {
        // Who does not stop, as one that waits for a disk, has no children either.
        let is_complete = is_frozen(group, Version::One);
        let listed = kill_listed(group);
        match (is_complete, listed) {
            (Ok(true), Ok(_)) | (Ok(false), Ok(0)) => break,
            (Ok(false), Ok(_)) => std::thread::yield_now(),
            (Err(error), _) | (_, Err(error)) => {
                result = Err(error);
                break;
            }
        }
    }
    // Whatever went wrong: who stays frozen does not die.
    let thawed = set_frozen(group, Version::One, false);
    result.and(thawed)
}

/// Kills the processes that a group lists; returns how many. Others may be born meanwhile.
pub(super) fn kill_listed(group: &Path) -> Result<usize> {
    let pids: BTreeSet<i32> = read(group, "cgroup.procs")?
        .lines()
        // Zero is who is not of our namespace; as a target it would be we ourselves.
        .filter_map(|line| line.parse().ok().filter(|pid| *pid > 0))
        .collect();
    for &pid in &pids {
        match kill(Pid::from_raw(pid), Signal::SIGKILL) {
            // It has died since.
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(errno) => return Err(Error::system("kill", errno)),
        }
    }
    Ok(pids.len())
}

/// Returns whether a group has a file of version 2 that kernels before 5.14 do not have.
pub(super) fn can_kill(group: &Path) -> bool {
    group.join("cgroup.kill").exists()
}

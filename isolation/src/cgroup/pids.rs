//! Processes: how many, threads included.

use std::fs;
use std::path::Path;

use cgroups_rs::MaxValue;
use cgroups_rs::pid::PidController;

use super::{Version, failed, write};
use crate::error::Result;

/// Writes the limit of `group`.
pub(super) fn apply(group: &Path, version: Version, pids: u32) -> Result<()> {
    let controller = PidController::new(group.to_owned(), version == Version::Two);
    let written = controller.set_pid_max(MaxValue::Value(i64::from(pids)));
    written.map_err(|error| failed(group, "pids.max", pids.to_string(), &error))
}

/// Returns whether a fork was refused in `group`.
pub(super) fn refused(group: &Path) -> bool {
    let text = fs::read_to_string(group.join("pids.events")).unwrap_or_default();
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("max "));
    lines.any(|count| count.trim() != "0")
}

/// Kills all processes of `group`.
pub(super) fn kill_all(group: &Path, version: Version) {
    if version == Version::Two && write(group, "cgroup.kill", "1").is_ok() {
        return;
    }
    let procs = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    for pid in procs.lines().filter_map(|line| line.parse().ok()) {
        // It may have died since; the caller looks again.
        let _ = nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(pid),
            nix::sys::signal::Signal::SIGKILL,
        );
    }
}

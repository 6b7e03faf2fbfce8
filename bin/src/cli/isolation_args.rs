//! How an agent isolates its tasks, as flags.
//!
//! Shared by everything that starts an agent: `run` and `dev` with a cluster of their own, and
//! `tepui-agent`.

use clap::Args;

use crate::daemon::Isolation;

/// Container or plain process; at most one of the two.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct IsolationArgs {
    /// Run tasks as plain processes, without limits that the kernel enforces
    #[arg(long, conflicts_with = "container")]
    process: bool,
    /// Run tasks in containers, and fail where that is not possible
    #[arg(long)]
    container: bool,
}

impl IsolationArgs {
    /// Returns whether one was asked for.
    pub(super) fn flag(self) -> Option<&'static str> {
        match (self.process, self.container) {
            (true, _) => Some("--process"),
            (false, true) => Some("--container"),
            (false, false) => None,
        }
    }

    /// Returns what was asked for; by default containers if possible.
    pub(super) fn isolation(self) -> Isolation {
        match (self.process, self.container) {
            (true, _) => Isolation::Process,
            (false, true) => Isolation::Container,
            (false, false) => Isolation::Auto,
        }
    }
}

//! How a containerizer is set up. Given by whoever runs an agent.

use std::path::PathBuf;
use std::time::Duration;

use crate::connect::LauncherCommand;
use crate::logs::Logs;
use crate::mode::{AgentLoss, Mode};

/// How a containerizer is set up.
#[derive(Clone, Debug)]
pub struct Config {
    /// The agent's directory; sandboxes are made in `sandboxes` below it.
    pub work_dir: PathBuf,
    /// Where the launcher has its socket and its exits file.
    pub runtime_dir: PathBuf,
    /// How programs are run.
    pub mode: Mode,
    /// Below which control group the containers' are; each agent needs its own.
    pub cgroup_root: String,
    /// What the launcher is made of.
    pub launcher: LauncherCommand,
    /// The limit on processes of a container that names none; `None` is no limit.
    pub default_pids: Option<u32>,
    /// How much is kept of what a container writes, if it does not say so itself.
    pub logs: Logs,
    /// What becomes of the containers when the agent is gone.
    pub agent_loss: AgentLoss,
    /// How long a shutdown waits for processes that are killed and do not die (CT-25).
    pub shutdown_patience: Duration,
}

impl Config {
    /// Makes a configuration for `mode` with everything else at its default.
    pub fn new(work_dir: impl Into<PathBuf>, mode: Mode) -> Self {
        let work_dir = work_dir.into();
        Self {
            runtime_dir: work_dir.join("run"),
            work_dir,
            mode,
            cgroup_root: "tepui".to_owned(),
            launcher: LauncherCommand::this_binary(),
            default_pids: None,
            logs: Logs::default(),
            agent_loss: AgentLoss::RunOn,
            shutdown_patience: Duration::from_secs(60),
        }
    }
}

//! The two ways to run a program, which of them is possible on this machine, and what ends it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::cgroup::Hierarchies;
use crate::confine;

/// How programs are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// As plain processes: limits are not enforced.
    Process,
    /// In namespaces and control groups of their own.
    Container,
}

/// What becomes of containers when the connection to their agent ends without a shutdown: it was
/// killed, or has let go of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AgentLoss {
    /// They run on until an agent comes back. For agents that are restarted.
    RunOn,
    /// They end, and what the launcher keeps is removed. For agents that nobody will restart.
    End {
        /// A directory that is then removed too, with everything in it.
        remove: Option<PathBuf>,
    },
}

/// What [`Mode::detect`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detected {
    /// The strongest mode that is possible.
    pub mode: Mode,
    /// Why it is that one, for people.
    pub reason: String,
}

impl Mode {
    /// Finds the strongest mode that is possible here: containers for root on a machine with
    /// usable control groups, else plain processes.
    pub fn detect() -> Detected {
        match container_support() {
            Ok(hierarchies) => Detected {
                mode: Self::Container,
                reason: format!("root, and {}", hierarchies.describe()),
            },
            Err(reason) => Detected {
                mode: Self::Process,
                reason,
            },
        }
    }
}

/// Returns the hierarchies that containers would use, or why there can be no containers.
pub(crate) fn container_support() -> Result<Hierarchies, String> {
    if !nix::unistd::geteuid().is_root() {
        return Err("not root".to_owned());
    }
    if !confine::is_possible() {
        return Err("the kernel is older than 5.12".to_owned());
    }
    Hierarchies::detect().map_err(|error| error.to_string())
}

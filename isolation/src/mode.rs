//! The two ways to run a program, which of them is possible on this machine, and what ends it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::cgroup::{Controller, Hierarchies};
use crate::idspace;
use crate::mountapi;

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
    /// What of containers cannot be enforced here, for people.
    pub unenforced: Vec<&'static str>,
}

/// What containers are made with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Support {
    /// Control groups of these hierarchies: for root.
    Full(Hierarchies),
    /// A user namespace, and nothing that takes privileges outside.
    Rootless,
}

impl Mode {
    /// Finds the strongest mode that is possible here: containers for root on a machine with
    /// usable control groups and for others where they may make user namespaces (WK-56), else
    /// plain processes.
    pub fn detect() -> Detected {
        match container_support() {
            Ok(Support::Full(hierarchies)) => Detected {
                mode: Self::Container,
                reason: format!("root, and {}", hierarchies.describe()),
                unenforced: match hierarchies.version_of(Controller::Devices) {
                    Some(_) => Vec::new(),
                    None => vec!["which of the machine's devices root may open"],
                },
            },
            Ok(Support::Rootless) => Detected {
                mode: Self::Container,
                reason: format!(
                    "not root, but user namespaces; not enforced: {}",
                    idspace::UNENFORCED.join("; ")
                ),
                unenforced: idspace::UNENFORCED.to_vec(),
            },
            Err(reason) => Detected {
                mode: Self::Process,
                reason,
                unenforced: Vec::new(),
            },
        }
    }
}

/// Returns what containers would be made with, or why there can be none.
pub(crate) fn container_support() -> Result<Support, String> {
    if !mountapi::is_possible() {
        return Err("the kernel is older than 5.12".to_owned());
    }
    if !nix::unistd::geteuid().is_root() {
        return idspace::is_possible()
            .map(|()| Support::Rootless)
            .map_err(|why| format!("not root, and no user namespaces: {why}"));
    }
    let hierarchies = Hierarchies::detect().map_err(|error| error.to_string())?;
    Ok(Support::Full(hierarchies))
}

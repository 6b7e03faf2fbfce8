//! What can go wrong between an agent and the kernel, with the path and the data of it.

use std::io;
use std::path::{Path, PathBuf};

/// A failure of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file operation failed.
    #[error("{action} {}: {source}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A system call without a file failed.
    #[error("{call}: {source}")]
    System {
        /// Which call.
        call: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A control group file could not be written.
    #[error("write {data} to {file} of {}: {message}", group.display())]
    Cgroup {
        /// The directory of the group.
        group: PathBuf,
        /// Which file.
        file: String,
        /// What was to be written.
        data: String,
        /// What the system said.
        message: String,
    },
    /// A container asks for what this machine cannot do.
    #[error("{knob} needs the controller {controller}: {message}")]
    Unsupported {
        /// What it asks for.
        knob: &'static str,
        /// Which controller does that.
        controller: &'static str,
        /// What is missing of it.
        message: String,
    },
    /// There are no cores for a container.
    #[error(transparent)]
    Placement(#[from] crate::cgroup::PlacementError),
    /// A step of starting a program failed.
    #[error("{step} {subject}: {source}")]
    Spawn {
        /// Which step.
        step: &'static str,
        /// Of what.
        subject: String,
        /// What the system said.
        source: io::Error,
    },
    /// A description cannot be run.
    #[error("invalid container: {0}")]
    Invalid(String),
    /// Container mode was asked for and is impossible here.
    #[error("container mode is not possible: {0}")]
    NoContainers(String),
    /// The launcher did not come up.
    #[error("launcher in {}: {message}", dir.display())]
    Launcher {
        /// Its directory.
        dir: PathBuf,
        /// What it said, or what was wrong with it.
        message: String,
    },
    /// The kernel has not ended the processes of these containers.
    #[error("not ended, although killed: {}", .0.join(", "))]
    Left(Vec<String>),
    /// A frame on the launcher's socket is not one of ours.
    #[error("frame of the launcher's socket: {0}")]
    Frame(String),
}

/// The result of an operation of this crate.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) fn file(action: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        Self::File {
            action,
            path: path.to_owned(),
            source: source.into(),
        }
    }

    pub(crate) fn system(call: &'static str, source: impl Into<io::Error>) -> Self {
        Self::System {
            call,
            source: source.into(),
        }
    }
}

//! What can go wrong with a container's network: always with the name, the path and the data at
//! fault.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A failure of the network part of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetworkError {
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
    /// A call of the system without a file failed.
    #[error("{call}: {source}")]
    System {
        /// Which call.
        call: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The kernel refused a request over netlink.
    #[error("netlink: {request} {subject}: {source}")]
    Netlink {
        /// What was asked.
        request: &'static str,
        /// Of which link or table.
        subject: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel's answer is none that is understood.
    #[error("netlink: answer to {request}: {problem}")]
    Answer {
        /// What was asked.
        request: &'static str,
        /// What is wrong with the answer.
        problem: &'static str,
    },
    /// There is no such link in the namespace.
    #[error("no network interface {interface:?} in {}", namespace.display())]
    NoInterface {
        /// The name that was looked for.
        interface: String,
        /// Where.
        namespace: PathBuf,
    },
    /// What was asked for cannot be had in host mode.
    #[error("{what} is not possible for a container on the host's network")]
    HostMode {
        /// What was asked for.
        what: &'static str,
    },
    /// A value cannot be meant.
    #[error("invalid {what} {value:?}: {expected} is expected")]
    Invalid {
        /// What the value is.
        what: &'static str,
        /// The value.
        value: String,
        /// What could be meant.
        expected: &'static str,
    },
    /// A port is mapped that the task does not hold.
    #[error("host port {port} is not among the task's ports, {held}")]
    PortNotHeld {
        /// The port.
        port: u16,
        /// The ports that the task holds.
        held: String,
    },
    /// No valid configuration of a network has this name.
    #[error("no network {name:?} in {}{}", dir.display(), unread(faults))]
    NoNetwork {
        /// The name that was looked for.
        name: String,
        /// Where.
        dir: PathBuf,
        /// The files there that are no configurations: it may be one of them.
        faults: Vec<String>,
    },
    /// Several configurations of networks have one name.
    #[error("network {name:?} is configured twice: {} and {}", first.display(), second.display())]
    TwoNetworks {
        /// The name.
        name: String,
        /// One of the files.
        first: PathBuf,
        /// Another of them.
        second: PathBuf,
    },
    /// A file is no configuration of a network.
    #[error("network configuration {}: {problem}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A network cannot do what a container needs of it.
    #[error("no plugin of network {network:?} has the capability {capability:?}")]
    NoCapability {
        /// The network.
        network: String,
        /// The name of the capability in CNI.
        capability: &'static str,
    },
    /// A plugin is in none of the directories of plugins.
    #[error("plugin {plugin:?} of network {network:?} is not in {dirs}")]
    NoPlugin {
        /// The plugin.
        plugin: String,
        /// The network that needs it.
        network: String,
        /// Where it was looked for.
        dirs: String,
    },
    /// A plugin said that it failed.
    #[error("{command} by plugin {plugin:?} of network {network:?}: {failure}")]
    Plugin {
        /// `ADD`, `DEL` or `CHECK`.
        command: &'static str,
        /// The plugin.
        plugin: String,
        /// The network.
        network: String,
        /// How it failed.
        failure: PluginFailure,
    },
    /// The container has networks already.
    #[error("container {id} has networks already")]
    Attached {
        /// The container.
        id: String,
    },
    /// The container has no networks.
    #[error("container {id} has no networks")]
    NotAttached {
        /// The container.
        id: String,
    },
    /// There is a network namespace of this name already.
    #[error("there is a network namespace {} already", path.display())]
    NamespaceExists {
        /// Where it is bound.
        path: PathBuf,
    },
    /// A container was not attached, and what had been done of it is not all undone: a later
    /// detach or recovery has to go on.
    #[error("{failure}; and then, undoing it: {undo}")]
    NotUndone {
        /// Why it was not attached.
        failure: Box<Self>,
        /// Why that is not undone.
        undo: Box<Self>,
    },
    /// What is remembered of a container's networks cannot be read.
    #[error("record of networks {}: {problem}", path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
}

/// How a plugin failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PluginFailure {
    /// It could not be started.
    #[error("cannot be executed: {0}")]
    Exec(io::Error),
    /// It said why, as CNI has it.
    #[error("code {code}: {msg}{}", details_of(details))]
    Said {
        /// CNI's number of the failure: below 100 CNI's own, from there on the plugin's.
        code: u64,
        /// A sentence.
        msg: String,
        /// More of it; may be empty.
        details: String,
    },
    /// It failed without a word that CNI knows.
    #[error("it {status} without an error of CNI{}", said(stderr))]
    Silent {
        /// How it ended, as in "exited with code 1".
        status: String,
        /// The end of what it wrote to its standard error.
        stderr: String,
    },
    /// It did not end in time and was killed, with all processes of its group.
    #[error("not done after {:.1} s, so it was killed{}", after.as_secs_f64(), said(stderr))]
    Timeout {
        /// How long it was waited for.
        after: Duration,
        /// The end of what it wrote to its standard error.
        stderr: String,
    },
    /// It was killed, with all processes of its group, because the container is to leave its
    /// networks.
    #[error("it was ended: the container is to leave its networks")]
    Cancelled,
    /// It succeeded, and its result is none.
    #[error("its result {problem}")]
    Result {
        /// What is wrong with the result.
        problem: String,
    },
    /// A call of the system failed while it ran; it was killed.
    #[error("{call}: {source}")]
    System {
        /// Which call.
        call: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

/// The result of an operation on networks.
pub type Result<T, E = NetworkError> = std::result::Result<T, E>;

impl NetworkError {
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

    pub(crate) fn invalid(
        what: &'static str,
        value: impl AsRef<str>,
        expected: &'static str,
    ) -> Self {
        Self::Invalid {
            what,
            value: value.as_ref().chars().take(100).collect(),
            expected,
        }
    }
}

fn unread(faults: &[String]) -> String {
    if faults.is_empty() {
        return String::new();
    }
    format!("; not readable there: {}", faults.join("; "))
}

fn details_of(details: &str) -> String {
    if details.is_empty() {
        return String::new();
    }
    format!(" ({details})")
}

fn said(stderr: &str) -> String {
    if stderr.is_empty() {
        return String::new();
    }
    format!("; it said: {}", stderr.trim())
}

//! How it is found out whether a task does what it should (TK-95, TK-98).
//!
//! Deliberately not here: when a check is made and what follows from it, which the agent decides;
//! how it is made, which its containerizer knows; checks of these data (`validate_container`).

use alloc::boxed::Box;
use alloc::string::String;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::task::CommandInfo;

/// What is tried (TK-96).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Probe {
    /// A program in the task's container. It does well if it ends with 0.
    Command(Box<CommandInfo>),
    /// A request. It does well if it is answered by 200 to 399, perhaps elsewhere.
    Http(HttpProbe),
    /// A connection. It does well if it is accepted.
    Tcp {
        /// To which port of the container; not zero.
        port: u16,
        /// To which of its own addresses.
        family: Family,
    },
}

/// A request to a port of the container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpProbe {
    /// Whether by TLS. Certificates are not judged.
    pub tls: bool,
    /// To which port; not zero.
    pub port: u16,
    /// For what; it begins with a slash.
    pub path: String,
    /// To which of its own addresses.
    pub family: Family,
}

/// Which of its own addresses a container is asked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Family {
    /// `127.0.0.1`.
    #[default]
    V4,
    /// `::1`.
    V6,
}

/// When something is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rhythm {
    /// How long after the start of the task first.
    pub delay: Duration,
    /// How long after one has ended the next begins.
    pub interval: Duration,
    /// How long one may take; zero is for ever.
    pub timeout: Duration,
}

impl Default for Rhythm {
    fn default() -> Self {
        Self {
            delay: Duration::from_secs(15),
            interval: Duration::from_secs(10),
            timeout: Duration::from_secs(20),
        }
    }
}

/// Finds something out of a task and tells its framework, which judges it (TK-98).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckInfo {
    /// What is tried.
    pub probe: Probe,
    /// When.
    pub rhythm: Rhythm,
}

/// Finds out whether a task is healthy; one that is not for long enough is killed, and has failed
/// (TK-95, TK-97).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheck {
    /// What is tried.
    pub probe: Probe,
    /// When.
    pub rhythm: Rhythm,
    /// How many failures in a row are too many; not zero.
    pub consecutive_failures: u32,
    /// How long after its start failures do not count, if it was never healthy.
    pub grace: Duration,
}

impl HealthCheck {
    /// Tries something at the usual times.
    pub fn new(probe: Probe) -> Self {
        Self {
            probe,
            rhythm: Rhythm::default(),
            consecutive_failures: 3,
            grace: Duration::from_secs(10),
        }
    }
}

/// What a check found out last (TK-98). Nothing yet is `None` in each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CheckStatus {
    /// How the program ended.
    Command {
        /// Its exit code.
        exit_code: Option<i32>,
    },
    /// What the request was answered by.
    Http {
        /// The status code.
        status_code: Option<u16>,
    },
    /// Whether the connection was accepted.
    Tcp {
        /// Whether.
        succeeded: Option<bool>,
    },
}

impl Probe {
    /// Returns what is known before the first try.
    pub const fn unknown(&self) -> CheckStatus {
        match self {
            Self::Command(_) => CheckStatus::Command { exit_code: None },
            Self::Http(_) => CheckStatus::Http { status_code: None },
            Self::Tcp { .. } => CheckStatus::Tcp { succeeded: None },
        }
    }
}

//! How it is found out whether a task does what it should (TK-95, TK-98), and what a try says.
//!
//! Deliberately not here: when a check is made and what follows from it, which the agent decides;
//! how it is made, which its containerizer knows; checks of these data (`validate_container`).

use alloc::boxed::Box;
use alloc::string::String;
use core::fmt;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::status::Exit;
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

/// What came of one try.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProbeOutcome {
    /// The program ended like this.
    Exited(Exit),
    /// The request was answered by this status code.
    Answered(u16),
    /// The connection was accepted, or it was not.
    Accepted(bool),
    /// It could not be found out; why, for people.
    Failed(String),
    /// It took longer than it may.
    TimedOut,
}

impl fmt::Display for ProbeOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(exit) => write!(f, "it ended with {exit}"),
            Self::Answered(code) => write!(f, "it was answered by {code}"),
            Self::Accepted(true) => f.write_str("the connection was accepted"),
            Self::Accepted(false) => f.write_str("the connection was not accepted"),
            Self::Failed(why) => f.write_str(why),
            Self::TimedOut => f.write_str("it took too long"),
        }
    }
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

    /// Returns what is known after a try. One of which nothing came leaves nothing known.
    pub const fn status(&self, outcome: &ProbeOutcome) -> CheckStatus {
        match self {
            Self::Command(_) => CheckStatus::Command {
                exit_code: match outcome {
                    ProbeOutcome::Exited(Exit::Code(code)) => Some(*code),
                    ProbeOutcome::Exited(Exit::Signal(_))
                    | ProbeOutcome::Answered(_)
                    | ProbeOutcome::Accepted(_)
                    | ProbeOutcome::Failed(_)
                    | ProbeOutcome::TimedOut => None,
                },
            },
            Self::Http(_) => CheckStatus::Http {
                status_code: match outcome {
                    ProbeOutcome::Answered(code) => Some(*code),
                    ProbeOutcome::Exited(_)
                    | ProbeOutcome::Accepted(_)
                    | ProbeOutcome::Failed(_)
                    | ProbeOutcome::TimedOut => None,
                },
            },
            Self::Tcp { .. } => CheckStatus::Tcp {
                succeeded: match outcome {
                    ProbeOutcome::Accepted(succeeded) => Some(*succeeded),
                    ProbeOutcome::Exited(_)
                    | ProbeOutcome::Answered(_)
                    | ProbeOutcome::Failed(_)
                    | ProbeOutcome::TimedOut => None,
                },
            },
        }
    }

    /// Returns whether a try did well (TK-96).
    pub fn succeeds(&self, outcome: &ProbeOutcome) -> bool {
        match self.status(outcome) {
            CheckStatus::Command { exit_code } => exit_code == Some(0),
            CheckStatus::Http { status_code } => {
                status_code.is_some_and(|code| (200..400).contains(&code))
            }
            CheckStatus::Tcp { succeeded } => succeeded == Some(true),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_well_and_what_is_known_of_it() {
        // TK-96, TK-98
        let command = Probe::Command(Box::new(CommandInfo::shell("true")));
        let http = Probe::Http(HttpProbe {
            tls: false,
            port: 80,
            path: "/".into(),
            family: Family::V4,
        });
        let (port, family) = (80, Family::V6);
        let tcp = Probe::Tcp { port, family };
        let ended = |exit_code| CheckStatus::Command { exit_code };
        let answered = |status_code| CheckStatus::Http { status_code };
        let accepted = |succeeded| CheckStatus::Tcp { succeeded };
        for (probe, outcome, status, is_good) in [
            (
                &command,
                ProbeOutcome::Exited(Exit::Code(0)),
                ended(Some(0)),
                true,
            ),
            (
                &command,
                ProbeOutcome::Exited(Exit::Code(1)),
                ended(Some(1)),
                false,
            ),
            (
                &command,
                ProbeOutcome::Exited(Exit::Signal(9)),
                ended(None),
                false,
            ),
            (&command, ProbeOutcome::TimedOut, ended(None), false),
            (&command, ProbeOutcome::Accepted(true), ended(None), false),
            (
                &http,
                ProbeOutcome::Answered(199),
                answered(Some(199)),
                false,
            ),
            (
                &http,
                ProbeOutcome::Answered(200),
                answered(Some(200)),
                true,
            ),
            (
                &http,
                ProbeOutcome::Answered(399),
                answered(Some(399)),
                true,
            ),
            (
                &http,
                ProbeOutcome::Answered(400),
                answered(Some(400)),
                false,
            ),
            (
                &http,
                ProbeOutcome::Failed("why".into()),
                answered(None),
                false,
            ),
            (
                &tcp,
                ProbeOutcome::Accepted(true),
                accepted(Some(true)),
                true,
            ),
            (
                &tcp,
                ProbeOutcome::Accepted(false),
                accepted(Some(false)),
                false,
            ),
            (&tcp, ProbeOutcome::TimedOut, accepted(None), false),
        ] {
            assert_eq!(probe.status(&outcome), status, "{probe:?}: {outcome}");
            assert_eq!(probe.succeeds(&outcome), is_good, "{probe:?}: {outcome}");
        }
    }
}

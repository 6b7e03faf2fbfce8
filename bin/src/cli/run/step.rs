//! The steps of a run, as lines for people and as JSON objects for programs.
//!
//! Made by the session, written by the report. The JSON is a contract like that of the lists: the
//! field `event` names the step, fields may be added, none is renamed or removed.

use std::fmt;

use serde::Serialize;
use tepui_core::ids::TaskId;
use tepui_core::protocol::agent::OutputFile;
use tepui_core::protocol::offer::Offer;
use tepui_core::protocol::status::{TaskState, TaskStatus};
use tepui_core::resources::Resources;

use crate::cli::endings;
use crate::cli::output::printable;
use crate::cli::times;
use crate::cli::views::{BreachJson, ExitJson, ResourcesJson};

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub(super) enum Step {
    /// A cluster of our own runs.
    Cluster {
        /// How it isolates tasks.
        mode: String,
    },
    /// The master knows us.
    Subscribed {
        /// As which framework.
        framework: String,
    },
    /// The connection to the master is lost; it is being made again.
    Disconnected,
    /// An offer came that is taken.
    Offer {
        /// Its id.
        offer: String,
        /// Whose resources.
        agent: String,
        /// The agent's name in the network.
        hostname: String,
        /// What is offered.
        resources: ResourcesJson,
    },
    /// No offer was large enough for a while.
    Waiting {
        /// What is needed.
        wanted: ResourcesJson,
        /// What came closest.
        largest: Option<ResourcesJson>,
    },
    /// A task is in another state.
    Task(TaskStep),
    /// A task is being killed.
    Killing {
        /// Which one.
        task: String,
        /// Why.
        cause: Cause,
    },
    /// It ends before any task was launched, or after all have ended.
    NothingRuns {
        /// Why.
        cause: Cause,
    },
    /// A task wrote something.
    Output(Output),
    /// Some output could not be read.
    OutputLost {
        /// Of which task.
        task: String,
        /// Which file.
        file: &'static str,
        /// Why.
        message: String,
    },
    /// It is over; always the last one.
    Exit {
        /// The exit code.
        code: u8,
    },
}

/// Why a task is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Cause {
    /// By the user.
    Interrupted,
    /// Its time is over.
    Timeout,
    /// Nobody reads its output.
    OutputClosed,
}

impl Cause {
    const fn why(self) -> &'static str {
        match self {
            Self::Interrupted => "interrupted",
            Self::Timeout => "its time is over",
            Self::OutputClosed => "nobody reads its output",
        }
    }
}

/// A task's new state.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct TaskStep {
    task: String,
    state: &'static str,
    agent: Option<String>,
    reason: Option<&'static str>,
    message: String,
    /// RFC 3339, in UTC; null as long as only we say so.
    at: Option<String>,
    exit: Option<ExitJson>,
    breach: Option<BreachJson>,
    resources: ResourcesJson,
    /// The same for people.
    #[serde(skip)]
    details: String,
}

/// A piece of what a task wrote: text, or bytes in hexadecimal if it is no UTF-8.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Output {
    task: String,
    file: &'static str,
    text: Option<String>,
    hex: Option<String>,
}

impl Step {
    /// An offer that is taken.
    pub(super) fn offer(offer: &Offer) -> Self {
        Self::Offer {
            offer: offer.id.to_string(),
            agent: offer.agent.to_string(),
            hostname: offer.hostname.to_string(),
            resources: (&offer.resources).into(),
        }
    }

    /// A task that was sent to the master.
    pub(super) fn staging(task: &TaskId, offer: &Offer, resources: &Resources) -> Self {
        Self::Task(TaskStep {
            task: task.to_string(),
            state: TaskState::Staging.as_str(),
            agent: Some(offer.agent.to_string()),
            reason: None,
            message: String::new(),
            at: None,
            exit: None,
            breach: None,
            resources: resources.into(),
            details: String::new(),
        })
    }

    /// A task of which there is news.
    pub(super) fn task(status: &TaskStatus, resources: &Resources) -> Self {
        Self::Task(TaskStep {
            task: status.task.to_string(),
            state: status.state.as_str(),
            agent: status.agent.as_ref().map(ToString::to_string),
            reason: status.reason.map(|reason| reason.as_str()),
            message: status.message.clone(),
            at: Some(times::rfc3339(status.at)),
            exit: status.exit.map(ExitJson::from),
            breach: status.breach.map(BreachJson::from),
            resources: resources.into(),
            details: endings::ending(status),
        })
    }

    /// A piece of output.
    pub(super) fn output(task: &TaskId, file: OutputFile, bytes: &[u8]) -> Self {
        let text = std::str::from_utf8(bytes).ok().map(Into::into);
        let hex = || bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        Self::Output(Output {
            task: task.to_string(),
            file: file_name(file),
            hex: if text.is_some() { None } else { Some(hex()) },
            text,
        })
    }
}

/// Returns what a file of a sandbox is called.
pub(super) fn file_name(file: OutputFile) -> &'static str {
    match file {
        OutputFile::Stdout => "stdout",
        OutputFile::Stderr => "stderr",
    }
}

impl fmt::Display for Step {
    /// One line for people, without what peers could do to a terminal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cluster { mode } => {
                write!(
                    f,
                    "started a cluster of one master and one agent; tasks run in {mode} mode"
                )
            }
            Self::Subscribed { framework } => write!(f, "subscribed as framework {framework}"),
            Self::Disconnected => f.write_str("lost the master; connecting again"),
            Self::Offer {
                offer,
                agent,
                hostname,
                resources,
            } => {
                let hostname = printable(hostname);
                write!(
                    f,
                    "offer {offer} from agent {agent} on {hostname}: {resources}"
                )
            }
            Self::Waiting { wanted, largest } => {
                write!(f, "waiting for an offer of {wanted}: ")?;
                match largest {
                    Some(largest) => write!(f, "the largest so far was {largest}"),
                    None => f.write_str("there was none so far"),
                }
            }
            Self::Task(step) => step.fmt(f),
            Self::Killing { task, cause } => {
                write!(f, "killing task {task}: {}", cause.why())?;
                match cause {
                    Cause::Interrupted => f.write_str("; once more gives up waiting for it"),
                    Cause::Timeout | Cause::OutputClosed => Ok(()),
                }
            }
            Self::NothingRuns { cause } => write!(f, "{}, and no task runs", cause.why()),
            Self::Output(_) => Ok(()),
            Self::OutputLost {
                task,
                file,
                message,
            } => write!(f, "lost {file} of task {task}: {}", printable(message)),
            Self::Exit { code } => write!(f, "exit code {code}"),
        }
    }
}

impl fmt::Display for TaskStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "task {} {}", self.task, self.state)?;
        if !self.details.is_empty() {
            write!(f, ": {}", printable(&self.details))?;
        }
        write!(f, " ({})", self.resources)
    }
}

//! States of a task, and the updates that carry them.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::{fmt, mem};

use serde::{Deserialize, Serialize};

use super::check::CheckStatus;
use super::wire::cut_text;
use crate::ids::{AgentId, TaskId, UpdateId};
use crate::limits;
use crate::resources::Milli;
use crate::time::Time;

/// The state of a task (TK-19 to TK-32).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum TaskState {
    /// Accepted by the master, not yet heard of from the agent.
    Staging,
    /// An executor has it and prepares.
    Starting,
    /// The program runs.
    Running,
    /// A kill is under way.
    Killing,
    /// Ended by itself with exit code 0.
    Finished,
    /// Ended otherwise: exit code, signal, broken limit, failed launch.
    Failed,
    /// Ended by request.
    Killed,
    /// The description was invalid or not allowed; nothing was started.
    Error,
    /// Never started, for sure.
    Dropped,
    /// Its agent does not answer; it may still run.
    Unreachable,
    /// Was running; its agent says that it is gone.
    Gone,
    /// An operator says that its agent is gone.
    GoneByOperator,
    /// The master knows neither the task nor its agent. No end: who was told so asks again after
    /// each subscription, for an agent that was lost may still come back with the task (TK-32).
    Unknown,
}

impl TaskState {
    /// All states, in the order in which they are declared.
    pub const ALL: [Self; 13] = [
        Self::Staging,
        Self::Starting,
        Self::Running,
        Self::Killing,
        Self::Finished,
        Self::Failed,
        Self::Killed,
        Self::Error,
        Self::Dropped,
        Self::Unreachable,
        Self::Gone,
        Self::GoneByOperator,
        Self::Unknown,
    ];

    /// Returns whether a task in this state has ended and will not run again.
    pub const fn is_terminal(self) -> bool {
        match self {
            Self::Finished
            | Self::Failed
            | Self::Killed
            | Self::Error
            | Self::Dropped
            | Self::Gone
            | Self::GoneByOperator => true,
            Self::Staging
            | Self::Starting
            | Self::Running
            | Self::Killing
            | Self::Unreachable
            | Self::Unknown => false,
        }
    }

    /// Returns whether news of `next` may follow news of this state (TK-33). An end may come at any
    /// time and is the last; programs do not start twice; the same may be said again, with more to
    /// it. Out of reach and back is no step of the program: there anything may have happened.
    /// `Unknown` is an answer, and never news.
    pub const fn may_become(self, next: Self) -> bool {
        match (self.step(), next.step()) {
            (Some(before), Some(after)) => before <= after,
            (Some(_), None) => next.is_terminal() || matches!(next, Self::Unreachable),
            (None, _) => !self.is_terminal() && !matches!(next, Self::Unknown),
        }
    }

    /// Returns how far the program is, in a state that says so.
    const fn step(self) -> Option<u8> {
        match self {
            Self::Staging => Some(0),
            Self::Starting => Some(1),
            Self::Running => Some(2),
            Self::Killing => Some(3),
            Self::Finished
            | Self::Failed
            | Self::Killed
            | Self::Error
            | Self::Dropped
            | Self::Unreachable
            | Self::Gone
            | Self::GoneByOperator
            | Self::Unknown => None,
        }
    }

    /// Returns the stable name, in lower case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Staging => "staging",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Killing => "killing",
            Self::Finished => "finished",
            Self::Failed => "failed",
            Self::Killed => "killed",
            Self::Error => "error",
            Self::Dropped => "dropped",
            Self::Unreachable => "unreachable",
            Self::Gone => "gone",
            Self::GoneByOperator => "gone-by-operator",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for TaskState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Who says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Source {
    /// The master.
    Master,
    /// The agent.
    Agent,
    /// The executor, the command executor within the agent included.
    Executor,
}

/// Why a task is in its state. Names are stable; they grow at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Reason {
    /// The container could not be started (TK-39).
    ContainerLaunchFailed,
    /// The memory limit was exceeded (TK-41).
    ContainerLimitationMemory,
    /// The process limit was exceeded.
    ContainerLimitationPids,
    /// The program ended with a non-zero code or by a signal.
    CommandFailed,
    /// Killed before the program was started (TK-62).
    TaskKilledDuringLaunch,
    /// The task's description is invalid (TK-64).
    TaskInvalid,
    /// An offer named in the accept is not (or no longer) the framework's (TK-51).
    InvalidOffers,
    /// The agent is not connected (TK-56).
    AgentDisconnected,
    /// The agent was removed (TK-58).
    AgentRemoved,
    /// The agent restarted before the task was started (TK-61).
    AgentRestarted,
    /// The agent is back and the task lives (TK-60).
    AgentReregistered,
    /// The framework was removed (TK-49).
    FrameworkRemoved,
    /// The executor died (TK-47).
    ExecutorTerminated,
    /// The answer to a reconciliation (TK-54).
    Reconciliation,
    /// The task needs what no operation has made on the agent (AG-30).
    ResourcesUnknown,
    /// It ran for as long as it may (TK-44).
    MaxCompletionTimeReached,
    /// The executor did not subscribe in time (TK-45).
    ExecutorRegistrationTimeout,
    /// The executor did not come back in time when the agent did (TK-46).
    ExecutorReregistrationTimeout,
    /// An operator said that the agent is gone (TK-59).
    AgentRemovedByOperator,
    /// The agent is being drained (TK-57).
    AgentDraining,
    /// The group that the task is of, or another task of it, is invalid (TK-64).
    TaskGroupInvalid,
    /// The agent was not told of the framework (PR-06).
    FrameworkUnknown,
    /// What the executor's container may use could not be changed (AG-35).
    ContainerUpdateFailed,
    /// A limit that has no other name was broken: the program listens on a port that the task does
    /// not have (TK-40).
    ContainerLimitation,
    /// More was written than the task takes of a disk (TK-41).
    ContainerLimitationDisk,
    /// Its check found out something else (TK-63, TK-98).
    TaskCheckStatusUpdated,
    /// Its health check found out something (TK-63, TK-97).
    TaskHealthCheckStatusUpdated,
}

impl Reason {
    /// Returns the stable name, in lower case with dashes.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ContainerLaunchFailed => "container-launch-failed",
            Self::ContainerLimitationMemory => "container-limitation-memory",
            Self::ContainerLimitationPids => "container-limitation-pids",
            Self::CommandFailed => "command-failed",
            Self::TaskKilledDuringLaunch => "task-killed-during-launch",
            Self::TaskInvalid => "task-invalid",
            Self::InvalidOffers => "invalid-offers",
            Self::AgentDisconnected => "agent-disconnected",
            Self::AgentRemoved => "agent-removed",
            Self::AgentRestarted => "agent-restarted",
            Self::AgentReregistered => "agent-reregistered",
            Self::FrameworkRemoved => "framework-removed",
            Self::ExecutorTerminated => "executor-terminated",
            Self::Reconciliation => "reconciliation",
            Self::ResourcesUnknown => "resources-unknown",
            Self::MaxCompletionTimeReached => "max-completion-time-reached",
            Self::ExecutorRegistrationTimeout => "executor-registration-timeout",
            Self::ExecutorReregistrationTimeout => "executor-reregistration-timeout",
            Self::AgentRemovedByOperator => "agent-removed-by-operator",
            Self::AgentDraining => "agent-draining",
            Self::TaskGroupInvalid => "task-group-invalid",
            Self::FrameworkUnknown => "framework-unknown",
            Self::ContainerUpdateFailed => "container-update-failed",
            Self::ContainerLimitation => "container-limitation",
            Self::ContainerLimitationDisk => "container-limitation-disk",
            Self::TaskCheckStatusUpdated => "task-check-status-updated",
            Self::TaskHealthCheckStatusUpdated => "task-health-check-status-updated",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Exit {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

impl Exit {
    /// Returns whether it ended by itself with code 0.
    pub const fn is_success(self) -> bool {
        matches!(self, Self::Code(0))
    }

    /// Returns what a shell would report: the code, or 128 plus the signal.
    pub const fn shell_code(self) -> i32 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => 128 + signal,
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
        }
    }
}

/// A resource whose limit can be broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Limited {
    /// Memory, in MiB.
    Memory,
    /// Processes and threads.
    Pids,
    /// What files take, in MiB.
    Disk,
    /// Ports to listen on: one that the task does not have.
    Ports,
}

/// A limit that a container broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Breach {
    /// Which resource.
    pub resource: Limited,
    /// What was allowed: MiB for memory and disk, a count for processes; nothing for ports.
    pub limit: Milli,
    /// What was used, in the same unit; of ports its number.
    pub used: Milli,
}

/// One piece of news about a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskStatus {
    /// Which task.
    pub task: TaskId,
    /// Its state.
    pub state: TaskState,
    /// Who says so.
    pub source: Source,
    /// Why, if there is more to say than the state.
    pub reason: Option<Reason>,
    /// Details for people.
    pub message: String,
    /// Where it runs or ran.
    pub agent: Option<AgentId>,
    /// When it happened, by the clock of the source.
    pub at: Time,
    /// Names the update if it must be acknowledged.
    pub update: Option<UpdateId>,
    /// How the program ended.
    pub exit: Option<Exit>,
    /// The limit that was broken.
    pub breach: Option<Breach>,
    /// What else is known of it while it lives.
    pub observed: Option<Box<Observed>>,
}

/// What is known of a task that lives, beside its state (TK-65).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observed {
    /// Whether it is healthy; `None` is not known, or not checked (TK-97).
    pub healthy: Option<bool>,
    /// What its check found out last, if it has one (TK-98).
    pub check: Option<CheckStatus>,
    /// The addresses of its container, if that has its own (CT-84); at most
    /// [`limits::ADDRESSES`].
    pub addresses: Vec<String>,
}

impl TaskStatus {
    /// Says that a task is in a state, and no more. What else there is to say is added with
    /// `..TaskStatus::new(..)`.
    pub const fn new(task: TaskId, state: TaskState, source: Source, at: Time) -> Self {
        Self {
            task,
            state,
            source,
            reason: None,
            message: String::new(),
            agent: None,
            at,
            update: None,
            exit: None,
            breach: None,
            observed: None,
        }
    }

    /// Cuts what others may have said at length, so that it fits [`limits::STATUS_BYTES`].
    pub fn shorten(&mut self) {
        self.message = cut_text(mem::take(&mut self.message));
        if let Some(observed) = &mut self.observed {
            let addresses = &mut observed.addresses;
            addresses.retain(|address| address.len() <= limits::ADDRESS_BYTES);
            addresses.truncate(limits::ADDRESSES);
            addresses.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;
    use crate::protocol::wire::size;

    #[test]
    fn news_are_of_bounded_length() {
        // I22
        let id = "x".repeat(limits::ID_BYTES);
        let address = "y".repeat(limits::ADDRESS_BYTES);
        let long = "y".repeat(limits::ADDRESS_BYTES + 1);
        let mut addresses = vec![address.clone(); 2 * limits::ADDRESSES];
        addresses[0] = long;
        let (resource, limit) = (Limited::Ports, Milli::MAX);
        let at = Time::from_micros(u64::MAX);
        let mut status = TaskStatus {
            reason: Some(Reason::TaskHealthCheckStatusUpdated),
            message: "\u{e4}".repeat(limits::TEXT_BYTES),
            agent: Some(AgentId::new(&id).unwrap()),
            update: Some(UpdateId(u128::MAX)),
            exit: Some(Exit::Code(i32::MIN)),
            breach: Some(Breach {
                resource,
                limit,
                used: limit,
            }),
            observed: Some(Box::new(Observed {
                healthy: Some(true),
                check: Some(CheckStatus::Command {
                    exit_code: Some(i32::MIN),
                }),
                addresses,
            })),
            ..TaskStatus::new(
                TaskId::new(&id).unwrap(),
                TaskState::Unknown,
                Source::Executor,
                at,
            )
        };
        status.shorten();
        let bytes = size(&status);
        assert!(bytes <= limits::STATUS_BYTES, "{bytes} bytes");
        assert_eq!(status.message.len(), limits::TEXT_BYTES);
        let observed = status.observed.as_ref().unwrap();
        assert_eq!(observed.addresses, vec![address; limits::ADDRESSES]);
        // What is not long stays as it is.
        let before = status.clone();
        status.shorten();
        assert_eq!(status, before);
    }

    #[test]
    fn what_may_follow_what() {
        // TK-33, TK-34; I11. A row for each state, a column for what follows, in the same order.
        const STATES: [TaskState; 13] = TaskState::ALL;
        const TABLE: [&str; 13] = [
            "++++++++++++.", // staging
            ".+++++++++++.", // starting
            "..++++++++++.", // running
            "...+++++++++.", // killing
            ".............", // finished
            ".............", // failed
            ".............", // killed
            ".............", // error
            ".............", // dropped
            "++++++++++++.", // unreachable
            ".............", // gone
            ".............", // gone by operator
            "++++++++++++.", // unknown
        ];
        for (before, row) in STATES.into_iter().zip(TABLE) {
            assert_eq!(row.len(), STATES.len());
            for (after, mark) in STATES.into_iter().zip(row.chars()) {
                assert_eq!(before.may_become(after), mark == '+', "{before} to {after}");
            }
        }
    }
}

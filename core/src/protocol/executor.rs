//! Between an executor and its agent.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::status::{TaskState, TaskStatus};
use super::task::TaskInfo;
use crate::ids::{AgentId, ExecutorId, FrameworkId, TaskId, UpdateId};

/// What an executor tells its agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Call {
    /// Joins, or comes back after the agent restarted (FW-60).
    Subscribe {
        /// Whose executor.
        framework: FrameworkId,
        /// Which one.
        executor: ExecutorId,
        /// Tasks of which no update was ever acknowledged.
        tasks: Vec<TaskId>,
        /// Updates that were never acknowledged.
        updates: Vec<TaskStatus>,
    },
    /// News about a task. The executor keeps it until it is acknowledged.
    Update(TaskStatus),
    /// Has something to say to the framework (FW-63). Told once, if at all.
    Message(Vec<u8>),
}

/// What an agent tells an executor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// The subscription stands.
    Subscribed {
        /// Where it runs.
        agent: AgentId,
    },
    /// Starts a task.
    Launch(TaskInfo),
    /// Ends a task.
    Kill {
        /// Which one.
        task: TaskId,
        /// The time to end by itself.
        grace: Duration,
    },
    /// The update is durable on the agent (TK-70).
    Acknowledged {
        /// Which task.
        task: TaskId,
        /// Which update.
        update: UpdateId,
    },
    /// Ends all tasks and then itself.
    Shutdown,
    /// The subscription ended, and why.
    Error(String),
    /// The framework has something to say (FW-63). Told once, if at all.
    Message(Vec<u8>),
    /// Starts tasks of one group.
    LaunchGroup(Vec<TaskInfo>),
}

/// Whether an executor may report this state itself.
pub const fn may_report(state: TaskState) -> bool {
    match state {
        TaskState::Starting
        | TaskState::Running
        | TaskState::Killing
        | TaskState::Finished
        | TaskState::Failed
        | TaskState::Killed
        | TaskState::Error
        | TaskState::Dropped => true,
        TaskState::Staging
        | TaskState::Unreachable
        | TaskState::Gone
        | TaskState::GoneByOperator
        | TaskState::Unknown => false,
    }
}

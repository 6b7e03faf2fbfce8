//! What a user's executor hears and says.
//!
//! Deliberately not here: reactions; see [`super::Logic`].

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ids::{AgentId, TaskId};
use crate::protocol::status::{Exit, Reason, TaskState};
use crate::protocol::task::TaskInfo;

/// What a user's executor is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum UserEvent {
    /// The agent knows the executor, for the first time or again.
    Subscribed {
        /// Where it runs.
        agent: AgentId,
    },
    /// The agent is out of reach. Tasks go on.
    Disconnected,
    /// A task to start. Comes once a task. Until something is said of it, the agent takes it for
    /// lost on the way, and asks.
    Launch(TaskInfo),
    /// A task to end.
    Kill {
        /// Which one.
        task: TaskId,
        /// The time to end by itself.
        grace: Duration,
    },
    /// All tasks are to end now; the process follows.
    Shutdown,
    /// The agent turned the executor away, and why.
    Error(String),
    /// The framework has something to say. Told once, if at all.
    Message(Vec<u8>),
    /// Tasks of one group to start, as with `Launch`. The agent ends all of a group once one of
    /// them is killed or has ended otherwise than well.
    LaunchGroup(Vec<TaskInfo>),
}

/// What a user's executor has to say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum UserCall {
    /// There is news about a task. One that is over has no more.
    Update(Report),
    /// The executor is at its end.
    Stop,
    /// Has something to say to the framework, which hears it once, if at all.
    Message(Vec<u8>),
}

/// News about a task, in the words of a user's executor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Which task.
    pub task: TaskId,
    /// Its state; only some can be reported ([`may_report`]).
    ///
    /// [`may_report`]: crate::protocol::executor::may_report
    pub state: TaskState,
    /// Why.
    pub reason: Option<Reason>,
    /// Details for people; cut to [`TEXT_BYTES`](crate::limits::TEXT_BYTES).
    pub message: String,
    /// How its program ended.
    pub exit: Option<Exit>,
}

impl Report {
    /// Says that a task is in a state.
    pub fn new(task: TaskId, state: TaskState) -> Self {
        Self {
            task,
            state,
            reason: None,
            message: String::new(),
            exit: None,
        }
    }
}

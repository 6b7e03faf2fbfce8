//! What containers use, as an agent tells those who may know it: operators of all, frameworks of
//! their own (CT-78 to CT-82).
//!
//! It is asked for over a stream of its own ([`Wanted::Usage`](super::enter::Wanted)), straight to
//! the agent; the answer is one frame for each container that runs, and [`Answer::End`].
//! Deliberately not here: how it is measured.

use alloc::boxed::Box;
use alloc::string::String;

use serde::{Deserialize, Serialize};

use super::enter::Refusal;
use crate::ids::{ContainerId, ExecutorId, FrameworkId, TaskId};

/// Who has a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Holder {
    /// A task, alone.
    Task(TaskId),
    /// An executor, with its tasks.
    Executor(ExecutorId),
}

impl Holder {
    /// Returns its id.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Task(task) => task.as_str(),
            Self::Executor(executor) => executor.as_str(),
        }
    }
}

/// What a container uses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerUsage {
    /// Whose it is.
    pub framework: FrameworkId,
    /// Who has it.
    pub holder: Holder,
    /// The container.
    pub container: ContainerId,
    /// Numbers by their names, as a JSON object: those of Mesos' `ResourceStatistics`, as far as
    /// they are counted. At most
    /// [`limits::STATISTICS_BYTES`](crate::limits::STATISTICS_BYTES) long.
    pub statistics: String,
}

/// What an agent answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// One container.
    Container(Box<ContainerUsage>),
    /// There will be no other answer.
    Refused(Refusal),
    /// These were all that run, and that who asks may know of.
    End,
}

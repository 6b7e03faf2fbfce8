//! A look at an agent from outside, for whoever serves reads. It is of one moment, for it borrows
//! the agent; who goes on looking asks for its version first.
//!
//! Deliberately not here: permission to look.

use alloc::string::String;
use alloc::vec::Vec;

use super::launch;
use super::tasks::{Placement, Task, UPDATES_PER_TASK};
use super::{Agent, EndedTask, Number};
use crate::ids::{AgentId, ContainerId, FrameworkId, TaskId};
use crate::limits::{self, Filled};
use crate::protocol::events::Version;
use crate::protocol::status::TaskState;
use crate::protocol::task::TaskInfo;
use crate::resources::Resources;

/// A look at an agent.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    agent: &'a Agent,
}

/// A task in short.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskSummary<'a> {
    /// Whose task.
    pub framework: &'a FrameworkId,
    /// The task.
    pub task: &'a TaskInfo,
    /// Its newest state.
    pub state: TaskState,
    /// The container that it runs in, alone or with its executor's other tasks.
    pub container: Option<ContainerId>,
    /// How many updates about it wait for an acknowledgement.
    pub unacknowledged: usize,
}

/// Where a task's output is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sandbox {
    /// Path components below the agent's sandbox directory.
    pub components: Vec<String>,
    /// Whether nothing more will be written to it.
    pub is_over: bool,
}

impl<'a> View<'a> {
    pub(super) fn new(agent: &'a Agent) -> Self {
        Self { agent }
    }

    /// Returns which state this is: two looks that have the same version show the same. To a
    /// picture of it, and to what comes after, leads [`Followed`](crate::feed::Followed).
    pub fn version(&self) -> Version {
        self.agent.feed.newest()
    }

    /// Returns the agent's id, once it has one.
    pub fn id(&self) -> Option<&'a AgentId> {
        self.agent.state.agent()
    }

    /// Returns whether a master has taken the agent in, on a connection that lives.
    pub fn is_registered(&self) -> bool {
        self.agent.link.joined().is_some()
    }

    /// Returns what it has: what its configuration says, and what operations have made of that.
    pub fn total(&self) -> &'a Resources {
        &self.agent.total
    }

    /// Lists all tasks that are not over and acknowledged.
    pub fn tasks(&self) -> impl Iterator<Item = TaskSummary<'a>> + use<'a> {
        let tasks = self.agent.state.tasks().iter();
        tasks.map(|(number, task)| summary(*number, task))
    }

    /// Lists the tasks that are not over: with the framework's id and principal.
    pub fn unfinished(&self) -> impl Iterator<Item = (TaskSummary<'a>, Option<&'a str>)> + use<'a> {
        let state = &self.agent.state;
        self.tasks()
            .filter(|task| !task.state.is_terminal())
            .map(|task| {
                let framework = state.frameworks().get(task.framework);
                (task, framework.and_then(|f| f.info.principal.as_deref()))
            })
    }

    /// Finds a task that is not over and acknowledged.
    pub fn task(&self, framework: &FrameworkId, task: &TaskId) -> Option<TaskSummary<'a>> {
        let number = self.agent.state.find_task(framework, task)?;
        let task = self.agent.state.task(number)?;
        Some(summary(number, task))
    }

    /// Lists the last tasks that have ended in this life of the agent, by framework.
    pub fn ended(&self) -> impl Iterator<Item = (&'a FrameworkId, &'a EndedTask)> + use<'a> {
        self.agent.history.iter()
    }

    /// Returns how many sandboxes of what has ended wait to be deleted, and how many of them could
    /// not be.
    pub fn retired_sandboxes(&self) -> (usize, usize) {
        (
            self.agent.state.retired().len(),
            self.agent.deletions.failed(),
        )
    }

    /// Lists what is bounded, how much there is of it, and how much there may be (I22).
    pub fn filled(&self) -> [Filled; 13] {
        let state = &self.agent.state;
        let (frameworks, containers, tasks) = self.agent.history.most();
        let under_way = self.agent.deletions.under_way();
        let bounds = &self.agent.config.bounds;
        let updates = state
            .tasks()
            .values()
            .map(|task| task.unacknowledged().len());
        let introduced = self.agent.introduced.len();
        let (said, said_bytes) = (state.said().len(), state.said_bytes());
        // Those that cannot be deleted, or are about to be, are past the bound.
        let kept = state.retired().len();
        let kept = kept.saturating_sub(under_way + self.agent.deletions.failed());
        [
            Filled::new("tasks", state.tasks().len(), limits::TASKS_PER_AGENT),
            Filled::new("updates", updates.max().unwrap_or(0), UPDATES_PER_TASK),
            Filled::new("sandboxes", kept, limits::RETIRED_SANDBOXES),
            Filled::new("deletions", under_way, bounds.deletions),
            Filled::new("frameworks introduced", introduced, limits::INTRODUCED),
            Filled::new("news of operations", said, limits::OPERATIONS_SAID),
            Filled::new(
                "bytes of such news",
                said_bytes,
                limits::OPERATIONS_SAID_BYTES,
            ),
            Filled::new(
                "disks at work",
                state.jobs().len(),
                limits::DISK_JOBS_PER_AGENT,
            ),
            Filled::new(
                "destroyed volumes",
                state.volumes().destroyed(),
                limits::DESTROYED_VOLUMES,
            ),
            Filled::new(
                "bytes of destroyed volumes",
                state.volumes().destroyed_bytes(),
                limits::DESTROYED_VOLUMES_BYTES,
            ),
            Filled::new(
                "frameworks of the past",
                frameworks,
                bounds.completed_frameworks,
            ),
            Filled::new(
                "executors of the past",
                containers,
                bounds.completed_executors,
            ),
            Filled::new("tasks of the past", tasks, bounds.completed_of_executor),
        ]
    }

    /// Says where the output of a task is, unless it is over and acknowledged.
    pub fn sandbox(&self, framework: &FrameworkId, task: &TaskId) -> Option<Sandbox> {
        let state = &self.agent.state;
        let number = state.find_task(framework, task)?;
        let row = state.task(number)?;
        let components = match (row.placement(), &row.info().executor) {
            (Placement::Executor(executor), Some(info)) => {
                launch::executor_sandbox(framework, &info.id, executor)
            }
            (Placement::Own | Placement::Nowhere | Placement::Executor(_), _) => {
                launch::task_sandbox(framework, task, number)
            }
        };
        let container = match row.placement() {
            Placement::Own => number,
            Placement::Executor(executor) => executor,
            Placement::Nowhere => number,
        };
        Some(Sandbox {
            components,
            is_over: self.agent.containers.phase(container).is_none(),
        })
    }
}

fn summary(number: Number, task: &Task) -> TaskSummary<'_> {
    TaskSummary {
        framework: task.framework(),
        task: task.info(),
        state: task.state(),
        container: match task.placement() {
            Placement::Own => Some(number.container()),
            Placement::Executor(executor) => Some(executor.container()),
            Placement::Nowhere => None,
        },
        unacknowledged: task.unacknowledged().len(),
    }
}

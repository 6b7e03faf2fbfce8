//! Between an agent and the master, and reads of task output from an agent.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::check::CheckStatus;
use super::discovery::Published;
use super::disk::{DiskEnd, DiskJob, DiskOutcome};
use super::framework::FrameworkInfo;
use super::node::AgentInfo;
use super::operation::{Converted, OperationStatus, Order};
use super::status::{Exit, TaskState, TaskStatus};
use super::task::{ExecutorInfo, TaskInfo};
use super::wire::size;
use crate::ids::{AgentId, ExecutorId, FrameworkId, MasterId, TaskId, UpdateId};
use crate::limits;
use crate::resources::Resources;
use crate::roles::Role;
use crate::time::Time;

/// A task as a returning agent knows it (PR-02): what the master keeps of it, and no more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskReport {
    /// Whose task.
    pub framework: FrameworkId,
    /// Its id.
    pub task: TaskId,
    /// Its name for people.
    pub name: String,
    /// In which role it was launched; its framework may have left it since (RQ-03).
    pub role: Role,
    /// What it takes.
    pub resources: Resources,
    /// The executor that runs it, if it names one and the task is not over. The agent describes it
    /// once, by [`ToMaster::Executors`].
    pub executor: Option<ExecutorId>,
    /// Its newest state, which may be terminal but not yet acknowledged.
    pub state: TaskState,
    /// What it publishes about itself, if it does (TK-04).
    pub published: Option<Arc<Published>>,
    /// Whether it is healthy, as far as that was said (TK-97).
    pub healthy: Option<bool>,
    /// What was said last of what its check finds out (TK-98).
    pub check: Option<CheckStatus>,
}

impl TaskReport {
    /// Says in which state a framework's task is.
    pub fn new(framework: FrameworkId, role: Role, task: &TaskInfo, state: TaskState) -> Self {
        let executor = task.executor.as_ref().filter(|_| !state.is_terminal());
        Self {
            framework,
            task: task.id.clone(),
            name: task.name.clone(),
            role,
            resources: task.resources.clone(),
            executor: executor.map(|executor| executor.id.clone()),
            state,
            published: task.published(),
            healthy: None,
            check: None,
        }
    }

    /// Returns how long a report of a task is, on the wire, whoever owns it and however it is.
    pub fn most_bytes(
        (id, name, executor): (&TaskId, &str, Option<&ExecutorId>),
        role: &Role,
        resources: &Resources,
        published: Option<&Published>,
    ) -> usize {
        // Its framework's id with the length of that, its state, and its health with its check.
        let most = limits::ID_BYTES + 3 + 10;
        size(&(id, name, role, resources, executor, published)) + most
    }
}

/// An executor as a returning agent knows it (PR-02): a custom one that has not ended, or one that
/// tasks name which are not over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecutorReport {
    /// Whose executor.
    pub framework: FrameworkId,
    /// In which role it was launched (RQ-06).
    pub role: Role,
    /// The executor.
    pub executor: ExecutorInfo,
}

impl ExecutorReport {
    /// Returns how long a report of an executor is, on the wire, whoever owns it.
    pub fn most_bytes(role: &Role, executor: &ExecutorInfo) -> usize {
        // Its framework's id with the length of that.
        size(&(role, executor)) + limits::ID_BYTES + 2
    }
}

/// What an agent tells the master.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToMaster {
    /// Joins for the first time (PR-01).
    Register {
        /// The machine.
        agent: AgentInfo,
    },
    /// Comes back (PR-02). What does not fit into this frame was said before, by `Report`.
    Reregister {
        /// The id that it was given.
        id: AgentId,
        /// The machine.
        agent: AgentInfo,
        /// The frameworks that have tasks here, with their ids.
        frameworks: Vec<FrameworkInfo>,
        /// The tasks that are not yet over and acknowledged.
        tasks: Vec<TaskReport>,
    },
    /// Answers a ping (PR-05).
    Pong,
    /// News about a task (PR-08).
    Update {
        /// Whose task.
        framework: FrameworkId,
        /// The news; the oldest that is not acknowledged.
        status: TaskStatus,
        /// The task's newest state, so that resources are freed at once (TK-71).
        latest: TaskState,
    },
    /// Begins to come back: a part of what `Reregister` will complete. Nothing follows from it
    /// alone, and it is forgotten with the connection.
    Report {
        /// As in `Reregister`.
        frameworks: Vec<FrameworkInfo>,
        /// As in `Reregister`.
        tasks: Vec<TaskReport>,
    },
    /// Begins to come back: what operations have made of the agent's resources. Not said if there
    /// was none. Nothing follows from it alone, as with `Report`.
    Converted(Converted),
    /// All operations up to this number have been carried out, and will not be forgotten.
    CarriedOut {
        /// The number of the last one.
        last: u64,
    },
    /// What became of an operation that its framework has named (PR-11); said until it is
    /// acknowledged.
    OperationUpdate {
        /// The number of the operation.
        number: u64,
        /// Whose operation.
        framework: FrameworkId,
        /// The news.
        status: OperationStatus,
    },
    /// An executor has something to say to its framework (PR-08). Told once, if at all.
    Message {
        /// Whose executor.
        framework: FrameworkId,
        /// Which one.
        executor: ExecutorId,
        /// What it says.
        data: Vec<u8>,
    },
    /// An executor has ended, or was not started though the master said so (PR-08, AG-29): what it
    /// used is free. Told once, if at all; of its tasks their updates tell.
    ExecutorEnded {
        /// Whose executor.
        framework: FrameworkId,
        /// Which one.
        executor: ExecutorId,
        /// How, if that is known.
        exit: Option<Exit>,
    },
    /// Leaves for good, and ends what it runs (PR-13).
    Unregister,
    /// The provider of its disks has done something, or could not (SM-31, SM-32); said until the
    /// order comes that ends the job.
    DiskEnded {
        /// The job, as it was ordered.
        job: DiskJob,
        /// What came of it.
        outcome: DiskOutcome,
    },
    /// Begins to come back: custom executors that have not ended, of whatever tasks, and all that
    /// reported tasks name. Those of frameworks that were shut down are among them. Nothing follows
    /// from it alone, as with `Report`.
    Executors(Vec<ExecutorReport>),
    /// Begins to come back: what the provider of its disks is at, and what of that is not yet ended
    /// by an order. Nothing follows from it alone, as with `Report`.
    DiskJobs(Vec<DiskJob>),
}

/// What the master tells an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToAgent {
    /// The registration is durable (PR-03).
    Registered {
        /// The agent's id from now on.
        id: AgentId,
        /// The leadership that speaks.
        master: MasterId,
        /// The epoch of that leadership; a lower one than seen before is refused.
        epoch: u64,
        /// Silence for longer than this means that the connection is dead (AG-06).
        ping_timeout: Duration,
    },
    /// The agent is known again, and all that it reported was read (PR-03). What was not reported
    /// is named by the `Missing` that follow.
    Reregistered {
        /// The agent's id.
        id: AgentId,
        /// The leadership that speaks.
        master: MasterId,
        /// The epoch of that leadership.
        epoch: u64,
        /// As in `Registered`.
        ping_timeout: Duration,
    },
    /// The registration is refused for good; the agent stops and says why (AG-09).
    Refused(String),
    /// Are you there? (PR-05)
    Ping,
    /// Starts a task (PR-06).
    RunTask {
        /// Whose task: of a framework that the agent was told of, by `UpdateFramework`. Of others
        /// the agent drops it.
        framework: FrameworkId,
        /// The role of the offers that it was launched on (RQ-06).
        role: Role,
        /// The task.
        task: TaskInfo,
        /// Whether its executor is to be started, and its resources are in use from now on. If not,
        /// and there is no such executor (it has just ended), the task is dropped (AG-29).
        starts_executor: bool,
    },
    /// Ends a task (PR-07).
    KillTask {
        /// Whose task.
        framework: FrameworkId,
        /// Which one.
        task: TaskId,
        /// The time between SIGTERM and SIGKILL; `None` is the task's own.
        grace: Option<Duration>,
    },
    /// Ends all tasks of a framework that is gone (PR-07). Of each the agent says once that it is
    /// over, by an update without a name.
    ShutdownFramework(FrameworkId),
    /// The framework has got an update (PR-09).
    Acknowledge {
        /// Whose task.
        framework: FrameworkId,
        /// Which task.
        task: TaskId,
        /// Which update.
        update: UpdateId,
    },
    /// Tasks that the master believes to be here and the agent did not report: it answers with
    /// their end (PR-03), at once or, of those of a framework that was shut down, when they are
    /// over.
    Missing(Vec<(FrameworkId, TaskId)>),
    /// Makes something else of some of its resources (PR-10): at once if it is the next operation,
    /// not again if it is an earlier one, and not at all if others before it are missing.
    Convert(Order),
    /// The framework has got the news about an operation.
    AcknowledgeOperation {
        /// The number of the operation.
        number: u64,
        /// Which news.
        update: UpdateId,
    },
    /// The agent is gone for good: it ends all that it runs, forgets its id, and ends itself. Its
    /// tasks were said to be gone (PR-12, TK-114).
    Shutdown(String),
    /// The agent is drained: it ends its tasks and takes no others (PR-12, TK-124). Said again
    /// whenever it comes back.
    Drain {
        /// The longest that tasks have between SIGTERM and SIGKILL; `None` leaves each its own.
        max_grace: Option<Duration>,
        /// Since when, by the clock of masters. Another moment is another drain: the one before was
        /// called off, with the time that it gave.
        since: Time,
    },
    /// The agent takes tasks again. Those that it is ending it ends.
    Undrain,
    /// What a framework says about itself, with its id: told before the first of its tasks that
    /// starts over this connection, and when it says something else. It goes with the connection,
    /// or when more are told of than agents keep ([`Introduced`](super::framework::Introduced)).
    UpdateFramework(FrameworkInfo),
    /// A framework has something to say to its executor (PR-09). Told once, if at all.
    Message {
        /// Whose executor.
        framework: FrameworkId,
        /// Which one.
        executor: ExecutorId,
        /// What it says.
        data: Vec<u8>,
    },
    /// Ends an executor with all its tasks (PR-07).
    ShutdownExecutor {
        /// Whose executor.
        framework: FrameworkId,
        /// Which one.
        executor: ExecutorId,
    },
    /// Starts tasks together, or none of them (OF-23).
    RunGroup(GroupOrder),
    /// Has the provider of its disks do something; an order in turn as `Convert` is.
    BeginDisk(DiskJob),
    /// Ends such a job; an order in turn as `Convert` is.
    EndDisk(DiskEnd),
}

/// The order to start tasks together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupOrder {
    /// Whose tasks, as with `RunTask`.
    pub framework: FrameworkId,
    /// In which role their resources are held.
    pub role: Role,
    /// The tasks, each with the executor that they have in common.
    pub tasks: Vec<TaskInfo>,
    /// Whether they are the first ones of it, so that it is started.
    pub starts_executor: bool,
}

/// A file of a task's sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OutputFile {
    /// What the task wrote to its standard output.
    Stdout,
    /// What the task wrote to its standard error.
    Stderr,
}

/// A request for a task's output, the first frame of a stream of its own. The bytes follow raw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Read {
    /// Whose task.
    pub framework: FrameworkId,
    /// Which task.
    pub task: TaskId,
    /// Which file.
    pub file: OutputFile,
    /// From which byte on.
    pub offset: u64,
    /// Whether to go on as the file grows, until the task is over and all is sent.
    pub follow: bool,
}

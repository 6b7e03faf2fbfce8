//! The records that an agent's state is rebuilt from.
//!
//! Written by all that decides in the agent, applied by `journal`.
//!
//! Deliberately not here: what follows from each.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::tasks::Placement;
use crate::ids::{AgentId, BootId, FrameworkId, UpdateId};
use crate::protocol::disk::{DiskEnd, DiskJob, DiskOutcome};
use crate::protocol::framework::FrameworkInfo;
use crate::protocol::node::AgentInfo;
use crate::protocol::operation::Order;
use crate::protocol::status::TaskStatus;
use crate::protocol::task::{ExecutorInfo, TaskInfo};
use crate::roles::Role;
use crate::time::Time;

/// Names a task or an executor within one agent, for ever. A container carries the number of what
/// runs in it.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Number(pub u64);

/// One thing that an agent must remember. Grows at the end only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AgentRecord {
    /// A master gave the agent its id.
    Admitted {
        /// The id, from now on.
        agent: AgentId,
    },
    /// A leadership was heard of; lower ones are refused from now on.
    EpochSeen {
        /// Its epoch.
        epoch: u64,
    },
    /// An executor's container is about to be started.
    ExecutorLaunched {
        /// Its number, and that of its container.
        number: Number,
        /// Whose executor, with its id.
        framework: FrameworkInfo,
        /// In which role its resources are held.
        role: Role,
        /// The executor.
        executor: ExecutorInfo,
    },
    /// An executor subscribed for the first time, so that tasks may have reached it.
    ExecutorSubscribed {
        /// Which one.
        executor: Number,
    },
    /// An executor's container is gone, and every task of it is over.
    ExecutorEnded {
        /// Which one.
        executor: Number,
    },
    /// A task was taken on.
    TaskAccepted {
        /// Its number; that of its container too, if it has one of its own.
        number: Number,
        /// Whose task, with its id.
        framework: FrameworkInfo,
        /// In which role it was launched.
        role: Role,
        /// The task.
        task: TaskInfo,
        /// Where it runs.
        placement: Placement,
    },
    /// A task is to end.
    KillRequested {
        /// Which one.
        task: Number,
        /// When patience would end if it began with the moment that was noted last.
        destroy_at: Time,
    },
    /// There is news about a task, to be told until it is acknowledged.
    Updated {
        /// Which one.
        task: Number,
        /// The news.
        status: TaskStatus,
    },
    /// The framework has the oldest news. A task goes with its last.
    Acknowledged {
        /// Which task.
        task: Number,
        /// The update.
        update: UpdateId,
    },
    /// A framework is gone: its tasks are to end, and nobody is to hear of them.
    FrameworkEnded {
        /// Which one.
        framework: FrameworkId,
        /// When patience would end if it began with the moment that was noted last.
        destroy_at: Time,
    },
    /// A task of an ended framework is over.
    TaskForgotten {
        /// Which one.
        task: Number,
    },
    /// A task ran for as long as it may, and is to end.
    RanOut {
        /// Which one.
        task: Number,
        /// Since when.
        at: Time,
    },
    /// The sandbox of something that has ended is gone.
    Collected {
        /// Whose.
        sandbox: Number,
        /// When it was retired.
        at: Time,
    },
    /// The agent describes itself so from now on.
    Described {
        /// The machine.
        info: AgentInfo,
    },
    /// What ran when the machine ended is over, and this is another run of it.
    Booted {
        /// Which one.
        boot: BootId,
    },
    /// An operation was carried out, the next one in turn.
    CarriedOut {
        /// The operation.
        order: Order,
        /// The name of the news about it, if its framework wants to hear it.
        update: Option<UpdateId>,
        /// When.
        at: Time,
    },
    /// The framework has the news about an operation, or nobody wants it any more.
    OperationAcknowledged {
        /// The operation's number.
        number: u64,
    },
    /// A framework says something else about itself.
    FrameworkChanged {
        /// What, with its id.
        framework: FrameworkInfo,
    },
    /// The agent has left, or is gone to its cluster: the next time that it joins, it is a new one.
    Left,
    /// Tasks were taken on together.
    GroupAccepted {
        /// The number of the first; the others follow.
        first: Number,
        /// Whose tasks, with its id.
        framework: FrameworkInfo,
        /// In which role their resources are held.
        role: Role,
        /// The tasks.
        tasks: Vec<TaskInfo>,
        /// Where they run: in containers of their own, each, or in that of one executor.
        placement: Placement,
    },
    /// The provider of disks is asked to do something: an operation, the next one in turn.
    DiskBegun {
        /// What.
        job: DiskJob,
        /// When.
        at: Time,
    },
    /// It has, or could not; the master is told until it ends the job.
    DiskEnded {
        /// The number of the job.
        job: u64,
        /// What came of it.
        outcome: DiskOutcome,
    },
    /// The job is over: an operation, the next one in turn.
    DiskOver {
        /// What there is now.
        end: DiskEnd,
        /// The name of the news about it, if its framework wants to hear it.
        update: Option<UpdateId>,
        /// When.
        at: Time,
    },
    /// So late it is: no clock goes behind it.
    Moment {
        /// The moment.
        at: Time,
    },
    /// An executor is to end with all its tasks, for its framework wants it no more.
    ExecutorUnwanted {
        /// Which one.
        executor: Number,
    },
    /// The agent has come up while something was to end, which is given time anew, but less each
    /// time.
    Resumed,
    /// The provider has taken back what a job made that had failed.
    DiskUndone {
        /// The number of the job.
        job: u64,
    },
    /// A task is unhealthy for too long, and is to end.
    Unhealthy {
        /// Which one.
        task: Number,
        /// What its health check has found out, for people.
        why: String,
        /// When patience would end if it began with the moment that was noted last.
        destroy_at: Time,
    },
    /// What was on volumes that an operation has destroyed is deleted.
    VolumesDeleted {
        /// The number of the operation.
        order: u64,
    },
}

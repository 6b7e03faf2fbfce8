//! What is told of an agent: its rows, for those who read snapshots and events.
//!
//! Deliberately not here: how they are told (`following`).

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::containers::Phase;
use super::disks::Job;
use super::executors::{Executor, Session};
use super::history::{Ended, EndedTask};
use super::operations::Said;
use super::records::Number;
use super::registration::Link;
use super::tasks::{Placement, Task};
use crate::ids::{AgentId, ContainerId, ExecutorId, FrameworkId, TaskId, UpdateId};
use crate::protocol::events::Named;
use crate::protocol::operation::{OperationKind, OperationStatus};
use crate::protocol::status::{Reason, TaskState};
use crate::resources::Resources;
use crate::roles::Role;
use crate::time::Time;

/// A row of an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Row {
    /// The agent itself: always there.
    Agent(AgentRow),
    /// An executor that has a container.
    Executor(ExecutorRow),
    /// An executor in this life of the agent.
    Session(SessionRow),
    /// A container that has not ended.
    Container(ContainerRow),
    /// A task that is not over and acknowledged.
    Task(TaskRow),
    /// A task that has ended in this life, as far as it is remembered.
    Ended(EndedRow),
    /// News about an operation that nobody has acknowledged.
    Operation(OperationRow),
    /// Something that the provider of disks is at.
    Disk(DiskRow),
}

/// What names a row. No two rows of one version have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum RowId {
    /// The agent.
    Agent,
    /// An executor.
    Executor(Number),
    /// An executor in this life.
    Session(Number),
    /// A container.
    Container(Number),
    /// A task.
    Task(Number),
    /// A task that has ended, in the order of ends.
    Ended(u64),
    /// An operation.
    Operation(u64),
    /// What the provider of disks is at.
    Disk(u64),
}

/// An agent without what it runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentRow {
    /// Its id, once it has one.
    pub id: Option<AgentId>,
    /// How it stands with its master.
    pub standing: Standing,
    /// The highest epoch of a leadership that it has heard of.
    pub epoch: u64,
    /// What it has: what its configuration says, and what operations have made of that.
    pub total: Resources,
    /// The number of the last operation that it has carried out.
    pub carried_out: u64,
    /// Whether it is being drained, as the master has said since the agent last joined.
    pub drains: bool,
    /// When the drain has had its time, of those with a bound.
    pub drain_due: Option<Time>,
    /// Whether it ends itself once nothing runs any more.
    pub leaves: bool,
    /// How many sandboxes of what has ended wait to be deleted.
    pub retired: usize,
    /// How many of them could not be.
    pub undeletable: usize,
}

/// How an agent stands with its master.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Standing {
    /// It knows of no master.
    Away,
    /// It knows of one, and not yet what its containers do.
    Recovering,
    /// It asks to be taken in.
    Joining,
    /// It is registered.
    Joined,
    /// It was refused for good, or has left.
    Stopped,
}

impl From<Link> for Standing {
    fn from(link: Link) -> Self {
        match link {
            Link::Away => Self::Away,
            Link::Recovering(_) => Self::Recovering,
            Link::Joining { .. } => Self::Joining,
            Link::Joined { .. } => Self::Joined,
            Link::Stopped => Self::Stopped,
        }
    }
}

/// An executor that has a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecutorRow {
    /// Its number on this agent, which its container carries.
    pub number: Number,
    /// Whose.
    pub framework: FrameworkId,
    /// Its id.
    pub id: ExecutorId,
    /// The role in which it was launched.
    pub role: Role,
    /// What it uses beside its tasks.
    pub resources: Resources,
    /// Whether it ever subscribed.
    pub subscribed: bool,
    /// Whether its framework has said that it is to end.
    pub unwanted: bool,
    /// Its tasks that are not over and acknowledged.
    pub tasks: usize,
}

/// An executor in this life of the agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRow {
    /// Its number.
    pub number: Number,
    /// Whether it is subscribed on a connection that lives.
    pub connected: bool,
    /// Whether it is to come back to an agent that has restarted.
    pub returning: bool,
    /// How many tasks it was handed, or has said to have.
    pub delivered: usize,
    /// Why it is being ended, if it is.
    pub ending: Option<Reason>,
}

/// A container that has not ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerRow {
    /// The number of the task or executor in it.
    pub number: Number,
    /// Its name.
    pub id: ContainerId,
    /// How far it is.
    pub stage: ContainerStage,
    /// When its time is over, if it was given one.
    pub due: Option<Time>,
}

/// How far a container is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ContainerStage {
    /// Ordered, or asked about after a restart; not heard of yet.
    Launching,
    /// It took too long to start, and its end was ordered.
    Stuck,
    /// Its program runs.
    Running,
    /// Its program was asked to end.
    Ending,
    /// Its end was ordered.
    Destroyed,
}

/// A task that is not over and acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskRow {
    /// Its number on this agent.
    pub number: Number,
    /// Whose.
    pub framework: FrameworkId,
    /// Its id.
    pub id: TaskId,
    /// Its name for people.
    pub name: String,
    /// The role in which it was launched.
    pub role: Role,
    /// What it uses.
    pub resources: Resources,
    /// The container that it runs in, alone or with its executor's other tasks.
    pub container: Option<ContainerId>,
    /// Its newest state.
    pub state: TaskState,
    /// Whether it was told to end.
    pub ends: bool,
    /// Since when it runs, if it does and its end was not asked for.
    pub running_since: Option<Time>,
    /// The updates that its framework has not acknowledged, oldest first.
    pub unacknowledged: Vec<Unacknowledged>,
}

/// An update that was not acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unacknowledged {
    /// Which one.
    pub update: Option<UpdateId>,
    /// The state that it tells.
    pub state: TaskState,
    /// Since when.
    pub at: Time,
}

/// A task that has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndedRow {
    /// In the order of ends.
    pub number: u64,
    /// Whose.
    pub framework: FrameworkId,
    /// The container that it ran in, or would have.
    pub container: ContainerId,
    /// The task.
    pub task: EndedTask,
}

/// News about an operation that nobody has acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperationRow {
    /// The number of its order.
    pub number: u64,
    /// Whose.
    pub framework: FrameworkId,
    /// The news.
    pub status: OperationStatus,
}

/// Something that the provider of disks is at, or the master has not ended yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskRow {
    /// The number of the order that began it.
    pub number: u64,
    /// What it does.
    pub kind: OperationKind,
    /// Whether the provider has said how it ended.
    pub answered: bool,
}

impl Named for Row {
    type Id = RowId;

    fn id(&self) -> RowId {
        match self {
            Self::Agent(_) => RowId::Agent,
            Self::Executor(row) => RowId::Executor(row.number),
            Self::Session(row) => RowId::Session(row.number),
            Self::Container(row) => RowId::Container(row.number),
            Self::Task(row) => RowId::Task(row.number),
            Self::Ended(row) => RowId::Ended(row.number),
            Self::Operation(row) => RowId::Operation(row.number),
            Self::Disk(row) => RowId::Disk(row.number),
        }
    }
}

pub(super) fn executor((number, row): &(Number, Executor)) -> Option<Row> {
    Some(Row::Executor(ExecutorRow {
        number: *number,
        framework: row.framework().clone(),
        id: row.info().id.clone(),
        role: row.role().clone(),
        resources: row.info().resources.clone(),
        subscribed: row.has_subscribed(),
        unwanted: row.is_unwanted(),
        tasks: row.tasks().len(),
    }))
}

pub(super) fn session((number, row): &(Number, Session)) -> Option<Row> {
    Some(Row::Session(SessionRow {
        number: *number,
        connected: row.peer().is_some(),
        returning: row.is_returning(),
        delivered: row.delivered().len(),
        ending: row.ending().map(|ending| ending.reason),
    }))
}

pub(super) fn container((number, phase): &(Number, Phase)) -> Option<Row> {
    let stage = match phase {
        Phase::Launching(_) => ContainerStage::Launching,
        Phase::Stuck(_) => ContainerStage::Stuck,
        Phase::Running => ContainerStage::Running,
        Phase::Ending(_) => ContainerStage::Ending,
        Phase::Destroyed => ContainerStage::Destroyed,
    };
    Some(Row::Container(ContainerRow {
        number: *number,
        id: number.container(),
        stage,
        due: phase.due(),
    }))
}

pub(super) fn task((number, row): &(Number, Task)) -> Option<Row> {
    let container = match row.placement() {
        Placement::Own => Some(number.container()),
        Placement::Executor(executor) => Some(executor.container()),
        Placement::Nowhere => None,
    };
    let waiting = row.unacknowledged().iter();
    let waiting = waiting.map(|status| Unacknowledged {
        update: status.update,
        state: status.state,
        at: status.at,
    });
    Some(Row::Task(TaskRow {
        number: *number,
        framework: row.framework().clone(),
        id: row.info().id.clone(),
        name: row.info().name.clone(),
        role: row.role().clone(),
        resources: row.info().resources.clone(),
        container,
        state: row.state(),
        ends: row.is_ending(),
        running_since: row.running_since(),
        unacknowledged: waiting.collect(),
    }))
}

pub(super) fn ended((number, row): &(u64, Ended)) -> Option<Row> {
    Some(Row::Ended(EndedRow {
        number: *number,
        framework: row.framework.clone(),
        container: row.container.container(),
        task: row.task.clone(),
    }))
}

pub(super) fn operation((number, row): &(u64, Said)) -> Option<Row> {
    Some(Row::Operation(OperationRow {
        number: *number,
        framework: row.framework.clone(),
        status: row.status.clone(),
    }))
}

pub(super) fn disk((number, row): &(u64, Job)) -> Option<Row> {
    Some(Row::Disk(DiskRow {
        number: *number,
        kind: row.job.change.kind(),
        answered: row.outcome.is_some(),
    }))
}

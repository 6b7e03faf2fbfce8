//! What is told of an executor: its rows, for those who read snapshots and events, and how they
//! are told (I13).
//!
//! Deliberately not here: what is kept of events ([`crate::feed`]).

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::{Executor, Link, Stage, Task};
use crate::feed::{self, Changes, Feed, Followed, Gap, Tells, watch_all};
use crate::ids::{AgentId, TaskId};
use crate::protocol::events::{Batch, Named, Version};
use crate::protocol::status::TaskStatus;
use crate::table::Table;
use crate::time::Time;

/// A row of an executor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Row {
    /// The executor itself: always there.
    Executor(ExecutorRow),
    /// A task that is not over, or whose end the agent does not know.
    Task(TaskRow),
    /// An update that the agent has not confirmed.
    Update(UpdateRow),
}

/// What names a row. No two rows of one version have the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum RowId {
    /// The executor.
    Executor,
    /// A task.
    Task(TaskId),
    /// An update, by its number.
    Update(u64),
}

/// An executor without its tasks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecutorRow {
    /// Its agent, once it has heard of one.
    pub agent: Option<AgentId>,
    /// Its connection.
    pub connection: Connection,
    /// Whether it runs tasks.
    pub stands: Stands,
    /// When it gives up waiting for its agent.
    pub alone_until: Option<Time>,
}

/// How an executor is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Connection {
    /// Not at all.
    Away,
    /// It has asked to be subscribed.
    Asking,
    /// Its agent knows it.
    Subscribed,
}

/// Whether an executor runs tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stands {
    /// It does.
    Working,
    /// It was asked to end, and ends at that moment at the latest.
    ShuttingDown(Time),
    /// It is at its end.
    Exited,
}

/// A task that is not over, or whose end the agent does not know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskRow {
    /// Its id.
    pub id: TaskId,
    /// Whether it is over.
    pub is_over: bool,
    /// Whether the agent has an update of it, so that it knows that the task arrived.
    pub is_known: bool,
}

/// An update that the agent has not confirmed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateRow {
    /// In the order in which they were made.
    pub number: u64,
    /// What it says.
    pub status: TaskStatus,
}

impl Named for Row {
    type Id = RowId;

    fn id(&self) -> RowId {
        match self {
            Self::Executor(_) => RowId::Executor,
            Self::Task(row) => RowId::Task(row.id.clone()),
            Self::Update(row) => RowId::Update(row.number),
        }
    }
}

fn task((id, task): &(TaskId, Task)) -> Option<Row> {
    Some(Row::Task(TaskRow {
        id: id.clone(),
        is_over: task.is_over,
        is_known: task.is_known,
    }))
}

fn update((number, status): &(u64, TaskStatus)) -> Option<Row> {
    let (number, status) = (*number, status.clone());
    Some(Row::Update(UpdateRow { number, status }))
}

/// An executor as it was at one moment.
#[derive(Clone, Debug)]
pub struct Picture {
    version: Version,
    executor: ExecutorRow,
    tasks: Table<(TaskId, Task)>,
    updates: Table<(u64, TaskStatus)>,
}

impl feed::Picture for Picture {
    type Row = Row;

    fn version(&self) -> Version {
        self.version
    }

    fn rows(&self) -> Vec<Row> {
        let own = core::iter::once(Row::Executor(self.executor.clone()));
        let tasks = self.tasks.iter().filter_map(|(_, row)| task(row));
        let updates = self.updates.iter().filter_map(|(_, row)| update(row));
        own.chain(tasks).chain(updates).collect()
    }
}

impl Followed for Executor {
    type Row = Row;
    type Picture = Picture;

    fn picture(&self) -> Picture {
        Picture {
            version: self.feed.newest(),
            executor: self.own_row(),
            tasks: self.tasks.pages().clone(),
            updates: self.unacknowledged.pages().clone(),
        }
    }

    fn events_after(&self, after: Version) -> Result<Batch<Row>, Gap> {
        self.feed.after(after)
    }
}

impl Executor {
    fn own_row(&self) -> ExecutorRow {
        ExecutorRow {
            agent: self.agent.clone(),
            connection: match self.link {
                Link::Away => Connection::Away,
                Link::Asking(..) => Connection::Asking,
                Link::Subscribed(_) => Connection::Subscribed,
            },
            stands: match self.stage {
                Stage::Working => Stands::Working,
                Stage::ShuttingDown(at) => Stands::ShuttingDown(at),
                Stage::Exited => Stands::Exited,
            },
            alone_until: self.alone_until,
        }
    }
}

impl Tells for Executor {
    type Told = Row;

    fn feed(&mut self) -> &mut Feed<Row> {
        &mut self.feed
    }

    fn watch(&mut self, is_on: bool) {
        watch_all([&mut self.tasks, &mut self.unacknowledged], is_on);
        self.told = is_on.then(|| Row::Executor(self.own_row()));
    }

    fn changes(&mut self) -> Changes<Row> {
        let mut changes = Changes::default();
        let own = Row::Executor(self.own_row());
        changes.take_one(self.told.replace(own.clone()), own);
        changes.take(self.tasks.watched(), task);
        changes.take(self.unacknowledged.watched(), update);
        changes
    }
}

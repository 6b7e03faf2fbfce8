//! What is told of a scheduler: its rows, for those who read snapshots and events, and how they
//! are told (I13).
//!
//! Deliberately not here: what is kept of events ([`crate::feed`]).

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::{Phase, Scheduler};
use crate::feed::{self, Changes, Feed, Followed, Gap, Tells, watch_all};
use crate::ids::{AgentId, FrameworkId, OfferId, OperationId, TaskId, UpdateId};
use crate::protocol::events::{Batch, Named, Version};
use crate::protocol::offer::{InverseOffer, Offer};
use crate::protocol::operation::OperationState;
use crate::protocol::status::TaskState;
use crate::resources::Resources;
use crate::table::Table;

/// A row of a scheduler.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Row {
    /// The scheduler itself: always there.
    Scheduler(SchedulerRow),
    /// An offer that is good as far as it knows, and was not answered.
    Offer(OfferRow),
    /// Such an inverse offer.
    InverseOffer(OfferRow),
    /// A task that is not over as far as was heard.
    Task(TaskRow),
    /// An update that the user was told and has not confirmed.
    Update(UpdateRow),
}

/// What names a row. No two rows of one version have the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum RowId {
    /// The scheduler.
    Scheduler,
    /// An offer.
    Offer(OfferId),
    /// An inverse offer.
    InverseOffer(OfferId),
    /// A task.
    Task(TaskId),
    /// An update.
    Update(UpdateId),
}

/// A scheduler without what it holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SchedulerRow {
    /// The framework, once it has an id.
    pub framework: Option<FrameworkId>,
    /// Its connection.
    pub connection: Connection,
    /// The highest epoch of a leadership that it was subscribed to.
    pub epoch: u64,
    /// How often it had a connection.
    pub connections: u32,
    /// How many kills are kept until it is heard that their tasks are over.
    pub kills: usize,
    /// How many questions for tasks wait for their turn.
    pub questions: usize,
    /// How many updates of the framework itself are not answered, and wishes wait behind them.
    pub updates: usize,
    /// Whether the framework is being ended.
    pub stops: bool,
}

/// How a scheduler is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Connection {
    /// Not at all.
    Away,
    /// It is, and subscribes in a moment.
    Waiting,
    /// It has asked to be subscribed.
    Asking,
    /// A master knows it.
    Subscribed,
    /// It is at its end.
    Stopped,
}

/// An offer in short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfferRow {
    /// Its id.
    pub id: OfferId,
    /// What it is about.
    pub held: Held,
}

/// What is offered, or in use where an agent is to be left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// On which agent.
    pub agent: AgentId,
    /// How much.
    pub resources: Resources,
}

impl From<&Offer> for Held {
    fn from(offer: &Offer) -> Self {
        Self {
            agent: offer.agent.clone(),
            resources: offer.resources.clone(),
        }
    }
}

impl From<&InverseOffer> for Held {
    fn from(offer: &InverseOffer) -> Self {
        Self {
            agent: offer.agent.clone(),
            resources: offer.resources.clone(),
        }
    }
}

/// A task that is not over as far as was heard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskRow {
    /// Its id.
    pub id: TaskId,
    /// What was heard.
    pub known: Known,
}

/// What was heard of a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// Where it is, if that was said.
    pub agent: Option<AgentId>,
    /// Its newest state; `None` if it was launched and nothing was heard since.
    pub state: Option<TaskState>,
}

/// An update that the user was told and has not confirmed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateRow {
    /// Its id.
    pub id: UpdateId,
    /// What it is about.
    pub news: News,
}

/// What an update is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum News {
    /// A task.
    Task {
        /// Which one.
        id: TaskId,
        /// Its state.
        state: TaskState,
    },
    /// An operation.
    Operation {
        /// Which one.
        id: OperationId,
        /// Its state.
        state: OperationState,
    },
}

impl Named for Row {
    type Id = RowId;

    fn id(&self) -> RowId {
        match self {
            Self::Scheduler(_) => RowId::Scheduler,
            Self::Offer(row) => RowId::Offer(row.id.clone()),
            Self::InverseOffer(row) => RowId::InverseOffer(row.id.clone()),
            Self::Task(row) => RowId::Task(row.id.clone()),
            Self::Update(row) => RowId::Update(row.id),
        }
    }
}

fn offer((id, held): &(OfferId, Held)) -> Option<Row> {
    let (id, held) = (id.clone(), held.clone());
    Some(Row::Offer(OfferRow { id, held }))
}

fn inverse_offer((id, held): &(OfferId, Held)) -> Option<Row> {
    let (id, held) = (id.clone(), held.clone());
    Some(Row::InverseOffer(OfferRow { id, held }))
}

fn task((id, known): &(TaskId, Known)) -> Option<Row> {
    let (id, known) = (id.clone(), known.clone());
    Some(Row::Task(TaskRow { id, known }))
}

fn update((id, news): &(UpdateId, News)) -> Option<Row> {
    let (id, news) = (*id, news.clone());
    Some(Row::Update(UpdateRow { id, news }))
}

/// A scheduler as it was at one moment.
#[derive(Clone, Debug)]
pub struct Picture {
    version: Version,
    scheduler: SchedulerRow,
    offers: Table<(OfferId, Held)>,
    inverse: Table<(OfferId, Held)>,
    tasks: Table<(TaskId, Known)>,
    updates: Table<(UpdateId, News)>,
}

impl feed::Picture for Picture {
    type Row = Row;

    fn version(&self) -> Version {
        self.version
    }

    fn rows(&self) -> Vec<Row> {
        fn all<T>(table: &Table<T>, show: fn(&T) -> Option<Row>) -> impl Iterator<Item = Row> {
            table.iter().filter_map(move |(_, row)| show(row))
        }
        let own = core::iter::once(Row::Scheduler(self.scheduler.clone()));
        own.chain(all(&self.offers, offer))
            .chain(all(&self.inverse, inverse_offer))
            .chain(all(&self.tasks, task))
            .chain(all(&self.updates, update))
            .collect()
    }
}

impl Followed for Scheduler {
    type Row = Row;
    type Picture = Picture;

    fn picture(&self) -> Picture {
        Picture {
            version: self.feed.newest(),
            scheduler: self.own_row(),
            offers: self.offers.pages().clone(),
            inverse: self.inverse.pages().clone(),
            tasks: self.tasks.pages().clone(),
            updates: self.pending.pages().clone(),
        }
    }

    fn events_after(&self, after: Version) -> Result<Batch<Row>, Gap> {
        self.feed.after(after)
    }
}

impl Scheduler {
    fn own_row(&self) -> SchedulerRow {
        SchedulerRow {
            framework: self.framework.clone(),
            connection: match self.phase {
                Phase::Away => Connection::Away,
                Phase::Waiting(..) => Connection::Waiting,
                Phase::Asking(..) => Connection::Asking,
                Phase::Subscribed(..) => Connection::Subscribed,
                Phase::Stopped => Connection::Stopped,
            },
            epoch: self.epoch,
            connections: self.connections,
            kills: self.kills.len(),
            questions: self.questions.waiting(),
            updates: self.wishing.len(),
            stops: self.stopping.is_some(),
        }
    }
}

impl Tells for Scheduler {
    type Told = Row;

    fn feed(&mut self) -> &mut Feed<Row> {
        &mut self.feed
    }

    fn watch(&mut self, is_on: bool) {
        watch_all([&mut self.offers, &mut self.inverse], is_on);
        watch_all([&mut self.tasks, &mut self.pending], is_on);
        self.told = is_on.then(|| Row::Scheduler(self.own_row()));
    }

    fn changes(&mut self) -> Changes<Row> {
        let mut changes = Changes::default();
        let own = Row::Scheduler(self.own_row());
        changes.take_one(self.told.replace(own.clone()), own);
        changes.take(self.offers.watched(), offer);
        changes.take(self.inverse.watched(), inverse_offer);
        changes.take(self.tasks.watched(), task);
        changes.take(self.pending.watched(), update);
        changes
    }
}

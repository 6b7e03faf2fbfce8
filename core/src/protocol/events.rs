//! What operators are told of a master's state: rows of seven kinds, and events that change them.
//!
//! A reader asks for all rows ([`super::operator::Call::Snapshot`]) and then, for ever, for what
//! came after ([`super::operator::Call::Watch`]). It holds one [`Version`], and the master nothing
//! for it: a slow reader costs no memory beside the events that are kept for all, of a bounded
//! number. Who is too far behind is told so, and begins anew; nobody is ever given a gap.
//!
//! One input of the master is one moment: of a row that changed twice in it, the second state is
//! told. What follows from the rows has no events of its own: the sums of what is offered and in
//! use, and whether a task is counted ([`crate::mirror`] works them out).

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt::Debug;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::discovery::Published;
use super::framework::FrameworkInfo;
use super::node::{AgentInfo, Presence, Standing};
use super::offer::Offer;
use super::operator::{OperationView, TaskView};
use crate::ids::{AgentId, ExecutorId, FrameworkId, OfferId, OperationId, TaskId};
use crate::quota::Quota;
use crate::resources::{Milli, Resources};
use crate::roles::Role;
use crate::time::Time;

/// A row that has a name. The four machines have rows of their own.
pub trait Named: Clone + Debug + Eq + Serialize + DeserializeOwned {
    /// What names it.
    type Id: Clone + Debug + Ord + Serialize + DeserializeOwned;

    /// Returns what names it.
    fn id(&self) -> Self::Id;
}

/// A state of a machine: what two reads of the same version say is the same.
///
/// While somebody asks for events, the number is that of the last one and rises with each by one.
/// While nobody does, no event is made and the number rises with each input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Version {
    /// The leadership; of another machine its life, which has a number without an order. Numbers
    /// begin anew with each.
    pub epoch: u64,
    /// The number of the last event that is contained.
    pub number: u64,
}

/// The kinds of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Kind {
    /// Agents that the registry admits, those that are away included.
    Agents,
    /// Frameworks that are not over.
    Frameworks,
    /// Custom executors that a task uses.
    Executors,
    /// Tasks, and those that have ended as far as they are remembered.
    Tasks,
    /// Outstanding offers.
    Offers,
    /// Roles with quota, or a weight that is not 1.
    Roles,
    /// Operations that frameworks have named, until they have confirmed their end.
    Operations,
}

impl Kind {
    /// All kinds, in the order in which rows of one moment are told to be there; that they are gone
    /// is told before, in the opposite order.
    pub const ALL: [Self; 7] = [
        Self::Agents,
        Self::Frameworks,
        Self::Executors,
        Self::Tasks,
        Self::Offers,
        Self::Roles,
        Self::Operations,
    ];
}

/// An agent without what it runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentState {
    /// Its id.
    pub id: AgentId,
    /// What it says about itself.
    pub info: AgentInfo,
    /// What it has: what it says, and what operations have made of that.
    pub total: Resources,
    /// Whether it is there.
    pub presence: Presence,
    /// Whether it is given tasks, as operators have said.
    pub standing: Standing,
    /// Since when it is being drained, if it is or was (TK-129). A drain that is ordered again,
    /// otherwise or after its end, goes on from there; who calls it off ends it.
    pub drain_since: Option<Time>,
    /// How many operations it has not confirmed to have carried out, named or not, with those that
    /// its provider of disks is at. Its drain waits for them (TK-125).
    pub operations: usize,
    /// When it registered.
    pub registered_at: Time,
}

/// A framework without what it runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrameworkState {
    /// Its id.
    pub id: FrameworkId,
    /// What it says about itself, with its id.
    pub info: FrameworkInfo,
    /// Whether it is connected.
    pub connected: bool,
    /// In which of its roles it wants no offers.
    pub suppressed: Vec<Role>,
}

/// A custom executor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecutorState {
    /// Whose executor.
    pub framework: FrameworkId,
    /// On which agent.
    pub agent: AgentId,
    /// Its id, of its own there.
    pub id: ExecutorId,
    /// What it uses beside its tasks.
    pub resources: Resources,
    /// What it publishes about itself, if it does (TK-04).
    pub published: Option<Arc<Published>>,
}

/// What operators have said of a role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleState {
    /// Which one.
    pub role: Role,
    /// Its weight.
    pub weight: Milli,
    /// What it is promised, and may have.
    pub quota: Quota,
}

/// A row of a master's state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Row {
    /// An agent.
    Agent(AgentState),
    /// A framework.
    Framework(FrameworkState),
    /// An executor.
    Executor(ExecutorState),
    /// A task.
    Task(TaskView),
    /// An offer.
    Offer(Offer),
    /// A role.
    Role(RoleState),
    /// An operation.
    Operation(OperationView),
}

/// What names a row. No two rows of one version have the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum RowId {
    /// An agent.
    Agent(AgentId),
    /// A framework.
    Framework(FrameworkId),
    /// An executor.
    Executor {
        /// Whose.
        framework: FrameworkId,
        /// On which agent.
        agent: AgentId,
        /// Which one there.
        id: ExecutorId,
    },
    /// A task.
    Task {
        /// Whose.
        framework: FrameworkId,
        /// Which one.
        id: TaskId,
    },
    /// An offer.
    Offer(OfferId),
    /// A role.
    Role(Role),
    /// An operation.
    Operation {
        /// Whose.
        framework: FrameworkId,
        /// Which one.
        id: OperationId,
    },
}

impl Row {
    /// Returns what names it.
    pub fn id(&self) -> RowId {
        match self {
            Self::Agent(agent) => RowId::Agent(agent.id.clone()),
            Self::Framework(framework) => RowId::Framework(framework.id.clone()),
            Self::Executor(executor) => RowId::Executor {
                framework: executor.framework.clone(),
                agent: executor.agent.clone(),
                id: executor.id.clone(),
            },
            Self::Task(task) => RowId::Task {
                framework: task.framework.clone(),
                id: task.status.task.clone(),
            },
            Self::Offer(offer) => RowId::Offer(offer.id.clone()),
            Self::Role(role) => RowId::Role(role.role.clone()),
            Self::Operation(operation) => RowId::Operation {
                framework: operation.framework.clone(),
                id: operation.status.id.clone(),
            },
        }
    }
}

impl Named for Row {
    type Id = RowId;

    fn id(&self) -> RowId {
        Self::id(self)
    }
}

/// A change of one row (FW-92). Unlike in Mesos, a task that says the same state again is `Updated`
/// as well, if anything else of its news is new: with less, no reader could tell what a read would
/// tell it (TK-36c is for those who make Mesos' events of these).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound = "")]
pub enum Event<R: Named = Row> {
    /// It is there from now on.
    Added(R),
    /// It is so from now on.
    Updated(R),
    /// It is there no more.
    Removed(R::Id),
}

/// Rows of one kind, or a page of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Snapshot<R: Named = Row> {
    /// The version that the first page was read at: what is read of events begins after it.
    pub from: Version,
    /// The version that the last page was read at: once the events up to it are taken in, the rows
    /// are those of one moment again.
    pub upto: Version,
    /// The rows.
    pub rows: Vec<R>,
}

/// Consecutive events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Batch<R: Named = Row> {
    /// The version before the first: the number of that is one more.
    pub after: Version,
    /// In order.
    pub events: Vec<Event<R>>,
}

impl<R: Named> Batch<R> {
    /// Returns the version after the last.
    pub fn upto(&self) -> Version {
        let epoch = self.after.epoch;
        let events = self.events.len() as u64;
        let number = self.after.number.saturating_add(events);
        Version { epoch, number }
    }
}

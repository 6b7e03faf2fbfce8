//! What operators are told of a master's state: rows of several kinds, and events that change them.
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
use super::maintenance::{Leaving, MachineId, Unavailability};
use super::node::{AgentInfo, Presence, Standing};
use super::offer::Offer;
use super::operator::{OperationView, TaskView};
use super::refusal::EndReason;
use super::version;
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
    /// Agents that are gone for good, as far as they are remembered.
    Gone,
    /// Frameworks that are over, as far as it is remembered why.
    Ended,
    /// The last of them, as far as it is remembered what they were.
    Completed,
    /// Machines of the maintenance schedule.
    Machines,
    /// Those of them that are down.
    Down,
    /// What frameworks were asked about agents in maintenance, and have answered.
    InverseOffers,
}

impl Kind {
    /// All kinds, in the order in which rows of one moment are told to be there; that they are gone
    /// is told before, in the opposite order.
    pub const ALL: [Self; 13] = [
        Self::Agents,
        Self::Frameworks,
        Self::Executors,
        Self::Tasks,
        Self::Offers,
        Self::Roles,
        Self::Operations,
        Self::Gone,
        Self::Ended,
        Self::Completed,
        Self::Machines,
        Self::Down,
        Self::InverseOffers,
    ];

    /// Returns since when there is such a kind.
    pub const fn since(self) -> version::Version {
        match self {
            Self::Agents
            | Self::Frameworks
            | Self::Executors
            | Self::Tasks
            | Self::Offers
            | Self::Roles
            | Self::Operations => version::Version::FIRST,
            Self::Gone
            | Self::Ended
            | Self::Completed
            | Self::Machines
            | Self::Down
            | Self::InverseOffers => version::Version::MORE_ROWS,
        }
    }
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

/// An agent that is gone for good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GoneState {
    /// Its id, which does not come back.
    pub id: AgentId,
    /// Since when.
    pub at: Time,
}

/// A framework that is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndedState {
    /// Its id, which does not come back.
    pub id: FrameworkId,
    /// Why it is over.
    pub reason: EndReason,
    /// Since when.
    pub at: Time,
}

/// A machine of the maintenance schedule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineState {
    /// Which one.
    pub machine: MachineId,
    /// When it is to be out of service.
    pub unavailability: Unavailability,
}

/// What a framework was asked about an agent, and has answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InverseOfferState {
    /// Who was asked.
    pub framework: FrameworkId,
    /// About which agent.
    pub agent: AgentId,
    /// The question, if it is open.
    pub open: Option<OfferId>,
    /// The last answer.
    pub leaving: Leaving,
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
    /// An agent that is gone.
    Gone(GoneState),
    /// A framework that is over: why.
    Ended(EndedState),
    /// A framework that is over: what it was.
    Completed(FrameworkState),
    /// A machine of the schedule.
    Machine(MachineState),
    /// A machine that is down.
    Down(MachineId),
    /// What a framework was asked about an agent.
    InverseOffer(InverseOfferState),
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
    /// An agent that is gone.
    Gone(AgentId),
    /// Why a framework is over.
    Ended(FrameworkId),
    /// What a framework was that is over.
    Completed(FrameworkId),
    /// A machine of the schedule.
    Machine(MachineId),
    /// A machine that is down.
    Down(MachineId),
    /// What a framework was asked about an agent.
    InverseOffer {
        /// Who was asked.
        framework: FrameworkId,
        /// About which agent.
        agent: AgentId,
    },
}

impl RowId {
    /// Returns the kind of such rows.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Agent(_) => Kind::Agents,
            Self::Framework(_) => Kind::Frameworks,
            Self::Executor { .. } => Kind::Executors,
            Self::Task { .. } => Kind::Tasks,
            Self::Offer(_) => Kind::Offers,
            Self::Role(_) => Kind::Roles,
            Self::Operation { .. } => Kind::Operations,
            Self::Gone(_) => Kind::Gone,
            Self::Ended(_) => Kind::Ended,
            Self::Completed(_) => Kind::Completed,
            Self::Machine(_) => Kind::Machines,
            Self::Down(_) => Kind::Down,
            Self::InverseOffer { .. } => Kind::InverseOffers,
        }
    }
}

impl Row {
    /// Returns its kind.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Agent(_) => Kind::Agents,
            Self::Framework(_) => Kind::Frameworks,
            Self::Executor(_) => Kind::Executors,
            Self::Task(_) => Kind::Tasks,
            Self::Offer(_) => Kind::Offers,
            Self::Role(_) => Kind::Roles,
            Self::Operation(_) => Kind::Operations,
            Self::Gone(_) => Kind::Gone,
            Self::Ended(_) => Kind::Ended,
            Self::Completed(_) => Kind::Completed,
            Self::Machine(_) => Kind::Machines,
            Self::Down(_) => Kind::Down,
            Self::InverseOffer(_) => Kind::InverseOffers,
        }
    }

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
            Self::Gone(gone) => RowId::Gone(gone.id.clone()),
            Self::Ended(ended) => RowId::Ended(ended.id.clone()),
            Self::Completed(framework) => RowId::Completed(framework.id.clone()),
            Self::Machine(machine) => RowId::Machine(machine.machine.clone()),
            Self::Down(machine) => RowId::Down(machine.clone()),
            Self::InverseOffer(asked) => RowId::InverseOffer {
                framework: asked.framework.clone(),
                agent: asked.agent.clone(),
            },
        }
    }
}

impl Event {
    /// Returns of which kind of row it tells.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Added(row) | Self::Updated(row) => row.kind(),
            Self::Removed(id) => id.kind(),
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

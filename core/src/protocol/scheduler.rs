//! Between a framework and the master.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::framework::{FrameworkInfo, Wishes};
use super::node::{AgentLoss, Domain};
use super::offer::{InverseOffer, Offer, Operation};
use super::operation::OperationStatus;
use super::refusal::{CallKind, EndReason, RejectKind};
use super::status::{Exit, TaskStatus};
use crate::demand::Demand;
use crate::ids::{
    AgentId, ExecutorId, FrameworkId, MasterId, OfferId, OperationId, TaskId, UpdateId,
};
use crate::roles::Role;

/// What a framework asks of the master.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Call {
    /// Joins, or comes back if `framework.id` is given (FW-28).
    Subscribe {
        /// Who it is.
        framework: FrameworkInfo,
        /// What it wants, in place of all that it wanted before.
        wishes: Wishes,
    },
    /// Ends the framework and all its tasks (FW-32).
    Teardown,
    /// Uses offers of one agent: `operations` in order on their sum, the rest is declined (OF-10).
    Accept {
        /// The offers.
        offers: Vec<OfferId>,
        /// What to do.
        operations: Vec<Operation>,
        /// For how long not to offer the rest again; `None` is the default, zero is not at all.
        refuse: Option<Duration>,
    },
    /// Gives offers back (OF-31).
    Decline {
        /// The offers; unknown ones are ignored.
        offers: Vec<OfferId>,
        /// For how long not to offer the same again.
        refuse: Option<Duration>,
    },
    /// Wants no offers in some of its roles until it revives them (OF-37).
    Suppress {
        /// The roles; empty means all. With one that it is not in, nothing is done.
        roles: Vec<Role>,
    },
    /// Wants offers in some of its roles again, and forgets its refusals there (OF-36).
    Revive {
        /// The roles; as in `Suppress`.
        roles: Vec<Role>,
    },
    /// Ends a task (TK-82). One that nobody knows yet is ended once its agent is back; beyond
    /// [`KILLS_PER_FRAMEWORK`](crate::limits::KILLS_PER_FRAMEWORK) of these the call is rejected.
    Kill {
        /// Which one.
        task: TaskId,
        /// The time between SIGTERM and SIGKILL; `None` is the task's own.
        grace: Option<Duration>,
    },
    /// Confirms a status update, so that it is not sent again (FW-47).
    Acknowledge {
        /// Where the update came from.
        agent: AgentId,
        /// Which task.
        task: TaskId,
        /// Which update.
        update: UpdateId,
    },
    /// Confirms news about an operation, so that it is not said again (FW-48).
    AcknowledgeOperation {
        /// Which operation.
        id: OperationId,
        /// Which news.
        update: UpdateId,
    },
    /// Asks how far operations are (FW-50, OF-56); about all that are known if it names none. Each
    /// is answered by news that need no confirmation.
    ReconcileOperations {
        /// Which ones, and on which agent they are believed to be.
        operations: Vec<(OperationId, Option<AgentId>)>,
    },
    /// Says anew what the framework is and wants, without leaving (FW-53). Its id, principal and
    /// user stay (FW-12).
    Update {
        /// Who it is.
        framework: FrameworkInfo,
        /// What it wants, in place of all that it wanted before.
        wishes: Wishes,
    },
    /// Asks how tasks are (FW-49). Each is answered once, as soon as the master can know. Beyond
    /// [`ASKS_PER_FRAMEWORK`](crate::limits::ASKS_PER_FRAMEWORK) that wait the call is rejected for
    /// the rest, and has to be made again.
    Reconcile {
        /// The tasks, and where they are if that is known; none means all that are not over.
        tasks: Vec<(TaskId, Option<AgentId>)>,
    },
    /// Has something to say to an executor (FW-51). Told once, if at all.
    Message {
        /// Where the executor runs.
        agent: AgentId,
        /// Which one.
        executor: ExecutorId,
        /// What is said.
        data: Vec<u8>,
    },
    /// Ends an executor with all its tasks (FW-46).
    ShutdownExecutor {
        /// Where the executor runs.
        agent: AgentId,
        /// Which one.
        executor: ExecutorId,
    },
    /// Says how much it wants in one of its roles from now on, in place of what it has said of that
    /// role. What is offered already stays.
    Demand {
        /// The role.
        role: Role,
        /// How much; `None` is anything.
        demand: Option<Demand>,
    },
    /// Is going to leave agents as it was asked to (OF-49).
    AcceptInverse {
        /// The inverse offers. Void ones are ignored; if all are, or none is named, or one twice,
        /// the call is turned down.
        offers: Vec<OfferId>,
        /// For how long not to ask again; `None` is the default, and a second the least.
        refuse: Option<Duration>,
    },
    /// Is not going to leave agents as it was asked to (OF-49).
    DeclineInverse {
        /// The inverse offers; as in `AcceptInverse`.
        offers: Vec<OfferId>,
        /// For how long not to ask again; as in `AcceptInverse`.
        refuse: Option<Duration>,
    },
}

/// What an executor says to its framework.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecutorMessage {
    /// Where it runs.
    pub agent: AgentId,
    /// Which one.
    pub executor: ExecutorId,
    /// What it says.
    pub data: Vec<u8>,
}

/// The end of an executor, as its framework is told of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecutorEnd {
    /// Where it ran.
    pub agent: AgentId,
    /// Which one.
    pub executor: ExecutorId,
    /// How, if that is known.
    pub exit: Option<Exit>,
}

/// What the master tells a framework.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// The subscription stands.
    Subscribed {
        /// The framework's id from now on.
        framework: FrameworkId,
        /// The leadership that speaks.
        master: MasterId,
        /// The epoch of that leadership; a lower one than seen before is refused.
        epoch: u64,
        /// How often a heartbeat comes.
        heartbeat: Duration,
        /// Where the master stands, if it says so (TK-115).
        domain: Option<Domain>,
    },
    /// Nothing happened; the connection lives (FW-33).
    Heartbeat,
    /// New offers.
    Offers(Vec<Offer>),
    /// An offer is no longer good (OF-07).
    Rescind(OfferId),
    /// News about a task; to be acknowledged if `update` is set.
    Update(TaskStatus),
    /// The subscription ended. The connection is closed after it (FW-54).
    Error {
        /// Why, for programs; it says how to proceed.
        reason: EndReason,
        /// Why, for people.
        message: String,
    },
    /// A call was turned down as a whole: nothing has changed. Of an accept with tasks it is the
    /// tasks' states that say so.
    Rejected {
        /// Which call.
        call: CallKind,
        /// What is wrong with it, for programs.
        reason: RejectKind,
        /// What is wrong with it, for people.
        message: String,
    },
    /// News about an operation that has an id (FW-57); to be acknowledged if `update` is set.
    OperationUpdate(OperationStatus),
    /// The answer to `Update`: it holds.
    Updated,
    /// Answers to `Reconcile`: how tasks are, as far as anybody knows. Nothing is to be
    /// acknowledged.
    Reconciled(Vec<TaskStatus>),
    /// An executor has something to say (FW-51). Told once, if at all.
    Message(ExecutorMessage),
    /// An executor has ended (FW-36). Told once, if at all; of its tasks their updates tell.
    ExecutorEnded(ExecutorEnd),
    /// Agents are to be left, for their machines are to be out of service (OF-48).
    InverseOffers(Vec<InverseOffer>),
    /// An inverse offer is no longer good (OF-50).
    RescindInverse(OfferId),
    /// An agent is lost on which the framework has tasks, executors, or operations that it has
    /// named (FW-36). Told once, if at all, after the news about its tasks, which are what counts.
    AgentLost {
        /// Which one.
        agent: AgentId,
        /// Why.
        why: AgentLoss,
    },
    /// The call that is turned down next has found no room, and nothing was heard of what it wants
    /// in these roles: that can be said again, and nothing else has to be.
    Unheard {
        /// Which call: `Suppress`, `Revive` or `Demand`.
        call: CallKind,
        /// The roles that it names; empty means all of the framework's.
        roles: Vec<Role>,
    },
}

//! What a user's scheduler hears and says.
//!
//! Deliberately not here: reactions; see [`super::Logic`].

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::demand::Demand;
use crate::ids::{AgentId, ExecutorId, FrameworkId, OfferId, OperationId, TaskId, UpdateId};
use crate::protocol::framework::{FrameworkInfo, Wishes};
use crate::protocol::node::{AgentLoss, Domain};
use crate::protocol::offer::{InverseOffer, Offer, Operation};
use crate::protocol::operation::OperationStatus;
use crate::protocol::refusal::{CallKind, EndReason, RejectKind};
use crate::protocol::scheduler::{ExecutorEnd, ExecutorMessage};
use crate::protocol::status::TaskStatus;
use crate::protocol::task::TaskInfo;
use crate::roles::Role;

/// What a user's scheduler is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum UserEvent {
    /// The framework is known to a master, for the first time or again.
    Subscribed {
        /// Its id, to come back with.
        framework: FrameworkId,
        /// Where the master stands, if it says so.
        domain: Option<Domain>,
    },
    /// The master is out of reach. All offers are void; tasks go on.
    Disconnected,
    /// New offers.
    Offers(Vec<Offer>),
    /// This offer is void.
    Rescinded(OfferId),
    /// News about a task, in order per task. May come again after a crash of this process.
    Update(TaskStatus),
    /// The framework is at its end.
    Error {
        /// Why; it says how to proceed.
        reason: EndReason,
        /// Why, for people.
        message: String,
    },
    /// A call was turned down, and nothing has changed. The framework goes on.
    Rejected {
        /// Which call.
        call: CallKind,
        /// What is wrong with it.
        reason: RejectKind,
        /// What is wrong with it, for people.
        message: String,
    },
    /// News about an operation that the framework has named. May come again after a crash of this
    /// process.
    Operation(OperationStatus),
    /// What the last `Update` said holds.
    Updated,
    /// An executor has something to say. Told once, if at all.
    Message(ExecutorMessage),
    /// An executor has ended. Told once, if at all; of its tasks their updates tell.
    ExecutorEnded(ExecutorEnd),
    /// Agents are to be left, for their machines are to be out of service. Asked again some time
    /// after an answer, for as long as the framework holds something there.
    InverseOffers(Vec<InverseOffer>),
    /// This inverse offer is void.
    InverseRescinded(OfferId),
    /// An agent is lost on which the framework has tasks, executors, or operations that it has
    /// named. Told once, if at all; of its tasks and operations their updates tell.
    AgentLost {
        /// Which one.
        agent: AgentId,
        /// Why.
        why: AgentLoss,
    },
}

/// What a user's scheduler may ask for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum UserCall {
    /// Uses offers of one agent; what is left of them is declined.
    Accept {
        /// The offers.
        offers: Vec<OfferId>,
        /// What to do with them, in order.
        operations: Vec<Operation>,
        /// For how long not to offer the rest again; `None` is five seconds, zero is not at all.
        refuse: Option<Duration>,
    },
    /// Gives offers back.
    Decline {
        /// The offers.
        offers: Vec<OfferId>,
        /// For how long not to offer the same again; as in `Accept`.
        refuse: Option<Duration>,
    },
    /// Ends a task. Without a subscription it is kept for the next; if the master has no room for
    /// it, it is said again with the next heartbeat.
    Kill {
        /// Which one.
        task: TaskId,
        /// The time between SIGTERM and SIGKILL; `None` is the task's own.
        grace: Option<Duration>,
    },
    /// Wants no offers in some roles until it revives them. It holds over subscriptions, and can be
    /// said between them.
    Suppress {
        /// The roles, all of them the framework's; empty means all.
        roles: Vec<Role>,
    },
    /// Wants offers in some roles again, and forgets its refusals there. If the master has no room
    /// for it, it is said again with the next heartbeat.
    Revive {
        /// The roles; as in `Suppress`.
        roles: Vec<Role>,
    },
    /// Confirms an update. Only needed with [`super::Acknowledging::ByUser`].
    Acknowledge {
        /// Where the update came from.
        agent: AgentId,
        /// Which task.
        task: TaskId,
        /// Which update.
        update: UpdateId,
    },
    /// Confirms news about an operation. Only needed with [`super::Acknowledging::ByUser`].
    AcknowledgeOperation {
        /// Which operation.
        id: OperationId,
        /// Which news.
        update: UpdateId,
    },
    /// Asks how far operations are, all that are known if none is named.
    ReconcileOperations {
        /// Which ones, and on which agent they are believed to be.
        operations: Vec<(OperationId, Option<AgentId>)>,
    },
    /// Says anew what the framework is and wants; its id, principal and user stay. The answer is
    /// `Updated` or `Rejected`. Without a subscription, and if that ends before the answer, it is
    /// void.
    Update {
        /// Who it is.
        framework: FrameworkInfo,
        /// What it wants, in place of all that it wanted before.
        wishes: Wishes,
    },
    /// Asks how tasks are. Each answer is an `Update` with the reason
    /// [`Reconciliation`](crate::protocol::status::Reason::Reconciliation). Of many, at most
    /// [`QUESTIONS_ASKED`](crate::limits::QUESTIONS_ASKED) are with the master at a time; what it
    /// has no room for is asked again with its next heartbeat. Without a subscription it is void;
    /// the next one asks by itself.
    Reconcile {
        /// The tasks, and where they are if that is known; none means all that are not over.
        tasks: Vec<(TaskId, Option<AgentId>)>,
    },
    /// Has something to say to an executor. Told once, if at all.
    Message {
        /// Where the executor runs.
        agent: AgentId,
        /// Which one.
        executor: ExecutorId,
        /// What is said.
        data: Vec<u8>,
    },
    /// Ends an executor with all its tasks.
    ShutdownExecutor {
        /// Where the executor runs.
        agent: AgentId,
        /// Which one.
        executor: ExecutorId,
    },
    /// Says how much it wants in one of its roles from now on; `None` is anything. Where the master
    /// honours demands, offers are cut to this, and what was accepted of it is not offered again.
    /// The next subscription says the whole of it once more: who counts says what is left then. It
    /// can be said between subscriptions. If the master has no room for it, it is said again with
    /// the next heartbeat; a master of an older protocol hears all demands then.
    Demand {
        /// The role.
        role: Role,
        /// How much.
        demand: Option<Demand>,
    },
    /// Ends the framework, its tasks, and this scheduler: as soon as a master says that it has
    /// ended, or after 30 seconds in which none could be asked. Then the framework lasts until its
    /// failover timeout is over. The user hears of nothing meanwhile (FW-32).
    Stop,
    /// Ends this scheduler. The framework and its tasks go on without it, for as long as its
    /// failover timeout says; a scheduler with the framework's id may take them over (FW-28).
    Leave,
    /// Is going to leave agents as it was asked to. Operators see that; tasks go on until they end.
    AcceptInverse {
        /// The inverse offers.
        offers: Vec<OfferId>,
        /// For how long not to ask again; `None` is five seconds, and one second the least.
        refuse: Option<Duration>,
    },
    /// Is not going to leave agents as it was asked to.
    DeclineInverse {
        /// The inverse offers.
        offers: Vec<OfferId>,
        /// For how long not to ask again; as in `AcceptInverse`.
        refuse: Option<Duration>,
    },
}

impl UserCall {
    /// Launches tasks on one offer and declines the rest of it for `refuse`.
    pub fn launch(offer: &Offer, tasks: Vec<TaskInfo>, refuse: Option<Duration>) -> Self {
        Self::Accept {
            offers: alloc::vec![offer.id.clone()],
            operations: alloc::vec![Operation::Launch(tasks)],
            refuse,
        }
    }

    /// Declines one offer for `refuse`.
    pub fn decline(offer: &Offer, refuse: Option<Duration>) -> Self {
        Self::Decline {
            offers: alloc::vec![offer.id.clone()],
            refuse,
        }
    }
}

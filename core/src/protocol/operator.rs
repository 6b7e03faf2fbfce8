//! Between an operator's tool and the master: reads, and a few orders.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::discovery::Published;
use super::events::{Batch, Kind, Snapshot, Version};
pub use super::explanation::{Explanation, Obstacle};
use super::framework::FrameworkInfo;
use super::maintenance::{InverseOfferView, MachineId, MachineView, Window};
use super::node::{AgentInfo, DrainConfig, Presence, Standing};
use super::offer::Offer;
use super::operation::{Conversion, OperationKind, OperationStatus};
use super::refusal::EndReason;
use super::status::TaskStatus;
use crate::ids::{AgentId, FrameworkId, MasterId, RequestId, TaskId};
use crate::quota::Quota;
use crate::resources::{Milli, Quantities, Resources};
use crate::roles::Role;
use crate::time::Time;

/// A numbered question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Chosen by the asker; comes back in the answer.
    pub id: RequestId,
    /// The question.
    pub call: Call,
    /// Where a long answer goes on; `None` begins it.
    pub after: Option<Cursor>,
}

/// A place in a long answer, as its sender named it. Entries that are there all the time come once;
/// those that come or go between two pages may be there or not. Another leadership knows no such
/// place: it answers [`Answer::Gap`], and the reader has to begin anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// The leadership that has named it.
    pub epoch: u64,
    /// Where the last entry stands that was told.
    pub last: u32,
}

/// What an operator asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Call {
    /// Who leads, and how much there is.
    Summary,
    /// All agents.
    Agents,
    /// All frameworks.
    Frameworks,
    /// All tasks; ended ones too if `all`.
    Tasks {
        /// Whether to list ended tasks as well, as far as they are remembered.
        all: bool,
    },
    /// All outstanding offers.
    Offers,
    /// Ends a task, named by id or by a unique prefix of it.
    Kill {
        /// Whose task; needed if several frameworks have such a task.
        framework: Option<FrameworkId>,
        /// The task's id, or the beginning of it.
        task: String,
        /// The time between SIGTERM and SIGKILL; `None` is the task's own.
        grace: Option<Duration>,
    },
    /// All roles that somebody is in, or that have quota or a weight.
    Roles,
    /// Gives roles quotas, all of them or none (RQ-13). Offers that are in the way are taken back;
    /// no task is ended (RQ-17).
    UpdateQuota {
        /// By role; an empty one takes away what the role has.
        quotas: Vec<(Role, Quota)>,
        /// Whether to do so even if a role uses more than its new limit, or if more is guaranteed
        /// than there is.
        force: bool,
    },
    /// Gives roles weights, all of them or none (RQ-08).
    UpdateWeights {
        /// By role; 1 is what roles weigh that nobody named (RQ-11).
        weights: Vec<(Role, Milli)>,
    },
    /// Makes something else of what an agent has and nobody uses (FW-79 to FW-81). Offers that are
    /// in the way are taken back, and no more.
    Convert {
        /// Which agent.
        agent: AgentId,
        /// What to do.
        change: Conversion,
    },
    /// Changes one reservation into another, at once or not at all (RM-34).
    UpdateReservation {
        /// On which agent.
        agent: AgentId,
        /// What is reserved now.
        from: Resources,
        /// What it becomes; only its reservation differs.
        to: Resources,
    },
    /// Says that an agent is gone for good, with all that it ran; its id never serves again
    /// (SM-17). If it is there after all, it ends what it runs.
    MarkGone {
        /// Which one.
        agent: AgentId,
    },
    /// Offers an agent to nobody until it is reactivated; what runs goes on (SM-19).
    Deactivate {
        /// Which one.
        agent: AgentId,
    },
    /// Has an agent end all that it runs, offers it to nobody until it is reactivated, and gives
    /// it up then if that is wanted (SM-20). Said again, the newest counts.
    Drain {
        /// Which one.
        agent: AgentId,
        /// How.
        config: DrainConfig,
    },
    /// Offers an agent again (SM-19, SM-43). That calls off a drain, unlike in Mesos; what is
    /// ending ends.
    Reactivate {
        /// Which one.
        agent: AgentId,
    },
    /// All rows of one kind, to begin with before events. Pages may be of several versions.
    Snapshot {
        /// Of which kind.
        of: Kind,
    },
    /// The events after a version (FW-92). Answered as soon as there is one, with as many as fit a
    /// frame; so asking again and again makes a stream, at the pace of whoever reads it. `None` is
    /// answered at once with the newest version and no events: a place to begin at.
    Watch {
        /// What the reader has.
        after: Option<Version>,
    },
    /// The maintenance schedule (FW-82).
    Schedule,
    /// Posts a maintenance schedule, all of it or nothing: machines that are new in it are
    /// draining, those that are no longer in it are up (TK-118).
    SetSchedule {
        /// The schedule, in place of the one before.
        windows: Vec<Window>,
    },
    /// Takes machines out of service, all of them or none: their agents end all that they run, and
    /// none may join from there (TK-120).
    MachinesDown {
        /// Which ones; all of them draining.
        machines: Vec<MachineId>,
    },
    /// Takes machines into service again, all of them or none (TK-121).
    MachinesUp {
        /// Which ones; all of them down.
        machines: Vec<MachineId>,
    },
    /// All machines of the schedule (TK-122).
    Machines,
    /// Which frameworks were asked to leave agents, and what they have answered (TK-122).
    InverseOffers,
    /// Ends a framework and all its tasks (FW-32).
    Teardown {
        /// Which one.
        framework: FrameworkId,
    },
    /// All frameworks that are over, as far as they are remembered, oldest first.
    EndedFrameworks,
    /// Why each agent is not being offered to a framework in one of its roles.
    Explain {
        /// Which framework.
        framework: FrameworkId,
        /// In which role.
        role: Role,
    },
    /// All operations that frameworks have named and not confirmed the end of (FW-75).
    Operations,
    /// As `Watch`, for readers who know all kinds of rows. Who asks by `Watch` is told to begin
    /// anew ([`Answer::Gap`]) where something is to be told of a kind that came later.
    WatchAll {
        /// What the reader has.
        after: Option<Version>,
    },
}

/// The answer to the request of the same id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Response {
    /// The request that this answers.
    pub id: RequestId,
    /// The answer, or a page of it.
    pub answer: Answer,
    /// Where to ask on, if this is not all of it.
    pub next: Option<Cursor>,
}

/// What an operator is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// To `Summary`.
    Summary(Summary),
    /// To `Agents`.
    Agents(Vec<AgentView>),
    /// To `Frameworks`.
    Frameworks(Vec<FrameworkView>),
    /// To `Tasks`.
    Tasks(Vec<TaskView>),
    /// To `Offers`.
    Offers(Vec<Offer>),
    /// To `Kill`: it was passed on to the agent; this is the whole name of the task. If the agent
    /// is away the answer is `Conflict`, and nothing is remembered.
    Killing {
        /// Whose task.
        framework: FrameworkId,
        /// Which task.
        task: TaskId,
    },
    /// Nothing of that name.
    NotFound(String),
    /// Several things of that name.
    Ambiguous(String),
    /// To `Roles`.
    Roles(Vec<RoleView>),
    /// To an order: it holds, and is written down.
    Updated,
    /// What was asked for makes no sense; nothing has changed.
    Invalid(String),
    /// What was asked for does not fit what there is, and was not forced; nothing has changed.
    Conflict(String),
    /// To `Snapshot`.
    Snapshot(Snapshot),
    /// To `Watch`.
    Events(Batch),
    /// To `Watch`: some of what was asked for is kept no more, or is of another leadership. The
    /// reader has to begin anew with a snapshot. To any question that goes on where another
    /// leadership has stopped ([`Cursor`]): the reader has to begin anew with the first page.
    Gap {
        /// The newest version.
        newest: Version,
    },
    /// To `Schedule`.
    Schedule(Vec<Window>),
    /// To `Machines`.
    Machines(Vec<MachineView>),
    /// To `InverseOffers`.
    InverseOffers(Vec<InverseOfferView>),
    /// To `EndedFrameworks`.
    EndedFrameworks(Vec<EndedFramework>),
    /// To `Explain`.
    Explained(Vec<Explanation>),
    /// To `Operations`.
    Operations(Vec<OperationView>),
}

impl Answer {
    /// Adds the next page of the same list; gives back what is none.
    pub fn append(&mut self, page: Self) -> Result<(), Self> {
        macro_rules! join {
            ($all:ident, $list:ident) => {{
                let Self::$list(more) = page else {
                    return Err(page);
                };
                $all.extend(more);
            }};
        }
        match self {
            Self::Agents(all) => join!(all, Agents),
            Self::Frameworks(all) => join!(all, Frameworks),
            Self::Tasks(all) => join!(all, Tasks),
            Self::Offers(all) => join!(all, Offers),
            Self::Roles(all) => join!(all, Roles),
            Self::InverseOffers(all) => join!(all, InverseOffers),
            Self::Explained(all) => join!(all, Explained),
            Self::Operations(all) => join!(all, Operations),
            Self::Snapshot(all) => {
                let Self::Snapshot(more) = page else {
                    return Err(page);
                };
                all.upto = more.upto;
                all.rows.extend(more.rows);
            }
            Self::Summary(_)
            | Self::Schedule(_)
            | Self::Machines(_)
            | Self::EndedFrameworks(_)
            | Self::Killing { .. }
            | Self::NotFound(_)
            | Self::Ambiguous(_)
            | Self::Updated
            | Self::Invalid(_)
            | Self::Conflict(_)
            | Self::Events(_)
            | Self::Gap { .. } => return Err(page),
        }
        Ok(())
    }
}

/// A master in short (FW-77).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// The leadership.
    pub master: MasterId,
    /// Its epoch.
    pub epoch: u64,
    /// Where it listens for others, as `host:port`, if it knows.
    pub address: Option<String>,
    /// Since when its process runs.
    pub started_at: Time,
    /// Since when it leads; not before the process runs.
    pub elected_at: Time,
    /// Agents that are registered.
    pub agents: usize,
    /// Frameworks that are known.
    pub frameworks: usize,
    /// Tasks that have not ended.
    pub tasks: usize,
    /// Offers outstanding.
    pub offers: usize,
}

/// An agent as the master sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentView {
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
    /// What is held in offers.
    pub offered: Resources,
    /// What tasks use.
    pub allocated: Resources,
    /// What of that the agent does not have any more: it came up with less. Nobody is offered it.
    pub shortage: Resources,
    /// How many tasks it has.
    pub tasks: usize,
}

/// A framework as the master sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrameworkView {
    /// What it says about itself, with its id.
    pub info: FrameworkInfo,
    /// Whether it is connected.
    pub connected: bool,
    /// In which of its roles it wants no offers.
    pub suppressed: Vec<Role>,
    /// What is held in offers.
    pub offered: Resources,
    /// What its tasks use.
    pub allocated: Resources,
    /// Its tasks that have not ended.
    pub tasks: usize,
}

/// A task as the master sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskView {
    /// Whose task.
    pub framework: FrameworkId,
    /// Which agent.
    pub agent: AgentId,
    /// Its name for people.
    pub name: String,
    /// What it uses.
    pub resources: Resources,
    /// The newest news.
    pub status: TaskStatus,
    /// What it publishes about itself, if it does (TK-04).
    pub published: Option<Arc<Published>>,
}

/// An operation that its framework has named, until that has confirmed its end (OF-52, OF-55).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperationView {
    /// Whose operation.
    pub framework: FrameworkId,
    /// Which operation it is; `None` if an earlier leadership has ordered it, and this one knows
    /// only what its agent says became of it.
    pub kind: Option<OperationKind>,
    /// The newest news; with the name under which they are to be confirmed once it is over.
    pub status: OperationStatus,
}

/// A role as the master sees it, with all that is below it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleView {
    /// Which one.
    pub role: Role,
    /// Its weight among its siblings.
    pub weight: Milli,
    /// What it is promised, and may have.
    pub quota: Quota,
    /// What counts against its quota: what is reserved to it, and what else it is offered or uses
    /// (RQ-21).
    pub consumed: Quantities,
    /// What it is offered or uses.
    pub allocated: Quantities,
    /// What is reserved to it, in use or not.
    pub reserved: Quantities,
    /// Its dominant share, weight not applied, in millionths.
    pub dominant_share: u64,
    /// Frameworks in this very role.
    pub frameworks: usize,
}

/// A framework that is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndedFramework {
    /// Its id, which does not come back.
    pub id: FrameworkId,
    /// Its name, if that is still known.
    pub name: Option<String>,
    /// Why it is over.
    pub reason: EndReason,
    /// Since when.
    pub at: Time,
}

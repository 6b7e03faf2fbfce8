//! Offers, and what may be done with them.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::maintenance::Unavailability;
use super::node::Domain;
use super::operation::Conversion;
use super::task::{CommandInfo, ExecutorInfo, TaskInfo};
use crate::attributes::Attributes;
use crate::ids::{AgentId, ExecutorId, FrameworkId, OfferId, OperationId, TaskId};
use crate::resources::Resources;
use crate::roles::Role;

/// Resources of one agent, held for one framework in one role (OF-01).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// Its id; dead after an accept, a decline, a rescission, or a change of master.
    pub id: OfferId,
    /// For whom.
    pub framework: FrameworkId,
    /// In which role.
    pub role: Role,
    /// Whose resources.
    pub agent: AgentId,
    /// The agent's name in the network. All its offers share it.
    pub hostname: Arc<str>,
    /// Where the agent listens, as `host:port`. All its offers share it.
    pub address: Arc<str>,
    /// The agent's attributes.
    pub attributes: Attributes,
    /// Where the agent stands, if it says so.
    pub domain: Option<Domain>,
    /// What is offered.
    pub resources: Resources,
    /// The framework's executors on the agent, as many of them as
    /// [`EXECUTORS_PER_OFFER`](crate::limits::EXECUTORS_PER_OFFER) in the order of their ids. A
    /// task that names one of them starts no other.
    pub executors: Vec<ExecutorId>,
    /// When the agent's machine is to be out of service, if that is planned (TK-119).
    pub unavailability: Option<Unavailability>,
}

/// Asks a framework to leave an agent, whose machine is to be out of service (OF-48). Nothing
/// follows from an answer by itself: operators see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InverseOffer {
    /// Its id; dead after an answer, a rescission, or a change of master.
    pub id: OfferId,
    /// Who is asked.
    pub framework: FrameworkId,
    /// Which agent is to be left, as a whole.
    pub agent: AgentId,
    /// The agent's name in the network.
    pub hostname: String,
    /// What the framework's tasks and executors use there, at this moment. Nothing if it is offered
    /// something only.
    pub resources: Resources,
    /// When the machine is to be out of service.
    pub unavailability: Unavailability,
}

impl Offer {
    /// Offers resources of an agent in the role `*`, and says no more about it.
    pub fn new(id: OfferId, framework: FrameworkId, agent: AgentId, resources: Resources) -> Self {
        Self {
            id,
            framework,
            role: Role::any(),
            agent,
            hostname: Arc::default(),
            address: Arc::default(),
            attributes: Attributes::new(),
            domain: None,
            resources,
            executors: Vec::new(),
            unavailability: None,
        }
    }

    /// Describes a task that runs `command` on this offer's agent.
    pub fn task(&self, id: TaskId, resources: Resources, command: CommandInfo) -> TaskInfo {
        TaskInfo {
            command: Some(command),
            ..TaskInfo::new(id, self.agent.clone(), resources)
        }
    }
}

/// One thing to do with accepted offers (OF-22 on).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Operation {
    /// Starts tasks, each on its own: an invalid one does not hold back the others.
    Launch(Vec<TaskInfo>),
    /// Makes something else of some of what is offered, such as reserved resources (OF-24 on).
    Convert {
        /// What the framework calls the operation, if it wants to hear what becomes of it (OF-52).
        id: Option<OperationId>,
        /// What to do.
        change: Conversion,
    },
    /// Starts tasks together, or none of them.
    LaunchGroup(TaskGroup),
}

impl Operation {
    /// Returns the tasks that it is to start.
    pub fn tasks(&self) -> &[TaskInfo] {
        match self {
            Self::Launch(tasks) | Self::LaunchGroup(TaskGroup { tasks, .. }) => tasks,
            Self::Convert { .. } => &[],
        }
    }
}

/// Tasks that are started together or not at all, and end together: once one of them has ended
/// otherwise than well, or is killed, so are the others (OF-23, TK-91).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskGroup {
    /// Who runs them. Groups may have one in common; of what the agent's own gives to the tasks of
    /// a group each has its own.
    pub executor: ExecutorInfo,
    /// The tasks. They have commands if the executor is the agent's own, and name no other
    /// executor.
    pub tasks: Vec<TaskInfo>,
}

impl TaskGroup {
    /// Returns the tasks, each with the executor, or the task that names another one (TK-15).
    pub fn into_tasks(self) -> Result<Vec<TaskInfo>, TaskId> {
        let Self { executor, tasks } = self;
        let with_executor = |task: TaskInfo| match task.executor {
            Some(other) if other != executor => Err(task.id),
            Some(_) | None => Ok(TaskInfo {
                executor: Some(executor.clone()),
                ..task
            }),
        };
        tasks.into_iter().map(with_executor).collect()
    }
}

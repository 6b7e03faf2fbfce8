//! A master as it was at one moment: read-only answers, from a snapshot that is cheap to take.
//!
//! Tables are shared page by page until the master writes to them again. So a view can be handed to
//! another thread, and putting a long answer together holds nobody up. A view has a version: events
//! say what is different after it (`publishing`).
//!
//! Deliberately not here: orders. Those go through the machine.

use alloc::boxed::Box;
#[cfg(feature = "sim")]
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
#[cfg(feature = "sim")]
use core::fmt::Debug;

use super::Master;
use super::agents::Agent;
use super::executors::Executor;
use super::frameworks::Framework;
use super::inverse_offers::Inverse;
use super::offers::Outstanding;
use super::operations::Operation;
use super::tasks::Task;
use crate::feed::{Followed, Gap, Picture};
#[cfg(feature = "sim")]
use crate::ids::ExecutorId;
use crate::ids::{AgentId, FrameworkId, MasterId};
use crate::keys::{AgentKey, FrameworkKey};
use crate::mirror::{Mirror, Shares};
use crate::protocol::events::{
    AgentState, Batch, EndedState, ExecutorState, FrameworkState, GoneState, InverseOfferState,
    Kind, MachineState, RoleState, Row, Version,
};
use crate::protocol::maintenance::{MachineId, Unavailability};
use crate::protocol::offer::Offer;
use crate::protocol::operator::{AgentView, FrameworkView, OperationView, Summary, TaskView};
use crate::protocol::status::TaskStatus;
use crate::registry::{Ending, Gone};
use crate::table::Table;
use crate::time::Time;

/// A snapshot of a master.
#[derive(Clone, Debug)]
pub struct View {
    master: MasterId,
    address: Option<String>,
    started_at: Time,
    elected_at: Time,
    version: Version,
    agents: Table<Agent>,
    frameworks: Table<Framework>,
    tasks: Table<Task>,
    offers: Table<Outstanding>,
    executors: Table<Executor>,
    roles: Table<RoleState>,
    operations: Table<Operation>,
    gone: Table<(AgentId, Gone)>,
    ended: Table<(FrameworkId, Ending)>,
    machines: Table<(MachineId, Unavailability)>,
    down: Table<(MachineId, ())>,
    inverse_offers: Table<Inverse>,
}

impl Master {
    /// Takes a snapshot.
    pub fn view(&self) -> View {
        let elected_at = self.elected_at;
        let (machines, down) = self.registry.machines();
        let started_at = self.config.started_at.unwrap_or(elected_at);
        View {
            master: self.config.id.clone(),
            address: self.config.address.clone(),
            started_at: started_at.min(elected_at),
            elected_at,
            version: self.feed.newest(),
            agents: self.agents.snapshot(),
            frameworks: self.frameworks.snapshot(),
            tasks: self.tasks.snapshot(),
            offers: self.offers.snapshot(),
            executors: self.tasks.executors_snapshot(),
            roles: self.roles.snapshot(),
            operations: self.operations.snapshot(),
            gone: self.registry.gone().pages().clone(),
            ended: self.registry.endings().pages().clone(),
            machines: machines.pages().clone(),
            down: down.pages().clone(),
            inverse_offers: self.inverse_offers.snapshot(),
        }
    }
}

impl Followed for Master {
    type Row = Row;
    type Picture = View;

    fn picture(&self) -> View {
        self.view()
    }

    fn events_after(&self, after: Version) -> Result<Batch, Gap> {
        Self::events_after(self, after)
    }
}

impl Picture for View {
    type Row = Row;

    fn version(&self) -> Version {
        self.version
    }

    fn rows(&self) -> Vec<Row> {
        let kinds = Kind::ALL.into_iter();
        kinds.flat_map(|kind| Self::rows(self, kind)).collect()
    }
}

impl View {
    /// Returns which state of the master this is. Views of the same version are the same.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Returns whether another view of the same leadership shows the same, but for its version,
    /// which rises with whatever may have changed something.
    #[cfg(feature = "sim")]
    pub(crate) fn shows(&self, other: &Self) -> bool {
        fn same<T: Debug>(one: &Table<T>, other: &Table<T>) -> bool {
            one.shows(other, |a, b| format!("{a:?}") == format!("{b:?}"))
        }
        same(&self.agents, &other.agents)
            && same(&self.frameworks, &other.frameworks)
            && same(&self.tasks, &other.tasks)
            && same(&self.offers, &other.offers)
            && same(&self.executors, &other.executors)
            && same(&self.roles, &other.roles)
            && same(&self.operations, &other.operations)
            && same(&self.gone, &other.gone)
            && same(&self.ended, &other.ended)
            && same(&self.machines, &other.machines)
            && same(&self.down, &other.down)
            && same(&self.inverse_offers, &other.inverse_offers)
    }

    /// Lists the rows of one kind, as events tell them.
    pub fn rows(&self, of: Kind) -> Vec<Row> {
        self.rows_after(of, None).map(|(_, row)| row).collect()
    }

    /// Makes a mirror of it, which events after this version keep up to date. There are such events
    /// if somebody has asked for some before the view was taken ([`Call::Watch`]).
    ///
    /// [`Call::Watch`]: crate::protocol::operator::Call::Watch
    pub fn mirror(&self) -> Mirror {
        let rows = Kind::ALL.into_iter().flat_map(|kind| self.rows(kind));
        Mirror::of(self.version, rows)
    }

    pub(super) fn rows_after(
        &self,
        of: Kind,
        place: Option<u32>,
    ) -> Box<dyn Iterator<Item = (u32, Row)> + '_> {
        fn of_table<'a, T>(
            table: &'a Table<T>,
            place: Option<u32>,
            show: impl Fn(&T) -> Option<Row> + 'a,
        ) -> Box<dyn Iterator<Item = (u32, Row)> + 'a> {
            let rows = table.iter_after(place);
            Box::new(rows.filter_map(move |(key, row)| Some((key.index(), show(row)?))))
        }
        match of {
            Kind::Agents => of_table(&self.agents, place, |row| Some(agent(row))),
            Kind::Frameworks => of_table(&self.frameworks, place, |row| {
                (!row.is_completed()).then(|| framework(row))
            }),
            Kind::Executors => of_table(&self.executors, place, |row| Some(executor(row))),
            Kind::Tasks => of_table(&self.tasks, place, task),
            Kind::Offers => of_table(&self.offers, place, |row| Some(offer(row))),
            Kind::Roles => of_table(&self.roles, place, |row| Some(role(row))),
            Kind::Operations => of_table(&self.operations, place, |row| Some(operation(row))),
            Kind::Gone => of_table(&self.gone, place, |row| Some(gone(row))),
            Kind::Ended => of_table(&self.ended, place, |row| Some(ended(row))),
            Kind::Completed => of_table(&self.frameworks, place, |row| {
                row.is_completed().then(|| framework(row))
            }),
            Kind::Machines => of_table(&self.machines, place, |row| Some(machine(row))),
            Kind::Down => of_table(&self.down, place, |row| Some(down(row))),
            Kind::InverseOffers => {
                of_table(&self.inverse_offers, place, |row| Some(inverse_offer(row)))
            }
        }
    }

    /// Says who leads, since when, and how much there is (FW-77).
    pub fn summary(&self) -> Summary {
        let agents = self.agents.iter();
        let frameworks = self.frameworks.iter();
        let tasks = self.tasks.iter();
        Summary {
            master: self.master.clone(),
            epoch: self.version.epoch,
            address: self.address.clone(),
            started_at: self.started_at,
            elected_at: self.elected_at,
            agents: agents.filter(|(_, row)| row.is_allocatable()).count(),
            frameworks: frameworks.filter(|(_, row)| !row.is_completed()).count(),
            tasks: tasks.filter(|(_, task)| task.is_active()).count(),
            offers: self.offers.len(),
        }
    }

    /// Lists all agents that the registry admits, those that are away included.
    pub fn agents(&self) -> Vec<AgentView> {
        let mut shares = self.shares(|_, agent| agent);
        let agents = self.agents.iter();
        let agents = agents.map(|(key, row)| shares.take(&key.cast()).of_agent(agent_state(row)));
        agents.collect()
    }

    /// Lists all frameworks that are not over.
    pub fn frameworks(&self) -> Vec<FrameworkView> {
        let mut shares = self.shares(|framework, _| framework);
        let rows = self.frameworks.iter();
        let rows = rows.filter(|(_, row)| !row.is_completed());
        let frameworks = rows.map(|(key, row)| {
            let share = shares.take(&key.cast());
            share.of_framework(framework_state(row))
        });
        frameworks.collect()
    }

    /// Lists the tasks that have not ended.
    pub fn live_tasks(&self) -> Vec<TaskView> {
        let tasks = self.tasks_after(None, Task::is_active);
        tasks.map(|(_, task)| task).collect()
    }

    /// Lists all tasks, and those that have ended as far as they are remembered.
    pub fn all_tasks(&self) -> Vec<TaskView> {
        let tasks = self.tasks_after(None, |_| true);
        tasks.map(|(_, task)| task).collect()
    }

    pub(super) fn tasks_after(
        &self,
        place: Option<u32>,
        counts: impl Fn(&Task) -> bool,
    ) -> impl Iterator<Item = (u32, TaskView)> {
        let tasks = self
            .tasks
            .iter_after(place)
            .filter(move |(_, task)| counts(task));
        tasks.filter_map(|(key, task)| Some((key.index(), task_view(task)?)))
    }

    /// Lists all outstanding offers.
    pub fn offers(&self) -> Vec<Offer> {
        self.offers_after(None).map(|(_, offer)| offer).collect()
    }

    pub(super) fn offers_after(
        &self,
        place: Option<u32>,
    ) -> impl Iterator<Item = (u32, Offer)> + '_ {
        let offers = self.offers.iter_after(place);
        offers.map(|(key, row)| (key.index(), (*row.offer).clone()))
    }

    /// Lists the operations that frameworks have named and not confirmed the end of.
    pub fn operations(&self) -> Vec<OperationView> {
        let operations = self.operations_after(None);
        operations.map(|(_, operation)| operation).collect()
    }

    pub(super) fn operations_after(
        &self,
        place: Option<u32>,
    ) -> impl Iterator<Item = (u32, OperationView)> + '_ {
        let operations = self.operations.iter_after(place);
        operations.map(|(key, row)| (key.index(), operation_view(row)))
    }

    /// Adds up what is offered and in use, by agent or by framework.
    fn shares<K: Ord>(&self, of: impl Fn(FrameworkKey, AgentKey) -> K) -> Shares<K> {
        let mut shares = Shares::default();
        for (_, row) in self.offers.iter() {
            shares.offer(of(row.framework, row.agent), &row.offer.resources);
        }
        for (_, row) in self.tasks.iter() {
            shares.task(of(row.framework, row.agent), row.state, &row.resources);
        }
        for (_, row) in self.executors.iter() {
            shares.executor(of(row.framework, row.agent), &row.info.resources);
        }
        shares
    }

    /// Visits the executors that are processes, each with its framework and its agent.
    #[cfg(feature = "sim")]
    pub(crate) fn processes(&self) -> impl Iterator<Item = (&FrameworkId, &AgentId, &ExecutorId)> {
        let rows = self.executors.iter().map(|(_, row)| row);
        let processes = rows.filter(|row| row.is_custom());
        processes.map(|row| (&row.owner, &row.host, &row.info.id))
    }
}

/// What is told of an agent.
pub(super) fn agent(row: &Agent) -> Row {
    Row::Agent(agent_state(row))
}

pub(super) fn agent_state(row: &Agent) -> AgentState {
    AgentState {
        id: row.id.clone(),
        info: (*row.info).clone(),
        total: row.total.clone(),
        presence: row.told_presence(),
        standing: row.standing,
        drain_since: row.drain_since,
        operations: row.operations,
        registered_at: row.registered_at,
    }
}

/// What is told of a framework, live or over.
pub(super) fn framework(row: &Framework) -> Row {
    let state = framework_state(row);
    if row.is_completed() {
        Row::Completed(state)
    } else {
        Row::Framework(state)
    }
}

pub(super) fn framework_state(row: &Framework) -> FrameworkState {
    FrameworkState {
        id: row.id.clone(),
        info: (*row.info).clone(),
        connected: row.peer().is_some(),
        suppressed: row.wishes.suppressed.iter().cloned().collect(),
    }
}

/// What is told of an executor.
pub(super) fn executor(row: &Executor) -> Row {
    Row::Executor(ExecutorState {
        framework: row.owner.clone(),
        agent: row.host.clone(),
        id: row.info.id.clone(),
        resources: row.info.resources.clone(),
        published: row.info.published(),
    })
}

/// What is told of a task.
pub(super) fn task(row: &Task) -> Option<Row> {
    task_view(row).map(Row::Task)
}

fn task_view(task: &Task) -> Option<TaskView> {
    Some(TaskView {
        framework: task.owner.clone(),
        agent: task.status.agent.clone()?,
        name: task.name.clone(),
        resources: task.resources.clone(),
        status: TaskStatus {
            state: task.state,
            ..task.status.clone()
        },
        published: task.published.clone(),
    })
}

/// What is told of an offer.
pub(super) fn offer(row: &Outstanding) -> Row {
    Row::Offer((*row.offer).clone())
}

/// What is told of a role.
pub(super) fn role(row: &RoleState) -> Row {
    Row::Role(row.clone())
}

/// What is told of an operation.
pub(super) fn operation(row: &Operation) -> Row {
    Row::Operation(operation_view(row))
}

fn operation_view(row: &Operation) -> OperationView {
    OperationView {
        framework: row.owner.clone(),
        kind: row.kind,
        status: row.status.clone(),
    }
}

/// What is told of an agent that is gone.
pub(super) fn gone((id, gone): &(AgentId, Gone)) -> Row {
    let (id, at) = (id.clone(), gone.at);
    Row::Gone(GoneState { id, at })
}

/// Why a framework is over.
pub(super) fn ended((id, ending): &(FrameworkId, Ending)) -> Row {
    Row::Ended(EndedState {
        id: id.clone(),
        reason: ending.reason,
        at: ending.at,
    })
}

/// What is told of a machine of the schedule.
pub(super) fn machine((machine, when): &(MachineId, Unavailability)) -> Row {
    Row::Machine(MachineState {
        machine: machine.clone(),
        unavailability: *when,
    })
}

/// What is told of a machine that is down.
pub(super) fn down((machine, ()): &(MachineId, ())) -> Row {
    Row::Down(machine.clone())
}

/// What is told of a question whether to leave an agent.
pub(super) fn inverse_offer(row: &Inverse) -> Row {
    Row::InverseOffer(InverseOfferState {
        framework: row.owner.clone(),
        agent: row.host.clone(),
        open: row.open().cloned(),
        leaving: row.leaving,
    })
}

//! A master as it was at one moment: read-only answers, from a snapshot that is cheap to take.
//!
//! Tables are shared page by page until the master writes to them again. So a view can be handed to
//! another thread, and putting a long answer together holds nobody up. A view has a version: events
//! say what is different after it (`publishing`).
//!
//! Deliberately not here: orders. Those go through the machine.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use super::Master;
use super::agents::Agent;
use super::executors::Executor;
use super::frameworks::Framework;
use super::offers::Outstanding;
use super::operations::Operation;
use super::tasks::Task;
use crate::ids::MasterId;
#[cfg(feature = "sim")]
use crate::ids::{AgentId, ExecutorId, FrameworkId};
use crate::keys::{AgentKey, FrameworkKey};
use crate::mirror::{Mirror, Shares};
use crate::protocol::events::{
    AgentState, ExecutorState, FrameworkState, Kind, RoleState, Row, Snapshot, Version,
};
use crate::protocol::offer::Offer;
use crate::protocol::operator::{AgentView, FrameworkView, OperationView, Summary, TaskView};
use crate::protocol::status::TaskStatus;
use crate::table::{Key, Table};
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
}

impl Master {
    /// Takes a snapshot.
    pub fn view(&self) -> View {
        let elected_at = self.elected_at;
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
        }
    }
}

impl View {
    /// Returns which state of the master this is. Views of the same version are the same.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Returns all that it shows but its version, which rises with whatever may have changed
    /// something. Of tasks that are over it is their number: those that are remembered are many.
    #[cfg(feature = "sim")]
    pub(crate) fn contents(&self) -> impl core::fmt::Debug + '_ {
        let live = self.tasks.iter().map(|(_, task)| task);
        let live: Vec<&Task> = live.filter(|task| !task.is_remembered()).collect();
        let connected = (&self.agents, &self.frameworks);
        let given = (live, self.tasks.len(), &self.offers, &self.executors);
        (connected, given, &self.roles, &self.operations)
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
        let (from, upto) = (self.version, self.version);
        let mut mirror = Mirror::default();
        for kind in Kind::ALL {
            let rows = self.rows(kind);
            let page = mirror.load(Snapshot { from, upto, rows });
            page.expect("pages of one version fit together");
        }
        mirror
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
            let rows = rows_after(table, place);
            Box::new(rows.filter_map(move |(key, row)| Some((key.index(), show(row)?))))
        }
        match of {
            Kind::Agents => of_table(&self.agents, place, |row| Some(agent(row))),
            Kind::Frameworks => of_table(&self.frameworks, place, framework),
            Kind::Executors => of_table(&self.executors, place, |row| Some(executor(row))),
            Kind::Tasks => of_table(&self.tasks, place, task),
            Kind::Offers => of_table(&self.offers, place, |row| Some(offer(row))),
            Kind::Roles => of_table(&self.roles, place, |row| Some(role(row))),
            Kind::Operations => of_table(&self.operations, place, |row| Some(operation(row))),
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
        self.agents_after(None).map(|(_, agent)| agent).collect()
    }

    pub(super) fn agents_after(
        &self,
        place: Option<u32>,
    ) -> impl Iterator<Item = (u32, AgentView)> + '_ {
        let mut shares = self.shares(|_, agent| agent);
        rows_after(&self.agents, place).map(move |(key, row)| {
            let share = shares.take(&key.cast());
            (key.index(), share.of_agent(agent_state(row)))
        })
    }

    /// Lists all frameworks that are not over.
    pub fn frameworks(&self) -> Vec<FrameworkView> {
        let frameworks = self.frameworks_after(None);
        frameworks.map(|(_, framework)| framework).collect()
    }

    pub(super) fn frameworks_after(
        &self,
        place: Option<u32>,
    ) -> impl Iterator<Item = (u32, FrameworkView)> + '_ {
        let mut shares = self.shares(|framework, _| framework);
        let rows = rows_after(&self.frameworks, place);
        let rows = rows.filter(|(_, row)| !row.is_completed());
        rows.map(move |(key, row)| {
            let share = shares.take(&key.cast());
            let framework = share.of_framework(framework_state(row));
            (key.index(), framework)
        })
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
        let tasks = rows_after(&self.tasks, place).filter(move |(_, task)| counts(task));
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
        let offers = rows_after(&self.offers, place);
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
        let operations = rows_after(&self.operations, place);
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

/// The rows behind a place, in the order of their keys: a row never moves.
fn rows_after<T>(table: &Table<T>, place: Option<u32>) -> impl Iterator<Item = (Key<T>, &T)> + '_ {
    let first = place.map_or(Some(0), |last| last.checked_add(1));
    let rows = first.map(|first| table.iter_from(first));
    rows.into_iter().flatten()
}

/// What is told of an agent.
pub(super) fn agent(row: &Agent) -> Row {
    Row::Agent(agent_state(row))
}

fn agent_state(row: &Agent) -> AgentState {
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

/// What is told of a framework, unless it is over.
pub(super) fn framework(row: &Framework) -> Option<Row> {
    let is_over = row.is_completed();
    (!is_over).then(|| Row::Framework(framework_state(row)))
}

fn framework_state(row: &Framework) -> FrameworkState {
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

//! What an agent remembers, and what each record makes of it.
//!
//! The agent writes a record, applies it here, and only then says anything that rests on it; the
//! journal gives the same records back after a restart. The tables below hold what must survive:
//! tasks, executors, what operations have made, news that nobody acknowledged, kills under way.
//!
//! Deliberately not here: whatever is true of one life only (connections, timers, which container
//! is just being started), and any decision.

mod ends;
mod operations;

use alloc::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::disks::Job;
use super::executors::Executor;
use super::gc::{Retired, Retirees};
use super::groups;
use super::operations::Said;
use super::records::{AgentRecord, Number};
use super::rows::{self, Row};
use super::sayings::Sayings;
use super::tasks::{Placement, Task};
use super::volumes::Volumes;
use crate::book::Book;
use crate::feed::Changes;
use crate::ids::{AgentId, BootId, ExecutorId, FrameworkId, TaskId};
use crate::machine::Durable;
use crate::protocol::disk::{DiskJob, DiskOutcome};
use crate::protocol::framework::{Capabilities, FrameworkInfo};
use crate::protocol::node::AgentInfo;
use crate::protocol::operation::Converted;
use crate::protocol::status::TaskStatus;
use crate::protocol::task::{ExecutorInfo, TaskInfo};
use crate::roles::Role;
use crate::table::Noted;
use crate::time::Time;

/// A framework that has tasks or executors here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Framework {
    /// What it says about itself.
    pub(super) info: FrameworkInfo,
    /// Whether it is gone, and its tasks are only waited for.
    pub(super) ended: bool,
    /// Its tasks.
    pub(super) tasks: BTreeMap<TaskId, Number>,
    /// Its executors.
    pub(super) executors: BTreeMap<ExecutorId, Number>,
}

/// All that an agent remembers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentState {
    /// How many records were ever applied; tells one life's randomness from another's.
    records: u64,
    last_time: Time,
    next: Number,
    agent: Option<AgentId>,
    epoch: u64,
    boot: Option<BootId>,
    info: Option<AgentInfo>,
    frameworks: BTreeMap<FrameworkId, Framework>,
    executors: Book<Number, Executor>,
    tasks: Book<Number, Task>,
    retired: Retirees,
    converted: Converted,
    said: Sayings,
    jobs: Book<u64, Job>,
    undoing: BTreeSet<u64>,
    volumes: Volumes,
}

impl AgentState {
    /// Returns the id that a master gave, if one did.
    pub fn agent(&self) -> Option<&AgentId> {
        self.agent.as_ref()
    }

    /// Returns the highest epoch of a leadership that was heard of.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Returns the run of the machine in which the agent last came up.
    pub(super) fn boot(&self) -> Option<BootId> {
        self.boot
    }

    /// Lists the sandboxes of what has ended and is forgotten.
    pub(super) fn retired(&self) -> &Retirees {
        &self.retired
    }

    #[cfg(test)]
    pub(super) fn retired_mut(&mut self) -> &mut Retirees {
        &mut self.retired
    }

    /// Returns how the agent described itself when it last came up.
    pub(super) fn info(&self) -> Option<&AgentInfo> {
        self.info.as_ref()
    }

    /// Returns the latest moment recorded: time goes on from there, whatever the wall clock says.
    pub fn last_time(&self) -> Time {
        self.last_time
    }

    /// Returns how many records were ever applied.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Returns what operations have made of the agent's resources.
    pub fn converted(&self) -> &Converted {
        &self.converted
    }

    /// Returns the news about operations that nobody has acknowledged, by their numbers.
    pub(super) fn said(&self) -> &Book<u64, Said> {
        self.said.rows()
    }

    /// Returns how long all of that is on the wire.
    pub(super) fn said_bytes(&self) -> usize {
        self.said.bytes()
    }

    /// Returns what the provider of disks is at, by the numbers of the orders that began it.
    pub(super) fn jobs(&self) -> &Book<u64, Job> {
        &self.jobs
    }

    /// Lists the jobs that have failed, and whose disks the provider may not have taken back yet.
    pub fn undoing(&self) -> &BTreeSet<u64> {
        &self.undoing
    }

    /// Returns which persistent volumes there are, and what was on which is to be deleted.
    pub(super) fn volumes(&self) -> &Volumes {
        &self.volumes
    }

    /// Visits what the provider of disks is at, or the master has not ended yet; and how it ended,
    /// once that is known.
    pub fn disk_jobs(&self) -> impl Iterator<Item = (&DiskJob, Option<&DiskOutcome>)> + '_ {
        let jobs = self.jobs.values();
        jobs.map(|row| (&row.job, row.outcome.as_ref()))
    }

    /// Returns the tables that are told of, for whoever watches them.
    pub(super) fn told(&mut self) -> [&mut dyn Noted; 4] {
        let Self {
            executors,
            tasks,
            said,
            jobs,
            ..
        } = self;
        [executors, tasks, said.noted(), jobs]
    }

    pub(super) fn take_changes(&mut self, changes: &mut Changes<Row>) {
        changes.take(self.executors.watched(), rows::executor);
        changes.take(self.tasks.watched(), rows::task);
        changes.take(self.said.watched(), rows::operation);
        changes.take(self.jobs.watched(), rows::disk);
    }

    pub(super) fn next(&self) -> Number {
        self.next
    }

    pub(super) fn frameworks(&self) -> &BTreeMap<FrameworkId, Framework> {
        &self.frameworks
    }

    pub(super) fn executors(&self) -> &Book<Number, Executor> {
        &self.executors
    }

    pub(super) fn tasks(&self) -> &Book<Number, Task> {
        &self.tasks
    }

    pub(super) fn task(&self, number: Number) -> Option<&Task> {
        self.tasks.get(&number)
    }

    pub(super) fn executor(&self, number: Number) -> Option<&Executor> {
        self.executors.get(&number)
    }

    /// Finds a task by its names.
    pub(super) fn find_task(&self, framework: &FrameworkId, task: &TaskId) -> Option<Number> {
        self.frameworks.get(framework)?.tasks.get(task).copied()
    }

    /// Finds an executor by its names.
    pub(super) fn find_executor(
        &self,
        framework: &FrameworkId,
        executor: &ExecutorId,
    ) -> Option<Number> {
        self.frameworks
            .get(framework)?
            .executors
            .get(executor)
            .copied()
    }

    /// Returns whether a framework was ended, and is only waited for.
    pub(super) fn is_ended(&self, framework: &FrameworkId) -> bool {
        self.frameworks.get(framework).is_some_and(|f| f.ended)
    }

    /// Returns whether a framework wants to hear that its tasks are being ended (FW-14).
    pub(super) fn hears_of_killing(&self, framework: &FrameworkId) -> bool {
        let framework = self.frameworks.get(framework);
        framework.is_some_and(|it| it.info.capabilities.contains(Capabilities::TASK_KILLING))
    }

    /// Visits the tasks of an executor that has not ended.
    pub(super) fn tasks_of(&self, executor: Number) -> impl Iterator<Item = (Number, &Task)> + '_ {
        let tasks = self.executors.get(&executor).map(Executor::tasks);
        let numbers = tasks.into_iter().flatten();
        numbers.filter_map(|number| Some((*number, self.tasks.get(number)?)))
    }

    /// Lists what is kept of a group, by the number of its first task.
    pub(super) fn group(&self, first: Number) -> impl Iterator<Item = (Number, &Task)> + '_ {
        let tasks = self.tasks.range(first..);
        let of_it = tasks.take_while(move |(_, task)| task.group() == Some(first));
        of_it.map(|(number, task)| (*number, task))
    }

    fn framework_entry(&mut self, info: &FrameworkInfo) -> &mut Framework {
        let id = info
            .id
            .clone()
            .expect("only frameworks with an id are recorded");
        let framework = self.frameworks.entry(id).or_insert_with(|| Framework {
            info: info.clone(),
            ended: false,
            tasks: BTreeMap::new(),
            executors: BTreeMap::new(),
        });
        framework.info = info.clone();
        framework
    }

    fn remove_task(&mut self, number: Number) {
        let task = self.tasks.remove(&number).expect("a removed task is kept");
        let framework = self
            .frameworks
            .get_mut(task.framework())
            .expect("a task's framework is kept");
        framework.tasks.remove(&task.info().id);
        if task.placement() == Placement::Own {
            let id = task.info().id.clone();
            let retired = Retired::Task(task.framework().clone(), id);
            self.retired.insert((self.last_time, number), retired);
            self.retire_group_of(&task);
        }
        if let Placement::Executor(executor) = task.placement()
            && let Some(row) = self.executors.get_mut(&executor)
        {
            row.remove_task(number);
        }
        self.remove_if_unused(task.framework());
    }

    /// Retires the sandbox of the group of a task that was removed, if it was the last one.
    fn retire_group_of(&mut self, task: &Task) {
        let (Some(first), Some(executor)) = (task.group(), &task.info().executor) else {
            return;
        };
        if self.group(first).next().is_none() {
            let id = executor.id.clone();
            let retired = Retired::Executor(task.framework().clone(), id);
            let place = (self.last_time, groups::number_of(first));
            self.retired.entry(place).or_insert(retired);
        }
    }

    fn remove_if_unused(&mut self, framework: &FrameworkId) {
        let unused = |f: &Framework| f.tasks.is_empty() && f.executors.is_empty();
        if self.frameworks.get(framework).is_some_and(unused) {
            self.frameworks.remove(framework);
        }
    }

    fn task_mut(&mut self, number: Number) -> &mut Task {
        self.tasks
            .get_mut(&number)
            .expect("a record speaks of a task that is kept")
    }

    fn take_number(&mut self, number: Number) {
        assert!(number >= self.next, "{number:?} was given out before");
        self.next = Number(number.0 + 1);
    }

    fn apply_executor_launched(
        &mut self,
        number: Number,
        framework: &FrameworkInfo,
        role: &Role,
        executor: &ExecutorInfo,
    ) {
        self.take_number(number);
        let entry = self.framework_entry(framework);
        entry.executors.insert(executor.id.clone(), number);
        let framework = framework.id.clone().expect("checked by framework_entry");
        self.executors.insert(
            number,
            Executor::new(framework, role.clone(), executor.clone()),
        );
    }

    fn apply_subscribed(&mut self, executor: Number) {
        let row = self.executors.get_mut(&executor);
        let row = row.expect("a record speaks of an executor that is kept");
        row.mark_subscribed();
    }

    fn apply_executor_ended(&mut self, executor: Number) {
        let row = self
            .executors
            .remove(&executor)
            .expect("a record speaks of an executor that is kept");
        if let Some(framework) = self.frameworks.get_mut(row.framework()) {
            framework.executors.remove(&row.info().id);
        }
        self.remove_if_unused(row.framework());
        let id = row.info().id.clone();
        let retired = Retired::Executor(row.framework().clone(), id);
        self.retired.insert((self.last_time, executor), retired);
    }

    fn apply_task_accepted(
        &mut self,
        number: Number,
        framework: &FrameworkInfo,
        role: &Role,
        task: &TaskInfo,
        (placement, group): (Placement, Option<Number>),
    ) {
        self.take_number(number);
        let entry = self.framework_entry(framework);
        entry.tasks.insert(task.id.clone(), number);
        let framework = framework.id.clone().expect("checked by framework_entry");
        if let Placement::Executor(executor) = placement
            && let Some(row) = self.executors.get_mut(&executor)
        {
            row.add_task(number);
        }
        self.tasks.insert(
            number,
            Task::new(framework, role.clone(), task.clone(), placement, group),
        );
    }

    fn apply_updated(&mut self, task: Number, status: &TaskStatus) {
        self.last_time = self.last_time.max(status.at);
        self.task_mut(task).update(status.clone());
    }

    /// The next agent is a new one: what the master has made of this one's resources is void.
    fn apply_left(&mut self) {
        (self.agent, self.info) = (None, None);
        (self.converted, self.undoing) = (Converted::default(), BTreeSet::new());
        self.volumes = Volumes::default();
        self.said.clear();
        self.jobs.clear();
    }

    fn apply_framework_changed(&mut self, framework: &FrameworkInfo) {
        let known = framework.id.as_ref();
        if let Some(known) = known.and_then(|id| self.frameworks.get_mut(id)) {
            known.info = framework.clone();
        }
    }
}

impl Durable for AgentState {
    type Record = AgentRecord;

    const LAYOUT: u32 = 5;

    fn apply(&mut self, record: &AgentRecord) {
        self.records += 1;
        match record {
            AgentRecord::Admitted { agent } => self.agent = Some(agent.clone()),
            AgentRecord::Left => self.apply_left(),
            AgentRecord::EpochSeen { epoch } => self.epoch = self.epoch.max(*epoch),
            AgentRecord::ExecutorLaunched {
                number,
                framework,
                role,
                executor,
            } => self.apply_executor_launched(*number, framework, role, executor),
            AgentRecord::ExecutorSubscribed { executor } => self.apply_subscribed(*executor),
            AgentRecord::ExecutorEnded { executor } => self.apply_executor_ended(*executor),
            AgentRecord::TaskAccepted {
                number,
                framework,
                role,
                task,
                placement,
            } => self.apply_task_accepted(*number, framework, role, task, (*placement, None)),
            AgentRecord::GroupAccepted {
                first,
                framework,
                role,
                tasks,
                placement,
            } => {
                for (number, task) in (first.0..).map(Number).zip(tasks) {
                    let place = (*placement, Some(*first));
                    self.apply_task_accepted(number, framework, role, task, place);
                }
            }
            AgentRecord::KillRequested { task, destroy_at } => self.apply_kill(*task, *destroy_at),
            AgentRecord::Updated { task, status } => self.apply_updated(*task, status),
            AgentRecord::Acknowledged { task, update } => {
                if self.task_mut(*task).acknowledge(*update) {
                    self.remove_task(*task);
                }
            }
            AgentRecord::FrameworkEnded {
                framework,
                destroy_at,
            } => self.apply_framework_ended(framework, *destroy_at),
            AgentRecord::TaskForgotten { task } => self.remove_task(*task),
            AgentRecord::RanOut { task, at } => self.apply_ran_out(*task, *at),
            AgentRecord::Collected { sandbox, at } => drop(self.retired.remove(&(*at, *sandbox))),
            AgentRecord::Described { info } => self.info = Some(info.clone()),
            AgentRecord::Booted { boot } => self.boot = Some(*boot),
            AgentRecord::CarriedOut { order, update, at } => {
                self.apply_carried_out(order, *update, *at);
            }
            AgentRecord::OperationAcknowledged { number } => self.apply_operation_told(*number),
            AgentRecord::FrameworkChanged { framework } => self.apply_framework_changed(framework),
            AgentRecord::DiskBegun { job, at } => self.apply_disk_begun(job, *at),
            AgentRecord::DiskEnded { job, outcome } => self.apply_disk_ended(*job, outcome),
            AgentRecord::DiskOver { end, update, at } => self.apply_disk_over(end, *update, *at),
            AgentRecord::Moment { at } => self.last_time = self.last_time.max(*at),
            AgentRecord::ExecutorUnwanted { executor } => self.apply_unwanted(*executor),
            AgentRecord::Resumed => self.apply_resumed(),
            AgentRecord::VolumesDeleted { order } => self.apply_volumes_deleted(*order),
            AgentRecord::DiskUndone { job } => drop(self.undoing.remove(job)),
            AgentRecord::Unhealthy {
                task,
                why,
                destroy_at,
            } => self.apply_unhealthy(*task, why, *destroy_at),
        }
    }
}

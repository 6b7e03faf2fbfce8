//! The table of tasks: those that live, and the last of each framework that ended.
//!
//! Live means not yet ended *and* acknowledged (TK-37). Ended tasks are remembered in a ring per
//! framework, so that their ids are not used again (TK-08, TK-102). This table also knows what is
//! booked: the resources of tasks, and of executors as long as they are there.
//!
//! The index by id is an ordered map and not a hash map, for frameworks choose the ids: a fixed
//! hash could be flooded.
//!
//! Deliberately not here: what is told to frameworks, agents and the allocator.

mod booking;
mod ids;
mod reporting;

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::{Index, IndexMut};
use core::time::Duration;

pub(super) use self::booking::{Bill, Freed};
use self::ids::Ids;
use self::reporting::OnAgent;
use super::executors::{Executor, Executors, Place};
use super::holdings::{Holder, Holdings};
use crate::fold::FoldMap;
use crate::ids::{ExecutorId, FrameworkId, PeerId, TaskId, UpdateId};
use crate::keys::{AgentKey, FrameworkKey};
use crate::limits::{self, Bounds};
use crate::protocol::discovery::Published;
use crate::protocol::status::{TaskState, TaskStatus};
use crate::protocol::task::{ExecutorInfo, ExecutorKind};
use crate::protocol::wire::size;
use crate::resources::Resources;
use crate::roles::Role;
use crate::table::{Key, Table};

/// Names a row of [`Tasks`].
pub(super) type TaskKey = Key<Task>;

/// Where a task is in the table's care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Care {
    /// Live, and its resources are in use.
    Booked,
    /// Live, but it uses nothing: ended and not acknowledged, or unreachable.
    Unbooked,
    /// In its framework's ring.
    Remembered,
}

/// A kill that was asked for, to be repeated when the agent comes back (TK-82).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kill {
    pub(super) grace: Option<Duration>,
}

/// An update that the agent, or the master by its own word, has in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct InFlight {
    pub(super) update: UpdateId,
    pub(super) state: TaskState,
}

/// One task. The fields that the table is indexed by never change.
#[derive(Clone, Debug)]
pub(super) struct Task {
    pub(super) id: TaskId,
    pub(super) framework: FrameworkKey,
    /// Stale once the agent is gone for good; then the task has ended.
    pub(super) agent: AgentKey,
    pub(super) owner: FrameworkId,
    pub(super) name: String,
    pub(super) role: Role,
    pub(super) resources: Resources,
    pub(super) executor: Option<Arc<ExecutorInfo>>,
    pub(super) published: Option<Arc<Published>>,
    /// The newest state known, which decides what is booked (TK-35).
    pub(super) state: TaskState,
    /// The newest news; its state may lag behind `state` (TK-71).
    pub(super) status: TaskStatus,
    /// Whether `status` is the master's own word: nobody else will say it again.
    pub(super) by_master: bool,
    pub(super) in_flight: Option<InFlight>,
    /// The last update that the framework has confirmed.
    pub(super) acknowledged: Option<UpdateId>,
    /// The connection over which the task went to its agent.
    pub(super) sent_over: Option<PeerId>,
    pub(super) kill: Option<Kill>,
    care: Care,
}

/// What makes a new row.
pub(super) struct NewTask {
    pub(super) id: TaskId,
    pub(super) framework: FrameworkKey,
    pub(super) agent: AgentKey,
    pub(super) owner: FrameworkId,
    pub(super) name: String,
    pub(super) role: Role,
    pub(super) resources: Resources,
    pub(super) executor: Option<Arc<ExecutorInfo>>,
    pub(super) published: Option<Arc<Published>>,
    pub(super) status: TaskStatus,
    pub(super) sent_over: Option<PeerId>,
}

impl Task {
    pub(super) fn is_booked(&self) -> bool {
        self.care == Care::Booked
    }

    pub(super) fn is_remembered(&self) -> bool {
        self.care == Care::Remembered
    }

    /// Returns whether its end is the master's own word, which is the last about it.
    pub(super) fn is_ended_by_master(&self) -> bool {
        self.by_master && self.status.state.is_terminal()
    }

    /// Returns how much is remembered of it once it is over, on the wire. That never changes.
    fn bytes(&self) -> usize {
        let about = (&self.name, &self.role, &self.resources);
        size(&(about, &self.status, &self.published))
    }

    /// Returns whether it may still run, or run again.
    pub(super) fn is_active(&self) -> bool {
        !self.is_remembered() && !self.state.is_terminal()
    }
}

#[derive(Clone, Debug, Default)]
struct OfFramework {
    ids: Ids,
    /// Oldest first, each with its size on the wire: it is known when the row is far away.
    remembered: VecDeque<(TaskKey, usize)>,
    /// On the wire, of those.
    bytes: usize,
}

impl OfFramework {
    fn live(&self) -> usize {
        self.ids.len() - self.remembered.len()
    }
}

/// All tasks.
#[derive(Clone, Debug, Default)]
pub(super) struct Tasks {
    rows: Table<Task>,
    frameworks: BTreeMap<FrameworkKey, OfFramework>,
    agents: FoldMap<AgentKey, OnAgent>,
    executors: Executors,
    holdings: Holdings,
    /// Agents whose last live task or executor has gone since somebody asked.
    emptied: Vec<AgentKey>,
    bounds: Bounds,
}

impl Tasks {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            ..Self::default()
        }
    }

    /// Returns how many live tasks a framework may have.
    pub(super) const fn most(&self) -> usize {
        self.bounds.tasks
    }

    /// Adds a live task that uses nothing yet: [`Tasks::book`] follows, unless it has ended.
    pub(super) fn insert(&mut self, new: NewTask) -> TaskKey {
        let (id, framework, agent) = (new.id.clone(), new.framework, new.agent);
        let key = self.rows.insert(Task {
            id: new.id,
            framework: new.framework,
            agent: new.agent,
            owner: new.owner,
            name: new.name,
            role: new.role,
            resources: new.resources,
            executor: new.executor,
            published: new.published,
            state: new.status.state,
            status: new.status,
            by_master: false,
            in_flight: None,
            acknowledged: None,
            sent_over: new.sent_over,
            kill: None,
            care: Care::Unbooked,
        });
        let ids = &mut self.frameworks.entry(framework).or_default().ids;
        let before = ids.insert(&id, key);
        assert!(before.is_none(), "a task's id is used once");
        let there = self.agents.entry(agent).or_default();
        there.insert(key, &self.rows[key]);
        key
    }

    /// Moves a task that is over to its framework's ring.
    pub(super) fn complete(&mut self, key: TaskKey) {
        let task = &mut self.rows[key];
        assert_eq!(task.care, Care::Unbooked, "task {} is over", task.id);
        assert!(task.state.is_terminal(), "task {} has ended", task.id);
        task.care = Care::Remembered;
        let (framework, agent, bytes) = (task.framework, task.agent, task.bytes());
        if let Some(there) = self.agents.get_mut(&agent) {
            there.remove(key, task);
            if there.keys.is_empty() {
                self.agents.remove(&agent);
                self.emptied.push(agent);
            }
        }
        // Nobody asks of an ended task what ran it, and that may be long.
        task.executor = None;
        let of = self.frameworks.get_mut(&framework);
        let of = of.expect("a task's framework has an index");
        of.remembered.push_back((key, bytes));
        of.bytes += bytes;
        while of.remembered.len() > self.bounds.completed_tasks
            || of.bytes > limits::COMPLETED_BYTES_PER_FRAMEWORK
        {
            let Some((oldest, bytes)) = of.remembered.pop_front() else {
                break;
            };
            of.bytes -= bytes;
            if let Some(row) = self.rows.remove(oldest) {
                of.ids.remove(&row.id);
            }
        }
    }

    /// Forgets a task that was over, should it be remembered: it is not over after all.
    pub(super) fn withdraw(&mut self, framework: FrameworkKey, id: &TaskId) {
        let Some(key) = self
            .find(framework, id)
            .filter(|key| self[*key].is_remembered())
        else {
            return;
        };
        let of = self.frameworks.get_mut(&framework);
        let of = of.expect("a task's framework has an index");
        let of_others = |(other, bytes): &(TaskKey, usize)| {
            let stays = *other != key;
            of.bytes -= if stays { 0 } else { *bytes };
            stays
        };
        of.remembered.retain(of_others);
        of.ids.remove(id);
        self.rows.remove(key);
    }

    /// Forgets all tasks of a framework, of which none lives.
    pub(super) fn forget(&mut self, framework: FrameworkKey) {
        let Some(of) = self.frameworks.remove(&framework) else {
            return;
        };
        assert_eq!(of.live(), 0, "a forgotten framework has no live task");
        for (key, _) in of.remembered {
            self.rows.remove(key);
        }
    }

    pub(super) fn find(&self, framework: FrameworkKey, id: &TaskId) -> Option<TaskKey> {
        self.frameworks.get(&framework)?.ids.get(id)
    }

    /// Returns whether an agent has executors or live tasks, ended ones that nobody acknowledged
    /// included.
    pub(super) fn has_live(&self, agent: AgentKey) -> bool {
        self.agents.contains_key(&agent) || self.executors.are_on(agent)
    }

    /// Notes that something has ended on an agent which is no live task of this table.
    pub(super) fn note_emptied(&mut self, agent: AgentKey) {
        self.emptied.push(agent);
    }

    /// Takes the agents whose last live task or executor has gone since the last time, and perhaps
    /// others.
    pub(super) fn take_emptied(&mut self) -> Vec<AgentKey> {
        core::mem::take(&mut self.emptied)
    }

    /// Returns the live tasks of an agent.
    pub(super) fn of_agent(&self, agent: AgentKey) -> Vec<TaskKey> {
        let there = self.agents.get(&agent);
        there.map(|it| it.keys.to_vec()).unwrap_or_default()
    }

    /// Returns the live tasks of a framework.
    pub(super) fn of_framework(&self, framework: FrameworkKey) -> Vec<TaskKey> {
        let of = self.frameworks.get(&framework);
        let keys = of.into_iter().flat_map(|of| of.ids.keys());
        keys.filter(|key| !self.rows[*key].is_remembered())
            .collect()
    }

    /// Lists the agents that run tasks or executors of a framework.
    pub(super) fn agents_of(&self, framework: FrameworkKey) -> BTreeSet<AgentKey> {
        let tasks = self.of_framework(framework).into_iter();
        let executors = self.custom_executors_of(framework).map(|row| row.agent);
        tasks
            .map(|task| self.rows[task].agent)
            .chain(executors)
            .collect()
    }

    /// Returns whether a framework has a task that may still run.
    pub(super) fn runs_any(&self, framework: FrameworkKey) -> bool {
        let of = self.frameworks.get(&framework);
        let mut keys = of.into_iter().flat_map(|of| of.ids.keys());
        keys.any(|key| self.rows[key].is_active())
    }

    /// Returns how many live tasks a framework has.
    pub(super) fn live(&self, framework: FrameworkKey) -> usize {
        self.frameworks.get(&framework).map_or(0, OfFramework::live)
    }

    /// Returns how many tasks of a framework are remembered that are over.
    pub(super) fn remembered(&self, framework: FrameworkKey) -> usize {
        let of = self.frameworks.get(&framework);
        of.map_or(0, |of| of.remembered.len())
    }

    /// Returns how many bytes they are on the wire.
    pub(super) fn remembered_bytes(&self, framework: FrameworkKey) -> usize {
        let of = self.frameworks.get(&framework);
        of.map_or(0, |of| of.bytes)
    }

    /// Returns the active tasks of a framework whose ids begin with `prefix`.
    pub(super) fn beginning_with(&self, framework: FrameworkKey, prefix: &str) -> Vec<TaskKey> {
        let of = self.frameworks.get(&framework).into_iter();
        let keys = of.flat_map(|of| of.ids.beginning_with(prefix));
        keys.filter(|key| self.rows[*key].is_active()).collect()
    }

    /// Returns an executor that is on an agent, and in which role (TK-13).
    pub(super) fn executor(
        &self,
        framework: FrameworkKey,
        agent: AgentKey,
        id: &ExecutorId,
    ) -> Option<(&ExecutorInfo, &Role)> {
        let running = self.executors.get(&(framework, agent, id.clone()))?;
        Some((&running.info, &running.role))
    }

    /// Lists the custom executors on an agent.
    pub(super) fn custom_executors_on(&self, agent: AgentKey) -> Vec<&Executor> {
        self.executors.custom_on(agent)
    }

    /// Visits the custom executors of a framework.
    pub(super) fn custom_executors_of(
        &self,
        framework: FrameworkKey,
    ) -> impl Iterator<Item = &Executor> + '_ {
        self.executors.custom_of(framework)
    }

    /// Visits what executors use, and where.
    pub(super) fn executors(
        &self,
    ) -> impl Iterator<Item = (FrameworkKey, AgentKey, &Resources)> + '_ {
        let all = self.executors.iter();
        all.map(|running| (running.framework, running.agent, &running.info.resources))
    }

    /// Visits all executors on an agent.
    pub(super) fn all_executors_on(&self, agent: AgentKey) -> impl Iterator<Item = &Executor> + '_ {
        self.executors.all_on(agent)
    }

    /// Visits all executors of a framework.
    pub(super) fn all_executors_of(
        &self,
        framework: FrameworkKey,
    ) -> impl Iterator<Item = &Executor> + '_ {
        self.executors.all_of(framework)
    }

    /// Visits the executors of a framework on an agent, and what they use.
    pub(super) fn executors_on(
        &self,
        framework: FrameworkKey,
        agent: AgentKey,
    ) -> impl Iterator<Item = &ExecutorInfo> + '_ {
        let there = self.executors.on(framework, agent);
        there.map(|running| &*running.info)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (TaskKey, &Task)> + '_ {
        self.rows.iter()
    }

    /// The rows as such, for those who watch them.
    pub(super) fn rows_mut(&mut self) -> &mut Table<Task> {
        &mut self.rows
    }

    /// The same of executors.
    pub(super) fn executors_mut(&mut self) -> &mut Table<Executor> {
        self.executors.rows_mut()
    }

    /// Shares the rows, for a view.
    pub(super) fn snapshot(&self) -> Table<Task> {
        self.rows.clone()
    }

    /// The same of executors.
    pub(super) fn executors_snapshot(&self) -> Table<Executor> {
        self.executors.snapshot()
    }

    pub(super) fn check(&self) {
        let ids: usize = self.frameworks.values().map(|of| of.ids.len()).sum();
        assert_eq!(ids, self.rows.len(), "tasks by framework");
        let mut live = 0;
        let mut users: BTreeMap<Place, usize> = BTreeMap::new();
        let mut uses: BTreeMap<(AgentKey, Holder), Resources> = BTreeMap::new();
        for (key, task) in self.rows.iter() {
            let of = &self.frameworks[&task.framework];
            assert_eq!(of.ids.get(&task.id), Some(key), "task {}", task.id);
            let by_agent = self.agents.get(&task.agent);
            let indexed = by_agent.is_some_and(|there| there.keys.to_vec().contains(&key));
            assert_eq!(indexed, !task.is_remembered(), "task {} by agent", task.id);
            live += usize::from(indexed);
            if task.is_booked() {
                uses.insert((task.agent, Holder::Task(key)), task.resources.clone());
            }
            let own = task.executor.as_ref();
            let own = own.filter(|info| info.kind == ExecutorKind::BuiltIn);
            if let (true, Some(info)) = (task.is_booked(), own) {
                let place = (task.framework, task.agent, info.id.clone());
                *users.entry(place).or_default() += 1;
            }
        }
        let indexed: usize = self.agents.values().map(|there| there.keys.len()).sum();
        assert_eq!(indexed, live, "live tasks by agent");
        for there in self.agents.values() {
            let keys = there.keys.to_vec();
            let tasks = keys.iter().map(|key| &self.rows[*key]);
            let bytes: usize = tasks.clone().map(Task::report_bytes).sum();
            assert_eq!(there.bytes, bytes, "what an agent has to report");
            let frameworks: BTreeSet<FrameworkKey> = tasks.map(|task| task.framework).collect();
            let noted = there.frameworks.iter().map(|(framework, _)| framework);
            assert!(noted.eq(&frameworks), "whose tasks it has");
        }
        for running in self.executors.iter() {
            let holder = Holder::Executor(running.framework, running.info.id.clone());
            uses.insert((running.agent, holder), running.info.resources.clone());
        }
        self.holdings.check(&uses);
        self.executors.check(&users);
        for of in self.frameworks.values() {
            assert!(of.remembered.len() <= self.bounds.completed_tasks);
            for (key, bytes) in &of.remembered {
                let row = &self.rows[*key];
                assert!(row.is_remembered());
                assert_eq!(*bytes, row.bytes(), "the size of task {}", row.id);
            }
            let bytes = of.remembered.iter().map(|(_, bytes)| bytes);
            assert_eq!(of.bytes, bytes.sum::<usize>(), "the size of what is over");
            assert!(of.bytes <= limits::COMPLETED_BYTES_PER_FRAMEWORK);
        }
    }
}

impl Index<TaskKey> for Tasks {
    type Output = Task;

    fn index(&self, key: TaskKey) -> &Task {
        &self.rows[key]
    }
}

impl IndexMut<TaskKey> for Tasks {
    fn index_mut(&mut self, key: TaskKey) -> &mut Task {
        &mut self.rows[key]
    }
}

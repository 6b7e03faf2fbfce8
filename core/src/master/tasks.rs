//! The table of tasks: those that live, and the last of each framework that ended.
//!
//! Live means not yet ended *and* acknowledged (TK-37). Ended tasks are remembered in a ring per
//! framework, so that their ids are not used again (TK-08, TK-102). This table also knows what is
//! booked: the resources of tasks, and of custom executors as long as one booked task uses them.
//!
//! Indexes are ordered maps and not hash maps, for frameworks choose the ids: a fixed hash could be
//! flooded.
//!
//! Deliberately not here: what is told to frameworks, agents and the allocator.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::{Index, IndexMut};
use core::time::Duration;

use super::executors::{Executor, Executors, Place};
use super::holdings::{Holder, Holdings};
use crate::ids::{ExecutorId, FrameworkId, PeerId, TaskId, UpdateId};
use crate::keys::{AgentKey, FrameworkKey};
use crate::limits;
use crate::protocol::status::{TaskState, TaskStatus};
use crate::protocol::task::ExecutorInfo;
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
    pub(super) executor: Option<ExecutorInfo>,
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

    /// Returns whether it may still run, or run again.
    pub(super) fn is_active(&self) -> bool {
        !self.is_remembered() && !self.state.is_terminal()
    }
}

#[derive(Clone, Debug, Default)]
struct OfFramework {
    ids: BTreeMap<TaskId, TaskKey>,
    /// Oldest first.
    remembered: VecDeque<TaskKey>,
}

impl OfFramework {
    fn live(&self) -> usize {
        self.ids.len() - self.remembered.len()
    }
}

/// What changes with one task, in parts: a sum of what agents claim might not fit a number.
pub(super) struct Bill {
    /// The task's.
    task: (Role, Resources),
    /// The executor's, if this task is its first or its last.
    executor: Option<(Role, Resources)>,
}

impl Bill {
    /// Returns whether this task is the first that uses its executor.
    pub(super) fn starts_executor(&self) -> bool {
        self.executor.is_some()
    }

    /// Visits the parts that are not empty, and in which role they are charged.
    pub(super) fn parts(self) -> impl Iterator<Item = (Role, Resources)> {
        let parts = [Some(self.task), self.executor];
        let parts = parts.into_iter().flatten();
        parts.filter(|(_, part)| !part.is_empty())
    }
}

/// What is free with the end of a task, and what of that is not.
pub(super) struct Freed {
    pub(super) bill: Bill,
    /// Who used some of it on the same agent all along.
    pub(super) heirs: Vec<Heir>,
}

/// A framework that is charged from now on, in the role of its task or executor, for what was
/// somebody else's.
pub(super) struct Heir {
    pub(super) framework: FrameworkKey,
    pub(super) role: Role,
    pub(super) resources: Resources,
}

/// All tasks.
#[derive(Clone, Debug, Default)]
pub(super) struct Tasks {
    rows: Table<Task>,
    frameworks: BTreeMap<FrameworkKey, OfFramework>,
    /// Live tasks only.
    agents: BTreeMap<AgentKey, BTreeSet<TaskKey>>,
    executors: Executors,
    holdings: Holdings,
    /// Agents whose last live task has gone since somebody asked.
    emptied: Vec<AgentKey>,
}

impl Tasks {
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
            executor: new.executor.map(Arc::new),
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
        let before = ids.insert(id, key);
        assert!(before.is_none(), "a task's id is used once");
        self.agents.entry(agent).or_default().insert(key);
        key
    }

    /// Notes that a task uses its resources. Returns what is in use that was not before.
    pub(super) fn book(&mut self, key: TaskKey) -> Bill {
        let task = &mut self.rows[key];
        assert_eq!(task.care, Care::Unbooked, "task {} is booked once", task.id);
        task.care = Care::Booked;
        let (agent, holdings) = (task.agent, &mut self.holdings);
        let mut executor = None;
        let needs = holdings.enter(agent, Holder::Task(key), &task.resources);
        if let Some(info) = &task.executor {
            let place = (task.framework, agent, info.id.clone());
            self.executors.enter(place, || {
                let holder = Holder::Executor(task.framework, info.id.clone());
                let needs = holdings.enter(agent, holder, &info.resources);
                executor = Some((task.role.clone(), needs));
                let host = task.status.agent.clone();
                Executor {
                    framework: task.framework,
                    agent,
                    owner: task.owner.clone(),
                    host: host.expect("a task that runs has an agent"),
                    info: Arc::clone(info),
                    role: task.role.clone(),
                    tasks: 0,
                }
            });
        }
        Bill {
            task: (task.role.clone(), needs),
            executor,
        }
    }

    /// Notes that a task uses nothing any more. Returns what is free for it, once (TK-36).
    pub(super) fn unbook(&mut self, key: TaskKey) -> Option<Freed> {
        if !self.rows.get(key)?.is_booked() {
            return None;
        }
        let task = &mut self.rows[key];
        task.care = Care::Unbooked;
        let (agent, holdings) = (task.agent, &mut self.holdings);
        let freed = holdings.leave(agent, &Holder::Task(key), &task.resources);
        let mut executor = None;
        if let Some(info) = &task.executor {
            let place = (task.framework, agent, info.id.clone());
            if let Some(running) = self.executors.leave(&place) {
                let holder = Holder::Executor(task.framework, info.id.clone());
                let freed = holdings.leave(agent, &holder, &running.info.resources);
                executor = Some((running.role, freed));
            }
        }
        let task = (task.role.clone(), freed);
        let heirs = holdings.inherit(agent).into_iter();
        let heirs = heirs.map(|(holder, resources)| self.heir(agent, holder, resources));
        Some(Freed {
            heirs: heirs.collect(),
            bill: Bill { task, executor },
        })
    }

    fn heir(&self, agent: AgentKey, holder: Holder, resources: Resources) -> Heir {
        let (framework, role) = match holder {
            Holder::Task(key) => {
                let task = &self.rows[key];
                (task.framework, &task.role)
            }
            Holder::Executor(framework, id) => {
                let running = self.executor(framework, agent, &id);
                let (_, role) = running.expect("an executor that holds something runs");
                (framework, role)
            }
        };
        Heir {
            framework,
            role: role.clone(),
            resources,
        }
    }

    /// Moves a task that is over to its framework's ring.
    pub(super) fn complete(&mut self, key: TaskKey) {
        let task = &mut self.rows[key];
        assert_eq!(task.care, Care::Unbooked, "task {} is over", task.id);
        assert!(task.state.is_terminal(), "task {} has ended", task.id);
        task.care = Care::Remembered;
        let (framework, agent) = (task.framework, task.agent);
        if let Some(keys) = self.agents.get_mut(&agent) {
            keys.remove(&key);
            if keys.is_empty() {
                self.agents.remove(&agent);
                self.emptied.push(agent);
            }
        }
        let of = self.frameworks.get_mut(&framework);
        let of = of.expect("a task's framework has an index");
        of.remembered.push_back(key);
        if of.remembered.len() > limits::COMPLETED_TASKS_PER_FRAMEWORK
            && let Some(oldest) = of.remembered.pop_front()
            && let Some(row) = self.rows.remove(oldest)
        {
            of.ids.remove(&row.id);
        }
    }

    /// Forgets all tasks of a framework, of which none lives.
    pub(super) fn forget(&mut self, framework: FrameworkKey) {
        let Some(of) = self.frameworks.remove(&framework) else {
            return;
        };
        assert_eq!(of.live(), 0, "a forgotten framework has no live task");
        for key in of.remembered {
            self.rows.remove(key);
        }
    }

    pub(super) fn find(&self, framework: FrameworkKey, id: &TaskId) -> Option<TaskKey> {
        self.frameworks.get(&framework)?.ids.get(id).copied()
    }

    /// Returns whether an agent has live tasks, ended ones that nobody acknowledged included.
    pub(super) fn has_live(&self, agent: AgentKey) -> bool {
        self.agents.contains_key(&agent)
    }

    /// Takes the agents whose last live task has gone since the last time.
    pub(super) fn take_emptied(&mut self) -> Vec<AgentKey> {
        core::mem::take(&mut self.emptied)
    }

    /// Returns the live tasks of an agent.
    pub(super) fn of_agent(&self, agent: AgentKey) -> Vec<TaskKey> {
        let keys = self.agents.get(&agent);
        keys.into_iter().flatten().copied().collect()
    }

    /// Returns the live tasks of a framework.
    pub(super) fn of_framework(&self, framework: FrameworkKey) -> Vec<TaskKey> {
        let of = self.frameworks.get(&framework);
        let keys = of.into_iter().flat_map(|of| of.ids.values().copied());
        keys.filter(|key| !self.rows[*key].is_remembered())
            .collect()
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

    /// Returns the active tasks of a framework whose ids begin with `prefix`.
    pub(super) fn beginning_with(&self, framework: FrameworkKey, prefix: &str) -> Vec<TaskKey> {
        let Some(of) = self.frameworks.get(&framework) else {
            return Vec::new();
        };
        // A prefix that is no id itself (such as a lone dot) can still begin one: then look at all.
        let all: alloc::boxed::Box<dyn Iterator<Item = (&TaskId, &TaskKey)>> =
            match TaskId::new(prefix) {
                Ok(first) => alloc::boxed::Box::new(of.ids.range(first..)),
                Err(_) => alloc::boxed::Box::new(of.ids.iter()),
            };
        all.skip_while(|(id, _)| !id.as_str().starts_with(prefix))
            .take_while(|(id, _)| id.as_str().starts_with(prefix))
            .map(|(_, key)| *key)
            .filter(|key| self.rows[*key].is_active())
            .collect()
    }

    /// Returns a custom executor that runs on an agent, and in which role (TK-13).
    pub(super) fn executor(
        &self,
        framework: FrameworkKey,
        agent: AgentKey,
        id: &ExecutorId,
    ) -> Option<(&ExecutorInfo, &Role)> {
        let running = self.executors.get(&(framework, agent, id.clone()))?;
        Some((&running.info, &running.role))
    }

    /// Visits what executors use, and where.
    pub(super) fn executors(
        &self,
    ) -> impl Iterator<Item = (FrameworkKey, AgentKey, &Resources)> + '_ {
        let all = self.executors.iter();
        all.map(|running| (running.framework, running.agent, &running.info.resources))
    }

    /// Visits the custom executors of a framework on an agent, and what they use.
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
            assert_eq!(of.ids.get(&task.id), Some(&key), "task {}", task.id);
            let by_agent = self.agents.get(&task.agent);
            let indexed = by_agent.is_some_and(|keys| keys.contains(&key));
            assert_eq!(indexed, !task.is_remembered(), "task {} by agent", task.id);
            live += usize::from(indexed);
            if task.is_booked() {
                uses.insert((task.agent, Holder::Task(key)), task.resources.clone());
            }
            if let (true, Some(info)) = (task.is_booked(), &task.executor) {
                let place = (task.framework, task.agent, info.id.clone());
                *users.entry(place).or_default() += 1;
            }
        }
        let indexed: usize = self.agents.values().map(BTreeSet::len).sum();
        assert_eq!(indexed, live, "live tasks by agent");
        for running in self.executors.iter() {
            let holder = Holder::Executor(running.framework, running.info.id.clone());
            uses.insert((running.agent, holder), running.info.resources.clone());
        }
        self.holdings.check(&uses);
        self.executors.check(&users);
        for of in self.frameworks.values() {
            assert!(of.remembered.len() <= limits::COMPLETED_TASKS_PER_FRAMEWORK);
            for key in &of.remembered {
                assert!(self.rows[*key].is_remembered());
            }
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

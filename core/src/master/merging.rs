//! Merges what a returning agent reports with what the master knows: a pure plan.
//!
//! The agent knows best what runs; the master knows best what has ended. Deliberately not here:
//! carrying the plan out (`reregister`).

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use super::Master;
use super::agents::{Presence, Uncounted};
use super::executors::{Executor, Place};
use super::frameworks::Frameworks;
use super::peers::Account;
use super::subscribing::Issuer;
use super::tasks::{TaskKey, Tasks};
use super::updates::may_report;
use crate::ids::{ExecutorId, FrameworkId, PeerId, TaskId};
use crate::keys::{AgentKey, FrameworkKey};
use crate::limits;
use crate::mutant::{Mutant, planted};
use crate::protocol::agent::{ExecutorReport, TaskReport};
use crate::protocol::framework::FrameworkInfo;
use crate::protocol::refusal::EndReason;
use crate::protocol::status::TaskState;
use crate::protocol::task::{ExecutorInfo, ExecutorKind};
use crate::protocol::validate::check_framework;
use crate::registry::Registry;
use crate::roles::Role;

/// What is to be done about one report.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Merge {
    /// Frameworks that nobody else has told of (SM-02).
    pub(super) frameworks: BTreeMap<FrameworkId, FrameworkInfo>,
    /// Frameworks that are over, of which something is left that is not counted; and why they are.
    pub(super) recalled: BTreeMap<FrameworkId, (FrameworkInfo, EndReason)>,
    /// Executors that are new to us.
    pub(super) executors: Vec<Described>,
    /// Executors that should be there and are not.
    pub(super) ended: Vec<Place>,
    /// Tasks that are new to us.
    pub(super) adopt: Vec<Reported>,
    /// The same of frameworks that are over.
    pub(super) left: Vec<Reported>,
    /// What is to end and cannot be counted.
    pub(super) uncounted: BTreeSet<(FrameworkId, Uncounted)>,
    /// Tasks that are known to be there, and their state.
    pub(super) refresh: Vec<(TaskKey, TaskState)>,
    /// Tasks that were to be killed, or may not be there any more.
    pub(super) kill: Vec<(FrameworkId, TaskId, Option<Duration>)>,
    /// Frameworks whose principal is the one that the agent knows.
    pub(super) vouched: Vec<FrameworkKey>,
    /// Frameworks that came under an id which the agent knows as somebody else's.
    pub(super) usurped: BTreeSet<FrameworkKey>,
    /// Frameworks that are over, or not those that we know under their ids.
    pub(super) shut_down: BTreeSet<FrameworkId>,
    /// Tasks that should be there and are not: the agent answers with their end (PR-03).
    pub(super) missing: Vec<(FrameworkId, TaskId)>,
    /// Whether the agent was out of reach, and so its tasks.
    pub(super) is_return: bool,
}

/// An executor that is reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Described {
    pub(super) framework: FrameworkId,
    pub(super) role: Role,
    pub(super) info: Arc<ExecutorInfo>,
}

/// A task that is reported, with its executor.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reported {
    pub(super) task: TaskReport,
    pub(super) executor: Option<Arc<ExecutorInfo>>,
}

struct Planner<'a> {
    issuer: Issuer<'a>,
    registry: &'a Registry,
    known: &'a Frameworks,
    tasks: &'a Tasks,
    agent: AgentKey,
    /// Frameworks that we do not know, or not as those of whom the agent speaks.
    infos: BTreeMap<FrameworkId, FrameworkInfo>,
    /// Executors, as the agent describes them.
    described: BTreeMap<(FrameworkId, ExecutorId), Arc<ExecutorInfo>>,
    adopted: BTreeSet<(FrameworkId, TaskId)>,
    /// Known executors that are there, as they or their tasks are reported.
    there: BTreeSet<Place>,
    /// Known tasks that are reported, of frameworks that are over.
    left: BTreeSet<TaskKey>,
    merge: Merge,
}

impl Planner<'_> {
    /// Returns the framework of something that is reported, if it is known already. It may not be
    /// over, or somebody else's, or unknown to all: then what it has is to end.
    fn owner(&mut self, id: &FrameworkId) -> Result<Option<FrameworkKey>, Over> {
        let known = self.known.find(id);
        let known = known.filter(|key| !self.merge.usurped.contains(key));
        let is_over = self.merge.shut_down.contains(id)
            || known.is_some_and(|key| self.known[key].is_completed())
            || (known.is_none() && !self.recovers(id));
        if is_over {
            self.merge.shut_down.insert(id.clone());
            return Err(Over);
        }
        Ok(known)
    }

    /// Returns a framework that is over, and of which agents may have something left.
    fn ended(&self, id: &FrameworkId) -> Option<FrameworkKey> {
        let known = self.known.find(id);
        known.filter(|key| self.known[*key].is_completed())
    }

    /// Returns whether what is left of a framework can be counted, which is over: we know that it
    /// is, and there is room for it among those that live.
    fn recalls(&mut self, id: &FrameworkId) -> bool {
        if self.merge.recalled.contains_key(id) {
            return true;
        }
        let known = self.known.find(id).map(|key| &self.known[key]);
        let why = match known {
            Some(row) => row.end(),
            None => self.registry.end_of(id),
        };
        let Some(why) = why.filter(|_| self.has_room()) else {
            return false;
        };
        // The agent speaks no more of whom it knows to be over.
        let info = self.infos.remove(id);
        let mut info = info.unwrap_or_else(|| FrameworkInfo::new(id.as_str()));
        info.id = Some(id.clone());
        self.merge.recalled.insert(id.clone(), (info, why));
        true
    }

    /// Returns whether there may be one more framework, and one agent have that many.
    fn has_room(&self) -> bool {
        let new = self.merge.frameworks.len() + self.merge.recalled.len();
        new < limits::FRAMEWORKS_PER_AGENT && self.known.in_use() + new < limits::FRAMEWORKS
    }

    fn place_executor(&mut self, report: ExecutorReport) {
        let (framework, role) = (report.framework, report.role);
        let info = Arc::new(report.executor);
        let name = (framework.clone(), info.id.clone());
        self.described
            .entry(name)
            .or_insert_with(|| Arc::clone(&info));
        if info.kind == ExecutorKind::BuiltIn {
            // No process: it is there with its tasks.
            return;
        }
        let owner = self.owner(&framework);
        let is_over = owner.is_err();
        if let Some(key) = owner.unwrap_or_else(|Over| self.ended(&framework)) {
            self.there.insert((key, self.agent, info.id.clone()));
            if self.tasks.executor(key, self.agent, &info.id).is_some() {
                return;
            }
        }
        if is_over && !self.recalls(&framework) {
            let name = Uncounted::Executor(info.id.clone());
            self.merge.uncounted.insert((framework, name));
            return;
        }
        self.merge.executors.push(Described {
            framework,
            role,
            info,
        });
    }

    /// One of a framework that is over, which is not to be asked for: it is to end, and uses what
    /// it has until then.
    fn place_left(&mut self, report: TaskReport) {
        let framework = self.ended(&report.framework);
        let known = framework.and_then(|key| self.tasks.find(key, &report.task));
        let live = known.filter(|key| !self.tasks[*key].is_remembered());
        let own = live.filter(|key| self.tasks[*key].agent == self.agent);
        self.left.extend(own);
        if own.is_some() || report.state.is_terminal() {
            return;
        }
        if live.is_none() && self.recalls(&report.framework) {
            let left = self.reported(report);
            self.merge.left.extend(left);
        } else {
            // There is one task of an id, or no row that it could be in.
            let name = Uncounted::Task(report.task);
            self.merge.uncounted.insert((report.framework, name));
        }
    }

    fn place(&mut self, report: TaskReport) {
        let Ok(known) = self.owner(&report.framework) else {
            return self.place_left(report);
        };
        let Some(framework) = known else {
            return self.adopt(report);
        };
        let Some(key) = self.tasks.find(framework, &report.task) else {
            return self.adopt(report);
        };
        let task = &self.tasks[key];
        if task.is_remembered() || task.agent != self.agent {
            // TK-34: it has ended, or it is elsewhere. There is one task of an id.
            if !report.state.is_terminal() {
                let name = Uncounted::Task(report.task.clone());
                self.merge
                    .uncounted
                    .insert((report.framework.clone(), name));
                let kill = (report.framework, report.task, None);
                self.merge.kill.push(kill);
            }
            return;
        }
        let kill = task.kill.filter(|_| !planted(Mutant::KillNotRepeated));
        if let Some(kill) = kill.filter(|_| !report.state.is_terminal()) {
            // TK-82: asked for while the agent was away, or just before.
            let kill = (report.framework, report.task, kill.grace);
            self.merge.kill.push(kill);
        }
        self.merge.refresh.push((key, report.state));
    }

    /// Compares a framework that the agent knows with the one that we know under its id. Whose it
    /// is was proved to the master that gave the id; the agent has heard it from there.
    fn meet(&mut self, info: FrameworkInfo) {
        let Some(id) = info.id.clone() else {
            return;
        };
        let is_good = check_framework(&info).is_ok();
        let Some(key) = self.known.find(&id) else {
            if self.registry.end_of(&id).is_some() {
                // SM-08: it ended while the agent was away, maybe under an earlier leadership.
                self.merge.shut_down.insert(id.clone());
            }
            if is_good {
                self.infos.insert(id, info);
            }
            return;
        };
        let row = &self.known[key];
        let is_same = row.is_of(info.principal.as_deref());
        if row.is_completed() || (!is_same && (row.vouched || !is_good)) {
            self.merge.shut_down.insert(id);
        } else if !is_same {
            self.merge.usurped.insert(key);
            self.infos.insert(id, info);
        } else if !row.vouched && info.principal.is_some() {
            self.merge.vouched.push(key);
        }
    }

    fn adopt(&mut self, task: TaskReport) {
        let new = self.reported(task);
        self.merge.adopt.extend(new);
    }

    /// Returns a task with its executor, unless there was one of this name already.
    fn reported(&mut self, task: TaskReport) -> Option<Reported> {
        let name = (task.framework.clone(), task.task.clone());
        let executor = task.executor.clone();
        let executor = executor.and_then(|id| self.described.get(&(task.framework.clone(), id)));
        let executor = executor.cloned();
        let is_new = self.adopted.insert(name);
        is_new.then_some(Reported { task, executor })
    }

    /// Returns whether an unknown framework can be known from this report: if the registry is lost
    /// in which it was (SM-02).
    fn recovers(&mut self, id: &FrameworkId) -> bool {
        if self.merge.frameworks.contains_key(id) {
            return true;
        }
        if !self.has_room() || !self.issuer.has_forgotten(id) {
            return false;
        }
        let info = self.infos.remove(id);
        let is_told = info.is_some();
        self.merge
            .frameworks
            .extend(info.map(|info| (id.clone(), info)));
        is_told
    }
}

/// What is reported is to end, with its framework.
struct Over;

impl Master {
    pub(super) fn plan_merge(&self, agent: AgentKey, peer: PeerId, account: Account) -> Merge {
        let mut planner = Planner {
            issuer: self.issuer(),
            registry: &self.registry,
            known: &self.frameworks,
            tasks: &self.tasks,
            agent,
            infos: BTreeMap::new(),
            described: BTreeMap::new(),
            adopted: BTreeSet::new(),
            there: BTreeSet::new(),
            left: BTreeSet::new(),
            merge: Merge::default(),
        };
        for info in account.frameworks {
            planner.meet(info);
        }
        for report in account.executors {
            planner.place_executor(report);
        }
        for report in account.tasks {
            if may_report(report.state) {
                planner.place(report);
            }
        }
        let (mut merge, there, left) = (planner.merge, planner.there, planner.left);
        let executors = self.tasks.custom_executors_on(agent).into_iter();
        // What went out over this very connection may have crossed the report.
        let ended = executors.filter(|row| row.sent_over != Some(peer));
        let ended = ended.map(Executor::place).filter(|it| !there.contains(it));
        merge.ended = ended.collect();
        merge.is_return = self.agents[agent].presence() == Presence::Unreachable;
        let refreshed = merge.refresh.iter().map(|(key, _)| *key);
        let there: BTreeSet<TaskKey> = refreshed.chain(left).collect();
        for key in self.tasks.of_agent(agent) {
            let task = &self.tasks[key];
            let is_awaited = there.contains(&key) || planted(Mutant::MissingNotAsked);
            if !is_awaited && task.sent_over != Some(peer) {
                merge.missing.push((task.owner.clone(), task.id.clone()));
            }
        }
        merge
    }
}

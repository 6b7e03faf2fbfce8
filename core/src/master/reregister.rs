//! Merges what a returning agent reports with what the master knows.
//!
//! The agent knows best what runs; the master knows best what has ended. The plan is pure; `apply`
//! carries it out. Called by `on_agent` only.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use super::agents::Presence;
use super::executors::{Executor, Place};
use super::frameworks::Frameworks;
use super::peers::Account;
use super::tasks::{Bill, NewTask, TaskKey, Tasks};
use super::updates::{News, may_report};
use super::{Cx, Master};
use crate::allocator::Change;
use crate::ids::{FrameworkId, PeerId, TaskId};
use crate::keys::{AgentKey, FrameworkKey};
use crate::limits;
use crate::mutant::{Mutant, planted};
use crate::protocol::agent::{ExecutorReport, TaskReport, ToAgent};
use crate::protocol::framework::FrameworkInfo;
use crate::protocol::status::{Reason, TaskState};
use crate::protocol::validate::check_framework;
use crate::registry::{Registry, RegistryOp};

/// What is to be done about one report.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Merge {
    /// Frameworks that nobody else has told of (SM-02).
    frameworks: Vec<(FrameworkId, FrameworkInfo)>,
    /// Executors that are new to us.
    executors: Vec<ExecutorReport>,
    /// Executors that should be there and are not.
    ended: Vec<Place>,
    /// Tasks that are new to us.
    adopt: Vec<TaskReport>,
    /// Tasks that are known to be there, and their state.
    refresh: Vec<(TaskKey, TaskState)>,
    /// Tasks that were to be killed, or may not be there any more.
    kill: Vec<(FrameworkId, TaskId, Option<Duration>)>,
    /// Frameworks whose principal is the one that the agent knows.
    vouched: Vec<FrameworkKey>,
    /// Frameworks that came under an id which the agent knows as somebody else's.
    usurped: BTreeSet<FrameworkKey>,
    /// Frameworks that are over, or not those that we know under their ids.
    shut_down: BTreeSet<FrameworkId>,
    /// Tasks that should be there and are not: the agent answers with their end (PR-03).
    pub(super) missing: Vec<(FrameworkId, TaskId)>,
    /// Whether the agent was out of reach, and so its tasks.
    is_return: bool,
}

struct Planner<'a> {
    registry: &'a Registry,
    known: &'a Frameworks,
    tasks: &'a Tasks,
    agent: AgentKey,
    infos: BTreeMap<FrameworkId, FrameworkInfo>,
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

    fn place_executor(&mut self, report: ExecutorReport) {
        let id = &report.executor.id;
        let Ok(known) = self.owner(&report.framework) else {
            // One of a framework that is over uses what it has until it has ended.
            if let Some(key) = self.ended(&report.framework) {
                self.there.insert((key, self.agent, id.clone()));
            }
            return;
        };
        if let Some(key) = known {
            self.there.insert((key, self.agent, id.clone()));
        }
        let is_known = known.is_some_and(|key| self.tasks.executor(key, self.agent, id).is_some());
        if !is_known {
            self.merge.executors.push(report);
        }
    }

    fn place(&mut self, report: TaskReport) {
        let Ok(known) = self.owner(&report.framework) else {
            // One of a framework that is over, which is not to be asked for: it is to end.
            let framework = self.ended(&report.framework);
            let task = framework.and_then(|key| self.tasks.find(key, &report.task));
            self.left.extend(task);
            return;
        };
        let Some(framework) = known else {
            self.adopt(report);
            return;
        };
        if let Some(executor) = report
            .executor
            .as_ref()
            .filter(|_| !report.state.is_terminal())
        {
            let place = (framework, self.agent, executor.id.clone());
            self.there.insert(place);
        }
        let Some(key) = self.tasks.find(framework, &report.task) else {
            self.adopt(report);
            return;
        };
        let task = &self.tasks[key];
        if task.is_remembered() || task.agent != self.agent {
            // TK-34: it has ended, or it is elsewhere. There is one task of an id.
            if !report.state.is_terminal() {
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
                self.merge.shut_down.insert(id);
            } else if is_good {
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

    fn adopt(&mut self, report: TaskReport) {
        let name = (report.framework.clone(), report.task.clone());
        if self.adopted.insert(name) {
            self.merge.adopt.push(report);
        }
    }

    /// Returns whether an unknown framework can be known from this report.
    fn recovers(&mut self, id: &FrameworkId) -> bool {
        if let Some(info) = self.infos.remove(id) {
            let live = self.known.live() + self.merge.frameworks.len();
            if live >= limits::FRAMEWORKS {
                return false;
            }
            self.merge.frameworks.push((id.clone(), info));
            return true;
        }
        self.merge.frameworks.iter().any(|(known, _)| known == id)
    }
}

/// What is reported is to end, with its framework.
struct Over;

impl Master {
    pub(super) fn plan_merge(&self, agent: AgentKey, peer: PeerId, account: Account) -> Merge {
        let mut planner = Planner {
            registry: &self.registry,
            known: &self.frameworks,
            tasks: &self.tasks,
            agent,
            infos: BTreeMap::new(),
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

    pub(super) fn apply_merge(
        &mut self,
        cx: &mut Cx<'_>,
        agent: AgentKey,
        peer: PeerId,
        merge: Merge,
    ) {
        for key in merge.vouched {
            self.frameworks[key].vouched = true;
            self.enrol(cx, key);
        }
        for key in merge.usurped {
            self.dethrone(cx, key);
        }
        for framework in merge.shut_down {
            cx.tell_agent(peer, ToAgent::ShutdownFramework(framework));
        }
        for (framework, task, grace) in merge.kill {
            let message = ToAgent::KillTask {
                framework,
                task,
                grace,
            };
            cx.tell_agent(peer, message);
        }
        for (id, info) in merge.frameworks {
            self.recover_framework(cx, id, info);
        }
        for place in &merge.ended {
            self.end_executor(place);
        }
        let mut keys = merge.refresh.iter().map(|(key, _)| *key);
        let is_more = !merge.adopt.is_empty() || !merge.executors.is_empty();
        if is_more || keys.any(|key| !self.tasks[key].is_booked()) {
            // What runs may be what is offered.
            self.rescind_agent(cx, agent);
        }
        for report in merge.executors {
            self.adopt_executor(agent, report);
        }
        for report in merge.adopt {
            let state = report.state;
            let key = self.adopt(cx, agent, report);
            if merge.is_return && !state.is_terminal() {
                // An earlier leadership has said that it is unreachable.
                self.announce_return(cx, key, state);
            }
        }
        for (key, state) in merge.refresh {
            self.refresh(cx, key, state);
        }
    }

    /// Knows a framework by what an agent says of it, for the registry does not (SM-02).
    ///
    /// It gets as long to come back as an agent, at least: its own patience may be zero, but it was
    /// the master that left. It cannot stay for ever either (FW-29).
    fn recover_framework(&mut self, cx: &mut Cx<'_>, id: FrameworkId, mut info: FrameworkInfo) {
        info.id = Some(id.clone());
        let patience = info
            .failover_timeout
            .max(self.config.agent_reregister_timeout);
        let key = self.know_framework(Arc::new(info), true, cx.now + patience);
        self.enrol(cx, key);
        self.persist(cx, RegistryOp::FrameworkAway { id, at: cx.now });
    }

    fn adopt(&mut self, cx: &mut Cx<'_>, agent: AgentKey, report: TaskReport) -> TaskKey {
        let framework = self.frameworks.find(&report.framework);
        let framework = framework.expect("the plan adopts tasks of frameworks that are known");
        let news = News {
            state: report.state,
            reason: Reason::AgentReregistered,
            message: String::new(),
        };
        let agent_id = self.agents[agent].id.clone();
        let status = news.about(report.task.clone(), Some(agent_id), cx.now);
        // TK-82: asked for before anybody knew of the task.
        let kill = self.kills.take(framework, &report.task);
        self.verdicts.withdraw(framework, &report.task);
        let key = self.tasks.insert(NewTask {
            id: report.task,
            framework,
            agent,
            owner: report.framework,
            name: report.name,
            role: report.role,
            resources: report.resources,
            executor: report.executor,
            status,
            sent_over: None,
        });
        if !report.state.is_terminal() {
            self.use_resources(key);
            if let Some(kill) = kill {
                self.kill(cx, key, kill.grace);
            }
        }
        self.answer_awaited(cx, key);
        key
    }

    /// Knows of an executor that its agent reports, unless it is known.
    fn adopt_executor(&mut self, agent: AgentKey, report: ExecutorReport) {
        let framework = self.frameworks.find(&report.framework);
        let framework = framework.expect("the plan adopts executors of frameworks that are known");
        let bill = self.tasks.add_executor(Executor {
            framework,
            agent,
            owner: report.framework,
            host: self.agents[agent].id.clone(),
            info: Arc::new(report.executor),
            role: report.role,
            sent_over: None,
        });
        if let Some(bill) = bill {
            self.charge(framework, agent, bill);
        }
    }

    /// Takes over the state of a known task.
    fn refresh(&mut self, cx: &mut Cx<'_>, key: TaskKey, state: TaskState) {
        let before = self.tasks[key].state;
        if !before.may_become(state) {
            // TK-33, TK-34
            return;
        }
        self.tasks[key].state = state;
        if state.is_terminal() {
            // Its own news follows, and waits to be confirmed.
            self.tasks[key].by_master = false;
            self.release(key);
        } else if before == TaskState::Unreachable {
            if !planted(Mutant::ReturnNotBooked) {
                self.use_resources(key);
            }
            self.announce_return(cx, key, state);
        }
    }

    /// Says that a task which was unreachable is not (SM-16, TK-60).
    fn announce_return(&mut self, cx: &mut Cx<'_>, key: TaskKey, state: TaskState) {
        let news = News {
            state,
            reason: Reason::AgentReregistered,
            message: "the agent came back".to_string(),
        };
        self.announce(cx, key, news);
    }

    /// Books a task that was not launched on a grant. Offers of its agent must have ended.
    pub(super) fn use_resources(&mut self, key: TaskKey) {
        let bill = self.tasks.book(key);
        let task = &self.tasks[key];
        self.charge(task.framework, task.agent, bill);
    }

    fn charge(&mut self, framework: FrameworkKey, agent: AgentKey, bill: Bill) {
        let changes = bill.parts().map(|(role, resources)| Change::Used {
            framework,
            role,
            agent,
            resources,
        });
        self.changes.extend(changes);
    }
}

//! Carries out what follows from what a returning agent reports.
//!
//! Called by `on_agent` only. Deliberately not here: what that is (`merging`).

use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::sync::Arc;

use super::executors::Executor;
use super::merging::{Described, Merge, Reported};
use super::tasks::{Bill, NewTask, TaskKey};
use super::updates::News;
use super::{Cx, Master};
use crate::allocator::Change;
use crate::ids::{FrameworkId, PeerId};
use crate::keys::{AgentKey, FrameworkKey};
use crate::mutant::{Mutant, planted};
use crate::protocol::agent::ToAgent;
use crate::protocol::framework::FrameworkInfo;
use crate::protocol::status::{Observed, Reason, Source, TaskState, TaskStatus};
use crate::registry::RegistryOp;
use crate::roles::Role;

impl Master {
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
        // Who had nothing left but these is over with them, before more of his is booked.
        for place in &merge.ended {
            self.end_executor(place);
        }
        for (info, why) in merge.recalled.into_values() {
            self.recall_framework(info, why);
        }
        let mut keys = merge.refresh.iter().map(|(key, _)| *key);
        let is_more =
            !(merge.adopt.is_empty() && merge.left.is_empty() && merge.executors.is_empty());
        if is_more || keys.any(|key| !self.tasks[key].is_booked()) {
            // What runs may be what is offered.
            self.rescind_agent(cx, agent);
        }
        for report in merge.executors {
            self.adopt_executor(agent, report);
        }
        for report in merge.left {
            self.adopt_ended(cx, agent, report);
        }
        for report in merge.adopt {
            let state = report.task.state;
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

    fn adopt(&mut self, cx: &mut Cx<'_>, agent: AgentKey, report: Reported) -> TaskKey {
        let framework = self.frameworks.find(&report.task.framework);
        let framework = framework.expect("the plan adopts tasks of frameworks that are known");
        let state = report.task.state;
        let news = News {
            state,
            reason: Reason::AgentReregistered,
            message: String::new(),
        };
        // TK-82: asked for before anybody knew of the task.
        let kill = self.kills.take(framework, &report.task.task);
        self.verdicts.withdraw(framework, &report.task.task);
        let key = self.insert_reported(cx, (framework, agent), report, news);
        if !state.is_terminal() {
            self.use_resources(key);
            if let Some(kill) = kill {
                self.kill(cx, key, kill.grace);
            }
        }
        self.answer_awaited(cx, key);
        key
    }

    /// Takes note of a task that an agent reports, and what is to be said of it.
    pub(super) fn insert_reported(
        &mut self,
        cx: &Cx<'_>,
        (framework, agent): (FrameworkKey, AgentKey),
        report: Reported,
        news: News,
    ) -> TaskKey {
        let agent_id = self.agents[agent].id.clone();
        let Reported { task, executor } = report;
        let is_observed = task.healthy.is_some() || task.check.is_some();
        let observed = is_observed.then(|| Observed {
            healthy: task.healthy,
            check: task.check,
            ..Observed::default()
        });
        self.tasks.insert(NewTask {
            status: TaskStatus {
                observed: observed.map(Box::new), // TK-74
                ..news.about(task.task.clone(), Some(agent_id), cx.now)
            },
            id: task.task,
            framework,
            agent,
            // The same id, not a copy for each task.
            owner: self.frameworks[framework].id.clone(),
            name: task.name,
            role: task.role,
            resources: task.resources,
            executor,
            published: task.published,
            sent_over: None,
        })
    }

    /// Knows of an executor that its agent reports, unless it is known.
    fn adopt_executor(&mut self, agent: AgentKey, report: Described) {
        let framework = self.frameworks.find(&report.framework);
        let framework = framework.expect("the plan adopts executors of frameworks that are known");
        let bill = self.tasks.add_executor(Executor {
            framework,
            agent,
            owner: report.framework,
            host: self.agents[agent].id.clone(),
            info: report.info,
            role: report.role,
            sent_over: None,
        });
        if let Some(bill) = bill {
            self.charge(framework, agent, bill);
        }
    }

    /// Takes over the state of a known task.
    fn refresh(&mut self, cx: &mut Cx<'_>, key: TaskKey, state: TaskState) {
        let task = &mut self.tasks[key];
        let before = task.state;
        if state.is_terminal() && task.status.source != Source::Master {
            // Its agent says again how it has ended, and by whom that is confirmed.
            task.by_master = false;
        }
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
        let charged = |role| {
            if planted(Mutant::RoleForgotten) {
                return Role::any();
            }
            role
        };
        let changes = bill.parts().map(|(role, resources)| Change::Used {
            framework,
            role: charged(role),
            agent,
            resources,
        });
        self.changes.extend(changes);
    }
}

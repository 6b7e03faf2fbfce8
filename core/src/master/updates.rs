//! News about tasks: from agents to frameworks, confirmations back, and what the master says
//! itself.
//!
//! The agent sends an update until it is confirmed; the master keeps nothing for it and only passes
//! both on (TK-70). What the master says itself carries no update id: it is said once (TK-72).

use alloc::string::String;

use tracing::debug;

use super::tasks::{InFlight, TaskKey};
use super::{Cx, Master};
use crate::allocator::{Booking, Change};
use crate::ids::{AgentId, FrameworkId, TaskId, UpdateId};
use crate::keys::{AgentKey, FrameworkKey};
use crate::protocol::agent::ToAgent;
use crate::protocol::scheduler::Event;
use crate::protocol::status::{Reason, Source, TaskState, TaskStatus};
use crate::time::Time;

/// What the master says about a task.
pub(super) struct News {
    pub(super) state: TaskState,
    pub(super) reason: Reason,
    pub(super) message: String,
}

impl News {
    pub(super) fn about(self, task: TaskId, agent: Option<AgentId>, now: Time) -> TaskStatus {
        TaskStatus {
            reason: Some(self.reason),
            message: self.message,
            agent,
            ..TaskStatus::new(task, self.state, Source::Master, now)
        }
    }
}

impl Master {
    /// Tells a framework about a task, if it is there.
    pub(super) fn tell(&self, cx: &mut Cx<'_>, framework: FrameworkKey, status: TaskStatus) {
        if let Some(peer) = self.frameworks.get(framework).and_then(|row| row.peer()) {
            cx.tell_framework(peer, Event::Update(status));
        }
    }

    /// Sets a live task's state by the master's own word, and says so.
    pub(super) fn announce(&mut self, cx: &mut Cx<'_>, key: TaskKey, news: News) {
        let task = &mut self.tasks[key];
        let agent = task.status.agent.clone();
        let status = news.about(task.id.clone(), agent, cx.now);
        task.state = status.state;
        task.status = status.clone();
        let framework = task.framework;
        self.tell(cx, framework, status);
    }

    /// Returns what a task used to the allocator, once (TK-36).
    pub(super) fn release(&mut self, key: TaskKey) {
        let Some(bill) = self.tasks.unbook(key) else {
            return;
        };
        let task = &self.tasks[key];
        let changes = bill.parts().map(|resources| Change::Returned {
            framework: task.framework,
            role: task.role.clone(),
            agent: task.agent,
            resources,
            from: Booking::Allocated,
            refuse: None,
        });
        self.changes.extend(changes);
    }

    /// Takes in an agent's update (PR-08).
    ///
    /// The master confirms an update itself where nobody else will: if the framework is over or
    /// unknown, and if the framework has confirmed it but the agent has not heard. Otherwise the
    /// agent's stream would never end.
    pub(super) fn on_update(
        &mut self,
        cx: &mut Cx<'_>,
        agent: AgentKey,
        owner: FrameworkId,
        mut status: TaskStatus,
        latest: TaskState,
    ) {
        if !may_report(status.state) || !may_report(latest) {
            debug!(task = %status.task, state = %status.state, "not an agent's to say");
            return;
        }
        let framework = self.frameworks.find(&owner);
        let framework = framework.filter(|key| !self.frameworks[*key].is_completed());
        let Some(framework) = framework else {
            debug!(framework = %owner, task = %status.task, "an update for nobody");
            self.confirm(cx, agent, owner, &status);
            return;
        };
        status.agent = Some(self.agents[agent].id.clone());
        let key = self.tasks.find(framework, &status.task);
        if let Some(key) = key {
            if self.tasks[key].agent != agent && !self.tasks[key].is_remembered() {
                debug!(task = %status.task, "an update from an agent that does not run it");
                return;
            }
            self.note(cx, key, &status, latest);
            let confirmed = self.tasks[key].acknowledged;
            if status.update.is_some() && status.update == confirmed {
                self.confirm(cx, agent, owner, &status);
                return;
            }
        }
        // TK-36b: without the framework it is not passed on; the agent sends it again.
        let is_last = status.update.is_none() && status.state.is_terminal();
        self.tell(cx, framework, status);
        if let Some(key) = key.filter(|_| is_last)
            && !self.tasks[key].is_remembered()
        {
            self.tasks.complete(key);
        }
    }

    /// Takes an agent's news into the record of a live task.
    fn note(&mut self, cx: &mut Cx<'_>, key: TaskKey, status: &TaskStatus, latest: TaskState) {
        let task = &mut self.tasks[key];
        if task.is_remembered() {
            return;
        }
        if let Some(update) = status.update {
            let state = status.state;
            task.in_flight = Some(InFlight { update, state });
        }
        if task.state.is_terminal() {
            // TK-34: what has ended stays ended. The news of it may still be on its way.
            if status.state == task.state {
                task.status = status.clone();
            }
            return;
        }
        task.state = if status.state.is_terminal() {
            status.state
        } else {
            latest
        };
        task.status = status.clone();
        if task.state.is_terminal() {
            self.release(key);
        } else if !task.is_booked() {
            // It was unreachable, its agent is back but did not report it, and now it speaks.
            let agent = task.agent;
            self.rescind_agent(cx, agent);
            self.use_resources(key);
        }
    }

    fn confirm(
        &self,
        cx: &mut Cx<'_>,
        agent: AgentKey,
        framework: FrameworkId,
        status: &TaskStatus,
    ) {
        let peer = self.agents.get(agent).and_then(|row| row.peer());
        if let (Some(peer), Some(update)) = (peer, status.update) {
            let task = status.task.clone();
            let message = ToAgent::Acknowledge {
                framework,
                task,
                update,
            };
            cx.tell_agent(peer, message);
        }
    }

    /// Passes a framework's confirmation on (PR-09), and ends the task if its end is confirmed
    /// (TK-37).
    pub(super) fn on_acknowledge(
        &mut self,
        cx: &mut Cx<'_>,
        framework: FrameworkKey,
        agent: &AgentId,
        id: TaskId,
        update: UpdateId,
    ) {
        let Some(agent) = self.agents.find(agent) else {
            debug!(%agent, task = %id, "a confirmation for an unknown agent");
            return;
        };
        if let Some(key) = self.tasks.find(framework, &id) {
            let task = &mut self.tasks[key];
            if task.agent != agent {
                debug!(task = %id, "a confirmation for the wrong agent");
                return;
            }
            if let Some(sent) = task.in_flight.filter(|sent| sent.update == update) {
                task.acknowledged = Some(update);
                if sent.state.is_terminal() && !task.is_remembered() {
                    self.tasks.complete(key);
                }
            }
        }
        if let Some(peer) = self.agents[agent].peer() {
            let framework = self.frameworks[framework].id.clone();
            let message = ToAgent::Acknowledge {
                framework,
                task: id,
                update,
            };
            cx.tell_agent(peer, message);
        }
    }
}

/// Whether an agent may report this state; the others are the master's to say.
pub(super) const fn may_report(state: TaskState) -> bool {
    match state {
        TaskState::Staging
        | TaskState::Starting
        | TaskState::Running
        | TaskState::Killing
        | TaskState::Finished
        | TaskState::Failed
        | TaskState::Killed
        | TaskState::Error
        | TaskState::Dropped
        | TaskState::Gone => true,
        TaskState::Unreachable | TaskState::GoneByOperator | TaskState::Unknown => false,
    }
}

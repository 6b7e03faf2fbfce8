//! News about tasks: from agents to frameworks, confirmations back, and what the master says
//! itself.
//!
//! The agent sends an update until it is confirmed; the master keeps nothing for it and only passes
//! both on (TK-70). What the master says itself is confirmed as well, and said again on each
//! subscription until it is, or until there is other news: so unlike in Mesos (TK-72) nothing is
//! lost on a framework that was away.

use alloc::string::{String, ToString};

use tracing::debug;

use super::agents::Uncounted;
use super::tasks::{Freed, InFlight, Task, TaskKey};
use super::{Cx, Master};
use crate::allocator::Change;
use crate::ids::{AgentId, FrameworkId, TaskId, UpdateId};
use crate::keys::{AgentKey, FrameworkKey};
use crate::mutant::{Mutant, planted};
use crate::protocol::agent::ToAgent;
use crate::protocol::scheduler::Event;
use crate::protocol::status::{Reason, Source, TaskState, TaskStatus};
use crate::time::Time;

/// What the master says about a task.
#[derive(Clone, Debug)]
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

    /// Sets a live task's state by the master's own word, and says so. Of an end see
    /// [`Self::announce_end`].
    pub(super) fn announce(&mut self, cx: &mut Cx<'_>, key: TaskKey, news: News) {
        let update = self.new_update_id();
        let task = &mut self.tasks[key];
        let agent = task.status.agent.clone();
        let state = news.state;
        let status = TaskStatus {
            update: Some(update),
            // TK-74: it lives, and more was not heard of it.
            observed: task.status.observed.take(),
            ..news.about(task.id.clone(), agent, cx.now)
        };
        task.state = state;
        task.status = status.clone();
        task.by_master = true;
        task.in_flight = Some(InFlight { update, state });
        let framework = task.framework;
        self.tell(cx, framework, status);
    }

    /// Says by the master's own word that a live task has ended, until it is confirmed. What is
    /// known of its end stays; `otherwise` is said if it is not known to have ended.
    pub(super) fn announce_end(&mut self, cx: &mut Cx<'_>, key: TaskKey, otherwise: News) {
        let update = self.new_update_id();
        let task = &mut self.tasks[key];
        let agent = task.status.agent.clone();
        if !task.state.is_terminal() || planted(Mutant::EndOverwritten) {
            task.state = otherwise.state;
            task.status = otherwise.about(task.id.clone(), agent, cx.now);
        } else if !task.status.state.is_terminal() {
            // TK-71: the agent said that it has ended, and not yet how.
            let news = News {
                state: task.state,
                ..otherwise
            };
            task.status = news.about(task.id.clone(), agent, cx.now);
        }
        task.by_master = true;
        // An end that was passed on before keeps its name, so that it is heard once.
        if task.status.update.is_none() {
            task.status.update = Some(update);
        }
        task.in_flight = task.status.update.map(|update| InFlight {
            update,
            state: task.state,
        });
        let (framework, status) = (task.framework, task.status.clone());
        self.tell(cx, framework, status);
    }

    /// Says again by whom nobody else would say it, for a framework that was away.
    pub(super) fn tell_again(&self, cx: &mut Cx<'_>, framework: FrameworkKey) {
        if planted(Mutant::MasterNewsOnce) {
            return;
        }
        for key in self.tasks.of_framework(framework) {
            let task = &self.tasks[key];
            if task.by_master {
                self.tell(cx, framework, task.status.clone());
            }
        }
        for status in self.verdicts.of(framework) {
            self.tell(cx, framework, status.clone());
        }
    }

    pub(super) fn new_update_id(&mut self) -> UpdateId {
        let high = u128::from(self.rng.next_u64());
        UpdateId(high << 64 | u128::from(self.rng.next_u64()))
    }

    /// Returns what a task used to the allocator, once (TK-36).
    pub(super) fn release(&mut self, key: TaskKey) {
        if let Some(freed) = self.tasks.unbook(key) {
            self.free(freed);
        }
    }

    /// Tells the allocator what is free.
    pub(super) fn free(&mut self, freed: Freed) {
        let (framework, agent) = (freed.framework, freed.agent);
        self.touch_if_asked(agent);
        let changes = freed.bill.parts().map(|(role, resources)| Change::Freed {
            framework,
            role,
            agent,
            resources,
        });
        let before = self.changes.len();
        self.changes.extend(changes);
        if planted(Mutant::EndFreesTwice) {
            self.changes.extend_from_within(before..);
        }
        // Those go on using it who did all along, and were not charged.
        self.changes
            .extend(freed.heirs.into_iter().map(|heir| Change::Used {
                framework: heir.framework,
                role: heir.role,
                agent,
                resources: heir.resources,
            }));
    }

    /// Takes in an agent's update (PR-08).
    ///
    /// The master confirms an update itself where nobody else will: if the framework is over or
    /// unknown, if the task is another agent's or unknown, if the framework has confirmed it but
    /// the agent has not heard, if the master has said by its own word that the task has ended, and
    /// if the framework has heard more already. Otherwise the agent's stream would never end.
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
        let is_over = status.state.is_terminal() || latest.is_terminal();
        if is_over {
            self.end_uncounted(cx, agent, &owner, Uncounted::Task(status.task.clone()));
        }
        let known = self.frameworks.find(&owner);
        let framework = known.filter(|key| !self.frameworks[*key].is_completed());
        let Some(framework) = framework else {
            debug!(framework = %owner, task = %status.task, "an update for nobody");
            if let Some(ended) = known {
                self.on_update_of_ended((ended, agent), &status, latest);
            }
            self.confirm(cx, agent, owner, &status);
            return;
        };
        status.agent = Some(self.agents[agent].id.clone());
        // It is kept, and goes on in frames that hold more.
        status.shorten();
        let known = self.tasks.find(framework, &status.task);
        let is_own = |key: &TaskKey| self.tasks[*key].agent == agent;
        let own = known.filter(|key| is_own(key) || planted(Mutant::StrayBelieved));
        let Some(key) = own else {
            // PR-14. One task of an id: that of the other agent is not the framework's to hear of.
            // And one that is not known was over and confirmed so long ago that it is forgotten, or
            // there never was one: all that an agent has it reports.
            debug!(task = %status.task, "an update from an agent that does not run it");
            self.strays += 1;
            self.confirm(cx, agent, owner, &status);
            return;
        };
        if status.update.is_none() && status.state.is_terminal() {
            self.on_last_word(cx, key, status);
            return;
        }
        let is_stale = is_step_back(&self.tasks[key], &status);
        if is_stale {
            debug!(task = %status.task, state = %status.state, "a step back: not passed on");
        }
        self.note(cx, key, &status, latest, is_stale);
        let task = &self.tasks[key];
        if is_stale
            || task.is_ended_by_master()
            || (status.update.is_some() && status.update == task.acknowledged)
        {
            self.confirm(cx, agent, owner, &status);
            return;
        }
        self.tell(cx, framework, status);
    }

    /// An agent knows nothing of a task, and will not say so again by itself. That is news only if
    /// the task was not known to have ended; it is the master's from now on.
    fn on_last_word(&mut self, cx: &mut Cx<'_>, key: TaskKey, status: TaskStatus) {
        let task = &mut self.tasks[key];
        if task.is_remembered() {
            debug!(task = %task.id, "the end of a task that is over");
            return;
        }
        if !task.state.is_terminal() {
            task.state = status.state;
            task.status = status;
            self.release(key);
        }
        let task = &self.tasks[key];
        let news = News {
            state: task.state,
            reason: Reason::Reconciliation,
            message: "its agent does not know how it ended".to_string(),
        };
        self.announce_end(cx, key, news);
    }

    /// Takes an agent's news into the record of a live task.
    fn note(
        &mut self,
        cx: &mut Cx<'_>,
        key: TaskKey,
        status: &TaskStatus,
        latest: TaskState,
        is_stale: bool,
    ) {
        let task = &mut self.tasks[key];
        if task.is_remembered() || task.is_ended_by_master() {
            return;
        }
        if let Some(update) = status.update.filter(|_| !is_stale) {
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
        let newest = if status.state.is_terminal() {
            status.state
        } else {
            latest
        };
        if task.state.may_become(newest) {
            task.state = newest;
        }
        if !is_stale {
            task.status = status.clone();
            task.by_master = false;
        }
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
        if self.verdicts.confirm(framework, update) {
            return;
        }
        let mut runs_on = None;
        if let Some(key) = self.tasks.find(framework, &id) {
            let task = &mut self.tasks[key];
            runs_on = Some(task.agent);
            if task.status.agent.as_ref() != Some(agent) {
                debug!(task = %id, "a confirmation for the wrong agent");
                return;
            }
            if let Some(sent) = task.in_flight.filter(|sent| sent.update == update) {
                let is_end = sent.state.is_terminal();
                if task.by_master && !is_end {
                    // The agent knows nothing of it.
                    task.by_master = false;
                    return;
                }
                task.acknowledged = Some(update);
                let by_master = task.is_ended_by_master();
                if is_end && !task.is_remembered() {
                    self.tasks.complete(key);
                }
                if is_end && by_master {
                    return;
                }
            }
        }
        // Nearly always it is still known where the task runs, and need not be looked up.
        let runs_on = runs_on.filter(|key| self.agents.get(*key).is_some_and(|it| it.id == *agent));
        let Some(agent) = runs_on.or_else(|| self.agents.find(agent)) else {
            debug!(%agent, task = %id, "a confirmation for an unknown agent");
            return;
        };
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

/// Returns whether news comes too late to be passed on, for more was said already (TK-33). So it
/// is with what an agent could not tell before it was lost, once the master has said of the task,
/// which came back, how far it is by now.
fn is_step_back(task: &Task, status: &TaskStatus) -> bool {
    let told = &task.status;
    // What an agent reported when it returned was told to nobody.
    let was_told = task.by_master || told.update.is_some();
    let is_repeated = told.update.is_some() && told.update == status.update;
    was_told && !is_repeated && !told.state.may_become(status.state)
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

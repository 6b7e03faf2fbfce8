//! Agents that are out of reach, gone for good, and forgotten; and those that operators give no
//! tasks. All of that is durable before anybody hears of it.
//!
//! An agent that stays away for too long is unreachable: it may come back, and its tasks with it.
//! After weeks, or if there are too many, it is removed; so is one whose place another takes. A
//! removed id is remembered for as long again, and refused: its tasks were said to be gone.
//!
//! Deliberately not here: connections and timeouts (`reachability`), joining and returning
//! (`on_agent`).

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::agents::{Agent, Presence, Uncounted};
use super::tasks::TaskKey;
use super::updates::News;
use super::{Cx, Master, Timer};
use crate::allocator::Change;
use crate::ids::{AgentId, FrameworkId, PeerId};
use crate::keys::{AgentKey, FrameworkKey};
use crate::limits;
use crate::protocol::agent::ToAgent;
use crate::protocol::node::{AgentLoss, Standing};
use crate::protocol::operator::Answer;
use crate::protocol::scheduler::Event;
use crate::protocol::status::{Reason, TaskState};
use crate::registry::{Gone, RegistryOp};
use crate::time::Time;

impl Master {
    /// Knows the agents of earlier leaderships. Those out of reach stay so; the others have their
    /// time to come back (SM-11, TK-111).
    pub(super) fn recover_agents(&mut self, now: Time) {
        let patience = now + self.config.agent_reregister_timeout;
        for (id, admission) in self.registry.agents() {
            let presence = match admission.unreachable {
                Some(_) => Presence::Unreachable,
                None => Presence::Recovered,
            };
            let info = Arc::clone(&admission.info);
            let unavailability = self.registry.maintenance().unavailability(&info);
            let mut agent = Agent::new(id.clone(), info, admission.total(), presence, now);
            agent.since = admission.unreachable.unwrap_or(now);
            agent.standing = admission.standing;
            agent.drain_since = admission.drain_since;
            agent.operations = admission.under_way();
            agent.unavailability = unavailability;
            let key = self.agents.insert(agent);
            if presence == Presence::Recovered {
                self.agents[key].due = Some(patience);
                self.timers.arm(patience, Timer::Agent(key));
            }
        }
        self.recovered = self.agents.awaited();
        self.timers.arm(self.collect_at, Timer::Collect);
    }

    /// An agent stayed away for too long (SM-11, SM-14). The registry keeps it: it may return.
    pub(super) fn mark_unreachable(&mut self, cx: &mut Cx<'_>, key: AgentKey) {
        let concerned = self.concerned(key);
        let (id, at) = (self.agents[key].id.clone(), cx.now);
        // TK-108: whoever hears of it hears the same of every later leadership.
        self.persist(cx, RegistryOp::Unreachable { id, at });
        if self.agents[key].is_allocatable() {
            self.changes.push(Change::AgentRemoved { agent: key });
        }
        self.agents.set_presence(key, Presence::Unreachable, cx.now);
        for task in self.tasks.of_agent(key) {
            self.lose_task(cx, task);
        }
        self.lose_executors(key);
        self.lose_operations_of_agent(cx, key);
        let id = self.agents[key].id.clone();
        self.tell_loss(cx, concerned, &id, AgentLoss::Unreachable);
        self.answer_asks_of(cx, &id);
        self.answer_kills(cx);
    }

    /// A task's agent is out of reach. A framework that has not confirmed the end hears of it from
    /// us: the agent cannot say so again, until it is back. Only if we know by which name it would:
    /// so it is one end, whoever says it, under later leaderships too.
    fn lose_task(&mut self, cx: &mut Cx<'_>, key: TaskKey) {
        let task = &self.tasks[key];
        let is_named = task.status.state.is_terminal() && task.status.update.is_some();
        let state = TaskState::Unreachable;
        let news = News {
            state,
            reason: Reason::AgentRemoved,
            message: "the agent has not come back in time".to_string(),
        };
        if task.is_booked() {
            if !self.lose_ended(key) {
                // What was booked went with `AgentRemoved`.
                self.tasks.unbook(key);
                self.announce(cx, key, news);
            }
        } else if is_named && !task.is_ended_by_master() {
            self.announce_end(cx, key, news);
        }
        // Else it is unreachable already, as the agent did not report it when it was here last, or
        // it has ended and there is nothing to say of it that can be confirmed, or was not said.
    }

    /// Lists who has tasks, executors, or operations that it has named on an agent.
    fn concerned(&self, agent: AgentKey) -> BTreeSet<FrameworkKey> {
        let tasks = self.tasks.of_agent(agent).into_iter();
        let executors = self.tasks.custom_executors_on(agent).into_iter();
        let operations = self.operations.on_agent(agent).into_iter();
        let all = tasks.map(|task| self.tasks[task].framework);
        let all = all.chain(executors.map(|row| row.framework));
        all.chain(operations.map(|row| row.framework)).collect()
    }

    /// Tells those who held something on an agent that it is lost (FW-36).
    fn tell_loss(
        &self,
        cx: &mut Cx<'_>,
        concerned: BTreeSet<FrameworkKey>,
        agent: &AgentId,
        why: AgentLoss,
    ) {
        let peers = concerned.into_iter();
        for peer in peers.filter_map(|key| self.frameworks.get(key)?.peer()) {
            let agent = agent.clone();
            cx.tell_framework(peer, Event::AgentLost { agent, why });
        }
    }

    /// Ends an agent for good (SM-17, SM-18, TK-113): its tasks end as said, and its id never
    /// serves again. Returns over which connection it can be told.
    pub(super) fn remove_agent(
        &mut self,
        cx: &mut Cx<'_>,
        key: AgentKey,
        end: &News,
    ) -> Option<PeerId> {
        let removal = RegistryOp::Remove {
            id: self.agents[key].id.clone(),
            at: cx.now,
            by_operator: end.state == TaskState::GoneByOperator,
        };
        self.persist(cx, removal);
        self.bury(cx, key, end)
    }

    /// Lets all hear of an agent's end that is written down.
    pub(super) fn bury(&mut self, cx: &mut Cx<'_>, key: AgentKey, end: &News) -> Option<PeerId> {
        let concerned = self.concerned(key);
        let row = &self.agents[key];
        let (peer, known) = (row.peer(), row.is_allocatable());
        self.rescind_agent(cx, key);
        self.forget_inverse_of(cx, key);
        for task in self.tasks.of_agent(key) {
            if !self.lose_ended(task) {
                self.tasks.unbook(task);
                self.announce_end(cx, task, end.clone());
            }
        }
        self.lose_executors(key);
        self.end_operations_of_agent(cx, key, &end.message);
        if known {
            self.changes.push(Change::AgentRemoved { agent: key });
        }
        self.arm_agent(key, None);
        self.leave_line(key);
        if let Some(gone) = self.agents.remove(key) {
            let why = if end.state == TaskState::GoneByOperator {
                AgentLoss::Gone
            } else {
                AgentLoss::Removed
            };
            self.tell_loss(cx, concerned, &gone.id, why);
            self.answer_asks_of(cx, &gone.id);
        }
        if let Some(peer) = peer {
            self.peers.cast(peer, None);
        }
        peer
    }

    /// An agent leaves by itself, and ends what it runs (SM-18, TK-112, PR-13).
    pub(super) fn on_unregister(&mut self, cx: &mut Cx<'_>, key: AgentKey) {
        let end = News {
            state: TaskState::Gone,
            reason: Reason::AgentRemoved,
            message: "the agent has left the cluster".to_string(),
        };
        self.remove_agent(cx, key, &end);
        self.answer_kills(cx);
    }

    /// Takes an operator's word that an agent is gone (SM-17). Said twice, it is the same.
    pub(super) fn on_mark_gone(&mut self, cx: &mut Cx<'_>, id: &AgentId) -> Answer {
        if self.registry.gone().contains_key(id) {
            return Answer::Updated;
        }
        let Some(key) = self.agents.find(id) else {
            return no_such_agent(id);
        };
        self.mark_gone(cx, key);
        Answer::Updated
    }

    pub(super) fn mark_gone(&mut self, cx: &mut Cx<'_>, key: AgentKey) {
        let id = self.agents[key].id.clone();
        let end = News {
            // TK-31, TK-59
            state: TaskState::GoneByOperator,
            reason: Reason::AgentRemovedByOperator,
            message: "an operator says that the agent is gone".to_string(),
        };
        if let Some(peer) = self.remove_agent(cx, key, &end) {
            self.shut_down(cx, peer, &id);
        }
        self.answer_kills(cx);
    }

    /// Has an agent that is gone for good end what it runs (TK-114).
    pub(super) fn shut_down(&self, cx: &mut Cx<'_>, peer: PeerId, id: &AgentId) {
        let reason =
            format!("{id} was removed; it joins anew under another id when it is started again");
        cx.tell_agent(peer, ToAgent::Shutdown(reason));
    }

    /// Takes an operator's word on whether an agent is given tasks (SM-19).
    pub(super) fn on_standing(
        &mut self,
        cx: &mut Cx<'_>,
        id: &AgentId,
        standing: Standing,
    ) -> Answer {
        let Some(key) = self.agents.find(id) else {
            return no_such_agent(id);
        };
        if self.agents[key].standing != standing {
            self.set_standing(cx, key, standing);
        }
        Answer::Updated
    }

    pub(super) fn set_standing(&mut self, cx: &mut Cx<'_>, key: AgentKey, standing: Standing) {
        let (id, at) = (self.agents[key].id.clone(), cx.now);
        self.persist(cx, RegistryOp::SetStanding { id, standing, at });
        let admission = self.registry.agent(&self.agents[key].id);
        self.agents[key].drain_since = admission.and_then(|known| known.drain_since);
        let was_offered = self.agents[key].is_offered();
        let before = core::mem::replace(&mut self.agents[key].standing, standing);
        let is_offered = self.agents[key].is_offered();
        // It turns tasks away from the first word of a drain on, whether that is over or not.
        let is_called_off = before.is_drain() && !standing.is_drain();
        if let (true, Some(peer)) = (is_called_off, self.agents[key].peer()) {
            cx.tell_agent(peer, ToAgent::Undrain);
        }
        if was_offered != is_offered {
            self.offer_or_not(cx, key);
        }
    }

    /// An agent that is there may be offered from now on, or not any more.
    fn offer_or_not(&mut self, cx: &mut Cx<'_>, key: AgentKey) {
        self.rescind_agent(cx, key);
        self.rescind_inverse_of(cx, key);
        self.inverse_offers.touch(key);
        self.changes.push(Change::AgentActive {
            agent: key,
            active: self.agents[key].is_offered(),
        });
    }

    /// Notes what an agent runs that cannot be counted.
    pub(super) fn set_uncounted(
        &mut self,
        cx: &mut Cx<'_>,
        key: AgentKey,
        uncounted: BTreeSet<(FrameworkId, Uncounted)>,
    ) {
        let row = &mut self.agents[key];
        let was_offered = row.is_offered();
        row.uncounted = uncounted;
        if row.peer().is_some() && row.is_offered() != was_offered {
            self.offer_or_not(cx, key);
        }
    }

    /// Notes more of it, on an agent that will say when it is over; one that is not there says what
    /// it runs when it comes back.
    pub(super) fn add_uncounted(
        &mut self,
        cx: &mut Cx<'_>,
        key: AgentKey,
        more: Vec<(FrameworkId, Uncounted)>,
    ) {
        let row = self.agents.get_mut(key);
        if let Some(row) = row.filter(|row| row.peer().is_some()) {
            let was_offered = row.is_offered();
            row.uncounted.extend(more);
            if row.is_offered() != was_offered {
                self.offer_or_not(cx, key);
            }
        }
    }

    /// An agent says that something has ended, which may be what is not counted. Returns whether it
    /// was.
    pub(super) fn end_uncounted(
        &mut self,
        cx: &mut Cx<'_>,
        key: AgentKey,
        framework: &FrameworkId,
        what: Uncounted,
    ) -> bool {
        let row = &mut self.agents[key];
        // Mostly there is none.
        if row.uncounted.is_empty() || !row.uncounted.remove(&(framework.clone(), what)) {
            return false;
        }
        if row.is_offered() {
            self.offer_or_not(cx, key);
        }
        self.tasks.note_emptied(key);
        true
    }

    /// Gives up agents that are out of reach for too long, and forgets those that are gone for too
    /// long (HA-20). What nobody needs any more does not pile up, and no list grows beyond bounds.
    pub(super) fn collect(&mut self, cx: &mut Cx<'_>) {
        self.collect_at = cx.now + limits::COLLECTION;
        for key in self.lost_for_good(cx.now) {
            if !self.removals.take(cx.now) {
                // RG-21: the others in their turn.
                self.collect_at = self.collect_at.min(self.removals.next());
                break;
            }
            let end = News {
                state: TaskState::Gone,
                reason: Reason::AgentRemoved,
                message: "the agent was away for too long".to_string(),
            };
            self.remove_agent(cx, key, &end);
        }
        let gone = self.registry.gone();
        let is_old = |gone: &Gone| cx.now.since(gone.at) > limits::AGENT_ABSENCE;
        if gone.len() > limits::GONE_AGENTS || gone.values().any(is_old) {
            let age = limits::AGENT_ABSENCE.as_micros();
            let age = u64::try_from(age).expect("some weeks fit");
            let before = Time::from_micros(cx.now.as_micros().saturating_sub(age));
            let keep = limits::GONE_AGENTS;
            self.persist(cx, RegistryOp::Prune { before, keep });
        }
        self.timers.arm(self.collect_at, Timer::Collect);
        self.answer_kills(cx);
    }

    /// Lists the agents out of reach that are to be given up, those that are away the longest
    /// first.
    fn lost_for_good(&self, now: Time) -> Vec<AgentKey> {
        let above = self.registry.unreachable();
        let above = above.saturating_sub(limits::UNREACHABLE_AGENTS);
        let rows = self.registry.agents();
        let rows = rows.filter_map(|(id, row)| Some((row.unreachable?, id)));
        let mut rows: Vec<_> = rows.collect();
        rows.sort_unstable();
        let rows = rows.into_iter().enumerate();
        let lost = rows.filter(|(n, (at, _))| *n < above || now.since(*at) > limits::AGENT_ABSENCE);
        lost.filter_map(|(_, (_, id))| self.agents.find(id))
            .collect()
    }
}

fn no_such_agent(id: &AgentId) -> Answer {
    Answer::NotFound(format!("no agent {id}"))
}

//! Who is there: pings, heartbeats, lost connections, and the ends of patience.
//!
//! Called by the dispatch when a peer is lost or a timer fires, and by those handlers that end a
//! framework themselves. Deliberately not here: joining and returning, and what becomes of agents
//! that stay away (`standing`).

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::vec::Vec;

use super::agents::{Agent, Presence, Uncounted};
use super::frameworks::Subscription;
use super::{Cx, Effect, Master, Part, Timer};
use crate::allocator::Change;
use crate::ids::PeerId;
use crate::keys::{AgentKey, FrameworkKey};
use crate::limits;
use crate::mutant::{Mutant, planted};
use crate::protocol::agent::ToAgent;
use crate::protocol::hello::CloseReason;
use crate::protocol::node::Standing;
use crate::protocol::refusal::EndReason;
use crate::protocol::scheduler::Event;
use crate::registry::RegistryOp;

impl Master {
    /// The agent's one timer fired: a ping, or the end of our patience.
    pub(super) fn on_agent_due(&mut self, cx: &mut Cx<'_>, key: AgentKey) {
        let Some(row) = self.agents.get_mut(key) else {
            return;
        };
        row.due = None;
        match row.presence() {
            Presence::Connected(_) if row.missed < self.config.max_missed_pings => {
                self.ping(cx, key);
            }
            Presence::Connected(_) => {
                // SM-15, TK-107
                self.give_up(cx, key);
                if self.agents[key].waits.is_some() {
                    self.ping(cx, key);
                }
            }
            Presence::Recovered if self.are_too_many_lost() => self.resign(cx),
            Presence::Recovered | Presence::Disconnected => self.give_up(cx, key),
            Presence::Unreachable => {}
        }
    }

    fn ping(&mut self, cx: &mut Cx<'_>, key: AgentKey) {
        let row = &mut self.agents[key];
        row.missed = row.missed.saturating_add(1);
        if let Some(peer) = row.peer() {
            let message = ToAgent::Ping;
            cx.out.emit_free(Effect::Agent { peer, message });
        }
        self.arm_agent(key, Some(cx.now + self.config.ping_interval));
    }

    /// An agent answered a ping.
    pub(super) fn on_pong(&mut self, key: AgentKey) {
        if planted(Mutant::MissedPingsKept) {
            return;
        }
        self.agents[key].missed = 0;
        self.leave_line(key);
    }

    /// Nothing was heard of an agent for too long: it becomes unreachable, now or when it is its
    /// turn.
    fn give_up(&mut self, cx: &mut Cx<'_>, key: AgentKey) {
        if self.agents[key].waits.is_some() {
            return;
        }
        if self.losses.take(cx.now) {
            self.lose(cx, key);
        } else {
            self.agents[key].waits = Some(self.losses.wait(key));
            self.arm_permit();
        }
    }

    /// It is the turn of the first of those who wait.
    pub(super) fn on_permit(&mut self, cx: &mut Cx<'_>) {
        self.permit_at = None;
        if let Some(key) = self.losses.serve(cx.now) {
            self.agents[key].waits = None;
            self.lose(cx, key);
        }
        self.arm_permit();
    }

    fn lose(&mut self, cx: &mut Cx<'_>, key: AgentKey) {
        let row = &self.agents[key];
        if let Some(peer) = row.peer() {
            let reason = format!("agent {} left {} pings unanswered", row.id, row.missed);
            self.disconnect(cx, peer, CloseReason::IdleTimeout, reason);
        }
        self.arm_agent(key, None);
        self.mark_unreachable(cx, key);
    }

    /// An agent that waited to be given up is there, or it is over with it.
    pub(super) fn leave_line(&mut self, key: AgentKey) {
        if let Some(ticket) = self.agents[key].waits.take() {
            self.losses.leave(ticket);
            self.arm_permit();
        }
    }

    fn arm_permit(&mut self) {
        let due = self.losses.due();
        let before = core::mem::replace(&mut self.permit_at, due);
        self.rearm(Timer::Permit, before, due);
    }

    /// Returns whether more agents have not come back than can be believed (TK-111, HA-19).
    fn are_too_many_lost(&self) -> bool {
        let percent = usize::from(self.config.recovery_removal_percent);
        self.agents.awaited() * 100 > self.recovered * percent
    }

    /// Returns whether this leadership has given itself up: it hears nothing any more.
    pub const fn has_resigned(&self) -> bool {
        self.has_resigned
    }

    fn resign(&mut self, cx: &mut Cx<'_>) {
        let (lost, of) = (self.agents.awaited(), self.recovered);
        let most = self.config.recovery_removal_percent;
        let reason = format!(
            "{lost} of {of} agents have not come back, and no more than {most} % may be given up"
        );
        cx.out.emit(Effect::Resign { reason });
        self.has_resigned = true;
    }

    /// The connection of an agent is gone (SM-12): its tasks are believed to run, its resources
    /// are no longer offered (TK-110).
    pub(super) fn on_agent_lost(&mut self, cx: &mut Cx<'_>, key: AgentKey) {
        self.leave_line(key);
        self.agents
            .set_presence(key, Presence::Disconnected, cx.now);
        let is_noted = !planted(Mutant::LostAgentOffered);
        if is_noted {
            self.rescind_agent(cx, key);
        }
        self.rescind_inverse_of(cx, key);
        // What it runs it says when it is back.
        self.agents[key].uncounted.clear();
        if is_noted && self.agents[key].standing == Standing::Active {
            self.changes.push(Change::AgentActive {
                agent: key,
                active: false,
            });
        }
        self.arm_agent(key, Some(cx.now + self.config.agent_reregister_timeout));
    }

    /// The framework's one timer fired: a heartbeat, or the end of our patience.
    pub(super) fn on_framework_due(&mut self, cx: &mut Cx<'_>, key: FrameworkKey) {
        let Some(row) = self.frameworks.get_mut(key) else {
            return;
        };
        row.due = None;
        match row.subscription {
            Subscription::Subscribed(peer) => {
                // FW-33
                let event = Event::Heartbeat;
                cx.out.emit_free(Effect::Scheduler { peer, event });
                self.answer_all_due(cx, key);
                self.arm_subscribed(key, Some(cx.now + self.config.heartbeat_interval));
            }
            // SM-06
            Subscription::Disconnected | Subscription::Recovered => {
                self.remove_framework(cx, key, EndReason::TimedOut);
            }
            Subscription::Completed(_) => {}
        }
    }

    /// The connection of a framework is gone (SM-04, FW-30).
    pub(super) fn on_framework_lost(&mut self, cx: &mut Cx<'_>, key: FrameworkKey) {
        let row = &mut self.frameworks[key];
        row.subscription = Subscription::Disconnected;
        let (id, patience) = (row.id.clone(), row.info.failover_timeout);
        self.return_offers_of(key);
        self.ask_anew(key);
        self.asks.forget(key);
        self.changes.push(Change::FrameworkActive {
            framework: key,
            active: false,
        });
        if patience.is_zero() {
            self.remove_framework(cx, key, EndReason::TimedOut);
        } else {
            self.persist(cx, RegistryOp::FrameworkAway { id, at: cx.now });
            self.arm_framework(key, Some(cx.now + patience));
        }
    }

    /// Sees to it that there is room for one more framework, if need be in the place of one that
    /// left nothing running and stays away: a command that was left to run by itself is one for as
    /// long as its failover timeout. Returns whether there is room.
    pub(super) fn make_room(&mut self, cx: &mut Cx<'_>) -> bool {
        let most = self.config.max_frameworks.min(limits::FRAMEWORKS);
        if self.frameworks.in_use() < most {
            return true;
        }
        let away = self.registry.frameworks();
        let away = away.filter_map(|(id, known)| Some((known.away?, self.frameworks.find(id)?)));
        let away = away.filter(|(since, _)| cx.now.since(*since) >= limits::FRAMEWORK_ABSENCE);
        let mut away: Vec<_> = away.collect();
        away.sort_unstable();
        let idle = away.iter().find(|(_, key)| !self.tasks.runs_any(*key));
        let Some((_, key)) = idle.copied() else {
            return false;
        };
        self.remove_framework(cx, key, EndReason::Replaced);
        true
    }

    /// Ends a framework and all its tasks (SM-07, FW-31). It is not told about its tasks.
    pub(super) fn remove_framework(&mut self, cx: &mut Cx<'_>, key: FrameworkKey, why: EndReason) {
        let end = RegistryOp::EndFramework {
            id: self.frameworks[key].id.clone(),
            reason: why,
            at: cx.now,
        };
        self.end_framework(cx, key, why, end);
    }

    fn end_framework(
        &mut self,
        cx: &mut Cx<'_>,
        key: FrameworkKey,
        why: EndReason,
        record: RegistryOp,
    ) {
        self.return_offers_of(key);
        let id = self.frameworks[key].id.clone();
        // What is forgotten at once is free for its owner.
        if !matches!(record, RegistryOp::ForgetFramework { .. }) {
            self.use_up(&id);
        }
        self.persist(cx, record);
        let mut agents = BTreeSet::new();
        for task in self.tasks.of_framework(key) {
            agents.insert(self.tasks[task].agent);
            self.end_with_framework(cx, task);
        }
        let executors = self.tasks.custom_executors_of(key);
        agents.extend(executors.map(|row| row.agent));
        let agents = agents.into_iter().filter_map(|key| self.agents.get(key));
        let mut peers: Vec<PeerId> = agents.filter_map(Agent::peer).collect();
        if planted(Mutant::FrameworkEndUntold) {
            peers.clear();
        }
        for peer in peers {
            cx.tell_agent(peer, ToAgent::ShutdownFramework(id.clone()));
        }
        self.end_operations_of_framework(cx, key);
        if let Some(peer) = self.frameworks[key].peer() {
            self.peers.cast(peer, None);
        }
        self.arm_framework(key, None);
        self.kills.forget(key);
        self.asks.forget(key);
        self.verdicts.forget(key);
        self.forget_inverse_with(key);
        self.changes.push(Change::FrameworkActive {
            framework: key,
            active: false,
        });
        self.frameworks.complete(key, why);
        self.close_account(key);
    }

    /// Ends a framework that came under an id which is somebody else's, and frees the id for them.
    pub(super) fn dethrone(&mut self, cx: &mut Cx<'_>, key: FrameworkKey) {
        let row = &self.frameworks[key];
        let (id, why) = (row.id.clone(), EndReason::SomebodyElses);
        let message = format!("framework {id} is somebody else's");
        if let Some(peer) = row.peer() {
            self.turn_out(cx, peer, why, CloseReason::Denied, message);
        }
        let mut left: BTreeMap<AgentKey, Vec<_>> = BTreeMap::new();
        for task in self.tasks.of_framework(key) {
            let task = &self.tasks[task];
            if task.is_booked() {
                let name = Uncounted::Task(task.id.clone());
                left.entry(task.agent).or_default().push((id.clone(), name));
            }
        }
        for executor in self.tasks.custom_executors_of(key) {
            let name = Uncounted::Executor(executor.info.id.clone());
            let left = left.entry(executor.agent).or_default();
            left.push((id.clone(), name));
        }
        // One record: half of it would leave the id to nobody.
        self.end_framework(cx, key, why, RegistryOp::ForgetFramework { id });
        self.frameworks.forget(key);
        self.forget_tasks(key);
        // These still run, and cannot be counted under an id that is another's.
        for (agent, left) in left {
            self.add_uncounted(cx, agent, left);
        }
    }

    /// Checks that every row's timer is armed, and nothing else.
    pub(super) fn check_timers(&self) {
        let agents = self.agents.iter();
        let agents = agents.filter_map(|(key, row)| Some((row.due?, Timer::Agent(key))));
        let frameworks = self.frameworks.iter();
        let frameworks =
            frameworks.filter_map(|(key, row)| Some((row.due?, Timer::Framework(key))));
        let mut armed = 0;
        let mut timers = self.timers.clone();
        let others = [(self.collect_at, Timer::Collect)];
        let permit = self.permit_at.map(|at| (at, Timer::Permit));
        let throttle = self.throttle_at.map(|at| (at, Timer::Throttle));
        let inverse = self.inverse_at.map(|at| (at, Timer::Inverse));
        let single = others.into_iter().chain(permit).chain(throttle);
        let single = single.chain(inverse);
        for (at, timer) in agents.chain(frameworks).chain(single) {
            assert!(timers.disarm(at, timer), "{timer:?} is armed for {at}");
            armed += 1;
        }
        assert_eq!(self.timers.len(), armed, "timers of dead rows");
        for (peer, row) in self.peers.iter() {
            let theirs = match row.part {
                Some(Part::Agent(key)) => self.agents[key].peer(),
                Some(Part::Framework(key)) => self.frameworks[key].peer(),
                None => continue,
            };
            assert_eq!(theirs, Some(peer), "who plays {:?}", row.part);
        }
    }
}

//! Joining a master and staying with it: attempts, epochs, silence.
//!
//! Deliberately not here: what the master orders ([`super::on_master`]).

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use super::tasks::Task;
use super::{Agent, AgentRecord, Cx, Effect, Timer};
use crate::ids::{AgentId, ExecutorId, FrameworkId, PeerId, TaskId};
use crate::machine::Durable;
use crate::mutant::{Mutant, planted};
use crate::protocol::agent::{ExecutorReport, TaskReport, ToMaster};
use crate::protocol::framework::Introduced;
use crate::protocol::hello::CloseReason;
use crate::protocol::status::{Reason, Source, TaskState, TaskStatus};
use crate::protocol::validate::check_agent;
use crate::protocol::wire::slices;
use crate::time::Time;

/// The least wait between two attempts.
const MIN_REPEAT: Duration = Duration::from_millis(100);
/// The most that an attempt to register waits (AG-04).
const MAX_BACKOFF: Duration = Duration::from_secs(60);
/// How often a master is asked that does not answer. That takes some minutes: longer than its
/// journal may stall.
const ATTEMPTS: u32 = 10;

/// How the agent stands with the master.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link {
    /// No master is known.
    Away,
    /// A master is known, and what the containers do is not yet.
    Recovering(PeerId),
    /// Asks to be registered, again at that moment.
    Joining {
        peer: PeerId,
        attempts: u32,
        next_at: Time,
    },
    /// Registered. The connection is dead if nothing is heard until then.
    Joined {
        peer: PeerId,
        patience: Duration,
        dead_at: Time,
    },
    /// Refused for good.
    Stopped,
}

impl Link {
    pub(super) fn peer(self) -> Option<PeerId> {
        match self {
            Self::Recovering(peer) | Self::Joining { peer, .. } | Self::Joined { peer, .. } => {
                Some(peer)
            }
            Self::Away | Self::Stopped => None,
        }
    }

    /// Returns whether the agent has asked to be registered.
    pub(super) fn has_asked(self) -> bool {
        match self {
            Self::Joining { attempts, .. } => attempts > 0,
            Self::Joined { .. } => true,
            Self::Away | Self::Recovering(_) | Self::Stopped => false,
        }
    }

    /// Returns the connection, if the agent is registered on it.
    pub(super) fn joined(self) -> Option<PeerId> {
        match self {
            Self::Joined { peer, .. } => Some(peer),
            Self::Away | Self::Recovering(_) | Self::Joining { .. } | Self::Stopped => None,
        }
    }
}

/// What a master says when it takes an agent in.
pub(super) struct Welcome {
    pub(super) id: AgentId,
    pub(super) epoch: u64,
    pub(super) ping_timeout: Duration,
}

impl Agent {
    pub(super) fn on_master_found(&mut self, cx: &mut Cx<'_>, peer: PeerId) {
        if self.link.peer() == Some(peer) || self.leaving.is_some() {
            return;
        }
        if let Some(old) = self.link.peer() {
            let reason = "another connection to the master took its place";
            cx.disconnect(old, CloseReason::Replaced, reason);
        }
        self.leave();
        if self.recovery.is_over() {
            self.begin_joining(cx, peer);
        } else {
            self.link = Link::Recovering(peer);
        }
    }

    pub(super) fn on_master_lost(&mut self, peer: PeerId) {
        if self.link.peer() == Some(peer) {
            self.leave();
        }
    }

    /// Starts to join if a master was found while the containers were asked (AG-16, without its
    /// fixed wait).
    pub(super) fn join_after_recovery(&mut self, cx: &mut Cx<'_>) {
        if let Link::Recovering(peer) = self.link {
            self.begin_joining(cx, peer);
        }
    }

    fn begin_joining(&mut self, cx: &mut Cx<'_>, peer: PeerId) {
        self.schedule_attempt(cx.now, peer, 0);
    }

    fn schedule_attempt(&mut self, now: Time, peer: PeerId, attempts: u32) {
        // AG-04, TV-36: uniform in [0, b], then [0, 2 b], [0, 4 b], .. up to a minute.
        let growth = attempts.min(16);
        // The first attempt may be at once; a repeated one never is, whatever the configuration.
        let least = if attempts == 0 {
            Duration::ZERO
        } else {
            MIN_REPEAT
        };
        let base = self.config.registration_backoff.max(least);
        let most = base.saturating_mul(1 << growth).min(MAX_BACKOFF);
        let next_at = now + self.rng.jitter(most).max(least);
        self.timers.arm(next_at, Timer::Register);
        self.link = Link::Joining {
            peer,
            attempts,
            next_at,
        };
    }

    /// Forgets the connection. Updates wait until the agent is registered again (AG-08).
    pub(super) fn leave(&mut self) {
        match self.link {
            Link::Joining { next_at, .. } => {
                self.timers.disarm(next_at, Timer::Register);
            }
            Link::Joined { dead_at, .. } => {
                self.timers.disarm(dead_at, Timer::Silence);
                self.pause_updates();
            }
            Link::Away | Link::Recovering(_) | Link::Stopped => {}
        }
        self.introduced = Introduced::default();
        self.link = Link::Away;
    }

    /// Gives the connection up, and says so.
    pub(super) fn give_up(
        &mut self,
        cx: &mut Cx<'_>,
        peer: PeerId,
        close: CloseReason,
        reason: String,
    ) {
        self.leave();
        cx.disconnect(peer, close, reason);
    }

    pub(super) fn on_register_due(&mut self, cx: &mut Cx<'_>) {
        let Link::Joining { peer, attempts, .. } = self.link else {
            return;
        };
        if attempts >= ATTEMPTS {
            let reason = format!("the master has not answered {attempts} times");
            self.give_up(cx, peer, CloseReason::IdleTimeout, reason);
            return;
        }
        if let Err(reject) = check_agent(&self.config.info) {
            // The master would say the same, if such a description could reach it at all.
            let name = &self.config.name;
            let reason = format!("agent {name} cannot be described to a master: {reject}");
            self.stop(cx, reason);
            return;
        }
        // What has ended is not in this account, so its end must not be said behind it: by then
        // the master may have started another one under the same id.
        self.late_ends.clear();
        for message in self.registration() {
            cx.out.emit(Effect::Master { peer, message });
        }
        self.schedule_attempt(cx.now, peer, attempts.saturating_add(1));
    }

    /// Says who the agent is, and what it has (AG-03), in as many frames as that takes. Of ended
    /// frameworks nothing is said but what still runs, which is in use until it has ended: so no
    /// master brings them back.
    fn registration(&self) -> Vec<ToMaster> {
        let agent = self.config.info.clone();
        let Some(id) = self.state.agent().cloned() else {
            return Vec::from([ToMaster::Register { agent }]);
        };
        let frameworks = self.state.frameworks().values();
        let frameworks = frameworks.filter(|framework| !framework.ended);
        let tasks = self.state.tasks().values();
        let tasks = tasks.filter(|task| {
            let is_over = task.state().is_terminal();
            !(is_over && self.state.is_ended(task.framework()))
        });
        let executors = slices(self.executor_reports(tasks.clone()).into_values());
        let mut frameworks = slices(frameworks.map(|framework| framework.info.clone()));
        let mut tasks = slices(tasks.map(|task| {
            let framework = task.framework().clone();
            let observed = task.observed();
            TaskReport {
                healthy: observed.and_then(|it| it.healthy),
                check: observed.and_then(|it| it.check),
                ..TaskReport::new(framework, task.role().clone(), task.info(), task.state())
            }
        }));
        // The last frame has the end of each list; usually that is all there is.
        let last = ToMaster::Reregister {
            id,
            agent,
            frameworks: frameworks.pop().unwrap_or_default(),
            tasks: tasks.pop().unwrap_or_default(),
        };
        let before = frameworks.into_iter().map(|frameworks| ToMaster::Report {
            frameworks,
            tasks: Vec::new(),
        });
        let before = before.chain(tasks.into_iter().map(|tasks| ToMaster::Report {
            frameworks: Vec::new(),
            tasks,
        }));
        let before = before.chain(executors.into_iter().map(ToMaster::Executors));
        let converted = self.state.converted();
        let converted = (converted.last > 0).then(|| ToMaster::Converted(converted.clone()));
        let jobs = slices(self.state.disk_jobs().map(|(job, _)| job.clone()));
        let jobs = jobs.into_iter().map(ToMaster::DiskJobs);
        let first = converted.into_iter().chain(jobs);
        first.chain(before).chain([last]).collect()
    }

    /// Describes each executor once: those that have not ended, and those that tasks name which are
    /// not over.
    fn executor_reports<'a>(
        &'a self,
        tasks: impl Iterator<Item = &'a Task>,
    ) -> BTreeMap<(FrameworkId, ExecutorId), ExecutorReport> {
        let there = self.state.executors().values();
        let there = there.map(|row| (row.framework(), row.role(), row.info()));
        let live = tasks.filter(|task| !task.state().is_terminal());
        let named = live.filter_map(|task| {
            let executor = task.info().executor.as_ref()?;
            Some((task.framework(), task.role(), executor))
        });
        let mut reports = BTreeMap::new();
        for (framework, role, executor) in there.chain(named) {
            let name = (framework.clone(), executor.id.clone());
            reports.entry(name).or_insert_with(|| ExecutorReport {
                framework: framework.clone(),
                role: role.clone(),
                executor: executor.clone(),
            });
        }
        reports
    }

    pub(super) fn on_welcome(&mut self, cx: &mut Cx<'_>, peer: PeerId, welcome: Welcome) {
        if !self.link.has_asked() {
            tracing::debug!(?peer, "taken in without having asked: ignored");
            return;
        }
        if welcome.epoch < self.state.epoch() && !planted(Mutant::OldEpochObeyed) {
            let seen = self.state.epoch();
            let reason = format!(
                "the master leads epoch {}, but {seen} was seen",
                welcome.epoch
            );
            self.give_up(cx, peer, CloseReason::StaleEpoch, reason);
            return;
        }
        if let Some(known) = self.state.agent().filter(|known| **known != welcome.id) {
            let reason = format!(
                "the master calls this agent {}, but it is {known}",
                welcome.id
            );
            self.give_up(cx, peer, CloseReason::Denied, reason);
            return;
        }
        if welcome.epoch > self.state.epoch() {
            let epoch = welcome.epoch;
            let record = AgentRecord::EpochSeen { epoch };
            if planted(Mutant::EpochUnrecorded) {
                self.state.apply(&record);
            } else {
                self.persist(cx, record);
            }
        }
        if self.state.agent().is_none() {
            let agent = welcome.id;
            self.persist(cx, AgentRecord::Admitted { agent });
        }
        if self.link.joined().is_none() {
            self.join(cx, peer, welcome.ping_timeout);
        }
    }

    pub(super) fn on_missing(&mut self, cx: &mut Cx<'_>, missing: Vec<(FrameworkId, TaskId)>) {
        let Some(peer) = self.link.joined() else {
            tracing::debug!("asked for tasks before the registration: ignored");
            return;
        };
        for (framework, task) in missing {
            self.answer_missing(cx, peer, framework, task);
        }
    }

    fn join(&mut self, cx: &mut Cx<'_>, peer: PeerId, patience: Duration) {
        self.leave();
        // The master says it again if it is so.
        self.drain.goes_on = false;
        let dead_at = cx.now + patience;
        self.timers.arm(dead_at, Timer::Silence);
        self.link = Link::Joined {
            peer,
            patience,
            dead_at,
        };
        self.resume_updates(cx);
        self.tell_late_ends(cx, peer);
    }

    /// Ends a task for the master that never reached this agent. No update id: should this be lost,
    /// the master asks again when the agent next returns.
    fn answer_missing(
        &mut self,
        cx: &mut Cx<'_>,
        peer: PeerId,
        framework: FrameworkId,
        task: TaskId,
    ) {
        let known = self.state.find_task(&framework, &task);
        if known.is_some() {
            // It was reported, and the master took this in before it had read the report; or its
            // framework is over, and this is told when the task is.
            return;
        }
        let status = TaskStatus {
            reason: Some(Reason::Reconciliation),
            message: "the agent does not know this task".into(),
            agent: self.state.agent().cloned(),
            ..TaskStatus::new(task, TaskState::Dropped, Source::Agent, cx.now)
        };
        self.tell_unnamed(cx, peer, framework, status);
    }

    /// Notes that the master lives.
    pub(super) fn hear_master(&mut self, now: Time) {
        if let Link::Joined {
            patience, dead_at, ..
        } = &mut self.link
        {
            self.timers.disarm(*dead_at, Timer::Silence);
            *dead_at = now + *patience;
            self.timers.arm(*dead_at, Timer::Silence);
        }
    }

    pub(super) fn on_silence(&mut self, cx: &mut Cx<'_>) {
        let Link::Joined { peer, patience, .. } = self.link else {
            return;
        };
        let reason = format!("the master was silent for {patience:?}");
        self.give_up(cx, peer, CloseReason::IdleTimeout, reason);
    }

    pub(super) fn on_refused(&mut self, cx: &mut Cx<'_>, reason: &str) {
        let name = &self.config.name;
        let reason = format!("the master refused agent {name}: {reason}");
        self.stop(cx, reason);
    }

    pub(super) fn stop(&mut self, cx: &mut Cx<'_>, reason: String) {
        self.fall_silent();
        cx.out.emit(Effect::Stop { reason });
    }

    /// Takes in nothing more.
    pub(super) fn fall_silent(&mut self) {
        self.leave();
        self.link = Link::Stopped;
    }
}

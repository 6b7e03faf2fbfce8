//! A task as its agent remembers it: where it runs, its newest state, and the updates that its
//! framework has not acknowledged.
//!
//! Changed by records only ([`super::journal`]). Deliberately not here: sending
//! ([`super::updates`]) and whatever starts or ends a program.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::string::String;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::records::Number;
use crate::ids::{FrameworkId, UpdateId};
use crate::protocol::status::{Observed, Reason, TaskState, TaskStatus};
use crate::protocol::task::TaskInfo;
use crate::roles::Role;
use crate::time::Time;

/// How many unacknowledged updates of one task are kept. An executor that says more before its
/// framework listens is not acknowledged, and says it again later.
pub(super) const UPDATES_PER_TASK: usize = 64;

/// How many ids of an executor's updates are remembered, so that a repeated one is known as such.
const REMEMBERED_UPDATES: usize = 2 * UPDATES_PER_TASK;

/// Where a task runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Placement {
    /// In a container of its own, by the agent's command executor.
    Own,
    /// In the container of an executor.
    Executor(Number),
    /// Nowhere: it was refused.
    Nowhere,
}

/// One task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Task {
    framework: FrameworkId,
    role: Role,
    info: TaskInfo,
    placement: Placement,
    /// The number of the first task of its group, if it is of one.
    group: Option<Number>,
    /// The newest state, acknowledged or not.
    state: TaskState,
    /// How long it has to end once it is told; set once a kill was asked for.
    grace: Option<Duration>,
    /// Whether it has been told in more than one life of the agent.
    resumed: bool,
    /// Since when it runs, by its own word.
    running_since: Option<Time>,
    /// Whether it ran for as long as it may, so that it is ended.
    overtime: bool,
    /// What its health check has found out for too long, so that it is ended.
    unhealthy: Option<String>,
    /// What was said last of it beside its state.
    observed: Option<Box<Observed>>,
    /// Updates that were not acknowledged, oldest first.
    unacknowledged: VecDeque<TaskStatus>,
    /// The newest ids of updates from an executor.
    received: VecDeque<UpdateId>,
}

impl Task {
    pub(super) fn new(
        framework: FrameworkId,
        role: Role,
        info: TaskInfo,
        placement: Placement,
        group: Option<Number>,
    ) -> Self {
        // TK-98: before the first try nothing is known, and that is said.
        let check = info.check.as_ref().filter(|_| placement == Placement::Own);
        let observed = check.map(|check| Observed {
            check: Some(check.probe.unknown()),
            ..Observed::default()
        });
        Self {
            framework,
            role,
            info,
            placement,
            group,
            state: TaskState::Staging,
            grace: None,
            resumed: false,
            running_since: None,
            overtime: false,
            unhealthy: None,
            observed: observed.map(Box::new),
            unacknowledged: VecDeque::new(),
            received: VecDeque::new(),
        }
    }

    pub(super) fn framework(&self) -> &FrameworkId {
        &self.framework
    }

    pub(super) fn role(&self) -> &Role {
        &self.role
    }

    pub(super) fn info(&self) -> &TaskInfo {
        &self.info
    }

    pub(super) fn placement(&self) -> Placement {
        self.placement
    }

    pub(super) fn group(&self) -> Option<Number> {
        self.group
    }

    pub(super) fn state(&self) -> TaskState {
        self.state
    }

    /// Returns the executor that it was launched for, if it is not the agent's own.
    pub(super) fn executor(&self) -> Option<Number> {
        match self.placement {
            Placement::Executor(executor) => Some(executor),
            Placement::Own | Placement::Nowhere => None,
        }
    }

    /// Returns how long it has to end once it is told, if a kill was asked for.
    pub(super) fn grace(&self) -> Option<Duration> {
        self.grace
    }

    /// Returns whether it was told to end, and has not.
    pub(super) fn is_ending(&self) -> bool {
        self.grace.is_some() && !self.state.is_terminal()
    }

    /// Returns when it has run for as long as it may, if it is not to end before (TK-07).
    pub(super) fn completes_by(&self) -> Option<Time> {
        if self.overtime || self.state.is_terminal() {
            return None;
        }
        Some(self.running_since? + self.info.max_completion?)
    }

    /// Returns since when it runs, if it does and its end was not asked for before.
    pub(super) fn running_since(&self) -> Option<Time> {
        self.running_since
    }

    /// Returns what was said last of it beside its state.
    pub(super) fn observed(&self) -> Option<&Observed> {
        self.observed.as_deref()
    }

    /// Returns what its health check has found out, if it is ended for that, and not because of a
    /// kill.
    pub(super) fn unhealthy(&self) -> Option<&str> {
        self.unhealthy.as_deref()
    }

    /// It is unhealthy for too long; a kill that was asked for stays one.
    pub(super) fn end_unhealthy(&mut self, why: &str, grace: Duration) {
        if self.grace.is_none() {
            self.unhealthy = Some(why.into());
        }
        self.request_kill(grace);
    }

    /// Returns whether it is ended for it ran as long as it may, and not because of a kill.
    pub(super) fn is_overtime(&self) -> bool {
        self.overtime
    }

    /// Ends its patience; a kill that was asked for stays one.
    pub(super) fn run_out(&mut self) {
        self.overtime = self.grace.is_none();
        self.running_since = None;
        self.request_kill(Duration::ZERO);
    }

    /// Returns whether nobody has said anything about it yet: its program may not have run.
    pub(super) fn is_silent(&self) -> bool {
        self.state == TaskState::Staging
    }

    pub(super) fn oldest(&self) -> Option<&TaskStatus> {
        self.unacknowledged.front()
    }

    pub(super) fn unacknowledged(&self) -> &VecDeque<TaskStatus> {
        &self.unacknowledged
    }

    /// Returns whether this update of an executor was taken in before (TK-69).
    pub(super) fn has_received(&self, update: UpdateId) -> bool {
        self.received.contains(&update)
    }

    /// Gives it so long to end, or less if it has less (TK-85).
    pub(super) fn request_kill(&mut self, grace: Duration) {
        self.grace = Some(self.grace.map_or(grace, |before| before.min(grace)));
    }

    /// The agent has come up again and tells it to end once more. The first time it has all of its
    /// time, for it may not have heard; then half of the last each, so that no number of restarts
    /// makes it more than three times as much.
    pub(super) fn resume(&mut self) {
        if let Some(grace) = self.grace.as_mut() {
            if self.resumed {
                *grace /= 2;
            }
            self.resumed = true;
        }
    }

    pub(super) fn end_with_framework(&mut self, grace: Duration) {
        self.unacknowledged.clear();
        self.request_kill(grace);
    }

    pub(super) fn update(&mut self, status: TaskStatus) {
        let (before, after) = (self.state, status.state);
        assert!(before.may_become(after), "{before} does not become {after}");
        self.state = status.state;
        if self.state == TaskState::Running && !self.overtime && self.grace.is_none() {
            self.running_since.get_or_insert(status.at);
        }
        let update = status.update.expect("a recorded update has an id");
        if matches!(self.placement, Placement::Executor(_)) {
            if self.received.len() == REMEMBERED_UPDATES {
                self.received.pop_front();
            }
            self.received.push_back(update);
        }
        if status.observed.is_some() {
            self.observed.clone_from(&status.observed);
        }
        if self.takes_place(&status) {
            self.unacknowledged.pop_back();
        }
        self.unacknowledged.push_back(status);
    }

    /// Returns whether an update takes the place of the newest, so that what is found out again and
    /// again does not fill the memory of an agent whose framework is away. Nothing is lost by it:
    /// the newer says all that the older did, and who was told the older is told nothing else in
    /// its place, for the oldest stays.
    fn takes_place(&self, status: &TaskStatus) -> bool {
        let has_unsent = self.unacknowledged.len() > 1;
        let newest = self.unacknowledged.back().filter(|_| has_unsent);
        newest.is_some_and(|newest| self.is_finding(newest) && self.is_finding(status))
    }

    /// Returns whether an update says only what a check has found out. Those of executors are
    /// theirs, whatever they say.
    fn is_finding(&self, status: &TaskStatus) -> bool {
        let is_said = matches!(
            status.reason,
            Some(Reason::TaskCheckStatusUpdated | Reason::TaskHealthCheckStatusUpdated)
        );
        is_said && self.placement == Placement::Own && status.state == TaskState::Running
    }

    /// Returns whether the update behind the oldest may be sent before it is written down that the
    /// oldest is acknowledged. Not one that another may yet take the place of, should that be lost.
    pub(super) fn may_go_ahead(&self) -> bool {
        let next = self.unacknowledged.get(1);
        next.is_none_or(|next| !self.is_finding(next))
    }

    /// Drops the oldest update. Returns whether that was the last of a task that is over.
    pub(super) fn acknowledge(&mut self, update: UpdateId) -> bool {
        let oldest = self.unacknowledged.pop_front();
        assert_eq!(
            oldest.and_then(|status| status.update),
            Some(update),
            "only the oldest update is acknowledged"
        );
        self.state.is_terminal() && self.unacknowledged.is_empty()
    }
}

//! Agents that come back, in the books of [`super::ledger`]: what they have, by what they say.
//!
//! Deliberately not here: how entries are made ([`super::entries`]).

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use super::account::ExecutorName;
use super::ledger::{Ledger, Task};
use crate::ids::{AgentId, FrameworkId, PeerId};
use crate::protocol::agent::{ExecutorReport, TaskReport};
use crate::protocol::status::TaskState;
use crate::protocol::task::{ExecutorInfo, ExecutorKind};

/// What a returning agent has said.
#[derive(Debug, Default)]
pub(super) struct Reports {
    pub(super) tasks: Vec<TaskReport>,
    pub(super) executors: Vec<ExecutorReport>,
}

/// An agent that is just taken back, with what it says of its tasks.
#[derive(Debug)]
pub(super) struct Returning {
    pub(super) peer: PeerId,
    pub(super) agent: AgentId,
    pub(super) reports: Reports,
    /// Frameworks that are over, or are not those that the agent knows.
    pub(super) ended: BTreeSet<FrameworkId>,
}

impl Ledger {
    /// Takes in what an agent has reported that is taken back.
    pub(super) fn take_back(&mut self) {
        let Some(returning) = self.returning.take() else {
            return;
        };
        let agent = returning.agent;
        let Reports { tasks, executors } = returning.reports;
        let described: BTreeMap<ExecutorName, ExecutorInfo> = executors
            .iter()
            .map(|it| (name_of(it), it.executor.clone()))
            .collect();
        let of = (&agent, returning.peer);
        self.take_back_executors(of, &returning.ended, executors);
        for report in tasks.into_iter().filter(|it| may_report(it.state)) {
            let (framework, id, state) = (report.framework, report.task, report.state);
            let executor = report.executor.map(|id| (framework.clone(), id));
            let executor = executor.and_then(|name| described.get(&name));
            let new = |state| {
                let agent = agent.clone();
                Task::new(agent, report.role, report.resources, executor, state)
            };
            if returning.ended.contains(&framework) {
                // Of two tasks of one id one is counted, whichever agent has it. The agent of the
                // other is offered to nobody.
                let known = self.task(&framework, &id);
                let is_counted = known.is_some_and(|task| task.is_booked);
                if self.counts(&framework) && !is_counted && !state.is_terminal() {
                    let tasks = self.tasks.entry(framework.clone()).or_default();
                    tasks.insert(id.clone(), new(TaskState::Killing));
                    self.adopt(&framework, &id);
                }
                continue;
            }
            let Some(task) = self.task_mut(&framework, &id) else {
                let tasks = self.tasks.entry(framework.clone()).or_default();
                tasks.insert(id.clone(), new(state));
                if !state.is_terminal() {
                    self.adopt(&framework, &id);
                }
                continue;
            };
            if task.agent != agent || !task.state.may_become(state) {
                continue;
            }
            let before = core::mem::replace(&mut task.state, state);
            if state.is_terminal() {
                self.unbook(&framework, &id);
            } else if before == TaskState::Unreachable {
                self.adopt(&framework, &id);
            }
        }
    }

    /// Returns whether what is left of a framework is counted that is to be shut down: if it is
    /// over, and not if it is somebody else's or unknown.
    fn counts(&self, framework: &FrameworkId) -> bool {
        self.registry.end_of(framework).is_some()
    }

    /// Takes in which executors an agent has that is taken back. What it was sent over the very
    /// connection may have crossed what it says.
    fn take_back_executors(
        &mut self,
        (agent, peer): (&AgentId, PeerId),
        ended: &BTreeSet<FrameworkId>,
        executors: Vec<ExecutorReport>,
    ) {
        let there: BTreeSet<ExecutorName> = executors.iter().map(name_of).collect();
        let known = self.accounts.get(agent);
        let known = known.map(|account| account.custom_executors(Some(peer)));
        for name in known.into_iter().flatten() {
            if !there.contains(&name) {
                self.end_executor(agent, &name);
            }
        }
        let custom = executors.iter();
        let custom = custom.filter(|it| it.executor.kind == ExecutorKind::Custom);
        for report in custom {
            if !ended.contains(&report.framework) || self.counts(&report.framework) {
                self.adopt_executor(agent, report);
            }
        }
    }

    pub(super) fn end_custom_executor(&mut self, agent: &AgentId, name: &ExecutorName) {
        let account = self.accounts.get(agent);
        if account.is_some_and(|it| it.custom_executors(None).contains(name)) {
            self.end_executor(agent, name);
        }
    }
}

fn name_of(report: &ExecutorReport) -> ExecutorName {
    (report.framework.clone(), report.executor.id.clone())
}

/// Whether this is an agent's to say; the other states are the master's.
pub(super) const fn may_report(state: TaskState) -> bool {
    !matches!(
        state,
        TaskState::Unreachable | TaskState::GoneByOperator | TaskState::Unknown
    )
}

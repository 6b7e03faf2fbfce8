//! Agents that come back, in the books of [`super::ledger`]: what they have, by what they say.
//!
//! Deliberately not here: how entries are made ([`super::entries`]).

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use super::account::ExecutorName;
use super::ledger::{Ledger, Task};
use crate::ids::{AgentId, FrameworkId, PeerId};
use crate::protocol::agent::{ExecutorReport, TaskReport};
use crate::protocol::status::TaskState;

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
        self.take_back_executors(
            (&agent, returning.peer),
            &returning.ended,
            &tasks,
            executors,
        );
        let reports = tasks.into_iter();
        let reports = reports.filter(|report| !returning.ended.contains(&report.framework));
        for report in reports.filter(|report| may_report(report.state)) {
            let (framework, id, state) = (report.framework, report.task, report.state);
            let Some(task) = self.task_mut(&framework, &id) else {
                let executor = report.executor.as_ref();
                let task = Task::new(
                    agent.clone(),
                    report.role,
                    report.resources,
                    executor,
                    state,
                );
                let tasks = self.tasks.entry(framework.clone()).or_default();
                tasks.insert(id.clone(), task);
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

    /// Takes in which executors an agent has that is taken back. What it was sent over the very
    /// connection may have crossed what it says.
    fn take_back_executors(
        &mut self,
        (agent, peer): (&AgentId, PeerId),
        ended: &BTreeSet<FrameworkId>,
        tasks: &[TaskReport],
        executors: Vec<ExecutorReport>,
    ) {
        let named = executors.iter();
        let mut there: BTreeSet<ExecutorName> = named
            .map(|it| (it.framework.clone(), it.executor.id.clone()))
            .collect();
        let live = tasks.iter().filter(|task| may_report(task.state));
        let live = live.filter(|task| !task.state.is_terminal());
        let live = live.filter(|task| !ended.contains(&task.framework));
        there.extend(live.filter_map(|task| {
            let executor = task.executor.as_ref()?;
            Some((task.framework.clone(), executor.id.clone()))
        }));
        let known = self.accounts.get(agent);
        let known = known.map(|account| account.custom_executors(Some(peer)));
        for name in known.into_iter().flatten() {
            if !there.contains(&name) {
                self.end_executor(agent, &name);
            }
        }
        let new = executors.iter().filter(|it| !ended.contains(&it.framework));
        for report in new {
            self.adopt_executor(agent, report);
        }
    }

    pub(super) fn end_custom_executor(&mut self, agent: &AgentId, name: &ExecutorName) {
        let account = self.accounts.get(agent);
        if account.is_some_and(|it| it.custom_executors(None).contains(name)) {
            self.end_executor(agent, name);
        }
    }
}

/// Whether this is an agent's to say; the other states are the master's.
pub(super) const fn may_report(state: TaskState) -> bool {
    !matches!(
        state,
        TaskState::Unreachable | TaskState::GoneByOperator | TaskState::Unknown
    )
}

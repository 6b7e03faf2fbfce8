//! Nobody is unhealthy too early: an agent ends a task for its health check only when that has
//! failed so often in a row as it takes (TK-97). And nobody is looked at too late: nothing is found
//! out of a task whose end was asked for.
//!
//! Looked at in each turn of an agent. What it has heard of a try counts when it goes on to the
//! next one, for by then it has said if it gave that one up before. Failures within the grace count
//! here as well; a life of an agent begins at none. A task that is tried for both of its checks
//! alike is left out, for its tries cannot be told apart.

use alloc::collections::BTreeMap;
use alloc::format;

use super::Broken;
use crate::agent::{AgentRecord, Effect, Input, Number};
use crate::ids::ContainerId;
use crate::machine::Output;
use crate::protocol::check::Probe;
use crate::protocol::container::{ContainerCommand, ContainerEvent};
use crate::protocol::status::{Reason, TaskState, TaskStatus};
use crate::protocol::task::TaskInfo;
use crate::sim::property::Property;

/// One task with a health check.
#[derive(Debug)]
struct Row {
    probe: Probe,
    /// How many failures in a row are too many.
    most: u32,
    /// The try under way, and whether it did well, if that was heard.
    under_way: Option<(u64, Option<bool>)>,
    /// How many failed in a row before it.
    failures: u32,
    /// Whether its end was asked for.
    is_to_end: bool,
}

impl Row {
    /// Counts the try that was under way.
    fn settle(&mut self) {
        match self.under_way.take() {
            Some((_, Some(true))) => self.failures = 0,
            Some((_, Some(false))) => self.failures += 1,
            Some((_, None)) | None => {}
        }
    }
}

/// The tasks of one agent that have health checks.
#[derive(Debug, Default)]
pub(in crate::sim) struct Health {
    rows: BTreeMap<ContainerId, Row>,
    broken: Option<Broken>,
}

impl Health {
    /// Another life of the agent begins.
    pub(in crate::sim) fn begin(&mut self) {
        for row in self.rows.values_mut() {
            row.under_way = None;
            row.failures = 0;
            row.is_to_end = false;
        }
    }

    /// The agent is about to hear something.
    pub(in crate::sim) fn hears(&mut self, input: &Input) {
        if let Input::Container(ContainerEvent::Probed {
            id,
            number,
            outcome,
        }) = input
            && let Some(row) = self.rows.get_mut(id)
            && let Some((known, heard)) = &mut row.under_way
            && known == number
        {
            *heard = Some(row.probe.succeeds(outcome));
        }
    }

    /// The agent wants something.
    pub(in crate::sim) fn saw(&mut self, output: &Output<AgentRecord, Effect>) {
        if let Output::Persist(record) = output {
            self.saw_record(record);
        } else if let Output::Free(Effect::Container(command)) = output {
            self.saw_order(command);
        }
    }

    fn saw_order(&mut self, command: &ContainerCommand) {
        if let ContainerCommand::Probe {
            id, number, probe, ..
        } = command
            && let Some(row) = self.rows.get_mut(id)
            && row.probe == *probe
        {
            row.settle();
            row.under_way = Some((*number, None));
        } else if let ContainerCommand::Unprobe { id, number } = command
            && let Some(row) = self.rows.get_mut(id)
            && row.under_way.is_some_and(|(known, _)| known == *number)
        {
            // Whatever was heard, or is, comes too late.
            row.under_way = None;
            row.failures += 1;
        }
    }

    fn saw_record(&mut self, record: &AgentRecord) {
        if let AgentRecord::TaskAccepted { number, task, .. } = record {
            self.accepted(*number, task);
        } else if let AgentRecord::GroupAccepted { first, tasks, .. } = record {
            for (number, task) in (first.0..).map(Number).zip(tasks) {
                self.accepted(number, task);
            }
        } else if let AgentRecord::Updated { task, status } = record {
            self.updated(*task, status);
        } else if let AgentRecord::KillRequested { task, .. } | AgentRecord::RanOut { task, .. } =
            record
        {
            self.asked(*task);
        } else if let AgentRecord::Unhealthy { task, .. } = record {
            self.ended(*task);
        }
    }

    /// An agent that lost its disk gives numbers anew.
    fn accepted(&mut self, number: Number, task: &TaskInfo) {
        self.rows.remove(&number.container());
        let Some(health) = &task.health_check else {
            return;
        };
        let other = task.check.as_ref().map(|check| &check.probe);
        if other != Some(&health.probe) {
            let row = Row {
                probe: health.probe.clone(),
                most: health.consecutive_failures,
                under_way: None,
                failures: 0,
                is_to_end: false,
            };
            self.rows.insert(number.container(), row);
        }
    }

    fn asked(&mut self, task: Number) {
        if let Some(row) = self.rows.get_mut(&task.container()) {
            row.is_to_end = true;
        }
    }

    fn updated(&mut self, task: Number, status: &TaskStatus) {
        let found = [
            Some(Reason::TaskCheckStatusUpdated),
            Some(Reason::TaskHealthCheckStatusUpdated),
        ];
        let is_found = status.state == TaskState::Running && found.contains(&status.reason);
        let row = self.rows.get(&task.container());
        if is_found && row.is_some_and(|row| row.is_to_end) {
            let problem = format!("{} is to end, and still looked at", status.task);
            self.broken.get_or_insert((Property::Health, problem));
        }
        if status.state.is_terminal() {
            self.rows.remove(&task.container());
        }
    }

    fn ended(&mut self, task: Number) {
        let Some(row) = self.rows.get_mut(&task.container()) else {
            return;
        };
        row.settle();
        row.is_to_end = true;
        let Row { failures, most, .. } = row;
        if failures < most {
            let problem = format!("{task:?} is unhealthy after {failures} failures, not {most}");
            self.broken.get_or_insert((Property::Health, problem));
        }
    }

    /// Ends a turn.
    pub(in crate::sim) fn end(&mut self) -> Result<(), Broken> {
        self.broken.take().map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use alloc::boxed::Box;
    use alloc::string::String;

    use super::*;
    use crate::agent::Placement;
    use crate::ids::{AgentId, FrameworkId, TaskId};
    use crate::protocol::check::{Family, HealthCheck, ProbeOutcome};
    use crate::protocol::framework::FrameworkInfo;
    use crate::protocol::status::Source;
    use crate::resources::Resources;
    use crate::roles::Role;
    use crate::time::Time;

    const TASK: Number = Number(3);

    fn probe() -> Probe {
        let family = Family::V4;
        Probe::Tcp { port: 80, family }
    }

    /// Begins with a task that is unhealthy after two failures.
    fn scene() -> Health {
        let (id, agent) = (TaskId::new("t").unwrap(), AgentId::new("m-S1").unwrap());
        let mut task = TaskInfo::new(id, agent, Resources::new());
        task.health_check = Some(Box::new(HealthCheck {
            consecutive_failures: 2,
            ..HealthCheck::new(probe())
        }));
        let mut health = Health::default();
        health.saw(&Output::Persist(AgentRecord::TaskAccepted {
            number: TASK,
            framework: FrameworkInfo {
                id: Some(FrameworkId::new("m-0000").unwrap()),
                ..FrameworkInfo::new("f")
            },
            role: Role::any(),
            task,
            placement: Placement::Own,
        }));
        health
    }

    fn begins(health: &mut Health, number: u64) {
        let command = ContainerCommand::Probe {
            id: TASK.container(),
            number,
            probe: probe(),
            timeout: None,
        };
        health.saw(&Output::Free(Effect::Container(command)));
    }

    fn hears(health: &mut Health, number: u64, accepted: bool) {
        health.hears(&Input::Container(ContainerEvent::Probed {
            id: TASK.container(),
            number,
            outcome: ProbeOutcome::Accepted(accepted),
        }));
    }

    fn ends(health: &mut Health) -> Result<(), Property> {
        health.saw(&Output::Persist(AgentRecord::Unhealthy {
            task: TASK,
            why: String::new(),
            destroy_at: Time::ZERO,
        }));
        health.end().map_err(|(property, _)| property)
    }

    // TK-97
    #[test]
    fn who_is_unhealthy_too_early_is_found() {
        let mut health = scene();
        begins(&mut health, 1);
        hears(&mut health, 1, false);
        assert_eq!(ends(&mut health), Err(Property::Health));
        let mut health = scene();
        for (number, accepted) in [(1, false), (2, true), (3, false)] {
            begins(&mut health, number);
            hears(&mut health, number, accepted);
        }
        assert_eq!(ends(&mut health), Err(Property::Health), "not in a row");
        let mut health = scene();
        begins(&mut health, 1);
        hears(&mut health, 1, false);
        begins(&mut health, 2);
        let (id, number) = (TASK.container(), 2);
        let gives_up = ContainerCommand::Unprobe { id, number };
        hears(&mut health, 2, true);
        health.saw(&Output::Free(Effect::Container(gives_up)));
        hears(&mut health, 2, true);
        assert_eq!(ends(&mut health), Ok(()), "it was given up before");
        let mut health = scene();
        begins(&mut health, 1);
        hears(&mut health, 1, false);
        health.begin();
        begins(&mut health, 1);
        hears(&mut health, 1, false);
        assert_eq!(ends(&mut health), Err(Property::Health), "another life");
    }

    // TK-97
    #[test]
    fn who_is_looked_at_too_late_is_found() {
        let mut health = scene();
        let mut updated = |asked: bool| {
            if asked {
                health.saw(&Output::Persist(AgentRecord::KillRequested {
                    task: TASK,
                    destroy_at: Time::ZERO,
                }));
            }
            let (id, state) = (TaskId::new("t").unwrap(), TaskState::Running);
            let status = TaskStatus {
                reason: Some(Reason::TaskHealthCheckStatusUpdated),
                ..TaskStatus::new(id, state, Source::Executor, Time::ZERO)
            };
            let task = TASK;
            health.saw(&Output::Persist(AgentRecord::Updated { task, status }));
            health.end().map_err(|(property, _)| property)
        };
        assert_eq!(updated(false), Ok(()));
        assert_eq!(updated(true), Err(Property::Health));
    }
}

//! One master acts (I18), and the next knows what the one before promised (I19).
//!
//! Whoever has heard of a leadership has nothing to do with an earlier one, and writes down nothing
//! that it orders. And a master that has lost the lead, and cannot know, admits nobody whom its
//! successor does not know. What operators were promised is looked at in [`super::orders`].

use alloc::format;

use super::Broken;
use crate::agent::{AgentRecord, Effect};
use crate::machine::Output;
use crate::master;
use crate::protocol::agent::ToAgent;
use crate::registry::Registry;
use crate::sim::property::Property;

/// What one agent does in a turn that a master caused.
#[derive(Debug)]
pub(in crate::sim) struct Turn {
    /// The leadership that speaks, if it was a master.
    speaks: Option<u64>,
    /// The newest that the agent has heard of.
    seen: u64,
    violation: Option<Broken>,
}

impl Turn {
    pub(in crate::sim) fn new(speaks: Option<u64>, seen: u64) -> Self {
        Self {
            speaks,
            seen,
            violation: None,
        }
    }

    /// Sees what the agent wants.
    pub(in crate::sim) fn saw(&mut self, output: &Output<AgentRecord, Effect>) {
        let Output::Persist(record) = output else {
            return;
        };
        if let AgentRecord::EpochSeen { epoch } = record {
            self.seen = self.seen.max(*epoch);
        }
        if is_ordered(record)
            && let Some(speaks) = self.speaks.filter(|speaks| *speaks < self.seen)
        {
            let seen = self.seen;
            let problem =
                format!("leadership {speaks} is obeyed after {seen} was seen: {record:?}");
            self.violation.get_or_insert((Property::Leaders, problem));
        }
    }

    /// Returns the newest leadership that the agent has heard of, and what it should not have done;
    /// whether it is registered now says whether it believes who has spoken.
    pub(in crate::sim) fn end(self, believes: bool) -> (u64, Result<(), Broken>) {
        let seen = self.seen;
        let checked = self.violation.map_or(Ok(()), Err);
        (
            seen,
            checked.and_then(|()| check_belief(self.speaks, seen, believes)),
        )
    }
}

/// Returns whether only a master's order leads to a record.
fn is_ordered(record: &AgentRecord) -> bool {
    match record {
        AgentRecord::TaskAccepted { .. }
        | AgentRecord::GroupAccepted { .. }
        | AgentRecord::ExecutorLaunched { .. }
        | AgentRecord::KillRequested { .. }
        | AgentRecord::FrameworkEnded { .. }
        | AgentRecord::FrameworkChanged { .. }
        | AgentRecord::ExecutorUnwanted { .. }
        | AgentRecord::CarriedOut { .. }
        | AgentRecord::OperationAcknowledged { .. }
        | AgentRecord::DiskBegun { .. }
        | AgentRecord::DiskOver { .. } => true,
        // Updates are looked at in [`super::confirmed`], and registrations below.
        AgentRecord::Admitted { .. }
        | AgentRecord::EpochSeen { .. }
        | AgentRecord::ExecutorSubscribed { .. }
        | AgentRecord::ExecutorEnded { .. }
        | AgentRecord::Updated { .. }
        | AgentRecord::Acknowledged { .. }
        | AgentRecord::TaskForgotten { .. }
        | AgentRecord::RanOut { .. }
        | AgentRecord::Unhealthy { .. }
        | AgentRecord::Collected { .. }
        | AgentRecord::Described { .. }
        | AgentRecord::Booted { .. }
        | AgentRecord::DiskEnded { .. }
        | AgentRecord::DiskUndone { .. }
        | AgentRecord::Resumed
        | AgentRecord::Moment { .. }
        | AgentRecord::VolumesDeleted { .. }
        | AgentRecord::Left => false,
    }
}

/// Checks whom somebody believes who has heard of a leadership.
pub(in crate::sim) fn check_belief(
    speaks: Option<u64>,
    seen: u64,
    believes: bool,
) -> Result<(), Broken> {
    match speaks.filter(|speaks| believes && *speaks < seen) {
        None => Ok(()),
        Some(speaks) => {
            let problem = format!("leadership {speaks} is believed after {seen} was seen");
            Err((Property::Leaders, problem))
        }
    }
}

/// Checks what a master without the lead says against what was committed, which is read if that
/// says something of it.
pub(in crate::sim) fn check(
    effect: &master::Effect,
    committed: impl FnOnce() -> Registry,
) -> Result<(), Broken> {
    let master::Effect::Agent { message, .. } = effect else {
        return Ok(());
    };
    let ToAgent::Registered { id, .. } = message else {
        return Ok(());
    };
    if committed().agent(id).is_some() {
        return Ok(());
    }
    let problem = format!("{id} is admitted by a master without the lead, and nobody else knows");
    Err((Property::Leaders, problem))
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;
    use crate::agent::Number;
    use crate::ids::{AgentId, FrameworkId, MasterId, PeerId, TaskId};
    use crate::protocol::framework::FrameworkInfo;
    use crate::protocol::task::TaskInfo;
    use crate::resources::Resources;
    use crate::roles::Role;
    use crate::time::Time;

    fn orders() -> [AgentRecord; 3] {
        let agent = AgentId::new("m-S1").unwrap();
        let taken = AgentRecord::TaskAccepted {
            number: Number::default(),
            framework: FrameworkInfo::new("f"),
            role: Role::any(),
            task: TaskInfo::new(TaskId::new("t").unwrap(), agent, Resources::new()),
            // In a container of its own.
            placement: postcard::from_bytes(&[0]).unwrap(),
        };
        let framework = FrameworkId::new("m-0000").unwrap();
        let destroy_at = Time::ZERO;
        let ended = AgentRecord::FrameworkEnded {
            framework,
            destroy_at,
        };
        let task = Number::default();
        [
            taken,
            ended,
            AgentRecord::KillRequested { task, destroy_at },
        ]
    }

    // I18, AG-07
    #[test]
    fn an_order_of_an_earlier_leadership_is_found() {
        let end = |speaks, seen, outputs: &[AgentRecord]| {
            let mut turn = Turn::new(speaks, seen);
            for record in outputs {
                turn.saw(&Output::Persist(record.clone()));
            }
            let (seen, result) = turn.end(false);
            (seen, result.is_ok())
        };
        let epoch = |epoch| AgentRecord::EpochSeen { epoch };
        for order in orders() {
            let order = [order];
            assert_eq!(end(Some(2), 2, &order), (2, true));
            assert_eq!(end(None, 2, &order), (2, true));
            assert_eq!(end(Some(2), 3, &order), (3, false));
            let [order] = order;
            assert_eq!(end(Some(3), 2, &[epoch(3), order.clone()]), (3, true));
            assert_eq!(end(Some(2), 2, &[epoch(3), order]), (3, false));
        }
        let at = Time::ZERO;
        assert_eq!(end(Some(2), 3, &[AgentRecord::Moment { at }]), (3, true));
    }

    // I18, AG-07
    #[test]
    fn who_believes_an_earlier_leadership_is_found() {
        for (speaks, believes, is_fine) in [
            (Some(2), true, true),
            (Some(3), true, true),
            (Some(1), false, true),
            (None, true, true),
            (Some(1), true, false),
        ] {
            let (_, result) = Turn::new(speaks, 2).end(believes);
            assert_eq!(result.is_ok(), is_fine, "{speaks:?} {believes}");
        }
    }

    #[test]
    fn whom_nobody_else_knows_is_not_admitted_without_the_lead() {
        let registered = master::Effect::Agent {
            peer: PeerId(1),
            message: ToAgent::Registered {
                id: AgentId::new("m-S1").unwrap(),
                master: MasterId::of("m", 1).unwrap(),
                epoch: 1,
                ping_timeout: Duration::from_secs(75),
            },
        };
        assert!(check(&registered, Registry::default).is_err());
    }
}

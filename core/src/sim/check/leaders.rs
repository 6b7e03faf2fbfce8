//! One master acts (I18), and the next knows what the one before promised (I19).
//!
//! Whoever has heard of a leadership has nothing to do with an earlier one, and takes no task from
//! it. And a master that has lost
//! the lead, and cannot know, admits nobody whom its successor does not know.

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
        if let AgentRecord::TaskAccepted { task, .. } = record
            && let Some(speaks) = self.speaks.filter(|speaks| *speaks < self.seen)
        {
            let (id, seen) = (&task.id, self.seen);
            let problem = format!("{id} is taken from leadership {speaks} after {seen} was seen");
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

/// Checks what a master without the lead says against what was committed.
pub(in crate::sim) fn check(effect: &master::Effect, committed: &Registry) -> Result<(), Broken> {
    let master::Effect::Agent { message, .. } = effect else {
        return Ok(());
    };
    let ToAgent::Registered { id, .. } = message else {
        return Ok(());
    };
    if committed.agent(id).is_some() {
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
    use crate::ids::{AgentId, MasterId, PeerId, TaskId};
    use crate::protocol::framework::FrameworkInfo;
    use crate::protocol::task::TaskInfo;
    use crate::resources::Resources;
    use crate::roles::Role;

    fn taken() -> Output<AgentRecord, Effect> {
        let agent = AgentId::new("m-S1").unwrap();
        Output::Persist(AgentRecord::TaskAccepted {
            number: Number::default(),
            framework: FrameworkInfo::new("f"),
            role: Role::any(),
            task: TaskInfo::new(TaskId::new("t").unwrap(), agent, Resources::new()),
            // In a container of its own.
            placement: postcard::from_bytes(&[0]).unwrap(),
        })
    }

    #[test]
    fn a_task_of_an_earlier_leadership_is_found() {
        let end = |speaks, seen, first: Option<Output<AgentRecord, Effect>>| {
            let mut turn = Turn::new(speaks, seen);
            for output in first.into_iter().chain([taken()]) {
                turn.saw(&output);
            }
            let (seen, result) = turn.end(false);
            (seen, result.is_ok())
        };
        let epoch = |epoch| Some(Output::Persist(AgentRecord::EpochSeen { epoch }));
        assert_eq!(end(Some(2), 2, None), (2, true));
        assert_eq!(end(Some(3), 2, epoch(3)), (3, true));
        assert_eq!(end(Some(2), 3, None), (3, false));
        assert_eq!(end(Some(2), 2, epoch(3)), (3, false));
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
        assert!(check(&registered, &Registry::default()).is_err());
    }
}

//! Confirmations are sound (I12): an agent forgets an update only when it is told that its
//! framework has exactly this one, by nobody who leads less than another that it has heard of.
//!
//! An update that is forgotten too early is one that nobody ever hears of. Looked at in each turn
//! of an agent, whatever causes it; and whenever an executor hears its agent, which has to confirm
//! what an executor forgets in the same way.

use alloc::format;
use alloc::string::String;

use super::Broken;
use crate::agent::{AgentRecord, Effect};
use crate::executor;
use crate::ids::{FrameworkId, TaskId, UpdateId};
use crate::machine::Output;
use crate::protocol::agent::ToAgent;
use crate::protocol::executor::Event;
use crate::sim::property::Property;

/// An update that a master says a framework has.
pub(in crate::sim) type Said = (FrameworkId, TaskId, UpdateId);

/// One turn of an agent.
#[derive(Debug)]
pub(in crate::sim) struct Turn {
    said: Option<Said>,
    /// Whether it is an earlier leadership than another that speaks.
    is_stale: bool,
    has_forgotten: bool,
    violation: Option<Broken>,
}

impl Turn {
    /// Begins a turn in which a master speaks, if one does, of the epoch that is given beside the
    /// newest that the agent has heard of.
    pub(in crate::sim) fn new(message: Option<&ToAgent>, speaks: Option<u64>, seen: u64) -> Self {
        let mut said = None;
        if let Some(ToAgent::Acknowledge {
            framework,
            task,
            update,
        }) = message
        {
            said = Some((framework.clone(), task.clone(), *update));
        }
        Self {
            said,
            is_stale: speaks.is_some_and(|speaks| speaks < seen),
            has_forgotten: false,
            violation: None,
        }
    }

    /// Sees what the agent wants.
    pub(in crate::sim) fn saw(&mut self, output: &Output<AgentRecord, Effect>) {
        let Output::Persist(AgentRecord::Acknowledged { update, .. }) = output else {
            return;
        };
        let is_said = self.said.as_ref().is_some_and(|(.., said)| said == update);
        let problem = if !is_said {
            format!("{update:?} is forgotten, and nobody has said that it is known")
        } else if self.is_stale {
            format!("{update:?} is forgotten on the word of an earlier leadership")
        } else {
            self.has_forgotten = true;
            return;
        };
        let broken = (Property::Confirmations, problem);
        self.violation.get_or_insert(broken);
    }

    /// Returns the update that was forgotten, if one was and might be.
    pub(in crate::sim) fn end(self) -> Result<Option<Said>, Broken> {
        match self.violation {
            Some(broken) => Err(broken),
            None => Ok(self.said.filter(|_| self.has_forgotten)),
        }
    }
}

/// Returns the update that an agent confirms to its executor.
pub(in crate::sim) fn said(input: &executor::Input) -> Option<UpdateId> {
    match input {
        executor::Input::Agent {
            event: Event::Acknowledged { update, .. },
            ..
        } => Some(*update),
        executor::Input::Agent { .. }
        | executor::Input::Connected { .. }
        | executor::Input::Disconnected { .. }
        | executor::Input::User(_)
        | executor::Input::Follow => None,
    }
}

/// Checks what an executor has forgotten in its turn.
pub(in crate::sim) fn check(
    before: &[UpdateId],
    said: Option<UpdateId>,
    after: &[UpdateId],
) -> Result<(), String> {
    let mut forgotten = before.iter().filter(|update| !after.contains(update));
    match forgotten.find(|update| Some(**update) != said) {
        None => Ok(()),
        Some(update) => Err(format!(
            "an executor forgets {update:?}, and hears of {said:?}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::Number;

    // I12
    #[test]
    fn what_an_executor_forgets_without_a_word_is_found() {
        let all = [UpdateId(1), UpdateId(2)];
        assert_eq!(check(&all, None, &all), Ok(()));
        assert_eq!(check(&all, Some(UpdateId(1)), &all[1..]), Ok(()));
        assert_eq!(
            check(&all[1..], Some(UpdateId(1)), &all[1..]),
            Ok(()),
            "again"
        );
        assert!(check(&all, Some(UpdateId(2)), &all[1..]).is_err());
        assert!(check(&all, None, &all[1..]).is_err());
        assert!(check(&all, Some(UpdateId(1)), &[]).is_err());
    }

    // I12, TK-68
    #[test]
    fn what_is_forgotten_without_a_word_is_found() {
        let message = |update| ToAgent::Acknowledge {
            framework: FrameworkId::new("m-0000").unwrap(),
            task: TaskId::new("t").unwrap(),
            update: UpdateId(update),
        };
        let forgets = |message: Option<&ToAgent>, speaks| {
            let mut turn = Turn::new(message, speaks, 2);
            let (task, update) = (Number(1), UpdateId(7));
            turn.saw(&Output::Persist(AgentRecord::Acknowledged { task, update }));
            turn.end().map(|said| said.is_some())
        };
        assert_eq!(forgets(Some(&message(7)), Some(2)), Ok(true));
        assert_eq!(forgets(Some(&message(7)), None), Ok(true));
        for (message, speaks) in [
            (Some(message(8)), Some(2)),
            (Some(message(7)), Some(1)),
            (Some(ToAgent::Ping), Some(2)),
            (None, Some(2)),
        ] {
            let broken = forgets(message.as_ref(), speaks).unwrap_err();
            assert_eq!(broken.0, Property::Confirmations, "{message:?} {speaks:?}");
        }
        let turn = Turn::new(Some(&message(7)), Some(2), 2);
        assert_eq!(turn.end(), Ok(None), "it was forgotten before");
    }
}

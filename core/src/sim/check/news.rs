//! News of a master itself is delivered as well (I10): what it says of a task by its own word, and
//! wants to have confirmed, is confirmed at last. Nobody else would say it again.
//!
//! Told from what the leading master says and hears. What it says later of a task takes the place
//! of what it has said before.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;

use super::ledger::Ledger;
use crate::ids::{FrameworkId, TaskId, UpdateId};
use crate::master::{Effect, Input};
use crate::protocol::scheduler::{Call, Event};
use crate::protocol::status::Source;
use crate::registry::RegistryOp;

/// What one leadership has said and nobody has confirmed.
#[derive(Debug, Default)]
pub(super) struct News {
    open: BTreeMap<(FrameworkId, TaskId), UpdateId>,
}

impl News {
    /// The master is about to hear something; the books are those before.
    pub(super) fn hears(&mut self, input: &Input, ledger: &Ledger) {
        if let Input::Scheduler {
            peer,
            call: Call::Acknowledge { task, update, .. },
        } = input
            && let Some(framework) = ledger.framework_of(*peer)
        {
            let key = (framework.clone(), task.clone());
            if self.open.get(&key) == Some(update) {
                self.open.remove(&key);
            }
        }
    }

    pub(super) fn wrote(&mut self, op: &RegistryOp) {
        if let RegistryOp::EndFramework { id, .. } | RegistryOp::ForgetFramework { id } = op {
            self.open.retain(|(framework, _), _| framework != id);
        }
    }

    /// The master does something.
    pub(super) fn saw(&mut self, effect: &Effect, ledger: &Ledger) {
        if let Effect::Scheduler {
            peer,
            event: Event::Update(status),
        } = effect
            && let Some(framework) = ledger.framework_of(*peer)
        {
            let key = (framework.clone(), status.task.clone());
            match status.update.filter(|_| status.source == Source::Master) {
                Some(update) => self.open.insert(key, update),
                None => self.open.remove(&key),
            };
        }
    }

    /// Says what still waits to be confirmed by one of these frameworks.
    pub(super) fn open(&self, is_there: impl Fn(&FrameworkId) -> bool) -> Option<String> {
        let mut open = self.open.keys();
        let (framework, task) = open.find(|(framework, _)| is_there(framework))?;
        Some(format!(
            "what a master says of {task} of {framework} waits to be confirmed"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::AgentId;
    use crate::protocol::status::{TaskState, TaskStatus};
    use crate::sim::check::scene::*;
    use crate::time::Time;

    fn said(source: Source, update: Option<u128>) -> Effect {
        let task = TaskId::new("t").unwrap();
        let status = TaskStatus {
            update: update.map(UpdateId),
            ..TaskStatus::new(task, TaskState::Gone, source, Time::ZERO)
        };
        event(OWNER, Event::Update(status))
    }

    fn confirmed(update: u128) -> Input {
        Input::Scheduler {
            peer: OWNER,
            call: Call::Acknowledge {
                agent: AgentId::new("m-S1").unwrap(),
                task: TaskId::new("t").unwrap(),
                update: UpdateId(update),
            },
        }
    }

    // I10, WK-34
    #[test]
    fn what_a_master_says_and_nobody_confirms_is_found() {
        let (mut news, mut ledger) = (News::default(), book());
        let is_open = |news: &News| news.open(|it| *it == framework()).is_some();
        news.saw(&said(Source::Master, Some(1)), &ledger);
        assert!(!is_open(&news), "nobody is there to hear it");
        ledger.saw(&subscribed(OWNER));
        news.saw(&said(Source::Agent, Some(1)), &ledger);
        news.saw(&said(Source::Master, None), &ledger);
        assert!(!is_open(&news));
        news.saw(&said(Source::Master, Some(2)), &ledger);
        assert!(is_open(&news));
        assert_eq!(news.open(|_| false), None, "nobody is there to confirm it");
        news.hears(&confirmed(1), &ledger);
        assert!(is_open(&news));
        news.hears(&confirmed(2), &ledger);
        assert!(!is_open(&news));

        news.saw(&said(Source::Master, Some(3)), &ledger);
        ledger.hears(&Input::Disconnected { peer: OWNER });
        assert!(is_open(&news), "it was away");
        ledger.saw(&subscribed(OWNER));
        news.saw(&said(Source::Agent, Some(4)), &ledger);
        assert!(!is_open(&news), "its agent says more");
    }
}

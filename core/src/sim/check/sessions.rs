//! Who speaks for a framework: one scheduler at a time (FW-28). One that was replaced, or turned
//! away, is told so and hears nothing after that (FW-54).
//!
//! Told from what the master says and hears alone, so that it holds whatever the master's own table
//! of peers believes.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;

use super::Broken;
use crate::ids::{FrameworkId, PeerId};
use crate::master::{Effect, Input};
use crate::protocol::scheduler::Event;
use crate::sim::property::Property;

/// The subscriptions that stand, and the connections on which all is said.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    subscribed: BTreeMap<FrameworkId, PeerId>,
    over: BTreeSet<PeerId>,
    violation: Option<Broken>,
}

impl Sessions {
    pub(super) fn hears(&mut self, input: &Input) {
        if let Input::Disconnected { peer } = input {
            self.leave(*peer);
            self.over.remove(peer);
        }
    }

    pub(super) fn saw(&mut self, effect: &Effect) {
        let Effect::Scheduler { peer, event } = effect else {
            return;
        };
        if self.over.contains(peer) {
            let problem = format!("{peer:?} was told that it is over, and then {event:?}");
            self.violation.get_or_insert((Property::Sessions, problem));
        }
        match event {
            Event::Error { .. } => {
                self.leave(*peer);
                self.over.insert(*peer);
            }
            Event::Subscribed { framework, .. } => {
                let before = self.subscribed.insert(framework.clone(), *peer);
                if let Some(other) = before.filter(|other| other != peer) {
                    let problem = format!("{framework} is {peer:?}'s, and {other:?} was not told");
                    self.violation.get_or_insert((Property::Sessions, problem));
                }
            }
            Event::Heartbeat
            | Event::Offers(_)
            | Event::Rescind(_)
            | Event::InverseOffers(_)
            | Event::RescindInverse(_)
            | Event::Update(_)
            | Event::OperationUpdate(_)
            | Event::Message { .. }
            | Event::ExecutorEnded { .. }
            | Event::AgentLost { .. }
            | Event::Rejected { .. }
            | Event::Unheard { .. }
            | Event::Updated
            | Event::Reconciled(_) => {}
        }
    }

    fn leave(&mut self, peer: PeerId) {
        self.subscribed.retain(|_, subscribed| *subscribed != peer);
    }

    pub(super) fn check(&mut self) -> Result<(), Broken> {
        self.violation.take().map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::String;
    use core::time::Duration;

    use super::*;
    use crate::ids::MasterId;
    use crate::protocol::refusal::EndReason;

    const OLD: PeerId = PeerId(1);
    const NEW: PeerId = PeerId(2);

    fn says(peer: PeerId, event: Event) -> Effect {
        Effect::Scheduler { peer, event }
    }

    fn subscribed(peer: PeerId) -> Effect {
        let event = Event::Subscribed {
            framework: FrameworkId::new("m-0000").unwrap(),
            master: MasterId::of("m", 1).unwrap(),
            epoch: 1,
            heartbeat: Duration::from_secs(15),
            domain: None,
        };
        says(peer, event)
    }

    fn replaced() -> Effect {
        let event = Event::Error {
            reason: EndReason::FailedOver,
            message: String::new(),
        };
        says(OLD, event)
    }

    fn broken(effects: &[Effect]) -> bool {
        let mut sessions = Sessions::default();
        for effect in effects {
            sessions.saw(effect);
        }
        sessions.check().is_err()
    }

    // FW-28, FW-54
    #[test]
    fn who_is_replaced_is_told_first_and_last() {
        let (old, new) = (subscribed(OLD), subscribed(NEW));
        assert!(!broken(&[
            old.clone(),
            old.clone(),
            replaced(),
            new.clone()
        ]));
        assert!(broken(&[old.clone(), new.clone()]));
        let late = [
            old.clone(),
            replaced(),
            new.clone(),
            says(OLD, Event::Heartbeat),
        ];
        assert!(broken(&late));

        let mut sessions = Sessions::default();
        sessions.saw(&old);
        sessions.hears(&Input::Disconnected { peer: OLD });
        sessions.saw(&new);
        assert_eq!(sessions.check(), Ok(()), "nobody is there to be told");
    }
}

//! A scheduler that is asked to leave agents: it leaves, refuses, or says nothing, as chance has
//! it.
//!
//! Wrapped around another one, which knows nothing of maintenance and goes on elsewhere.

use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use crate::ids::{AgentId, TaskId};
use crate::protocol::offer::InverseOffer;
use crate::rng::Rng;
use crate::scheduler::{Acknowledging, Logic, UserCall, UserEvent};
use crate::time::Time;

/// The longest for which it does not want to be asked again.
const PAUSE: Duration = Duration::from_secs(60);

/// The scheduler.
#[derive(Debug)]
pub struct Leaver<L> {
    inner: L,
    chance: Rng,
    /// Where its tasks are that have not ended.
    tasks: BTreeMap<TaskId, AgentId>,
}

impl<L: Logic> Leaver<L> {
    /// Wraps a scheduler; `seed` decides its answers.
    pub fn new(inner: L, seed: u64) -> Self {
        Self {
            inner,
            chance: Rng::new(seed),
            tasks: BTreeMap::new(),
        }
    }

    fn on_inverse_offer(&mut self, offer: InverseOffer, calls: &mut Vec<UserCall>) {
        let pause = self.chance.jitter(PAUSE);
        let refuse = self.chance.chance(1, 2).then_some(pause);
        let offers = vec![offer.id];
        match self.chance.below(3) {
            0 => {
                calls.push(UserCall::AcceptInverse { offers, refuse });
                let tasks = self.tasks.iter();
                let there = tasks.filter(|(_, agent)| **agent == offer.agent);
                calls.extend(there.map(|(task, _)| UserCall::Kill {
                    task: task.clone(),
                    grace: None,
                }));
            }
            1 => calls.push(UserCall::DeclineInverse { offers, refuse }),
            _ => {}
        }
    }

    fn see(&mut self, event: &UserEvent) {
        let UserEvent::Update(status) = event else {
            return;
        };
        match &status.agent {
            Some(agent) if !status.state.is_terminal() => {
                self.tasks.insert(status.task.clone(), agent.clone());
            }
            Some(_) | None => {
                self.tasks.remove(&status.task);
            }
        }
    }
}

impl<L: Logic> Logic for Leaver<L> {
    fn on_event(&mut self, now: Time, event: UserEvent, calls: &mut Vec<UserCall>) {
        if let UserEvent::InverseOffers(offers) = event {
            for offer in offers {
                self.on_inverse_offer(offer, calls);
            }
            return;
        }
        self.see(&event);
        self.inner.on_event(now, event, calls);
    }

    fn tick(&mut self, now: Time, calls: &mut Vec<UserCall>) {
        self.inner.tick(now, calls);
    }

    fn deadline(&self) -> Option<Time> {
        self.inner.deadline()
    }

    fn acknowledging(&self) -> Acknowledging {
        self.inner.acknowledging()
    }
}

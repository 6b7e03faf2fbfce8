//! A scheduler that ends its framework for good while what it runs goes on: others must end it.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use crate::ids::TaskId;
use crate::protocol::task::CommandInfo;
use crate::resources::{Milli, Resources};
use crate::rng::Rng;
use crate::scheduler::{Logic, UserCall, UserEvent};
use crate::time::Time;

/// How many tasks it runs at most.
const TASKS: u64 = 4;
/// For how long it stays at most, once it is subscribed.
const STAYS: Duration = Duration::from_secs(240);
/// For how long it refuses what it does not need.
const REFUSE: Duration = Duration::from_secs(5);

/// The scheduler.
#[derive(Debug)]
pub struct Leaving {
    name: String,
    rng: Rng,
    launched: u64,
    leaves_at: Option<Time>,
}

impl Leaving {
    /// Makes a scheduler whose tasks' ids begin with `name`; the seed says when it leaves.
    pub fn new(name: impl Into<String>, seed: u64) -> Self {
        Self {
            name: name.into(),
            rng: Rng::new(seed),
            launched: 0,
            leaves_at: None,
        }
    }
}

impl Logic for Leaving {
    fn on_event(&mut self, now: Time, event: UserEvent, calls: &mut Vec<UserCall>) {
        match event {
            UserEvent::Subscribed { .. } => {
                let stays = self.rng.jitter(STAYS);
                self.leaves_at.get_or_insert(now + stays);
            }
            UserEvent::Offers(offers) => {
                for offer in &offers {
                    let needs =
                        Resources::cpus_mem(Milli::from_thousandths(100), Milli::from_units(8));
                    if self.launched >= TASKS || !offer.resources.contains(&needs) {
                        calls.push(UserCall::decline(offer, Some(REFUSE)));
                        continue;
                    }
                    self.launched += 1;
                    let text = format!("{}-{}", self.name, self.launched);
                    let id = TaskId::new(&text).expect("the name of a framework makes an id");
                    let task = offer.task(id, needs, CommandInfo::shell("sleep inf"));
                    calls.push(UserCall::launch(offer, Vec::from([task]), Some(REFUSE)));
                }
            }
            UserEvent::Disconnected
            | UserEvent::Rescinded(_)
            | UserEvent::InverseOffers(_)
            | UserEvent::InverseRescinded(_)
            | UserEvent::Update(_)
            | UserEvent::Updated
            | UserEvent::Message { .. }
            | UserEvent::ExecutorEnded { .. }
            | UserEvent::AgentLost { .. }
            | UserEvent::Operation(_)
            | UserEvent::Error { .. }
            | UserEvent::Rejected { .. } => {}
        }
    }

    fn tick(&mut self, now: Time, calls: &mut Vec<UserCall>) {
        if self.leaves_at.take_if(|at| *at <= now).is_some() {
            calls.push(UserCall::Stop);
        }
    }

    fn deadline(&self) -> Option<Time> {
        self.leaves_at
    }
}

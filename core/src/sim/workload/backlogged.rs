//! A scheduler that never has enough: of each offer it takes one task that runs for a while, gives
//! the rest back at once, and wants it again. Where the master honours demands it says that it
//! wants one at a time.
//!
//! Several of them show how what there is gets shared ([`super::super::check::fairness`]).

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use crate::demand::{Demand, Shape};
use crate::ids::TaskId;
use crate::protocol::task::CommandInfo;
use crate::resources::Resources;
use crate::roles::Role;
use crate::scheduler::{Logic, UserCall, UserEvent};
use crate::time::Time;

/// The scheduler.
#[derive(Debug)]
pub(in crate::sim) struct Backlogged {
    name: String,
    task: Resources,
    launched: u64,
}

impl Backlogged {
    /// Makes a scheduler whose tasks' ids begin with `name`, and which take as much as `task`.
    pub(in crate::sim) fn new(name: impl Into<String>, task: Resources) -> Self {
        Self {
            name: name.into(),
            task,
            launched: 0,
        }
    }

    /// Says what it wants: more than anybody has, but of that one task at a time.
    fn demand(&self) -> Demand {
        let task = self.task.total();
        let shape = Shape::new(task.clone(), u32::MAX).expect("a task takes something");
        let demand = Demand::new(Vec::from([shape])).and_then(|all| all.with_at_once(task));
        demand.expect("one shape of few names is a demand")
    }
}

impl Logic for Backlogged {
    fn on_event(&mut self, _now: Time, event: UserEvent, calls: &mut Vec<UserCall>) {
        if let UserEvent::Subscribed { .. } = event {
            let (role, demand) = (Role::any(), Some(self.demand()));
            return calls.push(UserCall::Demand { role, demand });
        }
        let UserEvent::Offers(offers) = event else {
            return;
        };
        for offer in &offers {
            if !offer.resources.contains(&self.task) {
                calls.push(UserCall::decline(offer, None));
                continue;
            }
            self.launched += 1;
            let text = format!("{}-{}", self.name, self.launched);
            let id = TaskId::new(&text).expect("the name of a framework makes an id");
            let task = offer.task(id, self.task.clone(), CommandInfo::shell("sleep 8"));
            let refuse = Some(Duration::ZERO);
            calls.push(UserCall::launch(offer, Vec::from([task]), refuse));
        }
    }
}

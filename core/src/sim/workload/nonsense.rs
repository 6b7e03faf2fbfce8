//! A scheduler that says what it should not: all of it can be written down, and none of it may harm
//! anybody else.
//!
//! It answers offers twice, launches on offers that it never had or has no more, asks for what is
//! not in them, describes tasks that nobody can run, gives a task the id of another, and kills,
//! acknowledges and asks for what never was.

use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use crate::ids::{AgentId, OfferId, TaskId, UpdateId};
use crate::protocol::offer::Offer;
use crate::protocol::status::TaskState;
use crate::protocol::task::{CommandInfo, TaskInfo};
use crate::resources::{Milli, Resources};
use crate::rng::Rng;
use crate::roles::Role;
use crate::scheduler::{Logic, UserCall, UserEvent};
use crate::time::Time;

/// How often it speaks without being asked.
const EVERY: Duration = Duration::from_secs(3);
/// How many offers it remembers that it has answered.
const REMEMBERED: usize = 20;

/// The scheduler.
#[derive(Debug)]
pub struct Nonsense {
    name: String,
    rng: Rng,
    launched: u64,
    /// The newest task that it knows to run, over this connection.
    newest: Option<TaskId>,
    /// Offers that it has answered.
    answered: VecDeque<Offer>,
    speaks_at: Option<Time>,
}

impl Nonsense {
    /// Makes a scheduler whose tasks' ids begin with `name`.
    pub fn new(name: impl Into<String>, seed: u64) -> Self {
        Self {
            name: name.into(),
            rng: Rng::new(seed),
            launched: 0,
            newest: None,
            answered: VecDeque::new(),
            speaks_at: None,
        }
    }

    fn id(&mut self) -> TaskId {
        self.launched += 1;
        let text = format!("{}-{}", self.name, self.launched);
        TaskId::new(&text).expect("the name of a framework makes an id")
    }

    /// Describes a task that could run on this offer.
    fn good(&mut self, offer: &Offer) -> TaskInfo {
        let needs = Resources::cpus_mem(Milli::from_thousandths(100), Milli::from_units(8));
        let id = self.id();
        offer.task(id, needs, CommandInfo::shell("true"))
    }

    /// Describes a task that could not.
    fn bad(&mut self, offer: &Offer) -> TaskInfo {
        let mut task = self.good(offer);
        match self.rng.below(4) {
            0 => task.command = None,
            1 => task.resources = Resources::new(),
            2 => task.resources = Resources::cpus_mem(Milli::from_units(10_000), Milli::ZERO),
            _ => task.agent = AgentId::new("nobody-S1").expect("a short name"),
        }
        task
    }

    fn on_offer(&mut self, offer: Offer, calls: &mut Vec<UserCall>) {
        let (good, bad) = (self.good(&offer), self.bad(&offer));
        let refuse = Some(Duration::from_secs(self.rng.below(5)));
        match self.rng.below(5) {
            4 => {
                // The id of a task that may run still, or have run.
                let mut task = good;
                if let Some(used) = self.newest.clone() {
                    task.id = used;
                }
                task.command = Some(CommandInfo::shell("sleep 20"));
                calls.push(UserCall::launch(&offer, vec![task], refuse));
            }
            0 => {
                let call = UserCall::launch(&offer, vec![good], refuse);
                calls.extend([call.clone(), call]);
            }
            1 => calls.push(UserCall::launch(&offer, vec![bad, good], refuse)),
            2 => {
                calls.push(UserCall::decline(&offer, refuse));
                calls.push(UserCall::launch(&offer, vec![good], refuse));
            }
            _ => calls.push(UserCall::decline(&offer, refuse)),
        }
        self.answered.push_back(offer);
        if self.answered.len() > REMEMBERED {
            self.answered.pop_front();
        }
    }

    fn speak(&mut self, calls: &mut Vec<UserCall>) {
        let task = self.id();
        let nobody = OfferId::new("nobody-O1").expect("a short name");
        let old = self.rng.below(self.answered.len().max(1) as u64) as usize;
        let old = self.answered.get(old).cloned();
        match (self.rng.below(7), old) {
            (0, _) => calls.push(UserCall::Kill { task, grace: None }),
            (1, _) => calls.push(UserCall::Decline {
                offers: vec![nobody.clone(), nobody],
                refuse: None,
            }),
            (2, Some(offer)) => calls.push(UserCall::Acknowledge {
                agent: offer.agent,
                task,
                update: UpdateId(7),
            }),
            (3, Some(mut offer)) => {
                let task = self.good(&offer);
                offer.id = nobody;
                calls.push(UserCall::launch(&offer, vec![task], None));
            }
            (4, Some(offer)) => {
                let task = self.good(&offer);
                calls.push(UserCall::launch(&offer, vec![task], None));
            }
            (5, _) => calls.push(UserCall::Reconcile {
                tasks: vec![(task.clone(), None), (task, None)],
            }),
            (_, _) => {
                let strange = Role::new("strange").expect("a short name");
                let all = Vec::new();
                calls.extend([
                    UserCall::Suppress { roles: all.clone() },
                    UserCall::Revive {
                        roles: vec![Role::any(), strange],
                    },
                    UserCall::Revive { roles: all },
                ]);
            }
        }
    }
}

impl Logic for Nonsense {
    fn on_event(&mut self, now: Time, event: UserEvent, calls: &mut Vec<UserCall>) {
        match event {
            UserEvent::Offers(offers) => {
                for offer in offers {
                    self.on_offer(offer, calls);
                }
            }
            UserEvent::Subscribed { .. } => self.speaks_at = Some(now + EVERY),
            UserEvent::Disconnected => (self.speaks_at, self.newest) = (None, None),
            UserEvent::Update(status) if status.state == TaskState::Running => {
                self.newest = Some(status.task);
            }
            UserEvent::Update(_)
            | UserEvent::Rescinded(_)
            | UserEvent::InverseOffers(_)
            | UserEvent::InverseRescinded(_)
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
        if self.speaks_at.is_some_and(|at| at <= now) {
            self.speaks_at = Some(now + EVERY);
            self.speak(calls);
        }
    }

    fn deadline(&self) -> Option<Time> {
        self.speaks_at
    }
}

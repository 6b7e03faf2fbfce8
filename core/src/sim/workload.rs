//! Schedulers for simulated frameworks: one that behaves, and two that do not.
//!
//! Used by [`super::Sim`] for its built-in frameworks, and by users to have company for their own.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use super::options::Demand;
use crate::ids::TaskId;
use crate::protocol::offer::Offer;
use crate::protocol::status::TaskState;
use crate::protocol::task::CommandInfo;
use crate::scheduler::{Logic, UserCall, UserEvent};
use crate::time::Time;

/// A task that is not heard of for so long was lost on its way to the master.
const UNHEARD: Duration = Duration::from_secs(60);
/// For how long offers are refused that are not needed.
const REFUSE: Duration = Duration::from_secs(5);

/// How far a task has come, as far as its framework knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Launched,
    Heard,
}

/// Keeps a number of tasks going, declines what it does not need, and wants no offers while it
/// needs none.
#[derive(Debug)]
pub struct Steady {
    demand: Demand,
    name: String,
    launched: u64,
    /// The tasks that have not ended.
    tasks: BTreeMap<TaskId, Progress>,
    /// When tasks were launched, oldest first, as long as it may matter.
    launches: VecDeque<(Time, TaskId)>,
    is_suppressed: bool,
}

impl Steady {
    /// Makes a scheduler whose tasks' ids begin with `name`.
    pub fn new(name: impl Into<String>, demand: Demand) -> Self {
        Self {
            demand,
            name: name.into(),
            launched: 0,
            tasks: BTreeMap::new(),
            launches: VecDeque::new(),
            is_suppressed: false,
        }
    }

    fn on_offer(&mut self, now: Time, offer: &Offer, calls: &mut Vec<UserCall>) {
        let mut rest = offer.resources.clone();
        let mut tasks = Vec::new();
        while self.tasks.len() < self.demand.tasks {
            // What is offered may be reserved, and then is not what is asked for.
            let Ok(less) = rest.checked_sub(&self.demand.task) else {
                break;
            };
            rest = less;
            self.launched += 1;
            let text = format!("{}-{}", self.name, self.launched);
            let id = TaskId::new(&text).expect("the name of a framework makes an id");
            self.tasks.insert(id.clone(), Progress::Launched);
            self.launches.push_back((now, id.clone()));
            let (resources, command) = (self.demand.task.clone(), self.demand.command.clone());
            tasks.push(offer.task(id, resources, command));
        }
        calls.push(if tasks.is_empty() {
            UserCall::decline(offer, Some(REFUSE))
        } else {
            UserCall::launch(offer, tasks, Some(REFUSE))
        });
    }

    /// Gives up tasks that were never heard of, and asks to end them wherever they are.
    fn give_up(&mut self, now: Time, calls: &mut Vec<UserCall>) {
        while let Some((at, _)) = self.launches.front() {
            if now < *at + UNHEARD {
                return;
            }
            let Some((_, task)) = self.launches.pop_front() else {
                return;
            };
            if self.tasks.get(&task) == Some(&Progress::Launched) {
                self.tasks.remove(&task);
                let grace = None;
                calls.push(UserCall::Kill { task, grace });
            }
        }
    }

    /// Says whether it wants offers, if that has changed.
    fn adjust(&mut self, calls: &mut Vec<UserCall>) {
        let is_content = self.tasks.len() >= self.demand.tasks;
        if is_content != self.is_suppressed {
            self.is_suppressed = is_content;
            calls.push(if is_content {
                UserCall::Suppress
            } else {
                UserCall::Revive
            });
        }
    }
}

impl Logic for Steady {
    fn on_event(&mut self, now: Time, event: UserEvent, calls: &mut Vec<UserCall>) {
        match event {
            UserEvent::Offers(offers) => {
                for offer in &offers {
                    self.on_offer(now, offer, calls);
                }
            }
            UserEvent::Update(status)
                if status.state.is_terminal() || status.state == TaskState::Unknown =>
            {
                self.tasks.remove(&status.task);
            }
            UserEvent::Update(status) => {
                // A task that was given up, and lives after all, counts again until it is killed.
                self.tasks.insert(status.task, Progress::Heard);
            }
            // Whoever subscribes is taken to want offers.
            UserEvent::Subscribed { .. } => self.is_suppressed = false,
            UserEvent::Disconnected | UserEvent::Rescinded(_) | UserEvent::Error(_) => {}
        }
        self.adjust(calls);
    }

    /// Without offers nothing else would remind it of tasks that were lost.
    fn tick(&mut self, now: Time, calls: &mut Vec<UserCall>) {
        self.give_up(now, calls);
        self.adjust(calls);
    }

    fn deadline(&self) -> Option<Time> {
        self.launches.front().map(|(at, _)| *at + UNHEARD)
    }
}

/// Takes every offer whole, for one task that runs for ever.
#[derive(Debug)]
pub struct Greedy {
    name: String,
    launched: u64,
}

impl Greedy {
    /// Makes a scheduler whose tasks' ids begin with `name`.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            launched: 0,
        }
    }
}

impl Logic for Greedy {
    fn on_event(&mut self, _now: Time, event: UserEvent, calls: &mut Vec<UserCall>) {
        let UserEvent::Offers(offers) = event else {
            return;
        };
        for offer in &offers {
            self.launched += 1;
            let text = format!("{}-{}", self.name, self.launched);
            let id = TaskId::new(&text).expect("the name of a framework makes an id");
            let command = CommandInfo::shell("sleep inf");
            let task = offer.task(id, offer.resources.clone(), command);
            calls.push(UserCall::launch(offer, Vec::from([task]), None));
        }
    }
}

/// Never answers an offer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Logic for Silent {
    fn on_event(&mut self, _now: Time, _event: UserEvent, _calls: &mut Vec<UserCall>) {}
}

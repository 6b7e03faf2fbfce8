//! Schedulers for simulated frameworks: one that behaves, three that do not, one that does not
//! stay, one that never has enough, and one that replays what others did; what they answer who are
//! asked to leave agents, and how late others do; and an executor.
//!
//! Used by [`super::Sim`] for its built-in frameworks, and by users to have company for their own.

mod backlogged;
mod checked;
mod executor;
mod leaver;
mod leaving;
mod nonsense;
mod replay;
mod slow;

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

pub(super) use self::backlogged::Backlogged;
pub(super) use self::executor::{Manner, Runs};
pub use self::leaver::Leaver;
pub use self::leaving::Leaving;
pub use self::nonsense::Nonsense;
pub use self::replay::Asking;
pub(super) use self::replay::{Board, Deed, Replay, Shape};
pub use self::slow::Slow;
use super::options::Demand;
use crate::ids::{ExecutorId, TaskId};
use crate::protocol::discovery::{DiscoveryInfo, DiscoveryPort, Visibility};
use crate::protocol::offer::{Offer, Operation, TaskGroup};
use crate::protocol::status::TaskState;
use crate::protocol::task::{CommandInfo, ExecutorInfo, TaskInfo};
use crate::resources::{Label, Labels, Ranges, Resource, Resources, Value};
use crate::scheduler::{Logic, UserCall, UserEvent};
use crate::time::Time;

/// For how long a task runs that has no end of its own, until it is killed.
const ENDLESS: Duration = Duration::from_secs(60);
/// For how long a task may run that has too little time, maybe.
const HURRY: Duration = Duration::from_secs(5);
/// How many tasks, or executors, there are to one that publishes something about itself.
const PUBLISHES_ONE_IN: u64 = 3;
/// For how long offers are refused that are not needed.
const REFUSE: Duration = Duration::from_secs(5);

/// How far a task has come, as far as its framework knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// Launched and not heard of yet, or unreachable.
    Silent,
    Heard,
}

/// What is published under a name: something of its own.
fn published(name: &str) -> (Labels, Option<Box<DiscoveryInfo>>) {
    let label = Label::new("of", name);
    let labels = Labels::from_unordered(Vec::from([label])).expect("a name is a good value");
    let service = DiscoveryInfo {
        name: Some(name.into()),
        ports: Vec::from([DiscoveryPort::new(80)]),
        ..DiscoveryInfo::new(Visibility::Cluster)
    };
    (labels, Some(Box::new(service)))
}

/// Keeps a number of tasks going, declines what it does not need, and wants no offers while it
/// needs none.
#[derive(Debug)]
pub struct Steady {
    demand: Demand,
    name: String,
    launched: u64,
    /// How many were seen to run.
    ran: u64,
    /// How many ended well.
    finished: u64,
    /// The tasks that have not ended.
    tasks: BTreeMap<TaskId, Progress>,
    /// Tasks that were silent for too long. They do not count, and are killed until it is known
    /// what became of them.
    given_up: BTreeSet<TaskId>,
    /// Since when tasks were silent, oldest first, as long as it may matter.
    silences: VecDeque<(Time, TaskId)>,
    /// When tasks are killed that do not end by themselves, and again as long as it is not known
    /// that they have ended; oldest first.
    endless: VecDeque<(Time, TaskId)>,
    is_suppressed: bool,
}

impl Steady {
    /// Makes a scheduler whose tasks' ids begin with `name`.
    pub fn new(name: impl Into<String>, demand: Demand) -> Self {
        Self {
            demand,
            name: name.into(),
            launched: 0,
            ran: 0,
            finished: 0,
            tasks: BTreeMap::new(),
            given_up: BTreeSet::new(),
            silences: VecDeque::new(),
            endless: VecDeque::new(),
            is_suppressed: false,
        }
    }

    fn on_offer(&mut self, now: Time, offer: &Offer, calls: &mut Vec<UserCall>) {
        let mut rest = offer.resources.clone();
        let (mut alone, mut operations) = (Vec::new(), Vec::new());
        let before = self.launched;
        let group = self.demand.group.max(1);
        while self.wants(group) {
            // What is offered may be reserved, and then is not what is asked for.
            let Some((needs, left)) = self.needs_of(&rest, group) else {
                break;
            };
            rest = left;
            let tasks = needs.into_iter().map(|needs| self.next(now, offer, needs));
            let mut tasks: Vec<TaskInfo> = tasks.collect();
            if group == 1 {
                alone.append(&mut tasks);
                continue;
            }
            let own = tasks.first_mut().and_then(|task| task.executor.take());
            tasks.iter_mut().for_each(|task| task.executor = None);
            let executor = own.unwrap_or_else(|| self.built_in());
            operations.push(Operation::LaunchGroup(TaskGroup { executor, tasks }));
        }
        if !alone.is_empty() {
            operations.push(Operation::Launch(alone));
        }
        calls.push(if operations.is_empty() {
            UserCall::decline(offer, Some(REFUSE))
        } else {
            UserCall::Accept {
                offers: Vec::from([offer.id.clone()]),
                operations,
                refuse: Some(REFUSE),
            }
        });
        for n in before + 1..=self.launched {
            if n.checked_rem(self.demand.kill_early_one_in) == Some(0) {
                let (task, grace) = (self.id(n), None);
                calls.push(UserCall::Kill { task, grace });
            }
        }
    }

    /// Returns the id of a task by its number.
    fn id(&self, n: u64) -> TaskId {
        let text = format!("{}-{n}", self.name);
        TaskId::new(&text).expect("the name of a framework makes an id")
    }

    /// Returns whether it wants so many tasks more.
    fn wants(&self, more: usize) -> bool {
        let open = self.tasks.len();
        let left = self.demand.total.map(|total| {
            let left = total.saturating_sub(self.finished);
            left.saturating_sub(open as u64)
        });
        open + more <= self.demand.tasks && left != Some(0)
    }

    /// Names and describes one more task.
    fn next(&mut self, now: Time, offer: &Offer, resources: Resources) -> TaskInfo {
        self.launched += 1;
        let id = self.id(self.launched);
        self.tasks.insert(id.clone(), Progress::Silent);
        self.silences.push_back((now, id.clone()));
        let mut command = self.demand.command.clone();
        if self.launched.checked_rem(self.demand.endless_one_in) == Some(0) {
            command = CommandInfo::shell("sleep inf");
            self.end_at(now + ENDLESS, id.clone());
        }
        let mut task = self.task(offer, id, resources, command);
        if self.launched.checked_rem(self.demand.hurried_one_in) == Some(0) {
            task.max_completion = Some(HURRY);
        }
        if self.launched.checked_rem(self.demand.checked_one_in) == Some(0) {
            checked::add_checks(&mut task, self.launched);
        }
        if self.launched.is_multiple_of(PUBLISHES_ONE_IN) {
            (task.labels, task.discovery) = published(task.id.as_str());
        }
        task
    }

    /// Picks what a group takes of what is left, task by task, and its executor. Returns it, and
    /// what is left then.
    fn needs_of(&self, rest: &Resources, group: usize) -> Option<(Vec<Resources>, Resources)> {
        let mut rest = rest.clone();
        if group > 1 {
            rest = rest.checked_sub(&group_executor()).ok()?;
        }
        let mut all = Vec::new();
        for _ in 0..group {
            let (needs, left) = self.needs(&rest)?;
            all.push(needs);
            rest = left;
        }
        Some((all, rest))
    }

    /// Describes the agent's own executor for the newest group.
    fn built_in(&self) -> ExecutorInfo {
        let name = format!("{}-group-{}", self.name, self.launched);
        let id = ExecutorId::new(&name).expect("the name of a framework makes an id");
        ExecutorInfo::built_in(id, group_executor())
    }

    /// Picks what one task takes of what is left. Returns it, and what is left then.
    fn needs(&self, rest: &Resources) -> Option<(Resources, Resources)> {
        let mut needs = self.demand.task.clone();
        if self.demand.ports > 0 {
            needs.insert(ports(rest, self.demand.ports)?).ok()?;
        }
        let mut rest = rest.checked_sub(&needs).ok()?;
        if let Some(shared) = &self.demand.executor {
            // As if none of them were there yet.
            rest = rest.checked_sub(&shared.resources).ok()?;
        }
        Some((needs, rest))
    }

    /// Describes the newest task: with a command, or of an executor that is told it.
    fn task(
        &self,
        offer: &Offer,
        id: TaskId,
        resources: Resources,
        command: CommandInfo,
    ) -> TaskInfo {
        let Some(shared) = &self.demand.executor else {
            return offer.task(id, resources, command);
        };
        let of = (self.launched - 1) / shared.tasks.get();
        let name = format!("{}-executor-{of}", self.name);
        let executor = ExecutorId::new(&name).expect("the name of a framework makes an id");
        let program = CommandInfo::shell("executor");
        let needs = if self.demand.group > 1 {
            group_executor()
        } else {
            shared.resources.clone()
        };
        let mut executor = ExecutorInfo::new(executor, needs, program);
        if of.is_multiple_of(PUBLISHES_ONE_IN) {
            (executor.labels, executor.discovery) = published(&name);
        }
        let mut task = TaskInfo::new(id, offer.agent.clone(), resources);
        task.data = command.value.into_bytes();
        task.executor = Some(executor);
        task
    }

    /// Notes that a task has not ended, and kills it if it is its turn.
    fn hear(&mut self, now: Time, task: TaskId, state: TaskState, calls: &mut Vec<UserCall>) {
        if self.given_up.contains(&task) {
            return;
        }
        if state == TaskState::Unreachable {
            self.tasks.insert(task.clone(), Progress::Silent);
            self.silences.push_back((now, task));
            return;
        }
        let before = self.tasks.insert(task.clone(), Progress::Heard);
        if before.is_none() && self.demand.endless_one_in > 0 {
            // Another scheduler of the framework has launched it, and may have meant to end it.
            self.end_at(now + ENDLESS, task.clone());
        }
        if before == Some(Progress::Heard) || state != TaskState::Running {
            return;
        }
        self.ran += 1;
        if self.ran.checked_rem(self.demand.kill_one_in) == Some(0) {
            let grace = None;
            calls.push(UserCall::Kill { task, grace });
        }
    }

    /// Gives up tasks that are silent for too long, and asks to end them wherever they are, again
    /// and again: what was asked may be lost as well.
    fn give_up(&mut self, now: Time, calls: &mut Vec<UserCall>) {
        while let Some((since, _)) = self.silences.front() {
            if now < *since + self.demand.patience {
                return;
            }
            let Some((_, task)) = self.silences.pop_front() else {
                return;
            };
            if self.tasks.get(&task) == Some(&Progress::Silent) {
                self.tasks.remove(&task);
                self.given_up.insert(task.clone());
            }
            if self.given_up.contains(&task) {
                self.silences.push_back((now, task.clone()));
                let grace = None;
                calls.push(UserCall::Kill { task, grace });
            }
        }
    }

    fn end_at(&mut self, at: Time, task: TaskId) {
        let place = self.endless.partition_point(|(other, _)| *other <= at);
        self.endless.insert(place, (at, task));
    }

    /// Ends what does not end by itself, when it is time.
    fn end_endless(&mut self, now: Time, calls: &mut Vec<UserCall>) {
        while let Some((_, task)) = self.endless.pop_front_if(|(at, _)| *at <= now) {
            if self.tasks.contains_key(&task) {
                self.end_at(now + self.demand.patience.max(ENDLESS), task.clone());
                let grace = None;
                calls.push(UserCall::Kill { task, grace });
            }
        }
    }

    /// Says whether it wants offers, if that has changed.
    fn adjust(&mut self, calls: &mut Vec<UserCall>) {
        let is_content = !self.wants(self.demand.group.max(1));
        if is_content != self.is_suppressed {
            self.is_suppressed = is_content;
            calls.push(if is_content {
                UserCall::Suppress { roles: Vec::new() }
            } else {
                UserCall::Revive { roles: Vec::new() }
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
                let is_known = self.tasks.remove(&status.task).is_some();
                self.given_up.remove(&status.task);
                let is_good = status.state == TaskState::Finished;
                self.finished += u64::from(is_known && is_good);
            }
            UserEvent::Update(status) => self.hear(now, status.task, status.state, calls),
            UserEvent::Subscribed { .. }
            | UserEvent::Disconnected
            | UserEvent::Rescinded(_)
            | UserEvent::InverseOffers(_)
            | UserEvent::InverseRescinded(_)
            | UserEvent::Operation(_)
            | UserEvent::Error { .. }
            | UserEvent::Message { .. }
            | UserEvent::ExecutorEnded { .. }
            | UserEvent::AgentLost { .. }
            | UserEvent::Rejected { .. }
            | UserEvent::Updated => {}
        }
        self.adjust(calls);
    }

    /// Without offers nothing else would remind it of tasks that were lost.
    fn tick(&mut self, now: Time, calls: &mut Vec<UserCall>) {
        self.give_up(now, calls);
        self.end_endless(now, calls);
        self.adjust(calls);
    }

    fn deadline(&self) -> Option<Time> {
        let silence = self.silences.front();
        let silence = silence.map(|(at, _)| *at + self.demand.patience);
        let endless = self.endless.front().map(|(at, _)| *at);
        silence.into_iter().chain(endless).min()
    }
}

/// What the executor of a group takes beside its tasks (TK-14).
fn group_executor() -> Resources {
    "cpus:0.01;mem:32".parse().expect("a literal that parses")
}

/// Picks the first unreserved ports of an offer, if it has so many.
fn ports(rest: &Resources, count: u64) -> Option<Resource> {
    let mut picked = Ranges::new();
    let mut missing = count;
    for entry in rest.iter().filter(|e| e.reservation_role().is_none()) {
        let Value::Ranges(ranges) = entry.value() else {
            continue;
        };
        for range in ranges.iter().filter(|_| entry.name() == "ports") {
            if missing > 0 {
                let (first, last) = range.into_inner();
                let last = last.min(first.saturating_add(missing - 1));
                picked.insert(first..=last);
                missing -= last - first + 1;
            }
        }
    }
    let resource = Resource::new("ports", Value::Ranges(picked)).ok()?;
    (missing == 0).then_some(resource)
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

//! A scheduler that changes what it is and wants: it takes roles on and leaves them, wants offers in
//! some and not in others, talks with its executors, and ends them.
//!
//! For users to have company for theirs, as those in [`super::workload`]. Often it goes on before
//! it has its answer: then what it says counts in the order in which it says it.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;

use super::chance::{Purpose, stream};
use super::options::Span;
use super::queue::Name;
use crate::demand::{Demand, Shape};
use crate::ids::{AgentId, ExecutorId, TaskId};
use crate::protocol::framework::{Capabilities, FrameworkInfo, Wishes};
use crate::protocol::offer::Offer;
use crate::protocol::refusal::CallKind;
use crate::protocol::status::{TaskState, TaskStatus};
use crate::protocol::task::{CommandInfo, ExecutorInfo, TaskInfo};
use crate::resources::{Milli, Quantities, Resources};
use crate::rng::Rng;
use crate::roles::Role;
use crate::scheduler::{Logic, UserCall, UserEvent};
use crate::time::Time;

/// How many tasks it runs at most.
const TASKS: usize = 6;
/// How long it is between two of its words.
const PAUSE: Span = Span::millis(500, 12_000);
/// The time that a short task takes, in seconds, and a long one.
const SHORT: u64 = 15;
const LONG: u64 = 90;
/// For how long it does not want what it has no use for.
const REFUSE: Duration = Duration::from_secs(2);
/// How many hours its tasks may go on without it.
const HOURS: u64 = 24;

/// It never stays as it is.
#[derive(Debug)]
pub struct Shifter {
    name: String,
    rng: Rng,
    /// Whether it is to stay as it is for now.
    stays: Arc<AtomicBool>,
    /// What it has said that it is and wants.
    info: FrameworkInfo,
    wishes: Wishes,
    /// All roles that it may have.
    roles: Vec<Role>,
    /// How many of its updates are not answered.
    unanswered: usize,
    /// Whether it has to say all of it anew, for something of it did not hold.
    is_unsure: bool,
    speaks_at: Option<Time>,
    /// How many things it has named.
    count: u64,
    /// The tasks that have not ended as far as it has heard, with their agents.
    tasks: BTreeMap<TaskId, AgentId>,
    /// Where executors of its own run as far as it knows, and in which role.
    executors: BTreeMap<(AgentId, ExecutorId), Role>,
}

/// Draws how many a cluster has, from a stream of its own.
pub(super) fn drawn(seed: u64) -> u32 {
    let mut rng = stream(seed, Purpose::Shifts, Name::Master);
    match rng.below(3) {
        0 => 1 + u32::from(rng.below(2) == 1),
        _ => 0,
    }
}

/// Lists the roles of the shifter of this number, beginning with those that it has at first.
fn roles(n: u32) -> Vec<Role> {
    let names = ["early", "late", "late/night"];
    let below = names.map(|name| format!("shift-{n}/{name}"));
    let [early, late, night] = below;
    let all = [early, late, format!("shift-{n}"), night];
    let role = |name: &String| Role::new(name).expect("a name that is a role");
    all.iter().map(role).collect()
}

impl Shifter {
    /// Makes a scheduler; the ids of what it makes begin with `name`, and `seed` decides what it
    /// says. Its framework is to be that of [`Self::info`] for the same number.
    pub fn new(name: impl Into<String>, n: u32, seed: u64) -> Self {
        Self {
            name: name.into(),
            rng: Rng::new(seed),
            stays: Arc::default(),
            info: Self::info(n),
            wishes: Wishes::default(),
            roles: roles(n),
            unanswered: 0,
            is_unsure: false,
            speaks_at: None,
            count: 0,
            tasks: BTreeMap::new(),
            executors: BTreeMap::new(),
        }
    }

    /// Has it stay as it is whenever this says so, so that others can see whether all agree on it.
    pub(super) fn while_not(self, stays: Arc<AtomicBool>) -> Self {
        Self { stays, ..self }
    }

    /// Describes the framework of this number to begin with: one of two roles.
    pub fn info(n: u32) -> FrameworkInfo {
        let mut roles = roles(n);
        roles.truncate(2);
        FrameworkInfo {
            roles,
            failover_timeout: hours(HOURS),
            ..FrameworkInfo::new(format!("shifter-{n}"))
        }
    }

    fn next(&mut self) -> String {
        self.count += 1;
        format!("{}-{}", self.name, self.count)
    }

    fn pick<T: Clone>(&mut self, all: impl ExactSizeIterator<Item = T>) -> Option<T> {
        let nth = self.rng.below(all.len().max(1) as u64);
        all.into_iter().nth(usize::try_from(nth).ok()?)
    }

    fn on_offer(&mut self, offer: &Offer, calls: &mut Vec<UserCall>) {
        let needs = Resources::cpus_mem(Milli::from_thousandths(100), Milli::from_units(8));
        // As if no executor were there yet.
        let rest = offer.resources.checked_sub(&needs).ok();
        let fits = rest.is_some_and(|rest| rest.contains(&executor_needs()));
        if self.tasks.len() >= TASKS || !fits {
            calls.push(UserCall::decline(offer, Some(REFUSE)));
            return;
        }
        let task = self.task(offer, needs);
        calls.extend(task.map(|task| UserCall::launch(offer, vec![task], Some(REFUSE))));
    }

    /// Describes one more task: of an executor that is there, of a new one, or with a command.
    fn task(&mut self, offer: &Offer, needs: Resources) -> Option<TaskInfo> {
        let id = TaskId::new(&self.next()).ok()?;
        let longest = if self.rng.chance(1, 3) { LONG } else { SHORT };
        let command = format!("sleep {}", 1 + self.rng.below(longest));
        self.tasks.insert(id.clone(), offer.agent.clone());
        if self.rng.chance(1, 5) {
            return Some(offer.task(id, needs, CommandInfo::shell(&command)));
        }
        let there = self.executors.iter();
        let fitting = |agent: &AgentId, role: &Role| *agent == offer.agent && *role == offer.role;
        let there = there.filter(|((agent, _), role)| fitting(agent, role));
        let there: Vec<ExecutorId> = there.map(|((_, id), _)| id.clone()).collect();
        let known = self
            .pick(there.iter())
            .filter(|_| !self.count.is_multiple_of(3));
        let executor = match known {
            Some(known) => known.clone(),
            None => ExecutorId::new(&format!("{}-executor-{}", self.name, self.count)).ok()?,
        };
        let key = (offer.agent.clone(), executor.clone());
        self.executors.insert(key, offer.role.clone());
        let program = CommandInfo::shell("executor");
        let mut task = TaskInfo::new(id, offer.agent.clone(), needs);
        task.data = command.into_bytes();
        task.executor = Some(ExecutorInfo::new(executor, executor_needs(), program));
        Some(task)
    }

    fn on_update(&mut self, status: TaskStatus) {
        let is_over = status.state.is_terminal() || status.state == TaskState::Unknown;
        match status.agent.filter(|_| !is_over) {
            Some(agent) => self.tasks.insert(status.task, agent),
            None => self.tasks.remove(&status.task),
        };
    }

    /// Says one thing or another.
    fn speak(&mut self, calls: &mut Vec<UserCall>) {
        let stays = self.stays.load(Ordering::Relaxed);
        if self.is_unsure && !stays {
            self.is_unsure = false;
            return self.update(calls);
        }
        match self.rng.below(12) {
            0..=5 if stays => {}
            0..=3 => self.change(calls),
            4..=5 => self.wish(calls),
            6..=8 => self.message(calls),
            9 => self.end_executor(calls),
            10 => {
                let tasks = self.tasks.iter();
                let tasks = tasks.map(|(task, agent)| (task.clone(), Some(agent.clone())));
                let tasks = tasks.filter(|_| self.count.is_multiple_of(2)).collect();
                calls.push(UserCall::Reconcile { tasks });
            }
            _ => {
                let task = self.tasks.keys().cloned().collect::<Vec<_>>();
                let task = self.pick(task.into_iter());
                calls.extend(task.map(|task| UserCall::Kill { task, grace: None }));
            }
        }
    }

    /// Says what it is and wants by now.
    fn update(&mut self, calls: &mut Vec<UserCall>) {
        self.unanswered += 1;
        calls.push(UserCall::Update {
            framework: self.info.clone(),
            wishes: self.wishes.clone(),
        });
    }

    /// Becomes another, and often wants something as that before it has its answer.
    fn change(&mut self, calls: &mut Vec<UserCall>) {
        if self.rng.chance(1, 8) {
            // What is turned down changes nothing of what comes before or after it.
            let mut framework = self.info.clone();
            framework.user = Some("somebody".into());
            let wishes = Wishes::default();
            calls.push(UserCall::Update { framework, wishes });
            self.unanswered += 1;
        }
        for _ in 0..1 + self.rng.below(4) / 3 {
            self.become_other();
            self.update(calls);
            for _ in 0..self.rng.below(3) {
                self.wish(calls);
            }
        }
    }

    fn become_other(&mut self) {
        match self.rng.below(6) {
            0..=2 => {
                let others = self.roles.iter();
                let others = others.filter(|role| !self.info.roles.contains(role));
                let others: Vec<Role> = others.cloned().collect();
                let more = self.pick(others.into_iter());
                self.info.roles.extend(more);
            }
            3 if self.info.roles.len() > 1 => {
                let roles = self.info.roles.clone();
                let left = self.pick(roles.into_iter());
                self.info.roles.retain(|role| Some(role) != left.as_ref());
                self.wishes
                    .suppressed
                    .retain(|role| Some(role) != left.as_ref());
                self.wishes
                    .demands
                    .retain(|role, _| Some(role) != left.as_ref());
            }
            4 => {
                self.info.name = format!("{} {}", self.name, self.count);
                self.info.failover_timeout = hours(1 + self.rng.below(HOURS));
            }
            _ => {
                let can = [
                    Capabilities::default(),
                    Capabilities::REGIONS,
                    Capabilities::TASK_KILLING,
                ];
                let [usual, regions, killing] = can;
                self.info.capabilities = match self.rng.below(3) {
                    0 => usual,
                    1 => usual | regions,
                    _ => usual | killing,
                };
            }
        }
        let all: BTreeSet<Role> = self.info.roles.iter().cloned().collect();
        self.wishes.suppressed = match self.rng.below(4) {
            0 => BTreeSet::new(),
            1 => all.into_iter().skip(1).collect(),
            _ => return,
        };
    }

    /// Says of one of its roles, or of all, what it wants there.
    fn wish(&mut self, calls: &mut Vec<UserCall>) {
        let roles = self.info.roles.clone();
        let Some(role) = self.pick(roles.into_iter()) else {
            return;
        };
        let is_all = self.rng.chance(1, 6);
        let roles = if is_all {
            Vec::new()
        } else {
            vec![role.clone()]
        };
        let meant = if is_all { &self.info.roles } else { &roles };
        match self.rng.below(5) {
            0..=1 => {
                self.wishes.suppressed.extend(meant.iter().cloned());
                calls.push(UserCall::Suppress { roles });
            }
            2..=3 => {
                self.wishes.suppressed.retain(|role| !meant.contains(role));
                calls.push(UserCall::Revive { roles });
            }
            _ => {
                let demand = demand(self.rng.below(5));
                match &demand {
                    Some(demand) => self.wishes.demands.insert(role.clone(), demand.clone()),
                    None => self.wishes.demands.remove(&role),
                };
                calls.push(UserCall::Demand { role, demand });
            }
        }
    }

    fn message(&mut self, calls: &mut Vec<UserCall>) {
        let all: Vec<_> = self.executors.keys().cloned().collect();
        for _ in 0..1 + self.rng.below(3) {
            let Some((agent, executor)) = self.pick(all.iter().cloned()) else {
                return;
            };
            let data = self.next().into_bytes();
            calls.push(UserCall::Message {
                agent,
                executor,
                data,
            });
        }
    }

    fn end_executor(&mut self, calls: &mut Vec<UserCall>) {
        let all: Vec<_> = self.executors.keys().cloned().collect();
        if let Some((agent, executor)) = self.pick(all.into_iter()) {
            calls.push(UserCall::ShutdownExecutor { agent, executor });
        }
    }
}

const fn hours(n: u64) -> Duration {
    Duration::from_secs(n * 3600)
}

/// What an executor takes beside its tasks.
fn executor_needs() -> Resources {
    "mem:16".parse().expect("a literal that parses")
}

/// A demand for so many tasks; none is for anything.
fn demand(tasks: u64) -> Option<Demand> {
    let tasks = u32::try_from(tasks).ok().filter(|tasks| *tasks > 0)?;
    let each = Quantities::parse("cpus:0.1;mem:24").ok()?;
    let shape = Shape::new(each, tasks).ok()?;
    Demand::new(vec![shape]).ok()
}

impl Logic for Shifter {
    fn on_event(&mut self, now: Time, event: UserEvent, calls: &mut Vec<UserCall>) {
        match event {
            UserEvent::Offers(offers) => {
                for offer in &offers {
                    self.on_offer(offer, calls);
                }
            }
            UserEvent::Update(status) => self.on_update(status),
            UserEvent::Subscribed { .. } => {
                self.speaks_at = Some(now + PAUSE.draw(&mut self.rng));
            }
            UserEvent::Disconnected => {
                self.is_unsure |= self.unanswered > 0;
                (self.unanswered, self.speaks_at) = (0, None);
            }
            UserEvent::Updated => self.unanswered = self.unanswered.saturating_sub(1),
            UserEvent::Rejected { call, .. } => match call {
                CallKind::Update => {
                    self.unanswered = self.unanswered.saturating_sub(1);
                    self.is_unsure = true;
                }
                CallKind::Suppress | CallKind::Revive | CallKind::Demand => self.is_unsure = true,
                CallKind::Subscribe
                | CallKind::Teardown
                | CallKind::Accept
                | CallKind::Decline
                | CallKind::Kill
                | CallKind::Acknowledge
                | CallKind::AcknowledgeOperation
                | CallKind::Reconcile
                | CallKind::ReconcileOperations
                | CallKind::Message
                | CallKind::ShutdownExecutor
                | CallKind::AcceptInverse
                | CallKind::DeclineInverse => {}
            },
            UserEvent::ExecutorEnded(end) => {
                self.executors.remove(&(end.agent, end.executor));
            }
            UserEvent::AgentLost { agent, .. } => {
                self.executors.retain(|(on, _), _| *on != agent);
            }
            UserEvent::Message(_)
            | UserEvent::Rescinded(_)
            | UserEvent::InverseOffers(_)
            | UserEvent::InverseRescinded(_)
            | UserEvent::Operation(_)
            | UserEvent::Error { .. } => {}
        }
    }

    fn tick(&mut self, now: Time, calls: &mut Vec<UserCall>) {
        if self.speaks_at.is_some_and(|at| at <= now) {
            self.speaks_at = Some(now + PAUSE.draw(&mut self.rng));
            self.speak(calls);
        }
    }

    fn deadline(&self) -> Option<Time> {
        self.speaks_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::{Checking, Faults, Options, Sim};

    fn sim(seed: u64, faults: Faults) -> Sim {
        let machine = Resources::parse("cpus:4;mem:1024").unwrap();
        let mut options = Options::new(seed, 3, 1, machine);
        options.checking = Checking::USUAL;
        options.shifters = 2;
        options.faults = faults;
        Sim::new(options)
    }

    #[test]
    fn it_has_several_roles_runs_tasks_and_talks() {
        // FW-51, FW-53
        let mut sim = sim(1, Faults::none());
        let mut names = BTreeSet::new();
        for _ in 0..300 {
            sim.run_for(Duration::from_secs(1));
            let rows = sim.master().unwrap().view().frameworks();
            names.extend(rows.iter().map(|row| format!("{:?}", row.info.roles)));
        }
        assert!(names.len() > 6, "{names:?}");
        let report = sim.report();
        assert!(report.tasks.finished > 20, "{report:?}");
        let (said, heard) = sim.messages();
        assert!(said > 40 && heard > 40, "{said}, {heard}");
        sim.expect_converged();
    }

    #[test]
    fn all_agree_on_what_it_is_whatever_goes_wrong() {
        // FW-28, FW-53, OF-37, I21
        for seed in 0..40 {
            let mut sim = sim(seed, Faults::drawn(seed));
            sim.run_for(Duration::from_secs(600));
            sim.heal();
            sim.expect_converged();
        }
    }
}

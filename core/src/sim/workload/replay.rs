//! A scheduler that replays one user's part of a trace: jobs come when they came, and each task
//! runs for as long as it did.
//!
//! Used by [`super::super::trace`], one for each user. It takes what fits, the job that waits
//! longest first, and asks for offers only while something waits. What it does not need it declines
//! for long: it is offered again when more of that agent is free, or when it asks anew because a
//! job came that needs something else. It asks once a second at most, as one that has many jobs
//! does: each time, all that is free may be offered to it. Or it says how much it wants, each time
//! that this has become more.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::mem::{replace, take};
use core::time::Duration;

use crate::constraints::{Constraints, Subject};
use crate::demand::{self, Demand};
use crate::ids::TaskId;
use crate::limits;
use crate::protocol::offer::Offer;
use crate::protocol::status::{TaskState, TaskStatus};
use crate::protocol::task::{CommandInfo, TaskInfo};
use crate::resources::Resources;
use crate::roles::Role;
use crate::scheduler::{Logic, UserCall, UserEvent};
use crate::sim::trace::Job;
use crate::time::Time;

/// How often it asks at most.
const ASKING: Duration = Duration::from_secs(1);
/// For how long offers are refused that nothing fits: about for ever.
const REFUSE: Duration = Duration::from_secs(24 * 3600);

/// How the schedulers of a trace ask for something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Asking {
    /// For any offers, and for none while nothing waits.
    #[default]
    Offers,
    /// For what waits, by shapes and counts. The allocator has to honour that.
    Demands,
}

/// Tasks of one kind that wait for a place.
#[derive(Debug)]
pub(in crate::sim) struct Shape {
    pub(in crate::sim) needs: Resources,
    constraints: Option<Constraints>,
    /// The jobs that wait, and how many tasks of each; oldest first.
    waiting: VecDeque<(usize, u32)>,
    /// For how many it has asked that have not got a place; by offers, for any.
    asked: u64,
}

impl Shape {
    /// Returns how many wait.
    fn count(&self) -> u64 {
        let each = self.waiting.iter().map(|(_, tasks)| u64::from(*tasks));
        each.sum()
    }

    /// Returns whether a task fits here.
    pub(in crate::sim) fn fits(&self, agent: &Subject<'_>) -> bool {
        agent.offered.contains(&self.needs)
            && self.constraints.as_ref().is_none_or(|it| it.admits(agent))
    }
}

/// What a user does that tells how fairly it is treated. Kinds of tasks go by their numbers.
#[derive(Debug)]
pub(in crate::sim) enum Deed {
    /// It asks for offers from now on, and tasks of this kind wait for some.
    Asked(usize),
    /// It does not ask for this kind any more: all that it asked for have places, or nobody hears
    /// it.
    Withdrew(usize),
    /// It started tasks of these kinds in what it was offered, in this order.
    Took(Box<Offer>, Vec<usize>),
    /// A task of this kind is over.
    Ended(usize),
}

/// How a user's tasks fare.
#[derive(Debug, Default)]
pub(in crate::sim) struct Board {
    pub(in crate::sim) shapes: Vec<Shape>,
    /// The shapes that wait, by the job that waits longest.
    order: BTreeMap<usize, usize>,
    /// How long tasks waited that have run.
    pub(in crate::sim) waits: Vec<Duration>,
    /// How many tasks wait for a place.
    pub(in crate::sim) waiting: u64,
    /// Since when something has waited all the time.
    pub(in crate::sim) backlogged_since: Option<Time>,
    /// How many have one, and do not run yet.
    pub(in crate::sim) starting: u64,
    /// How many tasks have not come.
    pub(in crate::sim) to_come: u64,
    /// How many tasks ended as they should not have, and were started again.
    pub(in crate::sim) again: u64,
}

impl Board {
    /// Visits what waits.
    pub(in crate::sim) fn waiting(&self) -> impl Iterator<Item = &Shape> + '_ {
        self.order.values().map(|shape| &self.shapes[*shape])
    }

    /// Returns what waits, the job that waits longest first, as far as a demand may name it.
    fn demand(&self) -> Demand {
        let shapes = self.waiting().take(limits::SHAPES).filter_map(|shape| {
            let count = u32::try_from(shape.count()).unwrap_or(u32::MAX);
            demand::Shape::new(shape.needs.total(), count).ok()
        });
        Demand::new(shapes.collect()).expect("there are not too many")
    }

    /// Adds tasks of a job to those that wait. Returns whether none of their kind waited.
    fn add(&mut self, shape: usize, job: usize, tasks: u32) -> bool {
        self.waiting += u64::from(tasks);
        let waiting = &mut self.shapes[shape].waiting;
        let first = waiting.front().map(|(first, _)| *first);
        match waiting.binary_search_by_key(&job, |(job, _)| *job) {
            Ok(at) => waiting[at].1 += tasks,
            Err(at) => waiting.insert(at, (job, tasks)),
        }
        if first.is_none_or(|first| job < first) {
            if let Some(first) = first {
                self.order.remove(&first);
            }
            self.order.insert(job, shape);
        }
        first.is_none()
    }

    /// Takes the task of a shape that waits longest.
    fn take(&mut self, shape: usize) -> Option<usize> {
        let waiting = &mut self.shapes[shape].waiting;
        let (job, tasks) = waiting.front_mut()?;
        let job = *job;
        *tasks -= 1;
        self.waiting -= 1;
        if *tasks == 0 {
            waiting.pop_front();
            self.order.remove(&job);
            if let Some((next, _)) = waiting.front() {
                self.order.insert(*next, shape);
            }
        }
        Some(job)
    }
}

/// A task that was launched.
#[derive(Clone, Copy, Debug)]
struct Launched {
    job: usize,
    runs: bool,
}

/// The scheduler.
#[derive(Debug)]
pub(in crate::sim) struct Replay {
    user: String,
    /// The jobs in order of arrival, each with its shape.
    jobs: Vec<(Job, usize)>,
    next: usize,
    launched: u64,
    tasks: BTreeMap<TaskId, Launched>,
    board: Board,
    /// What it did since somebody asked.
    deeds: Vec<(Time, Deed)>,
    asking: Asking,
    role: Role,
    is_subscribed: bool,
    is_suppressed: bool,
    /// Whether it has something to ask for that it has not said.
    is_behind: bool,
    /// When it may ask again.
    next_ask: Time,
}

impl Replay {
    /// Makes the scheduler of a user, whose jobs stand in order of arrival.
    pub(in crate::sim) fn new(role: Role, asking: Asking, jobs: Vec<Job>) -> Self {
        let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
        let mut shapes = Vec::new();
        let with_shapes = jobs.into_iter().map(|job| {
            let kind = format!("{} {:?}", job.needs, job.constraints);
            let shape = *kinds.entry(kind).or_insert_with(|| {
                shapes.push(Shape {
                    needs: job.needs.clone(),
                    constraints: job.constraints.clone(),
                    waiting: VecDeque::new(),
                    asked: 0,
                });
                shapes.len() - 1
            });
            (job, shape)
        });
        let jobs: Vec<(Job, usize)> = with_shapes.collect();
        let board = Board {
            shapes,
            to_come: jobs.iter().map(|(job, _)| u64::from(job.tasks)).sum(),
            ..Board::default()
        };
        Self {
            user: role.as_str().into(),
            jobs,
            next: 0,
            launched: 0,
            tasks: BTreeMap::new(),
            board,
            deeds: Vec::new(),
            asking,
            role,
            is_subscribed: false,
            is_suppressed: false,
            is_behind: true,
            next_ask: Time::ZERO,
        }
    }

    /// Says how the user's tasks fare.
    pub(in crate::sim) fn board(&self) -> &Board {
        &self.board
    }

    /// Takes what it did since this was asked before.
    pub(in crate::sim) fn take_deeds(&mut self) -> Vec<(Time, Deed)> {
        take(&mut self.deeds)
    }

    /// Lets jobs come whose time it is.
    fn arrive(&mut self, now: Time) {
        let board = &mut self.board;
        while let Some((job, shape)) = self.jobs.get(self.next)
            && Time::ZERO + job.at <= now
        {
            board.to_come -= u64::from(job.tasks);
            let is_new = board.add(*shape, self.next, job.tasks);
            self.is_behind |= is_new || self.asking == Asking::Demands;
            self.next += 1;
        }
    }

    fn on_offer(&mut self, now: Time, offer: &Offer, calls: &mut Vec<UserCall>) {
        let mut rest = offer.resources.clone();
        let mut tasks: Vec<TaskInfo> = Vec::new();
        let mut kinds = Vec::new();
        let mut after = 0;
        // Each kind in turn, by who waits longest; a job that has no room does not hold up others.
        while let Some((job, shape)) = self.board.order.range(after..).next() {
            let (job, shape) = (*job, *shape);
            after = job + 1;
            let before = tasks.len();
            while tasks.len() < limits::TASKS_PER_ACCEPT {
                let subject = Subject {
                    hostname: &offer.hostname,
                    attributes: &offer.attributes,
                    region: None,
                    zone: None,
                    total: &offer.resources,
                    offered: &rest,
                };
                if !self.board.shapes[shape].fits(&subject) {
                    break;
                }
                let needs = self.board.shapes[shape].needs.clone();
                let left = rest.checked_sub(&needs);
                let (Ok(left), Some(job)) = (left, self.board.take(shape)) else {
                    break;
                };
                rest = left;
                self.board.starting += 1;
                kinds.push(shape);
                tasks.push(self.launch(job, offer, needs));
            }
            let got = tasks.len() - before;
            self.settle(now, shape, got as u64);
            if rest.is_empty() {
                break;
            }
        }
        calls.push(if tasks.is_empty() {
            UserCall::decline(offer, Some(REFUSE))
        } else {
            let took = Deed::Took(Box::new(offer.clone()), kinds);
            self.deeds.push((now, took));
            UserCall::launch(offer, tasks, Some(REFUSE))
        });
    }

    /// Writes down that it asks for all that waits: it said so, or all is offered to who is new.
    fn ask(&mut self, now: Time) {
        if !self.is_subscribed {
            return;
        }
        for kind in self.board.order.values() {
            let shape = &mut self.board.shapes[*kind];
            let count = match self.asking {
                Asking::Offers => u64::MAX,
                Asking::Demands => shape.count(),
            };
            if replace(&mut shape.asked, count) == 0 {
                self.deeds.push((now, Deed::Asked(*kind)));
            }
        }
    }

    /// Writes down that so many of a kind got places, if no more were asked for or wait.
    fn settle(&mut self, now: Time, kind: usize, got: u64) {
        let shape = &mut self.board.shapes[kind];
        let asked = shape.asked;
        let is_over = shape.waiting.is_empty();
        shape.asked = if is_over {
            0
        } else {
            asked.saturating_sub(got)
        };
        if asked > 0 && shape.asked == 0 {
            self.deeds.push((now, Deed::Withdrew(kind)));
        }
    }

    fn launch(&mut self, job: usize, offer: &Offer, needs: Resources) -> TaskInfo {
        self.launched += 1;
        let text = format!("{}-{}", self.user, self.launched);
        let id = TaskId::new(&text).expect("the name of a user makes an id");
        let runs = false;
        self.tasks.insert(id.clone(), Launched { job, runs });
        let lasts = self.jobs[job].0.lasts;
        let (secs, micros) = (lasts.as_secs(), lasts.subsec_micros());
        let command = CommandInfo::shell(format!("sleep {secs}.{micros:06}"));
        offer.task(id, needs, command)
    }

    fn on_update(&mut self, now: Time, status: &TaskStatus) {
        let Some(task) = self.tasks.get_mut(&status.task) else {
            return;
        };
        let board = &mut self.board;
        let job = task.job;
        let began = matches!(status.state, TaskState::Running | TaskState::Finished);
        if began && !replace(&mut task.runs, true) {
            board.starting -= 1;
            let waited = now.since(Time::ZERO + self.jobs[job].0.at);
            board.waits.push(waited);
        }
        if !status.state.is_terminal() {
            return;
        }
        let runs = task.runs;
        self.tasks.remove(&status.task);
        let kind = self.jobs[job].1;
        self.deeds.push((now, Deed::Ended(kind)));
        if status.state == TaskState::Finished {
            return;
        }
        if !runs {
            board.starting -= 1;
        }
        board.again += 1;
        let is_new = board.add(kind, job, 1);
        self.is_behind |= is_new || self.asking == Asking::Demands;
    }

    /// Says whether it wants offers, and what it wants, if that has changed.
    fn adjust(&mut self, now: Time, calls: &mut Vec<UserCall>) {
        if self.board.waiting == 0 {
            self.board.backlogged_since = None;
            // What it has asked for and not got, it does not need any more.
            self.is_behind = false;
            if !replace(&mut self.is_suppressed, true) {
                calls.push(UserCall::Suppress { roles: Vec::new() });
            }
            return;
        }
        self.board.backlogged_since.get_or_insert(now);
        self.is_behind |= self.is_suppressed;
        if !self.is_behind || now < self.next_ask {
            return;
        }
        (self.is_behind, self.is_suppressed) = (false, false);
        self.next_ask = now + ASKING;
        if self.asking == Asking::Demands {
            calls.push(UserCall::Demand {
                role: self.role.clone(),
                demand: Some(self.board.demand()),
            });
        }
        calls.push(UserCall::Revive { roles: Vec::new() });
        self.ask(now);
    }
}

impl Logic for Replay {
    fn on_event(&mut self, now: Time, event: UserEvent, calls: &mut Vec<UserCall>) {
        self.arrive(now);
        match event {
            UserEvent::Offers(offers) => {
                for offer in &offers {
                    self.on_offer(now, offer, calls);
                }
            }
            UserEvent::Update(status) => self.on_update(now, &status),
            UserEvent::Subscribed { .. } => {
                self.is_subscribed = true;
                if !self.is_behind {
                    self.ask(now);
                }
            }
            UserEvent::Disconnected => {
                self.is_subscribed = false;
                for kind in 0..self.board.shapes.len() {
                    self.settle(now, kind, u64::MAX);
                }
            }
            UserEvent::Rescinded(_)
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
        self.adjust(now, calls);
    }

    fn tick(&mut self, now: Time, calls: &mut Vec<UserCall>) {
        self.arrive(now);
        self.adjust(now, calls);
    }

    fn deadline(&self) -> Option<Time> {
        let next = self.jobs.get(self.next);
        let asks = (self.is_behind && self.board.waiting > 0).then_some(self.next_ask);
        let comes = next.map(|(job, _)| Time::ZERO + job.at);
        asks.into_iter().chain(comes).min()
    }
}

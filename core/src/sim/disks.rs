//! A simulated provider of disks: it takes its time, fails now and then, and does nothing twice.
//!
//! One for each agent, and it outlives the agent's crashes, as the store behind a real one does. It
//! goes by the ids of jobs, and keeps account of the disks that there are: a job that is asked for
//! again after nobody would ask for it, or a disk that is taken back twice, breaks a property. Now
//! and then it makes something else than what it was asked for, which has to be taken back.
//! Deliberately not here: what the agent makes of it ([`super::check::disks`]).

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;

use super::node::Shared;
use super::options::Span;
use super::queue::Event;
use crate::protocol::disk::{
    DiskChange, DiskCommand, DiskEvent, DiskJobId, DiskOutcome, DiskTarget,
};
use crate::resources::operations::{Formatted, MadeDisk, Returned};
use crate::resources::{Labels, Resource};
use crate::rng::Rng;
use crate::time::Time;

/// How long a disk takes.
const WORK: Span = Span::millis(10, 20_000);
/// The time between what happens and when the agent hears of it.
const TELL: Span = Span::millis(1, 5);
/// One job in so many fails.
const FAILS_ONE_IN: u64 = 6;
/// One disk in so many is not what was asked for.
const WRONG_ONE_IN: u64 = 8;

#[derive(Debug)]
enum State {
    Busy(DiskChange),
    Done(DiskOutcome),
}

/// The provider of one agent.
#[derive(Debug)]
pub(super) struct Provider {
    agent: u32,
    rng: Rng,
    jobs: BTreeMap<DiskJobId, State>,
    /// The jobs that nobody would ask for any more.
    forgotten: BTreeSet<DiskJobId>,
    /// The disks that there are, by what they are called, and the jobs that made them.
    disks: BTreeMap<Arc<str>, DiskJobId>,
    made: u64,
    /// The life of the agent that listens, if one does.
    listener: Option<u32>,
    /// The agent hears things in order.
    told: Time,
    violation: Option<String>,
}

impl Provider {
    pub(super) fn new(agent: u32, rng: Rng) -> Self {
        Self {
            agent,
            rng,
            jobs: BTreeMap::new(),
            forgotten: BTreeSet::new(),
            disks: BTreeMap::new(),
            made: 0,
            listener: None,
            told: Time::ZERO,
            violation: None,
        }
    }

    /// Lets a life of the agent hear of everything from now on; `None` is nobody.
    pub(super) fn listen(&mut self, life: Option<u32>) {
        self.listener = life;
    }

    /// Visits the disks that there are, each with the job that made it.
    pub(super) fn disks(&self) -> impl Iterator<Item = (&str, &DiskJobId)> + '_ {
        self.disks.iter().map(|(name, job)| (&**name, job))
    }

    /// Returns the first thing that nobody should have asked for.
    pub(super) fn violation(&self) -> Option<&str> {
        self.violation.as_deref()
    }

    pub(super) fn command(&mut self, command: DiskCommand, shared: &mut Shared) {
        match command {
            DiskCommand::Do { job, change } => self.begin(job, change, shared),
            DiskCommand::Forget { job } => {
                self.jobs.remove(&job);
                self.forgotten.insert(job);
            }
            DiskCommand::Undo { job } => self.undo(job, shared),
            DiskCommand::Recover { agent, known } => {
                let known = BTreeSet::from_iter(known);
                let (jobs, forgotten) = (&mut self.jobs, &mut self.forgotten);
                jobs.retain(|job, _| {
                    let is_known = job.agent != agent || known.contains(job);
                    if !is_known {
                        forgotten.insert(job.clone());
                    }
                    is_known
                });
            }
        }
    }

    fn begin(&mut self, job: DiskJobId, change: DiskChange, shared: &mut Shared) {
        match self.jobs.get(&job) {
            Some(State::Busy(_)) => {}
            Some(State::Done(outcome)) => {
                let outcome = outcome.clone();
                self.tell(job, outcome, shared);
            }
            None if self.forgotten.contains(&job) => {
                self.broken(|| format!("{job} is asked for, and was over"));
            }
            None => {
                let agent = self.agent;
                self.jobs.insert(job.clone(), State::Busy(change));
                let at = shared.now + WORK.draw(&mut self.rng);
                shared.queue.plan(at, Event::Disk { agent, job });
            }
        }
    }

    /// Takes back what a job made, or calls it off.
    fn undo(&mut self, job: DiskJobId, shared: &mut Shared) {
        if self.forgotten.contains(&job) {
            self.broken(|| format!("{job} is to be undone, and was over"));
            return;
        }
        self.disks.retain(|_, made_by| *made_by != job);
        let outcome = DiskOutcome::Failed("it was undone".into());
        self.jobs.insert(job.clone(), State::Done(outcome.clone()));
        self.tell(job, outcome, shared);
    }

    /// Ends a job, unless nobody wants it any more.
    pub(super) fn end(&mut self, job: DiskJobId, shared: &mut Shared) {
        let Some(State::Busy(change)) = self.jobs.get(&job) else {
            return;
        };
        let change = change.clone();
        let outcome = if self.rng.chance(1, FAILS_ONE_IN) {
            DiskOutcome::Failed("the store is out of order".into())
        } else {
            self.carry_out(&job, &change)
        };
        self.jobs.insert(job.clone(), State::Done(outcome.clone()));
        self.tell(job, outcome, shared);
    }

    fn carry_out(&mut self, job: &DiskJobId, change: &DiskChange) -> DiskOutcome {
        match change {
            DiskChange::Create { target, .. } => {
                self.made += 1;
                let name: Arc<str> = Arc::from(format!("disk-{}-{}", self.agent, self.made));
                self.disks.insert(Arc::clone(&name), job.clone());
                let is_mount = *target == DiskTarget::Mount;
                // A provider with a fault makes the other one: that nobody gets.
                let is_wrong = self.rng.chance(1, WRONG_ONE_IN);
                let formatted = if is_mount == is_wrong {
                    Formatted::Block
                } else {
                    Formatted::Mount {
                        root: Some(Arc::from(format!("/mnt/{name}"))),
                    }
                };
                DiskOutcome::Made(MadeDisk {
                    formatted,
                    id: Some(name),
                    metadata: Labels::new(),
                })
            }
            DiskChange::Destroy { source } => {
                let name = disk_of(source);
                let was_there = name.is_some_and(|name| self.disks.remove(name).is_some());
                if !was_there {
                    self.broken(|| format!("{job} takes {source} back, which is not there"));
                }
                DiskOutcome::Returned(Returned::ToPool)
            }
        }
    }

    fn tell(&mut self, job: DiskJobId, outcome: DiskOutcome, shared: &mut Shared) {
        let Some(life) = self.listener else {
            return;
        };
        let at = shared.now + TELL.draw(&mut self.rng);
        self.told = at.max(self.told);
        let agent = self.agent;
        let event = DiskEvent { job, outcome };
        let told = Event::DiskTold { agent, life, event };
        shared.queue.plan(self.told, told);
    }

    fn broken(&mut self, problem: impl FnOnce() -> String) {
        self.violation.get_or_insert_with(problem);
    }
}

/// Returns what the provider calls a disk.
pub(super) fn disk_of(resource: &Resource) -> Option<&str> {
    resource.metadata().source.as_ref()?.id.as_deref()
}

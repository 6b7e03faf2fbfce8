//! What must hold of an agent between any two inputs, recomputed from scratch.
//!
//! Run after every input in tests and in the simulator; never in the hot loop.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;

use super::checks::Aim;
use super::registration::Link;
use super::tasks::{Placement, Task, UPDATES_PER_TASK};
use super::updates::Stream;
use super::{Agent, Number, Timer};
use crate::protocol::wire::size;
use crate::time::Time;

/// A broken invariant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("broken invariant: {0}")]
pub struct Violation(String);

fn ensure(holds: bool, text: impl FnOnce() -> String) -> Result<(), Violation> {
    if holds {
        Ok(())
    } else {
        Err(Violation(text()))
    }
}

impl Agent {
    /// Checks all that must hold between any two inputs.
    pub fn check(&self) -> Result<(), Violation> {
        self.check_names()?;
        self.check_streams()?;
        self.check_total()?;
        self.check_containers()?;
        self.check_trials()?;
        self.check_timers()
    }

    fn check_names(&self) -> Result<(), Violation> {
        let state = &self.state;
        let mut named = BTreeSet::new();
        for (id, framework) in state.frameworks() {
            ensure(framework.info.id.as_ref() == Some(id), || {
                format!("{id} is named otherwise")
            })?;
            let used = !framework.tasks.is_empty() || !framework.executors.is_empty();
            ensure(used, || format!("{id} is kept for nothing"))?;
            for (task, number) in &framework.tasks {
                let row = state.task(*number);
                let right = row.is_some_and(|t| t.info().id == *task && t.framework() == id);
                ensure(right, || format!("task {task} of {id} is not {number:?}"))?;
                named.insert(*number);
            }
            for (executor, number) in &framework.executors {
                let row = state.executor(*number);
                let right = row.is_some_and(|e| e.info().id == *executor && e.framework() == id);
                ensure(right, || {
                    format!("executor {executor} of {id} is not {number:?}")
                })?;
                named.insert(*number);
            }
        }
        let kept = state.tasks().keys().chain(state.executors().keys());
        ensure(kept.clone().all(|number| *number < state.next()), || {
            "a number to come".into()
        })?;
        ensure(kept.copied().collect::<BTreeSet<_>>() == named, || {
            "a row without name".into()
        })
    }

    fn check_streams(&self) -> Result<(), Violation> {
        for (number, task) in self.state.tasks() {
            let stream = task.unacknowledged();
            let ids: BTreeSet<_> = stream.iter().map(|status| status.update).collect();
            let named = ids.len() == stream.len() && !ids.contains(&None);
            ensure(named, || {
                format!("updates of {number:?} without an id of their own")
            })?;
            let bounded = stream.len() <= UPDATES_PER_TASK + 1;
            ensure(bounded, || format!("too many updates of {number:?}"))?;
            let newest = stream
                .back()
                .is_none_or(|status| status.state == task.state());
            ensure(newest, || format!("{number:?} is not in its newest state"))?;
            let over = stream
                .iter()
                .rev()
                .skip(1)
                .any(|status| status.state.is_terminal());
            ensure(!over, || format!("news of {number:?} after its end"))?;
            let told = !task.state().is_terminal() || !stream.is_empty();
            ensure(told, || format!("{number:?} is kept though all is said"))?;
            let quiet = !self.state.is_ended(task.framework()) || stream.is_empty();
            ensure(quiet, || {
                format!("news of {number:?} for an ended framework")
            })?;
            let flies = self.link.joined().is_some() && !stream.is_empty();
            let flight = self.flights.contains_key(&Stream::Task(*number));
            ensure(flies == flight, || {
                format!("the oldest update of {number:?} is not sent")
            })?;
        }
        let bytes: usize = self.state.said().values().map(size).sum();
        ensure(bytes == self.state.said_bytes(), || {
            format!("{bytes} bytes of news about operations")
        })?;
        ensure(self.state.volumes().adds_up(), || {
            "other bytes of destroyed volumes than there are".into()
        })?;
        for (number, said) in self.state.said() {
            let is_told = *number <= self.state.converted().last && said.status.update.is_some();
            ensure(is_told, || format!("operation {number} is not done"))?;
            let flight = self.flights.contains_key(&Stream::Operation(*number));
            ensure(self.link.joined().is_some() == flight, || {
                format!("the news about operation {number} is not sent")
            })?;
        }
        for (number, job) in self.state.jobs() {
            ensure(*number <= self.state.converted().last, || {
                format!("disk {number} was not begun")
            })?;
            let flies = self.link.joined().is_some() && job.outcome.is_some();
            let flight = self.flights.contains_key(&Stream::Disk(*number));
            ensure(flies == flight, || {
                format!("what came of disk {number} is not sent")
            })?;
        }
        let all = self.flights.keys().all(|stream| match stream {
            Stream::Task(number) => self.state.task(*number).is_some(),
            Stream::Operation(number) => self.state.said().contains_key(number),
            Stream::Disk(number) => self.state.jobs().contains_key(number),
        });
        ensure(all, || "news in flight of nothing".into())
    }

    /// What it has is what operations have made of its description, unless that cannot be.
    fn check_total(&self) -> Result<(), Violation> {
        let total = self.state.converted().total(&self.config.info.resources);
        let is_right = match total {
            Ok(total) => total == self.total,
            Err(_) => self.link == Link::Stopped,
        };
        ensure(is_right, || "its total is not what was made of it".into())
    }

    fn check_containers(&self) -> Result<(), Violation> {
        let live = |placement, over: bool| placement == Placement::Own && !over;
        let tasks = self.state.tasks().iter();
        let mut owners: BTreeSet<Number> = tasks
            .filter(|(_, t)| live(t.placement(), t.state().is_terminal()))
            .map(|(number, _)| *number)
            .collect();
        owners.extend(self.state.executors().keys());
        let containers: BTreeSet<Number> = self.containers.iter().map(|(n, _)| n).collect();
        ensure(owners == containers, || {
            format!("{owners:?} have containers {containers:?}")
        })?;
        let sessions: BTreeSet<Number> = self.sessions.iter().map(|(n, _)| n).collect();
        let executors: BTreeSet<Number> = self.state.executors().keys().copied().collect();
        ensure(sessions == executors, || {
            format!("{executors:?} have sessions {sessions:?}")
        })?;
        for (number, task) in self.state.tasks() {
            let Placement::Executor(executor) = task.placement() else {
                continue;
            };
            let served = task.state().is_terminal() || executors.contains(&executor);
            ensure(served, || format!("{number:?} outlives its executor"))?;
        }
        for (executor, row) in self.state.executors() {
            let placed = Placement::Executor(*executor);
            let tasks = self.state.tasks().iter();
            let own = tasks.filter(|(_, task)| task.placement() == placed);
            ensure(own.map(|(number, _)| number).eq(row.tasks()), || {
                format!("{executor:?} is listed with other tasks")
            })?;
        }
        for (number, session) in self.sessions.iter() {
            let mut own = session
                .delivered()
                .iter()
                .map(|task| self.state.task(*task));
            let placed = Placement::Executor(number);
            let right = own.all(|task| task.is_some_and(|t| t.placement() == placed));
            ensure(right, || format!("{number:?} was handed another's task"))?;
            let has_room = session.limits() == self.executor_limits(number).as_ref();
            ensure(has_room || !self.is_resized(number), || {
                format!("{number:?} has other limits than its tasks")
            })?;
            let known = |peer| self.sessions.of_peer(peer) == Some(number);
            ensure(session.peer().is_none_or(known), || {
                format!("{number:?} listens nowhere")
            })?;
        }
        Ok(())
    }

    /// Just those tasks are looked at that are to be: not before they run, nor once they are to
    /// end.
    fn check_trials(&self) -> Result<(), Violation> {
        let tasks = self.state.tasks().iter();
        let wanted = tasks.filter(|(number, _)| self.is_checked(**number));
        let wanted = wanted.flat_map(|(number, task)| {
            let aims = Aim::ALL.into_iter();
            let aims = aims.filter(|aim| aim.of(task.info()).is_some());
            aims.map(|aim| (*number, aim))
        });
        let wanted: BTreeSet<(Number, Aim)> = wanted.collect();
        let trials: BTreeSet<(Number, Aim)> = self.trials.iter().map(|(key, _)| key).collect();
        ensure(wanted == trials, || {
            format!("{trials:?} are looked at, and not {wanted:?}")
        })
    }

    fn check_timers(&self) -> Result<(), Violation> {
        let mut timers = self.timers.clone();
        let mut expect = |at: Time, timer: Timer| {
            ensure(timers.disarm(at, timer), || {
                format!("{timer:?} is not armed for {at}")
            })
        };
        match self.link {
            Link::Joining { next_at, .. } => expect(next_at, Timer::Register)?,
            Link::Joined { dead_at, .. } => expect(dead_at, Timer::Silence)?,
            Link::Away | Link::Recovering(_) | Link::Stopped => {}
        }
        if let Some(at) = self.drain.due {
            expect(at, Timer::Drain)?;
        }
        for (stream, flight) in &self.flights {
            expect(flight.resend_at, Timer::Resend(*stream))?;
        }
        for (number, phase) in self.containers.iter() {
            if let Some(at) = phase.due() {
                expect(at, Timer::Container(number))?;
            }
        }
        for (number, session) in self.sessions.iter() {
            if let Some(at) = session.subscribe_by() {
                expect(at, Timer::Subscribe(number))?;
            }
        }
        for (number, task) in self.state.tasks() {
            let is_bound = task.completes_by().is_some();
            let is_watched = self.run_outs.contains_key(number);
            let is_right = is_bound == is_watched || (is_bound && !self.is_heard_of(*number));
            ensure(is_right, || format!("{number:?} may run for ever"))?;
        }
        for (task, at) in &self.run_outs {
            expect(*at, Timer::RunOut(*task))?;
        }
        for ((task, aim), trial) in self.trials.iter() {
            if let Some(at) = trial.due() {
                expect(at, Timer::Trial(task, aim))?;
            }
        }
        for (task, watch) in &self.watches {
            let row = self.state.task(*task);
            let by_executor = |t: &Task| matches!(t.placement(), Placement::Executor(_));
            let live = row.is_some_and(|t| by_executor(t) && !t.state().is_terminal());
            ensure(live, || format!("{task:?} is watched for nothing"))?;
            if let Some(at) = watch.word.and_then(|word| word.at) {
                expect(at, Timer::Word(*task))?;
            }
            if let Some(at) = watch.end {
                expect(at, Timer::Overdue(*task))?;
            }
            let waits = watch.word.is_some() || watch.end.is_some();
            ensure(waits, || format!("{task:?} owes nothing"))?;
        }
        ensure(timers.is_empty(), || "a timer that nobody waits for".into())
    }
}

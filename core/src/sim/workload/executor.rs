//! An executor for simulated containers: it runs tasks for as long as they say, and some of its
//! kind have a vice.
//!
//! Used by [`super::super::executors`]. What a task runs stands in its data, in the words that a
//! simulated container understands.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::vec::Vec;
use core::time::Duration;

use crate::executor::{Logic, Report, UserCall, UserEvent};
use crate::ids::TaskId;
use crate::protocol::status::{Exit, TaskState};
use crate::protocol::task::TaskInfo;
use crate::resources::Milli;
use crate::rng::Rng;
use crate::sim::command::parse;
use crate::sim::options::Span;
use crate::time::Time;

/// The time that a task takes to end when it is asked to.
const END: Span = Span::millis(0, 50);
/// How long an executor lives on after the first end of a task, if it dies of that: about as long
/// as its agent takes to write it down.
const LAST: Span = Span::millis(0, 500);

/// How long one takes to speak that is slow to.
const SPEAKS: Span = Span::secs(1, 120);
/// How much longer tasks take of one that is silent: it is to be given up before.
const SILENT: Duration = Duration::from_secs(600);

/// How an executor behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sim) enum Manner {
    /// As it should.
    Steady,
    /// It does not end tasks that it is asked to end.
    Deaf,
    /// It never speaks.
    Mute,
    /// It dies with the word that a task is over.
    DiesBeforeAck,
    /// It dies about when its agent has taken in that a task is over.
    DiesAfterAck,
    /// It takes long to say that a task runs.
    SlowToSpeak,
    /// It says nothing of tasks but that they have ended, and they take long.
    Silent,
}

impl Manner {
    /// Draws what is wrong with one that misbehaves.
    pub(in crate::sim) fn odd(rng: &mut Rng) -> Self {
        match rng.below(6) {
            0 => Self::Deaf,
            1 => Self::Mute,
            2 => Self::DiesBeforeAck,
            3 => Self::SlowToSpeak,
            4 => Self::Silent,
            _ => Self::DiesAfterAck,
        }
    }
}

/// A task that runs.
#[derive(Debug)]
struct Running {
    /// How many were started up to this one.
    start: u32,
    cpus: Milli,
    /// When it says that the task runs, if it has not yet.
    speaks_at: Option<Time>,
    ends_at: Time,
    ends: TaskState,
    code: i32,
}

/// The executor.
#[derive(Debug)]
pub(in crate::sim) struct Runs {
    manner: Manner,
    /// How long a task takes that does not say it.
    run: Span,
    rng: Rng,
    tasks: BTreeMap<TaskId, Running>,
    started: u32,
    dies_at: Option<Time>,
    /// What it was told, and has said itself, since somebody asked, and which it was.
    words: Vec<(bool, Vec<u8>)>,
}

impl Runs {
    pub(in crate::sim) fn new(manner: Manner, run: Span, rng: Rng) -> Self {
        Self {
            manner,
            run,
            rng,
            tasks: BTreeMap::new(),
            started: 0,
            dies_at: None,
            words: Vec::new(),
        }
    }

    /// Takes what it has said to its framework, and heard, since this was asked before; each with
    /// whether it was said.
    pub(in crate::sim) fn take_words(&mut self) -> Vec<(bool, Vec<u8>)> {
        core::mem::take(&mut self.words)
    }

    /// Answers its framework, in words that nobody else says.
    fn answer(&mut self, data: Vec<u8>, calls: &mut Vec<UserCall>) {
        let answer = [b"heard: ", data.as_slice()].concat();
        self.words.push((false, data));
        self.words.push((true, answer.clone()));
        calls.push(UserCall::Message(answer));
    }

    /// Lists the tasks that run, each with a number that no other start has.
    pub(in crate::sim) fn tasks(&self) -> impl Iterator<Item = (&TaskId, u32)> + '_ {
        self.tasks.iter().map(|(id, task)| (id, task.start))
    }

    /// Returns the cores that they use.
    pub(in crate::sim) fn cpus(&self) -> Milli {
        let each = self.tasks.values().map(|task| task.cpus);
        each.fold(Milli::ZERO, Milli::saturating_add)
    }

    fn launch(&mut self, now: Time, info: &TaskInfo, calls: &mut Vec<UserCall>) {
        let command = core::str::from_utf8(&info.data).unwrap_or_default();
        let (after, code) = parse(command);
        let after = after.unwrap_or_else(|| self.run.draw(&mut self.rng));
        self.started += 1;
        let mut more = Duration::ZERO;
        let speaks_at = match self.manner {
            Manner::SlowToSpeak => Some(now + SPEAKS.draw(&mut self.rng)),
            Manner::Silent => {
                more = SILENT;
                Some(Time::MAX)
            }
            Manner::Steady
            | Manner::Deaf
            | Manner::Mute
            | Manner::DiesBeforeAck
            | Manner::DiesAfterAck => None,
        };
        let running = Running {
            start: self.started,
            cpus: info.resources.cpus(),
            speaks_at,
            ends_at: now + after.saturating_add(more),
            ends: if code == 0 {
                TaskState::Finished
            } else {
                TaskState::Failed
            },
            code,
        };
        self.tasks.insert(info.id.clone(), running);
        if speaks_at.is_none() {
            let report = Report::new(info.id.clone(), TaskState::Running);
            calls.push(UserCall::Update(report));
        }
    }

    /// Says of tasks that they run, late.
    fn speak(&mut self, now: Time, calls: &mut Vec<UserCall>) {
        for (id, task) in &mut self.tasks {
            if task.speaks_at.take_if(|at| *at <= now).is_some() {
                let report = Report::new(id.clone(), TaskState::Running);
                calls.push(UserCall::Update(report));
            }
        }
    }

    /// Ends a task early, if it listens.
    fn end(&mut self, now: Time, within: Duration, task: &TaskId) {
        if self.manner == Manner::Deaf {
            return;
        }
        let after = END.draw(&mut self.rng).min(within);
        if let Some(running) = self.tasks.get_mut(task) {
            running.ends_at = running.ends_at.min(now + after);
            running.ends = TaskState::Killed;
        }
    }
}

impl Logic for Runs {
    fn on_event(&mut self, now: Time, event: UserEvent, calls: &mut Vec<UserCall>) {
        match event {
            UserEvent::Launch(info) => self.launch(now, &info, calls),
            UserEvent::LaunchGroup(tasks) => {
                for info in &tasks {
                    self.launch(now, info, calls);
                }
            }
            UserEvent::Kill { task, grace } => self.end(now, grace, &task),
            UserEvent::Shutdown => {
                let tasks: Vec<TaskId> = self.tasks.keys().cloned().collect();
                for task in &tasks {
                    self.end(now, Duration::MAX, task);
                }
            }
            UserEvent::Message(data) => self.answer(data, calls),
            UserEvent::Subscribed { .. } | UserEvent::Disconnected | UserEvent::Error(_) => {}
        }
    }

    fn tick(&mut self, now: Time, calls: &mut Vec<UserCall>) {
        if self.dies_at.is_some_and(|at| at <= now) {
            calls.push(UserCall::Stop);
            return;
        }
        self.speak(now, calls);
        let over = |task: &Running| task.ends_at <= now;
        let ended: Vec<TaskId> = self
            .tasks
            .iter()
            .filter(|(_, task)| over(task))
            .map(|(id, _)| id.clone())
            .collect();
        for id in ended {
            let Some(task) = self.tasks.remove(&id) else {
                continue;
            };
            let mut report = Report::new(id, task.ends);
            if task.ends == TaskState::Failed {
                report.message = format!("it ended with exit code {}", task.code);
                report.exit = Some(Exit::Code(task.code));
            }
            calls.push(UserCall::Update(report));
            match self.manner {
                Manner::DiesBeforeAck => {
                    calls.push(UserCall::Stop);
                    return;
                }
                Manner::DiesAfterAck => {
                    let dies_at = now + LAST.draw(&mut self.rng);
                    self.dies_at.get_or_insert(dies_at);
                }
                Manner::Steady
                | Manner::Deaf
                | Manner::Mute
                | Manner::SlowToSpeak
                | Manner::Silent => {}
            }
        }
    }

    fn deadline(&self) -> Option<Time> {
        let ends = self.tasks.values().map(|task| task.ends_at);
        let words = self.tasks.values().filter_map(|task| task.speaks_at);
        ends.chain(words)
            .chain(self.dies_at)
            .min()
            .filter(|at| *at != Time::MAX)
    }
}

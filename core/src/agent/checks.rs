//! Checks of the tasks that the agent runs itself: whether they are healthy (TK-95, TK-97), and
//! what else their frameworks want to know of them (TK-98).
//!
//! They begin when a task runs, also when an agent that has restarted finds it running (TK-100),
//! and are over as soon as its end is asked for. The agent decides when something is tried; the
//! containerizer makes the single try, and need not answer: the agent gives it up itself. Tries do
//! not wait for the disk, so a disk that stalls makes nobody unhealthy.
//!
//! What was found out is remembered with the task, as far as it was reported. How often in a row
//! a health check has failed is not: it begins anew with each life of the agent, which has not
//! looked in between. The grace goes on from when the task was first known to run. Deliberately
//! not here: what an outcome says (`protocol::check`), and how a task is ended (`kills`).

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;

use super::containers::Phase;
use super::records::Number;
use super::tasks::Placement;
use super::updates::News;
use super::{Agent, Cx, Effect, Timer};
use crate::ids::ContainerId;
use crate::mutant::{Mutant, planted};
use crate::protocol::check::{Probe, ProbeOutcome, Rhythm};
use crate::protocol::container::ContainerCommand;
use crate::protocol::status::{Observed, Reason, Source, TaskState};
use crate::protocol::task::TaskInfo;
use crate::protocol::wire::cut_text;
use crate::time::Time;

/// What a task is looked at for. Both go on side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Aim {
    /// Something that its framework wants to know.
    Status,
    /// Whether it is healthy.
    Health,
}

impl Aim {
    pub(super) const ALL: [Self; 2] = [Self::Status, Self::Health];

    /// Returns what is tried of a task for this, and when, if anything is.
    pub(super) fn of(self, task: &TaskInfo) -> Option<(&Probe, Rhythm)> {
        match self {
            Self::Status => {
                let check = task.check.as_ref()?;
                Some((&check.probe, check.rhythm))
            }
            Self::Health => {
                let check = task.health_check.as_ref()?;
                Some((&check.probe, check.rhythm))
            }
        }
    }
}

/// How far one check of a task is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Trial {
    /// The number of the try that is under way; `None` while the next is waited for.
    under_way: Option<u64>,
    /// When the next begins, or this one is given up; `None` is never.
    due: Option<Time>,
    /// How often in a row a health check has failed.
    failures: u32,
}

impl Trial {
    pub(super) fn due(self) -> Option<Time> {
        self.due
    }
}

/// The checks that go on in this life of the agent.
#[derive(Debug, Default)]
pub(super) struct Trials {
    rows: BTreeMap<(Number, Aim), Trial>,
    /// How many tries there were.
    count: u64,
}

impl Trials {
    pub(super) fn iter(&self) -> impl Iterator<Item = ((Number, Aim), Trial)> + '_ {
        self.rows.iter().map(|(key, trial)| (*key, *trial))
    }

    fn get(&self, task: Number, aim: Aim) -> Option<Trial> {
        self.rows.get(&(task, aim)).copied()
    }

    /// Finds what a try was for that is under way.
    fn find(&self, task: Number, number: u64) -> Option<Aim> {
        let is_it = |aim: &Aim| self.get(task, *aim).and_then(|it| it.under_way) == Some(number);
        Aim::ALL.into_iter().find(is_it)
    }
}

impl Cx<'_> {
    /// Orders something of a try. It says nothing that is not known outside, for the container
    /// was heard to run.
    fn try_now(&mut self, command: ContainerCommand) {
        self.out.emit_free(Effect::Container(command));
    }
}

impl Agent {
    /// Returns whether a task is looked at, if it has a check at all: it runs, by the agent itself,
    /// and nobody has asked for its end.
    pub(super) fn is_checked(&self, task: Number) -> bool {
        let runs = self.containers.phase(task) == Some(Phase::Running);
        let row = self.state.task(task).filter(|_| runs);
        row.is_some_and(|row| {
            let is_own = row.placement() == Placement::Own;
            is_own && row.state() == TaskState::Running && row.grace().is_none()
        })
    }

    /// Begins to look at a task, if it has a check.
    pub(super) fn begin_checks(&mut self, cx: &Cx<'_>, task: Number) {
        if !self.is_checked(task) {
            return;
        }
        for aim in Aim::ALL {
            let row = self.state.task(task);
            let Some((info, since)) = row.map(|row| (row.info(), row.running_since())) else {
                return;
            };
            if let Some((_, rhythm)) = aim.of(info) {
                let first = since.unwrap_or(cx.now) + rhythm.delay;
                let trial = Trial {
                    due: Some(first.max(cx.now)),
                    ..Trial::default()
                };
                self.set_trial(task, aim, trial);
            }
        }
    }

    /// Looks at a task no more.
    pub(super) fn end_checks(&mut self, cx: &mut Cx<'_>, task: Number) {
        for aim in Aim::ALL {
            let Some(trial) = self.trials.rows.remove(&(task, aim)) else {
                continue;
            };
            if let Some(at) = trial.due {
                self.timers.disarm(at, Timer::Trial(task, aim));
            }
            if let Some(number) = trial.under_way {
                let id = task.container();
                cx.try_now(ContainerCommand::Unprobe { id, number });
            }
        }
    }

    /// Moves a check on, with its timer.
    fn set_trial(&mut self, task: Number, aim: Aim, trial: Trial) {
        let before = self.trials.rows.insert((task, aim), trial);
        if let Some(at) = before.and_then(Trial::due) {
            self.timers.disarm(at, Timer::Trial(task, aim));
        }
        if let Some(at) = trial.due {
            self.timers.arm(at, Timer::Trial(task, aim));
        }
    }

    /// The next try is due, or the one under way takes too long.
    pub(super) fn on_trial_due(&mut self, cx: &mut Cx<'_>, task: Number, aim: Aim) {
        let Some(trial) = self.trials.get(task, aim) else {
            return;
        };
        match trial.under_way {
            Some(number) => {
                let id = task.container();
                cx.try_now(ContainerCommand::Unprobe { id, number });
                self.on_tried(cx, task, aim, &ProbeOutcome::TimedOut);
            }
            None => self.begin_try(cx, task, aim, trial),
        }
    }

    fn begin_try(&mut self, cx: &mut Cx<'_>, task: Number, aim: Aim, trial: Trial) {
        let row = self.state.task(task);
        let Some((probe, rhythm)) = row.and_then(|row| aim.of(row.info())) else {
            return;
        };
        let timeout = Some(rhythm.timeout).filter(|timeout| !timeout.is_zero());
        let probe = probe.clone();
        self.trials.count += 1;
        let number = self.trials.count;
        let trial = Trial {
            under_way: Some(number),
            due: timeout.map(|timeout| cx.now + timeout),
            ..trial
        };
        self.set_trial(task, aim, trial);
        cx.try_now(ContainerCommand::Probe {
            id: task.container(),
            number,
            probe,
            timeout,
        });
    }

    /// The containerizer says what came of a try.
    pub(super) fn on_probed(
        &mut self,
        cx: &mut Cx<'_>,
        id: &ContainerId,
        number: u64,
        outcome: &ProbeOutcome,
    ) {
        let task = Number::of_container(id);
        let tried = task.and_then(|task| Some((task, self.trials.find(task, number)?)));
        match tried {
            Some((task, aim)) => self.on_tried(cx, task, aim, outcome),
            None => tracing::debug!(%id, number, "tried, but given up: ignored"),
        }
    }

    /// A try is over. The next is planned before anything follows from this one, for that may be
    /// the end of all.
    fn on_tried(&mut self, cx: &mut Cx<'_>, task: Number, aim: Aim, outcome: &ProbeOutcome) {
        let (Some(row), Some(trial)) = (self.state.task(task), self.trials.get(task, aim)) else {
            return;
        };
        let Some((_, rhythm)) = aim.of(row.info()) else {
            return;
        };
        let trial = Trial {
            under_way: None,
            due: Some(cx.now + rhythm.interval),
            ..trial
        };
        self.set_trial(task, aim, trial);
        match aim {
            Aim::Status => self.on_status(cx, task, outcome),
            Aim::Health => self.on_health(cx, task, trial, outcome),
        }
    }

    /// A check has found something out: that is news if it was not known.
    fn on_status(&mut self, cx: &mut Cx<'_>, task: Number, outcome: &ProbeOutcome) {
        let row = self.state.task(task);
        let Some((row, check)) = row.and_then(|row| Some((row, row.info().check.as_ref()?))) else {
            return;
        };
        let before = row.observed().cloned().unwrap_or_default();
        let check = Some(check.probe.status(outcome));
        if before.check != check {
            let found = Observed { check, ..before };
            let why = format!("its check: {outcome}");
            self.report_found(cx, task, found, (Reason::TaskCheckStatusUpdated, why));
        }
    }

    /// A health check did well, which is news the first time and after a failure; or not, which is
    /// news each time, and the end of the task if it comes too often in a row.
    fn on_health(&mut self, cx: &mut Cx<'_>, task: Number, trial: Trial, outcome: &ProbeOutcome) {
        let row = self.state.task(task);
        let row = row.and_then(|row| Some((row, row.info().health_check.as_ref()?)));
        let Some((row, check)) = row else {
            return;
        };
        let before = row.observed().cloned().unwrap_or_default();
        let is_good = check.probe.succeeds(outcome);
        let grace = row.running_since().unwrap_or(cx.now) + check.grace;
        if !is_good && before.healthy.is_none() && cx.now < grace {
            tracing::debug!(?task, %outcome, "not healthy yet");
            return;
        }
        let most = check.consecutive_failures;
        let failures = if is_good && !planted(Mutant::FailuresKept) {
            0
        } else {
            trial.failures.saturating_add(1)
        };
        self.set_trial(task, Aim::Health, Trial { failures, ..trial });
        if is_good && before.healthy == Some(true) {
            return;
        }
        let why = match is_good {
            true => String::from("it is healthy"),
            false => format!("its health check failed, {failures} of {most} in a row: {outcome}"),
        };
        let healthy = Some(is_good);
        let found = Observed { healthy, ..before };
        let reason = Reason::TaskHealthCheckStatusUpdated;
        self.report_found(cx, task, found, (reason, why.clone()));
        if !is_good && failures >= most {
            self.on_unhealthy(cx, task, cut_text(why));
        }
    }

    fn report_found(
        &mut self,
        cx: &mut Cx<'_>,
        task: Number,
        found: Observed,
        (reason, why): (Reason, String),
    ) {
        let news = News::new(TaskState::Running, Source::Executor);
        let mut news = news.because(reason, why);
        news.observed = Some(found);
        self.report(cx, task, news);
    }
}

//! What becomes of containers, and what that means for tasks (AG-34, AG-36).
//!
//! Deliberately not here: the orders ([`super::on_master`]).

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::IpAddr;

use super::containers::Phase;
use super::executors::Ending;
use super::records::Number;
use super::recovery::Recovery;
use super::tasks::{Placement, Task};
use super::updates::News;
use super::{Agent, AgentRecord, Cx, Timer};
use crate::ids::ContainerId;
use crate::mutant::{Mutant, planted};
use crate::protocol::container::{ContainerCommand, ContainerEvent};
use crate::protocol::hello::CloseReason;
use crate::protocol::status::{Breach, Exit, Limited, Observed, Reason, Source, TaskState};

/// How a container came to its end.
#[derive(Clone, Debug)]
pub(super) enum End {
    /// It never started.
    LaunchFailed(String),
    /// It was ended for it took too long to start; whether it ever ran is not known.
    Stuck(String),
    /// It ended, and this is how.
    Exited(Exit, Option<Breach>),
    /// It is gone, and nobody knows how.
    Lost,
}

impl Agent {
    pub(super) fn on_container(&mut self, cx: &mut Cx<'_>, event: ContainerEvent) {
        match event {
            ContainerEvent::Started {
                id,
                pid: _,
                addresses,
            } => self.on_started(cx, &id, &addresses),
            ContainerEvent::LaunchFailed { id, message } => {
                self.on_ended(cx, &id, &End::LaunchFailed(message));
            }
            ContainerEvent::Exited { id, exit, breach } => {
                self.on_ended(cx, &id, &End::Exited(exit, breach));
            }
            ContainerEvent::Lost { id } => self.on_ended(cx, &id, &End::Lost),
            ContainerEvent::Recovered => self.on_recovered(cx),
            ContainerEvent::ResizeFailed { id, message } => {
                self.on_resize_failed(cx, &id, &message);
            }
            ContainerEvent::Probed {
                id,
                number,
                outcome,
            } => self.on_probed(cx, &id, number, &outcome),
        }
    }

    fn on_started(&mut self, cx: &mut Cx<'_>, id: &ContainerId, addresses: &[IpAddr]) {
        let number = Number::of_container(id);
        let phase = number.and_then(|number| self.containers.phase(number));
        let (Some(number), Some(Phase::Launching(_))) = (number, phase) else {
            tracing::debug!(%id, "started, but not awaited");
            if phase.is_none() {
                // It was given up: nobody would ever end it.
                cx.container(ContainerCommand::Destroy { id: id.clone() });
            }
            return;
        };
        if self.recovery == Recovery::Rebooted {
            tracing::warn!(%id, "said to run, but the machine was restarted: destroyed");
            cx.container(ContainerCommand::Destroy { id: id.clone() });
            self.on_ended(cx, id, &End::Lost);
            return;
        }
        self.set_phase(number, Phase::Running);
        self.watch_time(cx, number);
        let Some(task) = self.state.task(number) else {
            self.on_executor_started(cx, number);
            return;
        };
        match task.grace() {
            Some(_) if task.is_silent() && planted(Mutant::KillBeforeStartLost) => {}
            // Killed before it ran: it gets no time (TK-83).
            Some(_) if task.is_silent() => self.destroy(cx, number),
            Some(_) if planted(Mutant::KillLostAtRestart) => {}
            // The agent restarted while it was ending. The signal may not have been sent.
            Some(grace) => self.end_container(cx, number, grace),
            None if task.is_silent() => {
                let mut news = News::new(TaskState::Running, Source::Executor);
                news.observed = at(task, addresses);
                self.report(cx, number, news);
            }
            // It ran before the agent restarted, and was reported.
            None => {}
        }
        self.begin_checks(cx, number);
    }

    /// Takes in the end of a container, whatever it was.
    pub(super) fn on_ended(&mut self, cx: &mut Cx<'_>, id: &ContainerId, end: &End) {
        let number = Number::of_container(id);
        let Some((number, phase)) = number.and_then(|n| Some((n, self.containers.remove(n)?)))
        else {
            tracing::debug!(%id, "ended, but not awaited: ignored");
            return;
        };
        if let Some(at) = phase.due() {
            self.timers.disarm(at, Timer::Container(number));
        }
        self.end_checks(cx, number);
        let stuck = self.stuck(phase);
        let end = stuck.as_ref().unwrap_or(end);
        let Some(task) = self.state.task(number) else {
            self.on_executor_ended(cx, number, end);
            return;
        };
        let news = own_end(task, end, self.recovery);
        self.end_with(cx, number, news.state);
        self.report(cx, number, news);
    }

    fn on_executor_ended(&mut self, cx: &mut Cx<'_>, executor: Number, end: &End) {
        let recovery = self.recovery;
        let (session, peers) = self
            .sessions
            .remove(executor)
            .expect("an executor has a session as long as it has a container");
        for peer in peers {
            let reason = "the executor's container has ended";
            cx.disconnect(peer, CloseReason::ShuttingDown, reason);
        }
        if let Some(at) = session.subscribe_by() {
            self.timers.disarm(at, Timer::Subscribe(executor));
        }
        let live: Vec<(Number, News)> = self
            .state
            .tasks_of(executor)
            .filter(|(_, task)| !task.state().is_terminal())
            .map(|(number, task)| {
                let news = executor_end(task, end, recovery, session.ending());
                (number, news)
            })
            .collect();
        for (number, news) in live {
            self.report(cx, number, news);
        }
        let exit = match end {
            End::Exited(exit, _) => Some(*exit),
            End::LaunchFailed(_) | End::Stuck(_) | End::Lost => None,
        };
        if let Some(row) = self.state.executor(executor) {
            let name = (row.framework().clone(), row.info().id.clone());
            self.tell_executor_ended(cx, name, exit);
        }
        self.persist(cx, AgentRecord::ExecutorEnded { executor });
        let id = executor.container();
        cx.container(ContainerCommand::Forget { id });
    }
}

/// Returns what is known of a task whose container has these addresses, if it has any.
fn at(task: &Task, addresses: &[IpAddr]) -> Option<Observed> {
    let before = || task.observed().cloned().unwrap_or_default();
    (!addresses.is_empty()).then(|| Observed {
        addresses: addresses.iter().map(ToString::to_string).collect(),
        ..before()
    })
}

/// Says what the end of a task's own container means for it.
fn own_end(task: &Task, end: &End, recovery: Recovery) -> News {
    debug_assert_eq!(task.placement(), Placement::Own);
    let killed = task.grace().is_some();
    if task.is_overtime() {
        return ran_out_news(task, end, Source::Executor);
    }
    if let Some(why) = task.unhealthy() {
        let news = News::new(TaskState::Failed, Source::Executor);
        let news = news.because(Reason::TaskHealthCheckStatusUpdated, why); // TK-97
        return with_exit(news, end);
    }
    match end {
        End::Exited(exit, breach) => {
            let mut news = if killed {
                killed_news(task, Source::Executor)
            } else if let Some(breach) = breach {
                breach_news(*breach, Source::Executor)
            } else if exit.is_success() {
                News::new(TaskState::Finished, Source::Executor)
            } else {
                let message = format!("the command ended with {exit}");
                News::new(TaskState::Failed, Source::Executor)
                    .because(Reason::CommandFailed, message)
            };
            news.exit = Some(*exit);
            news.breach = *breach;
            news
        }
        End::LaunchFailed(_) | End::Stuck(_) | End::Lost if killed => {
            killed_news(task, Source::Agent)
        }
        End::LaunchFailed(message) => launch_failed_news(task, message, recovery),
        End::Stuck(message) => stuck_news(task, message, recovery),
        End::Lost => lost_news(task, recovery),
    }
}

/// Says what the end of an executor means for a task of it.
fn executor_end(task: &Task, end: &End, recovery: Recovery, ending: Option<&Ending>) -> News {
    if task.is_overtime() {
        return ran_out_news(task, end, Source::Agent);
    }
    if task.grace().is_some() {
        return killed_news(task, Source::Agent); // AG-36
    }
    match end {
        // Of what is being ended a breach is no news: what is torn down may look like one.
        End::Exited(exit, Some(breach)) if ending.is_none() => {
            let mut news = breach_news(*breach, Source::Agent);
            (news.exit, news.breach) = (Some(*exit), Some(*breach));
            news
        }
        End::Exited(exit, breach) => {
            let (reason, message) = match ending {
                Some(Ending { reason, why }) => (*reason, format!("the executor was ended: {why}")),
                None => {
                    let message = format!("the executor ended with {exit}");
                    (Reason::ExecutorTerminated, message)
                }
            };
            let is_gone = [
                Reason::ExecutorReregistrationTimeout, // TK-46
                Reason::ContainerUpdateFailed,         // AG-35
            ];
            let state = if is_gone.contains(&reason) {
                TaskState::Gone
            } else {
                TaskState::Failed // TK-45, TK-47
            };
            let mut news = News::new(state, Source::Agent).because(reason, message);
            (news.exit, news.breach) = (Some(*exit), *breach);
            news
        }
        End::LaunchFailed(message) => launch_failed_news(task, message, recovery),
        End::Stuck(message) => stuck_news(task, message, recovery),
        End::Lost => lost_news(task, recovery),
    }
}

/// Says that a task was ended for it ran as long as it may (TK-44).
fn ran_out_news(task: &Task, end: &End, source: Source) -> News {
    let most = task.info().max_completion.unwrap_or_default();
    let message = format!("it ran for {most:?}, as long as it may");
    let news = News::new(TaskState::Failed, source);
    with_exit(news.because(Reason::MaxCompletionTimeReached, message), end)
}

/// Adds to the end of a task how its container ended, if that is known.
fn with_exit(mut news: News, end: &End) -> News {
    if let End::Exited(exit, breach) = end {
        (news.exit, news.breach) = (Some(*exit), *breach);
    }
    news
}

fn killed_news(task: &Task, source: Source) -> News {
    let news = News::new(TaskState::Killed, source);
    if task.is_silent() {
        return killed_during_launch(news);
    }
    news
}

pub(super) fn killed_during_launch(news: News) -> News {
    let message = "killed before it was started";
    news.because(Reason::TaskKilledDuringLaunch, message)
}

fn launch_failed_news(task: &Task, message: &str, recovery: Recovery) -> News {
    match (!recovery.is_over(), task.is_silent()) {
        // TK-61: never started, for sure; the order to start it may not have left the agent.
        (true, true) => News::new(TaskState::Dropped, Source::Agent).because(
            Reason::AgentRestarted,
            format!("the agent restarted before the task was started: {message}"),
        ),
        // It ran, and now there is no trace of it.
        (true, false) => lost_news(task, recovery),
        (false, _) => News::new(TaskState::Failed, Source::Agent)
            .because(Reason::ContainerLaunchFailed, message), // AG-34
    }
}

/// A task whose container did not come up in time (AG-34); after a restart it may have run before.
fn stuck_news(task: &Task, message: &str, recovery: Recovery) -> News {
    if !recovery.is_over() && !task.is_silent() {
        return lost_news(task, recovery);
    }
    News::new(TaskState::Failed, Source::Agent).because(Reason::ContainerLaunchFailed, message)
}

/// A task that ran is gone (TK-30). Of one that was never heard of nobody knows whether it ran, so
/// it is neither gone nor dropped: it failed.
fn lost_news(task: &Task, recovery: Recovery) -> News {
    let message = match recovery {
        Recovery::Rebooted => "its machine was restarted",
        Recovery::Asking | Recovery::Over => "how its container ended was not recorded",
    };
    if !task.is_silent() {
        return News::new(TaskState::Gone, Source::Agent)
            .because(Reason::ExecutorTerminated, message);
    }
    let reason = match recovery {
        Recovery::Asking | Recovery::Rebooted => Reason::AgentRestarted,
        Recovery::Over => Reason::ExecutorTerminated,
    };
    News::new(TaskState::Failed, Source::Agent).because(reason, message)
}

fn breach_news(breach: Breach, source: Source) -> News {
    let Breach {
        resource,
        limit,
        used,
    } = breach;
    let (reason, message) = match resource {
        Limited::Memory => (
            Reason::ContainerLimitationMemory,
            format!("the memory limit was exceeded: used {used} MiB of {limit} MiB"),
        ),
        Limited::Pids => (
            Reason::ContainerLimitationPids,
            format!("the process limit was exceeded: used {used} of {limit}"),
        ),
        Limited::Disk => (
            Reason::ContainerLimitationDisk,
            format!("the disk limit was exceeded: used {used} MiB of {limit} MiB"),
        ),
        Limited::Ports => (
            Reason::ContainerLimitation, // TK-40
            format!("it listens on port {used}, which the task does not have"),
        ),
    };
    News::new(TaskState::Failed, source).because(reason, message) // TK-41
}

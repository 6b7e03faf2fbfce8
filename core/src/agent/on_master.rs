//! What the master orders: run, shut a framework down, acknowledge.
//!
//! Deliberately not here: registration ([`super::registration`]), kills ([`super::kills`]), and
//! operations ([`super::operations`]).

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::drain::DRAINED;
use super::launch;
use super::records::Number;
use super::registration::Welcome;
use super::tasks::Placement;
use super::updates::{News, Stream};
use super::{Agent, AgentRecord, Cx, Effect};
use crate::ids::{AgentId, FrameworkId, PeerId, TaskId};
use crate::limits;
use crate::protocol::agent::{ToAgent, ToMaster};
use crate::protocol::container::{ContainerCommand, ContainerSpec};
use crate::protocol::framework::FrameworkInfo;
use crate::protocol::status::{Reason, Source, TaskState, TaskStatus};
use crate::protocol::task::{ExecutorInfo, TaskInfo};
use crate::roles::Role;

/// A task, as the master orders it.
struct Job {
    framework: FrameworkInfo,
    role: Role,
    task: TaskInfo,
    starts_executor: bool,
}

fn pong(cx: &mut Cx<'_>, peer: PeerId) {
    let message = ToMaster::Pong;
    cx.out.emit_free(Effect::Master { peer, message });
}

impl Agent {
    pub(super) fn on_master(&mut self, cx: &mut Cx<'_>, peer: PeerId, message: ToAgent) {
        if self.link.peer() != Some(peer) {
            tracing::debug!(?peer, "not the leading master's connection: ignored"); // AG-07
            return;
        }
        self.hear_master(cx.now);
        self.obey(cx, peer, message);
    }

    fn obey(&mut self, cx: &mut Cx<'_>, peer: PeerId, message: ToAgent) {
        match message {
            ToAgent::Registered {
                id,
                master: _,
                epoch,
                ping_timeout,
            }
            | ToAgent::Reregistered {
                id,
                master: _,
                epoch,
                ping_timeout,
            } => {
                let welcome = Welcome {
                    id,
                    epoch,
                    ping_timeout,
                };
                self.on_welcome(cx, peer, welcome);
            }
            ToAgent::Missing(missing) => self.on_missing(cx, missing),
            ToAgent::Refused(reason) => self.on_refused(cx, &reason),
            ToAgent::Drain { max_grace } => self.on_drain(cx, max_grace),
            ToAgent::Undrain => self.on_undrain(),
            ToAgent::Shutdown(reason) => self.on_shutdown(cx, &reason),
            ToAgent::Ping => pong(cx, peer),
            ToAgent::RunTask {
                framework,
                role,
                task,
                starts_executor,
            } => {
                let job = Job {
                    framework,
                    role,
                    task,
                    starts_executor,
                };
                self.on_run_task(cx, job);
            }
            ToAgent::KillTask {
                framework,
                task,
                grace,
            } => self.on_kill_task(cx, &framework, &task, grace),
            ToAgent::ShutdownFramework(framework) => self.on_shutdown_framework(cx, framework),
            ToAgent::Acknowledge {
                framework,
                task,
                update,
            } => self.on_acknowledged(cx, &framework, &task, update),
            ToAgent::Convert(order) => self.on_order(cx, order),
            ToAgent::AcknowledgeOperation { number, update } => {
                self.on_operation_acknowledged(cx, number, update);
            }
            ToAgent::UpdateFramework(framework) => self.on_update_framework(cx, framework),
            ToAgent::Message {
                framework,
                executor,
                data,
            } => self.on_message(cx, &framework, &executor, data),
            ToAgent::ShutdownExecutor {
                framework,
                executor,
            } => self.on_shutdown_executor(cx, &framework, &executor),
        }
    }

    /// Remembers what a framework says about itself now, to report it to the next master.
    fn on_update_framework(&mut self, cx: &mut Cx<'_>, framework: FrameworkInfo) {
        let known = framework.id.as_ref();
        let known = known.and_then(|id| self.state.frameworks().get(id));
        if known.is_some_and(|known| known.info != framework) {
            self.persist(cx, AgentRecord::FrameworkChanged { framework });
        }
    }

    fn on_run_task(&mut self, cx: &mut Cx<'_>, job: Job) {
        let task = &job.task;
        let (Some(peer), Some(agent)) = (self.link.joined(), self.state.agent().cloned()) else {
            tracing::debug!(task = %task.id, "a task before the registration: ignored"); // AG-01
            return;
        };
        let Some(id) = job.framework.id.clone() else {
            tracing::debug!(task = %task.id, "a task of a framework without id: ignored");
            return;
        };
        if self.state.is_ended(&id) {
            let why = "the framework was shut down on the agent, and is not over yet"; // AG-27
            self.refuse_task(cx, peer, id, job.task.id, why.into());
            return;
        }
        if self.state.find_task(&id, &task.id).is_some() {
            let why = "the agent has a task of this id, which is not over yet";
            self.refuse_task(cx, peer, id, job.task.id, why.into());
            return;
        }
        if self.state.tasks().len() >= limits::TASKS_PER_AGENT {
            let why = format!("the agent has {} tasks already", limits::TASKS_PER_AGENT);
            self.refuse_task(cx, peer, id, job.task.id, why);
            return;
        }
        if self.is_draining {
            let news = News::new(TaskState::Dropped, Source::Agent);
            let news = news.because(Reason::AgentDraining, DRAINED); // TK-57
            self.turn_away(cx, job, news);
            return;
        }
        if let Err(problem) = check_task(&agent, task) {
            let news = News::new(TaskState::Error, Source::Agent);
            self.turn_away(cx, job, news.because(Reason::TaskInvalid, problem));
        } else if let Some(missing) = self.unknown_resources(task) {
            // AG-30, SM-34
            let problem = format!("the agent does not have {missing}");
            let news = News::new(TaskState::Dropped, Source::Agent);
            self.turn_away(cx, job, news.because(Reason::ResourcesUnknown, problem));
        } else if let Some(executor) = task.executor.clone() {
            self.run_by_executor(cx, &agent, &id, job, executor);
        } else {
            self.run_by_command(cx, &agent, &id, job);
        }
    }

    /// Refuses a task without remembering it. The master tells the framework, and goes on if need
    /// be; should this be lost, it asks for the task when the agent next returns.
    fn refuse_task(
        &self,
        cx: &mut Cx<'_>,
        peer: PeerId,
        framework: FrameworkId,
        task: TaskId,
        message: String,
    ) {
        let status = TaskStatus {
            message,
            agent: self.state.agent().cloned(),
            ..TaskStatus::new(task, TaskState::Dropped, Source::Agent, cx.now)
        };
        let message = ToMaster::Update {
            framework,
            status,
            latest: TaskState::Dropped,
        };
        cx.out.emit(Effect::Master { peer, message });
    }

    /// Takes a task on only to report, reliably, that it does not run.
    fn turn_away(&mut self, cx: &mut Cx<'_>, job: Job, news: News) {
        let number = self.accept(cx, job, Placement::Nowhere);
        self.report(cx, number, news);
    }

    fn accept(&mut self, cx: &mut Cx<'_>, job: Job, placement: Placement) -> Number {
        let number = self.state.next();
        let record = AgentRecord::TaskAccepted {
            number,
            framework: job.framework,
            role: job.role,
            task: job.task,
            placement,
        };
        self.persist(cx, record);
        number
    }

    fn launch(&mut self, cx: &mut Cx<'_>, number: Number, spec: ContainerSpec) {
        self.containers.add(number);
        let id = number.container();
        cx.container(ContainerCommand::Launch { id, spec });
    }

    fn run_by_command(
        &mut self,
        cx: &mut Cx<'_>,
        agent: &AgentId,
        framework: &FrameworkId,
        job: Job,
    ) {
        let task = &job.task;
        let command = task.command.as_ref().expect("check_task found a command");
        let number = self.state.next();
        let mut spec = launch::task_container(agent, framework, task, command, number);
        launch::default_user(&mut spec, &job.framework);
        self.accept(cx, job, Placement::Own);
        self.launch(cx, number, spec);
    }

    fn run_by_executor(
        &mut self,
        cx: &mut Cx<'_>,
        agent: &AgentId,
        framework: &FrameworkId,
        job: Job,
        executor: ExecutorInfo,
    ) {
        let Some(number) = self.state.find_executor(framework, &executor.id) else {
            if !job.starts_executor {
                // AG-29: it ended, and the master, which has booked none, does not know yet.
                self.turn_away(cx, job, executor_is_gone("the executor has ended"));
                return;
            }
            let number = self.state.next();
            let mut spec = launch::executor_container(agent, framework, &executor, number);
            launch::default_user(&mut spec, &job.framework);
            let record = AgentRecord::ExecutorLaunched {
                number,
                framework: job.framework.clone(),
                role: job.role.clone(),
                executor,
            };
            self.persist(cx, record);
            self.accept(cx, job, Placement::Executor(number));
            self.sessions.add(number);
            self.launch(cx, number, spec);
            return;
        };
        let known = self
            .state
            .executor(number)
            .expect("a found executor is kept");
        let problem = if *known.info() != executor {
            Some(format!(
                "executor {} runs with another description",
                executor.id
            ))
        } else if *known.role() != job.role {
            // RQ-06
            let other = known.role();
            Some(format!("executor {} runs in role {other}", executor.id))
        } else {
            None
        };
        if let Some(problem) = problem {
            let news = News::new(TaskState::Error, Source::Agent);
            self.turn_away(cx, job, news.because(Reason::TaskInvalid, problem));
            return;
        }
        let session = self
            .sessions
            .get(number)
            .expect("an executor has a session");
        if session.ending().is_some() {
            self.turn_away(cx, job, executor_is_gone("the executor is ending"));
            return;
        }
        let task = self.accept(cx, job, Placement::Executor(number));
        self.deliver(cx, number, task);
    }

    pub(super) fn on_shutdown_framework(&mut self, cx: &mut Cx<'_>, framework: FrameworkId) {
        self.forget_operations_of(cx, &framework);
        let known = self.state.frameworks().get(&framework);
        let Some(row) = known.filter(|row| !row.ended) else {
            tracing::debug!(%framework, "not here, or ended already: ignored");
            return;
        };
        let executors: Vec<Number> = row.executors.values().copied().collect();
        let tasks: Vec<(Number, Placement)> = row
            .tasks
            .values()
            .filter_map(|number| Some((*number, self.state.task(*number)?.placement())))
            .collect();
        let destroy_at = cx.now + self.config.kill_grace;
        let record = AgentRecord::FrameworkEnded {
            framework,
            destroy_at,
        };
        self.persist(cx, record);
        for (number, placement) in tasks {
            self.land(Stream::Task(number));
            if self.state.task(number).is_none() {
                self.on_task_removed(cx, number, placement);
            } else if placement == Placement::Own {
                self.end_container(cx, number, destroy_at);
            }
        }
        for executor in executors {
            self.end_executor(cx, executor, "its framework is gone");
        }
    }
}

/// Says that a task came too late for its executor, and was not started (TK-47).
fn executor_is_gone(why: &str) -> News {
    News::new(TaskState::Dropped, Source::Agent).because(Reason::ExecutorTerminated, why)
}

/// Checks what the agent itself relies on; the master has checked the rest.
fn check_task(agent: &AgentId, task: &TaskInfo) -> Result<(), String> {
    if task.agent != *agent {
        return Err(format!("it is meant for agent {}, not {agent}", task.agent));
    }
    match (&task.command, &task.executor) {
        (Some(_), Some(_)) => Err("it has both a command and an executor".to_string()),
        (None, None) => Err("it has neither a command nor an executor".to_string()),
        (Some(_), None) | (None, Some(_)) => Ok(()),
    }
}

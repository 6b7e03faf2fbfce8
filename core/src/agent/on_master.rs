//! What the master orders: run, shut a framework down, acknowledge.
//!
//! Deliberately not here: registration ([`super::registration`]), kills ([`super::kills`]), and
//! operations ([`super::operations`]).

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::drain::DRAINED;
use super::launch;
use super::patience::Departure;
use super::records::Number;
use super::registration::Welcome;
use super::tasks::Placement;
use super::updates::{News, Stream};
use super::{Agent, AgentRecord, Cx, Effect};
use crate::ids::{AgentId, FrameworkId, PeerId, TaskId};
use crate::limits;
use crate::mutant::{Mutant, planted};
use crate::protocol::agent::{GroupOrder, ToAgent, ToMaster};
use crate::protocol::container::{ContainerCommand, ContainerSpec};
use crate::protocol::framework::FrameworkInfo;
use crate::protocol::status::{Reason, Source, TaskState, TaskStatus};
use crate::protocol::task::{ExecutorInfo, ExecutorKind, TaskInfo};
use crate::roles::Role;

/// A task, or a group of tasks with one executor, as the master orders it.
struct Job {
    framework: FrameworkInfo,
    role: Role,
    tasks: Vec<TaskInfo>,
    is_group: bool,
    starts_executor: bool,
}

impl Job {
    fn alone(framework: FrameworkInfo, role: Role, task: TaskInfo, starts_executor: bool) -> Self {
        Self {
            framework,
            role,
            tasks: Vec::from([task]),
            is_group: false,
            starts_executor,
        }
    }

    fn of_group(order: GroupOrder) -> Self {
        Self {
            framework: order.framework,
            role: order.role,
            tasks: order.tasks,
            is_group: true,
            starts_executor: order.starts_executor,
        }
    }

    /// Says that it is wrong.
    fn invalid(&self, problem: String) -> News {
        let reason = if self.is_group {
            Reason::TaskGroupInvalid
        } else {
            Reason::TaskInvalid
        };
        News::new(TaskState::Error, Source::Agent).because(reason, problem)
    }
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
        if self.may_say(&message) {
            self.obey(cx, peer, message);
        } else {
            tracing::debug!(?peer, "before the registration: ignored");
        }
    }

    /// Returns whether a master may say something that may be of an old leadership: its epoch
    /// comes with its welcome, and before that nothing is obeyed but answers to what was asked.
    fn may_say(&self, message: &ToAgent) -> bool {
        match message {
            // Welcomes are looked at for themselves, and pings reveal nothing.
            ToAgent::Registered { .. } | ToAgent::Reregistered { .. } | ToAgent::Ping => true,
            ToAgent::Refused(_) | ToAgent::Shutdown(_) => self.link.has_asked(),
            ToAgent::Missing(_)
            | ToAgent::Drain { .. }
            | ToAgent::Undrain
            | ToAgent::RunTask { .. }
            | ToAgent::RunGroup(_)
            | ToAgent::KillTask { .. }
            | ToAgent::ShutdownFramework(_)
            | ToAgent::Acknowledge { .. }
            | ToAgent::Convert(_)
            | ToAgent::BeginDisk(_)
            | ToAgent::EndDisk(_)
            | ToAgent::AcknowledgeOperation { .. }
            | ToAgent::UpdateFramework(_)
            | ToAgent::Message { .. }
            | ToAgent::ShutdownExecutor { .. } => self.link.joined().is_some(),
        }
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
            } => self.on_run(cx, Job::alone(framework, role, task, starts_executor)),
            ToAgent::RunGroup(order) => self.on_run(cx, Job::of_group(order)),
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
            ToAgent::BeginDisk(job) => self.on_disk_begun(cx, job),
            ToAgent::EndDisk(end) => self.on_disk_over(cx, end),
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

    fn on_run(&mut self, cx: &mut Cx<'_>, job: Job) {
        let (Some(peer), Some(agent)) = (self.link.joined(), self.state.agent().cloned()) else {
            tracing::debug!(tasks = job.tasks.len(), "before the registration: ignored"); // AG-01
            return;
        };
        let Some(id) = job.framework.id.clone().filter(|_| !job.tasks.is_empty()) else {
            tracing::debug!(tasks = job.tasks.len(), "no tasks, or of nobody: ignored");
            return;
        };
        let executor = job.tasks.first().and_then(|task| task.executor.clone());
        let custom = executor.filter(|executor| executor.kind == ExecutorKind::Custom);
        let awaited = custom.as_ref().filter(|_| job.starts_executor);
        let awaited = awaited.map(|executor| executor.id.clone());
        self.take_on(cx, (peer, &agent), id.clone(), job, custom);
        if let Some(executor) = awaited
            && self.state.find_executor(&id, &executor).is_none()
        {
            // AG-29: the master has booked it.
            self.tell_executor_ended(cx, (id, executor), None);
        }
    }

    /// Runs tasks, or says why not.
    fn take_on(
        &mut self,
        cx: &mut Cx<'_>,
        (peer, agent): (PeerId, &AgentId),
        id: FrameworkId,
        job: Job,
        custom: Option<ExecutorInfo>,
    ) {
        if let Some(why) = self.why_refused(&id, &job.tasks) {
            for task in job.tasks {
                self.refuse_task(cx, peer, id.clone(), task.id, why.clone());
            }
            return;
        }
        if self.is_draining {
            let news = News::new(TaskState::Dropped, Source::Agent);
            let news = news.because(Reason::AgentDraining, DRAINED); // TK-57
            self.turn_away(cx, job, news);
            return;
        }
        if let Err(problem) = check_job(agent, &job) {
            let news = job.invalid(problem);
            self.turn_away(cx, job, news);
            return;
        }
        let mut tasks = job.tasks.iter();
        if let Some(missing) = tasks.find_map(|task| self.unknown_resources(task)) {
            // AG-30, SM-34
            let problem = format!("the agent does not have {missing}");
            let news = News::new(TaskState::Dropped, Source::Agent);
            self.turn_away(cx, job, news.because(Reason::ResourcesUnknown, problem));
            return;
        }
        match custom {
            Some(executor) => self.run_by_executor(cx, agent, &id, job, executor),
            None => self.run_by_command(cx, agent, &id, job),
        }
    }

    /// Says why tasks cannot even be remembered, if so.
    fn why_refused(&self, framework: &FrameworkId, tasks: &[TaskInfo]) -> Option<String> {
        if self.state.is_ended(framework) {
            // AG-27
            return Some("the framework was shut down on the agent, and is not over yet".into());
        }
        let mut named = BTreeSet::new();
        let is_known = |task: &TaskInfo| {
            !named.insert(task.id.clone()) || self.state.find_task(framework, &task.id).is_some()
        };
        if tasks.iter().any(is_known) {
            return Some("the agent has a task of this id, which is not over yet".into());
        }
        let (has, limit) = (self.state.tasks().len(), limits::TASKS_PER_AGENT);
        (has + tasks.len() > limit).then(|| format!("the agent has {has} tasks already"))
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
        self.tell_unnamed(cx, peer, framework, status);
    }

    /// Takes tasks on only to report, reliably, that they do not run.
    fn turn_away(&mut self, cx: &mut Cx<'_>, job: Job, news: News) {
        let count = job.tasks.len() as u64;
        let Number(first) = self.accept(cx, job, Placement::Nowhere);
        for number in (first..first + count).map(Number) {
            self.report(cx, number, news.clone());
        }
    }

    /// Remembers tasks: all of a group, or none. Returns the number of the first.
    fn accept(&mut self, cx: &mut Cx<'_>, mut job: Job, placement: Placement) -> Number {
        let (first, framework, role) = (self.state.next(), job.framework, job.role);
        let record = match job.tasks.pop() {
            Some(task) if !job.is_group => AgentRecord::TaskAccepted {
                number: first,
                framework,
                role,
                task,
                placement,
            },
            last => {
                job.tasks.extend(last);
                AgentRecord::GroupAccepted {
                    first,
                    framework,
                    role,
                    tasks: job.tasks,
                    placement,
                }
            }
        };
        self.persist(cx, record);
        first
    }

    fn launch(&mut self, cx: &mut Cx<'_>, number: Number, spec: ContainerSpec) {
        self.containers.add(number);
        let id = number.container();
        let command = ContainerCommand::Launch { id, spec };
        if planted(Mutant::LaunchBeforeRecord) {
            return cx.out.emit_free(Effect::Container(command));
        }
        cx.container(command);
        cx.echo(Departure::Launch(number));
    }

    fn run_by_command(
        &mut self,
        cx: &mut Cx<'_>,
        agent: &AgentId,
        framework: &FrameworkId,
        job: Job,
    ) {
        let numbers = (self.state.next().0..).map(Number);
        let specs = numbers.zip(&job.tasks).map(|(number, task)| {
            let command = task.command.as_ref().expect("check_task found a command");
            let mut spec = launch::task_container(agent, framework, task, command, number);
            launch::default_user(&mut spec, &job.framework);
            (number, spec)
        });
        let specs: Vec<(Number, ContainerSpec)> = specs.collect();
        self.accept(cx, job, Placement::Own);
        for (number, spec) in specs {
            self.launch(cx, number, spec);
        }
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
            let news = job.invalid(problem);
            self.turn_away(cx, job, news);
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
        let tasks = row.tasks.values();
        let tasks = tasks.filter_map(|number| {
            let task = self.state.task(*number)?;
            Some((
                *number,
                task.placement(),
                task.info().id.clone(),
                task.state(),
            ))
        });
        let tasks: Vec<(Number, Placement, TaskId, TaskState)> = tasks.collect();
        self.note_moment(cx);
        let grace = self.config.kill_grace;
        let destroy_at = cx.now + grace;
        let record = AgentRecord::FrameworkEnded {
            framework: framework.clone(),
            destroy_at,
        };
        self.persist(cx, record);
        for (number, placement, task, state) in tasks {
            self.land(Stream::Task(number));
            if self.state.task(number).is_none() {
                let status = TaskStatus::new(task, state, Source::Agent, cx.now);
                self.tell_over(cx, framework.clone(), status);
                self.on_task_removed(cx, number, placement);
            } else if placement == Placement::Own {
                self.end_container(cx, number, grace);
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
fn check_job(agent: &AgentId, job: &Job) -> Result<(), String> {
    let executor = job.tasks.first().and_then(|task| task.executor.as_ref());
    for task in &job.tasks {
        if task.agent != *agent {
            return Err(format!("it is meant for agent {}, not {agent}", task.agent));
        }
        if task.executor.as_ref() != executor {
            return Err("its group has no executor in common".to_string());
        }
        let by_agent = match executor.map(|executor| executor.kind) {
            Some(ExecutorKind::Custom) => false,
            Some(ExecutorKind::BuiltIn) if job.is_group => true,
            None if !job.is_group => true,
            Some(ExecutorKind::BuiltIn) | None => {
                return Err("a group, and nothing else, has an executor for groups".into());
            }
        };
        if by_agent && task.command.is_none() {
            return Err("it has neither a command nor an executor".to_string());
        }
        if !by_agent && task.command.is_some() {
            return Err("it has both a command and an executor".to_string());
        }
    }
    Ok(())
}

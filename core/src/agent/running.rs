//! Starting tasks, as the master orders it: what is taken on, what is refused, and what is only
//! remembered to say, reliably, that it does not run.
//!
//! Called by `on_master`. Deliberately not here: what a container is told (`launch`), and how
//! executors get their tasks (`on_executor`).

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::drain::DRAINED;
use super::patience::Departure;
use super::records::Number;
use super::tasks::Placement;
use super::updates::News;
use super::{Agent, AgentRecord, Cx, Effect, groups, launch};
use crate::ids::{AgentId, FrameworkId, PeerId};
use crate::limits;
use crate::mutant::{Mutant, planted};
use crate::protocol::agent::GroupOrder;
use crate::protocol::container::{ContainerCommand, ContainerSpec, VolumeSpec};
use crate::protocol::framework::FrameworkInfo;
use crate::protocol::status::{Reason, Source, TaskState, TaskStatus};
use crate::protocol::task::{ExecutorInfo, ExecutorKind, TaskInfo};
use crate::resources::Resources;
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

impl Agent {
    /// Starts tasks, or says why not. Of a framework that the agent was not told of it starts none
    /// (PR-06).
    pub(super) fn on_run(&mut self, cx: &mut Cx<'_>, order: GroupOrder, is_group: bool) {
        let (Some(peer), Some(agent)) = (self.link.joined(), self.state.agent().cloned()) else {
            tracing::debug!(
                tasks = order.tasks.len(),
                "before the registration: ignored"
            ); // AG-01
            return;
        };
        let Some(first) = order.tasks.first() else {
            tracing::debug!(framework = %order.framework, "no tasks: ignored");
            return;
        };
        let id = order.framework;
        let custom = first.executor.clone();
        let custom = custom.filter(|executor| executor.kind == ExecutorKind::Custom);
        let awaited = custom.as_ref().filter(|_| order.starts_executor);
        let awaited = awaited.map(|executor| executor.id.clone());
        match self.introduced.get(&id).cloned() {
            Some(framework) => {
                let job = Job {
                    framework,
                    role: order.role,
                    tasks: order.tasks,
                    is_group,
                    starts_executor: order.starts_executor,
                };
                self.take_on(cx, (peer, &agent), id.clone(), job, custom);
            }
            None => {
                let why = "the master has not said what the framework is".into();
                let reason = Some(Reason::FrameworkUnknown);
                self.refuse_tasks(cx, peer, &id, order.tasks, (reason, why));
            }
        }
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
            self.refuse_tasks(cx, peer, &id, job.tasks, (None, why));
            return;
        }
        if self.drain.goes_on {
            let news = News::new(TaskState::Dropped, Source::Agent);
            let news = news.because(Reason::AgentDraining, DRAINED); // TK-57
            self.turn_away(cx, job, news);
            return;
        }
        if let Err(problem) = check_job(agent, &job).and_then(|()| self.check_volumes(agent, &job))
        {
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

    /// Refuses tasks without remembering them. The master tells the framework, and goes on if need
    /// be; should this be lost, it asks for the tasks when the agent next returns.
    fn refuse_tasks(
        &self,
        cx: &mut Cx<'_>,
        peer: PeerId,
        framework: &FrameworkId,
        tasks: Vec<TaskInfo>,
        (reason, message): (Option<Reason>, String),
    ) {
        for task in tasks {
            let status = TaskStatus {
                reason,
                message: message.clone(),
                agent: self.state.agent().cloned(),
                ..TaskStatus::new(task.id, TaskState::Dropped, Source::Agent, cx.now)
            };
            self.tell_unnamed(cx, peer, framework.clone(), status);
        }
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
        let first = match placement {
            Placement::Own if job.is_group => groups::first_of(self.state.next()),
            Placement::Own | Placement::Executor(_) | Placement::Nowhere => self.state.next(),
        };
        let (framework, role) = (job.framework, job.role);
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
        let next = self.state.next();
        let executor = job.tasks.first().and_then(|task| task.executor.as_ref());
        let executor = executor.filter(|_| job.is_group);
        let group = executor.map(|executor| launch::group(framework, executor, next));
        let first = match job.is_group {
            true => groups::first_of(next),
            false => next,
        };
        let specs = (first.0..).map(Number).zip(&job.tasks);
        let specs = specs.map(|(number, task)| {
            let place = (agent, framework);
            let of_group = task.executor.as_ref().map(|executor| &executor.resources);
            let all = of_group.into_iter().chain([&task.resources]);
            let common = (group.clone(), self.seen_volumes(agent, all));
            let command = task.command.as_ref().expect("check_task found a command");
            let mut spec = launch::task_container(place, task, command, number, common);
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
            let resizes = self.config.resizes;
            let limits = resizes.then(|| launch::executor_limits(&executor, job.tasks.iter()));
            let limits = limits.unwrap_or_default();
            let told = limits.clone();
            let room = (limits, self.seen_volumes(agent, [&executor.resources]));
            let mut spec = launch::executor_container(agent, framework, &executor, room, number);
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
            if let Some(session) = self.sessions.get_mut(number) {
                session.set_limits(told);
            }
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
        self.resize(cx, number);
        self.deliver(cx, number, task);
    }
}

impl Agent {
    /// Lists the persistent volumes among resources that were checked.
    fn seen_volumes<'a>(
        &self,
        agent: &AgentId,
        resources: impl IntoIterator<Item = &'a Resources>,
    ) -> Vec<VolumeSpec> {
        let shown = self.state.volumes().shown(agent, resources);
        shown.expect("volumes are checked before anything is started")
    }

    /// Checks the persistent volumes of tasks. What a task brings to an executor of its
    /// framework's would have to be put into a container that runs, and taken out again when it
    /// ends: only what the executor holds itself is there.
    fn check_volumes(&self, agent: &AgentId, job: &Job) -> Result<(), String> {
        let volumes = self.state.volumes();
        for task in &job.tasks {
            let executor = task.executor.as_ref();
            let of_task = volumes.shown(agent, [&task.resources])?;
            let is_custom = executor.is_some_and(|it| it.kind == ExecutorKind::Custom);
            if let Some(volume) = of_task.first().filter(|_| is_custom) {
                return Err(format!(
                    "its volume at {} is its own: only volumes of its executor's resources are \
                     seen by that",
                    volume.path
                ));
            }
            let of_executor = executor.map(|executor| &executor.resources);
            volumes.shown(agent, of_executor)?;
        }
        Ok(())
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
        if !by_agent && (task.check.is_some() || task.health_check.is_some()) {
            return Err("it has a check, which its executor makes itself".to_string());
        }
        if !by_agent && task.command.is_some() {
            return Err("it has both a command and an executor".to_string());
        }
    }
    Ok(())
}

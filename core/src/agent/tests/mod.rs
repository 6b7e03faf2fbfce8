//! An agent driven by hand. Every input is followed by a check of all invariants, and by a replay
//! of everything that was written, which must give the same state.

mod checks;
mod criticals;
mod disks;
mod drain;
mod executors;
mod gc;
mod groups;
mod issues;
mod kills;
mod leaving;
mod messages;
mod operations;
mod overdue;
mod patience;
mod random;
mod recovery;
mod registration;
mod resizing;
mod tasks;
mod updates;
mod volumes;

use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use super::*;
use crate::ids::{
    AgentId, BootId, ContainerId, ExecutorId, FrameworkId, MasterId, TaskId, UpdateId,
};
use crate::machine::Output;
use crate::protocol::agent::{GroupOrder, ToAgent, ToMaster};
use crate::protocol::container::ContainerEvent;
use crate::protocol::disk::{DiskCommand, DiskOutcome};
use crate::protocol::executor;
use crate::protocol::framework::FrameworkInfo;
use crate::protocol::node::AgentInfo;
use crate::protocol::status::{Breach, Exit, Limited, Reason, TaskState, TaskStatus};
use crate::protocol::task::{CommandInfo, ExecutorInfo, TaskInfo};
use crate::resources::{Milli, Resources};
use crate::roles::Role;

pub(super) const MASTER: PeerId = PeerId(1);
pub(super) const PING: Duration = Duration::from_secs(75);

pub(super) fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(super) fn config() -> Config {
    let resources = Resources::parse("cpus:4;mem:1024").unwrap();
    Config::new(AgentInfo::new("one", "127.0.0.1:5051", resources), "one", 7)
}

pub(super) fn agent_id() -> AgentId {
    AgentId::new("rio-1-S0").unwrap()
}

pub(super) fn fw(name: &str) -> FrameworkId {
    FrameworkId::new(name).unwrap()
}

pub(super) fn tid(name: &str) -> TaskId {
    TaskId::new(name).unwrap()
}

pub(super) fn framework(name: &str) -> FrameworkInfo {
    FrameworkInfo {
        id: Some(fw(name)),
        ..FrameworkInfo::new(name)
    }
}

/// A task that sleeps, with `cpus:1;mem:64`.
pub(super) fn task(name: &str) -> TaskInfo {
    let resources = Resources::parse("cpus:1;mem:64").unwrap();
    TaskInfo {
        command: Some(CommandInfo::shell("sleep 100")),
        ..TaskInfo::new(tid(name), agent_id(), resources)
    }
}

/// A task of an executor.
pub(super) fn task_of(executor: &str, name: &str) -> TaskInfo {
    TaskInfo {
        command: None,
        executor: Some(ExecutorInfo::new(
            ExecutorId::new(executor).unwrap(),
            Resources::parse("cpus:0.1").unwrap(),
            CommandInfo::exec("worker", ["--quiet"]),
        )),
        ..task(name)
    }
}

pub(super) fn master(message: ToAgent) -> Input {
    Input::Master {
        peer: MASTER,
        message,
    }
}

pub(super) fn run(framework_name: &str, task: TaskInfo) -> Input {
    run_in(Role::any(), framework_name, task)
}

pub(super) fn run_in(role: Role, framework_name: &str, task: TaskInfo) -> Input {
    master(ToAgent::RunTask {
        framework: fw(framework_name),
        role,
        starts_executor: task.executor.is_some(),
        task,
    })
}

pub(super) fn kill(framework: &str, task: &str, grace: Option<Duration>) -> Input {
    master(ToAgent::KillTask {
        framework: fw(framework),
        task: tid(task),
        grace,
    })
}

pub(super) fn acknowledge(framework: &str, task: &str, update: UpdateId) -> Input {
    master(ToAgent::Acknowledge {
        framework: fw(framework),
        task: tid(task),
        update,
    })
}

pub(super) fn registered(epoch: u64) -> Input {
    master(ToAgent::Registered {
        id: agent_id(),
        master: MasterId::of("rio", epoch).unwrap(),
        epoch,
        ping_timeout: PING,
    })
}

pub(super) fn reregistered(epoch: u64) -> Input {
    master(ToAgent::Reregistered {
        id: agent_id(),
        master: MasterId::of("rio", epoch).unwrap(),
        epoch,
        ping_timeout: PING,
    })
}

pub(super) fn started(n: u64) -> Input {
    started_at(n, &[])
}

/// It runs, with addresses of its own.
pub(super) fn started_at(n: u64, addresses: &[&str]) -> Input {
    let addresses = addresses.iter().map(|address| address.parse().unwrap());
    Input::Container(ContainerEvent::Started {
        id: ContainerId::numbered(n),
        pid: 100,
        addresses: addresses.collect(),
    })
}

pub(super) fn exited(n: u64, exit: Exit) -> Input {
    Input::Container(ContainerEvent::Exited {
        id: ContainerId::numbered(n),
        exit,
        breach: None,
    })
}

pub(super) fn lost(n: u64) -> Input {
    Input::Container(ContainerEvent::Lost {
        id: ContainerId::numbered(n),
    })
}

pub(super) fn launch_failed(n: u64) -> Input {
    Input::Container(ContainerEvent::LaunchFailed {
        id: ContainerId::numbered(n),
        message: "no such file".into(),
    })
}

pub(super) type Outputs = Vec<Output<AgentRecord, Effect>>;

/// An agent, its clock, and all that it ever wrote and did.
pub(super) struct Node {
    pub(super) agent: Agent,
    pub(super) now: Time,
    pub(super) journal: Vec<AgentRecord>,
    pub(super) log: Outputs,
    /// What waits for a disk that stalls, of what the agent is told when it has left.
    held: Option<Vec<Departure>>,
}

impl Node {
    /// Starts an agent from a journal; returns what it says at once.
    pub(super) fn restart(journal: Vec<AgentRecord>, now: Time) -> (Self, Outputs) {
        Self::restart_as(config(), journal, now)
    }

    /// Starts an agent that is set up in some way.
    pub(super) fn restart_as(
        config: Config,
        journal: Vec<AgentRecord>,
        now: Time,
    ) -> (Self, Outputs) {
        let mut out = Outbox::new();
        let agent = Agent::recover(config, replay(&journal), now, &mut out);
        let mut node = Self {
            agent,
            now,
            journal,
            log: Vec::new(),
            held: None,
        };
        let outputs = node.take(&mut out);
        (node, outputs)
    }

    /// Starts an agent for the first time, and has it registered.
    pub(super) fn joined() -> Self {
        Self::joined_as(config())
    }

    /// As [`Self::joined`], for an agent that is set up in some way.
    pub(super) fn joined_as(config: Config) -> Self {
        let start = Time::from_micros(1_000_000);
        let (mut node, _) = Self::restart_as(config, Vec::new(), start);
        node.feed(Input::Container(ContainerEvent::Recovered));
        node.join(registered(1));
        node.log.clear();
        node
    }

    /// Finds a master and is taken in.
    pub(super) fn join(&mut self, welcome: Input) -> Outputs {
        self.feed(Input::MasterFound { peer: MASTER });
        self.pass(secs(1));
        self.feed(welcome)
    }

    /// Says something to the agent. Before the first task of a framework its master says what the
    /// framework is.
    pub(super) fn feed(&mut self, input: Input) -> Outputs {
        if let Input::Master {
            peer,
            message:
                ToAgent::RunTask { framework: id, .. }
                | ToAgent::RunGroup(GroupOrder { framework: id, .. }),
        } = &input
            && self.agent.introduced.get(id).is_none()
        {
            let message = ToAgent::UpdateFramework(framework(id.as_str()));
            let peer = *peer;
            self.feed_alone(Input::Master { peer, message });
        }
        self.feed_alone(input)
    }

    pub(super) fn feed_alone(&mut self, input: Input) -> Outputs {
        let mut out = Outbox::new();
        self.agent.handle(self.now, input, &mut out);
        self.take(&mut out)
    }

    pub(super) fn feed_all(&mut self, inputs: &[Input]) -> Outputs {
        let inputs = inputs.iter().cloned();
        inputs.flat_map(|input| self.feed(input)).collect()
    }

    /// Lets time pass, stopping at every deadline.
    pub(super) fn pass(&mut self, time: Duration) -> Outputs {
        let end = self.now + time;
        let mut outputs = Vec::new();
        while let Some(at) = self.agent.deadline().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            let mut out = Outbox::new();
            self.agent.tick(self.now, &mut out);
            outputs.extend(self.take(&mut out));
            assert!(self.agent.deadline() > Some(at) || self.agent.deadline().is_none());
        }
        self.now = end;
        outputs
    }

    /// From now on nothing becomes durable, so that nothing leaves.
    pub(super) fn disk_stalls(&mut self) {
        self.held.get_or_insert_default();
    }

    /// What has waited for the disk leaves.
    pub(super) fn disk_goes_on(&mut self) {
        for departure in self.held.take().unwrap_or_default() {
            assert_eq!(lines(&self.feed(Input::Departed(departure))), NOTHING);
        }
    }

    /// Takes outputs. What is to be told back when it leaves, is.
    fn take(&mut self, out: &mut Out) -> Outputs {
        let mut outputs = self.check(out);
        let echoed = |output: &mut Output<AgentRecord, Effect>| match output {
            Output::Effect(Effect::Echo(departure)) => Some(*departure),
            Output::Effect(_) | Output::Persist(_) | Output::Free(_) => None,
        };
        let left: Vec<Departure> = outputs.iter_mut().filter_map(echoed).collect();
        outputs.retain_mut(|output| echoed(output).is_none());
        match &mut self.held {
            Some(held) => held.extend(left),
            None => {
                for departure in left {
                    outputs.extend(self.feed(Input::Departed(departure)));
                }
            }
        }
        outputs
    }

    fn check(&mut self, out: &mut Out) -> Outputs {
        let outputs: Outputs = out.drain().collect();
        self.journal.extend(outputs.iter().filter_map(|o| match o {
            Output::Persist(record) => Some(record.clone()),
            Output::Effect(_) | Output::Free(_) => None,
        }));
        self.log.extend(outputs.iter().cloned());
        self.agent.check().unwrap();
        let replayed = replay(&self.journal);
        assert_eq!(replayed, *self.agent.state());
        let bytes = postcard::to_allocvec(&replayed).unwrap();
        assert_eq!(
            postcard::from_bytes::<AgentState>(&bytes).unwrap(),
            replayed
        );
        outputs
    }
}

pub(super) fn replay(journal: &[AgentRecord]) -> AgentState {
    let mut state = AgentState::default();
    for record in journal {
        let bytes = postcard::to_allocvec(record).unwrap();
        state.apply(&postcard::from_bytes(&bytes).unwrap());
    }
    state
}

/// Returns the id of the one update that was sent.
pub(super) fn sent_update(outputs: &Outputs) -> UpdateId {
    let updates = sent_updates(outputs);
    assert_eq!(updates.len(), 1, "{updates:?}");
    updates[0].1.update.unwrap()
}

pub(super) fn sent_updates(outputs: &Outputs) -> Vec<(FrameworkId, TaskStatus)> {
    let update = |o: &Output<AgentRecord, Effect>| match o {
        Output::Effect(Effect::Master {
            message: ToMaster::Update {
                framework, status, ..
            },
            ..
        }) => Some((framework.clone(), status.clone())),
        Output::Effect(_) | Output::Persist(_) | Output::Free(_) => None,
    };
    outputs.iter().filter_map(update).collect()
}

/// Writes outputs as one line each: `*` is a record, `~` may leave at once. What time it was is
/// left out.
pub(super) fn lines(outputs: &Outputs) -> Vec<String> {
    let is_moment = |o: &Output<_, _>| matches!(o, Output::Persist(AgentRecord::Moment { .. }));
    outputs
        .iter()
        .filter(|output| !is_moment(output))
        .map(|output| match output {
            Output::Persist(record) => format!("* {}", record_line(record)),
            Output::Effect(effect) => effect_line(effect),
            Output::Free(effect) => format!("~ {}", effect_line(effect)),
        })
        .collect()
}

fn record_line(record: &AgentRecord) -> String {
    match record {
        AgentRecord::Admitted { agent } => format!("admitted {agent}"),
        AgentRecord::EpochSeen { epoch } => format!("epoch {epoch}"),
        AgentRecord::ExecutorLaunched {
            number, executor, ..
        } => format!("executor {} {}", number.0, executor.id),
        AgentRecord::ExecutorSubscribed { executor } => format!("subscribed {}", executor.0),
        AgentRecord::ExecutorEnded { executor } => format!("executor ended {}", executor.0),
        AgentRecord::TaskAccepted {
            number,
            task,
            placement,
            ..
        } => match placement {
            Placement::Own => format!("task {} {}", number.0, task.id),
            Placement::Executor(e) => format!("task {} {} by {}", number.0, task.id, e.0),
            Placement::Nowhere => format!("task {} {} nowhere", number.0, task.id),
        },
        AgentRecord::KillRequested { task, .. } => format!("kill {}", task.0),
        AgentRecord::Updated { task, status } => format!("updated {} {}", task.0, status.state),
        AgentRecord::Acknowledged { task, .. } => format!("acknowledged {}", task.0),
        AgentRecord::FrameworkEnded { framework, .. } => format!("framework ended {framework}"),
        AgentRecord::Left => "left".into(),
        AgentRecord::GroupAccepted { first, tasks, .. } => {
            let ids: Vec<_> = tasks.iter().map(|task| task.id.as_str()).collect();
            format!("group {} {}", first.0, ids.join("+"))
        }
        AgentRecord::TaskForgotten { task } => format!("forgotten {}", task.0),
        AgentRecord::RanOut { task, .. } => format!("ran out {}", task.0),
        AgentRecord::Collected { sandbox, .. } => format!("collected {}", sandbox.0),
        AgentRecord::Described { info } => format!("described {}", info.resources),
        AgentRecord::Booted { boot } => format!("booted {}", boot.0),
        AgentRecord::CarriedOut { order, .. } => format!("{} {}", order.number, order.kind),
        AgentRecord::OperationAcknowledged { number } => format!("told of {number}"),
        AgentRecord::FrameworkChanged { framework } => format!("framework {}", framework.name),
        AgentRecord::DiskBegun { job, .. } => format!("{} {}", job.number, job.change.kind()),
        AgentRecord::DiskEnded { job, .. } => format!("disk {job} ended"),
        AgentRecord::Moment { at } => format!("moment {at}"),
        AgentRecord::ExecutorUnwanted { executor } => format!("unwanted {}", executor.0),
        AgentRecord::Resumed => "resumed".into(),
        AgentRecord::DiskUndone { job } => format!("disk {job} undone"),
        AgentRecord::Unhealthy { task, .. } => format!("unhealthy {}", task.0),
        AgentRecord::VolumesDeleted { order } => format!("{order} deleted"),
        AgentRecord::DiskOver { end, .. } => format!("{} disk {} over", end.order.number, end.job),
    }
}

fn effect_line(effect: &Effect) -> String {
    match effect {
        Effect::Master { message, .. } => match message {
            ToMaster::Register { .. } => "register".into(),
            ToMaster::Reregister { tasks, .. } => {
                let tasks: Vec<String> = tasks
                    .iter()
                    .map(|report| format!(" {}:{}", report.task, report.state))
                    .collect();
                format!("reregister{}", tasks.concat())
            }
            ToMaster::Report { frameworks, tasks } => {
                format!("report {} {}", frameworks.len(), tasks.len())
            }
            ToMaster::Pong => "pong".into(),
            ToMaster::Converted(it) => format!("converted {} {}", it.last, it.after),
            ToMaster::CarriedOut { last } => format!("carried out {last}"),
            ToMaster::Message { executor, data, .. } => format!("message of {executor} {data:?}"),
            ToMaster::ExecutorEnded { executor, exit, .. } => {
                let exit = exit.map_or("somehow".into(), |exit| format!("{exit}"));
                format!("{executor} has ended: {exit}")
            }
            ToMaster::OperationUpdate { number, status, .. } => {
                format!("operation {number} {} {}", status.id, status.state)
            }
            ToMaster::Unregister => "unregister".into(),
            ToMaster::Executors(all) => {
                let ids = all.iter().map(|report| format!(" {}", report.executor.id));
                let ids: Vec<String> = ids.collect();
                format!("has executors:{}", ids.concat())
            }
            ToMaster::DiskJobs(jobs) => {
                let numbers: Vec<u64> = jobs.iter().map(|job| job.number).collect();
                format!("is at disks {numbers:?}")
            }
            ToMaster::DiskEnded { job, outcome } => {
                let outcome = match outcome {
                    DiskOutcome::Made(_) => "made",
                    DiskOutcome::Returned(_) => "returned",
                    DiskOutcome::Failed(why) => why,
                };
                format!("disk {} {outcome}", job.number)
            }
            ToMaster::Update { status, latest, .. } => {
                let reason = status.reason.map_or("-", Reason::as_str);
                format!(
                    "update {} {} {reason} latest {latest}",
                    status.task, status.state
                )
            }
        },
        Effect::Executor { event, .. } => match event {
            executor::Event::Subscribed { .. } => "executor: subscribed".into(),
            executor::Event::Launch(task) => format!("executor: launch {}", task.id),
            executor::Event::Kill { task, grace } => format!("executor: kill {task} {grace:?}"),
            executor::Event::Acknowledged { task, .. } => format!("executor: has {task}"),
            executor::Event::Shutdown => "executor: shutdown".into(),
            executor::Event::Error(text) => format!("executor: error {text}"),
            executor::Event::Message(data) => format!("executor: message {data:?}"),
            executor::Event::LaunchGroup(tasks) => {
                let ids: Vec<_> = tasks.iter().map(|task| task.id.as_str()).collect();
                format!("executor: launch {}", ids.join("+"))
            }
        },
        Effect::Container(command) => match command {
            ContainerCommand::Launch { id, .. } => format!("launch {id}"),
            ContainerCommand::Terminate { id } => format!("terminate {id}"),
            ContainerCommand::Destroy { id } => format!("destroy {id}"),
            ContainerCommand::Forget { id } => format!("forget {id}"),
            ContainerCommand::Recover { known } => format!("recover {known:?}"),
            ContainerCommand::Resize { id, .. } => format!("resize {id}"),
            ContainerCommand::Probe { id, number, .. } => format!("probe {id} {number}"),
            ContainerCommand::Unprobe { id, number } => format!("unprobe {id} {number}"),
        },
        Effect::Echo(departure) => format!("echo {departure:?}"),
        Effect::DeleteSandbox { sandbox, .. } => format!("delete {}", sandbox.join("/")),
        Effect::DeleteVolumes { order, volumes } => {
            let places = volumes.iter().map(|place| place.directory.join("/"));
            let places: Vec<String> = places.collect();
            format!("delete {order}: {}", places.join(", "))
        }
        Effect::Disconnect { peer, reason, .. } => format!("disconnect {} {reason}", peer.0),
        Effect::Stop { reason } => format!("stop {reason}"),
        Effect::Left => "left".into(),
        Effect::Disk(command) => match command {
            DiskCommand::Do { job, change } => format!("ask {job} {}", change.kind()),
            DiskCommand::Forget { job } => format!("forget {job}"),
            DiskCommand::Recover { known, .. } => format!("disks {}", known.len()),
            DiskCommand::Undo { job } => format!("undo {job}"),
        },
    }
}

pub(super) fn breach(resource: Limited, limit: i64, used: i64) -> Breach {
    Breach {
        resource,
        limit: Milli::from_units(limit),
        used: Milli::from_units(used),
    }
}

pub(super) const NOTHING: Vec<String> = vec![];

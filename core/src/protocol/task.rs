//! What a framework asks to be run.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::check::{CheckInfo, HealthCheck};
use super::container_info::{ContainerInfo, Uri};
use super::discovery::{DiscoveryInfo, Published};
use crate::ids::{AgentId, ExecutorId, TaskId};
use crate::resources::{Labels, Milli, Resources};

/// A program and its arguments (TK-02).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandInfo {
    /// Run `value` by `/bin/sh -c`; otherwise `value` is the executable.
    pub shell: bool,
    /// A shell command, or the path or name of an executable (looked up in `PATH`).
    pub value: String,
    /// The argument vector after its zeroth element; ignored with `shell`.
    pub arguments: Vec<String>,
    /// Environment variables.
    pub environment: Vec<(String, String)>,
    /// The user to run as; `None` is the agent's own.
    pub user: Option<String>,
    /// What is brought into its sandbox before it starts; at most
    /// [`limits::URIS`](crate::limits::URIS).
    pub uris: Vec<Uri>,
}

impl CommandInfo {
    /// Makes a shell command.
    pub fn shell(command: impl Into<String>) -> Self {
        Self {
            shell: true,
            value: command.into(),
            ..Self::default()
        }
    }

    /// Makes a command from an executable and its arguments.
    pub fn exec<I>(executable: impl Into<String>, arguments: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        Self {
            shell: false,
            value: executable.into(),
            arguments: arguments.into_iter().map(Into::into).collect(),
            ..Self::default()
        }
    }
}

/// Who runs the tasks of an executor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExecutorKind {
    /// A program of the framework's.
    #[default]
    Custom,
    /// The agent itself: it runs groups of tasks with commands (TK-91). What its container asks for
    /// is for all tasks of a group in common: networks, unless a task names its own, the host name
    /// and the resolver in them, and the size of the memory that those share who ask for that.
    BuiltIn,
}

/// A program that runs tasks for its framework and speaks the executor protocol (TK-03).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecutorInfo {
    /// Its id, unique within framework and agent.
    pub id: ExecutorId,
    /// What it needs beside its tasks.
    pub resources: Resources,
    /// How it is started.
    pub command: CommandInfo,
    /// Whether it is started at all, or is the agent's own.
    pub kind: ExecutorKind,
    /// How long it may take to end when it is told to; `None` is as the agent has it (TK-88).
    pub shutdown_grace: Option<Duration>,
    /// Whatever it wants to say to those who read labels.
    pub labels: Labels,
    /// The service that it offers, for others to find it (TK-04).
    pub discovery: Option<Box<DiscoveryInfo>>,
    /// What it asks of its container; `None` is nothing.
    pub container: Option<Box<ContainerInfo>>,
}

impl ExecutorInfo {
    /// Describes an executor by what it needs and how it is started.
    pub const fn new(id: ExecutorId, resources: Resources, command: CommandInfo) -> Self {
        Self {
            id,
            resources,
            command,
            kind: ExecutorKind::Custom,
            shutdown_grace: None,
            labels: Labels::new(),
            discovery: None,
            container: None,
        }
    }

    /// Describes the agent's own executor for groups of tasks with commands (TK-91).
    pub fn built_in(id: ExecutorId, resources: Resources) -> Self {
        Self {
            kind: ExecutorKind::BuiltIn,
            ..Self::new(id, resources, CommandInfo::default())
        }
    }

    /// Returns what it publishes about itself, if it does.
    pub fn published(&self) -> Option<Arc<Published>> {
        Published::of(&self.labels, self.discovery.as_deref())
    }
}

/// The most that a task may use of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Limit {
    /// So much: CPU cores, or MiB of memory.
    Amount(Milli),
    /// All that the machine has.
    Unlimited,
}

/// What a task may use beyond what it takes of the offers (TK-06). `None` is no more than that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// CPU cores that nobody else wants.
    pub cpus: Option<Limit>,
    /// Memory, in MiB.
    pub mem: Option<Limit>,
}

/// One task (TK-01). Exactly one of `command` and `executor` is there, but in a group, whose tasks
/// have the group's executor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskInfo {
    /// Its id, unique within the framework for the framework's life.
    pub id: TaskId,
    /// A name for people.
    pub name: String,
    /// Where it is to run: the agent of the offers.
    pub agent: AgentId,
    /// What it takes of the offers.
    pub resources: Resources,
    /// The program, run by the agent's own command executor.
    pub command: Option<CommandInfo>,
    /// Or the executor that runs it; both, if that is the agent's own.
    pub executor: Option<ExecutorInfo>,
    /// Opaque bytes for a custom executor.
    pub data: Vec<u8>,
    /// How long a kill waits between SIGTERM and SIGKILL (TK-84).
    pub kill_grace: Option<Duration>,
    /// The most processes and threads; `None` is the agent's default.
    pub pids: Option<u32>,
    /// What it may use beyond `resources`.
    pub limits: Limits,
    /// How long it may run; then it is destroyed, and has failed (TK-07).
    pub max_completion: Option<Duration>,
    /// Whatever it wants to say to those who read labels.
    pub labels: Labels,
    /// The service that it offers, for others to find it (TK-04).
    pub discovery: Option<Box<DiscoveryInfo>>,
    /// What it asks of its container; `None` is nothing.
    pub container: Option<Box<ContainerInfo>>,
    /// What is found out of it for its framework (TK-98).
    pub check: Option<Box<CheckInfo>>,
    /// How it is found out whether it is healthy (TK-95).
    pub health_check: Option<Box<HealthCheck>>,
}

impl TaskInfo {
    /// Describes a task that is named by its id and runs nothing yet. The rest is added with
    /// `..TaskInfo::new(..)`.
    pub fn new(id: TaskId, agent: AgentId, resources: Resources) -> Self {
        Self {
            name: id.as_str().into(),
            id,
            agent,
            resources,
            command: None,
            executor: None,
            data: Vec::new(),
            kill_grace: None,
            pids: None,
            limits: Limits::default(),
            max_completion: None,
            labels: Labels::new(),
            discovery: None,
            container: None,
            check: None,
            health_check: None,
        }
    }

    /// Returns what it publishes about itself, if it does.
    pub fn published(&self) -> Option<Arc<Published>> {
        Published::of(&self.labels, self.discovery.as_deref())
    }
}

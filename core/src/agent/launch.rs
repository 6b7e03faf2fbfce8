//! What a container is told to run, as pure functions of the task.
//!
//! Called by [`super::on_master`]. Deliberately not here: the decision to launch.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use super::records::Number;
use crate::ids::{AgentId, ExecutorId, FrameworkId, TaskId};
use crate::protocol::container::{ContainerLimits, ContainerSpec};
use crate::protocol::framework::FrameworkInfo;
use crate::protocol::task::{CommandInfo, ExecutorInfo, Limit, TaskInfo};
use crate::resources::Milli;

/// Describes the container of a task with a command.
pub(super) fn task_container(
    agent: &AgentId,
    framework: &FrameworkId,
    task: &TaskInfo,
    command: &CommandInfo,
    number: Number,
) -> ContainerSpec {
    let request = |name| Some(task.resources.scalar(name)).filter(|amount| *amount > Milli::ZERO);
    let limit = |name, limit: Option<Limit>| match limit {
        None => request(name),
        Some(Limit::Amount(amount)) => Some(amount),
        Some(Limit::Unlimited) => None,
    };
    let limits = &task.limits;
    ContainerSpec {
        command: command.clone(),
        environment: environment(agent, framework, ("TASK", task.id.as_str()), number),
        limits: ContainerLimits {
            cpus: limit("cpus", limits.cpus),
            share: limits.cpus.and_then(|_| request("cpus")),
            mem: limit("mem", limits.mem),
            kept: limits.mem.and_then(|_| request("mem")),
            pids: task.pids,
        },
        sandbox: task_sandbox(framework, &task.id, number),
    }
}

/// Describes the container of an executor. It has no limits of its own: they would have to grow
/// with its tasks, and a container's limits cannot be changed yet.
pub(super) fn executor_container(
    agent: &AgentId,
    framework: &FrameworkId,
    executor: &ExecutorInfo,
    number: Number,
) -> ContainerSpec {
    let id = executor.id.as_str();
    ContainerSpec {
        command: executor.command.clone(),
        environment: environment(agent, framework, ("EXECUTOR", id), number),
        limits: ContainerLimits::default(),
        sandbox: executor_sandbox(framework, &executor.id, number),
    }
}

/// Has a container run as the user of its framework, if its command names none (FW-01).
pub(super) fn default_user(spec: &mut ContainerSpec, framework: &FrameworkInfo) {
    if spec.command.user.is_none() {
        spec.command.user.clone_from(&framework.user);
    }
}

/// Names where the sandboxes of a task with a command are: one for each container, the newest of
/// which has the highest id. A framework may use an id again, and its output is not to be mixed up
/// with what was there before.
///
/// For those who serve output, as path components. What peers choose stands below a name of ours,
/// so that no framework's id leads into the sandboxes of executors.
pub fn task_sandboxes(framework: &FrameworkId, task: &TaskId) -> Vec<String> {
    vec![
        "tasks".into(),
        framework.as_str().into(),
        task.as_str().into(),
    ]
}

/// Names the sandbox of one container of a task.
pub(super) fn task_sandbox(framework: &FrameworkId, task: &TaskId, number: Number) -> Vec<String> {
    let mut components = task_sandboxes(framework, task);
    components.push(number.container().as_str().into());
    components
}

/// Names the sandbox of an executor.
pub(super) fn executor_sandbox(
    framework: &FrameworkId,
    executor: &ExecutorId,
    number: Number,
) -> Vec<String> {
    vec![
        "executors".into(),
        framework.as_str().into(),
        executor.as_str().into(),
        number.container().as_str().into(),
    ]
}

/// Lists the agent's variables: ours, and under the names that programs written for Mesos expect.
fn environment(
    agent: &AgentId,
    framework: &FrameworkId,
    (noun, id): (&str, &str),
    number: Number,
) -> Vec<(String, String)> {
    let container = number.container();
    let named = |name: String, value: &str| (name, String::from(value));
    vec![
        named(alloc::format!("TEPUI_{noun}_ID"), id),
        named("TEPUI_FRAMEWORK_ID".into(), framework.as_str()),
        named("TEPUI_AGENT_ID".into(), agent.as_str()),
        named("TEPUI_CONTAINER_ID".into(), container.as_str()),
        named(alloc::format!("MESOS_{noun}_ID"), id),
        named("MESOS_FRAMEWORK_ID".into(), framework.as_str()),
        named("MESOS_SLAVE_ID".into(), agent.as_str()),
        named("MESOS_CONTAINER_ID".into(), container.as_str()),
    ]
}

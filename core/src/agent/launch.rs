//! What a container is told to run, as pure functions of the task.
//!
//! Called by [`super::on_master`]. Deliberately not here: the decision to launch.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use super::records::Number;
use crate::ids::{AgentId, ExecutorId, FrameworkId, TaskId};
use crate::protocol::container::{ContainerLimits, ContainerSpec, GroupSpec, VolumeSpec};
use crate::protocol::framework::FrameworkInfo;
use crate::protocol::task::{CommandInfo, ExecutorInfo, Limit, Limits, TaskInfo};
use crate::resources::{Milli, Ranges, Resources};

/// Describes the container of a task with a command.
pub(super) fn task_container(
    (agent, framework): (&AgentId, &FrameworkId),
    task: &TaskInfo,
    command: &CommandInfo,
    number: Number,
    (group, volumes): (Option<GroupSpec>, Vec<VolumeSpec>),
) -> ContainerSpec {
    ContainerSpec {
        command: command.clone(),
        environment: environment(agent, framework, ("TASK", task.id.as_str()), number),
        limits: ContainerLimits {
            pids: task.pids,
            ..room_for([(&task.resources, task.limits)].into_iter())
        },
        sandbox: task_sandbox(framework, &task.id, number),
        container: task.container.clone(),
        group: group.map(Box::new),
        volumes,
    }
}

/// Describes what the tasks of a group of the agent's own executor have in common.
pub(super) fn group(framework: &FrameworkId, executor: &ExecutorInfo, number: Number) -> GroupSpec {
    GroupSpec {
        id: number.container(),
        sandbox: executor_sandbox(framework, &executor.id, number),
        disk: executor_limits(executor, core::iter::empty()).disk,
        container: executor.container.clone(),
    }
}

/// Says what the container of an executor may use: what that needs itself, and all that its tasks
/// may use (TK-94).
pub(super) fn executor_limits<'a>(
    executor: &'a ExecutorInfo,
    tasks: impl Iterator<Item = &'a TaskInfo> + Clone,
) -> ContainerLimits {
    let own = core::iter::once((&executor.resources, Limits::default()));
    room_for(own.chain(tasks.map(|task| (&task.resources, task.limits))))
}

/// Says what a container may use for all that is in it: of each its limit, or what it takes. One
/// without a limit takes the limit from all; and who has a limit keeps what it takes (AG-37).
fn room_for<'a>(all: impl Iterator<Item = (&'a Resources, Limits)> + Clone) -> ContainerLimits {
    let room = |name, limit: fn(&Limits) -> Option<Limit>| {
        let (mut most, mut taken, mut is_limited) = (Some(Milli::ZERO), Milli::ZERO, false);
        for (resources, limits) in all.clone() {
            let takes = resources.scalar(name);
            let limit = limit(&limits);
            is_limited |= limit.is_some();
            taken = taken.saturating_add(takes);
            most = match limit {
                None => most.map(|most| most.saturating_add(takes)),
                Some(Limit::Amount(amount)) => most.map(|most| most.saturating_add(amount)),
                Some(Limit::Unlimited) => None,
            };
        }
        let is_some = |amount: &Milli| *amount > Milli::ZERO;
        let kept = Some(taken).filter(|_| is_limited);
        (most.filter(is_some), kept.filter(is_some))
    };
    let (cpus, share) = room("cpus", |limits| limits.cpus);
    let (mem, kept) = room("mem", |limits| limits.mem);
    let sum = |amount: fn(&Resources) -> Milli| {
        let amounts = all.clone().map(|(resources, _)| amount(resources));
        amounts.fold(Milli::ZERO, Milli::saturating_add)
    };
    let disk = sum(|resources| scratch(resources).scalar("disk"));
    let ports = all.clone().map(|(resources, _)| resources.ranges("ports"));
    ContainerLimits {
        cpus,
        share,
        mem,
        kept,
        pids: None,
        disk: Some(disk).filter(|disk| *disk > Milli::ZERO),
        gpus: sum(|resources| resources.scalar("gpus")),
        ports: Some(ports.fold(Ranges::new(), |all, some| all.union(&some))),
    }
}

/// Returns what of the resources is room for files that nobody keeps: no volumes, and no disk that
/// is one's own.
fn scratch(resources: &Resources) -> Resources {
    resources.filter(|resource| !resource.is_persistent_volume() && resource.disk_kind().is_none())
}

/// Describes the container of an executor.
pub(super) fn executor_container(
    agent: &AgentId,
    framework: &FrameworkId,
    executor: &ExecutorInfo,
    (limits, volumes): (ContainerLimits, Vec<VolumeSpec>),
    number: Number,
) -> ContainerSpec {
    let id = executor.id.as_str();
    ContainerSpec {
        command: executor.command.clone(),
        environment: environment(agent, framework, ("EXECUTOR", id), number),
        limits,
        sandbox: executor_sandbox(framework, &executor.id, number),
        container: executor.container.clone(),
        group: None,
        volumes,
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

/// Names the sandbox of an executor, or of a group of the agent's own.
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

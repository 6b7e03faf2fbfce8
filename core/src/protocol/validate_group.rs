//! Checks of groups of tasks.
//!
//! Called by the master before any of a group is launched. Deliberately not here: what holds for
//! every task (`validate`), and what needs the cluster's state.

use super::container_info::ContainerInfo;
use super::task::{CommandInfo, ExecutorKind, TaskInfo};
use super::validate::{
    Reject, check_all_tasks, check_executor_command, check_own_command, check_size,
};
use super::validate_container::{self, Asker};
use crate::limits;
use crate::resources::Milli;

/// Checks a group of tasks that have their executor, but not its tasks one by one (VA-14, TK-15).
/// What passes fits a frame on all its ways.
pub fn check_group(tasks: &[TaskInfo]) -> Result<(), Reject> {
    let what = "group";
    if tasks.is_empty() {
        return Err(Reject::Empty { what });
    }
    if tasks.len() > limits::TASKS_PER_GROUP {
        return Err(Reject::TooMany {
            what,
            count: tasks.len(),
            limit: limits::TASKS_PER_GROUP,
        });
    }
    check_size(what, &tasks, limits::TASK_BYTES)
}

/// Checks a task of a group (TK-12, TK-14, TK-15).
pub fn check_member(task: &TaskInfo) -> Result<(), Reject> {
    check_all_tasks(task)?;
    let Some(executor) = &task.executor else {
        return Err(Reject::NothingToRun);
    };
    let asker = match executor.kind {
        ExecutorKind::BuiltIn => Asker::Member,
        ExecutorKind::Custom => Asker::Alone,
    };
    validate_container::check_task(task, asker)?;
    for (what, least) in GROUP_EXECUTOR {
        let has = executor.resources.scalar(what);
        if has < least {
            return Err(Reject::SmallExecutor { what, has, least });
        }
    }
    match (executor.kind, &task.command) {
        (ExecutorKind::BuiltIn, Some(_)) if executor.command != CommandInfo::default() => {
            Err(Reject::TwiceToRun)
        }
        (ExecutorKind::BuiltIn, Some(command)) => {
            executor.container.as_deref().map_or(Ok(()), check_common)?;
            check_own_command(command, task.container.as_deref())
        }
        (ExecutorKind::BuiltIn, None) => Err(Reject::NothingToRun),
        (ExecutorKind::Custom, Some(_)) => Err(Reject::TwiceToRun),
        (ExecutorKind::Custom, None) => check_executor_command(executor),
    }
}

/// Checks what is asked for all of a group together: that is no container, so there is nothing of
/// it but what several can have in common (TK-15, CT-15).
fn check_common(asked: &ContainerInfo) -> Result<(), Reject> {
    let possible = ContainerInfo {
        networks: asked.networks.clone(),
        hostname: asked.hostname.clone(),
        dns: asked.dns.clone(),
        shm_size: asked.shm_size,
        ..ContainerInfo::default()
    };
    match *asked == possible {
        true => Ok(()),
        false => Err(Reject::Needs {
            what: "a group",
            needed: "no more in common than networks, names and shared memory",
        }),
    }
}

/// What the executor of a group has at least (TK-14).
const GROUP_EXECUTOR: [(&str, Milli); 2] = [
    ("cpus", Milli::from_thousandths(10)),
    ("mem", Milli::from_thousandths(32_000)),
];

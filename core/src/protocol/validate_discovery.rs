//! Checks of what tasks and executors publish about themselves (TK-04).
//!
//! Deliberately not here: labels, whose type has no bad values.

use super::agent::TaskReport;
use super::discovery::{DiscoveryInfo, DiscoveryPort};
use super::task::{ExecutorInfo, TaskInfo};
use super::validate::{Reject, check_filled, check_size};
use crate::limits;
use crate::resources::Labels;

const OF_TASK: &str = "what the task publishes";
const OF_EXECUTOR: &str = "what the executor publishes";

/// Checks what a task publishes, and its executor.
pub(super) fn check_task(task: &TaskInfo) -> Result<(), Reject> {
    check(OF_TASK, &task.labels, task.discovery.as_deref())?;
    task.executor.as_ref().map_or(Ok(()), check_executor)
}

pub(super) fn check_executor(executor: &ExecutorInfo) -> Result<(), Reject> {
    check(OF_EXECUTOR, &executor.labels, executor.discovery.as_deref())
}

pub(super) fn check_report(report: &TaskReport) -> Result<(), Reject> {
    let published = report.published.as_ref();
    published.map_or(Ok(()), |it| {
        check(OF_TASK, &it.labels, it.discovery.as_deref())
    })
}

fn check(
    what: &'static str,
    labels: &Labels,
    discovery: Option<&DiscoveryInfo>,
) -> Result<(), Reject> {
    let Some(service) = discovery else {
        return check_size(what, labels, limits::PUBLISHED_BYTES);
    };
    check_size(what, &(labels, service), limits::PUBLISHED_BYTES)?;
    let texts = [
        ("name of a service", &service.name),
        ("environment of a service", &service.environment),
        ("location of a service", &service.location),
        ("version of a service", &service.version),
    ];
    for (what, text) in texts {
        check_optional(what, text.as_deref())?;
    }
    let (count, limit) = (service.ports.len(), limits::DISCOVERY_PORTS);
    if count > limit {
        let what = "list of ports of a service";
        return Err(Reject::TooMany { what, count, limit });
    }
    service.ports.iter().try_for_each(check_port)
}

fn check_port(port: &DiscoveryPort) -> Result<(), Reject> {
    if port.number == 0 {
        let what = "port of a service";
        return Err(Reject::Zero { what });
    }
    check_optional("name of a port", port.name.as_deref())?;
    check_optional("protocol of a port", port.protocol.as_deref())
}

fn check_optional(what: &'static str, text: Option<&str>) -> Result<(), Reject> {
    text.map_or(Ok(()), |text| check_filled(what, text))
}

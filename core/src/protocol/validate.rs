//! Checks of what peers send, as far as the data alone can tell.
//!
//! Called by the master before anything is kept or passed on. Deliberately not here: checks that
//! need the cluster's state, such as whether a task fits its offers.

use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use core::time::Duration;

use serde::Serialize;

use super::agent::{ExecutorReport, TaskReport};
use super::bags;
use super::container_info::ContainerInfo;
use super::framework::{FrameworkInfo, Wishes};
use super::node::AgentInfo;
pub use super::reject::Reject;
use super::task::{CommandInfo, ExecutorInfo, ExecutorKind, Limit, TaskInfo};
use super::validate_container::Asker;
use super::{validate_container, validate_discovery, wire};
use crate::limits;
use crate::resources::{Milli, Value};
use crate::roles::Role;

/// Checks what a framework says about itself (VA-29).
pub fn check_framework(framework: &FrameworkInfo) -> Result<(), Reject> {
    check_text("framework name", &framework.name)?;
    check_text("hostname of the framework", &framework.hostname)?;
    check_text("web address of the framework", &framework.webui_url)?;
    if let Some(user) = &framework.user {
        check_filled("user", user)?;
    }
    check_roles(&framework.roles)?;
    let what = "a threshold of offers";
    for (role, least) in &framework.min_allocatable {
        check_own_role(what, role, framework)?;
        if least.iter().any(|amounts| amounts.iter().next().is_none()) {
            // VA-08
            return Err(Reject::Empty { what });
        }
    }
    // Beside its id, which it has not got yet when it comes first.
    let bytes = wire::size(framework) - wire::size(&framework.id);
    check_bytes("framework", bytes, limits::FRAMEWORK_BYTES)
}

/// Checks what a framework wants, against what it says about itself (OF-37, OF-41).
pub fn check_wishes(framework: &FrameworkInfo, wishes: &mut Wishes) -> Result<(), Reject> {
    // First: of more it would be dear to look at each.
    wishes.check_size()?;
    for role in &wishes.suppressed {
        check_own_role("a suppression", role, framework)?;
    }
    for role in wishes.constraints.keys() {
        check_own_role("constraints", role, framework)?;
    }
    for role in wishes.demands.keys() {
        check_own_role("a demand", role, framework)?;
    }
    let mut room = limits::PATTERNS_PROGRAM_BYTES;
    let mut all = wishes.constraints.values_mut();
    Ok(all.try_for_each(|constraints| constraints.compile(&mut room))?)
}

/// Checks the roles that a call names.
pub fn check_named_roles(framework: &FrameworkInfo, roles: &[Role]) -> Result<(), Reject> {
    let limit = limits::ROLES_PER_FRAMEWORK;
    if roles.len() > limit {
        return Err(Reject::TooMany {
            what: "list of roles",
            count: roles.len(),
            limit,
        });
    }
    let mut roles = roles.iter();
    roles.try_for_each(|role| check_own_role("a wish", role, framework))
}

fn check_own_role(
    what: &'static str,
    role: &Role,
    framework: &FrameworkInfo,
) -> Result<(), Reject> {
    if framework.roles.contains(role) {
        return Ok(());
    }
    let role = role.clone();
    Err(Reject::ForeignRole { what, role })
}

/// Checks the roles of a framework (RQ-02).
fn check_roles(roles: &[Role]) -> Result<(), Reject> {
    if roles.len() > limits::ROLES_PER_FRAMEWORK {
        return Err(Reject::TooMany {
            what: "list of roles",
            count: roles.len(),
            limit: limits::ROLES_PER_FRAMEWORK,
        });
    }
    let mut seen = BTreeSet::new();
    match roles.iter().find(|role| !seen.insert(*role)) {
        Some(role) => Err(Reject::RoleTwice { role: role.clone() }),
        None => Ok(()),
    }
}

/// Checks what an agent says about itself (VA-30).
pub fn check_agent(agent: &AgentInfo) -> Result<(), Reject> {
    check_filled("agent hostname", &agent.hostname)?;
    check_filled("agent address", &agent.address)?;
    check_port(&agent.address)?;
    if agent.resources.is_empty() {
        return Err(Reject::NoResources { what: "agent" });
    }
    let ranges = agent.resources.iter().map(|entry| match entry.value() {
        Value::Ranges(ranges) => ranges.count(),
        Value::Scalar(_) | Value::Items(_) => 0,
    });
    let count = ranges.fold(0u128, u128::saturating_add);
    if count > limits::RANGED_NUMBERS as u128 {
        return Err(Reject::TooMany {
            what: "the agent's set of numbers",
            count: usize::try_from(count).unwrap_or(usize::MAX),
            limit: limits::RANGED_NUMBERS,
        });
    }
    if let Some(twice) = agent.resources.doubled() {
        return Err(Reject::Doubled {
            what: "agent",
            twice: Box::new(twice),
        });
    }
    bags::check_configured(&agent.resources)?;
    if let Some(domain) = &agent.domain {
        check_filled("agent region", &domain.region)?;
        check_filled("agent zone", &domain.zone)?;
    }
    check_size("agent", agent, limits::AGENT_BYTES)
}

/// Checks that an address names a port: others reach the agent there.
fn check_port(address: &str) -> Result<(), Reject> {
    let port = address
        .rsplit_once(':')
        .map(|(_, port)| port.parse::<u16>());
    match port {
        Some(Ok(1..)) => Ok(()),
        Some(Ok(0) | Err(_)) | None => Err(Reject::NoPort {
            address: address.into(),
        }),
    }
}

/// Checks a task (VA-13, TK-11, TK-12). What passes fits a frame on all its ways.
pub fn check_task(task: &TaskInfo) -> Result<(), Reject> {
    check_all_tasks(task)?;
    validate_container::check_task(task, Asker::Alone)?;
    match (&task.command, &task.executor) {
        (Some(command), None) => check_own_command(command, task.container.as_deref()),
        (_, Some(executor)) if executor.kind == ExecutorKind::BuiltIn => Err(Reject::NoGroup),
        (None, Some(executor)) => check_executor_command(executor),
        (None, None) => Err(Reject::NothingToRun),
        (Some(_), Some(_)) => Err(Reject::TwiceToRun),
    }
}

/// Checks how an executor is started that a framework brings.
pub(super) fn check_executor_command(executor: &ExecutorInfo) -> Result<(), Reject> {
    check_own_command(&executor.command, executor.container.as_deref())
}

/// Checks a command that starts a container. If that has an image it may leave to the image what is
/// run (DR-01), and else not.
pub(super) fn check_own_command(
    command: &CommandInfo,
    container: Option<&ContainerInfo>,
) -> Result<(), Reject> {
    let has_image = container.is_some_and(|container| container.image.is_some());
    if !(has_image && command.value.is_empty() && !command.shell) {
        return check_command(command);
    }
    check_words(command)
}

/// Checks what holds for tasks in groups and others alike.
pub(super) fn check_all_tasks(task: &TaskInfo) -> Result<(), Reject> {
    check_text("task name", &task.name)?;
    check_size("task", task, limits::TASK_BYTES)?;
    if task.resources.is_empty() {
        return Err(Reject::NoResources { what: "task" });
    }
    let executor = task.executor.as_ref();
    bags::check_used(
        &task.resources,
        executor.map(|executor| &executor.resources),
    )?;
    check_time("the task's grace", task.kill_grace)?;
    let grace = executor.and_then(|executor| executor.shutdown_grace);
    check_time("the executor's grace", grace)?;
    if task.pids == Some(0) {
        let what = "the task's limit of processes";
        return Err(Reject::Zero { what });
    }
    check_limit(task, "cpus", task.limits.cpus)?;
    check_limit(task, "mem", task.limits.mem)?;
    validate_discovery::check_task(task)
}

fn check_time(what: &'static str, time: Option<Duration>) -> Result<(), Reject> {
    let limit = limits::GRACE;
    match time.filter(|time| *time > limit) {
        Some(time) => Err(Reject::TooLongTime { what, time, limit }),
        None => Ok(()),
    }
}

/// Checks that a limit leaves a task what it takes (TK-06).
fn check_limit(task: &TaskInfo, what: &'static str, limit: Option<Limit>) -> Result<(), Reject> {
    let takes = task.resources.scalar(what);
    match limit {
        None => Ok(()),
        Some(Limit::Amount(_) | Limit::Unlimited) if takes <= Milli::ZERO => {
            Err(Reject::LimitOfNothing { what })
        }
        Some(Limit::Amount(limit)) if limit < takes => {
            Err(Reject::LimitTooLow { what, limit, takes })
        }
        Some(Limit::Amount(_) | Limit::Unlimited) => Ok(()),
    }
}

/// Checks what a returning agent says of a task. What passes fits a frame on all its ways.
pub fn check_report(report: &TaskReport) -> Result<(), Reject> {
    check_text("task name", &report.name)?;
    validate_discovery::check_report(report)?;
    check_size("task", report, limits::REPORT_BYTES)
}

/// Checks what an agent reports of an executor.
pub fn check_executor_report(report: &ExecutorReport) -> Result<(), Reject> {
    validate_discovery::check_executor(&report.executor)?;
    check_size("executor", report, limits::REPORT_BYTES)
}

pub(super) fn check_command(command: &CommandInfo) -> Result<(), Reject> {
    if command.value.is_empty() {
        return Err(Reject::Empty { what: "command" });
    }
    check_words(command)
}

/// Checks all of a command but that there is one.
fn check_words(command: &CommandInfo) -> Result<(), Reject> {
    check_nul("command", &command.value)?;
    check_count("argument list", command.arguments.len())?;
    for argument in &command.arguments {
        check_nul("argument", argument)?;
    }
    check_count("environment", command.environment.len())?;
    for (name, value) in &command.environment {
        if name.is_empty() || name.contains(['=', '\0']) {
            let name = name.chars().take(80).collect();
            return Err(Reject::VariableName { name });
        }
        check_nul("environment variable", value)?;
    }
    if let Some(user) = &command.user {
        check_filled("user", user)?;
    }
    validate_container::check_uris(command)
}

pub(super) fn check_filled(what: &'static str, text: &str) -> Result<(), Reject> {
    if text.is_empty() {
        return Err(Reject::Empty { what });
    }
    check_text(what, text)
}

fn check_text(what: &'static str, text: &str) -> Result<(), Reject> {
    if text.len() > limits::TEXT_BYTES {
        return Err(Reject::TooLong {
            what,
            bytes: text.len(),
            limit: limits::TEXT_BYTES,
        });
    }
    check_nul(what, text)
}

fn check_nul(what: &'static str, text: &str) -> Result<(), Reject> {
    if text.contains('\0') {
        return Err(Reject::Nul { what });
    }
    Ok(())
}

pub(super) fn check_size(
    what: &'static str,
    of: &impl Serialize,
    limit: usize,
) -> Result<(), Reject> {
    check_bytes(what, wire::size(of), limit)
}

fn check_bytes(what: &'static str, bytes: usize, limit: usize) -> Result<(), Reject> {
    if bytes > limit {
        return Err(Reject::TooLarge { what, bytes, limit });
    }
    Ok(())
}

fn check_count(what: &'static str, count: usize) -> Result<(), Reject> {
    if count > limits::COMMAND_ENTRIES {
        return Err(Reject::TooMany {
            what,
            count,
            limit: limits::COMMAND_ENTRIES,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use alloc::string::{String, ToString};
    use alloc::vec;
    use alloc::vec::Vec;

    use super::*;
    use crate::attributes::{Attribute, AttributeValue, Attributes};
    use crate::ids::{AgentId, ExecutorId, FrameworkId, TaskId};
    use crate::protocol::check::CheckStatus;
    use crate::protocol::discovery::{DiscoveryInfo, Visibility};
    use crate::protocol::refusal::RejectKind;
    use crate::protocol::status::TaskState;
    use crate::protocol::task::{ExecutorInfo, Limits};
    use crate::resources::{Label, Labels, Resources};

    fn rejection(command: CommandInfo) -> String {
        check_command(&command).unwrap_err().to_string()
    }

    #[test]
    fn a_limit_leaves_a_task_what_it_takes() {
        // TK-06
        let takes = Resources::parse("cpus:1").unwrap();
        let id = TaskId::new("t").unwrap();
        let plain = TaskInfo {
            command: Some(CommandInfo::shell("true")),
            ..TaskInfo::new(id, AgentId::new("a").unwrap(), takes)
        };
        let check = |cpus: Option<Limit>, mem: Option<Limit>| {
            let limits = Limits { cpus, mem };
            let task = TaskInfo {
                limits,
                ..plain.clone()
            };
            check_task(&task).map_err(|reject| (reject.kind(), reject.to_string()))
        };
        let amount = |units| Some(Limit::Amount(Milli::from_thousandths(units)));
        for good in [None, amount(1_000), amount(1_001), Some(Limit::Unlimited)] {
            assert_eq!(check(good, None), Ok(()));
        }
        let kind = RejectKind::LimitTooLow;
        let text = "the limit of cpus is 0.999, but the task takes 1";
        assert_eq!(check(amount(999), None), Err((kind, text.into())));
        let text = "mem has a limit, but the task takes none of it";
        for bad in [amount(1_000), Some(Limit::Unlimited)] {
            assert_eq!(check(None, bad), Err((kind, text.into())));
        }
    }

    #[test]
    fn a_task_and_its_executor_end_within_a_year() {
        // VA-13, VA-15
        let takes = Resources::parse("cpus:1").unwrap();
        let id = TaskId::new("t").unwrap();
        let plain = TaskInfo::new(id, AgentId::new("a").unwrap(), takes);
        let with = |task: Option<Duration>, executor: Option<Duration>, pids: Option<u32>| {
            let id = ExecutorId::new("e").unwrap();
            let task = TaskInfo {
                executor: Some(ExecutorInfo {
                    shutdown_grace: executor,
                    ..ExecutorInfo::new(id, Resources::new(), CommandInfo::shell("true"))
                }),
                kill_grace: task,
                pids,
                ..plain.clone()
            };
            check_task(&task).map_err(|reject| (reject.kind(), reject.to_string()))
        };
        let (year, more) = (
            Some(limits::GRACE),
            Some(limits::GRACE + Duration::from_secs(1)),
        );
        assert_eq!(with(year, year, Some(1)), Ok(()));
        let text = "the task's grace is 31536001s, more than the limit of 31536000s";
        let too_long = RejectKind::TooLong;
        assert_eq!(with(more, None, None), Err((too_long, text.into())));
        let text = "the executor's grace is 31536001s, more than the limit of 31536000s";
        assert_eq!(with(None, more, None), Err((too_long, text.into())));
        let text = "the task's limit of processes is zero";
        assert_eq!(
            with(None, None, Some(0)),
            Err((RejectKind::Empty, text.into()))
        );
    }

    #[test]
    fn an_agent_can_be_reached() {
        // VA-30
        let with = |address: &str| {
            let resources = Resources::parse("cpus:1").unwrap();
            let checked = check_agent(&AgentInfo::new("one", address, resources));
            checked.map_err(|reject| reject.kind())
        };
        for good in ["one:5051", "10.0.0.1:1", "[::1]:65535"] {
            assert_eq!(with(good), Ok(()));
        }
        for bad in ["one", "one:", "one:0", "one:65536", "one:http"] {
            assert_eq!(with(bad), Err(RejectKind::NoPort), "{bad}");
        }
    }

    #[test]
    fn commands_that_no_kernel_would_run_are_refused_by_name() {
        // TK-05, VA-02
        assert_eq!(rejection(CommandInfo::shell("")), "command is empty");
        assert_eq!(
            rejection(CommandInfo::shell("a\0b")),
            "command contains a NUL byte"
        );
        assert_eq!(
            rejection(CommandInfo::exec("a", ["b\0"])),
            "argument contains a NUL byte"
        );
        for name in ["", "A=B", "A\0"] {
            let mut command = CommandInfo::shell("true");
            command.environment = vec![(name.into(), "x".into())];
            let text = rejection(command);
            assert!(
                text.starts_with("invalid environment variable name"),
                "{text}"
            );
        }
        let mut command = CommandInfo::shell("true");
        command.environment = vec![("A".into(), "\0".into())];
        assert_eq!(
            rejection(command),
            "environment variable contains a NUL byte"
        );
        let many = core::iter::repeat_n("x", limits::COMMAND_ENTRIES + 1);
        assert_eq!(
            rejection(CommandInfo::exec("a", many)),
            "argument list has 4097 entries, more than the limit of 4096"
        );
    }

    #[test]
    fn names_have_a_limit() {
        let long = "x".repeat(limits::TEXT_BYTES + 1);
        let error = check_framework(&FrameworkInfo::new(long)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "framework name has 4097 bytes, more than the limit of 4096"
        );
        check_framework(&FrameworkInfo::new("x".repeat(limits::TEXT_BYTES))).unwrap();
    }

    #[test]
    fn a_framework_has_each_role_once_and_not_too_many() {
        // RQ-02, VA-29
        let with = |roles: &[&str]| {
            let roles = roles.iter().map(|name| Role::new(name).unwrap());
            let framework = FrameworkInfo {
                roles: roles.collect(),
                ..FrameworkInfo::new("web")
            };
            check_framework(&framework).map_err(|reject| reject.to_string())
        };
        assert_eq!(with(&[]), Ok(()));
        assert_eq!(with(&["eng", "eng/web", "*"]), Ok(()));
        let twice = with(&["eng", "ops", "eng"]);
        assert_eq!(twice, Err("role eng is named twice".to_string()));
        let names: Vec<String> = (0..=limits::ROLES_PER_FRAMEWORK)
            .map(|n| alloc::format!("r{n}"))
            .collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        assert_eq!(with(&names[1..]), Ok(()));
        let many = "list of roles has 1025 entries, more than the limit of 1024";
        assert_eq!(with(&names), Err(many.to_string()));
    }

    #[test]
    fn what_may_be_launched_may_be_reported() {
        // PR-02, TK-04: however long its role and its framework's id are, and whatever it publishes
        let text = |bytes| "x".repeat(bytes);
        let resources = || Resources::parse("cpus:1").unwrap();
        let labels = || Labels::try_from(vec![Label::new("tier", "gold")]).unwrap();
        let with = |bytes| TaskInfo {
            executor: Some(ExecutorInfo {
                labels: labels(),
                discovery: Some(Box::new(DiscoveryInfo::new(Visibility::Cluster))),
                ..ExecutorInfo::new(
                    ExecutorId::new("e").unwrap(),
                    resources(),
                    CommandInfo::shell(text(bytes)),
                )
            }),
            labels: labels(),
            discovery: Some(Box::new(DiscoveryInfo::new(Visibility::External))),
            ..TaskInfo::new(
                TaskId::new("t").unwrap(),
                AgentId::new("a").unwrap(),
                resources(),
            )
        };
        let beside = wire::size(&with(limits::TASK_BYTES)) - limits::TASK_BYTES;
        let largest = with(limits::TASK_BYTES - beside);
        assert_eq!(check_task(&largest), Ok(()));
        let framework = FrameworkId::new(&text(limits::ID_BYTES)).unwrap();
        let role = Role::new(&text(limits::TEXT_BYTES)).unwrap();
        let exit_code = Some(i32::MIN);
        let report = TaskReport {
            healthy: Some(false),
            check: Some(CheckStatus::Command { exit_code }),
            ..TaskReport::new(
                framework.clone(),
                role.clone(),
                &largest,
                TaskState::Running,
            )
        };
        assert_eq!(check_report(&report), Ok(()));
        let named = report.executor.as_ref();
        let named = (&report.task, &*report.name, named);
        let most =
            TaskReport::most_bytes(named, &role, &report.resources, report.published.as_deref());
        assert_eq!(wire::size(&report), most);
        let report = ExecutorReport {
            framework,
            role: role.clone(),
            executor: largest.executor.unwrap(),
        };
        assert_eq!(check_executor_report(&report), Ok(()));
        assert!(wire::size(&report) > limits::TASK_BYTES);
        let most = ExecutorReport::most_bytes(&role, &report.executor);
        assert_eq!(wire::size(&report), most);
    }

    #[test]
    fn an_agent_has_each_number_and_name_once() {
        // VA-30; I1
        let mut agent = AgentInfo::new(
            "one",
            "one:5051",
            Resources::parse("cpus:1;ports(a):[1-5];ports(b):[6-9]").unwrap(),
        );
        check_agent(&agent).unwrap();
        for (text, twice) in [
            ("ports(a):[1-5];ports(b):[3-9]", "ports(b):[3-5]"),
            ("gpu:{a};gpu(b):{a,b}", "gpu(b):{a}"),
        ] {
            agent.resources = Resources::parse(text).unwrap();
            assert_eq!(
                check_agent(&agent).unwrap_err().to_string(),
                alloc::format!("agent has {twice} and the same in another entry")
            );
        }
    }

    #[test]
    fn descriptions_have_a_limit_as_a_whole() {
        let mut framework = FrameworkInfo::new("web");
        framework.principal = Some("x".repeat(limits::FRAMEWORK_BYTES));
        let error = check_framework(&framework).unwrap_err();
        assert!(matches!(
            error,
            Reject::TooLarge {
                what: "framework",
                ..
            }
        ));
        let mut agent = AgentInfo::new(
            "one",
            "one:5051",
            Resources::parse("cpus:1;ports:[1-65536]").unwrap(),
        );
        check_agent(&agent).unwrap();
        for n in 0..limits::AGENT_BYTES / limits::TEXT_BYTES {
            let text = AttributeValue::Text("x".repeat(limits::TEXT_BYTES).into());
            let name = alloc::format!("a{n}");
            agent.attributes.push(Attribute::new(&name, text).unwrap());
        }
        let error = check_agent(&agent).unwrap_err();
        assert!(matches!(error, Reject::TooLarge { what: "agent", .. }));
        agent.attributes = Attributes::default();
        let more = Resources::parse("more:[1-1]").unwrap();
        agent.resources.add(&more).unwrap();
        assert_eq!(
            check_agent(&agent).unwrap_err().to_string(),
            "the agent's set of numbers has 65537 entries, more than the limit of 65536"
        );
    }
}

//! Values that no message can have: their bytes do not decode, and the connection ends (VA-09,
//! VA-10, VA-26, RM-14, RM-60, RM-61).
//!
//! A message that is well-formed has a text or a number in one place that occurs nowhere else; in
//! its bytes that one is replaced. First it is shown that the message decodes with a valid one.

use std::fmt::Debug;
use std::net::IpAddr;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tepui_core::ids::{
    AgentId, ExecutorId, FrameworkId, MasterId, OfferId, RequestId, TaskId, UpdateId,
};
use tepui_core::protocol::agent::{ExecutorReport, TaskReport, ToAgent, ToMaster};
use tepui_core::protocol::discovery::{DiscoveryInfo, DiscoveryPort, Visibility};
use tepui_core::protocol::framework::{FrameworkInfo, Wishes};
use tepui_core::protocol::maintenance::{MachineId, Unavailability, Window};
use tepui_core::protocol::offer::{InverseOffer, Offer, Operation};
use tepui_core::protocol::scheduler::{Call, Event};
use tepui_core::protocol::status::{Source, TaskState, TaskStatus};
use tepui_core::protocol::task::{CommandInfo, ExecutorInfo, TaskInfo};
use tepui_core::protocol::{executor, operator};
use tepui_core::quota::Quota;
use tepui_core::resources::{Ceilings, Label, Labels, Milli, Quantities, Resources};
use tepui_core::roles::Role;
use tepui_core::time::Time;

use super::Catalogue;
use super::stage::{agent_info, framework_info, master_id};

/// Occurs in no message but where it is put.
const MARK: &str = "m4rk3r";
/// The same for numbers, in thousandths.
const NUMBER: i64 = 123_456_789_012;

/// A rule, and a text that breaks it.
type Rule = (&'static str, String);

fn ids() -> Vec<Rule> {
    vec![
        ("an id is not empty", String::new()),
        ("an id has 255 bytes at most", "x".repeat(256)),
        ("an id is not .", ".".into()),
        ("an id is not ..", "..".into()),
        ("an id has no slash", "a/b".into()),
        ("an id has no backslash", "a\\b".into()),
        ("an id has no control character", "a\u{7}b".into()),
    ]
}

fn roles() -> Vec<Rule> {
    vec![
        ("a role is not empty", String::new()),
        ("a role has 4096 bytes at most", "x".repeat(4_097)),
        ("a role has no blank", "a b".into()),
        ("a role has no control character", "a\u{7}b".into()),
        ("a role has no closing parenthesis", "a)b".into()),
        ("a role does not begin with a slash", "/a".into()),
        ("a role does not end with a slash", "a/".into()),
        ("a role has no two slashes in a row", "a//b".into()),
        ("no part of a role is .", "a/./b".into()),
        ("no part of a role is ..", "a/../b".into()),
        ("no part of a role is *", "a/*".into()),
        ("no part of a role begins with -", "a/-b".into()),
    ]
}

fn names() -> Vec<Rule> {
    vec![
        ("a resource has a name", String::new()),
        ("a resource's name has 255 bytes at most", "x".repeat(256)),
        ("a resource's name has no blank before it", " x".into()),
        ("a resource's name has no blank behind it", "x ".into()),
        ("a resource's name has no sign of the grammar", "a;b".into()),
        ("a resource's name has no parenthesis", "a(b".into()),
        (
            "a resource's name has no control character",
            "a\u{7}b".into(),
        ),
    ]
}

/// Shows that a message decodes as it is, and not with any of these texts in the place of the mark.
#[track_caller]
fn texts<M>(catalogue: &mut Catalogue, place: &str, rules: &[Rule], message: &M)
where
    M: Serialize + DeserializeOwned + Debug + PartialEq,
{
    let bytes = postcard::to_allocvec(message).unwrap();
    assert_eq!(postcard::from_bytes::<M>(&bytes).as_ref(), Ok(message));
    let mark = postcard::to_allocvec(MARK).unwrap();
    let at = only(&bytes, &mark, place);
    // The place can hold another text.
    let other = spliced(&bytes, at, mark.len(), "0ther");
    assert!(postcard::from_bytes::<M>(&other).is_ok(), "{place}");
    for (rule, text) in rules {
        let forged = spliced(&bytes, at, mark.len(), text);
        let read = postcard::from_bytes::<M>(&forged);
        assert!(read.is_err(), "{rule} in {place}: {read:?}");
        catalogue.note(rule, place);
    }
}

/// The same for numbers that are not above zero, where they must be.
#[track_caller]
fn numbers<M>(catalogue: &mut Catalogue, place: &str, rules: &[(&str, i64)], message: &M)
where
    M: Serialize + DeserializeOwned + Debug + PartialEq,
{
    let bytes = postcard::to_allocvec(message).unwrap();
    assert_eq!(postcard::from_bytes::<M>(&bytes).as_ref(), Ok(message));
    let mark = postcard::to_allocvec(&NUMBER).unwrap();
    let at = only(&bytes, &mark, place);
    let other = spliced(&bytes, at, mark.len(), &1_000_i64);
    assert!(postcard::from_bytes::<M>(&other).is_ok(), "{place}");
    for (rule, number) in rules {
        let forged = spliced(&bytes, at, mark.len(), number);
        let read = postcard::from_bytes::<M>(&forged);
        assert!(read.is_err(), "{rule} in {place}: {read:?}");
        catalogue.note(rule, place);
    }
}

/// Finds the only place of some bytes.
#[track_caller]
fn only(bytes: &[u8], part: &[u8], place: &str) -> usize {
    let windows = bytes.windows(part.len()).enumerate();
    let found: Vec<usize> = windows
        .filter(|(_, window)| *window == part)
        .map(|(at, _)| at)
        .collect();
    assert_eq!(found.len(), 1, "{place} is marked once");
    found[0]
}

fn spliced<T: Serialize + ?Sized>(bytes: &[u8], at: usize, len: usize, with: &T) -> Vec<u8> {
    let with = postcard::to_allocvec(with).unwrap();
    [&bytes[..at], &with, &bytes[at + len..]].concat()
}

fn agent() -> AgentId {
    AgentId::new("agent-1").unwrap()
}

fn framework() -> FrameworkId {
    FrameworkId::new("framework-1").unwrap()
}

fn task_id() -> TaskId {
    TaskId::new("task-1").unwrap()
}

fn master() -> MasterId {
    master_id()
}

fn marked<T: std::str::FromStr<Err: Debug>>() -> T {
    MARK.parse().unwrap()
}

fn bag() -> Resources {
    Resources::parse("cpus:1").unwrap()
}

fn info(id: FrameworkId) -> FrameworkInfo {
    FrameworkInfo {
        id: Some(id),
        ..framework_info("f")
    }
}

fn task() -> TaskInfo {
    TaskInfo {
        name: "task".into(),
        command: Some(CommandInfo::shell("true")),
        ..TaskInfo::new(task_id(), agent(), bag())
    }
}

fn task_with(executor: ExecutorInfo) -> TaskInfo {
    TaskInfo {
        command: None,
        executor: Some(executor),
        ..task()
    }
}

fn executor_of(id: ExecutorId, resources: Resources) -> ExecutorInfo {
    ExecutorInfo::new(id, resources, CommandInfo::shell("true"))
}

/// Tasks with a marked id in each place that has one.
fn marked_tasks() -> Vec<(&'static str, TaskInfo)> {
    let named = |task: TaskInfo| TaskInfo {
        name: "task".into(),
        ..task
    };
    vec![
        (
            "id of a task",
            named(TaskInfo {
                id: marked(),
                ..task()
            }),
        ),
        (
            "agent of a task",
            TaskInfo {
                agent: marked(),
                ..task()
            },
        ),
        (
            "executor of a task",
            task_with(executor_of(marked(), bag())),
        ),
    ]
}

fn status() -> TaskStatus {
    TaskStatus {
        agent: Some(agent()),
        update: Some(UpdateId(7)),
        ..TaskStatus::new(task_id(), TaskState::Running, Source::Agent, Time::ZERO)
    }
}

fn marked_statuses() -> Vec<(&'static str, TaskStatus)> {
    vec![
        (
            "task of news",
            TaskStatus {
                task: marked(),
                ..status()
            },
        ),
        (
            "agent of news",
            TaskStatus {
                agent: Some(marked()),
                ..status()
            },
        ),
    ]
}

fn report() -> TaskReport {
    let web = Role::new("web").unwrap();
    TaskReport::new(framework(), web, &task(), TaskState::Running)
}

fn executor_report() -> ExecutorReport {
    ExecutorReport {
        framework: framework(),
        role: Role::new("web").unwrap(),
        executor: executor_of(ExecutorId::new("executor-1").unwrap(), bag()),
    }
}

fn marked_reports() -> Vec<(&'static str, TaskReport)> {
    vec![
        (
            "framework of a report",
            TaskReport {
                framework: marked(),
                ..report()
            },
        ),
        (
            "task of a report",
            TaskReport {
                task: marked(),
                ..report()
            },
        ),
        (
            "executor of a report",
            TaskReport {
                executor: Some(marked()),
                ..report()
            },
        ),
    ]
}

fn offer() -> Offer {
    let id = OfferId::new("offer-1").unwrap();
    Offer::new(id, framework(), agent(), bag())
}

fn accept(offers: Vec<OfferId>, tasks: Vec<TaskInfo>) -> Call {
    Call::Accept {
        offers,
        operations: vec![Operation::Launch(tasks)],
        refuse: None,
    }
}

fn reregister(id: AgentId, frameworks: Vec<FrameworkInfo>, tasks: Vec<TaskReport>) -> ToMaster {
    ToMaster::Reregister {
        id,
        agent: agent_info(),
        frameworks,
        tasks,
    }
}

fn run(framework: FrameworkId, role: Role, task: TaskInfo) -> ToAgent {
    ToAgent::RunTask {
        framework,
        role,
        task,
        starts_executor: false,
    }
}

pub(crate) fn check(catalogue: &mut Catalogue) {
    ids_to_masters(catalogue);
    ids_to_agents(catalogue);
    ids_of_frameworks(catalogue);
    ids_of_executors_and_operators(catalogue);
    machines_and_times(catalogue);
    all_roles(catalogue);
    all_names(catalogue);
    all_labels(catalogue);
    all_amounts(catalogue);
}

fn keys() -> Vec<Rule> {
    vec![
        ("a label has a key", String::new()),
        ("a label's key has 4096 bytes at most", "x".repeat(4_097)),
        ("a label's key has no control character", "a\u{7}b".into()),
    ]
}

/// Labels of what tasks and executors publish (TK-01, TK-03, TK-04).
fn all_labels(catalogue: &mut Catalogue) {
    let rules = keys();
    let marked = || Labels::try_from(vec![Label::new(MARK, "v")]).unwrap();
    let labelled = TaskInfo {
        labels: marked(),
        ..task()
    };
    let service = DiscoveryInfo {
        labels: marked(),
        ..DiscoveryInfo::new(Visibility::Cluster)
    };
    let of_service = TaskInfo {
        discovery: Some(Box::new(service.clone())),
        ..task()
    };
    let mut by_port = DiscoveryInfo::new(Visibility::Cluster);
    by_port.ports = vec![DiscoveryPort {
        labels: marked(),
        ..DiscoveryPort::new(80)
    }];
    let of_port = TaskInfo {
        discovery: Some(Box::new(by_port)),
        ..task()
    };
    let executor = || executor_of(ExecutorId::new("executor-1").unwrap(), bag());
    let of_executor = task_with(ExecutorInfo {
        labels: marked(),
        ..executor()
    });
    let of_its_service = task_with(ExecutorInfo {
        discovery: Some(Box::new(service)),
        ..executor()
    });
    for (place, task) in [
        ("task", labelled),
        ("service of a task", of_service),
        ("port of a task", of_port),
        ("executor", of_executor),
        ("service of an executor", of_its_service),
    ] {
        let launched = accept(vec![], vec![task.clone()]);
        let place = format!("label of a {place}");
        texts(catalogue, &format!("call: {place}"), &rules, &launched);
        let run = run(framework(), Role::any(), task.clone());
        texts(catalogue, &format!("to agent: {place}"), &rules, &run);
        if task.executor.is_none() {
            let report = TaskReport::new(framework(), Role::any(), &task, TaskState::Running);
            let report = reregister(agent(), vec![], vec![report]);
            texts(catalogue, &format!("to master: {place}"), &rules, &report);
        }
    }
}

fn ids_to_masters(catalogue: &mut Catalogue) {
    let rules = ids();
    let mut to_master = |place: &str, message: ToMaster| {
        texts(catalogue, &format!("to master: {place}"), &rules, &message);
    };
    to_master("id that comes back", reregister(marked(), vec![], vec![]));
    let frameworks = vec![info(marked())];
    to_master(
        "framework that comes back",
        reregister(agent(), frameworks.clone(), vec![]),
    );
    let tasks = vec![];
    to_master(
        "framework that is reported",
        ToMaster::Report { frameworks, tasks },
    );
    let executors = [
        (
            "framework of an executor that comes back",
            ExecutorReport {
                framework: marked(),
                ..executor_report()
            },
        ),
        (
            "id of an executor that comes back",
            ExecutorReport {
                executor: executor_of(marked(), bag()),
                ..executor_report()
            },
        ),
    ];
    for (place, report) in executors {
        to_master(place, ToMaster::Executors(vec![report]));
    }
    for (place, report) in marked_reports() {
        let tasks = vec![report];
        to_master(
            &format!("{place} that comes back"),
            reregister(agent(), vec![], tasks.clone()),
        );
        let frameworks = vec![];
        to_master(place, ToMaster::Report { frameworks, tasks });
    }
    let update = |framework, status| ToMaster::Update {
        framework,
        status,
        latest: TaskState::Running,
    };
    to_master("framework of news", update(marked(), status()));
    for (place, status) in marked_statuses() {
        to_master(place, update(framework(), status));
    }
}

fn ids_to_agents(catalogue: &mut Catalogue) {
    let rules = ids();
    let web = Role::new("web").unwrap();
    let mut to_agent = |place: &str, message: ToAgent| {
        texts(catalogue, &format!("to agent: {place}"), &rules, &message);
    };
    let ping_timeout = Duration::from_secs(75);
    for (place, id, master) in [
        ("id given", marked(), master()),
        ("master that gives it", agent(), marked()),
    ] {
        let registered = ToAgent::Registered {
            id,
            master,
            epoch: 1,
            ping_timeout,
        };
        to_agent(place, registered);
    }
    for (place, id, master) in [
        ("id kept", marked(), master()),
        ("master that knows it", agent(), marked()),
    ] {
        let reregistered = ToAgent::Reregistered {
            id,
            master,
            epoch: 1,
            ping_timeout,
        };
        to_agent(place, reregistered);
    }
    let whose = "framework of a task to run";
    to_agent(whose, run(marked(), web.clone(), task()));
    for (place, task) in marked_tasks() {
        to_agent(
            &format!("{place} to run"),
            run(framework(), web.clone(), task),
        );
    }
    for (place, framework, task) in [
        ("framework of a kill", marked(), task_id()),
        ("task to kill", framework(), marked()),
    ] {
        let grace = None;
        to_agent(
            place,
            ToAgent::KillTask {
                framework,
                task,
                grace,
            },
        );
    }
    to_agent("framework to end", ToAgent::ShutdownFramework(marked()));
    for (place, framework, task) in [
        ("framework of an acknowledgement", marked(), task_id()),
        ("task of an acknowledgement", framework(), marked()),
    ] {
        let update = UpdateId(7);
        to_agent(
            place,
            ToAgent::Acknowledge {
                framework,
                task,
                update,
            },
        );
    }
    let missing = |framework, task| ToAgent::Missing(vec![(framework, task)]);
    to_agent("framework of what is missing", missing(marked(), task_id()));
    to_agent("task that is missing", missing(framework(), marked()));
}

fn ids_of_frameworks(catalogue: &mut Catalogue) {
    let rules = ids();
    let mut call = |place: &str, call: Call| {
        texts(catalogue, &format!("call: {place}"), &rules, &call);
    };
    let framework_info = info(marked());
    call(
        "id to subscribe under",
        Call::Subscribe {
            framework: framework_info,
            wishes: Wishes::default(),
        },
    );
    call("offer accepted", accept(vec![marked()], vec![task()]));
    for (place, task) in marked_tasks() {
        call(&format!("{place} to launch"), accept(vec![], vec![task]));
    }
    let (offers, refuse) = (vec![marked()], None);
    call("offer declined", Call::Decline { offers, refuse });
    let (offers, refuse) = (vec![marked()], None);
    call(
        "inverse offer accepted",
        Call::AcceptInverse { offers, refuse },
    );
    let (offers, refuse) = (vec![marked()], None);
    call(
        "inverse offer declined",
        Call::DeclineInverse { offers, refuse },
    );
    let (task, grace) = (marked(), None);
    call("task to kill", Call::Kill { task, grace });
    for (place, agent, task) in [
        ("agent of what is acknowledged", marked(), task_id()),
        ("task of what is acknowledged", agent(), marked()),
    ] {
        let update = UpdateId(7);
        call(
            place,
            Call::Acknowledge {
                agent,
                task,
                update,
            },
        );
    }
    let mut event = |place: &str, event: Event| {
        texts(catalogue, &format!("event: {place}"), &rules, &event);
    };
    for (place, framework, master) in [
        ("id subscribed under", marked(), master()),
        ("master subscribed to", framework(), marked()),
    ] {
        let heartbeat = Duration::from_secs(15);
        event(
            place,
            Event::Subscribed {
                framework,
                master,
                epoch: 1,
                heartbeat,
                domain: None,
            },
        );
    }
    let offered = |offer| Event::Offers(vec![offer]);
    let mut with = offer();
    with.id = marked();
    event("id of an offer", offered(with));
    let mut with = offer();
    with.framework = marked();
    event("framework of an offer", offered(with));
    let mut with = offer();
    with.agent = marked();
    event("agent of an offer", offered(with));
    event("offer taken back", Event::Rescind(marked()));
    let mut with = offer();
    with.executors = vec![marked()];
    event("executor of an offer", offered(with));
    let asked = |id, framework, agent| {
        Event::InverseOffers(vec![InverseOffer {
            id,
            framework,
            agent,
            hostname: String::new(),
            resources: bag(),
            unavailability: Unavailability {
                start: Time::ZERO,
                duration: None,
            },
        }])
    };
    let id = || offer().id;
    event(
        "id of an inverse offer",
        asked(marked(), framework(), agent()),
    );
    event(
        "framework of an inverse offer",
        asked(id(), marked(), agent()),
    );
    event(
        "agent of an inverse offer",
        asked(id(), framework(), marked()),
    );
    event("inverse offer taken back", Event::RescindInverse(marked()));
    for (place, status) in marked_statuses() {
        event(place, Event::Update(status));
    }
}

fn ids_of_executors_and_operators(catalogue: &mut Catalogue) {
    let rules = ids();
    let mut call = |place: &str, call: executor::Call| {
        texts(catalogue, &format!("executor: {place}"), &rules, &call);
    };
    let executor_id = || ExecutorId::new("executor-1").unwrap();
    let subscribe = |framework, executor, tasks, updates| executor::Call::Subscribe {
        framework,
        executor,
        tasks,
        updates,
    };
    call(
        "its framework",
        subscribe(marked(), executor_id(), vec![], vec![]),
    );
    call(
        "its own id",
        subscribe(framework(), marked(), vec![], vec![]),
    );
    call(
        "task that it has",
        subscribe(framework(), executor_id(), vec![marked()], vec![]),
    );
    for (place, status) in marked_statuses() {
        call(place, executor::Call::Update(status.clone()));
        call(
            &format!("{place} said again"),
            subscribe(framework(), executor_id(), vec![], vec![status]),
        );
    }
    let mut event = |place: &str, event: executor::Event| {
        texts(catalogue, &format!("to executor: {place}"), &rules, &event);
    };
    let agent = marked();
    event("its agent", executor::Event::Subscribed { agent });
    for (place, task) in marked_tasks() {
        event(place, executor::Event::Launch(task));
    }
    let (task, grace) = (marked(), Duration::ZERO);
    event("task to kill", executor::Event::Kill { task, grace });
    let (task, update) = (marked(), UpdateId(7));
    event(
        "task of an acknowledgement",
        executor::Event::Acknowledged { task, update },
    );
    let call = operator::Call::Kill {
        framework: Some(marked()),
        task: "t".into(),
        grace: None,
    };
    texts(
        catalogue,
        "operator: framework of a kill",
        &rules,
        &asked(call),
    );
    let call = operator::Call::Teardown {
        framework: marked(),
    };
    let place = "operator: framework of a teardown";
    texts(catalogue, place, &rules, &asked(call));
    let call = operator::Call::Explain {
        framework: marked(),
        role: Role::any(),
    };
    let place = "operator: framework to explain";
    texts(catalogue, place, &rules, &asked(call));
}

/// An address has four or sixteen bytes, and a duration no more than a thousand million nanoseconds
/// beside its seconds (VA-26).
fn machines_and_times(catalogue: &mut Catalogue) {
    let schedule = |ip: IpAddr, nanos| {
        asked(operator::Call::SetSchedule {
            windows: vec![Window {
                machines: vec![MachineId {
                    hostname: MARK.into(),
                    ip: Some(ip),
                }],
                unavailability: Unavailability {
                    start: Time::ZERO,
                    duration: Some(Duration::new(3, nanos)),
                },
            }],
        })
    };
    let request = schedule([10, 20, 30, 40].into(), 7);
    let bytes = postcard::to_allocvec(&request).unwrap();
    let at = only(&bytes, &[0, 10, 20, 30, 40], "address of a machine");
    let mut forged = bytes.clone();
    forged[at] = 2;
    let read = postcard::from_bytes::<operator::Request>(&forged);
    assert!(read.is_err(), "{read:?}");
    catalogue.note("an address is of version 4 or 6", "operator: schedule");
    // The first part of an address of version 6 does not suffice.
    forged[at] = 1;
    let read = postcard::from_bytes::<operator::Request>(&forged);
    assert!(read.is_err(), "{read:?}");
    catalogue.note("an address is whole", "operator: schedule");
    let longest = postcard::to_allocvec(&(u64::MAX, 2_000_000_000_u32)).unwrap();
    let at = only(&bytes, &[3, 7], "duration of a window");
    let forged = [&bytes[..at], &longest, &bytes[at + 2..]].concat();
    let read = postcard::from_bytes::<operator::Request>(&forged);
    assert!(read.is_err(), "{read:?}");
    catalogue.note("a duration fits its numbers", "operator: schedule");
}

fn asked(call: operator::Call) -> operator::Request {
    operator::Request {
        id: RequestId(7),
        call,
        after: None,
    }
}

fn all_roles(catalogue: &mut Catalogue) {
    let rules = roles();
    let subscribe = Call::Subscribe {
        framework: FrameworkInfo {
            roles: vec![marked()],
            ..framework_info("f")
        },
        wishes: Wishes::default(),
    };
    texts(catalogue, "call: role of a framework", &rules, &subscribe);
    let message = run(framework(), marked(), task());
    texts(catalogue, "to agent: role of a task", &rules, &message);
    let reported = TaskReport {
        role: marked(),
        ..report()
    };
    let message = reregister(agent(), vec![], vec![reported]);
    texts(catalogue, "to master: role of a task", &rules, &message);
    let mut with = offer();
    with.role = marked();
    let event = Event::Offers(vec![with]);
    texts(catalogue, "event: role of an offer", &rules, &event);
    let quotas = vec![(marked(), Quota::default())];
    let call = operator::Call::UpdateQuota {
        quotas,
        force: false,
    };
    texts(catalogue, "operator: role of a quota", &rules, &asked(call));
    let call = operator::Call::Explain {
        framework: framework(),
        role: marked(),
    };
    let place = "operator: role to explain";
    texts(catalogue, place, &rules, &asked(call));
    let weights = vec![(marked(), Milli::from_units(1))];
    let call = operator::Call::UpdateWeights { weights };
    texts(
        catalogue,
        "operator: role of a weight",
        &rules,
        &asked(call),
    );
    let reserved = Resources::parse(&format!("cpus({MARK}):1")).unwrap();
    for (place, message) in with_bags(&reserved) {
        let place = format!("{place}: role of a reservation");
        texts(catalogue, &place, &rules, &message);
    }
}

/// A message to the master with these resources, for each place that it has for some.
fn with_bags(bag: &Resources) -> Vec<(&'static str, Said)> {
    let agent_with = |resources: &Resources| {
        let mut agent = agent_info();
        agent.resources = resources.clone();
        agent
    };
    let task_of = |resources: &Resources| TaskInfo {
        resources: resources.clone(),
        ..task()
    };
    let executor_id = || ExecutorId::new("executor-1").unwrap();
    let with_executor = || task_with(executor_of(executor_id(), bag.clone()));
    let report_of = |task: &TaskInfo| {
        let web = Role::new("web").unwrap();
        let report = TaskReport::new(framework(), web, task, TaskState::Running);
        vec![report]
    };
    vec![
        (
            "agent",
            Said::Agent(ToMaster::Register {
                agent: agent_with(bag),
            }),
        ),
        (
            "agent that comes back",
            Said::Agent(ToMaster::Reregister {
                id: agent(),
                agent: agent_with(bag),
                frameworks: vec![],
                tasks: vec![],
            }),
        ),
        (
            "task to launch",
            Said::Scheduler(accept(vec![], vec![task_of(bag)])),
        ),
        (
            "executor to launch",
            Said::Scheduler(accept(vec![], vec![with_executor()])),
        ),
        (
            "task that comes back",
            Said::Agent(reregister(agent(), vec![], report_of(&task_of(bag)))),
        ),
        (
            "executor that comes back",
            Said::Agent(ToMaster::Executors(vec![ExecutorReport {
                executor: executor_of(executor_id(), bag.clone()),
                ..executor_report()
            }])),
        ),
    ]
}

/// What is said to a master, as one type; its first byte says by whom.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
enum Said {
    Agent(ToMaster),
    Scheduler(Call),
}

fn all_names(catalogue: &mut Catalogue) {
    let rules = names();
    let named = Resources::parse(&format!("{MARK}:1")).unwrap();
    for (place, message) in with_bags(&named) {
        let place = format!("{place}: name of a resource");
        texts(catalogue, &place, &rules, &message);
    }
    let quota = |guarantees: &str, limits: &str| {
        let quota = Quota {
            guarantees: Quantities::parse(guarantees).unwrap(),
            limits: Ceilings::parse(limits).unwrap(),
        };
        asked(operator::Call::UpdateQuota {
            quotas: vec![(Role::any(), quota)],
            force: false,
        })
    };
    let marked = format!("{MARK}:1");
    let (guarantee, limit) = (quota(&marked, ""), quota("", &marked));
    texts(catalogue, "quota: name of a guarantee", &rules, &guarantee);
    texts(catalogue, "quota: name of a limit", &rules, &limit);
}

fn all_amounts(catalogue: &mut Catalogue) {
    let rules = [
        ("an amount is not below zero", -1),
        ("an amount is above the least number", i64::MIN),
        ("what there is none of is not named", 0),
    ];
    let some = format!("cpus:{}", Milli::from_thousandths(NUMBER));
    let bag = Resources::parse(&some).unwrap();
    for (place, message) in with_bags(&bag) {
        let place = format!("{place}: amount of a resource");
        numbers(catalogue, &place, &rules, &message);
    }
}

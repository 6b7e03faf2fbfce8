//! Tasks that a master does not launch (VA-02, VA-13, VA-15, TK-04, TK-08, TK-11 to TK-13).
//!
//! An accept of which nothing can be launched leaves the same behind as a decline.

use std::time::Duration;

use tepui_core::ids::ExecutorId;
use tepui_core::limits;
use tepui_core::machine::Output;
use tepui_core::master::Effect;
use tepui_core::protocol::container_info::{ContainerInfo, Image};
use tepui_core::protocol::offer::{Operation, TaskGroup};
use tepui_core::protocol::scheduler::{Call, Event};
use tepui_core::protocol::status::{Reason, Source, TaskState};
use tepui_core::protocol::task::{CommandInfo, ExecutorInfo, Limit, TaskInfo};
use tepui_core::resources::{Milli, Resources};

use super::Catalogue;
use super::stage::{FRAMEWORK, Stage, agent_id, resources, task, task_id};
use super::{containers, discovery};

/// What is wrong, what is said about it, and how it is made so.
type Rule<T> = (&'static str, &'static str, fn(&mut T));

const OF_TASKS: [Rule<TaskInfo>; 15] = [
    (
        "a name has 4096 bytes at most",
        "task name has 4097 bytes, more than the limit of 4096",
        |task| task.name = "x".repeat(4_097),
    ),
    (
        "a name has no NUL",
        "task name contains a NUL byte",
        |task| task.name = "a\0b".into(),
    ),
    (
        "a task takes a part of a frame",
        "more than the limit of 2097152",
        |task| task.data = vec![7; limits::TASK_BYTES],
    ),
    ("a task needs something", "task has no resources", |task| {
        task.resources = Resources::new()
    }),
    (
        "a task is for the agent of its offer",
        "task is for agent rio-1-S1, but the offer is of agent rio-1-S0",
        |task| task.agent = agent_id(1),
    ),
    (
        "a task needs no more than is offered",
        "task needs cpus:9 but the offer has",
        |task| task.resources = resources("cpus:9;mem:32"),
    ),
    (
        "a task needs nothing that is not offered",
        "task needs gpus:1 but the offer has no gpus left",
        |task| task.resources = resources("gpus:1;mem:32"),
    ),
    (
        "devices are whole",
        "task has gpus:0.5: expected whole devices",
        |task| task.resources = resources("cpus:1;gpus:0.5"),
    ),
    (
        "what a task takes is of one sort",
        "some of cpus is revocable, and some is not",
        |task| task.resources = resources("cpus:1;cpus(*)<revocable>:1"),
    ),
    (
        "a volume is named once",
        "names a volume that is named before",
        |task| {
            let (one, other) = (
                "disk(a)<volume=\"v\",rw=\"p\">:1",
                "disk(a)<volume=\"v\",rw=\"q\">:2",
            );
            task.resources = resources(&format!("{one};{other}"));
        },
    ),
    ("a task ends within a year", "the task's grace is", |task| {
        task.kill_grace = Some(limits::GRACE + Duration::from_secs(1));
    }),
    (
        "a limit of processes leaves some",
        "the task's limit of processes is zero",
        |task| task.pids = Some(0),
    ),
    (
        "a limit leaves a task what it takes",
        "the limit of cpus is 0.001",
        |task| task.limits.cpus = Some(Limit::Amount(Milli::from_thousandths(1))),
    ),
    (
        "a limit is of what a task takes",
        "mem has a limit, but the task takes none of it",
        |task| {
            task.resources = resources("cpus:1");
            task.limits.mem = Some(Limit::Unlimited);
        },
    ),
    (
        "an id that is in use is not used again",
        "task id runs is used already",
        |task| task.id = task_id("runs"),
    ),
];

const OF_COMMANDS: [Rule<CommandInfo>; 13] = [
    ("a command is something", "command is empty", |it| {
        it.value = String::new();
    }),
    (
        "a command has no NUL",
        "command contains a NUL byte",
        |it| {
            it.value = "a\0b".into();
        },
    ),
    (
        "arguments are 4096 at most",
        "argument list has 4097 entries, more than the limit of 4096",
        |it| it.arguments = vec!["x".into(); 4_097],
    ),
    (
        "an argument has no NUL",
        "argument contains a NUL byte",
        |it| {
            it.arguments = vec!["a\0b".into()];
        },
    ),
    (
        "variables are 4096 at most",
        "environment has 4097 entries, more than the limit of 4096",
        |it| it.environment = vec![("A".into(), "b".into()); 4_097],
    ),
    (
        "a variable has a name",
        "invalid environment variable name \"\"",
        |it| it.environment = vec![(String::new(), "b".into())],
    ),
    (
        "a variable's name has no =",
        "invalid environment variable name \"A=B\"",
        |it| it.environment = vec![("A=B".into(), "b".into())],
    ),
    (
        "a variable's name has no NUL",
        "invalid environment variable name \"A\\0\"",
        |it| it.environment = vec![("A\0".into(), "b".into())],
    ),
    (
        "a variable's value has no NUL",
        "environment variable contains a NUL byte",
        |it| it.environment = vec![("A".into(), "a\0b".into())],
    ),
    (
        "the second variable's name counts as the first's",
        "invalid environment variable name \"C=\"",
        |it| it.environment = vec![("A".into(), "b".into()), ("C=".into(), "d".into())],
    ),
    ("a user has a name", "user is empty", |it| {
        it.user = Some(String::new());
    }),
    (
        "a user's name has no NUL",
        "user contains a NUL byte",
        |it| {
            it.user = Some("a\0b".into());
        },
    ),
    (
        "a user's name has 4096 bytes at most",
        "user has 4097 bytes, more than the limit of 4096",
        |it| it.user = Some("x".repeat(4_097)),
    ),
];

fn executor() -> ExecutorInfo {
    let id = ExecutorId::new("e").unwrap();
    ExecutorInfo::new(id, resources("cpus:1;mem:32"), CommandInfo::shell("serve"))
}

fn with_executor(id: &str) -> TaskInfo {
    TaskInfo {
        command: None,
        executor: Some(executor()),
        ..task(id)
    }
}

/// Checks that of an accept nothing is launched, each task being answered with such a text.
#[track_caller]
fn refuses(tasks: Vec<TaskInfo>, texts: &[&str]) {
    let mut stage = Stage::new();
    let offer = stage.offer(FRAMEWORK, 0).id;
    let refuse = Some(Duration::ZERO);
    let outputs = stage.call(
        FRAMEWORK,
        Call::Accept {
            offers: vec![offer.clone()],
            operations: vec![Operation::Launch(tasks.clone())],
            refuse,
        },
    );
    assert_eq!(outputs.len(), texts.len(), "{outputs:?}");
    for ((output, task), text) in outputs.iter().zip(&tasks).zip(texts) {
        let Output::Effect(Effect::Scheduler {
            peer: FRAMEWORK,
            event: Event::Update(status),
        }) = output
        else {
            panic!("{output:?}");
        };
        assert_eq!(status.task, task.id);
        assert_eq!(status.source, Source::Master);
        assert_eq!(status.reason, Some(Reason::TaskInvalid));
        assert!(status.message.contains(text), "{text}: {}", status.message);
        if task.id != task_id("runs") {
            assert_eq!(status.state, TaskState::Error);
        }
    }
    let mut declined = Stage::new();
    declined.call(
        FRAMEWORK,
        Call::Decline {
            offers: vec![offer],
            refuse,
        },
    );
    assert_eq!(stage.state(), declined.state());
}

/// Checks that what nothing is wrong with is launched.
fn launches(task: TaskInfo) {
    let mut stage = Stage::new();
    let offers = vec![stage.offer(FRAMEWORK, 0).id];
    let operations = vec![Operation::Launch(vec![task])];
    let refuse = None;
    let outputs = stage.call(
        FRAMEWORK,
        Call::Accept {
            offers,
            operations,
            refuse,
        },
    );
    let is_told =
        |output: &Output<_, Effect>| matches!(output, Output::Effect(Effect::Agent { .. }));
    assert!(outputs.iter().any(is_told), "{outputs:?}");
}

pub(crate) fn check(catalogue: &mut Catalogue) {
    launches(task("t"));
    launches(with_executor("t"));
    type Make = fn(&str) -> TaskInfo;
    let places: [(&str, Make); 2] = [
        ("task with a command", task),
        ("task with an executor", with_executor),
    ];
    for (place, make) in places {
        for (rule, text, spoil) in OF_TASKS {
            let mut task = make("t");
            spoil(&mut task);
            refuses(vec![task], &[text]);
            catalogue.note(rule, place);
            // Wherever it stands in the list.
            let mut second = make("t");
            spoil(&mut second);
            let mut first = make("u");
            first.resources = Resources::new();
            refuses(vec![first, second], &["task has no resources", text]);
            catalogue.note(rule, &format!("second {place}"));
        }
    }
    for (rule, text, spoil) in OF_COMMANDS {
        let mut bad = task("t");
        spoil(bad.command.as_mut().unwrap());
        refuses(vec![bad], &[text]);
        catalogue.note(rule, "command of a task");
        let mut bad = with_executor("t");
        spoil(&mut bad.executor.as_mut().unwrap().command);
        refuses(vec![bad], &[text]);
        catalogue.note(rule, "command of an executor");
    }
    what_to_run(catalogue);
}

/// What a task or its executor may not publish (TK-04).
pub(crate) fn check_published(catalogue: &mut Catalogue) {
    let mut task = with_executor("t");
    let published = discovery::published();
    (task.labels, task.discovery) = (published.labels.clone(), published.discovery.clone());
    let executor = task.executor.as_mut().unwrap();
    (executor.labels, executor.discovery) = (published.labels, published.discovery);
    launches(task.clone());
    for (rule, text, spoil) in discovery::RULES {
        let mut published = discovery::published();
        spoil(&mut published);
        let (labels, service) = (published.labels, published.discovery);
        let mut bad = task.clone();
        (bad.labels, bad.discovery) = (labels.clone(), service.clone());
        refuses(vec![bad], &[text]);
        catalogue.note(rule, "task");
        let mut bad = task.clone();
        let executor = bad.executor.as_mut().unwrap();
        (executor.labels, executor.discovery) = (labels, service);
        refuses(vec![bad], &[text]);
        catalogue.note(rule, "executor");
    }
}

/// What a task or its executor may not ask for, fetch, or have checked (VA-03, VA-04, VA-06, VA-07,
/// TK-10, TK-17).
pub(crate) fn check_containers(catalogue: &mut Catalogue) {
    let takes = resources("cpus:1;mem:32;ports:[8-9]");
    let mut alone = task("t");
    alone.resources = takes.clone();
    alone.container = Some(Box::new(containers::container()));
    alone.command.as_mut().unwrap().uris = containers::uris();
    alone.check = containers::check_info(containers::check());
    alone.health_check = containers::health_check(containers::check());
    launches(alone.clone());
    let mut hosted = with_executor("t");
    let executor = hosted.executor.as_mut().unwrap();
    executor.resources = takes;
    executor.container = Some(Box::new(containers::container()));
    executor.command.uris = containers::uris();
    launches(hosted.clone());
    for (rule, text, spoil) in containers::OF_CONTAINERS {
        let mut bad = alone.clone();
        spoil(bad.container.as_mut().unwrap());
        refuses(vec![bad], &[text]);
        catalogue.note(rule, "task");
        let mut bad = hosted.clone();
        spoil(bad.executor.as_mut().unwrap().container.as_mut().unwrap());
        refuses(vec![bad], &[text]);
        catalogue.note(rule, "executor");
    }
    for (rule, text, spoil) in containers::OF_URIS {
        let mut bad = alone.clone();
        spoil(bad.command.as_mut().unwrap());
        refuses(vec![bad], &[text]);
        catalogue.note(rule, "command of a task");
        let mut bad = hosted.clone();
        spoil(&mut bad.executor.as_mut().unwrap().command);
        refuses(vec![bad], &[text]);
        catalogue.note(rule, "command of an executor");
    }
    for (rule, text, spoil) in containers::OF_CHECKS {
        let mut check = containers::check();
        spoil(&mut check);
        let mut bad = alone.clone();
        bad.check = containers::check_info(check.clone());
        refuses(vec![bad], &[text]);
        catalogue.note(rule, "check");
        let mut bad = alone.clone();
        bad.health_check = containers::health_check(check);
        refuses(vec![bad], &[text]);
        catalogue.note(rule, "health check");
    }
    let mut bad = alone.clone();
    bad.health_check.as_mut().unwrap().consecutive_failures = 0;
    refuses(
        vec![bad],
        &["the number of failures of the health check is zero"],
    );
    catalogue.note("a failure at least is too many", "health check");
    let mut bad = alone.clone();
    bad.health_check.as_mut().unwrap().grace = limits::GRACE + Duration::from_secs(1);
    refuses(vec![bad], &["the grace of the health check is"]);
    catalogue.note("failures count within a year", "health check");
    hosted.check.clone_from(&alone.check);
    refuses(vec![hosted], &["a check needs a command"]);
    catalogue.note("a check needs a command", "task with an executor");
    // DR-01, DR-05: without a command the image says what is run, but not what a shell runs.
    let command = alone.command.as_mut().unwrap();
    (command.shell, command.value) = (false, String::new());
    launches(alone.clone());
    alone.command.as_mut().unwrap().shell = true;
    refuses(vec![alone], &["command is empty"]);
    catalogue.note("a shell runs something", "command of a task with an image");
}

fn what_to_run(catalogue: &mut Catalogue) {
    // TK-01, TK-12: a command, or an executor
    let neither = TaskInfo {
        command: None,
        ..task("t")
    };
    refuses(
        vec![neither],
        &["task has neither a command nor an executor, exactly one is expected"],
    );
    catalogue.note("a task has something to run", "task");
    let both = TaskInfo {
        executor: Some(executor()),
        ..task("t")
    };
    refuses(
        vec![both],
        &["task has both a command and an executor, exactly one is expected"],
    );
    catalogue.note("a task has one thing to run", "task");
    let mut bad = with_executor("t");
    let grace = limits::GRACE + Duration::from_secs(1);
    bad.executor.as_mut().unwrap().shutdown_grace = Some(grace);
    refuses(vec![bad], &["the executor's grace is"]);
    catalogue.note("an executor ends within a year", "executor");
    for (rule, needs, text) in [
        (
            "devices are whole",
            "gpus:0.5",
            "executor has gpus:0.5: expected whole devices",
        ),
        (
            "an executor has nothing that is shared",
            "disk(a)<volume=\"v\",rw=\"p\",shared>:1",
            "which is shared",
        ),
        (
            "what a task and its executor take is of one sort",
            "cpus(*)<revocable>:1",
            "some of cpus is revocable, and some is not",
        ),
        (
            "an executor needs no more than is offered",
            "cpus:9",
            "executor needs cpus:9 but the offer has",
        ),
        (
            "an executor needs nothing that is not offered",
            "gpus:1",
            "executor needs gpus:1 but the offer has no gpus left",
        ),
        (
            "task and executor share no port",
            "ports:[1-1]",
            "executor needs ports:[1-1] but the offer has",
        ),
    ] {
        let mut bad = with_executor("t");
        bad.resources = resources("cpus:1;ports:[1-1]");
        bad.executor.as_mut().unwrap().resources = resources(needs);
        refuses(vec![bad], &[text]);
        catalogue.note(rule, "executor");
    }
}

fn group_executor() -> ExecutorInfo {
    let id = ExecutorId::new("of-groups").unwrap();
    ExecutorInfo::built_in(id, resources("cpus:0.1;mem:32"))
}

fn group() -> TaskGroup {
    TaskGroup {
        executor: group_executor(),
        tasks: vec![task("t"), task("u"), task("v")],
    }
}

fn of_an_image() -> ContainerInfo {
    let (reference, cached) = ("team/app".to_owned(), true);
    ContainerInfo {
        image: Some(Image { reference, cached }),
        ..ContainerInfo::default()
    }
}

/// What is wrong with a group, and what is said to all its tasks.
#[rustfmt::skip]
const OF_GROUPS: [Rule<TaskGroup>; 19] = [
    ("a group has 256 tasks at most", "group has 257 entries, more than the limit of 256",
     |it| it.tasks = (0..257).map(|n| task(&format!("t{n}"))).collect()),
    ("a group fits a frame", "group takes ",
     |it| it.tasks[0].data = vec![0; 3 << 20]),
    ("a task is launched once", "task id t is used already",
     |it| it.tasks[1].id = task_id("t")),
    ("an id is not used again", "task id runs is used already",
     |it| it.tasks[1].id = task_id("runs")),
    ("a group has one executor", "task u has another executor than its group",
     |it| it.tasks[1].executor = Some(executor())),
    ("the executor of a group has CPU", "the executor of a group has 0.009 cpus, less than 0.01",
     |it| it.executor.resources = resources("cpus:0.009;mem:32")),
    ("the executor of a group has memory", "the executor of a group has 31 mem, less than 32",
     |it| it.executor.resources = resources("cpus:1;mem:31")),
    ("the agent's own executor has no command", "task has both a command and an executor",
     |it| it.executor.command = CommandInfo::shell("serve")),
    ("a group has networks in common", "a group needs no more in common than networks",
     |it| it.executor.container = Some(Box::new(of_an_image()))),
    ("tasks of the agent's own executor have commands", "task has neither a command nor",
     |it| it.tasks[2].command = None),
    ("tasks of another executor have no commands", "task has both a command and an executor",
     |it| it.executor = executor()),
    ("a task has resources", "task has no resources",
     |it| it.tasks[1].resources = Resources::new()),
    ("a task fits its offers", "task v: task needs cpus:99",
     |it| it.tasks[2].resources = resources("cpus:99")),
    ("the executor of a group fits its offers", "task t: executor needs cpus:99",
     |it| it.executor.resources = resources("cpus:99;mem:32")),
    ("a task is for the agent of its offers", "task u: task is for agent",
     |it| it.tasks[1].agent = agent_id(1)),
    ("a command is not empty", "task t: command is empty",
     |it| it.tasks[0].command = Some(CommandInfo::shell(""))),
    ("a grace is a year at most", "the executor's grace is",
     |it| it.executor.shutdown_grace = Some(Duration::MAX)),
    ("a port is not zero", "task v: port of a service is zero",
     |it| it.tasks[2].discovery = discovery::bad_port()),
    ("a port of the executor is not zero", "port of a service is zero",
     |it| it.executor.discovery = discovery::bad_port()),
];

/// Of a group all is refused, and the rest of the accept is as if it had not been there (OF-23,
/// VA-14, TK-14, TK-15).
pub(crate) fn check_groups(catalogue: &mut Catalogue) {
    let accept = |stage: &mut Stage, operation: Operation| {
        let offers = vec![stage.offer(FRAMEWORK, 0).id];
        let refuse = Some(Duration::ZERO);
        let operations = vec![operation];
        stage.call(
            FRAMEWORK,
            Call::Accept {
                offers,
                operations,
                refuse,
            },
        )
    };
    let outputs = accept(&mut Stage::new(), Operation::LaunchGroup(group()));
    let text = format!("{outputs:?}");
    assert!(
        text.contains("RunGroup"),
        "nothing is wrong with it: {text}"
    );
    let alone = TaskInfo {
        executor: Some(group_executor()),
        ..task("t")
    };
    refuses(
        vec![alone],
        &["the agent's own executor runs groups of tasks only"],
    );
    catalogue.note(
        "the agent's own executor runs groups",
        "task with an executor",
    );
    let mut declined = Stage::new();
    accept(&mut declined, Operation::Launch(vec![]));
    for (rule, text, spoil) in OF_GROUPS {
        let mut stage = Stage::new();
        let mut group = group();
        spoil(&mut group);
        let ids: Vec<_> = group.tasks.iter().map(|task| task.id.clone()).collect();
        let outputs = accept(&mut stage, Operation::LaunchGroup(group));
        assert_eq!(outputs.len(), ids.len(), "{rule}: {outputs:?}");
        for (output, id) in outputs.iter().zip(ids) {
            let Output::Effect(Effect::Scheduler { event, .. }) = output else {
                panic!("{rule}: {output:?}");
            };
            let Event::Update(status) = event else {
                panic!("{rule}: {event:?}");
            };
            assert_eq!(status.task, id);
            assert_eq!(status.reason, Some(Reason::TaskGroupInvalid), "{rule}");
            assert!(status.message.contains(text), "{rule}: {}", status.message);
        }
        assert_eq!(stage.state(), declined.state(), "{rule}");
        catalogue.note(rule, "group");
    }
    let mut stage = Stage::new();
    let nobody = TaskGroup {
        tasks: vec![],
        ..group()
    };
    accept(&mut stage, Operation::LaunchGroup(nobody));
    assert_eq!(stage.state(), declined.state());
    catalogue.note("a group has tasks", "group");
}

//! Agents that may not join, and what they may not say (VA-30, RM-55, SM-10, TK-116, I16).

use std::sync::Arc;

use tepui_core::ids::{ExecutorId, FrameworkId, PeerId};
use tepui_core::limits;
use tepui_core::machine::Output;
use tepui_core::master::Effect;
use tepui_core::protocol::agent::{ExecutorReport, TaskReport, ToAgent, ToMaster};
use tepui_core::protocol::disk::{DiskChange, DiskJob};
use tepui_core::protocol::framework::FrameworkInfo;
use tepui_core::protocol::node::{AgentInfo, Domain};
use tepui_core::protocol::operation::{Converted, Owner};
use tepui_core::protocol::status::{Source, TaskState, TaskStatus};
use tepui_core::protocol::task::{CommandInfo, ExecutorInfo};
use tepui_core::resources::Resources;
use tepui_core::roles::Role;
use tepui_core::time::Time;

use super::Catalogue;
use super::discovery;
use super::stage::{
    AGENT, NEW_AGENT, OTHER_AGENT, Stage, agent_id, agent_info, framework_id, framework_info,
    resources, task, task_id,
};

/// What is wrong, what is said about it, and how it is made so.
type Rule = (&'static str, &'static str, fn(&mut AgentInfo));

const RULES: [Rule; 22] = [
    ("a hostname is something", "agent hostname is empty", |it| {
        it.hostname = String::new();
    }),
    (
        "a hostname has no NUL",
        "agent hostname contains a NUL byte",
        |it| it.hostname = "a\0b".into(),
    ),
    (
        "a hostname has 4096 bytes at most",
        "agent hostname has 4097 bytes",
        |it| it.hostname = "x".repeat(4_097),
    ),
    ("an address is something", "agent address is empty", |it| {
        it.address = String::new();
    }),
    (
        "an address has no NUL",
        "agent address contains a NUL byte",
        |it| it.address = "a\0b".into(),
    ),
    (
        "an address has 4096 bytes at most",
        "agent address has 4097 bytes",
        |it| it.address = "x".repeat(4_097),
    ),
    ("an address has a port", "has no port", |it| {
        it.address = "host".into();
    }),
    ("a region is something", "agent region is empty", |it| {
        it.domain = domain("", "a");
    }),
    (
        "a region has no NUL",
        "agent region contains a NUL byte",
        |it| it.domain = domain("e\0u", "a"),
    ),
    (
        "a region has 4096 bytes at most",
        "agent region has 4097 bytes",
        |it| it.domain = domain(&"x".repeat(4_097), "a"),
    ),
    ("a zone is something", "agent zone is empty", |it| {
        it.domain = domain("eu", "");
    }),
    (
        "a zone has no NUL",
        "agent zone contains a NUL byte",
        |it| {
            it.domain = domain("eu", "\0");
        },
    ),
    (
        "a zone has 4096 bytes at most",
        "agent zone has 4097 bytes",
        |it| it.domain = domain("eu", &"x".repeat(4_097)),
    ),
    (
        "an agent stands somewhere only if its master does",
        "it names a region and a zone, and this master has none",
        |it| it.domain = domain("eu", "a"),
    ),
    (
        "devices are whole",
        "agent has gpus:0.5: expected whole devices",
        |it| it.resources = resources("cpus:1;gpus:0.5"),
    ),
    (
        "an agent is not set up with what was reserved",
        "which only operations make",
        |it| it.resources = resources("cpus(*)<dynamic=\"a\">:1"),
    ),
    (
        "an agent is not set up with volumes",
        "which only operations make",
        |it| it.resources = resources("disk(a)<volume=\"v\",rw=\"p\">:1"),
    ),
    ("an agent has something", "agent has no resources", |it| {
        it.resources = Resources::new();
    }),
    (
        "an agent has a number once",
        "and the same in another entry",
        |it| it.resources = resources("ports(a):[1-9];ports(b):[9-12]"),
    ),
    (
        "an agent has a name once",
        "and the same in another entry",
        |it| it.resources = resources("disks(a):{sda,sdb};disks(b):{sdb}"),
    ),
    (
        "numbers are 65536 at most",
        "the agent's set of numbers has 65537 entries",
        |it| it.resources = resources("ports:[0-65536]"),
    ),
    (
        "a description fits its part of a frame",
        "more than the limit of 524288",
        |it| {
            let names: Vec<String> = (0..3_000).map(|n| format!("{n:0>200}")).collect();
            it.resources = resources(&format!("disks:{{{}}}", names.join(",")));
        },
    ),
];

fn domain(region: &str, zone: &str) -> Option<Domain> {
    let (region, zone) = (region.into(), zone.into());
    Some(Domain { region, zone })
}

/// Checks that an agent is turned away with such a text, and that nothing has come of it.
#[track_caller]
fn refuses(peer: PeerId, message: ToMaster, text: &str) {
    refuses_after(vec![], peer, message, text);
}

/// The same of what an agent says in several messages.
#[track_caller]
fn refuses_after(first: Vec<ToMaster>, peer: PeerId, message: ToMaster, text: &str) {
    let mut stage = Stage::new();
    let before = stage.state();
    for message in first {
        assert!(stage.message(peer, message).is_empty(), "{text}");
    }
    let outputs = stage.message(peer, message);
    let [
        Output::Effect(Effect::Agent {
            peer: whom,
            message: ToAgent::Refused(why),
        }),
    ] = outputs.as_slice()
    else {
        panic!("{text}: {outputs:?}");
    };
    assert_eq!(*whom, peer);
    assert!(why.contains(text), "{text}: {why}");
    assert_eq!(stage.state(), before, "{text}");
}

/// Checks that an agent is cut off with such a text. Nothing has come of it but that, which for a
/// registered one is as if its connection had been lost.
#[track_caller]
fn cuts_off(peer: PeerId, message: ToMaster, text: &str) {
    let mut stage = Stage::new();
    let mut lost = Stage::new();
    lost.input(tepui_core::master::Input::Disconnected { peer });
    let outputs = stage.message(peer, message);
    let reason = outputs.iter().find_map(|output| {
        let Output::Effect(Effect::Disconnect {
            peer: whom, reason, ..
        }) = output
        else {
            return None;
        };
        (*whom == peer).then_some(reason)
    });
    let reason = reason.unwrap_or_else(|| panic!("{text}: {outputs:?}"));
    assert!(reason.contains(text), "{text}: {reason}");
    assert_eq!(stage.state(), lost.state(), "{text}");
}

fn report() -> TaskReport {
    let web = Role::new("web").unwrap();
    TaskReport::new(framework_id(0), web, &task("other"), TaskState::Running)
}

pub(crate) fn check(catalogue: &mut Catalogue) {
    let mut stage = Stage::new();
    let agent = agent_info();
    let outputs = stage.message(NEW_AGENT, ToMaster::Register { agent });
    let text = format!("{outputs:?}");
    assert!(
        text.contains("Registered"),
        "what is valid may join: {text}"
    );

    for (rule, text, spoil) in RULES {
        let mut agent = agent_info();
        spoil(&mut agent);
        let register = ToMaster::Register {
            agent: agent.clone(),
        };
        refuses(NEW_AGENT, register, text);
        catalogue.note(rule, "new agent");
        let reregister = |id| ToMaster::Reregister {
            id,
            agent: agent.clone(),
            frameworks: vec![],
            tasks: vec![],
        };
        // One that nobody knows, say after the registry was lost.
        refuses(NEW_AGENT, reregister(agent_id(77)), text);
        catalogue.note(rule, "agent that comes back");
    }
    whose_id(catalogue);
    operations(catalogue);
    reports(catalogue);
    published(catalogue);
    news(catalogue);
}

/// What of a task or an executor an agent may not report to be published (TK-04).
fn published(catalogue: &mut Catalogue) {
    for (rule, text, spoil) in discovery::RULES {
        let mut published = discovery::published();
        spoil(&mut published);
        let executor = ExecutorInfo {
            labels: published.labels.clone(),
            discovery: published.discovery.clone(),
            ..ExecutorInfo::new(
                ExecutorId::new("e").unwrap(),
                resources("cpus:1"),
                CommandInfo::shell("serve"),
            )
        };
        let message = ToMaster::Executors(vec![ExecutorReport {
            framework: framework_id(0),
            role: Role::any(),
            executor,
        }]);
        cuts_off(NEW_AGENT, message, text);
        catalogue.note(rule, "executor that is reported");
        let bad = TaskReport {
            published: Some(Arc::new(published)),
            ..report()
        };
        let message = ToMaster::Report {
            frameworks: vec![],
            tasks: vec![report(), bad],
        };
        cuts_off(NEW_AGENT, message, text);
        catalogue.note(rule, "report");
    }
}

fn whose_id(catalogue: &mut Catalogue) {
    let reregister = ToMaster::Reregister {
        id: agent_id(0),
        agent: agent_info(),
        frameworks: vec![],
        tasks: vec![],
    };
    refuses(NEW_AGENT, reregister, "agent id rio-1-S0 is bound to");
    catalogue.note("an id belongs to who got it", "agent that comes back");
}

/// What an agent may not say that operations have made of what it has (RM-32, OF-15, I22).
fn operations(catalogue: &mut Catalogue) {
    let back = || ToMaster::Reregister {
        id: agent_id(77),
        agent: agent_info(),
        frameworks: vec![],
        tasks: vec![],
    };
    let converted = |last, after: &str| {
        ToMaster::Converted(Converted {
            last,
            before: Resources::new(),
            after: resources(after),
        })
    };
    let text = "more than the limit of 524288";
    let names: Vec<String> = (0..3_000).map(|n| format!("{n:0>200}")).collect();
    let many = converted(1, &format!("disks:{{{}}}", names.join(",")));
    refuses_after(vec![many], NEW_AGENT, back(), text);
    let rule = "what operations have made fits its part of a frame";
    catalogue.note(rule, "agent that comes back");
    // A frame for each of them, and a record for all.
    let job = |number| {
        let labels = (0..50).map(|n| format!(r#"label="{n:0>4000}""#));
        let labels: Vec<String> = labels.collect();
        let source = format!(r#"disk(*)<raw,{},provider="p">:4"#, labels.join(","));
        DiskJob {
            number,
            owner: Owner {
                framework: framework_id(0),
                id: None,
            },
            change: DiskChange::Destroy {
                source: resources(&source).iter().next().unwrap().clone(),
            },
        }
    };
    let jobs = |count| (1..=count).map(|n| ToMaster::DiskJobs(vec![job(n)]));
    let said = |count| [converted(count, "")].into_iter().chain(jobs(count));
    refuses_after(said(3).collect(), NEW_AGENT, back(), text);
    let rule = "what providers are at fits its part of a frame";
    catalogue.note(rule, "agent that comes back");
    let mut stage = Stage::new();
    for message in said(2).chain([back()]) {
        stage.message(NEW_AGENT, message);
    }
    let known = stage.master.registry().agent(&agent_id(77)).unwrap();
    assert_eq!(known.jobs.len(), 2);
}

fn reports(catalogue: &mut Catalogue) {
    let long = TaskReport {
        name: "x".repeat(limits::TEXT_BYTES + 1),
        ..report()
    };
    let nul = TaskReport {
        name: "a\0b".into(),
        ..report()
    };
    for (rule, text, bad) in [
        (
            "a name has 4096 bytes at most",
            "task name has 4097 bytes",
            long,
        ),
        ("a name has no NUL", "task name contains a NUL byte", nul),
    ] {
        let tasks = vec![report(), bad];
        let frameworks = vec![];
        let message = ToMaster::Report {
            frameworks: frameworks.clone(),
            tasks: tasks.clone(),
        };
        cuts_off(NEW_AGENT, message, text);
        catalogue.note(rule, "report");
        let message = ToMaster::Reregister {
            id: agent_id(77),
            agent: agent_info(),
            frameworks,
            tasks,
        };
        cuts_off(NEW_AGENT, message, text);
        catalogue.note(rule, "task that comes back");
    }
    let undescribed = TaskReport {
        executor: Some(ExecutorId::new("e").unwrap()),
        ..report()
    };
    let message = ToMaster::Reregister {
        id: agent_id(77),
        agent: agent_info(),
        frameworks: vec![],
        tasks: vec![undescribed],
    };
    cuts_off(NEW_AGENT, message, "and not the executor that runs it");
    catalogue.note(
        "an executor that runs a task is described",
        "task that comes back",
    );
    for (rule, name) in [
        ("a name has 4096 bytes at most", "x".repeat(4_097)),
        ("a name has no NUL", "a\0b".into()),
    ] {
        // It is not taken over, nor are its tasks: the agent comes back as if it had none.
        let id = FrameworkId::new("rio-0-0001").unwrap();
        let framework = FrameworkInfo {
            id: Some(id.clone()),
            ..framework_info(&name)
        };
        let valid = FrameworkInfo {
            id: Some(id.clone()),
            ..framework_info("f")
        };
        let of_it = TaskReport {
            framework: id.clone(),
            ..report()
        };
        let reregister = |frameworks, tasks| ToMaster::Reregister {
            id: agent_id(77),
            agent: agent_info(),
            frameworks,
            tasks,
        };
        let mut empty = Stage::new();
        empty.message(NEW_AGENT, reregister(vec![], vec![]));
        let mut stage = Stage::new();
        let outputs = stage.message(NEW_AGENT, reregister(vec![framework], vec![of_it.clone()]));
        let is_ended = |output: &Output<_, Effect>| {
            let Output::Effect(Effect::Agent { message, .. }) = output else {
                return false;
            };
            *message == ToAgent::ShutdownFramework(id.clone())
        };
        assert!(outputs.iter().any(is_ended), "{outputs:?}");
        // Until its task has ended the agent is nobody's (I1).
        assert_ne!(stage.state(), empty.state(), "{rule}");
        let state = TaskState::Killed;
        let status = TaskStatus::new(of_it.task.clone(), state, Source::Agent, Time::ZERO);
        let (framework, latest) = (id.clone(), state);
        let over = ToMaster::Update {
            framework,
            status,
            latest,
        };
        stage.message(NEW_AGENT, over);
        assert_eq!(stage.state(), empty.state(), "{rule}");
        let mut adopted = Stage::new();
        let outputs = adopted.message(NEW_AGENT, reregister(vec![valid], vec![of_it]));
        assert!(!outputs.iter().any(is_ended), "{outputs:?}");
        catalogue.note(rule, "framework that is reported");
    }
}

fn news(catalogue: &mut Catalogue) {
    let message = |framework, task: &str| {
        let status = TaskStatus::new(task_id(task), TaskState::Running, Source::Agent, Time::ZERO);
        ToMaster::Update {
            framework,
            latest: status.state,
            status,
        }
    };
    for (rule, place, peer, message) in [
        (
            "one joins first",
            "news",
            NEW_AGENT,
            message(framework_id(0), "runs"),
        ),
        (
            "news are of one's own tasks",
            "news",
            OTHER_AGENT,
            message(framework_id(0), "runs"),
        ),
        (
            "news are for frameworks that are there",
            "news",
            AGENT,
            message(framework_id(77), "runs"),
        ),
        ("one joins first", "pong", NEW_AGENT, ToMaster::Pong),
    ] {
        let mut stage = Stage::new();
        let before = stage.state();
        let outputs = stage.message(peer, message);
        let goes_on = outputs.iter().any(|output| {
            matches!(
                output,
                Output::Persist(_) | Output::Effect(Effect::Scheduler { .. })
            )
        });
        assert!(!goes_on, "{rule}: {outputs:?}");
        assert_eq!(stage.state(), before, "{rule}");
        catalogue.note(rule, place);
    }
}

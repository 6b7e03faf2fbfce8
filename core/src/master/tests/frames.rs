//! What does not fit a frame: refused in words, or said in several.

use super::*;
use crate::attributes::{Attribute, AttributeValue};
use crate::protocol::agent::ExecutorReport;
use crate::protocol::status::Observed;
use crate::protocol::task::ExecutorInfo;

/// More than [`limits::SLICE_BYTES`] in ids alone.
const MANY: usize = 4_500;

fn long_name(n: usize) -> String {
    alloc::format!("{n:0>250}")
}

/// What the tasks of a framework on one agent are called: many, and long.
fn many_tasks(agent: &AgentId) -> Vec<TaskInfo> {
    let tasks = (0..MANY).map(|n| task(&long_name(n), agent, "cpus:0.001"));
    tasks.collect()
}

fn assert_fits(outs: &[Out]) {
    for out in outs {
        let bytes = match out {
            Output::Persist(_) => continue,
            Output::Effect(effect) | Output::Free(effect) => size(effect),
        };
        assert!(bytes <= limits::FRAME_BYTES, "{bytes} bytes");
    }
}

#[test]
fn a_task_that_would_not_fit_its_own_frame_is_refused() {
    let mut world = World::new();
    let (_, agent) = world.agent("one", "cpus:4");
    let name = "x".repeat(limits::TEXT_BYTES);
    let peer = world.connect(PeerRole::Framework, "web");
    let info = FrameworkInfo {
        name,
        ..framework_info()
    };
    world.subscribe(peer, info);
    world.now = world.now + Duration::from_micros(1);
    let offers: Vec<OfferId> = world.offered(peer).into_iter().map(|o| o.id).collect();
    let mut fits = task("fits", &agent, "cpus:1");
    fits.data = vec![0; limits::TASK_BYTES - size(&fits) - 2];
    assert_eq!(size(&fits), limits::TASK_BYTES);
    let mut large = task("large", &agent, "cpus:1");
    large.command.as_mut().unwrap().environment = vec![
        ("A".into(), "x".repeat(limits::TASK_BYTES / 2)),
        ("B".into(), "x".repeat(limits::TASK_BYTES / 2)),
    ];
    let bytes = size(&large);
    let outs = world.call(peer, launch(&offers, vec![large, fits]));
    assert_fits(&outs);
    let why = alloc::format!(
        "task takes {bytes} bytes on the wire, more than the limit of {}",
        limits::TASK_BYTES
    );
    let error = word(
        "large",
        TaskState::Error,
        Reason::TaskInvalid,
        &why,
        Some(&agent),
        world.now,
    );
    assert_eq!(
        unnamed(outs.clone())[0],
        to_framework(peer, Event::Update(error))
    );
    let good = matches!(
        &outs[1..],
        [Output::Effect(Effect::Agent {
            message: ToAgent::RunTask { .. },
            ..
        })]
    );
    assert!(good);
}

#[test]
fn a_refusal_that_quotes_long_resources_is_cut_short() {
    let mut world = World::new();
    let (_, agent) = world.agent("one", "cpus:4");
    let (peer, _) = world.framework("web");
    world.now = world.now + Duration::from_micros(1);
    let offers: Vec<OfferId> = world.offered(peer).into_iter().map(|o| o.id).collect();
    let every_other: Vec<String> = (0..5_000)
        .map(|n| alloc::format!("{0}-{0}", 2 * n))
        .collect();
    let needs = alloc::format!("cpus:1;ports:[{}]", every_other.join(","));
    let outs = world.call(peer, launch(&offers, vec![task("t", &agent, &needs)]));
    let [
        Output::Effect(Effect::Scheduler {
            event: Event::Update(status),
            ..
        }),
    ] = outs.as_slice()
    else {
        panic!("{} outputs", outs.len());
    };
    assert!(status.message.starts_with("task needs ports:[0"));
    assert_eq!(status.message.len(), limits::TEXT_BYTES);
}

#[test]
fn what_an_agent_says_of_a_task_at_length_fits_all_frames() {
    // I22: an agent cuts its own, and this one does not.
    let mut world = World::new();
    let (agent_peer, agent) = world.agent("one", "cpus:4");
    let (peer, owner) = world.framework("web");
    world.now = world.now + Duration::from_micros(1);
    world.launch(peer, vec![task("t", &agent, "cpus:1")]);
    let operator = world.connect(PeerRole::Operator, "ann");
    let watch = |after| operator::Call::Watch { after };
    world.ask(operator, watch(None));
    let begin = world.master.view().version();
    let status = TaskStatus {
        update: Some(UpdateId(1)),
        observed: Some(Box::new(Observed {
            addresses: vec!["10.0.0.1".into(); limits::FRAME_BYTES / 9],
            ..Observed::default()
        })),
        ..TaskStatus::new(
            TaskId::new("t").unwrap(),
            TaskState::Running,
            Source::Executor,
            world.now,
        )
    };
    let update = ToMaster::Update {
        framework: owner,
        latest: status.state,
        status,
    };
    let outs = world.agent_says(agent_peer, update);
    let [Output::Effect(Effect::Scheduler { event, .. })] = outs.as_slice() else {
        panic!("{} outputs", outs.len());
    };
    let tasks = world.ask(operator, operator::Call::Tasks { all: true });
    let events = world.ask(operator, watch(Some(begin)));
    for bytes in [size(event), size(&tasks), size(&events)] {
        let most = limits::TEXT_BYTES + limits::STATUS_BYTES;
        assert!((limits::ADDRESSES..most).contains(&bytes), "{bytes} bytes");
    }
}

#[test]
fn many_offers_take_several_events() {
    // OF-04
    let mut world = World::new();
    for n in 0..6 {
        let peer = world.connect(PeerRole::Agent, &alloc::format!("agent {n}"));
        let mut agent = agent_info("cpus:4");
        for attribute in 0..100 {
            let text = AttributeValue::Text("x".repeat(limits::TEXT_BYTES).into());
            let name = alloc::format!("a{attribute}");
            agent.attributes.push(Attribute::new(&name, text).unwrap());
        }
        world.agent_says(peer, ToMaster::Register { agent });
    }
    let (peer, _) = world.framework("web");
    world.now = world.now + Duration::from_micros(1);
    let outs = world.tick();
    assert_fits(&outs);
    let mut counts = Vec::new();
    for out in &outs {
        let Output::Effect(Effect::Scheduler {
            peer: to,
            event: Event::Offers(offers),
        }) = out
        else {
            panic!("{out:?}");
        };
        assert_eq!(*to, peer);
        counts.push(offers.len());
    }
    assert_eq!(counts, [2, 2, 2]);
}

#[test]
fn long_lists_of_missing_tasks_and_long_answers_come_in_parts() {
    // PR-03
    let mut world = World::new();
    let (old, agent) = world.agent("one", "cpus:16");
    let (framework, owner) = world.framework("web");
    world.now = world.now + Duration::from_micros(1);
    world.launch(framework, many_tasks(&agent));
    let operator = world.connect(PeerRole::Operator, "ann");
    let first = world.ask_page(operator, operator::Call::Tasks { all: true }, None);
    let Answer::Tasks(page) = first.answer else {
        panic!("tasks are expected");
    };
    assert!(first.next.is_some() && page.len() < MANY);
    let all = world.master.view().all_tasks();
    assert_eq!(all.len(), MANY);
    for all_too in [false, true] {
        let call = operator::Call::Tasks { all: all_too };
        assert!(world.ask(operator, call) == Answer::Tasks(all.clone()));
    }
    world.lose(old);
    let peer = world.connect(PeerRole::Agent, "one");
    let account = reregister(agent.clone(), "cpus:16", vec![], vec![]);
    let outs = world.agent_says(peer, account);
    assert_fits(&outs);
    let mut lists = Vec::new();
    for out in outs {
        if let Output::Effect(Effect::Agent {
            message: ToAgent::Missing(missing),
            ..
        }) = out
        {
            assert!(size(&missing) <= limits::SLICE_BYTES + 4);
            lists.push(missing);
        }
    }
    assert_eq!(lists.len(), 2);
    let all = all.into_iter().map(|t| (owner.clone(), t.status.task));
    let all: Vec<_> = all.collect();
    let mut missing = lists.concat();
    missing.sort();
    assert!(missing == all);
}

#[test]
fn nothing_follows_from_an_account_before_its_end() {
    // PR-02, PR-03: what is missing is known at the end only
    let mut world = World::new();
    let (old, agent) = world.agent("one", "cpus:4");
    let (framework, owner) = world.framework("web");
    world.now = world.now + Duration::from_micros(1);
    let tasks = ["a", "b", "c"].map(|name| task(name, &agent, "cpus:1"));
    world.launch(framework, tasks.to_vec());
    world.lose(old);
    let [a, b, c] = tasks.map(|task| report(&owner, task, TaskState::Running));
    let part = |tasks: Vec<TaskReport>| ToMaster::Report {
        frameworks: vec![],
        tasks,
    };
    let end = |tasks: Vec<TaskReport>| reregister(agent.clone(), "cpus:4", vec![], tasks);
    let missing = |outs: &[Out]| {
        let lists = outs.iter().filter_map(|out| match out {
            Output::Effect(Effect::Agent {
                message: ToAgent::Missing(missing),
                ..
            }) => Some(missing.clone()),
            Output::Effect(_) | Output::Free(_) | Output::Persist(_) => None,
        });
        lists.collect::<Vec<_>>().concat()
    };
    // The first account breaks off; none of it counts for the next one.
    let broken = world.connect(PeerRole::Agent, "one");
    assert_eq!(world.agent_says(broken, part(vec![a.clone()])), []);
    assert_eq!(world.lose(broken), []);
    assert!(!world.master.view().agents()[0].presence.is_connected());
    let peer = world.connect(PeerRole::Agent, "one");
    assert_eq!(world.agent_says(peer, part(vec![b.clone()])), []);
    let outs = world.agent_says(peer, end(vec![c.clone()]));
    assert_eq!(missing(&outs), [(owner.clone(), task_id("a"))]);
    // Asked again over the same connection, it says all again: nothing is left of the first time.
    let outs = world.agent_says(peer, end(vec![b, c]));
    assert_eq!(missing(&outs), [(owner.clone(), task_id("a"))]);
    world.agent_says(peer, part(vec![a]));
    let outs = world.agent_says(peer, end(vec![]));
    let expected = ["b", "c"].map(|name| (owner.clone(), task_id(name)));
    assert_eq!(missing(&outs), expected);
}

#[test]
fn an_account_has_a_limit() {
    let mut world = World::new();
    let peer = world.connect(PeerRole::Agent, "one");
    let one = report(
        &framework_id(0),
        task("t", &agent_id(0), "cpus:1"),
        TaskState::Running,
    );
    let part = |count| ToMaster::Report {
        frameworks: vec![],
        tasks: vec![one.clone(); count],
    };
    assert_eq!(world.agent_says(peer, part(limits::TASKS_PER_AGENT)), []);
    let bytes = limits::ACCOUNT_BYTES;
    let why = alloc::format!(
        "reported more than 65536 tasks or executors, 10000 frameworks, or {bytes} bytes"
    );
    assert_eq!(
        world.agent_says(peer, part(1)),
        [disconnect(peer, CloseReason::Malformed, &why)]
    );
}

#[test]
fn news_longer_than_any_agent_has_are_cut_short() {
    let mut world = World::new();
    let (peer, agent) = world.agent("one", "cpus:4");
    let (framework, owner) = world.framework("web");
    world.now = world.now + Duration::from_micros(1);
    world.launch(framework, vec![task("t", &agent, "cpus:1")]);
    let mut status = TaskStatus {
        message: "é".repeat(limits::FRAME_BYTES / 2 - 100),
        agent: None,
        ..news("t", TaskState::Running, &agent, 1)
    };
    let outs = world.update(peer, &owner, status.clone(), TaskState::Running);
    assert_fits(&outs);
    status.agent = Some(agent);
    status.message.truncate(limits::TEXT_BYTES);
    assert!(outs == [to_framework(framework, Event::Update(status))]);
    let operator = world.connect(PeerRole::Operator, "ann");
    let Answer::Tasks(tasks) = world.ask(operator, operator::Call::Tasks { all: false }) else {
        panic!("tasks were asked for");
    };
    assert_eq!(tasks.len(), 1);
}

#[test]
fn who_reports_what_no_task_can_be_is_not_let_in() {
    let mut world = World::new();
    let good = report(
        &framework_id(0),
        task("t", &agent_id(0), "cpus:1"),
        TaskState::Running,
    );
    let long = TaskReport {
        name: "x".repeat(limits::TEXT_BYTES + 1),
        ..good.clone()
    };
    let peer = world.connect(PeerRole::Agent, "one");
    let (frameworks, tasks) = (vec![], vec![good.clone(), long]);
    let why = "reported what cannot be: t: task name has 4097 bytes, more than the limit of 4096";
    assert_eq!(
        world.agent_says(peer, ToMaster::Report { frameworks, tasks }),
        [disconnect(peer, CloseReason::Malformed, why)]
    );
    let mut large = serving();
    large.executor.command.value = "x".repeat(limits::REPORT_BYTES);
    let (bytes, limit) = (size(&large), limits::REPORT_BYTES);
    let why = alloc::format!(
        "reported what cannot be: e: executor takes {bytes} bytes on the wire, more than the limit \
         of {limit}"
    );
    let peer = world.connect(PeerRole::Agent, "one");
    assert_eq!(
        world.agent_says(peer, ToMaster::Executors(vec![large])),
        [disconnect(peer, CloseReason::Malformed, &why)]
    );
}

fn serving() -> ExecutorReport {
    let id = ExecutorId::new("e").unwrap();
    ExecutorReport {
        framework: framework_id(0),
        role: Role::any(),
        executor: ExecutorInfo::new(id, resources("cpus:1"), CommandInfo::shell("serve")),
    }
}

#[test]
fn an_executor_is_described_once_for_all_of_its_tasks() {
    // PR-02, TK-13
    let info = TaskInfo {
        command: None,
        executor: Some(serving().executor),
        ..task("t", &agent_id(0), "cpus:1")
    };
    let runs = report(&framework_id(0), info.clone(), TaskState::Running);
    assert_eq!(runs.executor, Some(serving().executor.id));
    let over = report(&framework_id(0), info, TaskState::Finished);
    assert_eq!(over.executor, None, "it may have ended");
    let tasks = ["t", "u"].map(|id| TaskReport {
        task: task_id(id),
        ..runs.clone()
    });
    let account = |frameworks, tasks: &[TaskReport]| {
        reregister(agent_id(0), "cpus:4", frameworks, tasks.to_vec())
    };
    let web = vec![framework_info_of(framework_id(0))];
    // Of a leadership before this one, whose registry is lost.
    let mut world = World::recovered(2, Registry::default());
    world.drain();
    let peer = world.connect(PeerRole::Agent, "one");
    // That of another framework is another one.
    let other = ExecutorReport {
        framework: framework_id(1),
        ..serving()
    };
    world.agent_says(peer, ToMaster::Executors(vec![other]));
    let why = "reported task t, and not the executor that runs it";
    assert_eq!(
        world.agent_says(peer, account(web.clone(), &tasks)),
        [disconnect(peer, CloseReason::Malformed, why)]
    );
    assert!(world.master.registry().is_empty());
    let peer = world.connect(PeerRole::Agent, "one");
    world.agent_says(peer, ToMaster::Executors(vec![serving()]));
    world.agent_says(peer, account(web, &tasks));
    assert_eq!(world.free(), resources("cpus:1"));
}

#[test]
fn a_name_that_no_task_can_have_is_not_repeated() {
    let mut world = World::new();
    let operator = world.connect(PeerRole::Operator, "ann");
    let call = operator::Call::Kill {
        framework: None,
        task: "x".repeat(limits::FRAME_BYTES / 2),
        grace: None,
    };
    let answer = Answer::NotFound("no task id has more than 255 bytes".into());
    assert_eq!(world.ask(operator, call), answer);
}

//! Frameworks in several roles: what is offered, launched and freed in which.

use super::*;
use crate::protocol::agent::ExecutorReport;
use crate::protocol::task::ExecutorInfo;

pub(super) fn role(name: &str) -> Role {
    Role::new(name).unwrap()
}

pub(super) fn in_roles(names: &[&str]) -> FrameworkInfo {
    FrameworkInfo {
        roles: names.iter().map(|name| role(name)).collect(),
        ..framework_info()
    }
}

/// A framework in these roles.
pub(super) fn subscribed(world: &mut World, names: &[&str]) -> (PeerId, FrameworkId) {
    let peer = world.connect(PeerRole::Framework, "web");
    let id = world.subscribe(peer, in_roles(names));
    world.now = world.now + Duration::from_micros(1);
    (peer, id)
}

/// What is told to agents about a task of a framework.
fn ran(outs: &[Out]) -> Vec<(Role, TaskId)> {
    let ran = outs.iter().filter_map(|out| match out {
        Output::Effect(Effect::Agent {
            message: ToAgent::RunTask { role, task, .. },
            ..
        }) => Some((role.clone(), task.id.clone())),
        Output::Effect(_) | Output::Persist(_) | Output::Free(_) => None,
    });
    ran.collect()
}

fn with_executor(id: &str, agent: &AgentId, needs: &str, own: &str) -> TaskInfo {
    TaskInfo {
        command: None,
        executor: Some(ExecutorInfo::new(
            ExecutorId::new("e").unwrap(),
            resources(own),
            CommandInfo::shell("serve"),
        )),
        ..task(id, agent, needs)
    }
}

#[test]
fn offers_of_two_roles_are_not_accepted_together() {
    // OF-11, RQ-02, FW-06
    for has_task in [true, false] {
        let mut world = World::new();
        let (_, agent) = world.agent("one", "cpus(eng):2;cpus(ops):1");
        let (peer, _) = subscribed(&mut world, &["eng", "ops"]);
        let offers = world.offered(peer);
        let seen: Vec<_> = offers
            .iter()
            .map(|offer| (offer.role.as_str(), offer.resources.to_string()))
            .collect();
        let expected = [
            ("eng", "cpus(eng):2".to_string()),
            ("ops", "cpus(ops):1".to_string()),
        ];
        assert_eq!(seen, expected);
        let tasks = vec![task("t", &agent, "cpus(eng):1")];
        let tasks = if has_task { tasks } else { vec![] };
        let outs = world.call(peer, launch(&[offer_id(0), offer_id(1)], tasks));
        let why = "offer rio-1-O1 is in role ops, those before in eng";
        let event = if has_task {
            let (state, reason) = (TaskState::Dropped, Reason::InvalidOffers);
            Event::Update(word("t", state, reason, why, Some(&agent), world.now))
        } else {
            Event::Rejected {
                call: CallKind::Accept,
                reason: RejectKind::OtherRole,
                message: why.into(),
            }
        };
        assert_eq!(unnamed(outs), [to_framework(peer, event)]);
        assert_eq!(world.master.view().offers(), []);
    }
}

#[test]
fn a_task_is_of_the_role_of_its_offer() {
    // RQ-06
    let mut world = World::new();
    let (_, agent) = world.agent("one", "cpus(eng):2;cpus(ops):1");
    let (peer, _) = subscribed(&mut world, &["eng", "ops"]);
    world.offered(peer);
    for (n, name) in ["eng", "ops"].into_iter().enumerate() {
        let needs = alloc::format!("cpus({name}):1");
        let tasks = vec![task(name, &agent, &needs)];
        let outs = world.call(peer, launch(&[offer_id(n as u64)], tasks));
        assert_eq!(ran(&outs), [(role(name), task_id(name))]);
    }
}

#[test]
fn an_executor_stays_in_its_role() {
    // RQ-06, TK-13
    let mut world = World::new();
    let (_, agent) = world.agent("one", "cpus(eng):2;cpus(ops):1");
    let (peer, _) = subscribed(&mut world, &["eng", "ops"]);
    world.offered(peer);
    let first = with_executor("a", &agent, "cpus(eng):1", "cpus(eng):1");
    let outs = world.call(peer, launch(&[offer_id(0)], vec![first]));
    assert_eq!(ran(&outs), [(role("eng"), task_id("a"))]);
    let second = with_executor("b", &agent, "cpus(ops):1", "cpus(eng):1");
    let outs = world.call(peer, launch(&[offer_id(1)], vec![second]));
    let why = "executor e is there already, in role eng and not ops";
    let (state, reason) = (TaskState::Error, Reason::TaskInvalid);
    let status = word("b", state, reason, why, Some(&agent), world.now);
    assert_eq!(unnamed(outs), [to_framework(peer, Event::Update(status))]);
}

#[test]
fn who_has_no_role_is_offered_nothing() {
    // RQ-02
    let mut world = World::new();
    world.agent("one", "cpus:4");
    subscribed(&mut world, &[]);
    assert_eq!(world.tick(), []);
}

#[test]
fn what_is_offered_in_a_role_that_was_left_is_taken_back() {
    // RQ-03, OF-07
    let mut world = World::new();
    world.agent("one", "cpus(eng):2;cpus(ops):1");
    let (peer, id) = subscribed(&mut world, &["eng", "ops"]);
    assert_eq!(world.offered(peer).len(), 2);
    let framework = FrameworkInfo {
        id: Some(id),
        ..in_roles(&["ops"])
    };
    let outs = world.call(peer, subscribe(framework));
    let rescind = to_framework(peer, Event::Rescind(offer_id(0)));
    assert!(outs.contains(&rescind), "{outs:?}");
    let left = world.master.view().offers();
    let left: Vec<_> = left.iter().map(|offer| offer.role.as_str()).collect();
    assert_eq!(left, ["ops"]);
}

#[test]
fn a_task_of_a_role_that_was_left_ends() {
    // RG-01, RQ-03; MESOS-10194: the books fail if it is freed in a role that does not hold it
    for drf in [false, true] {
        let mut world = if drf {
            let mut world = World::drf(1, Registry::default());
            world.drain();
            world
        } else {
            World::new()
        };
        let (agent_peer, agent) = world.agent("one", "cpus:4");
        let (peer, id) = subscribed(&mut world, &["eng"]);
        let first = with_executor("t", &agent, "cpus:1", "cpus:1");
        world.launch(peer, vec![first]);
        world.lose(peer);
        let peer = world.connect(PeerRole::Framework, "web");
        let framework = FrameworkInfo {
            id: Some(id.clone()),
            ..in_roles(&["ops"])
        };
        world.subscribe(peer, framework);
        assert_eq!(
            world.master.view().agents()[0].allocated,
            resources("cpus:2")
        );
        let done = news("t", TaskState::Finished, &agent, 1);
        let outs = world.update(agent_peer, &id, done.clone(), TaskState::Finished);
        assert!(outs.contains(&to_framework(peer, Event::Update(done))));
        world.executor_ended(agent_peer, &id);
        assert_eq!(world.master.view().agents()[0].allocated, Resources::new());
    }
}

#[test]
fn a_task_of_a_role_that_was_left_comes_back_with_its_agent() {
    // RG-01, SM-02, PR-02: the agent remembers the role, for nobody else does
    let registry = {
        let mut world = World::new();
        world.agent("one", "cpus:4");
        world.master.registry().clone()
    };
    for drf in [false, true] {
        let mut world = if drf {
            World::drf(2, registry.clone())
        } else {
            World::recovered(2, registry.clone())
        };
        world.drain();
        let framework = world.connect(PeerRole::Framework, "web");
        let id = framework_id(0);
        let info = FrameworkInfo {
            id: Some(id.clone()),
            ..in_roles(&["ops"])
        };
        world.subscribe(framework, info.clone());
        let agent = agent_id(0);
        let peer = world.connect(PeerRole::Agent, "one");
        let running = TaskReport::new(
            id.clone(),
            role("eng"),
            &task("t", &agent, "cpus:1"),
            TaskState::Running,
        );
        let back = reregister(
            agent.clone(),
            "cpus:4",
            vec![FrameworkInfo {
                principal: Some("web".into()),
                ..info
            }],
            vec![running],
        );
        world.agent_says(peer, back);
        assert_eq!(world.free(), resources("cpus:3"));
        if drf {
            let mut figures = world.master.allocator().roles().into_iter();
            let eng = figures.find(|figures| figures.role == role("eng")).unwrap();
            assert_eq!(eng.booked, Quantities::from(&resources("cpus:1")));
        }
        let done = news("t", TaskState::Finished, &agent, 1);
        world.update(peer, &id, done, TaskState::Finished);
        assert_eq!(world.master.view().agents()[0].allocated, Resources::new());
    }
}

#[test]
fn what_is_inherited_is_charged_in_the_role_of_the_heir() {
    // RG-01, I1: two tasks claim one port, and their framework has left the role of both
    let registry = {
        let mut world = World::new();
        world.agent("one", "cpus:4;ports:[1-9]");
        world.master.registry().clone()
    };
    let mut world = World::recovered(2, registry);
    world.drain();
    let (id, agent) = (framework_id(0), agent_id(0));
    let peer = world.connect(PeerRole::Agent, "one");
    let of = |name: &str, in_role: &str, needs: &str| {
        let info = with_executor(name, &agent, needs, "ports:[3-4]");
        let info = if in_role == "eng" {
            task(name, &agent, needs)
        } else {
            info
        };
        TaskReport::new(id.clone(), role(in_role), &info, TaskState::Running)
    };
    let back = reregister(
        agent.clone(),
        "cpus:4;ports:[1-9]",
        vec![FrameworkInfo {
            id: Some(id.clone()),
            ..known_as(id.clone(), "web")
        }],
        vec![
            of("a", "eng", "cpus:1;ports:[1-3]"),
            of("b", "ops", "cpus:1;ports:[2-2]"),
        ],
    );
    let info = with_executor("b", &agent, "cpus:1", "ports:[3-4]");
    let described = ExecutorReport {
        framework: id.clone(),
        role: role("ops"),
        executor: info.executor.unwrap(),
    };
    world.agent_says(peer, ToMaster::Executors(vec![described]));
    world.agent_says(peer, back);
    assert_eq!(world.free(), resources("cpus:2;ports:[5-9]"));
    // The books fail on what is freed in a role that does not hold it.
    for (n, name) in [(1, "a"), (2, "b")] {
        let done = news(name, TaskState::Finished, &agent, n);
        world.update(peer, &id, done, TaskState::Finished);
    }
    world.executor_ended(peer, &id);
    assert_eq!(world.free(), resources("cpus:4;ports:[1-9]"));
}

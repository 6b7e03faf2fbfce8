//! Tasks: updates, confirmations, kills.

use super::*;
use crate::limits;
use crate::protocol::status::{Breach, Exit, Limited};
use crate::protocol::task::{ExecutorInfo, Limit, Limits};
use crate::resources::Milli;

/// One agent, one framework, one task of one core.
struct Launched {
    world: World,
    agent_peer: PeerId,
    agent: AgentId,
    peer: PeerId,
    owner: FrameworkId,
}

fn launched() -> Launched {
    let mut world = World::new();
    let (agent_peer, agent) = world.agent("one", "cpus:4");
    let (peer, owner) = world.framework("web");
    world.now = world.now + Duration::from_micros(1);
    world.launch(peer, vec![task("t", &agent, "cpus:1")]);
    Launched {
        world,
        agent_peer,
        agent,
        peer,
        owner,
    }
}

impl Launched {
    fn acknowledge(&mut self, n: u128) -> Vec<Out> {
        let call = Call::Acknowledge {
            agent: self.agent.clone(),
            task: task_id("t"),
            update: UpdateId(n),
        };
        self.world.call(self.peer, call)
    }

    fn acknowledged(&self, n: u128) -> Out {
        let message = ToAgent::Acknowledge {
            framework: self.owner.clone(),
            task: task_id("t"),
            update: UpdateId(n),
        };
        to_agent(self.agent_peer, message)
    }

    fn report(&mut self, state: TaskState, latest: TaskState, n: u128) -> Vec<Out> {
        let status = news("t", state, &self.agent, n);
        self.world
            .update(self.agent_peer, &self.owner, status, latest)
    }

    fn passed_on(&self, state: TaskState, n: u128) -> Out {
        let status = news("t", state, &self.agent, n);
        to_framework(self.peer, Event::Update(status))
    }
}

#[test]
fn news_goes_up_and_its_confirmation_down() {
    // TK-33, TK-70, TK-37, PR-08, PR-09
    let mut t = launched();
    let outs = t.report(TaskState::Running, TaskState::Running, 1);
    assert_eq!(outs, [t.passed_on(TaskState::Running, 1)]);
    assert_eq!(t.acknowledge(1), [t.acknowledged(1)]);
    let outs = t.report(TaskState::Finished, TaskState::Finished, 2);
    assert_eq!(outs, [t.passed_on(TaskState::Finished, 2)]);
    assert_eq!(t.world.master.view().live_tasks(), []);
    assert_eq!(t.acknowledge(2), [t.acknowledged(2)]);
    let view = t.world.master.view();
    assert_eq!(view.all_tasks()[0].status.state, TaskState::Finished);
}

#[test]
fn every_step_of_a_task_is_told() {
    // TK-20, TK-21
    let mut t = launched();
    let steps = [
        TaskState::Starting,
        TaskState::Running,
        TaskState::Killing,
        TaskState::Killed,
    ];
    for (state, n) in steps.into_iter().zip(1..) {
        assert_eq!(t.report(state, state, n), [t.passed_on(state, n)]);
        let view = t.world.master.view();
        assert_eq!(view.all_tasks()[0].status.state, state);
        assert_eq!(t.acknowledge(n), [t.acknowledged(n)]);
    }
}

#[test]
fn news_reaches_the_framework_as_the_agent_has_told_it() {
    // TK-65
    let mut t = launched();
    let status = TaskStatus {
        reason: Some(Reason::ContainerLimitationMemory),
        message: "it took too much".into(),
        at: Time::from_micros(700_000),
        exit: Some(Exit::Signal(9)),
        breach: Some(Breach {
            resource: Limited::Memory,
            limit: Milli::from_units(64),
            used: Milli::from_units(65),
        }),
        ..news("t", TaskState::Failed, &t.agent, 1)
    };
    let owner = t.owner.clone();
    let (agent_peer, latest) = (t.agent_peer, status.state);
    let outs = t.world.update(agent_peer, &owner, status.clone(), latest);
    assert_eq!(outs, [to_framework(t.peer, Event::Update(status))]);
}

#[test]
fn a_task_reaches_its_agent_as_it_was_described() {
    // AG-26, PR-06, TK-01, TK-03
    let mut world = World::new();
    let (agent_peer, agent) = world.agent("one", "cpus:4;mem:512");
    let (peer, owner) = world.framework("web");
    world.now = world.now + Duration::from_micros(1);
    let command = CommandInfo {
        environment: vec![("A".into(), "b".into())],
        user: Some("nobody".into()),
        ..CommandInfo::exec("serve", ["--quiet", "$HOME"])
    };
    let plain = |id: &str| TaskInfo {
        name: "of many words".into(),
        data: vec![0, 1, 255],
        kill_grace: Some(Duration::from_secs(7)),
        pids: Some(9),
        limits: Limits {
            cpus: Some(Limit::Unlimited),
            mem: Some(Limit::Amount(Milli::from_units(64))),
        },
        max_completion: Some(Duration::from_secs(60)),
        ..TaskInfo::new(task_id(id), agent.clone(), resources("cpus:1;mem:32"))
    };
    let executor = ExecutorId::new("e").unwrap();
    let tasks = [
        TaskInfo {
            command: Some(command.clone()),
            ..plain("t")
        },
        TaskInfo {
            executor: Some(ExecutorInfo {
                shutdown_grace: Some(Duration::from_secs(3)),
                ..ExecutorInfo::new(executor, resources("cpus:0.5;mem:32"), command)
            }),
            ..plain("u")
        },
    ];
    let offers: Vec<OfferId> = world.offered(peer).into_iter().map(|it| it.id).collect();
    let outs = world.call(peer, launch(&offers, tasks.to_vec()));
    let orders = tasks.map(|task| {
        let run = ToAgent::RunTask {
            framework: owner.clone(),
            role: Role::any(),
            starts_executor: task.executor.is_some(),
            task,
        };
        to_agent(agent_peer, run)
    });
    assert_eq!(outs, orders);
}

#[test]
fn resources_are_free_when_the_newest_state_says_so_and_only_once() {
    // TK-36, TK-71, TK-35
    let mut t = launched();
    t.report(TaskState::Running, TaskState::Finished, 1);
    assert_eq!(t.world.free(), resources("cpus:4"));
    let view = t.world.master.view();
    assert_eq!(view.all_tasks()[0].status.state, TaskState::Finished);
    // The books of the test allocator fail on a second return.
    t.report(TaskState::Finished, TaskState::Finished, 2);
    t.acknowledge(2);
    assert_eq!(t.world.free(), resources("cpus:4"));
}

#[test]
fn what_has_ended_stays_ended() {
    // TK-34; I11: confirmed, so that the agent's stream goes on, but not passed on
    let mut t = launched();
    t.report(TaskState::Finished, TaskState::Finished, 1);
    let outs = t.report(TaskState::Running, TaskState::Running, 2);
    assert_eq!(outs, [t.acknowledged(2)]);
    assert_eq!(t.world.master.view().live_tasks(), []);
    assert_eq!(t.world.free(), resources("cpus:4"));
}

#[test]
fn a_step_back_is_confirmed_and_not_passed_on() {
    // TK-33; I11
    let mut t = launched();
    t.report(TaskState::Killing, TaskState::Killing, 1);
    let outs = t.report(TaskState::Running, TaskState::Running, 2);
    assert_eq!(outs, [t.acknowledged(2)]);
    let task = t.world.master.view().live_tasks().remove(0);
    assert_eq!(task.status.state, TaskState::Killing);
    // What was told before is told again, and an end always is.
    let outs = t.report(TaskState::Killing, TaskState::Killing, 1);
    assert_eq!(outs, [t.passed_on(TaskState::Killing, 1)]);
    let outs = t.report(TaskState::Finished, TaskState::Finished, 3);
    assert_eq!(outs, [t.passed_on(TaskState::Finished, 3)]);
}

#[test]
fn without_the_framework_news_is_noted_and_not_passed_on() {
    // TK-36b
    let mut t = launched();
    t.world.lose(t.peer);
    let outs = t.report(TaskState::Finished, TaskState::Finished, 1);
    assert_eq!(outs, []);
    assert_eq!(t.world.free(), resources("cpus:4"));
    t.peer = t.world.connect(PeerRole::Framework, "web");
    t.world
        .subscribe(t.peer, framework_info_of(t.owner.clone()));
    // The agent sends it again, and all is well.
    let outs = t.report(TaskState::Finished, TaskState::Finished, 1);
    assert_eq!(outs, [t.passed_on(TaskState::Finished, 1)]);
    assert_eq!(t.acknowledge(1), [t.acknowledged(1)]);
}

#[test]
fn a_confirmation_that_was_lost_is_given_by_the_master() {
    // TK-69
    let mut t = launched();
    t.report(TaskState::Finished, TaskState::Finished, 1);
    assert_eq!(t.acknowledge(1), [t.acknowledged(1)]);
    let outs = t.report(TaskState::Finished, TaskState::Finished, 1);
    assert_eq!(outs, [t.acknowledged(1)]);
}

#[test]
fn an_agent_speaks_of_its_own_tasks_only() {
    // PR-14
    let mut t = launched();
    let (other, id) = t.world.agent("two", "cpus:1");
    let lie = news("t", TaskState::Failed, &id, 1);
    let owner = t.owner.clone();
    // It is confirmed, so that it is not said for ever, and not passed on.
    let message = ToAgent::Acknowledge {
        framework: owner.clone(),
        task: task_id("t"),
        update: UpdateId(1),
    };
    assert_eq!(
        t.world.update(other, &owner, lie, TaskState::Failed),
        [to_agent(other, message)]
    );
    let call = Call::Acknowledge {
        agent: id,
        task: task_id("t"),
        update: UpdateId(1),
    };
    assert_eq!(t.world.call(t.peer, call), []);
    assert_eq!(t.world.master.view().live_tasks().len(), 1);
}

#[test]
fn states_that_are_the_masters_to_say_are_not_taken_from_agents() {
    let mut t = launched();
    for state in [
        TaskState::Unreachable,
        TaskState::GoneByOperator,
        TaskState::Unknown,
    ] {
        assert_eq!(t.report(state, TaskState::Running, 1), []);
        assert_eq!(t.report(TaskState::Running, state, 1), []);
    }
    let view = t.world.master.view();
    assert_eq!(view.live_tasks()[0].status.state, TaskState::Staging);
}

#[test]
fn a_kill_goes_to_the_agent() {
    // TK-82, FW-45, PR-07
    let mut t = launched();
    let kill = |task: &str| Call::Kill {
        task: task_id(task),
        grace: None,
    };
    let message = ToAgent::KillTask {
        framework: t.owner.clone(),
        task: task_id("t"),
        grace: None,
    };
    // Also when it was sent before.
    for _ in 0..2 {
        let outs = t.world.call(t.peer, kill("t"));
        assert_eq!(outs, [to_agent(t.agent_peer, message.clone())]);
    }
    // TK-32, TK-54
    let outs = t.world.call(t.peer, kill("x"));
    let (state, reason) = (TaskState::Unknown, Reason::Reconciliation);
    let status = word("x", state, reason, "no such task", None, t.world.now);
    assert_eq!(outs, [to_framework(t.peer, Event::Update(status))]);
    // Of a task that has ended it is said how.
    t.report(TaskState::Finished, TaskState::Finished, 1);
    t.acknowledge(1);
    let outs = t.world.call(t.peer, kill("t"));
    let status = TaskStatus {
        source: Source::Master,
        reason: Some(Reason::Reconciliation),
        update: None,
        ..news("t", TaskState::Finished, &t.agent, 1)
    };
    assert_eq!(outs, [to_framework(t.peer, Event::Update(status))]);
}

#[test]
fn ended_tasks_are_remembered_within_a_bound() {
    // TK-102, TK-08
    let mut world = World::new();
    let (agent_peer, agent) = world.agent("one", "cpus:2000");
    let (peer, owner) = world.framework("web");
    world.now = world.now + Duration::from_micros(1);
    let count = limits::COMPLETED_TASKS_PER_FRAMEWORK + 1;
    let name = |n: usize| alloc::format!("t{n}");
    let tasks = (0..count).map(|n| task(&name(n), &agent, "cpus:1"));
    let offers = world.offered(peer);
    let call = Call::Accept {
        offers: vec![offers[0].id.clone()],
        operations: vec![Operation::Launch(tasks.collect())],
        refuse: Some(Duration::ZERO),
    };
    assert_eq!(world.call(peer, call).len(), count);
    for n in 0..count {
        let update = n as u128;
        let status = news(&name(n), TaskState::Finished, &agent, update);
        // Not through the helpers: checking all invariants 2,000 times takes long.
        let says = Input::Agent {
            peer: agent_peer,
            message: ToMaster::Update {
                framework: owner.clone(),
                status,
                latest: TaskState::Finished,
            },
        };
        world.master.handle(world.now, says, &mut world.out);
        let call = Call::Acknowledge {
            agent: agent.clone(),
            task: task_id(&name(n)),
            update: UpdateId(update),
        };
        let says = Input::Scheduler { peer, call };
        world.master.handle(world.now, says, &mut world.out);
    }
    world.drain();
    let all = world.master.view().all_tasks().len();
    assert_eq!(all, limits::COMPLETED_TASKS_PER_FRAMEWORK);
    world.now = world.now + Duration::from_micros(1);
    // The oldest id is free again, the next is not.
    let offers = world.offered(peer);
    let tasks = vec![task("t0", &agent, "cpus:1"), task("t1", &agent, "cpus:1")];
    let ids: Vec<OfferId> = offers.iter().map(|offer| offer.id.clone()).collect();
    let outs = world.call(peer, launch(&ids, tasks));
    let run = ToAgent::RunTask {
        framework: owner,
        role: Role::any(),
        task: task("t0", &agent, "cpus:1"),
        starts_executor: false,
    };
    let (state, reason) = (TaskState::Finished, Reason::TaskInvalid);
    let why = "task id t1 is used already";
    let status = word("t1", state, reason, why, Some(&agent), Time::ZERO);
    assert_eq!(
        outs,
        [
            to_agent(agent_peer, run),
            to_framework(peer, Event::Update(status)),
        ]
    );
}

#[test]
fn ended_tasks_are_remembered_within_a_bound_of_bytes() {
    // TK-102, I22: names and messages may be long
    let mut world = World::new();
    let (agent_peer, agent) = world.agent("one", "cpus:2000");
    let (peer, owner) = world.framework("web");
    world.now = world.now + Duration::from_micros(1);
    let each = 2 * limits::TEXT_BYTES;
    let count = 2 * limits::COMPLETED_BYTES_PER_FRAMEWORK / each;
    assert!(count > limits::COMPLETED_TASKS_PER_FRAMEWORK);
    let name = |n: usize| alloc::format!("t{n}");
    let tasks = (0..count).map(|n| TaskInfo {
        name: "n".repeat(limits::TEXT_BYTES),
        ..task(&name(n), &agent, "cpus:1")
    });
    let offers = world.offered(peer);
    let call = Call::Accept {
        offers: vec![offers[0].id.clone()],
        operations: vec![Operation::Launch(tasks.collect())],
        refuse: Some(Duration::ZERO),
    };
    assert_eq!(world.call(peer, call).len(), count);
    for n in 0..count {
        let status = TaskStatus {
            message: "m".repeat(limits::TEXT_BYTES),
            ..news(&name(n), TaskState::Finished, &agent, n as u128)
        };
        let says = ToMaster::Update {
            framework: owner.clone(),
            status,
            latest: TaskState::Finished,
        };
        let says = Input::Agent {
            peer: agent_peer,
            message: says,
        };
        world.master.handle(world.now, says, &mut world.out);
        let call = Call::Acknowledge {
            agent: agent.clone(),
            task: task_id(&name(n)),
            update: UpdateId(n as u128),
        };
        world
            .master
            .handle(world.now, Input::Scheduler { peer, call }, &mut world.out);
    }
    world.drain();
    world.check();
    let all = world.master.view().all_tasks().len();
    let most = limits::COMPLETED_BYTES_PER_FRAMEWORK / each;
    assert!((most / 2..=most).contains(&all), "{all} of {most}");
}

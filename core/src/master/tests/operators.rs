//! What operators see and do.

use super::*;
use crate::protocol::events::{ExecutorState, Kind, Row};
use crate::protocol::node::{Presence, Standing};
use crate::protocol::operator::{AgentView, Summary, TaskView};
use crate::protocol::task::ExecutorInfo;

#[test]
fn an_operator_sees_the_cluster() {
    // TK-19: no update is sent of it
    let mut world = World::new();
    let (_, agent) = world.agent("one", "cpus:4");
    let (peer, owner) = world.framework("web");
    world.now = world.now + Duration::from_micros(1);
    world.launch(peer, vec![task("t", &agent, "cpus:1")]);
    let operator = world.connect(PeerRole::Operator, "ann");
    let summary = Summary {
        master: master_id(1),
        epoch: 1,
        address: None,
        started_at: Time::from_micros(1_000_000),
        elected_at: Time::from_micros(1_000_000),
        agents: 1,
        frameworks: 1,
        tasks: 1,
        offers: 0,
    };
    assert_eq!(
        world.ask(operator, operator::Call::Summary),
        Answer::Summary(summary)
    );
    let Answer::Agents(agents) = world.ask(operator, operator::Call::Agents) else {
        panic!("agents are expected");
    };
    assert_eq!(agents[0].allocated, resources("cpus:1"));
    assert_eq!(
        (agents[0].tasks, agents[0].presence.is_connected()),
        (1, true)
    );
    let Answer::Frameworks(frameworks) = world.ask(operator, operator::Call::Frameworks) else {
        panic!("frameworks are expected");
    };
    assert_eq!(frameworks[0].info.id, Some(owner.clone()));
    assert_eq!(frameworks[0].allocated, resources("cpus:1"));
    let mut staging = word(
        "t",
        TaskState::Staging,
        Reason::Reconciliation,
        "",
        Some(&agent),
        world.now,
    );
    staging.reason = None;
    let tasks = vec![TaskView {
        framework: owner,
        agent,
        name: "t".into(),
        resources: resources("cpus:1"),
        status: staging,
        published: None,
    }];
    assert_eq!(
        world.ask(operator, operator::Call::Tasks { all: false }),
        Answer::Tasks(tasks)
    );
    assert_eq!(
        world.ask(operator, operator::Call::Offers),
        Answer::Offers(vec![])
    );
}

#[test]
fn an_operator_sees_which_master_leads_and_since_when() {
    // FW-77
    let seconds = |n: u64| Time::from_micros(n * 1_000_000);
    let summary = |epoch, started_at, now, later| {
        let config = Config {
            address: Some("10.0.0.1:5050".into()),
            started_at,
            ..Config::new(master_id(epoch), epoch, 7)
        };
        let allocator = Box::new(Greedy::default());
        let mut world = World::beginning(config, Registry::default(), allocator, now);
        world.drain();
        let ann = world.connect(PeerRole::Operator, "ann");
        world.pass(later);
        let Answer::Summary(summary) = world.ask(ann, operator::Call::Summary) else {
            panic!("a summary is expected");
        };
        assert_eq!(summary, world.master.view().summary());
        assert_eq!(summary.address.as_deref(), Some("10.0.0.1:5050"));
        assert_eq!((summary.master, summary.epoch), (master_id(epoch), epoch));
        (summary.started_at, summary.elected_at)
    };
    let (minute, hour) = (Duration::from_secs(60), Duration::from_secs(3_600));
    // It stood by for a while before it was elected.
    let since = summary(7, Some(seconds(5)), seconds(100), hour);
    assert_eq!(since, (seconds(5), seconds(100)));
    // One that does not say when it began has done so with its leadership, and none has later.
    for started in [None, Some(seconds(5_000))] {
        let since = summary(8, started, seconds(4_000), minute);
        assert_eq!(since, (seconds(4_000), seconds(4_000)));
    }
}

#[test]
fn an_operator_sees_what_each_agent_gives_and_where_it_stands() {
    // FW-73: one that is away is still shown, under the next leadership too
    let mut world = World::new();
    let ann = world.connect(PeerRole::Operator, "ann");
    let registered_at = world.now;
    let (peer, id) = world.agent("one", "cpus:4");
    let (web, _) = world.framework("web");
    world.now = world.now + Duration::from_micros(1);
    let offer = world.offered(web).remove(0);
    let call = Call::Accept {
        offers: vec![offer.id],
        operations: vec![Operation::Launch(vec![task("t", &id, "cpus:1")])],
        refuse: Some(Duration::ZERO),
    };
    world.call(web, call);
    world.now = world.now + Duration::from_micros(1);
    world.offered(web);
    let agents = |world: &mut World, ann| {
        let Answer::Agents(agents) = world.ask(ann, operator::Call::Agents) else {
            panic!("agents are expected");
        };
        agents
    };
    let mut expected = AgentView {
        id: id.clone(),
        info: agent_info("cpus:4"),
        total: resources("cpus:4"),
        presence: Presence::Connected {
            since: registered_at,
        },
        standing: Standing::Active,
        drain_since: None,
        registered_at,
        offered: resources("cpus:3"),
        allocated: resources("cpus:1"),
        shortage: Resources::new(),
        tasks: 1,
        operations: 0,
    };
    assert_eq!(agents(&mut world, ann), [expected.clone()]);
    world.lose(peer);
    expected.offered = Resources::new();
    expected.presence = Presence::Disconnected {
        since: world.now,
        until: Some(world.now + world.master.config.agent_reregister_timeout),
    };
    assert_eq!(agents(&mut world, ann), [expected.clone()]);
    let call = operator::Call::Deactivate { agent: id.clone() };
    world.order(ann, call);
    expected.standing = Standing::Deactivated;
    assert_eq!(agents(&mut world, ann), [expected]);
    let mut world = World::recovered(2, world.master.registry().clone());
    world.drain();
    let ann = world.connect(PeerRole::Operator, "ann");
    let known = agents(&mut world, ann).remove(0);
    assert_eq!(known.id, id);
    assert!(matches!(known.presence, Presence::Recovered { .. }));
    assert_eq!(known.standing, Standing::Deactivated);
}

#[test]
fn an_operator_sees_tasks_in_every_state_and_their_executors() {
    // FW-75, but for operations, which are told to their frameworks
    let mut world = World::new();
    let ann = world.connect(PeerRole::Operator, "ann");
    let (peer, agent) = world.agent("one", "cpus:4");
    let (web, owner) = world.framework("web");
    world.now = world.now + Duration::from_micros(1);
    let executor = ExecutorInfo::new(
        ExecutorId::new("e").unwrap(),
        resources("cpus:1"),
        CommandInfo::shell("serve"),
    );
    let by_executor = TaskInfo {
        command: None,
        executor: Some(executor),
        ..task("c", &agent, "cpus:1")
    };
    let tasks = vec![
        task("a", &agent, "cpus:1"),
        task("b", &agent, "cpus:1"),
        by_executor,
    ];
    world.launch(web, tasks);
    let states = [TaskState::Running, TaskState::Finished];
    for ((name, state), n) in ["b", "c"].into_iter().zip(states).zip(1..) {
        world.update(peer, &owner, news(name, state, &agent, n), state);
    }
    let seen = |world: &mut World, all| {
        let Answer::Tasks(tasks) = world.ask(ann, operator::Call::Tasks { all }) else {
            panic!("tasks are expected");
        };
        let states = tasks.into_iter().map(|it| {
            let id = it.status.task.as_str().to_string();
            (id, it.status.state)
        });
        states.collect::<Vec<_>>()
    };
    let named = |states: &[(&str, TaskState)]| {
        let states = states.iter().map(|(id, state)| (id.to_string(), *state));
        states.collect::<Vec<_>>()
    };
    let (a, b) = (("a", TaskState::Staging), ("b", TaskState::Running));
    let c = ("c", TaskState::Finished);
    assert_eq!(seen(&mut world, false), named(&[a, b]));
    assert_eq!(seen(&mut world, true), named(&[a, b, c]));
    let executors = operator::Call::Snapshot {
        of: Kind::Executors,
    };
    let Answer::Snapshot(snapshot) = world.ask(ann, executors) else {
        panic!("a snapshot is expected");
    };
    let row = Row::Executor(ExecutorState {
        framework: owner,
        agent,
        id: ExecutorId::new("e").unwrap(),
        resources: resources("cpus:1"),
        published: None,
    });
    assert_eq!(snapshot.rows, [row]);
    // Out of reach they have not ended: they may come back.
    world.lose(peer);
    world.pass(Duration::from_secs(600));
    let away = |id| (id, TaskState::Unreachable);
    assert_eq!(seen(&mut world, false), named(&[away("a"), away("b")]));
    assert_eq!(seen(&mut world, true), named(&[away("a"), away("b"), c]));
}

#[test]
fn a_view_does_not_change() {
    let mut world = World::new();
    world.agent("one", "cpus:4");
    let before = world.master.view();
    world.agent("two", "cpus:4");
    assert_eq!(before.agents().len(), 1);
    assert_eq!(world.master.view().agents().len(), 2);
}

#[test]
fn a_task_is_killed_by_a_unique_beginning_of_its_name() {
    let mut world = World::new();
    let (agent_peer, agent) = world.agent("one", "cpus:4");
    let (peer, owner) = world.framework("web");
    world.now = world.now + Duration::from_micros(1);
    let tasks = ["ab", "abc", "b"].map(|id| task(id, &agent, "cpus:1"));
    world.launch(peer, tasks.to_vec());
    let operator = world.connect(PeerRole::Operator, "ann");
    let kill = |task: &str, framework: Option<FrameworkId>| operator::Call::Kill {
        framework,
        task: task.to_string(),
        grace: None,
    };
    let killing = |task: &str| Answer::Killing {
        framework: owner.clone(),
        task: task_id(task),
    };
    assert_eq!(world.ask(operator, kill("abc", None)), killing("abc"));
    // A whole name is not ambiguous.
    assert_eq!(world.ask(operator, kill("ab", None)), killing("ab"));
    let several = Answer::Ambiguous(
        "2 tasks begin with \"a\": ab of framework rio-1-0000, abc of framework rio-1-0000".into(),
    );
    assert_eq!(world.ask(operator, kill("a", None)), several);
    let none = Answer::NotFound("no running task .".into());
    assert_eq!(world.ask(operator, kill(".", None)), none);
    let nobody = FrameworkId::new("nobody").unwrap();
    let none = Answer::NotFound("no framework nobody".into());
    assert_eq!(world.ask(operator, kill("a", Some(nobody))), none);
    // The order reaches the agent.
    let request = operator::Request {
        id: RequestId(1),
        call: kill("b", Some(owner.clone())),
        after: None,
    };
    let peer = operator;
    let outs = world.input(Input::Operator { peer, request });
    let message = ToAgent::KillTask {
        framework: owner.clone(),
        task: task_id("b"),
        grace: None,
    };
    let response = operator::Response {
        id: RequestId(1),
        answer: killing("b"),
        next: None,
    };
    assert_eq!(
        outs,
        [
            to_agent(agent_peer, message),
            Output::Effect(Effect::Respond { peer, response }),
        ]
    );
}

#[test]
fn a_kill_that_its_agent_does_not_hear_is_no_kill() {
    // HA-22, TK-82: a change of masters would forget it
    let mut world = World::new();
    let (agent_peer, agent) = world.agent("one", "cpus:4");
    let (peer, owner) = world.framework("web");
    world.now = world.now + Duration::from_micros(1);
    world.launch(peer, vec![task("t", &agent, "cpus:1")]);
    let ann = world.connect(PeerRole::Operator, "ann");
    world.lose(agent_peer);
    let kill = operator::Call::Kill {
        framework: None,
        task: "t".to_string(),
        grace: None,
    };
    let answer = world.ask(ann, kill);
    let Answer::Conflict(why) = answer else {
        panic!("{answer:?}");
    };
    assert!(why.contains("is away"), "{why}");
    // Nor is it carried out later, when nobody expects it.
    let peer = world.connect(PeerRole::Agent, "one");
    let message = reregister(
        agent.clone(),
        "cpus:4",
        vec![known_as(owner.clone(), "web")],
        vec![report(
            &owner,
            task("t", &agent, "cpus:1"),
            TaskState::Running,
        )],
    );
    let outs = world.agent_says(peer, message);
    let is_kill = |out: &Out| {
        let Output::Effect(Effect::Agent { message, .. }) = out else {
            return false;
        };
        matches!(message, ToAgent::KillTask { .. })
    };
    assert!(!outs.iter().any(is_kill), "{outs:?}");
}

#[test]
fn nothing_is_not_the_beginning_of_a_task() {
    let mut world = World::new();
    let (_, agent) = world.agent("one", "cpus:4");
    let (peer, _) = world.framework("web");
    world.now = world.now + Duration::from_micros(1);
    world.launch(peer, vec![task("t", &agent, "cpus:1")]);
    let operator = world.connect(PeerRole::Operator, "ann");
    let kill = operator::Call::Kill {
        framework: None,
        task: String::new(),
        grace: None,
    };
    let answer = world.ask(operator, kill);
    assert_eq!(answer, Answer::NotFound("no task is named".into()));
}

#[test]
fn an_operator_sees_nothing_before_it_is_durable() {
    let mut world = World::new();
    let operator = world.connect(PeerRole::Operator, "ann");
    let peer = world.connect(PeerRole::Agent, "one");
    let agent = agent_info("cpus:4");
    let message = ToMaster::Register { agent };
    let register = Input::Agent { peer, message };
    let request = operator::Request {
        id: RequestId(1),
        call: operator::Call::Agents,
        after: None,
    };
    let ask = Input::Operator {
        peer: operator,
        request,
    };
    let (now, out) = (world.now, &mut world.out);
    world.master.handle(now, register, out);
    world.master.handle(now, ask, out);
    let mut gate = crate::gate::Gate::new();
    let mut last = None;
    for output in world.out.drain() {
        last = gate.admit(output).map(|(seq, _)| seq).or(last);
    }
    assert_eq!(gate.release(), None, "nothing leaves before the record");
    gate.persisted(last.expect("the agent is written down"));
    let answered = |effect| matches!(effect, Effect::Respond { .. });
    let released = core::iter::from_fn(|| gate.release());
    assert!(released.into_iter().any(answered));
}

//! Messages between frameworks and executors, and what is said of executors.

use alloc::format;

use super::lingering::by_executor;
use super::operations::{named, offered, reserved};
use super::*;
use crate::protocol::operation::Conversion;
use crate::protocol::scheduler::{ExecutorEnd, ExecutorMessage};
use crate::protocol::status::Exit;
use crate::protocol::task::ExecutorInfo;

fn executor() -> ExecutorId {
    ExecutorId::new("e").unwrap()
}

fn say(agent: &AgentId, bytes: usize) -> Call {
    Call::Message {
        agent: agent.clone(),
        executor: executor(),
        data: vec![7; bytes],
    }
}

#[test]
fn messages_are_passed_on_once() {
    // FW-35, FW-58, FW-51, PR-08, PR-09
    let mut world = World::new();
    let (agent_peer, agent) = world.agent("one", "cpus:4");
    let (peer, owner) = world.framework("web");
    world.now = world.now + Duration::from_micros(1);
    world.launch(peer, vec![by_executor("t", &agent)]);
    let most = limits::MESSAGE_BYTES;
    let message = ToAgent::Message {
        framework: owner.clone(),
        executor: executor(),
        data: vec![7; most],
    };
    let outs = world.call(peer, say(&agent, most));
    assert_eq!(outs, [to_agent(agent_peer, message)]);
    let outs = world.call(peer, say(&agent, most + 1));
    let rejected = Event::Rejected {
        call: CallKind::Message,
        reason: RejectKind::TooLong,
        message: format!(
            "message has {} bytes, more than the limit of {most}",
            most + 1
        ),
    };
    assert_eq!(outs, [to_framework(peer, rejected)]);
    assert_eq!(world.call(peer, say(&agent_id(9), 1)), []);
    let answer = |framework: &FrameworkId, bytes: usize| ToMaster::Message {
        framework: framework.clone(),
        executor: executor(),
        data: vec![7; bytes],
    };
    let heard = Event::Message(ExecutorMessage {
        agent: agent.clone(),
        executor: executor(),
        data: vec![7; 2],
    });
    let outs = world.agent_says(agent_peer, answer(&owner, 2));
    assert_eq!(outs, [to_framework(peer, heard)]);
    assert_eq!(world.agent_says(agent_peer, answer(&owner, most + 1)), []);
    let unknown = FrameworkId::new("nobody").unwrap();
    assert_eq!(world.agent_says(agent_peer, answer(&unknown, 2)), []);
}

#[test]
fn an_agent_speaks_for_the_executors_that_it_has() {
    // PR-08, I21: anybody's agent could flood a framework otherwise, or end what another one runs
    let mut world = World::new();
    let (_, agent) = world.agent("one", "cpus:4");
    let (peer, owner) = world.framework("web");
    world.now = world.now + Duration::from_micros(1);
    world.launch(peer, vec![by_executor("t", &agent)]);
    let (stranger, _) = world.agent("two", "cpus:4");
    let message = ToMaster::Message {
        framework: owner.clone(),
        executor: executor(),
        data: vec![7],
    };
    assert_eq!(world.agent_says(stranger, message), []);
    assert_eq!(world.executor_ended(stranger, &owner), []);
    assert_eq!(world.master.strays(), 2);
}

#[test]
fn a_framework_ends_an_executor_and_hears_of_it() {
    // FW-58, FW-36, FW-46, PR-07, PR-08
    let mut world = World::new();
    let (agent_peer, agent) = world.agent("one", "cpus:4");
    let (peer, owner) = world.framework("web");
    world.now = world.now + Duration::from_micros(1);
    world.launch(peer, vec![by_executor("t", &agent)]);
    let call = Call::ShutdownExecutor {
        agent: agent.clone(),
        executor: executor(),
    };
    let message = ToAgent::ShutdownExecutor {
        framework: owner.clone(),
        executor: executor(),
    };
    assert_eq!(world.call(peer, call), [to_agent(agent_peer, message)]);
    let ended = ToMaster::ExecutorEnded {
        framework: owner,
        executor: executor(),
        exit: Some(Exit::Code(1)),
    };
    let heard = Event::ExecutorEnded(ExecutorEnd {
        agent,
        executor: executor(),
        exit: Some(Exit::Code(1)),
    });
    let outs = world.agent_says(agent_peer, ended.clone());
    assert_eq!(outs, [to_framework(peer, heard)]);
    let stranger = world.connect(PeerRole::Agent, "two");
    assert_eq!(world.agent_says(stranger, ended), []);
}

/// Who hears that an agent is lost, and why.
fn lost(outs: &[Out]) -> Vec<(PeerId, AgentId, AgentLoss)> {
    let heard = outs.iter().filter_map(|out| match out {
        Output::Effect(Effect::Scheduler {
            peer,
            event: Event::AgentLost { agent, why },
        }) => Some((*peer, agent.clone(), *why)),
        Output::Effect(_) | Output::Persist(_) | Output::Free(_) => None,
    });
    heard.collect()
}

#[test]
fn who_holds_something_on_an_agent_hears_that_it_is_lost() {
    // FW-36, SM-14, SM-17, SM-18
    let mut world = World::new();
    let (agent_peer, agent) = world.agent("one", "cpus:4");
    let (web, owner) = world.framework("web");
    world.now = world.now + Duration::from_micros(1);
    world.launch(web, vec![task("t", &agent, "cpus:1")]);
    let (idle, _) = world.framework("idle");
    assert_eq!(lost(&world.lose(agent_peer)), [], "it may be back soon");
    let patience = world.master.config.agent_reregister_timeout;
    let outs = world.pass(patience);
    let unreachable = (web, agent.clone(), AgentLoss::Unreachable);
    assert_eq!(lost(&outs), [unreachable], "the other has nothing there");
    world.lose(idle);
    let is_update = |out: &Out| match out {
        Output::Effect(Effect::Scheduler { event, .. }) => matches!(event, Event::Update(_)),
        Output::Effect(_) | Output::Persist(_) | Output::Free(_) => false,
    };
    let is_loss = |out: &Out| !lost(core::slice::from_ref(out)).is_empty();
    let update = outs.iter().position(is_update);
    assert!(
        update < outs.iter().position(is_loss),
        "its tasks come first"
    );
    // Its task is out of reach, and so it is heard again when it is gone for good.
    let ann = world.connect(PeerRole::Operator, "ann");
    let gone = operator::Call::MarkGone {
        agent: agent.clone(),
    };
    let outs = world.order(ann, gone);
    assert_eq!(lost(&outs), [(web, agent, AgentLoss::Gone)]);

    // An executor is enough, and so is an operation; who is away hears nothing.
    let (agent_peer, agent) = world.agent("two", "cpus:4");
    world.now = world.now + Duration::from_micros(1);
    let mut one = task("u", &agent, "cpus:1");
    one.command = None;
    one.executor = Some(ExecutorInfo::new(
        ExecutorId::new("e").unwrap(),
        resources("cpus:0.5"),
        CommandInfo::shell("true"),
    ));
    world.launch(web, vec![one]);
    let status = news("u", TaskState::Finished, &agent, 1);
    world.update(agent_peer, &owner, status, TaskState::Finished);
    let acknowledged = Call::Acknowledge {
        agent: agent.clone(),
        task: task_id("u"),
        update: UpdateId(1),
    };
    world.call(web, acknowledged);
    let outs = world.agent_says(agent_peer, ToMaster::Unregister);
    assert_eq!(lost(&outs), [(web, agent, AgentLoss::Removed)]);
    let mut o = offered("cpus:4");
    let reserve = Conversion::Reserve(reserved("cpus", 1));
    o.accept(vec![named("r", reserve)]);
    let outs = o.world.agent_says(o.agent_peer, ToMaster::Unregister);
    assert_eq!(lost(&outs), [(o.peer, o.agent, AgentLoss::Removed)]);

    let (agent_peer, agent) = world.agent("three", "cpus:4");
    world.now = world.now + Duration::from_micros(1);
    world.launch(web, vec![task("v", &agent, "cpus:1")]);
    world.lose(web);
    let outs = world.agent_says(agent_peer, ToMaster::Unregister);
    assert_eq!(lost(&outs), []);
}

//! Messages between frameworks and executors, and what is said of executors.

use alloc::format;

use super::*;
use crate::protocol::scheduler::{ExecutorEnd, ExecutorMessage};
use crate::protocol::status::Exit;

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
    // FW-51, PR-08, PR-09
    let mut world = World::new();
    let (agent_peer, agent) = world.agent("one", "cpus:4");
    let (peer, owner) = world.framework("web");
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
fn a_framework_ends_an_executor_and_hears_of_it() {
    // FW-36, FW-46, PR-07, PR-08
    let mut world = World::new();
    let (agent_peer, agent) = world.agent("one", "cpus:4");
    let (peer, owner) = world.framework("web");
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

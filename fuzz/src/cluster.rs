//! Arbitrary inputs to a master and an agent: neither panics, and all that must hold between two
//! inputs does.

use serde::de::DeserializeOwned;
use tepui_core::agent::{self, Agent, AgentState};
use tepui_core::allocator::drf::{Drf, Options};
use tepui_core::ids::MasterId;
use tepui_core::machine::{Machine, Outbox};
use tepui_core::master::{self, Master};
use tepui_core::protocol::node::AgentInfo;
use tepui_core::registry::Registry;
use tepui_core::resources::Resources;
use tepui_core::time::Time;

/// Feeds the bytes, decoded as inputs, to both machines.
pub fn cluster(data: &[u8]) {
    let mut master = a_master();
    feed(data, |now, input: master::Input| {
        master.handle(now, input, &mut Outbox::new());
        master.check();
    });
    let mut agent = an_agent();
    feed(data, |now, input: agent::Input| {
        agent.handle(now, input, &mut Outbox::new());
        if let Err(violation) = agent.check() {
            panic!("{violation}");
        }
    });
}

/// Decodes one input after the other; a byte before each says how much time has passed.
fn feed<I: DeserializeOwned>(mut data: &[u8], mut take_in: impl FnMut(Time, I)) {
    let mut now = Time::from_micros(1);
    while let Some((wait, rest)) = data.split_first() {
        now = now + std::time::Duration::from_secs(u64::from(*wait));
        let Ok((input, rest)) = postcard::take_from_bytes(rest) else {
            return;
        };
        take_in(now, input);
        data = rest;
    }
}

fn a_master() -> Master {
    let id = MasterId::of("fuzz", 1).expect("a valid name");
    let allocator = Drf::new(Options::default());
    Master::recover(
        master::Config::new(id, 1, 1),
        Registry::default(),
        Box::new(allocator),
        Time::from_micros(1),
        &mut Outbox::new(),
    )
}

fn agent_info() -> AgentInfo {
    let resources = Resources::parse("cpus:4;mem:4096").expect("valid resources");
    AgentInfo::new("h", "h:1", resources)
}

fn an_agent() -> Agent {
    Agent::recover(
        agent::Config::new(agent_info(), "a", 1),
        AgentState::default(),
        Time::from_micros(1),
        &mut Outbox::new(),
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use serde::Serialize;
    use tepui_core::auth::{PeerRole, Principal};
    use tepui_core::ids::{AgentId, FrameworkId, PeerId, TaskId};
    use tepui_core::protocol::agent::{ToAgent, ToMaster};
    use tepui_core::protocol::framework::{FrameworkInfo, Wishes};
    use tepui_core::protocol::scheduler::Call;
    use tepui_core::protocol::task::{CommandInfo, TaskInfo};
    use tepui_core::roles::Role;

    use super::*;
    use crate::corpus;

    /// Conversations that make sense, so that changes of them reach beyond the first input.
    fn with_a_master() -> Vec<u8> {
        let connected = |peer, role| master::Input::Connected {
            peer: PeerId(peer),
            principal: Principal {
                role,
                name: "x".into(),
            },
        };
        let inputs = [
            connected(1, PeerRole::Agent),
            connected(2, PeerRole::Framework),
            master::Input::Agent {
                peer: PeerId(1),
                message: ToMaster::Register {
                    agent: agent_info(),
                },
            },
            master::Input::Scheduler {
                peer: PeerId(2),
                call: Call::Subscribe {
                    framework: FrameworkInfo::new("f"),
                    wishes: Wishes::default(),
                },
            },
            master::Input::Scheduler {
                peer: PeerId(2),
                call: Call::Decline {
                    offers: vec![],
                    refuse: None,
                },
            },
            master::Input::Disconnected { peer: PeerId(1) },
        ];
        written(&inputs)
    }

    fn with_an_agent() -> Vec<u8> {
        let (peer, id) = (PeerId(1), AgentId::new("fuzz-1-S1").unwrap());
        let framework = FrameworkInfo {
            id: Some(FrameworkId::new("fuzz-1-0").unwrap()),
            ..FrameworkInfo::new("f")
        };
        let task = TaskInfo {
            command: Some(CommandInfo::shell("true")),
            ..TaskInfo::new(
                TaskId::new("t").unwrap(),
                id.clone(),
                Resources::parse("cpus:1;mem:64").unwrap(),
            )
        };
        let said = |message| agent::Input::Master { peer, message };
        let kill = ToAgent::KillTask {
            framework: framework.id.clone().unwrap(),
            task: task.id.clone(),
            grace: None,
        };
        written(&[
            agent::Input::MasterFound { peer },
            said(ToAgent::Registered {
                id,
                master: MasterId::of("fuzz", 1).unwrap(),
                epoch: 1,
                ping_timeout: Duration::from_secs(75),
            }),
            said(ToAgent::Ping),
            said(ToAgent::UpdateFramework(framework.clone())),
            said(ToAgent::RunTask {
                framework: framework.id.unwrap(),
                role: Role::any(),
                task,
                starts_executor: false,
            }),
            said(kill),
            agent::Input::MasterLost { peer },
        ])
    }

    fn written<I: Serialize>(inputs: &[I]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for input in inputs {
            bytes.push(1);
            bytes.extend(postcard::to_stdvec(input).unwrap());
        }
        bytes
    }

    #[test]
    fn the_corpus_is_of_real_conversations() {
        corpus::check("cluster", "master", &with_a_master());
        corpus::check("cluster", "agent", &with_an_agent());
    }

    #[test]
    fn the_corpus_with_every_byte_changed() {
        for entry in corpus::entries("cluster") {
            cluster(&entry);
            for at in 0..entry.len() {
                for flip in [0x01, 0x02, 0x7f, 0x80] {
                    let mut changed = entry.clone();
                    changed[at] ^= flip;
                    cluster(&changed);
                }
            }
        }
    }

    proptest! {
        #[test]
        fn anything(data in prop::collection::vec(any::<u8>(), 0..300)) {
            cluster(&data);
        }
    }
}

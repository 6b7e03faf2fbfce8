//! Arbitrary inputs to a master and an agent: neither panics, and all that must hold between two
//! inputs does.

use serde::de::DeserializeOwned;
use tepui_core::agent::{self, Agent, AgentState};
use tepui_core::allocator::drf::{Drf, Options};
use tepui_core::attributes::Attributes;
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

fn an_agent() -> Agent {
    let info = AgentInfo {
        hostname: "h".into(),
        address: "h:1".into(),
        resources: Resources::parse("cpus:4;mem:4096").expect("valid resources"),
        attributes: Attributes::default(),
    };
    Agent::recover(
        agent::Config::new(info, "a", 1),
        AgentState::default(),
        Time::from_micros(1),
        &mut Outbox::new(),
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tepui_core::auth::{PeerRole, Principal};
    use tepui_core::ids::PeerId;
    use tepui_core::protocol::agent::ToMaster;
    use tepui_core::protocol::framework::FrameworkInfo;
    use tepui_core::protocol::scheduler::Call;

    use super::*;

    /// A conversation that makes sense, so that changes of it reach beyond the first input.
    fn conversation() -> Vec<u8> {
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
                    agent: AgentInfo {
                        hostname: "h".into(),
                        address: "h:1".into(),
                        resources: Resources::parse("cpus:4;mem:4096").unwrap(),
                        attributes: Attributes::default(),
                    },
                },
            },
            master::Input::Scheduler {
                peer: PeerId(2),
                call: Call::Subscribe {
                    framework: FrameworkInfo::new("f"),
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
        let mut bytes = Vec::new();
        for input in inputs {
            bytes.push(1);
            bytes.extend(postcard::to_stdvec(&input).unwrap());
        }
        bytes
    }

    #[test]
    fn a_conversation_with_every_byte_changed() {
        let bytes = conversation();
        for at in 0..bytes.len() {
            for flip in [0x01, 0x02, 0x7f, 0x80] {
                let mut changed = bytes.clone();
                changed[at] ^= flip;
                cluster(&changed);
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

//! Bytes from a peer: no frame and no message panics, and what decodes is encoded the same again.

use std::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tepui_core::protocol::hello::Hello;
use tepui_core::protocol::{agent, enter, executor, operator, scheduler};
use tepui_transport::codec::Decoder;

/// Reads bytes as a stream of frames, and each body as every kind of message.
pub fn frames(data: &[u8]) {
    let mut decoder = Decoder::default();
    decoder.push(data);
    while let Ok(Some(body)) = decoder.next_body() {
        messages(body);
    }
    messages(data);
}

fn messages(body: &[u8]) {
    message::<Hello>(body);
    message::<agent::ToMaster>(body);
    message::<agent::ToAgent>(body);
    message::<agent::Read>(body);
    message::<enter::Opening>(body);
    message::<enter::Input>(body);
    message::<enter::Output>(body);
    message::<scheduler::Call>(body);
    message::<scheduler::Event>(body);
    message::<executor::Call>(body);
    message::<executor::Event>(body);
    message::<operator::Request>(body);
    message::<operator::Response>(body);
}

fn message<M: Serialize + DeserializeOwned + PartialEq + Debug>(body: &[u8]) {
    let Ok((message, _)) = postcard::take_from_bytes::<M>(body) else {
        return;
    };
    let bytes = postcard::to_stdvec(&message).expect("what was decoded can be encoded");
    let again: M = postcard::from_bytes(&bytes).expect("what was encoded can be decoded");
    assert_eq!(again, message);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tepui_core::attributes::Attributes;
    use tepui_core::auth::PeerRole;
    use tepui_core::ids::{RequestId, TaskId};
    use tepui_core::protocol::framework::{FrameworkInfo, Wishes};
    use tepui_core::protocol::node::AgentInfo;
    use tepui_core::resources::Resources;
    use tepui_transport::codec;

    use super::*;
    use crate::corpus;

    #[test]
    fn the_corpus_is_of_real_frames() {
        let framework = FrameworkInfo::new("f");
        let task = TaskId::new("t").unwrap();
        let hello = Hello::new(PeerRole::Agent, "a");
        let register = agent::ToMaster::Register {
            agent: AgentInfo {
                attributes: Attributes::parse("rack:r1;zone:[1-3]").unwrap(),
                ..AgentInfo::new(
                    "h",
                    "h:1",
                    Resources::parse("cpus:4;ports:[1-3];labels:{a,b}").unwrap(),
                )
            },
        };
        let wishes = Wishes::default();
        let subscribe = scheduler::Call::Subscribe { framework, wishes };
        let kill = scheduler::Call::Kill { task, grace: None };
        let list = operator::Request {
            id: RequestId(1),
            call: operator::Call::Tasks { all: true },
            after: None,
        };
        let mut all = Vec::new();
        for (name, encoded) in [
            ("hello", encoded(&hello)),
            ("register", encoded(&register)),
            ("subscribe", encoded(&subscribe)),
            ("kill", encoded(&kill)),
            ("list", encoded(&list)),
        ] {
            corpus::check("frames", name, &encoded);
            all.extend(encoded);
        }
        corpus::check("frames", "several", &all);
    }

    fn encoded<M: Serialize>(message: &M) -> Vec<u8> {
        let mut frame = Vec::new();
        codec::encode(message, &mut frame).unwrap();
        frame
    }

    #[test]
    fn the_corpus_with_every_byte_changed_and_cut_everywhere() {
        for entry in corpus::entries("frames") {
            frames(&entry);
            for at in 0..entry.len() {
                for flip in [0x01, 0x80, 0xff] {
                    let mut bytes = entry.clone();
                    bytes[at] ^= flip;
                    frames(&bytes);
                }
                frames(&entry[..at]);
            }
        }
    }

    proptest! {
        #[test]
        fn anything(data in prop::collection::vec(any::<u8>(), 0..200)) {
            frames(&data);
        }
    }
}

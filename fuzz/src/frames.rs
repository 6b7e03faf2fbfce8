//! Bytes from a peer: no frame and no message panics, and what decodes is encoded the same again.

use std::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tepui_core::protocol::hello::Hello;
use tepui_core::protocol::{agent, executor, operator, scheduler};
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
    use tepui_core::auth::PeerRole;
    use tepui_transport::codec;

    use super::*;

    #[test]
    fn a_real_frame_with_every_byte_changed() {
        let mut frame = Vec::new();
        codec::encode(&Hello::new(PeerRole::Agent, "a"), &mut frame).unwrap();
        for at in 0..frame.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut bytes = frame.clone();
                bytes[at] ^= flip;
                frames(&bytes);
            }
            frames(&frame[..at]);
        }
    }

    proptest! {
        #[test]
        fn anything(data in prop::collection::vec(any::<u8>(), 0..200)) {
            frames(&data);
        }
    }
}

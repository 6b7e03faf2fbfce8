//! Frames: a version byte, the length of the body as four bytes (little endian), and the body in
//! postcard.
//!
//! Called by sessions for every message in both directions, and by the fuzzer. Pure: bytes in,
//! messages out. Deliberately not here: sockets, and the version of the *protocol*, which is agreed
//! on once per connection; the byte here only says how frames are laid out.

use serde::Serialize;
use serde::de::DeserializeOwned;
use tepui_core::limits;
use tepui_core::protocol::hello::CloseReason;

/// The one layout of frames that exists.
pub const FRAME_VERSION: u8 = 1;
/// How many bytes stand before a body.
pub const HEADER_BYTES: usize = 5;

/// Why bytes are not a frame, or a message cannot become one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The layout is unknown.
    #[error("frame version {found}, expected {FRAME_VERSION}")]
    Version {
        /// The version byte found.
        found: u8,
    },
    /// The body is too long.
    #[error("frame of {bytes} bytes, at most {limit} are allowed")]
    TooLarge {
        /// How long it is.
        bytes: usize,
        /// How long it may be.
        limit: usize,
    },
    /// The bytes end within a frame.
    #[error("stream ended within a frame, after {bytes} bytes of it")]
    Truncated {
        /// How much of the frame is there.
        bytes: usize,
    },
    /// The body does not decode.
    #[error("malformed frame of {bytes} bytes: {problem}")]
    Malformed {
        /// How long the body is.
        bytes: usize,
        /// What the decoder says.
        problem: String,
    },
}

impl FrameError {
    /// Returns the reason to close a connection with.
    pub fn close_reason(&self) -> CloseReason {
        match self {
            Self::Version { .. } => CloseReason::FrameVersion,
            Self::TooLarge { .. } => CloseReason::FrameTooLarge,
            Self::Truncated { .. } => CloseReason::Truncated,
            Self::Malformed { .. } => CloseReason::Malformed,
        }
    }
}

/// Appends one frame to `into`, so that several leave in one write. An error leaves `into` as it
/// was.
pub fn encode(message: &impl Serialize, into: &mut Vec<u8>) -> Result<(), FrameError> {
    let start = into.len();
    into.push(FRAME_VERSION);
    into.extend_from_slice(&[0; HEADER_BYTES - 1]);
    let mut body = Body {
        bytes: into,
        written: 0,
    };
    let result = postcard::serialize_with_flavor(message, &mut body);
    let written = body.written;
    let problem = match result {
        Ok(()) if written <= limits::FRAME_BYTES => {
            let length = u32::try_from(written).expect("the frame limit is below u32::MAX");
            into[start + 1..start + HEADER_BYTES].copy_from_slice(&length.to_le_bytes());
            return Ok(());
        }
        Ok(()) => FrameError::TooLarge {
            bytes: written,
            limit: limits::FRAME_BYTES,
        },
        Err(error) => FrameError::Malformed {
            bytes: written,
            problem: error.to_string(),
        },
    };
    into.truncate(start);
    Err(problem)
}

/// Where a body is written: the limit of memory holds while it is written, not after.
struct Body<'a> {
    bytes: &'a mut Vec<u8>,
    written: usize,
}

impl postcard::ser_flavors::Flavor for &mut Body<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.try_extend(&[byte])
    }

    fn try_extend(&mut self, data: &[u8]) -> postcard::Result<()> {
        self.written += data.len();
        // Beyond the limit bytes are only counted: the error then names the true length.
        if self.written <= limits::FRAME_BYTES {
            self.bytes.extend_from_slice(data);
        }
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

/// Decodes the body of a frame. Bytes left over are an error.
pub fn decode<M: DeserializeOwned>(body: &[u8]) -> Result<M, FrameError> {
    let malformed = |problem: String| FrameError::Malformed {
        bytes: body.len(),
        problem,
    };
    match postcard::take_from_bytes(body) {
        Ok((message, [])) => Ok(message),
        Ok((_, rest)) => Err(malformed(format!("{} bytes left over", rest.len()))),
        Err(error) => Err(malformed(error.to_string())),
    }
}

/// Decodes the body of a frame that may have grown since: bytes left over are ignored.
pub fn decode_prefix<M: DeserializeOwned>(body: &[u8]) -> Result<M, FrameError> {
    match postcard::take_from_bytes(body) {
        Ok((message, _)) => Ok(message),
        Err(error) => Err(FrameError::Malformed {
            bytes: body.len(),
            problem: error.to_string(),
        }),
    }
}

/// Cuts a stream of bytes, in whatever pieces it comes, into bodies.
///
/// It holds no more than one frame and one piece: a length is believed only as its bytes arrive.
#[derive(Debug)]
pub struct Decoder {
    buffer: Vec<u8>,
    start: usize,
    limit: usize,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::with_limit(limits::FRAME_BYTES)
    }
}

impl Decoder {
    /// Makes a decoder that refuses bodies longer than `limit` bytes.
    pub fn with_limit(limit: usize) -> Self {
        Self {
            buffer: Vec::new(),
            start: 0,
            limit,
        }
    }

    /// Changes the limit for the bodies to come.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Takes in bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.spare(bytes.len()).extend_from_slice(bytes);
    }

    /// Returns the buffer to append bytes to, with room for at least `room` of them.
    pub(crate) fn spare(&mut self, room: usize) -> &mut Vec<u8> {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.buffer.reserve(room);
        &mut self.buffer
    }

    /// Takes the next body, or `None` until more bytes come.
    ///
    /// After an error the stream cannot be understood any more: end the connection.
    pub fn next_body(&mut self) -> Result<Option<&[u8]>, FrameError> {
        let frame = &self.buffer[self.start..];
        let Some(version) = frame.first() else {
            self.shrink();
            return Ok(None);
        };
        if *version != FRAME_VERSION {
            return Err(FrameError::Version { found: *version });
        }
        let Some(length) = frame.get(1..HEADER_BYTES) else {
            return Ok(None);
        };
        let length = length.try_into().map(u32::from_le_bytes);
        let bytes = length.expect("the slice has four bytes") as usize;
        if bytes > self.limit {
            return Err(FrameError::TooLarge {
                bytes,
                limit: self.limit,
            });
        }
        if frame.len() - HEADER_BYTES < bytes {
            return Ok(None);
        }
        let from = self.start + HEADER_BYTES;
        self.start = from + bytes;
        Ok(Some(&self.buffer[from..self.start]))
    }

    /// Notes that no more bytes come.
    pub fn finish(&self) -> Result<(), FrameError> {
        let bytes = self.buffer.len() - self.start;
        if bytes == 0 {
            Ok(())
        } else {
            Err(FrameError::Truncated { bytes })
        }
    }

    /// Returns how many bytes the frame that has begun still lacks, once its header is there.
    pub(crate) fn missing(&self) -> usize {
        let frame = &self.buffer[self.start..];
        match frame.get(1..HEADER_BYTES).map(TryInto::try_into) {
            Some(Ok(length)) => {
                let whole = HEADER_BYTES + u32::from_le_bytes(length) as usize;
                whole.saturating_sub(frame.len())
            }
            Some(Err(_)) | None => HEADER_BYTES - frame.len(),
        }
    }

    /// Gives back the memory of a rare large frame; an idle connection keeps little.
    fn shrink(&mut self) {
        const KEEP: usize = 16 * 1024;
        self.buffer.clear();
        self.start = 0;
        if self.buffer.capacity() > KEEP {
            self.buffer.shrink_to(KEEP);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tepui_core::auth::PeerRole;
    use tepui_core::protocol::hello::Hello;

    use super::*;

    fn hello() -> Hello {
        Hello {
            protocol_min: 1,
            protocol_max: 2,
            cluster: Some("rio".into()),
            role: PeerRole::Agent,
            name: "a1".into(),
            epoch: 300,
            capabilities: 5,
        }
    }

    #[test]
    fn the_bytes_of_protocol_1_stay() {
        let mut bytes = Vec::new();
        encode(&hello(), &mut bytes).unwrap();
        assert_eq!(
            bytes,
            [
                1, 14, 0, 0, 0, // frame version, length
                1, 2, // protocols
                1, 3, b'r', b'i', b'o', // cluster
                1,    // agent
                2, b'a', b'1', // name
                0xAC, 2, // epoch 300
                5, // capabilities
            ]
        );
        bytes.clear();
        encode(&(7u16, "x"), &mut bytes).unwrap();
        assert_eq!(bytes, [1, 3, 0, 0, 0, 7, 1, b'x']);
    }

    #[test]
    fn a_hello_of_a_newer_build_is_understood() {
        let mut bytes = Vec::new();
        encode(&(hello(), "something new"), &mut bytes).unwrap();
        let mut decoder = Decoder::default();
        decoder.push(&bytes);
        let body = decoder.next_body().unwrap().unwrap();
        assert_eq!(decode_prefix::<Hello>(body).unwrap(), hello());
        assert!(decode::<Hello>(body).is_err());
    }

    #[test]
    fn what_is_wrong_is_named() {
        let mut decoder = Decoder::with_limit(8);
        decoder.push(&[9]);
        assert_eq!(
            decoder.next_body().unwrap_err(),
            FrameError::Version { found: 9 }
        );
        let mut decoder = Decoder::with_limit(8);
        decoder.push(&[1, 9, 0, 0, 0]);
        assert_eq!(
            decoder.next_body().unwrap_err(),
            FrameError::TooLarge { bytes: 9, limit: 8 }
        );
        let mut decoder = Decoder::with_limit(8);
        decoder.push(&[1, 8, 0, 0, 0, 1, 2]);
        assert_eq!(decoder.next_body().unwrap(), None);
        assert_eq!(
            decoder.finish().unwrap_err(),
            FrameError::Truncated { bytes: 7 }
        );
        assert!(matches!(
            decode::<String>(&[5, b'a']),
            Err(FrameError::Malformed { bytes: 2, .. })
        ));
    }

    #[test]
    fn a_message_that_is_too_large_leaves_the_buffer_as_it_was() {
        let mut bytes = vec![42];
        let error = encode(&vec![0u8; limits::FRAME_BYTES], &mut bytes).unwrap_err();
        assert_eq!(
            error,
            FrameError::TooLarge {
                bytes: limits::FRAME_BYTES + 4,
                limit: limits::FRAME_BYTES
            }
        );
        assert_eq!(bytes, [42]);
    }

    fn decode_all(decoder: &mut Decoder, into: &mut Vec<(u32, String)>) -> Result<(), FrameError> {
        while let Some(body) = decoder.next_body()? {
            into.push(decode(body)?);
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn messages_survive_any_cutting(
            messages in prop::collection::vec((any::<u32>(), ".{0,40}"), 0..20),
            cuts in prop::collection::vec(1usize..50, 1..20),
        ) {
            let mut bytes = Vec::new();
            for message in &messages {
                encode(message, &mut bytes).unwrap();
            }
            let (mut decoder, mut decoded) = (Decoder::default(), Vec::new());
            let mut rest = bytes.as_slice();
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (piece, later) = rest.split_at(rest.len().min(*cut));
                decoder.push(piece);
                decode_all(&mut decoder, &mut decoded).unwrap();
                rest = later;
            }
            prop_assert_eq!(decoded, messages);
            prop_assert_eq!(decoder.finish(), Ok(()));
        }

        #[test]
        fn no_bytes_panic(pieces in prop::collection::vec(
            prop::collection::vec(prop_oneof![0u8..3, any::<u8>()], 0..30), 0..20,
        )) {
            let (mut decoder, mut decoded) = (Decoder::with_limit(64), Vec::new());
            let fed: usize = pieces.iter().map(Vec::len).sum();
            for piece in pieces {
                decoder.push(&piece);
                if decode_all(&mut decoder, &mut decoded).is_err() {
                    break;
                }
            }
            prop_assert!(decoded.len() * HEADER_BYTES <= fed);
            // Whether it ends well or not, it must say so without a panic.
            let _ = (decoder.finish(), decode_prefix::<Hello>(&decoder.buffer));
        }
    }
}

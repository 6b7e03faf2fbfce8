//! The first frames of a connection, and all the ways in which it does not come about.
//!
//! The QUIC endpoint and [`crate::local`] call it once they know who the other side is.
//! Deliberately not here: what makes a greeting acceptable (see [`crate::node`]), and what follows
//! it.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tepui_core::auth::{PeerRole, Principal};
use tepui_core::limits;
use tepui_core::protocol::hello::{CloseReason, Hello};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::codec::{self, Decoder, FrameError};
use crate::node::{Node, Refusal};
use crate::peers::{Ending, PeerInfo};
use crate::session::{Session, Streams, start};
use crate::wire::{ByteReader, Wire};

/// How long a peer may take to greet.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest greeting: nobody has proved to be welcome yet.
const HELLO_BYTES: usize = 4_096;

/// Whose certificate was found wanting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// Ours, by the other side.
    Ours,
    /// Theirs, by us.
    Theirs,
}

/// What is wrong with a certificate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateProblem {
    /// There is none.
    #[error("there is none")]
    Missing,
    /// It is not from the authority that the checking side trusts.
    #[error("it is from another authority")]
    ForeignAuthority,
    /// It is expired, or not valid yet.
    #[error("it is expired or not valid yet")]
    Expired,
    /// It is for another role.
    #[error("it is not for this role: {0}")]
    WrongRole(String),
    /// Something else.
    #[error("{0}")]
    Other(String),
}

/// Why a dialed connection did not come about.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DialError {
    /// The address cannot be dialed.
    #[error("cannot dial {at}: {problem}")]
    Address {
        /// What was dialed.
        at: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Nobody answers.
    #[error("{at} does not answer")]
    NoAnswer {
        /// What was dialed.
        at: String,
    },
    /// A certificate is not acceptable.
    #[error("{at}: {} certificate is refused: {problem}", match whose {
        Whose::Ours => "our",
        Whose::Theirs => "its",
    })]
    Certificate {
        /// What was dialed.
        at: String,
        /// Whose certificate.
        whose: Whose,
        /// What is wrong with it.
        problem: CertificateProblem,
    },
    /// The other side refuses us.
    #[error("{at} refuses us: {text} (code {code})")]
    Refused {
        /// What was dialed.
        at: String,
        /// Why, if the code is known to this build.
        reason: Option<CloseReason>,
        /// The code.
        code: u64,
        /// Its words.
        text: String,
    },
    /// We refuse the other side.
    #[error("{at} is refused: {reason}: {detail}")]
    Unacceptable {
        /// What was dialed.
        at: String,
        /// Why.
        reason: CloseReason,
        /// What we found.
        detail: String,
    },
    /// The connection broke meanwhile.
    #[error("connection to {at} lost: {problem}")]
    Lost {
        /// What was dialed.
        at: String,
        /// How.
        problem: String,
    },
}

/// Why a greeting failed on the dialing side.
#[derive(Debug)]
pub(crate) enum GreetingFailure {
    /// We refuse the peer.
    Ours(Refusal),
    /// The connection ended; its end tells why.
    Lost,
}

impl GreetingFailure {
    /// Names the failure, given how the connection ended.
    pub(crate) fn into_dial_error(self, at: &str, ending: Ending) -> DialError {
        let at = at.to_owned();
        match (self, ending) {
            (Self::Ours(Refusal { reason, detail }), _) => {
                DialError::Unacceptable { at, reason, detail }
            }
            (Self::Lost, Ending::ByPeer { reason, code, text }) => DialError::Refused {
                at,
                reason,
                code,
                text,
            },
            (Self::Lost, Ending::TimedOut) => DialError::NoAnswer { at },
            (Self::Lost, ending @ (Ending::ByUs(_) | Ending::Lost(_))) => DialError::Lost {
                at,
                problem: ending.to_string(),
            },
        }
    }
}

/// Greets as the side that dialed, and starts the session.
pub(crate) async fn dial<I: Send + 'static>(
    node: &Node<I>,
    wire: &Wire,
    principal: Principal,
    address: Option<SocketAddr>,
    expected: PeerRole,
) -> Result<Session, GreetingFailure> {
    let refuse = |refusal: Refusal| {
        wire.close(refusal.reason, &refusal.to_string());
        GreetingFailure::Ours(refusal)
    };
    if principal.role != expected {
        let reason = CloseReason::WrongRole;
        let detail = format!("{principal} answers, expected a {expected}");
        return Err(refuse(Refusal { reason, detail }));
    }
    let greeting = async {
        let lost = |_| GreetingFailure::Lost;
        let (mut writer, mut reader) = wire.open().await.map_err(lost)?;
        writer.put_first();
        writer
            .write_all(&hello_frame(&node.hello()))
            .await
            .map_err(lost)?;
        let mut decoder = Decoder::with_limit(HELLO_BYTES);
        match read_hello(&mut reader, &mut decoder).await {
            Ok(Some(hello)) => Ok((
                hello,
                Streams {
                    writer,
                    reader,
                    decoder,
                },
            )),
            Ok(None) => Err(GreetingFailure::Lost),
            Err(error) => Err(refuse(error.into())),
        }
    };
    let (hello, streams) = match timeout(HELLO_TIMEOUT, greeting).await {
        Ok(result) => result?,
        Err(_) => return Err(refuse(no_greeting())),
    };
    let protocol = node.check_hello(&principal, &hello).map_err(refuse)?;
    node.welcomed_by(&principal, &hello);
    let info = PeerInfo {
        peer: node.new_peer(),
        principal,
        hello,
        protocol,
        address,
    };
    Ok(start(node, wire, info, streams, None))
}

/// Greets as the side that was dialed, and starts the session.
pub(crate) async fn accept<I: Send + 'static>(
    node: &Node<I>,
    wire: &Wire,
    principal: Principal,
    address: Option<SocketAddr>,
) -> Result<Session, Refusal> {
    let greeting = async {
        let seat = node.peers().seat(&principal);
        let Some((mut writer, mut reader)) = wire.accept().await else {
            return Err(gone());
        };
        let seat = seat.map_err(|taken| Refusal {
            reason: CloseReason::Crowded,
            detail: format!("{principal} has {taken}"),
        })?;
        writer.put_first();
        let mut decoder = Decoder::with_limit(HELLO_BYTES);
        let hello = read_hello(&mut reader, &mut decoder)
            .await?
            .ok_or_else(gone)?;
        let protocol = node.check_dialer(&principal, &hello)?;
        let written = writer.write_all(&hello_frame(&node.hello())).await;
        written.map_err(|_| gone())?;
        let streams = Streams {
            writer,
            reader,
            decoder,
        };
        Ok((hello, protocol, streams, seat))
    };
    let greeted = timeout(HELLO_TIMEOUT, greeting).await;
    match greeted.unwrap_or_else(|_| Err(no_greeting())) {
        Ok((hello, protocol, streams, seat)) => {
            let info = PeerInfo {
                peer: node.new_peer(),
                principal,
                hello,
                protocol,
                address,
            };
            Ok(start(node, wire, info, streams, Some(seat)))
        }
        Err(refusal) => {
            node.counters().refused.fetch_add(1, Ordering::Relaxed);
            wire.close(refusal.reason, &refusal.to_string());
            Err(refusal)
        }
    }
}

fn no_greeting() -> Refusal {
    Refusal {
        reason: CloseReason::HelloTimeout,
        detail: format!("{} s passed", HELLO_TIMEOUT.as_secs()),
    }
}

fn gone() -> Refusal {
    Refusal {
        reason: CloseReason::ShuttingDown,
        detail: "the other side left while greeting".into(),
    }
}

impl From<FrameError> for Refusal {
    fn from(error: FrameError) -> Self {
        Self {
            reason: error.close_reason(),
            detail: error.to_string(),
        }
    }
}

fn hello_frame(hello: &Hello) -> Vec<u8> {
    let mut frame = Vec::new();
    codec::encode(hello, &mut frame).expect("a greeting is short");
    frame
}

/// Reads a greeting; `None` if the connection ended.
async fn read_hello(
    reader: &mut ByteReader,
    decoder: &mut Decoder,
) -> Result<Option<Hello>, FrameError> {
    loop {
        if let Some(body) = decoder.next_body()? {
            let hello = codec::decode_prefix(body)?;
            decoder.set_limit(limits::FRAME_BYTES);
            return Ok(Some(hello));
        }
        match reader.read_buf(decoder.spare(HELLO_BYTES)).await {
            Ok(0) => {
                decoder.finish()?;
                return Ok(None);
            }
            Ok(_) => {}
            Err(error) => {
                tracing::debug!(%error, "connection lost while greeting");
                return Ok(None);
            }
        }
    }
}

//! One connection from greeting to end: who speaks first, what is read, what is written.
//!
//! The QUIC endpoint and [`crate::local`] start sessions; the machine hears of them through its
//! inbox. Deliberately not here: certificates and sockets.

use std::future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::Serialize;
use tepui_core::auth::{PeerRole, Principal};
use tepui_core::limits;
use tepui_core::protocol::hello::{CloseReason, Hello};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::codec::{self, Decoder, FrameError};
use crate::node::{Delivery, Node, Refusal};
use crate::outgoing::{LINGER, Next, SendError, Sender};
use crate::peers::{Ending, PeerEvent, PeerInfo};
use crate::streams::{self, StreamError};
use crate::wire::{ByteReader, ByteWriter, Wire};

/// How long a peer may take to greet.
pub(crate) const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest greeting: nobody has proved to be welcome yet.
const HELLO_BYTES: usize = 4_096;
/// How much is asked of a stream at once.
const READ_BYTES: usize = 16 * 1024;

/// One live connection. Clones are the same connection.
#[derive(Clone, Debug)]
pub struct Session {
    info: Arc<PeerInfo>,
    sender: Sender,
    wire: Wire,
}

impl Session {
    /// Returns who the other side is.
    pub fn info(&self) -> &Arc<PeerInfo> {
        &self.info
    }

    /// Queues a message; never waits.
    pub fn send(&self, message: &impl Serialize) -> Result<(), SendError> {
        self.sender.send(message)
    }

    /// Opens a stream for bulk and asks for `request`; the bytes of the answer follow.
    pub async fn open_stream(&self, request: &impl Serialize) -> Result<ByteReader, StreamError> {
        streams::open(&self.wire, request).await
    }

    /// Ends the connection after what was sent before.
    pub fn close(&self, reason: CloseReason) {
        self.sender.close(reason);
    }

    /// Waits for the end of the connection.
    pub async fn closed(&self) -> Ending {
        self.wire.closed().await
    }
}

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
    let info = PeerInfo {
        peer: node.new_peer(),
        principal,
        hello,
        protocol,
        address,
    };
    Ok(start(node, wire, info, streams))
}

/// Greets as the side that was dialed, and starts the session.
pub(crate) async fn accept<I: Send + 'static>(
    node: &Node<I>,
    wire: &Wire,
    principal: Principal,
    address: Option<SocketAddr>,
) -> Result<Session, Refusal> {
    let greeting = async {
        let Some((mut writer, mut reader)) = wire.accept().await else {
            return Err(gone());
        };
        writer.put_first();
        let mut decoder = Decoder::with_limit(HELLO_BYTES);
        let hello = read_hello(&mut reader, &mut decoder)
            .await?
            .ok_or_else(gone)?;
        let protocol = node.check_dialer(&principal, &hello)?;
        let written = writer.write_all(&hello_frame(&node.hello())).await;
        written.map_err(|_| gone())?;
        Ok((
            hello,
            protocol,
            Streams {
                writer,
                reader,
                decoder,
            },
        ))
    };
    let greeted = timeout(HELLO_TIMEOUT, greeting).await;
    match greeted.unwrap_or_else(|_| Err(no_greeting())) {
        Ok((hello, protocol, streams)) => {
            let info = PeerInfo {
                peer: node.new_peer(),
                principal,
                hello,
                protocol,
                address,
            };
            Ok(start(node, wire, info, streams))
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

/// The control stream, greeted on.
struct Streams {
    writer: ByteWriter,
    reader: ByteReader,
    decoder: Decoder,
}

fn start<I: Send + 'static>(
    node: &Node<I>,
    wire: &Wire,
    info: PeerInfo,
    streams: Streams,
) -> Session {
    let session = Session {
        info: Arc::new(info),
        sender: Sender::new(),
        wire: wire.clone(),
    };
    node.counters().connected.fetch_add(1, Ordering::Relaxed);
    node.peers().insert(session.clone());
    tokio::spawn(run(node.clone(), session.clone(), streams));
    session
}

/// Runs a session to its end and tells the machine what happens, in order.
async fn run<I: Send + 'static>(node: Node<I>, session: Session, streams: Streams) {
    let Session { info, sender, wire } = session;
    let peer = info.peer;
    tracing::debug!(?peer, principal = %info.principal, address = ?info.address, "connected");
    let connected = PeerEvent::Connected(Arc::clone(&info));
    let ending = if deliver(&node, &info, &wire, connected).await.is_none() {
        let Streams {
            writer,
            reader,
            decoder,
        } = streams;
        tokio::select! {
            ending = read(&node, &info, &wire, reader, decoder) => ending,
            ending = write(&sender, &wire, writer) => ending,
            never = serve_streams(&node, &info, &wire) => match never {},
        }
    } else {
        Ending::ByUs(CloseReason::ShuttingDown)
    };
    // Only now can nobody send any more: what is sent from here on is answered with "closed".
    sender.close(CloseReason::ShuttingDown);
    wire.close(
        CloseReason::ShuttingDown,
        CloseReason::ShuttingDown.as_str(),
    );
    node.peers().remove(peer);
    tracing::debug!(?peer, %ending, "disconnected");
    deliver(
        &node,
        &info,
        &wire,
        PeerEvent::Disconnected { peer, ending },
    )
    .await;
}

/// Delivers an event; says how the connection ended if that was not possible.
async fn deliver<I>(
    node: &Node<I>,
    info: &Arc<PeerInfo>,
    wire: &Wire,
    event: PeerEvent<&[u8]>,
) -> Option<Ending> {
    match node.deliver(info, event).await {
        Ok(Delivery::Taken) => None,
        Ok(Delivery::NobodyThere) => {
            let reason = CloseReason::ShuttingDown;
            wire.close(reason, reason.as_str());
            Some(Ending::ByUs(reason))
        }
        Err(error) => Some(break_off(info, wire, &error)),
    }
}

/// Ends a connection whose bytes make no sense.
fn break_off(info: &PeerInfo, wire: &Wire, error: &FrameError) -> Ending {
    tracing::warn!(peer = ?info.peer, principal = %info.principal, %error, "disconnecting");
    let reason = error.close_reason();
    wire.close(reason, &error.to_string());
    Ending::ByUs(reason)
}

async fn read<I>(
    node: &Node<I>,
    info: &Arc<PeerInfo>,
    wire: &Wire,
    mut reader: ByteReader,
    mut decoder: Decoder,
) -> Ending {
    let peer = info.peer;
    loop {
        loop {
            let message = match decoder.next_body() {
                Ok(Some(message)) => message,
                Ok(None) => break,
                Err(error) => return break_off(info, wire, &error),
            };
            let event = PeerEvent::Message { peer, message };
            if let Some(ending) = deliver(node, info, wire, event).await {
                return ending;
            }
        }
        match reader.read_buf(decoder.spare(READ_BYTES)).await {
            Ok(0) => {
                return match decoder.finish() {
                    Ok(()) => end_of(wire, CloseReason::ShuttingDown).await,
                    Err(error) => break_off(info, wire, &error),
                };
            }
            Ok(_) => {}
            Err(_) => return end_of(wire, CloseReason::Truncated).await,
        }
    }
}

async fn write(sender: &Sender, wire: &Wire, mut writer: ByteWriter) -> Ending {
    let mut spent = Vec::new();
    loop {
        match sender.next(spent).await {
            Next::Write(bytes) => {
                let written = tokio::select! {
                    written = writer.write_all(&bytes) => written,
                    reason = sender.out_of_patience() => {
                        wire.close(reason, reason.as_str());
                        return Ending::ByUs(reason);
                    }
                };
                if written.is_err() {
                    let ending = end_of(wire, CloseReason::Truncated).await;
                    if matches!(ending, Ending::ByUs(_)) {
                        return ending;
                    }
                    // What the peer said last may not all be read yet: the reader ends the session.
                    return future::pending().await;
                }
                spent = bytes;
            }
            Next::Close(reason) => {
                writer.drain().await;
                wire.close(reason, reason.as_str());
                return Ending::ByUs(reason);
            }
        }
    }
}

/// Learns why a control stream ended; a peer that ends only that is disconnected for `reason`.
async fn end_of(wire: &Wire, reason: CloseReason) -> Ending {
    match timeout(2 * LINGER, wire.closed()).await {
        Ok(ending) => ending,
        Err(_) => {
            wire.close(reason, reason.as_str());
            Ending::ByUs(reason)
        }
    }
}

async fn serve_streams<I>(
    node: &Node<I>,
    info: &Arc<PeerInfo>,
    wire: &Wire,
) -> std::convert::Infallible {
    while let Some(stream) = wire.accept().await {
        match node.serve_stream() {
            Some(serve) => {
                tokio::spawn(streams::serve(Arc::clone(info), Arc::clone(serve), stream));
            }
            None => tracing::debug!(peer = ?info.peer, "opened a stream that nobody serves"),
        }
    }
    // The connection is over; the reader says how.
    future::pending().await
}

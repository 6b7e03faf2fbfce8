//! One connection from the end of the greetings to its own: what is read, what is written.
//!
//! [`crate::greeting`] starts sessions; the machine hears of them through its inbox. Deliberately
//! not here: certificates and sockets, and what messages mean.

use std::convert::Infallible;
use std::future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::Serialize;
use tepui_core::protocol::hello::CloseReason;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use crate::codec::{Decoder, FrameError};
use crate::node::{Delivery, Node};
use crate::outgoing::{LINGER, Next, SendError, Sender};
use crate::peers::{Ending, PeerEvent, PeerInfo, Seat};
use crate::streams::{self, StreamError};
use crate::wire::{ByteReader, ByteWriter, Wire};

/// How much is asked of a stream at least; thousands of idle connections hold this much each.
const READ_BYTES: usize = 4 * 1024;

/// How long is waited at least for a peer to have received everything.
const LEAST_LINGER: Duration = Duration::from_millis(250);

/// One live connection. Clones are the same connection.
#[derive(Clone, Debug)]
pub struct Session {
    info: Arc<PeerInfo>,
    sender: Sender,
    wire: Wire,
    ended: watch::Receiver<Option<Ending>>,
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

    /// Opens a stream that goes both ways and asks for `request`.
    pub async fn open_both(
        &self,
        request: &impl Serialize,
    ) -> Result<(ByteWriter, ByteReader), StreamError> {
        streams::open_both(&self.wire, request).await
    }

    /// Ends the connection after what was sent before.
    pub fn close(&self, reason: CloseReason) {
        self.sender.close(reason);
    }

    /// Ends the connection at once, for nothing that was said matters any more: it was answered.
    pub(crate) async fn leave(&self) {
        let reason = CloseReason::ShuttingDown;
        self.wire.close(reason, reason.as_str());
        self.wire.close_is_sent().await;
    }

    /// Waits for the end of the connection.
    pub async fn closed(&self) -> Ending {
        // Not the wire's: we close that too in the end, and then it forgets who did so first.
        let mut ended = self.ended.clone();
        let ending = match ended.wait_for(Option::is_some).await {
            Ok(ending) => ending.clone(),
            Err(_) => None,
        };
        ending.unwrap_or_else(|| Ending::Lost("its task was cancelled".into()))
    }
}

/// The control stream, greeted on.
pub(crate) struct Streams {
    pub(crate) writer: ByteWriter,
    pub(crate) reader: ByteReader,
    pub(crate) decoder: Decoder,
}

/// Starts the session of a peer that was let in.
pub(crate) fn start<I: Send + 'static>(
    node: &Node<I>,
    wire: &Wire,
    info: PeerInfo,
    streams: Streams,
    seat: Option<Seat>,
) -> Session {
    let (end, ended) = watch::channel(None);
    let session = Session {
        info: Arc::new(info),
        sender: Sender::new(),
        wire: wire.clone(),
        ended,
    };
    node.counters().connected.fetch_add(1, Ordering::Relaxed);
    node.peers().insert(session.clone());
    let running = run(node.clone(), session.clone(), streams, end);
    tokio::spawn(async move {
        running.await;
        drop(seat);
    });
    session
}

/// Runs a session to its end and tells the machine what happens, in order.
async fn run<I: Send + 'static>(
    node: Node<I>,
    session: Session,
    streams: Streams,
    end: watch::Sender<Option<Ending>>,
) {
    let Session {
        info, sender, wire, ..
    } = session;
    let peer = info.peer;
    tracing::debug!(?peer, principal = %info.principal, address = ?info.address, "connected");
    let connected = PeerEvent::Connected(Arc::clone(&info));
    let Streams {
        writer,
        reader,
        decoder,
    } = streams;
    let reading = async {
        match deliver(&node, &info, &wire, connected).await {
            Ok(Delivery::Taken) => read(&node, &info, &sender, &wire, reader, decoder).await,
            Ok(Delivery::NobodyThere) => outlive_the_machine(&sender, &wire).await,
            Err(ending) => ending,
        }
    };
    let ending = tokio::select! {
        ending = reading => ending,
        ending = write(&sender, &wire, writer) => ending,
        never = serve_streams(&node, &info, &wire) => match never {},
    };
    // Only now can nobody send any more: what is sent from here on is answered with "closed".
    sender.close(CloseReason::ShuttingDown);
    wire.close(
        CloseReason::ShuttingDown,
        CloseReason::ShuttingDown.as_str(),
    );
    wire.close_is_sent().await;
    node.peers().remove(peer);
    end.send_replace(Some(ending.clone()));
    tracing::debug!(?peer, %ending, "disconnected");
    let disconnected = PeerEvent::Disconnected { peer, ending };
    match deliver(&node, &info, &wire, disconnected).await {
        Ok(Delivery::Taken) => {}
        Ok(Delivery::NobodyThere) => tracing::trace!(?peer, "the machine ended before"),
        Err(ending) => tracing::error!(?peer, %ending, "no frame was there to be decoded"),
    }
}

/// Delivers an event; says how the connection ended if it makes no sense.
async fn deliver<I>(
    node: &Node<I>,
    info: &Arc<PeerInfo>,
    wire: &Wire,
    event: PeerEvent<&[u8]>,
) -> Result<Delivery, Ending> {
    let delivered = node.deliver(info, event).await;
    delivered.map_err(|error| break_off(info, wire, &error))
}

/// Lets what the machine said last be written, now that it has ended; nothing more is read.
async fn outlive_the_machine(sender: &Sender, wire: &Wire) -> Ending {
    sender.close(CloseReason::ShuttingDown);
    wire.closed().await
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
    sender: &Sender,
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
            match deliver(node, info, wire, event).await {
                Ok(Delivery::Taken) => {}
                Ok(Delivery::NobodyThere) => return outlive_the_machine(sender, wire).await,
                Err(ending) => return ending,
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
    // The greeting.
    let mut written_at = Instant::now();
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
                written_at = Instant::now();
            }
            Next::Close(reason) => {
                // What was written long ago has most likely arrived, or never will: few peers that
                // went away without a word may hold up a node that leaves.
                let patience = LINGER.saturating_sub(written_at.elapsed());
                writer.drain(patience.max(LEAST_LINGER)).await;
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

async fn serve_streams<I>(node: &Node<I>, info: &Arc<PeerInfo>, wire: &Wire) -> Infallible {
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

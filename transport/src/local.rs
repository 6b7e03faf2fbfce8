//! Connections within one process: the same sessions, frames and checks, without sockets.
//!
//! Used by embedded clusters and by tests. The certificates are the only thing missing: whoever
//! connects two nodes says who they are. Deliberately not here: a shortcut around the frames. What
//! works here works on the wire.

use std::io;
use std::sync::Arc;

use parking_lot::Mutex as SyncMutex;
use tepui_core::auth::Principal;
use tepui_core::protocol::hello::CloseReason;
use tokio::sync::{Mutex, mpsc, watch};

use crate::greeting::{self, DialError};
use crate::node::Node;
use crate::peers::Ending;
use crate::session::Session;
use crate::wire::{ByteReader, ByteWriter, Wire, pipe};

/// How much may be on its way in one direction of one stream.
const PIPE_BYTES: usize = 256 * 1024;
/// How many streams may wait to be taken.
const WAITING_STREAMS: usize = 16;
const PLACE: &str = "this process";

/// Connects two nodes. `from` plays the part that dials.
pub async fn connect<A: Send + 'static, B: Send + 'static>(
    (from, dialer): (&Node<A>, Principal),
    (to, listener): (&Node<B>, Principal),
) -> Result<Session, DialError> {
    let (near, far) = LocalWire::pair();
    let (near, far) = (Wire::Local(near), Wire::Local(far));
    let expected = listener.role;
    let accepting = greeting::accept(to, &far, dialer, None);
    let dialing = greeting::dial(from, &near, listener, None, expected);
    let (accepted, dialed) = tokio::join!(accepting, dialing);
    if let Err(refusal) = &accepted {
        tracing::debug!(%refusal, "refused a peer of this process");
    }
    match dialed {
        Ok(session) => Ok(session),
        Err(failure) => Err(failure.into_dial_error(PLACE, near.closed().await)),
    }
}

type Stream = (ByteWriter, ByteReader);

/// One end of a connection within the process.
#[derive(Clone, Debug)]
pub(crate) struct LocalWire {
    side: Side,
    end: Arc<watch::Sender<Option<Closed>>>,
    outgoing: Arc<SyncMutex<Option<mpsc::Sender<Stream>>>>,
    incoming: Arc<Mutex<mpsc::Receiver<Stream>>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Dialer,
    Listener,
}

#[derive(Clone, Debug)]
struct Closed {
    by: Side,
    reason: CloseReason,
    text: String,
}

impl LocalWire {
    fn pair() -> (Self, Self) {
        let end = Arc::new(watch::channel(None).0);
        let (to_far, from_near) = mpsc::channel(WAITING_STREAMS);
        let (to_near, from_far) = mpsc::channel(WAITING_STREAMS);
        let wire = |side, outgoing, incoming| Self {
            side,
            end: Arc::clone(&end),
            outgoing: Arc::new(SyncMutex::new(Some(outgoing))),
            incoming: Arc::new(Mutex::new(incoming)),
        };
        (
            wire(Side::Dialer, to_far, from_far),
            wire(Side::Listener, to_near, from_near),
        )
    }

    pub(crate) fn close(&self, reason: CloseReason, text: &str) {
        self.outgoing.lock().take();
        self.end.send_if_modified(|end| {
            // The first to close has the word.
            if end.is_some() {
                return false;
            }
            *end = Some(Closed {
                by: self.side,
                reason,
                text: text.into(),
            });
            true
        });
    }

    pub(crate) async fn closed(&self) -> Ending {
        let mut end = self.end.subscribe();
        let closed = match end.wait_for(Option::is_some).await {
            Ok(closed) => closed.clone(),
            Err(_) => None,
        };
        match closed {
            Some(closed) if closed.by == self.side => Ending::ByUs(closed.reason),
            Some(closed) => Ending::ByPeer {
                reason: Some(closed.reason),
                code: u64::from(closed.reason.code()),
                text: closed.text,
            },
            None => Ending::Lost("the other end was dropped".into()),
        }
    }

    pub(crate) async fn open(&self) -> io::Result<Stream> {
        let gone = || io::Error::from(io::ErrorKind::NotConnected);
        let outgoing = self.outgoing.lock().clone().ok_or_else(gone)?;
        let (there, read_there) = pipe(PIPE_BYTES);
        let (back, read_back) = pipe(PIPE_BYTES);
        let sent = outgoing.send((back, read_there)).await;
        sent.map_err(|_| gone())?;
        Ok((there, read_back))
    }

    pub(crate) async fn accept(&self) -> Option<Stream> {
        let mut incoming = self.incoming.lock().await;
        tokio::select! {
            biased;
            stream = incoming.recv() => stream,
            _ = self.closed() => None,
        }
    }
}

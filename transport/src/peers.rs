//! The peers of one node: what happens on their connections, and where to send to them.
//!
//! A driver's `perform` calls [`Peers`]; sessions fill it. Deliberately not here: who is who. A
//! connection is a [`PeerId`]; the machine knows what it stands for.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use serde::Serialize;
use tepui_core::auth::Principal;
use tepui_core::ids::PeerId;
use tepui_core::limits;
use tepui_core::protocol::hello::{CloseReason, Hello};
use tepui_core::protocol::version::{Spoken, Version};
use tokio::sync::Notify;

use crate::outgoing::SendError;
use crate::session::Session;

/// What is known of a peer from the start of its connection.
#[derive(Clone, Debug)]
pub struct PeerInfo {
    /// The connection.
    pub peer: PeerId,
    /// Who it is, proved.
    pub principal: Principal,
    /// What it said of itself.
    pub hello: Hello,
    /// The protocol agreed on.
    pub protocol: Version,
    /// Where it is; `None` within one process.
    pub address: Option<SocketAddr>,
}

/// What happens on a connection. For each: one `Connected`, then messages, then one `Disconnected`.
#[derive(Clone, Debug)]
pub enum PeerEvent<M> {
    /// A peer is there and can be sent to.
    Connected(Arc<PeerInfo>),
    /// It said something.
    Message {
        /// The connection.
        peer: PeerId,
        /// What it said.
        message: M,
    },
    /// It is gone; this connection never comes back.
    Disconnected {
        /// The connection.
        peer: PeerId,
        /// Why.
        ending: Ending,
    },
}

/// How a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// We closed it.
    ByUs(CloseReason),
    /// The peer closed it.
    ByPeer {
        /// Why, if the code is known to this build.
        reason: Option<CloseReason>,
        /// The code.
        code: u64,
        /// The peer's words.
        text: String,
    },
    /// Nothing came for too long.
    TimedOut,
    /// The network or the peer failed.
    Lost(String),
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ByUs(reason) => write!(f, "closed by us: {reason}"),
            Self::ByPeer { code, text, .. } => {
                write!(f, "closed by the peer: {text} (code {code})")
            }
            Self::TimedOut => f.write_str("timed out"),
            Self::Lost(problem) => write!(f, "lost: {problem}"),
        }
    }
}

/// The live connections of a node. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Peers {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    sessions: Mutex<HashMap<PeerId, Session>>,
    /// How many connections each of those has who dialed us.
    seats: Mutex<HashMap<Principal, usize>>,
    one_left: Notify,
    unsendable: AtomicU64,
}

/// One connection's place among those of its principal, until it is dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    shared: Arc<Shared>,
    who: Principal,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seats = self.shared.seats.lock();
        match seats.get_mut(&self.who) {
            Some(taken) if *taken > 1 => *taken -= 1,
            Some(_) | None => drop(seats.remove(&self.who)),
        }
    }
}

impl Peers {
    /// Queues a message for a peer. If the peer is gone this does nothing: its machine has heard
    /// so, or is about to.
    ///
    /// A message too long for a frame is not sent, which is an error of ours and logged as such:
    /// often somebody else's data made it so long, for which this peer must not lose its
    /// connection. Nothing that was acknowledged is lost with it, for updates are kept until the
    /// receiver acknowledges them, and the rest is reconciled when a peer comes back.
    ///
    /// Nor is a message that is newer than the protocol agreed on, by the rules of
    /// [`tepui_core::protocol::version`]: the peer could not read it.
    pub fn perform<M: Serialize + Spoken>(&self, peer: PeerId, message: &M) {
        let Some(session) = self.session(peer) else {
            tracing::debug!(?peer, "message to a peer that is gone");
            return;
        };
        if !session.info().protocol.knows(message) {
            tracing::debug!(?peer, "message that the peer is too old for");
            return;
        }
        match session.send(message) {
            Ok(()) => {}
            Err(SendError::Closed) => tracing::debug!(?peer, "message to a peer that is leaving"),
            Err(SendError::Overloaded) => {
                tracing::warn!(?peer, "disconnected: it does not take its messages in time");
            }
            Err(SendError::Frame(error)) => {
                self.shared.unsendable.fetch_add(1, Ordering::Relaxed);
                let kind = std::any::type_name::<M>();
                tracing::error!(?peer, to = %session.info().principal, kind, %error,
                    "a message of ours cannot be sent, and is lost");
            }
        }
    }

    /// Ends a connection after what was sent before.
    pub fn disconnect(&self, peer: PeerId, reason: CloseReason) {
        if let Some(session) = self.session(peer) {
            session.close(reason);
        }
    }

    /// Ends all connections after what was sent before.
    pub fn disconnect_all(&self, reason: CloseReason) {
        let sessions: Vec<Session> = self.shared.sessions.lock().values().cloned().collect();
        for session in sessions {
            session.close(reason);
        }
    }

    /// Returns a live connection.
    pub fn session(&self, peer: PeerId) -> Option<Session> {
        self.shared.sessions.lock().get(&peer).cloned()
    }

    /// Returns how many there are.
    pub fn len(&self) -> usize {
        self.shared.sessions.lock().len()
    }

    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Waits until there are none.
    pub async fn all_gone(&self) {
        loop {
            let left = self.shared.one_left.notified();
            tokio::pin!(left);
            // Registered before looking, so that the last one to leave is not missed.
            left.as_mut().enable();
            if self.is_empty() {
                return;
            }
            left.await;
        }
    }

    /// Takes a place for one more connection of a principal; says how many it has if that is all
    /// that it may have.
    pub(crate) fn seat(&self, who: &Principal) -> Result<Seat, usize> {
        let mut seats = self.shared.seats.lock();
        let taken = seats.get(who).copied().unwrap_or(0);
        if taken >= limits::CONNECTIONS_PER_PRINCIPAL {
            return Err(taken);
        }
        seats.insert(who.clone(), taken + 1);
        Ok(Seat {
            shared: Arc::clone(&self.shared),
            who: who.clone(),
        })
    }

    pub(crate) fn unsendable(&self) -> u64 {
        self.shared.unsendable.load(Ordering::Relaxed)
    }

    pub(crate) fn insert(&self, session: Session) {
        let peer = session.info().peer;
        let before = self.shared.sessions.lock().insert(peer, session);
        assert!(before.is_none(), "{peer:?} was given out twice");
    }

    pub(crate) fn remove(&self, peer: PeerId) {
        self.shared.sessions.lock().remove(&peer);
        self.shared.one_left.notify_waiters();
    }
}

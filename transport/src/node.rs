//! One node as its connections see it: how it greets, whom it lets in, where its inputs go.
//!
//! Built by whoever composes a node, shared by its endpoint and all its sessions. Deliberately not
//! here: the machine, and everything that takes time.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::codec::{self, FrameError};
use crate::inbox::{self, Inbox, Inputs, NobodyThere};
use crate::peers::{PeerEvent, PeerInfo, Peers};
use crate::streams::IncomingStream;
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use tepui_core::auth::{PeerRole, Principal};
use tepui_core::ids::PeerId;
use tepui_core::protocol::hello::{CloseReason, Hello};
use tepui_core::protocol::version::Version;

/// Decodes what a peer of a role says.
pub type Decode<M> = fn(PeerRole, &[u8]) -> Result<M, FrameError>;
/// Answers the streams that peers open; it must not block, and spawns what takes time.
pub type ServeStream = Arc<dyn Fn(IncomingStream) + Send + Sync>;

type Translate<I> =
    dyn Fn(&Arc<PeerInfo>, PeerEvent<&[u8]>) -> Result<Option<I>, FrameError> + Send + Sync;

/// Where a node's inputs from peers go: a bounded inbox, in the machine's own terms.
pub struct Inbound<I> {
    inbox: Inbox<I>,
    translate: Arc<Translate<I>>,
}

impl<I> Inbound<I> {
    /// Delivers to `inbox`. Frames are decoded by `decode` as the sender's role demands;
    /// `translate` makes inputs of events, or drops those that are nothing to the machine.
    pub fn new<M: 'static>(
        inbox: Inbox<I>,
        decode: Decode<M>,
        translate: impl Fn(&Arc<PeerInfo>, PeerEvent<M>) -> Option<I> + Send + Sync + 'static,
    ) -> Self {
        let translate = move |info: &Arc<PeerInfo>, event: PeerEvent<&[u8]>| {
            let event = match event {
                PeerEvent::Connected(info) => PeerEvent::Connected(info),
                PeerEvent::Message { peer, message } => PeerEvent::Message {
                    peer,
                    message: decode(info.principal.role, message)?,
                },
                PeerEvent::Disconnected { peer, ending } => {
                    PeerEvent::Disconnected { peer, ending }
                }
            };
            Ok(translate(info, event))
        };
        Self {
            inbox,
            translate: Arc::new(translate),
        }
    }
}

impl<M: DeserializeOwned + Send + 'static> Inbound<PeerEvent<M>> {
    /// Makes an inbox of plain events, for peers that all speak the same messages.
    pub fn events(capacity: usize) -> (Self, Inputs<PeerEvent<M>>) {
        let (inbox, events) = inbox::channel(capacity);
        let decode: Decode<M> = |_, body| codec::decode(body);
        (Self::new(inbox, decode, |_, event| Some(event)), events)
    }
}

impl<I> fmt::Debug for Inbound<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbound").finish_non_exhaustive()
    }
}

/// What a node is made of.
pub struct NodeConfig<I> {
    /// How it greets.
    pub hello: Hello,
    /// Which roles may connect to it; those that it dials it names itself.
    pub accepts: Vec<PeerRole>,
    /// Where its inputs go.
    pub inbound: Inbound<I>,
    /// Who answers the streams that peers open; without, they are cut off.
    pub streams: Option<ServeStream>,
}

impl<I> fmt::Debug for NodeConfig<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeConfig")
            .field("hello", &self.hello)
            .field("accepts", &self.accepts)
            .finish_non_exhaustive()
    }
}

/// How often what happened at a node's door.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections that reached the end of their greetings.
    pub connected: u64,
    /// Handshakes that failed: no certificate, a foreign authority, expired, out of time.
    pub failed_handshakes: u64,
    /// Peers that proved who they are and were refused: role, cluster, epoch, protocol.
    pub refused: u64,
    /// Connections turned away because too many were in their handshake.
    pub turned_away: u64,
    /// Messages of ours that were too long to be sent, and were not.
    pub unsendable: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) connected: AtomicU64,
    pub(crate) failed_handshakes: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) turned_away: AtomicU64,
}

/// One node. Clones share it.
#[derive(Debug)]
pub struct Node<I> {
    shared: Arc<Shared<I>>,
}

#[derive(Debug)]
struct Shared<I> {
    config: NodeConfig<I>,
    hello: Mutex<Hello>,
    peers: Peers,
    next_peer: AtomicU64,
    counters: Counters,
}

impl<I> Clone for Node<I> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

/// Why a greeting was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {detail}")]
pub(crate) struct Refusal {
    pub(crate) reason: CloseReason,
    pub(crate) detail: String,
}

impl<I> Node<I> {
    /// Makes a node without connections.
    pub fn new(config: NodeConfig<I>) -> Self {
        let hello = Mutex::new(config.hello.clone());
        Self {
            shared: Arc::new(Shared {
                config,
                hello,
                peers: Peers::default(),
                next_peer: AtomicU64::new(1),
                counters: Counters::default(),
            }),
        }
    }

    /// Returns its live connections.
    pub fn peers(&self) -> &Peers {
        &self.shared.peers
    }

    /// Returns how it greets.
    pub fn hello(&self) -> Hello {
        self.shared.hello.lock().clone()
    }

    /// Remembers an epoch that was heard of: greetings tell it from now on, and masters of lower
    /// epochs are refused.
    pub fn remember_epoch(&self, epoch: u64) {
        let mut hello = self.shared.hello.lock();
        hello.epoch = hello.epoch.max(epoch);
    }

    /// Remembers the leadership and the cluster of a master that was dialed and is welcome.
    pub(crate) fn welcomed_by(&self, who: &Principal, hello: &Hello) {
        if who.role != PeerRole::Master {
            return;
        }
        self.remember_epoch(hello.epoch);
        let mut ours = self.shared.hello.lock();
        if ours.cluster.is_none() {
            ours.cluster.clone_from(&hello.cluster);
        }
    }

    /// Returns how often what happened at its door.
    pub fn counts(&self) -> Counts {
        let counters = &self.shared.counters;
        Counts {
            connected: counters.connected.load(Ordering::Relaxed),
            failed_handshakes: counters.failed_handshakes.load(Ordering::Relaxed),
            refused: counters.refused.load(Ordering::Relaxed),
            turned_away: counters.turned_away.load(Ordering::Relaxed),
            unsendable: self.shared.peers.unsendable(),
        }
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.shared.counters
    }

    pub(crate) fn listens(&self) -> bool {
        !self.shared.config.accepts.is_empty()
    }

    pub(crate) fn serve_stream(&self) -> Option<&ServeStream> {
        self.shared.config.streams.as_ref()
    }

    pub(crate) fn new_peer(&self) -> PeerId {
        PeerId(self.shared.next_peer.fetch_add(1, Ordering::Relaxed))
    }

    /// Checks the greeting of a peer that dialed us; returns the protocol to speak.
    pub(crate) fn check_dialer(&self, who: &Principal, hello: &Hello) -> Result<Version, Refusal> {
        let accepts = &self.shared.config.accepts;
        if !accepts.contains(&who.role) {
            let accepted: Vec<&str> = accepts.iter().map(|role| role.as_str()).collect();
            return Err(Refusal {
                reason: CloseReason::WrongRole,
                detail: format!("{who} dialed, accepted are {}", accepted.join(", ")),
            });
        }
        self.check_hello(who, hello)
    }

    /// Checks the greeting of a peer that we dialed; returns the protocol to speak.
    pub(crate) fn check_hello(&self, who: &Principal, hello: &Hello) -> Result<Version, Refusal> {
        let refuse = |reason, detail| Err(Refusal { reason, detail });
        let ours = self.hello();
        let Some(protocol) = ours.common_protocol(hello) else {
            return refuse(
                CloseReason::ProtocolVersion,
                format!(
                    "{} to {} are spoken here, {} to {} there",
                    ours.protocol_min, ours.protocol_max, hello.protocol_min, hello.protocol_max
                ),
            );
        };
        if hello.role != who.role {
            return refuse(
                CloseReason::WrongRole,
                format!(
                    "the certificate is for {who}, the greeting says {}",
                    hello.role
                ),
            );
        }
        if let (Some(here), Some(there)) = (&ours.cluster, &hello.cluster)
            && here != there
        {
            return refuse(
                CloseReason::WrongCluster,
                format!("this is {here:?}, the other side belongs to {there:?}"),
            );
        }
        let lowest = ours.epoch;
        if who.role == PeerRole::Master && hello.epoch < lowest {
            return refuse(
                CloseReason::StaleEpoch,
                format!("{} is over, {lowest} has begun", hello.epoch),
            );
        }
        Ok(protocol)
    }

    /// Delivers an event, waiting for room. Returns whether anybody is there to take it.
    pub(crate) async fn deliver(
        &self,
        info: &Arc<PeerInfo>,
        event: PeerEvent<&[u8]>,
    ) -> Result<Delivery, FrameError> {
        let Inbound { inbox, translate } = &self.shared.config.inbound;
        let bytes = match &event {
            PeerEvent::Message { message, .. } => message.len(),
            PeerEvent::Connected(_) | PeerEvent::Disconnected { .. } => 0,
        };
        let Ok(room) = inbox.room_for(bytes).await else {
            return Ok(Delivery::NobodyThere);
        };
        let Some(input) = translate(info, event)? else {
            return Ok(Delivery::Taken);
        };
        Ok(match inbox.put(input, room).await {
            Ok(()) => Delivery::Taken,
            Err(NobodyThere) => Delivery::NobodyThere,
        })
    }
}

/// Whether an input was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    Taken,
    /// The machine has ended.
    NobodyThere,
}

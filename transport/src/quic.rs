//! The QUIC endpoint: one socket that listens and dials.
//!
//! Used by daemons and clients. Deliberately not here: what is said on a connection (see
//! [`crate::session`]) and where the leading master is.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};
use std::{fmt, io};

use parking_lot::Mutex;
use quinn::{AckFrequencyConfig, ConnectionError, MtuDiscoveryConfig, TransportConfig, VarInt};
use quinn_proto::HashedConnectionIdGenerator;
use ring::hmac;
use rustls::pki_types::CertificateDer;
use socket2::{Domain, Protocol, Socket, Type};
use tepui_core::auth::{PeerRole, Principal};
use tepui_core::protocol::hello::CloseReason;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::authority::dns_name;
use crate::door::{Origins, Refusals};
use crate::greeting::{self, CertificateProblem, DialError, GreetingFailure, Whose};
use crate::node::{Node, Refusal};
use crate::outgoing::LINGER;
use crate::session::Session;
use crate::streams::STREAMS_PER_CONNECTION;
use crate::tls::{self, Credentials, TlsError};
use crate::wire::{self, Wire};

/// Nothing for so long ends a connection.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// The dialing side speaks up after so much silence, for NATs forget after about 30 s.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// How long a handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// What the socket holds: with the usual 200 kB, thousands that come back at once drown each other.
const SOCKET_BYTES: usize = 4 * 1024 * 1024;
/// The least time between two connections that are told to be gone: thousands of peers learn it
/// within seconds of a restart. Only ids that we made are answered.
const RESET_INTERVAL: Duration = Duration::from_millis(1);
/// How many connections may be in their handshake.
const HANDSHAKES: usize = 4_096;
/// How long a peer may wait before it confirms a packet that nothing follows. Whoever takes leave
/// waits for that, and the usual 25 ms are long for a command that takes 10.
const ACK_DELAY: Duration = Duration::from_millis(2);
/// The search for longer packets ends when it would gain less. Many connections live for
/// milliseconds: one probe is worth its cost to them, the usual five are not.
const MTU_STEP: u16 = 127;
/// How much one stream holds for a reader that is slow. For the side that dials, the connection as
/// a whole has no bound of its own: streams of bulk that nobody reads must not stop the control
/// stream.
const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
/// How much all streams of one peer hold that dialed us: beside the control stream it sends short
/// requests only.
const DIALER_WINDOW_BYTES: u32 = 16 * 1024 * 1024;

/// Why an endpoint could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The socket.
    #[error("cannot listen on {address}: {source}")]
    Socket {
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// The certificates.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// A socket of a node.
pub struct Endpoint<I> {
    node: Node<I>,
    quinn: quinn::Endpoint,
    dialing: Mutex<quinn::ClientConfig>,
    accepting: JoinHandle<()>,
}

impl<I> fmt::Debug for Endpoint<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("quinn", &self.quinn)
            .finish_non_exhaustive()
    }
}

impl<I: Send + 'static> Endpoint<I> {
    /// Opens a socket on `address`. It listens if the node accepts any role, and dials in any case.
    /// Must be called within a tokio runtime.
    pub fn bind(
        address: SocketAddr,
        credentials: &Credentials,
        node: Node<I>,
    ) -> Result<Self, BindError> {
        let failed = |source| BindError::Socket { address, source };
        let listens = node.listens();
        let listening = listens.then(|| server_config(credentials)).transpose()?;
        let dialing = Mutex::new(client_config(credentials)?);
        let socket = open_socket(address).map_err(failed)?;
        let bound = socket.local_addr().map_err(failed)?;
        let quinn = quinn::Endpoint::new(
            endpoint_config(credentials, bound),
            listening,
            socket,
            Arc::new(quinn::TokioRuntime),
        )
        .map_err(failed)?;
        let accepting = tokio::spawn(accept_all(node.clone(), quinn.clone()));
        Ok(Self {
            node,
            quinn,
            dialing,
            accepting,
        })
    }

    /// Returns the node.
    pub fn node(&self) -> &Node<I> {
        &self.node
    }

    /// Returns the address that it is bound to.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.quinn.local_addr()
    }

    /// Uses other certificates for the connections to come.
    pub fn set_credentials(&self, credentials: &Credentials) -> Result<(), TlsError> {
        let dialing = client_config(credentials)?;
        if self.node.listens() {
            self.quinn
                .set_server_config(Some(server_config(credentials)?));
        }
        *self.dialing.lock() = dialing;
        Ok(())
    }

    /// Connects to a peer of role `expected`.
    pub async fn dial(&self, to: SocketAddr, expected: PeerRole) -> Result<Session, DialError> {
        let at = to.to_string();
        let config = self.dialing.lock().clone();
        let connecting = self.quinn.connect_with(config, to, dns_name(expected));
        let connecting = connecting.map_err(|error| DialError::Address {
            at: at.clone(),
            problem: error.to_string(),
        })?;
        let connection = match timeout(HANDSHAKE_TIMEOUT, connecting).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => return Err(dial_error(at, error)),
            Err(_) => return Err(DialError::NoAnswer { at }),
        };
        let wire = Wire::quic(connection.clone());
        let principal = identify(&connection).map_err(|error| {
            refuse(&wire, &error);
            DialError::Certificate {
                at: at.clone(),
                whose: Whose::Theirs,
                problem: certificate_problem(&error),
            }
        })?;
        match greeting::dial(&self.node, &wire, principal, Some(to), expected).await {
            Ok(session) => Ok(session),
            Err(failure @ GreetingFailure::Ours(_)) => {
                let ending = crate::peers::Ending::ByUs(CloseReason::ShuttingDown);
                Err(failure.into_dial_error(&at, ending))
            }
            // The listener checks our certificate after the handshake is over for us.
            Err(GreetingFailure::Lost) => match timeout(LINGER, connection.closed()).await {
                Ok(error) => Err(dial_error(at, error)),
                Err(_) => Err(DialError::NoAnswer { at }),
            },
        }
    }

    /// Takes leave of all peers and closes the socket.
    pub async fn shut_down(self) {
        let reason = CloseReason::ShuttingDown;
        self.quinn.set_server_config(None);
        self.node.peers().disconnect_all(reason);
        if timeout(2 * LINGER, self.node.peers().all_gone())
            .await
            .is_err()
        {
            let left = self.node.peers().len();
            tracing::warn!(left, "peers did not take their last messages in time");
        }
        self.quinn
            .close(VarInt::from_u32(reason.code()), reason.as_str().as_bytes());
        // Connections linger for a while (RFC 9000, section 10.2), which nobody needs to wait for:
        // all peers that were greeted have been told.
    }
}

impl<I> Drop for Endpoint<I> {
    fn drop(&mut self) {
        self.accepting.abort();
        let reason = CloseReason::ShuttingDown;
        self.quinn
            .close(VarInt::from_u32(reason.code()), reason.as_str().as_bytes());
    }
}

async fn accept_all<I: Send + 'static>(node: Node<I>, endpoint: quinn::Endpoint) {
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES));
    let refusals = Arc::new(Refusals::default());
    let origins = Arc::new(Origins::default());
    while let Some(incoming) = endpoint.accept().await {
        let address = incoming.remote_address();
        let free = handshakes.available_permits();
        let Ok(permit) = Arc::clone(&handshakes).try_acquire_owned() else {
            node.counters().turned_away.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(%address, "turned away: too many handshakes");
            incoming.refuse();
            continue;
        };
        // In a crowd, senders must show first that they receive what is sent to their address.
        if free < HANDSHAKES / 2 && incoming.may_retry() && !incoming.remote_address_validated() {
            if let Err(error) = incoming.retry() {
                tracing::debug!(%address, %error, "no retry");
            }
            continue;
        }
        let Some(place) = origins.enter(address.ip()) else {
            node.counters().turned_away.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(%address, "turned away: too many handshakes from there");
            incoming.refuse();
            continue;
        };
        let (node, refusals) = (node.clone(), Arc::clone(&refusals));
        tokio::spawn(async move {
            if let Err(problem) = accept_one(&node, incoming).await {
                match refusals.say_so(Instant::now()) {
                    Some(unsaid) => {
                        tracing::warn!(%address, %problem, unsaid, "connection refused");
                    }
                    None => tracing::debug!(%address, %problem, "connection refused"),
                }
            }
            drop((permit, place));
        });
    }
}

/// Why a peer that came was not let in.
#[derive(Debug, thiserror::Error)]
enum NotLetIn {
    #[error("handshake failed: {0}")]
    Handshake(#[from] ConnectionError),
    #[error("handshake not finished in time")]
    HandshakeTimeout,
    #[error(transparent)]
    Certificate(#[from] TlsError),
    #[error(transparent)]
    Greeting(#[from] Refusal),
}

async fn accept_one<I: Send + 'static>(
    node: &Node<I>,
    incoming: quinn::Incoming,
) -> Result<(), NotLetIn> {
    let proved = async {
        let connecting = incoming.accept()?;
        let connection = timeout(HANDSHAKE_TIMEOUT, connecting)
            .await
            .map_err(|_| NotLetIn::HandshakeTimeout)??;
        let principal = identify(&connection).inspect_err(|error| {
            refuse(&Wire::quic(connection.clone()), error);
        })?;
        Ok::<_, NotLetIn>((connection, principal))
    };
    let (connection, principal) = proved.await.inspect_err(|_| {
        let counter = &node.counters().failed_handshakes;
        counter.fetch_add(1, Ordering::Relaxed);
    })?;
    let address = connection.remote_address();
    let wire = Wire::quic(connection);
    greeting::accept(node, &wire, principal, Some(address)).await?;
    Ok(())
}

/// Reads who the other side proved to be, and checks that it still is.
fn identify(connection: &quinn::Connection) -> Result<Principal, TlsError> {
    let chain = connection
        .peer_identity()
        .and_then(|identity| identity.downcast::<Vec<CertificateDer<'static>>>().ok())
        .unwrap_or_default();
    tls::check_validity(&chain, SystemTime::now())?;
    tls::principal_of(&chain)
}

fn refuse(wire: &Wire, error: &TlsError) {
    wire.close(CloseReason::Certificate, &error.to_string());
}

fn certificate_problem(error: &TlsError) -> CertificateProblem {
    match error {
        TlsError::NotValidNow { .. } => CertificateProblem::Expired,
        TlsError::Io { .. }
        | TlsError::Read { .. }
        | TlsError::Invalid { .. }
        | TlsError::Exists { .. }
        | TlsError::Issue { .. }
        | TlsError::Name { .. }
        | TlsError::NoPrincipal { .. }
        | TlsError::Setup { .. } => CertificateProblem::Other(error.to_string()),
    }
}

/// Names why a dialed connection failed.
fn dial_error(at: String, error: ConnectionError) -> DialError {
    use ConnectionError as E;
    let lost = |error: &ConnectionError| DialError::Lost {
        at: at.clone(),
        problem: error.to_string(),
    };
    let (whose, code, text) = match &error {
        E::TransportError(failure) => (Whose::Theirs, failure.code, failure.reason.clone()),
        E::ConnectionClosed(close) => (
            Whose::Ours,
            close.error_code,
            String::from_utf8_lossy(&close.reason).into_owned(),
        ),
        E::TimedOut => return DialError::NoAnswer { at },
        E::ApplicationClosed(_) => {
            let failure = GreetingFailure::Lost;
            return failure.into_dial_error(&at, wire::ending(error));
        }
        E::VersionMismatch | E::Reset | E::LocallyClosed | E::CidsExhausted => return lost(&error),
    };
    match alert_problem(u64::from(code), whose, &text) {
        Some(problem) => DialError::Certificate { at, whose, problem },
        None => lost(&error),
    }
}

/// Reads a TLS alert (RFC 8446, section 6) out of a QUIC error code (RFC 9001, section 4.8).
fn alert_problem(code: u64, whose: Whose, text: &str) -> Option<CertificateProblem> {
    let alert = code.checked_sub(0x100)?;
    match alert {
        45 => Some(CertificateProblem::Expired),
        48 => Some(CertificateProblem::ForeignAuthority),
        116 => Some(CertificateProblem::Missing),
        // Ours is checked for its role after the handshake, so this is the listener's name.
        42 if whose == Whose::Theirs => Some(CertificateProblem::WrongRole(text.into())),
        // 42 to 47 and 51: about certificates and their signatures.
        42..=47 | 51 => Some(CertificateProblem::Other(text.into())),
        _ => None,
    }
}

/// Makes a node that was killed and started again recognise the connections of its life before, so
/// that it can tell their peers at once that they are gone (RFC 9000, section 10.3).
///
/// The address is part of the keys: nobody else with this certificate must give away our resets
/// (section 21.11).
fn endpoint_config(credentials: &Credentials, bound: SocketAddr) -> quinn::EndpointConfig {
    let reset = credentials.derive(&format!("tepui stateless reset {bound}"));
    let ids = credentials.derive(&format!("tepui connection ids {bound}"));
    let ids = u64::from_le_bytes(*ids.first_chunk().expect("32 bytes hold 8"));
    let mut config =
        quinn::EndpointConfig::new(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, &reset)));
    config
        .cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(ids)))
        .min_reset_interval(RESET_INTERVAL);
    config
}

fn server_config(credentials: &Credentials) -> Result<quinn::ServerConfig, TlsError> {
    let crypto = Arc::new(credentials.server_config()?);
    let mut config = quinn::ServerConfig::with_crypto(crypto);
    let mut transport = transport_config(None);
    transport.receive_window(VarInt::from_u32(DIALER_WINDOW_BYTES));
    config.transport_config(Arc::new(transport));
    Ok(config)
}

fn client_config(credentials: &Credentials) -> Result<quinn::ClientConfig, TlsError> {
    let crypto = Arc::new(credentials.client_config()?);
    let mut config = quinn::ClientConfig::new(crypto);
    config.transport_config(Arc::new(transport_config(Some(KEEP_ALIVE))));
    Ok(config)
}

fn transport_config(keep_alive: Option<Duration>) -> TransportConfig {
    let mut config = TransportConfig::default();
    let idle = IDLE_TIMEOUT.try_into().expect("30 s is a valid timeout");
    let mut mtu = MtuDiscoveryConfig::default();
    mtu.minimum_change(MTU_STEP);
    let mut acks = AckFrequencyConfig::default();
    acks.max_ack_delay(Some(ACK_DELAY));
    config
        .max_idle_timeout(Some(idle))
        .mtu_discovery_config(Some(mtu))
        .ack_frequency_config(Some(acks))
        .keep_alive_interval(keep_alive)
        .max_concurrent_bidi_streams(VarInt::from_u32(STREAMS_PER_CONNECTION + 1))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES))
        .datagram_receive_buffer_size(None);
    config
}

fn open_socket(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    grow_buffers(&socket);
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Asks for large buffers; with small ones everything works, but a crowd works badly.
fn grow_buffers(socket: &Socket) {
    use nix::sys::socket::{setsockopt, sockopt};
    // Privileged first: this one may exceed the system's limit.
    let forced = setsockopt(socket, sockopt::RcvBufForce, &SOCKET_BYTES)
        .and_then(|()| setsockopt(socket, sockopt::SndBufForce, &SOCKET_BYTES));
    let Err(error) = forced else {
        return;
    };
    tracing::debug!(%error, "not privileged to force socket buffers");
    let asked = socket
        .set_recv_buffer_size(SOCKET_BYTES)
        .and_then(|()| socket.set_send_buffer_size(SOCKET_BYTES));
    match asked.and_then(|()| socket.recv_buffer_size()) {
        Ok(bytes) if bytes >= SOCKET_BYTES => {}
        Ok(bytes) => tracing::debug!(bytes, "net.core.rmem_max keeps the socket's buffer small"),
        Err(error) => tracing::debug!(%error, "the socket's buffer could not be set"),
    }
}

//! The QUIC endpoint at its door: who is let in, and what one bad peer does to the others.

#![allow(
    clippy::unwrap_used,
    reason = "a panic is how a test fails, in its helpers too"
)]

mod common;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use common::{
    Certificates, Events, NodeOptions, TestNode, any_port, bind, connected, disconnected, message,
};
use tepui_core::auth::PeerRole;
use tepui_core::limits;
use tepui_core::protocol::hello::{CloseReason, Hello};
use tepui_transport::authority::Validity;
use tepui_transport::codec;
use tepui_transport::greeting::{CertificateProblem, DialError, Whose};
use tepui_transport::peers::{Ending, PeerEvent};
use tepui_transport::quic::Endpoint;
use tepui_transport::session::Session;
use tepui_transport::tls::{ALPN, Credentials};

/// A master that listens.
struct Master {
    certificates: Certificates,
    endpoint: Endpoint<PeerEvent<String>>,
    node: TestNode,
    events: Events,
}

fn master() -> Master {
    let certificates = Certificates::new();
    let accepted = [PeerRole::Agent, PeerRole::Framework, PeerRole::Operator];
    let (node, events) = NodeOptions::new(PeerRole::Master, "leader")
        .accepting(&accepted)
        .build();
    let endpoint = bind(&node, &certificates.credentials(PeerRole::Master, "m1"));
    Master {
        certificates,
        endpoint,
        node,
        events,
    }
}

impl Master {
    async fn dial(&self, role: PeerRole, credentials: &Credentials) -> Result<Session, DialError> {
        let (node, _events) = NodeOptions::new(role, "dialer").build();
        let endpoint = bind(&node, credentials);
        let to = self.endpoint.local_address().unwrap();
        endpoint.dial(to, PeerRole::Master).await
    }

    /// Dials with plain quinn, to be free to misbehave.
    async fn dial_raw(&self, credentials: &Credentials) -> (quinn::Endpoint, quinn::Connection) {
        let endpoint = quinn::Endpoint::client(any_port()).unwrap();
        let crypto = Arc::new(credentials.client_config().unwrap());
        let config = quinn::ClientConfig::new(crypto);
        let to = self.endpoint.local_address().unwrap();
        let connecting = endpoint.connect_with(config, to, "master.tepui").unwrap();
        (endpoint, connecting.await.unwrap())
    }

    /// After whatever happened, the next peer is served as if nothing had.
    async fn still_serves(&mut self) {
        let credentials = self.certificates.credentials(PeerRole::Agent, "next");
        let (node, mut events) = NodeOptions::new(PeerRole::Agent, "next").build();
        let endpoint = bind(&node, &credentials);
        let to = self.endpoint.local_address().unwrap();
        let session = endpoint.dial(to, PeerRole::Master).await.unwrap();
        session.send(&"hello").unwrap();
        let info = connected(&mut self.events).await;
        assert_eq!(info.principal.name, "next");
        assert_eq!(message(&mut self.events).await, (info.peer, "hello".into()));
        self.node.peers().perform(info.peer, &"welcome");
        connected(&mut events).await;
        assert_eq!(message(&mut events).await.1, "welcome");
        endpoint.shut_down().await;
        let (_, ending) = disconnected(&mut self.events).await;
        let Ending::ByPeer { reason, .. } = ending else {
            panic!("{ending}");
        };
        assert_eq!(reason, Some(CloseReason::ShuttingDown));
    }

    async fn failed_a_handshake(&mut self) {
        self.still_serves().await;
        assert_eq!(self.node.counts().failed_handshakes, 1);
        assert_eq!(
            self.node.counts().connected,
            1,
            "only the next peer was let in"
        );
    }
}

fn certificate_error(error: &DialError) -> (Whose, &CertificateProblem) {
    let DialError::Certificate { whose, problem, .. } = error else {
        panic!("another error: {error}");
    };
    (*whose, problem)
}

#[tokio::test]
async fn without_a_certificate_nobody_enters() {
    // SE-30
    let mut master = master();
    let dir = master.certificates.issue(PeerRole::Agent, "bare");
    let mut roots = rustls::RootCertStore::empty();
    let pem = fs::read(dir.join("ca.pem")).unwrap();
    use rustls::pki_types::pem::PemObject;
    let authority = rustls::pki_types::CertificateDer::from_pem_slice(&pem).unwrap();
    roots.add(authority).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut crypto = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    crypto.alpn_protocols = vec![ALPN.to_vec()];
    let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(crypto).unwrap();
    let endpoint = quinn::Endpoint::client(any_port()).unwrap();
    let config = quinn::ClientConfig::new(Arc::new(crypto));
    let to = master.endpoint.local_address().unwrap();
    let connecting = endpoint.connect_with(config, to, "master.tepui").unwrap();
    let error = match connecting.await {
        Ok(connection) => connection.closed().await,
        Err(error) => error,
    };
    let quinn::ConnectionError::ConnectionClosed(close) = &error else {
        panic!("{error}");
    };
    // 116 is the TLS alert "certificate required".
    assert_eq!(u64::from(close.error_code), 0x100 + 116, "{error}");
    master.failed_a_handshake().await;
}

#[tokio::test]
async fn a_listener_of_another_authority_is_refused() {
    let master = master();
    let elsewhere = Certificates::new().credentials(PeerRole::Agent, "a1");
    let error = master.dial(PeerRole::Agent, &elsewhere).await.unwrap_err();
    let found = certificate_error(&error);
    assert_eq!(
        found,
        (Whose::Theirs, &CertificateProblem::ForeignAuthority)
    );
    let text = error.to_string();
    assert!(
        text.ends_with("its certificate is refused: it is from another authority"),
        "{text}"
    );
}

#[tokio::test]
async fn a_dialer_of_another_authority_is_refused() {
    let mut master = master();
    // It trusts our authority, but has its own certificate from another.
    let ours = master.certificates.issue(PeerRole::Agent, "a1");
    let elsewhere = Certificates::new();
    let foreign = elsewhere.issue(PeerRole::Agent, "a1");
    fs::copy(ours.join("ca.pem"), foreign.join("ca.pem")).unwrap();
    let credentials = Credentials::load(&foreign).unwrap();
    let error = master
        .dial(PeerRole::Agent, &credentials)
        .await
        .unwrap_err();
    let found = certificate_error(&error);
    assert_eq!(found, (Whose::Ours, &CertificateProblem::ForeignAuthority));
    let text = error.to_string();
    assert!(
        text.ends_with("our certificate is refused: it is from another authority"),
        "{text}"
    );
    master.failed_a_handshake().await;
}

fn last_week() -> Validity {
    let day = Duration::from_secs(24 * 3600);
    Validity {
        not_before: SystemTime::now() - 7 * day,
        not_after: SystemTime::now() - day,
    }
}

#[tokio::test]
async fn an_expired_dialer_is_refused() {
    let mut master = master();
    let dir = master
        .certificates
        .issue_for(PeerRole::Agent, "old", last_week());
    let credentials = Credentials::load(&dir).unwrap();
    let error = master
        .dial(PeerRole::Agent, &credentials)
        .await
        .unwrap_err();
    assert_eq!(
        certificate_error(&error),
        (Whose::Ours, &CertificateProblem::Expired)
    );
    let text = error.to_string();
    assert!(
        text.ends_with("our certificate is refused: it is expired or not valid yet"),
        "{text}"
    );
    master.failed_a_handshake().await;
}

#[tokio::test]
async fn an_expired_listener_is_refused() {
    let master = master();
    let dir = master
        .certificates
        .issue_for(PeerRole::Master, "old", last_week());
    let expired = Credentials::load(&dir).unwrap();
    master.endpoint.set_credentials(&expired).unwrap();
    let credentials = master.certificates.credentials(PeerRole::Agent, "a1");
    let error = master
        .dial(PeerRole::Agent, &credentials)
        .await
        .unwrap_err();
    assert_eq!(
        certificate_error(&error),
        (Whose::Theirs, &CertificateProblem::Expired)
    );
}

#[tokio::test]
async fn a_role_without_business_here_is_refused() {
    let mut master = master();
    let credentials = master.certificates.credentials(PeerRole::Master, "m2");
    let error = master
        .dial(PeerRole::Master, &credentials)
        .await
        .unwrap_err();
    let DialError::Refused { reason, text, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(*reason, Some(CloseReason::WrongRole));
    assert_eq!(
        text,
        "wrong role: master/m2 dialed, accepted are agent, framework, operator"
    );
    master.still_serves().await;
    assert_eq!(master.node.counts().refused, 1);
}

#[tokio::test]
async fn nobody_can_pose_as_a_master() {
    let certificates = Certificates::new();
    let (node, _events) = NodeOptions::new(PeerRole::Agent, "a1")
        .accepting(&[PeerRole::Agent])
        .build();
    let endpoint = bind(&node, &certificates.credentials(PeerRole::Agent, "a1"));
    let (dialer, _events) = NodeOptions::new(PeerRole::Agent, "a2").build();
    let from = bind(&dialer, &certificates.credentials(PeerRole::Agent, "a2"));
    let to = endpoint.local_address().unwrap();
    let error = from.dial(to, PeerRole::Master).await.unwrap_err();
    let (whose, problem) = certificate_error(&error);
    assert_eq!(whose, Whose::Theirs);
    assert!(
        matches!(problem, CertificateProblem::WrongRole(_)),
        "{error}"
    );
    assert!(from.dial(to, PeerRole::Agent).await.is_ok());
}

#[tokio::test]
async fn where_nobody_listens_nobody_answers() {
    let (node, _events) = NodeOptions::new(PeerRole::Operator, "o").build();
    let certificates = Certificates::new();
    let endpoint = bind(&node, &certificates.credentials(PeerRole::Operator, "o"));
    let silent = std::net::UdpSocket::bind(any_port()).unwrap();
    let to = silent.local_addr().unwrap();
    let error = endpoint.dial(to, PeerRole::Master).await.unwrap_err();
    assert_eq!(error.to_string(), format!("{to} does not answer"));
}

async fn broken_by(bytes: &[u8], ends: Ends) -> (CloseReason, String) {
    let mut master = master();
    let credentials = master.certificates.credentials(PeerRole::Agent, "bad");
    let (_endpoint, connection) = master.dial_raw(&credentials).await;
    let (mut send, mut recv) = connection.open_bi().await.unwrap();
    let mut hello = Vec::new();
    codec::encode(&Hello::new(PeerRole::Agent, "bad"), &mut hello).unwrap();
    send.write_all(&hello).await.unwrap();
    // Its greeting comes first.
    let mut header = [0; codec::HEADER_BYTES];
    recv.read_exact(&mut header).await.unwrap();
    let peer = connected(&mut master.events).await.peer;
    send.write_all(bytes).await.unwrap();
    match ends {
        Ends::Here => send.finish().unwrap(),
        Ends::Later => {}
    }
    let quinn::ConnectionError::ApplicationClosed(close) = connection.closed().await else {
        panic!("not closed by the master");
    };
    let reason = CloseReason::from_code(close.error_code.into_inner()).unwrap();
    let ended = disconnected(&mut master.events).await;
    assert_eq!(ended, (peer, Ending::ByUs(reason)));
    master.still_serves().await;
    (reason, String::from_utf8(close.reason.to_vec()).unwrap())
}

enum Ends {
    Here,
    Later,
}

#[tokio::test]
async fn a_frame_too_large_ends_that_connection_only() {
    // WK-37
    let mut bytes = vec![codec::FRAME_VERSION];
    bytes.extend((limits::FRAME_BYTES as u32 + 1).to_le_bytes());
    let (reason, text) = broken_by(&bytes, Ends::Later).await;
    assert_eq!(reason, CloseReason::FrameTooLarge);
    assert_eq!(text, "frame of 4194305 bytes, at most 4194304 are allowed");
}

#[tokio::test]
async fn a_truncated_frame_ends_that_connection_only() {
    let (reason, text) = broken_by(&[1, 9, 0, 0, 0, 8, b'x'], Ends::Here).await;
    assert_eq!(reason, CloseReason::Truncated);
    assert_eq!(text, "stream ended within a frame, after 7 bytes of it");
}

#[tokio::test]
async fn an_unknown_frame_version_ends_that_connection_only() {
    let (reason, text) = broken_by(&[2, 1, 0, 0, 0, 0], Ends::Later).await;
    assert_eq!(reason, CloseReason::FrameVersion);
    assert_eq!(text, "frame version 2, expected 1");
}

#[tokio::test]
async fn a_malformed_frame_ends_that_connection_only() {
    // A text of two bytes that are no UTF-8.
    let (reason, text) = broken_by(&[1, 3, 0, 0, 0, 2, 0xC3, 0x28], Ends::Later).await;
    assert_eq!(reason, CloseReason::Malformed);
    assert!(text.starts_with("malformed frame of 3 bytes: "), "{text}");
}

#[tokio::test]
async fn garbage_in_place_of_a_greeting_is_refused() {
    let mut master = master();
    let credentials = master.certificates.credentials(PeerRole::Agent, "bad");
    let (_endpoint, connection) = master.dial_raw(&credentials).await;
    let (mut send, _recv) = connection.open_bi().await.unwrap();
    send.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let quinn::ConnectionError::ApplicationClosed(close) = connection.closed().await else {
        panic!("not closed by the master");
    };
    let code = close.error_code.into_inner();
    assert_eq!(
        CloseReason::from_code(code),
        Some(CloseReason::FrameVersion)
    );
    master.still_serves().await;
    assert_eq!(master.node.counts().refused, 1);
}

#[tokio::test]
async fn one_socket_listens_and_dials() {
    let certificates = Certificates::new();
    let build = |role, name| {
        let options = NodeOptions::new(role, name).accepting(&PeerRole::ALL);
        let (node, events) = options.build();
        (bind(&node, &certificates.credentials(role, name)), events)
    };
    let (master, mut master_events) = build(PeerRole::Master, "m");
    let (agent, mut agent_events) = build(PeerRole::Agent, "a");
    let (to_master, to_agent) = (
        master.local_address().unwrap(),
        agent.local_address().unwrap(),
    );
    agent.dial(to_master, PeerRole::Master).await.unwrap();
    master.dial(to_agent, PeerRole::Agent).await.unwrap();
    for events in [&mut master_events, &mut agent_events] {
        let (first, second) = (connected(events).await, connected(events).await);
        assert_ne!(first.peer, second.peer);
    }
    assert_eq!(agent.node().peers().len(), 2);
}

#[tokio::test]
async fn an_endpoint_that_is_dropped_takes_leave() {
    let mut master = master();
    let credentials = master.certificates.credentials(PeerRole::Agent, "a");
    // `dial` drops its endpoint on return.
    master.dial(PeerRole::Agent, &credentials).await.unwrap();
    connected(&mut master.events).await;
    let (_, ending) = disconnected(&mut master.events).await;
    assert!(
        matches!(
            ending,
            Ending::ByPeer {
                reason: Some(CloseReason::ShuttingDown),
                ..
            }
        ),
        "{ending}"
    );
}

/// A peer that went away without a word must not hold up who takes leave.
#[test]
fn leaving_takes_no_longer_than_it_takes_to_say_so() {
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(1).enable_all().build().unwrap()
    };
    let (ours, theirs) = (runtime(), runtime());
    let mut master = ours.block_on(async { master() });
    let to = master.endpoint.local_address().unwrap();
    let credentials = master.certificates.credentials(PeerRole::Agent, "a");
    let mut shortest = Duration::MAX;
    for _ in 0..5 {
        let (node, _events) = NodeOptions::new(PeerRole::Agent, "a").build();
        let client = runtime();
        let endpoint = client.block_on(async { bind(&node, &credentials) });
        client
            .block_on(endpoint.dial(to, PeerRole::Master))
            .unwrap();
        ours.block_on(connected(&mut master.events));
        let begun = std::time::Instant::now();
        client.block_on(endpoint.shut_down());
        shortest = shortest.min(begun.elapsed());
        // Nothing can be sent any more.
        drop(client);
        let (_, ending) = ours.block_on(disconnected(&mut master.events));
        assert!(matches!(ending, Ending::ByPeer { .. }), "{ending}");
    }
    // An acknowledgement may take 25 ms; to wait until the connection is forgotten took 100.
    assert!(shortest < Duration::from_millis(60), "{shortest:?}");
    let (node, _events) = NodeOptions::new(PeerRole::Agent, "b").build();
    let of_other = master.certificates.credentials(PeerRole::Agent, "b");
    let lost = theirs.block_on(async { bind(&node, &of_other) });
    theirs.block_on(lost.dial(to, PeerRole::Master)).unwrap();
    ours.block_on(connected(&mut master.events));
    // It is killed, and nothing was said to it for a while.
    drop(theirs);
    std::mem::forget(lost);
    std::thread::sleep(Duration::from_millis(2_100));
    let begun = std::time::Instant::now();
    ours.block_on(master.endpoint.shut_down());
    assert!(
        begun.elapsed() < Duration::from_millis(1_000),
        "{:?}",
        begun.elapsed()
    );
}

/// Prints how fast a small message goes there and back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn round_trips() {
    const ROUNDS: u32 = 5_000;
    let mut master = master();
    let credentials = master.certificates.credentials(PeerRole::Agent, "a");
    let (node, mut events) = NodeOptions::new(PeerRole::Agent, "a").build();
    let endpoint = bind(&node, &credentials);
    let to = master.endpoint.local_address().unwrap();
    let session = endpoint.dial(to, PeerRole::Master).await.unwrap();
    connected(&mut events).await;
    let peer = connected(&mut master.events).await.peer;
    let node = master.node.clone();
    let echo = tokio::spawn(async move {
        for _ in 0..ROUNDS {
            let (_, text) = message(&mut master.events).await;
            node.peers().perform(peer, &text);
        }
    });
    let start = std::time::Instant::now();
    for n in 0..ROUNDS {
        session.send(&n.to_string()).unwrap();
        assert_eq!(message(&mut events).await.1, n.to_string());
    }
    let each = start.elapsed() / ROUNDS;
    echo.await.unwrap();
    println!(
        "round trip over loopback: {each:?}, {:.0} a second",
        1.0 / each.as_secs_f64()
    );
}

#[test]
fn files_that_are_missing_are_named() {
    let error = Credentials::load(Path::new("/nonexistent")).unwrap_err();
    assert!(error.to_string().contains("/nonexistent/ca.pem"), "{error}");
}

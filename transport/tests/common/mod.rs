//! Nodes with real certificates, for the tests over QUIC and within the process.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tepui_core::auth::{PeerRole, Principal};
use tepui_core::ids::PeerId;
use tepui_core::protocol::hello::Hello;
use tepui_transport::authority::{Authority, Validity};
use tepui_transport::inbox::Inputs;
use tepui_transport::node::{Inbound, Node, NodeConfig, ServeStream};
use tepui_transport::peers::{Ending, PeerEvent, PeerInfo};
use tepui_transport::quic::Endpoint;
use tepui_transport::tls::Credentials;

pub(crate) type Events = Inputs<PeerEvent<String>>;
pub(crate) type TestNode = Node<PeerEvent<String>>;

pub(crate) fn principal(role: PeerRole, name: &str) -> Principal {
    Principal {
        role,
        name: name.into(),
    }
}

/// A directory with an authority, and certificates by the dozen.
pub(crate) struct Certificates {
    dir: TempDir,
    authority: Authority,
}

impl Certificates {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::create(&dir.path().join("ca")).unwrap();
        Self { dir, authority }
    }

    pub(crate) fn issue(&self, role: PeerRole, name: &str) -> PathBuf {
        let validity = Validity::for_the_next(Duration::from_secs(3600));
        self.issue_for(role, name, validity)
    }

    pub(crate) fn issue_for(&self, role: PeerRole, name: &str, validity: Validity) -> PathBuf {
        let out = self.dir.path().join(format!("{role}-{name}"));
        self.authority
            .issue(&principal(role, name), validity, &out)
            .unwrap();
        out
    }

    pub(crate) fn credentials(&self, role: PeerRole, name: &str) -> Credentials {
        Credentials::load(&self.issue(role, name)).unwrap()
    }
}

pub(crate) struct NodeOptions {
    pub(crate) hello: Hello,
    pub(crate) accepts: Vec<PeerRole>,
    pub(crate) inbox: usize,
    pub(crate) streams: Option<ServeStream>,
}

impl NodeOptions {
    pub(crate) fn new(role: PeerRole, name: &str) -> Self {
        Self {
            hello: Hello::new(role, name),
            accepts: Vec::new(),
            inbox: 1_000,
            streams: None,
        }
    }

    pub(crate) fn accepting(mut self, roles: &[PeerRole]) -> Self {
        self.accepts = roles.into();
        self
    }

    pub(crate) fn build(self) -> (TestNode, Events) {
        let (inbound, events) = Inbound::events(self.inbox);
        let node = Node::new(NodeConfig {
            hello: self.hello,
            accepts: self.accepts,
            inbound,
            streams: self.streams,
        });
        (node, events)
    }
}

pub(crate) fn any_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

pub(crate) fn bind(node: &TestNode, credentials: &Credentials) -> Endpoint<PeerEvent<String>> {
    Endpoint::bind(any_port(), credentials, node.clone()).unwrap()
}

pub(crate) async fn connected(events: &mut Events) -> Arc<PeerInfo> {
    match events.recv().await.unwrap() {
        PeerEvent::Connected(info) => info,
        event @ (PeerEvent::Message { .. } | PeerEvent::Disconnected { .. }) => {
            panic!("expected a connection, got {event:?}")
        }
    }
}

pub(crate) async fn message(events: &mut Events) -> (PeerId, String) {
    match events.recv().await.unwrap() {
        PeerEvent::Message { peer, message } => (peer, message),
        event @ (PeerEvent::Connected(_) | PeerEvent::Disconnected { .. }) => {
            panic!("expected a message, got {event:?}")
        }
    }
}

pub(crate) async fn disconnected(events: &mut Events) -> (PeerId, Ending) {
    match events.recv().await.unwrap() {
        PeerEvent::Disconnected { peer, ending } => (peer, ending),
        event @ (PeerEvent::Connected(_) | PeerEvent::Message { .. }) => {
            panic!("expected the end, got {event:?}")
        }
    }
}

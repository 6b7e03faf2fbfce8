//! Whoever keeps a connection to the master, and masters that do not keep theirs.

#![allow(
    clippy::unwrap_used,
    reason = "a panic is how a test fails, in its helpers too"
)]

#[allow(dead_code, reason = "each test binary uses a part of this module")]
mod common;

use std::time::{Duration, Instant};

use common::{Certificates, Events, NodeOptions, TestNode, bind, connected, disconnected};
use tepui_core::auth::PeerRole;
use tepui_core::protocol::hello::{CloseReason, Hello};
use tepui_transport::dialer::Dialer;
use tepui_transport::greeting::DialError;
use tepui_transport::peers::PeerEvent;
use tepui_transport::quic::Endpoint;
use tepui_transport::target::{Address, Error};

struct Master {
    node: TestNode,
    events: Events,
    endpoint: Endpoint<PeerEvent<String>>,
}

fn master(certificates: &Certificates, name: &str, change: fn(&mut Hello)) -> Master {
    let mut options = NodeOptions::new(PeerRole::Master, name).accepting(&[PeerRole::Agent]);
    change(&mut options.hello);
    let (node, events) = options.build();
    let endpoint = bind(&node, &certificates.credentials(PeerRole::Master, name));
    Master {
        node,
        events,
        endpoint,
    }
}

impl Master {
    fn address(&self) -> Address {
        Address::new(&self.endpoint.local_address().unwrap().to_string())
    }
}

async fn dialer(certificates: &Certificates, master: &Master) -> (Dialer, Events) {
    let (agent, events) = NodeOptions::new(PeerRole::Agent, "a").build();
    let credentials = certificates.credentials(PeerRole::Agent, "a");
    let dialer = Dialer::connect(agent, &credentials, master.address()).await;
    (dialer.unwrap(), events)
}

#[tokio::test]
async fn connections_that_end_at_once_are_made_again_ever_later() {
    let certificates = Certificates::new();
    let mut master = master(&certificates, "m", |_| {});
    let (dialer, _events) = dialer(&certificates, &master).await;
    let begun = Instant::now();
    for _ in 0..6 {
        let peer = connected(&mut master.events).await.peer;
        master.node.peers().disconnect(peer, CloseReason::Denied);
        disconnected(&mut master.events).await;
    }
    // At least half of each wait: 50, 100, 200, 400 and 800 ms.
    let least = Duration::from_millis(775);
    assert!(begun.elapsed() >= least, "{:?}", begun.elapsed());
    drop(master.endpoint);
    dialer.shut_down().await;
}

#[tokio::test]
async fn who_is_replaced_does_not_come_back() {
    let certificates = Certificates::new();
    let mut master = master(&certificates, "m", |_| {});
    let (mut dialer, _events) = dialer(&certificates, &master).await;
    let peer = connected(&mut master.events).await.peer;
    master.node.peers().disconnect(peer, CloseReason::Replaced);
    let error = dialer.ended().await;
    assert!(matches!(error, Error::Replaced { .. }), "{error}");
    let text = error.to_string();
    let expected = format!(
        "another with our certificate has taken our place at the master {}",
        master.address()
    );
    assert_eq!(text, expected);
    dialer.shut_down().await;
    assert_eq!(master.node.counts().connected, 1);
}

#[tokio::test]
async fn a_master_that_was_welcome_is_remembered() {
    // HA-17
    let certificates = Certificates::new();
    let first = master(&certificates, "m1", |hello| {
        hello.cluster = Some("rio".into());
        hello.epoch = 5;
    });
    let old = master(&certificates, "m2", |hello| {
        hello.cluster = Some("rio".into());
        hello.epoch = 4;
    });
    let other = master(&certificates, "m3", |hello| {
        hello.cluster = Some("lima".into());
        hello.epoch = 9;
    });
    let (agent, _events) = NodeOptions::new(PeerRole::Agent, "a").build();
    let here = bind(&agent, &certificates.credentials(PeerRole::Agent, "a"));
    let dial = async |master: &Master| match master.address().dial(&here, PeerRole::Master).await {
        Ok(session) => Ok(session.info().hello.epoch),
        Err(Error::Dial(DialError::Unacceptable { reason, .. })) => Err(reason),
        Err(error) => panic!("{error}"),
    };
    assert_eq!(dial(&old).await, Ok(4));
    assert_eq!(dial(&first).await, Ok(5));
    assert_eq!(dial(&old).await, Err(CloseReason::StaleEpoch));
    // It says so itself, for the agent tells its cluster.
    let error = other.address().dial(&here, PeerRole::Master).await;
    let Err(Error::Dial(DialError::Refused { reason, .. })) = error else {
        panic!("{error:?}");
    };
    assert_eq!(reason, Some(CloseReason::WrongCluster));
    assert_eq!(dial(&first).await, Ok(5));
    assert_eq!(agent.hello().epoch, 5);
}

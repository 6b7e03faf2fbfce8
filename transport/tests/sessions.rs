//! What holds for every session, over QUIC and within the process.

#![allow(
    clippy::unwrap_used,
    reason = "a panic is how a test fails, in its helpers too"
)]

mod common;

use std::sync::Arc;

use common::{
    Certificates, Events, NodeOptions, TestNode, bind, connected, disconnected, message, principal,
};
use tepui_core::auth::PeerRole;
use tepui_core::limits;
use tepui_core::protocol::hello::{CloseReason, Hello};
use tepui_core::protocol::version::{Spoken, Version};
use tepui_transport::greeting::DialError;
use tepui_transport::local;
use tepui_transport::outgoing::SendError;
use tepui_transport::peers::{Ending, PeerEvent};
use tepui_transport::quic::Endpoint;
use tepui_transport::session::Session;
use tepui_transport::streams::{IncomingStream, StreamError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// An agent that dialed a master.
struct Pair {
    agent: TestNode,
    agent_events: Events,
    session: Session,
    master: TestNode,
    master_events: Events,
    /// Sockets live as long as the pair.
    _endpoints: Vec<Endpoint<PeerEvent<String>>>,
}

#[derive(Clone, Copy)]
enum Link {
    Quic,
    Local,
}

async fn try_pair(link: Link, agent: NodeOptions, master: NodeOptions) -> Result<Pair, DialError> {
    let (agent, agent_events) = agent.build();
    let (master, master_events) = master.build();
    let (session, endpoints) = match link {
        Link::Local => {
            let from = (&agent, principal(PeerRole::Agent, "a1"));
            let to = (&master, principal(PeerRole::Master, "m1"));
            (local::connect(from, to).await?, Vec::new())
        }
        Link::Quic => {
            let certificates = Certificates::new();
            let here = bind(&agent, &certificates.credentials(PeerRole::Agent, "a1"));
            let there = bind(&master, &certificates.credentials(PeerRole::Master, "m1"));
            let address = there.local_address().unwrap();
            let session = here.dial(address, PeerRole::Master).await?;
            (session, vec![here, there])
        }
    };
    Ok(Pair {
        agent,
        agent_events,
        session,
        master,
        master_events,
        _endpoints: endpoints,
    })
}

fn agent() -> NodeOptions {
    NodeOptions::new(PeerRole::Agent, "host-1")
}

fn master() -> NodeOptions {
    NodeOptions::new(PeerRole::Master, "leader").accepting(&[PeerRole::Agent])
}

async fn pair(link: Link) -> Pair {
    try_pair(link, agent(), master()).await.unwrap()
}

async fn both_sides_greet(link: Link) {
    let mut agent = agent();
    agent.hello.capabilities = 6;
    let mut master = master();
    master.hello.cluster = Some("rio".into());
    master.hello.epoch = 7;
    let mut pair = try_pair(link, agent, master).await.unwrap();
    let seen = connected(&mut pair.master_events).await;
    assert_eq!(seen.principal, principal(PeerRole::Agent, "a1"));
    assert_eq!(
        (seen.hello.name.as_str(), seen.hello.capabilities),
        ("host-1", 6)
    );
    assert_eq!(seen.protocol, Version::NEWEST);
    let seen = connected(&mut pair.agent_events).await;
    assert_eq!(seen.principal, principal(PeerRole::Master, "m1"));
    assert_eq!(
        (seen.hello.epoch, seen.hello.cluster.as_deref()),
        (7, Some("rio"))
    );
    assert_eq!(pair.session.info().principal, seen.principal);
    assert_eq!(pair.master.counts().connected, 1);
}

async fn messages_arrive_in_order(link: Link) {
    let mut pair = pair(link).await;
    let peer = connected(&mut pair.master_events).await.peer;
    let here = connected(&mut pair.agent_events).await.peer;
    for n in 0..10_000 {
        pair.agent.peers().perform(here, &n.to_string());
    }
    for n in 0..10_000 {
        assert_eq!(
            message(&mut pair.master_events).await,
            (peer, n.to_string())
        );
    }
    let large = "x".repeat(limits::FRAME_BYTES - 4);
    pair.master.peers().perform(peer, &large);
    pair.master.peers().perform(peer, &"after");
    assert_eq!(message(&mut pair.agent_events).await.1.len(), large.len());
    assert_eq!(message(&mut pair.agent_events).await.1, "after");
}

async fn the_last_words_arrive_before_the_close(link: Link) {
    let mut pair = pair(link).await;
    let peer = connected(&mut pair.master_events).await.peer;
    connected(&mut pair.agent_events).await;
    for n in 0..1_000 {
        pair.master.peers().perform(peer, &n.to_string());
    }
    pair.master.peers().disconnect(peer, CloseReason::Replaced);
    for n in 0..1_000 {
        assert_eq!(message(&mut pair.agent_events).await.1, n.to_string());
    }
    let (_, ending) = disconnected(&mut pair.agent_events).await;
    assert_eq!(
        ending,
        Ending::ByPeer {
            reason: Some(CloseReason::Replaced),
            code: 11,
            text: "replaced by a newer connection".into()
        }
    );
    let ended = disconnected(&mut pair.master_events).await;
    assert_eq!(ended, (peer, Ending::ByUs(CloseReason::Replaced)));
    pair.master.peers().all_gone().await;
    pair.agent.peers().all_gone().await;
}

async fn the_last_words_arrive_though_the_peer_talks_to_nobody(link: Link) {
    let mut slow = agent();
    slow.inbox = 1;
    let mut pair = try_pair(link, slow, master()).await.unwrap();
    let peer = connected(&mut pair.master_events).await.peer;
    let session = pair.master.peers().session(peer).unwrap();
    // Too much to be on its way at once: the agent takes nothing yet.
    let large = "x".repeat(1_000_000);
    for _ in 0..3 {
        session.send(&large).unwrap();
    }
    drop(pair.master_events);
    pair.session.send(&"are you there?").unwrap();
    let mut ticks = 0;
    while session.send(&"tick").is_ok() {
        ticks += 1;
        tokio::task::yield_now().await;
    }
    connected(&mut pair.agent_events).await;
    for _ in 0..3 {
        assert_eq!(message(&mut pair.agent_events).await.1.len(), large.len());
    }
    for _ in 0..ticks {
        assert_eq!(message(&mut pair.agent_events).await.1, "tick");
    }
    let (_, ending) = disconnected(&mut pair.agent_events).await;
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
    pair.master.peers().all_gone().await;
}

async fn a_peer_that_does_not_keep_up_is_disconnected(link: Link) {
    // WK-43
    let mut slow = agent();
    slow.inbox = 1;
    let mut pair = try_pair(link, slow, master()).await.unwrap();
    let peer = connected(&mut pair.master_events).await.peer;
    let session = pair.master.peers().session(peer).unwrap();
    let text = "x".repeat(1_000);
    let mut sent = 0u64;
    let error = loop {
        match session.send(&text) {
            Ok(()) => sent += 1,
            Err(error) => break error,
        }
        if sent.is_multiple_of(100) {
            tokio::task::yield_now().await;
        }
        assert!(
            sent < 1_000_000,
            "nothing bounds what waits for a slow peer"
        );
    };
    assert_eq!(error, SendError::Overloaded);
    let ended = disconnected(&mut pair.master_events).await;
    assert_eq!(ended, (peer, Ending::ByUs(CloseReason::Overloaded)));
    assert!(pair.master.peers().is_empty());
    loop {
        match pair.agent_events.recv().await.unwrap() {
            PeerEvent::Connected(_) | PeerEvent::Message { .. } => {}
            PeerEvent::Disconnected { ending, .. } => {
                let Ending::ByPeer { reason, .. } = ending else {
                    panic!("{ending}");
                };
                assert_eq!(reason, Some(CloseReason::Overloaded));
                break;
            }
        }
    }
}

/// Serves `(what, how much)`.
fn library(stream: IncomingStream) {
    tokio::spawn(async move {
        let (what, bytes): (String, usize) = stream.request().unwrap();
        if what == "secret" {
            stream.refuse("not for you").await.unwrap();
            return;
        }
        let mut writer = stream.grant().await.unwrap();
        writer.write_all(&vec![7; bytes]).await.unwrap();
        if what == "torn" {
            // Dropped without an end.
            return;
        }
        if what == "endless" {
            writer.abandoned().await;
            return;
        }
        writer.finish().await.unwrap();
    });
}

async fn bulk_travels_beside_the_messages(link: Link) {
    let mut serving = agent();
    serving.streams = Some(Arc::new(library));
    let mut pair = try_pair(link, serving, master()).await.unwrap();
    let peer = connected(&mut pair.master_events).await.peer;
    let here = connected(&mut pair.agent_events).await.peer;
    // From the side that was dialed to the side that dialed.
    let session = pair.master.peers().session(peer).unwrap();
    let mut unread = session
        .open_stream(&("endless", 3_000_000usize))
        .await
        .unwrap();
    let mut file = session
        .open_stream(&("file", 3_000_000usize))
        .await
        .unwrap();
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).await.unwrap();
    assert!(bytes == vec![7; 3_000_000], "{} bytes", bytes.len());
    // A stream that nobody reads holds up nobody.
    pair.agent.peers().perform(here, &"still here");
    assert_eq!(message(&mut pair.master_events).await.1, "still here");
    bytes.resize(3_000_000, 0);
    unread.read_exact(&mut bytes).await.unwrap();
    drop(unread);

    let refused = session.open_stream(&("secret", 1usize)).await.unwrap_err();
    assert!(matches!(refused, StreamError::Refused(ref text) if text == "not for you"));
    // Cut off, a stream may lose even what was sent before, its grant included.
    let error = match session.open_stream(&("torn", 10usize)).await {
        Ok(mut torn) => torn.read_to_end(&mut bytes).await.unwrap_err(),
        Err(StreamError::Lost(error)) => error,
        Err(error @ (StreamError::Refused(_) | StreamError::PutOff(_) | StreamError::Frame(_))) => {
            panic!("{error}")
        }
    };
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}");
    // The master serves nothing.
    let error = pair.session.open_stream(&("file", 1)).await.unwrap_err();
    assert!(matches!(error, StreamError::Lost(_)), "{error}");
}

async fn a_message_too_long_does_not_punish_its_receiver(link: Link) {
    // WK-37
    let mut pair = pair(link).await;
    let peer = connected(&mut pair.master_events).await.peer;
    connected(&mut pair.agent_events).await;
    let too_long = "x".repeat(limits::FRAME_BYTES);
    pair.master.peers().perform(peer, &"before");
    pair.master.peers().perform(peer, &too_long);
    pair.master.peers().perform(peer, &"after");
    assert_eq!(message(&mut pair.agent_events).await.1, "before");
    assert_eq!(message(&mut pair.agent_events).await.1, "after");
    assert_eq!(pair.master.counts().unsendable, 1);
}

/// A text that is said since some version.
#[derive(serde::Serialize)]
#[serde(transparent)]
struct Since(&'static str, #[serde(skip)] Version);

impl Spoken for Since {
    fn since(&self) -> Version {
        self.1
    }
}

async fn a_peer_is_told_what_its_version_knows(link: Link) {
    let (old, new) = (Version::FIRST, Version::INVERSE_OFFERS);
    let pairs = [
        (old, new, old),
        (new, old, old),
        (new, new, new),
        (old, old, old),
    ];
    for (agents, masters, common) in pairs {
        let (mut agent, mut master) = (agent(), master());
        agent.hello.protocol_max = agents.0;
        master.hello.protocol_max = masters.0;
        let mut pair = try_pair(link, agent, master).await.unwrap();
        let at_master = connected(&mut pair.master_events).await;
        let at_agent = connected(&mut pair.agent_events).await;
        let agreed = [at_master.protocol, at_agent.protocol];
        assert_eq!(agreed, [common; 2]);
        for (from, to, peer) in [
            (&pair.master, &mut pair.agent_events, at_master.peer),
            (&pair.agent, &mut pair.master_events, at_agent.peer),
        ] {
            let newer = Since("since the new version", new);
            let older = Since("since the old version", old);
            from.peers().perform(peer, &newer);
            from.peers().perform(peer, &older);
            if common == new {
                assert_eq!(message(to).await.1, newer.0);
            }
            assert_eq!(message(to).await.1, older.0);
        }
    }
}

/// Changes the greetings of agent and master.
type Change = fn(&mut Hello, &mut Hello);

async fn greetings_that_do_not_fit_are_refused(link: Link) {
    // FW-23: by the version of the protocol
    let cases: [(Change, CloseReason, &str); 4] = [
        (
            |agent, _| (agent.protocol_min, agent.protocol_max) = (97, 98),
            CloseReason::ProtocolVersion,
            "no protocol version in common: 15 to 19 are spoken here, 97 to 98 there",
        ),
        (
            |agent, master| {
                agent.cluster = Some("rio".into());
                master.cluster = Some("lima".into());
            },
            CloseReason::WrongCluster,
            "wrong cluster: this is \"lima\", the other side belongs to \"rio\"",
        ),
        (
            |agent, _| agent.role = PeerRole::Operator,
            CloseReason::WrongRole,
            "wrong role: the certificate is for agent/a1, the greeting says operator",
        ),
        (
            |agent, _| agent.name = "x".repeat(5_000),
            CloseReason::FrameTooLarge,
            "frame too large: frame of 5008 bytes, at most 4096 are allowed",
        ),
    ];
    for (change, expected, words) in cases {
        let (mut agent, mut master) = (agent(), master());
        change(&mut agent.hello, &mut master.hello);
        let Err(error) = try_pair(link, agent, master).await else {
            panic!("{words}: was let in");
        };
        let DialError::Refused { reason, text, .. } = &error else {
            panic!("{words}: {error}");
        };
        assert_eq!((*reason, text.as_str()), (Some(expected), words), "{error}");
    }
}

async fn a_master_of_an_epoch_that_is_over_is_refused(link: Link) {
    // HA-17
    let mut old = master();
    old.hello.epoch = 4;
    let (agent, _) = agent().build();
    agent.remember_epoch(5);
    let (master, mut master_events) = old.build();
    let certificates = Certificates::new();
    let (here, there);
    let dialed = match link {
        Link::Local => {
            let from = (&agent, principal(PeerRole::Agent, "a1"));
            local::connect(from, (&master, principal(PeerRole::Master, "m1"))).await
        }
        Link::Quic => {
            here = bind(&agent, &certificates.credentials(PeerRole::Agent, "a1"));
            there = bind(&master, &certificates.credentials(PeerRole::Master, "m1"));
            let address = there.local_address().unwrap();
            here.dial(address, PeerRole::Master).await
        }
    };
    let error = dialed.unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("stale epoch: 4 is over, 5 has begun"),
        "{error}"
    );
    // The master, which greeted already, learns why.
    connected(&mut master_events).await;
    let (_, ending) = disconnected(&mut master_events).await;
    assert!(
        matches!(
            ending,
            Ending::ByPeer {
                reason: Some(CloseReason::StaleEpoch),
                ..
            }
        ),
        "{ending}"
    );
}

/// Runs a test over both kinds of link, and on both kinds of runtime.
fn everywhere<F: Future<Output = ()>>(test: fn(Link) -> F) {
    let one_thread = || tokio::runtime::Builder::new_current_thread();
    let threads = || tokio::runtime::Builder::new_multi_thread();
    for (link, mut builder) in [
        (Link::Quic, one_thread()),
        (Link::Quic, threads()),
        (Link::Local, one_thread()),
        (Link::Local, threads()),
    ] {
        let runtime = builder.enable_all().build().unwrap();
        runtime.block_on(test(link));
    }
}

mod everywhere {
    use super::everywhere;

    #[test]
    fn both_sides_greet() {
        everywhere(super::both_sides_greet);
    }

    #[test]
    fn messages_arrive_in_order() {
        everywhere(super::messages_arrive_in_order);
    }

    #[test]
    fn a_peer_is_told_what_its_version_knows() {
        everywhere(super::a_peer_is_told_what_its_version_knows);
    }

    #[test]
    fn the_last_words_arrive_before_the_close() {
        everywhere(super::the_last_words_arrive_before_the_close);
    }

    #[test]
    fn the_last_words_arrive_though_the_peer_talks_to_nobody() {
        everywhere(super::the_last_words_arrive_though_the_peer_talks_to_nobody);
    }

    #[test]
    fn a_peer_that_does_not_keep_up_is_disconnected() {
        everywhere(super::a_peer_that_does_not_keep_up_is_disconnected);
    }

    #[test]
    fn bulk_travels_beside_the_messages() {
        everywhere(super::bulk_travels_beside_the_messages);
    }

    #[test]
    fn a_message_too_long_does_not_punish_its_receiver() {
        everywhere(super::a_message_too_long_does_not_punish_its_receiver);
    }

    #[test]
    fn greetings_that_do_not_fit_are_refused() {
        everywhere(super::greetings_that_do_not_fit_are_refused);
    }

    #[test]
    fn a_master_of_an_epoch_that_is_over_is_refused() {
        everywhere(super::a_master_of_an_epoch_that_is_over_is_refused);
    }
}

#[tokio::test]
async fn one_principal_has_a_bounded_number_of_connections() {
    let (agent, mut agent_events) = agent().build();
    let (master, mut master_events) = master().build();
    let of_agent = |name| (&agent, principal(PeerRole::Agent, name));
    let of_master = || (&master, principal(PeerRole::Master, "m1"));
    let mut first = None;
    for _ in 0..limits::CONNECTIONS_PER_PRINCIPAL {
        let session = local::connect(of_agent("a1"), of_master()).await.unwrap();
        connected(&mut agent_events).await;
        connected(&mut master_events).await;
        first.get_or_insert(session);
    }
    let error = local::connect(of_agent("a1"), of_master()).await;
    let Err(DialError::Refused { reason, text, .. }) = error else {
        panic!("{error:?}");
    };
    assert_eq!(reason, Some(CloseReason::Crowded));
    assert_eq!(text, "too many connections: agent/a1 has 1024");
    // Others have room, and so has it once one is gone.
    local::connect(of_agent("a2"), of_master()).await.unwrap();
    connected(&mut master_events).await;
    first.unwrap().close(CloseReason::ShuttingDown);
    disconnected(&mut master_events).await;
    while let Err(error) = local::connect(of_agent("a1"), of_master()).await {
        assert!(matches!(error, DialError::Refused { .. }), "{error}");
        tokio::task::yield_now().await;
    }
}

/// A node that was killed could not take leave; its successor does it, as soon as a peer speaks.
#[test]
fn peers_of_a_killed_node_learn_of_it_from_its_successor() {
    let certificates = Certificates::new();
    let runtime = |threads| {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder
            .worker_threads(threads)
            .enable_all()
            .build()
            .unwrap()
    };
    let (ours, theirs) = (runtime(1), runtime(1));
    let (agent, mut agent_events) = agent().build();
    let here =
        ours.block_on(async { bind(&agent, &certificates.credentials(PeerRole::Agent, "a1")) });
    let of_master = certificates.credentials(PeerRole::Master, "m1");
    let (first, events) = master().build();
    let killed = theirs.block_on(async { bind(&first, &of_master) });
    let address = killed.local_address().unwrap();
    let session = ours.block_on(here.dial(address, PeerRole::Master)).unwrap();
    ours.block_on(connected(&mut agent_events));
    // Nothing can be sent any more once the runtime is gone.
    drop(theirs);
    drop((killed, first, events));

    let (second, _events) = master().build();
    let _guard = ours.enter();
    let _successor = Endpoint::bind(address, &of_master, second).unwrap();
    agent
        .peers()
        .perform(session.info().peer, &"are you there?");
    let (_, ending) = ours.block_on(disconnected(&mut agent_events));
    assert!(
        matches!(&ending, Ending::Lost(why) if why.contains("reset")),
        "{ending}"
    );
}

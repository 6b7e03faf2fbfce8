//! An operator's questions, and answers in pages.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tepui_core::auth::{PeerRole, Principal};
use tepui_core::ids::{FrameworkId, PeerId, RequestId};
use tepui_core::protocol::framework::FrameworkInfo;
use tepui_core::protocol::hello::Hello;
use tepui_core::protocol::operator::{Answer, Call, Cursor, FrameworkView, Request, Response};
use tepui_core::resources::Resources;
use tepui_transport::authority::{Authority, Validity};
use tepui_transport::inbox::Inputs;
use tepui_transport::node::{Inbound, Node, NodeConfig};
use tepui_transport::operator::Operator;
use tepui_transport::peers::PeerEvent;
use tepui_transport::quic::Endpoint;
use tepui_transport::target::Target;
use tepui_transport::tls::Credentials;

fn issue(authority: &Authority, dir: &Path, role: PeerRole) -> PathBuf {
    let name = String::from("ann");
    let out = dir.join(role.to_string());
    let validity = Validity::for_the_next(Duration::from_secs(3600));
    let principal = Principal { role, name };
    authority.issue(&principal, validity, &out).unwrap();
    out
}

/// A master that says what the test wants.
struct Master {
    endpoint: Endpoint<PeerEvent<Request>>,
    node: Node<PeerEvent<Request>>,
    events: Inputs<PeerEvent<Request>>,
}

impl Master {
    fn listening(tls_dir: &Path) -> Self {
        let (inbound, events) = Inbound::events(16);
        let node = Node::new(NodeConfig {
            hello: Hello::new(PeerRole::Master, "leader"),
            accepts: vec![PeerRole::Operator],
            inbound,
            streams: None,
        });
        let credentials = Credentials::load(tls_dir).unwrap();
        let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
        let endpoint = Endpoint::bind(any_port, &credentials, node.clone()).unwrap();
        Self {
            endpoint,
            node,
            events,
        }
    }

    async fn asked(&mut self) -> (PeerId, Request) {
        loop {
            match self.events.recv().await.unwrap() {
                PeerEvent::Message { peer, message } => return (peer, message),
                PeerEvent::Connected(_) => {}
                PeerEvent::Disconnected { ending, .. } => panic!("{ending}"),
            }
        }
    }

    /// Answers the next question, and returns after which place it was.
    async fn answers(&mut self, answer: Answer, next: Option<Cursor>) -> Option<Cursor> {
        let (peer, request) = self.asked().await;
        assert_eq!(request.call, Call::Frameworks);
        // An answer to a question of long ago is none to this one.
        let id = RequestId(request.id.0 + 1_000);
        let stale = Answer::NotFound("stale".into());
        for (id, answer) in [(id, stale), (request.id, answer)] {
            self.node
                .peers()
                .perform(peer, &Response { id, answer, next });
        }
        request.after
    }
}

const fn place(last: u32) -> Option<Cursor> {
    Some(Cursor { epoch: 1, last })
}

fn frameworks(names: &[&str]) -> Answer {
    let views = names.iter().map(|name| FrameworkView {
        info: FrameworkInfo {
            id: Some(FrameworkId::new(name).unwrap()),
            ..FrameworkInfo::new(*name)
        },
        connected: true,
        suppressed: Vec::new(),
        offered: Resources::new(),
        allocated: Resources::new(),
        tasks: 0,
    });
    Answer::Frameworks(views.collect())
}

#[tokio::test]
async fn pages_of_an_answer_are_joined() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::create(&dir.path().join("ca")).unwrap();
    let mut master = Master::listening(&issue(&authority, dir.path(), PeerRole::Master));
    let target = Target {
        master: master.endpoint.local_address().unwrap().to_string(),
        tls_dir: issue(&authority, dir.path(), PeerRole::Operator),
    };
    let operator = Operator::connect(&target, Duration::from_secs(10))
        .await
        .unwrap();
    let serve = async {
        let (five, nine) = (place(5), place(9));
        assert_eq!(master.answers(frameworks(&["a", "b"]), five).await, None);
        assert_eq!(master.answers(frameworks(&[]), nine).await, five);
        assert_eq!(master.answers(frameworks(&["c"]), None).await, nine);
    };
    let (answer, ()) = tokio::join!(operator.ask(Call::Frameworks), serve);
    assert_eq!(answer.unwrap(), frameworks(&["a", "b", "c"]));
    // A master that changes the subject is not believed.
    let serve = async {
        master.answers(frameworks(&["a"]), place(1)).await;
        master.answers(Answer::Tasks(vec![]), None).await;
    };
    let (answer, ()) = tokio::join!(operator.ask(Call::Frameworks), serve);
    assert_eq!(
        answer.unwrap_err().to_string(),
        "connection lost: the master goes on with another answer"
    );
    operator.close().await;
}

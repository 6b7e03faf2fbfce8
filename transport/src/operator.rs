//! An operator's conversation with a master: questions and answers.
//!
//! Used by command lines and tests. Deliberately not here: what to ask.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tepui_core::auth::PeerRole;
use tepui_core::ids::RequestId;
use tepui_core::protocol::hello::Hello;
use tepui_core::protocol::operator::{Answer, Call, Cursor, Request, Response};
use tokio::sync::Mutex;

use crate::greeting::DialError;
use crate::inbox::Inputs;
use crate::node::{Inbound, Node, NodeConfig};
use crate::peers::{Ending, PeerEvent};
use crate::quic::Endpoint;
use crate::session::Session;
use crate::target::{Error, Target};

/// How many answers may wait to be looked at.
const INBOX: usize = 16;

/// A connection to a master, as an operator.
#[derive(Debug)]
pub struct Operator {
    endpoint: Endpoint<PeerEvent<Response>>,
    session: Session,
    next: AtomicU64,
    events: Mutex<Inputs<PeerEvent<Response>>>,
}

impl Operator {
    /// Connects within `timeout`.
    pub async fn connect(target: &Target, timeout: Duration) -> Result<Self, Error> {
        let credentials = target.credentials(PeerRole::Operator)?;
        let (inbound, events) = Inbound::events(INBOX);
        let hello = Hello::new(PeerRole::Operator, &credentials.principal().name);
        let node = Node::new(NodeConfig {
            hello,
            accepts: Vec::new(),
            inbound,
            streams: None,
        });
        let master = target.address();
        let dialing = master.connect(&credentials, node, PeerRole::Master);
        let (endpoint, session) = match tokio::time::timeout(timeout, dialing).await {
            Ok(connected) => connected?,
            Err(_) => {
                let at = target.master.clone();
                return Err(DialError::NoAnswer { at }.into());
            }
        };
        Ok(Self {
            endpoint,
            session,
            next: AtomicU64::new(1),
            events: Mutex::new(events),
        })
    }

    /// Asks one thing and waits for the answer, for all pages of it. Questions are answered one
    /// after the other: while one waits for events ([`Call::Watch`]), others need a connection of
    /// their own.
    pub async fn ask(&self, call: Call) -> Result<Answer, Error> {
        let mut events = self.events.lock().await;
        let first = self.ask_page(&mut events, call.clone(), None).await?;
        let (mut answer, mut next) = (first.answer, first.next);
        while let Some(place) = next {
            let page = self.ask_page(&mut events, call.clone(), Some(place));
            let page = page.await?;
            if answer.append(page.answer).is_err() {
                let problem = "the master goes on with another answer";
                return Err(Error::Lost(Ending::Lost(problem.into())));
            }
            next = page.next;
        }
        Ok(answer)
    }

    /// Returns whether the master knows a question; of one that it does not know it never hears.
    pub fn knows(&self, call: &Call) -> bool {
        let request = Request {
            id: RequestId(0),
            call: call.clone(),
            after: None,
        };
        self.session.info().protocol.knows(&request)
    }

    async fn ask_page(
        &self,
        events: &mut Inputs<PeerEvent<Response>>,
        call: Call,
        after: Option<Cursor>,
    ) -> Result<Response, Error> {
        let id = RequestId(self.next.fetch_add(1, Ordering::Relaxed));
        if self.session.send(&Request { id, call, after }).is_err() {
            return Err(Error::Lost(self.session.closed().await));
        }
        loop {
            match events.recv().await {
                Some(PeerEvent::Message { message, .. }) if message.id == id => {
                    return Ok(message);
                }
                // The answer to a question whose asker did not wait, or the beginning.
                Some(PeerEvent::Message { .. } | PeerEvent::Connected(_)) => {}
                Some(PeerEvent::Disconnected { ending, .. }) => return Err(Error::Lost(ending)),
                None => return Err(Error::Lost(Ending::Lost("the endpoint has ended".into()))),
            }
        }
    }

    /// Takes leave.
    pub async fn close(self) {
        self.session.leave().await;
        drop(self.endpoint);
    }
}

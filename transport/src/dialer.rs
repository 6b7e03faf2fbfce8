//! Keeps one connection to the master: dials again whenever it is lost.
//!
//! Used by frameworks and agents. The wait before each attempt doubles up to a bound and is
//! jittered, so that thousands do not come back in step, and starts anew only after a connection
//! that lasted. Who is replaced by a newer connection of the same name does not come back: the two
//! would replace each other for ever. Deliberately not here: which master leads.

use std::future::pending;
use std::time::{Duration, Instant};

use tepui_core::auth::PeerRole;
use tepui_core::protocol::hello::CloseReason;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::backoff::Backoff;
use crate::node::Node;
use crate::peers::Ending;
use crate::quic::Endpoint;
use crate::session::Session;
use crate::target::{Address, Error};
use crate::tls::Credentials;

const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// A connection that lived for so long was a good one.
const STEADY: Duration = Duration::from_secs(10);

/// A task that keeps a connection.
#[derive(Debug)]
pub struct Dialer {
    stop: oneshot::Sender<()>,
    ended: oneshot::Receiver<Error>,
    task: JoinHandle<()>,
}

impl Dialer {
    /// Opens a socket of its own and connects; fails if the first attempt does.
    pub async fn connect<I: Send + 'static>(
        node: Node<I>,
        credentials: &Credentials,
        master: Address,
    ) -> Result<Self, Error> {
        let (endpoint, session) = master.connect(credentials, node, PeerRole::Master).await?;
        Ok(Self::keep(endpoint, master, Some(session)))
    }

    /// Keeps a connection from an endpoint that is there, starting without one.
    pub fn start<I: Send + 'static>(endpoint: Endpoint<I>, master: Address) -> Self {
        Self::keep(endpoint, master, None)
    }

    fn keep<I: Send + 'static>(
        endpoint: Endpoint<I>,
        master: Address,
        session: Option<Session>,
    ) -> Self {
        let (stop, mut stopped) = oneshot::channel::<()>();
        let (end, ended) = oneshot::channel();
        let task = tokio::spawn(async move {
            tokio::select! {
                error = keep_connected(&endpoint, &master, session) => {
                    if end.send(error).is_err() {
                        tracing::debug!("nobody waits for the end of the connection");
                    }
                    drop((&mut stopped).await);
                }
                _ = &mut stopped => {}
            }
            endpoint.shut_down().await;
        });
        Self { stop, ended, task }
    }

    /// Waits until it dials no more, though nobody asked it to end.
    pub async fn ended(&mut self) -> Error {
        match (&mut self.ended).await {
            Ok(error) => error,
            Err(_) => pending().await,
        }
    }

    /// Delivers what was sent, takes leave and closes the socket.
    pub async fn shut_down(self) {
        drop(self.stop);
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the connection's keeper failed");
        }
    }
}

/// Returns only if it must not dial any more.
async fn keep_connected<I: Send + 'static>(
    endpoint: &Endpoint<I>,
    master: &Address,
    mut session: Option<Session>,
) -> Error {
    let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
    loop {
        if let Some(session) = session.take() {
            let begun = Instant::now();
            let ending = session.closed().await;
            tracing::info!(%master, %ending, "connection to the master ended");
            if let Ending::ByPeer {
                reason: Some(CloseReason::Replaced),
                ..
            } = ending
            {
                let master = master.to_string();
                return Error::Replaced { master };
            }
            if begun.elapsed() >= STEADY {
                backoff.reset();
            }
            backoff.wait().await;
        }
        match master.dial(endpoint, PeerRole::Master).await {
            Ok(new) => session = Some(new),
            Err(error) => {
                tracing::warn!(%error, "cannot connect to the master");
                backoff.wait().await;
            }
        }
    }
}

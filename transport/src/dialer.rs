//! Keeps one connection to the master: dials again whenever it is lost.
//!
//! Used by frameworks and agents. The wait between attempts doubles up to a bound and is jittered,
//! so that thousands do not come back in step. Deliberately not here: which master leads.

use std::net::SocketAddr;
use std::time::Duration;

use tepui_core::auth::PeerRole;
use tepui_core::rng::Rng;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::node::Node;
use crate::quic::Endpoint;
use crate::session::Session;
use crate::target::{Error, local_address_for};
use crate::tls::Credentials;

const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// A task that keeps a connection.
#[derive(Debug)]
pub struct Dialer {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Dialer {
    /// Opens a socket of its own and connects; fails if the first attempt does.
    pub async fn connect<I: Send + 'static>(
        node: Node<I>,
        credentials: &Credentials,
        master: SocketAddr,
    ) -> Result<Self, Error> {
        let endpoint = Endpoint::bind(local_address_for(master), credentials, node)?;
        let session = endpoint.dial(master, PeerRole::Master).await?;
        Ok(Self::keep(endpoint, master, Some(session)))
    }

    /// Keeps a connection from an endpoint that is there, starting without one.
    pub fn start<I: Send + 'static>(endpoint: Endpoint<I>, master: SocketAddr) -> Self {
        Self::keep(endpoint, master, None)
    }

    fn keep<I: Send + 'static>(
        endpoint: Endpoint<I>,
        master: SocketAddr,
        session: Option<Session>,
    ) -> Self {
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            tokio::select! {
                () = keep_connected(&endpoint, master, session) => {}
                _ = stopped => {}
            }
            endpoint.shut_down().await;
        });
        Self { stop, task }
    }

    /// Delivers what was sent, takes leave and closes the socket.
    pub async fn shut_down(self) {
        drop(self.stop);
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the connection's keeper failed");
        }
    }
}

async fn keep_connected<I: Send + 'static>(
    endpoint: &Endpoint<I>,
    master: SocketAddr,
    mut session: Option<Session>,
) {
    let seed = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0);
    let mut rng = Rng::new(seed);
    let mut wait = FIRST_WAIT;
    loop {
        if let Some(session) = session.take() {
            let ending = session.closed().await;
            tracing::info!(%master, %ending, "connection to the master ended");
            wait = FIRST_WAIT;
        }
        match endpoint.dial(master, PeerRole::Master).await {
            Ok(new) => session = Some(new),
            Err(error) => {
                tracing::warn!(%error, "cannot connect to the master");
                tokio::time::sleep(wait / 2 + rng.jitter(wait / 2)).await;
                wait = (wait * 2).min(LONGEST_WAIT);
            }
        }
    }
}

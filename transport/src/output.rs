//! Reading what a task writes, from the agent that runs it.
//!
//! Used by command lines. Files are read over as many connections as it takes, and asked for again
//! while the agent has no room for another reader. Deliberately not here: what to do with the
//! bytes.

use std::sync::Arc;
use std::time::Duration;

use tepui_core::auth::PeerRole;
use tepui_core::protocol::agent::Read;
use tepui_core::protocol::hello::Hello;
use tokio::io::AsyncReadExt;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};

use crate::authority::CERT_FILE;
use crate::backoff::Backoff;
use crate::codec;
use crate::inbox;
use crate::node::{Inbound, Node, NodeConfig};
use crate::quic::Endpoint;
use crate::session::Session;
use crate::streams::{STREAMS_PER_CONNECTION, StreamError};
use crate::target::{Address, Error, Target};
use crate::tls::Credentials;
use crate::wire::ByteReader;

const CHUNK_BYTES: usize = 64 * 1024;
/// How long a reader waits who was put off, at first and in the end.
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// An agent to read from.
#[derive(Debug)]
pub struct OutputClient {
    endpoint: Endpoint<()>,
    agent: Address,
    lines: Mutex<Vec<Line>>,
}

/// One connection, and room for streams on it.
#[derive(Debug)]
struct Line {
    session: Session,
    free: Arc<Semaphore>,
}

impl Line {
    fn new(session: Session) -> Self {
        let streams = STREAMS_PER_CONNECTION as usize;
        Self {
            session,
            free: Arc::new(Semaphore::new(streams)),
        }
    }

    fn take(&self) -> Option<(Session, OwnedSemaphorePermit)> {
        let place = Arc::clone(&self.free).try_acquire_owned().ok()?;
        Some((self.session.clone(), place))
    }
}

impl OutputClient {
    /// Connects to the agent at `address`, as whoever `target`'s certificate says: a framework may
    /// read its own tasks, an operator all.
    pub async fn connect(target: &Target, address: &str) -> Result<Self, Error> {
        let credentials = match target.tls_dir.join(CERT_FILE).exists() {
            true => Credentials::load(&target.tls_dir)?,
            false => target.credentials(PeerRole::Framework)?,
        };
        let agent = Address::new(address);
        // The agent has nothing to say but bytes on the streams that are opened here.
        let (nobody, _) = inbox::channel(1);
        let principal = credentials.principal();
        let node = Node::new(NodeConfig {
            hello: Hello::new(principal.role, &principal.name),
            accepts: Vec::new(),
            inbound: Inbound::new(nobody, |_, body| codec::decode::<()>(body), |_, _| None),
            streams: None,
        });
        let (endpoint, first) = agent.connect(&credentials, node, PeerRole::Agent).await?;
        let first = Line::new(first);
        Ok(Self {
            endpoint,
            agent,
            lines: Mutex::new(vec![first]),
        })
    }

    /// Asks for a file. Waits while the agent has no room for another reader.
    pub async fn read(&self, read: &Read) -> Result<Output, Error> {
        let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
        loop {
            let (session, place) = self.line().await?;
            match session.open_stream(read).await {
                Ok(reader) => {
                    return Ok(Output {
                        reader,
                        _place: place,
                        connection: None,
                    });
                }
                Err(StreamError::PutOff(reason)) => {
                    if backoff.is_fresh() {
                        tracing::warn!(task = %read.task, reason, "output comes later");
                    }
                }
                Err(
                    error
                    @ (StreamError::Refused(_) | StreamError::Lost(_) | StreamError::Frame(_)),
                ) => return Err(error.into()),
            }
            drop(place);
            backoff.wait().await;
        }
    }

    /// Finds a connection with room for one more stream, or makes one.
    pub(crate) async fn line(&self) -> Result<(Session, OwnedSemaphorePermit), Error> {
        let mut lines = self.lines.lock().await;
        if let Some(found) = lines.iter().find_map(Line::take) {
            return Ok(found);
        }
        let line = Line::new(self.agent.dial(&self.endpoint, PeerRole::Agent).await?);
        let found = line.take().expect("a new connection has room");
        lines.push(line);
        Ok(found)
    }

    /// Takes leave. Whoever reads still reads no more.
    pub async fn close(&self) {
        let lines = std::mem::take(&mut *self.lines.lock().await);
        for line in &lines {
            line.session.leave().await;
        }
    }
}

/// Connects to the agent at `address` and asks for one file.
pub async fn read_output(target: &Target, address: &str, read: Read) -> Result<Output, Error> {
    let client = OutputClient::connect(target, address).await?;
    let mut output = client.read(&read).await?;
    output.connection = Some(client);
    Ok(output)
}

/// A file of a task as it arrives.
#[derive(Debug)]
pub struct Output {
    reader: ByteReader,
    /// Held as long as the stream is.
    _place: OwnedSemaphorePermit,
    /// Kept for as long as the file is read, if nobody else keeps it.
    connection: Option<OutputClient>,
}

impl Output {
    /// Waits for the next bytes; `None` at the end of the file. If the connection is lost before,
    /// that is an error.
    pub async fn chunk(&mut self) -> Result<Option<Vec<u8>>, Error> {
        let mut chunk = Vec::with_capacity(CHUNK_BYTES);
        let read = self.reader.read_buf(&mut chunk).await?;
        if read == 0 {
            if let Some(connection) = self.connection.take() {
                connection.close().await;
            }
            return Ok(None);
        }
        Ok(Some(chunk))
    }
}

//! Reading what a task writes, from the agent that runs it.
//!
//! Used by command lines. Deliberately not here: what to do with the bytes.

use tepui_core::auth::PeerRole;
use tepui_core::protocol::agent::Read;
use tepui_core::protocol::hello::Hello;
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;

use crate::authority::CERT_FILE;
use crate::node::{Inbound, Node, NodeConfig};
use crate::peers::PeerEvent;
use crate::quic::Endpoint;
use crate::session::Session;
use crate::target::{Error, Target, local_address_for, resolve};
use crate::tls::Credentials;
use crate::wire::ByteReader;

/// Room for the beginning and the end of the connection.
const INBOX: usize = 4;
const CHUNK_BYTES: usize = 64 * 1024;

/// A connection to an agent, for reading.
#[derive(Debug)]
pub struct OutputClient {
    endpoint: Endpoint<PeerEvent<()>>,
    session: Session,
    /// Says nothing of interest, but the connection lives only while somebody listens.
    _events: mpsc::Receiver<PeerEvent<()>>,
}

impl OutputClient {
    /// Connects to the agent at `address`, as whoever `target`'s certificate says: a framework may
    /// read its own tasks, an operator all.
    pub async fn connect(target: &Target, address: &str) -> Result<Self, Error> {
        let credentials = match target.tls_dir.join(CERT_FILE).exists() {
            true => Credentials::load(&target.tls_dir)?,
            false => target.credentials(PeerRole::Framework)?,
        };
        let address = resolve(address).await?;
        // The agent has nothing to say but bytes on the streams that are opened here.
        let (inbound, events) = Inbound::events(INBOX);
        let principal = credentials.principal();
        let node = Node::new(NodeConfig {
            hello: Hello::new(principal.role, &principal.name),
            accepts: Vec::new(),
            inbound,
            streams: None,
        });
        let endpoint = Endpoint::bind(local_address_for(address), &credentials, node)?;
        let session = endpoint.dial(address, PeerRole::Agent).await?;
        Ok(Self {
            endpoint,
            session,
            _events: events,
        })
    }

    /// Asks for a file.
    pub async fn read(&self, read: &Read) -> Result<Output, Error> {
        Ok(Output {
            reader: self.session.open_stream(read).await?,
            connection: None,
        })
    }

    /// Takes leave.
    pub async fn close(self) {
        self.endpoint.shut_down().await;
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

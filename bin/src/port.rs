//! The port of an agent that may listen on any: it takes the one that it had before.
//!
//! Whoever reads the output of a task knows the agent by the address in its offer. An agent that
//! was killed and comes back elsewhere would not be found, so the port is noted in the work
//! directory. Deliberately not here: ports that are asked for.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;

use tepui_transport::node::Node;
use tepui_transport::quic::{BindError, Endpoint};
use tepui_transport::tls::Credentials;

const FILE: &str = "port";

/// Opens the endpoint at `listen`; if that leaves the port open, at the one noted in `work_dir` as
/// long as nobody else has it.
pub(crate) fn bind<I: Send + 'static>(
    listen: SocketAddr,
    work_dir: &Path,
    credentials: &Credentials,
    node: &Node<I>,
) -> Result<Endpoint<I>, BindError> {
    if listen.port() != 0 {
        return Endpoint::bind(listen, credentials, node.clone());
    }
    let path = work_dir.join(FILE);
    if let Some(port) = noted(&path) {
        let before = SocketAddr::new(listen.ip(), port);
        match Endpoint::bind(before, credentials, node.clone()) {
            Ok(endpoint) => return Ok(endpoint),
            Err(error @ BindError::Socket { .. }) => {
                tracing::warn!(%error, "readers of output must ask for the agent's new address");
            }
            Err(error @ BindError::Tls(_)) => return Err(error),
        }
    }
    let endpoint = Endpoint::bind(listen, credentials, node.clone())?;
    let written = endpoint
        .local_address()
        .and_then(|address| note(&path, address));
    if let Err(error) = written {
        let path = path.display();
        tracing::warn!(%error, %path, "the port is not noted: a restart will have another one");
    }
    Ok(endpoint)
}

/// Reads the port; what is no port was not written to its end, and counts for nothing.
fn noted(path: &Path) -> Option<u16> {
    fs::read_to_string(path).ok()?.trim_end().parse().ok()
}

fn note(path: &Path, address: SocketAddr) -> io::Result<()> {
    fs::write(path, format!("{}\n", address.port()))
}

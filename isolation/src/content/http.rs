//! The client of web servers that the fetcher and the registries' share.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ureq::Agent;
use ureq::config::Config;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, TlsProvider, parse_pem};
use ureq::unversioned::transport::DefaultConnector;

use super::destination::{Destinations, is_here};

/// Where distributions keep the certificates that they trust.
const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
const REDIRECTS: u32 = 10;

/// Certificates that cannot be read.
pub(crate) struct NoCertificates {
    pub(crate) path: PathBuf,
    pub(crate) source: io::Error,
}

/// Two clients that follow redirects, give away no credentials on the way, and have each connection
/// once. Any status is an answer.
#[derive(Debug, Clone)]
pub(crate) struct Clients {
    near: Agent,
    far: Agent,
}

impl Clients {
    pub(crate) fn new(
        certificates: Option<&Path>,
        connect: Duration,
        stall: Duration,
    ) -> Result<Self, NoCertificates> {
        let config = config(certificates, connect, stall)?;
        let client = |near| {
            let connector = DefaultConnector::default();
            Agent::with_parts(config.clone(), connector, Destinations { near })
        };
        Ok(Self {
            near: client(true),
            far: client(false),
        })
    }

    /// Returns the one to ask a host with: only who is asked for something of this machine gets
    /// there.
    pub(crate) fn of(&self, host: &str) -> &Agent {
        self.to(is_here(host))
    }

    /// Returns the one that may ask this machine as well, or the one that may not.
    pub(crate) const fn to(&self, near: bool) -> &Agent {
        match near {
            true => &self.near,
            false => &self.far,
        }
    }
}

fn config(
    certificates: Option<&Path>,
    connect: Duration,
    stall: Duration,
) -> Result<Config, NoCertificates> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .unversioned_rustls_crypto_provider(provider)
        .root_certs(RootCerts::Specific(Arc::new(roots(certificates)?)))
        .build();
    let (connect, stall) = (Some(connect), Some(stall));
    Ok(Agent::config_builder()
        .tls_config(tls)
        .proxy(None)
        .http_status_as_error(false)
        .max_redirects(REDIRECTS)
        .max_idle_connections(0)
        .accept("*/*")
        .accept_encoding("identity")
        .user_agent("tepui-agent")
        .timeout_resolve(connect)
        .timeout_connect(connect)
        .timeout_send_request(stall)
        .timeout_recv_response(stall)
        .timeout_per_read(stall)
        .build())
}

/// Whether a read failed because nothing came for too long.
pub(crate) fn is_timeout(error: &io::Error) -> bool {
    let inner = error.get_ref();
    let inner = inner.and_then(|e| e.downcast_ref::<ureq::Error>());
    error.kind() == io::ErrorKind::TimedOut || matches!(inner, Some(ureq::Error::Timeout(_)))
}

/// The certificates that servers are trusted by. Without any, `https:` fails and `http:` works.
fn roots(certificates: Option<&Path>) -> Result<Vec<Certificate<'static>>, NoCertificates> {
    let path = match certificates {
        Some(path) => path,
        None => match BUNDLES.iter().map(Path::new).find(|path| path.exists()) {
            Some(path) => path,
            None => return Ok(Vec::new()),
        },
    };
    let failed = |source| NoCertificates {
        path: path.to_owned(),
        source,
    };
    let text = std::fs::read(path).map_err(failed)?;
    let mut found = Vec::new();
    for item in parse_pem(&text) {
        if let PemItem::Certificate(certificate) =
            item.map_err(|error| failed(io::Error::other(error)))?
        {
            found.push(certificate);
        }
    }
    if found.is_empty() {
        return Err(failed(io::Error::other("none is in it")));
    }
    Ok(found)
}

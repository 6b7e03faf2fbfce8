//! The client of web servers that the fetcher and the registries' share.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ureq::Agent;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, TlsProvider, parse_pem};

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

/// A client that follows redirects, gives away no credentials on the way, and has each connection
/// once. Any status is an answer.
pub(crate) fn agent(
    certificates: Option<&Path>,
    connect: Duration,
    stall: Duration,
) -> Result<Agent, NoCertificates> {
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
        .build()
        .new_agent())
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

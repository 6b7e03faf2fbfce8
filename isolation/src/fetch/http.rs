//! Asks servers for items.
//!
//! Each request has a connection of its own: an agent fetches rarely. Redirects are followed, but
//! never from `https:` to `http:`, nor to this machine from elsewhere. Deliberately not here:
//! proxies, and content encodings, for what is stored is what the server has.

use std::time::Duration;

use ureq::http::header::{CONTENT_LENGTH, ETAG, HeaderName, LAST_MODIFIED};
use ureq::http::header::{IF_MODIFIED_SINCE, IF_NONE_MATCH};
use ureq::http::{HeaderMap, Uri};

use super::config::Config;
use super::error::FetchError;
use crate::content::http::{Clients, NoCertificates};

/// The longest validator that is remembered; a longer one is as good as none.
const VALIDATOR_BYTES: usize = 1_024;

/// What a server said by which a copy can be checked later.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Validators {
    pub(super) etag: Option<String>,
    pub(super) last_modified: Option<String>,
}

impl Validators {
    pub(super) fn is_empty(&self) -> bool {
        self.etag.is_none() && self.last_modified.is_none()
    }
}

/// What a server answered.
pub(super) enum Answer {
    /// The copy with the validators that were sent is still right.
    Same,
    /// The content follows.
    Content(Content),
}

pub(super) struct Content {
    pub(super) body: ureq::BodyReader<'static>,
    /// How long it is, if that was announced.
    pub(super) announced: Option<u64>,
    pub(super) validators: Validators,
}

/// Asks servers.
#[derive(Debug)]
pub(super) struct Client {
    clients: Clients,
    connect: Duration,
    stall: Duration,
}

impl Client {
    pub(super) fn new(config: &Config) -> Result<Self, FetchError> {
        let (connect, stall) = (config.connect, config.stall);
        let clients = Clients::new(config.certificates.as_deref(), connect, stall);
        let clients = clients.map_err(|NoCertificates { path, source }| {
            FetchError::own("read certificates from", path, source)
        })?;
        Ok(Self {
            clients,
            connect,
            stall,
        })
    }

    /// Asks for an item; with validators, only if it has changed since.
    pub(super) fn ask(
        &self,
        uri: &Uri,
        shown: &str,
        known: &Validators,
    ) -> Result<Answer, FetchError> {
        tracing::debug!(uri = shown, connect = ?self.connect, stall = ?self.stall, "asked for");
        let is_secure = uri.scheme_str() == Some("https");
        let client = self.clients.of(uri.host().unwrap_or_default());
        let request = client.get(uri).config().https_only(is_secure);
        let mut request = request.build();
        if let Some(etag) = &known.etag {
            request = request.header(IF_NONE_MATCH, etag);
        }
        if let Some(date) = &known.last_modified {
            request = request.header(IF_MODIFIED_SINCE, date);
        }
        let response = request.call().map_err(|error| failed(shown, error))?;
        let status = response.status().as_u16();
        match status {
            200 => {}
            304 if !known.is_empty() => return Ok(Answer::Same),
            _ => {
                let uri = shown.to_owned();
                return Err(FetchError::Status { uri, status });
            }
        }
        let text = |name: HeaderName| text_of(response.headers(), &name);
        let validators = Validators {
            etag: text(ETAG),
            last_modified: text(LAST_MODIFIED),
        };
        let announced = response.body().content_length();
        let announced = announced.or_else(|| text(CONTENT_LENGTH)?.parse().ok());
        let body = response.into_body().into_reader();
        Ok(Answer::Content(Content {
            body,
            announced,
            validators,
        }))
    }
}

fn text_of(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let text = headers.get(name)?.to_str().ok()?;
    (text.len() <= VALIDATOR_BYTES).then(|| text.to_owned())
}

fn failed(shown: &str, error: ureq::Error) -> FetchError {
    let uri = shown.to_owned();
    if let ureq::Error::Timeout(_) = error {
        return FetchError::Stalled { uri, received: 0 };
    }
    FetchError::Transfer {
        uri,
        received: 0,
        source: error.into_io(),
    }
}

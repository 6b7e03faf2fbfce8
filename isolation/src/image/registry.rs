//! One repository of a registry, by the distribution protocol (CT-66).
//!
//! Credentials go to the registry itself, and to the token server that it names, over `https:` if
//! the registry is asked over that; redirects do not get them. A token is asked for one repository,
//! to pull, whatever the registry would like.

use std::io::Read;
use std::sync::{Mutex, PoisonError};

use serde::Deserialize;
use ureq::http::header::{
    ACCEPT, AUTHORIZATION, CONTENT_RANGE, CONTENT_TYPE, RANGE, WWW_AUTHENTICATE,
};
use ureq::http::{HeaderValue, Response};
use ureq::{Agent, Body};

use super::credentials::{Challenge, Credentials, encoded};
use super::manifest::{DOCUMENT_BYTES, DOCUMENTS, Descriptor};
use super::transfer::Mover;
use super::{ImageError, Scheme};

/// What a token server's answer may have at most.
const TOKEN_BYTES: u64 = 1 << 20;
const CHALLENGE_CHARS: usize = 512;

/// A repository, for the time of one pull.
#[derive(Debug)]
pub(super) struct Registry<'r> {
    pub(super) agent: &'r Agent,
    pub(super) mover: Mover<'r>,
    pub(super) scheme: Scheme,
    pub(super) host: String,
    pub(super) repository: String,
    pub(super) credentials: Option<Credentials>,
    /// What was found to be the right `Authorization`.
    pub(super) authorization: Mutex<Option<String>>,
}

/// A blob on its way.
pub(super) struct Stream {
    pub(super) body: Box<dyn Read>,
    /// Where in the blob it begins.
    pub(super) from: u64,
}

#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

impl Registry<'_> {
    /// Asks for a document: its bytes, and what the registry calls its type.
    pub(super) fn document(&self, version: &str) -> Result<(Vec<u8>, Option<String>), ImageError> {
        let separator = if version.contains(':') { '@' } else { ':' };
        let what = format!("{}/{}{separator}{version}", self.host, self.repository);
        let response = self.ask(&what, &format!("manifests/{version}"), 0)?;
        let media_type = response.headers().get(CONTENT_TYPE);
        let media_type = media_type.and_then(|value| value.to_str().ok());
        let media_type = media_type.and_then(|text| text.split(';').next());
        let media_type = media_type.map(|text| text.trim().to_owned());
        let mut body = response.into_body().into_reader();
        let bytes = self.mover.whole(&what, &mut body, DOCUMENT_BYTES)?;
        Ok((bytes, media_type))
    }

    /// Asks for a blob, or for the rest of it.
    pub(super) fn blob(
        &self,
        what: &str,
        descriptor: &Descriptor,
        from: u64,
    ) -> Result<Stream, ImageError> {
        let path = format!("blobs/{}", descriptor.digest);
        let response = self.ask(what, &path, from)?;
        let from = match response.status().as_u16() {
            206 if is_from(&response, from) => from,
            206 => {
                let (what, status) = (what.to_owned(), 206);
                return Err(ImageError::Status { what, status });
            }
            _ => 0,
        };
        if let Some(announced) = response.body().content_length()
            && announced != descriptor.size.saturating_sub(from)
        {
            return Err(ImageError::Size {
                what: what.to_owned(),
                expected: descriptor.size,
                actual: from.saturating_add(announced),
            });
        }
        let body = Box::new(response.into_body().into_reader());
        Ok(Stream { body, from })
    }

    /// Asks, and says who asks if the registry wants to know.
    fn ask(&self, what: &str, path: &str, from: u64) -> Result<Response<Body>, ImageError> {
        self.mover.cancel.check()?;
        let base = format!("{}://{}/v2/{}", self.scheme, self.host, self.repository);
        let url = format!("{base}/{path}");
        let mut is_second = false;
        loop {
            let used = self.authorization().clone();
            let response = self.send(what, &url, used.as_deref(), from)?;
            let status = response.status().as_u16();
            let what = what.to_owned();
            match status {
                200 => return Ok(response),
                206 if from > 0 => return Ok(response),
                404 => return Err(ImageError::NotFound { what }),
                401 if !is_second => is_second = true,
                401 | 403 => return Err(ImageError::Denied { what, status }),
                _ => return Err(ImageError::Status { what, status }),
            }
            let mut authorization = self.authorization();
            // Another layer may have got it meanwhile.
            if *authorization == used {
                *authorization = None;
                *authorization = Some(self.authorize(&what, &response)?);
            }
        }
    }

    fn authorization(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        let held = self.authorization.lock();
        held.unwrap_or_else(PoisonError::into_inner)
    }

    fn send(
        &self,
        what: &str,
        url: &str,
        authorization: Option<&str>,
        from: u64,
    ) -> Result<Response<Body>, ImageError> {
        let is_secure = self.scheme == Scheme::Https;
        let request = self.agent.get(url).config().https_only(is_secure);
        let mut request = request.build();
        request = request.header(ACCEPT, format!("{}, */*;q=0.1", DOCUMENTS.join(", ")));
        if from > 0 {
            request = request.header(RANGE, format!("bytes={from}-"));
        }
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, secret(what, authorization)?);
        }
        request.call().map_err(|error| failed(what, error))
    }

    /// What the registry wants to have as `Authorization`.
    fn authorize(&self, what: &str, response: &Response<Body>) -> Result<String, ImageError> {
        let all = response.headers().get_all(WWW_AUTHENTICATE);
        let texts: Vec<_> = all.iter().filter_map(|value| value.to_str().ok()).collect();
        let shown = || {
            let joined = texts.join("; ");
            joined.chars().take(CHALLENGE_CHARS).collect::<String>()
        };
        let unknown = |reason| ImageError::Challenge {
            registry: self.host.clone(),
            challenge: shown(),
            reason,
        };
        if let Some(Credentials::Token(token)) = &self.credentials {
            return Ok(format!("Bearer {token}"));
        }
        let challenge = texts.iter().find_map(|text| Challenge::parse(text));
        match challenge {
            None => Err(unknown("neither Basic nor Bearer with a realm")),
            Some(Challenge::Basic) => match &self.credentials {
                Some(Credentials::Basic { username, password }) => {
                    Ok(Credentials::basic(username, password))
                }
                Some(Credentials::Token(_)) | None => Err(ImageError::Denied {
                    what: what.to_owned(),
                    status: 401,
                }),
            },
            Some(Challenge::Bearer { realm, service }) => {
                let is_secure = realm.starts_with("https://");
                let is_plain = realm.starts_with("http://") && self.scheme == Scheme::Http;
                if !is_secure && !is_plain {
                    return Err(unknown("its realm is less secure than the registry"));
                }
                self.token(what, &realm, service.as_deref())
            }
        }
    }

    /// Has a token made.
    fn token(&self, what: &str, realm: &str, service: Option<&str>) -> Result<String, ImageError> {
        let what = format!("a token for {what}");
        let separator = if realm.contains('?') { '&' } else { '?' };
        let scope = encoded(&format!("repository:{}:pull", self.repository));
        let mut url = format!("{realm}{separator}scope={scope}");
        if let Some(service) = service {
            url.push_str(&format!("&service={}", encoded(service)));
        }
        let authorization = match &self.credentials {
            Some(Credentials::Basic { username, password }) => {
                Some(Credentials::basic(username, password))
            }
            Some(Credentials::Token(_)) | None => None,
        };
        let response = self.send(&what, &url, authorization.as_deref(), 0)?;
        let status = response.status().as_u16();
        match status {
            200 => {}
            401 | 403 => return Err(ImageError::Denied { what, status }),
            _ => return Err(ImageError::Status { what, status }),
        }
        let mut body = response.into_body().into_reader();
        let bytes = self.mover.whole(&what, &mut body, TOKEN_BYTES)?;
        let malformed = |reason: &str| ImageError::Malformed {
            what: what.clone(),
            reason: reason.to_owned(),
        };
        // Not serde's words: they may quote the token.
        let token = serde_json::from_slice::<Token>(&bytes);
        let token = token.map_err(|_| malformed("no document of a token server"))?;
        let tokens = [token.token, token.access_token].into_iter().flatten();
        let token = tokens.into_iter().find(|token| !token.is_empty());
        let token = token.ok_or_else(|| malformed("no token is in it"))?;
        Ok(format!("Bearer {token}"))
    }
}

/// A header that is not logged.
fn secret(what: &str, text: &str) -> Result<HeaderValue, ImageError> {
    let mut value = HeaderValue::from_str(text).map_err(|_| ImageError::Malformed {
        what: format!("the authorization for {what}"),
        reason: "it has characters that no header can have".to_owned(),
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// Whether a part of a blob begins where it should.
fn is_from(response: &Response<Body>, from: u64) -> bool {
    let range = response.headers().get(CONTENT_RANGE);
    let range = range.and_then(|value| value.to_str().ok());
    let first = range.and_then(|text| text.strip_prefix("bytes ")?.split('-').next());
    first.and_then(|first| first.trim().parse().ok()) == Some(from)
}

fn failed(what: &str, error: ureq::Error) -> ImageError {
    let what = what.to_owned();
    if let ureq::Error::Timeout(_) = error {
        return ImageError::Stalled { what, received: 0 };
    }
    ImageError::Transfer {
        what,
        received: 0,
        source: error.into_io(),
    }
}

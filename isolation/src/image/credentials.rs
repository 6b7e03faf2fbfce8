//! Who asks registries, and how they want to be told (CT-66).

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use serde::Deserialize;

use super::ImageError;

/// A user of a registry.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Credentials {
    /// A name and a password, also where tokens are made for them.
    Basic {
        /// The name.
        username: String,
        /// The password.
        password: String,
    },
    /// A token that the registry takes as it is.
    Token(String),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Basic { username, .. } => write!(f, "Basic({username:?})"),
            Self::Token(_) => write!(f, "Token"),
        }
    }
}

impl Credentials {
    /// What stands in `Authorization`, of a name and a password.
    pub(super) fn basic(username: &str, password: &str) -> String {
        let both = STANDARD.encode(format!("{username}:{password}"));
        format!("Basic {both}")
    }
}

/// The credentials for some registries.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Keyring {
    entries: BTreeMap<String, Credentials>,
}

#[derive(Deserialize)]
struct DockerConfig {
    #[serde(default)]
    auths: BTreeMap<String, DockerAuth>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "lowercase")]
struct DockerAuth {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    registrytoken: Option<String>,
}

impl Keyring {
    /// Adds credentials for a registry: its host, with the port if it has one.
    pub fn add(&mut self, registry: impl Into<String>, credentials: Credentials) {
        self.entries.insert(registry.into(), credentials);
    }

    /// Reads the file that Docker keeps (`config.json`), also of an image's secret.
    ///
    /// An address stands for its host. Helper programs and identity tokens are not followed.
    pub fn from_docker_config(json: &[u8]) -> Result<Self, ImageError> {
        // Not serde's words: they may quote the file.
        let invalid = |error: serde_json::Error| {
            let (line, column) = (error.line(), error.column());
            ImageError::Credentials(format!("no configuration of Docker's: {line}:{column}"))
        };
        let config = serde_json::from_slice::<DockerConfig>(json).map_err(invalid)?;
        let mut keyring = Self::default();
        for (address, auth) in config.auths {
            let rest = address
                .split_once("://")
                .map_or(&*address, |(_, rest)| rest);
            let host = rest.split('/').next().unwrap_or(rest);
            let bare = host == address;
            let wrong = || {
                let shown = address.escape_debug();
                ImageError::Credentials(format!("those of {shown} are not name:password in base64"))
            };
            let Some(credentials) = credentials(auth).ok_or_else(wrong)? else {
                continue;
            };
            // The host itself goes before an address at it.
            if bare || !keyring.entries.contains_key(host) {
                keyring.add(host, credentials);
            }
        }
        Ok(keyring)
    }

    /// The credentials for a registry.
    pub(super) fn find(&self, registry: &str) -> Option<&Credentials> {
        self.entries.get(registry)
    }
}

/// `None` if they cannot be read; nothing in it if there are none.
fn credentials(auth: DockerAuth) -> Option<Option<Credentials>> {
    let given = |text: Option<String>| text.filter(|text| !text.is_empty());
    if let Some(token) = given(auth.registrytoken) {
        return Some(Some(Credentials::Token(token)));
    }
    if let (Some(username), Some(password)) = (given(auth.username), given(auth.password)) {
        return Some(Some(Credentials::Basic { username, password }));
    }
    let Some(both) = given(auth.auth) else {
        return Some(None);
    };
    let lenient =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let engine = GeneralPurpose::new(&base64::alphabet::STANDARD, lenient);
    let both = String::from_utf8(engine.decode(both.trim()).ok()?).ok()?;
    let (username, password) = both.split_once(':')?;
    Some(Some(Credentials::Basic {
        username: username.to_owned(),
        password: password.trim_end_matches('\0').to_owned(),
    }))
}

/// What a registry wants to know.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    Basic,
    Bearer {
        realm: String,
        service: Option<String>,
    },
}

impl Challenge {
    /// Reads one value of `WWW-Authenticate`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let (scheme, rest) = text.split_once(' ').unwrap_or((text, ""));
        if scheme.eq_ignore_ascii_case("basic") {
            return Some(Self::Basic);
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let mut parameters = parameters(rest)?;
        Some(Self::Bearer {
            realm: parameters.remove("realm")?,
            service: parameters.remove("service"),
        })
    }
}

/// `name=value` and `name="va\"lue"`, between commas.
fn parameters(text: &str) -> Option<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (name, value) = rest.split_once('=')?;
        let mut written = String::new();
        let end = match value.strip_prefix('"') {
            None => {
                let end = value.find(',').unwrap_or(value.len());
                written.push_str(value[..end].trim_end());
                end
            }
            Some(quoted) => {
                let mut characters = quoted.char_indices();
                loop {
                    match characters.next()? {
                        (at, '"') => break at + 2,
                        (_, '\\') => written.push(characters.next()?.1),
                        (_, plain) => written.push(plain),
                    }
                }
            }
        };
        found.insert(name.trim().to_ascii_lowercase(), written);
        rest = value[end..].trim_start();
        rest = match rest.strip_prefix(',') {
            Some(next) => next.trim_start(),
            None if rest.is_empty() => rest,
            None => return None,
        };
    }
    Some(found)
}

/// Writes a value of a query.
pub(super) fn encoded(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_of_dockers_has_credentials_by_host() {
        // CT-66
        let both = STANDARD.encode("alice:p:w");
        let text = format!(
            r#"{{"credsStore":"x","auths":{{
            "a.test:5000":{{"auth":"{both}"}},
            "https://b.test/v1/":{{"username":"bob","password":"pw"}},
            "b.test":{{"registrytoken":"t"}},
            "c.test":{{}}}}}}"#
        );
        let keyring = Keyring::from_docker_config(text.as_bytes()).unwrap();
        let basic = |username: &str, password: &str| Credentials::Basic {
            username: username.into(),
            password: password.into(),
        };
        assert_eq!(keyring.find("a.test:5000"), Some(&basic("alice", "p:w")));
        assert_eq!(
            keyring.find("b.test"),
            Some(&Credentials::Token("t".into()))
        );
        assert_eq!(keyring.find("c.test"), None);
        assert_eq!(keyring.find("a.test"), None);
        assert!(!format!("{keyring:?}").contains("p:w"));
        for bad in [
            r#"{"auths":{"a.test":{"auth":"%%"}}}"#,
            r#"{"auths":{"a.test":{"auth":"c2VjcmV0"}}}"#,
            r#"{"auths":"secret"}"#,
            "secret",
        ] {
            let error = Keyring::from_docker_config(bad.as_bytes()).unwrap_err();
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }

    #[test]
    fn challenges_are_read_and_broken_ones_are_not() {
        let bearer = |realm: &str, service: Option<&str>| Challenge::Bearer {
            realm: realm.into(),
            service: service.map(str::to_owned),
        };
        for (text, expected) in [
            ("Basic realm=\"x\"", Some(Challenge::Basic)),
            ("bearer realm=r", Some(bearer("r", None))),
            (
                r#"Bearer realm="http://t/a,b" , service="s \"q\"",scope="a:b:c""#,
                Some(bearer("http://t/a,b", Some("s \"q\""))),
            ),
            ("Bearer", None),
            ("Bearer service=x", None),
            ("Bearer realm=\"x", None),
            ("Bearer realm=\"x\" y", None),
            ("Digest realm=x", None),
            ("", None),
        ] {
            assert_eq!(Challenge::parse(text), expected, "{text}");
        }
        assert_eq!(encoded("a b:c/é"), "a%20b%3Ac%2F%C3%A9");
    }
}

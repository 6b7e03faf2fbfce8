//! How images are named: `[registry/]name[:tag][@digest]` (CT-66).

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use super::{Digest, ImageError};

const REFERENCE_BYTES: usize = 1_024;
const NAME_BYTES: usize = 255;
const TAG_BYTES: usize = 128;
const USUAL_TAG: &str = "latest";

/// The name of an image in a registry.
///
/// What stands before the first slash is a registry if it has a dot or a colon or is `localhost`;
/// there is no registry that would be meant otherwise, unless one is configured.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    registry: Option<String>,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// What is wrong with a reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReferenceFault {
    /// Empty, or longer than any.
    #[error("empty, or longer than {REFERENCE_BYTES} bytes")]
    Length,
    /// Before the first slash stands no host with or without a port.
    #[error("{0:?} is no registry: a host, and perhaps a port")]
    Registry(String),
    /// The name has other characters than it may.
    #[error(
        "{0:?} is no name: lower-case letters and digits, separated by slashes, dots, underscores \
         and dashes, at most {NAME_BYTES} bytes"
    )]
    Name(String),
    /// The tag has other characters than it may.
    #[error(
        "{0:?} is no tag: at most {TAG_BYTES} letters, digits, underscores, dots and dashes, of \
         which the last two do not begin it"
    )]
    Tag(String),
    /// What stands after `@` is no digest.
    #[error("{0:?} is no digest: sha256: with 64 or sha512: with 128 hexadecimal digits")]
    Digest(String),
}

impl Reference {
    /// The registry's host, perhaps with a port, if it is named.
    pub fn registry(&self) -> Option<&str> {
        self.registry.as_deref()
    }

    /// The name of the repository.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag, if it is named.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest that the image must have, if it is named.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// What manifests are asked for by: the digest, else the tag, else `latest`.
    pub(super) fn version(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => USUAL_TAG.to_owned(),
        }
    }

    /// The same with its registry and its version: names that mean the same become the same.
    ///
    /// The default is a registry, or a registry and a path below it, which stands before names of
    /// one component.
    pub(super) fn resolved(&self, default: Option<&str>) -> Result<Self, ImageError> {
        let mut resolved = self.clone();
        if resolved.registry.is_none() {
            let Some(default) = default else {
                let reference = self.to_string();
                return Err(ImageError::NoRegistry { reference });
            };
            let (registry, below) = default.split_once('/').unwrap_or((default, ""));
            let below = below.trim_end_matches('/');
            let repository = match below {
                "" => self.repository.clone(),
                _ if self.repository.contains('/') => self.repository.clone(),
                below => format!("{below}/{}", self.repository),
            };
            let invalid = |fault| ImageError::Reference {
                text: format!("{registry}/{repository}"),
                fault,
            };
            if !is_host(registry) {
                return Err(invalid(ReferenceFault::Registry(registry.to_owned())));
            }
            if !is_name(&repository) {
                return Err(invalid(ReferenceFault::Name(repository.clone())));
            }
            resolved.registry = Some(registry.to_owned());
            resolved.repository = repository;
        }
        match resolved.digest {
            // The digest says all: under another tag it is the same image.
            Some(_) => resolved.tag = None,
            None => resolved.tag = Some(self.version()),
        }
        Ok(resolved)
    }
}

impl FromStr for Reference {
    type Err = ImageError;

    fn from_str(text: &str) -> Result<Self, ImageError> {
        parse(text).map_err(|fault| ImageError::Reference {
            text: text.chars().take(REFERENCE_BYTES).collect(),
            fault,
        })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(registry) = &self.registry {
            write!(f, "{registry}/")?;
        }
        write!(f, "{}", self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

fn parse(text: &str) -> Result<Reference, ReferenceFault> {
    if text.is_empty() || text.len() > REFERENCE_BYTES {
        return Err(ReferenceFault::Length);
    }
    let (rest, digest) = match text.split_once('@') {
        None => (text, None),
        Some((rest, digest)) => {
            let fault = |_| ReferenceFault::Digest(digest.to_owned());
            (rest, Some(digest.parse::<Digest>().map_err(fault)?))
        }
    };
    let (registry, rest) = match rest.split_once('/') {
        Some((host, name)) if host == "localhost" || host.contains(['.', ':']) => {
            if !is_host(host) {
                return Err(ReferenceFault::Registry(host.to_owned()));
            }
            (Some(host.to_owned()), name)
        }
        _ => (None, rest),
    };
    let (name, tag) = match rest.split_once(':') {
        None => (rest, None),
        Some((name, tag)) if is_tag(tag) => (name, Some(tag.to_owned())),
        Some((_, tag)) => return Err(ReferenceFault::Tag(tag.to_owned())),
    };
    if !is_name(name) {
        return Err(ReferenceFault::Name(name.to_owned()));
    }
    Ok(Reference {
        registry,
        repository: name.to_owned(),
        tag,
        digest,
    })
}

/// A name or an address, and perhaps a port.
fn is_host(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, port)) => {
            if address.parse::<Ipv6Addr>().is_err() {
                return false;
            }
            ("v6", (!port.is_empty()).then_some(port))
        }
        None => match text.find(':') {
            Some(at) => (&text[..at], Some(&text[at..])),
            None => (text, None),
        },
    };
    let is_port = |port: &str| {
        let digits = port.strip_prefix(':').unwrap_or("");
        !digits.starts_with('+') && digits.parse::<u16>().is_ok_and(|port| port > 0)
    };
    let is_label = |label: &str| {
        let is_inner = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        !label.is_empty()
            && label.bytes().all(is_inner)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    host.split('.').all(is_label) && host.len() <= NAME_BYTES && port.is_none_or(is_port)
}

fn is_name(text: &str) -> bool {
    text.len() <= NAME_BYTES && text.split('/').all(is_component)
}

/// Runs of lower-case letters and digits between `.`, `_`, `__` or dashes.
fn is_component(text: &str) -> bool {
    let is_word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    let ends_well = |end: Option<&u8>| end.is_some_and(|b| is_word(*b));
    if !ends_well(bytes.first()) || !ends_well(bytes.last()) {
        return false;
    }
    let between = bytes.split(|b| is_word(*b)).filter(|gap| !gap.is_empty());
    let is_gap = |gap: &[u8]| matches!(gap, b"." | b"_" | b"__") || gap.iter().all(|b| *b == b'-');
    between.into_iter().all(is_gap)
}

fn is_tag(text: &str) -> bool {
    let is_inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    !text.is_empty()
        && text.len() <= TAG_BYTES
        && text.bytes().all(is_inner)
        && !text.starts_with(['.', '-'])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(text: &str, default: Option<&str>) -> String {
        let reference: Reference = text.parse().unwrap();
        reference.resolved(default).unwrap().to_string()
    }

    #[test]
    fn a_reference_has_a_registry_a_name_a_tag_and_a_digest() {
        // CT-66
        let sum = format!("sha256:{}", "a".repeat(64));
        let text = format!("reg.test:5000/a/b-c__d.e:V1.2@{sum}");
        let reference: Reference = text.parse().unwrap();
        assert_eq!(reference.registry(), Some("reg.test:5000"));
        assert_eq!(reference.repository(), "a/b-c__d.e");
        assert_eq!(reference.tag(), Some("V1.2"));
        assert_eq!(reference.digest().unwrap().to_string(), sum);
        assert_eq!(reference.to_string(), text);
        for (text, registry, repository) in [
            ("a", None, "a"),
            ("a/b", None, "a/b"),
            ("localhost/a", Some("localhost"), "a"),
            ("host:1/a", Some("host:1"), "a"),
            ("[::1]:5000/a", Some("[::1]:5000"), "a"),
            ("a.b/c/d", Some("a.b"), "c/d"),
        ] {
            let reference: Reference = text.parse().unwrap();
            assert_eq!(reference.registry(), registry, "{text}");
            assert_eq!(reference.repository(), repository, "{text}");
        }
        let long = "x".repeat(256);
        for bad in [
            "",
            "/a",
            "a/",
            "A",
            "a//b",
            "a:",
            "a:.b",
            "a:-b",
            "a:b:c",
            "a@b",
            "a__-b",
            "a___b",
            "-a",
            "a-",
            "host:0/a",
            "host:x/a",
            "host:+1/a",
            "-h.x/a",
            "[::g]/a",
            "[::1]x/a",
            "a.b/",
            "http://a.b/c",
            "a\n",
            "a b",
            "../a",
            "a.b/../c",
            &long,
        ] {
            assert!(bad.parse::<Reference>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_reference_without_a_registry_needs_one_configured() {
        // CT-66
        let reference: Reference = "a".parse().unwrap();
        let error = reference.resolved(None).unwrap_err();
        assert!(matches!(error, ImageError::NoRegistry { .. }), "{error}");
        let hub = Some("hub.test:5000/library");
        assert_eq!(resolved("a", Some("hub.test")), "hub.test/a:latest");
        assert_eq!(resolved("a", hub), "hub.test:5000/library/a:latest");
        assert_eq!(resolved("a/b:1", hub), "hub.test:5000/a/b:1");
        assert_eq!(resolved("own.test/a", hub), "own.test/a:latest");
        let sum = format!("sha256:{}", "a".repeat(64));
        let expected = format!("hub.test/a@{sum}");
        assert_eq!(resolved(&format!("a:1@{sum}"), Some("hub.test")), expected);
        for bad in ["no host", "hub.test/UPPER", ""] {
            assert!(reference.resolved(Some(bad)).is_err(), "{bad:?}");
        }
    }
}

//! What a store of images is told once.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::{Keyring, Platform};
use crate::content::Limits;
use crate::content::destination::is_here;

const GIB: u64 = 1 << 30;

/// How registries are asked, and what is borne of images.
#[derive(Debug, Clone)]
pub struct Options {
    /// The registry of references without one: a host, perhaps with a port and with a path, which
    /// stands before names of one component. Without it such references are refused.
    pub default_registry: Option<String>,
    /// How registries are asked that are not asked as usual: over HTTP if the host is on loopback
    /// (`localhost`, `127.0.0.0/8`, `[::1]`), else over HTTPS. By host, with the port if it has
    /// one.
    pub schemes: BTreeMap<String, Scheme>,
    /// Certificates that registries are trusted by, in PEM. Without it the host's own.
    pub certificates: Option<PathBuf>,
    /// Who asks, unless a request says otherwise.
    pub keyring: Keyring,
    /// For which platform images are, unless a request says otherwise.
    pub platform: Platform,
    /// How long an address is looked for, and connected to.
    pub connect: Duration,
    /// A transfer that moves less than one byte a second for so long is given up.
    pub stall: Duration,
    /// How often a request is tried in all.
    pub attempts: u32,
    /// How long it is waited after the first attempt; each time twice as long, at most 10 s.
    pub pause: Duration,
    /// How many layers of an image are brought at the same time.
    pub parallel: usize,
    /// What is too much: the size of a layer packed (`item_bytes`) and unpacked, its growth, and
    /// its entries. Also the entries of an archive of an image.
    pub limits: Limits,
}

/// How a registry is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// Unprotected.
    Http,
    /// With a certificate.
    Https,
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http => "http",
            Self::Https => "https",
        })
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            default_registry: None,
            schemes: BTreeMap::new(),
            certificates: None,
            keyring: Keyring::default(),
            platform: Platform::host(),
            connect: Duration::from_secs(30),
            stall: Duration::from_secs(60),
            attempts: 4,
            pause: Duration::from_millis(500),
            parallel: 3,
            limits: Limits {
                // Models and databases are in images too.
                ratio_floor_bytes: GIB,
                entries: 4_000_000,
                depth: 128,
                ..Limits::default()
            },
        }
    }
}

impl Options {
    pub(super) fn scheme(&self, registry: &str) -> Scheme {
        let usual = if is_here(registry) {
            Scheme::Http
        } else {
            Scheme::Https
        };
        self.schemes.get(registry).copied().unwrap_or(usual)
    }

    /// Whether a registry may be this machine: by its name, or because the operator named it.
    pub(super) fn may_be_here(&self, registry: &str) -> bool {
        let is_default = self.default_registry.as_deref() == Some(registry);
        is_default || self.schemes.contains_key(registry) || is_here(registry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_and_what_is_configured_is_asked_without_tls() {
        // CT-66
        let mut options = Options::default();
        options.schemes.insert("own.test:80".into(), Scheme::Http);
        options
            .schemes
            .insert("127.0.0.1:443".into(), Scheme::Https);
        for (registry, scheme) in [
            ("localhost", Scheme::Http),
            ("localhost:5000", Scheme::Http),
            ("127.1.2.3:5000", Scheme::Http),
            ("[::1]:5000", Scheme::Http),
            ("own.test:80", Scheme::Http),
            ("127.0.0.1:443", Scheme::Https),
            ("own.test", Scheme::Https),
            ("localhost.test", Scheme::Https),
            ("127.0.0.1.test", Scheme::Https),
            ("10.0.0.1:5000", Scheme::Https),
            ("[::2]:5000", Scheme::Https),
        ] {
            assert_eq!(options.scheme(registry), scheme, "{registry}");
        }
    }
}

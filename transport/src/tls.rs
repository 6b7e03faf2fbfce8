//! Mutual TLS: who a certificate says its bearer is, and the settings of both sides.
//!
//! Called by the QUIC endpoint and by `tepui cert`. The *ring* provider is named explicitly
//! everywhere: a process-wide default would be a hidden input. Deliberately not here: making
//! certificates (see [`crate::authority`]), sockets.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use ring::hmac;
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::CertifiedKey;
use tepui_core::auth::{PeerRole, Principal};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use crate::authority::{CA_FILE, CERT_FILE, KEY_FILE, Validity};

/// The application protocol that both sides must name.
pub const ALPN: &[u8] = b"tepui/1";
/// What stands before role and name in a certificate. The host part is kept for a cluster's id.
const URI_PREFIX: &str = "tepui://any/";
/// The longest name in a certificate.
const NAME_BYTES: usize = 128;

/// What is wrong with certificates, keys, or their files.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file or directory cannot be used.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file that is not there or cannot be read.
    #[error("cannot read {}: {source}; expected {expected}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What should be in it.
        expected: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// A file holds something else.
    #[error("{} does not hold {expected}: {problem}", path.display())]
    Invalid {
        /// Which file.
        path: PathBuf,
        /// What should be in it.
        expected: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// A file is there already; keys are never overwritten.
    #[error("{} exists already and is not overwritten", path.display())]
    Exists {
        /// Which file.
        path: PathBuf,
    },
    /// A certificate could not be made.
    #[error("cannot make a certificate for {}: {problem}", path.display())]
    Issue {
        /// The directory that it was for.
        path: PathBuf,
        /// Why not.
        problem: String,
    },
    /// A name cannot stand in a certificate.
    #[error(
        "invalid name {name:?}: expected 1 to 128 letters, digits, '.', '-' or '_', \
         beginning with a letter or digit"
    )]
    Name {
        /// The name.
        name: String,
    },
    /// A certificate names nobody.
    #[error("the certificate names no peer of a cluster: {problem}")]
    NoPrincipal {
        /// What is missing.
        problem: String,
    },
    /// A certificate does not hold now.
    #[error("the certificate is {problem}")]
    NotValidNow {
        /// Too early or too late, and by the certificate's own words until when.
        problem: String,
    },
    /// The settings were refused by the TLS library.
    #[error("cannot set up TLS from {}: {problem}", path.display())]
    Setup {
        /// Where the certificates are from.
        path: PathBuf,
        /// Why.
        problem: String,
    },
}

impl TlsError {
    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io {
            action,
            path: path.into(),
            source,
        }
    }

    pub(crate) fn issue(path: &Path, source: rcgen::Error) -> Self {
        Self::Issue {
            path: path.into(),
            problem: source.to_string(),
        }
    }

    pub(crate) fn invalid(path: &Path, expected: &'static str, problem: String) -> Self {
        Self::Invalid {
            path: path.into(),
            expected,
            problem,
        }
    }
}

/// One peer's certificate and key, and the authority that it trusts.
pub struct Credentials {
    dir: PathBuf,
    principal: Principal,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    roots: Arc<RootCertStore>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The key stays out of logs.
        f.debug_struct("Credentials")
            .field("dir", &self.dir)
            .field("principal", &self.principal)
            .finish_non_exhaustive()
    }
}

impl Credentials {
    /// Reads `ca.pem`, `cert.pem` and `key.pem` from `dir`.
    pub fn load(dir: &Path) -> Result<Self, TlsError> {
        let ca_path = dir.join(CA_FILE);
        let ca_pem = read_text(&ca_path, "the authority's certificate in PEM")?;
        let mut roots = RootCertStore::empty();
        for authority in certificates(&ca_path, &ca_pem)? {
            roots.add(authority).map_err(|_| {
                let expected = "the authority's certificate in PEM";
                TlsError::invalid(&ca_path, expected, "it is no certificate".into())
            })?;
        }
        let cert_path = dir.join(CERT_FILE);
        let chain = certificates(
            &cert_path,
            &read_text(&cert_path, "a peer's certificate in PEM")?,
        )?;
        let expected = "a certificate issued by `tepui cert issue`";
        let principal = principal_of(&chain)
            .map_err(|error| TlsError::invalid(&cert_path, expected, error.to_string()))?;
        if let Err(error) = check_validity(&chain, SystemTime::now()) {
            tracing::warn!(path = %cert_path.display(), %error, "peers will refuse us");
        }
        let key_path = dir.join(KEY_FILE);
        let expected = "a peer's private key in PEM";
        let key = PrivateKeyDer::from_pem_slice(read_text(&key_path, expected)?.as_bytes())
            .map_err(|error| TlsError::invalid(&key_path, expected, plain(&error)))?;
        check_key(&key_path, &chain, &key)?;
        Ok(Self {
            dir: dir.into(),
            principal,
            chain,
            key,
            roots: Arc::new(roots),
        })
    }

    /// Returns who they say that we are.
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// Returns from when until when our certificate holds.
    pub fn validity(&self) -> Result<Validity, TlsError> {
        let leaf = leaf(&self.chain)?;
        let moment = |seconds: i64| {
            // A certificate from before 1970 is as good as one from then on.
            UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
        };
        Ok(Validity {
            not_before: moment(leaf.validity().not_before.timestamp()),
            not_after: moment(leaf.validity().not_after.timestamp()),
        })
    }

    /// Returns the settings for listening: every client must prove who it is.
    pub fn server_config(&self) -> Result<QuicServerConfig, TlsError> {
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&self.roots), provider())
                .build()
                .map_err(|error| self.setup(&error))?;
        let mut config = rustls::ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| self.setup(&error))?
            .with_client_cert_verifier(verifier)
            .with_single_cert(self.chain.clone(), self.key.clone_key())
            .map_err(|error| self.setup(&error))?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        // Without state, so that a crowd that comes back is not limited by a cache.
        config.ticketer = rustls::crypto::ring::Ticketer::new().map_err(|e| self.setup(&e))?;
        QuicServerConfig::try_from(config).map_err(|error| self.setup(&error))
    }

    /// Returns the settings for dialing: the listener must belong to our authority, and to the role
    /// whose DNS name is asked for.
    pub fn client_config(&self) -> Result<QuicClientConfig, TlsError> {
        let mut config = rustls::ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| self.setup(&error))?
            .with_root_certificates(Arc::clone(&self.roots))
            .with_client_auth_cert(self.chain.clone(), self.key.clone_key())
            .map_err(|error| self.setup(&error))?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        QuicClientConfig::try_from(config).map_err(|error| self.setup(&error))
    }

    /// Derives a key that only the bearer of our private key knows, the same whenever it is asked
    /// for.
    pub(crate) fn derive(&self, purpose: &str) -> [u8; 32] {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.key.secret_der());
        let tag = hmac::sign(&key, purpose.as_bytes());
        let bytes = tag.as_ref().try_into();
        bytes.expect("a tag of HMAC-SHA-256 has 32 bytes")
    }

    fn setup(&self, problem: &dyn fmt::Display) -> TlsError {
        TlsError::Setup {
            path: self.dir.clone(),
            problem: problem.to_string(),
        }
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Reads who the bearer of a verified chain is.
pub fn principal_of(chain: &[CertificateDer<'_>]) -> Result<Principal, TlsError> {
    let nobody = |problem: &str| TlsError::NoPrincipal {
        problem: problem.into(),
    };
    let certificate = leaf(chain)?;
    let names = certificate
        .subject_alternative_name()
        .map_err(|error| nobody(&error.to_string()))?
        .ok_or_else(|| nobody("it has no alternative names"))?;
    let mut principals = names.value.general_names.iter().filter_map(|name| {
        // Foreign type: everything but an address of ours is passed over.
        if let GeneralName::URI(uri) = name {
            uri.strip_prefix(URI_PREFIX)
        } else {
            None
        }
    });
    let path = principals
        .next()
        .ok_or_else(|| nobody("no alternative name begins with tepui://any/"))?;
    if principals.next().is_some() {
        return Err(nobody("it names more than one peer"));
    }
    let (role, name) = path
        .split_once('/')
        .ok_or_else(|| nobody("its address has no name"))?;
    let role = role
        .parse::<PeerRole>()
        .map_err(|error| nobody(&error.to_string()))?;
    check_name(name)?;
    Ok(Principal {
        role,
        name: name.into(),
    })
}

/// Checks that a chain's first certificate holds at `now`.
///
/// Verification does this too, but not when a session is resumed.
pub fn check_validity(chain: &[CertificateDer<'_>], now: SystemTime) -> Result<(), TlsError> {
    let certificate = leaf(chain)?;
    let validity = certificate.validity();
    let seconds = now.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let now = i64::try_from(seconds).unwrap_or(i64::MAX);
    let problem = if now > validity.not_after.timestamp() {
        format!("expired since {}", validity.not_after)
    } else if now < validity.not_before.timestamp() {
        format!("not valid before {}", validity.not_before)
    } else {
        return Ok(());
    };
    Err(TlsError::NotValidNow { problem })
}

/// Returns the address that stands for a principal in its certificate.
pub(crate) fn principal_uri(principal: &Principal) -> Result<String, TlsError> {
    check_name(&principal.name)?;
    Ok(format!("{URI_PREFIX}{}/{}", principal.role, principal.name))
}

pub(crate) fn read_text(path: &Path, expected: &'static str) -> Result<String, TlsError> {
    fs::read_to_string(path).map_err(|source| TlsError::Read {
        path: path.into(),
        expected,
        source,
    })
}

pub(crate) fn one_certificate(path: &Path, pem: &str) -> Result<CertificateDer<'static>, TlsError> {
    Ok(certificates(path, pem)?.swap_remove(0))
}

/// Checks that an authority's certificate may sign, and belongs to its key.
pub(crate) fn check_authority(
    path: &Path,
    certificate: &CertificateDer<'_>,
    key: &rcgen::KeyPair,
) -> Result<(), TlsError> {
    let wrong = |problem: &str| {
        TlsError::invalid(path, "the certificate of the authority", problem.to_owned())
    };
    let parsed = leaf(std::slice::from_ref(certificate)).map_err(|e| wrong(&e.to_string()))?;
    if !parsed.is_ca() {
        return Err(wrong("it may not sign others"));
    }
    if parsed.public_key().subject_public_key.data.as_ref() != key.public_key_raw() {
        return Err(wrong("it belongs to another key"));
    }
    Ok(())
}

fn check_name(name: &str) -> Result<(), TlsError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let good = name.len() <= NAME_BYTES
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(allowed);
    if good {
        Ok(())
    } else {
        Err(TlsError::Name {
            name: name.chars().take(NAME_BYTES).collect(),
        })
    }
}

/// Checks that a key is of a kind that can be used, and that of its certificate.
fn check_key(
    path: &Path,
    chain: &[CertificateDer<'static>],
    key: &PrivateKeyDer<'static>,
) -> Result<(), TlsError> {
    let checked = CertifiedKey::from_der(chain.to_vec(), key.clone_key(), &provider());
    let Err(error) = checked else {
        return Ok(());
    };
    let problem = if matches!(error, rustls::Error::InconsistentKeys(_)) {
        "it is the key of another certificate"
    } else {
        "it is no key that can be used"
    };
    let expected = "the private key of the certificate beside it";
    Err(TlsError::invalid(path, expected, problem.into()))
}

/// Says what is wrong with a file in PEM, without the bytes that the library's own words show.
fn plain(error: &pem::Error) -> String {
    // A foreign enum, to which later versions add.
    let plain = if matches!(error, pem::Error::MissingSectionEnd { .. }) {
        "its end is missing"
    } else if matches!(error, pem::Error::IllegalSectionStart { .. }) {
        "a line that begins with ----- is broken"
    } else if matches!(error, pem::Error::Base64Decode(_)) {
        "it is damaged: a line is not base64"
    } else if matches!(error, pem::Error::NoItemsFound) {
        "there is none in it"
    } else {
        return error.to_string();
    };
    plain.into()
}

/// Reads all certificates of a file; there is at least one.
fn certificates(path: &Path, pem: &str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let invalid = |problem: String| TlsError::invalid(path, "certificates in PEM", problem);
    let chain = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| invalid(plain(&error)))?;
    if chain.is_empty() {
        return Err(invalid("there is none in it".into()));
    }
    Ok(chain)
}

fn leaf<'a>(chain: &'a [CertificateDer<'_>]) -> Result<X509Certificate<'a>, TlsError> {
    let nobody = |problem: String| TlsError::NoPrincipal { problem };
    let first = chain
        .first()
        .ok_or_else(|| nobody("there is no certificate".into()))?;
    let (_, certificate) =
        X509Certificate::from_der(first).map_err(|_| nobody("it is no certificate".into()))?;
    Ok(certificate)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::authority::{Authority, CA_KEY_FILE, Validity};

    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn principal(role: PeerRole, name: &str) -> Principal {
        Principal {
            role,
            name: name.into(),
        }
    }

    #[test]
    fn an_issued_certificate_says_who_it_is_for() {
        // SE-30
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::create(&dir.path().join("ca")).unwrap();
        for role in PeerRole::ALL {
            let out = dir.path().join(role.as_str());
            let who = principal(role, "n-1.example_x");
            authority
                .issue(&who, Validity::for_the_next(DAY), &out)
                .unwrap();
            let credentials = Credentials::load(&out).unwrap();
            assert_eq!(*credentials.principal(), who);
            let validity = credentials.validity().unwrap();
            let left = validity
                .not_after
                .duration_since(SystemTime::now())
                .unwrap();
            assert!(
                DAY - left < Duration::from_secs(60) && left <= DAY,
                "{left:?}"
            );
            assert!(validity.not_before < SystemTime::now());
            credentials.server_config().unwrap();
            credentials.client_config().unwrap();
            assert!(check_validity(&credentials.chain, SystemTime::now()).is_ok());
            for wrong in [SystemTime::now() + 2 * DAY, SystemTime::now() - DAY] {
                let error = check_validity(&credentials.chain, wrong).unwrap_err();
                assert!(matches!(error, TlsError::NotValidNow { .. }), "{error}");
            }
            let leaf = leaf(&credentials.chain).unwrap();
            assert!(!leaf.is_ca());
            let usage = leaf.key_usage().unwrap().unwrap().value;
            assert!(!usage.key_cert_sign(), "a peer may not sign others");
        }
    }

    #[test]
    fn keys_are_private_and_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let ca = dir.path().join("ca");
        let authority = Authority::create(&ca).unwrap();
        let out = dir.path().join("a");
        let who = principal(PeerRole::Agent, "a");
        let validity = Validity::for_the_next(DAY);
        authority.issue(&who, validity, &out).unwrap();
        for path in [ca.join(CA_KEY_FILE), out.join(KEY_FILE)] {
            let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, 0o600, "{}", path.display());
        }
        assert_eq!(
            fs::metadata(&ca).unwrap().permissions().mode() & 0o777,
            0o700
        );
        let error = Authority::create(&ca).unwrap_err().to_string();
        assert!(
            error.ends_with("exists already and is not overwritten"),
            "{error}"
        );
        let error = authority.issue(&who, validity, &out).unwrap_err();
        assert!(matches!(error, TlsError::Exists { .. }), "{error}");
    }

    #[test]
    fn names_that_could_be_misread_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::create(dir.path()).unwrap();
        for name in ["", "a/b", "..", "a b", "é", "-a", &"x".repeat(129)] {
            let who = principal(PeerRole::Agent, name);
            let error = authority
                .issue(&who, Validity::for_the_next(DAY), &dir.path().join("out"))
                .unwrap_err();
            assert!(matches!(error, TlsError::Name { .. }), "{name:?}: {error}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said_in_plain_words() {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::create(&dir.path().join("ca")).unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        for out in [&a, &b] {
            let who = principal(PeerRole::Agent, "a");
            let validity = Validity::for_the_next(DAY);
            authority.issue(&who, validity, out).unwrap();
        }
        let foreign = fs::read_to_string(b.join(KEY_FILE)).unwrap();
        for (file, content, problem) in [
            (CA_FILE, None, "its end is missing"),
            (CERT_FILE, None, "its end is missing"),
            (KEY_FILE, None, "its end is missing"),
            (CA_FILE, Some("garbage"), "there is none in it"),
            (KEY_FILE, Some("garbage"), "there is none in it"),
            (
                CERT_FILE,
                Some("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
                "it is no certificate",
            ),
            (
                CA_FILE,
                Some("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
                "it is no certificate",
            ),
            (
                CERT_FILE,
                Some("-----BEGIN CERTIFICATE-----\n?\n-----END CERTIFICATE-----\n"),
                "a line is not base64",
            ),
            (
                KEY_FILE,
                Some("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"),
                "it is no key that can be used",
            ),
            (
                KEY_FILE,
                Some(&foreign),
                "it is the key of another certificate",
            ),
        ] {
            let path = a.join(file);
            let good = fs::read_to_string(&path).unwrap();
            fs::write(&path, content.unwrap_or(&good[..good.len() / 2])).unwrap();
            let error = Credentials::load(&a).unwrap_err().to_string();
            assert!(error.starts_with(&path.display().to_string()), "{error}");
            assert!(error.contains(problem), "{file} {content:?}: {error}");
            assert!(!error.contains(", 6"), "no bytes: {error}");
            fs::write(&path, good).unwrap();
        }
        Credentials::load(&a).unwrap();
    }

    #[test]
    fn errors_name_the_file_and_what_was_expected() {
        let dir = tempfile::tempdir().unwrap();
        let error = Credentials::load(dir.path()).unwrap_err().to_string();
        assert!(error.contains("ca.pem"), "{error}");
        assert!(
            error.contains("expected the authority's certificate in PEM"),
            "{error}"
        );
        let ca = dir.path().join("ca");
        Authority::create(&ca).unwrap();
        let error = Authority::open(&dir.path().join("none"))
            .unwrap_err()
            .to_string();
        assert!(error.contains("none/ca-key.pem"), "{error}");
        let key = fs::read(ca.join(CA_KEY_FILE)).unwrap();
        for damaged in [&key[..key.len() / 2], b"nonsense"] {
            fs::write(ca.join(CA_KEY_FILE), damaged).unwrap();
            let error = Authority::open(&ca).unwrap_err().to_string();
            assert!(
                error.ends_with("it is damaged, or something else"),
                "{error}"
            );
        }
        fs::write(ca.join(CA_KEY_FILE), key).unwrap();
        fs::write(ca.join(CA_FILE), "nonsense").unwrap();
        let error = Authority::open(&ca).unwrap_err().to_string();
        assert!(
            error.contains("ca.pem does not hold certificates"),
            "{error}"
        );
        // The certificate of one authority with the key of another signs nothing that verifies.
        let other = dir.path().join("other");
        Authority::create(&other).unwrap();
        fs::copy(other.join(CA_FILE), ca.join(CA_FILE)).unwrap();
        let error = Authority::open(&ca).unwrap_err().to_string();
        assert!(error.contains("it belongs to another key"), "{error}");
    }
}

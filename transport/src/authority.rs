//! A cluster's own certificate authority, and the certificates that it issues.
//!
//! Called by `tepui cert init`, `tepui cert issue` and the embedded cluster. Deliberately not here:
//! revocation. A certificate ends with its validity, or with its authority.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use tepui_core::auth::{PeerRole, Principal};

use crate::tls::{self, TlsError};

/// The authority's certificate, in its own directory and in that of every peer.
pub const CA_FILE: &str = "ca.pem";
/// The authority's key.
pub const CA_KEY_FILE: &str = "ca-key.pem";
/// A peer's certificate.
pub const CERT_FILE: &str = "cert.pem";
/// A peer's key.
pub const KEY_FILE: &str = "key.pem";

const AUTHORITY_VALIDITY: Duration = Duration::from_secs(20 * 365 * 24 * 3600);
/// Clocks of a cluster differ a little: what is issued now must hold everywhere at once.
const CLOCK_SKEW: Duration = Duration::from_secs(3600);

/// From when until when a certificate holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// Its first moment.
    pub not_before: SystemTime,
    /// Its last moment.
    pub not_after: SystemTime,
}

impl Validity {
    /// From an hour ago, for clocks differ, until `duration` from now.
    pub fn for_the_next(duration: Duration) -> Self {
        let now = SystemTime::now();
        Self {
            not_before: now - CLOCK_SKEW,
            not_after: now + duration,
        }
    }
}

/// A certificate authority in a directory.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate_pem: String,
    dir: PathBuf,
}

impl Authority {
    /// Makes a new authority in `dir`, which must not hold one yet.
    pub fn create(dir: &Path) -> Result<Self, TlsError> {
        private_dir(dir)?;
        let key = KeyPair::generate().map_err(|source| TlsError::issue(dir, source))?;
        let mut params = CertificateParams::default();
        // Of one name each: a peer of another authority is then told so, not "bad signature".
        let id = params.key_identifier(&key);
        let id: String = id
            .iter()
            .take(8)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, format!("Tepui authority {id}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        set_validity(&mut params, Validity::for_the_next(AUTHORITY_VALIDITY));
        let certificate = params
            .self_signed(&key)
            .map_err(|source| TlsError::issue(dir, source))?;
        // The key first: whoever finds it knows that the directory is taken.
        write_new(&dir.join(CA_KEY_FILE), key.serialize_pem().as_bytes())?;
        write_new(&dir.join(CA_FILE), certificate.pem().as_bytes())?;
        Self::open(dir)
    }

    /// Opens the authority in `dir`.
    pub fn open(dir: &Path) -> Result<Self, TlsError> {
        let (key_path, ca_path) = (dir.join(CA_KEY_FILE), dir.join(CA_FILE));
        // What the library says about it is of no use to whoever has the file.
        let invalid = |path: &Path, expected: &'static str| {
            TlsError::invalid(path, expected, "it is damaged, or something else".into())
        };
        let key = KeyPair::from_pem(&tls::read_text(&key_path, "the authority's key in PEM")?)
            .map_err(|_| invalid(&key_path, "the authority's key in PEM"))?;
        let certificate_pem = tls::read_text(&ca_path, "the authority's certificate in PEM")?;
        let certificate = tls::one_certificate(&ca_path, &certificate_pem)?;
        let issuer = Issuer::from_ca_cert_der(&certificate, key)
            .map_err(|_| invalid(&ca_path, "the authority's certificate in PEM"))?;
        tls::check_authority(&ca_path, &certificate, issuer.key())?;
        Ok(Self {
            issuer,
            certificate_pem,
            dir: dir.to_owned(),
        })
    }

    /// Returns the directory that it lives in.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Issues a certificate for `principal` and writes it, its key and the authority's certificate
    /// to `out`, where none may be yet.
    pub fn issue(
        &self,
        principal: &Principal,
        validity: Validity,
        out: &Path,
    ) -> Result<(), TlsError> {
        let params = peer_params(principal, validity)?;
        private_dir(out)?;
        let key = KeyPair::generate().map_err(|source| TlsError::issue(out, source))?;
        let certificate = params
            .signed_by(&key, &self.issuer)
            .map_err(|source| TlsError::issue(out, source))?;
        write_new(&out.join(KEY_FILE), key.serialize_pem().as_bytes())?;
        write_new(&out.join(CERT_FILE), certificate.pem().as_bytes())?;
        write_new(&out.join(CA_FILE), self.certificate_pem.as_bytes())
    }
}

/// Returns the DNS name that stands in every certificate of a role, and by which it is dialed.
pub fn dns_name(role: PeerRole) -> &'static str {
    match role {
        PeerRole::Master => "master.tepui",
        PeerRole::Agent => "agent.tepui",
        PeerRole::Framework => "framework.tepui",
        PeerRole::Operator => "operator.tepui",
    }
}

fn peer_params(principal: &Principal, validity: Validity) -> Result<CertificateParams, TlsError> {
    let uri = tls::principal_uri(principal)?;
    let ascii = |text: &str| Ia5String::try_from(text).expect("roles and checked names are ASCII");
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, principal.to_string());
    params.subject_alt_names = vec![
        SanType::URI(ascii(&uri)),
        SanType::DnsName(ascii(dns_name(principal.role))),
    ];
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    // Agents and masters both listen and dial; frameworks may come to listen.
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ClientAuth,
        ExtendedKeyUsagePurpose::ServerAuth,
    ];
    params.use_authority_key_identifier_extension = true;
    set_validity(&mut params, validity);
    Ok(params)
}

fn set_validity(params: &mut CertificateParams, validity: Validity) {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let at = |time: SystemTime| {
        let seconds = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        epoch + Duration::from_secs(seconds.as_secs())
    };
    params.not_before = at(validity.not_before);
    params.not_after = at(validity.not_after);
}

/// Makes `dir` and its parents; what is new is readable by its owner only.
pub(crate) fn private_dir(dir: &Path) -> Result<(), TlsError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|source| TlsError::io("create", dir, source))
}

/// Writes a file that must not exist yet, readable by its owner only, and makes it durable.
fn write_new(path: &Path, content: &[u8]) -> Result<(), TlsError> {
    let mut file = match OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
    {
        Ok(file) => file,
        Err(source) if source.kind() == io::ErrorKind::AlreadyExists => {
            return Err(TlsError::Exists { path: path.into() });
        }
        Err(source) => return Err(TlsError::io("create", path, source)),
    };
    let result = file.write_all(content).and_then(|()| file.sync_all());
    result.map_err(|source| {
        // Half a key is worse than none, and would block the next attempt.
        let removed = fs::remove_file(path);
        tracing::debug!(path = %path.display(), ?removed, "removed an incomplete file");
        TlsError::io("write", path, source)
    })
}

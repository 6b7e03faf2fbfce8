//! Certificates for a try on one machine: a master that listens on loopback only and is given no
//! certificate makes an authority and one certificate a role.
//!
//! Called by `tepui-master` and the embedded cluster. Deliberately not for other addresses: there
//! the authority's key must not lie on the machine that listens.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tepui_core::auth::{PeerRole, Principal};
use tepui_transport::authority::{Authority, CA_KEY_FILE, CERT_FILE, Validity};
use tepui_transport::tls::TlsError;

const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// Makes what is missing of an authority in `WORK_DIR/ca` and of certificates in
/// `WORK_DIR/tls/<role>`; returns the latter directory.
pub(crate) fn ensure(work_dir: &Path) -> Result<PathBuf, TlsError> {
    let ca = ca_dir(work_dir);
    let authority = match ca.join(CA_KEY_FILE).exists() {
        true => Authority::open(&ca)?,
        false => Authority::create(&ca)?,
    };
    let tls = tls_dir(work_dir);
    for role in PeerRole::ALL {
        let out = tls.join(role.as_str());
        // The certificate is written after the key, so whoever has one has both.
        if out.join(CERT_FILE).exists() {
            continue;
        }
        let principal = Principal {
            role,
            name: "local".into(),
        };
        authority.issue(&principal, Validity::for_the_next(YEAR), &out)?;
    }
    Ok(tls)
}

/// Returns the directory with one directory a role.
pub(crate) fn tls_dir(work_dir: &Path) -> PathBuf {
    work_dir.join("tls")
}

/// Returns the directory of the authority.
pub(crate) fn ca_dir(work_dir: &Path) -> PathBuf {
    work_dir.join("ca")
}

#[cfg(test)]
mod tests {
    use tepui_transport::tls::Credentials;

    use super::*;

    #[test]
    fn every_role_gets_a_certificate_and_keeps_it() {
        let dir = tempfile::tempdir().unwrap();
        let tls = ensure(dir.path()).unwrap();
        let mut before = Vec::new();
        for role in PeerRole::ALL {
            let of_role = tls.join(role.as_str());
            let credentials = Credentials::load(&of_role).unwrap();
            assert_eq!(credentials.principal().role, role);
            before.push(std::fs::read(of_role.join(CERT_FILE)).unwrap());
        }
        assert_eq!(ensure(dir.path()).unwrap(), tls);
        for (role, before) in PeerRole::ALL.into_iter().zip(before) {
            let after = std::fs::read(tls.join(role.as_str()).join(CERT_FILE)).unwrap();
            assert_eq!(after, before, "{role}");
        }
    }
}

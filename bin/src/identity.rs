//! The certificate by which a node of this process is known.
//!
//! Called by master and agent when they start. Deliberately not here: reading certificates (see
//! `tepui_transport::tls`).

use std::path::Path;

use tepui_core::auth::PeerRole;
use tepui_transport::authority::CERT_FILE;
use tepui_transport::target::identity_dir;
use tepui_transport::tls::{Credentials, TlsError};

/// Reads the certificate for a role from a directory that has one, or one directory a role. That of
/// another role is refused here, since every peer would refuse it.
pub(crate) fn load(tls_dir: &Path, role: PeerRole) -> Result<Credentials, TlsError> {
    let dir = identity_dir(tls_dir, role);
    let credentials = Credentials::load(&dir)?;
    let principal = credentials.principal();
    if principal.role == role {
        return Ok(credentials);
    }
    Err(TlsError::Invalid {
        path: dir.join(CERT_FILE),
        expected: match role {
            PeerRole::Master => "a certificate of a master",
            PeerRole::Agent => "a certificate of an agent",
            PeerRole::Framework => "a certificate of a framework",
            PeerRole::Operator => "a certificate of an operator",
        },
        problem: format!("it is of {principal}"),
    })
}

//! Certificates for a try on one machine: a master that listens on loopback only and is given no
//! certificate makes an authority and one certificate a role.
//!
//! Called by `tepui-master` and the embedded cluster. Deliberately not for other addresses: there
//! the authority's key must not lie on the machine that listens.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tepui_core::auth::{PeerRole, Principal};
use tepui_transport::authority::{Authority, CA_FILE, CA_KEY_FILE, CERT_FILE, KEY_FILE, Validity};
use tepui_transport::tls::TlsError;

const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// Makes what is missing of an authority in `WORK_DIR/ca` and of certificates in
/// `WORK_DIR/tls/<role>`; returns the latter directory.
pub(crate) fn ensure(work_dir: &Path) -> Result<PathBuf, TlsError> {
    let ca = ca_dir(work_dir);
    if ![CA_KEY_FILE, CA_FILE]
        .iter()
        .any(|name| ca.join(name).exists())
    {
        whole(&ca, |new| Authority::create(new).map(drop))?;
    }
    let authority = Authority::open(&ca)?;
    let tls = tls_dir(work_dir);
    for role in PeerRole::ALL {
        let name = "local".into();
        ensure_issued(
            &authority,
            &Principal { role, name },
            &tls.join(role.as_str()),
        )?;
    }
    Ok(tls)
}

/// Returns the directory with one directory a role.
pub(crate) fn tls_dir(work_dir: &Path) -> PathBuf {
    work_dir.join("tls")
}

/// Issues a certificate for `principal` to `out`, unless one is there.
pub(crate) fn ensure_issued(
    authority: &Authority,
    principal: &Principal,
    out: &Path,
) -> Result<(), TlsError> {
    if [KEY_FILE, CERT_FILE, CA_FILE].map(|name| out.join(name).exists()) == [true; 3] {
        return Ok(());
    }
    // A part of it is from before directories appeared as a whole, and of no use.
    for name in [KEY_FILE, CERT_FILE, CA_FILE] {
        removed(&out.join(name), fs::remove_file(out.join(name)))?;
    }
    let validity = Validity::for_the_next(YEAR);
    whole(out, |new| authority.issue(principal, validity, new))
}

/// Makes a directory that is there with all its files, or not at all, wherever a crash cuts it off.
fn whole(dir: &Path, make: impl FnOnce(&Path) -> Result<(), TlsError>) -> Result<(), TlsError> {
    let mut name = dir.file_name().expect("it is named above").to_owned();
    name.push(".new");
    let new = dir.with_file_name(name);
    removed(&new, fs::remove_dir_all(&new))?;
    make(&new)?;
    sync(&new)?;
    fs::rename(&new, dir).map_err(|source| failed("put in place", dir, source))?;
    sync(
        dir.parent()
            .expect("it has a name, so it is in a directory"),
    )
}

fn removed(path: &Path, result: io::Result<()>) -> Result<(), TlsError> {
    match result {
        Ok(()) => tracing::warn!(path = %path.display(), "removed what was not whole"),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(source) => return Err(failed("remove", path, source)),
    }
    Ok(())
}

fn sync(dir: &Path) -> Result<(), TlsError> {
    let synced = File::open(dir).and_then(|dir| dir.sync_all());
    synced.map_err(|source| failed("sync", dir, source))
}

fn failed(action: &'static str, path: &Path, source: io::Error) -> TlsError {
    TlsError::Io {
        action,
        path: path.into(),
        source,
    }
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
            before.push(fs::read(of_role.join(CERT_FILE)).unwrap());
        }
        assert_eq!(ensure(dir.path()).unwrap(), tls);
        for (role, before) in PeerRole::ALL.into_iter().zip(before) {
            let after = fs::read(tls.join(role.as_str()).join(CERT_FILE)).unwrap();
            assert_eq!(after, before, "{role}");
        }
    }

    #[test]
    fn a_crash_on_the_way_leaves_nothing_that_stops_the_next_attempt() {
        let dir = tempfile::tempdir().unwrap();
        ensure(dir.path()).unwrap();
        let ca = fs::read(ca_dir(dir.path()).join(CA_FILE)).unwrap();
        // As crashes leave them: a key alone, half an authority, half a role that was under way.
        let agent = dir.path().join("tls/agent");
        fs::remove_file(agent.join(CERT_FILE)).unwrap();
        let master = dir.path().join("tls/master");
        fs::rename(&master, dir.path().join("tls/master.new")).unwrap();
        fs::create_dir(dir.path().join("ca.new")).unwrap();
        fs::write(dir.path().join("ca.new").join(CA_KEY_FILE), "half").unwrap();
        ensure(dir.path()).unwrap();
        for dir in [agent, master] {
            Credentials::load(&dir).unwrap();
        }
        let after = fs::read(ca_dir(dir.path()).join(CA_FILE)).unwrap();
        assert_eq!(after, ca, "another authority");
        // An authority of which only the work under way was left.
        fs::remove_dir_all(ca_dir(dir.path())).unwrap();
        fs::remove_dir_all(dir.path().join("tls")).unwrap();
        fs::create_dir_all(dir.path().join("ca.new")).unwrap();
        fs::write(dir.path().join("ca.new").join(CA_KEY_FILE), "half").unwrap();
        let tls = ensure(dir.path()).unwrap();
        Credentials::load(&tls.join("agent")).unwrap();
    }
}

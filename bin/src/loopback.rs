//! Where local clients find the certificates that a master on loopback made for them.
//!
//! A master that makes its own authority ([`crate::dev_authority`]) notes its directory under its
//! port in the user's state directory; agents and commands that name a master on loopback and no
//! certificates look there. So a try on one machine needs no flags for certificates, and other
//! users find nothing. Deliberately not here: certificates.

use std::env;
use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Notes that certificates for the master at `address` are in `tls_dir`.
///
/// Without a home directory there is nowhere to note it, and clients must be told.
pub(crate) fn note(address: SocketAddr, tls_dir: &Path) -> io::Result<()> {
    match directory() {
        Some(directory) => note_in(&directory, address.port(), tls_dir),
        None => Ok(()),
    }
}

/// Returns the directory that was noted for the master at `address`, a `host:port`.
pub(crate) fn find(address: &str) -> Option<PathBuf> {
    find_in(&directory()?, address)
}

fn note_in(directory: &Path, port: u16, tls_dir: &Path) -> io::Result<()> {
    let mut private = fs::DirBuilder::new();
    private.recursive(true).mode(0o700).create(directory)?;
    let tls_dir = tls_dir.canonicalize()?;
    let (path, new) = (
        file(directory, port),
        directory.join(format!(".{port}.new")),
    );
    fs::write(&new, tls_dir.as_os_str().as_bytes())?;
    fs::rename(&new, &path)
}

fn find_in(directory: &Path, address: &str) -> Option<PathBuf> {
    let (host, port) = address.rsplit_once(':')?;
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let ip = bare.unwrap_or(host).parse::<IpAddr>();
    if host != "localhost" && !ip.is_ok_and(|ip| ip.is_loopback()) {
        return None;
    }
    let noted = fs::read(file(directory, port.parse().ok()?)).ok()?;
    let tls_dir = PathBuf::from(std::ffi::OsString::from_vec(noted));
    tls_dir.is_dir().then_some(tls_dir)
}

fn file(directory: &Path, port: u16) -> PathBuf {
    directory.join(port.to_string())
}

fn directory() -> Option<PathBuf> {
    let named = env::var_os("XDG_STATE_HOME").map(PathBuf::from);
    let home = || Some(PathBuf::from(env::var_os("HOME")?).join(".local/state"));
    let state = named.filter(|path| path.is_absolute()).or_else(home)?;
    Some(state.join("tepui/loopback"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_master_of_a_port_is_found_by_names_of_loopback_only() {
        let dir = tempfile::tempdir().unwrap();
        let notes = dir.path().join("notes");
        let tls = ["old", "new"].map(|name| dir.path().join(name));
        for tls in &tls {
            fs::create_dir(tls).unwrap();
            note_in(&notes, 5050, tls).unwrap();
        }
        let new = Some(tls[1].canonicalize().unwrap());
        for address in [
            "127.0.0.1:5050",
            "localhost:5050",
            "[::1]:5050",
            "127.9.9.9:5050",
        ] {
            assert_eq!(find_in(&notes, address), new, "{address}");
        }
        for address in [
            "127.0.0.1:5051",
            "10.0.0.1:5050",
            "rio.example:5050",
            "5050",
        ] {
            assert_eq!(find_in(&notes, address), None, "{address}");
        }
        fs::remove_dir(&tls[1]).unwrap();
        assert_eq!(find_in(&notes, "127.0.0.1:5050"), None, "it is gone");
    }
}

//! What can be wrong with the flags of a node: checked before anything is made, and found again in
//! what goes wrong after all.
//!
//! Called by the daemons and `tepui dev`. Deliberately not here: the nodes.

use std::fs::DirBuilder;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use tepui_transport::quic::BindError;
use tepui_transport::tls::TlsError;

use super::exit::Exit;
use super::failure::{Failure, with_causes};

/// Permissions of a directory that holds keys.
pub(super) const PRIVATE: u32 = 0o700;
/// Permissions of a directory below which tasks of other users have their own.
pub(super) const PASSABLE: u32 = 0o755;

/// Checks that a directory is there, or can be made with these permissions, and that files can be
/// made in it.
pub(super) fn check_work_dir(dir: &Path, permissions: u32) -> Result<(), Failure> {
    let unusable = |error: io::Error| {
        let problem = format_args!("{error}; expected a directory that can be written to");
        refused("--work-dir", dir, &error, &problem)
    };
    let mut made = DirBuilder::new();
    let made = made.recursive(true).mode(permissions).create(dir);
    made.map_err(unusable)?;
    // Permissions alone do not tell: file systems can be read-only, or not made for files.
    let file = tempfile::Builder::new()
        .prefix(".tepui-probe-")
        .tempfile_in(dir);
    file.and_then(tempfile::NamedTempFile::close)
        .map_err(unusable)
}

/// Checks that an address is one of this machine, and free.
pub(super) fn check_listen(address: SocketAddr) -> Result<(), Failure> {
    let Err(error) = UdpSocket::bind(address) else {
        return Ok(());
    };
    let message = format_args!("--listen {address}: cannot listen there: {error}");
    // Somebody else may have an address that is right.
    let of_user = matches!(
        error.kind(),
        io::ErrorKind::AddrNotAvailable | io::ErrorKind::PermissionDenied
    );
    let exit = if of_user { Exit::Usage } else { Exit::Failed };
    Err(Failure::new(exit, message))
}

/// Says why a node ended. Of what is wrong with certificates, `flag` and `dir` are at fault.
pub(super) fn ended(error: &anyhow::Error, flag: &str, dir: &Path) -> Failure {
    match error.chain().find_map(tls_error) {
        Some(error) => unfit(flag, dir, error),
        None => Failure::failed(with_causes(error)),
    }
}

fn tls_error<'a>(cause: &'a (dyn std::error::Error + 'static)) -> Option<&'a TlsError> {
    match cause.downcast_ref() {
        Some(BindError::Tls(error)) => Some(error),
        Some(BindError::Socket { .. }) => None,
        None => cause.downcast_ref(),
    }
}

/// Says what is wrong with the certificates in `dir`, which `flag` named.
pub(super) fn unfit(flag: &str, dir: &Path, error: &TlsError) -> Failure {
    match error {
        TlsError::Name { name } => {
            let expected = "expected 1 to 128 letters, digits, '.', '-' or '_', \
                            beginning with a letter or digit";
            Failure::usage("--name", name, expected)
        }
        TlsError::Io { source, .. } => refused(flag, dir, source, error),
        TlsError::Issue { .. } => Failure::failed(error),
        TlsError::Setup { .. }
        | TlsError::Read { .. }
        | TlsError::Invalid { .. }
        | TlsError::Exists { .. }
        | TlsError::NoPrincipal { .. }
        | TlsError::NotValidNow { .. } => Failure::usage(flag, &dir.to_string_lossy(), error),
    }
}

/// Says that a file or directory cannot be used: the user's fault, but for a full disk.
pub(super) fn refused(
    flag: &str,
    path: &Path,
    error: &io::Error,
    problem: &dyn std::fmt::Display,
) -> Failure {
    let failure = Failure::usage(flag, &path.to_string_lossy(), problem);
    let full = matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    );
    let exit = if full { Exit::Failed } else { failure.exit };
    Failure { exit, ..failure }
}

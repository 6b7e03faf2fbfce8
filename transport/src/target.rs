//! Where a cluster is, who we are there, and what can go wrong on the way.
//!
//! Used by all clients: frameworks, operators, readers of task output. Deliberately not here:
//! flags and environment variables; programs read those.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use tepui_core::auth::PeerRole;
use tepui_core::protocol::hello::CloseReason;

use crate::greeting::{DialError, Whose};
use crate::peers::Ending;
use crate::quic::BindError;
use crate::streams::StreamError;
use crate::tls::{Credentials, TlsError};

/// A cluster to talk to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The master, as `host:port`.
    pub master: String,
    /// The directory with our certificate, or with one directory a role.
    pub tls_dir: PathBuf,
}

/// Why a client did not get what it wanted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Our certificate cannot be used.
    #[error(transparent)]
    Credentials(#[from] TlsError),
    /// No socket.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The name of the host is not known.
    #[error("cannot resolve {address}: {problem}")]
    Resolve {
        /// What was looked up.
        address: String,
        /// Why it was not found.
        problem: String,
    },
    /// No connection.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The connection ended before the answer came.
    #[error("connection {0}")]
    Lost(Ending),
    /// A stream of bytes was not served to its end.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// The bytes stopped before their end.
    #[error("reading: {0}")]
    Read(#[from] io::Error),
    /// The master will not have the framework.
    #[error("the master refuses the framework: {0}")]
    Framework(String),
}

impl Error {
    /// Returns whether the other side does not accept who we are, or what we asked for.
    pub fn is_denied(&self) -> bool {
        let denies = |reason: &Option<CloseReason>| {
            matches!(
                reason,
                Some(CloseReason::WrongRole | CloseReason::Certificate | CloseReason::Denied)
            )
        };
        match self {
            Self::Dial(DialError::Certificate { whose, .. }) => *whose == Whose::Ours,
            Self::Dial(DialError::Refused { reason, .. }) => denies(reason),
            Self::Lost(Ending::ByPeer { reason, .. }) => denies(reason),
            Self::Stream(StreamError::Refused(_)) => true,
            Self::Dial(
                DialError::Address { .. }
                | DialError::NoAnswer { .. }
                | DialError::Unacceptable { .. }
                | DialError::Lost { .. },
            )
            | Self::Lost(Ending::ByUs(_) | Ending::TimedOut | Ending::Lost(_))
            | Self::Stream(StreamError::Lost(_) | StreamError::Frame(_))
            | Self::Credentials(_)
            | Self::Bind(_)
            | Self::Resolve { .. }
            | Self::Read(_)
            | Self::Framework(_) => false,
        }
    }

    /// Returns whether our own certificate could not be read.
    pub fn is_credentials(&self) -> bool {
        matches!(self, Self::Credentials(_) | Self::Bind(BindError::Tls(_)))
    }
}

impl Target {
    /// Reads our certificate for a role.
    pub fn credentials(&self, role: PeerRole) -> Result<Credentials, Error> {
        Ok(Credentials::load(&identity_dir(&self.tls_dir, role))?)
    }

    /// Looks up the master's address.
    pub async fn address(&self) -> Result<SocketAddr, Error> {
        resolve(&self.master).await
    }
}

/// Looks up a `host:port`.
pub async fn resolve(address: &str) -> Result<SocketAddr, Error> {
    let failed = |problem: String| Error::Resolve {
        address: address.into(),
        problem,
    };
    let mut found = tokio::net::lookup_host(address)
        .await
        .map_err(|error| failed(error.to_string()))?;
    found
        .next()
        .ok_or_else(|| failed("it has no address".into()))
}

/// Returns where a client binds in order to dial `to`: any port, and loopback for loopback.
pub fn local_address_for(to: SocketAddr) -> SocketAddr {
    let ip: IpAddr = match to {
        SocketAddr::V4(to) if to.ip().is_loopback() => Ipv4Addr::LOCALHOST.into(),
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(to) if to.ip().is_loopback() => Ipv6Addr::LOCALHOST.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    SocketAddr::new(ip, 0)
}

/// Finds the certificate for a role: a directory holds one, or one directory a role.
pub fn identity_dir(dir: &Path, role: PeerRole) -> PathBuf {
    let of_role = dir.join(role.as_str());
    if of_role.is_dir() {
        of_role
    } else {
        dir.into()
    }
}

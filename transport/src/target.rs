//! Where a cluster is, who we are there, and what can go wrong on the way.
//!
//! Used by all clients: frameworks, operators, readers of task output. Deliberately not here:
//! flags and environment variables; programs read those.

use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::task::Poll;
use std::time::Duration;

use tepui_core::auth::PeerRole;
use tepui_core::protocol::hello::CloseReason;

use crate::driver::DriverError;
use crate::greeting::{DialError, Whose};
use crate::node::Node;
use crate::peers::Ending;
use crate::quic::{BindError, Endpoint};
use crate::session::Session;
use crate::streams::StreamError;
use crate::tls::{Credentials, TlsError};

/// How long one address of a name has before the next is tried beside it.
const BETWEEN_ADDRESSES: Duration = Duration::from_millis(250);

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
    /// The machine of a framework ended, though nobody asked it to.
    #[error("the framework has ended: {0}")]
    Driver(#[from] DriverError),
    /// A stream of bytes was not served to its end.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// The bytes stopped before their end.
    #[error("reading: {0}")]
    Read(#[from] io::Error),
    /// Another node with our certificate is there now.
    #[error("another with our certificate has taken our place at the master {master}")]
    Replaced {
        /// The master.
        master: String,
    },
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
            | Self::Stream(StreamError::PutOff(_) | StreamError::Lost(_) | StreamError::Frame(_))
            | Self::Credentials(_)
            | Self::Bind(_)
            | Self::Resolve { .. }
            | Self::Read(_)
            | Self::Replaced { .. }
            | Self::Driver(_)
            | Self::Framework(_) => false,
        }
    }

    /// Returns whether we do not accept who the other side is: of another authority, expired, of
    /// another role or cluster, or of an epoch that is over.
    pub fn is_untrusted(&self) -> bool {
        match self {
            Self::Dial(DialError::Certificate { whose, .. }) => *whose == Whose::Theirs,
            Self::Dial(DialError::Unacceptable { .. }) => true,
            Self::Dial(
                DialError::Address { .. }
                | DialError::NoAnswer { .. }
                | DialError::Refused { .. }
                | DialError::Lost { .. },
            )
            | Self::Lost(_)
            | Self::Stream(_)
            | Self::Credentials(_)
            | Self::Bind(_)
            | Self::Resolve { .. }
            | Self::Read(_)
            | Self::Replaced { .. }
            | Self::Driver(_)
            | Self::Framework(_) => false,
        }
    }

    /// Returns whether it tells more of what is wrong than another error of the same attempt.
    fn says_more_than(&self, other: &Self) -> bool {
        let nothing = |error: &Self| {
            matches!(
                error,
                Self::Resolve { .. }
                    | Self::Dial(DialError::NoAnswer { .. } | DialError::Address { .. })
            )
        };
        !nothing(self) && nothing(other)
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

    /// Returns where the master is.
    pub fn address(&self) -> Address {
        Address::new(&self.master)
    }
}

/// Where somebody listens, as `host:port`. It is looked up anew for each attempt, for names move,
/// and all that is found is tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    text: String,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl Address {
    /// Takes a `host:port`; it is not looked up yet.
    pub fn new(text: &str) -> Self {
        Self { text: text.into() }
    }

    /// Connects to a peer of role `expected` from an endpoint that is there.
    pub async fn dial<I: Send + 'static>(
        &self,
        endpoint: &Endpoint<I>,
        expected: PeerRole,
    ) -> Result<Session, Error> {
        let here = endpoint.local_address()?;
        let mut found = self.look_up().await?;
        // A socket of the newer family reaches both.
        found.retain(|to| here.is_ipv6() || to.is_ipv4());
        let attempts = found.into_iter().map(async |to| {
            let session = endpoint.dial(to, expected).await?;
            Ok::<_, Error>(session)
        });
        self.first_of(attempts.collect()).await
    }

    /// Opens a socket from which it can be dialed, and connects to a peer of role `expected`.
    pub async fn connect<I: Send + 'static>(
        &self,
        credentials: &Credentials,
        node: Node<I>,
        expected: PeerRole,
    ) -> Result<(Endpoint<I>, Session), Error> {
        let found = self.look_up().await?;
        let attempts = found.into_iter().map(|to| {
            let node = node.clone();
            async move {
                let endpoint = Endpoint::bind(local_address_for(to), credentials, node)?;
                let session = endpoint.dial(to, expected).await?;
                Ok::<_, Error>((endpoint, session))
            }
        });
        self.first_of(attempts.collect()).await
    }

    async fn look_up(&self) -> Result<Vec<SocketAddr>, Error> {
        let found = tokio::net::lookup_host(&self.text).await;
        match found {
            Ok(found) => Ok(found.collect()),
            Err(error) => Err(self.not_found(error.to_string())),
        }
    }

    fn not_found(&self, problem: String) -> Error {
        Error::Resolve {
            address: self.text.clone(),
            problem,
        }
    }

    /// Begins one attempt after another, and takes the first that succeeds: an address where nobody
    /// answers must not hold up the next one.
    async fn first_of<T>(
        &self,
        attempts: Vec<impl Future<Output = Result<T, Error>>>,
    ) -> Result<T, Error> {
        let mut running: Vec<_> = (0u32..)
            .zip(attempts)
            .map(|(n, attempt)| {
                Box::pin(async move {
                    tokio::time::sleep(n * BETWEEN_ADDRESSES).await;
                    attempt.await
                })
            })
            .collect();
        let mut worst = self.not_found("it has no address that can be dialed from here".into());
        poll_fn(|cx| {
            let mut n = 0;
            while n < running.len() {
                match running[n].as_mut().poll(cx) {
                    Poll::Pending => n += 1,
                    Poll::Ready(Ok(first)) => return Poll::Ready(Ok(first)),
                    Poll::Ready(Err(error)) => {
                        drop(running.remove(n));
                        if !worst.says_more_than(&error) {
                            worst = error;
                        }
                    }
                }
            }
            if running.is_empty() {
                let nothing = Error::Lost(Ending::Lost("nothing was tried".into()));
                return Poll::Ready(Err(mem::replace(&mut worst, nothing)));
            }
            Poll::Pending
        })
        .await
    }
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

#[cfg(test)]
mod tests {
    use std::pin::Pin;

    use super::*;
    use crate::greeting::CertificateProblem;

    fn at() -> String {
        "there".into()
    }

    #[tokio::test]
    async fn the_first_address_that_answers_is_taken() {
        let address = Address::new("x:1");
        let silent = std::future::pending::<Result<u8, Error>>;
        let attempts: Vec<Pin<Box<dyn Future<Output = _>>>> = vec![
            Box::pin(silent()),
            Box::pin(async { Err(DialError::NoAnswer { at: at() }.into()) }),
            Box::pin(async { Ok(3) }),
            Box::pin(silent()),
        ];
        assert_eq!(address.first_of(attempts).await.unwrap(), 3);
    }

    #[tokio::test]
    async fn the_error_that_tells_most_is_kept() {
        let address = Address::new("x:1");
        let untrusted = || DialError::Certificate {
            at: at(),
            whose: Whose::Theirs,
            problem: CertificateProblem::ForeignAuthority,
        };
        for order in [[true, false], [false, true]] {
            let attempts = order.map(|tells| async move {
                let silent = DialError::NoAnswer { at: at() };
                Err::<u8, _>(Error::from(if tells { untrusted() } else { silent }))
            });
            let error = address.first_of(attempts.into()).await.unwrap_err();
            assert!(error.is_untrusted() && !error.is_denied(), "{error}");
        }
        let nowhere = Vec::<std::future::Ready<Result<u8, Error>>>::new();
        let error = address.first_of(nowhere).await.unwrap_err();
        assert!(matches!(error, Error::Resolve { .. }), "{error}");
    }
}

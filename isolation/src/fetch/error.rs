//! Why an item cannot be fetched: always with its address, and with the path and the data at fault.

use std::io;
use std::path::{Path, PathBuf};

use crate::cancel::Cancelled;
use crate::content::{Checksum, Refusal};

/// A failure of the fetcher. Addresses are shown without user and password.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The item cannot be meant.
    #[error("cannot fetch {uri}: {fault}")]
    Invalid {
        /// The item.
        uri: String,
        /// What is wrong with it.
        fault: Fault,
    },
    /// Two items are to become the same file.
    #[error("{uri} would replace {}, another item", path.display())]
    Twice {
        /// The second of them.
        uri: String,
        /// The file, below the sandbox.
        path: PathBuf,
    },
    /// A local file cannot be read, by the user for whom it is fetched.
    #[error("fetch {uri}: {action} {}: {source}", path.display())]
    Local {
        /// The item.
        uri: String,
        /// What was tried.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The server answered something else than the content.
    #[error("fetch {uri}: the server answered {status}")]
    Status {
        /// The item.
        uri: String,
        /// The code.
        status: u16,
    },
    /// The transfer broke.
    #[error("fetch {uri}: after {received} bytes: {source}")]
    Transfer {
        /// The item.
        uri: String,
        /// What came until then.
        received: u64,
        /// What the connection said.
        source: io::Error,
    },
    /// The transfer is too slow to be waited for.
    #[error("fetch {uri}: stalled after {received} bytes")]
    Stalled {
        /// The item.
        uri: String,
        /// What came until then.
        received: u64,
    },
    /// Whoever asked called it off.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    /// What came is shorter or longer than what was announced.
    #[error("fetch {uri}: {received} bytes came and {announced} were announced")]
    Length {
        /// The item.
        uri: String,
        /// What the server said.
        announced: u64,
        /// What came.
        received: u64,
    },
    /// The item is larger than what is fetched at all.
    #[error("fetch {uri}: larger than {limit} bytes")]
    TooLarge {
        /// The item.
        uri: String,
        /// [`Limits::item_bytes`](super::Limits::item_bytes).
        limit: u64,
    },
    /// The content is not what was asked for.
    #[error("fetch {uri}: its checksum is {found}, not {expected}")]
    Mismatch {
        /// The item.
        uri: String,
        /// What was asked for.
        expected: Checksum,
        /// What the content has.
        found: Checksum,
    },
    /// An operation in the sandbox failed.
    #[error("fetch {uri}: {action} {} in the sandbox: {source}", path.display())]
    Sandbox {
        /// The item.
        uri: String,
        /// What was tried.
        action: &'static str,
        /// With which file, below the sandbox.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// An entry of an archive is refused.
    #[error("unpack {uri}: {}: {refusal}", entry.display())]
    Refused {
        /// The item.
        uri: String,
        /// The name of the entry; empty for the archive as a whole.
        entry: PathBuf,
        /// Why.
        refusal: Refusal,
    },
    /// An archive cannot be read.
    #[error("unpack {uri}: {source}")]
    Corrupt {
        /// The item.
        uri: String,
        /// What is wrong with it.
        source: io::Error,
    },
    /// An operation on the fetcher's own files failed.
    #[error("fetcher: {action} {}: {source}", path.display())]
    Own {
        /// What was tried.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the system or a library said.
        source: io::Error,
    },
}

/// What is wrong with an item.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// It is neither a path nor of a known scheme.
    #[error("the scheme {0:?} is unknown")]
    Scheme(String),
    /// It is no address.
    #[error("it is no address: {0}")]
    Address(String),
    /// A relative path, and no directory is configured that it would be relative to.
    #[error("no directory is configured for relative paths")]
    Relative,
    /// Its last component cannot be the name of a file.
    #[error("it names no file; give an output")]
    Name,
    /// The output is not a plain path below the sandbox.
    #[error("the output {0:?} is not a plain path below the sandbox")]
    Output(PathBuf),
}

impl FetchError {
    pub(super) fn own(
        action: &'static str,
        path: impl AsRef<Path>,
        source: impl Into<io::Error>,
    ) -> Self {
        Self::Own {
            action,
            path: path.as_ref().to_owned(),
            source: source.into(),
        }
    }
}

//! Why an image cannot be had: always with what was asked for, and with the data at fault.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::reference::ReferenceFault;
use super::{Digest, Platform};
use crate::cancel::Cancelled;
use crate::content::Refusal;

/// A failure of images. Addresses are shown without credentials and queries.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// A text names no image.
    #[error("{text:?} names no image: {fault}")]
    Reference {
        /// The text.
        text: String,
        /// What is wrong with it.
        fault: ReferenceFault,
    },
    /// A reference without a registry, and none is configured.
    #[error("{reference} names no registry, and no default registry is configured")]
    NoRegistry {
        /// The reference.
        reference: String,
    },
    /// Credentials cannot be read.
    #[error("credentials of registries: {0}")]
    Credentials(String),
    /// A proportion of a disk that is none.
    #[error("a headroom of {0}: it is from 0 to 1")]
    Headroom(f64),
    /// An operation on the store's own files failed.
    #[error("images: {action} {}: {source}", path.display())]
    Own {
        /// What was tried.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A local layout or archive cannot be read.
    #[error("{action} {}: {source}", path.display())]
    Local {
        /// What was tried.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The registry, or the local source, does not have it.
    #[error("{what} is not there")]
    NotFound {
        /// What was asked for.
        what: String,
    },
    /// The registry does not let in who asks.
    #[error("{what}: the registry answered {status}; the credentials, if any, are not enough")]
    Denied {
        /// What was asked for.
        what: String,
        /// 401 or 403.
        status: u16,
    },
    /// The registry asks for credentials in a way that is not known, or not to be trusted.
    #[error("{registry} asks for credentials by {challenge:?}: {reason}")]
    Challenge {
        /// The registry.
        registry: String,
        /// Its words.
        challenge: String,
        /// Why they are not followed.
        reason: &'static str,
    },
    /// The registry answered something else than the content.
    #[error("{what}: the registry answered {status}")]
    Status {
        /// What was asked for.
        what: String,
        /// The code.
        status: u16,
    },
    /// The transfer broke.
    #[error("{what}: after {received} bytes: {source}")]
    Transfer {
        /// What was asked for.
        what: String,
        /// What came until then.
        received: u64,
        /// What the connection said.
        source: io::Error,
    },
    /// The transfer is too slow to be waited for.
    #[error("{what}: stalled after {received} bytes")]
    Stalled {
        /// What was asked for.
        what: String,
        /// What came until then.
        received: u64,
    },
    /// Content has another size than its descriptor says.
    #[error("{what}: {actual} bytes, and {expected} were described")]
    Size {
        /// The content.
        what: String,
        /// What the descriptor says.
        expected: u64,
        /// What it has, as far as that is known.
        actual: u64,
    },
    /// Content has another digest than it was asked for by.
    #[error("{what}: its digest is {found}, not {expected}")]
    Mismatch {
        /// The content.
        what: String,
        /// What was asked for.
        expected: Digest,
        /// What the content has.
        found: Digest,
    },
    /// Content is larger than what is taken at all.
    #[error("{what}: larger than {limit} bytes")]
    TooLarge {
        /// The content.
        what: String,
        /// The limit.
        limit: u64,
    },
    /// A document cannot be understood.
    #[error("{what}: {reason}")]
    Malformed {
        /// The document.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A document or a layer of a kind that is not known.
    #[error("{what} is of type {media_type:?}, which is not supported")]
    MediaType {
        /// The content.
        what: String,
        /// What it says it is.
        media_type: String,
    },
    /// The image is not for this platform.
    #[error("{what} is for {offered}, not for {wanted}")]
    Platform {
        /// The image.
        what: String,
        /// What was asked for.
        wanted: Platform,
        /// What there is.
        offered: String,
    },
    /// An entry of a layer is refused.
    #[error("layer {layer}: {}: {refusal}", entry.display())]
    Refused {
        /// The layer's diff id.
        layer: Digest,
        /// The name of the entry; empty for the layer as a whole.
        entry: PathBuf,
        /// Why.
        refusal: Refusal,
    },
    /// A layer cannot be read.
    #[error("layer {layer}: {source}")]
    Corrupt {
        /// The layer's diff id.
        layer: Digest,
        /// What is wrong with it.
        source: io::Error,
    },
    /// Whoever asked called it off.
    #[error("called off")]
    Cancelled,
    /// The image is held by somebody.
    #[error("{reference} is in use")]
    InUse {
        /// The image.
        reference: String,
    },
    /// Somebody else asked for the same at the same time, and this came of it.
    #[error(transparent)]
    Shared(Arc<Self>),
}

impl From<Cancelled> for ImageError {
    fn from(_: Cancelled) -> Self {
        Self::Cancelled
    }
}

impl ImageError {
    /// The failure itself, whoever met with it.
    pub fn root(&self) -> &Self {
        let mut root = self;
        while let Self::Shared(inner) = root {
            root = inner;
        }
        root
    }

    /// An operation on the store's own files.
    pub(super) fn own(
        action: &'static str,
        path: &Path,
    ) -> impl Fn(io::Error) -> Self + Clone + use<> {
        let path = path.to_owned();
        move |source| Self::Own {
            action,
            path: path.clone(),
            source,
        }
    }

    pub(super) fn is_cancelled(&self) -> bool {
        matches!(self, Self::Cancelled)
    }

    pub(super) fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }

    /// Whether another attempt may fare better.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::Transfer { .. } | Self::Stalled { .. } => true,
            Self::Status { status, .. } => matches!(status, 408 | 425 | 429 | 500..=599),
            Self::Reference { .. }
            | Self::NoRegistry { .. }
            | Self::Credentials(_)
            | Self::Headroom(_)
            | Self::Own { .. }
            | Self::Local { .. }
            | Self::NotFound { .. }
            | Self::Denied { .. }
            | Self::Challenge { .. }
            | Self::Size { .. }
            | Self::Mismatch { .. }
            | Self::TooLarge { .. }
            | Self::Malformed { .. }
            | Self::MediaType { .. }
            | Self::Platform { .. }
            | Self::Refused { .. }
            | Self::Corrupt { .. }
            | Self::Cancelled
            | Self::InUse { .. }
            | Self::Shared(_) => false,
        }
    }
}

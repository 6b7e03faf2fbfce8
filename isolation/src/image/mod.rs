//! Images of containers: from registries, layouts and archives, kept by content (CT-65 to CT-70).
//!
//! A [`Store`] blocks: it is called on threads that may. [`Store::provide`] finds out which image a
//! name means, brings the layers that are not there yet, and hands out an [`Image`], which holds
//! them as long as it lives. [`Image::rootfs`] and [`mount_overlay`] make one filesystem of them;
//! [`Config::merge`] says what is run in it.
//!
//! * Manifests of OCI and of Docker (version 2, schema 2) are known, and indexes of either.
//!   Documents, archives of layers and unpacked layers are each compared with their digests.
//! * Registries are asked over HTTPS, those on loopback and those configured so over HTTP; without
//!   credentials, with a name and a password, or with tokens.
//! * Of those who want one image or one layer at the same time, the first brings it.
//! * `cached` (CT-66): if an image with this name is here, nobody is asked. Otherwise the registry
//!   is asked what the name means now; layers that are here are used anyhow, for their content is
//!   what counts. Whether who asks may have a private image is not asked again with `cached`.
//! * Untrusted: everything that comes from a registry, a layout or an archive. Local paths are
//!   opened with the rights of this process: who may name them is the caller's to decide.
//!
//! Deliberately not here: schema 1, Appc, HDFS, signatures, layers at addresses of other servers,
//! helper programs for credentials; containers, and when a root filesystem is unmounted.

mod config;
mod credentials;
mod error;
mod layer;
mod local;
mod manifest;
mod options;
mod overlay;
mod reference;
mod registry;
mod store;
mod sys;
mod transfer;

use std::path::PathBuf;
use std::sync::Arc;

pub use crate::cancel::{Cancel, Cancelled};
pub use crate::content::{Checksum as Digest, InvalidChecksum as InvalidDigest, Limits, Refusal};
pub use config::{CommandFault, Config, Process};
pub use credentials::{Credentials, Keyring};
pub use error::ImageError;
pub use layer::Omission;
pub use manifest::Platform;
pub use options::{Options, Scheme};
pub use overlay::{
    Attributes, Changes, Rootfs, detached_overlay, mount_overlay, mount_overlay_at_once,
};
pub use reference::{Reference, ReferenceFault};
pub use store::{Listed, Store, Swept};

/// Where an image comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A registry.
    Registry(Reference),
    /// A directory with a layout of OCI.
    Layout {
        /// The directory.
        path: PathBuf,
        /// Which image of it; without a name there must be only one.
        name: Option<String>,
    },
    /// A tar archive of such a layout, or what `docker save` wrote; not compressed.
    Archive {
        /// The file.
        path: PathBuf,
        /// Which image of it; without a name there must be only one.
        name: Option<String>,
    },
}

/// An image that somebody wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// From where.
    pub source: Source,
    /// For which platform; else the store's.
    pub platform: Option<Platform>,
    /// Whether what is here will do (CT-66).
    pub cached: bool,
    /// Who asks; else the store's credentials.
    pub keyring: Option<Keyring>,
}

impl Wanted {
    /// An image with Mesos' defaults: what is here will do.
    pub fn new(source: Source) -> Self {
        Self {
            source,
            platform: None,
            cached: true,
            keyring: None,
        }
    }
}

/// How the making of an image goes on. Told by several threads.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Progress {
    /// It is known which image it is.
    Resolved {
        /// Of its manifest, for the platform.
        digest: Digest,
        /// How many layers it has.
        layers: usize,
        /// How large they are, packed.
        bytes: u64,
    },
    /// Some of a layer came.
    Received {
        /// The layer.
        diff_id: Digest,
        /// So much came, packed; less than before if it had to begin again.
        bytes: u64,
        /// Of so much.
        of: u64,
    },
    /// Something of a layer is left out.
    Omitted {
        /// The layer.
        diff_id: Digest,
        /// The name of the entry.
        entry: PathBuf,
        /// What, and so why.
        omission: Omission,
    },
    /// A layer is complete.
    Unpacked {
        /// The layer.
        diff_id: Digest,
    },
    /// A layer was here already, or somebody else has just brought it.
    Present {
        /// The layer.
        diff_id: Digest,
    },
}

/// An image that is ready. As long as this or a clone of it lives, its layers stay.
#[derive(Debug, Clone)]
pub struct Image {
    /// How it was asked for, with the registry and the version that were meant.
    pub reference: String,
    /// Of its manifest for the platform; of its configuration, where there is no manifest.
    pub digest: Digest,
    /// What it says about running it.
    pub config: Arc<Config>,
    /// Its unpacked layers, the lowest first. Those that others hide wholly are left out.
    pub layers: Vec<PathBuf>,
    /// Whether the layers are marked for overlayfs as without privileges.
    pub is_unprivileged: bool,
    _held: Arc<store::Held>,
}

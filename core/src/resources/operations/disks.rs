//! CREATE_DISK and DESTROY_DISK: what becomes of the raw disks of a resource provider.
//!
//! What they become only the provider knows, so both take its answer, and neither has a result
//! before it (RM-51). Deliberately not here: asking the provider.

use alloc::sync::Arc;

use serde::{Deserialize, Serialize};

use super::super::labels::Labels;
use super::super::metadata::{DiskKind, Metadata, ProfileId, Source};
use super::super::{Resource, Resources};
use super::{OperationError, bag, replaced};

/// What a raw disk is made into.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Formatted {
    /// A file system.
    Mount {
        /// Where the provider mounts it.
        root: Option<Arc<str>>,
    },
    /// A block device.
    Block,
}

/// What a provider says about a disk that it made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MadeDisk {
    /// What it is.
    pub formatted: Formatted,
    /// What the plugin calls it.
    pub id: Option<Arc<str>>,
    /// What the plugin says about it.
    pub metadata: Labels,
}

/// What a provider makes of a disk that is given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Returned {
    /// Space of the pool of its profile.
    ToPool,
    /// A raw disk of its own, since the profile is no more.
    ToRaw,
    /// Nothing, as its space belongs to no known pool.
    Gone,
}

/// Checks that a provider can be asked for a file system or a block device in the place of this
/// (RM-51, VA-23).
///
/// A disk of a pool has a profile, which it keeps; one without a profile, a volume that the
/// provider found, needs one: exactly one of the two says it.
pub fn check_create_disk(
    raw: &Resource,
    profile: Option<&ProfileId>,
) -> Result<(), OperationError> {
    let source = provided(raw)?;
    let problem = match (&source.kind, &source.profile, profile) {
        (DiskKind::Path { .. } | DiskKind::Mount { .. } | DiskKind::Block, _, _) => {
            "is not a raw disk"
        }
        (DiskKind::Raw, Some(_), Some(_)) => "has a profile already",
        (DiskKind::Raw, None, None) => "needs a profile",
        (DiskKind::Raw, Some(_), None) | (DiskKind::Raw, None, Some(_)) => return Ok(()),
    };
    Err(unfit(raw, problem))
}

/// Makes a file system or a block device of a raw disk, for which [`check_create_disk`] says when
/// that can be asked for.
pub fn create_disk(
    total: &Resources,
    raw: &Resource,
    profile: Option<&ProfileId>,
    made: &MadeDisk,
) -> Result<Resources, OperationError> {
    check_create_disk(raw, profile)?;
    let source = provided(raw)?;
    let kind = match &made.formatted {
        Formatted::Mount { root } => DiskKind::Mount { root: root.clone() },
        Formatted::Block => DiskKind::Block,
    };
    let becomes = Source {
        kind,
        vendor: source.vendor.clone(),
        id: made.id.clone(),
        metadata: made.metadata.clone(),
        profile: source.profile.clone().or_else(|| profile.cloned()),
    };
    replaced(total, &bag(raw)?, &bag(&resourced(raw, becomes)?)?)
}

/// Checks that a provider can be asked to take this back: a file system, a block device, or a raw
/// disk of its own, and nobody's volume (RM-51, VA-24).
pub fn check_destroy_disk(disk: &Resource) -> Result<(), OperationError> {
    let source = provided(disk)?;
    match source.kind {
        DiskKind::Mount { .. } | DiskKind::Block | DiskKind::Raw => {}
        DiskKind::Path { .. } => {
            return Err(unfit(
                disk,
                "is neither raw, a file system nor a block device",
            ));
        }
    }
    if disk.is_persistent_volume() {
        let resource = disk.clone();
        return Err(OperationError::IsVolume { resource });
    }
    if source.id.is_none() {
        return Err(unfit(disk, "has no id, so it is no disk of its own"));
    }
    Ok(())
}

/// Gives a disk back to its provider, for which [`check_destroy_disk`] says when that can be asked
/// for.
pub fn destroy_disk(
    total: &Resources,
    disk: &Resource,
    returned: Returned,
) -> Result<Resources, OperationError> {
    check_destroy_disk(disk)?;
    let mut raw = Source {
        kind: DiskKind::Raw,
        ..provided(disk)?.clone()
    };
    let given = match returned {
        Returned::Gone => Resources::new(),
        Returned::ToPool if raw.profile.is_none() => {
            return Err(unfit(disk, "has no profile, so it is of no pool"));
        }
        Returned::ToPool => {
            (raw.id, raw.metadata) = (None, Labels::new());
            bag(&resourced(disk, raw)?)?
        }
        Returned::ToRaw => {
            raw.profile = None;
            bag(&resourced(disk, raw)?)?
        }
    };
    replaced(total, &bag(disk)?, &given)
}

/// Returns the source of a disk that a provider has.
fn provided(disk: &Resource) -> Result<&Source, OperationError> {
    if !disk.has_provider() {
        return Err(unfit(disk, "is of no resource provider"));
    }
    let source = disk.metadata().source.as_ref();
    source.ok_or_else(|| unfit(disk, "is no disk of a resource provider"))
}

fn resourced(disk: &Resource, source: Source) -> Result<Resource, OperationError> {
    let metadata = Metadata {
        source: Some(source),
        ..disk.metadata().clone()
    };
    Ok(disk.clone().with_metadata(metadata)?)
}

fn unfit(resource: &Resource, problem: &'static str) -> OperationError {
    OperationError::Unfit {
        resource: resource.clone(),
        problem,
    }
}

//! Operations on what an agent has: reserving, making volumes, formatting disks.
//!
//! Each is a pure function from the resources of the agent to what they become, or an error and
//! nothing done; total amounts stay the same but for what a provider makes of a disk. Called by
//! whoever keeps the books: the master when it accepts an operation, the agent when it carries one
//! out. Deliberately not here: who may do it, which roles there are, what peers are able to
//! understand, and whether a task uses what is to be changed. The master knows these.

mod disks;
mod reservations;
mod volumes;

use super::invalid::{InvalidResource, Overflow};
use super::metadata::VolumeId;
use super::{NotContained, Resource, Resources};
use crate::roles::Role;

pub use disks::{
    Formatted, MadeDisk, Returned, check_create_disk, check_destroy_disk, create_disk, destroy_disk,
};
pub use reservations::{Step, plan_reservation_update, reserve, unreserve, update_reservations};
pub use volumes::{create, destroy, grow_volume, shrink_volume};

/// Why an operation cannot be done with these resources.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OperationError {
    /// It names no resources.
    #[error("the operation names no resources")]
    Nothing,
    /// What it needs is not there.
    #[error(transparent)]
    NotContained(#[from] NotContained),
    /// What it makes does not fit.
    #[error(transparent)]
    Overflow(#[from] Overflow),
    /// What it makes is no resource.
    #[error(transparent)]
    Invalid(#[from] InvalidResource),
    /// It makes numbers or names that are there already.
    #[error("{both} is there already")]
    Overlap {
        /// What would be there twice.
        both: Resource,
    },
    /// The resources are of several providers (RM-36, RM-37).
    #[error("{odd} has another resource provider than the others")]
    SeveralProviders {
        /// The first that differs.
        odd: Resource,
    },
    /// The most refined level was not made by an operation (RM-36, RM-37).
    #[error("{resource} is not dynamically reserved")]
    NotDynamic {
        /// What is not.
        resource: Resource,
    },
    /// A persistent volume has to be destroyed first (RM-36, RM-37).
    #[error("{resource} is a persistent volume")]
    IsVolume {
        /// Which one.
        resource: Resource,
    },
    /// What is revocable cannot be reserved (RM-36, RM-53).
    #[error("{resource} is revocable")]
    IsRevocable {
        /// What is.
        resource: Resource,
    },
    /// The entries do not share one reservation (RM-34).
    #[error("{odd} is reserved otherwise than the others")]
    SeveralReservations {
        /// The first that differs.
        odd: Resource,
    },
    /// Source and target differ in more than their reservations (RM-34).
    #[error("source and target differ in more than their reservations: {target}")]
    NotTheSame {
        /// What the target has otherwise.
        target: Resources,
    },
    /// It is no persistent volume (RM-44 to RM-47).
    #[error("{resource} is no persistent volume")]
    NotAVolume {
        /// What is not.
        resource: Resource,
    },
    /// A volume that is made has to be for writing (RM-49).
    #[error("{resource} is read-only")]
    ReadOnly {
        /// Which volume.
        resource: Resource,
    },
    /// A volume of this id is there already, or made twice (RM-42, RM-44).
    #[error("role {role:?} has volume {id:?} already")]
    VolumeExists {
        /// Which id.
        id: VolumeId,
        /// Whose.
        role: Role,
    },
    /// Further copies of a shared volume are there (RM-45).
    #[error("there are further copies of {resource}")]
    StillShared {
        /// Which volume.
        resource: Resource,
    },
    /// It cannot be done with such a disk; says why (RM-46, RM-47, RM-51).
    #[error("{resource} {problem}")]
    Unfit {
        /// Which disk or volume.
        resource: Resource,
        /// Why not.
        problem: &'static str,
    },
    /// What is added to a volume is not of the same disk and reservation (RM-46).
    #[error("{addition} is not of the same disk and reservation as {volume}")]
    OtherDisk {
        /// What shall grow.
        volume: Resource,
        /// By what.
        addition: Resource,
    },
    /// What is to be taken off a volume is nothing, or not less than the volume (RM-47).
    #[error("{resource} cannot become smaller by {amount}")]
    BadAmount {
        /// What shall shrink.
        resource: Resource,
        /// By how much.
        amount: super::Milli,
    },
}

/// Returns `total` with `given` in the place of `taken`.
fn replaced(
    total: &Resources,
    taken: &Resources,
    given: &Resources,
) -> Result<Resources, OperationError> {
    let mut rest = total.checked_sub(taken)?;
    if let Some(both) = rest.overlap(given) {
        return Err(OperationError::Overlap { both });
    }
    rest.add(given)?;
    Ok(rest)
}

/// Makes a bag of each entry changed.
fn each(
    resources: &Resources,
    change: impl Fn(Resource) -> Result<Resource, InvalidResource>,
) -> Result<Resources, OperationError> {
    let mut changed = Resources::new();
    for resource in resources {
        let one = change(resource.clone())?;
        if let Some(both) = changed.overlap(&bag(&one)?) {
            return Err(OperationError::Overlap { both });
        }
        changed.insert(one)?;
    }
    Ok(changed)
}

fn bag(resource: &Resource) -> Result<Resources, OperationError> {
    let mut bag = Resources::new();
    bag.insert(resource.clone())?;
    Ok(bag)
}

/// Checks that something is named, and that all of it is of one provider or of none.
fn check_provider(resources: &Resources) -> Result<(), OperationError> {
    let mut entries = resources.iter();
    let first = entries.next().ok_or(OperationError::Nothing)?;
    let provider = &first.metadata().provider;
    match entries.find(|entry| entry.metadata().provider != *provider) {
        Some(odd) => Err(OperationError::SeveralProviders { odd: odd.clone() }),
        None => Ok(()),
    }
}

//! CREATE, DESTROY, GROW_VOLUME and SHRINK_VOLUME: persistent volumes on reserved disks.
//!
//! Deliberately not here: the principal of a volume (RM-44), and whether a task uses it (RM-45).

use alloc::collections::BTreeSet;

use super::super::metadata::{Access, DiskKind, Metadata};
use super::super::value::Value;
use super::super::{InvalidResource, Milli, NotContained, Resource, Resources};
use super::{OperationError, bag, check_provider, each, replaced};

/// Makes persistent volumes of reserved disks (RM-44).
///
/// The id of a volume is new to its role (RM-42), and it is for writing (RM-49).
pub fn create(total: &Resources, volumes: &Resources) -> Result<Resources, OperationError> {
    check_provider(volumes)?;
    check_ids(total, volumes)?;
    for resource in volumes {
        let read_only = |volume: &super::super::Volume| volume.access == Access::ReadOnly;
        if resource.metadata().volume.as_ref().is_some_and(read_only) {
            let resource = resource.clone();
            return Err(OperationError::ReadOnly { resource });
        }
        if resource.copies() > 1 {
            let resource = resource.clone();
            return Err(OperationError::StillShared { resource });
        }
    }
    replaced(total, &each(volumes, emptied)?, volumes)
}

/// Makes reserved disks of persistent volumes again (RM-45).
pub fn destroy(total: &Resources, volumes: &Resources) -> Result<Resources, OperationError> {
    check_provider(volumes)?;
    volumes.iter().try_for_each(check_volume)?;
    let one_copy = each(volumes, |volume| volume.with_copies(1))?;
    let after = replaced(total, volumes, &each(&one_copy, emptied)?)?;
    match one_copy.iter().find(|volume| is_there(&after, volume)) {
        Some(volume) => Err(OperationError::StillShared {
            resource: volume.clone(),
        }),
        None => Ok(after),
    }
}

/// Adds reserved disk to a persistent volume on the same disk (RM-46).
pub fn grow_volume(
    total: &Resources,
    volume: &Resource,
    addition: &Resource,
) -> Result<Resources, OperationError> {
    let old = resizable(volume)?;
    let volume = kept(total, volume)?;
    let other = || OperationError::OtherDisk {
        volume: volume.clone(),
        addition: addition.clone(),
    };
    if addition.metadata() != emptied(volume.clone())?.metadata() {
        return Err(other());
    }
    let (true, Value::Scalar(more)) = (addition.name() == volume.name(), addition.value()) else {
        return Err(other());
    };
    if more.is_zero() {
        return Err(OperationError::Nothing);
    }
    let Some(sum) = old.checked_add(*more) else {
        let name = volume.shared_name();
        return Err(super::Overflow { name }.into());
    };
    let grown = volume.clone().resized(Value::Scalar(sum))?;
    let mut taken = bag(volume)?;
    taken.insert(addition.clone())?;
    replaced(total, &taken, &bag(&grown)?)
}

/// Takes an amount off a persistent volume, which becomes reserved disk again (RM-47).
pub fn shrink_volume(
    total: &Resources,
    volume: &Resource,
    amount: Milli,
) -> Result<Resources, OperationError> {
    let old = resizable(volume)?;
    let rest = old.checked_sub(amount).filter(|rest| !rest.is_zero());
    let Some(rest) = rest.filter(|_| amount > Milli::ZERO) else {
        let resource = volume.clone();
        return Err(OperationError::BadAmount { resource, amount });
    };
    let volume = kept(total, volume)?;
    let mut given = bag(&volume.clone().resized(Value::Scalar(rest))?)?;
    given.insert(emptied(volume.clone())?.with_value(Value::Scalar(amount))?)?;
    replaced(total, &bag(volume)?, &given)
}

/// Returns a volume as it stands in the books. Whoever names it may say otherwise who made it and
/// where a container sees it, for these are no part of what it is; the books keep what they say.
fn kept<'a>(total: &'a Resources, named: &Resource) -> Result<&'a Resource, OperationError> {
    let found = total.iter().find(|entry| entry.slot_cmp(named).is_eq());
    found.ok_or_else(|| {
        let wanted = named.clone();
        NotContained { wanted }.into()
    })
}

/// Returns the disk that a volume is made of.
fn emptied(volume: Resource) -> Result<Resource, InvalidResource> {
    let metadata = Metadata {
        volume: None,
        shared: false,
        ..volume.metadata().clone()
    };
    volume.with_metadata(metadata)
}

fn check_volume(resource: &Resource) -> Result<(), OperationError> {
    if resource.is_persistent_volume() {
        return Ok(());
    }
    Err(OperationError::NotAVolume {
        resource: resource.clone(),
    })
}

/// Checks that all are volumes, and that no role gets an id twice (RM-42).
fn check_ids(total: &Resources, volumes: &Resources) -> Result<(), OperationError> {
    volumes.iter().try_for_each(check_volume)?;
    let name = |resource| {
        let resource: &Resource = resource;
        let volume = resource.metadata().volume.as_ref()?;
        Some((resource.reservation_role()?.clone(), volume.id.clone()))
    };
    let mut known: BTreeSet<_> = total.iter().filter_map(name).collect();
    for (role, id) in volumes.iter().filter_map(name) {
        if !known.insert((role.clone(), id.clone())) {
            return Err(OperationError::VolumeExists { id, role });
        }
    }
    Ok(())
}

fn is_there(resources: &Resources, wanted: &Resource) -> bool {
    bag(wanted).is_ok_and(|wanted| resources.contains(&wanted))
}

/// Returns the size of a volume that can be made larger and smaller (RM-46, RM-47).
fn resizable(volume: &Resource) -> Result<Milli, OperationError> {
    check_volume(volume)?;
    let problem = match volume.disk_kind() {
        Some(DiskKind::Mount { .. } | DiskKind::Block | DiskKind::Raw) => {
            Some("is on a disk that cannot be divided")
        }
        Some(DiskKind::Path { .. }) | None => None,
    };
    let problem = problem
        .or_else(|| volume.is_shared().then_some("is shared"))
        .or_else(|| volume.has_provider().then_some("is of a resource provider"));
    match problem {
        Some(problem) => Err(OperationError::Unfit {
            resource: volume.clone(),
            problem,
        }),
        None => Ok(volume.value().quantity()),
    }
}

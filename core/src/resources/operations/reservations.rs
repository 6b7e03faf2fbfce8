//! RESERVE, UNRESERVE, and changing one reservation into another.
//!
//! Deliberately not here: whether the principal of a reservation is that of the caller (RM-36),
//! and the rights that an update needs; the master asks for them step by step.

use alloc::vec::Vec;

use super::super::reservation::{Reservation, Reservations};
use super::super::{Resource, Resources};
use super::{OperationError, check_provider, each, replaced};

/// One step of changing a reservation: one level removed or added (RM-34).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Removes a level of these.
    Unreserve(Resources),
    /// Adds a level, so that they become these.
    Reserve(Resources),
}

impl Step {
    /// Does the step.
    pub fn apply(&self, total: &Resources) -> Result<Resources, OperationError> {
        match self {
            Self::Unreserve(resources) => unreserve(total, resources),
            Self::Reserve(resources) => reserve(total, resources),
        }
    }
}

/// Adds one level of reservation, so that what was one level less becomes `wanted` (RM-35, RM-36).
///
/// ```
/// # use tepui_core::resources::{Resources, operations};
/// let total = Resources::parse("cpus:4;mem:64")?;
/// let wanted = Resources::parse(r#"cpus(*)<dynamic="eng",principal="ops">:1"#)?;
/// let reserved = operations::reserve(&total, &wanted)?;
/// assert_eq!(reserved.to_string(), r#"cpus:3;cpus(*)<dynamic="eng",principal="ops">:1;mem:64"#);
/// assert_eq!(operations::unreserve(&reserved, &wanted)?, total);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn reserve(total: &Resources, wanted: &Resources) -> Result<Resources, OperationError> {
    let before = unreserved_once(wanted)?;
    replaced(total, &before, wanted)
}

/// Removes the most refined level of the reservation of `resources` (RM-22, RM-37).
pub fn unreserve(total: &Resources, resources: &Resources) -> Result<Resources, OperationError> {
    let after = unreserved_once(resources)?;
    replaced(total, resources, &after)
}

/// Returns the same with one level less, which must be one that an operation made.
fn unreserved_once(resources: &Resources) -> Result<Resources, OperationError> {
    check_provider(resources)?;
    for entry in resources {
        let resource = || entry.clone();
        if entry.is_revocable() {
            return Err(OperationError::IsRevocable {
                resource: resource(),
            });
        }
        if entry.is_persistent_volume() {
            return Err(OperationError::IsVolume {
                resource: resource(),
            });
        }
        if !entry.is_dynamically_reserved() {
            return Err(OperationError::NotDynamic {
                resource: resource(),
            });
        }
    }
    each(resources, Resource::pop_reservation)
}

/// Returns how `source` becomes `target`, which differ in nothing but their reservation (RM-34):
/// levels are removed down to what both have in common, then those of the target are added. None
/// if they are reserved alike.
pub fn plan_reservation_update(
    source: &Resources,
    target: &Resources,
) -> Result<Vec<Step>, OperationError> {
    check_provider(source)?;
    check_provider(target)?;
    let (from, to) = (one_reservation(source)?, one_reservation(target)?);
    if restacked(source, to)? != *target {
        let target = target.clone();
        return Err(OperationError::NotTheSame { target });
    }
    let alike = from.levels().iter().zip(to.levels());
    let common = alike.take_while(|(old, new)| old == new).count();
    let mut steps = Vec::new();
    let mut now = from.clone();
    while now.levels().len() > common {
        let resources = restacked(source, &now)?;
        // Checks that an operation made the level, and that there is no volume.
        unreserved_once(&resources)?;
        steps.push(Step::Unreserve(resources));
        now.pop();
    }
    for level in &to.levels()[common..] {
        let pushed = now.push(Reservation::clone(level));
        pushed.expect("the levels of the target are in order");
        let resources = restacked(source, &now)?;
        unreserved_once(&resources)?;
        steps.push(Step::Reserve(resources));
    }
    Ok(steps)
}

/// Changes the reservation of `source` into that of `target`, at once or not at all (RM-34).
pub fn update_reservations(
    total: &Resources,
    source: &Resources,
    target: &Resources,
) -> Result<Resources, OperationError> {
    plan_reservation_update(source, target)?;
    replaced(total, source, target)
}

fn one_reservation(resources: &Resources) -> Result<&Reservations, OperationError> {
    let mut entries = resources.iter();
    let first = entries.next().ok_or(OperationError::Nothing)?;
    let reservations = &first.metadata().reservations;
    match entries.find(|entry| entry.metadata().reservations != *reservations) {
        Some(odd) => Err(OperationError::SeveralReservations { odd: odd.clone() }),
        None => Ok(reservations),
    }
}

fn restacked(resources: &Resources, to: &Reservations) -> Result<Resources, OperationError> {
    each(resources, |entry| entry.with_reservations(to.clone()))
}

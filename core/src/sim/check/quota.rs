//! Quota limits (I6): with an offer a role, and those above it, have no more than their limits by
//! as much as one unit. Quota guarantees (I7): what roles lack of theirs is free still after an
//! offer to others, so that they get it as soon as they want it; that they do is looked at apart
//! ([`super::promises`]).
//!
//! A limit is what others rely on: they get the rest. Looked at with each offer; what a role has
//! beyond its limit without one, because an agent has come back with its tasks or an operator has
//! lowered the limit, is so (RQ-17), but nothing is offered to it then.

use alloc::format;

use super::Broken;
use super::ledger::Ledger;
use crate::protocol::offer::Offer;
use crate::resources::{Quantities, Resource, Resources, Value};
use crate::roles::Role;
use crate::sim::property::Property;

/// Returns what of some resources counts against quota where it is given; what is reserved counts
/// whether it is given or not (RQ-21).
pub(super) fn open(resources: &Resources) -> Quantities {
    let counts = |entry: &Resource| {
        let adds_up = matches!(entry.value(), Value::Scalar(_));
        adds_up && !entry.is_reserved() && !entry.is_revocable()
    };
    Quantities::from(&resources.filter(counts))
}

/// Checks an offer that was just entered.
pub(super) fn check_offer(ledger: &Ledger, offer: &Offer) -> Result<(), Broken> {
    for (role, quota) in ledger.registry().quotas() {
        if !is_within(&offer.role, role) || quota.limits.iter().next().is_none() {
            continue;
        }
        let consumed = consumed(ledger, role);
        let offered = open(&offer.resources);
        let mut bounds = quota.limits.iter();
        let above = bounds.find(|(name, limit)| {
            !offered.amount(name).is_zero() && consumed.amount(name) > *limit
        });
        if let Some((name, limit)) = above {
            let amount = consumed.amount(name);
            let id = &offer.id;
            let problem =
                format!("with {id} {role} has {amount} of {name:?}, and may have {limit}");
            return Err((Property::Quota, problem));
        }
    }
    check_guarantees(ledger, offer)
}

/// Checks that what other roles lack is free still, of what the offer has anything of. None of
/// those that are promised something is below another that is: together they would lack less.
fn check_guarantees(ledger: &Ledger, offer: &Offer) -> Result<(), Broken> {
    let mut lacking = Quantities::new();
    for (role, quota) in ledger.registry().quotas() {
        if is_within(&offer.role, role) {
            continue;
        }
        let mut lacks = quota.guarantees.clone();
        lacks.saturating_sub(&consumed(ledger, role));
        lacking.add(&lacks);
    }
    let offered = open(&offer.resources);
    let mut lacking = lacking.iter();
    let Some(first) = lacking.find(|(name, _)| !offered.amount(name).is_zero()) else {
        return Ok(());
    };
    let free = ledger.free();
    let mut lacking = core::iter::once(first).chain(lacking);
    let short =
        lacking.find(|(name, lacks)| !offered.amount(name).is_zero() && free.amount(name) < *lacks);
    match short {
        None => Ok(()),
        Some((name, lacks)) => {
            let (id, role, free) = (&offer.id, &offer.role, free.amount(name));
            let problem = format!(
                "with {id} to {role} {free} of {name:?} is free, and {lacks} is promised to others"
            );
            Err((Property::Quota, problem))
        }
    }
}

/// Returns what a role, with all below it, has that counts against its quota.
pub(super) fn consumed(ledger: &Ledger, role: &Role) -> Quantities {
    let mut sum = Quantities::new();
    for (of, given) in ledger.roles() {
        if is_within(of, role) {
            sum.add(given);
        }
    }
    for total in ledger.connected() {
        let reserved = total.filter(|entry| {
            let of = entry.reservation_role();
            of.is_some_and(|of| is_within(of, role)) && matches!(entry.value(), Value::Scalar(_))
        });
        sum.add(&Quantities::from(&reserved));
    }
    sum
}

pub(super) fn is_within(role: &Role, above: &Role) -> bool {
    role == above || role.is_below(above)
}

//! What the allocator has to know of a resource beside its name and amount.
//!
//! This is the one place that asks a [`Resource`] what it is; everything else goes by [`Kind`].
//! Deliberately not here: what is done about it.

use super::Capability;
use crate::allocator::FrameworkCapabilities;
use crate::resources::{Items, Milli, Ranges, Resource, Resources, Value};
use crate::roles::Role;

/// How a resource may be offered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kind<'a> {
    /// Whose it is, if it is reserved.
    pub(super) reserved: Option<&'a Role>,
    /// It can be taken back at any time.
    pub(super) revocable: bool,
    /// Several may hold it at once.
    pub(super) shared: bool,
    /// It is reserved within a reservation.
    pub(super) refined: bool,
    /// It is offered whole or not at all, though it is a scalar.
    pub(super) whole: bool,
}

/// Says what a resource is.
pub(super) fn kind(resource: &Resource) -> Kind<'_> {
    Kind {
        reserved: resource.reservation_role(),
        revocable: resource.is_revocable(),
        shared: resource.is_shared(),
        refined: resource.has_refined_reservations(),
        whole: resource.is_exclusive(),
    }
}

/// Returns what a framework could cope with if it could cope with one thing more.
pub(super) const fn able(can: FrameworkCapabilities, more: Capability) -> FrameworkCapabilities {
    let mut able = can;
    match more {
        Capability::Revocable => able.revocable = true,
        Capability::Shared => able.shared = true,
        Capability::Refinement => able.reservation_refinement = true,
        Capability::Gpus => able.gpus = true,
        Capability::Region => able.region_aware = true,
        Capability::MultiRole | Capability::HierarchicalRole => {}
    }
    able
}

/// The scalar that is handed out in whole ones only (RM-55).
const GPUS: &str = "gpus";
/// One of something, in thousandths.
const ONE: i128 = 1_000;

/// Returns how much of something there is, in thousandths: what is told apart is counted, and what
/// is shared copy by copy.
pub(super) fn amount(entry: &Resource) -> i128 {
    one_copy(entry) * i128::from(entry.copies())
}

/// Returns how much of a name there is in a bag, whatever it is.
pub(super) fn amount_of(bag: &Resources, name: &str) -> i128 {
    let named = bag.iter().filter(|entry| entry.name() == name);
    named.map(amount).sum()
}

/// Returns how much there is of one copy of it.
pub(super) fn one_copy(entry: &Resource) -> i128 {
    match entry.value() {
        Value::Scalar(amount) => i128::from(amount.thousandths()),
        Value::Ranges(ranges) => ONE * i128::try_from(ranges.count()).expect("at most 2^64"),
        Value::Items(items) => ONE * items.len() as i128,
    }
}

/// Returns whether something is given as it is or not at all.
pub(super) fn is_undividable(entry: &Resource) -> bool {
    entry.is_exclusive() || entry.is_shared()
}

/// Returns whether parts of something are whole ones: numbers, names, and devices.
pub(super) fn is_in_ones(entry: &Resource) -> bool {
    !matches!(entry.value(), Value::Scalar(_)) || entry.name() == GPUS
}

/// Returns an amount without what is less than one.
pub(super) const fn whole_ones(amount: i128) -> i128 {
    amount - amount % ONE
}

/// Returns as much of a resource as is at most so many thousandths, the first numbers and names of
/// those that are told apart; `None` if that is nothing.
pub(super) fn at_most(entry: &Resource, most: i128) -> Option<Resource> {
    if amount(entry) <= most {
        return Some(entry.clone());
    }
    let most = if is_in_ones(entry) {
        whole_ones(most)
    } else {
        most
    };
    if most <= 0 || is_undividable(entry) {
        return None;
    }
    let value = match entry.value() {
        Value::Scalar(_) => {
            let most = i64::try_from(most).expect("less than there is");
            Value::Scalar(Milli::from_thousandths(most))
        }
        Value::Ranges(ranges) => Value::Ranges(first_numbers(ranges, most / ONE)),
        Value::Items(items) => {
            let most = usize::try_from(most / ONE).expect("fewer than there are");
            Value::Items(first_names(items, most))
        }
    };
    let part = entry.clone().with_value(value);
    Some(part.expect("it can be divided, and its value is of the same sort"))
}

/// Returns the first numbers of some, of which there are more.
fn first_numbers(ranges: &Ranges, most: i128) -> Ranges {
    let mut left = u64::try_from(most).expect("fewer than there are");
    let mut first = Ranges::new();
    for range in ranges.iter() {
        if left == 0 {
            break;
        }
        let end = range.start().saturating_add(left - 1).min(*range.end());
        left -= end - range.start() + 1;
        first.insert(*range.start()..=end);
    }
    first
}

fn first_names(items: &Items, most: usize) -> Items {
    let mut first = Items::new();
    for item in items.iter().take(most) {
        let _new = first.insert(item).expect("it was legal before");
    }
    first
}

impl Kind<'_> {
    /// Returns whether quota counts it when it is held: everything else is either counted when it
    /// is reserved, or not at all (AL-23).
    pub(super) const fn is_open(&self) -> bool {
        self.reserved.is_none() && !self.revocable
    }

    /// Returns whether a framework can cope with it (AL-32).
    pub(super) const fn suits(&self, framework: &FrameworkCapabilities) -> bool {
        self.lack(framework).is_none()
    }

    /// Returns what a framework would have to cope with to have it.
    pub(super) const fn lack(&self, framework: &FrameworkCapabilities) -> Option<Capability> {
        if self.revocable && !framework.revocable {
            Some(Capability::Revocable)
        } else if self.shared && !framework.shared {
            Some(Capability::Shared)
        } else if self.refined && !framework.reservation_refinement {
            Some(Capability::Refinement)
        } else {
            None
        }
    }

    /// Returns whether anybody may have it, in any part.
    pub(super) const fn is_plain(&self) -> bool {
        self.is_open() && !self.shared && !self.refined && !self.whole
    }
}

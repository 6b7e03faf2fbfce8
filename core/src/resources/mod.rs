//! Resources: what machines have, what is offered, what tasks take.
//!
//! The words, as they are used everywhere: the `total` of an agent is what it has; `offered` is
//! held by an offer; `allocated` is offered or used; `used` belongs to tasks and executors; `free`
//! is the total less what is allocated.
//!
//! [`Resources`] keep identity (RM-18): whose they are, which ports, which disk. [`Quantities`]
//! and [`Ceilings`] are plain numbers. [`operations`] reserve and make volumes, [`json`] is the
//! form of Mesos' API. Deliberately not here: what a name means, and who may do what.
//!
//! Where this differs from Mesos on purpose:
//!
//! * Values are checked and rounded where they are born, ranges and sets have one form (RM-02 to
//!   RM-06), and text follows a proper grammar (RM-07, RM-10).
//! * All exclusive disks are consumed by [`Resources::contains`], not only volumes (RM-24).
//! * [`Resources::find`] finds whenever there is enough, and deducts what it found (RM-25).
//! * What Mesos answers by ending the process or by saturating is a typed error (RM-22).
//!
//! And where it does not: reservations and volumes are a role's, and outlive the framework that
//! made them (RM-38); nothing removes a volume by itself (RM-50). Both name the principal who made
//! them, so that an operator can tell whose they were.

mod details;
mod find;
mod gather;
mod invalid;
mod items;
pub mod json;
mod kept;
mod labels;
mod metadata;
mod milli;
pub mod operations;
mod parse;
mod quantities;
mod ranges;
mod reservation;
mod resource;
#[cfg(test)]
mod tests;
mod value;
#[cfg(test)]
pub(crate) mod work;

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cmp::Ordering;
use core::fmt;
use core::str::FromStr;

use serde::Deserialize;

pub use invalid::{InvalidResource, Overflow};
pub use items::{InvalidItem, Items};
pub use labels::{InvalidLabels, InvalidText, Label, Labels};
pub use metadata::{
    Access, DiskKind, Metadata, ProfileId, ProviderId, Source, Volume, VolumeId, kind,
};
pub use milli::{InvalidScalar, Milli};
pub use parse::ParseError;
pub use quantities::{Ceilings, Quantities};
pub use ranges::{InvalidRanges, Ranges};
pub use reservation::{InvalidReservation, Reservation, Reservations};
pub use resource::Resource;
pub use value::Value;

pub(crate) use milli::Written;
pub(crate) use parse::{Cursor, expected_scalar, without_blanks};

use crate::roles::Role;

/// A bag of resources.
///
/// Its entries are ordered by identity and none of them is zero; so two bags are equal if their
/// entries are. What adds up is one entry for each identity; each exclusive disk is an entry of
/// its own, and there may be equal ones (RM-19). A name usually has one kind of value but need not.
///
/// ```
/// use tepui_core::resources::Resources;
///
/// let mut free = Resources::parse("ports:[31000-31005]; mem(eng):1024; cpus:2")?;
/// assert_eq!(free.to_string(), "cpus:2;mem(eng):1024;ports:[31000-31005]");
///
/// free.subtract(&Resources::parse("cpus:0.5;ports:[31000-31000]")?)?;
/// assert_eq!(free.to_string(), "cpus:1.5;mem(eng):1024;ports:[31001-31005]");
///
/// // Nobody reserved it, so it is not contained.
/// assert!(free.subtract(&Resources::parse("mem:1")?).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Clones share their entries until one of them changes: what is free, granted, offered and left
/// over of one agent is mostly one and the same bag.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Vec<Resource>")]
pub struct Resources(
    /// None of an empty bag, and only of that.
    Option<Arc<Vec<Resource>>>,
);

/// Something is not there that should be taken away.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{wanted} is not contained")]
pub struct NotContained {
    /// The first entry that is missing, or not there in this amount.
    pub wanted: Resource,
}

impl Resources {
    /// Makes an empty bag.
    pub const fn new() -> Self {
        Self(None)
    }

    /// Makes a bag of unreserved cores and MiB.
    pub fn cpus_mem(cpus: Milli, mem: Milli) -> Self {
        Self::new()
            .with_scalar("cpus", cpus)
            .with_scalar("mem", mem)
    }

    /// Adds an unreserved scalar whose name stands in the code.
    ///
    /// # Panics
    ///
    /// If the name is not legal, the amount is negative or the sum does not fit. What others
    /// write goes through [`Resources::parse`] or [`Resource::new`].
    #[must_use]
    pub fn with_scalar(mut self, name: &str, amount: Milli) -> Self {
        let resource = Resource::new(name, Value::Scalar(amount))
            .expect("the caller writes a legal name and an amount that is not negative");
        self.insert(resource)
            .expect("the caller adds a sum that fits");
        self
    }

    /// Reads text such as `cpus:2;mem(eng):1024;ports:[31000-31005]` (RM-10).
    ///
    /// Entries that merge are summed and zeros are dropped (RM-13). Mesos' text can say no more of
    /// a resource than its role; ours says the rest between role and value, where Mesos has
    /// nothing, so that every bag can be written and read back:
    ///
    /// ```
    /// # use tepui_core::resources::Resources;
    /// let text = r#"cpus(eng)<dynamic="eng/web",principal="ops",label="tier"="1">:2;
    ///               disk(*)<mount="/mnt/a">:100;mem(*)<revocable>:64"#;
    /// let resources = Resources::parse(text)?;
    /// assert!(resources.iter().any(|entry| entry.has_refined_reservations()));
    /// assert_eq!(Resources::parse(&resources.to_string())?, resources);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// The words in the angle brackets, each at most once unless it says otherwise:
    /// `dynamic="ROLE"` is one more level of the reservation and may repeat; `path`, `mount` (both
    /// perhaps with `="ROOT"`), `block` and `raw` are sorts of disk; `vendor`, `id` and `profile`
    /// say more about the disk; `volume="ID"` is a persistent volume and `rw="PATH"` or
    /// `ro="PATH"` where a container sees it; `principal="WHO"` made the level or volume before
    /// it; `label="KEY"="VALUE"` belongs to the level or disk before it and may repeat;
    /// `provider="ID"`, `revocable`, `shared` and `shared=COPIES` are of the whole. In a text `\`
    /// stands before a quote and before itself.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let (cursor, entries) = parse::entries(text)?;
        gather::gathered(entries).map_err(|(position, _)| cursor.error(position, SUM))
    }

    /// Reads what the flag of an agent gives it, in the same text, but keeps the entries apart and
    /// the zeros: `gpus:0` says not to look for any (RM-13).
    ///
    /// What only operations make is refused, and so is one name with two kinds of values, be it
    /// that one is zero (RM-12). Numbers and names that stand twice, reserved differently, are
    /// refused as well (see [`Resources::doubled`]).
    pub fn parse_entries(text: &str) -> Result<Vec<Resource>, ParseError> {
        let (cursor, entries) = parse::entries(text)?;
        let mut kinds = Kinds::new();
        for (position, resource) in &entries {
            let fit = check_configured(resource, &mut kinds);
            fit.map_err(|expected| cursor.error(*position, expected))?;
        }
        if let Some(at) = gather::doubled_at(entries.iter().map(|(_, resource)| resource)) {
            return Err(cursor.error(entries[at].0, gather::APART));
        }
        Ok(entries.into_iter().map(|(_, resource)| resource).collect())
    }

    /// Returns whether there is nothing.
    pub const fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Returns how many entries there are.
    pub fn len(&self) -> usize {
        self.entries().len()
    }

    /// Visits the entries in order: by name, the unreserved before the reserved.
    pub fn iter(&self) -> core::slice::Iter<'_, Resource> {
        self.entries().iter()
    }

    /// Adds one resource; a zero changes nothing (RM-13).
    pub fn insert(&mut self, resource: Resource) -> Result<(), Overflow> {
        if resource.is_nothing() {
            return Ok(());
        }
        let found = self.entries().binary_search_by(|it| it.slot_cmp(&resource));
        match found {
            Ok(at) if !resource.is_exclusive() => self.edit()[at].merge(&resource),
            Ok(at) | Err(at) => {
                self.edit().insert(at, resource);
                Ok(())
            }
        }
    }

    /// Adds all of `other`, or nothing if a sum does not fit (RM-19).
    ///
    /// Sums are not saturated, since taking away later what was added would then lose some.
    /// Numbers and names that both have are there once, as in Mesos; who adds up what several
    /// tasks take must subtract task by task to see that no port is taken twice, or ask for the
    /// [`Resources::overlap`] first.
    pub fn add(&mut self, other: &Self) -> Result<(), Overflow> {
        if other.is_empty() {
            return Ok(());
        }
        if self.is_empty() {
            *self = other.clone();
            return Ok(());
        }
        if let Some(added) = self.first_overflow(other) {
            return Err(Overflow {
                name: added.shared_name(),
            });
        }
        let entries = self.edit();
        let (old, mut from) = (entries.len(), 0);
        for added in other {
            match seek(&entries[..old], from, added) {
                Ok(at) if !added.is_exclusive() => {
                    let merged = entries[at].merge(added);
                    merged.expect("no sum was found to overflow");
                    from = at + 1;
                }
                Ok(at) | Err(at) => {
                    entries.push(added.clone());
                    from = at;
                }
            }
        }
        if entries.len() > old {
            // Two sorted runs, which a stable sort merges in linear time.
            entries.sort_by(Resource::slot_cmp);
        }
        Ok(())
    }

    /// Takes away all of `other`, or nothing if it is not contained (RM-20).
    pub fn subtract(&mut self, other: &Self) -> Result<(), NotContained> {
        if other.is_empty() {
            return Ok(());
        }
        if self.is_shared_with(other) {
            *self = Self::new();
            return Ok(());
        }
        if let Some(wanted) = self.first_missing(other) {
            return Err(NotContained {
                wanted: wanted.clone(),
            });
        }
        let (entries, mut from) = (self.edit(), 0);
        for taken in other {
            let at = seek(entries, from, taken).expect("it was found to be contained");
            entries[at].take(taken);
            from = at + 1;
        }
        self.drop_nothings();
        Ok(())
    }

    /// Returns this without `other`, which must be contained.
    pub fn checked_sub(&self, other: &Self) -> Result<Self, NotContained> {
        let mut rest = self.clone();
        rest.subtract(other)?;
        Ok(rest)
    }

    /// Returns this without the numbers and names that `other` has too; amounts stay whole.
    #[must_use]
    pub fn without_shared(&self, other: &Self) -> Self {
        self.without(other, |both| !both.is_scalar())
    }

    /// Returns this without what `other` has too, amounts included: what `other` has beyond this
    /// takes nothing away.
    #[must_use]
    pub fn less(&self, other: &Self) -> Self {
        self.without(other, |_| true)
    }

    /// Returns this without what of it `other` has too, as far as that goes. Both are in order, so
    /// they are walked together.
    fn without(&self, other: &Self, goes: impl Fn(&Resource) -> bool) -> Self {
        #[cfg(test)]
        work::done(self.len());
        let (mut rest, mut from) = (self.clone(), 0);
        for taken in other {
            let found = seek(rest.entries(), from, taken);
            from = found.map_or_else(|next| next, |at| at + 1);
            let both = found.ok().and_then(|at| rest.entries()[at].part_for(taken));
            if let (Ok(at), Some(both)) = (found, both.filter(&goes)) {
                rest.edit()[at].take(&both);
            }
        }
        rest.drop_nothings();
        rest
    }

    /// Returns whether every entry of `other` is a part of one entry here (RM-24). An exclusive
    /// disk is a part of one entry only: of two equal ones there have to be two.
    pub fn contains(&self, other: &Self) -> bool {
        self.first_missing(other).is_none()
    }

    /// Returns the numbers or names of an entry of `other` that an entry of the same identity has
    /// already, so that adding it would lose them; `None` if there are none.
    pub fn overlap(&self, other: &Self) -> Option<Resource> {
        let (entries, mut from) = (self.entries(), 0);
        other.iter().find_map(|added| {
            let found = seek(entries, from, added);
            from = found.unwrap_or_else(|next| next);
            let both = entries[found.ok()?].part_for(added)?;
            (!both.is_scalar()).then_some(both)
        })
    }

    /// Returns the sum of a scalar over all identities, where copies of what is shared count once;
    /// a sum that does not fit is [`Milli::MAX`].
    pub fn scalar(&self, name: &str) -> Milli {
        self.named(name)
            .iter()
            .fold(Milli::ZERO, |sum, entry| match entry.value() {
                Value::Scalar(amount) => sum.saturating_add(*amount),
                Value::Ranges(_) | Value::Items(_) => sum,
            })
    }

    /// Returns the cores.
    pub fn cpus(&self) -> Milli {
        self.scalar("cpus")
    }

    /// Returns the memory, in MiB.
    pub fn mem(&self) -> Milli {
        self.scalar("mem")
    }

    /// Returns the entries that `keeps` accepts (RM-26).
    #[must_use]
    pub fn filter(&self, keeps: impl Fn(&Resource) -> bool) -> Self {
        #[cfg(test)]
        work::done(self.len());
        let Some(gone) = self.iter().position(|entry| !keeps(entry)) else {
            return self.clone();
        };
        let (before, after) = (&self.entries()[..gone], &self.entries()[gone + 1..]);
        let after = after.iter().filter(|entry| keeps(entry));
        Self::kept(before.iter().chain(after).cloned().collect())
    }

    /// Returns how much of each name there is, as plain numbers (RM-28).
    pub fn total(&self) -> Quantities {
        Quantities::from(self)
    }

    /// Returns what may be offered to `role` (RM-23).
    #[must_use]
    pub fn allocatable_to(&self, role: &Role) -> Self {
        self.filter(|entry| entry.is_allocatable_to(role))
    }

    /// Returns the first entry of `other` whose sum with ours does not fit.
    fn first_overflow<'a>(&self, other: &'a Self) -> Option<&'a Resource> {
        let (entries, mut from) = (self.entries(), 0);
        other.iter().find(|added| {
            let found = seek(entries, from, added);
            from = found.unwrap_or_else(|next| next);
            let same = found.ok().filter(|_| !added.is_exclusive());
            same.is_some_and(|at| !entries[at].fits(added))
        })
    }

    /// Returns the first entry of `other` that is not a part of ours. Each of ours serves one.
    fn first_missing<'a>(&self, other: &'a Self) -> Option<&'a Resource> {
        let (entries, mut from) = (self.entries(), 0);
        other.iter().find(|wanted| {
            let found = seek(entries, from, wanted);
            from = found.map_or_else(|next| next, |at| at + 1);
            !found.is_ok_and(|at| entries[at].covers(wanted))
        })
    }
}

const SUM: &str = "a sum of at most 9223372036854775.807, or of 65536 copies";

type Kinds = BTreeMap<Arc<str>, value::Kind>;

/// Checks an entry of an agent's flag (RM-12); says what was expected.
fn check_configured(resource: &Resource, kinds: &mut Kinds) -> Result<(), &'static str> {
    if resource.is_persistent_volume() || resource.is_revocable() {
        return Err("nothing revocable and no persistent volume, which cannot be configured");
    }
    if resource
        .metadata()
        .reservations
        .levels()
        .iter()
        .any(Reservation::is_dynamic)
    {
        return Err("no dynamic reservation, which cannot be configured");
    }
    let kind = resource.value().kind();
    if *kinds.entry(resource.shared_name()).or_insert(kind) != kind {
        return Err("one kind of value for each name");
    }
    Ok(())
}

/// How many entries [`seek`] looks at one by one.
const NEAR: usize = 8;

/// Looks for the first entry of the same identity at `from` or later; answers as a binary search
/// does. Bags are short and callers walk in order, so it looks at a few one by one before it
/// searches the rest.
fn seek(entries: &[Resource], from: usize, wanted: &Resource) -> Result<usize, usize> {
    let far = entries.len().min(from + NEAR);
    for (at, entry) in entries[..far].iter().enumerate().skip(from) {
        match entry.slot_cmp(wanted) {
            Ordering::Less => {}
            Ordering::Equal => return Ok(at),
            Ordering::Greater => return Err(at),
        }
    }
    let at = far + entries[far..].partition_point(|entry| entry.slot_cmp(wanted).is_lt());
    match entries.get(at) {
        Some(entry) if entry.slot_cmp(wanted).is_eq() => Ok(at),
        Some(_) | None => Err(at),
    }
}

impl FromStr for Resources {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        Self::parse(text)
    }
}

impl fmt::Display for Resources {
    /// Writes `name(role):value;…`, and whatever else there is to say (see
    /// [`Resources::parse`]); what is written reads back.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, resource) in self.iter().enumerate() {
            let semicolon = if n == 0 { "" } else { ";" };
            write!(f, "{semicolon}{resource}")?;
        }
        Ok(())
    }
}

//! Resources: what machines have, what is offered, what tasks take.
//!
//! The words, as they are used everywhere: the `total` of an agent is what it has; `offered` is
//! held by an offer; `allocated` is offered or used; `used` belongs to tasks and executors; `free`
//! is the total less what is allocated.
//!
//! [`Resources`] keep identity (RM-18): whose they are, which ports. [`Quantities`] and
//! [`Ceilings`] are plain numbers. Deliberately not here: what a name means, and sharing.

mod items;
mod milli;
mod parse;
mod quantities;
mod ranges;
mod resource;
#[cfg(test)]
mod tests;

use alloc::vec;
use alloc::vec::Vec;
use core::cmp::Ordering;
use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Serialize};

pub use items::{InvalidItem, Items};
pub use milli::{InvalidScalar, Milli};
pub use parse::ParseError;
pub use quantities::{Ceilings, Quantities};
pub use ranges::{InvalidRanges, Ranges};
pub use resource::{InvalidResource, Overflow, Resource, Value};

pub(crate) use milli::Written;
pub(crate) use parse::{Cursor, expected_scalar, without_blanks};

use crate::roles::Role;

/// A bag of resources.
///
/// It holds one entry for each identity, ordered by identity, none of them zero; so two bags are
/// equal if their entries are. A name usually has one kind of value but need not.
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Vec<Resource>")]
pub struct Resources(Vec<Resource>);

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
        Self(Vec::new())
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
    /// Entries of equal identity are summed and zeros are dropped (RM-13). One name with two kinds
    /// of values is refused (RM-12).
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let (cursor, mut entries) = parse::entries(text)?;
        entries.sort_by(|(_, a), (_, b)| a.identity_cmp(b));
        let mut bag: Vec<Resource> = Vec::with_capacity(entries.len());
        for (position, resource) in entries {
            match bag
                .last_mut()
                .filter(|last| last.identity_cmp(&resource).is_eq())
            {
                Some(last) => match last.value().sum(resource.value()) {
                    Some(sum) => last.set_value(sum),
                    None => {
                        return Err(cursor.error(position, "a sum of at most 9223372036854775.807"));
                    }
                },
                None => bag.push(resource),
            }
        }
        bag.retain(|resource| !resource.value().is_zero());
        Ok(Self(bag))
    }

    /// Reads the same text but keeps the entries apart and the zeros: `gpus:0` in the flag of an
    /// agent says not to look for any (RM-13).
    pub fn parse_entries(text: &str) -> Result<Vec<Resource>, ParseError> {
        let (_, entries) = parse::entries(text)?;
        Ok(entries.into_iter().map(|(_, resource)| resource).collect())
    }

    /// Returns whether there is nothing.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns how many entries there are.
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Visits the entries in order: by name, the unreserved before the reserved.
    pub fn iter(&self) -> core::slice::Iter<'_, Resource> {
        self.0.iter()
    }

    /// Adds one resource; a zero changes nothing (RM-13).
    pub fn insert(&mut self, resource: Resource) -> Result<(), Overflow> {
        if resource.value().is_zero() {
            return Ok(());
        }
        self.add(&Self(vec![resource]))
    }

    /// Adds all of `other`, or nothing if a sum does not fit.
    ///
    /// Sums are not saturated, since taking away later what was added would then lose some.
    /// Numbers and names that both have are there once, as in Mesos; who adds up what several
    /// tasks take must subtract task by task to see that no port is taken twice.
    pub fn add(&mut self, other: &Self) -> Result<(), Overflow> {
        if let Some(added) = self.first_overflow(other) {
            return Err(Overflow {
                name: added.shared_name(),
            });
        }
        let (old, mut from) = (self.0.len(), 0);
        for added in &other.0 {
            match seek(&self.0[..old], from, added) {
                Ok(at) => {
                    let sum = self.0[at].value().sum(added.value());
                    self.0[at].set_value(sum.expect("no sum was found to overflow"));
                    from = at + 1;
                }
                Err(at) => {
                    self.0.push(added.clone());
                    from = at;
                }
            }
        }
        // Two sorted runs, which a stable sort merges in linear time.
        self.0.sort_by(Resource::identity_cmp);
        Ok(())
    }

    /// Takes away all of `other`, or nothing if it is not contained.
    pub fn subtract(&mut self, other: &Self) -> Result<(), NotContained> {
        if let Some(wanted) = self.first_missing(other) {
            return Err(NotContained {
                wanted: wanted.clone(),
            });
        }
        let mut from = 0;
        for taken in &other.0 {
            let at = seek(&self.0, from, taken).expect("it was found to be contained");
            let rest = self.0[at].value().rest(taken.value());
            self.0[at].set_value(rest);
            from = at + 1;
        }
        self.0.retain(|entry| !entry.value().is_zero());
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
        let mut rest = self.clone();
        let mut from = 0;
        for shared in &other.0 {
            match seek(&rest.0, from, shared) {
                Ok(at) if !matches!(shared.value(), Value::Scalar(_)) => {
                    let left = rest.0[at].value().rest(shared.value());
                    rest.0[at].set_value(left);
                    from = at + 1;
                }
                Ok(next) | Err(next) => from = next,
            }
        }
        rest.0.retain(|entry| !entry.value().is_zero());
        rest
    }

    /// Returns whether every entry of `other` is a part of one entry here (RM-24).
    pub fn contains(&self, other: &Self) -> bool {
        self.first_missing(other).is_none()
    }

    /// Returns the sum of a scalar over all reservations; one that does not fit is
    /// [`Milli::MAX`].
    pub fn scalar(&self, name: &str) -> Milli {
        let start = self.0.partition_point(|entry| entry.name() < name);
        let named = self.0[start..]
            .iter()
            .take_while(|entry| entry.name() == name);
        named.fold(Milli::ZERO, |sum, entry| match entry.value() {
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
        Self(
            self.0
                .iter()
                .filter(|entry| keeps(entry))
                .cloned()
                .collect(),
        )
    }

    /// Returns what may be offered to `role` (RM-23).
    #[must_use]
    pub fn allocatable_to(&self, role: &Role) -> Self {
        self.filter(|entry| entry.is_allocatable_to(role))
    }

    /// Returns the first entry of `other` whose sum with ours does not fit.
    fn first_overflow<'a>(&self, other: &'a Self) -> Option<&'a Resource> {
        let mut from = 0;
        other.0.iter().find(|added| {
            let found = seek(&self.0, from, added);
            from = found.unwrap_or_else(|next| next);
            found.is_ok_and(|at| self.0[at].value().sum(added.value()).is_none())
        })
    }

    /// Returns the first entry of `other` that is not a part of ours.
    fn first_missing<'a>(&self, other: &'a Self) -> Option<&'a Resource> {
        let mut from = 0;
        other.0.iter().find(|wanted| {
            let found = seek(&self.0, from, wanted);
            from = found.unwrap_or_else(|next| next);
            !found.is_ok_and(|at| self.0[at].value().contains(wanted.value()))
        })
    }
}

/// Looks for an entry of the same identity at `from` or later; answers as a binary search does.
/// Bags are short and callers walk in order, so a whole walk is linear.
fn seek(entries: &[Resource], from: usize, wanted: &Resource) -> Result<usize, usize> {
    for (at, entry) in entries.iter().enumerate().skip(from) {
        match entry.identity_cmp(wanted) {
            Ordering::Less => {}
            Ordering::Equal => return Ok(at),
            Ordering::Greater => return Err(at),
        }
    }
    Err(entries.len())
}

impl<'a> IntoIterator for &'a Resources {
    type Item = &'a Resource;
    type IntoIter = core::slice::Iter<'a, Resource>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl TryFrom<Vec<Resource>> for Resources {
    type Error = InvalidResource;

    /// Takes entries of a peer, who has to send the canonical form: a value has one encoding.
    fn try_from(entries: Vec<Resource>) -> Result<Self, InvalidResource> {
        let zero = entries.iter().find(|entry| entry.value().is_zero());
        let late = entries
            .windows(2)
            .find(|pair| pair[0].identity_cmp(&pair[1]).is_ge());
        if let Some(bad) = zero.or_else(|| late.map(|pair| &pair[1])) {
            return Err(InvalidResource::NotCanonical {
                name: bad.shared_name(),
            });
        }
        Ok(Self(entries))
    }
}

impl FromStr for Resources {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        Self::parse(text)
    }
}

impl fmt::Display for Resources {
    /// Writes `name(role):value;…`, which reads back unless a name has two kinds of values.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, resource) in self.0.iter().enumerate() {
            let semicolon = if n == 0 { "" } else { ";" };
            write!(f, "{semicolon}{resource}")?;
        }
        Ok(())
    }
}

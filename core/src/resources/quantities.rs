//! Plain numbers by name, without identity: for quota, shares and headroom.
//!
//! There are two types because their meaning of an absent name differs: no [`Quantities`] of it,
//! or no [`Ceilings`] on it. Deliberately not here: dense rows, which the allocator keeps.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::str::FromStr;
use core::{fmt, mem};

use serde::{Deserialize, Serialize};

use super::invalid::{InvalidResource, check_name};
use super::milli::Milli;
use super::parse::{Cursor, NAME, NUMBER, ParseError};
use super::{Resource, Resources};

type Entry = (Arc<str>, Milli);

/// Amounts by name; an absent name is zero (RM-28).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Vec<Entry>")]
pub struct Quantities(Vec<Entry>);

/// Bounds by name; an absent name is unbounded, and zero forbids (RM-29).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Vec<Entry>")]
pub struct Ceilings(Vec<Entry>);

impl Quantities {
    /// Makes no quantities.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Reads text such as `cpus:1;mem:32`. Repeated names are summed (RM-28).
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let mut sums: Vec<Entry> = Vec::new();
        let mut cursor = Cursor::new("quantities", text);
        for (position, (name, amount)) in entries(&mut cursor)? {
            match sums.last_mut().filter(|last| last.0 == name) {
                Some(last) => match last.1.checked_add(amount) {
                    Some(sum) => last.1 = sum,
                    None => {
                        return Err(cursor.error(position, "a sum of at most 9223372036854775.807"));
                    }
                },
                None => sums.push((name, amount)),
            }
        }
        sums.retain(|(_, amount)| !amount.is_zero());
        Ok(Self(sums))
    }

    /// Sums amounts by name (RM-28); a sum that does not fit becomes [`Milli::MAX`].
    ///
    /// ```
    /// # use tepui_core::resources::{Milli, Quantities};
    /// let amounts = [("mem", 64), ("cpus", 1), ("mem", 32)];
    /// let sums = Quantities::of(amounts.map(|(name, n)| (name, Milli::from_units(n))))?;
    /// assert_eq!(sums.to_string(), "cpus:1;mem:96");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn of<'a>(
        amounts: impl IntoIterator<Item = (&'a str, Milli)>,
    ) -> Result<Self, InvalidResource> {
        let mut sums: Vec<Entry> = Vec::new();
        for (name, amount) in amounts {
            check_name(name)?;
            if !amount.is_zero() {
                sums.push((Arc::from(name), amount));
            }
        }
        summed(&mut sums);
        Ok(Self(sums))
    }

    /// Adds an amount of a name (RM-28); a sum that does not fit becomes [`Milli::MAX`].
    pub fn insert(&mut self, name: &str, amount: Milli) -> Result<(), InvalidResource> {
        check_name(name)?;
        if amount.is_zero() {
            return Ok(());
        }
        match seek(&self.0, name) {
            Ok(at) => self.0[at].1 = self.0[at].1.saturating_add(amount),
            Err(at) => self.0.insert(at, (Arc::from(name), amount)),
        }
        Ok(())
    }

    /// Returns whether all are zero.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Visits what is not zero, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Milli)> + '_ {
        self.0.iter().map(|(name, amount)| (&**name, *amount))
    }

    /// Returns the amount of a name.
    pub fn amount(&self, name: &str) -> Milli {
        find(&self.0, name).unwrap_or(Milli::ZERO)
    }

    /// Returns whether there is at least as much of every name.
    pub fn contains(&self, other: &Self) -> bool {
        other
            .0
            .iter()
            .all(|(name, amount)| self.amount(name) >= *amount)
    }

    /// Adds name by name. A sum that does not fit becomes [`Milli::MAX`]: these are numbers to
    /// compare, nothing is given away by them.
    pub fn add(&mut self, other: &Self) {
        self.0.extend(other.0.iter().cloned());
        summed(&mut self.0);
    }

    /// Subtracts name by name, but not below zero.
    pub fn saturating_sub(&mut self, other: &Self) {
        for (name, amount) in &mut self.0 {
            *amount = amount.saturating_sub(other.amount(name));
        }
        self.0.retain(|(_, amount)| !amount.is_zero());
    }
}

impl Ceilings {
    /// Makes no bounds.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Reads text such as `cpus:1;gpus:0`. Repeated names are refused (RM-29).
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let mut cursor = Cursor::new("limits", text);
        let entries = entries(&mut cursor)?;
        if let Some(pair) = entries.windows(2).find(|pair| pair[0].1.0 == pair[1].1.0) {
            return Err(cursor.error(pair[1].0, "a name that is not there yet"));
        }
        Ok(Self(entries.into_iter().map(|(_, entry)| entry).collect()))
    }

    /// Bounds a name; where it is bounded already, to the new one. Returns the old one.
    pub fn insert(&mut self, name: &str, bound: Milli) -> Result<Option<Milli>, InvalidResource> {
        check_name(name)?;
        match seek(&self.0, name) {
            Ok(at) => Ok(Some(mem::replace(&mut self.0[at].1, bound))),
            Err(at) => {
                self.0.insert(at, (Arc::from(name), bound));
                Ok(None)
            }
        }
    }

    /// Returns whether nothing is bounded.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Visits the bounds, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Milli)> + '_ {
        self.0.iter().map(|(name, amount)| (&**name, *amount))
    }

    /// Returns the bound on a name, if it has one.
    pub fn bound(&self, name: &str) -> Option<Milli> {
        find(&self.0, name)
    }

    /// Returns whether no quantity is above its bound.
    pub fn contains(&self, quantities: &Quantities) -> bool {
        self.0
            .iter()
            .all(|(name, bound)| quantities.amount(name) <= *bound)
    }
}

/// Sorts amounts by name and sums those of one name.
fn summed(entries: &mut Vec<Entry>) {
    // Stable on purpose: it notices sorted runs, so that adding two sums is linear.
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    entries.dedup_by(|next, kept| {
        let same = next.0 == kept.0;
        if same {
            kept.1 = kept.1.saturating_add(next.1);
        }
        same
    });
}

fn seek(entries: &[Entry], name: &str) -> Result<usize, usize> {
    entries.binary_search_by(|(known, _)| (**known).cmp(name))
}

fn find(entries: &[Entry], name: &str) -> Option<Milli> {
    Some(entries[seek(entries, name).ok()?].1)
}

/// Reads `name:number;…` with positions, sorted by name and then by position.
fn entries(cursor: &mut Cursor<'_>) -> Result<Vec<(usize, Entry)>, ParseError> {
    let mut entries: Vec<(usize, Entry)> = Vec::new();
    while cursor.next_entry()? {
        let start = cursor.at();
        let name = cursor.take_until(&[':', ';']).trim_ascii();
        check_name(name).map_err(|_| cursor.error(start, NAME))?;
        cursor.expect(':', r#"":" and a number"#)?;
        let amount = cursor.kept_scalar(&[';', ':'], NUMBER)?;
        entries.push((start, (Arc::from(name), amount)));
    }
    entries.sort_by(|a, b| a.1.0.cmp(&b.1.0));
    Ok(entries)
}

/// Checks that a peer's names are legal, sorted and there once.
fn check_entries(entries: &[Entry]) -> Result<(), InvalidResource> {
    let mut each = entries.iter();
    each.try_for_each(|(name, _)| check_name(name))?;
    match entries.windows(2).find(|pair| pair[0].0 >= pair[1].0) {
        Some(pair) => Err(InvalidResource::NotCanonical {
            name: Arc::clone(&pair[1].0),
        }),
        None => Ok(()),
    }
}

impl<'a> FromIterator<&'a Resource> for Quantities {
    /// Sums over identities; sets are counted (RM-28). A sum that does not fit becomes
    /// [`Milli::MAX`].
    fn from_iter<I: IntoIterator<Item = &'a Resource>>(resources: I) -> Self {
        let amounts = resources
            .into_iter()
            .map(|entry| (entry.shared_name(), entry.value().quantity()));
        let mut sums: Vec<Entry> = amounts.filter(|(_, amount)| !amount.is_zero()).collect();
        summed(&mut sums);
        Self(sums)
    }
}

impl From<&Resources> for Quantities {
    /// Sums over identities; sets are counted (RM-28).
    fn from(resources: &Resources) -> Self {
        let mut sums: Vec<Entry> = Vec::with_capacity(resources.len());
        for resource in resources {
            let amount = resource.value().quantity();
            match sums.last_mut().filter(|last| *last.0 == *resource.name()) {
                Some(last) => last.1 = last.1.saturating_add(amount),
                None => sums.push((resource.shared_name(), amount)),
            }
        }
        Self(sums)
    }
}

impl TryFrom<Vec<Entry>> for Quantities {
    type Error = InvalidResource;

    fn try_from(entries: Vec<Entry>) -> Result<Self, InvalidResource> {
        check_entries(&entries)?;
        match entries.iter().find(|(_, amount)| amount.is_zero()) {
            Some((name, _)) => Err(InvalidResource::NotCanonical {
                name: Arc::clone(name),
            }),
            None => Ok(Self(entries)),
        }
    }
}

impl TryFrom<Vec<Entry>> for Ceilings {
    type Error = InvalidResource;

    fn try_from(entries: Vec<Entry>) -> Result<Self, InvalidResource> {
        check_entries(&entries)?;
        Ok(Self(entries))
    }
}

impl FromStr for Quantities {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        Self::parse(text)
    }
}

impl FromStr for Ceilings {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        Self::parse(text)
    }
}

fn write_entries(entries: &[Entry], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for (n, (name, amount)) in entries.iter().enumerate() {
        let semicolon = if n == 0 { "" } else { ";" };
        write!(f, "{semicolon}{name}:{amount}")?;
    }
    Ok(())
}

impl fmt::Display for Quantities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_entries(&self.0, f)
    }
}

impl fmt::Display for Ceilings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_entries(&self.0, f)
    }
}

//! Putting bags together out of many entries, and looking at what several entries have of a name.
//!
//! Entries of one identity are summed at once, however many there are: adding one set of numbers
//! after the other would copy all before it each time. Called by whatever reads lists, and by the
//! checks of what an agent says that it has. Deliberately not here: adding bags.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::Resources;
use super::invalid::Overflow;
use super::items::Items;
use super::ranges::Ranges;
use super::resource::Resource;
use super::value::Value;

/// What an error expects where numbers or names stand twice.
pub(super) const APART: &str =
    "numbers and names that no other entry of this name has, be it reserved otherwise";

impl Resources {
    /// Sums resources in any order; zeros change nothing (RM-13).
    ///
    /// It is no `FromIterator`, since a sum may not fit.
    ///
    /// ```
    /// # use tepui_core::resources::Resources;
    /// let given = Resources::parse_entries("ports:[1-2];cpus:1;ports:[3-4];gpus:0")?;
    /// assert_eq!(Resources::of(given)?.to_string(), "cpus:1;ports:[1-4]");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn of(entries: impl IntoIterator<Item = Resource>) -> Result<Self, Overflow> {
        let marked = entries.into_iter().map(|entry| (0, entry)).collect();
        gathered(marked).map_err(|(_, why)| why)
    }

    /// Returns the numbers of a name over all identities; empty if it has none.
    ///
    /// ```
    /// # use tepui_core::resources::Resources;
    /// let free = Resources::parse("ports:[1-3];ports(eng):[7-9];gpu:{a}")?;
    /// assert_eq!(free.ranges("ports").to_string(), "[1-3,7-9]");
    /// assert!(free.items("gpu").iter().eq(["a"]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn ranges(&self, name: &str) -> Ranges {
        Ranges::united(self.named(name).iter().filter_map(numbers))
    }

    /// Returns the items of a name over all identities; empty if it has none.
    pub fn items(&self, name: &str) -> Items {
        Items::united(self.named(name).iter().filter_map(names))
    }

    /// Returns a number or a name that two entries of one name have, be they reserved to different
    /// roles or of different sorts; `None` if there is none.
    ///
    /// The algebra does not mind, for identities are apart (RM-18). But there is one port of a
    /// number on a machine: what an agent says that it has must not hold one twice, or it would be
    /// offered twice. What operations make of such resources keeps to it.
    ///
    /// ```
    /// # use tepui_core::resources::Resources;
    /// let twice = Resources::parse("ports(a):[1-5];ports(b):[3-9]")?;
    /// assert_eq!(twice.doubled().unwrap().to_string(), "ports(b):[3-5]");
    /// assert_eq!(Resources::parse("ports(a):[1-5];ports(b):[6-9]")?.doubled(), None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn doubled(&self) -> Option<Resource> {
        let alike = |a: &Resource, b: &Resource| {
            a.name() == b.name() && a.value().kind() == b.value().kind()
        };
        self.entries()
            .chunk_by(alike)
            .filter(|entries| entries.len() > 1)
            .find_map(|entries| doubled_number(entries).or_else(|| doubled_name(entries)))
    }

    /// Returns the entries of a name.
    pub(super) fn named(&self, name: &str) -> &[Resource] {
        let entries = self.entries();
        let rest = &entries[entries.partition_point(|entry| entry.name() < name)..];
        &rest[..rest.partition_point(|entry| entry.name() == name)]
    }
}

/// Returns which entry has, as the last one, numbers or names that one of another identity has too.
pub(super) fn doubled_at<'a>(entries: impl Iterator<Item = &'a Resource> + Clone) -> Option<usize> {
    let sets = entries.clone().filter(|entry| !entry.is_scalar());
    let sets = Resources::of(sets.cloned()).expect("the union of sets fits");
    let twice = sets.doubled()?;
    let has = |entry: &Resource| {
        entry.name() == twice.name() && !entry.value().common(twice.value()).is_zero()
    };
    let found = entries.enumerate().filter(|(_, entry)| has(entry)).last();
    found.map(|(at, _)| at)
}

/// Sums entries, each with a mark; the error has the mark of the first one that does not fit.
pub(super) fn gathered(
    mut entries: Vec<(usize, Resource)>,
) -> Result<Resources, (usize, Overflow)> {
    entries.sort_by(|(_, a), (_, b)| a.slot_cmp(b));
    let merge = |(_, a): &(usize, Resource), (_, b): &(usize, Resource)| {
        !a.is_exclusive() && a.slot_cmp(b).is_eq()
    };
    let sums: Result<Vec<Resource>, _> = entries.chunk_by(merge).map(sum).collect();
    let mut bag = sums?;
    bag.retain(|resource| !resource.is_nothing());
    Ok(Resources::described_once(bag))
}

/// Sums entries of one identity.
fn sum(same: &[(usize, Resource)]) -> Result<Resource, (usize, Overflow)> {
    let ((_, first), others) = same.split_first().expect("a chunk is not empty");
    let entries = || same.iter().map(|(_, entry)| entry);
    let mut sum = first.clone();
    let value = match first.value() {
        Value::Ranges(_) if !others.is_empty() => {
            Value::Ranges(Ranges::united(entries().filter_map(numbers)))
        }
        Value::Items(_) if !others.is_empty() => {
            Value::Items(Items::united(entries().filter_map(names)))
        }
        Value::Scalar(_) | Value::Ranges(_) | Value::Items(_) => {
            for (mark, other) in others {
                sum.merge(other).map_err(|why| (*mark, why))?;
            }
            return Ok(sum);
        }
    };
    Ok(sum
        .with_value(value)
        .expect("sets of one identity are another such set"))
}

const fn numbers(entry: &Resource) -> Option<&Ranges> {
    match entry.value() {
        Value::Ranges(ranges) => Some(ranges),
        Value::Scalar(_) | Value::Items(_) => None,
    }
}

const fn names(entry: &Resource) -> Option<&Items> {
    match entry.value() {
        Value::Items(items) => Some(items),
        Value::Scalar(_) | Value::Ranges(_) => None,
    }
}

/// Returns numbers that two of some entries have. Of ranges in order, neighbours overlap if any do.
fn doubled_number(entries: &[Resource]) -> Option<Resource> {
    let spans = entries
        .iter()
        .filter_map(|entry| Some((entry, numbers(entry)?)));
    let mut spans: Vec<_> = spans
        .flat_map(|(entry, ranges)| ranges.iter().map(move |range| (range.into_inner(), entry)))
        .collect();
    spans.sort_by_key(|(span, _)| *span);
    let pair = spans.windows(2).find(|pair| pair[1].0.0 <= pair[0].0.1)?;
    let (((_, before), _), ((first, last), entry)) = (pair[0], pair[1]);
    let both: Ranges = core::iter::once(first..=last.min(before)).collect();
    let twice = entry.clone().with_value(Value::Ranges(both));
    Some(twice.expect("a part of an entry is such an entry"))
}

/// Returns a name that two of some entries have.
fn doubled_name(entries: &[Resource]) -> Option<Resource> {
    let given = entries
        .iter()
        .filter_map(|entry| Some((entry, names(entry)?)));
    let mut given: Vec<_> = given
        .flat_map(|(entry, items)| items.iter().map(move |name| (name, entry)))
        .collect();
    given.sort_by_key(|(name, _)| *name);
    let pair = given.windows(2).find(|pair| pair[0].0 == pair[1].0)?;
    let (name, entry) = pair[1];
    let one = Items::try_from(Vec::from([Arc::from(name)])).expect("it is an item of a set");
    let twice = entry.clone().with_value(Value::Items(one));
    Some(twice.expect("a part of an entry is such an entry"))
}

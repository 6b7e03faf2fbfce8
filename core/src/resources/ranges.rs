//! Sets of whole numbers as sorted disjoint ranges: ports.
//!
//! There is one canonical form, always kept: ranges that overlap or touch are one (RM-04). So
//! equality is equality of the parts, and containment looks at one range at a time. Deliberately
//! not here: choosing a port. Schedulers do that.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::ops::RangeInclusive;
use core::str::FromStr;

use serde::{Deserialize, Serialize, Serializer};
use smallvec::SmallVec;

use super::parse::{Cursor, ParseError};

/// Ranges that are being put together; few are the rule.
type Pairs = SmallVec<[(u64, u64); 8]>;

/// A set of `u64`, kept as ranges. Clones share them.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "Vec<(u64, u64)>")]
pub struct Ranges(
    /// None of an empty set, so that making one allocates nothing.
    Option<Arc<[(u64, u64)]>>,
);

/// A peer's ranges are not in canonical form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("range {first}-{last} is inverted, or overlaps or touches the one before it")]
pub struct InvalidRanges {
    first: u64,
    last: u64,
}

impl Ranges {
    /// Makes an empty set.
    pub const fn new() -> Self {
        Self(None)
    }

    fn kept(ranges: &[(u64, u64)]) -> Self {
        Self((!ranges.is_empty()).then(|| Arc::from(ranges)))
    }

    fn pairs(&self) -> &[(u64, u64)] {
        self.0.as_deref().unwrap_or_default()
    }

    /// Reads text such as `[1-3,5-5]`. Ranges that overlap are merged, an inverted one is refused.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let mut cursor = Cursor::new("ranges", text);
        let ranges = cursor.ranges()?;
        cursor.expect_end()?;
        Ok(ranges)
    }

    /// Returns whether there is no number.
    pub const fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Visits the ranges in order.
    pub fn iter(&self) -> impl Iterator<Item = RangeInclusive<u64>> + '_ {
        self.pairs().iter().map(|(first, last)| *first..=*last)
    }

    /// Returns how many numbers there are, which may be 2^64.
    pub fn count(&self) -> u128 {
        self.pairs()
            .iter()
            .map(|(first, last)| u128::from(last - first) + 1)
            .sum()
    }

    /// Adds the numbers of a range; an inverted range has none. All are copied: who has many
    /// collects them instead.
    pub fn insert(&mut self, range: RangeInclusive<u64>) {
        *self = self.union(&core::iter::once(range).collect());
    }

    /// Returns the numbers of either.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        if self.is_empty() || other.is_empty() {
            return if self.is_empty() { other } else { self }.clone();
        }
        Self::united([self, other])
    }

    /// Returns the numbers of any of several sets, which are put in order once.
    pub(super) fn united<'a>(sets: impl IntoIterator<Item = &'a Self>) -> Self {
        let pairs = sets.into_iter().flat_map(Self::pairs);
        coalesced(pairs.copied().collect())
    }

    /// Returns the numbers of this that are not in `other`.
    #[must_use]
    pub fn subtract(&self, other: &Self) -> Self {
        let mut rest = Pairs::new();
        let mut cuts = other.pairs().iter().peekable();
        for &(first, last) in self.pairs() {
            let mut from = Some(first);
            while let (Some(start), Some(&&(cut_first, cut_last))) = (from, cuts.peek()) {
                if cut_first > last {
                    break;
                }
                if cut_last >= start {
                    if cut_first > start {
                        rest.push((start, cut_first - 1));
                    }
                    if cut_last >= last {
                        // It may cut into the next range too, so it stays.
                        from = None;
                        break;
                    }
                    from = Some(cut_last + 1);
                }
                cuts.next();
            }
            rest.extend(from.map(|start| (start, last)));
        }
        Self::kept(&rest)
    }

    /// Returns the numbers of both.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Self {
        let (mut left, mut right) = (
            self.pairs().iter().peekable(),
            other.pairs().iter().peekable(),
        );
        let mut both = Pairs::new();
        while let (Some(a), Some(b)) = (left.peek(), right.peek()) {
            let (first, last) = (a.0.max(b.0), a.1.min(b.1));
            if first <= last {
                both.push((first, last));
            }
            if a.1 < b.1 {
                left.next();
            } else {
                right.next();
            }
        }
        Self::kept(&both)
    }

    /// Returns whether every number of `other` is here (TV-04).
    pub fn contains(&self, other: &Self) -> bool {
        let mut mine = self.pairs().iter().peekable();
        other.pairs().iter().all(|(first, last)| {
            while mine.next_if(|m| m.1 < *first).is_some() {}
            mine.peek().is_some_and(|m| m.0 <= *first && *last <= m.1)
        })
    }
}

/// Brings ranges into the canonical form. Each must have `first <= last`.
fn coalesced(mut ranges: Pairs) -> Ranges {
    #[cfg(test)]
    super::work::done(ranges.len());
    // Stable on purpose: it notices sorted runs, so that a union is linear.
    ranges.sort();
    ranges.dedup_by(|next, kept| {
        // Saturation is right at 2^64-1, where every later range begins within the kept one.
        let joins = next.0 <= kept.1.saturating_add(1);
        if joins {
            kept.1 = kept.1.max(next.1);
        }
        joins
    });
    Ranges::kept(&ranges)
}

impl FromIterator<RangeInclusive<u64>> for Ranges {
    /// Unites ranges in any order; inverted ones have no numbers.
    fn from_iter<I: IntoIterator<Item = RangeInclusive<u64>>>(ranges: I) -> Self {
        let ranges = ranges
            .into_iter()
            .filter(|r| !r.is_empty())
            .map(RangeInclusive::into_inner);
        coalesced(ranges.collect())
    }
}

impl TryFrom<Vec<(u64, u64)>> for Ranges {
    type Error = InvalidRanges;

    /// Takes ranges of a peer, who has to send the canonical form: a value has one encoding.
    fn try_from(ranges: Vec<(u64, u64)>) -> Result<Self, InvalidRanges> {
        let mut before: Option<u64> = None;
        for &(first, last) in &ranges {
            let apart = before.is_none_or(|end| end.checked_add(1).is_some_and(|e| e < first));
            if first > last || !apart {
                return Err(InvalidRanges { first, last });
            }
            before = Some(last);
        }
        Ok(Self::kept(&ranges))
    }
}

impl Serialize for Ranges {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.pairs().serialize(serializer)
    }
}

impl FromStr for Ranges {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        Self::parse(text)
    }
}

impl fmt::Display for Ranges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (n, (first, last)) in self.pairs().iter().enumerate() {
            let comma = if n == 0 { "" } else { "," };
            write!(f, "{comma}{first}-{last}")?;
        }
        f.write_str("]")
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;
    use alloc::string::ToString;

    use proptest::prelude::*;

    use super::*;

    const MAX: u64 = u64::MAX;

    fn ranges(text: &str) -> Ranges {
        Ranges::parse(text).unwrap()
    }

    #[test]
    fn tv_02_reading_coalesces() {
        // TV-02, RM-04, RM-05
        assert_eq!(ranges("[1-3, 4-6]").to_string(), "[1-6]");
        assert_eq!(ranges("[5-10, 1-7]").to_string(), "[1-10]");
    }

    #[test]
    fn tv_03_subtraction_splits() {
        // TV-03
        assert_eq!(
            ranges("[1-10]").subtract(&ranges("[3-5,7-7]")),
            ranges("[1-2,6-6,8-10]")
        );
        let cut = ranges("[1-3,5-9]").subtract(&ranges("[2-6]"));
        assert_eq!(cut.to_string(), "[1-1,7-9]");
    }

    #[test]
    fn tv_04_containment_is_range_by_range() {
        // TV-04
        assert!(ranges("[1-10]").contains(&ranges("[2-3,9-10]")));
        assert!(!ranges("[1-2,4-5]").contains(&ranges("[2-4]")));
        assert!(ranges("[1-2]").contains(&Ranges::new()));
    }

    #[test]
    fn the_last_number_is_a_number_like_the_others() {
        // RM-04: Mesos merges nothing into 2^64-1 and counts the whole as 0.
        let all: Ranges = core::iter::once(0..=MAX).collect();
        assert_eq!(all.count(), 1 << 64);
        let mut top: Ranges = core::iter::once(MAX..=MAX).collect();
        top.insert(MAX - 1..=MAX - 1);
        assert_eq!(top.iter().collect::<Vec<_>>(), [MAX - 1..=MAX]);
        top.insert(5..=MAX);
        assert_eq!(top.count(), (1 << 64) - 5);
        assert_eq!(all.subtract(&top), ranges("[0-4]"));
        assert_eq!(top.subtract(&all), Ranges::new());
        assert_eq!(all.intersect(&top), top);
        assert_eq!(Ranges::parse(&all.to_string()), Ok(all));
    }

    #[test]
    fn only_canonical_ranges_are_decoded() {
        // RM-05: among them Mesos' hole, [5-10,1-7].
        let bad: [&[(u64, u64)]; 6] = [
            &[(3, 1)],
            &[(5, 10), (1, 7)],
            &[(1, 3), (4, 6)],
            &[(1, 3), (3, 6)],
            &[(1, MAX), (MAX, MAX)],
            &[(0, MAX), (0, 0)],
        ];
        for pairs in bad {
            let bytes = postcard::to_allocvec(pairs).unwrap();
            assert!(postcard::from_bytes::<Ranges>(&bytes).is_err(), "{pairs:?}");
        }
    }

    fn small() -> impl Strategy<Value = Vec<(u64, u64)>> {
        prop::collection::vec((0_u64..40, 0_u64..8), 0..8)
            .prop_map(|pairs| pairs.into_iter().map(|(a, n)| (a, a + n)).collect())
    }

    fn both(pairs: &[(u64, u64)], base: u64) -> (Ranges, BTreeSet<u64>) {
        let ranges = pairs.iter().map(|(a, b)| base + a..=base + b).collect();
        (
            ranges,
            pairs
                .iter()
                .flat_map(|(a, b)| base + a..=base + b)
                .collect(),
        )
    }

    fn numbers(ranges: &Ranges) -> BTreeSet<u64> {
        ranges.iter().flatten().collect()
    }

    fn is_canonical(ranges: &Ranges) -> bool {
        Ranges::try_from(ranges.pairs().to_vec()).is_ok()
    }

    proptest! {
        #[test]
        fn agrees_with_a_set(a in small(), b in small(), top in any::<bool>()) {
            let base = if top { MAX - 46 } else { 0 };
            let ((a, model_a), (b, model_b)) = (both(&a, base), both(&b, base));
            for (ours, theirs) in [
                (a.union(&b), &model_a | &model_b),
                (a.subtract(&b), &model_a - &model_b),
                (a.intersect(&b), &model_a & &model_b),
            ] {
                prop_assert!(is_canonical(&ours), "{}", ours);
                prop_assert_eq!(ours.count(), theirs.len() as u128);
                prop_assert_eq!(numbers(&ours), theirs);
            }
            prop_assert_eq!(a.contains(&b), model_a.is_superset(&model_b));
            prop_assert!(a.contains(&a.intersect(&b)) && a.union(&b).contains(&b));
            prop_assert_eq!(a.is_empty(), model_a.is_empty());
            prop_assert_eq!(a == b, model_a == model_b);
            prop_assert_eq!(Ranges::parse(&a.to_string()), Ok(a.clone()));
            let bytes = postcard::to_allocvec(&a).unwrap();
            prop_assert_eq!(postcard::from_bytes(&bytes), Ok(a));
        }

        #[test]
        fn no_bytes_make_an_uncanonical_value(bytes in prop::collection::vec(any::<u8>(), 0..24)) {
            if let Ok(ranges) = postcard::from_bytes::<Ranges>(&bytes) {
                prop_assert_eq!(ranges.iter().collect::<Ranges>(), ranges);
            }
        }
    }
}

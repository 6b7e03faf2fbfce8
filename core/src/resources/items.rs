//! Sets of names: things that are told apart by what they are called.
//!
//! Deliberately not here: what the names mean.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Serialize, Serializer};

use super::parse::{Cursor, ParseError, excerpt};
use crate::limits;

/// A set of names, sorted. Clones share them.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "Vec<Arc<str>>")]
pub struct Items(
    /// None of an empty set, so that making one allocates nothing.
    Option<Arc<[Arc<str>]>>,
);

/// Why a text is not an item.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid item {item:?}: {problem}")]
pub struct InvalidItem {
    item: String,
    problem: &'static str,
}

impl InvalidItem {
    fn new(item: &str, problem: &'static str) -> Self {
        Self {
            item: excerpt(item, 0),
            problem,
        }
    }
}

impl Items {
    /// Makes an empty set.
    pub const fn new() -> Self {
        Self(None)
    }

    fn kept(items: Vec<Arc<str>>) -> Self {
        Self((!items.is_empty()).then(|| Arc::from(items)))
    }

    fn names(&self) -> &[Arc<str>] {
        self.0.as_deref().unwrap_or_default()
    }

    /// Reads text such as `{a,b}`.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let mut cursor = Cursor::new("set", text);
        let items = cursor.items()?;
        cursor.expect_end()?;
        Ok(items)
    }

    /// Returns how many items there are.
    pub fn len(&self) -> usize {
        self.names().len()
    }

    /// Returns whether there is no item.
    pub const fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Visits the items in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> + '_ {
        self.names().iter().map(|item| &**item)
    }

    /// Adds an item: a text without blanks, control characters and the signs of the text form.
    /// Returns whether it is new.
    pub fn insert(&mut self, item: &str) -> Result<bool, InvalidItem> {
        check(item)?;
        let names = self.names();
        let Err(at) = names.binary_search_by(|known| (**known).cmp(item)) else {
            return Ok(false);
        };
        let (before, after) = names.split_at(at);
        *self = Self::kept([before, &[Arc::from(item)], after].concat());
        Ok(true)
    }

    /// Returns the items of either.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        Self::united([self, other])
    }

    /// Returns the items of any of several sets, which are put in order once.
    pub(super) fn united<'a>(sets: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut all: Vec<Arc<str>> = sets.into_iter().flat_map(Self::names).cloned().collect();
        // Stable on purpose: it notices sorted runs, so that a union is linear.
        all.sort();
        all.dedup();
        Self::kept(all)
    }

    /// Returns the items of this that are not in `other` (TV-05).
    #[must_use]
    pub fn subtract(&self, other: &Self) -> Self {
        let has = |item: &&Arc<str>| other.names().binary_search(item).is_ok();
        Self::kept(
            self.names()
                .iter()
                .filter(|item| !has(item))
                .cloned()
                .collect(),
        )
    }

    /// Returns the items of both.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Self {
        let has = |item: &&Arc<str>| other.names().binary_search(item).is_ok();
        Self::kept(self.names().iter().filter(has).cloned().collect())
    }

    /// Returns whether every item of `other` is here.
    pub fn contains(&self, other: &Self) -> bool {
        let mine = self.names();
        other
            .names()
            .iter()
            .all(|item| mine.binary_search(item).is_ok())
    }
}

pub(super) fn check(item: &str) -> Result<(), InvalidItem> {
    let problem = if item.is_empty() {
        "it is empty"
    } else if item.len() > limits::ID_BYTES {
        "it is longer than 255 bytes"
    } else if item.contains([' ', ',', ';', ':', '(', ')', '[', ']', '{', '}']) {
        "it contains a blank or a sign of the text form"
    } else if item.chars().any(char::is_control) {
        "it contains a control character"
    } else {
        return Ok(());
    };
    Err(InvalidItem::new(item, problem))
}

impl TryFrom<Vec<Arc<str>>> for Items {
    type Error = InvalidItem;

    /// Takes items of a peer, who has to send them sorted and once (RM-06): a value has one
    /// encoding.
    fn try_from(items: Vec<Arc<str>>) -> Result<Self, InvalidItem> {
        items.iter().try_for_each(|item| check(item))?;
        if let Some(pair) = items.windows(2).find(|pair| pair[0] >= pair[1]) {
            return Err(InvalidItem::new(&pair[1], "it is out of order or repeated"));
        }
        Ok(Self::kept(items))
    }
}

impl Serialize for Items {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.names().serialize(serializer)
    }
}

impl FromStr for Items {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        Self::parse(text)
    }
}

impl fmt::Display for Items {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (n, item) in self.names().iter().enumerate() {
            let comma = if n == 0 { "" } else { "," };
            write!(f, "{comma}{item}")?;
        }
        f.write_str("}")
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;
    use alloc::string::ToString;

    use proptest::prelude::*;

    use super::*;

    fn items(text: &str) -> Items {
        Items::parse(text).unwrap()
    }

    #[test]
    fn tv_05_difference_of_sets() {
        // TV-05
        assert_eq!(items("{a,b,c}").subtract(&items("{b,x}")), items("{a,c}"));
    }

    #[test]
    fn order_does_not_count() {
        // RM-06
        assert_eq!(items("{b,a}"), items("{a,b}"));
        assert_eq!(items("{b, a}").to_string(), "{a,b}");
        assert!(!items("{a}").contains(&items("{a,b}")));
    }

    #[test]
    fn only_canonical_sets_are_decoded() {
        // RM-06: duplicates are invalid.
        for bad in [
            &["b", "a"][..],
            &["a", "a"],
            &[""],
            &["a b"],
            &["a}"],
            &["a\n"],
        ] {
            let bytes = postcard::to_allocvec(bad).unwrap();
            assert!(postcard::from_bytes::<Items>(&bytes).is_err(), "{bad:?}");
        }
        let long = "x".repeat(256);
        assert!(Items::new().insert(&long).is_err());
        assert_eq!(Items::new().insert(&long[1..]), Ok(true));
    }

    fn names() -> impl Strategy<Value = BTreeSet<String>> {
        prop::collection::btree_set("[a-c/-]{1,2}", 0..6)
    }

    fn made(names: &BTreeSet<String>) -> Items {
        let mut items = Items::new();
        for name in names {
            assert_eq!(items.insert(name), Ok(true));
            assert_eq!(items.insert(name), Ok(false));
        }
        items
    }

    proptest! {
        #[test]
        fn agrees_with_a_set(a in names(), b in names()) {
            let (ours_a, ours_b) = (made(&a), made(&b));
            prop_assert_eq!(ours_a.union(&ours_b), made(&(&a | &b)));
            prop_assert_eq!(ours_a.subtract(&ours_b), made(&(&a - &b)));
            prop_assert_eq!(ours_a.contains(&ours_b), a.is_superset(&b));
            prop_assert_eq!(ours_a.len(), a.len());
            prop_assert!(ours_a.iter().eq(a.iter()));
            prop_assert_eq!(Items::parse(&ours_a.to_string()), Ok(ours_a.clone()));
            let bytes = postcard::to_allocvec(&ours_a).unwrap();
            prop_assert_eq!(postcard::from_bytes(&bytes), Ok(ours_a));
        }
    }
}

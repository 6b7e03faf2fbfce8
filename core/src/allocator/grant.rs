//! What an allocator gives away, and by which numbers one speaks of it later.
//!
//! Everybody who embeds an allocator needs it. Deliberately not here: who is granted what.

use alloc::sync::Arc;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::keys::{AgentKey, FrameworkKey};
use crate::resources::Resources;
use crate::roles::Role;

/// Numbers the grants of one allocator, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GrantId(pub u64);

/// Resources of one agent for one framework in one role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Names it in [`Change`](super::Change)s about it, and in
    /// [`Decision::Rescind`](super::Decision::Rescind).
    pub id: GrantId,
    /// For whom.
    pub framework: FrameworkKey,
    /// In which role.
    pub role: Role,
    /// Where.
    pub agent: AgentKey,
    /// What.
    pub resources: Resources,
}

/// The grants that something is about: one, or several of one framework in one role on one agent
/// that are answered together (OF-11).
///
/// ```
/// use tepui_core::allocator::{GrantId, GrantIds};
///
/// let one = GrantIds::from(GrantId(7));
/// assert!(one.contains(GrantId(7)));
/// let several = GrantIds::collect([GrantId(7), GrantId(9)]).unwrap();
/// assert_eq!(several.iter().count(), 2);
/// assert_eq!(GrantIds::collect([]), None);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<GrantId>", into = "Vec<GrantId>")]
pub struct GrantIds {
    /// The least.
    first: GrantId,
    /// In ascending order, none twice. Most often there are none, which costs nothing.
    others: Option<Arc<[GrantId]>>,
}

impl GrantIds {
    /// Takes all of these numbers; `None` if there are none.
    pub fn collect(ids: impl IntoIterator<Item = GrantId>) -> Option<Self> {
        let mut ids = ids.into_iter();
        let first = ids.next()?;
        let Some(second) = ids.next() else {
            return Some(first.into());
        };
        let mut all = Vec::from([first, second]);
        all.extend(ids);
        all.sort_unstable();
        all.dedup();
        let (first, others) = all.split_first()?;
        Some(Self {
            first: *first,
            others: (!others.is_empty()).then(|| others.into()),
        })
    }

    /// Returns whether a grant is one of them.
    #[must_use]
    pub fn contains(&self, id: GrantId) -> bool {
        let others = self.others.as_deref().unwrap_or_default();
        self.first == id || others.binary_search(&id).is_ok()
    }

    /// Visits the numbers, each once, in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = GrantId> + '_ {
        let others = self.others.iter().flat_map(|others| others.iter());
        core::iter::once(self.first).chain(others.copied())
    }
}

impl From<GrantId> for GrantIds {
    fn from(first: GrantId) -> Self {
        let others = None;
        Self { first, others }
    }
}

impl From<GrantIds> for Vec<GrantId> {
    fn from(ids: GrantIds) -> Self {
        ids.iter().collect()
    }
}

/// No grant is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected the number of a grant at least")]
pub struct NoGrant;

impl TryFrom<Vec<GrantId>> for GrantIds {
    type Error = NoGrant;

    fn try_from(ids: Vec<GrantId>) -> Result<Self, NoGrant> {
        Self::collect(ids).ok_or(NoGrant)
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn numbers_are_a_set_however_they_are_given() {
        let ids = |numbers: &[u64]| numbers.iter().copied().map(GrantId).collect::<Vec<_>>();
        let set = GrantIds::collect(ids(&[5, 9, 7, 9])).unwrap();
        assert_eq!(set.iter().collect::<Vec<_>>(), ids(&[5, 7, 9]));
        assert_eq!(GrantIds::collect(ids(&[9, 7, 5])), Some(set.clone()));
        for (id, expected) in [(5, true), (6, false), (7, true), (9, true), (10, false)] {
            assert_eq!(set.contains(GrantId(id)), expected, "{id}");
        }
        assert_eq!(
            GrantIds::collect(ids(&[7, 7])),
            Some(GrantIds::from(GrantId(7)))
        );
        let text = serde_json::to_string(&set).unwrap();
        assert_eq!(text, "[5,7,9]");
        assert_eq!(serde_json::from_str::<GrantIds>("[9,5,7,5]").unwrap(), set);
        let error = serde_json::from_str::<GrantIds>("[]").unwrap_err();
        assert!(error.to_string().contains("expected the number"), "{error}");
    }
}

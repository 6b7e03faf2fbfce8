//! What an allocator gives away, and by which numbers one speaks of it later.
//!
//! Everybody who embeds an allocator needs it. Deliberately not here: who is granted what.

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
pub struct GrantIds {
    first: GrantId,
    /// In ascending order. Most often there are none, which costs nothing.
    others: Vec<GrantId>,
}

impl GrantIds {
    /// Takes all of these numbers; `None` if there are none.
    pub fn collect(ids: impl IntoIterator<Item = GrantId>) -> Option<Self> {
        let mut ids = ids.into_iter();
        let first = ids.next()?;
        let mut others: Vec<GrantId> = ids.collect();
        others.sort_unstable();
        Some(Self { first, others })
    }

    /// Returns whether a grant is one of them.
    #[must_use]
    pub fn contains(&self, id: GrantId) -> bool {
        self.first == id || self.others.binary_search(&id).is_ok()
    }

    /// Visits the numbers.
    pub fn iter(&self) -> impl Iterator<Item = GrantId> + '_ {
        core::iter::once(self.first).chain(self.others.iter().copied())
    }
}

impl From<GrantId> for GrantIds {
    fn from(first: GrantId) -> Self {
        let others = Vec::new();
        Self { first, others }
    }
}

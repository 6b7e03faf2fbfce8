//! How a bag keeps its entries: clones share them until one of them changes.
//!
//! What is free, granted, offered and left over of one agent is mostly one and the same bag, and so
//! is what a task asks for and what it uses. The algebra works on the entries that it gets here.
//! Deliberately not here: the algebra.

use alloc::collections::BTreeSet;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cmp::Ordering;
use core::fmt;
use core::hash::{Hash, Hasher};

use serde::{Serialize, Serializer};

use super::metadata::Metadata;
use super::{InvalidResource, Resource, Resources};

impl Resources {
    pub(super) fn kept(entries: Vec<Resource>) -> Self {
        Self((!entries.is_empty()).then(|| Arc::new(entries)))
    }

    pub(super) fn entries(&self) -> &[Resource] {
        self.0.as_ref().map_or(&[], |entries| entries.as_slice())
    }

    /// Returns the entries for writing: a copy, if somebody else has them as well. They must not
    /// become none.
    pub(super) fn edit(&mut self) -> &mut Vec<Resource> {
        Arc::make_mut(self.0.get_or_insert_default())
    }

    /// Returns whether both have the very same entries, not only equal ones.
    pub(super) fn is_shared_with(&self, other: &Self) -> bool {
        let both = self.0.as_ref().zip(other.0.as_ref());
        both.is_some_and(|(ours, theirs)| Arc::ptr_eq(ours, theirs))
    }

    /// Forgets entries of which nothing is left.
    pub(super) fn drop_nothings(&mut self) {
        if self.iter().any(Resource::is_nothing) {
            let entries = self.edit();
            entries.retain(|entry| !entry.is_nothing());
            if entries.is_empty() {
                self.0 = None;
            }
        }
    }

    /// Lets entries that are described alike share one description.
    pub(super) fn described_once(mut entries: Vec<Resource>) -> Self {
        let mut seen: BTreeSet<Arc<Metadata>> = BTreeSet::new();
        for entry in &mut entries {
            let Some(metadata) = entry.shared_metadata().cloned() else {
                continue;
            };
            match seen
                .get(&metadata)
                .filter(|_| !entry.is_persistent_volume())
            {
                Some(known) => entry.describe_as(known),
                None => {
                    seen.insert(metadata);
                }
            }
        }
        Self::kept(entries)
    }
}

impl fmt::Debug for Resources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Resources").field(&self.entries()).finish()
    }
}

impl Hash for Resources {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.entries().hash(state);
    }
}

impl Serialize for Resources {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_newtype_struct("Resources", self.entries())
    }
}

impl<'a> IntoIterator for &'a Resources {
    type Item = &'a Resource;
    type IntoIter = core::slice::Iter<'a, Resource>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl TryFrom<Vec<Resource>> for Resources {
    type Error = InvalidResource;

    /// Takes entries of a peer, who has to send the canonical form: a value has one encoding.
    fn try_from(entries: Vec<Resource>) -> Result<Self, InvalidResource> {
        let zero = entries.iter().find(|entry| entry.is_nothing());
        let late = entries
            .windows(2)
            .find(|pair| match pair[0].slot_cmp(&pair[1]) {
                Ordering::Less => false,
                Ordering::Equal => !pair[1].is_exclusive(),
                Ordering::Greater => true,
            });
        if let Some(bad) = zero.or_else(|| late.map(|pair| &pair[1])) {
            return Err(InvalidResource::NotCanonical {
                name: bad.shared_name(),
            });
        }
        Ok(Self::described_once(entries))
    }
}

impl IntoIterator for Resources {
    type Item = Resource;
    type IntoIter = alloc::vec::IntoIter<Resource>;

    fn into_iter(self) -> Self::IntoIter {
        let entries = self.0.map(Arc::unwrap_or_clone);
        entries.unwrap_or_default().into_iter()
    }
}

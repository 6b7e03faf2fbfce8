//! Breeds of agents: those that say the same of themselves, but for their names.
//!
//! Constraints mostly go by attributes, region and zone, and thousands of agents have these in
//! common. So whom they bar is found out once for a breed and not once for every agent: an
//! expression is matched a few times instead of a million.
//!
//! Breeds are a matter of speed only. If every agent is one of its own there are more than are
//! kept, and the others are asked about one by one. Deliberately not here: what bars whom.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cmp::Ordering;

use super::interest::{set_bit, unset_bit};
use super::profile::AgentTraits;
use super::seats::LeafId;

/// How many breeds are kept at most.
const MOST: usize = 1_024;

/// Names a breed for as long as there are agents of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BreedId(u32);

/// All breeds that are kept.
#[derive(Debug, Default)]
pub(super) struct Breeds {
    rows: Vec<Breed>,
    by: BTreeMap<Labels, BreedId>,
    vacant: Vec<BreedId>,
}

#[derive(Debug, Default)]
struct Breed {
    agents: usize,
    /// A bit for each leaf whose constraints exclude it.
    barred: Vec<u64>,
}

/// What agents of a breed have in common.
#[derive(Debug)]
struct Labels(Arc<AgentTraits>);

impl Breeds {
    /// Counts an agent in; `None` if there are too many breeds.
    pub(super) fn join(&mut self, traits: &Arc<AgentTraits>) -> Option<BreedId> {
        let labels = Labels(Arc::clone(traits));
        let id = match self.by.get(&labels) {
            Some(known) => *known,
            None => {
                let id = match self.vacant.pop() {
                    Some(id) => id,
                    None if self.rows.len() < MOST => {
                        self.rows.push(Breed::default());
                        BreedId(u32::try_from(self.rows.len() - 1).expect("fewer than the most"))
                    }
                    None => return None,
                };
                self.by.insert(labels, id);
                id
            }
        };
        self.rows[id.at()].agents += 1;
        Some(id)
    }

    /// Counts an agent out, which has these traits still.
    pub(super) fn part(&mut self, id: BreedId, traits: &Arc<AgentTraits>) {
        let breed = &mut self.rows[id.at()];
        breed.agents -= 1;
        if breed.agents == 0 {
            *breed = Breed::default();
            self.by.remove(&Labels(Arc::clone(traits)));
            self.vacant.push(id);
        }
    }

    /// Notes that a leaf wants no agent of a breed.
    pub(super) fn bar(&mut self, id: BreedId, leaf: LeafId) {
        set_bit(&mut self.rows[id.at()].barred, leaf);
    }

    /// Forgets which breeds a leaf does not want.
    pub(super) fn unbar(&mut self, leaf: LeafId) {
        for breed in &mut self.rows {
            unset_bit(&mut breed.barred, leaf);
        }
    }

    /// Returns the bits of leaves that want no agent of a breed.
    pub(super) fn barred(&self, id: BreedId) -> &[u64] {
        &self.rows[id.at()].barred
    }
}

impl BreedId {
    const fn at(self) -> usize {
        self.0 as usize
    }
}

impl PartialEq for Labels {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Labels {}

impl PartialOrd for Labels {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Labels {
    fn cmp(&self, other: &Self) -> Ordering {
        let (one, other) = (&*self.0, &*other.0);
        (&one.attributes, &one.region, &one.zone).cmp(&(
            &other.attributes,
            &other.region,
            &other.zone,
        ))
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use super::*;
    use crate::attributes::Attributes;

    fn traits(attributes: &str) -> Arc<AgentTraits> {
        Arc::new(AgentTraits {
            attributes: Attributes::parse(attributes).unwrap(),
            ..AgentTraits::default()
        })
    }

    #[test]
    fn agents_alike_are_of_one_breed_and_the_last_takes_it_along() {
        let mut breeds = Breeds::default();
        let (one, other) = (traits("rack:a"), traits("rack:b"));
        let id = breeds.join(&one).unwrap();
        let named = AgentTraits {
            hostname: "another".into(),
            ..(*one).clone()
        };
        assert_eq!(breeds.join(&Arc::new(named)), Some(id));
        assert_ne!(breeds.join(&other), Some(id));
        breeds.bar(id, LeafId::new(70));
        breeds.part(id, &one);
        assert_eq!(breeds.barred(id), [0, 1 << 6]);
        breeds.part(id, &one);
        // What comes in its place is not barred from anybody.
        assert_eq!(breeds.join(&traits("rack:c")), Some(id));
        assert!(breeds.barred(id).is_empty());
    }

    #[test]
    fn beyond_the_most_there_is_no_breed() {
        let mut breeds = Breeds::default();
        for n in 0..MOST {
            assert!(breeds.join(&traits(&format!("id:x{n}"))).is_some());
        }
        assert_eq!(breeds.join(&traits("id:other")), None);
        assert!(breeds.join(&traits("id:x3")).is_some());
    }
}

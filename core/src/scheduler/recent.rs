//! The last few thousand updates that were acknowledged, so that a repeated one is known.
//!
//! Forgetting one is harmless: the user then hears the same news twice, as at-least-once delivery
//! allows.

use alloc::collections::{BTreeSet, VecDeque};

use crate::ids::UpdateId;

/// How many there are.
pub(crate) const KEPT: usize = 8_192;

/// A bounded set that forgets its oldest member.
#[derive(Debug, Default)]
pub(super) struct Recent {
    members: BTreeSet<UpdateId>,
    order: VecDeque<UpdateId>,
}

impl Recent {
    pub(super) fn insert(&mut self, update: UpdateId) {
        if !self.members.insert(update) {
            return;
        }
        self.order.push_back(update);
        if self.order.len() > KEPT
            && let Some(oldest) = self.order.pop_front()
        {
            self.members.remove(&oldest);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    pub(super) fn contains(&self, update: UpdateId) -> bool {
        self.members.contains(&update)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_forgotten_first() {
        let mut recent = Recent::default();
        for n in 0..=KEPT as u128 {
            recent.insert(UpdateId(n));
            recent.insert(UpdateId(n));
        }
        assert!(!recent.contains(UpdateId(0)));
        assert!(recent.contains(UpdateId(1)));
        assert_eq!(recent.members.len(), KEPT);
        assert_eq!(recent.order.len(), KEPT);
    }
}

//! Agents counted by other columns, and as they would be with one grant less.
//!
//! Asked when columns change hands, and for new weights. Deliberately not here: bookings.

use alloc::sync::Arc;

use smallvec::SmallVec;

use super::{Agent, Counted};
use crate::allocator::GrantId;
use crate::allocator::columns::Columns;
use crate::allocator::counted::Shapes;
use crate::allocator::seats::LeafId;
use crate::resources::Resources;

impl Agent {
    /// Counts everything anew, after columns were given to other names.
    pub(in crate::allocator) fn count_by(&mut self, shapes: &mut Shapes, columns: &Columns) {
        let shared = |bag: &Resources, shapes: &mut Shapes| shapes.share(bag.clone(), columns);
        self.total = shared(&self.total.bag, shapes);
        self.free = self.free.take().map(|free| shared(&free.bag, shapes));
        self.known = None;
        for (_, holding) in &mut self.holdings {
            for grant in &mut holding.offered {
                grant.rest = shared(&grant.rest.bag, shapes);
            }
        }
    }

    /// Visits all that it has, and all that is booked on it.
    pub(in crate::allocator) fn bags(&self) -> impl Iterator<Item = &Resources> + '_ {
        let booked = self.holdings.iter().flat_map(|(_, holding)| holding.bags());
        booked.chain([self.total()])
    }

    /// Returns it as it would be if a grant came back, with nothing but what would be free.
    pub(in crate::allocator) fn without(
        &self,
        leaf: LeafId,
        id: GrantId,
        columns: &Columns,
    ) -> Option<Self> {
        let mut live = self.outstanding();
        let (.., rest) = live.find(|it| (it.0, it.1) == (leaf, id))?;
        let mut free = self.free().clone();
        let added = free.add(&rest.bag);
        added.expect("what is free and what is granted are parts of the total");
        Some(Self {
            key: self.key,
            active: self.active,
            whitelisted: self.whitelisted,
            due: false,
            is_usual: self.is_usual,
            overbooked: false,
            free: Counted::some(free, columns),
            known: None,
            total: Arc::clone(&self.total),
            traits: Arc::clone(&self.traits),
            breed: self.breed,
            holdings: SmallVec::new(),
        })
    }
}

//! What is free of an agent, computed from nothing: when bookings did not fit, when columns change
//! hands, and as it would be with one grant less.
//!
//! Asked by the ledger and for new weights. Deliberately not here: bookings, one by one.

use alloc::sync::Arc;

use smallvec::SmallVec;

use super::{Agent, Counted};
use crate::allocator::GrantId;
use crate::allocator::columns::Columns;
use crate::allocator::counted::Shapes;
use crate::allocator::holding::exclusive;
use crate::allocator::seats::LeafId;
use crate::allocator::shortage::{Shortage, has_twice};
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

    /// Computes from nothing what is free, and what is lacking.
    pub(in crate::allocator) fn shortage(&self) -> Shortage {
        let mut shortage = Shortage::of(self.total());
        for (_, holding) in &self.holdings {
            for used in holding.used() {
                shortage.book(self.total(), &exclusive(used));
            }
            for grant in &holding.offered {
                shortage.book(self.total(), &grant.rest.bag);
            }
        }
        shortage.settle()
    }

    /// Computes from nothing what is free; `None` if more is booked than there is.
    fn unbooked(&self) -> Option<Resources> {
        self.holdings
            .iter()
            .try_fold(self.total().clone(), |free, (_, holding)| {
                let mut used = holding.used();
                let free = used.try_fold(free, |free, it| free.checked_sub(&exclusive(it)).ok())?;
                let mut grants = holding.offered.iter();
                grants.try_fold(free, |free, grant| free.checked_sub(&grant.rest.bag).ok())
            })
    }

    pub(super) fn count_anew(&mut self, columns: &Columns) {
        let is_odd = has_twice(self.total());
        if !is_odd && self.holdings.is_empty() {
            self.overbooked = false;
            self.free = (!self.total().is_empty()).then(|| Arc::clone(&self.total));
            return;
        }
        let unbooked = self.unbooked().filter(|_| !is_odd);
        self.overbooked = unbooked.is_none();
        let free = unbooked.unwrap_or_else(|| self.shortage().free);
        self.free = Counted::some(free, columns);
    }
}

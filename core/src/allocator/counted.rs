//! Bags with their scalars counted, shared by all who have the same.
//!
//! Agents come in few shapes. Those that are alike have one bag between them, as a whole and while
//! nobody holds anything of it, and so have their grants; so a pass over many agents works on a
//! few bags that are at hand, and not on one for each agent. What is changed is copied.
//!
//! Deliberately not here: who has what.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::columns::{Columns, Row};
use super::holding::open;
use super::kinds::kind;
use crate::resources::{Resource, Resources};

/// How many shapes of agents are looked through for one that is known.
const RECENT: usize = 16;

/// A bag, counted.
#[derive(Clone, Debug)]
pub(super) struct Counted {
    pub(super) bag: Resources,
    /// All scalars.
    pub(super) all: Row,
    /// Those that are unreserved and that nobody can take back; `None` if there is nothing but
    /// what anybody may have in any part.
    some: Option<Box<Row>>,
}

/// Nothing, counted.
pub(super) static NOTHING: Counted = Counted {
    bag: Resources::new(),
    all: Row::ZERO,
    some: None,
};

impl Counted {
    /// Counts a bag, of which everything has its column.
    pub(super) fn new(bag: Resources, columns: &Columns) -> Self {
        let is_plain = bag.iter().all(|entry| kind(entry).is_plain());
        Self {
            all: columns.row(&bag),
            some: (!is_plain).then(|| Box::new(open(&bag, columns))),
            bag,
        }
    }

    /// Counts a bag; `None` if there is nothing in it.
    pub(super) fn some(bag: Resources, columns: &Columns) -> Option<Arc<Self>> {
        (!bag.is_empty()).then(|| Arc::new(Self::new(bag, columns)))
    }

    /// Turns a part of the bag into something else, and counts no more than that. `false`, and
    /// nothing changes, if it is no part of it or if what it becomes does not fit.
    pub(super) fn turn(
        &mut self,
        before: &Resources,
        after: &Resources,
        columns: &Columns,
    ) -> bool {
        if self.bag.subtract(before).is_err() {
            return false;
        }
        if self.bag.add(after).is_err() {
            let restored = self.bag.add(before);
            restored.expect("it was there a moment ago");
            return false;
        }
        if before.iter().chain(after).any(Resource::is_shared) {
            // Copies of a shared volume beside others of the same add nothing to the amounts.
            *self = Self::new(core::mem::take(&mut self.bag), columns);
            return true;
        }
        let mut opened = *self.open();
        opened.subtract(&open(before, columns));
        opened.add(&open(after, columns));
        self.all.subtract(&columns.row(before));
        self.all.add(&columns.row(after));
        let is_plain = self.bag.iter().all(|entry| kind(entry).is_plain());
        self.some = (!is_plain).then(|| Box::new(opened));
        true
    }

    /// Returns whether there is nothing but what anybody may have in any part.
    pub(super) const fn is_plain(&self) -> bool {
        self.some.is_none()
    }

    /// Counts what is unreserved and what nobody can take back.
    pub(super) fn open(&self) -> &Row {
        self.some.as_deref().unwrap_or(&self.all)
    }
}

/// The shapes of agents that were seen last.
#[derive(Debug, Default)]
pub(super) struct Shapes {
    recent: Vec<Arc<Counted>>,
    /// Which of them goes next.
    next: usize,
}

impl Shapes {
    /// Returns a bag, counted: that of others, if it is known.
    pub(super) fn share(&mut self, bag: Resources, columns: &Columns) -> Arc<Counted> {
        if let Some(known) = self.recent.iter().find(|known| known.bag == bag) {
            return Arc::clone(known);
        }
        let fresh = Arc::new(Counted::new(bag, columns));
        if self.recent.len() < RECENT {
            self.recent.push(Arc::clone(&fresh));
        } else {
            self.recent[self.next] = Arc::clone(&fresh);
            self.next = (self.next + 1) % RECENT;
        }
        fresh
    }
}

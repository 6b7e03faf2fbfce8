//! What becomes of refusals beyond the most that are kept.
//!
//! They end early, those that lapse first before all others; but not at once, or whoever refuses
//! everything would be asked without end at one moment. So for as long as that takes there are
//! more.
//!
//! Deliberately not here: the most of one pair.

use core::ops::Bound::{Excluded, Unbounded};

use super::Filters;
use crate::time::Time;

impl Filters {
    /// Returns whether there are more refusals than are kept.
    pub const fn is_crowded(&self) -> bool {
        self.len > self.most
    }

    /// Has those that lapse first lapse at a moment, as many as there is no room for. If that is
    /// after now, nobody is offered again at a moment what it refused at the same.
    pub fn make_room(&mut self, soon: Time) {
        while !self.has_room_at(soon) && self.hasten_next(soon) {}
    }

    /// Returns whether so many lapse by a moment that the rest is within the limit.
    fn has_room_at(&self, soon: Time) -> bool {
        let mut over = self.len.saturating_sub(self.most);
        if over == 0 {
            return true;
        }
        let mut sooner = self.by_time.range(..=soon).rev();
        while over > 0
            && let Some((_, lapse)) = sooner.next()
        {
            over = over.saturating_sub(self.lapses[*lapse as usize].named as usize);
        }
        over == 0
    }

    /// Has a page of those that lapse first after a moment lapse then. Returns whether there may be
    /// more.
    fn hasten_next(&mut self, soon: Time) -> bool {
        let mut later = self.by_time.range((Excluded(soon), Unbounded));
        let Some(lapse) = later.next().map(|(_, lapse)| *lapse) else {
            return false;
        };
        let Some(page) = self.lapses[lapse as usize].pages.pop_front() else {
            self.retire(lapse);
            return true;
        };
        let known = &self.pages.at(page).refusals;
        let moved = known.iter().filter(|it| it.lapse == lapse).count();
        if moved == 0 {
            return true;
        }
        let sooner = self.lapse(soon);
        let known = &self.pages.at(page).refusals;
        if !known.iter().any(|it| it.lapse == sooner) {
            self.lapses[sooner as usize].pages.push_back(page);
        }
        let agent = self.pages.edit(page, |page| {
            let hastened = page.refusals.iter_mut().filter(|it| it.lapse == lapse);
            hastened.for_each(|it| it.lapse = sooner);
            page.agent
        });
        let moved = u32::try_from(moved).expect("a page has fewer than are kept of a pair each");
        self.lapses[sooner as usize].named += moved;
        let row = &mut self.lapses[lapse as usize];
        row.named -= moved;
        if row.named == 0 {
            self.retire(lapse);
        }
        self.forget_refusing(agent);
        true
    }
}

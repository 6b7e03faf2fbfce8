//! What becomes of refusals beyond the most that are kept.
//!
//! They end early, those that lapse first before all others; but not at once, or whoever refuses
//! everything would be asked without end at one moment. So for as long as that takes there are
//! more.
//!
//! What was forgotten takes no room, but may stand in the way of those to find: it goes when it is
//! met. So that this ends as well, it is done in parts.
//!
//! Deliberately not here: the most of one pair.

use alloc::vec::Vec;
use core::ops::Bound::{Excluded, Unbounded};

use super::{Filters, Refusal};
use crate::time::Time;

/// How many refusals are taken in hand at a time.
const AT_A_TIME: usize = 4_096;

impl Filters {
    /// Returns whether there are more refusals than are kept.
    pub const fn is_crowded(&self) -> bool {
        self.len > self.most
    }

    /// Has those that lapse first lapse at a moment, as many as there is no room for. If that is
    /// after now, nobody is offered again at a moment what it refused at the same.
    ///
    /// Where this would take long it is not all, and [`Filters::next_lapse`] is now. And of those
    /// that lapse by that moment anyway, some may have been forgotten: so whoever calls this calls
    /// it again as long as there are too many.
    pub fn make_room(&mut self, soon: Time) {
        let mut left = AT_A_TIME;
        while left > 0
            && !self.has_room_at(soon)
            && let Some(count) = self.hasten_next(soon)
        {
            left = left.saturating_sub(1 + count);
        }
        self.is_making_room = left == 0;
    }

    /// Returns whether so many lapse by a moment that the rest is within the limit, if none of them
    /// was forgotten.
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

    /// Has a page of those that lapse first after a moment lapse then, and those of it that were
    /// forgotten go. Returns how many that were; `None` if there are no more.
    fn hasten_next(&mut self, soon: Time) -> Option<usize> {
        let mut later = self.by_time.range((Excluded(soon), Unbounded));
        let lapse = later.next().map(|(_, lapse)| *lapse)?;
        let Some(page) = self.lapses[lapse as usize].pages.pop_front() else {
            self.retire(lapse);
            return Some(0);
        };
        let dead = self.bury(page, lapse);
        let known = &self.pages.at(page).refusals;
        let moved = known.iter().filter(|it| it.lapse == lapse).count();
        if moved == 0 {
            return Some(dead);
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
        let count = u32::try_from(moved).expect("a page has fewer than are kept of a pair each");
        self.lapses[sooner as usize].named += count;
        let row = &mut self.lapses[lapse as usize];
        row.named -= count;
        if row.named == 0 {
            self.retire(lapse);
        }
        self.forget_refusing(agent);
        Some(dead + moved)
    }

    /// Takes those out of a page that would lapse at a moment and were forgotten. Returns how many.
    fn bury(&mut self, page: u32, lapse: u32) -> usize {
        let agent = self.pages.at(page).agent;
        let sources = &self.sources;
        let is_dead = |it: &Refusal| sources[it.of.0 as usize].owner.is_none();
        let dead: Vec<_> = self.pages.edit(page, |page| {
            let dead = page
                .refusals
                .extract_if(.., |it| it.lapse == lapse && is_dead(it));
            dead.collect()
        });
        let count = dead.len();
        for refusal in dead {
            self.release(refusal);
        }
        self.pages.close_empty(agent, page);
        self.forget_refusing(agent);
        count
    }
}

//! Leaves that bounds keep from what is free, and when they are looked at again.
//!
//! Quota, headroom and bounds on offers change with every grant elsewhere, so what they hold back
//! is looked at again an interval after a change. But only for leaves whose own bounds are others
//! than when they were looked at: for all others nothing can have changed, and they are not
//! interested until their bounds move, or less of the agent is free and may be more for them.
//! Otherwise each change would cost a look at every pair of an agent and a framework that quota
//! keeps apart.
//!
//! Who is *struck* so keeps its turn: whoever looks at an agent before that compares bounds first.
//! While a pass is open, nobody is struck, and nothing is looked at again for its own sake: what
//! the pass has not come to was not looked at.
//!
//! Deliberately not here: the bounds themselves, which are `headroom.rs` and `tally.rs`.

use alloc::vec::Vec;
use core::mem::take;

use smallvec::SmallVec;

use super::changes::following_multiple;
use super::columns::COLUMNS;
use super::drf::{Drf, Due};
use super::interest::{Interest, has_bit, set_bit, unset_bit};
use super::kinds::{is_undividable, kind};
use super::seats::{LeafId, Seat};
use super::slice::LOOK_WORK;
use super::want::Want;
use crate::resources::Value;
use crate::time::Time;

/// Under which bounds a leaf was looked at, and had nothing; or a branch was left out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounded {
    /// Tells those bounds from others.
    sign: u64,
    /// When it was last told.
    moment: u64,
    /// Whether there were several.
    is_mixed: bool,
    /// Whether it is taken for not interested.
    is_struck: bool,
}

impl Bounded {
    const fn new(sign: u64) -> Self {
        Self {
            sign,
            moment: 0,
            is_mixed: false,
            is_struck: false,
        }
    }

    const fn see(&mut self, sign: u64, moment: u64) {
        self.is_mixed |= self.sign != sign;
        self.moment = moment;
    }
}

/// The leaves that are taken for not interested in what bounds hold back, by their bits.
#[derive(Debug, Default)]
pub(super) struct Struck {
    all: Vec<u64>,
    /// Those that have a demand: less may serve another shape of it.
    shaped: Vec<u64>,
    /// Those that may want anything of anybody since the last pass over all began.
    fresh: Vec<u64>,
    /// How many changes and grants there had been when none of them had other bounds than when it
    /// was struck.
    compared: (u64, u64),
    /// How many changes there had been when an open pass last asked.
    asked: u64,
}

impl Struck {
    fn is_empty(&self) -> bool {
        self.all.iter().all(|word| *word == 0)
    }

    /// Takes out a leaf whose bounds have moved, or that is not there any more.
    pub(super) fn forget(&mut self, leaf: LeafId) {
        unset_bit(&mut self.all, leaf);
        unset_bit(&mut self.shaped, leaf);
    }

    /// Notes that a leaf may want something of any agent from now on.
    pub(super) fn note_fresh(&mut self, leaf: LeafId) {
        set_bit(&mut self.fresh, leaf);
    }

    fn clear(&mut self) {
        self.all.clear();
        self.shaped.clear();
    }
}

/// A running sum that tells one sequence of numbers from another (FNV-1a, by words).
struct Sum(u64);

impl Sum {
    const fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    fn add(&mut self, number: i128) {
        for word in [number as u64, (number >> 64) as u64] {
            self.0 = (self.0 ^ word).wrapping_mul(0x0000_0100_0000_01b3);
            // Its lower bits alone would depend on nothing above them.
            self.0 ^= self.0 >> 29;
        }
    }
}

impl Drf {
    /// Notes that bounds keep something of an agent from a leaf.
    pub(super) fn hold_back(&mut self, agent: usize, leaf: LeafId) {
        self.held_back.insert(agent);
        self.is_all_struck = false;
        let moment = self.moment();
        let seat = self.seats.seat(leaf);
        if seat.bounded.is_some_and(|it| it.moment == moment) {
            return;
        }
        let sign = self.bounds_sign(seat);
        let bounded = &mut self.seats.seat_mut(leaf).bounded;
        bounded
            .get_or_insert_with(|| Bounded::new(sign))
            .see(sign, moment);
    }

    /// Notes that branches were left out which are promised nothing, of an agent that is held back.
    pub(super) fn leave_out(&mut self) {
        let moment = self.moment();
        if self.kept.is_some_and(|it| it.moment == moment) {
            return;
        }
        let sign = self.promises_sign();
        let kept = self.kept.get_or_insert_with(|| Bounded::new(sign));
        kept.see(sign, moment);
    }

    /// Numbers what has happened so far: as long as nothing does, no bounds change.
    const fn moment(&self) -> u64 {
        self.last_grant.0.wrapping_add(self.changes)
    }

    /// Has what bounds hold back looked at again before long: they may have moved.
    pub(super) fn plan_look(&mut self, now: Time) {
        if !self.held_back.is_empty() && self.recheck.is_none() {
            self.recheck = Some(following_multiple(now, self.options.interval));
        }
    }

    /// Looks again at what bounds held back, where they may have changed. No pass is open, and none
    /// over all is to come.
    pub(super) fn look_again(&mut self, at: Time) {
        self.forget_taken();
        for agent in take(&mut self.shared_again) {
            self.mark(at, agent);
        }
        let (same, changed) = self.compare_bounds();
        if same.is_empty() || self.has_kept_moved() {
            return self.look_again_at_all(at);
        }
        self.strike_bounded(&same);
        if !changed.is_empty() {
            self.restore_bounded(&changed);
            self.due.held_back = true;
            let held_back: Vec<usize> = self.held_back.iter().copied().collect();
            for agent in held_back {
                self.mark(at, agent);
            }
        }
        self.struck.compared = self.so_far();
    }

    /// Looks again at all that bounds held back.
    pub(super) fn look_again_at_all(&mut self, at: Time) {
        self.restore_all();
        self.due.held_back = true;
        for agent in take(&mut self.held_back) {
            self.mark(at, agent);
        }
    }

    /// Takes leaves for not interested whose bounds stayed as they were in a pass over all that is
    /// held back.
    pub(super) fn strike_looked_at(&mut self) {
        if self.held_back.is_empty() || self.is_all_struck || self.has_kept_moved() {
            return;
        }
        let (mut same, changed) = self.compare_bounds();
        // What these have wanted since, the pass may have been through with.
        same.retain(|leaf| !has_bit(&self.struck.fresh, *leaf));
        self.strike_bounded(&same);
        self.is_all_struck = changed.is_empty();
    }

    /// Where nothing is free nobody is kept from it: all may want what comes back.
    fn forget_taken(&mut self) {
        let ledger = &self.ledger;
        self.held_back
            .retain(|agent| ledger.at(*agent).is_some_and(|row| !row.free().is_empty()));
    }

    /// Returns the leaves whose bounds are those under which they were looked at, and the others.
    fn compare_bounds(&mut self) -> (Vec<LeafId>, Vec<LeafId>) {
        let bounded = self.about_to_compare(|_| true);
        bounded.into_iter().partition(|leaf| {
            let seat = self.seats.seat(*leaf);
            self.tree.node(seat.node).listed && !self.has_moved(seat)
        })
    }

    /// Returns some of those that were looked at under bounds, and counts the work of comparing
    /// these with what they are now: it costs about as much as a look at each.
    fn about_to_compare(&mut self, which: impl Fn(&Bounded) -> bool) -> Vec<LeafId> {
        let mut leaves = Vec::new();
        let mut passed = 0_usize;
        for (leaf, seat) in self.seats.iter() {
            passed += 1;
            if seat.bounded.as_ref().is_some_and(&which) {
                leaves.push(leaf);
            }
        }
        let work = leaves.len().saturating_mul(LOOK_WORK);
        self.scratch.prepare(work.saturating_add(passed));
        leaves
    }

    /// Returns whether a leaf was looked at under other bounds than it has.
    fn has_moved(&self, seat: &Seat) -> bool {
        let bounded = seat.bounded.as_ref();
        bounded.is_some_and(|it| it.is_mixed || it.sign != self.bounds_sign(seat))
    }

    /// Returns whether who was left out may have been so under other bounds: it was not looked at
    /// under its own.
    fn has_kept_moved(&self) -> bool {
        self.kept
            .is_some_and(|it| it.is_mixed || it.sign != self.promises_sign())
    }

    /// Returns how many changes and grants there have been.
    const fn so_far(&self) -> (u64, u64) {
        (self.changes, self.last_grant.0)
    }

    /// Returns whether an agent is kept from a leaf until its bounds have moved.
    pub(super) fn waits_for_bounds(&self, agent: usize, leaf: LeafId) -> bool {
        let bounded = self.seats.seat(leaf).bounded;
        bounded.is_some_and(|it| it.is_struck)
            && self.held_back.contains(&agent)
            && !Interest::has(self.interest.of(agent), leaf)
    }

    /// Has leaves interested again in what is about to be looked at: whoever looks at an agent sees
    /// all that may have something of it by now, each in its turn.
    pub(super) fn restore_due(&mut self, due: &Due) {
        self.struck.asked = self.changes;
        if due.all {
            self.struck.fresh.clear();
            return self.restore_moved();
        }
        // As long as nothing has happened since, no bounds have moved.
        if self.struck.is_empty() || self.struck.compared == self.so_far() {
            return;
        }
        let (struck, interest, held_back) = (&self.struck.all, &self.interest, &self.held_back);
        let lacks = |agent: &usize| held_back.contains(agent) && interest.lacks(*agent, struck);
        if !due.agents.iter().any(lacks) {
            return;
        }
        let bits = bits_of(&self.moved_struck());
        if bits.is_empty() {
            self.struck.compared = self.so_far();
        }
        for agent in &due.agents {
            if self.held_back.contains(agent) {
                self.is_all_struck &= !self.interest.restore(*agent, &bits);
            }
        }
    }

    /// Has a pass over all look at what bounds held back, where they have moved, so that this need
    /// not be looked at again before they do.
    fn restore_moved(&mut self) {
        if self.recheck.is_some_and(|at| at <= self.now) {
            self.recheck = None;
            self.shared_again.clear();
            self.forget_taken();
        }
        if self.held_back.is_empty() {
            return;
        }
        if self.has_kept_moved() {
            return self.restore_all();
        }
        let mut moved = self.about_to_compare(|_| true);
        moved.retain(|leaf| {
            let seat = self.seats.seat(*leaf);
            // Who is still interested is looked at in any case.
            seat.bounded.is_some_and(|it| !it.is_struck) || self.has_moved(seat)
        });
        self.restore_bounded(&moved);
        self.struck.compared = self.so_far();
    }

    /// Has leaves keep their turn in the rest of an open pass if what happened between its slices
    /// has moved their bounds.
    pub(super) fn restore_moved_since(&mut self) {
        if self.struck.asked == self.changes || self.struck.is_empty() {
            return;
        }
        self.struck.asked = self.changes;
        let moved = self.moved_struck();
        let bits = bits_of(&moved);
        for leaf in moved {
            self.struck.forget(leaf);
            // The pass is through with some agents, which are looked at again once bounds are
            // compared, if these are not as they were by then.
            if let Some(bounded) = &mut self.seats.seat_mut(leaf).bounded {
                bounded.is_struck = false;
            }
        }
        self.restore_bits(&bits);
        self.struck.compared = self.so_far();
    }

    /// Returns those that are struck and have other bounds by now.
    fn moved_struck(&mut self) -> Vec<LeafId> {
        let mut struck = self.about_to_compare(|it| it.is_struck);
        struck.retain(|leaf| self.has_moved(self.seats.seat(*leaf)));
        struck
    }

    /// Less may be had of an agent than before: those may want it who go by how much it is, and
    /// those whom bounds gave what came first of it. Returns whether there is anybody who did not
    /// want more.
    pub(super) fn lessen(&mut self, agent: usize) -> bool {
        let is_wanted = self.interest.lessen(agent);
        if self.struck.is_empty() || !self.held_back.contains(&agent) {
            return is_wanted;
        }
        let is_any = self.options.most_offered.is_some() || self.is_chosen_from(agent);
        let again = if is_any {
            &self.struck.all
        } else {
            &self.struck.shaped
        };
        let is_wanted = self.interest.restore(agent, again) || is_wanted;
        self.is_all_struck &= !is_wanted;
        is_wanted
    }

    /// Returns whether a bound may leave another part of an agent once others had the first: of
    /// what it has in several pieces, free or not, or cannot be divided. Of one amount, less leaves
    /// no more.
    fn is_chosen_from(&self, agent: usize) -> bool {
        let row = self.ledger.at(agent);
        let mut seen = [false; COLUMNS];
        let mut pieces = [false; COLUMNS];
        for entry in row.into_iter().flat_map(|row| row.total()) {
            let place = self.columns.place(entry).filter(|_| kind(entry).is_open());
            if let Some((column, _)) = place {
                let is_amount = matches!(entry.value(), Value::Scalar(_));
                pieces[column] |= seen[column] || !is_amount || is_undividable(entry);
                seen[column] = true;
            }
        }
        let columns = (0..COLUMNS).filter(|column| pieces[*column]);
        let columns: SmallVec<[usize; COLUMNS]> = columns.collect();
        !columns.is_empty() && self.tree.bounds_any(&columns)
    }

    /// Takes leaves for not interested in what bounds hold back.
    fn strike_bounded(&mut self, leaves: &[LeafId]) {
        if self.is_all_struck {
            return;
        }
        self.is_all_struck = true;
        for leaf in leaves {
            let seat = self.seats.seat_mut(*leaf);
            let bounded = seat.bounded.as_mut();
            bounded.expect("it was just listed").is_struck = true;
            set_bit(&mut self.struck.all, *leaf);
            if seat.want.is_some() {
                set_bit(&mut self.struck.shaped, *leaf);
            }
        }
        let bits = bits_of(leaves);
        self.scratch.prepare(self.held_back.len());
        for agent in &self.held_back {
            // The others were not looked at, or wait for a look.
            let row = self.ledger.at(*agent);
            let is_looked_at = row.is_some_and(|row| row.is_offerable() && !row.due);
            if is_looked_at && !self.shared_again.contains(agent) {
                self.interest.strike(*agent, &bits);
            }
        }
    }

    /// Has all leaves interested again in all that bounds hold back.
    fn restore_all(&mut self) {
        let bounded = self.seats.iter().filter(|(_, seat)| seat.bounded.is_some());
        let bounded: Vec<LeafId> = bounded.map(|(leaf, _)| leaf).collect();
        self.restore_bounded(&bounded);
        self.struck.clear();
        self.kept = None;
    }

    /// Has leaves interested again in all that bounds hold back, and forgets under which bounds
    /// they were looked at.
    fn restore_bounded(&mut self, leaves: &[LeafId]) {
        let mut struck = Vec::new();
        for leaf in leaves {
            let seat = self.seats.seat_mut(*leaf);
            if seat.bounded.take().is_some_and(|it| it.is_struck) {
                set_bit(&mut struck, *leaf);
                self.struck.forget(*leaf);
            }
        }
        self.restore_bits(&struck);
    }

    fn restore_bits(&mut self, bits: &[u64]) {
        if bits.is_empty() {
            return;
        }
        self.scratch.prepare(self.held_back.len());
        for agent in &self.held_back {
            let _wanted = self.interest.restore(*agent, bits);
        }
    }

    /// Tells what is kept free, and for whom, from others.
    fn promises_sign(&self) -> u64 {
        let mut sum = Sum::new();
        sum.add(i128::from(self.tree.promises));
        self.add_surplus(&mut sum);
        sum.0
    }

    fn add_surplus(&self, sum: &mut Sum) {
        let required = self.tree.required_headroom();
        for (column, required) in required.iter().filter(|it| it.1 > 0) {
            sum.add(column as i128);
            sum.add((self.available.at(column) - required).max(0));
        }
    }

    /// Tells the bounds of a leaf from others.
    pub(super) fn bounds_sign(&self, seat: &Seat) -> u64 {
        let mut sum = Sum::new();
        let limit = self.tree.has_quota().then(|| self.tree.limit(seat.role));
        if let Some(limit) = limit.flatten() {
            (0..COLUMNS).for_each(|column| sum.add(limit.at(column)));
        }
        self.add_surplus(&mut sum);
        if !self.tree.required_headroom().is_empty() {
            let covered = self.tree.covered(seat.role);
            covered.iter().for_each(|(_, amount)| sum.add(amount));
        }
        if let Ok(caps) = self.caps(seat) {
            caps.bounds().for_each(|bound| sum.add(bound));
        }
        let want = seat.want.iter().flat_map(Want::left);
        want.for_each(|left| sum.add(i128::from(left)));
        sum.0
    }
}

fn bits_of(leaves: &[LeafId]) -> Vec<u64> {
    let mut bits = Vec::new();
    leaves.iter().for_each(|leaf| set_bit(&mut bits, *leaf));
    bits
}

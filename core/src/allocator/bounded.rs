//! Leaves that bounds keep from what is free, and when they are looked at again.
//!
//! Quota, headroom and bounds on offers change with every grant elsewhere, so what they hold back
//! is looked at again an interval after a change. But only for leaves whose own bounds are others
//! than when they were looked at: for all others nothing can have changed, and they are not
//! interested until their bounds move, or less of the agent is free. Otherwise each change would
//! cost a look at every pair of an agent and a framework that quota keeps apart.
//!
//! Deliberately not here: the bounds themselves, which are `headroom.rs` and `tally.rs`.

use alloc::vec::Vec;
use core::mem::take;

use super::changes::following_multiple;
use super::columns::COLUMNS;
use super::drf::{Drf, Due};
use super::interest::{Interest, set_bit};
use super::seats::{LeafId, Seat};
use super::want::Want;
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

    /// Looks again at what bounds held back, where they may have changed.
    pub(super) fn look_again(&mut self, at: Time) {
        // Where nothing is free nobody is kept from it: all may want what comes back.
        let ledger = &self.ledger;
        self.held_back
            .retain(|agent| ledger.at(*agent).is_some_and(|row| !row.free().is_empty()));
        // What waits for a look, somebody may want for the first time.
        let is_settled = self.pass.is_none() && !self.due.all;
        for agent in take(&mut self.shared_again) {
            self.mark(at, agent);
        }
        let (mut same, mut changed) = (Vec::new(), Vec::new());
        for (leaf, seat) in self.seats.iter() {
            let Some(bounded) = seat.bounded else {
                continue;
            };
            let is_same = is_settled
                && !bounded.is_mixed
                && self.tree.node(seat.node).listed
                && bounded.sign == self.bounds_sign(seat);
            if is_same {
                same.push(leaf);
            } else {
                changed.push(leaf);
            }
        }
        // Who was left out was not looked at under its own bounds.
        let sign = self.promises_sign();
        let has_moved = self.kept.is_some_and(|it| it.is_mixed || it.sign != sign);
        if same.is_empty() || has_moved {
            return self.look_again_at_all(at);
        }
        self.strike_bounded(&same);
        if !changed.is_empty() {
            self.restore_bounded(&changed);
            let held_back: Vec<usize> = self.held_back.iter().copied().collect();
            for agent in held_back {
                self.mark(at, agent);
            }
        }
    }

    /// Looks again at all that bounds held back.
    pub(super) fn look_again_at_all(&mut self, at: Time) {
        let bounded = self.seats.iter().filter(|(_, seat)| seat.bounded.is_some());
        let bounded: Vec<LeafId> = bounded.map(|(leaf, _)| leaf).collect();
        self.restore_bounded(&bounded);
        self.struck.clear();
        self.kept = None;
        for agent in take(&mut self.held_back) {
            self.mark(at, agent);
        }
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
        if self.struck.is_empty() {
            return;
        }
        if due.all {
            let moved = self.seats.iter().filter(|(_, seat)| {
                let bounded = seat.bounded.filter(|it| it.is_struck);
                bounded.is_some_and(|it| it.is_mixed || it.sign != self.bounds_sign(seat))
            });
            let moved: Vec<LeafId> = moved.map(|(leaf, _)| leaf).collect();
            self.restore_bounded(&moved);
        }
        for agent in &due.agents {
            if self.held_back.contains(agent) {
                self.is_all_struck &= !self.interest.restore(*agent, &self.struck);
            }
        }
    }

    /// Less may be had of an agent than before: those may want it who go by how much it is, and
    /// those whom bounds gave what came first of it. Returns whether there is anybody who did not
    /// want more.
    pub(super) fn lessen(&mut self, agent: usize) -> bool {
        let is_wanted = self.interest.lessen(agent);
        if self.struck.is_empty() || !self.held_back.contains(&agent) {
            return is_wanted;
        }
        self.is_all_struck = false;
        self.interest.restore(agent, &self.struck) || is_wanted
    }

    /// Takes leaves for not interested in what bounds hold back.
    fn strike_bounded(&mut self, leaves: &[LeafId]) {
        if self.is_all_struck {
            return;
        }
        self.is_all_struck = true;
        self.struck = bits_of(leaves);
        for agent in &self.held_back {
            // The others were not looked at, or wait for a look.
            let row = self.ledger.at(*agent);
            if row.is_some_and(|row| row.is_offerable() && !row.due) {
                self.interest.strike(*agent, &self.struck);
            }
        }
        for leaf in leaves {
            let bounded = self.seats.seat_mut(*leaf).bounded.as_mut();
            bounded.expect("it was just listed").is_struck = true;
        }
    }

    /// Has leaves interested again in all that bounds hold back, and forgets under which bounds
    /// they were looked at.
    fn restore_bounded(&mut self, leaves: &[LeafId]) {
        let mut struck = Vec::new();
        for leaf in leaves {
            let seat = self.seats.seat_mut(*leaf);
            if seat.bounded.take().is_some_and(|it| it.is_struck) {
                struck.push(*leaf);
            }
        }
        if struck.is_empty() {
            return;
        }
        let bits = bits_of(&struck);
        for agent in &self.held_back {
            let _wanted = self.interest.restore(*agent, &bits);
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

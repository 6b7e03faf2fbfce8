//! Who has waited for too long: all listed leaves by when they were last granted something.
//!
//! Kept and asked only where options let whoever waited longest come first. Who suppresses offers,
//! or is away, does not wait meanwhile: it begins anew when it wants offers again. Nothing else but
//! a grant makes it do so, whatever else a framework says of itself.
//!
//! Deliberately not here: what a leaf may have.

use super::candidate::Stage;
use super::cycle::Found;
use super::drf::Drf;
use super::interest::{Count, Interest};
use super::seats::LeafId;
use super::slice::Scratch;

impl Drf {
    /// Notes that a listed leaf waits from now on.
    pub(super) fn wait(&mut self, leaf: LeafId) {
        let since = core::mem::replace(&mut self.seats.seat_mut(leaf).since, self.now);
        if self.options.ageing.is_some() {
            self.waiting.remove(&(since, leaf));
            self.waiting.insert((self.now, leaf));
        }
    }

    /// Notes that a leaf is listed: it waits on if it did until now, and else from now on.
    pub(super) fn wait_on(&mut self, leaf: LeafId) {
        let since = self.seats.seat(leaf).since;
        if !self.waiting.contains(&(since, leaf)) {
            self.wait(leaf);
        }
    }

    /// Notes that a leaf does not wait, since it is not listed.
    pub(super) fn wait_no_more(&mut self, leaf: LeafId) {
        self.waiting.remove(&(self.seats.seat(leaf).since, leaf));
    }

    /// Looks at the leaves that have waited for too long, the longest first.
    pub(super) fn aged(&self, stage: Stage, agent: usize, scratch: &mut Scratch) -> Option<Found> {
        let age = self.options.ageing?;
        let is_aged = |since| since + age <= self.now;
        if !self.waiting.first().is_some_and(|it| is_aged(it.0)) {
            return None;
        }
        if self.interest.few(agent, &mut scratch.few) == Count::Few {
            let since = |leaf: &LeafId| self.seats.seat(*leaf).since;
            scratch.few.retain(|leaf| is_aged(since(leaf)));
            scratch
                .few
                .sort_unstable_by_key(|leaf| (since(leaf), *leaf));
            let mut aged = scratch.few.iter();
            return aged.find_map(|leaf| self.look(stage, agent, *leaf, &mut scratch.stops));
        }
        let wants = self.interest.of(agent);
        let aged = self.waiting.iter().take_while(|it| is_aged(it.0));
        for (_, leaf) in aged {
            scratch.passed += 1;
            if Interest::has(wants, *leaf)
                && let Some(found) = self.look(stage, agent, *leaf, &mut scratch.stops)
            {
                return Some(found);
            }
        }
        None
    }

    /// Checks that just the listed leaves wait, since they were last granted something.
    pub(super) fn check_waiting(&self) {
        let listed = self
            .seats
            .iter()
            .filter(|it| self.tree.node(it.1.node).listed);
        let listed = listed.filter(|_| self.options.ageing.is_some());
        let expected = listed.map(|(leaf, seat)| (seat.since, leaf)).collect();
        assert_eq!(self.waiting, expected, "who waits since when");
    }
}

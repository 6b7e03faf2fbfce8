//! On which agent a taker is granted something, where its role has a say in that: of those that it
//! could have something of, the one with the least left, or with the most.
//!
//! Agents of a pass stand by what is left of them, and each role's takers leave a trail there: what
//! they could not have once, they cannot have later in the same stage, for nothing but less is left
//! of an agent as a pass goes on. So a taker begins where it stopped before, and looks again only
//! at agents that moved behind its back.
//!
//! Deliberately not here: who is next.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::ops::Bound::{Excluded, Unbounded};

use super::cycle::{Found, Pass};
use super::drf::{Drf, Packing};
use super::interest::Interest;
use super::seats::LeafId;
use super::slice::LOOK_WORK;

/// What is left of an agent, as a dominant share of all there is, and which one it is.
pub(super) type Place = (u64, usize);

/// The agents of a pass by what is left of them.
#[derive(Debug, Default)]
pub(super) struct Ranks {
    places: BTreeSet<Place>,
    /// By agent.
    rests: BTreeMap<usize, u64>,
    /// Where agents moved to in this stage, in the order in which they did.
    moves: Vec<Place>,
    trails: BTreeMap<LeafId, Trail>,
}

/// How far a leaf has come in a stage.
#[derive(Debug, Default)]
struct Trail {
    /// Up to here it can have nothing.
    passed: Option<Place>,
    /// How many of the moves it knows.
    moves: usize,
    /// Where agents moved to of those that it had passed.
    behind: BTreeSet<Place>,
}

impl Ranks {
    /// Puts an agent where it belongs.
    fn enter(&mut self, agent: usize, rest: u64) {
        self.leave(agent);
        self.places.insert((rest, agent));
        self.rests.insert(agent, rest);
    }

    /// Takes an agent out.
    fn leave(&mut self, agent: usize) {
        if let Some(rest) = self.rests.remove(&agent) {
            self.places.remove(&(rest, agent));
        }
    }

    /// Begins another stage, where others are looked for.
    pub(super) fn restart(&mut self) {
        self.moves.clear();
        self.trails.clear();
    }

    /// Returns the place that a leaf has to look at next. Adds what that took.
    fn next(&mut self, leaf: LeafId, packing: Packing, steps: &mut usize) -> Option<Place> {
        let trail = self.trails.entry(leaf).or_default();
        *steps += LOOK_WORK + self.moves.len() - trail.moves;
        for place in &self.moves[trail.moves..] {
            let is_behind = trail.passed.is_some_and(|passed| match packing {
                Packing::Spread => *place >= passed,
                Packing::BestFit | Packing::Random => *place <= passed,
            });
            if is_behind {
                trail.behind.insert(*place);
            }
        }
        trail.moves = self.moves.len();
        loop {
            let behind = match packing {
                Packing::Spread => trail.behind.last(),
                Packing::BestFit | Packing::Random => trail.behind.first(),
            };
            match behind.copied() {
                Some(place) if self.places.contains(&place) => return Some(place),
                // It moved on since.
                Some(place) => trail.behind.remove(&place),
                None => break,
            };
            *steps += LOOK_WORK;
        }
        let passed = trail.passed.map_or(Unbounded, Excluded);
        match packing {
            Packing::Spread => self.places.range((Unbounded, passed)).next_back().copied(),
            Packing::BestFit => self.places.range((passed, Unbounded)).next().copied(),
            Packing::Random => None,
        }
    }

    /// Notes that a leaf can have nothing of an agent in this place.
    fn pass(&mut self, leaf: LeafId, place: Place) {
        let trail = self.trails.entry(leaf).or_default();
        if !trail.behind.remove(&place) {
            trail.passed = Some(place);
        }
    }
}

impl Drf {
    /// Puts an agent where it belongs at the beginning of a pass.
    pub(super) fn rank(&self, ranks: &mut Ranks, agent: usize) {
        let row = self.ledger.at(agent);
        if let Some(row) = row.filter(|row| row.is_offerable() && !row.free().is_empty()) {
            ranks.enter(agent, self.tree.share_of(&row.counts().all));
        }
    }

    /// Puts an agent where it belongs after something of it was granted.
    pub(super) fn rank_again(&self, ranks: &mut Ranks, agent: usize) {
        ranks.leave(agent);
        self.rank(ranks, agent);
        if let Some(rest) = ranks.rests.get(&agent) {
            ranks.moves.push((*rest, agent));
        }
    }

    /// Chooses another agent for a taker, if its role has a say in that.
    pub(super) fn packed(&mut self, pass: &mut Pass, agent: usize, found: Found) -> (usize, Found) {
        let (leaf, packing) = (found.leaf, self.packing(found.leaf));
        let stage = pass.stage;
        let Some(ranks) = pass.ranks.as_mut().filter(|_| packing != Packing::Random) else {
            return (agent, found);
        };
        let mut scratch = core::mem::take(&mut self.scratch);
        let mut better = (agent, found);
        while let Some(place) = ranks.next(leaf, packing, &mut scratch.passed) {
            let other = place.1;
            if other == agent {
                break;
            }
            let is_wanted = Interest::has(self.interest.of(other), leaf);
            let is_wanted =
                is_wanted && self.ledger.at(other).is_some_and(|row| row.is_offerable());
            if is_wanted {
                let found = self.look(stage, other, leaf, &mut scratch.stops);
                self.heed(other, &mut scratch);
                if let Some(found) = found {
                    better = (other, found);
                    break;
                }
            }
            ranks.pass(leaf, place);
        }
        #[cfg(test)]
        if self.looks_at_all && !self.is_late() {
            better = self.packed_of_all(&ranks.places, stage, agent, leaf);
        }
        self.scratch = scratch;
        better
    }

    /// Returns which agents a leaf is offered first: as its role says, or the nearest above it.
    pub(super) fn packing(&self, leaf: LeafId) -> Packing {
        if self.options.packing.is_empty() {
            return Packing::Random;
        }
        let mut roles = self.tree.upwards(self.seats.seat(leaf).role);
        let named = roles.find_map(|it| self.options.packing.get(self.tree.role(it)));
        named.copied().unwrap_or_default()
    }
}

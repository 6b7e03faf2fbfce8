//! On which agent a taker is granted something, where its role has a say in that: of those that it
//! could have something of, the one with the least left, or with the most.
//!
//! Agents of a pass stand by what is left of them, and each role's takers leave a trail there: what
//! they could not have once, they cannot have later in the same stage, for nothing but less is left
//! of an agent as a slice of a pass goes on. So a taker begins where it stopped before, and looks
//! again only at agents that moved behind its back. Where bounds that go down with each grant may
//! leave a taker something that suits it better, its trail lasts until the next grant only.
//!
//! Between two slices anything may change: an agent whose free resources did stands where it
//! belongs at once, and all trails are forgotten. What is left is a share of what there was in all
//! when the agents were put in order, so that an agent that comes or goes moves no others.
//!
//! Deliberately not here: who is next.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::ops::Bound::{Excluded, Unbounded};

use super::candidate::{Bound, Pair, Stop};
use super::columns::Row;
use super::cycle::{Found, Pass};
use super::drf::{Drf, Packing};
use super::interest::{Choice, Interest};
use super::ledger::Ledger;
use super::seats::{LeafId, Wish};
use super::slice::LOOK_WORK;
use super::tree::Tree;

/// What is left of an agent, as a dominant share of all there is, and which one it is.
pub(super) type Place = (u64, usize);

/// The agents of a pass by what is left of them.
#[derive(Debug, Default)]
pub(super) struct Ranks {
    /// What there was in all when they were put in order.
    total: Row,
    places: BTreeSet<Place>,
    /// By agent; of some nothing is left, and these stand nowhere.
    rests: BTreeMap<usize, Option<u64>>,
    /// Where agents moved to in this stage, in the order in which they did.
    moves: Vec<Place>,
    trails: BTreeMap<LeafId, Trail>,
    /// Whether some trail lasts until the next grant only.
    has_brief: bool,
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
    /// Whether it is over with the next grant: it may have less then, and want that.
    is_brief: bool,
}

impl Ranks {
    /// Begins to put agents in order, by shares of `total`.
    pub(super) const fn of(total: Row) -> Self {
        Self {
            total,
            places: BTreeSet::new(),
            rests: BTreeMap::new(),
            moves: Vec::new(),
            trails: BTreeMap::new(),
            has_brief: false,
        }
    }

    /// Puts an agent where it belongs.
    pub(super) fn enter(&mut self, agent: usize, ledger: &Ledger, tree: &Tree) {
        let row = ledger.at(agent).filter(|row| !row.free().is_empty());
        let rest = row.map(|row| tree.share_of(&row.counts().all, &self.total));
        if let Some(Some(before)) = self.rests.insert(agent, rest) {
            self.places.remove(&(before, agent));
        }
        if let Some(rest) = rest {
            self.places.insert((rest, agent));
        }
    }

    /// Puts an agent where it belongs after something of it was granted.
    pub(super) fn enter_again(&mut self, agent: usize, ledger: &Ledger, tree: &Tree) {
        self.enter(agent, ledger, tree);
        if let Some(Some(rest)) = self.rests.get(&agent) {
            self.moves.push((*rest, agent));
        }
        if core::mem::take(&mut self.has_brief) {
            self.trails.retain(|_, trail| !trail.is_brief);
        }
    }

    /// Forgets all trails: others are looked for, or anything may have changed.
    pub(super) fn restart(&mut self) {
        self.moves.clear();
        self.trails.clear();
        self.has_brief = false;
    }

    /// Returns where the agents would stand if they were put in order now.
    #[cfg(test)]
    pub(super) fn anew(&self, ledger: &Ledger, tree: &Tree) -> BTreeSet<Place> {
        let mut fresh = Self::of(self.total);
        for agent in self.rests.keys() {
            fresh.enter(*agent, ledger, tree);
        }
        fresh.places
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

    /// Notes that a leaf can have nothing of an agent in this place, or not before a grant.
    fn pass(&mut self, leaf: LeafId, place: Place, lasts: Lasts) {
        let trail = self.trails.entry(leaf).or_default();
        if lasts == Lasts::UntilGrant {
            trail.is_brief = true;
            self.has_brief = true;
        }
        if !trail.behind.remove(&place) {
            trail.passed = Some(place);
        }
    }
}

/// For how long it is true that a leaf can have nothing of an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lasts {
    Stage,
    UntilGrant,
}

impl Drf {
    /// Forgets what takers could not have: something has changed while a pass is open.
    pub(super) fn forget_trails(&mut self) {
        if let Some(ranks) = self.ranks_mut() {
            ranks.restart();
        }
    }

    /// Puts an agent of an open pass where it belongs after what is free of it changed.
    pub(super) fn rank_changed(&mut self, agent: usize) {
        let pass = self.pass.as_mut();
        if let Some(ranks) = pass.and_then(|pass| pass.ranks.as_mut())
            && ranks.rests.contains_key(&agent)
        {
            ranks.enter(agent, &self.ledger, &self.tree);
        }
    }

    /// Has all agents of an open pass put in order anew, since something else is counted.
    pub(super) fn rank_anew(&mut self) {
        if let Some(pass) = &mut self.pass
            && let Some(ranks) = &mut pass.ranks
        {
            ranks.total = self.tree.total;
            pass.ranked = 0;
        }
    }

    fn ranks_mut(&mut self) -> Option<&mut Ranks> {
        self.pass.as_mut()?.ranks.as_mut()
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
            let mut lasts = Lasts::Stage;
            if is_wanted {
                let found = self.look(stage, other, leaf, &mut scratch.stops);
                if let Some((_, stop)) = scratch.stops.last() {
                    lasts = self.lasts(leaf, *stop);
                }
                self.heed(other, &mut scratch);
                if let Some(found) = found {
                    better = (other, found);
                    break;
                }
            }
            ranks.pass(leaf, place, lasts);
        }
        #[cfg(test)]
        if self.looks_at_all && !self.is_late() {
            let places = ranks.anew(&self.ledger, &self.tree);
            better = self.packed_of_all(&places, stage, agent, leaf);
        }
        self.scratch = scratch;
        better
    }

    /// Returns for how long a leaf is stopped. What it may have becomes less with each grant, on
    /// whatever agent, and for some less is better.
    fn lasts(&self, leaf: LeafId, stop: Stop) -> Lasts {
        let seat = self.seats.seat(leaf);
        let is_choosy = || {
            let choice = seat.wish.as_ref().map(Wish::choice);
            seat.want.is_some() || choice == Some(Choice::ByAmount)
        };
        let is_brief = match stop {
            Stop::Bound(Bound::Rest(_)) => true,
            Stop::Bound(Bound::Quota | Bound::HoldsEnough) => is_choosy(),
            Stop::Pair(Pair::Constraint) => self.may_be_cut(leaf),
            Stop::Pair(Pair::Filtered(_) | Pair::TooSmall | Pair::NoDemand)
            | Stop::Barred(_)
            | Stop::Uncovered => false,
        };
        if is_brief {
            Lasts::UntilGrant
        } else {
            Lasts::Stage
        }
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

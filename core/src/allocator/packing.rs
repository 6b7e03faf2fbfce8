//! On which agent a taker is granted something, where its role has a say in that: of those that it
//! could have something of, the one with the least left, or with the most.
//!
//! Agents of a pass stand by what is left of them, and each role's takers leave a trail there: what
//! they could not have once, they cannot have later in the same stage, for nothing but less is left
//! of an agent as a slice of a pass goes on. So a taker begins where it stopped before, and looks
//! again only at agents that moved behind its back. Where other bounds may leave a taker something
//! that suits it better, it begins anew once its bounds are others, which its own grants alone may
//! bring about each time: so it does until it has looked at each agent some times, and from then on
//! takes the next that suits it.
//!
//! A taker that looks for its agent when a slice is over goes on with the next one. Between two
//! slices anything may change: an agent whose free resources did stands where it belongs at once,
//! all trails are forgotten, and who is next is asked anew. Where that happens again and again,
//! the taker has the agent that it was found for, whatever is left of that. What is left is a share
//! of what there was in all when the agents were put in order, so that an agent that comes or goes
//! moves no others.
//!
//! Deliberately not here: who is next.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::ops::Bound::{Excluded, Unbounded};

use super::candidate::{Bound, Pair, Stage, Stop};
use super::columns::Row;
use super::cycle::Found;
use super::drf::{Drf, Packing};
use super::interest::{Choice, Interest};
use super::ledger::Ledger;
use super::pass::Pass;
use super::seats::{LeafId, Wish};
use super::slice::{LOOK_WORK, Scratch, Slice};
use super::tree::Tree;

/// How often a taker looks at each agent in a stage, on average, before it stays with what it saw.
const LOOKS: usize = 16;

/// How many searches changes may end before a grant is made without one.
const MOST_ENDED: u32 = 2;

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
    /// Who looks for an agent where it has something, and for which agent it was found.
    search: Option<(usize, Found)>,
    /// How many searches changes ended since the last grant.
    ended: u32,
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
    /// Under which bounds it was stopped, where it may want what others leave.
    bounds: Option<u64>,
    /// At how many places it has looked.
    looks: usize,
    /// Whether it stays with what it saw, whatever its bounds are.
    is_tired: bool,
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
            search: None,
            ended: 0,
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
        self.ended = 0;
    }

    /// Forgets all trails: others are looked for, or anything may have changed.
    pub(super) fn restart(&mut self) {
        self.moves.clear();
        self.trails.clear();
        if self.search.take().is_some() {
            self.ended += 1;
        }
    }

    /// Returns who was looking for its agent, found for this one, when the last slice was over.
    pub(super) fn resume(&mut self, agent: usize) -> Option<Found> {
        let search = self.search.take();
        search.filter(|it| it.0 == agent).map(|it| it.1)
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

    /// Has a leaf begin anew if it was stopped under bounds that are others now.
    fn begin(&mut self, leaf: LeafId, bounds: impl FnOnce() -> u64) {
        let most = LOOKS * self.rests.len();
        let trail = self.trails.entry(leaf).or_default();
        let is_other = |known| !trail.is_tired && known != bounds();
        if trail.bounds.is_some_and(is_other) {
            trail.is_tired = trail.looks >= most;
            if !trail.is_tired {
                let looks = trail.looks;
                *trail = Trail {
                    looks,
                    ..Trail::default()
                };
            }
        }
        // Nothing is behind its back yet.
        if trail.passed.is_none() {
            trail.moves = self.moves.len();
        }
    }

    /// Tells a leaf where agents moved to, of so many moves at most. Returns of how many.
    fn catch_up(&mut self, leaf: LeafId, packing: Packing, most: usize) -> usize {
        let trail = self.trails.entry(leaf).or_default();
        let moves = &self.moves[trail.moves..];
        let moves = &moves[..moves.len().min(most)];
        for place in moves {
            let is_behind = trail.passed.is_some_and(|passed| match packing {
                Packing::Spread => *place >= passed,
                Packing::BestFit | Packing::Random => *place <= passed,
            });
            if is_behind {
                trail.behind.insert(*place);
            }
        }
        trail.moves += moves.len();
        moves.len()
    }

    /// Returns the place that a leaf has to look at next. The agent may have moved on since.
    fn next(&self, leaf: LeafId, packing: Packing) -> Option<Place> {
        let trail = self.trails.get(&leaf)?;
        let behind = match packing {
            Packing::Spread => trail.behind.last(),
            Packing::BestFit | Packing::Random => trail.behind.first(),
        };
        let passed = trail.passed.map_or(Unbounded, Excluded);
        behind.copied().or_else(|| match packing {
            Packing::Spread => self.places.range((Unbounded, passed)).next_back().copied(),
            Packing::BestFit => self.places.range((passed, Unbounded)).next().copied(),
            Packing::Random => None,
        })
    }

    /// Notes under which bounds a leaf is stopped.
    fn bind(&mut self, leaf: LeafId, bounds: impl FnOnce() -> u64) {
        let trail = self.trails.entry(leaf).or_default();
        trail.bounds.get_or_insert_with(bounds);
    }

    /// Notes that a leaf can have nothing of an agent in this place.
    fn pass(&mut self, leaf: LeafId, place: Place) {
        let trail = self.trails.entry(leaf).or_default();
        trail.looks += 1;
        if !trail.behind.remove(&place) {
            trail.passed = Some(place);
        }
    }
}

/// For how long it is true that a leaf can have nothing of an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lasts {
    Stage,
    /// As long as its bounds are what they are.
    Bounds,
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

    /// Chooses another agent for a taker, if its role has a say in that; `None` if the slice is
    /// over before.
    pub(super) fn packed(
        &mut self,
        pass: &mut Pass,
        agent: usize,
        found: Found,
        slice: &Slice,
    ) -> Option<(usize, Found)> {
        let (leaf, packing, stage) = (found.leaf, self.packing(found.leaf), pass.stage);
        let ranks = pass.ranks.as_mut().filter(|_| packing != Packing::Random);
        let Some(ranks) = ranks.filter(|ranks| ranks.ended < MOST_ENDED) else {
            return Some((agent, found));
        };
        let mut scratch = core::mem::take(&mut self.scratch);
        ranks.begin(leaf, || self.bounds_sign(self.seats.seat(leaf)));
        let mut better = None;
        while better.is_none() {
            let left = slice.left(&scratch);
            if left == 0 {
                ranks.search = Some((agent, found));
                self.scratch = scratch;
                return None;
            }
            let known = ranks.catch_up(leaf, packing, left);
            scratch.passed = scratch.passed.wrapping_add(known + LOOK_WORK);
            if known == left {
                continue;
            }
            let place = ranks.next(leaf, packing);
            let place = place.filter(|it| it.1 != agent || !ranks.places.contains(it));
            let Some(place) = place else {
                break;
            };
            better = self.look_there(stage, leaf, place, ranks, &mut scratch);
        }
        #[cfg(test)]
        if self.looks_at_all && !self.is_late() && !ranks.trails[&leaf].is_tired {
            let places = ranks.anew(&self.ledger, &self.tree);
            better = Some(self.packed_of_all(&places, stage, agent, leaf));
        }
        self.scratch = scratch;
        better.or(Some((agent, found)))
    }

    /// Looks at what a taker may have of the agent in a place, if that is still there.
    fn look_there(
        &mut self,
        stage: Stage,
        leaf: LeafId,
        place: Place,
        ranks: &mut Ranks,
        scratch: &mut Scratch,
    ) -> Option<(usize, Found)> {
        let agent = place.1;
        let is_wanted = ranks.places.contains(&place)
            && Interest::has(self.interest.of(agent), leaf)
            && self.ledger.at(agent).is_some_and(|row| row.is_offerable());
        if is_wanted {
            let found = self.look(stage, agent, leaf, &mut scratch.stops);
            if let Some((_, stop)) = scratch.stops.last()
                && self.lasts(leaf, *stop) == Lasts::Bounds
            {
                ranks.bind(leaf, || self.bounds_sign(self.seats.seat(leaf)));
            }
            self.heed(agent, scratch);
            if let Some(found) = found {
                return Some((agent, found));
            }
        }
        ranks.pass(leaf, place);
        None
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
            Lasts::Bounds
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

//! A pass over agents: who is offered what of each.
//!
//! [`Drf`] makes passes in slices. In each stage agents come in a random order of their own
//! (AL-22, AL-27); of each, the first framework that may have something gets all that it may have,
//! and then the next, until nobody takes anything.
//!
//! Who comes before the order by share is in `waiting.rs`, orders by lot are in `lot.rs`, and the
//! choice among agents is in `packing.rs`. Deliberately not here: what a framework may have, which
//! is `candidate.rs`.

use alloc::borrow::Cow;
use alloc::vec::Vec;

use smallvec::SmallVec;

use super::candidate::{Bar, Pair, Stage, Stop};
use super::drf::{Drf, Lease, Of, SorterKind};
use super::holding::open;
use super::interest::{Count, Interest};
use super::ledger::Extent;
use super::packing::Ranks;
use super::pass::Pass;
use super::seats::LeafId;
use super::slice::{AGENT_WORK, LOOK_WORK, Scratch, Slice};
use super::tree::{NodeId, Sign};
use super::{Decision, Grant};
use crate::machine::{Never, Outbox};
use crate::resources::Resources;

/// How many agents are looked up together.
const BLOCK: usize = 16;

/// Who is next to have something of an agent, and what.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) leaf: LeafId,
    resources: Resources,
    extent: Extent,
}

impl Found {
    pub(super) fn new(leaf: LeafId, candidate: Cow<'_, Resources>) -> Self {
        let extent = match candidate {
            Cow::Borrowed(_) => Extent::All,
            Cow::Owned(_) => Extent::Part,
        };
        Self {
            leaf,
            resources: candidate.into_owned(),
            extent,
        }
    }
}

impl Drf {
    /// Makes a pass, or as much of it as fits into a slice.
    pub(super) fn slice(&mut self, out: &mut Outbox<Never, Decision>) {
        self.tree.settle();
        self.relisted.clear();
        let begun = self.scratch.spent();
        let (mut pass, least) = if let Some(pass) = self.pass.take() {
            self.restore_moved_since();
            // That may take as much in each slice: then looks may cost as much again.
            (pass, self.scratch.spent().wrapping_sub(begun))
        } else {
            (self.begin(), AGENT_WORK)
        };
        let spent = self.scratch.spent().wrapping_sub(begun);
        let most = self.options.agents_per_slice.saturating_mul(AGENT_WORK);
        let mut slice = Slice {
            most: most.max(spent.saturating_add(least)),
            agents: 0,
            begun,
        };
        if !self.rank_all(&mut pass, &slice) {
            self.pass = Some(pass);
            return;
        }
        loop {
            while pass.at < pass.agents.len() && !self.is_over(pass.stage) {
                if !self.visit_block(&mut pass, &mut slice, out) {
                    self.pass = Some(pass);
                    return;
                }
            }
            if pass.stage == Stage::FairShare {
                if pass.of != Of::Few {
                    self.strike_looked_at();
                }
                return;
            }
            pass.next_stage(&mut self.rng);
        }
    }

    /// Puts agents in order by what is left of them, if that is wanted. Returns whether all are.
    fn rank_all(&mut self, pass: &mut Pass, slice: &Slice) -> bool {
        let Some(ranks) = &mut pass.ranks else {
            return true;
        };
        while let Some(agent) = pass.agents[..pass.own].get(pass.ranked) {
            if slice.left(&self.scratch) == 0 {
                return false;
            }
            self.scratch.passed = self.scratch.passed.wrapping_add(LOOK_WORK);
            ranks.enter(*agent, &self.ledger, &self.tree);
            pass.ranked += 1;
        }
        true
    }

    /// Visits the next few agents. Returns whether that was all of them; if not, the slice is over,
    /// and the next one goes on where it stopped.
    fn visit_block(
        &mut self,
        pass: &mut Pass,
        slice: &mut Slice,
        out: &mut Outbox<Never, Decision>,
    ) -> bool {
        let (begin, left) = (pass.at, slice.left(&self.scratch));
        let end = begin + left.div_ceil(AGENT_WORK).min(BLOCK);
        let end = end.min(pass.agents.len());
        // A look at a few rows ahead: they come from far apart, so let them come together.
        let rows = (begin..end).map(|at| (at, pass.agents[at]));
        let offerable =
            |it: &(usize, usize)| self.ledger.at(it.1).is_some_and(|row| row.is_offerable());
        let block: SmallVec<[(usize, usize); BLOCK]> = rows.filter(offerable).collect();
        slice.agents += end - begin - block.len();
        for (at, agent) in block {
            pass.at = at;
            if slice.left(&self.scratch) == 0 || !self.visit(pass, agent, slice, out) {
                return false;
            }
            slice.agents += 1;
        }
        pass.at = end;
        end > begin
    }

    /// Whether nobody is left whom a stage is for.
    fn is_over(&self, stage: Stage) -> bool {
        stage == Stage::Guarantees && self.tree.required_headroom().is_empty()
    }

    fn begin(&mut self) -> Pass {
        let due = core::mem::take(&mut self.due);
        self.restore_due(&due);
        for agent in &due.agents {
            if let Some(row) = self.ledger.at_mut(*agent) {
                row.due = false;
            }
        }
        let of = due.of();
        let mut agents: Vec<usize> = if due.all { self.wanted() } else { due.agents };
        self.passes += 1;
        self.scratch.prepare(agents.len());
        self.rng.shuffle(&mut agents);
        let stage = if self.tree.required_headroom().is_empty() {
            Stage::FairShare
        } else {
            Stage::Guarantees
        };
        let is_packing = !self.options.packing.is_empty();
        let ranks = is_packing.then(|| Ranks::of(self.tree.total));
        Pass::new(due.since.unwrap_or(self.now), stage, agents, ranks, of)
    }

    /// Returns the agents that somebody may want something of. Those on which too little is free
    /// for anybody are passed by here, where they are looked at one beside the other.
    fn wanted(&mut self) -> Vec<usize> {
        let (interest, leasts) = (&mut self.interest, &mut self.leasts);
        self.scratch.prepare(interest.agents());
        let mut wanted = Vec::new();
        for agent in 0..interest.agents() {
            if !interest.is_wanted(agent) {
                continue;
            }
            let Some(row) = self.ledger.at(agent) else {
                continue;
            };
            for leaves in leasts.unmet(row.free(), &row.counts().all) {
                interest.strike(agent, leaves);
            }
            if interest.is_wanted(agent) {
                wanted.push(agent);
            }
        }
        wanted
    }

    /// Offers what is free on an agent until nobody takes anything. Returns false if the slice is
    /// over before.
    fn visit(
        &mut self,
        pass: &mut Pass,
        agent: usize,
        slice: &Slice,
        out: &mut Outbox<Never, Decision>,
    ) -> bool {
        self.strike_refused(agent);
        while self.ledger.at(agent).is_some_and(|it| it.is_offerable()) && !self.is_over(pass.stage)
        {
            // What was sought before the slice was over goes on.
            let sought = pass.ranks.as_mut().and_then(|it| it.resume(agent));
            let Some(found) = sought.or_else(|| self.taker(pass.stage, agent)) else {
                return true;
            };
            let (taken, found) = if pass.ranks.is_none() {
                (agent, found)
            } else if let Some(packed) = self.packed(pass, agent, found, slice) {
                packed
            } else {
                return false;
            };
            self.grant(taken, found, out);
            if let Some(ranks) = &mut pass.ranks {
                ranks.enter_again(taken, &self.ledger, &self.tree);
            }
            // Another agent may have had its turn already, and whoever bounds kept from it then may
            // want what is left.
            let is_wanted = self.lessen(taken) || self.held_back.contains(&taken);
            if is_wanted && taken != agent {
                pass.turn_again(taken);
            }
            if slice.left(&self.scratch) == 0 {
                return false;
            }
        }
        true
    }

    /// Clears the interest of all who refused all that is free, and of all whom its breed bars, in
    /// one go.
    fn strike_refused(&mut self, agent: usize) {
        let Some(row) = self.ledger.at(agent) else {
            return;
        };
        let is_fresh = self.interest.take_fresh(agent);
        let interest = &mut self.interest;
        if let Some(breed) = row.breed {
            interest.strike(agent, self.breeds.barred(breed));
        }
        if !is_fresh {
            return;
        }
        let wants = interest.of_mut(agent);
        let passed = self
            .filters
            .strike(agent as u32, row.free(), self.now, wants);
        self.scratch.passed = self.scratch.passed.wrapping_add(passed);
    }

    /// Finds who is next to have something of an agent, and what.
    fn taker(&mut self, stage: Stage, agent: usize) -> Option<Found> {
        let mut scratch = core::mem::take(&mut self.scratch);
        scratch.stops.clear();
        let mut found = self.aged(stage, agent, &mut scratch);
        if found.is_none() {
            self.heed(agent, &mut scratch);
            found = self.next(stage, agent, &mut scratch);
        }
        scratch.looks = scratch.looks.wrapping_add(1);
        #[cfg(test)]
        if self.looks_at_all && !self.is_late() {
            let drawn = self.draw_all(scratch.lots.draw);
            let waits = |leaf| self.waits_for_bounds(agent, leaf);
            let first = self.first_of_all(stage, agent, &drawn, |leaf| !waits(leaf));
            found = first.map(|(leaf, candidate)| Found::new(leaf, candidate));
        }
        self.heed(agent, &mut scratch);
        self.scratch = scratch;
        found
    }

    /// Takes in why some were not offered anything of an agent.
    pub(super) fn heed(&mut self, agent: usize, scratch: &mut Scratch) {
        scratch.looks = scratch.looks.wrapping_add(scratch.stops.len());
        for (leaf, stop) in scratch.stops.drain(..) {
            // Each shape of a demand is a look of its own.
            if let Some(want) = &self.seats.seat(leaf).want {
                scratch.looks = scratch.looks.wrapping_add(want.left().count());
            }
            match stop {
                Stop::Barred(bar) => {
                    self.interest.bar(agent, leaf);
                    self.bar_breed(agent, leaf, bar);
                }
                // Once bounds are lower, that cut nothing yet, it may be less that is too much now.
                Stop::Pair(Pair::Constraint) if self.may_be_cut(leaf) => {
                    self.hold_back(agent, leaf);
                }
                Stop::Pair(
                    Pair::Filtered(_) | Pair::TooSmall | Pair::Constraint | Pair::NoDemand,
                ) => self.interest.clear(agent, leaf),
                Stop::Bound(_) => self.hold_back(agent, leaf),
                Stop::Uncovered => {}
            }
        }
    }

    /// Returns whether what others do may leave a leaf a part of what is free.
    pub(super) fn may_be_cut(&self, leaf: LeafId) -> bool {
        self.tree.has_quota()
            || self.options.most_offered.is_some()
            || self.seats.seat(leaf).want.is_some()
    }

    /// Notes what bars a leaf from an agent for all agents of whom it is true as well.
    fn bar_breed(&mut self, agent: usize, leaf: LeafId, bar: Bar) {
        let breed = self.ledger.at(agent).and_then(|row| row.breed);
        let wish = self.seats.seat(leaf).wish.as_ref();
        let is_by_breed = bar == Bar::Constraint && wish.is_some_and(|it| it.is_by_breed);
        if let Some(breed) = breed.filter(|_| is_by_breed) {
            self.breeds.bar(breed, leaf);
        }
    }

    /// Looks at the leaves in their order.
    fn next(&mut self, stage: Stage, agent: usize, scratch: &mut Scratch) -> Option<Found> {
        let by_lot = self.options.role_sorter == SorterKind::Random
            || self.options.framework_sorter == SorterKind::Random;
        if by_lot {
            return self.drawn(stage, agent, scratch);
        }
        let count = self.interest.few(agent, &mut scratch.few);
        match (count, &scratch.few[..]) {
            (Count::Few, []) => return None,
            (Count::Few, [only]) => return self.look(stage, agent, *only, &mut scratch.stops),
            (Count::Few, _) => {
                scratch.stamps.restart(self.tree.nodes.len());
                for leaf in &scratch.few {
                    let node = self.seats.seat(*leaf).node;
                    scratch.stamps.add_all(self.tree.upwards(node));
                }
            }
            (Count::Many, _) => {}
        }
        scratch.walk.restart();
        // Whether branches that are promised nothing can have nothing; asked once.
        let mut kept: Option<bool> = None;
        loop {
            let wants = self.interest.of(agent);
            let stamps = &scratch.stamps;
            let is_wanted = |node: NodeId| match self.tree.leaf_of(node) {
                Some(leaf) => Interest::has(wants, leaf),
                None => {
                    let all = stage == Stage::FairShare && kept != Some(true);
                    let unmet = all || self.tree.may_have_unmet(node);
                    unmet && (count == Count::Many || stamps.has(node))
                }
            };
            let leaf = scratch.walk.next(&self.tree, is_wanted)?;
            if self.strike_alike(agent, leaf) {
                scratch.looks = scratch.looks.wrapping_add(1);
                if !self.interest.is_wanted(agent) {
                    return None;
                }
            } else if let Some(found) = self.look(stage, agent, leaf, &mut scratch.stops) {
                return Some(found);
            } else if stage == Stage::FairShare
                && matches!(scratch.stops.last(), Some((_, Stop::Bound(_))))
            {
                // The agent is noted as held back now, and a look at others adds nothing to that.
                if *kept.get_or_insert_with(|| self.is_kept_from_most(agent)) {
                    self.leave_out();
                    if !self.has_promise(leaf) {
                        scratch.walk.leave_branch();
                    }
                }
            }
        }
    }

    fn is_kept_from_most(&self, agent: usize) -> bool {
        let row = self.ledger.at(agent).expect("it is looked at");
        self.is_kept_free(row)
    }

    /// Whether something must be kept free for the branch of a leaf.
    fn has_promise(&self, leaf: LeafId) -> bool {
        let branch = self.tree.upwards(self.seats.seat(leaf).node).last();
        branch.is_some_and(|top| self.tree.may_have_unmet(top))
    }

    /// Clears the interest of a leaf, and of all that want as much, if that is more than is free.
    pub(super) fn strike_alike(&mut self, agent: usize, leaf: LeafId) -> bool {
        let row = self.ledger.at(agent).expect("it is looked at");
        let wish = self.seats.seat(leaf).wish.as_ref();
        let least = wish.expect("only subscribed leaves are listed").least;
        if self.leasts.at(least).is_met(row.free(), &row.counts().all) {
            return false;
        }
        self.interest.strike(agent, self.leasts.leaves(least));
        true
    }

    pub(super) fn look(
        &self,
        stage: Stage,
        agent: usize,
        leaf: LeafId,
        stops: &mut Vec<(LeafId, Stop)>,
    ) -> Option<Found> {
        let row = self.ledger.at(agent).expect("it is looked at");
        match self.candidate(stage, row, leaf) {
            Ok(candidate) => Some(Found::new(leaf, candidate)),
            Err(stop) => {
                stops.push((leaf, stop));
                None
            }
        }
    }

    fn grant(&mut self, agent: usize, found: Found, out: &mut Outbox<Never, Decision>) {
        let Found {
            leaf,
            resources,
            extent,
        } = found;
        let node = self.seats.seat(leaf).node;
        let row = self.ledger.at_mut(agent);
        let row = row.expect("the candidate was made from this agent's row");
        let part = match extent {
            Extent::All => None,
            Extent::Part => Some((
                self.columns.row(&resources),
                open(&resources, &self.columns),
            )),
        };
        let counts = row.counts();
        let (all, opened) = match &part {
            None => (&counts.all, counts.open()),
            Some((all, opened)) => (all, opened),
        };
        // A shared volume that it holds already counts once (AL-15).
        let counted = match row.counted(leaf, &resources) {
            Cow::Borrowed(_) => None,
            Cow::Owned(counted) => Some(self.columns.row(&counted)),
        };
        let counted = counted.as_ref().unwrap_or(all);
        self.tree.book(node, Sign::Add, counted, opened);
        self.seats.seat_mut(leaf).offered.add(all);
        self.last_grant.0 += 1;
        let id = self.last_grant;
        let key = row.key;
        let is_new = row.grant(leaf, id, &resources, extent, &self.columns);
        row.recount(&mut self.available);
        if row.free().is_empty() {
            self.interest.exhaust(agent);
        }
        let seat = self.seats.seat_mut(leaf);
        seat.agents += usize::from(is_new);
        let (framework, role) = (seat.framework, seat.role);
        self.wait(leaf);
        self.plan_look(self.now);
        self.note_grant(leaf, key, &resources);
        if let Some(lease) = self.options.lease {
            self.hold_lease(Lease {
                until: self.now + lease,
                grant: id,
                agent: key,
                framework,
                role,
            });
        }
        out.emit(Decision::Grant(Grant {
            id,
            framework,
            role: self.tree.role(role).clone(),
            agent: key,
            resources,
        }));
    }
}

//! A pass over agents: who is offered what of each.
//!
//! [`Drf`] makes passes in slices. In each stage agents come in a random order of their own
//! (AL-22, AL-27); of each, the first framework that may have something gets all that it may have,
//! and then the next, until nobody takes anything.
//!
//! Deliberately not here: what a framework may have, which is `candidate.rs`.

use alloc::borrow::Cow;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use smallvec::SmallVec;

use super::candidate::{Bar, Stage, Stop};
use super::drf::{Drf, Lease, Packing, SorterKind};
use super::holding::open;
use super::interest::{Count, Interest};
use super::ledger::Extent;
use super::lot;
use super::seats::LeafId;
use super::tree::{NodeId, Sign};
use super::walk::Walk;
use super::{Decision, Grant};
use crate::machine::{Never, Outbox};
use crate::resources::Resources;
use crate::roles::Role;
use crate::time::Time;

/// How many agents are looked up together.
const BLOCK: usize = 16;
/// What an agent costs of the work of a slice, even if nobody is looked at.
const AGENT_WORK: usize = 128;
/// What a look at a framework costs, where passing by a node of the tree costs one.
const LOOK_WORK: usize = 8;

/// A pass that has begun.
#[derive(Debug)]
pub(super) struct Pass {
    pub(super) since: Time,
    stage: Stage,
    agents: Vec<usize>,
    /// How many of them have been looked at in this stage.
    at: usize,
    /// The agents by what is left of them, if some role wants them in such an order.
    by_rest: BTreeSet<(u64, usize)>,
}

/// What a look needs and the next one can use again.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    walk: Walk,
    few: Vec<LeafId>,
    /// Leaves in the order in which they are looked at, where it is drawn by lot.
    drawn: Vec<LeafId>,
    /// By node, when something below it was last interested in the agent that is looked at.
    stamps: Vec<u64>,
    stamp: u64,
    /// How many leaves were looked at, in all passes.
    looks: usize,
    stops: Vec<(LeafId, Stop)>,
}

impl Scratch {
    /// Counts all work that was ever done.
    const fn work(&self) -> usize {
        self.looks
            .wrapping_mul(LOOK_WORK)
            .wrapping_add(self.walk.steps)
    }
}

/// Who is next to have something of an agent, and what.
struct Found {
    leaf: LeafId,
    resources: Resources,
    extent: Extent,
}

impl Found {
    fn new(leaf: LeafId, candidate: Cow<'_, Resources>) -> Self {
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
        let mut pass = match self.pass.take() {
            Some(pass) => pass,
            None => self.begin(),
        };
        let mut left = self.options.agents_per_slice.saturating_mul(AGENT_WORK);
        loop {
            while pass.at < pass.agents.len() && !self.is_over(pass.stage) {
                if left == 0 {
                    self.pass = Some(pass);
                    return;
                }
                let many = left.div_ceil(AGENT_WORK).min(BLOCK);
                let end = pass.agents.len().min(pass.at + many);
                left = left.saturating_sub((end - pass.at) * AGENT_WORK);
                // A look at a few rows ahead: they come from far apart, so let them come together.
                let rows = pass.agents[pass.at..end].iter().copied();
                let offerable =
                    |agent: &usize| self.ledger.at(*agent).is_some_and(|row| row.is_offerable());
                let block: SmallVec<[usize; BLOCK]> = rows.filter(offerable).collect();
                pass.at = end;
                let before = self.scratch.work();
                for agent in block {
                    self.visit(&mut pass, agent, out);
                }
                left = left.saturating_sub(self.scratch.work().wrapping_sub(before));
            }
            if pass.stage == Stage::FairShare {
                return;
            }
            pass.stage = Stage::FairShare;
            pass.at = 0;
            self.rng.shuffle(&mut pass.agents);
        }
    }

    /// Whether nobody is left whom a stage is for.
    fn is_over(&self, stage: Stage) -> bool {
        stage == Stage::Guarantees && self.tree.required_headroom().is_empty()
    }

    fn begin(&mut self) -> Pass {
        let due = core::mem::take(&mut self.due);
        for agent in &due.agents {
            if let Some(row) = self.ledger.at_mut(*agent) {
                row.due = false;
            }
        }
        let mut agents: Vec<usize> = if due.all { self.wanted() } else { due.agents };
        self.passes += 1;
        self.rng.shuffle(&mut agents);
        let stage = if self.tree.required_headroom().is_empty() {
            Stage::FairShare
        } else {
            Stage::Guarantees
        };
        let mut pass = Pass {
            since: due.since.unwrap_or(self.now),
            stage,
            agents,
            at: 0,
            by_rest: BTreeSet::new(),
        };
        if !self.options.packing.is_empty() {
            let rest = pass.agents.iter().map(|agent| (self.rest(*agent), *agent));
            pass.by_rest = rest.collect();
        }
        pass
    }

    /// Returns the agents that somebody may want something of. Those on which too little is free
    /// for anybody are passed by here, where they are looked at one beside the other.
    fn wanted(&mut self) -> Vec<usize> {
        let (interest, leasts) = (&mut self.interest, &self.leasts);
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

    /// Returns how much is left of an agent, as a dominant share of all there is.
    fn rest(&self, agent: usize) -> u64 {
        let row = self.ledger.at(agent);
        row.map_or(0, |row| self.tree.share_of(&row.counts().all))
    }

    /// Offers what is free on an agent until nobody takes anything.
    fn visit(&mut self, pass: &mut Pass, agent: usize, out: &mut Outbox<Never, Decision>) {
        #[cfg(test)]
        if self.looks_at_all
            && self
                .ledger
                .at(agent)
                .is_some_and(|it| !it.free().is_empty())
        {
            self.interest.unbar_agent(agent);
            self.interest.renew(agent);
        }
        self.strike_refused(agent);
        while self.ledger.at(agent).is_some_and(|it| it.is_offerable()) {
            let Some(found) = self.taker(pass.stage, agent) else {
                return;
            };
            let (agent, found) = self.packed(pass, agent, found);
            let rest = (!pass.by_rest.is_empty()).then(|| self.rest(agent));
            self.grant(agent, found, out);
            if let Some(rest) = rest
                && pass.by_rest.remove(&(rest, agent))
            {
                pass.by_rest.insert((self.rest(agent), agent));
            }
        }
    }

    /// Clears the interest of all who refused all that is free, and of all whom its breed bars, in
    /// one go.
    fn strike_refused(&mut self, agent: usize) {
        let Some(row) = self.ledger.at(agent) else {
            return;
        };
        let is_fresh = self.interest.take_fresh(agent);
        #[cfg(test)]
        if self.looks_at_all {
            return;
        }
        let interest = &mut self.interest;
        if let Some(breed) = row.breed {
            interest.strike(agent, self.breeds.barred(breed));
        }
        if !is_fresh {
            return;
        }
        let wants = interest.of_mut(agent);
        self.filters
            .strike(agent as u32, row.free(), self.now, wants);
    }

    /// Finds who is next to have something of an agent, and what.
    fn taker(&mut self, stage: Stage, agent: usize) -> Option<Found> {
        let mut scratch = core::mem::take(&mut self.scratch);
        scratch.stops.clear();
        let found = self.aged(stage, agent, &mut scratch);
        let found = found.or_else(|| self.next(stage, agent, &mut scratch));
        scratch.looks = scratch.looks.wrapping_add(scratch.stops.len() + 1);
        for (leaf, stop) in &scratch.stops {
            match stop {
                Stop::Barred(bar) => {
                    self.interest.bar(agent, *leaf);
                    self.bar_breed(agent, *leaf, *bar);
                }
                Stop::Pair(_) => self.interest.clear(agent, *leaf),
                Stop::Bound(_) => drop(self.held_back.insert(agent)),
                Stop::Uncovered => {}
            }
        }
        self.scratch = scratch;
        found
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
            (Count::Few, _) => self.stamp(scratch),
            (Count::Many, _) => {}
        }
        scratch.walk.restart();
        // Whether branches that are promised nothing can have nothing; asked once.
        let mut kept: Option<bool> = None;
        loop {
            let wants = self.interest.of(agent);
            let (stamps, stamp) = (&scratch.stamps, scratch.stamp);
            let is_wanted = |node: NodeId| match self.tree.leaf_of(node) {
                Some(leaf) => Interest::has(wants, leaf),
                None => {
                    let all = stage == Stage::FairShare && kept != Some(true);
                    let unmet = all || self.tree.may_have_unmet(node);
                    unmet && (count == Count::Many || stamps[node.at()] == stamp)
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
                if *kept.get_or_insert_with(|| self.is_kept_from_most(agent))
                    && !self.has_promise(leaf)
                {
                    scratch.walk.leave_branch();
                }
            }
        }
    }

    fn is_kept_from_most(&self, agent: usize) -> bool {
        #[cfg(test)]
        if self.looks_at_all {
            return false;
        }
        let row = self.ledger.at(agent).expect("it is looked at");
        self.is_kept_free(row)
    }

    /// Whether something must be kept free for the branch of a leaf.
    fn has_promise(&self, leaf: LeafId) -> bool {
        let branch = self.tree.upwards(self.seats.seat(leaf).node).last();
        branch.is_some_and(|top| self.tree.may_have_unmet(top))
    }

    /// Looks at the leaves in an order that is drawn by lot.
    fn drawn(&mut self, stage: Stage, agent: usize, scratch: &mut Scratch) -> Option<Found> {
        lot::draw(&self.tree, &self.options, &mut self.rng, &mut scratch.drawn);
        let wants = self.interest.of(agent);
        let drawn = scratch.drawn.iter().copied();
        let mut looks = drawn.filter(|leaf| Interest::has(wants, *leaf));
        looks.find_map(|leaf| self.look(stage, agent, leaf, &mut scratch.stops))
    }

    /// Clears the interest of a leaf, and of all that want as much, if that is more than is free.
    fn strike_alike(&mut self, agent: usize, leaf: LeafId) -> bool {
        let row = self.ledger.at(agent).expect("it is looked at");
        let wish = self.seats.seat(leaf).wish.as_ref();
        let least = wish.expect("only subscribed leaves are listed").least;
        if self.leasts.at(least).is_met(row.free(), &row.counts().all) {
            return false;
        }
        self.interest.strike(agent, self.leasts.leaves(least));
        true
    }

    /// Marks all nodes above a few leaves, so that a walk passes by the others.
    fn stamp(&self, scratch: &mut Scratch) {
        scratch.stamps.resize(self.tree.nodes.len(), 0);
        scratch.stamp += 1;
        for leaf in &scratch.few {
            for node in self.tree.upwards(self.seats.seat(*leaf).node) {
                scratch.stamps[node.at()] = scratch.stamp;
            }
        }
    }

    /// Looks at the leaves that have waited for too long, the longest first.
    fn aged(&self, stage: Stage, agent: usize, scratch: &mut Scratch) -> Option<Found> {
        let age = self.options.ageing?;
        let wants = self.interest.of(agent);
        let mut aged: Vec<_> = self
            .seats
            .iter()
            .filter(|(leaf, seat)| seat.since + age <= self.now && Interest::has(wants, *leaf))
            .filter(|(leaf, _)| self.seats.may_be_offered(*leaf))
            .map(|(leaf, seat)| (seat.since, leaf))
            .collect();
        aged.sort_unstable();
        let mut aged = aged.into_iter();
        aged.find_map(|(_, leaf)| self.look(stage, agent, leaf, &mut scratch.stops))
    }

    fn look(
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

    /// Chooses another agent for a taker, if its role has a say in that.
    fn packed(&self, pass: &Pass, agent: usize, found: Found) -> (usize, Found) {
        let leaf = found.leaf;
        let offer = |other: &(u64, usize)| {
            let row = self.ledger.at(other.1).filter(|row| row.is_offerable())?;
            let candidate = self.candidate(pass.stage, row, leaf).ok()?;
            Some((other.1, Found::new(leaf, candidate)))
        };
        let better = match self.packing(leaf) {
            Packing::Random => None,
            Packing::Spread => pass.by_rest.iter().rev().find_map(offer),
            Packing::BestFit => pass.by_rest.iter().find_map(offer),
        };
        better.unwrap_or((agent, found))
    }

    pub(super) fn packing(&self, leaf: LeafId) -> Packing {
        if self.options.packing.is_empty() {
            return Packing::Random;
        }
        let role: &Role = self.tree.role(self.seats.seat(leaf).role);
        let ends = role.as_str().rmatch_indices('/').map(|(at, _)| at);
        let mut paths = [role.as_str().len()].into_iter().chain(ends);
        let named = paths.find_map(|end| {
            let mut all = self.options.packing.iter();
            all.find(|(known, _)| known.as_str() == &role.as_str()[..end])
        });
        named.map_or(Packing::Random, |(_, packing)| *packing)
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
        seat.since = self.now;
        if let Some(want) = &mut seat.want {
            want.grant(&resources);
        }
        let (framework, role) = (seat.framework, seat.role);
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

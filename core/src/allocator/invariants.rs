//! What always holds inside [`Drf`], computed anew from the ledger.
//!
//! Called after every input by tests, the simulator and fuzzing; never in production's hot path.

use alloc::collections::{BTreeMap, BTreeSet};

use super::candidate::{Stage, Stop, subject};
use super::columns::Row;
use super::drf::Drf;
use super::holding::Held;
use super::interest::Interest;
use super::kinds::kind;
use super::ledger::Agent;
use super::seats::LeafId;
use super::shortage::has_twice;
use super::tally::Tally;
use super::tree::{NodeId, What};
use crate::keys::FrameworkKey;

impl Drf {
    /// Checks that free, offered and used make up each agent's total, by identity; that shares,
    /// quota and orders agree with that; that nobody has a refusal who is not there; and that
    /// nobody is passed by who could have something.
    ///
    /// # Panics
    ///
    /// If one of these does not hold, which is an error in this allocator.
    pub fn check_invariants(&self) {
        let mut held: BTreeMap<LeafId, (Held, usize)> = BTreeMap::new();
        let mut reserved: BTreeMap<NodeId, Row> = BTreeMap::new();
        let (mut total, mut available) = (Row::ZERO, Row::ZERO);
        for (key, agent) in self.ledger.iter() {
            let shortage = agent.shortage();
            assert_eq!(*agent.free(), shortage.free, "free on agent {key:?}");
            let is_odd = shortage.is_any() || has_twice(agent.total());
            assert_eq!(agent.is_overbooked(), is_odd, "{key:?}");
            assert_eq!(
                agent.counts().all,
                self.columns.row(agent.free()),
                "{key:?}"
            );
            total.add(&self.columns.row(agent.total()));
            if agent.is_offerable() {
                available.add(agent.counts().open());
            }
            for (leaf, amount) in agent.holdings(&self.columns) {
                let (sum, agents) = held.entry(leaf).or_default();
                sum.all.add(&amount.all);
                sum.open.add(&amount.open);
                sum.offered.add(&amount.offered);
                *agents += 1;
            }
            for entry in agent.total() {
                if let (Some(role), Some((column, amount))) =
                    (kind(entry).reserved, self.columns.place(entry))
                {
                    let node = self
                        .tree
                        .find(role)
                        .expect("a role that something is kept for");
                    reserved.entry(node).or_default().add_at(column, amount);
                }
            }
        }
        assert_eq!(self.tree.total, total, "the sum of all agents");
        assert_eq!(
            self.available, available,
            "what is free of agents that may be offered"
        );
        self.tree.check_orders();
        self.tree
            .check_books(|node| match self.tree.node(node).what {
                What::Seat(leaf) => {
                    let sum = held.get(&leaf).copied().unwrap_or_default().0;
                    (sum.all, sum.open, Row::ZERO)
                }
                What::Role(_) => {
                    let reserved = reserved.get(&node).copied().unwrap_or_default();
                    (Row::ZERO, Row::ZERO, reserved)
                }
                What::Root | What::Own | What::Gone => <(Row, Row, Row)>::default(),
            });
        self.check_seats(&held);
        self.check_tallies();
        self.check_waiting();
        self.filters.check_invariants();
        self.check_interest();
        self.check_pass();
    }

    /// No agent has more than one second turn ahead of it.
    fn check_pass(&self) {
        let ahead = self.pass.iter().flat_map(|pass| pass.ahead());
        let mut seen = BTreeSet::new();
        for agent in ahead {
            assert!(seen.insert(agent), "two more turns of agent {agent}");
        }
    }

    fn check_seats(&self, held: &BTreeMap<LeafId, (Held, usize)>) {
        for (leaf, seat) in self.seats.iter() {
            let (sum, agents) = held.get(&leaf).copied().unwrap_or_default();
            assert_eq!(seat.offered, sum.offered, "what {leaf:?} is offered");
            assert_eq!(seat.agents, agents, "where {leaf:?} holds something");
            assert!(
                seat.wish.is_some() || agents > 0,
                "{leaf:?} is there for nothing"
            );
            self.leasts
                .check(leaf, seat.wish.as_ref().map(|it| it.least));
            let node = self.tree.node(seat.node);
            assert_eq!(node.what, What::Seat(leaf));
            let may_be_offered = self.seats.may_be_offered(leaf);
            assert_eq!(node.listed, may_be_offered, "whether {leaf:?} stands");
        }
        let known = |leaf: &LeafId| self.seats.iter().any(|(known, _)| known == *leaf);
        assert!(held.keys().all(known), "held by somebody who is not there");
    }

    /// What bounds on offers go by is what is offered.
    fn check_tallies(&self) {
        let mut offered: BTreeMap<LeafId, Tally> = BTreeMap::new();
        let mut of_all: BTreeMap<FrameworkKey, Tally> = BTreeMap::new();
        for (leaf, _, bag) in self.ledger.iter().flat_map(|(_, agent)| agent.offered()) {
            offered.entry(leaf).or_default().add(bag);
            let framework = self.seats.seat(leaf).framework;
            of_all.entry(framework).or_default().add(bag);
        }
        for (key, framework) in &self.seats.frameworks {
            if let Some(tally) = &framework.in_offers {
                let expected = of_all.remove(key).unwrap_or_default();
                assert_eq!(*tally, expected, "what {key:?} is offered, by name");
            }
        }
        for (leaf, seat) in self.seats.iter() {
            if let Some(tally) = &seat.in_offers {
                let expected = offered.remove(&leaf).unwrap_or_default();
                assert_eq!(*tally, expected, "what {leaf:?} is offered, by name");
            }
        }
    }

    /// Who has no interest in an agent could have nothing of it, for a reason of the pair; or
    /// bounds are why, and it is looked at again once they have moved.
    fn check_interest(&self) {
        for (key, agent) in self.ledger.iter() {
            let at = key.index() as usize;
            for (leaf, _) in self.seats.iter() {
                let is_passed_by = !Interest::has(self.interest.of(at), leaf);
                if !is_passed_by || agent.free().is_empty() || !self.seats.may_be_offered(leaf) {
                    continue;
                }
                let candidate = self.candidate(Stage::FairShare, agent, leaf);
                let lapsed = self.filters.next_lapse().is_some_and(|at| at <= self.now);
                let is_right = match candidate {
                    Err(Stop::Barred(_) | Stop::Pair(_)) => true,
                    // Behind a bound there may be a reason of the pair.
                    Err(Stop::Bound(_)) => {
                        self.waits_for_bounds(at, leaf) || !self.would_suit(agent, leaf)
                    }
                    // It is looked at again when that is due.
                    Ok(_) => self.waits_for_bounds(at, leaf) && self.recheck.is_some(),
                    Err(Stop::Uncovered) => false,
                };
                assert!(
                    lapsed || is_right,
                    "{leaf:?} is passed by on {key:?}, and could have {candidate:?}"
                );
            }
        }
    }

    /// Whether a leaf would have all that is free of an agent if there were no bounds.
    fn would_suit(&self, agent: &Agent, leaf: LeafId) -> bool {
        let seat = self.seats.seat(leaf);
        let wish = seat.wish.as_ref().expect("it is listed");
        let base = self.base(agent, seat);
        let wanted = seat.want.as_ref().map(|want| want.cut(&base));
        let wanted = wanted.unwrap_or_else(|| base.into_owned());
        let least = self.leasts.at(wish.least);
        let (at, of) = (agent.key.index(), seat.refuser);
        let constraints = wish.constraints.as_ref();
        !wanted.is_empty()
            && least.is_met(&wanted, &self.columns.row(&wanted))
            && (self.filters.refused_until(at, of, &wanted, self.now)).is_none()
            && constraints.is_none_or(|it| it.admits(&subject(agent, &wanted)))
    }
}

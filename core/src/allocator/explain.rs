//! Why an agent is not being offered to a framework, for each agent.
//!
//! Asks what a pass would ask, and puts the answers into words. Deliberately not here: summing up.

use alloc::string::ToString;
use alloc::vec::Vec;

use super::Obstacle;
use super::candidate::{Bar, Bound, Pair, Stage, Stop, subject};
use super::drf::Drf;
use super::ledger::Agent;
use super::profile::SubscriptionState;
use super::seats::{LeafId, Seat};
use crate::keys::{AgentKey, FrameworkKey};
use crate::resources::Resources;
use crate::roles::Role;

impl Drf {
    pub(super) fn explained(
        &self,
        framework: FrameworkKey,
        role: &Role,
    ) -> Vec<(AgentKey, Obstacle)> {
        let leaf = self.leaf(framework, role);
        let Some(leaf) = leaf.filter(|leaf| self.seats.seat(*leaf).wish.is_some()) else {
            return Vec::new();
        };
        let agents = self.ledger.iter();
        agents
            .map(|(key, agent)| (key, self.obstacle(leaf, agent)))
            .collect()
    }

    fn obstacle(&self, leaf: LeafId, agent: &Agent) -> Obstacle {
        let seat = self.seats.seat(leaf);
        let state = seat.wish.as_ref().map(|wish| wish.state);
        if !self.seats.framework(seat.framework).active {
            return Obstacle::FrameworkInactive;
        }
        if state != Some(SubscriptionState::Wanted) {
            return Obstacle::Suppressed;
        }
        if !agent.active {
            return Obstacle::AgentInactive;
        }
        if !agent.whitelisted {
            return Obstacle::NotWhitelisted;
        }
        if self.recovery.is_some() {
            return Obstacle::Recovering;
        }
        match self.candidate(Stage::FairShare, agent, leaf) {
            Ok(_) => Obstacle::None,
            Err(Stop::Barred(Bar::Capability(capability))) => Obstacle::Incapable(capability),
            Err(Stop::Barred(Bar::Constraint)) => self.constraint(seat, agent, agent.free()),
            Err(Stop::Pair(pair)) => self.pair(seat, agent, pair),
            Err(Stop::Bound(Bound::HoldsEnough)) => Obstacle::HoldsEnough,
            Err(Stop::Bound(Bound::Quota | Bound::Rest(_)) | Stop::Uncovered) => {
                self.bound(seat, agent)
            }
        }
    }

    fn pair(&self, seat: &Seat, agent: &Agent, pair: Pair) -> Obstacle {
        match pair {
            Pair::Filtered(until) => Obstacle::Filtered(until),
            Pair::NoDemand => Obstacle::NoDemand,
            Pair::Constraint => self.constraint(seat, agent, agent.free()),
            Pair::TooSmall => {
                let holders = agent.holders();
                let of = |leaf: LeafId| self.seats.seat(leaf).framework;
                let mut holders: Vec<_> = holders.map(|(leaf, how)| (of(leaf), how)).collect();
                holders.dedup();
                if holders.is_empty() {
                    Obstacle::TooSmall
                } else {
                    Obstacle::HeldBy(holders)
                }
            }
        }
    }

    fn constraint(&self, seat: &Seat, agent: &Agent, offered: &Resources) -> Obstacle {
        let wish = seat.wish.as_ref();
        let constraints = wish.and_then(|wish| wish.constraints.as_ref());
        let failed = constraints.and_then(|it| it.obstacle(&subject(agent, offered)));
        failed.map_or(Obstacle::None, |it| Obstacle::Constraint(it.to_string()))
    }

    /// Says which bound holds something back: the limit of the lowest role that has nothing left,
    /// or what is kept free for others.
    fn bound(&self, seat: &Seat, agent: &Agent) -> Obstacle {
        let open = agent.counts().open();
        let mut path = self.tree.upwards(seat.role);
        let full = path.find(|at| self.tree.is_limiting(*at, open));
        match full {
            Some(at) => Obstacle::QuotaLimit(self.tree.role(at).clone()),
            None if self.tree.required_headroom().is_empty() => Obstacle::HoldsEnough,
            None => Obstacle::Headroom,
        }
    }
}

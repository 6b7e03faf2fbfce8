//! Why an agent is not being offered to a framework, for each agent.
//!
//! Asks what a pass would ask, and puts the answers into words. Deliberately not here: summing up.

use alloc::borrow::Cow;
use alloc::string::ToString;
use alloc::vec::Vec;

use super::candidate::{Bar, Bound, Pair, Stage, Stop, subject};
use super::drf::Drf;
use super::headroom::Bounds;
use super::ledger::Agent;
use super::profile::SubscriptionState;
use super::seats::{LeafId, Seat};
use super::want::Want;
use super::{Booking, Capability, Obstacle, kinds};
use crate::keys::{AgentKey, FrameworkKey};
use crate::resources::Resources;
use crate::roles::Role;

/// How far it is from a bag to an offer: each step takes those before it for granted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    /// Nothing of it is wanted.
    Nothing,
    /// Something is, and that is not worth an offer.
    Wanted,
    /// It would be, and a constraint is in the way.
    Worth,
    /// It would do.
    Suited,
}

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
            Err(Stop::Bound(Bound::Rest(pair))) => self.pair(seat, agent, pair),
            Err(Stop::Bound(Bound::Quota) | Stop::Uncovered) => self.bound(seat, agent),
        }
    }

    fn pair(&self, seat: &Seat, agent: &Agent, pair: Pair) -> Obstacle {
        match pair {
            Pair::Filtered(until) => Obstacle::Filtered(until),
            Pair::NoDemand => self.no_shape(seat, agent),
            Pair::Constraint => self.constraint(seat, agent, &self.asked_for(seat, agent)),
            Pair::TooSmall => self.too_little(seat, agent),
        }
    }

    /// Says why no shape is served: others hold what would do, or nothing here would.
    fn no_shape(&self, seat: &Seat, agent: &Agent) -> Obstacle {
        let all = self.suitable(agent.total(), seat);
        let would_do = |want: &Want| !want.cut(&all).is_empty();
        let holders = self.holders(agent);
        if !holders.is_empty() && seat.want.as_ref().is_some_and(would_do) {
            return Obstacle::HeldBy(holders);
        }
        Obstacle::NoDemand
    }

    fn holders(&self, agent: &Agent) -> Vec<(FrameworkKey, Booking)> {
        let of = |leaf: LeafId| self.seats.seat(leaf).framework;
        let mut holders: Vec<_> = agent.holders().map(|(at, how)| (of(at), how)).collect();
        // Whoever holds something in several roles is named once.
        holders.sort_unstable_by_key(|(of, how)| (*of, *how == Booking::Allocated));
        holders.dedup();
        holders
    }

    /// Says why too little is free: others hold what would be enough, or the framework cannot cope
    /// with it, or there is no more.
    fn too_little(&self, seat: &Seat, agent: &Agent) -> Obstacle {
        let wish = seat.wish.as_ref();
        let least = wish.map(|wish| self.leasts.at(wish.least));
        let is_enough =
            |bag: &Resources| least.is_some_and(|least| self.is_worth(seat, least, bag));
        let holders = self.holders(agent);
        if !holders.is_empty() && is_enough(&self.suitable(agent.total(), seat)) {
            return Obstacle::HeldBy(holders);
        }
        let role = self.tree.role(seat.role);
        let can = &self.seats.framework(seat.framework).capabilities;
        let reachable = agent.total().filter(|it| it.is_allocatable_to(role));
        let lacks = [
            Capability::Revocable,
            Capability::Shared,
            Capability::Refinement,
        ];
        let helps = |more: &Capability| {
            let able = kinds::able(*can, *more);
            is_enough(&reachable.filter(|entry| kinds::kind(entry).suits(&able)))
        };
        let any = || {
            let mut lacking = reachable.iter().filter_map(|it| kinds::kind(it).lack(can));
            lacking.next().filter(|_| is_enough(&reachable))
        };
        match lacks.into_iter().find(helps).or_else(any) {
            Some(lack) => Obstacle::Incapable(lack),
            None => Obstacle::TooSmall,
        }
    }

    fn constraint(&self, seat: &Seat, agent: &Agent, offered: &Resources) -> Obstacle {
        let wish = seat.wish.as_ref();
        let constraints = wish.and_then(|wish| wish.constraints.as_ref());
        let failed = constraints.and_then(|it| it.obstacle(&subject(agent, offered)));
        failed.map_or(Obstacle::None, |it| Obstacle::Constraint(it.to_string()))
    }

    /// Returns what of an agent bounds leave a leaf.
    fn left<'a>(&self, seat: &Seat, agent: &'a Agent) -> Cow<'a, Resources> {
        let part = self.part(Stage::FairShare, agent, seat);
        part.map_or_else(|_| self.base(agent, seat), |part| part.resources)
    }

    /// Returns what of an agent a leaf's constraints were asked about.
    fn asked_for<'a>(&self, seat: &Seat, agent: &'a Agent) -> Cow<'a, Resources> {
        let left = self.left(seat, agent);
        match &seat.want {
            Some(want) => Cow::Owned(want.cut(&left)),
            None => left,
        }
    }

    /// Says which bound holds something back, by what would be without it: the limit of the lowest
    /// role that, with those below it, leaves no more than what is in the way already; or what is
    /// kept free for others, if the limits alone leave more.
    fn bound(&self, seat: &Seat, agent: &Agent) -> Obstacle {
        let base = self.base(agent, seat);
        // What may be held in grants cuts as well, and is not what is asked about.
        let part = self.part(Stage::FairShare, agent, seat);
        let quota_leaves = part.map_or_else(
            |_| self.base(agent, seat),
            |part| part.uncapped.unwrap_or(part.resources),
        );
        let comes_to = self.step(seat, agent, &quota_leaves);
        let mut bounds = Bounds::NONE;
        let mut path = self.tree.upwards(seat.role);
        let limiting = path.find(|at| {
            self.tree.lower_to_limit(*at, &mut bounds);
            let limited = self.chop(&base, bounds);
            limited != *base && self.step(seat, agent, &limited) <= comes_to
        });
        match limiting {
            Some(at) => Obstacle::QuotaLimit(self.tree.role(at).clone()),
            None => Obstacle::Headroom,
        }
    }

    /// Returns how far it is from a bag to an offer.
    fn step(&self, seat: &Seat, agent: &Agent, bag: &Resources) -> Step {
        let wanted = seat.want.as_ref().map(|want| want.cut(bag));
        let bag = wanted.as_ref().unwrap_or(bag);
        let Some(wish) = seat.wish.as_ref().filter(|_| !bag.is_empty()) else {
            return Step::Nothing;
        };
        let least = self.leasts.at(wish.least);
        if !least.is_met(bag, &self.columns.row(bag)) {
            return Step::Wanted;
        }
        let constraints = wish.constraints.as_ref();
        if constraints.is_some_and(|it| !it.admits(&subject(agent, bag))) {
            return Step::Worth;
        }
        Step::Suited
    }
}

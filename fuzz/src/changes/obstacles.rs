//! What the model makes of why something is not offered.
//!
//! Asked whenever the allocator is to come to rest, before and after: an obstacle has to be one,
//! and none is named where something would have to be offered. Deliberately not here: in which
//! words.

use std::collections::{BTreeMap, BTreeSet};

use tepui_core::allocator::{Allocator, Booking, Capability, Obstacle};
use tepui_core::demand::Demand;
use tepui_core::keys::{AgentKey, FrameworkKey};
use tepui_core::resources::{Quantities, Resources};
use tepui_core::roles::Role;

use super::Pair;
use super::plain::{Agent, Amounts, Framework, NAMES, Place, Plain, count, is_open, is_within};

impl Pair {
    /// Asks why nothing is offered, of everybody and everywhere.
    pub(super) fn check_explained(&self) {
        let plain = &self.plain;
        let agents: BTreeSet<AgentKey> = plain.agents.iter().map(|it| it.key).collect();
        let roles = plain.frameworks.iter().flat_map(|it| &it.roles);
        let bounds: BTreeMap<&Role, Amounts> =
            roles.map(|(role, _)| (role, plain.bounds(role))).collect();
        for framework in &plain.frameworks {
            for (role, _) in &framework.roles {
                let explained = self.drf.explain(framework.key, role);
                let named = explained.iter().map(|it| it.0).collect();
                assert_eq!(agents, named, "each agent is explained");
                for (agent, obstacle) in &explained {
                    let place = (framework.key, role.clone(), *agent);
                    let agent = plain.agent(*agent).expect("it is one of them");
                    match self.shut(framework, role, agent) {
                        Some(shut) => assert_eq!(*obstacle, shut, "{place:?}"),
                        None => plain.check_obstacle(&place, obstacle, bounds[role]),
                    }
                }
            }
        }
    }

    /// Nothing says that nothing stands in the way.
    pub(super) fn check_all_barred(&self) {
        for framework in &self.plain.frameworks {
            for (role, _) in &framework.roles {
                let explained = self.drf.explain(framework.key, role);
                let mut agents = explained.iter();
                let open = agents.find(|it| it.1 == Obstacle::None);
                assert_eq!(open, None, "to {:?} in {role}", framework.key);
            }
        }
    }

    /// What keeps an agent from a framework, whatever either has.
    fn shut(&self, framework: &Framework, role: &Role, agent: &Agent) -> Option<Obstacle> {
        let whitelist = self.plain.whitelist.as_ref();
        let wanted = framework.roles.contains(&(role.clone(), true));
        [
            (!framework.active, Obstacle::FrameworkInactive),
            (!wanted, Obstacle::Suppressed),
            (!agent.active, Obstacle::AgentInactive),
            (
                whitelist.is_some_and(|it| !it.contains(&agent.traits.hostname)),
                Obstacle::NotWhitelisted,
            ),
            (self.is_waiting(), Obstacle::Recovering),
        ]
        .into_iter()
        .find_map(|(is_so, obstacle)| is_so.then_some(obstacle))
    }
}

impl Plain {
    fn check_obstacle(&self, place: &Place, obstacle: &Obstacle, most: Amounts) {
        let agent = self.agent(place.2).expect("it is there");
        let free = self.free(agent);
        let left = self.entitled(place, &free, most);
        if let Some(left) = &left {
            assert_eq!(*obstacle, Obstacle::None, "{left} for {place:?}");
        }
        let framework = self.framework(place.0).expect("it is there");
        let can = &framework.capabilities;
        let suitable = free.filter(|entry| self.suits(place, entry));
        let demand = self.demand(place);
        let at_once = demand.and_then(Demand::at_once);
        let is_within_caps = |bag: &Resources| self.is_within_caps(place, at_once, bag);
        let is_so = match obstacle {
            // Nothing is known of what is left of some demands, but more than all is none.
            Obstacle::None => {
                let may_be = self.may_meet(place) && !self.decides(place);
                let is_open = is_within_caps(&Resources::new());
                left.is_some() || may_be && is_open && self.is_worth(place, &suitable)
            }
            Obstacle::Incapable(lack) => match lack {
                Capability::Gpus
                | Capability::Region
                | Capability::MultiRole
                | Capability::HierarchicalRole => !self.may_meet(place),
                Capability::Revocable => !can.revocable,
                Capability::Shared => !can.shared,
                Capability::Refinement => !can.reservation_refinement,
            },
            Obstacle::Filtered(until) => self.was_refused(place, until.as_micros()),
            Obstacle::Constraint(_) => self.has_constraints(place),
            Obstacle::NoDemand => demand.is_some_and(|it| !self.is_served(place, it, &suitable)),
            Obstacle::HoldsEnough => !is_within_caps(&suitable),
            Obstacle::QuotaLimit(of) => is_within(&place.1, of) && self.is_limited(of, &suitable),
            Obstacle::Headroom => self.is_kept_free(&place.1, &suitable),
            Obstacle::HeldBy(by) => {
                let holders = self.holders(place.2);
                let is_held = !by.is_empty() && by.iter().all(|it| holders.contains(it));
                let all = agent.total.filter(|entry| self.suits(place, entry));
                let is_why = !self.is_worth(place, &suitable) && self.is_worth(place, &all);
                is_held && (demand.is_some() || is_why)
            }
            Obstacle::TooSmall => demand.is_some() || !self.is_worth(place, &suitable),
            // These were decided before.
            Obstacle::Suppressed
            | Obstacle::FrameworkInactive
            | Obstacle::AgentInactive
            | Obstacle::NotWhitelisted
            | Obstacle::Recovering => false,
        };
        assert!(is_so, "{obstacle:?} is not why, for {place:?} of {free}");
        let can_meet = matches!(obstacle, Obstacle::Incapable(_)) || self.may_meet(place);
        assert!(can_meet, "{obstacle:?} is not all, for {place:?}");
    }

    /// Whether something was refused until then, which is not over.
    fn was_refused(&self, place: &Place, until: u64) -> bool {
        let mut refused = self.refused.iter().filter(|it| it.place == *place);
        refused.any(|it| it.until == until)
    }

    fn has_constraints(&self, place: &Place) -> bool {
        let wish = self.wishes.get(&(place.0, place.1.clone()));
        wish.is_some_and(|it| it.constraints.is_some())
    }

    /// Whether a role with such a bag would have more than its limit, as far as that is counted
    /// here.
    fn is_limited(&self, of: &Role, bag: &Resources) -> bool {
        let Some(quota) = self.quotas.get(of) else {
            return false;
        };
        let mut names = quota.limits.iter().map(|it| it.0);
        let is_odd =
            names.any(|name| !NAMES.contains(&name) && bag.iter().any(|it| it.name() == name));
        let (amounts, consumed, limit) = (count(bag, is_open), self.consumed(of), self.limit(of));
        let is_more = |at: usize| {
            let rest = limit[at].map(|limit| (limit - consumed[at]).max(0));
            rest.is_some_and(|rest| amounts[at] > rest)
        };
        is_odd || (0..NAMES.len()).any(is_more)
    }

    /// Whether less than is promised to others would be free without such a bag, as far as that is
    /// counted here.
    fn is_kept_free(&self, role: &Role, bag: &Resources) -> bool {
        let guarantees = self.quotas.values().map(|it| &it.guarantees);
        let mut names = guarantees.flat_map(Quantities::iter).map(|it| it.0);
        let is_odd =
            names.any(|name| !NAMES.contains(&name) && bag.iter().any(|it| it.name() == name));
        let (amounts, spared) = (count(bag, is_open), self.spared(role));
        is_odd || (0..NAMES.len()).any(|at| amounts[at] > spared[at])
    }

    fn holders(&self, agent: AgentKey) -> Vec<(FrameworkKey, Booking)> {
        let offered = self.offered.iter().map(|it| (&it.place, Booking::Offered));
        let used = self.used.iter().filter(|it| !it.1.is_empty());
        let used = used.map(|it| (it.0, Booking::Allocated));
        let all = offered.chain(used).filter(|it| it.0.2 == agent);
        all.map(|(place, how)| (place.0, how)).collect()
    }
}

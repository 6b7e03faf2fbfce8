//! An allocator that draws lots: each free agent goes to any framework that may have it.
//!
//! It is here to show that the [`Allocator`] trait suffices for more than one of them, and as a
//! baseline to compare others with: what it lacks is what [`super::drf`] is for. It keeps what is
//! reserved for its role, offers nothing twice, and honours refusals, suppression, and what
//! frameworks can cope with; so masters and simulations run with it.
//!
//! Deliberately not here: shares, weights, quota, constraints, demands, whitelists, the wait for
//! agents after a change of masters. It hears of them and does nothing. A shared volume is held by
//! one at a time.
//!
//! ```
//! use tepui_core::allocator::random::Random;
//! use tepui_core::allocator::{AgentTraits, Allocator, Change, Decision, FrameworkProfile};
//! use tepui_core::keys::{AgentKey, FrameworkKey};
//! use tepui_core::machine::{Machine, Outbox, Output};
//! use tepui_core::resources::Resources;
//! use tepui_core::roles::Role;
//! use tepui_core::time::Time;
//!
//! let mut allocator: Box<dyn Allocator> = Box::new(Random::new(7));
//! let mut out = Outbox::new();
//! let (agent, total) = (AgentKey::from_raw(0, 0), Resources::parse("cpus:4;mem:64")?);
//! let traits = AgentTraits::default();
//! allocator.handle(Time::ZERO, Change::AgentAdded { agent, total, traits }, &mut out);
//! let framework = FrameworkKey::from_raw(0, 0);
//! let profile = FrameworkProfile::new("the only one", [Role::any()]);
//! allocator.handle(Time::ZERO, Change::FrameworkAdded { framework, profile }, &mut out);
//! allocator.tick(allocator.deadline().expect("somebody wants something"), &mut out);
//! assert!(matches!(out.pop(), Some(Output::Effect(Decision::Grant(_)))));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;

use super::kinds::kind;
use super::{
    Allocator, Booking, Change, Decision, FrameworkCapabilities, FrameworkProfile, Grant, GrantId,
    RescindReason, Stats, SubscriptionState,
};
use crate::keys::{AgentKey, FrameworkKey};
use crate::machine::{Machine, Never, Outbox};
use crate::resources::{Quantities, Resources, Value};
use crate::rng::Rng;
use crate::roles::Role;
use crate::time::Time;

/// Changes wait for each other for so long, and who gave something back for the same again.
const INTERVAL: Duration = Duration::from_secs(1);

/// The allocator: see the [module](self).
#[derive(Debug)]
pub struct Random {
    rng: Rng,
    agents: BTreeMap<AgentKey, Agent>,
    frameworks: BTreeMap<FrameworkKey, Framework>,
    /// Until when somebody does not want anything of an agent.
    refused: BTreeMap<(FrameworkKey, Role, AgentKey), Time>,
    due: Option<Time>,
    last_grant: GrantId,
    passes: u64,
}

#[derive(Debug)]
struct Agent {
    total: Resources,
    active: bool,
    held: BTreeMap<(FrameworkKey, Role), Held>,
}

/// What a framework holds of an agent in a role.
#[derive(Debug, Default)]
struct Held {
    offered: Resources,
    /// The grants that `offered` is the rest of.
    grants: Vec<GrantId>,
    used: Resources,
}

#[derive(Debug)]
struct Framework {
    active: bool,
    capabilities: FrameworkCapabilities,
    roles: Vec<(Role, SubscriptionState)>,
}

impl Machine for Random {
    type Input = Change;
    type Record = Never;
    type Effect = Decision;

    fn handle(&mut self, now: Time, change: Change, out: &mut Outbox<Never, Decision>) {
        self.tick(now, out);
        self.take_in(now, change, out);
        let soon = now + INTERVAL;
        self.due = Some(self.due.map_or(soon, |due| due.min(soon)));
    }

    fn tick(&mut self, now: Time, out: &mut Outbox<Never, Decision>) {
        if self.due.is_some_and(|due| due <= now) {
            self.passes += 1;
            self.refused.retain(|_, until| *until > now);
            self.due = self.refused.values().min().copied();
            self.pass(out);
        }
    }

    fn deadline(&self) -> Option<Time> {
        self.due
    }
}

impl Allocator for Random {
    fn stats(&self) -> Stats {
        let mut stats = Stats {
            passes: self.passes,
            grants: self.last_grant.0,
            filters: self.refused.len(),
            ..Stats::default()
        };
        for agent in self.agents.values() {
            stats.total.add(&scalars(&agent.total));
            for held in agent.held.values() {
                stats.booked.add(&scalars(&held.offered));
                stats.booked.add(&scalars(&held.used));
            }
        }
        stats
    }
}

/// Counts what adds up.
fn scalars(bag: &Resources) -> Quantities {
    bag.filter(|entry| matches!(entry.value(), Value::Scalar(_)))
        .total()
}

impl Agent {
    /// Returns what nobody holds; `None` if more is held than there is.
    fn free(&self) -> Option<Resources> {
        let mut free = self.total.clone();
        for held in self.held.values() {
            free.subtract(&held.offered).ok()?;
            free.subtract(&held.used).ok()?;
        }
        Some(free)
    }

    /// Takes grants back of those whom `of` accepts, as far as they were not already.
    fn rescind(
        &mut self,
        reason: RescindReason,
        of: impl Fn(&(FrameworkKey, Role)) -> bool,
        out: &mut Outbox<Never, Decision>,
    ) {
        let held = self.held.iter_mut().filter(|(whose, _)| of(whose));
        for grant in held.flat_map(|(_, held)| held.grants.drain(..)) {
            out.emit(Decision::Rescind { grant, reason });
        }
    }

    /// Takes everything offered back if more is held than there is.
    fn fit(&mut self, out: &mut Outbox<Never, Decision>) {
        if self.free().is_none() {
            self.rescind(RescindReason::Agent, |_| true, out);
        }
    }
}

/// Turns a part of a bag into something else; `None` if it is no part, or does not fit.
fn turn(bag: &mut Resources, before: &Resources, after: &Resources) -> Option<()> {
    let mut turned = bag.checked_sub(before).ok()?;
    turned.add(after).ok()?;
    *bag = turned;
    Some(())
}

impl Random {
    /// Makes an allocator that knows nobody yet; the same seed draws the same lots.
    pub fn new(seed: u64) -> Self {
        Self {
            rng: Rng::new(seed),
            agents: BTreeMap::new(),
            frameworks: BTreeMap::new(),
            refused: BTreeMap::new(),
            due: None,
            last_grant: GrantId(0),
            passes: 0,
        }
    }

    fn take_in(&mut self, now: Time, change: Change, out: &mut Outbox<Never, Decision>) {
        match change {
            Change::AgentAdded { agent, total, .. } => {
                let row = Agent {
                    total,
                    active: true,
                    held: BTreeMap::new(),
                };
                self.agents.insert(agent, row);
            }
            Change::AgentChanged { agent, total, .. } => {
                self.refused.retain(|(_, _, at), _| *at != agent);
                if let Some(row) = self.agents.get_mut(&agent) {
                    row.total = total;
                    row.fit(out);
                }
            }
            Change::AgentRemoved { agent } => {
                self.agents.remove(&agent);
                self.refused.retain(|(_, _, at), _| *at != agent);
            }
            Change::AgentActive { agent, active } => {
                if let Some(row) = self.agents.get_mut(&agent) {
                    row.active = active;
                    if !active {
                        row.rescind(RescindReason::Agent, |_| true, out);
                    }
                }
            }
            Change::FrameworkAdded { framework, profile } => {
                self.join(framework, profile, true, out);
            }
            Change::FrameworkChanged { framework, profile } => {
                let known = self.frameworks.get(&framework).map(|row| row.active);
                if let Some(active) = known {
                    self.join(framework, profile, active, out);
                }
            }
            Change::FrameworkRemoved { framework } => self.leave(framework),
            Change::FrameworkActive { framework, active } => {
                self.activate(framework, active, out);
            }
            Change::Suppressed { framework, roles } => {
                self.wish(framework, &roles, SubscriptionState::Suppressed);
            }
            Change::Revived { framework, roles } => {
                self.wish(framework, &roles, SubscriptionState::Wanted);
                let named = |role: &Role| roles.is_empty() || roles.contains(role);
                let is_theirs = |who: &FrameworkKey, role: &Role| *who == framework && named(role);
                self.refused
                    .retain(|(who, role, _), _| !is_theirs(who, role));
            }
            other @ (Change::Used { .. }
            | Change::Accepted { .. }
            | Change::Returned { .. }
            | Change::Converted { .. }
            | Change::FreeConverted { .. }) => self.book(now, other, out),
            Change::WeightSet { .. }
            | Change::QuotaSet { .. }
            | Change::Whitelisted { .. }
            | Change::Recovering { .. }
            | Change::Resumed
            | Change::Demanded { .. } => {}
        }
    }

    fn book(&mut self, now: Time, change: Change, out: &mut Outbox<Never, Decision>) {
        match change {
            Change::Used {
                framework,
                role,
                agent,
                resources,
            } => {
                self.take_into_use((framework, role), agent, &resources, out);
            }
            Change::Accepted {
                framework,
                role,
                agent,
                resources,
            } => {
                let whose = (framework, role);
                let _was_offered = self.free(&whose, agent, &resources, Booking::Offered);
                self.take_into_use(whose, agent, &resources, out);
            }
            Change::Returned {
                framework,
                role,
                agent,
                resources,
                from,
                refuse,
            } => {
                let whose = (framework, role);
                if self.free(&whose, agent, &resources, from) && from == Booking::Offered {
                    let until = now + refuse.unwrap_or_default().max(INTERVAL);
                    self.refused.insert((whose.0, whose.1, agent), until);
                }
            }
            Change::Converted {
                framework,
                role,
                agent,
                before,
                after,
            } => self.convert((framework, role), agent, &before, &after),
            Change::FreeConverted {
                agent,
                before,
                after,
            } => {
                if let Some(row) = self.agents.get_mut(&agent) {
                    let _not_its_own = turn(&mut row.total, &before, &after);
                    row.fit(out);
                }
            }
            other @ (Change::AgentAdded { .. }
            | Change::AgentChanged { .. }
            | Change::AgentRemoved { .. }
            | Change::AgentActive { .. }
            | Change::FrameworkAdded { .. }
            | Change::FrameworkChanged { .. }
            | Change::FrameworkRemoved { .. }
            | Change::FrameworkActive { .. }
            | Change::Suppressed { .. }
            | Change::Revived { .. }
            | Change::WeightSet { .. }
            | Change::QuotaSet { .. }
            | Change::Whitelisted { .. }
            | Change::Recovering { .. }
            | Change::Resumed
            | Change::Demanded { .. }) => unreachable!("{other:?} is not a booking"),
        }
    }

    fn take_into_use(
        &mut self,
        whose: (FrameworkKey, Role),
        agent: AgentKey,
        resources: &Resources,
        out: &mut Outbox<Never, Decision>,
    ) {
        if let Some(row) = self.agents.get_mut(&agent) {
            let used = &mut row.held.entry(whose).or_default().used;
            used.add(resources).expect("what a cluster has fits");
            row.fit(out);
        }
    }

    /// Frees something. Returns whether it was held; if not, it is late news.
    fn free(
        &mut self,
        whose: &(FrameworkKey, Role),
        agent: AgentKey,
        resources: &Resources,
        from: Booking,
    ) -> bool {
        let row = self.agents.get_mut(&agent);
        let Some(held) = row.and_then(|row| row.held.get_mut(whose)) else {
            return false;
        };
        let freed = match from {
            Booking::Offered => held.offered.subtract(resources),
            Booking::Allocated => held.used.subtract(resources),
        };
        if held.offered.is_empty() {
            held.grants.clear();
        }
        freed.is_ok()
    }

    /// Turns something offered, and with it a part of the total, into something else.
    fn convert(
        &mut self,
        whose: (FrameworkKey, Role),
        agent: AgentKey,
        before: &Resources,
        after: &Resources,
    ) {
        let Some(row) = self.agents.get_mut(&agent) else {
            return;
        };
        let held = row.held.get_mut(&whose);
        if held.is_some_and(|held| turn(&mut held.offered, before, after).is_some()) {
            let _as_much_as_before = turn(&mut row.total, before, after);
        }
    }

    fn leave(&mut self, key: FrameworkKey) {
        self.frameworks.remove(&key);
        self.refused.retain(|(who, ..), _| *who != key);
        for row in self.agents.values_mut() {
            row.held.retain(|(who, _), _| *who != key);
        }
    }

    /// Takes in what a framework is and wants; in roles that it left, its grants are taken back.
    fn join(
        &mut self,
        key: FrameworkKey,
        profile: FrameworkProfile,
        active: bool,
        out: &mut Outbox<Never, Decision>,
    ) {
        let roles: Vec<_> = profile
            .roles
            .into_iter()
            .map(|it| (it.role, it.state))
            .collect();
        let left = |(who, role): &(FrameworkKey, Role)| {
            *who == key && !roles.iter().any(|own| own.0 == *role)
        };
        for row in self.agents.values_mut() {
            row.rescind(RescindReason::Role, left, out);
        }
        let framework = Framework {
            active,
            capabilities: profile.capabilities,
            roles,
        };
        self.frameworks.insert(key, framework);
    }

    fn activate(&mut self, key: FrameworkKey, active: bool, out: &mut Outbox<Never, Decision>) {
        let Some(row) = self.frameworks.get_mut(&key) else {
            return;
        };
        row.active = active;
        self.refused.retain(|(who, ..), _| *who != key);
        if !active {
            for row in self.agents.values_mut() {
                row.rescind(RescindReason::Framework, |(who, _)| *who == key, out);
            }
        }
    }

    fn wish(&mut self, key: FrameworkKey, of: &[Role], state: SubscriptionState) {
        let roles = self.frameworks.get_mut(&key).into_iter();
        for (role, own) in roles.flat_map(|row| &mut row.roles) {
            if of.is_empty() || of.contains(role) {
                *own = state;
            }
        }
    }

    /// Gives away whatever is free, agent by agent, until nobody may have anything.
    fn pass(&mut self, out: &mut Outbox<Never, Decision>) {
        let agents: Vec<AgentKey> = self.agents.keys().copied().collect();
        for agent in agents {
            let row = &self.agents[&agent];
            let mut free = row.free().filter(|_| row.active).unwrap_or_default();
            loop {
                let mut takers = self.takers(agent, &free);
                if takers.is_empty() {
                    break;
                }
                let drawn = self.rng.below(takers.len() as u64) as usize;
                let (framework, role, resources) = takers.swap_remove(drawn);
                free.subtract(&resources).expect("it is a part of it");
                self.last_grant.0 += 1;
                let id = self.last_grant;
                let row = self.agents.get_mut(&agent).expect("it was just looked at");
                let held = row.held.entry((framework, role.clone())).or_default();
                held.grants.push(id);
                let sum = held.offered.add(&resources);
                sum.expect("parts of an agent's total fit together");
                out.emit(Decision::Grant(Grant {
                    id,
                    framework,
                    role,
                    agent,
                    resources,
                }));
            }
        }
    }

    /// Returns who may have what of it.
    fn takers(&self, agent: AgentKey, free: &Resources) -> Vec<(FrameworkKey, Role, Resources)> {
        let mut takers = Vec::new();
        if free.is_empty() {
            return takers;
        }
        for (key, framework) in self.frameworks.iter().filter(|(_, row)| row.active) {
            for (role, state) in &framework.roles {
                let place = (*key, role.clone(), agent);
                if *state != SubscriptionState::Wanted || self.refused.contains_key(&place) {
                    continue;
                }
                let part = free.filter(|entry| {
                    entry.is_allocatable_to(role) && kind(entry).suits(&framework.capabilities)
                });
                if !part.is_empty() {
                    takers.push((*key, role.clone(), part));
                }
            }
        }
        takers
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;
    use alloc::format;
    use alloc::string::{String, ToString};

    use super::*;
    use crate::allocator::AgentTraits;
    use crate::machine::Output;

    const AGENT: AgentKey = AgentKey::from_raw(0, 0);

    fn framework(n: u32) -> FrameworkKey {
        FrameworkKey::from_raw(n, 0)
    }

    fn res(text: &str) -> Resources {
        Resources::parse(text).unwrap()
    }

    struct Rig {
        random: Random,
        now: Time,
        out: Outbox<Never, Decision>,
    }

    impl Rig {
        fn new(seed: u64, total: &str, roles: &[&str]) -> Self {
            let mut rig = Self {
                random: Random::new(seed),
                now: Time::ZERO,
                out: Outbox::new(),
            };
            rig.tell(Change::AgentAdded {
                agent: AGENT,
                total: res(total),
                traits: AgentTraits::default(),
            });
            for (n, role) in (0..).zip(roles) {
                rig.tell(Change::FrameworkAdded {
                    framework: framework(n),
                    profile: FrameworkProfile::new("f", [Role::new(role).unwrap()]),
                });
            }
            rig
        }

        fn tell(&mut self, change: Change) {
            self.random.handle(self.now, change, &mut self.out);
        }

        fn returns(&mut self, who: u32, role: &str, resources: &str, refuse: u64) {
            self.tell(Change::Returned {
                framework: framework(who),
                role: Role::new(role).unwrap(),
                agent: AGENT,
                resources: res(resources),
                from: Booking::Offered,
                refuse: Some(Duration::from_secs(refuse)),
            });
        }

        /// Lives on, and returns what was said.
        fn until(&mut self, seconds: u64) -> Vec<String> {
            let end = Time::from_micros(seconds * 1_000_000);
            while let Some(due) = self.random.deadline().filter(|due| *due <= end) {
                self.now = due;
                self.random.tick(due, &mut self.out);
            }
            self.now = end;
            let said = self.out.drain().map(|output| match output {
                Output::Effect(Decision::Grant(it)) => {
                    format!("{} {}", it.framework.index(), it.resources)
                }
                Output::Effect(Decision::Rescind { grant, reason }) => {
                    format!("rescind {} {reason:?}", grant.0)
                }
                Output::Persist(_) | Output::Free(_) => panic!("{output:?}"),
            });
            said.collect()
        }
    }

    #[test]
    fn anybody_may_be_next() {
        // C7: and the same seed draws the same.
        let first = |seed| Rig::new(seed, "cpus:4", &["*"; 3]).until(1).remove(0);
        let drawn: BTreeSet<String> = (0..50).map(first).collect();
        assert_eq!(drawn.len(), 3, "{drawn:?}");
        assert_eq!(first(7), first(7));
    }

    #[test]
    fn what_is_reserved_goes_to_its_role() {
        // I5, RM-23: the rest goes to either.
        let mut rig = Rig::new(1, "cpus:4;cpus(eng):2", &["eng/web", "ops"]);
        let said = rig.until(1);
        let for_ops: Vec<_> = said.iter().filter(|it| it.starts_with('1')).collect();
        assert!(
            said.len() <= 2 && said.iter().any(|it| it.contains("(eng):2")),
            "{said:?}"
        );
        assert!(for_ops.iter().all(|it| *it == "1 cpus:4"), "{said:?}");
        assert_eq!(rig.random.stats().booked.to_string(), "cpus:6");
    }

    #[test]
    fn refusals_last_and_lapse() {
        // OF-33, OF-36
        let mut rig = Rig::new(1, "cpus:4", &["*"]);
        assert_eq!(rig.until(1), ["0 cpus:4"]);
        rig.returns(0, "*", "cpus:4", 0);
        assert_eq!(rig.until(2), ["0 cpus:4"], "an interval later");
        rig.returns(0, "*", "cpus:4", 60);
        assert_eq!(rig.until(61), [""; 0]);
        assert_eq!(rig.random.stats().filters, 1);
        assert_eq!(rig.until(62), ["0 cpus:4"]);
        rig.returns(0, "*", "cpus:4", 60);
        rig.tell(Change::Revived {
            framework: framework(0),
            roles: Vec::new(),
        });
        assert_eq!(rig.until(63), ["0 cpus:4"]);
        assert_eq!(rig.random.deadline(), None, "nothing is left to do");
    }

    #[test]
    fn what_may_not_be_offered_is_taken_back_and_comes_first() {
        // I1, I4
        let mut rig = Rig::new(1, "cpus:4", &["*", "*"]);
        let said = rig.until(1).remove(0);
        let (who, other) = if said.starts_with('0') {
            (0, 1)
        } else {
            (1, 0)
        };
        let away = |rig: &mut Rig, active| {
            rig.tell(Change::FrameworkActive {
                framework: framework(who),
                active,
            });
        };
        away(&mut rig, false);
        away(&mut rig, false);
        assert_eq!(
            rig.until(5),
            ["rescind 1 Framework"],
            "and it is still held"
        );
        rig.returns(who, "*", "cpus:4", 0);
        assert_eq!(rig.until(6), [format!("{other} cpus:4")]);
        let shrunk = Change::AgentChanged {
            agent: AGENT,
            total: res("cpus:3"),
            traits: AgentTraits::default(),
        };
        rig.tell(shrunk);
        assert_eq!(rig.until(9), ["rescind 2 Agent"]);
        rig.returns(other, "*", "cpus:4", 0);
        assert_eq!(rig.until(10), [format!("{other} cpus:3")]);
        assert_eq!(rig.random.stats().booked.to_string(), "cpus:3");
    }
}

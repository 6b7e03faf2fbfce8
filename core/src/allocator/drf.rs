//! The allocator that comes with the library: weighted dominant resource fairness over flat roles.
//!
//! A master drives it as its [`Allocator`]; so can any embedder. A *pass* goes over agents in
//! seeded random order and offers all that is free on each to the first framework that may have it
//! (AL-28): roles stand by weighted dominant share, and frameworks by theirs within a role.
//!
//! # When it looks, and where
//!
//! * Whatever may make an offer possible (something is free that was not, a framework wants offers
//!   again, a refusal lapsed) makes its agents due *at once*. A pass over just them leaves
//!   nothing free that somebody would take, so the periodic pass over everything (AL-04) is left
//!   out: it could find nothing. An idle allocator has no deadline.
//! * All changes of one moment belong together: their pass is made by the `tick` of that moment,
//!   or before the first change of a later one. So an agent may be added first, and what is in use
//!   on it be reported after that.
//!
//! # Who waits
//!
//! What comes back goes at once to whoever is next, so two frameworks that want nothing could hand
//! it to each other forever. Therefore a framework that returns a grant of which it *accepted
//! nothing* is not offered the same before an interval has passed. One that used a part of it
//! keeps its place for the rest, and so does one whose task ended: these took something, which
//! cannot go on forever. Were they to wait as well, the next in line would get the rest of each
//! grant even with a larger share, and progressive filling, the order that fairness is defined by,
//! would be broken: after shares of 3/9 for B and 4/18 for A the next task is A's although A was
//! the last to be offered something.
//!
//! A refusal of some length lasts for at least an interval, and until the following multiple of
//! the interval is *past*: what was refused at 0 s for half a second is offered again at 2 s
//! (OF-34, TV-22). Such common moments let refusals of many agents lapse in one pass.
//!
//! Deliberately not here: quota, trees of roles, constraints; offers' ids and timeouts.

use alloc::borrow::Cow;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use tracing::debug;

use super::ledger::{Ledger, Origin};
use super::sorter::{Entry, Leaf, Listing, RoleKey, Sorter, scalars};
use super::{Allocator, Booking, Change, Decision, Grant, GrantId, Obstacle, RescindReason, Stats};
use crate::filters::Filters;
use crate::keys::{AgentKey, FrameworkKey};
use crate::machine::{Machine, Never, Outbox};
use crate::resources::{Quantities, Resources};
use crate::rng::Rng;
use crate::roles::Role;
use crate::table::Key;
use crate::time::Time;

/// How a [`Drf`] behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long a framework waits for what it did not want, and the least length of a refusal
    /// (TL-03).
    pub interval: Duration,
    /// What is worth an offer: at least one of these. If there is none, anything is (AL-33).
    pub min_allocatable: Vec<Quantities>,
    /// Names that shares are not counted by (AL-15).
    pub excluded: Vec<String>,
    /// Seeds the order of agents.
    pub seed: u64,
}

impl Default for Options {
    /// An interval of one second; 0.01 cpus or 32 MiB are worth an offer.
    fn default() -> Self {
        let least = |text| Quantities::parse(text).expect("the defaults are well-formed");
        Self {
            interval: Duration::from_secs(1),
            min_allocatable: Vec::from([least("cpus:0.01"), least("mem:32")]),
            excluded: Vec::new(),
            seed: 0,
        }
    }
}

/// The allocator: see the [module](self).
#[derive(Debug)]
pub struct Drf {
    pub(super) options: Options,
    rng: Rng,
    pub(super) ledger: Ledger,
    pub(super) sorter: Sorter,
    pub(super) refusals: Filters<(Leaf, AgentKey)>,
    pub(super) frameworks: BTreeMap<FrameworkKey, Framework>,
    due: Due,
    last_grant: GrantId,
    passes: u64,
}

/// A framework that is there.
#[derive(Debug)]
pub(super) struct Framework {
    name: Arc<str>,
    active: bool,
    pub(super) roles: BTreeMap<RoleKey, Demand>,
}

/// Whether a framework wants offers in a role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Demand {
    Wanted,
    Suppressed,
}

impl Framework {
    pub(super) fn may_be_offered(&self, role: RoleKey) -> bool {
        self.active && self.roles.get(&role) == Some(&Demand::Wanted)
    }
}

/// Which agents the next pass looks at.
#[derive(Debug, Default)]
struct Due {
    since: Option<Time>,
    all: bool,
    agents: BTreeSet<AgentKey>,
}

impl Machine for Drf {
    type Input = Change;
    type Record = Never;
    type Effect = Decision;

    fn handle(&mut self, now: Time, change: Change, out: &mut Outbox<Never, Decision>) {
        self.lapse(now);
        if self.due.since.is_some_and(|since| since < now) {
            self.pass(out);
        }
        self.take_in(now, change, out);
    }

    fn tick(&mut self, now: Time, out: &mut Outbox<Never, Decision>) {
        self.lapse(now);
        if self.due.since.is_some_and(|since| since <= now) {
            self.pass(out);
        }
    }

    fn deadline(&self) -> Option<Time> {
        [self.due.since, self.refusals.next_expiry()]
            .into_iter()
            .flatten()
            .min()
    }
}

impl Allocator for Drf {
    fn explain(&self, framework: FrameworkKey, role: &Role) -> Vec<(AgentKey, Obstacle)> {
        let Some((leaf, row)) = self.subscription(framework, role) else {
            return Vec::new();
        };
        let agents = self.ledger.iter();
        agents
            .map(|(agent, it)| {
                let candidate = it.free().allocatable_to(role);
                let obstacle = if !row.active {
                    Obstacle::FrameworkInactive
                } else if row.roles.get(&leaf.role) == Some(&Demand::Suppressed) {
                    Obstacle::Suppressed
                } else if !it.active {
                    Obstacle::AgentInactive
                } else if !self.is_worth_an_offer(&candidate) {
                    Obstacle::TooSmall
                } else {
                    self.refusals
                        .refused_until((leaf, agent), &candidate)
                        .map_or(Obstacle::None, Obstacle::Filtered)
                };
                (agent, obstacle)
            })
            .collect()
    }

    fn dominant_share(&self, framework: FrameworkKey, role: &Role) -> Option<u64> {
        let role = self.sorter.find(role)?;
        self.sorter.dominant_share(Leaf { framework, role })
    }

    fn stats(&self) -> Stats {
        Stats {
            passes: self.passes,
            grants: self.last_grant.0,
            filters: self.refusals.len(),
            total: self.sorter.total().clone(),
            booked: self.sorter.held(),
        }
    }
}

/// Taking in changes.
impl Drf {
    /// Makes an allocator that knows nobody yet.
    pub fn new(options: Options) -> Self {
        Self {
            rng: Rng::new(options.seed),
            ledger: Ledger::default(),
            sorter: Sorter::new(options.excluded.clone()),
            refusals: Filters::new(),
            frameworks: BTreeMap::new(),
            due: Due::default(),
            last_grant: GrantId(0),
            passes: 0,
            options,
        }
    }

    fn take_in(&mut self, now: Time, change: Change, out: &mut Outbox<Never, Decision>) {
        match change {
            Change::AgentAdded { agent, total } => self.on_agent_added(now, agent, total),
            Change::AgentChanged { agent, total } => self.on_agent_changed(now, agent, total, out),
            Change::AgentRemoved { agent } => self.on_agent_removed(agent),
            Change::AgentActive { agent, active } => self.on_agent_active(now, agent, active, out),
            Change::FrameworkAdded {
                framework,
                name,
                roles,
            } => self.on_framework_added(now, framework, &name, &roles),
            Change::FrameworkRemoved { framework } => self.on_framework_removed(now, framework),
            Change::FrameworkActive { framework, active } => {
                self.on_framework_active(now, framework, active, out);
            }
            Change::Suppressed { framework, roles } => {
                self.demand(framework, &roles, Demand::Suppressed);
            }
            Change::Revived { framework, roles } => {
                for leaf in self.demand(framework, &roles, Demand::Wanted) {
                    self.forget_refusals(leaf);
                }
                self.mark_all(now);
            }
            Change::Used {
                framework,
                role,
                agent,
                resources,
            } => self.on_used(framework, &role, agent, &resources, out),
            Change::Accepted {
                framework,
                role,
                agent,
                resources,
            } => self.on_accepted(framework, &role, agent, &resources, out),
            Change::Returned {
                framework,
                role,
                agent,
                resources,
                from,
                refuse,
            } => {
                let origin = self.on_returned(framework, &role, agent, &resources, from);
                if let Some(origin) = origin {
                    self.refuse(now, framework, &role, agent, resources, origin, refuse);
                    self.mark(now, agent);
                }
            }
            Change::WeightSet { role, weight } => self.sorter.set_weight(&role, weight),
        }
    }

    fn on_agent_added(&mut self, now: Time, agent: AgentKey, total: Resources) {
        if self.ledger.get(agent).is_some() {
            debug!(?agent, "added twice; what was known of it is dropped");
            self.on_agent_removed(agent);
        }
        let nothing = Quantities::new();
        self.sorter.change_total(&nothing, &scalars(&total));
        self.ledger.insert(agent, total);
        self.mark(now, agent);
    }

    fn on_agent_changed(
        &mut self,
        now: Time,
        agent: AgentKey,
        total: Resources,
        out: &mut Outbox<Never, Decision>,
    ) {
        let Some(row) = self.ledger.get_mut(agent) else {
            return debug!(?agent, "a change of an unknown agent is ignored");
        };
        self.sorter
            .change_total(&scalars(row.total()), &scalars(&total));
        row.set_total(total);
        self.refusals.clear(|(_, about)| *about == agent);
        self.rescind_if_overbooked(agent, out);
        self.mark(now, agent);
    }

    fn on_agent_removed(&mut self, agent: AgentKey) {
        let Some(row) = self.ledger.remove(agent) else {
            return debug!(?agent, "the removal of an unknown agent is ignored");
        };
        for (leaf, held) in row.holdings() {
            self.sorter.book(leaf, Entry::Take, &held);
        }
        let nothing = Quantities::new();
        self.sorter.change_total(&scalars(row.total()), &nothing);
        self.refusals.clear(|(_, about)| *about == agent);
        self.due.agents.remove(&agent);
    }

    fn on_agent_active(
        &mut self,
        now: Time,
        agent: AgentKey,
        active: bool,
        out: &mut Outbox<Never, Decision>,
    ) {
        let Some(row) = self.ledger.get_mut(agent) else {
            return debug!(?agent, "the state of an unknown agent is ignored");
        };
        row.active = active;
        if active {
            self.mark(now, agent);
        } else {
            rescind(row.rescind(None), RescindReason::Agent, out);
        }
    }

    fn on_framework_added(
        &mut self,
        now: Time,
        framework: FrameworkKey,
        name: &str,
        roles: &[Role],
    ) {
        let name: Arc<str> = Arc::from(name);
        let roles: BTreeMap<_, _> = roles
            .iter()
            .map(|role| (self.sorter.intern(role), Demand::Wanted))
            .collect();
        for role in roles.keys().copied() {
            self.sorter.track(Leaf { framework, role }, &name);
        }
        let row = Framework {
            name,
            active: true,
            roles,
        };
        let before = self.frameworks.insert(framework, row);
        for (role, _) in before.into_iter().flat_map(|before| before.roles) {
            let leaf = Leaf { framework, role };
            self.forget_refusals(leaf);
            self.sorter.list(leaf, Listing::Out);
        }
        self.list(framework);
        self.mark_all(now);
    }

    fn on_framework_removed(&mut self, now: Time, framework: FrameworkKey) {
        let mut freed = Vec::new();
        for (agent, row) in self.ledger.iter_mut() {
            let held = row.evict(framework);
            if !held.is_empty() {
                freed.push(agent);
            }
            for (leaf, held) in held {
                self.sorter.book(leaf, Entry::Take, &held);
            }
        }
        match self.frameworks.remove(&framework) {
            Some(row) => {
                for role in row.roles.into_keys() {
                    self.forget_refusals(Leaf { framework, role });
                }
            }
            None => debug!(?framework, "the removal of a framework that never joined"),
        }
        self.sorter.untrack(framework);
        for agent in freed {
            self.mark(now, agent);
        }
    }

    fn on_framework_active(
        &mut self,
        now: Time,
        framework: FrameworkKey,
        active: bool,
        out: &mut Outbox<Never, Decision>,
    ) {
        let Some(row) = self.frameworks.get_mut(&framework) else {
            return debug!(?framework, "the state of an unknown framework is ignored");
        };
        row.active = active;
        let roles: Vec<_> = row.roles.keys().copied().collect();
        for role in roles {
            self.forget_refusals(Leaf { framework, role });
        }
        self.list(framework);
        if active {
            return self.mark_all(now);
        }
        for (_, agent) in self.ledger.iter_mut() {
            rescind(
                agent.rescind(Some(framework)),
                RescindReason::Framework,
                out,
            );
        }
    }

    /// Sets what a framework wants in some of its roles, or in all if `roles` is empty. Returns
    /// those that are its own.
    fn demand(&mut self, framework: FrameworkKey, roles: &[Role], demand: Demand) -> Vec<Leaf> {
        let Some(row) = self.frameworks.get_mut(&framework) else {
            debug!(?framework, "the demand of an unknown framework is ignored");
            return Vec::new();
        };
        let named: BTreeSet<_> = roles.iter().filter_map(|r| self.sorter.find(r)).collect();
        let mut changed = Vec::new();
        for (&role, own) in &mut row.roles {
            if roles.is_empty() || named.contains(&role) {
                *own = demand;
                changed.push(Leaf { framework, role });
            }
        }
        self.list(framework);
        changed
    }

    fn on_used(
        &mut self,
        framework: FrameworkKey,
        role: &Role,
        agent: AgentKey,
        resources: &Resources,
        out: &mut Outbox<Never, Decision>,
    ) {
        if resources.is_empty() {
            return;
        }
        let Some(row) = self.ledger.get_mut(agent) else {
            return debug!(?agent, %resources, "use on an unknown agent is ignored");
        };
        // In use is in use, even by a framework that has not come back yet.
        let role = self.sorter.intern(role);
        let leaf = Leaf { framework, role };
        let known = self.frameworks.get(&framework);
        let name = known.map_or_else(|| Arc::from(""), |known| known.name.clone());
        self.sorter.track(leaf, &name);
        if let Err(error) = row.occupy(leaf, resources) {
            return debug!(?agent, %resources, %error, "more in use than can be counted");
        }
        self.sorter.book(leaf, Entry::Add, &scalars(resources));
        self.rescind_if_overbooked(agent, out);
    }

    fn on_accepted(
        &mut self,
        framework: FrameworkKey,
        role: &Role,
        agent: AgentKey,
        resources: &Resources,
        out: &mut Outbox<Never, Decision>,
    ) {
        if resources.is_empty() {
            return;
        }
        let Some(row) = self.ledger.get_mut(agent) else {
            return debug!(?agent, %resources, "an accept on an unknown agent is ignored");
        };
        let leaf = self.sorter.find(role).map(|role| Leaf { framework, role });
        if !leaf.is_some_and(|leaf| row.accept(leaf, resources)) {
            debug!(?agent, ?framework, %resources, "accepted, though it was not offered");
            self.on_used(framework, role, agent, resources, out);
        }
    }

    fn on_returned(
        &mut self,
        framework: FrameworkKey,
        role: &Role,
        agent: AgentKey,
        resources: &Resources,
        from: Booking,
    ) -> Option<Origin> {
        if resources.is_empty() {
            return None;
        }
        let leaf = self.sorter.find(role).map(|role| Leaf { framework, role });
        let released = leaf.and_then(|leaf| {
            let row = self.ledger.get_mut(agent)?;
            Some((leaf, row.release(leaf, resources, from)?))
        });
        let Some((leaf, origin)) = released else {
            debug!(?agent, ?framework, %resources, "returned, though it is not held");
            return None;
        };
        self.sorter.book(leaf, Entry::Take, &scalars(resources));
        Some(origin)
    }

    /// Notes that a framework does not want again what it returned, if that is so.
    #[expect(clippy::too_many_arguments, reason = "the fields of one change")]
    fn refuse(
        &mut self,
        now: Time,
        framework: FrameworkKey,
        role: &Role,
        agent: AgentKey,
        refused: Resources,
        origin: Origin,
        refuse: Option<Duration>,
    ) {
        let interval = self.options.interval;
        let until = match (refuse, origin) {
            (Some(refuse), _) if !refuse.is_zero() => {
                following_multiple(now + refuse.max(interval), interval)
            }
            (_, Origin::Untouched) => now + interval,
            (_, Origin::Leftover | Origin::Rescinded | Origin::Used) => return,
        };
        if let Some((leaf, row)) = self.subscription(framework, role)
            && row.active
        {
            self.refusals.refuse((leaf, agent), refused, until);
        }
    }

    fn forget_refusals(&mut self, leaf: Leaf) {
        let (first, last) = (Key::from_raw(0, 0), Key::from_raw(u32::MAX, u32::MAX));
        self.refusals.clear_range((leaf, first)..=(leaf, last));
    }

    fn subscription(&self, framework: FrameworkKey, role: &Role) -> Option<(Leaf, &Framework)> {
        let row = self.frameworks.get(&framework)?;
        let role = self.sorter.find(role)?;
        row.roles
            .contains_key(&role)
            .then_some((Leaf { framework, role }, row))
    }

    /// Brings the orders in line with what a framework wants now.
    fn list(&mut self, framework: FrameworkKey) {
        let Some(row) = self.frameworks.get(&framework) else {
            return;
        };
        for role in row.roles.keys().copied() {
            let leaf = Leaf { framework, role };
            let listing = if row.may_be_offered(role) {
                Listing::In
            } else {
                Listing::Out
            };
            self.sorter.list(leaf, listing);
        }
    }

    fn rescind_if_overbooked(&mut self, agent: AgentKey, out: &mut Outbox<Never, Decision>) {
        if let Some(row) = self.ledger.get_mut(agent)
            && row.is_overbooked()
        {
            rescind(row.rescind(None), RescindReason::Agent, out);
        }
    }
}

/// Passes.
impl Drf {
    fn lapse(&mut self, now: Time) {
        while let Some((at, (_, agent))) = self.refusals.pop_expired(now) {
            self.mark(at, agent);
        }
    }

    fn mark(&mut self, now: Time, agent: AgentKey) {
        // Without takers there is nothing to look for; whoever comes later has all marked.
        if self.sorter.has_takers() {
            self.due.since.get_or_insert(now);
            self.due.agents.insert(agent);
        }
    }

    fn mark_all(&mut self, now: Time) {
        if self.sorter.has_takers() {
            self.due.since.get_or_insert(now);
            self.due.all = true;
        }
    }

    fn pass(&mut self, out: &mut Outbox<Never, Decision>) {
        let due = core::mem::take(&mut self.due);
        let is_candidate = |agent: &AgentKey| {
            let row = self.ledger.get(*agent);
            row.is_some_and(|row| row.active && self.is_worth_an_offer(row.free()))
        };
        let mut agents: Vec<_> = if due.all {
            let all = self.ledger.iter().map(|(agent, _)| agent);
            all.filter(is_candidate).collect()
        } else {
            due.agents.into_iter().filter(is_candidate).collect()
        };
        self.passes += 1;
        self.sorter.settle();
        self.rng.shuffle(&mut agents);
        for agent in agents {
            for (leaf, resources) in self.plan(agent) {
                self.grant(leaf, agent, resources, out);
            }
        }
    }

    /// Returns who is to be offered what of one agent.
    fn plan(&self, agent: AgentKey) -> Vec<(Leaf, Resources)> {
        let mut plan = Vec::new();
        let Some(row) = self.ledger.get(agent) else {
            return plan;
        };
        let mut free = Cow::Borrowed(row.free());
        for role in self.sorter.roles() {
            let candidate = allocatable(&free, self.sorter.role(role));
            if !self.is_worth_an_offer(&candidate) {
                continue;
            }
            let mut leaves = self
                .sorter
                .frameworks(role)
                .map(|framework| Leaf { framework, role });
            let taker = leaves.find(|leaf| {
                self.refusals
                    .refused_until((*leaf, agent), &candidate)
                    .is_none()
            });
            let Some(leaf) = taker else { continue };
            let rest = free
                .checked_sub(&candidate)
                .expect("a candidate is a part of what is free");
            plan.push((leaf, candidate.into_owned()));
            if rest.is_empty() {
                break;
            }
            free = Cow::Owned(rest);
        }
        plan
    }

    fn grant(
        &mut self,
        leaf: Leaf,
        agent: AgentKey,
        resources: Resources,
        out: &mut Outbox<Never, Decision>,
    ) {
        let row = self.ledger.get_mut(agent);
        let row = row.expect("the plan was made from this agent's row");
        self.last_grant.0 += 1;
        let id = self.last_grant;
        row.grant(leaf, id, resources.clone());
        self.sorter.book(leaf, Entry::Add, &scalars(&resources));
        out.emit(Decision::Grant(Grant {
            id,
            framework: leaf.framework,
            role: self.sorter.role(leaf.role).clone(),
            agent,
            resources,
        }));
    }

    fn is_worth_an_offer(&self, candidate: &Resources) -> bool {
        let least = &self.options.min_allocatable;
        let holds = |set: &Quantities| set.iter().all(|(name, v)| candidate.scalar(name) >= v);
        !candidate.is_empty() && (least.is_empty() || least.iter().any(holds))
    }
}

/// Returns what of `free` may be offered to `role`: usually all of it, so nothing is copied then.
fn allocatable<'a>(free: &'a Resources, role: &Role) -> Cow<'a, Resources> {
    if free.iter().all(|entry| entry.is_allocatable_to(role)) {
        return Cow::Borrowed(free);
    }
    Cow::Owned(free.allocatable_to(role))
}

fn rescind(grants: Vec<GrantId>, reason: RescindReason, out: &mut Outbox<Never, Decision>) {
    for grant in grants {
        out.emit(Decision::Rescind { grant, reason });
    }
}

/// Returns the first multiple of `interval` after `time`.
fn following_multiple(time: Time, interval: Duration) -> Time {
    let interval = u64::try_from(interval.as_micros())
        .unwrap_or(u64::MAX)
        .max(1);
    let past = time.as_micros() % interval;
    Time::from_micros(time.as_micros().saturating_add(interval - past))
}

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
//! What each change does to the books is in `changes.rs`.
//!
//! Deliberately not here: quota, trees of roles, constraints; offers' ids and timeouts.

use alloc::borrow::Cow;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;

pub use super::options::{DemandRule, GpuRule, Options, Packing, SorterKind};

use super::ledger::Ledger;
use super::sorter::{Entry, Leaf, RoleKey, Sorter};
use super::sums::Sums;
use super::{Allocator, Change, Decision, Grant, GrantId, Obstacle, Stats};
use crate::filters::Filters;
use crate::keys::{AgentKey, FrameworkKey};
use crate::machine::{Machine, Never, Outbox};
use crate::resources::{Quantities, Resources};
use crate::rng::Rng;
use crate::roles::Role;
use crate::time::Time;

/// The allocator: see the [module](self).
#[derive(Debug)]
pub struct Drf {
    pub(super) options: Options,
    rng: Rng,
    pub(super) ledger: Ledger,
    pub(super) sorter: Sorter,
    pub(super) refusals: Filters<(Leaf, AgentKey)>,
    pub(super) frameworks: BTreeMap<FrameworkKey, Framework>,
    pub(super) due: Due,
    last_grant: GrantId,
    passes: u64,
}

/// A framework that is there.
#[derive(Debug)]
pub(super) struct Framework {
    pub(super) name: Arc<str>,
    pub(super) active: bool,
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
pub(super) struct Due {
    since: Option<Time>,
    all: bool,
    pub(super) agents: BTreeSet<AgentKey>,
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
            total: self.sorter.total().to_quantities(),
            booked: self.sorter.held().to_quantities(),
            ..Stats::default()
        }
    }
}

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

    fn lapse(&mut self, now: Time) {
        while let Some((at, (_, agent))) = self.refusals.pop_expired(now) {
            self.mark(at, agent);
        }
    }

    pub(super) fn mark(&mut self, now: Time, agent: AgentKey) {
        // Without takers there is nothing to look for; whoever comes later has all marked.
        if self.sorter.has_takers() {
            self.due.since.get_or_insert(now);
            self.due.agents.insert(agent);
        }
    }

    pub(super) fn mark_all(&mut self, now: Time) {
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
        self.sorter.book(leaf, Entry::Add, &Sums::from(&resources));
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

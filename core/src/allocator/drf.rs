//! The allocator that comes with the library: weighted dominant resource fairness over a tree of
//! roles, with quota.
//!
//! A master drives it as its [`Allocator`]; so can any embedder. A *pass* goes over agents in
//! seeded random order and offers all that is free on each, or all that may be had of it, to the
//! first framework that may have it (AL-28). Roles stand by weighted dominant share at every level
//! of the hierarchy, and frameworks by theirs within a role.
//!
//! # When it looks, and where
//!
//! * Whatever may make an offer possible (something is free that was not, a framework wants offers
//!   again, a refusal lapsed) makes its agents due *at once*. A pass over just them leaves
//!   nothing free that somebody would take, so the periodic pass over everything (AL-04) is left
//!   out: it could find nothing. An idle allocator has no deadline.
//! * What quota held back may become free for others by a change anywhere. Such agents are looked
//!   at again at the following multiple of the interval after a change.
//! * All changes of one moment belong together: their pass is made by the `tick` of that moment,
//!   or before the first change of a later one. So an agent may be added first, and what is in use
//!   on it be reported after that.
//! * A pass over many agents is made in slices: as long as more remain, the deadline is now.
//! * After each grant, who is next of the same agent is looked for from the lowest share on. So an
//!   agent that many take small parts of costs their number times the number of those who stand
//!   before them and are kept from it by a bound: slices bound how much of that is done at once.
//!
//! # Quota
//!
//! With guarantees, a pass has two stages: first, roles whose guarantee is not met are offered what
//! serves it; then everybody by share, of what need not be kept free. Limits hold for a role and
//! all below it. Quota holds for any names: ranges and sets count by the number of their values,
//! such as ports, and an offer is cut to the first of them. Twelve names beside `cpus`, `mem`,
//! `disk` and `gpus` are counted, each for itself, and quota comes before what agents happen to
//! have; names in quotas beyond that are counted together, so that what one of them is limited to
//! holds for all of them ([`crate::quota::check_names`] tells). Other names are offered whole, and
//! count for nothing.
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
//! Of several unanswered grants of one agent it cannot always be told which one something is about.
//! A return of just what is left of one is about that. Else they are one grant from then on, of
//! which something was accepted only if that is so of each, and which expires with the youngest.
//!
//! A refusal of some length lasts for at least an interval, and until the following multiple of
//! the interval is *past*: what was refused at 0 s for half a second is offered again at 2 s
//! (OF-34, TV-22). Such common moments let refusals of many agents lapse in one pass.
//!
//! # Shared volumes
//!
//! A shared volume is in one unanswered grant at a time. Once it is in use it is free again for
//! others, and looked at anew with whatever else is free, or once in an interval by itself (AL-31,
//! RM-48). To a framework's share in a role it counts once, however many copies it holds (AL-15); a
//! role counts it for each of its frameworks that hold it.
//!
//! # Policies
//!
//! Each is off unless [`Options`] say otherwise: offers cut to stated demands, grants that expire,
//! a bound on what one framework holds in grants, whoever waited longest first, agents chosen so
//! that load is even or gaps stay large.
//!
//! What is held in grants, by one framework or for one demand, is bounded for all that the bound
//! names: reserved or not, revocable or not, ranges and sets by how many. What cannot be divided
//! and does not fit is left out, and once a bound is used up nothing is granted until something is
//! answered.
//!
//! # Graphics processors
//!
//! `gpus` come in whole ones (RM-55). An offer that quota, headroom, a demand or another bound cuts
//! has whole ones only, rounded down; so a limit of half a device allows none.
//!
//! # Where it differs from Mesos
//!
//! * *When*: what is returned, a new quota or weight, and a refusal that lapses are looked at
//!   when they happen, not with the next periodic pass (AL-04).
//! * *What is taken back*: after a new weight (RQ-08) or quota (RQ-16) the grants that belong to
//!   others by it, not all of them.
//! * *Quota* holds at every level of the hierarchy, where Mesos has it for top-level roles
//!   (RQ-12). It is never compared with what agents have, which is next to nothing just after a
//!   change of masters, when Mesos therefore refuses any quota that is not forced (RQ-14).
//!   Instead, where there is quota, nothing is granted until most agents are back
//!   ([`Change::Recovering`], AL-07). [`crate::quota::Quota::check`] sees only that a guarantee is
//!   within its own limit.
//! * *Refusals* are compared with what would be offered now, after all cuts. So what quota or a
//!   reservation held back when something was refused is not hidden by it (OF-33).
//! * *Cuts* go through resources in their order, not in a random one: of two disks that cannot be
//!   divided it is always the first that goes along, if it fits (AL-29). The same inputs give the
//!   same offers.
//! * *Fairness does not depend on manners* (OF-39), if policies are switched on: who does not
//!   answer loses the offer (`lease`) and cannot hold many (`most_offered`), who waits behind
//!   somebody that always declines comes first in the end (`ageing`), who says what it wants is
//!   not asked again and again (`demands`, for which Mesos has a call that it ignores, OF-38).
//!   Without them it depends on manners as much as in Mesos.
//! * *Constraints* may compare numbers, and look at resources (OF-47).
//!
//! And where it does not, though one might wish it did:
//!
//! * Guarantees keep free what they name, ports and other ranges and sets by their number, and
//!   nothing else: what they do not name goes to whoever comes first, so a role that was promised
//!   cores alone may be left with these and no port (AL-45). A guarantee is kept free somewhere,
//!   not on one agent, and not certain ports; constraints and refusals of the very
//!   role can make it useless; and what is reserved to a role counts as consumed, in use or not
//!   (RQ-19). Who must have something reserves it.
//! * A parent's share is that of all below it together, so a child can lose what it gives back
//!   because of what its sibling holds. Of what fairness promises, an even part of everything and
//!   the absence of envy hold for roles that have no parent, and not below (the numbers are in
//!   `core/tests/fairness/exceptions.rs`). A guarantee is the remedy.
//!
//! What each change does to the books is in `changes.rs` and its neighbours, a pass in `cycle.rs`,
//! what a leaf may have of an agent in `candidate.rs`.
//!
//! Deliberately not here: inverse offers; offers' ids.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

pub use super::options::{DemandRule, GpuRule, Options, Packing, SorterKind};

use super::bounded::{Bounded, Struck};
use super::breeds::Breeds;
use super::columns::{Columns, Row};
use super::counted::Shapes;
use super::interest::Interest;
use super::ledger::Ledger;
use super::pass::Pass;
use super::seats::{LeafId, Seats};
use super::slice::Scratch;
use super::tree::{NodeId, Tree};
use super::worth::{Least, Leasts};
use super::{Allocator, Change, Decision, GrantId, Obstacle, RoleFigures, Stats};
use crate::filters::Filters;
use crate::keys::{AgentKey, FrameworkKey};
use crate::machine::{Machine, Never, Outbox};
use crate::rng::Rng;
use crate::roles::Role;
use crate::time::Time;

/// The allocator: see the [module](self).
#[derive(Debug)]
pub struct Drf {
    pub(super) options: Options,
    pub(super) rng: Rng,
    pub(super) columns: Columns,
    pub(super) leasts: Leasts,
    pub(super) ledger: Ledger,
    pub(super) breeds: Breeds,
    pub(super) shapes: Shapes,
    pub(super) tree: Tree,
    pub(super) seats: Seats,
    pub(super) filters: Filters,
    /// Whether refusals lapsed of late that somebody waited for.
    is_lapsing: bool,
    pub(super) interest: Interest,
    /// What is free, unreserved and not revocable, on all agents (AL-25).
    pub(super) available: Row,
    pub(super) whitelist: Option<BTreeSet<String>>,
    pub(super) recovery: Option<Recovery>,
    pub(super) due: Due,
    pub(super) pass: Option<Pass>,
    pub(super) scratch: Scratch,
    /// Agents of which quota, or another bound that others move, held something back.
    pub(super) held_back: BTreeSet<usize>,
    /// Under which promises branches were left out in a look at such an agent.
    pub(super) kept: Option<Bounded>,
    /// Whether all that these were looked at for in vain is known as that.
    pub(super) is_all_struck: bool,
    /// When it was first asked of late which columns can be given to other names.
    pub(super) names_asked: Option<Time>,
    /// A bit for each column that was kept when it was asked.
    pub(super) names_kept: u32,
    /// Whether agents may have names without a column.
    pub(super) names_wait: bool,
    /// The leaves that are taken for not interested in these.
    pub(super) struck: Struck,
    /// Agents of which others may have a copy of a shared volume as well.
    pub(super) shared_again: BTreeSet<usize>,
    /// When all of these are looked at again.
    pub(super) recheck: Option<Time>,
    /// Listed leaves by when they were last granted something, if that counts for anything.
    pub(super) waiting: BTreeSet<(Time, LeafId)>,
    /// Leaves that have been listed anew, for all agents, since the last slice.
    pub(super) relisted: BTreeSet<LeafId>,
    pub(super) leases: VecDeque<Lease>,
    /// Beyond so many, those that are over are forgotten.
    pub(super) most_leases: usize,
    pub(super) now: Time,
    pub(super) last_grant: GrantId,
    /// How many changes were taken in.
    pub(super) changes: u64,
    pub(super) passes: u64,
    /// Looks at everybody for each agent, to compare.
    #[cfg(test)]
    pub(super) looks_at_all: bool,
}

/// How many refusals that lapse count as an agent of a slice.
const LAPSES_PER_AGENT: usize = 16;

const LEAST_INTERVAL: Duration = Duration::from_millis(1);

/// Which agents the next pass looks at.
#[derive(Debug, Default)]
pub(super) struct Due {
    pub(super) since: Option<Time>,
    pub(super) all: bool,
    /// Whether all that is held back is among them.
    pub(super) held_back: bool,
    pub(super) agents: Vec<usize>,
}

impl Due {
    pub(super) const fn of(&self) -> Of {
        match (self.all, self.held_back) {
            (true, _) => Of::All,
            (false, true) => Of::HeldBack,
            (false, false) => Of::Few,
        }
    }
}

/// What a pass goes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Of {
    All,
    /// All of which bounds hold something back, and maybe others.
    HeldBack,
    Few,
}

/// The wait for agents after a change of masters (AL-07).
#[derive(Clone, Copy, Debug)]
pub(super) struct Recovery {
    /// How many must still come.
    pub(super) missing: usize,
    pub(super) until: Time,
}

/// When a grant is taken back if it is not answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lease {
    pub(super) until: Time,
    pub(super) grant: GrantId,
    pub(super) agent: AgentKey,
    pub(super) framework: FrameworkKey,
    pub(super) role: NodeId,
}

impl Machine for Drf {
    type Input = Change;
    type Record = Never;
    type Effect = Decision;

    fn handle(&mut self, now: Time, change: Change, out: &mut Outbox<Never, Decision>) {
        self.lapse(now, out);
        if self.is_pass_due(|since| since < now) {
            self.slice(out);
        }
        self.take_in(now, change, out);
    }

    fn tick(&mut self, now: Time, out: &mut Outbox<Never, Decision>) {
        self.lapse(now, out);
        if self.is_pass_due(|since| since <= now) {
            self.slice(out);
        }
    }

    fn deadline(&self) -> Option<Time> {
        let pass = self.pass.as_ref().map(|pass| pass.since);
        let granting = [self.due.since, pass, self.recheck];
        let granting = granting.into_iter().flatten();
        let waiting = self.recovery.map(|it| it.until);
        let lease = self.leases.front().map(|it| it.until);
        granting
            .filter(|_| waiting.is_none())
            .chain(
                [self.filters.next_lapse(), waiting, lease]
                    .into_iter()
                    .flatten(),
            )
            .min()
    }
}

impl Allocator for Drf {
    fn explain(&self, framework: FrameworkKey, role: &Role) -> Vec<(AgentKey, Obstacle)> {
        self.explained(framework, role)
    }

    fn dominant_share(&self, framework: FrameworkKey, role: &Role) -> Option<u64> {
        let leaf = self.leaf(framework, role)?;
        Some(self.tree.dominant_share(self.seats.seat(leaf).node))
    }

    fn roles(&self) -> Vec<RoleFigures> {
        self.role_figures()
    }

    fn stats(&self) -> Stats {
        let mut booked = Row::ZERO;
        for (role, node) in self.tree.roles() {
            if !role.as_str().contains('/') {
                booked.add(&self.tree.books[node.at()].held);
            }
        }
        let required = *self.tree.required_headroom();
        Stats {
            passes: self.passes,
            grants: self.last_grant.0,
            filters: self.filters.len(),
            total: self.columns.quantities(&self.tree.total),
            booked: self.columns.quantities(&booked),
            recovering: self.recovery.is_some(),
            required_headroom: self.columns.quantities(&required),
            available_headroom: self.columns.quantities(&self.available),
        }
    }
}

impl Drf {
    /// Makes an allocator that knows nobody yet.
    pub fn new(mut options: Options) -> Self {
        // Without any agent in a slice no pass would ever end.
        options.agents_per_slice = options.agents_per_slice.max(1);
        // Without an interval what somebody does not want would be offered again at once, forever.
        options.interval = options.interval.max(LEAST_INTERVAL);
        let mut columns = Columns::new(&options.counted);
        Self {
            rng: Rng::new(options.seed),
            tree: Tree::new(&options.excluded, &mut columns),
            leasts: Leasts::new(Least::new(&options.min_allocatable, &columns)),
            columns,
            ledger: Ledger::default(),
            breeds: Breeds::default(),
            shapes: Shapes::default(),
            seats: Seats::default(),
            filters: Filters::new(),
            is_lapsing: false,
            interest: Interest::default(),
            available: Row::ZERO,
            whitelist: None,
            recovery: None,
            due: Due::default(),
            pass: None,
            scratch: Scratch::default(),
            held_back: BTreeSet::new(),
            kept: None,
            is_all_struck: true,
            struck: Struck::default(),
            names_asked: None,
            names_kept: 0,
            names_wait: false,
            shared_again: BTreeSet::new(),
            recheck: None,
            waiting: BTreeSet::new(),
            relisted: BTreeSet::new(),
            leases: VecDeque::new(),
            most_leases: 0,
            now: Time::ZERO,
            last_grant: GrantId(0),
            changes: 0,
            passes: 0,
            #[cfg(test)]
            looks_at_all: false,
            options,
        }
    }

    /// Returns the leaf of a framework in a role, if there is one.
    pub(super) fn leaf(&self, framework: FrameworkKey, role: &Role) -> Option<LeafId> {
        self.seats.find(framework, self.tree.find(role)?)
    }

    fn is_pass_due(&self, reached: impl Fn(Time) -> bool) -> bool {
        let since = match &self.pass {
            Some(pass) => Some(pass.since),
            // What lapses together is looked at in one pass, however small slices are.
            None if self.has_lapsed_more() => None,
            None => self.due.since,
        };
        self.recovery.is_none() && since.is_some_and(reached)
    }

    /// Whether more lapses now of what somebody waits for. Nobody does for what was forgotten,
    /// which may be so much that it takes many slices.
    fn has_lapsed_more(&self) -> bool {
        self.is_lapsing && self.filters.next_lapse().is_some_and(|at| at <= self.now)
    }

    /// Takes in what time itself brings.
    fn lapse(&mut self, now: Time, out: &mut Outbox<Never, Decision>) {
        self.now = now;
        self.expire_leases(now, out);
        let mut left = self.options.agents_per_slice;
        self.is_lapsing = false;
        while left > 0
            && let Some(lapsed) = self.filters.pop_lapsed(now)
        {
            left = left.saturating_sub(1 + lapsed.count / LAPSES_PER_AGENT);
            // Nobody waits for the end of those that were forgotten.
            if lapsed.owners.is_empty() {
                continue;
            }
            let agent = lapsed.agent as usize;
            self.is_lapsing = true;
            self.forget_trails();
            for leaf in lapsed.owners {
                self.interest.set(agent, LeafId::new(leaf as usize));
            }
            self.mark(lapsed.at, agent);
        }
        if let Some(recovery) = self.recovery.filter(|it| it.until <= now) {
            self.end_recovery(recovery.until);
        }
        self.make_room(now);
        // A pass that is open has not come to all yet, and one over all looks at all that moved.
        if let Some(at) = self.recheck.filter(|at| *at <= now)
            && self.pass.is_none()
            && !self.due.all
        {
            self.recheck = None;
            self.look_again(at);
        }
    }

    /// Has the next pass look at an agent.
    pub(super) fn mark(&mut self, since: Time, agent: usize) {
        // Without takers there is nothing to look for; whoever comes later has all marked.
        if !self.tree.has_takers() {
            return;
        }
        if let Some(row) = self.ledger.at_mut(agent).filter(|row| !row.due) {
            row.due = true;
            self.due.since.get_or_insert(since);
            self.due.agents.push(agent);
        }
    }

    /// Has the next pass look at all agents that somebody may want something of.
    pub(super) fn mark_all(&mut self, since: Time) {
        if self.tree.has_takers() {
            self.due.since.get_or_insert(since);
            self.due.all = true;
        }
    }

    /// Returns figures by node of a role, for the trait's method.
    fn role_figures(&self) -> Vec<RoleFigures> {
        let mut filters: BTreeMap<NodeId, usize> = BTreeMap::new();
        for (_, seat) in self.seats.iter() {
            *filters.entry(seat.role).or_default() += self.filters.len_of(seat.refuser);
        }
        let figures = self.tree.roles().map(|(role, node)| {
            let books = &self.tree.books[node.at()];
            RoleFigures {
                role: role.clone(),
                weight: self.tree.node(node).weight,
                quota: self.tree.quota(node),
                consumed: self.columns.quantities(&books.consumed()),
                booked: self.columns.quantities(&books.held),
                reserved: self.columns.quantities(&books.reserved),
                dominant_share: self.tree.dominant_share(node),
                filters: filters.get(&node).copied().unwrap_or(0),
            }
        });
        figures.collect()
    }
}

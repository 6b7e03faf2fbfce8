//! Who holds what on which agent: total, free, and for each leaf what is offered and what is in
//! use.
//!
//! [`super::drf::Drf`] keeps it. By identity, free + offered + in use is the total, and a booking
//! costs one subtraction. What is free is counted as well, for a quick look. When more of an entry
//! is booked than there is (the agent shrank, or reported a task where something was offered)
//! nothing of that entry is free, and every change counts anew until it fits again.
//!
//! Deliberately not here: shares, refusals, and the choice of who gets something.

mod anew;

use alloc::borrow::Cow;
use alloc::sync::Arc;
use alloc::vec::Vec;

use smallvec::SmallVec;

use super::breeds::BreedId;
use super::columns::{Columns, Row};
use super::counted::{Counted, NOTHING};
use super::holding::{Held, Holding, Origin, Outstanding, Span, exclusive, shared};
use super::profile::AgentTraits;
use super::seats::LeafId;
use super::shortage::has_twice;
use super::{Booking, GrantId, GrantIds};
use crate::keys::AgentKey;
use crate::resources::{Resource, Resources};

/// All agents, by index.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    agents: Vec<Option<Agent>>,
}

impl Ledger {
    /// Adds an agent. Another one at its index must be gone.
    pub(super) fn insert(&mut self, agent: Agent) {
        let at = agent.key.index() as usize;
        if self.agents.len() <= at {
            self.agents.resize_with(at + 1, || None);
        }
        self.agents[at] = Some(agent);
    }

    /// Takes an agent out.
    pub(super) fn remove(&mut self, key: AgentKey) -> Option<Agent> {
        self.get(key)?;
        self.agents[key.index() as usize].take()
    }

    /// Returns an agent, unless it is gone.
    pub(super) fn get(&self, key: AgentKey) -> Option<&Agent> {
        self.at(key.index() as usize).filter(|it| it.key == key)
    }

    /// Returns an agent for writing, unless it is gone.
    pub(super) fn get_mut(&mut self, key: AgentKey) -> Option<&mut Agent> {
        let row = self.agents.get_mut(key.index() as usize)?;
        row.as_mut().filter(|it| it.key == key)
    }

    /// Returns the agent at an index, if there is one.
    pub(super) fn at(&self, index: usize) -> Option<&Agent> {
        self.agents.get(index)?.as_ref()
    }

    /// Returns the agent at an index for writing, if there is one.
    pub(super) fn at_mut(&mut self, index: usize) -> Option<&mut Agent> {
        self.agents.get_mut(index)?.as_mut()
    }

    /// Visits all agents in the order of their keys.
    pub(super) fn iter(&self) -> impl Iterator<Item = (AgentKey, &Agent)> + '_ {
        self.agents.iter().flatten().map(|agent| (agent.key, agent))
    }

    /// Visits all agents for writing, in the order of their keys.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Agent> + '_ {
        self.agents.iter_mut().flatten()
    }
}

/// One agent.
#[derive(Debug)]
pub(super) struct Agent {
    pub(super) key: AgentKey,
    pub(super) active: bool,
    /// Whether it stands on the whitelist, or there is none.
    pub(super) whitelisted: bool,
    /// Whether a pass is to look at it.
    pub(super) due: bool,
    /// Whether everybody can cope with it, unless by what it is called (AL-11, AL-12, AL-32).
    pub(super) is_usual: bool,
    /// Whether more is booked than there is, or a port is there twice: changes count anew then.
    overbooked: bool,
    /// `None` is nothing.
    free: Option<Arc<Counted>>,
    /// What was free when others last counted it.
    known: Option<Arc<Counted>>,
    total: Arc<Counted>,
    pub(super) traits: Arc<AgentTraits>,
    pub(super) breed: Option<BreedId>,
    holdings: SmallVec<[(LeafId, Holding); 1]>,
}

/// How much of what is free is granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// All of it.
    All,
    /// A part, which may be all of it.
    Part,
}

/// What came back.
#[derive(Debug)]
pub(super) struct Release {
    /// How it was held.
    pub(super) origin: Origin,
    /// Whether the leaf holds nothing here any more.
    pub(super) was_last: bool,
    /// What it was, counted, if it is all that was left of a grant.
    pub(super) whole: Option<Arc<Counted>>,
    /// Between which grants it was, unless it was in use.
    pub(super) span: Option<Span>,
}

impl Agent {
    /// Makes an active agent of which nothing is booked.
    pub(super) fn new(
        key: AgentKey,
        total: Arc<Counted>,
        traits: AgentTraits,
        columns: &Columns,
    ) -> Self {
        let mut agent = Self {
            key,
            active: true,
            whitelisted: true,
            due: false,
            is_usual: false,
            overbooked: false,
            free: None,
            known: None,
            total,
            traits: Arc::new(traits),
            breed: None,
            holdings: SmallVec::new(),
        };
        agent.count_anew(columns);
        agent
    }

    /// Returns what nobody holds, counted.
    pub(super) fn counts(&self) -> &Counted {
        self.free.as_deref().unwrap_or(&NOTHING)
    }

    /// Brings a sum over all agents of what is free, unreserved and not revocable up to date. What
    /// nobody may be offered now is no headroom: a guarantee could not be kept with it.
    pub(super) fn recount(&mut self, available: &mut Row) {
        self.uncount(available);
        if self.is_offerable() {
            available.add(self.counts().open());
            self.known.clone_from(&self.free);
        }
    }

    /// Takes this agent out of that sum.
    pub(super) fn uncount(&mut self, available: &mut Row) {
        let known = self.known.take();
        available.subtract(known.as_deref().unwrap_or(&NOTHING).open());
    }

    /// Returns whether anything of it may be offered to anybody.
    pub(super) const fn is_offerable(&self) -> bool {
        self.active && self.whitelisted && self.free.is_some()
    }

    /// Returns all that it has.
    pub(super) fn total(&self) -> &Resources {
        &self.total.bag
    }

    /// Returns what nobody holds.
    pub(super) fn free(&self) -> &Resources {
        &self.counts().bag
    }

    /// Returns whether more is booked than there is, or a port is there twice.
    pub(super) const fn is_overbooked(&self) -> bool {
        self.overbooked
    }

    /// Replaces the total; what is booked stays.
    pub(super) fn set_total(&mut self, total: Arc<Counted>, columns: &Columns) {
        self.total = total;
        self.count_anew(columns);
    }

    /// Books a grant of free resources. Returns whether the leaf held nothing here before.
    ///
    /// # Panics
    ///
    /// If they are not free: something would be promised twice.
    pub(super) fn grant(
        &mut self,
        leaf: LeafId,
        id: GrantId,
        resources: &Resources,
        extent: Extent,
        columns: &Columns,
    ) -> bool {
        let rest = match extent {
            Extent::All => self.free.take().expect("something is free"),
            Extent::Part => {
                let rest = self.free().checked_sub(resources);
                let rest = rest.expect("only what is free is granted");
                self.free = Counted::some(rest, columns);
                Arc::new(Counted::new(resources.clone(), columns))
            }
        };
        let (holding, is_new) = self.holding(leaf);
        holding.offered.push(Outstanding::new(id, rest));
        is_new
    }

    fn holding(&mut self, leaf: LeafId) -> (&mut Holding, bool) {
        match self.holdings.binary_search_by_key(&leaf, |it| it.0) {
            Ok(at) => (&mut self.holdings[at].1, false),
            Err(at) => {
                self.holdings.insert(at, (leaf, Holding::default()));
                (&mut self.holdings[at].1, true)
            }
        }
    }

    fn find(&mut self, leaf: LeafId) -> Option<&mut Holding> {
        let at = self.holdings.binary_search_by_key(&leaf, |it| it.0).ok()?;
        Some(&mut self.holdings[at].1)
    }

    /// Books something in use that was not granted here. Returns whether the leaf held nothing here
    /// before.
    pub(super) fn occupy(&mut self, leaf: LeafId, used: &Resources, columns: &Columns) -> bool {
        let (holding, is_new) = self.holding(leaf);
        holding.begin(used);
        match self.free().checked_sub(&exclusive(used)) {
            Ok(free) if !self.overbooked => self.free = Counted::some(free, columns),
            Ok(_) | Err(_) => self.count_anew(columns),
        }
        is_new
    }

    /// Returns whether a leaf without anything here was forgotten.
    fn forget_if_empty(&mut self, leaf: LeafId) -> bool {
        let is_empty = self.find(leaf).is_some_and(|it| it.is_empty());
        if is_empty {
            self.holdings.retain(|it| it.0 != leaf);
        }
        is_empty
    }

    /// Turns something offered into something in use. Returns what is no longer offered, and
    /// between which grants it was; `None` if it is not left of them. A shared volume is free
    /// again: others may use it as well (AL-31).
    pub(super) fn accept<'a>(
        &mut self,
        leaf: LeafId,
        grants: &GrantIds,
        resources: &'a Resources,
        columns: &Columns,
    ) -> Option<(Span, Cow<'a, Resources>)> {
        let holding = self.find(leaf)?;
        let (index, taken) = holding.find_accepted(grants, resources, columns)?;
        holding.begin(resources);
        holding.offered[index].touched = true;
        let span = holding.offered[index].span();
        let _whole = holding.take(index, &taken, columns);
        match &taken {
            _ if self.overbooked => self.count_anew(columns),
            Cow::Borrowed(_) => {}
            Cow::Owned(taken) => {
                let mut sum = self.free().clone();
                let added = sum.add(&shared(taken));
                added.expect("a copy that was free before fits");
                self.free = Counted::some(sum, columns);
            }
        }
        Some((span, taken))
    }

    /// Returns what of a bag counts for a leaf beside what it holds: a shared volume counts once,
    /// however many copies it holds here (AL-15).
    pub(super) fn counted<'a>(&self, leaf: LeafId, bag: &'a Resources) -> Cow<'a, Resources> {
        let at = self.holdings.binary_search_by_key(&leaf, |it| it.0);
        let has_copy = |volume: &Resource| at.is_ok_and(|at| self.holdings[at].1.has_copy(volume));
        if !bag.iter().any(|entry| entry.is_shared() && has_copy(entry)) {
            return Cow::Borrowed(bag);
        }
        Cow::Owned(bag.filter(|entry| !(entry.is_shared() && has_copy(entry))))
    }

    /// Frees something that is left of grants, or else in use. `None` if they do not hold it so.
    pub(super) fn release(
        &mut self,
        leaf: LeafId,
        grants: Option<&GrantIds>,
        resources: &Resources,
        columns: &Columns,
    ) -> Option<Release> {
        let holding = self.find(leaf)?;
        let (origin, span, whole, freed) = match grants {
            Some(grants) => {
                let index = holding.find(grants, resources, columns)?;
                let (origin, span) = (
                    holding.offered[index].origin(),
                    holding.offered[index].span(),
                );
                let whole = holding.take(index, resources, columns);
                (origin, Some(span), whole, Cow::Borrowed(resources))
            }
            None => {
                let origin = holding.end(resources).then_some(Origin::Used)?;
                (origin, None, None, exclusive(resources))
            }
        };
        let was_last = self.forget_if_empty(leaf);
        if self.overbooked {
            self.count_anew(columns);
        } else if self.holdings.is_empty() {
            self.free = Some(Arc::clone(&self.total));
        } else if self.free.is_none() && whole.is_some() {
            self.free.clone_from(&whole);
        } else {
            let mut sum = self.free().clone();
            let added = sum.add(&freed);
            added.expect("free and booked together are the total, which fits");
            self.free = Counted::some(sum, columns);
        }
        Some(Release {
            origin,
            was_last,
            whole,
            span,
        })
    }

    /// Turns a part of what was granted, and with it of the total, into something else. Returns
    /// between which grants it is; `None` if it is not held so, or does not fit.
    pub(super) fn convert(
        &mut self,
        leaf: LeafId,
        grants: &GrantIds,
        before: &Resources,
        after: &Resources,
        columns: &Columns,
    ) -> Option<Span> {
        let at = self.holdings.binary_search_by_key(&leaf, |it| it.0).ok()?;
        let holding = &mut self.holdings[at].1;
        let found = holding.look_up(grants, before, columns)?;
        // Numbers that the agent has already get lost, and then more is booked than there is.
        let adds_up = self.total.bag.overlap(after).is_none();
        let mut rest = Counted::clone(&found.rest);
        if !rest.turn(before, after, columns)
            || !Arc::make_mut(&mut self.total).turn(before, after, columns)
        {
            return None;
        }
        let index = holding.join(grants, found);
        let span = holding.offered[index].span();
        if rest.bag.is_empty() {
            holding.offered.remove(index);
        } else {
            holding.offered[index].rest = Arc::new(rest);
        }
        // What is booked and the total change alike, so that what is free stays as it is.
        if self.overbooked || !adds_up || has_twice(self.total()) {
            self.count_anew(columns);
        }
        self.forget_if_empty(leaf);
        Some(span)
    }

    /// Returns whether a leaf holds anything here.
    pub(super) fn is_held_by(&self, leaf: LeafId) -> bool {
        self.holdings.binary_search_by_key(&leaf, |it| it.0).is_ok()
    }

    /// Takes away all that a leaf holds; counts what it was.
    pub(super) fn evict(&mut self, leaf: LeafId, columns: &Columns) -> Option<Held> {
        let at = self.holdings.binary_search_by_key(&leaf, |it| it.0).ok()?;
        let (_, holding) = self.holdings.remove(at);
        self.count_anew(columns);
        Some(holding.count(columns))
    }

    /// Marks outstanding grants of those whom `of` accepts as asked back. Returns those that were
    /// not yet.
    pub(super) fn rescind(&mut self, of: impl Fn(LeafId) -> bool) -> Vec<GrantId> {
        self.ask_back(|leaf, _| of(leaf))
    }

    /// Marks outstanding grants of which something is not there, or is in use, as asked back.
    /// Returns those that were not yet.
    pub(super) fn rescind_missing(&mut self) -> Vec<GrantId> {
        let shortage = self.shortage();
        self.ask_back(|_, grant| shortage.concerns(&grant.rest.bag))
    }

    /// Marks what is left of one grant as asked back, with all that it was joined with. Returns the
    /// numbers by which it was not yet.
    pub(super) fn rescind_one(&mut self, leaf: LeafId, id: GrantId) -> Vec<GrantId> {
        self.ask_back(|of, grant| of == leaf && grant.due() == id)
    }

    /// Marks what is left of a grant as expired, unless it is over, was asked back, or was joined
    /// with a younger one: then it ends with that. Returns the numbers by which it was not asked
    /// back yet.
    pub(super) fn expire(&mut self, leaf: LeafId, id: GrantId) -> Vec<GrantId> {
        self.ask_back(|of, grant| {
            let is_due = of == leaf && grant.due() == id;
            grant.expired |= is_due;
            is_due
        })
    }

    fn ask_back(&mut self, mut of: impl FnMut(LeafId, &mut Outstanding) -> bool) -> Vec<GrantId> {
        let mut asked = Vec::new();
        for (leaf, holding) in &mut self.holdings {
            let live = holding.offered.iter_mut();
            for grant in live.filter(|grant| !grant.is_rescinded()) {
                if of(*leaf, grant) {
                    asked.extend(grant.ask_back());
                }
            }
        }
        asked
    }

    /// Visits the grants that were not asked back: whose, the number that they expire by, and what
    /// is left.
    pub(super) fn outstanding(&self) -> impl Iterator<Item = (LeafId, GrantId, &Counted)> + '_ {
        self.holdings.iter().flat_map(|(leaf, holding)| {
            let live = holding.offered.iter().filter(|grant| !grant.is_rescinded());
            live.map(|grant| (*leaf, grant.due(), &*grant.rest))
        })
    }

    /// Visits what is left of all grants.
    pub(super) fn offered(&self) -> impl Iterator<Item = (LeafId, Span, &Resources)> + '_ {
        self.holdings.iter().flat_map(|(leaf, holding)| {
            let grants = holding.offered.iter();
            grants.map(|grant| (*leaf, grant.span(), &grant.rest.bag))
        })
    }

    /// Visits all grants that are not used up: whose, by which numbers, and what is left.
    #[cfg(test)]
    pub(super) fn grants(&self) -> impl Iterator<Item = (LeafId, Vec<GrantId>, &Resources)> + '_ {
        self.holdings.iter().flat_map(|(leaf, holding)| {
            let grants = holding.offered.iter();
            grants.map(|grant| (*leaf, grant.numbers(), &grant.rest.bag))
        })
    }

    /// Returns whether a grant of a leaf is not over.
    pub(super) fn is_outstanding(&self, leaf: LeafId, id: GrantId) -> bool {
        let at = self.holdings.binary_search_by_key(&leaf, |it| it.0);
        let offered = at.map(|at| &self.holdings[at].1.offered);
        offered.is_ok_and(|offered| offered.iter().any(|grant| grant.due() == id))
    }

    /// Visits what is left of grants that were asked back.
    pub(super) fn returning(&self) -> impl Iterator<Item = (LeafId, &Counted)> + '_ {
        self.holdings.iter().flat_map(|(leaf, holding)| {
            let asked = holding.offered.iter().filter(|grant| grant.is_rescinded());
            asked.map(|grant| (*leaf, &*grant.rest))
        })
    }

    /// Visits what each leaf holds, counted.
    pub(super) fn holdings(&self, columns: &Columns) -> impl Iterator<Item = (LeafId, Held)> {
        let holdings = self.holdings.iter();
        holdings.map(|(leaf, holding)| (*leaf, holding.count(columns)))
    }

    /// Visits who holds something, and how.
    pub(super) fn holders(&self) -> impl Iterator<Item = (LeafId, Booking)> + '_ {
        self.holdings.iter().flat_map(|(leaf, holding)| {
            let offered = (!holding.offered.is_empty()).then_some((*leaf, Booking::Offered));
            let used = holding.used().next().map(|_| (*leaf, Booking::Allocated));
            offered.into_iter().chain(used)
        })
    }
}

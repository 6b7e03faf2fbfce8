//! Who holds what on which agent: total, free, and for each leaf what is offered and what is in
//! use.
//!
//! [`super::drf::Drf`] keeps it. By identity, free + offered + in use is the total, and a booking
//! costs one subtraction. What is free is counted as well, for a quick look. When more is booked
//! than there is (the agent shrank, or reported a task where something was offered) nothing is
//! free, and every change counts anew until it fits again.
//!
//! Deliberately not here: shares, refusals, and the choice of who gets something.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use smallvec::{SmallVec, smallvec};

use super::breeds::BreedId;
use super::columns::{Columns, Row};
use super::holding::{Held, Holding, Origin, Outstanding, open};
use super::kinds::kind;
use super::profile::AgentTraits;
use super::seats::LeafId;
use super::{Booking, GrantId};
use crate::keys::AgentKey;
use crate::resources::{Overflow, Resources};

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
    /// Whether more is booked than there is; nothing is free then.
    overbooked: bool,
    counts: Counts,
    free: Resources,
    total: Resources,
    pub(super) traits: Arc<AgentTraits>,
    pub(super) breed: Option<BreedId>,
    holdings: SmallVec<[(LeafId, Holding); 1]>,
}

/// What is free, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// All scalars.
    pub(super) all: Row,
    /// Those that are unreserved and that nobody can take back; `None` if there is nothing but
    /// what anybody may have in any part.
    some: Option<Box<Row>>,
}

impl Counts {
    fn new(free: &Resources, columns: &Columns) -> Self {
        let all = columns.row(free);
        let is_plain = free.iter().all(|entry| kind(entry).is_plain());
        let some = (!is_plain).then(|| Box::new(open(free, columns)));
        Self { all, some }
    }

    /// Returns whether there is nothing but what anybody may have in any part.
    pub(super) const fn is_plain(&self) -> bool {
        self.some.is_none()
    }

    /// Counts what is unreserved and what nobody can take back.
    pub(super) fn open(&self) -> &Row {
        self.some.as_deref().unwrap_or(&self.all)
    }
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Release {
    /// How it was held.
    pub(super) origin: Origin,
    /// Whether the leaf holds nothing here any more.
    pub(super) was_last: bool,
}

impl Agent {
    /// Makes an active agent of which nothing is booked.
    pub(super) fn new(
        key: AgentKey,
        total: Resources,
        traits: AgentTraits,
        columns: &Columns,
    ) -> Self {
        Self {
            key,
            active: true,
            whitelisted: true,
            due: false,
            is_usual: false,
            overbooked: false,
            counts: Counts::new(&total, columns),
            free: total.clone(),
            total,
            traits: Arc::new(traits),
            breed: None,
            holdings: SmallVec::new(),
        }
    }

    /// Returns what is free, counted as of the last [`Agent::recount`].
    pub(super) const fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Counts what is free.
    pub(super) fn recount(&mut self, columns: &Columns) {
        if self.free.is_empty() {
            self.counts.all.clear();
            self.counts.some = None;
        } else {
            self.counts = Counts::new(&self.free, columns);
        }
    }

    /// Returns whether anything of it may be offered to anybody.
    pub(super) const fn is_offerable(&self) -> bool {
        self.active && self.whitelisted && !self.free.is_empty()
    }

    /// Returns all that it has.
    pub(super) const fn total(&self) -> &Resources {
        &self.total
    }

    /// Returns what nobody holds.
    pub(super) const fn free(&self) -> &Resources {
        &self.free
    }

    /// Returns whether more is booked than there is.
    pub(super) const fn is_overbooked(&self) -> bool {
        self.overbooked
    }

    /// Replaces the total; what is booked stays.
    pub(super) fn set_total(&mut self, total: Resources) {
        self.total = total;
        self.count_anew();
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
    ) -> bool {
        let rest = match extent {
            Extent::All => core::mem::take(&mut self.free),
            Extent::Part => {
                let taken = self.free.subtract(resources);
                taken.expect("only what is free is granted");
                resources.clone()
            }
        };
        let (holding, is_new) = self.holding(leaf);
        holding.offered.push(Outstanding {
            ids: smallvec![id],
            rest,
            touched: false,
            rescinded: false,
            expired: false,
        });
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
    pub(super) fn occupy(&mut self, leaf: LeafId, used: &Resources) -> Result<bool, Overflow> {
        let (holding, is_new) = self.holding(leaf);
        if let Err(error) = holding.used.add(used) {
            self.forget_if_empty(leaf);
            return Err(error);
        }
        match self.free.checked_sub(used) {
            Ok(free) if !self.overbooked => self.free = free,
            Ok(_) | Err(_) => self.count_anew(),
        }
        Ok(is_new)
    }

    /// Returns whether a leaf without anything here was forgotten.
    fn forget_if_empty(&mut self, leaf: LeafId) -> bool {
        let is_empty = self.find(leaf).is_some_and(|it| it.is_empty());
        if is_empty {
            self.holdings.retain(|it| it.0 != leaf);
        }
        is_empty
    }

    /// Turns something offered into something in use. `false` if it is not offered to them.
    #[must_use]
    pub(super) fn accept(&mut self, leaf: LeafId, resources: &Resources) -> bool {
        let Some(holding) = self.find(leaf) else {
            return false;
        };
        let Some(index) = holding.find(resources) else {
            return false;
        };
        if holding.used.add(resources).is_err() {
            return false;
        }
        holding.offered[index].touched = true;
        holding.take(index, resources);
        true
    }

    /// Frees something. `None` if they do not hold it so.
    pub(super) fn release(
        &mut self,
        leaf: LeafId,
        resources: &Resources,
        from: Booking,
    ) -> Option<Release> {
        let holding = self.find(leaf)?;
        let origin = match from {
            Booking::Offered => {
                let index = holding.find(resources)?;
                let origin = holding.offered[index].origin();
                holding.take(index, resources);
                origin
            }
            Booking::Allocated => {
                holding.used.subtract(resources).ok()?;
                Origin::Used
            }
        };
        let was_last = self.forget_if_empty(leaf);
        if self.overbooked {
            self.count_anew();
        } else if self.free.is_empty() {
            self.free.clone_from(resources);
        } else {
            let sum = self.free.add(resources);
            sum.expect("free and booked together are the total, which fits");
        }
        Some(Release { origin, was_last })
    }

    /// Turns a part of what was granted, and with it of the total, into something else. `false` if
    /// it is not held so, or does not fit.
    pub(super) fn convert(&mut self, leaf: LeafId, before: &Resources, after: &Resources) -> bool {
        let Some((total, offered)) = self.converted(leaf, before, after) else {
            return false;
        };
        self.total = total;
        let holding = self.find(leaf).expect("it was found to hold something");
        let index = holding.find(before).expect("it was found to be offered");
        holding.offered[index].rest = offered;
        holding.offered[index].touched = true;
        if holding.offered[index].rest.is_empty() {
            holding.offered.remove(index);
        }
        self.count_anew();
        true
    }

    fn converted(
        &mut self,
        leaf: LeafId,
        before: &Resources,
        after: &Resources,
    ) -> Option<(Resources, Resources)> {
        let turn = |bag: &Resources| {
            let mut bag = bag.checked_sub(before).ok()?;
            bag.add(after).ok()?;
            Some(bag)
        };
        let total = turn(&self.total)?;
        let holding = self.find(leaf)?;
        let index = holding.find(before)?;
        Some((total, turn(&holding.offered[index].rest)?))
    }

    /// Takes away all that a leaf holds; counts what it was.
    pub(super) fn evict(&mut self, leaf: LeafId, columns: &Columns) -> Option<Held> {
        let at = self.holdings.binary_search_by_key(&leaf, |it| it.0).ok()?;
        let (_, holding) = self.holdings.remove(at);
        self.count_anew();
        Some(holding.count(columns))
    }

    /// Marks outstanding grants of those whom `of` accepts as asked back. Returns those that were
    /// not yet.
    pub(super) fn rescind(&mut self, of: impl Fn(LeafId) -> bool) -> Vec<GrantId> {
        self.holdings
            .iter_mut()
            .filter(|(leaf, _)| of(*leaf))
            .flat_map(|(_, holding)| &mut holding.offered)
            .filter(|grant| !grant.rescinded)
            .flat_map(|grant| {
                grant.rescinded = true;
                grant.ids.iter().copied()
            })
            .collect()
    }

    /// Marks what is left of one grant as asked back. Returns all that it was joined with.
    pub(super) fn rescind_one(&mut self, leaf: LeafId, id: GrantId) -> Vec<GrantId> {
        let grants = self.find(leaf).into_iter().flat_map(|it| &mut it.offered);
        let mut live = grants.filter(|grant| !grant.rescinded && grant.ids.contains(&id));
        live.next().map_or_else(Vec::new, |grant| {
            grant.rescinded = true;
            grant.ids.to_vec()
        })
    }

    /// Visits the grants that were not asked back: whose, the first of their ids, and what is left.
    pub(super) fn outstanding(&self) -> impl Iterator<Item = (LeafId, GrantId, &Resources)> + '_ {
        self.holdings.iter().flat_map(|(leaf, holding)| {
            let live = holding.offered.iter().filter(|grant| !grant.rescinded);
            live.map(|grant| (*leaf, grant.ids[0], &grant.rest))
        })
    }

    /// Returns whether a grant of a leaf is not over.
    pub(super) fn is_outstanding(&self, leaf: LeafId, id: GrantId) -> bool {
        let at = self.holdings.binary_search_by_key(&leaf, |it| it.0);
        let offered = at.map(|at| &self.holdings[at].1.offered);
        offered.is_ok_and(|offered| offered.iter().any(|grant| grant.ids.contains(&id)))
    }

    /// Visits what is left of grants that were asked back.
    pub(super) fn returning(&self) -> impl Iterator<Item = (LeafId, &Resources)> + '_ {
        self.holdings.iter().flat_map(|(leaf, holding)| {
            let asked = holding.offered.iter().filter(|grant| grant.rescinded);
            asked.map(|grant| (*leaf, &grant.rest))
        })
    }

    /// Marks what is left of a grant as expired. Returns all that it was joined with, unless it is
    /// over or was asked back.
    pub(super) fn expire(&mut self, leaf: LeafId, id: GrantId) -> Vec<GrantId> {
        let grants = self.rescind_one(leaf, id);
        let holding = self.find(leaf).into_iter();
        for grant in holding.flat_map(|it| &mut it.offered) {
            if grant.ids.contains(&id) {
                grant.expired = true;
            }
        }
        grants
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
            let used = (!holding.used.is_empty()).then_some((*leaf, Booking::Allocated));
            offered.into_iter().chain(used)
        })
    }

    /// Computes from nothing what is free; `None` if more is booked than there is.
    pub(super) fn unbooked(&self) -> Option<Resources> {
        self.holdings
            .iter()
            .try_fold(self.total.clone(), |free, (_, holding)| {
                let free = free.checked_sub(&holding.used).ok()?;
                let mut grants = holding.offered.iter();
                grants.try_fold(free, |free, grant| free.checked_sub(&grant.rest).ok())
            })
    }

    fn count_anew(&mut self) {
        let unbooked = self.unbooked();
        self.overbooked = unbooked.is_none();
        self.free = unbooked.unwrap_or_default();
    }
}

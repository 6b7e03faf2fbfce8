//! Who holds what on which agent: total, free, and for each framework and role what is offered and
//! what is in use.
//!
//! [`super::drf::Drf`] keeps it. By identity, free + offered + in use is the total, and a booking
//! costs one subtraction. When more is booked than there is (the agent shrank, or reported a task
//! where something was offered) nothing is free, and every change counts anew until it fits again.
//!
//! Deliberately not here: shares, refusals, and the choice of who gets something.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::sorter::Leaf;
use super::sums::Sums;
use super::{Booking, GrantId};
use crate::keys::{AgentKey, FrameworkKey};
use crate::resources::{Overflow, Resources};

/// How many grants one [`Outstanding`] names. The oldest beyond it are long over.
const MOST_IDS: usize = 1_000;

/// All agents.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    agents: BTreeMap<AgentKey, Agent>,
}

impl Ledger {
    /// Adds an agent, or replaces one of the same key.
    pub(super) fn insert(&mut self, key: AgentKey, total: Resources) {
        let agent = Agent {
            free: total.clone(),
            total,
            active: true,
            overbooked: false,
            holdings: BTreeMap::new(),
        };
        self.agents.insert(key, agent);
    }

    /// Takes an agent out.
    pub(super) fn remove(&mut self, key: AgentKey) -> Option<Agent> {
        self.agents.remove(&key)
    }

    /// Returns an agent, unless it is gone.
    pub(super) fn get(&self, key: AgentKey) -> Option<&Agent> {
        self.agents.get(&key)
    }

    /// Returns an agent for writing, unless it is gone.
    pub(super) fn get_mut(&mut self, key: AgentKey) -> Option<&mut Agent> {
        self.agents.get_mut(&key)
    }

    /// Visits all agents in the order of their keys.
    pub(super) fn iter(&self) -> impl Iterator<Item = (AgentKey, &Agent)> + '_ {
        self.agents.iter().map(|(key, agent)| (*key, agent))
    }

    /// Visits all agents for writing, in the order of their keys.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (AgentKey, &mut Agent)> + '_ {
        self.agents.iter_mut().map(|(key, agent)| (*key, agent))
    }
}

/// One agent.
#[derive(Debug)]
pub(super) struct Agent {
    total: Resources,
    free: Resources,
    /// Whether more is booked than there is; nothing is free then.
    overbooked: bool,
    pub(super) active: bool,
    holdings: BTreeMap<Leaf, Holding>,
}

/// What one framework holds in one role on one agent.
#[derive(Debug, Default)]
struct Holding {
    offered: Vec<Outstanding>,
    used: Resources,
}

/// Grants that are not used up. Usually one: several when it cannot be told which of them a
/// return or an accept was about, or when one accept was about all of them.
#[derive(Debug)]
struct Outstanding {
    ids: Vec<GrantId>,
    rest: Resources,
    /// Something of it was accepted.
    touched: bool,
    /// It was asked back.
    rescinded: bool,
}

/// How something came back, or was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// From a grant of which nothing was accepted: it was not wanted.
    Untouched,
    /// The rest of a grant of which a part was accepted.
    Leftover,
    /// From a grant that was asked back.
    Rescinded,
    /// From what was in use.
    Used,
}

impl Agent {
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
        self.recount();
    }

    /// Books a grant of free resources.
    ///
    /// # Panics
    ///
    /// If they are not free: something would be promised twice.
    pub(super) fn grant(&mut self, leaf: Leaf, id: GrantId, resources: Resources) {
        self.free = self
            .free
            .checked_sub(&resources)
            .expect("only what is free is granted");
        self.holdings
            .entry(leaf)
            .or_default()
            .offered
            .push(Outstanding {
                ids: Vec::from([id]),
                rest: resources,
                touched: false,
                rescinded: false,
            });
    }

    /// Books something in use that was not granted here.
    pub(super) fn occupy(&mut self, leaf: Leaf, resources: &Resources) -> Result<(), Overflow> {
        self.holdings.entry(leaf).or_default().used.add(resources)?;
        match self.free.checked_sub(resources) {
            Ok(free) if !self.overbooked => self.free = free,
            Ok(_) | Err(_) => self.recount(),
        }
        Ok(())
    }

    /// Turns something offered into something in use. `false` if it is not offered to them.
    #[must_use]
    pub(super) fn accept(&mut self, leaf: Leaf, resources: &Resources) -> bool {
        let Some(holding) = self.holdings.get_mut(&leaf) else {
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
        leaf: Leaf,
        resources: &Resources,
        from: Booking,
    ) -> Option<Origin> {
        let holding = self.holdings.get_mut(&leaf)?;
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
        if holding.is_empty() {
            self.holdings.remove(&leaf);
        }
        if self.overbooked {
            self.recount();
        } else {
            self.free
                .add(resources)
                .expect("free and booked together are the total, which fits");
        }
        Some(origin)
    }

    /// Takes away all that a framework holds.
    pub(super) fn evict(&mut self, framework: FrameworkKey) -> Vec<(Leaf, Sums)> {
        let leaves: Vec<_> = self
            .holdings
            .keys()
            .filter(|leaf| leaf.framework == framework)
            .copied()
            .collect();
        let held: Vec<_> = leaves
            .into_iter()
            .filter_map(|leaf| Some((leaf, self.holdings.remove(&leaf)?.sum())))
            .collect();
        if !held.is_empty() {
            self.recount();
        }
        held
    }

    /// Marks outstanding grants, of one framework or of all, as asked back. Returns those that
    /// were not yet.
    pub(super) fn rescind(&mut self, framework: Option<FrameworkKey>) -> Vec<GrantId> {
        self.holdings
            .iter_mut()
            .filter(|(leaf, _)| framework.is_none_or(|only| leaf.framework == only))
            .flat_map(|(_, holding)| &mut holding.offered)
            .filter(|grant| !grant.rescinded)
            .flat_map(|grant| {
                grant.rescinded = true;
                grant.ids.iter().copied()
            })
            .collect()
    }

    /// Visits the scalars that each framework holds in each role, offered and in use together.
    pub(super) fn holdings(&self) -> impl Iterator<Item = (Leaf, Sums)> + '_ {
        self.holdings
            .iter()
            .map(|(leaf, holding)| (*leaf, holding.sum()))
    }

    /// Computes from nothing what is free; `None` if more is booked than there is.
    pub(super) fn unbooked(&self) -> Option<Resources> {
        self.holdings
            .values()
            .try_fold(self.total.clone(), |free, holding| {
                let free = free.checked_sub(&holding.used).ok()?;
                let mut grants = holding.offered.iter();
                grants.try_fold(free, |free, grant| free.checked_sub(&grant.rest).ok())
            })
    }

    fn recount(&mut self) {
        let unbooked = self.unbooked();
        self.overbooked = unbooked.is_none();
        self.free = unbooked.unwrap_or_default();
    }
}

impl Holding {
    /// Finds what an accept or a return is about. Grants that it may equally be about, or that it
    /// is about together, are one from then on.
    fn find(&mut self, resources: &Resources) -> Option<usize> {
        let covers = |grant: &Outstanding| grant.rest.contains(resources);
        let first = self.offered.iter().position(covers);
        let Some(first) = first else {
            return self.find_together(resources);
        };
        let mut index = first + 1;
        while index < self.offered.len() {
            if covers(&self.offered[index]) {
                let other = self.offered.remove(index);
                self.offered[first].merge(other);
            } else {
                index += 1;
            }
        }
        Some(first)
    }

    /// Joins the oldest grants that cover `resources` together; nothing changes if all do not.
    fn find_together(&mut self, resources: &Resources) -> Option<usize> {
        let mut sum = Resources::default();
        let last = self
            .offered
            .iter()
            .position(|grant| sum.add(&grant.rest).is_ok() && sum.contains(resources))?;
        let others: Vec<_> = self.offered.drain(1..=last).collect();
        for other in others {
            self.offered[0].merge(other);
        }
        Some(0)
    }

    fn take(&mut self, index: usize, resources: &Resources) {
        let grant = &mut self.offered[index];
        grant
            .rest
            .subtract(resources)
            .expect("it was found because it contains them");
        if grant.rest.is_empty() {
            self.offered.remove(index);
        }
    }

    fn sum(&self) -> Sums {
        let mut sum = Sums::from(&self.used);
        for grant in &self.offered {
            sum.add_scalars(&grant.rest);
        }
        sum
    }

    fn is_empty(&self) -> bool {
        self.offered.is_empty() && self.used.is_empty()
    }
}

impl Outstanding {
    const fn origin(&self) -> Origin {
        if self.rescinded {
            Origin::Rescinded
        } else if self.touched {
            Origin::Leftover
        } else {
            Origin::Untouched
        }
    }

    fn merge(&mut self, other: Self) {
        self.ids.extend(other.ids);
        let excess = self.ids.len().saturating_sub(MOST_IDS);
        self.ids.drain(..excess);
        self.rest
            .add(&other.rest)
            .expect("grants are parts of one agent's total, which fits");
        self.touched |= other.touched;
        self.rescinded &= other.rescinded;
    }
}

//! The table of frameworks: those that live, and the last few that ended.
//!
//! Used by all handlers of the master. Deliberately not here: their tasks (`tasks`) and offers
//! (`offers`).

use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::sync::Arc;
use core::ops::{Index, IndexMut};

use crate::allocator::{self, FrameworkCapabilities, FrameworkProfile, SubscriptionState};
use crate::ids::{FrameworkId, PeerId};
use crate::keys::FrameworkKey;
use crate::limits::Bounds;
use crate::protocol::framework::{Capabilities, FrameworkInfo, Wishes};
use crate::protocol::refusal::EndReason;
use crate::table::Table;
use crate::time::Time;

/// Whether a framework is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subscription {
    /// Speaks with us (SM-01, SM-03).
    Subscribed(PeerId),
    /// Lost; its tasks go on until its failover timeout (SM-04).
    Disconnected,
    /// Known from the registry or from an agent only (SM-02).
    Recovered,
    /// Over: kept so that its id cannot come back, and for those who look at its tasks (SM-08).
    Completed(EndReason),
}

/// One framework.
#[derive(Clone, Debug)]
pub(super) struct Framework {
    /// Never changes: the table is indexed by it.
    pub(super) id: FrameworkId,
    /// With the id.
    pub(super) info: Arc<FrameworkInfo>,
    /// The name in the certificate that subscribed it, or what an agent remembers of it.
    pub(super) principal: Option<String>,
    /// Whether the id is certainly theirs: a leadership that we know of gave it, or an agent says
    /// so. Otherwise it is only their own word.
    pub(super) vouched: bool,
    /// Changed to `Completed` by [`Frameworks::complete`] only.
    pub(super) subscription: Subscription,
    pub(super) wishes: Wishes,
    /// When its one timer fires: the next heartbeat, or answer, while it is subscribed, its end
    /// while it is away.
    pub(super) due: Option<Time>,
}

impl Framework {
    pub(super) fn peer(&self) -> Option<PeerId> {
        match self.subscription {
            Subscription::Subscribed(peer) => Some(peer),
            Subscription::Disconnected | Subscription::Recovered | Subscription::Completed(_) => {
                None
            }
        }
    }

    /// Returns whether an agent may know it under the name of this principal.
    pub(super) fn is_of(&self, principal: Option<&str>) -> bool {
        let own = self.principal.as_deref();
        own.is_none() || principal.is_none() || own == principal
    }

    /// Says what it is like and wants, as the allocator wants to hear it.
    pub(super) fn profile(&self) -> FrameworkProfile {
        let roles = self.info.roles.iter().map(|role| allocator::Subscription {
            role: role.clone(),
            state: if self.wishes.suppressed.contains(role) {
                SubscriptionState::Suppressed
            } else {
                SubscriptionState::Wanted
            },
            constraints: self.wishes.constraints.get(role).cloned(),
            min_allocatable: self.info.min_allocatable.get(role).cloned(),
        });
        let can = |what| self.info.capabilities.contains(what);
        FrameworkProfile {
            name: self.info.name.clone(),
            roles: roles.collect(),
            capabilities: FrameworkCapabilities {
                multi_role: can(Capabilities::MULTI_ROLE),
                revocable: can(Capabilities::REVOCABLE),
                shared: can(Capabilities::SHARED),
                reservation_refinement: can(Capabilities::REFINEMENT),
                gpus: can(Capabilities::GPUS),
                region_aware: can(Capabilities::REGIONS),
            },
        }
    }

    pub(super) fn is_completed(&self) -> bool {
        self.end().is_some()
    }

    /// Returns why it is over, if it is.
    pub(super) fn end(&self) -> Option<EndReason> {
        match self.subscription {
            Subscription::Completed(reason) => Some(reason),
            Subscription::Subscribed(_) | Subscription::Disconnected | Subscription::Recovered => {
                None
            }
        }
    }
}

/// All frameworks.
#[derive(Clone, Debug, Default)]
pub(super) struct Frameworks {
    rows: Table<Framework>,
    by_id: BTreeMap<FrameworkId, FrameworkKey>,
    /// How many have ended.
    over: usize,
    /// Those of them that run nothing any more, oldest first; at most
    /// [`limits::COMPLETED_FRAMEWORKS`].
    completed: VecDeque<FrameworkKey>,
    bounds: Bounds,
}

impl Frameworks {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            ..Self::default()
        }
    }

    pub(super) fn insert(&mut self, framework: Framework) -> FrameworkKey {
        let id = framework.id.clone();
        self.over += usize::from(framework.is_completed());
        let key = self.rows.insert(framework).cast();
        let before = self.by_id.insert(id, key);
        assert!(before.is_none(), "one id, one framework");
        key
    }

    /// Ends a framework.
    pub(super) fn complete(&mut self, key: FrameworkKey, why: EndReason) {
        let row = &mut self[key];
        assert!(!row.is_completed(), "a framework ends once");
        row.subscription = Subscription::Completed(why);
        self.over += 1;
    }

    /// Puts a framework that is over, and of which agents run nothing, into the ring. Returns the
    /// one that is forgotten for it, if the ring was full (TK-101): the oldest one, or that of the
    /// same principal if half of the ring is his, so that whoever comes and goes again and again
    /// has nobody else forgotten.
    pub(super) fn remember(&mut self, key: FrameworkKey) -> Option<FrameworkKey> {
        self.completed.push_back(key);
        if self.completed.len() <= self.bounds.completed_frameworks {
            return None;
        }
        let is_own = |ended: &FrameworkKey| self[*ended].principal == self[key].principal;
        let own = self.completed.iter().filter(|ended| is_own(ended)).count();
        let has_half = own > self.bounds.completed_frameworks / 2;
        let mut ring = self.completed.iter();
        let oldest = *ring.find(|ended| !has_half || is_own(ended))?;
        self.forget(oldest);
        Some(oldest)
    }

    /// Takes a framework that is over out of the ring: agents run something of it after all.
    pub(super) fn recall(&mut self, key: FrameworkKey) {
        self.completed.retain(|ended| *ended != key);
    }

    /// Forgets a framework that has ended, so that its id can come back.
    pub(super) fn forget(&mut self, key: FrameworkKey) {
        self.recall(key);
        if let Some(row) = self.rows.remove(key.cast()) {
            assert!(row.is_completed(), "framework {} has ended", row.id);
            self.by_id.remove(&row.id);
            self.over -= 1;
        }
    }

    pub(super) fn find(&self, id: &FrameworkId) -> Option<FrameworkKey> {
        self.by_id.get(id).copied()
    }

    pub(super) fn get(&self, key: FrameworkKey) -> Option<&Framework> {
        self.rows.get(key.cast())
    }

    pub(super) fn get_mut(&mut self, key: FrameworkKey) -> Option<&mut Framework> {
        self.rows.get_mut(key.cast())
    }

    /// Returns how many have not ended.
    pub(super) fn live(&self) -> usize {
        self.rows.len() - self.over
    }

    /// Returns how many have not ended, or may still run something; at most
    /// [`limits::FRAMEWORKS`].
    pub(super) fn in_use(&self) -> usize {
        self.rows.len() - self.completed.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (FrameworkKey, &Framework)> + '_ {
        self.rows.iter().map(|(key, row)| (key.cast(), row))
    }

    pub(super) fn iter_after(
        &self,
        place: Option<u32>,
    ) -> impl Iterator<Item = (FrameworkKey, &Framework)> + '_ {
        let rows = self.rows.iter_after(place);
        rows.map(|(key, row)| (key.cast(), row))
    }

    /// The rows as such, for those who watch them.
    pub(super) fn rows_mut(&mut self) -> &mut Table<Framework> {
        &mut self.rows
    }

    /// Shares the rows, for a view.
    pub(super) fn snapshot(&self) -> Table<Framework> {
        self.rows.clone()
    }

    /// Checks the indexes; `lingers` says of which frameworks agents may run something.
    pub(super) fn check(&self, lingers: impl Fn(FrameworkKey) -> bool) {
        assert_eq!(self.rows.len(), self.by_id.len(), "frameworks by id");
        let over = self.iter().filter(|(_, row)| row.is_completed());
        assert_eq!(self.over, over.count(), "frameworks that are over");
        for (key, row) in self.iter() {
            assert_eq!(self.by_id.get(&row.id), Some(&key), "framework {}", row.id);
            assert_eq!(row.info.id.as_ref(), Some(&row.id), "id within the info");
            let wishes = &row.wishes;
            let named = wishes.suppressed.iter().chain(wishes.constraints.keys());
            let mut named = named.chain(wishes.demands.keys());
            let is_own = named.all(|role| row.info.roles.contains(role));
            assert!(is_own, "framework {} wants in roles of others", row.id);
            assert_eq!(
                self.completed.contains(&key),
                row.is_completed() && !lingers(key),
                "framework {} in the ring",
                row.id
            );
        }
        assert!(self.completed.len() <= self.bounds.completed_frameworks);
    }
}

impl Index<FrameworkKey> for Frameworks {
    type Output = Framework;

    fn index(&self, key: FrameworkKey) -> &Framework {
        &self.rows[key.cast()]
    }
}

impl IndexMut<FrameworkKey> for Frameworks {
    fn index_mut(&mut self, key: FrameworkKey) -> &mut Framework {
        &mut self.rows[key.cast()]
    }
}

//! The table of outstanding offers, indexed by id, grant, framework and agent.
//!
//! Used by `offering` and `accept`. Deliberately not here: why an offer is made or ends.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::allocator::GrantId;
use crate::ids::OfferId;
use crate::keys::{AgentKey, FrameworkKey};
use crate::protocol::offer::Offer;
use crate::table::{Key, Table};

/// Names a row of [`Offers`].
pub(super) type OfferKey = Key<Outstanding>;

/// An offer that was made and has not ended. Rows never change.
#[derive(Clone, Debug)]
pub(super) struct Outstanding {
    pub(super) offer: Arc<Offer>,
    pub(super) grant: GrantId,
    pub(super) framework: FrameworkKey,
    pub(super) agent: AgentKey,
}

/// All outstanding offers.
#[derive(Clone, Debug, Default)]
pub(super) struct Offers {
    rows: Table<Outstanding>,
    by_id: BTreeMap<OfferId, OfferKey>,
    by_grant: BTreeMap<GrantId, OfferKey>,
    by_framework: BTreeMap<FrameworkKey, BTreeSet<OfferKey>>,
    by_agent: BTreeMap<AgentKey, BTreeSet<OfferKey>>,
}

impl Offers {
    pub(super) fn insert(&mut self, row: Outstanding) -> OfferKey {
        let (id, grant) = (row.offer.id.clone(), row.grant);
        let (framework, agent) = (row.framework, row.agent);
        let key = self.rows.insert(row);
        let same_id = self.by_id.insert(id, key);
        let same_grant = self.by_grant.insert(grant, key);
        assert!(same_id.is_none() && same_grant.is_none(), "offers are new");
        self.by_framework.entry(framework).or_default().insert(key);
        self.by_agent.entry(agent).or_default().insert(key);
        key
    }

    pub(super) fn remove(&mut self, key: OfferKey) -> Option<Outstanding> {
        let row = self.rows.remove(key)?;
        self.by_id.remove(&row.offer.id);
        self.by_grant.remove(&row.grant);
        drop_from(&mut self.by_framework, row.framework, key);
        drop_from(&mut self.by_agent, row.agent, key);
        Some(row)
    }

    pub(super) fn get(&self, key: OfferKey) -> Option<&Outstanding> {
        self.rows.get(key)
    }

    pub(super) fn find(&self, id: &OfferId) -> Option<OfferKey> {
        self.by_id.get(id).copied()
    }

    pub(super) fn of_grant(&self, grant: GrantId) -> Option<OfferKey> {
        self.by_grant.get(&grant).copied()
    }

    pub(super) fn of_framework(&self, framework: FrameworkKey) -> Vec<OfferKey> {
        let keys = self.by_framework.get(&framework);
        keys.into_iter().flatten().copied().collect()
    }

    pub(super) fn of_agent(&self, agent: AgentKey) -> Vec<OfferKey> {
        let keys = self.by_agent.get(&agent);
        keys.into_iter().flatten().copied().collect()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (OfferKey, &Outstanding)> + '_ {
        self.rows.iter()
    }

    /// The rows as such, for those who watch them.
    pub(super) fn rows_mut(&mut self) -> &mut Table<Outstanding> {
        &mut self.rows
    }

    /// Shares the rows, for a view.
    pub(super) fn snapshot(&self) -> Table<Outstanding> {
        self.rows.clone()
    }

    pub(super) fn check(&self) {
        let len = self.rows.len();
        assert_eq!(self.by_id.len(), len, "offers by id");
        assert_eq!(self.by_grant.len(), len, "offers by grant");
        let indexed: usize = self.by_framework.values().map(BTreeSet::len).sum();
        assert_eq!(indexed, len, "offers by framework");
        let indexed: usize = self.by_agent.values().map(BTreeSet::len).sum();
        assert_eq!(indexed, len, "offers by agent");
        for (key, row) in self.rows.iter() {
            assert_eq!(self.by_id.get(&row.offer.id), Some(&key));
            assert_eq!(self.by_grant.get(&row.grant), Some(&key));
            assert!(self.by_framework[&row.framework].contains(&key));
            assert!(self.by_agent[&row.agent].contains(&key));
        }
    }
}

fn drop_from<K: Ord>(index: &mut BTreeMap<K, BTreeSet<OfferKey>>, of: K, key: OfferKey) {
    if let Some(keys) = index.get_mut(&of) {
        keys.remove(&key);
        if keys.is_empty() {
            index.remove(&of);
        }
    }
}

//! The table of outstanding offers, indexed by number, grant, framework and agent.
//!
//! Used by `offering` and `accept`. Deliberately not here: why an offer is made or ends.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::chains::Chains;
use crate::allocator::GrantId;
use crate::fold::FoldMap;
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
    /// By the numbers in their ids.
    by_number: FoldMap<u64, OfferKey>,
    by_grant: FoldMap<GrantId, OfferKey>,
    by_framework: Chains,
    by_agent: Chains,
}

impl Offers {
    pub(super) fn insert(&mut self, row: Outstanding) -> OfferKey {
        let number = row.offer.id.number().expect("a master numbers its offers");
        let (grant, framework, agent) = (row.grant, row.framework, row.agent);
        let key = self.rows.insert(row);
        let same_number = self.by_number.insert(number, key);
        let same_grant = self.by_grant.insert(grant, key);
        let is_new = same_number.is_none() && same_grant.is_none();
        assert!(is_new, "offers are new");
        self.by_framework.insert(framework.index(), key.index());
        self.by_agent.insert(agent.index(), key.index());
        key
    }

    pub(super) fn remove(&mut self, key: OfferKey) -> Option<Outstanding> {
        let row = self.rows.remove(key)?;
        if let Some(number) = row.offer.id.number() {
            self.by_number.remove(&number);
        }
        self.by_grant.remove(&row.grant);
        self.by_framework.remove(row.framework.index(), key.index());
        self.by_agent.remove(row.agent.index(), key.index());
        Some(row)
    }

    pub(super) fn get(&self, key: OfferKey) -> Option<&Outstanding> {
        self.rows.get(key)
    }

    pub(super) fn find(&self, id: &OfferId) -> Option<OfferKey> {
        let key = *self.by_number.get(&id.number()?)?;
        (self.rows[key].offer.id == *id).then_some(key)
    }

    pub(super) fn of_grant(&self, grant: GrantId) -> Option<OfferKey> {
        self.by_grant.get(&grant).copied()
    }

    pub(super) fn of_framework(&self, framework: FrameworkKey) -> Vec<OfferKey> {
        let rows = self.by_framework.of(framework.index());
        self.keys_of(rows, |row| row.framework == framework)
    }

    pub(super) fn of_agent(&self, agent: AgentKey) -> Vec<OfferKey> {
        let rows = self.by_agent.of(agent.index());
        self.keys_of(rows, |row| row.agent == agent)
    }

    fn keys_of(&self, rows: Vec<u32>, is_of: impl Fn(&Outstanding) -> bool) -> Vec<OfferKey> {
        let rows = rows
            .into_iter()
            .filter_map(|index| self.rows.iter_from(index).next());
        rows.filter(|(_, row)| is_of(row))
            .map(|(key, _)| key)
            .collect()
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
        assert_eq!(self.by_number.len(), len, "offers by number");
        assert_eq!(self.by_grant.len(), len, "offers by grant");
        let chained = [self.by_agent.check(), self.by_framework.check()];
        assert_eq!(chained, [len; 2], "offers in chains");
        let mut of_agents: BTreeMap<AgentKey, Vec<OfferKey>> = BTreeMap::new();
        let mut of_frameworks: BTreeMap<FrameworkKey, Vec<OfferKey>> = BTreeMap::new();
        for (key, row) in self.rows.iter() {
            assert_eq!(self.find(&row.offer.id), Some(key));
            assert_eq!(self.by_grant.get(&row.grant), Some(&key));
            of_agents.entry(row.agent).or_default().push(key);
            of_frameworks.entry(row.framework).or_default().push(key);
        }
        for (agent, keys) in of_agents {
            assert_eq!(self.of_agent(agent), keys, "offers by agent");
        }
        for (framework, keys) in of_frameworks {
            assert_eq!(self.of_framework(framework), keys, "offers by framework");
        }
    }
}

//! Who is next: roles by weighted dominant share, and within a role frameworks by theirs.
//!
//! [`super::drf::Drf`] books here what its [`super::ledger`] books per agent. Only those who may
//! be offered something stand in the orders, so a pass never looks at anybody else, and a booking
//! moves two entries instead of sorting anything (AL-18).
//!
//! Deliberately not here: agents, refusals, and trees of roles: a role's path is only its name.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::sums::Sums;
use crate::keys::FrameworkKey;
use crate::resources::Milli;
use crate::roles::Role;
use crate::table::{Key, Table};

/// Names a role that the sorter knows.
pub(super) type RoleKey = Key<RoleNode>;

/// One framework in one role: what shares are counted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Leaf {
    pub(super) framework: FrameworkKey,
    pub(super) role: RoleKey,
}

/// A dominant share divided by a weight, in units of 2^-54.
///
/// Equal fractions give equal numbers, so ties are ties (AL-16). 54 bits leave room for all the
/// rest of the product in [`share`]: 63 bits of a quantity and 10 of the weight's unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Share(u64);

const SHARE_BITS: u32 = 54;
const WEIGHT_ONE: Milli = Milli::from_thousandths(1_000);
const MILLIONTHS: u128 = 1_000_000;
/// Amounts beyond this count as this much, so that products fit.
const MOST: u128 = i64::MAX as u128;

/// Where somebody stands: ascending share, then fewer grants, then name (AL-16). The key makes
/// namesakes distinct.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place<K> {
    share: Share,
    grants: u64,
    name: Arc<str>,
    key: K,
}

/// What is counted for a role or a framework in it.
#[derive(Clone, Debug, Default)]
struct Account {
    /// All scalars offered or in use.
    held: Sums,
    /// How often something was booked. It never falls (TV-14).
    grants: u64,
    /// As it stands in the order; behind the times while the sorter is stale.
    share: Share,
}

/// A role: its account, and its frameworks in order.
#[derive(Clone, Debug)]
pub(super) struct RoleNode {
    role: Role,
    name: Arc<str>,
    weight: Milli,
    account: Account,
    leaves: BTreeMap<FrameworkKey, LeafNode>,
    order: BTreeSet<Place<FrameworkKey>>,
}

#[derive(Clone, Debug)]
struct LeafNode {
    name: Arc<str>,
    listed: bool,
    account: Account,
}

/// Whether a booking adds or takes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// Something new is held. Counts as a grant.
    Add,
    /// Something is no longer held.
    Take,
}

/// The two orders, and the accounts behind them.
#[derive(Debug, Default)]
pub(super) struct Sorter {
    excluded: Vec<String>,
    total: Sums,
    roles: Table<RoleNode>,
    by_role: BTreeMap<Role, RoleKey>,
    order: BTreeSet<Place<RoleKey>>,
    /// The total changed since the shares were computed.
    stale: bool,
}

impl Sorter {
    /// Makes a sorter that leaves the `excluded` names out of all shares (TV-15).
    pub(super) fn new(excluded: Vec<String>) -> Self {
        Self {
            excluded,
            ..Self::default()
        }
    }

    /// Returns the sum of all agents' scalars.
    pub(super) const fn total(&self) -> &Sums {
        &self.total
    }

    /// Returns what all frameworks hold together.
    pub(super) fn held(&self) -> Sums {
        let mut sum = Sums::default();
        for (_, node) in self.roles.iter() {
            sum.add(&node.account.held);
        }
        sum
    }

    /// Replaces a part of the total. Shares follow at the next [`Sorter::settle`].
    pub(super) fn change_total(&mut self, before: &Sums, after: &Sums) {
        if before == after {
            return;
        }
        self.total.subtract(before);
        self.total.add(after);
        self.stale = true;
    }

    /// Returns the key of a role that is known.
    pub(super) fn find(&self, role: &Role) -> Option<RoleKey> {
        self.by_role.get(role).copied()
    }

    /// Returns the role behind a key.
    pub(super) fn role(&self, key: RoleKey) -> &Role {
        &self.roles[key].role
    }

    /// Returns the key of a role, new or old.
    pub(super) fn intern(&mut self, role: &Role) -> RoleKey {
        if let Some(key) = self.find(role) {
            return key;
        }
        let key = self.roles.insert(RoleNode {
            role: role.clone(),
            name: Arc::from(role.as_str()),
            weight: WEIGHT_ONE,
            account: Account::default(),
            leaves: BTreeMap::new(),
            order: BTreeSet::new(),
        });
        self.by_role.insert(role.clone(), key);
        key
    }

    /// Sets the weight of a role (AL-17).
    pub(super) fn set_weight(&mut self, role: &Role, weight: Milli) {
        let key = self.intern(role);
        self.with_role(key, |node, _| node.weight = weight);
        self.forget_if_unused(key);
    }

    /// Adds a framework to a role, unlisted, or renames it.
    pub(super) fn track(&mut self, leaf: Leaf, name: &Arc<str>) {
        self.with_role(leaf.role, |node, _| {
            let entry = node
                .leaves
                .entry(leaf.framework)
                .or_insert_with(|| LeafNode {
                    name: name.clone(),
                    listed: false,
                    account: Account::default(),
                });
            if entry.name != *name {
                let listed = core::mem::replace(&mut entry.listed, false);
                node.order.remove(&entry.place(leaf.framework));
                entry.name = name.clone();
                entry.listed = listed;
                if listed {
                    node.order.insert(entry.place(leaf.framework));
                }
            }
        });
    }

    /// Lists a framework in a role's order, or takes it out; its account stays (AL-21).
    pub(super) fn list(&mut self, leaf: Leaf, listing: Listing) {
        self.with_role(leaf.role, |node, _| {
            let Some(entry) = node.leaves.get_mut(&leaf.framework) else {
                return;
            };
            entry.listed = listing == Listing::In;
            let place = entry.place(leaf.framework);
            if entry.listed {
                node.order.insert(place);
            } else {
                node.order.remove(&place);
            }
        });
    }

    /// Forgets a framework. What it still held must have been taken away before.
    pub(super) fn untrack(&mut self, framework: FrameworkKey) {
        let keys: Vec<_> = self.roles.keys().collect();
        for key in keys {
            self.with_role(key, |node, _| {
                if let Some(entry) = node.leaves.remove(&framework) {
                    node.order.remove(&entry.place(framework));
                }
            });
            self.forget_if_unused(key);
        }
    }

    /// Books scalars for a framework and its role, and moves both to where they now belong.
    pub(super) fn book(&mut self, leaf: Leaf, entry: Entry, amount: &Sums) {
        self.with_role(leaf.role, |node, shares| {
            node.account.enter(entry, amount);
            let Some(own) = node.leaves.get_mut(&leaf.framework) else {
                return;
            };
            let place = own.listed.then(|| own.place(leaf.framework));
            own.account.enter(entry, amount);
            own.account.share = shares.of(&own.account.held, WEIGHT_ONE);
            if let Some(place) = place {
                node.order.remove(&place);
                node.order.insert(own.place(leaf.framework));
            }
        });
    }

    /// Brings all shares up to date after the total changed.
    pub(super) fn settle(&mut self) {
        if !core::mem::take(&mut self.stale) {
            return;
        }
        let keys: Vec<_> = self.roles.keys().collect();
        for key in keys {
            self.with_role(key, |node, shares| {
                node.order.clear();
                for (framework, leaf) in &mut node.leaves {
                    leaf.account.share = shares.of(&leaf.account.held, WEIGHT_ONE);
                    if leaf.listed {
                        node.order.insert(leaf.place(*framework));
                    }
                }
            });
        }
    }

    /// Returns whether anybody may be offered anything.
    pub(super) fn has_takers(&self) -> bool {
        !self.order.is_empty()
    }

    /// Visits the roles that have a listed framework, lowest share first.
    pub(super) fn roles(&self) -> impl Iterator<Item = RoleKey> + '_ {
        debug_assert!(!self.stale, "the shares are settled before a pass");
        self.order.iter().map(|place| place.key)
    }

    /// Visits the listed frameworks of a role, lowest share first.
    pub(super) fn frameworks(&self, role: RoleKey) -> impl Iterator<Item = FrameworkKey> + '_ {
        self.roles[role].order.iter().map(|place| place.key)
    }

    /// Returns the dominant share of a framework in a role, without weight, in millionths.
    pub(super) fn dominant_share(&self, leaf: Leaf) -> Option<u64> {
        let own = self.roles.get(leaf.role)?.leaves.get(&leaf.framework)?;
        let shares = Shares {
            total: &self.total,
            excluded: &self.excluded,
        };
        Some(shares.dominant(&own.account.held, MILLIONTHS, 1))
    }

    /// Checks accounts and orders against what is `held` and who `may_be_offered` something.
    pub(super) fn check(&self, held: &BTreeMap<Leaf, Sums>, may_be_offered: impl Fn(Leaf) -> bool) {
        let shares = Shares {
            total: &self.total,
            excluded: &self.excluded,
        };
        let mut order = BTreeSet::new();
        for (role, node) in self.roles.iter() {
            let mut sum = Sums::default();
            let mut listed = BTreeSet::new();
            for (&framework, own) in &node.leaves {
                let leaf = Leaf { framework, role };
                let expected = held.get(&leaf).cloned().unwrap_or_default();
                assert_eq!(own.account.held, expected, "what {leaf:?} holds");
                assert_eq!(own.listed, may_be_offered(leaf), "whether {leaf:?} stands");
                if !self.stale {
                    let share = shares.of(&expected, WEIGHT_ONE);
                    assert_eq!(own.account.share, share, "the share of {leaf:?}");
                }
                if own.listed {
                    listed.insert(own.place(framework));
                }
                sum.add(&expected);
            }
            assert_eq!(node.order, listed, "the order within {}", node.role);
            assert_eq!(node.account.held, sum, "what {} holds", node.role);
            if !listed.is_empty() {
                order.insert(node.place(role));
            }
        }
        assert_eq!(self.order, order, "the order of roles");
        let strangers = held.keys().find(|leaf| {
            let node = self.roles.get(leaf.role);
            node.is_none_or(|node| !node.leaves.contains_key(&leaf.framework))
        });
        assert_eq!(strangers, None, "held by somebody who is not tracked");
    }

    /// Changes a role and moves it to where it then belongs: in the order exactly if one of its
    /// frameworks is.
    fn with_role(&mut self, key: RoleKey, change: impl FnOnce(&mut RoleNode, &Shares<'_>)) {
        let shares = Shares {
            total: &self.total,
            excluded: &self.excluded,
        };
        let node = &mut self.roles[key];
        if !node.order.is_empty() {
            self.order.remove(&node.place(key));
        }
        change(node, &shares);
        node.account.share = shares.of(&node.account.held, node.weight);
        if !node.order.is_empty() {
            self.order.insert(node.place(key));
        }
    }

    fn forget_if_unused(&mut self, key: RoleKey) {
        let node = &self.roles[key];
        if node.leaves.is_empty() && node.weight == WEIGHT_ONE {
            self.by_role.remove(&node.role);
            self.roles.remove(key);
        }
    }
}

/// Whether a framework stands in the order of its role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Listing {
    /// It may be offered something.
    In,
    /// It may not.
    Out,
}

impl RoleNode {
    fn place(&self, key: RoleKey) -> Place<RoleKey> {
        self.account.place(&self.name, key)
    }
}

impl LeafNode {
    fn place(&self, key: FrameworkKey) -> Place<FrameworkKey> {
        self.account.place(&self.name, key)
    }
}

impl Account {
    fn place<K>(&self, name: &Arc<str>, key: K) -> Place<K> {
        Place {
            share: self.share,
            grants: self.grants,
            name: name.clone(),
            key,
        }
    }

    fn enter(&mut self, entry: Entry, amount: &Sums) {
        match entry {
            Entry::Add => {
                self.held.add(amount);
                self.grants += 1;
            }
            Entry::Take => self.held.subtract(amount),
        }
    }
}

/// What shares are measured against.
struct Shares<'a> {
    total: &'a Sums,
    excluded: &'a [String],
}

impl Shares<'_> {
    fn of(&self, held: &Sums, weight: Milli) -> Share {
        let weight = weight.thousandths().max(1).unsigned_abs();
        Share(self.dominant(held, 1_000 << SHARE_BITS, weight))
    }

    /// Returns the largest `held / total` over all names (AL-15), times `unit`, over `weight`.
    fn dominant(&self, held: &Sums, unit: u128, weight: u64) -> u64 {
        held.iter()
            .filter(|(name, _)| !self.excluded.iter().any(|excluded| excluded == *name))
            .filter_map(|(name, held)| {
                let total = self.total.amount(name).min(MOST);
                let share = (held.min(MOST) * unit).checked_div(total * u128::from(weight))?;
                Some(u64::try_from(share).unwrap_or(u64::MAX))
            })
            .max()
            .unwrap_or(0)
    }
}

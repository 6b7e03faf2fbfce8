//! What quota counts: guarantees, limits, consumption and headroom, at every level.
//!
//! Each node of the tree has [`Books`]. A role consumes what is reserved to it and below, in use or
//! not, and what of the unreserved its frameworks hold (AL-23). Its *unmet* guarantee is what it
//! lacks; what it *requires* is the greater of that and of what the roles below it require
//! together, since what serves a child serves its parent as well. So nothing is kept free twice
//! (AL-24). And it never requires more than its limit leaves: what it could not have anyway would
//! lie idle.
//!
//! A grant to a role is *covered* as far as it lessens what is required in all. Beyond that it
//! takes from the surplus: what is free less what is required. And it respects the limits of the
//! role and of all above it.
//!
//! Deliberately not here: which grants are made, and what is free.

use alloc::boxed::Box;
use alloc::collections::BTreeSet;

use super::columns::{COLUMNS, Columns, Row};
use super::tree::{NodeId, ROOT, Sign, Tree};
use crate::mutant::{Mutant, planted};
use crate::quota::Quota;
use crate::roles::Role;

/// What is counted for a node.
#[derive(Debug, Default)]
pub(super) struct Books {
    /// All scalars offered or in use: what shares go by.
    pub(super) held: Row,
    /// What of it quota counts.
    pub(super) taken: Row,
    /// What is reserved to it and below, in use or not.
    pub(super) reserved: Row,
    /// What must be kept free for it.
    pub(super) required: Row,
    /// What must be kept free for its children, all together.
    below: Row,
    set: Option<Box<SetQuota>>,
}

#[derive(Debug)]
struct SetQuota {
    given: Quota,
    guarantee: Row,
    limit: Bounds,
    /// Beyond so many columns nothing is limited.
    columns: usize,
}

/// How many nodes have quota.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Quotas {
    all: usize,
    /// How many have a guarantee.
    pub(super) guarantees: usize,
    /// How many limit a column.
    limits: [usize; COLUMNS],
}

impl Quotas {
    fn add(&mut self, set: &SetQuota) {
        self.all += 1;
        self.guarantees += usize::from(set.has_guarantee());
        set.limited().for_each(|column| self.limits[column] += 1);
    }

    fn remove(&mut self, set: &SetQuota) {
        self.all -= 1;
        self.guarantees -= usize::from(set.has_guarantee());
        set.limited().for_each(|column| self.limits[column] -= 1);
    }
}

/// The most by column; what has no bound has [`i128::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds([i128; COLUMNS]);

impl Bounds {
    /// No bounds.
    pub(super) const NONE: Self = Self([i128::MAX; COLUMNS]);

    /// Returns the bound of a column, never below zero.
    pub(super) const fn at(&self, column: usize) -> i128 {
        let bound = self.0[column];
        if bound < 0 { 0 } else { bound }
    }

    /// Lowers the bound of a column.
    pub(super) fn lower(&mut self, column: usize, to: i128) {
        self.0[column] = self.0[column].min(to);
    }

    /// Takes from the bound of a column what was used of it.
    pub(super) fn spend(&mut self, column: usize, amount: i128) {
        if self.0[column] != i128::MAX {
            self.0[column] -= amount;
        }
    }

    /// Returns whether no amount is above its bound.
    pub(super) fn admit(&self, row: &Row) -> bool {
        row.iter().all(|(column, amount)| amount <= self.at(column))
    }
}

impl Books {
    /// Returns what counts against the quota (RQ-21).
    pub(super) fn consumed(&self) -> Row {
        let mut consumed = self.reserved;
        consumed.add(&self.taken);
        consumed
    }

    /// Returns whether they keep a role that is otherwise unused.
    pub(super) fn keeps(&self) -> bool {
        self.set.is_some() || !self.reserved.is_zero()
    }

    pub(super) const fn has_quota(&self) -> bool {
        self.set.is_some()
    }

    fn requires(&self) -> Row {
        let Some(set) = &self.set else {
            return self.below;
        };
        let consumed = self.consumed();
        let mut required = self.unbounded(set, &consumed);
        for column in set.limited() {
            let room = (set.limit.0[column] - consumed.at(column)).max(0);
            required.set(column, required.at(column).min(room));
        }
        required
    }

    /// What is missing to the guarantee, or to those below it, whatever the limit is.
    fn unbounded(&self, set: &SetQuota, consumed: &Row) -> Row {
        consumed.missing_to(&set.guarantee).max(&self.below)
    }
}

impl SetQuota {
    fn new(given: Quota, columns: &Columns) -> Self {
        let mut set = Self {
            guarantee: Row::ZERO,
            limit: Bounds::NONE,
            columns: 0,
            given,
        };
        for (name, amount) in set.given.guarantees.iter() {
            if let Some(column) = columns.find(name) {
                // Names that share a column are promised together.
                let amount = i128::from(amount.thousandths());
                set.guarantee.add_at(column, amount);
            }
        }
        for (name, amount) in set.given.limits.iter() {
            if let Some(column) = columns.find(name) {
                set.limit.lower(column, i128::from(amount.thousandths()));
                set.columns = set.columns.max(column + 1);
            }
        }
        set
    }

    fn has_guarantee(&self) -> bool {
        !self.guarantee.is_zero()
    }

    /// Returns the columns that it limits.
    fn limited(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.columns).filter(|column| self.limit.0[*column] != i128::MAX)
    }

    fn names(&self) -> impl Iterator<Item = &str> + '_ {
        let (guarantees, limits) = (self.given.guarantees.iter(), self.given.limits.iter());
        guarantees.chain(limits).map(|(name, _)| name)
    }
}

impl Tree {
    /// Sets the quota of a role. Names without a column are to be given one, and all to be counted
    /// anew.
    pub(super) fn set_quota(&mut self, role: &Role, quota: Quota, columns: &Columns) {
        let node = self.intern(role);
        let is_default = quota.is_default();
        let set = SetQuota::new(quota, columns);
        let books = &mut self.books[node.at()];
        if let Some(before) = &books.set {
            self.quotas.remove(before);
        }
        books.set = (!is_default).then(|| Box::new(set));
        if let Some(after) = &books.set {
            self.quotas.add(after);
        }
        self.require_upwards(node);
        self.prune(node);
    }

    /// Returns the names in all quotas.
    pub(super) fn quota_names(&self) -> BTreeSet<&str> {
        let sets = self.books.iter().filter_map(|books| books.set.as_ref());
        sets.flat_map(|set| set.names()).collect()
    }

    /// Forgets all amounts, to be counted anew by other columns. What is required follows with
    /// [`Tree::require_all`].
    pub(super) fn uncount(&mut self, columns: &Columns) {
        self.total = Row::ZERO;
        self.stale = true;
        self.quotas = Quotas::default();
        for books in &mut self.books {
            let set = books.set.take();
            let set = set.map(|set| Box::new(SetQuota::new(set.given, columns)));
            if let Some(set) = &set {
                self.quotas.add(set);
            }
            *books = Books {
                set,
                ..Books::default()
            };
        }
    }

    /// Counts a part of what a leaf holds as nobody's for a while, or as held again. The order by
    /// share stays as it is.
    pub(super) fn lend(&mut self, leaf: NodeId, sign: Sign, open: &Row) {
        let (mut at, mut requires_other) = (leaf, false);
        while at != ROOT {
            let books = &mut self.books[at.at()];
            match sign {
                Sign::Add => books.taken.add(open),
                Sign::Take => books.taken.subtract(open),
            }
            if self.quotas.guarantees > 0 && (requires_other || self.books[at.at()].has_quota()) {
                requires_other = self.require(at);
            }
            at = self.node(at).parent;
        }
    }

    /// Counts what a leaf holds, which is no grant.
    pub(super) fn recount(&mut self, leaf: NodeId, all: &Row, open: &Row) {
        let mut at = leaf;
        while at != ROOT {
            let books = &mut self.books[at.at()];
            books.held.add(all);
            books.taken.add(open);
            at = self.node(at).parent;
        }
    }

    /// Brings what is required of all nodes up to date.
    pub(super) fn require_all(&mut self) {
        for at in 0..self.nodes.len() {
            if self.books[at].has_quota() {
                self.require_upwards(self.id(at));
            }
        }
    }

    /// Returns the quota that a role was given.
    pub(super) fn quota(&self, node: NodeId) -> Quota {
        let set = self.books[node.at()].set.as_ref();
        set.map(|set| set.given.clone()).unwrap_or_default()
    }

    /// Counts what agents have reserved to a role, or no longer.
    pub(super) fn reserve(&mut self, role: &Role, sign: Sign, row: &Row) {
        if row.is_zero() {
            return;
        }
        let node = self.intern(role);
        let mut at = node;
        while at != ROOT {
            let books = &mut self.books[at.at()];
            match sign {
                Sign::Add => books.reserved.add(row),
                Sign::Take => books.reserved.subtract(row),
            }
            at = self.node(at).parent;
        }
        self.require_upwards(node);
        self.prune(node);
    }

    fn require_upwards(&mut self, from: NodeId) {
        let mut at = from;
        while at != ROOT {
            let _changed = self.require(at);
            at = self.node(at).parent;
        }
    }

    /// Brings what a node requires up to date, and what its parent needs for its children.
    /// Returns whether it changed.
    pub(super) fn require(&mut self, id: NodeId) -> bool {
        let after = self.books[id.at()].requires();
        let before = core::mem::replace(&mut self.books[id.at()].required, after);
        if before == after {
            return false;
        }
        self.promises = self.promises.wrapping_add(1);
        let below = &mut self.books[self.nodes[id.at()].parent.at()].below;
        below.subtract(&before);
        below.add(&after);
        true
    }

    /// Returns what must be kept free in all (AL-24).
    pub(super) fn required_headroom(&self) -> &Row {
        &self.books[ROOT.at()].below
    }

    /// Returns whether something must be kept free for the branch that begins at a node; of nodes
    /// further down that is not told.
    pub(super) fn may_have_unmet(&self, node: NodeId) -> bool {
        self.node(node).parent != ROOT || !self.books[node.at()].required.is_empty()
    }

    /// Returns whether any role has quota.
    pub(super) const fn has_quota(&self) -> bool {
        self.quotas.all > 0
    }

    /// Returns how much of a grant to a role lessens what is required in all.
    ///
    /// Where a limit leaves less than roles below it are promised, whoever of them comes first is
    /// covered; others, who are promised nothing there, are not.
    pub(super) fn covered(&self, role: NodeId) -> Row {
        let mut covered = Row::ZERO;
        for at in self.upwards(role) {
            if at != role && planted(Mutant::PromiseKeptFromAll) {
                break;
            }
            let books = &self.books[at.at()];
            // Nothing is promised here but what is further down.
            let Some(set) = &books.set else {
                continue;
            };
            if set.columns == 0 {
                covered.add(&books.required);
            } else {
                covered.add(&books.unbounded(set, &books.consumed()));
            }
            covered.subtract(&books.below);
            covered = covered.min(&books.required);
        }
        covered
    }

    /// Returns what the limits of a role, and of all above it, leave (AL-30); `None` if none of
    /// them has any.
    pub(super) fn limit(&self, role: NodeId) -> Option<Bounds> {
        let mut bounds = None;
        for at in self.upwards(role) {
            if self.books[at.at()].has_quota() {
                self.lower_to_limit(at, bounds.get_or_insert(Bounds::NONE));
            }
        }
        bounds
    }

    /// Returns whether a limit of some role, or what is kept free, bounds one of these columns.
    pub(super) fn bounds_any(&self, columns: &[usize]) -> bool {
        let required = self.required_headroom();
        let mut columns = columns.iter();
        columns.any(|column| required.at(*column) > 0 || self.quotas.limits[*column] > 0)
    }

    /// Lowers bounds to what the limit of this very role leaves.
    pub(super) fn lower_to_limit(&self, node: NodeId, bounds: &mut Bounds) {
        let books = &self.books[node.at()];
        let Some(set) = &books.set else {
            return;
        };
        for column in set.limited() {
            let mut consumed = books.reserved.at(column) + books.taken.at(column);
            if planted(Mutant::QuotaOffByOne) {
                consumed -= 1;
            }
            bounds.lower(column, set.limit.0[column] - consumed);
        }
    }

    /// Returns how much more a role consumes than its limit allows; no more than zero where it
    /// does not.
    pub(super) fn excess(&self, node: NodeId) -> Row {
        let mut excess = Row::ZERO;
        if let Some(set) = &self.books[node.at()].set {
            for (column, consumed) in self.books[node.at()].consumed().iter() {
                if set.limit.0[column] != i128::MAX {
                    excess.set(column, (consumed - set.limit.0[column]).max(0));
                }
            }
        }
        excess
    }

    /// Returns whether a role keeps its guarantee without something that it holds.
    pub(super) fn can_lose(&self, node: NodeId, lost: &Row) -> bool {
        let books = &self.books[node.at()];
        let Some(set) = &books.set else {
            return true;
        };
        let mut left = books.consumed();
        left.subtract(lost);
        let mut guarantees = set.guarantee.iter();
        guarantees.all(|(column, least)| lost.at(column) == 0 || left.at(column) >= least)
    }

    /// Checks every account against those below it: `held` and `reserved` are what leaves hold, and
    /// what is reserved to a role itself.
    pub(super) fn check_books(&self, of: impl Fn(NodeId) -> (Row, Row, Row)) {
        let mut quotas = Quotas::default();
        let sets = self.books.iter().filter_map(|books| books.set.as_ref());
        sets.for_each(|set| quotas.add(set));
        assert_eq!(self.quotas, quotas, "how many have quota");
        let mut sums: alloc::vec::Vec<_> = (0..self.nodes.len())
            .map(|_| (Row::ZERO, Row::ZERO, Row::ZERO, Row::ZERO))
            .collect();
        // Children come after their parents only if no slot was used twice, so go by depth.
        let mut order: alloc::vec::Vec<(usize, NodeId)> = (0..self.nodes.len())
            .filter(|at| self.nodes[*at].what != super::tree::What::Gone)
            .map(|at| (self.upwards(self.id(at)).count(), self.id(at)))
            .collect();
        order.sort_unstable_by(|a, b| b.cmp(a));
        for (_, id) in order {
            let (held, taken, reserved) = of(id);
            let sum = &mut sums[id.at()];
            sum.0.add(&held);
            sum.1.add(&taken);
            sum.2.add(&reserved);
            let (held, taken, reserved, below) = *sum;
            let books = &self.books[id.at()];
            let what = &self.node(id).what;
            assert_eq!(books.below, below, "what is kept free below {what:?}");
            if id == ROOT {
                continue;
            }
            assert_eq!(books.held, held, "what {what:?} holds");
            assert_eq!(books.taken, taken, "what {what:?} holds that quota counts");
            assert_eq!(books.reserved, reserved, "what is reserved to {what:?}");
            assert_eq!(books.required, books.requires(), "kept free for {what:?}");
            let parent = &mut sums[self.node(id).parent.at()];
            parent.0.add(&held);
            parent.1.add(&taken);
            parent.2.add(&reserved);
            parent.3.add(&books.required);
        }
    }
}

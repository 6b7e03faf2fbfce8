//! Which names have columns: when a new one comes, and when quota asks for one.
//!
//! Agents may have any names, and columns are few. So a name that nobody has any more makes room
//! for a new one, and a name on agents for one in quota, lest an agent keep quota from being
//! counted. Then everything is counted anew, which is rare: it takes the first quota on a name, or
//! a new name while all columns are taken. The latter is up to agents, so it is asked but once in a
//! while which columns are idle; names wait until then.
//!
//! Called before changes that bring names, and after all while names wait. Deliberately not here:
//! how rows are counted.

use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use super::columns::{Columns, Row};
use super::counted::Shapes;
use super::drf::Drf;
use crate::quota::Quota;
use crate::resources::{Resources, Value};
use crate::time::Time;

/// For how long columns keep the names that they were given last, and it is not asked again of one
/// that nobody has whether it is kept by a quota. A new name that comes before goes along uncounted
/// until the first change after that.
const TERM: Duration = Duration::from_secs(60);

impl Drf {
    /// Gives columns to new names of a bag, as long as there are some.
    pub(super) fn admit_names(&mut self, bag: &Resources) {
        self.names_wait |= !self.columns.intern_all(bag);
        self.exclude_values(bag);
    }

    /// Gives idle columns to names that wait for one, unless it was asked for such of late.
    pub(super) fn serve_names(&mut self) {
        let is_over = |asked: Time| asked + TERM <= self.now;
        if self.names_asked.is_none_or(is_over) {
            self.names_asked = Some(self.now);
            self.names_kept = 0;
        }
        let empty = self.columns.given();
        let empty = empty.filter(|(column, _)| self.tree.total.at(*column) == 0);
        let empty = empty.fold(0, |bits, (column, _)| bits | 1 << column);
        if empty & !self.names_kept == 0 {
            return;
        }
        self.names_kept |= empty;
        if self.has_idle_column() {
            self.names_asked = Some(self.now);
            self.names_kept = u32::MAX;
            self.count_anew();
        }
    }

    /// Sees to it that all that a quota names is counted, now that the tree knows it.
    pub(super) fn admit_quota(&mut self, quota: &Quota) {
        let guarantees = quota.guarantees.iter().map(|(name, _)| name);
        let mut names = guarantees.chain(quota.limits.iter().map(|(name, _)| name));
        if !names.all(|name| self.columns.counts_all(name)) {
            self.count_anew();
        }
    }

    /// Whether there is a column of a name that nobody has, and no quota asks for.
    fn has_idle_column(&mut self) -> bool {
        let of_quota = self.tree.quota_names();
        let mut held = Row::ZERO;
        for (role, node) in self.tree.roles() {
            self.scratch.passed = self.scratch.passed.wrapping_add(1);
            if !role.as_str().contains('/') {
                held.add(&self.tree.books[node.at()].held);
            }
        }
        self.columns.given().any(|(column, name)| {
            let is_there = self.tree.total.at(column) != 0 || held.at(column) != 0;
            !is_there && !of_quota.contains(name)
        })
    }

    /// Gives columns to those who need them most, and counts everything by these.
    fn count_anew(&mut self) {
        let mut names: BTreeSet<&str> = BTreeSet::new();
        let bags = self.ledger.iter().flat_map(|(_, agent)| agent.bags());
        for entry in bags.flatten() {
            if matches!(entry.value(), Value::Scalar(_)) {
                names.insert(entry.name());
            }
        }
        // Whoever has a column keeps it if possible.
        let known = self.columns.given();
        let known: Vec<String> = known
            .filter(|(_, name)| names.contains(name))
            .map(|(_, name)| String::from(name))
            .collect();
        let others = known.iter().map(String::as_str);
        let others = others.chain(names.iter().copied());
        self.columns.assign(&self.tree.quota_names(), others);
        self.names_wait = names.iter().any(|name| self.columns.find(name).is_none());
        self.count_all();
    }

    fn count_all(&mut self) {
        self.leasts.find_columns(&self.columns);
        self.shapes = Shapes::default();
        self.available = Row::ZERO;
        self.tree.uncount(&self.columns);
        for agent in self.ledger.iter_mut() {
            agent.count_by(&mut self.shapes, &self.columns);
            agent.recount(&mut self.available);
        }
        let leaves: Vec<_> = self.seats.iter().map(|(leaf, _)| leaf).collect();
        for leaf in leaves {
            self.seats.seat_mut(leaf).offered = Row::ZERO;
        }
        self.exclude_names();
        let agents: Vec<_> = self.ledger.iter().map(|(key, _)| key).collect();
        for key in agents {
            let agent = self.ledger.get(key).expect("it was just listed");
            let total = agent.total().clone();
            let holdings: Vec<_> = agent.holdings(&self.columns).collect();
            for (leaf, held) in holdings {
                let seat = self.seats.seat_mut(leaf);
                seat.offered.add(&held.offered);
                self.tree.recount(seat.node, &held.all, &held.open);
            }
            self.count_total(&Resources::new(), &total);
            self.exclude_values(&total);
        }
        self.tree.require_all();
        self.rank_anew();
        // Bounds go by columns: by other ones they may be others, though they look the same.
        self.look_again_at_all(self.now);
    }

    /// Leaves the names out of shares that options say, and those that share a column.
    fn exclude_names(&mut self) {
        self.tree.is_excluded.fill(false);
        let excluded = self.options.excluded.iter();
        let excluded = excluded.filter_map(|name| self.columns.find(name));
        for column in excluded.chain(self.columns.shared()) {
            self.tree.is_excluded[column] = true;
        }
    }

    /// Leaves names out of shares of which quota counts ranges or sets: shares are of scalars
    /// (AL-15).
    fn exclude_values(&mut self, bag: &Resources) {
        for entry in bag {
            let is_scalar = matches!(entry.value(), Value::Scalar(_));
            let Some((column, _)) = self.columns.place(entry).filter(|_| !is_scalar) else {
                continue;
            };
            if !Columns::is_always(column) && !self.tree.is_excluded[column] {
                self.tree.is_excluded[column] = true;
                self.tree.stale = true;
                self.rank_anew();
            }
        }
    }
}

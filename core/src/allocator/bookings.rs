//! What is used, accepted, returned and converted: who holds what, and who does not want it again.
//!
//! Called for changes of that kind. Deliberately not here: what becomes of what is free.

use alloc::borrow::Cow;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use tracing::debug;

use super::changes::{following_multiple, rescind};
use super::columns::Row;
use super::counted::Counted;
use super::drf::{Drf, Lease};
use super::holding::{Held, Origin, open, single};
use super::seats::LeafId;
use super::tree::Sign;
use super::want::Unused;
use super::{Decision, GrantIds, RescindReason};
use crate::keys::{AgentKey, FrameworkKey};
use crate::machine::{Never, Outbox};
use crate::mutant::{Mutant, planted};
use crate::resources::{Quantities, Resource, Resources};
use crate::roles::Role;
use crate::time::Time;

impl Drf {
    pub(super) fn on_used(
        &mut self,
        framework: FrameworkKey,
        role: &Role,
        key: AgentKey,
        resources: &Resources,
        out: &mut Outbox<Never, Decision>,
    ) {
        if resources.is_empty() {
            return;
        }
        if self.ledger.get(key).is_none() {
            return debug!(agent = ?key, %resources, "use on an unknown agent is ignored");
        }
        self.admit_names(resources);
        // In use is in use, even by a framework that has not come back yet.
        let leaf = self.track(framework, role);
        let agent = self.ledger.get_mut(key).expect("it was just looked at");
        let all = self.columns.row(&agent.counted(leaf, resources));
        let is_new = agent.occupy(leaf, resources, &self.columns);
        self.seats.seat_mut(leaf).agents += usize::from(is_new);
        let open = open(resources, &self.columns);
        let node = self.seats.seat(leaf).node;
        self.tree.book(node, Sign::Add, &all, &open);
        self.recount(key);
        // Of less, somebody may want what is left: by its constraints, or for another shape.
        self.mark(self.now, key.index() as usize);
        self.rescind_if_overbooked(key, out);
    }

    pub(super) fn on_accepted(
        &mut self,
        framework: FrameworkKey,
        role: &Role,
        key: AgentKey,
        grants: &GrantIds,
        resources: &Resources,
        out: &mut Outbox<Never, Decision>,
    ) {
        if resources.is_empty() {
            return;
        }
        let leaf = self.leaf(framework, role);
        let Some(agent) = self.ledger.get_mut(key) else {
            return debug!(agent = ?key, %resources, "an accept on an unknown agent is ignored");
        };
        let accepted = leaf.and_then(|leaf| {
            let (span, taken) = agent.accept(leaf, grants, resources, &self.columns)?;
            Some((leaf, span, taken))
        });
        match accepted {
            Some((leaf, span, taken)) => {
                let row = self.columns.row(&taken);
                self.seats.seat_mut(leaf).offered.subtract(&row);
                self.note_accepted(leaf, key, span, &taken);
                if let Cow::Owned(_) = taken {
                    self.share(key);
                }
            }
            None => {
                debug!(agent = ?key, ?framework, %resources, "accepted, though it was not offered");
                self.on_used(framework, role, key, resources, out);
            }
        }
    }

    /// Has an agent of which a shared volume was taken into use looked at again, for others may
    /// have it as well: once in an interval, since that takes nothing from anybody and could go on
    /// forever (AL-31).
    fn share(&mut self, key: AgentKey) {
        self.recount(key);
        self.shared_again.insert(key.index() as usize);
        let next = following_multiple(self.now, self.options.interval);
        self.recheck.get_or_insert(next);
    }

    /// Frees what is left of grants, or else in use. Returns how it was held.
    pub(super) fn on_returned(
        &mut self,
        framework: FrameworkKey,
        role: &Role,
        key: AgentKey,
        grants: Option<&GrantIds>,
        resources: &Resources,
    ) -> Option<Origin> {
        if resources.is_empty() {
            return None;
        }
        let leaf = self.leaf(framework, role);
        let released = leaf.and_then(|leaf| {
            let agent = self.ledger.get_mut(key)?;
            Some((leaf, agent.release(leaf, grants, resources, &self.columns)?))
        });
        let Some((leaf, release)) = released else {
            debug!(agent = ?key, ?framework, %resources, "returned, though it is not held");
            return None;
        };
        let part;
        let (all, opened) = match &release.whole {
            Some(whole) => (&whole.all, whole.open()),
            None => {
                let all = self.columns.row(resources);
                part = (all, open(resources, &self.columns));
                (&part.0, &part.1)
            }
        };
        let agent = self.ledger.get(key).expect("it was just written to");
        // A shared volume that it holds still counts once (AL-15).
        let counted = match agent.counted(leaf, resources) {
            Cow::Borrowed(_) => None,
            Cow::Owned(counted) => Some(self.columns.row(&counted)),
        };
        self.take(leaf, counted.as_ref().unwrap_or(all), opened);
        if let Some(span) = release.span {
            self.seats.seat_mut(leaf).offered.subtract(all);
            self.note_unused(leaf, key, &Unused { span, resources });
        }
        self.recount(key);
        if release.was_last {
            self.forget_place(leaf);
        }
        Some(release.origin)
    }

    pub(super) fn on_freed(
        &mut self,
        now: Time,
        framework: FrameworkKey,
        role: &Role,
        key: AgentKey,
        resources: &Resources,
    ) {
        let freed = self.on_returned(framework, role, key, None, resources);
        if freed.is_some() && !planted(Mutant::FreedUnnoticed) {
            self.mark(now, key.index() as usize);
        }
    }

    /// Has all agents looked at again for a leaf that wants something again, however much of it
    /// comes back at a moment: between two slices no interest is lost.
    pub(super) fn want_again(&mut self, leaf: LeafId) {
        if self.relisted.insert(leaf) {
            self.relist(leaf);
        }
        self.mark_all(self.now);
    }

    /// Notes that a framework does not want again what it returned, if that is so.
    #[expect(clippy::too_many_arguments, reason = "the fields of one change")]
    pub(super) fn refuse(
        &mut self,
        now: Time,
        framework: FrameworkKey,
        role: &Role,
        agent: AgentKey,
        refused: &Resources,
        origin: Origin,
        refuse: Option<Duration>,
    ) {
        let interval = self.options.interval;
        let until = match refuse.filter(|refuse| !refuse.is_zero()) {
            Some(refuse) => following_multiple(now + refuse.max(interval), interval),
            None => match origin {
                Origin::Untouched | Origin::Expired => now + interval,
                Origin::Leftover | Origin::Rescinded | Origin::Used => return,
            },
        };
        let Some(leaf) = self.leaf(framework, role) else {
            return;
        };
        let seat = self.seats.seat(leaf);
        if seat.wish.is_some() && self.seats.framework(framework).active {
            self.filters
                .refuse(agent.index(), seat.refuser, refused, until);
            self.make_room(now);
        }
    }

    /// Has refusals that there is no room for end, though not at this very moment.
    pub(super) fn make_room(&mut self, now: Time) {
        if self.filters.is_crowded() {
            let soon = following_multiple(now, self.options.interval);
            self.filters.make_room(soon);
        }
    }

    pub(super) fn on_converted(
        &mut self,
        framework: FrameworkKey,
        role: &Role,
        key: AgentKey,
        grants: &GrantIds,
        before: &Resources,
        after: &Resources,
    ) {
        let leaf = self.leaf(framework, role);
        self.admit_names(after);
        // A shared volume counts once, however many copies there are: so all is counted (AL-15).
        let is_shared = before.iter().chain(after).any(Resource::is_shared);
        let held = leaf.filter(|_| is_shared).map(|leaf| self.held(leaf, key));
        let known = self.ledger.get(key).map(|agent| agent.total().clone());
        let converted = leaf.zip(known).and_then(|(leaf, known)| {
            let agent = self.ledger.get_mut(key)?;
            let span = agent.convert(leaf, grants, before, after, &self.columns)?;
            Some((leaf, span, known))
        });
        let Some((leaf, span, known)) = converted else {
            return debug!(agent = ?key, ?framework, %before, "converted, though it is not offered");
        };
        let (had, has) = match held {
            Some(had) => (had, self.held(leaf, key)),
            None => (self.count(before), self.count(after)),
        };
        self.seats.tally(leaf, |tally| {
            tally.subtract(before);
            tally.add(after);
        });
        let seat = self.seats.seat_mut(leaf);
        seat.offered.subtract(&had.offered);
        seat.offered.add(&has.offered);
        if let Some(want) = &mut seat.want {
            want.convert(key, span, before, after);
        }
        let node = seat.node;
        // No grant, but the same one as something else: it counts once.
        self.tree
            .convert(node, (&had.all, &had.open), (&has.all, &has.open));
        self.count_total(before, after);
        self.unbar_if_changed(key, &known);
        self.recount(key);
        self.mark(self.now, key.index() as usize);
        if after.is_empty() {
            // What became nothing is not answered any more.
            self.settle(leaf, key);
        }
        if !self.ledger.get(key).is_some_and(|it| it.is_held_by(leaf)) {
            self.forget_place(leaf);
        }
    }

    /// Counts what a leaf holds on an agent.
    fn held(&self, leaf: LeafId, key: AgentKey) -> Held {
        let agent = self.ledger.get(key);
        let mut all = agent.into_iter().flat_map(|it| it.holdings(&self.columns));
        let own = all.find(|(holder, _)| *holder == leaf);
        own.map_or_else(Held::default, |(_, held)| held)
    }

    /// Counts something that is granted, and is no shared volume.
    fn count(&self, bag: &Resources) -> Held {
        let all = self.columns.row(bag);
        Held {
            all,
            open: open(bag, &self.columns),
            offered: all,
        }
    }

    /// Forgets who is barred from an agent, if it does not have as much in all as before, which
    /// some go by (AL-12, OF-42). A copy more of a shared volume is none.
    fn unbar_if_changed(&mut self, key: AgentKey, before: &Resources) {
        let agent = self.ledger.get(key);
        if agent.is_some_and(|it| Quantities::from(it.total()) != Quantities::from(before)) {
            self.interest.unbar_agent(key.index() as usize);
        }
    }

    pub(super) fn on_free_converted(
        &mut self,
        now: Time,
        key: AgentKey,
        before: &Resources,
        after: &Resources,
        out: &mut Outbox<Never, Decision>,
    ) {
        let Some(agent) = self.ledger.get(key) else {
            return debug!(agent = ?key, "a conversion on an unknown agent is ignored");
        };
        let Ok(mut total) = agent.total().checked_sub(before) else {
            return debug!(agent = ?key, %before, "converted, though the agent does not have it");
        };
        if let Err(error) = total.add(after) {
            return debug!(agent = ?key, %error, "more than can be counted");
        }
        self.admit_names(after);
        let agent = self.ledger.get_mut(key);
        let agent = agent.expect("it was just looked at");
        let total = Arc::new(Counted::new(single(total), &self.columns));
        let known = agent.total().clone();
        agent.set_total(Arc::clone(&total), &self.columns);
        // Not what is said to change: another copy of a shared volume adds nothing.
        self.count_total(&known, &total.bag);
        self.unbar_if_changed(key, &known);
        self.recount(key);
        self.rescind_if_overbooked(key, out);
        self.mark(now, key.index() as usize);
    }

    /// Remembers when a grant expires. From time to time forgets those that are over already: most
    /// are answered long before.
    pub(super) fn hold_lease(&mut self, lease: Lease) {
        if self.leases.len() >= self.most_leases {
            let (seats, ledger) = (&self.seats, &self.ledger);
            self.leases.retain(|lease| {
                let leaf = seats.find(lease.framework, lease.role);
                let agent = ledger.get(lease.agent);
                let held = leaf.zip(agent);
                held.is_some_and(|(leaf, agent)| agent.is_outstanding(leaf, lease.grant))
            });
            self.most_leases = 1_024 + 2 * self.leases.len();
        }
        self.leases.push_back(lease);
    }

    /// Takes back what was not answered in time, or as much of it as fits into a slice.
    pub(super) fn expire_leases(&mut self, now: Time, out: &mut Outbox<Never, Decision>) {
        for _ in 0..self.options.agents_per_slice {
            let due = self.leases.front().filter(|lease| lease.until <= now);
            let Some(lease) = due.copied() else {
                return;
            };
            self.leases.pop_front();
            let Some(leaf) = self.seats.find(lease.framework, lease.role) else {
                continue;
            };
            let agent = self.ledger.get_mut(lease.agent);
            let grants = agent.map_or_else(Vec::new, |it| it.expire(leaf, lease.grant));
            rescind(grants, RescindReason::Expired, out);
        }
    }

    /// Takes what a leaf does not hold any more out of the accounts.
    pub(super) fn take(&mut self, leaf: LeafId, all: &Row, open: &Row) {
        if planted(Mutant::SharesLeak) {
            return;
        }
        let node = self.seats.seat(leaf).node;
        self.tree.book(node, Sign::Take, all, open);
    }

    /// Notes that a leaf holds nothing any more on one agent.
    pub(super) fn forget_place(&mut self, leaf: LeafId) {
        self.seats.seat_mut(leaf).agents -= 1;
        self.untrack_if_idle(leaf);
    }
}

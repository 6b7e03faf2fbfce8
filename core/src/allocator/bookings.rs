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
use super::drf::{DemandRule, Drf, Lease};
use super::holding::{Origin, open};
use super::seats::LeafId;
use super::tree::Sign;
use super::{Booking, Decision, RescindReason};
use crate::keys::{AgentKey, FrameworkKey};
use crate::machine::{Never, Outbox};
use crate::resources::Resources;
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
        match agent.occupy(leaf, resources, &self.columns) {
            Ok(is_new) => self.seats.seat_mut(leaf).agents += usize::from(is_new),
            Err(error) => {
                debug!(agent = ?key, %resources, %error, "more in use than can be counted");
                return self.untrack_if_idle(leaf);
            }
        }
        let open = open(resources, &self.columns);
        let node = self.seats.seat(leaf).node;
        self.tree.book(node, Sign::Add, &all, &open);
        self.recount(key);
        self.rescind_if_overbooked(key, out);
    }

    pub(super) fn on_accepted(
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
        let leaf = self.leaf(framework, role);
        let Some(agent) = self.ledger.get_mut(key) else {
            return debug!(agent = ?key, %resources, "an accept on an unknown agent is ignored");
        };
        let accepted = leaf.and_then(|leaf| {
            let taken = agent.accept(leaf, resources, &self.columns)?;
            Some((leaf, taken))
        });
        match accepted {
            Some((leaf, taken)) => {
                let row = self.columns.row(&taken);
                self.seats.seat_mut(leaf).offered.subtract(&row);
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
        self.held_back.insert(key.index() as usize);
        let next = following_multiple(self.now, self.options.interval);
        self.recheck.get_or_insert(next);
    }

    pub(super) fn on_returned(
        &mut self,
        framework: FrameworkKey,
        role: &Role,
        key: AgentKey,
        resources: &Resources,
        from: Booking,
    ) -> Option<Origin> {
        if resources.is_empty() {
            return None;
        }
        let leaf = self.leaf(framework, role);
        let released = leaf.and_then(|leaf| {
            let agent = self.ledger.get_mut(key)?;
            Some((leaf, agent.release(leaf, resources, from, &self.columns)?))
        });
        let Some((leaf, release)) = released else {
            debug!(agent = ?key, ?framework, %resources, "returned, though it is not held");
            return None;
        };
        let all = self.columns.row(resources);
        let agent = self.ledger.get(key).expect("it was just written to");
        let counted = self.columns.row(&agent.counted(leaf, resources));
        self.take(leaf, &counted, &open(resources, &self.columns));
        match from {
            Booking::Offered => {
                let seat = self.seats.seat_mut(leaf);
                seat.offered.subtract(&all);
                if let Some(want) = &mut seat.want {
                    want.give_back(resources);
                    if self.options.demands == DemandRule::Honoured {
                        self.relist(leaf);
                        self.mark_all(self.now);
                    }
                }
            }
            Booking::Allocated => {}
        }
        self.recount(key);
        if release.was_last {
            self.forget_place(leaf);
        }
        Some(release.origin)
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
        }
    }

    pub(super) fn on_converted(
        &mut self,
        now: Time,
        framework: FrameworkKey,
        role: &Role,
        key: AgentKey,
        before: &Resources,
        after: &Resources,
    ) {
        let leaf = self.leaf(framework, role);
        self.admit_names(after);
        let converted = leaf.filter(|leaf| {
            let agent = self.ledger.get_mut(key);
            agent.is_some_and(|agent| agent.convert(*leaf, before, after, &self.columns))
        });
        let Some(leaf) = converted else {
            return debug!(agent = ?key, ?framework, %before, "converted, though it is not offered");
        };
        let rows = (self.columns.row(before), self.columns.row(after));
        let seat = self.seats.seat_mut(leaf);
        seat.offered.subtract(&rows.0);
        seat.offered.add(&rows.1);
        let node = seat.node;
        // No grant, but the same one as something else: it counts once.
        self.tree.convert(
            node,
            (&rows.0, &open(before, &self.columns)),
            (&rows.1, &open(after, &self.columns)),
        );
        self.count_total(before, after);
        self.recount(key);
        self.mark(now, key.index() as usize);
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
        let total = Arc::new(Counted::new(total, &self.columns));
        agent.set_total(total, &self.columns);
        self.count_total(before, after);
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

    /// Takes back what was not answered in time.
    pub(super) fn expire_leases(&mut self, now: Time, out: &mut Outbox<Never, Decision>) {
        while let Some(lease) = self.leases.front().copied()
            && lease.until <= now
        {
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
        let node = self.seats.seat(leaf).node;
        self.tree.book(node, Sign::Take, all, open);
    }

    /// Notes that a leaf holds nothing any more on one agent.
    pub(super) fn forget_place(&mut self, leaf: LeafId) {
        self.seats.seat_mut(leaf).agents -= 1;
        self.untrack_if_idle(leaf);
    }
}

//! Frameworks: who they are, what they want, and the leaves that stand for them.
//!
//! Called for changes of that kind. Deliberately not here: what they hold.

use alloc::sync::Arc;
use alloc::vec::Vec;

use tracing::debug;

use super::changes::rescind;
use super::columns::Row;
use super::drf::{DemandRule, Drf};
use super::profile::{FrameworkCapabilities, FrameworkProfile, Subscription, SubscriptionState};
use super::seats::{Framework, LeafId, Seat, Wish};
use super::tally::Tally;
use super::tree::Listing;
use super::want::Want;
use super::worth::Least;
use super::{Decision, RescindReason};
use crate::demand::Demand;
use crate::keys::{AgentKey, FrameworkKey};
use crate::machine::{Never, Outbox};
use crate::mutant::{Mutant, planted};
use crate::roles::Role;
use crate::time::Time;

impl Drf {
    pub(super) fn on_framework_added(
        &mut self,
        now: Time,
        key: FrameworkKey,
        profile: FrameworkProfile,
        out: &mut Outbox<Never, Decision>,
    ) {
        let row = self.framework_row(key);
        row.joined = true;
        row.active = true;
        self.on_framework_changed(now, key, profile, out);
    }

    pub(super) fn on_framework_changed(
        &mut self,
        now: Time,
        key: FrameworkKey,
        profile: FrameworkProfile,
        out: &mut Outbox<Never, Decision>,
    ) {
        let known = self.seats.frameworks.get(&key);
        if !known.is_some_and(|it| it.joined) {
            return debug!(framework = ?key, "a change of an unknown framework is ignored");
        }
        let row = self.framework_row(key);
        row.capabilities = profile.capabilities;
        let name: Arc<str> = Arc::from(profile.name);
        let renamed = core::mem::replace(&mut row.name, Arc::clone(&name)) != name;
        let before = row.seats.clone();
        let mut kept = Vec::new();
        for subscription in profile.roles {
            kept.push(self.subscribe(key, subscription));
        }
        for leaf in before {
            if renamed {
                self.tree.rename(self.seats.seat(leaf).node, &name);
            }
            if !kept.contains(&leaf) {
                self.unsubscribe(leaf, out);
            }
        }
        self.list(key);
        self.mark_all(now);
    }

    /// Gives a framework what it wants in a role, instead of what it wanted.
    fn subscribe(&mut self, key: FrameworkKey, subscription: Subscription) -> LeafId {
        let leaf = self.track(key, &subscription.role);
        self.interest.unbar_leaf(leaf);
        self.breeds.unbar(leaf);
        let _before = self.unwish(leaf);
        let least = subscription.min_allocatable.as_ref();
        let least = least.map(|sets| Least::new(sets, &self.columns));
        let least = self.leasts.join(leaf, least);
        let wish = Wish::new(subscription, least);
        self.interest.note(leaf, wish.choice());
        self.seats.seat_mut(leaf).wish = Some(wish);
        // It has to be listed anew, for other reasons may count for it now. It waits on meanwhile.
        self.hide(leaf);
        leaf
    }

    /// A framework left a role. What it uses stays charged to it.
    fn unsubscribe(&mut self, leaf: LeafId, out: &mut Outbox<Never, Decision>) {
        if self.unwish(leaf).is_none() {
            return;
        }
        self.seats.seat_mut(leaf).want = None;
        self.forget_refusals(leaf);
        self.unlist(leaf);
        for agent in self.ledger.iter_mut() {
            rescind(agent.rescind(|it| it == leaf), RescindReason::Role, out);
        }
        self.untrack_if_idle(leaf);
    }

    /// Forgets what a leaf wants.
    fn unwish(&mut self, leaf: LeafId) -> Option<Wish> {
        let wish = self.seats.seat_mut(leaf).wish.take()?;
        self.leasts.part(leaf, wish.least);
        Some(wish)
    }

    pub(super) fn on_framework_removed(&mut self, now: Time, key: FrameworkKey) {
        let Some(row) = self.seats.frameworks.get_mut(&key) else {
            return debug!(framework = ?key, "the removal of a framework that never joined");
        };
        row.joined = false;
        for leaf in row.seats.clone() {
            self.evict(now, leaf);
            self.unlist(leaf);
            let _wish = self.unwish(leaf);
            self.untrack_if_idle(leaf);
        }
        self.seats.frameworks.remove(&key);
    }

    /// Takes all that a leaf holds away from it.
    fn evict(&mut self, now: Time, leaf: LeafId) {
        if self.seats.seat(leaf).agents == 0 {
            return;
        }
        let mut freed: Vec<AgentKey> = Vec::new();
        let mut all = Vec::new();
        for agent in self.ledger.iter_mut() {
            if let Some(held) = agent.evict(leaf, &self.columns) {
                freed.push(agent.key);
                all.push(held);
            }
        }
        for held in all {
            self.take(leaf, &held.all, &held.open);
        }
        self.seats.untally(leaf);
        let seat = self.seats.seat_mut(leaf);
        seat.agents = 0;
        seat.offered = Row::ZERO;
        for key in freed {
            self.recount(key);
            self.mark(now, key.index() as usize);
        }
    }

    pub(super) fn on_framework_active(
        &mut self,
        now: Time,
        key: FrameworkKey,
        active: bool,
        out: &mut Outbox<Never, Decision>,
    ) {
        let known = self.seats.frameworks.get_mut(&key);
        let Some(row) = known.filter(|row| row.joined) else {
            return debug!(framework = ?key, "the state of an unknown framework is ignored");
        };
        row.active = active && !planted(Mutant::InactiveForGood);
        let seats = row.seats.clone();
        for leaf in &seats {
            self.forget_refusals(*leaf);
        }
        self.list(key);
        if active {
            return self.mark_all(now);
        }
        for agent in self.ledger.iter_mut() {
            let grants = agent.rescind(|leaf| seats.contains(&leaf));
            rescind(grants, RescindReason::Framework, out);
        }
    }

    /// Sets what a framework wants in some of its roles, or in all if `roles` is empty. Returns
    /// those that are its own.
    pub(super) fn wish(
        &mut self,
        key: FrameworkKey,
        roles: &[Role],
        state: SubscriptionState,
    ) -> Vec<LeafId> {
        let Some(row) = self.seats.frameworks.get(&key) else {
            debug!(framework = ?key, "the wish of an unknown framework is ignored");
            return Vec::new();
        };
        let mut changed = Vec::new();
        for leaf in row.seats.clone() {
            let seat = self.seats.seat_mut(leaf);
            let named = roles.is_empty() || roles.contains(self.tree.role(seat.role));
            if let Some(wish) = seat.wish.as_mut().filter(|_| named) {
                wish.state = state;
                changed.push(leaf);
            }
        }
        self.list(key);
        changed
    }

    pub(super) fn on_demanded(
        &mut self,
        now: Time,
        key: FrameworkKey,
        role: &Role,
        demand: Option<Demand>,
    ) {
        let leaf = self.leaf(key, role);
        let Some(leaf) = leaf.filter(|leaf| self.seats.seat(*leaf).wish.is_some()) else {
            return debug!(framework = ?key, %role, "a demand in a foreign role is ignored");
        };
        if self.options.demands == DemandRule::Ignored {
            return;
        }
        let last = self.last_grant;
        self.seats.seat_mut(leaf).want = demand.map(|demand| Want::new(&demand, last));
        self.relist(leaf);
        self.mark_all(now);
    }

    /// Forgets what a leaf refused; it may want every agent again.
    pub(super) fn forget_refusals(&mut self, leaf: LeafId) {
        let fresh = self.filters.admit(leaf.raw());
        let seat = self.seats.seat_mut(leaf);
        let before = core::mem::replace(&mut seat.refuser, fresh);
        self.filters.forget(before);
        self.relist(leaf);
    }

    /// Has a listed leaf looked at again for every agent.
    pub(super) fn relist(&mut self, leaf: LeafId) {
        if self.tree.node(self.seats.seat(leaf).node).listed {
            self.want_all(leaf);
        }
    }

    /// Has a leaf interested in every agent.
    fn want_all(&mut self, leaf: LeafId) {
        self.interest.list(leaf);
        self.struck.note_fresh(leaf);
    }

    /// Returns the leaf of a framework in a role, new or old.
    pub(super) fn track(&mut self, key: FrameworkKey, role: &Role) -> LeafId {
        let role = self.tree.intern(role);
        if let Some(known) = self.seats.find(key, role) {
            return known;
        }
        let name = Arc::clone(&self.framework_row(key).name);
        let leaf = self.seats.next();
        let node = self.tree.seat(role, leaf, &name);
        self.interest.admit_leaf(leaf);
        let refuser = self.filters.admit(leaf.raw());
        self.seats.insert(Seat {
            framework: key,
            role,
            node,
            refuser,
            wish: None,
            agents: 0,
            offered: Row::ZERO,
            in_offers: self.new_tally(),
            since: self.now,
            want: None,
            bounded: None,
        })
    }

    /// Returns what counts what is in offers, if a policy may bound that.
    fn new_tally(&self) -> Option<Tally> {
        let is_bounded =
            self.options.most_offered.is_some() || self.options.demands == DemandRule::Honoured;
        is_bounded.then(Tally::default)
    }

    /// Forgets a leaf that is not subscribed and holds nothing (AL-41).
    pub(super) fn untrack_if_idle(&mut self, leaf: LeafId) {
        let seat = self.seats.seat(leaf);
        if seat.wish.is_some() || seat.agents > 0 {
            return;
        }
        let seat = self.seats.remove(leaf);
        self.filters.forget(seat.refuser);
        self.interest.unlist(leaf);
        self.interest.unbar_leaf(leaf);
        self.breeds.unbar(leaf);
        self.struck.forget(leaf);
        self.tree.unseat(seat.node);
    }

    fn framework_row(&mut self, key: FrameworkKey) -> &mut Framework {
        let is_bounded = self.options.most_offered.is_some();
        self.seats
            .frameworks
            .entry(key)
            .or_insert_with(|| Framework {
                name: Arc::from(""),
                joined: false,
                active: false,
                capabilities: FrameworkCapabilities::default(),
                seats: Vec::new(),
                in_offers: is_bounded.then(Tally::default),
            })
    }

    fn unlist(&mut self, leaf: LeafId) {
        self.hide(leaf);
        self.wait_no_more(leaf);
    }

    /// Takes a leaf out of its order.
    fn hide(&mut self, leaf: LeafId) {
        self.tree.list(self.seats.seat(leaf).node, Listing::Out);
        self.interest.unlist(leaf);
    }

    /// Brings the orders in line with what a framework wants now.
    fn list(&mut self, key: FrameworkKey) {
        for leaf in self.seats.framework(key).seats.clone() {
            let node = self.seats.seat(leaf).node;
            let is_listed = self.tree.node(node).listed;
            if !self.seats.may_be_offered(leaf) {
                self.unlist(leaf);
            } else if !is_listed {
                self.tree.list(node, Listing::In);
                self.want_all(leaf);
                self.wait_on(leaf);
            }
        }
    }
}

//! What each [`Change`] does to the books of [`Drf`], and which agents it makes due: agents here,
//! frameworks in `joins.rs`, bookings in `bookings.rs`, quota and weights in `shifts.rs`.
//!
//! Called by [`Drf`] for each change, after everything due before it. What cannot be (a return of
//! something that is not held, a change of an agent that is gone) is late news, and ignored.
//!
//! Deliberately not here: grants, which only a pass makes.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use tracing::debug;

use super::columns::Row;
use super::drf::{Drf, Recovery};
use super::holding::single;
use super::kinds::kind;
use super::ledger::Agent;
use super::profile::{AgentTraits, SubscriptionState};
use super::tree::Sign;
use super::{Change, Decision, GrantId, RescindReason};
use crate::keys::AgentKey;
use crate::machine::{Never, Outbox};
use crate::mutant::{Mutant, planted};
use crate::resources::Resources;
use crate::roles::Role;
use crate::time::Time;

impl Drf {
    pub(super) fn take_in(&mut self, now: Time, change: Change, out: &mut Outbox<Never, Decision>) {
        // Whatever changes may leave more to those whom quota held back.
        self.plan_look(now);
        self.changes = self.changes.wrapping_add(1);
        self.forget_trails();
        match change {
            Change::AgentAdded {
                agent,
                total,
                traits,
            } => self.on_agent_added(now, agent, total, traits),
            Change::AgentChanged {
                agent,
                total,
                traits,
            } => self.on_agent_changed(now, agent, total, traits, out),
            Change::AgentRemoved { agent } => self.on_agent_removed(agent),
            Change::AgentActive { agent, active } => self.on_agent_active(now, agent, active, out),
            Change::Whitelisted { hostnames } => self.on_whitelisted(now, hostnames),
            Change::Recovering { agents } => self.on_recovering(now, agents),
            Change::Resumed => self.end_recovery(now),
            other @ (Change::FrameworkAdded { .. }
            | Change::FrameworkChanged { .. }
            | Change::FrameworkRemoved { .. }
            | Change::FrameworkActive { .. }
            | Change::Suppressed { .. }
            | Change::Revived { .. }
            | Change::Demanded { .. }) => self.take_in_framework(now, other, out),
            other @ (Change::Used { .. }
            | Change::Accepted { .. }
            | Change::Returned { .. }
            | Change::Freed { .. }
            | Change::Converted { .. }
            | Change::FreeConverted { .. }) => self.take_in_booking(now, other, out),
            Change::WeightSet { role, weight } => self.on_weight(&role, weight, out),
            Change::QuotaSet { role, quota } => self.on_quota(now, &role, quota, out),
        }
        if self.names_wait {
            self.serve_names();
        }
    }

    fn take_in_framework(&mut self, now: Time, change: Change, out: &mut Outbox<Never, Decision>) {
        match change {
            Change::FrameworkAdded { framework, profile } => {
                self.on_framework_added(now, framework, profile, out);
            }
            Change::FrameworkChanged { framework, profile } => {
                self.on_framework_changed(now, framework, profile, out);
            }
            Change::FrameworkRemoved { framework } => self.on_framework_removed(now, framework),
            Change::FrameworkActive { framework, active } => {
                self.on_framework_active(now, framework, active, out);
            }
            Change::Suppressed { framework, roles } => {
                let _own = self.wish(framework, &roles, SubscriptionState::Suppressed);
            }
            Change::Revived { framework, roles } => {
                for leaf in self.wish(framework, &roles, SubscriptionState::Wanted) {
                    self.forget_refusals(leaf);
                }
                self.mark_all(now);
            }
            Change::Demanded {
                framework,
                role,
                demand,
            } => self.on_demanded(now, framework, &role, demand),
            other @ (Change::AgentAdded { .. }
            | Change::AgentChanged { .. }
            | Change::AgentRemoved { .. }
            | Change::AgentActive { .. }
            | Change::Used { .. }
            | Change::Accepted { .. }
            | Change::Returned { .. }
            | Change::Freed { .. }
            | Change::Converted { .. }
            | Change::FreeConverted { .. }
            | Change::WeightSet { .. }
            | Change::QuotaSet { .. }
            | Change::Whitelisted { .. }
            | Change::Recovering { .. }
            | Change::Resumed) => unreachable!("{other:?} is not about a framework"),
        }
    }

    fn take_in_booking(&mut self, now: Time, change: Change, out: &mut Outbox<Never, Decision>) {
        match change {
            Change::Used {
                framework,
                role,
                agent,
                resources,
            } => self.on_used(framework, &role, agent, &resources, out),
            Change::Accepted {
                framework,
                role,
                agent,
                grants,
                resources,
            } => self.on_accepted(framework, &role, agent, &grants, &resources, out),
            Change::Returned {
                framework,
                role,
                agent,
                grants,
                resources,
                refuse,
            } => {
                let grants = Some(&grants);
                let origin = self.on_returned(framework, &role, agent, grants, &resources);
                if let Some(origin) = origin.filter(|_| !planted(Mutant::FreedUnnoticed)) {
                    self.refuse(now, framework, &role, agent, &resources, origin, refuse);
                    self.mark(now, agent.index() as usize);
                }
            }
            Change::Freed {
                framework,
                role,
                agent,
                resources,
            } => self.on_freed(now, framework, &role, agent, &resources),
            Change::Converted {
                framework,
                role,
                agent,
                grants,
                before,
                after,
            } => self.on_converted(framework, &role, agent, &grants, &before, &after),
            Change::FreeConverted {
                agent,
                before,
                after,
            } => self.on_free_converted(now, agent, &before, &after, out),
            other @ (Change::AgentAdded { .. }
            | Change::AgentChanged { .. }
            | Change::AgentRemoved { .. }
            | Change::AgentActive { .. }
            | Change::FrameworkAdded { .. }
            | Change::FrameworkChanged { .. }
            | Change::FrameworkRemoved { .. }
            | Change::FrameworkActive { .. }
            | Change::Suppressed { .. }
            | Change::Revived { .. }
            | Change::Demanded { .. }
            | Change::WeightSet { .. }
            | Change::QuotaSet { .. }
            | Change::Whitelisted { .. }
            | Change::Recovering { .. }
            | Change::Resumed) => unreachable!("{other:?} is not a booking"),
        }
    }

    fn on_agent_added(&mut self, now: Time, key: AgentKey, total: Resources, traits: AgentTraits) {
        let at = key.index() as usize;
        if let Some(before) = self.ledger.at(at) {
            let before = before.key;
            debug!(
                ?before,
                ?key,
                "added in another's place; what was known is dropped"
            );
            self.on_agent_removed(before);
        }
        self.admit_names(&total);
        let total = self.shapes.share(single(total), &self.columns);
        let mut agent = Agent::new(key, total, traits, &self.columns);
        agent.whitelisted = self.is_whitelisted(&agent.traits.hostname);
        agent.breed = self.breeds.join(&agent.traits);
        agent.is_usual = self.is_usual(&agent);
        self.count_total(&Resources::new(), agent.total());
        agent.recount(&mut self.available);
        self.interest.admit_agent(at);
        if !agent.free().is_empty() {
            self.interest.renew(at);
        }
        self.ledger.insert(agent);
        self.rank_changed(at);
        self.mark(now, at);
        if let Some(recovery) = &mut self.recovery {
            recovery.missing = recovery.missing.saturating_sub(1);
            if recovery.missing == 0 {
                self.end_recovery(now);
            }
        }
    }

    fn on_agent_changed(
        &mut self,
        now: Time,
        key: AgentKey,
        total: Resources,
        traits: AgentTraits,
        out: &mut Outbox<Never, Decision>,
    ) {
        let whitelisted = self.is_whitelisted(&traits.hostname);
        if self.ledger.get(key).is_none() {
            return debug!(agent = ?key, "a change of an unknown agent is ignored");
        }
        let total = single(total);
        let is_same = |it: &Agent| *it.total() == total && *it.traits == traits;
        if self.ledger.get(key).is_some_and(is_same) {
            return debug!(agent = ?key, "a change of nothing is ignored");
        }
        self.admit_names(&total);
        let agent = self.ledger.get_mut(key);
        let agent = agent.expect("it was just looked at");
        let traits = Arc::new(traits);
        if let Some(breed) = agent.breed {
            self.breeds.part(breed, &agent.traits);
        }
        agent.breed = self.breeds.join(&traits);
        agent.traits = traits;
        agent.whitelisted = whitelisted;
        let before = agent.total().clone();
        let total = self.shapes.share(total, &self.columns);
        agent.set_total(Arc::clone(&total), &self.columns);
        self.count_total(&before, &total.bag);
        self.filters.forget_agent(key.index());
        self.interest.unbar_agent(key.index() as usize);
        self.recount(key);
        self.rescind_if_overbooked(key, out);
        self.mark(now, key.index() as usize);
    }

    fn on_agent_removed(&mut self, key: AgentKey) {
        let Some(mut agent) = self.ledger.remove(key) else {
            return debug!(agent = ?key, "the removal of an unknown agent is ignored");
        };
        let at = key.index() as usize;
        if let Some(breed) = agent.breed {
            self.breeds.part(breed, &agent.traits);
        }
        agent.uncount(&mut self.available);
        self.note_lost(&agent);
        let held: Vec<_> = agent.holdings(&self.columns).collect();
        for (leaf, held) in held {
            self.take(leaf, &held.all, &held.open);
            self.seats.seat_mut(leaf).offered.subtract(&held.offered);
            self.forget_place(leaf);
        }
        self.count_total(agent.total(), &Resources::new());
        self.filters.forget_agent(key.index());
        self.interest.exhaust(at);
        self.held_back.remove(&at);
        self.shared_again.remove(&at);
        self.rank_changed(at);
        if let Some(recovery) = &mut self.recovery {
            recovery.missing += 1;
        }
    }

    fn on_agent_active(
        &mut self,
        now: Time,
        key: AgentKey,
        active: bool,
        out: &mut Outbox<Never, Decision>,
    ) {
        let Some(agent) = self.ledger.get_mut(key) else {
            return debug!(agent = ?key, "the state of an unknown agent is ignored");
        };
        agent.active = active;
        agent.recount(&mut self.available);
        if active {
            self.mark(now, key.index() as usize);
        } else {
            rescind(agent.rescind(|_| true), RescindReason::Agent, out);
        }
    }

    fn on_whitelisted(&mut self, now: Time, hostnames: Option<BTreeSet<String>>) {
        self.whitelist = hostnames;
        let all: Vec<AgentKey> = self.ledger.iter().map(|(key, _)| key).collect();
        for key in all {
            let hostname = self.ledger.get(key).map(|it| &it.traits.hostname);
            let whitelisted = hostname.is_some_and(|it| self.is_whitelisted(it));
            let agent = self.ledger.get_mut(key).expect("it was just listed");
            let before = core::mem::replace(&mut agent.whitelisted, whitelisted);
            agent.recount(&mut self.available);
            if whitelisted && !before {
                self.mark(now, key.index() as usize);
            }
        }
    }

    fn is_whitelisted(&self, hostname: &str) -> bool {
        let list = self.whitelist.as_ref();
        list.is_none_or(|list| list.contains(hostname))
    }

    /// Begins to wait for agents, if quota makes that necessary (AL-07).
    fn on_recovering(&mut self, now: Time, agents: usize) {
        let part = self
            .options
            .recovery_part
            .thousandths()
            .max(0)
            .unsigned_abs();
        let most = agents as u128 * u128::from(part) / 1_000;
        let present = self.ledger.iter().count();
        let missing = usize::try_from(most).unwrap_or(usize::MAX);
        let missing = missing.saturating_sub(present);
        if missing > 0 && self.tree.has_quota() {
            let until = now + self.options.recovery_timeout;
            self.recovery = Some(Recovery { missing, until });
        }
    }

    /// Waits for agents no more. What has waited is due then and no earlier: what the agent runs
    /// that came last is told next.
    pub(super) fn end_recovery(&mut self, at: Time) {
        if self.recovery.take().is_none() {
            return;
        }
        self.due.since = self.due.since.map(|since| since.max(at));
        if let Some(pass) = &mut self.pass {
            pass.since = pass.since.max(at);
        }
    }

    /// Counts an agent's total, or another one in its place.
    pub(super) fn count_total(&mut self, before: &Resources, after: &Resources) {
        let rows = (self.columns.row(before), self.columns.row(after));
        self.tree.change_total(&rows.0, &rows.1);
        for (bag, sign) in [(after, Sign::Add), (before, Sign::Take)] {
            let mut reserved: BTreeMap<&Role, Row> = BTreeMap::new();
            for entry in bag {
                if let (Some(role), Some((column, amount))) =
                    (kind(entry).reserved, self.columns.place(entry))
                {
                    reserved.entry(role).or_default().add_at(column, amount);
                }
            }
            for (role, row) in reserved {
                self.tree.reserve(role, sign, &row);
            }
        }
    }

    /// Counts what is free on an agent after it changed. All may want it again.
    pub(super) fn recount(&mut self, key: AgentKey) {
        let is_usual = self
            .ledger
            .get(key)
            .is_some_and(|agent| self.is_usual(agent));
        let Some(agent) = self.ledger.get_mut(key) else {
            return;
        };
        agent.is_usual = is_usual;
        agent.recount(&mut self.available);
        let at = key.index() as usize;
        if agent.free().is_empty() {
            self.interest.exhaust(at);
        } else {
            self.interest.renew(at);
        }
        self.rank_changed(at);
    }

    /// Takes grants back of which something is not there any more, or is in use.
    pub(super) fn rescind_if_overbooked(
        &mut self,
        key: AgentKey,
        out: &mut Outbox<Never, Decision>,
    ) {
        if let Some(agent) = self.ledger.get_mut(key)
            && agent.is_overbooked()
        {
            rescind(agent.rescind_missing(), RescindReason::Agent, out);
        }
    }
}

/// Says that grants are to be taken back.
pub(super) fn rescind(
    grants: Vec<GrantId>,
    reason: RescindReason,
    out: &mut Outbox<Never, Decision>,
) {
    for grant in grants {
        out.emit(Decision::Rescind { grant, reason });
    }
}

/// Returns the first multiple of `interval` after `time`.
pub(super) fn following_multiple(time: Time, interval: Duration) -> Time {
    let interval = u64::try_from(interval.as_micros())
        .unwrap_or(u64::MAX)
        .max(1);
    let past = time.as_micros() % interval;
    Time::from_micros(time.as_micros().saturating_add(interval - past))
}

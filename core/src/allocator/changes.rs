//! What each [`Change`] does to the books of [`Drf`], and which agents it makes due.
//!
//! Called by [`Drf`] for each change, after everything due before it. What cannot be (a return of
//! something that is not held, a change of an agent that is gone) is late news, and ignored.
//!
//! Deliberately not here: grants, which only a pass makes.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use tracing::debug;

use super::drf::{Demand, Drf, Framework};
use super::ledger::Origin;
use super::sorter::{Entry, Leaf, Listing};
use super::sums::Sums;
use super::{Booking, Change, Decision, GrantId, RescindReason};
use crate::keys::{AgentKey, FrameworkKey};
use crate::machine::{Never, Outbox};
use crate::resources::Resources;
use crate::roles::Role;
use crate::table::Key;
use crate::time::Time;

impl Drf {
    pub(super) fn take_in(&mut self, now: Time, change: Change, out: &mut Outbox<Never, Decision>) {
        match change {
            Change::AgentAdded { agent, total, .. } => self.on_agent_added(now, agent, total),
            Change::AgentChanged { agent, total, .. } => {
                self.on_agent_changed(now, agent, total, out);
            }
            Change::AgentRemoved { agent } => self.on_agent_removed(agent),
            Change::AgentActive { agent, active } => self.on_agent_active(now, agent, active, out),
            Change::FrameworkAdded { framework, profile } => {
                let roles: Vec<_> = profile.roles.into_iter().map(|it| it.role).collect();
                self.on_framework_added(now, framework, &profile.name, &roles);
            }
            Change::FrameworkChanged { .. }
            | Change::Converted { .. }
            | Change::FreeConverted { .. }
            | Change::QuotaSet { .. }
            | Change::Whitelisted { .. }
            | Change::Recovering { .. }
            | Change::Resumed
            | Change::Demanded { .. } => debug!("a change that is not acted upon"),
            Change::FrameworkRemoved { framework } => self.on_framework_removed(now, framework),
            Change::FrameworkActive { framework, active } => {
                self.on_framework_active(now, framework, active, out);
            }
            Change::Suppressed { framework, roles } => {
                self.demand(framework, &roles, Demand::Suppressed);
            }
            Change::Revived { framework, roles } => {
                for leaf in self.demand(framework, &roles, Demand::Wanted) {
                    self.forget_refusals(leaf);
                }
                self.mark_all(now);
            }
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
                resources,
            } => self.on_accepted(framework, &role, agent, &resources, out),
            Change::Returned {
                framework,
                role,
                agent,
                resources,
                from,
                refuse,
            } => {
                let origin = self.on_returned(framework, &role, agent, &resources, from);
                if let Some(origin) = origin {
                    self.refuse(now, framework, &role, agent, resources, origin, refuse);
                    self.mark(now, agent);
                }
            }
            Change::WeightSet { role, weight } => self.sorter.set_weight(&role, weight),
        }
    }

    fn on_agent_added(&mut self, now: Time, agent: AgentKey, total: Resources) {
        if self.ledger.get(agent).is_some() {
            debug!(?agent, "added twice; what was known of it is dropped");
            self.on_agent_removed(agent);
        }
        let nothing = Sums::default();
        self.sorter.change_total(&nothing, &Sums::from(&total));
        self.ledger.insert(agent, total);
        self.mark(now, agent);
    }

    fn on_agent_changed(
        &mut self,
        now: Time,
        agent: AgentKey,
        total: Resources,
        out: &mut Outbox<Never, Decision>,
    ) {
        let Some(row) = self.ledger.get_mut(agent) else {
            return debug!(?agent, "a change of an unknown agent is ignored");
        };
        self.sorter
            .change_total(&Sums::from(row.total()), &Sums::from(&total));
        row.set_total(total);
        self.refusals.clear(|(_, about)| *about == agent);
        self.rescind_if_overbooked(agent, out);
        self.mark(now, agent);
    }

    fn on_agent_removed(&mut self, agent: AgentKey) {
        let Some(row) = self.ledger.remove(agent) else {
            return debug!(?agent, "the removal of an unknown agent is ignored");
        };
        for (leaf, held) in row.holdings() {
            self.sorter.book(leaf, Entry::Take, &held);
        }
        let nothing = Sums::default();
        self.sorter.change_total(&Sums::from(row.total()), &nothing);
        self.refusals.clear(|(_, about)| *about == agent);
        self.due.agents.remove(&agent);
    }

    fn on_agent_active(
        &mut self,
        now: Time,
        agent: AgentKey,
        active: bool,
        out: &mut Outbox<Never, Decision>,
    ) {
        let Some(row) = self.ledger.get_mut(agent) else {
            return debug!(?agent, "the state of an unknown agent is ignored");
        };
        row.active = active;
        if active {
            self.mark(now, agent);
        } else {
            rescind(row.rescind(None), RescindReason::Agent, out);
        }
    }

    fn on_framework_added(
        &mut self,
        now: Time,
        framework: FrameworkKey,
        name: &str,
        roles: &[Role],
    ) {
        let name: Arc<str> = Arc::from(name);
        let roles: BTreeMap<_, _> = roles
            .iter()
            .map(|role| (self.sorter.intern(role), Demand::Wanted))
            .collect();
        for role in roles.keys().copied() {
            self.sorter.track(Leaf { framework, role }, &name);
        }
        let row = Framework {
            name,
            active: true,
            roles,
        };
        let before = self.frameworks.insert(framework, row);
        for (role, _) in before.into_iter().flat_map(|before| before.roles) {
            let leaf = Leaf { framework, role };
            self.forget_refusals(leaf);
            self.sorter.list(leaf, Listing::Out);
        }
        self.list(framework);
        self.mark_all(now);
    }

    fn on_framework_removed(&mut self, now: Time, framework: FrameworkKey) {
        let mut freed = Vec::new();
        for (agent, row) in self.ledger.iter_mut() {
            let held = row.evict(framework);
            if !held.is_empty() {
                freed.push(agent);
            }
            for (leaf, held) in held {
                self.sorter.book(leaf, Entry::Take, &held);
            }
        }
        match self.frameworks.remove(&framework) {
            Some(row) => {
                for role in row.roles.into_keys() {
                    self.forget_refusals(Leaf { framework, role });
                }
            }
            None => debug!(?framework, "the removal of a framework that never joined"),
        }
        self.sorter.untrack(framework);
        for agent in freed {
            self.mark(now, agent);
        }
    }

    fn on_framework_active(
        &mut self,
        now: Time,
        framework: FrameworkKey,
        active: bool,
        out: &mut Outbox<Never, Decision>,
    ) {
        let Some(row) = self.frameworks.get_mut(&framework) else {
            return debug!(?framework, "the state of an unknown framework is ignored");
        };
        row.active = active;
        let roles: Vec<_> = row.roles.keys().copied().collect();
        for role in roles {
            self.forget_refusals(Leaf { framework, role });
        }
        self.list(framework);
        if active {
            return self.mark_all(now);
        }
        for (_, agent) in self.ledger.iter_mut() {
            rescind(
                agent.rescind(Some(framework)),
                RescindReason::Framework,
                out,
            );
        }
    }

    /// Sets what a framework wants in some of its roles, or in all if `roles` is empty. Returns
    /// those that are its own.
    fn demand(&mut self, framework: FrameworkKey, roles: &[Role], demand: Demand) -> Vec<Leaf> {
        let Some(row) = self.frameworks.get_mut(&framework) else {
            debug!(?framework, "the demand of an unknown framework is ignored");
            return Vec::new();
        };
        let named: BTreeSet<_> = roles.iter().filter_map(|r| self.sorter.find(r)).collect();
        let mut changed = Vec::new();
        for (&role, own) in &mut row.roles {
            if roles.is_empty() || named.contains(&role) {
                *own = demand;
                changed.push(Leaf { framework, role });
            }
        }
        self.list(framework);
        changed
    }

    fn on_used(
        &mut self,
        framework: FrameworkKey,
        role: &Role,
        agent: AgentKey,
        resources: &Resources,
        out: &mut Outbox<Never, Decision>,
    ) {
        if resources.is_empty() {
            return;
        }
        let Some(row) = self.ledger.get_mut(agent) else {
            return debug!(?agent, %resources, "use on an unknown agent is ignored");
        };
        // In use is in use, even by a framework that has not come back yet.
        let role = self.sorter.intern(role);
        let leaf = Leaf { framework, role };
        let known = self.frameworks.get(&framework);
        let name = known.map_or_else(|| Arc::from(""), |known| known.name.clone());
        self.sorter.track(leaf, &name);
        if let Err(error) = row.occupy(leaf, resources) {
            return debug!(?agent, %resources, %error, "more in use than can be counted");
        }
        self.sorter.book(leaf, Entry::Add, &Sums::from(resources));
        self.rescind_if_overbooked(agent, out);
    }

    fn on_accepted(
        &mut self,
        framework: FrameworkKey,
        role: &Role,
        agent: AgentKey,
        resources: &Resources,
        out: &mut Outbox<Never, Decision>,
    ) {
        if resources.is_empty() {
            return;
        }
        let Some(row) = self.ledger.get_mut(agent) else {
            return debug!(?agent, %resources, "an accept on an unknown agent is ignored");
        };
        let leaf = self.sorter.find(role).map(|role| Leaf { framework, role });
        if !leaf.is_some_and(|leaf| row.accept(leaf, resources)) {
            debug!(?agent, ?framework, %resources, "accepted, though it was not offered");
            self.on_used(framework, role, agent, resources, out);
        }
    }

    fn on_returned(
        &mut self,
        framework: FrameworkKey,
        role: &Role,
        agent: AgentKey,
        resources: &Resources,
        from: Booking,
    ) -> Option<Origin> {
        if resources.is_empty() {
            return None;
        }
        let leaf = self.sorter.find(role).map(|role| Leaf { framework, role });
        let released = leaf.and_then(|leaf| {
            let row = self.ledger.get_mut(agent)?;
            Some((leaf, row.release(leaf, resources, from)?))
        });
        let Some((leaf, origin)) = released else {
            debug!(?agent, ?framework, %resources, "returned, though it is not held");
            return None;
        };
        self.sorter.book(leaf, Entry::Take, &Sums::from(resources));
        Some(origin)
    }

    /// Notes that a framework does not want again what it returned, if that is so.
    #[expect(clippy::too_many_arguments, reason = "the fields of one change")]
    fn refuse(
        &mut self,
        now: Time,
        framework: FrameworkKey,
        role: &Role,
        agent: AgentKey,
        refused: Resources,
        origin: Origin,
        refuse: Option<Duration>,
    ) {
        let interval = self.options.interval;
        let until = match (refuse, origin) {
            (Some(refuse), _) if !refuse.is_zero() => {
                following_multiple(now + refuse.max(interval), interval)
            }
            (_, Origin::Untouched) => now + interval,
            (_, Origin::Leftover | Origin::Rescinded | Origin::Used) => return,
        };
        if let Some((leaf, row)) = self.subscription(framework, role)
            && row.active
        {
            self.refusals.refuse((leaf, agent), refused, until);
        }
    }

    fn forget_refusals(&mut self, leaf: Leaf) {
        let (first, last) = (Key::from_raw(0, 0), Key::from_raw(u32::MAX, u32::MAX));
        self.refusals.clear_range((leaf, first)..=(leaf, last));
    }

    pub(super) fn subscription(
        &self,
        framework: FrameworkKey,
        role: &Role,
    ) -> Option<(Leaf, &Framework)> {
        let row = self.frameworks.get(&framework)?;
        let role = self.sorter.find(role)?;
        row.roles
            .contains_key(&role)
            .then_some((Leaf { framework, role }, row))
    }

    /// Brings the orders in line with what a framework wants now.
    fn list(&mut self, framework: FrameworkKey) {
        let Some(row) = self.frameworks.get(&framework) else {
            return;
        };
        for role in row.roles.keys().copied() {
            let leaf = Leaf { framework, role };
            let listing = if row.may_be_offered(role) {
                Listing::In
            } else {
                Listing::Out
            };
            self.sorter.list(leaf, listing);
        }
    }

    fn rescind_if_overbooked(&mut self, agent: AgentKey, out: &mut Outbox<Never, Decision>) {
        if let Some(row) = self.ledger.get_mut(agent)
            && row.is_overbooked()
        {
            rescind(row.rescind(None), RescindReason::Agent, out);
        }
    }
}

fn rescind(grants: Vec<GrantId>, reason: RescindReason, out: &mut Outbox<Never, Decision>) {
    for grant in grants {
        out.emit(Decision::Rescind { grant, reason });
    }
}

/// Returns the first multiple of `interval` after `time`.
fn following_multiple(time: Time, interval: Duration) -> Time {
    let interval = u64::try_from(interval.as_micros())
        .unwrap_or(u64::MAX)
        .max(1);
    let past = time.as_micros() % interval;
    Time::from_micros(time.as_micros().saturating_add(interval - past))
}

//! What operators say about roles: quotas and weights.
//!
//! A call is carried out as a whole, with one record, or refused as a whole. What is already
//! offered follows from the allocator, which takes back what is in the way and nothing else (RQ-08,
//! RQ-16).
//!
//! Deliberately not here: what a role consumes and what is kept free, which the allocator counts.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::{Cx, Master};
use crate::allocator::{Change, MOST_WEIGHT, RoleFigures};
use crate::limits;
use crate::protocol::operator::{Answer, RoleView};
use crate::quota::{self, Quota};
use crate::registry::RegistryOp;
use crate::resources::{Milli, Quantities, Resource};
use crate::roles::Role;

/// Why roles stay as they are.
#[derive(Debug)]
enum Refusal {
    /// It makes no sense.
    Invalid(String),
    /// It does not fit what there is.
    Conflict(String),
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Invalid(why) => Self::Invalid(why),
            Refusal::Conflict(why) => Self::Conflict(why),
        }
    }
}

impl Master {
    /// Tells the allocator what earlier leaderships were told. Where there is quota, it waits until
    /// most agents are back (AL-07).
    pub(super) fn recover_roles(&mut self) {
        for (role, weight) in self.registry.weights() {
            let (role, weight) = (role.clone(), *weight);
            self.changes.push(Change::WeightSet { role, weight });
        }
        for (role, quota) in self.registry.quotas() {
            let (role, quota) = (role.clone(), quota.clone());
            self.changes.push(Change::QuotaSet { role, quota });
        }
        if !self.registry.quotas().is_empty() {
            // Nobody waits for those that are out of reach.
            let agents = self.registry.len() - self.registry.unreachable();
            self.changes.push(Change::Recovering { agents });
        }
    }

    pub(super) fn on_quotas(
        &mut self,
        cx: &mut Cx<'_>,
        quotas: Vec<(Role, Quota)>,
        force: bool,
    ) -> Answer {
        if let Err(refusal) = self.check_quotas(&quotas, force) {
            return refusal.into();
        }
        for (role, quota) in &quotas {
            let (role, quota) = (role.clone(), quota.clone());
            self.changes.push(Change::QuotaSet { role, quota });
        }
        self.persist(cx, RegistryOp::SetQuotas { quotas });
        Answer::Updated
    }

    pub(super) fn on_weights(&mut self, cx: &mut Cx<'_>, weights: Vec<(Role, Milli)>) -> Answer {
        if let Err(refusal) = self.check_weights(&weights) {
            return refusal.into();
        }
        for (role, weight) in &weights {
            let (role, weight) = (role.clone(), *weight);
            self.changes.push(Change::WeightSet { role, weight });
        }
        self.persist(cx, RegistryOp::SetWeights { weights });
        Answer::Updated
    }

    /// Lists roles in an order in which each has its place, whoever comes and goes.
    pub(super) fn roles_after(
        &mut self,
        after: Option<u32>,
    ) -> impl Iterator<Item = (u32, RoleView)> + use<> {
        let mut frameworks: BTreeMap<&Role, usize> = BTreeMap::new();
        for (_, framework) in self.frameworks.iter() {
            if !framework.is_completed() {
                for role in &framework.info.roles {
                    *frameworks.entry(role).or_default() += 1;
                }
            }
        }
        let view = |figures: RoleFigures| RoleView {
            frameworks: frameworks.get(&figures.role).copied().unwrap_or(0),
            role: figures.role,
            weight: figures.weight,
            quota: figures.quota,
            consumed: figures.consumed,
            allocated: figures.booked,
            reserved: figures.reserved,
            dominant_share: figures.dominant_share,
        };
        let roles: Vec<RoleView> = self.allocator.roles().into_iter().map(view).collect();
        self.role_places.seat(roles.iter().map(|role| &role.role));
        let places = &self.role_places;
        let rows = roles.into_iter();
        let rows = rows.map(|role| (places.of(&role.role), role));
        let mut rows: Vec<(u32, RoleView)> = rows.collect();
        rows.sort_by_key(|(place, _)| *place);
        let rows = rows.into_iter();
        rows.filter(move |(place, _)| after.is_none_or(|last| *place > last))
    }

    /// Checks quotas as a whole (RQ-13, VA-27).
    fn check_quotas(&self, quotas: &[(Role, Quota)], force: bool) -> Result<(), Refusal> {
        check_once(quotas.iter().map(|it| &it.0))?;
        for (role, quota) in quotas {
            check_amounts(role, quota)?;
        }
        let before = self.registry.quotas();
        let mut after = before.clone();
        for (role, quota) in quotas {
            if quota.is_default() {
                after.remove(role);
            } else {
                after.insert(role.clone(), quota.clone());
            }
        }
        check_number(after.len())?;
        let invalid = |error: &dyn ToString| Refusal::Invalid(error.to_string());
        quota::check_levels(&after).map_err(|error| invalid(&error))?;
        quota::check_names(after.values()).map_err(|error| invalid(&error))?;
        if force {
            return Ok(());
        }
        // All figures once: those of one role cost as much.
        let figures = self.allocator.roles().into_iter();
        let consumed: BTreeMap<Role, Quantities> =
            figures.map(|it| (it.role, it.consumed)).collect();
        for (role, quota) in quotas {
            if let Some(consumed) = consumed.get(role) {
                self.check_use(role, quota, before.get(role), consumed)?;
            }
        }
        self.check_capacity(&quota::promised(before), &quota::promised(&after))
    }

    /// Checks that a role does not use more than its new limits; where these are lower than before.
    fn check_use(
        &self,
        role: &Role,
        quota: &Quota,
        before: Option<&Quota>,
        consumed: &Quantities,
    ) -> Result<(), Refusal> {
        let was = |name: &str| before.and_then(|it| it.limits.bound(name));
        let is_lower = |name: &str, limit| was(name).is_none_or(|was| limit < was);
        let mut above = quota.limits.iter();
        if above.all(|(name, limit)| consumed.amount(name) <= limit || !is_lower(name, limit)) {
            return Ok(());
        }
        let mut used = consumed.clone();
        used.saturating_sub(&self.offered_below(role));
        for (name, limit) in quota.limits.iter() {
            let used = used.amount(name);
            if used > limit && is_lower(name, limit) {
                return Err(Refusal::Conflict(format!(
                    "{role} uses {used} of {name:?}, and {limit} would be its limit"
                )));
            }
        }
        Ok(())
    }

    /// Returns what of the offers to a role, and to those below it, counts against quota.
    fn offered_below(&self, role: &Role) -> Quantities {
        let mut sum = Quantities::new();
        for (_, row) in self.offers.iter() {
            let offer = &row.offer;
            if offer.role == *role || offer.role.is_below(role) {
                let open = |entry: &Resource| !entry.is_reserved() && !entry.is_revocable();
                sum.add(&Quantities::from(&offer.resources.filter(open)));
            }
        }
        sum
    }

    /// Checks that no more is newly promised than all agents have that were admitted, those that
    /// are away included: just after a change of masters most are (RQ-14).
    fn check_capacity(&self, before: &Quantities, after: &Quantities) -> Result<(), Refusal> {
        let mut newly = after
            .iter()
            .filter(|(name, it)| *it > before.amount(name))
            .peekable();
        if newly.peek().is_none() {
            return Ok(());
        }
        let mut capacity = Quantities::new();
        for (_, admission) in self.registry.agents() {
            let total = admission.total();
            let lasting = total.filter(|entry| !entry.is_revocable());
            capacity.add(&Quantities::from(&lasting));
        }
        match newly.find(|(name, it)| *it > capacity.amount(name)) {
            None => Ok(()),
            Some((name, promised)) => {
                let there = capacity.amount(name);
                Err(Refusal::Conflict(format!(
                    "{promised} of {name:?} would be guaranteed, and all agents have {there}"
                )))
            }
        }
    }

    /// Checks weights as a whole (RQ-08, VA-28).
    fn check_weights(&self, weights: &[(Role, Milli)]) -> Result<(), Refusal> {
        check_once(weights.iter().map(|it| &it.0))?;
        for (role, weight) in weights {
            if *weight <= Milli::ZERO || *weight > MOST_WEIGHT {
                return Err(Refusal::Invalid(format!(
                    "{weight} for {role}: expected a weight above 0, and of {MOST_WEIGHT} at most"
                )));
            }
        }
        let known = self.registry.weights();
        let added = weights.iter().filter(|it| !known.contains_key(&it.0));
        check_number(known.len() + added.count())
    }
}

/// Checks that each role is named once.
fn check_once<'a>(roles: impl Iterator<Item = &'a Role>) -> Result<(), Refusal> {
    let mut seen = BTreeSet::new();
    for role in roles {
        if !seen.insert(role) {
            return Err(Refusal::Invalid(format!("{role} is named twice")));
        }
    }
    Ok(())
}

fn check_number(roles: usize) -> Result<(), Refusal> {
    if roles > limits::ROLES {
        let most = limits::ROLES;
        return Err(Refusal::Invalid(format!(
            "{roles} roles, and {most} may have such"
        )));
    }
    Ok(())
}

/// Checks the amounts of one quota by themselves.
fn check_amounts(role: &Role, quota: &Quota) -> Result<(), Refusal> {
    let guarantees = quota.guarantees.iter();
    for (name, amount) in guarantees.chain(quota.limits.iter()) {
        let most = most_of(name);
        if amount > most {
            return Err(Refusal::Invalid(format!(
                "{amount} of {name:?} for {role}: expected {most} at most"
            )));
        }
    }
    let fits = quota.check();
    fits.map_err(|error| Refusal::Invalid(format!("{role}: {error}")))
}

/// Returns the most of a name that anybody means: 1 EiB, or a million million.
fn most_of(name: &str) -> Milli {
    match name {
        "mem" | "disk" => Milli::from_units(1 << 40),
        _ => Milli::from_units(1_000_000_000_000),
    }
}

/// Where each role stands in lists: those that stay keep their place, and others come behind all.
#[derive(Clone, Debug, Default)]
pub(super) struct Places {
    by_role: BTreeMap<Role, u32>,
    next: u32,
}

impl Places {
    /// Gives each of these a place, and forgets all others.
    fn seat<'a>(&mut self, roles: impl Iterator<Item = &'a Role>) {
        let before = core::mem::take(&mut self.by_role);
        for role in roles {
            let place = before.get(role).copied().unwrap_or_else(|| {
                // One leadership does not see so many roles come and go.
                let place = self.next;
                self.next = self.next.saturating_add(1);
                place
            });
            self.by_role.insert(role.clone(), place);
        }
    }

    fn of(&self, role: &Role) -> u32 {
        self.by_role.get(role).copied().unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // I13
    #[test]
    fn a_role_keeps_its_place_and_has_none_with_others() {
        // The first two have the same FNV-1a hash: whoever chooses names chooses those too.
        let names = ["costarring", "liquid", "a", "b"];
        let roles: Vec<Role> = names.iter().map(|name| name.parse().unwrap()).collect();
        let mut places = Places::default();
        places.seat(roles[..3].iter());
        let first: BTreeSet<u32> = roles[..3].iter().map(|role| places.of(role)).collect();
        assert_eq!(first.len(), 3, "each its own");
        let kept = places.of(&roles[1]);
        places.seat(roles[1..].iter());
        assert_eq!(places.of(&roles[1]), kept);
        let newest = roles[1..3].iter().map(|role| places.of(role)).max();
        assert!(Some(places.of(&roles[3])) > newest, "who is new comes last");
        places.seat(roles[..2].iter());
        assert!(
            places.of(&roles[0]) > places.of(&roles[1]),
            "and who comes back"
        );
        assert_eq!(places.by_role.len(), 2, "who is gone is forgotten");
    }
}

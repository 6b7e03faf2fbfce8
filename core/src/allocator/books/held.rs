//! One agent in the books: what there is of it, and what each holds of that.
//!
//! Deliberately not here: who is there, and who wants what.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::allocator::{Change, Decision, GrantId, GrantIds, RescindReason};
use crate::keys::FrameworkKey;
use crate::machine::{Never, Outbox};
use crate::resources::Resources;
use crate::roles::Role;

#[derive(Debug)]
pub(super) struct Agent {
    pub(super) total: Resources,
    pub(super) active: bool,
    /// More is in use than can be counted: what is free is not known, as long as it is there.
    pub(super) uncountable: bool,
    pub(super) held: BTreeMap<(FrameworkKey, Role), Held>,
}

/// What a framework holds of an agent in a role.
#[derive(Debug, Default)]
pub(super) struct Held {
    pub(super) offered: Vec<Offered>,
    pub(super) used: Resources,
}

/// What is left of a grant, or of several that were answered together.
#[derive(Debug)]
pub(super) struct Offered {
    pub(super) grants: Vec<GrantId>,
    pub(super) rest: Resources,
    /// How many of `grants`, the first ones, were taken back.
    pub(super) rescinded: usize,
}

/// Returns a bag with something else in place of a part of it; `None` if that is no part, or does
/// not fit.
fn turned(bag: &Resources, before: &Resources, after: &Resources) -> Option<Resources> {
    let mut rest = bag.checked_sub(before).ok()?;
    rest.add(after).ok()?;
    Some(rest)
}

impl Held {
    /// Finds what is left of some grants, which are one from then on. `None`, and they stay as they
    /// are, if nothing is, or less than `part`.
    fn find(&mut self, grants: &GrantIds, part: &Resources) -> Option<&mut Offered> {
        let is_meant = |it: &Offered| it.grants.iter().any(|id| grants.contains(*id));
        let mut rest = Resources::new();
        for offered in self.offered.iter().filter(|it| is_meant(it)) {
            rest.add(&offered.rest).ok()?;
        }
        if part.is_empty() || !rest.contains(part) {
            return None;
        }
        let (meant, others) = self.offered.drain(..).partition(is_meant);
        self.offered = others;
        let (asked, open): (Vec<_>, Vec<_>) = Vec::into_iter(meant)
            .flat_map(|it: Offered| {
                let ids = it.grants.into_iter().enumerate();
                ids.map(move |(at, id)| (id, at < it.rescinded))
            })
            .partition(|(_, asked)| *asked);
        let rescinded = asked.len();
        let grants = asked.into_iter().chain(open).map(|(id, _)| id).collect();
        self.offered.push(Offered {
            grants,
            rest,
            rescinded,
        });
        self.offered.last_mut()
    }

    /// Takes something off what is left of grants. Returns whether it was.
    fn take(&mut self, grants: &GrantIds, part: &Resources) -> bool {
        let taken = self.find(grants, part).map(|it| it.rest.subtract(part));
        self.offered.retain(|it| !it.rest.is_empty());
        taken.is_some_and(|taken| taken.is_ok())
    }
}

impl Agent {
    pub(super) fn new(total: Resources) -> Self {
        Self {
            total,
            active: true,
            uncountable: false,
            held: BTreeMap::new(),
        }
    }

    /// Returns what nobody holds; `None` if more is held than there is.
    pub(super) fn free(&self) -> Option<Resources> {
        let mut free = self.total.clone();
        for held in self.held.values() {
            for offered in &held.offered {
                free.subtract(&offered.rest).ok()?;
            }
            free.subtract(&held.used).ok()?;
        }
        Some(free).filter(|_| !self.uncountable)
    }

    /// Takes grants back of those whom `of` accepts, as far as they were not already.
    pub(super) fn rescind(
        &mut self,
        reason: RescindReason,
        of: impl Fn(&(FrameworkKey, Role)) -> bool,
        out: &mut Outbox<Never, Decision>,
    ) {
        let held = self.held.iter_mut().filter(|(whose, _)| of(whose));
        for offered in held.flat_map(|(_, held)| &mut held.offered) {
            for grant in offered.grants.iter().skip(offered.rescinded).copied() {
                out.emit(Decision::Rescind { grant, reason });
            }
            offered.rescinded = offered.grants.len();
        }
    }

    /// Books something. Returns whether that agrees with what was held.
    pub(super) fn book(&mut self, change: &Change) -> bool {
        match change {
            Change::Used {
                framework,
                role,
                resources,
                ..
            } => {
                self.use_up((*framework, role.clone()), resources);
                true
            }
            Change::Accepted {
                framework,
                role,
                grants,
                resources,
                ..
            } => {
                let whose = (*framework, role.clone());
                let was_offered = self.free_up(&whose, Some(grants), resources);
                self.use_up(whose, resources);
                was_offered
            }
            Change::Returned {
                framework,
                role,
                grants,
                resources,
                ..
            } => self.free_up(&(*framework, role.clone()), Some(grants), resources),
            Change::Freed {
                framework,
                role,
                resources,
                ..
            } => self.free_up(&(*framework, role.clone()), None, resources),
            Change::Converted {
                framework,
                role,
                grants,
                before,
                after,
                ..
            } => self.convert(&(*framework, role.clone()), grants, before, after),
            Change::FreeConverted { before, after, .. } => {
                let total = turned(&self.total, before, after);
                let is_there = total.is_some();
                self.total = total.unwrap_or_else(|| core::mem::take(&mut self.total));
                is_there
            }
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
            | Change::WeightSet { .. }
            | Change::QuotaSet { .. }
            | Change::Whitelisted { .. }
            | Change::Recovering { .. }
            | Change::Resumed
            | Change::Demanded { .. }) => unreachable!("{other:?} is not a booking"),
        }
    }

    /// Frees something that is left of grants, or else in use. Returns whether it was held so.
    fn free_up(
        &mut self,
        whose: &(FrameworkKey, Role),
        grants: Option<&GrantIds>,
        what: &Resources,
    ) -> bool {
        let Some(held) = self.held.get_mut(whose) else {
            return false;
        };
        let was_held = match grants {
            Some(grants) => held.take(grants, what),
            None => held.used.subtract(what).is_ok(),
        };
        if held.offered.is_empty() && held.used.is_empty() {
            self.held.remove(whose);
        }
        was_held
    }

    fn use_up(&mut self, whose: (FrameworkKey, Role), what: &Resources) {
        let used = &mut self.held.entry(whose).or_default().used;
        self.uncountable |= used.add(what).is_err();
    }

    /// Turns something offered, and with it a part of the total, into something else.
    fn convert(
        &mut self,
        whose: &(FrameworkKey, Role),
        grants: &GrantIds,
        before: &Resources,
        after: &Resources,
    ) -> bool {
        let held = self.held.get_mut(whose);
        let Some(offered) = held.and_then(|held| held.find(grants, before)) else {
            return false;
        };
        let rest = turned(&offered.rest, before, after);
        let both = rest.zip(turned(&self.total, before, after));
        let is_there = both.is_some();
        if let Some((rest, total)) = both {
            offered.rest = rest;
            self.total = total;
        }
        is_there
    }
}

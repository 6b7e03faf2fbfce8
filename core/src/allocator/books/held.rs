//! One agent in the books: what there is of it, and what each holds of that.
//!
//! Deliberately not here: who is there, and who wants what.

use alloc::borrow::Cow;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::allocator::holding::{exclusive, shared};
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
    offered: Vec<Offered>,
    /// All of `offered` together.
    all: Resources,
    pub(super) used: Resources,
}

/// What is left of a grant, or of several that were answered together.
#[derive(Debug)]
struct Offered {
    /// With whether it was taken back.
    grants: Vec<(GrantId, bool)>,
    rest: Resources,
}

/// Returns a bag with something else in place of a part of it; `None` if that is no part, or does
/// not fit.
fn turned(bag: &Resources, before: &Resources, after: &Resources) -> Option<Resources> {
    let mut rest = bag.checked_sub(before).ok()?;
    rest.add(after).ok()?;
    Some(rest)
}

impl Held {
    /// Notes a grant.
    pub(super) fn grant(&mut self, id: GrantId, resources: Resources) {
        let sum = self.all.add(&resources);
        sum.expect("parts of an agent's total fit together");
        self.offered.push(Offered {
            grants: Vec::from([(id, false)]),
            rest: resources,
        });
    }

    /// Returns all that is granted and not accepted.
    pub(super) fn offered(&self) -> &Resources {
        &self.all
    }

    fn is_empty(&self) -> bool {
        self.offered.is_empty() && self.used.is_empty()
    }

    /// Returns what is left of some grants together; `None` if nothing is.
    fn rest(&self, grants: &GrantIds) -> Option<Resources> {
        let mut named = self.offered.iter().filter(|it| it.is_any_of(grants));
        let mut rest = named.next()?.rest.clone();
        named.try_for_each(|it| rest.add(&it.rest)).ok()?;
        Some(rest)
    }

    /// Puts something else in the place of a part of what is left of some grants, which are one
    /// from then on. Returns whether it was a part; if not nothing has changed.
    fn turn(&mut self, grants: &GrantIds, before: &Resources, after: &Resources) -> bool {
        let rest = self.rest(grants).and_then(|it| turned(&it, before, after));
        let Some((rest, all)) = rest.zip(turned(&self.all, before, after)) else {
            return false;
        };
        let named = |it: &Offered| it.is_any_of(grants);
        let (named, others) = self.offered.drain(..).partition(named);
        self.offered = others;
        self.all = all;
        if !rest.is_empty() {
            let grants = Vec::into_iter(named).flat_map(|it: Offered| it.grants);
            let grants = grants.collect();
            self.offered.push(Offered { grants, rest });
        }
        true
    }

    /// Returns what an accept takes off grants: of a shared volume one copy, which the framework
    /// may have taken before, and which others are offered as well (RM-48, AL-31).
    fn taken_by<'a>(&self, grants: &GrantIds, accepted: &'a Resources) -> Cow<'a, Resources> {
        let rest = exclusive(accepted);
        if let Cow::Borrowed(_) = rest {
            return rest;
        }
        let mut with_copy = rest.clone().into_owned();
        let fits = with_copy.add(&shared(accepted)).is_ok();
        let left = self.rest(grants).filter(|_| fits);
        match left.is_some_and(|left| left.contains(&with_copy)) {
            true => Cow::Owned(with_copy),
            false => rest,
        }
    }
}

impl Offered {
    fn is_any_of(&self, grants: &GrantIds) -> bool {
        self.grants.iter().any(|(id, _)| grants.contains(*id))
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
            free.subtract(&held.all).ok()?;
            free.subtract(&exclusive(&held.used)).ok()?;
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
        let offered = held.flat_map(|(_, held)| &mut held.offered);
        for (grant, is_asked) in offered.flat_map(|it| &mut it.grants) {
            if !core::mem::replace(is_asked, true) {
                let grant = *grant;
                out.emit(Decision::Rescind { grant, reason });
            }
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
                let held = self.held.entry(whose.clone()).or_default();
                let taken = held.taken_by(grants, resources);
                let was_offered = held.turn(grants, &taken, &Resources::new());
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
            Some(grants) => held.turn(grants, what, &Resources::new()),
            None => held.used.subtract(what).is_ok(),
        };
        if held.is_empty() {
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
        let total = turned(&self.total, before, after);
        let Some((total, held)) = total.zip(self.held.get_mut(whose)) else {
            return false;
        };
        let is_there = held.turn(grants, before, after);
        if is_there {
            self.total = total;
        }
        if held.is_empty() {
            self.held.remove(whose);
        }
        is_there
    }
}

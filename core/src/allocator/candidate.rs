//! What a framework may have of an agent in a role, or why nothing.
//!
//! Asked by a pass for each pair that it looks at, and by whoever wants an explanation. Changes
//! nothing. Deliberately not here: whose turn it is.

use alloc::borrow::Cow;

use super::columns::Row;
use super::drf::{Drf, GpuRule};
use super::headroom::Bounds;
use super::holding::open;
use super::kinds::{amount, at_most, kind};
use super::ledger::Agent;
use super::obstacle::Capability;
use super::profile::AgentCapabilities;
use super::seats::{LeafId, Seat, Wish};
use super::tally::Caps;
use super::want::Want;
use super::worth::Least;
use crate::constraints::Subject;
use crate::mutant::{Mutant, planted};
use crate::resources::{Resource, Resources};
use crate::time::Time;

/// Which frameworks a pass looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Those of roles whose guarantee is not met, for what serves it (AL-26).
    Guarantees,
    /// All (AL-27).
    FairShare,
}

/// Why a framework is not offered anything of an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// Agent and framework do not go together, whatever is free.
    Barred(Bar),
    /// It does not want what would be offered, which is all that it may have.
    Pair(Pair),
    /// Something that changes elsewhere is in the way.
    Bound(Bound),
    /// In the first stage: nothing of it would serve a guarantee.
    Uncovered,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bar {
    Capability(Capability),
    Constraint,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pair {
    Filtered(Time),
    TooSmall,
    Constraint,
    NoDemand,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bound {
    /// Quota, of the role itself or of others.
    Quota,
    /// It, or its framework, may hold no more in grants.
    HoldsEnough,
    /// What is left under such a bound, or of its demand, is not for it.
    Rest(Pair),
}

/// What a framework may have, and whether bounds that others move took something off.
pub(super) struct Part<'a> {
    pub(super) resources: Cow<'a, Resources>,
    /// Whether quota cut it.
    is_cut: bool,
    /// What it was before it was cut to what may be held in grants.
    pub(super) uncapped: Option<Cow<'a, Resources>>,
}

impl Drf {
    /// Returns what of an agent a leaf would be offered.
    pub(super) fn candidate<'a>(
        &self,
        stage: Stage,
        agent: &'a Agent,
        leaf: LeafId,
    ) -> Result<Cow<'a, Resources>, Stop> {
        let seat = self.seats.seat(leaf);
        let wish = seat
            .wish
            .as_ref()
            .expect("only subscribed leaves stand in an order");
        if let Some(bar) = self.bar(agent, seat, wish) {
            return Err(Stop::Barred(bar));
        }
        let mut part = self.part(stage, agent, seat)?;
        if let Some(want) = &seat.want {
            part.resources = Cow::Owned(want.cut(&part.resources));
            if part.resources.is_empty() {
                let fits = |bag: &Resources| !want.cut(bag).is_empty();
                let why = self.blame(agent, seat, &part, fits);
                return Err(why.map_or(Stop::Pair(Pair::NoDemand), Stop::Bound));
            }
        }
        // Of what cannot be cut, or is not wanted, nothing may be left that serves it.
        let is_less = part.is_bounded() || seat.want.is_some();
        if stage == Stage::Guarantees && is_less && !self.serves(seat, &part.resources) {
            return Err(Stop::Uncovered);
        }
        self.check_worth(agent, seat, wish, part)
    }

    /// Returns what of an agent bounds that others move leave a leaf, before it is asked whether it
    /// wants that.
    #[inline]
    pub(super) fn part<'a>(
        &self,
        stage: Stage,
        agent: &'a Agent,
        seat: &Seat,
    ) -> Result<Part<'a>, Stop> {
        let base = self.base(agent, seat);
        let row = match base {
            Cow::Borrowed(_) => *agent.counts().open(),
            Cow::Owned(ref base) => open(base, &self.columns),
        };
        let caps = self.caps(seat)?;
        let bounds = self.bounds(stage, seat, &row)?;
        let mut part = match bounds {
            Some(bounds) if !bounds.admit(&row) => Part {
                resources: Cow::Owned(self.chop(&base, bounds)),
                is_cut: true,
                uncapped: None,
            },
            Some(_) | None => Part {
                resources: base,
                is_cut: false,
                uncapped: None,
            },
        };
        if !caps.admit(&part.resources) {
            let capped = Cow::Owned(caps.cut(&part.resources));
            part.uncapped = Some(core::mem::replace(&mut part.resources, capped));
        }
        Ok(part)
    }

    /// Returns why a leaf can have nothing of an agent, whatever is free.
    pub(super) fn bar(&self, agent: &Agent, seat: &Seat, wish: &Wish) -> Option<Bar> {
        if !agent.is_usual
            && let Some(lack) = self.lack(agent, seat)
        {
            return Some(lack);
        }
        let constraints = wish.constraints.as_ref().filter(|_| wish.is_static)?;
        (!constraints.admits(&subject(agent, agent.free()))).then_some(Bar::Constraint)
    }

    /// Returns whether everybody can cope with an agent, so that nobody needs to be asked.
    pub(super) fn is_usual(&self, agent: &Agent) -> bool {
        let has = &agent.traits;
        let region = (&self.options.region, &has.region);
        (self.options.gpus == GpuRule::Everyone || agent.total().scalar("gpus").is_zero())
            && !matches!(region, (Some(ours), Some(theirs)) if ours != theirs)
            && has.capabilities == AgentCapabilities::default()
    }

    /// Returns what agent or framework lack to cope with each other (AL-11, AL-12, AL-32).
    fn lack(&self, agent: &Agent, seat: &Seat) -> Option<Bar> {
        let framework = self.seats.framework(seat.framework);
        let (has, can) = (&agent.traits, &framework.capabilities);
        let region = (&self.options.region, &has.region);
        let elsewhere = matches!(region, (Some(ours), Some(theirs)) if ours != theirs);
        let has_gpus = || !agent.total().scalar("gpus").is_zero();
        if self.options.gpus == GpuRule::Capable && !can.gpus && has_gpus() {
            Some(Bar::Capability(Capability::Gpus))
        } else if elsewhere && !can.region_aware {
            Some(Bar::Capability(Capability::Region))
        } else if can.multi_role && !has.capabilities.multi_role {
            Some(Bar::Capability(Capability::MultiRole))
        } else if !has.capabilities.hierarchical_role
            && self.tree.role(seat.role).as_str().contains('/')
        {
            Some(Bar::Capability(Capability::HierarchicalRole))
        } else {
            None
        }
    }

    /// Returns what is free and may be had in the role, before anything is cut (AL-32).
    pub(super) fn base<'a>(&self, agent: &'a Agent, seat: &Seat) -> Cow<'a, Resources> {
        if agent.counts().is_plain() {
            return Cow::Borrowed(agent.free());
        }
        Cow::Owned(self.suitable(agent.free(), seat))
    }

    /// Returns what of a bag may be had in the role.
    pub(super) fn suitable(&self, bag: &Resources, seat: &Seat) -> Resources {
        let role = self.tree.role(seat.role);
        let capabilities = &self.seats.framework(seat.framework).capabilities;
        let ignores = planted(Mutant::ReservationsIgnored);
        let may_have = |entry: &Resource| entry.is_allocatable_to(role) || ignores;
        bag.filter(|entry| may_have(entry) && kind(entry).suits(capabilities))
    }

    /// Returns the most that quota lets a leaf have of each column, or why it may have nothing.
    /// `None` is no bounds.
    fn bounds(&self, stage: Stage, seat: &Seat, free: &Row) -> Result<Option<Bounds>, Stop> {
        if !self.tree.has_quota() {
            return Ok(None);
        }
        let mut bounds = self.tree.limit(seat.role);
        if !self.tree.required_headroom().is_empty() {
            let bounds = bounds.get_or_insert(Bounds::NONE);
            let covered = self.tree.covered(seat.role);
            let serves = |(column, free): (usize, i128)| {
                free.min(covered.at(column)).min(bounds.at(column)) > 0
            };
            if stage == Stage::Guarantees && !free.iter().any(serves) {
                return Err(Stop::Uncovered);
            }
            // What is not short is not bounded.
            for (column, required) in self.tree.required_headroom().iter() {
                if required > 0 && !planted(Mutant::PromiseUnkept) {
                    let surplus = (self.available.at(column) - required).max(0);
                    bounds.lower(column, covered.at(column).max(0) + surplus);
                }
            }
        }
        Ok(bounds)
    }

    /// Returns whether so much of an agent is kept free for guarantees that the rest is worth no
    /// offer to anybody, unless something is promised to them or above them.
    pub(super) fn is_kept_free(&self, agent: &Agent) -> bool {
        let required = self.tree.required_headroom();
        if required.is_empty() {
            return false;
        }
        let counts = agent.counts();
        let mut most = counts.all;
        for (column, required) in required.iter().filter(|it| it.1 > 0) {
            let surplus = (self.available.at(column) - required).max(0);
            let open = counts.open().at(column);
            most.add_at(column, surplus.min(open) - open);
        }
        !self.leasts.is_worth_any(agent.free(), &most)
    }

    /// Returns whether a bag lessens what is required for the role, or for one above it.
    fn serves(&self, seat: &Seat, bag: &Resources) -> bool {
        let covered = self.tree.covered(seat.role);
        let open = open(bag, &self.columns);
        let mut columns = open.iter();
        columns.any(|(column, amount)| amount > 0 && covered.at(column) > 0)
    }

    /// Returns how much a leaf may be granted beside what it and its framework hold in grants, or
    /// that this is nothing.
    pub(super) fn caps<'a>(&'a self, seat: &'a Seat) -> Result<Caps<'a>, Stop> {
        let mut caps = Caps::default();
        if let Some(most) = &self.options.most_offered {
            let framework = self.seats.framework(seat.framework);
            let offered = framework.in_offers.as_ref();
            let offered = offered.expect("it is counted where it is bounded");
            for (name, most) in most.iter() {
                caps.lower(name, i128::from(most.thousandths()) - offered.at(name));
            }
        }
        if let (Some(want), Some(offered)) = (&seat.want, &seat.in_offers) {
            want.limit(offered, &mut caps);
        }
        if caps.is_used_up() {
            return Err(Stop::Bound(Bound::HoldsEnough));
        }
        Ok(caps)
    }

    /// Cuts what quota counts to bounds; what cannot be cut is left out, and of `gpus` only whole
    /// ones are given (AL-29, RM-55). Everything else goes along. Of several entries of a name the
    /// first in a bag's order come first.
    pub(super) fn chop(&self, base: &Resources, mut bounds: Bounds) -> Resources {
        let mut part = Resources::new();
        for entry in base {
            let is_open = kind(entry).is_open();
            let taken = match self.columns.place(entry).filter(|_| is_open) {
                None => Some(entry.clone()),
                Some((column, _)) => at_most(entry, bounds.at(column)).inspect(|taken| {
                    bounds.spend(column, amount(taken));
                }),
            };
            if let Some(taken) = taken {
                part.insert(taken).expect("a part of a bag fits");
            }
        }
        part
    }

    /// Returns which bound keeps a leaf from what would suit it, if one does.
    fn blame(
        &self,
        agent: &Agent,
        seat: &Seat,
        part: &Part<'_>,
        suits: impl Fn(&Resources) -> bool,
    ) -> Option<Bound> {
        if part.uncapped.as_deref().is_some_and(&suits) {
            return Some(Bound::HoldsEnough);
        }
        (part.is_cut && suits(&self.base(agent, seat))).then_some(Bound::Quota)
    }

    /// Returns whether what a leaf wants of a bag is worth an offer.
    pub(super) fn is_worth(&self, seat: &Seat, least: &Least, bag: &Resources) -> bool {
        let wanted = seat.want.as_ref().map(|want| want.cut(bag));
        let bag = wanted.as_ref().unwrap_or(bag);
        least.is_met(bag, &self.columns.row(bag))
    }

    /// Returns a candidate if it is worth an offer and wanted.
    fn check_worth<'a>(
        &self,
        agent: &'a Agent,
        seat: &Seat,
        wish: &Wish,
        part: Part<'a>,
    ) -> Result<Cow<'a, Resources>, Stop> {
        let least = self.leasts.at(wish.least);
        let counted;
        let row = match part.resources {
            Cow::Borrowed(_) => &agent.counts().all,
            Cow::Owned(ref owned) => {
                counted = self.columns.row(owned);
                &counted
            }
        };
        if !least.is_met(&part.resources, row) {
            let suits = |bag: &Resources| self.is_worth(seat, least, bag);
            let why = self.blame(agent, seat, &part, suits);
            // Of less, other shapes may be served, and these may be worth it.
            let is_shaped = || {
                let base = self.base(agent, seat);
                seat.want.is_some() && least.is_met(&base, &self.columns.row(&base))
            };
            let why = why.or_else(|| is_shaped().then_some(Bound::Rest(Pair::TooSmall)));
            return Err(why.map_or(Stop::Pair(Pair::TooSmall), Stop::Bound));
        }
        let at = agent.key.index();
        let refused = self
            .filters
            .refused_until(at, seat.refuser, &part.resources, self.now);
        if let Some(until) = refused {
            let why = Pair::Filtered(until);
            // Of less, it may be another shape that is served, or by other entries.
            let is_steady = |want: &Want| want.is_steady(&self.base(agent, seat));
            return Err(match &seat.want {
                Some(want) if !is_steady(want) => Stop::Bound(Bound::Rest(why)),
                Some(_) | None => part.stop(why),
            });
        }
        let constraints = wish.constraints.as_ref();
        let dynamic = constraints.filter(|_| !wish.is_static);
        if let Some(constraints) = dynamic
            && !constraints.admits(&subject(agent, &part.resources))
        {
            let wanted = |bag: &Resources| seat.want.as_ref().map(|want| want.cut(bag));
            let suits = |bag: &Resources| {
                constraints.admits(&subject(agent, wanted(bag).as_ref().unwrap_or(bag)))
            };
            let why = self.blame(agent, seat, &part, suits);
            return Err(why.map_or_else(|| part.stop(Pair::Constraint), Stop::Bound));
        }
        Ok(part.resources)
    }
}

impl Part<'_> {
    /// Returns whether a bound that others move cut it.
    const fn is_bounded(&self) -> bool {
        self.is_cut || self.uncapped.is_some()
    }

    const fn stop(&self, why: Pair) -> Stop {
        if self.is_bounded() {
            Stop::Bound(Bound::Rest(why))
        } else {
            Stop::Pair(why)
        }
    }
}

/// Shows an agent to constraints.
pub(super) fn subject<'a>(agent: &'a Agent, offered: &'a Resources) -> Subject<'a> {
    Subject {
        hostname: &agent.traits.hostname,
        attributes: &agent.traits.attributes,
        region: agent.traits.region.as_deref(),
        zone: agent.traits.zone.as_deref(),
        total: agent.total(),
        offered,
    }
}

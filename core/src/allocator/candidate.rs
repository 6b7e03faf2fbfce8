//! What a framework may have of an agent in a role, or why nothing.
//!
//! Asked by a pass for each pair that it looks at, and by whoever wants an explanation. Changes
//! nothing. Deliberately not here: whose turn it is.

use alloc::borrow::Cow;

use super::columns::Row;
use super::drf::{DemandRule, Drf, GpuRule};
use super::headroom::Bounds;
use super::holding::open;
use super::kinds::{kind, with_value};
use super::ledger::Agent;
use super::obstacle::Capability;
use super::profile::AgentCapabilities;
use super::seats::{LeafId, Seat, Wish};
use super::want::first;
use super::worth::Least;
use crate::constraints::Subject;
use crate::resources::{Resources, Value};
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
    /// It holds enough in grants.
    HoldsEnough,
    /// What is left of it under such a bound is refused, or not wanted.
    Rest(Pair),
}

/// What a framework may have, and whether that is cut by what changes elsewhere.
struct Part<'a> {
    resources: Cow<'a, Resources>,
    is_cut: bool,
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
        let base = self.base(agent, seat);
        let row = match base {
            Cow::Borrowed(_) => *agent.counts().open(),
            Cow::Owned(ref base) => open(base, &self.columns),
        };
        let bounds = self.bounds(stage, seat, &row)?;
        let mut part = match bounds {
            Some(bounds) if !bounds.admit(&row) => Part {
                resources: Cow::Owned(self.chop(&base, bounds)),
                is_cut: true,
            },
            Some(_) | None => Part {
                resources: base,
                is_cut: false,
            },
        };
        // Of what cannot be cut, nothing may be left that serves it.
        if stage == Stage::Guarantees && part.is_cut && !self.serves(seat, &part.resources) {
            return Err(Stop::Uncovered);
        }
        if self.options.demands == DemandRule::Honoured
            && let Some(want) = &seat.want
        {
            part.resources = Cow::Owned(want.cut(&part.resources));
            if part.resources.is_empty() {
                return Err(part.stop(Pair::NoDemand));
            }
        }
        self.check_worth(agent, seat, wish, part)
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
    fn base<'a>(&self, agent: &'a Agent, seat: &Seat) -> Cow<'a, Resources> {
        if agent.counts().is_plain() {
            return Cow::Borrowed(agent.free());
        }
        let role = self.tree.role(seat.role);
        let capabilities = &self.seats.framework(seat.framework).capabilities;
        Cow::Owned(
            agent
                .free()
                .filter(|entry| entry.is_allocatable_to(role) && kind(entry).suits(capabilities)),
        )
    }

    /// Returns the most that a leaf may have of each column, or why it may have nothing. `None` is
    /// no bounds.
    fn bounds(&self, stage: Stage, seat: &Seat, free: &Row) -> Result<Option<Bounds>, Stop> {
        let policies = self.options.most_offered.is_some() || seat.want.is_some();
        if !self.tree.has_quota() && !policies {
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
                if required > 0 {
                    let surplus = (self.available.at(column) - required).max(0);
                    bounds.lower(column, covered.at(column).max(0) + surplus);
                }
            }
        }
        if policies {
            self.bound_offered(seat, bounds.get_or_insert(Bounds::NONE))?;
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

    /// Lowers bounds to what a framework may hold in grants beside what it does.
    fn bound_offered(&self, seat: &Seat, bounds: &mut Bounds) -> Result<(), Stop> {
        if let Some(most) = &self.options.most_offered {
            let offered = self.seats.offered_to(seat.framework);
            for (name, most) in most.iter() {
                let Some(column) = self.columns.find(name) else {
                    continue;
                };
                let left = i128::from(most.thousandths()) - offered.at(column);
                if left <= 0 {
                    return Err(Stop::Bound(Bound::HoldsEnough));
                }
                bounds.lower(column, left);
            }
        }
        if self.options.demands == DemandRule::Honoured
            && let Some(want) = &seat.want
        {
            want.limit(&seat.offered, &self.columns, bounds);
        }
        Ok(())
    }

    /// Cuts what is unreserved and counted to bounds; what cannot be cut is left out (AL-29).
    /// Everything else goes along.
    fn chop(&self, base: &Resources, mut bounds: Bounds) -> Resources {
        let mut part = Resources::new();
        for entry in base {
            let kind = kind(entry);
            let counted = kind.is_open().then(|| self.columns.place(entry)).flatten();
            let Some((column, amount)) = counted else {
                part.insert(entry.clone()).expect("a part of a bag fits");
                continue;
            };
            let most = amount.min(bounds.at(column));
            if most <= 0 || (kind.whole && most < amount) {
                continue;
            }
            bounds.spend(column, most);
            if most == amount {
                part.insert(entry.clone()).expect("a part of a bag fits");
                continue;
            }
            let most = i64::try_from(most).unwrap_or(i64::MAX);
            let most = match entry.value() {
                Value::Scalar(_) => most,
                Value::Ranges(_) | Value::Items(_) => most - most % 1_000,
            };
            let (_, value) = first(entry.value(), most);
            if let Some(taken) = value.and_then(|value| with_value(entry, value)) {
                part.insert(taken).expect("a part of a bag fits");
            }
        }
        part
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
            return Err(self.too_small(agent, seat, least, &part));
        }
        let at = agent.key.index();
        let refused = self
            .filters
            .refused_until(at, seat.refuser, &part.resources, self.now);
        if let Some(until) = refused {
            return Err(part.stop(Pair::Filtered(until)));
        }
        let constraints = wish.constraints.as_ref();
        let excludes = constraints
            .is_some_and(|it| !wish.is_static && !it.admits(&subject(agent, &part.resources)));
        if excludes {
            return Err(part.stop(Pair::Constraint));
        }
        Ok(part.resources)
    }

    fn too_small(&self, agent: &Agent, seat: &Seat, least: &Least, part: &Part<'_>) -> Stop {
        if !part.is_cut {
            return Stop::Pair(Pair::TooSmall);
        }
        let base = self.base(agent, seat);
        if least.is_met(&base, &self.columns.row(&base)) {
            Stop::Bound(Bound::Quota)
        } else {
            Stop::Pair(Pair::TooSmall)
        }
    }
}

impl Part<'_> {
    const fn stop(&self, why: Pair) -> Stop {
        if self.is_cut {
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

//! What is left of a demand, and how offers are cut to it.
//!
//! Asked for each offer if demands are honoured. What is granted is taken off. A shape of which a
//! part comes back unused, or is lost with its agent, is wanted again, as long as the framework
//! does not say otherwise; so is one that comes back bit by bit.
//!
//! What can be divided serves as many shapes as it is enough for, put together from entries of
//! whatever reservation, but not from what can be taken back and what cannot. What cannot be
//! divided (a whole disk, a volume) serves one shape, if it alone is enough. Of `gpus`, ranges and
//! sets a shape takes whole ones (RM-55).
//!
//! Deliberately not here: what quota, headroom and bounds on offers allow.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use smallvec::SmallVec;

use super::GrantId;
use super::drf::Drf;
use super::holding::Span;
use super::kept::Kept;
use super::kinds::{amount, at_most, is_in_ones, is_undividable, one_copy, whole_ones};
use super::ledger::Agent;
use super::seats::LeafId;
use super::tally::{Caps, Tally};
use crate::demand::{Demand, Shape};
use crate::keys::AgentKey;
use crate::resources::{Quantities, Resource, Resources};

/// A demand, less what was granted of it.
#[derive(Debug)]
pub(super) struct Want {
    shapes: Vec<Left>,
    at_once: Option<Quantities>,
    /// What was granted for it, as long as not all of it is answered.
    pending: BTreeMap<AgentKey, Pending>,
    /// The last grant before it: none up to there was made for it.
    after: GrantId,
}

#[derive(Debug)]
struct Left {
    shape: Shape,
    left: u32,
}

/// What was granted of one agent.
#[derive(Debug, Default)]
struct Pending {
    servings: Vec<Serving>,
    /// What of it did not come back.
    kept: Kept,
    /// What was taken into use of these grants, and of those that were answered with them.
    taken: Kept,
}

/// What was granted for one shape.
#[derive(Debug)]
struct Serving {
    shape: usize,
    /// What one took of each name of the shape.
    each: Each,
    /// How many are still there as a whole. With what is left of the shape, and with what was
    /// granted elsewhere, that is no more than were demanded.
    whole: u32,
}

/// Thousandths of each name of a shape, in its order.
type Each = SmallVec<[i128; 4]>;

/// A shape that a bag serves: which, how often, and with what.
struct Served {
    shape: usize,
    times: u32,
    each: Each,
    part: Resources,
}

impl Want {
    pub(super) fn new(demand: &Demand, after: GrantId) -> Self {
        let left = |shape: &Shape| Left {
            left: shape.count(),
            shape: shape.clone(),
        };
        Self {
            shapes: demand.shapes().iter().map(left).collect(),
            at_once: demand.at_once().cloned(),
            pending: BTreeMap::new(),
            after,
        }
    }

    /// Visits how often each shape is still wanted.
    pub(super) fn left(&self) -> impl Iterator<Item = u32> + '_ {
        self.shapes.iter().map(|it| it.left)
    }

    /// Lowers bounds to what may be offered beside what is.
    pub(super) fn limit<'a>(&'a self, offered: &Tally, caps: &mut Caps<'a>) {
        for (name, most) in self.at_once.iter().flat_map(Quantities::iter) {
            caps.lower(name, i128::from(most.thousandths()) - offered.at(name));
        }
    }

    /// Returns the part of a bag that serves as much of the demand as fits, the most wanted shape
    /// first; nothing if no shape fits.
    pub(super) fn cut(&self, from: &Resources) -> Resources {
        let mut cut = Resources::new();
        for served in self.serve(from) {
            cut.add(&served.part).expect("parts of a bag fit together");
        }
        cut
    }

    /// Returns whether of less than a bag, and with less demanded, nothing would be served that is
    /// no part of what is now: so it is if each name is one amount that can be had in any part, and
    /// no shape gives way to others.
    pub(super) fn is_steady(&self, from: &Resources) -> bool {
        let open = self.shapes.iter().filter(|it| it.left > 0);
        let is_amount = |name: &str| {
            let mut named = from.iter().filter(|entry| entry.name() == name);
            named.next().is_none_or(Resource::is_scalar) && named.next().is_none()
        };
        let is_served = || {
            let served: u64 = self.serve(from).iter().map(|it| u64::from(it.times)).sum();
            served == open.clone().map(|it| u64::from(it.left)).sum::<u64>()
        };
        let is_plain = |it: &Left| it.shape.each().iter().all(|(name, _)| is_amount(name));
        open.clone().all(is_plain) && (open.clone().count() == 1 || is_served())
    }

    /// Returns which shapes a bag serves.
    fn serve(&self, from: &Resources) -> Vec<Served> {
        let mut rest = from.clone();
        let mut served = Vec::new();
        for (shape, it) in self.shapes.iter().enumerate() {
            if it.left == 0 {
                continue;
            }
            let stocks = it.shape.each().iter().map(|(name, each)| {
                let each = i128::from(each.thousandths());
                Stock::new(rest.iter().filter(|entry| entry.name() == name), each)
            });
            let stocks: Vec<_> = stocks.collect();
            let times = stocks.iter().map(Stock::times).min().unwrap_or(0);
            let times = u32::try_from(times).unwrap_or(u32::MAX).min(it.left);
            if times == 0 {
                continue;
            }
            let mut part = Resources::new();
            let each = stocks.iter().map(|stock| stock.each).collect();
            for stock in stocks {
                stock.take(i128::from(times), &mut part);
            }
            rest.subtract(&part)
                .expect("each entry is a part of one, or one as it is");
            served.push(Served {
                shape,
                times,
                each,
                part,
            });
        }
        served
    }

    /// Takes off what was granted.
    fn grant(&mut self, agent: AgentKey, granted: &Resources) {
        let served = self.serve(granted);
        let pending = self.pending.entry(agent).or_default();
        pending.kept.add(granted);
        for it in served {
            self.shapes[it.shape].left -= it.times;
            pending.serve(it);
        }
    }

    /// Counts that a part of what was granted is something else now.
    pub(super) fn convert(
        &mut self,
        agent: AgentKey,
        span: Span,
        before: &Resources,
        after: &Resources,
    ) {
        if span.youngest <= self.after {
            return;
        }
        if let Some(pending) = self.pending.get_mut(&agent) {
            // Of an earlier demand's grant nothing is in there. What is too much is taken off once
            // something comes back.
            if span.oldest > self.after {
                pending.kept.subtract(before);
            }
            pending.kept.add(after);
        }
    }

    /// Counts that a part of what was granted was taken into use.
    fn accept(&mut self, agent: AgentKey, span: Span, taken: &Resources) {
        if span.youngest <= self.after {
            return;
        }
        if let Some(pending) = self.pending.get_mut(&agent) {
            pending.taken.add(taken);
        }
    }

    /// Puts back what did not come to use, unless it was granted for an earlier demand. `left` is
    /// what is left of its grants on the agent. Returns whether anything is wanted again.
    fn give_back<'a>(
        &mut self,
        agent: AgentKey,
        unused: &Unused<'_>,
        left: impl Iterator<Item = (Span, &'a Resources)>,
    ) -> bool {
        let Some(pending) = self.pending.get_mut(&agent) else {
            return false;
        };
        let is_later = |span: &Span| span.youngest > self.after;
        if !is_later(&unused.span) {
            return false;
        }
        if unused.span.oldest > self.after {
            pending.kept.subtract(unused.resources);
        } else {
            // It may be of an earlier one: then what is enough by itself is still there, and what
            // was taken since is of this one first.
            let mut later = pending.taken.clone();
            left.filter(|(span, _)| is_later(span))
                .for_each(|(_, bag)| later.add(bag));
            pending.kept.keep_at_most(later);
        }
        let mut rest = pending.kept.clone();
        let mut more = false;
        for serving in &mut pending.servings {
            let left = &mut self.shapes[serving.shape];
            let whole = serving.take(&left.shape, &mut rest);
            left.left += serving.whole - whole;
            more |= whole < serving.whole;
            serving.whole = whole;
        }
        pending.servings.retain(|serving| serving.whole > 0);
        more
    }
}

impl Pending {
    fn serve(&mut self, served: Served) {
        let Served {
            shape, times, each, ..
        } = served;
        let mut known = self.servings.iter_mut();
        match known.find(|it| (it.shape, &it.each) == (shape, &each)) {
            Some(known) => known.whole += times,
            None => self.servings.push(Serving {
                shape,
                each,
                whole: times,
            }),
        }
    }
}

impl Serving {
    /// Takes out of what is left as much as is whole. Returns how many shapes that is; no more than
    /// there were.
    fn take(&self, shape: &Shape, rest: &mut Kept) -> u32 {
        let names = || shape.each().iter().map(|it| it.0).zip(&self.each);
        let fit = names().map(|(name, each)| rest.times(name, *each)).min();
        let whole = fit.unwrap_or(0).min(i128::from(self.whole));
        for (name, each) in names() {
            rest.take(name, *each, whole);
        }
        u32::try_from(whole).expect("no more than there were")
    }
}

/// Something granted that came back, or is lost.
#[derive(Debug)]
pub(super) struct Unused<'a> {
    /// Between which grants it is.
    pub(super) span: Span,
    pub(super) resources: &'a Resources,
}

/// What there is of one name, for shapes that want so much each.
struct Stock<'a> {
    each: i128,
    /// What stays, and can be divided.
    lasting: Vec<&'a Resource>,
    /// What can be taken back, and divided.
    revocable: Vec<&'a Resource>,
    /// What cannot be divided and is enough, the least first.
    undivided: Vec<&'a Resource>,
    is_in_ones: bool,
}

impl<'a> Stock<'a> {
    fn new(named: impl Iterator<Item = &'a Resource>, each: i128) -> Self {
        let mut stock = Self {
            each,
            lasting: Vec::new(),
            revocable: Vec::new(),
            undivided: Vec::new(),
            is_in_ones: false,
        };
        for entry in named {
            stock.is_in_ones |= is_in_ones(entry);
            if is_undividable(entry) {
                stock.undivided.push(entry);
            } else if entry.is_revocable() {
                stock.revocable.push(entry);
            } else {
                stock.lasting.push(entry);
            }
        }
        if stock.is_in_ones {
            stock.each = whole_ones(each + 999);
        }
        let least = stock.each;
        stock.undivided.retain(|entry| one_copy(entry) >= least);
        stock.undivided.sort_by_key(|entry| one_copy(entry));
        stock
    }

    /// Returns how much of an entry can be used.
    fn usable(&self, entry: &Resource) -> i128 {
        if self.is_in_ones {
            whole_ones(amount(entry))
        } else {
            amount(entry)
        }
    }

    fn fits(&self, entries: &[&Resource]) -> i128 {
        let sum: i128 = entries.iter().map(|entry| self.usable(entry)).sum();
        sum / self.each
    }

    /// Returns how many shapes there is enough for.
    fn times(&self) -> i128 {
        let undivided = self.undivided.len() as i128;
        self.fits(&self.lasting) + self.fits(&self.revocable) + undivided
    }

    /// Takes enough for so many shapes: what can be divided first, and of that the reserved, which
    /// others can use less.
    fn take(&self, times: i128, into: &mut Resources) {
        let mut insert = |taken| {
            into.insert(taken).expect("a part of a bag fits");
        };
        let mut left = times;
        for entries in [&self.lasting, &self.revocable] {
            let times = self.fits(entries).min(left);
            left -= times;
            let mut wanted = times * self.each;
            for entry in entries.iter().rev() {
                if let Some(taken) = at_most(entry, self.usable(entry).min(wanted)) {
                    wanted -= amount(&taken);
                    insert(taken);
                }
            }
        }
        for entry in &self.undivided {
            if left > 0 {
                left -= 1;
                insert((*entry).clone());
            }
        }
    }
}

impl Drf {
    /// Counts a grant, for bounds on grants and for what is left of a demand.
    pub(super) fn note_grant(&mut self, leaf: LeafId, agent: AgentKey, granted: &Resources) {
        self.seats.tally(leaf, |tally| tally.add(granted));
        if let Some(want) = &mut self.seats.seat_mut(leaf).want {
            want.grant(agent, granted);
        }
    }

    /// Counts that something granted was taken into use.
    pub(super) fn note_accepted(
        &mut self,
        leaf: LeafId,
        agent: AgentKey,
        span: Span,
        taken: &Resources,
    ) {
        self.seats.tally(leaf, |tally| tally.subtract(taken));
        if let Some(want) = &mut self.seats.seat_mut(leaf).want {
            want.accept(agent, span, taken);
        }
        self.settle(leaf, agent);
    }

    /// Counts that something granted is not any more, and was not used: a shape that it was for is
    /// wanted again.
    pub(super) fn note_unused(&mut self, leaf: LeafId, key: AgentKey, unused: &Unused<'_>) {
        self.seats
            .tally(leaf, |tally| tally.subtract(unused.resources));
        if let Some(want) = &mut self.seats.seat_mut(leaf).want {
            let agent = self.ledger.get(key).into_iter();
            let left = agent.flat_map(|it| it.offered());
            let left = left.filter(|it| it.0 == leaf).map(|it| (it.1, it.2));
            if want.give_back(key, unused, left) {
                self.want_again(leaf);
            }
        }
        self.settle(leaf, key);
    }

    /// Counts that all that was granted of an agent is not any more, for it is gone.
    pub(super) fn note_lost(&mut self, agent: &Agent) {
        for (at, (leaf, span, resources)) in agent.offered().enumerate() {
            self.seats.tally(leaf, |tally| tally.subtract(resources));
            let unused = Unused { span, resources };
            let left = agent.offered().skip(at + 1).filter(|it| it.0 == leaf);
            let left = left.map(|it| (it.1, it.2));
            let want = self.seats.seat_mut(leaf).want.as_mut();
            if want.is_some_and(|it| it.give_back(agent.key, &unused, left)) {
                self.want_again(leaf);
            }
        }
        // Not one by one: what is not wanted again by then counts as used.
        for (leaf, ..) in agent.offered() {
            self.settle(leaf, agent.key);
        }
    }

    /// Has a leaf go by what it used of an agent, once nothing granted is left to be answered.
    pub(super) fn settle(&mut self, leaf: LeafId, key: AgentKey) {
        let Some(want) = &mut self.seats.seat_mut(leaf).want else {
            return;
        };
        let agent = self.ledger.get(key);
        if !agent.is_some_and(|agent| agent.offered().any(|it| it.0 == leaf)) {
            want.pending.remove(&key);
        }
    }
}

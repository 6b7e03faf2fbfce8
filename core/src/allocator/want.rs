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
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::drf::Drf;
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
    kept: Tally,
}

/// What was granted for one shape.
#[derive(Debug)]
struct Serving {
    shape: usize,
    times: u32,
    amount: Tally,
    /// How many shapes of it are still there as a whole.
    whole: u32,
}

impl Want {
    pub(super) fn new(demand: &Demand) -> Self {
        let left = |shape: &Shape| Left {
            left: shape.count(),
            shape: shape.clone(),
        };
        Self {
            shapes: demand.shapes().iter().map(left).collect(),
            at_once: demand.at_once().cloned(),
            pending: BTreeMap::new(),
        }
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
        for (_, _, part) in self.serve(from) {
            cut.add(&part).expect("parts of a bag fit together");
        }
        cut
    }

    /// Returns which shapes a bag serves, how often, and with what.
    fn serve(&self, from: &Resources) -> Vec<(usize, u32, Resources)> {
        let mut rest = from.clone();
        let mut served = Vec::new();
        for (at, it) in self.shapes.iter().enumerate() {
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
            for stock in stocks {
                stock.take(i128::from(times), &mut part);
            }
            rest.subtract(&part)
                .expect("each entry is a part of one, or one as it is");
            served.push((at, times, part));
        }
        served
    }

    /// Takes off what was granted.
    fn grant(&mut self, agent: AgentKey, granted: &Resources) {
        let served = self.serve(granted);
        let pending = self.pending.entry(agent).or_default();
        pending.kept.add(granted);
        for (shape, times, part) in served {
            self.shapes[shape].left -= times;
            pending.serve(shape, times, &part);
        }
    }

    /// Puts back what did not come to use. Returns whether anything is wanted again.
    fn give_back(&mut self, agent: AgentKey, returned: &Resources) -> bool {
        let Some(pending) = self.pending.get_mut(&agent) else {
            return false;
        };
        pending.kept.subtract(returned);
        let mut rest = pending.kept.clone();
        let mut more = false;
        for serving in &mut pending.servings {
            let whole = serving.take(&mut rest);
            self.shapes[serving.shape].left += serving.whole - whole;
            more |= whole < serving.whole;
            serving.whole = whole;
        }
        more
    }
}

impl Pending {
    fn serve(&mut self, shape: usize, times: u32, part: &Resources) {
        let known = self.servings.iter_mut().find(|it| it.shape == shape);
        match known {
            Some(known) => {
                known.times += times;
                known.whole += times;
                known.amount.add(part);
            }
            None => self.servings.push(Serving {
                shape,
                times,
                amount: Tally::of(part),
                whole: times,
            }),
        }
    }
}

impl Serving {
    /// Takes out of what is left as much as is whole. Returns how many shapes that is; no more than
    /// there were.
    fn take(&self, rest: &mut Tally) -> u32 {
        let times = i128::from(self.times);
        let fit = |(name, amount): (&Arc<str>, i128)| rest.at(name).max(0) * times / amount;
        let whole = self.amount.iter().map(fit).min().unwrap_or(0);
        let whole = whole.min(i128::from(self.whole));
        for (name, amount) in self.amount.iter() {
            // A part of one is not there for the next shape either.
            rest.change(name, -(amount * whole + times - 1) / times);
        }
        u32::try_from(whole).expect("no more than there were")
    }
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
        let seat = self.seats.seat_mut(leaf);
        if let Some(tally) = &mut seat.in_offers {
            tally.add(granted);
        }
        if let Some(want) = &mut seat.want {
            want.grant(agent, granted);
        }
    }

    /// Counts that something granted was taken into use.
    pub(super) fn note_accepted(&mut self, leaf: LeafId, agent: AgentKey, taken: &Resources) {
        if let Some(tally) = &mut self.seats.seat_mut(leaf).in_offers {
            tally.subtract(taken);
        }
        self.settle(leaf, agent);
    }

    /// Counts that something granted is not any more, and was not used: a shape that it was for is
    /// wanted again.
    pub(super) fn note_unused(&mut self, leaf: LeafId, agent: AgentKey, unused: &Resources) {
        self.give_back(leaf, agent, unused);
        self.settle(leaf, agent);
    }

    /// Counts that all that was granted of an agent is not any more, for it is gone.
    pub(super) fn note_lost(&mut self, agent: &Agent) {
        for (leaf, lost) in agent.offered() {
            self.give_back(leaf, agent.key, lost);
        }
        // Not one by one: what is not wanted again by then counts as used.
        for (leaf, _) in agent.offered() {
            self.settle(leaf, agent.key);
        }
    }

    fn give_back(&mut self, leaf: LeafId, agent: AgentKey, unused: &Resources) {
        let seat = self.seats.seat_mut(leaf);
        if let Some(tally) = &mut seat.in_offers {
            tally.subtract(unused);
        }
        let want = seat.want.as_mut();
        if want.is_some_and(|want| want.give_back(agent, unused)) {
            self.want_again(leaf);
        }
    }

    /// Has a leaf go by what it used of an agent, once nothing granted is left to be answered.
    fn settle(&mut self, leaf: LeafId, key: AgentKey) {
        let Some(want) = &mut self.seats.seat_mut(leaf).want else {
            return;
        };
        let agent = self.ledger.get(key);
        if !agent.is_some_and(|agent| agent.offered().any(|(of, _)| of == leaf)) {
            want.pending.remove(&key);
        }
    }
}

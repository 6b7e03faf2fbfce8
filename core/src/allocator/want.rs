//! What is left of a demand, and how offers are cut to it.
//!
//! Asked for each offer if demands are honoured. What is granted is taken off; what of it comes
//! back unused is wanted again, as long as the framework does not say otherwise. Deliberately not
//! here: what quota and headroom allow.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::columns::{Columns, Row};
use super::headroom::Bounds;
use super::kinds::with_value;
use crate::demand::{Demand, Shape};
use crate::resources::{Items, Milli, Quantities, Ranges, Resources, Value};

/// A demand, less what was granted of it.
#[derive(Debug)]
pub(super) struct Want {
    shapes: Vec<Left>,
    at_once: Option<Quantities>,
}

#[derive(Debug)]
struct Left {
    shape: Shape,
    left: u32,
}

impl Want {
    pub(super) fn new(demand: Demand) -> Self {
        let left = |shape: Shape| Left {
            left: shape.count,
            shape,
        };
        Self {
            shapes: demand.shapes.into_iter().map(left).collect(),
            at_once: demand.at_once,
        }
    }

    /// Lowers bounds to what may be offered beside what is.
    pub(super) fn limit(&self, offered: &Row, columns: &Columns, bounds: &mut Bounds) {
        for (name, most) in self.at_once.iter().flat_map(Quantities::iter) {
            if let Some(column) = columns.find(name) {
                bounds.lower(column, i128::from(most.thousandths()) - offered.at(column));
            }
        }
    }

    /// Returns the part of a bag that serves as much of the demand as fits, the most wanted shape
    /// first; nothing if no shape fits.
    pub(super) fn cut(&self, from: &Resources) -> Resources {
        let mut rest = from.clone();
        let mut cut = Resources::new();
        for it in &self.shapes {
            let times = fits(&it.shape, it.left, &rest);
            if times == 0 {
                continue;
            }
            let part = part(&it.shape.each, times, &rest);
            rest.subtract(&part).expect("a part is contained");
            cut.add(&part).expect("parts of a bag fit together");
        }
        cut
    }

    /// Takes off what was granted.
    pub(super) fn grant(&mut self, granted: &Resources) {
        let mut rest = Quantities::from(granted);
        for it in &mut self.shapes {
            let times = times(&it.shape.each, it.left, &rest);
            it.left -= times;
            rest.saturating_sub(&multiple(&it.shape.each, times));
        }
    }

    /// Puts back what was returned without being used.
    pub(super) fn give_back(&mut self, returned: &Resources) {
        let mut rest = Quantities::from(returned);
        for it in &mut self.shapes {
            let times = times(&it.shape.each, it.shape.count - it.left, &rest);
            it.left += times;
            rest.saturating_sub(&multiple(&it.shape.each, times));
        }
    }
}

fn fits(shape: &Shape, most: u32, rest: &Resources) -> u32 {
    times(&shape.each, most, &Quantities::from(rest))
}

/// How often something is contained, at most `most` times.
fn times(each: &Quantities, most: u32, rest: &Quantities) -> u32 {
    let fit = |(name, amount): (&str, Milli)| {
        let times = rest.amount(name).thousandths() / amount.thousandths().max(1);
        u32::try_from(times).unwrap_or(u32::MAX)
    };
    each.iter().map(fit).min().unwrap_or(0).min(most)
}

fn multiple(each: &Quantities, times: u32) -> Quantities {
    let scaled = |(name, amount): (&str, Milli)| {
        let scaled = amount.thousandths().saturating_mul(i64::from(times));
        (Arc::from(name), Milli::from_thousandths(scaled))
    };
    if times == 0 {
        return Quantities::new();
    }
    let entries: Vec<_> = each.iter().map(scaled).collect();
    Quantities::try_from(entries).expect("the names of quantities, in order")
}

/// Takes so many of a shape out of a bag: of each name the reserved first, which others can use
/// less.
fn part(each: &Quantities, times: u32, from: &Resources) -> Resources {
    let mut part = Resources::new();
    for (name, amount) in each.iter() {
        let mut left = amount.thousandths().saturating_mul(i64::from(times));
        let named: Vec<_> = from.iter().filter(|entry| entry.name() == name).collect();
        for entry in named.into_iter().rev() {
            let (taken, value) = first(entry.value(), left);
            left -= taken;
            if let Some(taken) = value.and_then(|value| with_value(entry, value)) {
                part.insert(taken).expect("a part of a bag fits");
            }
        }
    }
    part
}

/// Takes the first of a value, by thousandths. Returns how much it was.
pub(super) fn first(value: &Value, thousandths: i64) -> (i64, Option<Value>) {
    let whole = usize::try_from(thousandths / 1_000).unwrap_or(0);
    if thousandths <= 0 {
        return (0, None);
    }
    match value {
        Value::Scalar(amount) => {
            let taken = amount.thousandths().min(thousandths);
            let amount = Milli::from_thousandths(taken);
            (taken, (taken > 0).then_some(Value::Scalar(amount)))
        }
        Value::Ranges(ranges) => {
            let (mut some, mut left) = (Ranges::new(), whole as u64);
            for range in ranges.iter() {
                if left > 0 {
                    let end = range.start().saturating_add(left - 1).min(*range.end());
                    left -= (end - range.start() + 1).min(left);
                    some.insert(*range.start()..=end);
                }
            }
            let taken = i64::try_from(whole as u64 - left).unwrap_or(0) * 1_000;
            (taken, (taken > 0).then_some(Value::Ranges(some)))
        }
        Value::Items(items) => {
            let mut some = Items::new();
            for item in items.iter().take(whole) {
                let _new = some.insert(item).expect("it was legal before");
            }
            let taken = i64::try_from(some.len()).unwrap_or(0) * 1_000;
            (taken, (taken > 0).then_some(Value::Items(some)))
        }
    }
}

//! Arbitrary sequences of changes to the allocator, each of its decisions judged by a plain model.
//!
//! Bytes are read as steps: what happens next, to whom, and how much of it. Only what can happen
//! happens, since an embedder owes that to an allocator; late news of those who are gone are among
//! it. [`plain::Plain`] keeps lists and computes everything anew. What it does not decide (what is
//! left of a demand, what is left once a bound on offers is lowered) is only held to what holds of
//! every grant: nothing is given twice, and caps hold. Deliberately not here: who of several stands
//! first, which the core's own model checks grant by grant.

mod bookings;
mod bytes;
mod judge;
mod obstacles;
mod plain;
mod steps;
mod wide;

use tepui_core::allocator::drf::{Drf, GpuRule, Options, SorterKind};
use tepui_core::allocator::{Decision, GrantId, RescindReason};
use tepui_core::machine::{Never, Outbox};
use tepui_core::time::Time;

use bytes::Bytes;
use plain::Plain;

/// Beyond so many steps nothing new happens.
const MOST_STEPS: usize = 400;

/// The allocator, the model, and what was said that the model has not heard.
struct Pair {
    drf: Drf,
    plain: Plain,
    out: Outbox<Never, Decision>,
    /// What was asked back because of a change that the model has not taken in.
    back: Vec<(GrantId, RescindReason)>,
    now: Time,
    /// How many kinds of steps there are.
    kinds: u8,
}

/// Drives an allocator through the steps that the bytes say.
pub fn changes(data: &[u8]) {
    let mut bytes = Bytes::new(data);
    let (options, reach) = options(&mut bytes);
    let mut pair = Pair {
        kinds: match reach {
            Reach::Narrow => steps::KINDS,
            Reach::Wide => steps::KINDS + wide::KINDS,
        },
        plain: Plain::new(&options),
        drf: Drf::new(options),
        out: Outbox::new(),
        back: Vec::new(),
        now: Time::ZERO,
    };
    let mut steps = 0;
    while let Some(kind) = bytes.next().filter(|_| steps < MOST_STEPS) {
        steps += 1;
        pair.step(kind, &mut bytes);
    }
    pair.come_to_rest();
}

/// How much of what can happen does.
#[derive(Clone, Copy)]
enum Reach {
    /// What the model decides all of.
    Narrow,
    /// Everything.
    Wide,
}

/// Reads how the allocator behaves.
fn options(bytes: &mut Bytes<'_>) -> (Options, Reach) {
    let bits = bytes.next().unwrap_or(0);
    let set = |bit: u8| bits >> bit & 1 == 1;
    let sorter = |bit| {
        if set(bit) {
            SorterKind::Random
        } else {
            SorterKind::Drf
        }
    };
    let mut options = Options {
        role_sorter: sorter(0),
        framework_sorter: sorter(1),
        seed: u64::from(bits),
        ..Options::default()
    };
    if set(2) {
        options.agents_per_slice = 1;
    }
    if set(3) {
        options.lease = Some(std::time::Duration::from_secs(3));
    }
    if set(4) {
        options.gpus = GpuRule::Everyone;
    }
    if set(5) {
        options.ageing = Some(std::time::Duration::from_secs(5));
    }
    if set(6) {
        options.min_allocatable = Vec::new();
    }
    if !set(7) {
        return (options, Reach::Narrow);
    }
    wide::choose(&mut options, bytes);
    (options, Reach::Wide)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::corpus;

    #[test]
    fn the_corpus() {
        for entry in corpus::entries("changes") {
            changes(&entry);
        }
    }

    #[test]
    fn the_corpus_cut_short_and_changed() {
        for entry in corpus::entries("changes") {
            for at in (0..entry.len()).step_by(61) {
                let mut changed = entry.clone();
                changed[at] = changed[at].wrapping_mul(31).wrapping_add(7);
                changes(&changed);
                changes(&entry[..at]);
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1_000))]

        // I1, I2, I4 to I7
        #[test]
        fn anything(data in prop::collection::vec(any::<u8>(), 0..400)) {
            changes(&data);
        }
    }
}

//! Who refuses one certain bag of an agent, as bits.
//!
//! [`super::Filters`] keeps one for an agent with many refusals: what everybody declines in turn is
//! the same each time it is free again, and a walk over all that declined it before, for each of
//! them, would be quadratic.
//!
//! Deliberately not here: the refusals. Whoever takes one out of them drops these bits.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::Filters;
use crate::resources::Resources;
use crate::time::Time;

const BITS: u32 = 64;

/// All that refuse a bag of an agent, for as long as none of their refusals lapses.
#[derive(Debug)]
pub(super) struct Refusing {
    candidate: Resources,
    /// By owner.
    bits: Vec<u64>,
    /// When the first of their refusals lapses.
    until: Time,
    /// How often somebody was forgotten before.
    forgotten: u64,
}

impl Refusing {
    /// Makes bits of nobody.
    fn new(candidate: &Resources, forgotten: u64) -> Self {
        Self {
            candidate: candidate.clone(),
            bits: Vec::new(),
            until: Time::MAX,
            forgotten,
        }
    }

    /// Returns whether these are all that refuse a candidate now.
    fn is_all_of(&self, candidate: &Resources, now: Time, forgotten: u64) -> bool {
        self.until > now && self.forgotten == forgotten && self.candidate == *candidate
    }

    /// Notes that an owner refuses something until a moment.
    pub(super) fn refuse(&mut self, owner: u32, refused: &Resources, until: Time) {
        if refused.contains(&self.candidate) {
            self.add(owner, until);
        }
    }

    /// Adds an owner who refuses the bag until a moment.
    fn add(&mut self, owner: u32, until: Time) {
        let (word, bit) = split(owner);
        if self.bits.len() <= word {
            self.bits.resize(word + 1, 0);
        }
        self.bits[word] |= bit;
        self.until = self.until.min(until);
    }

    /// Takes them out of bits by owner.
    fn strike(&self, words: &mut [u64]) {
        for (word, gone) in words.iter_mut().zip(&self.bits) {
            *word &= !gone;
        }
    }
}

impl Filters {
    /// Takes the owners of refusals that block an offer of `candidate` on an agent out of `words`,
    /// which are bits by owner. Returns how many refusals it went through.
    pub fn strike(
        &mut self,
        agent: u32,
        candidate: &Resources,
        now: Time,
        words: &mut [u64],
    ) -> usize {
        let len = self.pages.len_of(agent);
        // Bits that are longer than the row would not pay.
        if len < words.len().max(1) {
            self.each_refusing(agent, candidate, now, |owner, _| {
                let (word, bit) = split(owner);
                if let Some(word) = words.get_mut(word) {
                    *word &= !bit;
                }
            });
            return len;
        }
        let known = self.pages.refusing(agent).and_then(Option::take);
        let known = known.filter(|known| known.is_all_of(candidate, now, self.forgotten));
        let (known, passed) = match known {
            Some(known) => (known, 0),
            None => {
                let mut all = Refusing::new(candidate, self.forgotten);
                self.each_refusing(agent, candidate, now, |owner, until| all.add(owner, until));
                (Box::new(all), len)
            }
        };
        known.strike(words);
        if let Some(place) = self.pages.refusing(agent) {
            *place = Some(known);
        }
        passed
    }

    /// Visits the owners of refusals that block an offer of `candidate` on an agent, and when these
    /// lapse.
    fn each_refusing(
        &self,
        agent: u32,
        candidate: &Resources,
        now: Time,
        mut visit: impl FnMut(u32, Time),
    ) {
        // Most of a row is of one shape.
        let mut last = None;
        for refusal in self.pages.of(agent) {
            let Some(owner) = self.sources[refusal.of.0 as usize].owner else {
                continue;
            };
            let contains = match last {
                Some((shape, contains)) if shape == refusal.shape => contains,
                Some(_) | None => self.shape(refusal).contains(candidate),
            };
            last = Some((refusal.shape, contains));
            let until = self.lapses[refusal.lapse as usize].at;
            if contains && until > now {
                visit(owner, until);
            }
        }
    }
}

const fn split(owner: u32) -> (usize, u64) {
    ((owner / BITS) as usize, 1 << (owner % BITS))
}

//! A scheduler that thinks about offers for a while before it answers them. By then they may have
//! ended, and what it launches with them is refused.
//!
//! Wrapped around another one, which answers at once.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::protocol::offer::Offer;
use crate::rng::Rng;
use crate::scheduler::{Acknowledging, Logic, UserCall, UserEvent};
use crate::sim::options::Span;
use crate::time::Time;

/// The scheduler.
#[derive(Debug)]
pub struct Slow<L> {
    inner: L,
    think: Span,
    rng: Rng,
    /// Offers that it thinks about, and until when; it takes one lot after the other.
    offers: VecDeque<(Time, Vec<Offer>)>,
}

impl<L: Logic> Slow<L> {
    /// Wraps a scheduler: it answers each lot of offers after a while, which `seed` decides, and
    /// never before those that came earlier.
    pub fn new(inner: L, think: Span, seed: u64) -> Self {
        Self {
            inner,
            think,
            rng: Rng::new(seed),
            offers: VecDeque::new(),
        }
    }

    fn answer(&mut self, now: Time, calls: &mut Vec<UserCall>) {
        while let Some((_, offers)) = self.offers.pop_front_if(|(at, _)| *at <= now) {
            self.inner.on_event(now, UserEvent::Offers(offers), calls);
        }
    }
}

impl<L: Logic> Logic for Slow<L> {
    fn on_event(&mut self, now: Time, event: UserEvent, calls: &mut Vec<UserCall>) {
        let UserEvent::Offers(offers) = event else {
            self.inner.on_event(now, event, calls);
            return;
        };
        let until = now + self.think.draw(&mut self.rng);
        let last = self.offers.back().map_or(Time::ZERO, |(at, _)| *at);
        self.offers.push_back((until.max(last), offers));
        self.answer(now, calls);
    }

    fn tick(&mut self, now: Time, calls: &mut Vec<UserCall>) {
        self.answer(now, calls);
        self.inner.tick(now, calls);
    }

    fn deadline(&self) -> Option<Time> {
        let answers_at = self.offers.front().map(|(at, _)| *at);
        answers_at.into_iter().chain(self.inner.deadline()).min()
    }

    fn acknowledging(&self) -> Acknowledging {
        self.inner.acknowledging()
    }
}

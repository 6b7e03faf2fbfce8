//! A user's executor and the executor machine as one machine.
//!
//! The same [`Logic`] value runs over a socket, in one process, or in the simulator: whoever
//! drives this machine decides.

use alloc::vec::Vec;

use super::{Config, Effect, Executor, Input, UserCall, UserEvent};
use crate::machine::{Machine, Never, Outbox, Output};
use crate::time::Time;

/// A user's executor: the only trait to implement.
///
/// Calls are carried out in the order in which they are pushed, after the method returns.
pub trait Logic {
    /// Reacts to an event.
    fn on_event(&mut self, now: Time, event: UserEvent, calls: &mut Vec<UserCall>);

    /// Does what is due by `now`.
    fn tick(&mut self, now: Time, calls: &mut Vec<UserCall>) {
        let _ = (now, calls);
    }

    /// When [`Logic::tick`] next has work. Earlier is harmless, later delays work.
    fn deadline(&self) -> Option<Time> {
        None
    }
}

impl<L: Logic + ?Sized> Logic for alloc::boxed::Box<L> {
    fn on_event(&mut self, now: Time, event: UserEvent, calls: &mut Vec<UserCall>) {
        (**self).on_event(now, event, calls);
    }

    fn tick(&mut self, now: Time, calls: &mut Vec<UserCall>) {
        (**self).tick(now, calls);
    }

    fn deadline(&self) -> Option<Time> {
        (**self).deadline()
    }
}

/// An executor machine with a user's logic inside.
#[derive(Debug)]
pub struct Hosted<L> {
    executor: Executor,
    logic: L,
    inner: Outbox<Never, Effect>,
}

impl<L: Logic> Hosted<L> {
    /// Puts `logic` on top of an executor without a connection.
    pub fn new(config: Config, logic: L) -> Self {
        Self {
            executor: Executor::new(config),
            logic,
            inner: Outbox::new(),
        }
    }

    /// Returns the user's logic.
    pub fn logic(&self) -> &L {
        &self.logic
    }

    /// Returns the executor machine.
    pub fn executor(&self) -> &Executor {
        &self.executor
    }

    /// Passes effects on and events to the user, and takes in what the user has to say, until both
    /// are quiet.
    fn settle(&mut self, now: Time, out: &mut Outbox<Never, Effect>) {
        let mut calls = Vec::new();
        while let Some(output) = self.inner.pop() {
            let effect = match output {
                Output::Effect(effect) | Output::Free(effect) => effect,
                Output::Persist(never) => match never {},
            };
            match effect {
                Effect::User(event) => {
                    self.logic.on_event(now, event, &mut calls);
                    self.take_in(now, &mut calls);
                }
                effect @ (Effect::Agent { .. } | Effect::Exit) => out.emit(effect),
            }
        }
    }

    fn take_in(&mut self, now: Time, calls: &mut Vec<UserCall>) {
        for call in calls.drain(..) {
            let input = Input::User(call);
            self.executor.handle(now, input, &mut self.inner);
        }
    }
}

impl<L: Logic> Machine for Hosted<L> {
    type Input = Input;
    type Record = Never;
    type Effect = Effect;

    fn handle(&mut self, now: Time, input: Input, out: &mut Outbox<Never, Effect>) {
        self.tick(now, out);
        self.executor.handle(now, input, &mut self.inner);
        self.settle(now, out);
    }

    fn tick(&mut self, now: Time, out: &mut Outbox<Never, Effect>) {
        self.executor.tick(now, &mut self.inner);
        self.settle(now, out);
        if self.logic.deadline().is_some_and(|at| at <= now) {
            let mut calls = Vec::new();
            self.logic.tick(now, &mut calls);
            self.take_in(now, &mut calls);
            self.settle(now, out);
        }
    }

    fn deadline(&self) -> Option<Time> {
        match (self.executor.deadline(), self.logic.deadline()) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }
}

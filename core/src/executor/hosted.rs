//! A user's executor and the executor machine as one machine.
//!
//! The same [`Logic`] value runs over a socket, in one process, or in the simulator: whoever
//! drives this machine decides.

use alloc::vec::Vec;

use super::{Config, Effect, Executor, Input, UserCall, UserEvent};
use crate::host::{Host, Sided, User};
use crate::machine::{Machine, Never, Outbox};
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
    host: Host<Executor, L>,
}

impl<L: Logic> Hosted<L> {
    /// Puts `logic` on top of an executor without a connection.
    pub fn new(config: Config, logic: L) -> Self {
        let host = Host::new(Executor::new(config), logic);
        Self { host }
    }

    /// Returns the user's logic.
    pub fn logic(&self) -> &L {
        &self.host.user
    }

    /// Returns the user's logic, to change it.
    pub fn logic_mut(&mut self) -> &mut L {
        &mut self.host.user
    }

    /// Returns the executor machine.
    pub fn executor(&self) -> &Executor {
        &self.host.machine
    }
}

impl Sided for Executor {
    type Event = UserEvent;
    type Call = UserCall;

    fn event(effect: Effect) -> Result<UserEvent, Effect> {
        match effect {
            Effect::User(event) => Ok(event),
            effect @ (Effect::Agent { .. } | Effect::Exit) => Err(effect),
        }
    }

    fn input(call: UserCall) -> Input {
        Input::User(call)
    }
}

impl<L: Logic> User<Executor> for L {
    fn on_event(&mut self, now: Time, event: UserEvent, calls: &mut Vec<UserCall>) {
        Logic::on_event(self, now, event, calls);
    }

    fn tick(&mut self, now: Time, calls: &mut Vec<UserCall>) {
        Logic::tick(self, now, calls);
    }

    fn deadline(&self) -> Option<Time> {
        Logic::deadline(self)
    }
}

impl<L: Logic> Machine for Hosted<L> {
    type Input = Input;
    type Record = Never;
    type Effect = Effect;

    fn handle(&mut self, now: Time, input: Input, out: &mut Outbox<Never, Effect>) {
        self.host.handle(now, input, out);
    }

    fn tick(&mut self, now: Time, out: &mut Outbox<Never, Effect>) {
        self.host.tick(now, out);
    }

    fn deadline(&self) -> Option<Time> {
        self.host.deadline()
    }
}

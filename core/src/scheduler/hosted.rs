//! A user's scheduler and the scheduler machine as one machine.
//!
//! The same [`Logic`] value runs over QUIC, in one process, or in the simulator: whoever drives
//! this machine decides.

use alloc::vec::Vec;

use super::{Config, Effect, Input, Scheduler, UserCall, UserEvent};
use crate::host::{Host, Sided, User};
use crate::machine::{Machine, Never, Outbox};
use crate::time::Time;

/// A user's scheduler: the only trait to implement.
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

    /// Who acknowledges updates.
    fn acknowledging(&self) -> Acknowledging {
        Acknowledging::WhenHandled
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

    fn acknowledging(&self) -> Acknowledging {
        (**self).acknowledging()
    }
}

/// Who acknowledges status updates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acknowledging {
    /// Each one as soon as [`Logic::on_event`] has returned from it.
    WhenHandled,
    /// The user, with [`UserCall::Acknowledge`]; an update that is not acknowledged comes again
    /// whenever the framework has subscribed anew.
    ByUser,
}

/// A scheduler machine with a user's logic inside.
#[derive(Debug)]
pub struct Hosted<L> {
    host: Host<Scheduler, L>,
}

impl<L: Logic> Hosted<L> {
    /// Puts `logic` on top of a scheduler without a connection.
    pub fn new(config: Config, logic: L) -> Self {
        let host = Host::new(Scheduler::new(config), logic);
        Self { host }
    }

    /// Returns the user's logic.
    pub fn logic(&self) -> &L {
        &self.host.user
    }

    /// Returns the user's logic, to change what it wants.
    pub fn logic_mut(&mut self) -> &mut L {
        &mut self.host.user
    }

    /// Returns the scheduler machine.
    pub fn scheduler(&self) -> &Scheduler {
        &self.host.machine
    }
}

impl Sided for Scheduler {
    type Event = UserEvent;
    type Call = UserCall;

    fn event(effect: Effect) -> Result<UserEvent, Effect> {
        match effect {
            Effect::User(event) => Ok(event),
            effect @ (Effect::Master { .. } | Effect::Reconnect { .. } | Effect::Stop) => {
                Err(effect)
            }
        }
    }

    fn input(call: UserCall) -> Input {
        Input::User(call)
    }
}

impl<L: Logic> User<Scheduler> for L {
    fn on_event(&mut self, now: Time, event: UserEvent, calls: &mut Vec<UserCall>) {
        let handled = match self.acknowledging() {
            Acknowledging::WhenHandled => acknowledgement(&event),
            Acknowledging::ByUser => None,
        };
        Logic::on_event(self, now, event, calls);
        if let Some(call) = handled {
            // Before the user's own calls, so that a final `Stop` does not lose it.
            calls.insert(0, call);
        }
    }

    fn tick(&mut self, now: Time, calls: &mut Vec<UserCall>) {
        Logic::tick(self, now, calls);
    }

    fn deadline(&self) -> Option<Time> {
        Logic::deadline(self)
    }
}

/// Confirms an update that wants to be confirmed.
fn acknowledgement(event: &UserEvent) -> Option<UserCall> {
    match event {
        UserEvent::Update(status) => Some(UserCall::Acknowledge {
            agent: status.agent.clone()?,
            task: status.task.clone(),
            update: status.update?,
        }),
        UserEvent::Operation(status) => Some(UserCall::AcknowledgeOperation {
            id: status.id.clone(),
            update: status.update?,
        }),
        UserEvent::Subscribed { .. }
        | UserEvent::Disconnected
        | UserEvent::Offers(_)
        | UserEvent::Rescinded(_)
        | UserEvent::Error { .. }
        | UserEvent::Message { .. }
        | UserEvent::ExecutorEnded { .. }
        | UserEvent::AgentLost { .. }
        | UserEvent::Rejected { .. }
        | UserEvent::Updated
        | UserEvent::InverseOffers(_)
        | UserEvent::InverseRescinded(_) => None,
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

//! A user's scheduler and the scheduler machine as one machine.
//!
//! The same [`Logic`] value runs over QUIC, in one process, or in the simulator: whoever drives
//! this machine decides.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::{Config, Effect, Input, Scheduler, UserCall, UserEvent};
use crate::machine::{Machine, Never, Outbox, Output};
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
    /// The user, with [`UserCall::Acknowledge`]; an update that is not acknowledged comes again.
    ByUser,
}

/// A scheduler machine with a user's logic inside.
#[derive(Debug)]
pub struct Hosted<L> {
    scheduler: Scheduler,
    logic: L,
    inner: Outbox<Never, Effect>,
}

impl<L: Logic> Hosted<L> {
    /// Puts `logic` on top of a scheduler without a connection.
    pub fn new(config: Config, logic: L) -> Self {
        Self {
            scheduler: Scheduler::new(config),
            logic,
            inner: Outbox::new(),
        }
    }

    /// Returns the user's logic.
    pub fn logic(&self) -> &L {
        &self.logic
    }

    /// Returns the user's logic, to change what it wants.
    pub fn logic_mut(&mut self) -> &mut L {
        &mut self.logic
    }

    /// Returns the scheduler machine.
    pub fn scheduler(&self) -> &Scheduler {
        &self.scheduler
    }

    /// Passes effects on and events to the user, until both are quiet.
    fn settle(&mut self, now: Time, out: &mut Outbox<Never, Effect>) {
        let mut calls = Vec::new();
        let mut queue: VecDeque<UserCall> = VecDeque::new();
        loop {
            while let Some(output) = self.inner.pop() {
                let effect = match output {
                    Output::Effect(effect) | Output::Free(effect) => effect,
                    Output::Persist(never) => match never {},
                };
                match effect {
                    Effect::User(event) => {
                        self.tell(now, event, &mut calls);
                        queue.extend(calls.drain(..));
                    }
                    effect @ (Effect::Master { .. } | Effect::Reconnect { .. } | Effect::Stop) => {
                        out.emit(effect)
                    }
                }
            }
            let Some(call) = queue.pop_front() else { break };
            self.scheduler
                .handle(now, Input::User(call), &mut self.inner);
        }
    }

    fn tell(&mut self, now: Time, event: UserEvent, calls: &mut Vec<UserCall>) {
        let acknowledge = match &event {
            UserEvent::Update(status)
                if self.logic.acknowledging() == Acknowledging::WhenHandled =>
            {
                status
                    .agent
                    .clone()
                    .zip(status.update)
                    .map(|(agent, update)| UserCall::Acknowledge {
                        agent,
                        task: status.task.clone(),
                        update,
                    })
            }
            UserEvent::Update(_)
            | UserEvent::Subscribed { .. }
            | UserEvent::Disconnected
            | UserEvent::Offers(_)
            | UserEvent::Rescinded(_)
            | UserEvent::Error(_) => None,
        };
        self.logic.on_event(now, event, calls);
        if let Some(call) = acknowledge {
            // Before the user's own calls, so that a final `Stop` does not lose it.
            calls.insert(0, call);
        }
    }
}

impl<L: Logic> Machine for Hosted<L> {
    type Input = Input;
    type Record = Never;
    type Effect = Effect;

    fn handle(&mut self, now: Time, input: Input, out: &mut Outbox<Never, Effect>) {
        self.tick(now, out);
        self.scheduler.handle(now, input, &mut self.inner);
        self.settle(now, out);
    }

    fn tick(&mut self, now: Time, out: &mut Outbox<Never, Effect>) {
        self.scheduler.tick(now, &mut self.inner);
        self.settle(now, out);
        if self.logic.deadline().is_some_and(|at| at <= now) {
            let mut calls = Vec::new();
            self.logic.tick(now, &mut calls);
            for call in calls {
                self.scheduler
                    .handle(now, Input::User(call), &mut self.inner);
            }
            self.settle(now, out);
        }
    }

    fn deadline(&self) -> Option<Time> {
        match (self.scheduler.deadline(), self.logic.deadline()) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }
}

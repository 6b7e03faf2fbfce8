//! A machine and its user as one machine.
//!
//! Scheduler and executor each have a side for the network and a side for a user. A host joins the
//! second to the user's own code: events go to it at once, and its calls go back before anything
//! else is heard. Deliberately not here: what a user may say; see the two `Logic` traits.

use alloc::vec::Vec;

use crate::machine::{Machine, Never, Outbox, Output};
use crate::time::Time;

/// A machine with a side for a user.
pub(crate) trait Sided: Machine<Record = Never> {
    /// What the user is told.
    type Event;
    /// What the user may ask for.
    type Call;

    /// Returns the event in an effect that is for the user; gives any other effect back.
    fn event(effect: Self::Effect) -> Result<Self::Event, Self::Effect>;

    /// Makes an input of a call.
    fn input(call: Self::Call) -> Self::Input;
}

/// The user of a machine. The methods are those of the machine's `Logic`.
pub(crate) trait User<M: Sided> {
    fn on_event(&mut self, now: Time, event: M::Event, calls: &mut Vec<M::Call>);
    fn tick(&mut self, now: Time, calls: &mut Vec<M::Call>);
    fn deadline(&self) -> Option<Time>;
}

/// A machine with its user.
#[derive(Debug)]
pub(crate) struct Host<M: Sided, U> {
    pub(crate) machine: M,
    pub(crate) user: U,
    inner: Outbox<Never, M::Effect>,
}

impl<M: Sided, U: User<M>> Host<M, U> {
    pub(crate) fn new(machine: M, user: U) -> Self {
        Self {
            machine,
            user,
            inner: Outbox::new(),
        }
    }

    /// Passes effects on and events to the user, until both are quiet.
    fn settle(&mut self, now: Time, out: &mut Outbox<Never, M::Effect>) {
        let mut calls = Vec::new();
        while let Some(output) = self.inner.pop() {
            let effect = match output {
                Output::Effect(effect) | Output::Free(effect) => effect,
                Output::Persist(never) => match never {},
            };
            match M::event(effect) {
                Ok(event) => {
                    self.user.on_event(now, event, &mut calls);
                    self.take_in(now, &mut calls);
                }
                Err(effect) => out.emit(effect),
            }
        }
    }

    fn take_in(&mut self, now: Time, calls: &mut Vec<M::Call>) {
        for call in calls.drain(..) {
            self.machine.handle(now, M::input(call), &mut self.inner);
        }
    }
}

impl<M: Sided, U: User<M>> Machine for Host<M, U> {
    type Input = M::Input;
    type Record = Never;
    type Effect = M::Effect;

    fn handle(&mut self, now: Time, input: M::Input, out: &mut Outbox<Never, M::Effect>) {
        self.tick(now, out);
        self.machine.handle(now, input, &mut self.inner);
        self.settle(now, out);
    }

    fn tick(&mut self, now: Time, out: &mut Outbox<Never, M::Effect>) {
        self.machine.tick(now, &mut self.inner);
        self.settle(now, out);
        if self.user.deadline().is_some_and(|at| at <= now) {
            let mut calls = Vec::new();
            self.user.tick(now, &mut calls);
            self.take_in(now, &mut calls);
            self.settle(now, out);
        }
    }

    fn deadline(&self) -> Option<Time> {
        let both = [self.machine.deadline(), self.user.deadline()];
        both.into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    /// A machine that passes numbers on: up to the user, and down from him.
    #[derive(Debug)]
    struct Pipe {
        deadline: Option<Time>,
    }

    enum Input {
        Up(Vec<u8>),
        Down(u8),
    }

    #[derive(Debug, PartialEq, Eq)]
    enum Effect {
        Up(u8),
        Down(u8, Time),
    }

    impl Machine for Pipe {
        type Input = Input;
        type Record = Never;
        type Effect = Effect;

        fn handle(&mut self, now: Time, input: Input, out: &mut Outbox<Never, Effect>) {
            match input {
                Input::Up(numbers) => numbers.into_iter().for_each(|n| out.emit(Effect::Up(n))),
                Input::Down(n) => out.emit_free(Effect::Down(n, now)),
            }
        }

        fn tick(&mut self, now: Time, out: &mut Outbox<Never, Effect>) {
            if self.deadline.take_if(|at| *at <= now).is_some() {
                out.emit(Effect::Up(100));
            }
        }

        fn deadline(&self) -> Option<Time> {
            self.deadline
        }
    }

    impl Sided for Pipe {
        type Event = u8;
        type Call = u8;

        fn event(effect: Effect) -> Result<u8, Effect> {
            match effect {
                Effect::Up(n) => Ok(n),
                effect @ Effect::Down(..) => Err(effect),
            }
        }

        fn input(call: u8) -> Input {
            Input::Down(call)
        }
    }

    /// Says two things to each event, and something once by itself.
    struct Talker {
        heard: Vec<u8>,
        deadline: Option<Time>,
    }

    impl User<Pipe> for Talker {
        fn on_event(&mut self, _: Time, event: u8, calls: &mut Vec<u8>) {
            assert!(calls.is_empty(), "what was said before is carried out");
            self.heard.push(event);
            calls.extend([event + 1, event + 2]);
        }

        fn tick(&mut self, _: Time, calls: &mut Vec<u8>) {
            self.deadline = None;
            calls.push(200);
        }

        fn deadline(&self) -> Option<Time> {
            self.deadline
        }
    }

    #[test]
    fn events_go_up_and_calls_go_down_in_order() {
        let at = Time::from_micros;
        let user = Talker {
            heard: vec![],
            deadline: Some(at(7)),
        };
        let deadline = Some(at(5));
        let mut host = Host::new(Pipe { deadline }, user);
        let mut out = Outbox::new();
        host.handle(at(1), Input::Up(vec![10, 20]), &mut out);
        let said = |out: &mut Outbox<Never, Effect>| {
            let down = |output| match output {
                Output::Effect(Effect::Down(n, at)) => (n, at),
                other @ (Output::Persist(_) | Output::Effect(_) | Output::Free(_)) => {
                    panic!("{other:?}")
                }
            };
            out.drain().map(down).collect::<Vec<_>>()
        };
        let all = [11, 12, 21, 22].map(|n| (n, at(1)));
        assert_eq!(said(&mut out), all);
        // The machine's time comes before its user's, and both before what comes in.
        assert_eq!(host.deadline(), Some(at(5)));
        host.tick(at(6), &mut out);
        assert_eq!(said(&mut out), [(101, at(6)), (102, at(6))]);
        assert_eq!(host.deadline(), Some(at(7)));
        host.handle(at(7), Input::Up(vec![30]), &mut out);
        assert_eq!(said(&mut out), [(200, at(7)), (31, at(7)), (32, at(7))]);
        assert_eq!(host.deadline(), None);
        assert_eq!(host.user.heard, [10, 20, 100, 30]);
    }
}

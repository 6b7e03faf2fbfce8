//! The one interface of every node: a machine is told what happened, and says in order what must
//! be remembered and what must be done.
//!
//! The contract between a machine and whoever drives it:
//!
//! * **C1** `now` never decreases.
//! * **C2** One input at a time. The outbox belongs to the caller: draining it late loses nothing.
//! * **C3** Outputs are carried out in order, except those marked [`Output::Free`].
//! * **C4** No held effect leaves before every earlier [`Output::Persist`] is durable
//!   ([`crate::gate::Gate`] enforces it).
//! * **C5** If a persist fails, the machine is dropped and rebuilt from its journal; the effects
//!   that were held are discarded. Nobody outside has seen them.
//! * **C6** A connection is a [`crate::ids::PeerId`] and never comes back: reconnecting makes a new
//!   one. Inputs of one peer arrive in order.
//! * **C7** The same configuration, seed, recovered state and inputs give the same outputs, byte
//!   for byte.
//!
//! Deliberately not here: clocks, sockets, files, threads, errors. `handle` cannot fail and cannot
//! wait.

use alloc::collections::VecDeque;

use crate::time::Time;

/// A pure state machine.
pub trait Machine {
    /// What can happen to it: a closed enum.
    type Input;
    /// What it must remember; [`Never`] if nothing.
    type Record;
    /// What it wants done.
    type Effect;

    /// Fires everything due by `now`, then takes in `input`.
    fn handle(
        &mut self,
        now: Time,
        input: Self::Input,
        out: &mut Outbox<Self::Record, Self::Effect>,
    );

    /// Fires everything due by `now`.
    fn tick(&mut self, now: Time, out: &mut Outbox<Self::Record, Self::Effect>);

    /// When [`Machine::tick`] next has work. Calling it earlier is harmless, later delays work;
    /// `None` means idle.
    fn deadline(&self) -> Option<Time>;
}

/// State that is rebuilt by applying records in order.
pub trait Durable: Default {
    /// One replayable change.
    type Record;

    /// The number of the layout of this state in bytes. Whoever changes what is in it raises this,
    /// so that a snapshot of another build is refused and not misread.
    const LAYOUT: u32;

    /// Applies one record. Replaying the same records always gives the same state.
    fn apply(&mut self, record: &Self::Record);
}

/// The record type of a machine that remembers nothing. It has no values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Never {}

/// One entry of an [`Outbox`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output<R, E> {
    /// Must be durable before any later held effect leaves.
    Persist(R),
    /// Leaves once everything persisted before it is durable.
    Effect(E),
    /// Leaves at once, for it reveals nothing that is not durable: a pong, a heartbeat. It may
    /// overtake held effects, so nothing that refers to one may be free.
    Free(E),
}

/// The ordered list that a machine writes its outputs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outbox<R, E> {
    outputs: VecDeque<Output<R, E>>,
}

impl<R, E> Default for Outbox<R, E> {
    fn default() -> Self {
        Self::new()
    }
}

impl<R, E> Outbox<R, E> {
    /// Makes an empty outbox.
    pub const fn new() -> Self {
        Self {
            outputs: VecDeque::new(),
        }
    }

    /// Adds a record that must be durable before any later held effect leaves.
    pub fn persist(&mut self, record: R) {
        self.outputs.push_back(Output::Persist(record));
    }

    /// Adds an effect that leaves after everything persisted so far is durable.
    pub fn emit(&mut self, effect: E) {
        self.outputs.push_back(Output::Effect(effect));
    }

    /// Adds an effect that may leave at once; see [`Output::Free`].
    pub fn emit_free(&mut self, effect: E) {
        self.outputs.push_back(Output::Free(effect));
    }

    /// Takes the oldest output.
    pub fn pop(&mut self) -> Option<Output<R, E>> {
        self.outputs.pop_front()
    }

    /// Takes all outputs, oldest first.
    pub fn drain(&mut self) -> impl Iterator<Item = Output<R, E>> + '_ {
        self.outputs.drain(..)
    }

    /// Returns whether nothing is waiting.
    pub fn is_empty(&self) -> bool {
        self.outputs.is_empty()
    }

    /// Returns how many outputs are waiting.
    pub fn len(&self) -> usize {
        self.outputs.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_come_out_in_the_order_they_went_in() {
        let mut out: Outbox<u8, char> = Outbox::new();
        out.emit('a');
        out.persist(1);
        out.emit_free('b');
        assert_eq!(out.len(), 3);
        let all: alloc::vec::Vec<_> = out.drain().collect();
        assert_eq!(
            all,
            [Output::Effect('a'), Output::Persist(1), Output::Free('b')]
        );
        assert!(out.is_empty());
        assert_eq!(out.pop(), None);
    }
}

//! The gate: no effect overtakes a record that stands before it.
//!
//! Called by every driver (the real one and the simulator's), never by a machine. It numbers
//! records, holds back effects, and lets them go when the journal reports what is durable.
//!
//! Deliberately not here: the journal itself, and any retry. A failed persist ends the machine.

use alloc::collections::VecDeque;

use crate::machine::Output;
use crate::mutant::{Mutant, planted};

/// The number of a record within one life of a journal, from 1.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Serialize,
    serde::Deserialize,
)]
pub struct Seq(pub u64);

/// Holds effects until all records before them are durable.
#[derive(Debug)]
pub struct Gate<E> {
    admitted: Seq,
    durable: Seq,
    held: VecDeque<(Seq, E)>,
    free: VecDeque<E>,
}

impl<E> Default for Gate<E> {
    fn default() -> Self {
        Self::new()
    }
}

impl<E> Gate<E> {
    /// Makes a gate with nothing pending.
    pub const fn new() -> Self {
        Self {
            admitted: Seq(0),
            durable: Seq(0),
            held: VecDeque::new(),
            free: VecDeque::new(),
        }
    }

    /// Takes one output, in order. Returns the record to append, numbered, if it is one.
    pub fn admit<R>(&mut self, output: Output<R, E>) -> Option<(Seq, R)> {
        match output {
            Output::Persist(record) => {
                self.admitted = Seq(self.admitted.0 + 1);
                Some((self.admitted, record))
            }
            Output::Effect(effect) => {
                self.held.push_back((self.admitted, effect));
                None
            }
            Output::Free(effect) => {
                self.free.push_back(effect);
                None
            }
        }
    }

    /// Notes that everything up to and including `upto` is durable. Late or repeated reports are
    /// harmless.
    ///
    /// # Panics
    ///
    /// If `upto` was never admitted: the journal then reports a record that nobody wrote.
    pub fn persisted(&mut self, upto: Seq) {
        assert!(
            upto <= self.admitted,
            "the journal reports {upto:?} durable, but only {:?} was admitted",
            self.admitted
        );
        self.durable = self.durable.max(upto);
    }

    /// Takes the next effect that may leave.
    pub fn release(&mut self) -> Option<E> {
        if let Some(effect) = self.free.pop_front() {
            return Some(effect);
        }
        let (after, _) = self.held.front()?;
        let durable = Seq(self.durable.0 + u64::from(planted(Mutant::GateOffByOne)));
        if *after > durable {
            return None;
        }
        self.held.pop_front().map(|(_, effect)| effect)
    }

    /// Returns how many effects wait.
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// Returns the number of the newest record admitted.
    pub fn admitted(&self) -> Seq {
        self.admitted
    }

    /// Returns up to where records are durable.
    pub fn durable(&self) -> Seq {
        self.durable
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    fn released(gate: &mut Gate<u32>) -> Vec<u32> {
        core::iter::from_fn(|| gate.release()).collect()
    }

    #[test]
    fn an_effect_waits_for_the_records_before_it_and_no_others() {
        let mut gate = Gate::new();
        assert_eq!(gate.admit::<&str>(Output::Effect(1)), None);
        assert_eq!(gate.admit(Output::Persist("a")), Some((Seq(1), "a")));
        assert_eq!(gate.admit::<&str>(Output::Effect(2)), None);
        assert_eq!(gate.admit(Output::Persist("b")), Some((Seq(2), "b")));
        assert_eq!(gate.admit::<&str>(Output::Effect(3)), None);
        assert_eq!(released(&mut gate), vec![1]);
        gate.persisted(Seq(1));
        assert_eq!(released(&mut gate), vec![2]);
        gate.persisted(Seq(2));
        gate.persisted(Seq(1));
        assert_eq!(released(&mut gate), vec![3]);
        assert_eq!(gate.held(), 0);
    }

    #[test]
    fn a_free_effect_passes_a_closed_gate() {
        let mut gate = Gate::new();
        gate.admit(Output::Persist(()));
        gate.admit::<()>(Output::Effect(1));
        gate.admit::<()>(Output::Free(2));
        assert_eq!(released(&mut gate), vec![2]);
        assert_eq!(gate.held(), 1);
    }

    proptest! {
        /// Against the obvious model: an effect leaves as soon as the count of records before it is
        /// durable, in order.
        #[test]
        fn agrees_with_the_obvious_model(script in prop::collection::vec(0u8..4, 0..200)) {
            let mut gate = Gate::new();
            let (mut written, mut durable, mut next) = (0u64, 0u64, 0u32);
            let mut model: Vec<(u64, u32)> = Vec::new();
            for step in script {
                match step {
                    0 => {
                        written += 1;
                        prop_assert_eq!(gate.admit(Output::Persist(())), Some((Seq(written), ())));
                    }
                    1 => {
                        gate.admit::<()>(Output::Effect(next));
                        model.push((written, next));
                        next += 1;
                    }
                    2 => {
                        durable = durable.max(written.saturating_sub(u64::from(next % 2)));
                        gate.persisted(Seq(durable));
                    }
                    _ => {
                        let split = model.iter().position(|(at, _)| *at > durable)
                            .unwrap_or(model.len());
                        let expected: Vec<u32> = model.drain(..split).map(|(_, e)| e).collect();
                        prop_assert_eq!(released(&mut gate), expected);
                    }
                }
            }
        }
    }
}

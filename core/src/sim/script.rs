//! What is scripted for the programs of a simulated cluster, beside what each is told to do.
//!
//! Read by [`super::containers`].

use super::fault::Faults;
use super::options::Span;
use crate::rng::Rng;

/// What is scripted for every container.
#[derive(Clone, Copy, Debug)]
pub(super) struct Script {
    pub(super) start: Span,
    pub(super) run: Span,
    pub(super) breach_one_in: u64,
    pub(super) launch_failure_one_in: u64,
    pub(super) hang_one_in: u64,
}

impl Script {
    pub(super) fn new(start: Span, run: Span, faults: &Faults) -> Self {
        Self {
            start,
            run,
            breach_one_in: faults.breach_one_in,
            launch_failure_one_in: faults.launch_failure_one_in,
            hang_one_in: faults.hang_one_in,
        }
    }
}

/// Returns whether chance makes it one of so many; one of none never is.
pub(super) fn one_in(many: u64, rng: &mut Rng) -> bool {
    many > 0 && rng.chance(1, many)
}

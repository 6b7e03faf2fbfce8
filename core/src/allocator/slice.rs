//! How much of a pass is one slice: what was looked at, counted as work.
//!
//! Work stands for time without a clock, so that a slice of many short looks and one of few long
//! ones take about as long. Deliberately not here: the pass.

use alloc::vec::Vec;

use super::candidate::Stop;
use super::lot::Lots;
use super::seats::LeafId;
use super::walk::{Stamps, Walk};

/// What an agent costs of the work of a slice, even if nobody is looked at.
pub(super) const AGENT_WORK: usize = 128;
/// What a look at a framework costs, where passing by a node of the tree costs one.
pub(super) const LOOK_WORK: usize = 8;

/// How much of the work of a slice was done.
pub(super) struct Slice {
    pub(super) most: usize,
    /// How many agents it is through with.
    pub(super) agents: usize,
    /// What looks had cost before it.
    pub(super) begun: usize,
}

impl Slice {
    /// Returns how much may still be done.
    pub(super) const fn left(&self, scratch: &Scratch) -> usize {
        let looks = scratch.spent().wrapping_sub(self.begun);
        let done = self.agents.saturating_mul(AGENT_WORK).saturating_add(looks);
        self.most.saturating_sub(done)
    }
}

/// What a look needs and the next one can use again.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    pub(super) walk: Walk,
    pub(super) few: Vec<LeafId>,
    pub(super) lots: Lots,
    /// Nodes below which something is interested in the agent that is looked at.
    pub(super) stamps: Stamps,
    /// How many leaves were looked at, in all passes.
    pub(super) looks: usize,
    /// How many that wait, agents to choose from, refusals, and roles that may hold what has a
    /// column were passed by.
    pub(super) passed: usize,
    /// What it took to find out which agents to look at, and whose bounds had moved.
    pub(super) prepared: usize,
    pub(super) stops: Vec<(LeafId, Stop)>,
}

impl Scratch {
    /// Counts all work that was ever done.
    pub(super) const fn spent(&self) -> usize {
        self.work().wrapping_add(self.prepared)
    }

    /// Notes what was done before anybody is looked at.
    pub(super) const fn prepare(&mut self, work: usize) {
        self.prepared = self.prepared.wrapping_add(work);
    }

    /// Counts what all looks have cost.
    pub(super) const fn work(&self) -> usize {
        self.looks
            .wrapping_mul(LOOK_WORK)
            .wrapping_add(self.walk.steps)
            .wrapping_add(self.lots.steps)
            .wrapping_add(self.passed)
    }
}

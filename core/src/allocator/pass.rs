//! One pass over agents, as far as it is: in which order, who had a turn, who gets a second one.
//!
//! Deliberately not here: what happens at a turn, which is `cycle.rs`.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::candidate::Stage;
use super::drf::Of;
use super::packing::Ranks;
use crate::rng::Rng;
use crate::time::Time;

/// A pass that has begun.
#[derive(Debug)]
pub(super) struct Pass {
    pub(super) since: Time,
    pub(super) stage: Stage,
    /// Those that it is for, and behind them those that get a second turn in this stage.
    pub(super) agents: Vec<usize>,
    /// How many of them it is for.
    pub(super) own: usize,
    /// How many of them have been looked at in this stage.
    pub(super) at: usize,
    /// Where the last second turn of an agent is.
    again: BTreeMap<usize, usize>,
    /// The agents by what is left of them, if some role wants them in such an order.
    pub(super) ranks: Option<Ranks>,
    /// How many of them stand there already.
    pub(super) ranked: usize,
    pub(super) of: Of,
}

impl Pass {
    /// Begins a pass over agents that somebody may want something of.
    pub(super) const fn new(
        since: Time,
        stage: Stage,
        agents: Vec<usize>,
        ranks: Option<Ranks>,
        of: Of,
    ) -> Self {
        Self {
            since,
            stage,
            own: agents.len(),
            agents,
            at: 0,
            again: BTreeMap::new(),
            ranks,
            ranked: 0,
            of,
        }
    }

    /// Returns the agents that have a second turn ahead of them in this stage.
    pub(super) fn ahead(&self) -> &[usize] {
        self.agents.get(self.own.max(self.at + 1)..).unwrap_or(&[])
    }

    /// Gives an agent a second turn, unless it has one ahead of it.
    pub(super) fn turn_again(&mut self, agent: usize) {
        if self.again.get(&agent).is_none_or(|place| *place <= self.at) {
            self.again.insert(agent, self.agents.len());
            self.agents.push(agent);
        }
    }

    /// Goes on to those without guarantee, from the first agent on.
    pub(super) fn next_stage(&mut self, rng: &mut Rng) {
        self.stage = Stage::FairShare;
        self.at = 0;
        self.agents.truncate(self.own);
        self.again.clear();
        rng.shuffle(&mut self.agents);
        if let Some(ranks) = &mut self.ranks {
            ranks.restart();
        }
    }
}

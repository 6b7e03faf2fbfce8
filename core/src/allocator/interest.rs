//! Who could want something of which agent now: two bits for each agent and leaf.
//!
//! A bit of *interest* is set as long as a look at the pair might find something to offer. It is
//! cleared by looking and finding nothing for a reason of the pair itself (a refusal, a constraint,
//! too little), and set again when that may have changed. What quota and headroom hold back is
//! struck out by `bounded.rs` as long as they stay. Mostly, who does not want something does not
//! want a part of it either; the few whose constraints go by how much it is are known, and looked
//! at again when others had a part.
//!
//! So a pass over a cluster where everybody declined everything looks at nobody. It is a pure
//! optimisation: a pass with all bits set grants the same, and a test demands it, but for what
//! waits until the next interval because of bounds.
//!
//! The other bit says that a pair is *barred* by what agent and framework are like.
//!
//! Deliberately not here: the reasons.

use alloc::vec;
use alloc::vec::Vec;

use super::seats::LeafId;

const BITS: usize = 64;

/// The bits of all agents, by index, over all leaves.
#[derive(Debug, Default)]
pub(super) struct Interest {
    /// Words of one agent.
    stride: usize,
    wants: Vec<u64>,
    barred: Vec<u64>,
    /// Leaves that may be offered something.
    listed: Vec<u64>,
    /// Leaves that go by how much they would be offered: they may want less where they did not want
    /// more.
    choosy: Vec<u64>,
    /// Whether anything is free on an agent; if not, it has no interest set.
    alive: Vec<bool>,
    /// Whether all interest in an agent was set since it was last looked at.
    fresh: Vec<bool>,
    /// How often a leaf was listed, or listed anew.
    #[cfg(test)]
    pub(super) listings: usize,
}

impl Interest {
    /// Makes room for an agent, without interest.
    pub(super) fn admit_agent(&mut self, agent: usize) {
        if self.alive.len() <= agent {
            self.alive.resize(agent + 1, false);
            self.fresh.resize(agent + 1, false);
            self.wants.resize((agent + 1) * self.stride, 0);
            self.barred.resize((agent + 1) * self.stride, 0);
        }
        self.exhaust(agent);
        self.unbar_agent(agent);
    }

    /// Makes room for a leaf, without interest.
    pub(super) fn admit_leaf(&mut self, leaf: LeafId) {
        let words = leaf.at() / BITS + 1;
        if words <= self.stride {
            return;
        }
        let stride = words.next_power_of_two();
        for matrix in [&mut self.wants, &mut self.barred] {
            let mut wider = vec![0; self.alive.len() * stride];
            if self.stride > 0 {
                for (row, old) in matrix.chunks_exact(self.stride).enumerate() {
                    wider[row * stride..][..self.stride].copy_from_slice(old);
                }
            }
            *matrix = wider;
        }
        self.listed.resize(stride, 0);
        self.stride = stride;
    }

    /// Notes whether a leaf goes by how much it would be offered.
    pub(super) fn note(&mut self, leaf: LeafId, choice: Choice) {
        match choice {
            Choice::ByAmount => set_bit(&mut self.choosy, leaf),
            Choice::Free => unset_bit(&mut self.choosy, leaf),
        }
    }

    /// Takes a leaf out of sight: it is not listed any more.
    pub(super) fn unlist(&mut self, leaf: LeafId) {
        let (word, bit) = split(leaf);
        self.listed[word] &= !bit;
    }

    /// Lists a leaf, which is interested in every agent.
    pub(super) fn list(&mut self, leaf: LeafId) {
        #[cfg(test)]
        {
            self.listings += 1;
        }
        let (word, bit) = split(leaf);
        self.listed[word] |= bit;
        for agent in 0..self.alive.len() {
            let at = agent * self.stride + word;
            if self.alive[agent] {
                self.wants[at] |= bit & !self.barred[at];
            }
        }
    }

    /// Forgets what bars a leaf from agents.
    pub(super) fn unbar_leaf(&mut self, leaf: LeafId) {
        let (word, bit) = split(leaf);
        for row in self.barred.chunks_exact_mut(self.stride.max(1)) {
            row[word] &= !bit;
        }
    }

    /// Forgets what bars leaves from an agent.
    pub(super) fn unbar_agent(&mut self, agent: usize) {
        self.barred[agent * self.stride..][..self.stride].fill(0);
    }

    /// Something is free on an agent: all may want it that are not barred.
    pub(super) fn renew(&mut self, agent: usize) {
        self.alive[agent] = true;
        self.fresh[agent] = true;
        let rows = agent * self.stride..(agent + 1) * self.stride;
        let barred = self.barred[rows.clone()].iter();
        for ((wants, barred), listed) in self.wants[rows].iter_mut().zip(barred).zip(&self.listed) {
            *wants = listed & !barred;
        }
    }

    /// Nothing is free on an agent.
    pub(super) fn exhaust(&mut self, agent: usize) {
        self.alive[agent] = false;
        self.wants[agent * self.stride..][..self.stride].fill(0);
    }

    /// Less may be had of an agent than before: those may want it who go by how much it is. Returns
    /// whether there is anybody who did not want more.
    pub(super) fn lessen(&mut self, agent: usize) -> bool {
        if !self.alive[agent] {
            return false;
        }
        let rows = agent * self.stride..(agent + 1) * self.stride;
        let barred = self.barred[rows.clone()].iter();
        let wants = self.wants[rows].iter_mut().zip(barred);
        let mut is_wanted = false;
        for ((wants, barred), (listed, choosy)) in wants.zip(self.listed.iter().zip(&self.choosy)) {
            let again = listed & choosy & !barred & !*wants;
            is_wanted |= again != 0;
            *wants |= again;
        }
        is_wanted
    }

    /// One leaf may want something of one agent again.
    pub(super) fn set(&mut self, agent: usize, leaf: LeafId) {
        let (word, bit) = split(leaf);
        let at = agent * self.stride + word;
        if self.alive[agent] {
            self.wants[at] |= bit & !self.barred[at];
        }
    }

    /// One leaf can have nothing of one agent.
    pub(super) fn clear(&mut self, agent: usize, leaf: LeafId) {
        let (word, bit) = split(leaf);
        self.wants[agent * self.stride + word] &= !bit;
    }

    /// Some leaves, by the bits of all, can have nothing of one agent.
    pub(super) fn strike(&mut self, agent: usize, leaves: &[u64]) {
        let row = &mut self.wants[agent * self.stride..][..self.stride];
        for (wants, gone) in row.iter_mut().zip(leaves) {
            *wants &= !gone;
        }
    }

    /// Some leaves, by the bits of all, may want something of one agent again. Returns whether
    /// there is one that did not.
    pub(super) fn restore(&mut self, agent: usize, leaves: &[u64]) -> bool {
        if !self.alive[agent] {
            return false;
        }
        let rows = agent * self.stride..(agent + 1) * self.stride;
        let barred = self.barred[rows.clone()].iter();
        let wants = self.wants[rows].iter_mut().zip(barred).zip(&self.listed);
        let mut is_wanted = false;
        for (((wants, barred), listed), again) in wants.zip(leaves) {
            let again = again & listed & !barred & !*wants;
            is_wanted |= again != 0;
            *wants |= again;
        }
        is_wanted
    }

    /// Returns whether some of these leaves, by the bits of all, are not interested in an agent and
    /// might be.
    pub(super) fn lacks(&self, agent: usize, leaves: &[u64]) -> bool {
        let rows = agent * self.stride..(agent + 1) * self.stride;
        let rows = self.wants[rows.clone()].iter().zip(&self.barred[rows]);
        let mut words = rows.zip(&self.listed).zip(leaves);
        self.alive[agent]
            && words.any(|(((wants, barred), listed), it)| it & listed & !barred & !wants != 0)
    }

    /// One leaf can never have anything of one agent, as long as they are as they are.
    pub(super) fn bar(&mut self, agent: usize, leaf: LeafId) {
        let (word, bit) = split(leaf);
        self.barred[agent * self.stride + word] |= bit;
        self.clear(agent, leaf);
    }

    /// Returns whether all interest in an agent was set since this was last asked.
    pub(super) fn take_fresh(&mut self, agent: usize) -> bool {
        core::mem::take(&mut self.fresh[agent])
    }

    /// Returns the words of an agent, by leaf.
    pub(super) fn of(&self, agent: usize) -> &[u64] {
        &self.wants[agent * self.stride..][..self.stride]
    }

    /// Returns the words of an agent, to take leaves out that can have nothing of it.
    pub(super) fn of_mut(&mut self, agent: usize) -> &mut [u64] {
        &mut self.wants[agent * self.stride..][..self.stride]
    }

    /// Returns how many agents there is room for.
    pub(super) const fn agents(&self) -> usize {
        self.alive.len()
    }

    /// Returns whether anybody listed may want something of an agent.
    pub(super) fn is_wanted(&self, agent: usize) -> bool {
        let mut words = self.of(agent).iter().zip(&self.listed);
        words.any(|(it, listed)| it & listed != 0)
    }

    /// Returns whether a leaf stands in these words.
    pub(super) const fn has(words: &[u64], leaf: LeafId) -> bool {
        let (word, bit) = split(leaf);
        words[word] & bit != 0
    }

    /// Returns the listed leaves in the words of an agent.
    pub(super) fn wanting(&self, agent: usize) -> impl Iterator<Item = LeafId> + '_ {
        let words = self.of(agent).iter().zip(&self.listed).enumerate();
        words.flat_map(|(word, (it, listed))| {
            let rest = Some(it & listed).filter(|it| *it != 0);
            let others =
                core::iter::successors(rest, |it| Some(it & (it - 1)).filter(|it| *it != 0));
            others.map(move |it| LeafId::new(word * BITS + it.trailing_zeros() as usize))
        })
    }

    /// Returns the only listed leaf in the words of an agent, if it is alone, and how many there
    /// are up to a few.
    pub(super) fn few(&self, agent: usize, into: &mut Vec<LeafId>) -> Count {
        into.clear();
        for (word, (it, listed)) in self.of(agent).iter().zip(&self.listed).enumerate() {
            let mut rest = it & listed;
            while rest != 0 {
                if into.len() == FEW {
                    return Count::Many;
                }
                let bit = rest.trailing_zeros() as usize;
                into.push(LeafId::new(word * BITS + bit));
                rest &= rest - 1;
            }
        }
        Count::Few
    }
}

/// Whether a leaf goes by how much it would be offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// It does: what is too much for it may be right once others had a part.
    ByAmount,
    /// Who does not want something does not want a part of it either.
    Free,
}

/// How many leaves are looked up one by one.
const FEW: usize = 16;

/// Whether leaves are few enough to look at them one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Count {
    /// They are.
    Few,
    /// They are not.
    Many,
}

/// Returns whether a leaf stands in the bits of some.
pub(super) fn has_bit(bits: &[u64], leaf: LeafId) -> bool {
    let (word, bit) = split(leaf);
    bits.get(word).is_some_and(|it| it & bit != 0)
}

/// Adds a leaf to the bits of some.
pub(super) fn set_bit(bits: &mut Vec<u64>, leaf: LeafId) {
    let (word, bit) = split(leaf);
    if bits.len() <= word {
        bits.resize(word + 1, 0);
    }
    bits[word] |= bit;
}

/// Takes a leaf out of the bits of some.
pub(super) fn unset_bit(bits: &mut [u64], leaf: LeafId) {
    let (word, bit) = split(leaf);
    if let Some(it) = bits.get_mut(word) {
        *it &= !bit;
    }
}

const fn split(leaf: LeafId) -> (usize, u64) {
    (leaf.at() / BITS, 1 << (leaf.at() % BITS))
}

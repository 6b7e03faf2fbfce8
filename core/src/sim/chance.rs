//! Chance, one stream for each purpose and node.
//!
//! A part that draws once more, or once less, moves nothing else: a fault that is left out leaves
//! all others where they were, which is what makes a failing run small.

use super::queue::Name;
use crate::rng::Rng;

/// What a stream decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// What a cluster is like.
    Options,
    /// Which faults can happen to it.
    Weights,
    /// What goes wrong, and when.
    Faults,
    /// What else a fault decides that the simulator's user orders.
    Orders,
    /// How long a node's disk takes.
    Sync,
    /// When a node dials.
    Dial,
    /// How long the messages of a client take.
    Delay,
    /// What becomes of an agent's containers.
    Containers,
    /// The seeds of a node's machines, one life after the other.
    Lives,
    /// How an executor behaves.
    Executors,
    /// What a scheduler says that talks nonsense.
    Nonsense,
    /// How a node's wall clock is wrong.
    Clock,
    /// When an operator looks who reads events, counted as frameworks are.
    Watch,
    /// How long the provider of an agent's disks takes, and whether there are frameworks that want
    /// some.
    Disks,
    /// What an operator takes out of service, and when.
    Maintenance,
    /// What a framework answers that is asked to leave an agent.
    Vacating,
    /// Up to which version a node speaks, one life after the other.
    Versions,
    /// How long the sandboxes of an agent take to be deleted.
    Sandboxes,
    /// Which further faults can happen, and which tasks have too little time.
    Hosts,
    /// Whether frameworks that compete say how much they want.
    Sharing,
    /// Which tasks have checks, and what these find out.
    Checks,
    /// How machines are set up where that is left at the usual elsewhere.
    Dials,
    /// Whether there are frameworks that change what they are, and what they say.
    Shifts,
}

/// Begins the stream of one purpose at one node.
pub(super) fn stream(seed: u64, purpose: Purpose, node: Name) -> Rng {
    let node = match node {
        Name::Master => 0,
        Name::Agent(n) => 1 << 32 | u64::from(n),
        Name::Framework(n) => 2 << 32 | u64::from(n),
        Name::Executor { agent, n } => Rng::new(u64::from(agent) << 32 | u64::from(n)).next_u64(),
    };
    let tag = (purpose as u64 + 1) << 40 ^ node;
    Rng::new(seed ^ Rng::new(tag).next_u64())
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;

    use super::*;

    #[test]
    fn streams_differ_by_seed_purpose_and_node() {
        let mut first = BTreeSet::new();
        for seed in 0..50 {
            for purpose in [Purpose::Options, Purpose::Faults, Purpose::Lives] {
                let executor = Name::Executor { agent: 1, n: 1 };
                for node in [Name::Master, Name::Agent(1), Name::Framework(1), executor] {
                    first.insert(stream(seed, purpose, node).next_u64());
                }
            }
        }
        assert_eq!(first.len(), 50 * 3 * 4);
    }
}

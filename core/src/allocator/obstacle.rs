//! Why an agent is not offered to a framework.
//!
//! Allocators answer with these; people read them. Deliberately not here: finding out.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::keys::{AgentKey, FrameworkKey};
use crate::roles::Role;
use crate::time::Time;

/// Why an agent is not offered to a framework.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// It refused these resources until then.
    Filtered(Time),
    /// It suppressed the role.
    Suppressed,
    /// It is not active.
    FrameworkInactive,
    /// The agent is not active.
    AgentInactive,
    /// The agent is not on the whitelist.
    NotWhitelisted,
    /// Nothing is offered before the agents are back.
    Recovering,
    /// Its own constraint, in words.
    Constraint(String),
    /// It, or the agent, cannot cope with the other.
    Incapable(Capability),
    /// It has all that it said it wants, or none of its shapes fits.
    NoDemand,
    /// It holds as much in offers as it may.
    HoldsEnough,
    /// This role has all that it may have.
    QuotaLimit(Role),
    /// What is free is kept for the guarantees of others.
    Headroom,
    /// Less is free than the least worth an offer, because these hold the rest.
    HeldBy(Vec<(FrameworkKey, Booking)>),
    /// Less is there than the least worth an offer.
    TooSmall,
    /// Nothing stands in the way: it is offered when its turn comes.
    None,
}

/// How something is booked on an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Booking {
    /// Granted, and not yet accepted.
    Offered,
    /// In use.
    Allocated,
}

/// What somebody cannot cope with (AL-11, AL-12, AL-32).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    /// The framework, with an agent that has graphics processors.
    Gpus,
    /// The framework, with an agent in another region.
    Region,
    /// The framework, with what can be taken back, which is all that would be enough.
    Revocable,
    /// The framework, with what others hold as well.
    Shared,
    /// The framework, with reservations within reservations.
    Refinement,
    /// The agent, with a framework of several roles.
    MultiRole,
    /// The agent, with a role below another one.
    HierarchicalRole,
}

/// Counts equal obstacles, the most frequent first. Refusals are one, until the last of them ends;
/// so are all agents that others hold.
pub fn sum_up(explained: &[(AgentKey, Obstacle)]) -> Vec<(Obstacle, usize)> {
    let mut sums: Vec<(Obstacle, usize)> = Vec::new();
    for (_, obstacle) in explained {
        match sums.iter_mut().find(|(known, _)| known.is_like(obstacle)) {
            Some((known, count)) => {
                known.join(obstacle);
                *count += 1;
            }
            None => sums.push((obstacle.clone(), 1)),
        }
    }
    sums.sort_by_key(|(_, count)| core::cmp::Reverse(*count));
    sums
}

impl Obstacle {
    fn is_like(&self, other: &Self) -> bool {
        matches!(
            (self, other),
            (Self::Filtered(_), Self::Filtered(_)) | (Self::HeldBy(_), Self::HeldBy(_))
        ) || self == other
    }

    fn join(&mut self, other: &Self) {
        if let (Self::Filtered(until), Self::Filtered(theirs)) = (&mut *self, other) {
            *until = (*until).max(*theirs);
        }
        if let (Self::HeldBy(holders), Self::HeldBy(theirs)) = (self, other) {
            let new = theirs.iter().filter(|it| !holders.contains(it));
            let new: Vec<_> = new.copied().collect();
            holders.extend(new);
        }
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Filtered(until) => write!(f, "refused until {until}"),
            Self::Suppressed => f.write_str("suppressed"),
            Self::FrameworkInactive => f.write_str("framework not active"),
            Self::AgentInactive => f.write_str("agent not active"),
            Self::NotWhitelisted => f.write_str("agent not on the whitelist"),
            Self::Recovering => f.write_str("waiting for agents to come back"),
            Self::Constraint(constraint) => write!(f, "not wanted, for {constraint} is asked for"),
            Self::Incapable(capability) => capability.fmt(f),
            Self::NoDemand => f.write_str("nothing that is wanted fits"),
            Self::HoldsEnough => f.write_str("too much is offered to the framework already"),
            Self::QuotaLimit(role) => write!(f, "{role} has all that its quota allows"),
            Self::Headroom => f.write_str("kept free for guarantees of other roles"),
            Self::HeldBy(holders) => {
                f.write_str("held by ")?;
                for (n, (framework, booking)) in holders.iter().enumerate() {
                    let comma = if n == 0 { "" } else { ", " };
                    let how = match booking {
                        Booking::Offered => "offered",
                        Booking::Allocated => "in use",
                    };
                    write!(f, "{comma}{framework:?} ({how})")?;
                }
                Ok(())
            }
            Self::TooSmall => f.write_str("too little is there"),
            Self::None => f.write_str("nothing stands in the way"),
        }
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gpus => "the framework does not use graphics processors",
            Self::Region => "the framework cannot cope with another region",
            Self::Revocable => "the framework cannot cope with what is taken back at any time",
            Self::Shared => "the framework cannot cope with what others hold as well",
            Self::Refinement => "the framework does not understand reservations in reservations",
            Self::MultiRole => "the agent cannot serve frameworks of several roles",
            Self::HierarchicalRole => "the agent does not understand roles below roles",
        })
    }
}

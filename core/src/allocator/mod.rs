//! The allocator: a machine from [`Change`] to [`Decision`].
//!
//! It hears facts about agents, frameworks and what became of its grants, and decides who is
//! offered what. It knows nothing of offers' ids, tasks or connections. [`drf::Drf`] is the one
//! that comes with the library; [`random::Random`] is a second one, which shows that the trait
//! suffices. Masters and simulators take any other in the same way.
//!
//! What an embedder owes it: changes in the order in which they happened, [`Change::Accepted`]
//! before the [`Change::Returned`] of what is left, a `Returned` for every grant, in parts or
//! whole, that is not in use, and a [`Change::Freed`] for what is not in use any more, unless its
//! agent or framework is gone. Each names the grants that it is about: what is returned of others
//! than were granted is late news, and ignored; what is accepted of them is in use even so.
//!
//! Deliberately not here: inverse offers, which are the master's.
//!
//! # What an allocator must hear
//!
//! | changes | who ignores them |
//! |---|---|
//! | `Agent..`, `FrameworkAdded`, `FrameworkRemoved`, `Used`, `Accepted`, `Returned`, `Freed` | offers what is gone, or in use |
//! | `Converted`, `FreeConverted` | loses the agent: what is returned is not what was granted |
//! | `FrameworkChanged` | offers in roles that were left, and not in those that were joined |
//! | `FrameworkActive`, `Suppressed`, `Revived` | offers to nobody, or not to those who wait |
//! | `WeightSet`, `QuotaSet`, `Whitelisted`, `Recovering`, `Resumed`, `Demanded` | lacks that policy; nothing breaks |
//!
//! The same goes for what a [`FrameworkProfile`] and [`AgentTraits`] say beside roles and their
//! states, and for how long something is refused: offers that ignore these are declined. An
//! embedder that has no quota, weights, demands or whitelist need not speak of them either.
//!
//! [`books::Books`] hear the first four rows and do what has to be done. An allocator that keeps
//! such books has but to choose what to grant; one that keeps its own is one `match` over
//! [`Change`].
//!
//! # A complete allocator
//!
//! This one offers all that is free of an agent to whoever waited longest, however much anybody
//! holds. The tests run simulated clusters with it, with faults.
//!
//! ```
#![doc = include_str!("../../tests/allocators/in_turn.rs")]
//!
//! use tepui_core::allocator::{AgentTraits, FrameworkProfile};
//! use tepui_core::keys::AgentKey;
//! use tepui_core::machine::Output;
//! use tepui_core::resources::Resources;
//!
//! let (agent, framework) = (AgentKey::from_raw(0, 0), FrameworkKey::from_raw(0, 0));
//! let total = Resources::parse("cpus:4;mem:64").unwrap();
//! let mut allocator: Box<dyn Allocator> = Box::new(InTurn::default());
//! let mut out = Outbox::new();
//! let traits = AgentTraits::default();
//! let joined = Change::AgentAdded { agent, total: total.clone(), traits };
//! allocator.handle(Time::ZERO, joined, &mut out);
//! let profile = FrameworkProfile::new("spark", [Role::any()]);
//! allocator.handle(Time::ZERO, Change::FrameworkAdded { framework, profile }, &mut out);
//! allocator.tick(allocator.deadline().unwrap(), &mut out);
//! let Some(Output::Effect(Decision::Grant(grant))) = out.pop() else { panic!("nothing granted") };
//! assert_eq!((grant.framework, grant.resources), (framework, total));
//! ```

mod bookings;
pub mod books;
mod bounded;
mod breeds;
mod candidate;
mod change;
mod changes;
mod columns;
mod counted;
mod cycle;
pub mod drf;
mod explain;
mod grant;
mod headroom;
mod holding;
mod interest;
mod invariants;
mod joins;
mod kept;
mod kinds;
mod ladders;
mod ledger;
mod lot;
mod names;
mod obstacle;
mod options;
mod packing;
mod pass;
mod profile;
pub mod random;
mod seats;
mod shares;
mod shifts;
mod shortage;
mod slice;
mod tally;
#[cfg(test)]
mod tests;
mod tree;
mod waiting;
mod walk;
mod want;
mod worth;

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

pub use change::Change;
pub use grant::{Grant, GrantId, GrantIds, NoGrant};
pub use obstacle::{Booking, Capability, Obstacle, sum_up};
pub use profile::{
    AgentCapabilities, AgentTraits, FrameworkCapabilities, FrameworkProfile, Subscription,
    SubscriptionState,
};

use crate::keys::{AgentKey, FrameworkKey};
use crate::machine::{Machine, Never};
use crate::quota::Quota;
use crate::resources::{Milli, Quantities};
use crate::roles::Role;

/// Weights beyond this count as this much: shares over larger ones could not be told from each
/// other.
pub const MOST_WEIGHT: Milli = Milli::from_units(1_000_000_000);

/// What an allocator decides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Decision {
    /// These resources are offered.
    Grant(Grant),
    /// This grant is to be taken back, if it was not accepted meanwhile. `Returned` follows. What
    /// is left of several that were answered together is taken back by each of their numbers, once;
    /// one `Returned` that names any of them answers all.
    Rescind {
        /// Which one.
        grant: GrantId,
        /// Why.
        reason: RescindReason,
    },
}

/// Why a grant is taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RescindReason {
    /// The agent may no longer be offered, or shrank.
    Agent,
    /// The framework may no longer be offered anything.
    Framework,
    /// The framework left the role.
    Role,
    /// Quota says that it belongs to others (RQ-16).
    Quota,
    /// By the new weights it belongs to others.
    Weight,
    /// Nobody answered it in time.
    Expired,
}

/// Figures of an allocator.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Passes made.
    pub passes: u64,
    /// Grants made.
    pub grants: u64,
    /// Refusals in force.
    pub filters: usize,
    /// All that active and inactive agents have.
    pub total: Quantities,
    /// What is granted or in use.
    pub booked: Quantities,
    /// Whether nothing is granted because agents are waited for (AL-07).
    pub recovering: bool,
    /// What is kept free for guarantees that are not met (AL-24).
    pub required_headroom: Quantities,
    /// What is free of it, and of everything else, for anybody, on agents that may be offered
    /// (AL-25).
    pub available_headroom: Quantities,
}

/// Figures of one role, with all that is below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleFigures {
    /// Which one.
    pub role: Role,
    /// Its weight.
    pub weight: Milli,
    /// What it is promised, and may have.
    pub quota: Quota,
    /// What counts against its quota: all that is reserved to it, and what of the rest it was
    /// granted or uses (RQ-21).
    pub consumed: Quantities,
    /// What it was granted or uses.
    pub booked: Quantities,
    /// What is reserved to it, in use or not.
    pub reserved: Quantities,
    /// Its dominant share, weight not applied, in millionths.
    pub dominant_share: u64,
    /// Refusals in force of frameworks in this very role.
    pub filters: usize,
}

/// Decides who is offered what.
pub trait Allocator: Machine<Input = Change, Record = Never, Effect = Decision> + Send {
    /// Says for each agent why it is not being offered to a framework in a role.
    fn explain(&self, framework: FrameworkKey, role: &Role) -> Vec<(AgentKey, Obstacle)> {
        let _ = (framework, role);
        Vec::new()
    }

    /// Returns the dominant share of a framework in a role, weight not applied, in millionths.
    fn dominant_share(&self, framework: FrameworkKey, role: &Role) -> Option<u64> {
        let _ = (framework, role);
        None
    }

    /// Returns figures of all roles that are known, in the order of their paths.
    fn roles(&self) -> Vec<RoleFigures> {
        Vec::new()
    }

    /// Returns figures.
    fn stats(&self) -> Stats {
        Stats::default()
    }
}

//! The allocator: a machine from [`Change`] to [`Decision`].
//!
//! It hears facts about agents, frameworks and what became of its grants, and decides who is
//! offered what. It knows nothing of offers' ids, tasks or connections. [`drf::Drf`] is the one
//! that comes with the library. A custom allocator is one `match` over [`Change`] and a `tick` that
//! grants; master and simulator take it as they take the built-in one.
//!
//! What an embedder owes it: changes in the order in which they happened, [`Change::Accepted`]
//! before the [`Change::Returned`] of what is left, and a `Returned` for every grant, in parts or
//! whole, that is not in use and was not lost with its agent or framework.
//!
//! Deliberately not here: inverse offers and offer expiry, which are the master's.
//!
//! # The shape of an allocator
//!
//! This one gives everything to whoever came first. One that takes turns and copes with everything
//! that can change is 100 lines longer, and stands in `core/tests/allocator.rs`.
//!
//! ```
//! use std::collections::BTreeMap;
//!
//! use tepui_core::allocator::{Allocator, Change, Decision, Grant, GrantId};
//! use tepui_core::keys::{AgentKey, FrameworkKey};
//! use tepui_core::machine::{Machine, Never, Outbox, Output};
//! use tepui_core::resources::Resources;
//! use tepui_core::roles::Role;
//! use tepui_core::time::Time;
//!
//! #[derive(Default)]
//! struct First {
//!     free: BTreeMap<AgentKey, Resources>,
//!     first: Option<(FrameworkKey, Role)>,
//!     grants: u64,
//! }
//!
//! impl Machine for First {
//!     type Input = Change;
//!     type Record = Never;
//!     type Effect = Decision;
//!
//!     fn handle(&mut self, now: Time, change: Change, out: &mut Outbox<Never, Decision>) {
//!         match change {
//!             Change::AgentAdded { agent, total } => drop(self.free.insert(agent, total)),
//!             Change::FrameworkAdded { framework, mut roles, .. } => {
//!                 self.first = self.first.take().or(roles.pop().map(|role| (framework, role)));
//!             }
//!             other => println!("{other:?} is not thought of yet"),
//!         }
//!     }
//!
//!     fn tick(&mut self, now: Time, out: &mut Outbox<Never, Decision>) {
//!         let Some((framework, role)) = &self.first else { return };
//!         for (agent, resources) in std::mem::take(&mut self.free) {
//!             self.grants += 1;
//!             let (id, framework, role) = (GrantId(self.grants), *framework, role.clone());
//!             out.emit(Decision::Grant(Grant { id, framework, role, agent, resources }));
//!         }
//!     }
//!
//!     fn deadline(&self) -> Option<Time> {
//!         self.first.as_ref().filter(|_| !self.free.is_empty()).map(|_| Time::ZERO)
//!     }
//! }
//!
//! impl Allocator for First {}
//!
//! let total = Resources::parse("cpus:4;mem:64").unwrap();
//! let agent = AgentKey::from_raw(0, 0);
//! let mut allocator: Box<dyn Allocator> = Box::new(First::default());
//! let mut out = Outbox::new();
//! allocator.handle(Time::ZERO, Change::AgentAdded { agent, total }, &mut out);
//! let framework = FrameworkKey::from_raw(0, 0);
//! let (name, roles) = ("spark".into(), vec![Role::any()]);
//! allocator.handle(Time::ZERO, Change::FrameworkAdded { framework, name, roles }, &mut out);
//! allocator.tick(allocator.deadline().unwrap(), &mut out);
//! assert!(matches!(out.pop(), Some(Output::Effect(Decision::Grant(_)))));
//! ```

mod changes;
pub mod drf;
mod invariants;
mod ledger;
mod sorter;
mod sums;
#[cfg(test)]
mod tests;

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::keys::{AgentKey, FrameworkKey};
use crate::machine::{Machine, Never};
use crate::resources::{Milli, Quantities, Resources};
use crate::roles::Role;
use crate::time::Time;

/// A fact that an allocator is told. Past tense: it cannot be refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// An agent joined, active.
    AgentAdded {
        /// Which one.
        agent: AgentKey,
        /// All that it has.
        total: Resources,
    },
    /// An agent has more or less than before. What is granted or used stays booked.
    AgentChanged {
        /// Which one.
        agent: AgentKey,
        /// All that it has now.
        total: Resources,
    },
    /// An agent is gone, with everything that was booked on it.
    AgentRemoved {
        /// Which one.
        agent: AgentKey,
    },
    /// An agent may be offered, or no longer.
    AgentActive {
        /// Which one.
        agent: AgentKey,
        /// Whether it may.
        active: bool,
    },
    /// A framework joined, active.
    FrameworkAdded {
        /// Which one.
        framework: FrameworkKey,
        /// Breaks ties between equal shares (AL-16).
        name: String,
        /// In whose name it takes resources.
        roles: Vec<Role>,
    },
    /// A framework is gone. Whatever it still held is returned.
    FrameworkRemoved {
        /// Which one.
        framework: FrameworkKey,
    },
    /// A framework is connected, or no longer. Its refusals are forgotten (OF-35).
    FrameworkActive {
        /// Which one.
        framework: FrameworkKey,
        /// Whether it may be offered anything.
        active: bool,
    },
    /// A framework wants nothing in these roles.
    Suppressed {
        /// Which one.
        framework: FrameworkKey,
        /// In which roles; empty means all.
        roles: Vec<Role>,
    },
    /// A framework wants offers in these roles again, and forgets its refusals there.
    Revived {
        /// Which one.
        framework: FrameworkKey,
        /// In which roles; empty means all.
        roles: Vec<Role>,
    },
    /// Something is in use that was not granted here, such as a task that an agent reported.
    Used {
        /// By whom.
        framework: FrameworkKey,
        /// In which role.
        role: Role,
        /// Where.
        agent: AgentKey,
        /// What.
        resources: Resources,
    },
    /// Something granted is in use now.
    Accepted {
        /// By whom.
        framework: FrameworkKey,
        /// In which role.
        role: Role,
        /// Where.
        agent: AgentKey,
        /// What: all or a part of a grant.
        resources: Resources,
    },
    /// Something granted or used is free again.
    Returned {
        /// By whom.
        framework: FrameworkKey,
        /// In which role.
        role: Role,
        /// Where.
        agent: AgentKey,
        /// What.
        resources: Resources,
        /// Whether it was a grant or in use.
        from: Booking,
        /// For how long the framework does not want the same again; `None` and zero are not at
        /// all. An allocator may let it wait a little even so, lest things go back and forth.
        refuse: Option<Duration>,
    },
    /// The weight of a role; 1 unless it was set (AL-17).
    WeightSet {
        /// Which one.
        role: Role,
        /// Its weight; above zero.
        weight: Milli,
    },
}

/// How something is booked on an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Booking {
    /// Granted, and not yet accepted.
    Offered,
    /// In use.
    Allocated,
}

/// Numbers the grants of one allocator, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GrantId(pub u64);

/// Resources of one agent for one framework in one role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Names it in a later [`Decision::Rescind`].
    pub id: GrantId,
    /// For whom.
    pub framework: FrameworkKey,
    /// In which role.
    pub role: Role,
    /// Where.
    pub agent: AgentKey,
    /// What.
    pub resources: Resources,
}

/// What an allocator decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// These resources are offered.
    Grant(Grant),
    /// This grant is to be taken back, if it was not accepted meanwhile. `Returned` follows.
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
}

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
    /// Less is free than the least worth an offer.
    TooSmall,
    /// Nothing stands in the way: it is offered when its turn comes.
    None,
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Filtered(until) => write!(f, "refused until {until}"),
            Self::Suppressed => f.write_str("suppressed"),
            Self::FrameworkInactive => f.write_str("framework not active"),
            Self::AgentInactive => f.write_str("agent not active"),
            Self::TooSmall => f.write_str("too little is free"),
            Self::None => f.write_str("nothing stands in the way"),
        }
    }
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

    /// Returns figures.
    fn stats(&self) -> Stats {
        Stats::default()
    }
}

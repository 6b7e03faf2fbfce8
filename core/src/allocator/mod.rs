//! The allocator: a machine from [`Change`] to [`Decision`].
//!
//! It hears facts about agents, frameworks and what became of its grants, and decides who is
//! offered what. It knows nothing of offers' ids, tasks or connections. [`drf::Drf`] is the one
//! that comes with the library; [`random::Random`] is a second one, which shows that the trait
//! suffices. A custom allocator is one `match` over [`Change`] and a `tick` that grants; master and
//! simulator take it as they take the built-in ones.
//!
//! The smallest embedder tells it of agents, frameworks, and what became of grants. All other
//! changes (quota, weights, demands, a whitelist) are optional, and an allocator may ignore what it
//! does not know.
//!
//! What an embedder owes it: changes in the order in which they happened, [`Change::Accepted`]
//! before the [`Change::Returned`] of what is left, and a `Returned` for every grant, in parts or
//! whole, that is not in use and was not lost with its agent or framework.
//!
//! Deliberately not here: inverse offers, which are the master's.
//!
//! # A complete allocator
//!
//! This one offers whole agents in turn, however much anybody holds, and looks around a second
//! after something changed.
//!
//! ```
//! use std::collections::{BTreeMap, VecDeque};
//! use std::time::Duration;
//!
//! use tepui_core::allocator::{
//!     AgentTraits, Allocator, Change, Decision, FrameworkProfile, Grant, GrantId,
//! };
//! use tepui_core::keys::{AgentKey, FrameworkKey};
//! use tepui_core::machine::{Machine, Never, Outbox, Output};
//! use tepui_core::resources::Resources;
//! use tepui_core::roles::Role;
//! use tepui_core::time::Time;
//!
//! struct Agent { total: Resources, active: bool, booked: BTreeMap<FrameworkKey, Resources> }
//! struct Seat { framework: FrameworkKey, role: Role, open: bool }
//!
//! #[derive(Default)]
//! struct InTurn {
//!     agents: BTreeMap<AgentKey, Agent>,
//!     seats: VecDeque<Seat>,
//!     grants: u64,
//!     due: Option<Time>,
//! }
//!
//! impl InTurn {
//!     fn open(&mut self, framework: FrameworkKey, roles: &[Role], open: bool) {
//!         for seat in self.seats.iter_mut().filter(|seat| seat.framework == framework) {
//!             if roles.is_empty() || roles.contains(&seat.role) {
//!                 seat.open = open;
//!             }
//!         }
//!     }
//! }
//!
//! impl Machine for InTurn {
//!     type Input = Change;
//!     type Record = Never;
//!     type Effect = Decision;
//!
//!     fn handle(&mut self, now: Time, change: Change, out: &mut Outbox<Never, Decision>) {
//!         self.tick(now, out);
//!         match change {
//!             Change::AgentAdded { agent, total, .. } => {
//!                 let row = Agent { total, active: true, booked: BTreeMap::new() };
//!                 self.agents.insert(agent, row);
//!             }
//!             Change::AgentRemoved { agent } => drop(self.agents.remove(&agent)),
//!             Change::AgentChanged { agent, total, .. } => {
//!                 if let Some(row) = self.agents.get_mut(&agent) { row.total = total }
//!             }
//!             Change::AgentActive { agent, active } => {
//!                 if let Some(row) = self.agents.get_mut(&agent) { row.active = active }
//!             }
//!             Change::FrameworkAdded { framework, profile } => self.seats.extend(
//!                 profile.roles.into_iter().map(|it| it.role)
//!                     .map(|role| Seat { framework, role, open: true }),
//!             ),
//!             Change::FrameworkRemoved { framework } => {
//!                 self.seats.retain(|seat| seat.framework != framework);
//!                 for row in self.agents.values_mut() { row.booked.remove(&framework); }
//!             }
//!             Change::FrameworkActive { framework, active } => self.open(framework, &[], active),
//!             Change::Suppressed { framework, roles } => self.open(framework, &roles, false),
//!             Change::Revived { framework, roles } => self.open(framework, &roles, true),
//!             Change::Used { framework, agent, resources, .. } => {
//!                 if let Some(row) = self.agents.get_mut(&agent) {
//!                     let booked = row.booked.entry(framework).or_default();
//!                     booked.add(&resources).expect("the master checked that it fits the agent");
//!                 }
//!             }
//!             Change::Returned { framework, agent, resources, .. } => {
//!                 let row = self.agents.get_mut(&agent);
//!                 if let Some(booked) = row.and_then(|row| row.booked.get_mut(&framework)) {
//!                     let _late_news = booked.subtract(&resources);
//!                 }
//!             }
//!             _ => {}
//!         }
//!         self.due.get_or_insert(now + Duration::from_secs(1));
//!     }
//!
//!     fn tick(&mut self, now: Time, out: &mut Outbox<Never, Decision>) {
//!         if self.due.is_none_or(|due| due > now) { return }
//!         self.due = None;
//!         for (agent, row) in self.agents.iter_mut().filter(|(_, row)| row.active) {
//!             let free = row.booked.values().try_fold(row.total.clone(), |f, b| f.checked_sub(b));
//!             let Some(next) = self.seats.iter().position(|seat| seat.open) else { return };
//!             let resources = free.unwrap_or_default().allocatable_to(&self.seats[next].role);
//!             if resources.is_empty() { continue }
//!             let seat = self.seats.remove(next).expect("it was just found");
//!             let (framework, role) = (seat.framework, seat.role.clone());
//!             self.seats.push_back(seat);
//!             let booked = row.booked.entry(framework).or_default();
//!             booked.add(&resources).expect("a part of the total fits");
//!             self.grants += 1;
//!             let id = GrantId(self.grants);
//!             out.emit(Decision::Grant(Grant { id, framework, role, agent: *agent, resources }));
//!         }
//!     }
//!
//!     fn deadline(&self) -> Option<Time> { self.due }
//! }
//!
//! impl Allocator for InTurn {}
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
mod breeds;
mod candidate;
mod change;
mod changes;
mod columns;
mod counted;
mod cycle;
pub mod drf;
mod explain;
mod headroom;
mod holding;
mod interest;
mod invariants;
mod joins;
mod kinds;
mod ledger;
mod lot;
mod names;
mod obstacle;
mod options;
mod profile;
pub mod random;
mod seats;
mod shares;
mod shifts;
#[cfg(test)]
mod tests;
mod tree;
mod walk;
mod want;
mod worth;

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

pub use change::{Booking, Change};
pub use obstacle::{Capability, Obstacle, sum_up};
pub use profile::{
    AgentCapabilities, AgentTraits, FrameworkCapabilities, FrameworkProfile, Subscription,
    SubscriptionState,
};

use crate::keys::{AgentKey, FrameworkKey};
use crate::machine::{Machine, Never};
use crate::quota::Quota;
use crate::resources::{Milli, Quantities, Resources};
use crate::roles::Role;

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
    /// What is free of it, and of everything else, for anybody (AL-25).
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

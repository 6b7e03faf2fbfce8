//! What a framework says about itself, and what it wants.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;
use core::ops::BitOr;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::reject::Reject;
use super::validate::check_size;
use crate::constraints::Constraints;
use crate::demand::Demand;
use crate::ids::FrameworkId;
use crate::limits;
use crate::resources::{Labels, Quantities};
use crate::roles::Role;

/// An independent scheduler that shares the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrameworkInfo {
    /// Its id; `None` to be given a new one (FW-03).
    pub id: Option<FrameworkId>,
    /// A name for people.
    pub name: String,
    /// In whose name it takes resources, each once (FW-06, RQ-02). Without any it is offered
    /// nothing.
    pub roles: Vec<Role>,
    /// The name in its certificate. The master writes it, whatever the framework says: agents go by
    /// it when somebody asks for a task's output.
    pub principal: Option<String>,
    /// How long its tasks go on while it is away (FW-04). Zero ends them with it.
    pub failover_timeout: Duration,
    /// As which user its programs run that name none (FW-01); `None` is the agent's own. It never
    /// changes: what runs would belong to two.
    pub user: Option<String>,
    /// What it can cope with, beyond what everybody can.
    pub capabilities: Capabilities,
    /// What is worth an offer to it, by role: at least one of these, or anything if the list is
    /// empty. In other roles it is what the cluster goes by (OF-40).
    pub min_allocatable: BTreeMap<Role, Vec<Quantities>>,
    /// Where it runs, for people (FW-07).
    pub hostname: String,
    /// Where people can look at it (FW-07).
    pub webui_url: String,
    /// Whatever it wants to say to those who read labels (FW-10).
    pub labels: Labels,
}

impl FrameworkInfo {
    /// Describes a new framework in the role `*` that may be away for as long as is usual
    /// ([`limits::FAILOVER_TIMEOUT`]).
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            id: None,
            name: name.into(),
            roles: Vec::from([Role::any()]),
            principal: None,
            failover_timeout: limits::FAILOVER_TIMEOUT,
            user: None,
            capabilities: Capabilities::default(),
            min_allocatable: BTreeMap::new(),
            hostname: String::new(),
            webui_url: String::new(),
            labels: Labels::default(),
        }
    }

    /// Returns which of its roles a call means that names these: all of them, if it names none.
    pub fn named_roles<'a>(&'a self, roles: &'a [Role]) -> &'a [Role] {
        if roles.is_empty() { &self.roles } else { roles }
    }
}

/// What a framework can cope with, one bit each. Bits that are not known are kept and ignored, so
/// that a master does not turn newer frameworks away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities(u64);

impl Capabilities {
    /// Nothing of it.
    pub const NONE: Self = Self(0);
    /// Resources that can be taken from it (FW-13).
    pub const REVOCABLE: Self = Self(1);
    /// Tasks of which it is told that they are being ended (FW-14).
    pub const TASK_KILLING: Self = Self(1 << 1);
    /// Graphics processors: agents with some are kept for such frameworks (FW-15).
    pub const GPUS: Self = Self(1 << 2);
    /// Resources that others hold as well (FW-16).
    pub const SHARED: Self = Self(1 << 3);
    /// Several roles (FW-18).
    pub const MULTI_ROLE: Self = Self(1 << 4);
    /// Reservations within reservations (FW-19).
    pub const REFINEMENT: Self = Self(1 << 5);
    /// Agents in other regions than the master's (FW-20).
    pub const REGIONS: Self = Self(1 << 6);

    /// Returns whether all of `other` is in it.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl Default for Capabilities {
    /// What costs a framework nothing: all but what scarce or unsafe things are kept for
    /// (`REVOCABLE`, `GPUS`, `REGIONS`), and states that it must know of (`TASK_KILLING`).
    fn default() -> Self {
        Self::SHARED | Self::MULTI_ROLE | Self::REFINEMENT
    }
}

impl BitOr for Capabilities {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// What a framework wants, as long as it is subscribed: agents are not told, and the next
/// subscription says it again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wishes {
    /// In which of its roles it wants no offers (OF-37).
    pub suppressed: BTreeSet<Role>,
    /// Which agents it wants, by role; any in those that are not named (OF-41).
    pub constraints: BTreeMap<Role, Constraints>,
    /// How much it wants, by role; anything in those that are not named. Counted anew whenever it
    /// is said, and for nothing where the master ignores demands.
    pub demands: BTreeMap<Role, Demand>,
}

impl Wishes {
    /// Adds roles in which nothing is wanted, if a subscription has room for them (OF-37).
    pub fn suppress(&mut self, roles: &[Role]) -> Result<(), Reject> {
        let is_new = |role: &&Role| !self.suppressed.contains(*role);
        let new: Vec<Role> = roles.iter().filter(is_new).cloned().collect();
        if new.is_empty() {
            return Ok(());
        }
        self.suppressed.extend(new.iter().cloned());
        let checked = self.check_size();
        if checked.is_err() {
            self.suppressed.retain(|role| !new.contains(role));
        }
        checked
    }

    /// Takes roles out in which nothing was wanted, or all if none are named (OF-36).
    pub fn revive(&mut self, roles: &[Role]) {
        let is_named = |role: &Role| roles.is_empty() || roles.contains(role);
        self.suppressed.retain(|role| !is_named(role));
    }

    /// Sets what is wanted in a role, if a subscription has room for it.
    pub fn set_demand(&mut self, role: &Role, demand: Option<&Demand>) -> Result<(), Reject> {
        let Some(demand) = demand else {
            self.demands.remove(role);
            return Ok(());
        };
        let before = self.demands.insert(role.clone(), demand.clone());
        let checked = self.check_size();
        if checked.is_err() {
            match before {
                Some(before) => self.demands.insert(role.clone(), before),
                None => self.demands.remove(role),
            };
        }
        checked
    }

    /// Checks that a subscription has room for all that is wanted.
    pub(super) fn check_size(&self) -> Result<(), Reject> {
        check_size("wishes", self, limits::WISHES_BYTES)
    }
}

/// What an agent was told of frameworks over one connection: the agent keeps what they say, its
/// master what it has told. Both follow the same rule, so that neither has to say what it has
/// forgotten: all else goes when one more is told of than [`limits::INTRODUCED`].
#[derive(Clone, Debug)]
pub struct Introduced<T>(BTreeMap<FrameworkId, T>);

impl<T> Introduced<T> {
    /// Returns of how many frameworks it knows; at most [`limits::INTRODUCED`].
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns what is kept of a framework.
    pub fn get(&self, framework: &FrameworkId) -> Option<&T> {
        self.0.get(framework)
    }

    /// Notes that a framework was told of, for the first time or anew.
    pub fn note(&mut self, framework: FrameworkId, what: T) {
        if self.0.len() >= limits::INTRODUCED && !self.0.contains_key(&framework) {
            self.0.clear();
        }
        self.0.insert(framework, what);
    }
}

impl<T> Default for Introduced<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use super::*;

    #[test]
    fn what_was_told_is_bounded_and_both_sides_forget_the_same() {
        // PR-06
        let id = |n: usize| FrameworkId::new(&format!("f-{n}")).unwrap();
        let mut told = Introduced::default();
        for n in 0..limits::INTRODUCED {
            told.note(id(n), n);
        }
        // One that is told of anew is none more.
        told.note(id(0), 7);
        assert_eq!(told.get(&id(0)), Some(&7));
        assert_eq!(told.get(&id(1)), Some(&1));
        told.note(id(limits::INTRODUCED), 8);
        assert_eq!(told.get(&id(0)), None);
        assert_eq!(told.get(&id(limits::INTRODUCED)), Some(&8));
    }
}

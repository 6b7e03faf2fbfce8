//! What must always hold, whatever goes wrong. One file for each property that is more than a line:
//!
//! | property | statement | where |
//! |---|---|---|
//! | machines | every machine's own invariants | here |
//! | replay | what is durable reads back as what the machine believes | here |
//! | tasks | a task has at most one container | here |
//! | updates | per task in order, and ended once | [`super::tap`] |
//! | conservation | an agent gives no more than it has, and the allocator agrees | [`conservation`] |
//! | offers | an accept of a dead offer launches nothing | [`offers`] |
//! | convergence | when faults stop, all views agree and offers flow | [`convergence`] |
//!
//! That nothing is told before it is durable needs no check of its own: effects leave only through
//! the gate, a crash loses what is not durable, and then a broken promise breaks one of the above.

pub(super) mod conservation;
pub(super) mod convergence;
pub(super) mod offers;

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::{String, ToString};

use super::options::Checking;
use super::property::Property;
use super::queue::Name;
use super::world::{World, at};
use crate::agent::AgentState;
use crate::registry::Registry;

/// A property that does not hold, and why.
type Broken = (Property, String);

impl World {
    /// Checks all that a turn of this node could have broken.
    pub(super) fn check(&mut self, name: Name) {
        if self.options.checking == Checking::Off {
            return;
        }
        let result = match name {
            Name::Master => self.check_master(),
            Name::Agent(n) => self.check_agent(n),
            Name::Framework(n) => self.check_framework(n),
        };
        if let Err((property, problem)) = result {
            self.broken(property, format!("{name}: {problem}"));
        }
    }

    fn check_master(&self) -> Result<(), Broken> {
        let Some(master) = self.master.machine() else {
            return Ok(());
        };
        master.check();
        conservation::check(master).map_err(|problem| (Property::Conservation, problem))
    }

    fn check_agent(&self, n: u32) -> Result<(), Broken> {
        if let Some(agent) = self.agents[at(n)].node.machine() {
            let checked = agent.check();
            checked.map_err(|violation| (Property::Machines, violation.to_string()))?;
        }
        let mut seen = BTreeSet::new();
        for task in self.agents.iter().flat_map(|seat| seat.containers.alive()) {
            if !seen.insert(task) {
                return Err((Property::Tasks, format!("{task:?} has two containers")));
            }
        }
        Ok(())
    }

    fn check_framework(&self, n: u32) -> Result<(), Broken> {
        let tap = self.frameworks[at(n)].node.machine().map(|m| m.logic());
        match tap.and_then(|tap| tap.violation()) {
            Some(violation) => Err((Property::Updates, violation.into())),
            None => Ok(()),
        }
    }

    /// Checks that a node with nothing unwritten would come back as it is.
    pub(super) fn check_replay(&mut self, name: Name) {
        if self.options.checking == Checking::Off {
            return;
        }
        let is_same = match name {
            Name::Master => self.master.machine().is_none_or(|master| {
                let disk = &self.master.disk;
                !disk.is_settled() || disk.read::<Registry>() == *master.registry()
            }),
            Name::Agent(n) => {
                let node = &self.agents[at(n)].node;
                node.machine().is_none_or(|agent| {
                    !node.disk.is_settled() || node.disk.read::<AgentState>() == *agent.state()
                })
            }
            Name::Framework(_) => true,
        };
        if !is_same {
            let problem = format!("{name} would come back as somebody else");
            self.broken(Property::Replay, problem);
        }
    }
}

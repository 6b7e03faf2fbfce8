//! A master's state as a reader keeps it up to date: a snapshot, and the events after it.
//!
//! For operator interfaces that answer many reads and must not ask the master for each. What is out
//! of order, or does not fit what is there, is refused, and the mirror is to be thrown away: so a
//! reader that goes on has what the master has (I13).
//!
//! ```
//! use tepui_core::mirror::{Mirror, Unfit};
//! use tepui_core::protocol::events::{Batch, Snapshot, Version};
//!
//! let at = |number| Version { epoch: 1, number };
//! let mut mirror = Mirror::default();
//! // One such page for each kind of row, at least.
//! mirror.load(Snapshot { from: at(7), upto: at(7), rows: vec![] })?;
//! mirror.apply(Batch { after: at(7), events: vec![] })?;
//! let skipped = Batch { after: at(8), events: vec![] };
//! assert_eq!(mirror.apply(skipped), Err(Unfit::Order { has: at(7), given: at(8) }));
//! # Ok::<(), Unfit>(())
//! ```
//!
//! Deliberately not here: asking, and what to do once a master keeps the next event no more.

mod shares;

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::ids::{AgentId, ExecutorId, FrameworkId, OfferId, OperationId, TaskId};
use crate::protocol::events::{
    AgentState, Batch, Event, ExecutorState, FrameworkState, RoleState, Row, RowId, Snapshot,
    Version,
};
use crate::protocol::offer::Offer;
use crate::protocol::operator::{AgentView, FrameworkView, OperationView, TaskView};

use crate::roles::Role;

pub use shares::{Share, Shares};

/// Why something is not what comes next.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// Something is missing or came twice, or is of another leadership.
    #[error("events after {given:?} for who has {has:?}")]
    Order {
        /// Up to where the mirror is.
        has: Version,
        /// What the events come after.
        given: Version,
    },
    /// Events for a mirror that has no snapshot.
    #[error("events without a snapshot")]
    Empty,
    /// What is added is there already.
    #[error("{0:?} is added and was there")]
    Known(RowId),
    /// What changes or goes is not there.
    #[error("{0:?} changes and was not there")]
    Unknown(RowId),
}

/// What a reader knows of a master.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mirror {
    version: Option<Version>,
    /// Pages of the snapshot are of several versions, up to this number; `None` once the events up
    /// to it are in.
    blurred_until: Option<u64>,
    agents: BTreeMap<AgentId, AgentState>,
    frameworks: BTreeMap<FrameworkId, FrameworkState>,
    executors: BTreeMap<(FrameworkId, AgentId, ExecutorId), ExecutorState>,
    tasks: BTreeMap<(FrameworkId, TaskId), TaskView>,
    offers: BTreeMap<OfferId, Offer>,
    roles: BTreeMap<Role, RoleState>,
    operations: BTreeMap<(FrameworkId, OperationId), OperationView>,
}

impl Mirror {
    /// Returns up to where events are in; what comes next is what comes after that.
    pub fn version(&self) -> Option<Version> {
        self.version
    }

    /// Returns whether this is the master's state of one moment, once all pages of all kinds are
    /// loaded. If not, more events make it so.
    pub fn is_whole(&self) -> bool {
        self.version.is_some() && self.blurred_until.is_none()
    }

    /// Takes in a snapshot, page by page or joined, of all kinds before the first events.
    pub fn load(&mut self, page: Snapshot) -> Result<(), Unfit> {
        let begun = *self.version.get_or_insert(page.from);
        if page.upto.epoch != begun.epoch || page.from < begun {
            let (has, given) = (begun, page.from);
            return Err(Unfit::Order { has, given });
        }
        // What was read later may be newer. Events that it contains already change nothing that
        // lasts: after the last of them each row is as that says.
        if page.upto > begun {
            self.blurred_until = self.blurred_until.max(Some(page.upto.number));
        }
        for row in page.rows {
            self.put(row);
        }
        Ok(())
    }

    /// Takes in the next events.
    pub fn apply(&mut self, batch: Batch) -> Result<(), Unfit> {
        let has = self.version.ok_or(Unfit::Empty)?;
        if batch.after != has {
            let given = batch.after;
            return Err(Unfit::Order { has, given });
        }
        self.version = Some(batch.upto());
        for (nth, event) in (1..).zip(batch.events) {
            let is_blurred = self.blurred_until.is_some();
            self.take_in(event).or_else(|unfit| match unfit {
                Unfit::Known(_) | Unfit::Unknown(_) if is_blurred => Ok(()),
                Unfit::Known(_) | Unfit::Unknown(_) | Unfit::Order { .. } | Unfit::Empty => {
                    Err(unfit)
                }
            })?;
            let number = has.number.saturating_add(nth);
            self.blurred_until = self.blurred_until.filter(|until| number < *until);
        }
        Ok(())
    }

    fn take_in(&mut self, event: Event) -> Result<(), Unfit> {
        match event {
            Event::Added(row) => {
                let id = row.id();
                if self.put(row) {
                    return Err(Unfit::Known(id));
                }
            }
            Event::Updated(row) => {
                let id = row.id();
                if !self.put(row) {
                    return Err(Unfit::Unknown(id));
                }
            }
            Event::Removed(id) => {
                if !self.remove(&id) {
                    return Err(Unfit::Unknown(id));
                }
            }
        }
        Ok(())
    }

    /// Puts a row in the place of the one of its name; returns whether there was one.
    fn put(&mut self, row: Row) -> bool {
        match row {
            Row::Agent(agent) => self.agents.insert(agent.id.clone(), agent).is_some(),
            Row::Framework(framework) => {
                let id = framework.id.clone();
                self.frameworks.insert(id, framework).is_some()
            }
            Row::Executor(executor) => {
                let (framework, agent) = (executor.framework.clone(), executor.agent.clone());
                let id = (framework, agent, executor.id.clone());
                self.executors.insert(id, executor).is_some()
            }
            Row::Task(task) => {
                let id = (task.framework.clone(), task.status.task.clone());
                self.tasks.insert(id, task).is_some()
            }
            Row::Offer(offer) => self.offers.insert(offer.id.clone(), offer).is_some(),
            Row::Role(role) => self.roles.insert(role.role.clone(), role).is_some(),
            Row::Operation(operation) => {
                let id = (operation.framework.clone(), operation.status.id.clone());
                self.operations.insert(id, operation).is_some()
            }
        }
    }

    /// Takes a row out; returns whether it was there.
    fn remove(&mut self, id: &RowId) -> bool {
        match id {
            RowId::Agent(id) => self.agents.remove(id).is_some(),
            RowId::Framework(id) => self.frameworks.remove(id).is_some(),
            RowId::Executor {
                framework,
                agent,
                id,
            } => {
                let id = (framework.clone(), agent.clone(), id.clone());
                self.executors.remove(&id).is_some()
            }
            RowId::Task { framework, id } => {
                let id = (framework.clone(), id.clone());
                self.tasks.remove(&id).is_some()
            }
            RowId::Offer(id) => self.offers.remove(id).is_some(),
            RowId::Role(role) => self.roles.remove(role).is_some(),
            RowId::Operation { framework, id } => {
                let id = (framework.clone(), id.clone());
                self.operations.remove(&id).is_some()
            }
        }
    }

    /// Lists all agents, in the order of their ids.
    pub fn agents(&self) -> Vec<AgentView> {
        let mut shares = self.shares(|_, agent| agent);
        let rows = self.agents.iter();
        rows.map(|(id, agent)| shares.take(&id).of_agent(agent.clone()))
            .collect()
    }

    /// Lists all frameworks, in the order of their ids.
    pub fn frameworks(&self) -> Vec<FrameworkView> {
        let mut shares = self.shares(|framework, _| framework);
        let rows = self.frameworks.iter();
        rows.map(|(id, framework)| shares.take(&id).of_framework(framework.clone()))
            .collect()
    }

    /// Visits all tasks, ended ones too as far as they are remembered.
    pub fn tasks(&self) -> impl Iterator<Item = &TaskView> + '_ {
        self.tasks.values()
    }

    /// Visits all outstanding offers.
    pub fn offers(&self) -> impl Iterator<Item = &Offer> + '_ {
        self.offers.values()
    }

    /// Visits the roles of which operators have said something.
    pub fn roles(&self) -> impl Iterator<Item = &RoleState> + '_ {
        self.roles.values()
    }

    /// Visits the operations that frameworks have named and not confirmed the end of.
    pub fn operations(&self) -> impl Iterator<Item = &OperationView> + '_ {
        self.operations.values()
    }

    fn shares<'a, K: Ord>(&'a self, of: impl Fn(&'a FrameworkId, &'a AgentId) -> K) -> Shares<K> {
        let mut shares = Shares::default();
        for offer in self.offers.values() {
            shares.offer(of(&offer.framework, &offer.agent), &offer.resources);
        }
        for task in self.tasks.values() {
            let of = of(&task.framework, &task.agent);
            shares.task(of, task.status.state, &task.resources);
        }
        for executor in self.executors.values() {
            let of = of(&executor.framework, &executor.agent);
            shares.executor(of, &executor.resources);
        }
        shares
    }
}

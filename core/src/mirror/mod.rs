//! A machine's state as a reader keeps it up to date: a snapshot, and the events after it.
//!
//! [`Mirror`] is that of a master; [`Following`] alone that of any machine.
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

mod following;
mod shares;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use crate::ids::{AgentId, ExecutorId, FrameworkId, OfferId, OperationId, TaskId};
use crate::protocol::events::{
    AgentState, EndedState, ExecutorState, FrameworkState, GoneState, InverseOfferState,
    MachineState, RoleState, Row, RowId,
};
use crate::protocol::maintenance::{
    InverseOfferView, Leaving, MachineId, MachineMode, MachineView,
};
use crate::protocol::offer::Offer;
use crate::protocol::operator::{
    AgentView, EndedFramework, FrameworkView, OperationView, TaskView,
};

use crate::roles::Role;

pub use following::{Following, Shelf, Unfit};
#[cfg(test)]
pub(crate) use shares::ADDED;
pub use shares::{Share, Shares};

/// A master, as far as a reader knows.
pub type Mirror = Following<Row, Shelves>;

/// The rows of a master, by their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shelves {
    agents: BTreeMap<AgentId, AgentState>,
    frameworks: BTreeMap<FrameworkId, FrameworkState>,
    executors: BTreeMap<(FrameworkId, AgentId, ExecutorId), ExecutorState>,
    tasks: BTreeMap<(FrameworkId, TaskId), TaskView>,
    offers: BTreeMap<OfferId, Offer>,
    roles: BTreeMap<Role, RoleState>,
    operations: BTreeMap<(FrameworkId, OperationId), OperationView>,
    gone: BTreeMap<AgentId, GoneState>,
    ended: BTreeMap<FrameworkId, EndedState>,
    completed: BTreeMap<FrameworkId, FrameworkState>,
    machines: BTreeMap<MachineId, MachineState>,
    down: BTreeSet<MachineId>,
    inverse_offers: BTreeMap<(FrameworkId, AgentId), InverseOfferState>,
}

impl Shelf<Row> for Shelves {
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
            Row::Gone(gone) => self.gone.insert(gone.id.clone(), gone).is_some(),
            Row::Ended(ended) => self.ended.insert(ended.id.clone(), ended).is_some(),
            Row::Completed(framework) => {
                let id = framework.id.clone();
                self.completed.insert(id, framework).is_some()
            }
            Row::Machine(machine) => {
                let id = machine.machine.clone();
                self.machines.insert(id, machine).is_some()
            }
            Row::Down(machine) => !self.down.insert(machine),
            Row::InverseOffer(asked) => {
                let id = (asked.framework.clone(), asked.agent.clone());
                self.inverse_offers.insert(id, asked).is_some()
            }
        }
    }

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
            RowId::Gone(id) => self.gone.remove(id).is_some(),
            RowId::Ended(id) => self.ended.remove(id).is_some(),
            RowId::Completed(id) => self.completed.remove(id).is_some(),
            RowId::Machine(id) => self.machines.remove(id).is_some(),
            RowId::Down(id) => self.down.remove(id),
            RowId::InverseOffer { framework, agent } => {
                let id = (framework.clone(), agent.clone());
                self.inverse_offers.remove(&id).is_some()
            }
        }
    }
}

impl Mirror {
    /// Lists all agents, in the order of their ids.
    pub fn agents(&self) -> Vec<AgentView> {
        let mut shares = self.shares(|_, agent| agent);
        let rows = self.rows.agents.iter();
        rows.map(|(id, agent)| shares.take(&id).of_agent(agent.clone()))
            .collect()
    }

    /// Lists all frameworks, in the order of their ids.
    pub fn frameworks(&self) -> Vec<FrameworkView> {
        let mut shares = self.shares(|framework, _| framework);
        let rows = self.rows.frameworks.iter();
        rows.map(|(id, framework)| shares.take(&id).of_framework(framework.clone()))
            .collect()
    }

    /// Visits all tasks, ended ones too as far as they are remembered.
    pub fn tasks(&self) -> impl Iterator<Item = &TaskView> + '_ {
        self.rows.tasks.values()
    }

    /// Visits all outstanding offers.
    pub fn offers(&self) -> impl Iterator<Item = &Offer> + '_ {
        self.rows.offers.values()
    }

    /// Visits the roles of which operators have said something.
    pub fn roles(&self) -> impl Iterator<Item = &RoleState> + '_ {
        self.rows.roles.values()
    }

    /// Visits the operations that frameworks have named and not confirmed the end of.
    pub fn operations(&self) -> impl Iterator<Item = &OperationView> + '_ {
        self.rows.operations.values()
    }

    /// Visits the agents that are gone for good, as far as they are remembered.
    pub fn gone(&self) -> impl Iterator<Item = &GoneState> + '_ {
        self.rows.gone.values()
    }

    /// Lists the frameworks that are over, as far as they are remembered, oldest first.
    pub fn ended_frameworks(&self) -> Vec<EndedFramework> {
        let ended = self.rows.ended.values().map(|ended| EndedFramework {
            id: ended.id.clone(),
            name: self
                .rows
                .completed
                .get(&ended.id)
                .map(|it| it.info.name.clone()),
            reason: ended.reason,
            at: ended.at,
        });
        let mut ended: Vec<EndedFramework> = ended.collect();
        ended.sort_by_key(|ended| ended.at);
        ended
    }

    /// Lists the machines of the maintenance schedule (TK-122).
    pub fn machines(&self) -> Vec<MachineView> {
        let machines = self.rows.machines.values().map(|row| {
            let machine = row.machine.clone();
            let mode = if self.rows.down.contains(&machine) {
                MachineMode::Down
            } else {
                MachineMode::Draining
            };
            let view = MachineView {
                machine: machine.clone(),
                mode,
                unavailability: row.unavailability,
                agents: 0,
                unknown: 0,
                accepted: 0,
                declined: 0,
            };
            (machine, view)
        });
        let mut machines: BTreeMap<MachineId, MachineView> = machines.collect();
        let mut answers: BTreeMap<&AgentId, Vec<Leaving>> = BTreeMap::new();
        for asked in self.rows.inverse_offers.values() {
            answers.entry(&asked.agent).or_default().push(asked.leaving);
        }
        for (id, agent) in &self.rows.agents {
            for machine in MachineId::of_agent(&agent.info) {
                if let Some(view) = machines.get_mut(&machine) {
                    view.agents += 1;
                    answers
                        .get(id)
                        .into_iter()
                        .flatten()
                        .for_each(|it| view.count(*it));
                }
            }
        }
        machines.into_values().collect()
    }

    /// Lists which frameworks were asked to leave agents, and what they have answered (TK-122).
    pub fn inverse_offers(&self) -> Vec<InverseOfferView> {
        let asked = self.rows.inverse_offers.values().map(|asked| {
            let agent = self.rows.agents.get(&asked.agent);
            let machines = agent
                .into_iter()
                .flat_map(|it| MachineId::of_agent(&it.info));
            let machines = machines.filter(|machine| self.rows.machines.contains_key(machine));
            InverseOfferView {
                framework: asked.framework.clone(),
                agent: asked.agent.clone(),
                machines: machines.collect(),
                open: asked.open.clone(),
                leaving: asked.leaving,
            }
        });
        asked.collect()
    }

    fn shares<'a, K: Ord>(&'a self, of: impl Fn(&'a FrameworkId, &'a AgentId) -> K) -> Shares<K> {
        let mut shares = Shares::default();
        for offer in self.rows.offers.values() {
            shares.offer(of(&offer.framework, &offer.agent), &offer.resources);
        }
        for task in self.rows.tasks.values() {
            let of = of(&task.framework, &task.agent);
            shares.task(of, task.status.state, &task.resources);
        }
        for executor in self.rows.executors.values() {
            let of = of(&executor.framework, &executor.agent);
            shares.executor(of, &executor.resources);
        }
        shares
    }
}

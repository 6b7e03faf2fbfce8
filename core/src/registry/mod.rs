//! What a master must never forget: its epoch, which agents it has admitted under which names,
//! which of them are out of reach or gone, which frameworks there are and were, the quotas and
//! weights of roles, and which machines are in maintenance.
//!
//! Written by the master through [`RegistryOp`], one record at a time; rebuilt by replaying them.
//! Agents that come back unchanged write nothing, frameworks that they are there again.
//!
//! Each kind of thing that is remembered has a file (`agents`, `frameworks`, `roles`,
//! `maintenance`).
//!
//! Deliberately not here: tasks. Those who run them know them best, and tell the next master.

mod agents;
mod frameworks;
mod maintenance;
mod roles;

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use self::agents::Agents;
pub(crate) use self::agents::coming_bytes;
pub use self::agents::{Admission, Gone, JobEnd};
pub(crate) use self::frameworks::Ending;
pub use self::frameworks::Enrolment;
use self::frameworks::Frameworks;
pub use self::maintenance::Maintenance;
use self::roles::Roles;
use crate::book::Book;
use crate::ids::{AgentId, FrameworkId};
use crate::machine::Durable;
use crate::protocol::disk::{DiskEnd, DiskJob};
use crate::protocol::framework::FrameworkInfo;
use crate::protocol::maintenance::{MachineId, Unavailability, Window};
use crate::protocol::node::{AgentInfo, Standing};
use crate::protocol::operation::{Converted, Order};
use crate::protocol::refusal::EndReason;
use crate::quota::Quota;
use crate::resources::Milli;
use crate::roles::Role;
use crate::time::Time;

/// One change of the registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RegistryOp {
    /// A leadership began.
    Lead {
        /// Its epoch, higher than all before.
        epoch: u64,
        /// When it began, so that no later one begins before it.
        at: Time,
    },
    /// An agent was admitted, and its name bound to its id.
    Admit {
        /// Its id.
        id: AgentId,
        /// The name in its certificate.
        name: String,
        /// What it says about itself.
        info: Arc<AgentInfo>,
    },
    /// An admitted agent changed.
    Update {
        /// Which one.
        id: AgentId,
        /// What it says about itself now.
        info: Arc<AgentInfo>,
    },
    /// An agent is gone for good: its name is free again, and its id never serves again.
    Remove {
        /// Which one.
        id: AgentId,
        /// Since when.
        at: Time,
        /// Whether an operator has said so.
        by_operator: bool,
    },
    /// Roles were given quotas, all of them at once (RQ-16).
    SetQuotas {
        /// By role; an empty one takes away what the role had.
        quotas: Vec<(Role, Quota)>,
    },
    /// Roles were given weights, all of them at once (RQ-08).
    SetWeights {
        /// By role; 1 is what roles weigh that nobody named (RQ-11).
        weights: Vec<(Role, Milli)>,
    },
    /// An admitted agent is out of reach (SM-14).
    Unreachable {
        /// Which one.
        id: AgentId,
        /// Since when.
        at: Time,
    },
    /// An agent that was out of reach is back (SM-16).
    Reachable {
        /// Which one.
        id: AgentId,
    },
    /// Agents that are gone for long are forgotten (HA-20).
    Prune {
        /// Those that were gone before.
        before: Time,
        /// How many of the newest others are kept.
        keep: usize,
    },
    /// An operator has said whether an agent is given tasks (SM-19).
    SetStanding {
        /// Which one.
        id: AgentId,
        /// How it stands from now on.
        standing: Standing,
        /// Since when.
        at: Time,
    },
    /// Something else is to become of resources of an agent (OF-14).
    Convert {
        /// Which agent.
        agent: AgentId,
        /// The operation, the next one of the agent.
        order: Order,
    },
    /// An agent has carried its operations out, and will not forget them.
    Settle {
        /// Which agent.
        agent: AgentId,
        /// The number of the last one.
        last: u64,
    },
    /// An agent knows of more operations than the registry: that has lost some of its memory. As it
    /// was written before [`Self::RestoreAll`] said what the agent's provider is at.
    Restore {
        /// Which agent.
        agent: AgentId,
        /// What operations have made, as the agent says.
        converted: Converted,
    },
    /// A framework was let in, or says something else about itself. Whether it is there is said by
    /// other records.
    EnrolFramework {
        /// Its id.
        id: FrameworkId,
        /// What it says about itself, with its id.
        info: Arc<FrameworkInfo>,
        /// Whether the id is certainly theirs.
        vouched: bool,
    },
    /// A framework is away: its failover timeout runs (FW-30). A leadership begins with all away.
    FrameworkAway {
        /// Which one.
        id: FrameworkId,
        /// Since when.
        at: Time,
    },
    /// A framework is there again.
    FrameworkBack {
        /// Which one.
        id: FrameworkId,
    },
    /// A framework is over, and its id does not come back (SM-08).
    EndFramework {
        /// Which one.
        id: FrameworkId,
        /// Why.
        reason: EndReason,
        /// When.
        at: Time,
    },
    /// Whoever came under an id had no right to it: it is its owner's.
    ForgetFramework {
        /// Which id.
        id: FrameworkId,
    },
    /// The maintenance schedule is another one (TK-118).
    SetSchedule {
        /// All of it, in place of the one before; with all machines that are down.
        windows: Vec<Window>,
    },
    /// Machines of the schedule are down (SM-39). As it was written before [`Self::TakeDown`] said
    /// what becomes of their agents.
    MachinesDown {
        /// Which ones.
        machines: Vec<MachineId>,
    },
    /// Machines that were down are up, and no longer in the schedule (SM-40).
    MachinesUp {
        /// Which ones.
        machines: Vec<MachineId>,
    },
    /// The provider of an agent's disks is to do something: an order, as `Convert` is (OF-15).
    BeginDisk {
        /// Which agent.
        agent: AgentId,
        /// What, under the next number of the agent.
        job: DiskJob,
    },
    /// It has, or could not: another order.
    EndDisk {
        /// Which agent.
        agent: AgentId,
        /// What came of it, under the next number of the agent.
        end: DiskEnd,
    },
    /// Machines of the schedule are down, and their agents gone for good with them (SM-39, TK-120).
    TakeDown {
        /// Which machines.
        machines: Vec<MachineId>,
        /// Which agents.
        agents: Vec<AgentId>,
        /// Since when.
        at: Time,
    },
    /// An agent knows of more operations than the registry: that has lost some of its memory.
    RestoreAll {
        /// Which agent.
        agent: AgentId,
        /// What operations have made, as the agent says.
        converted: Converted,
        /// What the provider of its disks is at, as the agent says.
        jobs: Vec<DiskJob>,
    },
}

/// The durable state of a master.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registry {
    epoch: u64,
    last_time: Time,
    agents: Agents,
    roles: Roles,
    frameworks: Frameworks,
    maintenance: Maintenance,
}

impl Registry {
    /// Returns the epoch of the newest leadership; zero if there was none.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Returns the latest moment recorded: time goes on from there, whatever the wall clock says.
    pub fn last_time(&self) -> Time {
        self.last_time
    }

    /// Returns how many agents are admitted, those out of reach included.
    pub fn len(&self) -> usize {
        self.agents.len()
    }

    /// Returns whether no agent is admitted.
    pub fn is_empty(&self) -> bool {
        self.agents.is_empty()
    }

    /// Returns an admitted agent.
    pub fn agent(&self, id: &AgentId) -> Option<&Admission> {
        self.agents.get(id)
    }

    /// Returns how many of the admitted agents are out of reach.
    pub fn unreachable(&self) -> usize {
        self.agents.unreachable()
    }

    /// Returns the agents that never serve again and are not forgotten yet, and since when.
    pub fn gone(&self) -> &Book<AgentId, Gone> {
        self.agents.gone()
    }

    /// Returns the agent that a certificate's name is bound to.
    pub fn bound_to(&self, name: &str) -> Option<&AgentId> {
        self.agents.bound_to(name)
    }

    /// Visits all admitted agents in the order of their ids.
    pub fn agents(&self) -> impl Iterator<Item = (&AgentId, &Admission)> + '_ {
        self.agents.iter()
    }

    /// Returns a framework that is not over.
    pub fn framework(&self, id: &FrameworkId) -> Option<&Enrolment> {
        self.frameworks.get(id)
    }

    /// Visits all frameworks that are not over in the order of their ids.
    pub fn frameworks(&self) -> impl Iterator<Item = (&FrameworkId, &Enrolment)> + '_ {
        self.frameworks.iter()
    }

    /// Returns why a framework is over, if it is and that is still remembered.
    pub fn end_of(&self, id: &FrameworkId) -> Option<EndReason> {
        self.frameworks.end_of(id)
    }

    /// Returns of how many frameworks that are over it is remembered why.
    pub fn ended_frameworks(&self) -> usize {
        self.frameworks.count_ended()
    }

    /// Visits the frameworks that are over and still remembered, oldest first: why, and since when.
    pub fn ended(&self) -> impl Iterator<Item = (&FrameworkId, EndReason, Time)> + '_ {
        self.frameworks.ended()
    }

    /// Returns the quotas, by role.
    pub fn quotas(&self) -> &BTreeMap<Role, Quota> {
        &self.roles.quotas
    }

    /// Returns the weights that are not 1, by role (RQ-09).
    pub fn weights(&self) -> &BTreeMap<Role, Milli> {
        &self.roles.weights
    }

    /// Returns which machines are in maintenance.
    pub fn maintenance(&self) -> &Maintenance {
        &self.maintenance
    }
}

/// The tables of a registry of which readers are told.
pub(crate) struct Told<'a> {
    pub(crate) gone: &'a mut Book<AgentId, Gone>,
    pub(crate) ended: &'a mut Book<FrameworkId, Ending>,
    pub(crate) machines: &'a mut Book<MachineId, Unavailability>,
    pub(crate) down: &'a mut Book<MachineId, ()>,
}

impl Registry {
    /// Returns the tables of which readers are told, for whoever watches them.
    pub(crate) fn told(&mut self) -> Told<'_> {
        let (machines, down) = self.maintenance.books_mut();
        Told {
            gone: self.agents.gone_mut(),
            ended: self.frameworks.endings_mut(),
            machines,
            down,
        }
    }

    /// Returns why frameworks are over.
    pub(crate) fn endings(&self) -> &Book<FrameworkId, Ending> {
        self.frameworks.endings()
    }

    /// Returns the machines of the schedule, and those that are down.
    pub(crate) fn machines(&self) -> (&Book<MachineId, Unavailability>, &Book<MachineId, ()>) {
        self.maintenance.books()
    }
}

impl Durable for Registry {
    type Record = RegistryOp;

    const LAYOUT: u32 = 3;

    fn apply(&mut self, record: &RegistryOp) {
        if let RegistryOp::Lead { at, .. }
        | RegistryOp::Remove { at, .. }
        | RegistryOp::Unreachable { at, .. }
        | RegistryOp::SetStanding { at, .. }
        | RegistryOp::FrameworkAway { at, .. }
        | RegistryOp::EndFramework { at, .. }
        | RegistryOp::TakeDown { at, .. } = record
        {
            self.last_time = self.last_time.max(*at);
        }
        match record {
            RegistryOp::Lead { epoch, at } => {
                self.epoch = self.epoch.max(*epoch);
                self.frameworks.begin(*at);
            }
            RegistryOp::Admit { id, name, info } => self.agents.admit(id, name, info),
            RegistryOp::Update { id, info } => self.agents.update(id, info),
            RegistryOp::Remove {
                id,
                at,
                by_operator,
            } => {
                let (at, by_operator) = (*at, *by_operator);
                self.agents.remove(id, Gone { at, by_operator });
            }
            RegistryOp::SetQuotas { quotas } => self.roles.set_quotas(quotas),
            RegistryOp::SetWeights { weights } => self.roles.set_weights(weights),
            RegistryOp::Unreachable { id, at } => self.agents.set_unreachable(id, Some(*at)),
            RegistryOp::Reachable { id } => self.agents.set_unreachable(id, None),
            RegistryOp::Prune { before, keep } => self.agents.prune(*before, *keep),
            RegistryOp::SetStanding { id, standing, at } => {
                self.agents.set_standing(id, *standing, *at);
            }
            RegistryOp::Convert { agent, order } => self.agents.convert(agent, order),
            RegistryOp::Settle { agent, last } => self.agents.settle(agent, *last),
            RegistryOp::Restore { agent, converted } => {
                self.agents.restore(agent, converted, &[]);
            }
            RegistryOp::RestoreAll {
                agent,
                converted,
                jobs,
            } => self.agents.restore(agent, converted, jobs),
            RegistryOp::EnrolFramework { id, info, vouched } => {
                self.frameworks.enrol(id, info, *vouched);
            }
            RegistryOp::FrameworkAway { id, at } => self.frameworks.set_away(id, Some(*at)),
            RegistryOp::FrameworkBack { id } => self.frameworks.set_away(id, None),
            RegistryOp::EndFramework { id, reason, at } => self.frameworks.end(id, *reason, *at),
            RegistryOp::ForgetFramework { id } => self.frameworks.forget(id),
            RegistryOp::SetSchedule { windows } => self.maintenance.schedule(windows),
            RegistryOp::MachinesDown { machines } => self.maintenance.take_down(machines),
            RegistryOp::MachinesUp { machines } => self.maintenance.bring_up(machines),
            RegistryOp::BeginDisk { agent, job } => self.agents.begin_disk(agent, job),
            RegistryOp::EndDisk { agent, end } => self.agents.end_disk(agent, end),
            RegistryOp::TakeDown {
                machines,
                agents,
                at,
            } => {
                self.maintenance.take_down(machines);
                let (at, by_operator) = (*at, true);
                let ids = agents.iter();
                ids.for_each(|id| self.agents.remove(id, Gone { at, by_operator }));
            }
        }
        debug_assert!(self.agents.is_sound() && self.frameworks.is_sound());
        debug_assert!(self.maintenance.is_sound());
    }
}

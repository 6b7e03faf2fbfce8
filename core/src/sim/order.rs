//! What the operator may order ([`super::operator`]).

use alloc::vec::Vec;

use crate::ids::AgentId;
use crate::protocol::maintenance::{MachineId, Window};
use crate::protocol::node::DrainConfig;
use crate::protocol::operator::Call;
use crate::quota::Quota;
use crate::resources::Milli;
use crate::roles::Role;

/// What he may order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// A schedule in place of the one before.
    Schedule(Vec<Window>),
    /// Machines down.
    Down(Vec<MachineId>),
    /// Machines up.
    Up(Vec<MachineId>),
    Deactivate(AgentId),
    Drain(AgentId, DrainConfig),
    Reactivate(AgentId),
    /// Gives an agent up.
    Gone(AgentId),
    /// What a role may have.
    Quota(Role, Quota),
    /// What a role weighs.
    Weight(Role, Milli),
}

impl Order {
    pub(super) fn call(&self) -> Call {
        match self.clone() {
            Self::Schedule(windows) => Call::SetSchedule { windows },
            Self::Down(machines) => Call::MachinesDown { machines },
            Self::Up(machines) => Call::MachinesUp { machines },
            Self::Deactivate(agent) => Call::Deactivate { agent },
            Self::Drain(agent, config) => Call::Drain { agent, config },
            Self::Reactivate(agent) => Call::Reactivate { agent },
            Self::Gone(agent) => Call::MarkGone { agent },
            Self::Quota(role, quota) => Call::UpdateQuota {
                quotas: Vec::from([(role, quota)]),
                force: true,
            },
            Self::Weight(role, weight) => Call::UpdateWeights {
                weights: Vec::from([(role, weight)]),
            },
        }
    }

    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Schedule(_) => "schedule",
            Self::Down(_) => "down",
            Self::Up(_) => "up",
            Self::Deactivate(_) => "deactivate",
            Self::Drain(..) => "drain",
            Self::Reactivate(_) => "reactivate",
            Self::Gone(_) => "gone",
            Self::Quota(..) => "quota",
            Self::Weight(..) => "weight",
        }
    }
}

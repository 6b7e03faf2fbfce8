//! The maintenance schedule, and machines that go down and come up again (TK-117 to TK-122).
//!
//! An order is carried out as a whole, with one record, or refused as a whole. What is offered of
//! agents whose machine is newly in the schedule, or no longer, is taken back: it is offered again,
//! and says so. Nothing is ended before the machine is said to be down.
//!
//! Deliberately not here: who is asked to leave (`vacating`).

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::updates::News;
use super::{Cx, Master};
use crate::ids::{AgentId, PeerId};
use crate::keys::AgentKey;
use crate::mutant::{Mutant, planted};
use crate::protocol::hello::CloseReason;
use crate::protocol::maintenance::{
    MachineId, MachineMode, MachineView, Window, check_machines, check_schedule,
};
use crate::protocol::node::{AgentInfo, Standing};
use crate::protocol::operator::Answer;
use crate::protocol::status::{Reason, TaskState};
use crate::registry::RegistryOp;

impl Master {
    /// Takes in a schedule in place of the one before (SM-37, SM-38).
    pub(super) fn on_schedule(&mut self, cx: &mut Cx<'_>, windows: Vec<Window>) -> Answer {
        let windows = match check_schedule(windows) {
            Ok(windows) => windows,
            Err(error) => return Answer::Invalid(error.to_string()),
        };
        if let Err(why) = self.check_against_modes(&windows) {
            return Answer::Conflict(why);
        }
        if windows != self.registry.maintenance().windows() {
            self.persist(cx, RegistryOp::SetSchedule { windows });
            if !planted(Mutant::ScheduleUnnoticed) {
                self.reassess_all(cx);
            }
        }
        Answer::Updated
    }

    /// Checks that a schedule has all machines that are down, and none that is drained in another
    /// way at the moment (TK-118, TK-124).
    fn check_against_modes(&self, windows: &[Window]) -> Result<(), String> {
        let machines = windows.iter().flat_map(|window| &window.machines);
        let machines: BTreeSet<&MachineId> = machines.collect();
        let mut down = self.registry.maintenance().down();
        if let Some(missing) = down.find(|machine| !machines.contains(machine)) {
            return Err(format!(
                "machine {missing} is down, and has to stay in the schedule until it is up"
            ));
        }
        for (_, row) in self.agents.iter() {
            let Standing::Draining(_) = row.standing else {
                continue;
            };
            if let Some(machine) = MachineId::of_agent(&row.info).find(|it| machines.contains(it)) {
                let id = &row.id;
                return Err(format!("agent {id} of machine {machine} is being drained"));
            }
        }
        Ok(())
    }

    /// Takes machines out of service (SM-39, TK-120). Their agents are gone for good, wherever they
    /// are, and end what they run.
    pub(super) fn on_machines_down(&mut self, cx: &mut Cx<'_>, machines: Vec<MachineId>) -> Answer {
        let machines = match self.check_modes(machines, MachineMode::Draining) {
            Ok(machines) => machines,
            Err(answer) => return answer,
        };
        let down: BTreeSet<&MachineId> = machines.iter().collect();
        let agents = self.agents.iter();
        let agents = agents.filter(|(_, row)| {
            MachineId::of_agent(&row.info).any(|machine| down.contains(&machine))
        });
        let agents: Vec<(AgentKey, AgentId)> =
            agents.map(|(key, row)| (key, row.id.clone())).collect();
        let op = RegistryOp::TakeDown {
            agents: agents.iter().map(|(_, id)| id.clone()).collect(),
            machines,
            at: cx.now,
        };
        self.persist(cx, op);
        for (key, id) in agents {
            let end = News {
                state: TaskState::Gone,
                reason: Reason::AgentRemoved,
                message: "the agent's machine is down for maintenance".to_string(),
            };
            if let Some(peer) = self.bury(cx, key, &end) {
                self.shut_down(cx, peer, &id);
            }
        }
        self.answer_kills(cx);
        Answer::Updated
    }

    /// Takes machines into service again (SM-40, TK-121): they are no longer in the schedule.
    pub(super) fn on_machines_up(&mut self, cx: &mut Cx<'_>, machines: Vec<MachineId>) -> Answer {
        let machines = match self.check_modes(machines, MachineMode::Down) {
            Ok(machines) => machines,
            Err(answer) => return answer,
        };
        self.persist(cx, RegistryOp::MachinesUp { machines });
        self.reassess_all(cx);
        Answer::Updated
    }

    /// Checks that machines are all in one mode.
    fn check_modes(
        &self,
        machines: Vec<MachineId>,
        expected: MachineMode,
    ) -> Result<Vec<MachineId>, Answer> {
        let machines = check_machines(machines);
        let machines = machines.map_err(|error| Answer::Invalid(error.to_string()))?;
        for machine in &machines {
            let mode = self.registry.maintenance().mode(machine);
            let is_up = expected == MachineMode::Down;
            if mode != expected && !(is_up && planted(Mutant::UpUnchecked)) {
                let (is, must) = (mode.as_str(), expected.as_str());
                let why = format!("machine {machine} is {is}, and has to be {must}");
                return Err(Answer::Conflict(why));
            }
        }
        Ok(machines)
    }

    fn reassess_all(&mut self, cx: &mut Cx<'_>) {
        let agents: Vec<AgentKey> = self.agents.iter().map(|(key, _)| key).collect();
        for key in agents {
            self.reassess(cx, key);
        }
    }

    /// Looks up when the machine of an agent is to be out of service. If that has changed, the
    /// agent is offered anew (TK-119), and everybody asked anew who is to leave it (OF-50).
    pub(super) fn reassess(&mut self, cx: &mut Cx<'_>, key: AgentKey) {
        let row = &mut self.agents[key];
        let unavailability = self.registry.maintenance().unavailability(&row.info);
        if core::mem::replace(&mut row.unavailability, unavailability) == unavailability {
            return;
        }
        self.rescind_agent(cx, key);
        self.forget_inverse_of(cx, key);
        self.inverse_offers.touch(key);
    }

    /// Turns an agent away whose machine is down; it may ask again (TK-120). Returns whether it is.
    pub(super) fn is_shut_out(&mut self, cx: &mut Cx<'_>, peer: PeerId, info: &AgentInfo) -> bool {
        if !self.registry.maintenance().is_down(info) || planted(Mutant::DownJoined) {
            return false;
        }
        let reason = format!("machine {} is down for maintenance", info.hostname);
        self.disconnect(cx, peer, CloseReason::Maintenance, reason);
        true
    }

    /// Says that an agent cannot be drained, for its machine is in the schedule (TK-124, TK-126).
    pub(super) fn why_not_drained(&self, id: &AgentId) -> Option<Answer> {
        let row = &self.agents[self.agents.find(id)?];
        let machine = self.registry.maintenance().machines_of(&row.info).next()?;
        Some(Answer::Conflict(format!(
            "machine {machine} of agent {id} is in the maintenance schedule"
        )))
    }

    /// Lists the machines of the schedule (TK-122).
    pub(super) fn machines(&self) -> Vec<MachineView> {
        let maintenance = self.registry.maintenance();
        let machines = maintenance.machines();
        let views = machines.map(|(machine, mode, unavailability)| {
            let view = MachineView {
                machine: machine.clone(),
                mode,
                unavailability,
                agents: 0,
                unknown: 0,
                accepted: 0,
                declined: 0,
            };
            (machine.clone(), view)
        });
        let mut views: BTreeMap<MachineId, MachineView> = views.collect();
        let agents = self
            .agents
            .iter()
            .filter(|(_, row)| row.unavailability.is_some());
        for (key, row) in agents {
            let answers = self.inverse_offers.answers(key);
            for machine in maintenance.machines_of(&row.info) {
                let Some(view) = views.get_mut(&machine) else {
                    continue;
                };
                view.agents += 1;
                answers.iter().for_each(|leaving| view.count(*leaving));
            }
        }
        views.into_values().collect()
    }
}

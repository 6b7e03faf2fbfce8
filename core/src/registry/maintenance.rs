//! The maintenance schedule, and which of its machines are down (SM-37 to SM-40).
//!
//! Deliberately not here: whether an order may be given, which the master has checked before, and
//! what follows for agents.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::book::Book;
use crate::protocol::maintenance::{MachineId, MachineMode, Unavailability, Window};
use crate::protocol::node::AgentInfo;

/// A machine is draining if it is in the schedule and not down, and up if it is not in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Maintenance {
    windows: Vec<Window>,
    /// The same by machine.
    machines: Book<MachineId, Unavailability>,
    down: Book<MachineId, ()>,
}

impl Maintenance {
    pub(super) fn books(&self) -> (&Book<MachineId, Unavailability>, &Book<MachineId, ()>) {
        (&self.machines, &self.down)
    }

    pub(super) fn books_mut(
        &mut self,
    ) -> (
        &mut Book<MachineId, Unavailability>,
        &mut Book<MachineId, ()>,
    ) {
        (&mut self.machines, &mut self.down)
    }

    /// Returns the schedule, as it was set.
    pub fn windows(&self) -> &[Window] {
        &self.windows
    }

    /// Visits the machines of the schedule in the order of their names: how they stand, and when
    /// they are to be out of service.
    pub fn machines(&self) -> impl Iterator<Item = (&MachineId, MachineMode, Unavailability)> + '_ {
        let machines = self.machines.iter();
        machines.map(|(machine, when)| (machine, self.mode(machine), *when))
    }

    /// Visits the machines that are down.
    pub fn down(&self) -> impl Iterator<Item = &MachineId> + '_ {
        self.down.keys()
    }

    /// Returns how a machine stands.
    pub fn mode(&self, machine: &MachineId) -> MachineMode {
        if self.down.contains_key(machine) {
            MachineMode::Down
        } else if self.machines.contains_key(machine) {
            MachineMode::Draining
        } else {
            MachineMode::Up
        }
    }

    /// Visits the machines of the schedule that an agent is on; several, if it is named in several
    /// ways.
    pub fn machines_of(&self, agent: &AgentInfo) -> impl Iterator<Item = MachineId> + '_ {
        MachineId::of_agent(agent).filter(|machine| self.machines.contains_key(machine))
    }

    /// Returns when the machine of an agent is to be out of service: the first time, if it is
    /// named in several ways.
    pub fn unavailability(&self, agent: &AgentInfo) -> Option<Unavailability> {
        if self.machines.is_empty() {
            return None;
        }
        self.machines_of(agent)
            .filter_map(|machine| self.machines.get(&machine).copied())
            .min()
    }

    /// Returns whether the machine of an agent is down, by any name.
    pub fn is_down(&self, agent: &AgentInfo) -> bool {
        !self.down.is_empty() && MachineId::of_agent(agent).any(|it| self.down.contains_key(&it))
    }

    pub(super) fn schedule(&mut self, windows: &[Window]) {
        self.windows = windows.to_vec();
        self.index();
        self.down
            .retain(|machine, ()| self.machines.contains_key(machine));
    }

    pub(super) fn take_down(&mut self, machines: &[MachineId]) {
        let known = machines.iter();
        let known = known.filter(|machine| self.machines.contains_key(machine));
        for machine in known {
            self.down.insert(machine.clone(), ());
        }
    }

    pub(super) fn bring_up(&mut self, machines: &[MachineId]) {
        let up: BTreeSet<&MachineId> = machines.iter().collect();
        self.down.retain(|machine, ()| !up.contains(machine));
        for window in &mut self.windows {
            window.machines.retain(|machine| !up.contains(machine));
        }
        self.windows.retain(|window| !window.machines.is_empty());
        self.index();
    }

    fn index(&mut self) {
        let windows = self.windows.iter();
        let machines = windows.flat_map(|window| {
            let machines = window.machines.iter().cloned();
            machines.map(|machine| (machine, window.unavailability))
        });
        let machines: BTreeMap<MachineId, Unavailability> = machines.collect();
        self.machines
            .retain(|machine, _| machines.contains_key(machine));
        for (machine, when) in machines {
            if self.machines.get(&machine) != Some(&when) {
                self.machines.insert(machine, when);
            }
        }
    }

    /// Returns whether no machine is twice in the schedule, and all that are down are in it.
    pub(super) fn is_sound(&self) -> bool {
        let listed: usize = self.windows.iter().map(|it| it.machines.len()).sum();
        let is_known = |machine| self.machines.contains_key(machine);
        listed == self.machines.len() && self.down.keys().all(is_known)
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;
    use crate::time::Time;

    fn window(machines: &[&str], start: u64) -> Window {
        Window {
            machines: machines.iter().map(|it| machine(it)).collect(),
            unavailability: Unavailability {
                start: Time::from_micros(start),
                duration: None,
            },
        }
    }

    fn machine(name: &str) -> MachineId {
        MachineId::of_hostname(name)
    }

    fn modes(maintenance: &Maintenance) -> Vec<(&str, MachineMode)> {
        let machines = maintenance.machines();
        machines
            .map(|(machine, mode, _)| (machine.hostname.as_str(), mode))
            .collect()
    }

    #[test]
    fn a_machine_drains_while_it_is_in_the_schedule_and_is_down_until_it_is_up() {
        // SM-37, SM-38, SM-39, SM-40, TK-121
        let (draining, down) = (MachineMode::Draining, MachineMode::Down);
        let mut it = Maintenance::default();
        assert_eq!(it.mode(&machine("a")), MachineMode::Up);
        it.schedule(&[window(&["a", "b"], 1), window(&["c"], 2)]);
        assert_eq!(
            modes(&it),
            [("a", draining), ("b", draining), ("c", draining)]
        );
        it.take_down(&[machine("a"), machine("c"), machine("nobody")]);
        assert_eq!(modes(&it), [("a", down), ("b", draining), ("c", down)]);
        // Who is dropped from the schedule is up; who stays down stays so under another time.
        it.schedule(&[window(&["c", "a"], 3)]);
        assert_eq!(modes(&it), [("a", down), ("c", down)]);
        it.bring_up(&[machine("a")]);
        assert_eq!(modes(&it), [("c", down)]);
        assert_eq!(it.windows(), [window(&["c"], 3)]);
        it.bring_up(&[machine("c")]);
        assert_eq!(it, Maintenance::default());
        assert!(it.is_sound());
    }

    #[test]
    fn the_first_time_counts_of_a_machine_with_several_names() {
        // TK-117
        let info = AgentInfo::new("A", "10.0.0.1:5051", Default::default());
        let ip = MachineId {
            hostname: alloc::string::String::new(),
            ip: Some("10.0.0.1".parse().unwrap()),
        };
        let mut it = Maintenance::default();
        let by_ip = Window {
            machines: vec![ip.clone()],
            ..window(&[], 1)
        };
        it.schedule(&[window(&["a"], 2), by_ip.clone()]);
        assert_eq!(it.unavailability(&info), Some(by_ip.unavailability));
        assert!(!it.is_down(&info));
        it.take_down(&[ip]);
        assert!(it.is_down(&info));
        let other = AgentInfo::new("b", "b.example:5051", Default::default());
        assert_eq!(it.unavailability(&other), None);
        assert!(!it.is_down(&other));
    }
}

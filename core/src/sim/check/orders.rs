//! What an operator was answered holds, over all masters, until he orders something else (TK-117,
//! TK-118, SM-19, SM-37 to SM-43): the schedule, which machines are down, how agents stand, and
//! what roles weigh and may have (I19, RQ-08, RQ-13).
//!
//! Whoever is told that a machine is down takes it apart. So an answer must rest on what is
//! durable. Told from what one operator orders, is answered, and reads. What he was not answered
//! may hold or not; then the next thing that he reads counts.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;

use crate::ids::AgentId;
use crate::protocol::maintenance::{MachineId, MachineMode, MachineView, Unavailability, Window};
use crate::protocol::node::Standing;
use crate::protocol::operator::Answer;
use crate::quota::Quota;
use crate::resources::Milli;
use crate::sim::order::Order;
use crate::time::Time;

/// What holds by what was answered.
#[derive(Debug, Default)]
pub(in crate::sim) struct Orders {
    /// Whether that is known of the schedule.
    is_known: bool,
    machines: BTreeMap<MachineId, Unavailability>,
    down: BTreeSet<MachineId>,
    /// How agents stand of which it is known.
    standings: BTreeMap<AgentId, Standing>,
    /// Since when they are being drained, as was read and not called off (TK-129).
    drains: BTreeMap<AgentId, Time>,
    /// What is known of roles, by their names.
    quotas: BTreeMap<String, Quota>,
    weights: BTreeMap<String, Milli>,
}

impl Orders {
    /// Visits the machines of the schedule that are not down.
    pub(in crate::sim) fn draining(&self) -> impl Iterator<Item = &MachineId> + '_ {
        let machines = self.machines.keys();
        machines.filter(|machine| !self.down.contains(*machine))
    }

    /// Visits the machines that are down, each with its time.
    pub(in crate::sim) fn down(&self) -> impl Iterator<Item = (&MachineId, Unavailability)> + '_ {
        let machines = self.machines.iter();
        let down = machines.filter(|(machine, _)| self.down.contains(*machine));
        down.map(|(machine, when)| (machine, *when))
    }

    /// Nobody will say what came of an order.
    pub(in crate::sim) fn lose(&mut self, order: &Order) {
        match order {
            Order::Schedule(_) | Order::Down(_) | Order::Up(_) => self.is_known = false,
            Order::Deactivate(agent)
            | Order::Drain(agent, _)
            | Order::Reactivate(agent)
            | Order::Gone(agent) => {
                self.standings.remove(agent);
                self.drains.remove(agent);
            }
            Order::Quota(role, _) => {
                self.quotas.remove(role.as_str());
            }
            Order::Weight(role, _) => {
                self.weights.remove(role.as_str());
            }
        }
    }

    /// An order was answered; says what is wrong with that.
    pub(in crate::sim) fn answered(&mut self, order: Order, answer: &Answer) -> Result<(), String> {
        let is_done = *answer == Answer::Updated;
        let fits = self.fits(&order);
        if let Some(fits) = fits.filter(|fits| *fits != is_done && self.is_known) {
            let should = if fits { "fits" } else { "does not fit" };
            return Err(format!("{order:?} {should}, and the answer is {answer:?}"));
        }
        if is_done {
            self.carry_out(order);
        }
        Ok(())
    }

    /// Returns whether an order is to be carried out, if that follows from what is known.
    fn fits(&self, order: &Order) -> Option<bool> {
        match order {
            Order::Schedule(windows) => {
                let listed = windows.iter().flat_map(|window| &window.machines);
                let listed: BTreeSet<MachineId> = listed.map(as_compared).collect();
                // One that keeps them may still be in the way of a drain.
                (!self.down.is_subset(&listed)).then_some(false)
            }
            Order::Down(machines) => Some(self.all(machines, MachineMode::Draining)),
            Order::Up(machines) => Some(self.all(machines, MachineMode::Down)),
            // Agents come and go beside what operators order.
            Order::Deactivate(_) | Order::Drain(..) | Order::Reactivate(_) | Order::Gone(_) => None,
            // One role's limit may be in the way of another's.
            Order::Quota(..) => None,
            Order::Weight(..) => Some(true),
        }
    }

    /// Returns whether each of the machines is named once, and in that mode.
    fn all(&self, machines: &[MachineId], mode: MachineMode) -> bool {
        let named: BTreeSet<MachineId> = machines.iter().map(as_compared).collect();
        named.len() == machines.len() && named.iter().all(|it| self.mode(it) == mode)
    }

    fn mode(&self, machine: &MachineId) -> MachineMode {
        if self.down.contains(machine) {
            MachineMode::Down
        } else if self.machines.contains_key(machine) {
            MachineMode::Draining
        } else {
            MachineMode::Up
        }
    }

    fn carry_out(&mut self, order: Order) {
        match order {
            Order::Schedule(windows) => self.machines = by_machine(&windows),
            Order::Down(machines) => {
                self.down.extend(machines.iter().map(as_compared));
            }
            Order::Up(machines) => {
                for machine in machines.iter().map(as_compared) {
                    self.down.remove(&machine);
                    self.machines.remove(&machine);
                }
            }
            Order::Deactivate(agent) => {
                self.drains.remove(&agent);
                self.standings.insert(agent, Standing::Deactivated);
            }
            Order::Drain(agent, config) => {
                self.standings.insert(agent, Standing::Draining(config));
            }
            Order::Reactivate(agent) => {
                self.drains.remove(&agent);
                self.standings.insert(agent, Standing::Active);
            }
            // That it never serves again is looked at elsewhere (I16).
            Order::Gone(agent) => {
                self.drains.remove(&agent);
                self.standings.remove(&agent);
            }
            Order::Quota(role, quota) => {
                self.quotas.insert(role.as_str().into(), quota);
            }
            Order::Weight(role, weight) => {
                self.weights.insert(role.as_str().into(), weight);
            }
        }
    }

    /// The operator reads what a role weighs and may have; says what should be otherwise.
    pub(in crate::sim) fn read_role(
        &mut self,
        role: &str,
        weight: Milli,
        quota: Quota,
    ) -> Result<(), String> {
        let known = self.weights.insert(role.into(), weight);
        if let Some(known) = known.filter(|known| *known != weight) {
            return Err(format!("{role} weighed {known}, and weighs {weight}"));
        }
        let known = self.quotas.insert(role.into(), quota.clone());
        match known.filter(|known| *known != quota) {
            None => Ok(()),
            Some(known) => Err(format!("{role} had {known:?}, and has {quota:?}")),
        }
    }

    /// The operator reads the machines of the schedule; says what should be otherwise.
    pub(in crate::sim) fn read_machines(&mut self, views: &[MachineView]) -> Result<(), String> {
        let machines = views.iter();
        let machines: BTreeMap<MachineId, Unavailability> = machines
            .map(|view| (view.machine.clone(), view.unavailability))
            .collect();
        let down = views.iter().filter(|view| view.mode == MachineMode::Down);
        let down: BTreeSet<MachineId> = down.map(|view| view.machine.clone()).collect();
        let is_same = (&machines, &down) == (&self.machines, &self.down);
        if self.is_known && !is_same {
            let (ours, theirs) = ((&self.machines, &self.down), (&machines, &down));
            return Err(format!("{ours:?} was answered, and {theirs:?} is so"));
        }
        (self.machines, self.down, self.is_known) = (machines, down, true);
        Ok(())
    }

    /// The operator reads how an agent stands, and since when it is being drained; says what should
    /// be otherwise.
    pub(in crate::sim) fn read_agent(
        &mut self,
        id: &AgentId,
        now: Standing,
        drain_since: Option<Time>,
    ) -> Result<(), String> {
        let known = match drain_since {
            Some(at) => self.drains.insert(id.clone(), at),
            None => self.drains.remove(id),
        };
        let is_kept = known.is_none_or(|known| drain_since == Some(known));
        if !is_kept || drain_since.is_some() != now.is_drain() {
            return Err(format!(
                "{id} is {now:?} since {drain_since:?}, and was since {known:?}"
            ));
        }
        let before = self.standings.insert(id.clone(), now);
        let is_done = matches!(before, Some(Standing::Draining(_))) && now == Standing::Drained;
        let is_fine = is_done || before.is_none_or(|before| before == now);
        if is_fine {
            return Ok(());
        }
        Err(format!("{id} was {before:?}, and is {now:?}"))
    }
}

fn by_machine(windows: &[Window]) -> BTreeMap<MachineId, Unavailability> {
    let machines = windows.iter().flat_map(|window| {
        let machines = window.machines.iter().map(as_compared);
        machines.map(|machine| (machine, window.unavailability))
    });
    machines.collect()
}

/// Names a machine as masters do that list it.
fn as_compared(machine: &MachineId) -> MachineId {
    MachineId {
        hostname: machine.hostname.to_ascii_lowercase(),
        ip: machine.ip,
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use alloc::vec::Vec;

    use super::*;
    use crate::time::Time;

    const WHEN: Unavailability = Unavailability {
        start: Time::ZERO,
        duration: None,
    };

    fn machines(names: &[&str]) -> Vec<MachineId> {
        names.iter().map(|it| MachineId::of_hostname(*it)).collect()
    }

    fn schedule(names: &[&str]) -> Order {
        let machines = machines(names);
        let unavailability = WHEN;
        Order::Schedule(vec![Window {
            machines,
            unavailability,
        }])
    }

    fn view(name: &str, mode: MachineMode) -> MachineView {
        MachineView {
            machine: MachineId::of_hostname(name),
            mode,
            unavailability: WHEN,
            agents: 0,
            unknown: 0,
            accepted: 0,
            declined: 0,
        }
    }

    fn refused() -> Answer {
        Answer::Conflict("no".into())
    }

    // TK-118, SM-37 to SM-40
    #[test]
    fn an_answer_that_does_not_fit_is_found() {
        let mut orders = Orders::default();
        orders.read_machines(&[]).unwrap();
        orders
            .answered(schedule(&["A", "b"]), &Answer::Updated)
            .unwrap();
        for (order, fits) in [
            (Order::Down(machines(&["c"])), false),
            (Order::Up(machines(&["a"])), false),
            (Order::Down(machines(&["a", "A"])), false),
            (Order::Down(machines(&["a"])), true),
        ] {
            let (right, wrong) = if fits {
                (Answer::Updated, refused())
            } else {
                (refused(), Answer::Updated)
            };
            assert!(orders.answered(order.clone(), &wrong).is_err(), "{order:?}");
            assert_eq!(orders.answered(order, &right), Ok(()));
        }
        let forgets = schedule(&["b"]);
        assert!(orders.answered(forgets.clone(), &Answer::Updated).is_err());
        orders.lose(&Order::Up(machines(&["a"])));
        assert_eq!(orders.answered(forgets, &Answer::Updated), Ok(()));
    }

    // TK-117, TK-121
    #[test]
    fn what_was_answered_and_is_otherwise_is_found() {
        use MachineMode::{Down, Draining};
        let mut orders = Orders::default();
        orders.read_machines(&[]).unwrap();
        let set = schedule(&["a", "B"]);
        orders.answered(set, &Answer::Updated).unwrap();
        let down = Order::Down(machines(&["b"]));
        orders.answered(down, &Answer::Updated).unwrap();
        let is_so = [view("a", Draining), view("b", Down)];
        assert_eq!(orders.read_machines(&is_so), Ok(()));
        for otherwise in [
            vec![],
            vec![view("a", Draining)],
            vec![view("a", Draining), view("b", Draining)],
        ] {
            assert!(orders.read_machines(&otherwise).is_err(), "{otherwise:?}");
        }
        // Of what was not answered nobody knows before it is read.
        orders.lose(&Order::Up(machines(&["b"])));
        assert_eq!(orders.read_machines(&[view("a", Draining)]), Ok(()));
        assert!(orders.read_machines(&is_so).is_err());
    }

    // I19, RQ-08, RQ-13
    #[test]
    fn a_role_that_is_otherwise_than_was_answered_is_found() {
        let role = crate::roles::Role::new("operated").unwrap();
        let (one, two) = (Milli::from_units(1), Milli::from_units(2));
        let quota = Quota {
            limits: "cpus:1".parse().unwrap(),
            ..Quota::default()
        };
        let none = Quota::default();
        let mut orders = Orders::default();
        assert_eq!(orders.read_role("operated", one, none.clone()), Ok(()));
        for order in [
            Order::Weight(role.clone(), two),
            Order::Quota(role.clone(), quota.clone()),
        ] {
            orders.answered(order, &Answer::Updated).unwrap();
        }
        assert_eq!(orders.read_role("operated", two, quota.clone()), Ok(()));
        assert!(orders.read_role("operated", one, quota.clone()).is_err());
        orders.lose(&Order::Weight(role.clone(), one));
        assert_eq!(orders.read_role("operated", two, quota.clone()), Ok(()));
        assert!(orders.read_role("operated", two, none.clone()).is_err());
        orders.lose(&Order::Quota(role, none));
        assert_eq!(orders.read_role("operated", two, quota), Ok(()));
    }

    // SM-19, SM-41 to SM-43
    #[test]
    fn an_agent_that_stands_otherwise_than_was_answered_is_found() {
        let id = AgentId::new("m-S1").unwrap();
        let drain = Standing::Draining(Default::default());
        let cases = [
            (Order::Deactivate(id.clone()), Standing::Deactivated, true),
            (Order::Deactivate(id.clone()), Standing::Active, false),
            (Order::Drain(id.clone(), Default::default()), drain, true),
            (
                Order::Drain(id.clone(), Default::default()),
                Standing::Drained,
                true,
            ),
            (
                Order::Drain(id.clone(), Default::default()),
                Standing::Active,
                false,
            ),
            (Order::Reactivate(id.clone()), Standing::Drained, false),
            (Order::Gone(id.clone()), Standing::Drained, true),
        ];
        for (order, read, is_fine) in cases {
            let mut orders = Orders::default();
            orders.read_agent(&id, Standing::Active, None).unwrap();
            orders.answered(order.clone(), &Answer::Updated).unwrap();
            let since = read.is_drain().then_some(Time::ZERO);
            let checked = orders.read_agent(&id, read, since);
            assert_eq!(checked.is_ok(), is_fine, "{order:?} {read:?}");
        }
    }

    // TK-129
    #[test]
    fn a_drain_that_began_at_another_time_than_was_read_is_found() {
        let id = AgentId::new("m-S1").unwrap();
        let drain = Standing::Draining(Default::default());
        let [one, two] = [1, 2].map(|n| Some(Time::from_micros(n)));
        let read = |orders: &[Order], standing, since| {
            let mut all = Orders::default();
            all.read_agent(&id, drain, one).unwrap();
            for order in orders {
                all.answered(order.clone(), &Answer::Updated).unwrap();
            }
            all.read_agent(&id, standing, since).is_ok()
        };
        let again = Order::Drain(id.clone(), Default::default());
        assert!(read(&[], drain, one) && !read(&[], drain, two) && !read(&[], drain, None));
        let twice = [again.clone()];
        assert!(read(&twice, drain, one) && !read(&twice, drain, two));
        assert!(read(&[], Standing::Drained, one) && !read(&[], Standing::Drained, two));
        for off in [Order::Reactivate(id.clone()), Order::Deactivate(id.clone())] {
            assert!(read(&[off, again.clone()], drain, two));
        }
        let off = [Order::Reactivate(id.clone())];
        assert!(read(&off, Standing::Active, None) && !read(&off, Standing::Active, one));
    }
}

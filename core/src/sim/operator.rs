//! An operator who takes machines and agents out of service and back again: he posts schedules,
//! takes machines down and up, deactivates, drains and gives up agents, and thinks better of it. He
//! also sets quotas and weights, of roles that nobody is in.
//!
//! Part of the world. What he asks and hears takes no time and is not lost, as with
//! [`super::watchers`]; but his connections break, and then he does not know what came of an order.
//! Some of his orders cannot be carried out. At the end he puts everything back into service.
//! Deliberately not here: whether masters do what he is told they did ([`super::check::orders`]).

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use super::chance::{Purpose, stream};
use super::check::orders::Orders;
use super::delivery::{decode, encode};
use super::options::{Options, Span};
use super::order::Order;
use super::property::Property;
use super::queue::{Event, Name};
use super::world::{AgentSeat, World};
use crate::auth::{PeerRole, Principal};
use crate::ids::{AgentId, PeerId, RequestId};
use crate::master::Input;
use crate::protocol::maintenance::{MachineId, Unavailability, Window};
use crate::protocol::node::{AgentInfo, DrainConfig, Standing};
use crate::protocol::operator::{AgentView, Answer, Call, Cursor, Request, Response, RoleView};
use crate::quota::Quota;
use crate::resources::{Ceilings, Milli};
use crate::rng::Rng;
use crate::roles::Role;
use crate::time::Time;

/// How long he takes to ask or order something, and at the end.
const LAG: Span = Span::millis(0, 20_000);
const CLOSING_LAG: Span = Span::millis(0, 200);
/// One connection in so many breaks before the next question, and one question in so many is not
/// waited for.
const BREAKS_ONE_IN: u64 = 8;
/// His connections are nobody else's.
const FIRST_PEER: u64 = 1 << 61;
/// How far away a window begins, and how long it lasts.
const WINDOW: Duration = Duration::from_secs(3_600);

/// The roles that he sets something of.
const ROLES: [&str; 2] = ["operated", "operated/below"];

/// What he asks.
#[derive(Clone, Debug)]
enum Ask {
    Machines,
    /// The agents after this one.
    Agents(Option<Cursor>),
    /// The roles after this one.
    Roles(Option<Cursor>),
    Order(Order),
}

/// What he does next.
#[derive(Clone, Copy, Debug)]
enum Next {
    Machines,
    Agents(Option<Cursor>),
    Roles(Option<Cursor>),
    Order,
}

/// The operator.
#[derive(Debug)]
pub(super) struct Operator {
    /// All machines that there are.
    infos: Vec<AgentInfo>,
    /// His connection; `None` if it is broken.
    peer: Option<PeerId>,
    connections: u64,
    next: Next,
    /// What has no answer yet.
    asked: Option<(RequestId, Ask)>,
    /// Counts questions and answers: what was planned before the last of them is void.
    turn: u64,
    chance: Rng,
    /// The agents that he has read of so far.
    agents: Vec<(AgentId, Standing)>,
    /// The roles, likewise.
    roles: Vec<RoleView>,
    orders: Orders,
    /// Whether all is to be put back into service.
    is_closing: bool,
    /// Since when all is in service again.
    done: Option<Time>,
    /// How many of his orders were carried out, by kind.
    carried_out: BTreeMap<&'static str, u64>,
}

impl Operator {
    pub(super) fn new(options: &Options, seats: &[AgentSeat]) -> Option<Self> {
        // Without machines there is nothing to operate.
        let has_work = options.maintenance && !seats.is_empty();
        has_work.then(|| Self {
            infos: seats.iter().map(|seat| seat.info.clone()).collect(),
            peer: None,
            connections: 0,
            next: Next::Machines,
            asked: None,
            turn: 0,
            chance: stream(options.seed, Purpose::Maintenance, Name::Master),
            agents: Vec::new(),
            roles: Vec::new(),
            orders: Orders::default(),
            is_closing: false,
            done: None,
            carried_out: BTreeMap::new(),
        })
    }

    /// Returns since when everything is in service again.
    pub(super) fn done(&self) -> Option<Time> {
        self.done
    }

    /// Says what he does now. A question that has no answer is given up with its connection; others
    /// break by themselves.
    fn act(&mut self, now: Time) -> Vec<Input> {
        let mut inputs = Vec::new();
        let given_up = self.give_up();
        let breaks = given_up || (!self.is_closing && self.chance.below(BREAKS_ONE_IN) == 0);
        if let Some(peer) = self.peer.take_if(|_| breaks) {
            inputs.push(Input::Disconnected { peer });
        }
        let ask = match self.next {
            Next::Machines => Some(Ask::Machines),
            Next::Agents(after) => Some(Ask::Agents(after)),
            Next::Roles(after) => Some(Ask::Roles(after)),
            Next::Order => self.order(now).map(Ask::Order),
        };
        let Some(ask) = ask else {
            self.next = Next::Machines;
            self.done = self.is_closing.then_some(now);
            return inputs;
        };
        let peer = self.peer.unwrap_or_else(|| {
            self.connections += 1;
            let peer = PeerId(FIRST_PEER | self.connections);
            let role = PeerRole::Operator;
            let name = String::from("maintainer");
            let principal = Principal { role, name };
            inputs.push(Input::Connected { peer, principal });
            peer
        });
        self.peer = Some(peer);
        self.turn += 1;
        let id = RequestId(self.turn);
        let (call, after) = match &ask {
            Ask::Machines => (Call::Machines, None),
            Ask::Agents(after) => (Call::Agents, *after),
            Ask::Roles(after) => (Call::Roles, *after),
            Ask::Order(order) => (order.call(), None),
        };
        self.asked = Some((id, ask));
        let request = Request { id, call, after };
        inputs.push(Input::Operator { peer, request });
        inputs
    }

    /// Waits no longer for an answer. Returns whether he did.
    fn give_up(&mut self) -> bool {
        let Some((_, ask)) = self.asked.take() else {
            return false;
        };
        match ask {
            Ask::Order(order) => self.orders.lose(&order),
            Ask::Machines | Ask::Agents(_) | Ask::Roles(_) => {}
        }
        self.next = Next::Machines;
        true
    }

    /// Says what to order, if there is something to do.
    fn order(&mut self, now: Time) -> Option<Order> {
        if self.is_closing {
            return self.last_order();
        }
        Some(match self.chance.below(14) {
            0..4 => self.schedule(now),
            4..6 => Order::Down(self.some_machines(true)),
            6..8 => Order::Up(self.some_machines(false)),
            8..10 => self.order_of_role(),
            _ => match self.order_of_agent() {
                Some(order) => order,
                None => self.schedule(now),
            },
        })
    }

    /// Puts something back into service, if not all of it is.
    fn last_order(&self) -> Option<Order> {
        let down: Vec<MachineId> = self.orders.down().map(|(it, _)| it.clone()).collect();
        if !down.is_empty() {
            return Some(Order::Up(down));
        }
        if self.orders.draining().next().is_some() {
            return Some(Order::Schedule(Vec::new()));
        }
        let mut agents = self.agents.iter();
        let (agent, _) = agents.find(|(_, standing)| *standing != Standing::Active)?;
        Some(Order::Reactivate(agent.clone()))
    }

    /// Sets something of a role that nobody is in; sometimes to what it is without his word.
    fn order_of_role(&mut self) -> Order {
        let place = self.chance.below(ROLES.len() as u64) as usize;
        let role = Role::new(ROLES[place]).expect("a literal that is a role");
        let amount = self.chance.below(4);
        if self.chance.chance(1, 2) {
            let weight = Milli::from_count(u128::from(1 + amount));
            return Order::Weight(role, weight);
        }
        let limits = if amount == 0 {
            Ceilings::new()
        } else {
            let limits = Ceilings::parse(&format!("cpus:{amount}"));
            limits.expect("a number in its place parses")
        };
        let quota = Quota {
            limits,
            ..Quota::default()
        };
        Order::Quota(role, quota)
    }

    fn schedule(&mut self, now: Time) -> Order {
        let mut machines: BTreeSet<MachineId> = BTreeSet::new();
        // Mostly, all that are down stay in it.
        if self.chance.below(6) > 0 {
            machines.extend(self.orders.down().map(|(machine, _)| machine.clone()));
        }
        for n in 0..self.infos.len() {
            if self.chance.chance(1, 3) {
                machines.insert(self.name(n));
            }
        }
        // A machine that is named twice makes a schedule that is none.
        let mut named = BTreeSet::new();
        machines.retain(|it| named.insert((it.hostname.to_ascii_lowercase(), it.ip)));
        let mut windows = [self.window(now), self.window(now)];
        for machine in machines {
            let place = usize::from(self.chance.chance(1, 2));
            windows[place].machines.push(machine);
        }
        let windows = windows.into_iter();
        Order::Schedule(windows.filter(|it| !it.machines.is_empty()).collect())
    }

    fn window(&mut self, now: Time) -> Window {
        let (away, lasting) = (self.chance.jitter(WINDOW), self.chance.jitter(WINDOW));
        Window {
            machines: Vec::new(),
            unavailability: Unavailability {
                start: now + away,
                duration: self.chance.chance(2, 3).then_some(lasting),
            },
        }
    }

    /// Names a machine, in one of the ways in which that can be done (TK-117).
    fn name(&mut self, n: usize) -> MachineId {
        let info = &self.infos[n];
        let hostname = info.hostname.clone();
        let address: Option<SocketAddr> = info.address.parse().ok();
        let ip = address.map(|address| address.ip());
        match self.chance.below(5) {
            0 => MachineId {
                hostname: String::new(),
                ip,
            },
            1 => MachineId { hostname, ip },
            2 => MachineId::of_hostname(hostname.to_ascii_uppercase()),
            _ => MachineId::of_hostname(hostname),
        }
    }

    /// Picks machines to take down, or up; sometimes one with which that cannot be done.
    fn some_machines(&mut self, is_down: bool) -> Vec<MachineId> {
        let of: Vec<MachineId> = if is_down {
            self.orders.draining().cloned().collect()
        } else {
            self.orders.down().map(|(it, _)| it.clone()).collect()
        };
        let picked = of.into_iter().filter(|_| self.chance.chance(1, 2));
        let mut picked: Vec<MachineId> = picked.collect();
        if picked.is_empty() || self.chance.below(8) == 0 {
            let n = self.chance.below(self.infos.len() as u64) as usize;
            let name = self.name(n);
            if !picked.contains(&name) {
                picked.push(name);
            }
        }
        picked
    }

    fn order_of_agent(&mut self) -> Option<Order> {
        let place = self.chance.below(self.agents.len().max(1) as u64) as usize;
        let (agent, standing) = self.agents.get(place)?.clone();
        if standing != Standing::Active && self.chance.chance(1, 2) {
            return Some(Order::Reactivate(agent));
        }
        let grace = self.chance.jitter(Duration::from_secs(20));
        let config = DrainConfig {
            max_grace: self.chance.chance(1, 2).then_some(grace),
            mark_gone: self.chance.chance(1, 4),
        };
        Some(match self.chance.below(6) {
            0..3 => Order::Drain(agent, config),
            3 | 4 => Order::Deactivate(agent),
            _ => Order::Gone(agent),
        })
    }

    /// Takes in an answer; says what is wrong with it.
    fn hear(&mut self, response: Response) -> Result<(), (Property, String)> {
        let asked = self.asked.take_if(|(id, _)| *id == response.id);
        let Some((id, ask)) = asked else {
            let problem = format!("an answer to no question: {:?}", response.id);
            return Err((Property::Orders, problem));
        };
        self.turn += 1;
        let answer = response.answer;
        let heard = if let Ask::Order(order) = ask {
            self.next = Next::Machines;
            if answer == Answer::Updated {
                *self.carried_out.entry(order.kind()).or_default() += 1;
            }
            self.orders.answered(order, &answer)
        } else if let (Ask::Machines, Answer::Machines(views)) = (&ask, &answer) {
            (self.next, self.agents) = (Next::Agents(None), Vec::new());
            self.orders.read_machines(views)
        } else if let (Ask::Agents(_), Answer::Agents(rows)) = (&ask, &answer) {
            self.next = match response.next {
                Some(after) => Next::Agents(Some(after)),
                None => Next::Roles(None),
            };
            rows.iter().try_for_each(|row| self.read(row))
        } else if let (Ask::Roles(after), Answer::Roles(rows)) = (&ask, &answer) {
            if after.is_none() {
                self.roles.clear();
            }
            self.roles.extend(rows.iter().cloned());
            match response.next {
                Some(after) => {
                    self.next = Next::Roles(Some(after));
                    Ok(())
                }
                None => {
                    self.next = Next::Order;
                    self.read_roles()
                }
            }
        } else {
            Err(format!("{id:?}: {ask:?} is answered by {answer:?}"))
        };
        heard.map_err(|problem| (Property::Orders, problem))
    }

    /// Reads the roles that he sets something of; those that are not listed have nothing.
    fn read_roles(&mut self) -> Result<(), String> {
        ROLES.iter().try_for_each(|name| {
            let mut rows = self.roles.iter();
            let row = rows.find(|row| row.role.as_str() == *name);
            let weight = row.map_or(Milli::from_units(1), |row| row.weight);
            let quota = row.map(|row| row.quota.clone()).unwrap_or_default();
            self.orders.read_role(name, weight, quota)
        })
    }

    fn read(&mut self, row: &AgentView) -> Result<(), String> {
        self.agents.push((row.id.clone(), row.standing));
        self.orders
            .read_agent(&row.id, row.standing, row.drain_since)
    }

    /// Returns whether he does something in a while. Few questions are given up.
    fn acts(&mut self) -> bool {
        if self.done.is_some() {
            return false;
        }
        self.asked.is_none() || (!self.is_closing && self.chance.below(BREAKS_ONE_IN) == 0)
    }
}

impl World {
    /// Begins with a master that does not know the operator.
    pub(super) fn operate_anew(&mut self) {
        if let Some(operator) = &mut self.operator {
            operator.give_up();
            operator.peer = None;
            operator.turn += 1;
            self.plan_operator();
        }
    }

    /// Has everything put back into service, and left there.
    pub(super) fn end_maintenance(&mut self) {
        if let Some(operator) = self.operator.as_mut().filter(|it| !it.is_closing) {
            operator.is_closing = true;
            self.plan_operator();
        }
    }

    fn plan_operator(&mut self) {
        let Some(operator) = self.operator.as_mut() else {
            return;
        };
        if operator.acts() {
            let lag = if operator.is_closing {
                CLOSING_LAG
            } else {
                LAG
            };
            let at = self.shared.now + lag.draw(&mut operator.chance);
            let turn = operator.turn;
            self.shared.queue.plan(at, Event::Operate { turn });
        }
    }

    /// The operator acts, unless he has done something since that was planned, or nobody is there.
    pub(super) fn on_operate(&mut self, turn: u64) {
        let now = self.shared.now;
        let Some(operator) = self.operator.as_mut() else {
            return;
        };
        if operator.turn != turn || self.master.machine().is_none() {
            return;
        }
        for input in operator.act(now) {
            self.master_hears(input);
        }
        self.plan_operator();
        self.flush_master();
    }

    /// Gives the operator an answer. Returns whether it is his.
    pub(super) fn operator_hears(&mut self, peer: PeerId, response: &Response) -> bool {
        let operator = self.operator.as_mut();
        let Some(operator) = operator.filter(|operator| operator.peer == Some(peer)) else {
            return false;
        };
        let decoded = decode(&encode(response));
        let decoded = decoded.map_err(|error| (Property::Orders, error.to_string()));
        let heard = decoded.and_then(|response| operator.hear(response));
        if let Err((property, problem)) = heard {
            self.broken(property, problem);
        }
        self.plan_operator();
        true
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;
    use crate::sim::{Checking, Faults, Sim};

    fn options(seed: u64) -> Options {
        let machine = "cpus:4;mem:1024".parse().expect("it is well-formed");
        let mut options = Options::new(seed, 4, 2, machine);
        options.checking = Checking::USUAL;
        options.maintenance = true;
        options.inverse_offer_timeout = Some(Duration::from_secs(20));
        options
    }

    // TK-117 to TK-121, SM-19, SM-37 to SM-43
    #[test]
    fn everything_is_ordered_and_at_last_in_service_again() {
        let mut done: BTreeMap<&str, u64> = BTreeMap::new();
        for seed in 0..3 {
            let mut sim = Sim::new(options(seed));
            sim.run_for(Duration::from_secs(1_200));
            let operator = sim.world.operator.as_ref().unwrap();
            for (kind, count) in &operator.carried_out {
                *done.entry(*kind).or_default() += count;
            }
            assert_eq!(operator.done(), None);
            sim.expect_converged();
            let registry = sim.master().unwrap().registry();
            assert!(registry.maintenance().windows().is_empty());
            let standings = registry.agents().map(|(_, row)| row.standing);
            assert!(standings.into_iter().all(|it| it == Standing::Active));
            assert!(sim.report().tasks.finished > 20, "work went on");
        }
        let kinds = [
            "deactivate",
            "down",
            "drain",
            "gone",
            "quota",
            "reactivate",
            "schedule",
            "up",
            "weight",
        ];
        let done: Vec<(&str, u64)> = done.into_iter().collect();
        let ordered: Vec<&str> = done.iter().map(|(kind, _)| *kind).collect();
        assert_eq!(ordered, kinds, "{done:?}");
    }

    #[test]
    fn nobody_operates_what_is_not_there() {
        let mut options = options(1);
        options.agents = 0;
        let mut sim = Sim::new(options);
        sim.run_for(Duration::from_secs(300));
        assert!(sim.world.operator.is_none() && sim.violation().is_none());
    }

    // TK-117, SM-37: an operator whose orders are forgotten finds out
    #[test]
    fn an_order_that_is_not_kept_ends_the_run() {
        let mut sim = Sim::new(options(1));
        sim.run_for(Duration::from_secs(300));
        let operator = sim.world.operator.as_mut().unwrap();
        let windows = vec![Window {
            machines: vec![MachineId::of_hostname("nobody")],
            unavailability: Unavailability {
                start: Time::ZERO,
                duration: None,
            },
        }];
        operator.give_up();
        operator.orders = Orders::default();
        operator.orders.read_machines(&[]).unwrap();
        let order = Order::Schedule(windows);
        operator.orders.answered(order, &Answer::Updated).unwrap();
        let violation = sim.advance(Duration::from_secs(120)).unwrap_err();
        assert_eq!(violation.property, Property::Orders, "{violation}");
    }

    // TK-120, OF-48 to OF-50: with everything else that goes wrong
    #[test]
    fn maintenance_in_trouble_ends_well() {
        for seed in 0..6 {
            let mut options = options(seed);
            options.faults = Faults::drawn(seed);
            let mut sim = Sim::new(options);
            sim.run_for(Duration::from_secs(400));
            sim.heal();
            sim.expect_converged();
        }
    }
}

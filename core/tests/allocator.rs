//! An allocator by somebody else: complete, and driven as a master drives it.
//!
//! Deliberately not here: the built-in one; its tests are beside it.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tepui_core::allocator::{Allocator, Booking, Change, Decision, Grant, GrantId};
use tepui_core::keys::{AgentKey, FrameworkKey};
use tepui_core::machine::{Machine, Never, Outbox, Output};
use tepui_core::resources::Resources;
use tepui_core::roles::Role;
use tepui_core::time::Time;

/// An agent, and what is granted or used on it.
struct Agent {
    total: Resources,
    active: bool,
    booked: BTreeMap<FrameworkKey, Resources>,
}

/// A framework's place in the queue, once for each of its roles.
struct Seat {
    framework: FrameworkKey,
    role: Role,
    open: bool,
}

/// Offers whole agents in turn, however much anybody holds, a second after something changed.
#[derive(Default)]
struct InTurn {
    agents: BTreeMap<AgentKey, Agent>,
    seats: VecDeque<Seat>,
    grants: u64,
    due: Option<Time>,
}

impl InTurn {
    fn open(&mut self, framework: FrameworkKey, roles: &[Role], open: bool) {
        for seat in self
            .seats
            .iter_mut()
            .filter(|seat| seat.framework == framework)
        {
            if roles.is_empty() || roles.contains(&seat.role) {
                seat.open = open;
            }
        }
    }
}

impl Machine for InTurn {
    type Input = Change;
    type Record = Never;
    type Effect = Decision;

    fn handle(&mut self, now: Time, change: Change, out: &mut Outbox<Never, Decision>) {
        self.tick(now, out);
        match change {
            Change::AgentAdded { agent, total } => {
                let row = Agent {
                    total,
                    active: true,
                    booked: BTreeMap::new(),
                };
                self.agents.insert(agent, row);
            }
            Change::AgentRemoved { agent } => drop(self.agents.remove(&agent)),
            Change::AgentChanged { agent, total } => {
                if let Some(row) = self.agents.get_mut(&agent) {
                    row.total = total
                }
            }
            Change::AgentActive { agent, active } => {
                if let Some(row) = self.agents.get_mut(&agent) {
                    row.active = active
                }
            }
            Change::FrameworkAdded {
                framework, roles, ..
            } => self.seats.extend(roles.into_iter().map(|role| Seat {
                framework,
                role,
                open: true,
            })),
            Change::FrameworkRemoved { framework } => {
                self.seats.retain(|seat| seat.framework != framework);
                for row in self.agents.values_mut() {
                    row.booked.remove(&framework);
                }
            }
            Change::FrameworkActive { framework, active } => self.open(framework, &[], active),
            Change::Suppressed { framework, roles } => self.open(framework, &roles, false),
            Change::Revived { framework, roles } => self.open(framework, &roles, true),
            Change::Used {
                framework,
                agent,
                resources,
                ..
            } => {
                if let Some(row) = self.agents.get_mut(&agent) {
                    let booked = row.booked.entry(framework).or_default();
                    booked
                        .add(&resources)
                        .expect("the master checked that it fits the agent");
                }
            }
            Change::Returned {
                framework,
                agent,
                resources,
                ..
            } => {
                let row = self.agents.get_mut(&agent);
                if let Some(booked) = row.and_then(|row| row.booked.get_mut(&framework)) {
                    let _late_news = booked.subtract(&resources);
                }
            }
            Change::Accepted { .. } | Change::WeightSet { .. } => {}
        }
        self.due.get_or_insert(now + Duration::from_secs(1));
    }

    fn tick(&mut self, now: Time, out: &mut Outbox<Never, Decision>) {
        if self.due.is_none_or(|due| due > now) {
            return;
        }
        self.due = None;
        for (agent, row) in self.agents.iter_mut().filter(|(_, row)| row.active) {
            let free = row
                .booked
                .values()
                .try_fold(row.total.clone(), |f, b| f.checked_sub(b));
            let Some(next) = self.seats.iter().position(|seat| seat.open) else {
                return;
            };
            let resources = free
                .unwrap_or_default()
                .allocatable_to(&self.seats[next].role);
            if resources.is_empty() {
                continue;
            }
            let seat = self.seats.remove(next).expect("it was just found");
            let (framework, role) = (seat.framework, seat.role.clone());
            self.seats.push_back(seat);
            let booked = row.booked.entry(framework).or_default();
            booked.add(&resources).expect("a part of the total fits");
            self.grants += 1;
            let id = GrantId(self.grants);
            out.emit(Decision::Grant(Grant {
                id,
                framework,
                role,
                agent: *agent,
                resources,
            }));
        }
    }

    fn deadline(&self) -> Option<Time> {
        self.due
    }
}

impl Allocator for InTurn {}

const SECOND: Time = Time::from_micros(1_000_000);

fn resources() -> Resources {
    Resources::parse("cpus:4;mem:64").unwrap()
}

/// Lets an allocator act, and returns the one grant that it makes.
fn grant(allocator: &mut dyn Allocator) -> Grant {
    let mut out = Outbox::new();
    let at = allocator.deadline().unwrap();
    allocator.tick(at, &mut out);
    assert_eq!(allocator.deadline(), None);
    let decisions: Vec<_> = out.drain().collect();
    match decisions.as_slice() {
        [Output::Effect(Decision::Grant(grant))] => grant.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_custom_allocator_takes_turns() {
    let mut allocator: Box<dyn Allocator> = Box::new(InTurn::default());
    let mut out = Outbox::new();
    let agent = AgentKey::from_raw(0, 0);
    let [first, second] = [0, 1].map(|n| FrameworkKey::from_raw(n, 0));
    let added = |framework| Change::FrameworkAdded {
        framework,
        name: "spark".into(),
        roles: vec![Role::any()],
    };
    let total = resources();
    for change in [
        Change::AgentAdded { agent, total },
        added(first),
        added(second),
    ] {
        allocator.handle(Time::ZERO, change, &mut out);
    }
    assert_eq!(allocator.deadline(), Some(SECOND));
    let one = grant(&mut *allocator);
    assert_eq!((one.framework, &one.resources), (first, &resources()));
    // What is declined goes to the next in turn, and what is suppressed to nobody.
    let declined = |one: Grant| Change::Returned {
        framework: one.framework,
        role: one.role,
        agent,
        resources: one.resources,
        from: Booking::Offered,
        refuse: None,
    };
    allocator.handle(SECOND, declined(one), &mut out);
    let two = grant(&mut *allocator);
    assert_eq!((two.framework, &two.resources), (second, &resources()));
    let suppressed = Change::Suppressed {
        framework: first,
        roles: vec![],
    };
    allocator.handle(SECOND, suppressed, &mut out);
    allocator.handle(SECOND, declined(two), &mut out);
    let three = grant(&mut *allocator);
    assert_eq!((three.framework, &three.resources), (second, &resources()));
    assert!(out.is_empty(), "grants are made by ticks only");
}

//! The least allocator: offers all that is free on an agent to the first framework that may have
//! it. It keeps books, and fails if the master tells it something that cannot be.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::allocator::{
    Allocator, Booking, Change, Decision, Grant, GrantId, Stats, SubscriptionState,
};
use crate::keys::{AgentKey, FrameworkKey};
use crate::machine::{Machine, Never, Outbox};
use crate::resources::{Quantities, Resources};
use crate::roles::Role;
use crate::time::Time;

#[derive(Debug)]
struct Agent {
    total: Resources,
    active: bool,
    offered: BTreeMap<FrameworkKey, Resources>,
    allocated: BTreeMap<FrameworkKey, Resources>,
}

impl Agent {
    fn free(&self) -> Resources {
        let mut free = self.total.clone();
        for part in self.offered.values().chain(self.allocated.values()) {
            if free.subtract(part).is_err() {
                return Resources::new();
            }
        }
        free
    }
}

#[derive(Debug)]
struct Framework {
    role: Role,
    active: bool,
    suppressed: bool,
}

#[derive(Debug, Default)]
pub(super) struct Greedy {
    agents: BTreeMap<AgentKey, Agent>,
    frameworks: BTreeMap<FrameworkKey, Framework>,
    refused: BTreeMap<(FrameworkKey, AgentKey), Time>,
    /// When the next pass is due.
    due: Option<Time>,
    grants: u64,
}

impl Greedy {
    fn agent(&mut self, key: AgentKey) -> &mut Agent {
        self.agents.get_mut(&key).expect("the agent was added")
    }

    fn framework(&mut self, key: FrameworkKey) -> &mut Framework {
        let row = self.frameworks.get_mut(&key);
        row.expect("the framework was added")
    }

    fn forget_refusals(&mut self, framework: FrameworkKey) {
        self.refused.retain(|(of, _), _| *of != framework);
    }

    fn on_agents(&mut self, change: Change) -> Option<Change> {
        match change {
            Change::AgentAdded { agent, total, .. } => {
                let row = Agent {
                    total,
                    active: true,
                    offered: BTreeMap::new(),
                    allocated: BTreeMap::new(),
                };
                assert!(self.agents.insert(agent, row).is_none(), "added twice");
            }
            Change::AgentChanged { agent, total, .. } => self.agent(agent).total = total,
            Change::AgentRemoved { agent } => {
                let row = self.agents.remove(&agent);
                let row = row.expect("the agent was added");
                assert!(row.offered.is_empty(), "offers end before their agent");
                self.refused.retain(|(_, of), _| *of != agent);
            }
            Change::AgentActive { agent, active } => self.agent(agent).active = active,
            other @ (Change::FrameworkAdded { .. }
            | Change::FrameworkRemoved { .. }
            | Change::FrameworkActive { .. }
            | Change::Suppressed { .. }
            | Change::Revived { .. }
            | Change::Used { .. }
            | Change::Accepted { .. }
            | Change::Returned { .. }
            | Change::FrameworkChanged { .. }
            | Change::Converted { .. }
            | Change::FreeConverted { .. }
            | Change::WeightSet { .. }
            | Change::QuotaSet { .. }
            | Change::Whitelisted { .. }
            | Change::Recovering { .. }
            | Change::Resumed
            | Change::Demanded { .. }) => return Some(other),
        }
        None
    }

    fn on_frameworks(&mut self, change: Change) -> Option<Change> {
        match change {
            Change::FrameworkAdded { framework, profile } => {
                let row = Framework {
                    role: profile.roles[0].role.clone(),
                    active: true,
                    suppressed: false,
                };
                assert!(self.frameworks.insert(framework, row).is_none(), "twice");
            }
            Change::FrameworkChanged { framework, profile } => {
                let wanted = &profile.roles[0];
                let row = self.framework(framework);
                assert_eq!(row.role, wanted.role, "it cannot change");
                row.suppressed = wanted.state == SubscriptionState::Suppressed;
            }
            Change::FrameworkRemoved { framework } => {
                assert!(self.frameworks.remove(&framework).is_some(), "was added");
                self.forget_refusals(framework);
                for agent in self.agents.values_mut() {
                    agent.offered.remove(&framework);
                    agent.allocated.remove(&framework);
                }
            }
            Change::FrameworkActive { framework, active } => {
                self.framework(framework).active = active;
                self.forget_refusals(framework);
            }
            Change::Suppressed { framework, .. } => self.framework(framework).suppressed = true,
            Change::Revived { framework, .. } => {
                self.framework(framework).suppressed = false;
                self.forget_refusals(framework);
            }
            other @ (Change::AgentAdded { .. }
            | Change::AgentChanged { .. }
            | Change::AgentRemoved { .. }
            | Change::AgentActive { .. }
            | Change::Used { .. }
            | Change::Accepted { .. }
            | Change::Returned { .. }
            | Change::Converted { .. }
            | Change::FreeConverted { .. }
            | Change::WeightSet { .. }
            | Change::QuotaSet { .. }
            | Change::Whitelisted { .. }
            | Change::Recovering { .. }
            | Change::Resumed
            | Change::Demanded { .. }) => return Some(other),
        }
        None
    }

    fn on_bookings(&mut self, now: Time, change: Change) {
        match change {
            Change::Used {
                framework,
                role,
                agent,
                resources,
            } => {
                assert_eq!(role, self.framework(framework).role);
                put(&mut self.agent(agent).allocated, framework, &resources);
            }
            Change::Accepted {
                framework,
                role,
                agent,
                resources,
            } => {
                assert_eq!(role, self.framework(framework).role);
                take(&mut self.agent(agent).offered, framework, &resources);
                put(&mut self.agent(agent).allocated, framework, &resources);
            }
            Change::Returned {
                framework,
                role,
                agent,
                resources,
                from,
                refuse,
            } => {
                assert_eq!(role, self.framework(framework).role);
                let books = self.agent(agent);
                match from {
                    Booking::Offered => take(&mut books.offered, framework, &resources),
                    Booking::Allocated => take(&mut books.allocated, framework, &resources),
                }
                if let Some(refuse) = refuse {
                    self.refused.insert((framework, agent), now + refuse);
                }
            }
            other @ (Change::AgentAdded { .. }
            | Change::AgentChanged { .. }
            | Change::AgentRemoved { .. }
            | Change::AgentActive { .. }
            | Change::FrameworkAdded { .. }
            | Change::FrameworkRemoved { .. }
            | Change::FrameworkActive { .. }
            | Change::Suppressed { .. }
            | Change::Revived { .. }
            | Change::FrameworkChanged { .. }
            | Change::Converted { .. }
            | Change::FreeConverted { .. }
            | Change::WeightSet { .. }
            | Change::QuotaSet { .. }
            | Change::Whitelisted { .. }
            | Change::Recovering { .. }
            | Change::Resumed
            | Change::Demanded { .. }) => {
                panic!("{other:?} is not a booking, or not said in this cut")
            }
        }
    }
}

fn put(books: &mut BTreeMap<FrameworkKey, Resources>, of: FrameworkKey, what: &Resources) {
    books.entry(of).or_default().add(what).unwrap();
}

fn take(books: &mut BTreeMap<FrameworkKey, Resources>, of: FrameworkKey, what: &Resources) {
    let rest = books.get_mut(&of).expect("something is booked");
    rest.subtract(what).expect("this much is booked");
    if rest.is_empty() {
        books.remove(&of);
    }
}

impl Machine for Greedy {
    type Input = Change;
    type Record = Never;
    type Effect = Decision;

    fn handle(&mut self, now: Time, input: Change, out: &mut Outbox<Never, Decision>) {
        self.tick(now, out);
        let rest = self.on_agents(input);
        if let Some(rest) = rest.and_then(|change| self.on_frameworks(change)) {
            self.on_bookings(now, rest);
        }
        // A moment later, so that a pass sees all changes of an input.
        let soon = now + core::time::Duration::from_micros(1);
        self.due = Some(self.due.map_or(soon, |due| due.min(soon)));
    }

    fn tick(&mut self, now: Time, out: &mut Outbox<Never, Decision>) {
        if self.due.is_none_or(|due| due > now) {
            return;
        }
        self.refused.retain(|_, until| *until > now);
        self.due = self.refused.values().min().copied();
        for (agent, row) in &mut self.agents {
            let free = row.free();
            let mut wants = self.frameworks.iter().filter(|(framework, wants)| {
                wants.active
                    && !wants.suppressed
                    && !self.refused.contains_key(&(**framework, *agent))
            });
            let Some((framework, wants)) = wants.next() else {
                continue;
            };
            if !row.active || free.is_empty() {
                continue;
            }
            put(&mut row.offered, *framework, &free);
            self.grants += 1;
            out.emit(Decision::Grant(Grant {
                id: GrantId(self.grants),
                framework: *framework,
                role: wants.role.clone(),
                agent: *agent,
                resources: free,
            }));
        }
    }

    fn deadline(&self) -> Option<Time> {
        self.due
    }
}

impl Allocator for Greedy {
    fn stats(&self) -> Stats {
        let mut stats = Stats::default();
        let parts: Vec<&Resources> = self
            .agents
            .values()
            .flat_map(|agent| agent.offered.values().chain(agent.allocated.values()))
            .collect();
        for part in parts {
            stats.booked.add(&Quantities::from(part));
        }
        stats
    }
}

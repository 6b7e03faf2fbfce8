//! The least allocator: offers all that a framework may have of an agent to the first that wants
//! it. Its books fail if the master tells it something that cannot be.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;

use crate::allocator::books::Books;
use crate::allocator::{Allocator, Change, Decision, Stats};
use crate::keys::{AgentKey, FrameworkKey};
use crate::machine::{Machine, Never, Outbox};
use crate::resources::Resources;
use crate::roles::Role;
use crate::time::Time;

#[derive(Debug, Default)]
pub(super) struct Greedy {
    books: Books,
    refused: BTreeMap<(FrameworkKey, Role, AgentKey), Time>,
    /// When the next pass is due.
    due: Option<Time>,
}

impl Greedy {
    /// Remembers a refusal, and forgets those whose cause is gone.
    fn refuse(&mut self, now: Time, change: &Change) {
        if let Change::Returned {
            framework,
            role,
            agent,
            refuse: Some(refuse),
            ..
        } = change
        {
            let place = (*framework, role.clone(), *agent);
            self.refused.insert(place, now + *refuse);
        }
        if let Change::AgentRemoved { agent } = change {
            self.refused.retain(|(_, _, at), _| at != agent);
        }
        if let Change::FrameworkRemoved { framework } | Change::FrameworkActive { framework, .. } =
            change
        {
            self.refused.retain(|(who, ..), _| who != framework);
        }
        if let Change::Revived { framework, roles } = change {
            let named = |role: &Role| roles.is_empty() || roles.contains(role);
            self.refused
                .retain(|(who, role, _), _| who != framework || !named(role));
        }
    }

    /// Returns the first who may have something of what is free, and what.
    fn taker(&self, agent: AgentKey, free: &Resources) -> Option<(FrameworkKey, Role, Resources)> {
        self.books.takers().find_map(|(framework, role)| {
            let place = (framework, role.clone(), agent);
            let part = self.books.part_for(framework, role, free);
            let gets = !part.is_empty() && !self.refused.contains_key(&place);
            gets.then_some((framework, place.1, part))
        })
    }
}

impl Machine for Greedy {
    type Input = Change;
    type Record = Never;
    type Effect = Decision;

    fn handle(&mut self, now: Time, input: Change, out: &mut Outbox<Never, Decision>) {
        self.tick(now, out);
        assert!(self.books.take_in(&input, out), "{input:?} cannot be");
        self.refuse(now, &input);
        // A moment later, so that a pass sees all changes of an input.
        let soon = now + Duration::from_micros(1);
        self.due = Some(self.due.map_or(soon, |due| due.min(soon)));
    }

    fn tick(&mut self, now: Time, out: &mut Outbox<Never, Decision>) {
        if self.due.is_none_or(|due| due > now) {
            return;
        }
        self.refused.retain(|_, until| *until > now);
        self.due = self.refused.values().min().copied();
        let agents: Vec<_> = self.books.free().collect();
        for (agent, mut free) in agents {
            while let Some((framework, role, part)) = self.taker(agent, &free) {
                free.subtract(&part).expect("it is a part of it");
                let granted = self.books.grant(framework, &role, agent, part, out);
                granted.expect("it was free");
            }
        }
    }

    fn deadline(&self) -> Option<Time> {
        self.due
    }
}

impl Allocator for Greedy {
    fn stats(&self) -> Stats {
        self.books.stats()
    }
}

//! Offers what is free of an agent to whoever waited longest, a second after something changed.

use std::collections::BTreeMap;
use std::time::Duration;

use tepui_core::allocator::books::Books;
use tepui_core::allocator::{Allocator, Change, Decision, GrantId, Stats};
use tepui_core::keys::FrameworkKey;
use tepui_core::machine::{Machine, Never, Outbox};
use tepui_core::roles::Role;
use tepui_core::time::Time;

#[derive(Default)]
pub(crate) struct InTurn {
    books: Books,
    /// What each was granted last; whoever never was comes before all others.
    last: BTreeMap<(FrameworkKey, Role), GrantId>,
    due: Option<Time>,
}

impl Machine for InTurn {
    type Input = Change;
    type Record = Never;
    type Effect = Decision;

    fn handle(&mut self, now: Time, change: Change, out: &mut Outbox<Never, Decision>) {
        self.tick(now, out);
        // What contradicts the books is late news, such as a return after a removal.
        let _is_news = self.books.take_in(&change, out);
        if let Change::FrameworkRemoved { framework } = change {
            self.last.retain(|(who, _), _| *who != framework);
        }
        self.due.get_or_insert(now + Duration::from_secs(1));
    }

    fn tick(&mut self, now: Time, out: &mut Outbox<Never, Decision>) {
        if self.due.is_none_or(|due| due > now) {
            return;
        }
        self.due = None;
        let agents: Vec<_> = self.books.free().collect();
        for (agent, free) in agents {
            let takers = self.books.takers().map(|(who, role)| {
                let part = self.books.part_for(who, role, &free);
                ((who, role.clone()), part)
            });
            let takers = takers.filter(|(_, part)| !part.is_empty());
            let Some((next, part)) = takers.min_by_key(|(taker, _)| self.last.get(taker)) else {
                continue;
            };
            if let Some(id) = self.books.grant(next.0, &next.1, agent, part, out) {
                self.last.insert(next, id);
            }
        }
    }

    fn deadline(&self) -> Option<Time> {
        self.due
    }
}

impl Allocator for InTurn {
    fn stats(&self) -> Stats {
        self.books.stats()
    }
}

//! How fast agents are given up: permits that come one at a time, and who waits for one.
//!
//! A network that breaks silences many agents at once. Those that speak again before their turn
//! leave the line, and nothing happened.
//!
//! Used by `reachability` and `standing`. Deliberately not here: who is to be given up, and timers.

use alloc::collections::BTreeMap;
use core::time::Duration;

use super::interface::Rate;
use crate::keys::AgentKey;
use crate::time::Time;

/// A place in the line.
pub(super) type Ticket = u64;

/// Permits, and those who wait for one.
#[derive(Clone, Debug, Default)]
pub(super) struct Permits {
    /// Between two permits; zero is no bound.
    every: Duration,
    /// When there is one again.
    next: Time,
    waiting: BTreeMap<Ticket, AgentKey>,
    tickets: Ticket,
}

impl Permits {
    pub(super) fn new(rate: Option<Rate>) -> Self {
        let every = rate.map_or(Duration::ZERO, |rate| rate.per / rate.agents.max(1));
        Self {
            every,
            ..Self::default()
        }
    }

    /// Takes a permit, if there is one and nobody waits for it.
    pub(super) fn take(&mut self, now: Time) -> bool {
        let is_there = self.waiting.is_empty() && self.next <= now;
        if is_there {
            self.next = now + self.every;
        }
        is_there
    }

    /// Puts an agent at the end of the line.
    pub(super) fn wait(&mut self, agent: AgentKey) -> Ticket {
        let ticket = self.tickets;
        self.tickets += 1;
        self.waiting.insert(ticket, agent);
        ticket
    }

    /// Lets an agent out of the line.
    pub(super) fn leave(&mut self, ticket: Ticket) {
        self.waiting.remove(&ticket);
    }

    /// Takes a permit for the first in the line, if there is one.
    pub(super) fn serve(&mut self, now: Time) -> Option<AgentKey> {
        if self.next > now {
            return None;
        }
        let (_, agent) = self.waiting.pop_first()?;
        self.next = now + self.every;
        Some(agent)
    }

    /// Returns when the next permit comes.
    pub(super) fn next(&self) -> Time {
        self.next
    }

    /// Returns when the first in the line is served, if somebody waits.
    pub(super) fn due(&self) -> Option<Time> {
        (!self.waiting.is_empty()).then_some(self.next)
    }

    /// Visits those who wait, the first in the line first.
    pub(super) fn waiting(&self) -> impl Iterator<Item = (Ticket, AgentKey)> + '_ {
        self.waiting.iter().map(|(ticket, agent)| (*ticket, *agent))
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    #[test]
    fn permits_come_evenly_and_in_turn() {
        // TK-107
        let seconds = |n| Time::ZERO + Duration::from_secs(n);
        let rate = Rate {
            agents: 2,
            per: Duration::from_secs(60),
        };
        let mut permits = Permits::new(Some(rate));
        let mut table = crate::table::Table::new();
        let agents: Vec<AgentKey> = (0..3).map(|n| table.insert(n).cast()).collect();
        assert!(permits.take(seconds(0)));
        assert!(!permits.take(seconds(29)));
        let first = permits.wait(agents[0]);
        permits.wait(agents[1]);
        permits.wait(agents[2]);
        assert_eq!(permits.due(), Some(seconds(30)));
        permits.leave(first);
        // One that is not in the line does not get ahead of those who are.
        assert!(!permits.take(seconds(30)));
        assert_eq!(permits.serve(seconds(30)), Some(agents[1]));
        assert_eq!(permits.serve(seconds(59)), None);
        assert_eq!(permits.serve(seconds(60)), Some(agents[2]));
        assert_eq!(permits.due(), None);
        let mut unbounded = Permits::new(None);
        assert!(unbounded.take(seconds(0)) && unbounded.take(seconds(0)));
    }
}

//! Who is connected, and which part each plays.
//!
//! Used by the dispatch and by the handlers of joining and leaving.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::auth::Principal;
use crate::ids::PeerId;
use crate::keys::{AgentKey, FrameworkKey};
use crate::limits;
use crate::protocol::agent::{ExecutorReport, TaskReport};
use crate::protocol::framework::FrameworkInfo;
use crate::protocol::operation::Converted;
use crate::protocol::wire::size;

/// What a peer has become by registering or subscribing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Agent(AgentKey),
    Framework(FrameworkKey),
}

/// One connection.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub(super) principal: Principal,
    pub(super) part: Option<Part>,
    /// What a returning agent has said so far. It goes with the connection.
    pub(super) account: Account,
}

/// What a returning agent says that it has.
#[derive(Clone, Debug, Default)]
pub(super) struct Account {
    pub(super) frameworks: Vec<FrameworkInfo>,
    pub(super) tasks: Vec<TaskReport>,
    /// Custom executors that have not ended.
    pub(super) executors: Vec<ExecutorReport>,
    /// What operations have made of what it has.
    pub(super) converted: Converted,
    /// How much all of that is, on the wire.
    bytes: usize,
}

impl Account {
    /// Adds more. Returns whether the whole is one that an agent may have: in number, and in bytes
    /// on the wire.
    pub(super) fn append(
        &mut self,
        frameworks: Vec<FrameworkInfo>,
        tasks: Vec<TaskReport>,
        executors: Vec<ExecutorReport>,
    ) -> bool {
        self.bytes += size(&frameworks) + size(&tasks) + size(&executors);
        self.frameworks.extend(frameworks);
        self.tasks.extend(tasks);
        self.executors.extend(executors);
        self.frameworks.len() <= limits::FRAMEWORKS
            && self.tasks.len() <= limits::TASKS_PER_AGENT
            && self.executors.len() <= limits::TASKS_PER_AGENT
            && self.bytes <= limits::ACCOUNT_BYTES
    }
}

/// All connections.
#[derive(Clone, Debug, Default)]
pub(super) struct Peers {
    rows: BTreeMap<PeerId, Peer>,
}

impl Peers {
    /// Adds a connection; returns whether it is new.
    pub(super) fn insert(&mut self, peer: PeerId, principal: Principal) -> bool {
        if self.rows.contains_key(&peer) {
            return false;
        }
        let row = Peer {
            principal,
            part: None,
            account: Account::default(),
        };
        self.rows.insert(peer, row);
        true
    }

    pub(super) fn remove(&mut self, peer: PeerId) -> Option<Peer> {
        self.rows.remove(&peer)
    }

    pub(super) fn get(&self, peer: PeerId) -> Option<&Peer> {
        self.rows.get(&peer)
    }

    pub(super) fn get_mut(&mut self, peer: PeerId) -> Option<&mut Peer> {
        self.rows.get_mut(&peer)
    }

    /// Notes what a peer plays from now on.
    pub(super) fn cast(&mut self, peer: PeerId, part: Option<Part>) {
        if let Some(row) = self.rows.get_mut(&peer) {
            row.part = part;
        }
    }

    pub(super) fn agent(&self, peer: PeerId) -> Option<AgentKey> {
        match self.rows.get(&peer)?.part? {
            Part::Agent(key) => Some(key),
            Part::Framework(_) => None,
        }
    }

    pub(super) fn framework(&self, peer: PeerId) -> Option<FrameworkKey> {
        match self.rows.get(&peer)?.part? {
            Part::Framework(key) => Some(key),
            Part::Agent(_) => None,
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (PeerId, &Peer)> + '_ {
        self.rows.iter().map(|(peer, row)| (*peer, row))
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    #[test]
    fn an_account_is_bounded_in_bytes() {
        // I22, PR-02
        let info = FrameworkInfo::new("web");
        let one = size(&vec![info.clone()]) + 2 * size(&Vec::<TaskReport>::new());
        for (before, fits) in [(one, true), (one - 1, false)] {
            let mut account = Account {
                bytes: limits::ACCOUNT_BYTES - before,
                ..Account::default()
            };
            assert_eq!(account.append(vec![info.clone()], vec![], vec![]), fits);
        }
    }
}

//! Who is connected, and which part each plays.
//!
//! Used by the dispatch and by the handlers of joining and leaving.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::auth::Principal;
use crate::ids::PeerId;
use crate::keys::{AgentKey, FrameworkKey};
use crate::limits;
use crate::protocol::agent::TaskReport;
use crate::protocol::framework::FrameworkInfo;
use crate::protocol::operation::Converted;

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
    /// What operations have made of what it has.
    pub(super) converted: Converted,
}

impl Account {
    /// Adds more; returns whether the whole is one that an agent may have.
    pub(super) fn append(
        &mut self,
        frameworks: Vec<FrameworkInfo>,
        tasks: Vec<TaskReport>,
    ) -> bool {
        self.frameworks.extend(frameworks);
        self.tasks.extend(tasks);
        self.frameworks.len() <= limits::FRAMEWORKS && self.tasks.len() <= limits::TASKS_PER_AGENT
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

//! Who is connected, and which part each plays.
//!
//! Used by the dispatch and by the handlers of joining and leaving.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::auth::Principal;
use crate::fold::FoldMap;
use crate::ids::{ExecutorId, FrameworkId, PeerId, TaskId};
use crate::keys::{AgentKey, FrameworkKey};
use crate::limits;
use crate::protocol::agent::{ExecutorReport, TaskReport};
use crate::protocol::disk::DiskJob;
use crate::protocol::framework::{FrameworkInfo, Introduced};
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
    /// What an agent was told of frameworks over it.
    introduced: Introduced<Arc<FrameworkInfo>>,
}

/// What a returning agent says that it has.
#[derive(Clone, Debug, Default)]
pub(super) struct Account {
    pub(super) frameworks: Vec<FrameworkInfo>,
    pub(super) tasks: Vec<TaskReport>,
    /// The custom executors that have not ended, and those that tasks name.
    pub(super) executors: Vec<ExecutorReport>,
    /// What operations have made of what it has.
    pub(super) converted: Converted,
    /// What its provider of disks is at.
    pub(super) jobs: Vec<DiskJob>,
    /// How much all of that is, on the wire.
    bytes: usize,
}

impl Account {
    /// Adds more.
    pub(super) fn append(
        &mut self,
        frameworks: Vec<FrameworkInfo>,
        tasks: Vec<TaskReport>,
        executors: Vec<ExecutorReport>,
    ) {
        self.bytes += size(&frameworks) + size(&tasks) + size(&executors);
        self.frameworks.extend(frameworks);
        self.tasks.extend(tasks);
        self.executors.extend(executors);
    }

    /// Says what operations have made. Said twice, it is as long as both.
    pub(super) fn convert(&mut self, converted: Converted) {
        self.bytes += size(&converted);
        self.converted = converted;
    }

    /// Says what its provider of disks is at.
    pub(super) fn add_jobs(&mut self, jobs: Vec<DiskJob>) {
        self.bytes += size(&jobs);
        self.jobs.extend(jobs);
    }

    /// Returns a task whose executor is not described, if there is one: nobody could say what that
    /// uses.
    pub(super) fn undescribed(&self) -> Option<&TaskId> {
        let described: BTreeSet<(&FrameworkId, &ExecutorId)> = self
            .executors
            .iter()
            .map(|report| (&report.framework, &report.executor.id))
            .collect();
        let live = self.tasks.iter().filter(|task| !task.state.is_terminal());
        let mut named = live.filter_map(|task| Some((task, task.executor.as_ref()?)));
        let task = named.find(|(task, id)| !described.contains(&(&task.framework, *id)));
        task.map(|(task, _)| &task.task)
    }

    /// Returns whether the whole is one that an agent may have: in number, and in bytes on the
    /// wire.
    fn is_bounded(&self) -> bool {
        self.frameworks.len() <= limits::FRAMEWORKS
            && self.tasks.len() <= limits::TASKS_PER_AGENT
            && self.executors.len() <= limits::TASKS_PER_AGENT
            && self.jobs.len() <= limits::DISK_JOBS_PER_AGENT
            && self.bytes <= limits::ACCOUNT_BYTES
    }
}

/// All connections.
#[derive(Clone, Debug, Default)]
pub(super) struct Peers {
    rows: FoldMap<PeerId, Box<Peer>>,
    /// How much all accounts are that are not whole yet, on the wire.
    unfinished: usize,
}

impl Peers {
    /// Returns how many bytes returning agents have said and not finished.
    pub(super) const fn unfinished(&self) -> usize {
        self.unfinished
    }

    /// Adds a connection; returns whether it is new.
    pub(super) fn insert(&mut self, peer: PeerId, principal: Principal) -> bool {
        if self.rows.contains_key(&peer) {
            return false;
        }
        let row = Peer {
            principal,
            part: None,
            account: Account::default(),
            introduced: Introduced::default(),
        };
        self.rows.insert(peer, Box::new(row));
        true
    }

    pub(super) fn remove(&mut self, peer: PeerId) -> Option<Peer> {
        self.take_account(peer);
        self.rows.remove(&peer).map(|row| *row)
    }

    /// Adds to what a returning agent says. Returns whether that is what an agent may have.
    pub(super) fn note_account(&mut self, peer: PeerId, note: impl FnOnce(&mut Account)) -> bool {
        let Some(row) = self.rows.get_mut(&peer) else {
            return false;
        };
        let before = row.account.bytes;
        note(&mut row.account);
        self.unfinished = self.unfinished - before + row.account.bytes;
        row.account.is_bounded()
    }

    /// Takes what a returning agent has said: it is whole, or will not be.
    pub(super) fn take_account(&mut self, peer: PeerId) -> Account {
        let row = self.rows.get_mut(&peer);
        let account = row.map(|row| core::mem::take(&mut row.account));
        let account = account.unwrap_or_default();
        self.unfinished -= account.bytes;
        account
    }

    /// Returns who is to say no more, if all together have said more than there is room for: of the
    /// principal that has said the most, over however many connections, the longest account.
    pub(super) fn longest_winded(&self) -> Option<PeerId> {
        if self.unfinished <= limits::ACCOUNTS_BYTES {
            return None;
        }
        let mut said: BTreeMap<&Principal, usize> = BTreeMap::new();
        for row in self.rows.values() {
            *said.entry(&row.principal).or_default() += row.account.bytes;
        }
        let (most, _) = said.into_iter().max_by_key(|(_, bytes)| *bytes)?;
        let theirs = self.rows.iter().filter(|(_, row)| row.principal == *most);
        let longest = theirs.max_by_key(|(peer, row)| (row.account.bytes, **peer));
        longest.map(|(peer, _)| *peer)
    }

    pub(super) fn get(&self, peer: PeerId) -> Option<&Peer> {
        self.rows.get(&peer).map(|row| &**row)
    }

    /// Returns what an agent was told of frameworks over a connection.
    pub(super) fn introduced(
        &mut self,
        peer: PeerId,
    ) -> Option<&mut Introduced<Arc<FrameworkInfo>>> {
        Some(&mut self.rows.get_mut(&peer)?.introduced)
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

    /// Visits all of them, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (PeerId, &Peer)> + '_ {
        self.rows.iter().map(|(peer, row)| (*peer, &**row))
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;
    use alloc::vec;

    use super::*;
    use crate::auth::PeerRole;

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
            account.append(vec![info.clone()], vec![], vec![]);
            assert_eq!(account.is_bounded(), fits);
        }
    }

    #[test]
    fn who_says_the_most_of_all_makes_room() {
        // I22, PR-02: however many connections it has
        let info = || vec![FrameworkInfo::new("web")];
        let mut peers = Peers::default();
        let said = [("ann", 3), ("bob", 2), ("bob", 1), ("bob", 1), ("eve", 1)];
        for (n, (name, parts)) in said.into_iter().enumerate() {
            let (role, name) = (PeerRole::Agent, name.to_string());
            let peer = PeerId(n as u64);
            assert!(peers.insert(peer, Principal { role, name }));
            for _ in 0..parts {
                let note = |account: &mut Account| account.append(info(), vec![], vec![]);
                assert!(peers.note_account(peer, note));
            }
        }
        assert_eq!(peers.longest_winded(), None, "there is room");
        let all = peers.unfinished;
        peers.unfinished += limits::ACCOUNTS_BYTES + 1 - all;
        assert_eq!(peers.longest_winded(), Some(PeerId(1)));
        peers.remove(PeerId(1));
        assert_eq!(peers.longest_winded(), None, "its account is gone with it");
        peers.unfinished -= limits::ACCOUNTS_BYTES + 1 - all;
        let left = peers.rows.values().map(|row| row.account.bytes);
        assert_eq!(peers.unfinished, left.sum::<usize>());
        // What is whole is no longer in the way.
        peers.take_account(PeerId(0));
        assert_eq!(peers.longest_winded(), None);
    }
}

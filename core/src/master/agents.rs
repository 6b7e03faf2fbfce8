//! The table of agents: everyone that the registry admits, here or away.
//!
//! Used by all handlers of the master. Deliberately not here: what agents run (`tasks`) and offer
//! (`offers`), and the registry, which outlives this table.

use alloc::collections::BTreeSet;
use alloc::sync::Arc;
use core::mem::discriminant;
use core::ops::{Index, IndexMut};

use super::permits::Ticket;
use crate::allocator::AgentTraits;
use crate::fold::FoldMap;
use crate::ids::{AgentId, ExecutorId, FrameworkId, PeerId, TaskId};
use crate::keys::AgentKey;
use crate::protocol::maintenance::Unavailability;
use crate::protocol::node::{self, AgentInfo, Standing};
use crate::resources::Resources;
use crate::table::Table;
use crate::time::Time;

/// Something that an agent runs and that is not counted: of a framework that is over, unknown, or
/// not the one whose id it has; or a task whose id is another's that runs elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Uncounted {
    Task(TaskId),
    /// One with a process of its own.
    Executor(ExecutorId),
}

/// Whether an agent is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    /// Admitted by an earlier leadership, and not heard of since (SM-10).
    Recovered,
    /// Speaks with us.
    Connected(PeerId),
    /// Lost a moment ago; its tasks are believed to run (SM-12).
    Disconnected,
    /// Away for too long; its tasks are `Unreachable` (SM-14).
    Unreachable,
}

/// One agent.
#[derive(Clone, Debug)]
pub(super) struct Agent {
    /// Never changes: the table is indexed by it.
    pub(super) id: AgentId,
    pub(super) info: Arc<AgentInfo>,
    /// Its name and its address as `info` says them, for offers to share.
    pub(super) hostname: Arc<str>,
    pub(super) address: Arc<str>,
    /// What it has: what it says, and what operations have made of that.
    pub(super) total: Resources,
    /// Set through the table, which counts.
    presence: Presence,
    /// Since when that is so.
    pub(super) since: Time,
    /// Whether it is given tasks, as operators have said.
    pub(super) standing: Standing,
    /// Since when it is being drained, if it is or was, by the registry.
    pub(super) drain_since: Option<Time>,
    /// How many operations it has not confirmed, by the registry.
    pub(super) operations: usize,
    /// When its machine is to be out of service, by the schedule.
    pub(super) unavailability: Option<Unavailability>,
    pub(super) registered_at: Time,
    /// Pings in a row that were not answered.
    pub(super) missed: u32,
    /// When its one timer fires: the next ping while it is connected, the end of our patience
    /// while it is not.
    pub(super) due: Option<Time>,
    /// Its place in the line of those that are silent for too long.
    pub(super) waits: Option<Ticket>,
    /// What it runs and is to end, and has no row to be counted in: nobody is offered the agent
    /// until it is over (I1).
    pub(super) uncounted: BTreeSet<(FrameworkId, Uncounted)>,
}

impl Agent {
    /// Makes a row for an agent that has not said a word yet.
    pub(super) fn new(
        id: AgentId,
        info: Arc<AgentInfo>,
        total: Resources,
        presence: Presence,
        now: Time,
    ) -> Self {
        Self {
            id,
            hostname: Arc::from(&*info.hostname),
            address: Arc::from(&*info.address),
            info,
            total,
            presence,
            since: now,
            standing: Standing::default(),
            drain_since: None,
            operations: 0,
            unavailability: None,
            registered_at: now,
            missed: 0,
            due: None,
            waits: None,
            uncounted: BTreeSet::new(),
        }
    }

    /// Takes in what it says of itself from now on.
    pub(super) fn describe(&mut self, info: Arc<AgentInfo>) {
        self.hostname = Arc::from(&*info.hostname);
        self.address = Arc::from(&*info.address);
        self.info = info;
    }

    pub(super) fn presence(&self) -> Presence {
        self.presence
    }

    /// Says whether it is there, as operators are told.
    pub(super) fn told_presence(&self) -> node::Presence {
        let (since, until) = (self.since, self.due);
        match self.presence {
            Presence::Connected(_) => node::Presence::Connected { since },
            Presence::Recovered => node::Presence::Recovered { since, until },
            Presence::Disconnected => node::Presence::Disconnected { since, until },
            Presence::Unreachable => node::Presence::Unreachable { since },
        }
    }

    pub(super) fn peer(&self) -> Option<PeerId> {
        match self.presence {
            Presence::Connected(peer) => Some(peer),
            Presence::Recovered | Presence::Disconnected | Presence::Unreachable => None,
        }
    }

    /// Returns whether it may be offered once it is there.
    pub(super) fn may_be_offered(&self) -> bool {
        self.standing == Standing::Active && self.uncounted.is_empty()
    }

    /// Returns whether it may be offered.
    pub(super) fn is_offered(&self) -> bool {
        self.peer().is_some() && self.may_be_offered()
    }

    /// Returns whether the allocator knows it.
    pub(super) fn is_allocatable(&self) -> bool {
        match self.presence {
            Presence::Connected(_) | Presence::Disconnected => true,
            Presence::Recovered | Presence::Unreachable => false,
        }
    }
}

/// All agents.
#[derive(Clone, Debug, Default)]
pub(super) struct Agents {
    rows: Table<Agent>,
    /// Masters give the ids. One that the registry does not know is believed, but each stands for
    /// an agent with a certificate of its own: nobody comes with so many that hashes matter.
    by_id: FoldMap<AgentId, AgentKey>,
    /// How many are [`Presence::Recovered`].
    awaited: usize,
    /// How many are [`Presence::Unreachable`].
    unreachable: usize,
}

/// Says what an agent is like, as the allocator wants to hear it.
pub(super) fn traits(info: &AgentInfo) -> AgentTraits {
    AgentTraits {
        hostname: info.hostname.clone(),
        attributes: info.attributes.clone(),
        region: info.domain.as_ref().map(|domain| domain.region.clone()),
        zone: info.domain.as_ref().map(|domain| domain.zone.clone()),
        ..AgentTraits::default()
    }
}

impl Agents {
    pub(super) fn insert(&mut self, agent: Agent) -> AgentKey {
        let id = agent.id.clone();
        self.count(agent.presence, true);
        let key = self.rows.insert(agent).cast();
        let before = self.by_id.insert(id, key);
        assert!(before.is_none(), "one id, one agent");
        key
    }

    pub(super) fn remove(&mut self, key: AgentKey) -> Option<Agent> {
        let agent = self.rows.remove(key.cast())?;
        self.by_id.remove(&agent.id);
        self.count(agent.presence, false);
        Some(agent)
    }

    /// Says whether an agent is there from now on. Returns what was the case before.
    pub(super) fn set_presence(
        &mut self,
        key: AgentKey,
        presence: Presence,
        now: Time,
    ) -> Presence {
        let row = &mut self[key];
        let before = core::mem::replace(&mut row.presence, presence);
        if discriminant(&before) != discriminant(&presence) {
            row.since = now;
        }
        self.count(before, false);
        self.count(presence, true);
        before
    }

    fn count(&mut self, presence: Presence, comes: bool) {
        let count = match presence {
            Presence::Recovered => &mut self.awaited,
            Presence::Unreachable => &mut self.unreachable,
            Presence::Connected(_) | Presence::Disconnected => return,
        };
        if comes {
            *count += 1;
        } else {
            *count -= 1;
        }
    }

    pub(super) fn find(&self, id: &AgentId) -> Option<AgentKey> {
        self.by_id.get(id).copied()
    }

    pub(super) fn get(&self, key: AgentKey) -> Option<&Agent> {
        self.rows.get(key.cast())
    }

    pub(super) fn get_mut(&mut self, key: AgentKey) -> Option<&mut Agent> {
        self.rows.get_mut(key.cast())
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Returns whether one that an earlier leadership admitted has not come back yet.
    pub(super) fn are_awaited(&self) -> bool {
        self.awaited > 0
    }

    /// Returns how many that an earlier leadership admitted have not come back yet.
    pub(super) fn awaited(&self) -> usize {
        self.awaited
    }

    /// Returns whether one is away of whose tasks this leadership may not know.
    pub(super) fn are_missing(&self) -> bool {
        self.awaited + self.unreachable > 0
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (AgentKey, &Agent)> + '_ {
        self.rows.iter().map(|(key, agent)| (key.cast(), agent))
    }

    pub(super) fn iter_after(
        &self,
        place: Option<u32>,
    ) -> impl Iterator<Item = (AgentKey, &Agent)> + '_ {
        let rows = self.rows.iter_after(place);
        rows.map(|(key, agent)| (key.cast(), agent))
    }

    /// The rows as such, for those who watch them.
    pub(super) fn rows_mut(&mut self) -> &mut Table<Agent> {
        &mut self.rows
    }

    /// Shares the rows, for a view.
    pub(super) fn snapshot(&self) -> Table<Agent> {
        self.rows.clone()
    }

    pub(super) fn check(&self) {
        assert_eq!(self.rows.len(), self.by_id.len(), "agents by id");
        for (key, agent) in self.iter() {
            assert_eq!(self.by_id.get(&agent.id), Some(&key), "agent {}", agent.id);
        }
        let are = |presence| {
            let rows = self.iter();
            rows.filter(|(_, agent)| agent.presence == presence).count()
        };
        assert_eq!(self.awaited, are(Presence::Recovered), "agents awaited");
        let unreachable = are(Presence::Unreachable);
        assert_eq!(self.unreachable, unreachable, "agents out of reach");
    }
}

impl Index<AgentKey> for Agents {
    type Output = Agent;

    fn index(&self, key: AgentKey) -> &Agent {
        &self.rows[key.cast()]
    }
}

impl IndexMut<AgentKey> for Agents {
    fn index_mut(&mut self, key: AgentKey) -> &mut Agent {
        &mut self.rows[key.cast()]
    }
}

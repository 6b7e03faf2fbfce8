//! The table of what frameworks were asked about agents in maintenance, and what they answered:
//! one row for each pair of a framework and an agent, with at most one open question.
//!
//! Used by `vacating`. Deliberately not here: who is asked, and when.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use crate::ids::{AgentId, FrameworkId, OfferId};
use crate::keys::{AgentKey, FrameworkKey};
use crate::limits::Bounds;
use crate::protocol::maintenance::Leaving;
use crate::table::{Key, Table};
use crate::time::Time;

/// Names a row of [`InverseOffers`].
pub(super) type InverseKey = Key<Inverse>;

/// How far it is with asking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// It may be asked.
    Quiet,
    /// It was asked under this id, and has not answered. The question may end at that moment.
    Open(OfferId, Option<Time>),
    /// It has answered, and is not asked again before that.
    Answered(Time),
}

/// What a framework was asked about an agent.
#[derive(Clone, Debug)]
pub(super) struct Inverse {
    pub(super) framework: FrameworkKey,
    pub(super) agent: AgentKey,
    pub(super) owner: FrameworkId,
    pub(super) host: AgentId,
    pub(super) leaving: Leaving,
    /// Changed through the table, which is indexed by it.
    stage: Stage,
}

impl Inverse {
    /// Returns the id of the open question.
    pub(super) fn open(&self) -> Option<&OfferId> {
        match &self.stage {
            Stage::Open(id, _) => Some(id),
            Stage::Quiet | Stage::Answered(_) => None,
        }
    }
}

impl Stage {
    fn due(&self) -> Option<Time> {
        match self {
            Self::Quiet => None,
            Self::Open(_, end) => *end,
            Self::Answered(until) => Some(*until),
        }
    }
}

/// All questions and answers.
#[derive(Clone, Debug, Default)]
pub(super) struct InverseOffers {
    rows: Table<Inverse>,
    by_agent: BTreeMap<AgentKey, BTreeMap<FrameworkKey, InverseKey>>,
    by_framework: BTreeMap<FrameworkKey, BTreeSet<InverseKey>>,
    by_id: BTreeMap<OfferId, InverseKey>,
    /// When questions end, and those who have answered may be asked again.
    dues: BTreeSet<(Time, InverseKey)>,
    /// Agents on which somebody may have to be asked.
    touched: BTreeSet<AgentKey>,
    bounds: Bounds,
}

impl InverseOffers {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            ..Self::default()
        }
    }

    /// Returns how many pairs there are.
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Notes that somebody may have to be asked to leave an agent.
    pub(super) fn touch(&mut self, agent: AgentKey) {
        self.touched.insert(agent);
    }

    /// Takes the agents of which that was noted since the last time.
    pub(super) fn take_touched(&mut self) -> BTreeSet<AgentKey> {
        core::mem::take(&mut self.touched)
    }

    pub(super) fn is_touched(&self) -> bool {
        !self.touched.is_empty()
    }

    /// Finds the row of a pair, or makes one. `None` if there is no room.
    pub(super) fn row(
        &mut self,
        (agent, host): (AgentKey, &AgentId),
        (framework, owner): (FrameworkKey, &FrameworkId),
    ) -> Option<InverseKey> {
        let known = self.by_agent.get(&agent);
        if let Some(key) = known.and_then(|keys| keys.get(&framework)) {
            return Some(*key);
        }
        if self.rows.len() >= self.bounds.inverse_offers {
            return None;
        }
        let key = self.rows.insert(Inverse {
            framework,
            agent,
            owner: owner.clone(),
            host: host.clone(),
            leaving: Leaving::Unknown,
            stage: Stage::Quiet,
        });
        let of_agent = self.by_agent.entry(agent).or_default();
        of_agent.insert(framework, key);
        self.by_framework.entry(framework).or_default().insert(key);
        Some(key)
    }

    /// Says how far it is with asking. Returns how far it was.
    pub(super) fn set_stage(&mut self, key: InverseKey, stage: Stage) -> Stage {
        match &stage {
            Stage::Quiet => {}
            Stage::Open(id, _) => {
                let before = self.by_id.insert(id.clone(), key);
                assert!(before.is_none(), "inverse offers are new");
            }
            Stage::Answered(_) => {}
        }
        if let Some(at) = stage.due() {
            self.dues.insert((at, key));
        }
        let before = core::mem::replace(&mut self.rows[key].stage, stage);
        if let Some(at) = before.due() {
            self.dues.remove(&(at, key));
        }
        match &before {
            Stage::Quiet | Stage::Answered(_) => {}
            Stage::Open(id, _) => {
                self.by_id.remove(id);
            }
        }
        before
    }

    pub(super) fn set_leaving(&mut self, key: InverseKey, leaving: Leaving) {
        self.rows[key].leaving = leaving;
    }

    /// Forgets a pair. Returns what was known.
    pub(super) fn remove(&mut self, key: InverseKey) -> Inverse {
        let stage = self.set_stage(key, Stage::Quiet);
        let row = self.rows.remove(key).expect("a row is removed once");
        if let Some(keys) = self.by_agent.get_mut(&row.agent) {
            keys.remove(&row.framework);
            if keys.is_empty() {
                self.by_agent.remove(&row.agent);
            }
        }
        if let Some(keys) = self.by_framework.get_mut(&row.framework) {
            keys.remove(&key);
            if keys.is_empty() {
                self.by_framework.remove(&row.framework);
            }
        }
        Inverse { stage, ..row }
    }

    pub(super) fn get(&self, key: InverseKey) -> &Inverse {
        &self.rows[key]
    }

    pub(super) fn find(&self, id: &OfferId) -> Option<InverseKey> {
        self.by_id.get(id).copied()
    }

    pub(super) fn is_quiet(&self, key: InverseKey) -> bool {
        self.rows[key].stage == Stage::Quiet
    }

    pub(super) fn of_agent(&self, agent: AgentKey) -> Vec<InverseKey> {
        let keys = self.by_agent.get(&agent);
        keys.into_iter()
            .flat_map(|it| it.values())
            .copied()
            .collect()
    }

    /// Returns the last answers of all who were asked about an agent.
    pub(super) fn answers(&self, agent: AgentKey) -> Vec<Leaving> {
        let keys = self.of_agent(agent).into_iter();
        keys.map(|key| self.rows[key].leaving).collect()
    }

    pub(super) fn of_framework(&self, framework: FrameworkKey) -> Vec<InverseKey> {
        let keys = self.by_framework.get(&framework);
        keys.into_iter().flatten().copied().collect()
    }

    /// Returns when the first question ends, or the first of those who have answered may be asked
    /// again.
    pub(super) fn next_due(&self) -> Option<Time> {
        self.dues.first().map(|(at, _)| *at)
    }

    /// Returns the first of which that is so by `now`.
    pub(super) fn due(&self, now: Time) -> Option<InverseKey> {
        let (at, key) = self.dues.first()?;
        (*at <= now).then_some(*key)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (InverseKey, &Inverse)> + '_ {
        self.rows.iter()
    }

    /// The rows as such, for those who watch them.
    pub(super) fn rows_mut(&mut self) -> &mut Table<Inverse> {
        &mut self.rows
    }

    /// Shares the rows, for a view.
    pub(super) fn snapshot(&self) -> Table<Inverse> {
        self.rows.clone()
    }

    pub(super) fn check(&self) {
        let len = self.rows.len();
        let indexed: usize = self.by_agent.values().map(BTreeMap::len).sum();
        assert_eq!(indexed, len, "inverse offers by agent");
        let indexed: usize = self.by_framework.values().map(BTreeSet::len).sum();
        assert_eq!(indexed, len, "inverse offers by framework");
        let (mut open, mut dues) = (0, 0);
        for (key, row) in self.rows.iter() {
            assert_eq!(self.by_agent[&row.agent][&row.framework], key);
            assert!(self.by_framework[&row.framework].contains(&key));
            if let Some(id) = row.open() {
                assert_eq!(self.by_id.get(id), Some(&key));
                open += 1;
            }
            if let Some(at) = row.stage.due() {
                assert!(self.dues.contains(&(at, key)));
                dues += 1;
            }
        }
        assert_eq!(self.by_id.len(), open, "open inverse offers");
        assert_eq!(self.dues.len(), dues, "inverse offers that are due");
    }
}

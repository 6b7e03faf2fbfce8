//! The table of executors: processes of frameworks that run their tasks, and the agents' own, which
//! run groups.
//!
//! A custom executor is there from the launch of its first task until its agent says that it has
//! ended (SM-26 to SM-28), whatever becomes of its tasks: it lives on until their ends are
//! confirmed (TK-73), and then has its time to end. One of an agent's own is no process, and is
//! there as long as a booked task uses it.
//!
//! Part of `tasks`, which says when one starts. Deliberately not here: what is free with its end
//! (`holdings`), and executors as their agents know them.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::ids::{AgentId, ExecutorId, FrameworkId, PeerId};
use crate::keys::{AgentKey, FrameworkKey};
use crate::protocol::agent::ExecutorReport;
use crate::protocol::task::{ExecutorInfo, ExecutorKind};
use crate::roles::Role;
use crate::table::{Key, Table};

/// What names an executor here: ids are of their own for each framework and agent.
pub(super) type Place = (FrameworkKey, AgentKey, ExecutorId);

/// One executor. It never changes.
#[derive(Clone, Debug)]
pub(super) struct Executor {
    pub(super) framework: FrameworkKey,
    pub(super) agent: AgentKey,
    pub(super) owner: FrameworkId,
    pub(super) host: AgentId,
    pub(super) info: Arc<ExecutorInfo>,
    /// In which role it is charged: that of its first task, and by the plan of all of them (RQ-06).
    pub(super) role: Role,
    /// The connection over which its first task went to its agent.
    pub(super) sent_over: Option<PeerId>,
}

impl Executor {
    pub(super) fn place(&self) -> Place {
        (self.framework, self.agent, self.info.id.clone())
    }

    fn report_bytes(&self) -> usize {
        ExecutorReport::most_bytes(&self.role, &self.info)
    }

    pub(super) fn is_custom(&self) -> bool {
        self.info.kind == ExecutorKind::Custom
    }
}

/// What is known of one id at one place.
#[derive(Clone, Debug, Default)]
struct Entry {
    row: Option<Key<Executor>>,
    /// Booked tasks that use an executor of the agent's own under this id.
    users: usize,
}

/// All executors.
#[derive(Clone, Debug, Default)]
pub(super) struct Executors {
    rows: Table<Executor>,
    by_place: BTreeMap<(FrameworkKey, AgentKey), BTreeMap<ExecutorId, Entry>>,
    by_agent: BTreeMap<AgentKey, OnAgent>,
}

/// What there is in `by_place` of one agent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct OnAgent {
    /// Whose.
    frameworks: BTreeSet<FrameworkKey>,
    /// How much the agent has to report of the executors, on the wire.
    bytes: usize,
}

impl Executors {
    /// Notes one more booked task that uses an executor of this kind. Without one, `start` makes
    /// the row.
    pub(super) fn enter(
        &mut self,
        place: Place,
        kind: ExecutorKind,
        start: impl FnOnce() -> Executor,
    ) {
        let rows = &mut self.rows;
        let (framework, agent, id) = place;
        let there = self.by_place.entry((framework, agent)).or_default();
        let entry = there.entry(id).or_default();
        entry.users += usize::from(kind == ExecutorKind::BuiltIn);
        let on_agent = self.by_agent.entry(agent).or_default();
        on_agent.frameworks.insert(framework);
        entry.row.get_or_insert_with(|| {
            let row = start();
            on_agent.bytes += row.report_bytes();
            rows.insert(row)
        });
    }

    /// Notes one booked task fewer. Returns the agent's own executor if that was its last.
    pub(super) fn leave(&mut self, place: &Place, kind: ExecutorKind) -> Option<Executor> {
        if kind == ExecutorKind::Custom {
            return None;
        }
        let (framework, agent, id) = place;
        let there = self.by_place.get_mut(&(*framework, *agent));
        let entry = there.and_then(|there| there.get_mut(id));
        let entry = entry.expect("a booked task's executor is known");
        entry.users -= 1;
        if entry.users > 0 {
            return None;
        }
        let own = entry.row.filter(|key| !self.rows[*key].is_custom());
        if own.is_some() {
            entry.row = None;
        }
        let gone = own.and_then(|key| self.remove(key));
        self.forget_unused(place);
        gone
    }

    /// Takes out a custom executor, which has ended.
    pub(super) fn end(&mut self, place: &Place) -> Option<Executor> {
        let (framework, agent, id) = place;
        let there = self.by_place.get_mut(&(*framework, *agent))?;
        let entry = there.get_mut(id)?;
        let key = entry.row.filter(|key| self.rows[*key].is_custom())?;
        entry.row = None;
        let gone = self.remove(key);
        self.forget_unused(place);
        gone
    }

    fn remove(&mut self, key: Key<Executor>) -> Option<Executor> {
        let row = self.rows.remove(key)?;
        if let Some(on_agent) = self.by_agent.get_mut(&row.agent) {
            on_agent.bytes -= row.report_bytes();
        }
        Some(row)
    }

    fn forget_unused(&mut self, (framework, agent, id): &Place) {
        let at = (*framework, *agent);
        let Some(there) = self.by_place.get_mut(&at) else {
            return;
        };
        if there
            .get(id)
            .is_some_and(|it| it.row.is_none() && it.users == 0)
        {
            there.remove(id);
        }
        if there.is_empty() {
            self.by_place.remove(&at);
            if let Some(on_agent) = self.by_agent.get_mut(agent) {
                on_agent.frameworks.remove(framework);
                if on_agent.frameworks.is_empty() {
                    self.by_agent.remove(agent);
                }
            }
        }
    }

    pub(super) fn get(&self, place: &Place) -> Option<&Executor> {
        let (framework, agent, id) = place;
        let entry = self.by_place.get(&(*framework, *agent))?.get(id)?;
        self.rows.get(entry.row?)
    }

    /// Visits those of a framework on an agent.
    pub(super) fn on(
        &self,
        framework: FrameworkKey,
        agent: AgentKey,
    ) -> impl Iterator<Item = &Executor> + '_ {
        let there = self.by_place.get(&(framework, agent)).into_iter();
        let keys = there.flat_map(|it| it.values().filter_map(|entry| entry.row));
        keys.map(|key| &self.rows[key])
    }

    /// Visits all on an agent.
    pub(super) fn all_on(&self, agent: AgentKey) -> impl Iterator<Item = &Executor> + '_ {
        let on_agent = self.by_agent.get(&agent).into_iter();
        let frameworks = on_agent.flat_map(|it| &it.frameworks);
        frameworks.flat_map(move |framework| self.on(*framework, agent))
    }

    /// Lists the custom ones on an agent.
    pub(super) fn custom_on(&self, agent: AgentKey) -> Vec<&Executor> {
        self.all_on(agent).filter(|row| row.is_custom()).collect()
    }

    /// Visits the custom ones of a framework.
    pub(super) fn custom_of(
        &self,
        framework: FrameworkKey,
    ) -> impl Iterator<Item = &Executor> + '_ {
        self.all_of(framework).filter(|row| row.is_custom())
    }

    /// Visits all of a framework.
    pub(super) fn all_of(&self, framework: FrameworkKey) -> impl Iterator<Item = &Executor> + '_ {
        let first = (framework, AgentKey::from_raw(0, 0));
        let places = self.by_place.range(first..);
        let places = places.take_while(move |((of, _), _)| *of == framework);
        let keys = places.flat_map(|(_, there)| there.values().filter_map(|entry| entry.row));
        keys.map(|key| &self.rows[key])
    }

    /// Returns how much an agent has to report of them, on the wire.
    pub(super) fn reported_bytes(&self, agent: AgentKey) -> usize {
        self.by_agent.get(&agent).map_or(0, |it| it.bytes)
    }

    /// Returns how many frameworks have some on an agent.
    pub(super) fn frameworks_on(&self, agent: AgentKey) -> usize {
        self.by_agent
            .get(&agent)
            .map_or(0, |it| it.frameworks.len())
    }

    /// Returns whether there is any on an agent.
    pub(super) fn are_on(&self, agent: AgentKey) -> bool {
        self.by_agent.contains_key(&agent)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Executor> + '_ {
        self.rows.iter().map(|(_, row)| row)
    }

    /// The rows as such, for those who watch them.
    pub(super) fn rows_mut(&mut self) -> &mut Table<Executor> {
        &mut self.rows
    }

    /// Shares the rows, for a view.
    pub(super) fn snapshot(&self) -> Table<Executor> {
        self.rows.clone()
    }

    /// Checks the indexes, and that as many booked tasks as are given use each of the agents' own.
    pub(super) fn check(&self, users: &BTreeMap<Place, usize>) {
        let (mut rows, mut noted) = (0, BTreeMap::new());
        let mut by_agent: BTreeMap<AgentKey, OnAgent> = BTreeMap::new();
        for ((framework, agent), there) in &self.by_place {
            assert!(!there.is_empty(), "a place with executors has one");
            let on_agent = by_agent.entry(*agent).or_default();
            on_agent.frameworks.insert(*framework);
            for (id, entry) in there {
                let place = (*framework, *agent, id.clone());
                assert!(entry.row.is_some() || entry.users > 0, "{id} is unused");
                if let Some(key) = entry.row {
                    let row = &self.rows[key];
                    on_agent.bytes += row.report_bytes();
                    assert_eq!(row.place(), place, "an executor by its place");
                    assert!(row.is_custom() || entry.users > 0, "{id} has no task");
                    rows += 1;
                }
                if entry.users > 0 {
                    noted.insert(place, entry.users);
                }
            }
        }
        assert_eq!(self.rows.len(), rows, "executors by place");
        assert_eq!(by_agent, self.by_agent, "executors by agent");
        assert_eq!(noted, *users, "tasks of executors");
    }
}

//! A master as it was at one moment: read-only answers, from a snapshot that is cheap to take.
//!
//! Tables are shared page by page until the master writes to them again. So a view can be handed to
//! another thread, and putting a long answer together holds nobody up.
//!
//! Deliberately not here: orders. Those go through the machine.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::Master;
use super::agents::Agent;
use super::frameworks::Framework;
use super::offers::Outstanding;
use super::tasks::Task;
use crate::ids::MasterId;
use crate::keys::{AgentKey, FrameworkKey};
use crate::protocol::offer::Offer;
use crate::protocol::operation::less;
use crate::protocol::operator::{AgentView, Cursor, FrameworkView, Summary, TaskView};
use crate::protocol::status::TaskStatus;
use crate::resources::{Resource, Resources};
use crate::table::{Key, Table};

/// A snapshot of a master.
#[derive(Clone, Debug)]
pub struct View {
    master: MasterId,
    epoch: u64,
    agents: Table<Agent>,
    frameworks: Table<Framework>,
    tasks: Table<Task>,
    offers: Table<Outstanding>,
    /// What executors use, beside their tasks.
    executors: Vec<(FrameworkKey, AgentKey, Resources)>,
}

/// What one agent or framework has.
#[derive(Default)]
struct Share {
    offered: Resources,
    allocated: Resources,
    tasks: usize,
}

impl Master {
    /// Takes a snapshot.
    pub fn view(&self) -> View {
        let executors = self.tasks.executors();
        View {
            master: self.config.id.clone(),
            epoch: self.config.epoch,
            agents: self.agents.snapshot(),
            frameworks: self.frameworks.snapshot(),
            tasks: self.tasks.snapshot(),
            offers: self.offers.snapshot(),
            executors: executors.map(|(f, a, r)| (f, a, r.clone())).collect(),
        }
    }
}

impl View {
    /// Says who leads, and how much there is.
    pub fn summary(&self) -> Summary {
        let agents = self.agents.iter();
        let frameworks = self.frameworks.iter();
        let tasks = self.tasks.iter();
        Summary {
            master: self.master.clone(),
            epoch: self.epoch,
            agents: agents.filter(|(_, row)| row.is_allocatable()).count(),
            frameworks: frameworks.filter(|(_, row)| !row.is_completed()).count(),
            tasks: tasks.filter(|(_, task)| task.is_active()).count(),
            offers: self.offers.len(),
        }
    }

    /// Lists all agents that the registry admits, those that are away included.
    pub fn agents(&self) -> Vec<AgentView> {
        self.agents_after(None).map(|(_, agent)| agent).collect()
    }

    pub(super) fn agents_after(
        &self,
        place: Option<Cursor>,
    ) -> impl Iterator<Item = (Cursor, AgentView)> + '_ {
        let mut shares = self.shares(|_, agent| agent);
        rows_after(&self.agents, place).map(move |(key, row)| {
            let share = shares.remove(&key.cast()).unwrap_or_default();
            let agent = AgentView {
                id: row.id.clone(),
                info: (*row.info).clone(),
                total: row.total.clone(),
                connected: row.peer().is_some(),
                standing: row.standing,
                registered_at: row.registered_at,
                offered: share.offered,
                shortage: shortage(&share.allocated, &row.total),
                allocated: share.allocated,
                tasks: share.tasks,
            };
            (Cursor(key.index()), agent)
        })
    }

    /// Lists all frameworks that are not over.
    pub fn frameworks(&self) -> Vec<FrameworkView> {
        let frameworks = self.frameworks_after(None);
        frameworks.map(|(_, framework)| framework).collect()
    }

    pub(super) fn frameworks_after(
        &self,
        place: Option<Cursor>,
    ) -> impl Iterator<Item = (Cursor, FrameworkView)> + '_ {
        let mut shares = self.shares(|framework, _| framework);
        let rows = rows_after(&self.frameworks, place);
        let rows = rows.filter(|(_, row)| !row.is_completed());
        rows.map(move |(key, row)| {
            let share = shares.remove(&key.cast()).unwrap_or_default();
            let framework = FrameworkView {
                info: (*row.info).clone(),
                connected: row.peer().is_some(),
                suppressed: row.wishes.suppressed.iter().cloned().collect(),
                offered: share.offered,
                allocated: share.allocated,
                tasks: share.tasks,
            };
            (Cursor(key.index()), framework)
        })
    }

    /// Lists the tasks that have not ended.
    pub fn live_tasks(&self) -> Vec<TaskView> {
        let tasks = self.tasks_after(None, Task::is_active);
        tasks.map(|(_, task)| task).collect()
    }

    /// Lists all tasks, and those that have ended as far as they are remembered.
    pub fn all_tasks(&self) -> Vec<TaskView> {
        let tasks = self.tasks_after(None, |_| true);
        tasks.map(|(_, task)| task).collect()
    }

    pub(super) fn tasks_after(
        &self,
        place: Option<Cursor>,
        counts: impl Fn(&Task) -> bool,
    ) -> impl Iterator<Item = (Cursor, TaskView)> {
        let tasks = rows_after(&self.tasks, place).filter(move |(_, task)| counts(task));
        tasks.filter_map(|(key, task)| Some((Cursor(key.index()), task_view(task)?)))
    }

    /// Lists all outstanding offers.
    pub fn offers(&self) -> Vec<Offer> {
        self.offers_after(None).map(|(_, offer)| offer).collect()
    }

    pub(super) fn offers_after(
        &self,
        place: Option<Cursor>,
    ) -> impl Iterator<Item = (Cursor, Offer)> + '_ {
        let offers = rows_after(&self.offers, place);
        offers.map(|(key, row)| (Cursor(key.index()), (*row.offer).clone()))
    }

    /// Adds up what is offered and in use, by agent or by framework.
    fn shares<K: Ord>(&self, of: impl Fn(FrameworkKey, AgentKey) -> K) -> BTreeMap<K, Share> {
        let mut shares: BTreeMap<K, Share> = BTreeMap::new();
        for (_, row) in self.offers.iter() {
            let share = shares.entry(of(row.framework, row.agent)).or_default();
            add(&mut share.offered, &row.offer.resources);
        }
        for (_, task) in self.tasks.iter().filter(|(_, task)| task.is_active()) {
            let share = shares.entry(of(task.framework, task.agent)).or_default();
            share.tasks += 1;
            if task.is_booked() {
                add(&mut share.allocated, &task.resources);
            }
        }
        for (framework, agent, resources) in &self.executors {
            let share = shares.entry(of(*framework, *agent)).or_default();
            add(&mut share.allocated, resources);
        }
        shares
    }
}

/// The rows behind a place, in the order of their keys: a row never moves.
fn rows_after<T>(
    table: &Table<T>,
    place: Option<Cursor>,
) -> impl Iterator<Item = (Key<T>, &T)> + '_ {
    let rows = table.iter();
    rows.filter(move |(key, _)| place.is_none_or(|Cursor(last)| key.index() > last))
}

/// Adds for display. Only agents that lie about their resources get beyond what a number holds;
/// then the sum stays as it was.
fn add(sum: &mut Resources, more: &Resources) {
    if let Err(overflow) = sum.add(more) {
        tracing::debug!(%overflow, "a sum for display");
    }
}

fn task_view(task: &Task) -> Option<TaskView> {
    Some(TaskView {
        framework: task.owner.clone(),
        agent: task.status.agent.clone()?,
        name: task.name.clone(),
        resources: task.resources.clone(),
        status: TaskStatus {
            state: task.state,
            ..task.status.clone()
        },
    })
}

/// Returns what tasks use and their agent does not have any more. Of what is shared there are more
/// copies in use than there are.
fn shortage(used: &Resources, total: &Resources) -> Resources {
    if total.contains(used) {
        return Resources::new();
    }
    less(&used.filter(|entry| !Resource::is_shared(entry)), total)
}

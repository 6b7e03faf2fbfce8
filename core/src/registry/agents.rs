//! Agents: admitted, out of reach, and gone for good; and the names that are bound to them.
//!
//! Deliberately not here: when one is given up or forgotten, which the master decides.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::book::Book;
use crate::ids::AgentId;
use crate::limits;
use crate::mutant::{Mutant, planted};
use crate::protocol::disk::{DiskEnd, DiskJob};
use crate::protocol::node::{AgentInfo, Standing};
use crate::protocol::operation::{Converted, Order};
use crate::resources::Resources;
use crate::time::Time;

/// An agent as it was admitted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Admission {
    /// The name in its certificate: nobody else may use its id.
    pub name: String,
    /// What it last said about itself.
    pub info: Arc<AgentInfo>,
    /// What operations have made of what it has.
    pub converted: Converted,
    /// Since when it is unreachable, if it is (SM-14). It may come back.
    pub unreachable: Option<Time>,
    /// Whether it is given tasks, as operators have said.
    pub standing: Standing,
    /// Since when it is being drained, if it is or was (TK-129).
    pub drain_since: Option<Time>,
    /// The operations that it has not yet confirmed to have carried out, by their numbers.
    pub open: BTreeMap<u64, Order>,
    /// What its provider of disks is at, by the numbers of the orders that began it.
    pub jobs: BTreeMap<u64, DiskJob>,
    /// Which of the open operations end something of it.
    pub ends: BTreeMap<u64, JobEnd>,
}

/// What an operation ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobEnd {
    /// The number of the job.
    pub job: u64,
    /// Why it has failed, if it has.
    pub failed: Option<String>,
}

impl Admission {
    /// Returns what the agent has: what it says, and what operations have made of that.
    pub fn total(&self) -> Resources {
        let described = &self.info.resources;
        let total = self.converted.total(described);
        // The master takes no description in that has less than what operations rest on.
        total.unwrap_or_else(|_| described.clone())
    }

    /// Returns how many bytes, on the wire, what comes of its disks at work may take at most.
    pub fn coming_bytes(&self) -> usize {
        coming_bytes(self.jobs.values())
    }

    /// Returns how many operations it is at: those that it has not confirmed, and those that its
    /// provider of disks has begun.
    pub fn under_way(&self) -> usize {
        let begun = self.jobs.keys();
        let begun = begun.filter(|number| !self.open.contains_key(number));
        self.open.len() + begun.count()
    }
}

/// An agent that never serves again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gone {
    /// Since when.
    pub at: Time,
    /// Whether an operator has said so (SM-17). Others have left, joined anew, or were away for too
    /// long.
    pub by_operator: bool,
}

/// Adds up what may come of jobs that a provider is at, in bytes on the wire.
pub(crate) fn coming_bytes<'a>(jobs: impl IntoIterator<Item = &'a DiskJob>) -> usize {
    let jobs = jobs.into_iter();
    jobs.map(|job| job.change.most_bytes()).sum()
}

/// All agents. One name, one admitted agent; an id is admitted or gone, never both.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Agents {
    admitted: BTreeMap<AgentId, Admission>,
    names: BTreeMap<String, AgentId>,
    /// How many of the admitted ones are unreachable.
    unreachable: usize,
    /// Those that never serve again.
    gone: Book<AgentId, Gone>,
    /// The same by the name that they had, oldest first; at most [`limits::GONE_PER_NAME`] each.
    former: BTreeMap<String, VecDeque<AgentId>>,
}

impl Agents {
    pub(super) fn len(&self) -> usize {
        self.admitted.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.admitted.is_empty()
    }

    pub(super) fn unreachable(&self) -> usize {
        self.unreachable
    }

    pub(super) fn gone(&self) -> &Book<AgentId, Gone> {
        &self.gone
    }

    pub(super) fn gone_mut(&mut self) -> &mut Book<AgentId, Gone> {
        &mut self.gone
    }

    pub(super) fn get(&self, id: &AgentId) -> Option<&Admission> {
        self.admitted.get(id)
    }

    pub(super) fn bound_to(&self, name: &str) -> Option<&AgentId> {
        self.names.get(name)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&AgentId, &Admission)> + '_ {
        self.admitted.iter()
    }

    /// Binds a name to an id. The name is free, as the master has seen to.
    pub(super) fn admit(&mut self, id: &AgentId, name: &str, info: &Arc<AgentInfo>) {
        let admission = Admission {
            name: name.into(),
            info: Arc::clone(info),
            converted: Converted::default(),
            unreachable: None,
            standing: Standing::default(),
            drain_since: None,
            open: BTreeMap::new(),
            jobs: BTreeMap::new(),
            ends: BTreeMap::new(),
        };
        self.names.insert(name.into(), id.clone());
        self.admitted.insert(id.clone(), admission);
    }

    pub(super) fn update(&mut self, id: &AgentId, info: &Arc<AgentInfo>) {
        if let Some(admission) = self.admitted.get_mut(id) {
            admission.info = Arc::clone(info);
        }
    }

    pub(super) fn set_unreachable(&mut self, id: &AgentId, since: Option<Time>) {
        if let Some(admission) = self.admitted.get_mut(id) {
            let before = core::mem::replace(&mut admission.unreachable, since);
            self.unreachable += usize::from(since.is_some());
            self.unreachable -= usize::from(before.is_some());
        }
    }

    pub(super) fn set_standing(&mut self, id: &AgentId, standing: Standing, at: Time) {
        if let Some(admission) = self.admitted.get_mut(id) {
            admission.standing = standing;
            // It has turned tasks away since the first word of the drain.
            let since = admission.drain_since.unwrap_or(at);
            admission.drain_since = standing.is_drain().then_some(since);
        }
    }

    /// Orders an operation. One that does not fit its agent is none.
    pub(super) fn convert(&mut self, id: &AgentId, order: &Order) {
        self.order(id, order);
    }

    /// Returns whom it was ordered of, if it fits.
    fn order(&mut self, id: &AgentId, order: &Order) -> Option<&mut Admission> {
        let admission = self.admitted.get_mut(id)?;
        let converted = &mut admission.converted;
        let noted = converted.note(order.number, &order.before, &order.after);
        noted.ok()?;
        admission.open.insert(order.number, order.clone());
        Some(admission)
    }

    pub(super) fn begin_disk(&mut self, id: &AgentId, job: &DiskJob) {
        let Ok(order) = job.order() else {
            return;
        };
        if let Some(admission) = self.order(id, &order) {
            admission.jobs.insert(job.number, job.clone());
        }
    }

    pub(super) fn end_disk(&mut self, id: &AgentId, end: &DiskEnd) {
        if let Some(admission) = self.order(id, &end.order) {
            admission.jobs.remove(&end.job);
            let (job, failed) = (end.job, end.failed.clone());
            let row = JobEnd { job, failed };
            admission.ends.insert(end.order.number, row);
        }
    }

    pub(super) fn settle(&mut self, id: &AgentId, last: u64) {
        if let Some(admission) = self.admitted.get_mut(id) {
            admission.open.retain(|number, _| *number > last);
            admission.ends.retain(|number, _| *number > last);
        }
    }

    pub(super) fn restore(&mut self, id: &AgentId, converted: &Converted, jobs: &[DiskJob]) {
        if let Some(admission) = self.admitted.get_mut(id) {
            admission.converted = converted.clone();
            admission.open.clear();
            let jobs = jobs.iter().map(|job| (job.number, job.clone()));
            admission.jobs = jobs.collect();
            admission.ends.clear();
        }
    }

    /// Frees the name of an agent, and remembers its id. Whoever joins and leaves again and again
    /// makes room himself: others that are gone stay so.
    pub(super) fn remove(&mut self, id: &AgentId, gone: Gone) {
        let row = self.admitted.remove(id);
        if let Some(row) = &row {
            self.names.remove(&row.name);
            self.unreachable -= usize::from(row.unreachable.is_some());
        }
        if planted(Mutant::RemovalForgotten) {
            return;
        }
        self.gone.insert(id.clone(), gone);
        let Some(row) = row else {
            return;
        };
        let former = self.former.entry(row.name).or_default();
        former.push_back(id.clone());
        if former.len() > limits::GONE_PER_NAME
            && let Some(oldest) = former.pop_front()
        {
            self.gone.remove(&oldest);
        }
    }

    /// Forgets those that are gone since before a moment, and all but so many of the newest.
    pub(super) fn prune(&mut self, before: Time, keep: usize) {
        self.forget_gone(before, keep);
        let gone = &self.gone;
        self.former.retain(|_, former| {
            former.retain(|id| gone.contains_key(id));
            !former.is_empty()
        });
    }

    fn forget_gone(&mut self, before: Time, keep: usize) {
        self.gone.retain(|_, gone| gone.at >= before);
        let above = self.gone.len().saturating_sub(keep);
        if above > 0 {
            let gone = self.gone.iter();
            let mut oldest: Vec<(Time, AgentId)> =
                gone.map(|(id, gone)| (gone.at, id.clone())).collect();
            oldest.sort_unstable();
            for (_, id) in oldest.iter().take(above) {
                self.gone.remove(id);
            }
        }
    }

    /// Returns whether as many are bound as admitted.
    pub(super) fn is_sound(&self) -> bool {
        self.admitted.len() == self.names.len() && self.unreachable <= self.admitted.len()
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use super::*;

    fn id(n: usize) -> AgentId {
        AgentId::new(&format!("rio-1-S{n}")).unwrap()
    }

    fn left(n: usize) -> Gone {
        Gone {
            at: Time::from_micros(n as u64),
            by_operator: false,
        }
    }

    #[test]
    fn who_joins_and_leaves_has_nobody_else_forgotten() {
        // SM-17, TK-114, I22
        let mut agents = Agents::default();
        let resources = Resources::parse("cpus:1").unwrap();
        let info = Arc::new(AgentInfo::new("host", "host:5051", resources));
        agents.admit(&id(0), "one", &info);
        agents.remove(&id(0), left(0));
        let last = 3 * limits::GONE_PER_NAME;
        for n in 1..=last {
            agents.admit(&id(n), "two", &info);
            agents.remove(&id(n), left(n));
        }
        assert!(agents.gone().contains_key(&id(0)));
        assert_eq!(agents.gone().len(), 1 + limits::GONE_PER_NAME);
        assert!(agents.gone().contains_key(&id(last)));
        // Those that are forgotten for their age make room.
        agents.prune(Time::from_micros(last as u64), usize::MAX);
        assert_eq!(agents.gone().len(), 1);
        assert_eq!(agents.former.len(), 1);
    }
}

//! Disks are made once, and none is lost (OF-15): between any two steps an agent has those disks
//! that its provider has made for it, but for those that a job is about.
//!
//! Looked at after what happens on an agent. What a provider made for an agent whose disk was lost
//! is nobody's: another agent comes in its place.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::{String, ToString};

use super::Broken;
use crate::agent::Agent;
use crate::protocol::disk::{DiskChange, DiskJob, DiskOutcome};
use crate::resources::Resources;
use crate::sim::disks::{Provider, disk_of};
use crate::sim::options::Checking;
use crate::sim::property::Property;
use crate::sim::queue::Name;
use crate::sim::world::{World, at};

impl World {
    /// Checks that an agent has the disks that were made for it.
    pub(in crate::sim) fn check_disks(&mut self, n: u32) {
        if self.options.checking == Checking::Off {
            return;
        }
        let seat = &self.agents[at(n)];
        let agent = seat.node.machine();
        let result = agent.map_or(Ok(()), |agent| check(agent, &seat.provider));
        self.note(Name::Agent(n), result);
    }
}

/// Compares what an agent has with what there is.
fn check(agent: &Agent, provider: &Provider) -> Result<(), Broken> {
    let result = match provider.violation() {
        Some(problem) => Err(problem.to_string()),
        None => compare(agent, provider),
    };
    result.map_err(|problem| (Property::Disks, problem))
}

fn compare(agent: &Agent, provider: &Provider) -> Result<(), String> {
    let view = agent.view();
    let Some(id) = view.id() else {
        return Ok(());
    };
    let mut has = BTreeSet::new();
    for disk in view.total().iter().filter_map(disk_of) {
        if !has.insert(disk) {
            return Err(format!("{disk} is there twice"));
        }
    }
    // What jobs are about may be on either side.
    let mut open = BTreeSet::new();
    let mut at_work = agent.state().undoing().clone();
    for (job, outcome) in agent.state().disk_jobs() {
        at_work.insert(job.number);
        let (DiskChange::Create { source, .. } | DiskChange::Destroy { source }) = &job.change;
        open.extend(disk_of(source));
        if let Some(DiskOutcome::Made(made)) = outcome {
            open.extend(made.id.as_deref());
        }
    }
    let own = provider.disks().filter(|(_, job)| job.agent == *id);
    let mut there = BTreeSet::new();
    for (disk, job) in own {
        there.insert(disk);
        if !has.contains(disk) && !open.contains(disk) && !at_work.contains(&job.number) {
            return Err(format!("{disk}, which {job} has made, is lost"));
        }
    }
    match has.iter().find(|disk| !there.contains(*disk)) {
        Some(disk) => Err(format!("the agent has {disk}, which is not there")),
        None => Ok(()),
    }
}

/// Adds what an agent's provider is at to what the agent has: together it is what it always had.
pub(super) fn with_sources<'a>(
    total: &Resources,
    jobs: impl Iterator<Item = &'a DiskJob>,
) -> Result<Resources, Broken> {
    let mut all = total.clone();
    for job in jobs {
        let source = job.change.source();
        let sum = source.and_then(|source| Ok(all.add(&source)?));
        sum.map_err(|error| (Property::Disks, error.to_string()))?;
    }
    Ok(all)
}

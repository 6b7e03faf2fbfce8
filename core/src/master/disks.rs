//! Disks that agents' providers make and take back: the beginning and the end of each (OF-15,
//! OF-28, SM-31, SM-32).
//!
//! Both are orders of the agent, as any operation's. With the first the source leaves what the
//! agent has: it is nobody's, and survives whoever asked for it. With the second comes what the
//! provider has made, or the source again. Deliberately not here: who may ask (`plan`), and what
//! the framework is told (`feedback`).

use alloc::format;
use alloc::string::{String, ToString};

use tracing::debug;

use super::{Cx, Master};
use crate::allocator::Change;
use crate::keys::AgentKey;
use crate::limits;
use crate::protocol::agent::ToAgent;
use crate::protocol::disk::{DiskEnd, DiskJob, DiskOutcome};
use crate::protocol::operation::{Converted, Order};
use crate::protocol::wire::size;
use crate::registry::{Admission, RegistryOp};
use crate::resources::{ProviderId, Resource, Resources};

impl Master {
    /// An agent says how something ended that its provider was to do, and says it until it hears
    /// the order that this makes of it.
    ///
    /// What the registry does not know to be under way has ended, or never began: an agent that has
    /// it says so when it comes back, should the registry have forgotten it.
    pub(super) fn on_disk_ended(
        &mut self,
        cx: &mut Cx<'_>,
        key: AgentKey,
        number: u64,
        outcome: &DiskOutcome,
    ) {
        let agent = self.agents[key].id.clone();
        let Some(admission) = self.registry.agent(&agent) else {
            return;
        };
        let job = admission.jobs.get(&number);
        let is_begun = !admission.open.contains_key(&number);
        let Some(job) = job.filter(|_| is_begun).cloned() else {
            debug!(%agent, number, "a disk that is not being made");
            return;
        };
        let next = admission.converted.last + 1;
        let (after, failed) = end(admission, &job, next, outcome);
        let order = job.end(next, after.clone());
        let end = DiskEnd {
            job: number,
            failed,
            order,
        };
        if let Some(id) = &job.owner.id
            && let Some(framework) = self.frameworks.find(&job.owner.framework)
        {
            self.operations.follow(framework, id, (key, number), next);
        }
        if !after.is_empty() {
            self.changes.push(Change::FreeConverted {
                agent: key,
                before: Resources::new(),
                after,
            });
        }
        self.order(cx, key, |agent, _| {
            let op = RegistryOp::EndDisk {
                agent,
                end: end.clone(),
            };
            (op, ToAgent::EndDisk(end))
        });
    }
}

/// Says what an agent has in the place of what its provider was given, and why that is what it was
/// before, if it is.
fn end(
    admission: &Admission,
    job: &DiskJob,
    number: u64,
    outcome: &DiskOutcome,
) -> (Resources, Option<String>) {
    let made = job.change.result(outcome).and_then(|after| {
        let fits = fits(admission, &job.end(number, after.clone()));
        fits.map(|()| after)
    });
    let why = match made {
        Ok(after) => return (after, None),
        Err(why) => why,
    };
    let source = job.change.source().unwrap_or_default();
    match fits(admission, &job.end(number, source.clone())) {
        Ok(()) => (source, Some(why)),
        // Its description has it already: somebody has set the agent up anew.
        Err(_) => (Resources::new(), Some(why)),
    }
}

/// Returns what names a disk: its provider and the id there.
fn disk_id(entry: &Resource) -> Option<(&ProviderId, &str)> {
    let metadata = entry.metadata();
    let id = metadata.source.as_ref()?.id.as_deref()?;
    Some((metadata.provider.as_ref()?, id))
}

/// Checks that an agent can have what comes with an order.
fn fits(admission: &Admission, order: &Order) -> Result<(), String> {
    let mut converted: Converted = admission.converted.clone();
    let noted = converted.note(order.number, &order.before, &order.after);
    noted.map_err(|overflow| overflow.to_string())?;
    let total = converted.total(&admission.info.resources);
    let total = total.map_err(|error| error.to_string())?;
    // RM-51: disks never become one, so that one of this name would be there twice.
    for made in &order.after {
        let is_same = |it: &&Resource| disk_id(it).is_some() && disk_id(it) == disk_id(made);
        if total.iter().filter(is_same).count() > 1 {
            return Err(format!("the agent has {made} already"));
        }
    }
    if size(&total) > limits::AGENT_BYTES {
        return Err("the agent would have too many kinds of resources".into());
    }
    Ok(())
}

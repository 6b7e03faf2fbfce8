//! What is reserved stays, and stays with its role (I5).
//!
//! It is offered to its role and those below it only, and to a framework in a role that it is in.
//! What operations have made of an agent is in kind and amount what it always had; and when a
//! cluster has come to rest, the agent agrees with the master on it: until then an operation may be
//! on its way.

use alloc::format;
use alloc::string::String;

use super::Broken;
use super::ledger::Ledger;
use crate::agent::Agent;
use crate::ids::AgentId;
use crate::protocol::offer::Offer;
use crate::protocol::operator::AgentView;
use crate::resources::Resources;
use crate::sim::property::Property;

/// Checks that an offer is for somebody who may have it.
pub(super) fn check_offer(ledger: &Ledger, offer: &Offer) -> Result<(), Broken> {
    let Offer { id, role, .. } = offer;
    let mut entries = offer.resources.iter();
    if let Some(other) = entries.find(|entry| !entry.is_allocatable_to(role)) {
        let problem = format!("{id} offers {other} to {role}");
        return Err((Property::Reserved, problem));
    }
    let framework = ledger.registry().framework(&offer.framework);
    if framework.is_none_or(|enrolled| !enrolled.info.roles.contains(role)) {
        let problem = format!("{id} is for {} in {role}, where it is not", offer.framework);
        return Err((Property::Reserved, problem));
    }
    Ok(())
}

/// Checks that operations have left as much of everything as an agent has described, together with
/// what its provider of disks is at.
pub(super) fn check_total(
    agent: &AgentId,
    described: Option<&Resources>,
    total: &Resources,
) -> Result<(), Broken> {
    let Some(described) = described else {
        let problem = format!("{agent} is nobody who is there");
        return Err((Property::Reserved, problem));
    };
    if total.total() == described.total() {
        return Ok(());
    }
    let problem = format!("{agent} had {described}, and has {total}");
    Err((Property::Reserved, problem))
}

/// Says about what of an agent the master is wrong.
pub(in crate::sim) fn disagreement(agents: &[AgentView], agent: &Agent) -> Option<String> {
    let id = agent.view().id()?;
    let row = agents.iter().find(|row| row.id == *id)?;
    let (theirs, ours) = (&row.total, agent.view().total());
    if theirs != ours {
        return Some(format!(
            "the master takes {id} to have {theirs}, it has {ours}"
        ));
    }
    let at_work = agent.state().disk_jobs().count();
    if at_work > 0 {
        return Some(format!(
            "{at_work} disks of {id} are being made or taken back"
        ));
    }
    let (had, has) = (row.info.resources.total(), ours.total());
    (had != has).then(|| format!("{id} had {had}, and operations have made {has} of it"))
}

//! What operations have made stays (I5): the master and an agent that is registered with it agree
//! on what the agent has, and in kind and amount that is what it always had.
//!
//! Looked at when a cluster has come to rest: until then an operation may be on its way.

use alloc::format;
use alloc::string::String;

use crate::agent::Agent;
use crate::protocol::operator::AgentView;

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
    let (had, has) = (row.info.resources.total(), ours.total());
    (had != has).then(|| format!("{id} had {had}, and operations have made {has} of it"))
}

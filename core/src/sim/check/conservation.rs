//! Nothing is given twice: what is offered and in use on an agent is a part of what it has, and the
//! allocator has booked exactly that.
//!
//! The master and its allocator keep these books apart from each other; that they agree is what
//! makes the allocator replaceable.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;

use crate::ids::AgentId;
use crate::master::Master;
use crate::protocol::status::TaskState;
use crate::resources::{Quantities, Resources, Value};

pub(in crate::sim) fn check(master: &Master) -> Result<(), String> {
    let view = master.view();
    let mut booked = Quantities::default();
    let mut free: BTreeMap<AgentId, Resources> = BTreeMap::new();
    for agent in view.agents() {
        booked.add(&amounts(&agent.offered));
        booked.add(&amounts(&agent.allocated));
        free.insert(agent.id, agent.info.resources);
    }
    let theirs = master.allocator().stats().booked;
    if theirs != booked {
        return Err(format!(
            "conservation: the allocator booked {theirs}, and given is {booked}"
        ));
    }
    // One by one: added up, a port that is given twice would be there once.
    let mut give = |agent: &AgentId, resources: &Resources, to: &str| {
        let free = free.get_mut(agent);
        let free = free.ok_or_else(|| format!("conservation: {to} has something of {agent}"))?;
        let missing = free.subtract(resources);
        missing.map_err(|error| format!("conservation: on {agent}, for {to}, {error}"))
    };
    for offer in view.offers() {
        give(&offer.agent, &offer.resources, offer.id.as_str())?;
    }
    for task in view.live_tasks() {
        if task.status.state != TaskState::Unreachable {
            give(&task.agent, &task.resources, task.status.task.as_str())?;
        }
    }
    Ok(())
}

/// The allocator says how much is booked of what adds up; of ports it keeps which.
fn amounts(resources: &Resources) -> Quantities {
    let scalars = resources.filter(|entry| matches!(entry.value(), Value::Scalar(_)));
    Quantities::from(&scalars)
}

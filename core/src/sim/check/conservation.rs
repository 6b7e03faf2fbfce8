//! Nothing is given twice: what is offered and in use on an agent is a part of what it has, and the
//! allocator has booked exactly that.
//!
//! The master and its allocator keep these books apart from each other; that they agree is what
//! makes the allocator replaceable.

use alloc::format;
use alloc::string::String;

use crate::master::Master;
use crate::resources::{Quantities, Resources, Value};

pub(in crate::sim) fn check(master: &Master) -> Result<(), String> {
    let mut booked = Quantities::default();
    for agent in master.view().agents() {
        booked.add(&amounts(&agent.offered));
        booked.add(&amounts(&agent.allocated));
        // One after the other: added up, a port that is given twice would be there once.
        let mut free = agent.total;
        // Of what is shared anybody may have a copy (RM-48).
        let own = |given: Resources| given.filter(|entry| !entry.is_shared());
        for given in [own(agent.offered), own(agent.allocated)] {
            let missing = free.subtract(&given);
            missing.map_err(|error| format!("on {}, {error}", agent.id))?;
        }
    }
    let theirs = master.allocator().stats().booked;
    if theirs != booked {
        return Err(format!(
            "the allocator booked {theirs}, and given is {booked}"
        ));
    }
    Ok(())
}

/// The allocator says how much is booked of what adds up; of ports it keeps which.
fn amounts(resources: &Resources) -> Quantities {
    let scalars = resources.filter(|entry| matches!(entry.value(), Value::Scalar(_)));
    Quantities::from(&scalars)
}

//! Nothing is given twice: what is offered and in use on an agent is a part of what it has, and the
//! allocator has booked exactly that.
//!
//! The master and its allocator keep these books apart from each other; that they agree is what
//! makes the allocator replaceable.

use alloc::format;
use alloc::string::String;

use crate::master::Master;
use crate::resources::Quantities;

pub(in crate::sim) fn check(master: &Master) -> Result<(), String> {
    let mut booked = Quantities::default();
    for agent in master.view().agents() {
        let mut given = agent.offered;
        given
            .add(&agent.allocated)
            .map_err(|overflow| format!("conservation: {overflow}"))?;
        if !agent.info.resources.contains(&given) {
            let (id, total) = (agent.id, agent.info.resources);
            return Err(format!("conservation: {id} has {total} and gave {given}"));
        }
        booked.add(&Quantities::from(&given));
    }
    let theirs = master.allocator().stats().booked;
    if theirs != booked {
        return Err(format!(
            "conservation: the allocator booked {theirs}, and given is {booked}"
        ));
    }
    Ok(())
}

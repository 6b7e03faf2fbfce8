//! Updates are delivered (I10): what an agent has written down of a task is confirmed to it at
//! last, if nothing goes wrong any more; and not before its framework was told.
//!
//! Nobody waits for what nobody will read: of a framework that is over there is nothing to tell.
//! And what a framework knows more of already, such as that its agent was given up, is not told
//! late.

use alloc::format;
use alloc::string::String;

use super::Broken;
use super::confirmed::Said;
use crate::ids::{FrameworkId, TaskId};
use crate::protocol::status::TaskStatus;
use crate::sim::property::Property;
use crate::sim::world::{World, at};

/// Checks that what agent `n` has forgotten was told before.
pub(super) fn check(world: &World, n: u32, said: &Said) -> Result<(), Broken> {
    let (framework, task, update) = said;
    let Some(state) = world.streams.unheard(framework, task, *update) else {
        return Ok(());
    };
    let seats = world.frameworks.iter();
    let seat = seats
        .filter(|seat| seat.id() == Some(framework))
        .find(|seat| !seat.is_over());
    let master = world.master.machine();
    let is_enrolled = master.is_some_and(|it| it.registry().framework(framework).is_some());
    let Some(seat) = seat.filter(|_| is_enrolled) else {
        return Ok(());
    };
    let agent = world.agents[at(n)].node.machine();
    let agent = agent.and_then(|agent| agent.view().id().cloned());
    let told = &seat.known;
    let is_elsewhere = told
        .agent(task)
        .is_some_and(|on| Some(on) != agent.as_ref());
    // What the master has said by its own word may still be on its way. That it knows what was not
    // told does not count: it may fall.
    let is_more = |known: &TaskStatus| known.update != Some(*update);
    let newest = newest(world, framework, task).filter(is_more);
    let is_late = told.state(task).is_some_and(|told| !told.may_become(state))
        || newest.is_some_and(|newest| !newest.state.may_become(state));
    if is_elsewhere || is_late {
        return Ok(());
    }
    let problem = format!("{task} of {framework} is {state}, which was confirmed and never told");
    Err((Property::Deliveries, problem))
}

/// Returns what the master knows of a task.
fn newest(world: &World, framework: &FrameworkId, task: &TaskId) -> Option<TaskStatus> {
    let tasks = world.master.machine()?.view().all_tasks();
    let mut tasks = tasks.into_iter();
    let found = tasks.find(|row| row.framework == *framework && row.status.task == *task)?;
    Some(found.status)
}

/// Says what still waits to be confirmed.
pub(in crate::sim) fn outstanding(world: &World) -> Option<String> {
    let is_there = |framework: &FrameworkId| {
        let mut seats = world.frameworks.iter().filter(|seat| !seat.is_over());
        seats.any(|seat| seat.id() == Some(framework))
    };
    if let Some(news) = world.watch.unconfirmed(is_there) {
        return Some(news);
    }
    let agents = world.agents.iter().filter_map(|seat| seat.node.machine());
    let mut tasks = agents.flat_map(|agent| agent.view().tasks());
    let task = tasks.find(|task| task.unacknowledged > 0)?;
    let (id, count) = (&task.task.id, task.unacknowledged);
    Some(format!("{count} updates of {id} wait to be confirmed"))
}

//! What really runs is nobody else's (I1): the master has booked each executor whose process is
//! there, and each task that starts or runs, those of frameworks that are over included.
//!
//! The books of [`super::ledger`] follow the same rules as the master's, so a wrong rule would be
//! in both. Here they are held against containers, which know no rules.

use alloc::collections::BTreeSet;
use alloc::format;

use super::Broken;
use crate::ids::{AgentId, FrameworkId, TaskId};
use crate::master::Master;
use crate::protocol::events::{Kind, RowId};
use crate::sim::property::Property;
use crate::sim::world::World;

pub(super) fn check(world: &World, master: &Master) -> Result<(), Broken> {
    let view = master.view();
    let booked: BTreeSet<RowId> = view
        .rows(Kind::Executors)
        .iter()
        .map(|row| row.id())
        .collect();
    let rows = view
        .agents()
        .into_iter()
        .filter(|row| row.presence.is_connected());
    let connected: BTreeSet<AgentId> = rows.map(|row| row.id).collect();
    for seat in &world.agents {
        let machine = seat.node.machine().map(|agent| agent.view());
        let there = machine.filter(|view| view.is_registered());
        let id = there.as_ref().and_then(|view| view.id());
        let Some(agent) = id.filter(|id| connected.contains(*id)) else {
            continue;
        };
        for (framework, executor) in seat.containers.running_executors() {
            let row = RowId::Executor {
                framework: framework.clone(),
                agent: agent.clone(),
                id: executor.clone(),
            };
            let registry = master.registry();
            let is_over = registry.end_of(framework).is_some();
            let is_known = is_over || registry.framework(framework).is_some();
            if is_known && !booked.contains(&row) {
                let problem =
                    format!("{executor} of {framework} runs on {agent}, and is not booked");
                return Err((Property::Conservation, problem));
            }
        }
        check_tasks(world, agent, seat.containers.alive())?;
    }
    Ok(())
}

/// Tasks are booked where they run.
fn check_tasks<'a>(
    world: &World,
    agent: &AgentId,
    alive: impl Iterator<Item = (&'a str, &'a str, u64)>,
) -> Result<(), Broken> {
    let ledger = &world.watch.ledger;
    let registry = ledger.registry();
    for (framework, task, _) in alive {
        let (Ok(framework), Ok(task)) = (FrameworkId::new(framework), TaskId::new(task)) else {
            continue;
        };
        let is_over = registry.end_of(&framework).is_some();
        let is_known = is_over || registry.framework(&framework).is_some();
        let known = ledger.task(&framework, &task);
        let known = known.filter(|known| known.agent == *agent);
        let is_booked = known.is_some_and(|known| known.is_booked);
        if is_known && !is_booked {
            let state = known.map(|known| known.state);
            let problem = format!("{task} of {framework} runs on {agent}, and is {state:?}");
            return Err((Property::Conservation, problem));
        }
    }
    Ok(())
}

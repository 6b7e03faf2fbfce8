//! When faults have stopped and nothing new is launched, all who know of a task agree on it: its
//! framework, the master, the agent and the containers. Nobody holds offers that have ended. And
//! offers flow.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::agent::{Agent, AgentState};
use crate::ids::OfferId;
use crate::master::View;
use crate::protocol::framework::FrameworkInfo;
use crate::protocol::operator::AgentView;
use crate::protocol::status::TaskState;
use crate::roles::Role;
use crate::sim::check::reserved;
use crate::sim::instances::FrameworkSeat;
use crate::sim::limits::is_favoured;
use crate::sim::world::World;

/// A task by the ids of its framework and itself.
type Task = (String, String);

/// Says what is not at rest, if anything is.
pub(in crate::sim) fn disagreement(world: &World) -> Option<String> {
    let master = world.master.machine()?;
    let view = master.view();
    let operator = world.operator.as_ref();
    if operator.is_some_and(|operator| operator.done().is_none()) {
        return Some("not everything is in service again".into());
    }
    if let Some(why) = connections(world) {
        return Some(why);
    }
    let agents = view.agents();
    let connected = agents.iter().filter(|row| row.presence.is_connected());
    let connected = connected.count();
    if agents.len() != world.agents.len() || connected != agents.len() {
        return Some(format!(
            "the master knows {} agents, {connected} of them connected",
            agents.len()
        ));
    }
    let machines = world.agents.iter().filter_map(|seat| seat.node.machine());
    if let Some(why) = machines
        .filter_map(|agent| reserved::disagreement(&agents, agent))
        .next()
    {
        return Some(why);
    }
    let mastered: BTreeMap<Task, TaskState> = view
        .live_tasks()
        .into_iter()
        .map(|t| {
            (
                (t.framework.to_string(), t.status.task.to_string()),
                t.status.state,
            )
        })
        .collect();
    let others = [
        ("frameworks know", of_frameworks(world, &mastered)),
        ("agents know", of_agents(world)),
        ("containers run", of_containers(world, &mastered)),
    ];
    for (who, tasks) in others {
        if let Some((task, ours, theirs)) = first_difference(&mastered, &tasks) {
            return Some(format!(
                "task {task:?}: the master knows {ours:?}, {who} {theirs:?}"
            ));
        }
    }
    if let Some(why) = executors(world, &view).or_else(|| published(world, &view)) {
        return Some(why);
    }
    let unanswered = || world.watch.unanswered().or_else(|| unheard(world));
    if let Some(why) = dead_offer(world, &view).or_else(unanswered) {
        return Some(why);
    }
    misheard(world, &view).or_else(|| starved(world, &view, &agents))
}

/// Of who is there the master believes what its user says of it and wants (FW-53, OF-37).
fn misheard(world: &World, view: &View) -> Option<String> {
    let rows = view.frameworks();
    for seat in world.frameworks.iter().filter(|seat| !seat.is_over()) {
        let (Some(id), Some(hosted)) = (seat.id(), seat.machines().next()) else {
            continue;
        };
        let (title, said) = (seat.title(), hosted.logic().said());
        if said.is_waiting() {
            return Some(format!("{title} has said what it is, and is not answered"));
        }
        let row = rows.iter().find(|row| row.info.id.as_ref() == Some(id));
        let (Some(row), Some((info, wishes))) = (row, said.holds()) else {
            continue;
        };
        let info = FrameworkInfo {
            id: row.info.id.clone(),
            principal: row.info.principal.clone(),
            ..info
        };
        if row.info != info {
            let theirs = &row.info;
            return Some(format!(
                "{title} is {info:?}, and the master knows {theirs:?}"
            ));
        }
        if !row.suppressed.iter().eq(&wishes.suppressed) {
            let (ours, theirs) = (&wishes.suppressed, &row.suppressed);
            return Some(format!(
                "{title} wants no offers in {ours:?}, and the master knows {theirs:?}"
            ));
        }
        let heard = world.watch.wishes_of(id);
        if let Some(heard) = heard.filter(|heard| **heard != wishes) {
            return Some(format!(
                "{title} wants {wishes:?}, and the master heard {heard:?}"
            ));
        }
    }
    None
}

/// Offers flow (L3): if something is free, everybody who wants some is offered some.
fn starved(world: &World, view: &View, agents: &[AgentView]) -> Option<String> {
    let frameworks = view.frameworks();
    let home = world.options.dials.domain(0);
    let home = home.map(|home| home.region);
    let is_near = |agent: &AgentView| {
        let region = agent.info.domain.as_ref().map(|it| &it.region);
        region == home.as_ref()
    };
    let is_free = |agent: &&AgentView| {
        let given = agent.offered.cpus().saturating_add(agent.allocated.cpus());
        given < agent.total.cpus()
    };
    // What is far away not everybody can cope with.
    let free = agents.iter().filter(is_free).any(is_near);
    let wants = |seat: &FrameworkSeat| {
        let hosted = seat.machines().next()?;
        let id = seat.id()?;
        let mut rows = frameworks.iter();
        let row = rows.find(|row| row.info.id.as_ref() == Some(id))?;
        let mut roles = row.info.roles.iter();
        let is_favoured = roles.any(|role| is_favoured(&world.options, role));
        // Of a demand nothing may be left to be offered; how much is can be told from no word.
        let demands = world.watch.wishes_of(id).map(|wishes| &wishes.demands);
        let is_open = |role: &Role| {
            let has_demand = demands.is_some_and(|demands| demands.contains_key(role));
            !has_demand && !row.suppressed.contains(role)
        };
        let wants = is_favoured && row.info.roles.iter().any(is_open);
        wants.then(|| hosted.logic().offers())
    };
    let mut offered = world.frameworks.iter().filter_map(wants);
    let starved = offered.any(|offers| offers == 0);
    (free && starved).then(|| "resources are free and somebody is offered none".into())
}

/// The master has booked those executors whose processes are there (I3).
fn executors(world: &World, view: &View) -> Option<String> {
    let booked: BTreeSet<_> = view.processes().collect();
    let mut running = BTreeSet::new();
    for seat in &world.agents {
        let agent = seat.node.machine().map(Agent::state);
        let Some(agent) = agent.and_then(AgentState::agent) else {
            continue;
        };
        let there = seat.containers.running_executors();
        running.extend(there.map(|(framework, id)| (framework, agent, id)));
    }
    let differs = booked.symmetric_difference(&running).next()?;
    let (framework, agent, id) = differs;
    let who = if booked.contains(differs) {
        "the master"
    } else {
        "the agent"
    };
    Some(format!(
        "of executor {id} of {framework} on {agent} only {who} knows"
    ))
}

/// Operators read of each task what it publishes about itself, as its agent knows it (TK-04).
fn published(world: &World, view: &View) -> Option<String> {
    let agents = world.agents.iter().filter_map(|seat| seat.node.machine());
    let tasks = agents.flat_map(|agent| agent.view().tasks());
    let said: BTreeMap<_, _> = tasks
        .map(|it| ((it.framework, &it.task.id), it.task))
        .collect();
    view.live_tasks().into_iter().find_map(|read| {
        let task = said.get(&(&read.framework, &read.status.task))?;
        let (said, read) = (task.published(), read.published);
        (said != read).then(|| format!("task {} publishes {said:?}, and {read:?} is read", task.id))
    })
}

/// What was taken back was said to whom it was offered (OF-07, OF-50).
fn dead_offer(world: &World, view: &View) -> Option<String> {
    let live: BTreeSet<OfferId> = view.offers().into_iter().map(|offer| offer.id).collect();
    world.frameworks.iter().find_map(|seat| {
        let mut offers = seat.machines().flat_map(|one| one.scheduler().offers());
        let dead = offers.find(|offer| !live.contains(*offer));
        // All machines stay.
        let mut inverse = seat
            .machines()
            .flat_map(|one| one.scheduler().inverse_offers());
        let dead = dead.or_else(|| inverse.next())?;
        Some(format!("{} holds {dead}, which has ended", seat.title()))
    })
}

/// Who has launched a task has heard of it, whatever became of the launch (I15).
fn unheard(world: &World) -> Option<String> {
    world.frameworks.iter().find_map(|seat| {
        let mut tasks = seat.machines().flat_map(|one| one.logic().unheard());
        let task = tasks.next()?;
        let title = seat.title();
        Some(format!(
            "{title} has launched {task}, and hears nothing of it"
        ))
    })
}

pub(in crate::sim) fn connections(world: &World) -> Option<String> {
    for seat in &world.agents {
        if !seat
            .node
            .machine()
            .is_some_and(|agent| agent.view().is_registered())
        {
            return Some(format!("{} is not registered", seat.node.name));
        }
    }
    for seat in world.frameworks.iter().filter(|seat| !seat.is_over()) {
        let subscribed = seat.machines().map(|one| one.scheduler().is_subscribed());
        let subscribed: Vec<bool> = subscribed.collect();
        if subscribed != [true] {
            let title = seat.title();
            return Some(format!(
                "{title}: its schedulers are subscribed: {subscribed:?}"
            ));
        }
    }
    None
}

/// One thing is told to nobody, for nobody is left who knows: what an agent ran that lost its disk,
/// once the master has been replaced.
fn of_frameworks(world: &World, mastered: &BTreeMap<Task, TaskState>) -> BTreeMap<Task, TaskState> {
    let mut tasks = BTreeMap::new();
    for seat in world.frameworks.iter().filter(|seat| !seat.is_over()) {
        let Some(id) = seat.id() else {
            continue;
        };
        let known = &seat.known;
        for (task, state) in known.tasks() {
            if state.is_terminal() || state == TaskState::Unknown {
                continue;
            }
            let name = (id.to_string(), task.to_string());
            let is_lost = known.agent(task).is_some_and(|on| world.lost.contains(on));
            if mastered.contains_key(&name) || !is_lost {
                tasks.insert(name, state);
            }
        }
    }
    tasks
}

fn of_agents(world: &World) -> BTreeMap<Task, TaskState> {
    let agents = world.agents.iter().filter_map(|seat| seat.node.machine());
    let tasks = agents.flat_map(|agent| agent.view().tasks());
    tasks
        .map(|t| ((t.framework.to_string(), t.task.id.to_string()), t.state))
        .collect()
}

/// A container has no state of a task: it takes the master's word for that.
fn of_containers(world: &World, mastered: &BTreeMap<Task, TaskState>) -> BTreeMap<Task, TaskState> {
    let alive = world.agents.iter().flat_map(|seat| seat.containers.alive());
    let tasks = alive.map(|(framework, task, _)| {
        let key = (framework.to_string(), task.to_string());
        let state = mastered.get(&key).copied().unwrap_or(TaskState::Running);
        (key, state)
    });
    tasks.collect()
}

type Difference = (Task, Option<TaskState>, Option<TaskState>);

fn first_difference(
    ours: &BTreeMap<Task, TaskState>,
    theirs: &BTreeMap<Task, TaskState>,
) -> Option<Difference> {
    let mut keys = ours.keys().chain(theirs.keys());
    let task = keys.find(|task| ours.get(*task) != theirs.get(*task))?;
    Some((
        task.clone(),
        ours.get(task).copied(),
        theirs.get(task).copied(),
    ))
}

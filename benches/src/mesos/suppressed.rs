//! Frameworks that want nothing, and that revive for nothing.
//!
//! Mesos: `SuppressOffers`, `ExtremeSuppressOffers`, `AllocatorBacklog`. Offers come back without
//! refusal; our allocator has whoever returns a whole grant wait an interval for that agent, which
//! is over when the next cycle comes, so that no refusal is in force in it.
//!
//! Deliberately not here: refusals for ever.

use tepui_core::allocator::Change;
use tepui_core::roles::Role;

use super::shapes::{AGENT, used, used_agents};
use super::{Line, Size, Workload, workload};
use crate::rig::{Rig, bag, framework, timed};

const AGENTS: usize = 5_000;
const FRAMEWORKS: usize = 200;
const ROUNDS: usize = 5;

pub(super) fn workloads() -> Vec<Workload> {
    vec![
        workload("suppress 5000/200", Size::Usual, || Ok(suppress())),
        workload("extreme suppress 5000/200", Size::Usual, extreme),
        workload("backlog 5000/200", Size::Usual, || Ok(backlog())),
    ]
}

fn cluster() -> Rig {
    let mut rig = Rig::default();
    rig.add_frameworks(FRAMEWORKS, |_| Role::any());
    let (total, in_use) = (bag(AGENT), used(1_024));
    rig.tell_all(used_agents(AGENTS, FRAMEWORKS, &Role::any(), |_| {
        (total.clone(), in_use.clone())
    }));
    rig.passes();
    rig
}

fn suppressed(n: usize) -> Change {
    Change::Suppressed {
        framework: framework(n),
        roles: Vec::new(),
    }
}

fn suppress() -> Vec<Line> {
    let mut rig = cluster();
    let mut lines = Vec::new();
    let part = FRAMEWORKS / ROUNDS;
    for round in 0..ROUNDS {
        let mut told = rig.decline(None);
        let wanting = round * part..(round + 1) * part;
        told = told.and(timed(|| rig.tell_all(wanting.map(suppressed))).1);
        let took = rig.cycle();
        let percent = 100 * (round + 1) / ROUNDS;
        let name = format!("suppress {AGENTS}/{FRAMEWORKS}, {percent} % suppressed");
        let (line, offers) = match percent {
            20 => (Line::new(name, 180.0, took), AGENTS),
            100 => (Line::new(name, 11.0, took), 0),
            _ => (Line::ours(name, took), AGENTS),
        };
        lines.push(
            line.after(told)
                .found(rig.grants.len(), rig.filters())
                .expecting(offers, 0),
        );
    }
    lines
}

fn extreme() -> anyhow::Result<Vec<Line>> {
    let mut rig = cluster();
    rig.tell_all((0..FRAMEWORKS * 99 / 100).map(suppressed));
    let name = format!("extreme suppress {AGENTS}/{FRAMEWORKS}, a cycle");
    let cycle = |_| {
        let told = rig.decline(None);
        let took = rig.cycle();
        Line::new(&name, 158.0, took)
            .after(told)
            .found(rig.grants.len(), rig.filters())
            .expecting(AGENTS, 0)
    };
    Ok(vec![Line::median((0..ROUNDS).map(cycle).collect())?])
}

fn backlog() -> Vec<Line> {
    let mut rig = Rig::default();
    rig.add_frameworks(FRAMEWORKS, |_| Role::any());
    rig.add_agents(AGENTS, &bag(AGENT));
    rig.passes();
    // All is offered, so there is nothing to give.
    let first = rig.grants.len();
    let ((), took) = timed(|| {
        for n in 0..FRAMEWORKS {
            rig.tell(Change::Revived {
                framework: framework(n),
                roles: Vec::new(),
            });
        }
        rig.passes();
    });
    let name = format!("backlog {AGENTS}/{FRAMEWORKS}, all revive");
    vec![
        Line::new(name, 269.0, took)
            .found(rig.grants.len() - first, rig.filters())
            .expecting(0, 0),
    ]
}

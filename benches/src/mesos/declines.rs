//! Agents that come and change, and offers that everybody declines for ever.
//!
//! Mesos: `AddAndUpdateSlave`, `DeclineOffers`, `ResourceLabels`. The agents of the last have their
//! two reservations beside what Mesos gives them: there, reserved resources are in use that the
//! agent does not have, and nothing of what is free is missing for it. So it is here.
//!
//! Deliberately not here: frameworks that suppress.

use std::fmt::Write as _;

use tepui_core::allocator::Change;
use tepui_core::resources::Resources;
use tepui_core::roles::Role;

use super::shapes::{AGENT, used, used_agents};
use super::{Line, Size, Workload, workload};
use crate::rig::{Rig, YEAR, agent, bag, role, timed, traits};

/// Cycles of declines that are shown, with what Mesos takes.
type Shown = &'static [(usize, f64)];

pub(super) fn workloads() -> Vec<Workload> {
    vec![
        workload("add and update 1000/50", Size::Usual, || {
            Ok(add_and_update(1_000, 50, [57.9, 34.6]))
        }),
        workload("add and update 1000/200", Size::Usual, || {
            Ok(add_and_update(1_000, 200, [109.0, 61.7]))
        }),
        workload("add and update 5000/200", Size::Usual, || {
            Ok(add_and_update(5_000, 200, [308.0, 201.0]))
        }),
        workload("decline 1000/50", Size::Usual, || {
            Ok(decline(1_000, 50, &[(0, 26.7), (39, 84.2), (49, 308.0)]))
        }),
        workload("decline 5000/50", Size::Large, || {
            Ok(decline(5_000, 50, &[(0, 185.0), (49, 1850.0)]))
        }),
        workload("labels 1000/50", Size::Usual, || {
            Ok(labels(1_000, 50, &[(39, 93.2), (49, 306.0)]))
        }),
    ]
}

fn add_and_update(agents: usize, frameworks: usize, mesos: [f64; 2]) -> Vec<Line> {
    let mut rig = Rig::default();
    rig.add_frameworks(frameworks, |_| Role::any());
    let total = bag("cpus:2;mem:1024;disk:4096;ports:[31000-32000]");
    let ports = "[31126-31510,31512-31623,31810-31852,31854-31964]";
    let in_use = bag(&format!("cpus:1;mem:128;disk:1024;ports:{ports}"));
    let added = used_agents(agents, frameworks, &Role::any(), |_| {
        (total.clone(), in_use.clone())
    });
    let ((), add) = timed(|| {
        rig.tell_all(added);
        rig.passes();
    });
    let first = rig.grants.len();

    let mut more = total;
    more.add(&bag("cpus(*)<revocable>:10"))
        .expect("ten more fit");
    let changed: Vec<Change> = (0..agents)
        .map(|n| Change::AgentChanged {
            agent: agent(n),
            total: more.clone(),
            traits: traits(n),
        })
        .collect();
    let ((), update) = timed(|| {
        rig.tell_all(changed);
        rig.passes();
    });
    let size = format!("{agents}/{frameworks}");
    vec![
        Line::new(format!("add agents {size}"), mesos[0], add)
            .found(first, 0)
            .expecting(agents, 0),
        Line::new(
            format!("update agents {size}, +10 revocable"),
            mesos[1],
            update,
        )
        .found(rig.grants.len() - first, rig.filters())
        .expecting(agents, 0),
    ]
}

fn decline(agents: usize, frameworks: usize, shown: Shown) -> Vec<Line> {
    let (total, in_use) = (bag(AGENT), used(2_014));
    let of = |_| (total.clone(), in_use.clone());
    declined("decline", (agents, frameworks), &Role::any(), shown, of)
}

fn labels(agents: usize, frameworks: usize, shown: Shown) -> Vec<Line> {
    let in_use = used(2_014).filter(|entry| entry.name() != "cpus");
    let of = |n: usize| {
        let unique =
            format!("label=\"unique_key_1\"=\"value_{n}\",label=\"unique_key_2\"=\"value_{n}\"");
        let reserved = bag(&format!(
            "{};{}",
            reservation(&format!(",{unique}")),
            reservation("")
        ));
        let mut total = bag(AGENT);
        let mut in_use = in_use.clone();
        for bag in [&mut total, &mut in_use] {
            bag.add(&reserved).expect("the reservations fit");
        }
        (total, in_use)
    };
    declined("labels", (agents, frameworks), &role("role1"), shown, of)
}

/// Eight cores reserved with eleven labels that are always the same, and more.
fn reservation(more: &str) -> String {
    let mut text = String::from("cpus(*)<dynamic=\"role1\",principal=\"principal1\"");
    for n in 0..11 {
        write!(text, ",label=\"key{n}\"=\"value{n}\"").expect("a string takes everything");
    }
    text + more + ">:8"
}

/// Everybody declines everything for ever, a cycle at a time.
fn declined(
    name: &str,
    (agents, frameworks): (usize, usize),
    role: &Role,
    shown: Shown,
    of: impl Fn(usize) -> (Resources, Resources),
) -> Vec<Line> {
    let mut rig = Rig::default();
    rig.add_frameworks(frameworks, |_| role.clone());
    rig.tell_all(used_agents(agents, frameworks, role, of));
    rig.passes();
    let mut lines = Vec::new();
    // Mesos goes on to twice as many; from here on nothing is due, and nothing changes.
    for cycle in 0..frameworks {
        let told = rig.decline(Some(YEAR));
        let took = rig.cycle();
        let refused = (cycle + 1) * agents;
        let offers = if cycle + 1 < frameworks { agents } else { 0 };
        if let Some((_, mesos)) = shown.iter().find(|(at, _)| *at == cycle) {
            let name = format!("{name} {agents}/{frameworks}, cycle {cycle}");
            lines.push(
                Line::new(name, *mesos, took)
                    .after(told)
                    .found(rig.grants.len(), rig.filters())
                    .expecting(offers, refused),
            );
        }
    }
    let took = rig.forced_cycle();
    let name = format!("{name} {agents}/{frameworks}, cycle {frameworks}, by force");
    lines.push(
        Line::ours(name, took)
            .found(rig.grants.len(), rig.filters())
            .expecting(0, agents * frameworks),
    );
    lines
}

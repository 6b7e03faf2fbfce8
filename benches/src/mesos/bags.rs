//! Resources that are not plain: volumes, and one agent with very many reservations.
//!
//! Mesos: `PersistentVolumes` (regular ones), and the update of an allocation. Deliberately not
//! here: shared volumes, for which no times are known.

use std::fmt::Write as _;

use anyhow::{Context as _, ensure};
use tepui_core::allocator::{Allocator, Change, FrameworkCapabilities, FrameworkProfile};
use tepui_core::resources::Resources;
use tepui_core::roles::Role;

use super::shapes::{fragments, used_agents};
use super::{Line, Size, Workload, workload};
use crate::rig::{Rig, Took, agent, agent_added, bag, framework, role, timed};

pub(super) fn workloads() -> Vec<Workload> {
    vec![
        workload("volumes 5000/200", Size::Usual, volumes),
        workload("allocation update 800", Size::Usual, update),
    ]
}

/// Agents that are reserved to one role, with a volume each.
fn volumes() -> anyhow::Result<Vec<Line>> {
    const AGENTS: usize = 5_000;
    const FRAMEWORKS: usize = 200;
    let mut rig = Rig::default();
    rig.add_frameworks(FRAMEWORKS, |_| role("test"));
    let total = bag("cpus(test):24;mem(test):4096;disk(test):3072;ports(test):[31000-32000]");
    let ports = fragments(16);
    let in_use = bag(&format!(
        "cpus(test):16;mem(test):1024;disk(test):1024;ports(test):{ports}"
    ));
    rig.tell_all(used_agents(AGENTS, FRAMEWORKS, &role("test"), |n| {
        let mut total = total.clone();
        let volume = format!("disk(test)<volume=\"id{n}\",rw=\"path{n}\">:1024");
        total.add(&bag(&volume)).expect("a volume fits");
        (total, in_use.clone())
    }));
    rig.passes();
    let name = format!("volumes {AGENTS}/{FRAMEWORKS}, a cycle");
    let cycle = |_| {
        let told = rig.decline(None);
        let took = rig.cycle();
        Line::new(&name, 203.0, took)
            .after(told)
            .found(rig.grants.len(), rig.filters())
            .expecting(AGENTS, 0)
    };
    // Mesos makes six cycles; an odd number has a median.
    Ok(vec![Line::median((0..5).map(cycle).collect())?])
}

/// An agent with 800 resources, offered to a framework in 200 roles; in one of them it gives four
/// reservations up, and makes them again.
fn update() -> anyhow::Result<Vec<Line>> {
    const ROLES: usize = 200;
    const EACH: usize = 4;
    let named = |n: usize| role(&format!("role-{n:03}"));
    let mut rig = Rig::default();
    let mut profile = FrameworkProfile::new("framework", (0..ROLES).map(named));
    profile.capabilities = FrameworkCapabilities::ALL;
    let framework = framework(0);
    rig.tell(Change::FrameworkAdded { framework, profile });
    let mut total = String::new();
    for n in 0..ROLES {
        total.push_str(&reservations(&named(n), EACH));
    }
    let total = bag(&total);
    ensure!(total.len() == ROLES * EACH, "{} resources", total.len());
    rig.tell(agent_added(0, total.clone()));
    rig.passes();
    let offers = rig.grants.len();
    let mut granted = rig.grants.iter();
    let own = granted.find(|grant| grant.role == named(100));
    let own = own.context("each role is offered something")?.id;

    let before = bag(&reservations(&named(100), EACH));
    let after = bag("cpus:4");
    let convert = |before: &Resources, after: &Resources| Change::Converted {
        framework,
        role: named(100),
        agent: agent(0),
        grants: own.into(),
        before: before.clone(),
        after: after.clone(),
    };
    let mut samples = Vec::new();
    for _ in 0..21 {
        let both = [convert(&before, &after), convert(&after, &before)];
        samples.push(timed(|| rig.tell_all(both)).1);
    }
    let stats = rig.drf.stats();
    ensure!(stats.booked == total.total(), "{} is booked", stats.booked);
    let name = "allocation update, 800 resources, unreserve + reserve 4";
    Ok(vec![
        Line::new(name, 14.4, Took::median(&samples))
            .found(offers, rig.filters())
            .expecting(ROLES, 0),
    ])
}

/// Reservations of a role that differ in a label.
fn reservations(role: &Role, count: usize) -> String {
    let mut text = String::new();
    for n in 0..count {
        write!(
            text,
            "cpus(*)<dynamic=\"{role}\",label=\"key\"=\"value-{n}\">:1;"
        )
        .expect("a string takes everything");
    }
    text
}

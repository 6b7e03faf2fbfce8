//! Roles with quota: small and large ones that share agents, many, and frameworks that are added.
//!
//! Mesos: `LargeAndSmallQuota`, `NonQuotaVsQuota`, and the set-up and the reading of `Metrics`.
//! There as here agents come first, then frameworks, then quotas, and the first pass after all of
//! them; but for `Metrics`, where agents come last.
//!
//! How an agent is cut into offers depends on the order of agents, which is random in both; so with
//! chopping it is not the number of offers that must be as in Mesos, but what every role has then.
//!
//! Deliberately not here: quota below the top level, which Mesos ignores.

use std::fmt::Write as _;

use anyhow::{Context, ensure};
use tepui_core::allocator::{Allocator, Change};
use tepui_core::quota::Quota;
use tepui_core::resources::{Ceilings, Quantities};
use tepui_core::roles::Role;

use super::{Line, Size, Workload, workload};
use crate::memory;
use crate::rig::{Rig, Took, agent_added, bag, framework_added, role, timed};

const AGENT: &str = "cpus:2;mem:2048;disk:2048";
/// The most that the engine may take with 3,000 roles, in bytes.
const MOST_MEMORY: usize = 200_000_000;

pub(super) fn workloads() -> Vec<Workload> {
    vec![
        workload("quota, chopping 30", Size::Usual, || {
            chopping(25, 5, [3.2, 3.7, 1.8])
        }),
        workload("quota, chopping 300", Size::Usual, || {
            chopping(250, 50, [102.0, 71.0, 56.0])
        }),
        workload("quota, chopping 3000", Size::Large, || {
            chopping(2_500, 500, [13_600.0, 12_600.0, 9_700.0])
        }),
        workload("quota or not 1000", Size::Large, || {
            whole_agents(1_000, [2_400.0, 131.0, 65.0])
        }),
        workload("admission 5000/200", Size::Usual, admission),
    ]
}

fn quota(text: &str) -> Quota {
    Quota {
        guarantees: Quantities::parse(text).expect("benchmarks write quotas well"),
        limits: Ceilings::parse(text).expect("benchmarks write quotas well"),
    }
}

fn quota_set(role: Role, text: &str) -> Change {
    let quota = quota(text);
    Change::QuotaSet { role, quota }
}

/// Small roles that need half an agent, large ones that need two.
fn chopping(small: usize, large: usize, mesos: [f64; 3]) -> anyhow::Result<Vec<Line>> {
    let roles: Vec<Role> = (0..small)
        .map(|n| role(&format!("small-{n}")))
        .chain((0..large).map(|n| role(&format!("large-{n}"))))
        .collect();
    let of = |n: usize| match n < small {
        true => "cpus:1;mem:1024;disk:1024",
        false => "cpus:4;mem:4096;disk:4096",
    };
    let agents = small / 5 + 5 * large;
    let name = format!("quota, chopping {} roles", roles.len());
    let cluster = Cluster {
        agents,
        frameworks: (0..roles.len()).map(|n| roles[n].clone()).collect(),
        quotas: roles
            .iter()
            .cloned()
            .enumerate()
            .map(|(n, it)| (it, of(n)))
            .collect(),
    };
    let found = cluster.run()?;
    let offers = found.offers;
    ensure!(
        (small + 2 * large..=small + 4 * large).contains(&offers),
        "{name}: {offers} offers"
    );
    let mut lines = found.lines(&name, mesos, offers);
    if roles.len() == 3_000 {
        let (live, peak) = (found.live, found.peak);
        ensure!(
            live.max(peak) < MOST_MEMORY,
            "{name}: {live} bytes, {peak} at the most"
        );
        let last = lines.pop().context("a cycle was timed")?;
        lines.push(last.noting(format!(
            "memory of the engine: {:.1} MB, at most {:.1} (Mesos: 5300)",
            live as f64 / 1e6,
            peak as f64 / 1e6
        )));
    }
    Ok(lines)
}

/// Roles that need two whole agents each.
fn whole_agents(roles: usize, mesos: [f64; 3]) -> anyhow::Result<Vec<Line>> {
    let named = |n: usize| role(&format!("role-{n}"));
    let cluster = Cluster {
        agents: 2 * roles,
        frameworks: (0..2 * roles).map(|n| named(n / 2)).collect(),
        quotas: (0..roles)
            .map(|n| (named(n), "cpus:4;mem:4096;disk:4096"))
            .collect(),
    };
    let name = format!("quota or not, {roles} roles");
    Ok(cluster.run()?.lines(&name, mesos, 2 * roles))
}

struct Cluster {
    agents: usize,
    /// The role of each framework.
    frameworks: Vec<Role>,
    quotas: Vec<(Role, &'static str)>,
}

/// What was timed on a cluster.
struct Found {
    added: Took,
    quotas: Took,
    first: Took,
    offers: usize,
    next: Took,
    live: usize,
    peak: usize,
}

impl Cluster {
    fn run(self) -> anyhow::Result<Found> {
        memory::restart_peak();
        let before = memory::live();
        let mut rig = Rig::default();
        rig.add_agents(self.agents, &bag(AGENT));
        let roles = self.frameworks.into_iter().enumerate();
        let frameworks: Vec<Change> = roles.map(|(n, role)| framework_added(n, role)).collect();
        let added = timed(|| rig.tell_all(frameworks)).1;
        let quotas = self.quotas.iter();
        let quotas: Vec<Change> = quotas
            .map(|(role, text)| quota_set(role.clone(), text))
            .collect();
        let quotas = timed(|| rig.tell_all(quotas)).1;
        let first = rig.cycle();
        let offers = rig.grants.len();
        for (role, text) in &self.quotas {
            check_has(&rig, role, &quota(text).guarantees)?;
        }
        let next = rig.forced_cycle();
        ensure!(rig.grants.len() == offers, "there was nothing left to give");
        Ok(Found {
            added,
            quotas,
            first,
            offers,
            next,
            live: memory::live().saturating_sub(before),
            peak: memory::peak().saturating_sub(before),
        })
    }
}

impl Found {
    fn lines(&self, name: &str, mesos: [f64; 3], offers: usize) -> Vec<Line> {
        vec![
            Line::new(format!("{name}, add frameworks"), mesos[0], self.added),
            Line::new(format!("{name}, first cycle"), mesos[1], self.first)
                .after(self.quotas)
                .found(self.offers, 0)
                .expecting(offers, 0),
            Line::new(format!("{name}, next cycle, by force"), mesos[2], self.next).expecting(0, 0),
        ]
    }
}

/// Sees to it that a role has exactly so much.
fn check_has(rig: &Rig, role: &Role, guarantees: &Quantities) -> anyhow::Result<()> {
    let roles = rig.drf.roles();
    let figures = roles.iter().find(|it| it.role == *role);
    let booked = &figures.context("a role with quota is known")?.booked;
    ensure!(
        booked == guarantees,
        "{role} has {booked} and not {guarantees}"
    );
    Ok(())
}

/// Agents that come to roles with quota, which get theirs at once; then all figures are read.
fn admission() -> anyhow::Result<Vec<Line>> {
    const AGENTS: usize = 5_000;
    const ROLES: usize = 200;
    let named = |n: usize| role(&format!("role-{n}"));
    let text = "cpus:1;mem:512;disk:256";
    let mut rig = Rig::default();
    rig.tell_all((0..ROLES).map(|n| quota_set(named(n), text)));
    rig.add_frameworks(ROLES, named);
    let total = bag("cpus:16;mem:2048;disk:1024");
    let agents: Vec<Change> = (0..AGENTS).map(|n| agent_added(n, total.clone())).collect();
    let ((), added) = timed(|| {
        rig.tell_all(agents);
        rig.passes();
    });
    let (offers, guarantees) = (rig.grants.len(), quota(text).guarantees);
    (0..ROLES).try_for_each(|n| check_has(&rig, &named(n), &guarantees))?;
    ensure!(offers >= ROLES, "{offers} offers");
    let snapshots = |_| timed(|| parse_figures(&figures(&rig)));
    let (read, samples): (Vec<_>, Vec<Took>) = (0..21).map(snapshots).unzip();
    for read in read {
        let read = read?;
        ensure!(read >= ROLES * 3, "only {read} figures were read");
    }
    Ok(vec![
        Line::new(
            format!("quota at admission {AGENTS}/{ROLES}"),
            2_810.0,
            added,
        )
        .found(offers, rig.filters())
        .expecting(offers, 0),
        Line::new(
            format!("metrics {AGENTS}/{ROLES}, as text and read back"),
            18.2,
            Took::median(&samples),
        ),
    ])
}

/// Writes all figures down, one in a line.
fn figures(rig: &Rig) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &Quantities| {
        writeln!(text, "{name} {value}").expect("a string takes everything");
    };
    let stats = rig.drf.stats();
    line("total", &stats.total);
    line("booked", &stats.booked);
    line("required", &stats.required_headroom);
    line("available", &stats.available_headroom);
    for figures in rig.drf.roles() {
        line("role/booked", &figures.booked);
        line("role/consumed", &figures.consumed);
        line("role/reserved", &figures.reserved);
        line("role/guarantees", &figures.quota.guarantees);
    }
    text
}

/// Reads figures back; returns how many numbers there are.
fn parse_figures(text: &str) -> anyhow::Result<usize> {
    let mut read = 0;
    for line in text.lines() {
        let (_, value) = line.split_once(' ').context("a name and a value")?;
        read += Quantities::parse(value)?.iter().count();
    }
    Ok(read)
}

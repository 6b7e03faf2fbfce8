//! Services, builds and batch jobs on one cluster, until all their tasks run.
//!
//! Mesos: `MultiFrameworkAllocations`. What Mesos tells a time for is the first cycle; the rest
//! shows that all get there, without a time of Mesos beside it. For that, what comes back goes to
//! the next at once: were it looked at only once an interval, those who have all that they want
//! would be offered everything each time, for they have least, and return it without refusal.
//!
//! Deliberately not here: tasks that end.

use anyhow::ensure;
use tepui_core::allocator::{Change, Grant};
use tepui_core::resources::Resources;
use tepui_core::roles::Role;

use super::{Line, Size, Workload, workload};
use crate::rig::{Rig, bag, role, timed};

const AGENTS: usize = 80;
/// Cycles after which it is given up. Mesos has thirty seconds.
const MOST_CYCLES: usize = 1_000;

pub(super) fn workloads() -> Vec<Workload> {
    vec![workload("mix", Size::Usual, mix)]
}

/// A framework, and what it still has to do.
struct Job {
    role: Role,
    task: Resources,
    left: usize,
    at_once: usize,
}

fn jobs() -> Vec<Job> {
    let job = |role: Role, task: &str, left, at_once| {
        let task = bag(task);
        Job {
            role,
            task,
            left,
            at_once,
        }
    };
    let services = (0..4).map(|n| {
        let role = role(&format!("service-{n}"));
        job(role, "cpus:0.07;mem:400", 4_000, 100)
    });
    let builds = (0..500).map(|_| job(role("builds"), "cpus:0.1;mem:4000", 5, 1));
    let batches = (0..50).map(|n| {
        let role = role(&format!("batch-{n}"));
        job(role, "cpus:1;mem:1000", 20, 5)
    });
    services.chain(builds).chain(batches).collect()
}

fn mix() -> anyhow::Result<Vec<Line>> {
    let mut jobs = jobs();
    let mut rig = Rig::default();
    rig.add_agents(AGENTS, &bag("cpus:64;mem:488000"));
    rig.add_frameworks(jobs.len(), |n| jobs[n].role.clone());
    let first = rig.cycle();
    let offers = rig.grants.len();
    let (mut all, mut cycles) = (first, 1);
    while jobs.iter().any(|job| job.left > 0) {
        ensure!(cycles < MOST_CYCLES, "after {cycles} cycles tasks are left");
        while !rig.grants.is_empty() {
            for grant in std::mem::take(&mut rig.grants) {
                answer(&mut rig, &mut jobs, grant);
            }
            all = all.and(timed(|| rig.passes()).1);
        }
        all = all.and(rig.cycle());
        cycles += 1;
    }
    Ok(vec![
        Line::new("mix, first cycle", 2.6, first)
            .found(offers, 0)
            .expecting(AGENTS, 0),
        Line::ours(
            format!("mix, all {cycles} cycles until 19500 tasks run"),
            all,
        )
        .found(rig.grants.len(), rig.filters()),
    ])
}

/// Launches what fits and is left to do, and gives the rest back.
fn answer(rig: &mut Rig, jobs: &mut [Job], grant: Grant) {
    let job = &mut jobs[grant.framework.index() as usize];
    let (mut rest, mut taken) = (grant.resources, Resources::new());
    for _ in 0..job.at_once.min(job.left) {
        if rest.subtract(&job.task).is_err() {
            break;
        }
        taken.add(&job.task).expect("it is a part of an offer");
        job.left -= 1;
    }
    let Grant {
        framework,
        role,
        agent,
        ..
    } = grant;
    rig.tell(Change::Accepted {
        framework,
        role: role.clone(),
        agent,
        grants: grant.id.into(),
        resources: taken,
    });
    rig.tell(Change::Returned {
        framework,
        role,
        agent,
        resources: rest,
        grants: grant.id.into(),
        refuse: None,
    });
}

//! What the offer engine takes at 50,000 agents, 1,000 frameworks and 100 roles.
//!
//! `cargo bench -p tepui-benches --bench allocator` prints a table: each case's median of 7 by the
//! clock and by the time that the kernel gave the thread (exact to a few milliseconds; what counts
//! on a busy machine), the longest slice where a pass is made in slices, and the budget.
//! `-- AGENTS FRAMEWORKS` asks for another size. Everything runs on one thread without master,
//! network or disk.
//!
//! Deliberately not here: Mesos' own workloads.

#![allow(clippy::print_stdout, reason = "the table is what this is for")]
#![allow(
    clippy::unwrap_used,
    reason = "a failed unwrap is a failed measurement"
)]

use std::time::{Duration, Instant};

use tepui_core::allocator::drf::{Drf, Options};
use tepui_core::allocator::{
    AgentTraits, Allocator, Booking, Change, Decision, FrameworkProfile, Grant,
};
use tepui_core::attributes::Attributes;
use tepui_core::constraints::{Constraint, Constraints, Predicate, Selector};
use tepui_core::keys::{AgentKey, FrameworkKey};
use tepui_core::machine::{Machine, Never, Outbox, Output};
use tepui_core::quota::Quota;
use tepui_core::resources::{Ceilings, Quantities, Resources};
use tepui_core::roles::Role;
use tepui_core::time::Time;

const SAMPLES: usize = 7;
const ROLES: u32 = 100;
const ROLES_WITH_QUOTA: u32 = 20;
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// An allocator, the time, and what it granted.
struct Rig {
    drf: Drf,
    now: Time,
    out: Outbox<Never, Decision>,
    grants: Vec<Grant>,
    frameworks: u32,
}

/// How long passes took: all slices together by the clock and on a processor, and the longest.
#[derive(Clone, Copy, Default)]
struct Took {
    all: Duration,
    on_cpu: Duration,
    slice: Duration,
}

impl Rig {
    fn new(agents: u32, frameworks: u32) -> Self {
        let mut rig = Self {
            drf: Drf::new(Options::default()),
            now: Time::ZERO,
            out: Outbox::new(),
            grants: Vec::new(),
            frameworks,
        };
        for role in 0..ROLES_WITH_QUOTA {
            let quota = Quota {
                guarantees: Quantities::parse("cpus:2400;mem:409600").unwrap(),
                limits: Ceilings::parse("cpus:240000").unwrap(),
            };
            rig.tell(Change::QuotaSet {
                role: role_of(role),
                quota,
            });
        }
        for n in 0..frameworks {
            let mut profile = FrameworkProfile::new(format!("f{n:04}"), [role_of(n)]);
            profile.roles[0].constraints = (n % 10 == 3).then(|| rack(n / 10));
            // The last one never finds enough.
            if n == frameworks - 1 {
                let enough = Quantities::parse("cpus:1000").unwrap();
                profile.roles[0].min_allocatable = Some(vec![enough]);
            }
            rig.tell(Change::FrameworkAdded {
                framework: FrameworkKey::from_raw(n, 0),
                profile,
            });
        }
        let total = Resources::parse("cpus:24;mem:4096;disk:4096;ports:[31000-32000]").unwrap();
        for n in 0..agents {
            rig.tell(Change::AgentAdded {
                agent: AgentKey::from_raw(n, 0),
                total: total.clone(),
                traits: AgentTraits {
                    hostname: format!("agent-{n}"),
                    attributes: Attributes::parse(&format!("rack:r{}", n % 10)).unwrap(),
                    ..AgentTraits::default()
                },
            });
        }
        rig
    }

    fn tell(&mut self, change: Change) {
        self.drf.handle(self.now, change, &mut self.out);
    }

    /// Makes the passes that are due, slice by slice, and keeps what they granted.
    fn passes(&mut self) -> Took {
        let mut took = Took::default();
        let before = on_cpu();
        while self.drf.deadline().is_some_and(|due| due <= self.now) {
            let start = Instant::now();
            self.drf.tick(self.now, &mut self.out);
            let slice = start.elapsed();
            took.all += slice;
            took.slice = took.slice.max(slice);
            for output in self.out.drain() {
                if let Output::Effect(Decision::Grant(grant)) = output {
                    self.grants.push(grant);
                }
            }
        }
        took.on_cpu = on_cpu().saturating_sub(before);
        took
    }

    /// Declines everything that was granted.
    fn decline(&mut self) {
        for grant in std::mem::take(&mut self.grants) {
            self.tell(returned(grant, Some(YEAR)));
        }
    }

    fn revive(&mut self, framework: u32, roles: Vec<Role>) {
        self.tell(Change::Revived {
            framework: FrameworkKey::from_raw(framework, 0),
            roles,
        });
    }
}

fn returned(grant: Grant, refuse: Option<Duration>) -> Change {
    Change::Returned {
        framework: grant.framework,
        role: grant.role,
        agent: grant.agent,
        resources: grant.resources,
        from: Booking::Offered,
        refuse,
    }
}

fn role_of(framework: u32) -> Role {
    Role::new(&format!("role-{:02}", framework % ROLES)).unwrap()
}

/// Asks for one rack of ten.
fn rack(n: u32) -> Constraints {
    let constraint = Constraint {
        selector: Selector::Attribute("rack".into()),
        predicate: Predicate::TextEquals(format!("r{}", n % 10)),
    };
    Constraints::new(vec![vec![constraint]]).unwrap()
}

fn median(mut samples: Vec<Took>) -> Took {
    let slice = samples.iter().map(|it| it.slice).max().unwrap_or_default();
    let middle = samples.len() / 2;
    samples.sort_by_key(|it| it.on_cpu);
    let on_cpu = samples[middle].on_cpu;
    samples.sort_by_key(|it| it.all);
    Took {
        all: samples[middle].all,
        on_cpu,
        slice,
    }
}

/// How long this thread has run on a processor.
fn on_cpu() -> Duration {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = told.split(' ').next().and_then(|it| it.parse().ok());
    Duration::from_nanos(nanos.unwrap_or(0))
}

fn print(case: &str, took: Took, budget: &str) {
    println!(
        "{case:<58} {:>10.3} ms {:>10.3} ms {:>10.3} ms   {budget}",
        took.all.as_secs_f64() * 1e3,
        took.on_cpu.as_secs_f64() * 1e3,
        took.slice.as_secs_f64() * 1e3,
    );
}

fn resident_mib() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm
        .split(' ')
        .nth(1)
        .and_then(|it| it.parse::<u64>().ok());
    pages.unwrap_or(0) * 4096 / (1024 * 1024)
}

fn cold(agents: u32, frameworks: u32) -> Took {
    let sample = |_| {
        let mut rig = Rig::new(agents, frameworks);
        let took = rig.passes();
        assert_eq!(rig.grants.len(), agents as usize);
        took
    };
    median((0..SAMPLES).map(sample).collect())
}

/// One grant comes back and goes to the next; nothing else is free.
fn one_return(rig: &mut Rig) -> Took {
    let sample = |n: usize| {
        let grant = rig.grants.swap_remove(n * 101 % rig.grants.len());
        let before = rig.grants.len();
        let start = Instant::now();
        rig.tell(returned(grant, None));
        let told = start.elapsed();
        let took = rig.passes();
        assert_eq!(rig.grants.len(), before + 1);
        Took {
            all: told + took.all,
            on_cpu: took.on_cpu,
            slice: told + took.all,
        }
    };
    median((0..SAMPLES * 10).map(sample).collect())
}

/// Everybody declines everything once.
fn decline_all(rig: &mut Rig) -> (u64, Duration) {
    let (mut declined, start) = (0, Instant::now());
    loop {
        while !rig.grants.is_empty() {
            declined += rig.grants.len() as u64;
            rig.decline();
            let _took = rig.passes();
        }
        // What was held back for others while they held it comes a little later.
        let soon = rig.now + 2 * Options::default().interval;
        match rig.drf.deadline().filter(|due| *due <= soon) {
            Some(due) => rig.now = due,
            None => break,
        }
        let _took = rig.passes();
    }
    (declined, start.elapsed())
}

fn idle(rig: &mut Rig) -> Took {
    let sample = |_| {
        // A wish in a role that is not its own: all is looked at, and nothing is found.
        rig.revive(0, vec![Role::any()]);
        let took = rig.passes();
        assert!(rig.grants.is_empty());
        took
    };
    median((0..SAMPLES).map(sample).collect())
}

/// The framework that never finds enough looks at everything again.
fn one_revived(rig: &mut Rig) -> Took {
    let sample = |_| {
        let start = Instant::now();
        rig.revive(rig.frameworks - 1, Vec::new());
        let told = start.elapsed();
        let mut took = rig.passes();
        took.all += told;
        assert!(rig.grants.is_empty());
        took
    };
    median((0..SAMPLES).map(sample).collect())
}

/// So many frameworks want everything again, and get it.
fn revived(rig: &mut Rig, count: u32) -> Took {
    let sample = |_| {
        let start = Instant::now();
        for n in 0..count {
            rig.revive(n, Vec::new());
        }
        let told = start.elapsed();
        let mut took = rig.passes();
        took.all += told;
        assert!(!rig.grants.is_empty());
        let _declined = decline_all(rig);
        took
    };
    median((0..3).map(sample).collect())
}

fn main() {
    let mut numbers = std::env::args().skip(1).filter_map(|it| it.parse().ok());
    let agents = numbers.next().unwrap_or(50_000);
    let frameworks = numbers.next().unwrap_or(1_000);
    println!("{agents} agents, {frameworks} frameworks, {ROLES} roles; median of {SAMPLES}");
    println!(
        "{:<58} {:>13} {:>13} {:>13}   budget",
        "case", "time", "on CPU", "longest slice"
    );
    print("cold full pass", cold(agents, frameworks), "60 ms");

    let mut rig = Rig::new(agents, frameworks);
    let _took = rig.passes();
    let before = resident_mib();
    print(
        "one return, to the next grant",
        one_return(&mut rig),
        "0.050 ms",
    );
    let (declined, took) = decline_all(&mut rig);
    let (filters, memory) = (rig.drf.stats().filters, resident_mib());
    print("idle pass, everything declined", idle(&mut rig), "2 ms");
    print(
        "one framework revived, nothing fits",
        one_revived(&mut rig),
        "5 ms",
    );
    print(
        "one framework revived, everything is offered to it",
        revived(&mut rig, 1),
        "",
    );
    let third = frameworks * 3 / 10;
    print(
        "30 % of frameworks revived, everything is offered to them",
        revived(&mut rig, third),
        "150 ms, slices 10 ms",
    );
    println!(
        "memory: {memory} MiB with {filters} refusals, {before} MiB before (budget 1536); \
         {:.2} us for a decline and the next grant",
        took.as_secs_f64() * 1e6 / declined as f64
    );
}

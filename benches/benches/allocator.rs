//! What the offer engine takes at 50,000 agents, 1,000 frameworks and 100 roles.
//!
//! `cargo bench -p tepui-benches --bench allocator` prints a table: each case's median of 7 by the
//! clock and on the processor (what counts on a busy machine), the longest slice of all samples by
//! both, and the budget. A case begins with the change that causes it and ends with the last grant.
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

use nix::time::{ClockId, clock_gettime};
use tepui_core::allocator::drf::{Drf, Options};
use tepui_core::allocator::{AgentTraits, Allocator, Change, Decision, FrameworkProfile, Grant};
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

/// How long something took by the clock and on the processor, and the longest slice of it.
#[derive(Clone, Copy, Default)]
struct Took {
    all: Duration,
    on_cpu: Duration,
    slice: Duration,
    slice_on_cpu: Duration,
}

/// When something began, by the clock and on the processor.
struct Stopwatch(Instant, Duration);

impl Stopwatch {
    fn start() -> Self {
        Self(Instant::now(), on_cpu())
    }

    fn stop(&self) -> (Duration, Duration) {
        (self.0.elapsed(), on_cpu().saturating_sub(self.1))
    }
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
            // The last one never finds enough.
            let least = (n == frameworks - 1).then(|| vec!["cpus:1000".to_owned()]);
            rig.tell(Change::FrameworkAdded {
                framework: FrameworkKey::from_raw(n, 0),
                profile: profile(n, least),
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

    /// Tells of changes, makes the passes that are due, slice by slice, and keeps what they
    /// granted.
    fn time(&mut self, changes: impl IntoIterator<Item = Change>) -> Took {
        let mut took = Took::default();
        let told = Stopwatch::start();
        for change in changes {
            self.tell(change);
        }
        (took.all, took.on_cpu) = told.stop();
        while self.drf.deadline().is_some_and(|due| due <= self.now) {
            let slice = Stopwatch::start();
            self.drf.tick(self.now, &mut self.out);
            let (by_clock, on_cpu) = slice.stop();
            took.all += by_clock;
            took.on_cpu += on_cpu;
            took.slice = took.slice.max(by_clock);
            took.slice_on_cpu = took.slice_on_cpu.max(on_cpu);
            for output in self.out.drain() {
                if let Output::Effect(Decision::Grant(grant)) = output {
                    self.grants.push(grant);
                }
            }
        }
        took
    }

    fn passes(&mut self) -> Took {
        self.time([])
    }

    /// Declines everything that was granted.
    fn decline(&mut self) {
        for grant in std::mem::take(&mut self.grants) {
            self.tell(returned(grant, Some(YEAR)));
        }
    }

    /// Has some frameworks, who have declined nothing yet, want something or not: all that they
    /// hold comes back, and is not wanted by the others.
    fn suppress(&mut self, count: u32) {
        for n in 0..count {
            self.tell(Change::Suppressed {
                framework: FrameworkKey::from_raw(n, 0),
                roles: Vec::new(),
            });
        }
        for grant in std::mem::take(&mut self.grants) {
            self.tell(returned(grant, None));
        }
        let _took = self.passes();
        assert!(self.grants.is_empty(), "all others declined it");
    }
}

fn revived(framework: u32, roles: Vec<Role>) -> Change {
    Change::Revived {
        framework: FrameworkKey::from_raw(framework, 0),
        roles,
    }
}

/// What a framework is like; one in ten wants a certain rack.
fn profile(n: u32, least: Option<Vec<String>>) -> FrameworkProfile {
    let mut profile = FrameworkProfile::new(format!("f{n:04}"), [role_of(n)]);
    profile.roles[0].constraints = (n % 10 == 3).then(|| rack(n / 10));
    profile.roles[0].min_allocatable = least.map(|sets| {
        let sets = sets.iter().map(|set| Quantities::parse(set));
        sets.collect::<Result<_, _>>().unwrap()
    });
    profile
}

fn returned(grant: Grant, refuse: Option<Duration>) -> Change {
    Change::Returned {
        framework: grant.framework,
        role: grant.role,
        agent: grant.agent,
        resources: grant.resources,
        grants: grant.id.into(),
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
    let middle = samples.len() / 2;
    samples.sort_by_key(|it| it.on_cpu);
    let on_cpu = samples[middle].on_cpu;
    samples.sort_by_key(|it| it.all);
    let longest = |of: fn(&Took) -> Duration| samples.iter().map(of).max().unwrap_or_default();
    Took {
        all: samples[middle].all,
        on_cpu,
        slice: longest(|it| it.slice),
        slice_on_cpu: longest(|it| it.slice_on_cpu),
    }
}

/// How long this thread has run on a processor.
fn on_cpu() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)
        .unwrap()
        .into()
}

fn print(case: &str, took: Took, budget: &str) {
    let [all, on_cpu, slice, slice_on_cpu] =
        [took.all, took.on_cpu, took.slice, took.slice_on_cpu].map(|it| it.as_secs_f64() * 1e3);
    println!("{case:<62} {all:>9.3} {on_cpu:>9.3} {slice:>9.3} {slice_on_cpu:>9.3}   {budget}");
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
        let took = rig.time([returned(grant, None)]);
        assert_eq!(rig.grants.len(), before + 1);
        took
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
        let took = rig.time([revived(0, vec![Role::any()])]);
        assert!(rig.grants.is_empty());
        took
    };
    median((0..SAMPLES).map(sample).collect())
}

/// The framework that never finds enough looks at everything again.
fn one_revived(rig: &mut Rig) -> Took {
    let sample = |_| {
        let took = rig.time([revived(rig.frameworks - 1, Vec::new())]);
        assert!(rig.grants.is_empty());
        took
    };
    median((0..SAMPLES).map(sample).collect())
}

/// So many frameworks want everything again, and get it.
fn some_revived(rig: &mut Rig, count: u32) -> Took {
    let sample = |_| {
        rig.suppress(count);
        let took = rig.time((0..count).map(|n| revived(n, Vec::new())));
        assert!(!rig.grants.is_empty());
        took
    };
    let took = median((0..SAMPLES).map(sample).collect());
    rig.suppress(count);
    took
}

/// So many frameworks want everything again, and each finds too little everywhere.
fn none_served(rig: &mut Rig, count: u32, least: impl Fn(u32) -> Vec<String>) -> Took {
    for n in 0..count {
        rig.tell(Change::FrameworkChanged {
            framework: FrameworkKey::from_raw(n, 0),
            profile: profile(n, Some(least(n))),
        });
    }
    let _took = rig.passes();
    let sample = |_| {
        let took = rig.time((0..count).map(|n| revived(n, Vec::new())));
        assert!(rig.grants.is_empty());
        took
    };
    median((0..SAMPLES).map(sample).collect())
}

fn main() {
    let mut numbers = std::env::args().skip(1).filter_map(|it| it.parse().ok());
    let agents = numbers.next().unwrap_or(50_000);
    let frameworks = numbers.next().unwrap_or(1_000);
    println!(
        "{agents} agents, {frameworks} frameworks, {ROLES} roles; median of {SAMPLES}, milliseconds"
    );
    println!(
        "{:<62} {:>9} {:>9} {:>9} {:>9}   budget",
        "case", "time", "on CPU", "slice", "on CPU"
    );
    print("cold full pass", cold(agents, frameworks), "60");

    let mut rig = Rig::new(agents, frameworks);
    let _took = rig.passes();
    let before = resident_mib();
    print(
        "one return, to the next grant",
        one_return(&mut rig),
        "0.050",
    );
    let (declined, took) = decline_all(&mut rig);
    let (filters, memory) = (rig.drf.stats().filters, resident_mib());
    print("idle pass, everything declined", idle(&mut rig), "2");
    print(
        "one framework revived, nothing fits",
        one_revived(&mut rig),
        "5",
    );
    print(
        "one framework revived, everything is offered to it",
        some_revived(&mut rig, 1),
        "",
    );
    let third = frameworks * 3 / 10;
    let budget = "150, slices of at most 10";
    print(
        "30 % of all pairs interested, all is taken",
        some_revived(&mut rig, third),
        budget,
    );
    print(
        "30 % of all pairs interested, nothing fits",
        none_served(&mut rig, third, |_| vec!["cpus:1000".into()]),
        budget,
    );
    print(
        "30 % of all pairs interested, nothing fits, each its own",
        none_served(&mut rig, third, |n| vec![format!("cpus:{}", 1_000 + n)]),
        budget,
    );
    // With a choice of two each, every pair is looked at.
    print(
        "30 % of all pairs interested, nothing fits, each is looked at",
        none_served(&mut rig, third, |n| {
            vec![
                format!("cpus:{}", 1_000 + n),
                format!("mem:{}", 1_000_000 + n),
            ]
        }),
        budget,
    );
    println!(
        "memory: {memory} MiB with {filters} refusals, {before} MiB before (budget 1536); \
         {:.2} us for a decline and the next grant",
        took.as_secs_f64() * 1e6 / declined as f64
    );
}

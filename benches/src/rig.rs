//! An allocator in the hand: time goes as it is told, and what is granted is kept.
//!
//! The benchmarks of the offer engine drive it. Everything happens on one thread, without master,
//! network and disk. Deliberately not here: what is told, and tables.

use std::time::{Duration, Instant};

use nix::time::ClockId;
use tepui_core::allocator::drf::{Drf, Options};
use tepui_core::allocator::{
    AgentTraits, Allocator, Change, Decision, FrameworkCapabilities, FrameworkProfile, Grant,
};
use tepui_core::keys::{AgentKey, FrameworkKey};
use tepui_core::machine::{Machine, Never, Outbox, Output};
use tepui_core::resources::Resources;
use tepui_core::roles::Role;
use tepui_core::time::Time;

/// As long as anything lasts.
pub const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// How long something took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Took {
    /// By the clock.
    pub wall: Duration,
    /// On a processor; what counts on a busy machine.
    pub cpu: Duration,
}

impl Took {
    /// Adds another one up.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            wall: self.wall + other.wall,
            cpu: self.cpu + other.cpu,
        }
    }

    /// Returns the median of each, of an odd number.
    pub fn median(samples: &[Self]) -> Self {
        let middle = |of: fn(&Self) -> Duration| {
            let mut all: Vec<Duration> = samples.iter().map(of).collect();
            all.sort_unstable();
            all.get(all.len() / 2).copied().unwrap_or_default()
        };
        Self {
            wall: middle(|it| it.wall),
            cpu: middle(|it| it.cpu),
        }
    }
}

/// Times something.
pub fn timed<T>(work: impl FnOnce() -> T) -> (T, Took) {
    let (cpu, wall) = (on_cpu(), Instant::now());
    let result = work();
    let wall = wall.elapsed();
    let cpu = on_cpu().saturating_sub(cpu);
    (result, Took { wall, cpu })
}

fn on_cpu() -> Duration {
    let clock = ClockId::CLOCK_THREAD_CPUTIME_ID;
    let now = clock.now().expect("the kernel counts the time of threads");
    Duration::from(now)
}

/// An allocator, the time, and what it granted.
#[derive(Debug)]
pub struct Rig {
    /// It itself.
    pub drf: Drf,
    /// What it granted and was not taken from here.
    pub grants: Vec<Grant>,
    now: Time,
    interval: Duration,
    out: Outbox<Never, Decision>,
}

impl Default for Rig {
    fn default() -> Self {
        Self::new(Options::default())
    }
}

impl Rig {
    /// Makes one that knows nobody.
    pub fn new(options: Options) -> Self {
        Self {
            grants: Vec::new(),
            now: Time::ZERO,
            interval: options.interval,
            out: Outbox::new(),
            drf: Drf::new(options),
        }
    }

    /// Tells it something that happens now. All of one moment belongs together, so there is no pass
    /// until [`Rig::passes`] or [`Rig::cycle`].
    pub fn tell(&mut self, change: Change) {
        self.drf.handle(self.now, change, &mut self.out);
    }

    /// Tells it several things.
    pub fn tell_all(&mut self, changes: impl IntoIterator<Item = Change>) {
        for change in changes {
            self.tell(change);
        }
    }

    /// Lets it make the passes that are due, until nothing is, and takes over what it granted.
    pub fn passes(&mut self) {
        while self.drf.deadline().is_some_and(|due| due <= self.now) {
            self.drf.tick(self.now, &mut self.out);
            for output in self.out.drain() {
                if let Output::Effect(Decision::Grant(grant)) = output {
                    self.grants.push(grant);
                }
            }
        }
    }

    /// Lets an interval go by, then makes the passes that are due; times them.
    pub fn cycle(&mut self) -> Took {
        self.now = self.now + self.interval;
        timed(|| self.passes()).1
    }

    /// Has everything looked at that anybody may want, even if nothing has changed: somebody wants
    /// offers in a role that is not its own. Times it with the pass.
    pub fn forced_cycle(&mut self) -> Took {
        self.now = self.now + self.interval;
        let roles = vec![role("nobody")];
        timed(|| {
            self.tell(Change::Revived {
                framework: framework(0),
                roles,
            });
            self.passes();
        })
        .1
    }

    /// Returns everything that was granted, refused for so long. Times it.
    pub fn decline(&mut self, refuse: Option<Duration>) -> Took {
        let grants = std::mem::take(&mut self.grants);
        timed(|| self.tell_all(grants.into_iter().map(|it| returned(it, refuse)))).1
    }

    /// Adds frameworks from 0 on, each in one role.
    pub fn add_frameworks(&mut self, count: usize, role_of: impl Fn(usize) -> Role) {
        for n in 0..count {
            self.tell(framework_added(n, role_of(n)));
        }
    }

    /// Adds agents from 0 on, all alike and unused.
    pub fn add_agents(&mut self, count: usize, total: &Resources) {
        for n in 0..count {
            self.tell(agent_added(n, total.clone()));
        }
    }

    /// Returns how many refusals are in force.
    pub fn filters(&self) -> usize {
        self.drf.stats().filters
    }
}

/// Names an agent.
pub fn agent(n: usize) -> AgentKey {
    AgentKey::from_raw(u32::try_from(n).expect("benchmarks are smaller"), 0)
}

/// Names a framework.
pub fn framework(n: usize) -> FrameworkKey {
    FrameworkKey::from_raw(u32::try_from(n).expect("benchmarks are smaller"), 0)
}

/// Names a role.
pub fn role(text: &str) -> Role {
    Role::new(text).expect("benchmarks name roles well")
}

/// Reads resources.
pub fn bag(text: &str) -> Resources {
    Resources::parse(text).expect("benchmarks write resources well")
}

/// Says what an agent is like.
pub fn traits(n: usize) -> AgentTraits {
    AgentTraits {
        hostname: format!("agent-{n}"),
        ..AgentTraits::default()
    }
}

/// Says that an agent joined.
pub fn agent_added(n: usize, total: Resources) -> Change {
    Change::AgentAdded {
        agent: agent(n),
        total,
        traits: traits(n),
    }
}

/// Says that a framework joined that can cope with everything.
pub fn framework_added(n: usize, role: Role) -> Change {
    let mut profile = FrameworkProfile::new(format!("framework-{n:04}"), [role]);
    profile.capabilities = FrameworkCapabilities::ALL;
    Change::FrameworkAdded {
        framework: framework(n),
        profile,
    }
}

/// Says that a grant came back.
pub fn returned(grant: Grant, refuse: Option<Duration>) -> Change {
    Change::Returned {
        framework: grant.framework,
        role: grant.role,
        agent: grant.agent,
        resources: grant.resources,
        grants: grant.id.into(),
        refuse,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_declined_goes_to_the_next_and_then_to_nobody() {
        let mut rig = Rig::default();
        rig.add_frameworks(2, |_| Role::any());
        rig.add_agents(3, &bag("cpus:2;mem:64"));
        let _took = rig.cycle();
        for declined in 1..=2 {
            assert_eq!(rig.grants.len(), 3);
            let _took = rig.decline(Some(YEAR));
            let _took = rig.cycle();
            assert_eq!(rig.filters(), 3 * declined);
        }
        assert!(rig.grants.is_empty());
        let _took = rig.forced_cycle();
        assert!(rig.grants.is_empty());
    }

    #[test]
    fn a_median_is_in_the_middle_of_each() {
        let took = |wall, cpu| Took {
            wall: Duration::from_secs(wall),
            cpu: Duration::from_secs(cpu),
        };
        let median = Took::median(&[took(3, 1), took(1, 5), took(2, 9)]);
        assert_eq!((median.wall.as_secs(), median.cpu.as_secs()), (2, 5));
    }
}

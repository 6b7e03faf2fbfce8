//! What a simulated cluster is like: sizes, delays, faults. All chance comes from one seed.
//!
//! Read by every part of the simulator; written by its users.

use alloc::boxed::Box;
use core::time::Duration;

use crate::allocator::Allocator;
use crate::allocator::drf::{self, Drf};
use crate::protocol::task::CommandInfo;
use crate::resources::Resources;
use crate::rng::Rng;

/// How a cluster is simulated.
#[derive(Clone, Debug)]
pub struct Options {
    /// Decides everything that is left to chance.
    pub seed: u64,
    /// How many agents there are.
    pub agents: u32,
    /// How many built-in frameworks there are, beside those of the user.
    pub frameworks: u32,
    /// What each agent has.
    pub agent_resources: Resources,
    /// What the built-in frameworks want.
    pub demand: Demand,
    /// How long a message is on its way.
    pub delay: Span,
    /// How long a journal takes to make records durable.
    pub sync: Span,
    /// How long a container takes to start.
    pub start: Span,
    /// How long a program runs whose command does not say it.
    pub run: Span,
    /// How often the master pings its agents (TL-01).
    pub ping_interval: Duration,
    /// How many pings may go unanswered (TL-01).
    pub max_missed_pings: u32,
    /// How long an agent may stay away before its tasks are unreachable (TL-02).
    pub agent_reregister_timeout: Duration,
    /// How long the tasks of a built-in framework go on while it is away (FW-04). A framework that
    /// stays away for longer is over, and so is its scheduler when it returns.
    pub failover_timeout: Duration,
    /// How long a node waits before it dials again.
    pub redial: Span,
    /// What goes wrong.
    pub faults: Faults,
    /// What is checked on the way.
    pub checking: Checking,
    /// Makes the master's allocator from a seed.
    pub allocator: fn(u64) -> Box<dyn Allocator>,
}

impl Options {
    /// Describes a healthy cluster with usual delays and the allocator of the library, which checks
    /// nothing on the way.
    pub fn new(seed: u64, agents: u32, frameworks: u32, agent_resources: Resources) -> Self {
        Self {
            seed,
            agents,
            frameworks,
            agent_resources,
            demand: Demand::default(),
            delay: Span::millis(1, 5),
            sync: Span::millis(1, 10),
            start: Span::millis(50, 500),
            run: Span::secs(5, 60),
            ping_interval: Duration::from_secs(15),
            max_missed_pings: 5,
            agent_reregister_timeout: Duration::from_secs(600),
            failover_timeout: Duration::from_secs(7 * 24 * 3600),
            redial: Span::millis(100, 1_000),
            faults: Faults::none(),
            checking: Checking::Off,
            allocator: |seed| {
                Box::new(Drf::new(drf::Options {
                    seed,
                    ..drf::Options::default()
                }))
            },
        }
    }
}

/// What each built-in framework wants.
#[derive(Clone, Debug)]
pub struct Demand {
    /// What one task takes.
    pub task: Resources,
    /// How many ports one task takes beside that, whichever are offered.
    pub ports: u64,
    /// One task in so many is killed when it runs; zero is none.
    pub kill_one_in: u64,
    /// What it runs: `sleep SECONDS` and `exit CODE` are understood, joined by `;`.
    pub command: CommandInfo,
    /// How many tasks it wants at a time.
    pub tasks: usize,
}

impl Default for Demand {
    /// Five tasks of one core and 64 MiB, each as long as chance wants.
    fn default() -> Self {
        Self {
            task: "cpus:1;mem:64".parse().expect("a literal that parses"),
            ports: 0,
            kill_one_in: 0,
            command: CommandInfo::shell("true"),
            tasks: 5,
        }
    }
}

/// A range of durations, each equally likely.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    least: Duration,
    most: Duration,
}

impl Span {
    /// Makes a range that includes both ends; if they are crossed, it is `least` alone.
    pub const fn new(least: Duration, most: Duration) -> Self {
        Self { least, most }
    }

    /// Makes a range in milliseconds.
    pub const fn millis(least: u64, most: u64) -> Self {
        Self::new(Duration::from_millis(least), Duration::from_millis(most))
    }

    /// Makes a range in seconds.
    pub const fn secs(least: u64, most: u64) -> Self {
        Self::new(Duration::from_secs(least), Duration::from_secs(most))
    }

    pub(super) fn draw(self, rng: &mut Rng) -> Duration {
        self.least + rng.jitter(self.most.saturating_sub(self.least))
    }
}

/// What goes wrong, and how often. The weights say how often one kind happens beside the others;
/// a kind of weight zero never happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults {
    /// The time between two faults; `None` is a healthy cluster.
    pub every: Option<Span>,
    /// How long a fault lasts: a node is down or cut off, a disk is stuck.
    pub lasting: Span,
    /// The master crashes and comes back.
    pub master_crash: u64,
    /// An agent crashes and comes back; its containers go on meanwhile.
    pub agent_crash: u64,
    /// An agent crashes and loses its disk: it comes back as a new one, and its containers end.
    pub disk_loss: u64,
    /// An agent or a framework is cut off, in both directions or in one.
    pub cut: u64,
    /// A journal makes nothing durable for a while.
    pub stall: u64,
    /// A container's end is not recorded.
    pub vanish: u64,
    /// One program in so many is stopped for using too much memory; zero is none.
    pub breach_one_in: u64,
    /// One container in so many cannot be started; zero is none.
    pub launch_failure_one_in: u64,
}

impl Faults {
    /// Describes a healthy cluster.
    pub const fn none() -> Self {
        Self {
            every: None,
            lasting: Span::secs(1, 30),
            master_crash: 0,
            agent_crash: 0,
            disk_loss: 0,
            cut: 0,
            stall: 0,
            vanish: 0,
            breach_one_in: 0,
            launch_failure_one_in: 0,
        }
    }

    /// Draws what goes wrong from a seed: each kind of fault may be missing, so that the seeds
    /// differ in kind and not only in order.
    pub fn drawn(seed: u64) -> Self {
        let mut rng = Rng::new(seed ^ 0x6661_756c_7473);
        let mut weight = || rng.below(4);
        let [master_crash, agent_crash, cut, stall, vanish] = core::array::from_fn(|_| weight());
        let disk_loss = weight() / 2;
        let mean = 2 + rng.below(20);
        Self {
            every: Some(Span::secs(mean / 2, mean + mean / 2)),
            lasting: Span::millis(100, 1_000 << rng.below(8)),
            master_crash,
            agent_crash,
            disk_loss,
            cut,
            stall,
            vanish,
            breach_one_in: rng.below(3) * 10,
            launch_failure_one_in: rng.below(3) * 10,
        }
    }
}

/// How much is checked on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checking {
    /// Nothing: for speed.
    Off,
    /// Every property after every input. Costs the square of the cluster's size.
    Always,
}

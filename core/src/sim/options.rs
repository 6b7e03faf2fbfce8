//! What a simulated cluster is like: sizes, delays, faults. All chance comes from one seed.
//!
//! Read by every part of the simulator; written by its users. Deliberately not here: what can go
//! wrong ([`super::fault`]).

use alloc::boxed::Box;
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::num::NonZero;
use core::time::Duration;

use super::chance::{Purpose, stream};
use super::dials::{Dials, MakeAllocator};
use super::fault::Faults;
use super::formatter::POOL;
use super::queue::Name;
use super::shifter;
use crate::allocator::Allocator;
use crate::allocator::drf::{self, DemandRule, Drf};
use crate::attributes::Attributes;
use crate::limits;
use crate::protocol::task::CommandInfo;
use crate::resources::{Ceilings, Quantities, Resources};
use crate::rng::Rng;

/// How much clocks differ where they do: by a twentieth.
const DRIFT: u32 = 50_000;

/// How a cluster is simulated.
#[derive(Clone, Debug)]
pub struct Options {
    /// Decides everything that is left to chance.
    pub seed: u64,
    /// How many agents there are.
    pub agents: u32,
    /// How many built-in frameworks there are, beside those of the user.
    pub frameworks: u32,
    /// How many frameworks beside these take every offer whole, for tasks that never end.
    pub greedy: u32,
    /// How many frameworks beside these never answer an offer.
    pub silent: u32,
    /// How many frameworks beside these say what they should not.
    pub nonsense: u32,
    /// How many frameworks beside these end while what they run goes on.
    pub leaving: u32,
    /// How many frameworks beside these keep volumes, if agents have disks.
    pub keepers: u32,
    /// How many frameworks beside these have disks made and taken back, of the space that machines
    /// have for that.
    pub formatters: u32,
    /// How many frameworks beside these change their roles and what they want in them, and talk
    /// with executors of theirs.
    pub shifters: u32,
    /// How many operators follow the master by its events.
    pub watchers: u32,
    /// How many events the master keeps for them.
    pub events_kept: usize,
    /// What each agent has.
    pub agent_resources: Resources,
    /// Machines that differ: if there are any, these are the agents, in this order, and not those
    /// above.
    pub machines: Vec<Machine>,
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
    /// How long the built-in frameworks think about an offer before they answer it.
    pub think: Span,
    /// How often the master pings its agents (TL-01).
    pub ping_interval: Duration,
    /// How many pings may go unanswered (TL-01).
    pub max_missed_pings: u32,
    /// How long an agent may stay away before its tasks are unreachable (TL-02).
    pub agent_reregister_timeout: Duration,
    /// How long the tasks of a built-in framework go on while it is away (FW-04). A framework that
    /// stays away for longer is over, and so is its scheduler when it returns.
    pub failover_timeout: Duration,
    /// How long an executor may take to subscribe, and then to say something of a task, before it
    /// is asked again, or ended (TK-47).
    pub executor_registration_timeout: Duration,
    /// How long a node waits before it dials again.
    pub redial: Span,
    /// What the built-in frameworks may have together: then each is in a role of its own below
    /// one with this limit. Without a bound they are in the role `*`.
    pub limits: Ceilings,
    /// What is kept free for the built-in frameworks together, as long as they do not have it: then
    /// they are in roles below one with this guarantee, too.
    pub guarantees: Quantities,
    /// Whether an operator takes machines and agents out of service and back.
    pub maintenance: bool,
    /// How long an inverse offer may go unanswered before it is made again; `None` is for ever
    /// (OF-50).
    pub inverse_offer_timeout: Option<Duration>,
    /// Whether each life of a node speaks the protocol up to a version of its own.
    pub mixed_versions: bool,
    /// By how many microseconds in a second the clocks of nodes differ at most from the
    /// simulator's time.
    pub drift: u32,
    /// How the machines are set up, where nothing above says it.
    pub dials: Dials,
    /// What goes wrong.
    pub faults: Faults,
    /// What is checked on the way.
    pub checking: Checking,
    /// Makes the master's allocator.
    pub allocator: Policy,
}

/// Machines that are alike.
#[derive(Clone, Debug)]
pub struct Machine {
    /// How many there are.
    pub count: u32,
    /// What each has.
    pub resources: Resources,
    /// What is said of each.
    pub attributes: Attributes,
}

/// Makes an allocator from a seed, each time that a master begins.
#[derive(Clone)]
pub struct Policy {
    make: Arc<MakeAllocator>,
    lease: Option<Duration>,
    demands: DemandRule,
}

impl Policy {
    /// Wraps what makes the allocator.
    pub fn new(make: impl Fn(u64) -> Box<dyn Allocator> + Send + Sync + 'static) -> Self {
        Self {
            make: Arc::new(move |seed, _| make(seed)),
            lease: None,
            demands: DemandRule::Ignored,
        }
    }

    /// Takes the allocator of the library with these options, each time with another seed.
    pub fn drf(options: drf::Options) -> Self {
        let (lease, demands) = (options.lease, options.demands);
        let make = move |seed, dials: &Dials| -> Box<dyn Allocator> {
            let mut options = drf::Options {
                seed,
                ..options.clone()
            };
            dials.allocator(&mut options);
            Box::new(Drf::new(options))
        };
        Self {
            make: Arc::new(make),
            lease,
            demands,
        }
    }

    /// Takes the allocator of the library, whose offers are good for so long, and cut to what
    /// frameworks say they want or not.
    pub(super) fn library(lease: Option<Duration>, demands: DemandRule) -> Self {
        Self::drf(drf::Options {
            lease,
            demands,
            ..drf::Options::default()
        })
    }

    /// Returns how long an offer is good; `None` is for ever, or not known.
    pub(super) fn lease(&self) -> Option<Duration> {
        self.lease
    }

    /// Says whether offers are cut to demands, as far as that is known.
    pub(super) fn demands(&self) -> DemandRule {
        self.demands
    }

    pub(super) fn make(&self, seed: u64, dials: &Dials) -> Box<dyn Allocator> {
        (self.make)(seed, dials)
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Policy")
    }
}

impl Options {
    /// Describes a healthy cluster with usual delays and the allocator of the library, which checks
    /// nothing on the way.
    pub fn new(seed: u64, agents: u32, frameworks: u32, agent_resources: Resources) -> Self {
        Self {
            seed,
            agents,
            frameworks,
            greedy: 0,
            silent: 0,
            nonsense: 0,
            leaving: 0,
            keepers: 0,
            formatters: 0,
            shifters: 0,
            watchers: 0,
            events_kept: limits::EVENTS,
            agent_resources,
            machines: Vec::new(),
            demand: Demand::default(),
            delay: Span::millis(1, 5),
            sync: Span::millis(1, 10),
            start: Span::millis(50, 500),
            run: Span::secs(5, 60),
            think: Span::secs(0, 0),
            ping_interval: Duration::from_secs(15),
            max_missed_pings: 5,
            agent_reregister_timeout: Duration::from_secs(600),
            failover_timeout: Duration::from_secs(7 * 24 * 3600),
            executor_registration_timeout: Duration::from_secs(60),
            redial: Span::millis(100, 1_000),
            limits: Ceilings::new(),
            guarantees: Quantities::new(),
            maintenance: false,
            inverse_offer_timeout: None,
            mixed_versions: false,
            drift: 0,
            dials: Dials::default(),
            faults: Faults::none(),
            checking: Checking::Off,
            allocator: Policy::drf(drf::Options::default()),
        }
    }

    /// Says how long a container may take to start: longer than any does that starts.
    pub(super) fn launch_timeout(&self) -> Duration {
        let (_, longest) = self.start.ends();
        longest.saturating_add(Duration::from_secs(30))
    }

    /// Says what each agent has and what is said of it, in the order of their numbers.
    pub(super) fn each_machine(&self) -> impl Iterator<Item = (&Resources, Attributes)> + '_ {
        let alike = self.agents as usize * usize::from(self.machines.is_empty());
        let alike = (0..alike).map(|_| (&self.agent_resources, Attributes::new()));
        let listed = self.machines.iter().flat_map(|machine| {
            (0..machine.count).map(|_| (&machine.resources, machine.attributes.clone()))
        });
        alike.chain(listed)
    }

    /// Draws a small cluster in trouble from a seed, which is checked as usual: sizes, delays,
    /// impatience and faults differ from seed to seed, in kind and not only in order.
    pub fn drawn(seed: u64) -> Self {
        let mut rng = stream(seed, Purpose::Options, Name::Master);
        let mut draw = |bound| rng.below(bound);
        let cpus = 1 + draw(8);
        let mem = cpus * 256;
        let machine = format!("cpus:{cpus};mem:{mem};ports:[31000-31009,32000-32003]");
        let machine = Resources::parse(&machine).expect("numbers in their places parse");
        let (agents, frameworks) = (1 + draw(5) as u32, 1 + draw(3) as u32);
        let mut options = Self::new(seed, agents, frameworks, machine);
        options.greedy = u32::from(draw(4) == 0);
        options.silent = u32::from(draw(4) == 0);
        options.checking = Checking::USUAL;
        options.faults = Faults::drawn(seed);
        options.sync = Span::millis(1, 1 << draw(10));
        options.delay = Span::millis(0, 1 << draw(9));
        options.start = Span::millis(1, 1 << draw(13));
        options.run = Span::secs(0, 1 << draw(8));
        options.redial = Span::millis(100, 200 << draw(6));
        options.demand.tasks = 1 + draw(8) as usize;
        options.demand.ports = draw(4);
        options.demand.kill_one_in = draw(3) * 5;
        // Some are so impatient that the faults outlast them.
        if draw(2) == 0 {
            options.agent_reregister_timeout = Duration::from_secs(1 + draw(30));
        }
        if draw(3) == 0 {
            options.failover_timeout = Duration::from_secs(draw(60));
        }
        if draw(2) == 0 {
            options.ping_interval = Duration::from_millis(500 << draw(5));
            options.max_missed_pings = 2 + draw(4) as u32;
        }
        let tasks = NonZero::new(1 + draw(6)).expect("one more than something");
        if draw(2) == 0 {
            let resources = "mem:16".parse().expect("a literal that parses");
            options.demand.executor = Some(SharedExecutor { resources, tasks });
        }
        options.nonsense = u32::from(draw(3) == 0);
        // A group takes a core for each task, and a bit more.
        let group = 2 + draw(2);
        if draw(3) == 0 && group < cpus {
            options.demand.group = group as usize;
            options.demand.tasks = options.demand.tasks.max(group as usize);
        }
        let limit = group + 1 + draw(cpus * u64::from(agents));
        if draw(3) == 0 {
            let limit = Ceilings::parse(&format!("cpus:{limit}"));
            options.limits = limit.expect("numbers in their places parse");
        }
        if draw(2) == 0 {
            options.drift = DRIFT;
        }
        options.watchers = draw(3) as u32;
        options.events_kept = 1 << draw(10);
        options.draw_patience(&mut rng);
        options.draw_disks();
        options.shifters = shifter::drawn(seed);
        options.dials = Dials::drawn(seed, options.nonsense > 0);
        options.draw_maintenance();
        // It is less than the least limit, and leaves something to others.
        let most = (cpus * u64::from(agents) / 2).clamp(1, group + 1);
        options.draw_demand(most);
        let mut rng = stream(seed, Purpose::Sharing, Name::Master);
        if rng.chance(1, 2) {
            options.allocator = Policy::library(options.allocator.lease, DemandRule::Honoured);
        }
        options
    }

    /// Draws what may be promised, of so many CPUs, and how late frameworks answer, from a stream
    /// of their own.
    fn draw_demand(&mut self, most: u64) {
        let mut rng = stream(self.seed, Purpose::Hosts, Name::Master);
        self.demand.hurried_one_in = rng.below(3) * 5;
        if rng.below(4) == 0 {
            let guarantees = format!("cpus:{}", 1 + rng.below(most));
            let guarantees = Quantities::parse(&guarantees);
            self.guarantees = guarantees.expect("a number in its place parses");
        }
        // Some answer so late that what they answer is over.
        if rng.below(4) == 0 {
            self.think = Span::millis(0, 500 << rng.below(7));
        }
        let mut rng = stream(self.seed, Purpose::Checks, Name::Master);
        self.demand.checked_one_in = rng.below(4);
    }

    /// Draws how long everybody waits, and who else there is.
    fn draw_patience(&mut self, rng: &mut Rng) {
        let mut draw = |bound| rng.below(bound);
        self.demand.endless_one_in = draw(3) * 4;
        self.demand.kill_early_one_in = draw(3) * 6;
        // Some wait for longer than agents do, and some less.
        if draw(2) == 0 {
            self.demand.patience = Duration::from_secs(10 << draw(7));
        }
        if draw(2) == 0 {
            self.executor_registration_timeout = Duration::from_secs(2 << draw(6));
        }
        if draw(2) == 0 {
            let lease = Duration::from_secs(5 << draw(5));
            self.allocator = Policy::library(Some(lease), DemandRule::Ignored);
        }
        self.leaving = u32::from(draw(4) == 0);
        self.keepers = u32::from(draw(4) == 0);
        if self.keepers > 0 {
            let disk = Resources::parse("disk:16").expect("a literal that parses");
            let more = self.agent_resources.add(&disk);
            more.expect("two amounts of disk add up");
        }
    }

    /// Draws whether there are disks to be made, from a stream of its own.
    fn draw_disks(&mut self) {
        let mut rng = stream(self.seed, Purpose::Disks, Name::Master);
        if rng.below(3) == 0 {
            self.formatters = 1 + rng.below(2) as u32;
            let pool = Resources::parse(POOL).expect("a literal that parses");
            let sum = self.agent_resources.add(&pool);
            sum.expect("a machine has little");
        }
    }

    /// Draws whether there is maintenance, and who speaks what, from a stream of its own.
    fn draw_maintenance(&mut self) {
        let mut rng = stream(self.seed, Purpose::Maintenance, Name::Framework(1));
        self.maintenance = rng.below(3) == 0;
        let timeout = Duration::from_secs(1 << rng.below(8));
        self.inverse_offer_timeout = rng.chance(1, 2).then_some(timeout);
        self.mixed_versions = rng.chance(1, 2);
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
    /// One task in so many is killed as soon as it is launched; zero is none.
    pub kill_early_one_in: u64,
    /// One task in so many runs until it is killed, which it is after a while; zero is none.
    pub endless_one_in: u64,
    /// One task in so many may run for a few seconds only; zero is none.
    pub hurried_one_in: u64,
    /// One task in so many has checks, if the agent itself runs it; zero is none.
    pub checked_one_in: u64,
    /// A task that was not heard of for so long is given up: it was lost on its way to the master,
    /// or with its agent.
    pub patience: Duration,
    /// What it runs: `sleep SECONDS` and `exit CODE` are understood, joined by `;`.
    pub command: CommandInfo,
    /// Who runs it; without an executor each task has a container of its own.
    pub executor: Option<SharedExecutor>,
    /// How many tasks it wants at a time.
    pub tasks: usize,
    /// How many of them are launched together, all or none: each on its own if that is not more
    /// than one.
    pub group: usize,
    /// How many it wants to have finished in all; `None` is more and more.
    pub total: Option<u64>,
}

impl Default for Demand {
    /// Five tasks of one core and 64 MiB, each as long as chance wants.
    fn default() -> Self {
        Self {
            task: "cpus:1;mem:64".parse().expect("a literal that parses"),
            ports: 0,
            kill_one_in: 0,
            kill_early_one_in: 0,
            endless_one_in: 0,
            hurried_one_in: 0,
            checked_one_in: 0,
            patience: Duration::from_secs(60),
            command: CommandInfo::shell("true"),
            executor: None,
            tasks: 5,
            group: 1,
            total: None,
        }
    }
}

/// An executor that runs several tasks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedExecutor {
    /// What it takes beside its tasks.
    pub resources: Resources,
    /// How many tasks, one launched after the other, have it in common where they are on one agent.
    pub tasks: NonZero<u64>,
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

    /// Returns the shortest and the longest.
    pub(super) const fn ends(self) -> (Duration, Duration) {
        (self.least, self.most)
    }

    pub(super) fn draw(self, rng: &mut Rng) -> Duration {
        self.least + rng.jitter(self.most.saturating_sub(self.least))
    }
}

/// How much is checked on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checking {
    /// Nothing: for speed.
    Off,
    /// After every step what is cheap, and everything at every so many steps and at rest.
    Sampled(NonZero<u32>),
    /// Every property after every step. Costs the square of the cluster's size.
    Always,
}

impl Checking {
    /// What is usual where there are many clusters: everything at every 64th step.
    pub const USUAL: Self = Self::Sampled(NonZero::new(64).expect("64 is not zero"));
}

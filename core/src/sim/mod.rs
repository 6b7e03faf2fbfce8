//! A whole cluster in one loop, with virtual time.
//!
//! One master, agents with scripted containers, and frameworks run as the same machines as in
//! production. Every message passes through its bytes, every restart reads back what was durable,
//! and all chance comes from one seed: the same [`Options`] give the same [`Log`], byte for byte.
//! Hours take milliseconds.
//!
//! Used by the tests of this crate, by the command line, and by whoever writes a scheduler: hand
//! your [`Logic`] to [`Sim::framework`], and it gets the same treatment as ours.
//!
//! ```
//! use std::time::Duration;
//! use tepui_core::ids::TaskId;
//! use tepui_core::protocol::framework::FrameworkInfo;
//! use tepui_core::protocol::task::CommandInfo;
//! use tepui_core::resources::Resources;
//! use tepui_core::scheduler::{Logic, UserCall, UserEvent};
//! use tepui_core::sim::{Checking, Faults, Options, Sim};
//! use tepui_core::time::Time;
//!
//! /// Runs one task, once.
//! struct Once {
//!     launched: bool,
//! }
//!
//! impl Logic for Once {
//!     fn on_event(&mut self, _now: Time, event: UserEvent, calls: &mut Vec<UserCall>) {
//!         let UserEvent::Offers(offers) = event else { return };
//!         for offer in &offers {
//!             if self.launched {
//!                 calls.push(UserCall::decline(offer, None));
//!                 continue;
//!             }
//!             self.launched = true;
//!             let task = offer.task(
//!                 TaskId::new("only").expect("a short name"),
//!                 Resources::parse("cpus:1;mem:64").expect("well-formed"),
//!                 CommandInfo::shell("sleep 3.2"),
//!             );
//!             calls.push(UserCall::launch(offer, vec![task], None));
//!         }
//!     }
//! }
//!
//! let machine = Resources::parse("cpus:4;mem:1024").expect("well-formed");
//! let mut options = Options::new(7, 3, 0, machine);
//! options.checking = Checking::Always;
//! let mut sim = Sim::new(options);
//! sim.framework(FrameworkInfo::new("once"), Box::new(Once { launched: false }));
//! sim.run_for(Duration::from_secs(60));
//! assert_eq!(sim.report().tasks.finished, 1);
//! ```
//!
//! Deliberately not here: real clocks, threads and sockets; and orders of operators, but for one
//! who limits frameworks, and one who takes machines and agents out of service.

mod chance;
mod check;
mod clock;
mod command;
mod complaints;
mod containers;
mod delivery;
mod dials;
mod disks;
mod executors;
mod extremes;
mod fault;
mod figures;
pub mod formatter;
mod hosts;
mod instances;
mod journal;
pub mod keeper;
mod known;
mod leaders;
mod lies;
mod limits;
mod line;
mod log;
mod net;
mod node;
mod operator;
mod options;
mod order;
mod partition;
mod pause;
mod plan;
mod population;
mod probes;
mod property;
mod queue;
mod readers;
mod report;
mod said;
mod script;
pub mod shifter;
mod shrink;
mod tap;
#[cfg(test)]
mod tests;
mod text;
mod trace;
mod trouble;
mod versions;
mod watchers;
mod weights;
pub mod workload;
mod world;

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

pub use self::dials::Dials;
pub use self::fault::{Fault, Faults, Kind};
pub use self::figures::{Figures, Sample, UserFigures, Waiting};
pub use self::known::Tally;
pub use self::log::Log;
pub use self::net::Cut;
pub use self::options::{Checking, Demand, Machine, Options, Policy, SharedExecutor, Span};
pub use self::plan::{Outcome, Plan};
pub use self::property::{Property, Violation};
pub use self::queue::Name;
pub use self::report::{FrameworkReport, Report};
pub use self::shrink::shrink;
use self::tap::{Mode, User};
pub use self::text::PlanError;
pub use self::trace::{Job, Replaying, Trace};
pub use self::workload::Asking;
use self::world::{World, at};
use crate::agent::Agent;
use crate::ids::TaskId;
use crate::master::Master;
use crate::protocol::framework::FrameworkInfo;
use crate::protocol::status::TaskState;
use crate::scheduler::Logic;
use crate::time::Time;

/// How often [`Sim::converge`] looks.
const LOOK: Duration = Duration::from_secs(1);
/// An update that was lost may come again only after so long, and others must follow it.
const CONVERGENCE: Duration = Duration::from_secs(3_600);

/// A simulated cluster.
#[derive(Debug)]
pub struct Sim {
    world: World,
}

impl Sim {
    /// Makes a cluster at time zero, of which no log is kept.
    pub fn new(options: Options) -> Self {
        Self::with_log(options, Log::Off)
    }

    /// Makes a cluster at time zero, and lets `log` see all that happens.
    pub fn with_log(options: Options, log: Log) -> Self {
        Self {
            world: World::new(options, log),
        }
    }

    /// Adds a framework. Its connection may be cut and its master may crash, as for any other. But
    /// it does not crash itself, for what its logic knows cannot be rebuilt from bytes.
    pub fn framework(&mut self, info: FrameworkInfo, logic: Box<dyn Logic>) -> Name {
        self.world.add_framework(info, User::Any(logic), None)
    }

    /// Adds a framework that may crash and fail over. `make` makes its logic for each of its
    /// schedulers, counted from 1; they share nothing but the framework's id.
    pub fn framework_that_fails_over(
        &mut self,
        info: FrameworkInfo,
        make: Box<dyn Fn(u32) -> Box<dyn Logic>>,
    ) -> Name {
        let first = User::Any(make(1));
        self.world.add_framework(info, first, Some(make))
    }

    /// Lets virtual time go by.
    ///
    /// # Panics
    ///
    /// If a property is broken that is looked at; the message has the seed and all options.
    pub fn run_for(&mut self, time: Duration) {
        if let Err(violation) = self.advance(time) {
            self.fail(&violation);
        }
    }

    /// Lets virtual time go by, until a property is broken. Nothing happens any more after that.
    ///
    /// # Panics
    ///
    /// If an assertion of a machine does not hold.
    pub fn advance(&mut self, time: Duration) -> Result<(), Violation> {
        let end = self.world.shared.now + time;
        self.world.run_until(end);
        self.world.violation.clone().map_or(Ok(()), Err)
    }

    /// Returns the first property that was broken.
    pub fn violation(&self) -> Option<&Violation> {
        self.world.violation.as_ref()
    }

    fn fail(&self, violation: &Violation) -> ! {
        panic!("{violation}\n{:?}", self.world.options);
    }

    /// Crashes a node. The master or an agent loses what is not durable, and comes back after
    /// `down`; containers go on meanwhile. A framework comes back with another scheduler, if it can
    /// make one.
    pub fn crash(&mut self, node: Name, down: Duration) {
        self.world.healed = None;
        let mut rng = self.world.orders.fork();
        self.world.crash_for(node, down, &mut rng);
    }

    /// Loses the messages of an agent or a framework until it is mended.
    pub fn cut(&mut self, client: Name, cut: Cut) {
        self.world.healed = None;
        let mut rng = self.world.orders.fork();
        self.world.cut(client, cut, &mut rng);
    }

    /// Lets an agent or a framework that was cut off connect again.
    pub fn mend(&mut self, client: Name) {
        self.world.net.mend(client);
    }

    /// Lets the disk of the master or of an agent make nothing durable for a while.
    pub fn stall(&mut self, node: Name, lasting: Duration) {
        self.world.healed = None;
        self.world.stall(node, lasting);
    }

    /// Lets something go wrong now. What lasts comes right after `lasting`. Returns whether it can
    /// happen to that node.
    pub fn inject(&mut self, kind: Kind, node: Name, lasting: Duration) -> bool {
        let fault = Fault {
            at: self.world.shared.now,
            kind,
            node,
            lasting,
            chance: self.world.orders.next_u64(),
        };
        let frameworks = u32::try_from(self.world.frameworks.len()).unwrap_or(u32::MAX);
        let is_possible = fault.hits(self.world.options.agents, frameworks);
        if is_possible {
            self.world.healed = None;
            self.world.suffer(fault);
        }
        is_possible
    }

    /// Ends all faults: what is down comes back, what is cut off can be reached, disks go on.
    pub fn heal(&mut self) {
        self.world.heal();
    }

    /// Keeps offers from all schedulers until every view of every task agrees and everything is in
    /// service, and says how long that took. After that they get offers again.
    ///
    /// # Panics
    ///
    /// If an assertion of a machine does not hold.
    pub fn converge(&mut self, within: Duration) -> Result<Duration, Violation> {
        self.world.set_mode(Mode::Quiet);
        self.world.end_maintenance();
        let begin = self.world.shared.now;
        let mut difference = Some(String::from("nobody looked yet"));
        let mut undelivered = None;
        let mut agreed = 0;
        // Twice in a row, so that nothing is on its way that would change it.
        while agreed < 2 && self.world.shared.now.since(begin) < within {
            self.advance(LOOK)?;
            self.world.check_back()?;
            difference = check::convergence::disagreement(&self.world);
            undelivered = check::deliveries::outstanding(&self.world);
            let is_rest = difference.is_none() && undelivered.is_none();
            agreed = if is_rest { agreed + 1 } else { 0 };
            if agreed > 0 {
                self.world.check_all();
            }
        }
        self.world.set_mode(Mode::Working);
        if let Some(violation) = self.violation() {
            return Err(violation.clone());
        }
        let (property, problem) = match (difference, undelivered) {
            (None, None) => return Ok(self.world.shared.now.since(begin)),
            (Some(difference), _) => (Property::Convergence, difference),
            (None, Some(undelivered)) => (Property::Deliveries, undelivered),
        };
        let problem = alloc::format!("no agreement within {within:?}: {problem}");
        Err(self.world.violates(property, problem))
    }

    /// Keeps offers from all schedulers but that of one more framework, which wants some tasks to
    /// end well and no more, and says how long that took. Does nothing, and takes no time, in a
    /// cluster in which somebody keeps all that he gets.
    ///
    /// # Panics
    ///
    /// If an assertion of a machine does not hold.
    pub fn complete(&mut self) -> Result<Duration, Violation> {
        let Some((demand, within)) = check::completion::workload(&self.world.options) else {
            return Ok(Duration::ZERO);
        };
        self.world.begin_contest();
        let begin = self.world.shared.now;
        let (name, total) = ("finite", demand.total.unwrap_or(0));
        let steady = Box::new(workload::Steady::new(name, demand));
        let name = self.framework(FrameworkInfo::new(name), steady);
        while self.finished(name) < total {
            self.advance(LOOK)?;
            if self.world.shared.now.since(begin) > within {
                let finished = self.finished(name);
                let problem =
                    alloc::format!("{finished} of {total} tasks have finished within {within:?}");
                return Err(self.world.violates(Property::Completion, problem));
            }
        }
        Ok(self.world.shared.now.since(begin))
    }

    /// Keeps offers from all schedulers but those of some more frameworks, which always want more,
    /// and compares what they get.
    ///
    /// # Panics
    ///
    /// If an assertion of a machine does not hold.
    pub fn compete(&mut self) -> Result<(), Violation> {
        self.world.begin_contest();
        let bound = check::fairness::bound(&self.world.options);
        let task = self.world.options.demand.task.clone();
        let names = (1..=check::fairness::FRAMEWORKS).map(|n| alloc::format!("backlogged-{n}"));
        let names: Vec<Name> = names
            .map(|name| {
                let logic = workload::Backlogged::new(name.as_str(), task.clone());
                self.framework(FrameworkInfo::new(name), Box::new(logic))
            })
            .collect();
        let slower = self.world.options.dials.slower_passes() * 10;
        self.advance(check::fairness::CONTEST + slower)?;
        let mut looks: Vec<Vec<usize>> = Vec::new();
        for _ in 0..check::fairness::LOOKS {
            self.advance(LOOK)?;
            let counts = names.iter().map(|name| {
                let told = self.told(*name).into_iter();
                told.filter(|(_, state)| !state.is_terminal()).count()
            });
            looks.push(counts.collect());
        }
        let checked = check::fairness::check(bound, &looks);
        checked.map_err(|(property, problem)| self.world.violates(property, problem))
    }

    fn finished(&self, framework: Name) -> u64 {
        let told = self.told(framework).into_iter();
        let finished = told.filter(|(_, state)| *state == TaskState::Finished);
        finished.count() as u64
    }

    /// As [`Sim::converge`], within an hour.
    ///
    /// # Panics
    ///
    /// If views still differ then; the message has the seed.
    pub fn expect_converged(&mut self) -> Duration {
        match self.converge(CONVERGENCE) {
            Ok(time) => time,
            Err(violation) => self.fail(&violation),
        }
    }

    /// Returns the virtual time.
    pub fn now(&self) -> Time {
        self.world.shared.now
    }

    /// Returns figures up to now.
    pub fn report(&self) -> Report {
        report::report(&self.world)
    }

    /// Says how many messages executors have heard from their frameworks, and these from them.
    pub fn messages(&self) -> (u64, u64) {
        self.world.messages.heard
    }

    /// Returns a digest of the event log so far, if the log is [`Log::Digest`].
    pub fn digest(&self) -> Option<u128> {
        self.world.shared.recorder.digest()
    }

    /// Returns the master, if it is not down.
    pub fn master(&self) -> Option<&Master> {
        self.world.master.machine()
    }

    /// Returns an agent by its number, if there is one and it is not down.
    pub fn agent(&self, n: u32) -> Option<&Agent> {
        let index = usize::try_from(n.checked_sub(1)?).ok()?;
        self.world.agents.get(index)?.node.machine()
    }

    /// Returns how many effects of a node wait for its disk.
    pub fn held(&self, node: Name) -> usize {
        match node {
            Name::Master => self.world.master.held(),
            Name::Agent(n) => self.world.agents[at(n)].node.held(),
            // Nothing that they say waits for a disk.
            Name::Framework(_) | Name::Executor { .. } => 0,
        }
    }

    /// Lists the tasks that a framework heard of, each with its newest news.
    pub fn told(&self, framework: Name) -> Vec<(TaskId, TaskState)> {
        let Name::Framework(n) = framework else {
            return Vec::new();
        };
        let known = &self.world.frameworks[at(n)].known;
        let tasks = known.tasks().map(|(id, state)| (id.clone(), state));
        tasks.collect()
    }
}

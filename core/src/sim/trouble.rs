//! What goes wrong, and what puts it right: crashes, restarts, stuck disks.
//!
//! Part of the world; also ordered by the user of [`super::Sim`]. Deliberately not here: what goes
//! wrong between nodes ([`super::partition`]).

use alloc::sync::Arc;
use core::time::Duration;

use super::containers::Containers;
use super::fault::{Fault, Kind};
use super::journal::{Disk, Loss};
use super::node::Shared;
use super::options::Span;
use super::queue::{Event, Name};
use super::world::{Link, World, at};
use crate::agent::{self, Agent, AgentState, Recover};
use crate::ids::{BootId, MasterId};
use crate::machine::Outbox;
use crate::master::{self, Master};
use crate::registry::Registry;
use crate::rng::Rng;

/// How long a node that starts again takes to dial.
const DIAL: Span = Span::millis(0, 1_000);
/// By how much a wall clock may be set, in both directions.
const CLOCK_STEP: Duration = Duration::from_secs(3_600);
/// How much longer a slow disk may take each time.
const SLOW_DISK: Duration = Duration::from_secs(5);
/// How long it takes until somebody starts a node again whose disk has failed.
const AGAIN: Duration = Duration::from_secs(5);

impl World {
    pub(super) fn start_master(&mut self) {
        self.master.disk.open();
        let registry: Registry = self.master.disk.read();
        let epoch = registry.epoch() + 1;
        let id = MasterId::of("sim", epoch).expect("a short name makes an id");
        let config = master::Config {
            ping_interval: self.options.ping_interval,
            max_missed_pings: self.options.max_missed_pings,
            agent_reregister_timeout: self.options.agent_reregister_timeout,
            events_kept: self.options.events_kept,
            inverse_offer_timeout: self.options.inverse_offer_timeout,
            ..master::Config::new(id, epoch, self.master.lives.next_u64())
        };
        let config = self.options.dials.master(config);
        let seed = self.master.lives.next_u64();
        let mut out = Outbox::new();
        let now = self.master.wind(self.shared.now, registry.last_time());
        let allocator = self.options.allocator.make(seed, &self.options.dials);
        let machine = Master::recover(config, registry, allocator, now, &mut out);
        let registry = machine.registry().clone();
        let totals = Arc::clone(&self.totals);
        self.watch.next(totals, registry);
        self.master.start(machine, out, &mut self.shared);
        self.watch_anew();
        self.operate_anew();
        self.flush_master();
        self.set_quota();
    }

    pub(super) fn start_agent(&mut self, n: u32) {
        let seat = &mut self.agents[at(n)];
        let seed = seat.node.lives.next_u64();
        seat.node.disk.open();
        let state: AgentState = seat.node.disk.read();
        seat.seen = state.epoch();
        // Who begins anew is not the one that an operator gave up.
        seat.marked_gone &= state.agent().is_some();
        seat.waits.begin(self.shared.now);
        seat.graces.begin();
        seat.health.begin();
        let config = agent::Config {
            boot: Some(BootId(seat.boot)),
            executor_registration_timeout: self.options.executor_registration_timeout,
            launch_timeout: self.options.launch_timeout(),
            recover: if core::mem::take(&mut seat.cleans_up) {
                Recover::Cleanup
            } else {
                Recover::Reconnect
            },
            ..agent::Config::new(seat.info.clone(), seat.info.hostname.as_str(), seed)
        };
        let config = self.options.dials.agent(config);
        let mut out = Outbox::new();
        let now = seat.node.wind(self.shared.now, state.last_time());
        let machine = Agent::recover(config, state, now, &mut out);
        seat.containers.listen(Some(seat.node.life + 1));
        seat.provider.listen(Some(seat.node.life + 1));
        seat.node.start(machine, out, &mut self.shared);
        let life = seat.node.life;
        self.flush_agent(n);
        self.plan_dial(Name::Agent(n), life, DIAL);
    }

    /// Ends a node's life, if it has one. Returns whether.
    pub(super) fn crash(&mut self, name: Name, rng: &mut Rng) -> bool {
        if self.life(name).is_none() {
            return false;
        }
        // What waits for it comes to nobody.
        self.go_on(name);
        let loss = match name {
            Name::Master => self.master.stop(rng),
            Name::Agent(n) => {
                let seat = &mut self.agents[at(n)];
                seat.containers.listen(None);
                seat.provider.listen(None);
                seat.link = Link::Down;
                let loss = seat.node.stop(rng);
                let executors = seat.containers.executors();
                executors.agent_crashed(rng, &mut self.shared);
                loss
            }
            // These have ways of their own.
            Name::Framework(_) | Name::Executor { .. } => return false,
        };
        match loss {
            Loss::Nothing => {}
            Loss::Records(_) => self.shared.hit(name, Kind::LostTail),
            Loss::Torn(_) => self.shared.hit(name, Kind::TornTail),
        }
        let shared = &mut self.shared;
        self.net.crash(shared.now, name, rng, &mut shared.queue);
        true
    }

    fn crash_by_fault(&mut self, name: Name, rng: &mut Rng) {
        if self.crash(name, rng) {
            let kind = match name {
                Name::Master => Kind::MasterCrash,
                Name::Agent(_) | Name::Framework(_) | Name::Executor { .. } => Kind::AgentCrash,
            };
            self.shared.hit(name, kind);
        }
    }

    /// Wipes the disk of an agent, which is down or crashes now. Nobody can say any more what
    /// became of what it ran.
    pub(super) fn lose_disk(&mut self, n: u32, rng: &mut Rng) {
        self.crash(Name::Agent(n), rng);
        let disk = &mut self.agents[at(n)].node.disk;
        let state: AgentState = disk.read();
        self.lost.extend(state.agent().cloned());
        *disk = Disk::default();
        self.agents[at(n)].marked_gone = false;
        self.agents[at(n)].containers.lose_agent();
        self.shared.hit(Name::Agent(n), Kind::DiskLoss);
    }

    /// An agent has ended by itself. Whoever supervises it starts it again; and once it is known to
    /// be gone, now or later with an empty disk.
    pub(super) fn on_agent_stopped(&mut self, n: u32) {
        let mut rng = self.orders.fork();
        self.crash(Name::Agent(n), &mut rng);
        let is_gone = self.agents[at(n)].marked_gone;
        if is_gone && (self.healed.is_some() || rng.chance(1, 2)) {
            self.lose_disk(n, &mut rng);
        }
        self.plan_restart(Name::Agent(n), AGAIN);
    }

    /// A journal can write no more, and its node ends with it. Somebody starts it again.
    pub(super) fn on_disk_failed(&mut self, name: Name) {
        self.shared.hit(name, Kind::DiskFailure);
        let mut rng = self.orders.fork();
        self.crash(name, &mut rng);
        self.plan_restart(name, AGAIN);
    }

    /// Ends an agent's machine: whatever runs on it ends, and nobody sees how.
    fn reboot(&mut self, n: u32, down: Duration, rng: &mut Rng) {
        let name = Name::Agent(n);
        self.crash(name, rng);
        self.at_containers(n, Containers::lose_power);
        self.agents[at(n)].boot += 1;
        self.shared.hit(name, Kind::Reboot);
        self.plan_restart(name, down);
    }

    /// Sets the wall clock of a node, which shows when it starts again.
    fn set_clock(&mut self, name: Name, rng: &mut Rng) {
        let (is_ahead, by) = (rng.chance(1, 2), rng.jitter(CLOCK_STEP));
        let skew = match name {
            Name::Master => &mut self.master.skew,
            Name::Agent(n) => &mut self.agents[at(n)].node.skew,
            Name::Framework(_) | Name::Executor { .. } => return,
        };
        (skew.ahead, skew.behind) = (Duration::ZERO, Duration::ZERO);
        if is_ahead {
            skew.ahead = by;
        } else {
            skew.behind = by;
        }
        self.shared.hit(name, Kind::ClockStep);
    }

    fn disk(&mut self, name: Name) -> Option<&mut Disk> {
        match name {
            Name::Master => Some(&mut self.master.disk),
            Name::Agent(n) => Some(&mut self.agents[at(n)].node.disk),
            Name::Framework(_) | Name::Executor { .. } => None,
        }
    }

    /// Lets the disk of a node take long for everything, for a while.
    fn slow_disk(&mut self, name: Name, lasting: Duration, rng: &mut Rng) {
        let (until, more) = (self.shared.now + lasting, rng.jitter(SLOW_DISK));
        if let Some(disk) = self.disk(name) {
            disk.slow(until, more);
            self.shared.hit(name, Kind::SlowDisk);
        }
        if let Name::Agent(n) = name {
            self.agents[at(n)].waits.excuse(until + SLOW_DISK);
        }
    }

    /// Lets the disk of a node fail when it is next used.
    fn fail_disk(&mut self, name: Name) {
        if let Some(disk) = self.disk(name) {
            disk.fail();
        }
    }

    /// Crashes a node, which comes back after `down`.
    pub(super) fn crash_for(&mut self, node: Name, down: Duration, rng: &mut Rng) {
        match node {
            Name::Framework(n) => self.crash_framework(n, down, rng),
            Name::Master | Name::Agent(_) | Name::Executor { .. } => {
                self.crash_by_fault(node, rng);
                self.plan_restart(node, down);
            }
        }
    }

    pub(super) fn plan_restart(&mut self, node: Name, after: Duration) {
        let life = match node {
            Name::Master => self.master.life,
            Name::Agent(n) => self.agents[at(n)].node.life,
            Name::Framework(_) | Name::Executor { .. } => return,
        };
        let restart_at = self.shared.now + after;
        self.shared
            .queue
            .plan(restart_at, Event::Restart { node, life });
    }

    pub(super) fn on_restart(&mut self, name: Name, life: u32) {
        let is_down = self.life(name).is_none();
        match name {
            Name::Master if is_down && self.master.life == life => self.start_master(),
            Name::Agent(n) if is_down && self.agents[at(n)].node.life == life => {
                self.start_agent(n);
            }
            Name::Framework(n) => self.on_framework_restart(n, life),
            // It came back earlier.
            Name::Master | Name::Agent(_) | Name::Executor { .. } => {}
        }
    }

    pub(super) fn stall(&mut self, name: Name, lasting: Duration) {
        let until = self.shared.now + lasting;
        match name {
            Name::Master => self.master.disk.stall(until),
            Name::Agent(n) => {
                let seat = &mut self.agents[at(n)];
                seat.node.disk.stall(until);
                seat.waits.excuse(until);
            }
            // A framework has no disk.
            Name::Framework(_) | Name::Executor { .. } => return,
        }
        self.shared.hit(name, Kind::Stall);
    }

    /// Ends all faults: what is down comes back, what is cut off can be reached, disks go on.
    pub(super) fn heal(&mut self) {
        self.trouble.stop();
        self.spell += 1;
        let mut rng = self.orders.fork();
        self.bury(self.zombies, &mut rng);
        self.all_go_on();
        self.net.mend_all(self.shared.now, &mut self.shared.queue);
        self.master.resume(&mut self.shared);
        for seat in &mut self.agents {
            seat.node.resume(&mut self.shared);
        }
        if self.options.dials.relax() {
            // The next one is set up otherwise.
            self.crash(Name::Master, &mut rng);
        }
        if self.master.machine().is_none() {
            self.start_master();
        }
        for n in 1..=self.options.agents {
            if self.agents[at(n)].node.machine().is_none() {
                self.start_agent(n);
            }
        }
        self.return_frameworks();
        self.healed = Some(self.shared.now);
    }

    /// Lets the next fault happen.
    pub(super) fn on_fault(&mut self) {
        let frameworks = u32::try_from(self.frameworks.len()).expect("there are fewer frameworks");
        if let Some(fault) = self.trouble.take(self.options.agents, frameworks) {
            self.suffer(fault);
        }
    }

    /// Lets something go wrong now.
    pub(super) fn suffer(&mut self, fault: Fault) {
        let Fault { node, lasting, .. } = fault;
        let mut rng = Rng::new(fault.chance);
        match fault.kind {
            Kind::MasterCrash | Kind::AgentCrash | Kind::FrameworkCrash => {
                self.crash_for(node, lasting, &mut rng);
            }
            Kind::ClockStep => {
                self.set_clock(node, &mut rng);
                self.crash_for(node, lasting, &mut rng);
            }
            Kind::CutExecutors => self.cut_executors(fault, &mut rng),
            Kind::SlowExecutors => self.slow_executors(fault, &mut rng),
            Kind::DiskPressure => self.fill_disk(fault, &mut rng),
            Kind::Leave => self.leave(fault),
            Kind::CleanUp => self.clean_up(fault, &mut rng),
            Kind::NewDescription => self.describe_anew(fault, &mut rng),
            Kind::FalseAgent | Kind::FalseExecutor | Kind::FalseFramework | Kind::FalseOperator => {
                self.lie(fault, &mut rng)
            }
            Kind::Pause => self.pause(node, lasting),
            Kind::LostLead => self.lose_lead(lasting, &mut rng),
            Kind::SecondInstance | Kind::FailoverStorm => self.fail_over(fault, &mut rng),
            Kind::Stall => self.stall(node, lasting),
            Kind::SlowDisk => self.slow_disk(node, lasting, &mut rng),
            Kind::DiskFailure => self.fail_disk(node),
            Kind::DiskLoss => {
                let Name::Agent(n) = node else { return };
                self.lose_disk(n, &mut rng);
                self.plan_restart(node, lasting);
            }
            Kind::MarkedGone => self.give_up(fault),
            Kind::Reboot => {
                let Name::Agent(n) = node else { return };
                self.reboot(n, lasting, &mut rng);
            }
            Kind::Vanish => {
                self.suffer_in_containers(fault, |it, shared| it.vanish(&mut rng, shared))
            }
            Kind::ExecutorCrash => {
                self.suffer_in_containers(fault, |it, shared| it.crash_executor(&mut rng, shared));
            }
            Kind::Cut
            | Kind::CutOutgoing
            | Kind::CutIncoming
            | Kind::AgentsCut
            | Kind::FrameworksCut
            | Kind::AsymmetricCut
            | Kind::Slow
            | Kind::SlowReader
            | Kind::Clog
            | Kind::Swizzle
            | Kind::Garble
            | Kind::Reset => self.suffer_in_net(fault, &mut rng),
            // These come of another fault, or with a program.
            Kind::LostTail
            | Kind::TornTail
            | Kind::Overload
            | Kind::Breach
            | Kind::LaunchFailure
            | Kind::OddExecutor
            | Kind::HungLaunch
            | Kind::RunOut => {}
        }
    }

    /// Lets another scheduler come in the name of a framework, or several.
    fn fail_over(&mut self, fault: Fault, rng: &mut Rng) {
        let Name::Framework(n) = fault.node else {
            return;
        };
        if self.another_scheduler(n) {
            self.shared.hit(fault.node, fault.kind);
            if fault.kind == Kind::FailoverStorm {
                self.storm(n, rng);
            }
        }
    }

    /// Lets something go wrong with what runs on an agent, if there is something.
    fn suffer_in_containers(
        &mut self,
        fault: Fault,
        act: impl FnOnce(&mut Containers, &mut Shared) -> bool,
    ) {
        let Name::Agent(n) = fault.node else { return };
        if self.at_containers(n, act) {
            self.shared.hit(fault.node, fault.kind);
        }
    }
}

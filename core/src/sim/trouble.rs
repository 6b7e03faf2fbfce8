//! What goes wrong, and what puts it right: crashes, restarts, cuts, stuck disks.
//!
//! Part of the world; also ordered by the user of [`super::Sim`].

use alloc::vec::Vec;
use core::time::Duration;

use super::check::offers;
use super::journal::Disk;
use super::log::Entry;
use super::net::Cut;
use super::options::Span;
use super::queue::{Event, Name};
use super::world::{Link, World, at};
use crate::agent::{self, Agent, AgentState};
use crate::ids::MasterId;
use crate::machine::Outbox;
use crate::master::{self, Master};
use crate::registry::Registry;

/// How long a node that starts again takes to dial.
const DIAL: Span = Span::millis(0, 1_000);

/// One kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    MasterCrash,
    AgentCrash,
    DiskLoss,
    Cut,
    Stall,
    Vanish,
}

impl World {
    pub(super) fn start_master(&mut self) {
        let registry: Registry = self.master.disk.read();
        let epoch = registry.epoch() + 1;
        let id = MasterId::of("sim", epoch).expect("a short name makes an id");
        let config = master::Config {
            ping_interval: self.options.ping_interval,
            max_missed_pings: self.options.max_missed_pings,
            agent_reregister_timeout: self.options.agent_reregister_timeout,
            ..master::Config::new(id, epoch, self.shared.rng.next_u64())
        };
        let seed = self.shared.rng.next_u64();
        let mut out = Outbox::new();
        let now = self.shared.now;
        let allocator = (self.options.allocator)(seed);
        let machine = Master::recover(config, registry, allocator, now, &mut out);
        self.offers = offers::Ledger::new(self.options.checking);
        self.master.start(machine, out, &mut self.shared);
        self.flush_master();
    }

    pub(super) fn start_agent(&mut self, n: u32) {
        let seed = self.shared.rng.next_u64();
        let seat = &mut self.agents[at(n)];
        let state: AgentState = seat.node.disk.read();
        let config = agent::Config::new(seat.info.clone(), seat.info.hostname.as_str(), seed);
        let mut out = Outbox::new();
        let machine = Agent::recover(config, state, self.shared.now, &mut out);
        seat.containers.listen(Some(seat.node.life + 1));
        seat.node.start(machine, out, &mut self.shared);
        self.flush_agent(n);
        self.plan_dial(Name::Agent(n), DIAL);
    }

    pub(super) fn crash(&mut self, name: Name) {
        if self.life(name).is_none() {
            return;
        }
        let shared = &mut self.shared;
        match name {
            Name::Master => self.master.stop(&mut shared.rng),
            Name::Agent(n) => {
                let seat = &mut self.agents[at(n)];
                seat.node.stop(&mut shared.rng);
                seat.containers.listen(None);
                seat.link = Link::Down;
            }
            // What a user's logic knows cannot be rebuilt from bytes.
            Name::Framework(_) => return,
        }
        shared
            .recorder
            .note(shared.now, name, Entry::Fault, &"crash");
        self.net.crash(shared.now, name, &mut shared.queue);
    }

    /// Wipes the disk of an agent, which is down or crashes now. Nobody can say any more what
    /// became of what it ran.
    pub(super) fn lose_disk(&mut self, n: u32) {
        self.crash(Name::Agent(n));
        let disk = &mut self.agents[at(n)].node.disk;
        let state: AgentState = disk.read();
        self.lost.extend(state.agent().cloned());
        *disk = Disk::default();
        let shared = &mut self.shared;
        shared
            .recorder
            .note(shared.now, Name::Agent(n), Entry::Fault, &"disk loss");
    }

    pub(super) fn plan_restart(&mut self, node: Name, after: Duration) {
        let life = match node {
            Name::Master => self.master.life,
            Name::Agent(n) => self.agents[at(n)].node.life,
            Name::Framework(_) => return,
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
            // It came back earlier.
            Name::Master | Name::Agent(_) | Name::Framework(_) => {}
        }
    }

    pub(super) fn cut(&mut self, client: Name, cut: Cut) {
        let shared = &mut self.shared;
        shared.recorder.note(shared.now, client, Entry::Fault, &cut);
        self.net.cut(shared.now, client, cut, &mut shared.queue);
    }

    pub(super) fn stall(&mut self, name: Name, lasting: Duration) {
        let shared = &mut self.shared;
        shared
            .recorder
            .note(shared.now, name, Entry::Fault, &"stall");
        let until = shared.now + lasting;
        match name {
            Name::Master => self.master.disk.stall(until),
            Name::Agent(n) => self.agents[at(n)].node.disk.stall(until),
            // A framework has no disk.
            Name::Framework(_) => {}
        }
    }

    /// Ends all faults: what is down comes back, what is cut off can be reached, disks go on.
    pub(super) fn heal(&mut self) {
        self.options.faults.every = None;
        self.net.mend_all();
        self.master.resume(&mut self.shared);
        for seat in &mut self.agents {
            seat.node.resume(&mut self.shared);
        }
        if self.master.machine().is_none() {
            self.start_master();
        }
        for n in 1..=self.options.agents {
            if self.agents[at(n)].node.machine().is_none() {
                self.start_agent(n);
            }
        }
    }

    pub(super) fn plan_fault(&mut self) {
        if let Some(every) = self.options.faults.every {
            let fault_at = self.shared.now + every.draw(&mut self.shared.rng);
            self.shared.queue.plan(fault_at, Event::Fault);
        }
    }

    pub(super) fn on_fault(&mut self) {
        if self.options.faults.every.is_none() {
            return;
        }
        self.plan_fault();
        let Some(kind) = self.draw_kind() else {
            return;
        };
        let lasting = self.options.faults.lasting.draw(&mut self.shared.rng);
        let Some(victim) = self.draw_victim(kind) else {
            return;
        };
        match kind {
            Kind::MasterCrash | Kind::AgentCrash => {
                self.crash(victim);
                self.plan_restart(victim, lasting);
            }
            Kind::DiskLoss => {
                let Name::Agent(n) = victim else { return };
                self.lose_disk(n);
                self.plan_restart(victim, lasting);
            }
            Kind::Cut => {
                let cuts = [Cut::Both, Cut::Outgoing, Cut::Incoming];
                let drawn = self.shared.rng.below(3) as usize;
                self.cut(victim, cuts[drawn]);
                let mend_at = self.shared.now + lasting;
                self.shared
                    .queue
                    .plan(mend_at, Event::Mend { node: victim });
            }
            Kind::Stall => self.stall(victim, lasting),
            Kind::Vanish => {
                let Name::Agent(n) = victim else { return };
                if self.at_containers(n, |containers, shared| containers.vanish(shared)) {
                    let shared = &mut self.shared;
                    shared
                        .recorder
                        .note(shared.now, victim, Entry::Fault, &"vanish");
                }
            }
        }
    }

    fn draw_kind(&mut self) -> Option<Kind> {
        let faults = &self.options.faults;
        let weights = [
            (Kind::MasterCrash, faults.master_crash),
            (Kind::AgentCrash, faults.agent_crash),
            (Kind::DiskLoss, faults.disk_loss),
            (Kind::Cut, faults.cut),
            (Kind::Stall, faults.stall),
            (Kind::Vanish, faults.vanish),
        ];
        let mut drawn = self.shared.rng.below(weights.iter().map(|(_, w)| w).sum());
        for (kind, weight) in weights {
            if drawn < weight {
                return Some(kind);
            }
            drawn -= weight;
        }
        None
    }

    fn draw_victim(&mut self, kind: Kind) -> Option<Name> {
        let agents = (1..=self.options.agents).map(Name::Agent);
        let frameworks = (1..).map(Name::Framework).take(self.frameworks.len());
        let mut victims: Vec<Name> = match kind {
            Kind::MasterCrash => [Name::Master].into(),
            Kind::AgentCrash | Kind::DiskLoss | Kind::Vanish => agents.collect(),
            Kind::Cut => agents.chain(frameworks).collect(),
            Kind::Stall => agents.chain([Name::Master]).collect(),
        };
        let drawn = self.shared.rng.below(victims.len() as u64) as usize;
        (drawn < victims.len()).then(|| victims.swap_remove(drawn))
    }
}

//! What goes wrong between nodes: cuts, clogs, slow lines, and messages that are changed.
//!
//! Part of the world. Deliberately not here: what a network does with it ([`super::net`]).

use alloc::vec::Vec;
use core::time::Duration;

use super::fault::{Fault, Kind};
use super::line::Pace;
use super::net::Cut;
use super::queue::{End, Event, Name};
use super::world::World;
use crate::rng::Rng;

const CUTS: [Cut; 3] = [Cut::Both, Cut::Outgoing, Cut::Incoming];
/// How much longer messages may take on a slow line.
const SLOW: Duration = Duration::from_secs(5);
/// How long a client that reads slowly takes for one message.
const READ: Duration = Duration::from_secs(2);

impl World {
    /// Loses messages of a client, until it is mended.
    pub(super) fn cut(&mut self, client: Name, cut: Cut, rng: &mut Rng) {
        let kind = match cut {
            Cut::Both => Kind::Cut,
            Cut::Outgoing => Kind::CutOutgoing,
            Cut::Incoming => Kind::CutIncoming,
        };
        self.shared.hit(client, kind);
        let shared = &mut self.shared;
        self.net
            .cut(shared.now, client, cut, rng, &mut shared.queue);
    }

    pub(super) fn suffer_in_net(&mut self, fault: Fault, rng: &mut Rng) {
        let Fault { node, lasting, .. } = fault;
        let until = self.shared.now + lasting;
        match fault.kind {
            Kind::Cut => self.cut_for(node, Cut::Both, lasting, rng),
            Kind::CutOutgoing => self.cut_for(node, Cut::Outgoing, lasting, rng),
            Kind::CutIncoming => self.cut_for(node, Cut::Incoming, lasting, rng),
            Kind::AgentsCut | Kind::FrameworksCut | Kind::AsymmetricCut => {
                self.shared.hit(node, fault.kind);
                self.cut_many(fault, rng);
            }
            Kind::Swizzle => {
                self.shared.hit(node, fault.kind);
                self.swizzle(lasting, rng);
            }
            Kind::Garble => self.garble(node, rng),
            Kind::Slow => {
                self.shared.hit(node, fault.kind);
                self.net.slow(node, until, rng.jitter(SLOW));
            }
            Kind::SlowReader => self.read_slowly(fault, rng),
            Kind::Clog => {
                self.shared.hit(node, fault.kind);
                self.net.clog(node, until, &mut self.shared.queue);
            }
            Kind::Reset => {
                self.shared.hit(node, fault.kind);
                let shared = &mut self.shared;
                self.net.reset(shared.now, rng, &mut shared.queue);
            }
            // These happen to nodes.
            Kind::MasterCrash
            | Kind::AgentCrash
            | Kind::LostTail
            | Kind::TornTail
            | Kind::SlowDisk
            | Kind::DiskFailure
            | Kind::Pause
            | Kind::ClockStep
            | Kind::Reboot
            | Kind::MarkedGone
            | Kind::DiskLoss
            | Kind::Overload
            | Kind::Stall
            | Kind::Vanish
            | Kind::Breach
            | Kind::LaunchFailure
            | Kind::ExecutorCrash
            | Kind::OddExecutor
            | Kind::FrameworkCrash
            | Kind::SecondInstance
            | Kind::FailoverStorm
            | Kind::LostLead
            | Kind::CutExecutors
            | Kind::SlowExecutors
            | Kind::HungLaunch
            | Kind::RunOut
            | Kind::DiskPressure
            | Kind::Leave
            | Kind::CleanUp
            | Kind::NewDescription
            | Kind::FalseAgent
            | Kind::FalseExecutor
            | Kind::FalseFramework
            | Kind::FalseOperator => {}
        }
    }

    fn read_slowly(&mut self, fault: Fault, rng: &mut Rng) {
        self.shared.hit(fault.node, fault.kind);
        let each = rng.jitter(READ);
        let most = 2 + rng.below(30) as usize;
        let until = self.shared.now + fault.lasting;
        self.net.read_slowly(fault.node, until, Pace { each, most });
    }

    fn garble(&mut self, client: Name, rng: &mut Rng) {
        let to = if rng.chance(1, 2) {
            End::Server
        } else {
            End::Client
        };
        if self.net.garble(client, to) {
            self.shared.hit(client, Kind::Garble);
        }
    }

    fn cut_for(&mut self, client: Name, cut: Cut, lasting: Duration, rng: &mut Rng) {
        self.cut(client, cut, rng);
        self.plan_mend(client, lasting);
    }

    fn plan_mend(&mut self, client: Name, after: Duration) {
        let mend_at = self.shared.now + after;
        let queue = &mut self.shared.queue;
        queue.plan(mend_at, Event::Mend { node: client });
    }

    /// Cuts a class of clients off, all in one way or each in its own.
    fn cut_many(&mut self, fault: Fault, rng: &mut Rng) {
        let together = CUTS[rng.below(3) as usize];
        for client in self.clients() {
            // Drawn for all, so that who is left out moves nobody.
            let own = CUTS.get(rng.below(4) as usize).copied();
            let mut chance = rng.fork();
            let is_agent = matches!(client, Name::Agent(_));
            let cut = if fault.kind == Kind::AsymmetricCut {
                own
            } else {
                let is_hit = is_agent == (fault.kind == Kind::AgentsCut);
                is_hit.then_some(together)
            };
            let Some(cut) = cut else { continue };
            let shared = &mut self.shared;
            let queue = &mut shared.queue;
            self.net.cut(shared.now, client, cut, &mut chance, queue);
            self.plan_mend(client, fault.lasting);
        }
    }

    /// Clogs some clients one by one, and lets go of them in another order.
    fn swizzle(&mut self, lasting: Duration, rng: &mut Rng) {
        let spell = self.spell;
        for client in self.clients() {
            let mut chance = rng.fork();
            let begin = self.shared.now + chance.jitter(lasting);
            let until = begin + chance.jitter(lasting);
            if chance.chance(2, 3) {
                let queue = &mut self.shared.queue;
                let clog = Event::Clog {
                    client,
                    until,
                    spell,
                };
                queue.plan(begin, clog);
            }
        }
    }

    pub(super) fn clients(&self) -> Vec<Name> {
        let agents = (1..=self.options.agents).map(Name::Agent);
        let frameworks = (1..).map(Name::Framework).take(self.frameworks.len());
        agents.chain(frameworks).collect()
    }
}

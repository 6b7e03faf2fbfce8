//! What befalls an agent on its own machine, beside crashes: the connections to its executors, the
//! disk of its sandboxes, and whoever runs the machine.
//!
//! Part of the world. Deliberately not here: what goes wrong with containers
//! ([`super::containers`]).

use alloc::format;
use core::time::Duration;

use super::fault::Fault;
use super::options::Span;
use super::property::Property;
use super::queue::{Event, Name};
use super::world::{World, at};
use crate::agent::Input;
use crate::attributes::Attributes;
use crate::ids::ContainerId;
use crate::rng::Rng;

/// How much longer a message between an agent and its executors may take.
const SLOW: Duration = Duration::from_secs(5);
/// How long a sandbox or a volume takes to be deleted.
const DELETE: Span = Span::millis(1, 2_000);
/// How long it is until the disk is measured.
const MEASURE: Duration = Duration::from_secs(1);
/// One sandbox in so many cannot be deleted, and one volume not at first.
const STAYS_ONE_IN: u64 = 8;

impl World {
    /// Lets an agent hear something from its own machine, once it has its turn.
    pub(super) fn tell_agent(&mut self, agent: u32, input: Input) {
        if let Some(life) = self.life(Name::Agent(agent)) {
            let told = Event::Told { agent, life, input };
            self.shared.queue.plan(self.shared.now, told);
        }
    }

    /// Deletes a sandbox, which nothing may run in.
    pub(super) fn delete_sandbox(&mut self, agent: u32, container: ContainerId) {
        let Some(life) = self.life(Name::Agent(agent)) else {
            return;
        };
        let seat = &mut self.agents[at(agent)];
        let is_in_use = seat.containers.is_alive(&container);
        let is_gone = !seat.deletions.chance(1, STAYS_ONE_IN);
        let deleted_at = self.shared.now + DELETE.draw(&mut seat.deletions);
        if is_in_use {
            let problem = format!("agent-{agent} deletes the sandbox of {container}, which runs");
            self.broken(Property::Adoption, problem);
        }
        let input = Input::SandboxDeleted { container, is_gone };
        let told = Event::Told { agent, life, input };
        self.shared.queue.plan(deleted_at, told);
    }

    /// Deletes volumes that an operation has destroyed.
    pub(super) fn delete_volumes(&mut self, agent: u32, order: u64) {
        let Some(life) = self.life(Name::Agent(agent)) else {
            return;
        };
        let seat = &mut self.agents[at(agent)];
        let deleted_at = self.shared.now + DELETE.draw(&mut seat.deletions);
        let is_gone = !seat.deletions.chance(1, STAYS_ONE_IN);
        let input = Input::VolumesDeleted { order, is_gone };
        let told = Event::Told { agent, life, input };
        self.shared.queue.plan(deleted_at, told);
        if !is_gone {
            // It is tried again when the disk is measured.
            let input = Input::DiskUsed { permille: 0 };
            let told = Event::Told { agent, life, input };
            self.shared.queue.plan(deleted_at + MEASURE, told);
        }
    }

    /// Ends the connections between an agent and its executors.
    pub(super) fn cut_executors(&mut self, fault: Fault, rng: &mut Rng) {
        let Name::Agent(n) = fault.node else { return };
        let executors = self.agents[at(n)].containers.executors();
        if executors.cut(rng, &mut self.shared) {
            self.shared.hit(fault.node, fault.kind);
        }
    }

    /// Lets what an agent and its executors say to each other take long.
    pub(super) fn slow_executors(&mut self, fault: Fault, rng: &mut Rng) {
        let Name::Agent(n) = fault.node else { return };
        let until = self.shared.now + fault.lasting;
        let seat = &mut self.agents[at(n)];
        seat.waits.excuse(until + SLOW);
        if seat
            .containers
            .executors()
            .slow_down(until, rng.jitter(SLOW))
        {
            self.shared.hit(fault.node, fault.kind);
        }
    }

    /// Has an agent hear how full the disk of its sandboxes is.
    pub(super) fn fill_disk(&mut self, fault: Fault, rng: &mut Rng) {
        let Name::Agent(n) = fault.node else { return };
        let permille = u16::try_from(rng.below(1_001)).unwrap_or(u16::MAX);
        self.shared.hit(fault.node, fault.kind);
        self.tell_agent(n, Input::DiskUsed { permille });
    }

    /// Lets an operator say that an agent is gone, if the master knows one.
    pub(super) fn give_up(&mut self, fault: Fault) {
        let Name::Agent(n) = fault.node else { return };
        if self.mark_gone(n) {
            self.shared.hit(fault.node, fault.kind);
        }
    }

    /// Has an agent leave the cluster, with all that it runs. It comes back as another one.
    pub(super) fn leave(&mut self, fault: Fault) {
        let Name::Agent(n) = fault.node else { return };
        if self.life(fault.node).is_some() {
            self.shared.hit(fault.node, fault.kind);
            self.tell_agent(n, Input::Leave);
        }
    }

    /// Crashes an agent that ends what it has run when it comes back (AG-17).
    pub(super) fn clean_up(&mut self, fault: Fault, rng: &mut Rng) {
        let Name::Agent(n) = fault.node else { return };
        self.agents[at(n)].cleans_up = true;
        self.shared.hit(fault.node, fault.kind);
        self.crash_for(fault.node, fault.lasting, rng);
    }

    /// Crashes an agent that says something else of its machine when it comes back (AG-21).
    pub(super) fn describe_anew(&mut self, fault: Fault, rng: &mut Rng) {
        let Name::Agent(n) = fault.node else { return };
        let text = format!("rack:r{}", rng.below(4));
        let attributes: Attributes = text.parse().expect("a word is an attribute");
        self.agents[at(n)].info.attributes = attributes;
        self.shared.hit(fault.node, fault.kind);
        self.crash_for(fault.node, fault.lasting, rng);
    }
}

//! One node: a machine, its gate, its disk, and the moment it wants to be woken.
//!
//! The same loop as the real driver's, without waiting. Used by the world for all machines.
//! Deliberately not here: what effects mean.

use core::fmt::Debug;
use core::time::Duration;

use serde::Serialize;

use super::chance::{Purpose, stream};
use super::clock::{Clock, Skew};
use super::fault::Kind;
use super::journal::{Disk, Loss, Synced};
use super::log::{Entry, Recorder};
use super::options::Span;
use super::queue::{Event, Name, Queue};
use super::report::Hits;
use crate::gate::{Gate, Seq};
use crate::machine::{Machine, Outbox, Output};
use crate::rng::Rng;
use crate::time::Time;

/// What every node needs of the world while it has its turn.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) now: Time,
    pub(super) queue: Queue,
    pub(super) recorder: Recorder,
    pub(super) sync: Span,
    pub(super) hits: Hits,
}

impl Shared {
    /// Notes that something went wrong.
    pub(super) fn hit(&mut self, node: Name, kind: Kind) {
        self.hits.count(kind);
        self.recorder
            .note(self.now, node, Entry::Fault, &kind.as_str());
    }
}

/// A machine and what drives it.
#[derive(Debug)]
pub(super) struct Node<M: Machine> {
    pub(super) name: Name,
    /// Counts its lives: what was planned for an earlier one is void.
    pub(super) life: u32,
    pub(super) disk: Disk,
    /// Seeds its machines, one life after the other.
    pub(super) lives: Rng,
    /// How long its disk takes.
    syncs: Rng,
    machine: Option<M>,
    gate: Gate<M::Effect>,
    out: Outbox<M::Record, M::Effect>,
    wake: Option<Time>,
    /// How its wall clock is wrong.
    pub(super) skew: Skew,
    clock: Clock,
}

impl<M: Machine> Node<M>
where
    M::Input: Debug,
    M::Record: Debug + Serialize,
    M::Effect: Debug,
{
    pub(super) fn new(name: Name, seed: u64) -> Self {
        Self {
            name,
            life: 0,
            disk: Disk::default(),
            lives: stream(seed, Purpose::Lives, name),
            syncs: stream(seed, Purpose::Sync, name),
            machine: None,
            gate: Gate::new(),
            out: Outbox::new(),
            wake: None,
            skew: Skew::default(),
            clock: Clock::default(),
        }
    }

    /// Sets the clock for a life that begins, not before the last moment that was recorded.
    /// Returns what it shows.
    pub(super) fn wind(&mut self, now: Time, last: Time) -> Time {
        self.clock = Clock::start(now, self.skew, last);
        self.clock.show(now)
    }

    /// What it was to be woken for is due now, if it is late for that.
    pub(super) fn oversleep(&mut self, now: Time) {
        self.wake = self.wake.map(|at| at.max(now));
    }

    /// Begins a life with a machine and what it wanted at once.
    pub(super) fn start(
        &mut self,
        machine: M,
        out: Outbox<M::Record, M::Effect>,
        shared: &mut Shared,
    ) {
        self.life += 1;
        self.machine = Some(machine);
        self.gate = Gate::new();
        self.out = out;
        self.wake = None;
        self.settle(shared, |_, _| {});
    }

    /// Ends a life: everything that was not durable is gone. Returns what of it was lost how.
    pub(super) fn stop(&mut self, rng: &mut Rng) -> Loss {
        self.machine = None;
        self.gate = Gate::new();
        self.out = Outbox::new();
        self.wake = None;
        self.disk.crash(rng)
    }

    /// Takes the machine out, with a disk on which nothing becomes durable any more. What is left
    /// is down, and has what was durable, and maybe some of what was on its way.
    pub(super) fn depose(&mut self, rng: &mut Rng) -> Self {
        let mut disk = self.disk.clone();
        // Nobody is told: it is another's disk that the next one reads.
        let _ = disk.crash(rng);
        let successor = Self {
            name: self.name,
            life: self.life,
            disk,
            lives: self.lives.fork(),
            syncs: self.syncs.fork(),
            machine: None,
            gate: Gate::new(),
            out: Outbox::new(),
            wake: None,
            skew: self.skew,
            clock: Clock::default(),
        };
        core::mem::replace(self, successor)
    }

    pub(super) fn machine(&self) -> Option<&M> {
        self.machine.as_ref()
    }

    pub(super) fn machine_mut(&mut self) -> Option<&mut M> {
        self.machine.as_mut()
    }

    /// Returns how many effects wait for the disk.
    pub(super) fn held(&self) -> usize {
        self.gate.held()
    }

    /// Returns whether the machine has something to do by itself now.
    pub(super) fn is_due(&self, now: Time) -> bool {
        let deadline = self.machine.as_ref().and_then(Machine::deadline);
        deadline.is_some_and(|at| at <= self.clock.show(now))
    }

    /// Lets the machine do what was due before this moment, if it has not.
    pub(super) fn catch_up(
        &mut self,
        shared: &mut Shared,
        saw: impl FnMut(&M, &Output<M::Record, M::Effect>),
    ) {
        let now = self.clock.show(shared.now);
        if let Some(machine) = &mut self.machine
            && machine.deadline().is_some_and(|at| at < now)
        {
            shared
                .recorder
                .note(shared.now, self.name, Entry::Tick, &"");
            machine.tick(now, &mut self.out);
            self.settle(shared, saw);
        }
    }

    /// Tells the machine something; `saw` is shown each output before it is acted upon.
    pub(super) fn handle(
        &mut self,
        input: M::Input,
        shared: &mut Shared,
        saw: impl FnMut(&M, &Output<M::Record, M::Effect>),
    ) {
        let Some(machine) = &mut self.machine else {
            return;
        };
        shared
            .recorder
            .note(shared.now, self.name, Entry::Input, &input);
        machine.handle(self.clock.show(shared.now), input, &mut self.out);
        self.settle(shared, saw);
    }

    /// Wakes the machine, if this is the moment that it was last planned for. Returns whether.
    pub(super) fn wake(
        &mut self,
        shared: &mut Shared,
        saw: impl FnMut(&M, &Output<M::Record, M::Effect>),
    ) -> bool {
        let Some(machine) = self
            .machine
            .as_mut()
            .filter(|_| self.wake == Some(shared.now))
        else {
            return false;
        };
        self.wake = None;
        shared
            .recorder
            .note(shared.now, self.name, Entry::Tick, &"");
        machine.tick(self.clock.show(shared.now), &mut self.out);
        self.settle(shared, saw);
        true
    }

    /// Takes a report of the disk. Returns whether the disk has failed, and the node with it.
    pub(super) fn synced(&mut self, upto: Seq, shared: &mut Shared) -> bool {
        match self.disk.synced(shared.now, upto) {
            Synced::Stale => {}
            Synced::Failed => return true,
            Synced::Later(at) => self.plan_synced(at, upto, shared),
            Synced::Done => {
                self.gate.persisted(upto);
                self.sync(shared);
            }
        }
        false
    }

    /// Lets a stuck disk go on.
    pub(super) fn resume(&mut self, shared: &mut Shared) {
        if let Some(upto) = self.disk.resume() {
            self.plan_synced(shared.now, upto, shared);
        }
    }

    /// Takes the next effect that may leave.
    pub(super) fn release(&mut self, shared: &mut Shared) -> Option<M::Effect> {
        let effect = self.gate.release()?;
        shared
            .recorder
            .note(shared.now, self.name, Entry::Effect, &effect);
        Some(effect)
    }

    fn settle(
        &mut self,
        shared: &mut Shared,
        mut saw: impl FnMut(&M, &Output<M::Record, M::Effect>),
    ) {
        while let Some(output) = self.out.pop() {
            if let Some(machine) = &self.machine {
                saw(machine, &output);
            }
            if let Some((seq, record)) = self.gate.admit(output) {
                shared
                    .recorder
                    .note(shared.now, self.name, Entry::Record, &record);
                self.disk.append(seq, &record);
            }
        }
        self.sync(shared);
        self.plan_wake(shared);
    }

    fn sync(&mut self, shared: &mut Shared) {
        if let Some((at, upto)) = self.disk.sync(shared.now, shared.sync, &mut self.syncs) {
            self.plan_synced(at, upto, shared);
        }
    }

    fn plan_synced(&self, at: Time, upto: Seq, shared: &mut Shared) {
        let (node, life) = (self.name, self.life);
        shared.queue.plan(at, Event::Synced { node, life, upto });
    }

    /// Plans to wake the machine at its deadline. One that is due already comes a moment later,
    /// so that virtual time goes on whatever a machine wants.
    fn plan_wake(&mut self, shared: &mut Shared) {
        let Some(deadline) = self.machine.as_ref().and_then(Machine::deadline) else {
            return;
        };
        let due = self.clock.when(deadline);
        let at = due.max(shared.now + Duration::from_micros(1));
        if at != Time::MAX && self.wake.is_none_or(|planned| at < planned) {
            self.wake = Some(at);
            shared.queue.plan(at, Event::Wake(self.name));
        }
    }
}

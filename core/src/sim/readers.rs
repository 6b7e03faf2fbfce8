//! Operators who follow agents, schedulers and executors by snapshot and events: what they have is
//! what the machine has (I13).
//!
//! Part of the world. Reading is what whoever runs such a machine does in its own process, so it
//! takes no time and is not lost. Deliberately not here: the master's readers, who ask over
//! connections ([`super::watchers`]).

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};

use super::chance::{Purpose, stream};
use super::options::Span;
use super::property::Property;
use super::queue::{Event, Name};
use super::world::{World, at};
use crate::feed::{Followed, Gap, Picture};
use crate::mirror::Following;
use crate::protocol::events::Named;
use crate::rng::Rng;
use crate::{agent, executor, scheduler};

/// Who is no more events behind than this is told all of them: as many of the longest are kept.
const KEPT: u64 = 64;
/// How long one takes to read again.
const LAG: Span = Span::millis(0, 20_000);

/// Who follows one machine.
#[derive(Debug)]
pub(super) struct Reader<R: Named> {
    has: Option<Following<R>>,
    /// How often it took events in.
    batches: u64,
}

impl<R: Named> Default for Reader<R> {
    fn default() -> Self {
        let has = None;
        Self { has, batches: 0 }
    }
}

impl<R: Named> Reader<R> {
    /// Reads what is new, and compares what it has then with what there is. The machine has been
    /// told that somebody reads.
    pub(super) fn read(&mut self, machine: &impl Followed<Row = R>) -> Result<(), String> {
        let picture = machine.picture();
        let newest = picture.version();
        let whole = Following::of(newest, picture.rows());
        let known = self.has.take();
        let mut has = match known.and_then(|has| Some((has.version()?, has))) {
            Some((version, has)) if version.epoch == newest.epoch => has,
            // Another life.
            Some(_) | None => {
                self.has = Some(whole);
                return Ok(());
            }
        };
        while let Some(version) = has.version().filter(|version| *version != newest) {
            let batch = match machine.events_after(version) {
                Ok(batch) if batch.events.is_empty() => {
                    return Err(format!(
                        "nothing comes after {version:?}, and there is {newest:?}"
                    ));
                }
                Ok(batch) => batch,
                // It has done more in between than is kept.
                Err(Gap) if newest.number - version.number > KEPT => {
                    self.has = Some(whole);
                    return Ok(());
                }
                Err(Gap) => return Err(format!("what comes after {version:?} is gone")),
            };
            self.batches += 1;
            has.apply(batch).map_err(|unfit| unfit.to_string())?;
        }
        if has != whole {
            let (ours, theirs) = (has.rows(), whole.rows());
            return Err(format!("it has {ours:?}, the machine {theirs:?}"));
        }
        self.has = Some(has);
        Ok(())
    }
}

/// All who follow machines that are no master.
#[derive(Debug)]
pub(super) struct Readers {
    chance: Rng,
    agents: BTreeMap<u32, Reader<agent::Row>>,
    /// By framework, and life of the scheduler.
    schedulers: BTreeMap<(u32, u32), Reader<scheduler::Row>>,
    /// By agent, and number there.
    executors: BTreeMap<(u32, u32), Reader<executor::Row>>,
}

impl Readers {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            chance: stream(seed, Purpose::Watch, Name::Master),
            agents: BTreeMap::new(),
            schedulers: BTreeMap::new(),
            executors: BTreeMap::new(),
        }
    }
}

impl World {
    /// Has everybody followed, if there are operators.
    pub(super) fn begin_reading(&mut self) {
        if self.options.watchers == 0 {
            return;
        }
        for n in 1..=self.options.agents {
            self.plan_read(Name::Agent(n));
        }
        for n in (1..).take(self.frameworks.len()) {
            self.plan_read(Name::Framework(n));
        }
    }

    fn plan_read(&mut self, node: Name) {
        let read_at = self.shared.now + LAG.draw(&mut self.readers.chance);
        self.shared.queue.plan(read_at, Event::Read { node });
    }

    pub(super) fn on_read(&mut self, node: Name) {
        match node {
            Name::Agent(n) => {
                self.read_agent(n);
                self.read_executors(n);
            }
            Name::Framework(n) => self.read_schedulers(n),
            Name::Master | Name::Executor { .. } => {}
        }
        self.plan_read(node);
    }

    fn read_agent(&mut self, n: u32) {
        if self.agents[at(n)].node.machine().is_none() {
            return;
        }
        self.agent_hears_locally(n, agent::Input::Follow);
        self.flush_agent(n);
        let reader = self.readers.agents.entry(n).or_default();
        let read = self.agents[at(n)].node.machine();
        let read = read.map_or(Ok(()), |machine| reader.read(machine));
        self.has_read(Name::Agent(n), read);
    }

    fn read_executors(&mut self, n: u32) {
        self.at_containers(n, |containers, shared| containers.follow(shared));
        let readers = &mut self.readers.executors;
        let executors = self.agents[at(n)].containers.executors();
        readers
            .retain(|(agent, executor), _| *agent != n || executors.container(*executor).is_some());
        let mut read = Ok(());
        for (executor, machine) in executors.machines() {
            let reader = readers.entry((n, executor)).or_default();
            read = read.and_then(|()| reader.read(machine));
        }
        self.has_read(Name::Agent(n), read);
    }

    fn read_schedulers(&mut self, n: u32) {
        let shared = &mut self.shared;
        for one in &mut self.frameworks[at(n)].instances {
            one.node.handle(scheduler::Input::Follow, shared, |_, _| {});
        }
        self.flush_framework(n);
        let readers = &mut self.readers.schedulers;
        let instances = &self.frameworks[at(n)].instances;
        readers.retain(|(framework, life), _| {
            *framework != n || instances.iter().any(|one| one.node.life == *life)
        });
        let mut read = Ok(());
        for one in instances {
            let reader = readers.entry((n, one.node.life)).or_default();
            if let Some(hosted) = one.node.machine() {
                read = read.and_then(|()| reader.read(hosted.scheduler()));
            }
        }
        self.has_read(Name::Framework(n), read);
    }

    fn has_read(&mut self, name: Name, read: Result<(), String>) {
        self.note(name, read.map_err(|problem| (Property::Mirrors, problem)));
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;
    use crate::sim::{Checking, Options, Sim};

    fn sim() -> Sim {
        let machine = "cpus:4;mem:1024".parse().expect("it is well-formed");
        let mut options = Options::new(3, 3, 2, machine);
        options.checking = Checking::Always;
        options.watchers = 1;
        Sim::new(options)
    }

    fn sum<K, R: Named>(readers: &BTreeMap<K, Reader<R>>) -> u64 {
        readers.values().map(|reader| reader.batches).sum()
    }

    // I13
    #[test]
    fn readers_follow_every_machine_over_its_lives() {
        let mut sim = sim();
        sim.run_for(Duration::from_secs(300));
        let readers = &sim.world.readers;
        let (agents, schedulers) = (sum(&readers.agents), sum(&readers.schedulers));
        assert!(agents > 20 && schedulers > 20, "{agents}, {schedulers}");
        let life = |sim: &Sim| {
            let has = sim.world.readers.agents[&1].has.as_ref();
            has.and_then(Following::version).expect("it has read").epoch
        };
        let before = life(&sim);
        sim.crash(Name::Agent(1), Duration::from_secs(1));
        sim.run_for(Duration::from_secs(100));
        assert_ne!(life(&sim), before, "another life begins anew");
    }

    // I13
    #[test]
    fn what_a_reader_is_not_told_ends_the_run() {
        let mut sim = sim();
        sim.run_for(Duration::from_secs(60));
        for reader in sim.world.readers.agents.values_mut() {
            let version = reader.has.as_ref().and_then(Following::version);
            reader.has = version.map(|version| Following::of(version, []));
        }
        let violation = sim.advance(Duration::from_secs(60)).unwrap_err();
        assert_eq!(violation.property, Property::Mirrors, "{violation}");
    }
}

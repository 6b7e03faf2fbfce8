//! Executors in simulated containers: the executor machine with a logic in it, and its connection
//! to the agent.
//!
//! Part of an agent's containers, and as these it outlives the agent's crashes. Deliberately not
//! here: when a container starts and ends ([`super::containers`]), and what an executor does with
//! tasks ([`super::workload`]).

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use super::chance::{Purpose, stream};
use super::check::confirmed;
use super::check::messages::Word;
use super::delivery::{GARBLED, decode, encode};
use super::dials::Dials;
use super::fault::Kind;
use super::log::Entry;
use super::net::Net;
use super::node::{Node, Shared};
use super::options::{Options, Span};
use super::queue::{End, Event, Frame, Name};
use super::workload::{Manner, Runs};
use super::world::Link;
use crate::executor::{Config, Effect, Executor, Hosted, Input};
use crate::ids::{ContainerId, ExecutorId, FrameworkId, PeerId, UpdateId};
use crate::limits::Filled;
use crate::machine::Outbox;
use crate::resources::Milli;
use crate::rng::Rng;
use crate::time::Time;

/// How long a message between an executor and its agent is on its way.
const DELAY: Span = Span::millis(0, 2);
/// How long a program takes until it dials.
const DIAL: Span = Span::millis(0, 200);

/// What became of an executor in its turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// It goes on.
    Runs,
    /// Its process ends, and with it this container.
    Ends(ContainerId),
}

#[derive(Debug)]
struct Seat {
    node: Node<Hosted<Runs>>,
    container: ContainerId,
    framework: FrameworkId,
    executor: ExecutorId,
    link: Link,
    dials: Rng,
}

impl Seat {
    /// Lists the updates that the agent has not confirmed.
    fn unconfirmed(&self) -> Vec<UpdateId> {
        let machine = self.node.machine();
        let updates = machine.map(|hosted| hosted.executor().unacknowledged());
        updates.into_iter().flatten().collect()
    }
}

/// One that runs, for who wants to speak in its name.
#[derive(Clone, Debug)]
pub(super) struct Talker {
    pub(super) container: ContainerId,
    pub(super) framework: FrameworkId,
    /// Its connection, if it stands.
    pub(super) peer: Option<PeerId>,
}

/// The executors that run on one agent.
#[derive(Debug)]
pub(super) struct Executors {
    agent: u32,
    seed: u64,
    run: Span,
    redial: Span,
    odd_one_in: u64,
    dials: Dials,
    net: Net,
    seats: BTreeMap<u32, Seat>,
    /// The first thing that one of them has done and should not have.
    violation: Option<String>,
    /// What they and their frameworks have said to each other, since somebody asked.
    words: Vec<(FrameworkId, Word<u32>)>,
}

impl Executors {
    pub(super) fn new(agent: u32, options: &Options) -> Self {
        let seed = options.seed;
        Self {
            agent,
            seed,
            run: options.run,
            redial: options.redial,
            odd_one_in: options.faults.odd_executor_one_in,
            dials: options.dials.clone(),
            net: Net::new(Name::Agent(agent), DELAY, seed),
            seats: BTreeMap::new(),
            violation: None,
            words: Vec::new(),
        }
    }

    /// Takes what they and their frameworks have said to each other since this was asked before.
    pub(super) fn take_words(&mut self) -> Vec<(FrameworkId, Word<u32>)> {
        core::mem::take(&mut self.words)
    }

    /// Returns what one of them has done and should not have.
    pub(super) fn take_violation(&mut self) -> Option<String> {
        self.violation.take()
    }

    fn name(&self, n: u32) -> Name {
        let agent = self.agent;
        Name::Executor { agent, n }
    }

    /// Returns the connections, for the agent's side of them.
    pub(super) fn net(&mut self) -> &mut Net {
        &mut self.net
    }

    /// Lists those that run.
    pub(super) fn talkers(&self) -> Vec<Talker> {
        let seats = self.seats.values();
        let talkers = seats.map(|seat| Talker {
            container: seat.container.clone(),
            framework: seat.framework.clone(),
            peer: match seat.link {
                Link::Up(peer) => Some(peer),
                Link::Down | Link::Dialling(_) => None,
            },
        });
        talkers.collect()
    }

    /// Returns in which container an executor runs.
    pub(super) fn container(&self, n: u32) -> Option<&ContainerId> {
        self.seats.get(&n).map(|seat| &seat.container)
    }

    /// Returns in which container runs who made a connection.
    pub(super) fn of_peer(&self, peer: PeerId) -> Option<&ContainerId> {
        match self.net.client(peer)? {
            Name::Executor { n, .. } => self.container(n),
            Name::Master | Name::Agent(_) | Name::Framework(_) => None,
        }
    }

    /// Ends all connections at once. Returns whether there are executors.
    pub(super) fn cut(&mut self, rng: &mut Rng, shared: &mut Shared) -> bool {
        self.net.reset(shared.now, rng, &mut shared.queue);
        !self.seats.is_empty()
    }

    /// Lets all messages take up to so much longer. Returns whether there are executors.
    pub(super) fn slow_down(&mut self, until: Time, more: Duration) -> bool {
        let executors: Vec<Name> = self.seats.keys().map(|n| self.name(*n)).collect();
        let is_hit = !executors.is_empty();
        for name in executors {
            self.net.slow(name, until, more);
        }
        is_hit
    }

    /// Picks one that runs.
    pub(super) fn pick(&self, rng: &mut Rng) -> Option<ContainerId> {
        let n = rng.below(self.seats.len() as u64);
        let mut seats = self.seats.values();
        seats
            .nth(usize::try_from(n).ok()?)
            .map(|seat| seat.container.clone())
    }

    /// Lists the tasks that executors run: the framework, the id, and a number that no other start
    /// on this agent has.
    pub(super) fn tasks(&self) -> impl Iterator<Item = (&str, &str, u64)> + '_ {
        self.seats.iter().flat_map(|(n, seat)| {
            let hosted = seat.node.machine();
            let tasks = hosted.into_iter().flat_map(|hosted| hosted.logic().tasks());
            let of_seat = u64::from(*n) << 32;
            tasks.map(move |(task, start)| {
                (
                    seat.framework.as_str(),
                    task.as_str(),
                    of_seat | u64::from(start),
                )
            })
        })
    }

    /// Visits the machines of those that run.
    pub(super) fn machines(&self) -> impl Iterator<Item = (u32, &Executor)> + '_ {
        let machines = self.seats.iter();
        machines.filter_map(|(n, seat)| Some((*n, seat.node.machine()?.executor())))
    }

    /// Tells all that somebody reads. Returns what became of each.
    pub(super) fn follow(&mut self, shared: &mut Shared) -> Vec<Turn> {
        let all: Vec<u32> = self.seats.keys().copied().collect();
        let turns = all.into_iter().map(|n| {
            if let Some(seat) = self.seats.get_mut(&n) {
                seat.node.handle(Input::Follow, shared, |_, _| {});
            }
            self.flush(n, shared)
        });
        turns.collect()
    }

    /// Lists how full the tables of executors are.
    pub(super) fn filled(&self) -> impl Iterator<Item = Filled> + '_ {
        let hosted = self.seats.values().filter_map(|seat| seat.node.machine());
        hosted.flat_map(|hosted| hosted.executor().filled())
    }

    /// Returns the cores that tasks of executors use.
    pub(super) fn cpus(&self) -> Milli {
        let hosted = self.seats.values().filter_map(|seat| seat.node.machine());
        let each = hosted.map(|hosted| hosted.logic().cpus());
        each.fold(Milli::ZERO, Milli::saturating_add)
    }

    /// Begins an executor whose program has started.
    pub(super) fn begin(
        &mut self,
        n: u32,
        container: ContainerId,
        (framework, executor): (FrameworkId, ExecutorId),
        shared: &mut Shared,
    ) {
        let name = self.name(n);
        let mut rng = stream(self.seed, Purpose::Executors, name);
        let is_odd = self.odd_one_in > 0 && rng.chance(1, self.odd_one_in);
        let manner = if is_odd {
            shared.hit(name, Kind::OddExecutor);
            Manner::odd(&mut rng)
        } else {
            Manner::Steady
        };
        let mut node = Node::new(name, self.seed);
        let config = Config::new(framework.clone(), executor.clone(), node.lives.next_u64());
        let config = self.dials.executor(config);
        let machine = Hosted::new(config, Runs::new(manner, self.run, rng));
        node.start(machine, Outbox::new(), shared);
        let seat = Seat {
            node,
            container,
            framework,
            executor,
            link: Link::Down,
            dials: stream(self.seed, Purpose::Dial, name),
        };
        self.seats.insert(n, seat);
        if manner != Manner::Mute {
            self.plan_dial(n, DIAL, shared);
        }
    }

    /// Ends an executor whose program has ended. What it has sent arrives.
    pub(super) fn end(&mut self, n: u32, shared: &mut Shared) {
        let name = self.name(n);
        if let Some(mut seat) = self.seats.remove(&n) {
            let queue = &mut shared.queue;
            self.net.crash(shared.now, name, &mut seat.dials, queue);
        }
    }

    /// The agent is gone without a word.
    pub(super) fn agent_crashed(&mut self, rng: &mut Rng, shared: &mut Shared) {
        let agent = Name::Agent(self.agent);
        let queue = &mut shared.queue;
        self.net.crash(shared.now, agent, rng, queue);
    }

    pub(super) fn wake(&mut self, n: u32, shared: &mut Shared) -> Turn {
        let seat = self.seats.get_mut(&n);
        if seat.is_some_and(|seat| seat.node.wake(shared, |_, _| {})) {
            return self.flush(n, shared);
        }
        Turn::Runs
    }

    pub(super) fn dial(&mut self, n: u32, shared: &mut Shared) {
        let name = self.name(n);
        if let Some(seat) = self
            .seats
            .get_mut(&n)
            .filter(|seat| seat.link == Link::Down)
            && let Some(peer) = self.net.dial(shared.now, name, &mut shared.queue)
        {
            seat.link = Link::Dialling(peer);
        }
    }

    /// Takes in what arrives at an executor.
    pub(super) fn arrive(&mut self, peer: PeerId, frame: &Frame, shared: &mut Shared) -> Turn {
        let client = self.net.arrive(peer, End::Client, frame);
        let Some(name @ Name::Executor { n, .. }) = client else {
            return Turn::Runs;
        };
        let Some(seat) = self.seats.get_mut(&n) else {
            return Turn::Runs;
        };
        let input = match frame {
            Frame::Open if seat.link == Link::Dialling(peer) => {
                seat.link = Link::Up(peer);
                Input::Connected { peer }
            }
            Frame::Bytes(bytes) if seat.link == Link::Up(peer) => match decode(bytes) {
                Ok(event) => Input::Agent { peer, event },
                Err(error) => return self.refuse(name, peer, error, shared),
            },
            Frame::Garbled if seat.link == Link::Up(peer) => {
                return self.refuse(name, peer, GARBLED, shared);
            }
            Frame::Close if seat.link.is_of(peer) => {
                let was = core::mem::replace(&mut seat.link, Link::Down);
                self.plan_dial(n, self.redial, shared);
                if matches!(was, Link::Dialling(_)) {
                    return Turn::Runs;
                }
                Input::Disconnected { peer }
            }
            Frame::Open | Frame::Bytes(_) | Frame::Garbled | Frame::Close => return Turn::Runs,
        };
        if let Some(seat) = self.seats.get_mut(&n) {
            let said = confirmed::said(&input);
            let before = seat.unconfirmed();
            seat.node.handle(input, shared, |_, _| {});
            if let Err(problem) = confirmed::check(&before, said, &seat.unconfirmed()) {
                self.violation.get_or_insert(problem);
            }
        }
        self.flush(n, shared)
    }

    fn refuse(
        &mut self,
        name: Name,
        peer: PeerId,
        error: postcard::Error,
        shared: &mut Shared,
    ) -> Turn {
        let entry = Entry::Refusal;
        shared
            .recorder
            .note(shared.now, name, entry, &(peer, error));
        let queue = &mut shared.queue;
        self.net.close(shared.now, peer, End::Client, queue);
        Turn::Runs
    }

    fn plan_dial(&mut self, n: u32, after: Span, shared: &mut Shared) {
        let node = self.name(n);
        if let Some(seat) = self.seats.get_mut(&n) {
            let dial_at = shared.now + after.draw(&mut seat.dials);
            let life = seat.node.life;
            shared.queue.plan(dial_at, Event::Dial { node, life });
        }
    }

    fn flush(&mut self, n: u32, shared: &mut Shared) -> Turn {
        let Some(seat) = self.seats.get_mut(&n) else {
            return Turn::Runs;
        };
        let logic = seat.node.machine_mut().map(Hosted::logic_mut);
        for (is_said, data) in logic.map(Runs::take_words).unwrap_or_default() {
            let word = Word {
                is_said,
                agent: self.agent,
                executor: seat.executor.clone(),
                data,
            };
            self.words.push((seat.framework.clone(), word));
        }
        while let Some(effect) = seat.node.release(shared) {
            match effect {
                Effect::Agent { peer, call } => {
                    let bytes = encode(&call);
                    let queue = &mut shared.queue;
                    self.net.send(shared.now, peer, End::Client, bytes, queue);
                }
                // The machine with a logic inside keeps these to itself.
                Effect::User(_) => {}
                Effect::Exit => return Turn::Ends(seat.container.clone()),
            }
        }
        Turn::Runs
    }
}

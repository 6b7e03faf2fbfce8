//! The schedulers of simulated frameworks: one at a time as a rule, none while it is down, several
//! where each believes that it is the one.
//!
//! Part of the world. Whoever subscribes last has the framework (FW-28); a scheduler that comes
//! back without knowing of the others takes it over again, until it is told. Deliberately not here:
//! what a framework was told ([`super::tap`]).

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::Ordering;
use core::time::Duration;

use super::chance::{Purpose, stream};
use super::check::kills::Wanted;
use super::check::{Broken, leaders, wishes};
use super::fault::Kind;
use super::known::Known;
use super::node::{Node, Shared};
use super::options::Span;
use super::queue::{End, Event, Name};
use super::tap::{Mode, Tap, User};
use super::workload::{Deed, Replay};
use super::world::{Link, World, at};
use crate::ids::{FrameworkId, PeerId};
use crate::machine::Outbox;
use crate::protocol::framework::FrameworkInfo;
use crate::protocol::scheduler as protocol;
use crate::rng::Rng;
use crate::scheduler::{self, Effect, Hosted, Logic};
use crate::time::Time;

/// Nodes do not begin all at once.
const BEGIN: Span = Span::millis(0, 1_000);
/// How far apart the schedulers of a storm come.
const STORM: Span = Span::millis(0, 2_000);

/// Makes a framework's logic, with nothing in its memory; the first is 1.
pub(super) type Make = Box<dyn Fn(u32) -> Box<dyn Logic>>;

/// One scheduler, from its start to its end.
#[derive(Debug)]
pub(super) struct Instance {
    pub(super) node: Node<Hosted<Tap>>,
    pub(super) link: Link,
    /// The newest leadership that it has heard of.
    seen: u64,
    /// What it was asked to end.
    kills: Wanted,
}

impl Instance {
    /// Hears a master, who may have the lead no more; returns what it should not have believed.
    pub(super) fn hear(
        &mut self,
        input: scheduler::Input,
        is_deposed: bool,
        shared: &mut Shared,
    ) -> Result<(), Broken> {
        let mut speaks = None;
        if let scheduler::Input::Master {
            event: protocol::Event::Subscribed { epoch, .. },
            ..
        } = &input
        {
            speaks = Some(*epoch);
        }
        if let Some(hosted) = self.node.machine_mut() {
            hosted.logic_mut().hears_deposed(is_deposed);
        }
        self.node.handle(input, shared, |_, _| {});
        let hosted = self.node.machine();
        let believes = hosted.is_some_and(|hosted| hosted.scheduler().is_subscribed());
        let checked = leaders::check_belief(speaks, self.seen, believes);
        self.seen = self.seen.max(speaks.unwrap_or(0));
        checked
    }
}

/// A framework.
pub(super) struct FrameworkSeat {
    name: Name,
    info: FrameworkInfo,
    seed: u64,
    make: Option<Make>,
    /// What all its schedulers were told.
    pub(super) known: Known,
    /// Those that run, oldest first.
    pub(super) instances: Vec<Instance>,
    /// How many there were.
    made: u32,
    /// Whether another comes, though none is there.
    is_awaited: bool,
    dials: Rng,
    lives: Rng,
}

impl fmt::Debug for FrameworkSeat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrameworkSeat")
            .field("name", &self.name)
            .field("instances", &self.instances)
            .finish_non_exhaustive()
    }
}

impl FrameworkSeat {
    /// Returns what it is called.
    pub(super) fn title(&self) -> &str {
        &self.info.name
    }

    /// Returns the id that it was given, once it has heard of it.
    pub(super) fn id(&self) -> Option<&FrameworkId> {
        self.info.id.as_ref()
    }

    /// Returns whether it is at its end: nobody speaks for it any more.
    pub(super) fn is_over(&self) -> bool {
        self.instances.is_empty() && !self.is_awaited
    }

    /// Visits its schedulers.
    pub(super) fn machines(&self) -> impl Iterator<Item = &Hosted<Tap>> + '_ {
        self.instances.iter().filter_map(|one| one.node.machine())
    }

    /// Has a scheduler read what was written down by all.
    pub(super) fn remind(&mut self, life: u32) {
        let open = self.known.open();
        let one = self.of_life(life);
        if let Some(hosted) = one.and_then(|one| one.node.machine_mut()) {
            hosted.logic_mut().remember(open);
        }
    }

    fn find(&mut self, is: impl Fn(&Instance) -> bool) -> Option<&mut Instance> {
        self.instances.iter_mut().find(|one| is(one))
    }

    /// Returns the scheduler that a connection is of, made or on its way.
    pub(super) fn of_peer(&mut self, peer: PeerId) -> Option<&mut Instance> {
        self.find(|one| one.link.is_of(peer))
    }

    pub(super) fn of_life(&mut self, life: u32) -> Option<&mut Instance> {
        self.find(|one| one.node.life == life)
    }
}

impl World {
    /// Adds a framework with its first logic. One that cannot make others does not crash.
    pub(super) fn add_framework(
        &mut self,
        info: FrameworkInfo,
        first: User,
        make: Option<Make>,
    ) -> Name {
        let n = u32::try_from(self.frameworks.len() + 1).expect("there are fewer frameworks");
        let name = Name::Framework(n);
        let seed = self.options.seed;
        self.frameworks.push(FrameworkSeat {
            name,
            info,
            seed,
            make,
            known: Known::default(),
            instances: Vec::new(),
            made: 0,
            is_awaited: false,
            dials: stream(seed, Purpose::Dial, name),
            lives: stream(seed, Purpose::Lives, name),
        });
        self.start_scheduler(n, first);
        name
    }

    /// Begins a scheduler of a framework, whether or not there are others.
    fn start_scheduler(&mut self, n: u32, logic: User) {
        let (mode, dials) = (self.mode, self.options.dials.clone());
        let seat = &mut self.frameworks[at(n)];
        seat.made += 1;
        seat.is_awaited = false;
        let mut node = Node::new(seat.name, seat.seed);
        node.life = seat.made - 1;
        let config = scheduler::Config::new(seat.info.clone(), seat.lives.next_u64());
        let config = dials.scheduler(config);
        let mut tap = Tap::new(logic, seat.info.clone());
        tap.set_mode(mode);
        node.start(Hosted::new(config, tap), Outbox::new(), &mut self.shared);
        let (name, life) = (seat.name, node.life);
        let link = Link::Down;
        seat.instances.push(Instance {
            node,
            link,
            seen: 0,
            kills: Wanted::default(),
        });
        self.plan_dial(name, life, BEGIN);
    }

    /// Begins another scheduler, which remembers nothing but the framework's id; without one it
    /// would be another framework. Returns whether that can be made.
    pub(super) fn another_scheduler(&mut self, n: u32) -> bool {
        let seat = &self.frameworks[at(n)];
        if seat.is_over() || (seat.id().is_none() && !seat.instances.is_empty()) {
            return false;
        }
        let Some(make) = &seat.make else {
            return false;
        };
        let logic = User::Any(make(seat.made + 1));
        self.start_scheduler(n, logic);
        true
    }

    /// Ends all schedulers of a framework without a word. Another comes later.
    pub(super) fn crash_framework(&mut self, n: u32, down: Duration, rng: &mut Rng) {
        let seat = &mut self.frameworks[at(n)];
        if seat.make.is_none() || seat.instances.is_empty() {
            return;
        }
        seat.instances.clear();
        seat.is_awaited = true;
        let (node, life) = (seat.name, seat.made);
        let shared = &mut self.shared;
        shared.hit(node, Kind::FrameworkCrash);
        self.net.crash(shared.now, node, rng, &mut shared.queue);
        let restart_at = shared.now + down;
        shared.queue.plan(restart_at, Event::Restart { node, life });
    }

    /// Brings a framework back that has crashed, unless that was done.
    pub(super) fn on_framework_restart(&mut self, n: u32, life: u32) {
        let seat = &self.frameworks[at(n)];
        if seat.is_awaited && seat.made == life {
            self.another_scheduler(n);
        }
    }

    /// Brings back at once whoever has crashed.
    pub(super) fn return_frameworks(&mut self) {
        for n in (1..).take(self.frameworks.len()) {
            if self.frameworks[at(n)].is_awaited {
                self.another_scheduler(n);
            }
        }
    }

    /// Plans that several schedulers of a framework come one after the other.
    pub(super) fn storm(&mut self, n: u32, rng: &mut Rng) {
        let (framework, spell) = (n, self.spell);
        for _ in 0..2 + rng.below(6) {
            let begin = self.shared.now + STORM.draw(rng);
            let event = Event::Another { framework, spell };
            self.shared.queue.plan(begin, event);
        }
    }

    pub(super) fn wake_framework(&mut self, n: u32) {
        let shared = &mut self.shared;
        let mut has_news = false;
        for one in &mut self.frameworks[at(n)].instances {
            has_news |= one.node.wake(shared, |_, _| {});
        }
        if has_news {
            self.flush_framework(n);
        }
    }

    pub(super) fn flush_framework(&mut self, n: u32) {
        let seat = &mut self.frameworks[at(n)];
        let mut said = Ok(());
        for one in &mut seat.instances {
            if let Some(hosted) = one.node.machine_mut() {
                seat.known.note(hosted.logic_mut());
                one.kills.wants(hosted.logic_mut().take_kills());
                let words = hosted.logic_mut().take_words();
                if let Some(id) = hosted.scheduler().framework() {
                    let (messages, ids) = (&mut self.messages, &self.identities);
                    let mut words = words.into_iter();
                    let heard = words.try_for_each(|word| messages.of_framework(id, word, ids));
                    said = said.and(heard);
                }
            }
        }
        let lives = seat.instances.iter();
        let lives: Vec<u32> = lives.map(|one| one.node.life).collect();
        self.note(Name::Framework(n), said);
        for life in lives {
            self.flush_scheduler(n, life);
        }
        self.check(Name::Framework(n));
    }

    fn flush_scheduler(&mut self, n: u32, life: u32) {
        while let Some(one) = self.frameworks[at(n)].of_life(life) {
            let Some(effect) = one.node.release(&mut self.shared) else {
                break;
            };
            one.kills.saw(&effect);
            let hosted = one.node.machine().map(Hosted::logic);
            let asked = hosted.map_or(Ok(()), |tap| wishes::check_asked(tap, &effect));
            let link = one.link;
            self.note(Name::Framework(n), asked);
            let now = self.shared.now;
            let queue = &mut self.shared.queue;
            match effect {
                Effect::Master { peer, call } => self.say(peer, End::Client, &call),
                Effect::Reconnect { peer, .. } => self.net.close(now, peer, End::Client, queue),
                Effect::Stop => {
                    if let Link::Up(peer) | Link::Dialling(peer) = link {
                        self.net.close(now, peer, End::Client, queue);
                    }
                    let instances = &mut self.frameworks[at(n)].instances;
                    instances.retain(|one| one.node.life != life);
                }
                // The machine with a logic inside keeps these to itself.
                Effect::User(_) => {}
            }
        }
        if let Some(one) = self.frameworks[at(n)].of_life(life) {
            if let Some(hosted) = one.node.machine_mut() {
                hosted.logic_mut().end_step();
            }
            let hosted = one.node.machine();
            let is_subscribed = hosted.is_some_and(|hosted| hosted.scheduler().is_subscribed());
            let checked = one.kills.check(is_subscribed);
            self.note(Name::Framework(n), checked);
        }
        let seat = &mut self.frameworks[at(n)];
        if seat.info.id.is_none() {
            let id = seat.machines().find_map(|one| one.scheduler().framework());
            seat.info.id = id.cloned();
        }
    }

    /// Returns the scheduler of a framework that replays a trace, if it is one.
    pub(super) fn replay(&self, name: Name) -> Option<&Replay> {
        let Name::Framework(n) = name else {
            return None;
        };
        let mut machines = self.frameworks[at(n)].machines();
        machines.next()?.logic().replay()
    }

    /// Takes what such a scheduler did since this was asked before.
    pub(super) fn take_deeds(&mut self, name: Name) -> Vec<(Time, Deed)> {
        let Name::Framework(n) = name else {
            return Vec::new();
        };
        let instances = self.frameworks[at(n)].instances.iter_mut();
        let mut hosted = instances.filter_map(|one| one.node.machine_mut());
        let replay = hosted
            .next()
            .and_then(|hosted| hosted.logic_mut().replay_mut());
        replay.map(Replay::take_deeds).unwrap_or_default()
    }

    /// Lets all schedulers see offers, or none.
    pub(super) fn set_mode(&mut self, mode: Mode) {
        self.mode = mode;
        self.is_quiet.store(mode == Mode::Quiet, Ordering::Relaxed);
        for one in self
            .frameworks
            .iter_mut()
            .flat_map(|seat| &mut seat.instances)
        {
            if let Some(hosted) = one.node.machine_mut() {
                hosted.logic_mut().set_mode(mode);
            }
        }
    }

    pub(super) fn draw_dial(&mut self, n: u32, after: Span) -> Duration {
        after.draw(&mut self.frameworks[at(n)].dials)
    }

    /// Returns the link of a scheduler that may dial.
    pub(super) fn scheduler_link(&mut self, n: u32, life: u32) -> Option<&mut Link> {
        let one = self.frameworks[at(n)].of_life(life)?;
        Some(&mut one.link)
    }
}

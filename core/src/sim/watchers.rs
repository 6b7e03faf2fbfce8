//! Operators who follow the master by snapshot and events: they lag, lose their connections, and go
//! on where they were.
//!
//! Part of the world. What they ask and hear takes no time and is not lost, for what networks do to
//! connections is the matter of [`super::net`]; it passes through its bytes and the master's gate.
//! Deliberately not here: whether what they have is true ([`super::check`]).

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use super::chance::{Purpose, stream};
use super::delivery::{decode, encode};
use super::options::Span;
use super::property::Property;
use super::queue::{Event, Name};
use super::world::{World, at};
use crate::auth::{PeerRole, Principal};
use crate::ids::{PeerId, RequestId};
use crate::master::Input;
use crate::mirror::Mirror;
use crate::protocol::events::{Kind, Version};
use crate::protocol::operator::{Answer, Call, Cursor, Request, Response};
use crate::rng::Rng;

/// How long one takes to ask again. Some are so slow that what they want is kept no more.
const LAG: Span = Span::millis(0, 10_000);
/// The same for the next page of a snapshot.
const PAGE_LAG: Span = Span::millis(0, 1_000);
/// One connection in so many breaks before the next question, and one question in so many is not
/// waited for.
const BREAKS_ONE_IN: u64 = 6;
/// Their connections are none of the network's, whose numbers are smaller.
const FIRST_PEER: u64 = 1 << 62;

/// What a watcher asks next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// A page of the snapshot: of the kind in this place, after this entry.
    Page(usize, Option<Cursor>),
    /// Events.
    Events,
}

/// An operator.
#[derive(Debug)]
pub(super) struct Watcher {
    n: u32,
    /// Its connection; `None` if it is broken.
    peer: Option<PeerId>,
    connections: u64,
    next: Next,
    /// The question that has no answer yet.
    asked: Option<RequestId>,
    /// Counts questions and answers: what was planned before the last of them is void.
    turn: u64,
    chance: Rng,
    mirror: Mirror,
    /// How often it took events in; and how often it had to begin anew.
    batches: u64,
    gaps: u64,
}

impl Watcher {
    pub(super) fn new(n: u32, seed: u64) -> Self {
        Self {
            n,
            peer: None,
            connections: 0,
            next: Next::Page(0, None),
            asked: None,
            turn: 0,
            chance: stream(seed, Purpose::Watch, Name::Framework(n)),
            mirror: Mirror::default(),
            batches: 0,
            gaps: 0,
        }
    }

    /// Returns what it knows, once it has all pages of the snapshot.
    pub(super) fn mirror(&self) -> Option<&Mirror> {
        (self.next == Next::Events).then_some(&self.mirror)
    }

    /// Returns after which version its question for events waits, if one does.
    pub(super) fn waits_after(&self) -> Option<Version> {
        let waits = self.asked.is_some() && self.next == Next::Events;
        self.mirror.version().filter(|_| waits)
    }

    /// Says what it does now. A question that has no answer is given up with its connection; others
    /// break by themselves.
    fn act(&mut self) -> Vec<Input> {
        let mut inputs = Vec::new();
        let breaks = self.asked.take().is_some() || self.chance.below(BREAKS_ONE_IN) == 0;
        if let Some(peer) = self.peer.take_if(|_| breaks) {
            inputs.push(Input::Disconnected { peer });
        }
        let peer = match self.peer {
            Some(peer) => peer,
            None => {
                let peer = self.dial();
                let principal = Principal {
                    role: PeerRole::Operator,
                    name: self.to_string(),
                };
                inputs.push(Input::Connected { peer, principal });
                peer
            }
        };
        self.turn += 1;
        let id = RequestId(self.turn);
        self.asked = Some(id);
        let (call, after) = match self.next {
            Next::Page(place, after) => (
                Call::Snapshot {
                    of: Kind::ALL[place],
                },
                after,
            ),
            Next::Events => {
                let after = self.mirror.version();
                (Call::WatchAll { after }, None)
            }
        };
        let request = Request { id, call, after };
        inputs.push(Input::Operator { peer, request });
        inputs
    }

    fn dial(&mut self) -> PeerId {
        self.connections += 1;
        let peer = PeerId(FIRST_PEER | u64::from(self.n) << 32 | self.connections);
        self.peer = Some(peer);
        peer
    }

    fn begin_anew(&mut self) {
        self.mirror = Mirror::default();
        self.next = Next::Page(0, None);
    }

    /// Takes in an answer; says what is wrong with it.
    fn hear(&mut self, response: Response) -> Result<(), String> {
        if self.asked != Some(response.id) {
            return Err(format!("an answer to no question: {:?}", response.id));
        }
        self.asked = None;
        self.turn += 1;
        let taken = if let Next::Page(place, _) = self.next {
            let Answer::Snapshot(page) = response.answer else {
                return Err(format!("{:?} is no page", response.answer));
            };
            self.next = match response.next {
                Some(after) => Next::Page(place, Some(after)),
                None if place + 1 < Kind::ALL.len() => Next::Page(place + 1, None),
                None => Next::Events,
            };
            self.mirror.load(page)
        } else if let Answer::Gap { .. } = response.answer {
            self.gaps += 1;
            self.begin_anew();
            Ok(())
        } else {
            let Answer::Events(batch) = response.answer else {
                return Err(format!("{:?} is no event", response.answer));
            };
            self.batches += 1;
            self.mirror.apply(batch)
        };
        taken.map_err(|unfit| unfit.to_string())
    }

    /// Its master is gone.
    fn lose(&mut self) {
        self.peer = None;
        self.asked = None;
        self.turn += 1;
        if let Next::Page(..) = self.next {
            // Pages of two masters do not fit together.
            self.begin_anew();
        }
    }

    /// Returns whether it does something in a while. Few give a question up.
    fn acts(&mut self) -> bool {
        self.asked.is_none() || self.chance.below(BREAKS_ONE_IN) == 0
    }
}

impl fmt::Display for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "watcher-{}", self.n)
    }
}

impl World {
    /// Begins with a master that knows no watcher.
    pub(super) fn watch_anew(&mut self) {
        for n in 1..=self.options.watchers {
            self.watchers[at(n)].lose();
            self.plan_look(n);
        }
    }

    fn plan_look(&mut self, watcher: u32) {
        let row = &mut self.watchers[at(watcher)];
        if row.acts() {
            let lag = match row.next {
                Next::Page(..) => PAGE_LAG,
                Next::Events => LAG,
            };
            let look_at = self.shared.now + lag.draw(&mut row.chance);
            let turn = row.turn;
            let look = Event::Look { watcher, turn };
            self.shared.queue.plan(look_at, look);
        }
    }

    /// A watcher acts, unless it has done something since that was planned, or nobody is there.
    pub(super) fn on_look(&mut self, n: u32, turn: u64) {
        let watcher = &mut self.watchers[at(n)];
        if watcher.turn != turn || self.master.machine().is_none() {
            return;
        }
        for input in watcher.act() {
            self.master_hears(input);
        }
        self.plan_look(n);
        self.flush_master();
    }

    /// Gives an operator its answer.
    pub(super) fn respond(&mut self, peer: PeerId, response: &Response) {
        if self.operator_hears(peer, response) {
            return;
        }
        let mut watchers = self.watchers.iter_mut();
        let Some(watcher) = watchers.find(|watcher| watcher.peer == Some(peer)) else {
            // It has lost this connection.
            return;
        };
        let decoded = decode(&encode(response)).map_err(|error| error.to_string());
        let heard = decoded.and_then(|response| watcher.hear(response));
        let (n, name) = (watcher.n, watcher.to_string());
        if let Err(problem) = heard {
            self.broken(Property::Mirrors, format!("{name}: {problem}"));
        }
        self.plan_look(n);
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;
    use crate::protocol::events::Snapshot;
    use crate::sim::{Checking, Options, Sim};

    fn options(events_kept: usize) -> Options {
        let machine = "cpus:4;mem:1024".parse().expect("it is well-formed");
        let mut options = Options::new(3, 3, 2, machine);
        options.checking = Checking::Always;
        options.watchers = 3;
        options.events_kept = events_kept;
        options
    }

    /// How often watchers took events in, and how often they began anew.
    fn seen(sim: &Sim) -> (u64, u64) {
        let watchers = sim.world.watchers.iter();
        watchers.fold((0, 0), |(batches, gaps), it| {
            (batches + it.batches, gaps + it.gaps)
        })
    }

    // I13
    #[test]
    fn watchers_follow_over_lost_connections_gaps_and_masters() {
        let mut sim = Sim::new(options(100_000));
        sim.run_for(Duration::from_secs(300));
        let (batches, gaps) = seen(&sim);
        assert!(batches > 50, "{batches} answers with events");
        assert_eq!(gaps, 0, "all that they want is kept");
        let broken = sim.world.watchers.iter().filter(|it| it.connections > 1);
        assert!(broken.count() > 0, "no connection broke");
        sim.crash(Name::Master, Duration::from_secs(1));
        sim.run_for(Duration::from_secs(300));
        assert_eq!(seen(&sim).1, 3, "another master begins anew");
        let whole = |it: &Watcher| it.mirror().is_some_and(Mirror::is_whole);
        let followed = sim.world.watchers.iter().all(whole);
        assert!(followed, "all have what the new one has");

        let mut sim = Sim::new(options(2));
        sim.run_for(Duration::from_secs(300));
        let (_, gaps) = seen(&sim);
        assert!(gaps > 3, "{gaps} gaps");
    }

    // I13
    #[test]
    fn what_a_watcher_is_not_told_ends_the_run() {
        let mut sim = Sim::new(options(1_000));
        sim.run_for(Duration::from_secs(60));
        for watcher in &mut sim.world.watchers {
            let Some(version) = watcher.mirror.version() else {
                continue;
            };
            let mut forgets = Mirror::default();
            let page = Snapshot {
                from: version,
                upto: version,
                rows: Vec::new(),
            };
            forgets.load(page).expect("it is the first");
            watcher.mirror = forgets;
        }
        let violation = sim.advance(Duration::from_secs(60)).unwrap_err();
        assert_eq!(violation.property, Property::Mirrors, "{violation}");
    }
}

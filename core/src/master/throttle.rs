//! How fast frameworks are heard (SE-33): each principal in its turn, at even distances.
//!
//! A scheduler that calls in a tight loop must not take the master's time from all others. What
//! comes too early waits in the order in which it was said, and the end of a connection waits
//! behind what was said over it; what finds no room is turned down. Agents, operators and answers
//! are never held up. Unlike in Mesos it holds for every kind of scheduler.
//!
//! Called by the dispatch. Deliberately not here: what calls do (`on_scheduler`).

use alloc::collections::{BTreeMap, VecDeque};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use tracing::debug;

use super::interface::{CallRate, CallRates};
use super::{Cx, Master, Timer};
use crate::ids::PeerId;
use crate::limits::{self, Filled};
use crate::protocol::hello::CloseReason;
use crate::protocol::refusal::RejectKind;
use crate::protocol::scheduler::{Call, Event};
use crate::protocol::wire::size;
use crate::roles::Role;
use crate::time::Time;

/// What waits for its turn.
#[derive(Debug)]
enum Word {
    /// A call, and how large it is.
    Call(Call, usize),
    /// The connection is gone.
    Lost,
}

/// Those who are heard at one rate.
#[derive(Debug)]
struct Line {
    /// Between two calls.
    every: Duration,
    /// How many calls may wait.
    most: usize,
    /// When the next call is heard.
    next: Time,
    calls: usize,
    waiting: VecDeque<(PeerId, Word)>,
}

impl Line {
    fn new(rate: CallRate) -> Self {
        Self {
            every: rate.per / rate.calls.max(1),
            most: rate.waiting,
            next: Time::ZERO,
            calls: 0,
            waiting: VecDeque::new(),
        }
    }
}

/// Who is heard at which rate, and what waits.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    lines: Vec<Line>,
    /// The line of each principal that has a word of its own; without one it is not bounded.
    named: BTreeMap<String, Option<usize>>,
    /// The line of all others together.
    others: Option<usize>,
    /// How many words wait of each connection.
    peers: BTreeMap<PeerId, usize>,
    calls: usize,
    bytes: usize,
    /// How many were turned down.
    turned_down: u64,
}

impl Throttle {
    pub(super) fn new(rates: &CallRates) -> Self {
        let mut lines = Vec::new();
        let mut line = |rate: Option<CallRate>| {
            lines.push(Line::new(rate?));
            Some(lines.len() - 1)
        };
        let named = rates.named.iter();
        let named = named.map(|(name, rate)| (name.clone(), line(*rate)));
        let named = named.collect();
        let others = line(rates.others);
        Self {
            named,
            others,
            lines,
            ..Self::default()
        }
    }

    /// Lists what is bounded, how much there is of it, and how much there may be. Of lines the one
    /// counts that has the least room.
    pub(super) fn filled(&self) -> Vec<Filled> {
        let fullest = self.lines.iter();
        let fullest = fullest.min_by_key(|line| line.most.saturating_sub(line.calls));
        let line = fullest.map(|line| Filled::new("calls in a line", line.calls, line.most));
        let all = [
            Filled::new("calls that wait", self.calls, limits::THROTTLED_CALLS),
            Filled::new("bytes of calls", self.bytes, limits::THROTTLED_BYTES),
        ];
        all.into_iter().chain(line).collect()
    }

    fn line_of(&self, principal: &str) -> Option<usize> {
        self.named.get(principal).copied().unwrap_or(self.others)
    }

    /// Returns whether a call may be heard now, and counts it.
    fn take(&mut self, line: usize, now: Time) -> bool {
        let line = &mut self.lines[line];
        let is_free = line.waiting.is_empty() && line.next <= now;
        if is_free {
            line.next = now + line.every;
        }
        is_free
    }

    /// Has a call wait, or gives it back if there is no room.
    fn wait(&mut self, line: usize, peer: PeerId, call: Call) -> Option<Call> {
        let of = &mut self.lines[line];
        if of.calls >= of.most || self.calls >= limits::THROTTLED_CALLS {
            return Some(call);
        }
        let bytes = size(&call);
        if self.bytes + bytes > limits::THROTTLED_BYTES {
            return Some(call);
        }
        of.calls += 1;
        of.waiting.push_back((peer, Word::Call(call, bytes)));
        self.calls += 1;
        self.bytes += bytes;
        *self.peers.entry(peer).or_default() += 1;
        None
    }

    /// Has the end of a connection wait behind what was said over it. `false` if nothing waits.
    fn end(&mut self, line: usize, peer: PeerId) -> bool {
        let Some(words) = self.peers.get_mut(&peer) else {
            return false;
        };
        *words += 1;
        self.lines[line].waiting.push_back((peer, Word::Lost));
        true
    }

    /// Takes out what is to be heard now, if anything is. Of connections that were closed from our
    /// side nothing is heard, and that costs nobody a turn.
    fn serve(&mut self, now: Time, is_there: impl Fn(PeerId) -> bool) -> Option<(PeerId, Word)> {
        for n in 0..self.lines.len() {
            while let Some((peer, word)) = self.lines[n].waiting.front() {
                let is_heard = is_there(*peer);
                let is_turn = is_heard && matches!(word, Word::Call(..));
                if is_turn && self.lines[n].next > now {
                    break;
                }
                let word = self.pop(n);
                if is_turn {
                    self.lines[n].next = now + self.lines[n].every;
                }
                if is_heard {
                    return word;
                }
            }
        }
        None
    }

    fn pop(&mut self, line: usize) -> Option<(PeerId, Word)> {
        let (peer, word) = self.lines[line].waiting.pop_front()?;
        if let Word::Call(_, bytes) = &word {
            self.lines[line].calls -= 1;
            self.calls -= 1;
            self.bytes -= bytes;
        }
        if let Some(words) = self.peers.get_mut(&peer) {
            *words -= 1;
            if *words == 0 {
                self.peers.remove(&peer);
            }
        }
        Some((peer, word))
    }

    /// Returns when the next call that waits is heard.
    fn due(&self) -> Option<Time> {
        let busy = self.lines.iter().filter(|line| !line.waiting.is_empty());
        busy.map(|line| line.next).min()
    }

    fn check(&self) {
        let waiting = || self.lines.iter().flat_map(|line| &line.waiting);
        let bytes = waiting().filter_map(|(_, word)| match word {
            Word::Call(_, bytes) => Some(*bytes),
            Word::Lost => None,
        });
        let bytes: Vec<usize> = bytes.collect();
        let calls: usize = self.lines.iter().map(|line| line.calls).sum();
        assert_eq!(
            (calls, self.calls),
            (bytes.len(), bytes.len()),
            "calls wait"
        );
        assert_eq!(self.bytes, bytes.iter().sum::<usize>(), "bytes wait");
        assert!(self.lines.iter().all(|line| line.calls <= line.most));
        let mut peers: BTreeMap<PeerId, usize> = BTreeMap::new();
        for (peer, _) in waiting() {
            *peers.entry(*peer).or_default() += 1;
        }
        assert_eq!(self.peers, peers, "who waits");
    }
}

impl Master {
    /// Takes in what a framework says, now or when it is its turn.
    pub(super) fn hear(&mut self, cx: &mut Cx<'_>, peer: PeerId, call: Call) {
        let Some(line) = self.line_of(peer) else {
            self.on_scheduler(cx, peer, call);
            return;
        };
        if self.throttle.take(line, cx.now) {
            self.on_scheduler(cx, peer, call);
        } else if let Some(call) = self.throttle.wait(line, peer, call) {
            self.turn_down(cx, peer, call);
        }
        self.arm_throttle();
    }

    /// Returns whether the end of a connection waits for what was said over it.
    pub(super) fn is_held_up(&mut self, peer: PeerId) -> bool {
        let line = self.line_of(peer);
        line.is_some_and(|line| self.throttle.end(line, peer))
    }

    fn line_of(&self, peer: PeerId) -> Option<usize> {
        let known = self.peers.get(peer)?;
        self.throttle.line_of(&known.principal.name)
    }

    /// Hears those whose turn it is.
    pub(super) fn on_throttle(&mut self, cx: &mut Cx<'_>) {
        self.throttle_at = None;
        loop {
            let peers = &self.peers;
            let word = self
                .throttle
                .serve(cx.now, |peer| peers.get(peer).is_some());
            match word {
                Some((peer, Word::Call(call, _))) => self.on_scheduler(cx, peer, call),
                Some((peer, Word::Lost)) => {
                    let part = self.peers.remove(peer).and_then(|gone| gone.part);
                    self.on_lost(cx, peer, part);
                }
                None => break,
            }
            // Each as if it had come just now (OF-20).
            self.finish_drains(cx);
            self.settle(cx);
        }
        self.arm_throttle();
    }

    fn arm_throttle(&mut self) {
        let due = self.throttle.due();
        let before = core::mem::replace(&mut self.throttle_at, due);
        self.rearm(Timer::Throttle, before, due);
    }

    /// Turns a call down for which there is no room.
    ///
    /// The offers that it answers are free again in any case: its scheduler knows of them no more.
    /// And what confirms something is heard, and who ends his framework: it makes room, and is not
    /// said again.
    fn turn_down(&mut self, cx: &mut Cx<'_>, peer: PeerId, call: Call) {
        self.throttle.turned_down += 1;
        let kind = call.kind();
        debug!(?peer, %kind, "more calls wait than may");
        let why = format!("{kind}: more calls wait than may for this principal");
        let Some(framework) = self.peers.framework(peer) else {
            self.disconnect(cx, peer, CloseReason::Overloaded, why);
            return;
        };
        if let Call::Acknowledge { .. } | Call::AcknowledgeOperation { .. } | Call::Teardown = call
        {
            self.on_scheduler(cx, peer, call);
            return;
        }
        if let Call::Accept {
            offers, operations, ..
        } = call
        {
            let refusal = (RejectKind::TooMany, why);
            self.turn_down_accept(cx, framework, &offers, operations, refusal);
            return;
        }
        if let Call::Decline { offers, .. } = &call {
            self.return_offers(framework, offers);
        }
        if let Some(roles) = roles_of_wish(call) {
            let event = Event::Unheard { call: kind, roles };
            cx.tell_framework(peer, event);
        }
        self.reject(cx, framework, kind, RejectKind::TooMany, why);
    }

    /// Returns how much of what was said over a connection waits for its turn; `None` of one that
    /// is gone, of which nothing is heard any more.
    pub fn unheard(&self, peer: PeerId) -> Option<usize> {
        self.peers.get(peer)?;
        Some(self.throttle.peers.get(&peer).copied().unwrap_or(0))
    }

    /// Returns for how many calls there was no room under this leadership.
    pub fn turned_down(&self) -> u64 {
        self.throttle.turned_down
    }

    pub(super) fn check_throttle(&self) {
        self.throttle.check();
        assert_eq!(self.throttle_at, self.throttle.due(), "whose turn is next");
    }
}

/// Returns the roles that a call names, if it says what is wanted in roles, and in no more than may
/// be: it is kept until what was said before it is written.
fn roles_of_wish(call: Call) -> Option<Vec<Role>> {
    if let Call::Suppress { roles } | Call::Revive { roles } = call {
        (roles.len() <= limits::ROLES_PER_FRAMEWORK).then_some(roles)
    } else if let Call::Demand { role, .. } = call {
        Some(Vec::from([role]))
    } else {
        None
    }
}

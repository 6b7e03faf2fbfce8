//! The last events, and the questions that wait for the next one.
//!
//! Used by `publishing`. While nobody asks, nothing is kept and nothing noted. Deliberately not
//! here: what makes an event.

use alloc::collections::{BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::ops::RangeInclusive;

use crate::ids::{PeerId, RequestId};
use crate::limits::{self, Filled};
use crate::protocol::events::{Batch, Event, Version};
use crate::protocol::wire::size;
use crate::time::Time;

/// Who waits: over which connection, and for the answer to which question.
pub(super) type Waiter = (PeerId, RequestId);

/// What follows a version is kept no more, or never was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gap;

/// Whose questions are too many to let one more wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Crowd {
    All,
    OfConnection,
}

fn all_of(peer: PeerId) -> RangeInclusive<Waiter> {
    (peer, RequestId(0))..=(peer, RequestId(u64::MAX))
}

/// The last events of one leadership.
#[derive(Clone, Debug)]
pub(super) struct Feed {
    newest: Version,
    /// The most that are kept.
    most: usize,
    /// The last of them, each with its bytes on the wire; the newest is that of `newest`.
    kept: VecDeque<(Event, usize)>,
    bytes: usize,
    /// All have everything that there is.
    waiting: BTreeSet<Waiter>,
    /// Until when events are made though nobody waits for them; `None` if none are made.
    until: Option<Time>,
}

impl Feed {
    pub(super) fn new(epoch: u64, most: usize) -> Self {
        Self {
            newest: Version { epoch, number: 0 },
            most: most.min(limits::EVENTS),
            kept: VecDeque::new(),
            bytes: 0,
            waiting: BTreeSet::new(),
            until: None,
        }
    }

    /// Lists what is bounded, how much there is of it, and how much there may be.
    pub(super) fn filled(&self) -> [Filled; 3] {
        let (kept, waiting) = (self.kept.len(), self.waiting.len());
        [
            Filled::new("events", kept, self.most),
            Filled::new("bytes of events", self.bytes, limits::EVENTS_BYTES),
            Filled::new("questions for events", waiting, limits::WATCHES),
        ]
    }

    pub(super) fn newest(&self) -> Version {
        self.newest
    }

    /// Returns whether events are made.
    pub(super) fn is_on(&self) -> bool {
        self.until.is_some()
    }

    /// Somebody asks: events are made from now on, for a while at least. Returns whether none were.
    pub(super) fn begin(&mut self, now: Time) -> bool {
        self.until.replace(now + limits::EVENTS_LINGER).is_none()
    }

    /// Ends it if nobody has waited or asked for long. Returns whether it has ended.
    pub(super) fn lapse(&mut self, now: Time) -> bool {
        if !self.waiting.is_empty() {
            self.begin(now);
        }
        let lapsed = self.until.is_some_and(|until| until < now);
        if lapsed {
            self.until = None;
            self.kept = VecDeque::new();
            self.bytes = 0;
        }
        lapsed
    }

    /// Something may have changed of which no event tells.
    pub(super) fn skip(&mut self) {
        self.newest.number += 1;
    }

    /// Adds an event; old ones go for it.
    pub(super) fn push(&mut self, event: Event) {
        let bytes = size(&event);
        self.newest.number += 1;
        self.kept.push_back((event, bytes));
        self.bytes += bytes;
        while (self.kept.len() > self.most || self.bytes > limits::EVENTS_BYTES)
            && let Some((_, bytes)) = self.kept.pop_front()
        {
            self.bytes -= bytes;
        }
    }

    /// Returns the events after a version: as many as fit a frame, and none after the newest.
    pub(super) fn after(&self, after: Version) -> Result<Batch, Gap> {
        if after.epoch != self.newest.epoch {
            return Err(Gap);
        }
        let missing = self.newest.number.checked_sub(after.number).ok_or(Gap)?;
        let missing = usize::try_from(missing).map_err(|_| Gap)?;
        let first = self.kept.len().checked_sub(missing).ok_or(Gap)?;
        let mut room = limits::SLICE_BYTES;
        let mut batch = Batch {
            after,
            events: Vec::new(),
        };
        for (event, bytes) in self.kept.range(first..) {
            // What is longer by itself goes alone.
            if !batch.events.is_empty() && *bytes > room {
                break;
            }
            room = room.saturating_sub(*bytes);
            batch.events.push(event.clone());
        }
        Ok(batch)
    }

    /// Has a question wait for the next event, or says why there is no room for it.
    pub(super) fn wait(&mut self, waiter: Waiter) -> Result<(), Crowd> {
        if self.waiting.len() >= limits::WATCHES {
            return Err(Crowd::All);
        }
        let of_peer = self.waiting.range(all_of(waiter.0)).count();
        if of_peer >= limits::WATCHES_PER_CONNECTION {
            return Err(Crowd::OfConnection);
        }
        self.waiting.insert(waiter);
        Ok(())
    }

    /// Takes all questions that wait.
    pub(super) fn take_waiting(&mut self) -> BTreeSet<Waiter> {
        core::mem::take(&mut self.waiting)
    }

    /// Forgets the questions of a connection that is gone.
    pub(super) fn leave(&mut self, peer: PeerId) {
        while let Some(waiter) = self.waiting.range(all_of(peer)).next().copied() {
            self.waiting.remove(&waiter);
        }
    }

    pub(super) fn check(&self, is_connected: impl Fn(PeerId) -> bool) {
        let bytes: usize = self.kept.iter().map(|(_, bytes)| bytes).sum();
        assert_eq!(self.bytes, bytes, "bytes of events");
        assert!(self.kept.len() <= self.most && bytes <= limits::EVENTS_BYTES);
        assert!(
            self.kept.len() as u64 <= self.newest.number,
            "events have numbers"
        );
        assert!(self.is_on() || self.kept.is_empty(), "nobody reads these");
        assert!(
            self.is_on() || self.waiting.is_empty(),
            "nobody will answer"
        );
        assert!(self.waiting.len() <= limits::WATCHES);
        let mut waiting = self.waiting.iter();
        assert!(
            waiting.all(|(peer, _)| is_connected(*peer)),
            "who waits is there"
        );
    }
}

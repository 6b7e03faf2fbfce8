//! The last events of a machine, for readers who go on where they were.
//!
//! Every machine has one, and the same contract: a cheap snapshot of its rows with a version, and
//! the events that lead from there to the next version, in order and without a gap. A reader holds
//! one number and the machine nothing for it, so that a slow one costs the events that are kept for
//! all, of a bounded number. Who is too far behind is told so ([`Gap`]) and begins anew with a
//! snapshot. While nobody reads, nothing is kept and nothing noted.
//!
//! No handler says what it changes, and so none can forget to: tables note it (`Noted`), and
//! `Changes` compares at the end of an input what is told of a row now and before.
//!
//! What is read is the state as the machine has it, which may be ahead of its journal: a crash may
//! take the last of it back. The next life has an epoch of its own, so nobody mixes the two.
//!
//! Deliberately not here: what rows are, and who waits for events.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::limits::{self, Filled};
use crate::mutant::{Mutant, planted};
use crate::protocol::events::{Batch, Event, Named, Version};
use crate::protocol::wire::size;
use crate::rng::Rng;
use crate::table::{Noted, Table};
use crate::time::Time;

/// What follows a version is kept no more, or never was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("what follows this version is kept no more: begin anew with a snapshot")]
pub struct Gap;

/// A machine that can be followed by snapshot and events.
pub trait Followed {
    /// What is told of it.
    type Row: Named;
    /// What it was at one moment.
    type Picture: Picture<Row = Self::Row>;

    /// Takes a snapshot. That is cheap; putting the rows together is not, and can be done
    /// elsewhere.
    fn picture(&self) -> Self::Picture;

    /// Returns the events after a version: as many as fit a frame, and none after the newest. They
    /// are made from when somebody has said that he reads, and as long as he says so again
    /// ([`limits::EVENTS_LINGER`]).
    fn events_after(&self, after: Version) -> Result<Batch<Self::Row>, Gap>;
}

/// A machine as it was at one moment. It belongs to whoever has it, and goes wherever he likes.
pub trait Picture: Send + Sync + 'static {
    /// What is told.
    type Row: Named;

    /// Returns which state it is. Pictures of the same version are the same.
    fn version(&self) -> Version;

    /// Lists all rows.
    fn rows(&self) -> Vec<Self::Row>;
}

/// How much is kept for readers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keeps {
    pub(crate) events: usize,
    pub(crate) bytes: usize,
}

impl Keeps {
    /// What a master keeps, or fewer events.
    pub(crate) fn of_master(events: usize) -> Self {
        Self {
            events: events.min(limits::EVENTS),
            bytes: limits::EVENTS_BYTES,
        }
    }

    /// What machines keep that are none of a master.
    pub(crate) const NODE: Self = Self {
        events: limits::NODE_EVENTS,
        bytes: limits::NODE_EVENTS_BYTES,
    };
}

/// The last events of one leadership, or of one life.
#[derive(Clone, Debug)]
pub(crate) struct Feed<R: Named> {
    newest: Version,
    /// The most that are kept.
    most: Keeps,
    /// The last of them, each with its bytes on the wire; the newest is that of `newest`.
    kept: VecDeque<(Event<R>, usize)>,
    bytes: usize,
    /// Until when events are made though nobody waits for them; `None` if none are made.
    until: Option<Time>,
}

impl<R: Named> Feed<R> {
    pub(crate) fn new(epoch: u64, most: Keeps) -> Self {
        Self {
            newest: Version { epoch, number: 0 },
            most,
            kept: VecDeque::new(),
            bytes: 0,
            until: None,
        }
    }

    /// Begins a life that is told from others by what seeds its chance.
    pub(crate) fn of_life(seed: u64) -> Self {
        Self::new(Rng::new(seed).next_u64(), Keeps::NODE)
    }

    pub(crate) fn newest(&self) -> Version {
        self.newest
    }

    /// Lists what is bounded, how much there is of it, and how much there may be.
    pub(crate) fn filled(&self) -> [Filled; 2] {
        [
            Filled::new("events", self.kept.len(), self.most.events),
            Filled::new("bytes of events", self.bytes, self.most.bytes),
        ]
    }

    /// Returns whether events are made.
    pub(crate) fn is_on(&self) -> bool {
        self.until.is_some()
    }

    /// Somebody reads: events are made from now on, for a while at least. Returns whether none
    /// were.
    pub(crate) fn begin(&mut self, now: Time) -> bool {
        let begins = self.until.replace(now + limits::EVENTS_LINGER).is_none();
        if begins {
            // Of what has changed in this input already no event will tell.
            self.skip();
        }
        begins
    }

    /// Ends it if nobody has asked for long. Returns whether it has ended.
    pub(crate) fn lapse(&mut self, now: Time) -> bool {
        let lapsed = self.until.is_some_and(|until| until < now);
        if lapsed {
            self.until = None;
            self.kept = VecDeque::new();
            self.bytes = 0;
        }
        lapsed
    }

    /// Something may have changed of which no event tells.
    pub(crate) fn skip(&mut self) {
        self.newest.number += 1;
    }

    /// Adds an event; old ones go for it.
    pub(crate) fn push(&mut self, event: Event<R>) {
        let bytes = size(&event);
        self.newest.number += 1;
        self.kept.push_back((event, bytes));
        self.bytes += bytes;
        while (self.kept.len() > self.most.events || self.bytes > self.most.bytes)
            && let Some((_, bytes)) = self.kept.pop_front()
        {
            self.bytes -= bytes;
        }
    }

    /// Returns the events after a version: as many as fit a frame, and none after the newest.
    pub(crate) fn after(&self, after: Version) -> Result<Batch<R>, Gap> {
        if after.epoch != self.newest.epoch {
            return Err(Gap);
        }
        let missing = self.newest.number.checked_sub(after.number).ok_or(Gap)?;
        let missing = usize::try_from(missing).map_err(|_| Gap)?;
        let mut first = self.kept.len().checked_sub(missing).ok_or(Gap)?;
        if planted(Mutant::NextEventSkipped) && missing > 1 {
            first += 1;
        }
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

    pub(crate) fn check(&self) {
        let bytes: usize = self.kept.iter().map(|(_, bytes)| bytes).sum();
        assert_eq!(self.bytes, bytes, "bytes of events");
        assert!(self.kept.len() <= self.most.events && bytes <= self.most.bytes);
        assert!(
            self.kept.len() as u64 <= self.newest.number,
            "events have numbers"
        );
        assert!(self.is_on() || self.kept.is_empty(), "nobody reads these");
    }
}

/// What has changed in the tables of a machine.
#[derive(Debug)]
pub(crate) struct Changes<R: Named> {
    /// By table.
    gone: Vec<Vec<R::Id>>,
    there: Vec<Event<R>>,
}

impl<R: Named> Default for Changes<R> {
    fn default() -> Self {
        Self {
            gone: Vec::new(),
            there: Vec::new(),
        }
    }
}

impl<R: Named> Changes<R> {
    /// Takes in what was written to in the next table.
    pub(crate) fn take<T>(&mut self, table: &mut Table<T>, show: impl Fn(&T) -> Option<R>) {
        self.gone.push(Vec::new());
        for (key, before) in table.take_written() {
            let before = before.as_ref().and_then(&show);
            let now = table.get(key).and_then(&show);
            self.compare(before, now);
        }
    }

    /// Takes in what is no row of a table, as it was told last and as it is.
    pub(crate) fn take_one(&mut self, before: Option<R>, now: R) {
        self.gone.push(Vec::new());
        self.compare(before, Some(now));
    }

    fn compare(&mut self, before: Option<R>, now: Option<R>) {
        match (before, now) {
            (None, Some(row)) => self.there.push(Event::Added(row)),
            (Some(row), None) => {
                if let Some(gone) = self.gone.last_mut() {
                    gone.push(row.id());
                }
            }
            // It is another kind of row now.
            (Some(before), Some(now)) if before.id() != now.id() => {
                self.compare(Some(before), None);
                self.compare(None, Some(now));
            }
            (Some(before), Some(now)) if before != now => self.there.push(Event::Updated(now)),
            (Some(_), Some(_)) | (None, None) => {}
        }
    }

    /// Lists all events. What is gone goes first, so that its name can come back; of the tables
    /// the last goes first, for its rows name those of the others.
    pub(crate) fn into_events(self) -> impl Iterator<Item = Event<R>> {
        let gone = self.gone.into_iter().rev().flatten();
        gone.map(Event::Removed).chain(self.there)
    }
}

/// A machine with rows that are told as they change.
pub(crate) trait Tells {
    /// What is told.
    type Told: Named;

    fn feed(&mut self) -> &mut Feed<Self::Told>;

    /// Has all tables note what is written to, or no more.
    fn watch(&mut self, is_on: bool);

    /// Takes what was written to.
    fn changes(&mut self) -> Changes<Self::Told>;

    /// Somebody reads.
    fn follow(&mut self, now: Time) {
        if self.feed().begin(now) {
            self.watch(true);
        }
    }

    /// Tells what the input that ends has changed, if somebody reads.
    fn publish(&mut self, now: Time) {
        if self.feed().lapse(now) {
            self.watch(false);
        }
        if !self.feed().is_on() {
            self.feed().skip();
            return;
        }
        for event in self.changes().into_events() {
            self.feed().push(event);
        }
    }
}

/// Has each of these note what is written to it, or no more.
pub(crate) fn watch_all<const N: usize>(tables: [&mut dyn Noted; N], is_on: bool) {
    for table in tables {
        if is_on {
            table.watch();
        } else {
            table.unwatch();
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use core::time::Duration;

    use serde::{Deserialize, Serialize};

    use super::*;
    use crate::table::Key;

    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    struct Row {
        id: u64,
        value: u64,
    }

    impl Named for Row {
        type Id = u64;

        fn id(&self) -> u64 {
            self.id
        }
    }

    /// A machine with one table.
    struct Counter {
        rows: Table<Row>,
        feed: Feed<Row>,
    }

    impl Counter {
        fn new(events: usize) -> Self {
            let keeps = Keeps {
                events,
                ..Keeps::NODE
            };
            Self {
                rows: Table::new(),
                feed: Feed::new(7, keeps),
            }
        }

        fn add(&mut self, now: Time, id: u64) -> Key<Row> {
            let key = self.rows.insert(Row { id, value: 0 });
            self.publish(now);
            key
        }
    }

    impl Tells for Counter {
        type Told = Row;

        fn feed(&mut self) -> &mut Feed<Row> {
            &mut self.feed
        }

        fn watch(&mut self, is_on: bool) {
            watch_all([&mut self.rows], is_on);
        }

        fn changes(&mut self) -> Changes<Row> {
            let mut changes = Changes::default();
            changes.take(&mut self.rows, |row| Some(row.clone()));
            changes
        }
    }

    fn at(number: u64) -> Version {
        Version { epoch: 7, number }
    }

    // I13
    #[test]
    fn nothing_is_made_for_nobody_and_a_reader_goes_on_where_it_was() {
        let now = Time::ZERO;
        let mut counter = Counter::new(100);
        counter.add(now, 1);
        assert_eq!(counter.feed.newest(), at(1), "a state of its own");
        assert_eq!(counter.feed.after(at(0)), Err(Gap));
        assert!(counter.rows.take_written().is_empty(), "nobody reads");

        counter.follow(now);
        counter.publish(now);
        let begin = counter.feed.newest();
        assert_ne!(
            begin,
            at(1),
            "what this input has changed before is in no event"
        );
        let key = counter.add(now, 2);
        counter.rows[key].value = 5;
        counter.publish(now);
        counter.rows.remove(key);
        counter.publish(now);
        counter.publish(now);
        let [row, again] = [0, 5].map(|value| Row { id: 2, value });
        let events = vec![Event::Added(row), Event::Updated(again), Event::Removed(2)];
        let all = counter.feed.after(begin).unwrap();
        assert_eq!(all.events, events);
        assert_eq!(all.upto(), counter.feed.newest());
        let after = Version {
            number: begin.number + 1,
            ..begin
        };
        assert_eq!(counter.feed.after(after).unwrap().events, events[1..]);
        let beyond = Version {
            number: 99,
            ..begin
        };
        let other = Version { epoch: 8, ..begin };
        assert_eq!(counter.feed.after(beyond), Err(Gap));
        assert_eq!(counter.feed.after(other), Err(Gap));
        counter.feed.check();
    }

    // I13, I22
    #[test]
    fn a_slow_reader_costs_no_more_than_is_kept_and_one_who_left_nothing() {
        let mut now = Time::ZERO;
        let mut counter = Counter::new(3);
        counter.follow(now);
        let begin = counter.feed.newest();
        for id in 0..10 {
            counter.add(now, id);
            assert!(counter.feed.kept.len() <= 3);
            counter.feed.check();
        }
        assert_eq!(counter.feed.after(begin), Err(Gap), "it begins anew");
        let late = Version {
            number: begin.number + 7,
            ..begin
        };
        assert_eq!(counter.feed.after(late).unwrap().events.len(), 3);

        now = now + limits::EVENTS_LINGER;
        counter.follow(now);
        now = now + limits::EVENTS_LINGER;
        counter.publish(now);
        assert!(counter.feed.is_on(), "it has said that it goes on");
        now = now + Duration::from_micros(1);
        counter.add(now, 10);
        assert!(!counter.feed.is_on() && counter.feed.kept.is_empty());
        assert_eq!(counter.feed.after(late), Err(Gap));
        assert!(counter.rows.take_written().is_empty(), "nor is it noted");
    }
}

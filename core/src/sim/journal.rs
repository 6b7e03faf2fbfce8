//! A simulated disk: records are durable after a while, and a crash loses what is not.
//!
//! Used by every node that remembers something. Everything on it is bytes, so that a restart reads
//! what a real one would read.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::options::Span;
use crate::gate::Seq;
use crate::machine::Durable;
use crate::rng::Rng;
use crate::time::Time;

/// Beyond so many bytes of records a snapshot takes their place.
const COMPACT_BYTES: usize = 64 * 1024;

/// One node's disk.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk {
    snapshot: Vec<u8>,
    records: Vec<u8>,
    unsynced: VecDeque<(Seq, Vec<u8>)>,
    syncing: Option<Seq>,
    stuck_until: Time,
}

impl Disk {
    /// Writes a record, which is not durable yet.
    pub(super) fn append<R: Serialize>(&mut self, seq: Seq, record: &R) {
        let bytes = postcard::to_allocvec(record).expect("a record can be written to memory");
        self.unsynced.push_back((seq, bytes));
    }

    /// Begins to make everything written durable, unless that is already under way. Returns when
    /// it will be done, and up to where.
    pub(super) fn sync(&mut self, now: Time, takes: Span, rng: &mut Rng) -> Option<(Time, Seq)> {
        let (upto, _) = self.unsynced.back()?;
        if self.syncing.is_some() {
            return None;
        }
        self.syncing = Some(*upto);
        Some((now.max(self.stuck_until) + takes.draw(rng), *upto))
    }

    /// Ends a sync; returns whether it was under way, or when to ask again if the disk is stuck.
    pub(super) fn synced(&mut self, now: Time, upto: Seq) -> Synced {
        if self.syncing != Some(upto) {
            return Synced::Stale;
        }
        if now < self.stuck_until {
            return Synced::Later(self.stuck_until);
        }
        self.syncing = None;
        while self.unsynced.front().is_some_and(|(seq, _)| *seq <= upto) {
            let (_, bytes) = self.unsynced.pop_front().expect("it was just seen");
            self.records.extend_from_slice(&bytes);
        }
        Synced::Done
    }

    /// Lets nothing become durable before `until`.
    pub(super) fn stall(&mut self, until: Time) {
        self.stuck_until = self.stuck_until.max(until);
    }

    /// Ends a stall. Returns the sync that waited for it.
    pub(super) fn resume(&mut self) -> Option<Seq> {
        self.stuck_until = Time::ZERO;
        self.syncing
    }

    /// Returns whether everything written is durable.
    pub(super) fn is_settled(&self) -> bool {
        self.unsynced.is_empty()
    }

    /// Loses what was not durable, but for a part of it that happened to be written. Returns how
    /// many records are lost.
    pub(super) fn crash(&mut self, rng: &mut Rng) -> usize {
        let kept = rng.below(self.unsynced.len() as u64 + 1) as usize;
        for (_, bytes) in self.unsynced.drain(..kept) {
            self.records.extend_from_slice(&bytes);
        }
        let lost = self.unsynced.len();
        self.unsynced.clear();
        self.syncing = None;
        lost
    }

    /// Reads the state back.
    pub(super) fn read<S>(&self) -> S
    where
        S: Durable + DeserializeOwned,
        S::Record: DeserializeOwned,
    {
        let mut state = if self.snapshot.is_empty() {
            S::default()
        } else {
            postcard::from_bytes(&self.snapshot).expect("a snapshot reads back as it was written")
        };
        let mut rest = self.records.as_slice();
        while !rest.is_empty() {
            let (record, after) = postcard::take_from_bytes::<S::Record>(rest)
                .expect("a record reads back as it was written");
            state.apply(&record);
            rest = after;
        }
        state
    }

    /// Puts a snapshot in the place of many records.
    pub(super) fn compact<S>(&mut self)
    where
        S: Durable + DeserializeOwned + Serialize,
        S::Record: DeserializeOwned,
    {
        if self.records.len() < COMPACT_BYTES {
            return;
        }
        let state: S = self.read();
        self.snapshot = postcard::to_allocvec(&state).expect("a state can be written to memory");
        self.records.clear();
    }
}

/// What became of a sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Synced {
    /// Its records are durable.
    Done,
    /// The disk is stuck until then.
    Later(Time),
    /// It belongs to an earlier life, or was over before.
    Stale,
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;

    /// A state that is a list of what it was told.
    #[derive(Debug, Default, PartialEq, Serialize, serde::Deserialize)]
    struct List(Vec<u32>);

    impl Durable for List {
        type Record = u32;

        fn apply(&mut self, record: &u32) {
            self.0.push(*record);
        }
    }

    const TAKES: Span = Span::millis(2, 2);

    fn written(count: u32) -> Disk {
        let mut disk = Disk::default();
        for n in 1..=count {
            disk.append(Seq(u64::from(n)), &n);
        }
        disk
    }

    #[test]
    fn what_is_synced_survives_and_the_rest_is_lost_from_the_end() {
        let mut rng = Rng::new(1);
        let mut seen = [false; 4];
        for _ in 0..50 {
            let mut disk = written(2);
            let (at, upto) = disk.sync(Time::ZERO, TAKES, &mut rng).unwrap();
            assert_eq!((at, upto), (Time::from_micros(2_000), Seq(2)));
            for n in 3..=5u32 {
                disk.append(Seq(u64::from(n)), &n);
            }
            assert_eq!(disk.sync(Time::ZERO, TAKES, &mut rng), None);
            assert_eq!(disk.synced(at, upto), Synced::Done);
            let lost = disk.crash(&mut rng);
            let list = disk.read::<List>().0;
            assert_eq!(list.len() + lost, 5);
            assert_eq!(list, (1..=list.len() as u32).collect::<Vec<_>>());
            seen[list.len() - 2] = true;
        }
        assert_eq!(seen, [true; 4], "each length of tail is lost at times");
    }

    #[test]
    fn a_stuck_disk_is_done_later() {
        let mut rng = Rng::new(1);
        let mut disk = written(1);
        let (at, upto) = disk.sync(Time::ZERO, TAKES, &mut rng).unwrap();
        let until = Time::ZERO + Duration::from_secs(20);
        disk.stall(until);
        assert_eq!(disk.synced(at, upto), Synced::Later(until));
        assert_eq!(disk.synced(until, upto), Synced::Done);
        assert_eq!(disk.synced(until, upto), Synced::Stale);
    }

    #[test]
    fn a_snapshot_reads_like_the_records_it_replaces() {
        let mut rng = Rng::new(1);
        let count = COMPACT_BYTES as u32;
        let mut disk = written(count);
        let (at, upto) = disk.sync(Time::ZERO, TAKES, &mut rng).unwrap();
        disk.synced(at, upto);
        let before: List = disk.read();
        disk.compact::<List>();
        assert!(disk.records.is_empty() && !disk.snapshot.is_empty());
        assert_eq!(disk.read::<List>(), before);
    }
}

//! A simulated disk: records are durable after a while, and a crash loses what is not.
//!
//! Used by every node that remembers something. Everything on it is bytes, so that a restart reads
//! what a real one would read.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::options::Span;
use crate::gate::Seq;
use crate::machine::Durable;
use crate::rng::Rng;
use crate::time::Time;

/// Beyond so many bytes of records a snapshot takes their place.
const COMPACT_BYTES: usize = 64 * 1024;
/// A record begins with its length and its sum.
const HEADER: usize = 8;

/// What a crash has cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Loss {
    /// All that was written is there.
    Nothing,
    /// So many records are gone, from the end.
    Records(usize),
    /// So many are gone, and of the first of them something is left that nobody can read.
    Torn(usize),
}

impl Loss {
    #[cfg(test)]
    fn records(self) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Records(records) | Self::Torn(records) => records,
        }
    }
}

/// One node's disk.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk {
    snapshot: Vec<u8>,
    records: Vec<u8>,
    /// What stands behind the last whole record.
    tail: Vec<u8>,
    unsynced: VecDeque<(Seq, Vec<u8>)>,
    syncing: Option<Seq>,
    stuck_until: Time,
    /// It takes up to so much longer, until then.
    slow: (Time, Duration),
    /// What is written next cannot be.
    fails: bool,
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
        let (until, more) = self.slow;
        let more = if now < until {
            rng.jitter(more)
        } else {
            Duration::ZERO
        };
        Some((now.max(self.stuck_until) + takes.draw(rng) + more, *upto))
    }

    /// Takes up to so much longer for everything, until then.
    pub(super) fn slow(&mut self, until: Time, more: Duration) {
        self.slow = (until, more);
    }

    /// Fails at what it does next.
    pub(super) fn fail(&mut self) {
        self.fails = true;
    }

    /// Ends a sync; returns whether it was under way, or when to ask again if the disk is stuck.
    pub(super) fn synced(&mut self, now: Time, upto: Seq) -> Synced {
        if self.syncing != Some(upto) {
            return Synced::Stale;
        }
        if now < self.stuck_until {
            return Synced::Later(self.stuck_until);
        }
        if core::mem::take(&mut self.fails) {
            return Synced::Failed;
        }
        self.syncing = None;
        while self.unsynced.front().is_some_and(|(seq, _)| *seq <= upto) {
            let (_, bytes) = self.unsynced.pop_front().expect("it was just seen");
            self.records.extend_from_slice(&framed(&bytes));
        }
        Synced::Done
    }

    /// Lets nothing become durable before `until`.
    pub(super) fn stall(&mut self, until: Time) {
        self.stuck_until = self.stuck_until.max(until);
    }

    /// Ends all that is wrong with it. Returns the sync that waited for that.
    pub(super) fn resume(&mut self) -> Option<Seq> {
        self.stuck_until = Time::ZERO;
        self.slow = (Time::ZERO, Duration::ZERO);
        self.fails = false;
        self.syncing
    }

    /// Returns whether everything written is durable.
    pub(super) fn is_settled(&self) -> bool {
        self.unsynced.is_empty()
    }

    /// Loses what was not durable, but for a part of it that happened to be written: some records,
    /// and maybe a piece of the next one, or all of it with something changed.
    pub(super) fn crash(&mut self, rng: &mut Rng) -> Loss {
        let kept = rng.below(self.unsynced.len() as u64 + 1) as usize;
        for (_, bytes) in self.unsynced.drain(..kept) {
            self.records.extend_from_slice(&framed(&bytes));
        }
        let lost = self.unsynced.len();
        let mut torn = self.unsynced.front().map(|(_, bytes)| framed(bytes));
        self.unsynced.clear();
        self.syncing = None;
        self.fails = false;
        // Drawn from the record itself, so that nothing else moves with it.
        let record = torn.as_deref().unwrap_or_default();
        let mut chance = Rng::new(sum(0, record).into());
        match torn.as_mut().filter(|_| chance.chance(1, 2)) {
            Some(bytes) => {
                let place = chance.below(bytes.len() as u64 * 8);
                let (byte, bit) = ((place / 8) as usize, place % 8);
                if chance.chance(1, 2) {
                    bytes.truncate(byte);
                } else {
                    bytes[byte] ^= 1 << bit;
                }
                self.tail.clone_from(bytes);
                Loss::Torn(lost)
            }
            None if lost > 0 => Loss::Records(lost),
            None => Loss::Nothing,
        }
    }

    /// Cuts off what stands behind the last whole record.
    pub(super) fn open(&mut self) {
        let bytes = [self.records.as_slice(), &self.tail].concat();
        let mut whole = 0;
        while let Some((_, rest)) = first(&bytes[whole..]) {
            whole = bytes.len() - rest.len();
        }
        // A piece of a record that can be read would be one that nobody has written.
        assert_eq!(whole, self.records.len(), "what was durable reads back");
        self.tail.clear();
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
            let (bytes, after) = first(rest).expect("a record is whole");
            let record: S::Record =
                postcard::from_bytes(bytes).expect("a record reads back as it was written");
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

/// Puts length and sum before a record.
fn framed(record: &[u8]) -> Vec<u8> {
    let length = u32::try_from(record.len()).expect("a record is not that long");
    let mut bytes = Vec::with_capacity(HEADER + record.len());
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&sum(length, record).to_le_bytes());
    bytes.extend_from_slice(record);
    bytes
}

/// Takes the first record, if it is whole. Returns it, and what is behind it.
fn first(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (given, rest) = rest.split_first_chunk::<4>()?;
    let length = u32::from_le_bytes(*length);
    let (record, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    (sum(length, record) == u32::from_le_bytes(*given)).then_some((record, rest))
}

/// Tells a record from one with a bit changed (FNV-1a).
fn sum(length: u32, record: &[u8]) -> u32 {
    let length = length.to_le_bytes();
    let bytes = length.iter().chain(record);
    bytes.fold(0x811C_9DC5, |sum, byte| {
        (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    })
}

/// What became of a sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Synced {
    /// Its records are durable.
    Done,
    /// The disk is stuck until then.
    Later(Time),
    /// The disk has failed: nothing more becomes durable in this life.
    Failed,
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

        const LAYOUT: u32 = 1;

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
            let loss = disk.crash(&mut rng);
            disk.open();
            let list = disk.read::<List>().0;
            assert_eq!(list.len() + loss.records(), 5);
            assert_eq!(list, (1..=list.len() as u32).collect::<Vec<_>>());
            seen[list.len() - 2] = true;
        }
        assert_eq!(seen, [true; 4], "each length of tail is lost at times");
    }

    // I17
    #[test]
    fn a_torn_end_is_cut_off_and_what_was_durable_is_not() {
        let mut rng = Rng::new(1);
        let (mut torn, mut sizes) = (0, std::collections::BTreeSet::new());
        for n in 1_000..1_400u32 {
            let mut disk = written(1);
            let (at, upto) = disk.sync(Time::ZERO, TAKES, &mut rng).unwrap();
            assert_eq!(disk.synced(at, upto), Synced::Done);
            disk.append(Seq(2), &n);
            let loss = disk.crash(&mut rng);
            if let Loss::Torn(lost) = loss {
                assert_eq!(lost, 1);
                torn += 1;
                sizes.insert(disk.tail.len());
                disk.open();
                assert_eq!(disk.read::<List>().0, [1]);
            } else {
                assert!(disk.tail.is_empty());
            }
            disk.append(Seq(3), &3u32);
            let (at, upto) = disk.sync(at, TAKES, &mut rng).unwrap();
            assert_eq!(disk.synced(at, upto), Synced::Done);
            assert_eq!(disk.read::<List>().0.last(), Some(&3));
        }
        assert!(torn > 50, "{torn}");
        assert!(sizes.len() > 5, "pieces of all lengths: {sizes:?}");
    }

    #[test]
    #[should_panic(expected = "what was durable reads back")]
    fn what_was_durable_and_is_changed_is_no_torn_end() {
        let mut rng = Rng::new(1);
        let mut disk = written(3);
        let (at, upto) = disk.sync(Time::ZERO, TAKES, &mut rng).unwrap();
        assert_eq!(disk.synced(at, upto), Synced::Done);
        disk.records[HEADER] ^= 1;
        disk.open();
    }

    #[test]
    fn a_disk_that_fails_says_so_once_and_a_slow_one_takes_longer() {
        let mut rng = Rng::new(1);
        let mut disk = written(1);
        disk.fail();
        let (at, upto) = disk.sync(Time::ZERO, TAKES, &mut rng).unwrap();
        assert_eq!(disk.synced(at, upto), Synced::Failed);
        assert!(!disk.is_settled());
        let _ = disk.crash(&mut rng);
        disk.append(Seq(2), &2u32);
        let hour = Duration::from_secs(3_600);
        disk.slow(at + hour, hour);
        let (slow, upto) = disk.sync(at, TAKES, &mut rng).unwrap();
        assert!(slow > at + Duration::from_secs(1), "{slow}");
        assert_eq!(disk.synced(slow, upto), Synced::Done);
        disk.append(Seq(3), &3u32);
        let (fast, _) = disk.sync(at + hour, TAKES, &mut rng).unwrap();
        assert_eq!(fast, at + hour + Duration::from_millis(2));
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

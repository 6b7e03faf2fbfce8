//! Moves content into a file: its checksums are taken, and its pace is watched, on the way.

use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use super::error::FetchError;
use super::item::{Checked, Checksum, Hash, Kind};

const BUFFER_BYTES: usize = 256 << 10;

/// One transfer: what came until now.
pub(super) struct Transfer<'a> {
    checked: &'a Checked<'a>,
    announced: Option<u64>,
    limit: u64,
    received: u64,
    pace: Pace,
    content: Hash,
    /// Of another kind than `content`.
    asked: Option<Hash>,
    buffer: Vec<u8>,
    /// What of the buffer is not written yet, for there was no room.
    left: usize,
}

/// How a transfer went on.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// All is there.
    Done,
    /// There is no room for what comes next, which is kept.
    NoRoom,
}

impl<'a> Transfer<'a> {
    pub(super) fn new(
        checked: &'a Checked<'a>,
        announced: Option<u64>,
        limit: u64,
        stall: Duration,
    ) -> Result<Self, FetchError> {
        if announced.is_some_and(|announced| announced > limit) {
            let uri = checked.shown.clone();
            return Err(FetchError::TooLarge { uri, limit });
        }
        let asked = checked.item.checksum.as_ref().map(|sum| sum.kind);
        Ok(Self {
            checked,
            announced,
            limit,
            received: 0,
            pace: Pace::new(stall),
            content: Hash::new(Kind::Sha256),
            asked: asked.filter(|kind| *kind != Kind::Sha256).map(Hash::new),
            buffer: vec![0; BUFFER_BYTES],
            left: 0,
        })
    }

    /// Moves until the end, or until `room` has none for as many bytes in all.
    pub(super) fn go_on(
        &mut self,
        from: &mut dyn Read,
        into: &mut dyn Write,
        mut room: impl FnMut(u64) -> bool,
        written: impl Fn(io::Error) -> FetchError,
    ) -> Result<Progress, FetchError> {
        loop {
            if self.left > 0 {
                if !room(self.received) {
                    return Ok(Progress::NoRoom);
                }
                let bytes = &self.buffer[..self.left];
                into.write_all(bytes).map_err(&written)?;
                self.left = 0;
            }
            let count = match from.read(&mut self.buffer) {
                Ok(0) => return Ok(Progress::Done),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.broken(error)),
            };
            self.take(count)?;
        }
    }

    fn take(&mut self, count: usize) -> Result<(), FetchError> {
        let bytes = &self.buffer[..count];
        self.content.update(bytes);
        if let Some(asked) = &mut self.asked {
            asked.update(bytes);
        }
        self.left = count;
        let count = count as u64;
        self.received += count;
        let uri = || self.checked.shown.clone();
        if self.received > self.limit {
            let (uri, limit) = (uri(), self.limit);
            return Err(FetchError::TooLarge { uri, limit });
        }
        if self.pace.is_stalled(Instant::now(), count) {
            return Err(self.stalled());
        }
        Ok(())
    }

    /// Ends a transfer that is done: the content's own checksum, if all is as it was asked for.
    pub(super) fn finish(self) -> Result<Checksum, FetchError> {
        let uri = self.checked.shown.clone();
        let received = self.received;
        if let Some(announced) = self.announced.filter(|announced| *announced != received) {
            return Err(FetchError::Length {
                uri,
                announced,
                received,
            });
        }
        let content = self.content.finish();
        if let Some(expected) = self.checked.item.checksum.clone() {
            let found = self.asked.map_or_else(|| content.clone(), Hash::finish);
            if found != expected {
                return Err(FetchError::Mismatch {
                    uri,
                    expected,
                    found,
                });
            }
        }
        Ok(content)
    }

    fn stalled(&self) -> FetchError {
        FetchError::Stalled {
            uri: self.checked.shown.clone(),
            received: self.received,
        }
    }

    fn broken(&self, error: io::Error) -> FetchError {
        let inner = error
            .get_ref()
            .and_then(|e| e.downcast_ref::<ureq::Error>());
        let is_late = error.kind() == io::ErrorKind::TimedOut
            || matches!(inner, Some(ureq::Error::Timeout(_)));
        if is_late {
            return self.stalled();
        }
        let (uri, received) = (self.checked.shown.clone(), self.received);
        if error.kind() == io::ErrorKind::UnexpectedEof
            && let Some(announced) = self.announced
        {
            return FetchError::Length {
                uri,
                announced,
                received,
            };
        }
        FetchError::Transfer {
            uri,
            received,
            source: error,
        }
    }
}

/// Whether at least one byte a second comes, over stretches of the stall's length (AG-53).
#[derive(Debug)]
struct Pace {
    stall: Duration,
    since: Instant,
    bytes: u64,
}

impl Pace {
    fn new(stall: Duration) -> Self {
        let since = Instant::now();
        Self {
            stall,
            since,
            bytes: 0,
        }
    }

    fn is_stalled(&mut self, now: Instant, bytes: u64) -> bool {
        self.bytes += bytes;
        let elapsed = now.saturating_duration_since(self.since);
        if elapsed < self.stall {
            return false;
        }
        let is_stalled = u128::from(self.bytes) * 1_000 < elapsed.as_millis();
        (self.since, self.bytes) = (now, 0);
        is_stalled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_every_two_seconds_is_a_stall_and_one_a_second_is_none() {
        // AG-53
        let mut pace = Pace::new(Duration::from_secs(60));
        let start = pace.since;
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut slow = (1..=30).map(|i| pace.is_stalled(at(2 * i), 1));
        assert_eq!(slow.position(|stalled| stalled), Some(29));
        let mut pace = Pace::new(Duration::from_secs(60));
        let start = pace.since;
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(!(1..=600).any(|i| pace.is_stalled(at(i), 1)));
    }
}

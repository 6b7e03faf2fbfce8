//! Moves content into a file: its checksums are taken, and its pace is watched, on the way.

use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use super::error::FetchError;
use super::item::Checked;
use crate::content::http::is_timeout;
use crate::content::{Checksum, Hash, Kind, Pace};

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
        let cancel = self.checked.cancel;
        loop {
            cancel.check()?;
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
        if is_timeout(&error) {
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

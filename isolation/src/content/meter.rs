//! Counts what an archive becomes, and stops it where that is too much.

use std::cell::{Cell, RefCell};
use std::io::{self, Read, Seek, SeekFrom};

use super::limits::Limits;
use super::refusal::Refusal;

/// How large an archive is unpacked until now, against what is allowed.
#[derive(Debug)]
pub(crate) struct Meter<'l> {
    limits: &'l Limits,
    packed: u64,
    unpacked: Cell<u64>,
    entries: Cell<u64>,
    /// What may be read of names and headers before the next content.
    headers: Cell<Option<u64>>,
    headers_limit: u64,
    refusal: RefCell<Option<Refusal>>,
}

impl<'l> Meter<'l> {
    pub(crate) fn new(limits: &'l Limits, packed: u64, headers_limit: u64) -> Self {
        Self {
            limits,
            packed,
            unpacked: Cell::new(0),
            entries: Cell::new(0),
            headers: Cell::new(None),
            headers_limit,
            refusal: RefCell::new(None),
        }
    }

    pub(crate) fn limits(&self) -> &'l Limits {
        self.limits
    }

    /// One more entry.
    pub(crate) fn entry(&self) -> Result<(), Refusal> {
        self.entries.set(self.entries.get() + 1);
        if self.entries.get() > self.limits.entries {
            return Err(Refusal::Entries(self.limits.entries));
        }
        Ok(())
    }

    /// So many bytes more came out.
    pub(crate) fn grew(&self, bytes: u64) -> Result<(), Refusal> {
        let unpacked = self.unpacked.get().saturating_add(bytes);
        self.unpacked.set(unpacked);
        let limits = self.limits;
        if unpacked > limits.unpacked_bytes {
            return Err(Refusal::Bytes(limits.unpacked_bytes));
        }
        let fine = self.packed.saturating_mul(limits.ratio);
        if unpacked > fine.max(limits.ratio_floor_bytes) {
            return Err(Refusal::Ratio(limits.ratio));
        }
        Ok(())
    }

    /// From now on names and headers are read, which are held in memory.
    pub(crate) fn headers_follow(&self) {
        self.headers.set(Some(self.headers_limit));
    }

    /// From now on content is read.
    pub(crate) fn content_follows(&self) {
        self.headers.set(None);
    }

    /// Why a reader was stopped, whatever became of its error on the way up.
    pub(crate) fn refusal(&self) -> Option<Refusal> {
        self.refusal.borrow().clone()
    }

    fn header_read(&self, bytes: u64) -> Result<(), Refusal> {
        if let Some(left) = self.headers.get() {
            let left = left.checked_sub(bytes);
            let left = left.ok_or(Refusal::Headers(self.headers_limit))?;
            self.headers.set(Some(left));
        }
        Ok(())
    }
}

/// A reader whose bytes are counted.
#[derive(Debug)]
pub(crate) struct Metered<'m, R> {
    inner: R,
    meter: &'m Meter<'m>,
    /// Whether what is read is content that came out, and not the archive itself.
    is_unpacked: bool,
}

impl<'m, R> Metered<'m, R> {
    /// What comes out of a decompressor.
    pub(crate) fn unpacked(inner: R, meter: &'m Meter<'m>) -> Self {
        Self {
            inner,
            meter,
            is_unpacked: true,
        }
    }

    /// The archive itself, of which only the headers count.
    pub(crate) fn packed(inner: R, meter: &'m Meter<'m>) -> Self {
        Self {
            inner,
            meter,
            is_unpacked: false,
        }
    }
}

impl<R: Read> Read for Metered<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        let bytes = count as u64;
        let mut counted = self.meter.header_read(bytes);
        if self.is_unpacked {
            counted = counted.and_then(|()| self.meter.grew(bytes));
        }
        if let Err(refusal) = counted {
            *self.meter.refusal.borrow_mut() = Some(refusal.clone());
            return Err(io::Error::other(refusal));
        }
        Ok(count)
    }
}

impl<R: Seek> Seek for Metered<'_, R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.inner.seek(to)
    }
}

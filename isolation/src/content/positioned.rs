//! Reads a file at a position of one's own, for others read the same open file.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

/// A reader of a shared file.
#[derive(Debug)]
pub(crate) struct Positioned<'f> {
    file: &'f File,
    at: u64,
    size: u64,
}

impl<'f> Positioned<'f> {
    /// Begins at the start; the size is for those who seek from the end.
    pub(crate) fn new(file: &'f File, size: u64) -> Self {
        Self { file, at: 0, size }
    }
}

impl Read for Positioned<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

impl Seek for Positioned<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.size.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

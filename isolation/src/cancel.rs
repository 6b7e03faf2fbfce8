//! Calling off what takes long: images that are pulled, files that are fetched, and what isolators
//! of others do.

use std::io::{self, Read, Seek, SeekFrom};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Calls off what was given a clone of it. A transfer notices with the next bytes, or when it has
/// stalled.
#[derive(Debug, Clone, Default)]
pub struct Cancel {
    shared: Arc<(Mutex<bool>, Condvar)>,
}

/// It was called off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("called off")]
pub struct Cancelled;

impl Cancel {
    /// Calls it off, for good.
    pub fn cancel(&self) {
        let (is_cancelled, changed) = &*self.shared;
        *is_cancelled.lock().unwrap_or_else(PoisonError::into_inner) = true;
        changed.notify_all();
    }

    /// Whether it was called off.
    pub fn is_cancelled(&self) -> bool {
        *self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fails if it was called off: to be asked between the steps of what takes long.
    pub fn check(&self) -> Result<(), Cancelled> {
        match self.is_cancelled() {
            true => Err(Cancelled),
            false => Ok(()),
        }
    }

    /// Lets time pass, unless it is called off.
    pub fn pause(&self, time: Duration) -> Result<(), Cancelled> {
        let (is_cancelled, changed) = &*self.shared;
        let end = Instant::now() + time;
        let mut held = is_cancelled.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if *held {
                return Err(Cancelled);
            }
            if left.is_zero() {
                return Ok(());
            }
            let woken = changed.wait_timeout(held, left);
            held = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// What is read until it is called off.
pub(crate) struct Watched<'c, R> {
    from: R,
    cancel: &'c Cancel,
}

impl<'c, R: Read> Watched<'c, R> {
    pub(crate) fn new(from: R, cancel: &'c Cancel) -> Self {
        Self { from, cancel }
    }
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.cancel.check().map_err(io::Error::other)?;
        self.from.read(buffer)
    }
}

impl<R: Seek> Seek for Watched<'_, R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.from.seek(to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_called_off_waits_and_reads_no_more() {
        let cancel = Cancel::default();
        assert_eq!(cancel.pause(Duration::ZERO), Ok(()));
        let mut content = Watched::new(&b"ab"[..], &cancel);
        let mut byte = [0];
        assert_eq!(content.read(&mut byte).unwrap(), 1);
        cancel.clone().cancel();
        assert_eq!(cancel.check(), Err(Cancelled));
        // Far longer than any test.
        assert_eq!(cancel.pause(Duration::from_secs(86_400)), Err(Cancelled));
        assert_eq!(
            content.read(&mut byte).unwrap_err().to_string(),
            "called off"
        );
    }
}

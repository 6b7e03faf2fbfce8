//! Calling off what takes long.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::ImageError;

/// Calls off what was given a clone of it. A transfer notices with the next bytes, or when it has
/// stalled.
#[derive(Debug, Clone, Default)]
pub struct Cancel {
    shared: Arc<(Mutex<bool>, Condvar)>,
}

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

    pub(super) fn check(&self) -> Result<(), ImageError> {
        if self.is_cancelled() {
            return Err(ImageError::Cancelled);
        }
        Ok(())
    }

    /// Lets time pass, unless it is called off.
    pub(super) fn pause(&self, time: Duration) -> Result<(), ImageError> {
        let (is_cancelled, changed) = &*self.shared;
        let end = Instant::now() + time;
        let mut held = is_cancelled.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if *held {
                return Err(ImageError::Cancelled);
            }
            if left.is_zero() {
                return Ok(());
            }
            let woken = changed.wait_timeout(held, left);
            held = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

//! What waits to be sent to one peer: frames end to end in one buffer, written at once.
//!
//! [`Sender`] is the end for drivers; a session's writer takes from it. Sending never waits: a peer
//! that does not keep up loses its connection, which its machine is told like any other loss.

use std::mem;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use tepui_core::limits;
use tepui_core::protocol::hello::CloseReason;
use tokio::sync::Notify;

use crate::codec::{self, FrameError};

/// The most bytes that wait for one peer; one more frame disconnects it.
const QUEUED_BYTES_PER_PEER: usize = 64 * 1024 * 1024;
/// How much of an emptied buffer is kept for the next frames.
const KEPT_BYTES: usize = 4 * 1024;
/// How long a closed connection may take to deliver what was sent before.
pub(crate) const LINGER: Duration = Duration::from_secs(2);

/// Why a message was not queued.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The connection is at its end.
    #[error("the connection is closed")]
    Closed,
    /// Too much waits already: the connection is ended.
    #[error("the peer does not take its messages in time")]
    Overloaded,
    /// The message is no frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
}

/// Sends messages to one peer.
#[derive(Clone, Debug)]
pub struct Sender {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    /// There is something to write, or the end.
    changed: Notify,
    /// The end was asked for; wakes a writer that is stuck.
    ended: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    bytes: Vec<u8>,
    frames: usize,
    closed: Option<CloseReason>,
}

/// What a writer does next.
pub(crate) enum Next {
    /// Write these bytes.
    Write(Vec<u8>),
    /// Everything was taken: close.
    Close(CloseReason),
}

impl Sender {
    pub(crate) fn new() -> Self {
        Self {
            shared: Arc::default(),
        }
    }

    /// Queues a message.
    pub fn send(&self, message: &impl Serialize) -> Result<(), SendError> {
        let mut queue = self.shared.queue.lock();
        if queue.closed.is_some() {
            return Err(SendError::Closed);
        }
        if queue.frames >= limits::QUEUED_FRAMES_PER_PEER
            || queue.bytes.len() >= QUEUED_BYTES_PER_PEER
        {
            drop(queue);
            self.close(CloseReason::Overloaded);
            return Err(SendError::Overloaded);
        }
        codec::encode(message, &mut queue.bytes)?;
        queue.frames += 1;
        let was_empty = queue.frames == 1;
        drop(queue);
        if was_empty {
            self.shared.changed.notify_one();
        }
        Ok(())
    }

    /// Ends the connection after what was sent before, or at once if the peer is overloaded.
    pub fn close(&self, reason: CloseReason) {
        let mut queue = self.shared.queue.lock();
        if queue.closed.is_some() {
            return;
        }
        queue.closed = Some(reason);
        if reason == CloseReason::Overloaded {
            queue.bytes = Vec::new();
            queue.frames = 0;
        }
        drop(queue);
        self.shared.changed.notify_one();
        self.shared.ended.notify_one();
    }

    /// Waits for frames or the end. `spent` is the buffer of the last turn, to be used again.
    pub(crate) async fn next(&self, mut spent: Vec<u8>) -> Next {
        spent.clear();
        spent.shrink_to(KEPT_BYTES);
        loop {
            // Nothing is lost if the writer is dropped here: frames are taken without waiting.
            {
                let mut queue = self.shared.queue.lock();
                if queue.frames > 0 {
                    queue.frames = 0;
                    return Next::Write(mem::replace(&mut queue.bytes, spent));
                }
                if let Some(reason) = queue.closed {
                    return Next::Close(reason);
                }
            }
            self.shared.changed.notified().await;
        }
    }

    /// Waits until a write that is under way has taken too long for a connection at its end.
    pub(crate) async fn out_of_patience(&self) -> CloseReason {
        loop {
            let closed = self.shared.queue.lock().closed;
            match closed {
                Some(reason) => {
                    if reason != CloseReason::Overloaded {
                        tokio::time::sleep(LINGER).await;
                    }
                    return reason;
                }
                None => self.shared.ended.notified().await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_frame_too_many_ends_it() {
        // RG-20; MESOS-7748
        let sender = Sender::new();
        for n in 0..limits::QUEUED_FRAMES_PER_PEER {
            sender.send(&n).unwrap();
        }
        assert_eq!(sender.send(&0), Err(SendError::Overloaded));
        assert_eq!(sender.send(&0), Err(SendError::Closed));
        let queue = sender.shared.queue.lock();
        assert_eq!(queue.closed, Some(CloseReason::Overloaded));
        assert!(queue.bytes.is_empty());
    }

    #[tokio::test]
    async fn frames_leave_in_one_piece_before_the_close() {
        let sender = Sender::new();
        sender.send(&1u8).unwrap();
        sender.send(&2u8).unwrap();
        sender.close(CloseReason::Replaced);
        assert_eq!(sender.send(&3u8), Err(SendError::Closed));
        let Next::Write(bytes) = sender.next(Vec::new()).await else {
            panic!("frames were dropped");
        };
        assert_eq!(bytes, [1, 1, 0, 0, 0, 1, 1, 1, 0, 0, 0, 2]);
        assert!(matches!(
            sender.next(bytes).await,
            Next::Close(CloseReason::Replaced)
        ));
    }
}

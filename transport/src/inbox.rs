//! Where inputs wait for their machine: bounded in number and in bytes.
//!
//! A count alone bounds little, for one message may be as long as a frame. So what comes from peers
//! is weighed before it is decoded: by what it may take then, which is far more than its length on
//! the wire, where a text of nothing is a byte. Filled by sessions and by whoever
//! else has inputs, emptied by the driver. Deliberately not here: what inputs mean.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// The most bytes from peers that wait for one machine, decoded.
const INBOX_BYTES: usize = 512 * 1024 * 1024;
/// How many bytes a byte of the wire may become: an operation of 4 bytes takes 256.
const DECODED: usize = 64;
/// What is no longer is not weighed: the count bounds it well enough.
const LIGHT_BYTES: usize = 1024;

/// Makes an inbox for so many inputs.
pub fn channel<I>(inputs: usize) -> (Inbox<I>, Inputs<I>) {
    let (sender, receiver) = mpsc::channel(inputs);
    let room = Arc::new(Semaphore::new(INBOX_BYTES));
    let inbox = Inbox {
        sender,
        room: Arc::clone(&room),
    };
    (inbox, Inputs { receiver, room })
}

/// The machine has ended: nobody takes inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nobody takes inputs any more")]
pub struct NobodyThere;

/// The end for those who have inputs. Clones fill the same inbox.
#[derive(Debug)]
pub struct Inbox<I> {
    sender: mpsc::Sender<Weighed<I>>,
    room: Arc<Semaphore>,
}

impl<I> Clone for Inbox<I> {
    fn clone(&self) -> Self {
        Self {
            sender: self.sender.clone(),
            room: Arc::clone(&self.room),
        }
    }
}

/// Room for something long, taken before that is decoded.
#[derive(Debug)]
pub(crate) struct Room {
    /// Given back when it is dropped.
    _held: Option<OwnedSemaphorePermit>,
}

impl Room {
    const NONE: Self = Self { _held: None };
}

#[derive(Debug)]
struct Weighed<I> {
    input: I,
    /// Given back when the machine takes the input.
    room: Room,
}

impl<I> Inbox<I> {
    /// Sends an input, waiting for its turn.
    pub async fn send(&self, input: I) -> Result<(), NobodyThere> {
        self.put(input, Room::NONE).await
    }

    /// Sends an input from a thread that may wait.
    pub fn blocking_send(&self, input: I) -> Result<(), NobodyThere> {
        let room = Room::NONE;
        let sent = self.sender.blocking_send(Weighed { input, room });
        sent.map_err(|_| NobodyThere)
    }

    /// Waits for room for so many bytes.
    pub(crate) async fn room_for(&self, bytes: usize) -> Result<Room, NobodyThere> {
        if bytes <= LIGHT_BYTES {
            return Ok(Room::NONE);
        }
        let bytes = bytes.saturating_mul(DECODED).min(INBOX_BYTES);
        let bytes = u32::try_from(bytes).expect("the bound is below u32::MAX");
        let room = Arc::clone(&self.room).acquire_many_owned(bytes).await;
        let room = room.map_err(|_| NobodyThere)?;
        Ok(Room { _held: Some(room) })
    }

    /// Sends an input that has its room.
    pub(crate) async fn put(&self, input: I, room: Room) -> Result<(), NobodyThere> {
        let sent = self.sender.send(Weighed { input, room }).await;
        sent.map_err(|_| NobodyThere)
    }
}

/// The end for the machine.
#[derive(Debug)]
pub struct Inputs<I> {
    receiver: mpsc::Receiver<Weighed<I>>,
    room: Arc<Semaphore>,
}

impl<I> Inputs<I> {
    /// Waits for the next input; `None` once nobody has any more.
    pub async fn recv(&mut self) -> Option<I> {
        let Weighed { input, room } = self.receiver.recv().await?;
        drop(room);
        Some(input)
    }

    /// Waits for inputs, and takes up to `most`; none if nobody has any more. Dropping the future
    /// loses none.
    pub(crate) async fn recv_many(&mut self, most: usize) -> Taken<I> {
        let mut taken = Vec::with_capacity(most.min(self.receiver.len().max(1)));
        self.receiver.recv_many(&mut taken, most).await;
        Taken(taken)
    }
}

impl<I> Drop for Inputs<I> {
    fn drop(&mut self) {
        // Whoever waits for room learns that nobody will make any.
        self.room.close();
    }
}

/// Inputs that were taken together.
#[derive(Debug)]
pub(crate) struct Taken<I>(Vec<Weighed<I>>);

impl<I> Taken<I> {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn into_inputs(self) -> impl Iterator<Item = I> {
        self.0.into_iter().map(|weighed| weighed.input)
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use tepui_core::limits;

    use super::*;

    #[tokio::test]
    async fn what_waits_is_bounded_in_bytes() {
        let (inbox, mut inputs) = channel(1_000);
        let frames = INBOX_BYTES / (limits::FRAME_BYTES * DECODED);
        for n in 0..frames {
            let room = inbox.room_for(limits::FRAME_BYTES).await.unwrap();
            inbox.put(n, room).await.unwrap();
        }
        let mut one_more = pin!(inbox.room_for(limits::FRAME_BYTES));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(one_more.as_mut().poll(&mut cx).is_pending());
        // What is short goes on.
        let room = inbox.room_for(100).await.unwrap();
        inbox.put(frames, room).await.unwrap();
        assert_eq!(inputs.recv().await, Some(0));
        assert!(one_more.await.is_ok());
        let rest: Vec<usize> = inputs.recv_many(1_000).await.into_inputs().collect();
        assert_eq!(rest, (1..=frames).collect::<Vec<_>>());
        assert_eq!(inbox.room.available_permits(), INBOX_BYTES);
    }

    #[tokio::test]
    async fn whoever_waits_learns_that_nobody_is_there() {
        let (inbox, inputs) = channel::<u8>(1);
        let held = inbox.room_for(INBOX_BYTES / DECODED).await.unwrap();
        let mut waiting = pin!(inbox.room_for(2_000));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(waiting.as_mut().poll(&mut cx).is_pending());
        drop(inputs);
        let Poll::Ready(Err(NobodyThere)) = waiting.as_mut().poll(&mut cx) else {
            panic!("it waits for ever");
        };
        assert_eq!(inbox.put(1, held).await, Err(NobodyThere));
    }
}

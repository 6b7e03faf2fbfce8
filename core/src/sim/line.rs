//! What lies between one client and the master, and what is wrong with it for a while: it is slow,
//! it is clogged, or the client reads slowly.
//!
//! Used by the network, for all connections of a client. Nothing here loses a message or changes
//! the order; what does is in [`super::net`].

use alloc::vec::Vec;
use core::time::Duration;

use super::options::Span;
use super::queue::{End, Frame};
use crate::ids::PeerId;
use crate::rng::Rng;
use crate::time::Time;

/// A frame that waits, and for which end of which connection.
pub(super) type Held = (PeerId, End, Frame);

/// How a client reads that does not keep up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// How long it takes for each message.
    pub(super) each: Duration,
    /// How many may wait for it before the master gives it up.
    pub(super) most: usize,
}

/// One client's line.
#[derive(Debug)]
pub(super) struct Line {
    rng: Rng,
    /// Messages take up to so much longer, until then.
    slow: (Time, Duration),
    /// The client reads at this pace, until then.
    reading: Option<(Time, Pace)>,
    clogged_until: Time,
    /// What has arrived behind the clog, in order.
    held: Vec<Held>,
}

impl Line {
    pub(super) fn new(rng: Rng) -> Self {
        Self {
            rng,
            slow: (Time::ZERO, Duration::ZERO),
            reading: None,
            clogged_until: Time::ZERO,
            held: Vec::new(),
        }
    }

    /// Draws how long the next message takes.
    pub(super) fn delay(&mut self, now: Time, usual: Span) -> Duration {
        let delay = usual.draw(&mut self.rng);
        let (until, more) = self.slow;
        if now < until {
            return delay + self.rng.jitter(more);
        }
        delay
    }

    pub(super) fn slow(&mut self, until: Time, more: Duration) {
        self.slow = (until, more);
    }

    /// Returns how the client reads, if it does not keep up.
    pub(super) fn pace(&self, now: Time) -> Option<Pace> {
        let (_, pace) = self.reading.filter(|(until, _)| now < *until)?;
        Some(pace)
    }

    pub(super) fn read_slowly(&mut self, until: Time, pace: Pace) {
        self.reading = Some((until, pace));
    }

    /// Lets nothing through before `until`.
    pub(super) fn clog(&mut self, until: Time) {
        self.clogged_until = self.clogged_until.max(until);
    }

    /// Takes a frame if the line is clogged, or gives it back.
    pub(super) fn hold(&mut self, now: Time, held: Held) -> Result<(), Held> {
        let (_, _, frame) = &held;
        // That a connection is over an end knows by itself. Else nothing overtakes what was held,
        // and is about to be given out.
        let is_open = now >= self.clogged_until && self.held.is_empty();
        if is_open || matches!(frame, Frame::Close) {
            return Err(held);
        }
        self.held.push(held);
        Ok(())
    }

    /// Gives out what waited, if the line is not clogged any more.
    pub(super) fn release(&mut self, now: Time) -> Vec<Held> {
        if now < self.clogged_until {
            return Vec::new();
        }
        core::mem::take(&mut self.held)
    }

    /// Ends all that is wrong.
    pub(super) fn mend(&mut self) {
        self.slow = (Time::ZERO, Duration::ZERO);
        self.reading = None;
        self.clogged_until = Time::ZERO;
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    const USUAL: Span = Span::millis(1, 5);

    fn at(seconds: u64) -> Time {
        Time::ZERO + Duration::from_secs(seconds)
    }

    fn line() -> Line {
        Line::new(Rng::new(1))
    }

    fn bytes(byte: u8) -> Held {
        (PeerId(1), End::Client, Frame::Bytes(vec![byte]))
    }

    #[test]
    fn a_clog_holds_all_but_ends_and_gives_it_out_in_order() {
        let mut line = line();
        assert!(line.hold(at(0), bytes(0)).is_err());
        line.clog(at(10));
        line.clog(at(5));
        for byte in 0..4 {
            assert!(line.hold(at(u64::from(byte)), bytes(byte)).is_ok());
        }
        assert!(
            line.hold(at(4), (PeerId(1), End::Client, Frame::Close))
                .is_err()
        );
        assert!(line.release(at(9)).is_empty());
        assert!(line.hold(at(10), bytes(4)).is_ok(), "it would overtake");
        let released = line.release(at(10)).into_iter();
        let released = released.map(|(_, _, frame)| match frame {
            Frame::Bytes(bytes) => bytes[0],
            Frame::Open | Frame::Garbled | Frame::Close => panic!("only bytes were held"),
        });
        assert_eq!(released.collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
        assert!(line.hold(at(10), bytes(0)).is_err());
    }

    #[test]
    fn what_is_wrong_ends_by_itself_or_when_mended() {
        let mut line = line();
        let most = Duration::from_secs(5);
        let longest = |line: &mut Line, now| (0..50).map(|_| line.delay(now, USUAL)).max();
        line.slow(at(10), most);
        line.read_slowly(
            at(10),
            Pace {
                each: most,
                most: 3,
            },
        );
        assert!(longest(&mut line, at(9)).unwrap() > Duration::from_secs(1));
        assert!(longest(&mut line, at(10)).unwrap() <= Duration::from_millis(5));
        assert!(line.pace(at(9)).is_some() && line.pace(at(10)).is_none());
        line.clog(at(20));
        line.mend();
        assert!(longest(&mut line, at(1)).unwrap() <= Duration::from_millis(5));
        assert!(line.pace(at(1)).is_none() && line.hold(at(1), bytes(0)).is_err());
    }
}

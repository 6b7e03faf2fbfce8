//! The questions that wait for the next event.
//!
//! Used by `publishing`. Deliberately not here: events ([`crate::feed`]).

use alloc::collections::BTreeMap;
use core::ops::RangeInclusive;

use crate::ids::{PeerId, RequestId};
use crate::limits::{self, Filled};

/// Who waits: over which connection, and for the answer to which question.
pub(super) type Waiter = (PeerId, RequestId);

/// Whose questions are too many to let one more wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Crowd {
    All,
    OfConnection,
}

/// What a reader knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reads {
    /// The kinds of rows that there were at first.
    Some,
    /// All kinds of rows.
    All,
}

fn all_of(peer: PeerId) -> RangeInclusive<Waiter> {
    (peer, RequestId(0))..=(peer, RequestId(u64::MAX))
}

/// All that wait; they have everything that there is.
#[derive(Clone, Debug, Default)]
pub(super) struct Waiting {
    all: BTreeMap<Waiter, Reads>,
}

impl Waiting {
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Says how many wait, and how many may.
    pub(super) fn filled(&self) -> Filled {
        Filled::new("questions for events", self.all.len(), limits::WATCHES)
    }

    /// Has a question wait for the next event, or says why there is no room for it.
    pub(super) fn add(&mut self, waiter: Waiter, reads: Reads) -> Result<(), Crowd> {
        if self.all.len() >= limits::WATCHES {
            return Err(Crowd::All);
        }
        let of_peer = self.all.range(all_of(waiter.0)).count();
        if of_peer >= limits::WATCHES_PER_CONNECTION {
            return Err(Crowd::OfConnection);
        }
        self.all.insert(waiter, reads);
        Ok(())
    }

    /// Takes all questions that wait.
    pub(super) fn take(&mut self) -> BTreeMap<Waiter, Reads> {
        core::mem::take(&mut self.all)
    }

    /// Forgets the questions of a connection that is gone.
    pub(super) fn leave(&mut self, peer: PeerId) {
        while let Some(waiter) = self
            .all
            .range(all_of(peer))
            .next()
            .map(|(waiter, _)| *waiter)
        {
            self.all.remove(&waiter);
        }
    }

    pub(super) fn check(&self, is_connected: impl Fn(PeerId) -> bool) {
        assert!(self.all.len() <= limits::WATCHES);
        let mut waiting = self.all.keys();
        assert!(
            waiting.all(|(peer, _)| is_connected(*peer)),
            "who waits is there"
        );
    }
}

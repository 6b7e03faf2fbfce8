//! What a node remembers over restarts: the interface, and the journal that keeps it in files.
//!
//! Called by the driver only; machines write records to their outbox. Deliberately not here: any
//! retry. A journal that fails once is lost, and with it the machine that relied on it.

mod file;
mod format;
mod log;
#[cfg(test)]
mod tests;

use std::future::{self, Future};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use tepui_core::gate::Seq;
use tepui_core::machine::{Durable, Never};

pub use file::{FileJournal, FileOptions, Opened};

/// Keeps records, in order.
pub trait Journal {
    /// What the records add up to.
    type State: Durable;

    /// Appends records, the last of which is number `last`; the numbers have no gaps. Never waits.
    fn append(&mut self, last: Seq, records: Vec<<Self::State as Durable>::Record>);

    /// Waits for news. Dropping the future loses none.
    fn next(&mut self) -> impl Future<Output = JournalEvent<Self::State>> + Send;

    /// Gives up on what is under way: dropping the journal then waits for nothing.
    fn abandon(&mut self);
}

/// News from a journal.
#[derive(Debug)]
pub enum JournalEvent<S> {
    /// Everything up to this record survives a crash.
    Durable(Seq),
    /// This node leads from now on. A journal of one node leads from the moment it is opened and
    /// never says so; one that is shared between nodes does.
    Leading {
        /// What has been recorded so far.
        state: S,
        /// The leadership, higher than any before.
        epoch: u64,
    },
    /// Nothing more will be recorded, and what was not yet durable may or may not be.
    Lost(JournalError),
}

/// What is wrong with a journal.
#[derive(Clone, Debug, thiserror::Error)]
pub enum JournalError {
    /// A file cannot be used.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// Why not.
        source: Arc<io::Error>,
    },
    /// Another process has it open.
    #[error("{} is in use by another process", path.display())]
    InUse {
        /// The lock file.
        path: PathBuf,
    },
    /// Bytes are not what was written.
    #[error("{} is corrupt at byte {offset}: {problem}", path.display())]
    Corrupt {
        /// Which file.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// What is wrong.
        problem: String,
    },
    /// The bytes are intact, and yet no record of this build.
    #[error("{} holds a record at byte {offset} that this build cannot read: {problem}",
        path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// What the decoder says.
        problem: String,
    },
    /// A file is intact, and laid out as by another build.
    #[error("{} has layout {found}, and this build reads layout {known}", path.display())]
    Layout {
        /// Which file.
        path: PathBuf,
        /// The number of its layout.
        found: u32,
        /// The number of the one that this build reads.
        known: u32,
    },
    /// A record cannot be written down.
    #[error("a record cannot be encoded: {problem}")]
    Encode {
        /// What the encoder says.
        problem: String,
    },
    /// The journal's thread is gone.
    #[error("the journal in {} has stopped", dir.display())]
    Stopped {
        /// Its directory.
        dir: PathBuf,
    },
}

/// The journal of a machine that remembers nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoJournal;

/// The state of a machine that remembers nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Nothing;

impl Durable for Nothing {
    type Record = Never;

    const LAYOUT: u32 = 1;

    fn apply(&mut self, record: &Never) {
        match *record {}
    }
}

impl Journal for NoJournal {
    type State = Nothing;

    fn append(&mut self, last: Seq, records: Vec<Never>) {
        // There are no values of `Never`, so the list is empty and nothing is waiting.
        debug_assert!(records.is_empty(), "{last:?} cannot exist");
    }

    async fn next(&mut self) -> JournalEvent<Nothing> {
        future::pending().await
    }

    fn abandon(&mut self) {}
}

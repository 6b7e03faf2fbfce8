//! The journal in files: a thread that writes whatever has gathered, syncs once, and reports.
//!
//! Serves agents and single masters. The thread keeps a copy of the state, so that a snapshot needs
//! nothing from the machine; while it writes one, records wait. Deliberately not here: the layout.

use std::fmt;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};

use crossbeam::channel::{Receiver, Sender, unbounded};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tepui_core::gate::Seq;
use tepui_core::machine::Durable;
use tokio::sync::mpsc;

use super::log::{self, Batch, Log, Recovered};
use super::{Journal, JournalError, JournalEvent};

/// Settings of a file journal.
#[derive(Clone, Copy, Debug)]
pub struct FileOptions {
    /// A log shorter than this is not replaced by a snapshot.
    pub snapshot_from_bytes: u64,
}

impl Default for FileOptions {
    fn default() -> Self {
        Self {
            snapshot_from_bytes: 4 * 1024 * 1024,
        }
    }
}

/// A journal that was opened, and what it held.
#[derive(Debug)]
pub struct Opened<S: Durable> {
    /// Where to go on.
    pub journal: FileJournal<S>,
    /// What the records so far add up to.
    pub state: S,
    /// The leadership that begins now, higher than any before in this directory.
    pub epoch: u64,
}

/// What waits to be written: records, and the number of the last.
type Append<S> = (Seq, Vec<<S as Durable>::Record>);

/// A journal in a directory of its own.
pub struct FileJournal<S: Durable> {
    dir: PathBuf,
    appends: Option<Sender<Append<S>>>,
    events: mpsc::UnboundedReceiver<JournalEvent<S>>,
    writer: Option<JoinHandle<()>>,
}

impl<S: Durable> fmt::Debug for FileJournal<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileJournal")
            .field("dir", &self.dir)
            .finish_non_exhaustive()
    }
}

impl<S> FileJournal<S>
where
    S: Durable + Clone + Serialize + DeserializeOwned + Send + 'static,
    S::Record: Serialize + DeserializeOwned + Send + 'static,
{
    /// Opens the journal in `dir`, or begins one. Nobody else may have it open.
    pub fn open(dir: &Path) -> Result<Opened<S>, JournalError> {
        Self::open_with(dir, FileOptions::default())
    }

    /// Opens the journal in `dir` with settings.
    pub fn open_with(dir: &Path, options: FileOptions) -> Result<Opened<S>, JournalError> {
        Self::open_faulty(dir, options, Box::new(|| Ok(())))
    }

    /// Opens the journal in `dir`; `before_sync` may delay or fail each sync.
    pub(crate) fn open_faulty(
        dir: &Path,
        options: FileOptions,
        before_sync: BeforeSync,
    ) -> Result<Opened<S>, JournalError> {
        let Recovered { state, log } = log::recover::<S>(dir)?;
        let epoch = log.epoch;
        let (appends, work) = unbounded();
        let (report, events) = mpsc::unbounded_channel();
        let mut writer = Writer {
            state: state.clone(),
            log,
            options,
            before_sync,
            batch: Batch::default(),
        };
        let thread = thread::Builder::new().name("journal".into());
        let handle = thread.spawn(move || {
            if let Err(error) = writer.run(&work, &report) {
                tracing::error!(%error, "the journal is lost");
                // Nobody listens any more if the driver has ended; then nobody is misled.
                report.send(JournalEvent::Lost(error)).ok();
            }
        });
        let handle = handle.map_err(|source| JournalError::Io {
            action: "start a thread for",
            path: dir.into(),
            source: source.into(),
        })?;
        let journal = Self {
            dir: dir.into(),
            appends: Some(appends),
            events,
            writer: Some(handle),
        };
        Ok(Opened {
            journal,
            state,
            epoch,
        })
    }
}

impl<S> Journal for FileJournal<S>
where
    S: Durable + Send,
    S::Record: Send,
{
    type State = S;

    fn append(&mut self, last: Seq, records: Vec<S::Record>) {
        let appends = self.appends.as_ref();
        let appends = appends.expect("the sender lives until the journal is dropped");
        // A thread that has ended has said why: `next` yields it.
        if appends.send((last, records)).is_err() {
            tracing::debug!("records for a journal that is lost");
        }
    }

    async fn next(&mut self) -> JournalEvent<S> {
        match self.events.recv().await {
            Some(event) => event,
            None => JournalEvent::Lost(JournalError::Stopped {
                dir: self.dir.clone(),
            }),
        }
    }

    fn abandon(&mut self) {
        self.appends.take();
        // The thread keeps the directory locked until it is through.
        drop(self.writer.take());
    }
}

impl<S: Durable> Drop for FileJournal<S> {
    /// Waits until what was appended is written, so that the directory can be opened again.
    fn drop(&mut self) {
        self.appends.take();
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!(dir = %self.dir.display(), "the journal's thread panicked");
        }
    }
}

/// Runs before each sync: a test's way to delay or fail it.
pub(crate) type BeforeSync = Box<dyn FnMut() -> Result<(), JournalError> + Send>;

/// The thread's side.
struct Writer<S: Durable> {
    state: S,
    log: Log,
    options: FileOptions,
    before_sync: BeforeSync,
    batch: Batch,
}

impl<S> Writer<S>
where
    S: Durable + Serialize,
    S::Record: Serialize,
{
    /// Works until the journal is dropped or the disk fails.
    fn run(
        &mut self,
        work: &Receiver<Append<S>>,
        report: &mpsc::UnboundedSender<JournalEvent<S>>,
    ) -> Result<(), JournalError> {
        while let Ok(first) = work.recv() {
            let durable = self.write(first, work)?;
            if report.send(JournalEvent::Durable(durable)).is_err() {
                tracing::trace!("nobody waits for the journal any more");
            }
            if self.log.wants_snapshot(self.options.snapshot_from_bytes) {
                self.log.snapshot(&self.state)?;
            }
        }
        Ok(())
    }

    /// Writes what has gathered in one batch, and syncs once.
    fn write(&mut self, first: Append<S>, work: &Receiver<Append<S>>) -> Result<Seq, JournalError> {
        self.batch.clear();
        let mut next = Some(first);
        let mut durable = Seq::default();
        while let Some((last, records)) = next {
            for record in &records {
                self.batch.add(record)?;
                self.state.apply(record);
            }
            durable = last;
            next = if self.batch.is_full() {
                None
            } else {
                work.try_recv().ok()
            };
        }
        if !self.batch.is_empty() {
            self.log.append(&self.batch)?;
            (self.before_sync)()?;
            self.log.sync()?;
        }
        Ok(durable)
    }
}

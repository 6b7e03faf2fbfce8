//! The files of a journal: recovering them, appending to them, and starting over from a snapshot.
//!
//! Called by the journal's thread and at opening. Everything here waits for the disk. Deliberately
//! not here: threads.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::ops::RangeInclusive;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tepui_core::machine::Durable;

use super::JournalError;
use super::format::{
    self, BATCH_HEADER_BYTES, BatchHeader, FILE_HEADER_BYTES, LOG_HEADER_BYTES, SnapshotHeader,
};

/// The log grows by as much as it holds, within these bounds: a sync within a file of constant
/// length writes no metadata, which is faster on average and far steadier.
const GROWTH_BYTES: RangeInclusive<u64> = 4 * 1024..=256 * 1024;

/// What was found in a directory, and the log to go on with.
pub(super) struct Recovered<S> {
    pub(super) state: S,
    pub(super) log: Log,
}

/// An open log.
#[derive(Debug)]
pub(super) struct Log {
    dir: PathBuf,
    file: File,
    /// Where the next batch begins.
    pub(super) end: u64,
    /// How long the file is: what follows the last batch is zero.
    length: u64,
    snapshot_bytes: u64,
    /// The leadership that records are written under.
    pub(super) epoch: u64,
    /// The number of the next record.
    next: u64,
    /// Held as long as the log is open.
    _lock: File,
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> JournalError {
    move |source| JournalError::Io {
        action,
        path: path.into(),
        source: Arc::new(source),
    }
}

fn corrupt(path: &Path, offset: usize, problem: impl Into<String>) -> JournalError {
    JournalError::Corrupt {
        path: path.into(),
        offset: offset as u64,
        problem: problem.into(),
    }
}

/// Opens the journal in `dir`, or begins one, and begins a leadership.
pub(super) fn recover<S>(dir: &Path) -> Result<Recovered<S>, JournalError>
where
    S: Durable + DeserializeOwned,
    S::Record: DeserializeOwned,
{
    fs::create_dir_all(dir).map_err(failed("create", dir))?;
    let lock = lock(dir)?;
    remove_leftovers(dir)?;
    let mut replay = read_snapshot::<S>(&dir.join("snapshot"))?;
    let path = dir.join("log");
    match read_if_there(&path)? {
        Some(content) => {
            let intact = replay.take_log(&path, &content)?;
            let rest = &content[intact..];
            if let Some(last) = rest.iter().rposition(|byte| *byte != 0) {
                tracing::warn!(path = %path.display(), offset = intact, bytes = last + 1,
                    "cut off a batch that was not completely written when the node stopped");
            }
            if !rest.is_empty() {
                cut(&path, intact as u64)?;
            }
        }
        // Files are put in place whole, the log first: it cannot be missing beside a snapshot.
        None if replay.next > 1 => return Err(corrupt(&path, 0, "it is missing")),
        None => begin_log(dir, S::LAYOUT, 0, 1)?,
    }
    let file = OpenOptions::new().write(true).open(&path);
    let file = file.map_err(failed("open", &path))?;
    let end = file.metadata().map_err(failed("examine", &path))?.len();
    let mut log = Log {
        dir: dir.into(),
        file,
        end,
        length: end,
        snapshot_bytes: replay.snapshot_bytes,
        epoch: replay.epoch + 1,
        next: replay.next,
        _lock: lock,
    };
    // An empty batch makes the new epoch durable before anybody hears of it.
    log.append(&Batch::default())?;
    log.sync()?;
    Ok(Recovered {
        state: replay.state,
        log,
    })
}

/// Records on their way to the log.
#[derive(Debug, Default)]
pub(super) struct Batch {
    body: Vec<u8>,
    count: u32,
}

impl Batch {
    /// Beyond this no more is added, so that lengths stay far from their bounds.
    const FULL_BYTES: usize = 8 * 1024 * 1024;

    pub(super) fn add(&mut self, record: &impl Serialize) -> Result<(), JournalError> {
        let body = std::mem::take(&mut self.body);
        let encoded = postcard::to_extend(record, body);
        self.body = encoded.map_err(|error| JournalError::Encode {
            problem: error.to_string(),
        })?;
        self.count += 1;
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(super) fn is_full(&self) -> bool {
        self.body.len() >= Self::FULL_BYTES
    }

    pub(super) fn clear(&mut self) {
        self.body.clear();
        self.count = 0;
    }
}

impl Log {
    /// Writes a batch. It is durable after the next [`Log::sync`].
    pub(super) fn append(&mut self, batch: &Batch) -> Result<(), JournalError> {
        let length = u32::try_from(batch.body.len()).map_err(|_| JournalError::Encode {
            problem: format!("a batch of {} bytes is too long", batch.body.len()),
        })?;
        let header = BatchHeader {
            length,
            count: batch.count,
            epoch: self.epoch,
            index: self.next,
            body_crc: crc32fast::hash(&batch.body),
        };
        let mut bytes = Vec::with_capacity(BATCH_HEADER_BYTES + batch.body.len());
        bytes.extend_from_slice(&header.to_bytes());
        bytes.extend_from_slice(&batch.body);
        let path = self.path();
        let after = self.end + bytes.len() as u64;
        if after > self.length {
            self.length = after + after.clamp(*GROWTH_BYTES.start(), *GROWTH_BYTES.end());
            bytes.resize((self.length - self.end) as usize, 0);
        }
        self.file
            .write_all_at(&bytes, self.end)
            .map_err(failed("append to", &path))?;
        self.end = after;
        self.next += u64::from(batch.count);
        Ok(())
    }

    /// Makes everything written durable.
    pub(super) fn sync(&self) -> Result<(), JournalError> {
        let synced = self.file.sync_data();
        synced.map_err(failed("sync", &self.path()))
    }

    /// Returns whether the log has become long for the state that it leads to.
    pub(super) fn wants_snapshot(&self, least_bytes: u64) -> bool {
        self.end >= least_bytes.max(4 * self.snapshot_bytes)
    }

    /// Writes `state`, which must hold every record appended, and begins a new log.
    pub(super) fn snapshot<S: Durable + Serialize>(
        &mut self,
        state: &S,
    ) -> Result<(), JournalError> {
        let body = postcard::to_stdvec(state).map_err(|error| JournalError::Encode {
            problem: error.to_string(),
        })?;
        let header = SnapshotHeader {
            layout: S::LAYOUT,
            length: body.len() as u64,
            epoch: self.epoch,
            index: self.next - 1,
            body_crc: crc32fast::hash(&body),
        };
        replace(&self.dir, "snapshot", &[&header.to_bytes(), &body])?;
        // A crash here leaves the old log: its records are in the snapshot and are skipped.
        begin_log(&self.dir, S::LAYOUT, self.epoch, self.next)?;
        let path = self.path();
        let file = OpenOptions::new().write(true).open(&path);
        self.file = file.map_err(failed("open", &path))?;
        self.end = (LOG_HEADER_BYTES + BATCH_HEADER_BYTES) as u64;
        self.length = self.end;
        self.snapshot_bytes = body.len() as u64;
        Ok(())
    }

    fn path(&self) -> PathBuf {
        self.dir.join("log")
    }
}

/// A state on its way from files to memory.
struct Replay<S> {
    state: S,
    snapshot_bytes: u64,
    epoch: u64,
    next: u64,
}

impl<S> Replay<S>
where
    S: Durable,
    S::Record: DeserializeOwned,
{
    /// Applies a log. Returns how many bytes of it are intact; the rest is a torn batch.
    fn take_log(&mut self, path: &Path, content: &[u8]) -> Result<usize, JournalError> {
        let layout = format::check_log(content).map_err(|problem| corrupt(path, 0, problem))?;
        check_layout::<S>(path, layout)?;
        let mut offset = LOG_HEADER_BYTES;
        let mut expected = None;
        while offset < content.len() {
            let Some((header, body)) = format::read_batch(&content[offset..]) else {
                return self.torn_or_corrupt(path, content, offset, expected);
            };
            self.check_order(path, offset, expected, &header)?;
            self.take_batch(path, offset, &header, body)?;
            expected = Some(header.index + u64::from(header.count));
            offset += BATCH_HEADER_BYTES + body.len();
        }
        Ok(offset)
    }

    fn check_order(
        &self,
        path: &Path,
        offset: usize,
        expected: Option<u64>,
        header: &BatchHeader,
    ) -> Result<(), JournalError> {
        let problem = match expected {
            Some(expected) if header.index != expected => {
                format!("record {} follows, expected {expected}", header.index)
            }
            None if header.index > self.next => {
                format!(
                    "it begins with record {}, expected {}",
                    header.index, self.next
                )
            }
            Some(_) | None => return Ok(()),
        };
        Err(corrupt(path, offset, problem))
    }

    fn take_batch(
        &mut self,
        path: &Path,
        offset: usize,
        header: &BatchHeader,
        mut body: &[u8],
    ) -> Result<(), JournalError> {
        let unreadable = |problem: String| JournalError::Unreadable {
            path: path.into(),
            offset: offset as u64,
            problem,
        };
        for index in (header.index..).take(header.count as usize) {
            let (record, rest) = postcard::take_from_bytes::<S::Record>(body)
                .map_err(|error| unreadable(error.to_string()))?;
            body = rest;
            // Records before it are in the snapshot already.
            if index == self.next {
                self.state.apply(&record);
                self.next += 1;
            }
        }
        if !body.is_empty() {
            return Err(unreadable(format!("{} bytes left over", body.len())));
        }
        self.epoch = self.epoch.max(header.epoch);
        Ok(())
    }

    /// Decides on a batch that is not intact. Each batch is synced before the next is written, so
    /// only the last one can be torn: an intact one after it proves damage.
    ///
    /// What looks like a batch may also be part of a torn one, for records hold what they like. It
    /// counts only behind the torn one, where that says how long it is, and if it goes on from what
    /// was read so far.
    fn torn_or_corrupt(
        &self,
        path: &Path,
        content: &[u8],
        offset: usize,
        expected: Option<u64>,
    ) -> Result<usize, JournalError> {
        let torn = BatchHeader::read(&content[offset..]);
        let (from, next) = match torn {
            Some(torn) => (
                offset + BATCH_HEADER_BYTES + torn.length as usize,
                torn.index + u64::from(torn.count),
            ),
            None => (offset + 1, expected.unwrap_or(0)),
        };
        let goes_on = |at: &usize| {
            let batch = format::read_batch(&content[*at..]);
            batch.is_some_and(|(batch, _)| batch.index >= next && batch.epoch >= self.epoch)
        };
        let later = (from..content.len()).find(goes_on);
        match later {
            None => Ok(offset),
            Some(later) => Err(corrupt(
                path,
                offset,
                format!("the batch is damaged, and an intact one follows at byte {later}"),
            )),
        }
    }
}

fn read_snapshot<S: Durable + DeserializeOwned>(path: &Path) -> Result<Replay<S>, JournalError> {
    let Some(content) = read_if_there(path)? else {
        return Ok(Replay {
            state: S::default(),
            snapshot_bytes: 0,
            epoch: 0,
            next: 1,
        });
    };
    format::check_snapshot(&content).map_err(|problem| corrupt(path, 0, problem))?;
    let header = SnapshotHeader::read(&content)
        .ok_or_else(|| corrupt(path, FILE_HEADER_BYTES, "the header is damaged"))?;
    let body = &content[format::SNAPSHOT_HEADER_BYTES..];
    // Snapshots appear by renaming: one that is not whole was damaged later.
    if body.len() as u64 != header.length || crc32fast::hash(body) != header.body_crc {
        let offset = format::SNAPSHOT_HEADER_BYTES;
        return Err(corrupt(path, offset, "the state is damaged"));
    }
    check_layout::<S>(path, header.layout)?;
    let unreadable = |problem| JournalError::Unreadable {
        path: path.into(),
        offset: format::SNAPSHOT_HEADER_BYTES as u64,
        problem,
    };
    let (state, rest) =
        postcard::take_from_bytes(body).map_err(|error| unreadable(error.to_string()))?;
    // What this build does not know is not left out: the state would be another.
    if !rest.is_empty() {
        return Err(unreadable(format!("{} bytes left over", rest.len())));
    }
    Ok(Replay {
        state,
        snapshot_bytes: header.length,
        epoch: header.epoch,
        next: header.index + 1,
    })
}

fn lock(dir: &Path) -> Result<File, JournalError> {
    let path = dir.join("lock");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(failed("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(JournalError::InUse { path }),
        Err(TryLockError::Error(source)) => Err(failed("lock", &path)(source)),
    }
}

/// Removes files that a crash left before they were renamed.
fn remove_leftovers(dir: &Path) -> Result<(), JournalError> {
    for name in ["snapshot.tmp", "log.tmp"] {
        let path = dir.join(name);
        match fs::remove_file(&path) {
            Ok(()) => tracing::debug!(path = %path.display(), "removed an unfinished file"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed("remove", &path)(error)),
        }
    }
    Ok(())
}

fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, JournalError> {
    match fs::read(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("read", path)(error)),
    }
}

/// Checks that a file is laid out as this build reads it.
fn check_layout<S: Durable>(path: &Path, found: u32) -> Result<(), JournalError> {
    if found == S::LAYOUT {
        return Ok(());
    }
    Err(JournalError::Layout {
        path: path.into(),
        found,
        known: S::LAYOUT,
    })
}

/// Puts an empty log in place. An empty batch says where it begins, so that the snapshot before it
/// is missed if it is gone.
fn begin_log(dir: &Path, layout: u32, epoch: u64, next: u64) -> Result<(), JournalError> {
    let start = BatchHeader {
        length: 0,
        count: 0,
        epoch,
        index: next,
        body_crc: crc32fast::hash(&[]),
    };
    replace(
        dir,
        "log",
        &[&format::log_header(layout), &start.to_bytes()],
    )
}

/// Puts a file in place, whole and durable, or not at all.
fn replace(dir: &Path, name: &str, parts: &[&[u8]]) -> Result<(), JournalError> {
    let (path, new) = (dir.join(name), dir.join(format!("{name}.tmp")));
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(&new).map_err(failed("create", &new))?;
    for part in parts {
        file.write_all(part).map_err(failed("write", &new))?;
    }
    file.sync_all().map_err(failed("sync", &new))?;
    fs::rename(&new, &path).map_err(failed("put in place", &path))?;
    let parent = File::open(dir).map_err(failed("open", dir))?;
    parent.sync_all().map_err(failed("sync", dir))
}

fn cut(path: &Path, bytes: u64) -> Result<(), JournalError> {
    let file = OpenOptions::new().write(true).open(path);
    let file = file.map_err(failed("open", path))?;
    file.set_len(bytes).map_err(failed("cut", path))?;
    file.sync_all().map_err(failed("sync", path))
}

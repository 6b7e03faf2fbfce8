//! How containers ended, in a file, until the agent forgets them.
//!
//! The file serves an agent that restarts and a launcher that is started anew. It is written
//! before anybody is told, once a turn, and not synced: it need only survive processes. A machine
//! that restarts ends all tasks anyway. A record that was cut off is dropped with what follows.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tepui_core::ids::ContainerId;
use tepui_core::protocol::container::ContainerEvent;
use tepui_core::protocol::status::{Breach, Exit};
use tepui_core::protocol::wire::cut_text;

use crate::error::{Error, Result};

/// How a container ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Outcome {
    Exited { exit: Exit, breach: Option<Breach> },
    Failed { message: String },
}

impl Outcome {
    /// A start that failed. The message may quote what a framework wrote: it is cut, so that it
    /// fits into a frame and into the file.
    pub(super) fn failed(message: String) -> Self {
        let message = cut_text(message);
        Self::Failed { message }
    }

    /// Makes the event that tells it.
    pub(super) fn event(&self, id: &ContainerId) -> ContainerEvent {
        let id = id.clone();
        match self {
            Self::Exited { exit, breach } => ContainerEvent::Exited {
                id,
                exit: *exit,
                breach: *breach,
            },
            Self::Failed { message } => ContainerEvent::LaunchFailed {
                id,
                message: message.clone(),
            },
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
enum Record {
    Ended { id: ContainerId, outcome: Outcome },
    Forgotten { id: ContainerId },
}

/// The file is rewritten when more records than this, and more than half of all, are dead.
const GARBAGE: usize = 4_096;
/// Length and checksum before each record.
const HEADER_BYTES: usize = 8;

/// The outcomes that are remembered.
#[derive(Debug)]
pub(super) struct Exits {
    path: PathBuf,
    file: File,
    outcomes: BTreeMap<ContainerId, Outcome>,
    unwritten: Vec<u8>,
    records: usize,
}

impl Exits {
    /// Reads what `path` holds, and rewrites it without what is dead or cut off.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(Error::file("read", path, error)),
        };
        let outcomes = replay(&bytes);
        let (file, records) = rewrite(path, &outcomes)?;
        Ok(Self {
            path: path.to_owned(),
            file,
            outcomes,
            unwritten: Vec::new(),
            records,
        })
    }

    /// Remembers an outcome; it is in the file after [`Exits::write`].
    pub(super) fn record(&mut self, id: &ContainerId, outcome: Outcome) {
        self.append(&Record::Ended {
            id: id.clone(),
            outcome: outcome.clone(),
        });
        self.outcomes.insert(id.clone(), outcome);
    }

    /// Returns how a container ended.
    pub(super) fn outcome(&self, id: &ContainerId) -> Option<&Outcome> {
        self.outcomes.get(id)
    }

    /// Forgets one container.
    pub(super) fn forget(&mut self, id: &ContainerId) {
        if self.outcomes.remove(id).is_some() {
            self.append(&Record::Forgotten { id: id.clone() });
        }
    }

    /// Forgets all but `known`.
    pub(super) fn retain(&mut self, known: &BTreeSet<&ContainerId>) {
        let ids: Vec<_> = self.outcomes.keys().cloned().collect();
        for id in ids.iter().filter(|id| !known.contains(id)) {
            self.forget(id);
        }
    }

    /// Writes what is new; after a failure it is tried again at the next call.
    pub(super) fn write(&mut self) -> Result<()> {
        if self.unwritten.is_empty() {
            return Ok(());
        }
        if self.records > GARBAGE && self.records > 2 * self.outcomes.len() {
            (self.file, self.records) = rewrite(&self.path, &self.outcomes)?;
            self.unwritten.clear();
            return Ok(());
        }
        while !self.unwritten.is_empty() {
            let written = self.file.write(&self.unwritten);
            let written = written.map_err(|error| Error::file("append to", &self.path, error))?;
            self.unwritten.drain(..written);
        }
        Ok(())
    }

    fn append(&mut self, record: &Record) {
        push(record, &mut self.unwritten);
        self.records += 1;
    }
}

fn push(record: &Record, out: &mut Vec<u8>) {
    let body =
        postcard::to_allocvec(record).expect("a record holds nothing that cannot be encoded");
    let length = u32::try_from(body.len()).expect("ids and messages are short");
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&crc32fast::hash(&body).to_le_bytes());
    out.extend_from_slice(&body);
}

fn replay(mut bytes: &[u8]) -> BTreeMap<ContainerId, Outcome> {
    let mut outcomes = BTreeMap::new();
    while let Some((record, length)) = first(bytes) {
        match record {
            Record::Ended { id, outcome } => outcomes.insert(id, outcome),
            Record::Forgotten { id } => outcomes.remove(&id),
        };
        bytes = &bytes[length..];
    }
    outcomes
}

/// Reads the first record and its length; `None` at the end, or where the file is torn.
fn first(bytes: &[u8]) -> Option<(Record, usize)> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (checksum, rest) = rest.split_first_chunk::<4>()?;
    let length = u32::from_le_bytes(*length) as usize;
    let body = rest.get(..length)?;
    if crc32fast::hash(body) != u32::from_le_bytes(*checksum) {
        return None;
    }
    Some((postcard::from_bytes(body).ok()?, HEADER_BYTES + length))
}

/// Replaces the file in one step, and opens it for appending.
fn rewrite(path: &Path, outcomes: &BTreeMap<ContainerId, Outcome>) -> Result<(File, usize)> {
    let mut bytes = Vec::new();
    for (id, outcome) in outcomes {
        let (id, outcome) = (id.clone(), outcome.clone());
        push(&Record::Ended { id, outcome }, &mut bytes);
    }
    let new = path.with_extension("new");
    fs::write(&new, &bytes).map_err(|error| Error::file("write", &new, error))?;
    let file = File::options().append(true).open(&new);
    let file = file.map_err(|error| Error::file("open", &new, error))?;
    fs::rename(&new, path).map_err(|error| Error::file("replace", path, error))?;
    Ok((file, outcomes.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exited(code: i32) -> Outcome {
        Outcome::Exited {
            exit: Exit::Code(code),
            breach: None,
        }
    }

    #[test]
    fn a_torn_tail_costs_only_itself() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("exits");
        let ids: Vec<_> = (0..3).map(ContainerId::numbered).collect();
        let mut exits = Exits::open(&path).unwrap();
        for (id, code) in ids.iter().zip(0..) {
            exits.record(id, exited(code));
        }
        exits.forget(&ids[0]);
        exits.write().unwrap();
        let whole = fs::read(&path).unwrap();

        let exits = Exits::open(&path).unwrap();
        assert_eq!(exits.outcome(&ids[0]), None);
        assert_eq!(exits.outcome(&ids[2]), Some(&exited(2)));

        for cut in 0..whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            let known = Exits::open(&path).unwrap().outcomes.len();
            assert!(known <= 3);
            let mut exits = Exits::open(&path).unwrap();
            exits.record(&ids[1], exited(9));
            exits.write().unwrap();
            let again = Exits::open(&path).unwrap();
            assert_eq!(again.outcome(&ids[1]), Some(&exited(9)), "cut at {cut}");
        }
        let mut flipped = whole.clone();
        flipped[HEADER_BYTES] ^= 1;
        fs::write(&path, flipped).unwrap();
        assert_eq!(Exits::open(&path).unwrap().outcomes.len(), 0);
    }

    #[test]
    fn the_file_does_not_grow_with_what_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("exits");
        let mut exits = Exits::open(&path).unwrap();
        for n in 0..20_000 {
            let id = ContainerId::numbered(n);
            exits.record(&id, exited(0));
            exits.forget(&id);
            exits.write().unwrap();
        }
        let length = fs::metadata(&path).unwrap().len();
        assert!(length < 200_000, "{length} bytes");
    }
}

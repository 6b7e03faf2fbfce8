//! What is remembered on disk of the networks that containers have joined.
//!
//! `<directory>/<container id>/record` is there before the first plugin runs and until the last
//! one has undone its work, so that nothing is forgotten whenever the agent ends. It holds what
//! plugins were told, since they are told the same when it is undone, whatever the configuration is
//! by then. Beside it is `input`, by which plugins get their input.

use std::fs::{self, DirBuilder, File};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::network::error::{NetworkError, Result};

const RECORD: &str = "record";
const NEW: &str = "record.new";
const INPUT: &str = "input";

/// All networks of a container.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    /// What plugins call the container.
    pub(crate) container: String,
    /// Where its network namespace is bound.
    pub(crate) namespace: PathBuf,
    pub(crate) stage: Stage,
    /// In the order in which they are joined.
    pub(crate) joins: Vec<Joined>,
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Stage {
    /// Perhaps not all networks are joined, or not wholly.
    Joining,
    /// All are.
    Joined,
    /// Perhaps some are left already, or in part.
    Leaving,
}

/// One network of a container.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Joined {
    pub(crate) network: String,
    pub(crate) version: String,
    pub(crate) unchecked: bool,
    pub(crate) interface: String,
    pub(crate) arguments: String,
    /// What each plugin was told, but for the result of the one before it.
    pub(crate) plugins: Vec<Map<String, Value>>,
    /// What the last plugin answered; `None` if that was never heard.
    pub(crate) result: Option<Value>,
}

/// The directory of all records.
#[derive(Debug)]
pub(crate) struct Store {
    dir: PathBuf,
}

impl Store {
    pub(crate) fn open(dir: PathBuf) -> Result<Self> {
        make_dir(&dir)?;
        Ok(Self { dir })
    }

    /// Lists the containers of which something is there.
    pub(crate) fn names(&self) -> Result<Vec<String>> {
        let failed = |error| NetworkError::file("read", &self.dir, error);
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            // Whatever else is there is not ours: ids are texts.
            names.extend(name.into_string().ok());
        }
        names.sort();
        Ok(names)
    }

    /// Where a container's plugins get their input from.
    pub(crate) fn input(&self, name: &str) -> PathBuf {
        self.dir.join(name).join(INPUT)
    }

    pub(crate) fn read(&self, name: &str) -> Result<Option<Record>> {
        let path = self.dir.join(name).join(RECORD);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(NetworkError::file("read", &path, error)),
        };
        let record = serde_json::from_slice(&text);
        record.map(Some).map_err(|error| NetworkError::Record {
            path,
            problem: error.to_string(),
        })
    }

    /// Makes a record durable, in the place of a former one.
    pub(crate) fn write(&self, name: &str, record: &Record) -> Result<()> {
        let dir = self.dir.join(name);
        if make_dir(&dir)? {
            sync_dir(&self.dir)?;
        }
        let (path, new) = (dir.join(RECORD), dir.join(NEW));
        let text = serde_json::to_vec(record).map_err(|error| NetworkError::Record {
            path: path.clone(),
            problem: error.to_string(),
        })?;
        let failed = |error| NetworkError::file("write", &new, error);
        let mut options = File::options();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&new).map_err(failed)?;
        file.write_all(&text).map_err(failed)?;
        file.sync_data().map_err(failed)?;
        fs::rename(&new, &path).map_err(failed)?;
        sync_dir(&dir)
    }

    /// Forgets a container; fine if there is nothing of it.
    pub(crate) fn remove(&self, name: &str) -> Result<()> {
        let dir = self.dir.join(name);
        let removed = |path: &Path, result: std::io::Result<()>| match result {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(NetworkError::file("remove", path, error))
            }
            Ok(()) | Err(_) => Ok(()),
        };
        // The record first: without one the rest is nothing.
        for file in [RECORD, NEW, INPUT] {
            let path = dir.join(file);
            removed(&path, fs::remove_file(&path))?;
        }
        removed(&dir, fs::remove_dir(&dir))?;
        sync_dir(&self.dir)
    }
}

/// Returns whether it was made.
fn make_dir(path: &Path) -> Result<bool> {
    if path.is_dir() {
        return Ok(false);
    }
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| NetworkError::file("create", path, error))?;
    Ok(true)
}

fn sync_dir(path: &Path) -> Result<()> {
    let synced = File::open(path).and_then(|dir| dir.sync_all());
    synced.map_err(|error| NetworkError::file("sync", path, error))
}

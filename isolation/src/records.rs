//! What an isolator remembers of containers over restarts of the agent: a small file for each.
//!
//! Deliberately not here: what that is, and whose containers are over.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tepui_core::ids::ContainerId;

use crate::error::{Error, Result};

/// What a record is called while it is written.
const PART: &str = ".part";

/// The directory of the records.
#[derive(Debug)]
pub(crate) struct Records<T> {
    directory: PathBuf,
    kind: PhantomData<fn() -> T>,
}

impl<T: Serialize + DeserializeOwned> Records<T> {
    pub(crate) fn open(directory: PathBuf) -> Result<Self> {
        let made = fs::create_dir_all(&directory);
        made.map_err(|error| Error::file("create", &directory, error))?;
        // What somebody died over who wrote it.
        removed(&directory.join(PART))?;
        Ok(Self {
            directory,
            kind: PhantomData,
        })
    }

    /// Reads all that there are. One that is garbled is one that was never finished.
    pub(crate) fn all(&self) -> Result<BTreeMap<ContainerId, T>> {
        let failed = |error| Error::file("read", &self.directory, error);
        let mut all = BTreeMap::new();
        for entry in fs::read_dir(&self.directory).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            let name = name.to_str().filter(|name| *name != PART);
            let Some(Ok(id)) = name.map(ContainerId::new) else {
                continue;
            };
            let path = entry.path();
            let text = fs::read(&path).map_err(|error| Error::file("read", &path, error))?;
            match serde_json::from_slice(&text) {
                Ok(record) => drop(all.insert(id, record)),
                Err(error) => tracing::warn!(path = %path.display(), %error, "not a record"),
            }
        }
        Ok(all)
    }

    /// Writes one, whole or not at all; one at a time.
    pub(crate) fn write(&self, id: &ContainerId, record: &T) -> Result<()> {
        let path = self.directory.join(id.as_str());
        let part = self.directory.join(PART);
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |error| Error::file("write", &path, error)
        };
        let bytes = serde_json::to_vec(record).map_err(|error| failed(&path)(error.into()))?;
        fs::write(&part, bytes).map_err(failed(&part))?;
        fs::rename(&part, &path).map_err(failed(&path))
    }

    pub(crate) fn remove(&self, id: &ContainerId) -> Result<()> {
        removed(&self.directory.join(id.as_str()))
    }
}

/// Removes a file, if it is there.
fn removed(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::file("remove", path, error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // R13: whatever part of a write was done, what was there before is there, or what is written
    #[test]
    fn a_record_that_is_torn_at_any_byte_is_none_and_harms_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let records = || Records::<Vec<(u32, String)>>::open(dir.path().to_owned()).unwrap();
        let (one, two) = (ContainerId::numbered(1), ContainerId::numbered(2));
        let old = vec![(7, "seven".to_owned())];
        let new = vec![(10, "ten".to_owned()), (11, "eleven".to_owned())];
        records().write(&one, &old).unwrap();
        let whole = serde_json::to_vec(&new).unwrap();
        for cut in 0..=whole.len() {
            // The agent died while it wrote.
            fs::write(dir.path().join(PART), &whole[..cut]).unwrap();
            let found = records().all().unwrap();
            assert!(!dir.path().join(PART).exists());
            assert_eq!(found, BTreeMap::from([(one.clone(), old.clone())]));
            // The machine did, and the file system had only some of it.
            fs::write(dir.path().join(two.as_str()), &whole[..cut]).unwrap();
            let mut expected = found;
            if cut == whole.len() {
                expected.insert(two.clone(), new.clone());
            }
            assert_eq!(records().all().unwrap(), expected, "cut at {cut}");
            // Neither keeps the next one from being written.
            records().write(&two, &new).unwrap();
            expected.insert(two.clone(), new.clone());
            assert_eq!(records().all().unwrap(), expected);
            records().remove(&two).unwrap();
        }
    }
}

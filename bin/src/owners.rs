//! Whose each framework is: who may read what its tasks wrote, for as long as that is kept.
//!
//! One small file a framework, in a directory that tasks cannot reach. Who owns a framework when
//! the agent first hears of it owns it for good: whoever takes a forgotten id later reads nothing
//! of what was before. Until a file is durable the agent's journal knows the owner, for it is told
//! of again at every start as long as a task is not over. Deliberately not here: who asks (see
//! `sandboxes`).

use std::collections::{HashMap, HashSet};
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};

use anyhow::Context;
use parking_lot::Mutex;
use tepui_core::ids::FrameworkId;

/// How many frameworks are known to be written down, and how many may wait to be.
const REMEMBERED: usize = 1_024;

/// The owners of frameworks. Dropping it waits until all are written down.
#[derive(Debug)]
pub(crate) struct Owners {
    shared: Arc<Shared>,
    /// Tells the thread what to write; the disk may stall, and the node must not.
    to_write: Option<mpsc::Sender<FrameworkId>>,
    writer: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    dir: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    unwritten: HashMap<FrameworkId, String>,
    /// Some of those that are written down, so that most tasks ask for nothing to be done.
    written: HashSet<FrameworkId>,
}

impl Owners {
    /// Keeps owners in `dir`. Those of frameworks that `is_kept` denies are forgotten.
    pub(crate) fn open(dir: &Path, is_kept: impl Fn(&str) -> bool) -> anyhow::Result<Self> {
        let failed = || format!("cannot use {}", dir.display());
        let mut private = DirBuilder::new();
        private.recursive(true).mode(0o700);
        private.create(dir).with_context(failed)?;
        for entry in fs::read_dir(dir).with_context(failed)? {
            let entry = entry.with_context(failed)?;
            let is_kept = entry.file_name().to_str().is_some_and(&is_kept);
            if !is_kept {
                fs::remove_file(entry.path()).with_context(failed)?;
            }
        }
        let shared = Arc::new(Shared {
            dir: dir.into(),
            state: Mutex::default(),
        });
        let (to_write, unwritten) = mpsc::channel();
        let writing = Arc::clone(&shared);
        let writer = thread::Builder::new()
            .name("tepui-owners".into())
            .spawn(move || {
                while let Ok(framework) = unwritten.recv() {
                    writing.write_down(framework);
                }
            });
        Ok(Self {
            shared,
            to_write: Some(to_write),
            writer: Some(writer.context("cannot start a thread")?),
        })
    }

    /// Notes whose a framework is, unless that is known. Never waits.
    pub(crate) fn learn(&self, framework: &FrameworkId, principal: &str) {
        let mut state = self.shared.state.lock();
        if state.written.contains(framework) || state.unwritten.contains_key(framework) {
            return;
        }
        if state.unwritten.len() >= REMEMBERED {
            tracing::error!(%framework, "its owner is not noted: too many wait for the disk");
            return;
        }
        state.unwritten.insert(framework.clone(), principal.into());
        drop(state);
        let to_write = self.to_write.as_ref().expect("open until it is dropped");
        if to_write.send(framework.clone()).is_err() {
            tracing::error!(%framework, "its owner is not written down: the thread has failed");
        }
    }

    /// Looks up whose a framework is. What is written down counts more than what was heard since.
    pub(crate) fn of(&self, framework: &FrameworkId) -> io::Result<Option<String>> {
        match fs::read_to_string(self.shared.dir.join(framework.as_str())) {
            Ok(owner) => Ok(Some(owner)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Ok(self.shared.state.lock().unwritten.get(framework).cloned())
            }
            Err(error) => Err(error),
        }
    }
}

impl Drop for Owners {
    fn drop(&mut self) {
        drop(self.to_write.take());
        let joined = self.writer.take().map(JoinHandle::join);
        if matches!(joined, Some(Err(_))) {
            tracing::error!("the thread that writes owners down has failed");
        }
    }
}

impl Shared {
    fn write_down(&self, framework: FrameworkId) {
        let Some(owner) = self.state.lock().unwritten.get(&framework).cloned() else {
            return;
        };
        let written = self.put_in_place(&framework, &owner);
        let mut state = self.state.lock();
        match written {
            Ok(()) => {
                if state.written.len() >= REMEMBERED {
                    state.written.clear();
                }
                state.written.insert(framework.clone());
            }
            // Known until the agent ends; the next one is told again if a task is not over.
            Err(error) => {
                tracing::error!(%framework, %error, "its owner is not written down");
                return;
            }
        }
        state.unwritten.remove(&framework);
    }

    /// Makes the file, whole and durable. One that is there stays as it is.
    fn put_in_place(&self, framework: &FrameworkId, owner: &str) -> io::Result<()> {
        let path = self.dir.join(framework.as_str());
        if path.try_exists()? {
            return Ok(());
        }
        let mut file = tempfile::NamedTempFile::new_in(&self.dir)?;
        file.write_all(owner.as_bytes())?;
        file.as_file().sync_all()?;
        file.persist_noclobber(&path)?;
        File::open(&self.dir)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framework(id: &str) -> FrameworkId {
        FrameworkId::new(id).unwrap()
    }

    #[test]
    fn the_first_owner_stays_over_restarts() {
        let dir = tempfile::tempdir().unwrap();
        let owners = Owners::open(dir.path(), |_| true).unwrap();
        owners.learn(&framework("f"), "alice");
        let of = |owners: &Owners, id| owners.of(&framework(id)).unwrap();
        assert_eq!(of(&owners, "f").as_deref(), Some("alice"), "at once");
        owners.learn(&framework("f"), "bob");
        drop(owners);
        let owners = Owners::open(dir.path(), |_| true).unwrap();
        owners.learn(&framework("f"), "bob");
        assert_eq!(of(&owners, "f").as_deref(), Some("alice"));
        drop(owners);
        let owners = Owners::open(dir.path(), |_| true).unwrap();
        assert_eq!(
            of(&owners, "f").as_deref(),
            Some("alice"),
            "not overwritten"
        );
        assert_eq!(of(&owners, "g"), None);
    }

    #[test]
    fn owners_go_with_what_they_own() {
        let dir = tempfile::tempdir().unwrap();
        let owners = Owners::open(dir.path(), |_| true).unwrap();
        owners.learn(&framework("old"), "alice");
        owners.learn(&framework("new"), "alice");
        drop(owners);
        let owners = Owners::open(dir.path(), |id| id == "new").unwrap();
        assert_eq!(owners.of(&framework("old")).unwrap(), None);
        assert!(owners.of(&framework("new")).unwrap().is_some());
    }

    #[test]
    fn memory_does_not_grow_with_frameworks() {
        let dir = tempfile::tempdir().unwrap();
        let owners = Owners::open(dir.path(), |_| true).unwrap();
        let state = |owners: &Owners| {
            let state = owners.shared.state.lock();
            (state.unwritten.len(), state.written.len())
        };
        for n in 0..REMEMBERED + 10 {
            owners.learn(&framework(&n.to_string()), "alice");
            let (unwritten, written) = state(&owners);
            assert!(unwritten <= REMEMBERED && written <= REMEMBERED);
        }
    }

    #[test]
    fn an_owner_that_cannot_be_written_down_is_known_all_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let owners = Owners::open(dir.path(), |_| true).unwrap();
        fs::remove_dir(dir.path()).unwrap();
        let shared = &owners.shared;
        let unwritten = (framework("f"), "alice".to_owned());
        shared.state.lock().unwritten.extend([unwritten]);
        shared.write_down(framework("f"));
        assert!(shared.state.lock().written.is_empty());
        let owner = owners.of(&framework("f")).unwrap();
        assert_eq!(owner.as_deref(), Some("alice"));
    }
}

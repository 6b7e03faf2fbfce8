//! Keeps what was fetched, by content (AG-52, WK-54).
//!
//! The files are named by the SHA-256 of their content, in a directory that only its owner can
//! enter; an index says which address, with which checksum asked for, led to which content. What
//! is used stays; of the rest goes first what was used longest ago. Fetchers of one item wait for
//! the first of them. All of it outlives the process; a file from a former life is read through
//! and compared with its name before it is used, because nothing here is synced.
//!
//! Deliberately not here: requests (the fetcher's), and local files, which are not kept.

mod index;

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::error::FetchError;
use super::http::Validators;
use crate::content::{Checksum, Flights, Hash, Kind, Positioned, lock, private};
use index::Index;

/// More addresses are not remembered: many may have one content.
const MOST_KNOWN: usize = 16_384;

/// What an item is remembered under: its whole address, and the checksum that was asked for.
pub(super) type Key = (String, Option<String>);

/// Content that is in the cache and in use.
#[derive(Debug)]
pub(super) struct Blob {
    pub(super) file: File,
}

/// What came of fetching an item for all who want it.
#[derive(Debug, Clone, Default)]
pub(super) enum Landed {
    /// The content is in the cache, and in use as long as this is held.
    Kept(Arc<Blob>),
    /// It does not fit into the cache: everybody fetches it alone.
    TooLarge,
    /// It failed: the next one tries.
    #[default]
    Failed,
}

#[derive(Debug)]
struct Object {
    bytes: u64,
    used: u64,
    /// Whether this process has seen the content.
    is_verified: bool,
    blob: Weak<Blob>,
}

#[derive(Debug, Clone)]
struct Known {
    content: String,
    validators: Validators,
    used: u64,
}

#[derive(Debug, Default)]
struct State {
    objects: BTreeMap<String, Object>,
    known: BTreeMap<Key, Known>,
    /// What is being fetched may take so many bytes.
    reserved: u64,
    /// Counts uses.
    clock: u64,
    /// Counts unfinished files.
    staged: u64,
}

/// The cache of one fetcher.
#[derive(Debug)]
pub(super) struct Cache {
    directory: PathBuf,
    limit: u64,
    state: Mutex<State>,
    pub(super) flights: Flights<Key, Landed>,
    /// Held locked: the directory is for one fetcher.
    _lock: File,
}

impl Cache {
    /// Opens a cache, and removes what it should not have.
    pub(super) fn open(directory: &Path, limit: u64) -> Result<Self, FetchError> {
        let own = |action| move |source: io::Error| FetchError::own(action, directory, source);
        private(directory).map_err(own("make"))?;
        let lock = lock(directory).map_err(own("lock"))?;
        let cache = Self {
            directory: directory.to_owned(),
            limit,
            state: Mutex::default(),
            flights: Flights::default(),
            _lock: lock,
        };
        cache.recover()?;
        Ok(cache)
    }

    fn objects(&self) -> PathBuf {
        self.directory.join("objects")
    }

    fn object(&self, content: &str) -> PathBuf {
        self.objects().join(content)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No panic leaves the state half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over what is there and right, and removes the rest.
    fn recover(&self) -> Result<(), FetchError> {
        let staged = self.directory.join("staged");
        let own = |action, path: &Path| {
            let path = path.to_owned();
            move |source: io::Error| FetchError::own(action, path, source)
        };
        match fs::remove_dir_all(&staged) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(own("remove", &staged)(error));
            }
            _ => {}
        }
        private(&staged).map_err(own("make", &staged))?;
        let objects = self.objects();
        private(&objects).map_err(own("make", &objects))?;
        let index = Index::read(&self.directory);
        let mut state = self.lock();
        for entry in fs::read_dir(&objects).map_err(own("list", &objects))? {
            let entry = entry.map_err(own("list", &objects))?;
            let name = entry.file_name().into_string().unwrap_or_default();
            let metadata = entry.metadata().map_err(own("look at", &entry.path()))?;
            match index.objects.get(&name) {
                Some((bytes, used)) if metadata.is_file() && metadata.len() == *bytes => {
                    state.clock = state.clock.max(*used);
                    let object = Object {
                        bytes: *bytes,
                        used: *used,
                        is_verified: false,
                        blob: Weak::new(),
                    };
                    state.objects.insert(name, object);
                }
                _ if metadata.is_dir() => {
                    fs::remove_dir_all(entry.path()).map_err(own("remove", &entry.path()))?;
                }
                _ => fs::remove_file(entry.path()).map_err(own("remove", &entry.path()))?,
            }
        }
        for (key, content, validators, used) in index.known {
            if state.objects.contains_key(&content) {
                let known = Known {
                    content,
                    validators,
                    used,
                };
                state.known.insert(key, known);
            }
        }
        self.make_room(&mut state, 0);
        Ok(())
    }

    /// What the cache has of an item, and by what the server can be asked whether it is still so.
    pub(super) fn find(&self, key: &Key) -> Option<(Arc<Blob>, Validators)> {
        let (content, validators, is_verified) = {
            let state = self.lock();
            let known = state.known.get(key)?;
            let object = state.objects.get(&known.content)?;
            let (content, validators) = (known.content.clone(), known.validators.clone());
            (content, validators, object.is_verified)
        };
        let blob = match self.use_object(&content) {
            Ok(blob) => blob,
            Err(error) => {
                tracing::warn!(content, %error, "a cached file cannot be read");
                self.forget(&content);
                return None;
            }
        };
        // Held by `blob`, so it cannot be evicted meanwhile.
        if !is_verified && !is_content(&blob.file, &content) {
            tracing::warn!(content, "a cached file has changed");
            drop(blob);
            self.forget(&content);
            return None;
        }
        let mut state = self.lock();
        state.clock += 1;
        let now = state.clock;
        if let Some(object) = state.objects.get_mut(&content) {
            object.is_verified = true;
        }
        if let Some(known) = state.known.get_mut(key) {
            known.used = now;
        }
        Some((blob, validators))
    }

    fn use_object(&self, content: &str) -> io::Result<Arc<Blob>> {
        let mut state = self.lock();
        state.clock += 1;
        let now = state.clock;
        let object = state.objects.get_mut(content);
        let object = object.ok_or(io::ErrorKind::NotFound)?;
        object.used = now;
        if let Some(blob) = object.blob.upgrade() {
            return Ok(blob);
        }
        let blob = Arc::new(Blob {
            file: File::open(self.object(content))?,
        });
        object.blob = Arc::downgrade(&blob);
        Ok(blob)
    }

    /// Removes content that is not what it should be.
    fn forget(&self, content: &str) {
        let mut state = self.lock();
        state.remove(content);
        self.unlink(content);
        self.write_index(&state);
    }

    /// Begins content that is not complete yet.
    pub(super) fn stage(&self) -> Result<Filling<'_>, FetchError> {
        let number = {
            let mut state = self.lock();
            state.staged += 1;
            state.staged
        };
        let path = self.directory.join("staged").join(number.to_string());
        let file = OpenOptions::new()
            .create_new(true)
            .read(true)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(|source| FetchError::own("make", &path, source))?;
        Ok(Filling {
            cache: self,
            path,
            file,
            reserved: 0,
        })
    }

    /// Whether an item of this size could ever be kept.
    pub(super) fn could_hold(&self, bytes: u64) -> bool {
        bytes <= self.limit
    }

    /// Has so many bytes free, if that can be: what nobody uses goes, the longest unused first.
    fn make_room(&self, state: &mut State, bytes: u64) -> bool {
        let mut has_removed = false;
        let fits = loop {
            let held: u64 = state.objects.values().map(|object| object.bytes).sum();
            if held + state.reserved + bytes <= self.limit {
                break true;
            }
            let idle = state.objects.iter();
            let idle = idle.filter(|(_, object)| object.blob.strong_count() == 0);
            let Some((content, _)) = idle.min_by_key(|(_, object)| object.used) else {
                break false;
            };
            let content = content.clone();
            state.remove(&content);
            self.unlink(&content);
            has_removed = true;
        };
        if has_removed {
            self.write_index(state);
        }
        fits
    }

    fn unlink(&self, content: &str) {
        if let Err(error) = fs::remove_file(self.object(content)) {
            tracing::warn!(content, %error, "a cached file cannot be removed");
        }
    }

    /// A cache whose index is not written works; its next life knows less.
    fn write_index(&self, state: &State) {
        if let Err(error) = Index::of(state).write(&self.directory) {
            tracing::warn!(%error, "the index of the cache cannot be written");
        }
    }
}

impl State {
    fn remove(&mut self, content: &str) {
        self.objects.remove(content);
        self.known.retain(|_, known| known.content != content);
    }
}

/// Content on its way into the cache; what is not kept goes away.
pub(super) struct Filling<'c> {
    cache: &'c Cache,
    path: PathBuf,
    pub(super) file: File,
    reserved: u64,
}

impl Filling<'_> {
    /// Has room for so many bytes in all, if that can be.
    pub(super) fn reserve(&mut self, bytes: u64) -> bool {
        let more = bytes.saturating_sub(self.reserved);
        if more == 0 {
            return true;
        }
        let mut state = self.cache.lock();
        if !self.cache.could_hold(bytes) || !self.cache.make_room(&mut state, more) {
            return false;
        }
        state.reserved += more;
        self.reserved = bytes;
        true
    }

    /// Keeps complete content under its checksum, and remembers that `key` led to it.
    pub(super) fn keep(
        mut self,
        key: Key,
        content: &Checksum,
        validators: Validators,
    ) -> Result<Arc<Blob>, FetchError> {
        let cache = self.cache;
        let own = |source| FetchError::own("keep", &self.path, source);
        let bytes = self.file.metadata().map_err(own)?.len();
        let content = content.hex().to_owned();
        let mut state = cache.lock();
        state.clock += 1;
        let now = state.clock;
        let held = state.objects.get(&content);
        let held = held.filter(|object| object.is_verified);
        let blob = held.and_then(|object| object.blob.upgrade());
        let blob = match blob {
            Some(blob) => blob,
            None => {
                fs::rename(&self.path, cache.object(&content)).map_err(own)?;
                let file = self.file.try_clone().map_err(own)?;
                Arc::new(Blob { file })
            }
        };
        let object = Object {
            bytes,
            used: now,
            is_verified: true,
            blob: Arc::downgrade(&blob),
        };
        state.objects.insert(content.clone(), object);
        state.reserved -= self.reserved;
        self.reserved = 0;
        let known = Known {
            content,
            validators,
            used: now,
        };
        state.known.insert(key, known);
        if state.known.len() > MOST_KNOWN {
            let oldest = state.known.iter().min_by_key(|(_, known)| known.used);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                state.known.remove(&oldest);
            }
        }
        cache.write_index(&state);
        Ok(blob)
    }
}

impl Drop for Filling<'_> {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %self.path.display(), %error, "an unfinished file stays");
        }
        self.cache.lock().reserved -= self.reserved;
    }
}

/// Whether the content of a file is what its name says.
fn is_content(file: &File, content: &str) -> bool {
    let mut hash = Hash::new(Kind::Sha256);
    let mut from = Positioned::new(file, u64::MAX);
    let mut buffer = vec![0; 64 << 10];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return hash.finish().hex() == content,
            Ok(count) => hash.update(&buffer[..count]),
            Err(_) => return false,
        }
    }
}

//! Keeps images: layers by content, and which name led to which (CT-66, CT-69).
//!
//! | path | content |
//! |---|---|
//! | `lock` | held locked: a store has one process |
//! | `images.json` | which reference is which image |
//! | `blobs/ALGORITHM/HEX` | configurations of images, by digest |
//! | `layers/ALGORITHM/HEX/` | layers as they were unpacked, by diff id |
//! | `unfinished/` | what is not complete, or is being removed; emptied when the store is opened |
//!
//! What is under `layers` is complete and was on the disk before it had its name. It is not looked
//! through again: only this user can enter the directory.
//!
//! Deliberately not here: when to collect what is unused, and which containers hold what.

mod index;
mod plan;
mod pull;
mod sweep;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use super::layer::Marks;
use super::manifest::configuration;
use super::transfer::{check_digest, digest_of};
use super::{Cancel, Config, Digest, Image, ImageError, Options, Platform, sys};
use super::{Progress, Wanted};
use crate::content::http::{Clients, NoCertificates};
use crate::content::{Flights, Kind, Seat, lock, private};
use index::{Key, Record, Records};
use pull::Pull;
pub use sweep::Swept;
use sweep::{BLOBS, LAYERS, remove_all};

/// A configuration that is larger was not written here.
const BLOB_BYTES: u64 = super::manifest::DOCUMENT_BYTES;

/// A store of images. Clones are the same store.
#[derive(Debug, Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    directory: PathBuf,
    options: Options,
    clients: Clients,
    marks: Marks,
    state: Mutex<State>,
    /// Counts what is not finished.
    unfinished: AtomicU64,
    images: Flights<Asked, Option<Result<Image, Arc<ImageError>>>>,
    layers: Flights<Digest, Option<Arc<Layer>>>,
    /// Held locked.
    _lock: fs::File,
}

/// Requests that are the same.
type Asked = (Key, bool, super::Keyring);

#[derive(Debug, Default)]
struct State {
    records: Records,
    /// Layers in use.
    layers: BTreeMap<Digest, Weak<Layer>>,
    /// Images in use.
    held: BTreeMap<Digest, Weak<Held>>,
}

/// A layer in use: it is not removed.
#[derive(Debug)]
struct Layer {
    path: PathBuf,
}

/// An image in use.
#[derive(Debug)]
pub(super) struct Held {
    /// The lowest first.
    layers: Vec<Arc<Layer>>,
}

/// An image that a store has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// How it was asked for: a reference with its registry and version, or a local path.
    pub reference: String,
    /// For which platform.
    pub platform: Platform,
    /// Its digest, as in [`Image::digest`].
    pub digest: Digest,
    /// The diff ids of its layers, the lowest first, each once.
    pub layers: Vec<Digest>,
    /// Whether somebody holds it.
    pub is_held: bool,
}

impl Store {
    /// Opens a store in a directory of its own, which is made if need be, and removes what a
    /// former process left half done.
    pub fn open(directory: impl Into<PathBuf>, options: Options) -> Result<Self, ImageError> {
        let directory = directory.into();
        let own = |action| ImageError::own(action, &directory);
        private(&directory).map_err(own("make"))?;
        let lock = lock(&directory).map_err(own("lock"))?;
        let unfinished = directory.join("unfinished");
        remove_all(&unfinished).map_err(ImageError::own("remove", &unfinished))?;
        private(&unfinished).map_err(ImageError::own("make", &unfinished))?;
        for kind in [LAYERS, BLOBS] {
            for algorithm in [Kind::Sha256, Kind::Sha512] {
                let path = directory.join(kind).join(algorithm.name());
                private(&path).map_err(ImageError::own("make", &path))?;
            }
        }
        let marks = marks(&unfinished).map_err(own("set extended attributes in"))?;
        let certificates = options.certificates.as_deref();
        let clients = Clients::new(certificates, options.connect, options.stall);
        let clients = clients.map_err(|NoCertificates { path, source }| {
            ImageError::own("read certificates from", &path)(source)
        })?;
        let state = State {
            records: index::read(&directory).unwrap_or_default(),
            ..State::default()
        };
        let shared = Shared {
            directory,
            options,
            clients,
            marks,
            state: Mutex::new(state),
            unfinished: AtomicU64::new(0),
            images: Flights::default(),
            layers: Flights::default(),
            _lock: lock,
        };
        shared.keep_marks()?;
        let shared = Arc::new(shared);
        Ok(Self { shared })
    }

    /// Has an image ready, and holds it. Blocks.
    pub fn provide(&self, wanted: &Wanted) -> Result<Image, ImageError> {
        self.provide_watched(wanted, &Cancel::default(), &|_| {})
    }

    /// The same, and tells how it goes on and can be called off. Who asks for the same as somebody
    /// else at the same time waits for that one, and is told nothing meanwhile.
    pub fn provide_watched(
        &self,
        wanted: &Wanted,
        cancel: &Cancel,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Image, ImageError> {
        let shared = &self.shared;
        let key = shared.key(wanted)?;
        let keyring = wanted.keyring.as_ref();
        let keyring = keyring.unwrap_or(&shared.options.keyring);
        let asked = (key.clone(), wanted.cached, keyring.clone());
        loop {
            cancel.check()?;
            if wanted.cached
                && let Some(image) = shared.remembered(&key)?
            {
                return Ok(image);
            }
            let is_wanted = || !cancel.is_cancelled();
            match shared.images.board_while(&asked, is_wanted) {
                None => return Err(ImageError::Cancelled),
                Some(Seat::Passenger(Some(Ok(image)))) => return Ok(image),
                Some(Seat::Passenger(Some(Err(error)))) => return Err(ImageError::Shared(error)),
                Some(Seat::Passenger(None)) => {}
                Some(Seat::Pilot(pilot)) => {
                    let pull = Pull {
                        shared,
                        wanted,
                        key: &key,
                        keyring,
                        cancel,
                        progress,
                    };
                    let brought = pull.run().map_err(Arc::new);
                    // The others still want what this one has called off.
                    let is_off = matches!(&brought, Err(error) if error.is_cancelled());
                    if !is_off {
                        pilot.land(Some(brought.clone()));
                    }
                    return brought.map_err(ImageError::Shared);
                }
            }
        }
    }

    /// Holds an image by its digest, without asking anybody: for a container that has it already.
    /// `None` if it is not here, or not whole.
    pub fn hold(&self, digest: &Digest) -> Result<Option<Image>, ImageError> {
        let key = {
            let state = self.shared.lock();
            let mut records = state.records.iter();
            let found = records.find(|(_, record)| record.digest == *digest);
            found.map(|(key, _)| key.clone())
        };
        match key {
            Some(key) => self.shared.remembered(&key),
            None => Ok(None),
        }
    }

    /// All images, by their references.
    pub fn list(&self) -> Vec<Listed> {
        let state = self.shared.lock();
        let listed = state.records.iter().map(|(key, record)| {
            let held = state.held.get(&record.digest);
            Listed {
                reference: key.reference.clone(),
                platform: key.platform.clone(),
                digest: record.digest.clone(),
                layers: record.layers.clone(),
                is_held: held.is_some_and(|held| held.strong_count() > 0),
            }
        });
        listed.collect()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No panic leaves the state half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where something with a digest is.
    fn place(&self, kind: &str, digest: &Digest) -> PathBuf {
        let directory = self.directory.join(kind).join(digest.kind.name());
        directory.join(digest.hex())
    }

    /// A name for something that is not finished.
    fn unfinished(&self) -> PathBuf {
        let number = self.unfinished.fetch_add(1, Ordering::Relaxed);
        self.directory.join("unfinished").join(number.to_string())
    }

    /// All that is kept by digest. What has another name is not ours, and stays.
    fn kept(&self) -> Result<Vec<(&'static str, Digest)>, ImageError> {
        let mut kept = Vec::new();
        for kind in [LAYERS, BLOBS] {
            for algorithm in [Kind::Sha256, Kind::Sha512] {
                let path = self.directory.join(kind).join(algorithm.name());
                let failed = ImageError::own("list", &path);
                for entry in fs::read_dir(&path).map_err(&failed)? {
                    let name = entry.map_err(&failed)?.file_name();
                    let name = name.to_string_lossy();
                    if let Ok(digest) = format!("{}:{name}", algorithm.name()).parse() {
                        kept.push((kind, digest));
                    }
                }
            }
        }
        Ok(kept)
    }

    /// Layers that were marked for another user are of no use: they are unpacked anew.
    fn keep_marks(&self) -> Result<(), ImageError> {
        let path = self.directory.join("marks");
        let name = format!("{:?}", self.marks);
        let own = |action| ImageError::own(action, &path);
        match fs::read_to_string(&path) {
            Ok(found) if found == name => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(own("read")(error)),
        }
        for (kind, digest) in self.kept()? {
            if kind == LAYERS {
                let path = self.place(kind, &digest);
                remove_all(&path).map_err(ImageError::own("remove", &path))?;
            }
        }
        let written = index::replace(&self.directory, "marks.new", "marks", name.as_bytes());
        written.map_err(own("write"))
    }

    /// An image that is remembered and whole, held.
    fn remembered(&self, key: &Key) -> Result<Option<Image>, ImageError> {
        let held = {
            let mut state = self.lock();
            let Some(record) = state.records.get(key).cloned() else {
                return Ok(None);
            };
            let layers = record.layers.iter().map(|id| self.layer(&mut state, id));
            let Some(layers) = layers.collect::<Option<Vec<_>>>() else {
                return Ok(None);
            };
            (self.hold(&mut state, &record, layers), record)
        };
        let (held, record) = held;
        match self.configuration(&record.config) {
            Ok(config) => self.image(key, &record, config, held).map(Some),
            Err(error) => {
                tracing::warn!(%error, "the configuration of an image is lost");
                Ok(None)
            }
        }
    }

    /// A layer, if it is here. Held from now on.
    fn layer(&self, state: &mut State, diff_id: &Digest) -> Option<Arc<Layer>> {
        if let Some(layer) = state.layers.get(diff_id).and_then(Weak::upgrade) {
            return Some(layer);
        }
        let path = self.place(LAYERS, diff_id);
        if !path.is_dir() {
            return None;
        }
        let layer = Arc::new(Layer { path });
        state.layers.retain(|_, layer| layer.strong_count() > 0);
        state.layers.insert(diff_id.clone(), Arc::downgrade(&layer));
        Some(layer)
    }

    fn hold(&self, state: &mut State, record: &Record, layers: Vec<Arc<Layer>>) -> Arc<Held> {
        if let Some(held) = state.held.get(&record.digest).and_then(Weak::upgrade) {
            return held;
        }
        let held = Arc::new(Held { layers });
        state.held.retain(|_, held| held.strong_count() > 0);
        state
            .held
            .insert(record.digest.clone(), Arc::downgrade(&held));
        held
    }

    fn configuration(&self, digest: &Digest) -> Result<Config, ImageError> {
        let path = self.place(BLOBS, digest);
        let failed = ImageError::own("read", &path);
        let what = path.display().to_string();
        let limit = BLOB_BYTES;
        if fs::metadata(&path).map_err(&failed)?.len() > limit {
            return Err(ImageError::TooLarge { what, limit });
        }
        let bytes = fs::read(&path).map_err(&failed)?;
        check_digest(&what, digest_of(&bytes, Some(digest)), digest)?;
        Ok(configuration(&what, &bytes)?.config)
    }

    fn image(
        &self,
        key: &Key,
        record: &Record,
        config: Config,
        held: Arc<Held>,
    ) -> Result<Image, ImageError> {
        // The kernel heeds no mark of a layer's root: what it hides is left out here.
        let mut layers = Vec::new();
        for layer in held.layers.iter().rev() {
            layers.push(layer.path.clone());
            let failed = ImageError::own("look at", &layer.path);
            let hides = hides(&layer.path, self.marks);
            if hides.map_err(failed)? {
                break;
            }
        }
        layers.reverse();
        Ok(Image {
            reference: key.reference.clone(),
            digest: record.digest.clone(),
            config: Arc::new(config),
            layers,
            is_unprivileged: self.marks == Marks::User,
            _held: held,
        })
    }
}

fn hides(layer: &Path, marks: Marks) -> io::Result<bool> {
    let directory = directory(layer)?;
    sys::has_yes(&directory, marks.opaque())
}

fn directory(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    Ok(open(path, flags, Mode::empty())?)
}

/// Which marks this user can set on this filesystem.
fn marks(at: &Path) -> io::Result<Marks> {
    let probe = directory(at)?;
    match sys::set_attribute(&probe, Marks::Trusted.opaque(), b"n") {
        Ok(()) => Ok(Marks::Trusted),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            sys::set_attribute(&probe, Marks::User.opaque(), b"n")?;
            Ok(Marks::User)
        }
        Err(error) => Err(error),
    }
}

//! Brings an image into a store: has its layers unpacked, and remembers it (CT-66).

use std::fs::{self, File, OpenOptions};
use std::io::{Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::index::{self, Key, Record};
use super::plan::{Origin, Packed, Plan, Planned};
use super::sweep::{BLOBS, LAYERS, remove_all};
use super::{Layer, Shared, directory};
use crate::content::{Limits, Seat, private};
use crate::image::layer::Unpack;
use crate::image::local::{Local, Part};
use crate::image::manifest::Descriptor;
use crate::image::registry::Registry;
use crate::image::transfer::{Mover, Verified};
use crate::image::{
    Cancel, Digest, Image, ImageError, Keyring, Options, Platform, Progress, Source, Wanted,
};

/// The longest pause between attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// One image on its way.
pub(super) struct Pull<'p> {
    pub(super) shared: &'p Shared,
    pub(super) wanted: &'p Wanted,
    pub(super) key: &'p Key,
    pub(super) keyring: &'p Keyring,
    pub(super) cancel: &'p Cancel,
    pub(super) progress: &'p (dyn Fn(Progress) + Sync),
}

impl Shared {
    /// Under which name an image is remembered.
    pub(super) fn key(&self, wanted: &Wanted) -> Result<Key, ImageError> {
        let named = |kind: &str, path: &PathBuf, name: &Option<String>| {
            let path = std::path::absolute(path);
            let path = path.map_err(|source| ImageError::Local {
                action: "find",
                path: PathBuf::new(),
                source,
            })?;
            let name = name.as_ref().map(|name| format!("#{name}"));
            let name = name.unwrap_or_default();
            Ok::<_, ImageError>(format!("{kind}:{}{name}", path.display()))
        };
        let options = &self.options;
        let reference = match &wanted.source {
            Source::Registry(reference) => {
                let default = options.default_registry.as_deref();
                reference.resolved(default)?.to_string()
            }
            Source::Layout { path, name } => named("layout", path, name)?,
            Source::Archive { path, name } => named("archive", path, name)?,
        };
        let platform = wanted.platform.as_ref().unwrap_or(&options.platform);
        Ok(Key {
            reference,
            platform: platform.clone(),
        })
    }
}

impl Pull<'_> {
    /// Has the image in the store.
    pub(super) fn run(&self) -> Result<Image, ImageError> {
        // Somebody may have brought it just before.
        if self.wanted.cached
            && let Some(image) = self.shared.remembered(self.key)?
        {
            return Ok(image);
        }
        let origin = self.origin()?;
        let plan = self.plan(&origin)?;
        let sizes = plan.layers.iter().map(|layer| match &layer.packed {
            Packed::Described(descriptor) => descriptor.size,
            Packed::Saved(part) => part.size(),
        });
        (self.progress)(Progress::Resolved {
            digest: plan.digest.clone(),
            layers: plan.layers.len(),
            bytes: sizes.fold(0, u64::saturating_add),
        });
        let layers = self.layers(&origin, &plan)?;
        let record = Record {
            digest: plan.digest,
            config: plan.config_digest,
            layers: plan
                .layers
                .iter()
                .map(|layer| layer.diff_id.clone())
                .collect(),
        };
        let shared = self.shared;
        let held = {
            // A collection would take the configuration for unused before it is remembered.
            let mut state = shared.lock();
            let at = shared.directory.join(BLOBS).join(record.config.kind.name());
            let unfinished = shared.unfinished();
            let kept = index::replace(&at, &unfinished, record.config.hex(), &plan.config_bytes);
            kept.map_err(ImageError::own("keep a configuration in", &at))?;
            let mut records = state.records.clone();
            records.insert(self.key.clone(), record.clone());
            let written = index::write(&shared.directory, &records);
            written.map_err(ImageError::own("write the index of", &shared.directory))?;
            state.records = records;
            shared.hold(&mut state, &record, layers)
        };
        shared.image(self.key, &record, plan.configuration.config, held)
    }

    pub(super) fn options(&self) -> &Options {
        &self.shared.options
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.options().limits
    }

    pub(super) fn platform(&self) -> &Platform {
        &self.key.platform
    }

    pub(super) fn mover(&self) -> Mover<'_> {
        Mover {
            cancel: self.cancel,
            stall: self.options().stall,
        }
    }

    /// Tries again what may fare better, after a pause.
    pub(super) fn again<T>(
        &self,
        mut attempt: impl FnMut() -> Result<T, ImageError>,
    ) -> Result<T, ImageError> {
        let mut pause = self.options().pause;
        let mut left = self.options().attempts.max(1);
        loop {
            left -= 1;
            match attempt() {
                Err(error) if error.is_passing() && left > 0 => {
                    tracing::info!(reference = self.key.reference, %error, "tried again");
                    self.cancel.pause(pause)?;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                done => return done,
            }
        }
    }

    /// Has all layers unpacked, several at a time. Once one has failed no other is begun.
    fn layers(&self, origin: &Origin<'_>, plan: &Plan) -> Result<Vec<Arc<Layer>>, ImageError> {
        let next = AtomicUsize::new(0);
        let done = Mutex::new(Vec::new());
        let work = || {
            while let Some((index, planned)) = {
                let index = next.fetch_add(1, Ordering::Relaxed);
                plan.layers.get(index).map(|planned| (index, planned))
            } {
                let layer = self.layer(origin, planned);
                if layer.is_err() {
                    next.store(plan.layers.len(), Ordering::Relaxed);
                }
                let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
                done.push((index, layer));
            }
        };
        thread::scope(|scope| {
            for _ in 1..self.options().parallel.min(plan.layers.len()) {
                // Without another thread this one does it all.
                let spawned = thread::Builder::new().spawn_scoped(scope, work);
                if let Err(error) = spawned {
                    tracing::warn!(%error, "no thread to unpack with");
                }
            }
            work();
        });
        let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
        done.sort_by_key(|(index, _)| *index);
        done.into_iter().map(|(_, layer)| layer).collect()
    }

    /// Has a layer unpacked, by this one or by somebody else.
    fn layer(&self, origin: &Origin<'_>, planned: &Planned) -> Result<Arc<Layer>, ImageError> {
        let diff_id = &planned.diff_id;
        let shared = self.shared;
        let present = |layer| {
            let diff_id = diff_id.clone();
            (self.progress)(Progress::Present { diff_id });
            Ok(layer)
        };
        loop {
            self.cancel.check()?;
            let is_wanted = || !self.cancel.is_cancelled();
            match shared.layers.board_while(diff_id, is_wanted) {
                None => return Err(ImageError::Cancelled),
                Some(Seat::Passenger(Some(layer))) => return present(layer),
                // It failed for somebody with another source, perhaps.
                Some(Seat::Passenger(None)) => {}
                Some(Seat::Pilot(pilot)) => {
                    let found = shared.layer(&mut shared.lock(), diff_id);
                    if let Some(layer) = found {
                        pilot.land(Some(Arc::clone(&layer)));
                        return present(layer);
                    }
                    let layer = self.bring(origin, planned)?;
                    pilot.land(Some(Arc::clone(&layer)));
                    let diff_id = diff_id.clone();
                    (self.progress)(Progress::Unpacked { diff_id });
                    return Ok(layer);
                }
            }
        }
    }

    /// Unpacks a layer beside its place, and puts it there when it is on the disk.
    fn bring(&self, origin: &Origin<'_>, planned: &Planned) -> Result<Arc<Layer>, ImageError> {
        let shared = self.shared;
        let archive = Unfinished(shared.unfinished());
        let part = match (&planned.packed, origin) {
            (Packed::Saved(part), _) => part.clone(),
            (Packed::Described(descriptor), Origin::Registry(registry)) => {
                self.download(registry, descriptor, &archive, &planned.diff_id)?
            }
            (Packed::Described(descriptor), Origin::Local(local)) => {
                self.compared(local, descriptor)?
            }
        };
        let tree = Unfinished(shared.unfinished());
        let failed = |action| ImageError::own(action, &tree.0);
        private(&tree.0).map_err(failed("make"))?;
        let root = directory(&tree.0).map_err(failed("open"))?;
        // As long as the layer does not say otherwise.
        let usual = nix::sys::stat::Mode::from_bits_truncate(0o755);
        let changed = nix::sys::stat::fchmod(&root, usual);
        changed.map_err(|errno| failed("change")(errno.into()))?;
        let synced = root.try_clone().map_err(failed("open"))?;
        let omitted = |entry: PathBuf, omission| {
            let layer = &planned.diff_id;
            tracing::debug!(%layer, entry = %entry.display(), %omission, "left out");
            (self.progress)(Progress::Omitted {
                diff_id: planned.diff_id.clone(),
                entry,
                omission,
            });
        };
        let unpack = Unpack {
            diff_id: &planned.diff_id,
            limits: self.limits(),
            cancel: self.cancel,
            marks: shared.marks,
            omitted: &omitted,
        };
        unpack.unpack(part, root)?;
        let done = nix::unistd::syncfs(&synced);
        done.map_err(|errno| failed("write")(errno.into()))?;
        let place = shared.place(LAYERS, &planned.diff_id);
        let failed = ImageError::own("keep", &place);
        let mut state = shared.lock();
        fs::rename(&tree.0, &place).map_err(&failed)?;
        let above = shared.directory.join(LAYERS);
        let synced =
            File::open(above.join(planned.diff_id.kind.name())).and_then(|above| above.sync_all());
        synced.map_err(&failed)?;
        let layer = shared.layer(&mut state, &planned.diff_id);
        layer.ok_or_else(|| failed(std::io::ErrorKind::NotFound.into()))
    }

    /// Has a layer of a registry on the disk; after an interruption from where it was.
    fn download(
        &self,
        registry: &Registry<'_>,
        descriptor: &Descriptor,
        archive: &Unfinished,
        diff_id: &Digest,
    ) -> Result<Part, ImageError> {
        let what = format!("layer {} of {}", descriptor.digest, self.key.reference);
        self.check_size(&what, descriptor)?;
        let own = |action| ImageError::own(action, &archive.0);
        let mut file = OpenOptions::new()
            .create_new(true)
            .read(true)
            .write(true)
            .mode(0o600)
            .open(&archive.0)
            .map_err(own("make"))?;
        let mut verified = Verified::new(&what, descriptor);
        let mut received = 0;
        self.again(|| {
            let mut stream = registry.blob(&what, descriptor, received)?;
            if stream.from == 0 && received > 0 {
                received = 0;
                verified = Verified::new(&what, descriptor);
                file.set_len(0).map_err(own("empty"))?;
                file.rewind().map_err(own("empty"))?;
            }
            let poured = self
                .mover()
                .pour(&what, &mut stream.body, received, |bytes, count| {
                    verified.take(bytes, count)?;
                    file.write_all(bytes).map_err(own("write"))?;
                    received = count;
                    (self.progress)(Progress::Received {
                        diff_id: diff_id.clone(),
                        bytes: count,
                        of: descriptor.size,
                    });
                    Ok(())
                });
            let count = poured?;
            if count < descriptor.size {
                return Err(ImageError::Transfer {
                    what: what.clone(),
                    received: count,
                    source: std::io::ErrorKind::UnexpectedEof.into(),
                });
            }
            Ok(())
        })?;
        verified.finish(received)?;
        Ok(Part::new(file, received))
    }

    /// A layer in a file, compared with its descriptor.
    fn compared(&self, local: &Local, descriptor: &Descriptor) -> Result<Part, ImageError> {
        let what = format!("layer {} of {}", descriptor.digest, self.key.reference);
        self.check_size(&what, descriptor)?;
        let part = local.blob(&descriptor.digest)?;
        let mut verified = Verified::new(&what, descriptor);
        let received = self
            .mover()
            .pour(&what, &mut part.clone(), 0, |bytes, received| {
                verified.take(bytes, received)
            })?;
        verified.finish(received)?;
        Ok(part)
    }

    fn check_size(&self, what: &str, descriptor: &Descriptor) -> Result<(), ImageError> {
        let limit = self.limits().item_bytes;
        if descriptor.size > limit {
            let what = what.to_owned();
            return Err(ImageError::TooLarge { what, limit });
        }
        Ok(())
    }
}

/// Something that goes away, unless it was put in its place.
struct Unfinished(PathBuf);

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Err(error) = remove_all(&self.0) {
            tracing::warn!(path = %self.0.display(), %error, "something unfinished stays");
        }
    }
}

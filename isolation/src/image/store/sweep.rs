//! Removes what nobody needs (CT-69).

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::{FchmodatFlags, Mode, fchmod, fchmodat};
use nix::sys::statvfs::statvfs;
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::index::{Key, Records};
use super::{State, Store, index};
use crate::image::{Digest, ImageError, Reference};

/// What was removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Swept {
    /// The images that are not remembered any more, by their references.
    pub images: Vec<String>,
    /// How many layers are gone.
    pub layers: usize,
}

impl Store {
    /// Removes all images and layers that nobody holds, but not those that are excluded (CT-69,
    /// `PRUNE_IMAGES`). An excluded reference stands for all platforms of it.
    pub fn prune(&self, excluded: &[Reference]) -> Result<Swept, ImageError> {
        let default = self.shared.options.default_registry.as_deref();
        let names = excluded.iter();
        let names = names.map(|name| Ok(name.resolved(default)?.to_string()));
        let names = names.collect::<Result<BTreeSet<_>, ImageError>>()?;
        self.sweep(
            |key, is_held| is_held || names.contains(&key.reference),
            None,
        )
    }

    /// Does that if less than this part of the disk is free for this user (CT-69).
    pub fn prune_if_short(
        &self,
        headroom: f64,
        excluded: &[Reference],
    ) -> Result<Option<Swept>, ImageError> {
        if !(0.0..=1.0).contains(&headroom) {
            return Err(ImageError::Headroom(headroom));
        }
        let path = &self.shared.directory;
        let failed = ImageError::own("look at the disk of", path);
        let disk = statvfs(path).map_err(|errno| failed(errno.into()))?;
        // Lost digits of such numbers of blocks are of no account.
        let free = disk.blocks_available() as f64 / (disk.blocks() as f64).max(1.0);
        if free >= headroom {
            return Ok(None);
        }
        self.prune(excluded).map(Some)
    }

    /// Forgets an image by its reference as it is listed, for all platforms, and removes its layers
    /// if no other image has them. What somebody holds is not removed: [`ImageError::InUse`].
    pub fn remove(&self, reference: &str) -> Result<Swept, ImageError> {
        let mut candidates = Vec::new();
        {
            let state = self.shared.lock();
            let meant = state.records.iter();
            let mut meant = meant
                .filter(|(key, _)| key.reference == reference)
                .peekable();
            if meant.peek().is_none() {
                let what = reference.to_owned();
                return Err(ImageError::NotFound { what });
            }
            for (_, record) in meant {
                if state.is_held(&record.digest) {
                    let reference = reference.to_owned();
                    return Err(ImageError::InUse { reference });
                }
                candidates.extend(record.layers.iter().cloned());
            }
        }
        self.sweep(
            |key, is_held| is_held || key.reference != reference,
            Some(&candidates),
        )
    }

    /// Marks under the lock, and then removes what was put aside. With candidates no other layer
    /// goes.
    fn sweep(
        &self,
        keeps: impl Fn(&Key, bool) -> bool,
        candidates: Option<&[Digest]>,
    ) -> Result<Swept, ImageError> {
        let shared = &self.shared;
        let mut aside = Vec::new();
        let mut swept = Swept::default();
        {
            let mut state = shared.lock();
            let state = &mut *state;
            let mut records = state.records.clone();
            records.retain(|key, record| {
                let is_kept = keeps(key, state.is_held(&record.digest));
                if !is_kept {
                    swept.images.push(key.reference.clone());
                }
                is_kept
            });
            // First the names, so that after a crash none leads to what is gone.
            let written = index::write(&shared.directory, &records);
            written.map_err(ImageError::own("write the index of", &shared.directory))?;
            state.records = records;
            for (kind, digest) in shared.kept()? {
                let is_candidate = candidates.is_none_or(|some| some.contains(&digest));
                if state.needs(&digest) || !is_candidate && kind == LAYERS {
                    continue;
                }
                let path = shared.place(kind, &digest);
                let target = shared.unfinished();
                let moved = fs::rename(&path, &target);
                moved.map_err(ImageError::own("put aside", &path))?;
                swept.layers += usize::from(kind == LAYERS);
                aside.push(target);
            }
        }
        let mut outcome = Ok(swept);
        for path in aside {
            // What cannot be removed does not keep the rest.
            if let Err(error) = remove_all(&path) {
                outcome = Err(ImageError::own("remove", &path)(error));
            }
        }
        outcome
    }
}

/// The folders of what is kept by digest.
pub(super) const LAYERS: &str = "layers";
pub(super) const BLOBS: &str = "blobs";

impl State {
    /// Whether somebody holds a layer, or an image that is remembered has it.
    fn needs(&self, digest: &Digest) -> bool {
        let is_held = self.layers.get(digest);
        let is_held = is_held.is_some_and(|layer| layer.strong_count() > 0);
        is_held || is_remembered(&self.records, digest)
    }

    /// Whether somebody holds an image.
    fn is_held(&self, image: &Digest) -> bool {
        let held = self.held.get(image);
        held.is_some_and(|held| held.strong_count() > 0)
    }
}

fn is_remembered(records: &Records, digest: &Digest) -> bool {
    let mut all = records.values();
    all.any(|record| record.config == *digest || record.layers.contains(digest))
}

/// Removes a file, or a directory with all that is in it; through no link and across no mount
/// (WK-50). What is not there is removed.
pub(super) fn remove_all(path: &Path) -> io::Result<()> {
    let (Some(above), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let above = nix::fcntl::open(above, flags, Mode::empty())?;
    match unlinkat(&above, name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => return Ok(()),
        Err(Errno::EISDIR) => {}
        Err(errno) => return Err(errno.into()),
    }
    // What is being emptied, from the outside in.
    let mut open: Vec<(OwnedFd, PathBuf)> = vec![(above, PathBuf::new())];
    let mut next = Some(PathBuf::from(name));
    while let Some((at, _)) = open.last() {
        if let Some(name) = next.take() {
            let inner = enter(at, &name)?;
            open.push((inner, name));
            continue;
        }
        match empty(at)? {
            Some(inner) => next = Some(inner),
            None => {
                let Some((done, name)) = open.pop() else {
                    break;
                };
                drop(done);
                let Some((at, _)) = open.last() else {
                    break;
                };
                unlinkat(at, &name, UnlinkatFlags::RemoveDir)?;
                if open.len() == 1 {
                    break;
                }
            }
        }
    }
    Ok(())
}

/// Opens a directory to empty it. Without privileges its mode may be in the way.
fn enter(at: &OwnedFd, name: &Path) -> io::Result<OwnedFd> {
    let resolve = ResolveFlag::RESOLVE_BENEATH
        | ResolveFlag::RESOLVE_NO_SYMLINKS
        | ResolveFlag::RESOLVE_NO_XDEV;
    let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let how = |more: OFlag| OpenHow::new().flags(flags | more).resolve(resolve);
    match openat2(at, name, how(OFlag::O_RDONLY)) {
        Ok(opened) => {
            fchmod(&opened, Mode::S_IRWXU)?;
            Ok(opened)
        }
        Err(Errno::EACCES) => {
            // That it is a directory of this filesystem is certain before its mode is changed.
            openat2(at, name, how(OFlag::O_PATH))?;
            fchmodat(at, name, Mode::S_IRWXU, FchmodatFlags::FollowSymlink)?;
            Ok(openat2(at, name, how(OFlag::O_RDONLY))?)
        }
        Err(errno) => Err(errno.into()),
    }
}

/// Removes what is no directory; the first that is one, if any.
fn empty(at: &OwnedFd) -> io::Result<Option<PathBuf>> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let mut entries = Dir::openat(at, ".", flags, Mode::empty())?;
    for entry in entries.iter() {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        match unlinkat(at, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(Errno::EISDIR) => return Ok(Some(OsStr::from_bytes(name.to_bytes()).into())),
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(None)
}

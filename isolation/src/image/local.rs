//! Images in files: a layout of OCI, as a directory or a tar archive, and what `docker save`
//! writes.
//!
//! A directory is read below itself and through no link; of an archive only where its files begin
//! is remembered. Both are opened with the rights of whoever runs this.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::fcntl::{OFlag, openat2};
use serde::Deserialize;

use super::manifest::{DOCUMENT_BYTES, Descriptor, Document, choose, document};
use super::transfer::Mover;
use super::{Digest, ImageError, Platform};
use crate::content::beneath::beneath;
use crate::content::{Limits, Meter, Metered, Packing, packing, parts};

const INDEX: &str = "index.json";
/// What `docker save` lists its images in.
const SAVED: &str = "manifest.json";
/// Links in an archive that lead to links.
const HOPS: usize = 8;
/// Components of a name in an archive.
const DEPTH: usize = 64;
/// What an archive of images may have, for its names are held in memory.
const ENTRIES: usize = 65_536;
const ENTRY_BYTES: usize = 512;
const HEADER_BYTES: u64 = 1 << 20;

/// A stretch of a file.
#[derive(Debug, Clone)]
pub(super) struct Part {
    file: Arc<File>,
    at: u64,
    end: u64,
}

impl Part {
    pub(super) fn new(file: File, size: u64) -> Self {
        Self {
            file: Arc::new(file),
            at: 0,
            end: size,
        }
    }

    pub(super) fn size(&self) -> u64 {
        self.end - self.at
    }
}

impl Read for Part {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.size()).unwrap_or(usize::MAX);
        let most = most.min(buffer.len());
        let count = self.file.read_at(&mut buffer[..most], self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

/// A layout or an archive that is open.
#[derive(Debug)]
pub(super) struct Local {
    path: PathBuf,
    files: Files,
}

#[derive(Debug)]
enum Files {
    Directory(OwnedFd),
    Archive {
        file: Arc<File>,
        /// Where the files are, and where links lead.
        names: BTreeMap<Vec<OsString>, Stored>,
    },
}

#[derive(Debug, Clone)]
enum Stored {
    File { at: u64, size: u64 },
    Link(Vec<OsString>),
}

/// What is found under a name.
pub(super) enum Found {
    /// A manifest or an index in a layout.
    Described(Descriptor),
    /// What `docker save` wrote.
    Saved { config: Part, layers: Vec<Part> },
}

/// An entry of what `docker save` lists.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

impl Local {
    /// Opens a layout.
    pub(super) fn directory(path: &Path) -> Result<Self, ImageError> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let opened = nix::fcntl::open(path, flags, nix::sys::stat::Mode::empty());
        let opened = opened.map_err(|errno| failed("open", path)(errno.into()))?;
        Ok(Self {
            path: path.to_owned(),
            files: Files::Directory(opened),
        })
    }

    /// Opens an archive, and looks where everything is in it.
    pub(super) fn archive(path: &Path, limits: &Limits) -> Result<Self, ImageError> {
        let file = File::open(path).map_err(failed("open", path))?;
        let metadata = file.metadata().map_err(failed("look at", path))?;
        if !metadata.is_file() {
            return Err(failed("open", path)(io::Error::other("not a file")));
        }
        let file = Arc::new(file);
        let names = names(path, &file, metadata.len(), limits)?;
        Ok(Self {
            path: path.to_owned(),
            files: Files::Archive { file, names },
        })
    }

    /// Looks for an image; without a name there must be only one, or one for each platform.
    pub(super) fn find(
        &self,
        mover: &Mover<'_>,
        name: Option<&str>,
        platform: &Platform,
    ) -> Result<Found, ImageError> {
        let index = self.document(mover, INDEX);
        let described = index.and_then(|bytes| self.described(&bytes, name, platform));
        // Docker writes both, and the whole name only into its own list.
        if described.as_ref().is_err_and(ImageError::is_not_found) {
            let saved = self.saved(mover, name);
            if !saved.as_ref().is_err_and(ImageError::is_not_found) {
                return saved;
            }
        }
        described.map(Found::Described)
    }

    fn described(
        &self,
        bytes: &[u8],
        name: Option<&str>,
        platform: &Platform,
    ) -> Result<Descriptor, ImageError> {
        let what = self.what(INDEX);
        let Document::Index(manifests) = document(&what, bytes, None)? else {
            let reason = "not an index".to_owned();
            return Err(ImageError::Malformed { what, reason });
        };
        let is_meant = |descriptor: &Descriptor| match name {
            None => true,
            Some(name) => descriptor.name() == Some(name) || descriptor.digest.to_string() == name,
        };
        let found: Vec<_> = manifests.into_iter().filter(is_meant).collect();
        // One name, or none, with an image for each platform.
        let has_one_name = found.windows(2).all(|two| two[0].name() == two[1].name());
        if found.len() > 1 && has_one_name && found.iter().all(Descriptor::has_platform) {
            return choose(&what, &found, platform).cloned();
        }
        self.only(found, name)
    }

    fn saved(&self, mover: &Mover<'_>, name: Option<&str>) -> Result<Found, ImageError> {
        let bytes = self.document(mover, SAVED)?;
        let list = serde_json::from_slice::<Vec<Saved>>(&bytes);
        let list = list.map_err(|error| ImageError::Malformed {
            what: self.what(SAVED),
            reason: error.to_string(),
        })?;
        let is_meant = |saved: &Saved| match name {
            None => true,
            Some(name) => {
                let tags = saved.repo_tags.iter().flatten();
                tags.into_iter().any(|tag| tag == name)
            }
        };
        let found = list.into_iter().filter(is_meant).collect();
        let saved = self.only(found, name)?;
        let layers = saved.layers.iter().map(|layer| self.part(layer));
        Ok(Found::Saved {
            config: self.part(&saved.config)?,
            layers: layers.collect::<Result<_, _>>()?,
        })
    }

    fn only<T>(&self, mut found: Vec<T>, name: Option<&str>) -> Result<T, ImageError> {
        match (found.pop(), found.len()) {
            (Some(only), 0) => Ok(only),
            (Some(_), others) => Err(ImageError::Malformed {
                what: self.path.display().to_string(),
                reason: format!("{} images are meant; name one", others + 1),
            }),
            (None, _) => Err(ImageError::NotFound {
                what: self.what(name.unwrap_or("an image")),
            }),
        }
    }

    /// Opens a blob of a layout.
    pub(super) fn blob(&self, digest: &Digest) -> Result<Part, ImageError> {
        self.part(&format!("blobs/{}/{}", digest.kind.name(), digest.hex()))
    }

    fn document(&self, mover: &Mover<'_>, name: &str) -> Result<Vec<u8>, ImageError> {
        let mut part = self.part(name)?;
        mover.whole(&self.what(name), &mut part, DOCUMENT_BYTES)
    }

    fn part(&self, name: &str) -> Result<Part, ImageError> {
        let not_found = || ImageError::NotFound {
            what: self.what(name),
        };
        let malformed = |reason: &dyn ToString| ImageError::Malformed {
            what: self.what(name),
            reason: reason.to_string(),
        };
        let mut parts = parts(name.as_bytes(), DEPTH).map_err(|refusal| malformed(&refusal))?;
        match &self.files {
            Files::Directory(directory) => {
                let path: PathBuf = parts.iter().collect();
                // A pipe would be waited for.
                let how = beneath(OFlag::O_NONBLOCK);
                let opened = match openat2(directory, &path, how) {
                    Ok(opened) => File::from(opened),
                    Err(nix::errno::Errno::ENOENT) => return Err(not_found()),
                    Err(errno) => {
                        return Err(failed("open", &self.path.join(path))(errno.into()));
                    }
                };
                let metadata = opened.metadata();
                let metadata = metadata.map_err(failed("look at", &self.path.join(&path)))?;
                if !metadata.is_file() {
                    return Err(malformed(&"not a file"));
                }
                Ok(Part::new(opened, metadata.len()))
            }
            Files::Archive { file, names } => {
                for _ in 0..HOPS {
                    match names.get(&parts).cloned() {
                        None => return Err(not_found()),
                        Some(Stored::Link(target)) => parts = target,
                        Some(Stored::File { at, size }) => {
                            let (file, end) = (Arc::clone(file), at + size);
                            return Ok(Part { file, at, end });
                        }
                    }
                }
                Err(malformed(&"a link to links"))
            }
        }
    }

    fn what(&self, name: &str) -> String {
        format!("{} in {}", name, self.path.display())
    }
}

/// Where the files of an archive are.
fn names(
    path: &Path,
    file: &Arc<File>,
    size: u64,
    limits: &Limits,
) -> Result<BTreeMap<Vec<OsString>, Stored>, ImageError> {
    let malformed = |reason: String| ImageError::Malformed {
        what: path.display().to_string(),
        reason,
    };
    let whole = crate::content::Positioned::new(file, size);
    let mut whole = BufReader::new(whole);
    let head = whole.fill_buf().map_err(failed("read", path))?;
    if packing(head) != Packing::Not {
        return Err(malformed(
            "compressed; archives of images are not, but their layers".into(),
        ));
    }
    let meter = Meter::new(limits, size, HEADER_BYTES);
    let mut archive = tar::Archive::new(Metered::packed(whole, &meter));
    let mut entries = archive.entries_with_seek().map_err(failed("read", path))?;
    let mut names = BTreeMap::new();
    loop {
        meter.headers_follow();
        let Some(entry) = entries.next() else {
            return Ok(names);
        };
        let entry = entry.map_err(failed("read", path))?;
        let raw = entry.path_bytes();
        if names.len() >= ENTRIES || raw.len() > ENTRY_BYTES {
            return Err(malformed(
                "more or longer names than archives of images have".into(),
            ));
        }
        let parts = parts(&raw, DEPTH);
        let parts = parts.map_err(|refusal| malformed(format!("{refusal}")))?;
        let kind = entry.header().entry_type();
        let (at, size) = (entry.raw_file_position(), entry.size());
        if kind.is_symlink() || kind.is_hard_link() {
            let target = entry.link_name_bytes().unwrap_or_default();
            let above = if kind.is_symlink() {
                &parts[..parts.len().saturating_sub(1)]
            } else {
                &[]
            };
            if let Some(target) = followed(above, &target) {
                names.insert(parts, Stored::Link(target));
            }
        } else if kind.is_file() {
            if at.checked_add(size).is_none() {
                return Err(malformed("an entry larger than any file".into()));
            }
            names.insert(parts, Stored::File { at, size });
        }
    }
}

/// Where a link leads, from a directory of an archive; `None` if out of it.
fn followed(from: &[OsString], target: &[u8]) -> Option<Vec<OsString>> {
    let mut parts = from.to_vec();
    if target.starts_with(b"/") || target.len() > crate::content::PATH_BYTES {
        return None;
    }
    for part in target.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()?),
            part => parts.push(std::ffi::OsStr::from_bytes(part).to_owned()),
        }
    }
    Some(parts)
}

fn failed<'p>(action: &'static str, path: &'p Path) -> impl Fn(io::Error) -> ImageError + 'p {
    move |source| ImageError::Local {
        action,
        path: path.to_owned(),
        source,
    }
}

//! Unpacks layers (CT-66, CT-68): a tar archive becomes a directory that overlayfs takes.
//!
//! A layer is an enemy's text. Names only go down and are never resolved through links, hard links
//! need a file of the same layer, and a meter stops what grows too much. Links may lead anywhere,
//! for they are followed in containers only. Owners, set-id bits, times and attributes are kept as
//! far as this process may give them.
//!
//! * `.wh.NAME` hides `NAME` of the layers below, `.wh..wh..opq` all that they have in a directory.
//! * Devices are left out, and what overlayfs or the kernel would take for its own: attributes in
//!   `trusted.`, `user.overlay.` and of security modules. What is left out is told.
//! * A directory that the layer does not describe itself is root's, with mode 755, whatever it is
//!   in the layers below: a layer does not know those.
//!
//! Deliberately not here: which layers there are, where they come from.

mod tar;
mod tree;

use std::cell::RefCell;
use std::ffi::{CString, OsStr, OsString};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use nix::errno::Errno;

use super::local::Part;
use super::{Cancel, Digest, ImageError, sys};
use crate::content::{Hash, Limits, Meter, Metered, PATH_BYTES, Refusal};
use crate::content::{decompressor, packing, parts};
use tar::{Entry, Kind, Reader};
pub(crate) use tree::Marks;
use tree::{Fault, Tree};

/// What may be held in memory of one entry: names, links and attributes.
const HEADER_BYTES: u64 = 1 << 20;
const BUFFER_BYTES: usize = 64 << 10;
const WHITEOUT: &[u8] = b".wh.";
/// What the filesystem before overlayfs kept for itself.
const RESERVED: &[u8] = b".wh..wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// Why something of a layer is left out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Omission {
    /// Devices are the agent's to give.
    #[error("a device")]
    Device,
    /// An attribute that is not the image's to set, or cannot be set here.
    #[error("the extended attribute {0:?}")]
    Attribute(OsString),
}

/// What is needed to unpack a layer.
pub(super) struct Unpack<'u> {
    pub(super) diff_id: &'u Digest,
    pub(super) limits: &'u Limits,
    pub(super) cancel: &'u Cancel,
    pub(super) marks: Marks,
    /// Told what is left out.
    pub(super) omitted: &'u dyn Fn(PathBuf, Omission),
}

/// A reader whose bytes go into a hash.
struct Hashed<'h, R> {
    inner: R,
    hash: &'h RefCell<Hash>,
}

impl<R: Read> Read for Hashed<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hash.borrow_mut().update(&buffer[..count]);
        Ok(count)
    }
}

impl Unpack<'_> {
    /// Unpacks a layer into an empty directory, and compares it with its diff id.
    pub(super) fn unpack(&self, packed: Part, root: OwnedFd) -> Result<(), ImageError> {
        let meter = Meter::new(self.limits, packed.size(), HEADER_BYTES);
        let mut from = BufReader::with_capacity(BUFFER_BYTES, packed);
        let head = from.fill_buf().map_err(|error| self.corrupt(error))?;
        let packing = packing(head);
        let unpacked = Metered::unpacked(decompressor(packing, from), &meter);
        let hash = RefCell::new(Hash::new(self.diff_id.kind));
        let inner = BufReader::with_capacity(BUFFER_BYTES, unpacked);
        let mut reader = Reader::new(Hashed { inner, hash: &hash });
        let mut tree = Tree::new(root, self.marks);
        let broken = |error| match meter.refusal() {
            Some(refusal) => self.refused(b"", refusal),
            None => self.corrupt(error),
        };
        loop {
            self.cancel.check()?;
            meter.headers_follow();
            let Some(entry) = reader.next().map_err(broken)? else {
                break;
            };
            meter.content_follows();
            let counted = meter.entry();
            counted.map_err(|refusal| self.refused(&entry.name, refusal))?;
            self.entry(&mut tree, &entry, &mut reader, &broken)?;
        }
        meter.content_follows();
        reader.finish().map_err(broken)?;
        let root = tree.finish_all();
        root.map_err(|fault| self.failed(b"", fault))?;
        let what = format!("layer {} unpacked", self.diff_id);
        super::transfer::check_digest(&what, hash.into_inner().finish(), self.diff_id)
    }

    fn entry(
        &self,
        tree: &mut Tree,
        entry: &Entry,
        content: &mut dyn Read,
        broken: &dyn Fn(io::Error) -> ImageError,
    ) -> Result<(), ImageError> {
        let raw = &entry.name;
        let refused = |refusal| self.refused(raw, refusal);
        let failed = |fault| self.failed(raw, fault);
        // Some tools begin at the root, and mean the layer's.
        let below = raw.strip_prefix(b"/").unwrap_or(raw);
        let below = if below.is_empty() { b"." } else { below };
        let parts = parts(below, self.limits.depth).map_err(refused)?;
        if let Some((name, above)) = parts.split_last() {
            let is_hidden = |part: &OsString| part.as_bytes().starts_with(WHITEOUT);
            if above.iter().any(is_hidden) {
                return Err(refused(Refusal::Name));
            }
            if is_hidden(name) {
                return self.hidden(tree, above, name, raw);
            }
        }
        match entry.kind {
            Kind::File => {
                let mut file = tree.file(&parts).map_err(failed)?;
                let copied = copy(content, &mut file, self.cancel, broken)?;
                copied.map_err(|error| failed(error.into()))?;
                tree.own(&file, entry).map_err(failed)?;
                self.attributes(&file, entry)?;
                tree.seal(&file, entry).map_err(failed)
            }
            Kind::Directory => {
                let directory = tree.directory(&parts, entry).map_err(failed)?;
                self.attributes(&*directory, entry)
            }
            Kind::Link => {
                let target = OsStr::from_bytes(&entry.target);
                if target.is_empty() || target.len() > PATH_BYTES || entry.target.contains(&0) {
                    return Err(refused(Refusal::Link(target.into())));
                }
                tree.link(&parts, entry, target).map_err(failed)?;
                self.without_attributes(entry);
                Ok(())
            }
            Kind::HardLink => self.hard_link(tree, &parts, entry),
            Kind::Pipe => {
                tree.pipe(&parts, entry).map_err(failed)?;
                self.without_attributes(entry);
                Ok(())
            }
            Kind::Device => {
                self.omit(entry, Omission::Device);
                Ok(())
            }
            Kind::Sparse => Err(refused(Refusal::Sparse)),
            Kind::Unknown => Err(refused(Refusal::Special)),
        }
    }

    fn hidden(
        &self,
        tree: &mut Tree,
        above: &[OsString],
        name: &OsStr,
        raw: &[u8],
    ) -> Result<(), ImageError> {
        let bytes = name.as_bytes();
        if bytes == OPAQUE {
            let marked = tree.opaque(above);
            return marked.map_err(|fault| self.failed(raw, fault));
        }
        if bytes.starts_with(RESERVED) {
            return Ok(());
        }
        match &bytes[WHITEOUT.len()..] {
            b"" | b"." | b".." => Err(self.refused(raw, Refusal::Name)),
            hidden => {
                let made = tree.whiteout(above, OsStr::from_bytes(hidden));
                made.map_err(|fault| self.failed(raw, fault))
            }
        }
    }

    fn hard_link(
        &self,
        tree: &mut Tree,
        name: &[OsString],
        entry: &Entry,
    ) -> Result<(), ImageError> {
        let target = entry.target.strip_prefix(b"/").unwrap_or(&entry.target);
        let linked = match parts(target, self.limits.depth) {
            Ok(target) => tree.hard_link(name, &target),
            Err(_) => Err(Fault::HardLink),
        };
        linked.map_err(|fault| match fault {
            Fault::HardLink => {
                let target = OsStr::from_bytes(&entry.target);
                self.refused(&entry.name, Refusal::HardLink(target.into()))
            }
            Fault::Directory | Fault::Names(_) | Fault::System(_) => {
                self.failed(&entry.name, fault)
            }
        })
    }

    fn attributes(&self, file: impl AsFd, entry: &Entry) -> Result<(), ImageError> {
        for (name, value) in &entry.attributes {
            let omitted = || Omission::Attribute(OsStr::from_bytes(name).to_owned());
            let Some(text) = CString::new(name.as_slice()).ok().filter(|_| is_ours(name)) else {
                self.omit(entry, omitted());
                continue;
            };
            match sys::set_attribute(file.as_fd(), &text, value) {
                Ok(()) => {}
                Err(error) if is_unable(&error) => self.omit(entry, omitted()),
                Err(error) => return Err(self.failed(&entry.name, error.into())),
            }
        }
        Ok(())
    }

    /// The kernel lets only a few attributes be set of links and pipes, and images have none there.
    fn without_attributes(&self, entry: &Entry) {
        for (name, _) in &entry.attributes {
            self.omit(entry, Omission::Attribute(OsStr::from_bytes(name).into()));
        }
    }

    fn omit(&self, entry: &Entry, omission: Omission) {
        (self.omitted)(OsStr::from_bytes(&entry.name).into(), omission);
    }

    fn refused(&self, raw: &[u8], refusal: Refusal) -> ImageError {
        let shown = &raw[..raw.len().min(PATH_BYTES)];
        ImageError::Refused {
            layer: self.diff_id.clone(),
            entry: OsStr::from_bytes(shown).into(),
            refusal,
        }
    }

    fn corrupt(&self, source: io::Error) -> ImageError {
        ImageError::Corrupt {
            layer: self.diff_id.clone(),
            source,
        }
    }

    /// What the directory failed with: the layer's fault, where the way is none.
    fn failed(&self, raw: &[u8], fault: Fault) -> ImageError {
        match fault {
            Fault::Directory => self.refused(raw, Refusal::Directory),
            Fault::HardLink => self.refused(raw, Refusal::HardLink(PathBuf::new())),
            Fault::Names(limit) => self.refused(raw, Refusal::Headers(limit)),
            Fault::System(error) if crate::content::beneath::is_no_way(&error) => {
                self.refused(raw, Refusal::ThroughLink)
            }
            Fault::System(source) => {
                let shown = OsStr::from_bytes(&raw[..raw.len().min(PATH_BYTES)]);
                let path = PathBuf::from(format!("layer {}", self.diff_id)).join(shown);
                ImageError::own("unpack", &path)(source)
            }
        }
    }
}

/// Whether an image may set an attribute.
fn is_ours(name: &[u8]) -> bool {
    let is_user = name.starts_with(b"user.") && !name.starts_with(b"user.overlay.");
    let known: [&[u8]; 3] = [
        b"security.capability",
        b"system.posix_acl_access",
        b"system.posix_acl_default",
    ];
    is_user || known.contains(&name)
}

/// Whether this filesystem, or this user, has no such attributes.
fn is_unable(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(
        errno,
        Some(Errno::EOPNOTSUPP | Errno::EPERM | Errno::EACCES)
    )
}

/// Fails with what the layer has, and answers with what the file has.
fn copy(
    from: &mut dyn Read,
    into: &mut dyn Write,
    cancel: &Cancel,
    broken: &dyn Fn(io::Error) -> ImageError,
) -> Result<io::Result<()>, ImageError> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let count = match from.read(&mut buffer) {
            Ok(0) => return Ok(Ok(())),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(broken(error)),
        };
        cancel.check()?;
        if let Err(error) = into.write_all(&buffer[..count]) {
            return Ok(Err(error));
        }
    }
}

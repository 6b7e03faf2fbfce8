//! Tar archives. Owners, extended attributes and set-id bits of theirs are of no account.

use std::io::Read;

use tar::{Archive, EntryType};

use super::{Name, Unpacking, Written};
use crate::content::{Metered, Refusal};
use crate::fetch::error::FetchError;

/// What a sparse file of the newer form has among its extensions.
const SPARSE: &[u8] = b"GNU.sparse";

/// What an entry is to become.
enum Kind {
    File,
    Directory,
    Link,
    HardLink,
    /// Nothing: it speaks of other entries.
    Remark,
}

/// Unpacks all entries up to the end of the archive.
pub(super) fn unpack(unpacking: &Unpacking<'_>, from: &mut dyn Read) -> Result<(), FetchError> {
    let meter = unpacking.meter;
    let mut archive = Archive::new(Metered::packed(from, meter));
    let corrupt = |error| unpacking.corrupt(error);
    let mut entries = archive.entries().map_err(corrupt)?;
    loop {
        meter.headers_follow();
        let Some(entry) = entries.next() else {
            meter.content_follows();
            return Ok(());
        };
        let mut entry = entry.map_err(corrupt)?;
        let raw = entry.path_bytes().into_owned();
        unpacking.count(&raw)?;
        let refused = |refusal| unpacking.refused(&raw, refusal);
        let kind = kind(entry.header().entry_type(), &raw).map_err(refused)?;
        if let Some(extensions) = entry.pax_extensions().map_err(corrupt)? {
            for extension in extensions {
                if extension.map_err(corrupt)?.key_bytes().starts_with(SPARSE) {
                    return Err(refused(Refusal::Sparse));
                }
            }
        }
        if let Kind::Remark = kind {
            continue;
        }
        let name = unpacking.name(&raw)?;
        if name.parts.is_empty() {
            match kind {
                Kind::Directory => continue,
                Kind::File | Kind::Link | Kind::HardLink | Kind::Remark => {
                    return Err(refused(Refusal::Name));
                }
            }
        }
        let target = entry.link_name_bytes().unwrap_or_default().into_owned();
        let modified = entry.header().mtime().ok();
        let written = Written {
            bytes: entry.size(),
            mode: entry.header().mode().unwrap_or(0o644),
            modified: modified.and_then(|seconds| i64::try_from(seconds).ok()),
        };
        meter.content_follows();
        make(unpacking, &kind, &name, &written, &target, &mut entry)?;
    }
}

fn make(
    unpacking: &Unpacking<'_>,
    kind: &Kind,
    name: &Name,
    written: &Written,
    target: &[u8],
    content: &mut dyn Read,
) -> Result<(), FetchError> {
    match kind {
        Kind::File => unpacking.file(name, written, content),
        Kind::Directory => unpacking.directory(name, written.mode),
        Kind::Link => unpacking.link(name, target),
        Kind::HardLink => unpacking.hard_link(name, target),
        Kind::Remark => Ok(()),
    }
}

fn kind(kind: EntryType, name: &[u8]) -> Result<Kind, Refusal> {
    if kind.is_gnu_sparse() {
        return Err(Refusal::Sparse);
    }
    if kind.is_pax_global_extensions() {
        return Ok(Kind::Remark);
    }
    if kind.is_dir() || kind.is_file() && name.ends_with(b"/") {
        return Ok(Kind::Directory);
    }
    if kind.is_file() || kind.is_contiguous() {
        return Ok(Kind::File);
    }
    if kind.is_symlink() {
        return Ok(Kind::Link);
    }
    if kind.is_hard_link() {
        return Ok(Kind::HardLink);
    }
    Err(Refusal::Special)
}

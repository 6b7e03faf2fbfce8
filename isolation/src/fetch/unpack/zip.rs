//! Zip archives, of stored and deflated entries. Their directory is what counts, and every entry
//! must have the size and the sum that stand there.

use std::io::{BufReader, Read};

use nix::sys::stat::SFlag;
use zip::ZipArchive;
use zip::result::ZipError;

use super::{Name, Unpacking, Written};
use crate::cancel::Watched;
use crate::content::{Metered, PATH_BYTES, Positioned, Refusal};
use crate::fetch::error::FetchError;

/// Unpacks all entries.
pub(super) fn unpack(
    unpacking: &Unpacking<'_>,
    from: BufReader<Watched<'_, Positioned<'_>>>,
) -> Result<(), FetchError> {
    let meter = unpacking.meter;
    let corrupt = |error: ZipError| unpacking.corrupt(error.into());
    meter.headers_follow();
    let mut archive = ZipArchive::new(Metered::packed(from, meter)).map_err(corrupt)?;
    meter.content_follows();
    if archive.len() as u64 > meter.limits().entries {
        let refusal = Refusal::Entries(meter.limits().entries);
        return Err(unpacking.refused(b"", refusal));
    }
    if archive.has_overlapping_entries().map_err(corrupt)? {
        return Err(unpacking.refused(b"", Refusal::Overlap));
    }
    for index in 0..archive.len() {
        let entry = match archive.by_index(index) {
            Err(ZipError::UnsupportedArchive(ZipError::PASSWORD_REQUIRED)) => {
                return Err(unpacking.refused(b"", Refusal::Encrypted));
            }
            entry => entry.map_err(corrupt)?,
        };
        let raw = entry.name_raw().to_owned();
        unpacking.count(&raw)?;
        let name = unpacking.name(&raw)?;
        let mode = entry.unix_mode();
        let bytes = entry.size();
        let is_directory = raw.ends_with(b"/");
        let mut content = Metered::unpacked(entry, meter);
        one(unpacking, &name, (mode, is_directory), bytes, &mut content)?;
    }
    Ok(())
}

fn one(
    unpacking: &Unpacking<'_>,
    name: &Name,
    (mode, is_directory): (Option<u32>, bool),
    bytes: u64,
    content: &mut dyn Read,
) -> Result<(), FetchError> {
    let kind = SFlag::from_bits_truncate(mode.unwrap_or(0)) & SFlag::S_IFMT;
    let path = name.path();
    let refused = |refusal| Err(unpacking.refused(path.as_os_str().as_encoded_bytes(), refusal));
    if is_directory || kind == SFlag::S_IFDIR {
        if name.parts.is_empty() {
            return Ok(());
        }
        return unpacking.directory(name, mode.unwrap_or(0o755));
    }
    if name.parts.is_empty() {
        return refused(Refusal::Name);
    }
    if kind == SFlag::S_IFLNK {
        let mut target = Vec::new();
        let read = content.take(PATH_BYTES as u64 + 1).read_to_end(&mut target);
        read.map_err(|error| unpacking.corrupt_at(&path, error))?;
        return unpacking.link(name, &target);
    }
    if !kind.is_empty() && kind != SFlag::S_IFREG {
        return refused(Refusal::Special);
    }
    let written = Written {
        bytes,
        mode: mode.unwrap_or(0o644),
        modified: None,
    };
    unpacking.file(name, &written, content)
}

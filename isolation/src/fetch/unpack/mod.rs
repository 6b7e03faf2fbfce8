//! Unpacks archives into a sandbox (AG-51).
//!
//! An archive is an enemy's text. Names are bytes (RG-10) and only go down; nothing is written
//! through a link, whoever made it; a symbolic link must lead into the sandbox whatever else is
//! linked there, so `..` is allowed only where it begins; a hard link needs a plain file. Devices,
//! pipes, sockets and sparse files are refused, set-id bits dropped, and a meter stops what grows
//! too much. The first refusal ends it: what was unpacked until then stays, for its owner.

mod format;
mod tar;
mod zip;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use super::error::FetchError;
use super::item::Checked;
use super::sandbox::Sandbox;
use crate::cancel::Watched;
use crate::content::beneath::is_no_way;
use crate::content::{Limits, Meter, Metered, PATH_BYTES, Packing, Positioned, Refusal};
use crate::content::{decompressor, packing, parts};
use format::{BLOCK, Meant, is_tar, is_zip, meant};

/// What may be held in memory of one entry of a tar archive: names, links and extensions.
const TAR_HEADER_BYTES: u64 = 1 << 20;
/// What may be held in memory of a zip archive: its directory.
const ZIP_HEADER_BYTES: u64 = 64 << 20;
const BUFFER_BYTES: usize = 64 << 10;

/// Unpacks a file if it is an archive, and says whether it is.
pub(super) fn unpack(
    checked: &Checked<'_>,
    file: &File,
    sandbox: &Sandbox,
    limits: &Limits,
) -> Result<bool, FetchError> {
    let Some(name) = checked.output.last() else {
        return Ok(false);
    };
    let meant = meant(name);
    if meant == Meant::Plain {
        return Ok(false);
    }
    let own = |source| FetchError::own("read", checked.output_path(), source);
    let size = file.metadata().map_err(own)?.len();
    let whole = || Watched::new(Positioned::new(file, size), checked.cancel);
    let head = begin(&mut whole()).map_err(own)?;
    let is_zip = is_zip(&head);
    let headers = if is_zip {
        ZIP_HEADER_BYTES
    } else {
        TAR_HEADER_BYTES
    };
    let meter = Meter::new(limits, size, headers);
    let unpacking = Unpacking {
        checked,
        sandbox,
        meter: &meter,
    };
    if is_zip {
        zip::unpack(&unpacking, BufReader::new(whole()))?;
        return Ok(true);
    }
    let packing = packing(&head);
    if packing == Packing::Not && !is_tar(&head) {
        return Ok(false);
    }
    let from = BufReader::with_capacity(BUFFER_BYTES, whole());
    let mut from = Metered::unpacked(decompressor(packing, from), &meter);
    let head = begin(&mut from).map_err(|error| unpacking.corrupt(error))?;
    let is_tar = is_tar(&head);
    let mut all = head.as_slice().chain(from);
    match meant {
        Meant::Any(stem) if !is_tar => unpacking.alone(stem, &mut all)?,
        Meant::Plain | Meant::Tar | Meant::Any(_) => tar::unpack(&unpacking, &mut all)?,
    }
    // Sums stand at the end.
    io::copy(&mut all, &mut io::sink()).map_err(|error| unpacking.corrupt(error))?;
    Ok(true)
}

/// Reads the first block, or less if there is no more.
fn begin(from: &mut dyn Read) -> io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(BLOCK);
    from.take(BLOCK as u64).read_to_end(&mut head)?;
    Ok(head)
}

/// An archive on its way into a sandbox.
struct Unpacking<'u> {
    checked: &'u Checked<'u>,
    sandbox: &'u Sandbox,
    meter: &'u Meter<'u>,
}

/// The name of an entry, checked.
struct Name {
    parts: Vec<OsString>,
}

impl Name {
    fn path(&self) -> PathBuf {
        self.parts.iter().collect()
    }
}

/// What an archive says of a file.
struct Written {
    bytes: u64,
    mode: u32,
    /// Since 1970, in seconds.
    modified: Option<i64>,
}

impl Unpacking<'_> {
    /// The components of a name, without any if it is the sandbox itself.
    fn name(&self, raw: &[u8]) -> Result<Name, FetchError> {
        let parts = self
            .parts(raw)
            .map_err(|refusal| self.refused(raw, refusal))?;
        Ok(Name { parts })
    }

    fn parts(&self, raw: &[u8]) -> Result<Vec<OsString>, Refusal> {
        parts(raw, self.meter.limits().depth)
    }

    /// Writes a file; what comes must be as long as is written.
    fn file(&self, name: &Name, written: &Written, from: &mut dyn Read) -> Result<(), FetchError> {
        let failed = |action| move |error| self.failed(action, name, error);
        let mut file = self.sandbox.file(&name.parts).map_err(failed("make"))?;
        let most = written.bytes.saturating_add(1);
        let actual = self.copy(name, &mut from.take(most), &mut file)?;
        if actual != written.bytes {
            let written = written.bytes;
            let refusal = Refusal::Size { written, actual };
            return Err(self.refused(name.path().as_os_str().as_bytes(), refusal));
        }
        let sealed = self.sandbox.seal(&file, written.mode, written.modified);
        sealed.map_err(failed("change"))
    }

    /// Writes the one file that is compressed here, beside where it would be itself.
    fn alone(&self, stem: OsString, from: &mut dyn Read) -> Result<(), FetchError> {
        let mut parts = self.checked.output.clone();
        parts.pop();
        parts.push(stem);
        let name = Name { parts };
        let path = &name.path();
        let failed = |action| move |error: io::Error| self.own(action, path, error);
        let mut file = self.sandbox.file(&name.parts).map_err(failed("make"))?;
        self.copy(&name, from, &mut file)?;
        let sealed = self.sandbox.seal(&file, 0o644, None);
        sealed.map_err(failed("change"))
    }

    fn copy(
        &self,
        name: &Name,
        from: &mut dyn Read,
        into: &mut dyn Write,
    ) -> Result<u64, FetchError> {
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut copied = 0;
        loop {
            let count = from.read(&mut buffer);
            let count = count.map_err(|error| self.corrupt_at(&name.path(), error))?;
            if count == 0 {
                return Ok(copied);
            }
            let done = into.write_all(&buffer[..count]);
            done.map_err(|error| self.own("write", &name.path(), error))?;
            copied += count as u64;
        }
    }

    fn directory(&self, name: &Name, mode: u32) -> Result<(), FetchError> {
        let made = self.sandbox.directory(&name.parts, mode);
        made.map_err(|error| self.failed("make", name, error))
    }

    fn link(&self, name: &Name, target: &[u8]) -> Result<(), FetchError> {
        let shown = || PathBuf::from(OsStr::from_bytes(target));
        if !stays_inside(name.parts.len(), target) {
            let refusal = Refusal::Link(shown());
            return Err(self.refused(name.path().as_os_str().as_bytes(), refusal));
        }
        let made = self.sandbox.link(&name.parts, OsStr::from_bytes(target));
        made.map_err(|error| self.failed("make", name, error))
    }

    fn hard_link(&self, name: &Name, target: &[u8]) -> Result<(), FetchError> {
        let is_made = match self.parts(target) {
            Ok(parts) => {
                let made = self.sandbox.hard_link(&name.parts, &parts);
                made.map_err(|error| self.failed("link", name, error))?
            }
            Err(_) => false,
        };
        if is_made {
            return Ok(());
        }
        let refusal = Refusal::HardLink(OsStr::from_bytes(target).into());
        Err(self.refused(name.path().as_os_str().as_bytes(), refusal))
    }

    /// One more entry, which must have a name of its own.
    fn count(&self, raw: &[u8]) -> Result<(), FetchError> {
        self.meter
            .entry()
            .map_err(|refusal| self.refused(raw, refusal))
    }

    fn refused(&self, raw: &[u8], refusal: Refusal) -> FetchError {
        let shown = &raw[..raw.len().min(PATH_BYTES)];
        FetchError::Refused {
            uri: self.checked.shown.clone(),
            entry: OsStr::from_bytes(shown).into(),
            refusal,
        }
    }

    /// What reading the archive failed with: the meter's word, or its own fault.
    fn corrupt(&self, error: io::Error) -> FetchError {
        self.corrupt_at(&PathBuf::new(), error)
    }

    fn corrupt_at(&self, path: &Path, error: io::Error) -> FetchError {
        match self.meter.refusal() {
            Some(refusal) => self.refused(path.as_os_str().as_bytes(), refusal),
            None => FetchError::Corrupt {
                uri: self.checked.shown.clone(),
                source: error,
            },
        }
    }

    /// What the sandbox failed with: the archive's fault, where the way is none.
    fn failed(&self, action: &'static str, name: &Name, error: io::Error) -> FetchError {
        let path = name.path();
        let raw = path.as_os_str().as_bytes();
        if error.raw_os_error() == Some(Errno::EISDIR as i32) {
            return self.refused(raw, Refusal::Directory);
        }
        if is_no_way(&error) {
            return self.refused(raw, Refusal::ThroughLink);
        }
        self.own(action, &path, error)
    }

    fn own(&self, action: &'static str, path: &Path, source: io::Error) -> FetchError {
        FetchError::Sandbox {
            uri: self.checked.shown.clone(),
            action,
            path: path.to_owned(),
            source,
        }
    }
}

/// Whether a link at this depth leads into the sandbox, whatever is linked on the way: it goes up
/// only at its beginning, where all directories are real, and then at most to the sandbox itself.
fn stays_inside(depth: usize, target: &[u8]) -> bool {
    if target.is_empty() || target.len() > PATH_BYTES {
        return false;
    }
    if target.starts_with(b"/") || target.contains(&0) {
        return false;
    }
    let parts = target.split(|byte| *byte == b'/');
    let mut parts = parts.filter(|part| !matches!(*part, b"" | b".")).peekable();
    let mut up = 0;
    while parts.next_if(|part| *part == b"..").is_some() {
        up += 1;
    }
    up < depth && parts.all(|part| part != b"..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_go_up_only_at_their_beginning_and_not_out() {
        for (depth, target) in [
            (1, &b"a"[..]),
            (1, b"./a/b"),
            (2, b"../a"),
            (3, b"../.././a"),
            (2, b".."),
            (1, b"\xff\xfe"),
        ] {
            assert!(stays_inside(depth, target), "{depth} {target:?}");
        }
        for (depth, target) in [
            (1, &b""[..]),
            (1, b".."),
            (2, b"../../a"),
            (3, b"a/../b"),
            (3, b"../a/.."),
            (1, b"/etc/passwd"),
            (1, b"a\0b"),
        ] {
            assert!(!stays_inside(depth, target), "{depth} {target:?}");
        }
    }
}

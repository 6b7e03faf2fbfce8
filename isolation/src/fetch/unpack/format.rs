//! Which archive a file is: its name says whether it is meant as one, its content which.
//!
//! A name with another ending (`.jar`, `.whl`) is never unpacked, though its content be a zip
//! archive; a name without an ending is unpacked if its content is one.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// A block of a tar archive.
pub(super) const BLOCK: usize = 512;

/// Endings of compressed tar archives, in one word.
const TARS: [&[u8]; 6] = [b".tgz", b".tbz2", b".tbz", b".txz", b".tzst", b".tar"];
/// Endings of one compressed file, which may be a tar archive.
const COMPRESSED: [&[u8]; 4] = [b".gz", b".bz2", b".xz", b".zst"];

/// What a name says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Meant {
    /// No archive.
    Plain,
    /// A tar archive.
    Tar,
    /// An archive, or one compressed file that has this name without its compression.
    Any(OsString),
}

/// Reads a name.
pub(super) fn meant(name: &OsStr) -> Meant {
    let bytes = name.as_bytes().to_ascii_lowercase();
    let before = |endings: &[&[u8]]| {
        let ending = endings.iter().find(|ending| bytes.ends_with(ending))?;
        Some(bytes.len() - ending.len()).filter(|left| *left > 0)
    };
    if before(&TARS).is_some() {
        return Meant::Tar;
    }
    if let Some(left) = before(&COMPRESSED) {
        let stem = &name.as_bytes()[..left];
        if bytes[..left].ends_with(b".tar") && left > 4 {
            return Meant::Tar;
        }
        return Meant::Any(OsString::from_vec(stem.to_owned()));
    }
    let is_zip = before(&[b".zip"]).is_some();
    let dot = bytes.iter().rposition(|b| *b == b'.');
    // `tool-1.2.3` has no ending, and `.profile` neither.
    let has_ending =
        dot.is_some_and(|dot| dot > 0 && bytes[dot..].iter().any(u8::is_ascii_alphabetic));
    if is_zip || !has_ending {
        return Meant::Any(name.to_owned());
    }
    Meant::Plain
}

/// Whether content that begins so is a zip archive.
pub(super) fn is_zip(head: &[u8]) -> bool {
    head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06")
}

/// Whether this is the first block of a tar archive: one whose sum is right.
pub(super) fn is_tar(head: &[u8]) -> bool {
    let Some(block) = head.first_chunk::<BLOCK>() else {
        return false;
    };
    let header = tar::Header::from_byte_slice(block);
    let sum = (0..BLOCK).map(|i| match i {
        148..156 => u32::from(b' '),
        _ => u32::from(block[i]),
    });
    block[0] != 0
        && header
            .cksum()
            .is_ok_and(|stated| stated == sum.sum::<u32>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_whether_an_archive_is_meant() {
        // AG-51
        let any = |name: &str| Meant::Any(name.into());
        for (name, expected) in [
            ("a.tar", Meant::Tar),
            ("a.tar.gz", Meant::Tar),
            ("A.TGZ", Meant::Tar),
            ("a.tbz2", Meant::Tar),
            ("a.txz", Meant::Tar),
            ("a.tar.zst", Meant::Tar),
            ("a.gz", any("a")),
            ("a.b.bz2", any("a.b")),
            ("a.zip", any("a.zip")),
            ("download", any("download")),
            ("tool-1.2.3", any("tool-1.2.3")),
            (".gz", any(".gz")),
            ("a.jar", Meant::Plain),
            ("a.gz.bin", Meant::Plain),
        ] {
            assert_eq!(meant(OsStr::new(name)), expected, "{name}");
        }
    }
}

//! Which archive a file is: its name says whether it is meant as one, its content which.
//!
//! A name with another ending (`.jar`, `.whl`) is never unpacked, though its content be a zip
//! archive; a name without an ending is unpacked if its content is one.

use std::ffi::{OsStr, OsString};
use std::io::{self, BufRead, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

/// How much memory a decompressor may take: what `xz -9` and `zstd --long=27` make needs less.
const MEMORY_KIB: u32 = 192 << 10;
const WINDOW_BYTES: u64 = 128 << 20;
/// A block of a tar archive.
pub(super) const BLOCK: usize = 512;

/// Endings of compressed tar archives, in one word.
const TARS: [&[u8]; 6] = [b".tgz", b".tbz2", b".tbz", b".txz", b".tzst", b".tar"];
/// Endings of one compressed file, which may be a tar archive.
const COMPRESSED: [&[u8]; 4] = [b".gz", b".bz2", b".xz", b".zst"];

/// How a file is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packing {
    Not,
    Gzip,
    Bzip2,
    Xz,
    Zstd,
}

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

/// How content that begins so is compressed.
pub(super) fn packing(head: &[u8]) -> Packing {
    let is_bzip2 = || {
        let block = [b"1AY&SY", b"\x17\x72\x45\x38\x50\x90"];
        head.starts_with(b"BZh")
            && head
                .get(3)
                .is_some_and(|level| (b'1'..=b'9').contains(level))
            && head
                .get(4..10)
                .is_some_and(|magic| block.iter().any(|b| magic == *b))
    };
    let is_skippable =
        || head.len() > 3 && head[0] & 0xf0 == 0x50 && head[1..4] == *b"\x2a\x4d\x18";
    if head.starts_with(b"\x1f\x8b\x08") {
        Packing::Gzip
    } else if head.starts_with(b"\xfd7zXZ\0") {
        Packing::Xz
    } else if head.starts_with(b"\x28\xb5\x2f\xfd") || is_skippable() {
        Packing::Zstd
    } else if is_bzip2() {
        Packing::Bzip2
    } else {
        Packing::Not
    }
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

/// Reads what is compressed.
pub(super) fn decompressor<'r>(packing: Packing, from: impl BufRead + 'r) -> Box<dyn Read + 'r> {
    match packing {
        Packing::Not => Box::new(from),
        Packing::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(from)),
        Packing::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(from)),
        Packing::Xz => Box::new(lzma_rust2::XzReader::new_mem_limit(from, true, MEMORY_KIB)),
        Packing::Zstd => Box::new(Zstd::new(from)),
    }
}

/// Reads frames of zstd one after the other, and checks their sums.
struct Zstd<R> {
    from: R,
    decoder: FrameDecoder,
    is_in_frame: bool,
}

impl<R: BufRead> Zstd<R> {
    fn new(from: R) -> Self {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(WINDOW_BYTES);
        Self {
            from,
            decoder,
            is_in_frame: false,
        }
    }

    /// Begins the next frame; `false` at the end.
    fn begin(&mut self) -> io::Result<bool> {
        loop {
            if self.from.fill_buf()?.is_empty() {
                return Ok(false);
            }
            match self.decoder.reset(&mut self.from) {
                Ok(()) => {
                    self.is_in_frame = true;
                    return Ok(true);
                }
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => {
                    let length = u64::from(length);
                    let skipped = io::copy(&mut (&mut self.from).take(length), &mut io::sink())?;
                    if skipped < length {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                Err(error) => return Err(io::Error::other(error)),
            }
        }
    }

    fn end(&mut self) -> io::Result<()> {
        self.is_in_frame = false;
        let stated = self.decoder.get_checksum_from_data();
        if stated.is_some() && stated != self.decoder.get_calculated_checksum() {
            return Err(io::Error::other("the checksum of a zstd frame is wrong"));
        }
        Ok(())
    }
}

impl<R: BufRead> Read for Zstd<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            if !self.is_in_frame && !self.begin()? {
                return Ok(0);
            }
            while self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                let one = BlockDecodingStrategy::UptoBlocks(1);
                let decoded = self.decoder.decode_blocks(&mut self.from, one);
                decoded.map_err(io::Error::other)?;
            }
            let count = self.decoder.read(buffer)?;
            if count > 0 {
                return Ok(count);
            }
            self.end()?;
        }
    }
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

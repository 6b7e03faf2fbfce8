//! Compressed content: what its first bytes say, and what reads it. All in Rust, in bounded memory.

use std::io::{self, BufRead, Read};

use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

/// How much memory a decompressor may take: what `xz -9` and `zstd --long=27` make needs less.
const MEMORY_KIB: u32 = 192 << 10;
const WINDOW_BYTES: u64 = 128 << 20;

/// How a file is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packing {
    Not,
    Gzip,
    Bzip2,
    Xz,
    Zstd,
}

/// How content that begins so is compressed.
pub(crate) fn packing(head: &[u8]) -> Packing {
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

/// Reads what is compressed.
pub(crate) fn decompressor<'r>(packing: Packing, from: impl BufRead + 'r) -> Box<dyn Read + 'r> {
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

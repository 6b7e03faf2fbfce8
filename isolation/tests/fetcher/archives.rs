//! Archives, honest and hostile, written byte by byte where no library would.

use std::io::{Cursor, Write};

use zip::write::SimpleFileOptions;

/// An entry of a tar archive, with a header that nobody checks.
pub(crate) struct Entry<'e> {
    pub(crate) name: &'e [u8],
    pub(crate) kind: u8,
    pub(crate) link: &'e [u8],
    pub(crate) mode: u32,
    pub(crate) content: &'e [u8],
}

pub(crate) fn file<'e>(name: &'e [u8], content: &'e [u8]) -> Entry<'e> {
    Entry {
        name,
        kind: b'0',
        link: b"",
        mode: 0o644,
        content,
    }
}

pub(crate) fn special<'e>(name: &'e [u8], kind: u8, link: &'e [u8]) -> Entry<'e> {
    Entry {
        name,
        kind,
        link,
        mode: 0o755,
        content: b"",
    }
}

pub(crate) fn header(entry: &Entry<'_>, size: u64) -> [u8; 512] {
    let mut block = [0; 512];
    block[..entry.name.len()].copy_from_slice(entry.name);
    let mut put = |at: usize, text: String| {
        block[at..at + text.len()].copy_from_slice(text.as_bytes());
    };
    put(100, format!("{:07o}", entry.mode));
    put(108, format!("{:07o}", 4321));
    put(116, format!("{:07o}", 4321));
    put(124, format!("{size:011o}"));
    put(136, format!("{:011o}", 1_000_000_000));
    block[156] = entry.kind;
    block[157..157 + entry.link.len()].copy_from_slice(entry.link);
    block[257..265].copy_from_slice(b"ustar\x0000");
    summed(block)
}

pub(crate) fn summed(mut block: [u8; 512]) -> [u8; 512] {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    block
}

pub(crate) fn tar(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in entries {
        bytes.extend(header(entry, entry.content.len() as u64));
        bytes.extend(entry.content);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

pub(crate) fn bzip2(bytes: &[u8]) -> Vec<u8> {
    let mut out = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::best());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

pub(crate) fn xz(bytes: &[u8]) -> Vec<u8> {
    let options = lzma_rust2::XzOptions::with_preset(1);
    let mut out = lzma_rust2::XzWriter::new(Vec::new(), options).unwrap();
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

pub(crate) fn zstd(bytes: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
}

/// Names with their modes and contents, deflated.
pub(crate) fn zip(entries: &[(&str, u32, &[u8])]) -> Vec<u8> {
    let mut out = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, mode, content) in entries {
        let options = SimpleFileOptions::default()
            .compression_method(zip::CompressionMethod::Deflated)
            .unix_permissions(*mode);
        if name.ends_with('/') {
            out.add_directory(*name, options).unwrap();
        } else {
            out.start_file(*name, options).unwrap();
            out.write_all(content).unwrap();
        }
    }
    out.finish().unwrap().into_inner()
}

/// Replaces the same bytes wherever they are, by as many others.
pub(crate) fn patched(mut bytes: Vec<u8>, from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut found = 0;
    for at in 0..=bytes.len() - from.len() {
        if bytes[at..].starts_with(from) {
            bytes[at..at + to.len()].copy_from_slice(to);
            found += 1;
        }
    }
    assert!(found > 0, "nothing to patch");
    bytes
}

/// Where the central directory describes its only file.
pub(crate) fn central(bytes: &[u8]) -> usize {
    let mut windows = bytes.windows(4);
    windows.position(|w| w == b"PK\x01\x02").unwrap()
}

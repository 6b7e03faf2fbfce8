//! How a journal's files are laid out. All numbers are little endian.
//!
//! A log is a file header, then batches. A batch is what was written and synced at once, so at most
//! the last one can be torn by a crash. Its header carries a checksum of its own: a length is
//! believed only if it is intact, and a batch counts only as a whole.
//!
//! ```text
//! log       "TEPUILOG" version:u8 layout:u32
//! batch     length:u32 count:u32 epoch:u64 index:u64 body_crc:u32 header_crc:u32  body
//! snapshot  "TEPUISNP" version:u8 layout:u32 length:u64 epoch:u64 index:u64 body_crc:u32
//!           header_crc:u32  body
//! ```
//!
//! The version is 2 of both, which said nothing of a layout before. The layout is that of records
//! and state ([`Durable::LAYOUT`](tepui_core::machine::Durable::LAYOUT)).
//!
//! Zeros follow the last batch of a log: room for more. They are no header, for its checksum is not
//! zero.
//!
//! `index` is the number of the first record of a batch, or of the last one within a snapshot, over
//! the whole life of the journal. Deliberately not here: files.

const LOG_MAGIC: &[u8; 8] = b"TEPUILOG";
const SNAPSHOT_MAGIC: &[u8; 8] = b"TEPUISNP";
const LOG_VERSION: u8 = 2;
const SNAPSHOT_VERSION: u8 = 2;
/// Magic and version.
pub(super) const FILE_HEADER_BYTES: usize = 9;
pub(super) const LOG_HEADER_BYTES: usize = FILE_HEADER_BYTES + 4;
pub(super) const BATCH_HEADER_BYTES: usize = 32;
pub(super) const SNAPSHOT_HEADER_BYTES: usize = FILE_HEADER_BYTES + 36;

/// The header of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BatchHeader {
    pub(super) length: u32,
    pub(super) count: u32,
    pub(super) epoch: u64,
    /// The number of its first record.
    pub(super) index: u64,
    pub(super) body_crc: u32,
}

impl BatchHeader {
    pub(super) fn to_bytes(self) -> [u8; BATCH_HEADER_BYTES] {
        let mut bytes = [0; BATCH_HEADER_BYTES];
        bytes[0..4].copy_from_slice(&self.length.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.count.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.epoch.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.index.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.body_crc.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..28]);
        bytes[28..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads a header; `None` if it is not all there or not intact.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..BATCH_HEADER_BYTES)?;
        if crc32fast::hash(&bytes[..28]) != u32_at(bytes, 28) {
            return None;
        }
        Some(Self {
            length: u32_at(bytes, 0),
            count: u32_at(bytes, 4),
            epoch: u64_at(bytes, 8),
            index: u64_at(bytes, 16),
            body_crc: u32_at(bytes, 24),
        })
    }
}

/// Reads a whole and intact batch from the start of `bytes`.
pub(super) fn read_batch(bytes: &[u8]) -> Option<(BatchHeader, &[u8])> {
    let header = BatchHeader::read(bytes)?;
    let body = bytes[BATCH_HEADER_BYTES..].get(..header.length as usize)?;
    (crc32fast::hash(body) == header.body_crc).then_some((header, body))
}

/// The header of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SnapshotHeader {
    /// How the state is laid out.
    pub(super) layout: u32,
    pub(super) length: u64,
    pub(super) epoch: u64,
    /// The number of the last record that it contains.
    pub(super) index: u64,
    pub(super) body_crc: u32,
}

impl SnapshotHeader {
    pub(super) fn to_bytes(self) -> [u8; SNAPSHOT_HEADER_BYTES] {
        let mut bytes = [0; SNAPSHOT_HEADER_BYTES];
        bytes[..8].copy_from_slice(SNAPSHOT_MAGIC);
        bytes[8] = SNAPSHOT_VERSION;
        bytes[9..13].copy_from_slice(&self.layout.to_le_bytes());
        bytes[13..21].copy_from_slice(&self.length.to_le_bytes());
        bytes[21..29].copy_from_slice(&self.epoch.to_le_bytes());
        bytes[29..37].copy_from_slice(&self.index.to_le_bytes());
        bytes[37..41].copy_from_slice(&self.body_crc.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..41]);
        bytes[41..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads a header after its magic and version were checked.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..SNAPSHOT_HEADER_BYTES)?;
        if crc32fast::hash(&bytes[..41]) != u32_at(bytes, 41) {
            return None;
        }
        Some(Self {
            layout: u32_at(bytes, 9),
            length: u64_at(bytes, 13),
            epoch: u64_at(bytes, 21),
            index: u64_at(bytes, 29),
            body_crc: u32_at(bytes, 37),
        })
    }
}

/// Returns the header of an empty log whose records are laid out so.
pub(super) fn log_header(layout: u32) -> [u8; LOG_HEADER_BYTES] {
    let mut bytes = [LOG_VERSION; LOG_HEADER_BYTES];
    bytes[..8].copy_from_slice(LOG_MAGIC);
    bytes[FILE_HEADER_BYTES..].copy_from_slice(&layout.to_le_bytes());
    bytes
}

/// Checks magic and version of a log; returns how its records are laid out.
pub(super) fn check_log(bytes: &[u8]) -> Result<u32, String> {
    check_file_header(bytes, LOG_MAGIC, LOG_VERSION)?;
    let header = bytes.get(..LOG_HEADER_BYTES);
    let header = header.ok_or("its header is not whole")?;
    Ok(u32_at(header, FILE_HEADER_BYTES))
}

/// Checks magic and version of a snapshot.
pub(super) fn check_snapshot(bytes: &[u8]) -> Result<(), String> {
    check_file_header(bytes, SNAPSHOT_MAGIC, SNAPSHOT_VERSION)
}

fn check_file_header(bytes: &[u8], magic: &[u8; 8], version: u8) -> Result<(), String> {
    if bytes.len() < FILE_HEADER_BYTES || !bytes.starts_with(magic) {
        let magic = String::from_utf8_lossy(magic);
        return Err(format!("it does not begin with {magic:?}"));
    }
    match bytes[8] {
        known if known == version => Ok(()),
        other => Err(format!("its format is {other}, this build knows {version}")),
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let four = bytes[at..at + 4].try_into();
    u32::from_le_bytes(four.expect("the slice has four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let eight = bytes[at..at + 8].try_into();
    u64::from_le_bytes(eight.expect("the slice has eight bytes"))
}

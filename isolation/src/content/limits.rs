//! How much content from elsewhere may be, and what may become of it.

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// How much an item may be, and what may become of it when it is unpacked.
#[derive(Debug, Clone)]
pub struct Limits {
    /// An item, as it is fetched.
    pub item_bytes: u64,
    /// An archive, unpacked.
    pub unpacked_bytes: u64,
    /// How many times as large as itself an archive may become.
    pub ratio: u64,
    /// Up to so many bytes any ratio is fine.
    pub ratio_floor_bytes: u64,
    /// Entries of an archive.
    pub entries: u64,
    /// Directories above an entry, and itself.
    pub depth: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            item_bytes: 64 * GIB,
            unpacked_bytes: 64 * GIB,
            ratio: 200,
            ratio_floor_bytes: 64 * MIB,
            entries: 1_000_000,
            depth: 64,
        }
    }
}

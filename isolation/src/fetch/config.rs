//! What a fetcher is told once.

use std::path::PathBuf;
use std::time::Duration;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Where a fetcher keeps things, and how long and how much it bears.
#[derive(Debug, Clone)]
pub struct Config {
    /// The directory of the cache, for this fetcher alone. Made if need be.
    pub cache: PathBuf,
    /// How much the cache may hold, in bytes; what is being fetched for it included.
    pub cache_bytes: u64,
    /// Where relative paths begin; without it they are refused.
    pub local: Option<PathBuf>,
    /// Certificates that servers are trusted by, in PEM. Without it the host's own.
    pub certificates: Option<PathBuf>,
    /// How long an address is looked for, and connected to.
    pub connect: Duration,
    /// A transfer that moves less than one byte a second for so long is given up.
    pub stall: Duration,
    /// How many items of one call are fetched at the same time.
    pub parallel: usize,
    /// What is too much.
    pub limits: Limits,
}

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

impl Config {
    /// The usual values, with a cache in this directory.
    pub fn new(cache: impl Into<PathBuf>) -> Self {
        Self {
            cache: cache.into(),
            cache_bytes: 2 * GIB,
            local: None,
            certificates: None,
            connect: Duration::from_secs(30),
            stall: Duration::from_secs(60),
            parallel: 4,
            limits: Limits::default(),
        }
    }
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

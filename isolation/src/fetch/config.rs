//! What a fetcher is told once.

use std::path::PathBuf;
use std::time::Duration;

use crate::content::Limits;

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

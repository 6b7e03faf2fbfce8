//! What is known of the disk that one container takes: where its files are, what they may take, and
//! what they took when it was last looked.
//!
//! Deliberately not here: who looks, and when (`disks`).

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::{Deserialize, Serialize};
use tepui_core::protocol::status::{Breach, Limited};
use tepui_core::resources::Milli;

use crate::disk::Taken;

/// MiB in bytes.
const MIB: u64 = 1024 * 1024;

/// What a container's files take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskUse {
    /// In bytes, when it was last looked; `None` before that.
    pub used: Option<u64>,
    /// The most, in bytes; `None` is any.
    pub limit: Option<u64>,
    /// The persistent volumes that it may write to (CT-81).
    pub volumes: Vec<VolumeUse>,
}

/// What the files on a persistent volume take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeUse {
    /// Its directory on the machine.
    pub path: PathBuf,
    /// In bytes, when it was last looked; `None` before that.
    pub used: Option<u64>,
    /// The most, in bytes.
    pub limit: u64,
}

/// What is remembered of one container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// The directories that it fills.
    pub(super) paths: Vec<PathBuf>,
    /// What they may take, in MiB.
    pub(super) limit: Option<Milli>,
    /// Which part of that is for what its group has in common, in MiB.
    #[serde(default)]
    pub(super) beside: Milli,
    /// The project that they belong to.
    pub(super) project: Option<u32>,
    /// The persistent volumes that it writes to, with what each may take, in MiB.
    #[serde(default)]
    pub(super) volumes: Vec<(PathBuf, Milli)>,
    /// Whether it is over: the number of its project is free when its directories are gone.
    pub(super) is_over: bool,
}

impl Record {
    /// Returns whether there is a limit that it could break.
    pub(super) fn is_limited(&self) -> bool {
        self.limit.is_some() || !self.volumes.is_empty()
    }
}

/// What one look has found; `None` is what could not be found out.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) own: Option<Taken>,
    /// As the record's.
    pub(super) volumes: Vec<Option<Taken>>,
}

/// Returns in how many bytes so many files may be.
fn bytes_of(files: u64, per_mib: NonZeroU32) -> u64 {
    let bytes = u128::from(files) * u128::from(MIB) / u128::from(per_mib.get());
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// Returns how many files may be in so many bytes.
pub(super) fn files_of(bytes: u64, per_mib: NonZeroU32) -> u64 {
    let files = u128::from(bytes) * u128::from(per_mib.get()) / u128::from(MIB);
    u64::try_from(files).unwrap_or(u64::MAX)
}

/// A container that is looked at.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) record: Record,
    pub(super) taken: Option<Taken>,
    volumes: Vec<Option<Taken>>,
    pub(super) due: Instant,
    /// Whether it was said that it takes too much.
    pub(super) is_told: bool,
}

/// What takes too much.
#[derive(Debug)]
pub(super) struct Excess<'a> {
    pub(super) breach: Breach,
    /// There is more than that, which cannot be looked into.
    pub(super) is_partial: bool,
    /// The volume that it is; `None` is what dies with the container.
    pub(super) volume: Option<&'a Path>,
}

impl Entry {
    /// One that has not been looked at yet.
    pub(super) fn new(record: Record) -> Self {
        Self {
            volumes: vec![None; record.volumes.len()],
            record,
            taken: None,
            due: Instant::now(),
            is_told: false,
        }
    }

    /// Notes what was found; what was not is as it was.
    pub(super) fn note(&mut self, found: Found) {
        self.taken = found.own.or(self.taken);
        for (taken, found) in self.volumes.iter_mut().zip(found.volumes) {
            *taken = found.or(*taken);
        }
    }

    /// Lists what was found of the volumes.
    pub(super) fn volumes(&self) -> impl Iterator<Item = VolumeUse> {
        let volumes = self.record.volumes.iter().zip(&self.volumes);
        volumes.map(|((path, limit), taken)| VolumeUse {
            path: path.clone(),
            used: taken.map(|taken| taken.bytes),
            limit: bytes(*limit),
        })
    }

    /// Returns what was found if it is too much; what could not be looked into counts as that. A
    /// file counts as what it is of a MiB at least.
    pub(super) fn excess(&self, per_mib: Option<NonZeroU32>) -> Option<Excess<'_>> {
        let own = (self.taken, self.record.limit, None);
        let volumes = self.volumes.iter().zip(&self.record.volumes);
        let volumes = volumes.map(|(taken, (path, limit))| (*taken, Some(*limit), Some(&**path)));
        std::iter::once(own)
            .chain(volumes)
            .find_map(|(taken, limit, volume)| {
                let (taken, limit) = (taken?, limit?);
                let of_files = per_mib.map(|per_mib| bytes_of(taken.files, per_mib));
                let used = mebibytes(taken.bytes.max(of_files.unwrap_or_default()));
                let breach = Breach {
                    resource: Limited::Disk,
                    limit,
                    used,
                };
                (used > limit || taken.is_partial).then_some(Excess {
                    breach,
                    is_partial: taken.is_partial,
                    volume,
                })
            })
    }
}

/// Returns MiB in bytes.
pub(super) fn bytes(mib: Milli) -> u64 {
    let thousandths = u64::try_from(mib.thousandths()).unwrap_or(0);
    let bytes = u128::from(thousandths) * u128::from(MIB) / 1000;
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// Returns bytes in MiB, rounded up: a byte too much is too much.
fn mebibytes(bytes: u64) -> Milli {
    let thousandths = (u128::from(bytes) * 1000).div_ceil(u128::from(MIB));
    Milli::from_thousandths(i64::try_from(thousandths).unwrap_or(i64::MAX))
}

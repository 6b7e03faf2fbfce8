//! CPU: a share when others want it, and a ceiling.

use std::path::Path;

use cgroups_rs::cpu::CpuController;
use tepui_core::resources::Milli;

use super::{Version, failed, write};
use crate::error::Result;

/// The period of the ceiling, in microseconds.
const PERIOD_US: u64 = 100_000;
/// The smallest ceiling that the kernel takes, in microseconds a period.
const MIN_QUOTA_US: i64 = 1_000;

/// Writes what `group` gets when others want more than there is.
pub(super) fn apply_share(group: &Path, version: Version, cpus: Milli) -> Result<()> {
    let controller = CpuController::new(group.to_owned(), version == Version::Two);
    let (file, weight) = match version {
        Version::One => ("cpu.shares", shares(cpus)),
        Version::Two => ("cpu.weight", weight(cpus)),
    };
    let written = controller.set_shares(weight);
    written.map_err(|error| failed(group, file, weight.to_string(), &error))
}

/// Writes the most that `group` gets.
pub(super) fn apply_ceiling(group: &Path, version: Version, cpus: Milli) -> Result<()> {
    let controller = CpuController::new(group.to_owned(), version == Version::Two);
    let quota = quota_us(cpus);
    if version == Version::Two {
        return write(group, "cpu.max", &format!("{quota} {PERIOD_US}"));
    }
    let written = controller.set_cfs_period(PERIOD_US);
    written.map_err(|e| failed(group, "cpu.cfs_period_us", PERIOD_US.to_string(), &e))?;
    let written = controller.set_cfs_quota(quota);
    written.map_err(|e| failed(group, "cpu.cfs_quota_us", quota.to_string(), &e))
}

/// 1024 for each core, at least 2 (CT-16).
fn shares(cpus: Milli) -> u64 {
    let shares = i128::from(cpus.thousandths()) * 1024 / 1000;
    u64::try_from(shares.max(2)).unwrap_or(u64::MAX)
}

/// 100 for each core, at least 1, at most what the kernel takes (CT-22).
fn weight(cpus: Milli) -> u64 {
    cpus.thousandths()
        .div_euclid(10)
        .clamp(1, 10_000)
        .unsigned_abs()
}

/// 100 ms for each core, at least 1 ms (CT-17).
fn quota_us(cpus: Milli) -> i64 {
    cpus.thousandths().saturating_mul(100).max(MIN_QUOTA_US)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tv_29_shares_go_by_cores() {
        let m = Milli::from_thousandths;
        // CT-16, TV-29, TL-36
        assert_eq!([shares(m(1)), shares(m(1500)), shares(m(-5))], [2, 1536, 2]);
    }

    #[test]
    fn tv_30_a_quota_is_a_share_of_each_period() {
        let m = Milli::from_thousandths;
        // CT-17, TV-30, TL-36
        assert_eq!([quota_us(m(5)), quota_us(m(2000))], [1_000, 200_000]);
    }

    #[test]
    fn tv_31_weights_go_by_cores() {
        let m = Milli::from_thousandths;
        // CT-22, TV-31
        assert_eq!(
            [weight(m(500)), weight(m(1)), weight(m(i64::MAX))],
            [50, 1, 10_000]
        );
    }
}

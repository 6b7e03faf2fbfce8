//! CPU: a share when others want it, a ceiling, and what may be saved up for a burst.

use std::path::Path;

use cgroups_rs::cpu::CpuController;
use tepui_core::resources::Milli;

use super::files::{failed, needs_file, read_if_there, write};
use super::hierarchies::Version;
use crate::error::Result;

/// The period of the ceiling, in microseconds.
pub(super) const PERIOD_US: u64 = 100_000;
/// The smallest ceiling that the kernel takes, in microseconds a period.
const MIN_QUOTA_US: i64 = 1_000;

/// Writes what `group` gets when others want more than there is; `None` is as much as others get.
/// Of CPUs that are only lent it is a hundredth.
pub(super) fn apply_share(
    group: &Path,
    version: Version,
    cpus: Option<Milli>,
    low_priority: bool,
) -> Result<()> {
    let controller = CpuController::new(group.to_owned(), version == Version::Two);
    let (file, share) = match version {
        Version::One => ("cpu.shares", cpus.map_or(1024, |n| shares(n, low_priority))),
        Version::Two => ("cpu.weight", cpus.map_or(100, |n| weight(n, low_priority))),
    };
    let written = controller.set_shares(share);
    written.map_err(|error| failed(group, file, share.to_string(), &error))
}

/// Writes the most that `group` gets; `None` is as much as there is.
pub(super) fn apply_ceiling(group: &Path, version: Version, cpus: Option<Milli>) -> Result<()> {
    let controller = CpuController::new(group.to_owned(), version == Version::Two);
    let quota = cpus.map_or(-1, quota_us);
    if version == Version::Two {
        let quota = cpus.map_or_else(|| "max".to_owned(), |_| quota.to_string());
        return write(group, "cpu.max", &format!("{quota} {PERIOD_US}"));
    }
    let written = controller.set_cfs_period(PERIOD_US);
    written.map_err(|e| failed(group, "cpu.cfs_period_us", PERIOD_US.to_string(), &e))?;
    let written = controller.set_cfs_quota(quota);
    written.map_err(|e| failed(group, "cpu.cfs_quota_us", quota.to_string(), &e))
}

/// Changes ceiling and burst of a group that has had others: the burst goes first, for it may
/// never be more than the ceiling.
pub(super) fn change_ceiling(
    group: &Path,
    version: Version,
    cpus: Option<Milli>,
    burst: Option<u8>,
) -> Result<()> {
    let file = burst_file(version);
    if read_if_there(group, file)?.is_some_and(|text| text.trim() != "0") {
        write(group, file, "0")?;
    }
    apply_ceiling(group, version, cpus)?;
    apply_burst(group, version, cpus, burst)
}

/// Writes how much CPU time may be saved up, in per cent of the ceiling.
pub(super) fn apply_burst(
    group: &Path,
    version: Version,
    ceiling: Option<Milli>,
    burst: Option<u8>,
) -> Result<()> {
    let (Some(ceiling), Some(burst)) = (ceiling, burst) else {
        return Ok(());
    };
    let file = burst_file(version);
    // The kernel takes no more than the ceiling, as it is written.
    let micros = i128::from(quota_us(ceiling)) * i128::from(burst.min(100)) / 100;
    let written = write(group, file, &micros.to_string());
    needs_file(written, group, ("a CPU burst", "cpu", file))
}

fn burst_file(version: Version) -> &'static str {
    match version {
        Version::One => "cpu.cfs_burst_us",
        Version::Two => "cpu.max.burst",
    }
}

/// 1024 for each core, or 10 of those that are lent, at least 2 (CT-16).
fn shares(cpus: Milli, low_priority: bool) -> u64 {
    let each = if low_priority { 10 } else { 1024 };
    let shares = i128::from(cpus.thousandths()) * each / 1000;
    u64::try_from(shares.max(2)).unwrap_or(u64::MAX)
}

/// 100 for each core, or 1 of those that are lent, at least 1, at most what the kernel takes
/// (CT-22).
fn weight(cpus: Milli, low_priority: bool) -> u64 {
    let hundredth = if low_priority { 1_000 } else { 10 };
    cpus.thousandths()
        .div_euclid(hundredth)
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
        assert_eq!(
            [
                shares(m(1), false),
                shares(m(1500), false),
                shares(m(-5), false)
            ],
            [2, 1536, 2]
        );
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
            [
                weight(m(500), false),
                weight(m(1), false),
                weight(m(i64::MAX), false)
            ],
            [50, 1, 10_000]
        );
    }

    #[test]
    fn lent_cpus_have_a_hundredth_of_the_share() {
        let m = Milli::from_thousandths;
        // CT-16
        assert_eq!([shares(m(1500), true), shares(m(100), true)], [15, 2]);
        // CT-22
        assert_eq!([weight(m(2500), true), weight(m(500), true)], [2, 1]);
    }
}

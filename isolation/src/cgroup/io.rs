//! Block devices: a share of their time, and how much may be read and written in a second.

use std::collections::BTreeSet;
use std::path::Path;

use cgroups_rs::blkio::BlkIoController;

use super::files::{failed, needs_file, read_if_there, write};
use super::hierarchies::Version;
use super::settings::IoLimit;
use crate::error::{Error, Result};

/// What others have who say nothing.
const USUAL_WEIGHT: u16 = 100;
/// The files of version 1 with a limit each: bytes read and written, reads, writes.
const THROTTLES: [&str; 4] = [
    "blkio.throttle.read_bps_device",
    "blkio.throttle.write_bps_device",
    "blkio.throttle.read_iops_device",
    "blkio.throttle.write_iops_device",
];
const LIMIT: &str = "a limit on block IO";

/// What writes a number for a device.
type Set = fn(&BlkIoController, u64, u64, u64) -> cgroups_rs::error::Result<()>;

/// Writes the share of `group`; `None` is as much as others get.
pub(super) fn apply_weight(group: &Path, version: Version, weight: Option<u16>) -> Result<()> {
    let (controller, files) = match version {
        Version::One => ("blkio", ["blkio.bfq.weight", "blkio.weight"]),
        Version::Two => ("io", ["io.weight", "io.bfq.weight"]),
    };
    let there = files.into_iter().find(|file| group.join(file).exists());
    match (there, weight) {
        // The first takes up to 10,000, the others up to 1,000; 100 is usual for all but the last,
        // with 500.
        (Some(file), weight) => {
            let usual = if file == "blkio.weight" {
                500
            } else {
                USUAL_WEIGHT
            };
            write(group, file, &weight.unwrap_or(usual).to_string())
        }
        (None, None) => Ok(()),
        (None, Some(_)) => Err(Error::Unsupported {
            knob: "a weight of block IO",
            controller,
            message: format!("this kernel's groups have none of {}", files.join(", ")),
        }),
    }
}

/// Writes limits into a group, and takes those away that it has and that are not among them.
pub(super) fn change_limits(group: &Path, version: Version, limits: &[IoLimit]) -> Result<()> {
    let wanted: BTreeSet<(u32, u32)> = limits.iter().map(|limit| limit.device).collect();
    for device in limited(group, version)?.difference(&wanted) {
        apply_limit(group, version, &unlimited(*device), true)?;
    }
    let mut limits = limits.iter();
    limits.try_for_each(|limit| apply_limit(group, version, limit, true))
}

/// Writes limits into a new group.
pub(super) fn apply_limits(group: &Path, version: Version, limits: &[IoLimit]) -> Result<()> {
    let mut limits = limits.iter();
    limits.try_for_each(|limit| apply_limit(group, version, limit, false))
}

/// Writes one limit; what it does not limit is only written if it may have been limited before.
fn apply_limit(group: &Path, version: Version, limit: &IoLimit, before: bool) -> Result<()> {
    let (major, minor) = limit.device;
    let numbers = numbers(limit);
    if version == Version::Two {
        let names = ["rbps", "wbps", "riops", "wiops"].into_iter().zip(numbers);
        let numbers = names.map(|(name, number)| match number {
            Some(number) => format!(" {name}={number}"),
            None => format!(" {name}=max"),
        });
        let line = format!("{major}:{minor}{}", numbers.collect::<String>());
        let written = write(group, "io.max", &line);
        return needs_file(written, group, (LIMIT, "io", "io.max"));
    }
    let controller = BlkIoController::new(group.to_owned(), false);
    let set: [Set; 4] = [
        BlkIoController::throttle_read_bps_for_device,
        BlkIoController::throttle_write_bps_for_device,
        BlkIoController::throttle_read_iops_for_device,
        BlkIoController::throttle_write_iops_for_device,
    ];
    for ((file, set), number) in THROTTLES.into_iter().zip(set).zip(numbers) {
        if number.is_none() && !before {
            continue;
        }
        // Zero takes the limit away.
        let number = number.unwrap_or(0);
        let written = set(&controller, major.into(), minor.into(), number);
        let data = || format!("{major}:{minor} {number}");
        let written = written.map_err(|error| failed(group, file, data(), &error));
        needs_file(written, group, (LIMIT, "blkio", file))?;
    }
    Ok(())
}

/// The kernel takes zero for no limit, or refuses it, by version; what comes nearest to none at
/// all is one.
fn numbers(limit: &IoLimit) -> [Option<u64>; 4] {
    let numbers = [
        limit.read_bytes,
        limit.write_bytes,
        limit.reads,
        limit.writes,
    ];
    numbers.map(|number| number.map(|number| number.max(1)))
}

fn unlimited(device: (u32, u32)) -> IoLimit {
    IoLimit {
        device,
        read_bytes: None,
        write_bytes: None,
        reads: None,
        writes: None,
    }
}

/// Lists the devices that a group has limits for.
fn limited(group: &Path, version: Version) -> Result<BTreeSet<(u32, u32)>> {
    let texts = match version {
        Version::One => THROTTLES
            .into_iter()
            .filter_map(|file| read_if_there(group, file).transpose())
            .collect::<Result<Vec<String>>>()?,
        Version::Two => Vec::from_iter(read_if_there(group, "io.max")?),
    };
    let lines = texts.iter().flat_map(|text| text.lines());
    let devices = lines.filter_map(|line| device(line.split(' ').next()?));
    Ok(devices.collect())
}

/// Reads the numbers of a device.
pub(super) fn device(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

//! What this machine has, for agents that are not told (RM-16, RM-17).
//!
//! Deliberately not here: how GPUs are found, and disks other than that of the work directory.

use std::fs;
use std::path::Path;
use std::thread::available_parallelism;

use anyhow::Context;
use nix::sys::statvfs::statvfs;
use tepui_core::ids::BootId;
use tepui_core::resources::{Milli, Resource, Resources};

const MIB: u64 = 1024 * 1024;
const PORTS: &str = "ports:[31000-32000]";

/// Says which run of this machine this is.
pub(crate) fn boot() -> anyhow::Result<BootId> {
    let path = "/proc/sys/kernel/random/boot_id";
    let text = fs::read_to_string(path).context(path)?;
    let boot = parse_boot(&text);
    boot.with_context(|| format!("{path}: expected 32 hexadecimal digits, found {text:?}"))
}

fn parse_boot(text: &str) -> Option<BootId> {
    let digits = text.trim().replace('-', "");
    let whole = digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = whole.then(|| u128::from_str_radix(&digits, 16).ok())?;
    number.map(BootId)
}

/// Adds to `given` what it does not name: all CPUs, most of the memory and of the disk that holds
/// `work_dir`, a range of ports, and the `gpus` that were found.
pub(crate) fn complete(
    given: &[Resource],
    work_dir: &Path,
    gpus: usize,
) -> anyhow::Result<Resources> {
    let mut all = Resources::new();
    for resource in given {
        all.insert(resource.clone())?;
    }
    let missing = |name: &str| !given.iter().any(|resource| resource.name() == name);
    if missing("cpus") {
        let cpus = available_parallelism().map_or(1, |n| n.get() as i64);
        all = all.with_scalar("cpus", Milli::from_units(cpus));
    }
    if missing("mem") {
        let mib = memory_mib().context("cannot tell how much memory there is")?;
        all = all.with_scalar("mem", Milli::from_units(most_of(mib, 2_048, 1_024)));
    }
    if missing("disk") {
        let at = work_dir.display();
        let stat = statvfs(work_dir).with_context(|| format!("cannot tell the size of {at}"))?;
        let mib = stat.blocks() * stat.fragment_size() / MIB;
        all = all.with_scalar(
            "disk",
            Milli::from_units(most_of(mib, 10 * 1_024, 5 * 1_024)),
        );
    }
    if missing("gpus") && gpus > 0 {
        let gpus = i64::try_from(gpus).unwrap_or(i64::MAX);
        all = all.with_scalar("gpus", Milli::from_units(gpus));
    }
    if missing("ports") {
        all.add(&Resources::parse(PORTS)?)?;
    }
    Ok(all)
}

/// Leaves `kept` for the system if there is at least `threshold`, and half otherwise.
fn most_of(mib: u64, threshold: u64, kept: u64) -> i64 {
    let most = if mib >= threshold {
        mib - kept
    } else {
        mib / 2
    };
    i64::try_from(most).unwrap_or(i64::MAX)
}

fn memory_mib() -> anyhow::Result<u64> {
    let path = "/proc/meminfo";
    let text = fs::read_to_string(path).context(path)?;
    parse_meminfo(&text).with_context(|| format!("{path}: expected a line \"MemTotal: N kB\""))
}

fn parse_meminfo(text: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib / 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_keeps_its_part() {
        // RM-16
        assert_eq!(most_of(4_096, 2_048, 1_024), 3_072);
        assert_eq!(most_of(2_048, 2_048, 1_024), 1_024);
        assert_eq!(most_of(1_000, 2_048, 1_024), 500);
        assert_eq!(
            parse_meminfo("MemFree: 1 kB\nMemTotal:   2097152 kB\n"),
            Some(2_048)
        );
        assert_eq!(parse_meminfo("MemTotal: many"), None);
    }

    #[test]
    fn a_run_of_the_machine_has_one_id() {
        // AG-20
        assert_eq!(boot().unwrap(), boot().unwrap());
        let text = "00000000-0000-4000-8000-0000000000ff\n";
        let number = (0x4000_u128 << 64) + (0x8000_u128 << 48) + 0xff;
        assert_eq!(parse_boot(text), Some(BootId(number)));
        for bad in ["", "ff", "+0000000-0000-4000-8000-0000000000ff"] {
            assert_eq!(parse_boot(bad), None);
        }
    }

    #[test]
    fn what_is_named_is_not_detected_even_if_it_is_zero() {
        // RM-13
        let dir = tempfile::tempdir().unwrap();
        let given = Resources::parse_entries("cpus:0;mem:64").unwrap();
        let all = complete(&given, dir.path(), 2).unwrap();
        assert_eq!(all.scalar("gpus"), Milli::from_units(2)); // CT-62
        assert_eq!(all.cpus(), Milli::ZERO);
        assert_eq!(all.mem(), Milli::from_units(64));
        assert!(all.scalar("disk") > Milli::ZERO);
        assert!(all.contains(&Resources::parse(PORTS).unwrap()));
    }
}

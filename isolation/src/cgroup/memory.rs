//! Memory: a hard limit, swap included where the kernel counts it, and what became of it.

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use cgroups_rs::memory::MemController;
use nix::sys::eventfd::{EfdFlags, EventFd};
use tepui_core::resources::Milli;

use super::{Version, failed, read_number, write};
use crate::error::{Error, Result};

const MIB: i128 = 1024 * 1024;
/// The smallest limit: less, and a program may not even be loaded (CT-18).
const MIN_BYTES: i64 = 32 * 1024 * 1024;

/// Less than this is left of a limit that the kernel kills for.
const FEW_PAGES_BYTES: u64 = 1024 * 1024;

/// How a group has used its memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryUse {
    /// The limit.
    pub limit: Milli,
    /// The most that was used at once.
    pub peak: Milli,
    /// Whether the limit itself was ever in the way; if not, another group or the machine lacks
    /// memory.
    pub at_limit: bool,
    /// How many processes the kernel has killed for memory, whoever lacked it.
    pub kills: u64,
}

/// Writes what `group` keeps when others want its memory.
pub(super) fn apply_kept(group: &Path, version: Version, mem: Milli) -> Result<()> {
    let controller = MemController::new(group.to_owned(), version == Version::Two);
    let bytes = limit_bytes(mem);
    let file = match version {
        Version::One => "memory.soft_limit_in_bytes",
        Version::Two => "memory.low",
    };
    let written = controller.set_soft_limit(bytes);
    written.map_err(|error| failed(group, file, bytes.to_string(), &error))
}

/// Writes the limit of `group`: the memory first, because memory and swap together may not be
/// less.
pub(super) fn apply(group: &Path, version: Version, mem: Milli) -> Result<()> {
    let controller = MemController::new(group.to_owned(), version == Version::Two);
    let bytes = limit_bytes(mem);
    let (limit, swap, swap_bytes) = match version {
        Version::One => (
            "memory.limit_in_bytes",
            "memory.memsw.limit_in_bytes",
            bytes,
        ),
        Version::Two => ("memory.max", "memory.swap.max", 0),
    };
    let error = |file, error| failed(group, file, bytes.to_string(), &error);
    controller.set_limit(bytes).map_err(|e| error(limit, e))?;
    if group.join(swap).exists() {
        controller
            .set_memswap_limit(swap_bytes)
            .map_err(|e| error(swap, e))?;
    }
    if version == Version::Two {
        // The whole container ends, not one process of it.
        write(group, "memory.oom.group", "1")?;
    }
    Ok(())
}

/// Returns a file that becomes readable when the kernel runs out of memory for it. Version 2 needs
/// none: there the whole group dies.
pub(super) fn watch(group: &Path, version: Version) -> Result<Option<EventFd>> {
    if version == Version::Two {
        return Ok(None);
    }
    let path = group.join("memory.oom_control");
    let control = fs::File::open(&path).map_err(|error| Error::file("open", &path, error))?;
    let control = OwnedFd::from(control);
    let event = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
        .map_err(|errno| Error::system("eventfd", errno))?;
    let registration = format!("{} {}", event_number(&event), control.as_raw_fd());
    write(group, "cgroup.event_control", &registration)?;
    Ok(Some(event))
}

fn event_number(event: &EventFd) -> i32 {
    use std::os::fd::AsFd;
    event.as_fd().as_raw_fd()
}

/// Reads how `group` has used its memory.
pub(super) fn usage(group: &Path, version: Version) -> Result<MemoryUse> {
    let (limit, peak, events) = match version {
        Version::One => (
            "memory.limit_in_bytes",
            "memory.max_usage_in_bytes",
            "memory.oom_control",
        ),
        Version::Two => ("memory.max", "memory.peak", "memory.events"),
    };
    let peak = match version {
        // Kernels before 5.19 have no peak.
        Version::Two if !group.join(peak).exists() => "memory.current",
        Version::One | Version::Two => peak,
    };
    Ok(MemoryUse {
        limit: mebibytes(read_number(group, limit)?),
        peak: mebibytes(read_number(group, peak)?),
        at_limit: match version {
            Version::One => was_full(group)?,
            Version::Two => count_of("oom", group, events)? > 0,
        },
        kills: count_of("oom_kill", group, events)?,
    })
}

/// Version 1 has a count of failures, but not all kernels count. They kill when not even a few
/// pages are left, so a group that was in need has been full. Where swap is counted, it is the two
/// together that fill first.
fn was_full(group: &Path) -> Result<bool> {
    let both = "memory.memsw.max_usage_in_bytes";
    let peak = read_number(group, "memory.max_usage_in_bytes")?;
    let peak = match group.join(both).exists() {
        true => peak.max(read_number(group, both)?),
        false => peak,
    };
    let limit = read_number(group, "memory.limit_in_bytes")?;
    Ok(peak.saturating_add(FEW_PAGES_BYTES) >= limit)
}

/// Reads one count of a file with a name and a number on each line.
fn count_of(name: &str, group: &Path, file: &str) -> Result<u64> {
    let path = group.join(file);
    let text = fs::read_to_string(&path).map_err(|error| Error::file("read", &path, error))?;
    let mut lines = text.lines().filter_map(|line| line.split_once(' '));
    let number = lines.find_map(|(found, number)| (found == name).then_some(number));
    Ok(number
        .and_then(|number| number.trim().parse().ok())
        .unwrap_or(0))
}

fn limit_bytes(mem: Milli) -> i64 {
    let bytes = i128::from(mem.thousandths()) * MIB / 1000;
    i64::try_from(bytes).unwrap_or(i64::MAX).max(MIN_BYTES)
}

fn mebibytes(bytes: u64) -> Milli {
    let thousandths = i128::from(bytes) * 1000 / MIB;
    Milli::from_thousandths(i64::try_from(thousandths).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tv_32_a_limit_is_at_least_32_mebibytes() {
        // CT-18, TV-32, TL-36
        assert_eq!(limit_bytes(Milli::from_thousandths(10_000)), 32 << 20);
        assert_eq!(
            limit_bytes(Milli::from_thousandths(64_500)),
            (64 << 20) + (1 << 19)
        );
        assert_eq!(limit_bytes(Milli::from_thousandths(i64::MAX)), i64::MAX);
        assert_eq!(mebibytes(64 << 20), Milli::from_thousandths(64_000));
    }
}

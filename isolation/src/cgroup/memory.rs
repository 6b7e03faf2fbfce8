//! Memory: a hard limit, swap included where the kernel counts it, and what became of it.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use cgroups_rs::memory::MemController;
use nix::sys::eventfd::{EfdFlags, EventFd};
use tepui_core::resources::Milli;

use super::files::{
    count_in, failed, read, read_if_there, read_number, read_number_if_there, write,
};
use super::hierarchies::Version;
use super::settings::{OutOfMemory, Swap};
use crate::error::{Error, Result};

const MIB: i128 = 1024 * 1024;
/// The smallest limit: less, and a program may not even be loaded (CT-18).
const MIN_BYTES: u64 = 32 * 1024 * 1024;
/// How often a limit is tried just above what is used, while that grows.
const TRIES: usize = 8;

/// Less than this is left of a limit that the kernel kills for.
const FEW_PAGES_BYTES: u64 = 1024 * 1024;

const LIMIT_1: &str = "memory.limit_in_bytes";
const BOTH_1: &str = "memory.memsw.limit_in_bytes";
const PEAK_1: &str = "memory.max_usage_in_bytes";
const BOTH_PEAK_1: &str = "memory.memsw.max_usage_in_bytes";
const SWAP_2: &str = "memory.swap.max";

/// How a group has used its memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryUse {
    /// The limit.
    pub limit: Milli,
    /// The most that was used at once.
    pub peak: Milli,
    /// Where swap is allowed: limit and peak of memory and swap together.
    pub with_swap: Option<(Milli, Milli)>,
    /// Whether the limit itself was ever in the way; if not, another group or the machine lacks
    /// memory.
    pub at_limit: bool,
    /// How many processes the kernel has killed for memory, whoever lacked it.
    pub kills: u64,
}

/// What a group may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) limit: Option<Milli>,
    pub(super) swap: Swap,
    pub(super) out_of_memory: OutOfMemory,
}

/// What a change has led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Changed {
    /// The limit on memory that is in force, in MiB; `None` is none.
    pub mem: Option<Milli>,
    /// Whether that is what was wanted. If not, more is used, and cannot be had back without
    /// killing; to be tried again later.
    pub is_complete: bool,
}

/// Writes what `group` keeps when others want its memory; `None` is nothing.
pub(super) fn apply_kept(group: &Path, version: Version, mem: Option<Milli>) -> Result<()> {
    let controller = MemController::new(group.to_owned(), version == Version::Two);
    let (file, none) = match version {
        Version::One => ("memory.soft_limit_in_bytes", -1),
        Version::Two => ("memory.low", 0),
    };
    let bytes = mem.map_or(none, |mem| signed(limit_bytes(mem)));
    let written = controller.set_soft_limit(bytes);
    written.map_err(|error| failed(group, file, bytes.to_string(), &error))
}

/// Writes the limits of a new group: the memory first, because memory and swap together may not
/// be less.
pub(super) fn apply(group: &Path, version: Version, wanted: &Wanted) -> Result<()> {
    let controller = MemController::new(group.to_owned(), version == Version::Two);
    if let Some(mem) = wanted.limit {
        let file = match version {
            Version::One => LIMIT_1,
            Version::Two => "memory.max",
        };
        let bytes = signed(limit_bytes(mem));
        let written = controller.set_limit(bytes);
        written.map_err(|e| failed(group, file, bytes.to_string(), &e))?;
    }
    // A new group has no limit.
    let swap = swap_limit(group, version, wanted)?;
    if let Some((file, bytes)) = swap.filter(|(_, bytes)| *bytes != u64::MAX) {
        let bytes = signed(bytes);
        let written = controller.set_memswap_limit(bytes);
        written.map_err(|e| failed(group, file, bytes.to_string(), &e))?;
    }
    match version {
        Version::Two if wanted.limit.is_some() => apply_group(group, wanted),
        Version::One | Version::Two => Ok(()),
    }
}

/// Version 2 kills the whole container or one process of it; in version 1 the launcher does.
fn apply_group(group: &Path, wanted: &Wanted) -> Result<()> {
    let all = match wanted.out_of_memory {
        OutOfMemory::KillAll => "1",
        OutOfMemory::KillOne => "0",
    };
    write(group, "memory.oom.group", all)
}

/// Changes the limits of a group that runs. Returns the limit that is in force: where more is used
/// than is wanted, and cannot be had back, it is what is used, for a smaller one would kill.
pub(super) fn change(group: &Path, version: Version, wanted: &Wanted) -> Result<Changed> {
    let bytes = wanted.limit.map_or(u64::MAX, limit_bytes);
    let in_force = match version {
        Version::One => change_1(group, wanted, bytes)?,
        Version::Two => {
            if let Some((file, bytes)) = swap_limit(group, version, wanted)? {
                write(group, file, &or_max(bytes))?;
            }
            apply_group(group, wanted)?;
            change_2(group, bytes)?
        }
    };
    Ok(Changed {
        mem: (in_force != u64::MAX).then(|| mebibytes(in_force)),
        is_complete: in_force <= bytes,
    })
}

fn change_1(group: &Path, wanted: &Wanted, bytes: u64) -> Result<u64> {
    let swap = swap_limit(group, Version::One, wanted)?;
    // A number of pages that is a little less than this is what stands for none.
    let now = read_number(group, LIMIT_1)?;
    if bytes >= now {
        if let Some((file, both)) = swap {
            // Not below what the memory alone has until the next line.
            lower_1(
                group,
                (file, "memory.memsw.usage_in_bytes"),
                both.max(bytes),
            )?;
        }
        write(group, LIMIT_1, &or_minus(bytes))?;
        return Ok(bytes);
    }
    let in_force = lower_1(group, (LIMIT_1, "memory.usage_in_bytes"), bytes)?;
    if let Some((file, both)) = swap {
        lower_1(
            group,
            (file, "memory.memsw.usage_in_bytes"),
            both.max(in_force),
        )?;
    }
    // What was reached of the old limit does not count for this one.
    for peak in [PEAK_1, BOTH_PEAK_1] {
        if group.join(peak).exists() {
            write(group, peak, "0")?;
        }
    }
    Ok(in_force)
}

/// The kernel takes back what it can, and refuses a limit below what is left.
fn lower_1(group: &Path, (file, usage): (&str, &str), bytes: u64) -> Result<u64> {
    let mut target = bytes;
    for _ in 0..TRIES {
        match fs::write(group.join(file), or_minus(target)) {
            Ok(()) => return Ok(target),
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
                target = above(read_number(group, usage)?).max(bytes);
            }
            Err(error) => return Err(failed(group, file, or_minus(target), &error)),
        }
    }
    // It grows as fast as we look; the limit from before holds.
    read_number(group, file)
}

/// The kernel takes any limit and kills for it, so what is used has to be looked at first.
fn change_2(group: &Path, bytes: u64) -> Result<u64> {
    let file = "memory.max";
    let before = read_number(group, file)?;
    let used = |group| Ok::<u64, Error>(above(read_number(group, "memory.current")?));
    let mut target = bytes;
    let over = used(group)?.saturating_sub(bytes);
    if bytes < before && over > 0 {
        reclaim(group, over)?;
        target = bytes.max(used(group)?).min(before);
    }
    write(group, file, &or_max(target))?;
    Ok(target)
}

/// Asks the kernel to take back what it can without killing; kernels before 5.19 cannot be asked.
fn reclaim(group: &Path, bytes: u64) -> Result<()> {
    let path = group.join("memory.reclaim");
    if !path.exists() {
        return Ok(());
    }
    match fs::write(&path, bytes.to_string()) {
        // Less than that could be had.
        Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => Ok(()),
        // A signal came first: what is used then is seen after this.
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
        other => other.map_err(|error| Error::file("write to", &path, error)),
    }
}

/// A little more than what is used: each CPU has pages in stock.
fn above(used: u64) -> u64 {
    used.saturating_add(FEW_PAGES_BYTES)
}

/// Returns what is to be written for swap, if anything.
fn swap_limit(
    group: &Path,
    version: Version,
    wanted: &Wanted,
) -> Result<Option<(&'static str, u64)>> {
    let file = match version {
        Version::One => BOTH_1,
        Version::Two => SWAP_2,
    };
    let is_there = group.join(file).exists();
    let beside = match (wanted.swap, wanted.limit) {
        (Swap::Limit(swap), Some(_)) => Some(bytes_of(swap)),
        (Swap::Limit(swap), None) if version == Version::Two => Some(bytes_of(swap)),
        (Swap::Limit(swap), None) => {
            return Err(Error::Invalid(format!(
                "swap of {swap} MiB: version 1 limits it only together with memory"
            )));
        }
        (Swap::None, Some(_)) => Some(0),
        (Swap::None, None) | (Swap::Unlimited, _) => None,
    };
    let asked = matches!(wanted.swap, Swap::Limit(_));
    if asked && !is_there {
        return Err(Error::Unsupported {
            knob: "a limit on swap",
            controller: "memory",
            message: format!("this kernel's groups have no {file}"),
        });
    }
    let memory = match (version, wanted.limit) {
        (Version::One, limit) => limit.map_or(0, limit_bytes),
        (Version::Two, _) => 0,
    };
    let bytes = beside.map_or(u64::MAX, |beside| memory.saturating_add(beside));
    Ok(is_there.then_some((file, bytes)))
}

/// Returns a file that becomes readable when the kernel runs out of memory for it. Version 2 needs
/// none: there the whole group dies.
pub(super) fn watch(group: &Path, version: Version) -> Result<Option<EventFd>> {
    match version {
        Version::One => listen(group, "memory.oom_control", "").map(Some),
        Version::Two => Ok(None),
    }
}

/// Registers for an event of version 1; `level` says which, if there are several.
pub(super) fn listen(group: &Path, file: &str, level: &str) -> Result<EventFd> {
    let path = group.join(file);
    let control = fs::File::open(&path).map_err(|error| Error::file("open", &path, error))?;
    let control = OwnedFd::from(control);
    let event = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
        .map_err(|errno| Error::system("eventfd", errno))?;
    let number = event.as_fd().as_raw_fd();
    let registration = format!("{number} {} {level}", control.as_raw_fd());
    write(group, "cgroup.event_control", registration.trim_end())?;
    Ok(event)
}

/// Reads how `group` has used its memory.
pub(super) fn usage(group: &Path, version: Version) -> Result<MemoryUse> {
    let (limit, peak, both, events) = match version {
        Version::One => {
            let limit = read_number(group, LIMIT_1)?;
            let both = read_number_if_there(group, BOTH_1)?.filter(|both| *both > limit);
            let both_peak = read_number_if_there(group, BOTH_PEAK_1)?;
            let events = read(group, "memory.oom_control")?;
            (
                limit,
                read_number(group, PEAK_1)?,
                both.zip(both_peak),
                events,
            )
        }
        Version::Two => {
            let limit = read_number(group, "memory.max")?;
            // Kernels before 5.19 have no peak.
            let peak = read_number_if_there(group, "memory.peak")?;
            let peak = peak.map_or_else(|| read_number(group, "memory.current"), Ok)?;
            let swap = read_number_if_there(group, SWAP_2)?.filter(|swap| *swap > 0);
            let both = swap.map(|swap| {
                let swapped = swap_peak_2(group, swap)?;
                Ok::<_, Error>((limit.saturating_add(swap), peak.saturating_add(swapped)))
            });
            let both = both.transpose()?;
            (limit, peak, both, read(group, "memory.events")?)
        }
    };
    Ok(MemoryUse {
        limit: mebibytes(limit),
        peak: mebibytes(peak),
        with_swap: both.map(|(all, peak)| (mebibytes(all), mebibytes(peak))),
        at_limit: match version {
            Version::One => {
                // Not all kernels count failures. They kill when not even a few pages are left,
                // so a group that was in need has been full. Where swap is counted and none is
                // allowed, it is the two together that fill first.
                let both = read_number_if_there(group, BOTH_PEAK_1)?.unwrap_or(0);
                peak.max(both).saturating_add(FEW_PAGES_BYTES) >= limit
            }
            Version::Two => count_in(&events, "oom") > 0,
        },
        kills: count_in(&events, "oom_kill"),
    })
}

/// Kernels before 6.5 tell no peak of swap, but how often there was no more.
fn swap_peak_2(group: &Path, limit: u64) -> Result<u64> {
    if let Some(peak) = read_number_if_there(group, "memory.swap.peak")? {
        return Ok(peak);
    }
    let events = read_if_there(group, "memory.swap.events")?.unwrap_or_default();
    match count_in(&events, "max") {
        0 => read_number(group, "memory.swap.current"),
        _ => Ok(limit),
    }
}

impl MemoryUse {
    /// Returns the limit that was in the way and how much of it was used: of memory, or of memory
    /// and swap together (CT-19).
    pub fn exceeded(&self) -> (Milli, Milli) {
        self.with_swap.unwrap_or((self.limit, self.peak))
    }
}

fn bytes_of(mem: Milli) -> u64 {
    let bytes = i128::from(mem.thousandths()) * MIB / 1000;
    // The kernel's own numbers have a sign.
    u64::try_from(bytes)
        .unwrap_or(u64::MAX)
        .min(i64::MAX.unsigned_abs())
}

/// Returns the bytes that a limit in MiB is.
pub(super) fn limit_bytes(mem: Milli) -> u64 {
    bytes_of(mem).max(MIN_BYTES)
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(-1)
}

fn or_minus(bytes: u64) -> String {
    signed(bytes).to_string()
}

fn or_max(bytes: u64) -> String {
    match bytes {
        u64::MAX => "max".to_owned(),
        bytes => bytes.to_string(),
    }
}

/// Turns bytes into MiB.
pub(super) fn mebibytes(bytes: u64) -> Milli {
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
        let most = limit_bytes(Milli::from_thousandths(i64::MAX));
        assert_eq!(most, i64::MAX.unsigned_abs());
        assert_eq!(mebibytes(64 << 20), Milli::from_thousandths(64_000));
    }
}

//! What a group has used: CPU time, memory, processes, block devices.
//!
//! Read from the files of the group alone, so that it costs the same however many processes the
//! machine has. What a kernel does not tell is `None`. Deliberately not here: disks and networks.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use tepui_core::resources::Milli;

use super::files::{Held, count_in, read_if_there};
use super::hierarchies::Version;
use super::{cpu, io, memory};
use crate::error::Result;

/// A sample of what a group has used (CT-78 to CT-81).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// When it was taken.
    pub at: SystemTime,
    /// The processes that are there.
    pub processes: u64,
    /// The threads of all of them.
    pub threads: u64,
    /// CPU time.
    pub cpu: CpuStatistics,
    /// Memory, in bytes.
    pub memory: MemoryStatistics,
    /// Block devices, by their major and minor number; `None` if they are not counted.
    pub block_io: Option<BTreeMap<(u32, u32), BlockStatistics>>,
}

/// The use of CPU time (CT-27).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuStatistics {
    /// In programs; `None` where version 1 counts it apart and was not asked to.
    pub user: Option<Duration>,
    /// In the kernel; as above.
    pub system: Option<Duration>,
    /// The periods in which there was a ceiling and something to do.
    pub periods: u64,
    /// Those in which the ceiling was reached.
    pub throttled_periods: u64,
    /// How long it was held back, all CPUs together.
    pub throttled: Duration,
    /// The periods in which what was saved up was used.
    pub bursts: u64,
    /// How much of that was used.
    pub burst: Duration,
    /// The ceiling in cores; `None` is none.
    pub limit: Option<Milli>,
    /// The share in cores.
    pub soft_limit: Milli,
}

/// The use of memory, in bytes (CT-28).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryStatistics {
    /// All of it.
    pub total: u64,
    /// With swap (version 1).
    pub with_swap: Option<u64>,
    /// The kernel's.
    pub kernel: Option<u64>,
    /// The kernel's for TCP (version 1), or for sockets.
    pub sockets: Option<u64>,
    /// The limit; `None` is none.
    pub limit: Option<u64>,
    /// What is kept when others want it; `None` is none.
    pub soft_limit: Option<u64>,
    /// Of files, as far as they are in memory: the page cache.
    pub file: u64,
    /// Of programs: what stands in no file.
    pub anonymous: u64,
    /// Of files that are mapped.
    pub mapped_file: u64,
    /// Shared memory, which is among that of files.
    pub shared: u64,
    /// Swapped out; `None` if that is not counted.
    pub swap: Option<u64>,
    /// What cannot be taken back.
    pub unevictable: u64,
}

/// The use of a block device (CT-31, CT-81).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockStatistics {
    /// Bytes.
    pub bytes: Operations,
    /// Operations.
    pub operations: Operations,
    /// What its scheduler counts beside, where it counts (version 1): `time`, `sectors`,
    /// `io_service_time`, `io_wait_time`, `io_merged`, `io_queued` and so on.
    pub scheduler: BTreeMap<String, Operations>,
}

/// A number for each kind of operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operations {
    /// Reading.
    pub read: u64,
    /// Writing.
    pub write: u64,
    /// Discarding.
    pub discard: u64,
    /// Those that somebody waits for (version 1).
    pub sync: u64,
    /// Those that nobody waits for (version 1).
    pub background: u64,
    /// All of them.
    pub total: u64,
}

/// Reads the use of CPU time; `accounts` is where version 1 counts it.
pub(super) fn cpu(
    group: &Held<'_>,
    version: Version,
    accounts: Option<(&Path, Version)>,
) -> Result<CpuStatistics> {
    let stat = group.read("cpu.stat")?;
    let count = |name| count_in(&stat, name);
    let mut cpu = CpuStatistics {
        periods: count("nr_periods"),
        throttled_periods: count("nr_throttled"),
        bursts: count("nr_bursts"),
        ..CpuStatistics::default()
    };
    if version == Version::One {
        cpu.throttled = Duration::from_nanos(count("throttled_time"));
        cpu.burst = Duration::from_nanos(count("burst_time"));
        // The period is always ours.
        cpu.limit = cores(group.number("cpu.cfs_quota_us")?, cpu::PERIOD_US);
        cpu.soft_limit = share(group.number("cpu.shares")?, 1024);
    } else {
        cpu.throttled = Duration::from_micros(count("throttled_usec"));
        cpu.burst = Duration::from_micros(count("burst_usec"));
        let text = group.read("cpu.max")?;
        let (quota, period) = text.trim().split_once(' ').unwrap_or(("max", "0"));
        let numbers = quota.parse().ok().zip(period.parse().ok());
        cpu.limit = numbers.and_then(|(quota, period)| cores(quota, period));
        cpu.soft_limit = share(group.number("cpu.weight")?, 100);
    }
    let times = match accounts {
        Some((group, Version::One)) => {
            let stat = read_if_there(group, "cpuacct.stat")?;
            let ticks = |stat: &str, name| {
                // The kernel tells everybody a hundredth of a second.
                Duration::from_millis(count_in(stat, name).saturating_mul(10))
            };
            stat.map(|stat| (ticks(&stat, "user"), ticks(&stat, "system")))
        }
        Some((other, Version::Two)) => {
            let other = match other == group.path {
                true => Some(stat),
                false => read_if_there(other, "cpu.stat")?,
            };
            let time = |stat: &str, name| Duration::from_micros(count_in(stat, name));
            other.map(|stat| (time(&stat, "user_usec"), time(&stat, "system_usec")))
        }
        None => None,
    };
    (cpu.user, cpu.system) = times.unzip();
    Ok(cpu)
}

fn cores(quota_us: u64, period_us: u64) -> Option<Milli> {
    if quota_us == u64::MAX || period_us == 0 {
        return None;
    }
    let cores = u128::from(quota_us) * 1000 / u128::from(period_us);
    Some(Milli::from_thousandths(i64::try_from(cores).ok()?))
}

fn share(number: u64, each: u64) -> Milli {
    let cores = u128::from(number) * 1000 / u128::from(each);
    Milli::from_thousandths(i64::try_from(cores).unwrap_or(i64::MAX))
}

/// Reads the use of memory.
pub(super) fn memory(group: &Held<'_>, version: Version) -> Result<MemoryStatistics> {
    let stat = group.read("memory.stat")?;
    match version {
        Version::One => memory_1(group, &stat),
        Version::Two => memory_2(group, &stat),
    }
}

/// Goes through a file with a name and a number on each line.
fn counts(text: &str) -> impl Iterator<Item = (&str, u64)> {
    let lines = text.lines().filter_map(|line| line.split_once(' '));
    lines.filter_map(|(name, number)| Some((name, number.parse().ok()?)))
}

fn memory_1(group: &Held<'_>, stat: &str) -> Result<MemoryStatistics> {
    // A number of whole pages near the largest stands for no limit.
    let limited = |bytes: u64| Some(bytes).filter(|bytes| *bytes < 1 << 62);
    let with_swap = group.number_if_there("memory.memsw.usage_in_bytes")?;
    let mut found = MemoryStatistics {
        total: group.number("memory.usage_in_bytes")?,
        with_swap,
        kernel: group.number_if_there("memory.kmem.usage_in_bytes")?,
        sockets: group.number_if_there("memory.kmem.tcp.usage_in_bytes")?,
        soft_limit: limited(group.number("memory.soft_limit_in_bytes")?),
        swap: with_swap.map(|_| 0),
        ..MemoryStatistics::default()
    };
    for (name, number) in counts(stat) {
        match name {
            "hierarchical_memory_limit" => found.limit = limited(number),
            "total_cache" => found.file = number,
            "total_rss" => found.anonymous = number,
            "total_mapped_file" => found.mapped_file = number,
            "total_shmem" => found.shared = number,
            "total_swap" if with_swap.is_some() => found.swap = Some(number),
            "total_unevictable" => found.unevictable = number,
            _ => {}
        }
    }
    Ok(found)
}

fn memory_2(group: &Held<'_>, stat: &str) -> Result<MemoryStatistics> {
    let limit = group.number("memory.max")?;
    let kept = group.number("memory.low")?;
    let mut found = MemoryStatistics {
        total: group.number("memory.current")?,
        limit: Some(limit).filter(|bytes| *bytes != u64::MAX),
        soft_limit: Some(kept).filter(|bytes| *bytes != 0),
        swap: group.number_if_there("memory.swap.current")?,
        ..MemoryStatistics::default()
    };
    for (name, number) in counts(stat) {
        match name {
            // Kernels before 5.18 do not tell.
            "kernel" => found.kernel = Some(number),
            "sock" => found.sockets = Some(number),
            "file" => found.file = number,
            "anon" => found.anonymous = number,
            "file_mapped" => found.mapped_file = number,
            "shmem" => found.shared = number,
            "unevictable" => found.unevictable = number,
            _ => {}
        }
    }
    Ok(found)
}

/// Counts processes and threads.
pub(super) fn processes(group: &Held<'_>) -> Result<(u64, u64)> {
    let processes = group.read("cgroup.procs")?.lines().count();
    let threads = group.number("pids.current")?;
    Ok((u64::try_from(processes).unwrap_or(u64::MAX), threads))
}

/// What version 1 counts beside bytes and operations, if the scheduler does.
const SCHEDULER: [&str; 8] = [
    "io_service_bytes",
    "io_serviced",
    "io_service_time",
    "io_wait_time",
    "io_merged",
    "io_queued",
    "time",
    "sectors",
];

/// Reads the use of block devices.
pub(super) fn block_io(
    group: &Held<'_>,
    version: Version,
) -> Result<Option<BTreeMap<(u32, u32), BlockStatistics>>> {
    let mut found: BTreeMap<(u32, u32), BlockStatistics> = BTreeMap::new();
    if version == Version::Two {
        // Its controller may not have been passed on to us.
        let Some(text) = group.read_if_there("io.stat")? else {
            return Ok(None);
        };
        for line in text.lines() {
            if let Some((device, statistics)) = device_2(line) {
                found.insert(device, statistics);
            }
        }
        return Ok(Some(found));
    }
    let bytes = group.read("blkio.throttle.io_service_bytes_recursive")?;
    operations_1(&bytes, |device, set| {
        set(&mut found.entry(device).or_default().bytes)
    });
    let serviced = group.read("blkio.throttle.io_serviced_recursive")?;
    operations_1(&serviced, |device, set| {
        set(&mut found.entry(device).or_default().operations);
    });
    for name in SCHEDULER {
        let Some(text) = group.read_if_there(&format!("blkio.bfq.{name}_recursive"))? else {
            // A kernel counts all, or the first two, or none.
            break;
        };
        operations_1(&text, |device, set| {
            let scheduler = &mut found.entry(device).or_default().scheduler;
            set(scheduler.entry(name.to_owned()).or_default());
        });
    }
    Ok(Some(found))
}

/// Reads lines as `8:0 Read 4096` or `8:0 4096`; hands out, for each, what sets its number.
fn operations_1(text: &str, mut each: impl FnMut((u32, u32), &dyn Fn(&mut Operations))) {
    for line in text.lines() {
        let mut fields = line.split(' ');
        let device = fields.next().and_then(io::device);
        let (kind, number) = match (fields.next(), fields.next()) {
            (Some(kind), Some(number)) => (kind, number),
            (Some(number), None) => ("Total", number),
            (None, _) => continue,
        };
        let (Some(device), Ok(number)) = (device, number.parse()) else {
            // The last line adds them all up.
            continue;
        };
        each(device, &|operations| {
            let place = match kind {
                "Read" => &mut operations.read,
                "Write" => &mut operations.write,
                "Discard" => &mut operations.discard,
                "Sync" => &mut operations.sync,
                "Async" => &mut operations.background,
                "Total" => &mut operations.total,
                _ => return,
            };
            *place = number;
        });
    }
}

/// Reads a line as `8:0 rbytes=4096 wbytes=0 rios=1 wios=0 dbytes=0 dios=0`.
fn device_2(line: &str) -> Option<((u32, u32), BlockStatistics)> {
    let (device, fields) = line.split_once(' ')?;
    let fields: BTreeMap<&str, &str> = fields
        .split(' ')
        .filter_map(|f| f.split_once('='))
        .collect();
    let number = |name: &str| fields.get(name).and_then(|n| n.parse().ok()).unwrap_or(0);
    let operations = |names: [&str; 3]| {
        let [read, write, discard] = names.map(number);
        Operations {
            read,
            write,
            discard,
            total: read + write + discard,
            ..Operations::default()
        }
    };
    let statistics = BlockStatistics {
        bytes: operations(["rbytes", "wbytes", "dbytes"]),
        operations: operations(["rios", "wios", "dios"]),
        scheduler: BTreeMap::new(),
    };
    Some((io::device(device)?, statistics))
}

impl MemoryStatistics {
    /// Returns all of it in MiB.
    pub fn total_mib(&self) -> Milli {
        memory::mebibytes(self.total)
    }
}

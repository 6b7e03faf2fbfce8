//! What a group has used: CPU time, memory, processes, block devices.
//!
//! Read from the files of the group alone, so that it costs the same however many processes the
//! machine has. What a kernel does not tell is `None`. Deliberately not here: disks and networks.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use tepui_core::resources::Milli;

use super::files::{count_in, read, read_if_there, read_number, read_number_if_there};
use super::hierarchies::Version;
use super::{io, memory};
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
    /// How often memory ran out.
    pub out_of_memory: Option<u64>,
    /// How many processes were killed for that.
    pub kills: u64,
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
    group: &Path,
    version: Version,
    accounts: Option<(&Path, Version)>,
) -> Result<CpuStatistics> {
    let stat = read(group, "cpu.stat")?;
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
        let quota = read_number(group, "cpu.cfs_quota_us")?;
        let period = read_number(group, "cpu.cfs_period_us")?;
        cpu.limit = cores(quota, period);
        cpu.soft_limit = share(read_number(group, "cpu.shares")?, 1024);
    } else {
        cpu.throttled = Duration::from_micros(count("throttled_usec"));
        cpu.burst = Duration::from_micros(count("burst_usec"));
        let text = read(group, "cpu.max")?;
        let (quota, period) = text.trim().split_once(' ').unwrap_or(("max", "0"));
        let numbers = quota.parse().ok().zip(period.parse().ok());
        cpu.limit = numbers.and_then(|(quota, period)| cores(quota, period));
        cpu.soft_limit = share(read_number(group, "cpu.weight")?, 100);
    }
    let times = match accounts {
        Some((group, Version::One)) => Some((
            Duration::from_nanos(read_number(group, "cpuacct.usage_user")?),
            Duration::from_nanos(read_number(group, "cpuacct.usage_sys")?),
        )),
        Some((other, Version::Two)) => {
            let stat = match other == group {
                true => stat,
                false => read(other, "cpu.stat")?,
            };
            let time = |name| Duration::from_micros(count_in(&stat, name));
            Some((time("user_usec"), time("system_usec")))
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
pub(super) fn memory(group: &Path, version: Version) -> Result<MemoryStatistics> {
    let stat = read(group, "memory.stat")?;
    let stat = Counts::of(&stat);
    match version {
        Version::One => memory_1(group, &stat),
        Version::Two => memory_2(group, &stat),
    }
}

fn memory_1(group: &Path, stat: &Counts<'_>) -> Result<MemoryStatistics> {
    // A number of whole pages near the largest stands for no limit.
    let limit = |file| {
        let bytes = read_number(group, file)?;
        Ok::<_, crate::error::Error>((bytes < 1 << 62).then_some(bytes))
    };
    let with_swap = read_number_if_there(group, "memory.memsw.usage_in_bytes")?;
    let control = read(group, "memory.oom_control")?;
    Ok(MemoryStatistics {
        total: read_number(group, "memory.usage_in_bytes")?,
        with_swap,
        kernel: read_number_if_there(group, "memory.kmem.usage_in_bytes")?,
        sockets: read_number_if_there(group, "memory.kmem.tcp.usage_in_bytes")?,
        limit: limit("memory.limit_in_bytes")?,
        soft_limit: limit("memory.soft_limit_in_bytes")?,
        file: stat.get("total_cache"),
        anonymous: stat.get("total_rss"),
        mapped_file: stat.get("total_mapped_file"),
        shared: stat.get("total_shmem"),
        swap: with_swap.map(|_| stat.get("total_swap")),
        unevictable: stat.get("total_unevictable"),
        out_of_memory: None,
        kills: count_in(&control, "oom_kill"),
    })
}

fn memory_2(group: &Path, stat: &Counts<'_>) -> Result<MemoryStatistics> {
    let limit = |file| {
        let bytes = read_number(group, file)?;
        Ok::<_, crate::error::Error>(Some(bytes).filter(|bytes| *bytes != u64::MAX))
    };
    let events = read(group, "memory.events")?;
    Ok(MemoryStatistics {
        total: read_number(group, "memory.current")?,
        with_swap: None,
        // Kernels before 5.18 do not tell.
        kernel: stat.0.get("kernel").copied(),
        sockets: stat.0.get("sock").copied(),
        limit: limit("memory.max")?,
        soft_limit: limit("memory.low")?.filter(|bytes| *bytes != 0),
        file: stat.get("file"),
        anonymous: stat.get("anon"),
        mapped_file: stat.get("file_mapped"),
        shared: stat.get("shmem"),
        swap: read_number_if_there(group, "memory.swap.current")?,
        unevictable: stat.get("unevictable"),
        out_of_memory: Some(count_in(&events, "oom")),
        kills: count_in(&events, "oom_kill"),
    })
}

/// A file with a name and a number on each line.
struct Counts<'a>(BTreeMap<&'a str, u64>);

impl<'a> Counts<'a> {
    fn of(text: &'a str) -> Self {
        let lines = text.lines().filter_map(|line| line.split_once(' '));
        Self(
            lines
                .filter_map(|(name, number)| Some((name, number.parse().ok()?)))
                .collect(),
        )
    }

    fn get(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or(0)
    }
}

/// Counts processes and threads.
pub(super) fn processes(group: &Path) -> Result<(u64, u64)> {
    let processes = read(group, "cgroup.procs")?.lines().count();
    let threads = read_number(group, "pids.current")?;
    Ok((u64::try_from(processes).unwrap_or(u64::MAX), threads))
}

/// What version 1 counts beside bytes and operations, if the scheduler does.
const SCHEDULER: [&str; 8] = [
    "time",
    "sectors",
    "io_service_bytes",
    "io_serviced",
    "io_service_time",
    "io_wait_time",
    "io_merged",
    "io_queued",
];

/// Reads the use of block devices.
pub(super) fn block_io(
    group: &Path,
    version: Version,
) -> Result<BTreeMap<(u32, u32), BlockStatistics>> {
    let mut found: BTreeMap<(u32, u32), BlockStatistics> = BTreeMap::new();
    if version == Version::Two {
        for line in read(group, "io.stat")?.lines() {
            if let Some((device, statistics)) = device_2(line) {
                found.insert(device, statistics);
            }
        }
        return Ok(found);
    }
    let bytes = read(group, "blkio.throttle.io_service_bytes_recursive")?;
    operations_1(&bytes, |device, set| {
        set(&mut found.entry(device).or_default().bytes)
    });
    let serviced = read(group, "blkio.throttle.io_serviced_recursive")?;
    operations_1(&serviced, |device, set| {
        set(&mut found.entry(device).or_default().operations);
    });
    for name in SCHEDULER {
        let Some(text) = read_if_there(group, &format!("blkio.bfq.{name}_recursive"))? else {
            continue;
        };
        operations_1(&text, |device, set| {
            let scheduler = &mut found.entry(device).or_default().scheduler;
            set(scheduler.entry(name.to_owned()).or_default());
        });
    }
    Ok(found)
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

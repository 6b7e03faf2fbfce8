//! What of the machine containers may use beside what tasks take of the resources, as flags: CPUs,
//! IO, memory, devices, disks, graphics processors.
//!
//! Part of `container_args`. Deliberately not here: what tasks ask for.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use nix::sys::stat::{major, minor};
use tepui_core::resources::Milli;
use tepui_isolation::cgroup::{
    Accounts, Ceiling, CpuList, Cpus, HugePages, IoLimit, Settings, Swap,
};
use tepui_isolation::disk::ProjectIds;
use tepui_isolation::isolators::DiskRule;
use tepui_isolation::network::ports::{Enforcement, Rule};

use super::text::Text;
use super::values;
use crate::daemon::{ContainerOptions, Gpus};

/// What of the machine containers may use.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Limits of containers")]
pub(super) struct LimitArgs {
    /// Let a task use CPUs beyond what it takes while nobody else wants them, unless it names a
    /// limit
    #[arg(long)]
    no_cpu_ceiling: bool,
    /// CPU time that a task may save up while it does not use it, and then use beyond what it
    /// takes: in per cent of its CPUs in 100 ms, 1 to 100; by default nothing
    #[arg(long, value_name = "PERCENT", value_parser = Text(percent))]
    cpu_burst: Option<u8>,
    /// Where tasks run: on `any` CPU; or those that take whole CPUs on `cores` of one memory node
    /// that are theirs alone, as long as there are some, and all others on the rest
    #[arg(long, value_enum, default_value_t = CpuPlacement::Any, value_name = "HOW")]
    cpu_placement: CpuPlacement,
    /// The CPUs that tasks run on, such as `0-3,8`; by default all
    #[arg(long, value_name = "LIST", value_parser = Text(cpu_list),
          conflicts_with = "cpu_placement")]
    container_cpus: Option<CpuList>,
    /// The memory nodes that tasks have their memory from; by default all
    #[arg(long, value_name = "LIST", value_parser = Text(cpu_list))]
    memory_nodes: Option<CpuList>,
    /// Swap for each task beside its memory: `none`, `unlimited` or a size
    #[arg(long, value_name = "SIZE", default_value = "none", value_parser = Text(swap))]
    swap: SwapArg,
    /// The most processes and threads of a task that names no limit
    #[arg(long, value_name = "COUNT", value_parser = Text(values::count))]
    default_pids: Option<u32>,
    /// The weight of each task when several want a disk, 1 to 1000, of which 100 is usual
    #[arg(long, value_name = "WEIGHT", value_parser = Text(weight))]
    io_weight: Option<u16>,
    /// The most that each task reads and writes of a disk in a second, such as
    /// `/dev/sda:read=100M,write=50M,reads=1000,writes=500`; can be given several times
    #[arg(long, value_name = "DISK:LIMITS", value_parser = Text(io_limit))]
    io_limit: Vec<IoLimit>,
    /// The most huge pages of each task, by their size, such as `2M:1G`; can be given several times
    #[arg(long, value_name = "SIZE:LIMIT", value_parser = Text(huge_pages))]
    huge_pages: Vec<HugePages>,
    /// What is counted of each task beside CPU time and memory
    #[arg(long, value_enum, value_delimiter = ',', value_name = "WHAT")]
    count: Vec<Count>,
    /// A device of the machine that all tasks may use, such as `/dev/net/tun`; can be given several
    /// times
    #[arg(long, value_name = "PATH", value_parser = Text(device))]
    device: Vec<PathBuf>,
    /// What becomes of tasks whose files take more than their disk
    #[arg(long, value_enum, default_value_t = DiskLimits::Enforce, value_name = "HOW")]
    disk_limits: DiskLimits,
    /// How often it is looked what a task's files take, at most
    #[arg(long, value_name = "TIME", default_value = "15s",
          value_parser = Text(values::positive_duration))]
    disk_interval: Duration,
    /// How many files, empty ones and directories too, a task may have for each MiB of its disk:
    /// each takes one of the file system's inodes. `0` is any number
    #[arg(long, value_name = "COUNT", default_value = "256")]
    disk_files_per_mib: u32,
    /// Have the file system of the work directory hold the limits of disks: quotas with these
    /// numbers, such as `5000..10000`, of projects (XFS, ext4) or of subvolumes (btrfs)
    #[arg(long, value_name = "FIRST..LAST", value_parser = Text(projects))]
    disk_projects: Option<ProjectIds>,
    /// The graphics processors of NVIDIA to offer: `auto` is all that there are, `none`, or their
    /// numbers, such as `0,2`
    #[arg(long, value_name = "NUMBERS", default_value = "auto", value_parser = Text(gpus))]
    gpus: Gpus,
    /// What becomes of tasks on the machine's network that listen on TCP ports which they do not
    /// have; by default it is not looked
    #[arg(long, value_enum, value_name = "HOW")]
    port_watch: Option<PortWatch>,
    /// How often it is looked which ports tasks listen on
    #[arg(long, value_name = "TIME", default_value = "30s", requires = "port_watch",
          value_parser = Text(values::positive_duration))]
    port_interval: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum CpuPlacement {
    Any,
    Cores,
}

/// What can be counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Count {
    /// What it reads and writes
    BlockIo,
    /// How long it waits for CPU, memory and disks
    Pressure,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum PortWatch {
    /// It is told in the log
    Report,
    /// They end
    Enforce,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum DiskLimits {
    /// It is told in the log
    Report,
    /// They end
    Enforce,
}

impl LimitArgs {
    /// Adds to what containers may have.
    pub(super) fn add_to(self, options: &mut ContainerOptions) {
        options.groups = Settings {
            ceiling: match self.no_cpu_ceiling {
                true => Ceiling::IfNamed,
                false => Ceiling::Always,
            },
            cpu_burst: self.cpu_burst,
            swap: self.swap.0,
            cpus: self.container_cpus.map_or(Cpus::Any, Cpus::Only),
            memory_nodes: self.memory_nodes.unwrap_or_default(),
            io_weight: self.io_weight,
            io_limits: self.io_limit,
            huge_pages: self.huge_pages,
            accounts: Accounts {
                block_io: self.count.contains(&Count::BlockIo),
                pressure: self.count.contains(&Count::Pressure),
                ..Accounts::default()
            },
            ..Settings::default()
        };
        options.places_cores = self.cpu_placement == CpuPlacement::Cores;
        options.default_pids = self.default_pids;
        options.devices = self.device;
        options.disks = DiskRule {
            interval: self.disk_interval,
            ends: self.disk_limits == DiskLimits::Enforce,
            projects: self.disk_projects,
            files_per_mib: NonZeroU32::new(self.disk_files_per_mib),
        };
        options.gpus = self.gpus;
        options.ports = self.port_watch.map(|watch| {
            let enforcement = match watch {
                PortWatch::Report => Enforcement::Report,
                PortWatch::Enforce => Enforcement::End,
            };
            let rule = Rule {
                enforcement,
                ..Rule::default()
            };
            (rule, self.port_interval)
        });
    }

    /// Returns the first flag that only containers have a use for.
    pub(super) fn flag(&self) -> Option<&'static str> {
        let given = [
            (self.no_cpu_ceiling, "--no-cpu-ceiling"),
            (self.cpu_burst.is_some(), "--cpu-burst"),
            (self.cpu_placement != CpuPlacement::Any, "--cpu-placement"),
            (self.container_cpus.is_some(), "--container-cpus"),
            (self.memory_nodes.is_some(), "--memory-nodes"),
            (self.swap.0 != Swap::None, "--swap"),
            (self.default_pids.is_some(), "--default-pids"),
            (self.io_weight.is_some(), "--io-weight"),
            (!self.io_limit.is_empty(), "--io-limit"),
            (!self.huge_pages.is_empty(), "--huge-pages"),
            (!self.count.is_empty(), "--count"),
            (!self.device.is_empty(), "--device"),
            (self.disk_limits != DiskLimits::Enforce, "--disk-limits"),
            (
                self.disk_interval != DiskRule::default().interval,
                "--disk-interval",
            ),
            (self.disk_projects.is_some(), "--disk-projects"),
            (self.disk_files_per_mib != 256, "--disk-files-per-mib"),
            (matches!(self.gpus, Gpus::Only(_)), "--gpus"),
            (self.port_watch.is_some(), "--port-watch"),
        ];
        given
            .into_iter()
            .find(|(is_given, _)| *is_given)
            .map(|(_, flag)| flag)
    }
}

/// Swap, for clap: it wants a type of its own.
#[derive(Clone, Copy, Debug)]
struct SwapArg(Swap);

fn swap(text: &str) -> Result<SwapArg, String> {
    Ok(SwapArg(match text {
        "none" => Swap::None,
        "unlimited" => Swap::Unlimited,
        _ => {
            let size = values::memory(text);
            Swap::Limit(size.map_err(|why| format!("{why}; or `none`, or `unlimited`"))?)
        }
    }))
}

fn cpu_list(text: &str) -> Result<CpuList, String> {
    let list: Result<CpuList, _> = text.parse();
    let list = list.ok().filter(|list| !list.is_empty());
    list.ok_or_else(|| "expected a list of numbers such as 0-3,8".into())
}

fn percent(text: &str) -> Result<u8, String> {
    let percent = text.parse().ok();
    let percent = percent.filter(|percent| (1..=100).contains(percent));
    percent.ok_or_else(|| "expected per cent from 1 to 100".into())
}

fn weight(text: &str) -> Result<u16, String> {
    let weight = text
        .parse()
        .ok()
        .filter(|weight| (1..=1000).contains(weight));
    weight.ok_or_else(|| "expected a weight from 1 to 1000".into())
}

/// Reads a size in bytes.
pub(super) fn bytes(text: &str) -> Result<u64, String> {
    let mib: Milli = values::memory(text)?;
    let bytes = i128::from(mib.thousandths()) * 1024 * 1024 / 1000;
    u64::try_from(bytes).map_err(|_| "expected a size such as 64M".into())
}

fn io_limit(text: &str) -> Result<IoLimit, String> {
    const EXPECTED: &str = "expected a disk and limits such as /dev/sda:read=100M,writes=500";
    let (path, limits) = text.rsplit_once(':').ok_or(EXPECTED)?;
    let mut limit = IoLimit {
        device: disk(path)?,
        read_bytes: None,
        write_bytes: None,
        reads: None,
        writes: None,
    };
    for part in limits.split(',') {
        let (name, number) = part.split_once('=').ok_or(EXPECTED)?;
        let count = || {
            number
                .parse()
                .map_err(|_| format!("{part:?}: expected a number"))
        };
        let field = match name {
            "read" => &mut limit.read_bytes,
            "write" => &mut limit.write_bytes,
            "reads" => &mut limit.reads,
            "writes" => &mut limit.writes,
            _ => {
                return Err(format!(
                    "{name:?}: expected one of read, write, reads, writes"
                ));
            }
        };
        let value = match name {
            "read" | "write" => bytes(number)?,
            _ => count()?,
        };
        if value == 0 || field.replace(value).is_some() {
            return Err(format!("{part:?}: expected one number above zero for each"));
        }
    }
    Ok(limit)
}

/// Returns the number of a disk.
fn disk(path: &str) -> Result<(u32, u32), String> {
    let stat = std::fs::metadata(path).map_err(|error| format!("{path}: {error}"))?;
    if !stat.file_type().is_block_device() {
        return Err(format!("{path}: expected a disk such as /dev/sda"));
    }
    let narrow = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    Ok((narrow(major(stat.rdev())), narrow(minor(stat.rdev()))))
}

fn huge_pages(text: &str) -> Result<HugePages, String> {
    let (page, most) = text
        .split_once(':')
        .ok_or("expected a size of pages and a limit such as 2M:1G")?;
    let page_kib = bytes(page)? / 1024;
    if !page_kib.is_power_of_two() {
        return Err(format!("{page}: expected a size of pages such as 2M"));
    }
    Ok(HugePages {
        page_kib,
        bytes: bytes(most)?,
    })
}

fn device(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    let is_below = path
        .strip_prefix("/dev")
        .is_ok_and(|name| name.components().count() > 0);
    let plain = !path
        .components()
        .any(|part| part == std::path::Component::ParentDir);
    let stat = std::fs::metadata(&path).map_err(|error| error.to_string())?;
    let kind = stat.file_type();
    match is_below && plain && (kind.is_block_device() || kind.is_char_device()) {
        true => Ok(path),
        false => Err("expected a device below /dev, such as /dev/net/tun".into()),
    }
}

fn projects(text: &str) -> Result<ProjectIds, String> {
    let read = || {
        let (first, last) = text.split_once("..")?;
        let ids = ProjectIds {
            first: first.parse().ok()?,
            last: last.parse().ok()?,
        };
        (ids.first > 0 && ids.first <= ids.last).then_some(ids)
    };
    read().ok_or_else(|| "expected numbers above zero such as 5000..10000".into())
}

fn gpus(text: &str) -> Result<Gpus, String> {
    let numbers = || {
        let numbers = text.split(',').map(|number| number.parse().ok());
        numbers.collect::<Option<BTreeSet<u32>>>()
    };
    match text {
        "auto" => Ok(Gpus::All),
        "none" => Ok(Gpus::None),
        _ => numbers()
            .map(Gpus::Only)
            .ok_or_else(|| "expected auto, none, or numbers such as 0,2".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_or_refused_by_what_was_expected() {
        assert_eq!(projects("5000..10000").unwrap(), ProjectIds::default());
        for bad in ["0..5", "5..4", "5", "a..b", ""] {
            assert!(projects(bad).unwrap_err().contains("5000..10000"), "{bad}");
        }
        assert_eq!(gpus("0,2").unwrap(), Gpus::Only([0, 2].into()));
        assert_eq!(gpus("auto").unwrap(), Gpus::All);
        assert!(gpus("0,,2").is_err());
        let pages = huge_pages("2M:1G").unwrap();
        assert_eq!((pages.page_kib, pages.bytes), (2048, 1 << 30));
        assert!(huge_pages("3M:1G").is_err() && huge_pages("2M").is_err());
        assert_eq!(swap("unlimited").unwrap().0, Swap::Unlimited);
        assert_eq!(swap("64").unwrap().0, Swap::Limit(Milli::from_units(64)));
        assert!(swap("much").unwrap_err().contains("unlimited"));
        assert!(weight("0").is_err() && weight("1001").is_err());
        assert_eq!(weight("500").unwrap(), 500);
        assert!(device("/dev/null").is_ok());
        for bad in [
            "/dev",
            "/etc/passwd",
            "/dev/../etc/passwd",
            "/dev/nothing-there",
        ] {
            assert!(device(bad).is_err(), "{bad}");
        }
        assert!(io_limit("/dev/null:read=1").unwrap_err().contains("disk"));
        assert!(io_limit("read=1").unwrap_err().contains("/dev/sda"));
        assert!(cpu_list("").is_err() && cpu_list("x").is_err());
        assert_eq!(cpu_list("0-3,8").unwrap().len(), 5);
    }
}

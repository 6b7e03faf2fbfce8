//! What the kernel has counted of processes: CPU time and memory, from `/proc`.
//!
//! Called by the rows. Deliberately not here: control groups; nothing here needs root.

use std::fs;
use std::time::Duration;

use anyhow::{Context, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::{Pid, SysconfVar, sysconf};

/// Returns the CPU time of this process without its children, in user space and in the kernel.
pub fn own_cpu() -> [Duration; 2] {
    cpu_of(UsageWho::RUSAGE_SELF)
}

/// Returns the CPU time of this process and of all children that it waited for.
pub fn own_cpu_and_childrens() -> Duration {
    let both = [own_cpu(), cpu_of(UsageWho::RUSAGE_CHILDREN)];
    both.iter().flatten().sum()
}

fn cpu_of(who: UsageWho) -> [Duration; 2] {
    let usage = getrusage(who).expect("the kernel always answers about ourselves");
    let times = [usage.user_time(), usage.system_time()];
    times.map(|time| Duration::from_micros(time.num_microseconds().unsigned_abs()))
}

/// Returns the CPU time of a process and of all its children that it waited for, in user space
/// and in the kernel.
pub fn cpu(pid: u32) -> anyhow::Result<[Duration; 2]> {
    let stat = Stat::read(pid)?;
    let per_second = sysconf(SysconfVar::CLK_TCK)?.context("the kernel's clock has no rate")?;
    let time = |ticks: u64| Duration::from_secs_f64(ticks as f64 / per_second as f64);
    Ok([time(stat.user), time(stat.system)])
}

/// Returns the CPU time of a process, of threads that have ended as well, in nanoseconds; without
/// its children. It tells what the clock of [`cpu`] is too coarse for.
pub fn exact_cpu(pid: u32) -> anyhow::Result<Duration> {
    let process = Pid::from_raw(pid.try_into().context("no process has this id")?);
    let clock = clock_getcpuclockid(process);
    let time = clock.and_then(clock_gettime);
    Ok(time
        .with_context(|| format!("process {pid} is gone"))?
        .into())
}

/// Returns the resident memory of a process, in MiB.
pub fn resident_mib(pid: u32) -> anyhow::Result<f64> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok());
    Ok(kib.with_context(|| format!("{path} has no VmRSS"))? / 1024.0)
}

/// Lists the processes whose parent is `parent`.
pub fn children(parent: u32) -> anyhow::Result<Vec<u32>> {
    let entries = fs::read_dir("/proc").context("cannot read /proc")?;
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let pids = names.filter_map(|name| name.parse().ok());
    // A process that ended since is nobody's child.
    let is_child = |&pid: &u32| Stat::read(pid).is_ok_and(|stat| stat.parent == parent);
    Ok(pids.filter(is_child).collect())
}

struct Stat {
    parent: u32,
    /// Ticks in user space, with reaped children.
    user: u64,
    /// Ticks in the kernel, with reaped children.
    system: u64,
}

impl Stat {
    fn read(pid: u32) -> anyhow::Result<Self> {
        let path = format!("/proc/{pid}/stat");
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        Self::parse(&text).with_context(|| format!("{path}: {text:?}"))
    }

    /// The name, in parentheses, may hold anything; what follows is numbers but for the state.
    fn parse(text: &str) -> anyhow::Result<Self> {
        let (_, fields) = text.rsplit_once(')').context("no name")?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        ensure!(fields.len() > 14, "too short");
        let number = |at: usize| fields[at].parse::<u64>();
        Ok(Self {
            parent: fields[1].parse()?,
            user: number(11)? + number(13)?,
            system: number(12)? + number(14)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_counted_behind_the_name() {
        let stat = Stat::parse("7 (a) b) S 3 7 7 0 -1 4 1 2 3 4 50 60 7 8 20 0 1").unwrap();
        assert_eq!((stat.parent, stat.user, stat.system), (3, 57, 68));
        assert!(Stat::parse("7 (a) S 3").is_err());
    }

    #[test]
    fn we_are_there() {
        let pid = std::process::id();
        assert!(resident_mib(pid).unwrap() > 0.1);
        let parent = Stat::read(pid).unwrap().parent;
        assert!(children(parent).unwrap().contains(&pid));
        assert!(cpu(pid).is_ok());
    }
}

//! All knobs of a container beyond the resources that its agent names. Plain data: nothing set
//! is the default, and then nothing is written.

use serde::{Deserialize, Serialize};
use tepui_core::resources::Milli;

use super::devices::Devices;
use super::hierarchies::Controller;
use super::list::CpuList;
use crate::error::{Error, Result};

/// What a container gets beside its [`Limits`](super::Limits). A knob that the machine does not
/// have is a typed refusal for who sets it, never ignored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// CPU time that may be saved up while it is not used, in per cent of the ceiling of one period
    /// of 100 ms: 1 to 100. Who has no ceiling has nothing to save.
    pub cpu_burst: Option<u8>,
    /// Whether it may use CPUs beyond what it takes that nobody else wants.
    pub ceiling: Ceiling,
    /// Whether its CPUs are others' that they do not use now: it then has a hundredth of the share
    /// (CT-16, CT-22).
    pub low_priority: bool,
    /// Swap, beside memory.
    pub swap: Swap,
    /// Who is killed when memory runs out.
    pub out_of_memory: OutOfMemory,
    /// `oom_score_adj` of its processes (CT-20): whom the kernel prefers to kill when the machine
    /// lacks memory, from -1000 (never) to 1000 (first).
    pub oom_score: Option<i16>,
    /// On which CPUs it runs.
    pub cpus: Cpus,
    /// From which memory nodes it has its memory; empty is from any, or from that of its cores.
    pub memory_nodes: CpuList,
    /// Its share of block devices' time when others want it too: 1 to 1,000; 100 is usual.
    pub io_weight: Option<u16>,
    /// The most it may read and write.
    pub io_limits: Vec<IoLimit>,
    /// Which device files it may open; `None` is all.
    pub devices: Option<Devices>,
    /// How much of huge pages it may use; of sizes that are not named any number.
    pub huge_pages: Vec<HugePages>,
    /// What is counted or made possible, though it costs.
    pub accounts: Accounts,
}

/// Whether a container has a ceiling of CPU time (CT-17).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ceiling {
    /// What it takes, or the limit that it names.
    #[default]
    Always,
    /// Only the limit that it names: [`Limits::share`](super::Limits) is said apart then.
    IfNamed,
}

/// How much swap a container may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Swap {
    /// None, if its memory is limited.
    #[default]
    None,
    /// So many MiB, beside its memory.
    Limit(Milli),
    /// As much as there is.
    Unlimited,
}

/// Who is killed when a container lacks memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OutOfMemory {
    /// The whole container (CT-19).
    #[default]
    KillAll,
    /// The process that the kernel chooses; the container goes on without it.
    KillOne,
}

/// On which CPUs a container runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cpus {
    /// On any.
    #[default]
    Any,
    /// On these.
    Only(CpuList),
    /// On whole cores of one memory node, which a [`Placement`](super::Placement) chooses.
    Cores(Cores),
}

/// A wish for cores that nobody else is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cores {
    /// How many, each with all its hardware threads; at least 1.
    pub count: u32,
    /// Of which memory node; `None` is of any one.
    pub node: Option<u32>,
}

/// The most that a container may read from and write to a block device; `None` is any.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IoLimit {
    /// The whole device (no partition): its major and minor number.
    pub device: (u32, u32),
    /// Bytes read in a second.
    pub read_bytes: Option<u64>,
    /// Bytes written in a second.
    pub write_bytes: Option<u64>,
    /// Reads in a second.
    pub reads: Option<u64>,
    /// Writes in a second.
    pub writes: Option<u64>,
}

/// A limit on huge pages of one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HugePages {
    /// The size of a page, in KiB: 2048 is the usual one.
    pub page_kib: u64,
    /// The most memory, in bytes.
    pub bytes: u64,
}

/// What costs a container something at its start: a hierarchy more that it has to enter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accounts {
    /// Its CPU time, where version 1 counts that apart from the rest.
    pub cpu_time: bool,
    /// What it reads and writes (CT-31).
    pub block_io: bool,
    /// Whether it can be frozen, and be killed at once without a process namespace.
    pub freezer: bool,
    /// How long it waits for CPU, memory and block devices; version 2 or hybrid only.
    pub pressure: bool,
}

impl Settings {
    /// Refuses what no machine could do.
    pub fn check(&self) -> Result<()> {
        let wrong = |what: String| Err(Error::Invalid(what));
        if let Some(score) = self.oom_score
            && !(-1000..=1000).contains(&score)
        {
            return wrong(format!("an OOM score of {score}: expected -1000 to 1000"));
        }
        if let Some(burst) = self.cpu_burst
            && !(1..=100).contains(&burst)
        {
            return wrong(format!("a CPU burst of {burst} %: expected 1 to 100"));
        }
        if let Some(weight) = self.io_weight
            && !(1..=1000).contains(&weight)
        {
            return wrong(format!("an IO weight of {weight}: expected 1 to 1000"));
        }
        let mut devices: Vec<_> = self.io_limits.iter().map(|limit| limit.device).collect();
        devices.sort_unstable();
        if let Some(pair) = devices.windows(2).find(|pair| pair[0] == pair[1]) {
            let (major, minor) = pair[0];
            return wrong(format!("two IO limits for the device {major}:{minor}"));
        }
        for HugePages { page_kib, .. } in &self.huge_pages {
            if !page_kib.is_power_of_two() {
                return wrong(format!("huge pages of {page_kib} KiB: expected 2048 or so"));
            }
        }
        match &self.cpus {
            Cpus::Only(list) if list.is_empty() => return wrong("no CPU to run on".to_owned()),
            Cpus::Cores(Cores { count: 0, .. }) => return wrong("no core to run on".to_owned()),
            Cpus::Any | Cpus::Only(_) | Cpus::Cores(_) => {}
        }
        self.devices.as_ref().map_or(Ok(()), Devices::check)
    }

    /// Lists which controllers are needed, beside those that every container has, and what for.
    pub(super) fn needs(&self) -> Vec<(&'static str, Controller)> {
        let cpus = !matches!(self.cpus, Cpus::Any) || !self.memory_nodes.is_empty();
        let io_limit = !self.io_limits.is_empty();
        let all = [
            (cpus, "a choice of CPUs", Controller::CpuSet),
            (
                self.io_weight.is_some(),
                "a weight of block IO",
                Controller::BlockIo,
            ),
            (io_limit, "a limit on block IO", Controller::BlockIo),
            (
                self.devices.is_some(),
                "a choice of devices",
                Controller::Devices,
            ),
            (
                !self.huge_pages.is_empty(),
                "a limit on huge pages",
                Controller::HugePages,
            ),
            (
                self.accounts.cpu_time,
                "an account of CPU time",
                Controller::CpuAccounting,
            ),
            (
                self.accounts.block_io,
                "an account of block IO",
                Controller::BlockIo,
            ),
            (self.accounts.freezer, "freezing", Controller::Freezer),
        ];
        let needed = all.into_iter().filter(|(is_needed, ..)| *is_needed);
        needed.map(|(_, knob, at)| (knob, at)).collect()
    }
}

/// The refusal of a setting that takes a controller which is nowhere.
pub(super) fn missing(knob: &'static str, controller: Controller) -> Error {
    Error::Unsupported {
        knob,
        controller: controller.name(),
        message: "this machine does not have it".to_owned(),
    }
}

pub(super) fn no_pressure() -> Error {
    Error::Unsupported {
        knob: "an account of pressure",
        controller: "version 2",
        message: "this machine has version 1 only".to_owned(),
    }
}

/// Returns the `oom_score_adj` of a container that may use more memory than it keeps (CT-20): it
/// is the sooner killed the less it keeps of the machine's. `None` if it keeps all that it may use,
/// or nothing is known of that.
pub fn oom_score(kept: Option<Milli>, limit: Option<Milli>, machine_bytes: u64) -> Option<i16> {
    let kept = kept.filter(|kept| limit.is_none_or(|limit| limit > *kept))?;
    let total = i128::from(machine_bytes) * 1000 / (1024 * 1024);
    if total == 0 {
        return None;
    }
    let kept = i128::from(kept.thousandths());
    i16::try_from((1000 - 1000 * kept / total).clamp(0, 1000)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_the_default_and_needs_nothing() {
        let nothing = Settings::default();
        nothing.check().unwrap();
        assert_eq!(nothing.needs(), []);
    }

    #[test]
    fn what_no_machine_could_do_is_refused_by_name() {
        let limit = IoLimit {
            device: (8, 16),
            read_bytes: None,
            write_bytes: Some(1),
            reads: None,
            writes: None,
        };
        let none = Settings::default();
        let wrong = [
            (
                Settings {
                    oom_score: Some(1001),
                    ..none.clone()
                },
                "1001",
            ),
            (
                Settings {
                    io_weight: Some(0),
                    ..none.clone()
                },
                "weight",
            ),
            (
                Settings {
                    io_limits: vec![limit, limit],
                    ..none.clone()
                },
                "8:16",
            ),
            (
                Settings {
                    cpus: Cpus::Only(CpuList::default()),
                    ..none.clone()
                },
                "CPU",
            ),
            (
                Settings {
                    huge_pages: vec![HugePages {
                        page_kib: 3,
                        bytes: 0,
                    }],
                    ..none.clone()
                },
                "3 KiB",
            ),
        ];
        for (settings, word) in wrong {
            let error = settings.check().unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn who_keeps_less_than_it_may_use_is_killed_sooner() {
        // CT-20
        let mib = |n: i64| Some(Milli::from_thousandths(n * 1000));
        let machine = 4096 << 20;
        assert_eq!(oom_score(mib(1024), None, machine), Some(750));
        assert_eq!(oom_score(mib(1000), mib(2000), machine), Some(756));
        assert_eq!(oom_score(mib(0), None, machine), Some(1000));
        assert_eq!(oom_score(mib(9000), None, machine), Some(0));
        assert_eq!(oom_score(mib(1024), mib(1024), machine), None);
        assert_eq!(oom_score(None, None, machine), None);
        assert_eq!(oom_score(mib(1), None, 0), None);
    }
}

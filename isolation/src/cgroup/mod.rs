//! Control groups, versions 1, 2 and both beside each other: where they are, one group for each
//! container, its limits, what it has used, its end.
//!
//! Called by the launcher. The roots are parameters, so a plain directory can stand in for the
//! kernel's. Most files are written through `cgroups-rs`. What it cannot or does wrong is ours:
//!
//! * It brings processes in by writing `cgroup.procs`, which takes a lock that costs milliseconds
//!   on an idle machine. Ours enter by themselves, by writing `tasks`.
//! * It knows one version at a time; on a hybrid machine it cannot use version 2 beside version 1,
//!   which kills, freezes and tells pressure.
//! * It has no bursts, no `cpu.max` without its other half, no pressure, no `cgroup.kill`, no
//!   program for devices, weights of block IO in one file only, and no lower limit than before.
//! * What it reads is whole structures of what we need a line of, and its errors hide the cause.

mod bpf;
mod cpu;
mod cpuset;
mod devices;
mod entrance;
mod files;
mod freezer;
mod group;
mod hierarchies;
mod huge_pages;
mod io;
mod list;
mod memory;
mod pids;
mod placement;
mod pressure;
mod settings;
mod usage;

pub use self::devices::{Access, DeviceKind, DeviceRule, Devices};
pub(crate) use self::entrance::{Enter, Entrance};
pub use self::group::{Group, Limits, usage_of};
pub(crate) use self::group::{ROOM, kept_bytes};
pub use self::hierarchies::{Controller, Hierarchies, Layout, Version};
pub use self::list::{CpuList, NotAList};
pub use self::memory::{Changed, MemoryUse};
pub(crate) use self::pids::Refusals;
pub use self::placement::{Grant, Node, Placement, PlacementError, Topology};
pub use self::pressure::{Pressure, PressureLevels, Stall, Stalls};
pub use self::settings::{
    Accounts, Ceiling, Cores, Cpus, HugePages, IoLimit, OutOfMemory, Settings, Swap, oom_score,
};
pub use self::usage::{BlockStatistics, CpuStatistics, MemoryStatistics, Operations, Usage};

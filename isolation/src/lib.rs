//! Linux containers for Tepui agents: what stands behind `ContainerCommand` and `ContainerEvent`.
//!
//! An agent holds a [`Containerizer`]. That talks over a Unix socket to a *launcher*, one small
//! process per agent that starts containers, is their parent, and outlives the
//! agent; so a restarted agent learns real exit codes. In container mode each container has an
//! *init* of ours as its first process. Launcher and init are hidden subcommands of the running
//! binary, executed from a sealed copy in memory ([`entry::run_if_hidden`]).
//!
//! What is guaranteed when a program has ended, before its `Exited` is told:
//!
//! * [`Mode::Container`]: no process of it is left, for certain: the kernel ends a process
//!   namespace with its first process.
//! * [`Mode::Process`]: its process group is gone, and so is every descendant that the launcher
//!   (a subreaper) inherited and that is of the program's session or bears its
//!   `TEPUI_CONTAINER_ID`. A descendant that left the session *and* wiped its environment cannot
//!   be attributed; it is killed as soon as no container runs. A program that forks faster than
//!   it is killed is bounded in container mode only.
//!
//! Deliberately not here: wires, tasks, updates, images, networks, disks.

mod cgroup;
mod connect;
mod containerizer;
pub mod entry;
mod error;
mod init;
mod launcher;
mod mode;
mod namespaces;
mod process;
mod procfs;
mod sandbox;
mod spawn;
mod wait;
mod wire;

pub use cgroup::{Group, Hierarchies, Limits, MemoryUse, Version};
pub use connect::LauncherCommand;
pub use containerizer::{Config, Containerizer, Sink};
pub use error::{Error, Result};
pub use mode::{Detected, Mode};
